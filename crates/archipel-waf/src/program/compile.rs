//! From drafts to the program.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::operator::{DataFiles, Kind, Operator, RxCache};
use crate::prefilter::{Prefilter, Side};
use crate::seclang::{self, ERRORS_MAX, Error, Files, OperatorText, Place, Source};
use crate::transaction::Records;

use super::actions::{self, Actions, Context, numeric};
use super::draft::{Draft, Drafts, Item, Link};
use super::text::{Piece, Reference, Text, TxNames};
use super::variable::{Store, Variable, scalar};
use super::{
    Chains, Comparison, Disruptive, Node, OperatorIndex, PHASES, Pick, Probe, Reads, Rule, RuleIndex, RuleSet, Target,
    Test, targets,
};

pub(super) fn load(sources: &[Source], files: &dyn Files) -> Result<RuleSet, Vec<Error>> {
    let (directives, errors) = seclang::parse(sources, files);
    let mut drafts = Drafts::new(directives, errors);
    let errors = std::mem::take(&mut drafts.errors);
    let mut compiler = Compiler::new(&drafts, files, errors);
    compiler.defaults();
    compiler.rules();
    compiler.finish()
}

struct Compiler<'a> {
    drafts: &'a Drafts,
    files: &'a dyn Files,
    errors: Vec<Error>,
    warnings: Vec<Error>,
    names: TxNames,
    chains: Chains,
    rules: Vec<Rule>,
    phases: [Vec<RuleIndex>; PHASES],
    starters: Vec<RuleIndex>,
    markers: HashMap<&'a [u8], Vec<Marker>>,
    /// What `SecDefaultAction` says for each phase.
    defaults: [Actions; PHASES],
    operators: Vec<Operator>,
    operator_indexes: HashMap<(Kind, Vec<u8>, Option<String>), OperatorIndex>,
    probes: Vec<Probe>,
    probe_indexes: HashMap<(String, Node), u32>,
    reads: Reads,
}

/// A marker: its place among the items, and how many rules of each phase stand before it.
#[derive(Debug, Clone, Copy)]
struct Marker {
    item: usize,
    before: [u32; PHASES],
}

impl<'a> Compiler<'a> {
    fn new(drafts: &'a Drafts, files: &'a dyn Files, errors: Vec<Error>) -> Self {
        let mut starters = Vec::new();
        let mut markers: HashMap<&[u8], Vec<Marker>> = HashMap::new();
        let mut before = [0; PHASES];
        let mut next = 0;
        for (item, what) in drafts.items.iter().enumerate() {
            match what {
                Item::Marker(name) => markers.entry(name).or_default().push(Marker { item, before }),
                Item::Rule(draft) => {
                    before[draft.phase] += 1;
                    starters.push(next);
                    next += draft.links.len() as RuleIndex;
                }
            }
        }
        Self {
            drafts,
            files,
            errors,
            warnings: drafts.warnings.clone(),
            names: TxNames::new(),
            chains: Chains::default(),
            rules: Vec::with_capacity(next as usize),
            phases: Default::default(),
            starters,
            markers,
            defaults: Default::default(),
            operators: Vec::new(),
            operator_indexes: HashMap::new(),
            probes: Vec::new(),
            probe_indexes: HashMap::new(),
            reads: Reads::default(),
        }
    }

