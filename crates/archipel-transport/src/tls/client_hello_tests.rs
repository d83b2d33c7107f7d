//! Tables for the ClientHello parser, valid, fragmented and hostile.

use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::*;
use crate::tls::test_support::TestCa;

fn list16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

fn list8(bytes: &[u8]) -> Vec<u8> {
    [&[bytes.len() as u8], bytes].concat()
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().to_vec(), list16(data)].concat()
}

fn server_name(name: &[u8]) -> Vec<u8> {
    extension(0, &list16(&[&[0], list16(name).as_slice()].concat()))
}

/// The body of a hello with two cipher suites and these extensions.
fn body(extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend(list8(&[1; 32]));
    body.extend(list16(&[0x13, 0x01, 0x0a, 0x0a]));
    body.extend(list8(&[0]));
    body.extend(list16(extensions));
    body
}

fn message(body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u32).to_be_bytes();
    [&[1], &length[1..], body].concat()
}

/// `message` in records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    let record = |chunk: &[u8]| [&[22, 3, 1], list16(chunk).as_slice()].concat();
    message.chunks(size).flat_map(record).collect()
}

/// Parses whole, and every beginning, which must never be a hello before the message is complete.
#[track_caller]
fn check(bytes: &[u8], expected: &Result<Hello, ClientHelloError>) {
    let whole = parse(bytes);
    match (expected, &whole) {
        (Ok(expected), Ok(Parsed::Hello(hello))) => assert_eq!(**hello, *expected),
        (Err(expected), Err(error)) => assert_eq!(error, expected),
        _ => panic!("expected {expected:?}, got {whole:?}"),
    }
    for cut in 0..bytes.len() {
        let part = parse(&bytes[..cut]);
        let allowed = part == Ok(Parsed::Incomplete) || part == whole;
        assert!(allowed, "cut at {cut}: {part:?}");
    }
}

#[track_caller]
fn check_extensions(extensions: &[u8], expected: &Result<Hello, ClientHelloError>) {
    let message = message(&body(extensions));
    check(&records(&message, RECORD_CONTENT_BYTES_MAX), expected);
    check(&records(&message, 1), expected);
    check(&records(&message, 7), expected);
}

fn plain() -> Hello {
    Hello { legacy_version: 0x0303, cipher_suites: SmallVec::from_slice(&[0x1301, 0x0a0a]), ..Hello::default() }
}

#[test]
fn extensions_are_read() {
    let bytes = [
        extension(0x2a2a, b""),
        server_name(b"WWW.Example.com"),
        extension(0x0010, &list16(&[list8(b"h2"), list8(b"http/1.1")].concat())),
        extension(0x002b, &list8(&[0x3a, 0x3a, 3, 4, 3, 3])),
        extension(0x000d, &list16(&[4, 3, 8, 4])),
        extension(0x000a, &list16(&[0x11, 0xec, 0, 0x1d])),
        extension(0xfe0d, b"whatever"),
        extension(0x0000, b"a second one is for rustls to refuse"),
    ]
    .concat();
    let expected = Hello {
        extensions: SmallVec::from_slice(&[0x2a2a, 0, 0x10, 0x2b, 0x0d, 0x0a, 0xfe0d, 0]),
        server_name: Some("www.example.com".to_owned()),
        alpn: [&b"h2"[..], b"http/1.1"].into_iter().map(SmallVec::from_slice).collect(),
        supported_versions: SmallVec::from_slice(&[0x3a3a, 0x0304, 0x0303]),
        signature_algorithms: SmallVec::from_slice(&[0x0403, 0x0804]),
        supported_groups: SmallVec::from_slice(&[0x11ec, 0x001d]),
        encrypted_client_hello: true,
        ..plain()
    };
    check_extensions(&bytes, &Ok(expected));
    check_extensions(b"", &Ok(plain()));
}

#[test]
fn hello_without_extensions_block_and_with_bytes_behind() {
    let mut without = body(b"");
    without.truncate(without.len() - 2);
    check(&records(&message(&without), 100), &Ok(plain()));
    // The next message may already be there, in the same record or the next one.
    let two = [message(&body(b"")), vec![16, 0, 0, 0]].concat();
    check(&records(&two, 1000), &Ok(plain()));
    let next = [records(&message(&body(b"")), 1000), vec![20, 3, 3, 0, 1, 1]].concat();
    check(&next, &Ok(plain()));
}

#[test]
fn server_names() {
    let check = |data: &[u8], name: Option<&str>| {
        let expected =
            Hello { extensions: SmallVec::from_slice(&[0]), server_name: name.map(str::to_owned), ..plain() };
        check_extensions(data, &Ok(expected));
    };
    check(&server_name(b"LocalHost"), Some("localhost"));
    for bad in [&b"192.0.2.1"[..], b"::1", b"", b"a b", b"example.com.", b"\xff\xfe", b"a\0.example", b"*.a"] {
        check(&server_name(bad), None);
    }
    check(&server_name(&[b'a'; 300]), None);
    check(&extension(0, b""), None);
    check(&extension(0, &list16(b"")), None);
    // An unknown kind of name before the host name is skipped.
    let both = [&[9], list16(b"?").as_slice(), &[0], list16(b"a.example").as_slice()].concat();
    check(&extension(0, &list16(&both)), Some("a.example"));
}

