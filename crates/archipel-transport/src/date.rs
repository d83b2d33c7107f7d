//! The current time as an HTTP date, formatted once a second and thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use archipel_http::date::{HTTP_DATE_BYTES, UnixSeconds};

thread_local! {
    static CACHED: Cell<(u64, [u8; HTTP_DATE_BYTES])> = const { Cell::new((u64::MAX, [0; HTTP_DATE_BYTES])) };
}

/// Seconds since the Unix epoch.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// The current date as it stands in a `Date` field.
pub(crate) fn now() -> [u8; HTTP_DATE_BYTES] {
    let seconds = unix_seconds();
    CACHED.with(|cached| {
        let (at, text) = cached.get();
        if at == seconds {
            return text;
        }
        let text = UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX)).format();
        cached.set((seconds, text));
        text
    })
}
