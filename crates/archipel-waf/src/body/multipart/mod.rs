//! `multipart/form-data` (RFC 7578) as ModSecurity 3 reads it: line by line, and suspicious of everything that one reader
//! may take differently from another.
//!
//! Two kinds of fault: one that leaves no sound way on (a boundary with something behind it, a limit) ends the parser at
//! once; one within a part's headers spoils that part alone, is the answer at the end, and reading goes on behind it, so
//! that nobody hides the rest of a form behind one bad part.

mod boundary;
mod disposition;
mod part;

use super::cookie::is_space;
use super::{BodyError, BodyLimits, MultipartError, Sink};
use part::{Part, Stage};

/// Bytes of a line that are looked at together. A longer line is data in pieces, and no header.
const LINE_BYTES_MAX: usize = 4096;

/// What was seen of a multipart body: the `MULTIPART_*` variables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MultipartFlags {
    /// The body could not be read soundly. With any of the others that it covers: `MULTIPART_STRICT_ERROR`.
    pub error: bool,
    /// The boundary was quoted in the `Content-Type`.
    pub boundary_quoted: bool,
    /// Space stood around the `=` of the boundary.
    pub boundary_whitespace: bool,
    /// Something stood before the first boundary.
    pub data_before: bool,
    /// Something stood after the last boundary.
    pub data_after: bool,
    /// A part's header was folded.
    pub header_folding: bool,
    /// A part's header was folded with something other than space and tab.
    pub invalid_header_folding: bool,
    /// A line of headers or a boundary ended in LF alone.
    pub lf_line: bool,
    /// A line of headers or a boundary ended in CRLF.
    pub crlf_line: bool,
    /// No semicolon stood before the boundary in the `Content-Type`.
    pub missing_semicolon: bool,
    /// A parameter of a `Content-Disposition` was quoted with apostrophes, or had one.
    pub invalid_quoting: bool,
    /// A part had no name, or a boundary stood where its data had to begin.
    pub invalid_part: bool,
    /// There were more files than allowed.
    pub file_limit_exceeded: bool,
    /// A line looked like a boundary.
    pub unmatched_boundary: UnmatchedBoundary,
}

/// The values of `MULTIPART_UNMATCHED_BOUNDARY`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnmatchedBoundary {
    /// 0: no line looked like one.
    #[default]
    None,
    /// 1: one did, after the last that was one.
    Seen,
    /// 2: a second true boundary came; ModSecurity says so whether one looked like it before or not.
    Matched,
}

impl MultipartFlags {
    /// `MULTIPART_STRICT_ERROR`.
    #[must_use]
    pub fn strict_error(&self) -> bool {
        self.error
            || self.boundary_quoted
            || self.boundary_whitespace
            || self.data_before
            || self.data_after
            || self.header_folding
            || self.lf_line
            || self.missing_semicolon
            || self.invalid_quoting
            || self.invalid_part
            || self.invalid_header_folding
            || self.file_limit_exceeded
    }

    /// `MULTIPART_CRLF_LF_LINES`: both line ends were used.
    #[must_use]
    pub fn crlf_lf_lines(&self) -> bool {
        self.crlf_line && self.lf_line
    }
}

/// How the line before the current one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    /// It is the first line, or the current piece goes on with a long line.
    None,
    Lf,
    Crlf,
}

/// A form that is being read.
#[derive(Debug)]
pub(super) struct Multipart {
    limits: BodyLimits,
    /// Empty where the `Content-Type` has none that is sound: then `content_type` says why.
    boundary: Vec<u8>,
    content_type: Result<(), MultipartError>,
    flags: MultipartFlags,
    /// The line that is being collected; never longer than [`LINE_BYTES_MAX`].
    line: Vec<u8>,
    before: LineEnd,
    /// The current piece begins a line.
    at_line_start: bool,
    part: Option<Part>,
    /// Boundaries so far.
    boundaries: usize,
    files: usize,
    left_out: Option<BodyError>,
    /// The parts over their number, which are told together.
    late: Vec<u8>,
    complete: bool,
    begun: bool,
    /// The first fault that spoiled a part.
    fault: Option<MultipartError>,
}

