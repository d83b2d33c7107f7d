//! Budgets that always hold: requests of one address and of one network, of the node and of a zone.
//!
//! Owns what a budget is for; the arithmetic is `archipel-shield`'s. A request that is refused takes nothing from the budgets that it was
//! not refused by.

use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use archipel_http::proxy_status::ProxyError;
use archipel_shield::limits::{Buckets, Rate, Taken};
use archipel_transport::message::Reply;
use http::StatusCode;

use crate::error_page::{self, Failure};
use crate::exchange::Exchange;
use crate::shield::offences::{self, Why};

/// One address sends more than it may.
const ADDRESS: &str = "address_rate";
/// The addresses of one network send more than they may.
const NETWORK: &str = "network_rate";

/// Seconds of its rate that a bucket holds where nothing else is said.
const BURST_SECONDS: u32 = 5;

/// The budgets of all visitors of a node.
pub(crate) struct Budgets {
    buckets: Buckets,
    seed: foldhash::quality::RandomState,
    begun: Instant,
}

/// What a node or a zone allows each address and each network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allowance {
    address: Option<Rate>,
    network: Option<Rate>,
}

/// What a budget is for.
#[derive(Clone, Copy, Debug, Hash)]
enum Subject {
    /// An IPv4 address, or the /64 of an IPv6 address: whoever has one of its addresses has all.
    Address,
    /// A /24 of IPv4, a /48 of IPv6.
    Network,
}

impl Subject {
    fn reason(self) -> &'static str {
        match self {
            Self::Address => ADDRESS,
            Self::Network => NETWORK,
        }
    }
}

impl Allowance {
    /// From rates and bursts a second, of an address and of a network; a rate of 0 is no limit.
    pub(crate) fn new(address: (u32, u32), network: (u32, u32)) -> Self {
        let rate = |(rate, burst): (u32, u32)| {
            let burst = if burst == 0 { rate.saturating_mul(BURST_SECONDS) } else { burst };
            (rate > 0).then(|| Rate::per_second(rate, burst))
        };
        Self { address: rate(address), network: rate(network) }
    }
}

impl Budgets {
    /// Budgets for so many addresses and networks at once.
    pub(crate) fn new(budgets_max: usize) -> Self {
        let seed = foldhash::quality::RandomState::default();
        Self { buckets: Buckets::new(budgets_max), seed, begun: Instant::now() }
    }

    /// Takes one request from the budgets of a scope: 0 is the node, else a zone. Gives whose was empty, and for how long.
    fn take(&self, allowance: &Allowance, scope: u64, address: &Bits, at: Instant) -> Result<(), (Subject, Duration)> {
        let now_ns = u64::try_from(self.elapsed(at).as_nanos()).unwrap_or(u64::MAX);
        let of = [
            (allowance.address, Subject::Address, address.address),
            (allowance.network, Subject::Network, address.network),
        ];
        for (rate, subject, bits) in of {
            let Some(rate) = rate else { continue };
            let key = self.seed.hash_one((scope, subject, bits));
            if let Taken::Refused { wait } = self.buckets.take(key, rate, now_ns) {
                return Err((subject, wait));
            }
        }
        Ok(())
    }

    /// Time since the budgets were made, which is the clock of all limits.
    pub(super) fn elapsed(&self, at: Instant) -> Duration {
        at.saturating_duration_since(self.begun)
    }

    /// The table's metrics.
    pub(crate) fn metrics(&self, page: &mut String) {
        let counts = self.buckets.counts();
        let name = "archipel_shield_budgets_evicted_total";
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "# HELP {name} Budgets of addresses and networks forgotten as `shield.budgets_max` was reached.\n# TYPE {name} counter"
        );
        for (state, count) in [("full", counts.evicted_full), ("limited", counts.evicted_limited)] {
            let _ = writeln!(page, "{name}{{state=\"{state}\"}} {count}");
        }
        let bytes = [("", self.buckets.bytes() as u64)];
        let help = "Memory of the budgets of addresses and networks.";
        crate::metrics::metric(page, "archipel_shield_budgets_bytes", "gauge", help, &bytes);
    }
}

/// What tells addresses and networks apart.
pub(super) struct Bits {
    pub(super) address: u64,
    pub(super) network: u64,
}

impl Bits {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let bits = u64::from(u32::from(v4));
                Self { address: bits, network: bits >> 8 }
            }
            IpAddr::V6(v6) => {
                let prefix = (u128::from(v6) >> 64) as u64;
                // No prefix that is in use begins with 32 zero bits, as all that is IPv4 does here.
                Self { address: prefix, network: prefix >> 16 | 1 << 63 }
            }
        }
    }
}

