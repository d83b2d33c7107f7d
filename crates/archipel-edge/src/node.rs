//! What all workers of a node share: the configuration in force, the store, the flights, the log.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use archipel_cache::{FlightLimits, Flights, Store, StoreLimits, TierUse, ZoneQuota, ZoneUse};
use archipel_config::{NodeCacheDisk, Snapshot};
use archipel_transport::env::{Http2Limits, ServerSettings, TransportStats};
use archipel_transport::h1::head::{FIELDS_MAX, HeadLimits};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::access_log::AccessLog;
use crate::cache::codec::MetaCodec;
use crate::cache::codings::NodeCodings;
use crate::cache::equivalents::Equivalents;
use crate::cache::{Meta, disk};
use crate::firewall::event::FirewallEvent;
use crate::hit_table::ZoneHits;
use crate::live::{Live, LiveError};
use crate::metrics::{LiveCounts, Metrics};
use crate::overload::OriginStatus;
use crate::purge::{HostsFile, Keeper};
use crate::shield::Shield;
use crate::shield::kernel::{Kernel, KernelCounts};
use crate::shield::limits::Budgets;
use crate::shield::offences::Offences;
use crate::worker::{Edge, Worker};

/// A node that cannot start, or a configuration that it does not take.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The configuration cannot be put to use.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The access log cannot be opened.
    #[error("the access log cannot be opened: {0}; create its folder or change [log] access")]
    Log(std::io::Error),
}

/// One node.
pub struct Node {
    live: ArcSwap<Live>,
    pub(crate) store: Arc<Store<Meta>>,
    pub(crate) flights: Arc<Flights<Meta>>,
    pub(crate) codings: NodeCodings,
    pub(crate) equivalents: Equivalents,
    pub(crate) key_seed: (u64, u64),
    pub(crate) log: Option<Arc<AccessLog>>,
    /// Keeps the purge journal, once there is one.
    pub(crate) purges: OnceLock<Keeper>,
    /// Keeps which zone has each host, once there is a state folder.
    pub(crate) hosts: OnceLock<HostsFile>,
    /// What the shield keeps of zones.
    pub(crate) shield: Arc<Shield>,
    /// Stored responses that are being revalidated in the background.
    pub(crate) revalidations: AtomicUsize,
    /// Who offends, for the hand-off to the kernel.
    pub(crate) offences: Offences,
    /// Hands them to the kernel, once it is opened.
    pub(crate) kernel: OnceLock<Kernel>,
    pub(crate) kernel_counts: Arc<KernelCounts>,
    /// What each address and network may still ask.
    pub(crate) budgets: Budgets,
    metrics: Metrics,
}

/// Bits that an attacker does not know. Not for keys of cryptography.
pub(crate) fn random() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// The quotas of a configuration's zones, and the bytes of its disk tier.
fn quotas(snapshot: &Snapshot) -> (Vec<ZoneQuota>, u64) {
    let quotas = snapshot.zones.iter().map(|zone| ZoneQuota {
        zone: zone.id,
        memory_bytes_max: zone.cache.memory_bytes_max,
        disk_bytes_max: zone.cache.disk_bytes_max,
    });
    let has_any = |quota: &ZoneQuota| quota.memory_bytes_max > 0 || quota.disk_bytes_max > 0;
    (quotas.filter(has_any).collect(), snapshot.node.cache.disk.bytes_max)
}

/// What one zone has in the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ZoneStored {
    /// In memory.
    pub memory: TierStored,
    /// On the disk.
    pub disk: TierStored,
}

/// What one zone has in one tier of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierStored {
    /// Objects.
    pub objects: u64,
    /// Bytes that they take, overhead included.
    pub bytes: u64,
    /// The zone's quota; 0 for none of its own.
    pub bytes_max: u64,
}

impl TierStored {
    fn new(of: &TierUse) -> Self {
        Self { objects: of.objects, bytes: of.bytes, bytes_max: of.bytes_max }
    }
}

/// The seed of the keys' hashes: kept beside the disk tier, which is found again under the same hashes only.
fn key_seed(disk: &NodeCacheDisk) -> (u64, u64) {
    let fresh = (random(), random());
    let Some(folder) = &disk.path else { return fresh };
    archipel_cache::key_seed(folder, fresh).unwrap_or_else(|error| {
        let folder = folder.display();
        tracing::error!(%folder, %error, "the folder of the disk tier cannot be used: what it takes will not outlive this process");
        fresh
    })
}

