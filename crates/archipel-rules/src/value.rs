//! Types and values: what a field holds, a function returns and a comparison sees. Values borrow from the request where
//! they can.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::ops::ControlFlow;

/// A type that is no collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scalar {
    /// `true` or `false`.
    Bool,
    /// A signed number of 64 bits.
    Int,
    /// Text: bytes of any kind. The documentation speaks of String and of Bytes; they are one type.
    Bytes,
    /// An IPv4 or IPv6 address.
    Ip,
}

/// The type of a field, of a function's result or of a part of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// A signed number of 64 bits.
    Int,
    /// Text: bytes of any kind.
    Bytes,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A list.
    Array(Scalar),
    /// A list of lists.
    ArrayOfArrays(Scalar),
    /// Values by name.
    Map(Scalar),
    /// Lists by name.
    MapOfArrays(Scalar),
}

impl Type {
    /// The type of an element of an array or of a value of a map.
    #[must_use]
    pub fn element(self) -> Option<Self> {
        match self {
            Self::Array(scalar) | Self::Map(scalar) => Some(scalar.into()),
            Self::ArrayOfArrays(scalar) | Self::MapOfArrays(scalar) => Some(Self::Array(scalar)),
            Self::Bool | Self::Int | Self::Bytes | Self::Ip => None,
        }
    }

    /// Whether it is a map.
    #[must_use]
    pub fn is_map(self) -> bool {
        matches!(self, Self::Map(_) | Self::MapOfArrays(_))
    }

    /// Whether it is an array.
    #[must_use]
    pub fn is_array(self) -> bool {
        matches!(self, Self::Array(_) | Self::ArrayOfArrays(_))
    }

    /// The type without its collections, where there are none.
    #[must_use]
    pub fn scalar(self) -> Option<Scalar> {
        match self {
            Self::Bool => Some(Scalar::Bool),
            Self::Int => Some(Scalar::Int),
            Self::Bytes => Some(Scalar::Bytes),
            Self::Ip => Some(Scalar::Ip),
            _ => None,
        }
    }

    /// A list of values of this type; `None` beyond two levels.
    #[must_use]
    pub fn array(self) -> Option<Self> {
        match self {
            Self::Array(scalar) => Some(Self::ArrayOfArrays(scalar)),
            other => other.scalar().map(Self::Array),
        }
    }
}

impl From<Scalar> for Type {
    fn from(scalar: Scalar) -> Self {
        match scalar {
            Scalar::Bool => Self::Bool,
            Scalar::Int => Self::Int,
            Scalar::Bytes => Self::Bytes,
            Scalar::Ip => Self::Ip,
        }
    }
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "Boolean",
            Self::Int => "Integer",
            Self::Bytes => "String",
            Self::Ip => "IP address",
        })
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Array(scalar) => write!(f, "Array<{scalar}>"),
            Self::ArrayOfArrays(scalar) => write!(f, "Array<Array<{scalar}>>"),
            Self::Map(scalar) => write!(f, "Map<{scalar}>"),
            Self::MapOfArrays(scalar) => write!(f, "Map<Array<{scalar}>>"),
            Self::Bool => Scalar::Bool.fmt(f),
            Self::Int => Scalar::Int.fmt(f),
            Self::Bytes => Scalar::Bytes.fmt(f),
            Self::Ip => Scalar::Ip.fmt(f),
        }
    }
}

/// A value. A missing one is [`Value::Nil`]: comparing it gives `false`, most functions pass it on.
#[derive(Clone, Default)]
pub enum Value<'a> {
    /// Nothing: not known, or no such element.
    #[default]
    Nil,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Int(i64),
    /// Text: bytes of any kind.
    Bytes(Cow<'a, [u8]>),
    /// An address.
    Ip(IpAddr),
    /// A list.
    Array(Array<'a>),
    /// Values by name.
    Map(&'a dyn MapSource),
}

/// A list of values.
#[derive(Clone)]
pub enum Array<'a> {
    /// One text, such as the only line of a header.
    One(&'a [u8]),
    /// Texts that somebody else keeps.
    Slices(&'a [&'a [u8]]),
    /// Values of any one type.
    Values(Vec<Value<'a>>),
}

/// A map as the holder of a request has it, such as its headers. Keys are compared byte by byte.
pub trait MapSource {
    /// The value of a key; nil where there is none.
    fn get<'a>(&'a self, key: &[u8]) -> Value<'a>;

    /// Calls `each` once for every key, with its value as [`get`](Self::get) gives it, in order, until it breaks.
    fn entries<'a>(&'a self, each: &mut dyn FnMut(&'a [u8], Value<'a>) -> ControlFlow<()>) -> ControlFlow<()>;
}

