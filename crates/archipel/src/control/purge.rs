//! Purging as the control socket and the admin listener offer it: the same call, the same answers.
//!
//! Must never purge a part of what a call names: a caller could not tell which.

use archipel_edge::{Node, PURGE_RECORDS_MAX, PURGES_PER_CALL_MAX, Purge, PurgesSinceReport};
use http::StatusCode;

use super::{PurgeAnswer, PurgeCall};
use crate::say;

/// A refused call: its status and what to do.
pub type Refused = (StatusCode, String);

impl PurgeCall {
    fn purges(&self) -> Vec<Purge> {
        let urls = self.urls.iter().map(|url| Purge::Url(url.clone()));
        let hosts = self.hosts.iter().map(|host| Purge::Host(host.clone()));
        let prefixes = self.prefixes.iter().map(|prefix| Purge::Prefix(prefix.clone()));
        let zones = self.zones.iter().map(|zone| Purge::Zone(zone.clone()));
        let tags = self.tags.iter().map(|call| Purge::Tag { zone: call.zone.clone(), tag: call.tag.clone() });
        let everything = self.everything.then_some(Purge::Everything);
        urls.chain(hosts).chain(prefixes).chain(zones).chain(tags).chain(everything).collect()
    }
}

/// Purges, and waits until that is on the disk. Blocks.
///
/// # Errors
/// What names nothing, and why; nothing is purged then.
pub fn purge(node: &Node, call: &PurgeCall) -> Result<PurgeAnswer, Refused> {
    let what = call.purges();
    if what.is_empty() {
        let message = "nothing to purge is named: urls, hosts, prefixes, zones, tags or everything";
        return Err((StatusCode::BAD_REQUEST, message.to_owned()));
    }
    if what.len() > PURGES_PER_CALL_MAX {
        let message = format!("more than {PURGES_PER_CALL_MAX} purges in one call; make several");
        return Err((StatusCode::BAD_REQUEST, message));
    }
    let made = node.purge(&what, call.soft).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|(purge, error)| format!("{purge}: {error}")).collect();
        (StatusCode::UNPROCESSABLE_ENTITY, lines.join("\n  "))
    })?;
    let word = if call.soft { "made stale" } else { "purged" };
    let lines = what.iter().zip(&made.reports).map(|(purge, report)| match purge {
        // Groups are purged by a mark that counts at once, and emptied later.
        Purge::Url(_) if report.objects > 1 => {
            format!("{word} {purge} ({} variants in memory)", say::thousands(report.objects as u64))
        }
        Purge::Url(_) if report.objects == 0 => format!("{word} {purge} (nothing in memory)"),
        _ => format!("{word} {purge}"),
    });
    Ok(PurgeAnswer {
        sequence: made.sequence(),
        objects: made.objects(),
        durable: made.not_durable.is_none(),
        lines: lines.collect(),
        problem: made.not_durable,
    })
}

/// Purges since a number: `since=N`, and perhaps `limit=M`.
///
/// # Errors
/// 400 for a query that is not understood, 410 where some of the purges are known no more.
pub fn since(node: &Node, query: &str) -> Result<PurgesSinceReport, Refused> {
    let (mut after, mut limit) = (None, PURGE_RECORDS_MAX);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        let number = value.parse::<u64>().ok();
        match (name, number) {
            ("since", Some(number)) => after = Some(number),
            ("limit", Some(number)) => limit = usize::try_from(number).unwrap_or(limit).min(PURGE_RECORDS_MAX),
            _ => return Err((StatusCode::BAD_REQUEST, format!("`{name}={value}` is not understood"))),
        }
    }
    let Some(after) = after else {
        let message = "after which number? /purges?since=N, N being the last sequence that is known";
        return Err((StatusCode::BAD_REQUEST, message.to_owned()));
    };
    node.purges_since(after, limit).map_err(|lost| (StatusCode::GONE, lost.to_string()))
}
