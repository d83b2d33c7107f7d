//! Idle connections to origins: one pool a worker, so that a connection stays with the runtime that opened it and no
//! lock is shared between cores.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use archipel_transport::h1::link::{Http1Link, IdleState};
use archipel_transport::h2::client::Http2Link;
use archipel_transport::origin::{Link, OriginError, Recycle};
use tokio::time::Instant;

use crate::live::LiveOrigin;
use crate::metrics::WorkerMetrics;
use crate::resolve::Resolver;

/// Limits of the connections to one origin, from its zone.
#[derive(Clone, Copy)]
pub(crate) struct PoolLimits {
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) idle_max: usize,
    pub(crate) open_max: usize,
}

/// How long no connection to an origin is used twice after it sent bytes that nobody had asked for. Such bytes are read
/// as the reply to the next request on that connection, and how soon they come is the origin's to choose: that no
/// connection has a next request is the one answer that always helps.
const DISTRUST: Duration = Duration::from_secs(60);
/// Bytes that come later than this on an idle connection are a farewell (408 before a close), not the end of a reply.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Host {
    idle: Vec<(Http1Link, Instant)>,
    h2: Option<Http2Link>,
    /// HTTP/1 connections that exist, idle ones included.
    open: usize,
    idle_timeout: Duration,
    distrusted_until: Option<Instant>,
}

impl Host {
    fn is_distrusted(&self) -> bool {
        self.distrusted_until.is_some_and(|until| Instant::now() < until)
    }

    fn distrust(&mut self, metrics: &WorkerMetrics) {
        if !self.is_distrusted() {
            tracing::warn!("an origin sends more than its replies; its connections are used once each for a minute");
        }
        metrics.labelled.count("origin_distrusted", "unasked_bytes");
        self.distrusted_until = Some(Instant::now() + DISTRUST);
        self.open = self.open.saturating_sub(self.idle.len());
        self.idle.clear();
    }
}

/// The connections of one worker.
pub(crate) struct Pool {
    hosts: Mutex<HashMap<u64, Host, foldhash::fast::FixedState>>,
    pub(crate) resolver: Resolver,
    metrics: Arc<WorkerMetrics>,
}

/// A connection taken from the pool, and whether it had carried an exchange before.
pub(crate) struct Taken {
    pub(crate) link: Link,
    pub(crate) reused: bool,
    /// Returns the place of an HTTP/1 connection when its exchange is over.
    pub(crate) ticket: Arc<Ticket>,
}

/// The place of one connection among those of its origin. Given back on drop, unless the connection became idle.
pub(crate) struct Ticket {
    pool: Arc<Pool>,
    key: u64,
    limits: PoolLimits,
    counted: bool,
    recycled: std::sync::atomic::AtomicBool,
}

