//! One request, its reply, and what was decided about them. One task owns it; nothing in it is locked.
//! Dropping it is the `record` stage: however an exchange ends, it is recorded exactly once.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use archipel_http::target::Scheme;
use archipel_http::{Policy, UnixSeconds};
use archipel_transport::body::{BodyMeter, RequestBody};
use archipel_transport::conn::Conn;
use archipel_transport::interim::Interim;
use archipel_transport::message::{Delivery, End};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Version};

use crate::cache::KeyHash;
use crate::cache::rules::Ruling;
use crate::explain::Verdict;
use crate::firewall::managed::Pending;
use crate::live::{Live, LiveZone};
use crate::phases::Decided;
use crate::shield::rates;
use crate::worker::Worker;

macro_rules! cache_results {
    ($($(#[$doc:meta])* $name:ident $word:literal;)*) => {
        /// What the cache did with an exchange.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum CacheResult { $($(#[$doc])* $name,)* }

        impl CacheResult {
            /// All, in the order of the metric.
            pub const ALL: &'static [CacheResult] = &[$(CacheResult::$name,)*];
            /// The word in logs and metrics.
            pub fn as_str(self) -> &'static str {
                match self { $(CacheResult::$name => $word,)* }
            }
        }
    };
}

cache_results! {
    /// The exchange did not get as far as the cache.
    None "none";
    /// Answered from the store, fresh.
    Hit "hit";
    /// Answered from the store, stale, as the rules allow.
    Stale "stale";
    /// Answered from the store after the origin confirmed it.
    Revalidated "revalidated";
    /// Answered with what another request was fetching.
    Collapsed "collapsed";
    /// Fetched, and stored.
    Miss "miss";
    /// Fetched, and not stored.
    Uncacheable "uncacheable";
    /// Not looked up: the method or the zone's settings forbid it.
    Bypass "bypass";
}

impl CacheResult {
    /// Answered without a fetch of its own.
    pub fn is_hit(self) -> bool {
        matches!(self, CacheResult::Hit | CacheResult::Stale | CacheResult::Revalidated | CacheResult::Collapsed)
    }
}

/// The request of an exchange, after `zone` has understood it.
pub struct Asked {
    /// The method.
    pub method: Method,
    /// The version of the message.
    pub version: Version,
    /// The scheme.
    pub scheme: Scheme,
    /// Canonical host with a port that is not the scheme's default.
    pub authority: Box<str>,
    /// Bytes of `authority` that are the host name.
    pub host_len: usize,
    /// Canonical path, and the query as received; what rules made of them, once they have.
    pub path_and_query: Box<str>,
    /// Path and query as received, where the canonical ones differ.
    pub received_target: Option<Box<str>>,
    /// Canonical path and query of the visitor, where rules have made others of them.
    pub rewritten_from: Option<Box<str>>,
    /// The fields as received.
    pub headers: HeaderMap,
    /// The body.
    pub body: RequestBody,
    /// The protocol to upgrade to.
    pub upgrade: Option<Bytes>,
    /// Where interim responses go.
    pub interim: Interim,
}

impl Asked {
    /// Canonical host name without port.
    pub fn host(&self) -> &str {
        &self.authority[..self.host_len]
    }

    /// Canonical path and query as the visitor asked for them, whatever rules made of them.
    pub fn visitor_target(&self) -> &str {
        self.rewritten_from.as_deref().unwrap_or(&self.path_and_query)
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        self.path_and_query.split('?').next().unwrap_or("/")
    }
}

/// When things happened.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// The request's head was there.
    pub begun: Instant,
    /// The same on the wall clock.
    pub wall: SystemTime,
    /// The origin was asked.
    pub origin_asked: Option<Instant>,
    /// The origin's head was there.
    pub origin_replied: Option<Instant>,
    /// The reply's head was handed over.
    pub replied: Option<Instant>,
}

