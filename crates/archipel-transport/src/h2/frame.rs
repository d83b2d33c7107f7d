//! Frames of HTTP/2 (RFC 9113 sections 4 and 6): heads read, frames written.

/// Bytes of a frame's head.
pub(crate) const HEAD_BYTES: usize = 9;
/// Largest payload that a client may send: SETTINGS_MAX_FRAME_SIZE, left at its first value.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16_384;
/// Largest flow-control window (section 6.9.1).
pub(crate) const WINDOW_MAX: i64 = (1 << 31) - 1;
/// A window before anybody says otherwise (section 6.9.2).
pub(crate) const WINDOW_FIRST: i64 = 65_535;
/// What a client says first (section 3.4).
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Types of frames.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags of frames.
pub(crate) mod flag {
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Parameters of SETTINGS.
pub(crate) mod setting {
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const STREAMS_MAX: u16 = 3;
    pub(crate) const INITIAL_WINDOW: u16 = 4;
    pub(crate) const FRAME_BYTES_MAX: u16 = 5;
    pub(crate) const HEADER_LIST_BYTES_MAX: u16 = 6;
    /// RFC 8441 section 3.
    pub(crate) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// An error code (section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const NO_ERROR: Self = Self(0);
    pub(crate) const PROTOCOL_ERROR: Self = Self(1);
    pub(crate) const INTERNAL_ERROR: Self = Self(2);
    pub(crate) const FLOW_CONTROL_ERROR: Self = Self(3);
    pub(crate) const STREAM_CLOSED: Self = Self(5);
    pub(crate) const FRAME_SIZE_ERROR: Self = Self(6);
    pub(crate) const REFUSED_STREAM: Self = Self(7);
    pub(crate) const CANCEL: Self = Self(8);
    pub(crate) const COMPRESSION_ERROR: Self = Self(9);
    pub(crate) const ENHANCE_YOUR_CALM: Self = Self(11);
}

/// What is wrong with a frame: with its stream alone, or with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Stream(u32, Code),
    Connection(Code),
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    /// Reads a head; `None` where there are not enough bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *bytes.first_chunk::<HEAD_BYTES>()?;
        Some(Self {
            length: usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c),
            kind,
            flags,
            // The reserved bit means nothing (section 4.1).
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        })
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Reads a 31-bit number, its reserved bit cleared.
pub(crate) fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|four| u32::from_be_bytes(*four) & 0x7fff_ffff)
}

/// The payload of a frame that may be padded (sections 6.1 and 6.2).
pub(crate) fn unpadded<'a>(head: &Head, payload: &'a [u8]) -> Result<&'a [u8], Fault> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let (padding, rest) = payload.split_first().ok_or(Fault::Connection(Code::FRAME_SIZE_ERROR))?;
    let end = rest.len().checked_sub(usize::from(*padding)).ok_or(Fault::Connection(Code::PROTOCOL_ERROR))?;
    Ok(&rest[..end])
}

/// A frame's head as bytes.
pub(crate) fn head(length: usize, kind: u8, flags: u8, stream: u32) -> [u8; HEAD_BYTES] {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    [a, b, c, kind, flags, s0, s1, s2, s3]
}

