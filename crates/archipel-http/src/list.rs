//! Comma-separated lists in field values (RFC 9110 section 5.6.1), with quoted strings kept whole.
//!
//! Owns the splitting of list fields over all their lines. Must never interpret the members.

use http::header::{AsHeaderName, HeaderMap, HeaderName};

use crate::fields::Fields;

/// The members of one field value: split at commas outside quoted strings, trimmed, empty ones left out.
///
/// An opening quote that is never closed is an ordinary byte, so that nothing behind it can hide.
pub fn members(value: &[u8]) -> Members<'_> {
    Members { rest: value }
}

/// The members of all lines of a field, in order.
pub fn field_members(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &[u8]> {
    headers.get_all(name).into_iter().flat_map(|value| members(value.as_bytes()))
}

/// [`field_members`] of fields in whatever form.
pub fn members_of<'a>(fields: &'a impl Fields, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
    fields.values_of(name).flat_map(members)
}

/// Whether any line of the field has `token` as a member, in any case.
pub fn contains_token(headers: &HeaderMap, name: impl AsHeaderName, token: &[u8]) -> bool {
    field_members(headers, name).any(|member| member.eq_ignore_ascii_case(token))
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Members<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = member_end(self.rest);
            let (member, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            let member = trim(member);
            if !member.is_empty() {
                return Some(member);
            }
        }
        None
    }
}

fn member_end(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match byte {
            b',' => return at,
            b'"' => at += quoted_len(&value[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    value.len()
}

/// The length of the quoted string at the start of `value`, both quotes included; `None` when it is not closed.
pub(crate) fn quoted_len(value: &[u8]) -> Option<usize> {
    let mut at = 1;
    while let Some(byte) = value.get(at) {
        match byte {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// `value` without the spaces and tabs around it.
pub fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Whether `byte` may stand in a token (RFC 9110 section 5.6.2).
pub const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

/// Whether `value` is a token.
pub fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| is_token_byte(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: &[&str]) {
        let found: Vec<_> = members(value.as_bytes()).map(String::from_utf8_lossy).collect();
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn splits() {
        check("", &[]);
        check(" , ,, ", &[]);
        check("a", &["a"]);
        check("a, b\t,c", &["a", "b", "c"]);
        check(r#"a="x, y", b"#, &[r#"a="x, y""#, "b"]);
        check(r#"a="x\", y", b"#, &[r#"a="x\", y""#, "b"]);
        check(r#"a="x, no-store"#, &[r#"a="x"#, "no-store"]);
        check(r#""\"#, &[r#""\"#]);
    }

    #[test]
    fn finds_tokens_on_any_line() {
        let mut headers = HeaderMap::new();
        headers.append("connection", "keep-alive".parse().unwrap());
        headers.append("connection", "a, UPGRADE".parse().unwrap());
        assert!(contains_token(&headers, "connection", b"upgrade"));
        assert!(!contains_token(&headers, "connection", b"close"));
    }
}
