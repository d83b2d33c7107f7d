//! Our own engine, in this process.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use archipel_waf::{Budget, Clock, Connection, Files, RuleSet, Scratch, Source, Transaction, Verdict};

use super::Engine;
use super::modsecurity::Outcome;
use super::request::{CLIENT, Request, SERVER};
use super::rules::Rules;

/// The engine with a set of rules.
pub struct Archipel {
    /// The rules.
    pub rules: Arc<RuleSet>,
    clock: Arc<dyn Clock>,
    scratch: Option<Scratch>,
    budget: Budget,
}

struct Real;

impl Clock for Real {
    fn unix_micros(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }
}

/// The data files of a set, by name.
struct Data(HashMap<String, Vec<u8>>);

impl Files for Data {
    fn read(&self, _from: &str, name: &str) -> Result<Vec<u8>, String> {
        self.0.get(name).cloned().ok_or_else(|| format!("no file `{name}`"))
    }
}

impl Archipel {
    /// Loads the rules.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn load(rules: &Rules) -> Result<Self> {
        let source = |(name, text): &(String, Vec<u8>)| Source { name: name.clone(), text: text.clone() };
        let sources: Vec<Source> = rules.sources.iter().map(source).collect();
        let data = Data(rules.data.iter().cloned().collect());
        let set = RuleSet::load(&sources, &data).map_err(|errors| {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow!("the rules do not load:\n{}", errors.join("\n"))
        })?;
        // A debug build is slow enough to use a budget up that a release build never does.
        let budget = Budget { micros_max: 60_000_000, rule_micros_max: 60_000_000, ..Budget::default() };
        Ok(Self { rules: Arc::new(set), clock: Arc::new(Real), scratch: None, budget })
    }

    /// Runs the phases in the order of a proxy, up to the first that stops the transaction, and the logging; tells which
    /// phase that was.
    fn evaluate(&mut self, request: &Request) -> (Transaction, Verdict, u8) {
        let scratch = self.scratch.take().unwrap_or_default();
        let mut transaction = self.rules.transaction(scratch, Arc::clone(&self.clock), self.budget);
        let (verdict, phase) = phases(&mut transaction, request);
        transaction.logging();
        (transaction, verdict, phase)
    }

    /// Runs a transaction for what it costs only.
    pub fn cost(&mut self, request: &Request) {
        let (transaction, ..) = self.evaluate(request);
        self.scratch = Some(transaction.into_scratch());
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or(IpAddr::from([127, 0, 0, 1]))
}

fn phases(transaction: &mut Transaction, request: &Request) -> (Verdict, u8) {
    let connection =
        Connection { client: address(CLIENT), client_port: 40_000, server: address(SERVER), server_port: 80 };
    transaction.connection(&connection);
    transaction.request_line(&request.method, &request.uri, &[b"HTTP/", request.version.as_slice()].concat());
    for (name, value) in &request.headers {
        transaction.request_header(name, value);
    }
    let mut verdict = transaction.request_headers();
    if verdict != Verdict::Continue {
        return (verdict, 1);
    }
    if !request.body.is_empty() {
        let _ = transaction.request_body(&request.body);
    }
    verdict = transaction.request_end();
    let Some(response) = request.response.as_ref().filter(|_| verdict == Verdict::Continue) else {
        return (verdict, 2);
    };
    transaction.response_status(response.status, b"HTTP/1.1");
    for (name, value) in &response.headers {
        transaction.response_header(name, value);
    }
    verdict = transaction.response_headers();
    if verdict != Verdict::Continue {
        return (verdict, 3);
    }
    let _ = transaction.response_body(&response.body);
    (transaction.response_end(), 4)
}

impl Engine for Archipel {
    fn run(&mut self, request: &Request) -> Result<Outcome> {
        let (transaction, verdict, phase) = self.evaluate(request);
        let matched = transaction.matches().map(|found| found.id()).collect();
        let outcome = match verdict {
            Verdict::Continue => Outcome { matched, ..Outcome::default() },
            Verdict::Interrupt(stop) => {
                Outcome { matched, status: stop.status, rule: stop.rule.unwrap_or_default(), phase }
            }
        };
        self.scratch = Some(transaction.into_scratch());
        Ok(outcome)
    }
}
