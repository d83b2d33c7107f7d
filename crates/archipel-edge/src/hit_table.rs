//! What the cache does for each path: a bounded table a zone and worker, summed when somebody looks.
//!
//! Paths are kept as templates: their first [`SEGMENTS_MAX`] segments, with `*` for a segment that is an identifier and for
//! what follows. Which templates are kept is decided by Space-Saving (Metwally, Agrawal, El Abbadi 2005): a new one takes the
//! place of the least asked for and starts with its count, so that whatever makes up more than one part in [`PATHS_MAX`] of a
//! zone's requests is certain to be there, and what visitors invent cannot grow the table.
//!
//! Must never allocate for a template that is known: this runs for every request, hits included.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Mutex, PoisonError};

use foldhash::fast::RandomState;
use serde::Serialize;

use crate::exchange::CacheResult;
use crate::node::ZoneStored;

/// Templates of one zone in one worker.
pub const PATHS_MAX: usize = 128;
/// Zones that have a table in one worker; requests of further ones are counted elsewhere only.
pub const ZONES_MAX: usize = 256;
/// Segments that a template tells apart.
pub const SEGMENTS_MAX: usize = 3;
/// Paths whose row is remembered. A power of two.
const RECENT: usize = 512;
/// Bytes of one segment that a template tells apart.
const SEGMENT_BYTES_MAX: usize = 48;
/// A segment of at least so many hexadecimal digits (hyphens apart) is an identifier.
const HEX_ID_BYTES_MIN: usize = 16;

/// The table of one worker, locked by the worker for each exchange and by readers now and then.
#[derive(Debug, Default)]
pub struct HitTable(Mutex<Tables>);

#[derive(Debug)]
struct Tables {
    /// Few, so looked through in order.
    zones: Vec<ZoneTable>,
    /// Where paths asked for lately are counted, by the lowest bits of their hash: most requests are spared the template.
    recent: Box<[Recent; RECENT]>,
    seed: RandomState,
}

impl Default for Tables {
    fn default() -> Self {
        Self { zones: Vec::new(), recent: Box::new([Recent::default(); RECENT]), seed: RandomState::default() }
    }
}

/// A path that was counted lately, and in which row; the row may be another template's by now.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    path: u64,
    template: u64,
    zone_at: u32,
    row: u32,
}

/// What happened to a template when it was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// It was known, or there was room.
    Kept,
    /// It took another's place.
    Replaced,
    /// There was no table for the zone.
    Skipped,
}

/// Requests and bytes of one template or zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    by: [u64; CacheResult::ALL.len()],
    saved_bytes: u64,
    fetched_bytes: u64,
}

impl Sums {
    fn count(&mut self, result: CacheResult, bytes: u64) {
        self.by[result as usize] += 1;
        // The body of a revalidated response came from the store as well.
        if result.is_hit() {
            self.saved_bytes += bytes;
        } else {
            self.fetched_bytes += bytes;
        }
    }

    fn add(&mut self, other: &Self) {
        self.by.iter_mut().zip(other.by).for_each(|(sum, n)| *sum += n);
        self.saved_bytes += other.saved_bytes;
        self.fetched_bytes += other.fetched_bytes;
    }
}

#[derive(Debug)]
struct Row {
    hash: u64,
    template: Box<str>,
    /// Requests of templates that had this place before: by so much may the count be too high.
    inherited: u64,
    sums: Sums,
}

#[derive(Debug)]
struct ZoneTable {
    zone: u32,
    total: Sums,
    index: HashMap<u64, u32, foldhash::fast::FixedState>,
    rows: Vec<Row>,
    /// Requests of each row with what it inherited, apart from the rows so that the least is found fast.
    counts: Vec<u64>,
    /// No count is below this; counts only grow.
    least: u64,
    /// Where the search for the least goes on.
    cursor: usize,
}

impl ZoneTable {
    fn new(zone: u32) -> Self {
        Self {
            zone,
            total: Sums::default(),
            index: HashMap::default(),
            rows: Vec::new(),
            counts: Vec::new(),
            least: 0,
            cursor: 0,
        }
    }

    /// Counts a request in the row of its template, if that is what the row is.
    fn count(&mut self, row: u32, template: u64, result: CacheResult, bytes: u64) -> bool {
        let at = row as usize;
        let (Some(row), Some(count)) = (self.rows.get_mut(at), self.counts.get_mut(at)) else { return false };
        if row.hash != template {
            return false;
        }
        *count += 1;
        row.sums.count(result, bytes);
        self.total.count(result, bytes);
        true
    }

