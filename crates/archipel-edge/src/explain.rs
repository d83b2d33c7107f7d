//! What each stage would decide about a request, without sending it anywhere.

use std::fmt;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use archipel_config::HttpUrl;
use archipel_http::target::Scheme;
use archipel_transport::body::RequestBody;
use archipel_transport::interim::Interim;
use archipel_transport::message::Reply;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use serde::{Deserialize, Serialize};

use crate::exchange::{Asked, Exchange};
use crate::metrics::WorkerMetrics;
use crate::node::Node;
use crate::worker::{Worker, imagined};
use crate::{cache, firewall, phases, purge, route, shield, transform, zone};

/// Fields of a request to explain.
const FIELDS_MAX: usize = 256;

/// A request to explain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ExplainRequest {
    /// The method.
    pub method: String,
    /// An absolute URL.
    pub url: String,
    /// Fields.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The client's address; loopback where none is given.
    #[serde(default)]
    pub client: Option<IpAddr>,
}

/// What a stage decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The stage.
    pub stage: &'static str,
    /// Its verdict in a word.
    pub verdict: &'static str,
    /// What it rests on.
    pub detail: String,
}

/// All verdicts in the order of the stages.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The verdicts.
    pub verdicts: Vec<Verdict>,
    /// The status that the edge would answer with by itself; `None` where the origin would be asked.
    pub status: Option<u16>,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.verdicts {
            writeln!(f, "{:<10} {:<14} {}", verdict.stage, verdict.verdict, verdict.detail)?;
        }
        match self.status {
            Some(status) => writeln!(f, "{:<10} {status}, without asking the origin", "answer"),
            None => writeln!(f, "{:<10} the origin's", "answer"),
        }
    }
}

impl Node {
    /// Explains a request.
    ///
    /// # Errors
    /// Where the request cannot be understood: says which part.
    pub fn explain(self: &Arc<Self>, request: &ExplainRequest) -> Result<Explanation, String> {
        let (mut ex, answer) = walk(self, request)?;
        let status = answer.map(|reply| {
            let reply = phases::response::stage(&mut ex, reply);
            transform::on_deliver(&mut ex, reply).status.as_u16()
        });
        Ok(Explanation { verdicts: ex.verdicts.take().unwrap_or_default(), status })
    }
}

/// An exchange after all stages before the origin, and whether one of them answered.
pub(crate) fn evaluate(node: &Arc<Node>, request: &ExplainRequest) -> Result<(Exchange, bool), String> {
    let (ex, answer) = walk(node, request)?;
    Ok((ex, answer.is_some()))
}

/// An exchange for a request that nobody sent.
pub(crate) fn imagine(node: &Arc<Node>, request: &ExplainRequest) -> Result<Exchange, String> {
    let asked = asked(request)?;
    let client = request.client.unwrap_or(IpAddr::from([127, 0, 0, 1]));
    let worker = Worker::new(node.clone(), Arc::new(WorkerMetrics::default()));
    Ok(imagined(worker, asked, client))
}

fn walk(node: &Arc<Node>, request: &ExplainRequest) -> Result<(Exchange, Option<Reply>), String> {
    let mut ex = imagine(node, request)?;
    let answer = stages(&mut ex).break_value();
    Ok((ex, answer))
}

/// The stages before the origin, in the order of the pipeline, without what takes time or changes anything.
fn stages(ex: &mut Exchange) -> ControlFlow<Reply> {
    zone::stage(ex)?;
    purge::explain(ex)?;
    phases::settings::stage(ex)?;
    shield::explain(ex)?;
    firewall::judge(ex)?;
    shield::rates::explain(ex)?;
    firewall::managed::explain(ex)?;
    phases::redirect::stage(ex)?;
    phases::rewrite::stage(ex)?;
    phases::routing::stage(ex);
    cache::look_up(ex).map_continue(drop)?;
    route::stage(ex).map_continue(drop)
}

fn asked(request: &ExplainRequest) -> Result<Asked, String> {
    let method =
        Method::from_bytes(request.method.as_bytes()).map_err(|_| format!("{:?} is no method", request.method))?;
    let (before_query, query) = match request.url.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (request.url.as_str(), None),
    };
    let url = HttpUrl::parse(before_query).map_err(|error| format!("the URL {}; {}", error.message, error.help))?;
    let path_and_query = match query {
        Some(query) => format!("{}?{query}", url.path),
        None => url.path.to_string(),
    };
    if request.headers.len() > FIELDS_MAX {
        return Err(format!("more than {FIELDS_MAX} fields"));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} is no field name"))?;
        let value = HeaderValue::from_str(value)
            .map_err(|_| format!("the value of {name:?} has bytes that a field cannot have"))?;
        headers.append(field, value);
    }
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok()).map(Box::from);
    Ok(Asked {
        method,
        version: Version::HTTP_11,
        scheme: if url.is_https() { Scheme::Https } else { Scheme::Http },
        authority: host.unwrap_or_else(|| url.authority().into()),
        host_len: 0,
        path_and_query: path_and_query.into(),
        received_target: None,
        rewritten_from: None,
        upgrade: archipel_http::hop::upgrade_protocol(&headers).map(bytes::Bytes::copy_from_slice),
        headers,
        body: RequestBody::empty(),
        interim: Interim::Discard,
    })
}
