//! A request's way to its origin and back to the head of the reply.

use std::time::Instant;

use archipel_transport::origin::OriginError;
use http::StatusCode;

use super::OriginGuard;
use super::gate::{Gate, Place};

/// Leave to send a request. Its place is given back with the head of the reply, when the request fails, or when nobody waits for it any
/// more: streams that go on for long hold none.
pub(crate) struct Permit<'a> {
    guard: &'a OriginGuard,
    gate: &'a Gate,
    place: Option<Place<'a>>,
    /// There is a limit.
    limited: bool,
    /// The origin is down, and this is to see whether it still is.
    probe: bool,
}

impl<'a> Permit<'a> {
    pub(super) fn new(guard: &'a OriginGuard, gate: &'a Gate, place: Option<Place<'a>>, probe: bool) -> Self {
        Self { guard, gate, limited: place.is_some(), place, probe }
    }

    /// Says whether all of the request is there. As long as it is the visitor who is waited for, it holds no place: slow uploads would
    /// keep all others out.
    pub(crate) fn is_whole(&mut self, whole: bool) {
        match (whole, &self.place) {
            (true, None) if self.limited => self.place = Some(self.gate.enter_anyway()),
            (false, Some(_)) => self.place = None,
            _ => {}
        }
    }

    /// A reply came; `whole` is when the origin had all of the request, where it waited for that.
    pub(crate) fn answered(self, status: StatusCode, whole: Option<Instant>) {
        let pushed_back = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        let latency = |whole: Instant| u64::try_from(whole.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.gate.reply(whole.filter(|_| self.limited && !pushed_back).map(latency));
        if pushed_back {
            self.gate.too_much();
        }
        self.guard.answered();
    }

    /// No reply came.
    pub(crate) fn failed(self, error: &OriginError) {
        if super::failure_of(error).is_some() {
            self.gate.too_much();
            self.guard.failed(error, self.probe);
        }
    }
}
