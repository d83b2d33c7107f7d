//! The kinds of settings: how each is read, checked, written and described. One kind serves many settings.
//!
//! A kind knows nothing of the setting it serves; messages therefore continue a sentence that starts with its name.

use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;
use serde_json::json;

use crate::cidr::{Cidr, CidrError, CidrSet};
use crate::diagnostic::{Code, Problem};
use crate::host::{self, HostPattern};
use crate::suggest;
use crate::tree::{Node, Value};
use crate::units;
use crate::url::{HttpUrl, Scheme};

/// Longest list that a setting may hold.
pub const LIST_ENTRIES_MAX: usize = 10_000;

/// What a kind asks of the file system: only whether a file can be read.
pub(crate) trait Files {
    /// Tries to open the file; the text says why it cannot be read.
    fn readable(&self, path: &Path) -> Result<(), String>;
    /// Reads the file, at most `bytes_max` bytes; `Ok(None)` if it is larger.
    fn read(&self, path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, String>;
}

/// How one kind of setting is read, checked, written and described. `T` is the Rust type of the field.
pub(crate) trait Kind<T> {
    /// Reads a value; the messages continue "`name` ".
    fn read(&self, node: &Node) -> Result<T, Vec<Problem>>;
    /// The value in TOML; nothing where it is absent.
    fn write(&self, value: &T) -> Option<String>;
    /// Kind in one word, for the reference.
    fn name(&self) -> &'static str;
    /// What is allowed, for the reference; empty where the name says it all.
    fn allowed(&self) -> String;
    /// JSON Schema of the value.
    fn schema(&self) -> serde_json::Value;
    /// Makes relative paths start at the document's folder.
    fn settle(&self, value: T, _folder: &Path) -> T {
        value
    }
    /// Looks at the files that a settled value names.
    fn inspect(&self, _value: &T, _files: &dyn Files) -> Result<(), Problem> {
        Ok(())
    }
}

fn wrong_type(expected: &str, node: &Node) -> Vec<Problem> {
    let message = format!("must be {expected}, not {}", node.value.type_name());
    let mut problem = Problem::error(Code::WrongType, message);
    if let (Value::Text(text), false) = (&node.value, expected.contains("text")) {
        let plain = text.parse::<i64>().is_ok() || matches!(text.as_str(), "true" | "false");
        if plain {
            problem = problem.help(format!("remove the quotation marks: {text}"));
        }
    }
    vec![problem]
}

fn malformed(message: impl Into<String>, help: impl Into<String>) -> Vec<Problem> {
    vec![Problem::error(Code::Malformed, message).help(help)]
}

fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, Vec<Problem>> {
    match &node.value {
        Value::Text(text) => Ok(text),
        _ => Err(wrong_type(expected, node)),
    }
}

/// A TOML basic string.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn out_of_range(min: &str, max: &str, given: &str) -> Vec<Problem> {
    vec![
        Problem::error(
            Code::OutOfRange,
            format!("must be from {min} to {max}, not {given}"),
        )
        .help(format!("the least is {min}, the most is {max}")),
    ]
}

/// Number types that fields may have.
pub(crate) trait Amount: Copy + TryFrom<u64> {
    fn to_u64(self) -> u64;
}

impl Amount for u32 {
    fn to_u64(self) -> u64 {
        self.into()
    }
}

impl Amount for u64 {
    fn to_u64(self) -> u64 {
        self
    }
}

impl Amount for usize {
    fn to_u64(self) -> u64 {
        self as u64
    }
}

fn bounded<T: Amount>(
    amount: u64,
    bounds: (u64, u64),
    show: fn(u64) -> String,
) -> Result<T, Vec<Problem>> {
    let fits = (bounds.0..=bounds.1).contains(&amount);
    match T::try_from(amount) {
        Ok(value) if fits => Ok(value),
        _ => Err(out_of_range(
            &show(bounds.0),
            &show(bounds.1),
            &show(amount),
        )),
    }
}

/// A number of bytes, least and most.
pub(crate) struct Bytes(pub u64, pub u64);

impl<T: Amount> Kind<T> for Bytes {
    fn read(&self, node: &Node) -> Result<T, Vec<Problem>> {
        let amount = match &node.value {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| {
                out_of_range(
                    &units::show_bytes(self.0),
                    &units::show_bytes(self.1),
                    &number.to_string(),
                )
            })?,
            Value::Text(text) => {
                units::parse_bytes(text).map_err(|help| malformed("is no number of bytes", help))?
            }
            _ => return Err(wrong_type("a number of bytes", node)),
        };
        bounded(amount, (self.0, self.1), units::show_bytes)
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(quote(&units::show_bytes(value.to_u64())))
    }

    fn name(&self) -> &'static str {
        "bytes"
    }

    fn allowed(&self) -> String {
        format!(
            "{} to {}",
            units::show_bytes(self.0),
            units::show_bytes(self.1)
        )
    }

    fn schema(&self) -> serde_json::Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": self.0, "maximum": self.1},
            {"type": "string", "pattern": "^\\s*[0-9]+\\s*([KkMmGgTt][Ii]?)?[Bb]?\\s*$"},
        ]})
    }
}

