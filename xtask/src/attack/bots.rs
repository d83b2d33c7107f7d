//! Attackers that ask over HTTP/1.1 and wait for each reply: one request at a time over a connection that is kept, from
//! an address of its own each; or each request over a connection and from an address of its own.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use archipel_testkit::chance::Chance;

use super::addresses::Side;
use super::browser::HOST;
use super::engine::{ATTACK, Context, Load};
use super::net::{self, Key, READ, READ_WRITE, Received, Sent, Table, Token};
use super::rate::Rate;
use super::tally::Outcome;
use super::wire::Reader;

/// Requests sent in one go, at most.
const BURST_MAX: usize = 512;
/// Requests that may be owed: what is due beyond is dropped and counted.
const OWED_MAX: f64 = 4_000.0;
/// How long an attacker waits for a reply, in microseconds.
const PATIENCE_US: u64 = 5_000_000;
/// How often those who wait for too long are looked for.
const CHECK_US: u64 = 250_000;

/// What they ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asks {
    /// One page that is made for each visitor.
    OnePage,
    /// A stored page with a query of its own each time.
    NewQuery,
    /// One page, with a user agent of its own each time.
    NewAgent,
    /// Log-ins with a name and password of their own each time.
    Logins,
}

/// How they send.
#[derive(Debug, Clone)]
pub struct Tactics {
    /// What they ask for.
    pub asks: Asks,
    /// How many there are.
    pub bots: u64,
    /// Where each comes from, by its number.
    pub address: fn(u64) -> Ipv4Addr,
    /// Whether each request comes from an address that has not been seen, until there is none left.
    pub once: bool,
    /// When they send how much.
    pub rate: Rate,
}

#[derive(Debug)]
struct Bot {
    address: Ipv4Addr,
    link: Option<Link>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    reader: Reader,
    /// When the request was sent that waits for its reply.
    sent_us: Option<u64>,
    /// A request that the socket has not taken yet, as the connection does not stand.
    unsent: Vec<u8>,
}

/// The attackers.
#[derive(Debug)]
pub struct Bots {
    tactics: Tactics,
    bots: Table<Bot>,
    keys: Vec<Key>,
    /// Whose turn it is.
    turn: usize,
    /// Addresses used so far.
    used: u64,
    owed: f64,
    last_us: u64,
    checked_us: u64,
    chance: Chance,
    request: Vec<u8>,
}

/// Attackers that are there at the same time where each request has an address of its own.
const ONCE_AT_A_TIME: u64 = 8_000;

impl Bots {
    /// Attackers that have not begun.
    #[must_use]
    pub fn new(tactics: Tactics, seed: u64) -> Self {
        let mut bots = Table::default();
        let count = if tactics.once { ONCE_AT_A_TIME.min(tactics.bots) } else { tactics.bots };
        let keys = (0..count).map(|number| bots.insert(Bot { address: (tactics.address)(number), link: None }));
        let keys = keys.collect();
        Self {
            tactics,
            bots,
            keys,
            turn: 0,
            used: 0,
            owed: 0.0,
            last_us: 0,
            checked_us: 0,
            chance: Chance::new(seed),
            request: Vec::with_capacity(1024),
        }
    }

    /// Lets the next attacker send. False where it cannot: it still waits.
    fn send(&mut self, cx: &mut Context) -> bool {
        let key = self.keys[self.turn];
        self.turn = (self.turn + 1) % self.keys.len();
        let Some(bot) = self.bots.get(key) else { return false };
        if bot.link.as_ref().is_some_and(|link| link.sent_us.is_some()) {
            return false;
        }
        if self.tactics.once {
            bot.address = (self.tactics.address)(self.used);
            bot.link = None;
        }
        self.used += 1;
        self.request.clear();
        write_request(self.tactics.asks, &mut self.chance, &mut self.request);
        bot.ask(cx, Token::new(ATTACK, key), &self.request);
        true
    }

    fn check(&mut self, cx: &mut Context) {
        for key in &self.keys {
            let Some(bot) = self.bots.get(*key) else { continue };
            let sent = bot.link.as_ref().and_then(|link| link.sent_us);
            if sent.is_some_and(|sent| cx.now_us > sent + PATIENCE_US) {
                bot.end(cx, true);
            }
        }
    }
}

impl Load for Bots {
    fn advance(&mut self, cx: &mut Context) {
        let passed = cx.now_us.saturating_sub(std::mem::replace(&mut self.last_us, cx.now_us));
        let rate = self.tactics.rate.at(cx.now_us);
        #[allow(clippy::cast_precision_loss)]
        let due = rate * passed as f64 / 1e6;
        self.owed += due;
        if self.tactics.once && self.used >= self.tactics.bots {
            self.owed = 0.0;
        }
        if self.owed > OWED_MAX {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let dropped = (self.owed - OWED_MAX) as u64;
            cx.tally.missed += dropped;
            self.owed = OWED_MAX;
        }
        for _ in 0..BURST_MAX {
            if self.owed < 1.0 {
                break;
            }
            self.owed -= 1.0;
            if !self.send(cx) {
                cx.tally.missed += 1;
            }
        }
        if cx.now_us >= self.checked_us + CHECK_US {
            self.checked_us = cx.now_us;
            self.check(cx);
            let open = self.keys.iter().filter(|key| self.bots.get(**key).is_some_and(|bot| bot.link.is_some()));
            cx.tally.held_max = cx.tally.held_max.max(open.count() as u64);
            if self.tactics.rate.is_over(cx.now_us) {
                for key in &self.keys {
                    if let Some(bot) = self.bots.get(*key) {
                        bot.end(cx, false);
                    }
                }
            }
        }
    }

