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
    pub(super) left_out: Option<BodyError>,
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
    outcome(&parser, told, error)
}

fn outcome(parser: &Parser, told: Told, error: Option<BodyError>) -> Outcome {
    Outcome {
        told: told.0,
        error,
        flags: parser.multipart_flags().cloned(),
        percent_invalid: parser.percent_invalid(),
        left_out: parser.left_out().cloned(),
    }
}

/// Reads the beginning of a body that goes on.
pub(super) fn cut(mut parser: Parser, beginning: &[u8]) -> Outcome {
    let mut told = Told::default();
    let _ = parser.push(beginning, &mut told);
    let error = parser.cut(&mut told).err();
    outcome(&parser, told, error)
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
        if whole.error.is_none() {
            let beginning = cut(parser(), head);
            assert_eq!(beginning.error, None, "the beginning of what is sound is sound: {}", head.escape_ascii());
            assert!(!beginning.percent_invalid || whole.percent_invalid, "{}", head.escape_ascii());
            let strict = |outcome: &Outcome| outcome.flags.as_ref().is_some_and(MultipartFlags::strict_error);
            assert!(!strict(&beginning) || strict(&whole), "{}: {beginning:?}", head.escape_ascii());
        }
    }
    whole
}

/// Limits that tests can reach.
pub(super) fn small() -> BodyLimits {
    BodyLimits {
        arguments_max: 3,
        name_bytes_max: 16,
        names_bytes_max: 1000,
        value_bytes_max: 24,
        depth_max: 3,
        attributes_max: 3,
        parts_max: 3,
        files_max: 1,
        part_headers_max: 3,
        part_header_bytes_max: 128,
        file_bytes_kept_max: 4,
    }
}

/// The shape of each table: a body, what is told of it, and the text of the error or nothing.
pub(super) type Case<'a> = (&'a [u8], &'a [&'a str], &'a str);

