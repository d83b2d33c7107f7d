use std::sync::Arc;

use super::*;
use crate::testing::request_of_documentation as request;
use crate::{AddressSet, HostSet, IntSet, List, ListItems};

fn lists() -> Lists {
    let mut lists = Lists::new();
    let addresses = ["203.0.113.0/24", "2001:db8::/32"].map(|range| range.parse().expect("a range"));
    lists.insert("office_network", Arc::new(List::new(ListItems::Addresses(AddressSet::new(addresses)))));
    lists.insert("asns", Arc::new(List::new(ListItems::Ints(IntSet::new([(64512, 64512)])))));
    lists.insert("hosts", Arc::new(List::new(ListItems::Hosts(HostSet::new(["*.example.com", "other.org"])))));
    lists
}

#[track_caller]
fn check(table: &[(&str, bool)]) {
    let (request, lists) = (request(), lists());
    for (text, expected) in table {
        let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{}", error.render(text)));
        let filter = Filter::compile(&expression, &lists).unwrap_or_else(|error| panic!("{}", error.render(text)));
        assert_eq!(filter.matches(&request), *expected, "{text}");
    }
}

#[test]
fn comparisons() {
    check(&[
        (r#"http.request.method eq "GET""#, true),
        (r#"http.request.method == "get""#, false),
        (r#"http.request.method ne "POST""#, true),
        (r#"http.request.method != "GET""#, false),
        (r#"http.request.method lt "GETA""#, true),
        (r#"http.request.method < "GET""#, false),
        (r#"http.request.method le "GET""#, true),
        (r#"http.request.method <= "GES""#, false),
        (r#"http.request.method gt "GES""#, true),
        (r#"http.request.method > "GET""#, false),
        (r#"http.request.method ge "GET""#, true),
        (r#"http.request.method >= "GETA""#, false),
        ("cf.edge.server_port eq 8443", true),
        ("cf.edge.server_port == 0x20fb", true),
        ("cf.edge.server_port == 020373", true),
        ("cf.edge.server_port ne 443", true),
        ("cf.edge.server_port lt 8443", false),
        ("cf.edge.server_port le 8443", true),
        ("cf.edge.server_port gt -1", true),
        ("cf.edge.server_port ge 8444", false),
        ("ip.src eq 203.0.113.7", true),
        ("ip.src == ::ffff:203.0.113.7", true),
        ("ip.src ne 203.0.113.7", false),
        ("ip.src != 2001:db8::1", true),
        ("ssl", true),
        ("not ssl", false),
        ("!ssl", false),
        ("! ! ssl", true),
    ]);
}

#[test]
fn texts() {
    check(&[
        (r#"http.request.uri.path contains "/2008/""#, true),
        (r#"http.request.uri.path contains """#, true),
        (r#"http.request.uri.path contains "/2009/""#, false),
        (r#"http.request.uri.path matches "^/articles/200[7-8]/""#, true),
        (r#"http.request.uri.path ~ "\.html$""#, true),
        (r#"http.request.uri.path matches r"/index\.htm$""#, false),
        (r##"http.request.uri.path matches r#"index"#"##, true),
        (r#"http.user_agent matches "\xff\xfe""#, true),
        (r#"http.user_agent contains "\xff\xfe""#, true),
        (r#"http.user_agent contains "\377""#, true),
        (r#"http.user_agent matches "(?i)MOZILLA.*CURL""#, true),
        (r#"http.request.full_uri wildcard "https://example.com/a/*""#, true),
        (r#"http.request.full_uri wildcard "HTTPS://EXAMPLE.com/a/*""#, true),
        (r#"http.request.full_uri strict wildcard "HTTPS://EXAMPLE.com/a/*""#, false),
        (r#"http.request.full_uri strict  wildcard "https://*/sub/*=value""#, true),
        (r#"http.request.full_uri wildcard "*.example.com/*""#, false),
        (r#"http.host wildcard "www.example.com""#, true),
        (r#"http.host strict wildcard "www.example.com""#, false),
    ]);
}

#[test]
fn sets() {
    check(&[
        (r#"http.request.method in {"GET" "HEAD"}"#, true),
        (r#"http.request.method in { r"POST" "PUT" }"#, false),
        ("cf.edge.server_port in {80 443 8000..9000}", true),
        ("cf.edge.server_port in {80 443}", false),
        ("ip.src in {198.51.100.1 203.0.113.0/24}", true),
        ("ip.src in {203.0.113.3..203.0.113.7}", true),
        ("ip.src in {2001:db8::/32 ::/0}", false),
        ("ip.src in $office_network", true),
        ("ip.src.asnum in $asns", true),
        ("http.host in $hosts", true),
        ("not ip.src in $office_network", false),
    ]);
}

#[test]
fn precedence() {
    check(&[
        ("ssl or ssl and not ssl", true),
        ("(ssl or ssl) and not ssl", false),
        ("ssl xor ssl or ssl", true),
        ("ssl xor ssl and not ssl", true),
        ("ssl ^^ ssl", false),
        ("ssl ^^ ssl ^^ ssl", true),
        ("ssl && !ssl || ssl", true),
        (r#"not http.host eq "a" and ssl"#, true),
        (r#"not (http.host eq "a" or ssl)"#, false),
    ]);
}

#[test]
fn arrays_and_maps() {
    check(&[
        (r#"http.request.headers.names[0] == "Accept""#, true),
        (r#"http.request.headers.names[9] == "Accept""#, false),
        (r#"http.request.headers.names[9] != "Accept""#, false),
        (r#"not http.request.headers.names[9] == "Accept""#, true),
        (r#"any(http.request.headers.names[*] == "X-Multi")"#, true),
        (r#"any(lower(http.request.headers.names[*])[*] == "x-multi")"#, true),
        (r#"http.request.headers["accept"][0] == "application/json""#, true),
        (r#"any(http.request.headers["accept"][*] == "application/json")"#, true),
        (r#"any(http.request.headers["accept"][*] == "text/plain")"#, false),
        (r#"all(http.request.headers["x-multi"][*] matches "^[a-zA-Z]+$")"#, true),
        (r#"all(http.request.headers["x-multi"][*] == "two")"#, false),
        (r#"any(http.request.headers["none"][*] == "two")"#, false),
        (r#"all(http.request.headers["none"][*] == "two")"#, true),
        (r#"any(http.request.headers[*][*] == "two")"#, true),
        (r#"len(http.request.uri.args["filter"][1]) == 4"#, true),
        (r#"all(len(http.request.uri.args["filter"][*])[*] in {3 4})"#, true),
        (r#"all(not len(http.request.uri.args["filter"][*])[*] in {3 4})"#, false),
        (r#"len(http.request.uri.args["filter"]) >= 0"#, true),
        (r#"not len(http.request.uri.args["order"]) >= 0"#, true),
        (r#"any(http.request.body.multipart.names[*][0] == "picture")"#, true),
        (r#"any(cf.bot_management.detection_ids[*] eq 7)"#, true),
        (r#"any(starts_with(http.request.headers.names[*], "X-"))"#, true),
        (r#"any(starts_with(http.request.headers.names[*], "X-")[*])"#, true),
        (r#"all(starts_with(http.request.headers["none"][*], "X-"))"#, false),
        (r#"any(http.request.headers.names[*] == "Accept" and http.request.headers.names[*] == "X-Multi")"#, false),
        (r#"any(http.request.headers.names[*] == "Accept" xor http.request.headers.names[*] == "X-Multi")"#, true),
        (r#"(any(decode_base64(http.request.headers["client_id"][*])[*] eq "123abc"))"#, true),
    ]);
}

#[test]
fn threads_share_them() {
    fn shared<T: Send + Sync>() {}
    shared::<Expression>();
    shared::<Filter>();
    shared::<Formula>();
    shared::<Lists>();
    shared::<crate::RuleIndex>();
}

#[test]
fn a_list_changes_under_a_filter() {
    let ints = |number| ListItems::Ints(IntSet::new([(number, number)]));
    let list = Arc::new(List::new(ints(1)));
    let mut lists = Lists::new();
    lists.insert("asns", list.clone());
    let expression = Expression::parse("ip.src.asnum in $asns").expect("an expression");
    let filter = Filter::compile(&expression, &lists).expect("a filter");
    assert!(!filter.matches(&request()));
    list.replace(ints(64512)).expect("the same kind");
    assert!(filter.matches(&request()));
    let wrong = list.replace(ListItems::Hosts(HostSet::new(["a"]))).expect_err("another kind");
    assert_eq!(wrong.to_string(), "the list holds Ints, not Hosts");
    assert!(filter.matches(&request()));
}

#[test]
fn hosts() {
    let set = HostSet::new(["a.com", "*.B.com", "*.c.b.com"]);
    for (name, inside) in [
        ("a.com", true),
        ("A.COM.", true),
        ("x.a.com", false),
        ("b.com", false),
        ("x.b.com", true),
        ("x.y.b.com", true),
        ("xb.com", false),
        (".b.com", false),
        ("", false),
        (".", false),
    ] {
        assert_eq!(set.contains(name.as_bytes()), inside, "{name}");
    }
}

#[test]
fn fields_are_told() {
    let text = r#"http.host eq "a" or any(lower(http.request.headers.names[*])[*] eq http.host)"#;
    assert!(Expression::parse(text).is_err(), "the right side is a literal");
    let text = r#"http.host eq "a" or ip.geoip.country eq "b" or has_key(http.request.headers, http.host)"#;
    let fields: Vec<&str> =
        Expression::parse(text).expect("an expression").fields().iter().map(|field| field.name()).collect();
    assert_eq!(fields, ["http.host", "http.request.headers", "ip.src.country"]);
    let value = ValueExpression::parse("concat(http.host, http.host)", Phase::Request).expect("an expression");
    assert_eq!(value.fields(), [crate::Field::HttpHost]);
    assert_eq!(Formula::constant(b"a").value(&request()).to_string(), r#""a""#);
}
