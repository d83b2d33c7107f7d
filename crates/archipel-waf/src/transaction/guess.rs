//! `ctl:requestBodyProcessor=GUESS`: a body whose type says nothing, read as what it looks like. There are applications that read
//! JSON or a form whatever its type, and a client chooses the type.

use crate::body::{BodyError, BodyLimits, Parser};
use crate::program::RuleSet;

use super::state::State;

/// The byte order mark of UTF-8, behind which lenient parsers begin.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Longest first name of what looks like a form, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What a body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Json,
    Xml,
    Form,
}

impl State {
    /// Reads the body that was kept; whether it was a form. That it is not what it looks like is no error: nobody said that it was.
    pub(super) fn guess(&mut self, set: &RuleSet) -> bool {
        let body = std::mem::take(&mut self.request.kept);
        let text = body.strip_prefix(BOM).unwrap_or(&body);
        let look = look(text, set.settings.argument_separator);
        if let Some(look) = look {
            let mut parser = look.parser(set.settings.argument_separator, &self.body_limits(set));
            let end = if self.request.truncated { Parser::cut } else { Parser::finish };
            let read = parser.push(text, &mut self.sink()).and_then(|()| end(&mut parser, &mut self.sink()));
            let limit = read.as_ref().err().or(parser.left_out()).and_then(BodyError::limit);
            self.request.left_out = limit;
        }
        self.request.kept = body;
        look == Some(Look::Form)
    }
}

impl Look {
    fn parser(self, separator: u8, limits: &BodyLimits) -> Parser {
        match self {
            Self::Json => Parser::json(limits),
            Self::Xml => Parser::xml(limits),
            Self::Form => Parser::urlencoded(separator, limits),
        }
    }
}

fn look(text: &[u8], separator: u8) -> Option<Look> {
    match text.trim_ascii_start().first()? {
        b'{' | b'[' | b'"' => Some(Look::Json),
        b'<' => Some(Look::Xml),
        _ => is_form(text, separator).then_some(Look::Form),
    }
}

/// Whether the text begins with the name of a field.
fn is_form(text: &[u8], separator: u8) -> bool {
    let beginning = &text[..text.len().min(NAME_BYTES_MAX + 1)];
    let Some(end) = beginning.iter().position(|byte| *byte == b'=' || *byte == separator) else { return false };
    let named = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-[]$%+:@".contains(byte);
    beginning[..end].iter().all(named) && memchr::memchr(b'=', &text[end..]).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks() {
        for (text, expected) in [
            (&b" {\"a\":1}"[..], Some(Look::Json)),
            (b"[1]", Some(Look::Json)),
            (b"\n<a/>", Some(Look::Xml)),
            (b"a=1", Some(Look::Form)),
            (b"user[$ne]=1&b=2", Some(Look::Form)),
            (b"a&b=2", Some(Look::Form)),
            (b"&b=2", Some(Look::Form)),
            (b"a&b", None),
            (b"a text with a=b in it", None),
            (b"\x89PNG=", None),
            (b"", None),
        ] {
            assert_eq!(look(text, b'&'), expected, "{}", text.escape_ascii());
        }
    }
}
