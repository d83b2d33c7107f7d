//! One directive of a logical line.

use super::lines::words;
use super::rule::{ActionText, RuleText, TargetText, parse_actions, parse_operator, parse_targets, show};

/// An inclusive range of rule ids.
pub(crate) type IdRange = (u64, u64);

/// Which rules an exclusion or an update means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuleSelector {
    Ids(Vec<IdRange>),
    Tag(Vec<u8>),
    Msg(Vec<u8>),
}

/// A directive as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Directive {
    Rule(Box<RuleText>),
    Action(Vec<ActionText>),
    Marker(Vec<u8>),
    DefaultAction(Vec<ActionText>),
    Remove(RuleSelector),
    UpdateTarget {
        rules: RuleSelector,
        targets: Vec<TargetText>,
        replaced: Option<TargetText>,
    },
    UpdateAction {
        id: u64,
        link: usize,
        actions: Vec<ActionText>,
    },
    Set(Setting),
    Include(String),
    /// Concerns something that this engine does not have (files of its own, a log of its own); its name.
    WithoutEffect(String),
}

/// A setting of the whole rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    Engine(crate::program::Mode),
    RequestBodyAccess(bool),
    RequestBodyBytesMax(usize),
    RequestBodyNoFilesBytesMax(usize),
    RequestBodyRejected(bool),
    RequestBodyJsonDepthMax(usize),
    ResponseBodyAccess(bool),
    ResponseBodyBytesMax(usize),
    ResponseBodyRejected(bool),
    ResponseBodyTypes(Vec<Vec<u8>>),
    ResponseBodyTypesClear,
    ArgumentSeparator(u8),
    ArgumentsMax(usize),
    CollectionTimeoutSeconds(u64),
    ComponentSignature(Vec<u8>),
    ServerSignature(Vec<u8>),
    WebAppId(Vec<u8>),
    SensorId(Vec<u8>),
    UploadFilesMax(usize),
}

/// Directives about what the embedding program does in its own way: audit and debug logs, temporary files, PCRE's limits (a
/// regex here takes linear time), processes.
const WITHOUT_EFFECT: &[&str] = &[
    "secauditengine",
    "secauditlog",
    "secauditlog2",
    "secauditlogdirmode",
    "secauditlogfilemode",
    "secauditlogformat",
    "secauditlogparts",
    "secauditlogrelevantstatus",
    "secauditlogstoragedir",
    "secauditlogtype",
    "seccachetransformations",
    "seccookieformat",
    "secdatadir",
    "secdebuglog",
    "secdebugloglevel",
    "secdisablebackendcompression",
    "secpcrematchlimit",
    "secpcrematchlimitrecursion",
    "secrequestbodyinmemorylimit",
    "secruleinheritance",
    "secruleperftime",
    "secstatusengine",
    "sectmpdir",
    "sectmpsaveuploadedfiles",
    "secunicodemapfile",
    "secuploaddir",
    "secuploadfilemode",
    "secuploadkeepfiles",
    "secxmlexternalentity",
];

/// Directives of ModSecurity that would change decisions and that are not had here.
const REFUSED: &[(&str, &str)] = &[
    ("secconnengine", "connections are shielded elsewhere"),
    ("secconnreadstatelimit", "connections are shielded elsewhere"),
    ("secconnwritestatelimit", "connections are shielded elsewhere"),
    ("seccontentinjection", "responses are not changed here"),
    ("seccookiev0separator", "cookies are read as RFC 6265 has them"),
    ("secchrootdir", "it is the program's business"),
    ("secgeolookupdb", "addresses are located by the embedding program"),
    ("secgsblookupdb", "the service that it asks no longer exists"),
    ("secguardianlog", "there is no guardian"),
    ("sechashengine", "links are not signed here"),
    ("sechashkey", "links are not signed here"),
    ("sechashparam", "links are not signed here"),
    ("sechashmethodrx", "links are not signed here"),
    ("sechashmethodpm", "links are not signed here"),
    ("sechttpblkey", "the engine asks no DNS"),
    ("secinterceptonerror", "a rule over its budget is reported instead"),
    ("secremoterules", "rules are installed, not fetched at start"),
    ("secremoterulesfailaction", "rules are installed, not fetched at start"),
    ("secrulescript", "scripts are not run here"),
    ("secstreaminbodyinspection", "bodies are not changed here"),
    ("secstreamoutbodyinspection", "bodies are not changed here"),
];

