//! The tier against a plain reference, on a disk that fails by a seeded plan, with kills between: every byte right, or a miss.

use super::DiskOptions;
use super::faults::Plan;
use super::tier_tests::{Rig, content, options};
use crate::purge::PurgeKind;
use crate::testing::{Random, head, key};
use crate::{Body, PurgeTable, Stored};
use std::collections::BTreeMap;
use std::sync::Arc;

const KEYS: u64 = 24;
const STEPS: usize = 300;
const BYTES_MAX: u64 = 2 << 20;

/// What may be found of one variant of a key.
#[derive(Debug, Default, Clone)]
struct Truth {
    /// The last version that was stored, with its stamp.
    latest: Option<(u64, u64)>,
    /// Older ones: after a kill one of them may be the last that reached the disk.
    older: Vec<(u64, u64)>,
    /// Made invalid: a kill may come before the disk is told.
    invalid: Vec<(u64, u64)>,
}

struct World {
    rig: Rig,
    random: Random,
    truth: BTreeMap<(String, &'static str), Truth>,
    next_version: u64,
    /// A kill came since a version was stored: older ones may be back.
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let memory = [0, 200_000][random.below(2) as usize];
        let rig = Rig::new(&super::faults::Disk::new(seed), tier_options(), memory, &PurgeTable::default());
        rig.tier().flush();
        Self { rig, random, truth: BTreeMap::new(), next_version: 1, seed }
    }

    fn pick_key(&mut self) -> (String, &'static str) {
        let text = "k".repeat(1 + self.random.below(2) as usize) + &self.random.below(KEYS).to_string();
        (text, ["", "", "", "x"][self.random.below(4) as usize])
    }

    fn plan(&mut self) {
        let mut rare = |of: u64| if self.random.below(3) == 0 { of } else { 0 };
        let plan = Plan {
            torn_writes: rare(60),
            failed_reads: rare(40),
            flipped_reads: rare(40),
            cold_reads: rare(500),
            failed_syncs: rare(200),
            failed_removes: rare(100),
            failed_creates: rare(100),
            failed_allocates: rare(100),
            capacity: rare(BYTES_MAX / 2),
            no_folder: false,
        };
        self.rig.disk.plan(plan);
    }

    fn put(&mut self) {
        let (text, variant) = self.pick_key();
        let version = self.next_version;
        self.next_version += 1;
        let bytes = [0, 10, 3_000, 70_000, 200_000][self.random.below(5) as usize];
        let stamp = self.rig.store.stamp();
        // A purge may come while this is being fetched.
        if self.random.below(12) == 0 {
            self.purge();
        }
        let mut made = head(key(&text), variant, version, stamp);
        made.stored_at = version;
        if self.random.below(6) == 0 {
            let made = Arc::new(made);
            if let Some(mut writer) = self.rig.store.start_on_disk(&made, None) {
                content(&text, version, bytes).chunks(50_000).for_each(|piece| {
                    writer.append(bytes::Bytes::copy_from_slice(piece));
                });
                if self.random.below(4) > 0 {
                    writer.finish(None);
                }
            }
            // It is offered beside what is stored: the older one stays until this one is known.
            let truth = self.truth.entry((text, variant)).or_default();
            truth.older.extend(truth.latest);
            truth.older.push((version, stamp.sequence()));
            return;
        }
        let _ = self.rig.store.insert(Stored::new(made, Body::from_bytes(content(&text, version, bytes))));
        let truth = self.truth.entry((text, variant)).or_default();
        truth.older.extend(truth.latest.replace((version, stamp.sequence())));
    }

