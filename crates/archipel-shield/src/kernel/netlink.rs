//! Messages of netlink's subsystem nf_tables: how they are laid out, and nothing of what they mean.
//!
//! Layout: `linux/netlink.h`, `linux/netfilter/nfnetlink.h`. Headers are in the machine's byte order, nf_tables' own values in the
//! network's.

use rustix::io::Errno;

/// Bytes of a netlink header.
const HEADER_BYTES: usize = 16;
/// Bytes of nfnetlink's own header, which follows it.
const FAMILY_BYTES: usize = 4;
/// Where the length of a message and the number of a message stand.
const SEQUENCE_AT: usize = 8;

const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const ERROR: u16 = 2;

const FLAG_REQUEST: u16 = 1;
const FLAG_ACK: u16 = 4;
/// Create what is missing.
pub(super) const FLAG_CREATE: u16 = 0x400;
/// Rules are added behind those that are there.
pub(super) const FLAG_APPEND: u16 = 0x800;

const NESTED: u16 = 0x8000;
/// `NFPROTO_INET`: IPv4 and IPv6 at once.
const FAMILY_INET: u8 = 1;

/// What a message asks for (`enum nf_tables_msg_types`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Ask {
    NewTable = 0,
    GetTable = 1,
    DeleteTable = 2,
    NewChain = 3,
    NewRule = 6,
    NewSet = 9,
    NewElements = 12,
    DeleteElements = 14,
    NewObject = 18,
    GetObject = 19,
}

/// Attributes that are being written.
pub(super) struct Attributes<'a>(&'a mut Vec<u8>);

impl Attributes<'_> {
    /// Attributes around others.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        let begun = self.0.len();
        self.0.extend([0; 4]);
        fill(&mut Attributes(self.0));
        self.close(begun, kind | NESTED);
    }

    /// Bytes.
    pub(super) fn bytes(&mut self, kind: u16, value: &[u8]) {
        let begun = self.0.len();
        self.0.extend([0; 4]);
        self.0.extend(value);
        self.close(begun, kind);
    }

    /// A number.
    pub(super) fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A long number.
    pub(super) fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A name.
    pub(super) fn text(&mut self, kind: u16, value: &str) {
        let begun = self.0.len();
        self.0.extend([0; 4]);
        self.0.extend(value.as_bytes());
        self.0.push(0);
        self.close(begun, kind);
    }

    /// Writes the head of what began there, and fills up to four bytes.
    fn close(&mut self, begun: usize, kind: u16) {
        // What is nested is bounded by `ELEMENTS_PER_MESSAGE` and by the longest name.
        let len = u16::try_from(self.0.len() - begun).unwrap_or(u16::MAX);
        self.0[begun..begun + 2].copy_from_slice(&len.to_ne_bytes());
        self.0[begun + 2..begun + 4].copy_from_slice(&kind.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// Messages that come into force together or not at all.
pub(super) struct Batch {
    bytes: Vec<u8>,
    first: u32,
    sequence: u32,
    last_begun: usize,
}

/// A batch to send, and the number of its last message, which is acknowledged.
pub(super) struct Sealed {
    pub bytes: Vec<u8>,
    pub last: u32,
}

fn message(bytes: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16) -> usize {
    let begun = bytes.len();
    bytes.extend([0; 4]);
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    begun
}

fn close(bytes: &mut [u8], begun: usize) {
    // A batch is far from 4 GiB.
    let len = u32::try_from(bytes.len() - begun).unwrap_or(u32::MAX);
    bytes[begun..begun + 4].copy_from_slice(&len.to_ne_bytes());
}

impl Batch {
    /// A batch without messages, whose numbers begin at `first`.
    pub(super) fn new(first: u32) -> Self {
        let mut bytes = Vec::with_capacity(4_096);
        let begun = message(&mut bytes, BATCH_BEGIN, FLAG_REQUEST, first, 0, SUBSYSTEM);
        close(&mut bytes, begun);
        Self { bytes, first, sequence: first, last_begun: 0 }
    }

    /// One more message.
    pub(super) fn ask(&mut self, ask: Ask, flags: u16, fill: impl FnOnce(&mut Attributes<'_>)) {
        self.sequence = self.sequence.wrapping_add(1);
        let kind = SUBSYSTEM << 8 | ask as u16;
        let begun = message(&mut self.bytes, kind, FLAG_REQUEST | flags, self.sequence, FAMILY_INET, 0);
        fill(&mut Attributes(&mut self.bytes));
        close(&mut self.bytes, begun);
        self.last_begun = begun;
    }

    /// Whether nothing is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.sequence == self.first
    }

    /// Ends it. Only the last message is acknowledged: errors come for each.
    pub(super) fn seal(mut self) -> Sealed {
        let last = self.sequence;
        let flags_at = self.last_begun + 6;
        let flags = u16::from_ne_bytes([self.bytes[flags_at], self.bytes[flags_at + 1]]) | FLAG_ACK;
        self.bytes[flags_at..flags_at + 2].copy_from_slice(&flags.to_ne_bytes());
        let begun = message(&mut self.bytes, BATCH_END, FLAG_REQUEST, last.wrapping_add(1), 0, SUBSYSTEM);
        close(&mut self.bytes, begun);
        Sealed { bytes: self.bytes, last }
    }
}

/// A question, outside of any batch.
pub(super) fn question(ask: Ask, sequence: u32, fill: impl FnOnce(&mut Attributes<'_>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let begun = message(&mut bytes, SUBSYSTEM << 8 | ask as u16, FLAG_REQUEST, sequence, FAMILY_INET, 0);
    fill(&mut Attributes(&mut bytes));
    close(&mut bytes, begun);
    bytes
}

/// What the kernel says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// How the message of that number went.
    Result(u32, Result<(), Errno>),
    /// The answer to the question of that number: its attributes.
    Answer(u32, &'a [u8]),
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// The messages of one datagram. What is malformed ends it.
pub(super) fn said(datagram: &[u8]) -> impl Iterator<Item = Said<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let len = u32_at(rest, 0)? as usize;
        let message = rest.get(..len).filter(|message| message.len() >= HEADER_BYTES)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        let sequence = u32_at(message, SEQUENCE_AT)?;
        if u16_at(message, 4)? == ERROR {
            let code = u32_at(message, HEADER_BYTES)?.cast_signed();
            let result = if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code.saturating_neg())) };
            return Some(Said::Result(sequence, result));
        }
        Some(Said::Answer(sequence, message.get(HEADER_BYTES + FAMILY_BYTES..)?))
    })
}

/// The value of the attribute of a kind.
pub(super) fn attribute(mut attributes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let len = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..len)?;
        if u16_at(attributes, 2)? & !NESTED == kind {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}