pub(super) fn parse(line: &[u8]) -> Result<Directive, String> {
    let words = words(line)?;
    let (name, arguments) = words.split_first().ok_or("an empty directive")?;
    let name = String::from_utf8_lossy(name).into_owned();
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "secrule" => rule(arguments),
        "secaction" => Ok(Directive::Action(parse_actions(one(arguments)?)?)),
        "secdefaultaction" => Ok(Directive::DefaultAction(parse_actions(one(arguments)?)?)),
        "secmarker" => Ok(Directive::Marker(unquote(one(arguments)?).to_vec())),
        "include" => Ok(Directive::Include(text(arguments)?)),
        "secruleremovebyid" => Ok(Directive::Remove(RuleSelector::Ids(parse_id_ranges(&arguments.join(&b' '))?))),
        "secruleremovebytag" => Ok(Directive::Remove(RuleSelector::Tag(one(arguments)?.to_vec()))),
        "secruleremovebymsg" => Ok(Directive::Remove(RuleSelector::Msg(one(arguments)?.to_vec()))),
        "secruleupdatetargetbyid" => update(arguments, |text| Ok(RuleSelector::Ids(parse_id_ranges(text)?))),
        "secruleupdatetargetbytag" => update(arguments, |text| Ok(RuleSelector::Tag(text.to_vec()))),
        "secruleupdatetargetbymsg" => update(arguments, |text| Ok(RuleSelector::Msg(text.to_vec()))),
        "secruleupdateactionbyid" => update_action(arguments),
        _ if WITHOUT_EFFECT.contains(&lower.as_str()) => Ok(Directive::WithoutEffect(name)),
        _ => match REFUSED.iter().find(|(refused, _)| *refused == lower) {
            Some((_, why)) => Err(format!("`{name}` is not supported: {why}")),
            None => super::directive::setting(&lower, arguments)?
                .map(Directive::Set)
                .ok_or_else(|| format!("unknown directive `{name}`")),
        },
    }
}

fn rule(arguments: &[Vec<u8>]) -> Result<Directive, String> {
    let (targets, operator, actions) = match arguments {
        [targets, operator] => (targets, operator, None),
        [targets, operator, actions] => (targets, operator, Some(actions)),
        _ => return Err(format!("a rule has targets, an operator and actions, not {} parts", arguments.len())),
    };
    Ok(Directive::Rule(Box::new(RuleText {
        targets: parse_targets(targets)?,
        operator: parse_operator(operator)?,
        actions: parse_actions(actions.map_or(&b""[..], Vec::as_slice))?,
    })))
}

fn update(arguments: &[Vec<u8>], rules: fn(&[u8]) -> Result<RuleSelector, String>) -> Result<Directive, String> {
    let (which, targets, replaced) = match arguments {
        [which, targets] => (which, targets, None),
        [which, targets, replaced] => (which, targets, Some(replaced)),
        _ => return Err("rules and targets are expected".to_owned()),
    };
    let replaced = match replaced {
        Some(text) => parse_targets(text)?.into_iter().next(),
        None => None,
    };
    Ok(Directive::UpdateTarget { rules: rules(unquote(which))?, targets: parse_targets(targets)?, replaced })
}

fn update_action(arguments: &[Vec<u8>]) -> Result<Directive, String> {
    let [id, actions] = arguments else { return Err("a rule's id and actions are expected".to_owned()) };
    let id = String::from_utf8_lossy(unquote(id)).into_owned();
    let (id, link) = id.split_once(':').unwrap_or((&id, "0"));
    let number = |text: &str| text.trim().parse().map_err(|_| format!("`{text}` is not a number"));
    Ok(Directive::UpdateAction { id: number(id)?, link: number(link)? as usize, actions: parse_actions(actions)? })
}

