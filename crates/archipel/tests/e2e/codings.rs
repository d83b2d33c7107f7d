//! Content codings where bytes matter: what streams, what is made again, what is purged, many visitors at once.

use anyhow::{Context as _, ensure};
use archipel_testkit::chance::Chance;
use archipel_testkit::client::RawClient;
use archipel_testkit::coded::{self, Coming, Format};
use archipel_testkit::message::Message;
use archipel_testkit::origin::{Act, Gate, ScriptedOrigin};
use archipel_testkit::play::{metric, scrape};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::site::{HOST, Node};

crate::tests![
    codings_stream_while_the_origin_sends,
    codings_are_flushed_where_nothing_follows,
    codings_are_made_once_for_many,
    codings_are_made_smaller_in_the_background,
    codings_end_with_what_they_were_made_of,
    codings_switched_off_by_reload,
    codings_survive_a_visitor_who_leaves,
    codings_that_gain_nothing,
    codings_against_a_dictionary,
];

const FIELDS: &str = "Cache-Control: max-age=60\r\nContent-Type: text/html\r\nETag: \"v\"\r\n";

/// Text that compresses to about a fifth, the same for one seed.
fn text(seed: u64, len: usize) -> Vec<u8> {
    let mut chance = Chance::new(seed);
    let mut text = Vec::with_capacity(len + 16);
    while text.len() < len {
        text.extend_from_slice(format!("<p id={}>island</p>\n", chance.below(5000)).as_bytes());
    }
    text.truncate(len);
    text
}

fn reply(fields: &str, content: &[u8]) -> Act {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", content.len());
    Act::send([head.as_bytes(), content].concat())
}

async fn ask(client: &mut RawClient, path: &str, accepted: &str) -> anyhow::Result<Message> {
    client.ask(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: {accepted}\r\n\r\n")).await
}

/// The content of an answer that must be in this coding.
fn content(answer: &Message, token: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(answer.head.status()? == 200, "{:?}", answer.head);
    let coding = answer.head.get("content-encoding");
    ensure!(coding.is_some_and(|coding| coding == token), "not in {token}: {:?}", answer.head);
    coded::decode(coded::format(token)?, &answer.body)
}

/// A large reply is decodable as far as it came, long before its end, for the one who fetches and for one who joins.
async fn codings_stream_while_the_origin_sends() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gate = Gate::new();
    let whole = text(1, 200_000);
    let head = format!("HTTP/1.1 200 OK\r\n{FIELDS}Content-Length: {}\r\n\r\n", whole.len());
    origin.on(
        "/a",
        vec![
            Act::send([head.as_bytes(), &whole[..100_000]].concat()),
            Act::Wait(gate.clone()),
            Act::send(&whole[100_000..]),
        ],
    );
    let node = Node::start("codings-stream", origin.address(), &[], &[]).await?;
    let mut readers = Vec::new();
    for token in ["br", "gzip", "zstd", "gzip"] {
        let mut client = node.client().await?;
        client.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: {token}\r\n\r\n")).await;
        let head = client.read_head(false).await.context(token)?.context("no answer")?;
        ensure!(head.get("content-encoding").is_some_and(|coding| coding == token), "{head:?}");
        let mut got = Coming::new(coded::format(token)?)?;
        // The origin stands still: what it sent must come out all the same.
        while got.out.len() < 100_000 {
            let byte =
                client.read_part(1).await.with_context(|| format!("{token}: {} bytes came out", got.out.len()))?;
            got.push(&byte)?;
        }
        readers.push((client, token, got));
    }
    gate.release();
    for (mut client, token, mut got) in readers {
        let (rest, _, cut) = client.read_rest().await?;
        ensure!(cut.is_none(), "{token} was cut");
        got.push(&rest)?;
        ensure!(got.finish()? == whole, "{token}: other bytes came out");
    }
    ensure!(origin.count("/a") == 1, "{} requests came to the origin", origin.count("/a"));
    node.stop().await
}

/// What is not stored is flushed whenever the origin pauses.
async fn codings_are_flushed_where_nothing_follows() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let gates = [Gate::new(), Gate::new()];
    let head =
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let acts = vec![
        Act::send(format!("{head}5\r\nfirst\r\n")),
        Act::Wait(gates[0].clone()),
        Act::send("6\r\nsecond\r\n"),
        Act::Wait(gates[1].clone()),
        Act::send("0\r\n\r\n"),
    ];
    origin.on("/a", acts);
    let node = Node::start("codings-flush", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    client.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip\r\n\r\n")).await;
    client.read_head(false).await?.context("no answer")?;
    let mut got = Coming::new(Format::Gzip)?;
    for (wanted, gate) in ["first", "firstsecond"].iter().zip(&gates) {
        while got.out != wanted.as_bytes() {
            got.push(&client.read_part(1).await?)?;
        }
        gate.release();
    }
    let (rest, _, cut) = client.read_rest().await?;
    got.push(&rest)?;
    ensure!(cut.is_none() && got.finish()? == b"firstsecond", "the end is wrong");
    node.stop().await
}

