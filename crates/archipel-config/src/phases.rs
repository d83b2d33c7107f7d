//! Rules that change requests and replies: `[[settings_rules]]`, `[[redirects]]`, `[[rewrites]]`, `[[routes]]`,
//! `[[response_headers]]` and `[[custom_errors]]` in `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `check_rules`.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::firewall::{FirewallMode, RULE_BODY_BYTES_MAX, RULE_DESCRIPTION_BYTES_MAX, RULE_ID_BYTES_MAX};
use crate::kind::expression::{Condition, Conditions, ValueExpression, Values};
use crate::kind::text::{EmptyCounts, FieldValue, Line, ListName, OneOf, Paragraphs, RuleField};
use crate::kind::words;
use crate::kind::{Bytes, Count, DAY, FilePath, Flag, Name, Optional, ServerName, Time, Url, Words};
use crate::settings::settings;
use crate::url::HttpUrl;
use crate::zone::{OriginHost, OriginHostKind};

/// Most rules of one table of a zone.
pub const PHASE_RULES_MAX: usize = 1_024;

/// Most header fields that one rule changes.
pub const RULE_HEADERS_MAX: usize = 30;

/// Longest literal target, path, query or field value of a rule, in bytes.
const RULE_VALUE_BYTES_MAX: usize = 4_096;

/// Statuses of a redirect.
pub const REDIRECT_STATUSES: &[u16] = &[301, 302, 303, 307, 308];

settings! {
    /// A rule about settings (Cloudflare's configuration rules): evaluated first. Every rule that holds counts, in the order of the
    /// document; each setting that it has takes the place of the zone's.
    pub struct SettingsRule {
        settings {
            /// The condition; required.
            expression: Option<Condition> = Optional(Conditions::HEAD), None;
            /// Name in explanations; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// As `firewall.mode`.
            firewall_mode: Option<FirewallMode> = Optional(Words::new()), None;
            /// As `limits.body_bytes_max`; never more than the zone's.
            body_bytes_max: Option<u64> = Optional(Bytes(1, 1 << 50)), None;
            /// As `limits.upgrades`.
            upgrades: Option<bool> = Optional(Flag), None;
            /// As `headers.server_timing`.
            server_timing: Option<bool> = Optional(Flag), None;
            /// As `compression.enabled`.
            compression: Option<bool> = Optional(Flag), None;
            /// As `origin.first_byte_timeout`.
            first_byte_timeout: Option<Duration> = Optional(Time(10, DAY)), None;
            /// As `origin.between_bytes_timeout`.
            between_bytes_timeout: Option<Duration> = Optional(Time(10, DAY)), None;
        }
    }
}

settings! {
    /// A redirect (Cloudflare's single and bulk redirects): after the firewall, before rewrites and the cache. The first that holds
    /// answers. With `list` the target is looked up by the request's URL in a list of kind "redirect", whose entries are
    /// `SOURCE TARGET [STATUS] [OPTION ...]` with the options `preserve_query_string`, `include_subdomains`, `subpath_matching` and
    /// `preserve_path_suffix`.
    pub struct RedirectRule {
        settings {
            /// The condition; required unless there is a `list`.
            expression: Option<Condition> = Optional(Conditions::REQUEST), None;
            /// Name in explanations; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// Target: an absolute URL, or a path on the same host.
            target: Option<Box<str>> = Optional(Line(RULE_VALUE_BYTES_MAX)), None;
            /// Target as an expression, such as `concat("https://new.example", http.request.uri.path)`.
            target_expression: Option<ValueExpression> = Optional(Values::REQUEST), None;
            /// Name of a list of kind "redirect".
            list: Option<Box<str>> = Optional(ListName), None;
            /// Status; entries of a list may have their own.
            status: u16 = OneOf(REDIRECT_STATUSES), 302;
            /// Whether the query of the request is added to the target.
            preserve_query_string: bool = Flag, false;
        }
    }
}

