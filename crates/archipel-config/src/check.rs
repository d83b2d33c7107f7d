//! What several settings mean together: exposure, contradictions, settings without effect.
//!
//! Each check looks at settings that are right by themselves, and only reports.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::check_cache::check_cache;
use crate::compile::{NamedZone, Part, listeners};
use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::node::NodeConfig;
use crate::units;
use crate::url::HttpUrl;
use crate::zone::ZoneConfig;

pub(crate) fn check_node(node: &Part<NodeConfig>, out: &mut Diagnostics) {
    let config = &node.config;
    let admin = config.admin.address;
    if !admin.ip().is_loopback() && !config.admin.allow_remote {
        let problem =
            Problem::error(Code::Exposed, format!("`admin.address` is {admin}, which other machines can reach"))
                .help("the admin listener has no authentication: use 127.0.0.1, or set `admin.allow_remote = true`");
        node.report(out, "admin.address", problem);
    }
    check_listeners(node, out);
    let trust = &config.trust;
    if trust.client_address_from.is_empty() && node.given("trust.client_address_header") {
        let problem =
            Problem::warning(Code::NoEffect, "`trust.client_address_header` has no effect: nobody is believed")
                .help("list the peers that set the field in `trust.client_address_from`");
        node.report(out, "trust.client_address_header", problem);
    }
    if config.traces.otlp_endpoint.is_none() && node.given("traces.sample_ratio") {
        let problem = Problem::warning(Code::NoEffect, "`traces.sample_ratio` has no effect: traces are off")
            .help("set `traces.otlp_endpoint`");
        node.report(out, "traces.sample_ratio", problem);
    }
    let limits = &config.limits;
    if limits.connections_per_address_max > limits.connections_max && node.given("limits.connections_per_address_max") {
        let problem = Problem::warning(
            Code::NoEffect,
            format!(
                "`limits.connections_per_address_max` is above `limits.connections_max` ({})",
                limits.connections_max
            ),
        );
        node.report(out, "limits.connections_per_address_max", problem);
    }
    let shield = &config.shield;
    check_bursts(node, [("address", shield.address_rate), ("network", shield.network_rate)], out);
    let cache = &config.cache;
    check_disk(node, out);
    if cache.object_bytes_max > cache.memory_bytes_max && cache.memory_bytes_max > 0 {
        let path =
            if node.given("cache.object_bytes_max") { "cache.object_bytes_max" } else { "cache.memory_bytes_max" };
        let problem = Problem::warning(
            Code::Contradiction,
            "`cache.object_bytes_max` is above `cache.memory_bytes_max`: such an object is never stored",
        );
        node.report(out, path, problem);
    }
}

fn check_disk(node: &Part<NodeConfig>, out: &mut Diagnostics) {
    let disk = &node.config.cache.disk;
    if disk.path.is_none() {
        for path in [
            "cache.disk.bytes_max",
            "cache.disk.object_bytes_max",
            "cache.disk.queue_bytes_max",
            "cache.disk.read_wait",
        ] {
            if node.given(path) {
                let problem =
                    Problem::warning(Code::NoEffect, format!("`{path}` has no effect: there is no disk tier"))
                        .help("set `cache.disk.path`");
                node.report(out, path, problem);
            }
        }
    } else if disk.object_bytes_max > disk.bytes_max / 2 {
        let path = if node.given("cache.disk.object_bytes_max") {
            "cache.disk.object_bytes_max"
        } else {
            "cache.disk.bytes_max"
        };
        let problem = Problem::warning(
            Code::Contradiction,
            "`cache.disk.object_bytes_max` is above half of `cache.disk.bytes_max`: such an object would displace all others",
        );
        node.report(out, path, problem);
    }
}

