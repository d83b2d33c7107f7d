use super::tests::{Case, Told, check, small};
use super::{BodyLimits, Parser};

#[test]
fn values_and_their_names() {
    let limits = BodyLimits::default();
    let cases: &[Case<'_>] = &[
        (br#"{"a":"b"}"#, &["arg json.a | b"], ""),
        (
            br#" { "a" : { "b" : [ 1 , -2.5e+3 , { "c" : true } , [ null , false ] ] } } "#,
            &[
                "arg json.a.b.array_0 | 1",
                "arg json.a.b.array_1 | -2.5e+3",
                "arg json.a.b.array_2.c | true",
                "arg json.a.b.array_3.array_0 | ",
                "arg json.a.b.array_3.array_1 | false",
            ],
            "",
        ),
        (b"[1,[2],3]", &["arg json.array_0 | 1", "arg json.array_1.array_0 | 2", "arg json.array_2 | 3"], ""),
        (br#""text""#, &["arg json | text"], ""),
        (b"12", &["arg json | 12"], ""),
        (b"null", &["arg json | "], ""),
        (b"{}", &[], ""),
        (b"[]", &[], ""),
        (b"[[],{},1]", &["arg json.array_2 | 1"], ""),
        (br#"{"a":1,"a":2}"#, &["arg json.a | 1", "arg json.a | 2"], ""),
        (br#"{"":1,"a":{"":2}}"#, &["arg json.empty-key | 1", "arg json.a.empty-key | 2"], ""),
        (br#"{"a.b":1}"#, &["arg json.a.b | 1"], ""),
        (
            br#"["\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00"]"#,
            &[r#"arg json.array_0 | \"\\/\x08\x0c\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"#],
            "",
        ),
        (
            br#"["\ud83d","\ude00x","\ud83d\u0041","\u0000"]"#,
            &["arg json.array_0 | ?", "arg json.array_1 | ?x", "arg json.array_2 | ?A", r"arg json.array_3 | \x00"],
            "",
        ),
        (br#"{"<script>\u003c":"x"}"#, &["arg json.<script>< | x"], ""),
        ("[\"\u{e9}\"]".as_bytes(), &[r"arg json.array_0 | \xc3\xa9"], ""),
    ];
    check(|| Parser::json(&limits), cases);
}

#[test]
fn malformed_texts() {
    let limits = BodyLimits::default();
    let early = "JSON: the text ends too early";
    let word = "JSON: neither a number nor true, false or null";
    let unexpected = |byte: u8| format!("JSON: unexpected byte 0x{byte:02x}");
    let (comma, colon, brace, bracket) = (unexpected(b','), unexpected(b':'), unexpected(b'}'), unexpected(b']'));
    let (quote, apostrophe, slash, bom) = (unexpected(b'"'), unexpected(b'\''), unexpected(b'/'), unexpected(0xef));
    let cases: &[Case<'_>] = &[
        (b" ", &[], early),
        (b"{", &[], early),
        (br#"{"a"#, &[], early),
        (br#"{"a":"#, &[], early),
        (br#"{"a":1"#, &["arg json.a | 1"], early),
        (br#"{"a":"b"#, &[], early),
        (b"[1,", &["arg json.array_0 | 1"], early),
        (b"[1}", &["arg json.array_0 | 1"], &brace),
        (br#"{"a":1]"#, &["arg json.a | 1"], &bracket),
        (b"[1,]", &["arg json.array_0 | 1"], &bracket),
        (br#"{"a":1,}"#, &["arg json.a | 1"], &brace),
        (b"[,1]", &[], &comma),
        (b"{:1}", &[], &colon),
        (br#"{"a" "b"}"#, &[], &quote),
        (b"{'a':1}", &[], &apostrophe),
        (b"[1]//x", &["arg json.array_0 | 1"], &slash),
        (b"{} {}", &[], &unexpected(b'{')),
        (b"1 2", &["arg json | 1"], &unexpected(b'2')),
        (b"\xef\xbb\xbf[1]", &[], &bom),
        (b"nul", &[], word),
        (b"[truefalse]", &[], word),
        (b"[01]", &[], word),
        (b"[1.]", &[], word),
        (b"[-]", &[], word),
        (b"[1e]", &[], word),
        (b"[1e+]", &[], word),
        (b"[1x]", &[], word),
        (b"[.5]", &[], &unexpected(b'.')),
        (b"[+1]", &[], &unexpected(b'+')),
        (b"[NaN]", &[], &unexpected(b'N')),
        (b"[\"a\nb\"]", &[], "JSON: a control character in a string"),
        (b"[\"a\0b\"]", &[], "JSON: a control character in a string"),
        (br#"["\x41"]"#, &[], "JSON: an invalid escape in a string"),
        (br#"["\u12g4"]"#, &[], "JSON: an invalid escape in a string"),
        (br#"["\u12"]"#, &[], "JSON: an invalid escape in a string"),
        // A value that a lenient reader would take is told before it is refused.
        (b"[\"\xff<script>\"]", &[r"arg json.array_0 | \xff<script>"], "JSON: a string that is not UTF-8"),
        (b"{\"\xff\":1}", &[], "JSON: a string that is not UTF-8"),
        (b"\0", &[], &unexpected(0)),
    ];
    check(|| Parser::json(&limits), cases);
}

#[test]
fn json_limits() {
    let limits = small();
    let cases: &[Case<'_>] = &[
        (b"[1,2,3]", &["arg json.array_0 | 1", "arg json.array_1 | 2", "arg json.array_2 | 3"], ""),
        (
            b"[1,2,3,4]",
            &["arg json.array_0 | 1", "arg json.array_1 | 2", "arg json.array_2 | 3", "arg  | json.array_3,4,"],
            "more than 3 arguments",
        ),
        (br#"{"":{"":{}}}"#, &[], "a name of more than 16 bytes"),
        (br#"{"a":{"b":[]}}"#, &[], ""),
        (br#"{"a":{"b":[[]]}}"#, &[], "nested deeper than 3"),
        (br#"{"a":{"b":{"c":{}}}}"#, &[], "nested deeper than 3"),
        (br#"{"0123456789a":1}"#, &["arg json.0123456789a | 1"], ""),
        (br#"{"0123456789ab":1}"#, &[], "a name of more than 16 bytes"),
        (br#"{"0123456789abcdefghijklmn"#, &[], "a name of more than 16 bytes"),
        (br#""0123456789abcdefghijklmn""#, &["arg json | 0123456789abcdefghijklmn"], ""),
        (br#""0123456789abcdefghijklmno"#, &[], "a value of more than 24 bytes"),
        (b"1111111111111111111111111", &[], "a value of more than 24 bytes"),
    ];
    check(|| Parser::json(&limits), cases);
    // Each name repeats the key.
    let names = BodyLimits { names_bytes_max: 45, ..limits.clone() };
    let told = &["arg json.aaa.array_0 | 1", "arg json.aaa.array_1 | 2", "arg  | <", "arg  | json.aaa.array_2,3,4,"];
    check(|| Parser::json(&names), &[(br#"{"aaa":[1,2,3,"<",4]}"#, told, "names of more than 45 bytes in all")]);
    let limits = BodyLimits { name_bytes_max: 100, ..limits };
    check(
        || Parser::json(&limits),
        &[(b"[[[1]]]", &["arg json.array_0.array_0.array_0 | 1"], ""), (b"[[[[", &[], "nested deeper than 3")],
    );
}

#[test]
fn nesting_costs_no_stack() {
    let limits = BodyLimits { depth_max: 100_000, name_bytes_max: 2_000_000, ..BodyLimits::default() };
    let mut body = vec![b'['; 100_000];
    body.resize(200_000, b']');
    let mut parser = Parser::json(&limits);
    let mut told = Told::default();
    assert_eq!(parser.push(&body, &mut told).and_then(|()| parser.finish(&mut told)), Ok(()));
    assert_eq!(told, Told::default());
}
