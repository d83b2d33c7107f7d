//! JSON (RFC 8259): each value that is no container is an argument, named by the way to it.
//!
//! Names are ModSecurity 3's: `json.key.inner`, `json.array_0` for the elements of an array, `json.key.array_0` and so on,
//! `json` for a text that is a single value, `empty-key` for a key without characters. Strings are told without their
//! escapes, numbers as they were written, booleans as `true` and `false`, null as nothing. A key that stands twice is two
//! arguments: which of them an application believes is not ours to guess.

use std::borrow::Cow;

use super::arguments::Arguments;
use super::{BodyError, BodyLimits, JsonError, Sink};

/// A JSON text that is being read.
#[derive(Debug)]
pub(super) struct Json {
    name_bytes_max: usize,
    value_bytes_max: usize,
    depth_max: usize,
    state: State,
    containers: Vec<Container>,
    /// The name of the value that is read next, or of its container.
    path: Vec<u8>,
    /// The string, number or word that is being read, as it was written.
    token: Vec<u8>,
    arguments: Arguments,
    /// Anything was fed.
    begun: bool,
}

#[derive(Debug)]
struct Container {
    /// Length of the container's own name in the path.
    name_len: usize,
    /// Values before the current one, where it is an array.
    elements: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must come.
    Value,
    /// A value or the end of the array that has just begun.
    FirstElement,
    /// A key must come.
    Key,
    /// A key or the end of the object that has just begun.
    FirstKey,
    Colon,
    /// A comma or the end of the container.
    AfterValue,
    /// The text is complete.
    End,
    /// Within a string; `escaped`: behind a backslash.
    Text {
        is_key: bool,
        escaped: bool,
    },
    /// Within a number or a word.
    Word,
}

