//! The settings of a zone: `zones/<name>.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `compile`.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use serde_json::json;

use crate::cache::ZoneCache;
use crate::diagnostic::{Code, Problem};
use crate::host::{self, HostPattern};
use crate::kind::{
    Bytes, Count, DAY, FieldName, FilePath, Flag, Hosts, Kind, Optional, SECOND, ServerName, Time, Url, quote,
};
use crate::node::all_defaults;
use crate::settings::settings;
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

all_defaults!(ZoneTls, ZoneLimits, ZoneHeaders, ZonePurge, ErrorPageFiles);

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

struct OriginHostKind;

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
