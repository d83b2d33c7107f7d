//! The origin: a site of pages, pictures and data behind the server under test. It runs in the generator's loop, costs
//! little, counts what reaches it by whose address `X-Forwarded-For` names, and has the capacity of a real one: beyond
//! it requests queue, and where the queue is full they get 503.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use anyhow::Result;
use memchr::memmem;

use super::addresses::{Side, side};
use super::engine::{Context, ORIGIN, ORIGIN_LISTENER};
use super::net::{self, Key, READ, Received, Sent, Table, Token};

/// Requests that it answers in a second.
pub const CAPACITY_RPS: u64 = 3_000;
/// What a reply takes at least, in microseconds.
const SERVICE_US: u64 = 3_000;
/// Longest wait in its queue, in microseconds.
const QUEUE_MAX_US: u64 = 500_000;
/// Most connections.
const CONNECTIONS_MAX: usize = 8_192;
/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Connections accepted in a row.
const ACCEPT_MAX: usize = 256;

/// What it may answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    StoredPage,
    Asset,
    Page,
    Data,
    Login,
    Busy,
}

/// The origin.
#[derive(Debug)]
pub struct Origin {
    listener: OwnedFd,
    /// Where it listens.
    pub address: SocketAddr,
    connections: Table<Connection>,
    /// Replies in the order in which they are due.
    due: VecDeque<(u64, Key, Kind)>,
    /// When the last of the queue has been worked on.
    free_us: u64,
    replies: [Vec<u8>; 6],
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    held: Vec<u8>,
    /// Bytes of a body that are still to come.
    skip: usize,
    /// What is answered when they have come: it keeps a connection busy until then, as it does with most sites.
    waits: Option<Kind>,
    /// What did not fit into the socket.
    unsent: Vec<u8>,
}

impl Origin {
    /// Listens on a port of 127.0.0.1.
    ///
    /// # Errors
    /// The system has none.
    pub fn new() -> Result<Self> {
        let (listener, address) = net::listen()?;
        Ok(Self {
            listener,
            address,
            connections: Table::default(),
            due: VecDeque::new(),
            free_us: 0,
            replies: replies(),
        })
    }

    /// Begins to wait for connections.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&mut self, cx: &Context) -> Result<()> {
        let key = Table::default().insert(());
        Ok(cx.poll.add(&self.listener, Token::new(ORIGIN_LISTENER, key), READ)?)
    }

    /// Somebody connects.
    pub fn connected(&mut self, cx: &Context) {
        for _ in 0..ACCEPT_MAX {
            let Ok(socket) = net::accept(&self.listener) else { return };
            if self.connections.len() >= CONNECTIONS_MAX {
                continue;
            }
            let connection = Connection { socket, held: Vec::new(), skip: 0, waits: None, unsent: Vec::new() };
            let key = self.connections.insert(connection);
            let added = self.connections.get(key).map(|it| cx.poll.add(&it.socket, Token::new(ORIGIN, key), READ));
            if !matches!(added, Some(Ok(()))) {
                self.connections.remove(key);
            }
        }
    }

    /// Something came over a connection, or it takes bytes again.
    pub fn ready(&mut self, cx: &mut Context, key: Key) {
        let Some(connection) = self.connections.get(key) else { return };
        if !connection.unsent.is_empty() && !flush(cx, connection, key) {
            self.connections.remove(key);
            return;
        }
        let count = match net::receive(&connection.socket, &mut cx.buffer) {
            Received::Bytes(count) => count,
            Received::Wait => return,
            Received::Ended => {
                self.connections.remove(key);
                return;
            }
        };
        connection.held.extend_from_slice(&cx.buffer[..count]);
        loop {
            let Some(connection) = self.connections.get(key) else { return };
            let skipped = connection.skip.min(connection.held.len());
            connection.skip -= skipped;
            connection.held.drain(..skipped);
            if connection.skip > 0 {
                return;
            }
            if let Some(kind) = connection.waits.take() {
                self.admit(cx, key, kind);
                continue;
            }
            let Some(end) = memmem::find(&connection.held, b"\r\n\r\n").map(|at| at + 4) else {
                if connection.held.len() > HEAD_BYTES_MAX {
                    self.connections.remove(key);
                }
                return;
            };
            let asked = Asked::of(&connection.held[..end]);
            connection.held.drain(..end);
            (connection.skip, connection.waits) = (asked.body, Some(asked.kind));
            cx.tally.at_origin(asked.side, cx.now_us);
        }
    }

    fn admit(&mut self, cx: &mut Context, key: Key, kind: Kind) {
        let begins = self.free_us.max(cx.now_us);
        if begins > cx.now_us + QUEUE_MAX_US {
            self.answer(cx, key, Kind::Busy);
            return;
        }
        self.free_us = begins + 1_000_000 / CAPACITY_RPS;
        self.due.push_back((begins + SERVICE_US, key, kind));
    }

    /// Sends what is due.
    pub fn advance(&mut self, cx: &mut Context) {
        while let Some((due, key, kind)) = self.due.front().copied()
            && due <= cx.now_us
        {
            self.due.pop_front();
            self.answer(cx, key, kind);
        }
    }

    /// When the next reply is due.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        self.due.front().map(|(due, ..)| *due)
    }

    fn answer(&mut self, cx: &Context, key: Key, kind: Kind) {
        let Some(connection) = self.connections.get(key) else { return };
        if connection.unsent.is_empty() {
            let reply = &self.replies[kind as usize];
            match net::send(&connection.socket, reply) {
                Sent::Bytes(count) if count == reply.len() => return,
                Sent::Bytes(count) => connection.unsent.extend_from_slice(&reply[count..]),
                Sent::Wait => connection.unsent.extend_from_slice(reply),
                Sent::Ended => {
                    self.connections.remove(key);
                    return;
                }
            }
            let _ = cx.poll.change(&connection.socket, Token::new(ORIGIN, key), net::READ_WRITE);
        } else {
            connection.unsent.extend_from_slice(&self.replies[kind as usize]);
        }
    }
}

