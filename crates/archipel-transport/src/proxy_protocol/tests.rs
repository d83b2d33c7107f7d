//! Tables for the PROXY protocol parser, valid and hostile.

use super::*;

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Parses `bytes` whole, and every proper beginning of them, which must never answer a header
/// and, where the whole is valid, must ask for more.
#[track_caller]
fn check(bytes: &[u8], expected: Result<Parsed, ProxyProtocolError>) {
    assert_eq!(parse(bytes), expected, "{:?}", bytes.escape_ascii().to_string());
    let consumed = match expected {
        Ok(Parsed::Header { consumed, .. }) => consumed,
        _ => bytes.len(),
    };
    for cut in 0..consumed {
        let answer = parse(&bytes[..cut]);
        if expected.is_ok() {
            assert_eq!(answer, Ok(Parsed::Incomplete), "cut at {cut}");
        } else {
            assert!(!matches!(answer, Ok(Parsed::Header { .. })), "cut at {cut}");
        }
    }
}

fn header(consumed: usize, source: &str, destination: &str) -> Result<Parsed, ProxyProtocolError> {
    Ok(Parsed::Header { consumed, source: Some(addr(source)), destination: Some(addr(destination)) })
}

fn unknown(consumed: usize) -> Result<Parsed, ProxyProtocolError> {
    Ok(Parsed::Header { consumed, source: None, destination: None })
}

#[test]
fn version_1_valid() {
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
    check(line, header(line.len(), "192.0.2.1:56324", "198.51.100.7:443"));
    let line = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
    check(line, header(line.len(), "[2001:db8::1]:1", "[2001:db8::2]:65535"));
    let line = b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n";
    check(line, header(56, "255.255.255.255:65535", "255.255.255.255:65535"));
    // A mapped address is the IPv4 client that an address list knows.
    let line = b"PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 0 443\r\n";
    check(line, header(line.len(), "192.0.2.1:0", "[2001:db8::2]:443"));
    check(b"PROXY UNKNOWN\r\n", unknown(15));
    check(b"PROXY UNKNOWN ffff::1 whatever, 65535\r\n", unknown(39));
    // What follows is left alone.
    let line = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\n";
    check(line, header(36, "192.0.2.1:1", "192.0.2.2:2"));
    // The longest line that the specification allows.
    let mut longest = b"PROXY UNKNOWN ".to_vec();
    longest.resize(PROXY_HEADER_V1_BYTES_MAX - 2, b'f');
    longest.extend_from_slice(b"\r\n");
    check(&longest, unknown(107));
}

