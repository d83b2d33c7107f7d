//! From bytes to tokens.

use libinjectionrs::sqli::sqli_data::{CHAR_MAP, CharType};
use memchr::{memchr, memmem};

use super::fold::Token;
use super::words::{Tables, VALUE_MAX, kind};

/// What `#` and `--` begin: in MySQL a hash begins a comment, and two hyphens do only before white space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Ansi,
    MySql,
}

static CLASSES: [CharType; 256] = CHAR_MAP;

const fn table(members: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < members.len() {
        table[members[at] as usize] = true;
        at += 1;
    }
    table
}

static ENDS_WORD: [bool; 256] = table(b" []{}<>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r\"\xa0\0");
static ENDS_VARIABLE: [bool; 256] = table(b" <>:\\?=@!#~+-*/&|^%(),';\t\n\x0b\x0c\r'`\"\0");

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r' | 0xa0 | 0)
}

// A NUL is in each of these sets, as the C library's `strchr` finds it in every string.

const fn is_bit(byte: u8) -> bool {
    matches!(byte, b'0' | b'1' | 0)
}

const fn is_hex_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || byte == 0
}

const fn is_of_amount(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b',' | 0)
}

const fn is_of_tag(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == 0
}

/// How many bytes at the beginning of `bytes` fulfil `condition`.
#[inline]
fn span(bytes: &[u8], condition: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !condition(byte)).unwrap_or(bytes.len())
}

