use super::*;

const SEED: (u64, u64) = (3, 4);
fn by_language() -> VaryRules {
    VaryRules { select_language: true, ..VaryRules::exact() }
}

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

#[track_caller]
fn check_spec(lines: &[&str], expected: Option<&[&str]>) {
    let lines: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
    let spec = VarySpec::from_headers(&headers(&lines));
    match expected {
        None => assert_eq!(spec, VarySpec::Any, "{lines:?}"),
        Some([]) => assert_eq!(spec, VarySpec::None, "{lines:?}"),
        Some(names) => {
            let found: Vec<_> = spec.fields().iter().map(HeaderName::as_str).collect();
            assert_eq!(found, names, "{lines:?}");
        }
    }
}

#[test]
fn parsing() {
    check_spec(&[], Some(&[]));
    check_spec(&[""], Some(&[]));
    check_spec(&["Foo"], Some(&["foo"]));
    check_spec(&["Foo, bar", "BAR, Baz"], Some(&["bar", "baz", "foo"]));
    for any in [&["*"][..], &["*, *"], &["*", "*"], &[", *"], &["", "*"], &["*, Foo"], &["Foo, *"], &["a b"]] {
        check_spec(any, None);
    }
    let many = (0..40).map(|n| format!("f{n}")).collect::<Vec<_>>().join(",");
    check_spec(&[&many], None);
}

/// Whether a response with this Vary, stored for the first request, answers the second one.
#[track_caller]
fn check(vary: &str, first: &[(&'static str, &str)], second: &[(&'static str, &str)], expected: bool) {
    check_with("", &VaryRules::exact(), vary, first, second, expected);
}

