//! Kinds of free text: one line, many lines, a field's value, codes and numbers of rules.

use http::{HeaderName, HeaderValue};
use serde_json::json;

use super::network::{entries, list_schema, write_list};
use super::{Kind, malformed, quote, text, wrong_type};
use crate::diagnostic::{Code, Problem};
use crate::tree::{Node, Value};

/// One line of text, at most so many bytes.
pub(crate) struct Line(pub usize);

/// Text with line ends, at most so many bytes.
pub(crate) struct Paragraphs(pub usize);

fn bounded(node: &Node, bytes_max: usize) -> Result<&str, Vec<Problem>> {
    let text = text(node, "a text")?;
    if text.len() > bytes_max {
        let message = format!("has {} bytes, at most {bytes_max} are allowed", text.len());
        return Err(vec![Problem::error(Code::TooLarge, message)]);
    }
    Ok(text)
}

impl Kind<Box<str>> for Line {
    fn read(&self, node: &Node) -> Result<Box<str>, Vec<Problem>> {
        let text = bounded(node, self.0)?;
        if text.chars().any(char::is_control) {
            return Err(malformed("has a control character", "write one line of plain text"));
        }
        Ok(text.into())
    }

    fn write(&self, value: &Box<str>) -> Option<String> {
        Some(quote(value))
    }

    fn name(&self) -> &'static str {
        "text"
    }

    fn allowed(&self) -> String {
        format!("one line of at most {} bytes", self.0)
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "maxLength": self.0})
    }
}

impl Kind<Box<str>> for Paragraphs {
    fn read(&self, node: &Node) -> Result<Box<str>, Vec<Problem>> {
        bounded(node, self.0).map(Into::into)
    }

    fn write(&self, value: &Box<str>) -> Option<String> {
        Some(quote(value))
    }

    fn name(&self) -> &'static str {
        "text"
    }

    fn allowed(&self) -> String {
        format!("at most {} bytes", self.0)
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "maxLength": self.0})
    }
}

/// The value of a header field, at most so many bytes.
pub(crate) struct FieldValue(pub usize);

impl Kind<HeaderValue> for FieldValue {
    fn read(&self, node: &Node) -> Result<HeaderValue, Vec<Problem>> {
        let text = bounded(node, self.0)?;
        HeaderValue::from_str(text).map_err(|_| {
            malformed("is no header field value", "control characters and line ends cannot stand in a field")
        })
    }

    fn write(&self, value: &HeaderValue) -> Option<String> {
        Some(quote(&String::from_utf8_lossy(value.as_bytes())))
    }

    fn name(&self) -> &'static str {
        "header value"
    }

    fn allowed(&self) -> String {
        format!("at most {} bytes without control characters", self.0)
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "maxLength": self.0})
    }
}

/// A list of countries by their two-letter codes (ISO 3166-1 alpha-2), and Cloudflare's `XX` (unknown) and `T1` (Tor).
pub(crate) struct Countries;

impl Kind<Vec<[u8; 2]>> for Countries {
    fn read(&self, node: &Node) -> Result<Vec<[u8; 2]>, Vec<Problem>> {
        let mut seen = Vec::new();
        entries(node, "a list of countries", |text| {
            let upper = text.to_ascii_uppercase();
            let code = <[u8; 2]>::try_from(upper.as_bytes())
                .ok()
                .filter(|code| code[0].is_ascii_uppercase() && code[1].is_ascii_alphanumeric());
            let Some(code) = code else {
                let message = format!("holds {}, which is no country", quote(text));
                return Err(Problem::error(Code::Malformed, message)
                    .help("write the two letters of ISO 3166-1, such as \"DE\"; \"XX\" is an unknown country"));
            };
            if seen.contains(&code) {
                return Err(Problem::error(Code::Duplicate, format!("holds {} twice", quote(text))));
            }
            seen.push(code);
            Ok(code)
        })
    }

    fn write(&self, value: &Vec<[u8; 2]>) -> Option<String> {
        Some(write_list(value.iter().map(|code| String::from_utf8_lossy(code))))
    }

    fn name(&self) -> &'static str {
        "countries"
    }

    fn allowed(&self) -> String {
        "list of two-letter codes (ISO 3166-1), `XX` for unknown".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        list_schema()
    }
}

/// A list of autonomous system numbers.
pub(crate) struct Asns;

impl Kind<Vec<u32>> for Asns {
    fn read(&self, node: &Node) -> Result<Vec<u32>, Vec<Problem>> {
        let Value::List(list) = &node.value else {
            return Err(wrong_type("a list of numbers", node));
        };
        if list.len() > super::LIST_ENTRIES_MAX {
            let message = format!("has {} entries, at most {} are allowed", list.len(), super::LIST_ENTRIES_MAX);
            return Err(vec![Problem::error(Code::TooMany, message)]);
        }
        let (mut found, mut problems) = (Vec::with_capacity(list.len()), Vec::new());
        for item in list {
            match item.value {
                Value::Integer(number) if u32::try_from(number).is_ok() => found.extend(u32::try_from(number)),
                _ => problems.push(
                    Problem::error(Code::Malformed, "holds what is no autonomous system number")
                        .help("write the number alone, such as 64500")
                        .at(item.span.clone()),
                ),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    fn write(&self, value: &Vec<u32>) -> Option<String> {
        let numbers: Vec<String> = value.iter().map(ToString::to_string).collect();
        Some(format!("[{}]", numbers.join(", ")))
    }

    fn name(&self) -> &'static str {
        "numbers"
    }

    fn allowed(&self) -> String {
        "list of autonomous system numbers".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": u32::MAX},
            "maxItems": super::LIST_ENTRIES_MAX})
    }
}

