//! The counts of one key in a sliding window: a period in ten slices, and the slice that is under way.
//!
//! A slice counts until all of it is older than the period. So never more is let through in any stretch of one period than is allowed,
//! and what was counted is forgotten after at most a tenth of the period more.

use std::time::Duration;

/// Slices of a period.
pub(super) const SLICES: u64 = 10;

/// Slices that are kept: those of the period, and the one under way.
const KEPT: usize = SLICES as usize + 1;

/// How long a slice is. Slices are numbered from the beginning of the callers' clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    slice_ms: u64,
}

impl Grid {
    pub(super) fn new(period_ms: u64) -> Self {
        Self { slice_ms: period_ms.div_ceil(SLICES).max(1) }
    }

    /// The slice of a moment. Wraps after thirteen years of slices of a tenth of a second.
    pub(super) fn slice(self, now_ms: u64) -> u32 {
        (now_ms / self.slice_ms) as u32
    }

    /// How long something counts at most.
    pub(super) fn window(self) -> Duration {
        Duration::from_millis(self.slice_ms.saturating_mul(KEPT as u64))
    }

    /// When what was counted in a slice is forgotten.
    fn forgotten_ms(self, slice: u32) -> u64 {
        (u64::from(slice) + KEPT as u64).saturating_mul(self.slice_ms)
    }
}

/// The counts of one key, and until when it is limited: one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// Whose it is; 0: nobody's.
    pub(super) key: u64,
    /// Until when it is limited, or its being limited is known, in milliseconds of the callers' clock.
    pub(super) until_ms: u64,
    slice: u32,
    counts: [u32; KEPT],
}

impl Slot {
    pub(super) fn new(key: u64, slice: u32) -> Self {
        Self { key, slice, ..Self::default() }
    }

    /// Forgets what is too old. A clock that lags changes nothing.
    pub(super) fn advance(&mut self, slice: u32) {
        let passed = slice.saturating_sub(self.slice);
        if passed as usize >= KEPT {
            self.counts = [0; KEPT];
        } else {
            (0..passed).for_each(|back| self.counts[(slice - back) as usize % KEPT] = 0);
        }
        self.slice = self.slice.max(slice);
    }

    /// Counts `n` more.
    pub(super) fn add(&mut self, n: u32) {
        let now = &mut self.counts[self.slice as usize % KEPT];
        *now = now.saturating_add(n);
    }

    /// What is counted of the window.
    pub(super) fn sum(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// When at most `left` of what is counted will remain, in milliseconds from now; 0 where it is no more already.
    pub(super) fn wait_ms(&self, grid: Grid, left: u64, now_ms: u64) -> u64 {
        let mut sum = self.sum();
        if sum <= left {
            return 0;
        }
        for back in (0..KEPT as u32).rev() {
            let Some(at) = self.slice.checked_sub(back) else { continue };
            sum -= u64::from(self.counts[at as usize % KEPT]);
            if sum <= left {
                return grid.forgotten_ms(at).saturating_sub(now_ms);
            }
        }
        0
    }
}
