//! Starting, checking, reloading, draining and handing over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context as _, bail, ensure};
use archipel_testkit::client::RawClient;
use archipel_testkit::edge::{Edge, TempDir};
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use archipel_testkit::tls::TestCa;
use archipel_testkit::wire::Target;
use rustix::process::Signal;

use crate::Outcome;
use crate::site::{BINARY, HOST, Node, Site, command};

crate::tests![
    check_reports_all_problems_at_once,
    check_accepts_what_is_right,
    start_is_refused_on_a_broken_configuration,
    reload_takes_new_zones,
    reload_keeps_the_old_configuration_on_error,
    hangup_reloads,
    reload_keeps_open_connections,
    drain_finishes_a_running_download,
    drain_tells_keep_alive_visitors,
    drain_ends_in_time,
    killed_node_starts_again,
    handover_under_load,
    handover_keeps_long_downloads,
    explain_names_each_stage,
    explain_names_the_cache_rules,
    reload_takes_new_certificates,
    development_ca_answers_for_any_name,
    sample_site_without_any_configuration,
    front_of_an_origin_by_its_url,
    replace_needs_a_running_node,
    commands_that_only_print,
];

async fn origin() -> anyhow::Result<ScriptedOrigin> {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "answer")]);
    Ok(origin)
}

async fn check_reports_all_problems_at_once() -> Outcome {
    let site = Site::new("check", &["limits.header_bytes_maxx = 5"])?;
    site.folder.write("zones/one.toml", "hosts = [\"a.test\"]\norigin.url = \"ftp://x\"\n")?;
    site.folder
        .write("zones/two.toml", "hosts = [\"b c\"]\norigin.url = \"http://127.0.0.1:1\"\ncache.default_ttl = 5\n")?;
    let (ok, said) = command(&site, &["check"]).await?;
    ensure!(!ok, "a broken configuration is accepted: {said}");
    for part in [
        "node.toml",
        "one.toml",
        "two.toml",
        "header_bytes_max",
        "origin.url",
        "hosts",
        "cache.default_ttl",
        "did you mean",
    ] {
        ensure!(said.contains(part), "nothing about {part} in:\n{said}");
    }
    Ok(())
}

async fn check_accepts_what_is_right() -> Outcome {
    let site = Site::new("right", &[])?;
    site.zone("site", &[HOST], "http://127.0.0.1:1", &[])?;
    let (ok, said) = command(&site, &["check"]).await?;
    ensure!(ok, "{said}");
    Ok(())
}

async fn start_is_refused_on_a_broken_configuration() -> Outcome {
    let site = Site::new("broken", &[])?;
    site.folder.write("zones/one.toml", "hosts = 5\n")?;
    let dir = site.dir().display().to_string();
    let (status, out, err) =
        archipel_testkit::edge::run(Path::new(BINARY), &["up", "--config", &dir, "--announce", "-"]).await?;
    ensure!(!status.success() && !out.contains("archipel ready"), "it started: {out}");
    ensure!(err.contains("one.toml") && err.contains("hosts"), "it does not say why: {err}");
    Ok(())
}

async fn reload_takes_new_zones() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("reload", origin.address(), &[], &[]).await?;
    ensure!(node.client().await?.get("new.case.test", "/a").await?.body != b"answer", "the zone is not there yet");
    node.site.plain_zone("new", "new.case.test", origin.address(), &[])?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    ensure!(node.client().await?.get("new.case.test", "/a").await?.body == b"answer", "the new zone");
    ensure!(node.client().await?.get(HOST, "/a").await?.body == b"answer", "the old zone");
    node.stop().await
}

