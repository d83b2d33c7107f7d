//! Heads of HTTP/1 messages: bytes in, typed parts out. Pure functions of the bytes; limits are arguments.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::refusal::Refusal;

/// The hard ceiling of fields in a head; `header_count_max` may only be lower.
pub const FIELDS_MAX: usize = 256;

/// Limits of a request head.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the whole head.
    pub head_bytes_max: usize,
    /// Fields.
    pub fields_max: usize,
    /// Bytes of the request target.
    pub uri_bytes_max: usize,
}

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Exactly so many bytes (0: no body).
    Length(u64),
    /// Chunked transfer coding.
    Chunked,
    /// Until the connection ends (responses only).
    UntilClose,
}

/// A parsed request head.
#[derive(Debug)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The request target as received.
    pub target: Bytes,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
    /// How the body is framed.
    pub framing: Framing,
    /// Whether the client wants the connection kept.
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue).
    pub expects_continue: bool,
    /// The protocol of an `Upgrade` that `Connection` confirms.
    pub upgrade: Option<Bytes>,
    /// Bytes of the head.
    pub len: usize,
}

/// Where the head ends: the index after the first empty line, or `None` while there is none.
/// `from` is where an earlier search stopped, so that slow heads are not scanned again.
fn head_end(buf: &[u8], from: usize) -> Option<usize> {
    let mut at = from.saturating_sub(3);
    while let Some(lf) = memchr::memchr(b'\n', &buf[at..]) {
        let next = at + lf + 1;
        match &buf[next..] {
            [b'\n', ..] => return Some(next + 1),
            [b'\r', b'\n', ..] => return Some(next + 2),
            _ => at = next,
        }
    }
    None
}

/// Parses a request head at the start of `buf`. `Ok(None)`: more bytes are needed. `seen` is how many bytes an earlier call saw.
///
/// # Errors
/// A [`Refusal`] that names what is wrong; the connection cannot be used further.
pub fn parse_request(buf: &[u8], seen: usize, limits: &HeadLimits) -> Result<Option<RequestHead>, Refusal> {
    // RFC 9112 section 2.2: empty lines before a request-line are skipped.
    let skip = leading_crlf(buf);
    if skip > LEADING_BYTES_MAX {
        return Err(Refusal::MalformedHead);
    }
    let Some(end) = head_end(&buf[skip..], seen.saturating_sub(skip)) else {
        return match unfinished(&buf[skip..], limits) {
            Some(refusal) => Err(refusal),
            None => Ok(None),
        };
    };
    let head = &buf[skip..skip + end];
    if end > limits.head_bytes_max {
        return Err(too_large(head, limits));
    }
    if has_bare_lf(head) {
        return Err(Refusal::BareLineFeed);
    }
    let shared = Bytes::copy_from_slice(head);
    parse_complete(&shared, limits, skip + end).map(Some)
}

/// Bytes of empty lines before a request-line.
const LEADING_BYTES_MAX: usize = 8;

fn leading_crlf(buf: &[u8]) -> usize {
    let mut skip = 0;
    while skip <= LEADING_BYTES_MAX && buf[skip..].starts_with(b"\r\n") {
        skip += 2;
    }
    skip
}

/// What can be said of a head that has no end yet.
fn unfinished(buf: &[u8], limits: &HeadLimits) -> Option<Refusal> {
    if buf.len() > limits.head_bytes_max {
        return Some(too_large(buf, limits));
    }
    // A first byte that starts no method is not HTTP: answer now rather than at the time limit.
    match buf.first() {
        Some(b) if !b.is_ascii_alphanumeric() && !b"!#$%&'*+-.^_`|~\r".contains(b) => Some(Refusal::MalformedHead),
        _ => None,
    }
}

fn too_large(head: &[u8], limits: &HeadLimits) -> Refusal {
    let line = memchr::memchr(b'\n', head).unwrap_or(head.len());
    if line > limits.uri_bytes_max { Refusal::UriTooLong } else { Refusal::HeadTooLarge }
}

fn has_bare_lf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|i| i == 0 || head[i - 1] != b'\r')
}

