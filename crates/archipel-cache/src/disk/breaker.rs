//! Leaves a disk alone that fails, and tries it again after a while. Pure: the time comes in as an argument.
//!
//! Must never be asked by two threads whether to try: one writer asks, readers only tell.

use std::time::Duration;

/// When a disk is left alone, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BreakerLimits {
    /// Failures without a success between them.
    pub(crate) failures_max: u32,
    /// The first pause; each further one is twice as long.
    pub(crate) pause: Duration,
    /// The longest pause.
    pub(crate) pause_max: Duration,
}

/// The state of one kind of access.
#[derive(Debug)]
pub(crate) struct Breaker {
    limits: BreakerLimits,
    failures: u32,
    /// The end of the pause, and its length.
    open: Option<(Duration, Duration)>,
}

impl Breaker {
    pub(crate) fn new(limits: BreakerLimits) -> Self {
        Self { limits, failures: 0, open: None }
    }

    /// Whether access is given up for now.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// When to try again; `None` where nothing is given up.
    pub(crate) fn retry_at(&self) -> Option<Duration> {
        self.open.map(|(until, _)| until)
    }

    /// An access failed. Returns whether it is given up from now on, and was not before.
    pub(crate) fn failed(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        match self.open {
            // A trial: wait longer.
            Some((until, pause)) if now >= until => {
                let pause = (pause * 2).min(self.limits.pause_max);
                self.open = Some((now + pause, pause));
                false
            }
            Some(_) => false,
            None if self.failures >= self.limits.failures_max => {
                self.open = Some((now + self.limits.pause, self.limits.pause));
                true
            }
            None => false,
        }
    }

    /// An access went well. Returns whether this ends a pause.
    pub(crate) fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.open.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_up_tries_again_and_recovers() {
        let seconds = Duration::from_secs;
        let mut breaker = Breaker::new(BreakerLimits { failures_max: 3, pause: seconds(5), pause_max: seconds(15) });
        assert!(!breaker.failed(seconds(1)) && !breaker.failed(seconds(1)));
        assert!(!breaker.succeeded(), "nothing was given up");
        assert!(!breaker.failed(seconds(2)) && !breaker.failed(seconds(2)) && breaker.failed(seconds(2)));
        assert_eq!((breaker.is_open(), breaker.retry_at()), (true, Some(seconds(7))));
        assert!(!breaker.failed(seconds(3)), "those that were under way change nothing");
        assert_eq!(breaker.retry_at(), Some(seconds(7)));
        for (now, next) in [(7, 17), (17, 32), (32, 47)] {
            assert!(!breaker.failed(seconds(now)));
            assert_eq!(breaker.retry_at(), Some(seconds(next)));
        }
        assert!(breaker.succeeded() && !breaker.is_open());
        assert!(!breaker.failed(seconds(50)));
    }
}
