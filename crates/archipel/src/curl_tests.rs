//! Tables of what people paste.

use super::*;

/// The request as `METHOD url` and `Name: value` lines, the defaults of curl left out.
fn show(pasted: &Pasted) -> String {
    let mut text = format!("{} {}", pasted.call.method, pasted.call.url);
    for (name, value) in &pasted.call.headers {
        if (name != "Accept" || value != "*/*") && (name != "User-Agent" || value != "curl") {
            text.push_str(&format!("\n{name}: {value}"));
        }
    }
    text
}

#[track_caller]
fn check(words: &[&str], expected: &str) {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    match understand(&words, None) {
        Ok(pasted) => assert_eq!(show(&pasted), expected, "{words:?}"),
        Err(error) => assert_eq!(format!("error: {error}"), expected, "{words:?}"),
    }
}

#[test]
fn urls_and_heads() {
    check(&["https://a.example/x?y=1"], "GET https://a.example/x?y=1");
    check(&["a.example"], "GET http://a.example");
    check(&["/x"], "GET http://localhost/x");
    check(&["ftp://a/"], "error: ftp://a/: ftp is not served here, only http and https");
    check(&["http:///x"], "error: http:///x: no host in the URL");
    check(&["GET /x HTTP/1.1"], "GET http://localhost/x");
    check(&["PURGE /x"], "PURGE http://localhost/x");
    check(&["GET /x HTTP/1.1", "Host: a.example", "Accept: text/html"], "GET http://a.example/x\nAccept: text/html");
    check(&["GET /x HTTP/1.1\r\nHost: a.example\r\nX: 1\r\n\r\nbody: no"], "GET http://a.example/x\nX: 1");
    check(&["GET", "/x"], "error: \"/x\" is no header field; expected 'Name: value'");
    check(&["GET https://a.example/x HTTP/1.1", "Host: b"], "GET https://a.example/x");
    check(&["OPTIONS * HTTP/1.1", "Host: a"], "OPTIONS http://a/");
    check(
        &["one two three four"],
        "error: \"one two three four\" is no request line; expected for example 'GET /path HTTP/1.1'",
    );
    check(&["GET /x HTTP/1.1", "nonsense"], "error: \"nonsense\" is no header field; expected 'Name: value'");
    check(&["G@T /x"], "error: \"G@T\" is no method; expected for example 'GET /path HTTP/1.1'");
}

