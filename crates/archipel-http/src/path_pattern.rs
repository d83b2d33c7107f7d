//! Patterns of paths: text in which `*` stands for anything.
//!
//! Owns matching against a canonical path. Must never backtrack without bound: a pattern of n parts is n searches.

use std::fmt;

/// A longer pattern is refused, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;

/// A pattern with more `*` is refused.
pub const STARS_MAX: usize = 8;

/// A pattern of paths: `/a` is one path, `/a/*` all below, `*.css` and `/a/*/b` what they look like. `*` stands for any text, `/`
/// included. Case counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
    /// What stands between the stars; one part is a whole path.
    parts: Box<[Box<str>]>,
}

impl PathPattern {
    /// Takes a pattern in canonical form; `None` beyond [`PATTERN_BYTES_MAX`] or [`STARS_MAX`].
    pub fn new(text: &str) -> Option<PathPattern> {
        let stars = text.bytes().filter(|byte| *byte == b'*').count();
        (text.len() <= PATTERN_BYTES_MAX && stars <= STARS_MAX)
            .then(|| PathPattern { text: text.into(), parts: text.split('*').map(Box::from).collect() })
    }

    /// Whether a canonical path (without query) is meant.
    pub fn matches(&self, path: &str) -> bool {
        let (Some((first, rest)), true) = (self.parts.split_first(), self.parts.len() > 1) else {
            return *self.text == *path;
        };
        let Some(mut path) = path.strip_prefix(&**first) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else {
            return false;
        };
        // The earliest place for each part leaves most for those behind it.
        for part in middle.iter().filter(|part| !part.is_empty()) {
            match memchr::memmem::find(path.as_bytes(), part.as_bytes()) {
                Some(at) => path = path.get(at + part.len()..).unwrap_or_default(),
                None => return false,
            }
        }
        path.ends_with(&**last)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, path: &str, expected: bool) {
        assert_eq!(PathPattern::new(pattern).unwrap().matches(path), expected, "{pattern} {path}");
    }

    #[test]
    fn table() {
        for (pattern, path) in [
            ("/a", "/a"),
            ("/a/*", "/a/"),
            ("/a/*", "/a/b/c"),
            ("*", "/"),
            ("*.css", "/x/a.css"),
            ("/a/*/b", "/a//b"),
            ("/a/*/b", "/a/x/y/b"),
            ("/a*b*c", "/abc"),
            ("/a*b*c", "/axxbxbc"),
            ("/*ab*ab*", "/ababab"),
            ("**", "/a"),
        ] {
            check(pattern, path, true);
        }
        for (pattern, path) in [
            ("/a", "/a/"),
            ("/a", "/A"),
            ("/a/*", "/a"),
            ("*.css", "/a.css/x"),
            ("/a/*/b", "/a/b"),
            ("/ab*bc", "/abc"),
            ("/*ab*ab*", "/abxa"),
            ("/a*b*c", "/acb"),
            ("", "/"),
        ] {
            check(pattern, path, false);
        }
        assert_eq!(PathPattern::new(&"*".repeat(STARS_MAX + 1)), None);
        assert_eq!(PathPattern::new(&"a".repeat(PATTERN_BYTES_MAX + 1)), None);
    }
}
