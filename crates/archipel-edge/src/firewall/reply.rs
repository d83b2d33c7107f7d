//! What the firewall answers with.

use archipel_http::proxy_status::ProxyError;
use archipel_transport::message::{Reply, ReplyBody};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use crate::error_page::{self, Failure};
use crate::exchange::Exchange;

/// A custom rule refused.
pub(crate) const BLOCK: &str = "firewall_block";
/// An access rule refused.
pub(crate) const ACCESS: &str = "firewall_access";
/// A managed rule refused.
pub(crate) const MANAGED: &str = "firewall_managed";
/// The visitor would have to prove to be human, which nothing here can check yet.
pub(crate) const CHALLENGE: &str = "firewall_challenge";
/// `shield.block_lists`.
const LISTED: &str = "shield_block_list";

/// The answer that a rule brings along, instead of a page.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    pub(crate) content_type: HeaderValue,
    pub(crate) body: Bytes,
}

/// The answer to a blocked request.
pub(crate) fn block(ex: &mut Exchange, reason: &'static str, status: StatusCode, custom: Option<&Custom>) -> Reply {
    let message = "The rules of this site do not let this request in.";
    refuse(ex, &denied(status, reason, message), custom)
}

/// The answer to a request that is refused, with the body that the rule brings along.
pub(crate) fn refuse(ex: &mut Exchange, failure: &Failure, custom: Option<&Custom>) -> Reply {
    let mut reply = error_page::reply(ex, failure);
    if let Some(custom) = custom {
        let headers = reply.headers_mut();
        headers.insert(CONTENT_TYPE, custom.content_type.clone());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        reply.body = ReplyBody::Full(custom.body.clone());
    }
    reply
}

/// The answer to a request whose visitor would have to prove to be human. There is no way to do so yet: a clear refusal.
pub(crate) fn challenge(ex: &mut Exchange) -> Reply {
    let message = "This site wants to know whether a person sent this request, and this edge cannot ask yet.";
    error_page::reply(ex, &denied(StatusCode::FORBIDDEN, CHALLENGE, message))
}

/// The answer to an address on the node's block lists.
pub(crate) fn listed(ex: &mut Exchange) -> Reply {
    let message = "This site does not serve the network that this request comes from.";
    error_page::reply(ex, &denied(StatusCode::FORBIDDEN, LISTED, message))
}

pub(crate) fn denied(status: StatusCode, reason: &'static str, message: &'static str) -> Failure {
    let mut failure = Failure::refusal(status, reason, message);
    failure.proxy = Some(ProxyError::HttpRequestDenied);
    failure
}
