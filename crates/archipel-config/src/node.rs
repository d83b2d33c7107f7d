//! The settings of a node: `node.toml`.
//!
//! Each setting is described here and nowhere else. What several settings mean together is checked in `compile`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::cidr::CidrSet;
use crate::diagnostic::Problem;
use crate::kind::{
    Address, AnyPath, Bytes, Cidrs, Count, DAY, FilePath, Flag, Kind, Name, Optional, Ratio, SECOND, Time, Url, Word,
    Words, quote,
};
use crate::lists::{LISTS_MAX, NamedList};
use crate::settings::settings;
use crate::shield::NodeShield;
use crate::tree::{Node, Value};
use crate::url::HttpUrl;

/// Most listeners of a node.
pub const LISTENERS_MAX: usize = 64;

/// Most certificates that `node.toml` names.
pub const CERTIFICATES_MAX: usize = 10_000;

settings! {
    /// One node: where it listens, whom it trusts, and what it allows. File `node.toml`.
    pub struct NodeConfig {
        settings {
            /// Name of the node in logs, metrics and the header fields that name who answered.
            name: String = Name(64), "node".to_owned();
            /// Folder for what the node keeps between starts: the development CA, the sockets for a handover.
            state_dir: PathBuf = AnyPath, PathBuf::from("state");
            /// How many workers serve, each on a thread of its own; 0 is one a core.
            workers: usize = Count(0, 256), 0;
        }
        tables {
            /// See [`Admin`].
            admin: Admin;
            /// See [`Trust`].
            trust: Trust;
            /// See [`NodeLimits`].
            limits: NodeLimits;
            /// See [`Timeouts`].
            timeouts: Timeouts;
            /// See [`NodeTls`].
            tls: NodeTls;
            /// See [`NodeCache`].
            cache: NodeCache;
            /// See [`NodeCompression`].
            compression: NodeCompression;
            /// See [`Log`].
            log: Log;
            /// See [`Traces`].
            traces: Traces;
            /// See [`NodeFirewall`].
            firewall: NodeFirewall;
            /// See [`NodeGeo`].
            geo: NodeGeo;
            /// See [`NodeShield`].
            shield: NodeShield;
        }
        lists {
            /// The listeners; without any, 127.0.0.1:8080 in plain text and 127.0.0.1:8443 with TLS.
            listeners: Listener = "listen", LISTENERS_MAX;
            /// Certificates for any zone, chosen by the names in them.
            certificates: CertificateFiles = "certificate", CERTIFICATES_MAX;
            /// Lists for the rules of all zones.
            lists: NamedList = "lists", LISTS_MAX;
        }
    }
}

settings! {
    /// An address where visitors connect. Without any `[[listen]]` the node listens on 127.0.0.1:8080 in plain text and on
    /// 127.0.0.1:8443 with TLS.
    pub struct Listener {
        required {
            /// Address and port to listen on.
            address: SocketAddr = Address;
        }
        settings {
            /// Whether connections start with TLS.
            tls: bool = Flag, false;
            /// Whether connections start with a PROXY protocol header (version 1 or 2). Only peers
            /// listed in `trust.proxy_protocol_from` may and must send one; from others it is refused as malformed HTTP.
            proxy_protocol: bool = Flag, false;
        }
    }
}

settings! {
    /// The admin listener: metrics, health, readiness, purge. Purging alone takes a token.
    pub struct Admin {
        settings {
            /// Address and port of the admin listener.
            address: SocketAddr = Address, SocketAddr::from(([127, 0, 0, 1], 9180));
            /// Allows an address that other machines can reach. Put your own access control before it.
            allow_remote: bool = Flag, false;
            /// File with the token for `POST /purge` and `GET /purges`, 16 to 512 characters, which its owner alone may read
            /// (mode 0600). Without one the admin listener purges nothing.
            purge_token_file: Option<PathBuf> = Optional(FilePath), None;
        }
    }
}

