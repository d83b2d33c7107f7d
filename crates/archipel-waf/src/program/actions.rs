//! Actions of a rule: names resolved, values read.

use crate::seclang::{ActionText, RuleSelector, parse_id_ranges, parse_targets};
use crate::transform::Transformation;

use super::draft::{Drafts, number};
use super::rule::{About, Act, Allow, Change, Ctl, Disruptive, Number, Place, Processor, Removal, SetVar};
use super::text::{Text, TxNames};
use super::variable::Record;
use super::{Mode, targets};

/// Actions that ModSecurity knows and that would do here what nobody wants, or nothing.
const REFUSED: &[(&str, &str)] = &[
    ("append", "responses are not changed here"),
    ("prepend", "responses are not changed here"),
    ("deprecatevar", "use `expirevar`"),
    ("exec", "no programs are run"),
    ("pause", "a delay costs the edge more than the attacker"),
    ("proxy", "requests are routed elsewhere"),
    ("sanitisearg", "values are masked by the zone's settings"),
    ("sanitisematched", "values are masked by the zone's settings"),
    ("sanitisematchedbytes", "values are masked by the zone's settings"),
    ("sanitiserequestheader", "values are masked by the zone's settings"),
    ("sanitiseresponseheader", "values are masked by the zone's settings"),
    ("setenv", "the environment of the program is nobody's business"),
    ("xmlns", "of XML there are only all text and all attributes"),
];

/// Actions that say something about the rule or about an audit log, which the embedding program keeps in its own way.
const WITHOUT_EFFECT: &[&str] = &["id", "phase", "chain", "ver", "maturity", "accuracy", "auditlog", "noauditlog"];

/// What the actions of one link come to.
#[derive(Debug, Default)]
pub(super) struct Actions {
    pub transformations: Vec<Transformation>,
    /// Whether `t:none` occurs: what `SecDefaultAction` would put before does not apply.
    pub none: bool,
    pub multi_match: bool,
    pub captures: bool,
    pub sets: Vec<SetVar>,
    pub acts: Vec<Act>,
    /// Where to skip to, in order with `acts`.
    pub disruptive: Option<Disruptive>,
    pub status: Option<u16>,
    pub logged: Option<bool>,
    pub about: About,
}

/// What resolving actions needs to know.
pub(super) struct Context<'a> {
    pub names: &'a mut TxNames,
    pub drafts: &'a Drafts,
    /// Starters by their position among the rules.
    pub starters: &'a [u32],
    /// Where `skipAfter` of this name leads from this rule; `None`: nowhere.
    pub marker: &'a dyn Fn(&[u8]) -> Option<u32>,
}

impl Actions {
    /// Reads all actions; each error is a sentence.
    pub(super) fn compile(texts: &[ActionText], context: &mut Context<'_>, errors: &mut Vec<String>) -> Self {
        let mut actions = Self::default();
        for text in texts {
            if let Err(error) = actions.add(text, context) {
                errors.push(error);
            }
        }
        actions
    }

    fn add(&mut self, text: &ActionText, context: &mut Context<'_>) -> Result<(), String> {
        let value = text.value.as_deref();
        let name = text.name.as_str();
        match name {
            "log" => self.logged = Some(true),
            "nolog" => self.logged = Some(false),
            "capture" => self.captures = true,
            "multimatch" => self.multi_match = true,
            "pass" => self.disruptive = Some(Disruptive::Pass),
            "deny" => self.disruptive = Some(Disruptive::Deny),
            "drop" => self.disruptive = Some(Disruptive::Drop),
            "block" => self.disruptive = Some(Disruptive::Block),
            "allow" => self.disruptive = Some(Disruptive::Allow(allow(value)?)),
            "redirect" => self.disruptive = Some(Disruptive::Redirect(self::text(name, value, context)?)),
            "status" => self.status = Some(required(name, value).and_then(|v| number(v).ok_or_else(|| bad(name, v)))?),
            "t" => self.transformation(required(name, value)?)?,
            "setvar" => self.sets.push(set_var(required(name, value)?, context.names)?),
            "skip" => {
                self.acts.push(Act::Skip(required(name, value).and_then(|v| number(v).ok_or_else(|| bad(name, v)))?));
            }
            "skipafter" => {
                let marker = required(name, value)?;
                let to = (context.marker)(marker).ok_or_else(|| {
                    format!("there is no SecMarker `{}` after this rule", String::from_utf8_lossy(marker))
                })?;
                self.acts.push(Act::SkipAfter(to));
            }
            "ctl" => self.acts.extend(ctl(required(name, value)?, context)?.map(Act::Ctl)),
            "initcol" => self.acts.push(init(required(name, value)?, context.names)?),
            "setsid" => self.acts.push(Act::Init(Record::Session, self::text(name, value, context)?)),
            "setuid" => self.acts.push(Act::Init(Record::User, self::text(name, value, context)?)),
            "setrsc" => self.acts.push(Act::Init(Record::Resource, self::text(name, value, context)?)),
            "expirevar" => self.acts.push(expire(required(name, value)?, context.names)?),
            _ => return self.describe(name, value, context),
        }
        Ok(())
    }

