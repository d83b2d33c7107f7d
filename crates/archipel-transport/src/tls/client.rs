//! TLS to origins.
//!
//! Owns: trust roots, the client configuration of an origin, the handshake, and the words of
//! RFC 9209 for what went wrong.
//!
//! Must never: connect sockets, retry, or skip verification unless asked in so many words
//! ([`OriginTrust::DangerouslyUnverified`]).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Alpn;
use super::certificates::{TlsConfigError, read_certificates};
use super::dangerous::NoVerification;
use super::server::alert_name;

/// A TLS connection to an origin over `T`.
pub type TlsStream<T> = tokio_rustls::client::TlsStream<T>;

/// Most sessions kept for resumption with one origin's configuration.
const ORIGIN_SESSIONS_MAX: usize = 64;

/// Certificates that origins are verified against. Cheap to clone: load once, share.
#[derive(Debug, Clone)]
pub struct TrustRoots(Arc<RootCertStore>);

impl TrustRoots {
    /// The roots of this machine. Blocks on file reads.
    ///
    /// # Errors
    /// [`OriginTlsConfigError::NoSystemRoots`] where there is not a single usable one.
    pub fn system() -> Result<Self, OriginTlsConfigError> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // Machines carry the odd root that cannot be parsed: those are passed over.
        let (added, _) = store.add_parsable_certificates(found.certs);
        if added == 0 {
            let problem = found.errors.first().map(ToString::to_string).unwrap_or_default();
            return Err(OriginTlsConfigError::NoSystemRoots { problem });
        }
        Ok(Self(Arc::new(store)))
    }

    /// The certificates of a PEM file, and no others: every one must be usable. Blocks on file
    /// reads.
    ///
    /// # Errors
    /// The file cannot be read, holds no certificate or one that cannot be a root.
    pub fn file(file: &Path) -> Result<Self, OriginTlsConfigError> {
        let mut store = RootCertStore::empty();
        for certificate in read_certificates(file)? {
            store
                .add(certificate)
                .map_err(|error| OriginTlsConfigError::Root { file: file.to_owned(), problem: error.to_string() })?;
        }
        Ok(Self(Arc::new(store)))
    }
}

/// Whom to believe that an origin is who it should be.
#[derive(Debug, Clone)]
pub enum OriginTrust {
    /// Verified against these roots.
    Roots(TrustRoots),
    /// Not verified at all: see [`super::dangerous`].
    DangerouslyUnverified,
}

/// What to offer to an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginAlpn {
    /// `http/1.1` only.
    H1,
    /// `h2` only; an origin that does not agree to it is an error.
    H2,
    /// `h2`, else `http/1.1`.
    H2OrH1,
}

/// What is wrong with the configuration of TLS to an origin. The fault is the operator's.
#[derive(Debug, thiserror::Error)]
pub enum OriginTlsConfigError {
    /// The machine has no trust roots.
    #[error("no trusted root certificates found on this machine{}; install the ca-certificates package, set SSL_CERT_FILE, or name a CA file for the origin",
        if .problem.is_empty() { String::new() } else { format!(" ({problem})") })]
    NoSystemRoots {
        /// What was tried last, or empty.
        problem: String,
    },
    /// A certificate of a CA file cannot be a root.
    #[error("{file}: unusable root certificate: {problem}")]
    Root {
        /// The CA file.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A CA file cannot be used.
    #[error(transparent)]
    File(#[from] TlsConfigError),
    /// The name to verify is neither a host name nor an IP address.
    #[error("'{name}' is neither a host name nor an IP address that an origin's certificate could carry")]
    ServerName {
        /// The name as configured.
        name: String,
    },
    /// The TLS library refused to start.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

/// How to speak TLS to one origin. Cheap to clone; clones share sessions for resumption.
#[derive(Debug, Clone)]
pub struct OriginTls {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    alpn: OriginAlpn,
}

impl OriginTls {
    /// TLS to the origin whose certificate must carry `server_name` (a host name, which is also
    /// sent as SNI, or an IP address without brackets, which is not).
    ///
    /// # Errors
    /// The name is none, or the TLS library refuses.
    pub fn new(trust: &OriginTrust, alpn: OriginAlpn, server_name: &str) -> Result<Self, OriginTlsConfigError> {
        let server_name = parse_server_name(server_name)?;
        let builder = ClientConfig::builder_with_provider(super::provider().clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| OriginTlsConfigError::Library(error.to_string()))?;
        let mut config = match trust {
            OriginTrust::Roots(roots) => builder.with_root_certificates(roots.0.clone()),
            OriginTrust::DangerouslyUnverified => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification))
            }
        }
        .with_no_client_auth();
        config.alpn_protocols = match alpn {
            OriginAlpn::H1 => vec![b"http/1.1".to_vec()],
            OriginAlpn::H2 => vec![b"h2".to_vec()],
            OriginAlpn::H2OrH1 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        };
        config.resumption = Resumption::in_memory_sessions(ORIGIN_SESSIONS_MAX);
        Ok(Self { config: Arc::new(config), server_name, alpn })
    }

    /// The same with another name to send and verify. Sessions are kept by name, so sharing them
    /// is safe.
    ///
    /// # Errors
    /// The name is none.
    pub fn with_server_name(&self, server_name: &str) -> Result<Self, OriginTlsConfigError> {
        Ok(Self { server_name: parse_server_name(server_name)?, ..self.clone() })
    }
}