settings! {
    /// Whose word about the visitor's address is taken. Nobody's by default.
    pub struct Trust {
        settings {
            /// Peers that may send a PROXY protocol header on listeners with `proxy_protocol`.
            proxy_protocol_from: CidrSet = Cidrs, CidrSet::default();
            /// Peers whose header field about the visitor's address is believed.
            client_address_from: CidrSet = Cidrs, CidrSet::default();
            /// The header field that those peers set; every other one is ignored.
            client_address_header: ClientAddressHeader = Words::new(), ClientAddressHeader::XForwardedFor;
        }
    }
}

settings! {
    /// What one node, one connection and one request may take up. A request beyond a limit is refused with the status
    /// that fits, and counted.
    pub struct NodeLimits {
        settings {
            /// Open connections of all visitors together.
            connections_max: usize = Count(1, 10_000_000), 100_000;
            /// Open connections from one address (IPv6: from one /64).
            connections_per_address_max: usize = Count(1, 10_000_000), 1_024;
            /// Request line and header section of one request (status 431).
            header_bytes_max: usize = Bytes(1 << 10, 1 << 20), 16 << 10;
            /// Header fields of one request (status 431).
            header_count_max: usize = Count(10, 10_000), 100;
            /// Request target (status 414).
            uri_bytes_max: usize = Bytes(256, 1 << 20), 8 << 10;
            /// Requests on one connection before it is closed in good order; 0 is no limit.
            requests_per_connection_max: u64 = Count(0, 1_000_000_000), 100_000;
            /// Open HTTP/2 streams of one connection.
            h2_streams_max: u32 = Count(1, 10_000), 128;
            /// Decoded header list of one HTTP/2 request, counted as RFC 9113 section 6.5.2 says.
            h2_header_list_bytes_max: u32 = Bytes(1 << 10, 1 << 20), 16 << 10;
            /// Streams that an HTTP/2 client may reset, or make the node reset, in 30 seconds on one connection.
            h2_resets_max: u32 = Count(1, 1_000_000), 200;
            /// SETTINGS, PING, PRIORITY and empty DATA frames that an HTTP/2 client may send in 10 seconds on one connection.
            h2_control_frames_max: u32 = Count(10, 1_000_000), 400;
            /// What is read of a request's body that nobody wants, before the connection is closed instead.
            drain_body_bytes_max: u64 = Bytes(0, 1 << 30), 256 << 10;
            /// Stored replies that are revalidated in the background at a time; one more is served stale without it. 0 is none.
            background_revalidations_max: usize = Count(0, 1_000_000), 512;
        }
    }
}

settings! {
    /// How long the node waits for a visitor.
    pub struct Timeouts {
        settings {
            /// From the start of a connection to the end of the TLS handshake.
            tls_handshake: Duration = Time(100, 600 * SECOND), Duration::from_secs(10);
            /// From the first byte of a request to the end of its header section.
            request_head: Duration = Time(100, 600 * SECOND), Duration::from_secs(10);
            /// Idle time between two requests.
            keep_alive: Duration = Time(100, DAY), Duration::from_secs(75);
            /// Longest silence while a request's body is read.
            body_progress: Duration = Time(100, DAY), Duration::from_secs(30);
            /// Longest time in which a visitor takes nothing of a reply.
            send_progress: Duration = Time(100, DAY), Duration::from_secs(30);
            /// Longest silence in both directions of an upgraded connection (WebSocket).
            upgrade_idle: Duration = Time(SECOND, 7 * DAY), Duration::from_secs(600);
            /// How long open requests may take to end when the node stops.
            drain: Duration = Time(0, DAY), Duration::from_secs(30);
        }
    }
}

settings! {
    /// TLS towards visitors.
    pub struct NodeTls {
        settings {
            /// Whether names without a certificate get one from a CA of the node's own, kept in `state_dir`. Browsers do not
            /// trust it unless told to; switch it off where every name has a certificate.
            development_ca: bool = Flag, true;
            /// Oldest TLS version that is accepted.
            min_version: TlsVersion = Words::new(), TlsVersion::V12;
            /// Whether visitors may resume a session without a full handshake.
            session_tickets: bool = Flag, true;
        }
    }
}

