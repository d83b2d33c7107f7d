//! Managed rules in the pipeline: built-in rules and the OWASP Core Rule Set, evaluated after the custom rules, and on replies as
//! they come from the origin.
//!
//! Owns what of an exchange the engine is fed, and what its verdicts become. Must never decide what is an attack.

mod budget;
mod reply;
mod sets;
mod text;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use archipel_config::{FirewallMode, LongerBodies, Skip};
use archipel_transport::message::Reply;
use archipel_transport::origin::OriginError;
use archipel_waf::transaction::Action;
use archipel_waf::{Budget, Clock, Connection, Interruption, Match, Scratch, Transaction, Verdict};
use http::header::HOST;
use http::{HeaderValue, StatusCode, Version};

pub(crate) use reply::{inspect, inspect_anew, settle};
pub use sets::check_managed_rules;
pub(crate) use sets::{LiveManaged, RuleSets};

use super::event::{self, Finding, Further, More, Source, Targets};
use super::reply::{MANAGED, denied};
use crate::error_page::{self, Failure};
use crate::exchange::Exchange;
use crate::live::LiveZone;

/// Most events that one exchange leaves; what else was found stands in the last of them.
const EVENTS_MAX: usize = 8;

/// Findings of one exchange that are told at all; of those over them, how many there were.
const FINDINGS_MAX: usize = 64;

/// Where the score of a request stands: in the Core Rule Set of version 4, of version 3, and in the built-in rules.
const INBOUND: [&str; 3] = ["blocking_inbound_anomaly_score", "anomaly_score", "archipel_score"];
/// Where the score of a reply stands.
const OUTBOUND: [&str; 3] = ["blocking_outbound_anomaly_score", "outbound_anomaly_score", "archipel_score"];

/// Scratch memory that a worker keeps for transactions to come.
const SCRATCH_MAX: usize = 32;

/// What a worker keeps for managed rules.
pub(crate) struct ManagedWorker {
    clock: Arc<WallClock>,
    scratch: Mutex<Vec<Scratch>>,
    warnings: budget::Warnings,
}

impl Default for ManagedWorker {
    fn default() -> Self {
        Self { clock: Arc::new(WallClock::new()), scratch: Mutex::default(), warnings: budget::Warnings::default() }
    }
}

impl ManagedWorker {
    fn take(&self) -> Scratch {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, scratch: Scratch) {
        let mut kept = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < SCRATCH_MAX {
            kept.push(scratch);
        }
    }
}

/// The wall clock, which does not go backwards within a process.
struct WallClock {
    unix_micros: u64,
    begun: Instant,
}

impl WallClock {
    fn new() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { unix_micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX), begun: Instant::now() }
    }
}

impl Clock for WallClock {
    fn unix_micros(&self) -> u64 {
        self.unix_micros.saturating_add(u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX))
    }
}

/// A request that was evaluated and whose reply is to be.
pub(crate) struct Pending(Box<Transaction>);

/// Evaluates the managed rules of the zone. Breaks with their reply.
pub(super) async fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    // Asked by reference, so that a zone without them pays a branch.
    let Some(zone) = ex.zone.as_ref().filter(|zone| zone.managed.is_some()).cloned() else {
        return ControlFlow::Continue(());
    };
    let Some(managed) = &zone.managed else { return ControlFlow::Continue(()) };
    if ex.skips(Skip::Managed) {
        ex.note("firewall", "skipped", || "the managed rules are passed over".to_owned());
        return ControlFlow::Continue(());
    }
    let Some(mode) = mode(ex, managed) else { return ControlFlow::Continue(()) };
    if !sampled(managed.settings.sampling_percent) {
        reply::unjudged(ex, managed, "managed_sampling");
        return ControlFlow::Continue(());
    }
    // Boxed, so that an exchange of another zone does not carry the room for it.
    Box::pin(evaluate(ex, &zone, managed, mode)).await
}

/// What is to be done; nothing where the firewall is off for this request.
fn mode(ex: &Exchange, managed: &LiveManaged) -> Option<FirewallMode> {
    match (ex.overrides().firewall_mode.unwrap_or(managed.firewall), managed.settings.mode) {
        (FirewallMode::Off, _) | (_, FirewallMode::Off) => None,
        (FirewallMode::Log, _) | (_, FirewallMode::Log) => Some(FirewallMode::Log),
        _ => Some(FirewallMode::Block),
    }
}

