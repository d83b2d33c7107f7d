//! Requests whose rules went over their budget: what is counted, recorded and logged of them, and what is answered.
//!
//! Must never tell a visitor what it was that took so long: whoever tries to get past the rules would learn from it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use archipel_config::{FailPolicy, FirewallMode};
use archipel_waf::Transaction;
use http::StatusCode;

use super::LiveManaged;
use crate::error_page::Failure;
use crate::exchange::Exchange;
use crate::firewall::event::{self, Finding, Source};
use crate::live::LiveZone;

/// The log speaks of budgets so seldom, for each worker: whoever sends one such request can send thousands.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// When the log spoke of budgets last, and how many requests it said nothing of since.
#[derive(Debug, Default)]
pub(super) struct Warnings(Mutex<(Option<Instant>, u64)>);

impl Warnings {
    /// Whether it is time to speak; then also how many requests there were since the last time.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0.is_some_and(|at| now.saturating_duration_since(at) < WARNING_INTERVAL) {
            last.1 += 1;
            return None;
        }
        last.0 = Some(now);
        Some(std::mem::take(&mut last.1))
    }
}

/// Counts, records and logs that rules were stopped. True where the request was not evaluated to its end and is refused for it,
/// unless a rule refuses it.
pub(super) fn settle(
    ex: &mut Exchange,
    zone: &LiveZone,
    managed: &LiveManaged,
    mode: FirewallMode,
    tx: &Transaction,
) -> bool {
    let Some((last, _)) = tx.stopped().last() else { return false };
    let exhausted = tx.is_exhausted();
    for _ in tx.stopped() {
        ex.count("managed_stopped", if exhausted { "budget" } else { "rule" });
    }
    let refused = exhausted && managed.settings.fail == FailPolicy::Closed;
    if exhausted {
        let finding = Finding {
            source: Source::Managed,
            rule: &last.to_string(),
            description: "not evaluated to the end: over firewall.managed.time_max",
            action: if refused { "block" } else { "log" },
            matched: None,
            score: None,
            more: event::More::default(),
        };
        event::record(ex, finding, mode);
    }
    if let Some(unsaid) = ex.worker.managed.warnings.due(Instant::now()) {
        tracing::warn!(
            zone = %zone.zone.name,
            request_id = %String::from_utf8_lossy(&ex.id_text()),
            rules = ?tx.stopped().iter().map(|(rule, _)| rule).collect::<Vec<_>>(),
            whole_budget = exhausted,
            refused = refused && mode == FirewallMode::Block,
            unsaid,
            "managed rules went over their budget and were stopped: exclude the rule for what it need not look at, lower \
             `firewall.managed.request_body_bytes_max`, or raise `firewall.managed.time_max`"
        );
    }
    refused
}

/// What the visitor is told.
pub(super) fn failure() -> Failure {
    let message = "This site could not check this request, and does not let in what it could not check.";
    Failure::refusal(StatusCode::SERVICE_UNAVAILABLE, "managed_budget", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_not_flooded() {
        let (warnings, begun) = (Warnings::default(), Instant::now());
        assert_eq!(warnings.due(begun), Some(0));
        for millis in 0..1_000 {
            assert_eq!(warnings.due(begun + Duration::from_millis(millis)), None);
        }
        assert_eq!(warnings.due(begun + WARNING_INTERVAL), Some(1_000));
        assert_eq!(warnings.due(begun + WARNING_INTERVAL * 2), Some(0));
    }
}
