//! One part of a form.

use super::disposition::{self, Disposition};
use super::{BodyError, BodyLimits, MultipartError, MultipartFlags, Sink, is_space};
use crate::body::FilePart;

/// Where in a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Headers,
    Data,
    /// Its headers are wrong: its data are nobody's.
    Spoiled,
    /// One more than are looked at.
    LeftOut,
}

/// A part that is being read.
#[derive(Debug, Default)]
pub(super) struct Part {
    pub(super) stage: Stage,
    /// A line of data was seen: from then on a boundary may end the part.
    pub(super) data_seen: bool,
    /// Bytes of the headers so far.
    header_bytes: usize,
    /// Header lines, unfolded, without line ends. The last one may still be continued.
    lines: Vec<Vec<u8>>,
    disposition: Disposition,
    /// The data of a field; the first bytes of a file.
    value: Vec<u8>,
    /// Length of the data.
    bytes: u64,
    /// The line end that was seen last: it belongs to the boundary if one follows.
    line_end: &'static [u8],
    counted: bool,
}

impl Part {
    /// A part that is not looked at.
    pub(super) fn left_out() -> Self {
        Self { stage: Stage::LeftOut, data_seen: true, ..Self::default() }
    }

    /// What there is of a line where the body goes on.
    pub(super) fn cut(&mut self, line: &[u8], limits: &BodyLimits) -> Result<(), BodyError> {
        match self.stage {
            Stage::Headers => self.lines.push(line.to_vec()),
            Stage::Data => self.data(line, limits)?,
            Stage::Spoiled | Stage::LeftOut => {}
        }
        Ok(())
    }

    /// True once for a part that is a file.
    pub(super) fn is_new_file(&mut self) -> bool {
        let is_file = self.stage == Stage::Data && !self.disposition.filename.is_empty();
        is_file && !std::mem::replace(&mut self.counted, true)
    }

    /// Tells the header lines of a part that is wrong, which then waits for its end.
    pub(super) fn spoil(&mut self, sink: &mut impl Sink) {
        self.disposition = Disposition::default();
        self.end_headers(sink);
        self.stage = Stage::Spoiled;
        self.data_seen = true;
    }

    fn end_headers(&mut self, sink: &mut impl Sink) {
        for line in self.lines.drain(..) {
            sink.part_header(&self.disposition.name, &line);
        }
    }

    pub(super) fn header_line(
        &mut self,
        line: &[u8],
        flags: &mut MultipartFlags,
        limits: &BodyLimits,
        sink: &mut impl Sink,
    ) -> Result<(), BodyError> {
        self.header_bytes += line.len();
        if self.header_bytes > limits.part_header_bytes_max {
            return Err(BodyError::PartHeaders(limits.part_header_bytes_max));
        }
        let line = match line {
            [text @ .., b'\r', b'\n'] => {
                flags.crlf_line = true;
                text
            }
            [text @ .., b'\n'] => {
                flags.lf_line = true;
                text
            }
            text => text,
        };
        if line.is_empty() {
            return self.headers_ended(flags, sink);
        }
        if line.contains(&0) {
            // Kept for the rules: they look for what has no place in a header.
            self.lines.push(line.to_vec());
            return Err(MultipartError::HeaderZero.into());
        }
        if is_space(line[0]) {
            return Ok(self.continue_header(line, flags)?);
        }
        if self.lines.len() == limits.part_headers_max {
            return Err(BodyError::PartHeaderLines(limits.part_headers_max));
        }
        Ok(self.new_header(line)?)
    }

    fn continue_header(&mut self, line: &[u8], flags: &mut MultipartFlags) -> Result<(), MultipartError> {
        flags.header_folding = true;
        let space = line.iter().take_while(|&&byte| is_space(byte)).count();
        flags.invalid_header_folding |= line[..space].iter().any(|byte| !matches!(byte, b' ' | b'\t'));
        let last = self.lines.last_mut().ok_or(MultipartError::HeaderFolding)?;
        last.push(b' ');
        last.extend_from_slice(&line[space..]);
        Ok(())
    }

    fn new_header(&mut self, line: &[u8]) -> Result<(), MultipartError> {
        let colon = memchr::memchr(b':', line);
        let name = &line[..colon.unwrap_or(line.len())];
        let is_twice = self.lines.iter().any(|line| header(line, name).is_some());
        self.lines.push(line.to_vec());
        if colon.is_none() {
            return Err(MultipartError::HeaderColon);
        }
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(MultipartError::HeaderName);
        }
        if is_twice { Err(MultipartError::HeaderTwice) } else { Ok(()) }
    }

    /// The empty line behind the headers.
    fn headers_ended(&mut self, flags: &mut MultipartFlags, sink: &mut impl Sink) -> Result<(), BodyError> {
        let value = self.lines.iter().find_map(|line| header(line, b"Content-Disposition"));
        self.disposition = disposition::parse(value.ok_or(MultipartError::NoDisposition)?, flags, sink)?;
        self.end_headers(sink);
        self.stage = Stage::Data;
        Ok(())
    }

    pub(super) fn data(&mut self, line: &[u8], limits: &BodyLimits) -> Result<(), BodyError> {
        self.data_seen = true;
        let (text, line_end): (&[u8], &'static [u8]) = match line {
            [text @ .., b'\r', b'\n'] => (text, b"\r\n"),
            [text @ .., b'\n'] => (text, b"\n"),
            text => (text, b""),
        };
        let before = std::mem::replace(&mut self.line_end, line_end);
        self.add(before, limits)?;
        self.add(text, limits)
    }

    fn add(&mut self, bytes: &[u8], limits: &BodyLimits) -> Result<(), BodyError> {
        self.bytes += bytes.len() as u64;
        if self.disposition.filename.is_empty() {
            if bytes.len() > limits.value_bytes_max - self.value.len() {
                return Err(BodyError::Value(limits.value_bytes_max));
            }
            self.value.extend_from_slice(bytes);
        } else {
            let room = limits.file_bytes_kept_max - self.value.len();
            self.value.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
        Ok(())
    }

    /// Tells the part. False for one that is none.
    pub(super) fn end(mut self, sink: &mut impl Sink) -> bool {
        self.end_headers(sink);
        let Disposition { name, filename } = &self.disposition;
        match self.stage {
            Stage::Headers | Stage::Spoiled => return false,
            Stage::LeftOut => {}
            Stage::Data if filename.is_empty() => sink.argument(name, &self.value),
            Stage::Data => sink.file(&FilePart { name, filename, bytes: self.bytes, content: &self.value }),
        }
        true
    }
}

/// The value in a header line, if it is of this name.
fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, value) = line.split_at(memchr::memchr(b':', line)?);
    let value = &value[1..];
    let space = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    found.eq_ignore_ascii_case(name).then(|| &value[space..])
}
