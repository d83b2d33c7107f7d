//! Content that has validators: preconditions (RFC 9110 section 13) and single ranges (section 14), whether it is embedded
//! or made up. Owns the decision between 200, 206, 304, 412 and 416; must never know what the content is.

use archipel_http::UnixSeconds;
use archipel_http::policy::Policy;
use archipel_http::range::{self, RangeOutcome};
use archipel_http::stored::StoredMeta;
use archipel_http::validate::{self, Precondition, Scope};
use archipel_transport::message::{Reply, ReplyBody};
use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, HeaderValue};
use http::{HeaderMap, Method, StatusCode};

use super::large::Generated;
use super::reply;

/// Ranges of one request; with more, the whole is served.
const RANGES_MAX: usize = 1;

/// Where the bytes come from.
pub(super) enum Source {
    /// Memory.
    Embedded(Bytes),
    /// A formula; so many bytes.
    Generated(u64),
}

/// Content, and the fields of a 200 with it.
pub(super) struct Content {
    pub(super) fields: HeaderMap,
    pub(super) source: Source,
}

impl Content {
    /// Answers a GET or HEAD.
    pub(super) fn answer(self, method: &Method, request: &HeaderMap, now: UnixSeconds) -> Reply {
        let meta = StoredMeta::build(StatusCode::OK, &self.fields, &Policy::neutral(), now, now);
        match validate::evaluate(method, request, &meta, Scope::Origin) {
            Precondition::NotModified => {
                let mut reply = Reply::new(StatusCode::NOT_MODIFIED);
                *reply.headers_mut() = validate::not_modified_fields(self.fields.clone());
                return reply;
            }
            Precondition::Failed => {
                return reply::text(StatusCode::PRECONDITION_FAILED, reply::NO_STORE, "It is not what you think.\n");
            }
            Precondition::Serve => {}
        }
        let specs = match range::parse_range(method, request, RANGES_MAX) {
            Ok(specs) if validate::if_range_holds(request, &meta) => specs,
            _ => return self.whole(),
        };
        match range::evaluate(&specs, self.length()) {
            RangeOutcome::Full(_) => self.whole(),
            RangeOutcome::Partial(ranges) => match ranges.first() {
                Some(one) => self.part(*one),
                None => self.whole(),
            },
            RangeOutcome::Unsatisfiable => self.unsatisfiable(),
        }
    }

    fn length(&self) -> u64 {
        match &self.source {
            Source::Embedded(bytes) => bytes.len() as u64,
            Source::Generated(length) => *length,
        }
    }

    fn whole(self) -> Reply {
        let length = self.length();
        self.bytes(StatusCode::OK, 0, length)
    }

    fn part(mut self, range: range::ByteRange) -> Reply {
        let length = self.length();
        self.fields.insert(CONTENT_RANGE, range.content_range(Some(length)));
        self.bytes(StatusCode::PARTIAL_CONTENT, range.first, range.last.saturating_add(1).min(length))
    }

    /// Bytes `start` to before `end`, which lie within the content.
    fn bytes(self, status: StatusCode, start: u64, end: u64) -> Reply {
        let mut reply = Reply::new(status);
        reply.body = match self.source {
            Source::Embedded(bytes) => {
                let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                ReplyBody::Full(bytes.slice(place(start)..place(end)))
            }
            Source::Generated(_) => {
                ReplyBody::Stream { body: Box::pin(Generated::new(start, end)), len: Some(end.saturating_sub(start)) }
            }
        };
        *reply.headers_mut() = self.fields;
        reply.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        reply
    }

    fn unsatisfiable(self) -> Reply {
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        let mut reply = reply::text(status, reply::NO_STORE, format!("There are {} bytes.\n", self.length()));
        reply.headers_mut().insert(CONTENT_RANGE, range::unsatisfied_content_range(self.length()));
        reply
    }
}
