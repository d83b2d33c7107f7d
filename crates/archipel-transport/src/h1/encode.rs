//! Heads written to the wire.

use archipel_http::sink::FieldSink;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// Writes `name: value` lines for all fields but framing and connection ones, which the writer of the head sets itself.
pub(crate) fn write_fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers {
        if is_written(name) {
            write_field(out, name, value);
        }
    }
}

/// Whether a field is written as it stands: framing and `Connection` are set by the writer of the head.
pub(crate) fn is_written(name: &HeaderName) -> bool {
    name != CONTENT_LENGTH && name != TRANSFER_ENCODING && name != CONNECTION
}

/// Writes one field line.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    write_line(out, name.as_str().as_bytes(), value.as_bytes());
}

/// One check of the room instead of four.
fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Fields laid out as HTTP/1 sends them: a request that goes straight through needs no second map of its fields.
/// Framing and `Connection` are left out, as they are the writer's of the head.
#[derive(Clone, Debug, Default)]
pub struct FieldLines {
    bytes: Vec<u8>,
    te: bool,
}

impl FieldLines {
    /// No lines, and room for `bytes` of them.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), te: false }
    }

    /// The lines, each with its end.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether `TE` is among them.
    pub(crate) fn has_te(&self) -> bool {
        self.te
    }

    /// The same as a map, for HTTP/2 and for who looks at a request before it is sent.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in self.bytes.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let value = line[colon + 1..].strip_prefix(b" ").unwrap_or_default();
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        map
    }

    fn line(&mut self, name: &HeaderName, value: &[u8]) {
        if is_written(name) {
            self.te |= *name == TE;
            write_line(&mut self.bytes, name.as_str().as_bytes(), value);
        }
    }
}

impl FieldSink for FieldLines {
    fn put(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.line(name, value.as_bytes());
    }

    fn put_text(&mut self, name: &HeaderName, text: &str) {
        if text.bytes().all(|b| matches!(b, b' '..=b'~')) {
            self.line(name, text.as_bytes());
        }
    }
}

/// Writes the status line.
pub(crate) fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes `content-length: n`.
pub(crate) fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Writes a chunk header.
pub(crate) fn write_chunk_size(out: &mut Vec<u8>, size: usize) {
    let mut digits = [0u8; 16];
    let mut at = digits.len();
    let mut left = size;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_maps_say_the_same() {
        let mut lines = FieldLines::with_capacity(16);
        let mut map = HeaderMap::new();
        let fields = [("via", "1.1 a"), ("x-empty", ""), ("te", "trailers"), ("via", "1.1 b: c")];
        for (name, value) in fields {
            let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
            lines.put(&name, &value);
            map.put(&name, &value);
        }
        for text in ["plain text", "two\r\nlines", "\u{e4}"] {
            lines.put_text(&HeaderName::from_static("x-text"), text);
        }
        map.put_text(&HeaderName::from_static("x-text"), "plain text");
        lines.put(&CONTENT_LENGTH, &HeaderValue::from_static("1"));
        lines.put(&CONNECTION, &HeaderValue::from_static("close"));
        assert!(lines.has_te());
        assert_eq!(lines.to_map(), map);
    }
}
