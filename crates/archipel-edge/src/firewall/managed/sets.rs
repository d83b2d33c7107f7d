//! The compiled rule sets of a node: zones with the same settings share one, and a configuration that is put in force keeps those
//! that it has in common with the one before.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use archipel_config::{FirewallMode, ManagedRules, NodeConfig, RuleSetName, Snapshot, Zone};
use archipel_waf::{RuleSet, Source};

use super::text;
use crate::rule_files::{self, RuleFilesError};

/// Rule sets by what they were made of.
#[derive(Debug, Default)]
pub(crate) struct RuleSets(Mutex<HashMap<u64, Weak<RuleSet>, foldhash::fast::FixedState>>);

/// The managed rules of a zone, ready for use.
pub(crate) struct LiveManaged {
    pub(crate) set: Arc<RuleSet>,
    pub(crate) settings: ManagedRules,
    /// The mode of the whole firewall, which rules about settings can change for a request.
    pub(super) firewall: FirewallMode,
    /// Whether there are requests whose replies they refuse.
    pub(super) refuses_replies: bool,
}

impl RuleSets {
    /// The managed rules that a zone's settings ask for; nothing where they are off. `mode` is the firewall's. Blocks on files.
    pub(crate) fn managed(
        &self,
        settings: &ManagedRules,
        mode: FirewallMode,
        may_switch: bool,
        node: &NodeConfig,
    ) -> Result<Option<LiveManaged>, RuleFilesError> {
        if settings.mode == FirewallMode::Off || (mode == FirewallMode::Off && !may_switch) {
            return Ok(None);
        }
        let set = self.of(&sources(settings, node)?)?;
        let blocks = settings.mode == FirewallMode::Block && (mode == FirewallMode::Block || may_switch);
        let refuses_replies = settings.response && blocks;
        Ok(Some(LiveManaged { set, settings: settings.clone(), firewall: mode, refuses_replies }))
    }

    fn of(&self, sources: &[Source]) -> Result<Arc<RuleSet>, RuleFilesError> {
        let key = key(sources);
        let mut sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sets.retain(|_, set| set.strong_count() > 0);
        if let Some(set) = sets.get(&key).and_then(Weak::upgrade) {
            return Ok(set);
        }
        let set = Arc::new(rule_files::load(sources)?);
        for warning in set.warnings() {
            tracing::warn!(%warning, "a managed rule has less effect than its file might hope");
        }
        tracing::info!(rules = set.rules(), bytes = set.bytes(), "managed rules are compiled");
        sets.insert(key, Arc::downgrade(&set));
        Ok(set)
    }

    /// What the sets in use take, in the Prometheus text format.
    pub(crate) fn metrics(&self, page: &mut String) {
        let sets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut count, mut rules, mut bytes) = (0, 0, 0);
        for set in sets.values().filter_map(Weak::upgrade) {
            (count, rules, bytes) = (count + 1, rules + set.rules(), bytes + set.bytes());
        }
        for (name, help, value) in [
            ("sets", "Compiled sets of managed rules in use; zones with the same settings share one.", count),
            ("rules", "Rules in them.", rules),
            ("bytes", "Memory that they take, estimated.", bytes),
        ] {
            let _ = writeln!(
                page,
                "# HELP archipel_managed_{name} {help}\n# TYPE archipel_managed_{name} gauge\narchipel_managed_{name} {value}"
            );
        }
    }
}

/// What is wrong with the managed rules of a configuration; they are read and compiled as for use.
pub fn check_managed_rules(snapshot: &Snapshot) -> Vec<String> {
    let sets = RuleSets::default();
    let problem = |zone: &Arc<Zone>| {
        // With `true`, as a rule of the zone might switch on what its document switches off.
        let managed = sets.managed(&zone.firewall.managed, zone.firewall.mode, true, &snapshot.node);
        managed.err().map(|error| format!("zone {}: firewall.managed: {error}", zone.name))
    };
    snapshot.zones.iter().filter_map(problem).collect()
}

fn key(sources: &[Source]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0x7275_6c65).build_hasher();
    for source in sources {
        (&source.name, &source.text).hash(&mut hasher);
    }
    hasher.finish()
}

fn sources(settings: &ManagedRules, node: &NodeConfig) -> Result<Vec<Source>, RuleFilesError> {
    let mut sources = vec![Source { name: "[firewall.managed]".to_owned(), text: text::before(settings).into_bytes() }];
    if let Some(file) = &settings.before_file {
        sources.push(rule_files::source(file)?);
    }
    let has = |set| settings.rules.contains(&set);
    if has(RuleSetName::Crs) {
        sources.extend(rule_files::core_rule_set(node.firewall.crs_dir.as_deref(), &node.state_dir)?);
    }
    if has(RuleSetName::Builtin) {
        let own = archipel_waf::builtin::FILES;
        sources.extend(own.map(|(name, text)| Source { name: format!("builtin/{name}"), text: text.into() }));
    }
    if let Some(file) = &settings.after_file {
        sources.push(rule_files::source(file)?);
    }
    Ok(sources)
}