pub(super) fn check(parser: impl Fn() -> Parser, cases: &[Case<'_>]) {
    for (body, told, error) in cases {
        let outcome = read(&parser, body);
        let found = outcome.error.or(outcome.left_out).map(|error| error.to_string()).unwrap_or_default();
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
    for (body, name) in
        [("1=&2=&3=&4=", "arguments_max"), ("a-value-of-more-bytes-than-24=", "value_bytes_max"), ("[", "")]
    {
        let error = if name.is_empty() {
            read(|| Parser::json(&limits), body.as_bytes()).error
        } else {
            query(body.as_bytes(), b'&', &limits, &mut Told::default()).err()
        };
        assert_eq!(error.and_then(|error| error.limit()).unwrap_or_default(), name, "{body}");
    }
}

/// Makes a parser.
type New<'a> = &'a dyn Fn() -> Parser;

#[test]
fn what_is_cut_is_told_as_far_as_it_goes() {
    let limits = BodyLimits::default();
    let form = || Parser::urlencoded(b'&', &limits);
    let parts = || Parser::multipart(b"multipart/form-data; boundary=b", &limits);
    let (json, xml) = (|| Parser::json(&limits), || Parser::xml(&limits));
    let field = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n";
    let header = r#"header a | Content-Disposition: form-data; name=\"a\""#;
    let bodies: &[(New<'_>, &str, &[&str])] = &[
        (&form, "a=1&b=<scr", &["arg a | 1", "arg b | <scr"]),
        (&form, "a=1&b=%3", &["arg a | 1", "arg b | "]),
        (&form, "a=1&b%", &["arg a | 1", "arg b | "]),
        (&json, r#"{"a":["<scr"#, &["arg json.a.array_0 | <scr"]),
        (&json, r#"{"a":"x\u003"#, &["arg json.a | x"]),
        (&json, "{\"a\":\"x\\", &["arg json.a | x"]),
        (&json, r#"{"a":1,"<scr"#, &["arg json.a | 1", "arg json.<scr | "]),
        (&json, r#"{"a":1,"b":"#, &["arg json.a | 1", "arg json.b | "]),
        (&json, "[1,tr", &["arg json.array_0 | 1", "arg json.array_1 | tr"]),
        (&json, "[1,", &["arg json.array_0 | 1"]),
        (&xml, "<a>x &lt; <scr", &["text x < "]),
        (&xml, r#"<a b="1" c='<scr"#, &["attribute 1", "attribute <scr", "text "]),
        (&xml, r#"<a b="1&am"#, &["attribute 1", "text "]),
        (&xml, r#"<a b="1" c"#, &["attribute 1", "attribute ", "text "]),
        (&xml, r#"<a b="1" c = "#, &["attribute 1", "attribute ", "text "]),
        (&xml, "<a><![CDATA[<scr]]", &["text <scr]]"]),
        (&xml, "<a>1&l", &["text 1&l"]),
        (&parts, &format!("{field}x\r\ny"), &["name a", header, r"arg a | x\r\ny"]),
        (&parts, &format!("{field}x\r\n-"), &["name a", header, "arg a | x"]),
        (&parts, &format!("{field}x\r\n--b-"), &["name a", header, "arg a | x"]),
        (&parts, "--b\r\nContent-Type: x\r\nX", &["header  | Content-Type: x", "header  | X"]),
        (&parts, "--", &[]),
    ];
    for (parser, body, told) in bodies {
        let found = cut(parser(), body.as_bytes());
        assert_eq!(found.told, *told, "{body}");
    }
}

#[test]
fn what_is_wrong_stays_wrong_in_what_is_cut() {
    let limits = BodyLimits::default();
    let parts = || Parser::multipart(b"multipart/form-data; boundary=b", &limits);
    for (parser, body) in [
        (Parser::json(&limits), r#"{"a":x,"#),
        (Parser::json(&limits), r#"{"a":"\q and more"#),
        (Parser::json(&limits), "{\"a\":\"\x01"),
        (Parser::xml(&limits), "<a></b>"),
        (Parser::xml(&limits), "<a b=c d"),
        (Parser::xml(&limits), "<a b=\"1\"c"),
        (Parser::xml(&limits), "<a b=\"&x;"),
        (parts(), "--b\r\nno colon\r\n"),
        (parts(), "--bx\r\n"),
    ] {
        assert!(cut(parser, body.as_bytes()).error.is_some(), "{body}");
    }
    let before = cut(parts(), b"q=1&r=2").flags.unwrap_or_default();
    assert!(before.data_before && before.strict_error(), "a boundary that does not come is something before it");
}

#[test]
fn what_is_over_a_number_is_told_together() {
    let limits = BodyLimits { file_bytes_kept_max: 0, ..small() };
    let names = |told: &[String], kind: &str| told.iter().filter(|line| line.starts_with(kind)).count();
    let json = read(|| Parser::json(&limits), br#"[1,2,3,4,{"a":"5"},"<x>",{"<k>":6}]"#);
    assert_eq!(json.told[3..], ["arg json.array_5 | <x>", "arg  | json.array_3,4,a,5,<k>,6,"]);
    assert_eq!((json.error, json.left_out), (None, Some(BodyError::Arguments(3))));
    let form = read(|| Parser::urlencoded(b'&', &limits), b"a&b&c&d=1&e=%27&<f>=2&g");
    assert_eq!(form.told[3..], [r"arg e | \'", "arg <f> | 2", "arg  | d,1,g,"]);
    assert_eq!((form.error, form.left_out), (None, Some(BodyError::Arguments(3))));
    let attack = read(|| Parser::json(&limits), format!("[{}1]", "\"'\",".repeat(40)).as_bytes());
    assert_eq!((attack.error, names(&attack.told, "arg")), (Some(BodyError::Arguments(30)), 30));
    let long = BodyLimits { value_bytes_max: 100, ..limits.clone() };
    let xml = read(|| Parser::xml(&long), b"<a b='1' c='2' d='3' e='&lt;' f='5'/>");
    assert_eq!(xml.told[3..], ["attribute < 5 ", "text "]);
    let broken = read(|| Parser::json(&limits), b"[1,2,3,4,]");
    assert!(broken.error.is_some_and(|error| error.limit().is_none()), "what is left out is still to be sound");
    let file = "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\n1\r\n";
    let field = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n<script>\r\n";
    let parts = || Parser::multipart(b"multipart/form-data; boundary=b", &limits);
    let seen = read(parts, format!("{file}{file}{field}--b--\r\n").as_bytes());
    assert_eq!((names(&seen.told, "file "), names(&seen.told, "arg a | <script>")), (2, 1), "{:?}", seen.told);
    assert_eq!((seen.error, seen.left_out), (None, Some(BodyError::Files(1))));
    let seen = read(parts, format!("{}--b--\r\n", field.repeat(5)).as_bytes());
    assert_eq!((names(&seen.told, "arg a"), seen.error, seen.left_out), (3, None, Some(BodyError::Parts(3))));
    let late = seen.told.last().map(String::as_str).unwrap_or_default();
    assert!(late.starts_with("arg  | Content-Disposition") && late.matches("<script>").count() == 2, "{late}");
    assert!(!seen.flags.unwrap_or_default().strict_error());
}
