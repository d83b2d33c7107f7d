//! A count-min sketch (Cormode and Muthukrishnan, 2005) with conservative update (Estan and Varghese, 2002), in generations of half a
//! period: counts of more keys than there is room for, in memory that does not grow.
//!
//! Each row adds the counts of keys that share a cell, which is its error. The average of it is known (what the row counted, divided by its
//! width) and taken off (Deng and Rafiei, 2007), so that a flood of keys that come once does not make everybody look like a frequent one.
//! For `total` requests counted in the window and rows of `width` cells, an estimate is
//!
//! - never less than the truth by more than `total / width`;
//! - never more than the truth by more than `e * total / width`, with a probability of 94 % for each key.
//!
//! Where the flood is even, both errors are far smaller: what remains is how uneven the cells are.

/// Rows, each with cells of its own choice for a key.
const ROWS: usize = 4;

/// Generations that are kept.
const KEPT: usize = 3;

/// Slices of a generation.
const GENERATION: u32 = super::window::SLICES as u32 / 2;

/// Counts of half a period.
#[derive(Clone, Debug)]
struct Generation {
    cells: [Box<[u32]>; ROWS],
    totals: [u64; ROWS],
}

/// The sketch of one shard.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    generations: [Generation; KEPT],
    now: u32,
    mask: usize,
}

/// A bijection that makes neighbours unlike each other (SplitMix64's finalizer).
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Generation {
    fn new(width: usize) -> Self {
        Self { cells: std::array::from_fn(|_| vec![0; width].into()), totals: [0; ROWS] }
    }

    fn clear(&mut self) {
        self.cells.iter_mut().for_each(|row| row.fill(0));
        self.totals = [0; ROWS];
    }

    /// The row whose cell for a key is the least, and what is in it.
    fn least(&self, places: &[usize; ROWS]) -> (usize, u32) {
        let cells = places.iter().enumerate().map(|(row, place)| (row, self.cells[row][*place]));
        cells.min_by_key(|(_, cell)| *cell).unwrap_or((0, 0))
    }

    /// What the least cell has beyond what cells of its row have on average.
    fn estimate(&self, places: &[usize; ROWS]) -> u64 {
        let (row, least) = self.least(places);
        let (least, others) = (u64::from(least), self.cells[row].len() as u64 - 1);
        least.saturating_sub((self.totals[row] - least).checked_div(others).unwrap_or(0))
    }
}

impl Sketch {
    /// Rows of `width` cells, a power of two.
    pub(super) fn new(width: usize, slice: u32) -> Self {
        let generations = std::array::from_fn(|_| Generation::new(width));
        Self { generations, now: slice / GENERATION, mask: width - 1 }
    }

    /// Bytes of a sketch whose rows have `width` cells.
    pub(super) fn bytes(width: usize) -> usize {
        KEPT * ROWS * width * size_of::<u32>()
    }

    fn places(&self, key: u64) -> [usize; ROWS] {
        std::array::from_fn(|row| {
            mixed(key ^ (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)) as usize & self.mask
        })
    }

    /// Forgets what is too old.
    pub(super) fn advance(&mut self, slice: u32) {
        let now = slice / GENERATION;
        let passed = now.saturating_sub(self.now).min(KEPT as u32);
        for new in now - passed + 1..=now {
            self.generations[new as usize % KEPT].clear();
        }
        self.now = self.now.max(now);
    }

    /// Counts `n` more of a key.
    pub(super) fn add(&mut self, key: u64, n: u32) {
        let places = self.places(key);
        let generation = &mut self.generations[self.now as usize % KEPT];
        let wanted = generation.least(&places).1.saturating_add(n);
        for (row, place) in places.into_iter().enumerate() {
            let cell = &mut generation.cells[row][place];
            // Conservative: no cell is raised above what the key needs.
            generation.totals[row] += u64::from(wanted.saturating_sub(*cell));
            *cell = wanted.max(*cell);
        }
    }

    /// How often a key was counted, about.
    pub(super) fn estimate(&self, key: u64) -> u64 {
        let places = self.places(key);
        self.generations.iter().map(|generation| generation.estimate(&places)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 1_024;

    #[test]
    fn few_keys_are_counted_exactly() {
        let mut sketch = Sketch::new(WIDTH, 0);
        for key in 0..20 {
            (0..=key).for_each(|_| sketch.add(mixed(key), 1));
        }
        assert!((0..20).all(|key| sketch.estimate(mixed(key)) == key + 1));
        assert_eq!(sketch.estimate(mixed(99)), 0);
    }

    #[test]
    fn a_generation_is_forgotten_after_a_period_and_at_most_half_of_one_more() {
        for (begin, last) in [(0, 14), (4, 14), (5, 19)] {
            let mut sketch = Sketch::new(WIDTH, begin);
            sketch.add(7, 5);
            for slice in begin..=last {
                sketch.advance(slice);
                assert_eq!(sketch.estimate(7), 5, "from {begin}, at {slice}");
            }
            sketch.advance(last + 1);
            assert_eq!(sketch.estimate(7), 0, "from {begin}");
        }
        let mut sketch = Sketch::new(WIDTH, 0);
        sketch.add(7, 5);
        sketch.advance(1_000_000);
        sketch.advance(999_999);
        assert_eq!(sketch.estimate(7), 0, "a long pause, and a clock that lags");
    }

    /// The error bounds of the module's description, for a flood of keys of all frequencies.
    #[test]
    fn errors_are_within_the_bounds() {
        for strangers in [2_000, 100_000, 1_000_000] {
            let regulars = 20;
            let mut sketch = Sketch::new(WIDTH, 0);
            for stranger in 0..strangers {
                sketch.add(mixed(stranger), 1);
                if stranger % (strangers / 100) == 0 {
                    // Comes a hundred times in all.
                    (0..regulars).for_each(|regular| sketch.add(mixed(1 << 40 | regular), 1));
                }
            }
            let total = strangers + 100 * regulars;
            let (under_max, over_max) = (total / WIDTH as u64, total as f64 * std::f64::consts::E / WIDTH as f64);
            let truths =
                (0..strangers.min(20_000)).map(|key| (key, 1)).chain((0..regulars).map(|key| (1 << 40 | key, 100)));
            let (mut beyond, mut asked, mut worst) = (0, 0, 0);
            for (key, truth) in truths {
                let estimate = sketch.estimate(mixed(key));
                assert!(estimate + under_max >= truth, "{key}: {estimate} for {truth}");
                beyond += u64::from(estimate as f64 > truth as f64 + over_max);
                asked += 1;
                worst = worst.max(estimate.saturating_sub(truth));
            }
            assert!(beyond * 100 < asked * 6, "{beyond} of {asked}");
            // What the noise that is taken off is for: it is far below the bound.
            let even = over_max.sqrt() * 4.0 + 4.0;
            assert!((worst as f64) < even, "{worst}, of {strangers} strangers");
        }
    }
}
