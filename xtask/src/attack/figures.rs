//! What a run showed: pure functions of the book and of what was read of the server meanwhile.

use std::time::Duration;

use super::addresses::Side;
use super::tally::{BUCKET_US, Counts, Outcome, Tally};

/// Load of the origin, as a multiple of what is usual, up to which an attack is mitigated.
pub const ORIGIN_FACTOR: f64 = 1.5;
/// How long the origin's load has to stay so, in microseconds, for it to count.
const STAYS_US: u64 = 3 * SECOND_US;
/// The beginning of an attack, which is judged by itself, in microseconds.
const FIRST_US: u64 = 10 * SECOND_US;
/// The beginning of a run, in which caches fill and nothing counts as usual, in microseconds.
const FILLS_US: u64 = 20 * SECOND_US;
/// Fewest refusals by which their cost is stated.
const REFUSALS_MIN: u64 = 5_000;
/// A second.
pub const SECOND_US: u64 = 1_000_000;

/// When what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// When the attack begins.
    pub attack_us: u64,
    /// When it is over.
    pub calm_us: u64,
    /// When the run ends at the latest.
    pub end_us: u64,
}

/// What was read of the server at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// When.
    pub at_us: u64,
    /// Processor time so far.
    pub cpu: Duration,
    /// The same of the generator and the origin.
    pub load_cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
    /// Mitigation rules, where the server says.
    pub rules: Option<u64>,
    /// Memory of what finds them, where the server says.
    pub shield_bytes: Option<u64>,
}

/// What a run showed. Shares are in percent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Requests a second that reached the origin before.
    pub origin_usual_rps: f64,
    /// The same during the attack, after mitigation, or all of it.
    pub origin_after_rps: f64,
    /// Seconds until the origin's load was at most 1.5 times the usual, and stayed so; nothing where it never was.
    pub mitigated_s: Option<f64>,
    /// Seconds after that in which it was above again.
    pub relapses_s: f64,
    /// Requests of people that were served, after mitigation.
    pub served_after: f64,
    /// The same over the first ten seconds.
    pub served_first: f64,
    /// The same before the attack.
    pub served_before: f64,
    /// Requests of people that were blocked or limited, from the attack's beginning on.
    pub blocked: f64,
    /// Requests of people that were challenged, from the attack's beginning on.
    pub challenged: f64,
    /// Milliseconds that all but 5 % of the replies to people took, after mitigation.
    pub latency_p95_ms: f64,
    /// Requests of the attack in a second.
    pub attack_rps: f64,
    /// Requests of the attack that were blocked or limited, after mitigation.
    pub attack_blocked: f64,
    /// The same, challenged.
    pub attack_challenged: f64,
    /// The same, that got what they asked for.
    pub attack_passed: f64,
    /// The same, that reached the origin.
    pub attack_at_origin: f64,
    /// Processor time for one refusal, in microseconds, where the attack was mitigated by enough of them.
    pub refusal_cpu_us: Option<f64>,
    /// The server's share of its core during the attack.
    pub cpu_percent: f64,
    /// The generator's and the origin's of theirs: near 100, they are what is measured.
    pub load_percent: f64,
    /// Memory before the attack, in MiB.
    pub memory_before_mib: f64,
    /// Most memory from then on.
    pub memory_peak_mib: f64,
    /// Growth of memory in the second half of the attack.
    pub memory_late_growth_mib: f64,
    /// Most memory of what finds attacks, in MiB, where the server says.
    pub shield_mib: Option<f64>,
    /// Most mitigation rules at a time, where the server says.
    pub rules_max: Option<u64>,
    /// Seconds after the attack until no rule was left, where the server says and there were any.
    pub rules_gone_s: Option<f64>,
    /// Whether there still were rules at the end.
    pub rules_left: bool,
    /// Requests of the attack that were due and not sent, in percent.
    pub missed: f64,
}

#[allow(clippy::cast_precision_loss)]
fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[allow(clippy::cast_precision_loss)]
fn rate(count: u64, us: u64) -> f64 {
    if us == 0 { 0.0 } else { count as f64 * 1e6 / us as f64 }
}

