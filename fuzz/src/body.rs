//! The firewall's body parsers: whatever the bytes and however they are cut, the same events and the same error, within the
//! limits; and the beginning of a sound body is sound.

use archipel_waf::body::{BodyError, BodyLimits, Decoded, FilePart, MultipartFlags, Parser, Sink, cookies, query};

use crate::pauses;

/// Limits that a mutated input can reach.
const LIMITS: BodyLimits = BodyLimits {
    arguments_max: 64,
    name_bytes_max: 128,
    names_bytes_max: 512,
    value_bytes_max: 512,
    depth_max: 32,
    attributes_max: 64,
    parts_max: 8,
    files_max: 4,
    part_headers_max: 6,
    part_header_bytes_max: 512,
    file_bytes_kept_max: 16,
};

/// All events in one row of bytes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    bytes: Vec<u8>,
    arguments: usize,
    files: usize,
    attributes: usize,
}

impl Told {
    fn event(&mut self, kind: u8, parts: &[&[u8]]) {
        self.bytes.push(kind);
        for part in parts {
            self.bytes.extend_from_slice(&part.len().to_le_bytes());
            self.bytes.extend_from_slice(part);
        }
    }
}

impl Sink for Told {
    fn argument(&mut self, name: &[u8], value: &[u8]) {
        assert!(name.len() <= LIMITS.part_header_bytes_max);
        // What is told together, or as a whole, has no name.
        assert!(name.is_empty() || value.len() <= LIMITS.value_bytes_max);
        self.arguments += 1;
        self.event(b'a', &[name, value]);
    }

    fn file(&mut self, file: &FilePart<'_>) {
        assert!(file.content.len() <= LIMITS.file_bytes_kept_max && file.content.len() as u64 <= file.bytes);
        assert!(!file.name.is_empty() && !file.filename.is_empty());
        self.files += 1;
        self.event(b'f', &[file.name, file.filename, &file.bytes.to_le_bytes(), file.content]);
    }

    fn part_header(&mut self, part: &[u8], line: &[u8]) {
        assert!(!line.contains(&b'\n') || line.len() <= LIMITS.part_header_bytes_max);
        self.event(b'h', &[part, line]);
    }

    fn multipart_name(&mut self, name: &[u8]) {
        self.event(b'n', &[name]);
    }

    fn multipart_filename(&mut self, filename: &[u8]) {
        self.event(b'F', &[filename]);
    }

    fn xml_text(&mut self, text: &[u8]) {
        assert!(text.len() <= LIMITS.value_bytes_max);
        self.event(b't', &[text]);
    }

    fn xml_attribute(&mut self, value: &[u8]) {
        // Those over the number come together, as the last one.
        assert!(self.attributes == LIMITS.attributes_max || value.len() <= LIMITS.value_bytes_max);
        self.attributes += 1;
        self.event(b'x', &[value]);
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    told: Told,
    end: Result<(), BodyError>,
    flags: Option<MultipartFlags>,
    percent_invalid: bool,
    left_out: Option<BodyError>,
}

fn feed<'a>(mut parser: Parser, chunks: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut told = Told::default();
    let mut first: Option<BodyError> = None;
    for chunk in chunks {
        let error = parser.push(chunk, &mut told).err();
        assert!(first.is_none() || error == first, "an error stays");
        first = error;
    }
    let end = parser.finish(&mut told);
    assert!(first.is_none() || end.as_ref().err() == first.as_ref(), "the end gives the error that was found before");
    let (flags, percent_invalid) = (parser.multipart_flags().cloned(), parser.percent_invalid());
    Outcome { told, end, flags, percent_invalid, left_out: parser.left_out().cloned() }
}

/// The beginning of a body that goes on.
fn cut(mut parser: Parser, beginning: &[u8]) {
    let mut told = Told::default();
    let read = parser.push(beginning, &mut told).and_then(|()| parser.cut(&mut told));
    assert_eq!(read, Ok(()), "the beginning of what is sound is sound");
}

fn check(parser: impl Fn() -> Parser, bytes: &[u8]) -> Outcome {
    let whole = feed(parser(), [bytes]);
    let told = &whole.told;
    // Those that come late are told by themselves up to nine times as many again, and the rest as one.
    assert!(told.arguments <= 10 * LIMITS.arguments_max + 1 && told.files <= LIMITS.files_max);
    assert!(told.attributes <= LIMITS.attributes_max + 1);
    assert_eq!(feed(parser(), bytes.chunks(1)), whole, "byte by byte");
    for pause in pauses(bytes) {
        let (head, tail) = bytes.split_at(pause);
        assert_eq!(feed(parser(), [head, tail]), whole, "with a pause at {pause}");
        if whole.end.is_ok() {
            cut(parser(), head);
        }
    }
    whole
}

/// Forms, query strings and cookies.
///
/// # Panics
/// When how a form is cut makes a difference, or a query string is read otherwise than a form.
pub fn body_form(bytes: &[u8]) {
    let form = check(|| Parser::urlencoded(b'&', &LIMITS), bytes);
    let (mut of_query, mut of_form) = (Told::default(), form.told);
    // Of a query, more arguments are an error, and then all of it is told once more.
    let end = form.end.and(form.left_out.map_or(Ok(form.percent_invalid), Err));
    if end.is_err() {
        of_form.argument(b"", &Decoded::new(bytes).bytes);
    }
    assert_eq!(query(bytes, b'&', &LIMITS, &mut of_query), end);
    assert_eq!(of_query, of_form);
    let mut told = 0;
    let all = cookies(bytes, LIMITS.arguments_max, |name, value| {
        told += 1;
        assert!(name.len() + value.len() <= bytes.len());
        assert!(name.is_empty() || (!name.contains(&b'=') && !value.contains(&b';')));
    });
    assert!(told <= LIMITS.arguments_max + usize::from(!all));
}

/// A multipart form: the `Content-Type`, a line end, the body.
///
/// # Panics
/// When how a body is cut makes a difference, or a sound one has the flag of an error.
pub fn body_multipart(bytes: &[u8]) {
    let at = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(0);
    let (content_type, body) = bytes.split_at(at);
    let body = body.strip_prefix(b"\n").unwrap_or(body);
    let outcome = check(|| Parser::multipart(content_type, &LIMITS), body);
    let flags = outcome.flags.expect("a multipart parser has flags");
    assert_eq!(outcome.end.is_err(), flags.error);
    assert!(!flags.error || flags.strict_error());
}

/// JSON.
///
/// # Panics
/// When how a text is cut makes a difference.
pub fn body_json(bytes: &[u8]) {
    let _ = check(|| Parser::json(&LIMITS), bytes);
}

/// XML.
///
/// # Panics
/// When how a document is cut makes a difference.
pub fn body_xml(bytes: &[u8]) {
    let _ = check(|| Parser::xml(&LIMITS), bytes);
}