fn check_listeners(node: &Part<NodeConfig>, out: &mut Diagnostics) {
    let mut seen: HashMap<SocketAddr, String> = HashMap::new();
    let admin = node.config.admin.address;
    if admin.port() != 0 {
        seen.insert(admin, "admin.address".to_owned());
    }
    let mut proxied = false;
    for (at, listener) in node.config.listeners.iter().enumerate() {
        let path = format!("listen[{at}].address");
        if listener.address.port() != 0
            && let Some(other) = seen.insert(listener.address, path.clone())
        {
            let problem = Problem::error(
                Code::ListenerTwice,
                format!("`{path}` is {}, which is in use already", listener.address),
            )
            .related(node.source.related(node.span(&other), &format!("`{other}`, here")));
            node.report(out, &path, problem);
        }
        proxied |= listener.proxy_protocol;
        if listener.proxy_protocol && node.config.trust.proxy_protocol_from.is_empty() {
            let path = format!("listen[{at}].proxy_protocol");
            let problem = Problem::error(Code::Incomplete, format!("`{path}` needs peers that may send the header"))
                .help("list your load balancers in `trust.proxy_protocol_from`: nobody else could connect");
            node.report(out, &path, problem);
        }
    }
    if !proxied && !node.config.trust.proxy_protocol_from.is_empty() {
        let problem = Problem::warning(
            Code::NoEffect,
            "`trust.proxy_protocol_from` has no effect: no listener has `proxy_protocol = true`",
        );
        node.report(out, "trust.proxy_protocol_from", problem);
    }
}

/// Whether visitors can get a certificate at all, where no CA of the node's own makes them.
pub(crate) fn check_certificates(node: &Part<NodeConfig>, zones: &[NamedZone], out: &mut Diagnostics) {
    let config = &node.config;
    if config.tls.development_ca || !config.certificates.is_empty() || !listeners(config).iter().any(|l| l.tls) {
        return;
    }
    let (with, without): (Vec<_>, Vec<_>) = zones.iter().partition(|(_, zone)| zone.config.tls.certificate.is_some());
    if with.is_empty() {
        let problem = Problem::error(
            Code::Incomplete,
            "`tls.development_ca` is off and there is no certificate, but a listener has TLS",
        )
        .help("name a certificate in `[[certificate]]` or in a zone's `[tls]`");
        return node.report(out, "tls.development_ca", problem);
    }
    for (name, zone) in without {
        let message =
            format!("zone `{name}` has no certificate, and `tls.development_ca` is off: visitors cannot use TLS");
        let problem = Problem::warning(Code::Incomplete, message).help("set `tls.certificate` and `tls.key`");
        zone.report(out, "tls", problem);
    }
}

/// A burst without a rate says nothing.
fn check_bursts<T>(part: &Part<T>, rates: [(&str, u32); 2], out: &mut Diagnostics) {
    for (of, rate) in rates {
        let path = format!("shield.{of}_burst");
        if rate == 0 && part.given(&path) {
            let problem = Problem::warning(Code::NoEffect, format!("`{path}` has no effect: there is no limit"))
                .help(format!("set `shield.{of}_rate`"));
            part.report(out, &path, problem);
        }
    }
}

