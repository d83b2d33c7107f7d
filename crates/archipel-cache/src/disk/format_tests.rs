//! Everything written is read back; nothing changed is believed.

use super::*;

const HEADER: Header = Header {
    kind: Kind::Object,
    nonce: 7 << 32 | 64,
    hash: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
    stamp: 9,
    stored_at: 1_700_000_000,
    body_bytes: 200_000,
    meta_bytes: 5,
    variant: 3,
    zone: 11,
    epoch: 12,
};

#[test]
fn a_header_comes_back_and_no_flipped_bit_passes() {
    let bytes = HEADER.encode(b"hello");
    assert_eq!(bytes.len(), HEADER_BYTES);
    assert_eq!(Header::peek(&bytes), Some(HEADER));
    assert!(Header::holds(&bytes, b"hello"));
    assert!(!Header::holds(&bytes, b"hellO"));
    for bit in 0..HEADER_BYTES * 8 {
        let mut bad = bytes.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(!Header::holds(&bad, b"hello"), "bit {bit}");
    }
    for short in 0..HEADER_BYTES {
        assert_eq!(Header::peek(&bytes[..short]), None);
        assert!(!Header::holds(&bytes[..short], b"hello"));
    }
    assert_eq!(HEADER.head_bytes(BLOCK_BYTES), Some(80 + 5 + 4 * 4));
    assert_eq!(HEADER.record_bytes(), Some((80 + 5 + 16 + 200_000_u64).next_multiple_of(8)));
    for body_bytes in [u64::MAX, u64::MAX - 7, u64::MAX / 2] {
        // Hostile lengths give numbers or nothing, never a panic.
        let _ = Header { body_bytes, ..HEADER }.record_bytes();
    }
}

#[test]
fn a_start_comes_back() {
    let start = Start { solo: true, id: 77, seed_print: u64::MAX, zone: Some(9) };
    let bytes = start.encode();
    assert_eq!(Start::decode(&bytes), Some(start));
    for bit in 0..bytes.len() * 8 {
        let mut bad = bytes;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Start::decode(&bad), None, "bit {bit}");
    }
}

#[test]
fn a_footer_comes_back() {
    let entry = |hash: u128, kind| Entry {
        kind,
        hash,
        stamp: 5,
        at: 64,
        bytes: 9,
        variant: 0,
        stored_at: 3,
        zone: 1,
        epoch: 2,
    };
    for entries in [vec![], vec![entry(1, Kind::Object), entry(2, Kind::Replaced)]] {
        let bytes = encode_footer(&entries);
        let (body, tail) = bytes.split_last_chunk::<TAIL_BYTES>().unwrap();
        let (len, crc) = decode_tail(tail).unwrap();
        assert_eq!(len as usize, body.len());
        assert_eq!(decode_entries(body, crc), Some(entries));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let (body, tail) = bad.split_last_chunk::<TAIL_BYTES>().unwrap();
            let read = decode_tail(tail).and_then(|(_, crc)| decode_entries(body, crc));
            assert_eq!(read, None, "bit {bit}");
        }
    }
}

#[test]
fn block_sums_tell_records_and_places_apart() {
    let block = [0_u8; 100];
    assert_ne!(block_sum(1, 0, &block), block_sum(2, 0, &block));
    assert_ne!(block_sum(1, 0, &block), block_sum(1, 1, &block));
    assert_eq!(blocks(0, 10), 0);
    assert_eq!(blocks(1, 10), 1);
    assert_eq!(blocks(20, 10), 2);
    assert_eq!(variant_tag(b""), 0);
    assert_ne!(variant_tag(b"a"), variant_tag(b"b"));
}
