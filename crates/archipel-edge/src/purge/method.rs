//! The PURGE method: a visitor's request with a token purges the URL that it names, where the zone allows it.
//!
//! Owns whether such a request is obeyed. Must never let one through to the origin: an origin that knows the method would take
//! it as the edge's own.

use std::ops::ControlFlow;

use archipel_transport::message::{Reply, ReplyBody};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};

use super::token::{self, Token};
use super::{Purge, PurgesMade};
use crate::error_page::{self, Failure};
use crate::exchange::Exchange;
use crate::live::LiveZone;

/// The fields that ask for a soft purge, with the value 1; the second is Fastly's.
const SOFT: [&str; 2] = ["soft-purge", "fastly-soft-purge"];

/// Answers a PURGE request; others go on.
pub(crate) async fn stage(ex: &mut Exchange) -> ControlFlow<Reply> {
    if ex.asked.method.as_str() != "PURGE" {
        return ControlFlow::Continue(());
    }
    // Boxed, so that no other request carries what this one needs.
    ControlFlow::Break(Box::pin(answer(ex)).await)
}

/// What [`stage`] would do, without doing it.
pub(crate) fn explain(ex: &mut Exchange) -> ControlFlow<Reply> {
    if ex.asked.method.as_str() != "PURGE" {
        return ControlFlow::Continue(());
    }
    ControlFlow::Break(match allowed(ex) {
        Ok(soft) => {
            let (word, url) = (if soft { "softly" } else { "hard" }, url(ex));
            ex.note("purge", "purged", || format!("{url} would be purged {word}"));
            Reply::new(StatusCode::OK)
        }
        Err(failure) => refused(ex, &failure),
    })
}

async fn answer(ex: &mut Exchange) -> Reply {
    let soft = match allowed(ex) {
        Ok(soft) => soft,
        Err(failure) => return refused(ex, &failure),
    };
    let (node, url) = (ex.worker.node.clone(), url(ex));
    // The purge waits for the disk.
    let purged = tokio::task::spawn_blocking(move || node.purge(&[Purge::Url(url)], soft)).await;
    match purged {
        Ok(Ok(made)) => {
            ex.reason = Some("purged");
            report(&made)
        }
        Ok(Err(_)) | Err(_) => error_page::reply(ex, &Failure::internal("purge")),
    }
}

fn refused(ex: &mut Exchange, failure: &Failure) -> Reply {
    ex.worker.metrics.labelled.count("purges_refused", failure.reason);
    ex.note("purge", "refused", || failure.message.clone().into_owned());
    error_page::reply(ex, failure)
}

fn url(ex: &Exchange) -> String {
    format!("{}://{}{}", ex.asked.scheme.as_str(), ex.asked.authority, ex.asked.path_and_query)
}

/// Whether it is obeyed, and whether it asks for a soft purge.
fn allowed(ex: &Exchange) -> Result<bool, Failure> {
    let Some(zone) = &ex.zone else { return Err(Failure::internal("no_zone")) };
    let Some(token) = zone.purge_token.as_ref().filter(|_| zone.zone.purge.method) else {
        let message = "PURGE is not served for this site.";
        return Err(Failure::refusal(StatusCode::METHOD_NOT_ALLOWED, "purge_method_off", message));
    };
    match given(ex, zone) {
        None => {
            let message = "PURGE takes a token, and this request has none.";
            Err(Failure::refusal(StatusCode::FORBIDDEN, "purge_token_missing", message))
        }
        Some(given) if !Token::is(token, given) => {
            let message = "The token of this PURGE request is wrong.";
            Err(Failure::refusal(StatusCode::FORBIDDEN, "purge_token_wrong", message))
        }
        Some(_) => Ok(SOFT.iter().any(|name| ex.asked.headers.get(*name).is_some_and(|value| value == "1"))),
    }
}

fn given<'a>(ex: &'a Exchange, zone: &LiveZone) -> Option<&'a [u8]> {
    let name = &zone.zone.purge.token_header;
    let value = ex.asked.headers.get(name)?.as_bytes();
    if name == AUTHORIZATION { token::bearer(value) } else { Some(value.trim_ascii()) }
}

fn report(made: &PurgesMade) -> Reply {
    let mut json = serde_json::json!({
        "sequence": made.sequence(),
        "objects": made.objects(),
        "durable": made.not_durable.is_none(),
    });
    if let (Some(problem), Some(object)) = (&made.not_durable, json.as_object_mut()) {
        object.insert("problem".to_owned(), problem.clone().into());
    }
    let mut reply = Reply::new(StatusCode::OK);
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply.body = ReplyBody::Full(Bytes::from(format!("{json}\n")));
    reply
}
