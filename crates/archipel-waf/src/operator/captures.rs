//! What an operator captured: the variables TX:0 to TX:9.

use std::ops::Range;

/// Ten groups. Group 0 can also be text that is not in the value: the word of a list, a fingerprint.
#[derive(Debug, Clone, Default)]
pub struct Captures {
    groups: [Option<Range<usize>>; Captures::GROUPS_MAX],
    text: Vec<u8>,
    has_text: bool,
}

impl Captures {
    /// How many groups are kept.
    pub const GROUPS_MAX: usize = 10;

    /// Without a group.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all groups.
    pub fn clear(&mut self) {
        self.groups = Default::default();
        self.text.clear();
        self.has_text = false;
    }

    /// The bytes of `group`, if it took part, where `value` is what the operator was given.
    #[must_use]
    pub fn get<'a>(&'a self, group: usize, value: &'a [u8]) -> Option<&'a [u8]> {
        if group == 0 && self.has_text {
            return Some(&self.text);
        }
        value.get(self.groups.get(group)?.clone()?)
    }

    /// The groups that took part, ascending, with their bytes.
    pub fn iter<'a>(&'a self, value: &'a [u8]) -> impl Iterator<Item = (usize, &'a [u8])> {
        (0..Self::GROUPS_MAX).filter_map(move |group| Some((group, self.get(group, value)?)))
    }

    /// Where in the value `group` is, if it took part and is not text of another origin.
    #[must_use]
    pub fn range(&self, group: usize) -> Option<Range<usize>> {
        self.groups.get(group)?.clone()
    }

    pub(super) fn set(&mut self, group: usize, range: Range<usize>) {
        if let Some(slot) = self.groups.get_mut(group) {
            *slot = Some(range);
        }
    }

    pub(super) fn set_text(&mut self, text: &[u8]) {
        self.text.clear();
        self.text.extend_from_slice(text);
        self.has_text = true;
    }
}
