//! Host names of zones and origins.
//!
//! Owns their normal form (lower case, no trailing dot, ASCII) and the three kinds of pattern a zone may claim. Never
//! resolves a name.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// Longest host name in bytes (RFC 1035 section 2.3.4, without the trailing dot).
pub const HOST_BYTES_MAX: usize = 253;

/// Longest label of a host name in bytes (RFC 1035 section 2.3.4).
pub const HOST_LABEL_BYTES_MAX: usize = 63;

/// What a zone claims to answer for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host that no other zone claims.
    Any,
    /// `*.example.com`: every name below, at any depth, but not `example.com` itself. Holds `example.com`.
    Wildcard(Box<str>),
    /// Exactly this name or address literal, normalised.
    Exact(Box<str>),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Wildcard(suffix) => write!(f, "*.{suffix}"),
            HostPattern::Exact(name) => f.write_str(name),
        }
    }
}

/// Why a text is no host name, and what would be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the text {message}: {help}")]
pub struct HostError {
    /// What is wrong, to follow the text itself, as in "x has a port".
    pub message: String,
    /// What to write instead.
    pub help: String,
}

fn bad(message: &str, help: &str) -> HostError {
    HostError { message: message.into(), help: help.into() }
}

impl HostPattern {
    /// Reads a pattern as written in `hosts`.
    ///
    /// # Errors
    /// Says what is wrong for a text that is neither `*`, `*.suffix`, a host name nor an address literal.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(HostPattern::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            let suffix = normalise(suffix)?;
            if suffix.parse::<Ipv4Addr>().is_ok() || suffix.starts_with('[') {
                return Err(bad(
                    "has a wildcard before an address",
                    "a wildcard needs a name after it, such as *.example.com",
                ));
            }
            return Ok(HostPattern::Wildcard(suffix));
        }
        if text.contains('*') {
            return Err(bad(
                "has a wildcard in the middle of it",
                "a wildcard stands for whole labels at the left only, as in *.example.com; use * alone for every host",
            ));
        }
        normalise(text).map(HostPattern::Exact)
    }
}

/// The normal form of a host name or address literal: lower case, no trailing dot, IPv6 in brackets in its shortest form.
///
/// # Errors
/// Says what is wrong for a text that no host can have.
pub fn normalise(text: &str) -> Result<Box<str>, HostError> {
    if text.is_empty() {
        return Err(bad("is empty", "write a name such as www.example.com"));
    }
    if text.contains("://") || text.contains('/') {
        return Err(bad("is a URL", "write the host name alone, without scheme and path"));
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return match inner.parse::<Ipv6Addr>() {
            Ok(address) => Ok(format!("[{address}]").into()),
            Err(_) => Err(bad("is no IPv6 address", "write it as [2001:db8::1]")),
        };
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(bad("is an IPv6 address without brackets", "write it in brackets, as in [2001:db8::1]"));
    }
    if text.starts_with('[') && !text.contains(']') {
        return Err(bad("is no IPv6 address", "write it as [2001:db8::1]"));
    }
    if !text.is_ascii() {
        return Err(bad(
            "is not ASCII",
            "internationalised names are given in their A-label form (punycode), such as xn--bcher-kva.example",
        ));
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && port.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(bad("has a port", "write the name alone: a zone answers on every listener"));
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if name.len() > HOST_BYTES_MAX {
        return Err(bad("is too long", "a host name has at most 253 characters"));
    }
    name.split('.').try_for_each(check_label)?;
    Ok(name.into())
}

fn check_label(label: &str) -> Result<(), HostError> {
    if label.is_empty() {
        return Err(bad("has an empty label", "remove the superfluous dot"));
    }
    if label.len() > HOST_LABEL_BYTES_MAX {
        return Err(bad("has a label that is too long", "a label has at most 63 characters"));
    }
    // The underscore is not in RFC 952, but names with it are in use and resolve.
    if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
        return Err(bad(
            "has a character that no host name can have",
            "allowed are letters, digits, `-`, `_` and dots",
        ));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(bad("has a label with `-` at its end", "a label starts and ends with a letter or a digit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let got = HostPattern::parse(text);
        match expected {
            Ok(normal) => assert_eq!(got.map(|p| p.to_string()), Ok(normal.to_owned()), "{text}"),
            Err(part) => {
                let error = got.expect_err(text);
                assert!(error.message.contains(part), "{text}: {error:?}");
            }
        }
    }

    #[test]
    fn patterns() {
        check("*", Ok("*"));
        check("WWW.Example.COM.", Ok("www.example.com"));
        check("*.Example.com", Ok("*.example.com"));
        check("localhost", Ok("localhost"));
        check("127.0.0.1", Ok("127.0.0.1"));
        check("[2001:DB8:0:0::1]", Ok("[2001:db8::1]"));
        check("a_b.example", Ok("a_b.example"));
        check("xn--bcher-kva.example", Ok("xn--bcher-kva.example"));
        check("", Err("empty"));
        check("bücher.example", Err("ASCII"));
        check("https://example.com", Err("URL"));
        check("example.com/", Err("URL"));
        check("example.com:443", Err("port"));
        check("2001:db8::1", Err("brackets"));
        check("[2001:db8::1", Err("IPv6"));
        check("[2001:db8::1]:80", Err("port"));
        check("[x]", Err("IPv6"));
        check("a..b", Err("empty label"));
        check(".", Err("empty label"));
        check("-a.b", Err("`-`"));
        check("a b.c", Err("character"));
        check("www.*.com", Err("middle"));
        check("*example.com", Err("middle"));
        check("*.*.com", Err("character"));
        check("*.127.0.0.1", Err("address"));
        check(&"a".repeat(64), Err("label that is too long"));
        check(&["a"; 128].join("."), Err("too long"));
    }
}
