//! Large objects in slices: what is fetched, what is served, and that no byte of another representation ever is.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use archipel_testkit::chance::{Chance, pattern};
use archipel_testkit::client::RawClient;
use archipel_testkit::message::{Head, Message};
use archipel_testkit::origin::Gate;
use archipel_testkit::ranges::{Manners, RangeOrigin};
use tokio::task::JoinSet;

use crate::Outcome;
use crate::site::{HOST, Node};

crate::tests![
    slices_whole_reply_is_cut,
    slices_ranges_fill_what_they_touch,
    slices_run_of_missing_ones_is_one_request,
    slices_many_clients_one_fetch,
    slices_followers_stream,
    slices_slow_client_holds_nobody_up,
    slices_head_and_conditions,
    slices_several_ranges,
    slices_suffix,
    slices_unsatisfiable,
    slices_unsatisfiable_without_tag,
    slices_first_range_of_a_small_object,
    slices_if_range,
    slices_not_without_strong_tag,
    slices_not_without_accept_ranges,
    slices_origin_ignores_ranges,
    slices_origin_shifts_ranges,
    slices_origin_sends_less,
    slices_changed_before_the_reply,
    slices_changed_in_the_middle,
    slices_origin_breaks_off,
    slices_origin_is_down,
    slices_revalidated,
    slices_replaced,
    slices_purged,
    slices_larger_than_one_piece_may_be,
    slices_without_memory,
    slices_for_one_are_not_kept,
    slices_refused_to_one_stay_for_others,
    slices_every_byte_right,
];

const SLICE: u64 = 64 << 10;
const LENGTH: u64 = 10 * SLICE + 1234;

const ZONE: [&str; 4] = [
    "cache.slice_bytes = \"64KiB\"",
    "cache.sliced_bytes_min = \"256KiB\"",
    "origin.retries_max = 0",
    "cache.stale_if_unreachable = \"1h\"",
];

struct Site {
    origin: RangeOrigin,
    node: Node,
    client: RawClient,
}

impl Site {
    async fn new(label: &str, manners: Manners) -> anyhow::Result<Self> {
        Self::with(label, manners, &[]).await
    }

    async fn with(label: &str, manners: Manners, node: &[&str]) -> anyhow::Result<Self> {
        let origin = RangeOrigin::start(manners).await?;
        let node = Node::start(label, origin.address(), node, &ZONE).await?;
        let client = node.client().await?;
        Ok(Self { origin, node, client })
    }

    async fn get(&mut self, fields: &str) -> anyhow::Result<Message> {
        self.client.ask(&request(fields)).await
    }

    /// Asks for a range, which must come right.
    async fn range(&mut self, value: &str, first: u64, last: u64) -> anyhow::Result<Message> {
        let answer = self.get(&format!("Range: bytes={value}\r\n")).await?;
        is_range(&answer, 1, first, last).with_context(|| format!("range {value}"))?;
        Ok(answer)
    }

    #[track_caller]
    fn asked(&self, expected: &[&str]) -> anyhow::Result<()> {
        let asked = self.origin.asked();
        ensure!(asked == expected, "the origin was asked for {asked:?}, not for {expected:?}");
        Ok(())
    }
}

fn request(fields: &str) -> String {
    format!("GET /large HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n")
}

fn is_range(answer: &Message, seed: u64, first: u64, last: u64) -> anyhow::Result<()> {
    let (status, range) = (answer.head.status()?, answer.head.get("content-range").unwrap_or_default());
    ensure!(status == 206 && range == format!("bytes {first}-{last}/{LENGTH}"), "{:?}", answer.head);
    ensure!(answer.cut.is_none() && answer.body == pattern(seed, first, (last - first + 1) as usize), "wrong bytes");
    Ok(())
}

fn is_whole(answer: &Message, seed: u64) -> anyhow::Result<()> {
    ensure!(answer.head.status()? == 200, "{:?}", answer.head);
    ensure!(answer.cut.is_none() && answer.body == pattern(seed, 0, LENGTH as usize), "wrong bytes");
    Ok(())
}