#[test]
fn curl_as_words() {
    check(&["curl", "https://a/"], "GET https://a/");
    check(&["curl", "-X", "DELETE", "https://a/"], "DELETE https://a/");
    check(&["curl", "-XDELETE", "https://a/"], "DELETE https://a/");
    check(&["curl", "-sSkLI", "https://a/"], "HEAD https://a/");
    check(&["curl", "-sSXPUT", "https://a/"], "PUT https://a/");
    check(&["curl", "-H", "X-A: 1", "-HX-B:2", "https://a/"], "GET https://a/\nX-A: 1\nX-B: 2");
    check(&["curl", "-H", "X-Empty;", "-H", "Accept:", "a"], "GET http://a\nX-Empty: ");
    check(&["curl", "--header", "Host: b.example", "http://127.0.0.1:8080/x"], "GET http://b.example/x");
    let form = "Content-Type: application/x-www-form-urlencoded";
    check(&["curl", "-d", "a=1", "https://a/"], &format!("POST https://a/\n{form}"));
    check(&["curl", "--data-raw", "@x", "-d", "b", "a"], &format!("POST http://a\n{form}"));
    check(&["curl", "--data", "{}", "-H", "content-type: text/x", "a"], "POST http://a\ncontent-type: text/x");
    check(&["curl", "--json", "{}", "a"], "POST http://a\nContent-Type: application/json\nAccept: application/json");
    check(&["curl", "-F", "f=@x", "a"], "POST http://a\nContent-Type: multipart/form-data");
    check(&["curl", "-G", "-d", "a=1", "-d", "b=2", "http://a/?c"], "GET http://a/?c&a=1&b=2");
    check(&["curl", "-G", "-d", "a=1", "http://a/x#f"], "GET http://a/x?a=1#f");
    check(&["curl", "-T", "file", "http://a/"], "PUT http://a/");
    check(&["curl", "-u", "me:secret", "a"], "GET http://a\nAuthorization: Basic ***");
    check(&["curl", "--oauth2-bearer", "secret", "a"], "GET http://a\nAuthorization: Bearer ***");
    check(
        &["curl", "-A", "Fox", "-e", "http://r/;auto", "-b", "k=v", "a"],
        "GET http://a\nUser-Agent: Fox\nReferer: http://r/\nCookie: k=v",
    );
    check(
        &["curl", "-r", "0-9", "--compressed", "a"],
        "GET http://a\nRange: bytes=0-9\nAccept-Encoding: deflate, gzip, br, zstd",
    );
    check(&["curl", "--http2", "-k", "-o", "/dev/null", "--resolve", "a:80:1.1.1.1", "-m", "3", "a"], "GET http://a");
    check(&["curl", "--url", "a", "--", "-x"], "error: the curl command has several URLs (a, -x); give one at a time");
    check(&["curl", "-s"], "error: the curl command has no URL");
    check(&["curl", "a", "-H"], "error: curl's -H needs a value, and the command ends there");
    check(&["curl", "a", "-H", "nonsense"], "error: \"nonsense\" is no header field; expected -H 'Name: value'");
    check(&["curl", "-X", "A B", "a"], "error: \"A B\" is no method");
}

#[test]
fn curl_as_one_text() {
    check(&["curl https://a/x -H 'X-A: it'\\''s'"], "GET https://a/x\nX-A: it's");
    check(&["curl \"https://a/x?a=1&b=2\" -H \"X: \\\"q\\\" \\n\""], "GET https://a/x?a=1&b=2\nX: \"q\" \\n");
    check(
        &["curl 'https://a/' \\\n  -H 'A: 1' \\\r\n  --compressed"],
        "GET https://a/\nA: 1\nAccept-Encoding: deflate, gzip, br, zstd",
    );
    check(
        &["curl 'https://a/' --data-raw $'it\\u0027s\\n\\x41'"],
        "POST https://a/\nContent-Type: application/x-www-form-urlencoded",
    );
    check(&["curl -s https://a/ | jq ."], "GET https://a/");
    check(&["curl 'https://a/"], "error: a quote in the command is not closed");
    check(&["curl \"https://a/"], "error: a quote in the command is not closed");
    check(&["curl -H '' a"], "error: \"\" is no header field; expected -H 'Name: value'");
}

#[test]
fn shell_words() {
    let split = |text: &str| split_shell(text).map_err(|error| error.to_string());
    assert_eq!(split("a 'b c' \"d\"e"), Ok(vec!["a".to_owned(), "b c".to_owned(), "de".to_owned()]));
    assert_eq!(split("a ''"), Ok(vec!["a".to_owned(), String::new()]));
    assert_eq!(split("$'\\x41\\u00e9\\''"), Ok(vec!["Aé'".to_owned()]));
    assert_eq!(split("a\\"), Ok(vec!["a".to_owned()]));
    assert!(split(&"x".repeat(PASTED_BYTES_MAX + 1)).is_err());
}

#[test]
fn remarks_and_secrets() {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let pasted = understand(&words("curl -u me:secret --new-thing -b jar -d @file -% a"), None).expect("understood");
    let notes = pasted.notes.join("\n");
    for part in ["--new-thing", "cookie file jar", "file file is not read", "-%"] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert!(!format!("{pasted:?}").contains("secret"));
    let client = Some(IpAddr::from([192, 0, 2, 1]));
    assert_eq!(understand(&words("http://a/"), client).expect("understood").call.client, client);
}
