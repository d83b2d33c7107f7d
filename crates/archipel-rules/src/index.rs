//! Many filters in one: tells which of them can match a request at all, so that a thousand rules that do not match cost next
//! to nothing. From each filter follows a condition without which it cannot match (a host, an address, a literal that must
//! occur); the conditions of all filters are looked up together, once for each field. Only filters whose condition holds, and
//! those that have none, are evaluated, in order.
//!
//! A condition is necessary, never sufficient: the index may let a filter through, but must never leave one out that matches.

mod guard;
mod literals;
mod tables;

use std::collections::HashMap;
use std::iter::FusedIterator;
use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::ast::Step;
use crate::expression::Filter;
use crate::field::{Field, Fields, load};
use crate::program::descend;
use crate::value::Value;

use guard::{Atom, guard};
use tables::{Tables, TablesBuilder};

/// Up to this many keys of a map are asked for one by one; for more, the entries of the map are walked.
const KEYS_ASKED_MAX: usize = 8;

/// Sixty-four filters a word.
type Bits = SmallVec<[u64; 32]>;

/// Filters in the order in which they count, with what is needed to leave most of them out.
#[derive(Debug)]
pub struct RuleIndex {
    filters: Box<[Filter]>,
    /// Filters without a condition.
    always: Bits,
    probes: Box<[Probe]>,
    maps: Box<[MapProbe]>,
}

/// A field, the steps behind it, and the conditions on what is there.
#[derive(Debug)]
struct Probe {
    field: Field,
    path: PathTables,
}

#[derive(Debug)]
struct PathTables {
    steps: Box<[Step]>,
    tables: Tables,
}

/// A map, and the keys that conditions speak of.
#[derive(Debug)]
struct MapProbe {
    field: Field,
    keys: HashMap<Box<[u8]>, Vec<PathTables>>,
}

impl RuleIndex {
    /// An index of these filters.
    #[must_use]
    pub fn new(filters: impl IntoIterator<Item = Filter>) -> Self {
        let filters: Box<[Filter]> = filters.into_iter().collect();
        let mut builder = Builder { always: empty_bits(filters.len()), paths: HashMap::new() };
        for (rule, filter) in filters.iter().enumerate() {
            match guard(&filter.node) {
                Some(atoms) => builder.add(rule, atoms),
                None => set(&mut builder.always, rule),
            }
        }
        let (always, probes, maps) = builder.finish();
        Self { filters, always, probes, maps }
    }