fn cache_status(head: &Head) -> &str {
    head.get("cache-status").unwrap_or_default()
}

async fn slices_whole_reply_is_cut() -> Outcome {
    let mut site = Site::new("whole", Manners::good(1, LENGTH)).await?;
    let answer = site.get("").await?;
    is_whole(&answer, 1)?;
    ensure!(cache_status(&answer.head).contains("stored"), "{:?}", answer.head);
    let answer = site.get("").await?;
    is_whole(&answer, 1)?;
    ensure!(cache_status(&answer.head).contains("hit"), "{:?}", answer.head);
    site.range("70000-70001", 70_000, 70_001).await?;
    site.asked(&["-"])?;
    site.node.stop().await
}

async fn slices_ranges_fill_what_they_touch() -> Outcome {
    let mut site = Site::new("touch", Manners::good(1, LENGTH)).await?;
    site.range("200000-200099", 200_000, 200_099).await?;
    site.range("196608-262143", 3 * SLICE, 4 * SLICE - 1).await?;
    site.range("100-131071", 100, 2 * SLICE - 1).await?;
    site.asked(&["bytes=196608-262143", "bytes=0-131071"])?;
    let asked = site.origin.requests();
    ensure!(asked[0].get("if-range").is_none() && asked[1].get("if-range") == Some("\"1\""), "{asked:?}");
    site.node.stop().await
}

async fn slices_run_of_missing_ones_is_one_request() -> Outcome {
    let mut site = Site::new("run", Manners::good(1, LENGTH)).await?;
    site.range("262144-262144", 4 * SLICE, 4 * SLICE).await?;
    is_whole(&site.get("").await?, 1)?;
    // Before the one that is there, and behind it.
    site.asked(&["bytes=262144-327679", "bytes=0-262143", "bytes=327680-"])?;
    site.node.stop().await
}

async fn ask_all(node: &Node, fields: &str, count: usize) -> anyhow::Result<JoinSet<anyhow::Result<Message>>> {
    let mut visitors = JoinSet::new();
    for _ in 0..count {
        let mut client = node.client().await?;
        client.send(request(fields)).await;
        visitors.spawn(async move { client.read_response().await });
    }
    Ok(visitors)
}

async fn slices_many_clients_one_fetch() -> Outcome {
    let gate = Gate::new();
    let manners = Manners { gate: Some(gate.clone()), ..Manners::good(1, LENGTH) };
    let site = Site::new("many", manners).await?;
    let mut visitors = ask_all(&site.node, "Range: bytes=70000-70099\r\n", 40).await?;
    site.origin.wait_for(1).await?;
    gate.release();
    while let Some(answer) = visitors.join_next().await {
        is_range(&answer??, 1, 70_000, 70_099)?;
    }
    site.asked(&["bytes=65536-131071"])?;
    // The same once the manifest is known and a slice is missing.
    let gate = Gate::new();
    site.origin.change(|manners| manners.gate = Some(gate.clone()));
    let mut visitors = ask_all(&site.node, "Range: bytes=500000-500099\r\n", 40).await?;
    site.origin.wait_for(2).await?;
    gate.release();
    while let Some(answer) = visitors.join_next().await {
        is_range(&answer??, 1, 500_000, 500_099)?;
    }
    site.asked(&["bytes=65536-131071", "bytes=458752-524287"])?;
    site.node.stop().await
}