    fn describe(&mut self, name: &str, value: Option<&[u8]>, context: &mut Context<'_>) -> Result<(), String> {
        match name {
            "msg" => self.about.msg = Some(self::text(name, value, context)?),
            "logdata" => self.about.logdata = Some(self::text(name, value, context)?),
            "severity" => self.about.severity = Some(severity(required(name, value)?)?),
            "rev" => self.about.rev = Some(required(name, value)?.into()),
            "tag" => {
                let mut tags = std::mem::take(&mut self.about.tags).into_vec();
                tags.push(required(name, value)?.into());
                self.about.tags = tags.into();
            }
            _ if WITHOUT_EFFECT.contains(&name) => {}
            _ => {
                return Err(match REFUSED.iter().find(|(refused, _)| *refused == name) {
                    Some((_, why)) => format!("the action `{name}` is not supported: {why}"),
                    None => format!("unknown action `{name}`"),
                });
            }
        }
        Ok(())
    }

    fn transformation(&mut self, name: &[u8]) -> Result<(), String> {
        let name = String::from_utf8_lossy(name);
        match Transformation::from_name(&name) {
            Some(Transformation::None) => {
                self.none = true;
                self.transformations.clear();
            }
            Some(transformation) => self.transformations.push(transformation),
            None => return Err(format!("unknown transformation `{name}`")),
        }
        Ok(())
    }
}

fn required<'a>(name: &str, value: Option<&'a [u8]>) -> Result<&'a [u8], String> {
    value.ok_or_else(|| format!("`{name}` needs a value"))
}

fn bad(name: &str, value: &[u8]) -> String {
    format!("`{}` is no value for `{name}`", String::from_utf8_lossy(value))
}

fn text(name: &str, value: Option<&[u8]>, context: &mut Context<'_>) -> Result<Text, String> {
    Text::parse(required(name, value)?, context.names)
}

fn allow(value: Option<&[u8]>) -> Result<Allow, String> {
    Ok(match value.unwrap_or_default().to_ascii_lowercase().as_slice() {
        b"" => Allow::All,
        b"phase" => Allow::Phase,
        b"request" => Allow::Request,
        other => return Err(bad("allow", other)),
    })
}

fn severity(value: &[u8]) -> Result<u8, String> {
    const NAMES: [&[u8]; 8] = [b"EMERGENCY", b"ALERT", b"CRITICAL", b"ERROR", b"WARNING", b"NOTICE", b"INFO", b"DEBUG"];
    let named = NAMES.iter().position(|name| name.eq_ignore_ascii_case(value)).map(|at| at as u8);
    named.or_else(|| number(value).filter(|&number| number < 8)).ok_or_else(|| bad("severity", value))
}

/// An integer as `std::stoi` reads it: white space, a sign, digits, and whatever follows; 0 where there is none or it is too
/// large.
pub(crate) fn integer(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let end = digits.iter().position(|b| !b.is_ascii_digit()).unwrap_or(digits.len());
    let value = str::from_utf8(&digits[..end]).ok().and_then(|digits| digits.parse::<i64>().ok()).unwrap_or(0);
    let value = if negative { -value } else { value };
    i32::try_from(value).map_or(0, i64::from)
}

/// Whether `text` is what `number` looks like when it is written.
fn is_canonical(text: &[u8], number: i64) -> bool {
    number.to_string().as_bytes() == text
}

pub(super) fn numeric(text: Text) -> Number {
    match text.constant() {
        Some(constant) => Number::Constant(integer(constant)),
        None => Number::Text(text),
    }
}

/// `tx.name`, `ip.name`; the name may have macros.
fn place(text: &[u8], names: &mut TxNames) -> Result<Place, String> {
    let at = text.iter().position(|b| matches!(b, b'.' | b':'));
    let (collection, name) = match at {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => return Err(format!("`{}` is not `collection.name`", String::from_utf8_lossy(text))),
    };
    if name.is_empty() {
        return Err("a name is expected after the collection".to_owned());
    }
    let text = Text::parse(name, names)?;
    if collection.eq_ignore_ascii_case(b"tx") {
        return Ok(match text.constant() {
            Some(name) => Place::Tx(names.number(name)),
            None => Place::TxNamed(text),
        });
    }
    Ok(Place::Record(record(collection)?, text))
}

fn record(name: &[u8]) -> Result<Record, String> {
    Ok(match name.to_ascii_lowercase().as_slice() {
        b"ip" => Record::Ip,
        b"global" => Record::Global,
        b"resource" => Record::Resource,
        b"session" => Record::Session,
        b"user" => Record::User,
        other => return Err(format!("`{}` is not a collection that can be written", String::from_utf8_lossy(other))),
    })
}

