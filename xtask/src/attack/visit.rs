//! One session: which pages it looks at, what belongs to them, and its connection, over HTTP/1.1 (one request at a time)
//! or HTTP/2 (all of a page at once).

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use archipel_testkit::chance::Chance;

use super::addresses::Side;
use super::browser::{Ask, Does, For, Identity};
use super::engine::Context;
use super::net::{self, READ, READ_WRITE, Received, Sent, Token};
use super::tally::Outcome;
use super::wire::{self, Frame, Reader};

/// How long somebody waits for a reply, in microseconds.
const PATIENCE_US: u64 = 5_000_000;
/// Most bytes of a refusal over HTTP/2 that are kept, to find its reason.
const KEPT_MAX: usize = 8 << 10;

/// What a session is going to do.
#[derive(Debug)]
pub struct Plan {
    does: Does,
    pages: u64,
    logs_in: bool,
    first: bool,
    landing: Option<&'static str>,
}

impl Plan {
    fn draw(does: Does, landing: Option<&'static str>, chance: &mut Chance) -> Self {
        let pages = 2 + chance.below(5);
        Self { does, pages, logs_in: does == Does::Browse && chance.below(10) == 0, first: true, landing }
    }

    /// Requests that a session makes: one is drawn.
    #[must_use]
    pub fn requests(chance: &mut Chance, landing: Option<&'static str>) -> u64 {
        let does = Identity::draw(chance).client().does;
        let mut plan = Self::draw(does, landing, chance);
        let mut requests = 0;
        while plan.pages > 0 {
            let page = plan.page(chance);
            requests += 1 + plan.rest(&page, chance).len() as u64;
        }
        requests
    }

    /// The next page itself.
    fn page(&mut self, chance: &mut Chance) -> Ask {
        self.pages -= 1;
        if self.does == Does::Follow {
            return Ask::get(For::Page, "/feed.xml");
        }
        if self.does == Does::Fetch {
            return Ask::get(For::Data, format!("/api/items/{}", chance.below(800)));
        }
        if self.logs_in && !self.first {
            self.logs_in = false;
            let body = format!("user=u{}&password=p{}", chance.below(100_000), chance.below(1 << 30));
            return Ask { what: For::Login, path: "/login".to_owned(), body };
        }
        let path = match (self.first, self.landing, chance.below(10)) {
            (true, Some(landing), _) => landing.to_owned(),
            (true, None, _) if self.logs_in => "/login".to_owned(),
            (_, _, 0 | 1) => "/".to_owned(),
            (_, _, 2..=4) => format!("/category/{}", chance.below(50)),
            (_, _, 5..=7) => format!("/product/{}", chance.below(500)),
            (_, _, 8) => format!("/search?q=w{}&page={}", chance.below(300), 1 + chance.below(3)),
            _ => (*chance.pick(&["/cart", "/account", "/account/orders"])).to_owned(),
        };
        Ask::get(For::Page, path)
    }

    /// What belongs to a page.
    fn rest(&mut self, page: &Ask, chance: &mut Chance) -> Vec<Ask> {
        if self.does != Does::Browse || page.what == For::Login {
            return Vec::new();
        }
        let mut rest = Vec::new();
        if self.first {
            let common = ["/static/app.js", "/static/site.css", "/static/logo.webp"];
            rest.extend(common.map(|path| Ask::get(For::Asset, path)));
        }
        self.first = false;
        for _ in 0..2 {
            rest.push(Ask::get(For::Asset, format!("/static/p{}.webp", chance.below(2_000))));
        }
        if chance.below(2) == 0 {
            rest.push(Ask::get(For::Data, format!("/api/stock/{}", chance.below(500))));
        }
        rest
    }
}

/// A request under way.
#[derive(Debug)]
struct Flight {
    ask: Ask,
    sent_us: u64,
    /// Stream of HTTP/2.
    stream: u32,
    again: bool,
    status: u16,
    kept: Vec<u8>,
}

#[derive(Debug)]
struct Link {
    socket: OwnedFd,
    /// Whether a reply has come over it.
    proven: bool,
    reader: Reader,
    /// Bytes of HTTP/2 that are no whole frame yet.
    held: Vec<u8>,
    next_stream: u32,
    /// What the socket has not taken yet.
    unsent: Vec<u8>,
    watches_writing: bool,
}

/// A session.
#[derive(Debug)]
pub struct Visit {
    side: Side,
    who: Identity,
    address: Ipv4Addr,
    http2: bool,
    plan: Plan,
    /// Asked for next; true: it was asked for over a connection that broke.
    queue: VecDeque<(Ask, bool)>,
    flights: Vec<Flight>,
    link: Option<Link>,
    reading: bool,
}

