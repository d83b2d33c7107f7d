//! The store against a cache so simple that it is right: every purge ever made is compared with every object on every lookup.

use crate::shard::Shard;
use crate::testing::{HOSTS, Random, Version, head, key, stored};
use crate::{PurgeKind, PurgeStamp, Refused, Store, StoreLimits, Stored, purge_group};
use std::sync::Arc;

const STEPS: usize = 10_000;
const KEYS: u64 = 40;
const VARIANTS: u64 = 4;

struct Object {
    text: String,
    variant: String,
    version: Version,
    stamp: u64,
}

enum Covers {
    Key(String),
    Zone(u32),
    Host(u64),
    All,
}

#[derive(Default)]
struct Model {
    /// Oldest first.
    objects: Vec<Object>,
    purges: Vec<(u64, PurgeKind, Covers)>,
}

impl Model {
    fn purged(&self, text: &str, stamp: u64) -> Option<PurgeKind> {
        let key = key(text);
        let covers = |covers: &Covers| match covers {
            Covers::Key(other) => other == text,
            Covers::Zone(zone) => *zone == key.zone,
            Covers::Host(host) => *host == key.host,
            Covers::All => true,
        };
        self.purges.iter().filter(|(at, _, what)| *at > stamp && covers(what)).map(|(_, kind, _)| *kind).max()
    }

    fn lookup(&self, text: &str, variant: Option<&str>) -> Option<(Version, bool)> {
        let is_it = |object: &&Object| {
            object.text == text
                && variant.is_none_or(|variant| object.variant == variant)
                && self.purged(text, object.stamp) != Some(PurgeKind::Hard)
        };
        let object = self.objects.iter().rev().find(is_it)?;
        Some((object.version, self.purged(text, object.stamp).is_some()))
    }

    fn insert(&mut self, object: Object) {
        self.objects.retain(|other| other.text != object.text || other.variant != object.variant);
        self.objects.push(object);
    }
}

/// How far the store may fall short of the model.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Exactness {
    /// In nothing.
    Exact,
    /// Objects may be missing, but never wrong.
    Evicting,
    /// As the purge tables are tiny: objects may be missing or refused, never wrong.
    Overpurging,
}

struct Run {
    store: Store<Version>,
    model: Model,
    random: Random,
    exactness: Exactness,
    /// Fetches under way: key, variant, version, stamp.
    fetches: Vec<(String, String, Version, PurgeStamp)>,
    /// Objects handed out, to revalidate or remove.
    held: Vec<Arc<Stored<Version>>>,
    version: Version,
}

impl Run {
    fn text(&mut self) -> String {
        format!("/{}", self.random.below(KEYS) * 7)
    }

