//! The origin of the soak: raw TCP, so that it can misbehave in every way its plans say. From time to time it dies
//! as a whole for a few seconds: nothing listens and every connection is reset.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::plan::{self, Kind, Plan};

/// Largest request head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a stall lasts; the edge gives up before.
const STALL: Duration = Duration::from_secs(20);
/// How long it lives, and how long it is dead.
const ALIVE: Duration = Duration::from_secs(25);
const DEAD: Duration = Duration::from_secs(3);

/// What the origin counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests read.
    pub requests: AtomicU64,
    /// Bodies of requests that were not what the path says.
    pub wrong_uploads: AtomicU64,
    /// How often it died as a whole.
    pub deaths: AtomicU64,
    /// Whether it is dead now.
    pub dead: AtomicBool,
}

/// Runs the origin for ever on `address`.
///
/// # Errors
/// The address cannot be bound again.
pub async fn run(first: TcpListener, tally: Arc<Tally>) -> Result<()> {
    let address = first.local_addr()?;
    let mut listener = first;
    loop {
        let (end, ended) = watch::channel(());
        let until = tokio::time::Instant::now() + ALIVE;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::spawn(connection(stream, ended.clone(), Arc::clone(&tally)));
                    }
                }
                () = tokio::time::sleep_until(until) => break,
            }
        }
        tally.dead.store(true, Ordering::Relaxed);
        tally.deaths.fetch_add(1, Ordering::Relaxed);
        drop(listener);
        drop(end);
        tokio::time::sleep(DEAD).await;
        listener = rebind(address).await?;
        tally.dead.store(false, Ordering::Relaxed);
    }
}

