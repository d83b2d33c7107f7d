//! The encoding side.
//!
//! Must never hold back bytes that were flushed, or end a stream that was not finished.

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct};
use flate2::{Compress, Compression, FlushCompress, Status};
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer};

use crate::{Dictionary, Format};

/// Room that is made in the output at a time.
const GROW_BYTES: usize = 16 << 10;
/// The least window of brotli, as a power of two: below it, the library takes tables whose setting up costs more than all
/// else.
const BROTLI_WINDOW_LOG_MIN: u32 = 17;

/// Why an encoder failed. It is of no use afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// No memory for its tables, or a parameter that the library refuses.
    #[error("the encoder cannot be set up")]
    Setup,
    /// The library reported an error in the middle of a stream.
    #[error("the encoder failed")]
    Failed,
}

/// How to encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The level; brought into the bounds of [`Format::levels`].
    pub level: u32,
    /// The exact length of the content in bytes, where it is known: short content gets small tables. Another length is an
    /// error at the end.
    pub length: Option<u64>,
    /// The greatest window, as a power of two, from 16 to 22: an encoder holds about four times its window. Content up to
    /// that long is coded as well as with any other.
    pub window_log_max: u32,
}

impl Options {
    /// The window of what is coded while somebody waits: 256 KiB.
    pub const WINDOW_LOG_SMALL: u32 = 18;
    /// The window of what is coded once for many: 4 MiB.
    pub const WINDOW_LOG_LARGE: u32 = 22;

    fn window_log(&self) -> u32 {
        self.window_log_max.clamp(16, Self::WINDOW_LOG_LARGE)
    }
}

/// Encodes one stream.
pub struct Encoder(Inner);

enum Inner {
    Gzip(Compress),
    Brotli(Box<BrotliEncoderStateStruct<StandardAlloc>>),
    Zstd(CCtx<'static>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Inner::Gzip(_) => "Encoder(gzip)",
            Inner::Brotli(_) => "Encoder(br)",
            Inner::Zstd(_) => "Encoder(zstd)",
        })
    }
}

impl Encoder {
    /// An encoder for one stream.
    ///
    /// # Errors
    /// [`EncodeError::Setup`]
    pub fn new(format: Format, options: Options) -> Result<Self, EncodeError> {
        let (least, most) = format.levels();
        let level = options.level.clamp(least, most);
        Ok(Self(match format {
            Format::Gzip => Inner::Gzip(Compress::new_gzip(Compression::new(level), 15)),
            Format::Brotli => Inner::Brotli(Box::new(brotli(level, &options)?)),
            Format::Zstd => Inner::Zstd(zstd(level, &options)?),
        }))
    }

    /// A zstd encoder that refers to a dictionary: the stream behind the header of `dcz` (RFC 9842 section 5).
    ///
    /// # Errors
    /// [`EncodeError::Setup`]
    pub fn with_dictionary(options: Options, dictionary: &Dictionary) -> Result<Self, EncodeError> {
        let (least, most) = Format::Zstd.levels();
        let mut context = zstd(options.level.clamp(least, most), &options)?;
        context.load_dictionary(dictionary.bytes()).map_err(|_| EncodeError::Setup)?;
        Ok(Self(Inner::Zstd(context)))
    }

    /// Encodes `input`; what comes out of it now is appended to `out`, which may be nothing.
    ///
    /// # Errors
    /// [`EncodeError::Failed`]
    pub fn write(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &mut self.0 {
            Inner::Gzip(state) => gzip_step(state, input, FlushCompress::None, out),
            Inner::Brotli(state) => brotli_step(state, input, BrotliEncoderOperation::BROTLI_OPERATION_PROCESS, out),
            Inner::Zstd(state) => zstd_step(state, input, ZSTD_EndDirective::ZSTD_e_continue, out),
        }
    }

    /// Brings out everything written so far, so that a decoder can read it. Costs some bytes: for when more is not to be
    /// expected soon.
    ///
    /// # Errors
    /// [`EncodeError::Failed`]
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &mut self.0 {
            Inner::Gzip(state) => gzip_step(state, &[], FlushCompress::Sync, out),
            Inner::Brotli(state) => brotli_step(state, &[], BrotliEncoderOperation::BROTLI_OPERATION_FLUSH, out),
            Inner::Zstd(state) => zstd_step(state, &[], ZSTD_EndDirective::ZSTD_e_flush, out),
        }
    }

    /// Ends the stream.
    ///
    /// # Errors
    /// [`EncodeError::Failed`]
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        match &mut self.0 {
            Inner::Gzip(state) => gzip_step(state, &[], FlushCompress::Finish, out),
            Inner::Brotli(state) => brotli_step(state, &[], BrotliEncoderOperation::BROTLI_OPERATION_FINISH, out),
            Inner::Zstd(state) => zstd_step(state, &[], ZSTD_EndDirective::ZSTD_e_end, out),
        }
    }
}

