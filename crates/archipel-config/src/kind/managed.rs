//! Kinds of exclusions from managed rules: numbers, tags and targets of rules. What they hold is written into rule text, so they
//! take nothing that could mean more there.

use std::fmt;

use serde_json::json;

use super::network::{entries, list_schema, write_list};
use super::{Kind, malformed, quote, text};
use crate::diagnostic::{Code, Problem};
use crate::tree::Node;

/// Largest number of a rule.
const RULE_NUMBER_MAX: u32 = 999_999_999;

/// Longest tag, and longest name in a target, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Numbers of rules, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleRange {
    /// The first.
    pub first: u32,
    /// The last.
    pub last: u32,
}

impl fmt::Display for RuleRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// A list of numbers of rules and ranges of them.
pub(crate) struct RuleNumbers;

impl Kind<Vec<RuleRange>> for RuleNumbers {
    fn read(&self, node: &Node) -> Result<Vec<RuleRange>, Vec<Problem>> {
        entries(node, "a list of texts", |text| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let number = |text: &str| {
                let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                text.parse::<u32>().ok().filter(|number| plain && (1..=RULE_NUMBER_MAX).contains(number))
            };
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => Ok(RuleRange { first, last }),
                _ => Err(Problem::error(Code::Malformed, format!("holds {}, which names no rules", quote(text)))
                    .help("write a rule's number, such as \"942100\", or a range, such as \"942100-942199\"")),
            }
        })
    }

    fn write(&self, value: &Vec<RuleRange>) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        "rules"
    }

    fn allowed(&self) -> String {
        "list of numbers of rules and ranges".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        list_schema()
    }
}

/// A list of tags.
pub(crate) struct Tags;

impl Kind<Vec<Box<str>>> for Tags {
    fn read(&self, node: &Node) -> Result<Vec<Box<str>>, Vec<Problem>> {
        entries(node, "a list of texts", |text| {
            let shape = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
            if text.is_empty() || text.len() > NAME_BYTES_MAX || !shape {
                return Err(Problem::error(Code::Malformed, format!("holds {}, which is no tag", quote(text)))
                    .help("write a tag as events show it, such as \"attack-sqli\""));
            }
            Ok(text.into())
        })
    }

    fn write(&self, value: &Vec<Box<str>>) -> Option<String> {
        Some(write_list(value.iter()))
    }

    fn name(&self) -> &'static str {
        "tags"
    }

    fn allowed(&self) -> String {
        "list of tags of rules".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        list_schema()
    }
}

/// What a rule looks at: a collection, and the name of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The collection, such as `ARGS`.
    pub collection: &'static str,
    /// The member's name; all of them without one.
    pub member: Option<Box<str>>,
}

impl Target {
    /// Reads a target as a document has it.
    ///
    /// # Errors
    /// Continues a sentence that begins with the setting, and says what to write instead.
    pub fn parse(text: &str) -> Result<Self, (&'static str, String)> {
        let (collection, member) = text.split_once(':').map_or((text, None), |(name, member)| (name, Some(member)));
        let Some(&collection) = COLLECTIONS.iter().find(|known| known.eq_ignore_ascii_case(collection)) else {
            let help = match member {
                None => format!("for the parameter of that name write {}", quote(&format!("ARGS:{text}"))),
                Some(_) => format!("the collections are {}", COLLECTIONS.join(", ")),
            };
            return Err(("names no collection that rules look at", help));
        };
        let plain = |member: &str| {
            let shape = |byte: u8| byte.is_ascii_graphic() && !b"'\"\\,;|!&%".contains(&byte);
            // A name that begins with a slash would be a regular expression.
            let named = if collection == "XML" { matches!(member, "/*" | "//@*") } else { !member.starts_with('/') };
            named && !member.is_empty() && member.len() <= NAME_BYTES_MAX && member.bytes().all(shape)
        };
        if member.is_some_and(|member| !plain(member)) {
            let help = format!(
                "at most {NAME_BYTES_MAX} visible characters without quotes, commas, semicolons and `| ! & % \\`, no slash \
                 first, and of XML `/*` (text) or `//@*` (attributes); exclude the collection by path instead"
            );
            return Err(("has a name that rules cannot be told of", help));
        }
        Ok(Self { collection, member: member.map(Into::into) })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.collection)?;
        self.member.as_ref().map_or(Ok(()), |member| write!(f, ":{member}"))
    }
}

/// Collections that exclusions can name.
const COLLECTIONS: &[&str] = &[
    "ARGS",
    "ARGS_GET",
    "ARGS_POST",
    "ARGS_NAMES",
    "ARGS_GET_NAMES",
    "ARGS_POST_NAMES",
    "REQUEST_COOKIES",
    "REQUEST_COOKIES_NAMES",
    "REQUEST_HEADERS",
    "REQUEST_HEADERS_NAMES",
    "FILES",
    "FILES_NAMES",
    "MULTIPART_PART_HEADERS",
    "XML",
    "REQUEST_BODY",
    "REQUEST_FILENAME",
    "REQUEST_BASENAME",
    "REQUEST_URI",
    "REQUEST_URI_RAW",
    "QUERY_STRING",
    "RESPONSE_BODY",
];

/// A target.
pub(crate) struct TargetKind;

impl Kind<Target> for TargetKind {
    fn read(&self, node: &Node) -> Result<Target, Vec<Problem>> {
        Target::parse(text(node, "a text")?).map_err(|(message, help)| malformed(message, help))
    }

    fn write(&self, value: &Target) -> Option<String> {
        Some(quote(&value.to_string()))
    }

    fn name(&self) -> &'static str {
        "target"
    }

    fn allowed(&self) -> String {
        "a collection, or a collection and a name, such as `ARGS:comment`".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }
}
