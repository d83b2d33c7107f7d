use super::*;

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[track_caller]
fn check_loop_of(fields: &[(&'static str, &str)], passes_max: usize, expected: Result<(), LoopDetected>) {
    assert_eq!(check_loop(&headers(fields), "archipel-1", passes_max), expected, "{fields:?}");
}

#[test]
fn loops() {
    check_loop_of(&[], 0, Ok(()));
    check_loop_of(&[("cdn-loop", "other, foo.example:80")], 0, Ok(()));
    check_loop_of(&[("cdn-loop", "other, ARCHIPEL-1; v=\"a, b\"")], 0, Err(LoopDetected::Passes));
    check_loop_of(&[("cdn-loop", "archipel-1")], 1, Ok(()));
    check_loop_of(&[("cdn-loop", "archipel-1"), ("cdn-loop", "x, archipel-1")], 1, Err(LoopDetected::Passes));
    check_loop_of(&[("cdn-loop", "archipel-10")], 0, Ok(()));
    let many = "a,".repeat(CDN_LOOP_MEMBERS_MAX + 1);
    check_loop_of(&[("cdn-loop", &many)], 0, Err(LoopDetected::Members));
    let many = "1.1 a,".repeat(VIA_MEMBERS_MAX + 1);
    check_loop_of(&[("via", &many)], 0, Err(LoopDetected::Members));
    check_loop_of(&[("via", "1.1 archipel-1")], 0, Ok(()));
}

#[test]
fn via_and_cdn_loop_are_appended() {
    let mut fields = headers(&[("via", "1.0 fred")]);
    append_via(&mut fields, Version::HTTP_2, "archipel");
    append_via(&mut fields, Version::HTTP_11, "archipel");
    let via: Vec<_> = fields.get_all("via").iter().collect();
    assert_eq!(via, ["1.0 fred", "2 archipel", "1.1 archipel"]);
    fields.append(CDN_LOOP, cdn_loop_value("archipel-1").unwrap());
    assert_eq!(check_loop(&fields, "archipel-1", 0), Err(LoopDetected::Passes));
    assert_eq!(cdn_loop_value("a b"), None);
    assert_eq!(cdn_loop_value(""), None);
}

#[track_caller]
fn check_client(source: AddressSource, fields: &[(&'static str, &str)], expected: &str) {
    let trusted = |address: IpAddr| address.to_string().starts_with("10.");
    let found = client_address(ip("10.0.0.1"), &headers(fields), &source, trusted);
    assert_eq!(found, ip(expected), "{fields:?}");
    let stranger = client_address(ip("192.0.2.66"), &headers(fields), &source, trusted);
    assert_eq!(stranger, ip("192.0.2.66"), "a stranger is not believed");
}

#[test]
fn the_walk_by_x_forwarded_for() {
    let check =
        |fields: &[(&'static str, &str)], expected| check_client(AddressSource::XForwardedFor, fields, expected);
    check(&[], "10.0.0.1");
    check(&[("x-forwarded-for", "192.0.2.1")], "192.0.2.1");
    check(&[("x-forwarded-for", "198.51.100.9, 192.0.2.1, 10.0.0.2")], "192.0.2.1");
    check(&[("x-forwarded-for", "198.51.100.9"), ("x-forwarded-for", "192.0.2.1")], "192.0.2.1");
    check(&[("x-forwarded-for", "10.0.0.3, 10.0.0.2")], "10.0.0.3");
    check(&[("x-forwarded-for", "192.0.2.1, garbage, 10.0.0.2")], "10.0.0.2");
    check(&[("x-forwarded-for", "192.0.2.1:4711")], "192.0.2.1");
    check(&[("x-forwarded-for", "[2001:db8::1]:4711")], "2001:db8::1");
    check(&[("x-forwarded-for", "::ffff:192.0.2.1")], "192.0.2.1");
    let long = format!("192.0.2.1{}", ", 10.0.0.2".repeat(100));
    check(&[("x-forwarded-for", &long)], "10.0.0.2");
}

#[test]
fn the_walk_by_forwarded() {
    let check = |fields: &[(&'static str, &str)], expected| check_client(AddressSource::Forwarded, fields, expected);
    check(&[("forwarded", "for=192.0.2.1;proto=http;by=203.0.113.43")], "192.0.2.1");
    check(&[("forwarded", "For=\"[2001:db8:cafe::17]:4711\"")], "2001:db8:cafe::17");
    check(&[("forwarded", "for=192.0.2.43, for=10.0.0.7;host=\"a;b, c\"")], "192.0.2.43");
    check(&[("forwarded", "for=192.0.2.43, for=unknown")], "10.0.0.1");
    check(&[("forwarded", "for=192.0.2.43, for=\"_gazonk\"")], "10.0.0.1");
    check(&[("forwarded", "proto=https")], "10.0.0.1");
    let element = b"proto=https;host=\"a\\\"b\"";
    assert_eq!(forwarded_parameter(element, b"HOST").as_deref(), Some(&b"a\"b"[..]));
    assert_eq!(forwarded_parameter(element, b"by"), None);
}

#[test]
fn single_addresses() {
    let source = AddressSource::Single(HeaderName::from_static("cf-connecting-ip"));
    check_client(source.clone(), &[("cf-connecting-ip", "192.0.2.1")], "192.0.2.1");
    check_client(source.clone(), &[("cf-connecting-ip", "192.0.2.1, 192.0.2.2")], "10.0.0.1");
    check_client(source, &[("cf-connecting-ip", "192.0.2.1"), ("cf-connecting-ip", "192.0.2.2")], "10.0.0.1");
    check_client(AddressSource::Peer, &[("x-forwarded-for", "192.0.2.1")], "10.0.0.1");
}

#[test]
fn writing() {
    let client = ForwardedClient { peer: ip("::ffff:192.0.2.1"), scheme: Scheme::Https, host: "a.example:8443" };
    let spoofed = headers(&[("x-forwarded-proto", "gopher"), ("x-forwarded-host", "evil.example")]);
    let mut fields = headers(&[("forwarded", "for=198.51.100.1")]);
    write_x_forwarded(&spoofed, &client, false, &mut fields);
    write_forwarded(&mut fields, &client, false);
    let expected = headers(&[
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "a.example:8443"),
        ("forwarded", "for=192.0.2.1;proto=https;host=\"a.example:8443\""),
    ]);
    assert_eq!(fields, expected);

    let mut fields = headers(&[
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=198.51.100.1"),
    ]);
    let client = ForwardedClient { peer: ip("2001:db8::1"), scheme: Scheme::Https, host: "a.example" };
    write_x_forwarded(&fields.clone(), &client, true, &mut fields);
    write_forwarded(&mut fields, &client, true);
    let expected = headers(&[
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-for", "2001:db8::1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "a.example"),
        ("forwarded", "for=198.51.100.1"),
        ("forwarded", "for=\"[2001:db8::1]\";proto=https;host=a.example"),
    ]);
    assert_eq!(fields, expected);
}

#[test]
fn addresses_are_written_as_the_standard_library_does() {
    for n in 0..=255u8 {
        let octets = [n, 255 - n, 0, n / 2];
        assert_eq!(&*v4_text(octets), std::net::Ipv4Addr::from(octets).to_string());
    }
}
