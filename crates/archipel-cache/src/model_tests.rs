//! The store against a cache so simple that it is right: every purge ever made is compared with every object on every lookup.

use crate::shard::Shard;
use crate::testing::{HOSTS, Random, Version, head, host, key, stored, tags};
use crate::{KeyText as _, PurgeKind, PurgeStamp, Refused, Store, StoreLimits, Stored, purge_group, tag_group};
use std::sync::Arc;

const STEPS: usize = 10_000;
const KEYS: u64 = 40;
const VARIANTS: u64 = 4;

/// A key: one of two sections, with or without query, with or without something that its zone adds.
fn text(number: u64) -> String {
    let (query, extra) = (["", "?q=/x"], ["", " mobile"]);
    let pick = |of: [&'static str; 2], number: u64| of[(number % 2) as usize];
    format!("z /s{}/{}{}{}", number % 2, number / 8 * 7, pick(query, number / 2), pick(extra, number / 4))
}

struct Object {
    text: String,
    variant: String,
    version: Version,
    stamp: u64,
}

enum Covers {
    Key(String),
    Url(u32, String),
    Prefix(u32, String),
    Tag(u32, String),
    Zone(u32),
    Host(u32, u64),
    All,
}

/// What purges see of an object.
struct Subject<'a> {
    text: &'a str,
    zone: u32,
    host: u64,
    path: &'a str,
    path_and_query: &'a str,
    tags: Option<[String; 2]>,
}

impl<'a> Subject<'a> {
    fn new(text: &'a str, version: Version) -> Self {
        let (zone, host, tags) = (key(text).zone, host(text), tags(version));
        Self { text, zone, host, path: text.url().path(), path_and_query: text.url().path_and_query, tags }
    }

    fn is_covered(&self, covers: &Covers) -> bool {
        match covers {
            Covers::Key(text) => text == self.text,
            Covers::Url(zone, path_and_query) => *zone == self.zone && path_and_query == self.path_and_query,
            Covers::Prefix(zone, prefix) => {
                let rest = self.path.strip_prefix(prefix.as_str());
                *zone == self.zone && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Covers::Tag(zone, tag) => *zone == self.zone && self.tags.as_ref().is_none_or(|tags| tags.contains(tag)),
            Covers::Zone(zone) => *zone == self.zone,
            Covers::Host(zone, host) => *zone == self.zone && *host == self.host,
            Covers::All => true,
        }
    }
}

#[derive(Default)]
struct Model {
    /// Oldest first.
    objects: Vec<Object>,
    purges: Vec<(u64, PurgeKind, Covers)>,
}

impl Model {
    fn purged(&self, text: &str, version: Version, stamp: u64) -> Option<PurgeKind> {
        let subject = Subject::new(text, version);
        let first = self.purges.partition_point(|(at, _, _)| *at <= stamp);
        let purges = self.purges.iter().skip(first);
        purges.filter(|(_, _, what)| subject.is_covered(what)).map(|(_, kind, _)| *kind).max()
    }

    fn lookup(&self, text: &str, variant: Option<&str>) -> Option<(Version, bool)> {
        let is_it = |object: &&Object| {
            object.text == text
                && variant.is_none_or(|variant| object.variant == variant)
                && self.purged(text, object.version, object.stamp) != Some(PurgeKind::Hard)
        };
        let object = self.objects.iter().rev().find(is_it)?;
        Some((object.version, self.purged(text, object.version, object.stamp).is_some()))
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
        text(self.random.below(KEYS))
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
            _ => {
                self.store.reclaim(50);
                self.compact();
            }
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
        let accepted = self.model.purged(&object.text, object.version, object.stamp) != Some(PurgeKind::Hard);
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
        let accepted = self.model.purged(&text, self.version, stamp.0) != Some(PurgeKind::Hard);
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
        let zone = self.random.below(3) as u32;
        let (purged, covers) = match self.random.below(60) {
            0 => (self.store.purge_all(kind), Covers::All),
            1..3 => (self.store.purge_zone(zone, kind), Covers::Zone(zone)),
            3..5 => {
                let host = purge_group(HOSTS[self.random.below(2) as usize]);
                (self.store.purge_host(zone, host, kind), Covers::Host(zone, host))
            }
            5..9 => {
                let tag = format!("{}{}", if zone == 0 { "a" } else { "b" }, self.random.below(6));
                (self.store.purge_tag(zone, tag_group(zone, tag.as_bytes()), kind), Covers::Tag(zone, tag))
            }
            9..11 => {
                let text = self.text();
                let covers = Covers::Url(key(&text).zone, text.url().path_and_query.to_owned());
                let purged = self.store.invalidate_url(&key(&text));
                return self.record(purged.sequence, PurgeKind::Hard, covers);
            }
            11..14 => {
                let text = self.text();
                let path = text.url().path();
                let path = if self.random.below(4) == 0 { &path[..3] } else { path };
                (self.store.purge_prefix(zone, "", path, kind), Covers::Prefix(zone, path.to_owned()))
            }
            14..30 => {
                let text = self.text();
                let covers = Covers::Url(key(&text).zone, text.url().path_and_query.to_owned());
                (self.store.purge_url(&key(&text), kind), covers)
            }
            _ => {
                let text = self.text();
                (self.store.purge_key(&key(&text), kind), Covers::Key(text))
            }
        };
        self.record(purged.sequence, kind, covers);
    }

    fn record(&mut self, sequence: u64, kind: PurgeKind, covers: Covers) {
        assert_eq!(sequence, self.model.purges.last().map_or(1, |(at, _, _)| at + 1));
        self.model.purges.push((sequence, kind, covers));
        // What is gone for good need not be compared again.
        let objects = std::mem::take(&mut self.model.objects);
        let gone =
            |object: &Object| self.model.purged(&object.text, object.version, object.stamp) == Some(PurgeKind::Hard);
        let kept = objects.into_iter().filter(|object| !gone(object));
        self.model.objects = kept.collect();
    }

    /// As a node does: up to the oldest stamp of what is stored or under way.
    fn compact(&mut self) {
        let under_way = self.fetches.iter().map(|(_, _, _, stamp)| *stamp).min();
        let floor = under_way.map_or(self.store.oldest_stamp(), |stamp| stamp.min(self.store.oldest_stamp()));
        self.store.compact_purges(floor);
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
        let all: Vec<_> = (0..KEYS).flat_map(|number| self.store.variants(&key(&text(number)))).collect();
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
    let limits = StoreLimits { memory_bytes_max: 64 << 20, purge_scopes_max: 12, ..StoreLimits::default() };
    check(limits, Exactness::Overpurging);
}
