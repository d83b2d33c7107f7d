//! The fields of a stored response, laid out as they are sent: what a hit of the cache writes, without a map.
//!
//! Must never hold a framing or connection field: those are the writer's of the head. Nothing of the connection that brought the
//! fields stays alive with them.

use std::sync::OnceLock;

use archipel_http::fields::Fields;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::h1::encode;
use crate::h2::encode::Block;

/// A line: where it stands among the lines and how long its name is. Its value ends two bytes before the next line.
#[derive(Clone, Copy, Debug)]
struct Line {
    start: u32,
    name: u16,
}

/// Lines that are taken from what somebody kept: as many as fit a map. No head that was received has nearly so many.
const LINES_MAX: usize = 16_384;

/// Fields of a stored response as HTTP/1.1 field lines in one buffer, with an index of eight bytes a line.
#[derive(Debug)]
pub struct FrozenFields {
    lines: Bytes,
    index: Box<[Line]>,
    /// The same as HTTP/2 sends them, made when it first does.
    block: OnceLock<Block>,
}

impl FrozenFields {
    /// Freezes a map. Framing and connection fields are left out.
    pub fn new(map: &HeaderMap) -> Self {
        let written = || map.iter().filter(|(name, _)| encode::is_written(name));
        let bytes = written().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let mut lines = Vec::with_capacity(bytes);
        let mut index = Vec::with_capacity(map.len());
        for (name, value) in written() {
            // A head is far from 4 GiB, and `http` has no longer names.
            let (Ok(start), Ok(length)) = (u32::try_from(lines.len()), u16::try_from(name.as_str().len())) else {
                break;
            };
            index.push(Line { start, name: length });
            encode::write_field(&mut lines, name, value);
        }
        Self { lines: lines.into(), index: index.into_boxed_slice(), block: OnceLock::new() }
    }

    /// What [`FrozenFields::new`] wrote and somebody kept: [`FrozenFields::lines`]. `None` where it is none of that: what is not
    /// a list of field lines (RFC 9112 section 5) never is sent.
    pub fn from_lines(lines: Bytes) -> Option<Self> {
        u32::try_from(lines.len()).ok()?;
        let mut index = Vec::with_capacity(16);
        let mut at = 0;
        while at < lines.len() {
            let line = lines.get(at..)?;
            let line = line.get(..memchr::memchr(b'\n', line)?)?.strip_suffix(b"\r")?;
            let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
            let value = value.strip_prefix(b": ")?;
            if !is_name(name) || !is_value(value) || index.len() == LINES_MAX {
                return None;
            }
            index.push(Line { start: at as u32, name: u16::try_from(name.len()).ok()? });
            at += line.len() + 2;
        }
        Some(Self { lines, index: index.into_boxed_slice(), block: OnceLock::new() })
    }

    /// The fields as `name: value\r\n` lines.
    pub fn lines(&self) -> &Bytes {
        &self.lines
    }

    /// Name and value of each line, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let ends = self.index.iter().skip(1).map(|line| line.start as usize).chain([self.lines.len()]);
        self.index.iter().zip(ends).filter_map(|(line, end)| {
            let (name, rest) = self.lines.get(line.start as usize..end)?.split_at_checked(line.name.into())?;
            Some((name, rest.get(2..rest.len().checked_sub(2)?)?))
        })
    }

    /// The value of the first line of a name. It shares the lines' buffer.
    pub fn value(&self, name: &HeaderName) -> Option<HeaderValue> {
        let value = self.values_of(name).next()?;
        let value = if value.is_empty() { Bytes::new() } else { self.lines.slice_ref(value) };
        HeaderValue::from_maybe_shared(value).ok()
    }

    /// The fields as a map, for who changes them. Its values share the lines' buffer.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.index.len().min(LINES_MAX));
        for (name, value) in self.iter() {
            let value = if value.is_empty() { Bytes::new() } else { self.lines.slice_ref(value) };
            // Both are what they were when they were frozen: nothing is left out here.
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(value)) {
                let _ = map.try_append(name, value);
            }
        }
        map
    }

    /// The fields as HTTP/2 sends them.
    pub(crate) fn block(&self) -> &Block {
        self.block.get_or_init(|| Block::new(self))
    }

    /// Bytes of memory that it takes in an `Arc`, overhead estimated. The HTTP/2 form, which is never longer than the lines, counts
    /// whether it is there or not.
    pub fn heap_bytes(&self) -> usize {
        const OVERHEAD: usize = 96;
        size_of::<Self>() + 2 * self.lines.len() + size_of_val(&*self.index) + OVERHEAD
    }
}

/// Whether bytes are the name of a field (RFC 9110 section 5.1) in the case in which it is written.
fn is_name(bytes: &[u8]) -> bool {
    const IN_NAMES: [bool; 256] = {
        let mut table = [false; 256];
        let tokens = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz";
        let mut at = 0;
        while at < tokens.len() {
            table[tokens[at] as usize] = true;
            at += 1;
        }
        table
    };
    !bytes.is_empty() && bytes.iter().all(|byte| IN_NAMES[usize::from(*byte)])
}

/// Whether bytes are the value of a field (RFC 9110 section 5.5), as `HeaderValue` has it.
fn is_value(bytes: &[u8]) -> bool {
    // No early exit, so that the loop is vectorised.
    bytes.iter().fold(true, |all, byte| all & ((*byte >= b' ' && *byte != 0x7f) | (*byte == b'\t')))
}

impl Fields for FrozenFields {
    fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_str().as_bytes();
        self.iter().filter(move |(own, _)| *own == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
#[path = "frozen_tests.rs"]
mod tests;
