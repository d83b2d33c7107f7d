//! What keeps an origin from being asked for more than it can answer: `[origin.concurrency]` and `[origin.breaker]` in
//! `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `check`.

use std::time::Duration;

use crate::kind::{Count, Flag, Ratio, SECOND, Time};
use crate::node::all_defaults;
use crate::settings::settings;

settings! {
    /// How many requests the origin works on at a time: as many as it answers about as fast as ever. A request counts until the head of
    /// its reply. Beyond, requests wait for a moment, and are refused with status 503 and `Retry-After`.
    pub struct OriginConcurrency {
        settings {
            /// Whether there is a limit.
            enabled: bool = Flag, true;
            /// The limit is never lower, per worker.
            requests_min: u32 = Count(1, 1_000_000), 8;
            /// The limit is never higher, per worker. It begins with a quarter of this.
            requests_max: u32 = Count(1, 1_000_000), 1_024;
            /// Requests that wait, per worker; 0 is none. Visitors who are known (a cookie, `Authorization`) go first, revalidations in
            /// the background last.
            queue_requests_max: usize = Count(0, 1_000_000), 512;
            /// How long a request waits.
            queue_wait: Duration = Time(0, 60 * SECOND), Duration::from_secs(1);
        }
    }
}

settings! {
    /// When the origin is left alone because it is down. Meanwhile what is stored is served as `cache.stale_if_unreachable`, `stale_if_error`
    /// and `always_online` allow; everything else is refused at once with status 503 and `Retry-After`.
    pub struct OriginBreaker {
        settings {
            /// Whether it is ever left alone.
            enabled: bool = Flag, true;
            /// Connections that fail in a row before it is. Also the number of requests without a reply, in a row, before it is: but only where
            /// nothing at all was answered for `silence`, since what somebody asks for may be the cause.
            failures_max: u32 = Count(1, 1_000_000), 5;
            /// See `failures_max`.
            silence: Duration = Time(0, 600 * SECOND), Duration::from_secs(3);
            /// Share of requests within `window` that find no connection before it is.
            failure_ratio: f64 = Ratio, 0.8;
            /// The time in which they are counted.
            window: Duration = Time(SECOND, 600 * SECOND), Duration::from_secs(10);
            /// Requests within `window` below which the share says nothing.
            window_requests_min: u32 = Count(1, 1_000_000), 20;
            /// How long it is left alone before requests are let through to see.
            pause: Duration = Time(100, 600 * SECOND), Duration::from_secs(2);
            /// Requests that are let through after each pause.
            probes_max: u32 = Count(1, 1_000), 2;
        }
    }
}

all_defaults!(OriginConcurrency, OriginBreaker);
