//! Caching with many visitors at once, and purging.

use anyhow::ensure;
use archipel_testkit::chance::pattern;
use archipel_testkit::client::RawClient;
use archipel_testkit::message::Message;
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::site::{HOST, Node};

crate::tests![
    collapse_many_visitors_ask_once,
    collapse_survives_a_dead_leader,
    collapse_streams_to_all,
    large_object_is_the_same_from_the_store,
    purge_by_url_then_miss,
    purge_everything_then_miss,
];

/// Visitors that ask at once.
const VISITORS: usize = 100;

async fn ask_all(node: &Node, path: &'static str) -> anyhow::Result<JoinSet<anyhow::Result<Message>>> {
    let mut visitors = JoinSet::new();
    for _ in 0..VISITORS {
        // Connected beforehand, so that all requests wait for the origin together.
        let mut client: RawClient = node.client().await?;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        visitors.spawn(async move { client.read_response().await });
    }
    Ok(visitors)
}

async fn collapse_many_visitors_ask_once() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    origin.on("/slow", vec![Act::Wait(gate.clone()), Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "answer")]);
    let node = Node::start("collapse", origin.address(), &[], &[]).await?;
    let mut visitors = ask_all(&node, "/slow").await?;
    origin.wait_for("/slow", 1).await?;
    gate.release();
    while let Some(answer) = visitors.join_next().await {
        let answer = answer??;
        ensure!(answer.head.status()? == 200 && answer.body == b"answer", "{:?}", answer.head);
    }
    ensure!(origin.count("/slow") == 1, "{} requests came to the origin", origin.count("/slow"));
    node.stop().await
}

/// The leader's connection dies before the reply: at most one more request comes, for all the others.
async fn collapse_survives_a_dead_leader() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    origin.on("/slow", vec![Act::Wait(gate.clone()), Act::Reset]);
    let node = Node::start("leader", origin.address(), &[], &["origin.retries_max = 0"]).await?;
    let mut visitors = ask_all(&node, "/slow").await?;
    origin.wait_for("/slow", 1).await?;
    origin.on("/slow", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "answer")]);
    gate.release();
    let (mut good, mut bad) = (0, 0);
    while let Some(answer) = visitors.join_next().await {
        match answer??.head.status()? {
            200 => good += 1,
            502 => bad += 1,
            other => anyhow::bail!("status {other}"),
        }
    }
    ensure!(bad <= 1, "{bad} visitors share the fate of the leader, {good} do not");
    ensure!(origin.count("/slow") <= 2, "{} requests came to the origin", origin.count("/slow"));
    node.stop().await
}

/// Those who wait get the bytes as they come, not only at the end.
async fn collapse_streams_to_all() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let (begun, gate) = (Gate::new(), Gate::new());
    let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 10\r\n\r\n01234";
    origin.on("/slow", vec![Act::Wait(begun.clone()), Act::send(head), Act::Wait(gate.clone()), Act::send("56789")]);
    let node = Node::start("stream", origin.address(), &[], &[]).await?;
    let mut clients = Vec::new();
    for _ in 0..10 {
        let mut client = node.client().await?;
        client.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        clients.push(client);
    }
    origin.wait_for("/slow", 1).await?;
    begun.release();
    for client in &mut clients {
        let head = client.read_head(false).await?.ok_or_else(|| anyhow::anyhow!("no answer"))?;
        ensure!(head.status()? == 200 && client.read_part(5).await? == b"01234", "{head:?}");
    }
    gate.release();
    for client in &mut clients {
        ensure!(client.read_rest().await?.0 == b"56789", "the second half is wrong");
    }
    ensure!(origin.count("/slow") == 1, "{} requests came to the origin", origin.count("/slow"));
    node.stop().await
}

async fn large_object_is_the_same_from_the_store() -> Outcome {
    const BYTES: u64 = 8 << 20;
    let origin = ScriptedOrigin::start().await?;
    let head =
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nETag: \"v\"\r\nContent-Length: {BYTES}\r\n\r\n");
    origin.on("/large", vec![Act::send(head), Act::SendPattern { seed: 9, count: BYTES }]);
    let node = Node::start("large", origin.address(), &[], &[]).await?;
    for _ in 0..3 {
        let mut client = node.client().await?;
        client.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        client.read_head(false).await?;
        let (mut offset, mut right) = (0, true);
        let (total, cut) = client
            .skim_rest(|piece| {
                right &= piece == pattern(9, offset, piece.len());
                offset += piece.len() as u64;
            })
            .await?;
        ensure!(right && total == BYTES && cut.is_none(), "{total} bytes, right: {right}, cut: {cut:?}");
    }
    let mut client = node.client().await?;
    let answer =
        client.ask(&format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\nRange: bytes=5000000-5000099\r\n\r\n")).await?;
    ensure!(answer.head.status()? == 206 && answer.body == pattern(9, 5_000_000, 100), "{:?}", answer.head);
    ensure!(origin.count("/large") == 1, "{} requests came to the origin", origin.count("/large"));
    node.stop().await
}

async fn purge_and_ask(arguments: &[&str]) -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "old")]);
    let node = Node::start("purge", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    ensure!(client.get(HOST, "/a").await?.body == b"old", "the first answer");
    origin.on("/a", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "new")]);
    ensure!(client.get(HOST, "/a").await?.body == b"old", "a hit");
    let (ok, said) = node.command(arguments).await?;
    ensure!(ok, "purge failed: {said}");
    let answer = client.get(HOST, "/a").await?;
    ensure!(answer.body == b"new", "after the purge: {:?}", answer.head);
    ensure!(answer.head.get("cache-status").is_some_and(|s| s.contains("miss")), "{:?}", answer.head);
    node.stop().await
}

async fn purge_by_url_then_miss() -> Outcome {
    purge_and_ask(&["purge", "http://www.case.test/a"]).await
}

async fn purge_everything_then_miss() -> Outcome {
    purge_and_ask(&["purge", "--everything"]).await
}
