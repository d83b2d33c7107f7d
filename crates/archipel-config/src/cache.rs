//! What a zone stores and for how long: `[cache]` and `[[cache.rules]]` in `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `check_cache`.

use std::time::Duration;

use archipel_http::path_pattern::PathPattern;
use archipel_http::query::NamePattern;
use http::HeaderName;

use crate::host::HostPattern;
use crate::kind::expression::{Condition, Conditions};
use crate::kind::rule::{
    COOKIES, EXTENSIONS, FIELD_TESTS, FIELDS, FieldTest, KEY_FIELDS, LANGUAGES, NAMES, NotEmpty, PATHS, StatusRange,
    StatusTtls, TESTS,
};
use crate::kind::words;
use crate::kind::{Bytes, DAY, Flag, Hosts, Name, Optional, SECOND, Time, Word, Words};
use crate::node::all_defaults;
use crate::settings::settings;

/// Most cache rules of a zone.
pub const CACHE_RULES_MAX: usize = 256;

/// Longest name of a cache rule.
const RULE_NAME_BYTES_MAX: usize = 64;

settings! {
    /// What is stored, and for how long (RFC 9111).
    pub struct ZoneCache {
        settings {
            /// Whether anything is stored.
            enabled: bool = Flag, true;
            /// Lifetime of replies that state none, where their status is 200, 203, 204, 300, 301 or 308; 0s stores only what the origin allows.
            default_ttl: Duration = Time(0, 365 * DAY), Duration::ZERO;
            /// Longest lifetime of replies with a status of 400 or more, whoever states it.
            error_ttl_max: Option<Duration> = Optional(Time(0, 365 * DAY)), None;
            /// Whether a visitor's `Cache-Control` and `Pragma` are obeyed. Off, so that a visitor cannot make the origin work.
            honour_request_directives: bool = Flag, false;
            /// Whether requests for an object that is being fetched wait for it instead of asking the origin too.
            collapse: bool = Flag, true;
            /// How long such a request waits before it asks the origin itself.
            collapse_wait: Duration = Time(0, 600 * SECOND), Duration::from_secs(10);
            /// How long a reply that may not be stored is remembered as such: requests for it do not wait for each other.
            hit_for_miss: Duration = Time(0, DAY), Duration::from_secs(10);
            /// Largest object that the zone stores; with 0 the node's `cache.object_bytes_max` is the limit of what is stored in
            /// one piece, and there is none for what is stored in slices.
            object_bytes_max: u64 = Bytes(0, 1 << 40), 0;
            /// Memory that the zone's stored objects take, with all that belongs to them; at it, the zone gives up its own objects, and
            /// what it has within it is not given up for other zones. 0 shares with all zones that have none what the others leave.
            memory_bytes_max: u64 = Bytes(0, 1 << 44), 0;
            /// The same of the disk tier; at least 4MiB, or 0.
            disk_bytes_max: u64 = Bytes(0, 1 << 50), 0;
            /// Size of the slices in which large objects are fetched, stored and evicted; 0 stores every object in one piece.
            /// A slice is at least 4KiB and at most half of the node's `cache.object_bytes_max`.
            slice_bytes: u64 = Bytes(0, 256 << 20), 4 << 20;
            /// Replies of at least this size are stored in slices, where they have a strong `ETag`.
            sliced_bytes_min: u64 = Bytes(0, 1 << 40), 16 << 20;
            /// How long after its end a reply may be served if the origin fails (RFC 5861 section 4), where the reply does not say.
            stale_if_error: Duration = Time(0, 365 * DAY), Duration::ZERO;
            /// How long after its end a reply may be served if the origin cannot be reached at all (RFC 9111 section 4.2.4), where
            /// the reply does not forbid it; 0s is never.
            stale_if_unreachable: Duration = Time(0, 365 * DAY), Duration::from_secs(86_400);
            /// How long after its end a reply may be served while a new one is fetched (RFC 5861 section 3), where the reply does not say.
            stale_while_revalidate: Duration = Time(0, 365 * DAY), Duration::ZERO;
            /// Whether the last good reply, whatever its age, stands in for an origin that cannot be reached or replies with 5xx:
            /// "obey" where the reply does not forbid it (`must-revalidate`, `no-cache`, `s-maxage`), "always" even then.
            always_online: AlwaysOnlineMode = Words::new(), AlwaysOnlineMode::Off;
            /// How long after its end a reply stands in for the origin (`always_online`).
            always_online_max: Duration = Time(SECOND, 365 * DAY), Duration::from_secs(7 * 86_400);
            /// What `Set-Cookie` in a reply means: "refuse" does not store the reply, "strip" stores it without the field, "store" with it,
            /// and one visitor's cookie reaches the others.
            set_cookie: SetCookieMode = Words::new(), SetCookieMode::Refuse;
            /// Whether a reply whose `Content-Type` does not fit the extension that its path ends with is not stored: it may be a
            /// page about one visitor under the name of a static file (cache deception).
            deception_guard: bool = Flag, true;
            /// Whether `No-Vary-Search` in a reply lets it answer requests with other queries.
            no_vary_search: bool = Flag, true;
            /// Whether replies carry `Cache-Status` (RFC 9211).
            cache_status: bool = Flag, true;
            /// Whether the query is left out of the cache key.
            ignore_query: bool = Flag, false;
        }
        lists {
            /// See [`CacheRule`].
            rules: CacheRule = "rules", CACHE_RULES_MAX;
        }
    }
}