impl Recycle for Ticket {
    fn recycle(&self, link: Http1Link) {
        let mut hosts = self.pool.lock();
        let host = hosts.entry(self.key).or_default();
        let keep = !self.limits.idle_timeout.is_zero() && !host.is_distrusted();
        if keep && host.idle.len() < self.limits.idle_max {
            host.idle.push((link, Instant::now()));
            self.recycled.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn distrust(&self) {
        self.pool.lock().entry(self.key).or_default().distrust(&self.pool.metrics);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.counted && !self.recycled.load(std::sync::atomic::Ordering::Relaxed) {
            let mut hosts = self.pool.lock();
            if let Some(host) = hosts.get_mut(&self.key) {
                host.open = host.open.saturating_sub(1);
            }
        }
    }
}

impl Pool {
    pub(crate) fn new(metrics: Arc<WorkerMetrics>) -> Arc<Self> {
        Arc::new(Self { hosts: Mutex::default(), resolver: Resolver::default(), metrics })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Host, foldhash::fast::FixedState>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(self: &Arc<Self>, origin: &LiveOrigin, limits: PoolLimits, counted: bool) -> Arc<Ticket> {
        let recycled = std::sync::atomic::AtomicBool::new(false);
        Arc::new(Ticket { pool: self.clone(), key: origin.pool, limits, counted, recycled })
    }

    /// An idle connection to `origin` that is still good. `fresh` forbids them and forgets an HTTP/2 one.
    pub(crate) fn take(self: &Arc<Self>, origin: &LiveOrigin, limits: PoolLimits, fresh: bool) -> Option<Taken> {
        let found = self.idle(origin.pool, limits, fresh)?;
        self.metrics.origin_reused.add(1);
        Some(match found {
            Found::Http1(link) => {
                Taken { link: Link::Http1(link), reused: true, ticket: self.ticket(origin, limits, true) }
            }
            Found::Http2(link) => {
                Taken { link: Link::Http2(link), reused: true, ticket: self.ticket(origin, limits, false) }
            }
        })
    }

    /// A new connection to `origin`.
    pub(crate) async fn open(self: &Arc<Self>, origin: &LiveOrigin, limits: PoolLimits) -> Result<Taken, OriginError> {
        self.reserve(origin.pool, limits)?;
        // From here on the ticket gives the place back, also when this future is dropped while it connects.
        let place = self.ticket(origin, limits, true);
        self.metrics.origin_connects.add(1);
        let addresses = self.resolver.resolve(&origin.host, origin.port).await?;
        let link = archipel_transport::origin::connect(
            &addresses,
            origin.tls.as_ref(),
            origin.protocol,
            limits.connect_timeout,
        )
        .await?;
        if let Link::Http2(link) = &link {
            self.lock().entry(origin.pool).or_default().h2 = Some(link.clone());
        }
        Ok(Taken { link, reused: false, ticket: place })
    }

    fn idle(&self, key: u64, limits: PoolLimits, fresh: bool) -> Option<Found> {
        let mut hosts = self.lock();
        let host = hosts.get_mut(&key)?;
        host.idle_timeout = limits.idle_timeout;
        if let Some(link) = &host.h2 {
            if link.is_usable() && !fresh {
                return Some(Found::Http2(link.clone()));
            }
            host.h2 = None;
        }
        if fresh {
            return None;
        }
        // The most recently used first: the others may age out.
        while let Some((mut link, since)) = host.idle.pop() {
            let state = link.idle_state();
            let now = Instant::now();
            link.taken = Some(now);
            let idle = now.duration_since(since);
            if idle < limits.idle_timeout && state == IdleState::Silent {
                return Some(Found::Http1(link));
            }
            host.open = host.open.saturating_sub(1);
            if state == IdleState::Spoke && idle < FAREWELL {
                host.distrust(&self.metrics);
            }
        }
        None
    }

    fn reserve(&self, key: u64, limits: PoolLimits) -> Result<(), OriginError> {
        let mut hosts = self.lock();
        let host = hosts.entry(key).or_default();
        host.idle_timeout = limits.idle_timeout;
        if host.open >= limits.open_max {
            self.metrics.labelled.count("origin_limit", "connections_max");
            return Err(OriginError::LimitReached);
        }
        host.open += 1;
        Ok(())
    }

    /// Opens a new HTTP/2 connection for the next request to this origin.
    pub(crate) fn forget_http2(&self, key: u64) {
        if let Some(host) = self.lock().get_mut(&key) {
            host.h2 = None;
        }
    }

    /// Closes what has been idle for too long. Called now and then.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        let mut hosts = self.lock();
        for host in hosts.values_mut() {
            let timeout = host.idle_timeout;
            let before = host.idle.len();
            host.idle.retain_mut(|(link, since)| {
                now.duration_since(*since) < timeout && link.idle_state() == IdleState::Silent
            });
            host.open = host.open.saturating_sub(before - host.idle.len());
            if host.h2.as_ref().is_some_and(|link| !link.is_usable()) {
                host.h2 = None;
            }
        }
        hosts.retain(|_, host| host.open > 0 || host.h2.is_some() || host.is_distrusted());
    }
}

enum Found {
    Http1(Http1Link),
    Http2(Http2Link),
}
