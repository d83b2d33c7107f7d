//! Which condition follows from a filter: at least one of a few tests on fields must hold for it to match.

use super::literals;
use crate::ast::{Chain, Comparison, Literal, Quantifier, Step};
use crate::builtins::Builtin;
use crate::field::Field;
use crate::program::{ArgumentNode, CallNode, Check, Node, NodeKind, Source, SourceBase, Vector, VectorKind};
use crate::sets::AddressRange;

/// One test on what stands at the end of a path, or on one of the elements there.
#[derive(Clone, Debug)]
pub(super) struct Atom {
    pub field: Field,
    pub steps: Vec<Step>,
    pub test: AtomTest,
}

#[derive(Clone, Debug)]
pub(super) enum AtomTest {
    /// There is something.
    Present,
    Equals(Box<[u8]>),
    /// Without regard to case; in small letters.
    EqualsFolded(Box<[u8]>),
    /// Holds the literal, without regard to case.
    Holds(Box<[u8]>, Anchor),
    Ints(i64, i64),
    Addresses(AddressRange),
}

/// Where a literal must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Anywhere,
    Start,
    End,
}

/// Most tests that one condition consists of; a filter with more is evaluated always.
const ATOMS_MAX: usize = 20_000;

/// Tests of which at least one must hold for the filter to match; `None` where no such tests follow from it.
pub(super) fn guard(node: &Node) -> Option<Vec<Atom>> {
    match &node.kind {
        NodeKind::Chain(chain, parts) => chained(*chain, parts.iter().map(guard)),
        NodeKind::Truth(source) => truth(source),
        NodeKind::Test(source, check) => test(source, check),
        NodeKind::Quantified(Quantifier::Any, vector) => elements(vector),
        // All of no elements pass.
        NodeKind::Quantified(Quantifier::All, _) | NodeKind::Not(_) => None,
    }
}

/// For at least one element to pass.
fn elements(vector: &Vector) -> Option<Vec<Atom>> {
    match &vector.kind {
        VectorKind::Chain(chain, parts) => chained(*chain, parts.iter().map(elements)),
        VectorKind::Truth(source) => truth(source),
        VectorKind::Test(source, check) => test(source, check),
        VectorKind::Not(_) => None,
    }
}

fn chained(chain: Chain, parts: impl Iterator<Item = Option<Vec<Atom>>>) -> Option<Vec<Atom>> {
    match chain {
        // All parts must hold: the condition of any one will do, so take the one that fewest requests meet.
        Chain::And => parts.flatten().max_by_key(|atoms| strength(atoms)),
        // At least one part must hold (of an odd number of true parts, there is at least one).
        Chain::Or | Chain::Xor => {
            let mut all = Vec::new();
            for part in parts {
                all.extend(part?);
                if all.len() > ATOMS_MAX {
                    return None;
                }
            }
            Some(all)
        }
    }
}

/// How few requests are expected to meet a condition: that of its weakest test.
fn strength(atoms: &[Atom]) -> usize {
    atoms.iter().map(Atom::strength).min().unwrap_or(usize::MAX)
}

impl Atom {
    fn strength(&self) -> usize {
        /// What many requests have in common.
        const COMMON: &[Field] =
            &[Field::HttpRequestMethod, Field::HttpRequestVersion, Field::CfTlsVersion, Field::CfEdgeServerPort];
        let strength = match &self.test {
            AtomTest::Present => 3,
            AtomTest::Equals(text) | AtomTest::EqualsFolded(text) => 12 + text.len(),
            AtomTest::Holds(text, Anchor::Anywhere) => text.len(),
            AtomTest::Holds(text, Anchor::Start | Anchor::End) => text.len() + 2,
            AtomTest::Ints(first, last) if first == last => 12,
            AtomTest::Ints(..) => 4,
            AtomTest::Addresses(AddressRange::V4(first, last)) => 32 - bits(u128::from(last - first)),
            AtomTest::Addresses(AddressRange::V6(first, last)) => (128 - bits(last - first)) / 2,
        };
        if COMMON.contains(&self.field) { strength.min(2) } else { strength }
    }
}

fn bits(span: u128) -> usize {
    (128 - span.leading_zeros()) as usize
}

/// Where the texts of a source come from, when it is a field or a change of case of one.
struct Place {
    field: Field,
    steps: Vec<Step>,
    folded: bool,
}

impl Place {
    fn of(source: &Source) -> Option<Self> {
        match &source.base {
            SourceBase::Field(field) => Some(Self { field: *field, steps: source.steps.to_vec(), folded: false }),
            // A step behind the call picks one of the elements that are looked at anyway.
            SourceBase::Call(call) => match (&call.builtin, &call.first) {
                (Builtin::Lower | Builtin::Upper, ArgumentNode::Source(inner)) => {
                    Some(Self { folded: true, ..Self::of(inner)? })
                }
                _ => None,
            },
        }
    }

