//! The settings of a zone: `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `compile`.

use std::path::PathBuf;
use std::time::Duration;

use archipel_http::coding::Coding;
use http::{HeaderName, HeaderValue};
use serde_json::json;

use crate::cache::ZoneCache;
use crate::diagnostic::{Code, Problem};
use crate::firewall::ZoneFirewall;
use crate::host::{self, HostPattern};
use crate::kind::{
    Bytes, Count, DAY, FieldName, FilePath, Flag, Hosts, Kind, MediaTypePatterns, Optional, PathPattern, SECOND,
    ServerName, Time, Url, Word, Words, quote,
};
use crate::lists::{LISTS_MAX, NamedList};
use crate::node::all_defaults;
use crate::overload::{OriginBreaker, OriginConcurrency};
use crate::phases::{
    CustomErrorRule, PHASE_RULES_MAX, RedirectRule, ResponseHeadersRule, RewriteRule, RouteRule, SettingsRule,
};
use crate::rate_limits::{RATE_LIMITS_MAX, RateLimitRule};
use crate::settings::settings;
use crate::shield::ZoneShield;
use crate::tree::{Node, Value};
use crate::url::HttpUrl;

settings! {
    /// One zone: a site, its hosts and its origin. File `zones/<name>.toml`; the file's name is the zone's.
    pub struct ZoneConfig {
        required {
            /// The hosts that the zone answers for: names, `*.example.com` for every name below, `*` for every host that no
            /// other zone claims. An exact name wins over a wildcard, a longer wildcard over a shorter.
            hosts: Vec<HostPattern> = Hosts;
        }
        required_tables {
            /// See [`ZoneOrigin`].
            origin: ZoneOrigin;
        }
        tables {
            /// See [`ZoneCache`].
            cache: ZoneCache;
            /// See [`ZoneCompression`].
            compression: ZoneCompression;
            /// See [`ZoneTls`].
            tls: ZoneTls;
            /// See [`ZoneLimits`].
            limits: ZoneLimits;
            /// See [`ZoneHeaders`].
            headers: ZoneHeaders;
            /// See [`ZonePurge`].
            purge: ZonePurge;
            /// See [`ErrorPageFiles`].
            error_pages: ErrorPageFiles;
            /// See [`ZoneShield`].
            shield: ZoneShield;
            /// See [`ZoneFirewall`].
            firewall: ZoneFirewall;
        }
        lists {
            /// Lists for the zone's rules.
            lists: NamedList = "lists", LISTS_MAX;
            /// See [`SettingsRule`].
            settings_rules: SettingsRule = "settings_rules", PHASE_RULES_MAX;
            /// See [`RateLimitRule`].
            rate_limits: RateLimitRule = "rate_limits", RATE_LIMITS_MAX;
            /// See [`RedirectRule`].
            redirects: RedirectRule = "redirects", PHASE_RULES_MAX;
            /// See [`RewriteRule`].
            rewrites: RewriteRule = "rewrites", PHASE_RULES_MAX;
            /// See [`RouteRule`].
            routes: RouteRule = "routes", PHASE_RULES_MAX;
            /// See [`ResponseHeadersRule`].
            response_headers: ResponseHeadersRule = "response_headers", PHASE_RULES_MAX;
            /// See [`CustomErrorRule`].
            custom_errors: CustomErrorRule = "custom_errors", PHASE_RULES_MAX;
        }
    }
}

