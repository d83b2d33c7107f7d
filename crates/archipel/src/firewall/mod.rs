//! `firewall suggest`: what managed rules found, as exclusions.

mod suggest;

use std::process::ExitCode;

use anyhow::Context as _;

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
    let seen: Vec<Seen> = events.iter().filter(|event| event["source"] == "managed").map(understand).collect();
    let suggestions = suggest::suggest(&seen, args.visitors_min);
    if args.which.json {
        say::out(&format!("{:#}\n", serde_json::to_value(&suggestions)?))?;
    } else if suggestions.is_empty() {
        let visitors = args.visitors_min;
        say::out(&format!(
            "# nothing to suggest: {} events of managed rules, none set off by {visitors} visitors alike\n",
            seen.len()
        ))?;
    } else {
        say::out(&suggest::to_toml(&suggestions))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn understand(event: &serde_json::Value) -> Seen {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    // What no exclusion can name is left out of it, which then is about the whole rule.
    let target = event["field"].as_str().filter(|field| archipel_config::Target::parse(field).is_ok());
    Seen {
        zone: text("zone"),
        rule: text("rule"),
        description: text("description"),
        target: target.map(str::to_owned),
        path: text("path"),
        client: text("client"),
    }
}
