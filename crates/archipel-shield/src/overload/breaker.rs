//! When an origin is left alone: after it failed for long enough nothing is sent to it but now and then a few requests, until some of
//! these are answered.
//!
//! What a visitor asks for must not decide it. That a connection does not come about is the origin's doing whoever asks; that a
//! connection breaks or a reply does not come may be that of one address that somebody keeps asking for. So failures of the second
//! kind count only where nothing at all was answered for a while.

use std::collections::VecDeque;
use std::time::Duration;

/// Answers in a row after which an origin that was down counts as up.
const ANSWERS_TO_CLOSE: u32 = 3;

/// Seconds that the window is counted in.
const SECOND: Duration = Duration::from_secs(1);

/// How an origin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There was no connection: whatever is asked for, it would have failed.
    Connection,
    /// There was a connection, and no usable reply.
    Reply,
}

/// What it takes to leave an origin alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSettings {
    /// Connections in a row that fail.
    pub failures_max: u32,
    /// Share of requests within `window` that fail for want of a connection.
    pub failure_ratio: f64,
    /// The window.
    pub window: Duration,
    /// Requests within the window below which the share says nothing.
    pub window_requests_min: u32,
    /// How long no reply has to come, while at least `failures_max` requests fail, where connections come about.
    pub silence: Duration,
    /// How long nothing is sent after a failure, while it is left alone.
    pub pause: Duration,
    /// Requests that are let through after each such time.
    pub probes_max: u32,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All is sent.
    Closed,
    /// It was down, and some requests were answered: more and more are let through.
    HalfOpen,
    /// It is left alone.
    Open,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is sent, and what becomes of it decides whether others are.
    Probe,
    /// It is not; trying again may help after this time.
    Refuse(Duration),
}

/// One second of the window: requests and failures up to its end.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Duration,
    answered: u64,
    failed: u64,
}

/// The breaker of one origin. Times are those of one clock that never goes back, from any beginning.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    state: BreakerState,
    /// Failures of any kind since the last answer, and of these connections.
    failures: u32,
    connections: u32,
    /// When the first of them was.
    failing_since: Duration,
    /// Failed connections in all.
    failed: u64,
    marks: VecDeque<Mark>,
    /// Until when nothing is sent.
    until: Duration,
    probes_left: u32,
    answers: u32,
    opened: u64,
}

impl Breaker {
    /// A breaker of an origin of which nothing is known: closed.
    #[must_use]
    pub fn new(settings: BreakerSettings) -> Self {
        Self {
            settings,
            state: BreakerState::Closed,
            failures: 0,
            connections: 0,
            failing_since: Duration::ZERO,
            failed: 0,
            marks: VecDeque::new(),
            until: Duration::ZERO,
            probes_left: 0,
            answers: 0,
            opened: 0,
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// How often it opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Whether answers are of interest: while it is closed and nothing failed since the last one they need not be told.
    #[must_use]
    pub fn is_troubled(&self) -> bool {
        self.state != BreakerState::Closed || self.failures > 0
    }

    /// Whether a request is sent.
    pub fn admit(&mut self, now: Duration) -> Verdict {
        match self.state {
            BreakerState::Closed => Verdict::Send,
            BreakerState::HalfOpen if self.probes_left > 0 => {
                self.probes_left -= 1;
                Verdict::Probe
            }
            _ if now < self.until => Verdict::Refuse(self.until - now),
            _ => {
                // Probes that get no answer for long must not keep others from trying.
                self.probes_left = self.settings.probes_max.max(1) - 1;
                self.until = now + self.settings.pause;
                self.state = BreakerState::HalfOpen;
                Verdict::Probe
            }
        }
    }

    /// A reply came.
    pub fn answered(&mut self) {
        (self.failures, self.connections) = (0, 0);
        if self.state == BreakerState::Closed {
            return;
        }
        self.answers += 1;
        if self.answers >= ANSWERS_TO_CLOSE {
            self.state = BreakerState::Closed;
            self.marks.clear();
            return;
        }
        self.state = BreakerState::HalfOpen;
        // Each answer lets twice as many through.
        self.probes_left = self.probes_left.saturating_add(2);
    }

    /// A request failed; `answered` is how many were answered since the beginning. True where that opens the breaker.
    pub fn failed(&mut self, now: Duration, how: Failure, answered: u64, probe: bool) -> bool {
        if self.state != BreakerState::Closed {
            // What was sent before it opened says nothing about now.
            if probe {
                self.pause(now);
            }
            return false;
        }
        if self.failures == 0 {
            self.failing_since = now;
        }
        self.failures = self.failures.saturating_add(1);
        if how == Failure::Connection {
            self.connections = self.connections.saturating_add(1);
            self.failed += 1;
        }
        self.mark(now, answered);
        let opens = self.is_enough(now, answered);
        if opens {
            self.opened += 1;
            self.pause(now);
        }
        opens
    }

    fn pause(&mut self, now: Duration) {
        self.state = BreakerState::Open;
        (self.answers, self.probes_left) = (0, 0);
        self.until = now + self.settings.pause;
    }

    /// Keeps one mark a second, and those that the window needs.
    fn mark(&mut self, now: Duration, answered: u64) {
        let begins = now.saturating_sub(self.settings.window);
        while self.marks.front().is_some_and(|mark| mark.at < begins) {
            self.marks.pop_front();
        }
        if self.marks.back().is_none_or(|mark| now.saturating_sub(mark.at) >= SECOND) {
            let failed = self.failed.saturating_sub(1);
            self.marks.push_back(Mark { at: now, answered, failed });
        }
    }

    fn is_enough(&self, now: Duration, answered: u64) -> bool {
        let BreakerSettings { failures_max, failure_ratio, window_requests_min, silence, .. } = self.settings;
        if self.connections >= failures_max {
            return true;
        }
        if self.failures >= failures_max && now.saturating_sub(self.failing_since) >= silence {
            return true;
        }
        let Some(first) = self.marks.front() else { return false };
        let failed = self.failed.saturating_sub(first.failed);
        let all = failed + answered.saturating_sub(first.answered);
        all >= u64::from(window_requests_min) && failed as f64 >= failure_ratio * all as f64
    }
}