fn sampled(percent: u32) -> bool {
    percent >= 100 || crate::node::random() % 100 < u64::from(percent)
}

/// Evaluates what is known of a request that nobody sent: all but its body.
pub(crate) fn explain(ex: &mut Exchange) -> ControlFlow<Reply> {
    let Some(zone) = ex.zone.clone() else { return ControlFlow::Continue(()) };
    let Some(managed) = zone.managed.as_deref().filter(|_| !ex.skips(Skip::Managed)) else {
        return ControlFlow::Continue(());
    };
    let Some(mode) = mode(ex, managed) else { return ControlFlow::Continue(()) };
    let mut tx = begin(ex, managed);
    let mut verdict = tx.request_headers();
    if verdict == Verdict::Continue {
        verdict = tx.request_end();
    }
    conclude(ex, &zone, (managed, mode), tx, verdict, INBOUND)
}

async fn evaluate(ex: &mut Exchange, zone: &LiveZone, managed: &LiveManaged, mode: FirewallMode) -> ControlFlow<Reply> {
    let mut tx = begin(ex, managed);
    let mut verdict = tx.request_headers();
    if verdict == Verdict::Continue {
        feed_body(ex, managed, mode, &mut tx).await?;
        verdict = tx.request_end();
        if let Some(limit) = tx.left_out() {
            ex.count("managed_left_out", limit);
            if verdict == Verdict::Continue && refuses_longer(managed, mode) {
                let message = format!("The request body holds more than the firewall looks at here ({limit}).");
                let failure = Failure::refusal(StatusCode::PAYLOAD_TOO_LARGE, "managed_body_values_max", message);
                conclude(ex, zone, (managed, mode), tx, verdict, INBOUND)?;
                return ControlFlow::Break(error_page::reply(ex, &failure));
            }
        }
    }
    if verdict == Verdict::Continue && managed.settings.response && !tx.is_exhausted() {
        ex.managed = Some(Pending(Box::new(tx)));
        return ControlFlow::Continue(());
    }
    // Where it is let in nevertheless, nothing judges its reply.
    if verdict == Verdict::Continue {
        reply::unjudged(ex, managed, "managed_budget");
    } else if mode != FirewallMode::Block {
        reply::unjudged(ex, managed, "managed_refused");
    }
    conclude(ex, zone, (managed, mode), tx, verdict, INBOUND)
}

/// A transaction that was told of the request's head.
fn begin(ex: &Exchange, managed: &LiveManaged) -> Transaction {
    let time = u64::try_from(managed.settings.time_max.as_micros()).unwrap_or(u64::MAX);
    let budget = Budget { micros_max: time, rule_micros_max: time, ..Budget::default() };
    let worker = &ex.worker.managed;
    let mut tx = managed.set.transaction(worker.take(), worker.clock.clone(), budget);
    let unknown = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let (peer, local) = ex.conn.as_ref().map_or((unknown, unknown), |conn| (conn.client, conn.local));
    let client_port = if peer.ip() == ex.client { peer.port() } else { 0 };
    let connection =
        Connection { client: ex.client, client_port, server: local.ip().to_canonical(), server_port: local.port() };
    tx.connection(&connection);
    tx.unique_id(&ex.id_text());
    let asked = &ex.asked;
    tx.request_line(asked.method.as_str().as_bytes(), asked.visitor_target().as_bytes(), version(asked.version));
    if !asked.headers.contains_key(HOST) {
        // HTTP/2 has it in a pseudo-header (RFC 9113 section 8.3.1).
        tx.request_header(b"host", asked.authority.as_bytes());
    }
    for (name, value) in &asked.headers {
        tx.request_header(name.as_str().as_bytes(), value.as_bytes());
    }
    tx
}

fn version(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_3 => b"HTTP/3.0",
        _ => b"HTTP/1.1",
    }
}

/// Whether what cannot be looked at to its end is refused for that.
fn refuses_longer(managed: &LiveManaged, mode: FirewallMode) -> bool {
    managed.settings.longer_bodies == LongerBodies::Refuse && mode == FirewallMode::Block
}

