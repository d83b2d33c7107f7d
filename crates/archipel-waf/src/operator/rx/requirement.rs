//! What every match of an expression contains, read from its syntax tree.

use regex_syntax::hir::{Class, Hir, HirKind};

use super::Requirement;
use crate::byte_set::ByteSet;
use crate::operator::requirement::{frequency, set_frequency};

/// How many strings a part of an expression may stand for and still be spelled out.
const SPELLED_MAX: usize = 256;
/// How many alternatives an alternation may have for one of them to be required.
const ALTERNATIVES_MAX: usize = 4096;
/// How many bytes a class may have, letters of both cases counted once, to be spelled out.
const CLASS_MAX: usize = 12;

/// A set of strings in lower case.
type Strings = Vec<Vec<u8>>;

/// What is known of one part of an expression.
#[derive(Default)]
struct Part {
    /// All strings that it stands for, where they are few.
    exact: Option<Strings>,
    /// One of these is in whatever it matches.
    required: Option<Strings>,
    /// Whatever it matches has a byte of each of these sets.
    bytes: Vec<ByteSet>,
}

/// The requirement of the expression `hir`.
pub(super) fn of(hir: &Hir) -> Requirement {
    let part = part(hir);
    let literals = best(part.exact, part.required).unwrap_or_default();
    let mut requirement = Requirement {
        literals: literals.into_iter().map(Vec::into_boxed_slice).collect(),
        bytes: part.bytes,
        length_min: hir.properties().minimum_len().unwrap_or(0),
    };
    if requirement.literals.iter().all(|literal| literal.len() == 1) {
        // Single bytes are cheaper to ask for in the set of bytes of a value.
        let literals = std::mem::take(&mut requirement.literals);
        if !literals.is_empty() {
            let bytes = literals.iter().flat_map(|literal| [literal[0], literal[0].to_ascii_uppercase()]);
            requirement.bytes.push(bytes.fold(ByteSet::EMPTY, ByteSet::with));
        }
    }
    requirement.keep_rarest();
    requirement.drop_redundant();
    requirement
}

fn part(hir: &Hir) -> Part {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Part { exact: Some(vec![Vec::new()]), ..Part::default() },
        HirKind::Literal(literal) => Part {
            exact: Some(vec![literal.0.to_ascii_lowercase()]),
            required: None,
            bytes: literal.0.iter().map(|&byte| ByteSet::EMPTY.with(byte)).collect(),
        },
        HirKind::Class(class) => class_part(class),
        HirKind::Capture(capture) => part(&capture.sub),
        HirKind::Repetition(repetition) => {
            let inner = part(&repetition.sub);
            match (repetition.min, repetition.max) {
                (0, Some(1)) => Part {
                    exact: inner.exact.map(|mut strings| {
                        strings.push(Vec::new());
                        distinct(strings)
                    }),
                    ..Part::default()
                },
                (0, _) => Part::default(),
                (1, Some(1)) => inner,
                (min, max) => {
                    let exact = (max == Some(min)).then(|| power(inner.exact.as_ref()?, min)).flatten();
                    Part { exact, required: best(inner.exact, inner.required), bytes: inner.bytes }
                }
            }
        }
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(parts) => alternation(parts),
    }
}

fn class_part(class: &Class) -> Part {
    let ranges: Option<Vec<(u8, u8)>> = match class {
        Class::Bytes(class) => Some(class.ranges().iter().map(|range| (range.start(), range.end())).collect()),
        // An alternation of letters becomes a class of characters, even where the pattern is of bytes.
        Class::Unicode(class) if class.is_ascii() => class
            .ranges()
            .iter()
            .map(|range| Some((range.start().try_into().ok()?, range.end().try_into().ok()?)))
            .collect(),
        Class::Unicode(_) => None,
    };
    let Some(ranges) = ranges else { return Part::default() };
    let set = ranges.iter().fold(ByteSet::EMPTY, |set, &(first, last)| set.union(ByteSet::range(first, last)));
    let mut lower = ByteSet::EMPTY;
    for byte in set.iter() {
        lower.insert(byte.to_ascii_lowercase());
    }
    let exact = (lower.len() <= CLASS_MAX).then(|| lower.iter().map(|byte| vec![byte]).collect());
    Part { exact, required: None, bytes: if set == ByteSet::ALL { Vec::new() } else { vec![set] } }
}