settings! {
    /// A rewrite of the request (Cloudflare's transform rules): before the cache key is made. Of several that set the path, the query
    /// or the same field, the last holds; each sees what the ones before it made.
    pub struct RewriteRule {
        settings {
            /// The condition; required.
            expression: Option<Condition> = Optional(Conditions::REQUEST), None;
            /// Name in explanations; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// New path, as it stands in a URL.
            path: Option<Box<str>> = Optional(Line(RULE_VALUE_BYTES_MAX)), None;
            /// New path as an expression. What could end a path in the result (`?`, `#`, spaces, control bytes) is percent-encoded.
            path_expression: Option<ValueExpression> = Optional(Values::REQUEST), None;
            /// New query without `?`; an empty text is none.
            query: Option<Box<str>> = EmptyCounts(Line(RULE_VALUE_BYTES_MAX)), None;
            /// New query as an expression. What could end a query in the result is percent-encoded.
            query_expression: Option<ValueExpression> = Optional(Values::REQUEST), None;
        }
        lists {
            /// See [`HeaderChange`].
            headers: HeaderChange = "headers", RULE_HEADERS_MAX;
        }
    }
}

settings! {
    /// A change of one header field.
    pub struct HeaderChange {
        settings {
            /// The field; required. Fields that frame a message or belong to its connection cannot be changed.
            name: Option<HeaderName> = Optional(RuleField), None;
            /// What is done.
            operation: HeaderOperation = Words::new(), HeaderOperation::Set;
            /// The value.
            value: Option<HeaderValue> = Optional(FieldValue(RULE_VALUE_BYTES_MAX)), None;
            /// The value as an expression. Without a result the field stays as it is; bytes that cannot stand in a field are left out.
            value_expression: Option<ValueExpression> = Optional(Values::RESPONSE), None;
        }
    }
}

settings! {
    /// A rule about where requests go (Cloudflare's origin rules). The last that holds counts. Replies of different origins are kept
    /// apart in the cache.
    pub struct RouteRule {
        settings {
            /// The condition; required.
            expression: Option<Condition> = Optional(Conditions::REQUEST), None;
            /// Name in explanations; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// Origin instead of the zone's; required. All else is as in `[origin]`.
            url: Option<HttpUrl> = Optional(Url { https: true, path: false }), None;
            /// As `origin.host`.
            host: Option<OriginHost> = Optional(OriginHostKind), None;
            /// As `origin.tls_server_name`.
            tls_server_name: Option<Box<str>> = Optional(ServerName), None;
        }
    }
}

settings! {
    /// A rule about the header fields of replies, at their delivery: what is stored stays as it is. Expressions may use
    /// `http.response.*`.
    pub struct ResponseHeadersRule {
        settings {
            /// The condition; required.
            expression: Option<Condition> = Optional(Conditions::RESPONSE), None;
            /// Name in explanations; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
        }
        lists {
            /// See [`HeaderChange`].
            headers: HeaderChange = "headers", RULE_HEADERS_MAX;
        }
    }
}

settings! {
    /// A rule about error replies (Cloudflare's custom errors, action "serve_error"): for replies with a status of 400 or more, the
    /// origin's or the edge's own. The first that holds counts.
    pub struct CustomErrorRule {
        settings {
            /// The condition; required.
            expression: Option<Condition> = Optional(Conditions::RESPONSE), None;
            /// Name in explanations; without one the rule's number counts.
            id: Option<String> = Optional(Name(RULE_ID_BYTES_MAX)), None;
            /// What the rule is for.
            description: Option<Box<str>> = Optional(Line(RULE_DESCRIPTION_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// Status of the answer; without one it stays.
            status: Option<u32> = Optional(Count(400, 599)), None;
            /// `Content-Type` of the body.
            content_type: HeaderValue = FieldValue(256), HeaderValue::from_static("text/html; charset=utf-8");
            /// Body.
            body: Option<Box<str>> = Optional(Paragraphs(RULE_BODY_BYTES_MAX)), None;
            /// File with the body, at most 256 KiB.
            file: Option<PathBuf> = Optional(FilePath), None;
        }
    }
}

words! {
    /// What is done with a header field.
    HeaderOperation {
        /// It has this value alone.
        Set "set";
        /// It has this value besides those that it had.
        Add "add";
        /// It goes.
        Remove "remove";
    }
}
