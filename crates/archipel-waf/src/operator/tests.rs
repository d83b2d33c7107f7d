use std::borrow::Cow;

use super::{Captures, DataFiles, Kind, NoFiles, Operator, OperatorError, RX_BACKTRACK_MAX, RxCache, evaluate};

/// Files for tests.
struct Files;

impl DataFiles for Files {
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        match name {
            "words.data" => Ok(Cow::Borrowed(b"# words\nSelect From\r\n\n  # more\n.git/\n")),
            "networks.txt" => Ok(Cow::Borrowed(b"10.0.0.0/8 # private\n192.0.2.1,2001:db8::/32\n")),
            _ => Err("no such file".to_owned()),
        }
    }
}

fn compile(name: &str, argument: &[u8]) -> Operator {
    Operator::compile(name, argument, &Files).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// For each operator and argument, values that match and values that do not.
type Case = (&'static str, &'static [u8], &'static [&'static [u8]], &'static [&'static [u8]]);

const CASES: &[Case] = &[
    ("beginsWith", b"/api", &[b"/api", b"/api/x"], &[b"", b"/ap", b"x/api", b"/API"]),
    ("beginsWith", b"", &[b"", b"x"], &[]),
    ("contains", b"..", &[b"a..b", b".."], &[b"", b". ."]),
    ("contains", b"", &[b"", b"x"], &[]),
    ("strmatch", b"WebZIP", &[b"x WebZIP y"], &[b"webzip"]),
    ("containsWord", b"or", &[b"or", b"1 or 1", b"1or2", b"for or"], &[b"for", b"ore", b"", b"forord"]),
    ("containsWord", b"", &[b"", b"x"], &[]),
    ("endsWith", b".php", &[b".php", b"x.php"], &[b"x.php ", b"php", b""]),
    ("streq", b"GET", &[b"GET"], &[b"get", b"GET ", b""]),
    ("within", b"GET,POST", &[b"GET", b"POST", b"T,P", b""], &[b"PUT", b"GET,POST,"]),
    ("eq", b"5", &[b"5", b" 5", b"+5", b"5x"], &[b"-5", b"", b"x5", b"55"]),
    ("eq", b"0", &[b"0", b"", b"x", b"99999999999"], &[b"1"]),
    ("ge", b"5", &[b"5", b"6", b"99999999999999999999"], &[b"4", b"x", b"-6"]),
    ("gt", b"5", &[b"6"], &[b"5", b""]),
    ("le", b"5", &[b"5", b"", b"-99999999999999999999"], &[b"6"]),
    ("lt", b"1", &[b"0", b"", b"-1"], &[b"1", b"2"]),
    (
        "ipMatch",
        b"127.0.0.1, 10.0.0.0/8,::1,2001:db8::/33",
        &[b"127.0.0.1", b"10.255.0.1", b"::1", b"2001:db8:7fff::1", b"0:0::1"],
        &[b"127.0.0.2", b"11.0.0.1", b"2001:db8:8000::1", b"", b"x", b"10.0.0", b"10.0.0.1/8"],
    ),
    ("ipMatch", b"0.0.0.0/0", &[b"1.2.3.4"], &[b"::1"]),
    ("ipMatchFromFile", b"networks.txt", &[b"10.1.1.1", b"192.0.2.1", b"2001:db8::9"], &[b"192.0.2.2"]),
    ("ipMatchF", b"networks.txt", &[b"10.1.1.1"], &[]),
    ("noMatch", b"", &[], &[b"", b"x"]),
    ("unconditionalMatch", b"", &[b"", b"x"], &[]),
    ("pm", b"WebZIP WebCopier |41 42|", &[b"xwebzipx", b"WEBCOPIER"], &[b"web", b""]),
    ("pm", b"\"a|4243|d e\\;f\"", &[b"xABCDx", b"e;f"], &[b"a|4243|d", b"\""]),
    ("pm", b"b\\q |zz|", &[b"b\\q", b"|zz|"], &[b"bq", b"zz"]),
    ("pm", b"", &[], &[b"", b"x"]),
    ("pmFromFile", b"words.data", &[b"x SELECT FROM y", b"/.GIT/"], &[b"select", b"from", b"# words", b""]),
    ("pmf", b" words.data ", &[b".git/"], &[]),
    ("validateByteRange", b"10,13,32-126", &[b"\0", b"a\x80", b"\x7f"], &[b"", b"abc\r\n", b" ~"]),
    ("validateByteRange", b" 1 - 255 ", &[b"\0"], &[b"\x01\xff"]),
    ("validateUrlEncoding", b"", &[b"%", b"a%4", b"%zz", b"%41%"], &[b"", b"a", b"%41%fF"]),
    (
        "validateUtf8Encoding",
        b"",
        &[b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"],
        &[b"", b"a", b"\xc3\xa9", b"\xe2\x82\xac", b"\xf0\x9f\x98\x80"],
    ),
    (
        "verifyCC",
        br"\d{16}",
        &[b"5484605089158216", b"no. 05484605089158216", b"4111111111111111"],
        &[b"5484605089158217", b"1234", b""],
    ),
    ("verifyCPF", br"([0-9]{3}\.){2}[0-9]{3}-[0-9]{2}", &[b"529.982.247-25"], &[b"529.982.247-26", b"111.111.111-11"]),
    (
        "verifySSN",
        br"\d{3}-?\d{2}-?\d{4}",
        &[b"078-05-1120", b"x 219099999"],
        &[b"666-05-1120", b"000-12-3456", b"987-65-4320", b""],
    ),
    ("verifySVNR", br"[0-9]{4} ?[0-9]{6}", &[b"1237 010180"], &[b"1238 010180", b"1111 111111"]),
    ("detectSQLi", b"", &[b"1' or '1'='1", b"1 union select 1"], &[b"hello world", b""]),
    ("detectXSS", b"", &[b"<script>alert(1)", b"x onerror=alert(1)"], &[b"1 < 2", b"a=b", b""]),
];

#[test]
fn matches() {
    let mut wrong = Vec::new();
    for (name, argument, matching, other) in CASES {
        let operator = compile(name, argument);
        for (values, expected) in [(matching, true), (other, false)] {
            for value in *values {
                let direct = evaluate(operator.kind(), argument, value);
                if operator.matches(value, None) != expected
                    || operator.matches(value, Some(&mut Captures::new())) != expected
                    || direct.is_some_and(|direct| direct != expected)
                {
                    wrong.push(format!("@{name} {} on {}", argument.escape_ascii(), value.escape_ascii()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn knows_every_operator_by_name() {
    for &kind in Kind::ALL {
        assert_eq!(Kind::from_name(&kind.name().to_uppercase()), Some(kind));
        let is_covered = CASES.iter().any(|(name, ..)| Kind::from_name(name) == Some(kind));
        assert!(is_covered || kind.refusal().is_some() || matches!(kind, Kind::Rx | Kind::RxGlobal), "{}", kind.name());
    }
    assert_eq!(
        Operator::compile("matches", b"", &NoFiles).expect_err("no such operator").to_string(),
        "there is no operator @matches"
    );
}

#[test]
fn refuses_with_a_reason() {
    for &kind in Kind::ALL.iter().filter(|kind| kind.refusal().is_some()) {
        let error = Operator::compile(kind.name(), b"x", &NoFiles).expect_err("it is refused");
        assert!(matches!(error, OperatorError::Refused { .. }), "{error}");
    }
    let check = |name: &str, argument: &[u8], expected: &str| {
        let error = Operator::compile(name, argument, &Files).expect_err(expected).to_string();
        assert_eq!(error, expected);
    };
    check("pmFromFile", b"other.data", "the file other.data of @pmFromFile: no such file");
    check("pmFromFile", b"https://example.com/x", "the argument of @pmFromFile: files are read from disk, not fetched");
    check("ipMatch", b"10.0.0.0/33", "the argument of @ipMatch: `10.0.0.0/33` is neither an address nor a network");
    check("ipMatch", b"10.0.0", "the argument of @ipMatch: `10.0.0` is neither an address nor a network");
    check(
        "validateByteRange",
        b"1-256",
        "the argument of @validateByteRange: `1-256` is not a byte from 0 to 255 or a range of them",
    );
    check(
        "validateByteRange",
        b"9-1",
        "the argument of @validateByteRange: `9-1` is not a byte from 0 to 255 or a range of them",
    );
}

#[test]
fn captures() {
    let check = |name: &str, argument: &[u8], value: &[u8], expected: &[(usize, &[u8])]| {
        let mut captures = Captures::new();
        captures.set_text(b"of before");
        assert!(compile(name, argument).matches(value, Some(&mut captures)), "@{name}");
        let found: Vec<(usize, &[u8])> = captures.iter(value).collect();
        assert_eq!(found, expected, "@{name} {}", argument.escape_ascii());
    };
    check("rx", br"(a)(x)?(b)", b"_ab", &[(0, b"ab"), (1, b"a"), (3, b"b")]);
    check(
        "rx",
        br"(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)(.)",
        b"abcdefghijk",
        &[
            (0, b"abcdefghijk"),
            (1, b"a"),
            (2, b"b"),
            (3, b"c"),
            (4, b"d"),
            (5, b"e"),
            (6, b"f"),
            (7, b"g"),
            (8, b"h"),
            (9, b"i"),
        ],
    );
    check("rx", br"(\w)\1(?=c)", b"xaabbc", &[(0, b"bb"), (1, b"b")]);
    check("rx", b"", b"x", &[]);
    check("rxGlobal", br"(\d)x?", b"1x 2 3x", &[(0, b"1x"), (1, b"1"), (2, b"2"), (3, b"2"), (4, b"3x"), (5, b"3")]);
    check("rxGlobal", br"(\d)(?=x)", b"1x 2 3x", &[(0, b"1"), (1, b"1"), (2, b"3"), (3, b"3")]);
    check("pm", b"Union Select", b"1 uNION select", &[(0, b"Union")]);
    check("detectSQLi", b"", b"1' or '1'='1", &[(0, b"s&sos")]);
    check("detectXSS", b"", b"<svg/onload=x>", &[(0, b"<svg/onload=x>")]);
    check("verifyCC", br"\d{16}", b"no 4111111111111111.", &[(0, b"4111111111111111")]);
    check("streq", b"x", b"x", &[]);
}

#[test]
fn keeps_expressions_with_macros() {
    let cache = RxCache::new();
    let mut captures = Captures::new();
    assert_eq!(cache.matches(b"^(utf)-8$", b"utf-8", Some(&mut captures)), Ok(true));
    assert_eq!(captures.get(1, b"utf-8"), Some(&b"utf"[..]));
    for number in 0..200 {
        let pattern = format!("^{number}$").into_bytes();
        assert_eq!(cache.matches(&pattern, number.to_string().as_bytes(), None), Ok(true));
        assert_eq!(cache.matches(b"^utf-8$", b"utf-16", None), Ok(false));
    }
    assert!(cache.matches(b"(", b"", None).is_err());
}

#[test]
fn stops_what_backtracks_too_long() {
    // Twenty-five nested choices for each of thirty letters, and a look-ahead that keeps the expression from the linear engine.
    let operator = compile("rx", br"^(?=a)(?:a|a?)+\1?(x)$(?!y)");
    let value = [&[b'a'; 400][..], b"!"].concat();
    let result = operator.try_matches(&value, None);
    assert!(matches!(result, Err(_) | Ok(false)), "{result:?}");
    assert!(!operator.matches(&value, None));
    const { assert!(RX_BACKTRACK_MAX <= 1_000_000) };
}

#[test]
fn takes_linear_time() {
    // The expression of 2 July 2019, and what brings most engines down.
    for pattern in [
        br#"(?:(?:"|'|\]|\}|\\|\d|(?:nan|infinity|true|false|null|undefined|symbol|math)|`|-|\+)+[)]*;?((?:\s|-|~|!|\{\}|\|\||\+)*.*(?:.*=.*)))"#.as_slice(),
        br"^(a+)+$",
        br"(x+x+)+y",
        br"^(([a-z])+.)+[A-Z]([a-z])+$",
    ] {
        let operator = compile("rx", pattern);
        let value = [b"x".repeat(20_000), b"a".repeat(20_000)].concat();
        assert!(!operator.matches(&value, None));
    }
}
