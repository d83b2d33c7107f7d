//! Sets of numbers and of addresses, kept as sorted ranges that do not touch: membership is one binary search.

use std::net::{IpAddr, Ipv6Addr};

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntSet {
    ranges: Box<[(i64, i64)]>,
}

impl IntSet {
    /// The numbers of all ranges, both ends included. Ranges that end before they begin are empty.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = (i64, i64)>) -> Self {
        Self { ranges: merged(ranges.into_iter().collect(), |last| last.checked_add(1)) }
    }

    /// Whether `number` is in it.
    #[must_use]
    pub fn contains(&self, number: i64) -> bool {
        contains(&self.ranges, number)
    }

    /// Its ranges, sorted, both ends included.
    #[must_use]
    pub fn ranges(&self) -> &[(i64, i64)] {
        &self.ranges
    }
}

/// A set of addresses. An IPv4 address and its IPv4-mapped IPv6 form are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSet {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

/// A range of addresses of one family, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRange {
    /// IPv4.
    V4(u32, u32),
    /// IPv6.
    V6(u128, u128),
}

/// Why a text is no range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// What stands for an address is none.
    #[error("this is no IP address")]
    Address,
    /// The prefix length is no number from 0 to 32 (IPv4) or 128 (IPv6).
    #[error("the prefix length is no number from 0 to 32 (IPv4) or 128 (IPv6)")]
    Prefix,
    /// Bits beyond the prefix are set.
    #[error("bits beyond the prefix are set")]
    HostBits,
    /// A range ends before it begins, or its ends are of different families.
    #[error("the range ends before it begins, or its ends are of different families")]
    Order,
}

impl AddressRange {
    /// One address.
    #[must_use]
    pub fn one(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.into(), v4.into()),
            IpAddr::V6(v6) => Self::V6(v6.into(), v6.into()),
        }
    }

    /// A network: all addresses with the same first `prefix` bits.
    ///
    /// # Errors
    /// A prefix that is too long, or bits beyond it.
    pub fn network(address: IpAddr, prefix: u8) -> Result<Self, AddressError> {
        let (bits, width) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), 32_u32),
            IpAddr::V6(v6) => (u128::from(v6), 128),
        };
        let host_bits = width.checked_sub(u32::from(prefix)).ok_or(AddressError::Prefix)?;
        let mask = 1u128.checked_shl(host_bits).map_or(u128::MAX, |bit| bit - 1);
        if bits & mask != 0 {
            return Err(AddressError::HostBits);
        }
        Self::between(address, rebuilt(address, bits | mask))
    }

    /// All addresses from one to another.
    ///
    /// # Errors
    /// Ends of different families, or in the wrong order.
    pub fn between(first: IpAddr, last: IpAddr) -> Result<Self, AddressError> {
        let range = match (first.to_canonical(), last.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Self::V4(first.into(), last.into()),
            (IpAddr::V6(first), IpAddr::V6(last)) => Self::V6(first.into(), last.into()),
            // A range that holds all mapped addresses and more, such as ::/0.
            (IpAddr::V6(_), IpAddr::V4(_)) | (IpAddr::V4(_), IpAddr::V6(_)) => match (first, last) {
                (IpAddr::V6(first), IpAddr::V6(last)) => Self::V6(first.into(), last.into()),
                _ => return Err(AddressError::Order),
            },
        };
        let ordered = match range {
            Self::V4(first, last) => first <= last,
            Self::V6(first, last) => first <= last,
        };
        if ordered { Ok(range) } else { Err(AddressError::Order) }
    }
}

fn rebuilt(like: IpAddr, bits: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits & u128::from(u32::MAX)).unwrap_or(u32::MAX).into()),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(bits)),
    }
}

impl std::str::FromStr for AddressRange {
    type Err = AddressError;

    /// Reads `192.0.2.1`, `192.0.2.0/24` or `192.0.2.1..192.0.2.9`, and the same for IPv6.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| AddressError::Address);
        if let Some((first, last)) = text.split_once("..") {
            return Self::between(address(first)?, address(last)?);
        }
        let Some((network, prefix)) = text.split_once('/') else { return address(text).map(Self::one) };
        let network = address(network)?;
        let digits = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|_| digits).ok_or(AddressError::Prefix)?;
        Self::network(network, prefix)
    }
}

impl AddressSet {
    /// The addresses of all ranges.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = AddressRange>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match range {
                AddressRange::V4(first, last) => v4.push((first, last)),
                AddressRange::V6(first, last) => v6.push((first, last)),
            }
        }
        Self { v4: merged(v4, |last| last.checked_add(1)), v6: merged(v6, |last| last.checked_add(1)) }
    }

    /// Whether `address` is in it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => contains(&self.v4, v4.into()),
            IpAddr::V6(v6) => contains(&self.v6, v6.into()),
        }
    }

    /// Its IPv4 ranges, sorted, both ends included.
    #[must_use]
    pub fn v4_ranges(&self) -> &[(u32, u32)] {
        &self.v4
    }

    /// Its IPv6 ranges, sorted, both ends included.
    #[must_use]
    pub fn v6_ranges(&self) -> &[(u128, u128)] {
        &self.v6
    }
}

/// Sorted, with ranges that overlap or touch made one.
fn merged<T: Ord + Copy>(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.retain(|(first, last)| first <= last);
    ranges.sort_unstable();
    let mut kept: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match kept.last_mut() {
            Some(open) if next(open.1).is_none_or(|next| first <= next) => open.1 = open.1.max(last),
            _ => kept.push((first, last)),
        }
    }
    kept.into()
}

fn contains<T: Ord + Copy>(ranges: &[(T, T)], value: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= value);
    after > 0 && ranges[after - 1].1 >= value
}

#[cfg(test)]
mod tests;
