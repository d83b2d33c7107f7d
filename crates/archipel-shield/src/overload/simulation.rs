//! An origin and its visitors, made up from a seed: what the limiter does for them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::*;

const TICK_US: u64 = 250_000;

/// What an origin is like at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Requests a second that want to go there.
    pub(crate) per_second: f64,
    /// Requests that it works on at once; others wait within it. 0: it hangs.
    pub(crate) capacity: usize,
    /// What one takes, in microseconds, on average.
    pub(crate) service_us: f64,
    /// Share of requests that take as long as `slow_us` instead.
    pub(crate) slow_share: f64,
    pub(crate) slow_us: f64,
}

impl Weather {
    pub(crate) fn new(per_second: f64, capacity: usize, service_us: f64) -> Self {
        Self { per_second, capacity, service_us, slow_share: 0.0, slow_us: 0.0 }
    }
}

/// What happened in one second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Second {
    pub(crate) offered: u32,
    pub(crate) answered: u32,
    pub(crate) shed: u32,
    /// Latencies at the origin, in microseconds.
    latencies: Vec<u64>,
    pub(crate) limit: u32,
    pub(crate) in_flight: u32,
}

impl Second {
    pub(crate) fn median_us(&self) -> f64 {
        let mut all = self.latencies.clone();
        all.sort_unstable();
        all.get(all.len() / 2).map_or(0.0, |us| *us as f64)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Tick,
    Arrives,
    Answered(u64),
    /// The one who waits gives up.
    GivesUp(u64),
}

pub(crate) struct Simulation {
    random: u64,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    numbers: u64,
    limiter: Limiter,
    latencies: Latencies,
    waiting: Waiting<u64>,
    tickets: HashMap<u64, u64>,
    in_flight: u32,
    peak: u32,
    /// Requests at the origin that it has not begun with.
    backlog: std::collections::VecDeque<u64>,
    busy: usize,
    sent: HashMap<u64, u64>,
    seconds: Vec<Second>,
}

const WAIT_US: u64 = 1_000_000;
const WAITING_MAX: usize = 512;

impl Simulation {
    pub(crate) fn new(bounds: Bounds, seed: u64) -> Self {
        Self {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 0,
            events: BinaryHeap::new(),
            numbers: 0,
            limiter: Limiter::new(bounds),
            latencies: Latencies::default(),
            waiting: Waiting::default(),
            tickets: HashMap::new(),
            in_flight: 0,
            peak: 0,
            backlog: std::collections::VecDeque::new(),
            busy: 0,
            sent: HashMap::new(),
            seconds: Vec::new(),
        }
    }

    fn uniform(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -self.uniform().ln() * mean
    }

    fn at(&mut self, after_us: f64, event: Event) {
        self.numbers += 1;
        self.events.push(Reverse((self.now + after_us as u64, self.numbers, event)));
    }

    fn second(&mut self) -> &mut Second {
        let at = (self.now / 1_000_000) as usize;
        if self.seconds.len() <= at {
            self.seconds.resize(at + 1, Second::default());
        }
        &mut self.seconds[at]
    }

    /// Plays `seconds` of a weather that may change with the second, and says what happened in each.
    pub(crate) fn run(mut self, seconds: u64, weather: impl Fn(u64) -> Weather) -> Vec<Second> {
        self.at(0.0, Event::Tick);
        self.at(0.0, Event::Arrives);
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at >= seconds * 1_000_000 {
                break;
            }
            self.now = at;
            let weather = weather(at / 1_000_000);
            match event {
                Event::Tick => self.tick(&weather),
                Event::Arrives => self.arrives(&weather),
                Event::Answered(id) => self.answered(id, &weather),
                Event::GivesUp(id) => {
                    if self.tickets.remove(&id).is_some_and(|ticket| self.waiting.leave(ticket)) {
                        self.second().shed += 1;
                    }
                }
            }
        }
        self.seconds
    }

    fn tick(&mut self, weather: &Weather) {
        let load = Load { in_flight: self.in_flight, peak: self.peak, failed: 0 };
        self.limiter.tick(Duration::from_micros(self.now), load, &self.latencies);
        self.peak = self.in_flight;
        let (limit, in_flight) = (self.limiter.limit(), self.in_flight);
        let second = self.second();
        (second.limit, second.in_flight) = (limit, in_flight);
        self.let_in(weather);
        self.begin(weather);
        self.at(TICK_US as f64, Event::Tick);
    }

    fn arrives(&mut self, weather: &Weather) {
        self.second().offered += 1;
        self.numbers += 1;
        let id = self.numbers;
        if self.in_flight < self.limiter.limit() {
            self.send(id, weather);
        } else {
            match self.waiting.enter(Priority::Unknown, id, WAITING_MAX) {
                Ok((ticket, _)) => {
                    self.tickets.insert(id, ticket);
                    self.at(WAIT_US as f64, Event::GivesUp(id));
                }
                Err(Refused) => self.second().shed += 1,
            }
        }
        let next = self.exponential(1e6 / weather.per_second);
        self.at(next, Event::Arrives);
    }

    fn send(&mut self, id: u64, weather: &Weather) {
        self.in_flight += 1;
        self.peak = self.peak.max(self.in_flight);
        self.sent.insert(id, self.now);
        self.backlog.push_back(id);
        self.begin(weather);
    }

    fn begin(&mut self, weather: &Weather) {
        while self.busy < weather.capacity {
            let Some(id) = self.backlog.pop_front() else { return };
            self.busy += 1;
            let mean = if self.uniform() < weather.slow_share { weather.slow_us } else { weather.service_us };
            // Half of it is the same for all.
            let service = mean / 2.0 + self.exponential(mean / 2.0);
            self.at(service, Event::Answered(id));
        }
    }

    fn answered(&mut self, id: u64, weather: &Weather) {
        self.busy -= 1;
        self.in_flight -= 1;
        if let Some(sent) = self.sent.remove(&id) {
            let took = self.now - sent;
            self.latencies.observe(took);
            let second = self.second();
            second.answered += 1;
            second.latencies.push(took);
        }
        self.let_in(weather);
        self.begin(weather);
    }

    fn let_in(&mut self, weather: &Weather) {
        while self.in_flight < self.limiter.limit() {
            let Some(id) = self.waiting.pop() else { return };
            self.tickets.remove(&id);
            self.send(id, weather);
        }
    }
}
