//! A YAML document as a tree in which scalars stay what was written: `Content-Length: 007` is three digits, not seven.

use std::collections::HashSet;

use anyhow::{Context as _, Result, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle};

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Nothing, or `~`.
    Null,
    /// A scalar, without its quotes and escapes.
    Scalar(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping from scalars, in its order.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Reads the first document of a text.
    ///
    /// # Errors
    /// It is no YAML, or has keys that are no scalars, keys twice, or aliases, which the tests do without.
    pub fn parse(text: &str) -> Result<Self> {
        let mut events = Parser::new_from_str(text);
        loop {
            match next(&mut events)? {
                Event::StreamStart | Event::DocumentStart(_) => {}
                Event::StreamEnd => return Ok(Self::Null),
                first => return Self::build(first, &mut events),
            }
        }
    }

    fn build<'a>(first: Event<'a>, events: &mut impl Iterator<Item = Scanned<'a>>) -> Result<Self> {
        match first {
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null") => Ok(Self::Null),
            Event::Scalar(text, ..) => Ok(Self::Scalar(text.into_owned())),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match next(events)? {
                        Event::SequenceEnd => return Ok(Self::List(list)),
                        event => list.push(Self::build(event, events)?),
                    }
                }
            }
            Event::MappingStart(..) => {
                let mut map = Vec::new();
                let mut keys = HashSet::new();
                loop {
                    let key = match next(events)? {
                        Event::MappingEnd => return Ok(Self::Map(map)),
                        Event::Scalar(key, ..) => key.into_owned(),
                        _ => bail!("a key that is no scalar"),
                    };
                    ensure!(keys.insert(key.clone()), "the key `{key}` stands twice");
                    let value = next(events)?;
                    map.push((key, Self::build(value, events)?));
                }
            }
            event => bail!("unexpected {event:?}"),
        }
    }

    /// The value of a key; null where there is none.
    #[must_use]
    pub fn get(&self, key: &str) -> &Self {
        match self {
            Self::Map(map) => map.iter().find(|(known, _)| known == key).map_or(&Self::Null, |(_, value)| value),
            _ => &Self::Null,
        }
    }

    /// The scalar as text, or nothing where the node is null.
    ///
    /// # Errors
    /// It is a sequence or a mapping.
    pub fn text(&self) -> Result<Option<&str>> {
        match self {
            Self::Null => Ok(None),
            Self::Scalar(text) => Ok(Some(text)),
            _ => bail!("not a scalar"),
        }
    }

    /// The scalar as a number.
    ///
    /// # Errors
    /// It is something else.
    pub fn number(&self) -> Result<Option<u64>> {
        self.text()?.map(|text| text.parse().with_context(|| format!("`{text}` is no number"))).transpose()
    }

    /// The scalar as a truth value.
    ///
    /// # Errors
    /// It is something else.
    pub fn truth(&self) -> Result<Option<bool>> {
        self.text()?.map(|text| text.parse().with_context(|| format!("`{text}` is neither true nor false"))).transpose()
    }

    /// The nodes of a sequence; none where the node is null.
    ///
    /// # Errors
    /// It is something else.
    pub fn list(&self) -> Result<&[Self]> {
        match self {
            Self::Null => Ok(&[]),
            Self::List(list) => Ok(list),
            _ => bail!("not a sequence"),
        }
    }

    /// The pairs of a mapping; none where the node is null.
    ///
    /// # Errors
    /// It is something else, or has a key that is not among `known` (where that is not empty).
    pub fn map(&self, known: &[&str]) -> Result<&[(String, Self)]> {
        let map = match self {
            Self::Null => &[][..],
            Self::Map(map) => map,
            _ => bail!("not a mapping"),
        };
        for (key, _) in map {
            ensure!(known.is_empty() || known.contains(&key.as_str()), "the key `{key}` is not known here");
        }
        Ok(map)
    }
}

type Scanned<'a> = Result<(Event<'a>, saphyr_parser::Span), saphyr_parser::ScanError>;

fn next<'a>(events: &mut impl Iterator<Item = Scanned<'a>>) -> Result<Event<'a>> {
    let (event, _) = events.next().context("the document ends too early")??;
    Ok(event)
}