#[allow(clippy::cast_precision_loss)]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[allow(clippy::cast_precision_loss)]
fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Requests of people that were served, of all that ended.
fn served(counts: &Counts) -> f64 {
    percent(counts.of(Side::People, Outcome::Served), counts.ended(Side::People))
}

impl Figures {
    /// Works everything out.
    #[must_use]
    pub fn of(tally: &Tally, phases: Phases, samples: &[Sample]) -> Self {
        let Phases { attack_us, calm_us, .. } = phases;
        let from_us = FILLS_US.min(attack_us / 2);
        let before = tally.between(from_us, attack_us);
        // What creeps in beforehand is no part of what is usual.
        let usual = rate(before.origin(Side::People), attack_us - from_us);
        let mitigated_us = mitigated(tally, phases, usual);
        let after_us = mitigated_us.filter(|us| *us + SECOND_US < calm_us).unwrap_or(attack_us);
        let (during, after) = (tally.between(attack_us, calm_us), tally.between(after_us, calm_us));
        let all = tally.between(attack_us, u64::MAX);
        let refused_people = all.of(Side::People, Outcome::Blocked) + all.of(Side::People, Outcome::Limited);
        let refused = after.of(Side::Attack, Outcome::Blocked) + after.of(Side::Attack, Outcome::Limited);
        let ended = after.ended(Side::Attack);
        let mut figures = Self {
            origin_usual_rps: usual,
            origin_after_rps: rate(after.origin_all(), calm_us - after_us),
            mitigated_s: mitigated_us.map(|us| seconds(us - attack_us)),
            relapses_s: mitigated_us.map_or(0.0, |us| seconds(above(tally, us, calm_us, usual))),
            served_after: served(&after),
            served_first: served(&tally.between(attack_us, calm_us.min(attack_us + FIRST_US))),
            served_before: served(&before),
            blocked: percent(refused_people, all.ended(Side::People)),
            challenged: percent(all.of(Side::People, Outcome::Challenged), all.ended(Side::People)),
            latency_p95_ms: f64::from(tally.latency_p95_us(after_us, calm_us).unwrap_or(0)) / 1e3,
            attack_rps: rate(during.sent(Side::Attack), calm_us - attack_us),
            attack_blocked: percent(refused, ended),
            attack_challenged: percent(after.of(Side::Attack, Outcome::Challenged), ended),
            attack_passed: percent(after.of(Side::Attack, Outcome::Served), ended),
            attack_at_origin: percent(after.origin(Side::Attack), after.sent(Side::Attack)),
            missed: percent(tally.missed, tally.missed + all.sent(Side::Attack)),
            ..Self::default()
        };
        figures.read(tally, phases, samples, after_us);
        figures
    }

