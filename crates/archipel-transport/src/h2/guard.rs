//! Counts the frames that a client may send for nothing: a flood of them costs the sender less than us.

use std::time::{Duration, Instant};

use crate::env::Http2Limits;

/// Window in which control frames are counted.
const CONTROL_WINDOW: Duration = Duration::from_secs(10);
/// Window in which resets are counted.
const RESET_WINDOW: Duration = Duration::from_secs(30);

/// Events in a fixed window.
#[derive(Debug)]
pub(crate) struct Meter {
    count: u32,
    max: u32,
    window: Duration,
    since: Option<Instant>,
}

impl Meter {
    /// Frames that a client may send for nothing: SETTINGS, PING, PRIORITY, empty DATA, and what no RFC defines.
    pub(crate) fn control(limits: &Http2Limits) -> Self {
        Self::new(limits.control_frames_max, CONTROL_WINDOW)
    }

    /// Streams that a client resets, or makes us reset.
    pub(crate) fn resets(limits: &Http2Limits) -> Self {
        Self::new(limits.resets_max, RESET_WINDOW)
    }

    fn new(max: u32, window: Duration) -> Self {
        Self { count: 0, max, window, since: None }
    }

    /// Counts one more. True: the limit is passed.
    pub(crate) fn over(&mut self) -> bool {
        self.count += 1;
        // The clock is read once a window, not for each frame.
        if self.count > self.max {
            let now = Instant::now();
            match self.since {
                Some(since) if now.duration_since(since) < self.window => return true,
                _ => {
                    self.since = Some(now);
                    self.count = 1;
                }
            }
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        false
    }
}
