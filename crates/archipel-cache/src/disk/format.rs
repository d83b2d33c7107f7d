//! How segments and records lie on the disk. Pure: bytes in, values or `None` out.
//!
//! ```text
//! segment   = start record* footer            many objects, or marks that some are replaced
//! solo      = start body record footer        one large object whose length was not known at its start
//! record    = header meta table body padding  (a solo record has its body in front of it)
//! footer    = entry* tail                     what a start reads instead of the records
//! ```
//! A segment without footer was being written when the process ended: its records are read one by one up to the first that is not
//! whole. Every number is little-endian. Checksums are CRC-32: of a header with its meta, of each block of a body, of a footer.
//! A block's checksum begins with the record's own number, so that a block of another record never passes for it.
//!
//! Must never trust a length: each is compared with what is there before anything is read or allocated by it.

use crc32fast::Hasher;

/// Version of everything in this file. Segments of another version are dropped when the tier is opened.
pub(crate) const VERSION: u32 = 2;
/// Bytes of a segment's start.
pub(crate) const START_BYTES: u64 = 64;
/// Bytes of a record's header.
pub(crate) const HEADER_BYTES: usize = 80;
/// Bytes of a body that one checksum covers, in a segment of many records.
pub(crate) const BLOCK_BYTES: u64 = 64 << 10;
/// The same in a solo: the table of a 10 GB object stays at 160 KB.
pub(crate) const SOLO_BLOCK_BYTES: u64 = 256 << 10;
/// A solo's record begins at a multiple of this, so that 32 bits tell where in 256 GiB.
pub(crate) const SOLO_ALIGN: u64 = 64;
/// Bytes of one entry of a footer.
pub(crate) const ENTRY_BYTES: usize = 56;
/// Bytes of a footer's tail.
pub(crate) const TAIL_BYTES: usize = 32;
/// A record's meta: key, fields and what the policy keeps. Larger is not written. A head has at most 1 MiB of fields.
pub(crate) const META_BYTES_MAX: usize = 4 << 20;

const START_MAGIC: &[u8; 8] = b"ARCHDISK";
const TAIL_MAGIC: &[u8; 8] = b"ARCHFOOT";
const RECORD_MAGIC: u32 = u32::from_le_bytes(*b"AREC");

/// Checksum of several pieces, one behind the other.
pub(crate) fn sum(first: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new_with_initial(first);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// The beginning of the checksum of a block of a record's body.
pub(crate) fn block_hasher(nonce: u64, index: u64) -> Hasher {
    let mixed = nonce.wrapping_add(index).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Hasher::new_with_initial((mixed >> 32) as u32)
}

/// Checksum of a block of a record's body.
pub(crate) fn block_sum(nonce: u64, index: u64, block: &[u8]) -> u32 {
    let mut hasher = block_hasher(nonce, index);
    hasher.update(block);
    hasher.finalize()
}

/// Blocks of a body.
pub(crate) fn blocks(body_bytes: u64, block_bytes: u64) -> u64 {
    body_bytes.div_ceil(block_bytes)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// What a segment begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) solo: bool,
    /// The number in the file's name.
    pub(crate) id: u32,
    /// Tells the keys' seed: hashes made with another one find nothing.
    pub(crate) seed_print: u64,
    /// The zone whose log it belongs to, as it had a quota; `None` for the shared log.
    pub(crate) zone: Option<u32>,
}

impl Start {
    pub(crate) fn encode(self) -> [u8; START_BYTES as usize] {
        let mut out = Vec::with_capacity(START_BYTES as usize);
        out.extend_from_slice(START_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&u32::from(self.solo).to_le_bytes());
        out.extend_from_slice(&self.id.to_le_bytes());
        out.extend_from_slice(&self.seed_print.to_le_bytes());
        out.extend_from_slice(&u32::from(self.zone.is_some()).to_le_bytes());
        out.extend_from_slice(&self.zone.unwrap_or(0).to_le_bytes());
        out.resize(START_BYTES as usize - 4, 0);
        let crc = sum(0, &[&out]);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut start = [0; START_BYTES as usize];
        start.iter_mut().zip(out).for_each(|(to, from)| *to = from);
        start
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (checked, crc) = bytes.get(..START_BYTES as usize)?.split_last_chunk::<4>()?;
        let mut fields = Fields(checked);
        let known = fields.take::<8>()? == *START_MAGIC && fields.u32()? == VERSION;
        if !known || sum(0, &[checked]) != u32::from_le_bytes(*crc) {
            return None;
        }
        let solo = fields.u32()? == 1;
        let (id, seed_print) = (fields.u32()?, fields.u64()?);
        let (own, zone) = (fields.u32()? == 1, fields.u32()?);
        Some(Self { solo, id, seed_print, zone: own.then_some(zone) })
    }
}

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stored response.
    Object,
    /// The object of the key's variant before this record is not valid any more.
    Replaced,
}

impl Kind {
    fn number(self) -> u32 {
        match self {
            Self::Object => 0,
            Self::Replaced => 1,
        }
    }

    fn of(number: u32) -> Option<Self> {
        [Self::Object, Self::Replaced].into_iter().find(|kind| kind.number() == number)
    }
}

/// A record's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    /// The record's own number, kept where it is copied to another segment.
    pub(crate) nonce: u64,
    pub(crate) hash: u128,
    /// The purge sequence before the fetch.
    pub(crate) stamp: u64,
    pub(crate) stored_at: u64,
    pub(crate) body_bytes: u64,
    pub(crate) meta_bytes: u32,
    /// Tag of the variant; 0 without `Vary`.
    pub(crate) variant: u32,
    pub(crate) zone: u32,
    /// See [`Entry::epoch`].
    pub(crate) epoch: u32,
}

