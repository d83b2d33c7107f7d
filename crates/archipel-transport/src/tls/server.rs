//! Accepting TLS connections.
//!
//! Owns: the bounded reading of the ClientHello before the handshake, the handshake under a
//! deadline, what is known of a client afterwards ([`TlsFacts`]), and the replacing of
//! certificates while running.
//!
//! Must never: accept TCP connections, decide who may connect, or answer HTTP (a client that
//! speaks plain HTTP to the TLS port is handed back to the caller).

use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{AlertDescription, HandshakeKind, ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::Alpn;
use super::certificates::{CertificateSource, CertificateTable, CertificateWarning, TlsConfigError, TlsConfigErrors};
use super::client_hello::{self, CLIENT_HELLO_BYTES_MAX, ClientHelloError, Hello};
use super::ja4::{Ja4, Ja4Transport, ja4};
use super::replay::Replay;

/// An accepted TLS connection over `T`.
pub type TlsStream<T> = tokio_rustls::server::TlsStream<Replay<T>>;

/// First size of the buffer for the ClientHello in bytes: that of a browser fits.
const HELLO_BUFFER_BYTES: usize = 2048;

/// A whole HTTP/1.1 reply for a client that speaks plain HTTP to the TLS port
/// ([`TlsAcceptError::looks_like_http`]).
pub const PLAIN_HTTP_REPLY: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 73\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks TLS, the request was plain HTTP. Use https:// instead.\r\n";

/// What to offer to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsServerSettings {
    /// The oldest version to accept.
    pub version_min: TlsVersion,
    /// Whether `h2` is offered before `http/1.1`.
    pub h2: bool,
    /// Most sessions kept in memory for clients that resume without tickets (TLS 1.2 session
    /// identifiers).
    pub tls_sessions_max: usize,
    /// Whether JA4 fingerprints are computed.
    pub fingerprint: bool,
}

impl Default for TlsServerSettings {
    fn default() -> Self {
        Self { version_min: TlsVersion::Tls12, h2: true, tls_sessions_max: 4096, fingerprint: true }
    }
}

/// A version of TLS that can be accepted. Older ones are broken (RFC 8996) and not implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a completed handshake says about a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, for example `TLS13_AES_256_GCM_SHA384`.
    pub cipher: &'static str,
    /// The name the client asked for, in lower case: the one the certificate was chosen by.
    pub sni: Option<Arc<str>>,
    /// The application protocol.
    pub alpn: Alpn,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
    /// The client's fingerprint, where enabled.
    pub ja4: Option<Ja4>,
    /// The key exchange, for example `X25519MLKEM768`; `none` in a resumed TLS 1.2 session.
    pub key_exchange_group: &'static str,
}

/// Why a connection did not become a TLS connection. The fault is the client's unless said.
#[derive(Debug, thiserror::Error)]
pub enum TlsAcceptError {
    /// The deadline passed.
    #[error("the TLS handshake took too long")]
    Timeout,
    /// The client went away before or in the middle of the handshake.
    #[error("the client closed the connection during the TLS handshake")]
    Closed,
    /// The first message is not an acceptable ClientHello.
    #[error(transparent)]
    ClientHello(#[from] ClientHelloError),
    /// The client refused to go on, with the name of its alert (RFC 8446 section 6). A
    /// certificate that it does not trust is the usual reason.
    #[error("the client sent the TLS alert {0}")]
    AlertReceived(&'static str),
    /// The handshake failed.
    #[error("TLS handshake: {0}")]
    Handshake(rustls::Error),
    /// The connection failed.
    #[error("connection failed during the TLS handshake: {0}")]
    Io(io::Error),
}

impl TlsAcceptError {
    /// A short fixed name, for metrics and logs.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "tls_handshake_timeout",
            Self::Closed => "tls_closed",
            Self::ClientHello(ClientHelloError::NotTls { looks_like_http: true }) => "tls_plain_http",
            Self::ClientHello(ClientHelloError::NotTls { .. }) => "tls_not_tls",
            Self::ClientHello(ClientHelloError::TooLarge) => "tls_client_hello_too_large",
            Self::ClientHello(ClientHelloError::Malformed(_)) => "tls_client_hello_malformed",
            Self::AlertReceived(_) => "tls_alert_received",
            Self::Handshake(_) => "tls_handshake_failed",
            Self::Io(_) => "tls_io",
        }
    }

