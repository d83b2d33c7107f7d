//! Purging by each of its surfaces: the commands, the admin listener, the PURGE method; and over a crash.

use std::path::Path;

use anyhow::{Context as _, ensure};
use archipel_testkit::client::RawClient;
use archipel_testkit::edge::Edge;
use archipel_testkit::message::Message;
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use archipel_testkit::wire::Target;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::Outcome;
use crate::site::{BINARY, HOST, Node, Site, TOKEN};

crate::tests![
    purge_by_tag,
    purge_by_prefix_and_host,
    purge_by_url_covers_every_query_and_variant_named,
    purge_names_all_or_nothing,
    purge_over_the_admin_listener,
    purge_over_the_admin_listener_is_refused,
    purge_needs_a_secret_file,
    purges_outlive_a_kill,
    purge_without_a_journal_says_so,
    purge_method_is_explained,
    purge_of_a_host_that_moves,
    purge_of_a_tag_while_the_body_comes,
    purge_of_a_tag_before_the_head_comes,
    purge_by_the_node_that_hands_over,
    tags_survive_a_revalidation,
];

/// Paths and the tags of what is there.
const PAGES: [(&str, &str); 5] =
    [("/docs/a", "one two"), ("/docs/b?x=1", "two"), ("/docsx", "three"), ("/", "one"), ("/other", "")];

async fn origin() -> anyhow::Result<ScriptedOrigin> {
    let origin = ScriptedOrigin::start().await?;
    for (path, tags) in PAGES {
        origin.on(
            path,
            vec![Act::reply("200 OK", &format!("Cache-Control: max-age=60\r\nSurrogate-Key: {tags}\r\n"), path)],
        );
    }
    Ok(origin)
}

/// Asks for every page; those that came from the origin.
async fn fetched(client: &mut RawClient) -> anyhow::Result<Vec<&'static str>> {
    let mut fetched = Vec::new();
    for (path, _) in PAGES {
        let answer = client.get(HOST, path).await?;
        ensure!(answer.body == path.as_bytes(), "{path}: {:?}", answer.head);
        if !answer.head.get("cache-status").context("no cache-status")?.contains("hit") {
            fetched.push(path);
        }
    }
    Ok(fetched)
}

/// Runs a purge by command; what is fetched anew afterwards.
async fn check(node: &Node, arguments: &[&str], expected: &[&str]) -> Outcome {
    let mut client = node.client().await?;
    fetched(&mut client).await?;
    ensure!(fetched(&mut client).await?.is_empty(), "everything is stored");
    let (ok, said) = node.command(&[&["purge"], arguments].concat()).await?;
    ensure!(ok && !said.contains("warning"), "{arguments:?}: {said}");
    let found = fetched(&mut client).await?;
    ensure!(found == expected, "{arguments:?}: {found:?} were fetched again, not {expected:?}");
    Ok(())
}

async fn purge_by_tag() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("tags", origin.address(), &[], &[]).await?;
    check(&node, &["--zone", "site", "--tag", "one"], &["/docs/a", "/"]).await?;
    check(
        &node,
        &["--zone", "site", "--tag", "TWO", "--tag", "three", "--soft"],
        &["/docs/a", "/docs/b?x=1", "/docsx"],
    )
    .await?;
    check(&node, &["--zone", "site", "--tag", "on"], &[]).await?;
    check(&node, &["--zone", "site"], &["/docs/a", "/docs/b?x=1", "/docsx", "/", "/other"]).await?;
    node.stop().await
}

async fn purge_by_prefix_and_host() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("prefix", origin.address(), &[], &[]).await?;
    let prefix = |path: &str| format!("{HOST}{path}");
    check(&node, &["--prefix", &prefix("/docs")], &["/docs/a", "/docs/b?x=1"]).await?;
    check(&node, &["--prefix", &prefix("/docs/"), "--soft"], &["/docs/a", "/docs/b?x=1"]).await?;
    check(&node, &["--prefix", &prefix("/docs/b")], &["/docs/b?x=1"]).await?;
    check(&node, &["--prefix", &prefix("/doc")], &[]).await?;
    let all = PAGES.map(|(path, _)| path);
    check(&node, &["--prefix", &prefix("")], &all).await?;
    check(&node, &["--host", HOST], &all).await?;
    check(&node, &["--host", &format!("{HOST}:8080")], &[]).await?;
    node.stop().await
}

