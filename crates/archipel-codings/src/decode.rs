//! The decoding side.
//!
//! Must never give out more than its limits, or report an end that the stream did not state.

use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};
use flate2::{Decompress, FlushDecompress, Status};
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use crate::{Dictionary, Format, PIECE_BYTES_MAX};

/// The greatest window that a zstd stream may ask for, as a power of two: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Members of a gzip stream, or frames of a zstd stream: each costs a reset, and an empty one has about 20 bytes.
const MEMBERS_MAX: u32 = 1024;

/// What a decoder may give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Decoded bytes in all.
    pub bytes_max: u64,
    /// Decoded bytes for each coded one, beyond the first `unbounded_bytes`.
    pub ratio_max: u32,
    /// Decoded bytes for which the ratio does not count: short texts may be very repetitive.
    pub unbounded_bytes: u64,
}

/// Why a decoder failed. It is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No memory for its tables.
    #[error("the decoder cannot be set up")]
    Setup,
    /// The bytes are not of this coding, or something follows the end.
    #[error("the content is not coded as it says")]
    Malformed,
    /// The bytes ended before the stream did.
    #[error("the coded content ended before its end")]
    Truncated,
    /// More than [`DecodeLimits::bytes_max`].
    #[error("the decoded content is larger than allowed")]
    BytesMax,
    /// More than [`DecodeLimits::ratio_max`].
    #[error("the decoded content is out of all proportion to the coded")]
    RatioMax,
}

impl DecodeError {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            DecodeError::Setup => "setup",
            DecodeError::Malformed => "malformed",
            DecodeError::Truncated => "truncated",
            DecodeError::BytesMax => "decoded_bytes_max",
            DecodeError::RatioMax => "decoded_ratio_max",
        }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All input is used: give more, or [`Decoder::finish`].
    Hungry,
    /// A piece came out, and there may be more: step again, with what is left of the input.
    Piece,
}

/// Decodes one stream.
pub struct Decoder {
    inner: Inner,
    limits: DecodeLimits,
    taken: u64,
    given: u64,
    members: u32,
    /// The last member or frame is complete.
    ended: bool,
}

enum Inner {
    Gzip(Decompress),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd(DCtx<'static>),
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").field("taken", &self.taken).field("given", &self.given).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder for one stream.
    ///
    /// # Errors
    /// [`DecodeError::Setup`]
    pub fn new(format: Format, limits: DecodeLimits) -> Result<Self, DecodeError> {
        Ok(Self::of(
            match format {
                Format::Gzip => Inner::Gzip(Decompress::new_gzip(15)),
                Format::Brotli => Inner::Brotli(Box::new(brotli_state())),
                Format::Zstd => Inner::Zstd(zstd()?),
            },
            limits,
        ))
    }

    /// A decoder for the stream behind the header of `dcz` (RFC 9842 section 5).
    ///
    /// # Errors
    /// [`DecodeError::Setup`]
    pub fn with_dictionary(dictionary: &Dictionary, limits: DecodeLimits) -> Result<Self, DecodeError> {
        let mut context = zstd()?;
        context.load_dictionary(dictionary.bytes()).map_err(|_| DecodeError::Setup)?;
        Ok(Self::of(Inner::Zstd(context), limits))
    }

    fn of(inner: Inner, limits: DecodeLimits) -> Self {
        Self { inner, limits, taken: 0, given: 0, members: 0, ended: false }
    }

    /// Decodes from the front of `input`, which it shortens by what it used, and appends at most [`PIECE_BYTES_MAX`] to
    /// `out`.
    ///
    /// # Errors
    /// Any [`DecodeError`] but `Truncated`. What was appended before is the right beginning.
    pub fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Step, DecodeError> {
        if self.ended {
            if input.is_empty() {
                return Ok(Step::Hungry);
            }
            self.next_member()?;
        }
        let (before_in, before_out) = (input.len(), out.len());
        let step = match &mut self.inner {
            Inner::Gzip(state) => gzip_step(state, input, out, &mut self.ended),
            Inner::Brotli(state) => brotli_step(state, input, out, &mut self.ended),
            Inner::Zstd(state) => zstd_step(state, input, out, &mut self.ended),
        }?;
        self.taken += (before_in - input.len()) as u64;
        self.given += (out.len() - before_out) as u64;
        if self.given > self.limits.bytes_max {
            return Err(DecodeError::BytesMax);
        }
        let fair = self.taken.saturating_mul(u64::from(self.limits.ratio_max));
        if self.given > self.limits.unbounded_bytes.saturating_add(fair) {
            return Err(DecodeError::RatioMax);
        }
        // A member may end with its input half used: the next step begins another.
        Ok(if self.ended && !input.is_empty() { Step::Piece } else { step })
    }

    /// Says that no input follows.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] where the stream has not ended.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.ended { Ok(()) } else { Err(DecodeError::Truncated) }
    }

