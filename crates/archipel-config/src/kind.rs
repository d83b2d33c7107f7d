//! The kinds of settings: how each is read, checked, written and described. One kind serves many settings.
//!
//! A kind knows nothing of the setting it serves; messages therefore continue a sentence that starts with its name.

mod amount;
pub(crate) mod characteristic;
pub(crate) mod expression;
mod list;
pub(crate) mod managed;
mod network;
mod path;
pub(crate) mod rule;
pub(crate) mod text;

use std::marker::PhantomData;
use std::path::Path;

use serde_json::json;

pub(crate) use amount::{Bytes, Count, DAY, Ratio, SECOND, Time};
pub(crate) use list::{MediaTypePatterns, PathPattern};
pub(crate) use network::{Address, Cidrs, FieldName, Hosts, ServerName, Url};
pub(crate) use path::{AnyPath, FilePath};

use crate::diagnostic::{Code, Problem};
use crate::suggest;
use crate::tree::{Node, Value};

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

pub(crate) fn wrong_type(expected: &str, node: &Node) -> Vec<Problem> {
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

pub(crate) fn malformed(message: impl Into<String>, help: impl Into<String>) -> Vec<Problem> {
    vec![Problem::error(Code::Malformed, message).help(help)]
}

pub(crate) fn text<'a>(node: &'a Node, expected: &str) -> Result<&'a str, Vec<Problem>> {
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

pub(crate) fn out_of_range(min: &str, max: &str, given: &str) -> Vec<Problem> {
    vec![
        Problem::error(Code::OutOfRange, format!("must be from {min} to {max}, not {given}"))
            .help(format!("the least is {min}, the most is {max}")),
    ]
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

/// A Rust enum that is written as one of a few words.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// Every value with its word.
    const WORDS: &'static [(&'static str, Self)];
}

/// Declares an enum that is written as one of a few words.
macro_rules! words {
    ($(#[doc = $doc:literal])+ $name:ident { $($(#[doc = $vdoc:literal])+ $variant:ident $word:literal;)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $vdoc])+ $variant,)+ }

        impl $crate::kind::Word for $name {
            const WORDS: &'static [(&'static str, Self)] = &[$(($word, $name::$variant)),+];
        }
    };
}

pub(crate) use words;

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
        let shape = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        if text.is_empty() || text.len() > self.0 {
            let message = format!("must have 1 to {} characters, not {}", self.0, text.len());
            return Err(vec![Problem::error(Code::OutOfRange, message)]);
        }
        if !shape {
            return Err(malformed("is no name", "allowed are letters, digits, `-`, `_` and `.`"));
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
        // A yes or no goes without saying only where the default shows that it is one.
        Some(self.0.allowed()).filter(|allowed| !allowed.is_empty()).unwrap_or_else(|| "true, false".to_owned())
    }

    fn schema(&self) -> serde_json::Value {
        json!({"anyOf": [self.0.schema(), {"const": ""}]})
    }

    fn settle(&self, value: Option<T>, folder: &Path) -> Option<T> {
        value.map(|value| self.0.settle(value, folder))
    }

    fn inspect(&self, value: &Option<T>, files: &dyn Files) -> Result<(), Problem> {
        value.as_ref().map_or(Ok(()), |value| self.0.inspect(value, files))
    }
}
