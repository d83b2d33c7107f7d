//! From tokens to the few that make a fingerprint.

use super::TOKENS_MAX;
use super::scan::Scanner;
use super::words::{VALUE_MAX, kind};

/// A token. Its value is not longer than [`VALUE_MAX`] bytes: what is behind them decides nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Token<'a> {
    pub(super) kind: u8,
    pub(super) value: &'a [u8],
    /// What opened a string: 0 where that is outside of the value.
    pub(super) open: u8,
    /// What closed a string: 0 where nothing did.
    pub(super) close: u8,
}

impl<'a> Token<'a> {
    #[inline]
    pub(super) fn new(kind: u8, value: &'a [u8]) -> Self {
        Self { kind, value: &value[..value.len().min(VALUE_MAX)], open: 0, close: 0 }
    }

    fn is_word(&self, word: &[u8]) -> bool {
        self.value.eq_ignore_ascii_case(word)
    }

    /// Whether it is an operator that may stand before what it applies to.
    #[inline]
    fn is_unary(&self) -> bool {
        self.kind == kind::OPERATOR
            && match *self.value {
                [byte] => matches!(byte, b'+' | b'-' | b'!' | b'~'),
                [b'!', b'!'] => true,
                [_, _, _] => self.is_word(b"NOT"),
                _ => false,
            }
    }

    fn is_arithmetic(&self) -> bool {
        self.kind == kind::OPERATOR && matches!(self.value, [b'*' | b'/' | b'-' | b'+' | b'%'])
    }

    /// Whether it is an empty name behind a backtick that nothing closes.
    pub(super) fn is_open_tick(&self) -> bool {
        self.kind == kind::BAREWORD && self.open == b'`' && self.close == 0 && self.value.is_empty()
    }
}

/// What became of the tokens that were looked at.
enum Outcome {
    /// They changed: look again.
    Again,
    /// They stay.
    Stay,
    /// Nothing more needs to be known.
    Evil(usize),
}

/// Reads tokens and folds them, until five are left or the value ends.
pub(super) struct Folder<'a> {
    pub(super) scanner: Scanner<'a>,
    pub(super) tokens: [Token<'a>; TOKENS_MAX + 3],
    /// How many tokens there are.
    length: usize,
    /// How many of them are done.
    left: usize,
    has_more: bool,
    last_comment: Option<Token<'a>>,
}

impl<'a> Folder<'a> {
    pub(super) fn new(scanner: Scanner<'a>) -> Self {
        Self {
            scanner,
            tokens: [Token::default(); TOKENS_MAX + 3],
            length: 0,
            left: 0,
            has_more: true,
            last_comment: None,
        }
    }

    /// Folds all tokens, and tells how many are left.
    pub(super) fn fold(&mut self) -> usize {
        // Comments, parentheses, types and unary operators at the beginning mean nothing.
        loop {
            let Some(token) = self.scanner.next() else { return 0 };
            if !(matches!(token.kind, kind::COMMENT | b'(' | kind::SQL_TYPE) || token.is_unary()) {
                self.tokens[0] = token;
                self.length = 1;
                break;
            }
        }
        loop {
            if self.length >= TOKENS_MAX && self.is_arithmetic_list() {
                if self.length > TOKENS_MAX {
                    self.tokens[1] = self.tokens[TOKENS_MAX];
                }
                self.length = if self.length > TOKENS_MAX { 2 } else { 1 };
                self.left = 0;
            }
            if !self.has_more || self.left >= TOKENS_MAX {
                break;
            }
            if !self.read_to(2) {
                self.left = self.length;
                continue;
            }
            match self.fold_two() {
                Outcome::Again => continue,
                Outcome::Evil(length) => return length,
                Outcome::Stay => {}
            }
            if !self.read_to(3) {
                self.left = self.length;
                continue;
            }
            if let Outcome::Stay = self.fold_three() {
                self.left += 1;
            }
        }
        if self.length < TOKENS_MAX
            && let Some(comment) = self.last_comment
        {
            self.tokens[self.length] = comment;
            self.length += 1;
        }
        self.length.min(TOKENS_MAX)
    }

