//! The directives that a zone's settings come to: what stands before the rule sets, and what is said of them.
//!
//! Everything that an operator wrote and that gets in here was checked to mean nothing else in this language.

use std::fmt::Write as _;

use archipel_config::{ManagedExclusion, ManagedRules, RuleSetName};
use archipel_waf::builtin;

/// The first number of the directives written here: below 100,000, which ModSecurity leaves to the operator, and above what people
/// use.
const FIRST_NUMBER: usize = 98_000;

/// The parsers of bodies, and what is refused because it could not be parsed: what ModSecurity's recommended configuration has.
const PARSERS: &str = r#"
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\+|/)|text/)xml" \
    "id:98900,phase:1,pass,nolog,t:none,t:lowercase,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/(?:[a-z0-9.-]+\+)?json" \
    "id:98901,phase:1,pass,nolog,t:none,t:lowercase,ctl:requestBodyProcessor=JSON"
SecRule REQBODY_ERROR "!@eq 0" \
    "id:98902,phase:2,deny,status:400,log,t:none,tag:'archipel/parser',severity:CRITICAL,\
    msg:'The arguments or the body cannot be read: %{REQBODY_ERROR_MSG}'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" \
    "id:98903,phase:2,deny,status:400,log,t:none,tag:'archipel/parser',severity:CRITICAL,\
    msg:'A multipart body that parsers read in different ways'"
SecRule MULTIPART_UNMATCHED_BOUNDARY "@eq 1" \
    "id:98904,phase:2,deny,status:400,log,t:none,tag:'archipel/parser',severity:CRITICAL,\
    msg:'A multipart body with a line that may be a boundary'"
"#;

/// The rules that refuse what could not be read.
const STRICT: &str = "98902-98904";

/// What comes before the rule sets.
pub(super) fn before(rules: &ManagedRules) -> String {
    let mut text = String::new();
    let on = |yes: bool| if yes { "On" } else { "Off" };
    // What a verdict leads to is decided outside, so that one compiled set serves both modes.
    line(&mut text, format_args!("SecRuleEngine On"));
    line(&mut text, format_args!("SecArgumentsLimit {}", rules.arguments_max));
    line(&mut text, format_args!("SecRequestBodyAccess {}", on(rules.request_body_bytes_max > 0)));
    // What is fed is cut before: the engine's own limits are one byte above, so that they never decide.
    let limit = rules.request_body_bytes_max + 1;
    line(&mut text, format_args!("SecRequestBodyLimit {limit}\nSecRequestBodyNoFilesLimit {limit}"));
    line(&mut text, format_args!("SecRequestBodyLimitAction ProcessPartial"));
    let reply_bodies = rules.response && rules.response_body_bytes_max > 0;
    line(&mut text, format_args!("SecResponseBodyAccess {}", on(reply_bodies)));
    line(&mut text, format_args!("SecResponseBodyMimeType text/plain text/html text/xml application/json"));
    line(&mut text, format_args!("SecResponseBodyLimit {}", rules.response_body_bytes_max + 1));
    line(&mut text, format_args!("SecResponseBodyLimitAction ProcessPartial"));
    text.push_str(PARSERS);
    settings(&mut text, rules);
    for (at, exclusion) in rules.exclusions.iter().enumerate() {
        exclude(&mut text, FIRST_NUMBER + 1 + at, exclusion, rules.rules.contains(&RuleSetName::Builtin));
    }
    text
}

/// What the Core Rule Set calls the settings, in version 4 and, where it differs, in version 3. It takes what is set already.
fn settings(text: &mut String, rules: &ManagedRules) {
    let level = rules.paranoia_level;
    let _ = writeln!(
        text,
        "SecAction \"id:{FIRST_NUMBER},phase:1,pass,nolog,t:none,\
         setvar:tx.blocking_paranoia_level={level},setvar:tx.detection_paranoia_level={level},\
         setvar:tx.paranoia_level={level},setvar:tx.executing_paranoia_level={level},\
         setvar:tx.inbound_anomaly_score_threshold={},setvar:tx.outbound_anomaly_score_threshold={},\
         setvar:tx.archipel_score_max={},setvar:tx.sampling_percentage=100\"",
        rules.inbound_threshold, rules.outbound_threshold, rules.inbound_threshold
    );
}

/// One exclusion. Without rules and tags it is about all rules. What is excluded of the request is excluded of the copies, too, that the
/// built-in rules keep of it.
fn exclude(text: &mut String, number: usize, exclusion: &ManagedExclusion, builtin: bool) {
    let of = exclusion.target.as_ref();
    let copies = of.filter(|_| builtin).and_then(|of| builtin::copies(of.collection, of.member.as_deref()));
    let targets: Vec<String> = of.map(ToString::to_string).into_iter().chain(copies).collect();
    let mut actions = String::new();
    let mut add = |what: &str, which: &str| {
        if targets.is_empty() {
            let _ = write!(actions, ",ctl:ruleRemoveBy{what}={which}");
        }
        for target in &targets {
            let _ = write!(actions, ",ctl:ruleRemoveTargetBy{what}={which};{target}");
        }
    };
    for range in exclusion.rules.iter().flatten() {
        add("Id", &range.to_string());
    }
    for tag in exclusion.tags.iter().flatten() {
        add("Tag", tag);
    }
    if exclusion.rules.is_none() && exclusion.tags.is_none() {
        // Those that write here are not excluded, as it is they who exclude; but those that refuse are.
        add("Id", "100000-999999999");
        if targets.is_empty() {
            add("Id", STRICT);
        }
    }
    let _ = match &exclusion.path {
        Some(path) => writeln!(
            text,
            "SecRule REQUEST_FILENAME \"@rx (?s)^{}$\" \"id:{number},phase:1,pass,nolog,t:none{actions}\"",
            pattern(path)
        ),
        None => writeln!(text, "SecAction \"id:{number},phase:1,pass,nolog,t:none{actions}\""),
    };
}

/// A path in which `*` stands for anything, as a regular expression that can stand between quotes. The rules see paths decoded; no
/// pattern has a `+`, which a query would read as a space.
fn pattern(path: &str) -> String {
    let mut regex = String::new();
    for (at, piece) in path.split('*').enumerate() {
        if at > 0 {
            regex.push_str(".*");
        }
        literal(&archipel_http::query::decode(piece.as_bytes()), &mut regex);
    }
    regex
}

fn literal(text: &[u8], regex: &mut String) {
    for byte in text {
        match *byte {
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-') => regex.push(char::from(byte)),
            byte => drop(write!(regex, "\\x{byte:02x}")),
        }
    }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{arguments}");
}
