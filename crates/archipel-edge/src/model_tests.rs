//! The whole pipeline, with its real policy and store, against a cache so simple that it is right ([`reference`]), under a clock
//! and an origin that the test turns. Random requests, freshness, variants, conditions, purges (also while a fetch is under way),
//! unsafe methods, failures and pauses; after each step both must have given the visitor the same reply, sent the origin the same
//! requests, and hold the same responses.
//!
//! A failure prints its seed and what led there; `ARCHIPEL_MODEL_SEED=N cargo test -p archipel-edge model` replays it, and
//! `ARCHIPEL_MODEL_SEEDS=N` says how many are tried.

mod reference;
mod script;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use archipel_cache::{KeyRef, PurgeKind};
use archipel_config::Snapshot;
use archipel_http::fields::Fields;
use archipel_http::key::CacheKey;
use archipel_http::target::Scheme;
use archipel_transport::body::{BodyError, RequestBody};
use archipel_transport::conn::{Conn, Protocol, Scheme as WireScheme};
use archipel_transport::interim::Interim;
use archipel_transport::message::{Handler, Reply, ReplyBody, Request};
use archipel_transport::origin::{OriginError, OriginReply, OriginRequest};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use http_body::{Body, Frame};

use crate::metrics::WorkerMetrics;
use crate::node::Node;
use crate::worker::{Edge, Worker};
use crate::{Purge, clock};
use reference::{Forwarded, Reference, Seen};
use script::{Answer, Asked, Draw, Kind, PurgeWhat, Script, Settings, ZONES};

/// Seeds that a test run tries.
const SEEDS: u64 = 10_000;
const STEPS: usize = 30;

thread_local! {
    static ORIGIN: RefCell<Option<Origin>> = const { RefCell::new(None) };
}

/// The origin of one seed.
struct Origin {
    draws: VecDeque<Draw>,
    forwarded: Vec<Forwarded>,
    node: Arc<Node>,
    now: i64,
}

/// Answers in the origin's place, where a test of this module runs on this thread.
pub(crate) fn origin_reply(request: &OriginRequest) -> Option<Result<OriginReply, OriginError>> {
    ORIGIN.with_borrow_mut(|origin| origin.as_mut().map(|origin| origin.answer(request)))
}

impl Origin {
    fn answer(&mut self, request: &OriginRequest) -> Result<OriginReply, OriginError> {
        // For HTTP/1 the fields are lines already.
        let lines = request.lines.to_map();
        let field = |name: &str| request.headers.get(name).or_else(|| lines.get(name));
        let of = |name: &str| field(name).map(|value| value.to_str().expect("text").to_owned());
        let forwarded = Forwarded {
            method: request.method.to_string(),
            target: String::from_utf8_lossy(&request.target).into_owned(),
            if_none_match: of("if-none-match"),
            if_modified_since: of("if-modified-since"),
        };
        let draw = self.draws.pop_front().expect("more requests to the origin than a cache may send");
        if let Some((soft, what)) = &draw.purge {
            purge(&self.node, *soft, what);
        }
        let answer = draw.answer(forwarded.if_none_match.as_deref(), forwarded.if_modified_since.is_some(), self.now);
        self.forwarded.push(forwarded);
        let Answer::Reply(reply) = answer else { return Err(OriginError::ConnectionRefused) };
        let mut headers = HeaderMap::new();
        for (name, value) in &reply.fields {
            headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::try_from(value).expect("a value"));
        }
        // What confirms or describes a version must not rename it.
        if request.method != Method::HEAD && reply.status != 304 {
            headers.insert("x-version", HeaderValue::from(reply.version));
        }
        let text = Bytes::from(script::body(reply.version).into_bytes());
        let body = match reply.kind {
            _ if request.method == Method::HEAD => ReplyBody::Omitted { len: Some(reply.bytes as u64) },
            _ if reply.bytes == 0 => ReplyBody::Empty,
            Kind::Whole => ReplyBody::Full(text),
            Kind::Stream => {
                let pieces = VecDeque::from([text.slice(..1), text.slice(1..)]);
                ReplyBody::Stream { body: Box::pin(Pieces(pieces)), len: None }
            }
        };
        let status = StatusCode::from_u16(reply.status).expect("a status");
        Ok(OriginReply { status, version: Version::HTTP_11, headers: headers.into(), body })
    }
}

