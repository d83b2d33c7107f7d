//! The admin listener: metrics, health, readiness, on loopback unless configured; and purging, with a token.
//!
//! Must never serve anything that changes the node without a token, and never a page of a visitor's name: a web page elsewhere
//! could make a browser ask it (DNS rebinding), so the Host must be an address or localhost.

use std::fmt::Write as _;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use archipel_edge::ZoneHits;
use archipel_transport::conn::Conn;
use archipel_transport::env::ServerSettings;
use archipel_transport::listen::{ListenerKind, Server};
use archipel_transport::message::{Handler, Reply, ReplyBody, Request, Unwatched};
use archipel_transport::refusal::Refusal;
use bytes::Bytes;
use http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, StatusCode};
use tokio::sync::watch;

use super::hits_page;
use super::running::{Phase, PhaseCell, Running};
use super::workers::{Order, wait_for};
use crate::control::{ErrorAnswer, PurgeCall, purge, server};
use crate::log::PANICS;

/// What the admin listener tells about; the node comes when it is ready.
#[derive(Default)]
pub struct Told {
    /// Where the process is in its life.
    pub phase: Arc<PhaseCell>,
    /// The node.
    pub running: OnceLock<Arc<Running>>,
    /// Whether other machines may reach it, by whatever name.
    pub remote: AtomicBool,
}

/// The thread of the admin listener and the control socket.
pub struct AdminThread {
    /// Its runtime, for the control socket.
    pub handle: tokio::runtime::Handle,
    orders: watch::Sender<Order>,
}

impl AdminThread {
    /// Starts serving.
    pub fn start(listener: TcpListener, told: Arc<Told>) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (orders, orders_of_thread) = watch::channel(Order::Serve);
        let serve = async move {
            let listener = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => return tracing::error!(%error, "the admin listener cannot be served"),
            };
            let settings = ServerSettings { connections_max: 256, ..ServerSettings::default() };
            let server = Arc::new(Server::new(Admin { told }, settings, None));
            let kind = ListenerKind { tls: false, proxy_protocol: false };
            server.accept(listener, kind, wait_for(orders_of_thread.clone(), Order::StopAccepting)).await;
            wait_for(orders_of_thread, Order::End).await;
        };
        std::thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(serve))
            .context("the admin thread cannot be started")?;
        Ok(Self { handle, orders })
    }

    /// Leaves the socket to a successor.
    pub fn stop_accepting(&self) {
        self.orders.send_replace(Order::StopAccepting);
    }
}

struct Admin {
    told: Arc<Told>,
}

impl Handler for Admin {
    type Exchange = Unwatched;

    async fn handle(&self, _conn: Arc<Conn>, mut request: Request) -> (Reply, Unwatched) {
        let mut reply = match self.answer(&request) {
            Some(reply) => reply,
            None => self.purging(&mut request).await,
        };
        if request.method == Method::HEAD {
            reply.body = ReplyBody::Omitted { len: reply.body.len() };
        }
        (reply, Unwatched)
    }

    fn refuse(&self, _conn: &Arc<Conn>, refusal: Refusal) -> (Reply, Unwatched) {
        (text(refusal.status(), format!("{}\n", refusal.message())), Unwatched)
    }
}

const INDEX: &str = "Archipel, admin listener\n\n\
    /metrics      Prometheus text format\n\
    /cache        what the cache did for each path, worst first\n\
    /cache.json   the same for programs\n\
    /healthz      200 while the process works\n\
    /readyz       200 while it serves visitors, 503 while it starts or drains\n\
    /purge        POST, with the token of admin.purge_token_file: JSON says what\n\
    /purges       with that token: what was purged since ?since=N\n";

