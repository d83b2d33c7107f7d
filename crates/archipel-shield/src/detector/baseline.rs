//! What is usual in a zone: how many requests a second at each hour of the week, and what they look like.

use super::sample::Sample;
use super::{TICK_MS, next_random};

/// Hours of a week.
pub const HOURS: usize = 168;

/// Requests that are kept of calm traffic.
const SAMPLES_MAX: usize = 8_192;

/// Requests that one tick may add, so that no minute of traffic replaces what was learned: with all 8,192 places taken, half of
/// what is known is older than twelve minutes. An attacker who wants to be usual has to be, for that long, at a rate that is.
const LEARNED_PER_TICK_MAX: usize = 4;

/// Ticks of an hour of the week without which the hours together count.
const HOUR_TICKS_MIN: u32 = 120;

/// Ticks after which an hour forgets the older half.
const HOUR_TICKS_MAX: u32 = 4 * 7_200;

/// Classes of rates: powers of the fourth root of two, from 1/4 to 8 million a second.
const RATES: usize = 100;

/// What is usual.
#[derive(Clone, Debug)]
pub struct Baseline {
    hours: Vec<Rates>,
    all: Rates,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Rates {
    counts: Box<[u32]>,
    ticks: u32,
}

impl Rates {
    fn new() -> Self {
        Self { counts: Box::default(), ticks: 0 }
    }

    fn add(&mut self, rps: f64) {
        if self.counts.is_empty() {
            self.counts = vec![0; RATES].into();
        }
        if self.ticks >= HOUR_TICKS_MAX {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.ticks = self.counts.iter().sum();
        }
        self.counts[class(rps)] += 1;
        self.ticks += 1;
    }

    /// The rate that 95 % of the ticks did not exceed.
    fn p95(&self) -> f64 {
        let wanted = u64::from(self.ticks) * 95 / 100;
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += u64::from(*count);
            if below > wanted {
                return rate(at);
            }
        }
        0.0
    }
}

fn class(rps: f64) -> usize {
    let class = (rps.max(0.25) * 4.0).log2() * 4.0;
    // The cast saturates, and the rate is never below a quarter.
    (class as usize).min(RATES - 1)
}

/// The upper end of a class.
fn rate(class: usize) -> f64 {
    ((class as f64 + 1.0) / 4.0).exp2() / 4.0
}

impl Default for Baseline {
    fn default() -> Self {
        Self::new()
    }
}

impl Baseline {
    /// One that knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { hours: vec![Rates::new(); HOURS], all: Rates::new(), samples: Vec::new() }
    }

    /// Learns a tick of calm traffic.
    pub(super) fn learn(&mut self, now_ms: u64, rps: f64, samples: &[Sample], random: &mut u64) {
        self.hours[hour(now_ms)].add(rps);
        self.all.add(rps);
        // A full tick's sample would let a short peak replace the week.
        let learned = if self.samples.len() < SAMPLES_MAX / 4 { samples.len() } else { LEARNED_PER_TICK_MAX };
        for _ in 0..learned.min(samples.len()) {
            let sample = samples[below(random, samples.len())];
            if self.samples.len() < SAMPLES_MAX {
                self.samples.push(sample);
            } else {
                let place = below(random, SAMPLES_MAX);
                self.samples[place] = sample;
            }
        }
    }

    /// Requests a second that 95 % of the ticks of this hour of the week stayed below, or of all hours while this one is not known;
    /// nothing while too little is known at all.
    #[must_use]
    pub fn usual_rps(&self, now_ms: u64) -> Option<f64> {
        let hour = &self.hours[hour(now_ms)];
        if hour.ticks >= HOUR_TICKS_MIN {
            return Some(hour.p95());
        }
        (self.all.ticks >= HOUR_TICKS_MIN).then(|| self.all.p95())
    }

    /// Calm requests.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }
}

fn below(random: &mut u64, bound: usize) -> usize {
    usize::try_from(next_random(random) % bound.max(1) as u64).unwrap_or_default()
}

/// The hour of the week, from the first of January 1970, a Thursday.
fn hour(now_ms: u64) -> usize {
    usize::try_from(now_ms / 3_600_000 % HOURS as u64).unwrap_or_default()
}

const _: () = assert!(TICK_MS == 500, "the counts of ticks above are of half seconds");
