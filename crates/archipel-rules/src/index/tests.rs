use super::*;
use crate::field_map::FieldMap;
use crate::testing::{Chance, expression, filter, request};

fn by_loop(filters: &[Filter], fields: &dyn Fields) -> Vec<usize> {
    (0..filters.len()).filter(|rule| filters[*rule].matches(fields)).collect()
}

/// The property on which everything rests, over random sets of rules and requests.
#[test]
fn the_index_finds_what_a_loop_finds() {
    let mut matched = 0;
    for seed in 0..60 {
        let mut chance = Chance::new(seed);
        let count = 1 + chance.below(150);
        let texts: Vec<String> = (0..count).map(|_| expression(&mut chance, 3)).collect();
        let filters: Vec<Filter> = texts.iter().map(|text| filter(text)).collect();
        let index = RuleIndex::new(filters.clone());
        for _ in 0..20 {
            let request = request(&mut chance);
            let expected = by_loop(&filters, &request);
            let found: Vec<usize> = index.matches(&request).collect();
            matched += found.len();
            let lost = expected.iter().find(|rule| !found.contains(rule));
            assert_eq!(found, expected, "seed {seed}, {:?}, {request:?}", lost.map(|rule| &texts[*rule]));
        }
    }
    assert!(matched > 10_000, "the rules hardly ever match: {matched}");
}

#[test]
fn what_has_a_condition_is_left_out() {
    // Expressions from which a condition follows that this request does not meet.
    let texts = [
        r#"http.host eq "a.com""#,
        r#"http.host in {"a.com" "b.com"} and not ssl"#,
        r#"http.request.uri.path contains "/admin""#,
        r#"starts_with(http.request.uri.path, "/admin")"#,
        r#"ends_with(lower(http.request.uri.path), ".php")"#,
        r#"http.request.uri.path wildcard "/wp-*/admin""#,
        r#"http.request.uri.path matches "(?i)\.(php|asp)x?$""#,
        r#"http.request.uri.path matches "^/a+bc""#,
        r#"lower(http.host) eq "a.com" or http.host wildcard "A.org""#,
        r#"ip.src in {192.0.2.0/24 2001:db8::/32}"#,
        "ip.src eq 192.0.2.1",
        "ip.src.asnum eq 1",
        "ip.src.asnum in {5 7..9}",
        "cf.bot_management.score lt 30",
        r#"any(http.request.headers["x-bad"][*] contains "evil")"#,
        r#"http.request.headers["x-bad"][0] eq "evil""#,
        r#"has_key(http.request.headers, "x-bad")"#,
        r#"has_value(http.request.headers.names, "X-Bad")"#,
        r#"any(lower(http.request.headers.names[*])[*] eq "x-bad")"#,
        r#"ip.src.country eq "XX" and http.request.method eq "GET""#,
    ];
    let index = RuleIndex::new(texts.iter().map(|text| filter(text)));
    assert_eq!(index.unconditional(), 0);
    let fields = FieldMap::new()
        .text(Field::HttpHost, "example.com")
        .text(Field::HttpRequestUriPath, "/index.html")
        .text(Field::HttpRequestMethod, "GET")
        .map(Field::HttpRequestHeaders, [("accept", "*/*")])
        .texts(Field::HttpRequestHeadersNames, ["Accept"])
        .address(Field::IpSrc, "198.51.100.1".parse().expect("an address"));
    let candidates: Vec<&str> =
        (0..texts.len()).filter(|rule| index.candidates(&fields)[0] >> rule & 1 == 1).map(|rule| texts[rule]).collect();
    assert_eq!(candidates, [""; 0]);
    assert_eq!(index.matches(&fields).count(), 0);
}

#[test]
fn what_has_none_is_evaluated() {
    let texts = [
        "ssl",
        "not ssl",
        r#"http.host ne "a""#,
        r#"all(http.request.headers["a"][*] eq "b")"#,
        r#"http.host matches ".*""#,
        r#"http.host wildcard "*""#,
        "len(http.host) gt 3",
    ];
    let index = RuleIndex::new(texts.iter().map(|text| filter(text)));
    assert_eq!(index.unconditional(), texts.len());
}

