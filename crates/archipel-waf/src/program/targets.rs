//! Target lists: names resolved, exclusions put where they apply.

use regex_automata::meta::Regex;
use regex_automata::util::syntax;

use crate::seclang::{Selector, TargetText};

use super::rule::{Key, KeyRegex, Pick, Target};
use super::text::TxNames;
use super::variable::{Origin, Store, Variable};

/// Bytes that a compiled regex for names may take.
const NAME_REGEX_BYTES_MAX: usize = 1 << 20;

/// Resolves a rule's target list. The error is a sentence.
pub(super) fn compile(texts: &[TargetText], names: &mut TxNames) -> Result<Box<[Target]>, String> {
    let mut targets: Vec<Target> = Vec::new();
    for text in texts.iter().filter(|text| !text.excluded) {
        let (variable, pick) = pick(text, names)?;
        targets.push(Target { variable, pick, counted: text.counted, excluded: Box::default() });
    }
    for text in texts.iter().filter(|text| text.excluded) {
        let (variable, key) = exclusion(text)?;
        exclude(&mut targets, variable, key);
    }
    Ok(targets.into())
}

fn exclude(targets: &mut Vec<Target>, variable: Variable, key: Option<Key>) {
    let Some(key) = key else {
        targets.retain(|target| target.variable != variable);
        return;
    };
    targets.retain_mut(|target| {
        if target.variable != variable {
            return true;
        }
        if let Pick::Name(name) = &target.pick {
            return !key.matches(name);
        }
        let mut excluded = std::mem::take(&mut target.excluded).into_vec();
        excluded.push(key.clone());
        target.excluded = excluded.into();
        true
    });
}

/// The variable of a target, and what is picked of it.
fn pick(text: &TargetText, names: &mut TxNames) -> Result<(Variable, Pick), String> {
    let variable = variable(text)?;
    let pick = match (&text.selector, variable) {
        (_, Variable::List { store: Store::XmlText | Store::XmlAttributes, .. } | Variable::Rule(_)) => Pick::All,
        (Selector::All, _) => Pick::All,
        (Selector::Name(name), Variable::Tx) => Pick::Tx(names.number(name)),
        (Selector::Name(name), _) => Pick::Name(name.as_slice().into()),
        (Selector::Regex(source), _) => Pick::Regex(Box::new(KeyRegex {
            regex: regex(source)?,
            tx: Box::default(),
            source: source.as_slice().into(),
        })),
    };
    Ok((variable, pick))
}

/// What an exclusion takes out: all of a variable, or what has this name.
pub(super) fn exclusion(text: &TargetText) -> Result<(Variable, Option<Key>), String> {
    let variable = variable(text)?;
    let key = match (&text.selector, variable) {
        (_, Variable::List { store: Store::XmlText | Store::XmlAttributes, .. }) | (Selector::All, _) => None,
        (Selector::Name(name), _) => Some(Key::Name(name.as_slice().into())),
        (Selector::Regex(source), _) => Some(Key::Regex(regex(source)?)),
    };
    Ok((variable, key))
}

fn variable(text: &TargetText) -> Result<Variable, String> {
    if text.variable == "XML" {
        return xml(&text.selector);
    }
    let variable = Variable::from_name(&text.variable)?;
    if let (Variable::Rule(_), Selector::Name(name)) = (variable, &text.selector) {
        return Variable::rule_field(&name.to_ascii_lowercase())
            .ok_or_else(|| format!("a rule has no `{}`", String::from_utf8_lossy(name)));
    }
    if text.selector != Selector::All && !variable.is_collection() {
        return Err(format!("`{}` has no elements", text.variable));
    }
    Ok(variable)
}

fn xml(selector: &Selector) -> Result<Variable, String> {
    let store = match selector {
        Selector::All => Store::XmlText,
        Selector::Name(path) if path == b"/*" => Store::XmlText,
        Selector::Name(path) if path == b"//@*" => Store::XmlAttributes,
        Selector::Name(path) | Selector::Regex(path) => {
            let path = String::from_utf8_lossy(path);
            return Err(format!("of XML there are `/*` (all text) and `//@*` (all attributes), not `{path}`"));
        }
    };
    Ok(Variable::List { store, names: false, origin: Origin::Any })
}

fn regex(source: &[u8]) -> Result<Regex, String> {
    let source = str::from_utf8(source).map_err(|_| "a regex for names is UTF-8".to_owned())?;
    Regex::builder()
        .configure(Regex::config().utf8_empty(false).nfa_size_limit(Some(NAME_REGEX_BYTES_MAX)))
        .syntax(syntax::Config::new().unicode(false).utf8(false).case_insensitive(true))
        .build(source)
        .map_err(|error| format!("the regex for names `{source}`: {error}"))
}
