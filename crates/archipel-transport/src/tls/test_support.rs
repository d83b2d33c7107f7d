//! Certificates, files and handshakes for the tests of this module.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::Instant;

use super::certificates::{CertificateFiles, CertificateSource};
use super::server::{TlsAcceptError, TlsAcceptor, TlsFacts, TlsServerSettings, TlsStream};

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A directory that goes away with the test.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("archipel-tls-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        set_mode(&path, 0o600);
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The kinds of keys of test certificates.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Ecdsa,
    Rsa,
    Ed25519,
}

impl Kind {
    fn key(self) -> KeyPair {
        KeyPair::generate_for(match self {
            Self::Ecdsa => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        })
        .unwrap()
    }
}

/// An authority whose certificates live in a [`Directory`].
pub(super) struct TestCa {
    pub(super) directory: Directory,
    pub(super) certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl TestCa {
    pub(super) fn new() -> Self {
        let key = Kind::Ecdsa.key();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let certificate = params.self_signed(&key).unwrap();
        let directory = Directory::new();
        directory.write("ca.pem", &certificate.pem());
        Self { directory, certificate, issuer: Issuer::new(params, key) }
    }

    pub(super) fn issue(&self, stem: &str, names: &[&str], kind: Kind) -> CertificateFiles {
        let now = SystemTime::now();
        self.issue_valid(stem, names, kind, (now - DAY, now + 90 * DAY))
    }

    pub(super) fn issue_valid(
        &self,
        stem: &str,
        names: &[&str],
        kind: Kind,
        (from, to): (SystemTime, SystemTime),
    ) -> CertificateFiles {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, stem);
        (params.not_before, params.not_after) = (from.into(), to.into());
        let key = kind.key();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = leaf.pem() + &self.certificate.pem();
        CertificateFiles {
            certificate_file: self.directory.write(&format!("{stem}.pem"), &chain),
            private_key_file: self.directory.write(&format!("{stem}.key"), &key.serialize_pem()),
        }
    }

    pub(super) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }

    /// A client that trusts this authority, with everything else as the library has it.
    pub(super) fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        ClientConfig::builder_with_provider(super::provider().clone())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth()
    }

    pub(super) fn client13(&self) -> ClientConfig {
        self.client(&[&rustls::version::TLS13])
    }
}

pub(super) fn source(files: &[&CertificateFiles]) -> CertificateSource {
    let files = files.iter().map(|files| (*files).clone()).collect();
    CertificateSource { files, development: None }
}

pub(super) fn acceptor(source: &CertificateSource) -> TlsAcceptor {
    let settings = TlsServerSettings::default();
    TlsAcceptor::new(source, settings, SystemTime::now()).unwrap().0
}

/// A deadline that no test reaches unless it hangs.
pub(super) fn far() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

pub(super) type ClientStream = tokio_rustls::client::TlsStream<DuplexStream>;

/// Both ends of a completed handshake.
pub(super) struct Connected {
    pub(super) server: TlsStream<DuplexStream>,
    pub(super) client: ClientStream,
    pub(super) facts: TlsFacts,
}

impl Connected {
    /// The host names of the certificate that the client was shown.
    pub(super) fn shown_names(&self) -> Vec<String> {
        let certificates = self.client.get_ref().1.peer_certificates().unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&certificates[0]).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap();
        let names = names.value.general_names.iter();
        names
            .filter_map(|name| match name {
                x509_parser::extensions::GeneralName::DNSName(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect()
    }

    /// Sends something in both directions. The client then also has its session tickets.
    pub(super) async fn exchange(&mut self) {
        let mut read = [0; 4];
        self.client.write_all(b"ping").await.unwrap();
        self.server.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"ping");
        self.server.write_all(b"pong").await.unwrap();
        self.client.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"pong");
    }
}

/// A handshake in memory. `Err` holds what both sides say.
pub(super) async fn handshake(
    acceptor: &TlsAcceptor,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Connected, (Option<TlsAcceptError>, Option<std::io::Error>)> {
    let (near, other) = duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(client.clone());
    let server = acceptor.accept(other, BytesMut::new(), far());
    let (server, client) = tokio::join!(server, connector.connect(name, near));
    match (server, client) {
        (Ok((server, facts)), Ok(client)) => Ok(Connected { server, client, facts }),
        (server, client) => Err((server.err().map(|failure| failure.error), client.err())),
    }
}
