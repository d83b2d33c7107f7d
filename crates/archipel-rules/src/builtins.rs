//! What the functions do. A builtin is a function with its literal arguments worked out; the values of the others come when it
//! is applied. A function of nil is nil, unless its documentation says otherwise.

mod coding;
mod json;
mod text;
mod token;

use std::borrow::Cow;
use std::net::IpAddr;

use crate::ast::{ArgumentKind, Call, Literal};
use crate::diagnostic::{Code, Diagnostic};
use crate::field::Fields;
use crate::functions::Function;
use crate::limits::VALUE_BYTES_MAX;
use crate::regexes::Regex;
use crate::value::{Array, Value};
use crate::wildcard::{Replacement, Wildcard};

use token::TimedHmac;

/// A function ready to be applied.
#[derive(Clone, Debug)]
pub(crate) enum Builtin {
    Cidr { v4_bits: u8, v6_bits: u8 },
    Concat,
    DecodeBase64,
    EncodeBase64 { url_safe: bool, padded: bool },
    EndsWith,
    HasKey,
    HasValue,
    TimedHmac(Box<TimedHmac>),
    Join,
    Len,
    JsonInteger,
    JsonString,
    Lower,
    RegexReplace(Box<(Regex, Replacement)>),
    RemoveBytes,
    RemoveQueryArgs,
    Sha256,
    Split { separator: Box<[u8]>, parts_max: usize },
    StartsWith,
    Substring,
    ToString,
    Upper,
    UrlDecode { again: bool, unicode: bool },
    Uuidv4,
    WildcardReplace(Box<(Wildcard, Replacement)>),
}

impl Builtin {
    /// The builtin of a call whose arguments have been checked.
    pub fn new(call: &Call) -> Result<Self, Diagnostic> {
        let literals = Literals { call };
        Ok(match call.function {
            Function::Cidr => Self::Cidr { v4_bits: literals.bits(1), v6_bits: literals.bits(2) },
            Function::Cidr6 => Self::Cidr { v4_bits: 32, v6_bits: literals.bits(1) },
            Function::Concat => Self::Concat,
            Function::DecodeBase64 => Self::DecodeBase64,
            Function::EncodeBase64 => {
                let flags = literals.text(1);
                Self::EncodeBase64 { url_safe: flags.contains(&b'u'), padded: flags.contains(&b'p') }
            }
            Function::EndsWith => Self::EndsWith,
            Function::HasKey => Self::HasKey,
            Function::HasValue => Self::HasValue,
            Function::IsTimedHmacValidV0 => Self::TimedHmac(Box::new(TimedHmac {
                key: literals.text(0).into(),
                ttl: literals.number(2),
                separator_bytes: usize::try_from(literals.number(4)).unwrap_or(0),
                url_safe: literals.text(5).contains(&b's'),
            })),
            Function::Join => Self::Join,
            Function::Len => Self::Len,
            Function::LookupJsonInteger => Self::JsonInteger,
            Function::LookupJsonString => Self::JsonString,
            Function::Lower => Self::Lower,
            Function::RegexReplace => Self::RegexReplace(Box::new(literals.regex_replace()?)),
            Function::RemoveBytes => Self::RemoveBytes,
            Function::RemoveQueryArgs => Self::RemoveQueryArgs,
            Function::Sha256 => Self::Sha256,
            Function::Split => Self::Split {
                separator: literals.text(1).into(),
                parts_max: usize::try_from(literals.number(2)).unwrap_or(1).max(1),
            },
            Function::StartsWith => Self::StartsWith,
            Function::Substring => Self::Substring,
            Function::ToString => Self::ToString,
            Function::Upper => Self::Upper,
            Function::UrlDecode => {
                let options = literals.text(1);
                Self::UrlDecode { again: options.contains(&b'r'), unicode: options.contains(&b'u') }
            }
            Function::Uuidv4 => Self::Uuidv4,
            Function::WildcardReplace => Self::WildcardReplace(Box::new(literals.wildcard_replace()?)),
            Function::Any | Function::All | Function::BitSlice | Function::IsJwtPresent | Function::IsJwtValid => {
                let message = format!("`{}()` cannot be called here", call.function.name());
                return Err(Diagnostic::new(Code::Unsupported, call.span, message));
            }
        })
    }