/// A plain number, least and most.
pub(crate) struct Count(pub u64, pub u64);

impl<T: Amount> Kind<T> for Count {
    fn read(&self, node: &Node) -> Result<T, Vec<Problem>> {
        let Value::Integer(number) = node.value else {
            return Err(wrong_type("a whole number", node));
        };
        let amount = u64::try_from(number).map_err(|_| {
            out_of_range(
                &self.0.to_string(),
                &self.1.to_string(),
                &number.to_string(),
            )
        })?;
        bounded(amount, (self.0, self.1), |number| number.to_string())
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(value.to_u64().to_string())
    }

    fn name(&self) -> &'static str {
        "count"
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "integer", "minimum": self.0, "maximum": self.1})
    }
}

/// A length of time in milliseconds, least and most.
pub(crate) struct Time(pub u64, pub u64);

/// Milliseconds in a second, for the bounds of [`Time`].
pub(crate) const SECOND: u64 = 1_000;
/// Milliseconds in a day, for the bounds of [`Time`].
pub(crate) const DAY: u64 = 86_400 * SECOND;

fn show_millis(millis: u64) -> String {
    units::show_duration(Duration::from_millis(millis))
}

impl Kind<Duration> for Time {
    fn read(&self, node: &Node) -> Result<Duration, Vec<Problem>> {
        let duration = match &node.value {
            // Nothing is nothing in every unit.
            Value::Integer(0) => Duration::ZERO,
            Value::Text(text) => {
                units::parse_duration(text).map_err(|help| malformed("is no duration", help))?
            }
            Value::Integer(number) => {
                let help = format!("a duration needs a unit: did you mean \"{number}s\"?");
                return Err(malformed("has no unit", help));
            }
            _ => return Err(wrong_type("a duration", node)),
        };
        let millis: u64 = bounded(
            u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
            (self.0, self.1),
            show_millis,
        )?;
        Ok(Duration::from_millis(millis))
    }

    fn write(&self, value: &Duration) -> Option<String> {
        Some(quote(&units::show_duration(*value)))
    }

    fn name(&self) -> &'static str {
        "duration"
    }

    fn allowed(&self) -> String {
        format!("{} to {}", show_millis(self.0), show_millis(self.1))
    }

    fn schema(&self) -> serde_json::Value {
        json!({"anyOf": [
            {"type": "string", "pattern": "^\\s*([0-9]+\\s*(ms|s|m|h|d)\\s*)+$"},
            {"const": 0},
        ]})
    }
}

/// True or false.
pub(crate) struct Flag;

impl Kind<bool> for Flag {
    fn read(&self, node: &Node) -> Result<bool, Vec<Problem>> {
        match node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(wrong_type("true or false", node)),
        }
    }

    fn write(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }

    fn name(&self) -> &'static str {
        "bool"
    }

    fn allowed(&self) -> String {
        String::new()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "boolean"})
    }
}

/// A share from 0 to 1.
pub(crate) struct Ratio;

impl Kind<f64> for Ratio {
    fn read(&self, node: &Node) -> Result<f64, Vec<Problem>> {
        let ratio = match node.value {
            Value::Float(number) => number,
            // Every integer that could be in range is exact.
            Value::Integer(number) => number as f64,
            _ => return Err(wrong_type("a number from 0 to 1", node)),
        };
        if (0.0..=1.0).contains(&ratio) {
            Ok(ratio)
        } else {
            Err(out_of_range("0.0", "1.0", &ratio.to_string()))
        }
    }

    fn write(&self, value: &f64) -> Option<String> {
        Some(format!("{value:?}"))
    }

    fn name(&self) -> &'static str {
        "ratio"
    }

    fn allowed(&self) -> String {
        "0.0 to 1.0".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "number", "minimum": 0, "maximum": 1})
    }
}

/// A Rust enum that is written as one of a few words.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Every value with its word.
    const WORDS: &'static [(&'static str, Self)];
}

/// One of a few words.
pub(crate) struct Words<T>(PhantomData<T>);

