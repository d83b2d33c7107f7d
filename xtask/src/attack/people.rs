//! Sessions of people: they come at a rate, look at a few pages with all that belongs to them, think in between, and
//! leave. They come whether or not those before them were served. What one session does stands in `visit.rs`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;

use archipel_testkit::chance::Chance;

use super::addresses::{self, Side};
use super::browser::Identity;
use super::engine::{Context, Load};
use super::net::{Key, Table, Token};
use super::visit::{Plan, Visit};

/// Sessions at a time; those who come beyond are not let in, and counted.
const SESSIONS_MAX: usize = 14_000;
/// How often requests without a reply are looked for.
const CHECK_US: u64 = 250_000;
/// Sessions that are drawn to learn how many requests one makes.
const DRAWN: u64 = 4_000;

/// How a population behaves.
#[derive(Debug, Clone)]
pub struct Habits {
    /// On whose side it is.
    pub side: Side,
    /// Requests in a second, in the mean.
    pub rate_rps: f64,
    /// When they come.
    pub from_us: u64,
    /// Until when they come.
    pub until_us: u64,
    /// Shortest and longest time between two pages.
    pub think_us: (u64, u64),
    /// The page where everybody begins; else each where they like.
    pub landing: Option<&'static str>,
    /// How many addresses an attacking population has.
    pub addresses: u64,
}

/// A population.
#[derive(Debug)]
pub struct People {
    habits: Habits,
    kind: u8,
    chance: Chance,
    visits: Table<Visit>,
    /// When a session goes on.
    timers: BinaryHeap<Reverse<(u64, Key)>>,
    next_arrival_us: f64,
    between_arrivals_us: f64,
    checked_us: u64,
}

impl People {
    /// A population whose sockets are of this kind.
    #[must_use]
    pub fn new(habits: Habits, kind: u8, seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let requests: u64 = (0..DRAWN).map(|_| Plan::requests(&mut chance, habits.landing)).sum();
        #[allow(clippy::cast_precision_loss)]
        let between_arrivals_us = 1e6 * requests as f64 / DRAWN as f64 / habits.rate_rps.max(0.001);
        #[allow(clippy::cast_precision_loss)]
        let next_arrival_us = habits.from_us as f64;
        Self {
            habits,
            kind,
            chance,
            visits: Table::default(),
            timers: BinaryHeap::new(),
            next_arrival_us,
            between_arrivals_us,
            checked_us: 0,
        }
    }

    /// When something is due.
    #[must_use]
    pub fn next_us(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((due, _))| *due)
    }

    /// Lets people come, go on, and lose patience.
    pub fn advance(&mut self, cx: &mut Context) {
        self.arrivals(cx);
        while let Some(Reverse((due, key))) = self.timers.peek().copied()
            && due <= cx.now_us
        {
            self.timers.pop();
            let token = self.token(key);
            if let Some(visit) = self.visits.get(key) {
                visit.next_page(&mut self.chance);
                visit.pump(cx, token);
                self.settle(cx, key);
            }
        }
        if cx.now_us >= self.checked_us + CHECK_US {
            self.checked_us = cx.now_us;
            for key in self.visits.keys() {
                let token = self.token(key);
                if self.visits.get(key).is_some_and(|visit| visit.lose_patience(cx, token)) {
                    self.settle(cx, key);
                }
            }
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn arrivals(&mut self, cx: &mut Context) {
        let now = cx.now_us.min(self.habits.until_us) as f64;
        while self.next_arrival_us < now {
            // As people come: each independently of the others.
            let uniform = (self.chance.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
            self.next_arrival_us -= self.between_arrivals_us * (1.0 - uniform).ln();
            if self.visits.len() >= SESSIONS_MAX {
                cx.tally.missed += 1;
                continue;
            }
            let who = Identity::draw(&mut self.chance);
            let address = self.address();
            let visit = Visit::new(self.habits.side, who, address, self.habits.landing, &mut self.chance);
            let key = self.visits.insert(visit);
            self.timers.push(Reverse((cx.now_us, key)));
        }
    }

    fn address(&mut self) -> Ipv4Addr {
        match self.habits.side {
            Side::People => addresses::person(self.chance.next_u64() >> 8, self.chance.next_u64() >> 8),
            Side::Attack => addresses::attacker(self.chance.below(self.habits.addresses)),
        }
    }

    fn token(&self, key: Key) -> Token {
        Token::new(self.kind, key)
    }

    /// Something happened on a connection.
    pub fn ready(&mut self, cx: &mut Context, key: Key) {
        let token = self.token(key);
        if let Some(visit) = self.visits.get(key) {
            visit.ready(cx, token, &mut self.chance);
            self.settle(cx, key);
        }
    }

    /// Where a page is complete, its reader thinks, or leaves.
    fn settle(&mut self, cx: &Context, key: Key) {
        let Some(visit) = self.visits.get(key) else { return };
        if !visit.take_complete() {
            return;
        }
        if visit.is_over() {
            self.visits.remove(key);
            return;
        }
        let (shortest, longest) = self.habits.think_us;
        let think = shortest + self.chance.below(longest.saturating_sub(shortest).max(1));
        self.timers.push(Reverse((cx.now_us + think, key)));
    }
}

impl Load for People {
    fn advance(&mut self, cx: &mut Context) {
        Self::advance(self, cx);
    }

    fn ready(&mut self, cx: &mut Context, token: Token) {
        Self::ready(self, cx, token.key());
    }

    fn is_busy(&self, now_us: u64) -> bool {
        (self.habits.from_us..self.habits.until_us).contains(&now_us)
    }
}
