//! Rules between parsing and compiling: chains put together, exclusions and updates applied.

use std::collections::HashMap;

use crate::seclang::{ActionText, Directive, Error, IdRange, OperatorText, Place, RuleSelector, RuleText, TargetText};

use super::{PHASES, Settings};

/// Links of one chain.
const LINKS_MAX: usize = 64;

/// A rule or link as written.
#[derive(Debug)]
pub(super) struct Link {
    pub place: Place,
    pub targets: Vec<TargetText>,
    /// `None` for `SecAction`.
    pub operator: Option<OperatorText>,
    pub actions: Vec<ActionText>,
}

impl Link {
    pub(super) fn has(&self, name: &str) -> bool {
        self.actions.iter().any(|action| action.name == name)
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.actions.iter().filter(move |action| action.name == name).filter_map(|action| action.value.as_deref())
    }
}

/// A rule with its chain.
#[derive(Debug)]
pub(super) struct Draft {
    pub id: u64,
    /// 0 to 4.
    pub phase: usize,
    /// The starter first.
    pub links: Vec<Link>,
}

impl Draft {
    fn is(&self, selector: &RuleSelector) -> bool {
        match selector {
            RuleSelector::Ids(ranges) => has_id(ranges, self.id),
            RuleSelector::Tag(tag) => self.links[0].values("tag").any(|own| own == tag),
            RuleSelector::Msg(msg) => self.links[0].values("msg").any(|own| own == msg),
        }
    }
}

fn has_id(ranges: &[IdRange], id: u64) -> bool {
    ranges.iter().any(|&(low, high)| (low..=high).contains(&id))
}

/// A rule, or a place to skip to.
#[derive(Debug)]
pub(super) enum Item {
    Rule(Draft),
    Marker(Vec<u8>),
}

/// What the directives come to, before anything is compiled.
#[derive(Debug, Default)]
pub(super) struct Drafts {
    pub items: Vec<Item>,
    pub settings: Settings,
    /// `SecDefaultAction` of each phase.
    pub defaults: [Option<(Place, Vec<ActionText>)>; PHASES],
    pub errors: Vec<Error>,
    pub warnings: Vec<Error>,
    ids: HashMap<u64, Place>,
    /// The chain that waits for its next link.
    open: Option<Draft>,
    later: Vec<(Place, Directive)>,
}

impl Drafts {
    pub(super) fn new(directives: Vec<(Place, Directive)>, errors: Vec<Error>) -> Self {
        let mut drafts = Self { errors, ..Self::default() };
        for (place, directive) in directives {
            drafts.add(place, directive);
        }
        if let Some(open) = drafts.open.take() {
            drafts.errors.push(unfinished(&open));
        }
        for (place, directive) in std::mem::take(&mut drafts.later) {
            drafts.apply(&place, directive);
        }
        drafts
    }

    fn add(&mut self, place: Place, directive: Directive) {
        match directive {
            Directive::Rule(rule) => {
                let RuleText { targets, operator, actions } = *rule;
                self.link(Link { place, targets, operator: Some(operator), actions });
            }
            Directive::Action(actions) => self.link(Link { place, targets: Vec::new(), operator: None, actions }),
            Directive::Marker(name) => self.items.push(Item::Marker(name)),
            Directive::DefaultAction(actions) => self.default_action(place, actions),
            Directive::Set(setting) => self.settings.apply(setting),
            Directive::WithoutEffect(name) => {
                self.warnings.push(place.error(format!("`{name}` has no effect here")));
            }
            later @ (Directive::Remove(_) | Directive::UpdateTarget { .. } | Directive::UpdateAction { .. }) => {
                self.later.push((place, later));
            }
            // Included files stand in the list already.
            Directive::Include(_) => {}
        }
    }

    fn link(&mut self, link: Link) {
        let chained = link.has("chain");
        let draft = match self.open.take() {
            Some(mut draft) => {
                if link.has("id") {
                    self.errors.push(link.place.error("only the first rule of a chain has an id"));
                }
                draft.links.push(link);
                draft
            }
            None => match self.starter(link) {
                Ok(draft) => draft,
                Err(error) => return self.errors.push(error),
            },
        };
        if draft.links.len() > LINKS_MAX {
            let place = &draft.links[0].place;
            self.errors.push(place.error(format!("a chain of more than {LINKS_MAX} rules")));
        } else if chained {
            self.open = Some(draft);
        } else {
            self.items.push(Item::Rule(draft));
        }
    }

