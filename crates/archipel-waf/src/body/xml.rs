//! XML 1.0: its character data for `XML:/*`, the values of its attributes for `XML://@*`.
//!
//! Not validating and not loading anything. Only the five entities that XML itself defines and character references are
//! replaced; a document type may name an identifier, but declarations within it are refused, and with them every entity
//! that could expand. Namespace declarations are no attributes for XPath, so they are none here.

use super::cookie::is_space;
use super::{BodyError, BodyLimits, Sink, XmlError};

const CDATA: &[u8] = b"![CDATA[";
const DOCTYPE: &[u8] = b"!DOCTYPE";

/// The byte order mark of UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Bytes of a processing instruction that are looked at: an XML declaration must fit.
const INSTRUCTION_BYTES_MAX: usize = 256;

/// Bytes between `&` and `;`. Longer ones would need leading zeros.
const REFERENCE_BYTES_MAX: usize = 16;

/// A document that is being read.
#[derive(Debug)]
pub(super) struct Xml {
    limits: BodyLimits,
    state: State,
    /// Markup that is being read, without its `<`; or a reference without its `&`.
    token: Vec<u8>,
    /// Names of the open elements, one after the other.
    open: Vec<u8>,
    /// Where each of them begins.
    starts: Vec<usize>,
    root_seen: bool,
    doctype_seen: bool,
    /// Nothing but the markup that is being read was seen: it may be the XML declaration.
    is_first: bool,
    attributes: usize,
    left_out: Option<BodyError>,
    /// The attributes over their number, which are told together.
    late: Vec<u8>,
    text: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of a byte order mark were seen, and nothing else.
    Start(usize),
    /// Between markup.
    Text,
    /// Behind a `&`.
    Reference,
    /// Behind a `<`; what kind of markup it is cannot be said yet.
    Markup,
    /// Within a tag, maybe within a quoted value.
    Tag { quote: Option<u8> },
    /// Within a document type, maybe within a quoted identifier.
    Doctype { quote: Option<u8> },
    /// Within markup that has an end of its own, of which so many bytes were just seen.
    Enclosed(Enclosed, usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enclosed {
    Comment,
    Cdata,
    Instruction,
}

impl Enclosed {
    fn end(self) -> &'static [u8] {
        match self {
            Self::Comment => b"-->",
            Self::Cdata => b"]]>",
            Self::Instruction => b"?>",
        }
    }
}

impl Xml {
    pub(super) fn new(limits: &BodyLimits) -> Self {
        Self {
            limits: limits.clone(),
            state: State::Start(0),
            token: Vec::new(),
            open: Vec::new(),
            starts: Vec::new(),
            root_seen: false,
            doctype_seen: false,
            is_first: true,
            attributes: 0,
            left_out: None,
            late: Vec::new(),
            text: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        let read = self.read(chunk, sink);
        if read.is_err() {
            self.tell_rest(sink);
        }
        read
    }

    pub(super) fn finish(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        if self.state == State::Start(0) {
            return Ok(());
        }
        if self.state == State::Reference {
            self.text.push(b'&');
            self.text.append(&mut self.token);
        }
        self.tell_rest(sink);
        let complete = self.root_seen && self.starts.is_empty() && self.state == State::Text;
        if complete { Ok(()) } else { Err(XmlError::End.into()) }
    }

    /// The end of what is looked at: text and attributes count as far as they go.
    pub(super) fn cut(&mut self, sink: &mut impl Sink) -> Result<(), BodyError> {
        let read = match self.state {
            State::Reference => {
                self.text.push(b'&');
                self.text.append(&mut self.token);
                Ok(())
            }
            State::Enclosed(kind @ Enclosed::Cdata, seen) => self.add_text(&kind.end()[..seen]),
            State::Tag { quote } => self.cut_tag(quote, sink),
            _ => Ok(()),
        };
        self.tell_rest(sink);
        read
    }

    /// Tells what is told once.
    fn tell_rest(&mut self, sink: &mut impl Sink) {
        if !self.late.is_empty() {
            sink.xml_attribute(&std::mem::take(&mut self.late));
        }
        sink.xml_text(&self.text);
    }

    /// The beginning of a tag, completed in the shortest way and then read like any other.
    fn cut_tag(&mut self, quote: Option<u8>, sink: &mut impl Sink) -> Result<(), BodyError> {
        let mut tag = std::mem::take(&mut self.token);
        if tag.starts_with(b"/") {
            return Ok(());
        }
        if let Some(quote) = quote {
            // A reference that was cut is none that is wrong.
            let tail = tag.len().saturating_sub(REFERENCE_BYTES_MAX + 1);
            if let Some(at) = memchr::memrchr(b'&', &tag[tail..]).filter(|at| !tag[tail + at..].contains(&b';')) {
                tag.truncate(tail + at);
            }
            tag.extend_from_slice(&[quote, b'/']);
            return self.tag(&tag, sink);
        }
        let begun = tag.iter().rposition(|byte| matches!(byte, b'"' | b'\'')).map(|at| at + 1);
        let begun = begun.or_else(|| tag.iter().position(|&byte| is_space(byte))).unwrap_or(tag.len());
        match tag[begun..].trim_ascii() {
            b"" | b"/" => {}
            [.., b'='] => tag.extend_from_slice(b"\"\""),
            attribute if attribute.contains(&b'=') => {}
            _ => tag.extend_from_slice(b"=\"\""),
        }
        if !tag.ends_with(b"/") {
            tag.push(b'/');
        }
        self.tag(&tag, sink)
    }

    pub(super) fn left_out(&self) -> Option<&BodyError> {
        self.left_out.as_ref()
    }

    fn read(&mut self, chunk: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        let mut rest = chunk;
        while let [byte, after @ ..] = rest {
            rest = match self.state {
                State::Start(seen) => {
                    if self.start(*byte, seen)? {
                        after
                    } else {
                        rest
                    }
                }
                State::Text => self.characters(rest)?,
                State::Reference => {
                    self.reference(*byte)?;
                    after
                }
                State::Markup => {
                    self.markup(*byte)?;
                    after
                }
                State::Tag { quote } | State::Doctype { quote } => self.quoted(rest, quote, sink)?,
                State::Enclosed(kind, seen) => {
                    self.enclosed(kind, seen, *byte)?;
                    after
                }
            };
        }
        Ok(())
    }

    /// Whether the first byte, or the next one, belongs to a byte order mark.
    fn start(&mut self, byte: u8, seen: usize) -> Result<bool, XmlError> {
        if byte == BOM[seen] {
            self.state = if seen + 1 == BOM.len() { State::Text } else { State::Start(seen + 1) };
            return Ok(true);
        }
        // UTF-16 and UTF-32 begin with a mark of theirs or have zeros.
        if seen > 0 || matches!(byte, 0 | 0xfe | 0xff) {
            return Err(XmlError::Encoding);
        }
        self.state = State::Text;
        Ok(false)
    }

    fn characters<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], BodyError> {
        let end = bytes.iter().position(|&byte| matches!(byte, b'<' | b'&') || is_forbidden(byte));
        let characters = &bytes[..end.unwrap_or(bytes.len())];
        self.is_first &= characters.is_empty();
        if self.starts.is_empty() {
            if !characters.iter().all(|&byte| is_space(byte)) {
                return Err(XmlError::OutsideRoot.into());
            }
        } else {
            self.add_text(characters)?;
        }
        let Some(end) = end else { return Ok(&[]) };
        self.token.clear();
        match bytes[end] {
            b'<' => self.state = State::Markup,
            b'&' if !self.starts.is_empty() => self.state = State::Reference,
            b'&' => return Err(XmlError::OutsideRoot.into()),
            _ => return Err(XmlError::Character.into()),
        }
        Ok(&bytes[end + 1..])
    }

