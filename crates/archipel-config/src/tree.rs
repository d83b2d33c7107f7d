//! The document tree: values with their places, before anything is known about settings.
//!
//! Owns reading TOML and JSON into one shape and the named limits of a document. Knows no setting and touches no file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Code, Diagnostic, Diagnostics, Position, Problem, Related, SNIPPET_CHARS_MAX, Span};
use crate::quoted;

/// Largest document in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

/// Deepest nesting of tables and lists in a document; no setting needs more than four.
pub const DOCUMENT_DEPTH_MAX: usize = 16;

/// A document's text and how to speak about it.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// Name shown to people, such as `zones/shop.toml`.
    pub name: String,
    /// The text; empty for values that came without one.
    pub text: String,
    /// Folder that relative paths in the document start from.
    pub folder: PathBuf,
}

impl Source {
    pub fn new(name: &str, text: &str, base: &Path) -> Self {
        let folder = match Path::new(name).parent() {
            Some(parent) => base.join(parent),
            None => base.to_path_buf(),
        };
        Self { name: name.to_owned(), text: text.to_owned(), folder }
    }

    /// Ties a problem to this document.
    pub fn diagnostic(&self, path: &str, span: Option<Range<usize>>, problem: Problem) -> Diagnostic {
        let span = problem.span.or(span);
        let span = match (&problem.within, &span) {
            (Some(within), Some(span)) => Some(quoted::inside(&self.text, span, within)),
            _ => span,
        };
        Diagnostic {
            code: problem.code,
            severity: problem.severity,
            file: self.name.clone(),
            span: span.and_then(|range| self.span(range)),
            path: path.to_owned(),
            message: problem.message,
            help: problem.help,
            related: problem.related.map(|related| *related),
        }
    }

    /// Another place, for a diagnostic elsewhere to point to.
    pub fn related(&self, span: Option<Range<usize>>, message: &str) -> Related {
        Related { file: self.name.clone(), span: span.and_then(|range| self.span(range)), message: message.to_owned() }
    }

    /// Turns a range of bytes into lines and columns; nothing where the range does not lie in the text.
    fn span(&self, range: Range<usize>) -> Option<Span> {
        let start = self.position(range.start)?;
        let end = self.position(range.end.max(range.start)).unwrap_or(start);
        let line_start = self.text.get(..range.start)?.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(line_start..)?.lines().next().unwrap_or("");
        let text_offset = (start.column - 1).saturating_sub(SNIPPET_CHARS_MAX / 2);
        let text_offset = if line.chars().count() <= SNIPPET_CHARS_MAX { 0 } else { text_offset };
        let text = line.chars().skip(text_offset).take(SNIPPET_CHARS_MAX).collect();
        Some(Span { start, end, text, text_offset })
    }

    fn position(&self, at: usize) -> Option<Position> {
        let before = self.text.get(..at)?;
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before.get(line_start..)?.chars().count() + 1;
        Some(Position { line, column })
    }
}

/// One value of a document with its place. Values read from JSON have no place.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Range of bytes in the document's text.
    pub span: Option<Range<usize>>,
}

/// What a [`Node`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// JSON's `null`: the same as not given.
    Null,
    /// A truth value.
    Flag(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(String),
    /// A TOML date or time, which no setting takes.
    Date,
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Table),
}

impl Value {
    /// What the value is, in words for people.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Flag(_) => "a boolean",
            Value::Integer(_) => "a number",
            Value::Float(_) => "a number with a fraction",
            Value::Text(_) => "a text",
            Value::Date => "a date",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
        }
    }
}

/// Named values in the order of the document (JSON) or of their names (TOML).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The entries; every key once.
    pub entries: Vec<Entry>,
}

/// One named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The name.
    pub key: String,
    /// Place of the name.
    pub key_span: Option<Range<usize>>,
    /// The value.
    pub node: Node,
}

impl Table {
    /// The value of this name; `null` counts as absent.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        (entry.node.value != Value::Null).then_some(&entry.node)
    }
}

impl Node {
    /// A table without entries and place: what an absent document reads as.
    pub fn empty() -> Self {
        Self { value: Value::Table(Table::default()), span: None }
    }

    /// The node at a dotted path such as `origin.url` or `listen[1].address`.
    pub(crate) fn find(&self, path: &str) -> Option<&Node> {
        let mut node = self;
        for part in path.split('.') {
            let (key, index) = match part.strip_suffix(']').and_then(|p| p.split_once('[')) {
                Some((key, index)) => (key, Some(index.parse::<usize>().ok()?)),
                None => (part, None),
            };
            let Value::Table(table) = &node.value else {
                return None;
            };
            node = table.get(key)?;
            if let Some(index) = index {
                let Value::List(list) = &node.value else {
                    return None;
                };
                node = list.get(index)?;
            }
        }
        Some(node)
    }
}

