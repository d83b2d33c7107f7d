//! Coded content: made and undone in full, for what tests send and see.
//!
//! Must never repair: what is cut or malformed is an error.

use anyhow::{Context as _, bail};
pub use archipel_codings::Format;
use archipel_codings::{DecodeLimits, Decoder, Dictionary, Encoder, Options, Step};
use base64::Engine as _;
use rustls::SupportedCipherSuite;

/// Most bytes that come out of a decoder.
const BYTES_MAX: u64 = 256 << 20;

/// The coding of a token.
pub fn format(token: &str) -> anyhow::Result<Format> {
    match token {
        "gzip" => Ok(Format::Gzip),
        "br" => Ok(Format::Brotli),
        "zstd" => Ok(Format::Zstd),
        other => bail!("unknown coding {other:?}"),
    }
}

/// Content that comes in pieces.
pub struct Coming {
    decoder: Decoder,
    /// What came out so far.
    pub out: Vec<u8>,
}

impl Coming {
    /// Nothing yet.
    pub fn new(format: Format) -> anyhow::Result<Self> {
        let limits = DecodeLimits { bytes_max: BYTES_MAX, ratio_max: u32::MAX, unbounded_bytes: BYTES_MAX };
        Ok(Self { decoder: Decoder::new(format, limits)?, out: Vec::new() })
    }

    /// Decodes one more piece, as far as it goes.
    pub fn push(&mut self, mut coded: &[u8]) -> anyhow::Result<()> {
        while self.decoder.step(&mut coded, &mut self.out).context("decoding")? == Step::Piece {}
        Ok(())
    }

    /// The content, which must be whole.
    pub fn finish(self) -> anyhow::Result<Vec<u8>> {
        self.decoder.finish().with_context(|| format!("after {} decoded bytes", self.out.len()))?;
        Ok(self.out)
    }
}

/// Decodes content that must be whole.
pub fn decode(format: Format, coded: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut coming = Coming::new(format)?;
    coming.push(coded)?;
    coming.finish()
}

/// Encodes content at a middle level.
pub fn encode(format: Format, content: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = Encoder::new(format, Options { level: 5, length: None, window_log_max: 22 })?;
    encoder.write(content, &mut out)?;
    encoder.finish(&mut out)?;
    Ok(out)
}

/// Decodes a zstd stream that refers to a dictionary.
pub fn decode_against(dictionary: &[u8], coded: &[u8]) -> anyhow::Result<Vec<u8>> {
    let limits = DecodeLimits { bytes_max: BYTES_MAX, ratio_max: u32::MAX, unbounded_bytes: BYTES_MAX };
    let dictionary = Dictionary::new(dictionary)?;
    let mut coming = Coming { decoder: Decoder::with_dictionary(&dictionary, limits)?, out: Vec::new() };
    coming.push(coded)?;
    coming.finish()
}

/// The SHA-256 of content.
pub fn sha256_bytes(content: &[u8]) -> Vec<u8> {
    let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let hash = match suite {
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider.hash(content),
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider.hash(content),
    };
    hash.as_ref().to_vec()
}

/// The SHA-256 of content as a structured field writes it.
pub fn sha256(content: &[u8]) -> String {
    format!(":{}:", base64::engine::general_purpose::STANDARD.encode(sha256_bytes(content)))
}
