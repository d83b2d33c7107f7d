//! Counters. One set a worker, written by its thread alone, summed when they are read: counting costs no shared line.
//! The table below is the only place where a metric is named.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use archipel_cache::{CacheCounts, DiskCounts, TierUse, ZoneUse};
use archipel_transport::env::TransportStats;

use crate::cache::codings::NodeCodings;
use crate::exchange::CacheResult;
use crate::firewall::event::{EventKey, FirewallEvent, FirewallEvents};
use crate::hit_table::{self, HitTable, ZoneHits};
use crate::reasons::{self, FAMILIES};

/// A counter that one thread writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        // One writer: a load and a store instead of a locked instruction.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! table {
    ($($name:ident $help:literal;)*) => {
        /// The counters of one worker.
        #[derive(Debug, Default)]
        pub struct WorkerMetrics {
            $(#[doc = $help] pub $name: Counter,)*
            /// Requests by what the cache did, in the order of [`CacheResult::ALL`].
            pub by_cache: [Counter; CacheResult::ALL.len()],
            /// Requests by status class: index 0 is 1xx.
            pub by_class: [Counter; 5],
            /// Time to the reply's head.
            pub latency: Histogram,
            /// What the cache did for each path.
            pub paths: HitTable,
            /// Counters with a label that is known only at the place that counts.
            pub labelled: Labelled,
            /// What the firewall did.
            pub firewall: FirewallEvents,
        }

        const TABLE: &[(&str, &str, fn(&WorkerMetrics) -> u64)] = &[$((stringify!($name), $help, |m| m.$name.get()),)*];
    };
}

table! {
    requests "Exchanges ended.";
    sent_body_bytes "Bytes of reply bodies handed to clients.";
    received_body_bytes "Bytes of request bodies read from clients.";
    refused "Exchanges that the edge refused or failed by itself.";
    client_gone "Exchanges whose client left before the end.";
    body_failed "Replies that broke off because their source failed.";
    panics "Exchanges whose stage panicked; the client got 500.";
    origin_requests "Requests sent to origins.";
    origin_connects "Connections opened to origins.";
    origin_reused "Requests that reused a connection to an origin.";
    origin_retries "Requests sent again on a fresh connection.";
    slices_hit "Slices of large objects served from the store.";
    slices_stored "Slices of large objects stored.";
    slice_fetches "Requests to origins for missing slices.";
    slices_changed "Sliced objects given up as the origin had another representation.";
    parts_stored "Replies to range requests stored as parts.";
    fills_resumed "Bodies whose rest was fetched after their origin broke off.";
    revalidations_in_background "Stored responses revalidated in the background.";
    coded_replies "Replies sent in a form that the edge made: coded, or decoded.";
    codings "Forms made for a visitor who waited: coded, or decoded.";
    coding_dictionary_replies "Replies coded against another that the client had.";
    coding_in_bytes "Bytes that went into them.";
    coding_out_bytes "Bytes that came out of them.";
    log_records_dropped "Access-log records dropped because the queue was full.";
    traces_dropped "Spans dropped because the exporter was behind.";
    traces_failed "Batches of spans that the collector did not take.";
    hit_table_replaced "Paths that took another's place in the hit-ratio table, as `PATHS_MAX` was reached.";
    hit_table_skipped "Requests that the hit-ratio table does not know, as `ZONES_MAX` zones have one.";
}

/// Upper bounds of the latency histogram, in microseconds.
pub const LATENCY_BOUNDS_US: [u64; 20] = [
    25, 50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 204_800, 409_600, 819_200,
    1_638_400, 3_276_800, 6_553_600, 13_107_200,
];

/// A histogram whose bounds double.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; LATENCY_BOUNDS_US.len() + 1],
    sum_us: Counter,
}

impl Histogram {
    /// Adds one observation.
    pub fn observe(&self, us: u64) {
        let at = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[at].add(1);
        self.sum_us.add(us);
    }
}

/// Two static words, told apart by where they stand in memory: an exchange that is passed on counts three of them, and
/// comparing texts would cost it a thousand instructions. A word that stands at two places is two entries, which are summed when
/// they are read.
#[derive(Clone, Copy, Debug)]
struct Words(&'static str, &'static str);

impl Words {
    fn place(self) -> [(usize, usize); 2] {
        [self.0, self.1].map(|word| (word.as_ptr().addr(), word.len()))
    }
}

impl PartialEq for Words {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Words {}

impl Hash for Words {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // No two words of one family begin at the same byte and differ, save where one begins the other.
        let [(family, _), (label, _)] = self.place();
        state.write_usize(family.rotate_left(32) ^ label);
    }
}

/// Counters by a label that is a static word.
#[derive(Debug, Default)]
pub struct Labelled(Mutex<HashMap<Words, u64, foldhash::fast::FixedState>>);

impl Labelled {
    /// Adds one to `family` with `label`.
    pub fn count(&self, family: &'static str, label: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(Words(family, label)).or_insert(0) += 1;
    }
}