    /// Coded streams may follow each other in gzip (RFC 1952 section 2.2) and zstd (RFC 8878 section 3.1); nothing may
    /// follow in brotli.
    fn next_member(&mut self) -> Result<(), DecodeError> {
        self.members += 1;
        if self.members >= MEMBERS_MAX {
            return Err(DecodeError::Malformed);
        }
        match &mut self.inner {
            Inner::Gzip(state) => *state = Decompress::new_gzip(15),
            // The context is ready for another frame.
            Inner::Zstd(_) => {}
            Inner::Brotli(_) => return Err(DecodeError::Malformed),
        }
        self.ended = false;
        Ok(())
    }
}

/// Room for what comes out of `input`: a small piece of input does not pay for a large piece of zeros.
fn room_for(input: &[u8]) -> usize {
    input.len().saturating_mul(32).clamp(4 << 10, PIECE_BYTES_MAX)
}

fn gzip_step(
    state: &mut Decompress,
    input: &mut &[u8],
    out: &mut Vec<u8>,
    ended: &mut bool,
) -> Result<Step, DecodeError> {
    let (at, bytes_max) = (out.len(), room_for(input));
    out.resize(at + bytes_max, 0);
    let (in_before, out_before) = (state.total_in(), state.total_out());
    let room = out.get_mut(at..).unwrap_or_default();
    let status = state.decompress(input, room, FlushDecompress::None);
    let written = usize::try_from(state.total_out() - out_before).unwrap_or(0);
    let taken = usize::try_from(state.total_in() - in_before).unwrap_or(0);
    out.truncate(at + written);
    *input = input.get(taken..).unwrap_or_default();
    match status.map_err(|_| DecodeError::Malformed)? {
        Status::StreamEnd => {
            *ended = true;
            Ok(Step::Hungry)
        }
        _ if written == bytes_max => Ok(Step::Piece),
        _ if input.is_empty() => Ok(Step::Hungry),
        _ if taken == 0 && written == 0 => Err(DecodeError::Malformed),
        _ => Ok(Step::Piece),
    }
}

fn brotli_state() -> BrotliState<StandardAlloc, StandardAlloc, StandardAlloc> {
    // Strict: without the "large window" extension, whose windows reach a gigabyte.
    let alloc = StandardAlloc::default;
    BrotliState::new_strict(alloc(), alloc(), alloc())
}

fn brotli_step(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    input: &mut &[u8],
    out: &mut Vec<u8>,
    ended: &mut bool,
) -> Result<Step, DecodeError> {
    let (at, bytes_max) = (out.len(), room_for(input));
    out.resize(at + bytes_max, 0);
    let (mut left, mut offset) = (input.len(), 0);
    let (mut room, mut written, mut total) = (bytes_max, 0, 0);
    let target = out.get_mut(at..).unwrap_or_default();
    let result =
        BrotliDecompressStream(&mut left, &mut offset, input, &mut room, &mut written, target, &mut total, state);
    out.truncate(at + written);
    *input = input.get(offset..).unwrap_or_default();
    match result {
        BrotliResult::ResultSuccess => {
            *ended = true;
            Ok(Step::Hungry)
        }
        // It may have more in its window than there was room for, and asks for input all the same.
        BrotliResult::NeedsMoreInput if input.is_empty() && written < bytes_max => Ok(Step::Hungry),
        BrotliResult::NeedsMoreInput if offset == 0 && written == 0 => Err(DecodeError::Malformed),
        BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok(Step::Piece),
        BrotliResult::ResultFailure => Err(DecodeError::Malformed),
    }
}

fn zstd() -> Result<DCtx<'static>, DecodeError> {
    let mut context = DCtx::try_create().ok_or(DecodeError::Setup)?;
    context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX)).map_err(|_| DecodeError::Setup)?;
    Ok(context)
}

fn zstd_step(
    state: &mut DCtx<'static>,
    input: &mut &[u8],
    out: &mut Vec<u8>,
    ended: &mut bool,
) -> Result<Step, DecodeError> {
    let (at, bytes_max) = (out.len(), room_for(input));
    out.resize(at + bytes_max, 0);
    let mut source = InBuffer::around(input);
    let mut target = OutBuffer::around(out.get_mut(at..).unwrap_or_default());
    let result = state.decompress_stream(&mut target, &mut source);
    let (taken, written) = (source.pos(), target.pos());
    out.truncate(at + written);
    *input = input.get(taken..).unwrap_or_default();
    match result.map_err(|_| DecodeError::Malformed)? {
        0 => {
            *ended = true;
            Ok(Step::Hungry)
        }
        _ if written == bytes_max => Ok(Step::Piece),
        _ if input.is_empty() => Ok(Step::Hungry),
        _ if taken == 0 && written == 0 => Err(DecodeError::Malformed),
        _ => Ok(Step::Piece),
    }
}
