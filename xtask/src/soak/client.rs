//! The visitors of the soak: HTTP/1.1 and HTTP/2, in plain text and over TLS. They check every byte against the path,
//! tell a whole reply from a broken one by its framing alone, and leave in the middle now and then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use archipel_testkit::chance::Chance;

use super::plan::{self, Kind, Plan};

/// Longest exchange; the edge's own timeouts are far below.
const EXCHANGE_SECONDS_MAX: u64 = 45;
/// Largest head of a reply.
const HEAD_BYTES_MAX: usize = 512 << 10;

/// What the visitors count.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests sent.
    pub sent: AtomicU64,
    /// Whole and right replies with status 200, 206 or 304.
    pub right: AtomicU64,
    /// Replies with an error status.
    pub refused: AtomicU64,
    /// Error statuses for what a living origin answers well.
    pub refused_good: AtomicU64,
    /// Replies that broke off, as their framing told.
    pub broken: AtomicU64,
    /// Exchanges that the visitor left.
    pub left: AtomicU64,
    /// Whole replies with wrong bytes or a wrong length. None is allowed.
    pub wrong: AtomicU64,
    /// Exchanges that took longer than they may. None is allowed.
    pub stuck: AtomicU64,
    /// Tells the visitors to end.
    pub stop: AtomicBool,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// How an exchange ended.
enum Outcome {
    Right,
    Refused,
    Broken,
    Left,
    Wrong(String),
}

/// What a visitor does besides asking.
struct Manner {
    /// Leaves after so many bytes of the body.
    leaves_after: Option<u64>,
    /// Asks for part of the body: first and last byte.
    range: Option<(u64, u64)>,
}

impl Manner {
    fn draw(chance: &mut Chance, plan: &Plan) -> Self {
        let leaves_after = (chance.below(25) == 0).then(|| chance.below(plan.size + 1));
        let ranged =
            matches!(plan.kind, Kind::Cached | Kind::CachedChunked) && plan.size > 10 && (chance.below(8) == 0);
        let range = ranged.then(|| {
            let first = chance.below(plan.size - 1);
            (first, first + chance.below(plan.size - first))
        });
        Self { leaves_after, range }
    }
}

/// Checks a body as it arrives.
struct Check<'a> {
    plan: &'a Plan,
    status: u16,
    offset: u64,
    want: u64,
    seen: u64,
    right: bool,
}

impl<'a> Check<'a> {
    fn new(plan: &'a Plan, status: u16, manner: &Manner) -> Self {
        let (offset, want) = match (status, manner.range) {
            (206, Some((first, last))) => (first, last - first + 1),
            _ => (0, plan.size),
        };
        Self { plan, status, offset, want, seen: 0, right: true }
    }

    fn take(&mut self, bytes: &[u8]) {
        if matches!(self.status, 200 | 206) {
            self.right &= if self.plan.kind == Kind::Upload {
                b"whole".get(usize::try_from(self.seen).unwrap_or(5)..).is_some_and(|rest| rest.starts_with(bytes))
            } else {
                plan::matches(self.plan.seed, self.offset + self.seen, bytes)
            };
        }
        self.seen += bytes.len() as u64;
    }

    /// The verdict on a reply that is whole as its framing tells.
    fn whole(&self) -> Outcome {
        let want = if self.plan.kind == Kind::Upload { 5 } else { self.want };
        match self.status {
            200 | 206 if !self.right => Outcome::Wrong(format!("wrong bytes, status {}", self.status)),
            200 | 206 if !self.plan.kind.may_succeed() => {
                Outcome::Wrong("a whole reply from a broken origin".to_owned())
            }
            200 | 206 if self.seen != want => Outcome::Wrong(format!("{} bytes, not {want}", self.seen)),
            200 | 206 | 304 => Outcome::Right,
            400.. => Outcome::Refused,
            other => Outcome::Wrong(format!("status {other}")),
        }
    }

    /// The verdict on a reply that broke off: bytes that did arrive must be right.
    fn broken(&self) -> Outcome {
        if self.right { Outcome::Broken } else { Outcome::Wrong("wrong bytes before it broke off".to_owned()) }
    }
}