    fn purge(&mut self) {
        let kind = if self.random.below(4) == 0 { PurgeKind::Soft } else { PurgeKind::Hard };
        let (text, _) = self.pick_key();
        let hard = |sequence: u64, truth: &mut Truth| {
            if kind == PurgeKind::Hard {
                truth.latest = truth.latest.filter(|(_, stamp)| *stamp >= sequence);
                truth.older.retain(|(_, stamp)| *stamp >= sequence);
            }
        };
        match self.random.below(8) {
            0 => {
                let zone = self.random.below(2) as u32;
                let sequence = self.rig.store.purge_zone(zone, kind).sequence;
                for ((text, _), truth) in &mut self.truth {
                    if key(text).zone == zone {
                        hard(sequence, truth);
                    }
                }
            }
            1 if self.random.below(4) == 0 => {
                let sequence = self.rig.store.purge_all(kind).sequence;
                self.truth.values_mut().for_each(|truth| hard(sequence, truth));
            }
            _ => {
                let sequence = self.rig.store.purge_key(&key(&text), kind).sequence;
                for ((other, _), truth) in &mut self.truth {
                    if *other == text {
                        hard(sequence, truth);
                    }
                }
            }
        }
    }

    fn invalidate(&mut self) {
        let (text, _) = self.pick_key();
        self.rig.store.invalidate_url(&key(&text));
        for ((other, _), truth) in &mut self.truth {
            if *other == text {
                truth.invalid.extend(truth.latest.take());
                truth.invalid.append(&mut truth.older);
            }
        }
    }

    fn check(&mut self) {
        let (text, variant) = self.pick_key();
        let found = self.rig.version(&text, variant);
        let truth = self.truth.get(&(text.clone(), variant)).cloned().unwrap_or_default();
        let allowed = truth.latest.iter().chain(&truth.older).any(|(version, _)| Some(*version) == found);
        assert!(found.is_none() || allowed, "seed {}: {text} {variant:?}: {found:?} of {truth:?}", self.seed);
    }

    fn restart(self) -> Self {
        let Self { rig, mut random, mut truth, next_version, seed } = self;
        truth.values_mut().for_each(|truth| truth.older.append(&mut truth.invalid));
        if random.below(2) == 0 {
            rig.tier().close();
        }
        let past = rig.store.purge_table();
        let disk = rig.disk.after_kill(random.next());
        drop(rig);
        if random.below(4) == 0 {
            // The machine crashed: pages that were not on the disk yet are lost.
            for (name, content) in disk.files().iter().filter(|(name, _)| name.ends_with(".seg")) {
                let from = random.below(content.len() as u64 + 1) as usize;
                disk.edit(name, |bytes| bytes.iter_mut().skip(from).take(4_096).for_each(|byte| *byte = 0));
            }
        }
        let memory = [0, 200_000][random.below(2) as usize];
        let rig = Rig::new(&disk, tier_options(), memory, &past);
        rig.tier().flush();
        Self { rig, random, truth, next_version, seed }
    }

    fn step(mut self) -> Self {
        match self.random.below(100) {
            0..40 => self.put(),
            40..80 => self.check(),
            80..84 => self.purge(),
            84..86 => self.invalidate(),
            86..92 => self.rig.tier().flush(),
            92..95 => self.plan(),
            95..97 => self.rig.disk.plan(Plan::default()),
            97 => return self.restart(),
            _ => {
                let (text, variant) = self.pick_key();
                if let Some((stored, _)) = self.rig.find(&key(&text), variant) {
                    let mut new = head(key(&text), variant, stored.meta, stored.stamp);
                    new.stored_at = stored.stored_at;
                    let _ = self.rig.store.replace(&stored, new);
                }
            }
        }
        let counts = self.rig.tier().counts();
        assert!(!self.rig.tier().is_closed(), "seed {}: the writer died", self.seed);
        assert!(counts.bytes <= BYTES_MAX, "seed {}: {counts:?}", self.seed);
        self
    }
}

fn tier_options() -> DiskOptions {
    DiskOptions { threads: 1, queue_bytes_max: 1 << 20, ..options(BYTES_MAX) }
}

#[test]
fn every_byte_is_right_or_a_miss() {
    let seeds = match std::env::var("ARCHIPEL_DISK_SEEDS") {
        Ok(seeds) => seeds.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?)).unwrap(),
        Err(_) => 0..60,
    };
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world = world.step();
        }
    }
}
