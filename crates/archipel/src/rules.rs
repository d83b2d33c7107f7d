//! `firewall ...` and `rules ...`: what the firewall did, and what an expression would do.

use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use archipel_config::Snapshot;
use archipel_edge::{ExplainRequest, Node, RuleTest};
use serde::Deserialize;

use crate::cli::{EventsArgs, FirewallCommand, LimitsArgs, RulesCommand, RulesTestArgs};
use crate::commands::{self, control};
use crate::control::{EventsAnswer, EventsCall, LimitsAnswer, LimitsCall};
use crate::curl;
use crate::firewall;
use crate::say;

/// Largest request file in bytes.
const REQUEST_BYTES_MAX: u64 = 16 << 20;

/// `firewall ...`
pub fn firewall(command: &FirewallCommand) -> anyhow::Result<ExitCode> {
    match command {
        FirewallCommand::Events(args) => events(args),
        FirewallCommand::Limits(args) => limits(args),
        FirewallCommand::Suggest(args) => firewall::suggest(args),
    }
}

fn events(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let call = EventsCall { zone: args.zone.clone(), limit: args.limit };
    let answer: EventsAnswer = control(&args.which)?.post("/firewall/events", &call)?;
    if args.which.json {
        say::out(&format!("{:#}\n", answer.events))?;
    } else if answer.lines.is_empty() {
        say::out("the firewall has done nothing that it would remember\n")?;
    } else {
        say::out(&answer.lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn limits(args: &LimitsArgs) -> anyhow::Result<ExitCode> {
    let answer: LimitsAnswer =
        control(&args.which)?.post("/firewall/limits", &LimitsCall { zone: args.zone.clone() })?;
    if args.which.json {
        say::out(&format!("{:#}\n", answer.limits))?;
    } else if answer.lines.is_empty() {
        say::out("there is no rate limit: see docs/rate-limits.md\n")?;
    } else {
        say::out(&answer.lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The rate limits, for the control socket.
pub fn limits_in_force(node: &Node, call: &LimitsCall) -> anyhow::Result<LimitsAnswer> {
    known_zone(node, call.zone.as_deref())?;
    let limits = node.rate_limits(call.zone.as_deref());
    Ok(LimitsAnswer { lines: limits.iter().map(ToString::to_string).collect(), limits: serde_json::to_value(&limits)? })
}

fn known_zone(node: &Node, zone: Option<&str>) -> anyhow::Result<()> {
    match zone {
        Some(zone) if node.snapshot().zone_by_name(zone).is_none() => bail!("there is no zone `{zone}`"),
        _ => Ok(()),
    }
}

/// The firewall's last events, for the control socket.
pub fn last_events(node: &Node, call: &EventsCall) -> anyhow::Result<EventsAnswer> {
    known_zone(node, call.zone.as_deref())?;
    let mut events = node.firewall_events();
    events.retain(|event| call.zone.as_deref().is_none_or(|zone| *event.zone == *zone));
    events.truncate(call.limit);
    Ok(EventsAnswer { lines: events.iter().map(ToString::to_string).collect(), events: serde_json::to_value(&events)? })
}

/// `rules ...`
pub fn rules(command: &RulesCommand) -> anyhow::Result<ExitCode> {
    match command {
        RulesCommand::Fields { json } => fields(*json),
        RulesCommand::Test(args) => match test(args) {
            Ok(code) => Ok(code),
            Err(error) => {
                match error.to_string() {
                    // The language shows its own problems, with the place.
                    shown if shown.starts_with("error[") => eprint!("{shown}"),
                    _ => say::error(&error),
                }
                Ok(ExitCode::from(2))
            }
        },
    }
}

fn fields(json: bool) -> anyhow::Result<ExitCode> {
    if json {
        say::out(&format!("{:#}\n", archipel_edge::rules_reference_json()))?;
    } else {
        say::out(&archipel_edge::rules_reference_text())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn test(args: &RulesTestArgs) -> anyhow::Result<ExitCode> {
    let (mut request, body) = read_request(&args.request)?;
    request.client = args.client.or(request.client);
    let snapshot = match &args.config {
        Some(folder) => commands::load(folder)?.0,
        None => anywhere()?,
    };
    let node = offline(snapshot)?;
    let tested = node.test_rule(&args.expression, args.zone.as_deref(), &request, body);
    let tested: RuleTest = tested.map_err(anyhow::Error::msg)?;
    if args.json {
        say::out(&format!("{:#}\n", serde_json::to_value(&tested)?))?;
    } else {
        say::out(&tested.to_string())?;
    }
    Ok(if tested.holds { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A configuration for expressions that name no list: one zone for every host.
fn anywhere() -> anyhow::Result<Snapshot> {
    let single =
        Snapshot::single_origin("http://127.0.0.1:1", Vec::new()).map_err(|problems| anyhow::anyhow!("{problems}"))?;
    Ok(single.build().map_err(|problems| anyhow::anyhow!("{problems}"))?.0)
}

fn offline(mut snapshot: Snapshot) -> anyhow::Result<std::sync::Arc<Node>> {
    // The log's file and the disk tier are the running node's.
    snapshot.node.log.access = archipel_config::AccessLog::Off;
    snapshot.node.cache.disk.path = None;
    Ok(Node::new(snapshot)?)
}

/// A request as JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonRequest {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default)]
    body: String,
    #[serde(default)]
    client: Option<std::net::IpAddr>,
}

fn get() -> String {
    "GET".to_owned()
}

/// Reads a request file: what it holds, and the body.
fn read_request(path: &Path) -> anyhow::Result<(ExplainRequest, Vec<u8>)> {
    let mut content = Vec::new();
    let shown = path.display();
    if path == Path::new("-") {
        std::io::stdin()
            .take(REQUEST_BYTES_MAX + 1)
            .read_to_end(&mut content)
            .context("standard input cannot be read")?;
    } else {
        let file = std::fs::File::open(path).with_context(|| format!("{shown} cannot be read"))?;
        file.take(REQUEST_BYTES_MAX + 1)
            .read_to_end(&mut content)
            .with_context(|| format!("{shown} cannot be read"))?;
    }
    if content.len() as u64 > REQUEST_BYTES_MAX {
        bail!("{shown} has more than {REQUEST_BYTES_MAX} bytes");
    }
    understand(content).with_context(|| format!("{shown} holds no request"))
}

fn understand(content: Vec<u8>) -> anyhow::Result<(ExplainRequest, Vec<u8>)> {
    if content.trim_ascii_start().starts_with(b"{") {
        let JsonRequest { method, url, headers, body, client } = serde_json::from_slice(&content)?;
        return Ok((ExplainRequest { method, url, headers, client }, body.into_bytes()));
    }
    let (head, body) = split(&content);
    let head = std::str::from_utf8(head).context("the head is not text")?;
    let call = curl::understand(&[head.to_owned()], None)?.call;
    let request = ExplainRequest { method: call.method, url: call.url, headers: call.headers, client: call.client };
    Ok((request, body.to_vec()))
}

/// Head and body, which an empty line keeps apart.
fn split(content: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        if at > 0 && line.trim_ascii().is_empty() {
            return (&content[..at], &content[at + line.len()..]);
        }
        at += line.len();
    }
    (content, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content: &str, url: &str, body: &str) {
        let (request, found) = understand(content.as_bytes().to_vec()).expect(content);
        assert_eq!((&*request.url, &*found), (url, body.as_bytes()), "{content}");
    }

    #[test]
    fn request_files() {
        check("GET /a HTTP/1.1\r\nHost: x.example\r\n\r\n", "http://x.example/a", "");
        check("POST /a HTTP/1.1\nHost: x.example\n\nb=c\n\nd", "http://x.example/a", "b=c\n\nd");
        check("{\"url\": \"https://x.example/\", \"body\": \"é\"}", "https://x.example/", "é");
        assert!(understand(b"{\"url\": 1}".to_vec()).is_err());
        assert!(understand(Vec::new()).is_err());
    }
}
