//! Heads of HTTP/1 messages: bytes in, typed parts out. Pure functions of the bytes; limits are arguments.

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use crate::received::{ReceivedFields, ReceivedLines};
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
    /// The value of `Host`.
    pub host: Option<Bytes>,
    /// Whether `TE` says that trailers are accepted.
    pub trailers_accepted: bool,
    /// Bytes of the head.
    pub len: usize,
}

/// A field that may come once: its first value, and whether there was another.
#[derive(Clone, Copy, Default)]
struct Once<'a> {
    first: Option<&'a [u8]>,
    again: bool,
    differs: bool,
}

impl<'a> Once<'a> {
    fn note(&mut self, value: &'a [u8]) {
        match self.first {
            None => self.first = Some(value),
            Some(first) => {
                self.again = true;
                self.differs |= first != value;
            }
        }
    }

    fn alone(self) -> Option<&'a [u8]> {
        self.first.filter(|_| !self.again)
    }

    /// As a Content-Length: `Some(None)` where there is none, `None` where it is not one decimal number.
    fn length(self) -> Option<Option<u64>> {
        match self.first {
            None => Some(None),
            Some(_) if self.differs => None,
            Some(digits) => parse_decimal(digits).map(Some),
        }
    }
}

/// What the lines of a head say about framing and connection, noted in the pass that collects its fields: looking each
/// of them up in the map again costs more than everything else that is done with them.
#[derive(Clone, Copy, Default)]
struct Told<'a> {
    length: Once<'a>,
    coding: Once<'a>,
    host: Once<'a>,
    expect: Once<'a>,
    upgrade: Once<'a>,
    connection: Connection,
    trailers_accepted: bool,
}

/// What a noted line was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noted {
    /// Content-Length or Transfer-Encoding.
    Framing,
    /// `Connection` with no option but `close` and `keep-alive`.
    Persistence,
    Other,
}

impl<'a> Told<'a> {
    fn note(&mut self, name: &str, value: &'a [u8]) -> Noted {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match name.len() {
            2 if is("te") => self.trailers_accepted |= options(value).any(|o| o.eq_ignore_ascii_case(b"trailers")),
            4 if is("host") => self.host.note(value),
            6 if is("expect") => self.expect.note(value),
            7 if is("upgrade") => self.upgrade.note(value),
            10 if is("connection") => {
                return if self.connection.note(value) { Noted::Persistence } else { Noted::Other };
            }
            14 if is("content-length") => {
                self.length.note(value);
                return Noted::Framing;
            }
            17 if is("transfer-encoding") => {
                self.coding.note(value);
                return Noted::Framing;
            }
            _ => {}
        }
        Noted::Other
    }
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(<[u8]>::trim_ascii)
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
    let Some(found) = find_request(buf, seen, limits)? else { return Ok(None) };
    let head = Bytes::copy_from_slice(&buf[found.clone()]);
    parse_complete(&head, limits, found.end).map(Some)
}

/// [`parse_request`] that takes the head out of `rbuf`: one that came alone is not copied.
///
/// # Errors
/// As [`parse_request`]; what is left in `rbuf` is of no use then.
pub(crate) fn take_request(
    rbuf: &mut BytesMut,
    seen: usize,
    limits: &HeadLimits,
) -> Result<Option<RequestHead>, Refusal> {
    let Some(found) = find_request(rbuf, seen, limits)? else { return Ok(None) };
    let len = found.end;
    let head = if found == (0..rbuf.len()) {
        std::mem::take(rbuf).freeze()
    } else {
        let head = Bytes::copy_from_slice(&rbuf[found]);
        rbuf.advance(len);
        head
    };
    parse_complete(&head, limits, len).map(Some)
}

