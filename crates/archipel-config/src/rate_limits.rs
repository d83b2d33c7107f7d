//! How often something may be asked for: `[[rate_limits]]` in `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `check_rules`.

use std::time::Duration;

use http::HeaderValue;

use crate::firewall::{RULE_BODY_BYTES_MAX, RULE_DESCRIPTION_BYTES_MAX, RULE_ID_BYTES_MAX};
use crate::kind::characteristic::{Characteristic, Characteristics, by_address};
use crate::kind::expression::{Condition, Conditions};
use crate::kind::text::{FieldValue, Line, Paragraphs};
use crate::kind::words;
use crate::kind::{Count, DAY, Flag, Name, Optional, SECOND, Time, Words};
use crate::settings::settings;

/// Most rate limits of a zone.
pub const RATE_LIMITS_MAX: usize = 256;

settings! {
    /// A rate limit (Cloudflare's rate limiting rules): how many requests may come in a period from whoever they have in common. After
    /// the custom rules, before the managed rules. The first that refuses answers.
    pub struct RateLimitRule {
        settings {
            /// Which requests are refused once there were too many; required.
            expression: Option<Condition> = Optional(Conditions::REQUEST), None;
            /// What the requests have in common that are counted together; each combination of values has a counter of its own.
            characteristics: Vec<Characteristic> = Characteristics, by_address();
            /// The period, a window that slides by tenths of itself.
            period: Duration = Time(SECOND, DAY), Duration::from_secs(60);
            /// Most requests that are counted in a period; required.
            requests: Option<u32> = Optional(Count(1, 10_000_000)), None;
            /// Which requests count, where not those of `expression`; also by what was replied, such as `http.response.code eq 401`.
            counting_expression: Option<Condition> = Optional(Conditions::RESPONSE), None;
            /// How long requests are refused once there were too many; 0 is until the period allows another one.
            mitigation_timeout: Duration = Time(0, DAY), Duration::ZERO;
            /// What happens to requests that are too many.
            action: RateLimitAction = Words::new(), RateLimitAction::Block;
            /// Whether only requests that go to the origin count. What the cache answers is then never refused.
            requests_to_origin: bool = Flag, false;
            /// Status of the answer (block); without one, 429.
            status: Option<u32> = Optional(Count(400, 599)), None;
            /// `Content-Type` of `body` (block).
            content_type: Option<HeaderValue> = Optional(FieldValue(256)), None;
            /// Body of the answer (block), instead of the zone's page.
            body: Option<Box<str>> = Optional(Paragraphs(RULE_BODY_BYTES_MAX)), None;
            /// Whether replies tell the visitor what is allowed and what is left (`RateLimit-Policy`, `RateLimit`).
            ratelimit_headers: bool = Flag, true;
            /// Name in events, metrics and `RateLimit` fields; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// Counters that are exact, 64 bytes each; of more at once, those that were counted least are estimated, in 48 bytes each.
            counters_max: usize = Count(1_024, 4_194_304), 16_384;
        }
    }
}

words! {
    /// What a rate limit does with requests that are too many.
    RateLimitAction {
        /// They are refused.
        Block "block";
        /// The visitor has to prove to be human, in the way that the edge finds fit.
        ManagedChallenge "managed_challenge";
        /// As `managed_challenge`, without interaction.
        JsChallenge "js_challenge";
        /// As `managed_challenge`, with interaction.
        Challenge "challenge";
        /// They are recorded and go on.
        Log "log";
    }
}