    /// The result for the values of its arguments, literal ones included.
    pub fn apply<'a>(&'a self, first: Value<'a>, rest: &[Value<'a>], fields: &'a dyn Fields) -> Value<'a> {
        let second = rest.first().unwrap_or(&Value::Nil);
        match self {
            Self::Cidr { v4_bits, v6_bits } => match first {
                Value::Ip(address) => Value::Ip(network(address, *v4_bits, *v6_bits)),
                _ => Value::Nil,
            },
            Self::Concat => concat(first, rest, fields),
            Self::DecodeBase64 => with_text(first, coding::decode_base64),
            Self::EncodeBase64 { url_safe, padded } => {
                with_text(first, |text| Some(coding::encode_base64(&text, *url_safe, *padded)))
            }
            Self::EndsWith => both(&first, second, |text, end| Value::Bool(text.ends_with(end))),
            Self::StartsWith => both(&first, second, |text, start| Value::Bool(text.starts_with(start))),
            Self::HasKey => has_key(&first, second),
            Self::HasValue => has_value(first, second),
            Self::TimedHmac(hmac) => hmac.check(rest),
            Self::Join => join(first, second, fields),
            Self::Len => len(&first),
            Self::JsonInteger => json::integer(&first, rest, fields),
            Self::JsonString => json::string(&first, rest, fields),
            Self::Lower => with_text(first, |text| Some(text::lower(text))),
            Self::Upper => with_text(first, |text| Some(text::upper(text))),
            Self::RegexReplace(parts) => {
                with_text(first, |text| bounded(text::regex_replace(text, &parts.0, &parts.1), fields))
            }
            Self::WildcardReplace(parts) => {
                with_text(first, |text| bounded(text::wildcard_replace(text, &parts.0, &parts.1), fields))
            }
            Self::RemoveBytes => both(&first, second, |text, bytes| {
                Value::Bytes(Cow::Owned(text.iter().copied().filter(|byte| !bytes.contains(byte)).collect()))
            }),
            Self::RemoveQueryArgs => with_text(first, |text| Some(text::remove_query_args(&text, rest))),
            Self::Sha256 => with_text(first, |text| Some(coding::sha256(&text))),
            Self::Split { separator, parts_max } => split(first, separator, *parts_max),
            Self::Substring => text::substring(first, rest),
            Self::ToString => to_string(&first),
            Self::UrlDecode { again, unicode } => {
                with_text(first, |text| Some(coding::url_decode(text, *again, *unicode, fields)))
            }
            Self::Uuidv4 => with_text(first, |text| coding::uuidv4(&text)),
        }
    }
}

/// The literal arguments of a call, which has been checked to have them where it needs them.
struct Literals<'a> {
    call: &'a Call,
}

impl<'a> Literals<'a> {
    fn literal(&self, at: usize) -> Option<&'a Literal> {
        match &self.call.arguments.get(at)?.kind {
            ArgumentKind::Literal(literal) => Some(literal),
            _ => None,
        }
    }

    fn text(&self, at: usize) -> &'a [u8] {
        if let Some(Literal::Bytes(text)) = self.literal(at) { text } else { &[] }
    }

    fn number(&self, at: usize) -> i64 {
        if let Some(Literal::Int(number)) = self.literal(at) { *number } else { 0 }
    }

    fn bits(&self, at: usize) -> u8 {
        u8::try_from(self.number(at)).unwrap_or(0)
    }

    fn bad(&self, at: usize, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(Code::BadArgument, self.call.arguments[at].span, message)
    }

    fn replacement(&self, groups: usize) -> Result<Replacement, Diagnostic> {
        let replacement = Replacement::new(self.text(2)).map_err(|error| self.bad(2, error.to_string()))?;
        if replacement.group_max() > groups {
            let message = format!("there is no group {}, only {groups}", replacement.group_max());
            return Err(self.bad(2, message));
        }
        Ok(replacement)
    }

    fn regex_replace(&self) -> Result<(Regex, Replacement), Diagnostic> {
        let span = self.call.arguments[1].span;
        let pattern = std::str::from_utf8(self.text(1)).map_err(|_| self.bad(1, "the pattern is not UTF-8"))?;
        let regex = Regex::new(pattern).map_err(|error| error.at(span))?;
        let replacement = self.replacement(regex.groups())?;
        Ok((regex, replacement))
    }

    fn wildcard_replace(&self) -> Result<(Wildcard, Replacement), Diagnostic> {
        let strict = self.text(3).contains(&b's');
        let wildcard = Wildcard::new(self.text(1), strict).map_err(|error| self.bad(1, error.to_string()))?;
        let replacement = self.replacement(wildcard.stars())?;
        Ok((wildcard, replacement))
    }
}

/// The result for a text; nil for anything else.
fn with_text<'a>(value: Value<'a>, then: impl FnOnce(Cow<'a, [u8]>) -> Option<Cow<'a, [u8]>>) -> Value<'a> {
    match value {
        Value::Bytes(text) => then(text).map_or(Value::Nil, Value::Bytes),
        _ => Value::Nil,
    }
}

fn both<'a>(one: &Value<'_>, other: &Value<'_>, then: impl FnOnce(&[u8], &[u8]) -> Value<'a>) -> Value<'a> {
    match (one.as_bytes(), other.as_bytes()) {
        (Some(one), Some(other)) => then(one, other),
        _ => Value::Nil,
    }
}

