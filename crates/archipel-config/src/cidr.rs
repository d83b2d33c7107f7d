//! Sets of address ranges.
//!
//! Owns the notation (`10.0.0.0/8`, `2001:db8::/32`, a bare address) and the fast answer to "is it in there". Never
//! resolves names.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// One address range in prefix notation, without host bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidrError {
    /// The part before the slash is no IP address.
    #[error("the part before the slash is no IP address")]
    Address,
    /// The part after the slash is no number from 0 to 32 (IPv4) or 128 (IPv6).
    #[error("the prefix is no number from 0 to 32 (IPv4) or 128 (IPv6)")]
    Prefix,
    /// Bits beyond the prefix are set; the range that was probably meant is given.
    #[error("bits beyond the prefix are set; the range is {0}")]
    HostBits(Cidr),
}

impl Cidr {
    /// The first address of the range.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many leading bits are fixed.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The range as first and last address, IPv4-mapped IPv6 ranges taken as IPv4.
    fn bounds(&self) -> Bounds {
        match self.address {
            IpAddr::V4(v4) => v4_bounds(v4, self.prefix),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if self.prefix >= 96 => v4_bounds(v4, self.prefix - 96),
                _ => {
                    let first = u128::from(v6);
                    Bounds::V6(first, first | mask_tail(self.prefix, 128))
                }
            },
        }
    }
}

enum Bounds {
    V4(u32, u32),
    V6(u128, u128),
}

fn v4_bounds(address: Ipv4Addr, prefix: u8) -> Bounds {
    let first = u32::from(address);
    // A prefix of at most 32 bits leaves a tail that fits 32 bits.
    Bounds::V4(first, first | mask_tail(prefix, 32) as u32)
}

/// The bits of an address of `width` bits that a prefix leaves open.
fn mask_tail(prefix: u8, width: u8) -> u128 {
    let open = u32::from(width.saturating_sub(prefix));
    if open >= 128 { u128::MAX } else { (1u128 << open) - 1 }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| CidrError::Address)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => width,
            // Digits only: `parse` alone would take "+8".
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse::<u8>().ok().filter(|p| *p <= width).ok_or(CidrError::Prefix)?
            }
            Some(_) => return Err(CidrError::Prefix),
        };
        let network = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & !(mask_tail(prefix, 32) as u32))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !mask_tail(prefix, 128))),
        };
        let cidr = Cidr { address: network, prefix };
        if network == address { Ok(cidr) } else { Err(CidrError::HostBits(cidr)) }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A set of address ranges. `contains` is a binary search over merged ranges and allocates nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet {
    given: Vec<Cidr>,
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl CidrSet {
    /// The set of all addresses in any of the ranges. An empty list is the empty set, never "everyone".
    pub fn new(ranges: impl IntoIterator<Item = Cidr>) -> Self {
        let given: Vec<Cidr> = ranges.into_iter().collect();
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        for cidr in &given {
            match cidr.bounds() {
                Bounds::V4(first, last) => v4.push((first, last)),
                Bounds::V6(first, last) => v6.push((first, last)),
            }
        }
        Self { given, v4: merge(v4), v6: merge(v6) }
    }

    /// True if the address lies in one of the ranges. An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => holds(&self.v4, u32::from(v4)),
            IpAddr::V6(v6) => holds(&self.v6, u128::from(v6)),
        }
    }

    /// True if no address is in the set.
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// The ranges as they were given.
    pub fn iter(&self) -> std::slice::Iter<'_, Cidr> {
        self.given.iter()
    }
}

impl FromIterator<Cidr> for CidrSet {
    fn from_iter<I: IntoIterator<Item = Cidr>>(ranges: I) -> Self {
        Self::new(ranges)
    }
}

fn merge<N: Ord + Copy>(mut ranges: Vec<(N, N)>) -> Vec<(N, N)> {
    ranges.sort_unstable();
    let mut merged: Vec<(N, N)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(previous) if first <= previous.1 => previous.1 = previous.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

fn holds<N: Ord + Copy>(ranges: &[(N, N)], address: N) -> bool {
    let after = ranges.partition_point(|range| range.0 <= address);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| address <= range.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ranges: &[&str], address: &str, inside: bool) {
        let set: CidrSet = ranges.iter().map(|r| r.parse::<Cidr>().unwrap()).collect();
        assert_eq!(set.contains(address.parse().unwrap()), inside, "{address} in {ranges:?}");
    }

    #[test]
    fn contains() {
        check(&[], "127.0.0.1", false);
        check(&["127.0.0.0/8"], "127.255.255.255", true);
        check(&["127.0.0.0/8"], "128.0.0.0", false);
        check(&["127.0.0.1"], "127.0.0.1", true);
        check(&["127.0.0.1"], "127.0.0.2", false);
        check(&["0.0.0.0/0"], "255.255.255.255", true);
        check(&["0.0.0.0/0"], "::1", false);
        check(&["::/0"], "10.0.0.1", false);
        check(&["::/0"], "ffff::", true);
        check(&["10.0.0.0/8"], "::ffff:10.1.2.3", true);
        check(&["::ffff:10.0.0.0/104"], "10.1.2.3", true);
        check(&["2001:db8::/32"], "2001:db8:ffff::1", true);
        check(&["2001:db8::/32"], "2001:db9::", false);
        check(&["10.0.0.0/9", "10.128.0.0/9", "10.0.0.0/8"], "10.200.0.1", true);
        check(&["192.168.0.0/16", "10.0.0.0/24", "10.0.1.0/24"], "10.0.2.0", false);
        check(&["10.0.0.0/8", "10.1.0.0/16"], "10.2.0.0", true);
    }

    #[test]
    fn notation() {
        assert_eq!("10.0.0.1/8".parse::<Cidr>(), Err(CidrError::HostBits("10.0.0.0/8".parse().unwrap())));
        assert_eq!("2001:db8::1/64".parse::<Cidr>(), Err(CidrError::HostBits("2001:db8::/64".parse().unwrap())));
        for (text, error) in [
            ("", CidrError::Address),
            ("10.0.0", CidrError::Address),
            ("localhost", CidrError::Address),
            ("10.0.0.0/33", CidrError::Prefix),
            ("10.0.0.0/+8", CidrError::Prefix),
            ("10.0.0.0/", CidrError::Prefix),
            ("::/129", CidrError::Prefix),
            ("::/999", CidrError::Prefix),
        ] {
            assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
        }
        assert_eq!("10.0.0.0/8".parse::<Cidr>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("::1".parse::<Cidr>().unwrap().to_string(), "::1/128");
    }
}
