//! Long and two-way exchanges: uploads, downloads, WebSocket, gRPC, and what they cost in memory.

use anyhow::{Context as _, ensure};
use archipel_testkit::chance::pattern;
use archipel_testkit::h2client::H2Client;
use archipel_testkit::h2origin::{H2Origin, Reply2};
use archipel_testkit::h2raw::{self, Event, RawH2, frame, kind};
use archipel_testkit::hpack::encode;
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use archipel_testkit::tls::TestCa;
use archipel_testkit::wire::Target;
use bytes::Bytes;
use http::Request;

use crate::Outcome;
use crate::site::{HOST, Node, Site};

crate::tests![
    download_larger_than_memory_allowed,
    download_to_a_slow_reader_is_bounded,
    h2_download_to_a_closed_window_is_bounded,
    upload_arrives_intact_over_both,
    upload_to_a_slow_origin_is_bounded,
    websocket_echo,
    extended_connect_is_announced_and_works,
    h2_tunnel_ends_with_its_stream,
    h2_slow_reader_owes_no_head,
    grpc_with_trailers_over_http2_origin,
    grpc_trailers_only,
    http2_origin_streams_both_ways,
    http2_origin_shares_one_connection,
    http2_origin_interim_responses,
    http2_origin_over_tls_as_alpn_finds,
    http2_origin_reset_is_a_cut_reply,
    http2_visitor_cancels_the_origins_stream,
];

/// More than any buffer of the edge and the kernel together.
const LARGE: u64 = 48 << 20;

/// What the edge may grow by for one transfer of any size, in bytes.
const GROWTH_MAX: u64 = 16 << 20;

fn large_reply() -> Vec<Act> {
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: {LARGE}\r\n\r\n");
    vec![Act::send(head), Act::SendPattern { seed: 3, count: LARGE }]
}

async fn download_larger_than_memory_allowed() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/large", large_reply());
    let node = Node::start("download", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    client.get(HOST, "/none").await?;
    let before = node.edge.resident_bytes()?;
    client.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    client.read_head(false).await?;
    let (mut offset, mut right) = (0, true);
    let (total, cut) = client
        .skim_rest(|piece| {
            // One piece in sixteen is compared: making the pattern costs more than moving it.
            right &= offset % 16 != 0 || piece == pattern(3, offset, piece.len());
            offset += piece.len() as u64;
        })
        .await?;
    let grown = node.edge.resident_bytes()?.saturating_sub(before);
    ensure!(right && total == LARGE && cut.is_none(), "{total} bytes, right: {right}, cut: {cut:?}");
    ensure!(grown < GROWTH_MAX, "the edge grew by {grown} bytes");
    node.stop().await
}

/// The origin's writes must come to rest while the visitor reads nothing: the edge keeps no more than its buffers.
async fn download_to_a_slow_reader_is_bounded() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let all_sent = Gate::new();
    let mut script = large_reply();
    script.push(Act::Announce(all_sent.clone()));
    origin.on("/large", script);
    let node = Node::start("slow-reader", origin.address(), &[], &[]).await?;
    let before = node.edge.resident_bytes()?;
    let target = Target { receive_bytes: Some(64 << 10), ..node.target()? };
    let mut client = archipel_testkit::client::RawClient::connect(&target).await?;
    client.send(format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    client.read_head(false).await?;
    client.read_part(1000).await?;
    // Another visitor's exchanges give the edge time to read ahead, if it did.
    let mut other = node.client().await?;
    for _ in 0..200 {
        other.get(HOST, "/none").await?;
    }
    let grown = node.edge.resident_bytes()?.saturating_sub(before);
    ensure!(grown < GROWTH_MAX, "the edge grew by {grown} bytes for a visitor who does not read");
    let (total, cut) = client.skim_rest(|_| {}).await?;
    ensure!(total == LARGE && cut.is_none(), "{total} bytes, cut: {cut:?}");
    archipel_testkit::within("the origin's last byte", all_sent.wait()).await?;
    node.stop().await
}