#[test]
fn malformed_bodies() {
    let malformed = |field| Err(ClientHelloError::Malformed(field));
    let table: &[(Vec<u8>, &'static str)] = &[
        (vec![0, 1, 0], "extension"),
        (vec![0, 1, 0, 9, 1], "extension"),
        (extension(0, &[0, 9, 0]), "server_name"),
        (extension(0, &list16(&[0, 0, 9, b'a'])), "server_name"),
        (extension(0x0a, &[0, 4, 0, 1]), "supported_groups"),
        (extension(0x0a, &list16(&[1, 2, 3])), "supported_groups"),
        (extension(0x0d, &list16(&[1])), "signature_algorithms"),
        (extension(0x0d, b""), "signature_algorithms"),
        (extension(0x10, &list16(&[3, b'h', b'2'])), "ALPN"),
        (extension(0x10, b"\0"), "ALPN"),
        (extension(0x2b, &list8(&[3])), "supported_versions"),
        (extension(0x2b, b""), "supported_versions"),
    ];
    for (extensions, field) in table {
        check_extensions(extensions, &malformed(field));
    }
    let check_body = |body: &[u8], field| check(&records(&message(body), 1000), &malformed(field));
    let good = body(b"");
    check_body(b"", "version");
    check_body(&good[..1], "version");
    check_body(&good[..20], "random");
    check_body(&good[..34], "session id");
    check_body(&good[..60], "session id");
    check_body(&good[..68], "cipher suites");
    check_body(&good[..73], "compression methods");
    check_body(&good[..76], "extensions");
    check_body(&[&good[..], b"!"].concat(), "bytes after the extensions");
    let long_session = [&good[..34], &list8(&[0; 33]), &good[67..]].concat();
    check_body(&long_session, "session id");
    let no_compression = [&good[..73], &[0, 0, 0]].concat();
    check_body(&no_compression, "compression methods");
}

#[test]
fn not_tls() {
    let http = Err(ClientHelloError::NotTls { looks_like_http: true });
    let other = Err(ClientHelloError::NotTls { looks_like_http: false });
    for text in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"POST /a HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"CONNECT a:443 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        check(text, &http);
    }
    for bytes in [
        &b"get / HTTP/1.1"[..],
        b"GETX",
        b"SSH-2.0-OpenSSH",
        b"\0\0\0",
        b"\x80\x2e\x01\x03\x01",
        b"\x16\x02\x00",
        b"\x16\x16",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x17\x03\x03",
        b"\r\n",
        b"\xff",
    ] {
        check(bytes, &other);
    }
}

#[test]
fn malformed_records() {
    let malformed = |field| Err(ClientHelloError::Malformed(field));
    check(&[22, 3, 1, 0, 0], &malformed("record length"));
    check(&[22, 3, 1, 0x40, 0x01], &malformed("record length"));
    check(&[22, 3, 1, 0, 4, 2, 0, 0, 0], &malformed("another handshake message"));
    let inside = "another record inside of the ClientHello";
    let whole = records(&message(&body(b"")), 40);
    for (at, byte) in [(45, 23), (45, 0), (46, 2)] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        check(&bytes, &malformed(inside));
    }
}

#[test]
fn size_limit() {
    let too_large = Err(ClientHelloError::TooLarge);
    // Announced: refused at the fourth byte of the message.
    check(&[22, 3, 1, 0, 4, 1, 0, 0x40, 0x00], &too_large);
    check(&[22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff], &too_large);
    // The message alone would fit, but not with the headers of so many records.
    let padded = message(&body(&extension(0x15, &[0; 8000])));
    let many = records(&padded, 4);
    assert!(many.len() > CLIENT_HELLO_BYTES_MAX);
    assert_eq!(parse(&many[..CLIENT_HELLO_BYTES_MAX]), Err(ClientHelloError::TooLarge));
    assert_eq!(parse(&many[..CLIENT_HELLO_BYTES_MAX - 1]), Ok(Parsed::Incomplete));
    // The largest one that fits.
    let room = CLIENT_HELLO_BYTES_MAX - 5 - 4 - body(b"").len() - 4;
    let largest = records(&message(&body(&extension(0x15, &vec![0; room]))), 1 << 14);
    assert_eq!(largest.len(), CLIENT_HELLO_BYTES_MAX);
    assert!(matches!(parse(&largest), Ok(Parsed::Hello(_))));
}

#[test]
fn a_real_client() {
    let mut config = TestCa::new().client13();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from("www.example.com").unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    let Ok(Parsed::Hello(hello)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
    assert_eq!(hello.server_name.as_deref(), Some("www.example.com"));
    assert_eq!(hello.alpn[0].as_slice(), b"h2");
    assert_eq!(hello.supported_versions.as_slice(), [0x0304]);
    assert_eq!(hello.supported_groups[0], 0x11ec);
    assert!(hello.cipher_suites.contains(&0x1301) && !hello.encrypted_client_hello);
    for cut in 0..bytes.len() {
        assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Incomplete));
    }
    // No single changed byte, and no removed tail, may do anything but give an answer.
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 0x80] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let _ = parse(&bad);
        }
    }
}

#[test]
fn grease_values() {
    let all: Vec<u16> = (0..=u16::MAX).filter(|value| is_grease(*value)).collect();
    let expected: Vec<u16> = (0..16).map(|n| (n << 12) | 0x0a00 | (n << 4) | 0x0a).collect();
    assert_eq!(all, expected);
}
