//! Transformations that encode.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn push_hex(byte: u8, out: &mut Vec<u8>) {
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}

/// `hexEncode`.
pub(super) fn hex(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len() * 2);
    for &byte in input {
        push_hex(byte, out);
    }
}

/// `length`.
pub(super) fn decimal(number: usize, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // A vector takes what it is given.
    let _ = write!(out, "{number}");
}

/// `urlEncode`.
pub(super) fn url(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len());
    for &byte in input {
        match byte {
            b' ' => out.push(b'+'),
            b'*' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => out.push(byte),
            _ => {
                out.push(b'%');
                push_hex(byte, out);
            }
        }
    }
}

/// `utf8toUnicode`. Of what is not UTF-8, lead bytes without their continuation are dropped and all else is copied. An overlong
/// sequence and a surrogate are written out and followed by their first byte. A NUL that is not the last byte is dropped.
pub(super) fn utf8_to_unicode(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len());
    let continuation =
        |at: usize| input.get(at).filter(|&&byte| byte & 0xc0 == 0x80).map(|byte| u32::from(byte & 0x3f));
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        let (length, lead, shortest) = match byte {
            0x00..=0x7f => {
                if byte != 0 || at + 1 == input.len() {
                    out.push(byte);
                }
                at += 1;
                continue;
            }
            0xc0..=0xdf => (2, byte & 0x1f, 0x80),
            0xe0..=0xef => (3, byte & 0x0f, 0x800),
            0xf0..=0xf7 => (4, byte & 0x07, 0x1_0000),
            _ => {
                out.push(byte);
                at += 1;
                continue;
            }
        };
        if byte >= 0xf5 {
            out.push(byte);
        }
        let point = (1..length).try_fold(u32::from(lead), |point, next| Some(point << 6 | continuation(at + next)?));
        let Some(point) = point else {
            at += 1;
            continue;
        };
        push_point(point, out);
        if (0xd800..=0xdfff).contains(&point) {
            out.push(byte);
        }
        if point < shortest {
            out.push(byte);
        }
        at += length;
    }
}

/// Writes `%u` and at least four digits.
fn push_point(point: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(b"%u");
    let digits = 4.max((35 - point.leading_zeros()) / 4);
    for place in (0..digits).rev() {
        out.push(DIGITS[(point >> (4 * place)) as usize & 15]);
    }
}
