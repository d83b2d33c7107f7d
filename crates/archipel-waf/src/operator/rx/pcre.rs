//! PCRE's syntax, as the syntax of the `regex` crates: see pcre2pattern(3).
//!
//! Patterns and values are bytes here: what is not ASCII is a sequence of bytes, and each of its bytes stands for itself, in a class
//! too.

use std::fmt::Write as _;

/// A pattern in the syntax of the `regex` crates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Translated {
    /// The pattern, or, where `exact` is there, one that matches wherever that does.
    pub(super) relaxed: String,
    /// The pattern with what only `fancy-regex` understands: look-around, atomic groups, possessive quantifiers, back-references.
    pub(super) exact: Option<String>,
}

/// What is wrong with a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{message} at byte {at} of the pattern")]
pub(super) struct Problem {
    message: &'static str,
    at: usize,
}

/// How deep groups may be nested.
pub(super) const RX_DEPTH_MAX: usize = 200;

/// Translates `pattern`.
pub(super) fn translate(pattern: &[u8]) -> Result<Translated, Problem> {
    let mut translator = Translator {
        pattern,
        at: 0,
        relaxed: String::with_capacity(pattern.len() + 16),
        exact: String::with_capacity(pattern.len() + 16),
        is_fancy: false,
        groups: Vec::new(),
        is_extended: false,
        hidden: 0,
        captured: 0,
    };
    while translator.at < pattern.len() {
        translator.item()?;
    }
    if !translator.groups.is_empty() {
        return translator.problem("a group is not closed");
    }
    Ok(Translated { relaxed: translator.relaxed, exact: translator.is_fancy.then_some(translator.exact) })
}

struct Translator<'a> {
    pattern: &'a [u8],
    at: usize,
    relaxed: String,
    exact: String,
    is_fancy: bool,
    groups: Vec<Group>,
    /// Whether the flag `x` is set.
    is_extended: bool,
    /// How many of the open groups are look-around, whose contents the relaxed pattern does not have.
    hidden: usize,
    /// How many capturing groups were opened.
    captured: usize,
}

struct Group {
    was_extended: bool,
    is_look_around: bool,
}

