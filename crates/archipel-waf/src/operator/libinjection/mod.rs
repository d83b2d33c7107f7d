//! libinjection: whether a value reads as SQL or as script.

use crate::byte_set::ByteSet;

/// A value without any of these bytes is no SQL injection: it is one word, perhaps behind a number.
pub const SQLI_TRIGGER: ByteSet = ByteSet::range(b'0', b'9')
    .union(ByteSet::range(b'A', b'Z'))
    .union(ByteSet::range(b'a', b'z'))
    .union(ByteSet::range(0x80, 0x9f))
    .union(ByteSet::range(0xa1, 0xff))
    .with(b'_')
    .complement();

/// A value without any of these bytes has neither a tag nor an attribute with a value.
pub const XSS_TRIGGER: ByteSet = ByteSet::from_members(b"<=");

/// The kinds of the tokens of a value that was taken for SQL injection, at most five.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    bytes: [u8; 5],
    length: u8,
}

impl Fingerprint {
    /// The kinds, one byte each.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// The fingerprint of `value`, if it reads as SQL injection.
#[must_use]
pub fn detect_sqli(value: &[u8]) -> Option<Fingerprint> {
    let result = libinjectionrs::detect_sqli(value);
    let is_injection = result.is_injection();
    let found = result.fingerprint.filter(|_| is_injection)?;
    let text = found.as_str().as_bytes();
    let mut bytes = [0; 5];
    let length = text.len().min(bytes.len());
    bytes[..length].copy_from_slice(&text[..length]);
    Some(Fingerprint { bytes, length: length as u8 })
}

/// Whether `value` reads as script in some place of an HTML document.
#[must_use]
pub fn detect_xss(value: &[u8]) -> bool {
    libinjectionrs::detect_xss(value).is_injection()
}
