//! Fetching an archive: one GET, redirects followed, bounded in bytes and time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use archipel_config::{HttpUrl, Scheme};
use archipel_transport::body::RequestBody;
use archipel_transport::h1::encode::FieldLines;
use archipel_transport::h1::link::Http1Link;
use archipel_transport::interim::Interim;
use archipel_transport::message::ReplyBody;
use archipel_transport::origin::{
    self, OriginProtocol, OriginReply, OriginRequest, OriginTimeouts, Recycle, SendFailed,
};
use archipel_transport::tls::client::{OriginAlpn, OriginTls, OriginTrust, TrustRoots};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use http::{Method, StatusCode};

/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Time for all of it.
const WHOLE: Duration = Duration::from_secs(120);
/// Time to connect, and the longest silence.
const SILENCE: Duration = Duration::from_secs(20);

/// The connection is used once.
struct Once;

impl Recycle for Once {
    fn recycle(&self, _link: Http1Link) {}
    fn distrust(&self) {}
}

/// The body of what is at `url`, at most `bytes_max` bytes. `ca_file` replaces the system's certificates.
pub(super) fn get(url: &str, ca_file: Option<&Path>, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fetched = async {
        match tokio::time::timeout(WHOLE, follow(url, ca_file, bytes_max)).await {
            Ok(done) => done,
            Err(_) => bail!("it took longer than {} s", WHOLE.as_secs()),
        }
    };
    runtime.block_on(fetched).with_context(|| format!("{url} cannot be fetched"))
}

async fn follow(url: &str, ca_file: Option<&Path>, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS_MAX {
        let (place, query) = url.split_once('?').map_or((&*url, None), |(place, query)| (place, Some(query)));
        let parsed =
            HttpUrl::parse(place).map_err(|error| anyhow::anyhow!("{url} {}; {}", error.message, error.help))?;
        let reply = ask(&parsed, query, ca_file).await?;
        if !reply.status.is_redirection() {
            ensure!(reply.status == StatusCode::OK, "{} answered {}", parsed.host, reply.status);
            return read(reply.body, bytes_max).await;
        }
        let location = reply.headers.into_map();
        let location = location.get(LOCATION).and_then(|value| value.to_str().ok());
        let location = location.with_context(|| format!("{} redirects without saying where", parsed.host))?;
        let next = match location.strip_prefix('/') {
            Some(path) => format!("{}://{}/{path}", parsed.scheme.as_str(), parsed.authority()),
            None => location.to_owned(),
        };
        ensure!(
            parsed.scheme == Scheme::Http || next.starts_with("https://"),
            "{} redirects from https to something weaker",
            parsed.host
        );
        url = next;
    }
    bail!("more than {REDIRECTS_MAX} redirects")
}

async fn ask(url: &HttpUrl, query: Option<&str>, ca_file: Option<&Path>) -> anyhow::Result<OriginReply> {
    let tls = match url.scheme {
        Scheme::Http => None,
        Scheme::Https => {
            let roots = ca_file.map_or_else(TrustRoots::system, TrustRoots::file)?;
            Some(OriginTls::new(&OriginTrust::Roots(roots), OriginAlpn::H1, url.host_name())?)
        }
    };
    let addresses = tokio::net::lookup_host((url.host_name(), url.port)).await;
    let addresses: Vec<_> = addresses.with_context(|| format!("{} does not resolve", url.host))?.collect();
    let link = origin::connect(&addresses, tls.as_ref(), OriginProtocol::Http1, SILENCE).await?;
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("archipel/", env!("CARGO_PKG_VERSION"))));
    let target = query.map_or_else(|| url.path.to_string(), |query| format!("{}?{query}", url.path));
    let request = OriginRequest {
        method: Method::GET,
        scheme: url.scheme.as_str(),
        authority: HeaderValue::try_from(url.authority())?,
        target: Bytes::from(target),
        headers,
        lines: FieldLines::default(),
        upgrade: None,
        body: RequestBody::empty(),
    };
    let timeouts = OriginTimeouts { first_byte: SILENCE, between_bytes: SILENCE, expect_continue: SILENCE };
    let sent = link.send(request, timeouts, &Interim::Discard, Arc::new(Once)).await;
    Ok(sent.map_err(|SendFailed { error, .. }| error)?)
}

async fn read(body: ReplyBody, bytes_max: u64) -> anyhow::Result<Vec<u8>> {
    let too_large = || format!("it is larger than the {bytes_max} bytes allowed for an archive");
    let mut whole = Vec::new();
    match body {
        ReplyBody::Full(bytes) => whole.extend_from_slice(&bytes),
        ReplyBody::Stream { mut body, .. } => {
            while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
                if let Ok(data) = frame?.into_data() {
                    whole.extend_from_slice(&data);
                    ensure!(whole.len() as u64 <= bytes_max, too_large());
                }
            }
        }
        _ => {}
    }
    ensure!(whole.len() as u64 <= bytes_max, too_large());
    Ok(whole)
}