/// All get the bytes as they come, from one request.
async fn slices_followers_stream() -> Outcome {
    let gate = Gate::new();
    let manners = Manners { gate: Some(gate.clone()), gate_after: 100_000, ..Manners::good(1, LENGTH) };
    let site = Site::new("stream", manners).await?;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = site.node.client().await?;
        client.send(request("")).await;
        clients.push(client);
    }
    for client in &mut clients {
        let head = client.read_head(false).await?.context("no answer")?;
        ensure!(head.status()? == 200 && client.read_part(100_000).await? == pattern(1, 0, 100_000), "{head:?}");
    }
    gate.release();
    for client in &mut clients {
        let (rest, _, cut) = client.read_rest().await?;
        ensure!(cut.is_none() && rest == pattern(1, 100_000, (LENGTH - 100_000) as usize), "the rest is wrong");
    }
    site.asked(&["-"])?;
    site.node.stop().await
}

/// The one whose request went to the origin reads nothing; another one gets everything all the same.
async fn slices_slow_client_holds_nobody_up() -> Outcome {
    const MUCH: u64 = 16 << 20;
    let site = Site::new("slow", Manners::good(1, MUCH)).await?;
    let mut slow = site.node.client().await?;
    slow.send(request("")).await;
    slow.read_head(false).await?;
    let mut quick = site.node.client().await?;
    quick.send(request("")).await;
    quick.read_head(false).await?;
    let (mut offset, mut right) = (0, true);
    let each = |piece: &[u8]| {
        right &= piece == pattern(1, offset, piece.len());
        offset += piece.len() as u64;
    };
    let (total, cut) = quick.skim_rest(each).await?;
    ensure!(right && total == MUCH && cut.is_none(), "{total} bytes, right: {right}, cut: {cut:?}");
    let asked = site.origin.asked();
    ensure!(asked.len() == 1, "{asked:?}");
    site.node.stop().await
}

async fn slices_head_and_conditions() -> Outcome {
    let mut site = Site::new("head", Manners::good(1, LENGTH)).await?;
    site.range("0-0", 0, 0).await?;
    let head = site.client.ask(&format!("HEAD /large HTTP/1.1\r\nHost: {HOST}\r\n\r\n")).await?.head;
    ensure!(head.status()? == 200 && head.get("content-length") == Some(&LENGTH.to_string()), "{head:?}");
    ensure!(head.get("etag") == Some("\"1\"") && head.get("content-range").is_none(), "{head:?}");
    for fields in ["If-None-Match: \"1\"\r\n", "If-None-Match: \"1\"\r\nRange: bytes=0-1\r\n"] {
        ensure!(site.get(fields).await?.head.status()? == 304, "{fields}");
    }
    site.asked(&["bytes=0-65535"])?;
    site.node.stop().await
}

async fn slices_several_ranges() -> Outcome {
    let mut site = Site::new("several", Manners::good(1, LENGTH)).await?;
    site.range("0-0", 0, 0).await?;
    let answer = site.get("Range: bytes=0-4,200000-200004,-3\r\n").await?;
    let content_type = answer.head.get("content-type").unwrap_or_default().to_owned();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").context(content_type.clone())?;
    let mut expected = Vec::new();
    for (first, last) in [(0, 4), (200_000, 200_004), (LENGTH - 3, LENGTH - 1)] {
        let head = format!("\r\n--{boundary}\r\nContent-Range: bytes {first}-{last}/{LENGTH}\r\n\r\n");
        expected.extend(head.into_bytes());
        expected.extend(pattern(1, first, (last - first + 1) as usize));
    }
    expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    ensure!(answer.head.status()? == 206 && answer.body == expected, "{:?}", answer.head);
    site.asked(&["bytes=0-65535", "bytes=196608-262143", "bytes=655360-"])?;
    // More than the bound of ranges: everything.
    let many: Vec<String> = (0..100).map(|n| format!("{n}-{n}")).collect();
    is_whole(&site.get(&format!("Range: bytes={}\r\n", many.join(","))).await?, 1)?;
    site.node.stop().await
}

