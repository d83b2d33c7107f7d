//! Kinds of lists and patterns: words, media types, paths.

use archipel_http::coding::MediaTypes;
use archipel_http::coding_dictionary;
use serde_json::json;

use super::network::{entries, list_schema, write_list};
use super::{Kind, Word, Words, malformed, quote, text};
use crate::diagnostic::{Code, Problem};
use crate::suggest;
use crate::tree::Node;

impl<T: Word> Words<T> {
    /// A list of such words, each at most once.
    pub const fn list(self) -> WordList<T> {
        WordList(self)
    }
}

/// A list of a few words, each at most once.
pub(crate) struct WordList<T>(Words<T>);

impl<T: Word> Kind<Vec<T>> for WordList<T> {
    fn read(&self, node: &Node) -> Result<Vec<T>, Vec<Problem>> {
        let mut seen: Vec<T> = Vec::new();
        entries(node, "a list of words", |text| {
            let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) else {
                let message = format!("holds {}, which is none of {}", quote(text), self.0.allowed());
                let problem = Problem::error(Code::UnknownWord, message);
                let near = suggest::nearest(text, T::WORDS.iter().map(|(word, _)| *word));
                return Err(match near {
                    Some(word) => problem.help(format!("did you mean \"{word}\"?")),
                    None => problem,
                });
            };
            if seen.contains(value) {
                return Err(Problem::error(Code::Duplicate, format!("holds {} twice", quote(text))));
            }
            seen.push(*value);
            Ok(*value)
        })
    }

    fn write(&self, value: &Vec<T>) -> Option<String> {
        let word = |value: &T| T::WORDS.iter().find(|(_, other)| other == value).map(|(word, _)| *word);
        Some(write_list(value.iter().filter_map(word)))
    }

    fn name(&self) -> &'static str {
        "words"
    }

    fn allowed(&self) -> String {
        format!("list of {}", self.0.allowed())
    }

    fn schema(&self) -> serde_json::Value {
        let mut schema = list_schema();
        if let Some(object) = schema.as_object_mut() {
            object.insert("items".to_owned(), self.0.schema());
        }
        schema
    }
}

/// A list of media types or patterns of them, in lower case.
pub(crate) struct MediaTypePatterns;

impl Kind<Vec<Box<str>>> for MediaTypePatterns {
    fn read(&self, node: &Node) -> Result<Vec<Box<str>>, Vec<Problem>> {
        entries(node, "a list of media types", |text| {
            if MediaTypes::is_pattern(text) {
                return Ok(text.to_ascii_lowercase().into());
            }
            let message = format!("holds {}, which is no media type", quote(text));
            let help = "write \"text/html\", \"text/*\" or \"*+json\", without parameters";
            Err(Problem::error(Code::Malformed, message).help(help))
        })
    }

    fn write(&self, value: &Vec<Box<str>>) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        "media types"
    }

    fn allowed(&self) -> String {
        "list of `type/subtype`, `type/*`, `*+suffix`".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        list_schema()
    }
}

/// A path with `*` for any characters.
pub(crate) struct PathPattern;

impl Kind<Box<str>> for PathPattern {
    fn read(&self, node: &Node) -> Result<Box<str>, Vec<Problem>> {
        let text = text(node, "a text")?;
        if coding_dictionary::is_pattern(text) {
            return Ok(text.into());
        }
        Err(malformed(
            "is no path pattern",
            "write a path that starts with `/`, with `*` for any characters, without a query",
        ))
    }

    fn write(&self, value: &Box<str>) -> Option<String> {
        Some(quote(value))
    }

    fn name(&self) -> &'static str {
        "path pattern"
    }

    fn allowed(&self) -> String {
        "path, `*` for any characters".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "pattern": "^/", "maxLength": 1024})
    }
}
