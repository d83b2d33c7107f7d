use super::*;

#[track_caller]
fn check(path: &str, expected: &str) {
    check_bytes(path.as_bytes(), expected);
}

#[track_caller]
fn check_bytes(path: &[u8], expected: &str) {
    let found = canonical_path(path);
    assert_eq!(found.as_deref(), Ok(expected), "{path:?}");
    let again = canonical_path(expected.as_bytes()).unwrap();
    assert!(matches!(again, Cow::Borrowed(text) if text == expected), "{expected} is canonical");
}

#[track_caller]
fn check_refused(path: &[u8], expected: TargetError) {
    assert_eq!(canonical_path(path), Err(expected), "{}", String::from_utf8_lossy(path));
}

#[test]
fn canonical_paths_cost_nothing() {
    for path in ["/", "/a/b.html", "/a;v=1/b", "/a//b", "/~x/-_.!$&'()*+,;=:@", "/a.b/..c", "/%2F%20%25"] {
        assert!(matches!(canonical_path(path.as_bytes()), Ok(Cow::Borrowed(text)) if text == path), "{path}");
    }
}

#[test]
fn escapes() {
    check("/%41%7e%2d", "/A~-");
    check("/%2f%5b%3a", "/%2F%5B%3A");
    check("/%252e%252e/a", "/%252e%252e/a");
    check("/%25%32%65", "/%252e");
    check("/%e9", "/%E9");
    check("/%C3%A9", "/%C3%A9");
    check("/é", "/%C3%A9");
    check("/a|b{c}\"<>^`[]", "/a%7Cb%7Bc%7D%22%3C%3E%5E%60%5B%5D");
    check("/a%0d%0ab", "/a%0D%0Ab");
}

#[test]
fn dot_segments() {
    check("/.", "/");
    check("/..", "/");
    check("/a/.", "/a/");
    check("/a/..", "/");
    check("/a/./b/../c", "/a/c");
    check("/../../etc/passwd", "/etc/passwd");
    check("/a/%2e%2E/b", "/b");
    check("/a/.%2e/%2e/b", "/b");
    check("/a//../b", "/a/b");
    check("/a/b/../../../c", "/c");
    check("/...", "/...");
    check("/.well-known/x", "/.well-known/x");
    check("/a/..b/.c", "/a/..b/.c");
}

#[test]
fn refused_paths() {
    use TargetError as E;
    check_refused(b"", E::Form);
    check_refused(b"a", E::Form);
    check_refused(b"/a b", E::Space);
    check_refused(b"/a\0b", E::ControlByte);
    check_refused(b"/a\r\nb", E::ControlByte);
    check_refused(b"/a\tb", E::ControlByte);
    check_refused(b"/a\x7fb", E::ControlByte);
    check_refused(b"/a\\b", E::Backslash);
    check_refused(b"/a#b", E::Fragment);
    check_refused(b"/%", E::PercentEncoding);
    check_refused(b"/%4", E::PercentEncoding);
    check_refused(b"/%zz", E::PercentEncoding);
    check_refused(b"/%u0041", E::PercentEncoding);
    check_refused(b"/a%00", E::EncodedNul);
    check_refused(b"/%c0%ae%c0%ae/", E::OverlongUtf8);
    check_refused(b"/%C1%81", E::OverlongUtf8);
    check_refused(b"/%e0%80%af", E::OverlongUtf8);
    check_refused(b"/%f0%80%80%af", E::OverlongUtf8);
    check_refused(b"/\xff", E::InvalidUtf8);
    check_refused(b"/\xc0\xae", E::InvalidUtf8);
    check_refused(b"/a/..;/b", E::DisguisedDotSegment);
    check_refused(b"/a/..;x=1/b", E::DisguisedDotSegment);
    check_refused(b"/a/.;/b", E::DisguisedDotSegment);
    check_refused(b"/a/..%3bx/b", E::DisguisedDotSegment);
    check_refused(b"/a/..%2fb", E::DisguisedDotSegment);
    check_refused(b"/a%2f%2e%2e%2fb", E::DisguisedDotSegment);
    check_refused(b"/a%5c..%5cb", E::DisguisedDotSegment);
}