settings! {
    /// A cache rule. Every rule whose conditions hold counts, in the order of the document: each setting that it has takes the place
    /// of what the zone and the rules before it say, so that a general rule comes first and its exceptions after it.
    pub struct CacheRule {
        settings {
            /// Name in explanations; without one the rule's number counts.
            name: Option<String> = Optional(Name(RULE_NAME_BYTES_MAX)), None;
            /// Whether the rule counts at all.
            enabled: bool = Flag, true;
            /// Whether requests pass the cache by: not looked up, not stored.
            bypass: Option<bool> = Optional(Flag), None;
            /// Lifetime of replies with status 200, 203, 204, 300, 301 or 308.
            edge_ttl: Option<Duration> = Optional(Time(0, 365 * DAY)), None;
            /// Lifetimes of replies by status: a code, a class (`5xx`) or a range; before `edge_ttl`.
            status_ttl: Option<Vec<(StatusRange, Duration)>> = Optional(StatusTtls), None;
            /// What the rule's lifetimes mean: "respect" ignores them, "default" uses them where the origin states none, "override"
            /// whatever it states, but for `no-store`, `private` and `no-cache`. Without it, lifetimes are defaults.
            edge_ttl_mode: Option<TtlMode> = Optional(Words::new()), None;
            /// Directives of the origin that do not count where a lifetime is overridden.
            disregard: Option<Vec<Directive>> = Optional(Words::new().list()), None;
            /// Longest lifetime of replies with a status of 400 or more, whoever states it.
            error_ttl_max: Option<Duration> = Optional(Time(0, 365 * DAY)), None;
            /// How long the visitor's browser keeps a reply, from its delivery on: `max-age` is written anew and `Expires` left out. Replies
            /// with `no-store`, `no-cache` or `private`, and errors, stay as they are.
            browser_ttl: Option<Duration> = Optional(Time(0, 365 * DAY)), None;
            /// What `browser_ttl` means: "respect" ignores it, "default" uses it where the origin states neither `max-age` nor
            /// `Expires`, "override" whatever it states. Without it, `browser_ttl` overrides.
            browser_ttl_mode: Option<TtlMode> = Optional(Words::new()), None;
            /// As `cache.set_cookie`.
            set_cookie: Option<SetCookieMode> = Optional(Words::new()), None;
            /// Largest object that is stored; never more than the zone's.
            object_bytes_max: Option<u64> = Optional(Bytes(1, 1 << 40)), None;
            /// As `cache.stale_if_error`.
            stale_if_error: Option<Duration> = Optional(Time(0, 365 * DAY)), None;
            /// As `cache.stale_while_revalidate`.
            stale_while_revalidate: Option<Duration> = Optional(Time(0, 365 * DAY)), None;
            /// As `cache.always_online`.
            always_online: Option<AlwaysOnlineMode> = Optional(Words::new()), None;
            /// As `cache.always_online_max`.
            always_online_max: Option<Duration> = Optional(Time(SECOND, 365 * DAY)), None;
            /// As `cache.deception_guard`.
            deception_guard: Option<bool> = Optional(Flag), None;
            /// Fields in the origin's `Vary` that do not count, such as "user-agent" where the key has the device.
            vary_ignore: Option<Vec<HeaderName>> = Optional(FIELDS), None;
            /// Where the origin varies by `Accept-Language`: which of these languages a visitor prefers is compared, not the whole field.
            vary_languages: Option<Vec<Box<str>>> = Optional(LANGUAGES), None;
        }
        tables {
            /// See [`CacheWhen`].
            when: CacheWhen;
            /// See [`CacheKeyParts`].
            key: CacheKeyParts;
        }
    }
}

