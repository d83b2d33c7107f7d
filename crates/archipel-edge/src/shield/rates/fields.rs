//! What replies tell of rate limits: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-11).
//!
//! Partition keys (`pk`) are left out: they would tell a visitor with whom they share a counter.

use std::fmt::Write as _;
use std::time::Duration;

use archipel_shield::limits::Standing;
use archipel_transport::message::Reply;
use http::{HeaderName, HeaderValue};

use super::super::limits::whole_seconds;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// How a rule is told: its name, what it allows, and in how many seconds.
pub(super) struct Told {
    name: Box<str>,
    policy: Box<str>,
    period: Duration,
}

impl Told {
    /// `name` is an id of a rule, or the path of one in its document: nothing of it needs an escape.
    pub(super) fn new(name: &str, requests: u32, period: Duration) -> Self {
        let policy = format!("\"{name}\";q={requests};w={}", whole_seconds(period)).into();
        Self { name: name.into(), policy, period }
    }
}

/// Adds what rules have to tell to a reply, as lists (RFC 9651 section 3.1) in the order of the rules.
pub(super) fn add<'a>(reply: &mut Reply, told: impl Iterator<Item = (&'a Told, Standing)>) {
    let (mut policies, mut limits) = (String::new(), String::new());
    for (told, standing) in told {
        let comma = if policies.is_empty() { "" } else { ", " };
        // Where nothing is counted yet, a whole period is ahead.
        let wait = if standing.wait.is_zero() { told.period } else { standing.wait };
        // Writing to a String cannot fail.
        let _ = write!(policies, "{comma}{}", told.policy);
        let _ = write!(limits, "{comma}\"{}\";r={};t={}", told.name, standing.left, whole_seconds(wait));
    }
    if policies.is_empty() {
        return;
    }
    for (name, value) in [(POLICY, policies), (LIMIT, limits)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            reply.add(name, value);
        }
    }
}
