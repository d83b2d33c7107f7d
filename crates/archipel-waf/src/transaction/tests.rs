use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{Files, NoFiles, RuleSet, Source};

/// A clock that goes on by a second each time that somebody looks.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn unix_micros(&self) -> u64 {
        self.0.fetch_add(1_000_000, Ordering::Relaxed)
    }
}

struct Stopped;

impl Clock for Stopped {
    fn unix_micros(&self) -> u64 {
        1_774_000_000_000_000
    }
}

fn load_with(text: &str, files: &dyn Files) -> Arc<RuleSet> {
    let text = format!("SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n{text}");
    let sources = [Source { name: "t.conf".to_owned(), text: text.into_bytes() }];
    match RuleSet::load(&sources, files) {
        Ok(rules) => Arc::new(rules),
        Err(errors) => panic!("{errors:?}"),
    }
}

fn load(text: &str) -> Arc<RuleSet> {
    load_with(text, &NoFiles)
}

struct Request<'a> {
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a str,
}

const FORM: &[(&str, &str)] = &[("Content-Type", "application/x-www-form-urlencoded")];

fn get(target: &str) -> Request<'_> {
    Request { target, headers: &[], body: "" }
}

fn form(body: &str) -> Request<'_> {
    Request { target: "/", headers: FORM, body }
}