async fn slices_suffix() -> Outcome {
    let mut site = Site::new("suffix", Manners::good(1, LENGTH)).await?;
    // What slices these are is known with the length alone: the first time it is asked for as it is.
    site.range("-1000", LENGTH - 1000, LENGTH - 1).await?;
    site.range("-1000", LENGTH - 1000, LENGTH - 1).await?;
    site.range("-2000", LENGTH - 2000, LENGTH - 1).await?;
    site.range("-9999999999", 0, LENGTH - 1).await?;
    site.asked(&["bytes=-1000", "bytes=655360-", "bytes=589824-655359", "bytes=0-589823"])?;
    site.node.stop().await
}

async fn slices_unsatisfiable() -> Outcome {
    let mut site = Site::new("unsatisfiable", Manners::good(1, LENGTH)).await?;
    for expected in [1, 1] {
        // The slice that would hold it is there, the byte is not.
        let answer = site.get(&format!("Range: bytes={LENGTH}-\r\n")).await?;
        ensure!(answer.head.status()? == 416, "{:?}", answer.head);
        ensure!(answer.head.get("content-range") == Some(&format!("bytes */{LENGTH}")), "{:?}", answer.head);
        ensure!(site.origin.asked().len() == expected, "{:?}", site.origin.asked());
    }
    site.node.stop().await
}

/// The same where the part that came cannot be cut.
async fn slices_unsatisfiable_without_tag() -> Outcome {
    let mut site = Site::new("no-tag", Manners { etag: String::new(), ..Manners::good(1, LENGTH) }).await?;
    let answer = site.get(&format!("Range: bytes={LENGTH}-\r\n")).await?;
    ensure!(answer.head.status()? == 416, "{:?}", answer.head);
    ensure!(answer.head.get("content-range") == Some(&format!("bytes */{LENGTH}")), "{:?}", answer.head);
    site.range("-5", LENGTH - 5, LENGTH - 1).await?;
    site.node.stop().await
}

async fn slices_first_range_of_a_small_object() -> Outcome {
    let mut site = Site::new("small", Manners::good(1, 1000)).await?;
    let answer = site.get("Range: bytes=10-19\r\n").await?;
    ensure!(answer.head.get("content-range") == Some("bytes 10-19/1000"), "{:?}", answer.head);
    ensure!(answer.head.status()? == 206 && answer.body == pattern(1, 10, 10), "{:?}", answer.head);
    // All of it came, so it is stored as what it is.
    let answer = site.get("").await?;
    ensure!(answer.head.status()? == 200 && answer.body == pattern(1, 0, 1000), "{:?}", answer.head);
    site.asked(&["bytes=0-65535"])?;
    site.node.stop().await
}

async fn slices_if_range() -> Outcome {
    let mut site = Site::new("if-range", Manners::good(1, LENGTH)).await?;
    site.range("0-0", 0, 0).await?;
    is_range(&site.get("Range: bytes=5-9\r\nIf-Range: \"1\"\r\n").await?, 1, 5, 9)?;
    is_whole(&site.get("Range: bytes=5-9\r\nIf-Range: \"0\"\r\n").await?, 1)?;
    site.node.stop().await
}

async fn slices_not_without_strong_tag() -> Outcome {
    for etag in ["W/\"1\"", ""] {
        let mut site = Site::new("weak", Manners { etag: etag.to_owned(), ..Manners::good(1, LENGTH) }).await?;
        site.range("100-109", 100, 109).await?;
        // It is stored as the part that came, and answers for that alone.
        site.range("60000-65535", 60_000, SLICE - 1).await?;
        site.range("65000-65536", 65_000, SLICE).await?;
        site.asked(&["bytes=0-65535", "bytes=0-131071"])?;
        is_whole(&site.get("").await?, 1)?;
        is_whole(&site.get("").await?, 1)?;
        site.range("5-9", 5, 9).await?;
        site.asked(&["bytes=0-65535", "bytes=0-131071", "-"])?;
        site.node.stop().await?;
    }
    Ok(())
}

async fn slices_not_without_accept_ranges() -> Outcome {
    let mut site = Site::new("unasked", Manners { accept_ranges: false, ..Manners::good(1, LENGTH) }).await?;
    is_whole(&site.get("").await?, 1)?;
    site.range("5-9", 5, 9).await?;
    site.asked(&["-"])?;
    site.node.stop().await
}