/// A body in pieces.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

fn purge(node: &Node, soft: bool, what: &PurgeWhat) {
    let what = match what {
        PurgeWhat::Key(key) => Purge::Url(key.clone()),
        PurgeWhat::Host(host) => Purge::Host(host.clone()),
        PurgeWhat::Zone(zone) => Purge::Zone(ZONES[*zone].to_owned()),
        PurgeWhat::Prefix(prefix) => Purge::Prefix(prefix.clone()),
        PurgeWhat::Tag(zone, tag) => Purge::Tag { zone: ZONES[*zone].to_owned(), tag: tag.clone() },
        PurgeWhat::Group(..) => unreachable!("only replies name cache groups"),
        PurgeWhat::Everything => Purge::Everything,
    };
    node.purge(&[what], soft).expect("a good purge");
}

/// The real thing.
struct Real {
    node: Arc<Node>,
    edge: Edge,
    conn: Arc<Conn>,
}

impl Real {
    fn new(snapshot: Snapshot) -> Self {
        let node = Node::new(snapshot).expect("a node");
        let edge = Edge(Worker::new(node.clone(), Arc::new(WorkerMetrics::default())));
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Self { node, edge, conn: Conn::new(1, address, address, address, None, Protocol::Http1) }
    }

    async fn ask(&self, asked: &Asked, draws: &[Draw], now: i64) -> (Seen, Vec<Forwarded>) {
        let origin = Origin { draws: draws.to_vec().into(), forwarded: Vec::new(), node: self.node.clone(), now };
        ORIGIN.set(Some(origin));
        let (reply, exchange) = self.edge.handle(self.conn.clone(), request(asked)).await;
        let seen = see(reply).await;
        drop(exchange);
        // Fills and revalidations in the background end before the next step: each needs a few turns.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let origin = ORIGIN.take().expect("the origin");
        (seen, origin.forwarded)
    }

    /// Everything that may still be used, by key and version.
    fn alive(&self) -> Vec<(String, u32)> {
        let mut alive = Vec::new();
        for (zone, name) in ZONES.iter().enumerate() {
            let id = archipel_config::zone_id(name);
            for (scheme, host) in [Scheme::Http, Scheme::Https].into_iter().flat_map(|s| [(s, "a"), (s, "b")]) {
                let host = format!("{host}.{}.test", ZONES[zone]);
                for target in ["/x", "/x?q", "/x/z", "/y"] {
                    let key = CacheKey { zone: id, scheme, host: &host, path_and_query: target, extra: "" };
                    let key = KeyRef::new(&key, self.node.key_seed);
                    let url = format!("{}://{host}{target}", scheme.as_str());
                    for stored in self.node.store.variants(&key) {
                        if self.node.store.purged(&stored) != Some(PurgeKind::Hard) {
                            alive.push((url.clone(), version(&*stored.meta.fields).expect("a version")));
                        }
                    }
                }
            }
        }
        alive.sort();
        alive
    }
}

fn request(asked: &Asked) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in &asked.fields {
        headers.append(HeaderName::try_from(name).expect("a name"), HeaderValue::try_from(value).expect("a value"));
    }
    Request {
        method: Method::from_bytes(asked.method.as_bytes()).expect("a method"),
        version: Version::HTTP_11,
        scheme: if asked.https { WireScheme::Https } else { WireScheme::Http },
        // A name in another case is the same host.
        authority: Some(Bytes::from(asked.host.to_uppercase())),
        target: Bytes::from(asked.target.clone()),
        headers,
        body: RequestBody::empty(),
        upgrade: None,
        interim: Interim::Discard,
        head_bytes: 0,
    }
}

fn version(fields: &impl Fields) -> Option<u32> {
    let name = HeaderName::from_static("x-version");
    std::str::from_utf8(fields.values_of(&name).next()?).ok()?.parse().ok()
}

