//! The rule set as it is evaluated: what the parser read, resolved as far as it can be before a request is there.

mod actions;
mod chain;
mod compile;
mod draft;
mod rule;
mod targets;
#[cfg(test)]
mod tests;
mod text;
mod variable;

use std::sync::Arc;

pub(crate) use chain::{Chains, Node};
pub(crate) use rule::*;
pub(crate) use text::{Piece, Reference, Text, TxNames};
pub(crate) use variable::{Origin, RECORDS, Record, RuleField, SCALARS, STORES, Store, TimePart, Variable, scalar};

use crate::operator::{Operator, RxCache};
use crate::prefilter::{Prefilter, Side};
use crate::seclang::{Error, Files, Source};
use crate::transaction::{Budget, Clock, Records, Scratch, Transaction};

/// Phases of the language: request headers, request body, response headers, response body, logging.
pub(crate) const PHASES: usize = 5;

/// What the engine may do (`SecRuleEngine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing is evaluated.
    #[default]
    Off,
    /// Rules are evaluated and recorded, and nothing is interrupted.
    DetectionOnly,
    /// Rules may interrupt.
    On,
}

/// The settings of a rule set, with the values that ModSecurity gives them where a file says nothing.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub mode: Mode,
    pub request_body: bool,
    pub request_body_bytes_max: usize,
    pub request_body_no_files_bytes_max: Option<usize>,
    pub request_body_rejected: bool,
    pub json_depth_max: Option<usize>,
    pub response_body: bool,
    pub response_body_bytes_max: usize,
    pub response_body_rejected: bool,
    /// Lower case; `None` where all are inspected.
    pub response_body_types: Option<Vec<Vec<u8>>>,
    pub argument_separator: u8,
    pub arguments_max: Option<usize>,
    pub upload_files_max: Option<usize>,
    pub collection_timeout_seconds: u64,
    pub web_app_id: Vec<u8>,
    pub signatures: Vec<Vec<u8>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Off,
            request_body: false,
            request_body_bytes_max: 128 << 20,
            request_body_no_files_bytes_max: None,
            request_body_rejected: false,
            json_depth_max: None,
            response_body: false,
            response_body_bytes_max: 512 << 10,
            response_body_rejected: false,
            response_body_types: None,
            argument_separator: b'&',
            arguments_max: None,
            upload_files_max: None,
            collection_timeout_seconds: 3600,
            web_app_id: b"default".to_vec(),
            signatures: Vec::new(),
        }
    }
}

/// A compiled rule set. It is immutable but for its persistent collections, and shared by all transactions.
#[derive(Debug)]
pub struct RuleSet {
    pub(crate) settings: Settings,
    pub(crate) rules: Vec<Rule>,
    /// Starters of each phase, in order.
    pub(crate) phases: [Vec<RuleIndex>; PHASES],
    pub(crate) operators: Vec<Operator>,
    pub(crate) chains: Chains,
    pub(crate) tx_names: TxNames,
    /// What `block` does in each phase.
    pub(crate) defaults: [(Disruptive, Option<u16>); PHASES],
    /// Distinct (target, node) pairs that rules ask the prefilter about.
    pub(crate) probes: Vec<Probe>,
    /// One for the request, one for the response.
    pub(crate) prefilters: [Prefilter; 2],
    pub(crate) records: Records,
    /// Regexes whose text has macros.
    pub(crate) expressions: RxCache,
    /// Scalars that some rule or macro reads, so that the others need not be made.
    pub(crate) reads: Reads,
    warnings: Vec<Error>,
}

/// A target (exclusions apart) seen through a list of transformations.
#[derive(Debug)]
pub(crate) struct Probe {
    pub variable: Variable,
    pub pick: Pick,
    pub node: Node,
    pub side: Side,
}

/// Which costly variables are read at all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Reads {
    pub full_request: bool,
    pub file_contents: bool,
    pub request_body: bool,
}

