//! As much of HTTP as a cheap generator needs: where a reply ends, its status, and the reason that a refusal names. It
//! trusts its peers, which are the servers under test: nothing here may be used on what strangers send.

use memchr::memmem;

/// Most bytes of a refusal's body that are kept, to find its reason.
const KEPT_MAX: usize = 8 << 10;
/// Longest head of a reply.
const HEAD_MAX: usize = 64 << 10;

/// A whole reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: u16,
    /// Whether the connection ends after it.
    pub close: bool,
    /// Of a refusal: the reason that its page names.
    pub reason: Option<String>,
}

/// Reads HTTP/1.1 replies as their bytes come.
#[derive(Debug, Default)]
pub struct Reader {
    head: Vec<u8>,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    status: u16,
    close: bool,
    left: Left,
    kept: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum Left {
    Bytes(usize),
    /// The last chunk is seen by how it ends.
    Chunks,
}

impl Reader {
    /// Whether bytes of a reply have come, and not all of them.
    #[must_use]
    pub fn is_within(&self) -> bool {
        !self.head.is_empty() || self.body.is_some()
    }

    /// Takes bytes. A reply when they end one; what comes after it is dropped, as one request waits at a time.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Reply> {
        let mut rest = bytes;
        if self.body.is_none() {
            if self.head.is_empty()
                && let Some(end) = memmem::find(bytes, b"\r\n\r\n")
            {
                self.body = Some(Body::of(&bytes[..end + 4]));
                rest = &bytes[end + 4..];
            } else {
                let had = self.head.len();
                self.head.extend_from_slice(&bytes[..bytes.len().min(HEAD_MAX - had.min(HEAD_MAX))]);
                let end = memmem::find(&self.head, b"\r\n\r\n")? + 4;
                self.body = Some(Body::of(&self.head[..end]));
                self.head.clear();
                rest = &bytes[end - had..];
            }
        }
        let body = self.body.as_mut()?;
        if !body.feed(rest) {
            return None;
        }
        let body = self.body.take()?;
        // Interim replies are not the answer, and nobody asked for them.
        let reason = reason(&body.kept).map(str::to_owned);
        Some(Reply { status: body.status, close: body.close, reason })
    }
}

impl Body {
    fn of(head: &[u8]) -> Self {
        let status = head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        let status = status.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        let (mut left, mut close) = (Left::Bytes(0), head.starts_with(b"HTTP/1.0"));
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            // Few lines begin with these letters, and most replies have a dozen lines.
            match line.first() {
                Some(b'C' | b'c') => {
                    if let Some(value) = field(line, b"content-length:") {
                        left = Left::Bytes(number(value));
                    } else if let Some(value) = field(line, b"connection:") {
                        close |= value.eq_ignore_ascii_case(b"close");
                    }
                }
                Some(b'T' | b't') if field(line, b"transfer-encoding:").is_some() => left = Left::Chunks,
                _ => {}
            }
        }
        if status == 304 || status == 204 {
            left = Left::Bytes(0);
        }
        Self { status, close, left, kept: Vec::new() }
    }

    /// True where the body is whole.
    fn feed(&mut self, bytes: &[u8]) -> bool {
        let refusal = self.status >= 400;
        if refusal || matches!(self.left, Left::Chunks) {
            if self.kept.len() + bytes.len() > KEPT_MAX {
                self.kept.drain(..self.kept.len().min(bytes.len()));
            }
            self.kept.extend_from_slice(bytes);
        }
        match &mut self.left {
            Left::Bytes(left) => {
                *left = left.saturating_sub(bytes.len());
                *left == 0
            }
            Left::Chunks => self.kept.ends_with(b"0\r\n\r\n"),
        }
    }
}

/// A field's value, where the line is that field.
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> usize {
    digits
        .iter()
        .take_while(|digit| digit.is_ascii_digit())
        .fold(0_usize, |value, digit| value.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
}

/// The reason that Archipel's own pages name, in text and in HTML.
#[must_use]
pub fn reason(page: &[u8]) -> Option<&str> {
    let after = |mark: &[u8]| memmem::rfind(page, mark).map(|at| &page[at + mark.len()..]);
    let rest = after(b"\nreason: ").or_else(|| after(b"<dt>Reason</dt><dd>"))?;
    let end = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')))?;
    std::str::from_utf8(&rest[..end]).ok().filter(|reason| !reason.is_empty())
}

/// The client connection preface of HTTP/2.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2 that has arrived whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream.
    pub stream: u32,
    /// Payload.
    pub payload: &'a [u8],
}

