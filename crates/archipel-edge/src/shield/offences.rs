//! Who offends again and again, over connections whose address cannot be forged: what is handed to the kernel.
//!
//! Owns the count of offences by address, and the queue of repeat offenders between the workers and the thread that talks to the
//! kernel. Must never name an address that was read from a header field or a PROXY protocol header (packets carry the proxy's),
//! nor one that the operator exempts or trusts.
//!
//! [`note`] costs a relaxed load where the hand-off is off, else one place in a table of token buckets (archipel-shield's), without
//! a lock: a lock is taken for repeat offenders alone, whose packets stop coming within a second.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use archipel_config::{NodeConfig, NodeShieldKernel, Snapshot};
use archipel_shield::limits::{Buckets, Rate, Taken};
use archipel_transport::conn::Conn;
use foldhash::quality::FixedState;

use crate::exchange::Exchange;
use crate::live::Live;
use crate::metrics::metric;
use crate::node::{Node, random};

/// Addresses whose offences are counted at a time, in 16 bytes each: beyond it, those that offended least of late are forgotten.
const ADDRESSES_MAX: usize = 1 << 17;
/// Repeat offenders that wait for the next hand-off, which comes once a second; beyond it they are dropped, counted, and noted
/// again with their next offence.
const QUEUE_MAX: usize = 16_384;