async fn reload_keeps_the_old_configuration_on_error() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("keeps", origin.address(), &[], &[]).await?;
    node.site.folder.write("zones/site.toml", format!("hosts = [\"{HOST}\"]\norigin.url = 7\n"))?;
    node.site.plain_zone("new", "new.case.test", origin.address(), &[])?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(!ok && said.contains("site.toml"), "a broken configuration: {said}");
    ensure!(node.client().await?.get(HOST, "/a").await?.body == b"answer", "the old zone");
    ensure!(node.client().await?.get("new.case.test", "/a").await?.body != b"answer", "half a configuration is in use");
    node.stop().await
}

async fn hangup_reloads() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("hangup", origin.address(), &[], &[]).await?;
    node.site.plain_zone("new", "new.case.test", origin.address(), &[])?;
    node.edge.signal(Signal::HUP)?;
    archipel_testkit::within("the new zone to be served", async {
        while node.client().await?.get("new.case.test", "/a").await?.body != b"answer" {}
        anyhow::Ok(())
    })
    .await??;
    node.stop().await
}

async fn reload_keeps_open_connections() -> Outcome {
    let origin = origin().await?;
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 4\r\n\r\nab";
    origin.on("/slow", vec![Act::send(head), Act::Wait(gate.clone()), Act::send("cd")]);
    let node = Node::start("open", origin.address(), &[], &[]).await?;
    let (mut idle, mut busy) = (node.client().await?, node.client().await?);
    idle.get(HOST, "/a").await?;
    busy.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    busy.read_head(false).await?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    gate.release();
    ensure!(busy.read_rest().await?.0 == b"abcd", "the running download");
    ensure!(idle.get(HOST, "/a").await?.body == b"answer", "the idle connection");
    node.stop().await
}

