//! The hand-off to the kernel: once a second, repeat offenders go into the sets of the node's own nftables table, and the operator's
//! lists where they have changed.
//!
//! Owns the thread, and what is in the kernel until when. The table itself is `archipel-shield`'s. Must never end a start or a
//! request: where the kernel refuses, it says why, once, and the node goes on without.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use archipel_config::{NodeShieldKernel, Snapshot};
use archipel_rules::AddressSet;
use archipel_shield::kernel::{Dropped, KernelError, KernelTable, Lists, Ranges};

use super::offences::Offender;
use crate::metrics::metric;
use crate::node::Node;

/// How often addresses are handed off.
const TICK: Duration = Duration::from_secs(1);
/// How long after a failure the kernel is asked again.
const RETRY: Duration = Duration::from_secs(10);
/// How long a process that ends may keep the table before its successor says that it lacks it.
const HANDOVER: Duration = Duration::from_secs(30);
/// Ranges of the operator's lists that are handed to the kernel, which takes some 4 us for each at a reload. Those beyond are
/// refused by the node alone, and counted.
const RANGES_MAX: usize = 200_000;

/// The thread, as the rest of the node sees it.
pub(crate) struct Kernel {
    orders: Sender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

enum Order {
    /// There is another configuration.
    Reload,
    /// Give the table up.
    End(End),
}

/// How the thread gives the table up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody takes its place: what is in the kernel is removed.
    Stop,
    /// A successor makes the table anew, or has done so already.
    HandedOver,
}

/// What the metrics tell.
#[derive(Debug, Default)]
pub(crate) struct KernelCounts {
    works: AtomicU64,
    elements: [AtomicU64; 2],
    ranges: AtomicU64,
    ranges_left_out: AtomicU64,
    handed_off: AtomicU64,
    full: AtomicU64,
    failures: AtomicU64,
    dropped_blocked: AtomicU64,
    dropped_offenders: AtomicU64,
}

impl KernelCounts {
    /// Its part of the metrics page.
    pub(crate) fn metrics(&self, page: &mut String) {
        let value = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut one = |name: &str, kind: &str, help: &str, count: &AtomicU64| {
            metric(page, &format!("archipel_shield_kernel_{name}"), kind, help, &[("", value(count))]);
        };
        one("works", "gauge", "1 while the kernel drops packets for this node.", &self.works);
        one("handed_off_total", "counter", "Addresses handed to the kernel.", &self.handed_off);
        let help = "Repeat offenders not handed off, as `shield.kernel.elements_max` addresses were in the kernel.";
        one("full_total", "counter", help, &self.full);
        one("failures_total", "counter", "Changes that the kernel refused.", &self.failures);
        one("ranges", "gauge", "Ranges of the operator's lists in the kernel.", &self.ranges);
        let help = "Ranges of the operator's lists that were too many for the kernel: the node refuses them itself.";
        one("ranges_left_out", "gauge", help, &self.ranges_left_out);
        let families =
            [("{family=\"ipv4\"}", value(&self.elements[0])), ("{family=\"ipv6\"}", value(&self.elements[1]))];
        let help = "Repeat offenders in the kernel: IPv4 addresses, IPv6 /64s.";
        metric(page, "archipel_shield_kernel_elements", "gauge", help, &families);
        let dropped = [
            ("{reason=\"blocked\"}", value(&self.dropped_blocked)),
            ("{reason=\"offender\"}", value(&self.dropped_offenders)),
        ];
        let help = "Packets that the kernel dropped, by why.";
        metric(page, "archipel_shield_kernel_dropped_packets_total", "counter", help, &dropped);
    }
}

impl Node {
    /// Begins to hand addresses to the kernel, on a thread of its own, where the configuration in force says so or one that comes.
    /// `listeners` are the addresses that visitors connect to.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn open_kernel(self: &Arc<Self>, listeners: Vec<SocketAddr>) -> std::io::Result<()> {
        let (orders, received) = channel();
        let hand_off = HandOff::new(listeners, self.kernel_counts.clone());
        let node = Arc::downgrade(self);
        let thread = std::thread::Builder::new()
            .name("shield-kernel".to_owned())
            .spawn(move || run(&node, hand_off, &received))?;
        // A second one would find the table taken.
        let _ = self.kernel.set(Kernel { orders, thread: Mutex::new(Some(thread)) });
        Ok(())
    }

    /// Gives up the kernel's table, and waits for that: some milliseconds.
    pub fn close_kernel(&self, end: End) {
        let Some(kernel) = self.kernel.get() else { return };
        let thread = kernel.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if kernel.orders.send(Order::End(end)).is_ok()
            && let Some(thread) = thread
        {
            let _ = thread.join();
        }
    }

    /// Tells the thread of another configuration.
    pub(crate) fn reload_kernel(&self) {
        if let Some(kernel) = self.kernel.get() {
            let _ = kernel.orders.send(Order::Reload);
        }
    }
}