    fn atom(&self, test: AtomTest) -> Atom {
        Atom { field: self.field, steps: self.steps.clone(), test }
    }

    fn equals(&self, text: &[u8], folded: bool) -> Atom {
        if folded || self.folded {
            self.atom(AtomTest::EqualsFolded(text.to_ascii_lowercase().into()))
        } else {
            self.atom(AtomTest::Equals(text.into()))
        }
    }

    /// `None` for the empty text, which everything holds.
    fn holds(&self, text: &[u8], anchor: Anchor) -> Option<Atom> {
        let folded = text.to_ascii_lowercase().into();
        (!text.is_empty()).then(|| self.atom(AtomTest::Holds(folded, anchor)))
    }
}

fn test(source: &Source, check: &Check) -> Option<Vec<Atom>> {
    let place = Place::of(source)?;
    let ints = |first, last| Some(vec![place.atom(AtomTest::Ints(first, last))]);
    match check {
        Check::Bytes(Comparison::Eq, text) => Some(vec![place.equals(text, false)]),
        Check::Int(Comparison::Eq, number) => ints(*number, *number),
        Check::Int(Comparison::Lt, number) => ints(i64::MIN, number.checked_sub(1)?),
        Check::Int(Comparison::Le, number) => ints(i64::MIN, *number),
        Check::Int(Comparison::Gt, number) => ints(number.checked_add(1)?, i64::MAX),
        Check::Int(Comparison::Ge, number) => ints(*number, i64::MAX),
        Check::Ip(true, address) => Some(vec![place.atom(AtomTest::Addresses(AddressRange::one(*address)))]),
        Check::Contains(finder) => Some(vec![place.holds(finder.needle(), Anchor::Anywhere)?]),
        Check::Matches(regex) => {
            let required = literals::required(regex.pattern())?;
            let anchor = if required.start { Anchor::Start } else { Anchor::Anywhere };
            required.literals.iter().map(|literal| place.holds(literal, anchor)).collect()
        }
        Check::Wildcard(wildcard) if !wildcard.has_star() => {
            Some(vec![place.equals(wildcard.start(), !wildcard.strict())])
        }
        Check::Wildcard(wildcard) => {
            let ends = [place.holds(wildcard.start(), Anchor::Start), place.holds(wildcard.end(), Anchor::End)];
            let middle = wildcard.middle().map(|piece| place.holds(piece, Anchor::Anywhere));
            let best = ends.into_iter().chain(middle).flatten().max_by_key(Atom::strength)?;
            Some(vec![best])
        }
        Check::InInts(set) => {
            Some(set.ranges().iter().map(|(first, last)| place.atom(AtomTest::Ints(*first, *last))).collect())
        }
        Check::InAddresses(set) => {
            let v4 = set.v4_ranges().iter().map(|(first, last)| AddressRange::V4(*first, *last));
            let v6 = set.v6_ranges().iter().map(|(first, last)| AddressRange::V6(*first, *last));
            Some(v4.chain(v6).map(|range| place.atom(AtomTest::Addresses(range))).collect())
        }
        Check::InTexts(texts) => Some(texts.iter().map(|text| place.equals(text, false)).collect()),
        // `ne` and what is less or greater holds for most; the items of a list may change.
        Check::Int(Comparison::Ne, _) | Check::Bytes(..) | Check::Ip(false, _) | Check::InList(_) => None,
    }
}

/// For a Boolean value, or one of many, to be true.
fn truth(source: &Source) -> Option<Vec<Atom>> {
    let SourceBase::Call(call) = &source.base else { return None };
    let ArgumentNode::Source(first) = &call.first else { return None };
    let place = Place::of(first)?;
    let atom = match call.builtin {
        Builtin::StartsWith => place.holds(literal(call)?, Anchor::Start)?,
        Builtin::EndsWith => place.holds(literal(call)?, Anchor::End)?,
        Builtin::HasKey => {
            let mut steps = place.steps.clone();
            steps.push(Step::Key(literal(call)?.into()));
            Atom { field: place.field, steps, test: AtomTest::Present }
        }
        Builtin::HasValue => match call.rest.first()? {
            ArgumentNode::Literal(Literal::Bytes(text)) => place.equals(text, false),
            ArgumentNode::Literal(Literal::Int(number)) => place.atom(AtomTest::Ints(*number, *number)),
            _ => return None,
        },
        _ => return None,
    };
    Some(vec![atom])
}

/// The literal text that is the second argument.
fn literal(call: &CallNode) -> Option<&[u8]> {
    match call.rest.first()? {
        ArgumentNode::Literal(Literal::Bytes(text)) => Some(text),
        _ => None,
    }
}
