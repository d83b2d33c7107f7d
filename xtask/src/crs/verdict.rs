//! Whether a stage went as it must.

use std::fmt::Write as _;

use anyhow::Result;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use super::engine::Logged;
use super::front_end;
use super::suite::Output;

/// What was seen of a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The front end's reply, where the stage asks for it.
    pub reply: Option<Vec<u8>>,
    /// What the rules logged; `None` where only the front end was asked.
    pub log: Option<Vec<Logged>>,
}

/// What is wrong, one sentence each.
///
/// # Errors
/// A pattern that is no regular expression.
pub fn judge(expected: &Output, seen: &Seen) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    if let Some(reply) = &seen.reply {
        judge_reply(expected, reply, &mut wrong)?;
    }
    if let Some(log) = &seen.log {
        judge_log(expected, log, &mut wrong)?;
    }
    Ok(wrong)
}

fn judge_reply(expected: &Output, reply: &[u8], wrong: &mut Vec<String>) -> Result<()> {
    let status = front_end::status(reply);
    // go-ftw calls it an error when no sound reply comes; a refusal by the front end is the sound form of that.
    if expected.fails && !matches!(status, None | Some(400)) {
        wrong.push(format!("expected no reply or a refusal, got {status:?}"));
    }
    if let Some(wanted) = expected.status
        && status != Some(wanted)
    {
        wrong
            .push(format!("expected status {wanted}, got {}", status.map_or("no reply".to_owned(), |s| s.to_string())));
    }
    if let Some(pattern) = &expected.response_contains
        && !regex(pattern)?.is_match(reply)
    {
        wrong.push(format!("the reply does not match `{pattern}`"));
    }
    Ok(())
}

fn judge_log(expected: &Output, log: &[Logged], wrong: &mut Vec<String>) -> Result<()> {
    let has = |id: &u64| log.iter().any(|logged| logged.id == *id);
    for id in expected.expect_ids.iter().filter(|id| !has(id)) {
        wrong.push(format!("{id} did not match"));
    }
    for id in expected.no_expect_ids.iter().filter(|id| has(id)) {
        wrong.push(format!("{id} matched"));
    }
    let matches = |pattern: &String| -> Result<bool> {
        let pattern = regex(pattern)?;
        Ok(log.iter().any(|logged| pattern.is_match(&logged.line)))
    };
    if let Some(pattern) = &expected.match_regex
        && !matches(pattern)?
    {
        wrong.push(format!("no line matches `{pattern}`"));
    }
    if let Some(pattern) = &expected.no_match_regex
        && matches(pattern)?
    {
        wrong.push(format!("a line matches `{pattern}`"));
    }
    if expected.is_isolated {
        let mut ids: Vec<u64> = log.iter().map(|logged| logged.id).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.len() != 1 {
            wrong.push("more than the one rule matched".to_owned());
        }
    }
    Ok(())
}

fn regex(pattern: &str) -> Result<Regex> {
    let builder = Regex::builder().syntax(syntax::Config::new().unicode(false).utf8(false)).build(pattern)?;
    Ok(builder)
}

/// What is printed of a stage that went wrong.
#[must_use]
pub fn show(wrong: &[String], seen: &Seen) -> String {
    let mut text = format!("    {}\n", wrong.join("; "));
    if let Some(log) = &seen.log {
        let ids: Vec<String> = log.iter().map(|logged| logged.id.to_string()).collect();
        let _ = writeln!(text, "    matched: {}", if ids.is_empty() { "nothing".to_owned() } else { ids.join(" ") });
    }
    text
}
