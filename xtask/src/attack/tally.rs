//! The book-keeping of a run: what was sent when, on whose side, what came of it, and what reached the origin. Everything
//! counts for the moment at which its request was sent.

use std::collections::BTreeMap;

use super::addresses::Side;

/// Length of a bucket, in microseconds.
pub const BUCKET_US: u64 = 250_000;
/// Most buckets: twenty minutes.
const BUCKETS_MAX: usize = 4_800;
/// Different reasons that are told apart.
const REASONS_MAX: usize = 64;

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// What was asked for: a status below 400.
    Served,
    /// Refused for good: 403, or any other status of the 4xx class.
    Blocked,
    /// Asked to prove to be a person.
    Challenged,
    /// Refused for the moment, as too many: 429.
    Limited,
    /// Refused for the moment, as the origin is busy: 503 with a reason.
    Shed,
    /// Another error, also of the origin, no reply in time, or a connection that broke.
    Failed,
}

/// How many outcomes there are.
const OUTCOMES: usize = 6;

impl Outcome {
    /// What a reply means.
    #[must_use]
    pub fn of(status: u16, reason: Option<&str>) -> Self {
        match status {
            1..400 => Self::Served,
            _ if reason.is_some_and(|reason| reason.contains("challenge")) => Self::Challenged,
            429 => Self::Limited,
            // Without a reason it is the origin's own.
            503 if reason.is_some() => Self::Shed,
            400..500 => Self::Blocked,
            _ => Self::Failed,
        }
    }
}

/// Numbers of one bucket, or of several together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    outcomes: [[u64; OUTCOMES]; 2],
    sent: [u64; 2],
    origin: [u64; 2],
}

impl Counts {
    /// Requests that a side sent.
    #[must_use]
    pub fn sent(&self, side: Side) -> u64 {
        self.sent[side as usize]
    }

    /// Requests of a side that reached the origin.
    #[must_use]
    pub fn origin(&self, side: Side) -> u64 {
        self.origin[side as usize]
    }

    /// Requests of both sides that reached the origin.
    #[must_use]
    pub fn origin_all(&self) -> u64 {
        self.origin.iter().sum()
    }

    /// Requests of a side with this outcome.
    #[must_use]
    pub fn of(&self, side: Side, outcome: Outcome) -> u64 {
        self.outcomes[side as usize][outcome as usize]
    }

    /// Requests of a side with any outcome.
    #[must_use]
    pub fn ended(&self, side: Side) -> u64 {
        self.outcomes[side as usize].iter().sum()
    }

    /// Requests of a side that were turned away, for whatever reason.
    #[must_use]
    pub fn refused(&self, side: Side) -> u64 {
        let refusals = [Outcome::Blocked, Outcome::Challenged, Outcome::Limited, Outcome::Shed];
        refusals.iter().map(|outcome| self.of(side, *outcome)).sum()
    }

    fn add(&mut self, other: &Self) {
        for side in 0..2 {
            for outcome in 0..OUTCOMES {
                self.outcomes[side][outcome] += other.outcomes[side][outcome];
            }
            self.sent[side] += other.sent[side];
            self.origin[side] += other.origin[side];
        }
    }
}

/// The book.
#[derive(Debug, Default)]
pub struct Tally {
    buckets: Vec<Counts>,
    reasons: BTreeMap<(bool, String), u64>,
    latencies_us: Vec<(u64, u32)>,
    /// Attack requests that were due and not sent, as the generator was behind or the attacker still waited.
    pub missed: u64,
    /// Connections of the attack that the server ended.
    pub cut: u64,
    /// Connections that could not be opened.
    pub unconnected: u64,
    /// Attack connections open at the same time, at most.
    pub held_max: u64,
}

/// Replies to people whose time is kept.
const LATENCIES_MAX: usize = 2_000_000;

impl Tally {
    fn bucket(&mut self, at_us: u64) -> &mut Counts {
        let place = usize::try_from(at_us / BUCKET_US).unwrap_or(usize::MAX).min(BUCKETS_MAX - 1);
        if place >= self.buckets.len() {
            self.buckets.resize(place + 1, Counts::default());
        }
        &mut self.buckets[place]
    }

    /// A request was sent.
    pub fn sent(&mut self, side: Side, at_us: u64) {
        self.bucket(at_us).sent[side as usize] += 1;
    }