    /// How many filters it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    /// Whether it has no filters.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// How many filters are evaluated for every request, because no condition follows from them.
    #[must_use]
    pub fn unconditional(&self) -> usize {
        self.always.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The numbers of the filters that match, from 0 and in order. Each filter is evaluated when it is its turn, so that
    /// whoever stops early does not pay for the rest.
    pub fn matches<'a>(&'a self, fields: &'a dyn Fields) -> Matches<'a> {
        self.from(0, fields)
    }

    /// The first filter with a number of at least `from` that matches. For a loop over matches between which the request
    /// does not change, [`matches`](Self::matches) looks the conditions up once only.
    #[must_use]
    pub fn first_from(&self, from: usize, fields: &dyn Fields) -> Option<usize> {
        self.from(from, fields).next()
    }

    fn from<'a>(&'a self, from: usize, fields: &'a dyn Fields) -> Matches<'a> {
        let mut bits = self.candidates(fields);
        for (at, word) in bits.iter_mut().enumerate().take((from / 64).saturating_add(1)) {
            *word = if at < from / 64 { 0 } else { *word & u64::MAX << (from % 64) };
        }
        Matches { index: self, fields, bits, word: 0 }
    }

    /// The filters that can match.
    fn candidates(&self, fields: &dyn Fields) -> Bits {
        let mut bits = self.always.clone();
        for probe in &self.probes {
            probe.path.fire(load(fields, probe.field), &mut bits);
        }
        for probe in &self.maps {
            let Value::Map(map) = load(fields, probe.field) else { continue };
            if probe.keys.len() <= KEYS_ASKED_MAX {
                for (key, paths) in &probe.keys {
                    fire_all(paths, &map.get(key), &mut bits);
                }
                continue;
            }
            let _ = map.entries(&mut |key, value| {
                if let Some(paths) = probe.keys.get(key) {
                    fire_all(paths, &value, &mut bits);
                }
                ControlFlow::Continue(())
            });
        }
        bits
    }
}

fn fire_all(paths: &[PathTables], value: &Value<'_>, bits: &mut Bits) {
    if !value.is_nil() {
        paths.iter().for_each(|path| path.fire(value.clone(), bits));
    }
}

impl PathTables {
    /// Sets the bits of the filters whose condition holds for the value, or for one of the values, at the end of the path.
    fn fire(&self, value: Value<'_>, bits: &mut Bits) {
        let _ = descend(value, &self.steps, &mut |value| {
            match value {
                Value::Array(array) => {
                    self.tables.fire_present(bits);
                    let _ = array.visit(&mut |value| {
                        self.tables.fire(&value, bits);
                        ControlFlow::Continue(())
                    });
                }
                Value::Map(map) => {
                    let _ = map.entries(&mut |_, value| {
                        self.tables.fire(&value, bits);
                        ControlFlow::Continue(())
                    });
                }
                Value::Nil => {}
                value => {
                    self.tables.fire_present(bits);
                    self.tables.fire(&value, bits);
                }
            }
            ControlFlow::Continue(())
        });
    }
}

/// The filters that match, in order; see [`RuleIndex::matches`].
pub struct Matches<'a> {
    index: &'a RuleIndex,
    fields: &'a dyn Fields,
    bits: Bits,
    word: usize,
}

impl Iterator for Matches<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        while let Some(word) = self.bits.get_mut(self.word) {
            while *word != 0 {
                let rule = self.word * 64 + word.trailing_zeros() as usize;
                *word &= *word - 1;
                if self.index.filters[rule].matches(self.fields) {
                    return Some(rule);
                }
            }
            self.word += 1;
        }
        None
    }
}

impl FusedIterator for Matches<'_> {}

/// Collects the conditions of all filters.
struct Builder {
    always: Bits,
    paths: HashMap<(Field, Vec<Step>), TablesBuilder>,
}

impl Builder {
    fn add(&mut self, rule: usize, atoms: Vec<Atom>) {
        for atom in atoms {
            let tables = self.paths.entry((atom.field, atom.steps)).or_default();
            tables.add(rule, atom.test);
        }
    }

    fn finish(mut self) -> (Bits, Box<[Probe]>, Box<[MapProbe]>) {
        let mut probes = Vec::new();
        let mut maps: HashMap<Field, HashMap<Box<[u8]>, Vec<PathTables>>> = HashMap::new();
        for ((field, steps), builder) in self.paths {
            // What does not fit into tables is evaluated always.
            let (tables, left_over) = builder.build();
            left_over.into_iter().for_each(|rule| set(&mut self.always, rule));
            match steps.split_first() {
                Some((Step::Key(key), rest)) => {
                    let paths = maps.entry(field).or_default().entry(key.clone()).or_default();
                    paths.push(PathTables { steps: rest.into(), tables });
                }
                _ => probes.push(Probe { field, path: PathTables { steps: steps.into(), tables } }),
            }
        }
        let maps = maps.into_iter().map(|(field, keys)| MapProbe { field, keys }).collect();
        (self.always, probes.into(), maps)
    }
}

fn empty_bits(filters: usize) -> Bits {
    SmallVec::from_elem(0, filters.div_ceil(64))
}

fn set(bits: &mut Bits, rule: usize) {
    bits[rule / 64] |= 1 << (rule % 64);
}

#[cfg(test)]
mod tests;
