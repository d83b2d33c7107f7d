//! `TX` variables: numbered where the rules name them, listed where names are put together as they run.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::program::{RuleSet, integer};

use super::state::{Content, State};
use super::values::ValueId;

/// Names put together by rules (`tx.x_%{...}`) that one transaction may have; more are not kept.
pub(super) const DYNAMIC_MAX: usize = 4096;

/// A variable whose name a rule put together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dynamic {
    /// The name in its own case.
    pub name: ValueId,
    pub content: Option<Content>,
}

/// `TX` of one transaction.
#[derive(Debug, Default)]
pub(super) struct Tx {
    numbered: Vec<Option<Content>>,
    dynamic: Vec<Dynamic>,
    /// Places in `dynamic` by the name in lower case.
    places: HashMap<ValueId, usize, RandomState>,
}

impl Tx {
    pub(super) fn clear(&mut self, names: usize) {
        self.numbered.clear();
        self.numbered.resize(names, None);
        self.dynamic.clear();
        self.places.clear();
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<Content> {
        self.numbered.get(number as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, number: u32, content: Option<Content>) {
        if let Some(place) = self.numbered.get_mut(number as usize) {
            *place = content;
        }
    }

    pub(super) fn numbered(&self) -> impl Iterator<Item = (u32, Content)> + '_ {
        self.numbered.iter().enumerate().filter_map(|(number, content)| Some((number as u32, (*content)?)))
    }

    pub(super) fn dynamic(&self) -> &[Dynamic] {
        &self.dynamic
    }

    /// The content under a name in lower case.
    pub(super) fn get_dynamic(&self, lower: ValueId) -> Option<Content> {
        self.dynamic[*self.places.get(&lower)?].content
    }

    pub(super) fn set_dynamic(&mut self, lower: ValueId, name: ValueId, content: Option<Content>) {
        match self.places.get(&lower) {
            Some(&place) => self.dynamic[place].content = content,
            None if content.is_some() && self.dynamic.len() < DYNAMIC_MAX => {
                self.places.insert(lower, self.dynamic.len());
                self.dynamic.push(Dynamic { name, content });
            }
            None => {}
        }
    }
}

impl State {
    /// The number that content stands for, as numeric operators read it.
    #[inline]
    pub(super) fn number(&self, content: Content) -> i64 {
        match content {
            Content::Number(number) => number,
            Content::Value(id) => integer(self.values.get(id)),
        }
    }

    /// Content as a value.
    pub(super) fn intern(&mut self, content: Content) -> ValueId {
        match content {
            Content::Value(id) => id,
            Content::Number(number) => self.values.intern(itoa::Buffer::new().format(number).as_bytes()),
        }
    }

    pub(super) fn tx_number(&self, set: &RuleSet, name: &str) -> i64 {
        let number = set.tx_names.find(name.to_ascii_lowercase().as_bytes());
        number.and_then(|number| self.tx.get(number)).map_or(0, |content| self.number(content))
    }
}
