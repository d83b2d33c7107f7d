//! The words by which the cache says why: one table for the metrics page, the operator's page and the tests. Every bypass, every
//! request that the store does not answer, every reply that is not kept and every use of something stale counts under one of them.
//!
//! Must never hold a reason that nothing counts, nor miss one that something does: tests hold it to the code that says the words.

/// Not looked up, and why.
pub(crate) const BYPASSES: &str = "cache_bypasses";
/// Looked up, and not answered by the store alone.
pub(crate) const FORWARDS: &str = "cache_forwards";
/// Fetched, and not kept.
pub(crate) const NOT_STORED: &str = "not_stored";
/// How waiting for another request's fetch went.
pub(crate) const COLLAPSES: &str = "collapses";
/// How asking whether a stored response still holds went.
pub(crate) const REVALIDATIONS: &str = "revalidations";
/// Served although stale.
pub(crate) const STALE_SERVED: &str = "stale_served";
/// Something stored that could not stand in for an error.
pub(crate) const STALE_REFUSED: &str = "stale_refused";
/// Served stale without a revalidation in the background.
pub(crate) const BACKGROUND_SKIPPED: &str = "background_skipped";

/// A metric with a reason: its name without prefix and suffix, what it counts, and its reasons.
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// What it counts.
    pub help: &'static str,
    /// All its reasons, with what they mean.
    pub reasons: &'static [(&'static str, &'static str)],
}

/// All of them, in the order of the operator's page.
pub const FAMILIES: &[Family] = &[
    Family {
        name: BYPASSES,
        help: "Requests that were not looked up in the cache.",
        reasons: &[
            ("cache_off", "the zone's cache is off"),
            ("method", "neither GET nor HEAD"),
            ("upgrade", "it asks for another protocol"),
            ("request_content", "a GET or HEAD with content"),
            ("rule", "a rule of the zone"),
            ("query_parameters_max", "more query parameters than a rule about them looks at"),
            ("key_bytes_max", "what a rule adds to the key is too long"),
            ("key_ambiguous", "two fields that origins may take for the one in the key"),
        ],
    },
    Family {
        name: FORWARDS,
        help: "Requests that were looked up and that the store did not answer alone.",
        reasons: &[
            ("uri_miss", "nothing is stored for the key"),
            ("vary_miss", "something is stored, but no variant matches"),
            ("stale", "what is stored is stale, or softly purged"),
            ("no_cache", "what is stored says no-cache"),
            ("request_no_cache", "the request says no-cache"),
            ("request_max_age", "what is stored is older than the request's max-age"),
            ("request_min_fresh", "what is stored is not fresh for the request's min-fresh"),
            ("only_if_cached", "the request wants nothing from the origin: answered with 504"),
        ],
    },
    Family {
        name: NOT_STORED,
        help: "Replies that were not stored.",
        reasons: &[
            ("method", "the method's replies are not stored"),
            ("post_not_get", "a reply to POST without a Content-Location of its target"),
            ("request_no_store", "the request says no-store"),
            ("interim", "an interim response"),
            ("not_modified", "a 304 to the visitor's own condition"),
            ("partial", "a 416, or a 206 of which nothing can be kept"),
            ("precondition", "a 412"),
            ("status_forbids", "428, 429, 431, 511"),
            ("status_not_understood", "must-understand with an unknown status"),
            ("no_store", "no-store"),
            ("private", "private"),
            ("authorization", "the request had Authorization and the reply does not permit sharing"),
            ("set_cookie", "it sets a cookie"),
            ("vary_any", "Vary: *"),
            ("no_explicit_freshness", "the status needs a stated lifetime"),
            ("useless", "never fresh and without validator"),
            ("too_large", "longer than the zone's object_bytes_max"),
            ("content_type_mismatch", "a page under the name of a static file"),
            ("head_request", "the reply to a HEAD for which nothing is stored"),
            ("range_request", "the reply to a request for a part"),
            ("managed_skipped", "managed rules that judge replies pass its request by: a rule that skips or allows"),
            ("managed_off", "the firewall whose managed rules judge replies is off for its request"),
            ("managed_sampling", "its request is not among those that managed rules look at"),
            ("managed_budget", "managed rules could not judge it within their budget"),
            ("managed_refused", "managed rules would refuse it or its request, and only record that"),
        ],
    },
    Family {
        name: COLLAPSES,
        help: "Requests that could be collapsed with others for the same key, by how it went.",
        reasons: &[
            ("led", "it was the first, and fetched"),
            ("answered", "it was answered with what the first one fetched"),
            ("promoted", "the first one died, and it took over"),
            ("uncacheable", "the first one's reply was for the first one alone"),
            ("unfit", "the first one's reply did not fit it, such as another variant"),
            ("collapse_wait", "it waited for as long as the zone's collapse_wait"),
            ("hit_for_miss", "nobody waits: the key was uncacheable a moment ago"),
            ("followers_max", "too many waited already"),
            ("failed", "two fetches in a row failed, and it shares the failure"),
        ],
    },
    Family {
        name: REVALIDATIONS,
        help: "Questions to an origin whether a stored response still holds, by the answer.",
        reasons: &[
            ("confirmed", "304"),
            ("confirmed_for_one", "304 with fields that may not be shared: the stored response is gone"),
            ("confirmed_unjudged", "304 that managed rules did not judge: the stored response stays as it is"),
            ("other_response", "304 about another response: asked again without condition"),
            ("replaced", "another response"),
            ("error", "500, 502, 503 or 504"),
            ("unreachable", "no reply"),
        ],
    },
    Family {
        name: STALE_SERVED,
        help: "Stale responses that were served.",
        reasons: &[
            ("while_revalidate", "stale-while-revalidate"),
            ("max_stale", "the request's max-stale"),
            ("origin_error", "instead of an error of the origin"),
            ("origin_unreachable", "the origin gave no reply"),
            ("origin_down", "the origin is left alone, as it was down a moment ago"),
            ("origin_overloaded", "the origin has as much to do as it can"),
            ("always_online", "the zone is always online"),
        ],
    },
    Family {
        name: STALE_REFUSED,
        help: "Stored responses that could not stand in for a failing origin.",
        reasons: &[
            ("forbidden", "must-revalidate, proxy-revalidate, s-maxage or no-cache"),
            ("not_permitted", "nobody permits it"),
            ("too_old", "stale for longer than permitted"),
            ("request", "the request wants a confirmed response"),
        ],
    },
    Family {
        name: BACKGROUND_SKIPPED,
        help: "Stale responses that were served without a revalidation in the background.",
        reasons: &[
            ("background_revalidations_max", "as many as `limits.background_revalidations_max` allows are under way"),
            ("under_way", "somebody fetches it already"),
            ("origin_down", "the origin is left alone, as it was down a moment ago"),
        ],
    },
];