settings! {
    /// The server that the edge stands in front of.
    pub struct ZoneOrigin {
        required {
            /// Scheme, host and port of the origin.
            url: HttpUrl = Url { https: true, path: false };
        }
        settings {
            /// The `Host` that the origin sees: "visitor" passes on the visitor's, "origin" sends the origin's own name, and
            /// anything else is sent as it is.
            host: OriginHost = OriginHostKind, OriginHost::Visitor;
            /// Whether the origin's certificate is verified. Without it anyone on the way can be the origin.
            tls_verify: bool = Flag, true;
            /// Name that is asked for (SNI) and verified in the origin's certificate, where it is not the URL's host.
            tls_server_name: Option<Box<str>> = Optional(ServerName), None;
            /// PEM file with the CA that the origin's certificate comes from, instead of the system's list.
            tls_ca_file: Option<PathBuf> = Optional(FilePath), None;
            /// Whether HTTP/2 is used towards the origin: with https as ALPN finds, with http by prior knowledge.
            http2: bool = Flag, false;
            /// Time for a new connection, with its TLS handshake.
            connect_timeout: Duration = Time(10, 600 * SECOND), Duration::from_secs(5);
            /// Time from the sent request to the reply's header section.
            first_byte_timeout: Duration = Time(10, DAY), Duration::from_secs(60);
            /// Longest silence in the middle of a reply.
            between_bytes_timeout: Duration = Time(10, DAY), Duration::from_secs(60);
            /// How long an unused connection is kept. Keep it below the origin's own idle timeout.
            idle_timeout: Duration = Time(0, DAY), Duration::from_secs(60);
            /// Open connections to the origin, per worker.
            connections_max: usize = Count(1, 1_000_000), 1_024;
            /// Unused connections that are kept, per worker.
            idle_connections_max: usize = Count(0, 1_000_000), 64;
            /// How often a request is tried again where that is safe: nothing of it was processed, or its method is
            /// idempotent and its body not yet sent.
            retries_max: u32 = Count(0, 10), 1;
        }
        tables {
            /// See [`OriginConcurrency`].
            concurrency: OriginConcurrency;
            /// See [`OriginBreaker`].
            breaker: OriginBreaker;
        }
    }
}

settings! {
    /// Content codings (RFC 9110 section 8.4): what is compressed for visitors, and how.
    pub struct ZoneCompression {
        settings {
            /// Whether replies are compressed for visitors who accept it (`Accept-Encoding`). What the origin compressed is kept.
            enabled: bool = Flag, true;
            /// Codings of what is stored, made once and kept; the preferred first, among those that a visitor likes equally.
            codings: Vec<Coding> = Words::new().list(), vec![Coding::Brotli, Coding::Zstd, Coding::Gzip];
            /// Codings of what is not stored, made for each reply; the preferred first. Empty leaves such replies alone, which is
            /// right for pages that show a visitor's secret beside text that others can choose (BREACH).
            passed_codings: Vec<Coding> = Words::new().list(), vec![Coding::Zstd, Coding::Brotli, Coding::Gzip];
            /// Codings that the origin is asked for where its reply may be stored, the same for all visitors, so that one reply
            /// serves everybody. Empty asks for the content itself, of which every coding can be made.
            origin_codings: Vec<Coding> = Words::new().list(), Vec::new();
            /// Types that are compressed: `type/subtype`, `type/*` or `*+suffix`. `text/event-stream` is one only if it is
            /// named.
            types: Vec<Box<str>> = MediaTypePatterns, default_types();
            /// Shorter replies are left alone.
            bytes_min: u64 = Bytes(0, 1 << 20), 1 << 10;
            /// Longer replies are left alone, where their length is stated.
            bytes_max: u64 = Bytes(1 << 10, 1 << 40), 16 << 20;
            /// Whether what the origin compressed is decompressed for visitors who do not accept its coding.
            decode: bool = Flag, true;
            /// Most bytes that come out of one reply that is decompressed; beyond, it breaks off.
            decoded_bytes_max: u64 = Bytes(1 << 10, 1 << 40), 64 << 20;
            /// Most decompressed bytes for each compressed one, beyond the first MiB; beyond, the reply breaks off.
            decoded_ratio_max: u32 = Count(2, 1_000_000), 200;
        }
        tables {
            /// See [`CodingLevels`].
            levels: CodingLevels;
            /// See [`BackgroundLevels`].
            background_levels: BackgroundLevels;
            /// See [`Dictionaries`].
            dictionaries: Dictionaries;
        }
    }
}

