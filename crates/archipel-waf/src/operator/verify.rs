//! Operators that verify the check digits of what an expression finds.

use super::rx::Rx;
use super::{Captures, LimitExceeded};

/// A kind of number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    /// A payment card (Luhn's check digit, ISO/IEC 7812-1 annex B).
    Card,
    /// Cadastro de Pessoas Físicas: two check digits modulo 11.
    Cpf,
    /// A US social security number: nine digits, no part of zeros, an area that was given out.
    Ssn,
    /// An Austrian Sozialversicherungsnummer: the fourth of ten digits checks the others modulo 11.
    Svnr,
}

/// Whether anything that `rx` finds is such a number. The search goes on at the byte after the beginning of what was found.
pub(super) fn matches(
    number: Number,
    rx: &Rx,
    value: &[u8],
    captures: Option<&mut Captures>,
) -> Result<bool, LimitExceeded> {
    let mut from = 0;
    while from < value.len() {
        let Some(range) = rx.find_at(value, from)? else { return Ok(false) };
        if number.is_valid(&value[range.clone()]) {
            if let Some(captures) = captures {
                captures.set(0, range);
            }
            return Ok(true);
        }
        from = range.start + 1;
    }
    Ok(false)
}

impl Number {
    fn is_valid(self, text: &[u8]) -> bool {
        let digits: Vec<u8> = text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
        match self {
            Self::Card => is_card(&digits),
            Self::Cpf => is_cpf(&digits),
            Self::Ssn => is_ssn(&digits),
            Self::Svnr => is_svnr(&digits),
        }
    }
}

fn is_card(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match (place % 2, u32::from(digit) * 2) {
            (0, _) => u32::from(digit),
            (_, doubled @ 10..) => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    !digits.is_empty() && sum.is_multiple_of(10)
}

/// Whether all digits are the same, or each is one more than the one before.
fn is_made_up(digits: &[u8]) -> bool {
    let step = |by: u8| digits.windows(2).all(|pair| pair[1] == (pair[0] + by) % 10);
    step(0) || (step(1) && digits[0] <= 1)
}

fn is_cpf(digits: &[u8]) -> bool {
    let Some(digits) = digits.get(..11) else { return false };
    let check = |count: usize| {
        let sum: u32 = (2..).zip(digits[..count].iter().rev()).map(|(weight, &digit)| weight * u32::from(digit)).sum();
        match sum % 11 {
            0 | 1 => 0,
            rest => 11 - rest,
        }
    };
    !is_made_up(digits) && check(9) == u32::from(digits[9]) && check(10) == u32::from(digits[10])
}

fn is_ssn(digits: &[u8]) -> bool {
    if digits.len() != 9 {
        return false;
    }
    let steps = |by: u8| digits.windows(2).all(|pair| pair[1] == pair[0] + by);
    let number = |part: &[u8]| part.iter().fold(0u32, |number, &digit| number * 10 + u32::from(digit));
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    !steps(0) && !steps(1) && area != 0 && group != 0 && serial != 0 && area < 740 && area != 666
}

fn is_svnr(digits: &[u8]) -> bool {
    const WEIGHTS: [u32; 10] = [3, 7, 9, 0, 5, 8, 4, 2, 1, 6];
    let Some(digits) = digits.get(..10) else { return false };
    let sum: u32 = WEIGHTS.iter().zip(digits).map(|(weight, &digit)| weight * u32::from(digit)).sum();
    !is_made_up(digits) && sum % 11 % 10 == u32::from(digits[3])
}
