use super::*;

#[test]
fn numbers() {
    let set = IntSet::new([(8, 10), (1, 3), (4, 5), (9, 20), (30, 29), (i64::MAX, i64::MAX), (i64::MIN, -5)]);
    assert_eq!(set.ranges(), [(i64::MIN, -5), (1, 5), (8, 20), (i64::MAX, i64::MAX)]);
    for (number, inside) in [(i64::MIN, true), (-5, true), (-4, false), (0, false), (5, true), (6, false), (20, true)] {
        assert_eq!(set.contains(number), inside, "{number}");
    }
    assert!(set.contains(i64::MAX));
    assert!(!IntSet::default().contains(0));
}

#[test]
fn address_ranges() {
    for (text, expected) in [
        ("10.0.0.0/8", Ok(AddressRange::V4(0x0a00_0000, 0x0aff_ffff))),
        ("0.0.0.0/0", Ok(AddressRange::V4(0, u32::MAX))),
        ("10.0.0.1", Ok(AddressRange::V4(0x0a00_0001, 0x0a00_0001))),
        ("10.0.0.1/32", Ok(AddressRange::V4(0x0a00_0001, 0x0a00_0001))),
        ("10.0.0.1..10.0.0.3", Ok(AddressRange::V4(0x0a00_0001, 0x0a00_0003))),
        ("::/0", Ok(AddressRange::V6(0, u128::MAX))),
        ("::1/128", Ok(AddressRange::V6(1, 1))),
        ("::ffff:10.0.0.0/104", Ok(AddressRange::V4(0x0a00_0000, 0x0aff_ffff))),
        ("10.0.0.1/8", Err(AddressError::HostBits)),
        ("10.0.0.0/33", Err(AddressError::Prefix)),
        ("10.0.0.0/", Err(AddressError::Prefix)),
        ("10.0.0.0/+8", Err(AddressError::Prefix)),
        ("10.0.0.0/256", Err(AddressError::Prefix)),
        ("::/129", Err(AddressError::Prefix)),
        ("10.0.0.3..10.0.0.1", Err(AddressError::Order)),
        ("10.0.0.3..::1", Err(AddressError::Order)),
        ("10.0.0", Err(AddressError::Address)),
        ("010.0.0.1", Err(AddressError::Address)),
        ("", Err(AddressError::Address)),
    ] {
        assert_eq!(text.parse::<AddressRange>(), expected, "{text}");
    }
}

#[test]
fn addresses() {
    let set = AddressSet::new(["10.0.0.0/8", "11.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a range")));
    assert_eq!(set.v4_ranges(), [(0x0a00_0000, 0x0bff_ffff)]);
    for (address, inside) in [
        ("10.1.2.3", true),
        ("::ffff:11.1.2.3", true),
        ("12.0.0.0", false),
        ("9.255.255.255", false),
        ("2001:db8:ffff::", true),
        ("2001:db9::", false),
    ] {
        assert_eq!(set.contains(address.parse().expect("an address")), inside, "{address}");
    }
}