    /// The row of a template, which takes another's place where it has none and all are taken.
    fn row_of(&mut self, hash: u64, path: &str) -> (u32, Counted) {
        if let Some(at) = self.index.get(&hash) {
            return (*at, Counted::Kept);
        }
        let mut row = Row { hash, template: template(path).into(), inherited: 0, sums: Sums::default() };
        if self.rows.len() < PATHS_MAX {
            let at = self.rows.len() as u32;
            self.index.insert(hash, at);
            self.rows.push(row);
            self.counts.push(0);
            return (at, Counted::Kept);
        }
        let at = self.least_row();
        row.inherited = self.counts[at];
        self.index.remove(&self.rows[at].hash);
        self.index.insert(hash, at as u32);
        self.rows[at] = row;
        (at as u32, Counted::Replaced)
    }

    /// A row with the least count. Goes round, so that rows of equal counts are found one after the other.
    fn least_row(&mut self) -> usize {
        let (before, behind) = self.counts.split_at(self.cursor);
        let ahead = behind.iter().position(|count| *count <= self.least).map(|at| at + self.cursor);
        let at = ahead.or_else(|| before.iter().position(|count| *count <= self.least)).unwrap_or_else(|| {
            self.least = self.counts.iter().copied().min().unwrap_or_default();
            self.counts.iter().position(|count| *count == self.least).unwrap_or_default()
        });
        self.cursor = (at + 1) % self.counts.len();
        at
    }
}

impl HitTable {
    /// Counts one exchange of a zone that the cache saw.
    pub(crate) fn count(&self, zone: u32, path: &str, result: CacheResult, bytes: u64) -> Counted {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let path_hash = {
            let mut hasher = tables.seed.build_hasher();
            hasher.write_u32(zone);
            hasher.write(path.as_bytes());
            hasher.finish()
        };
        let Recent { path: known, template, zone_at, row } = tables.recent[path_hash as usize % RECENT];
        if known == path_hash
            && let Some(table) = tables.zones.get_mut(zone_at as usize)
            && table.count(row, template, result, bytes)
        {
            return Counted::Kept;
        }
        tables.count_new(zone, path, path_hash, result, bytes)
    }
}

impl Tables {
    /// Counts a path that was not asked for lately.
    #[inline(never)]
    fn count_new(&mut self, zone: u32, path: &str, path_hash: u64, result: CacheResult, bytes: u64) -> Counted {
        let template = template_hash(path, &self.seed);
        let zone_at = match self.zones.iter().position(|table| table.zone == zone) {
            Some(at) => at,
            None if self.zones.len() >= ZONES_MAX => return Counted::Skipped,
            None => {
                self.zones.push(ZoneTable::new(zone));
                self.zones.len() - 1
            }
        };
        let table = &mut self.zones[zone_at];
        let (row, counted) = table.row_of(template, path);
        table.count(row, template, result, bytes);
        self.recent[path_hash as usize % RECENT] = Recent { path: path_hash, template, zone_at: zone_at as u32, row };
        counted
    }
}

/// A segment of a template.
enum Segment<'a> {
    Known(&'a [u8]),
    Any,
}

const NOT_DIGIT: u8 = 1;
const NOT_HEX: u8 = 2;

/// What each byte says against a segment's being a number or a hash.
const AGAINST: [u8; 256] = {
    let mut against = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        against[byte] = if b.is_ascii_digit() { 0 } else { NOT_DIGIT };
        if !b.is_ascii_hexdigit() && b != b'-' {
            against[byte] |= NOT_HEX;
        }
        byte += 1;
    }
    against
};

