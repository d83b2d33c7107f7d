//! Dictionary transport (RFC 9842): a stored response coded against another that the client has, as `dcz`.
//!
//! A dictionary is a stored response like any other; this module remembers which ones are, by key and content, and reads
//! them from the store: one that was purged or replaced is a dictionary no longer. What is coded against one is made for
//! each reply and not stored: clients differ in what they have.
//!
//! Must never code against a response of another origin.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use archipel_cache::{KeyRef, KeyText, Stored};
use archipel_codings::{Dictionary, Encoder, Options};
use archipel_http::coding::{self, Accepted};
use archipel_http::coding_dictionary::{self as transport, Sha256, USE_AS_DICTIONARY};
use archipel_transport::body::BodyError;
use archipel_transport::message::{Reply, ReplyBody};
use archipel_transport::tls::ja4::sha256_of;
use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame};

use super::coder::Coder;
use super::pass::{CodedBody, Pieces};
use super::{Place, make};
use crate::cache::deliver::{self, Served};
use crate::cache::{Meta, key_of};
use crate::exchange::Exchange;
use crate::live::LiveZone;

/// Dictionaries that are known on one node, whatever its zones allow.
const DICTIONARIES_MAX: usize = 4096;

/// Which stored responses are dictionaries.
#[derive(Default)]
pub(super) struct Known(Mutex<VecDeque<Candidate>>);

#[derive(Clone)]
struct Candidate {
    key: Arc<str>,
    hash: u128,
    zone: u32,
    content: u64,
    /// Worked out when it is first asked for.
    digest: Option<Sha256>,
}