impl Json {
    pub(super) fn new(limits: &BodyLimits) -> Self {
        Self {
            name_bytes_max: limits.name_bytes_max,
            value_bytes_max: limits.value_bytes_max,
            depth_max: limits.depth_max,
            state: State::Value,
            containers: Vec::new(),
            path: b"json".to_vec(),
            token: Vec::new(),
            arguments: Arguments::new(limits),
            begun: false,
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        self.begun |= !chunk.is_empty();
        let mut rest = chunk;
        while let [byte, after @ ..] = rest {
            rest = match self.state {
                State::Text { is_key, escaped } => self.text(rest, is_key, escaped, sink)?,
                State::Word => self.word(rest, sink)?,
                _ if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') => after,
                _ => {
                    self.structure(*byte)?;
                    // The first byte of a number or a word belongs to it.
                    if self.state == State::Word { rest } else { after }
                }
            };
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if self.state == State::Word {
            self.end_word(sink)?;
        }
        self.arguments.end(sink);
        if self.state == State::End || !self.begun { Ok(()) } else { Err(JsonError::End.into()) }
    }

    /// The end of what is looked at.
    pub(super) fn cut(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let read = self.cut_value(sink);
        self.arguments.end(sink);
        read
    }

    /// What the text was cut in: a name, string, number or word that is not complete counts as far as it goes.
    fn cut_value(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let token = std::mem::take(&mut self.token);
        let in_object = self.containers.last().is_some_and(|container| container.elements.is_none());
        match self.state {
            State::Word => self.argument(&token, sink),
            State::Text { is_key, .. } => {
                let text = unescape_beginning(&token)?;
                if is_key && text.is_empty() {
                    return Ok(());
                }
                if is_key {
                    self.name(&text)?;
                    self.argument(b"", sink)?;
                } else {
                    self.argument(&text, sink)?;
                }
                // A character that was cut is none that is wrong.
                match std::str::from_utf8(&text) {
                    Err(error) if error.error_len().is_some() => Err(JsonError::Utf8.into()),
                    _ => Ok(()),
                }
            }
            State::Colon => self.argument(b"", sink),
            State::Value if in_object => self.argument(b"", sink),
            _ => Ok(()),
        }
    }

    pub(super) fn left_out(&self) -> Option<&BodyError> {
        self.arguments.left_out()
    }

    /// A byte between strings, numbers and words.
    fn structure(&mut self, byte: u8) -> Result<(), BodyError> {
        match (self.state, byte) {
            (State::FirstElement, b']') => self.end_container(true),
            (State::FirstKey, b'}') => self.end_container(false),
            (State::AfterValue, b']') => self.end_container(true),
            (State::AfterValue, b'}') => self.end_container(false),
            (State::AfterValue, b',') => {
                let in_array = self.containers.last().is_some_and(|container| container.elements.is_some());
                self.state = if in_array { State::Value } else { State::Key };
                Ok(())
            }
            (State::FirstKey | State::Key, b'"') => {
                self.token.clear();
                self.state = State::Text { is_key: true, escaped: false };
                Ok(())
            }
            (State::Colon, b':') => {
                self.state = State::Value;
                Ok(())
            }
            (State::Value | State::FirstElement, _) => self.begin_value(byte),
            _ => Err(JsonError::Unexpected(byte).into()),
        }
    }

    fn begin_value(&mut self, byte: u8) -> Result<(), BodyError> {
        if let Some(Container { elements: Some(before), .. }) = self.containers.last() {
            let name = format!(".array_{before}");
            self.path.extend_from_slice(name.as_bytes());
            self.check_path()?;
        }
        self.token.clear();
        self.state = match byte {
            b'"' => State::Text { is_key: false, escaped: false },
            b'[' | b'{' => return self.begin_container(byte == b'['),
            b'-' | b'0'..=b'9' | b'a'..=b'z' => State::Word,
            _ => return Err(JsonError::Unexpected(byte).into()),
        };
        Ok(())
    }

    fn begin_container(&mut self, is_array: bool) -> Result<(), BodyError> {
        if self.containers.len() == self.depth_max {
            return Err(BodyError::Depth(self.depth_max));
        }
        self.containers.push(Container { name_len: self.path.len(), elements: is_array.then_some(0) });
        self.state = if is_array { State::FirstElement } else { State::FirstKey };
        Ok(())
    }

    fn end_container(&mut self, is_array: bool) -> Result<(), BodyError> {
        match self.containers.pop() {
            Some(container) if container.elements.is_some() == is_array => {
                self.end_value();
                Ok(())
            }
            _ => Err(JsonError::Unexpected(if is_array { b']' } else { b'}' }).into()),
        }
    }

    /// Goes back from a value to its container.
    fn end_value(&mut self) {
        self.state = match self.containers.last_mut() {
            None => State::End,
            Some(container) => {
                self.path.truncate(container.name_len);
                if let Some(elements) = &mut container.elements {
                    *elements += 1;
                }
                State::AfterValue
            }
        };
    }

    fn check_path(&self) -> Result<(), BodyError> {
        if self.path.len() > self.name_bytes_max { Err(BodyError::Name(self.name_bytes_max)) } else { Ok(()) }
    }

    /// Reads on in a string; gives back what comes after what it took.
    fn text<'a>(
        &mut self,
        bytes: &'a [u8],
        is_key: bool,
        escaped: bool,
        sink: &mut impl Sink,
    ) -> Result<&'a [u8], BodyError> {
        if escaped {
            self.state = State::Text { is_key, escaped: false };
            self.take(&bytes[..1], is_key)?;
            return Ok(&bytes[1..]);
        }
        let plain = bytes.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..=0x1f)).unwrap_or(bytes.len());
        self.take(&bytes[..plain], is_key)?;
        let Some(byte) = bytes.get(plain) else { return Ok(&[]) };
        match byte {
            b'"' => self.end_text(is_key, sink)?,
            b'\\' => {
                self.take(b"\\", is_key)?;
                self.state = State::Text { is_key, escaped: true };
            }
            _ => return Err(JsonError::Control.into()),
        }
        Ok(&bytes[plain + 1..])
    }

    fn take(&mut self, bytes: &[u8], is_key: bool) -> Result<(), BodyError> {
        let (max, error) = if is_key {
            (self.name_bytes_max, BodyError::Name(self.name_bytes_max))
        } else {
            (self.value_bytes_max, BodyError::Value(self.value_bytes_max))
        };
        if bytes.len() > max.saturating_sub(self.token.len()) {
            return Err(error);
        }
        self.token.extend_from_slice(bytes);
        Ok(())
    }

    fn end_text(&mut self, is_key: bool, sink: &mut impl Sink) -> Result<(), BodyError> {
        let token = std::mem::take(&mut self.token);
        let text = unescape(&token)?;
        let sound = std::str::from_utf8(&text).is_ok();
        if is_key {
            self.name(&text)?;
            self.state = State::Colon;
        } else {
            // Told even where it is no UTF-8: an application that reads it nevertheless shall not see what no rule saw.
            self.argument(&text, sink)?;
        }
        self.token = token;
        if sound { Ok(()) } else { Err(JsonError::Utf8.into()) }
    }

    /// Goes on to the value of this name.
    fn name(&mut self, name: &[u8]) -> Result<(), BodyError> {
        self.arguments.name(name);
        self.path.push(b'.');
        self.path.extend_from_slice(if name.is_empty() { b"empty-key" } else { name });
        self.check_path()
    }

    fn word<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> Result<&'a [u8], BodyError> {
        let end = bytes
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.'))
            .unwrap_or(bytes.len());
        self.take(&bytes[..end], false)?;
        if end < bytes.len() {
            self.end_word(sink)?;
        }
        Ok(&bytes[end..])
    }

    fn end_word(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let token = std::mem::take(&mut self.token);
        let value: &[u8] = match &token[..] {
            b"null" => b"",
            word @ (b"true" | b"false") => word,
            number if is_number(number) => number,
            _ => return Err(JsonError::Word.into()),
        };
        self.argument(value, sink)?;
        self.token = token;
        Ok(())
    }

    fn argument(&mut self, value: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        // Its names were told as they were read.
        self.arguments.tell(&self.path, b"", value, sink)?;
        self.end_value();
        Ok(())
    }
}

