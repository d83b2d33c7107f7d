//! Look-up tables for the conditions on one value: a hash map for texts, one automaton for all literals, sorted segments for
//! numbers and addresses.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use aho_corasick::automaton::OverlappingState;
use aho_corasick::{AhoCorasick, AhoCorasickKind, Anchored, Input, MatchKind, StartKind};
use smallvec::SmallVec;

use super::guard::{Anchor, AtomTest};
use super::{Bits, set};
use crate::sets::AddressRange;
use crate::value::Value;

/// Most entries of one table of segments. Ranges that overlap much need more; filters with such ranges are then evaluated
/// always.
const SEGMENT_ENTRIES_MAX: usize = 1 << 20;

type Rules = Vec<u32>;

/// Tables that are being filled.
#[derive(Debug, Default)]
pub(super) struct TablesBuilder {
    present: Rules,
    equals: HashMap<Box<[u8]>, Rules>,
    equals_folded: HashMap<Box<[u8]>, Rules>,
    holds: HashMap<Box<[u8]>, Rules>,
    starts: HashMap<Box<[u8]>, Rules>,
    /// Back to front.
    ends: HashMap<Box<[u8]>, Rules>,
    ints: Vec<(i64, i64, u32)>,
    v4: Vec<(u32, u32, u32)>,
    v6: Vec<(u128, u128, u32)>,
}

/// The finished tables.
#[derive(Debug)]
pub(super) struct Tables {
    present: Box<[u32]>,
    equals: HashMap<Box<[u8]>, Rules>,
    equals_folded: HashMap<Box<[u8]>, Rules>,
    holds: Option<Literals>,
    starts: Option<Literals>,
    ends: Option<Literals>,
    ints: Segments<i64>,
    v4: Segments<u32>,
    v6: Segments<u128>,
}

/// Literals that values are searched for, in one automaton.
struct Literals {
    automaton: AhoCorasick,
    anchored: Anchored,
    /// Length of the longest.
    bytes_max: usize,
    rules: Box<[Rules]>,
}

/// Up to this many bytes of literals become a table of all transitions, which is fast but needs up to half a kilobyte for
/// each byte.
const TABLE_BYTES_MAX: usize = 16 << 10;

impl fmt::Debug for Literals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Literals").field("literals", &self.rules.len()).finish_non_exhaustive()
    }
}

impl TablesBuilder {
    pub fn add(&mut self, rule: usize, test: AtomTest) {
        let Ok(rule) = u32::try_from(rule) else { return };
        match test {
            AtomTest::Present => self.present.push(rule),
            AtomTest::Equals(text) => self.equals.entry(text).or_default().push(rule),
            AtomTest::EqualsFolded(text) => self.equals_folded.entry(text).or_default().push(rule),
            AtomTest::Holds(text, Anchor::Anywhere) => self.holds.entry(text).or_default().push(rule),
            AtomTest::Holds(text, Anchor::Start) => self.starts.entry(text).or_default().push(rule),
            AtomTest::Holds(mut text, Anchor::End) => {
                text.reverse();
                self.ends.entry(text).or_default().push(rule);
            }
            AtomTest::Ints(first, last) => self.ints.push((first, last, rule)),
            AtomTest::Addresses(AddressRange::V4(first, last)) => self.v4.push((first, last, rule)),
            AtomTest::Addresses(AddressRange::V6(first, last)) => self.v6.push((first, last, rule)),
        }
    }

    /// The tables, and the filters for which there was no room in them.
    pub fn build(self) -> (Tables, Vec<usize>) {
        let mut left_over = Vec::new();
        let holds = Literals::new(self.holds, Anchored::No, &mut left_over);
        let starts = Literals::new(self.starts, Anchored::Yes, &mut left_over);
        let ends = Literals::new(self.ends, Anchored::Yes, &mut left_over);
        let ints = Segments::new(self.ints, |at| at.checked_add(1), &mut left_over);
        let v4 = Segments::new(self.v4, |at| at.checked_add(1), &mut left_over);
        let v6 = Segments::new(self.v6, |at| at.checked_add(1), &mut left_over);
        let (present, equals, equals_folded) = (self.present.into(), self.equals, self.equals_folded);
        let tables = Tables { present, equals, equals_folded, holds, starts, ends, ints, v4, v6 };
        (tables, left_over.into_iter().map(|rule| rule as usize).collect())
    }
}

impl Tables {
    /// Sets the bits of the filters for which it is enough that there is something.
    pub fn fire_present(&self, bits: &mut Bits) {
        self.present.iter().for_each(|rule| set(bits, *rule as usize));
    }