/// Reads a document. Every syntax error is reported, and nothing is returned if there is one: half a document would
/// only bring follow-up errors.
pub(crate) fn parse(source: &Source, out: &mut Diagnostics) -> Option<Node> {
    if source.text.len() > DOCUMENT_BYTES_MAX {
        let message = format!("the document has {} bytes, at most {DOCUMENT_BYTES_MAX} are allowed", source.text.len());
        out.report(source, "", None, Problem::error(Code::TooLarge, message));
        return None;
    }
    if source.name.ends_with(".json") { parse_json(source, out) } else { parse_toml(source, out) }
}

fn parse_toml(source: &Source, out: &mut Diagnostics) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(&source.text);
    for error in &errors {
        let at = error.span().or(Some(source.text.len()..source.text.len()));
        out.report(source, "", at, Problem::error(Code::TomlSyntax, error.message()));
    }
    if !errors.is_empty() {
        return None;
    }
    let mut convert = Convert { source, out, failed: false };
    let root = convert.table(table.get_ref(), 0);
    (!convert.failed).then_some(Node { value: Value::Table(root), span: None })
}

struct Convert<'a> {
    source: &'a Source,
    out: &'a mut Diagnostics,
    failed: bool,
}

impl Convert<'_> {
    fn table(&mut self, table: &DeTable<'_>, depth: usize) -> Table {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref().to_string(),
                key_span: Some(key.span()),
                node: Node { value: self.value(value.get_ref(), value.span(), depth), span: Some(value.span()) },
            })
            .collect();
        // The parser sorts by name; people read from top to bottom.
        entries.sort_by_key(|entry| entry.key_span.as_ref().map(|span| span.start));
        Table { entries }
    }

    fn value(&mut self, value: &DeValue<'_>, span: Range<usize>, depth: usize) -> Value {
        match value {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Boolean(flag) => Value::Flag(*flag),
            DeValue::Datetime(_) => Value::Date,
            DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Integer(number),
                Err(_) => self.fail(span, Code::OutOfRange, "the number is too large"),
            },
            DeValue::Float(number) => match number.as_str().parse::<f64>() {
                Ok(number) => Value::Float(number),
                Err(_) => self.fail(span, Code::Malformed, "the number cannot be understood"),
            },
            DeValue::Array(_) | DeValue::Table(_) if depth >= DOCUMENT_DEPTH_MAX => {
                self.fail(span, Code::TooMany, "tables and lists are nested too deep")
            }
            DeValue::Array(list) => Value::List(
                list.iter()
                    .map(|item| Node {
                        value: self.value(item.get_ref(), item.span(), depth + 1),
                        span: Some(item.span()),
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, depth + 1)),
        }
    }

    fn fail(&mut self, span: Range<usize>, code: Code, message: &str) -> Value {
        self.failed = true;
        self.out.report(self.source, "", Some(span), Problem::error(code, message));
        Value::Null
    }
}

fn parse_json(source: &Source, out: &mut Diagnostics) -> Option<Node> {
    match serde_json::from_str::<Node>(&source.text) {
        Ok(node) => Some(node),
        Err(error) => {
            let at = offset(&source.text, error.line(), error.column());
            let message = error.to_string();
            // The library ends its message with the place, which the diagnostic shows itself.
            let message = message.split(" at line ").next().unwrap_or(&message).to_owned();
            out.report(source, "", Some(at..at), Problem::error(Code::JsonSyntax, message));
            None
        }
    }
}

/// The byte offset of a line and a column in bytes, both from 1, moved to the start of a character.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl Node {
    /// The tree of a JSON value, as it comes through an API.
    ///
    /// # Errors
    /// Says so if the value is nested deeper than [`DOCUMENT_DEPTH_MAX`].
    pub fn from_json(value: &serde_json::Value) -> Result<Self, String> {
        Node::deserialize(value).map_err(|error| error.to_string())
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Nested(DOCUMENT_DEPTH_MAX);
        de::DeserializeSeed::deserialize(value, deserializer)
    }
}

/// Reads any value, with so many levels left below it.
struct Nested(usize);

impl Nested {
    fn below<E: de::Error>(&self) -> Result<Nested, E> {
        match self.0.checked_sub(1) {
            Some(levels) => Ok(Nested(levels)),
            None => Err(E::custom("tables and lists are nested too deep")),
        }
    }
}

impl<'de> de::DeserializeSeed<'de> for Nested {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }
}

fn leaf(value: Value) -> Node {
    Node { value, span: None }
}

impl<'de> Visitor<'de> for Nested {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Node, E> {
        Ok(leaf(Value::Flag(flag)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(leaf(Value::Integer(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(leaf(Value::Integer(number.into())))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(leaf(Value::Float(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(leaf(Value::Text(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(leaf(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element_seed(self.below()?)? {
            list.push(node);
        }
        Ok(leaf(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut table = Table::default();
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(de::Error::custom(format_args!("duplicate key `{key}`")));
            }
            let node = map.next_value_seed(self.below()?)?;
            table.entries.push(Entry { key, key_span: None, node });
        }
        Ok(leaf(Value::Table(table)))
    }
}
