//! One request and its response, judged phase by phase.

mod act;
mod body;
mod collect;
mod evaluate;
mod expand;
mod feed;
mod guess;
mod record;
mod records;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod tx;
mod values;

use std::net::IpAddr;
use std::sync::Arc;

pub use record::{Match, TARGETS_MAX};
pub(crate) use records::Records;

use crate::program::{Allow, Mode, RuleSet};
use evaluate::Run;
use state::State;

/// The time, as an argument.
pub trait Clock: Send + Sync {
    /// Microseconds since the Unix epoch. It should not go backwards: budgets are measured with it.
    fn unix_micros(&self) -> u64;
}

/// What one transaction may cost. A rule that goes over it is stopped and counted; what rules do to each other's scores goes on,
/// so that what was found before still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Microseconds of evaluation, all phases together.
    pub micros_max: u64,
    /// Microseconds of one rule with its chain.
    pub rule_micros_max: u64,
    /// Bytes that operators may look at and that transformations may write, all rules together.
    pub bytes_max: u64,
    /// Bytes that values may take in memory: names, values and what transformations made of them.
    pub value_bytes_max: usize,
}

impl Default for Budget {
    /// A second; 100 ms a rule; 4 GiB looked at; 64 MiB kept.
    fn default() -> Self {
        Self { micros_max: 1_000_000, rule_micros_max: 100_000, bytes_max: 4 << 30, value_bytes_max: 64 << 20 }
    }
}

/// The connection that a request came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The client's address.
    pub client: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The address that the client connected to.
    pub server: IpAddr,
    /// The port that the client connected to.
    pub server_port: u16,
}

/// What to do with the request or the response after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Stop: a rule or a body limit says so. Further steps say the same.
    Interrupt(Interruption),
}

/// Why a transaction is stopped, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interruption {
    /// The rule; `None` where a body was longer than its limit.
    pub rule: Option<u64>,
    /// Status code of the reply.
    pub status: u16,
    /// What to do.
    pub action: Action,
}

/// How a transaction is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer with the status.
    Deny,
    /// Close the connection.
    Drop,
    /// Answer with the status and this `Location`.
    Redirect(Vec<u8>),
}

/// Bytes of memory that one transaction leaves to the next: what a large request took more is given back.
pub const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// The memory of a transaction, to be used again by the next one.
#[derive(Debug, Default)]
pub struct Scratch(Box<State>);

/// One request and its response. Feed it in this order: [`connection`](Self::connection),
/// [`request_line`](Self::request_line), [`request_header`](Self::request_header) each,
/// [`request_headers`](Self::request_headers), [`request_body`](Self::request_body) each chunk,
/// [`request_end`](Self::request_end); likewise the response; at last [`logging`](Self::logging).
pub struct Transaction {
    rules: Arc<RuleSet>,
    clock: Arc<dyn Clock>,
    state: Box<State>,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("matches", &self.state.matches.len()).finish_non_exhaustive()
    }
}

impl Transaction {
    pub(crate) fn new(rules: Arc<RuleSet>, scratch: Scratch, clock: Arc<dyn Clock>, budget: Budget) -> Self {
        let mut state = scratch.0;
        state.begin(&rules, clock.unix_micros(), budget);
        Self { rules, clock, state }
    }

    /// Switches the prefilter off or on again (it is on): decisions are the same, at a different cost.
    pub fn set_prefilter(&mut self, on: bool) {
        self.state.unfiltered = !on;
    }

    /// Evaluates phase 1. Call it when all header lines were given.
    pub fn request_headers(&mut self) -> Verdict {
        self.phase(0)
    }

    /// Takes a chunk of the request's body.
    pub fn request_body(&mut self, chunk: &[u8]) -> Verdict {
        if self.state.interruption.is_none() && self.state.mode != Mode::Off {
            self.state.request_chunk(&self.rules, chunk);
        }
        self.verdict()
    }

    /// Says that the request's body goes on behind what was given, and that the rest will not be: what was given is parsed as far as
    /// it goes, that it is cut is no error, and `INBOUND_DATA_ERROR` is 1 (`SecRequestBodyLimitAction ProcessPartial`).
    pub fn request_body_truncated(&mut self) {
        self.state.request.truncated = true;
    }

