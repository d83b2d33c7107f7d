//! Fields: what an expression may ask about a request and its response, and the trait through which the answers come.

mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::value::{Array, EmptyMap, Type, Value};

pub use table::Field;

/// When a field has its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// As soon as there is a request.
    Request,
    /// Once there is a response.
    Response,
}

/// One row of the table of fields.
#[derive(Debug)]
pub struct FieldSpec {
    /// The field.
    pub id: Field,
    /// Its name in an expression.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// From which phase on it has a value.
    pub phase: Phase,
    /// Whether an edge can know it at all. Others always have their default.
    pub edge: bool,
    /// The number that stands where nothing is known; 0 for what is no number.
    pub default: i64,
    /// One sentence of documentation.
    pub summary: &'static str,
}

/// Short names of the types, for the table.
mod kinds {
    use crate::value::{Scalar, Type};

    pub(super) const TEXT: Type = Type::Bytes;
    pub(super) const INT: Type = Type::Int;
    pub(super) const BOOL: Type = Type::Bool;
    pub(super) const ADDRESS: Type = Type::Ip;
    pub(super) const TEXTS: Type = Type::Array(Scalar::Bytes);
    pub(super) const INTS: Type = Type::Array(Scalar::Int);
    pub(super) const TEXT_LISTS: Type = Type::ArrayOfArrays(Scalar::Bytes);
    pub(super) const TEXTS_BY_NAME: Type = Type::MapOfArrays(Scalar::Bytes);
    pub(super) const INTS_BY_NAME: Type = Type::MapOfArrays(Scalar::Int);
    pub(super) const INT_BY_NAME: Type = Type::Map(Scalar::Int);
}

/// Old names that are still accepted, and the fields that they mean.
pub const ALIASES: &[(&str, Field)] = &[
    ("ip.geoip.asnum", Field::IpSrcAsnum),
    ("ip.geoip.continent", Field::IpSrcContinent),
    ("ip.geoip.country", Field::IpSrcCountry),
    ("ip.geoip.is_in_european_union", Field::IpSrcIsInEuropeanUnion),
    ("ip.geoip.subdivision_1_iso_code", Field::IpSrcSubdivision1IsoCode),
    ("ip.geoip.subdivision_2_iso_code", Field::IpSrcSubdivision2IsoCode),
];

static NAMES: LazyLock<HashMap<&'static str, Field>> = LazyLock::new(|| {
    let names = table::TABLE.iter().map(|spec| (spec.name, spec.id));
    names.chain(ALIASES.iter().copied()).collect()
});

impl Field {
    /// Every field, as the reference lists them.
    #[must_use]
    pub fn all() -> &'static [FieldSpec] {
        table::TABLE
    }

    /// The field of this name (or old name).
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        NAMES.get(name).copied()
    }

    /// Its row in the table.
    #[must_use]
    pub fn spec(self) -> &'static FieldSpec {
        &table::TABLE[self as usize]
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Its type.
    #[must_use]
    pub fn kind(self) -> Type {
        self.spec().kind
    }

    /// What stands for it where nothing is known: the documented default, which is the empty text, `false`, 0 (100 for
    /// scores), an empty collection; nil for an address.
    #[must_use]
    pub fn default_value(self) -> Value<'static> {
        match self.kind() {
            Type::Bool => Value::Bool(false),
            Type::Int => Value::Int(self.spec().default),
            Type::Bytes => Value::text(b""),
            Type::Ip => Value::Nil,
            Type::Array(_) | Type::ArrayOfArrays(_) => Value::Array(Array::Slices(&[])),
            Type::Map(_) | Type::MapOfArrays(_) => Value::Map(&EmptyMap),
        }
    }
}

/// Whoever holds a request: gives the value of each field when it is asked for it.
///
/// An evaluation asks for a field only when it needs it, and may ask more than once, so what is costly to work out belongs in
/// a `OnceCell` of the implementor. Values borrow from it.
pub trait Fields {
    /// The value of `field`, of the type that its row in the table says. [`Value::Nil`] means that nothing is known, and the
    /// default stands; so does a value of another type.
    fn field(&self, field: Field) -> Value<'_>;

    /// A run-time limit (named as in [`limits`](crate::limits)) made a value nil. For counting; does nothing by default.
    fn limit_reached(&self, limit: &'static str) {
        let _ = limit;
    }
}

/// The value of a field as an expression sees it.
pub(crate) fn load<'a>(fields: &'a dyn Fields, field: Field) -> Value<'a> {
    let value = fields.field(field);
    if fits(&value, field.kind()) { value } else { field.default_value() }
}

/// Whether a value may stand for the type. Elements of collections are judged where they are used.
fn fits(value: &Value<'_>, kind: Type) -> bool {
    match value {
        Value::Nil => false,
        Value::Bool(_) => kind == Type::Bool,
        Value::Int(_) => kind == Type::Int,
        Value::Bytes(_) => kind == Type::Bytes,
        Value::Ip(_) => kind == Type::Ip,
        Value::Array(_) => kind.is_array(),
        Value::Map(_) => kind.is_map(),
    }
}

#[cfg(test)]
mod tests;