/// The family of a name.
pub(crate) fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that a type's `as_str` says, read from its source.
    fn words<'a>(source: &'a str, type_name: &str) -> Vec<&'a str> {
        let begin = source.find(&format!("impl {type_name} {{")).expect("the type");
        let body = &source[begin..];
        let body = &body[..body.find("\n}\n").expect("its end")];
        let words: Vec<_> = body.lines().filter_map(|line| line.split_once("=> \"")?.1.strip_suffix("\",")).collect();
        assert!(!words.is_empty(), "{type_name} says nothing");
        words
    }

    #[track_caller]
    fn check(name: &str, words: &[&str], not: &[&str]) {
        let family = family(name).expect("a family");
        for word in words.iter().filter(|word| !not.contains(word)) {
            assert!(family.reasons.iter().any(|(reason, _)| reason == word), "{name} lacks {word}");
        }
    }

    #[test]
    fn what_the_policy_says_is_listed() {
        let reuse = include_str!("../../archipel-http/src/reuse.rs");
        check(BYPASSES, &words(reuse, "Bypass"), &[]);
        check(BYPASSES, &words(include_str!("../../archipel-http/src/key_parts.rs"), "KeyRefused"), &[]);
        check(FORWARDS, &words(reuse, "Revalidate"), &[]);
        // Statuses that are no errors are no reason to count.
        check(STALE_REFUSED, &words(reuse, "StaleRefused"), &["not_an_error"]);
        check(NOT_STORED, &words(include_str!("../../archipel-http/src/storage.rs"), "NotStored"), &[]);
    }

    /// Reasons are an interface: each stands in the operator's page.
    #[test]
    fn every_reason_is_documented() {
        let documented = include_str!("../../../docs/operations.md");
        for family in FAMILIES {
            let line = format!("| `archipel_{}_total` | counter | `reason` | {} |", family.name, family.help);
            assert!(documented.contains(&line), "missing in docs/operations.md: {line}");
            let (_, section) =
                documented.split_once(&format!("`archipel_{}_total`:\n", family.name)).unwrap_or_default();
            let section = section.split("\n\n`").next().unwrap_or_default();
            for (reason, meaning) in family.reasons {
                let line = format!("| `{reason}` | {meaning} |");
                assert!(section.contains(&line), "{}: missing in docs/operations.md: {line}", family.name);
            }
        }
    }
}
