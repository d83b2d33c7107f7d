//! Request targets and hosts: parsing, validation, and ONE canonical form for firewall, cache key and origin.
//!
//! Owns the canonical path and the canonical host. Must never decode twice, and must never let two stages see two forms.
//!
//! # The canonical path
//! 1. It begins with `/`. NUL, other control bytes, space, `\`, `#` and DEL are refused, never repaired.
//! 2. A percent sign without two hexadecimal digits is refused, and so are `%00` and overlong UTF-8 (`%C0%AE`). Other octets that
//!    are not UTF-8 stay encoded: old sites use Latin-1.
//! 3. Escapes of unreserved characters are decoded (`%41` is `A`, `%2e` is `.`), all other escapes stay, in upper case. So `%2F`,
//!    `%5C` and `%25` keep their meaning and nothing is decoded twice.
//! 4. Bytes that the grammar does not allow raw (`"<>[]^{|}` and a back quote, UTF-8) are percent-encoded.
//! 5. Dot segments are then removed as RFC 3986 section 5.2.4 says, those written `%2e` included; `..` stops at the root.
//! 6. Empty segments are kept: `//` is significant. `;` is kept: parameters belong to the path.
//! 7. Dot segments in disguise are refused: `..;x` (which some servers treat as `..`) and dots between encoded slashes or
//!    backslashes (`..%2f`, `%5c..`).
//!
//! The query is kept byte for byte; control bytes, space, `#` and DEL in it are refused.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::method::Method;

/// The longest host name, in bytes (RFC 1035 section 2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// The longest label of a host name, in bytes.
pub const HOST_LABEL_BYTES_MAX: usize = 63;
/// The longest target that is looked at, in bytes. The transport's own limit is usually lower.
pub const TARGET_BYTES_MAX: usize = 65_536;

/// The two schemes that an edge serves.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

impl Scheme {
    /// The scheme's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// The port that is left out of a canonical host.
    pub fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }

    /// The scheme of this name, in any case.
    pub fn from_bytes(name: &[u8]) -> Option<Scheme> {
        if name.eq_ignore_ascii_case(b"http") {
            Some(Scheme::Http)
        } else if name.eq_ignore_ascii_case(b"https") {
            Some(Scheme::Https)
        } else {
            None
        }
    }
}

/// A parsed request target (RFC 9112 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `/path?query`
    Origin(PathAndQuery<'a>),
    /// `http://host/path?query`
    Absolute {
        /// The scheme as written by the client.
        scheme: Scheme,
        /// The canonical host.
        host: Host<'a>,
        /// Path and query.
        path: PathAndQuery<'a>,
    },
    /// `host:port`, for CONNECT
    Authority(Host<'a>),
    /// `*`, for OPTIONS
    Asterisk,
}

/// A canonical path and the query as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathAndQuery<'a> {
    /// The canonical path; borrowed where the client sent it so.
    pub path: Cow<'a, str>,
    /// The query without `?`; `None` where there is no `?`.
    pub query: Option<&'a str>,
}

/// A canonical host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    /// Lower case, without trailing dot and port; an IPv6 address in brackets, in its shortest form.
    pub name: Cow<'a, str>,
    /// The port as written, unless empty.
    pub port: Option<u16>,
}

