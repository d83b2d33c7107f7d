//! Where the fields of a message in the making go: into a map, or straight into the lines that will be sent.
//!
//! Owns the interface and its form for maps. Must never decide which fields go there.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// Takes fields in the order in which they are to be sent.
pub trait FieldSink {
    /// Adds a field behind those of its name.
    fn put(&mut self, name: &HeaderName, value: &HeaderValue);
    /// The same with text of our own as the value: printable ASCII. Anything else is left out.
    fn put_text(&mut self, name: &HeaderName, text: &str);
}

impl FieldSink for HeaderMap {
    fn put(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }

    fn put_text(&mut self, name: &HeaderName, text: &str) {
        if let Ok(value) = HeaderValue::from_str(text) {
            self.append(name, value);
        }
    }
}