fn parse_complete(head: &Bytes, limits: &HeadLimits, len: usize) -> Result<RequestHead, Refusal> {
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let slots = &mut slots[..limits.fields_max.min(FIELDS_MAX)];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Refusal::MalformedHead),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
        Err(httparse::Error::Version) => return Err(version_refusal(head)),
        Err(_) => return Err(Refusal::MalformedHead),
    }
    let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Refusal::MalformedHead);
    };
    if target.len() > limits.uri_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    let version = if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::MalformedHead)?;
    let headers = collect(head, parsed.headers)?;
    let framing = request_framing(&headers, version)?;
    check_host(&headers, version)?;
    let connection = Connection::of(&headers);
    let has_body = framing != Framing::Length(0);
    Ok(RequestHead {
        target: head.slice_ref(target.as_bytes()),
        expects_continue: expectation(&headers)? && version == Version::HTTP_11 && has_body,
        upgrade: upgrade_of(&headers, version, connection, has_body),
        keep_alive: if version == Version::HTTP_11 {
            !connection.close
        } else {
            connection.keep_alive && !connection.close
        },
        method,
        version,
        headers,
        framing,
        len,
    })
}

/// 505 for a version that is well-formed but not ours, 400 for noise.
fn version_refusal(head: &[u8]) -> Refusal {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    let version = line.rsplit(|b| *b == b' ').next().unwrap_or(b"");
    match version {
        [b'H', b'T', b'T', b'P', b'/', a, b'.', b] if a.is_ascii_digit() && b.is_ascii_digit() => {
            Refusal::UnsupportedVersion
        }
        _ => Refusal::MalformedHead,
    }
}

fn collect(head: &Bytes, fields: &[httparse::Header<'_>]) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(fields.len() + 4);
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::MalformedHead)?;
        let value = if field.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(head.slice_ref(field.value)).map_err(|_| Refusal::MalformedHead)?
        };
        headers.try_append(name, value).map_err(|_| Refusal::TooManyFields)?;
    }
    Ok(headers)
}

/// RFC 9112 section 6.3 with every choice it leaves made for the strict side.
fn request_framing(headers: &HeaderMap, version: Version) -> Result<Framing, Refusal> {
    let length = content_length(headers).ok_or(Refusal::BadContentLength)?;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(Framing::Length(length.unwrap_or(0))) };
    if version == Version::HTTP_10 || codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Refusal::BadTransferEncoding);
    }
    if length.is_some() {
        return Err(Refusal::ConflictingFraming);
    }
    Ok(Framing::Chunked)
}

/// The one Content-Length: `Some(None)` where there is none, `None` where it is not one decimal number.
pub(crate) fn content_length(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut values = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Some(None) };
    if values.any(|other| other != first) {
        return None;
    }
    parse_decimal(first.as_bytes()).map(Some)
}

/// Digits only: no sign, no white space, no list.
fn parse_decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    digits.iter().try_fold(0u64, |n, d| d.is_ascii_digit().then(|| n * 10 + u64::from(d - b'0')))
}

fn check_host(headers: &HeaderMap, version: Version) -> Result<(), Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    match hosts.next() {
        None if version == Version::HTTP_11 => Err(Refusal::BadHost),
        None => Ok(()),
        Some(host) if host.is_empty() || hosts.next().is_some() => Err(Refusal::BadHost),
        Some(_) => Ok(()),
    }
}

pub(crate) fn expectation(headers: &HeaderMap) -> Result<bool, Refusal> {
    let mut values = headers.get_all(EXPECT).iter();
    match values.next() {
        None => Ok(false),
        Some(one) if one.as_bytes().eq_ignore_ascii_case(b"100-continue") && values.next().is_none() => Ok(true),
        Some(_) => Err(Refusal::BadExpectation),
    }
}

/// The options of `Connection` that concern framing.
#[derive(Clone, Copy, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl Connection {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(CONNECTION) {
            for option in value.as_bytes().split(|b| *b == b',') {
                let option = option.trim_ascii();
                found.close |= option.eq_ignore_ascii_case(b"close");
                found.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                found.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            }
        }
        found
    }
}

/// An upgrade counts only on HTTP/1.1, confirmed by `Connection` (RFC 9110 section 7.8), without a body.
fn upgrade_of(headers: &HeaderMap, version: Version, connection: Connection, has_body: bool) -> Option<Bytes> {
    if version != Version::HTTP_11 || !connection.upgrade || has_body {
        return None;
    }
    let mut values = headers.get_all(UPGRADE).iter();
    let value = values.next()?;
    let usable = values.next().is_none() && is_tunnel_protocol(value.as_bytes());
    usable.then(|| Bytes::copy_from_slice(value.as_bytes()))
}

