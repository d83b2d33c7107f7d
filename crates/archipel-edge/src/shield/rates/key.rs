//! Which counter a request belongs to: its characteristics, hashed with a secret of this process.

use std::borrow::Cow;
use std::hash::{BuildHasher as _, Hasher, RandomState};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use archipel_config::{By, Characteristic};
use archipel_http::query;
use archipel_rules::Value;
use http::HeaderName;
use http::header::COOKIE;

use crate::exchange::Exchange;
use crate::firewall::View;
use crate::phases::Made;
use crate::shield::limits::Bits;

/// What the requests of one counter have in common.
pub(super) struct Key {
    parts: Box<[Part]>,
    /// What was written, to know the rule again after a reload.
    pub(super) text: Box<str>,
    /// Whether each address has counters of its own.
    pub(super) by_address: bool,
    /// Whether it looks at the request's body.
    pub(super) reads_body: bool,
}

enum Part {
    Address,
    Network,
    Header(HeaderName),
    Cookie(Box<str>),
    Query(Box<str>),
    Value(Made),
}

impl Key {
    pub(super) fn new(characteristics: &[Characteristic]) -> Self {
        let part = |characteristic: &Characteristic| match characteristic.by() {
            By::Address => Some(Part::Address),
            By::Network => Some(Part::Network),
            By::Node => None,
            By::Header(name) => Some(Part::Header(name.clone())),
            By::Cookie(name) => Some(Part::Cookie(name.clone())),
            By::Query(name) => Some(Part::Query(name.clone())),
            By::Value(value) => Made::new(value).map(Part::Value),
        };
        let parts: Box<[Part]> = characteristics.iter().filter_map(part).collect();
        let text: Vec<&str> = characteristics.iter().map(Characteristic::text).collect();
        Self {
            text: text.join("\n").into(),
            by_address: parts.iter().any(|part| matches!(part, Part::Address)),
            reads_body: parts.iter().any(|part| matches!(part, Part::Value(made) if made.reads_body())),
            parts,
        }
    }

    /// The counter of a request.
    pub(super) fn of(&self, ex: &Exchange, view: &View<'_>) -> u64 {
        // Keyed, so that nobody can make requests that share a counter, or places in a table.
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let mut hasher = SECRET.build_hasher();
        for part in &self.parts {
            part.hash(ex, view, &mut hasher);
        }
        hasher.finish()
    }
}

/// What stands before each value, so that no two lists of values are hashed alike.
#[repr(u8)]
enum Tag {
    Missing,
    One,
    Several,
    Flag,
    Number,
    Address,
    Collection,
}

impl Part {
    fn hash(&self, ex: &Exchange, view: &View<'_>, hasher: &mut impl Hasher) {
        match self {
            Self::Address => hasher.write_u64(Bits::of(ex.client).address),
            Self::Network => hasher.write_u64(Bits::of(ex.client).network),
            Self::Header(name) => {
                let mut values = ex.asked.headers.get_all(name).iter().map(http::HeaderValue::as_bytes);
                let first = values.next().map(Cow::Borrowed);
                one_of(first, values.next().is_some(), hasher);
            }
            Self::Cookie(name) => {
                let lines = ex.asked.headers.get_all(COOKIE).into_iter();
                named(lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')), name, hasher);
            }
            Self::Query(name) => {
                let (_, query) = ex.asked.path_and_query.split_once('?').unwrap_or_default();
                named(query.as_bytes().split(|byte| *byte == b'&'), name, hasher);
            }
            Self::Value(made) => hash(made.value(view), hasher),
        }
    }
}

/// The value of a name among pairs. Both are decoded: who writes a value in another way has no other counter.
fn named<'a>(pairs: impl Iterator<Item = &'a [u8]>, name: &str, hasher: &mut impl Hasher) {
    let mut values = pairs.filter_map(|pair| {
        let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
        let value = pair.get(end + 1..).unwrap_or_default();
        (*query::decode(pair[..end].trim_ascii()) == *name.as_bytes()).then(|| query::decode(value.trim_ascii()))
    });
    let first = values.next();
    one_of(first, values.next().is_some(), hasher);
}

/// Of several values nobody knows which one the origin goes by: whoever sends more than one shares a counter with all who do, so that a
/// second value is no way to a counter of one's own.
fn one_of(first: Option<Cow<'_, [u8]>>, more: bool, hasher: &mut impl Hasher) {
    match first {
        None => hasher.write_u8(Tag::Missing as u8),
        Some(_) if more => hasher.write_u8(Tag::Several as u8),
        Some(value) => text(&value, hasher),
    }
}

fn text(value: &[u8], hasher: &mut impl Hasher) {
    hasher.write_u8(Tag::One as u8);
    hasher.write_usize(value.len());
    hasher.write(value);
}

fn hash(value: Value<'_>, hasher: &mut impl Hasher) {
    match value {
        Value::Nil => hasher.write_u8(Tag::Missing as u8),
        Value::Bytes(bytes) => text(&bytes, hasher),
        Value::Bool(flag) => hasher.write(&[Tag::Flag as u8, flag.into()]),
        Value::Int(number) => {
            hasher.write_u8(Tag::Number as u8);
            hasher.write_i64(number);
        }
        Value::Ip(address) => {
            hasher.write_u8(Tag::Address as u8);
            std::hash::Hash::hash(&address.to_canonical(), hasher);
        }
        Value::Array(array) if array.len() > 1 => hasher.write_u8(Tag::Several as u8),
        Value::Array(array) => hash(array.at(0), hasher),
        Value::Map(map) => {
            hasher.write_u8(Tag::Collection as u8);
            let _ = map.entries(&mut |name, value| {
                text(name, hasher);
                hash(value, hasher);
                ControlFlow::Continue(())
            });
        }
    }
}
