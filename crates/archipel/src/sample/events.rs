//! `/events`: server-sent events, one a second for a minute. Shows whether what lies between passes events on at once.
//! Must never send without end: who wants more connects again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use archipel_transport::body::BodyError;
use archipel_transport::message::{Reply, ReplyBody};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame};
use tokio::time::{Interval, MissedTickBehavior};

use super::reply;

/// Time between two events.
const PERIOD: Duration = Duration::from_secs(1);
/// Events of one stream; the one behind the last ends it.
pub(super) const EVENTS_MAX: u32 = 60;
/// The event behind the last: a browser that is not told so takes an end for an accident and connects again.
pub(super) const END: &str = "event: end\ndata: {}\n\n";

/// A stream whose first event comes at once.
pub(super) fn reply() -> Reply {
    let mut reply = Reply::new(StatusCode::OK);
    *reply.headers_mut() = reply::fields("text/event-stream; charset=utf-8", reply::NO_STORE);
    reply.body = ReplyBody::Stream { body: Box::pin(Events::new(PERIOD)), len: None };
    reply
}

/// The text of an event. Its time lets a page on the same machine tell how long the event was on its way.
pub(super) fn event(number: u32, unix_ms: u128) -> String {
    // Who loses the connection comes back after three seconds.
    let retry = if number == 1 { "retry: 3000\n" } else { "" };
    format!("{retry}id: {number}\ndata: {{\"number\":{number},\"of\":{EVENTS_MAX},\"unix_ms\":{unix_ms}}}\n\n")
}

/// The body of an event stream.
pub(super) struct Events {
    ticks: Interval,
    sent: u32,
}

impl Events {
    /// An event every `period`.
    pub(super) fn new(period: Duration) -> Self {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, sent: 0 }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.sent > EVENTS_MAX {
            return Poll::Ready(None);
        }
        ready!(self.ticks.poll_tick(cx));
        self.sent += 1;
        let text = if self.sent > EVENTS_MAX {
            END.to_owned()
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            event(self.sent, now.as_millis())
        };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(text)))))
    }
}