/// What a visitor sees; the body must be that of the version that the fields name.
async fn see(reply: Reply) -> Seen {
    let added = |name: &str| reply.added.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
    let age = added("age").or_else(|| reply.headers().get("age").cloned());
    let age = age.map(|age| age.to_str().expect("text").parse().expect("an Age"));
    let hit = added("cache-status").is_some_and(|status| status.to_str().expect("text").contains("; hit"));
    let named = version(&reply);
    let status = reply.status.as_u16();
    let body = read(reply.body).await;
    let version = body.filter(|_| named.is_some() && status != 304).map(|body| {
        let version = named.expect("a version");
        let expected = if status == 204 { String::new() } else { script::body(version) };
        assert_eq!(String::from_utf8_lossy(&body), expected, "the body is another version's");
        version
    });
    Seen { status, version, age, hit }
}

/// `None` for the reply to HEAD.
async fn read(body: ReplyBody) -> Option<Vec<u8>> {
    match body {
        ReplyBody::Empty => Some(Vec::new()),
        ReplyBody::Full(bytes) => Some(bytes.to_vec()),
        ReplyBody::Omitted { .. } => None,
        ReplyBody::Segments { segments, skip, len } => {
            let whole = segments.concat();
            Some(whole[skip as usize..(skip + len) as usize].to_vec())
        }
        ReplyBody::Stream { mut body, .. } => {
            let mut out = Vec::new();
            while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                out.extend_from_slice(frame.expect("a body").data_ref().map_or(&[][..], |data| data));
            }
            Some(out)
        }
        ReplyBody::Tunnel(_) => panic!("a tunnel"),
    }
}

/// Plays one seed; says what differed, and what led there.
async fn play(seed: u64, snapshot: Snapshot) -> Result<(), String> {
    let mut script = Script::new(seed);
    let real = Real::new(snapshot);
    let mut reference = Reference::default();
    reference.now = script::BEGINNING;
    let mut trace = String::new();
    for step in 0..STEPS {
        reference.now += script.pause();
        clock::turn_to(reference.now as u64);
        let asked = script.asked();
        if script.random.one_in(8) {
            let (soft, what) = (script.random.one_in(2), script.purge_what(&asked));
            let _ = writeln!(trace, "{step}: purge soft={soft} {what:?}");
            purge(&real.node, soft, &what);
            reference.purge(soft, what);
        }
        let draws = script.draws(&asked, reference.now);
        let _ = writeln!(trace, "{step}: at {} {asked:?}", reference.now - script::BEGINNING);
        let (seen, forwarded) = real.ask(&asked, &draws, reference.now).await;
        reference.forwarded.clear();
        let expected = reference.ask(&asked, &Settings::of(asked.zone), &mut draws.clone());
        for draw in &draws[..forwarded.len().max(reference.forwarded.len()).min(draws.len())] {
            let _ = writeln!(trace, "    origin {draw:?}");
        }
        let _ = writeln!(trace, "    saw {seen:?}, origin saw {forwarded:?}");
        // Looking into every key takes longer than a request.
        let looks = step % 4 == 3;
        let alive = if looks { real.alive() } else { Vec::new() };
        let expected_alive = if looks { reference.alive() } else { Vec::new() };
        if (&seen, &forwarded, &alive) != (&expected, &reference.forwarded, &expected_alive) {
            return Err(format!(
                "{trace}\nexpected {expected:?}, origin sees {:?}\nstored   {alive:?}\nexpected {expected_alive:?}",
                reference.forwarded
            ));
        }
    }
    Ok(())
}

fn snapshot() -> Snapshot {
    let zones: Vec<(String, String)> =
        (0..ZONES.len()).map(|zone| (format!("zones/{}.toml", ZONES[zone]), Settings::document(zone))).collect();
    let mut documents = vec![("node.toml", "")];
    documents.extend(zones.iter().map(|(name, text)| (name.as_str(), text.as_str())));
    Snapshot::from_documents(&documents).unwrap_or_else(|problems| panic!("{}", problems.render(false))).0
}

fn check(seed: u64, snapshot: &Snapshot) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let outcome = std::panic::catch_unwind(|| runtime.block_on(play(seed, snapshot.clone())));
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(difference)) => panic!("seed {seed}: the cache and its model differ\n{difference}"),
        Err(panic) => {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

#[test]
fn the_cache_agrees_with_its_model() {
    let snapshot = snapshot();
    if let Some(seed) = setting("ARCHIPEL_MODEL_SEED") {
        return check(seed, &snapshot);
    }
    let seeds = setting("ARCHIPEL_MODEL_SEEDS").unwrap_or(SEEDS);
    let next = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    check(seed, &snapshot);
                }
            });
        }
    });
}
