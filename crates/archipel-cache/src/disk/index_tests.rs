//! The index against a plain map, and what it weighs.

use super::*;
use crate::workload::Seeded;
use std::collections::BTreeMap;

fn index() -> Index {
    Index::new(Arc::default())
}

fn place(key: u64, variant: u32, at: u32) -> Place {
    Place { key, segment: 1, at, bytes: 100, variant, stored_at: at, zone: 0, uses: 0, flags: 0 }
}

#[test]
fn it_agrees_with_a_map() {
    for seed in 0..20 {
        let mut random = Seeded(seed);
        let index = index();
        let mut model: BTreeMap<(u64, u32), Place> = BTreeMap::new();
        for at in 0..4_000_u32 {
            let key = random.next() % 200;
            let variant = (random.next() % 3) as u32;
            match random.next() % 10 {
                0..6 => {
                    assert_eq!(index.insert(place(key, variant, at), 0, 8, || false), Some(0));
                    model.insert((key, variant), place(key, variant, at));
                }
                6 => assert_eq!(index.remove_variant(key, variant), model.remove(&(key, variant)).is_some()),
                _ => {
                    let mut expected: Vec<Place> =
                        model.range((key, 0)..=(key, u32::MAX)).map(|(_, place)| *place).collect();
                    expected.sort_by_key(|place| std::cmp::Reverse(place.at));
                    assert_eq!(index.find(key).to_vec(), expected, "seed {seed}");
                }
            }
        }
        assert_eq!(index.len(), model.len());
        assert_eq!(index.remove_segment(1), model.len());
        assert_eq!(index.len(), 0);
    }
}

#[test]
fn variants_are_bounded_and_the_oldest_goes() {
    let index = index();
    for at in 0..10 {
        index.insert(place(5, at + 1, at), 0, 4, || false).unwrap();
    }
    assert_eq!(index.find(5).iter().map(|place| place.at).collect::<Vec<_>>(), [9, 8, 7, 6]);
    assert_eq!(index.insert(place(5, 99, 99), 0, 4, || true), None);
    assert_eq!(index.find(5).len(), 4);
}

#[test]
fn a_record_moves_and_is_counted() {
    let index = index();
    index.insert(place(5, 0, 64), 0, 4, || false).unwrap();
    let found = index.find(5)[0];
    assert_eq!((index.used(&found), index.used(&found)), (Some(0), Some(1)));
    assert!(index.moved(5, (1, 64), (2, 640)));
    assert!(!index.moved(5, (1, 64), (3, 640)), "it is not there any more");
    assert_eq!(index.used(&found), None);
    let moved = index.find(5)[0];
    assert_eq!((moved.segment, moved.at, moved.uses), (2, 640, 0));
}

#[test]
fn an_object_takes_at_most_48_bytes() {
    for count in [100_000_u64, 114_689, 130_000, 200_000] {
        let index = index();
        for key in 0..count {
            index.insert(place(key.wrapping_mul(0x2545_f491_4f6c_dd1d), 0, key as u32), 0, 64, || false).unwrap();
        }
        let each = index.memory_bytes() as f64 / count as f64;
        assert!(each <= 48.0, "{each:.1} bytes each at {count}");
    }
}
