use super::{detect_sqli, detect_xss};
use crate::random::Random;

/// Values, and the C library's fingerprints of them.
const SQL: &[(&[u8], Option<&str>)] = &[
    (b"", None),
    (b"hello", None),
    (b"hello world", None),
    (b"1", None),
    (b"1 union", None),
    (b"1 union select 1", Some("1UE1")),
    (b"-1' union all select 1,2,3--", Some("sUE1c")),
    (b"' or 1=1--", Some("s&1c")),
    (b"1' or '1'='1", Some("s&sos")),
    (b"1 or 1=1", Some("1&1")),
    (b"foo' + 'bar", Some("sos")),
    (b"\" or \"\"=\"", Some("s&sos")),
    (b"1--", Some("1c")),
    (b"1-- foo", Some("1c")),
    (b"1234-ABCDEFEhfhihwuefi--", Some("1c")),
    (b"1/*", Some("1c")),
    (b"a/*", Some("nc")),
    (b"a--", None),
    (b"a#", None),
    (b"/*!select*/", Some("X")),
    (b"1;drop table users", Some("1;Tnn")),
    (b"sexy and 17", None),
    (b"sexy and 17<18", Some("n&1")),
    (b"{`", Some("X")),
    (b"select \"a\" from b", Some("Eskn")),
    (b"1 into outfile 'asd'", Some("1ks")),
    (b"x sp_password--", None),
    (b"x-- sp_password", Some("nc")),
    (b"It's 5 o'clock; let's go (all of us) & have fun", None),
];

/// Values, and whether the C library takes them for script.
const SCRIPT: &[(&[u8], bool)] = &[
    (b"", false),
    (b"1 < 2", false),
    (b"a = b", false),
    (b"<b>bold</b>", false),
    (b"<script>", true),
    (b"<scr\0ipt>", true),
    (b"</script", true),
    (b"<svgx", true),
    (b"<img src=x onerror=alert(1)>", true),
    (b"<img src=x onerror%09=alert(1)>", true),
    (b"<img src=x onfoo=alert(1)>", false),
    (b"x onload=1", true),
    (b"' onload=1", true),
    (b"\"><a href='javascript:x'>", true),
    (b"<a href=\" &#x6a;&#97;va:x\">", true),
    (b"<a href=\"https://example.com/\">", false),
    (b"<!--[if IE]>", true),
    (b"<!-- plain -->", false),
    (b"<!-- ` -->", true),
    (b"<!doctype html>", true),
    (b"<?xml version=1?>", true),
    (b"<?import x>", true),
    (b"<a style=x>", true),
    (b"<a attributename=onload>", true),
    (b"<%`%>", true),
    (b"<![CDATA[<script>]]>", false),
    (b"<x xmlns:a=b>", true),
];

#[test]
fn says_what_the_c_library_says() {
    let mut wrong = Vec::new();
    for (value, expected) in SQL {
        let found = detect_sqli(value);
        if found.as_ref().map(super::Fingerprint::as_bytes) != expected.map(str::as_bytes) {
            wrong.push(format!(
                "{}: {:?}",
                value.escape_ascii(),
                found.map(|found| found.as_bytes().escape_ascii().to_string())
            ));
        }
    }
    for (value, expected) in SCRIPT {
        if detect_xss(value) != *expected {
            wrong.push(format!("{}: {}", value.escape_ascii(), !expected));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const PIECES: &[&[u8]] = &[
    b"'",
    b"\"",
    b"`",
    b"--",
    b"-- ",
    b"#",
    b"/*",
    b"*/",
    b"/*!",
    b" union ",
    b"select ",
    b"1",
    b" 1 ",
    b"@@a",
    b"@`a`",
    b"$$",
    b"$a$",
    b"{",
    b"}",
    b"\\",
    b"\\N",
    b"N'",
    b"nq'(",
    b")'",
    b"q'[",
    b"]'",
    b"u&'",
    b"x'1f'",
    b"b'01'",
    b"::int",
    b" or ",
    b"&&",
    b"||",
    b";",
    b"if(",
    b"user(",
    b" like ",
    b" not ",
    b"collate a_b ",
    b".",
    b"1e",
    b"1e5f",
    b"0x",
    b"0x1f",
    b"0b1",
    b"1.5d ",
    b"$1,0",
    b"<",
    b">",
    b"<!--",
    b"-->",
    b"-!>",
    b"<![CDATA[",
    b"]]>",
    b"<!doctype",
    b"<?xml",
    b"<%",
    b"%>",
    b"onerror=",
    b"href=java",
    b"&#x6a;",
    b"&#106",
    b"style=",
    b"\0",
    b"\xa0",
    b"/",
    b"=",
    b"<svg",
    b"xlink:href='",
    b"data:",
    b"\n",
    b"-",
    b"+",
    b"(",
    b")",
    b",",
    b"a",
    b" b ",
];

/// The crate differs from the C library in a few places, which are left out: phrases that begin with IN or INTO or SHARE, comments
/// with `sp_password`, handlers with more behind the event's name or named in a value, and NULs.
#[test]
fn says_what_the_other_port_says() {
    let mut random = Random::new(0x11b);
    let mut found = [0; 2];
    for _ in 0..60_000 {
        let value = random.value(PIECES, 8);
        if !value.contains(&0) {
            let other = libinjectionrs::detect_sqli(&value);
            let expected =
                other.is_injection().then(|| other.fingerprint.map(|found| found.as_str().to_owned())).flatten();
            let own = detect_sqli(&value).map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned());
            assert_eq!(own, expected, "{}", value.escape_ascii());
            found[0] += usize::from(own.is_some());
        }
        // Nothing but an equals sign follows the handler.
        let is_plain = memchr::memmem::find_iter(&value, b"onerror").all(|at| value.get(at + 7) == Some(&b'='));
        if is_plain && !value.contains(&0) {
            let own = detect_xss(&value);
            let expected = libinjectionrs::detect_xss(&value).is_injection();
            assert_eq!(own, expected, "{}", value.escape_ascii());
            found[1] += usize::from(own);
        }
    }
    assert!(found.iter().all(|&count| count > 1_000), "{found:?}");
}
