//! Amounts with units: bytes and durations, read and written.

use std::time::Duration;

/// The units of bytes, largest first so that writing finds the shortest exact form.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

/// The units of durations in milliseconds, largest first.
const DURATION_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `16KiB`, `1 MB` or `512` (bytes).
///
/// # Errors
/// The text that helps: what would be right.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = split_number(text.trim());
    let amount: u64 = number.parse().map_err(|_| bytes_help(None))?;
    if unit.is_empty() {
        return Ok(amount);
    }
    if let Some((_, factor)) = BYTE_UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)) {
        return amount.checked_mul(*factor).ok_or_else(|| "the number is too large".to_owned());
    }
    // A lone letter is 1000 in one program and 1024 in the next: ask rather than guess.
    let letter = unit.to_ascii_uppercase();
    let known = matches!(letter.as_str(), "K" | "M" | "G" | "T");
    Err(bytes_help(known.then(|| format!("{amount}{letter}iB"))))
}

fn bytes_help(suggestion: Option<String>) -> String {
    match suggestion {
        Some(text) => format!("did you mean \"{text}\"?"),
        None => "write a number with a unit: B, KB, KiB, MB, MiB, GB, GiB, TB or TiB, such as \"16KiB\"".to_owned(),
    }
}

/// Reads `10s`, `500ms`, `2m` or `1h30m`.
///
/// # Errors
/// The text that helps: what would be right.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let help = || "write numbers with units: ms, s, m, h or d, such as \"10s\", \"500ms\" or \"1h30m\"".to_owned();
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(help());
    }
    let mut total: u64 = 0;
    let mut finest = u64::MAX;
    while !rest.is_empty() {
        let (number, tail) = split_number(rest);
        let amount: u64 = number.parse().map_err(|_| help())?;
        let unit_end = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        if unit.is_empty() && next.is_empty() {
            return Err(format!("a duration needs a unit: did you mean \"{text}s\"?"));
        }
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
        // Units come once and from large to small, so that "1m30" or "30s1h" are noticed as slips.
        let factor = factor.filter(|factor| *factor < finest).ok_or_else(help)?;
        finest = factor;
        total = amount
            .checked_mul(factor)
            .and_then(|part| total.checked_add(part))
            .ok_or_else(|| "the number is too large".to_owned())?;
        rest = next;
    }
    Ok(Duration::from_millis(total))
}

/// Splits leading digits from what follows, without the blanks between them.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

/// Writes bytes in the largest unit that divides them.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let exact = BYTE_UNITS.iter().filter(|(name, _)| name.ends_with("iB") || *name == "B");
    for (name, factor) in exact {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{}{name}", bytes / factor);
        }
    }
    format!("{bytes}B")
}

/// Writes a duration in the largest unit that divides it. Parts below a millisecond are lost: no setting is that fine.
pub(crate) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        return "0s".to_owned();
    }
    for (name, factor) in DURATION_UNITS {
        if millis.is_multiple_of(factor) {
            return format!("{}{name}", millis / factor);
        }
    }
    format!("{millis}ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("512B", 512),
            ("16KiB", 16_384),
            ("16kib", 16_384),
            ("1MB", 1_000_000),
            ("1 MB", 1_000_000),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for (text, help) in [
            ("", "unit"),
            ("KiB", "unit"),
            ("-1", "unit"),
            ("1.5MB", "unit"),
            ("16k", "\"16KiB\""),
            ("1G", "\"1GiB\""),
            ("16XiB", "unit"),
            ("99999999999999999999", "unit"),
            ("18446744073709551615KiB", "too large"),
        ] {
            let error = parse_bytes(text).expect_err(text);
            assert!(error.contains(help), "{text}: {error}");
        }
        for (bytes, text) in
            [(0, "0B"), (1, "1B"), (1024, "1KiB"), (1_000_000, "1000000B"), (1 << 30, "1GiB"), (1536, "1536B")]
        {
            assert_eq!(show_bytes(bytes), text);
            assert_eq!(parse_bytes(text), Ok(bytes));
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("5 s", 5_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, help) in [
            ("", "units"),
            ("10", "\"10s\""),
            ("s", "units"),
            ("1.5s", "units"),
            ("10 parsecs", "units"),
            ("30s1h", "units"),
            ("1s1s", "units"),
            ("-1s", "units"),
            ("18446744073709551615d", "too large"),
        ] {
            let error = parse_duration(text).expect_err(text);
            assert!(error.contains(help), "{text}: {error}");
        }
        for (millis, text) in [(0, "0s"), (1_500, "1500ms"), (90_000, "90s"), (3_600_000, "1h")] {
            assert_eq!(show_duration(Duration::from_millis(millis)), text);
        }
    }
}