#[track_caller]
fn check_target(method: &Method, target: &str, expected: &str) {
    let found = match parse_target(method, target.as_bytes()) {
        Ok(Target::Origin(path)) => path.to_text().into_owned(),
        Ok(Target::Absolute { scheme, host, path }) => {
            format!("{} {} {}", scheme.as_str(), host.to_text(scheme), path.to_text())
        }
        Ok(Target::Authority(host)) => format!("{} {:?}", host.name, host.port),
        Ok(Target::Asterisk) => "asterisk".to_owned(),
        Err(error) => error.as_str().to_owned(),
    };
    assert_eq!(found, expected, "{method} {target}");
}

#[test]
fn the_four_forms() {
    let get = &Method::GET;
    check_target(get, "/a?b=%zz&c=|%00", "/a?b=%zz&c=|%00");
    check_target(get, "/a?", "/a?");
    check_target(get, "/a?b?c/../d", "/a?b?c/../d");
    check_target(get, "/a?b c", "target_space");
    check_target(get, "/a?b#c", "target_fragment");
    check_target(get, "/a?\u{1}", "target_control_byte");
    check_target(get, "", "target_form");
    check_target(get, "*", "target_form");
    check_target(get, "a.example:80", "target_form");
    check_target(get, "HTTP://A.example:80/%41", "http a.example /A");
    check_target(get, "https://a.example:80", "https a.example:80 /");
    check_target(get, "https://a.example?q", "https a.example /?q");
    check_target(get, "https://a.example#f", "target_form");
    check_target(get, "ftp://a.example/", "target_scheme");
    check_target(get, "http:a.example/", "target_form");
    check_target(get, "http:///a", "host_empty");
    check_target(get, "http://u:p@a.example/", "host_user_info");
    check_target(&Method::OPTIONS, "*", "asterisk");
    check_target(&Method::OPTIONS, "/a", "/a");
    check_target(&Method::CONNECT, "a.example:443", "a.example Some(443)");
    check_target(&Method::CONNECT, "a.example", "host_port");
    check_target(&Method::CONNECT, "/a", "host_malformed");
    let long = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
    check_target(get, &long, "target_too_long");
}

#[track_caller]
fn check_host(host: &[u8], expected: &str) {
    let found = match parse_host(host) {
        Ok(host) => host.to_text(Scheme::Https).into_owned(),
        Err(error) => error.as_str().to_owned(),
    };
    assert_eq!(found, expected, "{}", String::from_utf8_lossy(host));
}

#[test]
fn hosts() {
    check_host(b"A.Example", "a.example");
    check_host(b"a.example.", "a.example");
    check_host(b"a.example:443", "a.example");
    check_host(b"a.example:", "a.example");
    check_host(b"a.example:0443", "a.example");
    check_host(b"a.example.:80", "a.example:80");
    check_host(b"a_b.example", "a_b.example");
    check_host(b"192.0.2.1:8080", "192.0.2.1:8080");
    check_host(b"[2001:DB8:0::1]", "[2001:db8::1]");
    check_host(b"[::1]:8443", "[::1]:8443");
    check_host(b"", "host_empty");
    check_host(b".", "host_empty");
    check_host(b":80", "host_empty");
    check_host(b"a..b", "host_malformed");
    check_host(b".a", "host_malformed");
    check_host(b"a b", "host_malformed");
    check_host(b"a\0", "host_malformed");
    check_host(b"a/b", "host_malformed");
    check_host(b"a%41", "host_malformed");
    check_host("é.example".as_bytes(), "host_malformed");
    check_host(b"a,b", "host_malformed");
    check_host(b"[::1", "host_malformed");
    check_host(b"[::1]x", "host_malformed");
    check_host(b"[fe80::1%eth0]", "host_malformed");
    check_host(b"::1", "host_port");
    check_host(b"u@a", "host_user_info");
    check_host(b"a:65536", "host_port");
    check_host(b"a:+80", "host_port");
    check_host(b"a:8a", "host_port");
    check_host("a".repeat(64).as_bytes(), "host_too_long");
    check_host("a.".repeat(127).as_bytes(), &"a.".repeat(127)[..253]);
    check_host("a.".repeat(128).as_bytes(), "host_too_long");
}

#[test]
fn sameness_of_hosts() {
    let same = |a: &str, b: &str| {
        let (a, b) = (parse_host(a.as_bytes()).unwrap(), parse_host(b.as_bytes()).unwrap());
        a.is_same(&b, Scheme::Http)
    };
    assert!(same("a.example", "A.example.:80"));
    assert!(!same("a.example", "a.example:443"));
    assert!(!same("a.example", "b.example"));
    let owned = parse_host(b"a.example:81").unwrap().into_owned();
    assert_eq!(owned.to_text(Scheme::Http), "a.example:81");
}