fn concat(parts: &[Hir]) -> Part {
    let mut run: Option<Strings> = None;
    let mut required = None;
    let mut bytes = Vec::new();
    let mut is_exact = true;
    for hir in parts {
        let inner = part(hir);
        bytes.extend(inner.bytes);
        match inner.exact {
            Some(strings) => match run.as_ref().map(|run| product(run, &strings)) {
                None => run = Some(strings),
                Some(Some(longer)) => run = Some(longer),
                Some(None) => {
                    is_exact = false;
                    required = best(run.take(), required);
                    run = Some(strings);
                }
            },
            None => {
                is_exact = false;
                required = best(run.take(), required);
                required = best(inner.required, required);
            }
        }
    }
    if is_exact {
        return Part { exact: run, required: None, bytes: rarest(bytes) };
    }
    Part { exact: None, required: best(run, required), bytes: rarest(bytes) }
}

fn alternation(parts: &[Hir]) -> Part {
    let parts: Vec<Part> = parts.iter().map(part).collect();
    let bytes = parts
        .iter()
        .map(|part| part.bytes.iter().min_by(|a, b| set_frequency(a).total_cmp(&set_frequency(b))))
        .try_fold(ByteSet::EMPTY, |all, set| Some(all.union(*set?)));
    let bytes = bytes.into_iter().collect();
    if parts.iter().all(|part| part.exact.is_some()) {
        let strings = distinct(parts.iter().filter_map(|part| part.exact.as_ref()).flatten().cloned().collect());
        if strings.len() <= SPELLED_MAX {
            return Part { exact: Some(strings), required: None, bytes };
        }
        let required = is_useful(&strings).then_some(strings);
        return Part { exact: None, required, bytes };
    }
    let mut all = Vec::new();
    for part in parts {
        match best(part.exact, part.required) {
            Some(strings) if all.len() + strings.len() <= ALTERNATIVES_MAX => all.extend(strings),
            _ => return Part { exact: None, required: None, bytes },
        }
    }
    Part { exact: None, required: Some(distinct(all)), bytes }
}

/// The sets that turn most values away.
fn rarest(mut sets: Vec<ByteSet>) -> Vec<ByteSet> {
    sets.sort_by(|a, b| set_frequency(a).total_cmp(&set_frequency(b)));
    sets.dedup();
    sets.truncate(8);
    sets
}

/// Whether a set of strings can be required: it has some, and none is empty.
fn is_useful(strings: &Strings) -> bool {
    !strings.is_empty() && strings.len() <= ALTERNATIVES_MAX && strings.iter().all(|string| !string.is_empty())
}

/// The set of which a value is less likely to have one.
fn best(a: Option<Strings>, b: Option<Strings>) -> Option<Strings> {
    let cost = |strings: &Strings| -> f64 {
        strings.iter().map(|string| string.iter().map(|&byte| frequency(byte)).product::<f64>()).sum()
    };
    match (a.filter(is_useful), b.filter(is_useful)) {
        (Some(a), Some(b)) => Some(if cost(&b) < cost(&a) { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Each string of `a` followed by each of `b`, unless that is too many.
fn product(a: &Strings, b: &Strings) -> Option<Strings> {
    if a.len() * b.len() > SPELLED_MAX {
        return None;
    }
    Some(distinct(a.iter().flat_map(|a| b.iter().map(move |b| [a.as_slice(), b.as_slice()].concat())).collect()))
}

/// `strings`, `times` times in a row.
fn power(strings: &Strings, times: u32) -> Option<Strings> {
    const TIMES_MAX: u32 = 16;
    if times > TIMES_MAX {
        return None;
    }
    (1..times).try_fold(strings.clone(), |all, _| product(&all, strings))
}

fn distinct(mut strings: Strings) -> Strings {
    strings.sort_unstable();
    strings.dedup();
    strings
}