/// Whether a protocol may be switched to: one token, and no version of HTTP. An origin that switched to those would be
/// spoken to past every stage (h2c smuggling).
pub(crate) fn is_tunnel_protocol(protocol: &[u8]) -> bool {
    const REFUSED: [&[u8]; 3] = [b"h2c", b"h2", b"tls"];
    is_token(protocol)
        && !REFUSED.iter().any(|r| protocol.eq_ignore_ascii_case(r))
        && !protocol.to_ascii_lowercase().starts_with(b"http")
}

fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// A parsed response head.
#[derive(Debug)]
pub struct ResponseHead {
    /// The status.
    pub status: StatusCode,
    /// 1.0 or 1.1.
    pub version: Version,
    /// The fields.
    pub headers: HeaderMap,
    /// Bytes of the head.
    pub len: usize,
}

/// What is wrong with a response from an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadResponse {
    /// Not an HTTP/1 response head.
    #[error("the origin's response head is not valid HTTP/1")]
    Malformed,
    /// `response_head_bytes_max` or too many fields.
    #[error("the origin's response head is larger than allowed")]
    TooLarge,
    /// Framing that could be read in two ways.
    #[error("the origin's response is framed in a way that could be read in two ways")]
    Framing,
}

/// Parses a response head at the start of `buf`. `Ok(None)`: more bytes are needed.
///
/// # Errors
/// [`BadResponse`]; the connection cannot be used further.
pub fn parse_response(buf: &[u8], seen: usize, head_bytes_max: usize) -> Result<Option<ResponseHead>, BadResponse> {
    let Some(end) = head_end(buf, seen) else {
        return if buf.len() > head_bytes_max { Err(BadResponse::TooLarge) } else { Ok(None) };
    };
    if end > head_bytes_max {
        return Err(BadResponse::TooLarge);
    }
    let head = Bytes::copy_from_slice(&buf[..end]);
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &head, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BadResponse::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(BadResponse::TooLarge),
        Err(_) => return Err(BadResponse::Malformed),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else { return Err(BadResponse::Malformed) };
    let status = StatusCode::from_u16(code).map_err(|_| BadResponse::Malformed)?;
    let headers = collect(&head, parsed.headers).map_err(|_| BadResponse::Malformed)?;
    let version = if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    Ok(Some(ResponseHead { status, version, headers, len: end }))
}

/// A single word that no registry knows (or the `identity` of old) names nothing that could have been done to the body,
/// which then ends with the connection (RFC 9112 section 6.3, item 4). A known coding is another matter: its bytes
/// would be passed on as what they are not.
fn is_no_coding(value: &[u8]) -> bool {
    const KNOWN: [&[u8]; 6] = [b"chunked", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
    is_token(value)
        && !KNOWN.iter().any(|known| value.eq_ignore_ascii_case(known))
        // Something like "xchunked" is an attempt to be read in two ways.
        && !value.to_ascii_lowercase().windows(5).any(|w| w == b"chunk")
}

/// How the body of a response is framed (RFC 9112 section 6.3).
///
/// # Errors
/// [`BadResponse::Framing`] where lengths contradict each other.
pub fn response_framing(head: &ResponseHead, method: &Method) -> Result<Framing, BadResponse> {
    let status = head.status;
    if *method == Method::HEAD
        || status.is_informational()
        || status == StatusCode::NO_CONTENT
        || status == StatusCode::NOT_MODIFIED
    {
        return Ok(Framing::Length(0));
    }
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(coding) = codings.next() {
        let alone = codings.next().is_none() && !head.headers.contains_key(CONTENT_LENGTH);
        if alone && is_no_coding(coding.as_bytes()) {
            return Ok(Framing::UntilClose);
        }
        let chunked = alone && coding.as_bytes().eq_ignore_ascii_case(b"chunked");
        // Both lengths, or a coding under a version that has none, is how responses are split (RFC 9112 section 6.1).
        if !chunked || head.version == Version::HTTP_10 {
            return Err(BadResponse::Framing);
        }
        return Ok(Framing::Chunked);
    }
    match content_length(&head.headers).ok_or(BadResponse::Framing)? {
        Some(length) => Ok(Framing::Length(length)),
        None => Ok(Framing::UntilClose),
    }
}
