//! The last stage: metrics, access log, traces. Runs when an exchange is dropped, so it sees the ones that were
//! cancelled or panicked as well.

use archipel_transport::conn::Protocol;
use archipel_transport::message::End;
use http::header::{REFERER, USER_AGENT};

use crate::exchange::{CacheResult, Exchange};
use crate::hit_table::Counted;

/// Bytes of a client's text that go to the log; the rest is cut.
const TEXT_BYTES_MAX: usize = 1024;

/// One line of the access log. Field names are a public interface.
#[derive(Debug)]
#[cfg_attr(test, derive(serde::Serialize))]
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
    /// The tier of the store that answered, where it was not memory.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub tier: Option<&'static str>,
    /// Named reason.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub reason: Option<&'static str>,
    /// The rule of the zone that answered, by its id.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub rule: Option<&'a str>,
    /// `complete`, `client_gone`, `client_stalled`, `body_failed` or `cancelled`.
    pub end: &'static str,
    /// Bytes of reply body sent.
    pub bytes_sent: u64,
    /// Bytes of request body read.
    pub bytes_received: u64,
    /// From the request's head to the end of the reply.
    pub duration_us: u64,
    /// From the request's head to the reply's head.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub reply_us: Option<u64>,
    /// What the origin took to its head.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub origin_us: Option<u64>,
    /// The origin's status.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub origin_status: Option<u16>,
    /// JA4 of the client's TLS.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub ja4: Option<&'a str>,
    /// TLS version.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub tls: Option<&'static str>,
    /// User-Agent.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub user_agent: Option<&'a str>,
    /// Referer without its query.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub referer: Option<&'a str>,
}

impl Record<'_> {
    /// Appends the record as one line of JSON. By hand: a request pays for its line, and only what a client wrote can
    /// need escapes. A test holds it to what serde makes of the same record.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        let mut line = Line { out };
        line.word("{\"time\":\"", self.time);
        line.word(",\"request_id\":\"", self.request_id);
        line.text(",\"zone\":", self.zone);
        line.word(",\"client\":\"", self.client);
        line.word(",\"protocol\":\"", self.protocol);
        line.word(",\"scheme\":\"", self.scheme);
        line.text(",\"method\":", self.method);
        line.text(",\"host\":", self.host);
        line.text(",\"path\":", self.path);
        line.number(",\"status\":", self.status.into());
        line.word(",\"cache\":\"", self.cache);
        if let Some(tier) = self.tier {
            line.word(",\"tier\":\"", tier);
        }
        if let Some(reason) = self.reason {
            line.word(",\"reason\":\"", reason);
        }
        if let Some(rule) = self.rule {
            line.word(",\"rule\":\"", rule);
        }
        line.word(",\"end\":\"", self.end);
        line.number(",\"bytes_sent\":", self.bytes_sent);
        line.number(",\"bytes_received\":", self.bytes_received);
        line.number(",\"duration_us\":", self.duration_us);
        let numbers = [
            (",\"reply_us\":", self.reply_us),
            (",\"origin_us\":", self.origin_us),
            (",\"origin_status\":", self.origin_status.map(u64::from)),
        ];
        for (key, value) in numbers {
            if let Some(value) = value {
                line.number(key, value);
            }
        }
        let texts = [
            (",\"ja4\":", self.ja4),
            (",\"tls\":", self.tls),
            (",\"user_agent\":", self.user_agent),
            (",\"referer\":", self.referer),
        ];
        for (key, value) in texts {
            if let Some(value) = value {
                line.text(key, value);
            }
        }
        line.out.extend_from_slice(b"}\n");
    }
}

