//! Sockets that listen, and what happens to a connection between accept(2) and its first request: limits, the PROXY
//! protocol, TLS, the choice of protocol.

use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::conn::{Conn, Protocol};
use crate::env::{AddressCounts, Drain, ServerSettings, TransportStats, count};
use crate::h1::conn::Shared;
use crate::h1::server::ConnEnv;
use crate::io::{AnyStream, Io};
use crate::message::Handler;
use crate::proxy_protocol::{self, Parsed};
use crate::refusal::Refusal;
use crate::tls::Alpn;
use crate::tls::server::{PLAIN_HTTP_REPLY, TlsAcceptor, TlsFacts};

/// Connections that the kernel holds for us before we accept them (it may allow fewer: net.core.somaxconn).
const BACKLOG: i32 = 4096;
/// Pause after accept(2) failed for want of a resource.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// Binds a listening socket that several workers may share (`SO_REUSEPORT`).
///
/// # Errors
/// What the operating system says: address in use, not permitted, not available.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    open(address, true)
}

/// Whether nobody listens on an address, those included who would share it.
///
/// # Errors
/// What the operating system says: address in use, not permitted, not available.
pub fn probe(address: SocketAddr) -> io::Result<()> {
    open(address, false).map(drop)
}

fn open(address: SocketAddr, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(SocketProtocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    if address.is_ipv6() {
        // An IPv6 listener is for IPv6: the IPv4 one is configured beside it.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// What a listener expects of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerKind {
    /// TLS from the first byte.
    pub tls: bool,
    /// Listed peers begin with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// What the connections of a node share.
pub struct Server<H> {
    /// What answers requests.
    pub handler: H,
    /// Settings for connections accepted from now on.
    pub settings: ArcSwap<ServerSettings>,
    /// Counters.
    pub stats: Arc<TransportStats>,
    /// The word to drain.
    pub drain: Arc<Drain>,
    /// TLS, where any listener uses it.
    pub tls: Option<TlsAcceptor>,
    /// Connections by address.
    pub addresses: Arc<AddressCounts>,
    next_id: Arc<AtomicU64>,
}

impl<H: Handler> Server<H> {
    /// A server with nothing shared with another.
    pub fn new(handler: H, settings: ServerSettings, tls: Option<TlsAcceptor>) -> Self {
        Self {
            handler,
            settings: ArcSwap::from_pointee(settings),
            stats: Arc::default(),
            drain: Arc::default(),
            tls,
            addresses: Arc::default(),
            next_id: Arc::default(),
        }
    }

    /// A server for another worker: its own handler, all else shared.
    pub fn beside(&self, handler: H) -> Self {
        Self {
            handler,
            settings: ArcSwap::new(self.settings.load_full()),
            stats: self.stats.clone(),
            drain: self.drain.clone(),
            tls: self.tls.clone(),
            addresses: self.addresses.clone(),
            next_id: self.next_id.clone(),
        }
    }

    /// Accepts connections on this thread's runtime until `stop` is ready, and then those that wait to be accepted.
    /// Connections go on after that.
    pub async fn accept(self: Arc<Self>, listener: TcpListener, kind: ListenerKind, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.clone().start(stream, peer, kind),
                Err(error) if is_of_one_connection(&error) => count(&self.stats.accept_errors),
                Err(error) => {
                    count(&self.stats.accept_errors);
                    tracing::warn!(%error, "accept failed; is the limit of open files reached?");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
        // Whoever is connected by the kernel already has perhaps asked already: closing the socket would cut them off.
        while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
            self.clone().start(stream, peer, kind);
        }
    }

    fn start(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, kind: ListenerKind) {
        count(&self.stats.connections_accepted);
        let settings = self.settings.load_full();
        let place = Place::take(self.stats.clone());
        if place.open > settings.connections_max as u64 {
            count(&self.stats.connections_refused);
            return;
        }
        let _ = stream.set_nodelay(true);
        // Boxed here, so that the task holds nothing of what comes before the first request: a connection that waits is
        // mostly its task, and an async block keeps the room of what it has passed on.
        let preparing = Box::pin({
            let (server, settings) = (self.clone(), settings.clone());
            async move { server.prepare(stream, peer, kind, &settings).await }
        });
        tokio::spawn(async move {
            let _place = &place;
            if AssertUnwindSafe(self.run(preparing, &settings)).catch_unwind().await.is_err() {
                count(&self.stats.connection_panics);
            }
        });
    }

    /// Serves HTTP/1.1 on a stream that is no TCP connection, such as a Unix socket, until either side has had enough.
    /// No limit on connections, TLS or HTTP/2 applies; the peer's address is given as unspecified.
    pub async fn serve_stream(self: Arc<Self>, stream: impl AnyStream + 'static) {
        let nobody = SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 0));
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let conn = Conn::new(id, nobody, nobody, nobody, None, Protocol::Http1);
        let settings = self.settings.load_full();
        let env = ConnEnv { settings: &settings, stats: &self.stats, drain: &self.drain };
        let shared = Shared::begin(Io::Other(Box::new(stream)), &[], &settings);
        let _ = crate::h1::server::serve(&shared, &conn, &self.handler, &env).await;
    }

    async fn run(
        self: &Arc<Self>,
        preparing: Pin<Box<impl Future<Output = Option<Ready>>>>,
        settings: &Arc<ServerSettings>,
    ) {
        let Some(ready) = preparing.await else { return };
        let conn = &ready.conn;
        let turned = match ready.spoken {
            Spoken::Http2(stream) => Some((stream, conn.clone())),
            Spoken::Http1(shared) => {
                let env = ConnEnv { settings, stats: &self.stats, drain: &self.drain };
                let turned = crate::h1::server::serve(&shared, conn, &self.handler, &env).await;
                turned.map(|stream| (Box::new(stream), conn.with_protocol(Protocol::Http2)))
            }
        };
        if let Some((stream, conn)) = turned {
            let (io, initial) = *stream;
            Box::pin(crate::h2::server::serve(io, initial, conn, self.clone(), settings.clone())).await;
        }
    }

    /// Everything before the first request. `None`: the connection is refused and counted.
    async fn prepare(
        &self,
        mut stream: TcpStream,
        peer: SocketAddr,
        kind: ListenerKind,
        settings: &ServerSettings,
    ) -> Option<Ready> {
        let deadline = Instant::now() + settings.tls_handshake;
        let mut local = stream.local_addr().ok()?;
        let mut client = peer;
        let mut read = BytesMut::new();
        if kind.proxy_protocol && settings.proxy_protocol_from.contains(peer.ip()) {
            match tokio::time::timeout_at(deadline, read_proxy_header(&mut stream, &mut read)).await {
                Ok(Ok((source, destination))) => {
                    client = source.unwrap_or(peer);
                    local = destination.unwrap_or(local);
                }
                Ok(Err(error)) => {
                    count(&self.stats.proxy_protocol_refused);
                    tracing::debug!(%peer, %error, "PROXY protocol header refused");
                    return None;
                }
                Err(_) => {
                    count(&self.stats.proxy_protocol_refused);
                    return None;
                }
            }
        }
        let address = self.enter(client, settings)?;
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        if !kind.tls {
            let conn = Conn::new(id, peer, client, local, None, Protocol::Http1);
            let shared = Shared::begin(Io::Tcp(stream), &read, settings);
            return Some(Ready { spoken: Spoken::Http1(shared), conn, _address: address });
        }
        let (stream, facts) = self.handshake(stream, read, deadline).await?;
        let protocol = if facts.alpn == Alpn::H2 { Protocol::Http2 } else { Protocol::Http1 };
        let conn = Conn::new(id, peer, client, local, Some(facts), protocol);
        let io = Io::TlsServer(Box::new(stream));
        let spoken = match protocol {
            Protocol::Http1 => Spoken::Http1(Shared::begin(io, &[], settings)),
            Protocol::Http2 => Spoken::Http2(Box::new((io, Bytes::new()))),
        };
        Some(Ready { spoken, conn, _address: address })
    }

    fn enter(&self, client: SocketAddr, settings: &ServerSettings) -> Option<Address> {
        let ip = client.ip();
        if settings.unlimited_from.contains(ip) {
            return Some(Address { counts: None, ip });
        }
        if !self.addresses.enter(ip, settings.connections_per_address_max) {
            count(&self.stats.connections_refused_per_address);
            return None;
        }
        Some(Address { counts: Some(self.addresses.clone()), ip })
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        read: BytesMut,
        deadline: Instant,
    ) -> Option<(crate::tls::server::TlsStream<TcpStream>, TlsFacts)> {
        let acceptor = self.tls.as_ref()?;
        match acceptor.accept(stream, read, deadline).await {
            Ok((stream, facts)) => {
                count(&self.stats.tls_handshakes);
                if facts.resumed {
                    count(&self.stats.tls_resumed);
                }
                Some((stream, facts))
            }
            Err(failure) => {
                count(&self.stats.tls_handshake_failures);
                tracing::debug!(reason = failure.error.reason(), "TLS handshake failed");
                if failure.error.looks_like_http()
                    && let Some(mut stream) = failure.io
                {
                    self.stats.refused(Refusal::PlainOnTls);
                    let _ = tokio::time::timeout_at(deadline, stream.write_all(PLAIN_HTTP_REPLY)).await;
                    let _ = stream.shutdown().await;
                }
                None
            }
        }
    }
}

/// A connection that is ready for requests.
struct Ready {
    spoken: Spoken,
    conn: Arc<Conn>,
    _address: Address,
}

/// What it speaks, and the state of that.
enum Spoken {
    Http1(Arc<Shared>),
    Http2(Box<(Io, Bytes)>),
}

/// A place among all connections; given back when dropped.
struct Place {
    stats: Arc<TransportStats>,
    open: u64,
}

impl Place {
    fn take(stats: Arc<TransportStats>) -> Self {
        let open = stats.connections_open.fetch_add(1, Ordering::Relaxed) + 1;
        Self { stats, open }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.stats.connections_open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place among the connections of an address; given back when dropped.
struct Address {
    counts: Option<Arc<AddressCounts>>,
    ip: std::net::IpAddr,
}

impl Drop for Address {
    fn drop(&mut self) {
        if let Some(counts) = &self.counts {
            counts.leave(self.ip);
        }
    }
}

/// Errors that concern the connection that was being accepted, not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}

async fn read_proxy_header(
    stream: &mut TcpStream,
    read: &mut BytesMut,
) -> io::Result<(Option<SocketAddr>, Option<SocketAddr>)> {
    loop {
        match proxy_protocol::parse(read).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))? {
            Parsed::Header { consumed, source, destination } => {
                let _ = read.split_to(consumed);
                return Ok((source, destination));
            }
            Parsed::Incomplete => {}
        }
        if stream.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