/// Appends a SETTINGS frame.
pub(crate) fn write_settings(out: &mut Vec<u8>, pairs: &[(u16, u32)]) {
    out.extend_from_slice(&head(pairs.len() * 6, kind::SETTINGS, 0, 0));
    for (id, value) in pairs {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the answer to a SETTINGS frame.
pub(crate) fn write_settings_ack(out: &mut Vec<u8>) {
    out.extend_from_slice(&head(0, kind::SETTINGS, flag::ACK, 0));
}

/// Appends a PING frame.
pub(crate) fn write_ping(out: &mut Vec<u8>, ack: bool, payload: &[u8]) {
    out.extend_from_slice(&head(payload.len(), kind::PING, if ack { flag::ACK } else { 0 }, 0));
    out.extend_from_slice(payload);
}

/// Appends a GOAWAY frame.
pub(crate) fn write_goaway(out: &mut Vec<u8>, last: u32, code: Code) {
    out.extend_from_slice(&head(8, kind::GOAWAY, 0, 0));
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends a RST_STREAM frame.
pub(crate) fn write_reset(out: &mut Vec<u8>, stream: u32, code: Code) {
    out.extend_from_slice(&head(4, kind::RST_STREAM, 0, stream));
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends a WINDOW_UPDATE frame.
pub(crate) fn write_window(out: &mut Vec<u8>, stream: u32, bytes: u32) {
    out.extend_from_slice(&head(4, kind::WINDOW_UPDATE, 0, stream));
    out.extend_from_slice(&bytes.to_be_bytes());
}

/// Appends a field section that `write` makes: HEADERS, and CONTINUATION where a frame of the peer is too small.
pub(crate) fn write_fields(
    out: &mut Vec<u8>,
    stream: u32,
    end: bool,
    frame_bytes_max: usize,
    write: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    write(out);
    let length = out.len() - start - HEAD_BYTES;
    let end = if end { flag::END_STREAM } else { 0 };
    if length <= frame_bytes_max {
        out[start..start + HEAD_BYTES].copy_from_slice(&head(length, kind::HEADERS, end | flag::END_HEADERS, stream));
        return;
    }
    let block = out.split_off(start + HEAD_BYTES);
    out.truncate(start);
    let mut pieces = block.chunks(frame_bytes_max).peekable();
    let mut kind = kind::HEADERS;
    let mut flags = end;
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            flags |= flag::END_HEADERS;
        }
        out.extend_from_slice(&head(piece.len(), kind, flags, stream));
        out.extend_from_slice(piece);
        (kind, flags) = (kind::CONTINUATION, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_come_back() {
        let bytes = head(0x01_02_03, kind::DATA, flag::PADDED, 0x7fff_fffe);
        let read = Head::parse(&bytes).expect("a head");
        assert_eq!(read, Head { length: 0x01_02_03, kind: 0, flags: 8, stream: 0x7fff_fffe });
        assert_eq!(Head::parse(&bytes[..8]), None);
    }

    #[test]
    fn field_sections_are_cut_to_the_size_of_a_frame() {
        for (length, frames) in [(0, 1), (10, 1), (11, 2), (20, 2), (25, 3)] {
            let mut out = vec![7];
            write_fields(&mut out, 3, true, 10, |out| out.extend(vec![9; length]));
            let mut at = 1;
            let mut seen = Vec::new();
            while at < out.len() {
                let head = Head::parse(&out[at..]).expect("a head");
                at += HEAD_BYTES + head.length;
                seen.push(head);
            }
            assert_eq!(at, out.len());
            assert_eq!(seen.len(), frames);
            assert_eq!(seen.iter().map(|h| h.length).sum::<usize>(), length);
            assert!(seen[0].kind == kind::HEADERS && seen[0].has(flag::END_STREAM));
            assert!(seen[1..].iter().all(|h| h.kind == kind::CONTINUATION && !h.has(flag::END_STREAM)));
            assert_eq!(seen.iter().position(|h| h.has(flag::END_HEADERS)), Some(frames - 1));
        }
    }

    #[test]
    fn padding_is_taken_off_or_refused() {
        let head = |flags| Head { length: 0, kind: 0, flags, stream: 1 };
        assert_eq!(unpadded(&head(0), b"abc"), Ok(&b"abc"[..]));
        assert_eq!(unpadded(&head(8), b"\x02abcd"), Ok(&b"ab"[..]));
        assert_eq!(unpadded(&head(8), b"\x00abcd"), Ok(&b"abcd"[..]));
        assert_eq!(unpadded(&head(8), b"\x05abcd"), Err(Fault::Connection(Code::PROTOCOL_ERROR)));
        assert_eq!(unpadded(&head(8), b""), Err(Fault::Connection(Code::FRAME_SIZE_ERROR)));
    }
}
