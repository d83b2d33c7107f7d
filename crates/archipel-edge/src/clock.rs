//! The wall clock of the cache's arithmetic. In tests it stands where they put it.

#[cfg(not(test))]
pub(crate) use std::time::SystemTime;

#[cfg(test)]
pub(crate) use turned::{SystemTime, turn_to};

#[cfg(test)]
mod turned {
    use std::cell::Cell;
    use std::time::{Duration, SystemTime as RealTime};

    thread_local! {
        static SECONDS: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Puts this thread's clock to a time in seconds since the epoch.
    pub(crate) fn turn_to(seconds: u64) {
        SECONDS.set(Some(seconds));
    }

    /// Stands for [`std::time::SystemTime`].
    pub(crate) struct SystemTime;

    impl SystemTime {
        pub(crate) fn now() -> RealTime {
            match SECONDS.get() {
                Some(seconds) => RealTime::UNIX_EPOCH + Duration::from_secs(seconds),
                None => RealTime::now(),
            }
        }
    }
}