    fn ready(&mut self, cx: &mut Context, token: Token) {
        let once = self.tactics.once;
        let Some(bot) = self.bots.get(token.key()) else { return };
        bot.ready(cx, token);
        if once && let Some(link) = bot.link.take_if(|link| link.sent_us.is_none()) {
            net::reset(link.socket);
        }
    }

    fn is_busy(&self, now_us: u64) -> bool {
        self.tactics.rate.at(now_us) > 0.0
    }
}

impl Bot {
    fn ask(&mut self, cx: &mut Context, token: Token, request: &[u8]) {
        cx.tally.sent(Side::Attack, cx.now_us);
        if self.link.is_none() {
            let Ok(socket) = net::connect(self.address, cx.http1) else { return self.unconnected(cx) };
            if cx.poll.add(&socket, token, READ).is_err() {
                return self.unconnected(cx);
            }
            self.link = Some(Link { socket, reader: Reader::default(), sent_us: None, unsent: Vec::new() });
        }
        let Some(link) = &mut self.link else { return };
        link.sent_us = Some(cx.now_us);
        match net::send(&link.socket, request) {
            Sent::Bytes(count) if count == request.len() => {}
            Sent::Wait => {
                link.unsent.extend_from_slice(request);
                let _ = cx.poll.change(&link.socket, token, READ_WRITE);
            }
            // A socket that takes half of so little is not worth the trouble.
            Sent::Bytes(_) | Sent::Ended => self.end(cx, true),
        }
    }

    fn unconnected(&mut self, cx: &mut Context) {
        cx.tally.unconnected += 1;
        cx.tally.ended(Side::Attack, cx.now_us, cx.now_us, Outcome::Failed, None);
    }

    fn ready(&mut self, cx: &mut Context, token: Token) {
        let Some(link) = &mut self.link else { return };
        if !link.unsent.is_empty() {
            match net::send(&link.socket, &link.unsent) {
                Sent::Bytes(count) if count == link.unsent.len() => {
                    link.unsent = Vec::new();
                    let _ = cx.poll.change(&link.socket, token, READ);
                }
                Sent::Wait => {}
                Sent::Bytes(_) | Sent::Ended => return self.end(cx, true),
            }
        }
        match net::receive(&link.socket, &mut cx.buffer) {
            Received::Bytes(count) => {
                let Some(reply) = link.reader.feed(&cx.buffer[..count]) else { return };
                if let Some(sent) = link.sent_us.take() {
                    let outcome = Outcome::of(reply.status, reply.reason.as_deref());
                    cx.tally.ended(Side::Attack, sent, cx.now_us, outcome, reply.reason.as_deref());
                }
                if reply.close {
                    cx.tally.cut += 1;
                    self.link = None;
                }
            }
            Received::Wait => {}
            Received::Ended => {
                cx.tally.cut += 1;
                self.end(cx, true);
            }
        }
    }

    /// Ends the connection; a request that waited has failed.
    fn end(&mut self, cx: &mut Context, failed: bool) {
        let Some(link) = self.link.take() else { return };
        if failed && let Some(sent) = link.sent_us {
            cx.tally.ended(Side::Attack, sent, cx.now_us, Outcome::Failed, None);
        }
        net::reset(link.socket);
    }
}

/// Writes a request. Everything but what is new each time is what one program sends.
fn write_request(asks: Asks, chance: &mut Chance, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let number = chance.next_u64();
    let agent = "python-requests/2.32.3";
    let rest = "Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n";
    // Writing to a vector does not fail.
    let _ = match asks {
        Asks::OnePage => {
            write!(out, "GET /search?q=sale HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {agent}\r\n{rest}\r\n")
        }
        Asks::NewQuery => {
            write!(out, "GET /?v={number:x} HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {agent}\r\n{rest}\r\n")
        }
        Asks::NewAgent => {
            let (system, version) = (SYSTEMS[(number % 4) as usize], number >> 8);
            write!(
                out,
                "GET /search?q=sale HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.{}.{} Safari/537.36\r\n{rest}\r\n",
                60 + version % 90,
                version / 90 % 7_000,
                version / 630_000 % 200,
            )
        }
        Asks::Logins => write!(
            out,
            "POST /login HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {agent}\r\n{rest}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 45\r\n\r\nuser=u{:010}&password={:019}",
            number % 10_000_000_000,
            chance.next_u64() % 1_000_000_000_000_000_000,
        ),
    };
}

const SYSTEMS: [&str; 4] =
    ["Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64", "Linux; Android 14; K"];

#[cfg(test)]
mod tests {
    use archipel_testkit::chance::Chance;

    use super::{Asks, write_request};

    #[test]
    fn requests_are_whole() {
        let mut chance = Chance::new(1);
        for asks in [Asks::OnePage, Asks::NewQuery, Asks::NewAgent, Asks::Logins] {
            let mut one = Vec::new();
            write_request(asks, &mut chance, &mut one);
            let text = String::from_utf8(one).expect("text");
            let (head, body) = text.split_once("\r\n\r\n").expect("a head");
            assert!(head.lines().skip(1).all(|line| line.contains(": ")), "{head}");
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            assert_eq!(length.map_or(0, |length| length.parse().expect("a number")), body.len(), "{asks:?}");
            let mut other = Vec::new();
            write_request(asks, &mut chance, &mut other);
            assert_eq!(text.as_bytes() == other, asks == Asks::OnePage, "{asks:?}");
        }
    }
}