/// Reads tokens off a value.
pub(super) struct Scanner<'a> {
    value: &'a [u8],
    at: usize,
    /// The quote behind which the value is thought to stand, or 0.
    quote: u8,
    dialect: Dialect,
    tables: &'a Tables,
    /// How many tokens were read.
    pub(super) count: usize,
    /// Whether two hyphens were taken for a comment that MySQL would not see there.
    pub(super) saw_dashes: bool,
    /// Whether there was a hash.
    pub(super) saw_hash: bool,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(value: &'a [u8], quote: u8, dialect: Dialect, tables: &'a Tables) -> Self {
        Self { value, at: 0, quote, dialect, tables, count: 0, saw_dashes: false, saw_hash: false }
    }

    pub(super) const fn tables(&self) -> &'a Tables {
        self.tables
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Option<Token<'a>> {
        if self.at == 0 && self.quote != 0 {
            self.count += 1;
            return Some(self.string(0, 0, self.quote));
        }
        while let Some(&byte) = self.value.get(self.at) {
            match CLASSES[usize::from(byte)] {
                CharType::White => self.at += 1,
                class => {
                    self.count += 1;
                    return Some(self.token(byte, class));
                }
            }
        }
        None
    }

    #[inline]
    fn token(&mut self, byte: u8, class: CharType) -> Token<'a> {
        match class {
            CharType::Word => self.word(),
            CharType::Number => self.number(),
            CharType::Op1 | CharType::Unary => self.take(kind::OPERATOR, 1),
            CharType::Op2 | CharType::Bang => self.operator(),
            CharType::LeftParens
            | CharType::RightParens
            | CharType::Comma
            | CharType::Semicolon
            | CharType::LeftBrace
            | CharType::RightBrace => self.take(byte, 1),
            CharType::String => self.string(self.at, 1, byte),
            CharType::Hash => self.hash(),
            CharType::Dash => self.dash(),
            CharType::Slash => self.slash(),
            CharType::Money => self.money(),
            CharType::Variable => self.variable(),
            CharType::BString => self.digits_string(is_bit),
            CharType::XString => self.digits_string(is_hex_digit),
            CharType::EString => self.escaped_string(),
            CharType::NQString if self.peek(1) == b'\'' && self.at + 2 < self.value.len() => self.escaped_string(),
            CharType::NQString => self.oracle_string(1),
            CharType::QString => self.oracle_string(0),
            CharType::UString => self.unicode_string(),
            CharType::BWord => {
                let length = memchr(b']', self.rest()).map_or(self.rest().len(), |end| end + 1);
                self.take(kind::BAREWORD, length)
            }
            CharType::Backslash if self.peek(1) == b'N' => self.take(kind::NUMBER, 2),
            CharType::Backslash => self.take(b'\\', 1),
            CharType::Tick => self.tick(),
            CharType::Other | CharType::White => self.take(kind::UNKNOWN, 1),
        }
    }

    fn rest(&self) -> &'a [u8] {
        &self.value[self.at..]
    }

    /// The byte `ahead` of where the scanner is; 0 behind the end.
    #[inline]
    fn peek(&self, ahead: usize) -> u8 {
        self.value.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// A token of the next `length` bytes.
    #[inline]
    fn take(&mut self, kind: u8, length: usize) -> Token<'a> {
        let value = &self.value[self.at..self.at + length];
        self.at += length;
        Token::new(kind, value)
    }

    /// A string whose contents begin `skip` bytes behind `start`. A delimiter is escaped by an odd number of backslashes before it,
    /// or by being doubled.
    fn string(&mut self, start: usize, skip: usize, delimiter: u8) -> Token<'a> {
        let start = start + skip;
        let open = if skip > 0 { delimiter } else { 0 };
        let mut from = start;
        while let Some(found) = self.value.get(from..).and_then(|rest| memchr(delimiter, rest)) {
            let end = from + found;
            let contents = &self.value[start..end];
            let backslashes = contents.iter().rev().take_while(|&&byte| byte == b'\\').count();
            if backslashes % 2 == 1 {
                from = end + 1;
            } else if self.value.get(end + 1) == Some(&delimiter) {
                from = end + 2;
            } else {
                self.at = end + 1;
                return Token { open, close: delimiter, ..Token::new(kind::STRING, contents) };
            }
        }
        self.at = self.value.len();
        Token { open, ..Token::new(kind::STRING, &self.value[start..]) }
    }

    fn word(&mut self) -> Token<'a> {
        let rest = self.rest();
        let length = span(rest, |byte| !ENDS_WORD[usize::from(byte)]);
        let word = &rest[..length];
        let start = &word[..length.min(VALUE_MAX)];
        // What is before a dot or a backtick may be a word of its own: `SELECT.1`, "SELECT`column`".
        for end in memchr::memchr2_iter(b'.', b'`', start) {
            if let Some(kind) = self.tables.kind(&start[..end]).filter(|&kind| kind != kind::BAREWORD) {
                return self.take(kind, end);
            }
        }
        let kind = if length <= VALUE_MAX { self.tables.kind(word) } else { None };
        self.take(kind.unwrap_or(kind::BAREWORD), length)
    }

    fn operator(&mut self) -> Token<'a> {
        match *self.rest() {
            [_] => self.take(kind::OPERATOR, 1),
            [b'<', b'=', b'>', ..] => self.take(kind::OPERATOR, 3),
            [first, second, ..] => match self.tables.kind(&[first, second]) {
                Some(kind) => self.take(kind, 2),
                None if first == b':' => self.take(b':', 1),
                None => self.take(kind::OPERATOR, 1),
            },
            [] => Token::default(),
        }
    }

    fn line_comment(&mut self) -> Token<'a> {
        let rest = self.rest();
        match memchr(b'\n', rest) {
            Some(end) => {
                let token = self.take(kind::COMMENT, end);
                self.at += 1;
                token
            }
            None => self.take(kind::COMMENT, rest.len()),
        }
    }

    fn hash(&mut self) -> Token<'a> {
        self.saw_hash = true;
        match self.dialect {
            Dialect::MySql => self.line_comment(),
            Dialect::Ansi => self.take(kind::OPERATOR, 1),
        }
    }

    fn dash(&mut self) -> Token<'a> {
        match *self.rest() {
            [_, b'-'] => self.line_comment(),
            [_, b'-', next, ..] if is_white(next) => self.line_comment(),
            [_, b'-', ..] if self.dialect == Dialect::Ansi => {
                self.saw_dashes = true;
                self.line_comment()
            }
            _ => self.take(kind::OPERATOR, 1),
        }
    }

    fn slash(&mut self) -> Token<'a> {
        let rest = self.rest();
        if self.peek(1) != b'*' {
            return self.take(kind::OPERATOR, 1);
        }
        let end = memmem::find(&rest[2..], b"*/");
        // PostgreSQL nests comments and MySQL runs what is in some: nobody knows how the rest will be read.
        let is_nested = end.is_some_and(|end| memmem::find(&rest[2..2 + end + 1], b"/*").is_some());
        let kind = if is_nested || self.peek(2) == b'!' { kind::EVIL } else { kind::COMMENT };
        self.take(kind, end.map_or(rest.len(), |end| end + 4))
    }

    /// `b'0101'` or `x'1f'`.
    fn digits_string(&mut self, is_digit: impl Fn(u8) -> bool) -> Token<'a> {
        let rest = self.rest();
        if rest.len() > 2 && rest[1] == b'\'' {
            let digits = span(&rest[2..], is_digit);
            if rest.get(2 + digits) == Some(&b'\'') {
                return self.take(kind::NUMBER, digits + 3);
            }
        }
        self.word()
    }

    /// `e'text'` or `n'text'`.
    fn escaped_string(&mut self) -> Token<'a> {
        if self.at + 2 < self.value.len() && self.peek(1) == b'\'' {
            return self.string(self.at, 2, b'\'');
        }
        self.word()
    }

    /// `U&'text'`.
    fn unicode_string(&mut self) -> Token<'a> {
        if !matches!(self.rest(), [_, b'&', b'\'', ..]) {
            return self.word();
        }
        let token = self.string(self.at + 2, 1, b'\'');
        Token { open: b'u', close: if token.close == b'\'' { b'u' } else { token.close }, ..token }
    }

    /// `q'[text]'`, behind `skip` more letters.
    fn oracle_string(&mut self, skip: usize) -> Token<'a> {
        let (opening, contents) = match self.rest().get(skip..) {
            Some([b'q' | b'Q', b'\'', opening @ 33..=127, contents @ ..]) => (*opening, contents),
            _ => return self.word(),
        };
        let closing = match opening {
            b'(' => b')',
            b'[' => b']',
            b'{' => b'}',
            b'<' => b'>',
            same => same,
        };
        let (text, close, length) = match memmem::find(contents, &[closing, b'\'']) {
            Some(end) => (&contents[..end], b'q', end + 2),
            None => (contents, 0, contents.len()),
        };
        self.at += skip + 3 + length;
        Token { open: b'q', close, ..Token::new(kind::STRING, text) }
    }

    fn tick(&mut self) -> Token<'a> {
        let token = self.string(self.at, 1, b'`');
        let is_function = self.tables.kind(token.value) == Some(kind::FUNCTION);
        Token { kind: if is_function { kind::FUNCTION } else { kind::BAREWORD }, ..token }
    }

    fn variable(&mut self) -> Token<'a> {
        self.at += 1;
        if self.peek(0) == b'@' {
            self.at += 1;
        }
        let token = match self.rest() {
            [b'`', ..] => self.tick(),
            [quote @ (b'\'' | b'"'), ..] => self.string(self.at, 1, *quote),
            rest => {
                let length = span(rest, |byte| !ENDS_VARIABLE[usize::from(byte)]);
                self.take(kind::VARIABLE, length)
            }
        };
        Token { kind: kind::VARIABLE, ..token }
    }

    /// An amount (`$1,000.00`), a string between dollars or between tags with dollars around them.
    fn money(&mut self) -> Token<'a> {
        let rest = self.rest();
        let digits = span(&rest[1..], is_of_amount);
        if digits == 1 && rest[1] == b'.' {
            return self.word();
        }
        if digits > 0 {
            return self.take(kind::NUMBER, 1 + digits);
        }
        let tag = span(&rest[1..], is_of_tag);
        if rest.get(1 + tag) != Some(&b'$') {
            return self.take(kind::BAREWORD, 1);
        }
        let (tag, contents) = rest.split_at(tag + 2);
        let (text, close, length) = match memmem::find(contents, tag) {
            Some(end) => (&contents[..end], b'$', end + tag.len()),
            None => (contents, 0, contents.len()),
        };
        self.at += tag.len() + length;
        Token { open: b'$', close, ..Token::new(kind::STRING, text) }
    }

    fn number(&mut self) -> Token<'a> {
        let rest = self.rest();
        if let [b'0', letter @ (b'x' | b'X' | b'b' | b'B'), digits @ ..] = rest {
            let length = span(digits, if letter.eq_ignore_ascii_case(&b'x') { is_hex_digit } else { is_bit });
            return self.take(if length == 0 { kind::BAREWORD } else { kind::NUMBER }, 2 + length);
        }
        let digits = |from: usize| span(&rest[from..], |byte| byte.is_ascii_digit());
        let mut length = digits(0);
        if rest.get(length) == Some(&b'.') {
            length += 1;
            length += digits(length);
            if length == 1 {
                return self.take(b'.', 1);
            }
        }
        let mut kind = kind::NUMBER;
        if let Some(b'e' | b'E') = rest.get(length) {
            length += 1;
            length += usize::from(matches!(rest.get(length), Some(b'+' | b'-')));
            let exponent = digits(length);
            length += exponent;
            if exponent == 0 {
                kind = kind::BAREWORD;
            }
        }
        // Oracle's suffixes, before the end, white space, a semicolon or UNION.
        if let Some(b'd' | b'D' | b'f' | b'F') = rest.get(length)
            && rest.get(length + 1).is_none_or(|&next| is_white(next) || matches!(next, b';' | b'u' | b'U'))
        {
            length += 1;
        }
        self.take(kind, length)
    }
}
