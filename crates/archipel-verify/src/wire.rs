//! Fixed binary layouts: reading and writing numbers, and the check value at the end.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Bytes of a check value: 128 bits, which nobody guesses online.
pub(crate) const MAC_BYTES: usize = 16;

/// Puts the check value of what is there behind it, and makes it text.
pub(crate) fn seal(key: &[u8; 32], mut bytes: Vec<u8>) -> String {
    let mac = mac(key, &bytes).finalize().into_bytes();
    bytes.extend_from_slice(&mac[..MAC_BYTES]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The `N` bytes that text stands for, the check value among them; nothing for any other length or alphabet. Allocates nothing.
pub(crate) fn unfold<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != (N * 4).div_ceil(3) {
        return None;
    }
    let mut bytes = [0; N];
    let written = URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut bytes).ok()?;
    (written == N).then_some(bytes)
}

/// Whether the check value at the end is right; compared in constant time.
pub(crate) fn is_sealed(key: &[u8; 32], bytes: &[u8]) -> bool {
    let Some(at) = bytes.len().checked_sub(MAC_BYTES) else { return false };
    let (content, given) = bytes.split_at(at);
    mac(key, content).verify_truncated_left(given).is_ok()
}

fn mac(key: &[u8; 32], content: &[u8]) -> Hmac<Sha256> {
    // A key shorter than a block is padded with zeros (RFC 2104 section 2).
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(content);
    mac
}

/// A keyed digest: numbers that follow from what they are made of, and that nobody without the key can make.
pub(crate) fn digest(key: &[u8; 32], content: &[u8]) -> [u8; 32] {
    mac(key, content).finalize().into_bytes().into()
}

/// Reads fixed fields from the front.
pub(crate) struct Read<'a>(pub(crate) &'a [u8]);

impl Read<'_> {
    /// The next `N` bytes; zeros behind the end, which a fixed layout never reaches.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let (front, rest) = self.0.split_at(N.min(self.0.len()));
        self.0 = rest;
        let mut bytes = [0; N];
        bytes[..front.len()].copy_from_slice(front);
        bytes
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.bytes())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }
}