/// Sends what was left over. False where the connection has ended.
fn flush(cx: &Context, connection: &mut Connection, key: Key) -> bool {
    match net::send(&connection.socket, &connection.unsent) {
        Sent::Bytes(count) => {
            connection.unsent.drain(..count);
            connection.unsent.is_empty().then(|| cx.poll.change(&connection.socket, Token::new(ORIGIN, key), READ));
            true
        }
        Sent::Wait => true,
        Sent::Ended => false,
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    side: Side,
    kind: Kind,
    body: usize,
}

impl Asked {
    fn of(head: &[u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n');
        let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut asked = Self { side: Side::People, kind: kind_of(method, target), body: 0 };
        for line in lines {
            match line.first() {
                Some(b'x' | b'X') => {
                    if let Some(value) = value(line, b"x-forwarded-for:") {
                        // The last is whom the server under test saw.
                        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
                        let address = std::str::from_utf8(last).ok().and_then(|text| text.parse::<Ipv4Addr>().ok());
                        asked.side = address.map_or(Side::People, side);
                    }
                }
                Some(b'c' | b'C') => {
                    if let Some(value) = value(line, b"content-length:") {
                        asked.body = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                    }
                }
                _ => {}
            }
        }
        asked
    }
}

fn value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn kind_of(method: &[u8], target: &[u8]) -> Kind {
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if method == b"POST" {
        return Kind::Login;
    }
    if path.starts_with(b"/static/") {
        Kind::Asset
    } else if path == b"/" || path.starts_with(b"/category/") || path == b"/feed.xml" || path == b"/offer" {
        Kind::StoredPage
    } else if path.starts_with(b"/api/") {
        Kind::Data
    } else {
        Kind::Page
    }
}

/// Every reply it has, by kind.
fn replies() -> [Vec<u8>; 6] {
    let reply = |status: &str, fields: &str, kind: &str, bytes: usize| {
        let body = "x".repeat(bytes);
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n{fields}Content-Length: {bytes}\r\n\r\n{body}")
            .into_bytes()
    };
    let private = "Cache-Control: private, no-store\r\n";
    [
        reply("200 OK", "Cache-Control: max-age=60\r\n", "text/html", 4096),
        reply("200 OK", "Cache-Control: max-age=86400\r\n", "image/webp", 6144),
        reply("200 OK", private, "text/html", 4096),
        reply("200 OK", private, "application/json", 1024),
        reply("303 See Other", &format!("{private}Location: /account\r\n"), "text/html", 0),
        reply("503 Service Unavailable", private, "text/html", 64),
    ]
}

#[cfg(test)]
mod tests {
    use super::{Asked, Kind, Side};

    #[test]
    fn requests_are_told_apart_by_address_alone() {
        let head = |from: &str| format!("GET /product/7 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {from}\r\n\r\n");
        let side = |from: &str| Asked::of(head(from).as_bytes()).side;
        assert_eq!(side("127.2.3.4"), Side::People);
        assert_eq!(side("127.70.3.4"), Side::Attack);
        assert_eq!(side("127.70.3.4, 127.2.3.4"), Side::People);
        assert_eq!(side("127.2.3.200"), Side::Attack);
        let login = b"POST /login HTTP/1.1\r\ncontent-length: 12\r\nx-forwarded-for: 127.99.0.1\r\n\r\n";
        assert_eq!(Asked::of(login), Asked { side: Side::Attack, kind: Kind::Login, body: 12 });
        assert_eq!(Asked::of(b"GET /?a=1 HTTP/1.1\r\n\r\n").kind, Kind::StoredPage);
        assert_eq!(Asked::of(b"GET /search?q=1 HTTP/1.1\r\n\r\n").kind, Kind::Page);
    }

    #[test]
    fn replies_have_their_length() {
        for reply in super::replies() {
            let text = String::from_utf8(reply).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        }
    }
}
