//! What a visitor sees beside single exchanges: bursts, loops, protocols, and the record of it all.

use anyhow::{Context as _, ensure};
use archipel_testkit::client::RawClient;
use archipel_testkit::h2client::H2Client;
use archipel_testkit::h2raw::RawH2;
use archipel_testkit::origin::{Act, ScriptedOrigin};
use archipel_testkit::play::{metric, scrape};
use archipel_testkit::wire::Target;

use crate::Outcome;
use crate::site::{HOST, Node, Site};

crate::tests![
    attack_11_idle_then_pipelined_burst,
    loop_by_cdn_loop_is_refused,
    loop_through_itself_is_refused,
    http2_over_tls_with_many_streams,
    http1_over_tls,
    access_log_has_every_field,
    admin_answers_health_and_metrics,
    every_exchange_is_recorded,
    tls_resumes_sessions,
    traces_reach_their_collector,
    log_survives_its_rotation,
];

async fn attack_11_idle_then_pipelined_burst() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    for i in 0..50 {
        origin.on(&format!("/{i}"), vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", &format!("body {i}"))]);
    }
    let node = Node::start("burst", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    client.get(HOST, "/0").await?;
    // Twice: the first burst goes to the origin, the second is answered from the store.
    for _ in 0..2 {
        let burst: String = (0..50).map(|i| format!("GET /{i} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).collect();
        client.send(burst).await;
        for i in 0..50 {
            let answer = client.read_response().await.with_context(|| format!("answer {i}"))?;
            ensure!(answer.body == format!("body {i}").as_bytes(), "answer {i} is {:?}", answer);
        }
    }
    node.stop().await
}

/// What the edge sends to the origin must be refused where it comes back (RFC 8586 section 2).
async fn loop_by_cdn_loop_is_refused() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("*", vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "ok")]);
    let node = Node::start("loop", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    ensure!(
        client.ask(&format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nCDN-Loop: other; a=b\r\n\r\n")).await?.head.status()?
            == 200,
        "no loop"
    );
    let received = origin.requests().pop().context("a request at the origin")?.message.head;
    let told = received.all("cdn-loop").join(", ");
    ensure!(told.starts_with("other; a=b, "), "CDN-Loop at the origin: {told}");
    // The same edge sees its own mark again; once is enough to know.
    let answer = client.ask(&format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nCDN-Loop: {told}\r\n\r\n")).await?;
    ensure!(answer.head.status()? == 508, "a loop was answered {:?}", answer.head);
    let mut h2 = RawH2::connect(&node.target()?).await?;
    let mut fields = RawH2::get(HOST, "/a");
    fields.push(("cdn-loop".to_owned(), told));
    ensure!(h2.ask(&fields).await?.0.status == 508, "a loop over HTTP/2 was not refused");
    ensure!(origin.count("/a") == 1, "the loop came to the origin");
    drop(h2);
    node.stop().await
}

/// A zone whose origin is the edge itself ends after one round.
async fn loop_through_itself_is_refused() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let node = Node::start("itself", origin.address(), &[], &[]).await?;
    let own = node.world.at.plain()?;
    node.site.plain_zone("mirror", "mirror.case.test", own, &[])?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "reload failed: {said}");
    let answer = node.client().await?.get("mirror.case.test", "/a").await?;
    ensure!(answer.head.status()? == 508, "{:?}", answer.head);
    node.stop().await
}

async fn http2_over_tls_with_many_streams() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    for i in 0..100 {
        origin.on(&format!("/{i}"), vec![Act::reply("200 OK", "", &format!("body {i}"))]);
    }
    let node = Node::start("streams", origin.address(), &[], &[]).await?;
    let client = H2Client::connect(&node.tls_target(&["h2"])?).await?;
    let mut asked = tokio::task::JoinSet::new();
    for i in 0..100 {
        let mut client = client.clone();
        asked.spawn(async move { (i, client.get(&format!("https://{HOST}/{i}")).await) });
    }
    while let Some(done) = asked.join_next().await {
        let (i, answer) = done?;
        let answer = answer.with_context(|| format!("stream {i}"))?;
        ensure!(answer.head.status() == 200 && answer.body == format!("body {i}").as_bytes(), "stream {i}: {answer:?}");
    }
    drop(client);
    node.stop().await
}

async fn http1_over_tls() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "", "ok")]);
    let node = Node::start("tls1", origin.address(), &[], &[]).await?;
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = RawClient::connect(&node.tls_target(alpn)?).await?;
        ensure!(client.get(HOST, "/a").await?.body == b"ok", "over TLS with {alpn:?}");
    }
    let both = node.tls_target(&["h2", "http/1.1"])?.connect().await?;
    ensure!(both.alpn().as_deref() == Some(b"h2"), "HTTP/2 is preferred");
    drop(both);
    node.stop().await
}