/// Calls `each` for the segments of a path that its template tells apart, and for what follows them.
fn segments(path: &str, mut each: impl FnMut(Segment<'_>)) {
    let bytes = path.as_bytes();
    let mut begin = usize::from(bytes.first() == Some(&b'/'));
    for _ in 0..SEGMENTS_MAX {
        let (mut end, mut against) = (begin, 0);
        while let Some(byte) = bytes.get(end).filter(|byte| **byte != b'/') {
            against |= AGAINST[usize::from(*byte)];
            end += 1;
        }
        let segment = &bytes[begin..end];
        each(if is_identifier(segment, against) { Segment::Any } else { Segment::Known(cut(segment)) });
        if end == bytes.len() {
            return;
        }
        begin = end + 1;
    }
    each(Segment::Any);
}

/// A number, a UUID, a hash: one of many of a kind.
fn is_identifier(segment: &[u8], against: u8) -> bool {
    let is_number = against & NOT_DIGIT == 0;
    let is_hash = against & NOT_HEX == 0 && segment.len() >= HEX_ID_BYTES_MIN;
    !segment.is_empty() && (is_number || is_hash)
}

fn cut(segment: &[u8]) -> &[u8] {
    segment.get(..SEGMENT_BYTES_MAX).unwrap_or(segment)
}

/// The hash of a path's template.
pub(crate) fn template_hash(path: &str, seed: &impl BuildHasher) -> u64 {
    let mut hasher = seed.build_hasher();
    segments(path, |segment| match segment {
        Segment::Known(text) => {
            hasher.write(text);
            hasher.write_u8(b'/');
        }
        Segment::Any => hasher.write_u8(1),
    });
    hasher.finish()
}

/// A path with `*` for what varies in it.
pub(crate) fn template(path: &str) -> String {
    let mut out = String::new();
    segments(path, |segment| {
        out.push('/');
        match segment {
            // A canonical path is ASCII, and a cut one may end in the middle of an escape: only people read it.
            Segment::Known(text) => out.push_str(&String::from_utf8_lossy(text)),
            Segment::Any => out.push('*'),
        }
    });
    out
}

/// Requests and bytes of a template or a zone, as they are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Shown {
    /// Requests that the cache saw.
    pub requests: u64,
    /// Answered from the store, fresh, or with what another request was fetching.
    pub hits: u64,
    /// Answered from the store, stale as the rules allow.
    pub stale: u64,
    /// Answered from the store after the origin confirmed it.
    pub revalidated: u64,
    /// Fetched and stored.
    pub misses: u64,
    /// Fetched and not stored.
    pub uncacheable: u64,
    /// Not looked up.
    pub bypassed: u64,
    /// Share of the requests, 0 to 1, that were answered from the store without waiting for the origin.
    pub hit_ratio: f64,
    /// Bytes of bodies sent that the origin did not have to send.
    pub saved_bytes: u64,
    /// Bytes of bodies sent that came from the origin.
    pub fetched_bytes: u64,
}

impl Shown {
    fn new(sums: &Sums) -> Self {
        let of = |result: CacheResult| sums.by[result as usize];
        let requests = sums.by.iter().sum();
        let hits = of(CacheResult::Hit) + of(CacheResult::Collapsed);
        let stale = of(CacheResult::Stale);
        let hit_ratio = if requests == 0 { 0.0 } else { (hits + stale) as f64 / requests as f64 };
        Self {
            requests,
            hits,
            stale,
            revalidated: of(CacheResult::Revalidated),
            misses: of(CacheResult::Miss),
            uncacheable: of(CacheResult::Uncacheable),
            bypassed: of(CacheResult::Bypass),
            hit_ratio,
            saved_bytes: sums.saved_bytes,
            fetched_bytes: sums.fetched_bytes,
        }
    }

    /// Requests that went to the origin, revalidations included.
    pub fn to_origin(&self) -> u64 {
        self.requests - self.hits - self.stale
    }
}

/// One template.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PathHits {
    /// The template.
    pub path: String,
    /// What was counted since it has a place in the table.
    #[serde(flatten)]
    pub shown: Shown,
    /// Requests that it may have had before and that were counted for it in choosing who stays.
    pub uncertain_max: u64,
}

/// One zone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZoneHits {
    /// Name of the zone.
    pub zone: String,
    /// All its requests, those of paths that are not in the table included.
    pub total: Shown,
    /// What it has in the cache now.
    pub stored: ZoneStored,
    /// Its templates; those that sent the origin most requests first.
    pub paths: Vec<PathHits>,
}

/// Sums of templates, and what they inherited.
type Paths = HashMap<String, (Sums, u64)>;