async fn h2_download_to_a_closed_window_is_bounded() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/large", large_reply());
    let node = Node::start("window", origin.address(), &[], &[]).await?;
    let mut other = node.client().await?;
    other.get(HOST, "/none").await?;
    let before = node.edge.resident_bytes()?;
    // A window of 1,000 bytes on each of 50 streams, never opened again.
    let mut h2 = RawH2::connect_with(&node.target()?, &[(1, 0), (4, 1000)]).await?;
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(h2.send_head(&RawH2::get(HOST, "/large"), true).await);
    }
    for stream in &streams {
        ensure!(h2.read_head(*stream).await?.is_ok_and(|h| h.status == 200), "stream {stream}");
        ensure!(h2.read_part(*stream, 1000).await? == pattern(3, 0, 1000), "stream {stream}");
    }
    for _ in 0..200 {
        other.get(HOST, "/none").await?;
    }
    let grown = node.edge.resident_bytes()?.saturating_sub(before);
    ensure!(grown < 2 * GROWTH_MAX, "the edge grew by {grown} bytes for 50 closed windows");
    drop(h2);
    node.stop().await
}

async fn upload_arrives_intact_over_both() -> Outcome {
    const BYTES: usize = 4 << 20;
    let origin = ScriptedOrigin::start().await?;
    origin.on("/up", vec![Act::ReadBody, Act::reply("200 OK", "", "got it")]);
    let node = Node::start("upload", origin.address(), &[], &[]).await?;
    let body = pattern(8, 0, BYTES);
    let mut client = node.client().await?;
    let head = format!("POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {BYTES}\r\n\r\n");
    client.send([head.as_bytes(), &body].concat()).await;
    ensure!(client.read_response().await?.body == b"got it", "over HTTP/1.1");
    let mut h2 = H2Client::connect(&node.tls_target(&["h2"])?).await?;
    let mut exchange = h2.start(Request::post(format!("https://{HOST}/up")).body(())?, false).await?;
    exchange.send(Bytes::from(body.clone()), true).await?;
    ensure!(exchange.finish().await?.body == b"got it", "over HTTP/2");
    for received in origin.requests() {
        ensure!(received.message.body == body, "{} bytes came", received.message.body.len());
    }
    ensure!(origin.requests().len() == 2 && origin.faults().is_empty(), "{:?}", origin.faults());
    drop(h2);
    node.stop().await
}

async fn upload_to_a_slow_origin_is_bounded() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    origin.on("/up", vec![Act::Wait(gate.clone()), Act::ReadBody, Act::reply("200 OK", "", "got it")]);
    let node = Node::start("slow-origin", origin.address(), &[], &[]).await?;
    let mut other = node.client().await?;
    other.get(HOST, "/none").await?;
    let before = node.edge.resident_bytes()?;
    let mut client = node.client().await?;
    client.send(format!("POST /up HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LARGE}\r\n\r\n")).await;
    let writer = tokio::spawn(async move {
        let piece = vec![7; 1 << 20];
        for _ in 0..LARGE / (1 << 20) {
            client.wire.send(&piece).await?;
        }
        anyhow::Ok(client)
    });
    origin.wait_for("/up", 1).await?;
    for _ in 0..200 {
        other.get(HOST, "/none").await?;
    }
    let grown = node.edge.resident_bytes()?.saturating_sub(before);
    ensure!(grown < GROWTH_MAX, "the edge grew by {grown} bytes for an origin that does not read");
    ensure!(!writer.is_finished(), "the upload was swallowed without the origin");
    gate.release();
    let mut client = writer.await??;
    ensure!(client.read_response().await?.body == b"got it", "after the upload");
    node.stop().await
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn websocket_echo() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/chat", vec![Act::send(SWITCH), Act::Echo]);
    let node = Node::start("websocket", origin.address(), &[], &[]).await?;
    for tls in [false, true] {
        let target = if tls { node.tls_target(&["http/1.1"])? } else { node.target()? };
        let mut client = archipel_testkit::client::RawClient::connect(&target).await?;
        let request = format!(
            "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.send(request).await;
        ensure!(client.read_response().await?.head.status()? == 101, "no upgrade");
        for i in 0..20_u64 {
            let message = pattern(i, 0, 1000 * (i as usize + 1));
            client.send(&message).await;
            ensure!(client.wire.take(message.len()).await?.as_deref() == Some(&message[..]), "message {i}");
        }
    }
    node.stop().await
}