    fn error(&mut self, place: &Place, message: impl Into<String>) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(place.error(message));
        }
    }

    fn defaults(&mut self) {
        let drafts = self.drafts;
        for (phase, default) in drafts.defaults.iter().enumerate() {
            let Some((place, texts)) = default else { continue };
            let mut errors = Vec::new();
            let none = |_: &[u8]| None;
            let mut context = Context { names: &mut self.names, drafts, starters: &self.starters, marker: &none };
            let actions = Actions::compile(texts, &mut context, &mut errors);
            if matches!(actions.disruptive, Some(Disruptive::Block)) {
                errors.push("`block` means what SecDefaultAction says, and cannot be that".to_owned());
            }
            if !actions.sets.is_empty() || !actions.acts.is_empty() || actions.about.msg.is_some() {
                errors.push("defaults are logging, transformations and what `block` does".to_owned());
            }
            for message in errors {
                self.error(place, message);
            }
            self.defaults[phase] = actions;
        }
    }

    fn rules(&mut self) {
        let drafts = self.drafts;
        for (item, what) in drafts.items.iter().enumerate() {
            let Item::Rule(draft) = what else { continue };
            let starter = self.rules.len() as RuleIndex;
            self.phases[draft.phase].push(starter);
            for (at, link) in draft.links.iter().enumerate() {
                let rule = self.link(draft, link, item, starter, at + 1 < draft.links.len());
                self.rules.push(rule);
            }
        }
    }

    fn link(&mut self, draft: &Draft, link: &'a Link, item: usize, starter: RuleIndex, chained: bool) -> Rule {
        let mut errors = Vec::new();
        let markers = &self.markers;
        let ends = |name: &[u8]| {
            let marker = markers.get(name)?.iter().find(|marker| marker.item > item)?;
            Some(marker.before[draft.phase])
        };
        let mut context =
            Context { names: &mut self.names, drafts: self.drafts, starters: &self.starters, marker: &ends };
        let mut actions = Actions::compile(&link.actions, &mut context, &mut errors);
        let default = &self.defaults[draft.phase];
        if !actions.none {
            actions.transformations.splice(0..0, default.transformations.iter().copied());
        }
        let logged = actions.logged.or(default.logged).unwrap_or(true);
        let status = actions.status.or(default.status);
        let targets = targets::compile(&link.targets, &mut self.names).unwrap_or_else(|error| {
            errors.push(error);
            Box::default()
        });
        let node = self.chains.add(&actions.transformations).unwrap_or_else(|error| {
            errors.push(error);
            0
        });
        let (test, negated) = self.test(link, &mut errors);
        let steps = actions.multi_match.then(|| self.chains.path(node).into_boxed_slice());
        let response = !targets.is_empty() && targets.iter().all(|target| target.variable.is_of_response());
        let side = if response { Side::Response } else { Side::Request };
        let probes = self.probes(&test, negated, (&targets, side), steps.as_deref().unwrap_or(&[node]));
        for message in errors {
            self.error(&link.place, message);
        }
        let cheap = targets.iter().all(|target| target.variable.is_volatile());
        actions.about.file = Some(link.place.file.clone());
        actions.about.line = link.place.line;
        Rule {
            id: draft.id,
            phase: draft.phase as u8,
            test,
            negated,
            targets,
            probes,
            side,
            node,
            steps,
            captures: actions.captures,
            sets: actions.sets.into(),
            acts: actions.acts.into(),
            disruptive: actions.disruptive,
            status,
            logged,
            about: Some(Box::new(actions.about)),
            chained,
            starter,
            cheap,
        }
    }

    fn test(&mut self, link: &Link, errors: &mut Vec<String>) -> (Test, bool) {
        let Some(operator) = &link.operator else { return (Test::Always, false) };
        let test = self.operator(&link.place, operator).unwrap_or_else(|error| {
            errors.push(error);
            Test::Never
        });
        (test, operator.negated)
    }

    fn operator(&mut self, place: &Place, text: &OperatorText) -> Result<Test, String> {
        if text.name.eq_ignore_ascii_case("unconditionalMatch") {
            return Ok(Test::Always);
        }
        if text.name.eq_ignore_ascii_case("noMatch") {
            return Ok(Test::Never);
        }
        if let Some(comparison) = Comparison::from_name(&text.name) {
            return Ok(Test::Number(comparison, numeric(Text::parse(&text.argument, &mut self.names)?)));
        }
        let kind = Kind::from_name(&text.name).ok_or_else(|| format!("unknown operator `@{}`", text.name))?;
        if let (Kind::GeoLookup | Kind::Rbl, Some(why)) = (kind, kind.refusal()) {
            if text.negated {
                return Err(format!("`!@{}` would always match: {why}", kind.name()));
            }
            // Debian's rule set has them, in rules that are off until somebody sets them up.
            self.warnings.push(place.error(format!("`@{}` never matches: {why}", kind.name())));
            return Ok(Test::Never);
        }
        if (kind.is_cheap() || kind == Kind::Rx) && memchr::memmem::find(&text.argument, b"%{").is_some() {
            let argument = Text::parse(&text.argument, &mut self.names)?;
            if argument.constant().is_none() {
                return Ok(Test::Dynamic(kind, argument));
            }
        }
        // Files are relative to the file that names them.
        let reads = matches!(kind, Kind::PmFromFile | Kind::IpMatchFromFile);
        let from = reads.then(|| place.file.to_string());
        let key = (kind, text.argument.clone(), from);
        if let Some(&index) = self.operator_indexes.get(&key) {
            return Ok(Test::Operator(index));
        }
        let files = Beside { files: self.files, from: &place.file };
        let operator = Operator::compile_kind(kind, &text.argument, &files).map_err(|error| error.to_string())?;
        let index = self.operators.len() as OperatorIndex;
        self.operators.push(operator);
        self.operator_indexes.insert(key, index);
        Ok(Test::Operator(index))
    }

    /// The probes of a rule that the prefilter can judge.
    fn probes(
        &mut self,
        test: &Test,
        negated: bool,
        (targets, side): (&[Target], Side),
        nodes: &[Node],
    ) -> Option<Box<[u32]>> {
        let Test::Operator(operator) = test else { return None };
        if negated || self.operators[*operator as usize].requirement().is_none() {
            return None;
        }
        if targets.iter().any(|target| target.counted || target.variable.is_volatile()) {
            return None;
        }
        let mut probes = Vec::new();
        for target in targets {
            for &node in nodes {
                probes.push(self.probe(target, node, side));
            }
        }
        Some(probes.into())
    }

    fn probe(&mut self, target: &Target, node: Node, side: Side) -> u32 {
        let pick = match &target.pick {
            Pick::Regex(regex) => format!("/{}", regex.source.escape_ascii()),
            Pick::Name(name) => format!(":{}", name.to_ascii_lowercase().escape_ascii()),
            Pick::All | Pick::Tx(_) => String::new(),
        };
        let key = (format!("{side:?}{:?}{pick}", target.variable), node);
        if let Some(&probe) = self.probe_indexes.get(&key) {
            return probe;
        }
        let probe = self.probes.len() as u32;
        self.probes.push(Probe { variable: target.variable, pick: target.pick.clone(), node, side });
        self.probe_indexes.insert(key, probe);
        probe
    }

    fn finish(mut self) -> Result<RuleSet, Vec<Error>> {
        if !self.errors.is_empty() {
            return Err(self.errors);
        }
        self.number_names();
        self.note_reads();
        let defaults = self.defaults.map(|actions| (actions.disruptive.unwrap_or(Disruptive::Pass), actions.status));
        let prefilters = [Side::Request, Side::Response].map(|side| {
            let mut filtered = vec![false; self.operators.len()];
            for rule in self.rules.iter().filter(|rule| rule.side == side && rule.probes.is_some()) {
                if let Test::Operator(operator) = rule.test {
                    filtered[operator as usize] = true;
                }
            }
            Prefilter::new(&self.operators, &filtered)
        });
        let records = Records::new(self.drafts.settings.collection_timeout_seconds);
        Ok(RuleSet {
            settings: self.drafts.settings.clone(),
            rules: self.rules,
            phases: self.phases,
            operators: self.operators,
            chains: self.chains,
            tx_names: self.names,
            defaults,
            probes: self.probes,
            prefilters,
            records,
            expressions: RxCache::new(),
            reads: self.reads,
            warnings: self.warnings,
        })
    }

    /// The numbered names that each regex for `TX` finds.
    fn number_names(&mut self) {
        let names = &self.names;
        let targets = self.rules.iter_mut().flat_map(|rule| rule.targets.iter_mut());
        for target in targets.filter(|target| target.variable == Variable::Tx) {
            if let Pick::Regex(regex) = &mut target.pick {
                let found = (0..names.len() as u32).filter(|&number| regex.regex.is_match(names.name(number)));
                regex.tx = found.collect();
            }
        }
    }

    fn note_reads(&mut self) {
        let mut read = Vec::new();
        for rule in &self.rules {
            read.extend(rule.targets.iter().map(|target| target.variable));
            let about = rule.about.iter().flat_map(|about| about.msg.iter().chain(&about.logdata));
            let texts = about.chain(rule.sets.iter().flat_map(texts));
            for piece in texts.flat_map(|text| text.pieces.iter()) {
                if let Piece::Macro(Reference::Variable(variable) | Reference::Element(variable, _)) = piece {
                    read.push(*variable);
                }
            }
        }
        let scalar = |place| read.contains(&Variable::Scalar(place));
        self.reads = Reads {
            full_request: scalar(scalar::FULL_REQUEST) || scalar(scalar::FULL_REQUEST_LENGTH),
            file_contents: read.iter().any(|v| matches!(v, Variable::List { store: Store::FileContents, .. })),
            request_body: scalar(scalar::REQUEST_BODY) || scalar(scalar::FULL_REQUEST),
        };
    }
}

fn texts(set: &super::SetVar) -> impl Iterator<Item = &Text> {
    use super::{Change, Number};
    match &set.change {
        Change::Set(text) | Change::Add(Number::Text(text)) | Change::Subtract(Number::Text(text)) => Some(text),
        _ => None,
    }
    .into_iter()
}

/// The files that operators read, seen from one rule file.
struct Beside<'a> {
    files: &'a dyn Files,
    from: &'a str,
}

impl DataFiles for Beside<'_> {
    fn read(&self, name: &str) -> Result<Cow<'_, [u8]>, String> {
        self.files.read(self.from, name).map(Cow::Owned)
    }
}

pub(crate) use actions::integer;
