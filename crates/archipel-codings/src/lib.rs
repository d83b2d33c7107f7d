//! Content codings (RFC 9110 section 8.4): bytes in, bytes out, piece by piece, in bounded memory.
//!
//! Owns the three compressors of the web behind one pair of types: [`Encoder`] and [`Decoder`] for gzip (RFC 1952), br
//! (RFC 7932) and zstd (RFC 8878), and zstd against a dictionary for `dcz` (RFC 9842). The crates that do the work are
//! named here and nowhere else.
//!
//! Must never: read a clock or a socket, know a header field (what is coded, for whom and with which level is decided by
//! others), hold more of a body than its window, or panic on any input.
//!
//! # Bounds
//! A decoder gives out at most [`PIECE_BYTES_MAX`] a step, counts what it gave, and fails beyond [`DecodeLimits`]: a few
//! kilobytes of zeros, coded, are gigabytes. Windows are those that every client must be able to hold: 8 MiB for zstd (RFC
//! 9659), 16 MiB for br, 32 KiB for gzip.

mod decode;
mod dictionary;
mod encode;

pub use decode::{DecodeError, DecodeLimits, Decoder, Step};
pub use dictionary::{DICTIONARY_BYTES_MAX, Dictionary, DictionaryError};
pub use encode::{EncodeError, Encoder, Options};

/// Bytes that one step of a decoder adds to its output at most.
pub const PIECE_BYTES_MAX: usize = 64 << 10;

/// The codings that this crate knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// gzip: DEFLATE in RFC 1952's frame.
    Gzip,
    /// Brotli, RFC 7932.
    Brotli,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 3] = [Format::Gzip, Format::Brotli, Format::Zstd];

    /// The least and the greatest level that an [`Encoder`] takes.
    pub fn levels(self) -> (u32, u32) {
        match self {
            Format::Gzip => (1, 9),
            Format::Brotli => (0, 11),
            // Levels above need windows that clients may refuse (RFC 9659).
            Format::Zstd => (1, 19),
        }
    }
}

#[cfg(test)]
mod codings_tests;
