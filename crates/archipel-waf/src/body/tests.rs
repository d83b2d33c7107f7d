//! What all parsers have in common, and what their tests share.

use super::{BodyError, BodyLimits, FilePart, MultipartFlags, Parser, Sink, query};

/// Writes down what a parser tells, a line an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told(pub(super) Vec<String>);

impl Told {
    fn line(&mut self, kind: &str, parts: &[&[u8]]) {
        let parts: Vec<String> = parts.iter().map(|part| part.escape_ascii().to_string()).collect();
        self.0.push(format!("{kind} {}", parts.join(" | ")));
    }
}

impl Sink for Told {
    fn argument(&mut self, name: &[u8], value: &[u8]) {
        self.line("arg", &[name, value]);
    }

    fn file(&mut self, file: &FilePart<'_>) {
        self.line("file", &[file.name, file.filename, file.bytes.to_string().as_bytes(), file.content]);
    }

    fn part_header(&mut self, part: &[u8], line: &[u8]) {
        self.line("header", &[part, line]);
    }

    fn multipart_name(&mut self, name: &[u8]) {
        self.line("name", &[name]);
    }

    fn multipart_filename(&mut self, filename: &[u8]) {
        self.line("filename", &[filename]);
    }

    fn xml_text(&mut self, text: &[u8]) {
        self.line("text", &[text]);
    }

    fn xml_attribute(&mut self, value: &[u8]) {
        self.line("attribute", &[value]);
    }
}

/// Everything that a body came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) told: Vec<String>,
    pub(super) error: Option<BodyError>,
    pub(super) flags: Option<MultipartFlags>,
    pub(super) percent_invalid: bool,
}

/// Feeds a body cut into these chunks.
fn feed<'a>(mut parser: Parser, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut told = Told::default();
    let mut first: Option<BodyError> = None;
    for chunk in chunks {
        let error = parser.push(chunk, &mut told).err();
        if first.is_some() {
            assert_eq!(error, first, "an error stays");
        }
        first = error;
    }
    let error = parser.finish(&mut told).err();
    if first.is_some() {
        assert_eq!(error, first, "the end gives the error that was found before");
    }
    Outcome { told: told.0, error, flags: parser.multipart_flags().cloned(), percent_invalid: parser.percent_invalid() }
}

/// Reads a body whole, and holds every way to cut it to the same outcome.
pub(super) fn read(parser: impl Fn() -> Parser, body: &[u8]) -> Outcome {
    let whole = feed(parser(), [body]);
    let seen = |cut: Outcome, how: &str| assert_eq!(cut, whole, "{how}: {}", body.escape_ascii());
    seen(feed(parser(), body.chunks(1)), "byte by byte");
    seen(feed(parser(), body.chunks(7)), "in sevens");
    let stride = body.len() / 256 + 1;
    for at in (0..=body.len()).step_by(stride) {
        let (head, tail) = body.split_at(at);
        seen(feed(parser(), [head, &[], tail]), "in two");
    }
    whole
}

/// Limits that tests can reach.
pub(super) fn small() -> BodyLimits {
    BodyLimits {
        arguments_max: 3,
        name_bytes_max: 16,
        value_bytes_max: 24,
        depth_max: 3,
        attributes_max: 3,
        parts_max: 3,
        files_max: 1,
        part_header_bytes_max: 128,
        file_bytes_kept_max: 4,
    }
}

/// The shape of each table: a body, what is told of it, and the text of the error or nothing.
pub(super) type Case<'a> = (&'a [u8], &'a [&'a str], &'a str);

pub(super) fn check(parser: impl Fn() -> Parser, cases: &[Case<'_>]) {
    for (body, told, error) in cases {
        let outcome = read(&parser, body);
        let found = outcome.error.map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(outcome.told, *told, "{}", body.escape_ascii());
        assert_eq!(found, *error, "{}", body.escape_ascii());
    }
}

#[test]
fn an_empty_body_is_sound() {
    let limits = BodyLimits::default();
    check(|| Parser::urlencoded(b'&', &limits), &[(b"", &[], "")]);
    check(|| Parser::json(&limits), &[(b"", &[], "")]);
    check(|| Parser::xml(&limits), &[(b"", &[], "")]);
    check(|| Parser::multipart(b"multipart/form-data; boundary=b", &limits), &[(b"", &[], "")]);
}

#[test]
fn only_limits_have_a_limits_name() {
    let limits = small();
    for (body, name) in [("1=&2=&3=&4=", "arguments_max"), ("a-name-of-17-bytes=", "name_bytes_max"), ("[", "")] {
        let error = if name.is_empty() {
            read(|| Parser::json(&limits), body.as_bytes()).error
        } else {
            query(body.as_bytes(), b'&', &limits, &mut Told::default()).err()
        };
        assert_eq!(error.and_then(|error| error.limit()).unwrap_or_default(), name, "{body}");
    }
}
