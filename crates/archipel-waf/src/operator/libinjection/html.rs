//! From bytes to the tokens of HTML, as old and new browsers read it.

use memchr::{memchr, memmem};

/// Where in a document a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// In text.
    Text,
    /// In a tag, behind a value without quotes.
    Attribute,
    /// In a value between single quotes.
    SingleQuoted,
    /// In a value between double quotes.
    DoubleQuoted,
    /// In a value between backticks, as old browsers read them.
    BackQuoted,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text between tags.
    Text,
    /// The name of a tag that opens, or that closes and is not closed itself.
    TagName,
    /// The end of a tag.
    TagEnd,
    /// A closing tag.
    TagClose,
    /// The name of an attribute.
    AttributeName,
    /// The value of an attribute.
    AttributeValue,
    /// A comment, or what is read as one.
    Comment,
    /// A document type.
    Doctype,
}

/// A token and its bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
enum State {
    End,
    Text,
    TagOpen,
    TagEnd,
    SelfClosing,
    BeforeName,
    AfterName,
    BeforeValue,
    Quoted(u8),
    AfterQuoted,
}

/// Reads tokens off a value.
pub(super) struct Reader<'a> {
    value: &'a [u8],
    at: usize,
    state: State,
    is_closing: bool,
}

/// White space, with the NUL that C's `strchr` finds in every set.
const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0)
}

impl<'a> Reader<'a> {
    pub(super) const fn new(value: &'a [u8], context: Context) -> Self {
        let state = match context {
            Context::Text => State::Text,
            Context::Attribute => State::BeforeName,
            Context::SingleQuoted => State::Quoted(b'\''),
            Context::DoubleQuoted => State::Quoted(b'"'),
            Context::BackQuoted => State::Quoted(b'`'),
        };
        Self { value, at: 0, state, is_closing: false }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        match self.state {
            State::End => None,
            State::Text => self.text(),
            State::TagOpen => self.tag_open(),
            State::TagEnd => Some(self.tag_end()),
            State::SelfClosing => self.self_closing(),
            State::BeforeName => self.before_name(),
            State::AfterName => self.after_name(),
            State::BeforeValue => self.before_value(),
            State::Quoted(quote) => Some(self.quoted(quote)),
            State::AfterQuoted => self.after_quoted(),
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.value[self.at..]
    }

    /// A token of the next `length` bytes, with `skip` more to pass over.
    fn take(&mut self, kind: Kind, length: usize, skip: usize, state: State) -> Option<Token<'a>> {
        let text = &self.value[self.at..self.at + length];
        self.at = (self.at + length + skip).min(self.value.len());
        self.state = state;
        Some(Token { kind, text })
    }