    /// What the samples say.
    fn read(&mut self, tally: &Tally, phases: Phases, samples: &[Sample], after_us: u64) {
        let Phases { attack_us, calm_us, .. } = phases;
        let at = |us: u64| samples.iter().rev().find(|sample| sample.at_us <= us);
        let used = |of: fn(&Sample) -> Duration, from: u64, to: u64| {
            let (from, to) = (at(from)?, at(to)?);
            Some((of(to).checked_sub(of(from))?, to.at_us - from.at_us))
        };
        let cpu = |from, to| used(|sample| sample.cpu, from, to);
        let share = |used: Option<(Duration, u64)>| {
            used.filter(|(_, us)| *us > 0).map_or(0.0, |(used, us)| used.as_secs_f64() / seconds(us))
        };
        self.cpu_percent = 100.0 * share(cpu(attack_us, calm_us));
        self.load_percent = 100.0 * share(used(|sample| sample.load_cpu, attack_us, calm_us));
        // What people cost the server without an attack is not the refusals'.
        let usual = share(cpu(FILLS_US.min(attack_us / 2), attack_us));
        let counts = tally.between(after_us, calm_us);
        let refused = counts.refused(Side::Attack);
        if self.mitigated_s.is_some()
            && refused >= REFUSALS_MIN
            && let Some((used, us)) = cpu(after_us, calm_us)
        {
            #[allow(clippy::cast_precision_loss)]
            let cost = (used.as_secs_f64() - usual * seconds(us)).max(0.0) * 1e6 / refused as f64;
            self.refusal_cpu_us = Some(cost);
        }
        let peak = |from: u64, to: u64| {
            let within = samples.iter().filter(|sample| (from..=to).contains(&sample.at_us));
            mib(within.map(|sample| sample.resident_bytes).max().unwrap_or(0))
        };
        self.memory_before_mib = at(attack_us).map_or(0.0, |sample| mib(sample.resident_bytes));
        self.memory_peak_mib = peak(attack_us, u64::MAX);
        let middle = u64::midpoint(attack_us, calm_us);
        self.memory_late_growth_mib = peak(middle, calm_us) - peak(attack_us, middle);
        self.shield_mib = samples.iter().filter_map(|sample| sample.shield_bytes).max().map(mib);
        self.rules_max = samples.iter().filter(|sample| sample.at_us >= attack_us).filter_map(|s| s.rules).max();
        let last = samples.iter().rev().find(|sample| sample.rules.is_some_and(|rules| rules > 0));
        self.rules_left = samples.iter().rev().find_map(|sample| sample.rules).is_some_and(|rules| rules > 0);
        self.rules_gone_s = last.map(|sample| seconds(sample.at_us.saturating_sub(calm_us)));
    }
}

/// The first moment from which the origin's load is at most so many times the usual, and stays so for a while.
fn mitigated(tally: &Tally, phases: Phases, usual: f64) -> Option<u64> {
    let mut at = phases.attack_us;
    while at + STAYS_US <= phases.calm_us {
        // Each second by itself, half a second apart: one that is quiet between two that are not is no success.
        let mut seconds = (at..=at + STAYS_US - SECOND_US).step_by(500_000);
        if seconds.all(|from| load(tally, from, from + SECOND_US) <= ORIGIN_FACTOR * usual) {
            return Some(at);
        }
        at += BUCKET_US;
    }
    None
}

fn load(tally: &Tally, from_us: u64, to_us: u64) -> f64 {
    rate(tally.between(from_us, to_us).origin_all(), to_us.saturating_sub(from_us))
}

/// For how long in all the origin's load was above that again, by the second.
fn above(tally: &Tally, from_us: u64, to_us: u64, usual: f64) -> u64 {
    let seconds = (from_us..to_us.saturating_sub(SECOND_US)).step_by(1_000_000);
    let over = seconds.filter(|from| load(tally, *from, from + SECOND_US) > ORIGIN_FACTOR * usual);
    over.count() as u64 * SECOND_US
}

