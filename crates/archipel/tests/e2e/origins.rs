//! Origins that are hard to reach, and the pool of connections to them.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::ensure;
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use tokio::net::{TcpSocket, TcpStream};

use crate::Outcome;
use crate::site::{HOST, Node};

crate::tests![
    connect_timeout_is_named,
    node_starts_without_its_origin,
    connections_are_bounded_and_reused,
    idle_connections_are_bounded,
    origin_that_dies_and_comes_back,
];

/// A listener whose queue is full: further connections get no answer at all.
async fn black_hole() -> anyhow::Result<(tokio::net::TcpListener, Vec<TcpStream>)> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(1)?;
    let address = listener.local_addr()?;
    let mut queued = Vec::new();
    // The kernel queues one more than it is told to.
    for _ in 0..2 {
        queued.push(TcpStream::connect(address).await?);
    }
    Ok((listener, queued))
}

async fn connect_timeout_is_named() -> Outcome {
    let (listener, queued) = black_hole().await?;
    let node = Node::start(
        "hole",
        listener.local_addr()?,
        &[],
        &["origin.connect_timeout = \"150ms\"", "origin.retries_max = 0"],
    )
    .await?;
    let begun = Instant::now();
    let answer = node.client().await?.get(HOST, "/a").await?;
    ensure!(answer.head.status()? == 504, "{:?}", answer.head);
    ensure!(answer.head.get("proxy-status").is_some_and(|s| s.contains("connection_timeout")), "{:?}", answer.head);
    ensure!(begun.elapsed().as_secs() < 5, "the limit of 150 ms took {:?}", begun.elapsed());
    drop(queued);
    node.stop().await
}

async fn node_starts_without_its_origin() -> Outcome {
    let origin = archipel_testkit::played::PlayedOrigin::refusing()?;
    let node = Node::start("alone", origin.address(), &[], &[]).await?;
    ensure!(node.client().await?.get(HOST, "/a").await?.head.status()? == 502, "an origin that is not there");
    node.stop().await
}

async fn connections_are_bounded_and_reused() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    origin.on("*", vec![Act::Wait(gate.clone()), Act::reply("200 OK", "Cache-Control: no-store\r\n", "ok")]);
    let node = Node::start("bounded", origin.address(), &[], &["origin.connections_max = 4"]).await?;
    let mut clients = Vec::new();
    for i in 0..12 {
        let mut client = node.client().await?;
        client.send(format!("GET /{i} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        clients.push(client);
    }
    origin.wait_for("/0", 1).await?;
    gate.release();
    let (mut good, mut refused) = (0, 0);
    for client in &mut clients {
        match client.read_response().await?.head.status()? {
            200 => good += 1,
            503 => refused += 1,
            other => anyhow::bail!("status {other}"),
        }
    }
    let connections = origin.bytes().len();
    ensure!(connections <= 4, "{connections} connections, {good} good, {refused} refused");
    ensure!(good >= 4, "{good} good, {refused} refused");
    node.stop().await
}

async fn idle_connections_are_bounded() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    origin.on("*", vec![Act::Wait(gate.clone()), Act::reply("200 OK", "Cache-Control: no-store\r\n", "ok")]);
    let node = Node::start("idle", origin.address(), &[], &["origin.idle_connections_max = 1"]).await?;
    let mut clients = Vec::new();
    for i in 0..6 {
        let mut client = node.client().await?;
        client.send(format!("GET /{i} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        clients.push(client);
    }
    for i in 0..6 {
        origin.wait_for(&format!("/{i}"), 1).await?;
    }
    gate.release();
    for client in &mut clients {
        ensure!(client.read_response().await?.head.status()? == 200, "an answer");
    }
    ensure!(origin.bytes().len() == 6, "{} connections for 6 requests at once", origin.bytes().len());
    // Two more at once: one finds the kept connection, one needs a new one.
    for client in clients.iter_mut().take(2) {
        client.send(format!("GET /again HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    }
    for client in clients.iter_mut().take(2) {
        ensure!(client.read_response().await?.head.status()? == 200, "an answer");
    }
    ensure!((6..=7).contains(&origin.bytes().len()), "{} connections", origin.bytes().len());
    node.stop().await
}

async fn origin_that_dies_and_comes_back() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "ok")]);
    let node = Node::start("back", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    for round in 0..5 {
        origin.on("/a", vec![Act::Reset]);
        let answer = client.get(HOST, "/a").await?;
        ensure!(answer.head.status()? == 502, "round {round}: {:?}", answer.head);
        origin.on("/a", vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "ok")]);
        let answer = client.get(HOST, "/a").await?;
        ensure!(answer.head.status()? == 200 && answer.body == b"ok", "round {round}: {:?}", answer.head);
    }
    node.stop().await
}
