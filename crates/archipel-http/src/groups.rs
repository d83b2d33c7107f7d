//! Cache groups (RFC 9875): `Cache-Groups` and `Cache-Group-Invalidation`.
//!
//! Owns their parsing. A group belongs to one origin (scheme, host, port): the caller must never apply it beyond.

use http::header::{HeaderMap, HeaderName};
use sfv::{BareItem, List, ListEntry, Parser};

/// `Cache-Groups`: the groups that a stored response belongs to.
pub const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// `Cache-Group-Invalidation`: the groups that the reply to an unsafe request makes invalid.
pub const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");

/// How many groups a field may name; those behind are ignored. The RFC asks for at least 32.
pub const GROUPS_MAX: usize = 128;
/// The longest name of a group, in bytes; longer ones are ignored. The RFC asks for at least 32.
pub const GROUP_BYTES_MAX: usize = 128;
/// A field longer than this over all its lines is ignored, in bytes.
const FIELD_BYTES_MAX: usize = 32_768;

/// The groups that a field names, case and order kept. Empty where the field is absent or is no list of strings.
pub fn parse_groups(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let mut joined = Vec::new();
    for line in headers.get_all(name) {
        if !joined.is_empty() {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(line.as_bytes());
        if joined.len() > FIELD_BYTES_MAX {
            return Vec::new();
        }
    }
    if joined.is_empty() {
        return Vec::new();
    }
    parse_list(&joined).unwrap_or_default()
}

fn parse_list(value: &[u8]) -> Option<Vec<String>> {
    let list: List = Parser::new(value).parse().ok()?;
    let mut groups = Vec::with_capacity(list.len().min(GROUPS_MAX));
    for entry in &list {
        let ListEntry::Item(item) = entry else {
            return None;
        };
        let BareItem::String(group) = &item.bare_item else {
            return None;
        };
        let group = group.as_str();
        if group.len() <= GROUP_BYTES_MAX && groups.len() < GROUPS_MAX {
            groups.push(group.to_owned());
        }
    }
    Some(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], expected: &[&str]) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_GROUPS, line.parse().unwrap());
        }
        assert_eq!(parse_groups(&headers, &CACHE_GROUPS), expected, "{lines:?}");
    }

    #[test]
    fn groups() {
        check(&[], &[]);
        check(&["\"a\", \"B c\""], &["a", "B c"]);
        check(&["\"a\";x=1", "\"b\""], &["a", "b"]);
        check(&["a"], &[]);
        check(&["\"a\", b"], &[]);
        check(&["(\"a\")"], &[]);
        check(&["\"a\", &&"], &[]);
        let long = format!("\"{}\", \"b\"", "x".repeat(GROUP_BYTES_MAX + 1));
        check(&[&long], &["b"]);
    }
}
