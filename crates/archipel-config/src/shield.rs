//! Denial-of-service protection: `[shield]` in `node.toml` and in `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `check`.

use std::time::Duration;

use crate::cidr::{Cidr, CidrSet};
use crate::kind::{Cidrs, Count, Flag, SECOND, Time, Word, Words};
use crate::node::all_defaults;
use crate::settings::settings;

settings! {
    /// What the shields of all zones share.
    pub struct NodeShield {
        settings {
            /// Addresses that are never limited, blocked or handed to the kernel: your own monitoring, a load generator, a proxy in front.
            exempt: CidrSet = Cidrs, loopback();
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
            /// Whether addresses are handed off.
            enabled: bool = Flag, false;
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
            /// "off" leaves the limits of the node alone in force; "automatic" finds attacks and refuses them while they last;
            /// "under_attack" challenges every visitor besides.
            mode: ShieldMode = Words::new(), ShieldMode::Automatic;
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
    /// Finds attacks by itself.
    Automatic,
    /// The same, and every visitor is challenged.
    UnderAttack,
}

impl Word for ShieldMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("automatic", Self::Automatic), ("under_attack", Self::UnderAttack)];
}

fn loopback() -> CidrSet {
    CidrSet::new(["127.0.0.0/8", "::1/128"].iter().filter_map(|range| range.parse::<Cidr>().ok()))
}