/// The first whole frame of `bytes`, and how many bytes it is.
#[must_use]
pub fn first_frame(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let head = bytes.get(..9)?;
    let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
    let payload = bytes.get(9..9 + length)?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Some((Frame { kind: head[3], flags: head[4], stream, payload }, 9 + length))
}

/// Appends a frame.
pub fn put_frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or_default().to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The status in a block of header fields (RFC 7541), where it stands first, as all servers send it.
#[must_use]
pub fn status_of(block: &[u8]) -> Option<u16> {
    let mut rest = block;
    // Changes of the table's size come before.
    while let [first, tail @ ..] = rest
        && first & 0xe0 == 0x20
    {
        rest = tail;
        if first & 0x1f == 0x1f {
            let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
            rest = &rest[end + 1..];
        }
    }
    match rest {
        [first @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(first - 0x88)]),
        // A literal whose name is the eighth of the static table; in the last form the name is spelt out.
        [0x08 | 0x18 | 0x48, rest @ ..] => literal_status(rest),
        [0x00 | 0x10 | 0x40, rest @ ..] => literal_status(rest.strip_prefix(b"\x07:status".as_slice())?),
        _ => None,
    }
}

fn literal_status(value: &[u8]) -> Option<u16> {
    let [length, value @ ..] = value else { return None };
    let value = value.get(..usize::from(length & 0x7f))?;
    if length & 0x80 == 0 {
        return std::str::from_utf8(value).ok()?.parse().ok();
    }
    // The codes of the ten digits (RFC 7541, appendix B): 0 to 2 take five bits, the others six.
    let (mut bits, mut have, mut status, mut digits) = (0_u32, 0_u32, 0_u16, 0);
    let mut bytes = value.iter();
    while digits < 3 {
        while have < 6 {
            bits = bits << 8 | u32::from(*bytes.next().unwrap_or(&0xff));
            have += 8;
        }
        let six = bits >> (have - 6) & 0x3f;
        let (digit, used) =
            if six >> 1 <= 2 { (six >> 1, 5) } else { (six.checked_sub(0x16).filter(|digit| *digit >= 3)?, 6) };
        status = status * 10 + u16::try_from(digit).ok().filter(|digit| *digit <= 9)?;
        have -= used;
        digits += 1;
    }
    Some(status)
}

#[cfg(test)]
mod tests {
    use super::{Reader, Reply, first_frame, put_frame, reason, status_of};

    #[test]
    fn replies_are_read_however_they_are_cut() {
        let text = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 34\r\nConnection: close\r\n\r\n403 Forbidden\nreason: shield_rule\n";
        let want = Reply { status: 403, close: true, reason: Some("shield_rule".to_owned()) };
        for cut in 1..text.len() - 1 {
            let mut reader = Reader::default();
            let first = reader.feed(&text[..cut]);
            let reply = first.or_else(|| reader.feed(&text[cut..]));
            assert_eq!(reply.as_ref().map(|reply| reply.status), Some(want.status), "cut at {cut}");
            assert!(!reader.is_within());
        }
        let mut reader = Reader::default();
        assert_eq!(reader.feed(text), Some(want));
        let ok = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n";
        assert_eq!(reader.feed(ok).map(|reply| (reply.status, reply.close)), Some((200, false)));
        assert_eq!(reader.feed(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n").map(|r| r.status), Some(304));
    }

    #[test]
    fn reasons_are_found() {
        assert_eq!(reason(b"429 Too Many\nreason: rate_limit\nrequest: 1\n"), Some("rate_limit"));
        assert_eq!(reason(b"<dl><dt>Reason</dt><dd>firewall_challenge</dd></dl>"), Some("firewall_challenge"));
        assert_eq!(reason(b"<h1>429 Too Many Requests</h1>"), None);
    }

    #[test]
    fn frames_and_statuses_are_read() {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, 1, 4, 7, b"\x88");
        let (frame, length) = first_frame(&bytes).expect("a frame");
        assert_eq!((frame.kind, frame.stream, length, status_of(frame.payload)), (1, 7, 10, Some(200)));
        assert!(first_frame(&bytes[..9]).is_none());
        let blocks: [(&[u8], u16); 6] = [
            (b"\x3f\xe1\x1f\x8d\x01", 404),
            (b"\x08\x03403\x01", 403),
            (b"\x48\x03503", 503),
            (b"\x00\x07:status\x03429", 429),
            // Huffman: 4 0 3 is 011010 00000 011001.
            (b"\x08\x83\x68\x0c\xff", 403),
            (b"\x48\x82\x10\x01", 200),
        ];
        for (block, want) in blocks {
            assert_eq!(status_of(block), Some(want), "{block:02x?}");
        }
        assert_eq!(status_of(b"\x82"), None);
    }
}
