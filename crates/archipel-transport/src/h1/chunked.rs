//! The chunked transfer coding (RFC 9112 section 7.1), decoded to the letter: CRLF only, plain hexadecimal sizes,
//! extensions without control characters, bounded trailers.

use http::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

/// Bytes of one chunk header (size and extensions).
pub const CHUNK_HEADER_BYTES_MAX: usize = 256;
/// Bytes of all trailers together.
pub const TRAILER_BYTES_MAX: usize = 8 * 1024;
/// Trailer fields.
const TRAILERS_MAX: usize = 32;

/// What is wrong with a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// The chunk size is not plain hexadecimal, or larger than 2^60.
    #[error("a chunk size is not a plain hexadecimal number")]
    Size,
    /// A line of the coding is malformed (a bare LF, a control character in an extension).
    #[error("a line of the chunked coding is malformed")]
    Line,
    /// A chunk header or the trailers are over their limit.
    #[error("a chunk header or the trailer section is over its limit")]
    TooLarge,
    /// The trailers are not fields.
    #[error("the trailer section is malformed")]
    Trailers,
}

/// One step of decoding.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Take this many bytes from the front as data (then tell [`Decoder::consumed`]).
    Data(usize),
    /// Drop this many bytes from the front: coding, not data.
    Skip(usize),
    /// More bytes are needed.
    More,
    /// The body ended; drop this many bytes. Trailers are in [`Decoder::take_trailers`].
    End(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// A resumable decoder.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    trailers: Option<HeaderMap>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: State::Size, trailers: None }
    }
}

impl Decoder {
    /// Looks at the front of `buf`.
    ///
    /// # Errors
    /// [`ChunkError`]; nothing after it can be trusted.
    pub fn step(&mut self, buf: &[u8]) -> Result<Step, ChunkError> {
        match self.state {
            State::Size => self.size(buf),
            State::Data(_) if buf.is_empty() => Ok(Step::More),
            State::Data(left) => Ok(Step::Data(usize::try_from(left).unwrap_or(usize::MAX).min(buf.len()))),
            State::DataEnd => match buf {
                [] | [b'\r'] => Ok(Step::More),
                [b'\r', b'\n', ..] => {
                    self.state = State::Size;
                    Ok(Step::Skip(2))
                }
                _ => Err(ChunkError::Line),
            },
            State::Trailers => self.trailer_section(buf),
            State::Done => Ok(Step::End(0)),
        }
    }

    /// Tells that `n` bytes of data were taken.
    pub fn consumed(&mut self, n: usize) {
        if let State::Data(left) = self.state {
            let left = left.saturating_sub(n as u64);
            self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        }
    }

    /// Whether the end was seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The trailers, once, after the end.
    pub fn take_trailers(&mut self) -> Option<HeaderMap> {
        self.trailers.take()
    }

    fn size(&mut self, buf: &[u8]) -> Result<Step, ChunkError> {
        let Some(lf) = memchr::memchr(b'\n', &buf[..buf.len().min(CHUNK_HEADER_BYTES_MAX)]) else {
            return if buf.len() >= CHUNK_HEADER_BYTES_MAX { Err(ChunkError::TooLarge) } else { Ok(Step::More) };
        };
        let Some(line) = buf[..lf].strip_suffix(b"\r") else { return Err(ChunkError::Line) };
        let size = parse_size(line)?;
        self.state = if size == 0 { State::Trailers } else { State::Data(size) };
        Ok(Step::Skip(lf + 1))
    }

    fn trailer_section(&mut self, buf: &[u8]) -> Result<Step, ChunkError> {
        match buf {
            [] | [b'\r'] => return Ok(Step::More),
            [b'\r', b'\n', ..] => {
                self.state = State::Done;
                return Ok(Step::End(2));
            }
            _ => {}
        }
        let Some(end) = buf.windows(4).position(|w| w == b"\r\n\r\n") else {
            return if buf.len() > TRAILER_BYTES_MAX { Err(ChunkError::TooLarge) } else { Ok(Step::More) };
        };
        if end > TRAILER_BYTES_MAX {
            return Err(ChunkError::TooLarge);
        }
        self.trailers = Some(parse_trailers(&buf[..end + 4])?);
        self.state = State::Done;
        Ok(Step::End(end + 4))
    }
}

fn parse_size(line: &[u8]) -> Result<u64, ChunkError> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    // 15 digits stay below 2^60; more is an overflow attempt.
    if digits == 0 || digits > 15 {
        return Err(ChunkError::Size);
    }
    let size = line[..digits].iter().fold(0u64, |n, d| {
        n * 16
            + u64::from(match d {
                b'0'..=b'9' => d - b'0',
                b'a'..=b'f' => d - b'a' + 10,
                _ => d - b'A' + 10,
            })
    });
    let blank = line[digits..].iter().take_while(|b| matches!(**b, b' ' | b'\t')).count();
    let rest = &line[digits + blank..];
    match rest.first() {
        None if digits == line.len() => Ok(size),
        Some(b';') if rest.iter().all(|b| *b == b'\t' || (*b >= b' ' && *b != 0x7f)) => Ok(size),
        _ => Err(ChunkError::Line),
    }
}

fn parse_trailers(section: &[u8]) -> Result<HeaderMap, ChunkError> {
    if memchr::memchr_iter(b'\n', section).any(|i| i == 0 || section[i - 1] != b'\r') {
        return Err(ChunkError::Trailers);
    }
    let mut slots = [httparse::EMPTY_HEADER; TRAILERS_MAX];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut slots) else {
        return Err(ChunkError::Trailers);
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| ChunkError::Trailers)?;
        // Framing and routing never come from a trailer (RFC 9110 section 6.5.1).
        if !is_allowed_trailer(&name) {
            continue;
        }
        let value = HeaderValue::from_bytes(field.value).map_err(|_| ChunkError::Trailers)?;
        trailers.try_append(name, value).map_err(|_| ChunkError::TooLarge)?;
    }
    Ok(trailers)
}

/// Whether a field may come as a trailer (RFC 9110 section 6.5.1).
pub(crate) fn is_allowed_trailer(name: &HeaderName) -> bool {
    !FORBIDDEN.contains(&name.as_str())
}

const FORBIDDEN: &[&str] = &[
    "transfer-encoding",
    "content-length",
    "host",
    "connection",
    "content-encoding",
    "content-type",
    "content-range",
    "trailer",
    "authorization",
    "set-cookie",
    "cache-control",
    "te",
    "upgrade",
    "age",
    "expires",
    "date",
    "location",
    "retry-after",
    "vary",
    "warning",
    "proxy-authorization",
    "expect",
    "max-forwards",
    "pragma",
    "range",
    "cookie",
];