    /// A token of all that is left.
    fn take_rest(&mut self, kind: Kind) -> Option<Token<'a>> {
        self.take(kind, self.rest().len(), 0, State::End)
    }

    /// Passes over white space and NULs. Byte FF ends the value for it, as it does where `char` is signed.
    fn skip_white(&mut self) -> Option<u8> {
        self.at += self.rest().iter().take_while(|&&byte| is_white(byte)).count();
        self.rest().first().copied().filter(|&byte| byte != 0xff)
    }

    fn text(&mut self) -> Option<Token<'a>> {
        match memchr(b'<', self.rest()) {
            None if self.rest().is_empty() => None,
            None => self.take_rest(Kind::Text),
            Some(0) => {
                self.at += 1;
                self.tag_open()
            }
            Some(length) => self.take(Kind::Text, length, 1, State::TagOpen),
        }
    }

    fn tag_open(&mut self) -> Option<Token<'a>> {
        match *self.rest().first()? {
            b'!' => {
                self.at += 1;
                self.declaration()
            }
            b'/' => {
                self.at += 1;
                self.is_closing = true;
                self.end_tag_open()
            }
            b'?' => {
                self.at += 1;
                self.bogus_comment()
            }
            b'%' => {
                self.at += 1;
                self.percent_comment()
            }
            byte if byte.is_ascii_alphabetic() || byte == 0 => self.tag_name(),
            _ => {
                // The angle bracket was text.
                self.state = State::Text;
                Some(Token { kind: Kind::Text, text: &self.value[self.at - 1..self.at] })
            }
        }
    }

    fn end_tag_open(&mut self) -> Option<Token<'a>> {
        match *self.rest().first()? {
            b'>' => self.text(),
            byte if byte.is_ascii_alphabetic() => self.tag_name(),
            _ => {
                self.is_closing = false;
                self.bogus_comment()
            }
        }
    }

    fn tag_name(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        let end = rest.iter().position(|&byte| byte != 0 && (is_white(byte) || byte == b'/' || byte == b'>'));
        let Some(end) = end else { return self.take_rest(Kind::TagName) };
        match rest[end] {
            b'/' => self.take(Kind::TagName, end, 1, State::SelfClosing),
            b'>' if self.is_closing => {
                self.is_closing = false;
                self.take(Kind::TagClose, end, 1, State::Text)
            }
            b'>' => self.take(Kind::TagName, end, 0, State::TagEnd),
            _ => self.take(Kind::TagName, end, 1, State::BeforeName),
        }
    }

    /// The closing angle bracket of a tag.
    fn tag_end(&mut self) -> Token<'a> {
        self.is_closing = false;
        let text = &self.value[self.at..self.at + 1];
        self.at += 1;
        self.state = if self.at < self.value.len() { State::Text } else { State::End };
        Token { kind: Kind::TagEnd, text }
    }

    fn self_closing(&mut self) -> Option<Token<'a>> {
        match *self.rest().first()? {
            b'>' => self.take(Kind::TagEnd, 1, 0, State::Text),
            _ => self.before_name(),
        }
    }

    fn before_name(&mut self) -> Option<Token<'a>> {
        loop {
            match self.skip_white()? {
                b'/' => {
                    self.at += 1;
                    if let None | Some(b'>') = self.rest().first() {
                        return self.self_closing();
                    }
                }
                b'>' => return self.take(Kind::TagEnd, 1, 0, State::Text),
                _ => return self.name(),
            }
        }
    }

    fn name(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        // The first byte is of the name whatever it is.
        let end = rest.iter().skip(1).position(|&byte| is_white(byte) || matches!(byte, b'/' | b'=' | b'>'));
        let Some(end) = end.map(|end| end + 1) else { return self.take_rest(Kind::AttributeName) };
        match rest[end] {
            b'/' => self.take(Kind::AttributeName, end, 1, State::SelfClosing),
            b'=' => self.take(Kind::AttributeName, end, 1, State::BeforeValue),
            b'>' => self.take(Kind::AttributeName, end, 0, State::TagEnd),
            _ => self.take(Kind::AttributeName, end, 1, State::AfterName),
        }
    }

    fn after_name(&mut self) -> Option<Token<'a>> {
        match self.skip_white()? {
            b'/' => {
                self.at += 1;
                self.self_closing()
            }
            b'=' => {
                self.at += 1;
                self.before_value()
            }
            b'>' => Some(self.tag_end()),
            _ => self.name(),
        }
    }

    fn before_value(&mut self) -> Option<Token<'a>> {
        match self.skip_white() {
            None => {
                self.state = State::End;
                None
            }
            Some(quote @ (b'"' | b'\'' | b'`')) => Some(self.quoted(quote)),
            Some(_) => self.unquoted(),
        }
    }

    fn quoted(&mut self, quote: u8) -> Token<'a> {
        // At the very beginning of a value the quote is before it.
        if self.at > 0 {
            self.at += 1;
        }
        let rest = self.rest();
        let (text, state) = match memchr(quote, rest) {
            Some(end) => {
                self.at += end + 1;
                (&rest[..end], State::AfterQuoted)
            }
            None => (rest, State::End),
        };
        self.state = state;
        Token { kind: Kind::AttributeValue, text }
    }

    fn unquoted(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        match rest.iter().position(|&byte| is_white(byte) || byte == b'>') {
            Some(end) if rest[end] == b'>' => self.take(Kind::AttributeValue, end, 0, State::TagEnd),
            Some(end) => self.take(Kind::AttributeValue, end, 1, State::BeforeName),
            None => self.take_rest(Kind::AttributeValue),
        }
    }

    fn after_quoted(&mut self) -> Option<Token<'a>> {
        match *self.rest().first()? {
            b'/' => {
                self.at += 1;
                self.self_closing()
            }
            b'>' => self.take(Kind::TagEnd, 1, 0, State::Text),
            _ => self.before_name(),
        }
    }

    fn declaration(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        if rest.get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"DOCTYPE")) {
            return match memchr(b'>', rest) {
                Some(end) => self.take(Kind::Doctype, end, 1, State::Text),
                None => self.take_rest(Kind::Doctype),
            };
        }
        if rest.starts_with(b"[CDATA[") {
            self.at += 7;
            return self.until(b"]]>", Kind::Text);
        }
        if rest.starts_with(b"--") {
            self.at += 2;
            return self.comment();
        }
        self.bogus_comment()
    }

    /// A token that ends before `end`.
    fn until(&mut self, end: &[u8], kind: Kind) -> Option<Token<'a>> {
        match memmem::find(self.rest(), end) {
            Some(length) => self.take(kind, length, end.len(), State::Text),
            None => self.take_rest(kind),
        }
    }

    fn bogus_comment(&mut self) -> Option<Token<'a>> {
        self.until(b">", Kind::Comment)
    }

    fn percent_comment(&mut self) -> Option<Token<'a>> {
        self.until(b"%>", Kind::Comment)
    }

    /// A comment ends with `-->` or `-!>`, perhaps with NULs behind the first hyphen.
    fn comment(&mut self) -> Option<Token<'a>> {
        let rest = self.rest();
        for start in memchr::memchr_iter(b'-', rest) {
            if start + 3 > rest.len() {
                break;
            }
            let behind = &rest[start + 1..];
            let nulls = behind.iter().take_while(|&&byte| byte == 0).count();
            match behind[nulls..] {
                [b'-' | b'!', b'>', ..] => return self.take(Kind::Comment, start, nulls + 3, State::Text),
                [] | [b'-' | b'!'] => break,
                _ => {}
            }
        }
        self.take_rest(Kind::Comment)
    }
}