#[test]
fn in_order_and_from_any_place() {
    let texts: Vec<String> = (0..200).map(|n| format!("cf.edge.server_port eq {}", n % 2)).collect();
    let index = RuleIndex::new(texts.iter().map(|text| filter(text)));
    let fields = FieldMap::new().int(Field::CfEdgeServerPort, 1);
    assert!(index.matches(&fields).eq((1..200).step_by(2)));
    assert_eq!(index.first_from(0, &fields), Some(1));
    assert_eq!(index.first_from(63, &fields), Some(63));
    assert_eq!(index.first_from(64, &fields), Some(65));
    assert_eq!(index.first_from(130, &fields), Some(131));
    assert_eq!(index.first_from(199, &fields), Some(199));
    assert_eq!(index.first_from(200, &fields), None);
    assert_eq!(index.first_from(usize::MAX, &fields), None);
    assert_eq!(RuleIndex::new([]).first_from(0, &fields), None);
}

/// Ranges that overlap much would need a table that grows with the square of their number.
#[test]
fn tables_have_a_bound() {
    let texts: Vec<String> = (0..3000).map(|n| format!("cf.edge.server_port in {{{n}..{}}}", n + 50_000)).collect();
    let index = RuleIndex::new(texts.iter().map(|text| filter(text)));
    assert_eq!(index.unconditional(), 3000);
    let fields = FieldMap::new().int(Field::CfEdgeServerPort, 10);
    assert_eq!(index.matches(&fields).count(), 11);
}

/// A map of which more keys are spoken of than a request has.
#[test]
fn many_keys() {
    let texts: Vec<String> = (0..100).map(|n| format!("http.request.headers[\"x-{n}\"][0] eq \"{n}\"")).collect();
    let index = RuleIndex::new(texts.iter().map(|text| filter(text)));
    let fields =
        FieldMap::new().map(Field::HttpRequestHeaders, [("x-7", "7"), ("x-8", "7"), ("y", "1"), ("x-99", "99")]);
    assert!(index.matches(&fields).eq([7, 99]));
}

#[test]
fn required_literals() {
    let required = |pattern: &str| {
        literals::required(pattern).map(|required| {
            required.literals.into_iter().map(|literal| String::from_utf8(literal).expect("text")).collect::<Vec<_>>()
        })
    };
    for (pattern, expected) in [
        ("abc", Some(vec!["abc"])),
        ("^/wp-(admin|login)", Some(vec!["admin", "login"])),
        ("(?i)Select.*FROM", Some(vec!["select"])),
        ("a?b+c", Some(vec!["b"])),
        ("(abc)+", Some(vec!["abc"])),
        ("(abc)*", None),
        ("a|", None),
        (".*", None),
        ("[ab]c", Some(vec!["c"])),
        ("[aA]bc", Some(vec!["abc"])),
        (r"\bfoo\b", Some(vec!["foo"])),
        (r"\.php$", Some(vec![".php"])),
        ("(?u)(?i)k", None),
        ("(", None),
        ("^/wp-[0-9]+/admin", Some(vec!["/admin"])),
        ("^/wordpress-[0-9]+/admin", Some(vec!["/wordpress-"])),
        ("(?i)^GET", Some(vec!["get"])),
        ("(?m)^abc", Some(vec!["abc"])),
    ] {
        let expected = expected.map(|expected| expected.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let found = required(pattern);
        // Which run of equal length is chosen, and how an alternation is factored, is the engine's affair.
        assert_eq!(found.is_some(), expected.is_some(), "{pattern}: {found:?}");
        if let (Some(found), Some(expected)) = (found, expected)
            && expected.len() == 1
        {
            assert_eq!(found, expected, "{pattern}");
        }
    }
}

#[test]
fn starts_of_regexes() {
    for (pattern, start) in
        [("^abc", true), ("(?i)^abc.*", true), ("(?m)^abc", false), ("abc", false), ("^ab.*cdef", false)]
    {
        assert_eq!(literals::required(pattern).expect(pattern).start, start, "{pattern}");
    }
}