/// What a live line shows; differences between two of them are rates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveCounts {
    /// Exchanges ended.
    pub requests: u64,
    /// Answered from the cache.
    pub hits: u64,
    /// Refused or failed by the edge.
    pub refused: u64,
    /// Exchanges by upper bound of their latency ([`LATENCY_BOUNDS_US`]), the last one without bound.
    pub latency: Vec<u64>,
}

impl LiveCounts {
    /// The latency in microseconds below which `share` (0..1) of the exchanges since `before` were answered.
    pub fn quantile_since(&self, before: &LiveCounts, share: f64) -> Option<u64> {
        let counts: Vec<u64> =
            self.latency.iter().enumerate().map(|(i, n)| n - before.latency.get(i).copied().unwrap_or(0)).collect();
        let total: u64 = counts.iter().sum();
        let wanted = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let at = counts.iter().position(|n| {
            seen += n;
            seen >= wanted
        })?;
        (total > 0).then(|| LATENCY_BOUNDS_US.get(at).or(LATENCY_BOUNDS_US.last()).copied())?
    }
}

/// All workers' counters.
#[derive(Default)]
pub struct Metrics {
    workers: Mutex<Vec<Arc<WorkerMetrics>>>,
}

impl Metrics {
    /// Adds a worker.
    pub(crate) fn worker(&self) -> Arc<WorkerMetrics> {
        let worker = Arc::new(WorkerMetrics::default());
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker.clone());
        worker
    }

    fn all(&self) -> Vec<Arc<WorkerMetrics>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sums for a live line.
    pub fn live(&self) -> LiveCounts {
        let mut live = LiveCounts { latency: vec![0; LATENCY_BOUNDS_US.len() + 1], ..LiveCounts::default() };
        for worker in self.all() {
            live.requests += worker.requests.get();
            live.refused += worker.refused.get();
            for (result, counter) in CacheResult::ALL.iter().zip(&worker.by_cache) {
                live.hits += if result.is_hit() { counter.get() } else { 0 };
            }
            for (sum, bucket) in live.latency.iter_mut().zip(&worker.latency.buckets) {
                *sum += bucket.get();
            }
        }
        live
    }

    /// What the cache did for each path, by zone.
    pub(crate) fn hit_table(&self, name: impl Fn(u32) -> Option<String>) -> Vec<ZoneHits> {
        let workers = self.all();
        hit_table::sum(workers.iter().map(|worker| &worker.paths), name)
    }

    /// The firewall's last events, the newest first.
    pub(crate) fn firewall_events(&self) -> Vec<FirewallEvent> {
        let mut events: Vec<FirewallEvent> = self.all().iter().flat_map(|worker| worker.firewall.events()).collect();
        events.sort_by_key(|event| std::cmp::Reverse(event.time_ms));
        events
    }

    /// The firewall's events by zone, source, action and mode.
    pub(crate) fn firewall_metrics(&self, page: &mut String, name: impl Fn(u32) -> Option<String>) {
        let mut sums: BTreeMap<EventKey, u64> = BTreeMap::new();
        for (key, n) in self.all().iter().flat_map(|worker| worker.firewall.counts()) {
            *sums.entry(key).or_insert(0) += n;
        }
        let metric = "archipel_firewall_events_total";
        let _ = writeln!(page, "# HELP {metric} Decisions of the firewall.\n# TYPE {metric} counter");
        for ((zone, source, action, mode), n) in sums {
            let Some(zone) = name(zone) else { continue };
            let source = source.as_str();
            let labels = format!("zone=\"{zone}\",source=\"{source}\",action=\"{action}\",mode=\"{mode}\"");
            let _ = writeln!(page, "{metric}{{{labels}}} {n}");
        }
    }

    /// The page in the Prometheus text format 0.0.4.
    pub(crate) fn render(&self, transport: &TransportStats, cache: &CacheCounts, codings: &NodeCodings) -> String {
        let workers = self.all();
        let mut page = String::with_capacity(16 * 1024);
        for (name, help, read) in TABLE {
            let sum = workers.iter().map(|w| read(w)).sum();
            metric(&mut page, &format!("archipel_{name}_total"), "counter", help, &[("", sum)]);
        }
        let by = |pick: fn(&WorkerMetrics) -> &[Counter], names: &[&'static str]| -> Vec<(String, u64)> {
            names
                .iter()
                .enumerate()
                .map(|(i, name)| ((*name).to_owned(), workers.iter().map(|w| pick(w)[i].get()).sum()))
                .collect()
        };
        let names: Vec<&str> = CacheResult::ALL.iter().map(|r| r.as_str()).collect();
        family(
            &mut page,
            "archipel_requests_by_cache_total",
            "Exchanges by what the cache did.",
            "cache",
            &by(|w| &w.by_cache, &names),
        );
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        family(
            &mut page,
            "archipel_requests_by_status_total",
            "Exchanges by class of status.",
            "class",
            &by(|w| &w.by_class, &classes),
        );
        histogram(&mut page, &workers);
        labelled(&mut page, &workers);
        transport.each(|name, kind, help, value| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            metric(&mut page, &format!("archipel_{name}{suffix}"), kind, help, &[("", value)]);
        });
        let refusals: Vec<(String, u64)> = transport.refusals().map(|(r, n)| (r.as_str().to_owned(), n)).collect();
        family(
            &mut page,
            "archipel_transport_refused_total",
            "Messages refused before they became requests.",
            "reason",
            &refusals,
        );
        cache_metrics(&mut page, cache);
        let jobs = [("", codings.jobs() as u64)];
        metric(&mut page, "archipel_coding_jobs", "gauge", "Encoders and decoders at work for visitors.", &jobs);
        codings.background().each(|name, kind, help, value| {
            let suffix = if kind == "counter" { "_total" } else { "" };
            metric(&mut page, &format!("archipel_{name}{suffix}"), kind, help, &[("", value)]);
        });
        page
    }
}

