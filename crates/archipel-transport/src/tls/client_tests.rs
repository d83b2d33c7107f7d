//! Handshakes with origins, and the words for those that fail.

use bytes::BytesMut;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::tls::certificates::CertificateFiles;
use crate::tls::test_support::{DAY, Kind, TestCa, acceptor, far, source};

fn trust(ca: &TestCa) -> OriginTrust {
    OriginTrust::Roots(TrustRoots::file(&ca.directory.path().join("ca.pem")).unwrap())
}

/// Connects to our own server with these certificates.
async fn connect_to(files: &CertificateFiles, origin: &OriginTls) -> Result<Alpn, OriginTlsError> {
    let (near, far_end) = duplex(64 * 1024);
    let acceptor = acceptor(&source(&[files]));
    let server = async move { acceptor.accept(far_end, BytesMut::new(), far()).await };
    let (client, _server) = tokio::join!(connect(near, origin), server);
    client.map(|(_, alpn)| alpn)
}

#[tokio::test]
async fn verified_by_name_and_authority() {
    let ca = TestCa::new();
    let stranger = TestCa::new();
    let now = std::time::SystemTime::now();
    let good = ca.issue("good", &["origin.example", "127.0.0.1"], Kind::Ecdsa);
    let old = ca.issue_valid("old", &["origin.example"], Kind::Ecdsa, (now - 9 * DAY, now - 3 * DAY));
    let check = async |files: &CertificateFiles, trust: OriginTrust, name: &str, expected| {
        let origin = OriginTls::new(&trust, OriginAlpn::H2OrH1, name).unwrap();
        let result = connect_to(files, &origin).await;
        assert_eq!(result.as_ref().map_err(OriginTlsError::proxy_status), expected, "{result:?}");
    };
    let refused = Err("tls_certificate_error");
    check(&good, trust(&ca), "origin.example", Ok(&Alpn::H2)).await;
    check(&good, trust(&ca), "127.0.0.1", Ok(&Alpn::H2)).await;
    check(&good, trust(&ca), "other.example", refused).await;
    check(&good, trust(&ca), "127.0.0.2", refused).await;
    check(&good, trust(&stranger), "origin.example", refused).await;
    check(&old, trust(&ca), "origin.example", refused).await;
    check(&old, OriginTrust::DangerouslyUnverified, "other.example", Ok(&Alpn::H2)).await;
}

#[tokio::test]
async fn application_protocols() {
    let ca = TestCa::new();
    let files = ca.issue("good", &["origin.example"], Kind::Rsa);
    for (alpn, expected) in [(OriginAlpn::H1, Alpn::H1), (OriginAlpn::H2, Alpn::H2), (OriginAlpn::H2OrH1, Alpn::H2)] {
        let origin = OriginTls::new(&trust(&ca), alpn, "other.example").unwrap();
        let origin = origin.with_server_name("origin.example").unwrap();
        assert_eq!(connect_to(&files, &origin).await, Ok(expected));
    }
}

/// A plain rustls server, to do what ours never does.
async fn raw_server(
    ca: &TestCa,
    change: impl FnOnce(&mut rustls::ServerConfig),
    demand_certificate: bool,
) -> (tokio::io::DuplexStream, tokio::task::JoinHandle<()>) {
    let files = ca.issue("raw", &["origin.example"], Kind::Ecdsa);
    let chain = read_certificates(&files.certificate_file).unwrap();
    let key = PrivateKeyDer::from_pem_file(&files.private_key_file).unwrap();
    let provider = crate::tls::provider();
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(ca.roots()), provider.clone());
    let mut config = if demand_certificate {
        builder.with_client_cert_verifier(verifier.build().unwrap())
    } else {
        builder.with_no_client_auth()
    }
    .with_single_cert(chain, key)
    .unwrap();
    change(&mut config);
    let (near, far_end) = duplex(64 * 1024);
    let server = tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        if let Ok(mut stream) = acceptor.accept(far_end).await {
            let _ = stream.read_u8().await;
        }
    });
    (near, server)
}

#[tokio::test]
async fn alerts_have_their_registered_names() {
    let ca = TestCa::new();
    let origin = OriginTls::new(&trust(&ca), OriginAlpn::H2, "origin.example").unwrap();
    let (io, _server) = raw_server(&ca, |c| c.alpn_protocols = vec![b"http/1.1".to_vec()], false).await;
    let error = connect(io, &origin).await.map(|_| ()).unwrap_err();
    assert_eq!(error, OriginTlsError::AlertReceived { id: 120, name: "no_application_protocol" });
    assert_eq!(error.proxy_status(), "tls_alert_received");

    // In TLS 1.3 the demand for a client certificate is only told after the handshake.
    let (io, _server) = raw_server(&ca, |_| {}, true).await;
    let origin = OriginTls::new(&trust(&ca), OriginAlpn::H1, "origin.example").unwrap();
    let (mut stream, alpn) = connect(io, &origin).await.unwrap();
    assert_eq!(alpn, Alpn::None);
    let error = stream.read_u8().await.unwrap_err();
    let classified = OriginTlsError::from_stream_error(&error).unwrap();
    assert_eq!(classified, OriginTlsError::AlertReceived { id: 116, name: "certificate_required" });
}

#[tokio::test]
async fn h2_is_demanded() {
    let ca = TestCa::new();
    let (io, _server) = raw_server(&ca, |_| {}, false).await;
    let origin = OriginTls::new(&trust(&ca), OriginAlpn::H2, "origin.example").unwrap();
    let error = connect(io, &origin).await.map(|_| ()).unwrap_err();
    assert_eq!(error.proxy_status(), "tls_protocol_error");
}

#[tokio::test]
async fn origins_that_do_not_speak_tls() {
    let ca = TestCa::new();
    let origin = OriginTls::new(&trust(&ca), OriginAlpn::H1, "origin.example").unwrap();
    let table: [(&[u8], &str); 4] = [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "tls_protocol_error"),
        (b"", "connection_terminated"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "tls_alert_received"),
        (b"\x16\x03\x03\x00", "connection_terminated"),
    ];
    for (answer, expected) in table {
        let (near, mut far_end) = duplex(64 * 1024);
        far_end.write_all(answer).await.unwrap();
        far_end.shutdown().await.unwrap();
        let error = connect(near, &origin).await.map(|_| ()).unwrap_err();
        assert_eq!(error.proxy_status(), expected, "{error}");
    }
}

#[test]
fn configuration_errors() {
    let ca = TestCa::new();
    for name in ["", "a b", "origin.example:443", "[::1]", "-"] {
        let error = OriginTls::new(&trust(&ca), OriginAlpn::H1, name).unwrap_err();
        assert!(matches!(error, OriginTlsConfigError::ServerName { .. }), "{name:?}: {error}");
    }
    let check = |file: &Path, part: &str| {
        let message = TrustRoots::file(file).unwrap_err().to_string();
        assert!(message.contains(&file.display().to_string()), "{message}");
        assert!(message.contains(part), "{message}");
    };
    check(Path::new("/nonexistent/ca.pem"), "cannot be read");
    check(&ca.directory.write("empty.pem", ""), "no certificate");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(&ca.directory.write("garbage.pem", garbage), "unusable root certificate");
}
