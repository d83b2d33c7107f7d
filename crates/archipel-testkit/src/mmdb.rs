//! Databases in the MaxMind DB format, version 2, with a few networks: so that tests need none of somebody else's.

use std::net::IpAddr;

use anyhow::{Context as _, ensure};

/// What stands at a branch of the tree.
#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    Data(usize),
}

/// A database of places: for each network its country (and continent), in the form of GeoLite2-Country.
///
/// # Errors
/// A network that is none, or two that overlap.
pub fn countries(networks: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let record = |country: &&str| {
        let country = map(&[("iso_code", text(country))]);
        map(&[("country", country), ("continent", map(&[("code", text("EU"))]))])
    };
    database(
        "GeoLite2-Country",
        &networks.iter().map(|(network, country)| (*network, record(country))).collect::<Vec<_>>(),
    )
}

/// A database of autonomous systems, in the form of GeoLite2-ASN.
///
/// # Errors
/// As for [`countries`].
pub fn networks(networks: &[(&str, u32)]) -> anyhow::Result<Vec<u8>> {
    let record = |asn: &u32| map(&[("autonomous_system_number", unsigned(6, &asn.to_be_bytes()))]);
    database("GeoLite2-ASN", &networks.iter().map(|(network, asn)| (*network, record(asn))).collect::<Vec<_>>())
}

fn database(kind: &str, records: &[(&str, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut tree = vec![[Branch::Nothing; 2]];
    let mut data = Vec::new();
    for (network, record) in records {
        insert(&mut tree, network, data.len()).with_context(|| (*network).to_owned())?;
        data.extend_from_slice(record);
    }
    let mut file = Vec::new();
    for branch in tree.iter().flatten() {
        let value = match branch {
            Branch::Nothing => tree.len(),
            Branch::Node(at) => *at,
            // The data begin behind 16 zero bytes, which count.
            Branch::Data(at) => tree.len() + 16 + at,
        };
        file.extend_from_slice(&u32::try_from(value)?.to_be_bytes()[1..]);
    }
    file.extend_from_slice(&[0; 16]);
    file.extend_from_slice(&data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    file.extend_from_slice(&map(&[
        ("node_count", unsigned(6, &u32::try_from(tree.len())?.to_be_bytes())),
        ("record_size", unsigned(5, &24u16.to_be_bytes())),
        ("ip_version", unsigned(5, &6u16.to_be_bytes())),
        ("database_type", text(kind)),
        // An empty array: an extended type.
        ("languages", vec![0, 4]),
        ("binary_format_major_version", unsigned(5, &2u16.to_be_bytes())),
        ("binary_format_minor_version", unsigned(5, &0u16.to_be_bytes())),
        // A number of 64 bits: an extended type.
        ("build_epoch", [&[8, 2][..], &1u64.to_be_bytes()].concat()),
        ("description", map(&[("en", text("test"))])),
    ]));
    Ok(file)
}

/// Hangs data into the tree. IPv4 networks stand under `::/96`.
fn insert(tree: &mut Vec<[Branch; 2]>, network: &str, data: usize) -> anyhow::Result<()> {
    let (address, prefix) = network.split_once('/').context("no prefix")?;
    let (bits, prefix) = match address.parse::<IpAddr>()? {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)), prefix.parse::<u32>()? + 96),
        IpAddr::V6(v6) => (u128::from(v6), prefix.parse::<u32>()?),
    };
    ensure!((1..=128).contains(&prefix), "the prefix is out of bounds");
    let mut at = 0;
    for depth in 0..prefix {
        let side = usize::from(bits >> (127 - depth) & 1 == 1);
        if depth + 1 == prefix {
            ensure!(matches!(tree[at][side], Branch::Nothing), "it overlaps another");
            tree[at][side] = Branch::Data(data);
            return Ok(());
        }
        at = match tree[at][side] {
            Branch::Node(next) => next,
            Branch::Data(_) => anyhow::bail!("it overlaps another"),
            Branch::Nothing => {
                tree.push([Branch::Nothing; 2]);
                let next = tree.len() - 1;
                tree[at][side] = Branch::Node(next);
                next
            }
        };
    }
    Ok(())
}

/// A control byte, for types below 8 and sizes below 29.
fn control(kind: u8, size: usize) -> u8 {
    kind << 5 | u8::try_from(size).unwrap_or(28).min(28)
}

fn text(text: &str) -> Vec<u8> {
    [&[control(2, text.len())][..], text.as_bytes()].concat()
}

fn unsigned(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[control(kind, bytes.len())][..], bytes].concat()
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut map = vec![control(7, entries.len())];
    for (key, value) in entries {
        map.extend_from_slice(&text(key));
        map.extend_from_slice(value);
    }
    map
}