/// A map without entries.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmptyMap;

impl MapSource for EmptyMap {
    fn get<'a>(&'a self, _key: &[u8]) -> Value<'a> {
        Value::Nil
    }

    fn entries<'a>(&'a self, _each: &mut dyn FnMut(&'a [u8], Value<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<'a> Value<'a> {
    /// Text that is kept elsewhere.
    #[must_use]
    pub fn text<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Self {
        Self::Bytes(Cow::Borrowed(text.as_ref()))
    }

    /// A list of texts that are kept elsewhere, of which there is often only one.
    #[must_use]
    pub fn texts(texts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut texts = texts.into_iter();
        match (texts.next(), texts.next()) {
            (None, _) => Self::Array(Array::Slices(&[])),
            (Some(one), None) => Self::Array(Array::One(one)),
            (Some(one), Some(other)) => {
                let mut values = vec![Self::text(one), Self::text(other)];
                values.extend(texts.map(Self::text));
                Self::Array(Array::Values(values))
            }
        }
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self, Self::Nil)
    }

    /// The bytes of a text.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Whether two values that are no collections are the same; collections and nil never are.
    pub(crate) fn same(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Bool(one), Value::Bool(other)) => one == other,
            (Self::Int(one), Value::Int(other)) => one == other,
            (Self::Bytes(one), Value::Bytes(other)) => one == other,
            (Self::Ip(one), Value::Ip(other)) => one.to_canonical() == other.to_canonical(),
            _ => false,
        }
    }
}

impl<'a> Array<'a> {
    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Slices(slices) => slices.len(),
            Self::Values(values) => values.len(),
        }
    }

    /// Whether there are no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `index`, from 0; nil where there is none.
    #[must_use]
    pub fn at(mut self, index: usize) -> Value<'a> {
        match &mut self {
            Self::One(one) if index == 0 => Value::text(*one),
            Self::One(_) => Value::Nil,
            Self::Slices(slices) => slices.get(index).map_or(Value::Nil, |slice| Value::text(*slice)),
            Self::Values(values) => values.get_mut(index).map_or(Value::Nil, std::mem::take),
        }
    }

    /// Calls `each` with every element until it breaks.
    pub fn visit(self, each: &mut dyn FnMut(Value<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
        match self {
            Self::One(one) => each(Value::text(one)),
            Self::Slices(slices) => slices.iter().try_for_each(|slice| each(Value::text(*slice))),
            Self::Values(values) => values.into_iter().try_for_each(each),
        }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Array<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        let mut first = true;
        let mut result = Ok(());
        let _ = self.clone().visit(&mut |value| {
            let comma = if std::mem::take(&mut first) { "" } else { ", " };
            result = write!(f, "{comma}{value}");
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        result?;
        f.write_str("]")
    }
}

/// Values as the language writes them: texts quoted, with what is not printable ASCII escaped.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => f.write_str("nil"),
            Self::Bool(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::Ip(value) => value.fmt(f),
            Self::Bytes(bytes) => write!(f, "{}", Quoted(bytes)),
            Self::Array(array) => array.fmt(f),
            Self::Map(map) => {
                f.write_str("{")?;
                let mut first = true;
                let mut result = Ok(());
                let _ = map.entries(&mut |key, value| {
                    let comma = if std::mem::take(&mut first) { "" } else { ", " };
                    result = write!(f, "{comma}{}: {value}", Quoted(key));
                    if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
                });
                result?;
                f.write_str("}")
            }
        }
    }
}

/// Bytes as a quoted literal of the language.
pub(crate) struct Quoted<'a>(pub &'a [u8]);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for letter in chunk.valid().chars() {
                match letter {
                    '"' | '\\' => write!(f, "\\{letter}")?,
                    _ if letter.is_control() => {
                        let mut buffer = [0; 4];
                        for byte in letter.encode_utf8(&mut buffer).bytes() {
                            write!(f, "\\x{byte:02x}")?;
                        }
                    }
                    _ => write!(f, "{letter}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}
