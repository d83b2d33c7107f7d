//! Field sections of requests: HPACK (RFC 7541), decoded. What an entry of the table costs is what the RFC counts; the
//! table keeps the size that the protocol starts with, since this end never announces another one.

use std::collections::VecDeque;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};

use super::huffman;

/// Bytes of the dynamic table (SETTINGS_HEADER_TABLE_SIZE, left at its first value).
const TABLE_BYTES_MAX: usize = 4096;
/// Bytes that are kept for the next strings.
const TEXT_BYTES_KEPT: usize = 512;
/// What an entry costs beside its text (section 4.1).
pub(crate) const ENTRY_BYTES: usize = 32;

/// The block is not HPACK: the state of the connection's table is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The pseudo-fields of requests (RFC 9113 section 8.3.1, RFC 8441 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
    Protocol,
}

impl Pseudo {
    fn text(self) -> &'static str {
        match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
            Self::Protocol => ":protocol",
        }
    }
}

/// One field line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Pseudo(Pseudo, Bytes),
    Plain(HeaderName, HeaderValue),
    /// A name or a value that no request may have. It is kept, as it takes its place in the table.
    Bad {
        name_len: usize,
        value_len: usize,
    },
}

impl Field {
    /// Its size as the RFCs count it (RFC 7541 section 4.1).
    pub(crate) fn size(&self) -> usize {
        let text = match self {
            Self::Pseudo(name, value) => name.text().len() + value.len(),
            Self::Plain(name, value) => name.as_str().len() + value.len(),
            Self::Bad { name_len, value_len } => name_len + value_len,
        };
        text + ENTRY_BYTES
    }

    fn name(&self) -> Name {
        match self {
            Self::Pseudo(name, _) => Name::Pseudo(*name),
            Self::Plain(name, _) => Name::Plain(name.clone()),
            Self::Bad { name_len, .. } => Name::Bad(*name_len),
        }
    }
}

enum Name {
    Pseudo(Pseudo),
    Plain(HeaderName),
    Bad(usize),
}

impl Name {
    fn read(text: &[u8]) -> Self {
        let pseudo = [Pseudo::Method, Pseudo::Scheme, Pseudo::Authority, Pseudo::Path, Pseudo::Protocol];
        if text.first() == Some(&b':') {
            return match pseudo.into_iter().find(|known| known.text().as_bytes() == text) {
                Some(known) => Self::Pseudo(known),
                None => Self::Bad(text.len()),
            };
        }
        // RFC 9113 section 8.2: an upper-case letter makes a request malformed.
        HeaderName::from_lowercase(text).map_or(Self::Bad(text.len()), Self::Plain)
    }

    fn with(self, value: &[u8]) -> Field {
        let value_len = value.len();
        match self {
            // Nothing that a pseudo-field may hold has a control character or a space in it.
            Self::Pseudo(name) if value.iter().all(|b| *b > b' ' && *b != 0x7f) => {
                Field::Pseudo(name, Bytes::copy_from_slice(value))
            }
            Self::Pseudo(name) => Field::Bad { name_len: name.text().len(), value_len },
            Self::Plain(name) => match field_value(value) {
                Some(value) => Field::Plain(name, value),
                None => Field::Bad { name_len: name.as_str().len(), value_len },
            },
            Self::Bad(name_len) => Field::Bad { name_len, value_len },
        }
    }
}

/// RFC 9113 section 8.2.1: no control characters, no white space at the ends.
fn field_value(value: &[u8]) -> Option<HeaderValue> {
    let is_space = |b: Option<&u8>| matches!(b, Some(b' ' | b'\t'));
    if is_space(value.first()) || is_space(value.last()) {
        return None;
    }
    HeaderValue::from_bytes(value).ok()
}

/// The decoder of one connection.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    table: VecDeque<Field>,
    bytes: usize,
    /// What the client asked the table to be; 0 stands for "nothing asked".
    max: Option<usize>,
    /// Decoded strings, one after the other.
    text: Vec<u8>,
}