    fn starter(&mut self, link: Link) -> Result<Draft, Error> {
        let id = link.values("id").last().ok_or_else(|| link.place.error("a rule without an id"))?;
        let id = number(id).ok_or_else(|| link.place.error("the id of a rule is a number"))?;
        if let Some(other) = self.ids.insert(id, link.place.clone()) {
            let Place { file, line } = other;
            return Err(link.place.error(format!("rule {id} is already in {file}:{line}")));
        }
        let phase = phase(&link.actions).map_err(|message| link.place.error(message))?.unwrap_or(1);
        Ok(Draft { id, phase, links: vec![link] })
    }

    fn default_action(&mut self, place: Place, actions: Vec<ActionText>) {
        let phase = match phase(&actions) {
            Ok(phase) => phase.unwrap_or(1),
            Err(message) => return self.errors.push(place.error(message)),
        };
        if let Some((other, _)) = &self.defaults[phase] {
            let message = format!("the defaults of this phase are already in {}:{}", other.file, other.line);
            self.errors.push(place.error(message));
            return;
        }
        self.defaults[phase] = Some((place, actions));
    }

    fn apply(&mut self, place: &Place, directive: Directive) {
        let mut found = false;
        match directive {
            Directive::Remove(selector) => self.items.retain(|item| match item {
                Item::Rule(draft) => {
                    let is = draft.is(&selector);
                    found |= is;
                    !is
                }
                Item::Marker(_) => true,
            }),
            Directive::UpdateTarget { rules, targets, replaced } => {
                for draft in drafts(&mut self.items).filter(|draft| draft.is(&rules)) {
                    found = true;
                    update_targets(&mut draft.links[0].targets, &targets, replaced.as_ref());
                }
            }
            Directive::UpdateAction { id, link, actions } => {
                for draft in drafts(&mut self.items).filter(|draft| draft.id == id) {
                    if let Some(link) = draft.links.get_mut(link) {
                        found = true;
                        update_actions(&mut link.actions, &actions);
                    }
                }
            }
            _ => {}
        }
        if !found {
            self.warnings.push(place.error("no rule is meant by this"));
        }
    }

    /// Places of the rules that `selector` means, among the rules in order.
    pub(super) fn positions(&self, selector: &RuleSelector) -> Vec<usize> {
        let rules = self.items.iter().filter_map(|item| match item {
            Item::Rule(draft) => Some(draft),
            Item::Marker(_) => None,
        });
        rules.enumerate().filter(|(_, draft)| draft.is(selector)).map(|(at, _)| at).collect()
    }
}

fn drafts(items: &mut [Item]) -> impl Iterator<Item = &mut Draft> {
    items.iter_mut().filter_map(|item| match item {
        Item::Rule(draft) => Some(draft),
        Item::Marker(_) => None,
    })
}

fn unfinished(draft: &Draft) -> Error {
    draft.links[draft.links.len() - 1].place.error("the last rule of a chain says that another one follows")
}

fn update_targets(own: &mut Vec<TargetText>, targets: &[TargetText], replaced: Option<&TargetText>) {
    if let Some(replaced) = replaced {
        own.retain(|target| target != replaced);
    }
    own.extend(targets.iter().filter(|target| target.excluded || !own.contains(target)).cloned().collect::<Vec<_>>());
}

/// Actions that a rule has once: a new one takes the place of the old.
const SINGLE: &[&str] = &["msg", "logdata", "severity", "rev", "ver", "maturity", "accuracy", "status", "phase", "id"];
/// Actions of which a rule has one.
const DISRUPTIVE: &[&str] = &["pass", "deny", "drop", "redirect", "allow", "block", "proxy"];
const LOGGING: &[&str] = &["log", "nolog"];

fn update_actions(own: &mut Vec<ActionText>, actions: &[ActionText]) {
    for action in actions {
        let name = action.name.as_str();
        if SINGLE.contains(&name) {
            own.retain(|old| old.name != name);
        }
        for group in [DISRUPTIVE, LOGGING] {
            if group.contains(&name) {
                own.retain(|old| !group.contains(&old.name.as_str()));
            }
        }
        own.push(action.clone());
    }
}

/// The phase that actions name, 0 to 4.
pub(super) fn phase(actions: &[ActionText]) -> Result<Option<usize>, String> {
    let Some(action) = actions.iter().rev().find(|action| action.name == "phase") else { return Ok(None) };
    let value = action.value.as_deref().unwrap_or_default();
    Ok(Some(match value.to_ascii_lowercase().as_slice() {
        b"1" => 0,
        b"2" | b"request" => 1,
        b"3" => 2,
        b"4" | b"response" => 3,
        b"5" | b"logging" => 4,
        _ => return Err(format!("`{}` is not a phase", String::from_utf8_lossy(value))),
    }))
}

/// A whole decimal number.
pub(super) fn number<N: std::str::FromStr>(text: &[u8]) -> Option<N> {
    str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}