    /// Reads on until there are `count` tokens to look at, and tells whether there are.
    fn read_to(&mut self, count: usize) -> bool {
        while self.has_more && self.length <= TOKENS_MAX && self.length - self.left < count {
            match self.scanner.next() {
                None => self.has_more = false,
                Some(token) if token.kind == kind::COMMENT => self.last_comment = Some(token),
                Some(token) => {
                    self.last_comment = None;
                    self.tokens[self.length] = token;
                    self.length += 1;
                }
            }
        }
        self.length - self.left >= count
    }

    /// Whether the first five tokens are such a list of numbers or names as plain text has.
    fn is_arithmetic_list(&self) -> bool {
        let kinds: [u8; TOKENS_MAX] = std::array::from_fn(|at| self.tokens[at].kind);
        matches!(
            &kinds,
            [b'1', b'o' | b',', b'(', b'1', b')']
                | [b'n', b'o', b'(', b'n' | b'1', b')']
                | [b'1', b')', b',', b'(', b'1']
                | [b'n', b')', b'o', b'(', b'n']
        )
    }

    /// Drops the last `count` tokens, and looks again from the beginning.
    fn drop(&mut self, count: usize) -> Outcome {
        self.length -= count;
        self.left = 0;
        Outcome::Again
    }

    /// Drops the last token, and looks again from the token before.
    fn merge(&mut self) -> Outcome {
        self.length -= 1;
        self.left = self.left.saturating_sub(1);
        Outcome::Again
    }

    fn fold_two(&mut self) -> Outcome {
        let (first, second) = (self.tokens[self.left], self.tokens[self.left + 1]);
        match (first.kind, second.kind) {
            (kind::STRING, kind::STRING) | (b';', b';') => {
                self.length -= 1;
                return Outcome::Again;
            }
            (kind::OPERATOR | kind::LOGIC, _) if second.kind == kind::SQL_TYPE || second.is_unary() => {
                return self.drop(1);
            }
            (b'(', _) if second.is_unary() => return self.merge(),
            _ => {}
        }
        if let Some(phrase) = self.phrase(&first, &second) {
            self.tokens[self.left] = phrase;
            return self.merge();
        }
        self.fold_by_kind(first, second)
    }

