//! The fields of an origin's reply as they came: laid out as HTTP/1 sends them on, with an index by which the decisions that
//! most replies need are made. A map is made where somebody asks for one: for what is stored, changed, or sent by HTTP/2.
//!
//! Must never hold a framing field: how a body is framed is told beside.

use std::ops::{Deref, DerefMut};
use std::sync::OnceLock;

use archipel_http::fields::Fields;
use archipel_http::hop;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

/// A line: where it stands in the bytes, and how long name and value are. 16 bits are enough for these, as both are parts of
/// a head of at most 64 KiB that has a status line as well.
#[derive(Clone, Copy)]
struct Line {
    start: u32,
    name: u16,
    value: u16,
}

/// Field lines with an index.
pub struct ReceivedLines {
    bytes: Vec<u8>,
    index: SmallVec<[Line; 16]>,
    /// A bit for each name's length and first letter: most look-ups are for fields that are not there.
    seen: u64,
    /// No field is for this hop alone.
    end_to_end: bool,
    map: OnceLock<HeaderMap>,
}

impl ReceivedLines {
    /// No lines, and room for those of a head of so many bytes.
    pub(crate) fn with_capacity(head_bytes: usize, lines: usize) -> Self {
        Self {
            // `name:value` becomes `name: value`.
            bytes: Vec::with_capacity(head_bytes + lines),
            index: SmallVec::new(),
            seen: 0,
            end_to_end: true,
            map: OnceLock::new(),
        }
    }

    /// Adds a line. The caller has checked that it is one; `None` where name or value is longer than any head.
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) -> Option<()> {
        let line = Line {
            start: u32::try_from(self.bytes.len()).ok()?,
            name: u16::try_from(name.len()).ok()?,
            value: u16::try_from(value.len()).ok()?,
        };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(name.as_bytes());
        let own = &mut self.bytes[start..];
        own.make_ascii_lowercase();
        self.seen |= bit(own);
        self.end_to_end &= !hop::is_hop_by_hop_name(own);
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.index.push(line);
        Some(())
    }

    /// The lines, each with its end.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same as a map.
    pub fn map(&self) -> &HeaderMap {
        self.map.get_or_init(|| self.to_map())
    }

    /// The map, to be changed: what is left is of no use.
    pub(crate) fn take_map(&mut self) -> HeaderMap {
        self.map.take().unwrap_or_else(|| self.to_map())
    }

    fn to_map(&self) -> HeaderMap {
        let shared = Bytes::copy_from_slice(&self.bytes);
        let mut map = HeaderMap::with_capacity(self.index.len() + 1);
        for line in &self.index {
            let start = line.start as usize;
            let behind = start + usize::from(line.name);
            let value = behind + 2..behind + 2 + usize::from(line.value);
            // Both passed for what they are when the head was parsed: nothing is left out here.
            let Ok(name) = HeaderName::from_bytes(&self.bytes[start..behind]) else { continue };
            let value = if value.is_empty() {
                HeaderValue::from_static("")
            } else {
                // Checking each byte a second time costs 600 instructions a head.
                // SAFETY: httparse has taken these bytes for a field value, and takes none that `HeaderValue` does not: a
                // test compares the two byte by byte, and debug builds check each value.
                unsafe { HeaderValue::from_maybe_shared_unchecked(shared.slice(value)) }
            };
            map.append(name, value);
        }
        map
    }
}

fn bit(name: &[u8]) -> u64 {
    let first = name.first().copied().unwrap_or_default();
    1 << ((name.len() + 7 * usize::from(first)) % 64)
}

impl Fields for ReceivedLines {
    fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_str().as_bytes();
        let index = if self.seen & bit(name) == 0 { &[][..] } else { &self.index[..] };
        index.iter().filter_map(move |line| {
            if usize::from(line.name) != name.len() {
                return None;
            }
            let (own, rest) = self.bytes.get(line.start as usize..)?.split_at_checked(name.len())?;
            (own == name).then(|| rest.get(2..2 + usize::from(line.value)))?
        })
    }
}

/// The fields of an origin's reply. Reads as a map, which is made at the first such use.
pub enum ReceivedFields {
    /// A map: from HTTP/2, or changed since they came.
    Map(HeaderMap),
    /// As HTTP/1 lines.
    Lines(Box<ReceivedLines>),
}

impl ReceivedFields {
    /// The lines, where all of them may be sent on as they are: none is for this hop alone.
    ///
    /// # Errors
    /// The fields as a map, where that is not so.
    pub fn into_end_to_end(self) -> Result<Box<ReceivedLines>, HeaderMap> {
        match self {
            ReceivedFields::Lines(lines) if lines.end_to_end => Ok(lines),
            other => Err(other.into_map()),
        }
    }

    /// The fields as a map.
    pub fn into_map(self) -> HeaderMap {
        match self {
            ReceivedFields::Map(map) => map,
            ReceivedFields::Lines(mut lines) => lines.take_map(),
        }
    }
}

impl From<HeaderMap> for ReceivedFields {
    fn from(map: HeaderMap) -> Self {
        ReceivedFields::Map(map)
    }
}

impl Deref for ReceivedFields {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        match self {
            ReceivedFields::Map(map) => map,
            ReceivedFields::Lines(lines) => lines.map(),
        }
    }
}

impl DerefMut for ReceivedFields {
    fn deref_mut(&mut self) -> &mut HeaderMap {
        if let ReceivedFields::Lines(lines) = self {
            let map = lines.take_map();
            *self = ReceivedFields::Map(map);
        }
        match self {
            ReceivedFields::Map(map) => map,
            // INVARIANT: made a map above.
            ReceivedFields::Lines(_) => unreachable!(),
        }
    }
}

impl Fields for ReceivedFields {
    fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let (map, lines) = match self {
            ReceivedFields::Map(map) => (Some(map.values_of(name)), None),
            ReceivedFields::Lines(lines) => (None, Some(lines.values_of(name))),
        };
        map.into_iter().flatten().chain(lines.into_iter().flatten())
    }

    fn has(&self, name: &HeaderName) -> bool {
        match self {
            ReceivedFields::Map(map) => map.has(name),
            ReceivedFields::Lines(lines) => lines.has(name),
        }
    }
}

impl std::fmt::Debug for ReceivedFields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
