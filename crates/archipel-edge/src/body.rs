//! Bodies that come from the cache crate, in the form that the transport sends.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use archipel_cache::{BodyCursor, FillReader};
use archipel_transport::body::BodyError;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::cache::Meta;

/// A body that is being filled.
pub(crate) struct FillBody {
    reader: FillReader<Meta>,
    trailers_sent: bool,
}

impl FillBody {
    pub(crate) fn new(reader: FillReader<Meta>) -> Self {
        Self { reader, trailers_sent: false }
    }
}

impl Body for FillBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.trailers_sent {
            return Poll::Ready(None);
        }
        Poll::Ready(match ready!(this.reader.poll_next(cx)) {
            Some(Ok(data)) => Some(Ok(Frame::data(data))),
            Some(Err(_)) => Some(Err(BodyError::Truncated)),
            None => {
                this.trailers_sent = true;
                this.reader.trailers().map(|trailers| Ok(Frame::trailers((*trailers).clone())))
            }
        })
    }
}

/// A complete stored body with the trailer fields that came behind it (RFC 9111 section 3.1).
pub(crate) struct TrailedBody {
    pieces: BodyCursor,
    trailers: Option<Arc<HeaderMap>>,
}

impl TrailedBody {
    pub(crate) fn new(pieces: BodyCursor, trailers: Arc<HeaderMap>) -> Self {
        Self { pieces, trailers: Some(trailers) }
    }
}

impl Body for TrailedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = match this.pieces.next() {
            Some(data) => Some(Frame::data(data)),
            None => this.trailers.take().map(|trailers| Frame::trailers((*trailers).clone())),
        };
        Poll::Ready(frame.map(Ok))
    }
}