/// A line of JSON being written.
struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl Line<'_> {
    /// A value of our own words, digits and punctuation: nothing in it needs an escape. `key` ends with the quote.
    fn word(&mut self, key: &str, value: &str) {
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// A value that somebody else wrote.
    fn text(&mut self, key: &str, value: &str) {
        self.out.extend_from_slice(key.as_bytes());
        // No early exit, so that the loop is vectorised.
        let plain = value.bytes().fold(true, |plain, b| plain & (b >= 0x20) & (b != b'"') & (b != b'\\'));
        if plain {
            self.out.push(b'"');
            self.out.extend_from_slice(value.as_bytes());
            self.out.push(b'"');
        } else if let Ok(escaped) = serde_json::to_string(value) {
            self.out.extend_from_slice(escaped.as_bytes());
        }
    }

    fn number(&mut self, key: &str, value: u64) {
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }
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
    count_path(ex);
    match ex.end {
        None | Some(End::ClientGone | End::ClientStalled) => metrics.client_gone.add(1),
        Some(End::BodyFailed) => metrics.body_failed.add(1),
        Some(End::Complete) => {}
    }
    if let Some(replied) = ex.times.replied {
        metrics.latency.observe(micros(replied.duration_since(ex.times.begun)));
    }
    // What the cache decided has been counted where it was decided.
    if let Some(reason) = ex.reason {
        if ex.refused {
            metrics.labelled.count("refusals", reason);
        } else if ex.end == Some(End::BodyFailed) {
            metrics.labelled.count("broken_replies", reason);
        } else if ex.cache == CacheResult::None {
            metrics.labelled.count("early_answers", reason);
        }
    }
    if let Some(log) = &ex.worker.log {
        write(ex, log);
    }
    if ex.worker.traces.wants(ex.id) {
        ex.worker.traces.span(ex, &ex.worker.metrics);
    }
}

/// Counts the exchange for its path, where the cache saw it.
fn count_path(ex: &Exchange) {
    let Some(zone) = ex.zone.as_ref().filter(|_| ex.cache != CacheResult::None) else { return };
    let metrics = &ex.worker.metrics;
    match metrics.paths.count(zone.zone.id, ex.asked.path(), ex.cache, ex.sent) {
        Counted::Kept => {}
        Counted::Replaced => metrics.hit_table_replaced.add(1),
        Counted::Skipped => metrics.hit_table_skipped.add(1),
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
        path: ex.asked.visitor_target(),
        status: ex.status.map_or(CLIENT_GONE, |s| s.as_u16()),
        cache: ex.cache.as_str(),
        tier: ex.tier,
        reason: ex.reason,
        rule: ex.rules.as_ref().and_then(|rules| rules.rule.as_deref()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(record: &Record<'_>) {
        let mut line = Vec::new();
        record.write_line(&mut line);
        let expected = serde_json::to_string(record).unwrap() + "\n";
        assert_eq!(String::from_utf8(line).unwrap(), expected);
    }

    fn record(text: &str) -> Record<'_> {
        Record {
            time: "2026-01-02T03:04:05.678Z",
            request_id: "0123456789abcdef0123456789abcdef",
            zone: text,
            client: "2001:db8::1",
            protocol: "h2",
            scheme: "https",
            method: text,
            host: text,
            path: text,
            status: 200,
            cache: "hit",
            tier: Some("disk"),
            reason: Some("vary_any"),
            rule: Some("firewall.rules[0]"),
            end: "complete",
            bytes_sent: u64::MAX,
            bytes_received: 0,
            duration_us: 12,
            reply_us: Some(3),
            origin_us: Some(4),
            origin_status: Some(304),
            ja4: Some("t13d1516h2_8daaf6152771_b186095e22b6"),
            tls: Some("TLSv1.3"),
            user_agent: Some(text),
            referer: Some(text),
        }
    }

    #[test]
    fn lines_are_what_serde_makes_of_records() {
        for text in ["", "plain/a?b=c", "quote \" back\\slash", "control \u{1}\n\t\u{7f}", "umlaut ä 漢 \u{2028}"] {
            check(&record(text));
            let bare = Record {
                tier: None,
                reason: None,
                rule: None,
                reply_us: None,
                origin_us: None,
                origin_status: None,
                ja4: None,
                tls: None,
                user_agent: None,
                referer: None,
                ..record(text)
            };
            check(&bare);
        }
    }
}