    fn add_text(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        // What fits is kept, so that the text does not depend on how it was cut.
        let room = self.limits.value_bytes_max - self.text.len();
        self.text.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room { Err(BodyError::Value(self.limits.value_bytes_max)) } else { Ok(()) }
    }

    fn reference(&mut self, byte: u8) -> Result<(), BodyError> {
        let name = std::mem::take(&mut self.token);
        let mut replaced = Vec::new();
        if byte == b';' && replace(&name, &mut replaced).is_some() {
            self.state = State::Text;
            self.add_text(&replaced)?;
        } else if matches!(byte, b'#' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') && name.len() < REFERENCE_BYTES_MAX {
            self.token = name;
            self.token.push(byte);
        } else {
            self.add_text(b"&")?;
            self.add_text(&name)?;
            return Err(XmlError::Entity.into());
        }
        Ok(())
    }

    /// The next byte behind a `<`: finds out what begins there.
    fn markup(&mut self, byte: u8) -> Result<(), XmlError> {
        self.token.push(byte);
        let token = &self.token[..];
        if token == b"?" {
            self.token.clear();
            self.state = State::Enclosed(Enclosed::Instruction, 0);
            return Ok(());
        }
        self.is_first = false;
        if token == b"!--" {
            self.state = State::Enclosed(Enclosed::Comment, 0);
        } else if token == CDATA {
            if self.starts.is_empty() {
                return Err(XmlError::OutsideRoot);
            }
            self.state = State::Enclosed(Enclosed::Cdata, 0);
        } else if token == DOCTYPE {
            if self.root_seen || self.doctype_seen {
                return Err(XmlError::Markup);
            }
            self.doctype_seen = true;
            self.token.clear();
            self.state = State::Doctype { quote: None };
        } else if token[0] == b'!' {
            if ![&b"!--"[..], CDATA, DOCTYPE].iter().any(|known| known.starts_with(token)) {
                return Err(XmlError::Markup);
            }
        } else if byte == b'/' || is_name_start(byte) {
            self.state = State::Tag { quote: None };
        } else {
            return Err(XmlError::Tag);
        }
        Ok(())
    }