    /// Why not all of the request's body was looked at value by value: `bytes_max` where it was cut, or the limit in
    /// [`BodyLimits`](crate::body::BodyLimits) of whose kind it had more. Known after [`request_end`](Self::request_end).
    #[must_use]
    pub fn left_out(&self) -> Option<&'static str> {
        self.state.left_out()
    }

    /// Says that the request has ended, also where it has no body, and evaluates phase 2.
    pub fn request_end(&mut self) -> Verdict {
        if self.state.interruption.is_none() && self.state.mode != Mode::Off {
            self.state.request_finish(&self.rules);
        }
        self.phase(1)
    }

    /// Evaluates phase 3. Call it when the status and all header lines of the response were given.
    pub fn response_headers(&mut self) -> Verdict {
        self.phase(2)
    }

    /// Whether the response's body is looked at: it is worth feeding. Known after [`response_headers`](Self::response_headers).
    #[must_use]
    pub fn wants_response_body(&self) -> bool {
        self.state.mode != Mode::Off && self.state.wants_response_body(&self.rules)
    }

    /// Takes a chunk of the response's body.
    pub fn response_body(&mut self, chunk: &[u8]) -> Verdict {
        if self.state.interruption.is_none() && self.wants_response_body() {
            self.state.response_chunk(&self.rules, chunk);
        }
        self.verdict()
    }

    /// Says that the response has ended and evaluates phase 4, where the body is looked at.
    pub fn response_end(&mut self) -> Verdict {
        if !self.wants_response_body() {
            return self.verdict();
        }
        if self.state.interruption.is_none() {
            self.state.response_finish();
        }
        self.phase(3)
    }

    /// Evaluates phase 5, also after an interruption. It can no longer interrupt.
    pub fn logging(&mut self) {
        let _ = self.phase(4);
    }

    /// The rules that matched and are to be logged, in order.
    pub fn matches(&self) -> impl ExactSizeIterator<Item = Match<'_>> {
        self.state.matches.iter().map(|matched| Match::new(&self.rules, &self.state, matched))
    }

    /// The rules that were stopped because of the budget, with how often. The last one is followed by no other that is costly
    /// where the whole budget was used up.
    #[must_use]
    pub fn stopped(&self) -> &[(u64, u32)] {
        &self.state.spent.stopped
    }

    /// Whether the whole budget was used up: the fail policy of the zone applies.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.state.spent.exhausted
    }

    /// Why some of the request's arguments, cookies or body could not be read as such (`REQBODY_ERROR`): the name of the limit that was
    /// exceeded, or `malformed`. Known after [`request_end`](Self::request_end). What was not read was looked at as one value.
    #[must_use]
    pub fn request_fault(&self) -> Option<&'static str> {
        self.state.fault
    }

    /// The number that a `TX` variable holds, 0 where it holds none: `blocking_inbound_anomaly_score`.
    #[must_use]
    pub fn tx_number(&self, name: &str) -> i64 {
        self.state.tx_number(&self.rules, name)
    }

    /// Ends the transaction and gives its memory back, at most [`SCRATCH_BYTES_MAX`] of it.
    #[must_use]
    pub fn into_scratch(self) -> Scratch {
        if self.state.memory() > SCRATCH_BYTES_MAX { Scratch::default() } else { Scratch(self.state) }
    }

    fn verdict(&self) -> Verdict {
        match &self.state.interruption {
            Some(interruption) => Verdict::Interrupt(interruption.clone()),
            None => Verdict::Continue,
        }
    }

    fn phase(&mut self, phase: u8) -> Verdict {
        let logging = phase == 4;
        if self.state.mode == Mode::Off || (self.state.interruption.is_some() && !logging) {
            return self.verdict();
        }
        let skipped = match self.state.allowed {
            Some(Allow::All) => !logging,
            Some(Allow::Request) => phase <= 1,
            Some(Allow::Phase) | None => false,
        };
        if !skipped {
            self.state.allowed = None;
            Run::new(&self.rules, &mut self.state, &*self.clock).phase(phase);
        }
        self.verdict()
    }
}
