use super::tests::{check, read, small};
use super::{BodyLimits, MultipartFlags, Parser, UnmatchedBoundary};

const TYPE: &str = "multipart/form-data; boundary=b";

/// The names of the flags that are set, in the order of their declaration; `unmatched=n` at the end.
fn names(flags: &MultipartFlags) -> String {
    let all = [
        ("error", flags.error),
        ("quoted", flags.boundary_quoted),
        ("whitespace", flags.boundary_whitespace),
        ("before", flags.data_before),
        ("after", flags.data_after),
        ("folding", flags.header_folding),
        ("invalid_folding", flags.invalid_header_folding),
        ("lf", flags.lf_line),
        ("crlf", flags.crlf_line),
        ("semicolon", flags.missing_semicolon),
        ("quoting", flags.invalid_quoting),
        ("part", flags.invalid_part),
        ("files", flags.file_limit_exceeded),
        ("unmatched", flags.unmatched_boundary == UnmatchedBoundary::Seen),
        ("matched", flags.unmatched_boundary == UnmatchedBoundary::Matched),
    ];
    all.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
}

/// A case: the `Content-Type`, the body with `\n` for CRLF and `|` for LF, what is told, the flags, the error.
type Case<'a> = (&'a str, &'a str, &'a [&'a str], &'a str, &'a str);

fn table(limits: &BodyLimits, cases: &[Case<'_>]) {
    for (content_type, body, told, flags, error) in cases {
        let wire = body.replace('\n', "\r\n").replace('|', "\n");
        let outcome = read(|| Parser::multipart(content_type.as_bytes(), limits), wire.as_bytes());
        let found = outcome.error.or(outcome.left_out).map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(found, *error, "{content_type}: {body}");
        assert_eq!(outcome.told, *told, "{content_type}: {body}");
        assert_eq!(names(&outcome.flags.unwrap_or_default()), *flags, "{content_type}: {body}");
    }
}

/// A part with this header line and `x` as its data, in a body of its own.
fn part(header: &str) -> String {
    format!("--b\n{header}\n\nx\n--b--\n")
}

#[test]
fn fields_and_files() {
    let limits = BodyLimits { file_bytes_kept_max: 4, ..BodyLimits::default() };
    table(
        &limits,
        &[
            (
                TYPE,
                "--b\nContent-Disposition: form-data; name=\"a\"\n\nx\n--b--\n",
                &["name a", r#"header a | Content-Disposition: form-data; name=\"a\""#, "arg a | x"],
                "crlf matched",
                "",
            ),
            // Without the last line end.
            (
                TYPE,
                "--b\nContent-Disposition: form-data; name=a\n\n\n--b--",
                &["name a", "header a | Content-Disposition: form-data; name=a", "arg a | "],
                "crlf",
                "",
            ),
            (
                TYPE,
                "--b\ncontent-disposition: form-data; name=a\n\nx\ny|\n z\n\n--b\n\
            Content-Disposition: form-data; name=f; filename=\"e.t\"\nContent-Type: text/plain\n\n12\n45\n--b--\n",
                &[
                    "name a",
                    "header a | content-disposition: form-data; name=a",
                    r"arg a | x\r\ny\n\r\n z\r\n",
                    "name f",
                    "filename e.t",
                    r#"header f | Content-Disposition: form-data; name=f; filename=\"e.t\""#,
                    "header f | Content-Type: text/plain",
                    r"file f | e.t | 6 | 12\r\n",
                ],
                "crlf matched",
                "",
            ),
            (
                TYPE,
                "--b\nContent-Disposition: form-data; name=a\n\n--c\n-\n--\n--b--\n",
                &["name a", "header a | Content-Disposition: form-data; name=a", r"arg a | --c\r\n-\r\n--"],
                "crlf matched",
                "",
            ),
        ],
    );
}

#[test]
fn the_content_type() {
    let body = part("Content-Disposition: form-data; name=a");
    let told: &[&str] = &["name a", "header a | Content-Disposition: form-data; name=a", "arg a | x"];
    let limits = BodyLimits::default();
    let sound: &[(&str, &str)] = &[
        ("MULTIPART/form-data ; boundary=b", "crlf matched"),
        ("multipart/form-data; boundary=\"b\"", "quoted crlf matched"),
        ("multipart/form-data; boundary =b", "whitespace crlf matched"),
        ("multipart/form-data boundary=b", "crlf semicolon matched"),
        ("multipart/form-data; boundary=b; charset=utf-8", "crlf matched"),
    ];
    for (content_type, flags) in sound {
        table(&limits, &[(content_type, &body, told, flags, "")]);
    }
    let long = format!("multipart/form-data; boundary={}", "b".repeat(1000));
    let bad: &[(&str, &str, &str)] = &[
        ("multipart/mixed; boundary=b", "error", "the Content-Type is not multipart/form-data"),
        ("", "error", "the Content-Type is not multipart/form-data"),
        ("multipart/form-data", "error", "the Content-Type has no boundary"),
        ("multipart/form-data; Boundary=b", "error", "the Content-Type's boundary is not in small letters"),
        ("multipart/form-data; boundary=b; boundary=c", "error", "the Content-Type has several boundaries"),
        ("multipart/form-data; charset=x; boundary=b", "error", "the Content-Type's boundary is malformed"),
        ("multipart/form-data;; boundary=b", "error", "the Content-Type's boundary is malformed"),
        ("multipart/form-data; boundaryx=b", "error", "the Content-Type's boundary is malformed"),
        ("multipart/form-data; boundary", "error", "the Content-Type's boundary is malformed"),
        ("multipart/form-data; boundary=\"b", "error", "the Content-Type's boundary is half quoted"),
        ("multipart/form-data; boundary=b\"", "error", "the Content-Type's boundary is half quoted"),
        ("multipart/form-data; boundary=", "error", "the Content-Type's boundary has characters that it must not have"),
        (
            "multipart/form-data; boundary=\"\"",
            "error quoted",
            "the Content-Type's boundary has characters that it must not have",
        ),
        (
            "multipart/form-data; boundary=b{",
            "error",
            "the Content-Type's boundary has characters that it must not have",
        ),
        (
            "multipart/form-data; boundary=b ",
            "error",
            "the Content-Type's boundary has characters that it must not have",
        ),
        (&long, "error", "the Content-Type is too long"),
    ];
    for (content_type, flags, error) in bad {
        table(&limits, &[(content_type, &body, &[], flags, &format!("multipart: {error}"))]);
    }
}

#[test]
fn boundaries() {
    let told: &[&str] = &["name a", "header a | Content-Disposition: form-data; name=a", "arg a | x"];
    let open = "--b\nContent-Disposition: form-data; name=a\n\nx\n";
    let limits = BodyLimits::default();
    let with = |end: &str| format!("{open}{end}");
    table(
        &limits,
        &[
            (TYPE, &with("--b--\nepilogue"), told, "after crlf matched", ""),
            (TYPE, &with("--b--\n--b--\n"), told, "after crlf matched", ""),
            (TYPE, &format!("preamble\n{open}--b--\n"), told, "before crlf matched", ""),
            (TYPE, &format!("\n{open}--b--\n"), told, "before crlf matched", ""),
            (TYPE, &with("--b--|"), told, "lf crlf matched", ""),
            (TYPE, "--b\nContent-Disposition: form-data; name=a\n\nx|--b--\n", told, "lf crlf matched", ""),
            (TYPE, &with("--b-- \n"), &told[..2], "error crlf matched", "multipart: something follows a boundary"),
            (TYPE, &with("--bc\n--b--\n"), &told[..2], "error crlf matched", "multipart: something follows a boundary"),
            (TYPE, &with("-- b--\n"), &told[..2], "error crlf", "multipart: space before a boundary"),
            (TYPE, "no boundary\n", &[], "error before", "multipart: no boundary in the body"),
            (
                TYPE,
                &with(""),
                &[told[0], told[1], r"arg a | x\r\n"],
                "error crlf",
                "multipart: the final boundary is missing",
            ),
            (
                TYPE,
                &with("--b"),
                &[told[0], told[1], r"arg a | x\r\n--b"],
                "error crlf",
                "multipart: the final boundary is missing",
            ),
            (TYPE, &with("--b\n"), told, "error crlf part matched", "multipart: the final boundary is missing"),
            // Something like a boundary, before and after the next true one.
            (TYPE, &with("-----b--\n--b--\n"), &[told[0], told[1], r"arg a | x\r\n-----b--"], "crlf matched", ""),
            (
                TYPE,
                &with("x--b\n"),
                &[told[0], told[1], r"arg a | x\r\nx--b\r\n"],
                "error crlf unmatched",
                "multipart: the final boundary is missing",
            ),
            // A boundary where data must begin is data.
            (
                TYPE,
                "--b\nContent-Disposition: form-data; name=a\n\n--b\n--b--\n",
                &[told[0], told[1], "arg a | --b"],
                "crlf part matched",
                "",
            ),
            (
                TYPE,
                "--b\nContent-Disposition: form-data; name=a\n\n--b--",
                &[told[0], told[1], "arg a | "],
                "crlf part",
                "",
            ),
        ],
    );
    let quoted = "multipart/form-data; boundary=\"b\"";
    table(&limits, &[(quoted, &with("--\"b\"\n"), &told[..2], "error quoted crlf", "multipart: a boundary in quotes")]);
}

#[test]
fn part_headers() {
    let limits = BodyLimits::default();
    let colon = "multipart: a part's header without a colon";
    let name = "multipart: a part's header without a sound name";
    table(
        &limits,
        &[
            (
                TYPE,
                &part("Content-Disposition: form-data;\n name=a\n\tX"),
                &["name a", "header  | Content-Disposition: form-data; name=a X"],
                "error folding crlf part matched",
                "multipart: a part with an invalid Content-Disposition",
            ),
            (
                TYPE,
                &part("Content-Disposition: form-data;\n\u{b} name=a"),
                &["name a", "header a | Content-Disposition: form-data; name=a", "arg a | x"],
                "folding invalid_folding crlf matched",
                "",
            ),
            (
                TYPE,
                &part("Content-Disposition: form-data; name=a|X: y"),
                &["name a", "header a | Content-Disposition: form-data; name=a", "header a | X: y", "arg a | x"],
                "lf crlf matched",
                "",
            ),
            (
                TYPE,
                &part(" folded"),
                &[],
                "error folding crlf part matched",
                "multipart: a part begins with a folded header",
            ),
            (TYPE, &part("no colon"), &["header  | no colon"], "error crlf part matched", colon),
            (TYPE, &part(": x"), &["header  | : x"], "error crlf part matched", name),
            (TYPE, &part("a b: x"), &["header  | a b: x"], "error crlf part matched", name),
            (TYPE, &part("a\u{7f}: x"), &[r"header  | a\x7f: x"], "error crlf part matched", name),
            (
                TYPE,
                &part("X: a\0b"),
                &[r"header  | X: a\x00b"],
                "error crlf part matched",
                "multipart: a zero byte in the headers of a part",
            ),
            (
                TYPE,
                &part("X: 1\nx: 2"),
                &["header  | X: 1", "header  | x: 2"],
                "error crlf part matched",
                "multipart: a part has a header twice",
            ),
            (
                TYPE,
                &part("X: 1"),
                &["header  | X: 1"],
                "error crlf part matched",
                "multipart: a part without Content-Disposition",
            ),
            // What is wrong with one part hides no other.
            (
                TYPE,
                &format!("--b\nX: 1\n\nx\n{}", part("Content-Disposition: form-data; name=a")),
                &["header  | X: 1", "name a", "header a | Content-Disposition: form-data; name=a", "arg a | x"],
                "error crlf part matched",
                "multipart: a part without Content-Disposition",
            ),
        ],
    );
}

#[test]
fn dispositions() {
    let sound: &[(&str, &str, &str)] = &[
        ("form-data; name=\"a\"", "arg a | x", ""),
        ("form-data ;name = a ", "arg a | x", ""),
        ("form-data; name=a;", "arg a | x", ""),
        (r#"form-data; name="a\"\\b\c""#, r#"arg a\"\\b\\c | x"#, ""),
        ("form-data; name=\"a'b\"", r"arg a\'b | x", ""),
        ("form-data; name='a'", "arg a | x", "quoting"),
        ("form-data; name=a'b", r"arg a\'b | x", "quoting"),
        ("form-data; name=\"a", "arg a | x", ""),
        ("form-data; filename=\"f;g\"; name=\"a\"", "file a | f;g | 1 | ", ""),
        ("form-data; name=a; filename=f; filename*=UTF-8''%41b", "file a | f | 1 | ", ""),
        ("form-data; name=a; filename=\"\"", "arg a | x", ""),
    ];
    let limits = BodyLimits::default();
    for (value, told, flags) in sound {
        let body = part(&format!("Content-Disposition: {value}")).replace('\n', "\r\n");
        let outcome = read(|| Parser::multipart(TYPE.as_bytes(), &limits), body.as_bytes());
        assert_eq!(outcome.error, None, "{value}");
        assert_eq!(outcome.told.last().map(String::as_str), Some(*told), "{value}");
        let found = names(&outcome.flags.unwrap_or_default());
        assert_eq!(found, format!("crlf {flags} matched").replace("  ", " "), "{value}");
    }
    let bad: &[(&str, &str)] = &[
        ("", ""),
        ("attachment; name=a", ""),
        ("Form-Data; name=a", ""),
        ("form-data name=a", ""),
        ("form-data; ", ""),
        ("form-data; name", ""),
        ("form-data; name=", ""),
        ("form-data; name=\"", ""),
        ("form-data; name=\"a\\", ""),
        ("form-data; name x=a", ""),
        ("form-data; name=a; name=b", ""),
        ("form-data; name=a; filename=b; filename=c", ""),
        ("form-data; name=a; filename*=UTF-8''b", ""),
        ("form-data; name=a; filename=b; filename*=b", ""),
        ("form-data; name=a; filename=b; filename*=''b", ""),
        ("form-data; name=a; filename=b; filename*=UTF-8''%4", ""),
        ("form-data; name=a; filename=b; filename*=UTF-8''\"", ""),
        ("form-data; name=a; filename=b; filename*=x''c; filename*=x''c", ""),
        ("form-data; name=a; size=1", ""),
        ("form-data; name=\"a\"b", "quoting"),
        ("form-data; name=\"a\";; x", ""),
    ];
    for (value, flags) in bad {
        let body = part(&format!("Content-Disposition: {value}")).replace('\n', "\r\n");
        let outcome = read(|| Parser::multipart(TYPE.as_bytes(), &limits), body.as_bytes());
        let error = outcome.error.map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(error, "multipart: a part with an invalid Content-Disposition", "{value}");
        let found = names(&outcome.flags.unwrap_or_default());
        assert_eq!(found, format!("error crlf {flags} part matched").replace("  ", " "), "{value}");
    }
    let nameless = part("Content-Disposition: form-data; filename=x").replace('\n', "\r\n");
    let outcome = read(|| Parser::multipart(TYPE.as_bytes(), &limits), nameless.as_bytes());
    assert_eq!(outcome.error.map(|error| error.to_string()).as_deref(), Some("multipart: a part without a name"));
}

#[test]
fn multipart_limits() {
    let limits = small();
    let field = "--b\nContent-Disposition: form-data; name=a\n\nx\n";
    let file = "--b\nContent-Disposition: form-data; name=a; filename=f\n\n123456\n";
    let told: &[&str] = &["name a", "header a | Content-Disposition: form-data; name=a", "arg a | x"];
    let told_file: &[&str] = &[
        "name a",
        "filename f",
        "header a | Content-Disposition: form-data; name=a; filename=f",
        "file a | f | 6 | 1234",
    ];
    let three = [told, told, told].concat();
    let late = [&three[..], &[r"arg  | Content-Disposition: form-data; name=a\r\n\r\nx\r\n"]].concat();
    let two_files = [told_file, told_file].concat();
    table(
        &limits,
        &[
            (TYPE, &format!("{field}{field}{field}--b--\n"), &three, "crlf matched", ""),
            (TYPE, &format!("{field}{field}{field}{field}--b--\n"), &late, "crlf matched", "more than 3 parts"),
            (TYPE, &format!("{file}--b--\n"), told_file, "crlf matched", ""),
            (TYPE, &format!("{file}{file}--b--\n"), &two_files, "crlf files matched", "more than 1 files"),
            (
                TYPE,
                &part(&format!("X: {}\nY: {}", "x".repeat(60), "y".repeat(60))),
                &[],
                "error crlf",
                "part headers of more than 128 bytes",
            ),
            (TYPE, &part("A: 1\nB: 2\nC: 3\nD: 4"), &[], "error crlf", "more than 3 headers in a part"),
            (
                TYPE,
                &format!("{}0123456789abcdefghijklmno\n--b--\n", field.replace("x\n", "")),
                &told[..2],
                "error crlf",
                "a value of more than 24 bytes",
            ),
        ],
    );
}

#[test]
fn long_lines_are_data_and_no_headers() {
    let limits = BodyLimits { part_header_bytes_max: 1 << 20, ..BodyLimits::default() };
    let header = part(&format!("X: {}", "x".repeat(5000))).replace('\n', "\r\n");
    let error = read(|| Parser::multipart(TYPE.as_bytes(), &limits), header.as_bytes()).error;
    assert_eq!(error.map(|error| error.to_string()).as_deref(), Some("part headers of more than 4096 bytes"));
    // A CRLF around the place where a long line is cut, and a boundary that begins no line.
    for extra in 4085..4100 {
        let value = format!("{}\r\n{}--b", "y".repeat(extra), "z".repeat(4096));
        let body = format!("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n{value}\r\n--b--\r\n");
        let outcome = read(|| Parser::multipart(TYPE.as_bytes(), &limits), body.as_bytes());
        assert_eq!(outcome.error, None);
        assert_eq!(outcome.told.last(), Some(&format!("arg a | {}", value.escape_default())), "{extra}");
    }
}

#[test]
fn names_of_a_refused_disposition_are_told() {
    check(
        || Parser::multipart(TYPE.as_bytes(), &BodyLimits::default()),
        &[(
            b"--b\r\nContent-Disposition: form-data; name=a; filename=f; filename=g\r\n\r\nx\r\n--b--",
            &[
                "name a",
                "filename f",
                "filename g",
                "header  | Content-Disposition: form-data; name=a; filename=f; filename=g",
            ],
            "multipart: a part with an invalid Content-Disposition",
        )],
    );
}