impl<T> Words<T> {
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Word> Kind<T> for Words<T> {
    fn read(&self, node: &Node) -> Result<T, Vec<Problem>> {
        let text = text(node, "a text")?;
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Ok(*value);
        }
        let message = format!("must be one of {}, not {}", self.allowed(), quote(text));
        let problem = Problem::error(Code::UnknownWord, message);
        let near = suggest::nearest(text, T::WORDS.iter().map(|(word, _)| *word));
        Err(vec![match near {
            Some(word) => problem.help(format!("did you mean \"{word}\"?")),
            None => problem,
        }])
    }

    fn write(&self, value: &T) -> Option<String> {
        let word = T::WORDS.iter().find(|(_, other)| other == value);
        word.map(|(word, _)| quote(word))
    }

    fn name(&self) -> &'static str {
        "word"
    }

    fn allowed(&self) -> String {
        let words: Vec<String> = T::WORDS.iter().map(|(word, _)| quote(word)).collect();
        words.join(", ")
    }

    fn schema(&self) -> serde_json::Value {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json!({"type": "string", "enum": words})
    }
}

/// A name of a node: letters, digits, `-`, `_` and `.`.
pub(crate) struct Name(pub usize);

impl Kind<String> for Name {
    fn read(&self, node: &Node) -> Result<String, Vec<Problem>> {
        let text = text(node, "a text")?;
        let shape = text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if text.is_empty() || text.len() > self.0 {
            let message = format!("must have 1 to {} characters, not {}", self.0, text.len());
            return Err(vec![Problem::error(Code::OutOfRange, message)]);
        }
        if !shape {
            return Err(malformed(
                "is no name",
                "allowed are letters, digits, `-`, `_` and `.`",
            ));
        }
        Ok(text.to_owned())
    }

    fn write(&self, value: &String) -> Option<String> {
        Some(quote(value))
    }

    fn name(&self) -> &'static str {
        "name"
    }

    fn allowed(&self) -> String {
        format!("1 to {} letters, digits, `-`, `_`, `.`", self.0)
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "minLength": 1, "maxLength": self.0, "pattern": "^[A-Za-z0-9._-]+$"})
    }
}

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
fn entries<T>(
    node: &Node,
    expected: &str,
    mut read: impl FnMut(&str) -> Result<T, Problem>,
) -> Result<Vec<T>, Vec<Problem>> {
    let Value::List(list) = &node.value else {
        return Err(wrong_type(expected, node));
    };
    if list.len() > LIST_ENTRIES_MAX {
        let message = format!(
            "has {} entries, at most {LIST_ENTRIES_MAX} are allowed",
            list.len()
        );
        return Err(vec![Problem::error(Code::TooMany, message)]);
    }
    let mut values = Vec::with_capacity(list.len());
    let mut problems = Vec::new();
    for item in list {
        let result = match &item.value {
            Value::Text(text) => read(text),
            other => Err(Problem::error(
                Code::WrongType,
                format!("must hold texts only, not {}", other.type_name()),
            )),
        };
        match result {
            Ok(value) => values.push(value),
            Err(problem) => problems.push(problem.at(item.span.clone())),
        }
    }
    if problems.is_empty() {
        Ok(values)
    } else {
        Err(problems)
    }
}

fn write_list<T: ToString>(values: impl Iterator<Item = T>) -> String {
    let quoted: Vec<String> = values.map(|value| quote(&value.to_string())).collect();
    format!("[{}]", quoted.join(", "))
}

fn list_schema() -> serde_json::Value {
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
                return Err(Problem::error(
                    Code::Duplicate,
                    format!("holds {} twice", quote(text)),
                ));
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
    let message = format!("holds {}, which is no address range", quote(text));
    let help = match error {
        CidrError::Address => {
            "write an IP address or a prefix such as \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned()
        }
        CidrError::Prefix => {
            "the part after `/` is a number from 0 to 32 for IPv4, to 128 for IPv6".to_owned()
        }
        CidrError::HostBits(meant) => {
            format!("bits beyond the prefix are set: did you mean \"{meant}\"?")
        }
    };
    Problem::error(Code::Malformed, message).help(help)
}

/// The hosts of a zone.
pub(crate) struct Hosts;

