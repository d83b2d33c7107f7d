//! Functions that cut and change texts.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use crate::regexes::Regex;
use crate::value::Value;
use crate::wildcard::{Replacement, Wildcard};

pub(super) fn lower(mut text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if text.iter().any(u8::is_ascii_uppercase) {
        text.to_mut().make_ascii_lowercase();
    }
    text
}

pub(super) fn upper(mut text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    if text.iter().any(u8::is_ascii_lowercase) {
        text.to_mut().make_ascii_uppercase();
    }
    text
}

/// The first match replaced.
pub(super) fn regex_replace<'a>(text: Cow<'a, [u8]>, regex: &Regex, replacement: &Replacement) -> Cow<'a, [u8]> {
    let Some(captures) = regex.captures(&text) else { return text };
    let Some(whole) = captures.get_match() else { return text };
    let mut out = text[..whole.start()].to_vec();
    let group = |number| captures.get_group(number).map_or(&[][..], |span| &text[span.range()]);
    replacement.append(&mut out, |number| Cow::Borrowed(group(number)));
    out.extend_from_slice(&text[whole.end()..]);
    Cow::Owned(out)
}

/// The replacement if all of the text matches.
pub(super) fn wildcard_replace<'a>(
    text: Cow<'a, [u8]>,
    wildcard: &Wildcard,
    replacement: &Replacement,
) -> Cow<'a, [u8]> {
    let Some(captures) = wildcard.captures(&text) else { return text };
    let mut out = Vec::new();
    replacement.append(&mut out, |number| match number {
        0 => Cow::Borrowed(&*text),
        _ => Cow::Borrowed(captures.get(number - 1).map_or(&[][..], |range| &text[range.clone()])),
    });
    Cow::Owned(out)
}

/// Without the parameters of these names; the others stay as they are, in order.
pub(super) fn remove_query_args<'a>(query: &[u8], names: &[Value<'_>]) -> Cow<'a, [u8]> {
    let mut out = Vec::with_capacity(query.len());
    let mut first = true;
    for pair in query.split(|byte| *byte == b'&') {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
        if names.iter().any(|removed| removed.as_bytes() == Some(name)) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b'&');
        }
        out.extend_from_slice(pair);
    }
    Cow::Owned(out)
}

/// The ranges between separators, at most `parts_max`; the last keeps the rest.
pub(super) fn split(text: &[u8], separator: &[u8], parts_max: usize) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    for at in memmem::find_iter(text, separator).take(parts_max - 1) {
        ranges.push(start..at);
        start = at + separator.len();
    }
    ranges.push(start..text.len());
    ranges
}

/// Positions beyond the ends count as the ends.
pub(super) fn substring<'a>(value: Value<'a>, rest: &[Value<'_>]) -> Value<'a> {
    let Value::Bytes(text) = value else { return Value::Nil };
    let place = |at: &Value<'_>| match at {
        Value::Int(at) if *at < 0 => Some(text.len().saturating_sub(usize::try_from(at.unsigned_abs()).ok()?)),
        Value::Int(at) => Some(usize::try_from(*at).ok()?.min(text.len())),
        _ => None,
    };
    let start = rest.first().and_then(place);
    let end = if rest.len() > 1 { rest.get(1).and_then(place) } else { Some(text.len()) };
    let (Some(start), Some(end)) = (start, end) else { return Value::Nil };
    let range = start..end.max(start);
    Value::Bytes(match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[range]),
        Cow::Owned(text) => Cow::Owned(text[range].to_vec()),
    })
}
