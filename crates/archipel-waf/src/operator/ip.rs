//! Sets of addresses, for `ipMatch` and `ipMatchFromFile`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Kind, OperatorError};

/// Networks of both families, as sorted ranges that do not touch.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressSet {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl AddressSet {
    /// Reads addresses and networks, separated by commas and ends of lines; `#` begins a comment.
    pub(super) fn parse(kind: Kind, text: &[u8]) -> Result<Self, OperatorError> {
        let mut set = Self::default();
        for line in text.split(|&byte| byte == b'\n') {
            let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
            for entry in line.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty()) {
                set.add(entry).ok_or_else(|| {
                    let entry = String::from_utf8_lossy(entry);
                    OperatorError::argument(kind, format!("`{entry}` is neither an address nor a network"))
                })?;
            }
        }
        merge(&mut set.v4, |end| end.checked_add(1));
        merge(&mut set.v6, |end| end.checked_add(1));
        Ok(set)
    }

    fn add(&mut self, entry: &[u8]) -> Option<()> {
        let entry = std::str::from_utf8(entry).ok()?;
        let (address, length) = match entry.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().ok()?)),
            None => (entry, None),
        };
        match address.parse().ok()? {
            IpAddr::V4(address) => {
                let host = 32u32.checked_sub(length.unwrap_or(32))?;
                let mask = u32::MAX.checked_shr(32 - host).unwrap_or(0);
                let address = u32::from(address);
                self.v4.push((address & !mask, address | mask));
            }
            IpAddr::V6(address) => {
                let host = 128u32.checked_sub(length.unwrap_or(128))?;
                let mask = u128::MAX.checked_shr(128 - host).unwrap_or(0);
                let address = u128::from(address);
                self.v6.push((address & !mask, address | mask));
            }
        }
        Some(())
    }

    /// Whether `value` is an address of the set. What is not an address is not in it.
    pub(super) fn contains(&self, value: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(value) else { return false };
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            is_within(&self.v4, u32::from(address))
        } else if let Ok(address) = text.parse::<Ipv6Addr>() {
            is_within(&self.v6, u128::from(address))
        } else {
            false
        }
    }
}

fn merge<T: Ord + Copy>(ranges: &mut Vec<(T, T)>, after: impl Fn(T) -> Option<T>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, kept| {
        let touches = after(kept.1).is_none_or(|after| next.0 <= after);
        if touches {
            kept.1 = kept.1.max(next.1);
        }
        touches
    });
}

fn is_within<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|range| range.0 <= address);
    after > 0 && ranges[after - 1].1 >= address
}