    /// Whether the client sent a plain HTTP request to the TLS port.
    #[must_use]
    pub fn looks_like_http(&self) -> bool {
        matches!(self, Self::ClientHello(ClientHelloError::NotTls { looks_like_http: true }))
    }

    fn from_io(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => Self::AlertReceived(alert_name(*alert)),
            Some(tls) => Self::Handshake(tls.clone()),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            None => Self::Io(error),
        }
    }
}

/// A connection that did not become a TLS connection.
#[derive(Debug)]
pub struct AcceptFailure<T> {
    /// What happened.
    pub error: TlsAcceptError,
    /// The connection, where the failure came before the handshake: to answer
    /// [`PLAIN_HTTP_REPLY`], for example. Otherwise it is closed already, after an alert.
    pub io: Option<T>,
}

impl<T> From<TlsAcceptError> for AcceptFailure<T> {
    fn from(error: TlsAcceptError) -> Self {
        Self { error, io: None }
    }
}

/// Turns accepted connections into TLS connections. Cheap to clone; clones share certificates and
/// sessions.
#[derive(Clone)]
pub struct TlsAcceptor {
    inner: tokio_rustls::TlsAcceptor,
    certificates: Arc<Certificates>,
    fingerprint: bool,
}

impl std::fmt::Debug for TlsAcceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsAcceptor").finish_non_exhaustive()
    }
}

impl TlsAcceptor {
    /// Reads the certificates and sets everything up. Blocks on file reads. Returns warnings
    /// about certificates that can be used but should not stay.
    ///
    /// # Errors
    /// Every problem of the certificates.
    pub fn new(
        source: &CertificateSource,
        settings: TlsServerSettings,
        now: SystemTime,
    ) -> Result<(Self, Vec<CertificateWarning>), TlsConfigErrors> {
        let (table, warnings) = CertificateTable::load(source, now)?;
        let certificates = Arc::new(Certificates { table: ArcSwap::from_pointee(table) });
        let config = server_config(settings, certificates.clone())
            .map_err(|error| TlsConfigError::Library(error.to_string()))?;
        let inner = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        Ok((Self { inner, certificates, fingerprint: settings.fingerprint }, warnings))
    }

    /// Reads the certificates again and, only if all of them are good, uses them for connections
    /// accepted from now on. On any error the old table stays. Blocks on file reads.
    ///
    /// # Errors
    /// Every problem of the new certificates.
    pub fn reload(
        &self,
        source: &CertificateSource,
        now: SystemTime,
    ) -> Result<Vec<CertificateWarning>, TlsConfigErrors> {
        let (table, warnings) = CertificateTable::load(source, now)?;
        self.certificates.table.store(Arc::new(table));
        Ok(warnings)
    }

    /// The certificates in use.
    #[must_use]
    pub fn certificates(&self) -> Arc<CertificateTable> {
        self.certificates.table.load_full()
    }