settings! {
    /// A certificate for any zone, chosen by the names in it. The first one also serves visitors that send no name.
    pub struct CertificateFiles {
        required {
            /// PEM file with the certificate, followed by its chain.
            certificate: PathBuf = FilePath;
            /// PEM file with the private key.
            key: PathBuf = FilePath;
        }
    }
}

settings! {
    /// The cache, shared by all zones: its memory. Below it there may be a disk tier.
    pub struct NodeCache {
        settings {
            /// Memory for stored objects, with all that belongs to them.
            memory_bytes_max: u64 = Bytes(0, 1 << 44), 256 << 20;
            /// Largest object that is stored.
            object_bytes_max: u64 = Bytes(0, 1 << 40), 32 << 20;
            /// Purged URLs, tags, prefixes, hosts and zones that are remembered; beyond this, the zone with the most of them forgets
            /// half, and what it stored before that counts as purged. Each takes 64 bytes of memory, and up to 256 on the disk.
            purge_scopes_max: usize = Count(1_024, 16_000_000), 65_536;
        }
        tables {
            /// See [`NodeCacheDisk`].
            disk: NodeCacheDisk;
        }
    }
}

settings! {
    /// The disk tier of the cache, below the memory: for what does not fit there, and for restarts.
    pub struct NodeCacheDisk {
        settings {
            /// Folder of the disk tier, which makes it where it is missing; empty is no disk tier. One node has it at a time.
            path: Option<PathBuf> = Optional(AnyPath), None;
            /// Space on the disk; never exceeded. The index takes up to 48 bytes of memory for each object.
            bytes_max: u64 = Bytes(16 << 20, 1 << 50), 10 << 30;
            /// Largest object that is stored on the disk; what is larger than the memory's largest goes there alone.
            object_bytes_max: u64 = Bytes(0, 1 << 37), 1 << 30;
            /// Objects that wait to be written; beyond this they are not written, and no request waits.
            queue_bytes_max: u64 = Bytes(1 << 20, 1 << 34), 64 << 20;
            /// How long a request waits for the disk before it is answered by the origin instead. The disk is left alone after several
            /// such waits in a row, and tried again.
            read_wait: Duration = Time(1, 60 * SECOND), Duration::from_secs(1);
        }
    }
}

settings! {
    /// What content codings may take of the node.
    pub struct NodeCompression {
        settings {
            /// Replies that are being compressed or decompressed at once while visitors wait, each with about 1 MiB of memory;
            /// beyond, replies are sent as they are stored.
            jobs_max: usize = Count(0, 1_000_000), 256;
            /// Threads that compress stored replies again with the zones' background levels, at the lowest priority; 0 switches
            /// it off.
            background_jobs_max: usize = Count(0, 64), 1;
            /// Replies that wait for such a thread; beyond, they wait until they are asked for again.
            background_queue_max: usize = Count(1, 1_000_000), 1_024;
        }
    }
}

settings! {
    /// The access log: one line of JSON for each request.
    pub struct Log {
        settings {
            /// Where it goes.
            access: AccessLog = AccessLogKind, AccessLog::Off;
            /// Records that wait to be written; beyond this they are dropped and counted, and no request waits.
            queue_records_max: usize = Count(1, 10_000_000), 65_536;
        }
    }
}

settings! {
    /// Traces of requests, sent with OTLP.
    pub struct Traces {
        settings {
            /// Collector to send to, such as http://127.0.0.1:4318/v1/traces; empty is off.
            otlp_endpoint: Option<HttpUrl> = Optional(Url { https: false, path: true }), None;
            /// Share of requests that are traced.
            sample_ratio: f64 = Ratio, 0.01;
        }
    }
}

