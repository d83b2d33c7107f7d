//! The lexer: hands out pieces of the text on demand, because what a piece may be depends on what stands before it: a quoted
//! string is read differently behind `matches`, and `1.2.3.4/8` is one piece where an address is wanted.

use std::net::IpAddr;

use crate::ast::{Literal, Span};
use crate::diagnostic::{Code, Diagnostic};
use crate::sets::{AddressError, AddressRange};

/// Where reading has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexer<'a> {
    pub text: &'a str,
    pub at: usize,
}

/// A string literal.
pub(crate) struct Text {
    pub bytes: Vec<u8>,
    pub span: Span,
}

/// Most `#` around a raw string (as documented).
const HASHES_MAX: usize = 255;

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    pub fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// The next byte that is no space.
    pub fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.rest().bytes().next()
    }

    /// Takes `sign` if it comes next.
    pub fn take(&mut self, sign: &str) -> bool {
        self.skip_space();
        let taken = self.rest().starts_with(sign);
        if taken {
            self.at += sign.len();
        }
        taken
    }

    /// The word that comes next, without taking it: letters, digits and `_`.
    pub fn peek_word(&mut self) -> &'a str {
        self.skip_space();
        let rest = self.rest();
        let end = rest.find(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_')).unwrap_or(rest.len());
        &rest[..end]
    }

    /// Takes `word` if it comes next as a whole word.
    pub fn take_word(&mut self, word: &str) -> bool {
        let taken = self.peek_word() == word;
        if taken {
            self.at += word.len();
        }
        taken
    }

    /// A dotted name, such as `http.host`.
    pub fn name(&mut self) -> Option<(&'a str, Span)> {
        self.skip_space();
        let rest = self.rest();
        let inside = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '.';
        let end = rest.find(|letter| !inside(letter)).unwrap_or(rest.len());
        let name = &rest[..end];
        if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
            return None;
        }
        let span = Span::new(self.at, self.at + end);
        self.at += end;
        Some((name, span))
    }

    /// The span of what comes next, for an error: a word or one character.
    pub fn next_span(&mut self) -> Span {
        self.skip_space();
        let rest = self.rest();
        let word = rest.find(|letter: char| !(letter.is_alphanumeric() || "_.-".contains(letter)));
        let len = match word.unwrap_or(rest.len()) {
            0 => rest.chars().next().map_or(0, char::len_utf8),
            len => len,
        };
        Span::new(self.at, self.at + len)
    }

    /// Whether a string literal comes next.
    pub fn at_string(&mut self) -> bool {
        self.skip_space();
        let rest = self.rest();
        rest.starts_with('"') || rest.starts_with("r\"") || rest.starts_with("r#")
    }

    /// A string literal with the basic escapes: `\"`, `\\`, `\xHH`, `\OOO`.
    pub fn string(&mut self) -> Result<Text, Diagnostic> {
        self.skip_space();
        if self.rest().starts_with('r') {
            return self.raw_string().map(|(text, span)| Text { bytes: text.as_bytes().to_vec(), span });
        }
        let start = self.at;
        self.open_quote()?;
        let mut bytes = Vec::new();
        loop {
            let at = self.at;
            match self.next_char() {
                None => return Err(unterminated(start)),
                Some('"') => return Ok(Text { bytes, span: Span::new(start, self.at) }),
                Some('\\') => bytes.push(self.escape(at, start)?),
                Some(letter) => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    /// A string literal behind `matches`: backslashes belong to the regular expression, but for `\"`; a quote inside of
    /// `[...]` does not end it.
    pub fn regex_string(&mut self) -> Result<(String, Span), Diagnostic> {
        self.skip_space();
        if self.rest().starts_with('r') {
            return self.raw_string().map(|(text, span)| (text.to_owned(), span));
        }
        let start = self.at;
        self.open_quote()?;
        let (mut pattern, mut in_class) = (String::new(), false);
        loop {
            match self.next_char() {
                None => return Err(unterminated(start)),
                Some('\\') => {
                    let letter = self.next_char().ok_or_else(|| unterminated(start))?;
                    if in_class || letter != '"' {
                        pattern.push('\\');
                    }
                    pattern.push(letter);
                }
                Some('"') if !in_class => return Ok((pattern, Span::new(start, self.at))),
                Some(letter) => {
                    in_class = if in_class { letter != ']' } else { letter == '[' };
                    pattern.push(letter);
                }
            }
        }
    }

    fn open_quote(&mut self) -> Result<(), Diagnostic> {
        if self.rest().starts_with('"') {
            self.at += 1;
            return Ok(());
        }
        let span = self.next_span();
        Err(Diagnostic::new(Code::Unexpected, span, "expected a string").help("strings stand in quotes: \"text\""))
    }

    fn next_char(&mut self) -> Option<char> {
        let letter = self.rest().chars().next()?;
        self.at += letter.len_utf8();
        Some(letter)
    }

    /// What follows a backslash at `at`.
    fn escape(&mut self, at: usize, start: usize) -> Result<u8, Diagnostic> {
        let (digits, radix) = match self.next_char().ok_or_else(|| unterminated(start))? {
            '"' => return Ok(b'"'),
            '\\' => return Ok(b'\\'),
            'x' => (self.rest().get(..2), 16),
            '0'..='7' => (self.text.get(self.at - 1..self.at + 2), 8),
            _ => return Err(bad_escape(at, self.at)),
        };
        let plain = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let byte = plain.and_then(|digits| u8::from_str_radix(digits, radix).ok());
        self.at += 2;
        byte.ok_or_else(|| bad_escape(at, at + 2))
    }

    fn raw_string(&mut self) -> Result<(&'a str, Span), Diagnostic> {
        let start = self.at;
        let inner = &self.rest()[1..];
        let hashes = inner.len() - inner.trim_start_matches('#').len();
        let open = start + 1 + hashes + 1;
        if hashes > HASHES_MAX || !inner[hashes..].starts_with('"') {
            let message = format!("a raw string begins with `r`, at most {HASHES_MAX} `#`, and a quote");
            return Err(Diagnostic::new(Code::BadString, start..start + 1, message));
        }
        let close = format!("\"{}", "#".repeat(hashes));
        let len = self.text[open..].find(&close).ok_or_else(|| unterminated(start))?;
        self.at = open + len + close.len();
        Ok((&self.text[open..open + len], Span::new(start, self.at)))
    }

    /// A number: decimal, `0x` hexadecimal, or octal with a leading 0.
    pub fn number(&mut self) -> Result<(i64, Span), Diagnostic> {
        self.skip_space();
        let start = self.at;
        let rest = self.rest();
        let (negative, digits) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        let end = digits.find(|letter: char| !letter.is_ascii_alphanumeric()).unwrap_or(digits.len());
        let digits = &digits[..end];
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(Diagnostic::new(Code::Unexpected, self.next_span(), "expected a number"));
        }
        self.at += usize::from(negative) + end;
        let span = Span::new(start, self.at);
        let (digits, radix) = match (digits.strip_prefix("0x"), digits) {
            (Some(hex), _) => (hex, 16),
            (None, octal) if octal.len() > 1 && octal.starts_with('0') => (octal, 8),
            (None, decimal) => (decimal, 10),
        };
        let number = i128::from_str_radix(digits, radix).ok();
        let number = number.and_then(|number| i64::try_from(if negative { -number } else { number }).ok());
        number.map(|number| (number, span)).ok_or_else(|| {
            let message = if radix == 8 { "this is no octal number" } else { "this is no number of 64 bits" };
            let help = "a leading 0 means octal, 0x hexadecimal";
            Diagnostic::new(Code::BadNumber, span, message).help(help)
        })
    }

    /// The letters of an address, a network or a range of addresses.
    pub fn address_text(&mut self) -> Result<(&'a str, Span), Diagnostic> {
        self.skip_space();
        let rest = self.rest();
        let inside = |letter: char| letter.is_ascii_hexdigit() || matches!(letter, ':' | '.' | '/');
        let end = rest.find(|letter| !inside(letter)).unwrap_or(rest.len());
        if end == 0 {
            let message = if self.at_string() { "an address stands without quotes" } else { "expected an IP address" };
            return Err(Diagnostic::new(Code::Unexpected, self.next_span(), message));
        }
        let span = Span::new(self.at, self.at + end);
        self.at += end;
        Ok((&rest[..end], span))
    }

    /// One address.
    pub fn address(&mut self) -> Result<(IpAddr, Span), Diagnostic> {
        let (text, span) = self.address_text()?;
        let address = text.parse::<IpAddr>().map_err(|_| {
            let range = text.parse::<AddressRange>().is_ok();
            let help = range.then(|| format!("for a range of addresses, write `in {{{text}}}`"));
            Diagnostic { help, ..Diagnostic::new(Code::BadAddress, span, "this is no IP address") }
        })?;
        Ok((address.to_canonical(), span))
    }

    /// An address, a network or a range of addresses.
    pub fn address_range(&mut self) -> Result<AddressRange, Diagnostic> {
        let (text, span) = self.address_text()?;
        text.parse().map_err(|error: AddressError| {
            let code = if error == AddressError::Order { Code::BadRange } else { Code::BadAddress };
            let diagnostic = Diagnostic::new(code, span, error.to_string());
            match error {
                AddressError::HostBits => diagnostic.help("write the network's first address before the slash"),
                _ => diagnostic,
            }
        })
    }

    /// A literal argument: a number or an address.
    pub fn number_or_address(&mut self) -> Result<(Literal, Span), Diagnostic> {
        let mut ahead = *self;
        if let Ok((text, _)) = ahead.address_text()
            && let Ok(address) = text.parse::<IpAddr>()
        {
            let start = self.at;
            *self = ahead;
            return Ok((Literal::Ip(address.to_canonical()), Span::new(start, self.at)));
        }
        self.number().map(|(number, span)| (Literal::Int(number), span))
    }
}

fn unterminated(start: usize) -> Diagnostic {
    Diagnostic::new(Code::BadString, start..start + 1, "this string does not end")
}

fn bad_escape(start: usize, end: usize) -> Diagnostic {
    Diagnostic::new(Code::BadString, start..end, "there is no such escape")
        .help("escapes are `\\\"`, `\\\\`, `\\xHH` and `\\OOO`; raw strings r\"...\" have none")
}
