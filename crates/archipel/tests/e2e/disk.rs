//! The disk tier with the real program: what it keeps over restarts and kills, what it streams, and what a broken one costs.

use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use archipel_testkit::chance::pattern;
use archipel_testkit::client::RawClient;
use archipel_testkit::coded;
use archipel_testkit::edge::Edge;
use archipel_testkit::message::Message;
use archipel_testkit::origin::{Act, ScriptedOrigin};
use archipel_testkit::wire::Target;
use rustix::process::Signal;

use crate::Outcome;
use crate::site::{BINARY, HOST, Site};

crate::tests![
    disk_keeps_objects_over_a_restart,
    disk_survives_kills_and_never_lies,
    disk_remembers_purges_over_a_kill,
    disk_streams_what_is_too_large_for_memory,
    disk_renews_what_was_validated,
    disk_is_not_written_with_each_validation,
    disk_keeps_slices,
    disk_answers_as_memory_does,
    disk_bodies_are_coded,
    disk_folder_that_cannot_be_used_costs_only_the_disk,
    disk_goes_to_the_successor,
];

/// Small objects, one with variants, and large ones: path, fields, bytes.
const OBJECTS: [(&str, &str, u64); 4] = [
    ("/small", "ETag: \"s\"\r\n", 700),
    ("/empty", "", 0),
    ("/middle", "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n", 900_000),
    ("/large", "ETag: \"l\"\r\n", 6 << 20),
];

const DISK: [&str; 4] = [
    "cache.disk.path = \"$DIR/cache\"",
    "cache.disk.bytes_max = \"64MiB\"",
    "cache.disk.object_bytes_max = \"16MiB\"",
    // What is larger goes to the disk alone.
    "cache.object_bytes_max = \"2MiB\"",
];

/// A node, its origin, and the way there.
struct World {
    origin: ScriptedOrigin,
    site: Site,
    edge: Edge,
}

impl World {
    async fn start(label: &str, more: &[&str]) -> anyhow::Result<Self> {
        let origin = ScriptedOrigin::start().await?;
        for (seed, (path, fields, bytes)) in OBJECTS.iter().enumerate() {
            let head =
                format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n{fields}Content-Length: {bytes}\r\n\r\n");
            origin.on(path, vec![Act::send(head), Act::SendPattern { seed: seed as u64, count: *bytes }]);
        }
        let site = Site::new(label, &[&DISK[..], &["log.access = \"off\""], more].concat())?;
        site.plain_zone("site", HOST, origin.address(), &[])?;
        let edge = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
        let world = Self { origin, site, edge };
        world.disk_is_ready().await?;
        Ok(world)
    }

    async fn client(&self) -> anyhow::Result<RawClient> {
        RawClient::connect(&Target::plain(self.edge.at.plain()?)).await
    }

    async fn get(&self, path: &str, fields: &str) -> anyhow::Result<Message> {
        self.client().await?.ask(&format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")).await
    }

    async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let admin = self.edge.at.admin.context("no admin listener")?;
        let page = RawClient::connect(&Target::plain(admin)).await?.get("localhost", "/metrics").await?;
        let page = String::from_utf8(page.body)?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.with_context(|| format!("no metric {name}"))?.parse().context("a number")
    }

