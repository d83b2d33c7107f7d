use crate::testing::{request_of_documentation as request, value_of as value};

/// Expressions that make a value, and the value as it is written.
#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (text, expected) in table {
        assert_eq!(value(text, &request()), *expected, "{text}");
    }
}

#[test]
fn case_and_cuts() {
    check(&[
        ("lower(http.host)", r#""www.example.com""#),
        (r#"lower("ÄB\xc4")"#, r#""Äb\xc4""#),
        ("upper(http.host)", r#""WWW.EXAMPLE.COM""#),
        (r#"upper("äb")"#, r#""äB""#),
        ("lower(http.request.headers.names[*])", r#"["accept", "x-multi", "x-multi", "client_id", "x-categories"]"#),
        (r#"lower(http.request.headers["none"][0])"#, "nil"),
        (r#"remove_bytes(http.host, "\x2e\x77")"#, r#""Examplecom""#),
        ("substring(http.request.body.raw, 2, 5)", r#""dfg""#),
        ("substring(http.request.body.raw, 2)", r#""dfghjk""#),
        ("substring(http.request.body.raw, -2)", r#""jk""#),
        ("substring(http.request.body.raw, 0, -2)", r#""asdfgh""#),
        ("substring(http.request.body.raw, 99)", r#""""#),
        ("substring(http.request.body.raw, 5, 2)", r#""""#),
        ("substring(http.request.body.raw, -99, 99)", r#""asdfghjk""#),
        ("substring(http.request.body.raw, -9223372036854775808, 9223372036854775807)", r#""asdfghjk""#),
        (r#"substring(http.request.headers["none"][0], 1)"#, "nil"),
    ]);
}

#[test]
fn lengths_and_membership() {
    check(&[
        ("len(http.host)", "15"),
        (r#"len("äb")"#, "3"),
        ("len(http.request.headers.names)", "5"),
        (r#"len(http.request.uri.args["filter"])"#, "3"),
        (r#"len(http.request.uri.args["filter"][*])"#, "[3, 4, 3]"),
        (r#"len(http.request.uri.args["order"])"#, "nil"),
        (r#"starts_with(http.request.uri.path, "/articles")"#, "true"),
        (r#"starts_with(http.request.uri.path, "articles")"#, "false"),
        (r#"ends_with(http.request.uri.path, ".html")"#, "true"),
        (r#"ends_with(http.request.uri.path, ".htm")"#, "false"),
        (r#"starts_with(http.request.headers["none"][0], "a")"#, "nil"),
        (r#"has_key(http.request.headers, "x-multi")"#, "true"),
        (r#"has_key(http.request.headers, "X-Multi")"#, "false"),
        (r#"has_key(http.request.headers, lower(http.request.headers.names[1]))"#, "true"),
        (r#"has_key(http.request.headers, http.request.headers.names[9])"#, "nil"),
        (r#"has_value(http.request.headers.names, "X-Multi")"#, "true"),
        (r#"has_value(http.request.headers.names, "x-multi")"#, "false"),
        (r#"has_value(http.request.headers.names, http.request.uri.args["order"][0])"#, "nil"),
        ("has_value(cf.bot_management.detection_ids, 7)", "true"),
        ("has_value(cf.bot_management.detection_ids, 8)", "false"),
        ("has_value(http.request.uri.args.names, http.request.uri.args.names[0])", "true"),
        (r#"any(http.request.headers.names[*] eq "Accept")"#, "true"),
        (r#"all(http.request.headers.names[*] eq "Accept")"#, "false"),
    ]);
}

#[test]
fn joining_and_splitting() {
    check(&[
        (r#"concat("String1", " ", "String", "2")"#, r#""String1 String2""#),
        ("concat(http.host)", r#""www.Example.com""#),
        (
            r#"concat("/", http.request.accepted_languages[0], http.request.uri.path)"#,
            r#""//articles/2008/index.html""#,
        ),
        (r#"concat(http.request.uri.args["a"][0], http.request.uri.args["b"][0])"#, "nil"),
        (
            r#"concat(http.request.uri.args["filter"], http.request.headers["accept"], http.request.headers["none"])"#,
            r#"["waf", "botm", "cdn", "application/json"]"#,
        ),
        (r#"join(http.request.headers.names, ",")"#, r#""Accept,X-Multi,X-Multi,client_id,x-categories""#),
        (r#"join(http.request.headers["accept"], ",")"#, r#""application/json""#),
        (r#"join(http.request.accepted_languages, ",")"#, r#""""#),
        (r#"join(http.request.headers["none"], ",")"#, "nil"),
        (r#"join(http.request.headers.names, http.request.headers["none"][0])"#, "nil"),
        (r#"split(http.request.headers["x-categories"][0], ",", 64)"#, r#"["groceries", "", "electronics", "diy"]"#),
        (r#"split(http.request.headers["x-categories"][0], ",", 3)"#, r#"["groceries", "", "electronics,diy"]"#),
        (r#"split(http.request.headers["x-categories"][0], ",", 1)"#, r#"["groceries,,electronics,diy"]"#),
        (r#"split(lower(http.host), ".e", 2)"#, r#"["www", "xample.com"]"#),
        (r#"split(http.host, "-", 2)[0]"#, r#""www.Example.com""#),
        (r#"split(http.host, ".", 3)[1]"#, r#""Example""#),
        (r#"split(http.request.headers["none"][0], ",", 3)"#, "nil"),
        (r#"join(split(http.host, ".", 128), "/")"#, r#""www/Example/com""#),
    ]);
}

#[test]
fn networks_and_strings() {
    check(&[
        ("cidr(ip.src, 24, 24)", "203.0.113.0"),
        ("cidr(ip.src, 32, 24)", "203.0.113.7"),
        ("cidr(ip.src, 1, 24)", "128.0.0.0"),
        ("cidr6(ip.src, 24)", "203.0.113.7"),
        ("cidr(cf.edge.server_ip, 24, 24)", "2001::"),
        ("cidr6(cf.edge.server_ip, 24)", "2001::"),
        ("cidr6(cf.edge.server_ip, 128)", "2001:0:130f::9c0:876a:130b"),
        ("to_string(cf.bot_management.score)", r#""5""#),
        ("to_string(ssl)", r#""true""#),
        ("to_string(ip.src)", r#""203.0.113.7""#),
        (r#"to_string(http.host eq "a")"#, r#""false""#),
    ]);
}

#[test]
fn codings() {
    check(&[
        (r#"encode_base64("hello world")"#, r#""aGVsbG8gd29ybGQ""#),
        (r#"encode_base64("hello world", "p")"#, r#""aGVsbG8gd29ybGQ=""#),
        (r#"encode_base64("hello world", "u")"#, r#""aGVsbG8gd29ybGQ""#),
        (r#"encode_base64("hello world", "up")"#, r#""aGVsbG8gd29ybGQ=""#),
        (r#"encode_base64("\xff\xfe\xfd\xfc")"#, r#""//79/A""#),
        (r#"encode_base64("\xff\xfe\xfd\xfc", "u")"#, r#""__79_A""#),
        (r#"decode_base64(http.request.headers["client_id"][0])"#, r#""123abc""#),
        (r#"decode_base64(http.request.headers["client_id"][*])"#, r#"["123abc"]"#),
        (r#"decode_base64(concat("__79_A", ""))"#, r#""\xff\xfe\xfd\xfc""#),
        (r#"decode_base64(concat("//79/A==", ""))"#, r#""\xff\xfe\xfd\xfc""#),
        (r#"decode_base64(http.host)"#, "nil"),
        (r#"url_decode(concat("John%20Doe", ""))"#, r#""John Doe""#),
        (r#"url_decode(concat("John+Doe", ""))"#, r#""John Doe""#),
        (r#"url_decode(concat("%2520", ""))"#, r#""%20""#),
        (r#"url_decode(concat("%2520", ""), "r")"#, r#"" ""#),
        (r#"url_decode(concat("%E4%BD", ""))"#, r#""\xe4\xbd""#),
        (r#"url_decode(concat("%u2601", ""), "u")"#, r#""☁""#),
        (r#"url_decode(concat("%u2601", ""))"#, r#""%u2601""#),
        (r#"url_decode(concat("%25u2601", ""), "ur")"#, r#""☁""#),
        (r#"url_decode(concat("%ud83d%ude00", ""), "u")"#, r#""😀""#),
        (r#"url_decode(concat("%ud83d%u0041%zz%4", ""), "u")"#, r#""�A%zz%4""#),
        (r#"url_decode(concat("100%", ""))"#, r#""100%""#),
        (r#"encode_base64(sha256("abc"))"#, r#""ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0""#),
        ("len(sha256(http.host))", "32"),
        ("uuidv4(cf.random_seed)", r#""00010203-0405-4607-8809-0a0b0c0d0e0f""#),
        (r#"uuidv4("too short")"#, "nil"),
    ]);
}

#[test]
fn queries() {
    let remove = |query: &str, names: &str| {
        let fields = request().text(crate::Field::HttpRequestUriQuery, query);
        value(&format!("remove_query_args(http.request.uri.query, {names})"), &fields)
    };
    assert_eq!(remove("order=asc&country=GB", r#""country""#), r#""order=asc""#);
    assert_eq!(remove("order=asc&country=GB", r#""order""#), r#""country=GB""#);
    assert_eq!(remove("order=asc&country=GB", r#""search""#), r#""order=asc&country=GB""#);
    assert_eq!(remove("category=Foo&order=desc&category=Bar", r#""order""#), r#""category=Foo&category=Bar""#);
    assert_eq!(remove("category=Foo&order=desc&category=Bar", r#""category""#), r#""order=desc""#);
    assert_eq!(remove("a&b=1&a=2&&c", r#""a", "b""#), r#""&c""#);
    assert_eq!(remove("", r#""a""#), r#""""#);
}

#[test]
fn json() {
    let lookup = |document: &str, call: &str| value(call, &request().text(crate::Field::HttpRequestBodyRaw, document));
    for (document, call, expected) in [
        (r#"{"record_id": "aed53a", "version": 2}"#, r#"lookup_json_integer(http.request.body.raw, "version")"#, "2"),
        (r#"{"product": {"id": 356}}"#, r#"lookup_json_integer(http.request.body.raw, "product", "id")"#, "356"),
        (r#"["first_item", -234]"#, "lookup_json_integer(http.request.body.raw, 1)", "-234"),
        (r#"{"network_ids": [123, 456]}"#, r#"lookup_json_integer(http.request.body.raw, "network_ids", 0)"#, "123"),
        (
            r#"[{"product_id": 123}, {"product_id": 456}]"#,
            r#"lookup_json_integer(http.request.body.raw, 1, "product_id")"#,
            "456",
        ),
        (r#"{"a": 42.0}"#, r#"lookup_json_integer(http.request.body.raw, "a")"#, "nil"),
        (r#"{"a": "42"}"#, r#"lookup_json_integer(http.request.body.raw, "a")"#, "nil"),
        (r#"{"a": 99999999999999999999}"#, r#"lookup_json_integer(http.request.body.raw, "a")"#, "nil"),
        (r#"{"a": 1} x"#, r#"lookup_json_integer(http.request.body.raw, "a")"#, "nil"),
        (r#"{"a": 1"#, r#"lookup_json_integer(http.request.body.raw, "a")"#, "nil"),
        (r#"{"a": 1, "a": 2}"#, r#"lookup_json_integer(http.request.body.raw, "a")"#, "2"),
        (
            r#"{"company": "cloudflare", "product": "rulesets"}"#,
            r#"lookup_json_string(http.request.body.raw, "company")"#,
            r#""cloudflare""#,
        ),
        (r#"{"n": {"name": "c\u0041\n"}}"#, r#"lookup_json_string(http.request.body.raw, "n", "name")"#, r#""cA\x0a""#),
        (r#"["other", "cloudflare"]"#, "lookup_json_string(http.request.body.raw, 1)", r#""cloudflare""#),
        (r#"["other", "cloudflare"]"#, "lookup_json_string(http.request.body.raw, 2)", "nil"),
        (r#"["other", "cloudflare"]"#, r#"lookup_json_string(http.request.body.raw, "1")"#, "nil"),
        (r#"{"networks": ["a", "b"]}"#, r#"lookup_json_string(http.request.body.raw, "networks", 1)"#, r#""b""#),
        (
            r#"[{"network": "a"}, {"network": "b"}]"#,
            r#"lookup_json_string(http.request.body.raw, 1, "network")"#,
            r#""b""#,
        ),
        (r#"{"a": null}"#, r#"lookup_json_string(http.request.body.raw, "a")"#, "nil"),
        (r#"{"a": {}}"#, r#"lookup_json_string(http.request.body.raw, "a")"#, "nil"),
        ("", r#"lookup_json_string(http.request.body.raw, "a")"#, "nil"),
    ] {
        assert_eq!(lookup(document, call), expected, "{document} {call}");
    }
    // Deeper than any reader should follow.
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(lookup(&deep, "lookup_json_integer(http.request.body.raw, 0, 0)"), "nil");
}

#[test]
fn regular_replacements() {
    check(&[
        (r#"regex_replace("/foo/bar", "/bar$", "/baz")"#, r#""/foo/baz""#),
        (r#"regex_replace("/x", "^/y$", "/mumble")"#, r#""/x""#),
        (r#"regex_replace("/foo", "^/FOO$", "/x")"#, r#""/foo""#),
        (r#"regex_replace("/a/a", "/a", "/b")"#, r#""/b/a""#),
        (r#"regex_replace("/b", "^/b$", "/b$$")"#, r#""/b$""#),
        (r#"regex_replace("/foo/a/path", "^/foo/([^/]*)/(.*)$", "/bar/${2}/${1}")"#, r#""/bar/path/a""#),
        (r#"regex_replace("a\\b", "\\\\", "a")"#, r#""aab""#),
        (r#"regex_replace("a\\b", r"\\", "a")"#, r#""aab""#),
        (r#"regex_replace("abc", "(x)?b", "[${1}${0}]")"#, r#""a[b]c""#),
        (r#"regex_replace(http.request.headers["none"][0], "a", "b")"#, "nil"),
    ]);
}

#[test]
fn wildcard_replacements() {
    let replaced = |field: &str, given: &str, rest: &str| {
        let id = crate::Field::named(field).expect("a field");
        value(&format!("wildcard_replace({field}, {rest})"), &request().text(id, given))
    };
    for (field, given, rest, expected) in [
        (
            "http.request.full_uri",
            "https://apps.example.com/calendar/admin?expand=true",
            r#""https://*.example.com/*/*", "https://example.com/${1}/${2}/${3}""#,
            "https://example.com/apps/calendar/admin?expand=true",
        ),
        (
            "http.request.full_uri",
            "https://example.com/applications/app1",
            r#""/applications/*", "/apps/${1}""#,
            "https://example.com/applications/app1",
        ),
        ("http.request.uri.path", "/calendar", r#""/*", "/apps/${1}""#, "/apps/calendar"),
        ("http.request.uri.path", "/Apps/calendar", r#""/apps/*", "/${1}""#, "/calendar"),
        ("http.request.uri.path", "/Apps/calendar", r#""/apps/*", "/${1}", "s""#, "/Apps/calendar"),
        ("http.request.uri.path", "/apps/calendar/login", r#""/apps/*/login", "/${1}/login""#, "/calendar/login"),
        ("http.request.uri.path", "/Ä/X", r#""/*/x", "/${1}$$""#, "/Ä$"),
        ("http.request.uri.path", "/a*b", r#"r"/a\**", "[${1}]""#, "[b]"),
        ("http.request.uri.path", "/ab", r#"r"/a\**", "[${1}]""#, "/ab"),
    ] {
        assert_eq!(replaced(field, given, rest), format!("\"{expected}\""), "{given} {rest}");
    }
}

/// Key and form are the documentation's; the MAC was made with another program.
#[test]
fn timed_hmac() {
    let holds = |uri: &str, now: i64, rest: &str| {
        let call = format!("is_timed_hmac_valid_v0(\"mysecretkey\", http.request.uri, {rest})");
        let fields = request().text(crate::Field::HttpRequestUri, uri).int(crate::Field::HttpRequestTimestampSec, now);
        value(&call, &fields)
    };
    let uri = "/download/cat.jpg?verify=1484063787-JcOQEFurDwNF66OcDJLopQxjsg3cB1KVO5%2BBFS9zZZ0%3D";
    let rest = "100000, http.request.timestamp.sec, 8";
    assert_eq!(holds(uri, 1_484_063_787, rest), "true");
    assert_eq!(holds(uri, 1_484_163_787, rest), "true");
    assert_eq!(holds(uri, 1_484_163_788, rest), "false", "expired");
    assert_eq!(holds(uri, 1_484_063_787, "100000, http.request.timestamp.sec, 7"), "false");
    assert_eq!(holds(uri, 1_484_063_787, "100000, http.request.timestamp.sec"), "false");
    assert_eq!(holds(&uri.replace("cat", "dog"), 1_484_063_787, rest), "false");
    assert_eq!(holds(&uri.replace("1484063787", "1484063788"), 1_484_063_787, rest), "false");
    let url_safe = uri.replace("%2B", "-").replace("%3D", "");
    assert_eq!(holds(&url_safe, 1_484_063_787, "100000, http.request.timestamp.sec, 8, \"s\""), "true");
    for broken in ["", "-", "1484063787-", "/a?verify=148406378-IaLGSm", &uri[..60], &uri[25..]] {
        assert_eq!(holds(broken, 1_484_063_787, rest), "false", "{broken}");
    }
}

/// What is too long becomes nil, and is told.
#[test]
fn results_are_bounded() {
    struct Counting(crate::FieldMap, std::cell::Cell<usize>);
    impl crate::Fields for Counting {
        fn field(&self, field: crate::Field) -> crate::Value<'_> {
            self.0.field(field)
        }
        fn limit_reached(&self, limit: &'static str) {
            assert!(limit.ends_with("_max"));
            self.1.set(self.1.get() + 1);
        }
    }
    let body = vec![b'"'; 700 << 10];
    let fields = crate::FieldMap::new()
        .text(crate::Field::HttpRequestBodyRaw, &body)
        .texts(crate::Field::HttpRequestHeadersNames, [&body, &body, &body]);
    let fields = Counting(fields, std::cell::Cell::new(0));
    for (text, expected) in [
        ("concat(http.request.body.raw, http.request.body.raw)", "nil"),
        (r#"join(http.request.headers.names, ",")"#, "nil"),
        (r#"regex_replace(http.request.body.raw, "^.*$", "${0}${0}")"#, "nil"),
        (r#"wildcard_replace(http.request.body.raw, "*", "${1}${1}")"#, "nil"),
        (r#"lookup_json_string(http.request.headers["none"][0], 1)"#, "nil"),
    ] {
        assert_eq!(value(text, &fields), expected, "{text}");
    }
    assert_eq!(fields.1.get(), 4);
    let text = r#"concat(http.request.headers.names[*], "x")[2]"#;
    assert_eq!(value(text, &fields), "nil");
    assert_eq!(fields.1.get(), 5);
}
