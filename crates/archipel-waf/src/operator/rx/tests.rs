use super::super::{Captures, Kind};
use super::{RX_PATTERN_BYTES_MAX, Rx};

fn rx(pattern: &[u8]) -> Rx {
    Rx::compile(Kind::Rx, pattern).unwrap_or_else(|error| panic!("{}: {error}", pattern.escape_ascii()))
}

/// Patterns, and for values what PCRE finds first (8.39 and 10.42, with DOTALL and MULTILINE).
type Case = (&'static [u8], &'static [(&'static [u8], Option<&'static [u8]>)]);

const CASES: &[Case] = &[
    // A dot is every byte, anchors are those of lines.
    (b"a.b", &[(b"a\nb", Some(b"a\nb")), (b"a\xffb", Some(b"a\xffb"))]),
    (b"^b$", &[(b"a\nb\nc", Some(b"b")), (b"ab", None)]),
    (br"\Ab", &[(b"a\nb", None), (b"b", Some(b"b"))]),
    (br"b\Z", &[(b"b\n", Some(b"b\n")), (b"b\n\n", None)]),
    (br"b\z", &[(b"b\n", None), (b"ab", Some(b"b"))]),
    // Escapes.
    (br"\/\-\_\:\<\>\=\@\!\%\,\;\`\'\#\&\~\ ", &[(b"/-_:<>=@!%,;`'#&~ ", Some(b"/-_:<>=@!%,;`'#&~ "))]),
    (br"\x41\x{42}\103\x4\e\cA\0", &[(b"ABC\x04\x1b\x01\0", Some(b"ABC\x04\x1b\x01\0"))]),
    (br"\h+", &[(b"a \t\xa0", Some(b" \t\xa0"))]),
    (br"\H", &[(b" a", Some(b"a"))]),
    (br"\v+", &[(b"\x0b\x85", Some(b"\x0b\x85"))]),
    (br"a\Rb", &[(b"a\r\nb", Some(b"a\r\nb")), (b"a\n\nb", None)]),
    (br"\N+", &[(b"ab\nc", Some(b"ab"))]),
    (br"\s", &[(b"\x0b", Some(b"\x0b")), (b"\xa0", None)]),
    (br"\Qa.b\E+", &[(b"a.bb", Some(b"a.bb")), (b"axb", None)]),
    (br"\y", &[(b"y", Some(b"y"))]),
    (br"\bw\b", &[(b"\xe9w\xe9", Some(b"w")), (b"aw", None)]),
    // Classes.
    (b"[a[b]", &[(b"[", Some(b"["))]),
    (b"[]a]", &[(b"]", Some(b"]"))]),
    (b"[^]a]", &[(b"]ab", Some(b"b"))]),
    (br"[\]a]", &[(b"]", Some(b"]"))]),
    (b"[a&&b]", &[(b"&", Some(b"&")), (b"b", Some(b"b"))]),
    (br"[\w-]+", &[(b"a-b.c", Some(b"a-b"))]),
    (br"[\w-x]+", &[(b"a-x.", Some(b"a-x"))]),
    (br"[a\d-f]+", &[(b"a1-fe", Some(b"a1-f"))]),
    (br"[-a]", &[(b"-", Some(b"-"))]),
    (br"[+--]+", &[(b"+,-.", Some(b"+,-"))]),
    (br"[\b]", &[(b"\x08", Some(b"\x08"))]),
    (br"[\x00-\x1f\x{7f}-\x{ff}]", &[(b"a\x80", Some(b"\x80"))]),
    (b"[[:alpha:][:^digit:]]+", &[(b"1ab!", Some(b"ab!"))]),
    (b"[:alpha:]+", &[(b"zlap", Some(b"lap"))]),
    (br"[\h\v]+", &[(b"a \n", Some(b" \n"))]),
    (b"[^\xc3\xa9]", &[(b"\xc3\xa9a", Some(b"a"))]),
    // What is not ASCII is bytes.
    (b"\xc3\xa9+", &[(b"\xc3\xa9\xa9", Some(b"\xc3\xa9\xa9"))]),
    (b"(?i)\xc3\x89", &[(b"\xc3\xa9", None), (b"\xc3\x89", Some(b"\xc3\x89"))]),
    (br"\xc3.", &[(b"\xc3\xa9", Some(b"\xc3\xa9"))]),
    // Case.
    (b"(?i)aB", &[(b"Ab", Some(b"Ab"))]),
    (b"a(?i)b|c", &[(b"C", Some(b"C")), (b"aB", Some(b"aB")), (b"AB", None)]),
    (b"(?i:a)b", &[(b"Ab", Some(b"Ab")), (b"AB", None)]),
    (b"(?i)a(?-i)b", &[(b"Ab", Some(b"Ab")), (b"AB", None)]),
    // Quantifiers.
    (b"a{2}", &[(b"aaa", Some(b"aa"))]),
    (b"a{,2}", &[(b"a{,2}", Some(b"a{,2}")), (b"aa", None)]),
    (b"a{x}{", &[(b"a{x}{", Some(b"a{x}{"))]),
    (b"x{2,}?", &[(b"xxxx", Some(b"xx"))]),
    (b"(?U)a+", &[(b"aaa", Some(b"a"))]),
    (b"a*?b", &[(b"aab", Some(b"aab"))]),
    // Groups.
    (b"(?<n>a)(?P<m>b)(?'k'c)", &[(b"abc", Some(b"abc"))]),
    (b"a(?#comment)b", &[(b"ab", Some(b"ab"))]),
    (b"(?x) a b # comment\n [ c]", &[(b"ab ", Some(b"ab "))]),
    (b"(?x: a ) b", &[(b"a b", Some(b"a b"))]),
    (b"(|a)b", &[(b"ab", Some(b"ab"))]),
    (b"a||b", &[(b"b", Some(b""))]),
    // What takes backtracking.
    (b"a(?=b)", &[(b"acab", Some(b"a")), (b"ac", None)]),
    (b"a(?!b)", &[(b"ab", None), (b"ac", Some(b"a"))]),
    (b"(?<=\xe9)b", &[(b"ab\xe9b", Some(b"b")), (b"b", None)]),
    (b"(?<!a)b", &[(b"ab", None), (b"cb", Some(b"b"))]),
    (br"(a|b)\1", &[(b"abb", Some(b"bb")), (b"ab", None)]),
    (b"(?>a+)ab", &[(b"aaab", None)]),
    (b"a++b", &[(b"aab", Some(b"aab")), (b"aac", None)]),
    (b"a++a", &[(b"aaa", None)]),
    (br"[^\s]*+;", &[(b"ab;", None), (b" ;", None)]),
    (b"(?i)(a)\\1(?!\xff)", &[(b"aA", Some(b"aA")), (b"aA\xff", None)]),
];