impl Admin {
    /// What can be answered at once; `None` for what concerns purges.
    fn answer(&self, request: &Request) -> Option<Reply> {
        if !self.told.remote.load(Ordering::Relaxed) && !request.authority.as_deref().is_none_or(is_literal) {
            let why = "this listener is asked by address or as localhost only\n";
            return Some(text(StatusCode::FORBIDDEN, why.to_owned()));
        }
        let path = request.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        if matches!(path, b"/purge" | b"/purges") {
            return None;
        }
        if request.method != Method::GET && request.method != Method::HEAD {
            return Some(not_allowed("GET, HEAD"));
        }
        Some(match path {
            b"/" => text(StatusCode::OK, INDEX.to_owned()),
            b"/healthz" | b"/health" => text(StatusCode::OK, "ok\n".to_owned()),
            b"/readyz" | b"/ready" => match self.told.phase.get() {
                Phase::Serving => text(StatusCode::OK, "ready\n".to_owned()),
                Phase::Starting => text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned()),
                Phase::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n".to_owned()),
            },
            b"/metrics" => self.metrics(),
            b"/cache" => self.hits(hits_page::render, "text/html; charset=utf-8"),
            b"/cache.json" => {
                let json =
                    |node: &str, zones: &[ZoneHits]| serde_json::json!({"node": node, "zones": zones}).to_string();
                self.hits(json, "application/json")
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "there is /metrics, /cache, /cache.json, /healthz, /readyz, /purge and /purges\n".to_owned(),
            ),
        })
    }

    /// `POST /purge` and `GET /purges?since=N`, for who has the token.
    async fn purging(&self, request: &mut Request) -> Reply {
        match self.purged(request).await {
            Ok(json) => json,
            Err((status, error)) => {
                let mut reply = match status {
                    StatusCode::METHOD_NOT_ALLOWED => return not_allowed(&error),
                    status => json(status, &ErrorAnswer { error }),
                };
                if status == StatusCode::UNAUTHORIZED {
                    reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                reply
            }
        }
    }

    async fn purged(&self, request: &mut Request) -> Result<Reply, purge::Refused> {
        let Some(running) = self.told.running.get().cloned() else {
            return Err((StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned()));
        };
        authorised(&running, request)?;
        let target = std::str::from_utf8(&request.target).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if path == "/purges" {
            if request.method != Method::GET {
                return Err((StatusCode::METHOD_NOT_ALLOWED, "GET".to_owned()));
            }
            let since = purge::since(&running.node, query)?;
            return Ok(json(StatusCode::OK, &since));
        }
        if request.method != Method::POST {
            return Err((StatusCode::METHOD_NOT_ALLOWED, "POST".to_owned()));
        }
        let call: PurgeCall = server::parse(&server::read_body(&mut request.body).await?)?;
        // It waits for the disk, and this thread answers /healthz.
        let work = tokio::task::spawn_blocking(move || purge::purge(&running.node, &call));
        match work.await {
            Ok(answer) => Ok(json(StatusCode::OK, &answer?)),
            Err(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "the purge panicked; see the log".to_owned())),
        }
    }

    /// What the cache did for each path, in some form.
    fn hits(&self, form: impl Fn(&str, &[ZoneHits]) -> String, content_type: &'static str) -> Reply {
        let Some(running) = self.told.running.get() else { return starting() };
        let page = form(&running.node.snapshot().node.name, &running.node.hit_table());
        let mut reply = text(StatusCode::OK, page);
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(hits_page::POLICY));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        reply
    }

    fn metrics(&self) -> Reply {
        let Some(running) = self.told.running.get() else { return starting() };
        let mut page = running.servers.first().map(|server| running.node.metrics(&server.stats)).unwrap_or_default();
        process_metrics(&mut page, running);
        let mut reply = text(StatusCode::OK, page);
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
        reply
    }
}

fn starting() -> Reply {
    text(StatusCode::SERVICE_UNAVAILABLE, "starting\n".to_owned())
}

