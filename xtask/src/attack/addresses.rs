//! Who comes from where: which addresses of 127.0.0.0/8 belong to people and which to attackers. The origin tells them
//! apart by this alone; nothing in a request says it, and the server under test knows nothing of it.

use std::net::Ipv4Addr;

/// On whose side a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// People, and the programs that they want.
    People,
    /// The attack.
    Attack,
}

/// Second octets from here on are attackers'.
const ATTACK_FROM: u8 = 64;
/// Last octets from here on are attackers', also in the networks of people.
const NEIGHBOURS_FROM: u8 = 128;
/// Networks (/24) of people.
const NETWORKS: u64 = 400;
/// Networks that a third of the people are in.
const LARGE_NETWORKS: u64 = 40;

/// Whose an address is.
#[must_use]
pub fn side(address: Ipv4Addr) -> Side {
    let [_, second, _, last] = address.octets();
    if second >= ATTACK_FROM || last >= NEIGHBOURS_FROM { Side::Attack } else { Side::People }
}

/// A person's address, from two random numbers: a third live in few networks, the others in many.
#[must_use]
pub fn person(network: u64, host: u64) -> Ipv4Addr {
    let many = network / 3 % (NETWORKS - LARGE_NETWORKS) + LARGE_NETWORKS;
    let network = if network.is_multiple_of(3) { network / 3 % LARGE_NETWORKS } else { many };
    in_network(network, 1 + host % u64::from(NEIGHBOURS_FROM - 1))
}

/// The attacker with this number, from a network of its own as far as there are so many (16,384).
#[must_use]
pub fn attacker(number: u64) -> Ipv4Addr {
    // An odd factor makes it a permutation of the 4,194,304 addresses of 127.64.0.0/10 that spreads neighbours.
    let scattered = number.wrapping_mul(2_654_435_761) & 0x3f_ffff;
    Ipv4Addr::from_bits(0x7f40_0000 | u32::try_from(scattered).unwrap_or_default())
}

/// The attacker with this number among those who live where a third of the people live.
#[must_use]
pub fn neighbour(number: u64) -> Ipv4Addr {
    let hosts = u64::from(u8::MAX - NEIGHBOURS_FROM) + 1;
    in_network(number % LARGE_NETWORKS, u64::from(NEIGHBOURS_FROM) + number / LARGE_NETWORKS % hosts)
}

fn in_network(network: u64, host: u64) -> Ipv4Addr {
    // From 127.1.0.0 on, so that 127.0.0.x stays with the servers.
    Ipv4Addr::from_bits(0x7f01_0000 + u32::try_from(network << 8 | host).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{Side, attacker, neighbour, person, side};

    #[test]
    fn addresses_tell_the_sides_apart() {
        let mut networks = HashSet::new();
        for number in 0..5_000 {
            assert_eq!(side(attacker(number)), Side::Attack);
            assert_eq!(side(neighbour(number)), Side::Attack);
            let person = person(number * 7, number * 13);
            assert_eq!(side(person), Side::People, "{person}");
            networks.insert(person.octets()[..3].to_vec());
        }
        assert!(networks.len() > 300);
        assert!(networks.contains(&neighbour(1).octets()[..3]));
    }

    #[test]
    fn attackers_are_distinct() {
        let five_thousand: HashSet<_> = (0..5_000).map(neighbour).collect();
        assert_eq!(five_thousand.len(), 5_000);
        let million: HashSet<_> = (0..1_000_000).map(attacker).collect();
        assert_eq!(million.len(), 1_000_000);
        let networks: HashSet<_> = (0..5_000).map(|number| attacker(number).octets()[..3].to_vec()).collect();
        assert!(networks.len() > 3_000, "{}", networks.len());
    }
}
