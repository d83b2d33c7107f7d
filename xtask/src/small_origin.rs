//! A small HTTP/1.1 origin in threads of its own, for runs where only the edge's other side is of interest: it
//! reads a request with its body and answers 200 with a few bytes that nobody may store.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};

/// Largest line of a request that is read.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// The origin; its threads end with the process.
#[derive(Debug)]
pub struct SmallOrigin {
    address: SocketAddr,
}

impl SmallOrigin {
    /// Starts it on a port of 127.0.0.1.
    ///
    /// # Errors
    /// There is no port.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || serve(&stream));
            }
        });
        Ok(Self { address })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers requests until the peer closes.
fn serve(stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let (method, length) = read_head(&mut reader)?;
        match length {
            Some(length) => {
                std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
            }
            None => read_chunks(&mut reader)?,
        }
        let body = "a small origin says hello\n";
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes())?;
        if method != "HEAD" {
            stream.write_all(body.as_bytes())?;
        }
    }
}

/// The method, and the body's length; `None` for chunks.
fn read_head(reader: &mut impl std::io::BufRead) -> Result<(String, Option<u64>)> {
    let first = read_line(reader)?;
    let method = first.split(' ').next().unwrap_or_default().to_owned();
    let mut length = Some(0);
    loop {
        let line = read_line(reader)?.to_ascii_lowercase();
        if line.is_empty() {
            return Ok((method, length));
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = Some(value.trim().parse()?);
        } else if line.starts_with("transfer-encoding:") {
            length = None;
        }
    }
}

fn read_chunks(reader: &mut impl std::io::BufRead) -> Result<()> {
    loop {
        let line = read_line(reader)?;
        let size = u64::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)?;
        if size == 0 {
            while !read_line(reader)?.is_empty() {}
            return Ok(());
        }
        std::io::copy(&mut reader.by_ref().take(size + 2), &mut std::io::sink())?;
    }
}

fn read_line(reader: &mut impl std::io::BufRead) -> Result<String> {
    let mut line = String::new();
    let read = reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)?;
    (read > 0).then_some(()).context("the peer closed")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