impl Translator<'_> {
    fn problem<T>(&self, message: &'static str) -> Result<T, Problem> {
        Err(Problem { message, at: self.at })
    }

    fn rest(&self) -> &[u8] {
        &self.pattern[self.at..]
    }

    fn emit(&mut self, text: &str) {
        self.emit_both(text, text);
    }

    fn emit_both(&mut self, relaxed: &str, exact: &str) {
        if self.hidden == 0 {
            self.relaxed.push_str(relaxed);
        }
        self.exact.push_str(exact);
    }

    /// A byte that stands for itself, inside a class or out of it.
    fn emit_byte(&mut self, byte: u8) {
        let mut text = String::with_capacity(4);
        if byte.is_ascii_alphanumeric() {
            text.push(char::from(byte));
        } else {
            // A string takes what it is given.
            let _ = write!(text, "\\x{byte:02X}");
        }
        self.emit(&text);
    }

    fn item(&mut self) -> Result<(), Problem> {
        let byte = self.pattern[self.at];
        match byte {
            b'\\' => self.escape()?,
            b'[' => self.class()?,
            b'(' => return self.open_group(),
            b')' => {
                let Some(group) = self.groups.pop() else { return self.problem("a parenthesis is not opened") };
                self.is_extended = group.was_extended;
                self.at += 1;
                if group.is_look_around {
                    self.exact.push(')');
                    self.hidden -= 1;
                } else {
                    self.emit(")");
                }
            }
            b'.' | b'^' | b'$' => {
                self.at += 1;
                self.emit(char::from(byte).encode_utf8(&mut [0; 4]));
            }
            b'|' => {
                self.at += 1;
                self.emit("|");
                return Ok(());
            }
            b' ' | b'\t'..=b'\r' if self.is_extended => {
                self.at += 1;
                return Ok(());
            }
            b'#' if self.is_extended => {
                self.at += self.rest().iter().position(|&byte| byte == b'\n').unwrap_or(self.rest().len());
                return Ok(());
            }
            b'*' | b'+' | b'?' => return self.problem("nothing to repeat"),
            _ => {
                self.at += 1;
                self.emit_byte(byte);
            }
        }
        self.quantifiers()
    }

    /// What follows an item: nothing, or a quantifier, perhaps lazy or possessive, perhaps several.
    fn quantifiers(&mut self) -> Result<(), Problem> {
        loop {
            if self.is_extended {
                self.at += self.rest().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            }
            let length = match self.rest() {
                [b'*' | b'+' | b'?', ..] => 1,
                [b'{', rest @ ..] => match counted(rest) {
                    Some(length) => 1 + length,
                    None => return Ok(()),
                },
                _ => return Ok(()),
            };
            let quantifier = String::from_utf8_lossy(&self.rest()[..length]).into_owned();
            self.at += length;
            match self.rest().first() {
                Some(b'?') => {
                    self.at += 1;
                    self.emit(&(quantifier + "?"));
                }
                Some(b'+') => {
                    self.at += 1;
                    self.is_fancy = true;
                    self.emit_both(&quantifier, &format!("{quantifier}+"));
                }
                _ => self.emit(&quantifier),
            }
            if matches!(self.rest(), [b'*' | b'+' | b'?', ..]) {
                return self.problem("nothing to repeat");
            }
        }
    }

    fn open_group(&mut self) -> Result<(), Problem> {
        if self.groups.len() >= RX_DEPTH_MAX {
            return self.problem("groups are nested too deep");
        }
        let was_extended = self.is_extended;
        let rest = self.rest();
        let (length, relaxed, exact): (usize, &str, &str) = match rest {
            [b'(', b'?', b'#', ..] => {
                let Some(end) = rest.iter().position(|&byte| byte == b')') else {
                    return self.problem("a comment is not closed");
                };
                self.at += end + 1;
                return Ok(());
            }
            [b'(', b'*', ..] => return self.problem("verbs are not supported"),
            [b'(', b'?', b':', ..] => (3, "(?:", "(?:"),
            [b'(', b'?', b'>', ..] => (3, "(?:", "(?>"),
            [b'(', b'?', b'=', ..] => (3, "", "(?="),
            [b'(', b'?', b'!', ..] => (3, "", "(?!"),
            [b'(', b'?', b'<', b'=', ..] => (4, "", "(?<="),
            [b'(', b'?', b'<', b'!', ..] => (4, "", "(?<!"),
            [b'(', b'?', b'P', b'<', ..] => return self.open_named(4, b'>'),
            [b'(', b'?', b'<', ..] => return self.open_named(3, b'>'),
            [b'(', b'?', b'\'', ..] => return self.open_named(3, b'\''),
            [b'(', b'?', ..] => return self.open_flags(),
            _ => {
                self.captured += 1;
                (1, "(", "(")
            }
        };
        self.is_fancy |= relaxed != exact;
        self.at += length;
        let is_look_around = relaxed.is_empty();
        self.emit_both(if is_look_around { "(?:)" } else { relaxed }, exact);
        self.hidden += usize::from(is_look_around);
        self.groups.push(Group { was_extended, is_look_around });
        Ok(())
    }

    /// A named group, which is a numbered one here: nothing can ask for its name.
    fn open_named(&mut self, prefix: usize, end: u8) -> Result<(), Problem> {
        let Some(length) = self.rest()[prefix..].iter().position(|&byte| byte == end) else {
            return self.problem("the name of a group is not closed");
        };
        self.at += prefix + length + 1;
        self.captured += 1;
        self.emit("(");
        self.groups.push(Group { was_extended: self.is_extended, is_look_around: false });
        Ok(())
    }

    /// `(?flags)` or `(?flags:`.
    fn open_flags(&mut self) -> Result<(), Problem> {
        let was_extended = self.is_extended;
        let mut flags = String::from("(?");
        let mut is_set = true;
        let mut at = self.at + 2;
        let end = loop {
            match self.pattern.get(at) {
                Some(b'-') => {
                    is_set = false;
                    flags.push('-');
                }
                Some(b'x') => self.is_extended = is_set,
                Some(&flag @ (b'i' | b'm' | b's' | b'U')) => flags.push(char::from(flag)),
                Some(b'J') => {}
                Some(&end @ (b')' | b':')) => break end,
                _ => return self.problem("this kind of group is not supported"),
            }
            at += 1;
        };
        self.at = at + 1;
        let flags = flags.trim_end_matches('-').to_owned();
        if end == b':' {
            self.groups.push(Group { was_extended, is_look_around: false });
            self.emit(&(flags + ":"));
        } else if flags.len() > 2 {
            self.emit(&(flags + ")"));
        }
        Ok(())
    }

    /// What follows a backslash, outside of a class.
    fn escape(&mut self) -> Result<(), Problem> {
        let Some(&letter) = self.pattern.get(self.at + 1) else {
            return self.problem("a backslash ends the pattern");
        };
        if letter == b'Q' {
            return self.quoted();
        }
        let text = match letter {
            b'd' | b'D' | b's' | b'S' | b'w' | b'W' | b'b' | b'B' | b'A' | b'z' => {
                format!("\\{}", char::from(letter))
            }
            b'Z' => "(?:\\n?\\z)".to_owned(),
            b'h' => "[\\t\\x20\\xA0]".to_owned(),
            b'H' => "[^\\t\\x20\\xA0]".to_owned(),
            b'v' => "[\\n-\\r\\x85]".to_owned(),
            b'V' => "[^\\n-\\r\\x85]".to_owned(),
            b'N' => "[^\\n]".to_owned(),
            b'R' => "(?:\\r\\n|[\\n-\\r\\x85])".to_owned(),
            b'C' => "(?s:.)".to_owned(),
            b'E' => String::new(),
            b'1'..=b'9' => return self.digits(),
            b'g' | b'k' | b'K' | b'G' | b'p' | b'P' | b'X' => return self.problem("this escape is not supported"),
            _ => {
                let byte = self.escaped_byte(false)?;
                self.emit_byte(byte);
                return Ok(());
            }
        };
        self.at += 2;
        self.emit(&text);
        Ok(())
    }

    /// `\1` to `\9`. The relaxed pattern takes them for anything. A larger number is octal, unless there are as many groups.
    fn digits(&mut self) -> Result<(), Problem> {
        let length = self.pattern[self.at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let digits = &self.pattern[self.at + 1..self.at + 1 + length];
        let number = digits
            .iter()
            .fold(0usize, |number, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')));
        if number > 9 && number > self.captured && digits[0] < b'8' {
            let byte = self.escaped_byte(false)?;
            self.emit_byte(byte);
            return Ok(());
        }
        if number > 9 {
            return self.problem("back-references beyond the ninth group are not supported");
        }
        self.at += 2;
        self.is_fancy = true;
        self.emit_both("(?s:.*)", &format!("(?:\\{number})"));
        Ok(())
    }

    /// `\Q...\E`.
    fn quoted(&mut self) -> Result<(), Problem> {
        self.at += 2;
        while self.at < self.pattern.len() {
            if self.rest().starts_with(b"\\E") {
                self.at += 2;
                break;
            }
            self.emit_byte(self.pattern[self.at]);
            self.at += 1;
        }
        Ok(())
    }

    /// An escape that stands for one byte. `at` is at the backslash, and is behind the escape afterwards.
    fn escaped_byte(&mut self, in_class: bool) -> Result<u8, Problem> {
        let Some(&letter) = self.pattern.get(self.at + 1) else {
            return self.problem("a backslash ends the pattern");
        };
        self.at += 2;
        Ok(match letter {
            b'a' => 7,
            b'b' if in_class => 8,
            b'e' => 0x1b,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'c' => match self.rest().first() {
                Some(byte) if byte.is_ascii() => {
                    let control = byte.to_ascii_uppercase() ^ 0x40;
                    self.at += 1;
                    control
                }
                _ => return self.problem("\\c is not followed by an ASCII character"),
            },
            b'x' if self.rest().first() == Some(&b'{') => {
                let digits: Vec<u8> = self.rest()[1..].iter().copied().take_while(u8::is_ascii_hexdigit).collect();
                let value = std::str::from_utf8(&digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let is_closed = self.rest().get(1 + digits.len()) == Some(&b'}');
                let Some(byte) = value.filter(|_| is_closed).and_then(|value| u8::try_from(value).ok()) else {
                    return self.problem("\\x{} does not name a byte");
                };
                self.at += digits.len() + 2;
                byte
            }
            b'x' => {
                let length = self.rest().iter().take(2).take_while(|byte| byte.is_ascii_hexdigit()).count();
                self.number(length, 16)
            }
            b'0'..=b'7' => {
                self.at -= 1;
                let length = self.rest().iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
                self.number(length, 8)
            }
            b'o' | b'N' | b'u' | b'U' | b'L' | b'l' => return self.problem("this escape is not supported"),
            letter => letter,
        })
    }

    /// The lowest byte of the number that the next `length` digits say.
    fn number(&mut self, length: usize, radix: u32) -> u8 {
        let digits = &self.pattern[self.at..self.at + length];
        let value =
            digits.iter().fold(0, |value, &digit| value * radix + char::from(digit).to_digit(radix).unwrap_or(0));
        self.at += length;
        value as u8
    }

    /// A bracketed class.
    fn class(&mut self) -> Result<(), Problem> {
        let start = self.at;
        self.at += 1;
        self.emit("[");
        if self.rest().first() == Some(&b'^') {
            self.at += 1;
            self.emit("^");
        }
        let mut is_first = true;
        loop {
            match self.rest() {
                [] => {
                    self.at = start;
                    return self.problem("a class is not closed");
                }
                [b']', ..] if !is_first => break,
                _ => self.class_item()?,
            }
            is_first = false;
        }
        self.at += 1;
        self.emit("]");
        Ok(())
    }

    /// A byte, a range, a class of its own by a letter or by a name.
    fn class_item(&mut self) -> Result<(), Problem> {
        if let [b'[', mark @ (b':' | b'.' | b'='), rest @ ..] = self.rest()
            && let Some(length) = rest.windows(2).position(|pair| pair == [*mark, b']'])
            && rest[..length].iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'^')
        {
            if *mark != b':' {
                return self.problem("collating elements are not supported");
            }
            let name = String::from_utf8_lossy(&rest[..length]).into_owned();
            self.at += length + 4;
            self.emit(&format!("[:{name}:]"));
            return Ok(());
        }
        let Some(first) = self.class_byte()? else { return Ok(()) };
        if let [b'-', next, ..] = self.rest()
            && *next != b']'
        {
            self.at += 1;
            let before = self.exact.len();
            let before_relaxed = self.relaxed.len();
            self.emit_byte(first);
            return match self.class_byte()? {
                Some(last) if last < first => self.problem("a range in a class is out of order"),
                Some(last) => {
                    self.emit("-");
                    self.emit_byte(last);
                    Ok(())
                }
                None => {
                    // A class by a letter ends no range: the hyphen stands for itself.
                    debug_assert!(self.exact.len() > before && self.relaxed.len() >= before_relaxed);
                    self.emit_byte(b'-');
                    Ok(())
                }
            };
        }
        self.emit_byte(first);
        Ok(())
    }

    /// The next byte of a class, unless it is a class by a letter, which is written out.
    fn class_byte(&mut self) -> Result<Option<u8>, Problem> {
        let byte = self.pattern[self.at];
        if byte != b'\\' {
            self.at += 1;
            return Ok(Some(byte));
        }
        let text = match self.pattern.get(self.at + 1) {
            Some(&letter @ (b'd' | b'D' | b's' | b'S' | b'w' | b'W')) => format!("\\{}", char::from(letter)),
            Some(b'h') => "\\t\\x20\\xA0".to_owned(),
            Some(b'H') => "[^\\t\\x20\\xA0]".to_owned(),
            Some(b'v') => "\\n-\\r\\x85".to_owned(),
            Some(b'V') => "[^\\n-\\r\\x85]".to_owned(),
            Some(b'E' | b'Q') => String::new(),
            Some(b'p' | b'P' | b'X' | b'R') => return self.problem("this escape is not supported in a class"),
            _ => return self.escaped_byte(true).map(Some),
        };
        self.at += 2;
        self.emit(&text);
        Ok(None)
    }
}

/// The length of `n}`, `n,}` or `n,m}` at the beginning of `rest`. Anything else behind a brace stands for itself.
fn counted(rest: &[u8]) -> Option<usize> {
    let digits = |from: usize| rest[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let least = digits(0);
    let mut at = least;
    if rest.get(at) == Some(&b',') {
        at += 1;
        at += digits(at);
    }
    (least > 0 && rest.get(at) == Some(&b'}')).then_some(at + 1)
}
