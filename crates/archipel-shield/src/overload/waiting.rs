//! Who waits for a place at an origin: a bounded queue for each priority.

use std::collections::VecDeque;

/// Who is served first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// A visitor who is known: logged in, or seen before.
    Known,
    /// A visitor about whom nothing is known.
    Unknown,
    /// Nobody waits for it: what is stored is made fresh in the background.
    Background,
}

const PRIORITIES: usize = 3;

/// Of this many places that become free one goes to the last in rank who waits, so that a crowd of the first in rank does not shut the
/// others out.
const TURNS: u32 = 8;

/// Why nobody more may wait: as many wait already, none of them of lower priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The queue. `T` is what is told that its turn has come.
#[derive(Debug)]
pub struct Waiting<T> {
    queues: [VecDeque<(u64, T)>; PRIORITIES],
    next: u64,
    turns: u32,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { queues: Default::default(), next: 0, turns: 0 }
    }
}

impl<T> Waiting<T> {
    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queues.iter().map(VecDeque::len).sum()
    }

    /// Whether nobody waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets one more wait. Where `max` wait already, the last one of the lowest priority gives way if that is below this one's, and is
    /// returned. The number is for [`Waiting::leave`].
    ///
    /// # Errors
    /// [`Refused`].
    pub fn enter(&mut self, priority: Priority, who: T, max: usize) -> Result<(u64, Option<T>), Refused> {
        let mut displaced = None;
        if self.len() >= max {
            let lowest = (priority as usize + 1..PRIORITIES).rev().find(|at| !self.queues[*at].is_empty());
            displaced = lowest.and_then(|at| self.queues[at].pop_back()).map(|(_, who)| who);
            if displaced.is_none() {
                return Err(Refused);
            }
        }
        self.next += 1;
        self.queues[priority as usize].push_back((self.next, who));
        Ok((self.next, displaced))
    }

    /// Takes out whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        self.turns = self.turns.wrapping_add(1);
        let waits = |at: &usize| !self.queues[*at].is_empty();
        let at = match self.turns.is_multiple_of(TURNS) {
            true => (0..PRIORITIES).rev().find(waits),
            false => (0..PRIORITIES).find(waits),
        };
        self.queues[at?].pop_front().map(|(_, who)| who)
    }

    /// Takes out one who waits no longer. False where it is not there any more.
    pub fn leave(&mut self, number: u64) -> bool {
        for queue in &mut self.queues {
            // Numbers rise within a queue.
            if let Ok(at) = queue.binary_search_by_key(&number, |(number, _)| *number) {
                queue.remove(at);
                return true;
            }
        }
        false
    }
}