async fn purge_by_url_covers_every_query_and_variant_named() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("urls", origin.address(), &[], &[]).await?;
    let url = |path: &str| format!("http://{HOST}{path}");
    check(
        &node,
        &[&url("/docs/a"), &url("/docs/b?x=1"), "--prefix", &format!("{HOST}/other")],
        &["/docs/a", "/docs/b?x=1", "/other"],
    )
    .await?;
    check(&node, &[&url("/docs/b")], &[]).await?;
    node.stop().await
}

async fn purge_names_all_or_nothing() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("nothing", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    fetched(&mut client).await?;
    for (arguments, part) in [
        (vec!["--host", HOST, "--host", "other.test"], "no zone serves the host"),
        (vec!["--prefix", "http://www.case.test/docs", "--zone", "site"], "is no prefix"),
        (vec!["--prefix", "www.case.test/docs?x", "--zone", "site"], "is no prefix"),
        (vec!["--zone", "site", "--tag", "a,b"], "is no tag"),
        (vec!["--zone", "none", "--tag", "a"], "there is no zone"),
    ] {
        let (ok, said) = node.command(&[&["purge"], &*arguments].concat()).await?;
        ensure!(!ok && said.contains(part), "{arguments:?}: {said}");
    }
    ensure!(fetched(&mut client).await?.is_empty(), "something was purged");
    node.stop().await
}

async fn ask_admin(edge: &Edge, method: &str, target: &str, fields: &str, body: &str) -> anyhow::Result<Message> {
    let address = edge.at.admin.context("no admin listener")?;
    let mut client = RawClient::connect(&Target::plain(address)).await?;
    let length = body.len();
    client
        .ask(&format!(
            "{method} {target} HTTP/1.1\r\nHost: {address}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await
}

fn authorization() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

async fn json_of(edge: &Edge, method: &str, target: &str, body: &Value) -> anyhow::Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let answer = ask_admin(edge, method, target, &authorization(), &body).await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    ensure!(answer.head.status()? == 200, "{:?} {text}", answer.head);
    Ok(serde_json::from_str(&text)?)
}

const ADMIN: [&str; 1] = ["admin.purge_token_file = \"$DIR/token\""];

async fn purge_over_the_admin_listener() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("admin", origin.address(), &ADMIN, &[]).await?;
    let mut client = node.client().await?;
    fetched(&mut client).await?;
    let call = json!({"tags": [{"zone": "site", "tag": "three"}], "urls": [format!("http://{HOST}/other")]});
    let answer = json_of(&node.edge, "POST", "/purge", &call).await?;
    ensure!(answer["durable"] == true && answer["objects"] == 1, "{answer}");
    ensure!(fetched(&mut client).await? == ["/docsx", "/other"], "what was purged");
    let sequence = answer["sequence"].as_u64().context("a sequence")?;

    let since = json_of(&node.edge, "GET", &format!("/purges?since={}", sequence - 2), &Value::Null).await?;
    let scopes: Vec<&str> =
        since["purges"].as_array().context("purges")?.iter().filter_map(|p| p["scope"].as_str()).collect();
    ensure!(scopes == ["url", "tag"] && since["sequence"] == sequence && since["more"] == false, "{since}");
    ensure!(since["purges"][0]["zone_name"] == "site" && since["purges"][0]["soft"] == false, "{since}");
    let limited = json_of(&node.edge, "GET", &format!("/purges?since={}&limit=1", sequence - 2), &Value::Null).await?;
    ensure!(limited["more"] == true && limited["purges"].as_array().is_some_and(|p| p.len() == 1), "{limited}");
    for lost in [0, sequence + 1] {
        let answer = ask_admin(&node.edge, "GET", &format!("/purges?since={lost}"), &authorization(), "").await?;
        ensure!(answer.head.status()? == 410, "{:?}", answer.head);
    }

    let answer = json_of(&node.edge, "POST", "/purge", &json!({"everything": true, "soft": true})).await?;
    ensure!(answer["sequence"].as_u64() > Some(sequence), "{answer}");
    ensure!(fetched(&mut client).await?.len() == PAGES.len(), "everything");
    let metrics = ask_admin(&node.edge, "GET", "/metrics", "", "").await?;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    for line in
        ["archipel_purge_journal_works 1", "archipel_cache_purges_scope_total 2", "archipel_cache_purges_key_total 1"]
    {
        ensure!(metrics.contains(line), "{line} is missing in:\n{metrics}");
    }
    ensure!(!node.edge.output.text().contains(TOKEN), "the token is in the log");
    node.stop().await
}