fn run(node: &Weak<Node>, mut hand_off: HandOff, orders: &Receiver<Order>) {
    loop {
        let Some(node) = node.upgrade() else { return };
        let snapshot = node.snapshot();
        if snapshot.node.shield.kernel.enabled {
            hand_off.tick(&snapshot, node.offences.take(), Instant::now());
        } else {
            hand_off.close(End::Stop);
        }
        drop(node);
        let order = match snapshot.node.shield.kernel.enabled {
            true => orders.recv_timeout(TICK),
            false => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match order {
            Ok(Order::Reload) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Order::End(end)) => {
                return hand_off.close(end);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// What is in the kernel.
struct HandOff {
    listeners: Vec<SocketAddr>,
    counts: Arc<KernelCounts>,
    table: Option<Open>,
    /// Who is in it, or would be if it were there, and until when.
    held: HashMap<IpAddr, Instant>,
    retry_at: Option<Instant>,
    /// Since when another process has the table.
    taken_since: Option<Instant>,
    said: Option<KernelError>,
}

struct Open {
    table: KernelTable,
    name: String,
    /// Of the lists in it.
    generation: Option<u64>,
    /// Counters when they were last read.
    dropped: Dropped,
}

impl HandOff {
    fn new(listeners: Vec<SocketAddr>, counts: Arc<KernelCounts>) -> Self {
        Self { listeners, counts, table: None, held: HashMap::new(), retry_at: None, taken_since: None, said: None }
    }

    /// Brings the kernel up to date.
    fn tick(&mut self, snapshot: &Snapshot, offenders: Vec<Offender>, now: Instant) {
        let settings = &snapshot.node.shield.kernel;
        if self.table.as_ref().is_some_and(|open| open.name != settings.table) {
            self.close(End::Stop);
        }
        self.held.retain(|_, until| *until > now);
        if self.table.is_none() && self.retry_at.is_none_or(|at| at <= now) {
            self.open(settings, now);
        }
        if self.table.is_some() {
            let fresh = self.choose(settings, &snapshot.shield.never_dropped, offenders, now);
            if let Err(error) = self.update(snapshot, &fresh) {
                // Somebody may have removed the table: it is made anew, with all who are to be in it.
                self.counts.failures.fetch_add(1, Ordering::Relaxed);
                self.say(error);
                self.table = None;
                self.retry_at = Some(now + TICK);
            }
        }
        self.tell();
    }

    /// Who is handed off now, and for how long.
    fn choose(
        &mut self,
        settings: &NodeShieldKernel,
        never: &AddressSet,
        offenders: Vec<Offender>,
        now: Instant,
    ) -> Vec<(IpAddr, Duration)> {
        let mut fresh = Vec::new();
        for offender in offenders {
            // A reload may have made it exempt since it offended.
            if self.held.contains_key(&offender.address) || never.contains(offender.address) {
                continue;
            }
            if self.held.len() >= settings.elements_max {
                self.counts.full.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            if fresh.is_empty() {
                let (address, why) = (offender.address, offender.why.as_str());
                tracing::info!(%address, why, "the kernel drops a repeat offender's packets for {:?}", settings.timeout);
            }
            self.held.insert(offender.address, now + settings.timeout);
            fresh.push((offender.address, settings.timeout));
        }
        if fresh.len() > 1 {
            tracing::info!("and those of {} more", fresh.len() - 1);
        }
        self.counts.handed_off.fetch_add(fresh.len() as u64, Ordering::Relaxed);
        fresh
    }

    fn open(&mut self, settings: &NodeShieldKernel, now: Instant) {
        let opened = KernelTable::open(&settings.table, &self.listeners).and_then(|mut table| {
            let held: Vec<_> =
                self.held.iter().map(|(address, until)| (*address, until.saturating_duration_since(now))).collect();
            table.add_offenders(&held)?;
            Ok(table)
        });
        let table = match opened {
            Ok(table) => table,
            Err(error) => {
                let taken = matches!(error, KernelError::Owned { .. });
                let since = *self.taken_since.get_or_insert(now);
                if !taken || now.saturating_duration_since(since) >= HANDOVER {
                    self.counts.failures.fetch_add(1, Ordering::Relaxed);
                    self.say(error);
                }
                self.retry_at = Some(now + if taken { TICK } else { RETRY });
                return;
            }
        };
        (self.retry_at, self.taken_since, self.said) = (None, None, None);
        let owned = if table.is_owned() {
            ""
        } else {
            "; this kernel knows no owners: what a crash leaves, the next start removes"
        };
        tracing::info!("the kernel drops packets of repeat offenders: nftables table inet {}{owned}", settings.table);
        self.table = Some(Open { table, name: settings.table.clone(), generation: None, dropped: Dropped::default() });
    }

    fn update(&mut self, snapshot: &Snapshot, fresh: &[(IpAddr, Duration)]) -> Result<(), KernelError> {
        let Some(open) = &mut self.table else { return Ok(()) };
        if open.generation != Some(snapshot.generation) {
            let sets = &snapshot.shield;
            let exempt = cut(&sets.never_dropped, RANGES_MAX);
            let blocked = cut(&sets.blocked, RANGES_MAX.saturating_sub(len(&exempt)));
            // Without all who are exempt, nobody may be dropped by a list: the node itself knows them all.
            let whole = len(&exempt) == len(&all(&sets.never_dropped));
            let blocked = if whole { blocked } else { Ranges::default() };
            open.table.set_lists(&Lists { exempt, blocked })?;
            let given = len(&exempt) + len(&blocked);
            let wanted = len(&all(&sets.never_dropped)) + len(&all(&sets.blocked));
            self.counts.ranges.store(given as u64, Ordering::Relaxed);
            self.counts.ranges_left_out.store((wanted - given) as u64, Ordering::Relaxed);
            open.generation = Some(snapshot.generation);
        }
        open.table.add_offenders(fresh)?;
        let dropped = open.table.dropped()?;
        let since = |now: u64, before: u64| now.saturating_sub(before);
        self.counts.dropped_blocked.fetch_add(since(dropped.blocked, open.dropped.blocked), Ordering::Relaxed);
        self.counts.dropped_offenders.fetch_add(since(dropped.offenders, open.dropped.offenders), Ordering::Relaxed);
        open.dropped = dropped;
        Ok(())
    }

    fn close(&mut self, end: End) {
        if let Some(open) = self.table.take()
            && end == End::Stop
            && let Err(error) = open.table.remove()
        {
            tracing::warn!("the kernel's table is not removed: {error}");
        }
        self.held.clear();
        (self.retry_at, self.taken_since, self.said) = (None, None, None);
        self.tell();
    }

    /// Says a problem, and says it once.
    fn say(&mut self, error: KernelError) {
        if self.said != Some(error) {
            tracing::warn!("[shield.kernel] drops nothing, and the node alone refuses who attacks it: {error}");
            self.said = Some(error);
        }
    }

    fn tell(&self) {
        self.counts.works.store(u64::from(self.table.is_some()), Ordering::Relaxed);
        let held = if self.table.is_some() { self.held.len() } else { 0 };
        let v6 = if held > 0 { self.held.keys().filter(|address| address.is_ipv6()).count() } else { 0 };
        self.counts.elements[0].store((held - v6) as u64, Ordering::Relaxed);
        self.counts.elements[1].store(v6 as u64, Ordering::Relaxed);
    }
}

fn all(set: &AddressSet) -> Ranges<'_> {
    Ranges { v4: set.v4_ranges(), v6: set.v6_ranges() }
}

/// At most so many ranges of a set.
fn cut(set: &AddressSet, max: usize) -> Ranges<'_> {
    let (v4, v6) = (set.v4_ranges(), set.v6_ranges());
    let v4 = &v4[..v4.len().min(max)];
    Ranges { v4, v6: &v6[..v6.len().min(max - v4.len())] }
}

fn len(ranges: &Ranges<'_>) -> usize {
    ranges.v4.len() + ranges.v6.len()
}

#[cfg(test)]
mod tests {
    use archipel_rules::AddressRange;

    use super::*;
    use crate::shield::offences::Why;

    #[test]
    fn who_is_handed_off() {
        let now = Instant::now();
        let mut hand_off = HandOff::new(Vec::new(), Arc::default());
        let mut settings = NodeShieldKernel::default();
        settings.elements_max = 3;
        let offender = |address: &str| {
            let address = address.parse().expect("an address");
            Offender { address, zone: None, why: Why::Flood, at: now }
        };
        let never = AddressSet::new([AddressRange::one("192.0.2.9".parse().expect("an address"))]);
        let mut choose = |addresses: &[&str]| -> Vec<String> {
            let offenders = addresses.iter().map(|address| offender(address)).collect();
            let fresh = hand_off.choose(&settings, &never, offenders, now);
            assert!(fresh.iter().all(|(_, time)| *time == settings.timeout));
            fresh.iter().map(|(address, _)| address.to_string()).collect()
        };
        assert_eq!(choose(&["192.0.2.1", "192.0.2.9", "2001:db8::"]), ["192.0.2.1", "2001:db8::"]);
        assert_eq!(choose(&["192.0.2.1"]), [""; 0], "it is in already");
        assert_eq!(choose(&["192.0.2.2", "192.0.2.3", "192.0.2.4"]), ["192.0.2.2"], "full");
        assert_eq!(hand_off.counts.full.load(Ordering::Relaxed), 2);
        assert_eq!(hand_off.counts.handed_off.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn ranges_beyond_the_limit_are_left_out() {
        let set = AddressSet::new(
            (0..4_u32)
                .map(|n| AddressRange::V4(n * 10, n * 10))
                .chain((1..3).map(|n| AddressRange::V6(n * 10, n * 10))),
        );
        let lens = |max| [cut(&set, max).v4.len(), cut(&set, max).v6.len()];
        assert_eq!([lens(0), lens(3), lens(5), lens(9)], [[0, 0], [3, 0], [4, 1], [4, 2]]);
    }
}