/// A text that is not longer than texts may be.
fn bounded<'a>(text: Cow<'a, [u8]>, fields: &dyn Fields) -> Option<Cow<'a, [u8]>> {
    if text.len() <= VALUE_BYTES_MAX {
        return Some(text);
    }
    fields.limit_reached("value_bytes_max");
    None
}

fn network(address: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(v4_bits.min(32))).unwrap_or(0);
            IpAddr::V4((u32::from(v4) & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(v6_bits.min(128))).unwrap_or(0);
            IpAddr::V6((u128::from(v6) & mask).into())
        }
    }
}

/// What is nil is left out; nil if all are.
fn concat<'a>(first: Value<'a>, rest: &[Value<'a>], fields: &dyn Fields) -> Value<'a> {
    let rest = rest.iter().filter(|value| !value.is_nil());
    let mut all = std::iter::once(&first).filter(|value| !value.is_nil()).chain(rest);
    match all.next() {
        Some(Value::Bytes(text)) => {
            let mut whole = text.to_vec();
            for value in all {
                let bytes = value.as_bytes().unwrap_or_default();
                if whole.len() + bytes.len() > VALUE_BYTES_MAX {
                    fields.limit_reached("value_bytes_max");
                    return Value::Nil;
                }
                whole.extend_from_slice(bytes);
            }
            Value::Bytes(whole.into())
        }
        Some(Value::Array(array)) => {
            let mut whole = Vec::new();
            for array in std::iter::once(array).chain(all.filter_map(as_array)) {
                let _ = array.clone().visit(&mut |value| {
                    whole.push(value);
                    std::ops::ControlFlow::Continue(())
                });
            }
            Value::Array(Array::Values(whole))
        }
        _ => Value::Nil,
    }
}

fn as_array<'v, 'a>(value: &'v Value<'a>) -> Option<&'v Array<'a>> {
    if let Value::Array(array) = value { Some(array) } else { None }
}

fn has_key<'a>(map: &Value<'_>, key: &Value<'_>) -> Value<'a> {
    match (map, key) {
        (Value::Map(map), Value::Bytes(key)) => Value::Bool(!map.get(key).is_nil()),
        _ => Value::Nil,
    }
}

fn has_value<'a>(collection: Value<'_>, wanted: &Value<'_>) -> Value<'a> {
    use std::ops::ControlFlow;
    if wanted.is_nil() {
        return Value::Nil;
    }
    let test = |value: &Value<'_>| if value.same(wanted) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    match collection {
        Value::Array(array) => Value::Bool(array.visit(&mut |value| test(&value)).is_break()),
        Value::Map(map) => Value::Bool(map.entries(&mut |_, value| test(&value)).is_break()),
        _ => Value::Nil,
    }
}

fn join<'a>(items: Value<'_>, separator: &Value<'_>, fields: &dyn Fields) -> Value<'a> {
    use std::ops::ControlFlow;
    let (Value::Array(items), Some(separator)) = (items, separator.as_bytes()) else { return Value::Nil };
    let (mut whole, mut first) = (Vec::new(), true);
    let flow = items.visit(&mut |item| {
        let Some(item) = item.as_bytes() else { return ControlFlow::Continue(()) };
        if !std::mem::take(&mut first) {
            whole.extend_from_slice(separator);
        }
        whole.extend_from_slice(item);
        if whole.len() > VALUE_BYTES_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if flow.is_break() {
        fields.limit_reached("value_bytes_max");
        return Value::Nil;
    }
    Value::Bytes(whole.into())
}

fn len<'a>(value: &Value<'_>) -> Value<'a> {
    let len = match value {
        Value::Bytes(text) => text.len(),
        Value::Array(array) => array.len(),
        _ => return Value::Nil,
    };
    Value::Int(i64::try_from(len).unwrap_or(i64::MAX))
}

fn split<'a>(value: Value<'a>, separator: &[u8], parts_max: usize) -> Value<'a> {
    let Value::Bytes(text) = value else { return Value::Nil };
    let ranges = text::split(&text, separator, parts_max);
    let values = match &text {
        Cow::Borrowed(text) => ranges.into_iter().map(|range| Value::text(&text[range])).collect(),
        Cow::Owned(text) => ranges.into_iter().map(|range| Value::Bytes(Cow::Owned(text[range].to_vec()))).collect(),
    };
    Value::Array(Array::Values(values))
}

fn to_string<'a>(value: &Value<'_>) -> Value<'a> {
    let text = match value {
        Value::Int(number) => number.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Ip(address) => address.to_string(),
        _ => return Value::Nil,
    };
    Value::Bytes(text.into_bytes().into())
}

#[cfg(test)]
mod tests;
