//! The shields of all zones of a node, and the thread that ticks.
//!
//! One thread a node, apart from the workers: a search for a signature takes some milliseconds, which no request may wait for.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use archipel_config::{ShieldMode, Snapshot, Zone};
use archipel_shield::detector::{Settings, State, TICK_MS};
use rustix::time::{ClockId, clock_gettime};

use super::file::StateFile;
use super::watch::Around;
use super::zone::ZoneShield;
use crate::node::Node;

/// Bytes of memory that the detectors of all zones together may take.
pub(super) const BYTES_MAX: usize = 64 << 20;

/// Bytes that a zone takes at least once it is watched.
const ZONE_BYTES_MIN: usize = 96 << 10;

/// Usual requests that a zone keeps, however little memory there is.
const SAMPLES_MIN: usize = 512;

/// Share of the processors' time from which a node is under pressure.
const CPU_PRESSED: f64 = 0.95;

/// How often what is known is written down.
const SAVE: Duration = Duration::from_secs(300);

/// The shields of a node.
pub(crate) struct Shield {
    seed: Arc<AtomicU64>,
    workers: usize,
    zones: Mutex<HashMap<u32, Arc<ZoneShield>>>,
    /// Percent of the processors' time in the last tick.
    pub(super) cpu_percent: AtomicU32,
    /// Ticks of zones that were not watched, as there was no memory for it.
    pub(super) unwatched: AtomicU64,
    /// Times that a zone forgot half of what is usual, as there was no memory for it.
    pub(super) halved: AtomicU64,
    /// Bytes of memory at the last tick.
    pub(super) bytes: AtomicUsize,
    /// Where it is kept what the zones know, once there is a state folder.
    file: OnceLock<StateFile>,
    /// Another process keeps it from now on.
    retired: AtomicBool,
    /// Times that the file could not be written.
    pub(super) file_failures: AtomicU64,
}