settings! {
    /// Levels while a visitor waits: for replies that are not stored, and for the first visitor of one that is.
    pub struct CodingLevels {
        settings {
            /// Level of gzip.
            gzip: u32 = Count(1, 9), 5;
            /// Level of br.
            br: u32 = Count(0, 11), 4;
            /// Level of zstd.
            zstd: u32 = Count(1, 19), 3;
        }
    }
}

settings! {
    /// Levels for what is stored and asked for again: made in the background, with the time that the node has left. 0 keeps
    /// what was made for the first visitor.
    pub struct BackgroundLevels {
        settings {
            /// Level of gzip.
            gzip: u32 = Count(0, 9), 9;
            /// Level of br.
            br: u32 = Count(0, 11), 10;
            /// Level of zstd.
            zstd: u32 = Count(0, 19), 19;
            /// Longer replies keep what was made for the first visitor.
            bytes_max: u64 = Bytes(0, 1 << 40), 4 << 20;
        }
    }
}

settings! {
    /// Compression against a reply that the visitor has already, such as the last version of a script (RFC 9842, `dcz`).
    /// Browsers use it over TLS only.
    pub struct Dictionaries {
        settings {
            /// Whether stored replies with `Use-As-Dictionary` are used for visitors who have them.
            enabled: bool = Flag, false;
            /// Largest reply that is used as a dictionary; it is read for each reply that refers to it.
            bytes_max: u64 = Bytes(1 << 10, 8 << 20), 1 << 20;
            /// Replies that are known as dictionaries at once; the oldest is forgotten.
            count_max: usize = Count(1, 1_000), 16;
        }
        lists {
            /// Replies that are dictionaries although the origin does not say so.
            rules: DictionaryRule = "rule", 64;
        }
    }
}

settings! {
    /// Replies that are dictionaries although the origin does not say so.
    pub struct DictionaryRule {
        required {
            /// Path of these replies and of those that may refer to them, `*` for any characters: such as `/js/app.*.js`.
            pattern: Box<str> = PathPattern;
        }
    }
}

settings! {
    /// TLS towards the zone's visitors.
    pub struct ZoneTls {
        settings {
            /// PEM file with the certificate for the zone's hosts, followed by its chain.
            certificate: Option<PathBuf> = Optional(FilePath), None;
            /// PEM file with the private key.
            key: Option<PathBuf> = Optional(FilePath), None;
            /// Whether requests in plain text are redirected to https (status 308).
            redirect_http: bool = Flag, false;
        }
    }
}

settings! {
    /// What a request to this zone may do.
    pub struct ZoneLimits {
        settings {
            /// Largest body of a request (status 413); 0 is no limit.
            body_bytes_max: u64 = Bytes(0, 1 << 50), 1 << 30;
            /// Whether upgrades are passed on: WebSocket, extended CONNECT.
            upgrades: bool = Flag, true;
        }
    }
}

settings! {
    /// Header fields that the edge adds.
    pub struct ZoneHeaders {
        settings {
            /// Field with the request's id, on the request to the origin and on every reply.
            request_id: HeaderName = FieldName, HeaderName::from_static("x-request-id");
            /// Whether replies carry `Server-Timing` with what the edge took.
            server_timing: bool = Flag, false;
            /// Whether replies that the edge made itself carry `Proxy-Status` (RFC 9209).
            proxy_status: bool = Flag, true;
            /// Whether the origin is told the visitor's address, scheme and host: `X-Forwarded-For`, `-Proto` and `-Host`.
            forwarded_for: bool = Flag, true;
            /// Whether requests and replies carry `Via` (RFC 9110 section 7.6.3).
            via: bool = Flag, true;
        }
    }
}

settings! {
    /// Purging by visitors' requests, and the tags that purges go by. The commands and the admin listener purge whatever stands here.
    pub struct ZonePurge {
        settings {
            /// Whether `PURGE /path` with the token purges that URL. Off, it is refused with status 405; it never reaches the origin.
            method: bool = Flag, false;
            /// File with the token, 16 to 512 characters, which its owner alone may read (mode 0600).
            token_file: Option<PathBuf> = Optional(FilePath), None;
            /// Field of a PURGE request that carries the token; in `Authorization` it stands behind `Bearer`.
            token_header: HeaderName = FieldName, HeaderName::from_static("authorization");
            /// Whether replies to visitors keep `Surrogate-Key` and `Cache-Tag`, which say what a site is made of.
            keep_tags: bool = Flag, false;
        }
    }
}

