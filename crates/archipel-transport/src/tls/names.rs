//! Host names as TLS knows them: validation, and lookup by exact name or wildcard.
//!
//! Must never: resolve names, or know what a name stands for.

use std::collections::HashMap;
use std::net::Ipv4Addr;

/// Longest host name in characters (RFC 1035 section 2.3.4, without the final dot).
pub const HOST_NAME_BYTES_MAX: usize = 253;

/// The lower-case form of a DNS host name, or `None` where `name` is none: empty, longer than
/// [`HOST_NAME_BYTES_MAX`], a label that is empty, longer than 63 characters or starts or ends
/// with a hyphen, any character but letters, digits, `-` and `_`, a final dot (RFC 6066 section 3
/// excludes it), or an IPv4 address.
#[must_use]
pub fn host_name(name: &str) -> Option<String> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let valid = name.len() <= HOST_NAME_BYTES_MAX && name.split('.').all(label) && name.parse::<Ipv4Addr>().is_err();
    valid.then(|| name.to_ascii_lowercase())
}

/// Values by host name: an exact name first, then a wildcard that stands for exactly the leftmost
/// label (RFC 9525 section 6.3).
#[derive(Debug)]
pub(crate) struct NameTable<V> {
    exact: HashMap<String, V>,
    /// Keyed by what follows `*.`.
    wildcard: HashMap<String, V>,
}

impl<V: Default> NameTable<V> {
    pub(crate) fn new() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }

    /// The slot for a name or `*.` pattern, or `None` where it is not a valid one.
    pub(crate) fn slot(&mut self, pattern: &str) -> Option<&mut V> {
        match pattern.strip_prefix("*.") {
            Some(parent) => Some(self.wildcard.entry(host_name(parent)?).or_default()),
            None => Some(self.exact.entry(host_name(pattern)?).or_default()),
        }
    }

    /// The value for a lower-case host name.
    pub(crate) fn get(&self, name: &str) -> Option<&V> {
        self.exact.get(name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.wildcard.get(parent)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(host_name(name).as_deref(), expected, "{name:?}");
        };
        check("Example.COM", Some("example.com"));
        check("localhost", Some("localhost"));
        check("_dmarc.a-b.example", Some("_dmarc.a-b.example"));
        check("xn--bcher-kva.example", Some("xn--bcher-kva.example"));
        check("1.2.3.4.example", Some("1.2.3.4.example"));
        check(&"a".repeat(63), Some(&"a".repeat(63)));
        for bad in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "-a.example",
            "a-.example",
            "a b",
            "a/b",
            "a\0b",
            "*.example",
            "192.0.2.1",
            "::1",
            "[::1]",
            "bücher.example",
            "a:443",
            "a\n",
            "../../etc/passwd",
        ] {
            check(bad, None);
        }
        check(&"a".repeat(64), None);
        check(&format!("{}.example", "a.".repeat(123)), None);
    }

    #[test]
    fn table() {
        let mut table = NameTable::<u8>::new();
        for (pattern, value) in [("example.com", 1), ("*.example.com", 2), ("a.example.com", 3)] {
            *table.slot(pattern).unwrap() = value;
        }
        assert!(table.slot("*").is_none() && table.slot("a.*.com").is_none());
        assert!(table.slot("*.*.com").is_none());
        let check = |name: &str, expected: Option<u8>| {
            assert_eq!(table.get(name).copied(), expected, "{name:?}");
        };
        check("example.com", Some(1));
        check("b.example.com", Some(2));
        check("a.example.com", Some(3));
        check("b.a.example.com", None);
        check("com", None);
        check("", None);
    }
}