fn count(tally: &Tally, plan: &Plan, outcome: &Outcome, origin_dead: bool) {
    match outcome {
        Outcome::Right => add(&tally.right),
        Outcome::Refused => {
            add(&tally.refused);
            if plan.kind.should_succeed() && !origin_dead {
                add(&tally.refused_good);
            }
        }
        Outcome::Broken => add(&tally.broken),
        Outcome::Left => add(&tally.left),
        Outcome::Wrong(what) => {
            add(&tally.wrong);
            println!("wrong: {} {what}", plan.path());
        }
    }
}

/// What every visitor needs.
#[derive(Clone)]
pub struct World {
    /// The visitors' counters.
    pub tally: Arc<Tally>,
    /// The origin's counters.
    pub origin: Arc<super::origin::Tally>,
    /// Longest pause between two requests of a visitor.
    pub pause_max: Duration,
}

impl World {
    fn stopped(&self) -> bool {
        self.tally.stop.load(Ordering::Relaxed)
    }

    async fn pause(&self, chance: &mut Chance) {
        // A dead origin is answered for at once; without a longer pause most of the load would be that.
        let times = if self.dead() { 10 } else { 1 };
        let most = u64::try_from(self.pause_max.as_micros()).unwrap_or(0) * times + 1;
        tokio::time::sleep(Duration::from_micros(chance.below(most))).await;
    }

    fn dead(&self) -> bool {
        self.origin.dead.load(Ordering::Relaxed)
    }
}

/// Asks over one HTTP/1.1 connection until it ends.
///
/// # Errors
/// The connection broke outside an exchange.
pub async fn http1(mut stream: impl AsyncRead + AsyncWrite + Unpin, world: &World, chance: &mut Chance) -> Result<()> {
    let mut buffer = Vec::new();
    while !world.stopped() {
        let plan = Plan::draw(chance);
        let manner = Manner::draw(chance, &plan);
        let dead = world.dead();
        add(&world.tally.sent);
        let exchange = http1_exchange(&mut stream, &mut buffer, &plan, &manner);
        let Ok(done) = tokio::time::timeout(Duration::from_secs(EXCHANGE_SECONDS_MAX), exchange).await else {
            add(&world.tally.stuck);
            println!("stuck: {}", plan.path());
            return Ok(());
        };
        let (outcome, keep) = done.unwrap_or((Outcome::Broken, false));
        count(&world.tally, &plan, &outcome, dead || world.dead());
        if !keep {
            return Ok(());
        }
        world.pause(chance).await;
    }
    Ok(())
}

async fn http1_exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    buffer: &mut Vec<u8>,
    plan: &Plan,
    manner: &Manner,
) -> Result<(Outcome, bool)> {
    let method = if plan.kind == Kind::Upload { "POST" } else { "GET" };
    let mut head = format!("{method} {} HTTP/1.1\r\nHost: soak.test\r\n", plan.path());
    if let Some((first, last)) = manner.range {
        head.push_str(&format!("Range: bytes={first}-{last}\r\n"));
    }
    if plan.kind == Kind::Upload {
        head.push_str(&format!("Content-Length: {}\r\n", plan.size));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    if plan.kind == Kind::Upload {
        let whole = manner.leaves_after.unwrap_or(plan.size).min(plan.size);
        upload(stream, plan, whole).await?;
        if whole < plan.size {
            return Ok((Outcome::Left, false));
        }
    }
    let (status, framing, close) = loop {
        let head = read_head(stream, buffer).await?;
        let parsed = parse_head(&head)?;
        if parsed.0 >= 200 {
            break parsed;
        }
    };
    let mut check = Check::new(plan, status, manner);
    let leaves_after = manner.leaves_after.filter(|_| plan.kind != Kind::Upload);
    match read_body(stream, buffer, framing, &mut check, leaves_after).await {
        Ok(true) => Ok((check.whole(), !close)),
        Ok(false) => Ok((Outcome::Left, false)),
        Err(_) => Ok((check.broken(), false)),
    }
}

async fn upload(stream: &mut (impl AsyncWrite + Unpin), plan: &Plan, whole: u64) -> Result<()> {
    let mut piece = vec![0; 16 << 10];
    let mut at = 0;
    while at < whole {
        let count = usize::try_from(whole - at).unwrap_or(usize::MAX).min(piece.len());
        plan::fill(plan.seed, at, &mut piece[..count]);
        stream.write_all(&piece[..count]).await?;
        at += count as u64;
    }
    stream.flush().await?;
    Ok(())
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<String> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return Ok(head);
        }
        ensure!(buffer.len() < HEAD_BYTES_MAX, "a head without an end");
        ensure!(stream.read_buf(buffer).await? > 0, "closed before a reply");
    }
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunks,
    UntilEnd,
}