/// Why a target or a host is refused: 400.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum TargetError {
    /// Longer than [`TARGET_BYTES_MAX`]
    #[error("the request target is too long")]
    TooLong,
    /// Empty, or none of the four forms that the method allows
    #[error("the request target has none of the forms that the method allows")]
    Form,
    /// A scheme other than http and https
    #[error("the scheme is neither http nor https")]
    Scheme,
    /// A control byte, NUL, CR, LF or DEL
    #[error("a control byte in the request target")]
    ControlByte,
    /// A space
    #[error("a space in the request target")]
    Space,
    /// A backslash
    #[error("a backslash in the path")]
    Backslash,
    /// A fragment
    #[error("a fragment in the request target")]
    Fragment,
    /// `%` without two hexadecimal digits
    #[error("a percent sign that begins no escape")]
    PercentEncoding,
    /// `%00`
    #[error("an encoded NUL in the path")]
    EncodedNul,
    /// Overlong UTF-8, encoded
    #[error("overlong UTF-8 in the path")]
    OverlongUtf8,
    /// Raw bytes that are no UTF-8
    #[error("raw bytes in the request target that are no UTF-8")]
    InvalidUtf8,
    /// A dot segment with a parameter, or between encoded slashes
    #[error("a disguised dot segment in the path")]
    DisguisedDotSegment,
    /// No host
    #[error("the host is empty")]
    HostEmpty,
    /// A byte that no host may hold, or an empty label
    #[error("the host is malformed")]
    HostMalformed,
    /// Longer than the name system allows
    #[error("the host is too long")]
    HostTooLong,
    /// `user@host`
    #[error("user information in the host")]
    UserInfo,
    /// A port that is no number up to 65535
    #[error("the port is malformed")]
    Port,
}

impl TargetError {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            TargetError::TooLong => "target_too_long",
            TargetError::Form => "target_form",
            TargetError::Scheme => "target_scheme",
            TargetError::ControlByte => "target_control_byte",
            TargetError::Space => "target_space",
            TargetError::Backslash => "target_backslash",
            TargetError::Fragment => "target_fragment",
            TargetError::PercentEncoding => "target_percent_encoding",
            TargetError::EncodedNul => "target_encoded_nul",
            TargetError::OverlongUtf8 => "target_overlong_utf8",
            TargetError::InvalidUtf8 => "target_invalid_utf8",
            TargetError::DisguisedDotSegment => "target_disguised_dot_segment",
            TargetError::HostEmpty => "host_empty",
            TargetError::HostMalformed => "host_malformed",
            TargetError::HostTooLong => "host_too_long",
            TargetError::UserInfo => "host_user_info",
            TargetError::Port => "host_port",
        }
    }
}

impl PathAndQuery<'_> {
    /// Path and query in one piece, as a cache key and an origin request want it; borrowed only where there is no query.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self.query {
            None => Cow::Borrowed(&self.path),
            Some(query) => Cow::Owned(format!("{}?{query}", self.path)),
        }
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> (String, Option<String>) {
        (self.path.into_owned(), self.query.map(str::to_owned))
    }
}

impl Host<'_> {
    /// The host with its port where that is not the scheme's default: the form that cache keys and comparisons use.
    pub fn to_text(&self, scheme: Scheme) -> Cow<'_, str> {
        match self.port {
            Some(port) if port != scheme.default_port() => Cow::Owned(format!("{}:{port}", self.name)),
            _ => Cow::Borrowed(&self.name),
        }
    }

    /// Whether both name the same authority under `scheme`.
    pub fn is_same(&self, other: &Host<'_>, scheme: Scheme) -> bool {
        let default = scheme.default_port();
        self.name == other.name && self.port.unwrap_or(default) == other.port.unwrap_or(default)
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Host<'static> {
        Host { name: Cow::Owned(self.name.into_owned()), port: self.port }
    }
}

/// Parses a request target by its method (RFC 9112 section 3.2): authority-form for CONNECT and nothing else, asterisk-form for
/// OPTIONS alone, origin-form or absolute-form for the others.
pub fn parse_target<'a>(method: &Method, target: &'a [u8]) -> Result<Target<'a>, TargetError> {
    if target.len() > TARGET_BYTES_MAX {
        return Err(TargetError::TooLong);
    }
    if *method == Method::CONNECT {
        let host = parse_host(target)?;
        return if host.port.is_some() { Ok(Target::Authority(host)) } else { Err(TargetError::Port) };
    }
    match target {
        b"*" if *method == Method::OPTIONS => Ok(Target::Asterisk),
        [b'/', ..] => Ok(Target::Origin(parse_path_and_query(target)?)),
        _ => parse_absolute(target),
    }
}

