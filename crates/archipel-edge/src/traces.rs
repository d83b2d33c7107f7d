//! Traces, as an option: one span an exchange and one for its origin, sent in batches to a collector as OTLP over HTTP
//! with JSON encoding (opentelemetry-proto 1.x, `/v1/traces`). A collector that is slow or away costs spans, never time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use archipel_config::{HttpUrl, Traces as Settings};
use archipel_transport::body::RequestBody;
use archipel_transport::interim::Interim;
use archipel_transport::origin::{self, OriginProtocol, OriginRequest, OriginTimeouts, Recycle};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};

use crate::exchange::Exchange;
use crate::metrics::WorkerMetrics;
use crate::resolve::Resolver;

/// Spans that wait in one worker.
const SPANS_MAX: usize = 4096;
/// Time for one batch.
const SEND: Duration = Duration::from_secs(5);

/// A worker's spans.
pub struct Traces {
    endpoint: Option<HttpUrl>,
    /// An exchange is traced where the low bits of its id are below this.
    threshold: u64,
    spans: Mutex<Vec<Value>>,
}

impl Traces {
    pub(crate) fn new(settings: &Settings) -> Self {
        let threshold = (settings.sample_ratio.clamp(0.0, 1.0) * u64::MAX as f64) as u64;
        Self { endpoint: settings.otlp_endpoint.clone(), threshold, spans: Mutex::default() }
    }

    /// Whether an exchange of this id is to be traced.
    pub(crate) fn wants(&self, id: [u64; 2]) -> bool {
        self.endpoint.is_some() && id[1] <= self.threshold
    }

    pub(crate) fn has_spans(&self) -> bool {
        self.endpoint.is_some() && !self.lock().is_empty()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Value>> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the spans of an exchange.
    pub(crate) fn span(&self, ex: &Exchange, metrics: &WorkerMetrics) {
        let mut spans = self.lock();
        if spans.len() >= SPANS_MAX {
            metrics.traces_dropped.add(1);
            return;
        }
        let trace = format!("{:016x}{:016x}", ex.id[0], ex.id[1]);
        let root = format!("{:016x}", ex.id[0] | 1);
        let nanos = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_nanos()).to_string();
        let at = |instant: std::time::Instant| nanos(ex.times.wall + instant.duration_since(ex.times.begun));
        let status = ex.status.map_or(499, |s| s.as_u16());
        spans.push(json!({
            "traceId": trace, "spanId": root, "name": format!("{} {}", ex.asked.method, ex.asked.host()), "kind": 2,
            "startTimeUnixNano": nanos(ex.times.wall), "endTimeUnixNano": nanos(SystemTime::now()),
            "attributes": [
                text("http.request.method", ex.asked.method.as_str()),
                text("url.scheme", ex.asked.scheme.as_str()),
                text("server.address", ex.asked.host()),
                text("url.path", ex.asked.path()),
                number("http.response.status_code", status),
                text("archipel.cache", ex.cache.as_str()),
                text("archipel.reason", ex.reason.unwrap_or("")),
                text("archipel.zone", ex.zone.as_ref().map_or("", |zone| &zone.zone.name)),
            ],
            "status": { "code": if status >= 500 { 2 } else { 0 } },
        }));
        if let Some((asked, replied)) = ex.times.origin_asked.zip(ex.times.origin_replied) {
            spans.push(json!({
                "traceId": trace, "spanId": format!("{:016x}", ex.id[1] | 1), "parentSpanId": root,
                "name": "origin", "kind": 3, "startTimeUnixNano": at(asked), "endTimeUnixNano": at(replied),
                "attributes": [number("http.response.status_code", ex.origin_status.map_or(0, |s| s.as_u16()))],
            }));
        }
    }

    /// Sends what there is; on failure it is lost and counted.
    pub(crate) async fn send(&self, resolver: &Resolver, metrics: &WorkerMetrics) {
        let Some(endpoint) = &self.endpoint else { return };
        let spans = std::mem::take(&mut *self.lock());
        let document = json!({"resourceSpans": [{
            "resource": { "attributes": [text("service.name", "archipel")] },
            "scopeSpans": [{ "scope": { "name": "archipel" }, "spans": spans }],
        }]});
        let body = Bytes::from(document.to_string());
        let sent = tokio::time::timeout(SEND, post(endpoint, resolver, body)).await;
        if !matches!(sent, Ok(Some(()))) {
            metrics.traces_failed.add(1);
        }
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn number(key: &str, value: u16) -> Value {
    json!({"key": key, "value": {"intValue": value.to_string()}})
}

/// The exporter opens a connection a batch.
struct OneShot;

impl Recycle for OneShot {
    fn recycle(&self, _link: archipel_transport::h1::link::Http1Link) {}
    fn distrust(&self) {}
}

async fn post(endpoint: &HttpUrl, resolver: &Resolver, body: Bytes) -> Option<()> {
    let addresses = resolver.resolve(endpoint.host_name(), endpoint.port).await.ok()?;
    let link = origin::connect(&addresses, None, OriginProtocol::Http1, SEND).await.ok()?;
    let path = if &*endpoint.path == "/" { "/v1/traces" } else { &endpoint.path };
    let request = OriginRequest {
        method: Method::POST,
        scheme: "http",
        authority: HeaderValue::try_from(endpoint.authority()).ok()?,
        target: Bytes::copy_from_slice(path.as_bytes()),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
        lines: Default::default(),
        upgrade: None,
        body: RequestBody::full(body),
    };
    let timeouts = OriginTimeouts { first_byte: SEND, between_bytes: SEND, expect_continue: SEND };
    let reply = link.send(request, timeouts, &Interim::Discard, Arc::new(OneShot)).await.ok()?;
    reply.status.is_success().then_some(())
}