settings! {
    /// HTML files that replace the edge's own error pages, by kind. Each is read when the configuration is loaded and has
    /// at most 256KiB.
    pub struct ErrorPageFiles {
        settings {
            /// For every kind that has no page of its own.
            default: Option<PathBuf> = Optional(FilePath), None;
            /// No connection to the origin (status 502).
            origin_unreachable: Option<PathBuf> = Optional(FilePath), None;
            /// The origin did not answer in time (status 504).
            origin_timeout: Option<PathBuf> = Optional(FilePath), None;
            /// The origin's reply cannot be passed on (status 502).
            origin_bad_reply: Option<PathBuf> = Optional(FilePath), None;
            /// The request breaks a limit or a rule (status 4xx).
            refused: Option<PathBuf> = Optional(FilePath), None;
            /// The edge itself failed or is overloaded (status 500 or 503).
            internal: Option<PathBuf> = Optional(FilePath), None;
        }
    }
}

all_defaults!(
    ZoneCompression,
    CodingLevels,
    BackgroundLevels,
    Dictionaries,
    ZoneTls,
    ZoneLimits,
    ZoneHeaders,
    ZonePurge,
    ErrorPageFiles
);

impl Word for Coding {
    const WORDS: &'static [(&'static str, Self)] =
        &[("br", Coding::Brotli), ("zstd", Coding::Zstd), ("gzip", Coding::Gzip)];
}

/// Text, and what compresses like it.
const TYPES: [&str; 16] = [
    "text/*",
    "*+json",
    "*+xml",
    "application/javascript",
    "application/x-javascript",
    "application/json",
    "application/x-ndjson",
    "application/xml",
    "application/wasm",
    "application/vnd.ms-fontobject",
    "font/ttf",
    "font/otf",
    "font/collection",
    "image/bmp",
    "image/x-icon",
    "image/vnd.microsoft.icon",
];

fn default_types() -> Vec<Box<str>> {
    TYPES.map(Box::from).to_vec()
}

/// The `Host` that the origin sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OriginHost {
    /// The visitor's.
    Visitor,
    /// The origin's own, from its URL.
    Origin,
    /// This one.
    Literal(HeaderValue),
}

pub(crate) struct OriginHostKind;

impl Kind<OriginHost> for OriginHostKind {
    fn read(&self, node: &Node) -> Result<OriginHost, Vec<Problem>> {
        let Value::Text(text) = &node.value else {
            let message = format!("must be a text, not {}", node.value.type_name());
            return Err(vec![Problem::error(Code::WrongType, message)]);
        };
        match text.as_str() {
            "visitor" => return Ok(OriginHost::Visitor),
            "origin" => return Ok(OriginHost::Origin),
            _ => {}
        }
        let name = match text.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok_and(|port| port > 0) && !name.is_empty() => name,
            _ => text.as_str(),
        };
        let checked = host::normalise(name).map_err(|error| (error.message, error.help));
        let value = checked.and_then(|_| {
            HeaderValue::from_str(text).map_err(|error| (error.to_string(), "write a host name".to_owned()))
        });
        value.map(OriginHost::Literal).map_err(|(message, help)| {
            vec![Problem::error(Code::BadHost, format!("is {}, which {message}", quote(text))).help(help)]
        })
    }

    fn write(&self, value: &OriginHost) -> Option<String> {
        Some(match value {
            OriginHost::Visitor => quote("visitor"),
            OriginHost::Origin => quote("origin"),
            OriginHost::Literal(host) => quote(&String::from_utf8_lossy(host.as_bytes())),
        })
    }

    fn name(&self) -> &'static str {
        "word or host"
    }

    fn allowed(&self) -> String {
        "\"visitor\", \"origin\" or a host".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }
}
