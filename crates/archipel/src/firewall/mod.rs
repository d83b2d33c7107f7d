//! `firewall suggest`: what managed rules found, as exclusions.

mod suggest;

use std::process::ExitCode;

use anyhow::Context as _;
use archipel_config::Target;
use serde_json::Value;

use crate::cli::SuggestArgs;
use crate::commands::control;
use crate::control::{EventsAnswer, EventsCall};
use crate::say;
use suggest::Seen;

/// `firewall suggest`
pub fn suggest(args: &SuggestArgs) -> anyhow::Result<ExitCode> {
    let call = EventsCall { zone: args.zone.clone(), limit: usize::MAX };
    let answer: EventsAnswer = control(&args.which)?.post("/firewall/events", &call)?;
    let events = answer.events.as_array().context("the node answers with something else than events")?;
    let events: Vec<&Value> = events.iter().filter(|event| event["source"] == "managed").collect();
    let seen: Vec<Seen> = events.iter().flat_map(|event| understand(event)).collect();
    let unlisted = events.iter().any(|event| event["unlisted"].as_u64().is_some_and(|more| more > 0));
    let suggestions = suggest::suggest(&seen, args.visitors_min);
    if args.which.json {
        say::out(&format!("{:#}\n", serde_json::to_value(&suggestions)?))?;
    } else if suggestions.is_empty() {
        let visitors = args.visitors_min;
        say::out(&format!(
            "# nothing to suggest: {} events of managed rules, none set off by {visitors} visitors alike\n",
            events.len()
        ))?;
    } else {
        say::out(&suggest::to_toml(&suggestions))?;
        if unlisted {
            say::out(
                "\n# some requests set off more rules than their events name: put these in force, and ask again\n",
            )?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that an event says was found.
fn understand(event: &Value) -> Vec<Seen> {
    let further = event["further"].as_array().into_iter().flatten();
    std::iter::once(event).chain(further).flat_map(|finding| found(event, finding)).collect()
}

/// A finding of a request, once for each thing that an exclusion has to name.
fn found(event: &Value, finding: &Value) -> Vec<Seen> {
    let text = |of: &Value, name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let names: Vec<&str> = finding["targets"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    // What rules keep for themselves is no finding but what becomes of some.
    if names.is_empty() && text(finding, "field").trim_start_matches('&').starts_with("TX:") {
        return Vec::new();
    }
    // Where something of it cannot be named, the whole rule is what can be excluded.
    let nameable = finding["targets_cut"] != true && names.iter().all(|name| Target::parse(name).is_ok());
    let targets: Vec<Option<&str>> =
        if nameable && !names.is_empty() { names.into_iter().map(Some).collect() } else { vec![None] };
    let seen = |target: Option<&str>| Seen {
        zone: text(event, "zone"),
        rule: text(finding, "rule"),
        description: text(finding, "description"),
        target: target.map(str::to_owned),
        path: text(event, "path"),
        client: text(event, "client"),
        request: text(event, "request_id"),
    };
    targets.into_iter().map(seen).collect()
}
