//! The vocabulary towards origins: one request out, one reply in, and what can go wrong in RFC 9209's words.
//! Opens connections; keeps none (pools belong to the edge) and decides nothing (retries belong to the edge).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::Either;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use thiserror::Error;
use tokio::net::TcpStream;

use crate::body::{BodyError, RequestBody};
use crate::h1::encode::FieldLines;
use crate::h1::head::BadResponse;
use crate::h1::link::Http1Link;
use crate::h2::client::Http2Link;
use crate::interim::Interim;
use crate::io::Io;
use crate::message::ReplyBody;
use crate::received::ReceivedFields;
use crate::tls::Alpn;
use crate::tls::client::{OriginTls, OriginTlsError};

/// A request on its way to an origin.
pub struct OriginRequest {
    /// The method.
    pub method: Method,
    /// `http` or `https`, for HTTP/2's `:scheme`.
    pub scheme: &'static str,
    /// Host, or `:authority`.
    pub authority: HeaderValue,
    /// The target in origin-form (or `*`).
    pub target: Bytes,
    /// End-to-end fields, without Host and framing.
    pub headers: HeaderMap,
    /// More of them, laid out for HTTP/1 already.
    pub lines: FieldLines,
    /// The protocol to upgrade to.
    pub upgrade: Option<Bytes>,
    /// The body.
    pub body: RequestBody,
}

/// A reply from an origin: its head, and a body in the form in which a client's reply takes it.
pub struct OriginReply {
    /// The status.
    pub status: StatusCode,
    /// The version of the message.
    pub version: Version,
    /// The fields, those for this hop included.
    pub headers: ReceivedFields,
    /// The body.
    pub body: ReplyBody,
}

/// Time limits of one exchange with an origin.
#[derive(Clone, Copy, Debug)]
pub struct OriginTimeouts {
    /// From the last byte sent to the first byte of the reply's head; also the most that sending may stall.
    pub first_byte: Duration,
    /// Silence inside a head or body.
    pub between_bytes: Duration,
    /// How long a 100 (Continue) is waited for before the body is sent anyway (RFC 9110 section 10.1.1).
    pub expect_continue: Duration,
}

/// What went wrong with an origin. The words are those of RFC 9209 section 2.3.
#[derive(Debug, Error)]
pub enum OriginError {
    /// The name did not resolve.
    #[error("the origin's name does not resolve: {0}")]
    Dns(String),
    /// Resolving took too long.
    #[error("resolving the origin's name took too long")]
    DnsTimeout,
    /// Nothing listens there.
    #[error("the origin refused the connection")]
    ConnectionRefused,
    /// The connection did not come about in time.
    #[error("connecting to the origin took too long")]
    ConnectTimeout,
    /// No way there.
    #[error("the origin cannot be reached: {0}")]
    Unreachable(std::io::ErrorKind),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] OriginTlsError),
    /// Closed or reset before a reply.
    #[error("the origin closed the connection before it replied")]
    Terminated,
    /// Closed in the middle of the reply's head.
    #[error("the origin closed the connection inside the head of its reply")]
    Incomplete,
    /// No reply in time.
    #[error("the origin did not reply in time")]
    ResponseTimeout,
    /// The origin took no bytes in time.
    #[error("the origin stopped taking the request")]
    WriteTimeout,
    /// Not HTTP, or ambiguous.
    #[error(transparent)]
    BadResponse(#[from] BadResponse),
    /// More interim responses than allowed, or 101 that nobody asked for.
    #[error("the origin sent an interim response out of place")]
    Interim,
    /// HTTP/2 failed.
    #[error("HTTP/2 with the origin failed: {0}")]
    Http2(String),
    /// The client's body failed: not the origin's fault.
    #[error("the request's body failed: {0}")]
    RequestBody(BodyError),
    /// No connection was free within the limits.
    #[error("all connections to the origin are in use")]
    LimitReached,
    /// It is left alone for so long, as it was down a moment ago.
    #[error("the origin is down, and is left alone for a while")]
    LeftAlone(Duration),
    /// It has as much to do as it can, and so has the queue of those who wait.
    #[error("the origin has as much to do as it can")]
    Overloaded,
}

