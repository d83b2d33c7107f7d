//! What one core has of its own: connections to origins, counters, the log's batch. And the handler that the transport
//! calls.

use std::future::Future;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use archipel_http::target::Scheme;
use archipel_transport::body::RequestBody;
use archipel_transport::conn::{Conn, Scheme as WireScheme};
use archipel_transport::interim::Interim;
use archipel_transport::message::{Handler, Reply, Request};
use archipel_transport::refusal::Refusal;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Version};

use crate::access_log::WorkerLog;
use crate::clock::SystemTime;
use crate::error_page::{self, Failure};
use crate::exchange::{Asked, CacheResult, Exchange, Times};
use crate::firewall::managed::ManagedWorker;
use crate::live::Live;
use crate::metrics::WorkerMetrics;
use crate::node::Node;
use crate::pipeline;
use crate::pool::Pool;
use crate::shield::offences::{self, Why};
use crate::traces::Traces;

/// How often a worker hands over log lines and sweeps its idle connections.
const TICK: Duration = Duration::from_millis(250);

/// The state of one core.
pub struct Worker {
    /// What all workers share.
    pub node: Arc<Node>,
    /// Its place among the workers.
    pub(crate) number: usize,
    /// Counters.
    pub metrics: Arc<WorkerMetrics>,
    /// The access log, unless it is off.
    pub log: Option<WorkerLog>,
    /// Spans on their way to a collector.
    pub traces: Traces,
    pub(crate) pool: Arc<Pool>,
    /// What evaluates managed rules.
    pub(crate) managed: ManagedWorker,
    ids: Ids,
}

impl Worker {
    pub(crate) fn new(node: Arc<Node>, metrics: Arc<WorkerMetrics>) -> Arc<Self> {
        let log = node.log.clone().map(WorkerLog::new);
        let traces = Traces::new(&node.live().snapshot.node.traces);
        Arc::new(Self {
            number: node.live().guards.worker(),
            pool: Pool::new(metrics.clone()),
            metrics,
            log,
            traces,
            managed: ManagedWorker::default(),
            ids: Ids::new(),
            node,
        })
    }

    /// Runs on the worker's runtime until its node goes.
    pub(crate) async fn tick(worker: std::sync::Weak<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let Some(worker) = worker.upgrade() else { return };
            if let Some(log) = &worker.log {
                log.tick(&worker.metrics);
            }
            worker.pool.sweep();
            worker.node.live().guards.tick(worker.number);
            worker.node.store.reclaim(RECLAIM_SLOTS);
            worker.node.store.shrink_zones(RECLAIM_SLOTS);
            if worker.traces.has_spans() {
                worker.traces.send(&worker.pool.resolver, &worker.metrics).await;
            }
        }
    }

    pub(crate) fn next_id(&self) -> [u64; 2] {
        self.ids.next()
    }
}

/// Stored objects looked at for purged ones in one tick, and evicted from zones that are above a lowered quota.
const RECLAIM_SLOTS: usize = 512;

/// 128-bit ids that do not repeat: a counter under a random start, mixed so that neighbours do not look alike.
struct Ids {
    high: u64,
    next: AtomicU64,
}

impl Ids {
    fn new() -> Self {
        Self { high: crate::node::random(), next: AtomicU64::new(crate::node::random()) }
    }

    fn next(&self) -> [u64; 2] {
        // SplitMix64 (Steele, Lea, Flood 2014): a bijection of the counter, so no two are equal.
        let n = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mix = |mut z: u64| {
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        [mix(n ^ self.high), mix(n)]
    }
}

/// The edge as the transport sees it: one a core.
#[derive(Clone)]
pub struct Edge(pub(crate) Arc<Worker>);

impl Edge {
    /// Hands over the log lines that wait in this worker.
    pub fn flush(&self) {
        if let Some(log) = &self.0.log {
            log.tick(&self.0.metrics);
        }
    }