impl Visit {
    /// Somebody comes.
    #[must_use]
    pub fn new(
        side: Side,
        who: Identity,
        address: Ipv4Addr,
        landing: Option<&'static str>,
        chance: &mut Chance,
    ) -> Self {
        let plan = Plan::draw(who.client().does, landing, chance);
        let http2 = chance.below(100) < who.client().http2_percent;
        let (queue, flights) = (VecDeque::new(), Vec::new());
        Self { side, who, address, http2, plan, queue, flights, link: None, reading: false }
    }

    /// Turns to the next page.
    pub fn next_page(&mut self, chance: &mut Chance) {
        let page = self.plan.page(chance);
        self.queue.push_back((page, false));
        self.reading = true;
    }

    /// Whether a page has just become complete.
    pub fn take_complete(&mut self) -> bool {
        let complete = self.reading && self.queue.is_empty() && self.flights.is_empty();
        self.reading &= !complete;
        complete
    }

    /// Whether there is no page left.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.plan.pages == 0
    }

    /// Sends what can be sent now.
    pub fn pump(&mut self, cx: &mut Context, token: Token) {
        if self.queue.is_empty() || (!self.http2 && !self.flights.is_empty()) {
            return;
        }
        if self.link.is_none() && !self.open(cx, token) {
            // Nobody listens, or no socket is left: everything that was wanted fails.
            cx.tally.unconnected += 1;
            for (ask, again) in std::mem::take(&mut self.queue) {
                if !again {
                    cx.tally.sent(self.side, cx.now_us);
                }
                drop(ask);
                cx.tally.ended(self.side, cx.now_us, cx.now_us, Outcome::Failed, None);
            }
            return;
        }
        let Some(link) = &mut self.link else { return };
        while let Some((ask, again)) = self.queue.pop_front() {
            if !again {
                cx.tally.sent(self.side, cx.now_us);
            }
            let stream = link.next_stream;
            if self.http2 {
                self.who.write_http2(&ask, stream, &mut link.unsent);
                link.next_stream += 2;
            } else {
                self.who.write_http1(&ask, &mut link.unsent);
            }
            self.flights.push(Flight { ask, sent_us: cx.now_us, stream, again, status: 0, kept: Vec::new() });
            if !self.http2 {
                break;
            }
        }
        if !link.flush(cx, token) {
            self.broken(cx, token);
        }
    }

    fn open(&mut self, cx: &Context, token: Token) -> bool {
        let to = if self.http2 { cx.http2 } else { cx.http1 };
        let Ok(socket) = net::connect(self.address, to) else { return false };
        if cx.poll.add(&socket, token, READ).is_err() {
            return false;
        }
        let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
        let mut unsent = Vec::new();
        if self.http2 {
            self.who.write_preface(&mut unsent);
        }
        self.link = Some(Link {
            socket,
            proven: false,
            reader: Reader::default(),
            held: Vec::new(),
            next_stream: 1,
            unsent,
            watches_writing: false,
        });
        true
    }

    /// Something happened on the connection.
    pub fn ready(&mut self, cx: &mut Context, token: Token, chance: &mut Chance) {
        let Some(link) = &mut self.link else { return };
        if !link.unsent.is_empty() && !link.flush(cx, token) {
            self.broken(cx, token);
            return;
        }
        let count = match net::receive(&link.socket, &mut cx.buffer) {
            Received::Bytes(count) => count,
            Received::Wait => return,
            Received::Ended => {
                self.broken(cx, token);
                return;
            }
        };
        if self.http2 {
            link.held.extend_from_slice(&cx.buffer[..count]);
            self.frames(cx, token, chance);
        } else if let Some(reply) = link.reader.feed(&cx.buffer[..count]) {
            link.proven = true;
            if reply.close {
                self.link = None;
            }
            if let Some(flight) = self.flights.pop() {
                self.answered(cx, &flight, reply.status, reply.reason.as_deref(), chance);
            }
        }
        self.pump(cx, token);
    }

    fn frames(&mut self, cx: &mut Context, token: Token, chance: &mut Chance) {
        let Some(link) = &mut self.link else { return };
        let held = std::mem::take(&mut link.held);
        let mut used = 0;
        while let Some((frame, length)) = wire::first_frame(&held[used..]) {
            used += length;
            if !self.frame(cx, frame, chance) {
                self.broken(cx, token);
                return;
            }
        }
        if let Some(link) = &mut self.link {
            link.held.extend_from_slice(&held[used..]);
            if !link.flush(cx, token) {
                self.broken(cx, token);
            }
        }
    }

    /// Takes a frame. False where the connection goes away.
    fn frame(&mut self, cx: &mut Context, frame: Frame<'_>, chance: &mut Chance) -> bool {
        let Some(link) = &mut self.link else { return false };
        let place = self.flights.iter().position(|flight| flight.stream == frame.stream);
        let ends = frame.flags & 1 != 0;
        match (frame.kind, place) {
            (0 | 1, Some(place)) => {
                let flight = &mut self.flights[place];
                if frame.kind == 1 && flight.status == 0 {
                    flight.status = wire::status_of(frame.payload).unwrap_or(0);
                } else if flight.status >= 400 && flight.kept.len() + frame.payload.len() <= KEPT_MAX {
                    flight.kept.extend_from_slice(frame.payload);
                }
                if ends {
                    link.proven = true;
                    let flight = self.flights.swap_remove(place);
                    let reason = wire::reason(&flight.kept).map(str::to_owned);
                    self.answered(cx, &flight, flight.status, reason.as_deref(), chance);
                }
            }
            (3, Some(place)) => {
                let flight = self.flights.swap_remove(place);
                cx.tally.ended(self.side, flight.sent_us, cx.now_us, Outcome::Failed, None);
            }
            (4, _) if !ends => wire::put_frame(&mut link.unsent, 4, 1, 0, &[]),
            (6, _) if !ends => wire::put_frame(&mut link.unsent, 6, 1, 0, frame.payload),
            (7, _) => return false,
            _ => {}
        }
        true
    }

    fn answered(&mut self, cx: &mut Context, flight: &Flight, status: u16, reason: Option<&str>, chance: &mut Chance) {
        let outcome = Outcome::of(status, reason);
        cx.tally.ended(self.side, flight.sent_us, cx.now_us, outcome, reason);
        if outcome == Outcome::Served && matches!(flight.ask.what, For::Page | For::Login) {
            if self.plan.does == Does::Browse && self.who.cookie.is_none() {
                self.who.cookie = Some(chance.next_u64());
            }
            let rest = self.plan.rest(&flight.ask, chance);
            self.queue.extend(rest.into_iter().map(|ask| (ask, false)));
        }
    }

    /// The connection has ended. What was asked for over one that worked before is asked for once more, as browsers do.
    fn broken(&mut self, cx: &mut Context, token: Token) {
        let proven = self.link.take().is_some_and(|link| link.proven && !link.reader.is_within());
        for flight in std::mem::take(&mut self.flights) {
            if proven && !flight.again && flight.ask.body.is_empty() {
                self.queue.push_front((flight.ask, true));
            } else {
                cx.tally.ended(self.side, flight.sent_us, cx.now_us, Outcome::Failed, None);
            }
        }
        // One level deep: a connection that is new is not proven.
        self.pump(cx, token);
    }

    /// Gives up what has waited for too long. True where something was given up.
    pub fn lose_patience(&mut self, cx: &mut Context, token: Token) -> bool {
        let late = |flight: &Flight| cx.now_us > flight.sent_us + PATIENCE_US;
        if !self.flights.iter().any(late) {
            return false;
        }
        self.link = None;
        for flight in std::mem::take(&mut self.flights) {
            cx.tally.ended(self.side, flight.sent_us, cx.now_us, Outcome::Failed, None);
        }
        self.pump(cx, token);
        true
    }
}

