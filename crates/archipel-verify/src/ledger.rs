//! What lets a token be used once, without a store: the node that issues a token numbers it, and keeps one bit for each number.
//!
//! A window is a million numbers, 128 KiB. Two are kept, as tokens live shorter than a window lasts: what is older is used up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Numbers of a window.
pub const WINDOW: u64 = 1 << 20;

/// Tokens that may be issued in the life of one; more are refused. Two windows, less the one that is begun.
pub const TOKENS_MAX: u64 = WINDOW;

/// What came of using a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// It was not used before, and is now.
    First,
    /// It was used before.
    Again,
    /// It is not known: too old, or never given.
    Unknown,
}

/// The numbers of the tokens that a node issues.
#[derive(Debug)]
pub struct Ledger {
    next: AtomicU64,
    windows: [Window; 2],
    /// Held while a window is cleared for its next numbers.
    turning: Mutex<()>,
}

#[derive(Debug)]
struct Window {
    /// Which window of numbers the bits are of.
    number: AtomicU64,
    bits: Box<[AtomicU64]>,
}

impl Window {
    fn new(number: u64) -> Self {
        Self { number: AtomicU64::new(number), bits: (0..WINDOW / 64).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}

impl Ledger {
    /// One that has given no number.
    #[must_use]
    pub fn new() -> Self {
        Self { next: AtomicU64::new(0), windows: [Window::new(0), Window::new(1)], turning: Mutex::new(()) }
    }

    /// The next number.
    pub fn issue(&self) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let window = number / WINDOW;
        let place = &self.windows[(window % 2) as usize];
        if place.number.load(Ordering::Acquire) != window {
            let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
            if place.number.load(Ordering::Acquire) < window {
                place.bits.iter().for_each(|word| word.store(0, Ordering::Relaxed));
                place.number.store(window, Ordering::Release);
            }
        }
        number
    }

    /// Uses a number up: of all callers, at once or one after the other, exactly one is told that it is the first.
    pub fn use_up(&self, number: u64) -> Use {
        let window = number / WINDOW;
        let place = &self.windows[(window % 2) as usize];
        if number >= self.next.load(Ordering::Relaxed) || place.number.load(Ordering::Acquire) != window {
            return Use::Unknown;
        }
        let bit = number % WINDOW;
        let mask = 1 << (bit % 64);
        let before = place.bits[(bit / 64) as usize].fetch_or(mask, Ordering::AcqRel);
        if before & mask == 0 { Use::First } else { Use::Again }
    }
}