async fn slices_origin_ignores_ranges() -> Outcome {
    let mut site = Site::new("ignores", Manners { ranges: false, ..Manners::good(1, LENGTH) }).await?;
    site.range("200000-200009", 200_000, 200_009).await?;
    is_whole(&site.get("").await?, 1)?;
    site.asked(&["bytes=196608-262143"])?;
    site.node.stop().await
}

/// What cannot be placed for certain is never mixed with what is stored; the origin's own reply goes to the client.
async fn slices_origin_shifts_ranges() -> Outcome {
    let mut site = Site::new("shifts", Manners::good(1, LENGTH)).await?;
    site.range("0-9", 0, 9).await?;
    site.origin.change(|manners| manners.shift = 1);
    let answer = site.get("Range: bytes=70000-70009\r\n").await?;
    ensure!(answer.head.get("content-range") == Some(&format!("bytes 70001-70010/{LENGTH}")), "{:?}", answer.head);
    site.origin.change(|manners| manners.shift = 0);
    is_whole(&site.get("").await?, 1)?;
    site.node.stop().await
}

async fn slices_origin_sends_less() -> Outcome {
    let mut site = Site::new("less", Manners::good(1, LENGTH)).await?;
    site.range("0-9", 0, 9).await?;
    site.origin.change(|manners| manners.part_bytes_max = 5000);
    let answer = site.get("Range: bytes=70000-70009\r\n").await?;
    is_range(&answer, 1, 70_000, 70_009)?;
    site.origin.change(|manners| manners.part_bytes_max = u64::MAX);
    is_whole(&site.get("").await?, 1)?;
    site.node.stop().await
}

async fn slices_changed_before_the_reply() -> Outcome {
    let mut site = Site::new("changed", Manners::good(1, LENGTH)).await?;
    site.range("0-9", 0, 9).await?;
    site.origin.change(|manners| *manners = Manners::good(2, LENGTH));
    // The slice of the old one is missing, the origin has another one: nothing was sent yet, so the new one is.
    is_range(&site.get("Range: bytes=70000-70009\r\n").await?, 2, 70_000, 70_009)?;
    is_range(&site.get("Range: bytes=0-9\r\n").await?, 2, 0, 9)?;
    is_whole(&site.get("").await?, 2)?;
    site.node.stop().await
}

async fn slices_changed_in_the_middle() -> Outcome {
    let mut site = Site::new("middle", Manners::good(1, LENGTH)).await?;
    site.range("0-9", 0, 9).await?;
    site.origin.change(|manners| *manners = Manners::good(2, LENGTH));
    // The first slice is there and goes out; the second one is another representation's: the reply breaks off.
    let answer = site.get("").await?;
    ensure!(answer.head.status()? == 200 && answer.cut.is_some(), "{:?}", answer.head);
    ensure!(answer.body == pattern(1, 0, SLICE as usize), "{} bytes, or wrong ones", answer.body.len());
    site.client = site.node.client().await?;
    is_whole(&site.get("").await?, 2)?;
    site.node.stop().await
}

/// The origin's connection dies in the middle of a reply that many read: one more request, and nobody notices.
async fn slices_origin_breaks_off() -> Outcome {
    let gate = Gate::new();
    let manners = Manners { gate: Some(gate.clone()), cut_after: Some(100_000), ..Manners::good(1, LENGTH) };
    let site = Site::new("breaks", manners).await?;
    let mut visitors = ask_all(&site.node, "", 20).await?;
    site.origin.wait_for(1).await?;
    gate.release();
    while let Some(answer) = visitors.join_next().await {
        is_whole(&answer??, 1)?;
    }
    site.asked(&["-", "bytes=65536-"])?;
    site.node.stop().await
}

