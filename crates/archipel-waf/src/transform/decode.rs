//! Transformations that decode.

use super::{UnicodeMap, is_space};

/// The value of a hexadecimal digit as the C code computes it, which gives something for any byte.
fn digit(byte: u8) -> u8 {
    if byte >= b'A' { (byte & 0xdf).wrapping_sub(b'A').wrapping_add(10) } else { byte.wrapping_sub(b'0') }
}

/// The byte that two hexadecimal digits say.
fn pair(high: u8, low: u8) -> u8 {
    digit(high).wrapping_mul(16).wrapping_add(digit(low))
}

/// The fullwidth forms (FF01 to FF5E) are ASCII, 20 hexadecimal below.
fn fullwidth(low: u8, high: [u8; 2]) -> u8 {
    if low > 0 && low < 0x5f && high.eq_ignore_ascii_case(b"ff") { low + 0x20 } else { low }
}

/// Copies what is before the next `mark`, and tells where that is.
fn copy_to(mark: u8, input: &[u8], at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let rest = &input[at..];
    match memchr::memchr(mark, rest) {
        Some(next) => {
            out.extend_from_slice(&rest[..next]);
            Some(at + next)
        }
        None => {
            out.extend_from_slice(rest);
            None
        }
    }
}

/// The value of one to three octal digits at the beginning of `digits`, and how many there are.
fn octal(digits: &[u8]) -> (u16, usize) {
    let length = digits.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    (digits[..length].iter().fold(0, |value, byte| value * 8 + u16::from(byte - b'0')), length)
}

/// What the escapes that C and JavaScript share stand for.
fn control(letter: u8) -> Option<u8> {
    Some(match letter {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        _ => return None,
    })
}

/// `cssDecode`.
pub(super) fn css(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(next) = copy_to(b'\\', input, at, out) {
        let rest = &input[next + 1..];
        let length = rest.iter().take(6).take_while(|byte| byte.is_ascii_hexdigit()).count();
        at = next + 1;
        if length > 0 {
            let digits = &rest[..length];
            let is_wide = match length {
                4 => true,
                5 => digits[0] == b'0',
                6 => digits.starts_with(b"00"),
                _ => false,
            };
            let low = match *digits {
                [low] => digit(low),
                [.., high, low] => pair(high, low),
                [] => 0,
            };
            out.push(if is_wide { fullwidth(low, [digits[length - 4], digits[length - 3]]) } else { low });
            at += length + usize::from(rest.get(length).is_some_and(|&byte| is_space(byte)));
        } else if let Some(&byte) = rest.first() {
            if byte != b'\n' {
                out.push(byte);
            }
            at += 1;
        }
    }
}

