//! Archipel's own rules, shipped inside the program: what protects a site at once, without the network.
//!
//! They are written for this engine in plain SecLang (`rules/*.conf`), work alone or beside the Core Rule Set, and score for
//! themselves: `rules/00-setup.conf` says how. Their ids are [`IDS`].

use std::ops::RangeInclusive;

/// The ids of these rules: no publisher of rules has claimed the range.
pub const IDS: RangeInclusive<u32> = 8_100_000..=8_100_999;

/// The rule that refuses what scored too high.
pub const DECISION: u32 = 8_100_900;

/// What stands before the name of a value that the rules keep a decoded copy of, or a whole body.
const COPY: &str = "TX:archipel_value_";

/// What stands there before the name of a value that a rule decoded Base64 of.
const DECODED: &str = "TX:archipel_value_MATCHED_VARS:";

/// Collections of which Base64 is decoded.
const DECODED_OF: [&str; 3] = ["ARGS", "REQUEST_COOKIES", "REQUEST_HEADERS"];

/// Copies that have a name of their own.
const COPIES: [(&str, &str); 2] = [("body", "REQUEST_BODY"), ("path", "REQUEST_FILENAME")];

/// What a value was made of that the rules keep (`TX:archipel_value_...`), by its full name; another name stays what it is.
pub(crate) fn origin(name: &[u8]) -> &[u8] {
    if let Some(name) = name.strip_prefix(DECODED.as_bytes()) {
        return name;
    }
    let copy = name.strip_prefix(COPY.as_bytes());
    let named = COPIES.iter().find(|(own, _)| copy == Some(own.as_bytes()));
    named.map_or(name, |(_, of)| of.as_bytes())
}

/// The target by which an exclusion of `collection` and `member` also excludes the copies that the rules keep of it, where they keep any.
#[must_use]
pub fn copies(collection: &str, member: Option<&str>) -> Option<String> {
    if let Some((copy, _)) = COPIES.iter().find(|(_, of)| *of == collection) {
        return Some(format!("{COPY}{copy}"));
    }
    if collection == "XML" {
        return member.is_none_or(|member| member == "/*").then(|| format!("{DECODED}XML:/*"));
    }
    let collection = if matches!(collection, "ARGS_GET" | "ARGS_POST") { "ARGS" } else { collection };
    if !DECODED_OF.contains(&collection) {
        return None;
    }
    Some(match member {
        Some(member) => format!("{DECODED}{collection}:{member}"),
        None => format!("TX:/^archipel_value_MATCHED_VARS:{collection}:/"),
    })
}

/// The files in the order in which they are loaded: name and text. None names another file.
pub const FILES: [(&str, &str); 9] = [
    ("00-setup.conf", include_str!("../rules/00-setup.conf")),
    ("10-protocol.conf", include_str!("../rules/10-protocol.conf")),
    ("20-sql.conf", include_str!("../rules/20-sql.conf")),
    ("30-script.conf", include_str!("../rules/30-script.conf")),
    ("40-files.conf", include_str!("../rules/40-files.conf")),
    ("50-commands.conf", include_str!("../rules/50-commands.conf")),
    ("60-code.conf", include_str!("../rules/60-code.conf")),
    ("70-lookups.conf", include_str!("../rules/70-lookups.conf")),
    ("90-decide.conf", include_str!("../rules/90-decide.conf")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_of_what_they_say() {
        for (collection, member, expected) in [
            ("ARGS", Some("q"), Some("TX:archipel_value_MATCHED_VARS:ARGS:q")),
            ("ARGS_POST", Some("q"), Some("TX:archipel_value_MATCHED_VARS:ARGS:q")),
            ("ARGS_NAMES", Some("q"), None),
            ("REQUEST_COOKIES", None, Some("TX:/^archipel_value_MATCHED_VARS:REQUEST_COOKIES:/")),
            ("XML", None, Some("TX:archipel_value_MATCHED_VARS:XML:/*")),
            ("XML", Some("//@*"), None),
            ("REQUEST_BODY", None, Some("TX:archipel_value_body")),
            ("REQUEST_FILENAME", None, Some("TX:archipel_value_path")),
            ("REQUEST_URI", None, None),
        ] {
            assert_eq!(copies(collection, member).as_deref(), expected, "{collection} {member:?}");
        }
        for (name, of) in [
            ("TX:archipel_value_MATCHED_VARS:ARGS:q", "ARGS:q"),
            ("TX:archipel_value_body", "REQUEST_BODY"),
            ("TX:archipel_value_path", "REQUEST_FILENAME"),
            ("ARGS:TX:archipel_value_body", "ARGS:TX:archipel_value_body"),
        ] {
            assert_eq!(origin(name.as_bytes()), of.as_bytes());
        }
    }
}
