//! The vocabulary between the wire and the pipeline: a request in, a reply out, and who is told how it ended.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use archipel_http::fields::Fields;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::{Body, Frame};

use crate::body::{BodyError, RequestBody};
use crate::conn::{Conn, Scheme};
use crate::h2::encode::Block;
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

/// Fields of a stored response, kept both as a map and as HTTP/1.1 field lines ready to be written. The map's values are
/// slices of the lines: one allocation, and nothing of the connection that brought them stays alive.
#[derive(Debug)]
pub struct FrozenFields {
    /// The fields.
    pub map: HeaderMap,
    /// The same as `name: value\r\n` lines.
    pub lines: Bytes,
    /// The same as HTTP/2 sends them, made when it first does.
    block: OnceLock<Block>,
}

impl FrozenFields {
    /// Freezes a map. Framing and connection fields are left out.
    pub fn new(map: &HeaderMap) -> Self {
        let mut lines = Vec::with_capacity(map.len() * 40);
        crate::h1::encode::write_fields(&mut lines, map);
        let lines = Bytes::from(lines);
        let mut frozen = HeaderMap::with_capacity(map.keys_len());
        let mut at = 0;
        for (name, value) in map.iter().filter(|(name, _)| crate::h1::encode::is_written(name)) {
            let start = at + name.as_str().len() + 2;
            at = start + value.len() + 2;
            let slice = lines.slice(start..start + value.len());
            // The bytes were a field value a moment ago; the clone is the answer that cannot fail.
            let copy = HeaderValue::from_maybe_shared(slice).unwrap_or_else(|_| value.clone());
            frozen.append(name.clone(), copy);
        }
        Self::from_parts(frozen, lines)
    }

    /// What [`FrozenFields::new`] made and somebody kept: `lines`, and the map whose values are slices of them.
    pub fn from_parts(map: HeaderMap, lines: Bytes) -> Self {
        Self { map, lines, block: OnceLock::new() }
    }

    /// The fields as HTTP/2 sends them.
    pub(crate) fn block(&self) -> &Block {
        self.block.get_or_init(|| Block::new(self))
    }

    /// Bytes of memory behind it, overhead estimated. The HTTP/2 form counts whether it is there or not.
    pub fn heap_bytes(&self) -> usize {
        2 * self.lines.len() + self.map.capacity() * 120 + 64
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

    /// The fields (without those added at delivery).
    pub fn headers(&self) -> &HeaderMap {
        match &self.fields {
            ReplyFields::Owned(map) => map,
            ReplyFields::Frozen(frozen) => &frozen.map,
            ReplyFields::Received(lines) => lines.map(),
        }
    }

    /// Whether a field is there (not one added at delivery). Makes no map.
    pub(crate) fn has_field(&self, name: &HeaderName) -> bool {
        match &self.fields {
            ReplyFields::Received(lines) => lines.has(name),
            _ => self.headers().contains_key(name),
        }
    }

    /// The fields to change; those shared with the store are copied first.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        match &mut self.fields {
            ReplyFields::Owned(_) => {}
            ReplyFields::Frozen(frozen) => self.fields = ReplyFields::Owned(frozen.map.clone()),
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
        let (map, lines) = match &self.fields {
            ReplyFields::Received(lines) => (None, Some(lines.values_of(name))),
            _ => (Some(self.headers().values_of(name)), None),
        };
        map.into_iter().flatten().chain(lines.into_iter().flatten())
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
