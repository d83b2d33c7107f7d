//! An HTTP/2 origin on the h2 crate: one reply a path, with interim responses, a gated body and trailers.
//!
//! Owns what tests of HTTP/2 towards the origin need (gRPC among it); must never be used for hostile frames.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::origin::Gate;
use crate::wire::Stream;

/// What to answer.
#[derive(Clone, Default)]
pub struct Reply2 {
    /// Status of each interim response.
    pub interim: Vec<u16>,
    /// Status of the final response; 0 stands for 200.
    pub status: u16,
    /// Fields of the final response.
    pub fields: Vec<(&'static str, &'static str)>,
    /// Pieces of the body, each behind its gate where it has one.
    pub body: Vec<(Option<Gate>, Vec<u8>)>,
    /// Trailer fields.
    pub trailers: Vec<(&'static str, &'static str)>,
    /// Whether the body of the reply repeats the request's body (after `body`).
    pub echo: bool,
    /// Reset the stream with this code instead of ending it.
    pub reset: Option<u32>,
}

/// A request as it was received.
#[derive(Debug, Clone)]
pub struct Received2 {
    /// Which connection it came on, counted from 1.
    pub connection: usize,
    /// Method, target and fields.
    pub method: String,
    /// The whole URI.
    pub uri: String,
    /// The `:protocol` of an extended CONNECT.
    pub protocol: Option<String>,
    /// Fields.
    pub fields: HeaderMap,
    /// The body, once it is read.
    pub body: Vec<u8>,
    /// Trailers of the request.
    pub trailers: Option<HeaderMap>,
    /// The reset code where the edge gave the stream up.
    pub cancelled: Option<u32>,
}

#[derive(Default)]
struct Shared {
    replies: HashMap<String, Reply2>,
    requests: Vec<Received2>,
    connections: usize,
}

/// The origin; it stops accepting when dropped.
pub struct H2Origin {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    accepting: JoinHandle<()>,
}

impl Drop for H2Origin {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl H2Origin {
    /// Starts; prior knowledge without `tls`, else ALPN decides (the configuration should offer `h2` only).
    pub async fn start(tls: Option<Arc<ServerConfig>>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Mutex::new(Shared::default()));
        let state = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, state) = (tls.clone(), Arc::clone(&state));
                tasks.spawn(async move {
                    let stream = match tls {
                        None => Stream::Plain(tcp),
                        Some(config) => match Stream::accept_tls(tcp, config).await {
                            Ok(stream) => stream,
                            Err(_) => return,
                        },
                    };
                    let _ = serve(stream, state).await;
                });
                while tasks.try_join_next().is_some() {}
            }
        });
        Ok(Self { address, shared, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the reply for a path.
    pub fn on(&self, path: &str, reply: Reply2) {
        lock(&self.shared).replies.insert(path.to_owned(), reply);
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Received2> {
        lock(&self.shared).requests.clone()
    }
}

async fn serve(stream: Stream, shared: Arc<Mutex<Shared>>) -> anyhow::Result<()> {
    let connection_number = {
        let mut state = lock(&shared);
        state.connections += 1;
        state.connections
    };
    let mut connection = h2::server::Builder::new().enable_connect_protocol().handshake::<_, Bytes>(stream).await?;
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(next) = connection.accept().await {
        let (request, respond) = next?;
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let _ = answer(connection_number, request, respond, shared).await;
        });
        while tasks.try_join_next().is_some() {}
    }
    Ok(())
}

async fn answer(
    connection: usize,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    shared: Arc<Mutex<Shared>>,
) -> anyhow::Result<()> {
    let (parts, stream) = request.into_parts();
    let received = Received2 {
        connection,
        method: parts.method.to_string(),
        uri: parts.uri.to_string(),
        protocol: parts.extensions.get::<h2::ext::Protocol>().map(|p| p.as_str().to_owned()),
        fields: parts.headers,
        body: Vec::new(),
        trailers: None,
        cancelled: None,
    };
    let (at, reply) = {
        let mut state = lock(&shared);
        state.requests.push(received);
        let unknown = Reply2 { status: 404, ..Reply2::default() };
        (state.requests.len() - 1, state.replies.get(parts.uri.path()).cloned().unwrap_or(unknown))
    };
    for status in &reply.interim {
        respond.send_informational(Response::builder().status(*status).body(())?)?;
    }
    let mut head = Response::builder().status(if reply.status == 0 { 200 } else { reply.status });
    for (name, value) in &reply.fields {
        head = head.header(*name, *value);
    }
    let bare = reply.body.is_empty() && reply.trailers.is_empty() && !reply.echo && reply.reset.is_none();
    let send = respond.send_response(head.body(())?, bare)?;
    if bare { Ok(()) } else { answer_body(&shared, at, reply, stream, send).await }
}

async fn answer_body(
    shared: &Mutex<Shared>,
    at: usize,
    reply: Reply2,
    mut stream: RecvStream,
    mut send: SendStream<Bytes>,
) -> anyhow::Result<()> {
    for (gate, piece) in reply.body {
        if let Some(gate) = gate {
            gate.wait().await;
        }
        send.send_data(Bytes::from(piece), false)?;
    }
    while let Some(piece) = stream.data().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                note(shared, at, |r| r.cancelled = Some(error.reason().map_or(u32::MAX, u32::from)));
                return Ok(());
            }
        };
        let _ = stream.flow_control().release_capacity(piece.len());
        note(shared, at, |r| r.body.extend_from_slice(&piece));
        if reply.echo {
            send.send_data(piece, false)?;
        }
    }
    let trailers = stream.trailers().await?;
    note(shared, at, |r| r.trailers = trailers);
    if let Some(code) = reply.reset {
        send.send_reset(Reason::from(code));
        return Ok(());
    }
    let mut map = HeaderMap::new();
    for (name, value) in reply.trailers {
        map.insert(name, http::HeaderValue::from_static(value));
    }
    if map.is_empty() {
        send.send_data(Bytes::new(), true)?
    } else {
        send.send_trailers(map)?
    }
    Ok(())
}

fn note(shared: &Mutex<Shared>, at: usize, change: impl FnOnce(&mut Received2)) {
    if let Some(received) = lock(shared).requests.get_mut(at) {
        change(received);
    }
}