    /// The two words as one, if they are one: UNION ALL, IS NOT.
    fn phrase(&self, first: &Token<'a>, second: &Token<'a>) -> Option<Token<'a>> {
        const fn is_word(kind: u8) -> bool {
            matches!(
                kind,
                kind::KEYWORD
                    | kind::BAREWORD
                    | kind::OPERATOR
                    | kind::UNION
                    | kind::FUNCTION
                    | kind::EXPRESSION
                    | kind::TSQL
                    | kind::SQL_TYPE
            )
        }
        if !is_word(first.kind) || !(is_word(second.kind) || second.kind == kind::LOGIC) {
            return None;
        }
        let (kind, phrase) = self.scanner.tables().phrase(first.value, second.value)?;
        Some(Token { kind, value: phrase, ..*first })
    }

    fn fold_by_kind(&mut self, first: Token<'a>, second: Token<'a>) -> Outcome {
        let left = self.left;
        let kind = &mut self.tokens[left].kind;
        match (first.kind, second.kind) {
            (b';', kind::FUNCTION) if second.value.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"IF")) => {
                self.tokens[left + 1].kind = kind::TSQL;
                Outcome::Again
            }
            (kind::BAREWORD | kind::VARIABLE, b'(') if is_function_name(&first) => {
                *kind = kind::FUNCTION;
                Outcome::Again
            }
            (kind::KEYWORD, _) if first.is_word(b"IN") || first.is_word(b"NOT IN") => {
                *kind = if second.kind == b'(' { kind::OPERATOR } else { kind::BAREWORD };
                Outcome::Again
            }
            (kind::OPERATOR, _) if first.is_word(b"LIKE") || first.is_word(b"NOT LIKE") => {
                if second.kind == b'(' {
                    *kind = kind::FUNCTION;
                }
                Outcome::Stay
            }
            (
                kind::SQL_TYPE,
                kind::BAREWORD | kind::NUMBER | kind::SQL_TYPE | b'(' | kind::FUNCTION | kind::VARIABLE | kind::STRING,
            ) => {
                self.tokens[left] = second;
                self.drop(1)
            }
            (kind::COLLATE, kind::BAREWORD) => {
                if second.value.contains(&b'_') {
                    self.tokens[left + 1].kind = kind::SQL_TYPE;
                    self.left = 0;
                }
                Outcome::Stay
            }
            (b'\\', _) if second.is_arithmetic() => {
                // `\%1` is `0 % 1` to SQL Server.
                *kind = kind::NUMBER;
                self.drop(0)
            }
            (b'\\', _) => {
                self.tokens[left] = second;
                self.drop(1)
            }
            (b'(', b'(') | (b')', b')') => self.drop(1),
            (b'{', kind::BAREWORD) if second.value.is_empty() => {
                self.tokens[left + 1].kind = kind::EVIL;
                Outcome::Evil(left + 2)
            }
            // {name expression} is the expression.
            (b'{', kind::BAREWORD) => self.drop(2),
            (_, b'}') => self.drop(1),
            _ => Outcome::Stay,
        }
    }

    fn fold_three(&mut self) -> Outcome {
        let left = self.left;
        let [first, second, third] = [self.tokens[left], self.tokens[left + 1], self.tokens[left + 2]];
        let third_moves_up = |folder: &mut Self| folder.tokens[left + 1] = third;
        match (first.kind, second.kind, third.kind) {
            (b'1', b'o', b'1') | (b'&', _, b'&') => self.drop(2),
            (b'o', _, b'o') if second.kind != b'(' => self.drop(2),
            (b'v', b'o', b'v' | b'1' | b'n') | (b'n' | b'1', b'o', b'1' | b'n') => self.drop(2),
            (b'n' | b'1' | b'v' | b's', b'o', b't') if second.value == b"::" => self.drop(2),
            (b'n' | b'1' | b's' | b'v', b',', b'1' | b'n' | b's' | b'v') => self.drop(2),
            (b'E' | b'B' | b',', b'o', b'(') | (b'k' | b'E' | b'B', b'o', b'1' | b'n' | b'v' | b's' | b'f')
                if second.is_unary() =>
            {
                third_moves_up(self);
                self.drop(1)
            }
            // `1,-1` becomes `1,1`, of which the comma may be folded with what is before it.
            (b',', b'o', b'1' | b'n' | b'v' | b's') if second.is_unary() => {
                third_moves_up(self);
                self.drop(3)
            }
            (b',', b'o', b'f') if second.is_unary() => {
                third_moves_up(self);
                self.drop(1)
            }
            (b'n', b'.', b'n') => self.drop(2),
            (b'E', b'.', b'n') => {
                third_moves_up(self);
                self.drop(1)
            }
            (b'f', b'(', _) if third.kind != b')' && first.is_word(b"USER") => {
                // With an argument it is no function.
                self.tokens[left].kind = kind::BAREWORD;
                Outcome::Stay
            }
            _ => Outcome::Stay,
        }
    }
}

/// Names that are functions only where a parenthesis follows.
fn is_function_name(token: &Token<'_>) -> bool {
    const NAMES: [&[u8]; 11] = [
        b"USER_ID",
        b"USER_NAME",
        b"DATABASE",
        b"PASSWORD",
        b"USER",
        b"CURRENT_USER",
        b"CURRENT_DATE",
        b"CURRENT_TIME",
        b"CURRENT_TIMESTAMP",
        b"LOCALTIME",
        b"LOCALTIMESTAMP",
    ];
    NAMES.iter().any(|name| token.is_word(name))
}
