//! Bodies: read as they come, up to their limits.

use crate::body::{BodyError, BodyLimits, Decoded, FilePart, MultipartFlags, Parser, Sink, UnmatchedBoundary};
use crate::program::{Mode, Processor, RuleSet, Store, scalar};

use super::state::State;
use super::{Action, Interruption};

/// Bytes that the name of a value in JSON may have on average, where there are as many as there may be.
const NAME_BYTES: usize = 128;

/// What a parser tells goes into the lists of a transaction.
pub(super) struct Collector<'a>(&'a mut State);

impl Sink for Collector<'_> {
    fn argument(&mut self, name: &[u8], value: &[u8]) {
        self.0.arguments_bytes += name.len() + value.len();
        self.0.add(Store::Arguments, name, value);
    }

    fn file(&mut self, file: &FilePart<'_>) {
        self.0.files_bytes += file.bytes;
        self.0.add(Store::Files, file.name, file.filename);
        self.0.add(Store::FileSizes, file.name, itoa::Buffer::new().format(file.bytes).as_bytes());
        self.0.add(Store::FileContents, file.name, file.content);
    }

    fn part_header(&mut self, part: &[u8], line: &[u8]) {
        self.0.add(Store::PartHeaders, part, line);
    }

    fn multipart_name(&mut self, name: &[u8]) {
        self.0.set_scalar(scalar::MULTIPART_NAME, name);
    }

    fn multipart_filename(&mut self, filename: &[u8]) {
        self.0.set_scalar(scalar::MULTIPART_FILENAME, filename);
    }

    fn xml_text(&mut self, text: &[u8]) {
        self.0.add(Store::XmlText, b"", text);
    }

    fn xml_attribute(&mut self, value: &[u8]) {
        self.0.add(Store::XmlAttributes, b"", value);
    }
}

