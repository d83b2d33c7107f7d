//! Places inside of quoted texts: which bytes of a TOML document stand for which bytes of a string's value.

use std::ops::Range;

/// The bytes of the document that stand for a range of a string's value. `token` is where the string stands, quotation marks
/// included. The token itself, where it cannot be told.
pub(crate) fn inside(document: &str, token: &Range<usize>, value: &Range<usize>) -> Range<usize> {
    let Some(text) = document.get(token.clone()) else { return token.clone() };
    let (Some(start), Some(end)) = (place(text, value.start), place(text, value.end)) else { return token.clone() };
    token.start + start..token.start + end.max(start)
}

/// The place in a string's token where the byte `wanted` of its value begins.
fn place(token: &str, wanted: usize) -> Option<usize> {
    let mark = token.chars().next().filter(|mark| matches!(mark, '"' | '\''))?;
    let escapes = mark == '"';
    let long = token.len() >= 6 && token.bytes().take(3).all(|byte| char::from(byte) == mark);
    let marks = if long { 3 } else { 1 };
    let mut rest = token.get(marks..token.len().checked_sub(marks)?)?;
    if long {
        // The line end right after the marks is not part of the value.
        rest = rest.strip_prefix("\r\n").or_else(|| rest.strip_prefix('\n')).unwrap_or(rest);
    }
    let end = token.len() - marks;
    let mut at = 0;
    while at < wanted {
        let letter = rest.chars().next()?;
        let (taken, made) = match letter {
            '\\' if escapes => escape(rest)?,
            // A CR LF in a document is a LF in a value.
            '\r' if rest.starts_with("\r\n") => (2, 1),
            letter => (letter.len_utf8(), letter.len_utf8()),
        };
        rest = rest.get(taken..)?;
        at += made;
    }
    Some(end - rest.len())
}

/// Bytes of an escape in the document, and bytes that it makes.
fn escape(rest: &str) -> Option<(usize, usize)> {
    let hexadecimal = |digits: usize| {
        let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
        Some((2 + digits, char::from_u32(code)?.len_utf8()))
    };
    match rest.as_bytes().get(1)? {
        b'x' => hexadecimal(2),
        b'u' => hexadecimal(4),
        b'U' => hexadecimal(8),
        // The end of a line, and all space that follows it.
        b' ' | b'\t' | b'\r' | b'\n' => Some((rest.len() - rest.get(1..)?.trim_start().len(), 0)),
        _ => Some((2, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value is found by the TOML parser; each of its characters must be found at a place that holds it or its escape.
    #[track_caller]
    fn check(token: &str, wanted: &str, expected: &str) {
        let document = format!("key = {token}\n");
        let parsed: toml::Table = toml::from_str(&document).expect("TOML");
        let value = parsed["key"].as_str().expect("a string");
        let start = value.find(wanted).expect("in the value");
        let token = 6..6 + token.len();
        let found = inside(&document, &token, &(start..start + wanted.len()));
        assert_eq!(&document[found], expected, "{document}");
    }

    #[test]
    fn places() {
        check("'a eq b'", "eq", "eq");
        check(r#""a eq b""#, "eq", "eq");
        check(r#""a eq \"b\"""#, "\"b\"", "\\\"b\\\"");
        check(r#""\u00e4 eq ö x""#, "eq ö", "eq ö");
        check(r#""\x41\t\\ eq""#, "eq", "eq");
        check("'''\na\nb eq c'''", "eq", "eq");
        check("\"\"\"\r\na \\\r\n   b eq \"c\" \"\"\"", "eq", "eq");
        check("'''a'b'''", "b", "b");
    }

    #[test]
    fn what_is_no_token_stays() {
        assert_eq!(inside("x", &(0..1), &(0..1)), 0..1);
        assert_eq!(inside("'a'", &(0..3), &(0..9)), 0..3);
        assert_eq!(inside("", &(5..9), &(0..1)), 5..9);
        assert_eq!(inside("'", &(0..1), &(0..1)), 0..1);
    }
}
