use super::engine::Logged;
use super::message::Message;
use super::suite::{self, Input, Output};
use super::verdict::{Seen, judge};
use super::yaml::Node;
use super::{origin, overrides, request};
use crate::process::Folder;

const FILE: &str = r#"---
meta:
  author: "x"
rule_id: 920100
tests:
  - test_id: 7
    desc: what it is about
    stages:
      - input:
          dest_addr: "127.0.0.1"
          port: 80
          headers:
            Host: localhost
            Content-Length: 007
            Accept:
          uri: "/a b\x0D\x0A"
          version: ""
          data: |
            x={{ "1" | repeat 3 }}
        output:
          status: 400
          log:
            expect_ids: [1, 2]
            no_match_regex: \[id "\d+"\]
  - stages:
      - stage:
          input:
            encoded_request: "R0VU\nIC8="
            stop_magic: true
          output:
            log_contains: 'id "3"'
"#;

#[test]
fn a_file_is_read() {
    let folder = Folder::new("crs").expect("a folder");
    folder.write("a/920100.yml", FILE).expect("a file");
    let tests = suite::read(folder.path()).expect("tests");
    assert_eq!(tests.iter().map(|test| test.name.as_str()).collect::<Vec<_>>(), ["920100-7", "920100-2"]);
    let first = &tests[0].stages[0];
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(first.input.headers, [field("Accept", ""), field("Content-Length", "007"), field("Host", "localhost")]);
    assert_eq!((first.input.uri.as_str(), first.input.version.as_str()), ("/a b\r\n", ""));
    assert_eq!(first.input.data, b"x=111\n");
    assert!(first.input.completes);
    assert_eq!((first.output.status, &first.output.expect_ids[..]), (Some(400), &[1, 2][..]));
    assert_eq!(first.output.no_match_regex.as_deref(), Some(r#"\[id "\d+"\]"#));
    let second = &tests[1].stages[0];
    assert_eq!(second.input.raw.as_deref(), Some(&b"GET /"[..]));
    assert!(!second.input.completes);
    assert_eq!(second.output.match_regex.as_deref(), Some("id \"3\""));
}

#[test]
fn what_is_not_known_is_refused() {
    for text in ["tests: [{stages: [{input: {save_cookie: true}}]}]", "tests: [{stages: []}]", "a: 1\na: 2", "rule: 1"]
    {
        let folder = Folder::new("crs").expect("a folder");
        folder.write("1.yaml", text).expect("a file");
        assert!(suite::read(folder.path()).is_err(), "{text}");
    }
    assert_eq!(Node::parse("").expect("nothing"), Node::Null);
}

#[test]
fn requests_are_completed() {
    let input = |method: &str, headers: &[(&str, &str)], data: &str, completes: bool| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (uri, version) = ("/".to_owned(), "HTTP/1.1".to_owned());
        Input { method: method.to_owned(), uri, version, headers, data: data.into(), completes, raw: None }
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n";
    let cases: &[(Input, String)] = &[
        (input("GET", &[], "", true), "GET / HTTP/1.1\r\nConnection: close\r\n\r\n".to_owned()),
        (input("GET", &[], "", false), "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (input("POST", &[], "", true), "POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned()),
        (input("POST", &[], "a b=c'&d", true), format!("POST / HTTP/1.1\r\n{form}Content-Length: 10\r\n\r\na+b=c%27&d")),
        (input("POST", &[], "a=%41'", true), format!("POST / HTTP/1.1\r\n{form}Content-Length: 6\r\n\r\na=%41'")),
        (
            input("POST", &[("content-type", "multipart/form-data; boundary=b"), ("Connection", "x")], "--b\n", true),
            "POST / HTTP/1.1\r\ncontent-type: multipart/form-data; boundary=b\r\nConnection: x\r\nContent-Length: 5\r\n\r\n--b\r\n"
                .to_owned(),
        ),
    ];
    for (input, expected) in cases {
        let found = String::from_utf8(request::bytes(input)).expect("text");
        assert_eq!(&found, expected);
    }
}

#[test]
fn requests_are_taken_apart() {
    let message = Message::read(b"GET /a b HTTP/1.1\r\nHost:  x \r\nA:\r\nContent-Length: 2\r\n\r\nabc");
    assert_eq!(
        (&message.method[..], &message.target[..], &message.protocol[..]),
        (&b"GET"[..], &b"/a b"[..], &b"HTTP/1.1"[..])
    );
    assert_eq!(
        (message.header("host"), message.header("a"), message.header("b")),
        (Some(&b"x"[..]), Some(&b""[..]), None)
    );
    assert_eq!(message.body, b"ab");
    let chunked =
        Message::read(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n1\r\nd\r\n0\r\n\r\n");
    assert_eq!(chunked.body, b"abcd");
    assert_eq!(Message::read(b"GET").method, b"GET");
}

#[test]
fn the_origin_reflects() {
    let ask = |target: &str, body: &str| {
        let head = format!("POST {target} HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        origin::reply(&Message::read(head.as_bytes()))
    };
    let reply = ask("/reflect", r#"{"status":202,"headers":{"Content-Type":"text/html"},"encodedBody":"eA=="}"#);
    assert_eq!((reply.status, &reply.body[..]), (202, &b"x"[..]));
    assert_eq!(reply.headers[0], ("Content-Type".to_owned(), "text/html".to_owned()));
    assert_eq!((ask("/other", "{}").status, ask("/reflect", "{").status), (200, 400));
}

#[test]
fn stages_are_judged() {
    let log = vec![Logged { id: 1, line: r#"[id "1"] [data "x"]"#.to_owned() }];
    let wrong = |output: &Output, reply: Option<&[u8]>| {
        let seen = Seen { reply: reply.map(<[u8]>::to_vec), log: Some(log.clone()) };
        judge(output, &seen).expect("patterns").len()
    };
    let output = Output::default;
    assert_eq!(wrong(&Output { expect_ids: vec![1], no_expect_ids: vec![2], is_isolated: true, ..output() }, None), 0);
    assert_eq!(wrong(&Output { expect_ids: vec![2, 3], no_expect_ids: vec![1], ..output() }, None), 3);
    assert_eq!(wrong(&Output { match_regex: Some("x".into()), no_match_regex: Some("y".into()), ..output() }, None), 0);
    assert_eq!(
        wrong(&Output { match_regex: Some("y".into()), no_match_regex: Some(r"\d".into()), ..output() }, None),
        2
    );
    let refused = Some(&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..]);
    assert_eq!(wrong(&Output { status: Some(400), ..output() }, refused), 0);
    assert_eq!(wrong(&Output { status: Some(200), ..output() }, refused), 1);
    assert_eq!(wrong(&Output { fails: true, ..output() }, refused), 0);
    assert_eq!(wrong(&Output { fails: true, ..output() }, Some(b"HTTP/1.1 200 OK\r\n\r\n")), 1);
    assert_eq!(wrong(&Output { response_contains: Some("^HTTP.*Bad".into()), ..output() }, refused), 0);
}

#[test]
fn expectations_are_overridden_with_a_reason() {
    let folder = Folder::new("crs").expect("a folder");
    folder.write("920100.yml", FILE).expect("a file");
    let mut tests = suite::read(folder.path()).expect("tests");
    let list = "test_overrides: [{rule_id: 920100, test_ids: [7, 9], reason: because, output: {status: 505}}]";
    assert_eq!(overrides::apply_list(&mut tests, list).expect("a list"), 1);
    assert_eq!(tests[0].stages[0].output, Output { status: Some(505), ..Output::default() });
    assert!(overrides::apply_list(&mut tests, &list.replace("reason: because, ", "")).is_err());
}
