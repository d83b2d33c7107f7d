//! What a zone adds to the cache key of a request, or leaves out.
//!
//! Owns the text of [`CacheKey::extra`](crate::key::CacheKey::extra). Must never write two different selections as one text,
//! nor hide from the key what an origin could read as something that is in it: such a request passes the cache by.

use std::fmt::Write as _;
use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};

use crate::device;
use crate::language;
use crate::list;
use crate::query::{self, QueryKey, TooManyParameters};

/// A header field or cookie in the key has at most so many bytes.
pub const KEY_VALUE_BYTES_MAX: usize = 1024;

/// All that a zone adds to a key has at most so many bytes.
pub const KEY_EXTRA_BYTES_MAX: usize = 4096;

/// What a key consists of beside scheme, host and path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyParts {
    /// What of the query.
    pub query: QueryKey,
    /// Values of these header fields. Sorted, each once.
    pub headers: Arc<[HeaderName]>,
    /// Values of these cookies. Sorted, each once.
    pub cookies: Arc<[Box<str>]>,
    /// The class of the device.
    pub device: bool,
    /// Which of these languages the visitor prefers; nothing where there are none.
    pub languages: Arc<[Box<str>]>,
}

/// Why a request gets no key, and so passes the cache by.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyRefused {
    /// More parameters than [`query::QUERY_PARAMETERS_MAX`].
    QueryParametersMax,
    /// Longer than [`KEY_VALUE_BYTES_MAX`] or [`KEY_EXTRA_BYTES_MAX`].
    KeyBytesMax,
    /// A field or cookie whose name some origins read as one in the key (`x_a` for `x-a`, `%61` for `a`).
    KeyAmbiguous,
}

impl KeyRefused {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyRefused::QueryParametersMax => "query_parameters_max",
            KeyRefused::KeyBytesMax => "key_bytes_max",
            KeyRefused::KeyAmbiguous => "key_ambiguous",
        }
    }
}

impl From<TooManyParameters> for KeyRefused {
    fn from(_: TooManyParameters) -> KeyRefused {
        KeyRefused::QueryParametersMax
    }
}

impl KeyParts {
    /// The path and query for the key; `None` where they are as received.
    ///
    /// # Errors
    /// [`KeyRefused::QueryParametersMax`]
    pub fn target(&self, path_and_query: &str) -> Result<Option<Box<str>>, KeyRefused> {
        Ok(query::key_target(path_and_query, &self.query)?)
    }

    /// Whether nothing but the query can differ from what the target says.
    pub fn adds_nothing(&self) -> bool {
        self.headers.is_empty() && self.cookies.is_empty() && !self.device && self.languages.is_empty()
    }

    /// The text to add: words separated by spaces, `kind.name=value` with a value and `kind.name` without, where all bytes but
    /// plain ones are written as `%20`. Header fields first, then cookies, device, language: one selection is one text.
    ///
    /// # Errors
    /// [`KeyRefused`]
    pub fn extra(&self, request: &HeaderMap) -> Result<Box<str>, KeyRefused> {
        let mut text = String::new();
        if !self.headers.is_empty() {
            self.write_headers(request, &mut text)?;
        }
        if !self.cookies.is_empty() {
            self.write_cookies(request, &mut text)?;
        }
        if self.device {
            write_part(&mut text, "device", "", Some(device::classify(request).as_str().as_bytes()));
        }
        if let Some(language) = language::preferred(request, &self.languages) {
            write_part(&mut text, "language", "", Some(language.as_bytes()));
        }
        if text.len() > KEY_EXTRA_BYTES_MAX {
            return Err(KeyRefused::KeyBytesMax);
        }
        Ok(text.into_boxed_str())
    }

    fn write_headers(&self, request: &HeaderMap, text: &mut String) -> Result<(), KeyRefused> {
        // CGI and WSGI write both `-` and `_` as `_`.
        let twin = |name: &HeaderName, other: &HeaderName| {
            let as_cgi = |byte: u8| if byte == b'_' { b'-' } else { byte };
            name != other && name.as_str().bytes().map(as_cgi).eq(other.as_str().bytes().map(as_cgi))
        };
        if request.keys().any(|name| name.as_str().contains('_') && self.headers.iter().any(|own| twin(own, name))) {
            return Err(KeyRefused::KeyAmbiguous);
        }
        for name in self.headers.iter() {
            let mut lines = request.get_all(name).into_iter();
            let Some(first) = lines.next() else {
                write_part(text, "header", name.as_str(), None);
                continue;
            };
            let mut value = list::trim(first.as_bytes()).to_vec();
            for line in lines {
                // Several lines are one list (RFC 9110 section 5.3).
                value.extend_from_slice(b", ");
                value.extend_from_slice(list::trim(line.as_bytes()));
            }
            checked(&value)?;
            write_part(text, "header", name.as_str(), Some(&value));
        }
        Ok(())
    }

    fn write_cookies(&self, request: &HeaderMap, text: &mut String) -> Result<(), KeyRefused> {
        for own in self.cookies.iter() {
            let mut value: Option<Vec<u8>> = None;
            for (name, found) in cookies(request) {
                if name != own.as_bytes() {
                    // PHP decodes names, others trim or ignore case.
                    if query::decode(name).trim_ascii().eq_ignore_ascii_case(own.as_bytes()) {
                        return Err(KeyRefused::KeyAmbiguous);
                    }
                    continue;
                }
                // Which of several an origin takes is its own affair: all are in the key. A value holds no `;`.
                match &mut value {
                    None => value = Some(found.to_vec()),
                    Some(all) => {
                        all.push(b';');
                        all.extend_from_slice(found);
                    }
                }
                checked(value.as_deref().unwrap_or_default())?;
            }
            write_part(text, "cookie", own, value.as_deref());
        }
        Ok(())
    }
}

fn checked(value: &[u8]) -> Result<(), KeyRefused> {
    if value.len() > KEY_VALUE_BYTES_MAX { Err(KeyRefused::KeyBytesMax) } else { Ok(()) }
}

/// The cookies of a request over all its lines, as name and value without the spaces around them.
pub fn cookies(request: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs =
        request.get_all(header::COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    pairs.filter(|pair| !pair.trim_ascii().is_empty()).map(|pair| match memchr::memchr(b'=', pair) {
        Some(at) => (pair[..at].trim_ascii(), pair.get(at + 1..).unwrap_or_default().trim_ascii()),
        None => (pair.trim_ascii(), &[][..]),
    })
}

fn write_part(text: &mut String, kind: &str, name: &str, value: Option<&[u8]>) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(kind);
    if !name.is_empty() {
        text.push('.');
        escape(text, name.as_bytes());
    }
    if let Some(value) = value {
        text.push('=');
        escape(text, value);
    }
}

fn escape(text: &mut String, value: &[u8]) {
    for byte in value {
        match byte {
            b'%' | b'=' => {}
            0x21..=0x7e => {
                text.push(char::from(*byte));
                continue;
            }
            _ => {}
        }
        // Writing to a String cannot fail.
        let _ = write!(text, "%{byte:02X}");
    }
}

#[cfg(test)]
#[path = "key_parts_tests.rs"]
mod tests;