/// RFC 8259 section 6.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(after) = rest.strip_prefix(b".") {
        let places = digits(after);
        if places == 0 {
            return false;
        }
        rest = &after[places..];
    }
    if let [b'e' | b'E', after @ ..] = rest {
        let after = after.strip_prefix(b"+").or_else(|| after.strip_prefix(b"-")).unwrap_or(after);
        let exponent = digits(after);
        return exponent > 0 && exponent == after.len();
    }
    rest.is_empty()
}

/// A string without its escapes (RFC 8259 section 7). Half a surrogate pair becomes a question mark, as ModSecurity has it.
fn unescape(raw: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    let Some(first) = memchr::memchr(b'\\', raw) else { return Ok(Cow::Borrowed(raw)) };
    let mut text = Vec::with_capacity(raw.len());
    let mut at = first;
    text.extend_from_slice(&raw[..first]);
    while let Some(&byte) = raw.get(at) {
        if byte != b'\\' {
            text.push(byte);
            at += 1;
            continue;
        }
        let plain = match raw.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                at += unescape_unicode(&raw[at..], &mut text)?;
                continue;
            }
            _ => return Err(JsonError::Escape),
        };
        text.push(plain);
        at += 2;
    }
    Ok(Cow::Owned(text))
}

/// The beginning of a string without its escapes: one that was cut is left out.
fn unescape_beginning(raw: &[u8]) -> Result<Cow<'_, [u8]>, JsonError> {
    /// Bytes of an escape that lacks its last one.
    const ESCAPE_BYTES_MAX: usize = br"\u000".len();
    let ends = (0..=raw.len().min(ESCAPE_BYTES_MAX)).map(|cut| raw.len() - cut);
    ends.map(|end| unescape(&raw[..end])).find(Result::is_ok).unwrap_or(Err(JsonError::Escape))
}

/// Decodes the `\uXXXX` with which `raw` begins, and its second half where it has one; gives back how many bytes that took.
fn unescape_unicode(raw: &[u8], text: &mut Vec<u8>) -> Result<usize, JsonError> {
    let unit = unicode_unit(raw).ok_or(JsonError::Escape)?;
    let mut units = [unit, 0];
    let mut taken = 6;
    let mut len = 1;
    if (0xd800..0xdc00).contains(&unit)
        && let Some(second) = unicode_unit(&raw[6..]).filter(|second| (0xdc00..0xe000).contains(second))
    {
        units[1] = second;
        taken = 12;
        len = 2;
    }
    for decoded in char::decode_utf16(units.into_iter().take(len)) {
        let decoded = decoded.unwrap_or('?');
        text.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(taken)
}

fn unicode_unit(raw: &[u8]) -> Option<u16> {
    let digits = raw.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0_u16, |unit, byte| {
        let digit = (*byte as char).to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}