async fn purge_over_the_admin_listener_is_refused() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("refused", origin.address(), &ADMIN, &[]).await?;
    let (good, everything) = (authorization(), r#"{"everything":true}"#);
    let wrong = good.replace("0123", "3210");
    let many = json!({"urls": vec!["http://www.case.test/"; 1_001]}).to_string();
    let large = format!("{{\"urls\":[\"{}\"]}}", "x".repeat(2 << 20));
    let evil = format!("{good}Host: rebind.example\r\n");
    for (method, target, fields, body, status, part) in [
        ("POST", "/purge", "", everything, 401, "a token is needed"),
        ("POST", "/purge", &*wrong, everything, 401, "the token is wrong"),
        ("GET", "/purges?since=0", "", "", 401, "a token is needed"),
        ("GET", "/purge", &good, "", 405, "POST"),
        ("POST", "/purges", &good, "", 405, "GET"),
        ("POST", "/purge", &good, "{", 400, "is not understood"),
        ("POST", "/purge", &good, r#"{"everthing":true}"#, 400, "is not understood"),
        ("POST", "/purge", &good, "{}", 400, "nothing to purge is named"),
        ("POST", "/purge", &good, &*many, 400, "more than 1000"),
        ("POST", "/purge", &good, &*large, 413, "larger than"),
        ("POST", "/purge", &good, r#"{"zones":["none"]}"#, 422, "there is no zone"),
        ("GET", "/purges", &good, "", 400, "since=N"),
        ("GET", "/purges?since=x", &good, "", 400, "is not understood"),
        ("POST", "/purge", &evil, everything, 400, ""),
    ] {
        let answer = ask_admin(&node.edge, method, target, fields, body).await?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(
            answer.head.status()? == status && text.contains(part),
            "{method} {target} {body:.40}: {:?} {text}",
            answer.head
        );
    }
    node.stop().await?;
    let node = Node::start("off", origin.address(), &[], &[]).await?;
    let answer = ask_admin(&node.edge, "POST", "/purge", &good, everything).await?;
    ensure!(answer.head.status()? == 403, "without a token file it is off: {:?}", answer.head);
    node.stop().await
}

async fn purge_needs_a_secret_file() -> Outcome {
    let of_zone = ["purge.method = true", "purge.token_file = \"$DIR/token\""];
    for (node, zone) in [(&ADMIN[..], &[][..]), (&[][..], &of_zone[..])] {
        let site = Site::new("open-token", node)?;
        site.zone("site", &[HOST], "http://127.0.0.1:1", zone)?;
        site.folder.write("token", TOKEN)?;
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(site.dir().join("token"), open)?;
        let dir = site.dir().display().to_string();
        let (status, _, err) = archipel_testkit::edge::run(Path::new(BINARY), &["up", "--config", &dir]).await?;
        ensure!(!status.success() && err.contains("token_file") && err.contains("chmod 600"), "{err}");
        ensure!(!err.contains(TOKEN), "the token is told: {err}");
    }
    Ok(())
}

async fn purges_outlive_a_kill() -> Outcome {
    let origin = origin().await?;
    let site = Site::new("outlive", &[ADMIN[0], "log.access = \"off\""])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    let mut last = 0;
    let mut first = None;
    for round in 0..3_u64 {
        let mut edge = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
        let call = json!({"tags": [{"zone": "site", "tag": format!("tag-{round}")}]});
        let answer = json_of(&edge, "POST", "/purge", &call).await?;
        let sequence = answer["sequence"].as_u64().context("a sequence")?;
        ensure!(answer["durable"] == true && sequence > last, "{answer} after {last}");
        let since = *first.get_or_insert(sequence - 1);
        edge.signal(Signal::KILL)?;
        edge.wait().await?;
        last = sequence;
        let mut edge = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
        let answer = json_of(&edge, "GET", &format!("/purges?since={since}"), &Value::Null).await?;
        let count = answer["purges"].as_array().map_or(0, Vec::len) as u64;
        ensure!(count == round + 1 && answer["sequence"].as_u64() > Some(sequence), "{answer}");
        edge.stop().await?;
    }
    // Damaged in the middle: it starts, and asks everybody to purge everything.
    let path = site.dir().join("state/purges");
    let mut bytes = std::fs::read(&path)?;
    bytes[80] ^= 1;
    std::fs::write(&path, bytes)?;
    let mut edge = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
    let answer = ask_admin(&edge, "GET", &format!("/purges?since={last}"), &authorization(), "").await?;
    ensure!(answer.head.status()? == 410, "{:?}", answer.head);
    ensure!(edge.output.text().contains("purge journal is damaged"), "{}", edge.output.text());
    edge.stop().await
}

async fn purge_without_a_journal_says_so() -> Outcome {
    let origin = origin().await?;
    let site = Site::new("broken", &[ADMIN[0]])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    // Nothing can be written where a folder is.
    std::fs::create_dir_all(site.dir().join("state/purges/x"))?;
    let (edge, world) = site.start().await?;
    let node = Node { site, edge, world };
    let mut client = node.client().await?;
    fetched(&mut client).await?;
    let (ok, said) = node.command(&["purge", "--everything"]).await?;
    ensure!(ok && said.contains("purged everything") && said.contains("a crash of the node would forget it"), "{said}");
    ensure!(fetched(&mut client).await?.len() == PAGES.len(), "it is in force");
    let metrics = ask_admin(&node.edge, "GET", "/metrics", "", "").await?;
    ensure!(String::from_utf8_lossy(&metrics.body).contains("archipel_purge_journal_works 0"), "the metric");
    // Mended without a restart.
    std::fs::remove_dir_all(node.site.dir().join("state/purges"))?;
    let answer = json_of(&node.edge, "POST", "/purge", &json!({"zones": ["site"]})).await?;
    ensure!(answer["durable"] == true, "{answer}");
    node.stop().await
}

async fn purge_method_is_explained() -> Outcome {
    let origin = origin().await?;
    let lines = ["purge.method = true", "purge.token_file = \"$DIR/token\""];
    let node = Node::start("explained", origin.address(), &[], &lines).await?;
    let mut client = node.client().await?;
    fetched(&mut client).await?;
    let url = format!("http://{HOST}/other");
    let state = node.site.dir().join("state").display().to_string();
    for (token, part) in [(TOKEN, "would be purged"), ("wrong", "token of this PURGE request is wrong")] {
        let field = format!("Authorization: Bearer {token}");
        let arguments = ["explain", "--state-dir", &state, "curl", "-X", "PURGE", "-H", &field, &url];
        let (_, out, err) = archipel_testkit::edge::run(Path::new(BINARY), &arguments).await?;
        ensure!(out.contains(part), "{out}{err}");
    }
    ensure!(fetched(&mut client).await?.is_empty(), "an explanation purges nothing");
    node.stop().await
}

/// A host that goes to another zone and comes back does not find there what was purged meanwhile.
async fn purge_of_a_host_that_moves() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("moves", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    fetched(&mut client).await?;
    let reload = async || {
        let (ok, said) = node.command(&["reload"]).await?;
        ensure!(ok, "{said}");
        anyhow::Ok(())
    };
    node.site.plain_zone("site", "elsewhere.case.test", origin.address(), &[])?;
    node.site.plain_zone("second", HOST, origin.address(), &[])?;
    reload().await?;
    ensure!(fetched(&mut client).await?.len() == PAGES.len(), "another zone's cache");
    let (ok, said) = node.command(&["purge", "--host", HOST]).await?;
    ensure!(ok, "{said}");
    node.site.plain_zone("second", "elsewhere.case.test", origin.address(), &[])?;
    node.site.plain_zone("site", HOST, origin.address(), &[])?;
    reload().await?;
    ensure!(fetched(&mut client).await?.len() == PAGES.len(), "what was stored before the purge");
    node.stop().await
}

const TAGGED: &str = "Cache-Control: max-age=60\r\nCache-Tag: x\r\n";

async fn purge_x(node: &Node) -> Outcome {
    let (ok, said) = node.command(&["purge", "--zone", "site", "--tag", "x"]).await?;
    ensure!(ok, "{said}");
    Ok(())
}

/// Nobody joins it any more, and it is not stored.
async fn purge_of_a_tag_while_the_body_comes() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    let head = format!("HTTP/1.1 200 OK\r\n{TAGGED}Content-Length: 4\r\n\r\nol");
    origin.on("/a", vec![Act::send(&head), Act::Wait(gate.clone()), Act::send("d!")]);
    let node = Node::start("body", origin.address(), &[], &[]).await?;
    let (mut first, mut second) = (node.client().await?, node.client().await?);
    first.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    first.read_head(false).await?;
    origin.on("/a", vec![Act::reply("200 OK", TAGGED, "new")]);
    purge_x(&node).await?;
    ensure!(second.get(HOST, "/a").await?.body == b"new", "a request after the purge");
    gate.release();
    ensure!(first.read_rest().await?.0 == b"old!", "the one that began before it");
    ensure!(second.get(HOST, "/a").await?.body == b"new" && origin.count("/a") == 2, "what is stored");
    node.stop().await
}

/// Its tags are known with its head: who waited for it fetches anew, and it is not stored.
async fn purge_of_a_tag_before_the_head_comes() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    origin.on("/a", vec![Act::Wait(gate.clone()), Act::reply("200 OK", TAGGED, "old")]);
    let node = Node::start("head", origin.address(), &[], &[]).await?;
    let (mut first, mut second) = (node.client().await?, node.client().await?);
    first.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    origin.wait_for("/a", 1).await?;
    origin.on("/a", vec![Act::reply("200 OK", TAGGED, "new")]);
    purge_x(&node).await?;
    second.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await;
    gate.release();
    ensure!(first.read_response().await?.body == b"old", "the one that began before the purge");
    ensure!(second.read_response().await?.body == b"new", "the one that came after it");
    ensure!(first.get(HOST, "/a").await?.body == b"new" && origin.count("/a") == 2, "what is stored");
    node.stop().await
}