fn parse_absolute(target: &[u8]) -> Result<Target<'_>, TargetError> {
    let colon = target.iter().position(|byte| *byte == b':').ok_or(TargetError::Form)?;
    let (scheme, rest) = target.split_at(colon);
    let rest = rest.strip_prefix(b"://").ok_or(TargetError::Form)?;
    let scheme = Scheme::from_bytes(scheme).ok_or(TargetError::Scheme)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = parse_host(authority)?;
    let path = match path {
        [] => PathAndQuery { path: Cow::Borrowed("/"), query: None },
        [b'?', query @ ..] => PathAndQuery { path: Cow::Borrowed("/"), query: Some(check_query(query)?) },
        _ => parse_path_and_query(path)?,
    };
    Ok(Target::Absolute { scheme, host, path })
}

/// Parses `/path?query`: canonical path, validated query.
pub fn parse_path_and_query(target: &[u8]) -> Result<PathAndQuery<'_>, TargetError> {
    let split = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (path, query) = target.split_at(split);
    let query = match query {
        [_, query @ ..] => Some(check_query(query)?),
        [] => None,
    };
    Ok(PathAndQuery { path: canonical_path(path)?, query })
}

/// Validates a query without changing it.
pub fn check_query(query: &[u8]) -> Result<&str, TargetError> {
    for byte in query {
        if !matches!(byte, b'!'..=b'~' | 0x80..) || *byte == b'#' {
            return Err(refusal(*byte));
        }
    }
    std::str::from_utf8(query).map_err(|_| TargetError::InvalidUtf8)
}

fn refusal(byte: u8) -> TargetError {
    match byte {
        b' ' => TargetError::Space,
        b'#' => TargetError::Fragment,
        b'\\' => TargetError::Backslash,
        _ => TargetError::ControlByte,
    }
}

/// Whether the byte stands for itself in a path: unreserved, sub-delims, `:`, `@` (RFC 3986 section 3.3) and `/`.
const fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b':' | b'@' | b'/'
        )
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = is_path_byte(byte as u8);
        byte += 1;
    }
    table
};

/// The canonical form of a path: see the module. Borrowed, after one pass, where the path is plain already.
pub fn canonical_path(path: &[u8]) -> Result<Cow<'_, str>, TargetError> {
    if path.first() != Some(&b'/') {
        return Err(TargetError::Form);
    }
    let mut previous = 0;
    let mut plain = true;
    for byte in path {
        plain &= PLAIN[usize::from(*byte)] && !(previous == b'/' && *byte == b'.');
        previous = *byte;
    }
    if plain && let Ok(text) = std::str::from_utf8(path) {
        return Ok(Cow::Borrowed(text));
    }
    let decoded = decode_unreserved(path)?;
    let canonical = remove_dot_segments(&decoded)?;
    if canonical.as_bytes() == path
        && let Ok(text) = std::str::from_utf8(path)
    {
        return Ok(Cow::Borrowed(text));
    }
    Ok(Cow::Owned(canonical))
}

/// Steps 1 to 4 of the canonical form: the result is ASCII.
fn decode_unreserved(path: &[u8]) -> Result<String, TargetError> {
    let text = std::str::from_utf8(path).map_err(|_| TargetError::InvalidUtf8)?;
    let mut out = String::with_capacity(text.len());
    let mut rest = path;
    while let [byte, behind @ ..] = rest {
        rest = behind;
        match *byte {
            b'%' => {
                let octet = escaped(behind).ok_or(TargetError::PercentEncoding)?;
                rest = behind.get(2..).unwrap_or_default();
                check_octet(octet, rest)?;
                if is_unreserved(octet) {
                    out.push(char::from(octet));
                } else {
                    push_escape(&mut out, octet);
                }
            }
            byte if PLAIN[usize::from(byte)] => out.push(char::from(byte)),
            byte @ (0..=b' ' | b'\\' | b'#' | 0x7f) => return Err(refusal(byte)),
            byte => push_escape(&mut out, byte),
        }
    }
    Ok(out)
}

/// The octet that two hexadecimal digits at the start of `rest` stand for.
fn escaped(rest: &[u8]) -> Option<u8> {
    let high = char::from(*rest.first()?).to_digit(16)?;
    let low = char::from(*rest.get(1)?).to_digit(16)?;
    Some((high * 16 + low) as u8)
}