/// Status, framing, and whether the connection ends after the reply.
fn parse_head(head: &str) -> Result<(u16, Framing, bool)> {
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).context("not HTTP/1.1")?.parse()?;
    let (mut framing, mut close) = (Framing::UntilEnd, false);
    for (name, value) in head.split("\r\n").skip(1).filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                ensure!(framing == Framing::UntilEnd, "two framings");
                framing = Framing::Length(value.parse()?);
            }
            "transfer-encoding" => {
                ensure!(framing == Framing::UntilEnd && value == "chunked", "two framings");
                framing = Framing::Chunks;
            }
            "connection" => close |= value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    if status < 200 || matches!(status, 204 | 304) {
        framing = Framing::Length(0);
    }
    Ok((status, framing, close || framing == Framing::UntilEnd))
}

/// Reads a body to its end (`true`) or until the visitor leaves (`false`).
async fn read_body(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
    framing: Framing,
    check: &mut Check<'_>,
    leaves_after: Option<u64>,
) -> Result<bool> {
    let mut left = match framing {
        Framing::Length(length) => length,
        Framing::Chunks => 0,
        // An HTTP/1.1 visitor cannot tell whether such a reply is whole: the edge must not send one.
        Framing::UntilEnd => bail!("a reply without framing"),
    };
    loop {
        if left == 0 {
            if matches!(framing, Framing::Length(_)) {
                return Ok(true);
            }
            left = next_chunk(stream, buffer).await?;
            if left == 0 {
                return Ok(true);
            }
        }
        if buffer.is_empty() {
            ensure!(stream.read_buf(buffer).await? > 0, "closed in the middle of a body");
        }
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        check.take(&buffer[..count]);
        buffer.drain(..count);
        left -= count as u64;
        if left == 0 && framing == Framing::Chunks {
            ensure!(read_line(stream, buffer).await?.is_empty(), "a chunk without an end");
        }
        if leaves_after.is_some_and(|after| check.seen > after) {
            return Ok(false);
        }
    }
}

/// The size of the next chunk; after the last one, the trailers are read too.
async fn next_chunk(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<u64> {
    let line = read_line(stream, buffer).await?;
    let size = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
    if size == 0 {
        while !read_line(stream, buffer).await?.is_empty() {}
    }
    Ok(size)
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> Result<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 2);
            return Ok(line);
        }
        ensure!(buffer.len() < HEAD_BYTES_MAX, "a line without an end");
        ensure!(stream.read_buf(buffer).await? > 0, "closed in the middle of a line");
    }
}