fn set_var(text: &[u8], names: &mut TxNames) -> Result<SetVar, String> {
    if let Some(name) = text.strip_prefix(b"!") {
        return Ok(SetVar { place: place(name, names)?, change: Change::Unset });
    }
    let Some(at) = memchr::memchr(b'=', text) else {
        return Ok(SetVar { place: place(text, names)?, change: Change::Number(1) });
    };
    let place = place(text[..at].trim_ascii(), names)?;
    let value = &text[at + 1..];
    let change = match value.split_first() {
        Some((b'+', value)) => Change::Add(numeric(Text::parse(value, names)?)),
        Some((b'-', value)) => Change::Subtract(numeric(Text::parse(value, names)?)),
        _ => {
            let text = Text::parse(value, names)?;
            match text.constant().map(|constant| (constant, integer(constant))) {
                Some((constant, number)) if is_canonical(constant, number) => Change::Number(number),
                _ => Change::Set(text),
            }
        }
    };
    Ok(SetVar { place, change })
}

fn split<'a>(text: &'a [u8], separator: u8, what: &str) -> Result<(&'a [u8], &'a [u8]), String> {
    let at =
        memchr::memchr(separator, text).ok_or_else(|| format!("`{}` is not {what}", String::from_utf8_lossy(text)))?;
    Ok((text[..at].trim_ascii(), text[at + 1..].trim_ascii()))
}

fn init(text: &[u8], names: &mut TxNames) -> Result<Act, String> {
    let (collection, key) = split(text, b'=', "`collection=key`")?;
    Ok(Act::Init(record(collection)?, Text::parse(key, names)?))
}

fn expire(text: &[u8], names: &mut TxNames) -> Result<Act, String> {
    let (place, seconds) = split(text, b'=', "`collection.name=seconds`")?;
    Ok(Act::Expire(self::place(place, names)?, Text::parse(seconds, names)?))
}

/// `None` for what concerns an audit or debug log.
fn ctl(text: &[u8], context: &mut Context<'_>) -> Result<Option<Ctl>, String> {
    let (name, value) = split(text, b'=', "`option=value`")?;
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let selector = |text: &[u8]| match name.as_str() {
        "ruleremovebyid" | "ruleremovetargetbyid" => parse_id_ranges(text).map(RuleSelector::Ids),
        "ruleremovebytag" | "ruleremovetargetbytag" => Ok(RuleSelector::Tag(text.to_vec())),
        _ => Ok(RuleSelector::Msg(text.to_vec())),
    };
    Ok(Some(match name.as_str() {
        "ruleengine" => Ctl::Engine(match value.to_ascii_lowercase().as_slice() {
            b"on" => Mode::On,
            b"off" => Mode::Off,
            b"detectiononly" => Mode::DetectionOnly,
            _ => return Err(bad("ctl:ruleEngine", value)),
        }),
        "requestbodyaccess" => Ctl::RequestBodyAccess(switch(value)?),
        "responsebodyaccess" => Ctl::ResponseBodyAccess(switch(value)?),
        "forcerequestbodyvariable" => Ctl::ForceRequestBodyVariable(switch(value)?),
        "requestbodylimit" => Ctl::RequestBodyBytesMax(number(value).ok_or_else(|| bad(&name, value))?),
        "responsebodylimit" => Ctl::ResponseBodyBytesMax(number(value).ok_or_else(|| bad(&name, value))?),
        "requestbodyprocessor" => Ctl::RequestBodyProcessor(
            Processor::from_name(value).ok_or_else(|| bad("ctl:requestBodyProcessor", value))?,
        ),
        "ruleremovebyid" | "ruleremovebytag" | "ruleremovebymsg" => Ctl::RemoveRules(context.rules(&selector(value)?)),
        "ruleremovetargetbyid" | "ruleremovetargetbytag" | "ruleremovetargetbymsg" => {
            let (rules, target) = split(value, b';', "`rules;target`")?;
            let target = parse_targets(target)?;
            let (variable, key) = targets::exclusion(target.first().ok_or("a target is expected")?)?;
            Ctl::RemoveTarget(Box::new(Removal { rules: context.rules(&selector(rules)?), variable, key }))
        }
        "auditengine" | "auditlogparts" | "debugloglevel" => return Ok(None),
        _ => return Err(format!("unknown option `{name}` of ctl")),
    }))
}

fn switch(value: &[u8]) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_slice() {
        b"on" => Ok(true),
        b"off" => Ok(false),
        _ => Err(format!("`{}` is neither On nor Off", String::from_utf8_lossy(value))),
    }
}

impl Context<'_> {
    /// Starters of the rules that are meant, ascending.
    fn rules(&self, selector: &RuleSelector) -> Box<[u32]> {
        self.drafts.positions(selector).into_iter().map(|at| self.starters[at]).collect()
    }
}
