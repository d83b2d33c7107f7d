//! `shield ...`: what the attack detector sees and does, and the operator's word on its rules.

use std::process::ExitCode;

use anyhow::bail;
use archipel_edge::{Decide, DecideError, Node, RuleStatus, ShieldStatus, ZoneShieldStatus};

use crate::cli::{ShieldCommand, ShieldRuleArgs, ShieldStatusArgs};
use crate::commands::control;
use crate::control::{ShieldAnswer, ShieldCall, ShieldDecideCall};
use crate::say;

/// `shield ...`
pub fn run(command: &ShieldCommand) -> anyhow::Result<ExitCode> {
    match command {
        ShieldCommand::Status(args) => status(args),
        ShieldCommand::Pin(args) => decide(args, Decide::Pin),
        ShieldCommand::Relax(args) => decide(args, Decide::Relax),
        ShieldCommand::Veto(args) => decide(args, Decide::Veto),
    }
}

fn status(args: &ShieldStatusArgs) -> anyhow::Result<ExitCode> {
    let call = ShieldCall { zone: args.zone.clone() };
    show(&control(&args.which)?.post("/shield/status", &call)?, args.which.json)
}

fn decide(args: &ShieldRuleArgs, decide: Decide) -> anyhow::Result<ExitCode> {
    let call = ShieldDecideCall { rule: args.rule.clone(), decide };
    show(&control(&args.which)?.post("/shield/decide", &call)?, args.which.json)
}

fn show(answer: &ShieldAnswer, json: bool) -> anyhow::Result<ExitCode> {
    match json {
        true => say::out(&format!("{:#}\n", answer.status))?,
        false => say::out(&answer.text)?,
    }
    if let Some(problem) = &answer.problem {
        eprintln!("warning: in force, but a restart of the node would forget it: {problem}");
    }
    Ok(ExitCode::SUCCESS)
}

/// What the shield sees, for the control socket.
pub fn answer(node: &Node, call: &ShieldCall) -> anyhow::Result<ShieldAnswer> {
    let mut status = node.shield_status();
    if let Some(zone) = &call.zone {
        if node.snapshot().zone_by_name(zone).is_none() {
            bail!("there is no zone `{zone}`");
        }
        status.zones.retain(|of| *of.zone == **zone);
    }
    Ok(ShieldAnswer { text: text(&status), status: serde_json::to_value(&status)?, problem: None })
}

/// The operator's word on a rule, for the control socket.
pub fn decided(node: &Node, call: &ShieldDecideCall) -> Result<ShieldAnswer, DecideError> {
    let (rule, problem) = node.decide_rule(&call.rule, call.decide)?;
    Ok(ShieldAnswer { text: rule_text(&rule), status: serde_json::to_value(&rule).unwrap_or_default(), problem })
}

fn text(status: &ShieldStatus) -> String {
    let mut text = format!(
        "{:<20} {:<12} {:<12} {:>10} {:>10} {:>10} {:>9} {:>6}\n",
        "ZONE", "MODE", "STATE", "REQUESTS/S", "HELD OFF/S", "USUAL/S", "CACHE HIT", "RULES"
    );
    for zone in &status.zones {
        text.push_str(&zone_line(zone));
    }
    if status.zones.is_empty() {
        return "no zone has a shield: its mode is \"off\" everywhere\n".to_owned();
    }
    for rule in status.zones.iter().flat_map(|zone| &zone.rules) {
        text.push('\n');
        text.push_str(&rule_text(rule));
    }
    let (bytes, max) = (say::bytes(status.bytes as u64), say::bytes(status.bytes_max as u64));
    text.push_str(&format!("\nmemory {bytes} of {max}, processors {} % in use\n", status.cpu_percent));
    text
}

fn zone_line(zone: &ZoneShieldStatus) -> String {
    let usual = match zone.usual_rps {
        Some(rps) if zone.ready => format!("{rps:.0}"),
        // Told apart from "nothing is usual".
        _ => "learning".to_owned(),
    };
    let state = match zone.alarm {
        Some(alarm) => format!("{} ({alarm})", zone.state),
        None => zone.state.to_owned(),
    };
    format!(
        "{:<20} {:<12} {:<12} {:>10.0} {:>10.0} {usual:>10} {:>7.0} % {:>6}\n",
        zone.zone,
        zone.mode,
        state,
        zone.rps,
        zone.held_rps,
        zone.hit_ratio * 100.0,
        zone.rules.len(),
    )
}

fn rule_text(rule: &RuleStatus) -> String {
    let (matched, addresses) = (say::thousands(rule.matched), say::thousands(rule.addresses));
    let example = if rule.example.is_empty() { String::new() } else { format!(", such as {}", rule.example) };
    format!(
        "{} ({}): {}.\n  {matched} requests from about {addresses} addresses so far{example}\n",
        rule.rule, rule.status, rule.text
    )
}
