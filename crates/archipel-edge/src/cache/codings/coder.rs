//! An encoder or a decoder as one thing: pieces in, pieces out.

use archipel_codings::{DecodeError, Decoder, EncodeError, Encoder, Format, Options, Step};
use archipel_config::CodingLevels;
use archipel_http::coding::Coding;

use super::Form;
use crate::live::LiveZone;

/// Bytes that are encoded before others get their turn: about a quarter of a millisecond.
const STEP_BYTES: usize = 16 << 10;

/// Why a form could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoderError {
    Encode,
    Decode(DecodeError),
}

impl CoderError {
    /// A stable word for the metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            CoderError::Encode => "encoder",
            CoderError::Decode(error) => error.as_str(),
        }
    }
}

impl From<EncodeError> for CoderError {
    fn from(_: EncodeError) -> Self {
        CoderError::Encode
    }
}

impl From<DecodeError> for CoderError {
    fn from(error: DecodeError) -> Self {
        CoderError::Decode(error)
    }
}

/// Makes one form.
pub(super) enum Coder {
    Encode(Encoder),
    Decode(Decoder),
}

pub(super) fn format(coding: Coding) -> Format {
    match coding {
        Coding::Gzip => Format::Gzip,
        Coding::Brotli => Format::Brotli,
        Coding::Zstd => Format::Zstd,
    }
}

fn level(levels: &CodingLevels, coding: Coding) -> u32 {
    match coding {
        Coding::Gzip => levels.gzip,
        Coding::Brotli => levels.br,
        Coding::Zstd => levels.zstd,
    }
}

impl Coder {
    /// One for a visitor who waits. `length` is the exact length of what goes in, where known.
    pub(super) fn new(form: Form, zone: &LiveZone, length: Option<u64>) -> Result<Self, CoderError> {
        Ok(match form {
            Form::Coded(coding) => {
                let level = level(&zone.zone.compression.levels, coding);
                let options = Options { level, length, window_log_max: Options::WINDOW_LOG_SMALL };
                Coder::Encode(Encoder::new(format(coding), options)?)
            }
            Form::Decoded(coding) => Coder::Decode(Decoder::new(format(coding), zone.codings.limits)?),
        })
    }

    /// Takes from the front of `input`, appends to `out`. `Piece` means: again, even if `input` is used up.
    pub(super) fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Step, CoderError> {
        match self {
            Coder::Encode(encoder) => {
                let (piece, rest) = input.split_at(input.len().min(STEP_BYTES));
                encoder.write(piece, out)?;
                *input = rest;
                Ok(if rest.is_empty() { Step::Hungry } else { Step::Piece })
            }
            Coder::Decode(decoder) => Ok(decoder.step(input, out)?),
        }
    }

    /// Brings out what was taken in. A decoder keeps nothing back.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), CoderError> {
        match self {
            Coder::Encode(encoder) => Ok(encoder.flush(out)?),
            Coder::Decode(_) => Ok(()),
        }
    }

    /// Ends the form, where what went in was whole.
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Result<(), CoderError> {
        match self {
            Coder::Encode(encoder) => Ok(encoder.finish(out)?),
            Coder::Decode(decoder) => Ok(decoder.finish()?),
        }
    }

    /// All at once, for what is short.
    pub(super) fn whole<'a>(mut self, pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, CoderError> {
        let mut out = Vec::new();
        for mut piece in pieces {
            while self.step(&mut piece, &mut out)? == Step::Piece {}
        }
        self.finish(&mut out)?;
        Ok(out)
    }
}
