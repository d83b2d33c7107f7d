//! Samples of requests, taken by each worker for itself (Vitter's algorithm R: each request of a tick is as likely to be in).

use super::feature::Features;
use super::next_random;

/// One request of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its features.
    pub features: Features,
    /// A number that stands for its address.
    pub address: u64,
}

/// Requests that a worker keeps of a tick.
pub const TICK_SAMPLES_MAX: usize = 512;

/// Whether a request gets into the sample of its tick, and where. `nth` counts the tick's requests from 1; `random` is any number.
#[must_use]
pub fn place_in_sample(nth: u64, random: u64) -> Option<usize> {
    let place = if nth <= TICK_SAMPLES_MAX as u64 { nth - 1 } else { random % nth };
    usize::try_from(place).ok().filter(|place| *place < TICK_SAMPLES_MAX)
}

/// Takes a sample of the requests of each tick.
#[derive(Clone, Debug)]
pub struct Sampler {
    samples: Vec<Sample>,
    seen: u64,
    random: u64,
}

impl Sampler {
    /// A sampler whose choices follow from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { samples: Vec::new(), seen: 0, random: seed | 1 }
    }

    /// Notices a request. The features are asked for only where it gets into the sample.
    pub fn observe(&mut self, sample: impl FnOnce() -> Sample) {
        self.seen += 1;
        let Some(place) = place_in_sample(self.seen, next_random(&mut self.random)) else { return };
        match self.samples.get_mut(place) {
            Some(slot) => *slot = sample(),
            None => self.samples.push(sample()),
        }
    }

    /// Ends the tick: how many requests there were, and the sample of them.
    pub fn drain(&mut self) -> (u64, Vec<Sample>) {
        (std::mem::take(&mut self.seen), std::mem::take(&mut self.samples))
    }
}

/// One sample of what several workers saw: each contributes according to what it saw.
#[must_use]
pub fn merge(parts: &[(u64, Vec<Sample>)], samples_max: usize) -> Vec<Sample> {
    let all: u64 = parts.iter().map(|(seen, _)| seen).sum();
    let held: usize = parts.iter().map(|(_, samples)| samples.len()).sum();
    if held <= samples_max && parts.iter().all(|(seen, samples)| *seen == samples.len() as u64) {
        return parts.iter().flat_map(|(_, samples)| samples).copied().collect();
    }
    // The worker of which least is known, for what it saw, bounds how much of the others may be taken.
    let ratio = parts
        .iter()
        // A worker that was in the middle of its first request: nothing is known of it.
        .filter(|(_, samples)| !samples.is_empty())
        .map(|(seen, samples)| samples.len() as f64 / *seen as f64)
        .fold(samples_max as f64 / all.max(1) as f64, f64::min);
    let mut merged = Vec::with_capacity(samples_max);
    for (seen, samples) in parts {
        let share = (*seen as f64 * ratio).round() as usize;
        merged.extend(samples.iter().take(share));
    }
    merged
}
