//! Managed rules: `[firewall.managed]` in `zones/<name>.toml`. Rules that somebody keeps for many sites, in ModSecurity's language.
//!
//! Each setting is described here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use crate::firewall::FirewallMode;
use crate::kind::managed::{RuleNumbers, RuleRange, Tags, Target, TargetKind};
use crate::kind::rule::NotEmpty;
use crate::kind::text::Line;
use crate::kind::{Bytes, Count, FilePath, Flag, Optional, PathPattern, SECOND, Time, Words, words};
use crate::node::all_defaults;
use crate::settings::settings;

/// Most exclusions of a zone.
pub const EXCLUSIONS_MAX: usize = 512;

settings! {
    /// Managed rules: Archipel's own, and the OWASP Core Rule Set. They look at requests after the custom rules, add up what they find
    /// to a score, and refuse at a threshold.
    pub struct ManagedRules {
        settings {
            /// Whether they are evaluated, and whether they block. "log" records what "block" would refuse. What [firewall] `mode` does
            /// not do, they do not do either.
            mode: FirewallMode = Words::new(), FirewallMode::Off;
            /// Sets of rules: "builtin" is Archipel's own, "crs" the OWASP Core Rule Set, installed with `archipel crs install`, named by
            /// the node's `firewall.crs_dir`, or found where Debian's modsecurity-crs puts it.
            rules: Vec<RuleSetName> = Words::new().list(), vec![RuleSetName::Builtin];
            /// How much the rule sets look for: 1 finds few things by mistake, 4 many.
            paranoia_level: u32 = Count(1, 4), 1;
            /// Score from which a request is refused. A critical finding scores 5.
            inbound_threshold: u32 = Count(1, 100_000), 5;
            /// Score from which a reply is refused, where `response` is on. A critical finding scores 5, a lesser one 4.
            outbound_threshold: u32 = Count(1, 100_000), 4;
            /// Percent of the requests that are evaluated, chosen at random: to begin with on a busy site.
            sampling_percent: u32 = Count(1, 100), 100;
            /// Bytes of a request's body that are read and evaluated before the origin is asked; 0 evaluates no bodies.
            request_body_bytes_max: usize = Bytes(0, 64 << 20), 128 << 10;
            /// What happens to longer bodies, and to those of more values or files than are looked at: "pass" evaluates their beginning,
            /// "refuse" answers 413.
            longer_bodies: LongerBodies = Words::new(), LongerBodies::Pass;
            /// Arguments of a query, a form or JSON, and cookies, that are looked at one by one. A query or cookies with more are refused with
            /// 400. Of a body with more, words and numbers are looked at together then, and ten times as many are refused.
            arguments_max: u32 = Count(1, 100_000), 1_000;
            /// Whether replies are evaluated, when they come from the origin: for what they tell of its inside.
            response: bool = Flag, false;
            /// Bytes of a reply's body that are read and evaluated before any of it is sent; 0 evaluates no bodies.
            response_body_bytes_max: usize = Bytes(0, 64 << 20), 512 << 10;
            /// Longest time for the rules of one request, in steps: a rule over it is stopped and reported.
            time_max: Duration = Time(1, 60 * SECOND), Duration::from_millis(250);
            /// What happens to a request for which the rules could not be evaluated to their end. With "open", whoever makes a request
            /// costly passes by the rules.
            fail: FailPolicy = Words::new(), FailPolicy::Closed;
            /// File with directives that come before the rule sets: what crs-setup.conf would hold, and exclusions that run with them.
            before_file: Option<PathBuf> = Optional(FilePath), None;
            /// File with directives that come behind the rule sets: own rules, and changes of theirs.
            after_file: Option<PathBuf> = Optional(FilePath), None;
        }
        lists {
            /// See [`ManagedExclusion`].
            exclusions: ManagedExclusion = "exclusions", EXCLUSIONS_MAX;
        }
    }
}

settings! {
    /// What managed rules do not look at: some rules, everywhere or below a path, all of a request or one parameter of it.
    /// `archipel firewall suggest` writes these.
    pub struct ManagedExclusion {
        settings {
            /// Numbers of rules, such as "942100", and ranges, such as "942100-942199".
            rules: Option<Vec<RuleRange>> = Optional(NotEmpty(RuleNumbers)), None;
            /// Tags of rules, such as "attack-sqli".
            tags: Option<Vec<Box<str>>> = Optional(NotEmpty(Tags)), None;
            /// Path to which it applies, `*` for any characters; everywhere without one.
            path: Option<Box<str>> = Optional(PathPattern), None;
            /// What is not looked at, such as "ARGS:comment", "REQUEST_COOKIES:session" or "REQUEST_HEADERS:Referer"; all of the request
            /// without one.
            target: Option<Target> = Optional(TargetKind), None;
            /// Why.
            description: Option<Box<str>> = Optional(Line(256)), None;
        }
    }
}

all_defaults!(ManagedRules);

words! {
    /// A set of rules.
    RuleSetName {
        /// Archipel's own.
        Builtin "builtin";
        /// The OWASP Core Rule Set.
        Crs "crs";
    }
}

words! {
    /// What happens to bodies that are longer than what is evaluated.
    LongerBodies {
        /// Their beginning is evaluated.
        Pass "pass";
        /// They are refused with 413.
        Refuse "refuse";
    }
}

words! {
    /// What happens where rules could not be evaluated.
    FailPolicy {
        /// The request goes on.
        Open "open";
        /// The request is refused with 503.
        Closed "closed";
    }
}
