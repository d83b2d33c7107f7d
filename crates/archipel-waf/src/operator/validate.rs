//! Operators that validate encodings.

use super::{Kind, OperatorError};
use crate::byte_set::ByteSet;

/// Reads `10,13,32-126`.
pub(super) fn byte_ranges(argument: &[u8]) -> Result<ByteSet, OperatorError> {
    let error = |part: &str| {
        OperatorError::argument(
            Kind::ValidateByteRange,
            format!("`{part}` is not a byte from 0 to 255 or a range of them"),
        )
    };
    let text = String::from_utf8_lossy(argument);
    let mut set = ByteSet::EMPTY;
    for part in text.split(',').map(str::trim) {
        let number = |text: &str| text.trim().parse::<u8>().map_err(|_| error(part));
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(part)?, number(part)?),
        };
        if first > last {
            return Err(error(part));
        }
        set = set.union(ByteSet::range(first, last));
    }
    Ok(set)
}

/// Whether a percent sign is not followed by two hexadecimal digits.
pub(super) fn has_bad_percent(value: &[u8]) -> bool {
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'%', &value[at..]) {
        match value[at + next + 1..] {
            [high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => at += next + 3,
            _ => return true,
        }
    }
    false
}