/// Asks over one HTTP/2 connection, several streams at a time, until it ends.
///
/// # Errors
/// The connection broke.
pub async fn http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    scheme: &'static str,
    world: &World,
    chance: &mut Chance,
) -> Result<()> {
    const STREAMS: u64 = 8;
    const ROUNDS_MAX: usize = 40;
    let (sender, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    for _ in 0..ROUNDS_MAX {
        if world.stopped() || driver.is_finished() {
            break;
        }
        let asked: Vec<_> = (0..=chance.below(STREAMS))
            .map(|_| {
                let (sender, world, seed) = (sender.clone(), world.clone(), chance.next_u64());
                tokio::spawn(async move { http2_stream(sender, scheme, &world, &mut Chance::new(seed)).await })
            })
            .collect();
        for one in asked {
            let _ = one.await;
        }
        world.pause(chance).await;
    }
    driver.abort();
    Ok(())
}

async fn http2_stream(
    sender: h2::client::SendRequest<Bytes>,
    scheme: &str,
    world: &World,
    chance: &mut Chance,
) -> Result<()> {
    let plan = Plan::draw(chance);
    let manner = Manner::draw(chance, &plan);
    let dead = world.dead();
    let sender = sender.ready().await?;
    add(&world.tally.sent);
    let exchange = http2_exchange(sender, scheme, &plan, &manner);
    match tokio::time::timeout(Duration::from_secs(EXCHANGE_SECONDS_MAX), exchange).await {
        Ok(done) => count(&world.tally, &plan, &done.unwrap_or(Outcome::Broken), dead || world.dead()),
        Err(_) => {
            add(&world.tally.stuck);
            println!("stuck: {} over HTTP/2", plan.path());
        }
    }
    Ok(())
}

async fn http2_exchange(
    mut sender: h2::client::SendRequest<Bytes>,
    scheme: &str,
    plan: &Plan,
    manner: &Manner,
) -> Result<Outcome> {
    let upload = plan.kind == Kind::Upload;
    let uri = format!("{scheme}://soak.test{}", plan.path());
    let mut request = http::Request::builder().method(if upload { "POST" } else { "GET" }).uri(uri);
    if let Some((first, last)) = manner.range {
        request = request.header("range", format!("bytes={first}-{last}"));
    }
    let (response, mut body) = sender.send_request(request.body(())?, !upload)?;
    if upload {
        let whole = manner.leaves_after.unwrap_or(plan.size).min(plan.size);
        http2_upload(&mut body, plan, whole).await?;
        if whole < plan.size {
            body.send_reset(h2::Reason::CANCEL);
            return Ok(Outcome::Left);
        }
        body.send_data(Bytes::new(), true)?;
    }
    let response = response.await?;
    let mut check = Check::new(plan, response.status().as_u16(), manner);
    let mut body = response.into_body();
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return Ok(check.broken()) };
        let _ = body.flow_control().release_capacity(piece.len());
        check.take(&piece);
        if !upload && manner.leaves_after.is_some_and(|after| check.seen > after) {
            // Dropping the stream resets it with CANCEL.
            return Ok(Outcome::Left);
        }
    }
    match body.trailers().await {
        Ok(_) => Ok(check.whole()),
        Err(_) => Ok(check.broken()),
    }
}

async fn http2_upload(body: &mut h2::SendStream<Bytes>, plan: &Plan, whole: u64) -> Result<()> {
    let mut at = 0;
    while at < whole {
        let wanted = usize::try_from(whole - at).unwrap_or(usize::MAX).min(16 << 10);
        body.reserve_capacity(wanted);
        let granted = std::future::poll_fn(|context| body.poll_capacity(context)).await;
        let granted = granted.context("the stream is closed")??.min(wanted);
        let mut piece = vec![0; granted];
        plan::fill(plan.seed, at, &mut piece);
        at += granted as u64;
        body.send_data(piece.into(), false)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Check, Framing, Kind, Manner, Outcome, Plan, parse_head, plan};

    #[test]
    fn framings() {
        assert_eq!(
            parse_head("HTTP/1.1 200 OK\r\nContent-Length: 3").expect("a head"),
            (200, Framing::Length(3), false)
        );
        assert_eq!(parse_head("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked").expect("a head").1, Framing::Chunks);
        assert_eq!(
            parse_head("HTTP/1.1 304 OK\r\nConnection: close").expect("a head"),
            (304, Framing::Length(0), true)
        );
        assert!(parse_head("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked").is_err());
    }

    #[test]
    fn verdicts() {
        let check = |kind: Kind, status: u16, seed: u64, bytes: usize| {
            let asked = Plan { kind, seed: 1, size: 100 };
            let mut check = Check::new(&asked, status, &Manner { leaves_after: None, range: None });
            let mut body = vec![0; bytes];
            plan::fill(seed, 0, &mut body);
            check.take(&body);
            check.whole()
        };
        assert!(matches!(check(Kind::Plain, 200, 1, 100), Outcome::Right));
        assert!(matches!(check(Kind::Plain, 200, 2, 100), Outcome::Wrong(_)));
        assert!(matches!(check(Kind::Plain, 200, 1, 50), Outcome::Wrong(_)));
        assert!(matches!(check(Kind::Truncated, 200, 1, 100), Outcome::Wrong(_)));
        assert!(matches!(check(Kind::Truncated, 502, 1, 50), Outcome::Refused));
    }
}