impl RuleSet {
    /// Compiles the rules in `sources`, read in this order as if they were one file. `files` gives what they include and what
    /// operators read.
    ///
    /// # Errors
    /// All that is wrong, with file and line: an unknown directive, variable, operator, transformation or action, or one that is
    /// not supported (with the reason). Nothing is passed over silently.
    pub fn load(sources: &[Source], files: &dyn Files) -> Result<Self, Vec<Error>> {
        compile::load(sources, files)
    }

    pub(crate) fn prefilter(&self, side: Side) -> &Prefilter {
        &self.prefilters[side as usize]
    }

    /// What is accepted but has less effect here than the file might hope, with file and line.
    #[must_use]
    pub fn warnings(&self) -> &[Error] {
        &self.warnings
    }

    /// How many rules there are, links of chains not counted.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.phases.iter().map(Vec::len).sum()
    }

    /// What the files say that they are (`SecComponentSignature`).
    pub fn signatures(&self) -> impl Iterator<Item = &[u8]> {
        self.settings.signatures.iter().map(Vec::as_slice)
    }

    /// Whether the engine may do anything at all.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// Sets the mode, whatever `SecRuleEngine` says: a zone's own switch.
    pub fn set_mode(&mut self, mode: Mode) {
        self.settings.mode = mode;
    }

    /// An estimate of the bytes that the rule set holds: rules, operators and the prefilter. Regexes also build caches as they
    /// are used, up to a few hundred KiB each for those that search long values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rules = self.rules.iter().map(|rule| size_of::<Rule>() + rule.bytes()).sum::<usize>();
        let operators = self.operators.iter().map(|o| size_of::<Operator>() + o.bytes()).sum::<usize>();
        rules
            + operators
            + self.prefilters.iter().map(Prefilter::bytes).sum::<usize>()
            + self.chains.bytes()
            + self.probes.capacity() * size_of::<Probe>()
    }

    /// Begins a transaction: one request and its response. `scratch` is the memory of an earlier one, or new; `clock` gives the
    /// time for `TIME_*`, `DURATION`, expiry and the budget.
    #[must_use]
    pub fn transaction(self: &Arc<Self>, scratch: Scratch, clock: Arc<dyn Clock>, budget: Budget) -> Transaction {
        Transaction::new(Arc::clone(self), scratch, clock, budget)
    }
}

pub(crate) use compile::integer;

impl Settings {
    fn apply(&mut self, setting: crate::seclang::Setting) {
        use crate::seclang::Setting as S;
        match setting {
            S::Engine(mode) => self.mode = mode,
            S::RequestBodyAccess(on) => self.request_body = on,
            S::RequestBodyBytesMax(max) => self.request_body_bytes_max = max,
            S::RequestBodyNoFilesBytesMax(max) => self.request_body_no_files_bytes_max = Some(max),
            S::RequestBodyRejected(rejected) => self.request_body_rejected = rejected,
            S::RequestBodyJsonDepthMax(max) => self.json_depth_max = Some(max),
            S::ResponseBodyAccess(on) => self.response_body = on,
            S::ResponseBodyBytesMax(max) => self.response_body_bytes_max = max,
            S::ResponseBodyRejected(rejected) => self.response_body_rejected = rejected,
            S::ResponseBodyTypes(types) => self.response_body_types.get_or_insert_default().extend(types),
            S::ResponseBodyTypesClear => self.response_body_types = None,
            S::ArgumentSeparator(byte) => self.argument_separator = byte,
            S::ArgumentsMax(max) => self.arguments_max = Some(max),
            S::CollectionTimeoutSeconds(seconds) => self.collection_timeout_seconds = seconds,
            S::ComponentSignature(signature) | S::ServerSignature(signature) => self.signatures.push(signature),
            S::WebAppId(id) | S::SensorId(id) => self.web_app_id = id,
            S::UploadFilesMax(max) => self.upload_files_max = Some(max),
        }
    }
}
