//! The fields of a message as decisions read them: a map, or the lines that came over the wire.
//!
//! Owns the interface and its form for maps. Must never change a field.

use http::header::{HeaderMap, HeaderName};

/// Fields that can be looked up by name.
pub trait Fields {
    /// The values of a field's lines, in order.
    fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]>;

    /// Whether there is a line of that name.
    fn has(&self, name: &HeaderName) -> bool {
        self.values_of(name).next().is_some()
    }
}

impl Fields for HeaderMap {
    fn values_of<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        self.get_all(name).into_iter().map(|value| value.as_bytes())
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.contains_key(name)
    }
}
