//! The vocabulary between the wire and the pipeline: a request in, a reply out, and who is told how it ended.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use archipel_http::fields::Fields;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::{Body, Frame};

use crate::body::{BodyError, RequestBody};
use crate::conn::{Conn, Scheme};
pub use crate::frozen::FrozenFields;
use crate::interim::Interim;
use crate::received::ReceivedLines;
use crate::refusal::Refusal;
use crate::tunnel::Duplex;

/// A request as it came over the wire, framing removed.
pub struct Request {
    /// The method, which may be one nobody registered.
    pub method: Method,
    /// HTTP/1.0, HTTP/1.1 or HTTP/2.
    pub version: Version,
    /// The scheme of the connection (or of an absolute-form target, which must agree with it).
    pub scheme: Scheme,
    /// The authority that the request names: `:authority`, an absolute-form target, or `Host`. Not yet normalised.
    pub authority: Option<Bytes>,
    /// The request-target in origin-form, or `*`; for CONNECT the authority. Exactly as received.
    pub target: Bytes,
    /// The fields in the order of their first appearance.
    pub headers: HeaderMap,
    /// The body, which may be empty.
    pub body: RequestBody,
    /// The protocol asked for by `Upgrade` (HTTP/1.1) or `:protocol` (HTTP/2, RFC 8441).
    pub upgrade: Option<Bytes>,
    /// Where interim (1xx) responses go.
    pub interim: Interim,
    /// Bytes of the head on the wire (HTTP/1) or of the decoded field section (HTTP/2).
    pub head_bytes: u32,
}

/// Body of a reply that streams.
pub type StreamBody = Pin<Box<dyn Body<Data = Bytes, Error = BodyError> + Send>>;

/// What a reply carries after its head.
pub enum ReplyBody {
    /// Nothing.
    Empty,
    /// All of it, in one piece.
    Full(Bytes),
    /// A run of segments that are all in memory: `segments` shared with the store, `skip` bytes in, `len` bytes long.
    Segments {
        /// The stored segments.
        segments: Arc<[Bytes]>,
        /// Bytes of the stored body before the first to send.
        skip: u64,
        /// Bytes to send.
        len: u64,
    },
    /// Produced while it is sent. `len` is the exact length where it is known.
    Stream {
        /// The producer.
        body: StreamBody,
        /// The exact length in bytes, where known.
        len: Option<u64>,
    },
    /// Not sent, but its length is told (the reply to HEAD).
    Omitted {
        /// Content-Length to tell, where known.
        len: Option<u64>,
    },
    /// The connection (or stream) becomes a tunnel to this peer: 101 on HTTP/1.1, 200 to an extended CONNECT.
    Tunnel(Box<dyn Duplex>),
}

impl ReplyBody {
    /// The exact length in bytes, where known.
    pub fn len(&self) -> Option<u64> {
        match self {
            ReplyBody::Empty => Some(0),
            ReplyBody::Full(bytes) => Some(bytes.len() as u64),
            ReplyBody::Segments { len, .. } => Some(*len),
            ReplyBody::Stream { len, .. } | ReplyBody::Omitted { len } => *len,
            ReplyBody::Tunnel(_) => None,
        }
    }

    /// Whether there is certainly nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }
}

/// The fields of a reply: its own, those of a stored response, which are not copied for a hit, or those of an origin's reply,
/// which are not made into a map to be passed on.
pub enum ReplyFields {
    /// Own fields.
    Owned(HeaderMap),
    /// Shared with the store.
    Frozen(Arc<FrozenFields>),
    /// As an origin sent them.
    Received(Box<ReceivedLines>),
}

/// A reply on its way to a client. The transport adds what belongs to the connection: framing, and `Date` where it is missing.
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// Fields, without framing (`Content-Length`, `Transfer-Encoding`, `Connection` are the transport's).
    pub fields: ReplyFields,
    /// Fields set at delivery, after `fields`. A name that also stands in `fields` becomes a list.
    pub added: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: ReplyBody,
    /// Close the connection after this reply (HTTP/1.x).
    pub close: bool,
}

