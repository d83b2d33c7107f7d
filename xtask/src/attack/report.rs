//! The tables of medians and worst runs, the line of JSON, and whether the bars hold.

use std::fmt::Write as _;

use serde_json::json;

use super::figures::{Figures, middle_and_worst};
use super::scenario::{Bars, Scenario};
use super::servers::Kind;

/// All runs of one scenario against one server.
#[derive(Debug)]
pub struct Outcome {
    /// The scenario.
    pub scenario: Scenario,
    /// The server.
    pub kind: Kind,
    /// What each run showed.
    pub runs: Vec<Figures>,
}

/// A column: how it is called, its value, its digits, and whether more of it is worse.
struct Column {
    name: &'static str,
    key: &'static str,
    value: fn(&Figures) -> Option<f64>,
    digits: usize,
    more_is_worse: bool,
}

const COLUMNS: [Column; 10] = [
    column("mitigated, s", "mitigated_s", |f| f.mitigated_s, 2, true),
    column("above again, s", "relapses_s", |f| f.mitigated_s.map(|_| f.relapses_s), 0, true),
    column("people served after, %", "served_after", |f| Some(f.served_after), 2, false),
    column("in the first 10 s, %", "served_first", |f| Some(f.served_first), 1, false),
    column("people blocked, %", "blocked", |f| Some(f.blocked), 3, true),
    column("challenged, %", "challenged", |f| Some(f.challenged), 3, true),
    column("attack passed, %", "attack_passed", |f| Some(f.attack_passed), 2, true),
    column("CPU a refusal, us", "refusal_cpu_us", |f| f.refusal_cpu_us, 1, true),
    column("memory peak, MiB", "memory_peak_mib", |f| Some(f.memory_peak_mib), 0, true),
    column("rules gone, s", "rules_gone_s", |f| f.rules_gone_s, 0, true),
];

const fn column(
    name: &'static str,
    key: &'static str,
    value: fn(&Figures) -> Option<f64>,
    digits: usize,
    more_is_worse: bool,
) -> Column {
    Column { name, key, value, digits, more_is_worse }
}

impl Column {
    fn of(&self, runs: &[Figures]) -> (Option<f64>, Option<f64>) {
        let values: Vec<Option<f64>> = runs.iter().map(self.value).collect();
        middle_and_worst(&values, self.more_is_worse)
    }

    /// Middle and worst; a dash for what is not there.
    fn cell(&self, runs: &[Figures]) -> String {
        let (middle, worst) = self.of(runs);
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.*}", self.digits));
        if runs.len() == 1 || (middle.is_none() && worst.is_none()) {
            return shown(middle);
        }
        format!("{} ({})", shown(middle), shown(worst))
    }
}

/// The table of all outcomes.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from("| scenario | server |");
    let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
    let _ = writeln!(text, " {} |", names.join(" | "));
    let _ = writeln!(text, "|---|---|{}", "---|".repeat(COLUMNS.len()));
    for outcome in outcomes {
        let cells: Vec<String> = COLUMNS.iter().map(|column| column.cell(&outcome.runs)).collect();
        let _ = writeln!(text, "| {} | {} | {} |", outcome.scenario.title(), outcome.kind.title(), cells.join(" | "));
    }
    text
}

/// The figures of all outcomes, for programs.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> serde_json::Value {
    let entries = outcomes.iter().map(|outcome| {
        let mut entry = serde_json::Map::new();
        for column in &COLUMNS {
            let (middle, worst) = column.of(&outcome.runs);
            entry.insert(column.key.to_owned(), json!({ "median": rounded(middle), "worst": rounded(worst) }));
        }
        json!({
            "scenario": outcome.scenario.title(), "server": outcome.kind.title(), "runs": outcome.runs.len(), "figures": entry,
        })
    });
    entries.collect()
}

fn rounded(value: Option<f64>) -> Option<f64> {
    value.map(|value| (value * 1e4).round() / 1e4)
}

