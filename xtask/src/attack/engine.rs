//! The loop: one thread, one epoll, for the origin, the people and the attackers, so that all of them fit on one core
//! beside each other. Time is microseconds since the run began.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::net::{Loopback, Poll, Token};
use super::origin::Origin;
use super::people::People;
use super::tally::Tally;

/// Kinds of sockets.
pub const ORIGIN_LISTENER: u8 = 0;
/// Connections of the origin.
pub const ORIGIN: u8 = 1;
/// Connections of people.
pub const PEOPLE: u8 = 2;
/// Connections of the attack, and of a crowd.
pub const ATTACK: u8 = 3;

/// Longest time between two looks at what is due.
const LOOK_US: u64 = 20_000;
/// The same while an attack sends.
const LOOK_BUSY_US: u64 = 1_000;

/// What all that run in the loop share.
pub struct Context {
    /// What is waited for.
    pub poll: Poll,
    /// Now.
    pub now_us: u64,
    /// The book.
    pub tally: Tally,
    /// Room for what is read.
    pub buffer: Vec<u8>,
    /// Where HTTP/1.1 is spoken.
    pub http1: Loopback,
    /// Where HTTP/2 is spoken by prior knowledge.
    pub http2: Loopback,
}

/// Something that sends, beside the people who are always there.
pub trait Load {
    /// Sends what is due.
    fn advance(&mut self, cx: &mut Context);
    /// Something happened on a connection.
    fn ready(&mut self, cx: &mut Context, token: Token);
    /// Whether it sends at this time.
    fn is_busy(&self, now_us: u64) -> bool;
}

/// The whole.
pub struct Engine {
    /// The site.
    pub origin: Origin,
    /// Who is always there.
    pub people: People,
    /// What comes on top.
    pub load: Option<Box<dyn Load>>,
    /// When all ends.
    pub end_us: u64,
}

impl Engine {
    /// Runs until the end, or until it is told to stop, and returns the book.
    ///
    /// # Errors
    /// The system's.
    pub fn run(mut self, mut cx: Context, begun: Instant, stop: &Arc<AtomicBool>) -> Result<Tally> {
        let mut events = Vec::new();
        self.origin.start(&cx)?;
        loop {
            cx.now_us = micros(begun.elapsed());
            if cx.now_us >= self.end_us || stop.load(Ordering::Relaxed) {
                return Ok(cx.tally);
            }
            self.origin.advance(&mut cx);
            self.people.advance(&mut cx);
            if let Some(load) = &mut self.load {
                load.advance(&mut cx);
            }
            events.clear();
            let wait = self.wait_us(cx.now_us);
            cx.poll.wait(Duration::from_micros(wait), &mut events)?;
            cx.now_us = micros(begun.elapsed());
            for token in &events {
                self.ready(&mut cx, *token);
            }
        }
    }

    fn ready(&mut self, cx: &mut Context, token: Token) {
        match token.kind() {
            ORIGIN_LISTENER => self.origin.connected(cx),
            ORIGIN => self.origin.ready(cx, token.key()),
            PEOPLE => self.people.ready(cx, token.key()),
            _ => {
                if let Some(load) = &mut self.load {
                    load.ready(cx, token);
                }
            }
        }
    }

    fn wait_us(&self, now_us: u64) -> u64 {
        let busy = self.load.as_ref().is_some_and(|load| load.is_busy(now_us));
        let look = now_us + if busy { LOOK_BUSY_US } else { LOOK_US };
        let due = [self.origin.next_us(), self.people.next_us()].into_iter().flatten().fold(look, u64::min);
        // Waits are of whole milliseconds.
        due.saturating_sub(now_us).max(1_000)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
