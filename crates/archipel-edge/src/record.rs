//! The last stage: metrics, access log, traces. Runs when an exchange is dropped, so it sees the ones that were
//! cancelled or panicked as well.

use archipel_transport::conn::Protocol;
use archipel_transport::message::End;
use http::header::{REFERER, USER_AGENT};
use serde::Serialize;

use crate::exchange::{CacheResult, Exchange};

/// Bytes of a client's text that go to the log; the rest is cut.
const TEXT_BYTES_MAX: usize = 1024;

/// One line of the access log. Field names are a public interface.
#[derive(Debug, Serialize)]
pub struct Record<'a> {
    /// When the request's head was there, RFC 3339 in UTC with milliseconds.
    pub time: &'a str,
    /// Request id.
    pub request_id: &'a str,
    /// Zone, empty where none was found.
    pub zone: &'a str,
    /// Client address.
    pub client: &'a str,
    /// `http/1.0`, `http/1.1` or `h2`.
    pub protocol: &'static str,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Method.
    pub method: &'a str,
    /// Host and port.
    pub host: &'a str,
    /// Path and query.
    pub path: &'a str,
    /// Status sent; 499 where the client left before there was one.
    pub status: u16,
    /// What the cache did.
    pub cache: &'static str,
    /// Named reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// `complete`, `client_gone`, `client_stalled`, `body_failed` or `cancelled`.
    pub end: &'static str,
    /// Bytes of reply body sent.
    pub bytes_sent: u64,
    /// Bytes of request body read.
    pub bytes_received: u64,
    /// From the request's head to the end of the reply.
    pub duration_us: u64,
    /// From the request's head to the reply's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_us: Option<u64>,
    /// What the origin took to its head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_us: Option<u64>,
    /// The origin's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin_status: Option<u16>,
    /// JA4 of the client's TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ja4: Option<&'a str>,
    /// TLS version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<&'static str>,
    /// User-Agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    /// Referer without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<&'a str>,
}

/// The status in the log of an exchange whose client left before it had a reply.
const CLIENT_GONE: u16 = 499;

/// Records an exchange.
pub(crate) fn record(ex: &Exchange) {
    let metrics = &ex.worker.metrics;
    metrics.requests.add(1);
    metrics.sent_body_bytes.add(ex.sent);
    metrics.received_body_bytes.add(ex.received_bytes());
    metrics.by_cache[ex.cache as usize].add(1);
    if let Some(status) = ex.status {
        metrics.by_class[usize::from(status.as_u16() / 100).clamp(1, 5) - 1].add(1);
    }
    if ex.refused {
        metrics.refused.add(1);
    }
    match ex.end {
        None | Some(End::ClientGone | End::ClientStalled) => metrics.client_gone.add(1),
        Some(End::BodyFailed) => metrics.body_failed.add(1),
        Some(End::Complete) => {}
    }
    if let Some(replied) = ex.times.replied {
        metrics.latency.observe(micros(replied.duration_since(ex.times.begun)));
    }
    if let Some(reason) = ex.reason {
        // A hit has no reason: this lock is not on the hot path.
        metrics.labelled.count(family(ex), reason);
    }
    if let Some(log) = &ex.worker.log {
        write(ex, log);
    }
    if ex.worker.traces.wants(ex.id) {
        ex.worker.traces.span(ex, &ex.worker.metrics);
    }
}

fn family(ex: &Exchange) -> &'static str {
    match ex.cache {
        _ if ex.refused => "refusals",
        _ if ex.end == Some(End::BodyFailed) => "broken_replies",
        CacheResult::Uncacheable => "not_stored",
        CacheResult::Bypass => "cache_bypasses",
        _ => "cache_misses",
    }
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn text(value: Option<&http::HeaderValue>) -> Option<&str> {
    let text = value?.to_str().ok()?;
    Some(text.get(..TEXT_BYTES_MAX).unwrap_or(text))
}

fn write(ex: &Exchange, log: &crate::access_log::WorkerLog) {
    let id = ex.id_text();
    let mut time = crate::access_log::TimeText::default();
    let mut client = crate::access_log::AddressText::default();
    let tls = ex.conn.as_ref().and_then(|conn| conn.tls.as_ref());
    let http2 = ex.conn.as_ref().is_some_and(|conn| conn.protocol == Protocol::Http2);
    let record = Record {
        time: time.of(ex.times.wall),
        request_id: std::str::from_utf8(&id).unwrap_or_default(),
        zone: ex.zone.as_ref().map_or("", |zone| &zone.zone.name),
        client: client.of(ex.client),
        protocol: match ex.asked.version {
            _ if http2 => "h2",
            http::Version::HTTP_10 => "http/1.0",
            _ => "http/1.1",
        },
        scheme: ex.asked.scheme.as_str(),
        method: ex.asked.method.as_str(),
        host: &ex.asked.authority,
        path: &ex.asked.path_and_query,
        status: ex.status.map_or(CLIENT_GONE, |s| s.as_u16()),
        cache: ex.cache.as_str(),
        reason: ex.reason,
        end: match ex.end {
            Some(End::Complete) => "complete",
            Some(End::ClientGone) => "client_gone",
            Some(End::ClientStalled) => "client_stalled",
            Some(End::BodyFailed) => "body_failed",
            None => "cancelled",
        },
        bytes_sent: ex.sent,
        bytes_received: ex.received_bytes(),
        duration_us: micros(ex.times.begun.elapsed()),
        reply_us: ex.times.replied.map(|at| micros(at.duration_since(ex.times.begun))),
        origin_us: ex
            .times
            .origin_replied
            .zip(ex.times.origin_asked)
            .map(|(replied, asked)| micros(replied.duration_since(asked))),
        origin_status: ex.origin_status.map(|s| s.as_u16()),
        ja4: tls.and_then(|tls| tls.ja4.as_ref()).map(|ja4| ja4.as_str()),
        tls: tls.map(|tls| tls.version),
        user_agent: text(ex.asked.headers.get(USER_AGENT)),
        referer: text(ex.asked.headers.get(REFERER)).map(|r| r.split('?').next().unwrap_or(r)),
    };
    log.write(&record, &ex.worker.metrics);
}
