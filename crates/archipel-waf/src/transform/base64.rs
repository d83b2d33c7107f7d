//! The base64 transformations.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const OTHER: u8 = 0xff;

const VALUES: [u8; 256] = {
    let mut values = [OTHER; 256];
    let mut at = 0;
    while at < 64 {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
};

/// `base64Encode`.
pub(super) fn encode(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len().div_ceil(3) * 4);
    for group in input.chunks(3) {
        let [a, b, c] = [group[0], group.get(1).copied().unwrap_or(0), group.get(2).copied().unwrap_or(0)];
        let bits = u32::from_be_bytes([0, a, b, c]);
        for place in 0..4 {
            out.push(if place <= group.len() { ALPHABET[(bits >> (18 - 6 * place)) as usize & 63] } else { b'=' });
        }
    }
}

/// `base64Decode`: strict, but for ends of lines and the spaces before them, and up to the first NUL. A last group of fewer than
/// four signs is dropped.
pub(super) fn decode(input: &[u8], out: &mut Vec<u8>) {
    let input = &input[..memchr::memchr(0, input).unwrap_or(input.len())];
    let Some(padding) = check(input) else { return };
    let mut bits = 0u32;
    let mut signs = 0;
    let mut left = 3u32;
    debug_assert!(padding <= 2);
    for &byte in input {
        let value = match byte {
            b'\r' | b'\n' | b' ' => continue,
            b'=' => {
                left -= 1;
                0
            }
            _ => VALUES[usize::from(byte)],
        };
        bits = bits << 6 | u32::from(value);
        signs += 1;
        if signs == 4 {
            out.extend_from_slice(&bits.to_be_bytes()[1..1 + left as usize]);
            (bits, signs) = (0, 0);
        }
    }
}

/// How many padding signs `input` has, if it is base64.
fn check(input: &[u8]) -> Option<u32> {
    let mut padding = 0;
    let mut at = 0;
    while at < input.len() {
        let spaces = input[at..].iter().take_while(|&&byte| byte == b' ').count();
        at += spaces;
        match input[at..] {
            [] => break,
            [b'\r', b'\n', ..] | [b'\n', ..] => {}
            _ if spaces > 0 => return None,
            [b'=', ..] if padding < 2 => padding += 1,
            [byte, ..] if VALUES[usize::from(byte)] != OTHER && padding == 0 => {}
            _ => return None,
        }
        at += 1;
    }
    Some(padding)
}

/// `base64DecodeExt`: passes over every byte that is not of the alphabet. A padding sign after the first sign of a group makes
/// the whole empty, unless another one follows it.
pub(super) fn decode_forgiving(input: &[u8], out: &mut Vec<u8>) {
    let mut signs = 0usize;
    let mut rest = 0u8;
    for (at, &byte) in input.iter().enumerate() {
        if byte == b'=' {
            if signs % 4 == 1 && input.get(at + 1) != Some(&b'=') {
                out.clear();
                return;
            }
            continue;
        }
        let value = VALUES[usize::from(byte)];
        if value == OTHER {
            continue;
        }
        match signs % 4 {
            0 => rest = value << 2,
            1 => {
                out.push(rest | value >> 4);
                rest = value << 4;
            }
            2 => {
                out.push(rest | value >> 2);
                rest = value << 6;
            }
            _ => out.push(rest | value),
        }
        signs += 1;
    }
}
