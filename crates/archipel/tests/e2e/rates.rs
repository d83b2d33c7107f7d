//! Rate limits over their surfaces: what the commands tell of them, reloads, many at once.

use std::path::Path;

use anyhow::ensure;
use archipel_testkit::client::RawClient;
use archipel_testkit::edge::run;
use archipel_testkit::origin::{Act, ScriptedOrigin};
use archipel_testkit::wire::Target;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::site::{BINARY, HOST, Node};

crate::tests![rates_are_told_and_outlive_a_reload, rates_hold_for_many_connections_at_once];

const RULE: &str = r#"rate_limits = [
  { id = "pages", description = "Slowly", expression = 'http.request.uri.path eq "/a"', requests = 5, period = "10m", mitigation_timeout = "1h" },
]"#;

async fn origin() -> anyhow::Result<ScriptedOrigin> {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "answer")]);
    Ok(origin)
}

async fn status(target: &Target) -> anyhow::Result<u16> {
    let mut client = RawClient::connect(target).await?;
    client.ask(&format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await?.head.status()
}

/// What a command says about the running node.
async fn told(node: &Node, words: &[&str], arguments: &[&str]) -> anyhow::Result<String> {
    let state = node.site.dir().join("state").display().to_string();
    let all = [words, &["--state-dir", &state], arguments].concat();
    let (_, out, err) = run(Path::new(BINARY), &all).await?;
    Ok(format!("{out}{err}"))
}

async fn rates_are_told_and_outlive_a_reload() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("rates", origin.address(), &["shield.exempt = []"], &[RULE]).await?;
    let target = node.target()?;
    for expected in [200, 200, 200, 200, 200, 429, 429] {
        let status = status(&target).await?;
        ensure!(status == expected, "{status} instead of {expected}");
    }
    let text = told(&node, &["firewall", "limits"], &["--zone", "site"]).await?;
    let first = "site pages: block beyond 5 requests in 600 s by ip.src, for 3600 s (Slowly)\n";
    let expected = format!("{first}  5 counted, 2 too many; 1 counters, 1 at their limit now\n");
    ensure!(text == expected, "{text}");
    let json: serde_json::Value = serde_json::from_str(&told(&node, &["firewall", "limits"], &["--json"]).await?)?;
    ensure!(json[0]["exceeded"] == 2 && json[0]["characteristics"][0] == "ip.src", "{json}");
    let text = told(&node, &["firewall", "limits"], &["--zone", "nowhere"]).await?;
    ensure!(text.contains("there is no zone `nowhere`"), "{text}");
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    ensure!(status(&target).await? == 429, "a reload frees nobody");
    let said = told(&node, &["explain"], &["--client", "127.0.0.1", &format!("http://{HOST}/a")]).await?;
    ensure!(said.contains("rule pages: 0 of 5 left"), "{said}");
    node.stop().await
}

async fn rates_hold_for_many_connections_at_once() -> Outcome {
    let origin = origin().await?;
    let settings = ["shield.exempt = []", "workers = 4"];
    let node = Node::start("rates-many", origin.address(), &settings, &[RULE]).await?;
    let target = node.target()?;
    let mut visitors = JoinSet::new();
    for _ in 0..64 {
        let target = target.clone();
        visitors.spawn(async move { status(&target).await });
    }
    let mut passed = 0;
    while let Some(status) = visitors.join_next().await {
        passed += u32::from(status?? == 200);
    }
    ensure!(passed == 5, "{passed} passed");
    node.stop().await
}