impl State {
    pub(super) fn sink(&mut self) -> Collector<'_> {
        Collector(self)
    }

    pub(super) fn body_limits(&self, set: &RuleSet) -> BodyLimits {
        let settings = &set.settings;
        let mut limits = BodyLimits { value_bytes_max: self.request.bytes_max.max(1 << 20), ..BodyLimits::default() };
        if let Some(max) = settings.arguments_max {
            limits.arguments_max = max;
            limits.names_bytes_max = limits.names_bytes_max.max(max.saturating_mul(NAME_BYTES));
        }
        if let Some(max) = settings.json_depth_max {
            limits.depth_max = max;
        }
        if let Some(max) = settings.upload_files_max {
            limits.files_max = max;
        }
        if set.reads.file_contents {
            limits.file_bytes_kept_max = self.request.bytes_max;
        }
        limits
    }

    /// Whether the request's body as such is a variable. ModSecurity 2 makes one of forms only, 3 of every body; the Core Rule
    /// Set expects it with JSON, whose containers are no arguments, and not with XML and multipart.
    fn has_request_body(&self) -> bool {
        self.force_request_body || matches!(self.processor, Some(Processor::Urlencoded | Processor::Json))
    }

    /// Whether the bytes of the body are kept until its end: also where it is parsed, as what cannot be parsed is looked at as a whole.
    fn keeps_request_body(&self, set: &RuleSet) -> bool {
        self.parser.is_some()
            || (set.reads.request_body && self.has_request_body())
            || set.reads.full_request
            || self.processor == Some(Processor::Guess)
    }

    fn begin_request_body(&mut self, set: &RuleSet) {
        if self.request.begun {
            return;
        }
        self.request.begun = true;
        let limits = self.body_limits(set);
        self.parser =
            self.processor.filter(|processor| *processor != Processor::Guess).map(|processor| match processor {
                Processor::Urlencoded | Processor::Guess => {
                    Parser::urlencoded(set.settings.argument_separator, &limits)
                }
                Processor::Json => Parser::json(&limits),
                Processor::Xml => Parser::xml(&limits),
                Processor::Multipart => {
                    let content_type = self.first(Store::RequestHeaders, b"content-type");
                    Parser::multipart(content_type.map_or(&[][..], |id| self.values.get(id)), &limits)
                }
            });
    }

    pub(super) fn request_chunk(&mut self, set: &RuleSet, chunk: &[u8]) {
        if !self.request.access || chunk.is_empty() {
            return;
        }
        self.begin_request_body(set);
        let room = self.request.bytes_max.saturating_sub(self.request.bytes);
        let taken = &chunk[..chunk.len().min(room)];
        if taken.len() < chunk.len() {
            self.request.truncated = true;
            if set.settings.request_body_rejected {
                return self.reject(413);
            }
        }
        self.request.bytes += taken.len();
        if self.keeps_request_body(set) {
            self.request.kept.extend_from_slice(taken);
        }
        if let Some(mut parser) = self.parser.take() {
            // The error is asked for again at the end.
            let _ = parser.push(taken, &mut self.sink());
            self.parser = Some(parser);
        }
    }

    /// The first of the limits that kept something of the request's body from being looked at.
    pub(super) fn left_out(&self) -> Option<&'static str> {
        if self.request.truncated { Some("bytes_max") } else { self.request.left_out }
    }

    fn reject(&mut self, status: u16) {
        if self.mode == Mode::On {
            self.interruption = Some(Interruption { rule: None, status, action: Action::Deny });
        }
    }

    pub(super) fn request_finish(&mut self, set: &RuleSet) {
        self.set_flag(scalar::INBOUND_DATA_ERROR, self.request.truncated);
        if self.request.access {
            self.begin_request_body(set);
        }
        let error = self.parse_end(set);
        let guessed = self.processor == Some(Processor::Guess) && self.guess(set);
        let form = guessed || matches!(self.processor, Some(Processor::Urlencoded | Processor::Multipart));
        self.form_arguments = if form { self.list(Store::Arguments).len() } else { self.query_arguments };
        let error = error.or(self.head_error.take());
        self.fault = error.as_ref().map(|error| error.limit().unwrap_or("malformed"));
        self.body_error(&error.map(|error| error.to_string()).unwrap_or_default());
        let bytes = self.request.bytes;
        let files = self.files_bytes as usize;
        if set.settings.request_body_no_files_bytes_max.is_some_and(|max| bytes.saturating_sub(files) > max) {
            self.fault = Some("no_files_bytes_max");
            self.body_error("the body without its files is longer than its limit");
            self.set_flag(scalar::INBOUND_DATA_ERROR, true);
        }
        self.whole_request(set);
        self.touch();
    }

    /// The end of the body for its parser. What could not be read is looked at as one argument without a name, all of it: nothing is
    /// hidden by what stands before it.
    fn parse_end(&mut self, set: &RuleSet) -> Option<BodyError> {
        let mut parser = self.parser.take()?;
        let end = if self.request.truncated { Parser::cut } else { Parser::finish };
        let read = end(&mut parser, &mut self.sink());
        self.request.left_out = parser.left_out().and_then(BodyError::limit);
        if let Some(flags) = parser.multipart_flags() {
            self.multipart_flags(set, flags);
        }
        if parser.percent_invalid() {
            self.set_flag(scalar::URLENCODED_ERROR, true);
        }
        let error = read.err()?;
        let kept = std::mem::take(&mut self.request.kept);
        match self.processor {
            _ if kept.is_empty() => {}
            Some(Processor::Urlencoded) => self.sink().argument(b"", &Decoded::new(&kept).bytes),
            _ => self.sink().argument(b"", &kept),
        }
        self.request.kept = kept;
        Some(error)
    }

    fn body_error(&mut self, message: &str) {
        for place in [scalar::REQBODY_ERROR, scalar::REQBODY_PROCESSOR_ERROR] {
            self.set_flag(place, !message.is_empty());
        }
        for place in [scalar::REQBODY_ERROR_MSG, scalar::REQBODY_PROCESSOR_ERROR_MSG] {
            self.set_scalar(place, message.as_bytes());
        }
    }

    /// The variables that concern all of the request.
    fn whole_request(&mut self, set: &RuleSet) {
        self.set_number(scalar::ARGS_COMBINED_SIZE, self.arguments_bytes as u64);
        self.set_number(scalar::FILES_COMBINED_SIZE, self.files_bytes);
        let kept = std::mem::take(&mut self.request.kept);
        if self.request.bytes > 0 {
            self.set_number(scalar::REQUEST_BODY_LENGTH, self.request.bytes as u64);
            if self.has_request_body() {
                self.set_scalar(scalar::REQUEST_BODY, &kept);
            }
        }
        if set.reads.full_request {
            let mut full = Vec::new();
            for entry in self.list(Store::RequestHeaders) {
                full.extend_from_slice(self.values.get(entry.name));
                full.extend_from_slice(b": ");
                full.extend_from_slice(self.values.get(entry.value));
                full.push(b'\n');
            }
            full.extend_from_slice(b"\n\n");
            full.extend_from_slice(&kept);
            self.set_number(scalar::FULL_REQUEST_LENGTH, full.len() as u64);
            self.set_scalar(scalar::FULL_REQUEST, &full);
        }
        self.request.kept = kept;
    }

    fn multipart_flags(&mut self, set: &RuleSet, flags: &MultipartFlags) {
        // Of many files only an operator who says how many there may be makes an error.
        let by_files = flags.file_limit_exceeded && set.settings.upload_files_max.is_some();
        let strict = MultipartFlags { file_limit_exceeded: by_files, ..flags.clone() }.strict_error();
        let unmatched: &[u8] = match flags.unmatched_boundary {
            UnmatchedBoundary::None => b"0",
            UnmatchedBoundary::Seen => b"1",
            UnmatchedBoundary::Matched => b"2",
        };
        self.set_scalar(scalar::MULTIPART_UNMATCHED_BOUNDARY, unmatched);
        for (place, on) in [
            (scalar::MULTIPART_BOUNDARY_QUOTED, flags.boundary_quoted),
            (scalar::MULTIPART_BOUNDARY_WHITESPACE, flags.boundary_whitespace),
            (scalar::MULTIPART_CRLF_LF_LINES, flags.crlf_lf_lines()),
            (scalar::MULTIPART_DATA_AFTER, flags.data_after),
            (scalar::MULTIPART_DATA_BEFORE, flags.data_before),
            (scalar::MULTIPART_FILE_LIMIT_EXCEEDED, flags.file_limit_exceeded),
            (scalar::MULTIPART_HEADER_FOLDING, flags.header_folding),
            (scalar::MULTIPART_INVALID_HEADER_FOLDING, flags.invalid_header_folding),
            (scalar::MULTIPART_INVALID_PART, flags.invalid_part),
            (scalar::MULTIPART_INVALID_QUOTING, flags.invalid_quoting),
            (scalar::MULTIPART_LF_LINE, flags.lf_line),
            (scalar::MULTIPART_MISSING_SEMICOLON, flags.missing_semicolon),
            (scalar::MULTIPART_STRICT_ERROR, strict),
        ] {
            self.set_flag(place, on);
        }
    }

    pub(super) fn wants_response_body(&self, set: &RuleSet) -> bool {
        let content_type = self.values.get(self.scalars[usize::from(scalar::RESPONSE_CONTENT_TYPE)]);
        self.response.access
            && set
                .settings
                .response_body_types
                .as_ref()
                .is_none_or(|types| types.iter().any(|own| own.eq_ignore_ascii_case(content_type.trim_ascii())))
    }

    pub(super) fn response_chunk(&mut self, set: &RuleSet, chunk: &[u8]) {
        let room = self.response.bytes_max.saturating_sub(self.response.bytes);
        let taken = &chunk[..chunk.len().min(room)];
        if taken.len() < chunk.len() {
            self.set_flag(scalar::OUTBOUND_DATA_ERROR, true);
            if set.settings.response_body_rejected {
                return self.reject(403);
            }
        }
        self.response.bytes += taken.len();
        self.response.kept.extend_from_slice(taken);
    }

    pub(super) fn response_finish(&mut self) {
        if self.scalars[usize::from(scalar::OUTBOUND_DATA_ERROR)] == super::values::EMPTY {
            self.set_flag(scalar::OUTBOUND_DATA_ERROR, false);
        }
        let kept = std::mem::take(&mut self.response.kept);
        self.set_scalar(scalar::RESPONSE_BODY, &kept);
        self.set_number(scalar::RESPONSE_CONTENT_LENGTH, kept.len() as u64);
        self.response.kept = kept;
        self.touch();
    }
}
