//! The commands besides `up`. Each talks to a person: what was done, or what is wrong, where, and what to do.

use std::io::{IsTerminal as _, Read as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use archipel_config::Snapshot;
use archipel_edge::{Node, OriginStatus, TierStored};
use archipel_transport::tls::certificates::CertificateTable;
use clap::CommandFactory as _;

use crate::cli::{CacheCommand, CheckArgs, Cli, ConfigCommand, ExplainArgs, PurgeArgs, WhichNode};
use crate::control::client::Control;
use crate::control::{
    ExplainAnswer, ExplainCall, InspectAnswer, PurgeAnswer, PurgeCall, ReloadAnswer, StatusAnswer, TagCall,
    ZoneCacheAnswer,
};
use crate::curl::{self, PASTED_BYTES_MAX, Pasted};
use crate::files;
use crate::say::{self, Style};
use crate::up::certificates;

/// `check`: every problem of the documents, and of the certificates, databases and rule files that they name.
pub fn check(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let folder = args.folder.as_ref().or(args.config.as_ref()).context("which folder?")?;
    let (diagnostics, snapshot) = match Snapshot::load_dir(folder) {
        Ok((snapshot, warnings)) => (warnings, Some(snapshot)),
        Err(problems) => (problems, None),
    };
    let (errors, warnings) = snapshot.as_ref().map_or_else(Default::default, check_certificates);
    let geo = snapshot.as_ref().and_then(|snapshot| archipel_edge::check_geo(&snapshot.node.geo).err());
    let geo: Vec<String> = geo.iter().map(|error| format!("geo: {error}")).collect();
    let rules = snapshot.as_ref().map(archipel_edge::check_managed_rules).unwrap_or_default();
    let good = snapshot.is_some() && errors.is_empty() && geo.is_empty() && rules.is_empty();
    if args.json {
        let mut json = diagnostics.to_json();
        if let Some(object) = json.as_object_mut() {
            object.insert("ok".to_owned(), good.into());
            object.insert("certificate_errors".to_owned(), errors.into());
            object.insert("geo_errors".to_owned(), geo.into());
            object.insert("rule_errors".to_owned(), rules.into());
            object.insert("certificate_warnings".to_owned(), warnings.into());
        }
        say::out(&format!("{json:#}\n"))?;
        return Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let style = Style::of(&std::io::stdout());
    let mut text = diagnostics.render(say::colours(&std::io::stdout()));
    let error = format!("{}error{}", style.red, style.reset);
    for (words, list) in [(&*error, &errors), (&*error, &geo), (&*error, &rules), ("warning", &warnings)] {
        text.extend(list.iter().map(|line| format!("{words}: {line}\n")));
    }
    if let Some(snapshot) = snapshot.filter(|_| good) {
        let (zones, listeners) = (snapshot.zones.len(), snapshot.node.listeners.len());
        let (green, reset) = (style.green, style.reset);
        text.push_str(&format!("{green}ok{reset}: {}, {}\n", plural(zones, "zone"), plural(listeners, "listener")));
    }
    say::out(&text)?;
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads the certificate files; no development CA is made for a check.
fn check_certificates(snapshot: &Snapshot) -> (Vec<String>, Vec<String>) {
    let source = certificates::files(snapshot);
    if source.files.is_empty() {
        return Default::default();
    }
    match CertificateTable::load(&source, std::time::SystemTime::now()) {
        Ok((_, warnings)) => (Vec::new(), warnings.iter().map(ToString::to_string).collect()),
        Err(errors) => (errors.0.iter().map(ToString::to_string).collect(), Vec::new()),
    }
}

fn plural(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// `explain`: of the running node, or of a folder without one.
pub fn explain(args: &ExplainArgs) -> anyhow::Result<ExitCode> {
    let pasted = understand(&args.request, args.client)?;
    let answer = match &args.config {
        Some(folder) => explain_offline(folder, &pasted.call)?,
        None => Control::of(&files::state_dir(args.state_dir.as_deref(), None)?).post("/explain", &pasted.call)?,
    };
    if args.json {
        say::out(&format!("{:#}\n", answer.explanation))?;
    } else {
        say::out(&format!("{} {}\n\n{}", pasted.call.method, pasted.call.url, answer.text))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a request as a person writes it, and says what of it means nothing here.
fn understand(words: &[String], client: Option<std::net::IpAddr>) -> anyhow::Result<Pasted> {
    let pasted = match words {
        [one] if one == "-" => curl::understand(&[read_pasted()?], client)?,
        words => curl::understand(words, client)?,
    };
    for note in &pasted.notes {
        eprintln!("note: {note}");
    }
    Ok(pasted)
}

fn read_pasted() -> anyhow::Result<String> {
    if std::io::stdin().is_terminal() {
        eprintln!("paste a request head or a curl command, then press Ctrl-D:");
    }
    let mut text = String::new();
    let limit = PASTED_BYTES_MAX as u64 + 1;
    std::io::stdin().take(limit).read_to_string(&mut text).context("standard input cannot be read as text")?;
    Ok(text)
}

fn explain_offline(folder: &Path, call: &ExplainCall) -> anyhow::Result<ExplainAnswer> {
    let (mut snapshot, _) = load(folder)?;
    // The log's file is the running node's.
    snapshot.node.log.access = archipel_config::AccessLog::Off;
    let node = Node::new(snapshot)?;
    explanation(&node, call)
}

/// Asks a node; shared with the control socket.
pub fn explanation(node: &std::sync::Arc<Node>, call: &ExplainCall) -> anyhow::Result<ExplainAnswer> {
    let explanation = node.explain(&imagined(call)).map_err(anyhow::Error::msg)?;
    Ok(ExplainAnswer { text: explanation.to_string(), explanation: serde_json::to_value(&explanation)? })
}

/// What is stored for a request, for the control socket.
pub fn inspection(node: &std::sync::Arc<Node>, call: &ExplainCall) -> anyhow::Result<InspectAnswer> {
    let inspection = node.inspect(&imagined(call)).map_err(anyhow::Error::msg)?;
    Ok(InspectAnswer { text: inspection.to_string(), inspection: serde_json::to_value(&inspection)? })
}

fn imagined(call: &ExplainCall) -> archipel_edge::ExplainRequest {
    archipel_edge::ExplainRequest {
        method: call.method.clone(),
        url: call.url.clone(),
        headers: call.headers.clone(),
        client: call.client,
    }
}

/// `cache ...`
pub fn cache(command: &CacheCommand) -> anyhow::Result<ExitCode> {
    let CacheCommand::Inspect(args) = command;
    let pasted = understand(&args.request, None)?;
    let control = Control::of(&files::state_dir(args.state_dir.as_deref(), args.config.as_deref())?);
    let answer: InspectAnswer = control.post("/cache/inspect", &pasted.call)?;
    if args.json {
        say::out(&format!("{:#}\n", answer.inspection))?;
    } else {
        say::out(&format!("{} {}\n\n{}", pasted.call.method, pasted.call.url, answer.text))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Loads a folder for a command; its problems become the error.
pub fn load(folder: &Path) -> anyhow::Result<(Snapshot, archipel_config::Diagnostics)> {
    match Snapshot::load_dir(folder) {
        Ok(loaded) => Ok(loaded),
        Err(problems) => {
            eprint!("{}", problems.render(say::colours(&std::io::stderr())));
            bail!("the configuration in {} cannot be used", folder.display())
        }
    }
}

/// The control socket of the node that a command talks to.
pub fn control(which: &WhichNode) -> anyhow::Result<Control> {
    Ok(Control::of(&files::state_dir(which.state_dir.as_deref(), which.config.as_deref())?))
}

/// `purge`
pub fn purge(args: &PurgeArgs) -> anyhow::Result<ExitCode> {
    let (zones, tags) = match args.zones.as_slice() {
        zones if args.tags.is_empty() => (zones.to_vec(), Vec::new()),
        [zone] => {
            let tag = |tag: &String| TagCall { zone: zone.clone(), tag: tag.clone() };
            (Vec::new(), args.tags.iter().map(tag).collect())
        }
        _ => bail!("tags belong to one zone: give --zone once with --tag"),
    };
    let call = PurgeCall {
        urls: args.urls.clone(),
        hosts: args.hosts.clone(),
        prefixes: args.prefixes.clone(),
        zones,
        tags,
        everything: args.everything,
        soft: args.soft,
    };
    let answer: PurgeAnswer = control(&args.which)?.post("/purge", &call)?;
    if args.which.json {
        say::out(&format!("{:#}\n", serde_json::to_value(&answer)?))?;
    } else {
        say::out(&answer.lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
    }
    if let Some(problem) = &answer.problem {
        eprintln!("warning: in force, but a crash of the node would forget it: {problem}");
    }
    Ok(ExitCode::SUCCESS)
}

/// `reload`
pub fn reload(which: &WhichNode) -> anyhow::Result<ExitCode> {
    let answer: ReloadAnswer = control(which)?.post("/reload", &serde_json::json!({}))?;
    let code = if answer.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if which.json {
        say::out(&format!("{:#}\n", serde_json::to_value(&answer)?))?;
        return Ok(code);
    }
    if !answer.report.is_empty() {
        eprintln!("{}", answer.report.trim_end());
    }
    if !answer.ok {
        bail!("the new configuration is refused, number {} stays in force", answer.generation);
    }
    let mut text = format!("configuration {} is in force\n", answer.generation);
    if !answer.needs_restart.is_empty() {
        let list = answer.needs_restart.join(", ");
        text.push_str(&format!("these settings differ and take effect with `archipel up --replace`: {list}\n"));
    }
    say::out(&text)?;
    Ok(code)
}

/// `status`
pub fn status(which: &WhichNode) -> anyhow::Result<ExitCode> {
    let answer: StatusAnswer = control(which)?.get("/status")?;
    if which.json {
        say::out(&format!("{:#}\n", serde_json::to_value(&answer)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let ratio = if answer.requests == 0 { 0.0 } else { answer.hits as f64 * 100.0 / answer.requests as f64 };
    let mut text = format!(
        "archipel {} (process {}), {} for {} s\n{}, configuration {}, {}, {}\n",
        answer.version,
        answer.pid,
        answer.phase,
        say::thousands(answer.uptime_seconds),
        answer.source,
        answer.generation,
        plural(answer.zones, "zone"),
        plural(answer.workers, "worker"),
    );
    for listener in &answer.listeners {
        let scheme = if listener.tls { "https" } else { "http" };
        text.push_str(&format!("  listens on {scheme}://{}\n", listener.address));
    }
    if let Some(admin) = &answer.admin {
        text.push_str(&format!("  metrics at http://{admin}/metrics\n"));
    }
    text.push_str(&format!(
        "  {} requests, {ratio:.1} % from the cache, {} refused, {} open connections\n",
        say::thousands(answer.requests),
        say::thousands(answer.refused),
        say::thousands(answer.connections_open),
    ));
    origins(&mut text, &answer.origins);
    cache_of_zones(&mut text, &answer.cache);
    say::out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Origins that `status` shows, those that are down first; `--json` has all.
const STATUS_ORIGINS_MAX: usize = 10;

fn origins(text: &mut String, all: &[OriginStatus]) {
    let mut all: Vec<&OriginStatus> = all.iter().collect();
    all.sort_by_key(|origin| (origin.state == "closed", std::cmp::Reverse(origin.waiting)));
    for origin in all.iter().take(STATUS_ORIGINS_MAX) {
        let state = match origin.state.as_str() {
            "open" => "DOWN, left alone",
            "half_open" => "DOWN, asked now and then",
            _ => "up",
        };
        let limit =
            if origin.limit > 0 { format!(" of at most {}", say::thousands(origin.limit)) } else { String::new() };
        let shed: u64 = origin.shed.values().sum();
        text.push_str(&format!(
            "  origin {}: {state}; {} in flight{limit}, {} waiting, {} not sent\n",
            origin.origin,
            say::thousands(origin.in_flight),
            say::thousands(origin.waiting),
            say::thousands(shed),
        ));
    }
    if let Some(more) = all.len().checked_sub(STATUS_ORIGINS_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("  and {}: see --json\n", plural(more, "origin")));
    }
}

/// Zones whose part of the cache `status` shows; `--json` has all.
const STATUS_ZONES_MAX: usize = 10;

fn cache_of_zones(text: &mut String, zones: &[ZoneCacheAnswer]) {
    let tier = |tier: &TierStored| {
        let quota = if tier.bytes_max > 0 { format!(" of {}", say::bytes(tier.bytes_max)) } else { String::new() };
        format!(
            "{} ({}{quota})",
            plural(usize::try_from(tier.objects).unwrap_or(usize::MAX), "object"),
            say::bytes(tier.bytes)
        )
    };
    for zone in zones.iter().take(STATUS_ZONES_MAX) {
        let name = if zone.zone.is_empty() { "zones no longer configured" } else { &zone.zone };
        text.push_str(&format!("  cache of {name}: {} in memory, {} on disk\n", tier(&zone.memory), tier(&zone.disk)));
    }
    if let Some(more) = zones.len().checked_sub(STATUS_ZONES_MAX).filter(|more| *more > 0) {
        text.push_str(&format!("  and the cache of {}: see --json\n", plural(more, "zone")));
    }
}

/// `config ...`
pub fn config(command: &ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Schema => say::out(&format!("{}\n", archipel_config::schema_json().trim_end()))?,
        ConfigCommand::Show { folder, config } => {
            let folder = folder.as_ref().or(config.as_ref()).context("which folder?")?;
            let (snapshot, warnings) = load(folder)?;
            eprint!("{}", warnings.render(say::colours(&std::io::stderr())));
            say::out(&snapshot.render_effective())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `completions`
pub fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "archipel", &mut script);
    say::out(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}

/// `version`
pub fn version() -> anyhow::Result<ExitCode> {
    say::out(&format!("archipel {}\n", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitCode::SUCCESS)
}