impl Header {
    /// The header, its checksum over `meta` as well.
    pub(crate) fn encode(&self, meta: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_BYTES);
        out.extend_from_slice(&RECORD_MAGIC.to_le_bytes());
        out.extend_from_slice(&self.kind.number().to_le_bytes());
        out.extend_from_slice(&self.nonce.to_le_bytes());
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.stamp.to_le_bytes());
        out.extend_from_slice(&self.stored_at.to_le_bytes());
        out.extend_from_slice(&self.body_bytes.to_le_bytes());
        out.extend_from_slice(&self.meta_bytes.to_le_bytes());
        out.extend_from_slice(&self.variant.to_le_bytes());
        out.extend_from_slice(&self.zone.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.resize(HEADER_BYTES - 4, 0);
        let crc = sum(0, &[&out, meta]);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header without its checksum: to learn how much belongs to it. Check with [`Header::holds`] before it is believed.
    pub(crate) fn peek(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes.get(..HEADER_BYTES)?);
        if fields.u32()? != RECORD_MAGIC {
            return None;
        }
        let header = Self {
            kind: Kind::of(fields.u32()?)?,
            nonce: fields.u64()?,
            hash: u128::from_le_bytes(fields.take()?),
            stamp: fields.u64()?,
            stored_at: fields.u64()?,
            body_bytes: fields.u64()?,
            meta_bytes: fields.u32()?,
            variant: fields.u32()?,
            zone: fields.u32()?,
            epoch: fields.u32()?,
        };
        (header.meta_bytes as usize <= META_BYTES_MAX).then_some(header)
    }

    /// Whether the checksum at the end of `bytes` (a header) is that of it and of `meta`.
    pub(crate) fn holds(bytes: &[u8], meta: &[u8]) -> bool {
        let Some((checked, crc)) = bytes.get(..HEADER_BYTES).and_then(|bytes| bytes.split_last_chunk::<4>()) else {
            return false;
        };
        sum(0, &[checked, meta]) == u32::from_le_bytes(*crc)
    }

    /// Bytes of header, meta and table of checksums; `None` where no file could hold them.
    pub(crate) fn head_bytes(&self, block_bytes: u64) -> Option<u64> {
        let table = blocks(self.body_bytes, block_bytes).checked_mul(4)?;
        (HEADER_BYTES as u64 + u64::from(self.meta_bytes)).checked_add(table)
    }

    /// Bytes of the whole record in a segment, padding included.
    pub(crate) fn record_bytes(&self) -> Option<u64> {
        self.head_bytes(BLOCK_BYTES)?.checked_add(self.body_bytes)?.checked_next_multiple_of(8)
    }
}

/// One line of a footer: what the index needs to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) hash: u128,
    pub(crate) stamp: u64,
    /// Where the record's header is.
    pub(crate) at: u64,
    /// Bytes of the record; in a solo, of its header, meta and table.
    pub(crate) bytes: u32,
    pub(crate) variant: u32,
    pub(crate) stored_at: u32,
    pub(crate) zone: u32,
    /// How many solos had been completed when the record was written, a solo's own record included: files that are written at the same
    /// time are read in the order of their records by it.
    pub(crate) epoch: u32,
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.stamp.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        for number in [self.bytes, self.variant, self.stored_at, self.zone, self.kind.number(), self.epoch] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let hash = u128::from_le_bytes(fields.take()?);
        let (stamp, at) = (fields.u64()?, fields.u64()?);
        let (bytes, variant, stored_at, zone) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
        let (kind, epoch) = (Kind::of(fields.u32()?)?, fields.u32()?);
        Some(Self { kind, hash, stamp, at, bytes, variant, stored_at, zone, epoch })
    }
}

/// A footer with its tail.
pub(crate) fn encode_footer(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * ENTRY_BYTES + TAIL_BYTES);
    entries.iter().for_each(|entry| entry.encode(&mut out));
    let crc = sum(0, &[&out]);
    out.extend_from_slice(TAIL_MAGIC);
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    let crc = sum(0, &[out.last_chunk::<28>().map_or(&[][..], |tail| tail)]);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// What stands in a tail: how many bytes of entries are in front of it, and their checksum.
pub(crate) fn decode_tail(tail: &[u8; TAIL_BYTES]) -> Option<(u64, u32)> {
    let (checked, crc) = tail.split_last_chunk::<4>()?;
    let mut fields = Fields(checked);
    let known = fields.take::<8>()? == *TAIL_MAGIC && sum(0, &[checked]) == u32::from_le_bytes(*crc);
    let bytes = fields.u64()?.checked_mul(ENTRY_BYTES as u64)?;
    let crc = fields.u32()?;
    known.then_some((bytes, crc))
}

/// The entries of a footer whose tail gave `crc`; those that no reader of this version understands are left out.
pub(crate) fn decode_entries(bytes: &[u8], crc: u32) -> Option<Vec<Entry>> {
    if sum(0, &[bytes]) != crc {
        return None;
    }
    Some(bytes.chunks_exact(ENTRY_BYTES).filter_map(Entry::decode).collect())
}

/// The part of a key's hash that the index and the footers keep.
pub(crate) fn index_key(hash: u128) -> u64 {
    hash as u64
}

/// The tag of a variant, 0 for none. Two variants of a key with the same tag displace each other.
pub(crate) fn variant_tag(variant: &[u8]) -> u32 {
    if variant.is_empty() { 0 } else { sum(0, &[variant]).max(1) }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