    /// Waits until a gauge or counter is at least that much: each look is a request to the node.
    async fn until(&self, name: &str, least: u64) -> Outcome {
        for _ in 0..20_000 {
            if self.metric(name).await? >= least {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
        bail!("{name} does not become {least}")
    }

    async fn disk_is_ready(&self) -> Outcome {
        self.until("archipel_cache_disk_readable", 1).await
    }

    /// Every object must be right; those that came from the disk.
    async fn on_disk(&self) -> anyhow::Result<Vec<&'static str>> {
        let mut found = Vec::new();
        for (seed, (path, _, bytes)) in OBJECTS.iter().enumerate() {
            let answer = self.get(path, "").await?;
            ensure!(answer.head.status()? == 200 && answer.body.len() as u64 == *bytes, "{path}: {:?}", answer.head);
            ensure!(answer.body == pattern(seed as u64, 0, answer.body.len()), "{path}: wrong bytes");
            if answer
                .head
                .get("cache-status")
                .is_some_and(|status| status.contains("hit") && status.contains("detail=disk"))
            {
                found.push(*path);
            }
        }
        Ok(found)
    }

    async fn filled(label: &str, more: &[&str]) -> anyhow::Result<Self> {
        let world = Self::start(label, more).await?;
        ensure!(world.on_disk().await?.is_empty(), "nothing is there yet");
        world.until("archipel_cache_disk_writes_total", OBJECTS.len() as u64).await?;
        Ok(world)
    }

    async fn again(self) -> anyhow::Result<Self> {
        let edge = Edge::start(Path::new(BINARY), self.site.dir(), &[]).await?;
        let world = Self { edge, ..self };
        world.disk_is_ready().await?;
        Ok(world)
    }

    async fn restarted(mut self) -> anyhow::Result<Self> {
        self.edge.stop().await?;
        self.again().await
    }

    async fn killed(mut self) -> anyhow::Result<Self> {
        self.edge.signal(Signal::KILL)?;
        self.edge.wait().await?;
        self.again().await
    }
}

const ALL: [&str; 4] = ["/small", "/empty", "/middle", "/large"];

async fn disk_keeps_objects_over_a_restart() -> Outcome {
    let world = World::filled("disk", &[]).await?.restarted().await?;
    let found = world.on_disk().await?;
    ensure!(found == ALL, "{found:?} were found");
    ensure!(world.origin.requests().len() == 4, "each was fetched once");
    ensure!(world.metric("archipel_cache_disk_recovered_scanned_total").await? == 0, "it was ended in good order");
    let head = world.client().await?.ask(&format!("HEAD /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await?;
    ensure!(head.head.get("content-length") == Some("6291456"), "{:?}", head.head);
    let unchanged = world.get("/large", "If-None-Match: \"l\"\r\n").await?;
    ensure!(unchanged.head.status()? == 304, "{:?}", unchanged.head);
    let part = world.get("/large", "Range: bytes=3000000-3000099\r\n").await?;
    ensure!(part.head.status()? == 206 && part.body == pattern(3, 3_000_000, 100), "{:?}", part.head);
    let parts = world.get("/large", "Range: bytes=0-9,5000000-5000009\r\n").await?;
    let holds = |from: u64| parts.body.windows(10).any(|window| window == pattern(3, from, 10));
    ensure!(parts.head.status()? == 206 && holds(0) && holds(5_000_000), "{:?}", parts.head);
    let mut world = world;
    world.edge.stop().await
}

async fn disk_survives_kills_and_never_lies() -> Outcome {
    let mut world = World::filled("disk-kill", &[]).await?;
    for round in 0..3 {
        world = world.killed().await?;
        let found = world.on_disk().await?;
        ensure!(found == ALL, "round {round}: {found:?} were found");
    }
    ensure!(world.origin.requests().len() == 4, "each was fetched once");
    world.edge.stop().await
}

async fn disk_remembers_purges_over_a_kill() -> Outcome {
    let world = World::filled("disk-purge", &[]).await?;
    let url = format!("http://{HOST}/large");
    let (ok, said) = crate::site::command(&world.site, &["purge", &url]).await?;
    ensure!(ok, "{said}");
    let world = world.killed().await?;
    let found = world.on_disk().await?;
    ensure!(found == ["/small", "/empty", "/middle"], "{found:?} were found");
    ensure!(world.origin.count("/large") == 2, "it was fetched again");
    world.until("archipel_cache_disk_writes_total", 1).await?;
    let (ok, said) = crate::site::command(&world.site, &["purge", "--everything"]).await?;
    ensure!(ok, "{said}");
    let mut world = world.killed().await?;
    let found = world.on_disk().await?;
    ensure!(found.is_empty(), "{found:?} were found");
    world.edge.stop().await
}

async fn disk_streams_what_is_too_large_for_memory() -> Outcome {
    let world = World::filled("disk-large", &["cache.memory_bytes_max = \"4MiB\""]).await?;
    for _ in 0..3 {
        ensure!(world.on_disk().await?.contains(&"/large"), "it streams from the disk");
    }
    ensure!(world.origin.count("/large") == 1, "it was fetched once");
    let mut world = world;
    world.edge.stop().await
}

async fn disk_renews_what_was_validated() -> Outcome {
    let world = World::start("disk-304", &[]).await?;
    let body = pattern(1, 0, 3 << 20);
    let head =
        format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=0\r\nETag: \"v\"\r\nContent-Length: {}\r\n\r\n", body.len());
    world.origin.on("/stale", vec![Act::send(head), Act::SendPattern { seed: 1, count: body.len() as u64 }]);
    let first = world.get("/stale", "").await?;
    ensure!(first.body == body, "{:?}", first.head);
    world.until("archipel_cache_disk_writes_total", 1).await?;
    world.origin.on(
        "/stale",
        vec![Act::send("HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=600\r\nETag: \"v\"\r\n\r\n")],
    );
    let second = world.get("/stale", "").await?;
    ensure!(second.head.status()? == 200 && second.body == body, "{:?}", second.head);
    world.until("archipel_cache_disk_renewals_total", 1).await?;
    let third = world.get("/stale", "").await?;
    ensure!(third.body == body && world.origin.count("/stale") == 2, "{:?}", third.head);
    let mut world = world;
    world.edge.stop().await
}

async fn disk_is_not_written_with_each_validation() -> Outcome {
    let world = World::start("disk-validated", &[]).await?;
    let fields = "Cache-Control: max-age=0\r\nETag: \"v\"\r\n";
    for (path, bytes) in [("/often", 50_000), ("/often-large", 3 << 20)] {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {bytes}\r\n\r\n");
        world.origin.on(path, vec![Act::send(head), Act::SendPattern { seed: 1, count: bytes }]);
        let before = world.metric("archipel_cache_disk_writes_total").await?;
        world.get(path, "").await?;
        world.until("archipel_cache_disk_writes_total", before + 1).await?;
        world.origin.on(path, vec![Act::send(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n"))]);
        for _ in 0..30 {
            let answer = world.get(path, "").await?;
            ensure!(answer.body == pattern(1, 0, bytes as usize), "{path}: {:?}", answer.head);
        }
        ensure!(world.origin.count(path) == 31, "each was validated");
    }
    while world.metric("archipel_cache_disk_queue_bytes").await? > 0 {
        tokio::task::yield_now().await;
    }
    let writes = world.metric("archipel_cache_disk_writes_total").await?;
    ensure!(writes < 10, "{writes} writes for two objects: each is due once a minute");
    let mut world = world;
    world.edge.stop().await
}

async fn disk_keeps_slices() -> Outcome {
    let world = World::start("disk-slices", &[]).await?;
    let lines = ["cache.slice_bytes = \"512KiB\"", "cache.sliced_bytes_min = \"1MiB\""];
    world.site.plain_zone("site", HOST, world.origin.address(), &lines)?;
    let world = world.restarted().await?;
    let body = pattern(4, 0, 2_900_000);
    let fields = "Cache-Control: max-age=600\r\nETag: \"v\"\r\nVary: Accept-Encoding\r\nAccept-Ranges: bytes\r\n";
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    world.origin.on("/sliced", vec![Act::send(head), Act::SendPattern { seed: 4, count: body.len() as u64 }]);
    ensure!(world.get("/sliced", "").await?.body == body, "as fetched");
    // The head, and six slices.
    world.until("archipel_cache_disk_writes_total", 7).await?;
    let world = world.killed().await?;
    let whole = world.get("/sliced", "").await?;
    ensure!(whole.body == body, "{:?}", whole.head);
    let part = world.get("/sliced", "Range: bytes=1048000-1049000\r\n").await?;
    ensure!(part.head.status()? == 206 && part.body == body[1_048_000..=1_049_000], "{:?}", part.head);
    ensure!(world.origin.count("/sliced") == 1, "it was fetched once");
    let mut world = world;
    world.edge.stop().await
}

/// HEAD, preconditions, ranges, variants, trailers and `Age` of what is read from the disk.
async fn disk_answers_as_memory_does() -> Outcome {
    let world = World::filled("disk-semantics", &[]).await?;
    let fields = "Cache-Control: max-age=600\r\nAge: 100\r\nVary: X-Kind\r\n";
    let chunked = "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n";
    world.origin.on("/varies", vec![Act::send(format!("HTTP/1.1 200 OK\r\n{fields}{chunked}"))]);
    world.get("/varies", "X-Kind: a\r\nTE: trailers\r\n").await?;
    world.until("archipel_cache_disk_writes_total", OBJECTS.len() as u64 + 1).await?;
    let world = world.killed().await?;
    let large = pattern(3, 0, 6 << 20);
    let cases: [(&str, &str, u16, &[u8]); 9] = [
        ("GET /small", "If-None-Match: \"s\"\r\n", 304, b""),
        ("GET /small", "If-None-Match: \"other\"\r\n", 200, &pattern(0, 0, 700)),
        ("HEAD /small", "", 200, b""),
        ("HEAD /large", "Range: bytes=0-9\r\n", 200, b""),
        ("GET /large", "Range: bytes=300000-900000\r\n", 206, &large[300_000..=900_000]),
        ("GET /large", "Range: bytes=-5\r\n", 206, &large[large.len() - 5..]),
        ("GET /large", "Range: bytes=0-9\r\nIf-Range: \"old\"\r\n", 200, &large),
        ("GET /large", "Range: bytes=99999999-\r\n", 416, b""),
        ("GET /varies", "X-Kind: a\r\nTE: trailers\r\n", 200, b"hello"),
    ];
    for (line, fields, status, body) in cases {
        let request = format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n");
        let answer = world.client().await?.ask(&request).await?;
        let head = &answer.head;
        ensure!(head.status()? == status && answer.body == body, "{line} {fields}: {head:?}");
        ensure!(head.get("cache-status").is_some_and(|status| status.contains("hit")), "{line}: {head:?}");
        let age: u32 = head.get("age").context("no Age")?.parse()?;
        ensure!(age < 60 || (line == "GET /varies" && (100..160).contains(&age)), "{line}: {head:?}");
    }
    let lengths = [("/small", "700"), ("/empty", "0"), ("/large", "6291456")];
    for (path, length) in lengths {
        let answer = world.client().await?.ask(&format!("HEAD {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await?;
        ensure!(answer.head.get("content-length") == Some(length), "{path}: {:?}", answer.head);
    }
    ensure!(world.origin.count("/varies") == 1, "the variant was found");
    world.get("/varies", "X-Kind: b\r\n").await?;
    ensure!(world.origin.count("/varies") == 2, "another variant is not");
    let mut world = world;
    world.edge.stop().await
}

/// A coded reply made from a body on the disk holds all of it, and so does one with a trailer.
async fn disk_bodies_are_coded() -> Outcome {
    let world = World::start("disk-coded", &[]).await?;
    let text = "<p>an island of the archipelago</p>\n".repeat(60_000).into_bytes();
    let fields = "Cache-Control: max-age=600\r\nContent-Type: text/html\r\nETag: \"v\"\r\n";
    let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", text.len());
    world.origin.on("/text", vec![Act::send([head.as_bytes(), &text].concat())]);
    ensure!(world.get("/text", "").await?.body == text, "as fetched");
    world.until("archipel_cache_disk_writes_total", 1).await?;
    let world = world.killed().await?;
    for token in ["gzip", "br", "zstd"] {
        let answer = world.get("/text", &format!("Accept-Encoding: {token}\r\n")).await?;
        ensure!(answer.head.get("content-encoding").is_some_and(|coding| coding == token), "{:?}", answer.head);
        ensure!(coded::decode(coded::format(token)?, &answer.body)? == text, "{token}: other content");
    }
    ensure!(world.origin.count("/text") == 1, "it was fetched once");
    let mut world = world;
    world.edge.stop().await
}

async fn disk_folder_that_cannot_be_used_costs_only_the_disk() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/a", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "answer")]);
    let site = Site::new("disk-broken", &["cache.disk.path = \"$DIR/page.html\"", "log.access = \"off\""])?;
    site.plain_zone("site", HOST, origin.address(), &[])?;
    let edge = Edge::start(Path::new(BINARY), site.dir(), &[]).await?;
    let mut world = World { origin, site, edge };
    for _ in 0..2 {
        ensure!(world.get("/a", "").await?.body == b"answer", "it serves");
    }
    ensure!(world.origin.count("/a") == 1, "from memory");
    ensure!(world.metric("archipel_cache_disk_readable").await? == 0, "there is no disk");
    world.edge.stop().await
}

async fn disk_goes_to_the_successor() -> Outcome {
    let world = World::filled("disk-replace", &[]).await?;
    let successor = Edge::start(Path::new(BINARY), world.site.dir(), &["--replace"]).await?;
    let World { origin, site, edge: mut before } = world;
    before.wait().await?;
    let mut world = World { origin, site, edge: successor };
    world.disk_is_ready().await?;
    let found = world.on_disk().await?;
    ensure!(found == ALL, "{found:?} were found");
    world.edge.stop().await
}