    /// A request that was sent at `at_us` has ended at `now_us`.
    pub fn ended(&mut self, side: Side, at_us: u64, now_us: u64, outcome: Outcome, reason: Option<&str>) {
        self.bucket(at_us).outcomes[side as usize][outcome as usize] += 1;
        if side == Side::People && outcome == Outcome::Served && self.latencies_us.len() < LATENCIES_MAX {
            let took = u32::try_from(now_us.saturating_sub(at_us)).unwrap_or(u32::MAX);
            self.latencies_us.push((at_us, took));
        }
        if let Some(reason) = reason {
            self.reason(side, reason);
        }
    }

    fn reason(&mut self, side: Side, reason: &str) {
        let key = (side == Side::Attack, reason.to_owned());
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&key) {
            *self.reasons.entry(key).or_default() += 1;
        }
    }

    /// A request reached the origin.
    pub fn at_origin(&mut self, side: Side, at_us: u64) {
        self.bucket(at_us).origin[side as usize] += 1;
    }

    /// Everything from one moment to another, to the bucket.
    #[must_use]
    pub fn between(&self, from_us: u64, to_us: u64) -> Counts {
        let place = |at: u64| usize::try_from(at / BUCKET_US).unwrap_or(usize::MAX).min(self.buckets.len());
        let mut sum = Counts::default();
        for bucket in &self.buckets[place(from_us)..place(to_us).max(place(from_us))] {
            sum.add(bucket);
        }
        sum
    }

    /// The reasons that refusals named, by side.
    pub fn reasons(&self) -> impl Iterator<Item = (Side, &str, u64)> {
        let side = |attack: bool| if attack { Side::Attack } else { Side::People };
        self.reasons.iter().map(move |((attack, reason), count)| (side(*attack), reason.as_str(), *count))
    }

    /// Microseconds that all but 5 % of the replies to people took, of those asked for from one moment to another.
    #[must_use]
    pub fn latency_p95_us(&self, from_us: u64, to_us: u64) -> Option<u32> {
        let within = self.latencies_us.iter().filter(|(at, _)| (from_us..to_us).contains(at));
        let mut times: Vec<u32> = within.map(|(_, took)| *took).collect();
        times.sort_unstable();
        times.get(times.len() * 95 / 100).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKET_US, Outcome, Side, Tally};

    #[test]
    fn outcomes_are_told_apart() {
        assert_eq!(Outcome::of(304, None), Outcome::Served);
        assert_eq!(Outcome::of(403, Some("shield_rule")), Outcome::Blocked);
        assert_eq!(Outcome::of(403, Some("shield_challenge")), Outcome::Challenged);
        assert_eq!(Outcome::of(429, None), Outcome::Limited);
        assert_eq!(Outcome::of(503, Some("origin_limit")), Outcome::Shed);
        assert_eq!(Outcome::of(503, None), Outcome::Failed);
        assert_eq!(Outcome::of(502, None), Outcome::Failed);
        assert_eq!(Outcome::of(0, None), Outcome::Failed);
    }

    #[test]
    fn counts_belong_to_when_a_request_was_sent() {
        let mut tally = Tally::default();
        for at in 0..10 {
            tally.sent(Side::People, at * BUCKET_US);
            tally.ended(Side::People, at * BUCKET_US, at * BUCKET_US + 7, Outcome::Served, None);
        }
        tally.sent(Side::Attack, BUCKET_US);
        // Answered long after: it still counts for the second bucket.
        tally.ended(Side::Attack, BUCKET_US, 9 * BUCKET_US, Outcome::Blocked, Some("shield_rule"));
        tally.at_origin(Side::Attack, BUCKET_US);
        let some = tally.between(BUCKET_US, 3 * BUCKET_US);
        assert_eq!((some.sent(Side::People), some.ended(Side::People)), (2, 2));
        assert_eq!((some.of(Side::Attack, Outcome::Blocked), some.refused(Side::Attack)), (1, 1));
        assert_eq!((some.origin(Side::Attack), some.origin_all()), (1, 1));
        assert_eq!(tally.between(3 * BUCKET_US, u64::MAX).sent(Side::Attack), 0);
        assert_eq!(tally.between(u64::MAX, u64::MAX).sent(Side::People), 0);
        assert_eq!(tally.reasons().collect::<Vec<_>>(), [(Side::Attack, "shield_rule", 1)]);
        assert_eq!(tally.latency_p95_us(0, u64::MAX), Some(7));
    }
}
