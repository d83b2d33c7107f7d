//! Arguments one by one, and what becomes of those over their number: nothing is hidden by coming late.

use super::{BodyError, BodyLimits, Sink};

/// How many times `arguments_max` may come after it of what could be an attack by itself.
const LATE_MAX: usize = 9;

/// The arguments of a form or of JSON. The first ones are told with their names. Of those over `arguments_max`, or with whose names
/// there would be more than `names_bytes_max` bytes of names, words and numbers are told together, as one argument without a name at
/// the end; the others are told by themselves, and are an error where there are [`LATE_MAX`] times as many again.
#[derive(Debug)]
pub(super) struct Arguments {
    arguments_max: usize,
    names_bytes_max: usize,
    told: usize,
    names_bytes: usize,
    late: usize,
    together: Vec<u8>,
    left_out: Option<BodyError>,
}

impl Arguments {
    pub(super) fn new(limits: &BodyLimits) -> Self {
        Self {
            arguments_max: limits.arguments_max,
            names_bytes_max: limits.names_bytes_max,
            told: 0,
            names_bytes: 0,
            late: 0,
            together: Vec::new(),
            left_out: None,
        }
    }

    /// The limit because of which not all were told one by one.
    pub(super) fn left_out(&self) -> Option<&BodyError> {
        self.left_out.as_ref()
    }

    /// Tells an argument. `own` is what of its name was not told before.
    pub(super) fn tell(
        &mut self,
        name: &[u8],
        own: &[u8],
        value: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), BodyError> {
        let fits = name.len() <= self.names_bytes_max - self.names_bytes;
        if fits && self.told < self.arguments_max {
            self.told += 1;
            self.names_bytes += name.len();
            sink.argument(name, value);
            return Ok(());
        }
        if self.left_out.is_none() {
            self.left_out = Some(if self.told == self.arguments_max {
                BodyError::Arguments(self.arguments_max)
            } else {
                BodyError::Names(self.names_bytes_max)
            });
            // What of it was read before.
            self.name(if own.is_empty() { name } else { b"" });
        }
        if is_plain(own) && is_plain(value) {
            self.name(own);
            self.name(value);
            return Ok(());
        }
        let late_max = self.arguments_max.saturating_mul(LATE_MAX);
        if self.late == late_max {
            return Err(BodyError::Arguments(self.arguments_max.saturating_add(late_max)));
        }
        self.late += 1;
        self.names_bytes += if fits { name.len() } else { 0 };
        sink.argument(if fits { name } else { b"" }, value);
        Ok(())
    }

    /// A name that arguments to come will have. Of late ones it is told with what is told together.
    pub(super) fn name(&mut self, name: &[u8]) {
        if self.left_out.is_some() && !name.is_empty() {
            self.together.extend_from_slice(name);
            self.together.push(b',');
        }
    }

    /// Tells what is told together.
    pub(super) fn end(&mut self, sink: &mut impl Sink) {
        let together = std::mem::take(&mut self.together);
        if !together.is_empty() {
            sink.argument(b"", &together);
        }
    }
}

/// Whether a text is a word, a number or a date, in which nothing can stand but that.
fn is_plain(text: &[u8]) -> bool {
    let is_number = || text.iter().all(|byte| byte.is_ascii_digit() || b"+-.".contains(byte));
    text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
        || (text.iter().filter(|byte| **byte == b'.').count() == 1 && is_number())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain() {
        for text in ["", "word", "a_b-c", "17", "-17.5", "2026-11-27", "3b241101-e2bb-4255-8caf-4136c566a962"] {
            assert!(is_plain(text.as_bytes()), "{text}");
        }
        for text in ["a b", "a.b", "169.254.169.254", "../a", "$a", "a'", "%00", "\0", "\u{e9}", "a@b", "1e5.a"] {
            assert!(!is_plain(text.as_bytes()), "{text}");
        }
    }
}
