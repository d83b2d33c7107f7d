//! The language that a request prefers among those that a site has.
//!
//! Owns the choice. Must never be used where the origin chooses by other rules: a site names its languages itself.

use http::header::{self, HeaderMap};

use crate::list;
use crate::vary::{Weighted, weighted};

/// Members of `Accept-Language` that are looked at; those behind do not count.
pub const LANGUAGE_RANGES_MAX: usize = 32;

/// The language of `known` that the request prefers; the first of `known` where it prefers none. `None` only for no languages.
///
/// The members of `Accept-Language` are taken by weight, those of equal weight in their order. `en-GB` finds `en-gb`, else `en`
/// (lookup, RFC 4647 section 3.4), else the first that begins with `en-gb-`; `*` finds the first language. Weight 0 finds nothing.
pub fn preferred<'a, T: AsRef<str>>(headers: &HeaderMap, known: &'a [T]) -> Option<&'a str> {
    let first = known.first()?.as_ref();
    let mut best: Option<(u16, &'a str)> = None;
    for member in list::field_members(headers, header::ACCEPT_LANGUAGE).take(LANGUAGE_RANGES_MAX) {
        let Some(Weighted { name: range, weight }) = weighted(member) else { continue };
        if weight == 0 || best.is_some_and(|(other, _)| other >= weight) {
            continue;
        }
        if let Some(language) = find(range, known) {
            best = Some((weight, language));
        }
    }
    Some(best.map_or(first, |(_, language)| language))
}

/// The members of `Accept-Language`, the preferred first, those of equal weight in their order. What has weight 0 is not among them.
pub fn ranges(headers: &HeaderMap) -> Vec<&[u8]> {
    let members = list::field_members(headers, header::ACCEPT_LANGUAGE).take(LANGUAGE_RANGES_MAX);
    let mut found: Vec<Weighted<'_>> = members.filter_map(weighted).filter(|member| member.weight > 0).collect();
    found.sort_by_key(|member| std::cmp::Reverse(member.weight));
    found.into_iter().map(|member| member.name).collect()
}

fn find<'a, T: AsRef<str>>(range: &[u8], known: &'a [T]) -> Option<&'a str> {
    let mut tags = known.iter().map(AsRef::as_ref);
    if range == b"*" {
        return tags.next();
    }
    let mut part = range;
    loop {
        if let Some(tag) = tags.clone().find(|tag| tag.as_bytes().eq_ignore_ascii_case(part)) {
            return Some(tag);
        }
        let Some(dash) = part.iter().rposition(|byte| *byte == b'-') else { break };
        part = part.get(..dash).unwrap_or_default();
    }
    tags.find(|tag| {
        let tag = tag.as_bytes();
        tag.get(..range.len()).is_some_and(|start| start.eq_ignore_ascii_case(range))
            && tag.get(range.len()) == Some(&b'-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_weight() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT_LANGUAGE, "en;q=0.5, de, x;q=0, *;q=0.1".parse().unwrap());
        headers.append(header::ACCEPT_LANGUAGE, "fr".parse().unwrap());
        assert_eq!(ranges(&headers), [&b"de"[..], b"fr", b"en", b"*"]);
    }

    #[track_caller]
    fn check(known: &[&str], accept: &str, expected: &str) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_LANGUAGE, accept.parse().unwrap());
        assert_eq!(preferred(&headers, known), Some(expected), "{known:?} {accept}");
    }

    #[test]
    fn choice() {
        let known = ["en", "de", "pt-br"];
        check(&known, "de", "de");
        check(&known, "DE-at, en;q=0.9", "de");
        check(&known, "fr, de;q=0.2, en;q=0.1", "de");
        check(&known, "de;q=0.5, en;q=0.8", "en");
        check(&known, "de, en", "de");
        check(&known, "pt", "pt-br");
        check(&known, "pt-pt, de;q=0.1", "de");
        check(&known, "fr", "en");
        check(&known, "*", "en");
        check(&known, "de;q=0, en;q=0", "en");
        check(&known, "", "en");
        check(&known, "(;;,de", "de");
        assert_eq!(preferred(&HeaderMap::new(), &known), Some("en"));
        assert_eq!(preferred::<&str>(&HeaderMap::new(), &[]), None);
    }
}
