//! What rules come to, from documents to rulings.

use std::sync::Arc;

use archipel_config::Snapshot;
use archipel_http::target::Scheme;
use archipel_rules::{Field, Value};
use archipel_transport::body::RequestBody;
use archipel_transport::interim::Interim;
use http::{HeaderValue, Method, Version};

use super::*;
use crate::live::Live;

fn zone(cache: &str) -> Arc<LiveZone> {
    let document =
        format!("hosts = [\"a.example\", \"*.b.example\"]\norigin.url = \"http://127.0.0.1:1\"\n[cache]\n{cache}");
    let (snapshot, warnings) =
        Snapshot::from_documents(&[("zones/z.toml", document)]).unwrap_or_else(|e| panic!("{e}"));
    assert!(warnings.is_empty(), "{warnings}");
    Live::new(Arc::new(snapshot)).unwrap().zone_by_name("z").unwrap().clone()
}

/// `[host]/target` with fields.
fn asked(target: &str, fields: &[(&'static str, &str)]) -> Asked {
    let (host, path) = target.split_once('/').unwrap();
    let host = if host.is_empty() { "a.example" } else { host };
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    Asked {
        method: Method::GET,
        version: Version::HTTP_11,
        scheme: Scheme::Https,
        authority: host.into(),
        host_len: host.len(),
        path_and_query: format!("/{path}").into(),
        received_target: None,
        rewritten_from: None,
        headers,
        body: RequestBody::empty(),
        upgrade: None,
        interim: Interim::Discard,
    }
}

/// Rules without expressions ask for no field.
struct Unasked;

impl Fields for Unasked {
    fn field(&self, field: Field) -> Value<'_> {
        panic!("{field:?} was asked for");
    }
}

fn ruling(zone: &LiveZone, asked: &Asked) -> Option<Ruling> {
    zone.rules.as_ref()?.layers(zone, asked, &Unasked).map(|layers| layers.ruling(asked))
}

/// Whether the one rule with these conditions holds.
#[track_caller]
fn check_when(when: &str, target: &str, fields: &[(&'static str, &str)], expected: bool) {
    let zone = zone(&format!("[[cache.rules]]\nwhen = {{ {when} }}\nbypass = true\n"));
    let found = ruling(&zone, &asked(target, fields)).and_then(|ruling| ruling.bypass);
    assert_eq!(found, expected.then_some("rule"), "{when}: {target} {fields:?}");
}

#[test]
fn conditions() {
    check_when("path = [\"/x/*\", \"/y\"]", "/x/1?q", &[], true);
    check_when("path = [\"/x/*\", \"/y\"]", "/y?q", &[], true);
    check_when("path = [\"/x/*\", \"/y\"]", "/y/", &[], false);
    check_when("extension = [\"css\", \"JS\"]", "/x/a.Css?b", &[], true);
    check_when("extension = [\"css\", \"JS\"]", "/x.css/a.js", &[], true);
    check_when("extension = [\"css\"]", "/x.css/a", &[], false);
    check_when("extension = [\"css\"]", "/css", &[], false);
    check_when("host = [\"*.b.example\"]", "c.b.example/", &[], true);
    check_when("host = [\"*.b.example\"]", "a.example/", &[], false);
    check_when("query = [\"v\", \"w=1 2\"]", "/?%76", &[], true);
    check_when("query = [\"v\", \"w=1 2\"]", "/?w=1+2", &[], true);
    check_when("query = [\"v\", \"w=1 2\"]", "/?w=1", &[], false);
    check_when("query = [\"!v\"]", "/?w=1", &[], true);
    check_when("query = [\"!v*\"]", "/?vv=1", &[], false);
    check_when("header = [\"X-A\", \"x-b=1\"]", "/", &[("x-a", "")], true);
    check_when("header = [\"X-A\", \"x-b=1\"]", "/", &[("x-b", " 1 ")], true);
    check_when("header = [\"X-A\", \"x-b=1\"]", "/", &[("x-b", "2")], false);
    check_when("header = [\"!authorization\"]", "/", &[], true);
    check_when("header = [\"!authorization\"]", "/", &[("authorization", "x")], false);
    check_when("cookie = [\"wp_*\"]", "/", &[("cookie", "a=b; wp_1=c")], true);
    check_when("cookie = [\"s=1\"]", "/", &[("cookie", "s=2"), ("cookie", "s=1")], true);
    check_when("cookie = [\"s=1\"]", "/", &[("cookie", "s=2; t=1")], false);
    check_when("path = [\"/x\"], cookie = [\"s\"]", "/x", &[("cookie", "s")], true);
    check_when("path = [\"/x\"], cookie = [\"s\"]", "/x", &[], false);
}

#[test]
fn later_rules_replace_setting_by_setting() {
    let zone = zone(
        r#"
        default_ttl = "9s"
        object_bytes_max = "1MiB"
        [[cache.rules]]
        edge_ttl = "60s"
        browser_ttl = "5s"
        status_ttl = { 404 = "1s", 4xx = "2s" }
        object_bytes_max = "10B"
        key.query_only = ["a"]
        [[cache.rules]]
        when.path = ["/x/*"]
        edge_ttl = "70s"
        edge_ttl_mode = "override"
        object_bytes_max = "20B"
        key = { query_sort = true, cookies = ["t", "s"] }
        [[cache.rules]]
        when.path = ["/x/y"]
        edge_ttl_mode = "respect"
        browser_ttl_mode = "respect"
        always_online = "always"
        always_online_max = "60s"
        set_cookie = "strip"
        key.query = "all"
        "#,
    );
    let policy = |target| ruling(&zone, &asked(target, &[])).unwrap().policy;
    let first = policy("/a");
    assert_eq!((first.edge_ttl, first.browser_ttl), (EdgeTtl::Default(60), BrowserTtl::Override(5)));
    assert_eq!((first.object_bytes_max, first.set_cookie), (10, SetCookie::Refuse));
    assert_eq!(first.status_ttl.entries.iter().map(|ttl| ttl.seconds).collect::<Vec<_>>(), [1, 2]);
    let second = policy("/x/a");
    assert_eq!((second.edge_ttl, second.browser_ttl), (EdgeTtl::Override(70), BrowserTtl::Override(5)));
    assert_eq!(second.object_bytes_max, 20);
    let third = policy("/x/y");
    assert_eq!((third.edge_ttl, third.browser_ttl), (EdgeTtl::Respect, BrowserTtl::Respect));
    assert_eq!((third.always_online, third.set_cookie), (AlwaysOnline::Always(60), SetCookie::Strip));
    assert!(third.status_ttl.entries.is_empty());
    assert_eq!(zone.policy.edge_ttl, EdgeTtl::Default(9));

    let key = |target| ruling(&zone, &asked(target, &[("cookie", "s=1")])).map(|r| (r.target, r.extra)).unwrap();
    assert_eq!(key("/a?b&a=1"), (Some("/a?a=1".into()), "".into()));
    assert_eq!(key("/x/a?b&a=2&a=1"), (Some("/x/a?a=2&a=1".into()), "cookie.s=1 cookie.t".into()));
    assert_eq!(key("/x/y?b&a=1"), (Some("/x/y?a=1&b".into()), "cookie.s=1 cookie.t".into()));
}

#[test]
fn without_rules_nothing_is_evaluated() {
    assert!(zone("").rules.is_none());
    assert!(zone("[[cache.rules]]\nenabled = false\nbypass = true").rules.is_none());
    let zone = zone("[[cache.rules]]\nwhen.path = [\"/x\"]\nbypass = true");
    assert!(ruling(&zone, &asked("/y", &[])).is_none());
}

#[test]
fn what_has_no_key_passes_the_cache_by() {
    let zone = zone("[[cache.rules]]\nkey = { cookies = [\"s\"], query_sort = true }");
    let bypass = |target: &str, fields: &[_]| ruling(&zone, &asked(target, fields)).unwrap().bypass;
    assert_eq!(bypass("/", &[]), None);
    assert_eq!(bypass("/", &[("cookie", "S=1")]), Some("key_ambiguous"));
    let long = format!("s={}", "x".repeat(2000));
    assert_eq!(bypass("/", &[("cookie", &*long)]), Some("key_bytes_max"));
    let many = format!("/?{}", "a&".repeat(QUERY_PARAMETERS_MAX + 1));
    assert_eq!(bypass(&many, &[]), Some("query_parameters_max"));
}

/// A purge by URL finds what is stored for it whatever the other rules made of its query.
#[test]
fn purges_know_every_form_of_a_target() {
    let targets = |cache: &str, target: &str| {
        let zone = zone(cache);
        zone.key_targets(target).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(targets("", "/a?b"), ["/a?b"]);
    assert_eq!(targets("ignore_query = true", "/a?b"), ["/a"]);
    assert_eq!(targets("ignore_query = true\n[[cache.rules]]\nedge_ttl = \"1s\"", "/a?b"), ["/a"]);
    let rules = "[[cache.rules]]\nkey.query_except = [\"u\"]\n[[cache.rules]]\nwhen.path = [\"/x\"]\nkey = { query = \"none\" }\n\
                 [[cache.rules]]\nwhen.path = [\"/y\"]\nkey.query_sort = true";
    assert_eq!(targets(rules, "/a?u=1&c&b"), ["/a?u=1&c&b", "/a?b&c&u=1", "/a?c&b", "/a?b&c", "/a"]);
}

/// What `archipel explain` says.
#[test]
fn rulings_in_words() {
    let zone = zone(
        r#"
        [[cache.rules]]
        when.path = ["/a"]
        status_ttl = { 404 = "10s", 5xx = "1s" }
        browser_ttl = "5s"
        key = { query_only = ["a"], device = true }
        [[cache.rules]]
        when.path = ["/b"]
        bypass = true
        [[cache.rules]]
        when.path = ["/c"]
        edge_ttl = "60s"
        edge_ttl_mode = "override"
        always_online = "obey"
        "#,
    );
    let words = |target| ruling(&zone, &asked(target, &[])).unwrap().to_string();
    assert_eq!(
        words("/a?b"),
        "edge ttl the origin's, for 404 10 s by default, for 5xx 1 s by default, browser ttl 5 s, key has /a, \
         key adds device=desktop"
    );
    assert_eq!(words("/b"), "bypass (rule)");
    assert_eq!(words("/c"), "edge ttl 60 s, online for 604800 s where it may be");
}