/// Takes a request from the budgets of the node, then from those of its zone. Breaks with 429 where one is empty.
pub(super) fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    // A proxy that does not say for whom it asks stands for many.
    if !ex.live.trusted().is_empty() && ex.live.trusted().contains(ex.client) {
        return ControlFlow::Continue(());
    }
    let address = Bits::of(ex.client);
    let (budgets, at) = (&ex.worker.node.budgets, ex.times.begun);
    let mut taken = budgets.take(&ex.live.allowance, 0, &address, at);
    if let Some(zone) = ex.zone.as_ref().filter(|_| taken.is_ok()) {
        taken = budgets.take(&zone.allowance, u64::from(zone.zone.id) + 1, &address, at);
    }
    match taken {
        Ok(()) => ControlFlow::Continue(()),
        Err((subject, wait)) => ControlFlow::Break(refuse(ex, subject, wait)),
    }
}

#[cold]
fn refuse(ex: &mut Exchange, subject: Subject, wait: Duration) -> Reply {
    ex.note("shield", "refused", || format!("{}: try again in {} ms", subject.reason(), wait.as_millis()));
    if matches!(subject, Subject::Address) {
        offences::note(ex, Why::Limited);
    }
    let message = match subject {
        Subject::Address => "Too many requests from this address.",
        Subject::Network => "Too many requests from this network.",
    };
    let mut failure = Failure::refusal(StatusCode::TOO_MANY_REQUESTS, subject.reason(), message);
    failure.retry_helps = true;
    failure.proxy = Some(ProxyError::HttpRequestDenied);
    failure.retry_after = Some(whole_seconds(wait));
    error_page::reply(ex, &failure)
}

/// Seconds for `Retry-After`, rounded up.
pub(super) fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(u32::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_stands_for_its_64_and_its_network_for_a_48() {
        let bits = |text: &str| Bits::of(text.parse().unwrap());
        let same = |one: &str, other: &str| {
            let (one, other) = (bits(one), bits(other));
            (one.address == other.address, one.network == other.network)
        };
        assert_eq!(same("192.0.2.1", "192.0.2.1"), (true, true));
        assert_eq!(same("192.0.2.1", "192.0.2.200"), (false, true));
        assert_eq!(same("192.0.2.1", "192.0.3.1"), (false, false));
        assert_eq!(same("192.0.2.1", "::ffff:192.0.2.1"), (true, true));
        assert_eq!(same("2001:db8::1", "2001:db8::ffff:1:2:3"), (true, true));
        assert_eq!(same("2001:db8:0:1::1", "2001:db8:0:2::1"), (false, true));
        assert_eq!(same("2001:db8:1::1", "2001:db8:2::1"), (false, false));
        assert_eq!(same("::1", "0.0.0.0"), (true, false), "loopback and nobody: neither is a visitor's");
    }

    #[test]
    fn a_node_and_a_zone_allow_each_their_own() {
        let budgets = Budgets::new(1_024);
        let (node, zone) = (Allowance::new((10, 4), (10, 6)), Allowance::new((1, 0), (0, 3)));
        let now = budgets.begun;
        let [one, other] = ["192.0.2.1", "192.0.2.2"].map(|text| Bits::of(text.parse().unwrap()));
        let reason =
            |taken: Result<(), (Subject, Duration)>| taken.err().map(|(subject, wait)| (subject.reason(), wait));
        assert!((0..4).all(|_| budgets.take(&node, 0, &one, now).is_ok()));
        assert_eq!(reason(budgets.take(&node, 0, &one, now)), Some((ADDRESS, Duration::from_millis(100))));
        assert!((0..2).all(|_| budgets.take(&node, 0, &other, now).is_ok()));
        assert_eq!(reason(budgets.take(&node, 0, &other, now)), Some((NETWORK, Duration::from_millis(100))));
        assert!(
            (0..5).all(|_| budgets.take(&zone, 8, &other, now).is_ok()),
            "five seconds' worth, and no limit of networks"
        );
        assert_eq!(reason(budgets.take(&zone, 8, &other, now)), Some((ADDRESS, Duration::from_secs(1))));
        assert!(budgets.take(&zone, 9, &other, now).is_ok(), "another zone has its own");
        assert!((0..1_000).all(|_| budgets.take(&Allowance::new((0, 0), (0, 0)), 0, &one, now).is_ok()));
    }

    #[test]
    fn seconds_are_rounded_up() {
        let seconds = [0, 1, 1_000, 1_001].map(|ms| whole_seconds(Duration::from_millis(ms)));
        assert_eq!(seconds, [1, 1, 1, 2]);
        assert_eq!(whole_seconds(Duration::MAX), u32::MAX);
    }
}
