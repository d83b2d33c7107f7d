//! Writing structured field values (RFC 9651) without surprises: whatever the text, the result is one valid item.
//!
//! Owns serialization for the fields that Archipel makes. Must never parse: that is the `sfv` crate's.

use http::HeaderValue;

use crate::list;

/// A string parameter is cut after so many bytes.
pub(crate) const STRING_BYTES_MAX: usize = 1024;

/// Collects one structured item with parameters.
#[derive(Debug)]
pub(crate) struct ItemWriter {
    out: String,
}

impl ItemWriter {
    /// Begins with a token, or with a string where `name` is no token.
    pub(crate) fn new(name: &str) -> ItemWriter {
        let mut out = String::with_capacity(96);
        push_token_or_string(&mut out, name);
        ItemWriter { out }
    }

    pub(crate) fn flag(&mut self, key: &str, value: bool) {
        if value {
            self.key(key);
        }
    }

    pub(crate) fn integer(&mut self, key: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.key(key);
            self.out.push('=');
            push_integer(&mut self.out, value);
        }
    }

    /// A token; the caller vouches for its syntax.
    pub(crate) fn token(&mut self, key: &str, value: &'static str) {
        self.key(key);
        self.out.push('=');
        self.out.push_str(value);
    }

    pub(crate) fn string(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(key);
            self.out.push('=');
            push_string(&mut self.out, value);
        }
    }

    pub(crate) fn token_or_string(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(key);
            self.out.push('=');
            push_token_or_string(&mut self.out, value);
        }
    }

    pub(crate) fn finish(self) -> HeaderValue {
        // Only printable ASCII was written.
        HeaderValue::try_from(self.out).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    fn key(&mut self, key: &str) {
        self.out.push_str("; ");
        self.out.push_str(key);
    }
}

/// Fifteen digits at most (RFC 9651 section 3.3.1).
fn push_integer(out: &mut String, value: i64) {
    const MAX: i64 = 999_999_999_999_999;
    let value = value.clamp(-MAX, MAX);
    if value < 0 {
        out.push('-');
    }
    let mut digits = [b'0'; 15];
    let mut rest = value.unsigned_abs();
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    for digit in digits.iter().skip(digits.len() - used) {
        out.push(char::from(*digit));
    }
}

fn push_token_or_string(out: &mut String, value: &str) {
    if is_structured_token(value) { out.push_str(value) } else { push_string(out, value) }
}

/// RFC 9651 section 3.3.4.
fn is_structured_token(value: &str) -> bool {
    let starts = value.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'*');
    let continues = value.bytes().all(|byte| list::is_token_byte(byte) || byte == b':' || byte == b'/');
    starts && continues && value.len() <= STRING_BYTES_MAX
}

/// A string; what it cannot hold becomes `?` (RFC 9651 section 3.3.3).
pub(crate) fn push_string(out: &mut String, value: &str) {
    out.push('"');
    for char in value.chars().take(STRING_BYTES_MAX) {
        match char {
            '"' | '\\' => {
                out.push('\\');
                out.push(char);
            }
            ' '..='~' => out.push(char),
            _ => out.push('?'),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_one_item() {
        for text in ["", "a b", "a\"; hit", "\\", "é\r\n\0", "1a", "a/b:c", "a,b", &"x".repeat(5000)] {
            let mut item = ItemWriter::new(text);
            item.string("key", Some(text));
            item.token_or_string("detail", Some(text));
            item.integer("ttl", Some(i64::MIN));
            item.integer("size", Some(i64::MAX));
            item.integer("zero", Some(0));
            item.flag("stored", true);
            item.flag("collapsed", false);
            let value = item.finish();
            let parsed: sfv::Item = sfv::Parser::new(value.as_bytes()).parse().unwrap();
            assert_eq!(parsed.params.len(), 6, "{value:?}");
        }
    }
}
