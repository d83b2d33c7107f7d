//! Managed rules on replies: as they come from the origin, before they are stored, so that a reply is evaluated once however often it
//! is served.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use archipel_config::FirewallMode;
use archipel_transport::body::BodyError;
use archipel_transport::message::{Reply, ReplyBody, StreamBody};
use archipel_transport::origin::OriginReply;
use archipel_waf::{Transaction, Verdict};
use bytes::Bytes;
use http_body::{Body, Frame};

use super::{Pending, conclude, mode};
use crate::exchange::Exchange;

/// Evaluates a reply, where its request was evaluated and the zone wants it. Breaks with a reply in its place.
pub(crate) async fn inspect(ex: &mut Exchange, reply: &mut OriginReply) -> ControlFlow<Reply> {
    let Some(Pending(tx)) = ex.managed.take() else { return ControlFlow::Continue(()) };
    Box::pin(evaluate(ex, *tx, reply)).await
}

async fn evaluate(ex: &mut Exchange, mut tx: Transaction, reply: &mut OriginReply) -> ControlFlow<Reply> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let Some(managed) = &zone.managed else { return ControlFlow::Continue(()) };
    let mode = mode(ex, managed).unwrap_or(FirewallMode::Log);
    tx.response_status(reply.status.as_u16(), super::version(reply.version));
    for (name, value) in reply.headers.iter() {
        tx.response_header(name.as_str().as_bytes(), value.as_bytes());
    }
    let mut verdict = tx.response_headers();
    if verdict == Verdict::Continue && tx.wants_response_body() {
        let bytes_max = managed.settings.response_body_bytes_max;
        for piece in read_ahead(&mut reply.body, bytes_max).await {
            verdict = tx.response_body(&piece);
        }
        if verdict == Verdict::Continue {
            verdict = tx.response_end();
        }
    }
    conclude(ex, &zone, (managed, mode), tx, verdict, super::OUTBOUND)
}

/// The beginning of a body, `bytes_max` bytes or a piece more, which stays to be read.
async fn read_ahead(body: &mut ReplyBody, bytes_max: usize) -> Vec<Bytes> {
    match body {
        ReplyBody::Full(bytes) => vec![bytes.clone()],
        ReplyBody::Stream { body, .. } => {
            let rest = std::mem::replace(body, Box::pin(Ahead::default()));
            let (ahead, pieces) = Ahead::read(rest, bytes_max).await;
            *body = Box::pin(ahead);
            pieces
        }
        _ => Vec::new(),
    }
}

/// A body whose beginning was read before its reader asked for it.
#[derive(Default)]
struct Ahead {
    frames: VecDeque<Result<Frame<Bytes>, BodyError>>,
    rest: Option<StreamBody>,
}

impl Ahead {
    async fn read(mut body: StreamBody, bytes_max: usize) -> (Self, Vec<Bytes>) {
        let (mut frames, mut pieces, mut bytes) = (VecDeque::new(), Vec::new(), 0);
        while bytes < bytes_max {
            let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await else {
                return (Self { frames, rest: None }, pieces);
            };
            let failed = frame.is_err();
            if let Some(data) = frame.as_ref().ok().and_then(Frame::data_ref) {
                bytes += data.len();
                pieces.push(data.clone());
            }
            frames.push_back(frame);
            if failed {
                return (Self { frames, rest: None }, pieces);
            }
        }
        (Self { frames, rest: Some(body) }, pieces)
    }
}

impl Body for Ahead {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(frame) = this.frames.pop_front() {
            return Poll::Ready(Some(frame));
        }
        match &mut this.rest {
            Some(rest) => rest.as_mut().poll_frame(cx),
            None => Poll::Ready(None),
        }
    }
}
