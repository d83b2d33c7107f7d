//! Texts that attack the parser, and values that attack the evaluation.

use crate::limits::*;
use crate::testing::{Chance, expression, filter};
use crate::{Code, Expression, Field, FieldMap, Phase, ValueExpression};

fn refused(text: &str) -> Code {
    let error = Expression::parse(text).expect_err("a refusal");
    assert!(error.render(text).len() < 10_000);
    error.code
}

#[test]
fn limits_hold() {
    let nested = |open: &str, close: &str, depth: usize| format!("{}ssl{}", open.repeat(depth), close.repeat(depth));
    assert!(Expression::parse(&nested("(", ")", NESTING_MAX)).is_ok());
    assert_eq!(refused(&nested("(", ")", NESTING_MAX + 1)), Code::TooLarge);
    assert_eq!(refused(&nested("(", "", EXPRESSION_BYTES_MAX - 3)), Code::TooLarge);
    assert_eq!(refused(&nested("not ", "", NESTING_MAX + 1)), Code::TooLarge);
    assert_eq!(refused(&nested("!", "", 60_000)), Code::TooLarge);
    assert_eq!(refused(&format!("{}http.host", "lower(".repeat(10_000))), Code::TooLarge);
    assert_eq!(refused(&format!("{}ssl", "any(".repeat(10_000))), Code::TooLarge);
    assert_eq!(refused(&" ".repeat(EXPRESSION_BYTES_MAX + 1)), Code::TooLarge);
    assert_eq!(refused(&["ssl"; NODES_MAX].join("||")), Code::TooLarge);
    assert!(Expression::parse(&["ssl"; NODES_MAX / 2].join("||")).is_ok());
    assert_eq!(refused(&format!("ip.src.asnum in {{{}}}", "1 ".repeat(SET_ITEMS_MAX + 1))), Code::TooLarge);
    assert_eq!(refused(&format!("concat({}) eq \"a\"", ["http.host"; ARGUMENTS_MAX + 1].join(","))), Code::TooLarge);
    assert_eq!(refused(&format!("http.request.headers{} eq \"a\"", "[*]".repeat(INDEXES_MAX + 1))), Code::BadIndex);
    assert_eq!(refused(&[r#"http.host matches "a""#; REGEXES_MAX + 1].join(" or ")), Code::TooLarge);
    assert_eq!(refused(&format!("http.host matches \"{}a{}\"", "(".repeat(1000), ")".repeat(1000))), Code::BadRegex);
    assert_eq!(refused(r#"http.host matches "((a{100}){100}){100}""#), Code::BadRegex);
    assert_eq!(refused(r#"http.host matches "(?u)\w{9000}""#), Code::BadRegex);
    let hashes = "#".repeat(255);
    assert!(Expression::parse(&format!("http.host eq r{hashes}\"a\"{hashes}")).is_ok());
    assert_eq!(refused(&format!("http.host eq r#{hashes}\"a\"#{hashes}")), Code::BadString);
}

/// Every prefix of a text, and every text with a byte changed, is read or refused; spans lie in the text.
#[test]
fn broken_texts() {
    const SIGNS: &[u8] = b"\"\\(){}[]*$#,.:/x0 \n\xc3\xa4";
    let mut chance = Chance::new(7);
    let judge = |text: &str| {
        if let Err(error) = Expression::parse(text) {
            assert!(text.get(error.span.clone()).is_some(), "{text}: {error:?}");
            let _ = error.render(text);
        }
        if let Err(error) = ValueExpression::parse(text, Phase::Response) {
            assert!(text.get(error.span.clone()).is_some(), "{text}: {error:?}");
            let _ = error.render(text);
        }
    };
    for _ in 0..20 {
        let text = expression(&mut chance, 3);
        for end in 0..text.len() {
            judge(text.get(..end).unwrap_or_default());
        }
        for _ in 0..40 {
            let mut bytes = text.clone().into_bytes();
            let at = chance.below(bytes.len());
            bytes[at] = SIGNS[chance.below(SIGNS.len())];
            judge(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// The expression of 2 July 2019, and its kind: a backtracker would need years for these.
#[test]
fn catastrophic_regexes_are_linear() {
    let value = "x=".repeat(8 << 10);
    let fields = FieldMap::new().text(Field::HttpRequestBodyRaw, &value).text(Field::HttpHost, "x".repeat(16 << 10));
    for pattern in [
        r#".*.*=.*[;]"#,
        r#"(?:(?:\"|'|\]|\}|\\|\d|(?:nan|infinity|true|false|null|undefined|symbol|math)|\`|\-|\+)+[)]*;?((?:\s|-|~|!|\{\}|\|\||\+)*.*(?:.*=.*)))[;]"#,
        r#"^(x+)+$"#,
        r#"^(x|x=?)*y$"#,
        r#"(=|==|===)*z"#,
    ] {
        let text = format!("http.request.body.raw matches r##\"{pattern}\"##");
        assert!(!filter(&text).matches(&fields), "{pattern}");
    }
    assert!(filter(r#"http.host matches "^(x+x+)+$""#).matches(&fields));
}

/// Wildcards and literals that nearly match, many times over.
#[test]
fn near_matches_are_linear() {
    let fields = FieldMap::new().text(Field::HttpRequestBodyRaw, "aA".repeat(256 << 10));
    let stars = format!("*{}b*", "a*".repeat(WILDCARD_STARS_MAX - 2));
    for text in [
        format!("http.request.body.raw wildcard \"{stars}\""),
        format!("http.request.body.raw wildcard \"*{}b*\"", "a".repeat(2000)),
        format!("http.request.body.raw contains \"{}b\"", "aA".repeat(1000)),
        format!("url_decode(http.request.body.raw, \"ur\") contains \"{}b\"", "aA".repeat(1000)),
    ] {
        assert!(!filter(&text).matches(&fields), "{text}");
    }
}

/// Bytes of every kind in every value.
#[test]
fn values_of_any_bytes() {
    let bytes: Vec<u8> = (0..=255).collect();
    let mut chance = Chance::new(3);
    for _ in 0..100 {
        let start = chance.below(200);
        let piece = &bytes[start..start + chance.below(56)];
        let fields = FieldMap::new()
            .text(Field::HttpHost, piece)
            .text(Field::HttpRequestUriPath, piece)
            .text(Field::HttpUserAgent, piece)
            .map(Field::HttpRequestHeaders, [(piece, piece), (b"a", piece)])
            .texts(Field::HttpRequestHeadersNames, [piece, piece]);
        let text = expression(&mut chance, 3);
        let filter = filter(&text);
        assert_eq!(filter.matches(&fields), filter.explain(&fields)[0].value.to_string() == "true", "{text}");
        let _ = filter.explain_text(&fields, &text);
    }
}
