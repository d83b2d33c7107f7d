//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical: the lengths say everything.

use super::hpack::Malformed;

/// Symbols: all bytes, and the end of the string.
const SYMBOLS: usize = 257;
const END: u16 = 256;
const LENGTH_MAX: usize = 30;
/// Bits that the first look-up decides by: every letter, digit and common sign is shorter.
const FAST_BITS: u32 = 9;

#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6,
    12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15,
    5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20,
    22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
    23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26,
    27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

struct Tables {
    codes: [u32; SYMBOLS],
    /// `symbol << 8 | length` by the next `FAST_BITS` bits; 0 where the code is longer.
    fast: [u32; 1 << FAST_BITS],
    /// Symbols by length, then by value.
    sorted: [u16; SYMBOLS],
    /// By length: the first code, and its place in `sorted`.
    first: [(u32, usize); LENGTH_MAX + 2],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut made = Tables {
        codes: [0; SYMBOLS],
        fast: [0; 1 << FAST_BITS],
        sorted: [0; SYMBOLS],
        first: [(0, 0); LENGTH_MAX + 2],
    };
    let (mut code, mut place, mut length) = (0u32, 0, 1);
    while length <= LENGTH_MAX {
        made.first[length] = (code, place);
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                made.codes[symbol] = code;
                made.sorted[place] = symbol as u16;
                if length <= FAST_BITS as usize {
                    let shift = FAST_BITS as usize - length;
                    let mut low = 0;
                    while low < 1 << shift {
                        made.fast[((code as usize) << shift) + low] = ((symbol as u32) << 8) | length as u32;
                        low += 1;
                    }
                }
                code += 1;
                place += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    made.first[LENGTH_MAX + 1] = (u32::MAX, place);
    made
}

/// Bytes of `text` once encoded.
pub(crate) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|b| usize::from(LENGTHS[usize::from(*b)])).sum();
    bits.div_ceil(8)
}

/// Appends `text`, encoded.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut acc, mut bits) = (0u64, 0u32);
    for byte in text {
        let length = u32::from(LENGTHS[usize::from(*byte)]);
        acc = acc << length | u64::from(TABLES.codes[usize::from(*byte)]);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((acc >> bits) as u8);
        }
    }
    if bits > 0 {
        // Section 5.2: padded with the first bits of the end symbol, which are ones.
        out.push((acc << (8 - bits)) as u8 | 0xff >> bits);
    }
}

/// Appends what `code` stands for.
///
/// # Errors
/// Padding of more than seven bits or of anything but ones, and the end symbol itself (section 5.2).
pub(crate) fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (mut acc, mut bits) = (0u64, 0u32);
    let mut left = code.iter();
    loop {
        while bits <= 56 {
            let Some(byte) = left.next() else { break };
            acc = acc << 8 | u64::from(*byte);
            bits += 8;
        }
        if bits == 0 {
            return Ok(());
        }
        // The next 32 bits; behind the end there are ones.
        let window =
            if bits >= 32 { (acc >> (bits - 32)) as u32 } else { (acc << (32 - bits)) as u32 | u32::MAX >> bits };
        let (symbol, length) = look_up(window);
        if length > bits {
            return if bits < 8 && window == u32::MAX { Ok(()) } else { Err(Malformed) };
        }
        if symbol == END {
            return Err(Malformed);
        }
        out.push(symbol as u8);
        bits -= length;
    }
}

/// The symbol at the start of 32 bits, and its length.
fn look_up(window: u32) -> (u16, u32) {
    let fast = TABLES.fast[(window >> (32 - FAST_BITS)) as usize];
    if fast != 0 {
        return ((fast >> 8) as u16, fast & 0xff);
    }
    for length in FAST_BITS as usize + 1..LENGTH_MAX {
        let (first, place) = TABLES.first[length];
        let (_, next) = TABLES.first[length + 1];
        let offset = (window >> (32 - length)).wrapping_sub(first) as usize;
        if offset < next - place {
            return (TABLES.sorted[place + offset], length as u32);
        }
    }
    let offset = ((window >> 2).wrapping_sub(TABLES.first[LENGTH_MAX].0) as usize).min(3);
    (TABLES.sorted[TABLES.first[LENGTH_MAX].1 + offset], LENGTH_MAX as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex")).collect()
    }

    /// Examples of RFC 7541 appendix C.
    #[test]
    fn examples() {
        let cases = [
            ("www.example.com", "f1e3c2e5f23a6ba0ab90f4ff"),
            ("no-cache", "a8eb10649cbf"),
            ("custom-value", "25a849e95bb8e8b4bf"),
            ("302", "6402"),
            ("Mon, 21 Oct 2013 20:13:21 GMT", "d07abe941054d444a8200595040b8166e082a62d1bff"),
            (
                "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
                "94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
            ),
        ];
        for (text, code) in cases {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!(out, hex(code), "{text}");
            assert_eq!(encoded_len(text.as_bytes()), out.len());
            let mut back = Vec::new();
            decode(&out, &mut back).expect(text);
            assert_eq!(back, text.as_bytes());
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for byte in 0..=255u8 {
            let text = [byte, b'a', byte];
            let (mut code, mut back) = (Vec::new(), Vec::new());
            encode(&text, &mut code);
            decode(&code, &mut back).expect("a code");
            assert_eq!(back, text);
        }
    }

    #[test]
    fn what_section_5_2_forbids() {
        let refused: [&[u8]; 5] =
            [&[0xff, 0xff, 0xff, 0xff], &[0xff], &[0b0001_1111, 0xff], &[0b0001_1000], &[0x00, 0xff, 0xff, 0xff, 0xff]];
        for code in refused {
            assert!(decode(code, &mut Vec::new()).is_err(), "{code:x?}");
        }
        assert!(decode(&[0b0001_1111], &mut Vec::new()).is_ok(), "a, and three bits of padding");
    }
}
