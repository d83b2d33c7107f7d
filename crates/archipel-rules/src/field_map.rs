//! Fields kept in a map: for tests, for trying expressions by hand, and for whoever has all values at hand anyway. Who has a
//! request implements [`Fields`] for it instead, and copies nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use crate::field::{Field, Fields};
use crate::value::{Array, MapSource, Value};

/// Values of fields; those that are not set have their defaults.
#[derive(Debug, Default)]
pub struct FieldMap {
    values: HashMap<Field, Owned>,
}

#[derive(Debug)]
enum Owned {
    Bool(bool),
    Int(i64),
    Text(Box<[u8]>),
    Ip(IpAddr),
    Texts(Texts),
    Ints(Vec<i64>),
    TextLists(Vec<Texts>),
    Map(TextMap),
}

/// Texts by name, in order.
#[derive(Debug, Default)]
struct TextMap {
    entries: Vec<(Box<[u8]>, Texts)>,
}

type Texts = Vec<Box<[u8]>>;

impl FieldMap {
    /// No values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, field: Field, value: Owned) -> Self {
        self.values.insert(field, value);
        self
    }

    /// Sets a Boolean.
    #[must_use]
    pub fn bool(self, field: Field, value: bool) -> Self {
        self.with(field, Owned::Bool(value))
    }

    /// Sets a number.
    #[must_use]
    pub fn int(self, field: Field, value: i64) -> Self {
        self.with(field, Owned::Int(value))
    }

    /// Sets a text.
    #[must_use]
    pub fn text(self, field: Field, value: impl AsRef<[u8]>) -> Self {
        self.with(field, Owned::Text(value.as_ref().into()))
    }

    /// Sets an address.
    #[must_use]
    pub fn address(self, field: Field, value: IpAddr) -> Self {
        self.with(field, Owned::Ip(value))
    }

    /// Sets an array of texts.
    #[must_use]
    pub fn texts<T: AsRef<[u8]>>(self, field: Field, values: impl IntoIterator<Item = T>) -> Self {
        self.with(field, Owned::Texts(values.into_iter().map(|value| value.as_ref().into()).collect()))
    }

    /// Sets an array of numbers.
    #[must_use]
    pub fn ints(self, field: Field, values: impl IntoIterator<Item = i64>) -> Self {
        self.with(field, Owned::Ints(values.into_iter().collect()))
    }

    /// Sets an array of arrays of texts.
    #[must_use]
    pub fn text_lists<T: AsRef<[u8]>>(self, field: Field, values: impl IntoIterator<Item = Vec<T>>) -> Self {
        let list = |values: Vec<T>| values.iter().map(|value| value.as_ref().into()).collect();
        self.with(field, Owned::TextLists(values.into_iter().map(list).collect()))
    }

    /// Sets a map of arrays of texts. Pairs of the same name make one entry.
    #[must_use]
    pub fn map<K: AsRef<[u8]>, V: AsRef<[u8]>>(self, field: Field, pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut map = TextMap::default();
        for (key, value) in pairs {
            let value = value.as_ref().into();
            match map.entries.iter_mut().find(|(known, _)| **known == *key.as_ref()) {
                Some((_, values)) => values.push(value),
                None => map.entries.push((key.as_ref().into(), vec![value])),
            }
        }
        self.with(field, Owned::Map(map))
    }
}

impl Fields for FieldMap {
    fn field(&self, field: Field) -> Value<'_> {
        match self.values.get(&field) {
            None => Value::Nil,
            Some(Owned::Bool(value)) => Value::Bool(*value),
            Some(Owned::Int(value)) => Value::Int(*value),
            Some(Owned::Text(value)) => Value::text(value),
            Some(Owned::Ip(value)) => Value::Ip(*value),
            Some(Owned::Texts(values)) => Value::texts(values.iter().map(|value| &**value)),
            Some(Owned::Ints(values)) => {
                Value::Array(Array::Values(values.iter().map(|int| Value::Int(*int)).collect()))
            }
            Some(Owned::TextLists(lists)) => {
                let list = |texts| <[Box<[u8]>]>::iter(texts).map(|text| &**text);
                Value::Array(Array::Values(lists.iter().map(|texts| Value::texts(list(texts))).collect()))
            }
            Some(Owned::Map(map)) => Value::Map(map),
        }
    }
}

impl MapSource for TextMap {
    fn get<'a>(&'a self, key: &[u8]) -> Value<'a> {
        let found = self.entries.iter().find(|(known, _)| **known == *key);
        found.map_or(Value::Nil, |(_, values)| Value::texts(values.iter().map(|value| &**value)))
    }

    fn entries<'a>(&'a self, each: &mut dyn FnMut(&'a [u8], Value<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
        let texts = |values: &'a [Box<[u8]>]| Value::texts(values.iter().map(|value| &**value));
        self.entries.iter().try_for_each(|(key, values)| each(key, texts(values)))
    }
}
