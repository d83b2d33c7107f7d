//! Asks for many different objects, each once, over a few connections with several requests under way on each. For filling caches;
//! what it takes is the edge's business, not a measurement of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// Connections at a time.
const CONNECTIONS: u64 = 4;
/// Bytes of bodies that the requests under way on one connection may bring together.
const UNDER_WAY_BYTES: u64 = 4 << 20;
/// Longest silence.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often the caller looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The objects: paths of numbers, all of one size.
#[derive(Debug, Clone, Copy)]
pub struct Objects {
    /// The path without the number.
    pub path: &'static str,
    /// Bytes of each body.
    pub bytes: u64,
}

impl Objects {
    /// The path of one.
    #[must_use]
    pub fn path_of(&self, number: u64) -> String {
        format!("{}{number}", self.path)
    }
}

/// Asks a port of 127.0.0.1 for each object of a range once; calls `look` now and then meanwhile.
///
/// # Errors
/// A reply that is not 200 with the whole body, or what `look` says.
pub fn sweep(port: u16, objects: Objects, range: Range<u64>, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let (next, stop) = (AtomicU64::new(range.start), AtomicBool::new(false));
    let depth = (UNDER_WAY_BYTES / objects.bytes.max(1)).clamp(1, 64);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(port)?;
                    while !stop.load(Ordering::Relaxed) {
                        let first = next.fetch_add(depth, Ordering::Relaxed);
                        if first >= range.end {
                            break;
                        }
                        connection.ask(objects, first..range.end.min(first + depth))?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        let (mut looked, mut last) = (Ok(()), Instant::now());
        while looked.is_ok() && !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(5));
            if last.elapsed() >= LOOK_EVERY {
                last = Instant::now();
                looked = look();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().map_err(|_| anyhow::anyhow!("a sweeping thread panicked"))??;
        }
        looked
    })
}

struct Connection {
    stream: TcpStream,
    /// Bytes read and not used.
    buffer: Vec<u8>,
}

impl Connection {
    fn open(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    fn ask(&mut self, objects: Objects, range: Range<u64>) -> Result<()> {
        let mut requests = String::new();
        for number in range.clone() {
            requests.push_str(&format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", objects.path_of(number)));
        }
        self.stream.write_all(requests.as_bytes())?;
        for number in range {
            self.read_reply(objects.bytes).with_context(|| objects.path_of(number))?;
        }
        Ok(())
    }

    fn read_reply(&mut self, bytes: u64) -> Result<()> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        ensure!(head.starts_with("HTTP/1.1 200"), "{}", head.lines().next().unwrap_or_default());
        let chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
        ensure!(!chunked, "a reply in chunks");
        self.buffer.drain(..end);
        let mut left = usize::try_from(bytes)?;
        while left > 0 {
            if self.buffer.is_empty() {
                self.fill()?;
            }
            let count = left.min(self.buffer.len());
            self.buffer.drain(..count);
            left -= count;
        }
        Ok(())
    }

    fn fill(&mut self) -> Result<()> {
        let mut piece = [0; 64 << 10];
        let count = self.stream.read(&mut piece)?;
        ensure!(count > 0, "the connection ended");
        self.buffer.extend_from_slice(&piece[..count]);
        Ok(())
    }
}
