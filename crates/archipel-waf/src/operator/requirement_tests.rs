use super::{NoFiles, Operator, Requirement};
use crate::byte_set::ByteSet;
use crate::random::Random;

fn requirement(name: &str, argument: &[u8]) -> Option<Requirement> {
    Operator::compile(name, argument, &NoFiles).unwrap_or_else(|error| panic!("{error}")).requirement()
}

/// The literals of an expression, joined with spaces.
fn literals(pattern: &str) -> String {
    let requirement = requirement("rx", pattern.as_bytes()).unwrap_or_default();
    let literals: Vec<String> = requirement.literals.iter().map(|literal| literal.escape_ascii().to_string()).collect();
    literals.join(" ")
}

#[test]
fn reads_literals_from_expressions() {
    let check = |pattern: &str, expected: &str| assert_eq!(literals(pattern), expected, "{pattern}");
    check("select", "select");
    check("(?i)SeLect", "select");
    check("(?i)(?:union|select)[^a-z]+from", "select union");
    check("(?i)a(?:b|c)d+x", "ab ac");
    check("sel(?:ect)?", "sel");
    check(r"\w+", "");
    check(r"\w+@\w+", "");
    check("(?:foo|ba[rz])", "bar baz foo");
    check("(?:foo|.)", "");
    check("(?:foo|)", "");
    check("(?:foo)*", "");
    check("(?:foo){3}", "foofoofoo");
    check("(?:foo){1,3}", "foo");
    check("[^a]foo", "foo");
    check("^foo$", "foo");
    check(r"(?=foo)bar", "bar");
    check(r"bar(?!foo)", "bar");
    check(r"(foo)\1baz++", "foo");
    check("\\xff[\\x00-\\x02]", "\\xff\\x00 \\xff\\x01 \\xff\\x02");
    check("(?i)[a-z][0-9]", "");
}

#[test]
fn says_what_else_values_must_have() {
    assert_eq!(requirement("unconditionalMatch", b""), None);
    assert_eq!(requirement("lt", b"1"), None);
    assert_eq!(requirement("within", b"GET POST"), None);
    assert_eq!(requirement("rx", b""), None);
    assert_eq!(requirement("rx", b".*"), None);
    assert_eq!(requirement("contains", b""), None);
    let at = requirement("rx", br"\w+@\w+").unwrap_or_default();
    assert_eq!((at.bytes.first(), at.length_min), (Some(&ByteSet::EMPTY.with(b'@')), 3));
    assert_eq!(requirement("rx", b".{3}").map(|found| found.length_min), Some(3));
    assert_eq!(requirement("validateByteRange", b"1-255").map(|found| found.bytes), Some(vec![ByteSet::EMPTY.with(0)]));
    let words = requirement("pm", b"Wget CURL").unwrap_or_default();
    assert_eq!(words.literals, [Box::from(&b"wget"[..]), Box::from(&b"curl"[..])]);
    assert_eq!(words.length_min, 4);
}

/// Operators of all kinds that say what they require.
const OPERATORS: &[(&str, &[u8])] = &[
    ("detectSQLi", b""),
    ("detectXSS", b""),
    ("pm", b"select union /* .. \xe9 1e"),
    ("contains", b"sel"),
    ("containsWord", b"or"),
    ("beginsWith", b"'"),
    ("endsWith", b"--"),
    ("streq", b"1"),
    ("strmatch", b"="),
    ("validateByteRange", b"32-126"),
    ("validateUrlEncoding", b""),
    ("validateUtf8Encoding", b""),
    ("verifyCC", br"\d{2,4}"),
    ("rx", br"(?i)\bunion\b.{0,20}select|'\s*or|--$"),
    ("rx", br"(?i)(?:s(?:el|ys)|0x[a-f\d]{2}|[`'\x22])\s*(?:\(|=|1)"),
    ("rx", br"^[^<]*<(?:s(?:cript|vg)|!--|\?)"),
    ("rx", br"(?:\W{2}|on\w+\s*=)"),
    ("rx", br"(\w)\1(?!x)"),
    ("rxGlobal", br"(?i)1|SELECT"),
];

const PIECES: &[&[u8]] = &[
    b"'",
    b"\"",
    b"`",
    b"--",
    b"#",
    b"/*",
    b"*/",
    b"/*!",
    b" union ",
    b"select",
    b"SELECT",
    b"1",
    b"4111",
    b"@@",
    b"$$",
    b"{",
    b"}",
    b"\\",
    b"N'",
    b"x'1f'",
    b"::int",
    b" or ",
    b"OR",
    b"&&",
    b"||",
    b";",
    b"in (",
    b"like",
    b".",
    b"..",
    b"1e",
    b"0x",
    b"0b1",
    b"0b0",
    b"2e",
    b"<",
    b">",
    b"<!--",
    b"<![CDATA[",
    b"<?xml",
    b"<%",
    b"onerror=",
    b"href=java",
    b"style",
    b"\0",
    b"\xff",
    b"\xa0",
    b"/",
    b"=",
    b"<svg",
    b"script",
    b"\n",
    b" ",
    b"-",
    b"+",
    b"(",
    b")",
    b",",
    b"\xe9",
    b"\xc3\xa9",
    b"%",
    b"%4",
    b"union",
    b"e",
    b"_",
    b"word",
    b"null",
    b"user",
];

#[test]
fn turns_away_nothing_that_matches() {
    let operators: Vec<(Operator, Requirement)> = OPERATORS
        .iter()
        .map(|(name, argument)| {
            let operator = Operator::compile(name, argument, &NoFiles).unwrap_or_else(|error| panic!("{error}"));
            let requirement = operator.requirement().unwrap_or_default();
            (operator, requirement)
        })
        .collect();
    let mut random = Random::new(0x5eed);
    let mut matched = vec![0; operators.len()];
    for _ in 0..40_000 {
        let value = random.value(PIECES, 7);
        let present = ByteSet::of(&value);
        for (count, (operator, requirement)) in matched.iter_mut().zip(&operators) {
            if operator.matches(&value, None) {
                *count += 1;
                let name = operator.kind().name();
                assert!(
                    requirement.allows(&value, &present),
                    "@{name} {requirement:?} turns away {}",
                    value.escape_ascii()
                );
            }
        }
    }
    assert!(matched.iter().all(|&count| count > 0), "{matched:?}");
}

/// The trigger of libinjection is proved by hand: without one of its bytes a value is at most two numbers and a word. These are all
/// forms that such values have, with every word there is in place of the word.
#[test]
fn words_behind_numbers_are_no_injection() {
    for keyword in libinjectionrs::sqli::sqli_data::SQL_KEYWORDS {
        for number in ["", "1", "0b1", "0b12", "0b12e", "0b", "0x", "0x1", "1e", "1e5", "1f", "1d", "12e3f", "0b13d"] {
            for word in [keyword.word.to_owned(), keyword.word.to_lowercase(), format!("u{}", keyword.word)] {
                let value = format!("{number}{word}");
                if value.bytes().any(|byte| super::libinjection::SQLI_TRIGGER.contains(byte)) {
                    continue;
                }
                assert!(!libinjectionrs::detect_sqli(value.as_bytes()).is_injection(), "{value}");
            }
        }
    }
}