settings! {
    /// What the firewalls of all zones share.
    pub struct NodeFirewall {
        settings {
            /// Events that each worker keeps for `archipel firewall events`, about 1 KiB each; the oldest go first. 0 keeps none.
            events_max: usize = Count(0, 1_000_000), 1_000;
            /// Folder of the OWASP Core Rule Set: a release, unpacked. Without it, the one that `archipel crs install` installed is used,
            /// or that of Debian's package modsecurity-crs.
            crs_dir: Option<PathBuf> = Optional(AnyPath), None;
        }
    }
}

settings! {
    /// Where visitors are: databases in the MaxMind DB format, such as GeoLite2-City and GeoLite2-ASN. They are read at the start and
    /// at each reload, and kept in memory. Without them every country is unknown.
    pub struct NodeGeo {
        settings {
            /// Database of countries or cities (`ip.src.country` and the like).
            database: Option<PathBuf> = Optional(FilePath), None;
            /// Database of autonomous systems (`ip.src.asnum`).
            asn_database: Option<PathBuf> = Optional(FilePath), None;
        }
    }
}

impl NodeCache {
    /// The largest object that any tier stores, in bytes.
    pub fn storable_bytes_max(&self) -> u64 {
        let disk = self.disk.path.as_ref().map_or(0, |_| self.disk.object_bytes_max);
        self.object_bytes_max.max(disk)
    }
}

macro_rules! all_defaults {
    ($($name:ty),+ $(,)?) => {
        $(impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        })+
    };
}

pub(crate) use all_defaults;

all_defaults!(
    NodeConfig,
    Admin,
    Trust,
    NodeLimits,
    Timeouts,
    NodeTls,
    NodeCache,
    NodeCacheDisk,
    NodeCompression,
    Log,
    Traces,
    NodeFirewall,
    NodeGeo
);

/// The header field that names the visitor's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientAddressHeader {
    /// `X-Forwarded-For`, read from the right past trusted peers.
    XForwardedFor,
    /// `Forwarded` (RFC 7239), read from the right past trusted peers.
    Forwarded,
    /// `True-Client-IP`.
    TrueClientIp,
    /// `CF-Connecting-IP`.
    CfConnectingIp,
    /// `X-Real-IP`.
    XRealIp,
}

impl ClientAddressHeader {
    /// The field's name in lower case.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, value)| *value == self).map_or("x-forwarded-for", |(word, _)| word)
    }
}

impl Word for ClientAddressHeader {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("x-forwarded-for", Self::XForwardedFor),
        ("forwarded", Self::Forwarded),
        ("true-client-ip", Self::TrueClientIp),
        ("cf-connecting-ip", Self::CfConnectingIp),
        ("x-real-ip", Self::XRealIp),
    ];
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V12,
    /// TLS 1.3 (RFC 8446).
    V13,
}

impl Word for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::V12), ("1.3", Self::V13)];
}

/// Where the access log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLog {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Appended to a file.
    File(PathBuf),
}

struct AccessLogKind;

impl Kind<AccessLog> for AccessLogKind {
    fn read(&self, node: &Node) -> Result<AccessLog, Vec<Problem>> {
        match &node.value {
            Value::Text(text) if text == "off" => Ok(AccessLog::Off),
            Value::Text(text) if text == "stdout" => Ok(AccessLog::Stdout),
            Value::Text(text) if text == "stderr" => Ok(AccessLog::Stderr),
            _ => AnyPath.read(node).map(AccessLog::File),
        }
    }

    fn write(&self, value: &AccessLog) -> Option<String> {
        Some(match value {
            AccessLog::Off => quote("off"),
            AccessLog::Stdout => quote("stdout"),
            AccessLog::Stderr => quote("stderr"),
            AccessLog::File(path) => quote(&path.to_string_lossy()),
        })
    }

    fn name(&self) -> &'static str {
        "word or path"
    }

    fn allowed(&self) -> String {
        "\"off\", \"stdout\", \"stderr\" or a file".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "string", "minLength": 1})
    }

    fn settle(&self, value: AccessLog, folder: &Path) -> AccessLog {
        match value {
            AccessLog::File(path) => AccessLog::File(folder.join(path)),
            other => other,
        }
    }
}
