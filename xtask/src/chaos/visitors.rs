//! The visitors: each keeps a connection, asks for objects at random, and checks every byte and its age.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use archipel_testkit::chance::Chance;

use super::objects::{HOST, OBJECTS, Version, path_of, size_of};
use super::{World, add};
use crate::soak::plan;

/// Longest silence.
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Largest head of a reply.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// How one request ended.
enum Ended {
    Right { hit: bool },
    Refused,
    Wrong(String),
    Resurrected(String),
}

/// Asks until the run is over.
pub fn visit(world: &World, mut chance: Chance) {
    let mut connection = None;
    while !world.stopped() {
        std::thread::sleep(Duration::from_micros(
            chance.below(world.pause_max.as_micros().try_into().unwrap_or(0) + 1),
        ));
        let port = world.port.load(Ordering::Relaxed);
        if port == 0 {
            connection = None;
            std::thread::sleep(Duration::from_millis(10));
            continue;
        }
        let mut stream = match connection.take() {
            Some(stream) => stream,
            None => match connect(port) {
                Ok(stream) => stream,
                Err(_) => {
                    add(&world.tally.broken);
                    std::thread::sleep(Duration::from_millis(50));
                    continue;
                }
            },
        };
        match ask(&mut stream, world, &mut chance) {
            Ok((ended, keep)) => {
                count(world, &ended);
                connection = keep.then_some(stream);
            }
            // The edge was killed in the middle; what had arrived was right.
            Err(_) => add(&world.tally.broken),
        }
    }
}

fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

fn count(world: &World, ended: &Ended) {
    let tally = &world.tally;
    match ended {
        Ended::Right { hit } => {
            add(&tally.right);
            if *hit {
                add(&tally.hits);
            }
        }
        Ended::Refused => add(&tally.refused),
        Ended::Wrong(what) => {
            add(&tally.wrong);
            println!("wrong: {what}");
        }
        Ended::Resurrected(what) => {
            add(&tally.resurrected);
            println!("resurrected: {what}");
        }
    }
}

/// One request; whether the connection goes on.
fn ask(stream: &mut TcpStream, world: &World, chance: &mut Chance) -> Result<(Ended, bool)> {
    // Some objects are asked for often, most now and then.
    let id = if chance.below(3) == 0 { chance.below(OBJECTS) } else { chance.below(OBJECTS / 20) };
    let (path, size) = (path_of(id), size_of(id));
    let range = (chance.below(6) == 0).then(|| {
        let first = chance.below(size);
        (first, first + chance.below(size - first))
    });
    let range_field = range.map_or_else(String::new, |(first, last)| format!("Range: bytes={first}-{last}\r\n"));
    // Whatever was purged and acknowledged up to here must not come.
    let floor = world.truth.floor_us(id);
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{range_field}\r\n").as_bytes())?;
    let (head, mut rest) = read_head(stream)?;
    let field = |name: &str| {
        let fields = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    };
    let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("a status")?;
    let keep = field("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close"));
    let length: u64 = field("content-length").context("a length")?.parse()?;
    let version = field("etag").and_then(Version::parse).filter(|version| version.id == id);
    let (first, last) = match (status, range) {
        (200, _) => (0, size - 1),
        (206, Some(range)) => range,
        _ => {
            read_body(stream, &mut rest, length, |_, _| true)?;
            let ended = if status >= 500 { Ended::Refused } else { Ended::Wrong(format!("{path}: status {status}")) };
            return Ok((ended, keep));
        }
    };
    let Some(version) = version else {
        return Ok((Ended::Wrong(format!("{path}: the entity tag {:?}", field("etag"))), false));
    };
    if length != last - first + 1 {
        return Ok((Ended::Wrong(format!("{path}: {length} bytes, not {}", last - first + 1)), false));
    }
    let right = read_body(stream, &mut rest, length, |at, bytes| plan::matches(version.seed(), first + at, bytes));
    let ended = match right {
        Ok(true) if version.made_us < floor => Ended::Resurrected(format!(
            "{path}: made at {} us, purged at {floor} us; {}",
            version.made_us,
            field("cache-status").unwrap_or_default()
        )),
        Ok(true) => Ended::Right { hit: field("cache-status").is_some_and(|status| status.contains("; hit")) },
        Ok(false) => Ended::Wrong(format!(
            "{path}: wrong bytes in {first}-{last}, {}",
            field("cache-status").unwrap_or_default()
        )),
        Err(error) => return Err(error),
    };
    Ok((ended, keep))
}

fn read_head(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut buffer = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            buffer.drain(..end + 4);
            return Ok((head, buffer));
        }
        ensure!(buffer.len() < HEAD_BYTES_MAX, "an endless head");
        let count = stream.read(&mut piece)?;
        ensure!(count > 0, "the connection ended");
        buffer.extend_from_slice(&piece[..count]);
    }
}

/// Reads a body and checks it as it comes; bytes that are wrong count even where the rest never arrives.
fn read_body(
    stream: &mut TcpStream,
    rest: &mut Vec<u8>,
    length: u64,
    check: impl Fn(u64, &[u8]) -> bool,
) -> Result<bool> {
    let (mut at, mut right) = (0, true);
    let mut piece = vec![0; 64 << 10];
    while at < length {
        if rest.is_empty() {
            let count = stream.read(&mut piece);
            match count {
                Ok(count) if count > 0 => rest.extend_from_slice(&piece[..count]),
                _ if !right => return Ok(false),
                Ok(_) => bail!("the connection ended in a body"),
                Err(error) => return Err(error.into()),
            }
        }
        let count = usize::try_from(length - at)?.min(rest.len());
        right &= check(at, &rest[..count]);
        rest.drain(..count);
        at += count as u64;
    }
    Ok(right)
}