async fn drain_finishes_a_running_download() -> Outcome {
    let origin = origin().await?;
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 10\r\n\r\n01234";
    origin.on("/slow", vec![Act::send(head), Act::Wait(gate.clone()), Act::send("56789")]);
    let mut node = Node::start("drain", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    client.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    client.read_head(false).await?;
    ensure!(client.read_part(5).await? == b"01234", "the first half");
    let mut idle = node.client().await?;
    idle.get(HOST, "/a").await?;
    node.edge.signal(Signal::TERM)?;
    // The idle connection closes: the node is draining. Then the download still comes to its end.
    idle.read_end().await?;
    let refused = Target::plain(node.world.at.plain()?).connect().await.is_err();
    ensure!(refused, "a draining node takes new connections");
    ensure!(node.edge.is_running(), "the node did not wait");
    gate.release();
    let (rest, _, cut) = client.read_rest().await?;
    ensure!(rest == b"56789" && cut.is_none(), "the second half is {rest:?} {cut:?}");
    let status = node.edge.wait().await?;
    ensure!(status.success(), "{status}\n{}", node.edge.output.text());
    Ok(())
}

async fn drain_tells_keep_alive_visitors() -> Outcome {
    let origin = origin().await?;
    let gate = Gate::new();
    origin.on("/slow", vec![Act::Wait(gate.clone()), Act::reply("200 OK", "Cache-Control: no-store\r\n", "ok")]);
    let mut node = Node::start("tells", origin.address(), &[], &[]).await?;
    let (mut client, mut idle) = (node.client().await?, node.client().await?);
    idle.get(HOST, "/a").await?;
    client.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    origin.wait_for("/slow", 1).await?;
    let mut h2 = archipel_testkit::h2raw::RawH2::connect(&node.target()?).await?;
    ensure!(h2.ask(&archipel_testkit::h2raw::RawH2::get(HOST, "/a")).await?.0.status == 200, "over HTTP/2");
    node.edge.signal(Signal::TERM)?;
    idle.read_end().await?;
    h2.read_to_end().await?;
    ensure!(h2.goaway.is_some_and(|(_, code)| code == 0), "HTTP/2 without GOAWAY: {:?}", h2.goaway);
    gate.release();
    let answer = client.read_response().await?;
    ensure!(answer.head.list("connection").contains(&"close".to_owned()) && answer.body == b"ok", "{:?}", answer.head);
    client.read_end().await?;
    ensure!(node.edge.wait().await?.success(), "{}", node.edge.output.text());
    Ok(())
}

async fn drain_ends_in_time() -> Outcome {
    let origin = origin().await?;
    let gate = Gate::new();
    origin.on("/never", vec![Act::Wait(gate.clone())]);
    let mut node = Node::start("in-time", origin.address(), &["timeouts.drain = \"200ms\""], &[]).await?;
    let mut client = node.client().await?;
    client.send(format!("GET /never HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    origin.wait_for("/never", 1).await?;
    node.edge.signal(Signal::TERM)?;
    node.edge.wait().await?;
    ensure!(client.wire.take_rest().await.is_ok(), "the connection outlives the node");
    Ok(())
}

async fn killed_node_starts_again() -> Outcome {
    let origin = origin().await?;
    let site = Site::new("killed", &["log.access = \"off\""])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    for _ in 0..3 {
        let mut edge = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
        let mut client = RawClient::connect(&Target::plain(edge.at.plain()?)).await?;
        ensure!(client.get(HOST, "/a").await?.body == b"answer", "an answer");
        edge.signal(Signal::KILL)?;
        edge.wait().await?;
    }
    Ok(())
}

/// Visitors who connect anew for every request, until told to stop; how often one was refused or cut.
fn load(
    address: std::net::SocketAddr,
    stop: &Arc<AtomicBool>,
    served: &Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<Vec<String>> {
    let (stop, served) = (Arc::clone(stop), Arc::clone(served));
    tokio::spawn(async move {
        let mut failures = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let asked = async {
                let mut client = RawClient::connect(&Target::plain(address)).await.context("connect")?;
                let answer = client.get(HOST, "/a").await.context("answer")?;
                if answer.head.status()? != 200 || answer.body != b"answer" {
                    bail!("{:?}", answer.head);
                }
                anyhow::Ok(())
            };
            match asked.await {
                Ok(()) => {
                    served.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => failures.push(format!("{error:#}")),
            }
        }
        failures
    })
}

/// Waits until so many more requests are served.
async fn serve_more(served: &AtomicUsize, count: usize) -> Outcome {
    let goal = served.load(Ordering::Relaxed) + count;
    archipel_testkit::within("more requests to be served", async {
        while served.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
    })
    .await
}

async fn handover_under_load() -> Outcome {
    let origin = origin().await?;
    let site = Site::new("handover", &["workers = 2", "log.access = \"off\""])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    let mut first = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
    let address = first.at.plain()?;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let visitors: Vec<_> = (0..4).map(|_| load(address, &stop, &served)).collect();
    serve_more(&served, 100).await?;
    for round in 0..3 {
        let second = Edge::start(Path::new(BINARY), site.dir(), &["--replace"])
            .await
            .with_context(|| format!("round {round}"))?;
        ensure!(second.at.listeners == first.at.listeners, "other addresses: {:?} {:?}", first.at, second.at);
        let status = first.wait().await?;
        ensure!(status.success(), "the replaced node ended with {status}:\n{}", first.output.text());
        first = second;
        serve_more(&served, 100).await?;
    }
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        let failures = visitor.await?;
        ensure!(
            failures.is_empty(),
            "{} of {} requests failed: {:?}",
            failures.len(),
            served.load(Ordering::Relaxed),
            failures.first()
        );
    }
    first.stop().await
}

async fn handover_keeps_long_downloads() -> Outcome {
    let origin = origin().await?;
    let gate = Gate::new();
    let head = "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 10\r\n\r\n01234";
    origin.on("/slow", vec![Act::send(head), Act::Wait(gate.clone()), Act::send("56789")]);
    let site = Site::new("keeps-long", &["log.access = \"off\""])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    let mut first = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
    let mut client = RawClient::connect(&Target::plain(first.at.plain()?)).await?;
    client.send(format!("GET /slow HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    client.read_head(false).await?;
    ensure!(client.read_part(5).await? == b"01234", "the first half");
    let mut second = Edge::start(Path::new(BINARY), site.dir(), &["--replace"]).await?;
    let mut new = RawClient::connect(&Target::plain(second.at.plain()?)).await?;
    ensure!(new.get(HOST, "/a").await?.body == b"answer", "the new node");
    gate.release();
    let (rest, _, cut) = client.read_rest().await?;
    ensure!(rest == b"56789" && cut.is_none(), "the download across the handover: {rest:?} {cut:?}");
    ensure!(first.wait().await?.success(), "{}", first.output.text());
    second.stop().await
}

async fn explain_names_each_stage() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("explain", origin.address(), &[], &[]).await?;
    let (ok, said) = node.command(&["explain", &format!("GET http://{HOST}/a")]).await?;
    ensure!(ok, "{said}");
    for stage in ["zone", "cache", "route", "origin"] {
        ensure!(said.contains(stage), "nothing about {stage}:\n{said}");
    }
    ensure!(said.contains("site"), "the zone's name:\n{said}");
    node.stop().await
}

async fn explain_names_the_cache_rules() -> Outcome {
    let origin = origin().await?;
    let rules = r#"cache.rules = [
        { name = "pages", edge_ttl = "90s", key = { query_except = ["utm_*"], device = true } },
        { when = { path = ["/a"], header = ["x-preview"] }, bypass = true }]"#;
    let node = Node::start("explain-rules", origin.address(), &[], &[rules]).await?;
    let (ok, said) = node.command(&["explain", &format!("GET http://{HOST}/a?utm_x=1&b")]).await?;
    ensure!(ok, "{said}");
    for words in ["pages: edge ttl 90 s by default", "key has /a?b", "key adds device=desktop", "/a?b device=desktop"] {
        ensure!(said.contains(words), "no {words:?}:\n{said}");
    }
    let request = ["explain", "GET /a HTTP/1.1", &format!("Host: {HOST}"), "X-Preview: 1"];
    let (ok, said) = node.command(&request).await?;
    ensure!(ok && said.contains("pages, rule 2: bypass (rule)"), "{said}");
    node.stop().await
}

async fn reload_takes_new_certificates() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("certificates", origin.address(), &[], &[]).await?;
    let next = TestCa::new()?;
    let new_target = Target::tls(node.world.at.tls()?, next.client_config(&["http/1.1"])?, HOST);
    ensure!(new_target.connect().await.is_err(), "a certificate from nowhere");
    let mut open = RawClient::connect(&node.tls_target(&["http/1.1"])?).await?;
    open.get(HOST, "/a").await?;
    let cert = next.issue(&["*.case.test"])?;
    // A key that does not fit is refused, and the old certificate stays.
    node.site.folder.write("tls/cert.pem", &cert.chain_pem)?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(!ok, "a certificate without its key is taken: {said}");
    RawClient::connect(&node.tls_target(&["http/1.1"])?).await?.get(HOST, "/a").await?;
    node.site.folder.write("tls/key.pem", &cert.key_pem)?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    ensure!(RawClient::connect(&new_target).await?.get(HOST, "/a").await?.body == b"answer", "the new certificate");
    ensure!(open.get(HOST, "/a").await?.body == b"answer", "the open connection");
    drop(open);
    node.stop().await
}

async fn development_ca_answers_for_any_name() -> Outcome {
    let origin = origin().await?;
    let site = Site::new("development", &[])?;
    site.plain_zone("site", "shop.elsewhere.test", origin.address(), &[])?;
    let (edge, world) = site.start().await?;
    let pem = std::fs::read(site.dir().join("state/ca/ca.pem")).context("the development CA's certificate")?;
    let trust = archipel_testkit::tls::trust_pem(&pem, &["http/1.1"])?;
    let target = Target::tls(world.at.tls()?, trust, "shop.elsewhere.test");
    let answer = RawClient::connect(&target).await?.get("shop.elsewhere.test", "/a").await?;
    ensure!(answer.body == b"answer", "{:?}", answer.head);
    Node { site, edge, world }.stop().await
}

async fn sample_site_without_any_configuration() -> Outcome {
    let state = TempDir::new("sample")?;
    let folder = state.path().display().to_string();
    let arguments = ["--state-dir", &folder, "--listen", "0", "--listen", "0,tls", "--no-live"];
    let mut edge = Edge::up(Path::new(BINARY), &arguments).await?;
    let mut client = RawClient::connect(&Target::plain(edge.at.plain()?)).await?;
    let first = client.get("127.0.0.1", "/").await?;
    ensure!(first.head.status()? == 200 && first.body.starts_with(b"<!"), "{:?}", first.head);
    ensure!(first.head.get("cache-status").is_some_and(|s| s.contains("fwd=")), "{:?}", first.head);
    let style = client.get("localhost", "/style.css").await?;
    ensure!(style.head.status()? == 200, "{:?}", style.head);
    let again = client.get("localhost", "/style.css").await?;
    ensure!(again.head.get("cache-status").is_some_and(|s| s.contains("hit")), "{:?}", again.head);
    let missing = client.get("localhost", "/no-such-page").await?;
    ensure!(missing.head.status()? == 404, "{:?}", missing.head);
    drop(client);
    edge.stop().await
}

async fn front_of_an_origin_by_its_url() -> Outcome {
    let origin = origin().await?;
    let state = TempDir::new("url")?;
    let (folder, url) = (state.path().display().to_string(), format!("http://{}", origin.address()));
    let mut edge = Edge::up(Path::new(BINARY), &[&url, "--state-dir", &folder, "--listen", "0", "--no-live"]).await?;
    let mut client = RawClient::connect(&Target::plain(edge.at.plain()?)).await?;
    for host in ["127.0.0.1", "any.name.test"] {
        let answer = client.get(host, "/a").await?;
        ensure!(answer.body == b"answer", "as {host}: {:?}", answer.head);
    }
    drop(client);
    edge.stop().await
}

/// `--replace` where nothing runs is a start like any other; a second node beside a running one is refused.
async fn replace_needs_a_running_node() -> Outcome {
    let origin = origin().await?;
    let site = Site::new("second", &["log.access = \"off\""])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    let mut first = Edge::start(Path::new(BINARY), site.dir(), &["--replace"]).await?;
    let error =
        Edge::start(Path::new(BINARY), site.dir(), &[]).await.err().context("two nodes share one state folder")?;
    ensure!(format!("{error:#}").contains("--replace"), "the error does not say what to do: {error:#}");
    let mut client = RawClient::connect(&Target::plain(first.at.plain()?)).await?;
    ensure!(client.get(HOST, "/a").await?.body == b"answer", "the first node goes on");
    drop(client);
    first.stop().await
}

async fn commands_that_only_print() -> Outcome {
    for (arguments, wanted) in [
        (&["version"][..], "archipel "),
        (&["--version"], "archipel "),
        (&["--help"], "purge"),
        (&["completions", "bash"], "complete"),
        (&["config", "schema"], "header_bytes_max"),
    ] {
        let (status, out, err) = archipel_testkit::edge::run(Path::new(BINARY), arguments).await?;
        ensure!(status.success() && out.contains(wanted), "{arguments:?}: {status} {out} {err}");
    }
    let (_, out, _) = archipel_testkit::edge::run(Path::new(BINARY), &["config", "schema"]).await?;
    ensure!(out.trim_start().starts_with('{'), "the schema is no JSON: {out}");
    let (status, _, err) =
        archipel_testkit::edge::run(Path::new(BINARY), &["reload", "--state-dir", "/nonexistent"]).await?;
    ensure!(!status.success() && !err.is_empty(), "a reload of nothing succeeds");
    Ok(())
}
