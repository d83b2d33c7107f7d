//! Replies in another form than the stored one.

use std::sync::Arc;

use archipel_cache::{FillReader, Head, Stored};
use archipel_http::coding;
use archipel_transport::message::{Reply, ReplyBody, ReplyFields};
use http::header::RANGE;
use http::{Method, StatusCode};

use super::coder::Coder;
use super::derived::{self, Kind};
use super::pass::{CodedBody, Pieces};
use super::{Form, Place, form, make};
use crate::body::FillBody;
use crate::cache::Meta;
use crate::cache::deliver::{self, Served};
use crate::exchange::Exchange;
use crate::live::LiveZone;

/// A form that can be sent.
pub(super) enum Made {
    /// It is complete.
    Whole(Arc<Stored<Meta>>),
    /// It is being made.
    Filling(FillReader<Meta>),
}

/// A reply made from a complete stored response in another form; `None` where it is to be sent as it is stored.
///
/// A range is cut out of the stored bytes where the client may hold a part of them, and ignored otherwise: what is made may
/// be made again with other bytes.
pub(in crate::cache) fn stored(
    ex: &mut Exchange,
    zone: &LiveZone,
    stored: &Arc<Stored<Meta>>,
    age: u32,
    served: &Served,
) -> Option<Reply> {
    let form = form(ex, zone, &stored.meta)?;
    if let Some(reply) = not_modified(ex, zone, stored.head(), age, served) {
        return Some(reply);
    }
    if is_of_stored_bytes(ex, stored.head(), form) {
        return None;
    }
    if stored.meta.forms.alone {
        return alone(ex, zone, stored, form, age, served);
    }
    if let Form::Coded(_) = form
        && let Some(reply) = super::dictionary::reply(ex, zone, stored, age, served)
    {
        return Some(reply);
    }
    let found = derived::find(&ex.worker.node.store, stored.head(), form);
    if found.as_ref().and_then(|found| found.meta.forms.derived.as_ref()).is_some_and(|derived| derived.useless) {
        return None;
    }
    if ex.asked.method == Method::HEAD {
        return Some(match found {
            Some(found) => head(ex, zone, found.head(), Some(found.body().len()), age, served),
            None => head(ex, zone, &derived::head(stored.head(), Kind::on_demand(form)), None, age, served),
        });
    }
    let made = match found {
        Some(found) => {
            super::background::again(ex, zone, stored, &found, form);
            Made::Whole(found)
        }
        // An explanation, or a revalidation that nobody waits for.
        None if ex.conn.is_none() => {
            ex.note("cache", "coding", || format!("{form:?} would be made"));
            return None;
        }
        None => make::of_stored(ex, zone, stored, form)?,
    };
    Some(send(ex, zone, made, age, served))
}

/// [`stored`] for a response that is still coming in; gives the reader back where it is to be sent as it comes.
pub(in crate::cache) fn filling(
    ex: &mut Exchange,
    zone: &LiveZone,
    reader: FillReader<Meta>,
    served: &Served,
) -> Result<Reply, FillReader<Meta>> {
    let source = reader.head().clone();
    let Some(form) = form(ex, zone, &source.meta) else { return Err(reader) };
    let age = source.meta.facts.current_age(ex.now());
    if let Some(reply) = not_modified(ex, zone, &source, age, served) {
        return Ok(reply);
    }
    if is_of_stored_bytes(ex, &source, form) {
        return Err(reader);
    }
    if ex.asked.method == Method::HEAD {
        return Ok(head(ex, zone, &derived::head(&source, Kind::on_demand(form)), None, age, served));
    }
    if ex.conn.is_none() {
        return Err(reader);
    }
    let made = make::of_fill(ex, zone, reader, form)?;
    Ok(send(ex, zone, Made::Filling(made), age, served))
}

/// The 304 for a client that has the response and would be sent another form: with that form's tag.
fn not_modified(ex: &mut Exchange, zone: &LiveZone, source: &Head<Meta>, age: u32, served: &Served) -> Option<Reply> {
    let mut reply = deliver::frozen(source.status, &source.meta);
    if source.status != StatusCode::OK || !deliver::is_not_modified(ex, &mut reply, &source.meta) {
        return None;
    }
    coding::weaken(reply.headers_mut());
    Some(deliver::finish(ex, zone, reply, &source.meta, age, served))
}

/// Whether a range is to be cut out of the bytes as they are stored.
fn is_of_stored_bytes(ex: &Exchange, source: &Head<Meta>, form: Form) -> bool {
    let headers = &ex.asked.headers;
    let ranged = ex.asked.method == Method::GET && source.status == StatusCode::OK && headers.contains_key(RANGE);
    ranged && matches!(form, Form::Coded(_)) && coding::may_serve_ranges(headers, &source.meta.facts)
}

fn head(
    ex: &mut Exchange,
    zone: &LiveZone,
    derived: &Head<Meta>,
    len: Option<u64>,
    age: u32,
    served: &Served,
) -> Reply {
    let mut reply = deliver::frozen(derived.status, &derived.meta);
    reply.body = ReplyBody::Omitted { len };
    deliver::finish(ex, zone, reply, &derived.meta, age, served)
}

fn send(ex: &mut Exchange, zone: &LiveZone, made: Made, age: u32, served: &Served) -> Reply {
    ex.worker.metrics.coded_replies.add(1);
    let (head, body) = match made {
        Made::Whole(stored) => (stored.head().clone(), deliver::whole_of(&stored)),
        Made::Filling(reader) => {
            let head = reader.head().clone();
            (head, ReplyBody::Stream { body: Box::pin(FillBody::new(reader)), len: None })
        }
    };
    let mut reply = deliver::frozen(head.status, &head.meta);
    reply.body = body;
    deliver::finish(ex, zone, reply, &head.meta, age, served)
}

/// A response for one client, in another form that is not kept.
fn alone(
    ex: &mut Exchange,
    zone: &LiveZone,
    stored: &Arc<Stored<Meta>>,
    form: Form,
    age: u32,
    served: &Served,
) -> Option<Reply> {
    let mut reply = deliver::frozen(stored.status, &stored.meta);
    reply.body = if ex.asked.method == Method::HEAD {
        ReplyBody::Omitted { len: None }
    } else {
        let length = stored.body().len();
        let place = Place::take(ex)?;
        let coder = Coder::new(form, zone, Some(length)).ok()?;
        let pieces = Box::pin(Pieces(stored.body().reader(0..length)));
        ex.worker.metrics.coded_replies.add(1);
        let body = CodedBody::new(pieces, coder, place, ex.worker.clone());
        ReplyBody::Stream { body: Box::pin(body), len: None }
    };
    coding::recode(reply.headers_mut(), form.coding());
    debug_assert!(matches!(reply.fields, ReplyFields::Owned(_)));
    Some(deliver::finish(ex, zone, reply, &stored.meta, age, served))
}
