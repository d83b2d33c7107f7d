//! Floods and slow visitors: each must be cut, cost little memory, and leave the others served.
//!
//! The HTTP/2 floods are those of the usual abuse probes, three thousand frames each, on one connection.

use anyhow::{Context as _, ensure};
use archipel_testkit::client::RawClient;
use archipel_testkit::h2raw::{END_HEADERS, END_STREAM, RawH2, frame, kind, settings};
use archipel_testkit::hpack::{encode, encode_indexing, indexed};
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use archipel_testkit::play::{metric, scrape};

use crate::Outcome;
use crate::site::{HOST, Node};

crate::tests![
    attack_12_header_bomb,
    attack_12_header_bomb_with_closed_window,
    attack_13_rapid_reset,
    attack_13_made_you_reset,
    attack_13_reset_cancels_origin_work,
    attack_14_continuation_flood,
    attack_14_settings_flood,
    attack_14_ping_flood,
    attack_14_empty_data_flood,
    attack_14_priority_flood,
    attack_16_slow_heads,
    attack_16_slow_bodies,
    attack_16_slow_readers,
    attack_16_idle_connections_are_limited,
];

/// Frames a flood may send before it must have been cut.
const FRAMES: usize = 3000;

/// What a flood may cost in resident memory, in bytes.
const GROWTH_MAX: u64 = 5 << 20;

async fn flooded(label: &str) -> anyhow::Result<(ScriptedOrigin, Node)> {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/static", vec![Act::reply("200 OK", "Cache-Control: max-age=600\r\n", "static")]);
    let node = Node::start(label, origin.address(), &[], &[]).await?;
    // Warm, so that what is measured is the flood's: the store, the log, a connection of each kind.
    for _ in 0..50 {
        let mut h2 = RawH2::connect(&node.target()?).await?;
        ensure!(h2.ask(&RawH2::get(HOST, "/static")).await?.0.status == 200, "warming up");
        ensure!(node.client().await?.get(HOST, "/static").await?.body == b"static", "warming up");
    }
    Ok((origin, node))
}

/// Sends what `next` makes until the edge has cut the connection; fails where it never does.
async fn flood(node: &Node, mut h2: RawH2, mut next: impl FnMut(usize) -> Vec<u8>) -> anyhow::Result<RawH2> {
    let before = node.edge.resident_bytes()?;
    let mut most = before;
    h2.acknowledges = false;
    let mut sent = 0;
    for i in 0..FRAMES {
        if !h2.send(&next(i)).await {
            break;
        }
        sent = i + 1;
        if i % 100 == 99 {
            most = most.max(node.edge.resident_bytes()?);
        }
    }
    // What remains to be read ends with GOAWAY or a reset; a connection that stays open fails here by its deadline.
    h2.wire.recording = false;
    let end =
        h2.read_to_end().await.with_context(|| format!("{sent} frames were sent and the connection is not cut"))?;
    most = most.max(node.edge.resident_bytes()?);
    ensure!(h2.goaway.is_none_or(|(_, code)| code != 0), "the flood was let go in peace: {:?} {end:?}", h2.goaway);
    ensure!(most - before < GROWTH_MAX, "the edge grew by {} bytes", most - before);
    let answer = node.client().await?.get(HOST, "/static").await?;
    ensure!(answer.body == b"static", "others are not served: {:?}", answer.head);
    Ok(h2)
}