impl Decoder {
    /// Decodes one field section; `each` gets its field lines in order and may say that it has had enough.
    ///
    /// # Errors
    /// [`Malformed`]: a connection error of type COMPRESSION_ERROR.
    pub(crate) fn decode(&mut self, mut block: &[u8], mut each: impl FnMut(Field) -> bool) -> Result<(), Malformed> {
        let mut begun = false;
        while let [first, ..] = *block {
            let field = match first {
                0x80.. => self.entry(integer(&mut block, 7)?)?.clone(),
                0x40.. => {
                    let field = self.literal(&mut block, 6)?;
                    self.insert(field.clone());
                    field
                }
                0x20.. => {
                    // Section 4.2: only at the start of a section, and never above what was announced.
                    let max = integer(&mut block, 5)?;
                    if begun || max > TABLE_BYTES_MAX {
                        return Err(Malformed);
                    }
                    self.max = Some(max);
                    self.evict(max);
                    continue;
                }
                _ => self.literal(&mut block, 4)?,
            };
            begun = true;
            if !each(field) {
                break;
            }
        }
        if self.text.capacity() > TEXT_BYTES_KEPT {
            self.text = Vec::new();
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Field, Malformed> {
        let index = index.checked_sub(1).ok_or(Malformed)?;
        match STATIC.get(index) {
            Some(field) => Ok(field),
            None => self.table.get(index - STATIC.len()).ok_or(Malformed),
        }
    }

    fn literal(&mut self, block: &mut &[u8], prefix: u32) -> Result<Field, Malformed> {
        let index = integer(block, prefix)?;
        let name = if index == 0 { Name::read(string(block, &mut self.text)?) } else { self.entry(index)?.name() };
        Ok(name.with(string(block, &mut self.text)?))
    }

    fn insert(&mut self, field: Field) {
        let max = self.max.unwrap_or(TABLE_BYTES_MAX);
        let size = field.size();
        self.evict(max.saturating_sub(size));
        // Section 4.4: what is larger than the table empties it.
        if size <= max {
            self.bytes += size;
            self.table.push_front(field);
        }
    }

    fn evict(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            let Some(oldest) = self.table.pop_back() else { return };
            self.bytes -= oldest.size();
        }
    }
}

/// Section 5.1.
fn integer(block: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    let (first, mut rest) = block.split_first().ok_or(Malformed)?;
    let mask = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first().ok_or(Malformed)?;
            rest = after;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            // No length, index or size that makes sense needs more.
            if shift > 21 {
                return Err(Malformed);
            }
        }
    }
    *block = rest;
    Ok(value)
}

/// Section 5.2. What is not encoded is not copied either.
fn string<'t, 'b: 't>(block: &mut &'b [u8], text: &'t mut Vec<u8>) -> Result<&'t [u8], Malformed> {
    let coded = block.first().ok_or(Malformed)? & 0x80 != 0;
    let length = integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(Malformed)?;
    *block = rest;
    if !coded {
        return Ok(bytes);
    }
    text.clear();
    huffman::decode(bytes, text)?;
    Ok(text)
}

const fn pseudo(name: Pseudo, value: &'static str) -> Field {
    Field::Pseudo(name, Bytes::from_static(value.as_bytes()))
}

const fn plain(name: HeaderName, value: &'static str) -> Field {
    Field::Plain(name, HeaderValue::from_static(value))
}

/// `:status` stands in the table and in no request.
const fn status() -> Field {
    Field::Bad { name_len: 7, value_len: 3 }
}

/// RFC 7541 appendix A.
pub(crate) static STATIC: [Field; 61] = [
    pseudo(Pseudo::Authority, ""),
    pseudo(Pseudo::Method, "GET"),
    pseudo(Pseudo::Method, "POST"),
    pseudo(Pseudo::Path, "/"),
    pseudo(Pseudo::Path, "/index.html"),
    pseudo(Pseudo::Scheme, "http"),
    pseudo(Pseudo::Scheme, "https"),
    status(),
    status(),
    status(),
    status(),
    status(),
    status(),
    status(),
    plain(header::ACCEPT_CHARSET, ""),
    plain(header::ACCEPT_ENCODING, "gzip, deflate"),
    plain(header::ACCEPT_LANGUAGE, ""),
    plain(header::ACCEPT_RANGES, ""),
    plain(header::ACCEPT, ""),
    plain(header::ACCESS_CONTROL_ALLOW_ORIGIN, ""),
    plain(header::AGE, ""),
    plain(header::ALLOW, ""),
    plain(header::AUTHORIZATION, ""),
    plain(header::CACHE_CONTROL, ""),
    plain(header::CONTENT_DISPOSITION, ""),
    plain(header::CONTENT_ENCODING, ""),
    plain(header::CONTENT_LANGUAGE, ""),
    plain(header::CONTENT_LENGTH, ""),
    plain(header::CONTENT_LOCATION, ""),
    plain(header::CONTENT_RANGE, ""),
    plain(header::CONTENT_TYPE, ""),
    plain(header::COOKIE, ""),
    plain(header::DATE, ""),
    plain(header::ETAG, ""),
    plain(header::EXPECT, ""),
    plain(header::EXPIRES, ""),
    plain(header::FROM, ""),
    plain(header::HOST, ""),
    plain(header::IF_MATCH, ""),
    plain(header::IF_MODIFIED_SINCE, ""),
    plain(header::IF_NONE_MATCH, ""),
    plain(header::IF_RANGE, ""),
    plain(header::IF_UNMODIFIED_SINCE, ""),
    plain(header::LAST_MODIFIED, ""),
    plain(header::LINK, ""),
    plain(header::LOCATION, ""),
    plain(header::MAX_FORWARDS, ""),
    plain(header::PROXY_AUTHENTICATE, ""),
    plain(header::PROXY_AUTHORIZATION, ""),
    plain(header::RANGE, ""),
    plain(header::REFERER, ""),
    plain(header::REFRESH, ""),
    plain(header::RETRY_AFTER, ""),
    plain(header::SERVER, ""),
    plain(header::SET_COOKIE, ""),
    plain(header::STRICT_TRANSPORT_SECURITY, ""),
    plain(header::TRANSFER_ENCODING, ""),
    plain(header::USER_AGENT, ""),
    plain(header::VARY, ""),
    plain(header::VIA, ""),
    plain(header::WWW_AUTHENTICATE, ""),
];

#[cfg(test)]
#[path = "hpack_tests.rs"]
mod tests;