async fn extended_connect_is_announced_and_works() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/chat", vec![Act::send(SWITCH), Act::Echo]);
    let node = Node::start("connect", origin.address(), &[], &[]).await?;
    let mut h2 = RawH2::connect(&node.target()?).await?;
    while !h2.peer.contains_key(&8) && h2.read_frame().await? {}
    ensure!(h2.peer.get(&8) == Some(&1), "SETTINGS_ENABLE_CONNECT_PROTOCOL is not announced: {:?}", h2.peer);
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ];
    let stream = h2.send_head(&fields, false).await;
    let head = h2.read_head(stream).await?.map_err(|r| anyhow::anyhow!("refused: {r:?}"))?;
    ensure!(head.status == 200, "status {}", head.status);
    for i in 0..20_u64 {
        let message = pattern(i, 0, 500 * (i as usize + 1));
        h2.send_data(stream, &message, false).await;
        ensure!(h2.read_part(stream, message.len()).await? == message, "message {i}");
    }
    h2.send_data(stream, b"", true).await;
    let received = origin.requests().pop().context("a request at the origin")?.message.head;
    ensure!(received.method() == "GET" && received.get("upgrade") == Some("websocket"), "{received:?}");
    ensure!(received.get("sec-websocket-key").is_some(), "{received:?}");
    drop(h2);
    node.stop().await
}