async fn rebind(address: SocketAddr) -> Result<TcpListener> {
    let begun = Instant::now();
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return Ok(listener),
            Err(error) if begun.elapsed() > Duration::from_secs(30) => return Err(error).context("bind again"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn connection(mut stream: TcpStream, mut ended: watch::Receiver<()>, tally: Arc<Tally>) {
    let _ = stream.set_nodelay(true);
    tokio::select! {
        _ = serve(&mut stream, &tally) => {}
        _ = ended.changed() => {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }
}

/// A request as far as it matters here.
struct Request {
    plan: Plan,
    head_only: bool,
    if_none_match: Option<String>,
    length: Option<u64>,
}

async fn serve(stream: &mut TcpStream, tally: &Tally) -> Result<()> {
    let mut buffer = Vec::new();
    loop {
        let request = read_head(stream, &mut buffer).await?;
        tally.requests.fetch_add(1, Ordering::Relaxed);
        if request.plan.kind == Kind::Upload {
            let whole = read_upload(stream, &mut buffer, &request).await?;
            if !whole {
                tally.wrong_uploads.fetch_add(1, Ordering::Relaxed);
            }
            let word = if whole { "whole" } else { "wrong" };
            stream
                .write_all(
                    format!("HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 5\r\n\r\n{word}").as_bytes(),
                )
                .await?;
            continue;
        }
        if !reply(stream, &request).await? {
            return Ok(());
        }
    }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > HEAD_BYTES_MAX || stream.read_buf(buffer).await? == 0 {
            bail!("no request");
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let plan = Plan::parse(path).context("an unknown path")?;
    let field = |name: &str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned()).next()
    };
    Ok(Request {
        plan,
        head_only: method == "HEAD",
        if_none_match: field("if-none-match"),
        length: match field("content-length") {
            Some(length) => Some(length.parse()?),
            None if field("transfer-encoding").is_some() => None,
            None => Some(0),
        },
    })
}

/// Reads the body of an upload; whether it is whole and right.
async fn read_upload(stream: &mut TcpStream, buffer: &mut Vec<u8>, request: &Request) -> Result<bool> {
    let mut at = 0;
    let mut right = true;
    let mut take = |bytes: &[u8]| {
        right &= plan::matches(request.plan.seed, at, bytes);
        at += bytes.len() as u64;
    };
    if let Some(length) = request.length {
        read_exactly(stream, buffer, length, &mut take).await?;
    } else {
        loop {
            let line = read_line(stream, buffer).await?;
            let size = u64::from_str_radix(line.trim(), 16).context("a chunk size")?;
            read_exactly(stream, buffer, size, &mut take).await?;
            let end = read_line(stream, buffer).await?;
            anyhow::ensure!(end.is_empty(), "a chunk without an end");
            if size == 0 {
                break;
            }
        }
    }
    Ok(right && at == request.plan.size)
}

async fn read_line(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<String> {
    loop {
        if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
            let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 2);
            return Ok(line);
        }
        anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the peer closed");
    }
}

async fn read_exactly(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    length: u64,
    take: &mut impl FnMut(&[u8]),
) -> Result<()> {
    let mut left = length;
    while left > 0 {
        if buffer.is_empty() {
            anyhow::ensure!(stream.read_buf(buffer).await? > 0, "the peer closed");
        }
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        take(&buffer[..count]);
        buffer.drain(..count);
        left -= count as u64;
    }
    Ok(())
}

/// Answers; whether the connection goes on.
async fn reply(stream: &mut TcpStream, request: &Request) -> Result<bool> {
    let plan = request.plan;
    let length = format!("Content-Length: {}\r\n", plan.size);
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\n{fields}\r\n");
    let no_store = "Cache-Control: no-store\r\n";
    match plan.kind {
        Kind::Dies => return Ok(false),
        Kind::StallsBeforeHead => {
            tokio::time::sleep(STALL).await;
            return Ok(false);
        }
        Kind::Garbage => {
            stream.write_all(b"\x16\x03\x01 this is not HTTP \x00\r\n\r\n").await?;
            return Ok(false);
        }
        Kind::Unasked304 => {
            stream.write_all(format!("HTTP/1.1 304 Not Modified\r\n{no_store}\r\n").as_bytes()).await?;
            return Ok(true);
        }
        Kind::HugeHead => {
            let fields = format!("{no_store}{length}X-Huge: {}\r\n", "h".repeat(300 << 10));
            stream.write_all(head(&fields).as_bytes()).await?;
            return whole(stream, request, true).await;
        }
        Kind::Revalidated if request.if_none_match.as_deref() == Some(plan.etag().as_str()) => {
            let fields = format!("ETag: {}\r\nCache-Control: max-age=0, must-revalidate\r\n", plan.etag());
            stream.write_all(format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n").as_bytes()).await?;
            return Ok(true);
        }
        _ => {}
    }
    let cached = format!("Cache-Control: max-age={}\r\nETag: {}\r\n", 1 + plan.seed % 9, plan.etag());
    let chunked = "Transfer-Encoding: chunked\r\n";
    let fields = match plan.kind {
        Kind::Chunked | Kind::TruncatedChunks | Kind::BadChunk => format!("{no_store}{chunked}"),
        Kind::UntilEnd => format!("{no_store}Connection: close\r\n"),
        Kind::Cached | Kind::TruncatedCached => format!("{cached}{length}"),
        Kind::CachedChunked => format!("{cached}{chunked}"),
        Kind::Revalidated => format!("Cache-Control: max-age=0, must-revalidate\r\nETag: {}\r\n{length}", plan.etag()),
        Kind::TwoLengths => format!("{no_store}{length}Content-Length: {}\r\n", plan.size + 1),
        Kind::BadLength => format!("{no_store}Content-Length: {}x\r\n", plan.size),
        _ => format!("{no_store}{length}"),
    };
    if plan.kind == Kind::Hinted {
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n").await?;
    }
    stream.write_all(head(&fields).as_bytes()).await?;
    body(stream, request).await
}

async fn body(stream: &mut TcpStream, request: &Request) -> Result<bool> {
    let plan = request.plan;
    let half = plan.size / 2;
    match plan.kind {
        Kind::Stalls => {
            write(stream, plan, 0, half, false).await?;
            tokio::time::sleep(STALL).await;
            Ok(false)
        }
        Kind::Truncated | Kind::TruncatedCached | Kind::TwoLengths | Kind::BadLength => {
            write(stream, plan, 0, half, false).await?;
            Ok(false)
        }
        Kind::TruncatedChunks => {
            write(stream, plan, 0, half, true).await?;
            Ok(false)
        }
        Kind::BadChunk => {
            write(stream, plan, 0, half, true).await?;
            stream.write_all(b"0x10\r\n").await?;
            Ok(false)
        }
        Kind::Resets => {
            write(stream, plan, 0, half, false).await?;
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            Ok(false)
        }
        Kind::TooLong => {
            write(stream, plan, 0, plan.size, false).await?;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").await?;
            Ok(true)
        }
        Kind::Chunked | Kind::CachedChunked => whole(stream, request, false).await,
        Kind::UntilEnd => {
            whole(stream, request, true).await?;
            Ok(false)
        }
        _ => whole(stream, request, true).await,
    }
}

/// The whole body, in chunks where it has no length; the connection goes on.
async fn whole(stream: &mut TcpStream, request: &Request, plain: bool) -> Result<bool> {
    if !request.head_only {
        write(stream, request.plan, 0, request.plan.size, !plain).await?;
        if !plain {
            stream.write_all(b"0\r\n\r\n").await?;
        }
    }
    Ok(true)
}

async fn write(stream: &mut TcpStream, plan: Plan, from: u64, to: u64, chunked: bool) -> Result<()> {
    let mut piece = vec![0; 16 << 10];
    let mut at = from;
    while at < to {
        let count = usize::try_from(to - at).unwrap_or(usize::MAX).min(piece.len());
        plan::fill(plan.seed, at, &mut piece[..count]);
        if chunked {
            stream.write_all(format!("{count:x}\r\n").as_bytes()).await?;
            stream.write_all(&piece[..count]).await?;
            stream.write_all(b"\r\n").await?;
        } else {
            stream.write_all(&piece[..count]).await?;
        }
        at += count as u64;
    }
    Ok(())
}
