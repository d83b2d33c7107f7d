//! Handshakes between our server and real clients, in memory.

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::tls::certificates::DevelopmentNames;
use crate::tls::development_ca::DevelopmentCa;
use crate::tls::test_support::{Connected, Kind, TestCa, acceptor, far, handshake, source};

fn with_alpn(mut config: ClientConfig, protocols: &[&str]) -> Arc<ClientConfig> {
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

#[tokio::test]
async fn facts_of_a_modern_client() {
    let ca = TestCa::new();
    let acceptor = acceptor(&source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]));
    let client = with_alpn(ca.client(&[&TLS13, &TLS12]), &["h2", "http/1.1"]);
    let mut connected = handshake(&acceptor, &client, "A.example").await.unwrap();
    connected.exchange().await;
    let facts = &connected.facts;
    assert_eq!(facts.version, "TLSv1.3");
    assert!(facts.cipher.starts_with("TLS13_"), "{}", facts.cipher);
    assert_eq!(facts.sni.as_deref(), Some("a.example"));
    assert_eq!(facts.alpn, Alpn::H2);
    assert!(!facts.resumed);
    assert_eq!(facts.key_exchange_group, "X25519MLKEM768");
    let ja4 = facts.ja4.unwrap().to_string();
    assert!(ja4.starts_with("t13d") && ja4[8..].starts_with("h2_"), "{ja4}");
}

#[tokio::test]
async fn versions_and_application_protocols() {
    let ca = TestCa::new();
    let acceptor = acceptor(&source(&[&ca.issue("a", &["a.example"], Kind::Rsa)]));
    let check = async |client: Arc<ClientConfig>, version: &str, alpn: Alpn| {
        let mut connected = handshake(&acceptor, &client, "a.example").await.unwrap();
        connected.exchange().await;
        assert_eq!((connected.facts.version, connected.facts.alpn), (version, alpn));
    };
    check(with_alpn(ca.client(&[&TLS12]), &["http/1.1", "h2"]), "TLSv1.2", Alpn::H2).await;
    check(with_alpn(ca.client(&[&TLS12]), &["http/1.1"]), "TLSv1.2", Alpn::H1).await;
    check(with_alpn(ca.client13(), &["http/1.1"]), "TLSv1.3", Alpn::H1).await;
    check(with_alpn(ca.client13(), &[]), "TLSv1.3", Alpn::None).await;
    // RFC 7301 section 3.2: nothing in common is an error, not a guess.
    let error = handshake(&acceptor, &with_alpn(ca.client13(), &["ftp"]), "a.example").await;
    let (Some(error), Some(client)) = error.err().unwrap() else { panic!() };
    assert_eq!(error.reason(), "tls_handshake_failed");
    assert!(client.to_string().contains("NoApplicationProtocol"), "{client}");
}

#[tokio::test]
async fn settings() {
    let ca = TestCa::new();
    let source = source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]);
    let settings = TlsServerSettings {
        version_min: TlsVersion::Tls13,
        h2: false,
        fingerprint: false,
        ..TlsServerSettings::default()
    };
    let (acceptor, _) = TlsAcceptor::new(&source, settings, SystemTime::now()).unwrap();
    let client = with_alpn(ca.client13(), &["h2", "http/1.1"]);
    let connected = handshake(&acceptor, &client, "a.example").await.unwrap();
    assert_eq!((connected.facts.alpn, connected.facts.ja4), (Alpn::H1, None));
    let old = with_alpn(ca.client(&[&TLS12]), &[]);
    let (error, _) = handshake(&acceptor, &old, "a.example").await.err().unwrap();
    assert_eq!(error.unwrap().reason(), "tls_handshake_failed");
}

#[tokio::test]
async fn certificate_by_name() {
    let ca = TestCa::new();
    let files = [
        ca.issue("default", &["default.example"], Kind::Ecdsa),
        ca.issue("wild", &["*.example.com"], Kind::Rsa),
        ca.issue("exact", &["a.example.com"], Kind::Ecdsa),
    ];
    let acceptor = acceptor(&source(&files.iter().collect::<Vec<_>>()));
    let client = Arc::new(ca.client13());
    for (name, shown) in
        [("default.example", "default.example"), ("a.example.com", "a.example.com"), ("b.example.com", "*.example.com")]
    {
        let connected = handshake(&acceptor, &client, name).await.unwrap();
        assert_eq!(connected.shown_names(), [shown]);
    }
    // The default is shown for any other name, and the client refuses it.
    let (error, _) = handshake(&acceptor, &client, "other.example").await.err().unwrap();
    let error = error.unwrap();
    assert_eq!(error.reason(), "tls_alert_received");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn resumption() {
    let ca = TestCa::new();
    let acceptor = acceptor(&source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]));
    let no_tickets = {
        let mut config = ca.client(&[&TLS12]);
        config.resumption = rustls::client::Resumption::in_memory_sessions(8)
            .tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
        config
    };
    for config in [ca.client13(), ca.client(&[&TLS12]), no_tickets] {
        let client = Arc::new(config);
        let mut resumed = Vec::new();
        for _ in 0..3 {
            let mut connected = handshake(&acceptor, &client, "a.example").await.unwrap();
            connected.exchange().await;
            resumed.push(connected.facts.resumed);
        }
        assert_eq!(resumed, [false, true, true]);
    }
}