fn head(stream: usize, end: bool) -> Vec<u8> {
    let block = encode(&[(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/static")]);
    frame(kind::HEADERS, END_HEADERS | u8::from(end), stream as u32, &block)
}

async fn attack_13_rapid_reset() -> Outcome {
    let (_origin, node) = flooded("rapid").await?;
    let h2 = RawH2::connect(&node.target()?).await?;
    let one =
        |i: usize| [head(1 + 2 * i, true), frame(kind::RST_STREAM, 0, 1 + 2 * i as u32, &8_u32.to_be_bytes())].concat();
    flood(&node, h2, one).await?;
    let page = scrape(node.world.at.admin.context("admin")?).await?;
    ensure!(metric(&page, "archipel_http2_floods_total")? >= 1.0, "no metric counts the flood:\n{page}");
    node.stop().await
}

/// The client makes the edge reset its streams: a window update of zero is a stream error (CVE-2025-8671).
async fn attack_13_made_you_reset() -> Outcome {
    let (_origin, node) = flooded("madeyou").await?;
    let h2 = RawH2::connect(&node.target()?).await?;
    let one = |i: usize| {
        [head(1 + 2 * i, false), frame(kind::WINDOW_UPDATE, 0, 1 + 2 * i as u32, &0_u32.to_be_bytes())].concat()
    };
    flood(&node, h2, one).await?;
    node.stop().await
}

/// A reset stream does not leave its request at the origin to be worked on.
async fn attack_13_reset_cancels_origin_work() -> Outcome {
    let (origin, node) = flooded("cancelled").await?;
    let gate = Gate::new();
    origin.on("/work", vec![Act::Wait(gate.clone()), Act::reply("200 OK", "Cache-Control: no-store\r\n", "done")]);
    let mut h2 = RawH2::connect(&node.target()?).await?;
    let block = encode(&[(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/work")]);
    h2.send(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block)).await;
    origin.wait_for("/work", 1).await?;
    h2.send(&frame(kind::RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await;
    // The record is written once the exchange is over, and it is over without the origin's answer.
    let record = node
        .world
        .log
        .wait_for("the record of the cancelled exchange", |log| log.all().into_iter().find(|r| r["path"] == "/work"))
        .await?;
    ensure!(
        record["reason"].as_str().is_some_and(|r| !r.is_empty()),
        "a cancelled exchange without a reason: {record}"
    );
    gate.release();
    drop(h2);
    node.stop().await
}

async fn attack_14_continuation_flood() -> Outcome {
    let (_origin, node) = flooded("continuation").await?;
    let mut h2 = RawH2::connect(&node.target()?).await?;
    let block = encode(&[(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/static")]);
    h2.send(&frame(kind::HEADERS, END_STREAM, 1, &block)).await;
    flood(&node, h2, |i| frame(kind::CONTINUATION, 0, 1, &encode(&[(format!("x-{i}"), "y".repeat(4000))]))).await?;
    node.stop().await
}

async fn attack_14_settings_flood() -> Outcome {
    let (_origin, node) = flooded("settings").await?;
    let h2 = RawH2::connect(&node.target()?).await?;
    flood(&node, h2, |i| settings(&[(4, 65_535 + (i % 100) as u32)]).repeat(3)).await?;
    node.stop().await
}

async fn attack_14_ping_flood() -> Outcome {
    let (_origin, node) = flooded("ping").await?;
    let h2 = RawH2::connect(&node.target()?).await?;
    flood(&node, h2, |_| frame(kind::PING, 0, 0, b"12345678").repeat(3)).await?;
    node.stop().await
}

async fn attack_14_empty_data_flood() -> Outcome {
    let (origin, node) = flooded("empty").await?;
    origin.on("/upload", vec![Act::ReadBody, Act::reply("200 OK", "", "ok")]);
    let mut h2 = RawH2::connect(&node.target()?).await?;
    let block = encode(&[(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/upload")]);
    h2.send(&frame(kind::HEADERS, END_HEADERS, 1, &block)).await;
    flood(&node, h2, |_| frame(kind::DATA, 0, 1, b"").repeat(3)).await?;
    node.stop().await
}

async fn attack_14_priority_flood() -> Outcome {
    let (_origin, node) = flooded("priority").await?;
    let h2 = RawH2::connect(&node.target()?).await?;
    flood(&node, h2, |i| frame(2, 0, 1 + 2 * i as u32, &[0, 0, 0, 0, 16]).repeat(3)).await?;
    node.stop().await
}

/// One-byte references to a stored field: little on the wire, much once decoded.
fn bomb(i: usize) -> Vec<u8> {
    let mut block = encode(&[(":method", "GET"), (":scheme", "http"), (":authority", HOST), (":path", "/static")]);
    if i == 0 {
        block.extend(encode_indexing("cookie", "a=1"));
    }
    block.extend(indexed(62).repeat(12_000));
    frame(kind::HEADERS, END_HEADERS | END_STREAM, 1 + 2 * i as u32, &block)
}

async fn send_bombs(node: &Node, pairs: &[(u16, u32)]) -> Outcome {
    let before = node.edge.resident_bytes()?;
    let mut h2 = RawH2::connect_with(&node.target()?, pairs).await?;
    for i in 0..100 {
        if !h2.send(&bomb(i)).await {
            break;
        }
    }
    // Either the connection is given up, or every stream is refused; nothing is kept in both.
    for i in 0..100 {
        match h2.read_head(1 + 2 * i).await {
            Ok(Ok(head)) => ensure!(head.status == 431, "a bomb was answered {}", head.status),
            Ok(Err(_)) => {}
            Err(error) => return Err(error.context(format!("after {i} refusals"))),
        }
    }
    let grown = node.edge.resident_bytes()?.saturating_sub(before);
    ensure!(grown < GROWTH_MAX, "the edge grew by {grown} bytes");
    ensure!(node.client().await?.get(HOST, "/static").await?.body == b"static", "others are not served");
    Ok(())
}

async fn attack_12_header_bomb() -> Outcome {
    let (_origin, node) = flooded("bomb").await?;
    send_bombs(&node, &[]).await?;
    node.stop().await
}

async fn attack_12_header_bomb_with_closed_window() -> Outcome {
    let (_origin, node) = flooded("bomb-window").await?;
    send_bombs(&node, &[(4, 0)]).await?;
    node.stop().await
}

/// Slow visitors of each of slowhttptest's kinds.
const SLOW: usize = 100;

async fn slow(label: &str, begin: &str, path: &str) -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/static", vec![Act::reply("200 OK", "Cache-Control: max-age=600\r\n", "static")]);
    origin.on("/upload", vec![Act::ReadBody, Act::reply("200 OK", "", "ok")]);
    let large = format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n", 8 << 20);
    origin.on("/large", vec![Act::send(large), Act::SendZeros { count: 8 << 20 }]);
    let short =
        ["timeouts.request_head = \"2s\"", "timeouts.body_progress = \"1s\"", "timeouts.send_progress = \"1s\""];
    let node = Node::start(label, origin.address(), &short, &[]).await?;
    let mut other = node.client().await?;
    other.get(HOST, "/static").await?;
    let before = node.edge.resident_bytes()?;
    let mut visitors = Vec::new();
    for _ in 0..SLOW {
        let target = archipel_testkit::wire::Target { receive_bytes: Some(4096), ..node.target()? };
        let mut client = RawClient::connect(&target).await?;
        client.send(begin.replace("$HOST", HOST).replace("$PATH", path)).await;
        visitors.push(client);
    }
    // The others are served while all of them hang, and after.
    for _ in 0..100 {
        ensure!(node.client().await?.get(HOST, "/static").await?.body == b"static", "others are not served");
    }
    let grown = node.edge.resident_bytes()?.saturating_sub(before);
    ensure!(grown < 64 << 20, "{SLOW} slow visitors cost {grown} bytes");
    let logged = |log: &archipel_testkit::play::LogTap| {
        let given_up = log.all().iter().filter(|r| r["path"] != "/static" || r["status"] == 408).count();
        (given_up >= SLOW).then_some(())
    };
    node.world.log.wait_for("all slow visitors to be given up", logged).await?;
    drop(visitors);
    node.stop().await
}

async fn attack_16_slow_heads() -> Outcome {
    slow("slow-heads", "GET $PATH HTTP/1.1\r\nHost: $HOST\r\nX-Slow: ", "/static-never").await
}

async fn attack_16_slow_bodies() -> Outcome {
    slow("slow-bodies", "POST $PATH HTTP/1.1\r\nHost: $HOST\r\nContent-Length: 1000\r\n\r\nx", "/upload").await
}

async fn attack_16_slow_readers() -> Outcome {
    slow("slow-readers", "GET $PATH HTTP/1.1\r\nHost: $HOST\r\n\r\n", "/large").await
}

async fn attack_16_idle_connections_are_limited() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/static", vec![Act::reply("200 OK", "", "static")]);
    let node = Node::start("idle-limit", origin.address(), &["limits.connections_per_address_max = 50"], &[]).await?;
    let greedy: std::net::IpAddr = [127, 9, 9, 9].into();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(RawClient::connect(&node.target()?.from(greedy)).await?);
    }
    ensure!(node.client().await?.get(HOST, "/static").await?.body == b"static", "others are not served");
    let mut cut = 0;
    for client in &mut held {
        client.send(format!("GET /static HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        cut += usize::from(client.read_response().await.is_err());
    }
    ensure!(cut == 150, "{cut} of 200 connections were cut where 50 are allowed");
    node.stop().await
}
