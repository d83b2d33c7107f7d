//! Bytes of records: little-endian numbers and strings with their length, written and read back.
//!
//! Must never panic on what it reads: everything beyond the end is `None`.

use bytes::Bytes;

/// Appends values to a buffer. Lengths are 32 bits: no part of a record's meta is near that.
#[derive(Debug, Default)]
pub struct WireWriter(Vec<u8>);

impl WireWriter {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.0.push(value);
        self
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Sixteen bytes.
    pub fn u128(&mut self, value: u128) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// A length and that many bytes.
    pub fn bytes(&mut self, value: &[u8]) -> &mut Self {
        // Beyond 4 GiB the record is refused by its size long before.
        self.u32(u32::try_from(value.len()).unwrap_or(u32::MAX)).raw(value)
    }

    /// Whether there is a value, and it.
    pub fn optional(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.u8(0),
            Some(value) => self.u8(1).bytes(value),
        }
    }

    /// Bytes without their length.
    pub fn raw(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }
}

/// Takes values from the front of a buffer. Strings are slices of it: nothing is copied.
#[derive(Debug)]
pub struct WireReader(Bytes);

impl WireReader {
    /// Reads from these bytes.
    pub fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let array = *self.0.first_chunk::<N>()?;
        let _ = self.0.split_to(N);
        Some(array)
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// A string, as a slice of the buffer.
    pub fn bytes(&mut self) -> Option<Bytes> {
        let len = self.u32()? as usize;
        (len <= self.0.len()).then(|| self.0.split_to(len))
    }

    /// What [`WireWriter::optional`] wrote.
    pub fn optional(&mut self) -> Option<Option<Bytes>> {
        if self.flag()? { self.bytes().map(Some) } else { Some(None) }
    }

    /// A string of UTF-8.
    pub fn text(&mut self) -> Option<Box<str>> {
        let bytes = self.bytes()?;
        std::str::from_utf8(&bytes).ok().map(Box::from)
    }

    /// Bytes that are left.
    pub fn rest(self) -> Bytes {
        self.0
    }
}