impl Link {
    /// Sends what the socket takes. False where the connection has ended.
    fn flush(&mut self, cx: &Context, token: Token) -> bool {
        if !self.unsent.is_empty() {
            match net::send(&self.socket, &self.unsent) {
                Sent::Bytes(count) => drop(self.unsent.drain(..count)),
                Sent::Wait => {}
                Sent::Ended => return false,
            }
        }
        let watches = !self.unsent.is_empty();
        if watches != self.watches_writing {
            self.watches_writing = watches;
            let _ = cx.poll.change(&self.socket, token, if watches { READ_WRITE } else { READ });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use archipel_testkit::chance::Chance;

    use super::{Does, For, Plan};

    #[test]
    fn a_session_has_pages_and_what_belongs_to_them() {
        let mut chance = Chance::new(1);
        let mut plan = Plan::draw(Does::Browse, None, &mut chance);
        let page = plan.page(&mut chance);
        let rest = plan.rest(&page, &mut chance);
        assert!(rest.len() >= 5 && rest.iter().any(|ask| ask.path == "/static/app.js"));
        let requests: u64 = (0..1_000).map(|_| Plan::requests(&mut chance, None)).sum();
        assert!((12_000..20_000).contains(&requests), "{requests}");
    }

    #[test]
    fn a_crowd_begins_at_one_page() {
        let mut chance = Chance::new(2);
        for _ in 0..50 {
            let mut plan = Plan::draw(Does::Browse, Some("/offer"), &mut chance);
            assert_eq!(plan.page(&mut chance).path, "/offer");
        }
    }

    #[test]
    fn some_log_in() {
        let mut chance = Chance::new(3);
        let posts = (0..2_000).filter(|_| {
            let mut plan = Plan::draw(Does::Browse, None, &mut chance);
            (0..plan.pages).any(|_| {
                let page = plan.page(&mut chance);
                plan.rest(&page, &mut chance);
                page.what == For::Login
            })
        });
        assert!((120..300).contains(&posts.count()));
    }
}
