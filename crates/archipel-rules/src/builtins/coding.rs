//! Functions that decode, encode and hash.

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest as _, Sha256};

use crate::field::Fields;
use crate::limits::URL_DECODE_ROUNDS_MAX;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_encode_padding(false)
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const PADDED: GeneralPurposeConfig = LENIENT.with_encode_padding(true);

const PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
const PLAIN_PADDED: GeneralPurpose = GeneralPurpose::new(&STANDARD, PADDED);
const URL: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);
const URL_PADDED: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, PADDED);

/// Either alphabet, with or without padding.
pub(super) fn decode_base64(text: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    let url = text.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let decoded = if url { URL.decode(&text) } else { PLAIN.decode(&text) };
    decoded.ok().map(Cow::Owned)
}

/// Base64 of the alphabet, without regard to padding.
pub(super) fn decode_base64_as(text: &[u8], url_safe: bool) -> Option<Vec<u8>> {
    if url_safe { URL.decode(text).ok() } else { PLAIN.decode(text).ok() }
}

pub(super) fn encode_base64<'a>(text: &[u8], url_safe: bool, padded: bool) -> Cow<'a, [u8]> {
    let engine = match (url_safe, padded) {
        (false, false) => PLAIN,
        (false, true) => PLAIN_PADDED,
        (true, false) => URL,
        (true, true) => URL_PADDED,
    };
    Cow::Owned(engine.encode(text).into_bytes())
}

pub(super) fn sha256<'a>(text: &[u8]) -> Cow<'a, [u8]> {
    Cow::Owned(Sha256::digest(text).to_vec())
}

/// `%41`, `+` and, with `unicode`, `%u0041`; what is no escape stays. With `again`, until nothing changes.
pub(super) fn url_decode<'a>(text: Cow<'a, [u8]>, again: bool, unicode: bool, fields: &dyn Fields) -> Cow<'a, [u8]> {
    let mut text = text;
    let rounds_max = if again { URL_DECODE_ROUNDS_MAX } else { 1 };
    for _ in 0..rounds_max {
        match url_decode_once(&text, unicode) {
            Some(decoded) => text = Cow::Owned(decoded),
            None => return text,
        }
    }
    if again && url_decode_once(&text, unicode).is_some() {
        fields.limit_reached("url_decode_rounds_max");
    }
    text
}

/// `None` where there is nothing to decode.
fn url_decode_once(text: &[u8], unicode: bool) -> Option<Vec<u8>> {
    let first = memchr::memchr2(b'%', b'+', text)?;
    let mut out = text[..first].to_vec();
    let (mut rest, mut changed) = (&text[first..], false);
    while let Some((&byte, after)) = rest.split_first() {
        let (decoded, taken) = match byte {
            b'+' => (Some(u32::from(b' ')), 1),
            b'%' if unicode && matches!(after.first(), Some(b'u' | b'U')) => utf16_escape(after),
            b'%' => (after.get(..2).and_then(hex), 3),
            _ => (None, 1),
        };
        match decoded {
            Some(code) if taken > 3 => {
                let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Some(code) => out.push(u8::try_from(code).unwrap_or(b'?')),
            None => {
                out.push(byte);
                rest = after;
                continue;
            }
        }
        changed = true;
        rest = &rest[taken..];
    }
    changed.then_some(out)
}

/// `uXXXX`, or two of them that make a pair of surrogates; how many bytes it takes, the `%` included.
fn utf16_escape(text: &[u8]) -> (Option<u32>, usize) {
    let unit = |text: &[u8]| text.get(1..5).and_then(hex);
    let Some(high) = unit(text) else { return (None, 1) };
    let follows = text.get(5) == Some(&b'%') && matches!(text.get(6), Some(b'u' | b'U'));
    if (0xd800..0xdc00).contains(&high)
        && follows
        && let Some(low) = text.get(6..).and_then(unit)
        && (0xdc00..0xe000).contains(&low)
    {
        return (Some(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12);
    }
    (Some(high), 6)
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| Some(number << 4 | char::from(*digit).to_digit(16)?))
}

/// Nil for less than 16 random bytes.
pub(super) fn uuidv4<'a>(random: &[u8]) -> Option<Cow<'a, [u8]>> {
    let mut bytes: [u8; 16] = random.get(..16)?.try_into().ok()?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    Some(Cow::Owned(text.into_bytes()))
}

/// `%41` decoded, `+` as it is.
pub(super) fn percent_decode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&byte, after)) = rest.split_first() {
        match after.get(..2).filter(|_| byte == b'%').and_then(hex).and_then(|code| u8::try_from(code).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}