    fn variant(&mut self) -> String {
        self.random.below(VARIANTS).to_string()
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..25 => {
                let (text, variant) = (self.text(), self.variant());
                self.version += 1;
                self.fetches.push((text, variant, self.version, self.store.stamp()));
            }
            25..50 => self.arrive(),
            50..60 => self.revalidate(),
            60..63 => self.remove(),
            63..90 => {
                let (text, variant) = (self.text(), self.variant());
                self.look(&text, Some(&variant));
                self.look(&text, None);
            }
            90..99 => self.purge(),
            _ => drop(self.store.reclaim(50)),
        }
    }

    fn arrive(&mut self) {
        if self.fetches.is_empty() {
            return;
        }
        let at = self.random.below(self.fetches.len() as u64) as usize;
        let (text, variant, version, stamp) = self.fetches.swap_remove(at);
        let mut object = stored(&self.store, &text, &variant, version, self.random.below(3_000) as usize);
        object = Stored::new(head(key(&text), &variant, version, stamp), object.body().clone());
        let result = self.store.insert(object);
        self.settle(result, Object { text, variant, version, stamp: stamp.0 });
    }

    fn settle(&mut self, result: Result<Arc<Stored<Version>>, Refused>, object: Object) {
        let version = object.version;
        let accepted = self.model.purged(&object.text, object.stamp) != Some(PurgeKind::Hard);
        match result {
            Ok(stored) => {
                assert!(accepted, "version {version} was purged while it was fetched, and stored");
                self.model.insert(object);
                self.held.push(stored);
                if self.held.len() > 20 {
                    self.held.swap_remove(0);
                }
            }
            Err(refused) => {
                assert_eq!(refused, Refused::Purged);
                assert!(!accepted || self.exactness == Exactness::Overpurging, "version {version} was refused");
            }
        }
    }

    fn revalidate(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.random.below(self.held.len() as u64) as usize;
        let old = Arc::clone(&self.held[at]);
        let variant =
            if self.random.below(4) == 0 { self.variant() } else { String::from_utf8_lossy(&old.variant).into() };
        self.version += 1;
        let stamp = self.store.stamp();
        if self.random.below(3) == 0 {
            self.purge();
        }
        let text = old.key.to_string();
        let accepted = self.model.purged(&text, stamp.0) != Some(PurgeKind::Hard);
        let result = self.store.replace(&old, head(key(&text), &variant, self.version, stamp));
        if accepted && result.is_ok() {
            self.model.objects.retain(|object| object.version != old.meta);
        }
        self.settle(result, Object { text, variant, version: self.version, stamp: stamp.0 });
    }

    fn remove(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let at = self.random.below(self.held.len() as u64) as usize;
        let old = self.held.swap_remove(at);
        self.store.remove(&old);
        self.model.objects.retain(|object| object.version != old.meta);
    }

    fn purge(&mut self) {
        let kind = if self.random.below(2) == 0 { PurgeKind::Soft } else { PurgeKind::Hard };
        let (purged, covers) = match self.random.below(40) {
            0 => (self.store.purge_all(kind), Covers::All),
            1..3 => {
                let zone = self.random.below(3) as u32;
                (self.store.purge_zone(zone, kind), Covers::Zone(zone))
            }
            3..5 => {
                let host = purge_group(HOSTS[self.random.below(2) as usize]);
                (self.store.purge_host(host, kind), Covers::Host(host))
            }
            _ => {
                let text = self.text();
                (self.store.purge_key(&key(&text), kind), Covers::Key(text))
            }
        };
        assert_eq!(purged.sequence, self.model.purges.last().map_or(1, |(at, _, _)| at + 1));
        self.model.purges.push((purged.sequence, kind, covers));
        // What is gone for good need not be compared again.
        let objects = std::mem::take(&mut self.model.objects);
        let kept =
            objects.into_iter().filter(|object| self.model.purged(&object.text, object.stamp) != Some(PurgeKind::Hard));
        self.model.objects = kept.collect();
    }

    fn look(&mut self, text: &str, variant: Option<&str>) {
        let pick = |stored: &Stored<Version>| variant.is_none_or(|variant| *stored.variant == *variant.as_bytes());
        let found = self.store.lookup(&key(text), pick);
        let found = found.map(|found| (found.stored.meta, found.soft_purged));
        let expected = self.model.lookup(text, variant);
        match self.exactness {
            Exactness::Exact => assert_eq!(found, expected, "{text} {variant:?}"),
            // Of several variants the newest may be gone; of one, there is but one right answer.
            _ if variant.is_none() => {}
            _ => assert!(found.is_none() || found == expected, "{text} {variant:?}: {found:?}, not {expected:?}"),
        }
        let oldest = self.store.variants(&key(text)).pop();
        let known = |meta| self.model.objects.iter().any(|object| object.version == meta);
        if let Some(stored) = oldest.filter(|stored| self.random.below(4) == 0 && known(stored.meta)) {
            self.held.push(stored);
        }
    }

    fn check_bytes(&self) {
        assert!(self.store.bytes() <= self.store.limits().memory_bytes_max);
        let all: Vec<_> = (0..KEYS).flat_map(|number| self.store.variants(&key(&format!("/{}", number * 7)))).collect();
        let counts = self.store.counts();
        assert_eq!(counts.entries, all.len() as u64);
        assert_eq!(counts.bytes, all.iter().map(|stored| Shard::cost(stored)).sum::<u64>());
    }
}

fn check(limits: StoreLimits, exactness: Exactness) {
    for seed in 1..=8 {
        let run = std::panic::catch_unwind(|| {
            let mut run = Run {
                store: Store::new(limits.clone()),
                model: Model::default(),
                random: Random(seed),
                exactness,
                fetches: Vec::new(),
                held: Vec::new(),
                version: 0,
            };
            for step in 0..STEPS {
                run.step();
                if step % 16 == 0 {
                    run.check_bytes();
                }
            }
            let counts = run.store.counts();
            assert!(counts.hits > 500 && counts.refused_purged > 20, "the run tests something: {counts:?}");
            assert_eq!(counts.evictions > 100, limits.memory_bytes_max < 1 << 20, "{counts:?}");
        });
        if let Err(panic) = run {
            eprintln!("seed {seed}, {exactness:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn agrees_with_the_model() {
    check(StoreLimits { memory_bytes_max: 64 << 20, ..StoreLimits::default() }, Exactness::Exact);
}

#[test]
fn agrees_with_the_model_while_evicting() {
    check(StoreLimits { memory_bytes_max: 60_000, ..StoreLimits::default() }, Exactness::Evicting);
}

#[test]
fn agrees_with_the_model_with_tiny_purge_tables() {
    let limits =
        StoreLimits { memory_bytes_max: 64 << 20, purge_scopes_max: 2, purged_keys_max: 1, ..StoreLimits::default() };
    check(limits, Exactness::Overpurging);
}
