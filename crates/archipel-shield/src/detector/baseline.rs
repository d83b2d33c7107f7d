//! What is usual in a zone: how many requests a second at each hour of the week, and what they look like.

use std::collections::VecDeque;

use super::persist::{Bytes, put_len};
use super::sample::Sample;
use super::{TICK_MS, next_random};

/// Hours of a week.
pub const HOURS: usize = 168;

/// Requests that are kept of calm traffic.
const SAMPLES_MAX: usize = 8_192;

/// Requests of these that outlive a restart: as many as are learned fast.
pub(super) const KEPT_MAX: usize = SAMPLES_MAX / 4;

/// Calm ticks that wait until they are learned: an attack is some ticks old when it is noticed, and what it began with must not be
/// among what is usual.
const WAITING: usize = 4;

/// Requests that one tick may add, so that no minute of traffic replaces what was learned: with all 8,192 places taken, half of
/// what is known is older than twelve minutes. An attacker who wants to be usual has to be, for that long, at a rate that is.
const LEARNED_PER_TICK_MAX: usize = 4;

/// Requests that one tick may add while little is known.
const FIRST_PER_TICK_MAX: usize = 512;

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
    waiting: VecDeque<Waiting>,
}

/// A tick that is calm as far as is known.
#[derive(Clone, Debug)]
struct Waiting {
    at_ms: u64,
    rps: f64,
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Rates {
    /// Below 65,536, as [`HOUR_TICKS_MAX`] is.
    counts: Box<[u16]>,
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
            self.ticks = self.counts.iter().copied().map(u32::from).sum();
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
        Self { hours: vec![Rates::new(); HOURS], all: Rates::new(), samples: Vec::new(), waiting: VecDeque::new() }
    }

    /// Learns a tick of calm traffic, once some more have been calm.
    pub(super) fn learn(&mut self, now_ms: u64, rps: f64, samples: &[Sample], random: &mut u64) {
        // A full tick's sample would let a short peak replace the week.
        let first = self.samples.len() < KEPT_MAX;
        let learned = if first { FIRST_PER_TICK_MAX } else { LEARNED_PER_TICK_MAX };
        let samples = match learned.min(samples.len()) {
            all if all == samples.len() => samples.to_vec(),
            some => (0..some).map(|_| samples[below(random, samples.len())]).collect(),
        };
        self.waiting.push_back(Waiting { at_ms: now_ms, rps, samples });
        if self.waiting.len() <= WAITING {
            return;
        }
        if let Some(calm) = self.waiting.pop_front() {
            self.know(calm, random);
        }
    }

    /// Forgets the ticks that wait: they were not calm after all.
    pub(super) fn distrust(&mut self) {
        self.waiting.clear();
    }

    fn know(&mut self, calm: Waiting, random: &mut u64) {
        self.hours[hour(calm.at_ms)].add(calm.rps);
        self.all.add(calm.rps);
        for sample in calm.samples {
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

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rates = self.hours.iter().chain([&self.all]).map(|rates| size_of_val(&*rates.counts)).sum::<usize>();
        self.hours.capacity() * size_of::<Rates>()
            + rates
            + (self.samples.capacity() + self.waiting.iter().map(|tick| tick.samples.capacity()).sum::<usize>())
                * size_of::<Sample>()
    }

    /// Takes a request as a calm one.
    pub(super) fn keep(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    pub(super) fn encode_rates(&self, out: &mut Vec<u8>) {
        for rates in self.hours.iter().chain([&self.all]) {
            put_len(out, usize::try_from(rates.ticks).unwrap_or_default());
            // Most hours are unknown for long.
            if rates.ticks > 0 {
                rates.counts.iter().for_each(|count| out.extend_from_slice(&count.to_le_bytes()));
            }
        }
    }

    pub(super) fn decode_rates(bytes: &mut Bytes<'_>) -> Option<Self> {
        let mut baseline = Self::new();
        for rates in baseline.hours.iter_mut().chain([&mut baseline.all]) {
            rates.ticks = bytes.u32()?;
            if rates.ticks > 0 {
                rates.counts = (0..RATES).map(|_| bytes.u16()).collect::<Option<Vec<_>>>()?.into();
                let sum: u32 = rates.counts.iter().copied().map(u32::from).sum();
                (sum == rates.ticks && sum <= HOUR_TICKS_MAX).then_some(())?;
            }
        }
        Some(baseline)
    }

    /// Forgets half of the calm requests, any half.
    pub fn halve(&mut self, random: &mut u64) {
        let kept = self.samples.len() / 2;
        while self.samples.len() > kept {
            self.samples.swap_remove(below(random, self.samples.len()));
        }
        self.samples.shrink_to_fit();
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
