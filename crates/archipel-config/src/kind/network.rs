//! Kinds of names on the network: addresses, ranges, hosts, URLs, header fields.

use std::net::SocketAddr;

use http::HeaderName;
use serde_json::json;

use super::{Kind, LIST_ENTRIES_MAX, malformed, quote, text, wrong_type};
use crate::cidr::{Cidr, CidrError, CidrSet};
use crate::diagnostic::{Code, Problem};
use crate::host::{self, HostPattern};
use crate::tree::{Node, Value};
use crate::url::{HttpUrl, Scheme};

/// An IP address with a port.
pub(crate) struct Address;

impl Kind<SocketAddr> for Address {
    fn read(&self, node: &Node) -> Result<SocketAddr, Vec<Problem>> {
        let text = text(node, "a text")?;
        text.parse().map_err(|_| {
            let port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")).unwrap_or(text);
            let help = if port.parse::<u16>().is_ok() {
                format!("write \"0.0.0.0:{port}\" or \"[::]:{port}\" for all interfaces, \"127.0.0.1:{port}\" for this machine only")
            } else {
                "write an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned()
            };
            malformed("is no address", help)
        })
    }

    fn write(&self, value: &SocketAddr) -> Option<String> {
        Some(quote(&value.to_string()))
    }

    fn name(&self) -> &'static str {
        "address"
    }

    fn allowed(&self) -> String {
        "IP address and port; port 0 takes a free one".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string"})
    }
}

/// Reads every entry of a list and gathers the problems of all.
pub(super) fn entries<T>(
    node: &Node,
    expected: &str,
    mut read: impl FnMut(&str) -> Result<T, Problem>,
) -> Result<Vec<T>, Vec<Problem>> {
    let Value::List(list) = &node.value else {
        return Err(wrong_type(expected, node));
    };
    if list.len() > LIST_ENTRIES_MAX {
        let message = format!("has {} entries, at most {LIST_ENTRIES_MAX} are allowed", list.len());
        return Err(vec![Problem::error(Code::TooMany, message)]);
    }
    let mut values = Vec::with_capacity(list.len());
    let mut problems = Vec::new();
    for item in list {
        let result = match &item.value {
            Value::Text(text) => read(text),
            other => Err(Problem::error(Code::WrongType, format!("must hold texts only, not {}", other.type_name()))),
        };
        match result {
            Ok(value) => values.push(value),
            Err(problem) => problems.push(problem.at(item.span.clone())),
        }
    }
    if problems.is_empty() { Ok(values) } else { Err(problems) }
}

pub(super) fn write_list<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let quoted: Vec<String> = values.map(|value| quote(&value.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

pub(super) fn list_schema() -> serde_json::Value {
    json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true, "maxItems": LIST_ENTRIES_MAX})
}

/// A list of address ranges.
pub(crate) struct Cidrs;

impl Kind<CidrSet> for Cidrs {
    fn read(&self, node: &Node) -> Result<CidrSet, Vec<Problem>> {
        let mut seen = std::collections::HashSet::new();
        let ranges = entries(node, "a list of address ranges", |text| {
            let cidr: Cidr = text.parse().map_err(|error| cidr_problem(text, error))?;
            if !seen.insert(cidr) {
                return Err(Problem::error(Code::Duplicate, format!("holds {} twice", quote(text))));
            }
            Ok(cidr)
        })?;
        Ok(CidrSet::new(ranges))
    }

    fn write(&self, value: &CidrSet) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        "address ranges"
    }

    fn allowed(&self) -> String {
        "list of CIDR prefixes or addresses".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        list_schema()
    }
}

fn cidr_problem(text: &str, error: CidrError) -> Problem {
    let (message, help) = crate::lists::cidr_wrong(text, error);
    Problem::error(Code::Malformed, message).help(help)
}

/// The hosts of a zone.
pub(crate) struct Hosts;