impl Default for Shield {
    fn default() -> Self {
        Self {
            seed: Arc::new(AtomicU64::new(crate::node::random())),
            workers: cores(),
            zones: Mutex::default(),
            cpu_percent: AtomicU32::new(0),
            unwatched: AtomicU64::new(0),
            halved: AtomicU64::new(0),
            bytes: AtomicUsize::new(0),
            file: OnceLock::new(),
            retired: AtomicBool::new(false),
            file_failures: AtomicU64::new(0),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Unix time in milliseconds.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Shield {
    /// The shield of a zone: the one that it had, or a new one. None where the zone wants none.
    pub(crate) fn zone(&self, zone: &Zone) -> Option<Arc<ZoneShield>> {
        if zone.shield.mode == ShieldMode::Off {
            return None;
        }
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Arc::new(ZoneShield::new(&zone.name, self.workers, self.seed.clone()));
        Some(zones.entry(zone.id).or_insert_with(fresh).clone())
    }

    /// Forgets zones that are no longer configured.
    pub(crate) fn keep(&self, snapshot: &Snapshot) {
        let mut zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.retain(|id, _| snapshot.zones.iter().any(|zone| zone.id == *id));
    }

    pub(super) fn zones(&self) -> Vec<(u32, Arc<ZoneShield>)> {
        let zones = self.zones.lock().unwrap_or_else(PoisonError::into_inner);
        zones.iter().map(|(id, zone)| (*id, zone.clone())).collect()
    }

    pub(super) fn zone_of(&self, id: u32) -> Option<Arc<ZoneShield>> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// One tick of all zones.
    fn tick(&self, snapshot: &Snapshot, now_ms: u64, cpu: f64) {
        let zones = self.zones();
        let mut bytes: usize = zones.iter().map(|(_, zone)| zone.bytes() + zone.watch().bytes()).sum();
        bytes = self.make_room(&zones, bytes);
        for (id, zone) in &zones {
            let mode = snapshot.zones.iter().find(|of| of.id == *id).map(|of| of.shield.mode);
            let watched = zone.tick(&Around {
                now_ms,
                node_pressed: cpu >= CPU_PRESSED,
                under_attack: mode == Some(ShieldMode::UnderAttack),
                may_begin: bytes + ZONE_BYTES_MIN <= BYTES_MAX,
            });
            self.unwatched.fetch_add(u64::from(!watched), Ordering::Relaxed);
            bytes += if watched { 0 } else { ZONE_BYTES_MIN };
        }
        self.bytes.store(bytes, Ordering::Relaxed);
        self.cpu_percent.store((cpu * 100.0) as u32, Ordering::Relaxed);
    }

    /// Where the zones take too much: those that are calm and know most forget half of it.
    fn make_room(&self, zones: &[(u32, Arc<ZoneShield>)], mut bytes: usize) -> usize {
        if bytes <= BYTES_MAX {
            return bytes;
        }
        let mut calm: Vec<(usize, &Arc<ZoneShield>)> = zones
            .iter()
            .filter_map(|(_, zone)| {
                let watch = zone.watch();
                let detector = watch.detector.as_ref().filter(|detector| detector.state() == State::Calm)?;
                let samples = detector.baseline().samples().len();
                (samples >= 2 * SAMPLES_MIN).then_some((samples, zone))
            })
            .collect();
        calm.sort_by_key(|(samples, _)| std::cmp::Reverse(*samples));
        for (_, zone) in calm {
            if bytes <= BYTES_MAX {
                break;
            }
            let mut watch = zone.watch();
            let before = watch.bytes();
            if let Some(detector) = &mut watch.detector {
                detector.forget_half();
                self.halved.fetch_add(1, Ordering::Relaxed);
            }
            bytes = bytes.saturating_sub(before.saturating_sub(watch.bytes()));
        }
        bytes
    }
}

impl Shield {
    /// Takes up what the node before this one knew. Before any request is seen.
    fn open(&self, state_dir: &Path) {
        let file = StateFile::new(state_dir);
        let path = file.path().display();
        match file.read() {
            Ok(Some(known)) => {
                self.seed.store(known.seed, Ordering::Relaxed);
                for (_, zone) in self.zones() {
                    let detector = known.detector(&zone.name, Settings::default());
                    tracing::debug!(zone = &*zone.name, known = detector.is_some(), "the shield's file");
                    if let Some(detector) = detector {
                        zone.restore(detector);
                    }
                }
            }
            Ok(None) => tracing::debug!(%path, "a new file of the shield is begun"),
            Err(error) => {
                tracing::warn!(%path, %error, "the shield's file cannot be used: what is usual in each zone is learned anew");
            }
        }
        let _ = self.file.set(file);
    }

    /// Writes what the zones know, unless another process does. Waits for the disk.
    ///
    /// # Errors
    /// It cannot be written: what it held stays.
    pub(super) fn save(&self) -> std::io::Result<()> {
        let Some(file) = self.file.get().filter(|_| !self.retired.load(Ordering::Relaxed)) else { return Ok(()) };
        let zones = self.zones();
        let written = file.write(
            self.seed.load(Ordering::Relaxed),
            zones.iter().filter_map(|(_, zone)| {
                let mut bytes = Vec::new();
                zone.watch().detector.as_ref()?.encode(&mut bytes);
                Some((&*zone.name, bytes))
            }),
        );
        if let Err(error) = &written {
            self.file_failures.fetch_add(1, Ordering::Relaxed);
            let path = file.path().display();
            tracing::warn!(%path, %error, "the shield's file cannot be written: what is learned would not outlive this process");
        }
        written
    }
}

impl Node {
    /// Begins to watch the zones' traffic, on a thread of its own, for as long as the node is there. What a node with this state
    /// folder knew before is taken up.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start_shield(self: &Arc<Self>, state_dir: &Path) -> std::io::Result<()> {
        self.shield.open(state_dir);
        let node = Arc::downgrade(self);
        std::thread::Builder::new().name("shield".to_owned()).spawn(move || tick(&node)).map(drop)
    }
}

impl Node {
    /// Writes what the shield knows, for the next start or for a node that takes over. A failure is logged.
    pub fn save_shield(&self) {
        let _ = self.shield.save();
    }

    /// Another process keeps what the shield knows from now on.
    pub fn retire_shield(&self) {
        self.shield.retired.store(true, Ordering::Relaxed);
    }
}

/// Saves in the background, as a disk may take its time; at most one does.
fn save_beside(node: &Arc<Node>) {
    let node = node.clone();
    let thread = std::thread::Builder::new().name("shield-file".to_owned());
    if let Err(error) = thread.spawn(move || node.save_shield()) {
        tracing::warn!(%error, "no thread for the shield's file");
    }
}

fn tick(node: &Weak<Node>) {
    let length = Duration::from_millis(TICK_MS);
    let (mut next, mut used, mut at) = (Instant::now() + length, cpu_time(), Instant::now());
    let mut saved = Instant::now();
    loop {
        // It may wake early, which makes one tick a little shorter.
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
        // A machine that slept owes no ticks.
        next = (next + length).max(Instant::now());
        let Some(node) = node.upgrade() else { return };
        let (now_used, now) = (cpu_time(), Instant::now());
        let spent = now_used.saturating_sub(used).as_secs_f64();
        let cpu = spent / (now - at).as_secs_f64().max(0.001) / cores() as f64;
        (used, at) = (now_used, now);
        node.shield.tick(&node.snapshot(), now_ms(), cpu);
        if saved.elapsed() >= SAVE {
            saved = Instant::now();
            save_beside(&node);
        }
    }
}

/// What this process has used of the processors.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
