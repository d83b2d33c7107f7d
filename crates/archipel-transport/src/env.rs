//! What the connections of one node share: settings, counters, and the word to drain. Settings are fixed for a
//! connection when it is accepted; a reload concerns the connections that come after it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;
use std::time::Duration;

use archipel_config::CidrSet;

use crate::h1::head::HeadLimits;
use crate::refusal::Refusal;

/// Limits of HTTP/2 connections.
#[derive(Clone, Copy, Debug)]
pub struct Http2Limits {
    /// Streams open at once on one connection.
    pub streams_max: u32,
    /// Decoded bytes of one field section (RFC 9113 section 6.5.2).
    pub header_list_bytes_max: u32,
    /// Resets, sent or received, in 30 s on one connection.
    pub resets_max: u32,
    /// SETTINGS, PING, PRIORITY and empty DATA frames in 10 s on one connection.
    pub control_frames_max: u32,
}

/// Settings of the connections from clients.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Limits of HTTP/1 request heads.
    pub head: HeadLimits,
    /// HTTP/2.
    pub http2: Http2Limits,
    /// Bytes of an unread request body that are read away to keep a connection.
    pub drain_body_bytes_max: u64,
    /// Requests on one connection before it is closed in good order.
    pub requests_per_connection_max: u32,
    /// Connections in all.
    pub connections_max: usize,
    /// Connections of one client address.
    pub connections_per_address_max: usize,
    /// Peers that must begin with a PROXY protocol header on listeners that expect one; nobody else is believed.
    pub proxy_protocol_from: CidrSet,
    /// Clients that `connections_per_address_max` does not concern: proxies that carry many people.
    pub unlimited_from: CidrSet,
    /// TLS handshake, from accept to finished; also the PROXY protocol header.
    pub tls_handshake: Duration,
    /// First byte of a head to its end.
    pub request_head: Duration,
    /// Between requests.
    pub keep_alive: Duration,
    /// Silence while a request body is read.
    pub body_progress: Duration,
    /// Time that a client may take no bytes of a reply.
    pub send_progress: Duration,
    /// Silence in a tunnel.
    pub upgrade_idle: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            head: HeadLimits { head_bytes_max: 16 * 1024, fields_max: 100, uri_bytes_max: 8 * 1024 },
            http2: Http2Limits {
                streams_max: 128,
                header_list_bytes_max: 16 * 1024,
                resets_max: 200,
                control_frames_max: 400,
            },
            drain_body_bytes_max: 256 * 1024,
            requests_per_connection_max: 100_000,
            connections_max: 100_000,
            connections_per_address_max: 1024,
            proxy_protocol_from: CidrSet::default(),
            unlimited_from: CidrSet::default(),
            tls_handshake: seconds(10),
            request_head: seconds(10),
            keep_alive: seconds(75),
            body_progress: seconds(30),
            send_progress: seconds(30),
            upgrade_idle: seconds(600),
        }
    }
}

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident: $kind:ident;)*) => {
        /// Counters of the transport; relaxed atomics, read by the metrics page.
        #[derive(Debug, Default)]
        pub struct TransportStats { $($(#[doc = $doc])* pub $name: AtomicU64,)* refusals: RefusalCounts }

        impl TransportStats {
            /// Name, kind (`counter` or `gauge`), help and value of each.
            pub fn each(&self, mut f: impl FnMut(&'static str, &'static str, &'static str, u64)) {
                $(f(stringify!($name), stringify!($kind), concat!($($doc,)*), self.$name.load(Ordering::Relaxed));)*
            }
        }
    };
}

counters! {
    /// Connections accepted.
    connections_accepted: counter;
    /// Connections open now.
    connections_open: gauge;
    /// Connections refused because connections_max was reached.
    connections_refused: counter;
    /// Connections refused because connections_per_address_max was reached.
    connections_refused_per_address: counter;
    /// Failures of accept(2), such as too many open files.
    accept_errors: counter;
    /// TLS handshakes completed.
    tls_handshakes: counter;
    /// TLS handshakes that resumed a session.
    tls_resumed: counter;
    /// TLS handshakes that failed or timed out.
    tls_handshake_failures: counter;
    /// PROXY protocol headers that were malformed, missing, or came from an unlisted peer.
    proxy_protocol_refused: counter;
    /// HTTP/2 connections ended for flooding (resets, control frames, header lists).
    http2_floods: counter;
    /// Connections closed because a client took no bytes for send_progress.
    send_stalls: counter;
    /// Tasks of connections that panicked.
    connection_panics: counter;
    /// Tunnels opened after an upgrade.
    tunnels: counter;
}

/// One counter a refusal.
#[derive(Debug)]
struct RefusalCounts([AtomicU64; Refusal::ALL.len()]);

impl Default for RefusalCounts {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl TransportStats {
    /// Counts a refusal.
    pub fn refused(&self, refusal: Refusal) {
        self.refusals.0[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each refusal and how often it happened.
    pub fn refusals(&self) -> impl Iterator<Item = (Refusal, u64)> + '_ {
        Refusal::ALL.iter().map(|r| (*r, self.refusals.0[*r as usize].load(Ordering::Relaxed)))
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// The word to drain, and who must hear it.
#[derive(Debug, Default)]
pub struct Drain {
    draining: AtomicBool,
    idle_too: AtomicBool,
    waiting: Mutex<HashMap<u64, Waker>>,
}

impl Drain {
    /// Whether connections should end after what they are doing.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Whether connections that wait for a request should end without one.
    pub fn ends_idle(&self) -> bool {
        self.idle_too.load(Ordering::Acquire)
    }

    /// Tells every connection that the next reply is its last one. An HTTP/1 connection that waits for a request may still
    /// send one, so that no request meets a connection that is just being closed (RFC 9112 section 9.3.1).
    pub fn announce(&self) {
        self.draining.store(true, Ordering::Release);
        for waker in self.waiting.lock().unwrap_or_else(PoisonError::into_inner).values() {
            waker.wake_by_ref();
        }
    }

    /// Tells every connection to end, those that wait for a request at once.
    pub fn start(&self) {
        self.idle_too.store(true, Ordering::Release);
        self.announce();
    }

    /// Wakes `waker` when draining starts. One registration a connection; a task's waker does not change.
    pub(crate) fn register(&self, conn: u64, waker: &Waker) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(conn, waker.clone());
    }

    pub(crate) fn forget(&self, conn: u64) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&conn);
    }
}

/// Connections by client address, with a limit. Bounded by the connections themselves.
#[derive(Debug, Default)]
pub struct AddressCounts(Mutex<HashMap<IpAddr, usize>>);

impl AddressCounts {
    /// Takes a place for `address`, or says that there is none. IPv6 counts by /64: one customer has at least that.
    pub fn enter(&self, address: IpAddr, max: usize) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(network(address)).or_insert(0);
        if *count >= max {
            return false;
        }
        *count += 1;
        true
    }

    /// Gives a place back.
    pub fn leave(&self, address: IpAddr) {
        let address = network(address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}