/// `escapeSeqDecode`.
pub(super) fn escape_sequences(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(next) = copy_to(b'\\', input, at, out) {
        let rest = &input[next + 1..];
        let (byte, length) = match *rest {
            [] => (b'\\', 0),
            [b'x' | b'X', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => (pair(high, low), 3),
            [b'0'..=b'7', ..] => {
                let (value, length) = octal(rest);
                (value as u8, length)
            }
            // Quotes, the backslash and the question mark stand for themselves, as does all that is not an escape.
            [letter, ..] => (control(letter).unwrap_or(letter), 1),
        };
        out.push(byte);
        at = next + 1 + length;
    }
}

/// `jsDecode`.
pub(super) fn javascript(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(next) = copy_to(b'\\', input, at, out) {
        let rest = &input[next + 1..];
        let are_hex = |from: usize, to: usize| rest.len() >= to && rest[from..to].iter().all(u8::is_ascii_hexdigit);
        let (byte, length) = match *rest {
            [] => (b'\\', 0),
            [b'u', ..] if are_hex(1, 5) => (fullwidth(pair(rest[3], rest[4]), [rest[1], rest[2]]), 5),
            [b'x', ..] if are_hex(1, 3) => (pair(rest[1], rest[2]), 3),
            [b'0'..=b'7', ..] => match octal(rest) {
                (value, length @ 3) if value > 0xff => ((value >> 3) as u8, length - 1),
                (value, length) => (value as u8, length),
            },
            [letter, ..] => (control(letter).unwrap_or(letter), 1),
        };
        out.push(byte);
        at = next + 1 + length;
    }
}

/// `hexDecode`.
pub(super) fn hex(input: &[u8], out: &mut Vec<u8>) {
    out.extend(input.chunks_exact(2).map(|digits| pair(digits[0], digits[1])));
}

/// `sqlHexDecode`.
pub(super) fn sql_hex(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(next) = copy_to(b'0', input, at, out) {
        let rest = &input[next + 1..];
        let digits = match *rest {
            [b'x' | b'X', ref digits @ ..] => digits,
            _ => &[],
        };
        let pairs = digits.chunks_exact(2).take_while(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let before = out.len();
        out.extend(pairs.map(|digits| pair(digits[0], digits[1])));
        at = next + 1;
        match out.len() - before {
            0 => out.push(b'0'),
            decoded => at += 1 + 2 * decoded,
        }
    }
}

/// `htmlEntityDecode`.
pub(super) fn html_entities(input: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(next) = copy_to(b'&', input, at, out) {
        let rest = &input[next + 1..];
        let (decoded, length) = match *rest {
            [b'#', b'x' | b'X', ref digits @ ..] => match number(digits, 16) {
                Some((byte, length)) => (Some(byte), 2 + length),
                None => (None, 2),
            },
            [b'#', ref digits @ ..] => match number(digits, 10) {
                Some((byte, length)) => (Some(byte), 1 + length),
                None => (None, 1),
            },
            _ => {
                let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
                (named(&rest[..length]), length)
            }
        };
        at = next + 1 + length;
        match decoded {
            Some(byte) => {
                out.push(byte);
                at += usize::from(input.get(at) == Some(&b';'));
            }
            None => out.extend_from_slice(&input[next..at]),
        }
    }
}

/// The lowest byte of the number at the beginning of `digits`, as `strtol` reads it on a machine of 64 bits, and its length.
fn number(digits: &[u8], radix: u32) -> Option<(u8, usize)> {
    let mut value = 0i64;
    let mut length = 0;
    for &byte in digits {
        let Some(digit) = char::from(byte).to_digit(radix) else { break };
        value = value.saturating_mul(i64::from(radix)).saturating_add(i64::from(digit));
        length += 1;
    }
    (length > 0).then_some((value as u8, length))
}

fn named(name: &[u8]) -> Option<u8> {
    const NO_BREAK_SPACE: u8 = 0xa0;
    const NAMES: [(&[u8], u8); 5] =
        [(b"quot", b'"'), (b"amp", b'&'), (b"lt", b'<'), (b"gt", b'>'), (b"nbsp", NO_BREAK_SPACE)];
    NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|&(_, byte)| byte)
}

/// `urlDecode`.
pub(super) fn url(input: &[u8], out: &mut Vec<u8>) {
    percent(input, out, |_, _| None);
}

/// `urlDecodeUni`.
pub(super) fn url_unicode(input: &[u8], map: Option<&UnicodeMap>, out: &mut Vec<u8>) {
    percent(input, out, |rest, out| match *rest {
        [b'u' | b'U', a, b, c, d, ..] if [a, b, c, d].iter().all(u8::is_ascii_hexdigit) => {
            let (high, low) = (pair(a, b), pair(c, d));
            let mapped = map.and_then(|map| map.get(u16::from_be_bytes([high, low])));
            out.push(mapped.unwrap_or_else(|| fullwidth(low, [a, b])));
            Some(5)
        }
        [b'u' | b'U', ..] => {
            out.extend_from_slice(&[b'%', rest[0]]);
            Some(1)
        }
        _ => None,
    });
}

/// Decodes pluses and what follows a percent sign: first as `special` does, which says how many bytes it took, then as two digits.
fn percent(input: &[u8], out: &mut Vec<u8>, special: impl Fn(&[u8], &mut Vec<u8>) -> Option<usize>) {
    let mut at = 0;
    while let Some(next) = memchr::memchr2(b'%', b'+', &input[at..]) {
        out.extend_from_slice(&input[at..at + next]);
        at += next + 1;
        let rest = &input[at..];
        if input[at - 1] == b'+' {
            out.push(b' ');
        } else if let Some(length) = special(rest, out) {
            at += length;
        } else if let [high, low, ..] = *rest
            && high.is_ascii_hexdigit()
            && low.is_ascii_hexdigit()
        {
            out.push(pair(high, low));
            at += 2;
        } else {
            out.push(b'%');
        }
    }
    out.extend_from_slice(&input[at..]);
}
