//! Literals that every match of a regular expression must hold.

use regex_automata::util::syntax;
use regex_syntax::hir::{Class, Hir, HirKind, Look};

use crate::regexes::syntax_config;

/// Most literals that are worth looking for; an alternation of more has no usable ones.
const LITERALS_MAX: usize = 64;

/// What every match of a regular expression holds.
#[derive(Debug)]
pub(super) struct Required {
    /// Texts in small letters, of which every match holds at least one, without regard to case.
    pub literals: Vec<Vec<u8>>,
    /// Whether the value begins with it.
    pub start: bool,
}

/// What every match holds; `None` where nothing is required.
pub(super) fn required(pattern: &str) -> Option<Required> {
    let hir = syntax::parse_with(pattern, &syntax_config()).ok()?;
    let anywhere = of(&hir).filter(|literals| literals.iter().all(|literal| !literal.is_empty()));
    let shortest = anywhere.iter().flatten().map(Vec::len).min().unwrap_or(0);
    let start = start(&hir);
    if start.len() >= shortest.max(1) {
        return Some(Required { literals: vec![start], start: true });
    }
    anywhere.map(|literals| Required { literals, start: false })
}

/// What every value that matches begins with.
fn start(hir: &Hir) -> Vec<u8> {
    let HirKind::Concat(parts) = hir.kind() else { return Vec::new() };
    match parts.split_first() {
        Some((first, rest)) if *first.kind() == HirKind::Look(Look::Start) => {
            let runs = rest.iter().map_while(run);
            runs.flatten().collect()
        }
        _ => Vec::new(),
    }
}

/// The bytes, in small letters, that stand for this part alone.
fn run(hir: &Hir) -> Option<Vec<u8>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(literal.0.to_ascii_lowercase()),
        HirKind::Class(class) => letter(class).map(|letter| vec![letter]),
        // What takes no bytes does not end a run.
        HirKind::Look(_) | HirKind::Empty => Some(Vec::new()),
        _ => None,
    }
}

fn of(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => letter(class).map(|letter| vec![vec![letter]]),
        HirKind::Capture(capture) => of(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => of(&repetition.sub),
        HirKind::Concat(parts) => concat(parts),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(of(part)?);
            }
            (all.len() <= LITERALS_MAX).then_some(all)
        }
        HirKind::Empty | HirKind::Look(_) | HirKind::Repetition(_) => None,
    }
}

/// The best of what the parts require: runs of literals that follow each other, or the literals of one part.
fn concat(parts: &[Hir]) -> Option<Vec<Vec<u8>>> {
    let mut best: Option<Vec<Vec<u8>>> = None;
    let mut offer = |literals: Vec<Vec<u8>>| {
        let shortest = |literals: &[Vec<u8>]| literals.iter().map(Vec::len).min().unwrap_or(0);
        if shortest(&literals) > best.as_deref().map_or(0, shortest) {
            best = Some(literals);
        }
    };
    let mut open = Vec::new();
    for part in parts {
        match run(part) {
            Some(bytes) => open.extend(bytes),
            None => {
                offer(vec![std::mem::take(&mut open)]);
                if let Some(literals) = of(part) {
                    offer(literals);
                }
            }
        }
    }
    offer(vec![open]);
    best
}

/// The small letter of a class that holds one byte, or one letter in both cases.
fn letter(class: &Class) -> Option<u8> {
    let mut letters = [None; 2];
    let mut count = 0;
    let mut ranges: Vec<(u32, u32)> = match class {
        Class::Bytes(class) => class.iter().map(|range| (range.start().into(), range.end().into())).collect(),
        Class::Unicode(class) => class.iter().map(|range| (range.start().into(), range.end().into())).collect(),
    };
    ranges.truncate(3);
    for code in ranges.into_iter().flat_map(|(first, last)| (first..=last).take(3)) {
        *letters.get_mut(count)? = u8::try_from(code).ok().filter(u8::is_ascii);
        count += 1;
    }
    match letters[..count] {
        [Some(one)] => Some(one.to_ascii_lowercase()),
        [Some(one), Some(other)] if one.eq_ignore_ascii_case(&other) => Some(one.to_ascii_lowercase()),
        _ => None,
    }
}
