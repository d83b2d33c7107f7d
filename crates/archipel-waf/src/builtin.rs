//! Archipel's own rules, shipped inside the program: what protects a site at once, without the network.
//!
//! They are written for this engine in plain SecLang (`rules/*.conf`), work alone or beside the Core Rule Set, and score for
//! themselves: `rules/00-setup.conf` says how. Their ids are [`IDS`].

use std::ops::RangeInclusive;

/// The ids of these rules: no publisher of rules has claimed the range.
pub const IDS: RangeInclusive<u32> = 8_100_000..=8_100_999;

/// The rule that refuses what scored too high.
pub const DECISION: u32 = 8_100_900;

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