#[tokio::test]
async fn hot_reload() {
    let ca = TestCa::new();
    let old = ca.issue("old", &["a.example", "old.example"], Kind::Ecdsa);
    let new = ca.issue("new", &["a.example", "new.example"], Kind::Ecdsa);
    let acceptor = acceptor(&source(&[&old]));
    let shown = async || {
        // Without resumption, so that each handshake shows a certificate.
        let client = Arc::new(ca.client13());
        handshake(&acceptor, &client, "a.example").await.unwrap().shown_names()
    };
    let mut open: Connected = handshake(&acceptor, &Arc::new(ca.client13()), "a.example").await.unwrap();
    assert_eq!(shown().await, ["a.example", "old.example"]);

    let mut bad = new.clone();
    bad.private_key_file = old.private_key_file.clone();
    let now = SystemTime::now();
    for bad in [source(&[&new, &bad]), source(&[])] {
        acceptor.reload(&bad, now).unwrap_err();
        assert_eq!(shown().await, ["a.example", "old.example"], "the last good table stays");
    }
    assert_eq!(acceptor.clone().reload(&source(&[&new]), now).unwrap(), vec![]);
    assert_eq!(shown().await, ["a.example", "new.example"]);
    assert!(acceptor.certificates().same_certificate("a.example", "new.example"));
    open.exchange().await;
}

#[tokio::test]
async fn development_certificates() {
    let directory = crate::tls::test_support::Directory::new();
    let now = SystemTime::now();
    let authority = Arc::new(DevelopmentCa::open(directory.path(), now).unwrap());
    let ca = TestCa::new();
    let mut source = source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]);
    let names = vec!["shop.test".to_owned(), "*.shop.test".to_owned()];
    source.development = Some(DevelopmentNames { ca: authority.clone(), names });
    let mut roots = ca.roots();
    for root in crate::tls::certificates::read_certificates(authority.certificate_path()).unwrap() {
        roots.add(root).unwrap();
    }
    let client = Arc::new(
        ClientConfig::builder_with_provider(crate::tls::provider().clone())
            .with_protocol_versions(&[&TLS13, &TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    );
    let with_file = acceptor(&source);
    source.files.clear();
    let without_file = acceptor(&source);
    let check = async |acceptor: &TlsAcceptor, name: &str, good: bool| {
        let result = handshake(acceptor, &client, name).await;
        assert_eq!(result.is_ok(), good, "{name}");
    };
    for name in ["a.example", "shop.test", "www.shop.test", "localhost"] {
        check(&with_file, name, true).await;
    }
    for name in ["shop.test", "localhost", "127.0.0.1", "::1"] {
        check(&without_file, name, true).await;
    }
    for name in ["a.example", "a.b.shop.test", "other.test"] {
        check(&without_file, name, false).await;
    }
    source.development.as_mut().unwrap().names.push("not a name".to_owned());
    let error = TlsAcceptor::new(&source, TlsServerSettings::default(), now).unwrap_err();
    assert!(error.to_string().contains("'not a name'"), "{error}");
}

/// Sends `bytes`, then the end of the stream, to an acceptor. Returns the error's reason and what
/// the client reads.
async fn send(bytes: &[u8], already_read: &[u8], deadline: Instant) -> (AcceptFailure<DuplexStream>, Vec<u8>) {
    let ca = TestCa::new();
    let acceptor = acceptor(&source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]));
    let (mut near, other) = duplex(64 * 1024);
    near.write_all(bytes).await.unwrap();
    if !bytes.is_empty() {
        near.shutdown().await.unwrap();
    }
    let mut failure = acceptor.accept(other, already_read.into(), deadline).await.unwrap_err();
    if failure.error.looks_like_http() {
        let io = failure.io.as_mut().unwrap();
        io.write_all(PLAIN_HTTP_REPLY).await.unwrap();
    }
    drop(failure.io.take());
    let mut answer = Vec::new();
    near.read_to_end(&mut answer).await.unwrap();
    (failure, answer)
}

