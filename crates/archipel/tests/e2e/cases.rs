//! Runs the scenario files: files that need the same node share one process, each with zones and an origin of its own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Context as _, bail};
use archipel_testkit::case::{Case, Form};
use archipel_testkit::play::{Stage, World, play, scrape};
use archipel_testkit::played::PlayedOrigin;
use archipel_testkit::text::Vars;
use archipel_testkit::tls::TestCa;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::site::Site;
use crate::{Outcome, watch};

/// How many scenarios of one process run at a time.
const CASES_AT_ONCE: usize = 8;

/// Scenarios that share a process.
pub struct Group {
    node: Vec<String>,
    plays: Vec<(Arc<Case>, Form)>,
}

/// Reads all scenario files and groups the wanted ones by what they need of the node.
pub fn groups(wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<Vec<Group>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut groups: BTreeMap<Vec<String>, Vec<(Arc<Case>, Form)>> = BTreeMap::new();
    for case in Case::read_all(&folder)? {
        let case = Arc::new(case);
        for form in case.forms.clone() {
            if wanted(&name(&case, form)) {
                groups.entry(case.node.clone()).or_default().push((Arc::clone(&case), form));
            }
        }
    }
    Ok(groups.into_iter().map(|(node, plays)| Group { node, plays }).collect())
}

fn name(case: &Case, form: Form) -> String {
    format!("{}.{}", case.name, form.word())
}

impl Group {
    /// The names of its scenarios.
    pub fn names(&self) -> Vec<String> {
        self.plays.iter().map(|(case, form)| name(case, *form)).collect()
    }

    /// Runs all of them; where the node itself fails, all have failed.
    pub async fn run(self) -> Vec<(String, Outcome)> {
        let names = self.names();
        match self.play_all().await {
            Ok(results) => results,
            Err(error) => {
                let text = format!("{error:?}");
                names
                    .into_iter()
                    .map(|name| (name, Err(anyhow::anyhow!("the node of this scenario: {text}"))))
                    .collect()
            }
        }
    }

    async fn play_all(self) -> anyhow::Result<Vec<(String, Outcome)>> {
        let node: Vec<&str> = self.node.iter().map(String::as_str).collect();
        let site = Site::new("cases", &node)?;
        let origin_ca = TestCa::new()?;
        site.folder.write("tls/origin-ca.pem", origin_ca.pem())?;
        let mut stages = Vec::new();
        for (case, form) in self.plays {
            let stage = prepare(&site, &origin_ca, &case, form).await.with_context(|| name(&case, form))?;
            stages.push((case, form, stage));
        }
        let (mut edge, world) = site.start().await?;
        let permits = Arc::new(Semaphore::new(CASES_AT_ONCE));
        let mut running = JoinSet::new();
        for (case, form, stage) in stages {
            let (permits, world): (_, World) = (Arc::clone(&permits), world.clone());
            running.spawn(async move {
                let _permit = permits.acquire_owned().await;
                let label = name(&case, form);
                watch(label, async move { play(&case, form, &world, stage).await }).await
            });
        }
        let mut results = Vec::new();
        while let Some(done) = running.join_next().await {
            results.push(done?);
        }
        if let Some(admin) = world.at.admin {
            let outcome = check_reasons(&scrape(admin).await?, &world.log.all());
            results.push(("the-reasons-of-scenarios".to_owned(), outcome));
        }
        let output = edge.output.text();
        let ended = if edge.is_running() {
            edge.stop().await
        } else {
            Err(anyhow::anyhow!("the edge died during the scenarios"))
        };
        let panicked = output.contains("panicked at");
        if ended.is_err() || panicked {
            let outcome = ended.and_then(|()| bail!("the edge panicked")).map_err(|e| e.context(output));
            results.push(("the-node-of-scenarios".to_owned(), outcome));
        }
        Ok(results)
    }
}

/// Every reason that the cache counted is one that its table lists, and with it the operator's page; and every reason that the log
/// gives was counted.
fn check_reasons(page: &str, records: &[serde_json::Value]) -> Outcome {
    for family in archipel_edge::reasons::FAMILIES {
        let series = format!("archipel_{}_total{{reason=\"", family.name);
        let reasons = page.lines().filter_map(|line| line.strip_prefix(&series)?.split('"').next());
        for reason in reasons {
            let known = family.reasons.iter().any(|(known, _)| *known == reason);
            anyhow::ensure!(known, "{} counted {reason:?}, which archipel_edge::reasons does not list", family.name);
        }
    }
    for reason in records.iter().filter_map(|record| record["reason"].as_str()) {
        let counted = |line: &str| line.contains(&format!("reason=\"{reason}\"")) && !line.ends_with(" 0");
        anyhow::ensure!(page.lines().any(counted), "the log says {reason:?}, which no metric counts");
    }
    Ok(())
}

/// Each playing comes from a loopback address of its own, which also names it in the log.
fn next_source() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, 100, high, low))
}

async fn prepare(site: &Site, ca: &TestCa, case: &Case, form: Form) -> anyhow::Result<Stage> {
    let (origin, scheme, names) = match case.origin.as_str() {
        "plain" => (PlayedOrigin::listen(None).await?, "http", None),
        "refusing" => (PlayedOrigin::refusing()?, "http", None),
        "not-tls" => (PlayedOrigin::listen(None).await?, "https", Some("origin.test")),
        "tls" => (
            PlayedOrigin::listen(Some(ca.issue(&["origin.test"])?.server_config(&["http/1.1"])?)).await?,
            "https",
            Some("origin.test"),
        ),
        "tls-expired" => (
            PlayedOrigin::listen(Some(ca.issue_expired(&["origin.test"])?.server_config(&[])?)).await?,
            "https",
            Some("origin.test"),
        ),
        "tls-wrong-name" => (
            PlayedOrigin::listen(Some(ca.issue(&["other.test"])?.server_config(&[])?)).await?,
            "https",
            Some("origin.test"),
        ),
        "tls-untrusted" => {
            let stranger = TestCa::new()?.issue(&["origin.test"])?;
            (PlayedOrigin::listen(Some(stranger.server_config(&[])?)).await?, "https", Some("origin.test"))
        }
        other => bail!("unknown origin {other:?}"),
    };
    let url = format!("{scheme}://{}", origin.address());
    let zone = format!("{}-{}", case.name, form.word());
    let (host, alt, two) =
        (format!("{zone}.case.test"), format!("alt-{zone}.case.test"), format!("two-{zone}.case.test"));
    let mut vars = Vars::new();
    let source = next_source();
    for (name, value) in [
        ("HOST", &host),
        ("HOST_ALT", &alt),
        ("HOST_TWO", &two),
        ("ZONE", &zone),
        ("ORIGIN", &origin.address().to_string()),
    ] {
        vars.insert(name.to_owned(), value.clone());
    }
    vars.insert("CLIENT".to_owned(), source.to_string());
    let mut lines: Vec<String> = case.zone.clone();
    if names.is_some() {
        lines.push("origin.tls_server_name = \"origin.test\"".to_owned());
        lines.push("origin.tls_ca_file = \"$DIR/tls/origin-ca.pem\"".to_owned());
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    site.zone(&zone, &[&host, &alt], &url, &lines)?;
    site.zone(&format!("two-{zone}"), &[&two], &url, &lines)?;
    Ok(Stage { origin, vars, source })
}