fn begin(rules: &Arc<RuleSet>, request: &Request<'_>) -> Transaction {
    let mut transaction = rules.transaction(Scratch::default(), Arc::new(Stopped), Budget::default());
    transaction.request_line(b"GET", request.target.as_bytes(), b"HTTP/1.1");
    for (name, value) in request.headers {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    transaction
}

fn run(rules: &Arc<RuleSet>, request: &Request<'_>) -> (Verdict, Transaction) {
    let mut transaction = begin(rules, request);
    let _ = transaction.request_headers();
    let _ = transaction.request_body(request.body.as_bytes());
    let verdict = transaction.request_end();
    transaction.logging();
    (verdict, transaction)
}

/// Ids that matched, with and without the prefilter, which must agree.
fn ids(rules: &Arc<RuleSet>, request: &Request<'_>) -> Vec<u64> {
    let found = |prefilter| {
        let mut transaction = begin(rules, request);
        transaction.set_prefilter(prefilter);
        let _ = transaction.request_headers();
        let _ = transaction.request_body(request.body.as_bytes());
        let _ = transaction.request_end();
        transaction.logging();
        transaction.matches().map(|found| found.id()).collect::<Vec<_>>()
    };
    assert_eq!(found(true), found(false));
    found(true)
}

#[test]
fn a_chain_matches_as_a_whole_and_scores_with_each_link() {
    let rules = load(concat!(
        "SecRule ARGS:a \"@rx ^x\" \"id:1,phase:2,pass,log,setvar:tx.first=+1,chain\"\n",
        "SecRule ARGS:b \"@rx ^y\" \"setvar:tx.last=+2\"\n",
    ));
    let (_, both) = run(&rules, &get("/?a=x1&b=y1&b=y2"));
    assert_eq!((both.tx_number("first"), both.tx_number("last"), both.matches().len()), (1, 4, 1));
    let (_, half) = run(&rules, &get("/?a=x1&b=z"));
    // What the first link sets stays, though the chain fails.
    assert_eq!((half.tx_number("first"), half.tx_number("last"), half.matches().len()), (1, 0, 0));
}

#[test]
fn a_match_says_what_and_where() {
    let rules = load(concat!(
        "SecRule ARGS \"@rx (b)(x)?(c+)\" \"id:7,phase:2,deny,status:418,capture,t:none,t:lowercase,severity:'ERROR',",
        "tag:'one',tag:'two',msg:'got %{TX.3} of %{rule.id}',logdata:'%{MATCHED_VAR_NAME}=%{MATCHED_VAR}|%{TX.2}|'\"\n"
    ));
    let (verdict, transaction) = run(&rules, &get("/?Name=aBCc"));
    assert_eq!(verdict, Verdict::Interrupt(Interruption { rule: Some(7), status: 418, action: Action::Deny }));
    let found = transaction.matches().next().unwrap();
    assert_eq!(found.message(), b"got cc of 7");
    assert_eq!(found.data(), b"ARGS:Name=abcc||");
    assert_eq!((found.severity(), found.phase(), found.interrupted()), (Some(3), 2, true));
    assert_eq!((found.variable(), found.value()), (&b"ARGS:Name"[..], &b"abcc"[..]));
    assert_eq!(found.tags().collect::<Vec<_>>(), [&b"one"[..], b"two"]);
    assert_eq!(found.place(), ("t.conf", 4));
}

#[test]
fn a_match_says_what_an_exclusion_has_to_name() {
    let rules = load(concat!(
        "SecRule ARGS \"@contains x\" \"id:1,phase:2,pass\"\n",
        "SecRule ARGS|REQUEST_HEADERS:Host \"@contains x\" \"id:2,phase:2,pass,chain\"\n",
        "SecRule MATCHED_VARS \"@contains y\" \"t:none\"\n",
        "SecRule REQUEST_HEADERS:Host \"@rx .\" \"id:3,phase:2,pass,chain\"\n",
        "SecRule ARGS:b \"@contains x\" \"t:none\"\n",
        "SecRule &ARGS \"@gt 1\" \"id:4,phase:2,pass\"\n",
        "SecRule ARGS:b \"@rx (.+)\" \"id:5,phase:2,pass,nolog,capture,setvar:'tx.archipel_value_MATCHED_VARS:%{MATCHED_VAR_NAME}=1'\"\n",
        "SecRule TX:1 \"@contains x\" \"id:6,phase:2,pass\"\n",
        "SecRule TX:/^archipel_value_/ \"@rx .\" \"id:7,phase:2,pass\"\n",
        "SecAction \"id:8,phase:2,pass\"\n",
    ));
    let request = Request { target: "/?a=x&b=xy&a=xx", headers: &[("Host", "x.example")], body: "" };
    let (_, transaction) = run(&rules, &request);
    let found: Vec<(u64, Vec<String>)> = transaction
        .matches()
        .map(|found| (found.id(), found.targets().map(|name| String::from_utf8_lossy(name).into_owned()).collect()))
        .collect();
    let expected: [(u64, &[&str]); 7] = [
        (1, &["ARGS:a", "ARGS:b"]),
        (2, &["ARGS:b"]),
        (3, &["REQUEST_HEADERS:Host"]),
        (4, &[]),
        (6, &[]),
        (7, &["ARGS:b"]),
        (8, &[]),
    ];
    assert_eq!(
        found.iter().map(|(id, names)| (*id, names.iter().map(|n| &**n).collect())).collect::<Vec<_>>(),
        expected.map(|(id, names)| (id, names.to_vec()))
    );
    assert!(transaction.matches().all(|found| found.has_all_targets()));

    let many: Vec<String> = (0..=TARGETS_MAX).map(|n| format!("p{n}=x")).collect();
    let (_, transaction) = run(&rules, &get(&format!("/?{}", many.join("&"))));
    let found = transaction.matches().next().unwrap();
    assert_eq!((found.id(), found.targets().len(), found.has_all_targets()), (1, TARGETS_MAX, false));
}

#[test]
fn block_does_what_the_defaults_of_the_phase_say() {
    let rule = "SecRule ARGS:a \"@streq 1\" \"id:1,phase:2,block\"\n";
    assert_eq!(run(&load(rule), &get("/?a=1")).0, Verdict::Continue);
    let denies = format!("SecDefaultAction \"phase:2,log,deny,status:406\"\n{rule}");
    let verdict = run(&load(&denies), &get("/?a=1")).0;
    assert_eq!(verdict, Verdict::Interrupt(Interruption { rule: Some(1), status: 406, action: Action::Deny }));
    let detects = format!("{denies}SecRuleEngine DetectionOnly\n");
    let (verdict, transaction) = run(&load(&detects), &get("/?a=1"));
    assert_eq!((verdict, transaction.matches().len()), (Verdict::Continue, 1));
    let off = format!("{denies}SecRuleEngine Off\n");
    let (verdict, transaction) = run(&load(&off), &get("/?a=1"));
    assert_eq!((verdict, transaction.matches().len()), (Verdict::Continue, 0));
}

#[test]
fn rules_are_skipped_to_a_marker_or_by_number() {
    let rules = load(concat!(
        "SecRule ARGS:to \"@streq marker\" \"id:1,phase:1,pass,nolog,skipAfter:HERE\"\n",
        "SecRule ARGS:to \"@streq two\" \"id:2,phase:1,pass,nolog,skip:2\"\n",
        "SecAction \"id:3,phase:1,pass,log\"\nSecAction \"id:4,phase:1,pass,log\"\nSecMarker HERE\n",
        "SecAction \"id:5,phase:1,pass,log\"\n"
    ));
    assert_eq!(ids(&rules, &get("/?to=marker")), [5]);
    assert_eq!(ids(&rules, &get("/?to=two")), [5]);
    assert_eq!(ids(&rules, &get("/?to=none")), [3, 4, 5]);
}

#[test]
fn exclusions_take_out_what_they_name() {
    let rules = load(concat!(
        "SecRule ARGS:off \"@streq id\" \"id:1,phase:1,pass,nolog,ctl:ruleRemoveById=10-11\"\n",
        "SecRule ARGS:off \"@streq tag\" \"id:2,phase:1,pass,nolog,ctl:ruleRemoveByTag=t\"\n",
        "SecRule ARGS:off \"@streq target\" \"id:3,phase:1,pass,nolog,ctl:ruleRemoveTargetById=10;ARGS:Bad\"\n",
        "SecRule ARGS:off \"@streq all\" \"id:4,phase:1,pass,nolog,ctl:ruleRemoveTargetByTag=t;ARGS\"\n",
        "SecRule ARGS|!ARGS:good|!ARGS:/^un_/ \"@contains evil\" \"id:10,phase:2,pass,tag:t\"\n",
        "SecRule ARGS \"@contains evil\" \"id:11,phase:2,pass\"\nSecRule ARGS \"@contains evil\" \"id:12,phase:2,pass\"\n",
        "SecRuleRemoveById 12\nSecRuleUpdateTargetById 11 \"!ARGS:/^un_/\"\n",
    ));
    assert_eq!(ids(&rules, &get("/?bad=evil")), [10, 11]);
    assert_eq!(ids(&rules, &get("/?good=evil")), [11]);
    assert_eq!(ids(&rules, &get("/?un_x=evil")), Vec::<u64>::new());
    assert_eq!(ids(&rules, &get("/?bad=evil&off=id")), Vec::<u64>::new());
    assert_eq!(ids(&rules, &get("/?bad=evil&off=tag")), [11]);
    assert_eq!(ids(&rules, &get("/?bad=evil&off=target")), [11]);
    assert_eq!(ids(&rules, &get("/?bad=evil&other=evil&off=target")), [10, 11]);
    assert_eq!(ids(&rules, &get("/?bad=evil&off=all")), [11]);
}

#[test]
fn names_counts_and_regex_selectors() {
    let rules = load(concat!(
        "SecRule &ARGS \"@eq 3\" \"id:1,phase:2,pass\"\n",
        "SecRule &ARGS:missing \"@eq 0\" \"id:2,phase:2,pass\"\n",
        "SecRule ARGS_NAMES \"@streq b\" \"id:3,phase:2,pass\"\n",
        "SecRule ARGS:/^c./ \"@streq 3\" \"id:4,phase:2,pass\"\n",
        "SecRule ARGS_GET:a \"@streq 1\" \"id:5,phase:2,pass\"\n",
        "SecRule ARGS_POST:b \"@streq 2\" \"id:6,phase:2,pass\"\n",
        "SecRule ARGS_POST:a \"@rx .\" \"id:7,phase:2,pass\"\n",
        "SecRule REQUEST_COOKIES:s \"@streq 9\" \"id:8,phase:1,pass\"\n",
        "SecRule TX:/^n_/ \"@eq 2\" \"id:10,phase:5,pass\"\n",
        "SecRule ARGS_NAMES \"@rx ^.\" \"id:9,phase:2,pass,nolog,setvar:tx.n_%{MATCHED_VAR}=+2\"\n",
    ));
    let headers = [FORM[0], ("Cookie", "r=1; s=9")];
    assert_eq!(
        ids(&rules, &Request { target: "/?a=1", headers: &headers, body: "b=2&cd=3" }),
        [8, 1, 2, 3, 4, 5, 6, 10]
    );
}

#[test]
fn multi_match_sees_every_step() {
    let rules = load(concat!(
        "SecRule ARGS \"@streq A%42\" \"id:1,phase:2,pass,multiMatch,t:none,t:urlDecode,t:lowercase\"\n",
        "SecRule ARGS \"@streq AB\" \"id:2,phase:2,pass,multiMatch,t:none,t:urlDecode,t:lowercase\"\n",
        "SecRule ARGS \"@streq ab\" \"id:3,phase:2,pass,multiMatch,t:none,t:urlDecode,t:lowercase\"\n",
        "SecRule ARGS \"@streq AB\" \"id:4,phase:2,pass,t:none,t:urlDecode,t:lowercase\"\n",
        "SecRule ARGS \"@rx .\" \"id:5,phase:2,pass,nolog,multiMatch,t:none,t:trim,setvar:tx.times=+1\"\n",
    ));
    let request = get("/?a=A%2542");
    assert_eq!(ids(&rules, &request), [1, 2, 3]);
    assert_eq!(run(&rules, &request).1.tx_number("times"), 1);
}

#[test]
fn bodies_by_their_processors() {
    let rules = load(concat!(
        "SecRule REQUEST_HEADERS:Content-Type \"@contains json\" \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON\"\n",
        "SecRule REQUEST_HEADERS:Content-Type \"@contains xml\" \"id:2,phase:1,pass,nolog,ctl:requestBodyProcessor=XML\"\n",
        "SecRule ARGS:json.a.b \"@streq deep\" \"id:10,phase:2,pass\"\n",
        "SecRule XML:/* \"@contains text\" \"id:11,phase:2,pass\"\n",
        "SecRule XML://@* \"@streq value\" \"id:12,phase:2,pass\"\n",
        "SecRule FILES \"@endsWith .php\" \"id:13,phase:2,pass\"\n",
        "SecRule ARGS:field \"@streq plain\" \"id:14,phase:2,pass\"\n",
        "SecRule REQBODY_ERROR \"!@eq 0\" \"id:15,phase:2,pass\"\n",
        "SecRule REQBODY_PROCESSOR \"@within JSON XML\" \"id:16,phase:2,pass,nolog\"\n",
    ));
    let typed = |content_type, body| {
        let headers = [("Content-Type", content_type)];
        ids(&rules, &Request { target: "/", headers: &headers, body })
    };
    assert_eq!(typed("application/json", r#"{"a":{"b":"deep"}}"#), [10]);
    assert_eq!(typed("application/json", r#"{"a":"#), [15]);
    assert_eq!(typed("text/xml", "<a b='value'>some text</a>"), [11, 12]);
    let parts = "--x\r\nContent-Disposition: form-data; name=\"field\"\r\n\r\nplain\r\n\
                 --x\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.php\"\r\n\r\n<?\r\n--x--\r\n";
    assert_eq!(typed("multipart/form-data; boundary=x", parts), [13, 14]);
}

#[test]
fn a_body_over_its_limit_is_refused_or_cut() {
    let over = "SecRequestBodyLimit 8\nSecRule ARGS:a \"@rx 9\" \"id:1,phase:2,pass\"\n";
    let rules = load(&format!("{over}SecRequestBodyLimitAction Reject\n"));
    let (verdict, _) = run(&rules, &form("a=123456789"));
    assert_eq!(verdict, Verdict::Interrupt(Interruption { rule: None, status: 413, action: Action::Deny }));
    assert_eq!(ids(&load(over), &form("a=123456789")), Vec::<u64>::new());
    assert_eq!(ids(&load(over), &form("a=129")), [1]);
}

/// Rules that see whether anything was hidden, and what the recommended configuration refuses.
fn watchful() -> Arc<RuleSet> {
    load(concat!(
        "SecRule REQUEST_HEADERS:Content-Type \"@contains json\" \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON\"\n",
        "SecRule REQUEST_HEADERS:Content-Type \"@contains xml\" \"id:2,phase:1,pass,nolog,ctl:requestBodyProcessor=XML\"\n",
        "SecRule ARGS|ARGS_NAMES|REQUEST_COOKIES|XML:/*|XML://@* \"@contains evil\" \"id:10,phase:2,pass\"\n",
        "SecRule REQBODY_ERROR \"!@eq 0\" \"id:11,phase:2,pass\"\n",
    ))
}

#[test]
fn what_is_over_a_limit_is_no_hiding_place() {
    let rules = watchful();
    let many = "a=1&".repeat(1_000);
    let long = "n".repeat(5_000);
    assert_eq!(ids(&rules, &get(&format!("/?{many}b=evil"))), [10, 11], "a query");
    assert_eq!(ids(&rules, &get(&format!("/?{many}"))), Vec::<u64>::new(), "as many as there may be");
    assert_eq!(ids(&rules, &get(&format!("/?{long}&b=evil"))), [10], "behind a long name");
    assert_eq!(ids(&rules, &get(&format!("/?{long}evil"))), [10], "in a long name");
    assert_eq!(ids(&rules, &form(&format!("{many}b=%65vil"))), [10], "a form");
    assert_eq!(ids(&rules, &form(&format!("{many}%65vil=1"))), [10], "a name in a form");
    assert_eq!(ids(&rules, &form(&format!("{long}&b=evil"))), [10], "behind a long name of a form");
    let with = |kind, value: &str, body: &str| ids(&rules, &Request { target: "/", headers: &[(kind, value)], body });
    let cookies = "a=1; ".repeat(1_000);
    assert_eq!(with("Cookie", &format!("{cookies}b=evil"), ""), [10, 11], "cookies");
    assert_eq!(with("Cookie", &cookies, ""), Vec::<u64>::new(), "as many cookies as there may be");
    let elements = "1,".repeat(1_000);
    assert_eq!(with("Content-Type", "application/json", &format!("[{elements}\"evil\"]")), [10], "JSON");
    assert_eq!(with("Content-Type", "application/json", &format!("[{elements}{{\"evil\":1}}]")), [10], "a key in JSON");
    let hostile = "\"'\",".repeat(10_001);
    assert_eq!(
        with("Content-Type", "application/json", &format!("[{hostile}\"evil\"]")),
        [10, 11],
        "more than people have"
    );
    assert_eq!(with("Content-Type", "application/json", "{\"a\" evil"), [10, 11], "what is no JSON");
    assert_eq!(with("Content-Type", "text/xml", "<a></b><c>evil</c>"), [10, 11], "what is no XML");
    let kind = "multipart/form-data; boundary=b";
    let bad = "--b\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--b evil\r\n\r\nevil\r\n--b--\r\n";
    assert_eq!(with("Content-Type", kind, bad), [10, 11], "what is no multipart");
}

/// Few bytes do not make many: each element of an array repeats the names of what it is in.
#[test]
fn names_have_a_bound_together() {
    let rules = watchful();
    let body = format!("{{\"{}\":[{}\"evil\"]}}", "k".repeat(4_000), "1,".repeat(989));
    let request = Request { target: "/", headers: &[("Content-Type", "application/json")], body: &body };
    let (_, transaction) = run(&rules, &request);
    assert_eq!(transaction.left_out(), Some("names_bytes_max"));
    let (kept, _) = transaction.state.values.costs();
    assert!(kept < 256 << 10, "{kept} bytes are kept of {}", body.len());
    assert_eq!(ids(&rules, &request), [10]);
    // A limit that the operator raises raises what names may take.
    let rules = load(
        "SecArgumentsLimit 100000\nSecRule REQUEST_HEADERS:Content-Type \"@contains json\" \
         \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON\"\n",
    );
    assert_eq!(run(&rules, &request).1.left_out(), None);
}

/// The same for what is compared with each other: no part has more headers than can be.
#[test]
fn many_part_headers_are_refused_early() {
    let headers: String = (0..40).map(|number| format!("X{number}: a\r\n")).collect();
    let body = format!("--b\r\nContent-Disposition: form-data; name=a\r\n{headers}\r\nevil\r\n--b--\r\n");
    let headers = [("Content-Type", "multipart/form-data; boundary=b")];
    let request = Request { target: "/", headers: &headers, body: &body };
    assert_eq!(run(&watchful(), &request).1.request_fault(), Some("part_headers_max"));
    assert_eq!(ids(&watchful(), &request), [10, 11]);
}

/// An operator looks once at a value that it does not match, however often it stands there.
#[test]
fn repeated_values_cost_little() {
    let rules = load(
        "SecRule ARGS \"@rx x[^y]*y\" \"id:1,phase:2,pass\"\nSecRule ARGS \"!@rx y\" \"id:2,phase:2,pass,nolog,setvar:tx.n=+1\"\n",
    );
    let value = "x".repeat(2_000);
    let body = vec![format!("a={value}"); 900].join("&");
    let (_, transaction) = run(&rules, &form(&body));
    assert!(transaction.state.spent.bytes < 100_000, "{} bytes were looked at", transaction.state.spent.bytes);
    assert_eq!(transaction.tx_number("n"), 900, "each that is not matched counts");
}

#[test]
fn a_body_that_is_cut_is_no_error_of_its_parser() {
    let rules = load(concat!(
        "SecRule REQUEST_HEADERS:Content-Type \"@contains json\" \"id:1,phase:1,pass,nolog,ctl:requestBodyProcessor=JSON\"\n",
        "SecRule REQBODY_ERROR \"@eq 1\" \"id:2,phase:2,pass\"\n",
        "SecRule INBOUND_DATA_ERROR \"@eq 1\" \"id:3,phase:2,pass\"\n",
        "SecRule ARGS \"@contains evil\" \"id:4,phase:2,pass\"\n",
    ));
    let run = |body: &str, cut: bool| {
        let json = Request { target: "/", headers: &[("Content-Type", "application/json")], body };
        let mut transaction = begin(&rules, &json);
        let _ = transaction.request_headers();
        let _ = transaction.request_body(body.as_bytes());
        if cut {
            transaction.request_body_truncated();
        }
        let _ = transaction.request_end();
        (transaction.matches().map(|found| found.id()).collect::<Vec<_>>(), transaction.left_out())
    };
    assert_eq!(run("{\"a\":\"evil", false), (vec![2, 4], None));
    assert_eq!(run("{\"a\":\"evil", true), (vec![3, 4], Some("bytes_max")));
    assert_eq!(run("{\"a\":1}", true), (vec![3], Some("bytes_max")), "whole as it looks, it goes on");
    assert_eq!(run("{\"a\":1}", false), (vec![], None), "the flag is of one request");
    assert_eq!(run("{\"a\"]", true), (vec![2, 3], Some("bytes_max")), "wrong before the cut");
    let many = format!("[{}\"evil\"]", "0,".repeat(1_000));
    assert_eq!(run(&many, false), (vec![4], Some("arguments_max")));
}

#[test]
fn many_files_are_an_error_where_the_operator_says_how_many() {
    let strict = "SecRule MULTIPART_STRICT_ERROR \"@eq 1\" \"id:1,phase:2,pass\"\n\
                  SecRule MULTIPART_FILE_LIMIT_EXCEEDED \"@eq 1\" \"id:2,phase:2,pass\"\n";
    let file = "--b\r\nContent-Disposition: form-data; name=f; filename=x\r\n\r\n1\r\n";
    let body = format!("{}--b--\r\n", file.repeat(101));
    let many = Request { target: "/", headers: &[("Content-Type", "multipart/form-data; boundary=b")], body: &body };
    assert_eq!(ids(&load(strict), &many), [2]);
    assert_eq!(ids(&load(&format!("SecUploadFileLimit 100\n{strict}")), &many), [1, 2]);
    assert_eq!(ids(&load(&format!("SecUploadFileLimit 101\n{strict}")), &many), Vec::<u64>::new());
}

#[test]
fn the_response_has_its_phases() {
    let rules = load(concat!(
        "SecResponseBodyMimeType text/html\n",
        "SecRule RESPONSE_HEADERS:Server \"@contains old\" \"id:1,phase:3,pass\"\n",
        "SecRule RESPONSE_BODY \"@contains secret\" \"id:2,phase:4,deny\"\n",
        "SecRule RESPONSE_STATUS \"@eq 200\" \"id:3,phase:5,pass\"\n",
    ));
    let (_, mut transaction) = run(&rules, &get("/"));
    transaction.response_status(200, b"HTTP/1.1");
    transaction.response_header(b"Server", b"old one");
    transaction.response_header(b"Content-Type", b"text/html; charset=utf-8");
    assert_eq!(transaction.response_headers(), Verdict::Continue);
    assert!(transaction.wants_response_body());
    let _ = transaction.response_body(b"a sec");
    let _ = transaction.response_body(b"ret");
    assert!(matches!(transaction.response_end(), Verdict::Interrupt(Interruption { rule: Some(2), status: 403, .. })));
    transaction.logging();
    assert_eq!(transaction.matches().map(|found| found.id()).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn allow_ends_a_phase_a_request_or_all() {
    for (kind, wanted) in [("allow:phase", vec![3, 4]), ("allow:request", vec![4]), ("allow", vec![4])] {
        let rules = load(&format!(
            "SecAction \"id:1,phase:1,nolog,{kind}\"\nSecAction \"id:2,phase:1,pass\"\n\
             SecAction \"id:3,phase:2,pass\"\nSecAction \"id:4,phase:5,pass\"\n"
        ));
        assert_eq!(ids(&rules, &get("/")), wanted, "{kind}");
    }
}

#[test]
fn collections_outlive_a_transaction_and_expire() {
    let rules = load(concat!(
        "SecAction \"id:1,phase:1,pass,nolog,initcol:ip=%{REMOTE_ADDR}\"\n",
        "SecAction \"id:2,phase:1,pass,nolog,setvar:ip.count=+1\"\n",
        "SecRule IP:count \"@ge 2\" \"id:3,phase:1,pass\"\n",
        "SecRule ARGS:forget \"@streq 1\" \"id:4,phase:1,pass,nolog,expirevar:ip.count=0\"\n",
    ));
    assert!(run(&rules, &get("/")).1.matches().next().is_none());
    assert_eq!(run(&rules, &get("/?forget=1")).1.matches().len(), 1);
    assert_eq!(run(&rules, &get("/")).1.matches().len(), 0);
}

#[test]
fn a_transaction_over_its_budget_stops_what_is_costly_and_says_so() {
    let rules = load(concat!(
        "SecRule ARGS \"@rx a.*b.*c.*d\" \"id:1,phase:2,pass\"\nSecRule ARGS \"@rx b.*c.*d\" \"id:2,phase:2,pass\"\n",
        "SecRule TX:still \"!@eq 1\" \"id:3,phase:5,pass\"\nSecAction \"id:4,phase:1,pass,nolog,setvar:tx.still=0\"\n",
    ));
    let body = format!("a={}&b=2&c=abcd", "abcd".repeat(20_000));
    let budget = Budget { micros_max: 1, ..Budget::default() };
    let mut transaction = rules.transaction(Scratch::default(), Arc::new(Ticking::default()), budget);
    transaction.request_header(b"Content-Type", FORM[0].1.as_bytes());
    let _ = transaction.request_headers();
    let _ = transaction.request_body(body.as_bytes());
    let _ = transaction.request_end();
    transaction.logging();
    assert!(transaction.is_exhausted());
    assert_eq!(transaction.stopped(), [(1, 1)]);
    assert_eq!(transaction.matches().map(|found| found.id()).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn the_same_scratch_serves_other_rule_sets() {
    let a = load("SecRule ARGS \"@rx evil\" \"id:1,phase:2,pass\"\n");
    let b = load(
        "SecRule ARGS|ARGS_NAMES \"@pm bad worse\" \"id:2,phase:2,pass,t:lowercase\"\nSecAction \"id:3,phase:1,pass\"\n",
    );
    let mut scratch = Scratch::default();
    for (rules, wanted) in [(&a, vec![1]), (&b, vec![3, 2]), (&a, vec![1])] {
        let mut transaction = rules.transaction(scratch, Arc::new(Stopped), Budget::default());
        transaction.request_line(b"GET", b"/?x=evil+BAD", b"HTTP/1.1");
        let _ = transaction.request_headers();
        let _ = transaction.request_end();
        assert_eq!(transaction.matches().map(|found| found.id()).collect::<Vec<_>>(), wanted);
        scratch = transaction.into_scratch();
    }
}

#[test]
fn the_parts_of_a_target() {
    let cases: BTreeMap<&str, [&str; 4]> = BTreeMap::from([
        ("/a/b%20c?q=%41#f", ["/a/b c", "b c", "q=%41", "/a/b c?q=A"]),
        ("http://h/p?x", ["http://h/p", "p", "x", "/p?x"]),
        ("/%zz%4", ["/%zz%4", "%zz%4", "", "/%zz%4"]),
        ("*", ["*", "", "", "*"]),
        ("", ["", "", "", ""]),
    ]);
    let rules = load(
        "SecAction \"id:1,phase:1,pass,logdata:'%{REQUEST_FILENAME}|%{REQUEST_BASENAME}|%{QUERY_STRING}|%{REQUEST_URI}'\"",
    );
    for (target, wanted) in cases {
        let (_, transaction) = run(&rules, &get(target));
        let found = transaction.matches().next().unwrap();
        assert_eq!(String::from_utf8_lossy(found.data()), wanted.join("|"), "{target}");
    }
}

#[test]
fn time_is_told_in_utc() {
    let civil = time::Civil::from_unix_seconds(1_774_000_000);
    assert_eq!((civil.year, civil.month, civil.day), (2026, 3, 20));
    assert_eq!((civil.hour, civil.minute, civil.second, civil.weekday), (9, 46, 40, 5));
    let leap = time::Civil::from_unix_seconds(951_782_400);
    assert_eq!((leap.year, leap.month, leap.day), (2000, 2, 29));
}

#[test]
fn what_grows_without_end_is_cut() {
    let encode = "t:urlEncode,".repeat(30);
    let rules = load(&format!(
        "SecRule ARGS:a \"@rx ^%\" \"id:1,phase:2,pass,{encode}t:urlEncode\"\n\
         SecRule ARGS:/^b/ \"@rx .\" \"id:2,phase:2,pass,nolog,setvar:tx.b=%{{tx.b}}%{{tx.b}}%{{MATCHED_VAR}}\"\n\
         SecRule TX:b \"@rx ^x+$\" \"id:3,phase:2,pass\"\n"
    ));
    let many: String = (0..40).map(|at| format!("&b{at}=x")).collect();
    let (_, transaction) = run(&rules, &form(&format!("a=%25{many}")));
    let found: Vec<_> = transaction.matches().map(|found| (found.id(), found.value().len())).collect();
    assert_eq!(found[1], (3, expand::EXPANDED_BYTES_MAX));
    assert_eq!(found[0].0, 1);
    assert!(found[0].1 < 16 << 20);
}

#[test]
fn a_transaction_goes_from_one_thread_to_another() {
    fn goes<T: Send>() {}
    goes::<Transaction>();
    goes::<Scratch>();
}