settings! {
    /// The conditions of a cache rule: all that are given must hold, and of each one entry is enough. Without any the rule always
    /// holds. There is none for the method: a reply is stored for GET and HEAD together.
    pub struct CacheWhen {
        settings {
            /// The path, without the query, in canonical form. `*` stands for any text, `/` included.
            path: Option<Vec<PathPattern>> = Optional(NotEmpty(PATHS)), None;
            /// What follows the last dot of the path's last segment, in any case.
            extension: Option<Vec<Box<str>>> = Optional(NotEmpty(EXTENSIONS)), None;
            /// The host.
            host: Option<Vec<HostPattern>> = Optional(Hosts), None;
            /// Parameters of the query, decoded.
            query: Option<Vec<FieldTest>> = Optional(NotEmpty(TESTS)), None;
            /// Header fields of the request.
            header: Option<Vec<FieldTest>> = Optional(NotEmpty(FIELD_TESTS)), None;
            /// Cookies.
            cookie: Option<Vec<FieldTest>> = Optional(NotEmpty(TESTS)), None;
            /// An expression of the rules language.
            expression: Option<Condition> = Optional(Conditions::HEAD), None;
        }
    }
}

settings! {
    /// What the cache key consists of, beside zone, scheme, host and path. A request with too much of it, or with names that some
    /// origins would read as one of these, passes the cache by.
    pub struct CacheKeyParts {
        settings {
            /// Parameters of the query: "all" as received, "none".
            query: Option<QueryMode> = Optional(Words::new()), None;
            /// Only these parameters. Names in any case; a name with other characters than letters, digits, `_` and `-` stays in the key.
            query_only: Option<Vec<NamePattern>> = Optional(NotEmpty(NAMES)), None;
            /// All parameters but these, such as "utm_*".
            query_except: Option<Vec<NamePattern>> = Optional(NotEmpty(NAMES)), None;
            /// Whether the order of parameters does not matter. Those of one name keep theirs.
            query_sort: Option<bool> = Optional(Flag), None;
            /// Values of these request fields.
            headers: Option<Vec<HeaderName>> = Optional(KEY_FIELDS), None;
            /// Values of these cookies.
            cookies: Option<Vec<Box<str>>> = Optional(COOKIES), None;
            /// Whether the class of the device is in the key: desktop, mobile or tablet, by `Sec-CH-UA-Mobile` and `User-Agent`.
            device: Option<bool> = Optional(Flag), None;
            /// Which of these languages the visitor prefers; the first where none.
            languages: Option<Vec<Box<str>>> = Optional(LANGUAGES), None;
        }
    }
}

all_defaults!(ZoneCache, CacheRule, CacheWhen, CacheKeyParts);

words! {
    /// What a lifetime of a rule means.
    TtlMode {
        /// Nothing: the origin decides.
        Respect "respect";
        /// It holds where the origin states none.
        Default "default";
        /// It holds whatever the origin states.
        Override "override";
    }
}

words! {
    /// What `Set-Cookie` in a reply means.
    SetCookieMode {
        /// The reply is not stored.
        Refuse "refuse";
        /// It is stored without the field.
        Strip "strip";
        /// It is stored with the field.
        Store "store";
    }
}

words! {
    /// Whether the last good reply stands in for a failing origin.
    AlwaysOnlineMode {
        /// No.
        Off "off";
        /// Where the reply does not forbid it.
        Obey "obey";
        /// Always.
        Always "always";
    }
}

words! {
    /// What of the query is in the key.
    QueryMode {
        /// All of it, as received.
        All "all";
        /// Nothing.
        None "none";
    }
}

/// A directive of the origin that a rule may disregard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// `no-store`
    NoStore,
    /// `private`
    Private,
    /// `no-cache`
    NoCache,
}

impl Word for Directive {
    const WORDS: &'static [(&'static str, Self)] =
        &[("no-store", Directive::NoStore), ("private", Directive::Private), ("no-cache", Directive::NoCache)];
}
