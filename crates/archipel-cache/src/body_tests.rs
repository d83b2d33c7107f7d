//! Bodies: joining of segments, ranges.

use crate::Body;
use bytes::Bytes;

fn body(sizes: &[usize]) -> (Body, Vec<u8>) {
    let mut next = 0_u8;
    let mut whole = Vec::new();
    let mut segments = Vec::new();
    for size in sizes {
        let bytes: Vec<u8> = (0..*size)
            .map(|_| {
                next = next.wrapping_mul(5).wrapping_add(3);
                next
            })
            .collect();
        whole.extend_from_slice(&bytes);
        segments.push(Bytes::from(bytes));
    }
    (Body::from_segments(&segments, None), whole)
}

#[test]
fn joins_small_segments() {
    let k = 1024;
    for (sizes, joined) in [
        (&[][..], &[][..]),
        (&[0], &[]),
        (&[5], &[5]),
        (&[5, 0, 7], &[12]),
        (&[64 * k, 64 * k], &[64 * k, 64 * k]),
        (&[10, 64 * k], &[10, 64 * k]),
        (&[k; 130], &[64 * k, 64 * k, 2 * k]),
        (&[10 * k, 10 * k, 50 * k, k], &[20 * k, 51 * k]),
        (&[0, 0, 3], &[3]),
    ] {
        let (body, whole) = body(sizes);
        let lengths: Vec<usize> = body.segments().iter().map(Bytes::len).collect();
        assert_eq!(lengths, joined, "{sizes:?}");
        assert_eq!(body.len(), whole.len() as u64);
        assert_eq!(body.segments().concat(), whole);
        assert!(body.heap_bytes() >= body.len());
    }
}

#[test]
fn cursor_reads_any_range() {
    for sizes in [&[][..], &[7], &[20_000, 20_000, 3, 40_000]] {
        let (body, whole) = body(sizes);
        let len = whole.len();
        let edges = [0, 1, 6, 7, 19_999, 20_000, 20_001, 40_002, len.saturating_sub(1), len, len + 1, usize::MAX];
        for start in edges {
            for end in edges {
                let mut cursor = body.cursor(start as u64..end as u64);
                let expected = whole.get(start.min(len)..end.min(len)).unwrap_or_default();
                assert_eq!(cursor.remaining(), expected.len() as u64, "{sizes:?} {start}..{end}");
                assert_eq!(cursor.by_ref().collect::<Vec<_>>().concat(), expected, "{sizes:?} {start}..{end}");
                assert_eq!((cursor.next(), cursor.remaining()), (None, 0));
            }
        }
    }
}