impl OriginError {
    /// The error type of RFC 9209 section 2.3.
    pub fn proxy_status(&self) -> &'static str {
        match self {
            OriginError::Dns(_) => "dns_error",
            OriginError::DnsTimeout => "dns_timeout",
            OriginError::ConnectionRefused => "connection_refused",
            OriginError::ConnectTimeout => "connection_timeout",
            OriginError::Unreachable(_) => "destination_ip_unroutable",
            OriginError::Tls(tls) => tls.proxy_status(),
            OriginError::Terminated => "connection_terminated",
            OriginError::Incomplete => "http_response_incomplete",
            OriginError::ResponseTimeout => "http_response_timeout",
            OriginError::WriteTimeout => "connection_write_timeout",
            OriginError::BadResponse(BadResponse::TooLarge) => "http_response_header_section_size",
            OriginError::BadResponse(_) | OriginError::Interim | OriginError::Http2(_) => "http_protocol_error",
            OriginError::RequestBody(_) => "http_request_error",
            OriginError::LimitReached | OriginError::Overloaded => "connection_limit_reached",
            OriginError::LeftAlone(_) => "destination_unavailable",
        }
    }

    /// 504 for what took too long, 502 for what went wrong, 503 for our own limit, 4xx for the client's body.
    pub fn status(&self) -> StatusCode {
        match self {
            OriginError::DnsTimeout
            | OriginError::ConnectTimeout
            | OriginError::ResponseTimeout
            | OriginError::WriteTimeout => StatusCode::GATEWAY_TIMEOUT,
            OriginError::LimitReached | OriginError::LeftAlone(_) | OriginError::Overloaded => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            OriginError::RequestBody(BodyError::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            OriginError::RequestBody(BodyError::TimedOut) => StatusCode::REQUEST_TIMEOUT,
            OriginError::RequestBody(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::BAD_GATEWAY,
        }
    }
}

/// A request that got no reply.
pub struct SendFailed {
    /// Why.
    pub error: OriginError,
    /// The request, where not a byte of its body was taken and no byte of a reply came: sending it again is then safe
    /// if the method is (RFC 9110 section 9.2.2).
    pub unsent: Option<Box<OriginRequest>>,
    /// The origin has certainly not acted on it: it may be sent again whatever its method.
    pub never_sent: bool,
}

/// Takes back a connection that can carry another request.
pub trait Recycle: Send + Sync {
    /// Called once, when the reply has been read to its end.
    fn recycle(&self, link: Http1Link);
    /// The origin sent more than its reply: what comes on its connections cannot be told apart any more.
    fn distrust(&self);
}

/// One connection to an origin.
pub enum Link {
    /// HTTP/1.1: one exchange at a time.
    Http1(Http1Link),
    /// HTTP/2: a handle that can be cloned.
    Http2(Http2Link),
}

impl Link {
    /// Sends a request and waits for the head of the reply. Interim responses go to `interim` in order.
    ///
    /// # Errors
    /// [`SendFailed`], with the request where it may be sent again.
    pub fn send(
        self,
        mut request: OriginRequest,
        timeouts: OriginTimeouts,
        interim: &Interim,
        recycle: Arc<dyn Recycle>,
    ) -> impl Future<Output = Result<OriginReply, SendFailed>> + Send {
        match self {
            Link::Http1(link) => Either::Left(crate::h1::client::send(link, request, timeouts, interim, recycle)),
            Link::Http2(link) => {
                request.headers.extend(std::mem::take(&mut request.lines).to_map());
                // Boxed, so that an exchange over HTTP/1 does not carry the room for it.
                Either::Right(Box::pin(crate::h2::client::send(link, request, timeouts, interim)))
            }
        }
    }
}

/// Which protocol to speak on a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: by ALPN over TLS (falling back to HTTP/1.1 where the origin does not choose it), else by prior knowledge.
    Http2,
}

/// Connects to the first of `addresses` that answers, each with an equal share of `timeout`.
///
/// # Errors
/// The last [`OriginError`].
pub async fn connect(
    addresses: &[SocketAddr],
    tls: Option<&OriginTls>,
    protocol: OriginProtocol,
    timeout: Duration,
) -> Result<Link, OriginError> {
    let share = timeout / u32::try_from(addresses.len().clamp(1, 64)).unwrap_or(1);
    let mut last = OriginError::Dns("the name has no address".to_owned());
    for address in addresses {
        match tokio::time::timeout(share, connect_one(*address, tls, protocol)).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(error)) => last = error,
            Err(_) => last = OriginError::ConnectTimeout,
        }
    }
    Err(last)
}

async fn connect_one(
    address: SocketAddr,
    tls: Option<&OriginTls>,
    protocol: OriginProtocol,
) -> Result<Link, OriginError> {
    let stream = TcpStream::connect(address).await.map_err(|error| connect_error(&error))?;
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return Ok(match protocol {
            OriginProtocol::Http1 => Link::Http1(Http1Link::new(Io::Tcp(stream))),
            OriginProtocol::Http2 => Link::Http2(crate::h2::client::connect(Io::Tcp(stream)).await?),
        });
    };
    let (stream, alpn) = crate::tls::client::connect(stream, tls).await?;
    let io = Io::TlsClient(Box::new(stream));
    Ok(if alpn == Alpn::H2 {
        Link::Http2(crate::h2::client::connect(io).await?)
    } else {
        Link::Http1(Http1Link::new(io))
    })
}

fn connect_error(error: &std::io::Error) -> OriginError {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => OriginError::ConnectionRefused,
        std::io::ErrorKind::TimedOut => OriginError::ConnectTimeout,
        kind => OriginError::Unreachable(kind),
    }
}