/// A purge over a connection that was open when another process took over counts there as well.
async fn purge_by_the_node_that_hands_over() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let fields = "Cache-Control: max-age=60\r\n";
    origin.on("/a", vec![Act::reply("200 OK", fields, "old")]);
    let lines = ["purge.method = true", "purge.token_file = \"$DIR/token\""];
    let mut old = Node::start("successor", origin.address(), &[], &lines).await?;
    let mut before = old.client().await?;
    before.get(HOST, "/a").await?;
    let mut new = Edge::start(Path::new(BINARY), old.site.dir(), &["--replace"]).await?;
    // The node before accepts until it hears that it is replaced; each has a memory of its own.
    let mut after = archipel_testkit::within("a connection to the successor", async {
        loop {
            let mut client = RawClient::connect(&Target::plain(new.at.plain()?)).await?;
            client.get(HOST, "/a").await?;
            if origin.count("/a") == 2 {
                return anyhow::Ok(client);
            }
        }
    })
    .await??;
    let answer = before.ask(&format!("PURGE /a HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", authorization())).await?;
    ensure!(
        answer.head.status()? == 200 && String::from_utf8_lossy(&answer.body).contains("\"durable\":true"),
        "{:?}",
        answer.head
    );
    origin.on("/a", vec![Act::reply("200 OK", fields, "new")]);
    archipel_testkit::within("the purge to reach the successor", async {
        while after.get(HOST, "/a").await?.body != b"new" {}
        anyhow::Ok(())
    })
    .await??;
    old.edge.wait().await?;
    new.stop().await
}

/// A 304 need not repeat the tags of what it confirms.
async fn tags_survive_a_revalidation() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", &format!("{TAGGED}ETag: \"1\"\r\n"), "old")]);
    let node = Node::start("renewed", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    client.get(HOST, "/a").await?;
    let (ok, said) = node.command(&["purge", "--zone", "site", "--soft"]).await?;
    ensure!(ok, "{said}");
    origin.on("/a", vec![Act::send("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nCache-Control: max-age=60\r\n\r\n")]);
    ensure!(client.get(HOST, "/a").await?.body == b"old", "confirmed");
    ensure!(client.get(HOST, "/a").await?.body == b"old" && origin.count("/a") == 2, "a hit");
    origin.on("/a", vec![Act::reply("200 OK", TAGGED, "new")]);
    purge_x(&node).await?;
    ensure!(client.get(HOST, "/a").await?.body == b"new", "it had the tag still");
    node.stop().await
}