#[test]
fn finds_what_pcre_finds() {
    let mut wrong = Vec::new();
    for (pattern, values) in CASES {
        let rx = rx(pattern);
        for (value, expected) in *values {
            let mut captures = Captures::new();
            let matched = rx.matches(value, Some(&mut captures)).expect("the budget suffices");
            let found = captures.get(0, value);
            if found != *expected || matched != expected.is_some() || rx.matches(value, None) != Ok(matched) {
                wrong.push(format!(
                    "{} on {}: {:?}",
                    pattern.escape_ascii(),
                    value.escape_ascii(),
                    found.map(<[u8]>::escape_ascii)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn says_what_is_wrong_and_where() {
    let check = |pattern: &[u8], expected: &str| {
        let error = Rx::compile(Kind::Rx, pattern).expect_err(expected).to_string();
        assert_eq!(error, format!("the argument of @rx: {expected}"), "{}", pattern.escape_ascii());
    };
    check(b"a(b", "a group is not closed at byte 3 of the pattern");
    check(b"a)", "a parenthesis is not opened at byte 1 of the pattern");
    check(b"ab[c", "a class is not closed at byte 2 of the pattern");
    check(b"a\\", "a backslash ends the pattern at byte 1 of the pattern");
    check(b"*a", "nothing to repeat at byte 0 of the pattern");
    check(b"a**", "nothing to repeat at byte 2 of the pattern");
    check(b"[z-a]", "a range in a class is out of order at byte 4 of the pattern");
    check(br"\x{100}", "\\x{} does not name a byte at byte 2 of the pattern");
    check(b"(?R)", "this kind of group is not supported at byte 0 of the pattern");
    check(b"(?|a)", "this kind of group is not supported at byte 0 of the pattern");
    check(b"(*UTF8)a", "verbs are not supported at byte 0 of the pattern");
    check(br"\p{L}", "this escape is not supported at byte 0 of the pattern");
    check(&b"(".repeat(1000), "groups are nested too deep at byte 200 of the pattern");
    let long = vec![b'a'; RX_PATTERN_BYTES_MAX + 1];
    check(&long, "the pattern is longer than 65536 bytes");
    assert!(Rx::compile(Kind::Rx, b"(?:(?:(?:a{1000}){1000}){1000})").is_err());
}

/// Pieces of patterns.
const PIECES: &[&[u8]] = &[
    b"a",
    b"B",
    b"(",
    b")",
    b"[",
    b"]",
    b"{",
    b"}",
    b"^",
    b"$",
    b".",
    b"*",
    b"+",
    b"?",
    b"|",
    b"\\",
    b"\\x",
    b"\\b",
    b"\\1",
    b"\\Q",
    b"\\E",
    b"(?",
    b"(?:",
    b"(?i)",
    b"(?=",
    b"(?<!",
    b"(?>",
    b"{2}",
    b"{2,}",
    b"-",
    b"[^",
    b"[:alpha:]",
    b"\xc3",
    b"\0",
    b"\\d",
    b"\\h",
    b"(?x)",
    b"#",
    b"1",
    b"\\c",
];

#[test]
fn never_panics() {
    let mut random = crate::random::Random::new(0x9c3e);
    let mut compiled = 0;
    for _ in 0..6_000 {
        let pattern = random.value(PIECES, 9);
        if let Ok(rx) = Rx::compile(Kind::Rx, &pattern) {
            compiled += 1;
            let value = random.value(PIECES, 9);
            let mut captures = Captures::new();
            let matched = rx.matches(&value, Some(&mut captures));
            if let Ok(matched) = matched {
                assert_eq!(
                    rx.matches(&value, None),
                    Ok(matched),
                    "{} on {}",
                    pattern.escape_ascii(),
                    value.escape_ascii()
                );
                let present = crate::byte_set::ByteSet::of(&value);
                assert!(
                    !matched || rx.requirement().allows(&value, &present),
                    "{} matches {} against {:?}",
                    pattern.escape_ascii(),
                    value.escape_ascii(),
                    rx.requirement()
                );
            }
        }
    }
    assert!(compiled > 1000, "{compiled} patterns compiled");
}