/// Sums the tables of all workers. `name` names the zones; what it does not know has been removed from the configuration.
pub(crate) fn sum<'a>(
    tables: impl Iterator<Item = &'a HitTable>,
    name: impl Fn(u32) -> Option<String>,
) -> Vec<ZoneHits> {
    let mut zones: HashMap<u32, (Sums, Paths)> = HashMap::new();
    for table in tables {
        let tables = table.0.lock().unwrap_or_else(PoisonError::into_inner);
        for table in &tables.zones {
            let (total, paths) = zones.entry(table.zone).or_default();
            total.add(&table.total);
            for row in &table.rows {
                let (sums, inherited) = paths.entry(row.template.to_string()).or_default();
                sums.add(&row.sums);
                *inherited += row.inherited;
            }
        }
    }
    let mut shown: Vec<ZoneHits> = zones
        .into_iter()
        .filter_map(|(zone, (total, paths))| {
            let paths = paths.into_iter().map(|(path, (sums, uncertain_max))| PathHits {
                path,
                shown: Shown::new(&sums),
                uncertain_max,
            });
            let mut paths: Vec<_> = paths.collect();
            let key =
                |row: &PathHits| (std::cmp::Reverse(row.shown.to_origin()), std::cmp::Reverse(row.shown.requests));
            paths.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.path.cmp(&b.path)));
            Some(ZoneHits { zone: name(zone)?, total: Shown::new(&total), stored: ZoneStored::default(), paths })
        })
        .collect();
    shown.sort_by(|a, b| b.total.to_origin().cmp(&a.total.to_origin()).then_with(|| a.zone.cmp(&b.zone)));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for (path, expected) in [
            ("/", "/"),
            ("/a.css", "/a.css"),
            ("/a/b/", "/a/b/"),
            ("/a/b/c", "/a/b/c"),
            ("/a/b/c/", "/a/b/c/*"),
            ("/a/b/c/d/e", "/a/b/c/*"),
            ("/product/1234", "/product/*"),
            ("/product/1234/reviews", "/product/*/reviews"),
            ("/v1/x", "/v1/x"),
            ("/o/0b54f3c2-9e1d-4c8a-b1d7-2f0e6a9c1234", "/o/*"),
            ("/o/deadbeefdeadbeef", "/o/*"),
            ("/o/decade", "/o/decade"),
            ("/o/cafe-bar-de-la-facade", "/o/cafe-bar-de-la-facade"),
            ("*", "/*"),
        ] {
            assert_eq!(template(path), expected, "{path}");
        }
        assert_eq!(template(&format!("/{}", "x".repeat(500))).len(), SEGMENT_BYTES_MAX + 1);
    }

    #[test]
    fn templates_and_their_hashes_agree() {
        let paths =
            ["/", "//", "/a", "/a/", "/a/b", "/ab", "/a/1", "/a/2", "/1/a", "/a/b/c/d", "/a/b/c/e", "/a/b/c", ""];
        let seed = RandomState::default();
        for one in paths {
            for other in paths {
                let alike = template(one) == template(other);
                assert_eq!(template_hash(one, &seed) == template_hash(other, &seed), alike, "{one} {other}");
            }
        }
    }

    fn rows(table: &HitTable) -> Vec<ZoneHits> {
        sum(std::iter::once(table), |zone| Some(zone.to_string()))
    }

    #[test]
    fn counts_by_result() {
        let table = HitTable::default();
        for (result, bytes) in [
            (CacheResult::Hit, 10),
            (CacheResult::Collapsed, 1),
            (CacheResult::Stale, 2),
            (CacheResult::Revalidated, 3),
            (CacheResult::Miss, 100),
            (CacheResult::Uncacheable, 200),
            (CacheResult::Bypass, 400),
        ] {
            assert_eq!(table.count(7, "/a", result, bytes), Counted::Kept);
        }
        table.count(7, "/b", CacheResult::Miss, 5);
        table.count(8, "/a", CacheResult::Hit, 5);
        let zones = rows(&table);
        assert_eq!(zones.iter().map(|zone| zone.zone.as_str()).collect::<Vec<_>>(), ["7", "8"]);
        let shown = zones[0].paths[0].shown;
        assert_eq!((shown.requests, shown.hits, shown.stale, shown.revalidated), (7, 2, 1, 1));
        assert_eq!((shown.misses, shown.uncacheable, shown.bypassed), (1, 1, 1));
        assert_eq!((shown.saved_bytes, shown.fetched_bytes, shown.to_origin()), (16, 700, 4));
        assert!((shown.hit_ratio - 3.0 / 7.0).abs() < 1e-9);
        assert_eq!(zones[0].total.requests, 8);
        assert!(rows(&HitTable::default()).is_empty());
    }

    /// Whatever makes up more than one part in `PATHS_MAX` is there, however many other paths come.
    #[test]
    fn frequent_paths_stay() {
        let table = HitTable::default();
        let mut replaced = 0;
        for round in 0..40_000_u32 {
            let path = match round % 40 {
                0 => "/frequent".to_owned(),
                1 => "/also/frequent".to_owned(),
                // Letters only, so that no two are one template.
                _ => format!("/{}", round.to_string().bytes().map(|b| char::from(b - b'0' + b'g')).collect::<String>()),
            };
            replaced += u32::from(table.count(1, &path, CacheResult::Miss, 1) == Counted::Replaced);
        }
        let zone = rows(&table).remove(0);
        assert_eq!((zone.paths.len(), zone.total.requests), (PATHS_MAX, 40_000));
        assert!(replaced > 30_000);
        for path in ["/frequent", "/also/frequent"] {
            let row = zone.paths.iter().find(|row| row.path == path).expect("a frequent path");
            assert!(row.shown.requests + row.uncertain_max >= 1_000 && row.shown.requests <= 1_000, "{row:?}");
        }
        assert!(zone.paths.iter().all(|row| row.uncertain_max <= 40_000 / PATHS_MAX as u64));
    }

    #[test]
    fn zones_are_bounded() {
        let table = HitTable::default();
        for zone in 0..ZONES_MAX as u32 {
            assert_eq!(table.count(zone, "/", CacheResult::Hit, 0), Counted::Kept);
        }
        assert_eq!(table.count(ZONES_MAX as u32, "/", CacheResult::Hit, 0), Counted::Skipped);
        assert_eq!(rows(&table).len(), ZONES_MAX);
    }
}
