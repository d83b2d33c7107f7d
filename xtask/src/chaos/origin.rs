//! The origin: it answers at once and rightly. What goes wrong goes wrong at the edge.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result};

use super::World;
use super::objects::{Version, id_of, size_of, tag_of};
use crate::soak::plan;

/// Starts it on a port of 127.0.0.1; its threads end with the process.
///
/// # Errors
/// There is no port.
pub fn start(world: Arc<World>) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let world = Arc::clone(&world);
            std::thread::spawn(move || serve(&stream, &world));
        }
    });
    Ok(address)
}

fn serve(stream: &TcpStream, world: &World) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let first = line(&mut reader)?;
        let id = first.split(' ').nth(1).and_then(id_of).context("an unknown path")?;
        let (mut if_none_match, mut range) = (None, None);
        loop {
            let field = line(&mut reader)?;
            if field.is_empty() {
                break;
            }
            let (name, value) = field.split_once(':').context("a field")?;
            match name.to_ascii_lowercase().as_str() {
                "if-none-match" => if_none_match = Version::parse(value),
                "range" => range = bytes_of(value, size_of(id)),
                _ => {}
            }
        }
        let version = Version { id, number: world.truth.version(id), made_us: world.truth.now_us() };
        answer(stream, version, if_none_match, range)?;
    }
}

/// `bytes=A-B` as first and last byte.
fn bytes_of(value: &str, size: u64) -> Option<(u64, u64)> {
    let (first, last) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
    let first: u64 = first.parse().ok()?;
    let last = if last.is_empty() { size - 1 } else { last.parse::<u64>().ok()?.min(size - 1) };
    (first <= last).then_some((first, last))
}

fn answer(
    mut stream: &TcpStream,
    version: Version,
    if_none_match: Option<Version>,
    range: Option<(u64, u64)>,
) -> Result<()> {
    let (id, size) = (version.id, size_of(version.id));
    let stale = if id.is_multiple_of(3) { ", stale-while-revalidate=5" } else { "" };
    let control = format!("Cache-Control: max-age={}{stale}\r\nSurrogate-Key: t{}\r\n", 2 + id % 90, tag_of(id));
    if let Some(known) = if_none_match.filter(|known| known.id == id && known.number == version.number) {
        let head = format!("HTTP/1.1 304 Not Modified\r\n{control}ETag: {}\r\n\r\n", known.etag());
        return Ok(stream.write_all(head.as_bytes())?);
    }
    let (first, last) = range.unwrap_or((0, size - 1));
    let (status, part) = match range {
        Some(_) => ("206 Partial Content", format!("Content-Range: bytes {first}-{last}/{size}\r\n")),
        None => ("200 OK", String::new()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\n{control}{part}ETag: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        version.etag(),
        last - first + 1
    );
    stream.write_all(head.as_bytes())?;
    let mut piece = vec![0; 64 << 10];
    let mut at = first;
    while at <= last {
        let count = usize::try_from(last - at + 1)?.min(piece.len());
        plan::fill(version.seed(), at, &mut piece[..count]);
        stream.write_all(&piece[..count])?;
        at += count as u64;
    }
    Ok(())
}

fn line(reader: &mut BufReader<&TcpStream>) -> Result<String> {
    let mut line = String::new();
    let read = reader.read_line(&mut line)?;
    (read > 0).then_some(()).context("the peer closed")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
