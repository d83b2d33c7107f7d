//! `application/x-www-form-urlencoded`, and the query string, which is written alike.

use std::borrow::Cow;

use super::arguments::Arguments;
use super::{BodyError, BodyLimits, Sink};

/// A name or value without its encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The bytes.
    pub bytes: Cow<'a, [u8]>,
    /// A `%` stood there that two hexadecimal digits do not follow; it was kept as it is.
    pub invalid: bool,
}

impl<'a> Decoded<'a> {
    /// Decodes `%XX` and `+` once, as ModSecurity does: what is no valid escape stays, from its `%` on.
    #[must_use]
    pub fn new(raw: &'a [u8]) -> Self {
        let Some(first) = memchr::memchr2(b'%', b'+', raw) else {
            return Self { bytes: Cow::Borrowed(raw), invalid: false };
        };
        let mut bytes = Vec::with_capacity(raw.len());
        bytes.extend_from_slice(&raw[..first]);
        let mut invalid = false;
        let mut rest = &raw[first..];
        while let [byte, after @ ..] = rest {
            rest = after;
            match *byte {
                b'+' => bytes.push(b' '),
                b'%' => match hex_pair(after) {
                    Some(decoded) => {
                        bytes.push(decoded);
                        rest = &after[2..];
                    }
                    None => {
                        bytes.push(b'%');
                        invalid = true;
                    }
                },
                plain => bytes.push(plain),
            }
        }
        Self { bytes: Cow::Owned(bytes), invalid }
    }
}

fn hex_pair(bytes: &[u8]) -> Option<u8> {
    let [high, low, ..] = bytes else { return None };
    let digit = |byte: u8| (byte as char).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Splits a query string into its arguments and tells them; true when an escape was invalid (`URLENCODED_ERROR`).
///
/// # Errors
/// `arguments_max` or `value_bytes_max` was exceeded. Then all of it was also told as one argument without a name, so that nothing is
/// hidden by what stands before it.
pub fn query(text: &[u8], separator: u8, limits: &BodyLimits, sink: &mut impl Sink) -> Result<bool, BodyError> {
    let mut form = Urlencoded::new(separator, limits);
    let read = form.push(text, sink).and_then(|()| form.finish(sink));
    let read = read.and_then(|()| form.left_out().map_or(Ok(()), |limit| Err(limit.clone())));
    if read.is_err() {
        sink.argument(b"", &Decoded::new(text).bytes);
    }
    read.map(|()| form.percent_invalid())
}

/// A form that is being read.
#[derive(Debug)]
pub(super) struct Urlencoded {
    separator: u8,
    value_bytes_max: usize,
    arguments: Arguments,
    /// The beginning of a pair that earlier chunks held.
    held: Vec<u8>,
    percent_invalid: bool,
}

impl Urlencoded {
    pub(super) fn new(separator: u8, limits: &BodyLimits) -> Self {
        Self {
            separator,
            value_bytes_max: limits.value_bytes_max,
            // Each name is sent: none is repeated by itself.
            arguments: Arguments::new(&BodyLimits { names_bytes_max: usize::MAX, ..limits.clone() }),
            held: Vec::new(),
            percent_invalid: false,
        }
    }

    pub(super) fn percent_invalid(&self) -> bool {
        self.percent_invalid
    }

    pub(super) fn left_out(&self) -> Option<&BodyError> {
        self.arguments.left_out()
    }

    pub(super) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        let mut rest = chunk;
        while let Some(at) = memchr::memchr(self.separator, rest) {
            if self.held.is_empty() {
                self.pair(&rest[..at], sink)?;
            } else {
                let mut held = std::mem::take(&mut self.held);
                held.extend_from_slice(&rest[..at]);
                self.pair(&held, sink)?;
                held.clear();
                self.held = held;
            }
            rest = &rest[at + 1..];
        }
        self.held.extend_from_slice(rest);
        // Without this a pair that never ends would be kept.
        if self.held.len() > self.value_bytes_max { self.split(&self.held).map(drop) } else { Ok(()) }
    }

    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let held = std::mem::take(&mut self.held);
        // As ModSecurity: nothing after the last separator is no argument, nothing between two is an empty one.
        if !held.is_empty() {
            self.pair(&held, sink)?;
        }
        self.arguments.end(sink);
        Ok(())
    }

    /// The end of what is looked at: the last pair counts as far as it goes, and an escape that was cut is no wrong one.
    pub(super) fn cut(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let cut = match &self.held[..] {
            [.., b'%'] => 1,
            [.., b'%', digit] if digit.is_ascii_hexdigit() => 2,
            _ => 0,
        };
        self.held.truncate(self.held.len() - cut);
        self.finish(sink)
    }

    /// The name and the value in a pair or in the beginning of one, within their limits.
    fn split<'a>(&self, pair: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), BodyError> {
        let at = memchr::memchr(b'=', pair);
        let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        // A body of another kind that calls itself a form is one long name: that is no fault.
        if name.len().max(value.len()) > self.value_bytes_max {
            return Err(BodyError::Value(self.value_bytes_max));
        }
        Ok((name, value))
    }

    fn pair(&mut self, pair: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        let (name, value) = self.split(pair)?;
        let (name, value) = (Decoded::new(name), Decoded::new(value));
        self.percent_invalid |= name.invalid || value.invalid;
        self.arguments.tell(&name.bytes, &name.bytes, &value.bytes, sink)
    }
}