async fn slices_origin_is_down() -> Outcome {
    let mut site = Site::new("down", Manners::good(1, LENGTH)).await?;
    site.range("0-9", 0, 9).await?;
    site.origin.change(|manners| manners.status = Some(503));
    site.range("10-19", 10, 19).await?;
    ensure!(site.get("Range: bytes=70000-70009\r\n").await?.head.status()? == 503, "the origin's own answer");
    site.origin.change(|manners| manners.status = None);
    // What is stored is of use again.
    site.range("0-9", 0, 9).await?;
    site.node.stop().await
}

async fn slices_revalidated() -> Outcome {
    let fields = "Cache-Control: max-age=0\r\n".to_owned();
    let mut site = Site::new("stale", Manners { fields, ..Manners::good(1, LENGTH) }).await?;
    is_whole(&site.get("").await?, 1)?;
    let answer = site.get("").await?;
    is_whole(&answer, 1)?;
    ensure!(cache_status(&answer.head).contains("fwd-status=304"), "{:?}", answer.head);
    site.range("70000-70009", 70_000, 70_009).await?;
    let requests = site.origin.requests();
    ensure!(requests.len() == 3 && requests[2].get("if-none-match") == Some("\"1\""), "{requests:?}");
    site.node.stop().await
}

/// The same representation comes whole again: its slices stay. Another one: none of the old ones is served.
async fn slices_replaced() -> Outcome {
    let fields = "Cache-Control: max-age=0\r\n".to_owned();
    let mut site = Site::new("replaced", Manners { fields: fields.clone(), ..Manners::good(1, LENGTH) }).await?;
    is_whole(&site.get("").await?, 1)?;
    site.origin.change(|manners| *manners = Manners { fields, ..Manners::good(2, LENGTH) });
    is_whole(&site.get("").await?, 2)?;
    is_range(&site.get("Range: bytes=70000-70009\r\n").await?, 2, 70_000, 70_009)?;
    site.node.stop().await
}

/// The same entity tag after a purge leads to nothing that was stored before it.
async fn slices_purged() -> Outcome {
    let mut site = Site::new("purged", Manners::good(1, LENGTH)).await?;
    is_whole(&site.get("").await?, 1)?;
    let everything = [(2, &["purge", "http://www.case.test/large"][..]), (3, &["purge", "--everything"])];
    for (seed, what) in everything {
        let (ok, said) = site.node.command(what).await?;
        ensure!(ok, "{said}");
        // Other bytes under the same tag: what purges are for.
        site.origin.change(|manners| manners.seed = seed);
        is_range(&site.get("Range: bytes=70000-70009\r\n").await?, seed, 70_000, 70_009)?;
        is_whole(&site.get("").await?, seed)?;
    }
    site.node.stop().await
}

/// The node's bound of one object is no bound of what is stored in slices.
async fn slices_larger_than_one_piece_may_be() -> Outcome {
    let mut site = Site::with("larger", Manners::good(1, LENGTH), &["cache.object_bytes_max = \"256KiB\""]).await?;
    is_whole(&site.get("").await?, 1)?;
    is_whole(&site.get("").await?, 1)?;
    site.range("600000-600009", 600_000, 600_009).await?;
    site.asked(&["-"])?;
    site.node.stop().await
}

/// Where nothing can be kept, all of it still comes from one request.
async fn slices_without_memory() -> Outcome {
    let mut site = Site::with("memory", Manners::good(1, LENGTH), &["cache.memory_bytes_max = \"60KiB\""]).await?;
    is_whole(&site.get("").await?, 1)?;
    site.asked(&["-"])?;
    site.range("70000-300000", 70_000, 300_000).await?;
    ensure!(site.origin.asked().len() == 2, "{:?}", site.origin.asked());
    site.node.stop().await
}