    /// Performs the handshake on a new connection, until `deadline` at most.
    ///
    /// `already_read` holds bytes of the connection that were read before (behind a PROXY header,
    /// for example); empty otherwise. The ClientHello is read and judged first, so that floods of
    /// garbage never reach the TLS state machine.
    ///
    /// # Errors
    /// [`AcceptFailure`], with the connection where the caller can still say something in plain
    /// text.
    pub async fn accept<T>(
        &self,
        mut io: T,
        already_read: BytesMut,
        deadline: Instant,
    ) -> Result<(TlsStream<T>, TlsFacts), AcceptFailure<T>>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let read = timeout_at(deadline, read_hello(&mut io, already_read)).await;
        let (hello, front) = match read.unwrap_or(Err(TlsAcceptError::Timeout)) {
            Ok(read) => read,
            Err(error) => {
                refuse_hello(&mut io, &error, deadline).await;
                return Err(AcceptFailure { error, io: Some(io) });
            }
        };
        let fingerprint = self.fingerprint.then(|| ja4(&hello, Ja4Transport::Tcp));
        drop(hello);
        let handshake = self.inner.accept(Replay::new(front, io));
        let stream = timeout_at(deadline, handshake)
            .await
            .map_err(|_| TlsAcceptError::Timeout)?
            .map_err(TlsAcceptError::from_io)?;
        let facts = facts(stream.get_ref().1, fingerprint);
        Ok((stream, facts))
    }
}

/// Reads until there is a whole ClientHello. Returns all bytes read.
async fn read_hello<T: AsyncRead + Unpin>(
    io: &mut T,
    mut buffer: BytesMut,
) -> Result<(Box<Hello>, Bytes), TlsAcceptError> {
    loop {
        if let client_hello::Parsed::Hello(hello) = client_hello::parse(&buffer)? {
            return Ok((hello, buffer.freeze()));
        }
        // parse() has refused before the buffer is full, so there is always room to read into.
        let room = CLIENT_HELLO_BYTES_MAX.saturating_sub(buffer.len()).max(1);
        buffer.reserve(room.min(HELLO_BUFFER_BYTES));
        let count = (&mut *io).take(room as u64).read_buf(&mut buffer).await.map_err(TlsAcceptError::Io)?;
        if count == 0 {
            return Err(TlsAcceptError::Closed);
        }
    }
}

/// Tells a TLS client whose ClientHello is refused so, in an alert (RFC 8446 section 6.2); those
/// who do not speak TLS get nothing here.
async fn refuse_hello<T: AsyncWrite + Unpin>(io: &mut T, error: &TlsAcceptError, until: Instant) {
    let alert = match error {
        TlsAcceptError::ClientHello(ClientHelloError::Malformed(_)) => AlertDescription::DecodeError,
        TlsAcceptError::ClientHello(ClientHelloError::TooLarge) => AlertDescription::IllegalParameter,
        _ => return,
    };
    let record = [21, 3, 3, 0, 2, 2, u8::from(alert)];
    // The connection is lost either way.
    let _ = timeout_at(until, io.write_all(&record)).await;
}

fn facts(connection: &ServerConnection, ja4: Option<Ja4>) -> TlsFacts {
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        _ => "unknown",
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    let group = connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str());
    TlsFacts {
        version,
        cipher: cipher.unwrap_or("unknown"),
        sni: connection.server_name().map(Arc::from),
        alpn: Alpn::from_wire(connection.alpn_protocol()),
        resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        ja4,
        key_exchange_group: group.unwrap_or("none"),
    }
}

/// The certificate table behind the TLS library's question "which one for this client?".
#[derive(Debug)]
struct Certificates {
    table: ArcSwap<CertificateTable>,
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        table.find(client_hello.server_name(), client_hello.signature_schemes())
    }
}

fn server_config(settings: TlsServerSettings, certificates: Arc<Certificates>) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&'static rustls::SupportedProtocolVersion] = match settings.version_min {
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(super::provider().clone())
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    if settings.h2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    // Tickets rotate their keys by themselves, and are tied by rustls to the server name they
    // were issued for. No early data: it can be replayed (RFC 8470).
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    config.session_storage = ServerSessionMemoryCache::new(settings.tls_sessions_max);
    Ok(config)
}

/// The registered name of an alert (IANA "TLS Alerts"), as RFC 9209 section 2.3.15 wants it.
pub(crate) fn alert_name(alert: AlertDescription) -> &'static str {
    match u8::from(alert) {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        52 => "too_many_cids_requested",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        _ => "unassigned",
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