#[test]
fn version_1_hostile() {
    use ProxyProtocolError::{Line, Missing, TooLong};
    let family = Line("not an address of that family");
    let port = Line("not a port number");
    let missing = Line("a field is missing");
    let table: &[(&[u8], ProxyProtocolError)] = &[
        (b"GET / HTTP/1.1\r\n", Missing),
        (b"\x16\x03\x01", Missing),
        (b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Missing),
        (b"PROXY\tTCP4 192.0.2.1 192.0.2.2 1 2\r\n", Missing),
        (b"PROXYTCP4", Missing),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n", Line("no carriage return before the line feed")),
        (b"PROXY \n", Line("no carriage return before the line feed")),
        (b"PROXY \r\n", missing),
        (b"PROXY TCP4\r\n", missing),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", missing),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", Line("more fields than expected")),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", Line("more fields than expected")),
        (b"PROXY TCP4  192.0.2.1 192.0.2.2 1 2\r\n", Line("more fields than expected")),
        (b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", Line("unknown protocol")),
        (b"PROXY UNKNOWNX 192.0.2.1 192.0.2.2 1 2\r\n", Line("unknown protocol")),
        (b"PROXY tcp4 192.0.2.1 192.0.2.2 1 2\r\n", Line("unknown protocol")),
        (b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", family),
        (b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", family),
        (b"PROXY TCP4 192.0.02.1 192.0.2.2 1 2\r\n", family),
        (b"PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n", family),
        (b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", family),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n", port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n", port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 -2\r\n", port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n", port),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n", port),
        (b"PROXY TCP4 192.0.2.1\0 192.0.2.2 1 2\r\n", family),
        (b"PROXY TCP4 \xff\xfe 192.0.2.2 1 2\r\n", Line("not ASCII")),
        (&[b"PROXY UNKNOWN ", [b'x'; 120].as_slice()].concat(), TooLong),
    ];
    for (bytes, error) in table {
        check(bytes, Err(*error));
    }
}

fn v2(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = V2_SIGNATURE.to_vec();
    bytes.extend([version_command, family]);
    bytes.extend((payload.len() as u16).to_be_bytes());
    bytes.extend(payload);
    bytes
}

const INET: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((value.len() as u16).to_be_bytes());
    bytes.extend(value);
    bytes
}

/// A header over IPv4 whose checksum is right.
fn with_checksum() -> Vec<u8> {
    let payload = [INET, &tlv(0x04, b"padding"), &tlv(TLV_CRC32C, &[0; 4]), &tlv(1, b"h2")].concat();
    let mut bytes = v2(0x21, 0x11, &payload);
    let crc = !bytes.iter().fold(!0, |crc, byte| crc32c_step(crc, *byte));
    let at = V2_FIXED_BYTES + INET.len() + 10 + 3;
    bytes[at..at + 4].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn crc32c_check_value() {
    // The catalogue's check value of CRC-32C ("CRC-32/ISCSI").
    let crc = b"123456789".iter().fold(!0, |crc, byte| crc32c_step(crc, *byte));
    assert_eq!(!crc, 0xe306_9283);
}

#[test]
fn version_2_valid() {
    let inet = || header(28, "192.0.2.1:56324", "198.51.100.7:443");
    check(&v2(0x21, 0x11, INET), inet());
    let mut with_rest = v2(0x21, 0x11, INET);
    with_rest.extend_from_slice(b"\x16\x03\x01");
    check(&with_rest, inet());

    let mut inet6 = Vec::new();
    inet6.extend("2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    inet6.extend("::ffff:198.51.100.7".parse::<Ipv6Addr>().unwrap().octets());
    inet6.extend([0, 1, 0x01, 0xbb]);
    check(&v2(0x21, 0x21, &inet6), header(52, "[2001:db8::1]:1", "198.51.100.7:443"));

    // LOCAL and unknown: the addresses, if any, are ignored.
    check(&v2(0x20, 0x00, b""), unknown(16));
    check(&v2(0x20, 0x11, INET), unknown(28));
    check(&v2(0x20, 0x31, &[b'/'; 216]), unknown(232));
    check(&v2(0x21, 0x00, b"anything"), unknown(24));

    let tlvs = [INET, &tlv(0x02, b"example.com"), &tlv(0xea, &[0; 300]), &tlv(0x04, b"")].concat();
    let bytes = v2(0x21, 0x11, &tlvs);
    check(&bytes, header(bytes.len(), "192.0.2.1:56324", "198.51.100.7:443"));
    let bytes = with_checksum();
    check(&bytes, header(bytes.len(), "192.0.2.1:56324", "198.51.100.7:443"));

    let mut largest = INET.to_vec();
    largest.extend(tlv(0x04, &vec![0; PROXY_HEADER_V2_PAYLOAD_BYTES_MAX - INET.len() - 3]));
    let bytes = v2(0x21, 0x11, &largest);
    assert_eq!(bytes.len(), PROXY_HEADER_BYTES_MAX);
    check(&bytes, header(bytes.len(), "192.0.2.1:56324", "198.51.100.7:443"));

    let most = [INET, &tlv(4, b"").repeat(PROXY_HEADER_TLVS_MAX)].concat();
    let bytes = v2(0x21, 0x11, &most);
    check(&bytes, header(bytes.len(), "192.0.2.1:56324", "198.51.100.7:443"));
}

#[test]
fn version_2_hostile() {
    use ProxyProtocolError::{AddressesTruncated, Checksum, Family, Missing, Tlv, TooLong, VersionOrCommand};
    check(b"\r\n\r\n\0\r\nQUIX\n", Err(Missing));
    check(b"\r\n\r\nGET / HTTP/1.1", Err(Missing));
    for version_command in [0x00, 0x01, 0x10, 0x11, 0x22, 0x2f, 0x31, 0xff] {
        check(&v2(version_command, 0x11, INET), Err(VersionOrCommand(version_command)));
    }
    // Unspecified transport, datagrams, AF_UNIX and unassigned values.
    for family in [0x01, 0x02, 0x10, 0x12, 0x20, 0x22, 0x30, 0x31, 0x32, 0x41, 0xff] {
        check(&v2(0x21, family, &[0; 216]), Err(Family(family)));
    }
    for length in 0..12 {
        check(&v2(0x21, 0x11, &INET[..length]), Err(AddressesTruncated));
    }
    check(&v2(0x21, 0x21, &[0; 35]), Err(AddressesTruncated));
    check(&v2(0x21, 0x11, &[0; PROXY_HEADER_V2_PAYLOAD_BYTES_MAX + 1]), Err(TooLong));
    // The length alone is enough to refuse.
    let mut announced = V2_SIGNATURE.to_vec();
    announced.extend([0x21, 0x11, 0xff, 0xff]);
    check(&announced, Err(TooLong));

    let tlvs = |tlvs: &[u8]| v2(0x21, 0x11, &[INET, tlvs].concat());
    check(&tlvs(&[4]), Err(Tlv("a TLV is cut short")));
    check(&tlvs(&[4, 0]), Err(Tlv("a TLV is cut short")));
    check(&tlvs(&[4, 0, 1]), Err(Tlv("a TLV is cut short")));
    check(&tlvs(&[4, 0xff, 0xff, 0]), Err(Tlv("a TLV is cut short")));
    check(&tlvs(&tlv(4, b"").repeat(PROXY_HEADER_TLVS_MAX + 1)), Err(Tlv("too many TLVs")));
    let one_sum = Tlv("not exactly one checksum of four bytes");
    check(&tlvs(&tlv(TLV_CRC32C, b"abc")), Err(one_sum));
    check(&tlvs(&tlv(TLV_CRC32C, &[0; 4]).repeat(2)), Err(one_sum));
    check(&tlvs(&tlv(TLV_CRC32C, &[0; 4])), Err(Checksum));
    // One flipped bit anywhere behind the fixed part is noticed one way or another.
    let good = with_checksum();
    for at in V2_FIXED_BYTES..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            // The TLV type of the sum itself is the one place that hides the sum.
            let hidden = at == V2_FIXED_BYTES + INET.len() + 10;
            assert!(hidden || parse(&bad).is_err(), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..20_000 {
        let mut bytes = match next() % 3 {
            0 => V2_SIGNATURE.to_vec(),
            1 => V1_PREFIX.to_vec(),
            _ => with_checksum(),
        };
        let keep = bytes.len() - (next() as usize % 3).min(bytes.len());
        bytes.truncate(keep);
        bytes.extend((0..next() % 64).map(|_| (next() >> 11) as u8));
        if let Ok(Parsed::Header { consumed, .. }) = parse(&bytes) {
            assert!(consumed <= bytes.len());
        }
    }
}
