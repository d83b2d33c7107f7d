//! The built-in sample origin: the small site that `archipel up` puts behind the edge when it is given none.
//!
//! Owns what the site says and how slow it pretends to be. It answers like any origin would and knows nothing of the edge
//! in front of it: it must never read a zone, a cache or a snapshot. Everything is made up on the fly or embedded, so that
//! it needs no file, and whatever a visitor asks for costs constant memory.
//!
//! Every answer carries `Sample-Answer`, the running number of the answer: a copy from a cache keeps the number that it was
//! stored with, which shows better than any clock whether the origin was asked.

mod api;
mod assets;
mod checksum;
mod content;
mod delay;
mod events;
mod large;
mod pages;
mod reply;
mod route;
mod upload;
mod websocket;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use archipel_http::UnixSeconds;
use archipel_transport::conn::Conn;
use archipel_transport::date;
use archipel_transport::env::ServerSettings;
use archipel_transport::listen::{ListenerKind, Server};
use archipel_transport::message::{Handler, Reply, ReplyBody, Request, Unwatched};
use archipel_transport::refusal::Refusal;
use http::header::{ALLOW, HeaderName, HeaderValue, LINK};
use http::{HeaderMap, Method, StatusCode};
use tokio::net::TcpListener;

use assets::Assets;
use route::Route;

/// Connections of one address: all of them come from the edge in front, which has limits of its own.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 65_536;
/// How long an idle connection is kept. Longer than an edge keeps it, so that the edge is the one who closes and no request
/// meets a connection that is just going away.
const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// How long `/early` thinks between the early hints and its page.
const EARLY_PAUSE: Duration = Duration::from_millis(300);

/// The running number of an answer.
const ANSWER: HeaderName = HeaderName::from_static("sample-answer");

/// What answers for the sample site, for a server of the caller's making.
pub fn handler() -> impl Handler {
    Sample::new(now())
}

/// Serves the sample site on `listener`, plain HTTP/1.1 and HTTP/2 by prior knowledge, until `stop` is ready. Connections end
/// after the exchange that they are in; stop whoever is in front first.
pub async fn serve(listener: TcpListener, stop: impl Future<Output = ()>) {
    let settings = ServerSettings {
        connections_per_address_max: CONNECTIONS_PER_ADDRESS_MAX,
        keep_alive: KEEP_ALIVE,
        ..ServerSettings::default()
    };
    let server = Arc::new(Server::new(handler(), settings, None));
    let drain = server.drain.clone();
    server.accept(listener, ListenerKind { tls: false, proxy_protocol: false }, stop).await;
    drain.start();
}

fn now() -> UnixSeconds {
    UnixSeconds(i64::try_from(date::unix_seconds()).unwrap_or(i64::MAX))
}

/// The site.
struct Sample {
    assets: Assets,
    answers: AtomicU64,
}

impl Sample {
    /// A site whose embedded files were last modified at `started`: what is embedded can only change with the program, and
    /// this is the one date that is never too early to be true.
    fn new(started: UnixSeconds) -> Self {
        Self { assets: Assets::new(started), answers: AtomicU64::new(0) }
    }

    async fn answer(&self, request: Request) -> Reply {
        let (path, query) = route::split(&request.target);
        let route = match route::find(&request.method, path) {
            Ok(route) => route,
            Err(allowed) => return wrong_method(&request.method, allowed),
        };
        match route {
            Route::Asset(index) => {
                let asset = self.assets.get(index);
                tokio::time::sleep(asset.pace).await;
                asset.content().answer(&request.method, &request.headers, now())
            }
            Route::Time => api::time(std::time::SystemTime::now()),
            Route::Echo => api::echo(request).await,
            Route::Slow => delay::slow(query).await,
            Route::Large => match large::content(query, self.assets.modified()) {
                Ok(content) => content.answer(&request.method, &request.headers, now()),
                Err(reply) => *reply,
            },
            Route::Events => events::reply(),
            Route::WebSocket => websocket::open(&request),
            Route::Upload => upload::receive(request).await,
            Route::Error(status) => pages::error(status),
            Route::Private => api::private(),
            Route::Cookie => api::cookie(self.answers.load(Ordering::Relaxed)),
            Route::Vary => api::greeting(&request.headers),
            Route::Redirect => api::redirect(),
            Route::Old => api::old(&request.headers),
            Route::Early => early(&request).await,
            Route::Missing => pages::missing(),
        }
    }

    /// What every answer has in common: its number, no guessing of types, and no body to HEAD.
    fn finish(&self, mut reply: Reply, head: bool) -> Reply {
        let number = self.answers.fetch_add(1, Ordering::Relaxed) + 1;
        reply.add(ANSWER, HeaderValue::from(number));
        if head && !matches!(reply.body, ReplyBody::Tunnel(_)) {
            reply.body = ReplyBody::Omitted { len: reply.body.len() };
        }
        reply
    }
}

impl Handler for Sample {
    type Exchange = Unwatched;

    async fn handle(&self, _conn: Arc<Conn>, request: Request) -> (Reply, Unwatched) {
        let head = request.method == Method::HEAD;
        let reply = self.answer(request).await;
        (self.finish(reply, head), Unwatched)
    }

    fn refuse(&self, _conn: &Arc<Conn>, refusal: Refusal) -> (Reply, Unwatched) {
        let mut reply = reply::text(refusal.status(), reply::NO_STORE, format!("{}\n", refusal.message()));
        reply.close = true;
        (self.finish(reply, false), Unwatched)
    }
}

/// OPTIONS tells what is allowed (RFC 9110 section 9.3.7), everything else is told 405 (section 15.5.6).
fn wrong_method(method: &Method, allowed: &'static str) -> Reply {
    let mut reply = if *method == Method::OPTIONS {
        Reply::new(StatusCode::NO_CONTENT)
    } else {
        reply::text(StatusCode::METHOD_NOT_ALLOWED, reply::NO_STORE, format!("Try one of these: {allowed}.\n"))
    };
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    reply
}

/// Early hints (RFC 8297), a pause as if the page took work, then the page. Not stored, so that each visit sees the hints.
async fn early(request: &Request) -> Reply {
    let mut hints = HeaderMap::new();
    hints.append(LINK, HeaderValue::from_static("</style.css>; rel=preload; as=style"));
    hints.append(LINK, HeaderValue::from_static("</app.js>; rel=preload; as=script"));
    request.interim.send(StatusCode::EARLY_HINTS, &hints);
    tokio::time::sleep(EARLY_PAUSE).await;
    pages::early()
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod wire_tests;