/// Reads the beginning of the body. Breaks where it cannot be read to an end, or is longer than the zone wants bodies to be.
async fn feed_body(
    ex: &mut Exchange,
    managed: &LiveManaged,
    mode: FirewallMode,
    tx: &mut Transaction,
) -> ControlFlow<Reply> {
    let bytes_max = managed.settings.request_body_bytes_max;
    if bytes_max == 0 || ex.asked.body.is_empty() || ex.asked.upgrade.is_some() {
        return ControlFlow::Continue(());
    }
    let refused = |ex: &mut Exchange, failure: &Failure| ControlFlow::Break(error_page::reply(ex, failure));
    match ex.asked.body.peek(bytes_max).await {
        Ok(peeked) if peeked.truncated && refuses_longer(managed, mode) => {
            let message =
                format!("The request body is larger than the {bytes_max} bytes that the firewall looks at here.");
            let failure = Failure::refusal(StatusCode::PAYLOAD_TOO_LARGE, "managed_body_bytes_max", message);
            refused(ex, &failure)
        }
        Ok(peeked) => {
            let _ = tx.request_body(&peeked.content);
            if peeked.truncated {
                tx.request_body_truncated();
            }
            ControlFlow::Continue(())
        }
        Err(error) => refused(ex, &Failure::origin(&OriginError::RequestBody(error))),
    }
}

/// Records what was found, and makes the reply where there is to be one.
fn conclude(
    ex: &mut Exchange,
    zone: &LiveZone,
    (managed, mode): (&LiveManaged, FirewallMode),
    mut tx: Transaction,
    verdict: Verdict,
    scores: [&str; 3],
) -> ControlFlow<Reply> {
    tx.logging();
    let score = scores.iter().filter_map(|name| u32::try_from(tx.tx_number(name)).ok()).max().unwrap_or_default();
    let interruption = match verdict {
        Verdict::Interrupt(interruption) => Some(interruption),
        Verdict::Continue => None,
    };
    record(ex, &tx, mode, interruption.as_ref(), score);
    if let Some(fault) = tx.request_fault() {
        ex.count("managed_unread", fault);
    }
    let over_budget = budget::settle(ex, zone, managed, mode, &tx);
    ex.worker.managed.give_back(tx.into_scratch());
    if mode != FirewallMode::Block {
        return ControlFlow::Continue(());
    }
    match interruption {
        Some(interruption) => ControlFlow::Break(answer(ex, &interruption)),
        None if over_budget => ControlFlow::Break(error_page::reply(ex, &budget::failure())),
        None => ControlFlow::Continue(()),
    }
}

fn record(ex: &mut Exchange, tx: &Transaction, mode: FirewallMode, interruption: Option<&Interruption>, score: u32) {
    let action = if interruption.is_some() { "block" } else { "log" };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let targets = |matched: &Match<'_>| Targets::new(matched.targets(), !matched.has_all_targets());
    let last = tx.matches().len().min(EVENTS_MAX);
    for (at, matched) in tx.matches().enumerate().take(EVENTS_MAX) {
        let (id, field, description) = (matched.id().to_string(), text(matched.variable()), text(matched.message()));
        let value = event::masked(&field, matched.value());
        let further = |matched: Match<'_>| {
            let (field, description) = (text(matched.variable()), text(matched.message()));
            Further::new(matched.id().to_string(), &description, &field, targets(&matched))
        };
        let rest = if at + 1 == last { FINDINGS_MAX } else { 0 };
        let finding = Finding {
            source: Source::Managed,
            rule: &id,
            description: &description,
            action,
            matched: Some((&field, value)),
            score: Some(score),
            more: More {
                targets: targets(&matched),
                further: tx.matches().take(rest).skip(EVENTS_MAX).map(further).collect(),
                unlisted: if rest == 0 { 0 } else { tx.matches().len().saturating_sub(FINDINGS_MAX) },
            },
        };
        event::record(ex, finding, mode);
    }
}

fn answer(ex: &mut Exchange, interruption: &Interruption) -> Reply {
    ex.decided().rule = interruption.rule.map(|rule| rule.to_string().into());
    let status = StatusCode::from_u16(interruption.status).unwrap_or(StatusCode::FORBIDDEN);
    if let Action::Redirect(to) = &interruption.action
        && let Ok(location) = HeaderValue::from_bytes(to)
    {
        ex.reason = Some(MANAGED);
        let mut reply = Reply::new(if status.is_redirection() { status } else { StatusCode::FOUND });
        reply.headers_mut().insert(http::header::LOCATION, location);
        return reply;
    }
    let status = if status.is_client_error() || status.is_server_error() { status } else { StatusCode::FORBIDDEN };
    let failure = denied(status, MANAGED, "The rules of this site do not let this request in.");
    let mut reply = error_page::reply(ex, &failure);
    reply.close |= interruption.action == Action::Drop;
    reply
}