impl Node {
    /// A node with an empty store.
    ///
    /// # Errors
    /// [`NodeError`], worded for the operator.
    pub fn new(snapshot: Snapshot) -> Result<Arc<Self>, NodeError> {
        let live = Live::new(Arc::new(snapshot))?;
        let config = &live.snapshot.node;
        let store = Arc::new(Store::new(StoreLimits {
            memory_bytes_max: config.cache.memory_bytes_max,
            object_bytes_max: config.cache.object_bytes_max,
            fills_bytes_max: config.cache.memory_bytes_max,
            purge_scopes_max: config.cache.purge_scopes_max,
            ..StoreLimits::default()
        }));
        let (zones, disk_bytes_max) = quotas(&live.snapshot);
        store.set_quotas(&zones, disk_bytes_max);
        let log = AccessLog::open(&config.log.access, config.log.queue_records_max).map_err(NodeError::Log)?;
        let flights = Flights::new(store.clone(), FlightLimits::default());
        let key_seed = key_seed(&config.cache.disk);
        let offences = Offences::new(config);
        let budgets = Budgets::new(config.shield.budgets_max);
        Ok(Arc::new(Self {
            shield: live.shield.clone(),
            live: ArcSwap::from_pointee(live),
            store,
            flights,
            codings: NodeCodings::new(),
            equivalents: Equivalents::new(),
            key_seed,
            log,
            purges: OnceLock::new(),
            hosts: OnceLock::new(),
            revalidations: AtomicUsize::new(0),
            offences,
            kernel: OnceLock::new(),
            kernel_counts: Arc::default(),
            budgets,
            metrics: Metrics::default(),
        }))
    }

    /// Opens the disk tier, if one is configured: in the background, once the process before gives its folder up. After
    /// [`Node::open_purges`], as what is on the disk is compared with the purges. Never fails: without it there is memory.
    pub fn open_disk(&self) {
        if let Some(options) = disk::options(&self.live().snapshot.node.cache.disk) {
            self.store.open_disk(options, Arc::new(MetaCodec), self.key_seed);
        }
    }

    /// Gives up the disk tier's folder, after writing what waits. Blocks for as long as the disk takes.
    pub fn close_disk(&self) {
        if let Some(disk) = self.store.disk() {
            disk.close();
        }
    }

    /// A worker. Call it inside the runtime of the core that it is for: its ticks run there.
    pub fn worker(self: &Arc<Self>) -> Edge {
        let worker = Worker::new(self.clone(), self.metrics.worker());
        tokio::spawn(Worker::tick(Arc::downgrade(&worker)));
        Edge(worker)
    }

    /// Puts a new configuration in force for the exchanges that begin from now on, all of it or none.
    /// Sizes of the store, listeners, workers and the log's target stay until a restart.
    ///
    /// # Errors
    /// [`NodeError`]; the old configuration stays.
    pub fn reload(&self, mut snapshot: Snapshot) -> Result<(), NodeError> {
        snapshot.generation = self.live().snapshot.generation + 1;
        let before = self.live();
        let live = before.successor(Arc::new(snapshot))?;
        let (zones, disk_bytes_max) = quotas(&live.snapshot);
        self.offences.configure(&live.snapshot.node);
        self.shield.keep(&live.snapshot);
        self.live.store(Arc::new(live));
        self.purge_moved_since(&before.snapshot);
        self.store.set_quotas(&zones, disk_bytes_max);
        self.reopen_log();
        self.reload_kernel();
        Ok(())
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.load_full()
    }