#[track_caller]
fn check_with(
    language: &str,
    rules: &VaryRules,
    vary: &str,
    first: &[(&'static str, &str)],
    second: &[(&'static str, &str)],
    expected: bool,
) {
    let response = headers(&[("vary", vary), ("content-language", language)]);
    let spec = VarySpec::from_headers(&response);
    let (first, second) = (headers(first), headers(second));
    let stored = spec.select(&first, &response, rules);
    assert!(spec.matches(&stored, &first, rules), "a request matches itself");
    assert_eq!(spec.matches(&stored, &second, rules), expected, "{vary}: {first:?} {second:?}");
    assert_eq!(stored.variant_hash(&spec, SEED), spec.variant_hash(&first, rules, SEED));
    if !rules.select_language {
        assert_eq!(spec.variant_hash(&first, rules, SEED) == spec.variant_hash(&second, rules, SEED), expected);
    }
    let kept = stored.values().map(|value| value.map(Box::from)).collect();
    let again = VaryValues::from_parts(kept, stored.content_language().map(Box::from));
    assert_eq!(again, stored);
}

#[test]
fn exact_matching() {
    check("Foo", &[("foo", "1")], &[("foo", "1")], true);
    check("Foo", &[("foo", "1"), ("other", "2")], &[("foo", "1"), ("other", "3")], true);
    check("Foo", &[("foo", "1")], &[("foo", "2")], false);
    check("Foo", &[], &[("foo", "1")], false);
    check("Foo", &[("foo", "1")], &[], false);
    check("Foo", &[("foo", "")], &[], false);
    check("Foo", &[], &[], true);
    let three = [("foo", "1"), ("bar", "abc"), ("baz", "789")];
    check("Foo, Bar, Baz", &three, &[("baz", "789"), ("bar", "abc"), ("foo", "1")], true);
    check("Foo, Bar, Baz", &three, &[("foo", "1"), ("baz", "789"), ("bar", "abcde")], false);
    check("Foo, Bar, Baz", &[("foo", "1"), ("baz", "7")], &[("foo", "1"), ("baz", "7")], true);
    check("Foo, Bar", &[("foo", "1")], &[("bar", "1")], false);
    check("", &[("foo", "1")], &[("foo", "2")], true);
}

#[test]
fn lists_are_normalised_and_free_text_is_not() {
    check("Foo", &[("foo", "1, 2")], &[("foo", "1"), ("foo", "2")], true);
    check("Foo", &[("foo", "1,2")], &[("foo", " 1, 2 ")], true);
    check("Foo", &[("foo", "1,2")], &[("foo", "2,1")], false);
    check("Foo", &[("foo", "\"1, 2\"")], &[("foo", "\"1,2\"")], false);
    check("User-Agent", &[("user-agent", "a (b, c)")], &[("user-agent", "a (b,c)")], false);
    check("Cookie", &[("cookie", "a=1")], &[("cookie", "a=2")], false);
    check("Cookie", &[("cookie", "a=1; b=2")], &[("cookie", "a=1"), ("cookie", "b=2")], true);
    check("Cookie", &[("cookie", "a=1,b=2")], &[("cookie", "a=1"), ("cookie", "b=2")], false);
}

#[test]
fn weighted_lists_are_normalised() {
    for name in ["accept-language", "accept-encoding"] {
        check(name, &[(name, "en, de")], &[(name, "de, en")], true);
        check(name, &[(name, "en, de")], &[(name, "eN, De")], true);
        check(name, &[(name, "en, de")], &[(name, " en ,   de")], true);
        check(name, &[(name, "en, de;q=0.5")], &[(name, "de; q=0.50"), (name, "en;Q=1.0")], true);
        check(name, &[(name, "en, en, de")], &[(name, "en, de")], true);
        check(name, &[(name, "en")], &[(name, "EN")], true);
        check(name, &[(name, "en, de;q=0.5")], &[(name, "en;q=0.5, de")], false);
        check(name, &[(name, "en")], &[(name, "en, de")], false);
        check(name, &[(name, "en;q=0")], &[(name, "en")], false);
        check(name, &[(name, "en;q=x")], &[(name, "en")], false);
        check(name, &[(name, "en;level=1, de")], &[(name, "en;level=1,de")], true);
        check(name, &[(name, "a-b, a")], &[(name, "a, a-b")], true);
    }
    check(
        "accept-encoding",
        &[("accept-encoding", "gzip, deflate, br")],
        &[("accept-encoding", "br,gzip,deflate")],
        true,
    );
    check("accept-encoding", &[("accept-encoding", "gzip, br")], &[("accept-encoding", "gzip")], false);
}

#[test]
fn the_preferred_language_selects() {
    let select = |language: &str, accept: &str, expected| {
        let first = [("accept-language", "en, de")];
        check_with(language, &by_language(), "Accept-Language", &first, &[("accept-language", accept)], expected);
    };
    select("de", "fr;q=0.5, de;q=1.0", true);
    select("DE", "De", true);
    select("de", "fr, de", false);
    select("de", "fr, de;q=0.9", false);
    select("de", "de;q=0", false);
    select("de", "de-AT", false);
    select("de", "de;x=1", false);
    select("de, en", "de", false);
    select("", "de", false);
    let first = [("accept-language", "en, de"), ("foo", "1")];
    let second = [("accept-language", "de"), ("foo", "2")];
    check_with("de", &by_language(), "Accept-Language, Foo", &first, &second, false);
    check_with(
        "de",
        &VaryRules::exact(),
        "Accept-Language",
        &[("accept-language", "en, de")],
        &[("accept-language", "de")],
        false,
    );
}

#[test]
fn quality_values() {
    let check = |text: &str, expected| assert_eq!(qvalue(text.as_bytes()), expected, "{text}");
    check("1", Some(1000));
    check("0", Some(0));
    check("0.", Some(0));
    check("0.5", Some(500));
    check("0.123", Some(123));
    check("1.000", Some(1000));
    check("1.001", None);
    check("0.1234", None);
    check("2", None);
    check(".5", None);
    check("", None);
}

#[test]
fn a_field_is_taken_out() {
    let spec = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("vary", value.parse().unwrap());
        VarySpec::from_headers(&headers)
    };
    let check = |value: &str, there: bool, left: VarySpec| {
        let mut spec = spec(value);
        assert_eq!((spec.remove(&header::ACCEPT_ENCODING), spec), (there, left), "{value}");
    };
    check("Accept-Encoding", true, VarySpec::None);
    check("Accept-Encoding, Origin", true, spec("origin"));
    check("Origin", false, spec("origin"));
    check("*", false, VarySpec::Any);
}

#[test]
fn fields_that_do_not_count() {
    let rules = VaryRules { ignore: [header::USER_AGENT].into(), ..VaryRules::exact() };
    let spec = |vary| VarySpec::under(&rules, &headers(&[("vary", vary)]));
    assert_eq!(spec("User-Agent"), VarySpec::None);
    assert_eq!(spec("User-Agent, Foo").fields(), [HeaderName::from_static("foo")]);
    assert_eq!(spec("User-Agent, *"), VarySpec::Any);
    assert_eq!(spec(""), VarySpec::None);
}

#[test]
fn languages_of_the_site() {
    let rules = VaryRules { languages: ["en".into(), "de".into()].into(), ..VaryRules::exact() };
    let accept = |value: &'static str| [("accept-language", value)];
    let check =
        |first: &[_], second: &[_], expected| check_with("", &rules, "Accept-Language", first, second, expected);
    check(&accept("de-at, en;q=0.5"), &accept("fr, de"), true);
    check(&accept("fr"), &accept("en"), true);
    check(&accept("fr"), &[], true);
    check(&accept("de"), &accept("en, de;q=0.9"), false);
}
