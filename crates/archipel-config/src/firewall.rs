//! What a zone lets in: `[firewall]`, `[[firewall.access]]` and `[[firewall.rules]]` in `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `check_rules`.

use http::HeaderValue;

use crate::cidr::CidrSet;
use crate::kind::expression::{Condition, Conditions};
use crate::kind::rule::{NotEmpty, RULE_IDS};
use crate::kind::text::{Asns, Countries, FieldValue, Line, ListName, Paragraphs};
use crate::kind::words;
use crate::kind::{Bytes, Cidrs, Count, Flag, Name, Optional, Word, Words};
use crate::managed::ManagedRules;
use crate::node::all_defaults;
use crate::settings::settings;

/// Most access rules of a zone.
pub const ACCESS_RULES_MAX: usize = 1_000;

/// Most custom rules of a zone.
pub const FIREWALL_RULES_MAX: usize = 4_096;

/// Longest id of a rule in bytes.
pub(crate) const RULE_ID_BYTES_MAX: usize = 64;

/// Longest description of a rule in bytes.
pub(crate) const RULE_DESCRIPTION_BYTES_MAX: usize = 256;

/// Largest body that a rule answers with, in bytes.
pub(crate) const RULE_BODY_BYTES_MAX: usize = 64 << 10;

settings! {
    /// The firewall: access rules, then custom rules, each in the order of the document. The first that answers ends it.
    pub struct ZoneFirewall {
        settings {
            /// What the firewall does: nothing, record what it would do, or do it.
            mode: FirewallMode = Words::new(), FirewallMode::Block;
            /// What rules see of a request's body (`http.request.body.*`); it is read before the origin is asked, and only where a rule
            /// of the zone reads it.
            body_bytes_max: usize = Bytes(1 << 10, 16 << 20), 128 << 10;
        }
        tables {
            /// See [`ManagedRules`].
            managed: ManagedRules;
        }
        lists {
            /// See [`AccessRule`].
            access: AccessRule = "access", ACCESS_RULES_MAX;
            /// See [`FirewallRule`].
            rules: FirewallRule = "rules", FIREWALL_RULES_MAX;
        }
    }
}

settings! {
    /// An access rule: who may come in, by address, country or network. It holds where one of its entries does.
    pub struct AccessRule {
        settings {
            /// What happens: "allow" passes by the firewall, managed rules included; required.
            action: Option<AccessAction> = Optional(Words::new()), None;
            /// Name in events; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// Addresses and ranges.
            ip: Option<CidrSet> = Optional(Cidrs), None;
            /// Name of a list with kind "ip".
            list: Option<Box<str>> = Optional(ListName), None;
            /// Countries, as the node's `geo.database` knows them. An unknown country is "XX".
            country: Option<Vec<[u8; 2]>> = Optional(NotEmpty(Countries)), None;
            /// Autonomous systems, as the node's `geo.asn_database` knows them.
            asn: Option<Vec<u32>> = Optional(NotEmpty(Asns)), None;
        }
    }
}

settings! {
    /// A custom rule: what happens to requests for which an expression of the rules language holds. Written in the order in which they
    /// are to be evaluated.
    pub struct FirewallRule {
        settings {
            /// The condition; required.
            expression: Option<Condition> = Optional(Conditions::REQUEST), None;
            /// What happens; required. "log" records and goes on, "skip" passes over what `skip` names; the others answer.
            action: Option<FirewallAction> = Optional(Words::new()), None;
            /// Name in events, metrics and `skip_rules`; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// Whether it leaves an event when it holds.
            log: bool = Flag, true;
            /// Status of the answer (block).
            status: Option<u32> = Optional(Count(400, 599)), None;
            /// `Content-Type` of `body` (block).
            content_type: Option<HeaderValue> = Optional(FieldValue(256)), None;
            /// Body of the answer (block), instead of the zone's page.
            body: Option<Box<str>> = Optional(Paragraphs(RULE_BODY_BYTES_MAX)), None;
            /// What is passed over (skip): "rules" are the custom rules after this one, "managed" the managed rules, the others phases of
            /// rules by the names of their tables.
            skip: Option<Vec<Skip>> = Optional(NotEmpty(Words::new().list())), None;
            /// Custom rules that are passed over (skip), by id.
            skip_rules: Option<Vec<Box<str>>> = Optional(NotEmpty(RULE_IDS)), None;
        }
    }
}

all_defaults!(ZoneFirewall);

words! {
    /// What the firewall of a zone does.
    FirewallMode {
        /// Nothing: no rule is evaluated.
        Off "off";
        /// It records what it would do, and blocks nobody.
        Log "log";
        /// It acts.
        Block "block";
    }
}

words! {
    /// What an access rule does.
    AccessAction {
        /// The request passes by the rest of the firewall.
        Allow "allow";
        /// The request is refused.
        Block "block";
        /// The request is recorded and goes on.
        Log "log";
        /// The visitor has to prove to be human.
        ManagedChallenge "managed_challenge";
        /// As `managed_challenge`, without interaction.
        JsChallenge "js_challenge";
        /// As `managed_challenge`, with interaction.
        Challenge "challenge";
    }
}

words! {
    /// What a custom rule does.
    FirewallAction {
        /// The request is refused.
        Block "block";
        /// The visitor has to prove to be human, in the way that the edge finds fit.
        ManagedChallenge "managed_challenge";
        /// As `managed_challenge`, without interaction.
        JsChallenge "js_challenge";
        /// As `managed_challenge`, with interaction.
        Challenge "challenge";
        /// The request is recorded and goes on.
        Log "log";
        /// What the rule names is not evaluated.
        Skip "skip";
    }
}

/// What a rule with action "skip" passes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The custom rules after it.
    Rules,
    /// The managed rules.
    Managed,
    /// `[[rate_limits]]`
    RateLimits,
    /// `[[redirects]]`
    Redirects,
    /// `[[rewrites]]`
    Rewrites,
    /// `[[cache.rules]]`
    CacheRules,
    /// `[[routes]]`
    Routes,
    /// `[[response_headers]]`
    ResponseHeaders,
    /// `[[custom_errors]]`
    CustomErrors,
}

impl Skip {
    /// A set of one.
    pub const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl Word for Skip {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("rules", Skip::Rules),
        ("managed", Skip::Managed),
        ("rate_limits", Skip::RateLimits),
        ("redirects", Skip::Redirects),
        ("rewrites", Skip::Rewrites),
        ("cache.rules", Skip::CacheRules),
        ("routes", Skip::Routes),
        ("response_headers", Skip::ResponseHeaders),
        ("custom_errors", Skip::CustomErrors),
    ];
}