impl Kind<Vec<HostPattern>> for Hosts {
    fn read(&self, node: &Node) -> Result<Vec<HostPattern>, Vec<Problem>> {
        let mut seen = std::collections::HashSet::new();
        let hosts = entries(node, "a list of host names", |text| {
            let pattern = HostPattern::parse(text).map_err(|error| {
                Problem::error(
                    Code::BadHost,
                    format!("holds {}, which {}", quote(text), error.message),
                )
                .help(error.help)
            })?;
            if !seen.insert(pattern.clone()) {
                return Err(Problem::error(
                    Code::Duplicate,
                    format!("holds \"{pattern}\" twice"),
                ));
            }
            Ok(pattern)
        })?;
        if hosts.is_empty() {
            // Empty is not all: a zone for every host says so.
            let problem = Problem::error(Code::Missing, "holds no host");
            return Err(vec![problem.help(
                "name the hosts of the zone, or write [\"*\"] for every host",
            )]);
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
            return Err(malformed(
                "is an https URL",
                "only http:// is possible here",
            ));
        }
        if !self.path && &*url.path != "/" {
            let help = format!(
                "write {} alone: the path of the request is sent as it is",
                quote(
                    &HttpUrl {
                        path: "/".into(),
                        ..url
                    }
                    .to_string()
                )
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
        let schemes = if self.https {
            "http:// or https://"
        } else {
            "http://"
        };
        let path = if self.path { "" } else { ", without a path" };
        format!("{schemes}{path}")
    }

    fn schema(&self) -> serde_json::Value {
        let pattern = if self.https {
            "^[Hh][Tt][Tt][Pp][Ss]?://"
        } else {
            "^[Hh][Tt][Tt][Pp]://"
        };
        json!({"type": "string", "format": "uri", "pattern": pattern})
    }
}

/// A path of a folder or of a file that is made when needed.
pub(crate) struct AnyPath;

/// A path of a file that must be readable.
pub(crate) struct FilePath;

fn read_path(node: &Node) -> Result<PathBuf, Vec<Problem>> {
    let text = text(node, "a text")?;
    if text.is_empty() || text.contains('\0') {
        return Err(malformed(
            "is no path",
            "write a path; a relative one starts at the document's folder",
        ));
    }
    Ok(PathBuf::from(text))
}

macro_rules! path_kind {
    ($kind:ty, $name:literal, { $($inspect:item)* }) => {
        impl Kind<PathBuf> for $kind {
            fn read(&self, node: &Node) -> Result<PathBuf, Vec<Problem>> {
                read_path(node)
            }

            fn write(&self, value: &PathBuf) -> Option<String> {
                Some(quote(&value.to_string_lossy()))
            }

            fn name(&self) -> &'static str {
                $name
            }

            fn allowed(&self) -> String {
                "relative to the document's folder".to_owned()
            }

            fn schema(&self) -> serde_json::Value {
                json!({"type": "string", "minLength": 1})
            }

            fn settle(&self, value: PathBuf, folder: &Path) -> PathBuf {
                folder.join(value)
            }

            $($inspect)*
        }
    };
}

path_kind!(AnyPath, "path", {});
path_kind!(FilePath, "file", {
    fn inspect(&self, value: &PathBuf, files: &dyn Files) -> Result<(), Problem> {
        files.readable(value).map_err(|why| {
            Problem::error(
                Code::FileMissing,
                format!(
                    "names {}, which cannot be read: {why}",
                    quote(&value.to_string_lossy())
                ),
            )
            .help("the path is relative to the folder of the document that names it")
        })
    }
});

/// A setting that may be absent. An empty text is absent as well, so that a default can be switched off.
pub(crate) struct Optional<K>(pub K);

impl<T, K: Kind<T>> Kind<Option<T>> for Optional<K> {
    fn read(&self, node: &Node) -> Result<Option<T>, Vec<Problem>> {
        if matches!(&node.value, Value::Text(text) if text.is_empty()) {
            return Ok(None);
        }
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
        json!({"anyOf": [self.0.schema(), {"const": ""}]})
    }

    fn settle(&self, value: Option<T>, folder: &Path) -> Option<T> {
        value.map(|value| self.0.settle(value, folder))
    }

    fn inspect(&self, value: &Option<T>, files: &dyn Files) -> Result<(), Problem> {
        value
            .as_ref()
            .map_or(Ok(()), |value| self.0.inspect(value, files))
    }
}

/// A host name or address literal.
pub(crate) struct ServerName;

impl Kind<Box<str>> for ServerName {
    fn read(&self, node: &Node) -> Result<Box<str>, Vec<Problem>> {
        let text = text(node, "a text")?;
        host::normalise(text).map_err(|error| {
            vec![
                Problem::error(
                    Code::BadHost,
                    format!("is {}, which {}", quote(text), error.message),
                )
                .help(error.help),
            ]
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
        let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
            malformed(
                "is no header field name",
                "write a name such as \"x-request-id\"",
            )
        })?;
        if FIELDS_RESERVED.contains(&name.as_str()) {
            return Err(malformed(
                format!("is \"{name}\", which has a meaning of its own"),
                "choose another name",
            ));
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