/// Ranges anywhere, from many clients, with a store too small for the object: every byte is right.
/// What the origin says is not for everybody goes to who asked, although the head that is stored is everybody's.
async fn slices_for_one_are_not_kept() -> Outcome {
    let mut site = Site::new("for-one", Manners::good(1, LENGTH)).await?;
    site.range("0-9", 0, 9).await?;
    // A request with credentials, and a reply that does not permit to share it (RFC 9111 section 3.5).
    let answer = site.get("Authorization: Basic eA==\r\nRange: bytes=131072-131081\r\n").await?;
    is_range(&answer, 1, 131_072, 131_081)?;
    site.range("131072-131081", 131_072, 131_081).await?;
    site.asked(&["bytes=0-65535", "bytes=131072-196607", "bytes=131072-196607"])?;
    for fields in ["Cache-Control: private, max-age=600\r\n", "Cache-Control: no-store\r\n"] {
        site.origin.change(|manners| manners.fields = fields.to_owned());
        for _ in 0..2 {
            let before = site.origin.asked().len();
            site.range("262144-262153", 262_144, 262_153).await?;
            ensure!(site.origin.asked().len() == before + 1, "{fields}: it was kept");
        }
    }
    // All of it, slice by slice where they are missing.
    is_whole(&site.get("").await?, 1)?;
    site.origin.change(|manners| manners.fields = "Cache-Control: max-age=600\r\n".to_owned());
    is_whole(&site.get("Authorization: Basic eA==\r\n").await?, 1)?;
    site.node.stop().await
}

/// A visitor whom the origin refuses gets that answer, and takes nothing from others.
async fn slices_refused_to_one_stay_for_others() -> Outcome {
    let mut site = Site::new("refused", Manners::good(1, LENGTH)).await?;
    site.range("0-9", 0, 9).await?;
    for status in [400, 401, 403, 431] {
        site.origin.change(|manners| manners.status = Some(status));
        let answer = site.get("Cookie: session=none\r\nRange: bytes=70000-70009\r\n").await?;
        ensure!(answer.head.status()? == status, "the origin's own answer: {:?}", answer.head);
    }
    site.origin.change(|manners| manners.status = None);
    let before = site.origin.asked().len();
    site.range("10-19", 10, 19).await?;
    ensure!(site.origin.asked().len() == before, "what was stored is stored still");
    site.node.stop().await
}

async fn slices_every_byte_right() -> Outcome {
    const CLIENTS: u64 = 6;
    const REQUESTS: u64 = 60;
    let node = ["cache.memory_bytes_max = \"400KiB\""];
    for seed in [1, 2] {
        let site = Arc::new(Site::with("right", Manners::good(1, LENGTH), &node).await?);
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let site = Arc::clone(&site);
            clients.spawn(async move {
                let mut chance = Chance::new(seed * 1000 + number);
                let mut client = site.node.client().await?;
                for _ in 0..REQUESTS {
                    let first = chance.below(LENGTH);
                    let last =
                        (first + chance.below(*chance.clone().pick(&[10, SLICE, 4 * SLICE, LENGTH]))).min(LENGTH - 1);
                    let answer = match chance.below(10) {
                        0 => {
                            let answer = client.ask(&request("")).await?;
                            is_whole(&answer, 1).with_context(|| format!("seed {seed}, client {number}"))?;
                            continue;
                        }
                        1 if first > 0 => {
                            let value = LENGTH - first;
                            let answer = client.ask(&request(&format!("Range: bytes=-{value}\r\n"))).await?;
                            (answer, first, LENGTH - 1)
                        }
                        2 => (client.ask(&request(&format!("Range: bytes={first}-\r\n"))).await?, first, LENGTH - 1),
                        _ => (client.ask(&request(&format!("Range: bytes={first}-{last}\r\n"))).await?, first, last),
                    };
                    is_range(&answer.0, 1, answer.1, answer.2)
                        .with_context(|| format!("seed {seed}, client {number}: {}-{}", answer.1, answer.2))?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(done) = clients.join_next().await {
            done??;
        }
        let site = Arc::into_inner(site).context("the clients are done")?;
        site.node.stop().await?;
    }
    Ok(())
}