fn gzip_step(
    state: &mut Compress,
    mut input: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    loop {
        out.reserve(GROW_BYTES);
        let before = state.total_in();
        let status = state.compress_vec(input, out, flush).map_err(|_| EncodeError::Failed)?;
        let taken = usize::try_from(state.total_in() - before).unwrap_or(usize::MAX);
        input = input.get(taken..).unwrap_or_default();
        let room = out.len() < out.capacity();
        match status {
            Status::StreamEnd => return Ok(()),
            // Room left over means that nothing is held back.
            _ if input.is_empty() && room && !matches!(flush, FlushCompress::Finish) => return Ok(()),
            Status::BufError if room => return Err(EncodeError::Failed),
            _ => {}
        }
    }
}

fn brotli(level: u32, options: &Options) -> Result<BrotliEncoderStateStruct<StandardAlloc>, EncodeError> {
    let mut state = BrotliEncoderStateStruct::new(StandardAlloc::default());
    let length_log = options.length.map_or(u32::MAX, |length| u64::BITS - length.leading_zeros());
    let window_log = length_log.min(options.window_log()).max(BROTLI_WINDOW_LOG_MIN);
    let hint = options.length.map_or(0, |length| u32::try_from(length).unwrap_or(u32::MAX >> 1));
    let set = [
        (BrotliEncoderParameter::BROTLI_PARAM_QUALITY, level),
        (BrotliEncoderParameter::BROTLI_PARAM_LGWIN, window_log),
        (BrotliEncoderParameter::BROTLI_PARAM_SIZE_HINT, hint),
    ];
    let good = set.into_iter().all(|(parameter, value)| state.set_parameter(parameter, value));
    if good { Ok(state) } else { Err(EncodeError::Setup) }
}

fn brotli_step(
    state: &mut BrotliEncoderStateStruct<StandardAlloc>,
    input: &[u8],
    operation: BrotliEncoderOperation,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let (mut left, mut offset) = (input.len(), 0);
    loop {
        let at = out.len();
        out.resize(at + GROW_BYTES, 0);
        let (mut room, mut written) = (GROW_BYTES, 0);
        let good = state.compress_stream(
            operation,
            &mut left,
            input,
            &mut offset,
            &mut room,
            out.get_mut(at..).unwrap_or_default(),
            &mut written,
            &mut None,
            &mut |_, _, _, _| (),
        );
        out.truncate(at + written);
        if !good {
            return Err(EncodeError::Failed);
        }
        if left == 0 && !state.has_more_output() {
            let finishing = matches!(operation, BrotliEncoderOperation::BROTLI_OPERATION_FINISH);
            if !finishing || state.is_finished() {
                return Ok(());
            }
            if written == 0 {
                return Err(EncodeError::Failed);
            }
        }
    }
}

fn zstd(level: u32, options: &Options) -> Result<CCtx<'static>, EncodeError> {
    let mut context = CCtx::try_create().ok_or(EncodeError::Setup)?;
    let level = i32::try_from(level).map_err(|_| EncodeError::Setup)?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(|_| EncodeError::Setup)?;
    if options.length.is_none_or(|length| length >> options.window_log() > 0) {
        context.set_parameter(CParameter::WindowLog(options.window_log())).map_err(|_| EncodeError::Setup)?;
    }
    context.set_pledged_src_size(options.length).map_err(|_| EncodeError::Setup)?;
    // A checksum would cost and protect nothing that the transport does not.
    context.set_parameter(CParameter::ChecksumFlag(false)).map_err(|_| EncodeError::Setup)?;
    Ok(context)
}

fn zstd_step(
    state: &mut CCtx<'static>,
    input: &[u8],
    end: ZSTD_EndDirective,
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let mut source = InBuffer::around(input);
    loop {
        out.reserve(GROW_BYTES);
        let at = out.len();
        let mut target = OutBuffer::around_pos(out, at);
        let held = state.compress_stream2(&mut target, &mut source, end).map_err(|_| EncodeError::Failed)?;
        let continues = matches!(end, ZSTD_EndDirective::ZSTD_e_continue);
        let done = source.pos() == input.len() && (continues || held == 0);
        if done {
            return Ok(());
        }
    }
}
