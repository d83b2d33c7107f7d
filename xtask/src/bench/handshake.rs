//! A generator of full TLS 1.3 handshakes on the load core: no resumption, X25519 for everybody, the certificate
//! taken without a look (the client's work is not what is measured), then one request, then the connection ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::LOAD_CORE;
use crate::process;

/// Connections that are opened at the same time.
const CLIENTS: usize = 32;

/// What a run showed.
#[derive(Debug)]
pub struct Done {
    /// Handshakes with a whole reply after them.
    pub handshakes: u64,
    /// The same, a second.
    pub per_second: f64,
}

/// Makes handshakes for `time`, in a thread of its own on the load core.
///
/// # Errors
/// A handshake or a reply failed.
pub fn run(port: u16, path: &'static str, time: Duration) -> Result<Done> {
    let thread = std::thread::spawn(move || -> Result<Done> {
        process::pin_thread(LOAD_CORE)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(all(port, path, time))
    });
    thread.join().map_err(|_| anyhow::anyhow!("the generator panicked"))?
}

async fn all(port: u16, path: &'static str, time: Duration) -> Result<Done> {
    let connector = TlsConnector::from(Arc::new(config()?));
    let (count, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let begun = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (connector, count, stop) = (connector.clone(), Arc::clone(&count), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    once(&connector, port, path).await?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.context("a client panicked")??;
    }
    let handshakes = count.load(Ordering::Relaxed);
    #[allow(clippy::cast_precision_loss)]
    let per_second = handshakes as f64 / begun.elapsed().as_secs_f64();
    Ok(Done { handshakes, per_second })
}

async fn once(connector: &TlsConnector, port: u16, path: &str) -> Result<()> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    // A reset instead of a TIME_WAIT a connection: thousands a second would use up the ports.
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    let name = ServerName::try_from("localhost")?;
    let mut stream = connector.connect(name, stream).await.context("handshake")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut reply = Vec::with_capacity(4096);
    loop {
        let read = stream.read_buf(&mut reply).await;
        // A server may close without close_notify: the length tells whether the reply is whole.
        if matches!(read, Ok(0) | Err(_)) || whole(&reply) {
            break;
        }
    }
    ensure!(reply.starts_with(b"HTTP/1.1 200") && whole(&reply), "a reply of {} bytes is not whole", reply.len());
    Ok(())
}

/// Whether head and 1 KiB of body are there.
fn whole(reply: &[u8]) -> bool {
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n");
    end.is_some_and(|end| reply.len() >= end + 4 + (1 << 10))
}

fn config() -> Result<ClientConfig> {
    let provider = CryptoProvider { kx_groups: vec![aws_lc_rs::kx_group::X25519], ..aws_lc_rs::default_provider() };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakeAny))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Takes every certificate: the server under test is our own child on loopback.
#[derive(Debug)]
pub struct TakeAny;

impl ServerCertVerifier for TakeAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519, SignatureScheme::RSA_PSS_SHA256]
    }
}