pub(crate) fn metric(page: &mut String, name: &str, kind: &str, help: &str, values: &[(&str, u64)]) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", help.trim());
    for (labels, value) in values {
        let _ = writeln!(page, "{name}{labels} {value}");
    }
}

fn family(page: &mut String, name: &str, help: &str, label: &str, values: &[(String, u64)]) {
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} counter");
    for (word, value) in values {
        let _ = writeln!(page, "{name}{{{label}=\"{word}\"}} {value}");
    }
}

fn histogram(page: &mut String, workers: &[Arc<WorkerMetrics>]) {
    let name = "archipel_reply_seconds";
    let _ = writeln!(page, "# HELP {name} Time from a request's head to its reply's head.\n# TYPE {name} histogram");
    let mut below = 0;
    for (i, bound) in LATENCY_BOUNDS_US.iter().enumerate() {
        below += workers.iter().map(|w| w.latency.buckets[i].get()).sum::<u64>();
        let _ = writeln!(page, "{name}_bucket{{le=\"{}\"}} {below}", *bound as f64 / 1e6);
    }
    below += workers.iter().map(|w| w.latency.buckets[LATENCY_BOUNDS_US.len()].get()).sum::<u64>();
    let sum: u64 = workers.iter().map(|w| w.latency.sum_us.get()).sum();
    let _ =
        writeln!(page, "{name}_bucket{{le=\"+Inf\"}} {below}\n{name}_sum {}\n{name}_count {below}", sum as f64 / 1e6);
}

fn labelled(page: &mut String, workers: &[Arc<WorkerMetrics>]) {
    let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    // What is known to come stands there from the start, so that an alert can tell "never" from "not yet".
    for family in FAMILIES {
        sums.extend(family.reasons.iter().map(|(reason, _)| ((family.name, *reason), 0)));
    }
    for worker in workers {
        for (key, n) in worker.labelled.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            *sums.entry((key.0, key.1)).or_insert(0) += n;
        }
    }
    let mut last = "";
    for ((name, label), n) in sums {
        if name != last {
            let help = reasons::family(name).map_or("By reason.", |family| family.help);
            let _ = writeln!(page, "# HELP archipel_{name}_total {help}\n# TYPE archipel_{name}_total counter");
            last = name;
        }
        let _ = writeln!(page, "archipel_{name}_total{{reason=\"{label}\"}} {n}");
    }
}

/// The disk tier's counters and gauges.
pub(crate) fn disk_metrics(page: &mut String, disk: &DiskCounts) {
    disk.each(|name, kind, help, value| {
        let suffix = if kind == "counter" { "_total" } else { "" };
        metric(page, &format!("archipel_cache_disk_{name}{suffix}"), kind, help, &[("", value)]);
    });
}

/// What zones have in the cache.
pub(crate) fn zone_metrics(page: &mut String, zones: &BTreeMap<String, ZoneUse>) {
    type Row = (&'static str, &'static str, &'static str, fn(&TierUse) -> u64);
    let rows: [Row; 5] = [
        (
            "archipel_cache_zone_bytes",
            "gauge",
            "Bytes that a zone's objects take in a tier, overhead included.",
            |of| of.bytes,
        ),
        ("archipel_cache_zone_objects", "gauge", "Objects that a zone has in a tier.", |of| of.objects),
        ("archipel_cache_zone_bytes_max", "gauge", "A zone's quota of a tier; 0 for none of its own.", |of| {
            of.bytes_max
        }),
        (
            "archipel_cache_zone_evicted_quota_total",
            "counter",
            "Objects evicted from a tier as their zone was at its quota.",
            |of| of.evicted_quota,
        ),
        (
            "archipel_cache_zone_refused_quota_total",
            "counter",
            "Objects not stored in a tier as they are too large for their zone's quota.",
            |of| of.refused_quota,
        ),
    ];
    for (name, kind, help, of) in rows {
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (zone, uses) in zones {
            for (tier, value) in [("memory", of(&uses.memory)), ("disk", of(&uses.disk))] {
                let _ = writeln!(page, "{name}{{zone=\"{zone}\",tier=\"{tier}\"}} {value}");
            }
        }
    }
}

fn cache_metrics(page: &mut String, cache: &CacheCounts) {
    cache.each(|name, kind, help, value| {
        let suffix = if kind == "counter" { "_total" } else { "" };
        metric(page, &format!("archipel_cache_{name}{suffix}"), kind, help, &[("", value)]);
    });
}
