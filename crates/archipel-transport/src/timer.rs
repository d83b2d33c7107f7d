//! A deadline that costs nothing to move: the timer is re-armed only when it fires early, so that a busy keep-alive
//! connection does not touch the timer wheel for each request.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

/// One movable deadline.
#[derive(Default)]
pub(crate) struct LazyTimer {
    deadline: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl LazyTimer {
    /// Sets the deadline; an earlier one than the armed one re-arms at the next poll.
    pub(crate) fn set(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// No deadline.
    pub(crate) fn clear(&mut self) {
        self.deadline = None;
    }

    /// Whether a deadline is set.
    pub(crate) fn is_set(&self) -> bool {
        self.deadline.is_some()
    }

    /// Ready once the deadline has passed.
    pub(crate) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}
