//! One byte stream, plain or TLS, with exact buffering: what was received stays available as it was.
//!
//! Owns connecting, resets and deadlines of single operations; must never interpret a message.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::within;

/// A plain or encrypted stream.
pub enum Stream {
    /// TCP as it is.
    Plain(TcpStream),
    /// TLS over TCP, either side.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// The TCP socket below.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_ref().0,
        }
    }

    /// The protocol that ALPN chose, if any.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec),
        }
    }

    /// Whether the handshake resumed an earlier session; nothing without TLS, or while the handshake goes on.
    pub fn is_resumed(&self) -> Option<bool> {
        let Self::Tls(tls) = self else { return None };
        let kind = tls.get_ref().1.handshake_kind()?;
        Some(kind == rustls::HandshakeKind::Resumed)
    }

    /// Closes at once with a TCP reset instead of a FIN.
    pub fn reset(self) {
        // A linger of zero makes close(2) send RST. Where it fails the peer is gone already.
        let _ = socket2::SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
    }

    /// Accepts TLS on a TCP connection.
    pub async fn accept_tls(tcp: TcpStream, config: Arc<ServerConfig>) -> io::Result<Self> {
        let tls = TlsAcceptor::from(config).accept(tcp).await?;
        Ok(Self::Tls(Box::new(TlsStream::Server(tls))))
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_read(cx, buf),
            Self::Tls(s) => Pin::new(s).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_write(cx, data),
            Self::Tls(s) => Pin::new(s).poll_write(cx, data),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_flush(cx),
            Self::Tls(s) => Pin::new(s).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(s) => Pin::new(s).poll_shutdown(cx),
            Self::Tls(s) => Pin::new(s).poll_shutdown(cx),
        }
    }
}

/// How to connect.
#[derive(Clone)]
pub struct Target {
    /// Where to.
    pub address: SocketAddr,
    /// Which loopback address to come from; any where `None`.
    pub source: Option<IpAddr>,
    /// TLS configuration and server name.
    pub tls: Option<(Arc<ClientConfig>, String)>,
    /// Bytes sent before anything else, TLS included (a PROXY protocol header).
    pub preface: Vec<u8>,
    /// Size of the kernel's receive buffer in bytes, for slow readers.
    pub receive_bytes: Option<u32>,
}

impl Target {
    /// A plain connection to `address`.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, source: None, tls: None, preface: Vec::new(), receive_bytes: None }
    }

    /// The same, over TLS as `name`.
    pub fn tls(address: SocketAddr, config: Arc<ClientConfig>, name: &str) -> Self {
        Self { tls: Some((config, name.to_owned())), ..Self::plain(address) }
    }

    /// The same, coming from `source`.
    pub fn from(mut self, source: IpAddr) -> Self {
        self.source = Some(source);
        self
    }

    /// Connects.
    pub async fn connect(&self) -> anyhow::Result<Stream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(source) = self.source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let mut tcp = within("connect", socket.connect(self.address))
            .await?
            .with_context(|| format!("connect to {}", self.address))?;
        tcp.set_nodelay(true)?;
        if !self.preface.is_empty() {
            tcp.write_all(&self.preface).await?;
        }
        let Some((config, name)) = &self.tls else {
            return Ok(Stream::Plain(tcp));
        };
        let name = ServerName::try_from(name.clone())?;
        let tls = within("TLS handshake", TlsConnector::from(Arc::clone(config)).connect(name, tcp)).await??;
        Ok(Stream::Tls(Box::new(TlsStream::Client(tls))))
    }
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// FIN (or TLS close).
    Closed,
    /// RST, or TLS cut off without its closing message.
    Reset,
}

/// A stream with a receive buffer.
pub struct Wire {
    stream: Stream,
    /// Received and not yet taken.
    pub buffer: Vec<u8>,
    /// Every byte ever received.
    pub received: Vec<u8>,
    /// Set once the peer has ended the stream.
    pub end: Option<End>,
    /// Whether `received` grows; off for bulk transfers.
    pub recording: bool,
}

impl Wire {
    /// Wraps a stream.
    pub fn new(stream: Stream) -> Self {
        Self { stream, buffer: Vec::new(), received: Vec::new(), end: None, recording: true }
    }

    /// Connects to `target`.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        Ok(Self::new(target.connect().await?))
    }

    /// The stream below.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Gives the stream up; the buffer must be empty for a lossless hand-over.
    pub fn into_stream(self) -> Stream {
        self.stream
    }

    /// Writes all of `data` and flushes, however long the peer takes. Errors are returned: a peer may refuse half-way.
    pub async fn send_unbounded(&mut self, data: &[u8]) -> io::Result<()> {
        self.stream.write_all(data).await?;
        self.stream.flush().await
    }

    /// Writes all of `data` and flushes, or fails where the peer takes nothing for too long.
    pub async fn send(&mut self, data: &[u8]) -> io::Result<()> {
        match within("send", self.send_unbounded(data)).await {
            Ok(result) => result,
            Err(error) => Err(io::Error::new(io::ErrorKind::TimedOut, error.to_string())),
        }
    }

    /// Reads once without a deadline; true where bytes came, false at the end.
    pub async fn fill_unbounded(&mut self) -> bool {
        if self.end.is_some() {
            return false;
        }
        let mut chunk = vec![0; 64 << 10];
        match self.stream.read(&mut chunk).await {
            Ok(0) => self.end = Some(End::Closed),
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                if self.recording {
                    self.received.extend_from_slice(&chunk[..n]);
                }
                return true;
            }
            Err(_) => self.end = Some(End::Reset),
        }
        false
    }

    /// Reads once; true where bytes came, false at the end, an error where nothing happens in time.
    pub async fn fill(&mut self) -> anyhow::Result<bool> {
        let buffered = self.buffer.len();
        match within("read", self.fill_unbounded()).await {
            Ok(more) => Ok(more),
            Err(error) => {
                Err(error.context(format!("{buffered} bytes wait unread: {}", crate::text::show(&self.buffer))))
            }
        }
    }

    /// Takes the first `count` buffered bytes, reading as needed; `None` where the stream ends before.
    pub async fn take(&mut self, count: usize) -> anyhow::Result<Option<Vec<u8>>> {
        while self.buffer.len() < count {
            if !self.fill().await? {
                return Ok(None);
            }
        }
        Ok(Some(self.buffer.drain(..count).collect()))
    }

    /// Takes everything up to and including `mark`; `None` where the stream ends before.
    pub async fn take_through(&mut self, mark: &[u8]) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|w| w == mark) {
                return Ok(Some(self.buffer.drain(..at + mark.len()).collect()));
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Reads to the end of the stream.
    pub async fn take_rest(&mut self) -> anyhow::Result<(Vec<u8>, End)> {
        while self.fill().await? {}
        Ok((std::mem::take(&mut self.buffer), self.end.unwrap_or(End::Closed)))
    }

    /// Whether the peer has ended the stream or sent anything, as far as can be known without waiting.
    pub fn is_quiet(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        self.buffer.is_empty()
            && self.end.is_none()
            && matches!(socket2::SockRef::from(self.stream.tcp()).peek(&mut byte), Err(e) if e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Half-closes: no more bytes from this side.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Closes with a reset.
    pub fn reset(self) {
        self.stream.reset();
    }
}
