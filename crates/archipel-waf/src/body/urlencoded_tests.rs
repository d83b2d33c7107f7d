use super::tests::{Case, Told, check, read, small};
use super::{BodyLimits, Decoded, Parser, query};

#[test]
fn forms() {
    let limits = BodyLimits::default();
    let cases: &[Case<'_>] = &[
        (b"a=1&b=2", &["arg a | 1", "arg b | 2"], ""),
        (b"b=2&a=1&b=3", &["arg b | 2", "arg a | 1", "arg b | 3"], ""),
        (b"a", &["arg a | "], ""),
        (b"=v", &["arg  | v"], ""),
        (b"a=b=c", &["arg a | b=c"], ""),
        // As ModSecurity counts them: an empty pair between separators is an argument, one after the last is not.
        (b"a=1&&b=2&", &["arg a | 1", "arg  | ", "arg b | 2"], ""),
        (b"&", &["arg  | "], ""),
        (b"a+b=c+d", &["arg a b | c d"], ""),
        (b"%61%3d=%26%00\xff", &[r"arg a= | &\x00\xff"], ""),
        (b"a=%2561", &["arg a | %61"], ""),
        (b"a=%", &["arg a | %"], ""),
        (b"a=%4", &["arg a | %4"], ""),
        (b"a=%zz%41", &["arg a | %zzA"], ""),
        (b"a=%%41", &["arg a | %A"], ""),
        (b"a=%u0041", &["arg a | %u0041"], ""),
        (b"a=1;b=2", &["arg a | 1;b=2"], ""),
    ];
    check(|| Parser::urlencoded(b'&', &limits), cases);
    check(|| Parser::urlencoded(b';', &limits), &[(b"a=1;b=2&3", &["arg a | 1", "arg b | 2&3"], "")]);
}

#[test]
fn invalid_escapes_are_counted_in_names_and_values() {
    let limits = BodyLimits::default();
    for (body, invalid) in [("a=%41", false), ("a=%4", true), ("%zz=1", true), ("a=%4&b=1", true), ("a+b", false)] {
        assert_eq!(read(|| Parser::urlencoded(b'&', &limits), body.as_bytes()).percent_invalid, invalid, "{body}");
        assert_eq!(query(body.as_bytes(), b'&', &limits, &mut Told::default()), Ok(invalid), "{body}");
    }
}

#[test]
fn form_limits() {
    let limits = small();
    let cases: &[Case<'_>] = &[
        (b"1=&2=&3=", &["arg 1 | ", "arg 2 | ", "arg 3 | "], ""),
        (b"1=&2=&3=&4", &["arg 1 | ", "arg 2 | ", "arg 3 | ", "arg  | 4,"], "more than 3 arguments"),
        // What is no form is one long name, as long as a value may be.
        (b"0123456789abcdefghijklmn=1", &["arg 0123456789abcdefghijklmn | 1"], ""),
        (b"0123456789abcdefghijklmno=1", &[], "a value of more than 24 bytes"),
        (b"a&0123456789abcdefghijklmno", &["arg a | "], "a value of more than 24 bytes"),
        (b"a=0123456789abcdefghijklmn", &["arg a | 0123456789abcdefghijklmn"], ""),
        (b"a=0123456789abcdefghijklmno&b", &[], "a value of more than 24 bytes"),
        (b"a=0123456789abcdefghijklmno", &[], "a value of more than 24 bytes"),
        // What was sent counts, not what it decodes to.
        (b"a=%41%41%41%41%41%41%41%41%41", &[], "a value of more than 24 bytes"),
    ];
    check(|| Parser::urlencoded(b'&', &limits), cases);
}

#[test]
fn what_needs_no_decoding_is_not_copied() {
    assert!(matches!(Decoded::new(b"plain").bytes, std::borrow::Cow::Borrowed(b"plain")));
    assert_eq!(&*Decoded::new(b"%e2%82%ac").bytes, "\u{20ac}".as_bytes());
}

#[test]
fn a_query_over_its_limit_hides_nothing() {
    let limits = small();
    for (text, told, error) in [
        (
            "1=&2=&3=&4=%27&5",
            &["arg 1 | ", "arg 2 | ", "arg 3 | ", r"arg 4 | \'", "arg  | 5,", r"arg  | 1=&2=&3=&4=\'&5"][..],
            "more than 3 arguments",
        ),
        (
            "a=0123456789abcdefghijklmno&b=evil",
            &["arg  | a=0123456789abcdefghijklmno&b=evil"],
            "a value of more than 24 bytes",
        ),
        ("1=&2=&3=&", &["arg 1 | ", "arg 2 | ", "arg 3 | "], ""),
    ] {
        let mut found = Told::default();
        let read = query(text.as_bytes(), b'&', &limits, &mut found);
        assert_eq!(found.0, told, "{text}");
        assert_eq!(read.map_err(|error| error.to_string()).err().unwrap_or_default(), error, "{text}");
    }
}
