//! Operators that compare text or numbers.

use memchr::memmem;

/// How text is compared. All are sensitive to case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    BeginsWith,
    Contains,
    ContainsWord,
    EndsWith,
    Equals,
    Within,
}

impl Text {
    pub(super) fn matches(self, argument: &[u8], value: &[u8]) -> bool {
        match self {
            Self::BeginsWith => value.starts_with(argument),
            Self::Contains => memmem::find(value, argument).is_some(),
            Self::ContainsWord => contains_word(argument, value),
            Self::EndsWith => value.ends_with(argument),
            Self::Equals => value == argument,
            Self::Within => memmem::find(argument, value).is_some(),
        }
    }
}

/// Whether `word` is in `value` with no ASCII letter beside it.
fn contains_word(word: &[u8], value: &[u8]) -> bool {
    if word.is_empty() {
        return true;
    }
    let is_boundary = |byte: Option<&u8>| byte.is_none_or(|byte| !byte.is_ascii_alphabetic());
    let mut from = 0;
    while let Some(at) = memmem::find(&value[from..], word) {
        let (start, end) = (from + at, from + at + word.len());
        if is_boundary(start.checked_sub(1).and_then(|before| value.get(before))) && is_boundary(value.get(end)) {
            return true;
        }
        from = start + 1;
    }
    false
}

/// How numbers are compared: the value's with the argument's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
}

/// A number as this comparison reads it.
pub(super) type Number = i64;

impl Comparison {
    pub(super) fn matches(self, argument: &[u8], value: &[u8]) -> bool {
        self.holds(value, self.read(argument))
    }

    pub(super) fn holds(self, value: &[u8], argument: Number) -> bool {
        let value = self.read(value);
        match self {
            Self::Eq => value == argument,
            Self::Ge => value >= argument,
            Self::Gt => value > argument,
            Self::Le => value <= argument,
            Self::Lt => value < argument,
        }
    }

    /// What is not a number is 0. `eq` takes what does not fit 32 bits for no number, as libmodsecurity does; the others saturate.
    pub(super) fn read(self, text: &[u8]) -> Number {
        let number = leading_number(text);
        if self == Self::Eq && i32::try_from(number).is_err() { 0 } else { number }
    }
}

/// The number at the beginning of `text`, after white space and a sign, saturating; 0 where there is none.
fn leading_number(text: &[u8]) -> i64 {
    let start = text.iter().position(|&byte| !crate::transform::is_space(byte)).unwrap_or(text.len());
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    digits.iter().take_while(|byte| byte.is_ascii_digit()).fold(0i64, |number, byte| {
        let digit = i64::from(byte - b'0');
        let number = number.saturating_mul(10);
        if negative { number.saturating_sub(digit) } else { number.saturating_add(digit) }
    })
}