    /// Sets the bits of the filters whose condition the value meets.
    pub fn fire(&self, value: &Value<'_>, bits: &mut Bits) {
        match value {
            Value::Bytes(text) => {
                fire_text(&self.equals, text, bits);
                if !self.equals_folded.is_empty() {
                    fire_text(&self.equals_folded, &text.to_ascii_lowercase(), bits);
                }
                if let Some(holds) = &self.holds {
                    holds.fire(text, bits);
                }
                if let Some(starts) = &self.starts {
                    starts.fire(&text[..text.len().min(starts.bytes_max)], bits);
                }
                if let Some(ends) = &self.ends {
                    let tail = text.iter().rev().take(ends.bytes_max).copied();
                    ends.fire(&tail.collect::<SmallVec<[u8; 64]>>(), bits);
                }
            }
            Value::Int(number) => self.ints.fire(*number, bits),
            Value::Ip(address) => match address.to_canonical() {
                IpAddr::V4(v4) => self.v4.fire(v4.into(), bits),
                IpAddr::V6(v6) => self.v6.fire(v6.into(), bits),
            },
            Value::Nil | Value::Bool(_) | Value::Array(_) | Value::Map(_) => {}
        }
    }
}

fn fire_text(texts: &HashMap<Box<[u8]>, Rules>, text: &[u8], bits: &mut Bits) {
    if texts.is_empty() {
        return;
    }
    for rule in texts.get(text).into_iter().flatten() {
        set(bits, *rule as usize);
    }
}

impl Literals {
    fn new(texts: HashMap<Box<[u8]>, Rules>, anchored: Anchored, left_over: &mut Rules) -> Option<Self> {
        if texts.is_empty() {
            return None;
        }
        let bytes_max = texts.keys().map(|text| text.len()).max().unwrap_or(0);
        let bytes: usize = texts.keys().map(|text| text.len()).sum();
        let (texts, rules): (Vec<_>, Vec<Rules>) = texts.into_iter().unzip();
        let start = if anchored == Anchored::Yes { StartKind::Anchored } else { StartKind::Unanchored };
        let built = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .start_kind(start)
            .kind((bytes <= TABLE_BYTES_MAX).then_some(AhoCorasickKind::DFA))
            .build(&texts);
        match built {
            Ok(automaton) => Some(Self { automaton, anchored, bytes_max, rules: rules.into() }),
            Err(_) => {
                left_over.extend(rules.into_iter().flatten());
                None
            }
        }
    }

    fn fire(&self, text: &[u8], bits: &mut Bits) {
        let input = Input::new(text).anchored(self.anchored);
        let mut state = OverlappingState::start();
        // The automaton was built for this kind of search, so that it cannot refuse one.
        while self.automaton.try_find_overlapping(input.clone(), &mut state).is_ok() {
            let Some(found) = state.get_match() else { return };
            for rule in &self.rules[found.pattern().as_usize()] {
                set(bits, *rule as usize);
            }
        }
    }
}

/// A line cut where ranges begin and end; each piece knows the filters whose ranges cover it.
#[derive(Debug)]
struct Segments<T> {
    /// Where each piece begins; it ends before the next.
    starts: Box<[T]>,
    rules: Box<[Box<[u32]>]>,
}

impl<T: Ord + Copy> Segments<T> {
    fn new(ranges: Vec<(T, T, u32)>, next: impl Fn(T) -> Option<T>, left_over: &mut Rules) -> Self {
        /// Beginnings, and the places behind ends.
        type Edges<T> = Vec<(T, bool, u32)>;
        let mut edges: Edges<T> = Vec::with_capacity(ranges.len() * 2);
        for (first, last, rule) in &ranges {
            edges.push((*first, true, *rule));
            if let Some(after) = next(*last) {
                edges.push((after, false, *rule));
            }
        }
        edges.sort_unstable();
        let (mut starts, mut rules) = (Vec::new(), Vec::new());
        // A filter's own ranges may overlap, as those of `a < 5 or a < 7` do, so how often it is open is counted.
        let mut open: std::collections::BTreeMap<u32, usize> = std::collections::BTreeMap::new();
        let mut entries = 0;
        for group in edges.chunk_by(|one, other| one.0 == other.0) {
            for (_, begins, rule) in group {
                let count = open.entry(*rule).or_default();
                *count = if *begins { *count + 1 } else { count.saturating_sub(1) };
            }
            open.retain(|_, count| *count > 0);
            entries += open.len();
            if entries > SEGMENT_ENTRIES_MAX {
                left_over.extend(ranges.iter().map(|(_, _, rule)| *rule));
                return Self { starts: Box::default(), rules: Box::default() };
            }
            starts.push(group[0].0);
            rules.push(open.keys().copied().collect());
        }
        Self { starts: starts.into(), rules: rules.into() }
    }

    fn fire(&self, value: T, bits: &mut Bits) {
        let after = self.starts.partition_point(|start| *start <= value);
        if let Some(rules) = after.checked_sub(1).and_then(|at| self.rules.get(at)) {
            rules.iter().for_each(|rule| set(bits, *rule as usize));
        }
    }
}
