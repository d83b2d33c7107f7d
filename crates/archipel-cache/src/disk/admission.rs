//! What is worth a place on the disk once it is full: what was asked for before.
//!
//! Most objects of a site's long tail are asked for once. Writing them would wear the disk and push out what is used. So while there is
//! room everything is written; later only what is asked for a second time while its key is remembered here.
//!
//! Must never grow: a table of fixed size in which newer keys overwrite older ones.

use std::sync::atomic::{AtomicU32, Ordering};

/// The keys of late, by a 32-bit tag each.
#[derive(Debug)]
pub(crate) struct Lately(Box<[AtomicU32]>);

impl Lately {
    /// Remembers about `keys` keys: a power of two, 4 bytes each.
    pub(crate) fn new(keys: usize) -> Self {
        Self((0..keys.next_power_of_two()).map(|_| AtomicU32::new(0)).collect())
    }

    /// Whether this key was here lately; it is from now on.
    pub(crate) fn seen(&self, key: u64) -> bool {
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let tag = (mixed as u32) | 1;
        let at = (mixed >> 32) as usize & (self.0.len() - 1);
        self.0.get(at).is_some_and(|slot| slot.swap(tag, Ordering::Relaxed) == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_lately() {
        let lately = Lately::new(1 << 10);
        assert!(!lately.seen(7) && lately.seen(7) && !lately.seen(8));
        (100..100_000).for_each(|key| {
            lately.seen(key);
        });
        assert!(!lately.seen(7), "it was long ago");
        let wrong = (1 << 40..(1 << 40) + 10_000).filter(|key| lately.seen(*key)).count();
        assert!(wrong < 10, "{wrong} of 10,000 new keys seem known");
    }
}
