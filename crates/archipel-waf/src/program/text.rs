//! Texts with `%{macros}`, and names of `TX` variables as numbers.

use std::collections::HashMap;

use super::variable::{Origin, Store, Variable};

/// Numbers of the `TX` names that occur in the rules. 0 to 9 are the captures.
#[derive(Debug, Default)]
pub(crate) struct TxNames {
    numbers: HashMap<Box<[u8]>, u32>,
    names: Vec<Box<[u8]>>,
}

impl TxNames {
    pub(crate) fn new() -> Self {
        let mut names = Self::default();
        for digit in b'0'..=b'9' {
            names.number(&[digit]);
        }
        names
    }

    /// The number of `name`, which is given one where it has none.
    pub(crate) fn number(&mut self, name: &[u8]) -> u32 {
        let lower: Box<[u8]> = name.to_ascii_lowercase().into();
        if let Some(&number) = self.numbers.get(&lower) {
            return number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(lower, number);
        self.names.push(name.into());
        number
    }

    /// The number of `name`, where the rules know it. `lower` is in lower case.
    pub(crate) fn find(&self, lower: &[u8]) -> Option<u32> {
        self.numbers.get(lower).copied()
    }

    pub(crate) fn name(&self, number: u32) -> &[u8] {
        &self.names[number as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// What a macro stands for: the first value of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    Tx(u32),
    Variable(Variable),
    /// An element by its name.
    Element(Variable, Box<[u8]>),
}

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Bytes(Box<[u8]>),
    Macro(Reference),
}

/// A text whose macros are expanded when it is used.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Text {
    pub pieces: Box<[Piece]>,
}

impl Text {
    /// Reads `text`; the error is a sentence.
    pub(crate) fn parse(text: &[u8], names: &mut TxNames) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = memchr::memmem::find(rest, b"%{") {
            let Some(end) = memchr::memchr(b'}', &rest[at..]) else { break };
            if at > 0 {
                pieces.push(Piece::Bytes(rest[..at].into()));
            }
            pieces.push(Piece::Macro(reference(&rest[at + 2..at + end], names)?));
            rest = &rest[at + end + 1..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Bytes(rest.into()));
        }
        Ok(Self { pieces: pieces.into() })
    }

    /// The text, where it has no macro.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        match &*self.pieces {
            [] => Some(b""),
            [Piece::Bytes(bytes)] => Some(bytes),
            _ => None,
        }
    }

    /// The macro, where it is nothing else.
    pub(crate) fn single(&self) -> Option<&Reference> {
        match &*self.pieces {
            [Piece::Macro(reference)] => Some(reference),
            _ => None,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        let piece = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Macro(Reference::Element(_, name)) => name.len(),
            Piece::Macro(_) => 0,
        };
        self.pieces.iter().map(|p| size_of::<Piece>() + piece(p)).sum()
    }
}

/// What stands between `%{` and `}`: `NAME`, `NAME.element` or `NAME:element`.
fn reference(text: &[u8], names: &mut TxNames) -> Result<Reference, String> {
    let text = text.trim_ascii();
    let (name, element) = match text.iter().position(|b| matches!(b, b'.' | b':')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let upper = String::from_utf8_lossy(name).to_ascii_uppercase();
    if upper == "XML" {
        let store = Store::XmlText;
        return Ok(Reference::Variable(Variable::List { store, names: false, origin: Origin::Any }));
    }
    let variable = Variable::from_name(&upper).map_err(|error| format!("in a macro: {error}"))?;
    let reference = match (variable, element) {
        (Variable::Tx, Some(element)) => Reference::Tx(names.number(element)),
        (Variable::Rule(_), Some(field)) => Reference::Variable(
            Variable::rule_field(&field.to_ascii_lowercase())
                .ok_or_else(|| format!("a rule has no `{}`", String::from_utf8_lossy(field)))?,
        ),
        (variable, Some(element)) if variable.is_collection() => Reference::Element(variable, element.into()),
        (variable, Some(_)) => return Err(format!("`{}` has no elements", variable.name())),
        (variable, None) => Reference::Variable(variable),
    };
    Ok(reference)
}
