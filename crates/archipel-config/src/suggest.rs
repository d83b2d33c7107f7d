//! The nearest name to a misspelt one.

/// Longest name that is compared; longer ones get no suggestion.
const NAME_BYTES_MAX: usize = 64;

/// Shortest text that is completed to a candidate that starts with it.
const START_BYTES_MIN: usize = 3;

/// The candidate that is nearest to a text, if it is near enough to be a slip: it starts with the text, or a third of the
/// text's length (at least one) in edits leads to it.
pub(crate) fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if text.len() > NAME_BYTES_MAX {
        return None;
    }
    let plain = text.to_ascii_lowercase().replace('-', "_");
    let edits_max = (plain.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (edits(&plain, candidate), candidate))
        .filter(|(edits, _)| *edits <= edits_max)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

fn edits(plain: &str, candidate: &str) -> usize {
    let candidate = candidate.to_ascii_lowercase().replace('-', "_");
    if plain.len() >= START_BYTES_MIN && candidate != plain && candidate.starts_with(plain) {
        return 1;
    }
    distance(plain.as_bytes(), candidate.as_bytes())
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one name to the other.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut previous: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let replace = previous[j] + usize::from(x != y);
            let mut best = replace.min(previous[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut previous, row);
    }
    previous[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        let names = ["connect_timeout", "first_byte_timeout", "url", "host", "http2"];
        for (text, expected) in [
            ("conect_timeout", Some("connect_timeout")),
            ("connect-timeout", Some("connect_timeout")),
            ("Connect_Timeout", Some("connect_timeout")),
            ("ulr", Some("url")),
            ("uri", Some("url")),
            ("hosts", Some("host")),
            ("http", Some("http2")),
            ("first", Some("first_byte_timeout")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, names), expected, "{text}");
        }
        assert_eq!(nearest(&"x".repeat(1000), names), None);
    }
}