impl Known {
    fn with<T>(&self, f: impl FnOnce(&mut VecDeque<Candidate>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, candidate: Candidate, of_zone_max: usize) {
        self.with(|all| {
            all.retain(|other| other.content != candidate.content && other.key != candidate.key);
            let zone = candidate.zone;
            all.push_back(candidate);
            let of_zone = all.iter().filter(|other| other.zone == zone).count();
            if of_zone > of_zone_max
                && let Some(oldest) = all.iter().position(|other| other.zone == zone)
            {
                all.remove(oldest);
            }
            if all.len() > DICTIONARIES_MAX {
                all.pop_front();
            }
        });
    }
}

/// Remembers a response that is a dictionary, by its own word or by a rule, which is then said for it.
pub(super) fn describe(ex: &Exchange, zone: &LiveZone, headers: &mut HeaderMap, length: Option<u64>, content: u64) {
    let settings = &zone.zone.compression.dictionaries;
    if !settings.enabled || ex.asked.method != Method::GET {
        return;
    }
    transport::vary_by_dictionary(headers);
    if !headers.contains_key(USE_AS_DICTIONARY)
        && let Some(rule) = settings.rules.iter().find(|rule| transport::matches(&rule.pattern, ex.asked.path()))
        && let Some(value) = transport::announce(&rule.pattern)
    {
        headers.insert(USE_AS_DICTIONARY, value);
    }
    if length.is_some_and(|length| length > settings.bytes_max) || !transport::is_dictionary(headers) {
        return;
    }
    let node = &ex.worker.node;
    let key = key_of(ex, zone);
    let at = KeyRef::new(&key, node.key_seed);
    let candidate = Candidate { key: key.text().into(), hash: at.hash, zone: at.zone, content, digest: None };
    node.codings.dictionaries.add(candidate, settings.count_max);
}

/// Scheme and host in the text of a key.
fn origin(key: &str) -> (&str, &str) {
    let url = key.url();
    (url.scheme, url.authority)
}

/// The dictionary that the client has, as it is stored, with its hash.
fn find(ex: &Exchange, zone: &LiveZone, source: &Stored<Meta>, wanted: &Sha256) -> Option<Dictionary> {
    let known = &ex.worker.node.codings.dictionaries;
    let same_origin =
        |candidate: &&Candidate| candidate.zone == source.zone && origin(&candidate.key) == origin(&source.key);
    let candidates: Vec<Candidate> = known.with(|all| all.iter().filter(same_origin).cloned().collect());
    if let Some(candidate) = candidates.iter().find(|candidate| candidate.digest.as_ref() == Some(wanted)) {
        return read(ex, zone, candidate).and_then(|bytes| Dictionary::new(bytes).ok());
    }
    // One a request: hashing takes as long as the dictionary is large, and the client has other codings.
    let candidate = candidates.iter().find(|candidate| candidate.digest.is_none())?;
    let digest = sha256_of(&read(ex, zone, candidate)?);
    known.with(|all| {
        for other in all.iter_mut().filter(|other| other.content == candidate.content) {
            other.digest = Some(digest);
        }
    });
    if digest == *wanted { read(ex, zone, candidate).and_then(|bytes| Dictionary::new(bytes).ok()) } else { None }
}

/// The bytes of a dictionary; where it is gone, or too large after all, it is forgotten.
fn read(ex: &Exchange, zone: &LiveZone, candidate: &Candidate) -> Option<Vec<u8>> {
    let node = &ex.worker.node;
    let key = KeyRef { hash: candidate.hash, text: &*candidate.key, zone: candidate.zone };
    let found = node.store.lookup(&key, |stored| stored.meta.forms.content == candidate.content);
    let bytes_max = zone.zone.compression.dictionaries.bytes_max;
    match found.filter(|found| found.stored.body().len() <= bytes_max) {
        Some(found) => found.stored.body().in_memory().map(<[Bytes]>::concat),
        None => {
            node.codings.dictionaries.with(|all| all.retain(|other| other.content != candidate.content));
            None
        }
    }
}

/// A reply coded against the dictionary that the client has; `None` where it has none that is known here.
pub(super) fn reply(
    ex: &mut Exchange,
    zone: &LiveZone,
    stored: &Arc<Stored<Meta>>,
    age: u32,
    served: &Served,
) -> Option<Reply> {
    if !zone.zone.compression.dictionaries.enabled || ex.asked.method != Method::GET || ex.conn.is_none() {
        return None;
    }
    let wanted = transport::available(&ex.asked.headers)?;
    if !Accepted::of(&ex.asked.headers).accepts_dictionary() {
        return None;
    }
    let dictionary = find(ex, zone, stored, &wanted)?;
    let length = stored.body().len();
    let place = Place::take(ex)?;
    let level = zone.zone.compression.levels.zstd;
    let options = Options { level, length: Some(length), window_log_max: Options::WINDOW_LOG_LARGE };
    let encoder = match Encoder::with_dictionary(options, &dictionary) {
        Ok(encoder) => encoder,
        Err(error) => {
            make::failed(&ex.worker, error.into());
            return None;
        }
    };
    ex.worker.metrics.coded_replies.add(1);
    ex.worker.metrics.coding_dictionary_replies.add(1);
    let pieces = Box::pin(Pieces(stored.body().reader(0..length)));
    let body = CodedBody::new(pieces, Coder::Encode(encoder), place, ex.worker.clone());
    let prefix = Bytes::copy_from_slice(&transport::dcz_prefix(&wanted));
    let mut reply = deliver::frozen(stored.status, &stored.meta);
    reply.body = ReplyBody::Stream { body: Box::pin(Prefixed { prefix: Some(prefix), body }), len: None };
    let headers = reply.headers_mut();
    coding::recode(headers, None);
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static("dcz"));
    Some(deliver::finish(ex, zone, reply, &stored.meta, age, served))
}

/// The frame of `dcz`, then its stream.
struct Prefixed {
    prefix: Option<Bytes>,
    body: CodedBody,
}

impl Body for Prefixed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this.prefix.take() {
            Some(prefix) => Poll::Ready(Some(Ok(Frame::data(prefix)))),
            None => Pin::new(&mut this.body).poll_frame(cx),
        }
    }
}