/// The client has ended its side and then resets the stream, while the origin says nothing.
async fn h2_tunnel_ends_with_its_stream() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/chat", vec![Act::send(SWITCH), Act::Wait(Gate::new())]);
    let node = Node::start("tunnel-reset", origin.address(), &[], &[]).await?;
    let mut h2 = RawH2::connect(&node.target()?).await?;
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":authority", HOST),
        (":path", "/chat"),
        ("sec-websocket-version", "13"),
    ];
    let stream = h2.send_head(&fields, false).await;
    ensure!(h2.read_head(stream).await?.is_ok_and(|head| head.status == 200), "no tunnel");
    h2.send_data(stream, b"bye", true).await;
    // The answer to a PING comes after what the stream's end did.
    h2.send(&frame(kind::PING, 0, 0, b"12345678")).await;
    while !h2.counts.contains_key(&kind::PING) && h2.read_frame().await? {}
    h2.send(&frame(kind::RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await;
    let logged = |log: &archipel_testkit::play::LogTap| log.all().iter().any(|r| r["path"] == "/chat").then_some(());
    node.world.log.wait_for("the tunnel's record", logged).await?;
    drop(h2);
    node.stop().await
}

/// While the client takes a reply slowly its frames are not looked at: what is left of them is no head that it is slow with.
async fn h2_slow_reader_owes_no_head() -> Outcome {
    const BYTES: u64 = 128 << 10;
    let origin = ScriptedOrigin::start().await?;
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {BYTES}\r\n\r\n");
    origin.on("/stored", vec![Act::send(head), Act::SendPattern { seed: 3, count: BYTES }]);
    let node = Node::start("slow-head", origin.address(), &["timeouts.request_head = \"1s\""], &[]).await?;
    node.client().await?.get(HOST, "/stored").await?;
    let target = Target { receive_bytes: Some(64 << 10), ..node.target()? };
    let mut h2 = RawH2::connect(&target).await?;
    while h2.peer.is_empty() && h2.read_frame().await? {}
    // All at once: the answers to the first ones fill what the kernel takes, and leave no room for the others.
    let ask = encode(&RawH2::get(HOST, "/stored"));
    let streams = (0..60).map(|i| 1 + 2 * i);
    let ask = |stream| frame(kind::HEADERS, h2raw::END_HEADERS | h2raw::END_STREAM, stream, &ask);
    h2.send(&streams.clone().flat_map(ask).collect::<Vec<u8>>()).await;
    // Whoever is really slow with a head tells the time.
    let mut clock = node.client().await?;
    clock.send("GET / HTTP/1.1\r\nHost: ").await;
    clock.read_head(false).await?;
    for stream in streams {
        ensure!(h2.read_head(stream).await?.is_ok_and(|head| head.status == 200), "no reply on {stream}");
        let (body, _, refused) = h2.read_rest(stream).await?;
        ensure!(body.len() as u64 == BYTES && refused.is_none(), "{stream}: {} bytes, {refused:?}", body.len());
    }
    node.stop().await
}

/// A node before an HTTP/2 origin by prior knowledge.
async fn h2_node(label: &str) -> anyhow::Result<(H2Origin, Node)> {
    let origin = H2Origin::start(None).await?;
    let node = Node::start(label, origin.address(), &[], &["origin.http2 = true"]).await?;
    Ok((origin, node))
}

fn grpc(path: &str) -> anyhow::Result<Request<()>> {
    Ok(Request::post(format!("https://{HOST}{path}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .body(())?)
}

async fn grpc_with_trailers_over_http2_origin() -> Outcome {
    let (origin, node) = h2_node("grpc").await?;
    let reply = Reply2 {
        fields: vec![("content-type", "application/grpc")],
        body: vec![(None, b"\0\0\0\0\x05hello".to_vec())],
        trailers: vec![("grpc-status", "0"), ("grpc-message", "fine")],
        ..Reply2::default()
    };
    origin.on("/greet", reply);
    let mut h2 = H2Client::connect(&node.tls_target(&["h2"])?).await?;
    let mut exchange = h2.start(grpc("/greet")?, false).await?;
    exchange.send(Bytes::from_static(b"\0\0\0\0\x02hi"), true).await?;
    let answer = exchange.finish().await?;
    ensure!(answer.head.status() == 200 && answer.body == b"\0\0\0\0\x05hello", "{answer:?}");
    let trailers = answer.trailers.context("trailers")?;
    ensure!(trailers.get("grpc-status").is_some_and(|v| v == "0"), "{trailers:?}");
    let received = origin.requests().pop().context("a request at the origin")?;
    ensure!(
        received.body == b"\0\0\0\0\x02hi" && received.fields.get("te").is_some_and(|v| v == "trailers"),
        "{received:?}"
    );
    drop(h2);
    node.stop().await
}

async fn grpc_trailers_only() -> Outcome {
    let (origin, node) = h2_node("grpc-only").await?;
    origin.on(
        "/greet",
        Reply2 { fields: vec![("content-type", "application/grpc"), ("grpc-status", "12")], ..Reply2::default() },
    );
    let mut h2 = H2Client::connect(&node.tls_target(&["h2"])?).await?;
    let mut exchange = h2.start(grpc("/greet")?, false).await?;
    exchange.send(Bytes::new(), true).await?;
    let answer = exchange.finish().await?;
    ensure!(
        answer.head.headers().get("grpc-status").is_some_and(|v| v == "12") && answer.body.is_empty(),
        "{answer:?}"
    );
    drop(h2);
    node.stop().await
}

/// Each message is answered before the next one is sent.
async fn http2_origin_streams_both_ways() -> Outcome {
    let (origin, node) = h2_node("bidi").await?;
    origin.on("/chat", Reply2 { echo: true, trailers: vec![("grpc-status", "0")], ..Reply2::default() });
    let mut h2 = RawH2::connect(&node.target()?).await?;
    let fields =
        [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/chat"), ("te", "trailers")];
    let stream = h2.send_head(&fields, false).await;
    ensure!(h2.read_head(stream).await?.is_ok_and(|h| h.status == 200), "the head waits for the body");
    for i in 0..20_u64 {
        let message = pattern(i, 0, 100);
        h2.send_data(stream, &message, false).await;
        ensure!(h2.read_part(stream, 100).await? == message, "message {i}");
    }
    h2.send_data(stream, b"", true).await;
    let (rest, trailers, cut) = h2.read_rest(stream).await?;
    ensure!(
        rest.is_empty() && cut.is_none() && trailers.contains(&("grpc-status".to_owned(), "0".to_owned())),
        "{trailers:?} {cut:?}"
    );
    drop(h2);
    node.stop().await
}

async fn http2_origin_shares_one_connection() -> Outcome {
    let (origin, node) = h2_node("share").await?;
    let gate = Gate::new();
    origin.on(
        "/slow",
        Reply2 {
            body: vec![(Some(gate.clone()), b"ok".to_vec())],
            fields: vec![("cache-control", "no-store")],
            ..Reply2::default()
        },
    );
    let mut clients = Vec::new();
    for i in 0..10 {
        let mut client = node.client().await?;
        client.send(format!("GET /slow?{i} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
        client.read_head(false).await?;
        clients.push(client);
    }
    gate.release();
    for client in &mut clients {
        ensure!(client.read_rest().await?.0 == b"ok", "a body");
    }
    let connections: Vec<_> = origin.requests().iter().map(|r| r.connection).collect();
    ensure!(connections == [1; 10], "connections {connections:?}");
    node.stop().await
}

async fn http2_origin_interim_responses() -> Outcome {
    let (origin, node) = h2_node("hints").await?;
    origin.on("/a", Reply2 { interim: vec![102, 103, 103], body: vec![(None, b"ok".to_vec())], ..Reply2::default() });
    let mut client = node.client().await?;
    client.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    for want in [102, 103, 103, 200] {
        let status = client.read_response().await?.head.status()?;
        ensure!(status == want, "{status} instead of {want}");
    }
    node.stop().await
}

async fn http2_origin_reset_is_a_cut_reply() -> Outcome {
    let (origin, node) = h2_node("reset").await?;
    let gate = Gate::new();
    let body = vec![(None, b"half".to_vec()), (Some(gate.clone()), Vec::new())];
    origin
        .on("/a", Reply2 { body, reset: Some(2), fields: vec![("cache-control", "max-age=60")], ..Reply2::default() });
    let mut client = node.client().await?;
    client.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    client.read_head(false).await?;
    ensure!(client.read_part(4).await? == b"half", "the first half");
    gate.release();
    let (rest, _, cut) = client.read_rest().await?;
    ensure!(rest.is_empty() && cut.is_some(), "a reset of the origin looks like a proper end");
    node.stop().await
}

async fn http2_visitor_cancels_the_origins_stream() -> Outcome {
    let (origin, node) = h2_node("cancel").await?;
    origin.on("/up", Reply2 { echo: true, ..Reply2::default() });
    let mut h2 = RawH2::connect(&node.target()?).await?;
    let fields = [(":method", "POST"), (":scheme", "http"), (":authority", HOST), (":path", "/up")];
    let stream = h2.send_head(&fields, false).await;
    h2.send_data(stream, b"half", false).await;
    ensure!(h2.read_head(stream).await?.is_ok(), "a head");
    ensure!(matches!(h2.event(stream).await?, Event::Data { .. }), "an echo");
    h2.send(&archipel_testkit::h2raw::frame(3, 0, stream, &8_u32.to_be_bytes())).await;
    // The origin hears of it: its stream is cancelled, its connection goes on.
    let cancelled = archipel_testkit::within("the origin's stream to be cancelled", async {
        let mut other = node.client().await?;
        loop {
            other.get(HOST, "/none").await?;
            if let Some(code) = origin.requests().first().and_then(|r| r.cancelled) {
                return anyhow::Ok(code);
            }
        }
    })
    .await??;
    ensure!(cancelled == 8, "cancelled with {cancelled}");
    drop(h2);
    node.stop().await
}

/// The origin's choice in ALPN decides, both ways.
async fn http2_origin_over_tls_as_alpn_finds() -> Outcome {
    let site = Site::new("alpn", &[])?;
    let ca = TestCa::new()?;
    site.folder.write("tls/origin-ca.pem", ca.pem())?;
    let cert = ca.issue(&["origin.test"])?;
    let new = H2Origin::start(Some(cert.server_config(&["h2"])?)).await?;
    new.on("/a", Reply2 { body: vec![(None, b"two".to_vec())], ..Reply2::default() });
    let old = ScriptedOrigin::start_with(Some(cert.server_config(&["http/1.1"])?)).await?;
    old.on("/a", vec![Act::reply("200 OK", "", "one")]);
    let lines = [
        "origin.http2 = true",
        "origin.tls_server_name = \"origin.test\"",
        "origin.tls_ca_file = \"$DIR/tls/origin-ca.pem\"",
    ];
    site.zone("new", &["new.case.test"], &format!("https://{}", new.address()), &lines)?;
    site.zone("old", &["old.case.test"], &format!("https://{}", old.address()), &lines)?;
    let (edge, world) = site.start().await?;
    let node = Node { site, edge, world };
    let mut client = node.client().await?;
    ensure!(client.get("new.case.test", "/a").await?.body == b"two", "an origin that speaks HTTP/2");
    ensure!(client.get("old.case.test", "/a").await?.body == b"one", "an origin that does not");
    ensure!(new.requests()[0].uri.starts_with("https://new.case.test/a"), "{:?}", new.requests());
    node.stop().await
}