    /// Reads on in a tag or a document type, which ends at a `>` that is not quoted.
    fn quoted<'a>(&mut self, bytes: &'a [u8], quote: Option<u8>, sink: &mut impl Sink) -> Result<&'a [u8], BodyError> {
        let is_tag = matches!(self.state, State::Tag { .. });
        let end = match quote {
            Some(quote) => memchr::memchr(quote, bytes),
            None => bytes.iter().position(|byte| matches!(byte, b'>' | b'"' | b'\'' | b'<' | b'[')),
        };
        let kept = end.map_or(bytes.len(), |end| end + 1);
        if kept > self.limits.value_bytes_max.saturating_sub(self.token.len()) {
            return Err(BodyError::Value(self.limits.value_bytes_max));
        }
        self.token.extend_from_slice(&bytes[..kept]);
        let next = match (quote, end.map(|end| bytes[end])) {
            (_, None) => return Ok(&[]),
            (Some(_), Some(_)) => None,
            (None, Some(opening @ (b'"' | b'\''))) => Some(opening),
            (None, Some(b'>')) => {
                self.token.pop();
                self.state = State::Text;
                if is_tag {
                    let token = std::mem::take(&mut self.token);
                    self.tag(&token, sink)?;
                    self.token = token;
                }
                return Ok(&bytes[kept..]);
            }
            (None, Some(b'[')) if !is_tag => return Err(XmlError::Dtd.into()),
            (None, Some(_)) => return Err(XmlError::Tag.into()),
        };
        self.state = if is_tag { State::Tag { quote: next } } else { State::Doctype { quote: next } };
        Ok(&bytes[kept..])
    }

    /// A whole tag, without its angle brackets.
    fn tag(&mut self, tag: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        if let Some(name) = tag.strip_prefix(b"/") {
            let name = name.trim_ascii_end();
            match self.starts.last() {
                Some(&start) if &self.open[start..] == name => self.open.truncate(start),
                _ => return Err(XmlError::EndTag.into()),
            }
            self.starts.pop();
            return Ok(());
        }
        if self.starts.is_empty() && self.root_seen {
            return Err(XmlError::OutsideRoot.into());
        }
        self.root_seen = true;
        let (tag, is_empty) = tag.strip_suffix(b"/").map_or((tag, false), |tag| (tag, true));
        let name_end = tag.iter().position(|&byte| is_space(byte)).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at(name_end);
        if name.len() > self.limits.name_bytes_max {
            return Err(BodyError::Name(self.limits.name_bytes_max));
        }
        if name.iter().any(|byte| matches!(byte, b'"' | b'\'' | b'/' | b'=' | b'&' | b'[') || is_forbidden(*byte)) {
            return Err(XmlError::Tag.into());
        }
        self.read_attributes(attributes, sink)?;
        if !is_empty {
            if self.starts.len() == self.limits.depth_max {
                return Err(BodyError::Depth(self.limits.depth_max));
            }
            self.starts.push(self.open.len());
            self.open.extend_from_slice(name);
        }
        Ok(())
    }

    fn read_attributes(&mut self, mut rest: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        loop {
            let begin = rest.trim_ascii_start();
            if begin.is_empty() {
                return Ok(());
            }
            // Space must separate an attribute from what comes before it.
            if begin.len() == rest.len() {
                return Err(XmlError::Tag.into());
            }
            let equals = memchr::memchr(b'=', begin).ok_or(XmlError::Tag)?;
            let name = begin[..equals].trim_ascii_end();
            if name.len() > self.limits.name_bytes_max {
                return Err(BodyError::Name(self.limits.name_bytes_max));
            }
            let begins_well = name.first().is_some_and(|&byte| is_name_start(byte));
            if !begins_well || name.iter().any(|&byte| is_space(byte) || matches!(byte, b'"' | b'\'')) {
                return Err(XmlError::Tag.into());
            }
            let [quote @ (b'"' | b'\''), value @ ..] = begin[equals + 1..].trim_ascii_start() else {
                return Err(XmlError::Tag.into());
            };
            let end = memchr::memchr(*quote, value).ok_or(XmlError::Tag)?;
            self.attribute(name, &value[..end], sink)?;
            rest = &value[end + 1..];
        }
    }

    fn attribute(&mut self, name: &[u8], raw: &[u8], sink: &mut impl Sink) -> Result<(), BodyError> {
        if name == b"xmlns" || name.starts_with(b"xmlns:") {
            return Ok(());
        }
        let mut value = Vec::with_capacity(raw.len());
        let mut fault = None;
        let mut rest = raw;
        while let [byte, after @ ..] = rest {
            rest = after;
            match *byte {
                b'&' => {
                    let end = memchr::memchr(b';', after).filter(|&end| end <= REFERENCE_BYTES_MAX);
                    match end.and_then(|end| replace(&after[..end], &mut value).map(|()| end)) {
                        Some(end) => rest = &after[end + 1..],
                        None => {
                            fault = Some(XmlError::Entity);
                            value.push(b'&');
                        }
                    }
                }
                b'<' => {
                    fault = Some(XmlError::Tag);
                    value.push(b'<');
                }
                b'\t' | b'\r' | b'\n' => value.push(b' '),
                other => {
                    if is_forbidden(other) {
                        fault = Some(XmlError::Character);
                    }
                    value.push(other);
                }
            }
        }
        // Told in any case: what a lenient application would read shall be seen.
        if self.attributes == self.limits.attributes_max {
            self.left_out = Some(BodyError::Attributes(self.limits.attributes_max));
            if !value.is_empty() {
                self.late.extend_from_slice(&value);
                self.late.push(b' ');
            }
        } else {
            self.attributes += 1;
            sink.xml_attribute(&value);
        }
        fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// The next byte of a comment, a CDATA section or a processing instruction.
    fn enclosed(&mut self, kind: Enclosed, seen: usize, byte: u8) -> Result<(), BodyError> {
        let end = kind.end();
        if byte == end[seen] {
            self.state = State::Enclosed(kind, seen + 1);
            if seen + 1 == end.len() {
                self.state = State::Text;
                if kind == Enclosed::Instruction {
                    self.instruction()?;
                }
            }
            return Ok(());
        }
        if kind == Enclosed::Comment && seen == 2 {
            return Err(XmlError::Markup.into());
        }
        if is_forbidden(byte) {
            return Err(XmlError::Character.into());
        }
        // `]]]>`: the first bracket is content, the others may still be the end.
        let again = usize::from(seen > 0 && byte == end[seen - 1]);
        let (content, still_seen) = if again == 1 { (&end[..1], seen) } else { (&end[..seen], 0) };
        self.state = State::Enclosed(kind, still_seen);
        match kind {
            Enclosed::Comment => {}
            Enclosed::Cdata => {
                self.add_text(content)?;
                if again == 0 {
                    self.add_text(&[byte])?;
                }
            }
            Enclosed::Instruction if self.token.len() < INSTRUCTION_BYTES_MAX => {
                self.token.extend_from_slice(content);
                if again == 0 {
                    self.token.push(byte);
                }
            }
            Enclosed::Instruction => {}
        }
        Ok(())
    }

    /// A whole processing instruction; `xml` is the XML declaration.
    fn instruction(&mut self) -> Result<(), XmlError> {
        let was_first = std::mem::take(&mut self.is_first);
        let name_end = self.token.iter().position(|&byte| is_space(byte)).unwrap_or(self.token.len());
        let (name, rest) = self.token.split_at(name_end);
        if !name.first().is_some_and(|&byte| is_name_start(byte)) {
            return Err(XmlError::Markup);
        }
        if !name.eq_ignore_ascii_case(b"xml") {
            return Ok(());
        }
        if !was_first || name != b"xml" {
            return Err(XmlError::Markup);
        }
        if self.token.len() >= INSTRUCTION_BYTES_MAX {
            return Err(XmlError::Encoding);
        }
        let Some(at) = memchr::memmem::find(rest, b"encoding") else { return Ok(()) };
        let value = rest[at + b"encoding".len()..].trim_ascii_start();
        let value = value.strip_prefix(b"=").ok_or(XmlError::Markup)?.trim_ascii_start();
        let [quote @ (b'"' | b'\''), value @ ..] = value else { return Err(XmlError::Markup) };
        let end = memchr::memchr(*quote, value).ok_or(XmlError::Markup)?;
        if is_encoding_read(&value[..end]) { Ok(()) } else { Err(XmlError::Encoding) }
    }
}

/// Encodings in which the bytes of ASCII mean what they mean in ASCII.
fn is_encoding_read(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    matches!(&name[..], b"utf-8" | b"utf8" | b"us-ascii" | b"ascii" | b"latin1")
        || name.starts_with(b"iso-8859-")
        || name.starts_with(b"windows-125")
}

/// Control characters that no document may have.
fn is_forbidden(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n')
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || matches!(byte, b'_' | b':' | 0x80..)
}

/// Writes what a reference stands for, given without `&` and `;`. None for one that XML itself does not define.
fn replace(name: &[u8], to: &mut Vec<u8>) -> Option<()> {
    let plain = match name {
        b"lt" => b'<',
        b"gt" => b'>',
        b"amp" => b'&',
        b"quot" => b'"',
        b"apos" => b'\'',
        _ => {
            let digits = name.strip_prefix(b"#")?;
            let (digits, radix) = digits.strip_prefix(b"x").map_or((digits, 10), |digits| (digits, 16));
            let digits = std::str::from_utf8(digits).ok()?;
            if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                return None;
            }
            let decoded = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
            if u8::try_from(decoded).is_ok_and(is_forbidden) {
                return None;
            }
            to.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
    };
    to.push(plain);
    Some(())
}
