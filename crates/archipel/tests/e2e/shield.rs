//! The attack detector against small floods from many addresses, with visitors beside them.
//!
//! Load is paced by intervals, comes from some hundred connections, and ends by a deadline: what is waited for is the detector.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use archipel_testkit::client::RawClient;
use archipel_testkit::edge::{Edge, run};
use archipel_testkit::play::{metric, scrape};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::Outcome;
use crate::site::{BINARY, HOST, Node};

crate::tests![
    shield_finds_a_flood_and_obeys_the_operator,
    shield_in_log_mode_says_what_it_would_do,
    shield_lets_a_crowd_in,
    shield_spares_the_exempt,
    shield_knows_what_it_knew_after_a_restart,
];

/// How long anything may take to be seen.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long the detector looks at visitors alone before anything happens.
const CALM: Duration = Duration::from_secs(7);

/// An origin that takes some time for each reply and counts.
struct SlowOrigin {
    address: SocketAddr,
    asked: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl SlowOrigin {
    async fn start(delay: Duration, cache: &'static str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, asked) = (listener.local_addr()?, Arc::new(AtomicU64::new(0)));
        let (mut tasks, counted) = (JoinSet::new(), asked.clone());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let counted = counted.clone();
                connections.spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(1..) = stream.read_buf(&mut head).await {
                        // Requests without a body, one at a time.
                        if head.ends_with(b"\r\n\r\n") {
                            head.clear();
                            counted.fetch_add(1, Ordering::Relaxed);
                            tokio::time::interval_at(tokio::time::Instant::now() + delay, delay).tick().await;
                            let reply =
                                format!("HTTP/1.1 200 OK\r\nCache-Control: {cache}\r\nContent-Length: 6\r\n\r\nanswer");
                            if stream.write_all(reply.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { address, asked, tasks })
    }
}

impl Drop for SlowOrigin {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// What came of a load.
#[derive(Default)]
struct Answers {
    ok: AtomicU64,
    refused: AtomicU64,
    other: AtomicU64,
}

impl Answers {
    fn values(&self) -> [u64; 3] {
        [&self.ok, &self.refused, &self.other].map(|counter| counter.load(Ordering::Relaxed))
    }

    fn since(&self, before: [u64; 3]) -> [u64; 3] {
        let now = self.values();
        std::array::from_fn(|at| now[at] - before[at])
    }
}

/// Requests that go on until it is dropped.
struct Load {
    answers: Arc<Answers>,
    stop: Arc<AtomicBool>,
    _tasks: JoinSet<()>,
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// `connections` from as many addresses of 127.`network`.0.0/16, each asking every `pace` for what `request` makes of its number
    /// and of how often it has asked.
    fn start(
        node: &Node,
        network: u8,
        connections: u16,
        pace: Duration,
        request: fn(u16, u64) -> String,
    ) -> anyhow::Result<Self> {
        let (answers, stop) = (Arc::new(Answers::default()), Arc::new(AtomicBool::new(false)));
        let (target, mut tasks) = (node.target()?, JoinSet::new());
        for at in 0..connections {
            // Three of each /24, as neighbours are.
            let [high, low] = (at / 3 + 1).to_be_bytes();
            let from = IpAddr::V4(Ipv4Addr::new(127, network, high.wrapping_add(low), 1 + (at % 3) as u8));
            let (target, answers, stop) = (target.clone().from(from), answers.clone(), stop.clone());
            tasks.spawn(async move {
                let first = tokio::time::Instant::now() + pace * u32::from(at) / u32::from(connections);
                let mut due = tokio::time::interval_at(first, pace);
                due.set_missed_tick_behavior(MissedTickBehavior::Delay);
                let mut client: Option<RawClient> = None;
                let mut nth = 0;
                while !stop.load(Ordering::Relaxed) {
                    due.tick().await;
                    let mut open = match client.take() {
                        Some(open) => open,
                        None => match RawClient::connect(&target).await {
                            Ok(mut open) => {
                                open.wire.recording = false;
                                open
                            }
                            Err(_) => continue,
                        },
                    };
                    nth += 1;
                    let counter = match open.ask(&request(at, nth)).await.and_then(|answer| answer.head.status()) {
                        Ok(status) => {
                            client = Some(open);
                            match status {
                                200 => &answers.ok,
                                403 => &answers.refused,
                                _ => &answers.other,
                            }
                        }
                        Err(_) => &answers.other,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Ok(Self { answers, stop, _tasks: tasks })
    }
}

/// What a browser sends, one of four kinds, for one of nine pages.
fn visitor(at: u16, nth: u64) -> String {
    let page = (u64::from(at) * 7 + nth) % 9;
    let fields = [
        "User-Agent: Mozilla/5.0 (one)\r\nAccept: text/html\r\nAccept-Language: de\r\nAccept-Encoding: gzip, br\r\n",
        "Accept: */*\r\nUser-Agent: Mozilla/5.0 (two)\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\n",
        "User-Agent: Mozilla/5.0 (three)\r\nAccept-Language: fr\r\nAccept: text/html\r\nDNT: 1\r\n",
        "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nUser-Agent: Mozilla/5.0 (four)\r\nAccept-Language: es\r\n",
    ][usize::from(at % 4)];
    let cookie = if at.is_multiple_of(3) { "Cookie: session=1\r\n" } else { "" };
    format!("GET /page/{page} HTTP/1.1\r\nHost: {HOST}\r\n{fields}{cookie}\r\n")
}

/// What the flood sends.
fn bot(_: u16, _: u64) -> String {
    format!("GET /search HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: flood/1.0\r\nAccept: */*\r\n\r\n")
}

/// Visitors: some 60 requests a second.
fn visitors(node: &Node) -> anyhow::Result<Load> {
    Load::start(node, 1, 48, Duration::from_millis(800), visitor)
}

/// A flood from 300 addresses: some 600 requests a second, of which the origin bears a third.
fn flood(node: &Node, network: u8) -> anyhow::Result<Load> {
    Load::start(node, network, 300, Duration::from_millis(500), bot)
}

/// A node before an origin that 24 connections ask at most 240 times a second.
async fn scene(label: &str, node: &[&str], zone: &[&str]) -> anyhow::Result<(SlowOrigin, Node)> {
    let origin = SlowOrigin::start(Duration::from_millis(100), "no-store").await?;
    let exempt = if node.is_empty() { &["shield.exempt = []"] } else { node };
    let mode = if zone.is_empty() { &["shield.mode = \"automatic\""] } else { zone };
    let zone = [&["origin.connections_max = 24", "origin.retries_max = 0"], mode].concat();
    let node = Node::start(label, origin.address, exempt, &zone).await?;
    Ok((origin, node))
}

async fn pass(time: Duration) {
    tokio::time::interval_at(tokio::time::Instant::now() + time, time).tick().await;
}

/// Visitors alone, until the detector knows what is usual: on a busy machine the origin is under pressure for a while, and teaches nothing.
async fn calm(node: &Node) -> anyhow::Result<()> {
    pass(CALM).await;
    let begun = Instant::now();
    loop {
        let status = status(node).await?;
        let zone = &status["zones"][0];
        if zone["ready"] == true && zone["state"] == "calm" {
            return Ok(());
        }
        ensure!(begun.elapsed() < DEADLINE, "nothing is learned of visitors: {status}");
        pass(Duration::from_millis(250)).await;
    }
}

/// Waits until there is a mitigation rule, which is asked for ten times a second.
async fn until_found(node: &Node) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !has_rule(node).await? {
        ensure!(begun.elapsed() < DEADLINE, "the flood is not found: {}", status(node).await?);
        pass(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until the first rule has matched a request, which gives its features their names.
async fn until_named(node: &Node) -> anyhow::Result<()> {
    let begun = Instant::now();
    while !status(node).await?["zones"][0]["rules"][0]["example"].is_string() {
        ensure!(begun.elapsed() < DEADLINE, "the rule matches nothing: {}", status(node).await?);
        pass(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// `shield WORD ...`; whether it succeeded, and all it wrote.
async fn shield(node: &Node, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let dir = node.site.dir().display().to_string();
    let all = [&["shield"], arguments, &["--config", &dir]].concat();
    let (status, out, err) = run(Path::new(BINARY), &all).await?;
    Ok((status.success(), format!("{out}{err}")))
}

async fn status(node: &Node) -> anyhow::Result<serde_json::Value> {
    let (_, json) = shield(node, &["status", "--json"]).await?;
    serde_json::from_str(&json).context(json)
}

async fn has_rule(node: &Node) -> anyhow::Result<bool> {
    Ok(status(node).await?["zones"][0]["rules"].as_array().is_some_and(|rules| !rules.is_empty()))
}

/// Why visitors were not served, with how often, of the last records.
fn reasons(node: &Node) -> std::collections::BTreeMap<String, u32> {
    let mut counts = std::collections::BTreeMap::new();
    for record in node.world.log.all().iter().rev().take(2_000) {
        if record["status"] != 200 && record["path"].as_str().is_some_and(|path| path.starts_with("/page")) {
            *counts.entry(format!("{} {}", record["status"], record["reason"])).or_default() += 1;
        }
    }
    counts
}

/// Shares of a load over two seconds: passed, refused, other.
async fn shares(load: &Load) -> [f64; 3] {
    let before = load.answers.values();
    pass(Duration::from_secs(2)).await;
    let counts = load.answers.since(before);
    let all = counts.iter().sum::<u64>().max(1) as f64;
    counts.map(|count| count as f64 / all)
}

async fn shield_finds_a_flood_and_obeys_the_operator() -> Outcome {
    let (origin, node) = scene("shield", &[], &[]).await?;
    let people = visitors(&node)?;
    calm(&node).await?;
    ensure!(people.answers.values()[1] == 0 && !has_rule(&node).await?, "calm traffic is hindered");
    let bots = flood(&node, 2)?;
    until_found(&node).await?;
    let [passed, refused, _] = shares(&bots).await;
    ensure!(refused >= 0.9, "of the flood {passed:.3} pass and {refused:.3} are refused");
    let [served, refused, _] = shares(&people).await;
    ensure!(
        served >= 0.9 && refused == 0.0,
        "of the visitors {served:.3} are served, {refused:.3} refused: {:?}",
        reasons(&node)
    );

    let (_, text) = shield(&node, &["status"]).await?;
    for part in [
        "mitigating",
        "blocks what has",
        "GET /search from 127.2.",
        "flood/1.0",
        "the origin was under pressure",
        "site/1 (active)",
    ] {
        ensure!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    let json = status(&node).await?;
    let rule = &json["zones"][0]["rules"][0];
    ensure!(rule["addresses"].as_u64().is_some_and(|n| (250..=350).contains(&n)), "addresses: {rule}");
    ensure!(rule["matched"].as_u64().is_some_and(|n| n > 500), "matched: {rule}");
    let name = rule["rule"].as_str().context("a name")?.to_owned();
    let admin = node.world.at.admin.context("no admin listener")?;
    let page = scrape(admin).await?;
    ensure!(metric(&page, "archipel_shield_requests_total{zone=\"site\",action=\"block\"}")? > 500.0, "{page}");
    ensure!(metric(&page, "archipel_shield_state{zone=\"site\",state=\"mitigating\"}")? == 1.0, "{page}");
    let record = node.world.log.all().into_iter().find(|record| record["reason"] == "shield_block");
    let record = record.context("no record of a refusal")?;
    ensure!(record["rule"] == *name && record["status"] == 403, "{record}");

    let (ok, said) = shield(&node, &["veto", &name]).await?;
    ensure!(ok && said.contains("vetoed"), "{said}");
    let [_, refused, _] = shares(&bots).await;
    ensure!(refused <= 0.02, "{refused:.3} of the flood are refused in spite of the veto");
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    let (ok, said) = shield(&node, &["pin", &name]).await?;
    ensure!(ok && said.contains("pinned"), "a reload has forgotten the rule: {said}");
    let [_, refused, _] = shares(&bots).await;
    ensure!(refused >= 0.9, "{refused:.3} of the flood are refused by the pinned rule");
    let (ok, said) = shield(&node, &["relax", &name]).await?;
    ensure!(ok && said.contains("active"), "{said}");
    let (ok, said) = shield(&node, &["veto", "site/99"]).await?;
    ensure!(!ok && said.contains("no mitigation rule"), "{said}");
    drop((people, bots, origin));
    node.stop().await
}

async fn shield_in_log_mode_says_what_it_would_do() -> Outcome {
    let (origin, node) = scene("shield-log", &[], &["shield.mode = \"log\""]).await?;
    let people = visitors(&node)?;
    calm(&node).await?;
    let bots = flood(&node, 3)?;
    until_found(&node).await?;
    let [_, refused, _] = shares(&bots).await;
    ensure!(refused == 0.0, "{refused:.3} of the flood are refused in log mode");
    let page = scrape(node.world.at.admin.context("no admin listener")?).await?;
    ensure!(metric(&page, "archipel_shield_requests_total{zone=\"site\",action=\"would_act\"}")? > 500.0, "{page}");
    ensure!(metric(&page, "archipel_shield_requests_total{zone=\"site\",action=\"block\"}")? == 0.0, "{page}");
    drop((people, bots, origin));
    node.stop().await
}

/// Ten times the visitors for what the cache has.
async fn shield_lets_a_crowd_in() -> Outcome {
    let origin = SlowOrigin::start(Duration::from_millis(20), "max-age=600").await?;
    let node = Node::start("crowd", origin.address, &["shield.exempt = []"], &["shield.mode = \"automatic\""]).await?;
    let people = visitors(&node)?;
    calm(&node).await?;
    let crowd = Load::start(&node, 4, 300, Duration::from_millis(500), visitor)?;
    pass(Duration::from_secs(8)).await;
    for load in [&people, &crowd] {
        let [served, refused, other] = load.answers.values();
        ensure!(served > 100 && refused == 0, "{served} served, {refused} refused, {other} otherwise");
    }
    ensure!(!has_rule(&node).await?, "a crowd is taken for an attack: {}", status(&node).await?);
    ensure!(origin.asked.load(Ordering::Relaxed) < 100, "the cache does not bear it");
    drop((people, crowd));
    node.stop().await
}

async fn shield_spares_the_exempt() -> Outcome {
    let exempt = ["shield.exempt = [\"127.5.0.0/16\"]"];
    let (origin, node) = scene("shield-exempt", &exempt, &[]).await?;
    let people = visitors(&node)?;
    calm(&node).await?;
    let spared = flood(&node, 5)?;
    let bots = flood(&node, 6)?;
    until_found(&node).await?;
    // They send the same, and only one of them may be touched.
    let [_, refused, _] = shares(&bots).await;
    ensure!(refused >= 0.9, "{refused:.3} of the flood are refused");
    ensure!(spared.answers.values()[1] == 0, "exempt addresses are refused");
    drop((people, spared, bots, origin));
    node.stop().await
}

/// Starts the node once more, which goes on with its log.
async fn again(node: &mut Node) -> anyhow::Result<()> {
    node.edge = Edge::start(Path::new(BINARY), node.site.dir(), &[]).await?;
    node.world.at = node.edge.at.clone();
    Ok(())
}

/// A restart keeps what is usual, the rules and the operator's word; a damaged file is no reason not to start.
async fn shield_knows_what_it_knew_after_a_restart() -> Outcome {
    let (origin, mut node) = scene("shield-again", &[], &[]).await?;
    {
        let _people = visitors(&node)?;
        calm(&node).await?;
        let _bots = flood(&node, 7)?;
        until_found(&node).await?;
        until_named(&node).await?;
        let (ok, said) = shield(&node, &["pin", "site/1"]).await?;
        ensure!(ok && !said.contains("would forget"), "{said}");
    }
    node.edge.stop().await?;
    again(&mut node).await?;
    let known = status(&node).await?;
    let rule = &known["zones"][0]["rules"][0];
    ensure!(rule["status"] == "pinned" && rule["example"].as_str().is_some_and(|e| e.contains("/search")), "{known}");
    ensure!(known["zones"][0]["ready"] == true, "{known}");
    let mut client = node.client().await?;
    ensure!(client.ask(&bot(0, 0)).await?.head.status()? == 403, "the pinned rule does not act");
    ensure!(client.ask(&visitor(0, 0)).await?.head.status()? == 200, "a visitor");
    drop(client);
    node.edge.stop().await?;

    let file = node.site.dir().join("state/shield");
    let mut bytes = std::fs::read(&file)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes)?;
    again(&mut node).await?;
    ensure!(!has_rule(&node).await?, "a damaged file is believed");
    let said = node.edge.output.text();
    ensure!(said.contains("learned anew"), "nothing is said of the damaged file:\n{said}");
    drop(origin);
    node.stop().await
}