/// One exchange.
pub struct Exchange {
    /// Where it runs.
    pub worker: Arc<Worker>,
    /// The configuration in force when it began: one request sees one configuration.
    pub live: Arc<Live>,
    /// The connection; `None` in an explanation.
    pub conn: Option<Arc<Conn>>,
    /// The request.
    pub asked: Asked,
    /// The client's address, after what trusted peers said.
    pub client: IpAddr,
    /// 128 random-looking bits, also the trace id; high half first. Two halves and not one number: a `u128` would ask
    /// the allocator for 16-byte alignment of every future that holds an exchange, which is its slow path.
    pub id: [u64; 2],
    /// The zone, once found.
    pub zone: Option<Arc<LiveZone>>,
    /// What the zone's cache rules come to for this request; `None` where none concerns it.
    pub(crate) ruling: Option<Arc<Ruling>>,
    /// What the zone's other rules came to; `None` where none holds.
    pub(crate) rules: Option<Box<Decided>>,
    /// What the managed rules saw of the request, while its reply is to be.
    pub(crate) managed: Option<Pending>,
    /// Why managed rules that might refuse the reply have not judged it: one of the reasons not to store it.
    pub(crate) unjudged: Option<&'static str>,
    /// What rate limits still have to do with it.
    pub(crate) rates: Option<Box<rates::Pending>>,
    /// The cache key's hash, once it was looked up.
    pub key_hash: Option<KeyHash>,
    /// What the cache did.
    pub cache: CacheResult,
    /// The tier of the store that answered, where it was not memory.
    pub tier: Option<&'static str>,
    /// The named reason of a refusal, bypass, miss or failure.
    pub reason: Option<&'static str>,
    /// The edge answered by itself with an error.
    pub refused: bool,
    /// Nobody waits for it: something stored is made fresh in the background.
    pub(crate) for_nobody: bool,
    /// A mitigation rule acts on it, or would.
    pub(crate) shielded: bool,
    /// The origin's address and status.
    pub origin_status: Option<StatusCode>,
    /// The origin was asked for the same codings as for any other visitor.
    pub origin_asked_alike: bool,
    /// Status sent.
    pub status: Option<StatusCode>,
    /// How far the request's body is, where there is one.
    pub received: Option<Arc<BodyMeter>>,
    /// Bytes of body sent.
    pub sent: u64,
    /// How the delivery ended.
    pub end: Option<End>,
    /// When.
    pub times: Times,
    /// The verdict of each stage, where somebody wants to know.
    pub verdicts: Option<Vec<Verdict>>,
}

impl Exchange {
    /// The current time for cache arithmetic.
    pub fn now(&self) -> UnixSeconds {
        unix(self.times.wall)
    }

    /// The cache policy of this request in its zone.
    pub(crate) fn policy<'a>(&'a self, zone: &'a LiveZone) -> &'a Policy {
        self.ruling.as_ref().map_or(&zone.policy, |ruling| &ruling.policy)
    }

    /// Says what a stage decided, where somebody wants to know.
    pub fn note(&mut self, stage: &'static str, verdict: &'static str, detail: impl FnOnce() -> String) {
        if let Some(verdicts) = &mut self.verdicts {
            verdicts.push(Verdict { stage, verdict, detail: detail() });
        }
    }

    /// Counts why the cache did something, in a family of [`crate::reasons`]. Not for hits: it takes a lock, if one of this
    /// worker's own.
    pub(crate) fn count(&self, family: &'static str, reason: &'static str) {
        self.worker.metrics.labelled.count(family, reason);
    }

    /// Bytes of request body read so far.
    pub fn received_bytes(&self) -> u64 {
        self.received.as_ref().map_or(0, |meter| meter.bytes())
    }

    /// The request id as it is sent and logged.
    pub fn id_text(&self) -> [u8; 32] {
        let mut text = [0; 32];
        for (half, digits) in self.id.iter().zip(text.chunks_exact_mut(16)) {
            for (i, digit) in digits.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(half >> (60 - 4 * i)) as usize & 15];
            }
        }
        text
    }
}

/// A wall-clock time in seconds.
pub(crate) fn unix(time: SystemTime) -> UnixSeconds {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    UnixSeconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

impl Delivery for Exchange {
    fn head_sent(&mut self) {
        self.times.replied = Some(Instant::now());
    }

    fn body_sent(&mut self, bytes: u64) {
        self.sent += bytes;
    }

    fn ended(&mut self, end: End) {
        self.end = Some(end);
        if end == End::BodyFailed {
            self.reason = Some("http_response_incomplete");
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.conn.is_some() {
            crate::record::record(self);
        }
    }
}
