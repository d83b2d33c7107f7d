//! Fields of a request as expressions see them.

use std::sync::Arc;

use archipel_config::Snapshot;

use crate::{ExplainRequest, Node};

fn node() -> Arc<Node> {
    let document = "hosts = [\"a.example\"]\norigin.url = \"http://127.0.0.1:1\"\nfirewall.body_bytes_max = \"1KiB\"\n";
    let (snapshot, _) = Snapshot::from_documents(&[("zones/z.toml", document)]).unwrap_or_else(|e| panic!("{e}"));
    Node::new(snapshot).expect("a node")
}

fn request() -> ExplainRequest {
    let headers = [
        ("Host", "A.example:8080"),
        ("User-Agent", "curl/8"),
        ("Cookie", "a=1; b%20c=2"),
        ("Cookie", "a=3"),
        ("Accept-Language", "en;q=0.5, de"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-For", "5.6.7.8"),
        ("Referer", "https://b.example/"),
    ];
    ExplainRequest {
        method: "POST".to_owned(),
        url: "https://a.example:8080/x/../Dir/File.JPG?q=1&r=%20&q=2".to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        client: "2001:db8::1".parse().ok(),
    }
}

/// Every expression must hold.
#[track_caller]
fn check(request: &ExplainRequest, body: &[u8], expressions: &[&str]) {
    let node = node();
    for expression in expressions {
        let tested = node.test_rule(expression, None, request, body.to_vec()).unwrap_or_else(|error| panic!("{error}"));
        assert!(tested.holds, "{expression}\n{tested}");
    }
}

#[test]
fn heads() {
    check(
        &request(),
        b"",
        &[
            r#"http.host eq "a.example""#,
            r#"http.request.method eq "POST""#,
            r#"http.request.version eq "HTTP/1.1""#,
            r#"http.request.full_uri eq "https://a.example:8080/Dir/File.JPG?q=1&r=%20&q=2""#,
            r#"http.request.uri eq "/Dir/File.JPG?q=1&r=%20&q=2""#,
            r#"http.request.uri.path eq "/Dir/File.JPG" and http.request.uri.path.extension eq "jpg""#,
            r#"raw.http.request.uri.path eq "/x/../Dir/File.JPG" and raw.http.request.uri.path.extension eq "JPG""#,
            r#"raw.http.request.full_uri contains "/x/../""#,
            r#"http.request.uri.query eq "q=1&r=%20&q=2" and raw.http.request.uri.query eq "q=1&r=%20&q=2""#,
            r#"http.request.uri.args["q"][0] eq "1" and http.request.uri.args["q"][1] eq "2""#,
            r#"http.request.uri.args.names[2] eq "q" and http.request.uri.args.values[1] eq "%20""#,
            r#"not any(http.request.uri.args["none"][*] eq "1")"#,
            r#"http.cookie eq "a=1; b%20c=2; a=3""#,
            r#"http.request.cookies["a"][1] eq "3" and http.request.cookies["b c"][0] eq "2""#,
            r#"http.user_agent eq "curl/8" and http.referer eq "https://b.example/""#,
            r#"http.x_forwarded_for eq "1.2.3.4, 5.6.7.8""#,
            r#"http.request.headers["x-forwarded-for"][1] eq "5.6.7.8" and len(http.request.headers["cookie"]) eq 2"#,
            r#"any(http.request.headers.names[*] eq "user-agent") and any(http.request.headers.values[*] eq "curl/8")"#,
            r#"http.request.accepted_languages[0] eq "de" and http.request.accepted_languages[1] eq "en""#,
            r#"http.request.timestamp.sec gt 1700000000 and http.request.timestamp.msec lt 1000"#,
            r#"ip.src eq 2001:db8::1 and ip.src in {2001:db8::/32}"#,
            r#"ip.src.country eq "XX" and ip.src.asnum eq 0 and ip.src.city eq """#,
            r#"ssl and len(cf.ray_id) eq 32 and len(cf.random_seed) eq 32"#,
            r#"cf.tls_version eq "" and cf.threat_score eq 0 and cf.waf.score eq 100"#,
            r#"http.response.code eq 0"#,
        ],
    );
}

#[test]
fn bodies() {
    let mut form = request();
    form.headers.push(("Content-Type".to_owned(), "application/x-www-form-urlencoded; charset=utf-8".to_owned()));
    check(
        &form,
        b"user=a%20b&x&user=c",
        &[
            r#"http.request.body.raw eq "user=a%20b&x&user=c" and http.request.body.size eq 19"#,
            r#"http.request.body.form["user"][0] eq "a%20b" and http.request.body.form["user"][1] eq "c""#,
            r#"http.request.body.form.names[1] eq "x" and http.request.body.form.values[1] eq """#,
            "not http.request.body.truncated",
        ],
    );
    check(
        &form,
        &[b'a'; 3_000],
        &["http.request.body.truncated and len(http.request.body.raw) eq 1024 and http.request.body.size eq 3000"],
    );
    let mut parts = request();
    parts.headers.push(("Content-Type".to_owned(), "multipart/form-data; boundary=b".to_owned()));
    check(
        &parts,
        b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.php\"\r\nContent-Type: text/plain\r\n\r\n%PDF\r\n--b--",
        &[
            r#"http.request.body.multipart["f"][0] eq "%PDF""#,
            r#"http.request.body.multipart.values[0] eq "%PDF" and http.request.body.multipart.names[0][0] eq "f""#,
            r#"http.request.body.multipart.filenames[0][0] eq "x.php" and http.request.body.multipart.content_types[0][0] eq "text/plain""#,
            r#"len(http.request.body.form.names) eq 0"#,
        ],
    );
    check(
        &request(),
        b"%PDF-1.7",
        &[r#"http.request.body.mime eq "application/pdf" and len(http.request.body.form.names) eq 0"#],
    );
}
