//! Dictionaries for `dcz` (RFC 9842): earlier content that later content is coded against.
//!
//! Must never take bytes as a dictionary that zstd would read as one of its own format: both sides must use them raw.

use std::sync::Arc;

/// The longest dictionary, in bytes. Both sides hold it in memory for each stream.
pub const DICTIONARY_BYTES_MAX: usize = 8 << 20;
/// The shortest: zstd ignores shorter ones, so that the two sides would agree by accident only.
const DICTIONARY_BYTES_MIN: usize = 64;
/// What begins a dictionary in zstd's own format (RFC 8878 section 5).
const TRAINED: [u8; 4] = [0x37, 0xa4, 0x30, 0xec];

/// Why bytes are no dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DictionaryError {
    /// Shorter than 64 bytes or longer than [`DICTIONARY_BYTES_MAX`].
    #[error("the length is none for a dictionary")]
    Length,
    /// They begin as a trained dictionary does, which would be interpreted.
    #[error("a dictionary in zstd's own format cannot be used as raw content")]
    Trained,
}

/// Raw content to refer to. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Dictionary(Arc<[u8]>);

impl Dictionary {
    /// Takes bytes as a dictionary.
    ///
    /// # Errors
    /// [`DictionaryError`]
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, DictionaryError> {
        let bytes = bytes.into();
        if !(DICTIONARY_BYTES_MIN..=DICTIONARY_BYTES_MAX).contains(&bytes.len()) {
            return Err(DictionaryError::Length);
        }
        if bytes.starts_with(&TRAINED) {
            return Err(DictionaryError::Trained);
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