impl Reply {
    /// A reply without fields or body.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status,
            fields: ReplyFields::Owned(HeaderMap::new()),
            added: Vec::new(),
            body: ReplyBody::Empty,
            close: false,
        }
    }

    /// The fields (without those added at delivery) as a map, which is made for those of a stored response.
    pub fn headers(&self) -> Cow<'_, HeaderMap> {
        match &self.fields {
            ReplyFields::Owned(map) => Cow::Borrowed(map),
            ReplyFields::Frozen(frozen) => Cow::Owned(frozen.to_map()),
            ReplyFields::Received(lines) => Cow::Borrowed(lines.map()),
        }
    }

    /// The fields to change; those shared with the store are copied first.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        match &mut self.fields {
            ReplyFields::Owned(_) => {}
            ReplyFields::Frozen(frozen) => self.fields = ReplyFields::Owned(frozen.to_map()),
            ReplyFields::Received(lines) => self.fields = ReplyFields::Owned(lines.take_map()),
        }
        match &mut self.fields {
            ReplyFields::Owned(map) => map,
            // INVARIANT: made owned above.
            ReplyFields::Frozen(_) | ReplyFields::Received(_) => unreachable!(),
        }
    }

    /// Adds a field at delivery.
    pub fn add(&mut self, name: HeaderName, value: HeaderValue) {
        self.added.push((name, value));
    }
}

/// The fields without those added at delivery. Makes no map.
impl Fields for Reply {
    fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let (mut map, mut frozen, mut received) = (None, None, None);
        match &self.fields {
            ReplyFields::Owned(fields) => map = Some(fields.values_of(name)),
            ReplyFields::Frozen(fields) => frozen = Some(fields.values_of(name)),
            ReplyFields::Received(lines) => received = Some(lines.values_of(name)),
        }
        let lines = frozen.into_iter().flatten().chain(received.into_iter().flatten());
        map.into_iter().flatten().chain(lines)
    }

    fn has(&self, name: &HeaderName) -> bool {
        match &self.fields {
            ReplyFields::Owned(map) => map.has(name),
            ReplyFields::Frozen(fields) => fields.has(name),
            ReplyFields::Received(lines) => lines.has(name),
        }
    }
}

/// How the delivery of a reply ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything was handed to the operating system.
    Complete,
    /// The client went away, or stopped reading for too long.
    ClientGone,
    /// The client stopped taking bytes (`send_progress` passed).
    ClientStalled,
    /// The body's producer failed: the client was told by a broken connection or stream.
    BodyFailed,
}

/// One exchange as the transport sees it. Dropping it ends the exchange: whatever happens, it is recorded once.
pub trait Delivery: Send + 'static {
    /// The head is about to be sent.
    fn head_sent(&mut self) {}
    /// That many more bytes of body were handed over.
    fn body_sent(&mut self, bytes: u64);
    /// How it ended. Not called when the task is dropped mid-way.
    fn ended(&mut self, end: End);
}

impl<X: Delivery> Delivery for Box<X> {
    fn head_sent(&mut self) {
        (**self).head_sent();
    }

    fn body_sent(&mut self, bytes: u64) {
        (**self).body_sent(bytes);
    }

    fn ended(&mut self, end: End) {
        (**self).ended(end);
    }
}

/// What serves requests: the pipeline, the sample origin, the admin listener.
pub trait Handler: Send + Sync + 'static {
    /// The state of one exchange.
    type Exchange: Delivery;
    /// Answers one request.
    fn handle(&self, conn: Arc<Conn>, request: Request) -> impl Future<Output = (Reply, Self::Exchange)> + Send;
    /// Words the reply to what never became a request. The transport closes the connection (or resets the stream) after it.
    fn refuse(&self, conn: &Arc<Conn>, refusal: Refusal) -> (Reply, Self::Exchange);
    /// Told that a connection was ended as its client flooded it with frames.
    fn flooded(&self, _conn: &Arc<Conn>) {}
}

/// A delivery that nobody watches, for handlers without records.
#[derive(Debug, Default)]
pub struct Unwatched;

impl Delivery for Unwatched {
    fn body_sent(&mut self, _bytes: u64) {}
    fn ended(&mut self, _end: End) {}
}

/// Polls a body for the next data or trailers frame.
pub(crate) fn poll_frame(body: &mut StreamBody, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    body.as_mut().poll_frame(cx)
}