/// Where a request's head stands in `buf`; `None` while it has no end.
fn find_request(buf: &[u8], seen: usize, limits: &HeadLimits) -> Result<Option<Range<usize>>, Refusal> {
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
    Ok(Some(skip..skip + end))
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
    let mut told = Told::default();
    let headers = collect(head, parsed.headers, |name, value| {
        told.note(name, value);
        true
    })?;
    let framing = request_framing(&told, version)?;
    check_host(&told, version)?;
    let connection = told.connection;
    let has_body = framing != Framing::Length(0);
    Ok(RequestHead {
        target: head.slice_ref(target.as_bytes()),
        expects_continue: is_expectation(&told)? && version == Version::HTTP_11 && has_body,
        upgrade: upgrade_of(&told, version, has_body),
        host: told.host.first.map(|host| head.slice_ref(host)),
        trailers_accepted: told.trailers_accepted,
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

/// 505 for a version that is well-formed but not ours, 400 for noise. HTTP/0.9 has no heads, so a head that says 0 is noise; and
/// where our own version stands behind a second space, the target is.
fn version_refusal(head: &[u8]) -> Refusal {
    let line = &head[..memchr::memchr(b'\r', head).unwrap_or(head.len())];
    let version = line.rsplit(|b| *b == b' ').next().unwrap_or(b"");
    match version {
        b"HTTP/1.0" | b"HTTP/1.1" => Refusal::MalformedHead,
        [b'H', b'T', b'T', b'P', b'/', b'1'..=b'9', b'.', b'0'..=b'9'] => Refusal::UnsupportedVersion,
        _ => Refusal::MalformedHead,
    }
}

/// The fields that `keep` keeps, as slices of the head.
fn collect<'a>(
    head: &Bytes,
    fields: &[httparse::Header<'a>],
    mut keep: impl FnMut(&str, &'a [u8]) -> bool,
) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::with_capacity(fields.len() + 1);
    for field in fields {
        if !keep(field.name, field.value) {
            continue;
        }
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Refusal::MalformedHead)?;
        let value = if field.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            // Checking each byte a second time costs 600 instructions a proxied request.
            // SAFETY: httparse has taken these bytes for a field value, and takes none that `HeaderValue` does not: a test
            // compares the two byte by byte, and debug builds check each value.
            unsafe { HeaderValue::from_maybe_shared_unchecked(head.slice_ref(field.value)) }
        };
        headers.try_append(name, value).map_err(|_| Refusal::TooManyFields)?;
    }
    Ok(headers)
}

/// RFC 9112 section 6.3 with every choice it leaves made for the strict side.
fn request_framing(told: &Told<'_>, version: Version) -> Result<Framing, Refusal> {
    let length = told.length.length().ok_or(Refusal::BadContentLength)?;
    let Some(coding) = told.coding.first else { return Ok(Framing::Length(length.unwrap_or(0))) };
    if version == Version::HTTP_10 || told.coding.again || !coding.eq_ignore_ascii_case(b"chunked") {
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

fn check_host(told: &Told<'_>, version: Version) -> Result<(), Refusal> {
    match told.host.first {
        None if version == Version::HTTP_11 => Err(Refusal::BadHost),
        None => Ok(()),
        Some(host) if host.is_empty() || told.host.again => Err(Refusal::BadHost),
        Some(_) => Ok(()),
    }
}

fn is_expectation(told: &Told<'_>) -> Result<bool, Refusal> {
    match told.expect.first {
        None => Ok(false),
        Some(one) if one.eq_ignore_ascii_case(b"100-continue") && !told.expect.again => Ok(true),
        Some(_) => Err(Refusal::BadExpectation),
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
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connection {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
}

impl Connection {
    /// Takes one line in. Whether it has no other options than `close` and `keep-alive`.
    fn note(&mut self, value: &[u8]) -> bool {
        let mut persistence_only = true;
        for option in options(value) {
            let (close, keep_alive) =
                (option.eq_ignore_ascii_case(b"close"), option.eq_ignore_ascii_case(b"keep-alive"));
            self.close |= close;
            self.keep_alive |= keep_alive;
            self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            persistence_only &= close || keep_alive;
        }
        persistence_only
    }
}

/// An upgrade counts only on HTTP/1.1, confirmed by `Connection` (RFC 9110 section 7.8), without a body.
fn upgrade_of(told: &Told<'_>, version: Version, has_body: bool) -> Option<Bytes> {
    if version != Version::HTTP_11 || !told.connection.upgrade || has_body {
        return None;
    }
    told.upgrade.alone().filter(|value| is_tunnel_protocol(value)).map(Bytes::copy_from_slice)
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
    /// The fields, without Content-Length, Transfer-Encoding, and a `Connection` that says nothing of other fields: what
    /// they tell stands beside.
    pub headers: ReceivedFields,
    /// The one Content-Length: `Some(None)` where there is none, `None` where it is not one decimal number.
    pub(crate) length: Option<Option<u64>>,
    pub(crate) connection: Connection,
    coding: Coding,
    /// Bytes of the head.
    pub len: usize,
}

/// What Transfer-Encoding says of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    /// Nothing.
    Untold,
    /// `chunked` and no more.
    Chunked,
    /// See [`is_no_coding`].
    Meaningless,
    /// Anything else.
    Other,
}

impl Coding {
    fn of(coding: Once<'_>) -> Self {
        match (coding.first, coding.alone()) {
            (None, _) => Coding::Untold,
            (_, Some(alone)) if alone.eq_ignore_ascii_case(b"chunked") => Coding::Chunked,
            (_, Some(alone)) if is_no_coding(alone) => Coding::Meaningless,
            _ => Coding::Other,
        }
    }
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
    let head = &buf[..end];
    let mut slots = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, head, &mut slots) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BadResponse::Malformed),
        Err(httparse::Error::TooManyHeaders) => return Err(BadResponse::TooLarge),
        Err(_) => return Err(BadResponse::Malformed),
    }
    let (Some(code), Some(minor)) = (parsed.code, parsed.version) else { return Err(BadResponse::Malformed) };
    let status = StatusCode::from_u16(code).map_err(|_| BadResponse::Malformed)?;
    let mut told = Told::default();
    let mut lines = ReceivedLines::with_capacity(end, parsed.headers.len());
    for field in parsed.headers.iter() {
        if told.note(field.name, field.value) == Noted::Other {
            lines.push(field.name, field.value).ok_or(BadResponse::TooLarge)?;
        }
    }
    Ok(Some(ResponseHead {
        status,
        version: if minor == 1 { Version::HTTP_11 } else { Version::HTTP_10 },
        headers: ReceivedFields::Lines(Box::new(lines)),
        length: told.length.length(),
        connection: told.connection,
        coding: Coding::of(told.coding),
        len: end,
    }))
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
    // Both lengths, or a coding under a version that has none, is how responses are split (RFC 9112 section 6.1).
    match (head.coding, head.length) {
        (Coding::Untold, Some(Some(length))) => Ok(Framing::Length(length)),
        (Coding::Untold, Some(None)) | (Coding::Meaningless, Some(None)) => Ok(Framing::UntilClose),
        (Coding::Chunked, Some(None)) if head.version == Version::HTTP_11 => Ok(Framing::Chunked),
        _ => Err(BadResponse::Framing),
    }
}

#[cfg(test)]
#[path = "head_tests.rs"]
mod tests;