/// `1 5-7,9`: numbers and ranges, separated by spaces or commas.
pub(crate) fn parse_id_ranges(text: &[u8]) -> Result<Vec<IdRange>, String> {
    let text = String::from_utf8_lossy(text).into_owned();
    let number = |part: &str| part.trim().parse::<u64>().map_err(|_| format!("`{part}` is not the id of a rule"));
    let mut ranges = Vec::new();
    for part in text.split(|c: char| c.is_whitespace() || c == ',' || c == '"' || c == '\'').filter(|p| !p.is_empty()) {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let range = (number(low)?, number(high)?);
        if range.0 > range.1 {
            return Err(format!("`{part}` is an empty range"));
        }
        ranges.push(range);
    }
    if ranges.is_empty() {
        return Err("ids of rules are expected".to_owned());
    }
    Ok(ranges)
}

fn setting(name: &str, arguments: &[Vec<u8>]) -> Result<Option<Setting>, String> {
    use crate::program::Mode;
    Ok(Some(match name {
        "secruleengine" => Setting::Engine(match choice(arguments, &["on", "off", "detectiononly"])? {
            0 => Mode::On,
            1 => Mode::Off,
            _ => Mode::DetectionOnly,
        }),
        "secrequestbodyaccess" => Setting::RequestBodyAccess(switch(arguments)?),
        "secrequestbodylimit" => Setting::RequestBodyBytesMax(number(arguments)?),
        "secrequestbodynofileslimit" => Setting::RequestBodyNoFilesBytesMax(number(arguments)?),
        "secrequestbodylimitaction" => Setting::RequestBodyRejected(rejects(arguments)?),
        "secrequestbodyjsondepthlimit" => Setting::RequestBodyJsonDepthMax(number(arguments)?),
        "secresponsebodyaccess" => Setting::ResponseBodyAccess(switch(arguments)?),
        "secresponsebodylimit" => Setting::ResponseBodyBytesMax(number(arguments)?),
        "secresponsebodylimitaction" => Setting::ResponseBodyRejected(rejects(arguments)?),
        "secresponsebodymimetype" => Setting::ResponseBodyTypes(
            arguments
                .iter()
                .flat_map(|words| words.split(u8::is_ascii_whitespace))
                .filter(|word| !word.is_empty())
                .map(<[u8]>::to_ascii_lowercase)
                .collect(),
        ),
        "secresponsebodymimetypesclear" => Setting::ResponseBodyTypesClear,
        "secargumentseparator" => match unquote(one(arguments)?) {
            [byte] => Setting::ArgumentSeparator(*byte),
            _ => return Err("the separator is one byte".to_owned()),
        },
        "secargumentslimit" => Setting::ArgumentsMax(number(arguments)?),
        "seccollectiontimeout" => Setting::CollectionTimeoutSeconds(number(arguments)? as u64),
        "seccomponentsignature" => Setting::ComponentSignature(one(arguments)?.to_vec()),
        "secserversignature" => Setting::ServerSignature(one(arguments)?.to_vec()),
        "secwebappid" => Setting::WebAppId(one(arguments)?.to_vec()),
        "secsensorid" => Setting::SensorId(one(arguments)?.to_vec()),
        "secuploadfilelimit" => Setting::UploadFilesMax(number(arguments)?),
        _ => return Ok(None),
    }))
}

fn one(arguments: &[Vec<u8>]) -> Result<&[u8], String> {
    match arguments {
        [argument] => Ok(argument),
        _ => Err(format!("one argument is expected, not {}", arguments.len())),
    }
}

fn text(arguments: &[Vec<u8>]) -> Result<String, String> {
    String::from_utf8(one(arguments)?.to_vec()).map_err(|_| "a file's name is UTF-8".to_owned())
}

/// A word in single quotes without them: `SecMarker 'END'`.
fn unquote(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

fn number(arguments: &[Vec<u8>]) -> Result<usize, String> {
    let text = unquote(one(arguments)?);
    str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("`{}` is not a number", show(text)))
}

fn choice(arguments: &[Vec<u8>], words: &[&str]) -> Result<usize, String> {
    let word = String::from_utf8_lossy(unquote(one(arguments)?)).to_ascii_lowercase();
    words.iter().position(|known| *known == word).ok_or_else(|| format!("`{word}` is not one of {}", words.join(", ")))
}

fn switch(arguments: &[Vec<u8>]) -> Result<bool, String> {
    Ok(choice(arguments, &["on", "off"])? == 0)
}

fn rejects(arguments: &[Vec<u8>]) -> Result<bool, String> {
    Ok(choice(arguments, &["reject", "processpartial"])? == 0)
}
