//! An ordinary HTTP/2 client on the h2 crate, for well-behaved use beside the raw one.
//!
//! Must never be used for hostile frames: the crate would refuse to send them.

use std::future::poll_fn;
use std::task::Poll;

use anyhow::Context as _;
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};

use crate::wire::Target;
use crate::within;

/// One HTTP/2 connection; its driver runs until this is dropped and all streams are done.
#[derive(Clone)]
pub struct H2Client {
    sender: SendRequest<Bytes>,
}

/// A request on its way.
pub struct H2Exchange {
    /// The request's body.
    pub send: SendStream<Bytes>,
    response: ResponseFuture,
}

/// A whole response.
#[derive(Debug)]
pub struct H2Response {
    /// Interim responses before it.
    pub interim: Vec<Response<()>>,
    /// Status and fields.
    pub head: Response<()>,
    /// The body.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Option<HeaderMap>,
}

impl H2Client {
    /// Connects, with the crate's own settings and large windows.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let stream = target.connect().await?;
        let handshake = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .handshake(stream);
        let (sender, connection) = within("HTTP/2 handshake", handshake).await??;
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(Self { sender })
    }

    /// Whether the peer has announced extended CONNECT (RFC 8441); known once its settings have arrived.
    pub async fn extends_connect(&mut self) -> anyhow::Result<bool> {
        self.sender = within("HTTP/2 readiness", self.sender.clone().ready()).await??;
        Ok(self.sender.is_extended_connect_protocol_enabled())
    }

    /// Starts a request; `end` where it has no body.
    pub async fn start(&mut self, request: Request<()>, end: bool) -> anyhow::Result<H2Exchange> {
        let mut sender = within("HTTP/2 readiness", self.sender.clone().ready()).await??;
        let (response, send) = sender.send_request(request, end)?;
        Ok(H2Exchange { send, response })
    }

    /// A GET of an absolute URI, to its end.
    pub async fn get(&mut self, uri: &str) -> anyhow::Result<H2Response> {
        self.start(Request::get(uri).body(())?, true).await?.finish().await
    }
}

impl H2Exchange {
    /// Sends body bytes as far as flow control lets them go, waiting for room.
    pub async fn send(&mut self, mut data: Bytes, end: bool) -> anyhow::Result<()> {
        if data.is_empty() {
            return Ok(self.send.send_data(data, end)?);
        }
        while !data.is_empty() {
            self.send.reserve_capacity(data.len());
            let room = within("room to send", poll_fn(|cx| self.send.poll_capacity(cx)))
                .await?
                .context("the stream is closed")??;
            let piece = data.split_to(room.min(data.len()));
            self.send.send_data(piece, end && data.is_empty())?;
        }
        Ok(())
    }

    /// Waits for the response's head, collecting interim responses.
    pub async fn head(&mut self) -> anyhow::Result<(Vec<Response<()>>, Response<RecvStream>)> {
        let mut interim = Vec::new();
        let response = within("an HTTP/2 response", async {
            poll_fn(|cx| {
                while let Poll::Ready(Some(Ok(one))) = self.response.poll_informational(cx) {
                    interim.push(one);
                }
                std::future::Future::poll(std::pin::Pin::new(&mut self.response), cx)
            })
            .await
        })
        .await??;
        Ok((interim, response))
    }

    /// Waits for the whole response.
    pub async fn finish(mut self) -> anyhow::Result<H2Response> {
        let (interim, response) = self.head().await?;
        let (parts, mut stream) = response.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = within("an HTTP/2 body", stream.data()).await? {
            let piece = piece?;
            let _ = stream.flow_control().release_capacity(piece.len());
            body.extend_from_slice(&piece);
        }
        let trailers = within("HTTP/2 trailers", stream.trailers()).await??;
        Ok(H2Response { interim, head: Response::from_parts(parts, ()), body, trailers })
    }
}