macro_rules! words {
    ($(#[$of:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident $word:literal;)* }) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All, in the order of the metric.
            pub(crate) const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// The word in logs and metrics.
            pub(crate) fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What an address did. Only what no visitor with a browser does by mistake: a challenge that was shown is no offence.
    Why {
        /// A request or a chunk that is no HTTP, which clients do not send and attacks do.
        Malformed "malformed";
        /// A request head that did not arrive in time.
        Slow "slow";
        /// An HTTP/2 connection that was ended for its resets, control frames or header lists.
        Flood "flood";
        /// A request beyond the budget of its address, or beyond a rate limit that counts by address: who is told to wait, waits.
        Limited "limited";
        /// A request that a mitigation rule of the attack detector blocked.
        Attack "attack";
    }
}

words! {
    /// Why an offence does not count.
    Spared {
        /// The client's address comes from a header field or a PROXY protocol header: packets carry another.
        Proxied "proxied";
        /// The peer is one whose word on addresses is trusted: many people stand behind it.
        Trusted "trusted";
        /// `shield.exempt`.
        Exempt "exempt";
        /// Loopback, this machine itself, or no address of one host.
        Local "local";
    }
}

/// A repeat offender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offender {
    /// Its address; of an IPv6 address the /64, as one machine has all of it.
    pub address: IpAddr,
    /// The zone of its last offence ([`archipel_config::Zone::id`]), where it came as far as one.
    pub zone: Option<u32>,
    /// Its last offence.
    pub why: Why,
    /// When.
    pub at: Instant,
}

/// The offences of a node.
pub(crate) struct Offences {
    /// `None` where nothing is handed off.
    table: ArcSwapOption<Table>,
    started: Instant,
    hasher: FixedState,
    counts: Counts,
}

struct Table {
    settings: NodeShieldKernel,
    rate: Rate,
    buckets: Buckets,
    caught: Mutex<HashMap<IpAddr, Offender>>,
}

#[derive(Default)]
struct Counts {
    noted: [AtomicU64; Why::ALL.len()],
    spared: [AtomicU64; Spared::ALL.len()],
    repeated: AtomicU64,
    queue_full: AtomicU64,
}

impl Table {
    fn new(settings: &NodeShieldKernel) -> Self {
        let rate = Rate::new(settings.offences_max, settings.offences_window, settings.offences_max);
        Self { settings: settings.clone(), rate, buckets: Buckets::new(ADDRESSES_MAX), caught: Mutex::default() }
    }
}

impl Offences {
    pub(crate) fn new(config: &NodeConfig) -> Self {
        let offences = Self {
            table: ArcSwapOption::empty(),
            started: Instant::now(),
            hasher: FixedState::with_seed(random()),
            counts: Counts::default(),
        };
        offences.configure(config);
        offences
    }

    /// Puts settings in force. What was counted is forgotten where they differ.
    pub(crate) fn configure(&self, config: &NodeConfig) {
        let wanted = Some(&config.shield.kernel).filter(|kernel| kernel.enabled);
        let table = self.table.load();
        if table.as_ref().map(|table| &table.settings) != wanted {
            self.table.store(wanted.map(|settings| Table::new(settings).into()));
        }
    }

    /// Takes the repeat offenders that were noted since the last call.
    pub(crate) fn take(&self) -> Vec<Offender> {
        let Some(table) = &*self.table.load() else { return Vec::new() };
        let caught = std::mem::take(&mut *table.caught.lock().unwrap_or_else(PoisonError::into_inner));
        caught.into_values().collect()
    }

    fn count(&self, table: &Table, offender: Offender) {
        self.counts.noted[offender.why as usize].fetch_add(1, Ordering::Relaxed);
        let now = offender.at.saturating_duration_since(self.started);
        let key = self.hasher.hash_one(offender.address);
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        if table.buckets.take(key, table.rate, now_ns) == Taken::Granted {
            return;
        }
        let mut caught = table.caught.lock().unwrap_or_else(PoisonError::into_inner);
        let full = caught.len() >= QUEUE_MAX;
        match caught.entry(offender.address) {
            Entry::Occupied(mut before) => drop(before.insert(offender)),
            Entry::Vacant(_) if full => drop(self.counts.queue_full.fetch_add(1, Ordering::Relaxed)),
            Entry::Vacant(place) => {
                self.counts.repeated.fetch_add(1, Ordering::Relaxed);
                place.insert(offender);
            }
        }
    }

    /// Its part of the metrics page.
    pub(crate) fn metrics(&self, page: &mut String) {
        let by = |words: &[&'static str], counts: &[AtomicU64]| -> Vec<(String, u64)> {
            let value =
                |(word, count): (&&str, &AtomicU64)| (format!("{{reason=\"{word}\"}}"), count.load(Ordering::Relaxed));
            words.iter().zip(counts).map(value).collect()
        };
        let mut family = |name: &str, help: &str, values: &[(String, u64)]| {
            let values: Vec<_> = values.iter().map(|(labels, value)| (labels.as_str(), *value)).collect();
            metric(page, name, "counter", help, &values);
        };
        let noted: Vec<_> = Why::ALL.iter().map(|why| why.as_str()).collect();
        let help = "Offences that counted towards a hand-off to the kernel.";
        family("archipel_shield_offences_total", help, &by(&noted, &self.counts.noted));
        let spared: Vec<_> = Spared::ALL.iter().map(|spared| spared.as_str()).collect();
        let help = "Offences that did not count, as their address is never handed off.";
        family("archipel_shield_offences_spared_total", help, &by(&spared, &self.counts.spared));
        let one = |count: &AtomicU64| [(String::new(), count.load(Ordering::Relaxed))];
        let help = "Times that an address was noted as a repeat offender.";
        family("archipel_shield_repeat_offenders_total", help, &one(&self.counts.repeated));
        let help = "Repeat offenders that were dropped because the queue to the kernel was full.";
        family("archipel_shield_offences_queue_full_total", help, &one(&self.counts.queue_full));
    }
}

/// Notes that whoever sent a request offended. Call it once for each offence, wherever a reply says no for a reason of [`Why`].
pub(crate) fn note(ex: &Exchange, why: Why) {
    let Some(conn) = &ex.conn else { return };
    let zone = ex.zone.as_ref().map(|zone| zone.zone.id);
    note_of(&ex.worker.node, &ex.live, conn, ex.client, zone, why);
}

/// The same where a connection offended, and no request of it.
pub(crate) fn note_conn(node: &Node, conn: &Conn, why: Why) {
    note_of(node, &node.live(), conn, conn.client_ip(), None, why);
}

fn note_of(node: &Node, live: &Live, conn: &Conn, client: IpAddr, zone: Option<u32>, why: Why) {
    let offences = &node.offences;
    let Some(table) = &*offences.table.load() else { return };
    match culprit(&live.snapshot, conn, client) {
        Ok(address) => offences.count(table, Offender { address, zone, why, at: Instant::now() }),
        Err(spared) => drop(offences.counts.spared[spared as usize].fetch_add(1, Ordering::Relaxed)),
    }
}

/// The address whose packets the kernel may drop: the peer's, if it is also the client's and nothing speaks for it.
fn culprit(snapshot: &Snapshot, conn: &Conn, client: IpAddr) -> Result<IpAddr, Spared> {
    let trust = &snapshot.node.trust;
    let peer = conn.peer.ip().to_canonical();
    if conn.client.ip().to_canonical() != peer || client.to_canonical() != peer {
        return Err(Spared::Proxied);
    }
    if trust.proxy_protocol_from.contains(peer) || trust.client_address_from.contains(peer) {
        return Err(Spared::Trusted);
    }
    if snapshot.shield.exempt.contains(peer) {
        return Err(Spared::Exempt);
    }
    let local = peer.is_loopback() || peer.is_unspecified() || peer.is_multicast();
    if local || peer == conn.local.ip().to_canonical() {
        return Err(Spared::Local);
    }
    Ok(machine(peer))
}

/// What one machine has: an IPv4 address, or an IPv6 /64.
pub(crate) fn machine(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;

    use archipel_transport::conn::Protocol;

    use super::*;

    fn node(text: &str) -> Arc<Node> {
        let zone = "hosts = [\"*\"]\n[origin]\nurl = \"http://o\"\n";
        let documents = [("node.toml", text.to_owned()), ("zones/z.toml", zone.to_owned())];
        Node::new(Snapshot::from_documents(&documents).expect("good documents").0).expect("a node")
    }

    fn conn(peer: &str, client: &str) -> Arc<Conn> {
        let at = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), 443);
        Conn::new(1, at(peer), at(client), at("203.0.113.1"), None, Protocol::Http1)
    }

    const ON: &str = "[shield.kernel]\nenabled = true\noffences_max = 3\n";

    #[track_caller]
    fn check(config: &str, peer: &str, client: &str, header: &str, expected: Result<&str, Spared>) {
        let node = node(&format!("{config}\n{ON}"));
        let expected = expected.map(|address| address.parse().expect("an address"));
        let header = header.parse().expect("an address");
        assert_eq!(culprit(&node.snapshot(), &conn(peer, client), header), expected);
    }

    #[test]
    fn whom_the_kernel_may_drop() {
        let visitor = "198.51.100.7";
        check("", visitor, visitor, visitor, Ok(visitor));
        check("", "::ffff:198.51.100.7", "::ffff:198.51.100.7", visitor, Ok(visitor));
        check("", "2001:db8::7:1", "2001:db8::7:1", "2001:db8::7:1", Ok("2001:db8::"));
        // From a header field; from a PROXY protocol header.
        check("", "192.0.2.1", "192.0.2.1", visitor, Err(Spared::Proxied));
        check("", "192.0.2.1", visitor, visitor, Err(Spared::Proxied));
        // What a proxy sends of its own, such as its health checks.
        for trust in ["client_address_from", "proxy_protocol_from"] {
            let config = format!("[trust]\n{trust} = [\"192.0.2.0/24\"]");
            check(&config, "192.0.2.1", "192.0.2.1", "192.0.2.1", Err(Spared::Trusted));
        }
        check("[shield]\nexempt = [\"198.51.100.0/24\"]", visitor, visitor, visitor, Err(Spared::Exempt));
        check("", "127.0.0.1", "127.0.0.1", "127.0.0.1", Err(Spared::Exempt));
        // Not even where the exemption of loopback is configured away.
        check("[shield]\nexempt = []", "127.0.0.1", "127.0.0.1", "127.0.0.1", Err(Spared::Local));
        check("[shield]\nexempt = []", "::1", "::1", "::1", Err(Spared::Local));
        check("", "203.0.113.1", "203.0.113.1", "203.0.113.1", Err(Spared::Local));
    }

    fn offend(node: &Node, peer: &str, times: usize) {
        (0..times).for_each(|_| note_conn(node, &conn(peer, peer), Why::Flood));
    }

    fn taken(node: &Node) -> Vec<String> {
        let mut taken: Vec<_> = node.offences.take().iter().map(|offender| offender.address.to_string()).collect();
        taken.sort();
        taken
    }

    #[test]
    fn who_offends_more_often_than_allowed_is_noted_once() {
        let node = node(ON);
        offend(&node, "198.51.100.7", 3);
        offend(&node, "198.51.100.8", 3);
        assert_eq!(taken(&node), [""; 0]);
        offend(&node, "198.51.100.7", 5);
        // Two addresses of one machine.
        offend(&node, "2001:db8::7:1", 2);
        offend(&node, "2001:db8::7:2", 2);
        assert_eq!(taken(&node), ["198.51.100.7", "2001:db8::"]);
        assert_eq!(taken(&node), [""; 0]);
        let mut page = String::new();
        node.offences.metrics(&mut page);
        assert!(page.contains("archipel_shield_offences_total{reason=\"flood\"} 15\n"), "{page}");
        assert!(page.contains("archipel_shield_repeat_offenders_total 2\n"), "{page}");
    }

    #[test]
    fn a_full_queue_is_counted() {
        let node = node(ON);
        for n in 0..QUEUE_MAX + 2 {
            offend(&node, &format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255), 4);
        }
        assert_eq!(node.offences.take().len(), QUEUE_MAX);
        let mut page = String::new();
        node.offences.metrics(&mut page);
        assert!(page.contains("archipel_shield_offences_queue_full_total 2\n"), "{page}");
    }

    #[test]
    fn nothing_is_noted_where_nothing_is_handed_off() {
        let node = node("");
        offend(&node, "198.51.100.7", 100);
        assert_eq!(taken(&node), [""; 0]);
        let mut page = String::new();
        node.offences.metrics(&mut page);
        assert!(page.contains("archipel_shield_offences_total{reason=\"flood\"} 0\n"), "{page}");
    }
}
