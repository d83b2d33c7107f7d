//! Byte strings of one transaction, each kept once, with what was found out about it.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::byte_set::ByteSet;
use crate::prefilter::{Hits, Prefilter, Side};
use crate::program::{Chains, Node, RuleSet};
use crate::transform::Transformation;

/// Number of a value in its transaction. [`EMPTY`] is the empty string in all of them.
pub(crate) type ValueId = u32;

/// The empty string.
pub(crate) const EMPTY: ValueId = 0;
/// Bytes that a transformation may make of a value; the rest is cut off. Those that make it longer, one behind the other, would
/// fill any memory.
const TRANSFORMED_BYTES_MAX: usize = 8 << 20;

/// No value.
pub(crate) const NONE: ValueId = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Value {
    start: usize,
    length: usize,
    bytes: ByteSet,
    /// Its row in `memo`; `NONE` while nothing was computed from it.
    row: u32,
    /// Its rows in the answers of the two prefilters; `NONE` while they were not asked.
    hits: [u32; 2],
    counted: bool,
}

/// The values, and the memory of earlier transactions for them.
#[derive(Debug, Default)]
pub(crate) struct Values {
    bytes: Vec<u8>,
    values: Vec<Value>,
    table: HashTable<ValueId>,
    hasher: RandomState,
    /// A row for each value that was transformed: what it is at each node, then what each transformation makes of it.
    memo: Vec<ValueId>,
    nodes: usize,
    hits: [Hits; 2],
    out: Vec<u8>,
    /// Bytes that transformations wrote.
    transformed_bytes: u64,
}

impl Values {
    /// Forgets all values; the memory stays.
    pub(crate) fn clear(&mut self, chains: &Chains, prefilters: &[Prefilter; 2]) {
        self.bytes.clear();
        self.values.clear();
        self.table.clear();
        self.memo.clear();
        self.nodes = chains.len();
        for (hits, prefilter) in self.hits.iter_mut().zip(prefilters) {
            hits.clear(prefilter);
        }
        self.transformed_bytes = 0;
        self.intern(b"");
    }

    pub(crate) fn get(&self, id: ValueId) -> &[u8] {
        match self.values.get(id as usize) {
            Some(value) => &self.bytes[value.start..value.start + value.length],
            None => b"",
        }
    }

    /// Bytes that all values take, and those that transformations wrote.
    pub(crate) fn costs(&self) -> (usize, u64) {
        (self.bytes.len(), self.transformed_bytes)
    }

    /// Bytes of memory.
    pub(crate) fn memory(&self) -> usize {
        let hits: usize = self.hits.iter().map(Hits::memory).sum();
        self.bytes.capacity()
            + self.out.capacity()
            + self.values.capacity() * size_of::<Value>()
            + self.memo.capacity() * size_of::<ValueId>()
            + hits
    }

    /// The number of the value with these bytes.
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> ValueId {
        let hash = self.hasher.hash_one(bytes);
        let known = self.table.find(hash, |&id| self.get(id) == bytes);
        if let Some(&id) = known {
            return id;
        }
        let id = self.values.len() as ValueId;
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.values.push(Value {
            start,
            length: bytes.len(),
            bytes: ByteSet::EMPTY,
            row: NONE,
            hits: [NONE; 2],
            counted: false,
        });
        let (values, all, hasher) = (&self.values, &self.bytes, &self.hasher);
        self.table.insert_unique(hash, id, |&id| {
            let value = &values[id as usize];
            hasher.hash_one(&all[value.start..value.start + value.length])
        });
        id
    }

    /// The bytes that occur in a value.
    pub(crate) fn byte_set(&mut self, id: ValueId) -> ByteSet {
        let value = &mut self.values[id as usize];
        if !value.counted {
            value.bytes = byte_set(&self.bytes[value.start..value.start + value.length]);
            value.counted = true;
        }
        value.bytes
    }

    /// What `id` is at `node`.
    #[inline]
    pub(crate) fn at(&mut self, chains: &Chains, id: ValueId, node: Node) -> ValueId {
        if node == 0 || chains.is_noop(node, &self.byte_set(id)) {
            return id;
        }
        self.derived(chains, id, node)
    }

    fn derived(&mut self, chains: &Chains, id: ValueId, node: Node) -> ValueId {
        let place = self.row(id) + usize::from(node);
        if self.memo[place] != NONE {
            return self.memo[place];
        }
        // The root is its own value; lists of transformations are short, so this does not go deep.
        let result = match chains.step(node) {
            None => id,
            Some((parent, transformation)) => {
                let before = self.at(chains, id, parent);
                self.step(before, transformation)
            }
        };
        self.memo[place] = result;
        result
    }

    /// What `transformation` makes of `id`.
    fn step(&mut self, id: ValueId, transformation: Transformation) -> ValueId {
        if transformation.trigger().is_some_and(|trigger| !trigger.intersects(&self.byte_set(id))) {
            return id;
        }
        let place = self.row(id) + self.nodes + transformation as usize;
        if self.memo[place] != NONE {
            return self.memo[place];
        }
        let mut out = std::mem::take(&mut self.out);
        let changed = transformation.apply(self.get(id), &mut out);
        self.transformed_bytes += out.len() as u64;
        out.truncate(TRANSFORMED_BYTES_MAX.max(self.get(id).len()));
        let result = if changed { self.intern(&out) } else { id };
        self.out = out;
        self.memo[place] = result;
        result
    }

    /// Where the row of `id` begins in the memo.
    fn row(&mut self, id: ValueId) -> usize {
        let width = self.nodes + Transformation::ALL.len();
        let value = &mut self.values[id as usize];
        if value.row == NONE {
            value.row = (self.memo.len() / width) as u32;
            self.memo.resize(self.memo.len() + width, NONE);
        }
        value.row as usize * width
    }

    /// The operators that the prefilter does not rule out for `id`, as a row of its answers.
    #[inline]
    pub(crate) fn hits(&mut self, set: &RuleSet, side: Side, id: ValueId) -> &[u64] {
        let place = side as usize;
        if self.values[id as usize].hits[place] == NONE {
            let bytes = self.byte_set(id);
            let value = self.values[id as usize];
            let text = &self.bytes[value.start..value.start + value.length];
            self.values[id as usize].hits[place] = set.prefilter(side).scan(text, &bytes, &mut self.hits[place]);
        }
        self.hits[place].row(self.values[id as usize].hits[place])
    }
}

/// As [`ByteSet::of`], at a fraction of its cost a byte for long values.
fn byte_set(text: &[u8]) -> ByteSet {
    if text.len() < 512 {
        return ByteSet::of(text);
    }
    let mut seen = [false; 256];
    for &byte in text {
        seen[usize::from(byte)] = true;
    }
    let mut set = ByteSet::EMPTY;
    for (byte, _) in seen.iter().enumerate().filter(|(_, seen)| **seen) {
        set.insert(byte as u8);
    }
    set
}
