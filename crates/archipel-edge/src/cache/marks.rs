//! `Cache-Status` values that name no lifetime. There are few, and they are the same request after request: making one
//! costs 900 instructions, finding it again 60.

use std::cell::RefCell;

use archipel_http::cache_status::CacheStatus;
use http::HeaderValue;

/// Values that are kept on a thread. All combinations that occur are fewer.
const KEPT_MAX: usize = 64;

thread_local! {
    static MADE: RefCell<Vec<(CacheStatus<'static>, HeaderValue)>> = const { RefCell::new(Vec::new()) };
}

/// The field value of a status.
pub(super) fn value(status: CacheStatus<'static>) -> HeaderValue {
    if status.ttl.is_some() {
        return status.to_header_value();
    }
    MADE.with_borrow_mut(|made| {
        if let Some((_, value)) = made.iter().find(|(known, _)| *known == status) {
            return value.clone();
        }
        let value = status.to_header_value();
        if made.len() < KEPT_MAX {
            made.push((status, value.clone()));
        }
        value
    })
}