    fn exchange(&self, conn: Arc<Conn>, mut asked: Asked, live: Arc<Live>) -> Exchange {
        let asked_received = asked.body.meter();
        Exchange {
            id: self.0.next_id(),
            worker: self.0.clone(),
            client: conn.client_ip(),
            conn: Some(conn),
            live,
            asked,
            zone: None,
            ruling: None,
            rules: None,
            managed: None,
            unjudged: None,
            rates: None,
            key_hash: None,
            cache: CacheResult::None,
            tier: None,
            reason: None,
            refused: false,
            for_nobody: false,
            shielded: false,
            origin_status: None,
            origin_asked_alike: false,
            status: None,
            received: asked_received,
            sent: 0,
            end: None,
            times: now(),
            verdicts: None,
        }
    }
}

fn now() -> Times {
    Times { begun: Instant::now(), wall: SystemTime::now(), origin_asked: None, origin_replied: None, replied: None }
}

/// An exchange without a connection, for explanations.
pub(crate) fn imagined(worker: Arc<Worker>, asked: Asked, client: IpAddr) -> Exchange {
    Exchange {
        id: worker.next_id(),
        live: worker.node.live(),
        worker,
        client,
        conn: None,
        asked,
        zone: None,
        ruling: None,
        rules: None,
        managed: None,
        unjudged: None,
        rates: None,
        key_hash: None,
        cache: CacheResult::None,
        tier: None,
        reason: None,
        refused: false,
        for_nobody: false,
        shielded: false,
        origin_status: None,
        origin_asked_alike: false,
        status: None,
        received: None,
        sent: 0,
        end: None,
        times: now(),
        verdicts: Some(Vec::new()),
    }
}

fn scheme(scheme: WireScheme) -> Scheme {
    match scheme {
        WireScheme::Http => Scheme::Http,
        WireScheme::Https => Scheme::Https,
    }
}

impl Handler for Edge {
    // Boxed, as it is handed from hand to hand.
    type Exchange = Box<Exchange>;

    #[expect(clippy::manual_async_fn, reason = "the future must be Send, which only this form states")]
    fn handle(&self, conn: Arc<Conn>, request: Request) -> impl Future<Output = (Reply, Self::Exchange)> + Send {
        async move {
            let live = self.0.node.live();
            let authority = request.authority.unwrap_or_default();
            let asked = Asked {
                method: request.method,
                version: request.version,
                scheme: scheme(request.scheme),
                authority: text(&authority),
                host_len: 0,
                path_and_query: text(&request.target),
                received_target: None,
                rewritten_from: None,
                headers: request.headers,
                body: request.body,
                upgrade: request.upgrade,
                interim: request.interim,
            };
            let mut ex = Box::new(self.exchange(conn, asked, live));
            let reply = match AssertUnwindSafe(pipeline::serve(&mut ex)).catch_unwind().await {
                Ok(reply) => reply,
                Err(_) => {
                    ex.worker.metrics.panics.add(1);
                    let reply = error_page::reply(&mut ex, &Failure::internal("panic"));
                    crate::transform::on_deliver(&mut ex, reply)
                }
            };
            (reply, ex)
        }
    }

    fn refuse(&self, conn: &Arc<Conn>, refusal: Refusal) -> (Reply, Self::Exchange) {
        let asked = Asked {
            method: Method::GET,
            version: Version::HTTP_11,
            scheme: scheme(conn.scheme()),
            authority: Box::from(""),
            host_len: 0,
            path_and_query: Box::from(""),
            received_target: None,
            rewritten_from: None,
            headers: HeaderMap::new(),
            body: RequestBody::empty(),
            upgrade: None,
            interim: Interim::Discard,
        };
        let mut ex = Box::new(self.exchange(conn.clone(), asked, self.0.node.live()));
        if let Some(why) = offence(refusal) {
            offences::note(&ex, why);
        }
        let failure = Failure::refusal(refusal.status(), refusal.as_str(), refusal.message());
        let reply = error_page::reply(&mut ex, &failure);
        let mut reply = crate::transform::on_deliver(&mut ex, reply);
        reply.close = true;
        (reply, ex)
    }

    fn flooded(&self, conn: &Arc<Conn>) {
        offences::note_conn(&self.0.node, conn, Why::Flood);
    }
}

/// Whether a refusal says that the client means harm. What is too large, or asked for at the wrong port, does not.
fn offence(refusal: Refusal) -> Option<Why> {
    match refusal {
        Refusal::HeadTimeout => Some(Why::Slow),
        Refusal::MalformedHead
        | Refusal::BareLineFeed
        | Refusal::BadHost
        | Refusal::BadContentLength
        | Refusal::BadTransferEncoding
        | Refusal::ConflictingFraming
        | Refusal::MalformedChunk
        | Refusal::MalformedFields => Some(Why::Malformed),
        Refusal::UnsupportedVersion
        | Refusal::UriTooLong
        | Refusal::HeadTooLarge
        | Refusal::TooManyFields
        | Refusal::BadExpectation
        | Refusal::PlainOnTls => None,
    }
}

/// Bytes as they came, for the log until `zone` has made them canonical.
fn text(bytes: &[u8]) -> Box<str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => String::from_utf8_lossy(bytes).into_owned().into(),
    }
}