/// The middle of several values, and the worst of them; what is not there is worse than any.
#[must_use]
pub fn middle_and_worst(values: &[Option<f64>], more_is_worse: bool) -> (Option<f64>, Option<f64>) {
    let worst = if more_is_worse { f64::INFINITY } else { f64::NEG_INFINITY };
    let mut sorted: Vec<f64> = values.iter().map(|value| value.unwrap_or(worst)).collect();
    sorted.sort_by(f64::total_cmp);
    if !more_is_worse {
        sorted.reverse();
    }
    let there = |value: Option<&f64>| value.copied().filter(|value| value.is_finite());
    // Of an even number the worse of the two in the middle.
    (there(sorted.get(sorted.len() / 2)), there(sorted.last()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Figures, Outcome, Phases, SECOND_US, Sample, Side, Tally, middle_and_worst};

    const PHASES: Phases = Phases { attack_us: 40 * SECOND_US, calm_us: 60 * SECOND_US, end_us: 80 * SECOND_US };

    /// 100 requests of people a second, 40 of which reach the origin; and an attack that gets through for `leaks` seconds.
    fn tally(leaks: u64) -> Tally {
        let mut tally = Tally::default();
        for second in 0..80 {
            for number in 0..100 {
                let at = second * SECOND_US + number * 10_000;
                tally.sent(Side::People, at);
                let outcome = if second == 40 && number < 50 { Outcome::Failed } else { Outcome::Served };
                tally.ended(Side::People, at, at + 2_000, outcome, None);
                if number % 5 < 2 {
                    tally.at_origin(Side::People, at);
                }
            }
            if !(40..60).contains(&second) {
                continue;
            }
            for number in 0..1_000 {
                let at = second * SECOND_US + number * 1_000;
                tally.sent(Side::Attack, at);
                let passes = second < 40 + leaks;
                if passes {
                    tally.at_origin(Side::Attack, at);
                }
                tally.ended(Side::Attack, at, at, if passes { Outcome::Served } else { Outcome::Blocked }, None);
            }
        }
        tally
    }

    fn samples() -> Vec<Sample> {
        let sample = |second: u64| Sample {
            at_us: second * SECOND_US,
            // A tenth of a core without the attack, six tenths with it.
            cpu: Duration::from_millis(100 * second + 500 * second.saturating_sub(40).min(20)),
            load_cpu: Duration::from_millis(300 * second),
            resident_bytes: (50 + u64::from(second >= 42) * 4) << 20,
            rules: Some(u64::from((42..75).contains(&second))),
            shield_bytes: second.is_multiple_of(2).then_some(1 << 20),
        };
        (0..80).map(sample).collect()
    }

    #[test]
    fn a_mitigated_attack() {
        let figures = Figures::of(&tally(2), PHASES, &samples());
        assert!((figures.origin_usual_rps - 40.0).abs() < 0.01);
        assert_eq!(figures.mitigated_s, Some(2.0));
        assert!(figures.relapses_s.abs() < f64::EPSILON);
        assert!((figures.served_after - 100.0).abs() < f64::EPSILON);
        assert!((figures.served_first - 95.0).abs() < 0.01, "{}", figures.served_first);
        assert!((figures.attack_blocked - 100.0).abs() < f64::EPSILON && figures.attack_passed.abs() < f64::EPSILON);
        // Half a core for a thousand refusals a second: 500 us each.
        assert!((figures.refusal_cpu_us.expect("a cost") - 500.0).abs() < 1.0);
        assert!((figures.load_percent - 30.0).abs() < 0.01 && (figures.cpu_percent - 60.0).abs() < 0.01);
        assert!((figures.memory_peak_mib - figures.memory_before_mib - 4.0).abs() < f64::EPSILON);
        assert!(figures.memory_late_growth_mib.abs() < f64::EPSILON);
        assert_eq!((figures.rules_max, figures.rules_gone_s, figures.rules_left), (Some(1), Some(14.0), false));
        assert_eq!(figures.shield_mib, Some(1.0));
        assert!((figures.latency_p95_ms - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn an_attack_that_gets_through() {
        let figures = Figures::of(&tally(20), PHASES, &samples());
        assert_eq!(figures.mitigated_s, None);
        assert!((figures.attack_passed - 100.0).abs() < f64::EPSILON);
        assert!((figures.attack_at_origin - 100.0).abs() < f64::EPSILON);
        assert_eq!(figures.refusal_cpu_us, None);
    }

    #[test]
    fn an_attack_that_the_origin_never_sees() {
        assert_eq!(Figures::of(&tally(0), PHASES, &samples()).mitigated_s, Some(0.0));
    }

    #[test]
    fn the_middle_and_the_worst() {
        assert_eq!(middle_and_worst(&[Some(1.0), Some(3.0), Some(2.0)], true), (Some(2.0), Some(3.0)));
        assert_eq!(middle_and_worst(&[Some(1.0), Some(3.0), Some(2.0)], false), (Some(2.0), Some(1.0)));
        assert_eq!(middle_and_worst(&[Some(1.0), None], true), (None, None));
        assert_eq!(middle_and_worst(&[Some(1.0), None, Some(2.0)], true), (Some(2.0), None));
        assert_eq!(middle_and_worst(&[], true), (None, None));
    }
}