#[tokio::test]
async fn refused_beginnings() {
    let check = async |bytes: &[u8], reason: &str, answer: &[u8]| {
        let (failure, read) = send(bytes, b"", far()).await;
        assert_eq!((failure.error.reason(), read.as_slice()), (reason, answer), "{}", failure.error);
        // The same when another layer had read the bytes already.
        let (failure, read) = send(b"", bytes, Instant::now()).await;
        if reason != "tls_closed" {
            assert_eq!((failure.error.reason(), read.as_slice()), (reason, answer));
        }
    };
    check(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "tls_plain_http", PLAIN_HTTP_REPLY).await;
    check(b"SSH-2.0-x\r\n", "tls_not_tls", b"").await;
    check(b"\x16\x03\x01\x02\x00\x01\x00", "tls_closed", b"").await;
    check(b"\x16\x03\x01", "tls_closed", b"").await;
    check(b"\x16\x03\x01\0\x04\x01\0\x40\0", "tls_client_hello_too_large", &[21, 3, 3, 0, 2, 2, 47]).await;
    check(b"\x16\x03\x01\0\x04\x01\0\0\0", "tls_client_hello_malformed", &[21, 3, 3, 0, 2, 2, 50]).await;
    let mut endless = Vec::new();
    while endless.len() < 2 * CLIENT_HELLO_BYTES_MAX {
        let start: &[u8] = if endless.is_empty() { &[1, 0, 0x3f, 0xf0] } else { &[0; 4] };
        endless.extend_from_slice(&[&[22, 3, 1, 0, 4], start].concat());
    }
    check(&endless, "tls_client_hello_too_large", &[21, 3, 3, 0, 2, 2, 47]).await;
}

#[tokio::test]
async fn deadline() {
    let (failure, _) = send(b"", b"\x16\x03\x01", Instant::now()).await;
    assert_eq!(failure.error.reason(), "tls_handshake_timeout");
    // Also in the middle of the handshake: a whole hello, and then silence.
    let ca = TestCa::new();
    let acceptor = acceptor(&source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]));
    let hello = client_hello_bytes(ca.client13());
    let (near, other) = duplex(64 * 1024);
    // The limit is looked at only when the handshake has to wait.
    let soon = Instant::now();
    let failure = acceptor.accept(other, hello.as_slice().into(), soon).await.unwrap_err();
    assert_eq!(failure.error.reason(), "tls_handshake_timeout");
    drop(near);
}

fn client_hello_bytes(config: ClientConfig) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// Passes what the client sends on in records of `size` bytes and reads of one byte: `already_read`
/// holds none, the middle or all of it.
#[tokio::test]
async fn fragmented_hello() {
    let ca = TestCa::new();
    let acceptor = acceptor(&source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]));
    let name = rustls::pki_types::ServerName::try_from("a.example").unwrap();
    for (size, before) in [(1 << 14, 0), (1 << 14, 3), (1 << 14, usize::MAX), (100, 0), (9, 7)] {
        let config = Arc::new(ca.client13());
        let mut client = rustls::ClientConnection::new(config, name.clone()).unwrap();
        let mut whole = Vec::new();
        client.write_tls(&mut whole).unwrap();
        let record = |chunk: &[u8]| [&[22, 3, 1], &(chunk.len() as u16).to_be_bytes()[..], chunk].concat();
        let bytes: Vec<u8> = whole[5..].chunks(size).flat_map(record).collect();
        let (before, rest) = bytes.split_at(before.min(bytes.len()));
        // A pipe of one byte: every read of the server delivers one byte at most.
        let (mut near, other) = duplex(1);
        let server = acceptor.accept(other, before.into(), far());
        let client = async {
            near.write_all(rest).await.unwrap();
            let mut header = [0; 5];
            near.read_exact(&mut header).await.unwrap();
            assert_eq!(header[..3], [22, 3, 3], "a ServerHello");
        };
        tokio::select! {
            biased;
            () = client => {}
            failed = server => panic!("{:?}", failed.map(|_| ()).map_err(|f| f.error)),
        }
    }
}

#[test]
fn plain_http_reply_is_framed() {
    let text = std::str::from_utf8(PLAIN_HTTP_REPLY).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
}

#[test]
fn acceptor_is_shareable() {
    fn check<T: Send + Sync + Clone>() {}
    fn check_future(_: impl Send) {}
    check::<TlsAcceptor>();
    let ca = TestCa::new();
    let acceptor = acceptor(&source(&[&ca.issue("a", &["a.example"], Kind::Ecdsa)]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    check_future(acceptor.accept(duplex(1).0, BytesMut::new(), far()));
}
