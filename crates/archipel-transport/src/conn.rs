//! What is known about one accepted connection, from the first packet on. Facts only: nothing here decides.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::tls::server::TlsFacts;

/// The application protocol spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1 (each request names which).
    Http1,
    /// HTTP/2, by ALPN or by prior knowledge.
    Http2,
}

/// One accepted connection. Shared by its exchanges; immutable but for its counters.
#[derive(Debug)]
pub struct Conn {
    /// Unique in this process.
    pub id: u64,
    /// The peer of the socket: the client, or a proxy in front of us.
    pub peer: SocketAddr,
    /// The client as far as the connection tells: `peer`, or what a *listed* peer said by the PROXY protocol.
    pub client: SocketAddr,
    /// The address that accepted the connection.
    pub local: SocketAddr,
    /// TLS facts, or `None` on a plain listener.
    pub tls: Option<TlsFacts>,
    /// The protocol in use.
    pub protocol: Protocol,
    /// When it was accepted.
    pub accepted: Instant,
    requests: AtomicU32,
}

impl Conn {
    /// A connection with no request yet.
    pub fn new(
        id: u64,
        peer: SocketAddr,
        client: SocketAddr,
        local: SocketAddr,
        tls: Option<TlsFacts>,
        protocol: Protocol,
    ) -> Arc<Self> {
        Arc::new(Self { id, peer, client, local, tls, protocol, accepted: Instant::now(), requests: AtomicU32::new(0) })
    }

    /// The same connection, which turned out to speak another protocol. Its requests are counted anew.
    pub(crate) fn with_protocol(&self, protocol: Protocol) -> Arc<Self> {
        Self::new(self.id, self.peer, self.client, self.local, self.tls.clone(), protocol)
    }

    /// Counts one more request and returns how many there were before it.
    pub fn count_request(&self) -> u32 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Requests begun on this connection.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// `https` on a TLS connection, else `http`.
    pub fn scheme(&self) -> Scheme {
        if self.tls.is_some() { Scheme::Https } else { Scheme::Http }
    }

    /// The client's address without its port.
    pub fn client_ip(&self) -> IpAddr {
        self.client.ip()
    }
}

/// The two URI schemes an edge serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URI.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}
