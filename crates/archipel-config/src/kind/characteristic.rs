//! Characteristics: what tells the requests apart that a rate limit counts together.

use std::fmt;

use http::HeaderName;
use serde_json::json;

use super::expression::ValueExpression;
use super::network::{entries, write_list};
use super::{Kind, quote};
use crate::diagnostic::{Code, Problem};
use crate::tree::{Node, Value};

/// Most characteristics of a rule.
pub const CHARACTERISTICS_MAX: usize = 8;

/// Longest name of a cookie or a query parameter, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What tells requests apart, with its text.
#[derive(Clone, Debug, PartialEq)]
pub struct Characteristic {
    text: Box<str>,
    by: By,
}

/// What tells requests apart.
#[derive(Clone, Debug, PartialEq)]
pub enum By {
    /// The client's address; of IPv6 its /64.
    Address,
    /// The network that the address is in: a /24 of IPv4, a /48 of IPv6.
    Network,
    /// The node, by which all counters are apart anyway.
    Node,
    /// A header field.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
    /// A parameter of the query.
    Query(Box<str>),
    /// The value of an expression.
    Value(ValueExpression),
}

/// Short words for expressions.
const SHORT: [(&str, &str); 7] = [
    ("host", "http.host"),
    ("path", "http.request.uri.path"),
    ("method", "http.request.method"),
    ("user_agent", "http.user_agent"),
    ("country", "ip.src.country"),
    ("asn", "ip.src.asnum"),
    ("ja4", "cf.bot_management.ja4"),
];

impl Characteristic {
    /// The text, as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it is.
    pub fn by(&self) -> &By {
        &self.by
    }

    fn parse(text: &str) -> Result<Self, Problem> {
        Ok(Self { text: text.into(), by: By::parse(text.trim())? })
    }
}

impl fmt::Display for Characteristic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl By {
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "ip.src" => return Ok(Self::Address),
            "network" => return Ok(Self::Network),
            "cf.colo.id" => return Ok(Self::Node),
            "cf.unique_visitor_id" => {
                return Err(bad(
                    text,
                    "an edge like this does not know",
                    "count by \"ip.src\", or by a cookie of yours",
                ));
            }
            _ => {}
        }
        if let Some((what, name)) = named(text) {
            return Self::named(what, name);
        }
        let expression = SHORT.iter().find(|(short, _)| *short == text).map_or(text, |(_, long)| long);
        ValueExpression::of_request(expression).map(Self::Value).map_err(|problem| {
            let short = SHORT.iter().map(|(short, _)| *short).chain(["ip.src", "network"]);
            let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'));
            match crate::suggest::nearest(text, short).filter(|_| plain) {
                Some(near) => problem.help(format!("did you mean \"{near}\"?")),
                None => problem,
            }
        })
    }

    fn named(what: &str, name: &str) -> Result<Self, Problem> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            let help = format!("write a name of 1 to {NAME_BYTES_MAX} bytes, such as `{what} \"x-api-key\"`");
            return Err(bad(name, &format!("is no name of a {what}"), &help));
        }
        match what {
            "header" => HeaderName::from_bytes(name.as_bytes())
                .map(Self::Header)
                .map_err(|_| bad(name, "is no header field name", "write a name such as `header \"x-api-key\"`")),
            "cookie" => Ok(Self::Cookie(name.into())),
            _ => Ok(Self::Query(name.into())),
        }
    }
}

/// The two ways to name a field: short, and as an expression.
const NAMED: [(&str, &str, &str); 3] = [
    ("header", "header \"", "http.request.headers[\""),
    ("cookie", "cookie \"", "http.request.cookies[\""),
    ("query", "query \"", "http.request.uri.args[\""),
];

/// What is named, and its name. What holds an escape is read as an expression.
fn named(text: &str) -> Option<(&'static str, &str)> {
    NAMED.iter().find_map(|(what, short, long)| {
        let short = text.strip_prefix(short).and_then(|rest| rest.strip_suffix('"'));
        let long = || text.strip_prefix(long).and_then(|rest| rest.strip_suffix("\"]"));
        short.or_else(long).filter(|name| !name.contains(['"', '\\'])).map(|name| (*what, name))
    })
}

fn bad(text: &str, what: &str, help: &str) -> Problem {
    Problem::error(Code::Malformed, format!("holds {}, which {what}", quote(text))).help(help)
}

/// A list of characteristics.
pub(crate) struct Characteristics;

impl Kind<Vec<Characteristic>> for Characteristics {
    fn read(&self, node: &Node) -> Result<Vec<Characteristic>, Vec<Problem>> {
        if let Value::List(list) = &node.value
            && !(1..=CHARACTERISTICS_MAX).contains(&list.len())
        {
            let message = format!("has {} entries; 1 to {CHARACTERISTICS_MAX} are needed", list.len());
            let problem = Problem::error(Code::OutOfRange, message);
            return Err(vec![problem.help("to count all requests together, write [\"cf.colo.id\"]")]);
        }
        let mut seen: Vec<String> = Vec::new();
        entries(node, "a list of characteristics", |text| {
            if seen.iter().any(|other| other == text.trim()) {
                return Err(Problem::error(Code::Duplicate, format!("holds {} twice", quote(text))));
            }
            seen.push(text.trim().to_owned());
            Characteristic::parse(text)
        })
    }

    fn write(&self, value: &Vec<Characteristic>) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        "characteristics"
    }

    fn allowed(&self) -> String {
        "list of `ip.src`, `network`, `header \"NAME\"`, `cookie \"NAME\"`, `query \"NAME\"`, `host`, `path`, `method`, `user_agent`, \
         `country`, `asn`, `ja4`, or expressions of the rules language"
            .to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true, "minItems": 1, "maxItems": CHARACTERISTICS_MAX})
    }
}

/// Requests of one address are counted together.
pub(crate) fn by_address() -> Vec<Characteristic> {
    vec![Characteristic { text: "ip.src".into(), by: By::Address }]
}