/// The bars that do not hold.
#[must_use]
pub fn missed(outcome: &Outcome) -> Vec<String> {
    let (bars, runs) = (outcome.scenario.bars(), &outcome.runs);
    let mut missed = Vec::new();
    let mut judge = |what: &str, found: Option<f64>, bar: f64, at_most: bool| {
        let holds = found.is_some_and(|found| if at_most { found <= bar } else { found >= bar });
        if !holds {
            let found = found.map_or("never".to_owned(), |found| format!("{found:.3}"));
            let word = if at_most { "at most" } else { "at least" };
            missed.push(format!("{}: {what} {found}, the bar is {word} {bar}", outcome.scenario.title()));
        }
    };
    let middle = |key: &str| find(key).of(runs).0;
    let worst = |key: &str| find(key).of(runs).1;
    if let Some((usually, always)) = bars.mitigated_s {
        judge("seconds to mitigate, median", middle("mitigated_s"), usually, true);
        judge("seconds to mitigate, worst", worst("mitigated_s"), always, true);
    }
    let Bars { relapses_s, served_after, served_first, blocked, challenged, refusal_cpu_us, .. } = bars;
    for (key, bar, at_most) in [
        ("relapses_s", relapses_s, true),
        ("served_after", served_after, false),
        ("served_first", served_first, false),
        ("blocked", blocked, true),
        ("challenged", challenged, true),
    ] {
        if let Some(bar) = bar {
            judge(find(key).name, worst(key), bar, at_most);
        }
    }
    // Where hardly anything had to be refused there is no cost to judge.
    if let Some(bar) = refusal_cpu_us
        && let Some(found) = worst("refusal_cpu_us")
    {
        judge("CPU a refusal, us,", Some(found), bar, true);
    }
    if let Some(bar) = bars.rules_gone_s {
        let left = runs.iter().any(|run| run.rules_left);
        let gone = runs.iter().filter_map(|run| run.rules_gone_s).fold(0.0, f64::max);
        judge("seconds until the rules were gone", (!left).then_some(gone), bar, true);
    }
    let shield = runs.iter().filter_map(|run| run.shield_mib).fold(0.0, f64::max);
    let growth = runs.iter().map(|run| run.memory_peak_mib - run.memory_before_mib).fold(0.0, f64::max);
    let late = runs.iter().map(|run| run.memory_late_growth_mib).fold(0.0, f64::max);
    for (what, found, bar) in [
        ("memory of the detector, MiB,", shield, bars.shield_mib),
        ("growth of memory, MiB,", growth, bars.growth_mib),
        ("its second half, MiB,", late, bars.late_growth_mib),
    ] {
        if let Some(bar) = bar {
            judge(what, Some(found), bar, true);
        }
    }
    missed
}

fn find(key: &str) -> &'static Column {
    // Keys are literals of this file; an unknown one judges what is there first, and a test knows them all.
    COLUMNS.iter().find(|column| column.key == key).unwrap_or(&COLUMNS[0])
}

/// One run in words, for whoever watches.
#[must_use]
pub fn sentence(figures: &Figures) -> String {
    let mut text = format!(
        "  origin {:.0}/s usually, {:.0}/s after; mitigated {}; above again for {:.0} s\n  people served {:.2} % before, {:.2} % in the first 10 s, {:.2} % after (p95 {:.1} ms); blocked {:.3} %, challenged {:.3} %\n",
        figures.origin_usual_rps,
        figures.origin_after_rps,
        figures.mitigated_s.map_or("never".to_owned(), |seconds| format!("after {seconds:.2} s")),
        figures.relapses_s,
        figures.served_before,
        figures.served_first,
        figures.served_after,
        figures.latency_p95_ms,
        figures.blocked,
        figures.challenged,
    );
    let _ = writeln!(
        text,
        "  attack {:.0}/s ({:.1} % of what was due not sent): blocked {:.2} %, challenged {:.2} %, passed {:.2} %, at the origin {:.2} %",
        figures.attack_rps,
        figures.missed,
        figures.attack_blocked,
        figures.attack_challenged,
        figures.attack_passed,
        figures.attack_at_origin,
    );
    let _ = write!(
        text,
        "  server: {:.0} % of its core (generator and origin: {:.0} % of theirs), {} a refusal; memory {:.0} MiB, at most {:.0} MiB ({:+.1} in the second half), {} MiB of them the detector's; rules {}, gone {}",
        figures.cpu_percent,
        figures.load_percent,
        figures.refusal_cpu_us.map_or("-".to_owned(), |cost| format!("{cost:.1} us")),
        figures.memory_before_mib,
        figures.memory_peak_mib,
        figures.memory_late_growth_mib,
        figures.shield_mib.map_or("unknown".to_owned(), |mib| format!("{mib:.1}")),
        figures.rules_max.map_or("unknown".to_owned(), |rules| rules.to_string()),
        match figures.rules_gone_s {
            _ if figures.rules_left => "never".to_owned(),
            Some(seconds) => format!("after {seconds:.0} s"),
            None => "-".to_owned(),
        },
    );
    text
}