fn parse_server_name(name: &str) -> Result<ServerName<'static>, OriginTlsConfigError> {
    ServerName::try_from(name.to_owned()).map_err(|_| OriginTlsConfigError::ServerName { name: name.to_owned() })
}

/// Why there is no TLS connection to an origin, in the words of RFC 9209 section 2.3. The fault is
/// the origin's (or of its configuration here); nothing of the request was sent, so another try
/// is safe, though only after [`Self::Terminated`] it is of use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OriginTlsError {
    /// `tls_protocol_error`: section 2.3.13.
    #[error("TLS protocol error: {0}")]
    Protocol(String),
    /// `tls_certificate_error`: section 2.3.14.
    #[error("the origin's certificate was refused: {0}")]
    Certificate(String),
    /// `tls_alert_received`: section 2.3.15.
    #[error("the origin sent the TLS alert {name}")]
    AlertReceived {
        /// For the `alert-id` parameter.
        id: u8,
        /// For the `alert-message` parameter.
        name: &'static str,
    },
    /// `connection_terminated`: section 2.3.8. Closed or reset in the middle of the handshake.
    #[error("the origin closed the connection during the TLS handshake: {0}")]
    Terminated(String),
}

impl OriginTlsError {
    /// The error type of RFC 9209 for `Proxy-Status`.
    #[must_use]
    pub fn proxy_status(&self) -> &'static str {
        match self {
            Self::Protocol(_) => "tls_protocol_error",
            Self::Certificate(_) => "tls_certificate_error",
            Self::AlertReceived { .. } => "tls_alert_received",
            Self::Terminated(_) => "connection_terminated",
        }
    }

    /// Classifies an error of a TLS stream, or `None` where it does not come from TLS. Also for
    /// errors of reading: in TLS 1.3 an origin's alert may come after the handshake.
    #[must_use]
    pub fn from_stream_error(error: &io::Error) -> Option<Self> {
        let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        Some(match error {
            rustls::Error::AlertReceived(alert) => {
                Self::AlertReceived { id: u8::from(*alert), name: alert_name(*alert) }
            }
            rustls::Error::InvalidCertificate(_)
            | rustls::Error::NoCertificatesPresented
            | rustls::Error::UnsupportedNameType
            | rustls::Error::InvalidCertRevocationList(_) => Self::Certificate(error.to_string()),
            other => Self::Protocol(other.to_string()),
        })
    }
}

/// Performs the handshake with an origin on a connected stream. The caller sets the time limit.
///
/// # Errors
/// [`OriginTlsError`]; the stream is closed then.
pub async fn connect<T>(io: T, origin: &OriginTls) -> Result<(TlsStream<T>, Alpn), OriginTlsError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let connector = tokio_rustls::TlsConnector::from(origin.config.clone());
    let stream = connector.connect(origin.server_name.clone(), io).await.map_err(|error| {
        OriginTlsError::from_stream_error(&error).unwrap_or_else(|| OriginTlsError::Terminated(error.to_string()))
    })?;
    let alpn = Alpn::from_wire(stream.get_ref().1.alpn_protocol());
    if origin.alpn == OriginAlpn::H2 && alpn != Alpn::H2 {
        return Err(OriginTlsError::Protocol("the origin did not agree to h2".to_owned()));
    }
    Ok((stream, alpn))
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
