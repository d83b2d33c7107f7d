//! The URLs that settings may hold: `http` and `https` only.
//!
//! Owns the split into scheme, host, port and path. Never resolves or connects; never keeps credentials (a URL with
//! `user@` is refused, so that no secret can stand in a configuration or a log).

use std::fmt;

use crate::host::{self, HostError};

/// Scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// 80 or 443.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// An `http` or `https` URL without credentials, query and fragment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HttpUrl {
    /// Scheme.
    pub scheme: Scheme,
    /// Host name or address literal, normalised; IPv6 in brackets.
    pub host: Box<str>,
    /// Port, the scheme's default where none was given.
    pub port: u16,
    /// Path, `/` where none was given.
    pub path: Box<str>,
}

impl HttpUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// Says what is wrong and what to write instead.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        let (scheme, rest) = split_scheme(text)?;
        if rest.contains(['?', '#']) {
            return Err(bad("has a query or a fragment", "end the URL before `?` and `#`"));
        }
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err(bad("has credentials", "remove the part before `@`: secrets do not belong in a URL"));
        }
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(bad("has a path with characters that must be percent-encoded", "write them as %XX"));
        }
        let (name, port) = split_port(authority, scheme)?;
        let host = host::normalise(name)
            .map_err(|error| HostError { message: format!("has a host that {}", error.message), help: error.help })?;
        Ok(Self { scheme, host, port, path: path.into() })
    }

    /// The value of the `Host` header for this URL: the port is left out where it is the scheme's default
    /// (RFC 9110 section 7.2).
    pub fn authority(&self) -> String {
        if self.port == self.scheme.default_port() {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The host without the brackets of an IPv6 literal: what to resolve, or to name in a certificate.
    pub fn host_name(&self) -> &str {
        self.host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// True for `https`.
    pub fn is_https(&self) -> bool {
        self.scheme == Scheme::Https
    }
}

fn bad(message: &str, help: &str) -> HostError {
    HostError { message: message.into(), help: help.into() }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), HostError> {
    for scheme in [Scheme::Https, Scheme::Http] {
        let name = scheme.as_str();
        if let Some((head, rest)) = text.split_once("://")
            && head.eq_ignore_ascii_case(name)
        {
            return Ok((scheme, rest));
        }
    }
    match text.split_once("://") {
        Some(_) => Err(bad("has a scheme that is not supported", "the URL starts with http:// or https://")),
        None => {
            Err(HostError { message: "has no scheme".into(), help: format!("write http://{text} or https://{text}") })
        }
    }
}

fn split_port(authority: &str, scheme: Scheme) -> Result<(&str, u16), HostError> {
    let digits_at = match authority.rfind(':') {
        // A colon inside the brackets belongs to the address.
        Some(at) if authority.rfind(']').is_none_or(|bracket| bracket < at) => at,
        _ => return Ok((authority, scheme.default_port())),
    };
    let (name, port) = authority.split_at(digits_at);
    let digits = port.strip_prefix(':').unwrap_or(port);
    if digits.is_empty() {
        return Ok((name, scheme.default_port()));
    }
    match digits.parse::<u16>() {
        Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok((name, port)),
        _ => Err(bad("has a bad port", "a port is a number from 1 to 65535")),
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if &*self.path == "/" { "" } else { &*self.path };
        write!(f, "{}://{}{}", self.scheme.as_str(), self.authority(), path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, u16, &str), &str>) {
        let got = HttpUrl::parse(text);
        match expected {
            Ok((shown, port, authority)) => {
                let url = got.unwrap_or_else(|error| panic!("{text}: {error:?}"));
                assert_eq!((url.to_string().as_str(), url.port, url.authority().as_str()), (shown, port, authority));
            }
            Err(part) => {
                let error = got.expect_err(text);
                assert!(error.message.contains(part), "{text}: {error:?}");
            }
        }
    }

    #[test]
    fn urls() {
        check("http://Example.com", Ok(("http://example.com", 80, "example.com")));
        check("HTTPS://example.com:443/", Ok(("https://example.com", 443, "example.com")));
        check("http://127.0.0.1:3000", Ok(("http://127.0.0.1:3000", 3000, "127.0.0.1:3000")));
        check("http://[::1]:3000/a", Ok(("http://[::1]:3000/a", 3000, "[::1]:3000")));
        check("http://[::1]", Ok(("http://[::1]", 80, "[::1]")));
        check("http://a:/", Ok(("http://a", 80, "a")));
        check("example.com", Err("no scheme"));
        check("ftp://example.com", Err("scheme"));
        check("http://u:p@example.com", Err("credentials"));
        check("http://a?b", Err("query"));
        check("http://", Err("empty"));
        check("http://a:0", Err("port"));
        check("http://a:65536", Err("port"));
        check("http://a:+80", Err("port"));
        check("http://a:b", Err("port"));
        check("http://a b", Err("character"));
        check("http://a/ü", Err("percent"));
        assert_eq!(HttpUrl::parse("http://[::1]").unwrap().host_name(), "::1");
    }
}
