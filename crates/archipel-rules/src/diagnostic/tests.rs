use super::*;
use crate::{Expression, Filter, IntSet, List, ListItems, Lists, Phase, ValueExpression};

/// What is wrong with a text, as `code place message / help`, the place being the text under the carets.
fn told(text: &str) -> String {
    let error = match Expression::parse(text) {
        Err(error) => error,
        Ok(expression) => {
            let mut lists = Lists::new();
            lists.insert("numbers", std::sync::Arc::new(List::new(ListItems::Ints(IntSet::default()))));
            Filter::compile(&expression, &lists).expect_err(text)
        }
    };
    let help = error.help.as_deref().map_or(String::new(), |help| format!(" / {help}"));
    format!("{} `{}` {}{help}", error.code, &text[error.span.clone()], error.message)
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        let told = told(text);
        assert!(told.starts_with(expected), "{text}\n  told:     {told}\n  expected: {expected}");
    }
}

#[test]
fn names() {
    check(&[
        (r#"http.hots eq "a""#, "R010 `http.hots` there is no field `http.hots` / did you mean `http.host`?"),
        (r#"HTTP.HOST eq "a""#, "R010 `HTTP.HOST` there is no field `HTTP.HOST` / did you mean `http.host`?"),
        (
            r#"ip.geoip.contry eq "a""#,
            "R010 `ip.geoip.contry` there is no field `ip.geoip.contry` / did you mean `ip.geoip.country`?",
        ),
        (r#"nothing.like.it eq "a""#, "R010 `nothing.like.it` there is no field `nothing.like.it`"),
        (r#"lowercase(http.host) eq "a""#, "R011 `lowercase` there is no function `lowercase()`"),
        (r#"lowr(http.host) eq "a""#, "R011 `lowr` there is no function `lowr()` / did you mean `lower`?"),
        (r#"http.host("a")"#, "R011 `http.host` `http.host` is a field, not a function"),
        (r#"lower eq "a""#, "R001 `lower` `lower` is a function: its arguments stand in parentheses"),
        ("ip.src.asnum in $number", "R012 `$number` there is no list `$number` / did you mean `$numbers`?"),
        (
            "ip.src in $numbers",
            "R021 `$numbers` the list `$numbers` is compared with values of type Integer, this is IP address",
        ),
        ("ip.src in $Numbers", "R001 `$` expected the name of a list"),
        (
            "bit_slice(ip.src, 1, 2) eq 1",
            "R045 `bit_slice(ip.src, 1, 2)` `bit_slice()` is not supported / Bits of a packet's header.",
        ),
        (r#"is_jwt_valid("a")"#, "R045 `is_jwt_valid(\"a\")` `is_jwt_valid()` is not supported"),
    ]);
}

#[test]
fn operators() {
    check(&[
        (r#"http.host = "a""#, "R013 `=` there is no operator `=` / to compare, write `eq` or `==`"),
        (r#"http.host EQ "a""#, "R013 `EQ` there is no operator `EQ` / operators are written in small letters: `eq`"),
        (r#"http.host containz "a""#, "R013 `containz` there is no operator `containz` / did you mean `contains`?"),
        (r#"http.host starts_with "a""#, "R013 `starts_with` there is no operator `starts_with` / it is a function"),
        (
            r#"ssl AND ssl"#,
            "R013 `AND` expected an operator or the end of the expression / operators are written in small letters: `and`",
        ),
        ("ssl & ssl", "R013 `&` expected an operator or the end of the expression / write `and` or `&&`"),
        ("ssl ssl", "R001 `ssl` expected an operator or the end of the expression"),
        ("(ssl ssl)", "R001 `ssl` expected an operator or `)`"),
        ("http.host", "R001 `` expected a comparison operator / for a String: eq ne"),
        ("http.host and ssl", "R001 `and` expected a comparison operator"),
        ("ssl eq true", "R020 `eq` `eq` cannot be used with a value of type Boolean / a Boolean stands alone"),
        ("ip.src lt 1.1.1.1", "R020 `lt` `lt` cannot be used with a value of type IP address / addresses have"),
        (r#"ip.src.asnum contains "1""#, "R020 `contains` `contains` cannot be used with a value of type Integer"),
        (
            r#"http.request.headers eq "a""#,
            "R020 `eq` `eq` cannot be used with a value of type Map<Array<String>> / a map is compared by key",
        ),
        (
            r#"http.request.headers["a"] eq "a""#,
            "R020 `eq` `eq` cannot be used with a value of type Array<String> / an array is compared by element",
        ),
        ("http.request.headers.names", "R001 `` expected a comparison operator / an array is compared by element"),
        ("", "R002 `` the expression is empty"),
        (" \n", "R002 `` the expression is empty"),
        ("ssl and", "R001 `` the expression ends where a field or a function is expected"),
        ("not", "R001 `` the expression ends where"),
        ("(ssl", "R001 `(` this parenthesis is never closed"),
        ("ssl)", "R001 `)` this parenthesis was never opened"),
        (r#""a" eq http.host"#, "R001 `\"` expected a field or a function / the field stands on the left"),
        ("$list", "R001 `$` expected a field or a function / lists stand behind `in`"),
    ]);
}

#[test]
fn literals() {
    check(&[
        (r#"http.host eq "a"#, "R030 `\"` this string does not end"),
        (r#"http.host eq "a\q""#, r#"R030 `\q` there is no such escape"#),
        (r#"http.host eq "a\xg1""#, r#"R030 `\x` there is no such escape"#),
        (r#"http.host eq "\400""#, r#"R030 `\4` there is no such escape"#),
        (r#"http.host eq "\x"#, "R030"),
        (r#"http.host eq "\xé""#, "R030"),
        (r##"http.host eq r#"a""##, "R030 `r` this string does not end"),
        ("http.host eq r#a", "R030 `r` a raw string begins with"),
        ("http.host eq a", "R001 `a` expected a string / strings stand in quotes"),
        ("http.host eq 'a'", "R001 `'` expected a string"),
        (r#"http.host matches "(a""#, r#"R034 `"(a"` the regular expression is wrong: unclosed group"#),
        (r#"http.host matches "a{1000}{1000}""#, "R034"),
        (r#"http.host matches "(?=a)""#, "R034"),
        (r#"http.host wildcard "a**""#, r#"R035 `"a**"` two stars in a row"#),
        ("ip.src.asnum eq 09", "R031 `09` this is no octal number"),
        ("ip.src.asnum eq 9223372036854775808", "R031 `9223372036854775808` this is no number of 64 bits"),
        ("ip.src.asnum eq 12abc", "R031 `12abc` this is no number"),
        ("ip.src.asnum eq 1.5", "R001 `.5` expected an operator"),
        (r#"ip.src.asnum eq "1""#, "R021 `\"` a number stands without quotes"),
        ("ip.src.asnum eq x", "R001 `x` expected a number"),
        ("ip.src eq 1.2.3", "R032 `1.2.3` this is no IP address"),
        (
            "ip.src eq 10.0.0.0/8",
            "R032 `10.0.0.0/8` this is no IP address / for a range of addresses, write `in {10.0.0.0/8}`",
        ),
        (r#"ip.src eq "1.2.3.4""#, "R001 `\"` an address stands without quotes"),
        (
            "ip.src in {10.0.0.1/8}",
            "R032 `10.0.0.1/8` bits beyond the prefix are set / write the network's first address",
        ),
        ("ip.src in {10.0.0.2..10.0.0.1}", "R033 `10.0.0.2..10.0.0.1` the range ends before it begins"),
        ("ip.src in 10.0.0.0/8", "R001 `10.0.0.0` expected a set or a list / sets are written {192.0.2.0/24"),
        ("ip.src.asnum in {3..1}", "R033 `3..1` the range ends before it begins"),
        ("ip.src.asnum in {1, 2}", "R001 `,` elements of a set are separated by spaces"),
        ("ip.src.asnum in {1 2", "R001 `{` this set is never closed"),
        ("ip.src.asnum in {}", "R002 `{}` this set is empty"),
        (r#"http.host in {"a" 1}"#, "R001 `1` expected a string"),
    ]);
}

#[test]
fn arrays() {
    check(&[
        (
            r#"http.request.headers.names[*] eq "a""#,
            "R023 `http.request.headers.names[*] eq \"a\"` this is a comparison for each element",
        ),
        (
            r#"any(http.request.headers.names eq "a")"#,
            "R020 `eq` `eq` cannot be used with a value of type Array<String>",
        ),
        (r#"any(http.host eq "a")"#, "R021 `http.host eq \"a\"` `any()` needs an array of Booleans"),
        (r#"any(http.request.headers.names[*] eq "a" and ssl)"#, "R023"),
        (
            r#"any(http.request.headers.names[*] eq "a" and http.request.uri.args.names[*] eq "a")"#,
            "R024 `http.request.headers.names[*] eq \"a\" and http.request.uri.args.names[*] eq \"a\"` comparisons for each",
        ),
        (r#"http.host[0] eq "a""#, "R022 `[0]` a value of type String cannot be indexed"),
        (
            r#"http.request.headers[0] eq "a""#,
            "R022 `[0]` a Map<Array<String>> has keys, not positions / keys stand in quotes",
        ),
        (r#"http.request.headers.names["a"] eq "a""#, "R022 `[\"a\"]` an Array<String> has positions, not keys"),
        (r#"http.request.headers.names[-1] eq "a""#, "R022 `-1` positions count from 0"),
        (r#"http.request.headers.names[a] eq "a""#, "R001 `a` expected a number, a key in quotes or `*`"),
        (r#"http.request.headers.names[0 eq "a""#, "R001 `eq` expected `]`"),
        (
            r#"ends_with(http.host, http.request.headers.names[*])"#,
            "R023 `http.request.headers.names[*]` `[*]` can only be used in the first",
        ),
        (
            r#"lower(http.request.headers.names)[0] eq "a""#,
            "R021 `http.request.headers.names` argument 1 of `lower()` must be of type String, this is Array<String> / for each element, put `[*]` behind it",
        ),
        (r#"len(http.request.headers.names[*] eq "a") eq 1"#, "R023"),
    ]);
}

#[test]
fn calls() {
    check(&[
        ("lower() eq \"a\"", "R040 `lower()` `lower()` takes 1 argument, 0 are given / lower(String): String"),
        ("starts_with(http.host)", "R040 `starts_with(http.host)` `starts_with()` takes 2 arguments, 1 are given"),
        ("lower(http.host eq \"a\"", "R001 `lower` the call of `lower()` is never closed"),
        ("lower(http.host; 1)", "R001 `;` expected `,` or `)`"),
        ("starts_with(\"a\", \"a\")", "R041 `\"a\"` argument 1 of `starts_with()` must be a field, not a literal"),
        ("starts_with(http.host, 1)", "R021 `1` argument 2 of `starts_with()` must be of type String, this is Integer"),
        ("len(ssl) eq 1", "R021 `ssl` argument 1 of `len()` must be a String or an Array, this is Boolean"),
        ("cidr(ip.src, 33, 1) eq 1.1.1.1", "R041 `33` this must be a number from 1 to 32"),
        ("cidr(ip.src, 0, 1) eq 1.1.1.1", "R041 `0` this must be a number from 1 to 32"),
        ("cidr6(ip.src, 129) eq 1.1.1.1", "R041 `129` this must be a number from 1 to 128"),
        ("cidr(1.1.1.1, ip.src.asnum, 3) eq 1.1.1.1", "R041 `ip.src.asnum` argument 2 of `cidr()` must be a literal"),
        (r#"url_decode(http.host, "x") eq "a""#, r#"R041 `"x"` unknown flag `x`: there is `r` and `u`"#),
        (r#"split(http.host, "", 3)[0] eq "a""#, r#"R041 `""` the separator must not be empty"#),
        (r#"split(http.host, ",", 129)[0] eq "a""#, "R041 `129` this must be a number from 1 to 128"),
        (r#"split(http.host, ",")[0] eq "a""#, "R040"),
        ("to_string(ssl) eq \"a\"", "R042 `to_string(ssl)` `to_string()` can only be used where a value is made"),
        (r#"regex_replace(http.host, "a", "b") eq "a""#, "R042"),
        ("uuidv4(cf.random_seed) eq \"a\"", "R042"),
        ("has_value(http.request.headers.names, 123)", "R021 `123` argument 2 of `has_value()` must be of type String"),
        ("has_value(cf.bot_management.detection_ids, \"Foo\")", "R021 `\"Foo\"` argument 2"),
        ("has_value(http.request.headers, \"a\")", "R021 `http.request.headers` argument 1"),
        (
            "has_key(http.request.headers.names, \"a\")",
            "R021 `http.request.headers.names` argument 1 of `has_key()` must be a Map",
        ),
        ("lookup_json_string(http.request.body.raw, -1) eq \"a\"", "R041 `-1` positions count from 0"),
        (
            "concat(http.host, ip.src.asnum) eq \"a\"",
            "R021 `ip.src.asnum` argument 2 of `concat()` must be of type String",
        ),
        (
            "is_timed_hmac_valid_v0(http.host, http.request.uri, 1, http.request.timestamp.sec)",
            "R041 `http.host` argument 1",
        ),
        (
            "is_timed_hmac_valid_v0(\"k\", http.request.uri, 1, http.request.timestamp.sec, 0, \"x\")",
            "R041 `\"x\"` unknown flag",
        ),
        (
            "http.response.code eq 200",
            "R044 `http.response.code` `http.response.code` has no value before there is a response",
        ),
    ]);
    assert!(Expression::parse_in("http.response.code eq 200", Phase::Response).is_ok());
}

#[test]
fn values() {
    for (text, expected) in [
        (r#"regex_replace(regex_replace(http.host, "a", "b"), "a", "b")"#, "R043"),
        (r#"wildcard_replace(http.host, "*", regex_replace(http.host, "a", "b"))"#, "R041"),
        (r#"concat(wildcard_replace(http.host, "*", "a"), regex_replace(http.host, "a", "b"))"#, "R043"),
        (r#"regex_replace(http.host, "a", "${1}")"#, "R041"),
        (r#"regex_replace(http.host, "a", "$1")"#, "R041"),
        (r#"regex_replace(http.host, "(", "a")"#, "R034"),
        (r#"wildcard_replace(http.host, "a**", "a")"#, "R041"),
        (r#"wildcard_replace("a", "a", "a")"#, "R041"),
        (r#"wildcard_replace(http.host, "*", "${2}")"#, "R041"),
        (r#"remove_query_args(http.host, "a")"#, "R041"),
        ("http.request.headers.names[*]", "R023"),
        ("ip.src.asnum", "R021"),
        ("http.request.headers.names", "R021"),
        (r#"encode_base64("a", "x")"#, "R041"),
    ] {
        let error = ValueExpression::parse_text(text, Phase::Request).expect_err(text);
        assert_eq!(error.code.as_str(), expected, "{text}: {error}");
    }
    for text in
        ["http.host", r#""/a""#, r#"r"/a""#, r#"concat("/a", http.request.uri.path)"#, "http.request.headers[\"a\"][0]"]
    {
        assert!(ValueExpression::parse_text(text, Phase::Request).is_ok(), "{text}");
    }
}

#[test]
fn drawing() {
    let text = "ssl and\n  http.hots eq \"ä\"";
    let error = Expression::parse(text).expect_err(text);
    let expected = "error[R010]: there is no field `http.hots`
 --> 2:3
  |   http.hots eq \"ä\"
  |   ^^^^^^^^^
  = help: did you mean `http.host`?
";
    assert_eq!(error.render(text), expected);
    // Places behind letters of several bytes, at the end of the text, and far to the right.
    let text = "http.host eq \"äöü\" xyz";
    assert!(Expression::parse(text).expect_err(text).render(text).contains("\n  |                    ^^^\n"));
    let text = "ssl and ";
    assert!(Expression::parse(text).expect_err(text).render(text).contains("\n  |         ^\n"));
    let text = format!("{} xyz", ["ssl"; 80].join(" and "));
    let drawn = Expression::parse(&text).expect_err(&text).render(&text);
    assert!(drawn.contains("\n  | ..."), "{drawn}");
    assert!(drawn.lines().all(|line| line.chars().count() < 120), "{drawn}");
}

#[test]
fn codes_are_unique() {
    let codes: std::collections::HashSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(codes.len(), Code::ALL.len());
    assert!(Code::ALL.iter().all(|code| code.summary().ends_with('.')));
}
