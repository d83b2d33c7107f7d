//! Request mixes and the simplest fair rival, for the hit-ratio test and the example that prints the table.

use std::collections::{BTreeMap, HashMap};

/// splitmix64, so that a seed gives the same mix everywhere.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A mix of requests.
#[derive(Clone, Copy)]
pub struct Mix {
    pub name: &'static str,
    /// Popularity falls with the rank to this power.
    pub exponent: f64,
    /// Of 100 requests, those of a crawler that asks for each thing once.
    pub scan_percent: u64,
    /// Whether the popular set moves on slowly.
    pub drifts: bool,
}

pub const MIXES: [Mix; 6] = [
    Mix { name: "zipf 0.7", exponent: 0.7, scan_percent: 0, drifts: false },
    Mix { name: "zipf 0.9", exponent: 0.9, scan_percent: 0, drifts: false },
    Mix { name: "zipf 1.1", exponent: 1.1, scan_percent: 0, drifts: false },
    Mix { name: "zipf 0.9 + 20% scan", exponent: 0.9, scan_percent: 20, drifts: false },
    Mix { name: "zipf 0.9 + 50% scan", exponent: 0.9, scan_percent: 50, drifts: false },
    Mix { name: "zipf 0.9, drifting", exponent: 0.9, scan_percent: 0, drifts: true },
];

/// Draws the keys of a mix.
pub struct Requests {
    mix: Mix,
    cumulative: Vec<f64>,
    random: Seeded,
    drawn: u64,
}

impl Requests {
    pub fn new(mix: Mix, keys: usize, seed: u64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=keys).map(|rank| (rank as f64).powf(-mix.exponent));
        let cumulative = weights
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        Self { mix, cumulative, random: Seeded(seed), drawn: 0 }
    }

    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        if self.random.next() % 100 < self.mix.scan_percent {
            return (1 << 40) + self.drawn;
        }
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let at = self.random.unit() * total;
        let rank = self.cumulative.partition_point(|sum| *sum < at) as u64;
        let shift = if self.mix.drifts { self.drawn / 50 } else { 0 };
        rank + shift
    }
}

/// The size of a key's body: from 200 bytes to 50 KB, most of them small.
pub fn body_bytes(key: u64) -> usize {
    let random = Seeded(key).next();
    200 << (random % 9).min((random >> 32) % 9)
}

/// Least recently used, bounded in bytes.
#[derive(Default)]
pub struct Lru {
    objects: HashMap<u64, (u64, u64)>,
    order: BTreeMap<u64, u64>,
    clock: u64,
    bytes: u64,
}

impl Lru {
    /// Asks for a key, which costs `bytes`; tells whether it was there.
    pub fn ask(&mut self, key: u64, bytes: u64, bytes_max: u64) -> bool {
        self.clock += 1;
        let old = self.objects.insert(key, (self.clock, bytes));
        self.order.insert(self.clock, key);
        if let Some((at, _)) = old {
            self.order.remove(&at);
            return true;
        }
        self.bytes += bytes;
        while self.bytes > bytes_max {
            let Some((_, key)) = self.order.pop_first() else {
                break;
            };
            self.bytes -= self.objects.remove(&key).map_or(0, |(_, bytes)| bytes);
        }
        false
    }
}