impl Multipart {
    pub(super) fn new(content_type: &[u8], limits: &BodyLimits) -> Self {
        let mut flags = MultipartFlags::default();
        let (boundary, content_type) = match boundary::find(content_type, &mut flags) {
            Ok(boundary) => (boundary.to_vec(), Ok(())),
            Err(error) => (Vec::new(), Err(error)),
        };
        flags.error = content_type.is_err();
        Self {
            limits: limits.clone(),
            boundary,
            content_type,
            flags,
            line: Vec::new(),
            before: LineEnd::None,
            at_line_start: true,
            part: None,
            boundaries: 0,
            files: 0,
            left_out: None,
            late: Vec::new(),
            complete: false,
            begun: false,
            fault: None,
        }
    }

    pub(super) fn flags(&self) -> &MultipartFlags {
        &self.flags
    }

    pub(super) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        self.content_type?;
        let read = self.read(chunk, sink);
        self.flags.error |= read.is_err();
        read
    }

    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        self.content_type?;
        let read = self.end(sink);
        self.tell_late(sink);
        self.flags.error |= read.is_err();
        read
    }

    /// The end of what is looked at: a part that is not complete counts as far as it goes.
    pub(super) fn cut(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        self.content_type?;
        let read = if self.begun && !self.complete { self.cut_line(sink) } else { Ok(()) };
        let read = read.and(self.fault.map_or(Ok(()), |fault| Err(fault.into())));
        self.tell_late(sink);
        self.flags.error |= read.is_err();
        read
    }

    fn tell_late(&mut self, sink: &mut impl Sink) {
        if !self.late.is_empty() {
            sink.argument(b"", &std::mem::take(&mut self.late));
        }
    }

    pub(super) fn left_out(&self) -> Option<&BodyError> {
        self.left_out.as_ref()
    }

    fn read(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        self.begun |= !chunk.is_empty();
        let mut rest = chunk;
        while !rest.is_empty() {
            if self.complete {
                self.flags.data_after = true;
                return Ok(());
            }
            let room = LINE_BYTES_MAX - self.line.len();
            let window = &rest[..rest.len().min(room)];
            let line_end = memchr::memchr(b'\n', window);
            let taken = line_end.map_or(window.len(), |at| at + 1);
            self.line.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if line_end.is_some() {
                self.piece(false, sink)?;
            } else if self.line.len() == LINE_BYTES_MAX {
                self.piece(true, sink)?;
            }
        }
        Ok(())
    }

    /// Looks at the collected line, or at the piece of a long one.
    fn piece(&mut self, is_cut: bool, sink: &mut impl Sink) -> Result<(), BodyError> {
        let mut line = std::mem::take(&mut self.line);
        // CR and LF are never parted.
        let held_back = is_cut && line.last() == Some(&b'\r');
        let kept = line.len() - usize::from(held_back);
        if !(self.at_line_start && self.boundary_line(&line[..kept], sink)?) {
            self.content(&line[..kept], is_cut, sink)?;
        }
        self.at_line_start = !is_cut;
        self.before = match &line[..kept] {
            [.., b'\r', b'\n'] => LineEnd::Crlf,
            [.., b'\n'] => LineEnd::Lf,
            _ => LineEnd::None,
        };
        line.drain(..kept);
        self.line = line;
        Ok(())
    }

    /// What is no boundary: before the first one, in a part's headers, or in its data.
    fn content(&mut self, line: &[u8], is_cut: bool, sink: &mut impl Sink) -> Result<(), BodyError> {
        let Some(part) = &mut self.part else {
            self.flags.data_before = true;
            return Ok(());
        };
        match part.stage {
            Stage::Headers if is_cut => return Err(BodyError::PartHeaders(LINE_BYTES_MAX)),
            Stage::Headers => {
                if let Err(error) = part.header_line(line, &mut self.flags, &self.limits, sink) {
                    let BodyError::Multipart(fault) = error else { return Err(error) };
                    part.spoil(sink);
                    self.flags.error = true;
                    self.fault.get_or_insert(fault);
                }
            }
            Stage::Data => part.data(line, &self.limits)?,
            Stage::Spoiled => {}
            Stage::LeftOut => self.late.extend_from_slice(line),
        }
        if part.is_new_file() {
            self.files += 1;
            if self.files > self.limits.files_max {
                self.flags.file_limit_exceeded = true;
                // It is told like the others: there are no more of them than parts.
                self.left_out.get_or_insert(BodyError::Files(self.limits.files_max));
            }
        }
        Ok(())
    }

    /// Whether a line is a boundary, which is then acted upon.
    fn boundary_line(&mut self, line: &[u8], sink: &mut impl Sink) -> Result<bool, BodyError> {
        let Some(text) = line.strip_prefix(b"--").filter(|text| text.len() > 1) else {
            self.look_for_boundary(line);
            return Ok(false);
        };
        let Some(after) = text.strip_prefix(&self.boundary[..]) else {
            self.almost_boundary(text)?;
            return Ok(false);
        };
        self.flags.lf_line |= self.before == LineEnd::Lf;
        if self.boundaries > 0 && !self.part.as_ref().is_some_and(|part| part.data_seen) {
            self.flags.invalid_part = true;
            return Ok(false);
        }
        if self.boundaries > 0 {
            self.flags.unmatched_boundary = UnmatchedBoundary::Matched;
        }
        let (is_final, after) = after.strip_prefix(b"--").map_or((false, after), |after| (true, after));
        match after {
            b"\r\n" => self.flags.crlf_line = true,
            b"\n" => self.flags.lf_line = true,
            _ => return Err(MultipartError::AfterBoundary.into()),
        }
        self.boundary(is_final, sink);
        Ok(true)
    }

    /// Ends the part before a boundary and begins the next one.
    fn boundary(&mut self, is_final: bool, sink: &mut impl Sink) {
        if let Some(part) = self.part.take() {
            self.flags.invalid_part |= !part.end(sink);
        }
        if is_final {
            self.complete = true;
        } else if self.boundaries >= self.limits.parts_max {
            self.left_out.get_or_insert(BodyError::Parts(self.limits.parts_max));
            self.part = Some(Part::left_out());
        } else {
            self.part = Some(Part::default());
        }
        self.boundaries += 1;
    }

    /// A line that begins with `--` and goes on with something other than the boundary.
    fn almost_boundary(&mut self, text: &[u8]) -> Result<(), MultipartError> {
        if self.flags.boundary_quoted && text.strip_prefix(b"\"").is_some_and(|text| text.starts_with(&self.boundary)) {
            return Err(MultipartError::BoundaryLineQuoted);
        }
        let space = text.iter().take_while(|&&byte| is_space(byte)).count();
        if space > 0 && text[space..].starts_with(&self.boundary) {
            return Err(MultipartError::BoundaryLineSpace);
        }
        self.flags.unmatched_boundary = UnmatchedBoundary::Seen;
        Ok(())
    }

    /// A line that does not begin like a boundary may have one within it.
    fn look_for_boundary(&mut self, line: &[u8]) {
        let mut from = 0;
        while let Some(at) = memchr::memmem::find(&line[from..], b"--") {
            if line[from + at + 2..].starts_with(&self.boundary) {
                self.flags.unmatched_boundary = UnmatchedBoundary::Seen;
                return;
            }
            from += at + 1;
        }
    }

    fn end(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if self.begun && !self.complete {
            self.last_line(sink)?;
        }
        self.fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// What stands behind the last line end: the final boundary may have none of its own.
    fn last_line(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let line = std::mem::take(&mut self.line);
        if self.boundaries == 0 {
            return Err(MultipartError::NoBoundaryInBody.into());
        }
        let text = line.strip_prefix(b"--").and_then(|text| text.strip_suffix(b"--"));
        if self.at_line_start && text == Some(&self.boundary[..]) {
            self.flags.lf_line |= self.before == LineEnd::Lf;
            self.flags.invalid_part |= !self.part.as_ref().is_some_and(|part| part.data_seen);
            self.boundary(true, sink);
            return Ok(());
        }
        if let Some(mut part) = self.part.take() {
            let data = if part.stage == Stage::Data { part.data(&line, &self.limits) } else { Ok(()) };
            self.flags.invalid_part |= !part.end(sink);
            data?;
        }
        Err(MultipartError::FinalBoundaryMissing.into())
    }

    /// What stands behind the last line end where the body goes on: it may be the beginning of a boundary.
    fn cut_line(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let line = std::mem::take(&mut self.line);
        let boundary = [b"--", &self.boundary[..]].concat();
        let begins = |end: &[u8]| [&boundary, end].concat().starts_with(&line);
        let is_boundary = self.at_line_start && [&b"\r\n"[..], b"\n", b"--\r\n", b"--\n"].into_iter().any(begins);
        let Some(mut part) = self.part.take() else {
            self.flags.data_before |= !is_boundary;
            return Ok(());
        };
        let in_headers = part.stage == Stage::Headers;
        if part.stage == Stage::LeftOut {
            self.late.extend_from_slice(&line);
        }
        let read = if is_boundary { Ok(()) } else { part.cut(&line, &self.limits) };
        self.flags.invalid_part |= !part.end(sink) && !in_headers;
        read
    }
}