async fn access_log_has_every_field() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a?b=c", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "hello")]);
    let node = Node::start("log", origin.address(), &[], &[]).await?;
    let answer = node.client().await?.get(HOST, "/a?b=c").await?;
    let record = node.world.log.wait_for("a record", |log| log.all().into_iter().next()).await?;
    for field in [
        "time",
        "zone",
        "method",
        "host",
        "path",
        "status",
        "cache",
        "bytes_sent",
        "duration_us",
        "protocol",
        "client",
        "request_id",
    ] {
        ensure!(!record[field].is_null(), "no {field} in {record}");
    }
    ensure!(record["zone"] == "site" && record["status"] == 200 && record["method"] == "GET", "{record}");
    ensure!(record["host"] == HOST && record["path"].as_str().is_some_and(|p| p.starts_with("/a")), "{record}");
    ensure!(record["client"].as_str().is_some_and(|c| c.starts_with("127.0.0.1")), "{record}");
    ensure!(record["bytes_sent"].as_u64().is_some_and(|n| n >= 5), "{record}");
    ensure!(answer.head.get("x-request-id") == record["request_id"].as_str(), "{record} against {:?}", answer.head);
    node.stop().await
}

async fn admin_answers_health_and_metrics() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "", "ok")]);
    let node = Node::start("admin", origin.address(), &[], &[]).await?;
    node.client().await?.get(HOST, "/a").await?;
    let admin = node.world.at.admin.context("an admin listener")?;
    let mut client = RawClient::connect(&Target::plain(admin)).await?;
    for path in ["/health", "/ready"] {
        let answer = client.get(&admin.to_string(), path).await?;
        ensure!(answer.head.status()? == 200, "{path}: {:?}", answer.head);
    }
    node.world.log.wait_for("a record", |log| log.all().into_iter().next()).await?;
    let page = scrape(admin).await?;
    ensure!(page.contains("# TYPE archipel_"), "metrics without types: {page}");
    ensure!(metric(&page, "archipel_requests_total")? >= 1.0, "no request counted:\n{page}");
    node.stop().await
}

/// Whatever happens to an exchange, the log has one record of it.
async fn every_exchange_is_recorded() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/good", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "ok")]);
    origin.on("/cut", vec![Act::send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"), Act::Close]);
    origin.on("/reset", vec![Act::Reset]);
    origin
        .on("/lie", vec![Act::send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), Act::Close]);
    let node = Node::start("record", origin.address(), &[], &[]).await?;
    let mut asked = 0;
    for _ in 0..5 {
        for path in ["/good", "/cut", "/reset", "/lie", "/none", "/%00"] {
            let mut client = node.client().await?;
            client.send(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
            client.wire.finish().await?;
            let _ = client.wire.take_rest().await?;
            asked += 1;
        }
    }
    let what = format!("{asked} records");
    node.world.log.wait_for(&what, |log| (log.all().len() >= asked).then_some(())).await?;
    let records = node.world.log.all();
    let mut ids: Vec<_> = records.iter().filter_map(|r| r["request_id"].as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ensure!(
        records.len() == asked && ids.len() == asked,
        "{} records and {} ids for {asked} exchanges",
        records.len(),
        ids.len()
    );
    node.stop().await
}

async fn tls_resumes_sessions() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "", "ok")]);
    let site = Site::new("resume", &[])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    let (edge, world) = site.start().await?;
    let target = Target::tls(world.at.tls()?, site.ca.client_config(&["http/1.1"])?, HOST);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut client = RawClient::connect(&target).await?;
        client.get(HOST, "/a").await?;
        kinds.push(client.wire.stream().is_resumed());
    }
    ensure!(kinds == [Some(false), Some(true)], "handshakes resumed: {kinds:?}");
    Node { site, edge, world }.stop().await
}

async fn traces_reach_their_collector() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "", "ok")]);
    let collector = ScriptedOrigin::start().await?;
    collector.on("/v1/traces", vec![Act::reply("200 OK", "", "{}")]);
    let endpoint = format!("traces.otlp_endpoint = \"http://{}/v1/traces\"", collector.address());
    let node = Node::start("traces", origin.address(), &[&endpoint, "traces.sample_ratio = 1.0"], &[]).await?;
    node.client().await?.get(HOST, "/a").await?;
    collector.wait_for("/v1/traces", 1).await?;
    let sent = collector.requests().pop().context("a batch of spans")?.message;
    let record = node.world.log.wait_for("a record", |log| log.all().into_iter().next()).await?;
    let id = record["request_id"].as_str().context("a request id")?;
    let body = String::from_utf8_lossy(&sent.body).into_owned();
    ensure!(body.contains("resourceSpans") && body.contains(id), "no span of request {id} in {body}");
    node.stop().await
}

/// A log file that was moved away is opened anew on SIGHUP, and no record is lost between.
async fn log_survives_its_rotation() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "", "ok")]);
    let site = Site::new("rotation", &["log.access = \"$DIR/plain.log\""])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    let (edge, world) = site.start().await?;
    let node = Node { site, edge, world };
    let mut client = node.client().await?;
    client.get(HOST, "/a").await?;
    let (current, moved) = (node.site.dir().join("plain.log"), node.site.dir().join("plain.log.1"));
    std::fs::rename(&current, &moved)?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    client.get(HOST, "/a").await?;
    drop(client);
    let folder = node.site.dir().to_owned();
    let Node { site, mut edge, .. } = node;
    edge.stop().await?;
    let lines = |name: &str| std::fs::read_to_string(folder.join(name)).map(|text| text.lines().count()).unwrap_or(0);
    let (old, new) = (lines("plain.log.1"), lines("plain.log"));
    ensure!(old + new == 2 && new >= 1, "{old} records before and {new} after");
    drop(site);
    Ok(())
}