pub(crate) fn check_zone(zone: &Part<ZoneConfig>, node: &Part<NodeConfig>, out: &mut Diagnostics) {
    let shield = &zone.config.shield;
    check_bursts(zone, [("address", shield.address_rate), ("network", shield.network_rate)], out);
    let tls = &zone.config.tls;
    let (lone, partner) = match (&tls.certificate, &tls.key) {
        (Some(_), None) => ("tls.certificate", "tls.key"),
        (None, Some(_)) => ("tls.key", "tls.certificate"),
        _ => ("", ""),
    };
    // A partner that is given but wrong was reported already.
    if !lone.is_empty() && !zone.given(partner) {
        let problem = Problem::error(Code::Incomplete, format!("`{lone}` needs `{partner}`"));
        zone.report(out, lone, problem);
    }
    if tls.redirect_http && !listeners(&node.config).iter().any(|listener| listener.tls) {
        let problem = Problem::warning(
            Code::Contradiction,
            "`tls.redirect_http` sends visitors to https, but no listener has TLS",
        )
        .help("add a `[[listen]]` with `tls = true` to node.toml");
        zone.report(out, "tls.redirect_http", problem);
    }
    let (own, all) = (zone.config.cache.object_bytes_max, node.config.cache.storable_bytes_max());
    // Of what is stored in slices the node's limit bounds the slice, not the whole.
    if own > all && zone.config.cache.slice_bytes == 0 {
        let message = format!("`cache.object_bytes_max` is above the node's {}, which holds", units::show_bytes(all));
        zone.report(out, "cache.object_bytes_max", Problem::warning(Code::NoEffect, message));
    }
    if zone.config.cache.disk_bytes_max > 0 && node.config.cache.disk.path.is_none() {
        let problem =
            Problem::warning(Code::NoEffect, "`cache.disk_bytes_max` has no effect: the node has no disk tier")
                .help("set `path` in `[cache.disk]` of node.toml");
        zone.report(out, "cache.disk_bytes_max", problem);
    }
    let compression = &zone.config.compression;
    if compression.enabled && !compression.decode && !compression.origin_codings.is_empty() {
        let problem = Problem::error(
            Code::Contradiction,
            "`compression.origin_codings` needs `compression.decode`: visitors who accept none of these codings get the content itself",
        )
        .help("set `decode = true`, or leave `origin_codings` empty");
        zone.report(out, "compression.origin_codings", problem);
    }
    let concurrency = &zone.config.origin.concurrency;
    if concurrency.requests_min > concurrency.requests_max {
        let message = format!(
            "`origin.concurrency.requests_min` ({}) is above `requests_max` ({})",
            concurrency.requests_min, concurrency.requests_max
        );
        let path = "origin.concurrency.requests_min";
        zone.report(out, path, Problem::error(Code::Contradiction, message).help("lower it, or raise the other"));
    }
    check_cache(zone, out);
    check_purge(zone, out);
    check_origin(zone, node, out);
}

fn check_purge(zone: &Part<ZoneConfig>, out: &mut Diagnostics) {
    let purge = &zone.config.purge;
    if purge.method && purge.token_file.is_none() && !zone.given("purge.token_file") {
        let problem = Problem::error(Code::Incomplete, "`purge.method` needs `purge.token_file`")
            .help("anyone could empty the cache: write a token into a file of mode 0600, and name it");
        zone.report(out, "purge.method", problem);
    }
    if !purge.method && purge.token_file.is_some() {
        let message = "`purge.token_file` has no effect: `purge.method` is false";
        zone.report(out, "purge.token_file", Problem::warning(Code::NoEffect, message));
    }
}

fn check_origin(zone: &Part<ZoneConfig>, node: &Part<NodeConfig>, out: &mut Diagnostics) {
    let origin = &zone.config.origin;
    if !origin.url.is_https() {
        for key in ["tls_verify", "tls_server_name", "tls_ca_file"] {
            let path = format!("origin.{key}");
            if zone.given(&path) {
                let message = format!("`{path}` has no effect: the origin's URL is http");
                zone.report(out, &path, Problem::warning(Code::NoEffect, message));
            }
        }
    } else if !origin.tls_verify && origin.tls_ca_file.is_some() {
        let message = "`origin.tls_ca_file` has no effect: `origin.tls_verify` is false";
        zone.report(out, "origin.tls_ca_file", Problem::warning(Code::NoEffect, message));
    }
    if origin.idle_connections_max > origin.connections_max && zone.given("origin.idle_connections_max") {
        let message =
            format!("`origin.idle_connections_max` is above `origin.connections_max` ({})", origin.connections_max);
        zone.report(out, "origin.idle_connections_max", Problem::warning(Code::NoEffect, message));
    }
    let own = listeners(&node.config).into_iter().find(|listener| reaches(&origin.url, listener.address));
    if let Some(listener) = own {
        let message =
            format!("`origin.url` is the node's own listener {}: requests would go round in circles", listener.address);
        zone.report(out, "origin.url", Problem::error(Code::Contradiction, message).help("name the site's own server"));
    }
}

/// Whether a URL leads to a listener of this node, as far as can be told without resolving names.
fn reaches(url: &HttpUrl, listener: SocketAddr) -> bool {
    if listener.port() == 0 || url.port != listener.port() {
        return false;
    }
    let host = url.host_name();
    let local = host == "localhost";
    let address: Option<IpAddr> = host.parse().ok();
    let loopback = local || address.is_some_and(|address| address.is_loopback());
    address == Some(listener.ip())
        || (local && listener.ip().is_loopback())
        || (loopback && listener.ip().is_unspecified())
}
