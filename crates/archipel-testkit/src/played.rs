//! The played origin: it does nothing by itself; a scenario reads what arrived and writes the answer, step by step.
//!
//! Because every step is the test's, order needs no gates and no sleeps. Owns the connections and what is left
//! unread on them; must never answer anything of its own accord.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::message::{BodyReader, Framing, Head, read_head};
use crate::text::show;
use crate::wire::{Stream, Wire};
use crate::within;

/// One connection from the edge.
pub struct Played {
    /// The stream; `None` once the origin has closed or reset it.
    pub wire: Option<Wire>,
    /// The body of the request being read.
    pub body: BodyReader,
}

/// The origin of one scenario.
pub struct PlayedOrigin {
    listener: Option<TcpListener>,
    // Keeps a port taken that must refuse connections, or a queue full that must not answer.
    _held: Option<(TcpSocket, Vec<TcpStream>)>,
    tls: Option<Arc<ServerConfig>>,
    address: SocketAddr,
    /// Connections in order of arrival.
    pub connections: Vec<Played>,
}

impl PlayedOrigin {
    /// An origin that accepts.
    pub async fn listen(tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        Ok(Self { listener: Some(listener), _held: None, tls, address, connections: Vec::new() })
    }

    /// An address that refuses connections for as long as this lives.
    pub fn refusing() -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))?;
        let address = socket.local_addr()?;
        Ok(Self { listener: None, _held: Some((socket, Vec::new())), tls: None, address, connections: Vec::new() })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    async fn accept(&mut self) -> anyhow::Result<usize> {
        let listener = self.listener.as_ref().context("this origin does not accept")?;
        let (tcp, _) = listener.accept().await?;
        tcp.set_nodelay(true)?;
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(config) => Stream::accept_tls(tcp, Arc::clone(config)).await?,
        };
        self.connections.push(Played { wire: Some(Wire::new(stream)), body: BodyReader::new(Framing::None) });
        Ok(self.connections.len() - 1)
    }

    /// Waits for connection `number`, counted from 1.
    pub async fn connection(&mut self, number: usize) -> anyhow::Result<&mut Played> {
        while self.connections.len() < number {
            within(&format!("connection {number} at the origin"), self.accept()).await??;
        }
        Ok(&mut self.connections[number - 1])
    }

    /// Waits until a request comes on any connection, new or old; returns that connection's number.
    pub async fn await_bytes(&mut self) -> anyhow::Result<usize> {
        within("a request at the origin", self.await_bytes_unbounded()).await?
    }

    async fn await_bytes_unbounded(&mut self) -> anyhow::Result<usize> {
        loop {
            if let Some(at) =
                self.connections.iter().position(|c| c.wire.as_ref().is_some_and(|w| !w.buffer.is_empty()))
            {
                return Ok(at + 1);
            }
            let Self { listener, connections, .. } = self;
            let listener = listener.as_ref().context("this origin does not accept")?;
            let mut waits: Vec<_> = connections
                .iter_mut()
                .filter_map(|c| c.wire.as_mut())
                .filter(|w| w.end.is_none())
                .map(|w| Box::pin(w.fill_unbounded()))
                .collect();
            let any_readable = std::future::poll_fn(|cx| {
                for wait in &mut waits {
                    if wait.as_mut().poll(cx).is_ready() {
                        return std::task::Poll::Ready(());
                    }
                }
                std::task::Poll::Pending
            });
            // Reading and accepting lose nothing when the other branch wins: both only take what is there.
            let accepted = tokio::select! {
                biased;
                () = any_readable => None,
                accepted = listener.accept() => Some(accepted?.0),
            };
            drop(waits);
            if let Some(tcp) = accepted {
                tcp.set_nodelay(true)?;
                let stream = match &self.tls {
                    None => Stream::Plain(tcp),
                    // A handshake that the edge gives up is no request; the scenario sees the edge's answer.
                    Some(config) => match Stream::accept_tls(tcp, Arc::clone(config)).await {
                        Ok(stream) => stream,
                        Err(_) => continue,
                    },
                };
                self.connections.push(Played { wire: Some(Wire::new(stream)), body: BodyReader::new(Framing::None) });
            }
        }
    }

    /// What arrived that no step has read, a line each connection; empty where all is accounted for.
    pub async fn unread(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        for (at, connection) in self.connections.iter_mut().enumerate() {
            let Some(wire) = &mut connection.wire else {
                continue;
            };
            let rest = connection.body.take_decoded();
            if !wire.buffer.is_empty() || !rest.is_empty() {
                found.push(format!("connection {}: {}{}", at + 1, show(&rest), show(&wire.buffer)));
            }
        }
        found
    }

    /// Completes TLS handshakes that the edge is expected to give up, until one has failed.
    pub async fn fail_handshake(&mut self) -> anyhow::Result<()> {
        let work = async {
            let listener = self.listener.as_ref().context("this origin does not accept")?;
            let config = self.tls.clone().context("this origin does not speak TLS")?;
            let (tcp, _) = listener.accept().await?;
            // With TLS 1.3 the server is done before the client has judged: only reading tells.
            if let Ok(stream) = Stream::accept_tls(tcp, config).await {
                let mut wire = Wire::new(stream);
                if wire.fill_unbounded().await {
                    bail!("the edge sent {} over a connection it should not trust", show(&wire.buffer));
                }
            }
            Ok(())
        };
        within("a failed handshake at the origin", work).await?
    }
}

impl Played {
    fn wire(&mut self) -> anyhow::Result<&mut Wire> {
        self.wire.as_mut().context("the origin has closed this connection already")
    }

    /// Reads the next request's head.
    pub async fn read_head(&mut self) -> anyhow::Result<Head> {
        let head = read_head(self.wire()?).await?.context("the edge closed the connection instead of a request")?;
        self.body = BodyReader::new(Framing::of_request(&head)?);
        Ok(head)
    }

    /// Reads exactly `count` bytes of the request's body.
    pub async fn read_part(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        let Self { wire, body } = self;
        body.take(wire.as_mut().context("closed")?, count).await
    }

    /// Reads the rest of the request's body.
    pub async fn read_rest(&mut self) -> anyhow::Result<Vec<u8>> {
        let Self { wire, body } = self;
        body.take_all(wire.as_mut().context("closed")?).await
    }

    /// Writes exactly these bytes; a peer that is gone is not an error here.
    pub async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let _ = self.wire()?.send(bytes).await;
        Ok(())
    }
}