/// Entries of a named list, texts or numbers, kept as texts: what they mean is the list's kind.
pub(crate) struct ListTexts;

impl Kind<Vec<Box<str>>> for ListTexts {
    fn read(&self, node: &Node) -> Result<Vec<Box<str>>, Vec<Problem>> {
        let Value::List(list) = &node.value else {
            return Err(wrong_type("a list", node));
        };
        if list.len() > super::LIST_ENTRIES_MAX {
            let message = format!("has {} entries, at most {} are allowed", list.len(), super::LIST_ENTRIES_MAX);
            return Err(vec![
                Problem::error(Code::TooMany, message).help("put them into a file, and name it with `file`"),
            ]);
        }
        let (mut found, mut problems) = (Vec::with_capacity(list.len()), Vec::new());
        for item in list {
            match &item.value {
                Value::Text(text) => found.push(text.as_str().into()),
                Value::Integer(number) => found.push(number.to_string().into()),
                other => {
                    let message = format!("holds {}, where a text or a number is expected", other.type_name());
                    problems.push(Problem::error(Code::WrongType, message).at(item.span.clone()));
                }
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(problems) }
    }

    fn write(&self, value: &Vec<Box<str>>) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        "list"
    }

    fn allowed(&self) -> String {
        format!("at most {} texts or numbers", super::LIST_ENTRIES_MAX)
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "array", "items": {"type": ["string", "integer"]}, "maxItems": super::LIST_ENTRIES_MAX})
    }
}

/// The name of a list in expressions: lower-case letters, digits and `_`, beginning with a letter.
pub(crate) struct ListName;

/// Longest name of a list, as Cloudflare has it.
const LIST_NAME_BYTES_MAX: usize = 50;

impl Kind<Box<str>> for ListName {
    fn read(&self, node: &Node) -> Result<Box<str>, Vec<Problem>> {
        let text = text(node, "a text")?;
        let shape = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        let begins = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
        if !shape || !begins || text.len() > LIST_NAME_BYTES_MAX {
            return Err(malformed(
                "is no name of a list",
                format!("1 to {LIST_NAME_BYTES_MAX} lower-case letters, digits and `_`, beginning with a letter"),
            ));
        }
        Ok(text.into())
    }

    fn write(&self, value: &Box<str>) -> Option<String> {
        Some(quote(value))
    }

    fn name(&self) -> &'static str {
        "name"
    }

    fn allowed(&self) -> String {
        format!("1 to {LIST_NAME_BYTES_MAX} lower-case letters, digits, `_`")
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "pattern": "^[a-z][a-z0-9_]*$", "maxLength": LIST_NAME_BYTES_MAX})
    }
}

/// A text for which empty is not absent.
pub(crate) struct EmptyCounts<K>(pub K);

impl<T, K: Kind<T>> Kind<Option<T>> for EmptyCounts<K> {
    fn read(&self, node: &Node) -> Result<Option<T>, Vec<Problem>> {
        self.0.read(node).map(Some)
    }

    fn write(&self, value: &Option<T>) -> Option<String> {
        value.as_ref().and_then(|value| self.0.write(value))
    }

    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn schema(&self) -> serde_json::Value {
        self.0.schema()
    }
}

/// A header field that a rule may change.
pub(crate) struct RuleField;

/// Fields that frame a message, route it, or belong to a connection: changed, they would mean another message.
const FIELDS_FIXED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "sec-websocket-accept",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl Kind<HeaderName> for RuleField {
    fn read(&self, node: &Node) -> Result<HeaderName, Vec<Problem>> {
        let text = text(node, "a text")?;
        let name = HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| malformed("is no header field name", "write a name such as \"x-country\""))?;
        if FIELDS_FIXED.contains(&name.as_str()) {
            let help = if name == http::header::HOST {
                "the host that the origin sees is `host` in `[origin]` or `[[routes]]`"
            } else {
                "the field belongs to the connection or frames the message"
            };
            return Err(malformed(format!("is \"{name}\", which a rule cannot change"), help));
        }
        Ok(name)
    }

    fn write(&self, value: &HeaderName) -> Option<String> {
        Some(quote(value.as_str()))
    }

    fn name(&self) -> &'static str {
        "header"
    }

    fn allowed(&self) -> String {
        "header field name".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"})
    }
}

/// One of a few numbers.
pub(crate) struct OneOf(pub &'static [u16]);

impl OneOf {
    fn list(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }
}

impl Kind<u16> for OneOf {
    fn read(&self, node: &Node) -> Result<u16, Vec<Problem>> {
        let Value::Integer(number) = node.value else {
            return Err(wrong_type("a whole number", node));
        };
        self.0.iter().copied().find(|one| i128::from(*one) == number).ok_or_else(|| {
            vec![Problem::error(Code::OutOfRange, format!("must be one of {}, not {number}", self.list()))]
        })
    }

    fn write(&self, value: &u16) -> Option<String> {
        Some(value.to_string())
    }

    fn name(&self) -> &'static str {
        "count"
    }

    fn allowed(&self) -> String {
        self.list()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "integer", "enum": self.0})
    }
}