fn push_escape(out: &mut String, octet: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(octet >> 4)]));
    out.push(char::from(DIGITS[usize::from(octet & 15)]));
}

/// Refuses NUL and the start of an overlong UTF-8 sequence; `rest` is what follows the escape.
fn check_octet(octet: u8, rest: &[u8]) -> Result<(), TargetError> {
    let next_is = |low: u8, high: u8| {
        rest.first() == Some(&b'%') && rest.get(1..).and_then(escaped).is_some_and(|next| (low..=high).contains(&next))
    };
    let overlong = match octet {
        0 => return Err(TargetError::EncodedNul),
        0xc0 | 0xc1 => next_is(0x80, 0xbf),
        0xe0 => next_is(0x80, 0x9f),
        0xf0 => next_is(0x80, 0x8f),
        _ => false,
    };
    if overlong { Err(TargetError::OverlongUtf8) } else { Ok(()) }
}

/// RFC 3986 section 5.2.4, and the refusal of dot segments in disguise.
fn remove_dot_segments(path: &str) -> Result<String, TargetError> {
    let mut out = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                let parent = out.rfind('/').unwrap_or(0);
                out.truncate(parent);
            }
            _ => {
                check_disguise(segment)?;
                out.push('/');
                out.push_str(segment);
                continue;
            }
        }
        if is_last {
            out.push('/');
        }
    }
    Ok(out)
}

fn check_disguise(segment: &str) -> Result<(), TargetError> {
    let dots = |part: &str| {
        let name = part.split(';').next().unwrap_or(part);
        let name = name.split("%3B").next().unwrap_or(name);
        name == "." || name == ".."
    };
    if dots(segment) {
        return Err(TargetError::DisguisedDotSegment);
    }
    if !segment.contains("%2F") && !segment.contains("%5C") {
        return Ok(());
    }
    let hidden = segment.split("%2F").flat_map(|part| part.split("%5C")).any(dots);
    if hidden { Err(TargetError::DisguisedDotSegment) } else { Ok(()) }
}

/// Parses a host with an optional port: the `Host` field, `:authority`, or the authority of an absolute target.
///
/// Letters, digits, `-`, `_` and dots, or an IPv6 address in brackets. User information, percent escapes and non-ASCII bytes are
/// refused: an international name comes in its ASCII form. One trailing dot is dropped.
pub fn parse_host(authority: &[u8]) -> Result<Host<'_>, TargetError> {
    if authority.contains(&b'@') {
        return Err(TargetError::UserInfo);
    }
    let text = std::str::from_utf8(authority).map_err(|_| TargetError::HostMalformed)?;
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(TargetError::HostMalformed)?;
        let address: Ipv6Addr = address.parse().map_err(|_| TargetError::HostMalformed)?;
        let port = match port.strip_prefix(':') {
            Some(port) => parse_port(port)?,
            None if port.is_empty() => None,
            None => return Err(TargetError::HostMalformed),
        };
        return Ok(Host { name: Cow::Owned(format!("[{address}]")), port });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, parse_port(port)?),
        None => (text, None),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    check_host_name(name)?;
    let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    };
    Ok(Host { name, port })
}

fn check_host_name(name: &str) -> Result<(), TargetError> {
    if name.is_empty() {
        return Err(TargetError::HostEmpty);
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(TargetError::HostTooLong);
    }
    for label in name.split('.') {
        let valid = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if label.is_empty() || !valid {
            return Err(TargetError::HostMalformed);
        }
        if label.len() > HOST_LABEL_BYTES_MAX {
            return Err(TargetError::HostTooLong);
        }
    }
    Ok(())
}

fn parse_port(port: &str) -> Result<Option<u16>, TargetError> {
    if port.is_empty() {
        return Ok(None);
    }
    // `parse` would take a plus sign.
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TargetError::Port);
    }
    port.parse().map(Some).map_err(|_| TargetError::Port)
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
