//! Denial-of-service protection: `[shield]` in `node.toml` and in `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `check`.

use std::time::Duration;

use archipel_rules::{AddressRange, AddressSet};

use crate::cidr::{Cidr, CidrSet};
use crate::compile::Part;
use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::kind::rule::LIST_NAMES;
use crate::kind::{Cidrs, Count, DAY, Flag, Name, SECOND, Time, Word, Words};
use crate::lists::{self, ListKind, ListValues, Lists};
use crate::node::{NodeConfig, all_defaults};
use crate::settings::settings;

settings! {
    /// What the shields of all zones share.
    pub struct NodeShield {
        settings {
            /// Addresses that are never limited, blocked or handed to the kernel: your own monitoring, a load generator, a proxy in front.
            exempt: CidrSet = Cidrs, loopback();
            /// Lists of kind "ip" with more such addresses: `[[lists]]` of the node.
            exempt_lists: Vec<Box<str>> = LIST_NAMES, Vec::new();
            /// Lists of kind "ip" whose addresses get nothing from any zone; exempt addresses go before. With `shield.kernel`, the kernel drops
            /// their packets.
            block_lists: Vec<Box<str>> = LIST_NAMES, Vec::new();
            /// Requests a second from one address (IPv6: from one /64), of all zones together; what is beyond is refused with 429. 0 is no
            /// limit.
            address_rate: u32 = Count(0, 1_000_000), 1_000;
            /// Requests that one address may send at once after a pause; 0 is five seconds' worth.
            address_burst: u32 = Count(0, 10_000_000), 0;
            /// The same for all addresses of one network together: a /24 of IPv4, a /48 of IPv6.
            network_rate: u32 = Count(0, 10_000_000), 5_000;
            /// Requests that one network may send at once after a pause; 0 is five seconds' worth.
            network_burst: u32 = Count(0, 10_000_000), 0;
            /// Addresses and networks whose budgets are remembered at once, 16 bytes each; beyond, those go first that have asked for least
            /// of late.
            budgets_max: usize = Count(1_024, 64_000_000), 262_144;
        }
        tables {
            /// See [`NodeShieldKernel`].
            kernel: NodeShieldKernel;
        }
    }
}

settings! {
    /// Hand-off of repeat offenders to the kernel, which drops their packets before they cost anything.
    pub struct NodeShieldKernel {
        settings {
            /// Whether addresses are handed off. It takes Linux and the right to change packet filters (CAP_NET_ADMIN); without it the node
            /// says so and goes on without.
            enabled: bool = Flag, false;
            /// Name of the nftables table of the node, which is removed when the node ends. Two nodes on one machine need two.
            table: String = Name(64), "archipel".to_owned();
            /// How long an address stays in the kernel.
            timeout: Duration = Time(SECOND, DAY), Duration::from_secs(600);
            /// Addresses that are in the kernel at a time; beyond it, repeat offenders are refused by the node alone, and counted.
            elements_max: usize = Count(1, 1_000_000), 65_536;
            /// Offences that an address (IPv6: a /64) may commit within `offences_window`; one more makes it a repeat offender.
            offences_max: u32 = Count(1, 1_000_000), 20;
            /// The time over which offences count.
            offences_window: Duration = Time(SECOND, 600 * SECOND), Duration::from_secs(10);
        }
    }
}

settings! {
    /// Denial-of-service protection of a zone.
    pub struct ZoneShield {
        settings {
            /// "off" leaves the limits of the node alone in force; "log" finds attacks and says what it would refuse; "automatic" refuses
            /// it while the attack lasts; "under_attack" challenges every visitor besides.
            mode: ShieldMode = Words::new(), ShieldMode::Log;
            /// Requests a second to this zone from one address (IPv6: from one /64), besides the node's limit. 0 leaves it to the node's.
            address_rate: u32 = Count(0, 1_000_000), 0;
            /// Requests that one address may send to this zone at once after a pause; 0 is five seconds' worth.
            address_burst: u32 = Count(0, 10_000_000), 0;
            /// The same for all addresses of one network together: a /24 of IPv4, a /48 of IPv6.
            network_rate: u32 = Count(0, 10_000_000), 0;
            /// Requests that one network may send to this zone at once after a pause; 0 is five seconds' worth.
            network_burst: u32 = Count(0, 10_000_000), 0;
        }
    }
}

all_defaults!(NodeShield, NodeShieldKernel, ZoneShield);

/// How much the shield of a zone does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShieldMode {
    /// Nothing.
    Off,
    /// Finds attacks by itself, and says what it would do.
    Log,
    /// Finds attacks by itself.
    Automatic,
    /// The same, and every visitor is challenged.
    UnderAttack,
}

impl Word for ShieldMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("log", Self::Log), ("automatic", Self::Automatic), ("under_attack", Self::UnderAttack)];
}

/// Whom the shield knows by the operator's word, from settings and lists together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShieldSets {
    /// `exempt` and `exempt_lists`.
    pub exempt: AddressSet,
    /// The same, and the peers whose word on addresses is trusted: nothing of theirs may be dropped.
    pub never_dropped: AddressSet,
    /// `block_lists`.
    pub blocked: AddressSet,
}

fn ranges(set: &CidrSet) -> impl Iterator<Item = AddressRange> {
    set.iter().filter_map(|cidr| AddressRange::network(cidr.address(), cidr.prefix()).ok())
}

fn ranges_of(set: &AddressSet) -> impl Iterator<Item = AddressRange> {
    let v4 = set.v4_ranges().iter().map(|(first, last)| AddressRange::V4(*first, *last));
    v4.chain(set.v6_ranges().iter().map(|(first, last)| AddressRange::V6(*first, *last)))
}

/// Looks the lists up, and reports those that are not there.
pub(crate) fn check_shield(node: &Part<NodeConfig>, lists: &Lists, out: &mut Diagnostics) -> ShieldSets {
    let shield = &node.config.shield;
    let mut named = |setting: &str, names: &[Box<str>]| -> Vec<AddressRange> {
        let mut all = Vec::new();
        for (at, name) in names.iter().enumerate() {
            match lists::find(lists, &format!("shield.{setting}"), name, ListKind::Ip) {
                Ok(ListValues::Values(list)) => all.extend(list.addresses().iter().flat_map(ranges_of)),
                Ok(ListValues::Redirects(_)) => {}
                Err(problem) => node.report(out, &format!("shield.{setting}[{at}]"), problem),
            }
        }
        all
    };
    let exempt: Vec<_> = ranges(&shield.exempt).chain(named("exempt_lists", &shield.exempt_lists)).collect();
    let blocked = AddressSet::new(named("block_lists", &shield.block_lists));
    let trust = &node.config.trust;
    let trusted = ranges(&trust.proxy_protocol_from).chain(ranges(&trust.client_address_from));
    let sets = ShieldSets {
        never_dropped: AddressSet::new(exempt.iter().copied().chain(trusted)),
        exempt: AddressSet::new(exempt),
        blocked,
    };
    if sets.blocked.v4_ranges() == [(0, u32::MAX)] || sets.blocked.v6_ranges() == [(0, u128::MAX)] {
        let problem = Problem::warning(Code::Contradiction, "`shield.block_lists` blocks every visitor of a family")
            .help("take 0.0.0.0/0 and ::/0 out of the lists");
        node.report(out, "shield.block_lists", problem);
    }
    sets
}

fn loopback() -> CidrSet {
    CidrSet::new(["127.0.0.0/8", "::1/128"].iter().filter_map(|range| range.parse::<Cidr>().ok()))
}