impl Kind<Vec<HostPattern>> for Hosts {
    fn read(&self, node: &Node) -> Result<Vec<HostPattern>, Vec<Problem>> {
        let mut seen = std::collections::HashSet::new();
        let hosts = entries(node, "a list of host names", |text| {
            let pattern = HostPattern::parse(text).map_err(|error| {
                Problem::error(Code::BadHost, format!("holds {}, which {}", quote(text), error.message))
                    .help(error.help)
            })?;
            if !seen.insert(pattern.clone()) {
                return Err(Problem::error(Code::Duplicate, format!("holds \"{pattern}\" twice")));
            }
            Ok(pattern)
        })?;
        if hosts.is_empty() {
            // Empty is not all: a zone for every host says so.
            let problem = Problem::error(Code::Missing, "holds no host");
            return Err(vec![problem.help("name the hosts of the zone, or write [\"*\"] for every host")]);
        }
        Ok(hosts)
    }

    fn write(&self, value: &Vec<HostPattern>) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        "hosts"
    }

    fn allowed(&self) -> String {
        "list of names, `*.suffix`, or `*`".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        let mut schema = list_schema();
        if let Some(object) = schema.as_object_mut() {
            object.insert("minItems".to_owned(), json!(1));
        }
        schema
    }
}

/// An `http` or `https` URL.
pub(crate) struct Url {
    /// Whether TLS is possible.
    pub https: bool,
    /// Whether a path is possible.
    pub path: bool,
}

impl Kind<HttpUrl> for Url {
    fn read(&self, node: &Node) -> Result<HttpUrl, Vec<Problem>> {
        let text = text(node, "a text")?;
        let url = HttpUrl::parse(text).map_err(|error| malformed(error.message, error.help))?;
        if !self.https && url.scheme == Scheme::Https {
            return Err(malformed("is an https URL", "only http:// is possible here"));
        }
        if !self.path && &*url.path != "/" {
            let help = format!(
                "write {} alone: the path of the request is sent as it is",
                quote(&HttpUrl { path: "/".into(), ..url }.to_string())
            );
            return Err(malformed("has a path", help));
        }
        Ok(url)
    }

    fn write(&self, value: &HttpUrl) -> Option<String> {
        Some(quote(&value.to_string()))
    }

    fn name(&self) -> &'static str {
        "URL"
    }

    fn allowed(&self) -> String {
        let schemes = if self.https { "http:// or https://" } else { "http://" };
        let path = if self.path { "" } else { ", without a path" };
        format!("{schemes}{path}")
    }

    fn schema(&self) -> serde_json::Value {
        let pattern = if self.https { "^[Hh][Tt][Tt][Pp][Ss]?://" } else { "^[Hh][Tt][Tt][Pp]://" };
        json!({"type": "string", "format": "uri", "pattern": pattern})
    }
}

/// A host name or address literal.
pub(crate) struct ServerName;

impl Kind<Box<str>> for ServerName {
    fn read(&self, node: &Node) -> Result<Box<str>, Vec<Problem>> {
        let text = text(node, "a text")?;
        host::normalise(text).map_err(|error| {
            vec![Problem::error(Code::BadHost, format!("is {}, which {}", quote(text), error.message)).help(error.help)]
        })
    }

    fn write(&self, value: &Box<str>) -> Option<String> {
        Some(quote(value))
    }

    fn name(&self) -> &'static str {
        "host"
    }

    fn allowed(&self) -> String {
        "host name or address".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "minLength": 1, "maxLength": host::HOST_BYTES_MAX})
    }
}

/// The name of a header field that the edge may set freely.
pub(crate) struct FieldName;

/// Fields that frame or route a message: setting them to something else would break it.
const FIELDS_RESERVED: [&str; 14] = [
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "host",
    "keep-alive",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl Kind<HeaderName> for FieldName {
    fn read(&self, node: &Node) -> Result<HeaderName, Vec<Problem>> {
        let text = text(node, "a text")?;
        let name = HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| malformed("is no header field name", "write a name such as \"x-request-id\""))?;
        if FIELDS_RESERVED.contains(&name.as_str()) {
            return Err(malformed(format!("is \"{name}\", which has a meaning of its own"), "choose another name"));
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