async fn codings_are_made_once_for_many() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let whole = text(2, 400_000);
    origin.on("/a", vec![reply(FIELDS, &whole)]);
    let zone = ["compression.background_levels.zstd = 0"];
    let node = Node::start("codings-once", origin.address(), &[], &zone).await?;
    node.client().await?.get(HOST, "/a").await?;
    let mut visitors = JoinSet::new();
    for _ in 0..20 {
        let mut client = node.client().await?;
        client.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: zstd\r\n\r\n")).await;
        visitors.spawn(async move { client.read_response().await });
    }
    while let Some(answer) = visitors.join_next().await {
        ensure!(content(&answer??, "zstd")? == whole, "other bytes came out");
    }
    let answer = ask(&mut node.client().await?, "/a", "zstd").await?;
    ensure!(answer.head.get("content-length").is_some(), "not from the store: {:?}", answer.head);
    let page = scrape(node.world.at.admin.context("admin")?).await?;
    ensure!(metric(&page, "archipel_codings_total")? == 1.0, "made more than once:\n{page}");
    ensure!(origin.count("/a") == 1, "{} requests came to the origin", origin.count("/a"));
    node.stop().await
}

async fn codings_are_made_smaller_in_the_background() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let whole = text(3, 60_000);
    origin.on("/a", vec![reply(FIELDS, &whole)]);
    let zone = ["compression.levels.br = 1", "compression.background_levels.br = 9"];
    let node = Node::start("codings-background", origin.address(), &[], &zone).await?;
    let mut client = node.client().await?;
    let first = ask(&mut client, "/a", "br").await?;
    ensure!(content(&first, "br")? == whole, "the first answer");
    let mut asked = 0;
    loop {
        let answer = ask(&mut client, "/a", "br").await?;
        ensure!(content(&answer, "br")? == whole, "other bytes came out");
        if answer.body.len() * 10 < first.body.len() * 9 {
            break;
        }
        asked += 1;
        ensure!(asked < 20_000, "{} bytes at first and {} still", first.body.len(), answer.body.len());
    }
    let page = scrape(node.world.at.admin.context("admin")?).await?;
    ensure!(metric(&page, "archipel_coding_background_done_total")? == 1.0, "{page}");
    ensure!(origin.count("/a") == 1, "{} requests came to the origin", origin.count("/a"));
    node.stop().await
}

/// A purge, an unsafe request and a new reply each take the coded forms with them.
async fn codings_end_with_what_they_were_made_of() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let node = Node::start("codings-bond", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    for round in 0..4_u64 {
        let whole = text(round, 50_000);
        origin.on("/a", vec![reply(FIELDS, &whole)]);
        match round {
            0 => {}
            1 => {
                let (ok, said) = node.command(&["purge", "http://www.case.test/a"]).await?;
                ensure!(ok, "purge failed: {said}");
            }
            2 => {
                let (ok, said) = node.command(&["purge", "--everything"]).await?;
                ensure!(ok, "purge failed: {said}");
            }
            _ => {
                client.ask(&format!("DELETE /a HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await?;
            }
        }
        for token in ["br", "gzip", "zstd", "br", "gzip", "zstd"] {
            let answer = ask(&mut client, "/a", token).await?;
            ensure!(content(&answer, token)? == whole, "round {round}: an old {token} form");
        }
    }
    node.stop().await
}

/// What was fetched for everybody is not used once each visitor is asked for alone.
async fn codings_switched_off_by_reload() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let whole = text(5, 5_000);
    let packed = coded::encode(Format::Gzip, &whole)?;
    let coded_fields = format!("{FIELDS}Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n");
    origin.on("/a", vec![reply(&coded_fields, &packed)]);
    let node =
        Node::start("codings-reload", origin.address(), &[], &["compression.origin_codings = [\"gzip\"]"]).await?;
    let mut client = node.client().await?;
    ensure!(content(&ask(&mut client, "/a", "gzip").await?, "gzip")? == whole, "the first answer");
    ensure!(client.get(HOST, "/a").await?.body == whole, "decoded");
    node.site.plain_zone("site", HOST, origin.address(), &["compression.enabled = false"])?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "reload failed: {said}");
    origin.on("/a", vec![reply(FIELDS, &whole)]);
    let answer = client.get(HOST, "/a").await?;
    ensure!(answer.body == whole && answer.head.get("content-encoding").is_none(), "{:?}", answer.head);
    ensure!(origin.count("/a") == 2, "{} requests came to the origin", origin.count("/a"));
    node.stop().await
}