/// Whether a request may purge: it brings the token of the file that the node's configuration names.
fn authorised(running: &Running, request: &Request) -> Result<(), purge::Refused> {
    let given = request.headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let bearer = given.and_then(archipel_edge::bearer_token);
    match running.node.is_purge_token(bearer.unwrap_or_default()) {
        None => {
            let error = "purging over the admin listener is off: name a file with a token in `admin.purge_token_file`";
            Err((StatusCode::FORBIDDEN, error.to_owned()))
        }
        Some(true) => Ok(()),
        Some(false) if bearer.is_none() => {
            Err((StatusCode::UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN".to_owned()))
        }
        Some(false) => Err((StatusCode::UNAUTHORIZED, "the token is wrong".to_owned())),
    }
}

fn not_allowed(methods: &str) -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {methods}\n"));
    reply.headers_mut().insert(ALLOW, HeaderValue::from_str(methods).unwrap_or(HeaderValue::from_static("GET")));
    reply
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Reply {
    let mut reply = text(status, String::new());
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    // Only types whose serialisation cannot fail come here.
    reply.body = ReplyBody::Full(Bytes::from(serde_json::to_vec(value).unwrap_or_default()));
    reply
}

fn text(status: StatusCode, text: String) -> Reply {
    let mut reply = Reply::new(status);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.body = ReplyBody::Full(Bytes::from(text));
    reply
}

/// Whether an authority is an address or localhost, with or without port.
fn is_literal(authority: &[u8]) -> bool {
    let Ok(authority) = std::str::from_utf8(authority) else { return false };
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(ip, _)| ip.parse::<IpAddr>().is_ok());
    }
    let host = authority.split_once(':').map_or(authority, |(host, _)| host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok()
}

/// The metrics of the process, in the order of the values below; the edge's own are rendered by the edge.
const PROCESS: [(&str, &str, &str); 8] = [
    ("archipel_config_generation", "gauge", "Number of the configuration in force."),
    ("archipel_draining", "gauge", "1 while open requests are brought to their end."),
    ("archipel_process_panics_total", "counter", "Panics in any thread, caught or not."),
    ("archipel_reloads_refused_total", "counter", "Reloads that left the old configuration in force."),
    ("archipel_reloads_total", "counter", "Reloads that put a new configuration in force."),
    ("archipel_uptime_seconds", "gauge", "Seconds since the start."),
    ("process_open_fds", "gauge", "Open file descriptors."),
    ("process_resident_memory_bytes", "gauge", "Resident memory."),
];

fn process_metrics(page: &mut String, running: &Running) {
    let values = [
        Some(running.node.snapshot().generation),
        Some(u64::from(running.phase.get() == Phase::Draining)),
        Some(PANICS.load(Ordering::Relaxed)),
        Some(running.reloads.refused.load(Ordering::Relaxed)),
        Some(running.reloads.accepted.load(Ordering::Relaxed)),
        Some(running.started.elapsed().as_secs()),
        open_files(),
        resident_bytes(),
    ];
    for ((name, kind, help), value) in PROCESS.into_iter().zip(values) {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        }
    }
    let (name, workers) = ("archipel_build_info", running.servers.len());
    let _ = writeln!(page, "# HELP {name} The version, and how many workers serve.\n# TYPE {name} gauge");
    let _ = writeln!(page, "{name}{{version=\"{}\",workers=\"{workers}\"}} 1", env!("CARGO_PKG_VERSION"));
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn open_files() -> Option<u64> {
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of metrics are an interface: each stands in the operator's page, and none twice on the metrics page.
    #[test]
    fn every_metric_is_documented_and_unique() {
        let (snapshot, _) = archipel_config::Snapshot::single_origin("http://o.example", Vec::new())
            .and_then(archipel_config::SingleOrigin::build)
            .expect("a good URL");
        let node = archipel_edge::Node::new(snapshot).expect("a node");
        let page = node.metrics(&archipel_transport::env::TransportStats::default());
        let typed = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let mut names: Vec<&str> =
            typed.chain(PROCESS.iter().map(|(name, _, _)| *name)).chain(["archipel_build_info"]).collect();
        let documented = include_str!("../../../../docs/operations.md");
        for name in &names {
            assert!(documented.contains(&format!("| `{name}` |")), "{name} is missing in docs/operations.md");
        }
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "a metric has two meanings: {names:?}");
    }

    #[test]
    fn hosts_that_may_ask() {
        for good in ["127.0.0.1:9180", "127.0.0.1", "localhost:9180", "LocalHost", "[::1]:9180", "[::1]", "10.1.2.3:80"]
        {
            assert!(is_literal(good.as_bytes()), "{good}");
        }
        for bad in ["rebind.example:9180", "127.0.0.1.rebind.example", "localhost.example", "[x]:1", "[::1", "", "::1"]
        {
            assert!(!is_literal(bad.as_bytes()), "{bad}");
        }
        assert!(!is_literal(b"\xff"));
    }
}