    /// The configuration in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.live.load().snapshot.clone()
    }

    /// The metrics page, in the Prometheus text format.
    pub fn metrics(&self, transport: &TransportStats) -> String {
        let mut page = self.metrics.render(transport, &self.store.counts(), &self.codings);
        self.metrics.firewall_metrics(&mut page, self.zone_names());
        self.live().rule_sets.metrics(&mut page);
        self.budgets.metrics(&mut page);
        crate::shield::rates::metrics(&mut page, &self.live());
        crate::purge::metrics(&mut page, self.purges.get());
        self.offences.metrics(&mut page);
        self.kernel_counts.metrics(&mut page);
        self.shield.metrics(&mut page);
        if let Some(disk) = self.store.disk() {
            crate::metrics::disk_metrics(&mut page, &disk.counts());
        }
        crate::metrics::zone_metrics(&mut page, &self.zone_uses());
        self.live().guards.metrics(&mut page);
        page
    }

    /// What the cache did for each path, by zone; the zones and paths that sent the origin most come first.
    pub fn hit_table(&self) -> Vec<ZoneHits> {
        let mut zones = self.metrics.hit_table(self.zone_names());
        let stored = self.zones_stored();
        for zone in &mut zones {
            let of_zone = stored.iter().find(|(name, _)| *name == zone.zone);
            zone.stored = of_zone.map(|(_, stored)| stored.clone()).unwrap_or_default();
        }
        zones
    }

    /// The firewall's last events, the newest first.
    pub fn firewall_events(&self) -> Vec<FirewallEvent> {
        self.metrics.firewall_events()
    }

    fn zone_names(&self) -> impl Fn(u32) -> Option<String> + use<> {
        let snapshot = self.snapshot();
        move |id| snapshot.zones.iter().find(|zone| zone.id == id).map(|zone| zone.name.to_string())
    }

    /// What each zone has in the cache, by name. Zones that are no longer configured are one, without a name: what they had leaves
    /// when room is needed.
    fn zone_uses(&self) -> BTreeMap<String, ZoneUse> {
        let snapshot = self.snapshot();
        let names: HashMap<u32, &str> = snapshot.zones.iter().map(|zone| (zone.id, &*zone.name)).collect();
        let mut uses: BTreeMap<String, ZoneUse> = BTreeMap::new();
        for of_zone in self.store.zone_uses() {
            let name = names.get(&of_zone.zone).copied().unwrap_or_default();
            uses.entry(name.to_owned()).or_default().add(&of_zone);
        }
        uses
    }

    /// What each zone has in the cache, by name; those with most come first.
    pub fn zones_stored(&self) -> Vec<(String, ZoneStored)> {
        let stored = |of: &ZoneUse| ZoneStored { memory: TierStored::new(&of.memory), disk: TierStored::new(&of.disk) };
        let mut zones: Vec<_> = self.zone_uses().iter().map(|(name, of)| (name.clone(), stored(of))).collect();
        zones.sort_by_key(|(_, stored)| std::cmp::Reverse(stored.memory.bytes + stored.disk.bytes));
        zones
    }

    /// How the origins stand that were ever asked for something, by name.
    pub fn origins(&self) -> Vec<OriginStatus> {
        self.live().guards.status()
    }

    /// Sums for a live line.
    pub fn live_counts(&self) -> LiveCounts {
        self.metrics.live()
    }

    /// Waits until the log's queue is written. Workers hand over their batches with [`Edge::flush`].
    pub fn flush_log(&self) {
        if let Some(log) = &self.log {
            log.flush();
        }
    }

    /// Opens the log's file anew at its next write.
    pub fn reopen_log(&self) {
        if let Some(log) = &self.log {
            log.reopen();
        }
    }
}

/// The transport's settings in a configuration.
pub fn server_settings(snapshot: &Snapshot) -> ServerSettings {
    let (limits, timeouts, trust) = (&snapshot.node.limits, &snapshot.node.timeouts, &snapshot.node.trust);
    let unlimited = trust.proxy_protocol_from.iter().chain(trust.client_address_from.iter()).copied().collect();
    ServerSettings {
        head: HeadLimits {
            head_bytes_max: limits.header_bytes_max,
            fields_max: limits.header_count_max.min(FIELDS_MAX),
            uri_bytes_max: limits.uri_bytes_max,
        },
        http2: Http2Limits {
            streams_max: limits.h2_streams_max,
            header_list_bytes_max: limits.h2_header_list_bytes_max,
            resets_max: limits.h2_resets_max,
            control_frames_max: limits.h2_control_frames_max,
        },
        drain_body_bytes_max: limits.drain_body_bytes_max,
        requests_per_connection_max: match limits.requests_per_connection_max {
            0 => u32::MAX,
            n => u32::try_from(n).unwrap_or(u32::MAX),
        },
        connections_max: limits.connections_max,
        connections_per_address_max: limits.connections_per_address_max,
        proxy_protocol_from: trust.proxy_protocol_from.clone(),
        unlimited_from: unlimited,
        tls_handshake: timeouts.tls_handshake,
        request_head: timeouts.request_head,
        keep_alive: timeouts.keep_alive,
        body_progress: timeouts.body_progress,
        send_progress: timeouts.send_progress,
        upgrade_idle: timeouts.upgrade_idle,
    }
}