/// The one for whom a form is made leaves: it is finished for the next.
async fn codings_survive_a_visitor_who_leaves() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let whole = text(6, 3_000_000);
    origin.on("/a", vec![reply(FIELDS, &whole)]);
    let node = Node::start("codings-leave", origin.address(), &[], &[]).await?;
    node.client().await?.get(HOST, "/a").await?;
    let mut leaver = node.client().await?;
    leaver.send(format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip\r\n\r\n")).await;
    leaver.read_head(false).await?.context("no answer")?;
    leaver.read_part(100).await?;
    drop(leaver);
    let answer = ask(&mut node.client().await?, "/a", "gzip").await?;
    ensure!(content(&answer, "gzip")? == whole, "other bytes came out");
    let page = scrape(node.world.at.admin.context("admin")?).await?;
    ensure!(metric(&page, "archipel_codings_total")? == 1.0, "made more than once:\n{page}");
    node.stop().await
}

/// Random bytes under a text's name: found out once, then sent as they are.
async fn codings_that_gain_nothing() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let mut chance = Chance::new(9);
    let whole: Vec<u8> = (0..20_000).map(|_| chance.below(256) as u8).collect();
    origin.on("/a", vec![reply(FIELDS, &whole)]);
    let node = Node::start("codings-useless", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    client.get(HOST, "/a").await?;
    for _ in 0..3 {
        let answer = ask(&mut client, "/a", "gzip").await?;
        ensure!(answer.body == whole && answer.head.get("content-encoding").is_none(), "{:?}", answer.head);
        ensure!(answer.head.get("etag").is_some_and(|etag| etag == "\"v\""), "{:?}", answer.head);
    }
    let page = scrape(node.world.at.admin.context("admin")?).await?;
    ensure!(metric(&page, "archipel_codings_total")? == 1.0, "tried more than once:\n{page}");
    node.stop().await
}

/// Against a reply that the visitor has: by the origin's word and by a rule; not once it was purged.
async fn codings_against_a_dictionary() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let old = text(10, 100_000);
    let mut new = old.clone();
    new[50_000..50_100].fill(b'x');
    let fields = FIELDS.replace("text/html", "application/javascript");
    origin.on("/js/app.1.js", vec![reply(&fields, &old)]);
    origin.on("/js/app.2.js", vec![reply(&fields, &new)]);
    let zone =
        ["compression.dictionaries.enabled = true", "compression.dictionaries.rule = [{ pattern = \"/js/app.*.js\" }]"];
    let node = Node::start("codings-dictionary", origin.address(), &[], &zone).await?;
    let mut client = node.client().await?;
    let first = client.get(HOST, "/js/app.1.js").await?;
    let announced = first.head.get("use-as-dictionary");
    ensure!(announced.is_some_and(|value| value == "match=\"/js/app.*.js\""), "{:?}", first.head);
    client.get(HOST, "/js/app.2.js").await?;
    let hash = archipel_testkit::coded::sha256(&old);
    let request = format!(
        "GET /js/app.2.js HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: gzip, br, dcz\r\nAvailable-Dictionary: {hash}\r\n\r\n"
    );
    // The node hashes one candidate a request, and has two.
    let mut answer = client.ask(&request).await?;
    if answer.head.get("content-encoding").is_some_and(|coding| coding == "br") {
        answer = client.ask(&request).await?;
    }
    ensure!(answer.head.get("content-encoding").is_some_and(|coding| coding == "dcz"), "{:?}", answer.head);
    ensure!(answer.head.list("vary").iter().any(|name| name.eq_ignore_ascii_case("available-dictionary")));
    ensure!(answer.head.get("etag").is_some_and(|etag| etag == "W/\"v\""), "{:?}", answer.head);
    ensure!(
        answer.body.len() < 2_000 && answer.body.starts_with(&[0x5e, 0x2a, 0x4d, 0x18]),
        "{} bytes",
        answer.body.len()
    );
    ensure!(coded::decode_against(&old, &answer.body[40..])? == new, "other bytes came out");
    let (ok, said) = node.command(&["purge", "http://www.case.test/js/app.1.js"]).await?;
    ensure!(ok, "purge failed: {said}");
    let answer = client.ask(&request).await?;
    ensure!(answer.head.get("content-encoding").is_some_and(|coding| coding == "br"), "{:?}", answer.head);
    node.stop().await
}
