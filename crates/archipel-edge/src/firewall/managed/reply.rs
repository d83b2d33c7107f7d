//! Managed rules on replies: as they come from the origin, before they are stored, so that a reply is evaluated once however often it
//! is served.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};

use archipel_config::{FirewallMode, Skip};
use archipel_transport::body::BodyError;
use archipel_transport::message::{Reply, ReplyBody, StreamBody};
use archipel_transport::origin::OriginReply;
use archipel_waf::{Transaction, Verdict};
use bytes::Bytes;
use http_body::{Body, Frame};

use super::{LiveManaged, Pending, begin, conclude, mode};
use crate::exchange::Exchange;

/// Evaluates a reply, where its request was evaluated and the zone wants it, or where the edge asked by itself. Breaks with a reply in
/// its place.
pub(crate) async fn inspect(ex: &mut Exchange, reply: &mut OriginReply) -> ControlFlow<Reply> {
    match ex.managed.take() {
        Some(Pending(tx)) => Box::pin(evaluate(ex, *tx, reply)).await,
        None if ex.conn.is_none() => inspect_anew(ex, reply).await,
        None => {
            passed_by(ex);
            ControlFlow::Continue(())
        }
    }
}

/// Notes that nothing judges a reply which these rules might refuse to others: it must not be stored for them.
pub(super) fn unjudged(ex: &mut Exchange, managed: &LiveManaged, why: &'static str) {
    if managed.refuses_replies && ex.unjudged.is_none() {
        ex.unjudged = Some(why);
        ex.note("firewall", "reply not judged", || why.to_owned());
    }
}

/// Notes why the managed rules passed a request by.
fn passed_by(ex: &mut Exchange) {
    let Some(zone) = ex.zone.clone() else { return };
    let Some(managed) = &zone.managed else { return };
    let why = if mode(ex, managed).is_none() { "managed_off" } else { "managed_skipped" };
    unjudged(ex, managed, why);
}

/// Evaluates a reply to a request that was not evaluated, or whose transaction another reply has ended: a revalidation in the background,
/// a further slice, the rest of a body. Of the request, the rules are only told; what they find in it was judged when it came. All of
/// these are judged, however few requests are: what comes of it is for everybody.
pub(crate) async fn inspect_anew(ex: &mut Exchange, reply: &mut OriginReply) -> ControlFlow<Reply> {
    let asks = ex
        .zone
        .as_ref()
        .and_then(|zone| zone.managed.as_deref())
        .is_some_and(|managed| managed.settings.response && mode(ex, managed).is_some());
    if !asks || ex.skips(Skip::Managed) || ex.unjudged.is_some() {
        passed_by(ex);
        return ControlFlow::Continue(());
    }
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let Some(managed) = &zone.managed else { return ControlFlow::Continue(()) };
    let mut tx = begin(ex, managed);
    let refused = tx.request_headers() != Verdict::Continue || tx.request_end() != Verdict::Continue;
    if refused || tx.is_exhausted() {
        unjudged(ex, managed, if refused { "managed_refused" } else { "managed_budget" });
        ex.worker.managed.give_back(tx.into_scratch());
        return ControlFlow::Continue(());
    }
    Box::pin(evaluate(ex, tx, reply)).await
}

/// Ends the transaction of a request whose reply did not come from the origin: what was found in the request is recorded.
pub(crate) fn settle(ex: &mut Exchange) {
    let Some(Pending(tx)) = ex.managed.take() else { return };
    let Some(zone) = ex.zone.clone() else { return };
    let Some(managed) = &zone.managed else { return };
    let mode = mode(ex, managed).unwrap_or(FirewallMode::Log);
    // The verdict on the request was to let it in.
    let _ = conclude(ex, &zone, (managed, mode), *tx, Verdict::Continue, super::INBOUND);
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
    if !tx.stopped().is_empty() {
        unjudged(ex, managed, "managed_budget");
    } else if verdict != Verdict::Continue && mode != FirewallMode::Block {
        // Where it is only recorded, others might be refused it.
        unjudged(ex, managed, "managed_refused");
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