#[cfg(test)]
mod tests {
    use super::{COLUMNS, Figures, Kind, Outcome, Scenario, find, missed, table};

    fn good() -> Figures {
        Figures {
            mitigated_s: Some(1.5),
            served_after: 99.9,
            served_first: 95.0,
            refusal_cpu_us: Some(12.0),
            rules_gone_s: Some(90.0),
            ..Figures::default()
        }
    }

    fn outcome(runs: Vec<Figures>) -> Outcome {
        Outcome { scenario: Scenario::SinglePath, kind: Kind::Archipel, runs }
    }

    #[test]
    fn bars_are_judged() {
        assert_eq!(missed(&outcome(vec![good(), good()])), Vec::<String>::new());
        let judged = |change: fn(&mut Figures)| {
            let mut bad = good();
            change(&mut bad);
            missed(&outcome(vec![good(), bad, good()])).len()
        };
        assert_eq!(judged(|run| run.mitigated_s = Some(3.9)), 0, "one of three may take longer");
        assert_eq!(judged(|run| run.mitigated_s = Some(4.5)), 1);
        assert_eq!(judged(|run| run.mitigated_s = None), 2);
        assert_eq!(judged(|run| run.relapses_s = 5.0), 1);
        assert_eq!(judged(|run| run.served_after = 98.0), 1);
        assert_eq!(judged(|run| run.served_first = 80.0), 1);
        assert_eq!(judged(|run| run.blocked = 0.2), 1);
        assert_eq!(judged(|run| run.challenged = 1.5), 1);
        assert_eq!(judged(|run| run.refusal_cpu_us = Some(26.0)), 1);
        assert_eq!(judged(|run| run.rules_gone_s = Some(121.0)), 1);
        assert_eq!(judged(|run| run.rules_left = true), 1);
        assert_eq!(judged(|run| run.shield_mib = Some(5.1)), 1);
        assert_eq!(judged(|run| run.memory_peak_mib = 900.0), 0, "judged in another scenario");
        let crowd = Outcome {
            scenario: Scenario::FlashCrowd,
            ..outcome(vec![Figures { blocked: 0.001, mitigated_s: None, ..good() }])
        };
        assert_eq!(missed(&crowd).len(), 1);
        let million =
            Outcome { scenario: Scenario::Million, ..outcome(vec![Figures { memory_peak_mib: 65.0, ..good() }]) };
        assert_eq!(missed(&million).len(), 1);
    }

    #[test]
    fn tables_have_all_columns() {
        let text = table(&[outcome(vec![good()]), outcome(vec![good(), Figures::default()])]);
        let widths: Vec<usize> = text.lines().map(|line| line.matches('|').count()).collect();
        assert_eq!(widths, [COLUMNS.len() + 3; 4]);
        assert!(text.contains("| single path | Archipel | 1.50 | 0 | 99.90 |"), "{text}");
        assert!(text.contains("| single path | Archipel | - | - | 0.00 (0.00) |"), "{text}");
        assert!(COLUMNS.iter().all(|column| find(column.key).key == column.key));
    }
}
