//! Looking up one value in a JSON document, without building the rest of it.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::field::Fields;
use crate::limits::JSON_BYTES_MAX;
use crate::value::Value;

/// What was found at the end of a path.
enum Found {
    Text(String),
    Int(i64),
}

/// The integer at the path; nil when there is none, or the text is no JSON.
pub(super) fn integer<'a>(document: &Value<'_>, path: &[Value<'_>], fields: &dyn Fields) -> Value<'a> {
    match lookup(document, path, fields) {
        Some(Found::Int(number)) => Value::Int(number),
        _ => Value::Nil,
    }
}

/// The string at the path; nil when there is none, or the text is no JSON.
pub(super) fn string<'a>(document: &Value<'_>, path: &[Value<'_>], fields: &dyn Fields) -> Value<'a> {
    match lookup(document, path, fields) {
        Some(Found::Text(text)) => Value::Bytes(Cow::Owned(text.into_bytes())),
        _ => Value::Nil,
    }
}

fn lookup(document: &Value<'_>, path: &[Value<'_>], fields: &dyn Fields) -> Option<Found> {
    let document = document.as_bytes()?;
    if document.len() > JSON_BYTES_MAX {
        fields.limit_reached("json_bytes_max");
        return None;
    }
    let mut reader = serde_json::Deserializer::from_slice(document);
    let found = Path(path).deserialize(&mut reader).ok()?;
    reader.end().ok()?;
    found
}

/// What remains of a path.
#[derive(Clone, Copy)]
struct Path<'p>(&'p [Value<'p>]);

impl<'de> DeserializeSeed<'de> for Path<'_> {
    type Value = Option<Found>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Path<'_> {
    fn end(self, found: Found) -> Option<Found> {
        self.0.is_empty().then_some(found)
    }
}

impl<'de> Visitor<'de> for Path<'_> {
    type Value = Option<Found>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E: Error>(self, _value: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.end(Found::Int(value)))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).ok().and_then(|value| self.end(Found::Int(value))))
    }

    fn visit_f64<E: Error>(self, _value: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(self.end(Found::Text(value.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let wanted = match self.0.first() {
            Some(Value::Int(at)) => usize::try_from(*at).ok(),
            _ => None,
        };
        let mut found = None;
        let mut at = 0;
        loop {
            if Some(at) == wanted {
                match seq.next_element_seed(Path(&self.0[1..]))? {
                    Some(element) => found = element,
                    None => return Ok(None),
                }
            } else if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let wanted = self.0.first().and_then(Value::as_bytes);
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            // A key that stands twice: the last counts, as in most readers.
            if Some(key.as_bytes()) == wanted {
                found = map.next_value_seed(Path(&self.0[1..]))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}
