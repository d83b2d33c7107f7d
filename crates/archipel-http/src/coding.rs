//! Content codings (RFC 9110 sections 8.4 and 12.5.3): what a client accepts, what may be coded, and what that does to the
//! other fields.
//!
//! Owns the reading of `Accept-Encoding` and `Content-Encoding`, the choice among codings, and the fields of a coded
//! response. Must never touch content.
//!
//! # Validators
//! A response that the edge codes, or decodes, carries the origin's entity tag as a weak one: `"v1"` becomes `W/"v1"`. The
//! two forms mean the same and differ in their bytes, which is what a weak tag says. What follows:
//!
//! - `If-None-Match` compares weakly, at the edge and at the origin: either form is confirmed by the other's tag.
//! - `If-Range` compares strongly: a part of a coded form is never continued, and a part of the origin's own bytes, whose
//!   tag stayed strong, is continued with the origin's bytes, coded or not the rest of the site ([`may_serve_ranges`]).
//! - `If-Match` compares strongly too, so that the tag of a coded form would never let a client write. What the edge made
//!   weak it makes strong again on the way to the origin ([`restored_if_match`]).
//!
//! A suffix (`"v1-gzip"`) would keep the tag strong; but strong promises the same bytes for ever, and another level,
//! another node or the next version of a library gives others.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::status::StatusCode;

use crate::fields::Fields;
use crate::list;
use crate::stored::StoredMeta;
use crate::validate;
use crate::vary::weighted;

/// Members of `Accept-Encoding` that are read; those behind are ignored.
pub const ACCEPT_ENCODING_MEMBERS_MAX: usize = 64;

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const DIGEST: HeaderName = HeaderName::from_static("digest");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");

/// A content coding that the edge can make and undo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `gzip`, also known as `x-gzip`
    Gzip,
    /// `br`
    Brotli,
    /// `zstd`
    Zstd,
}

impl Coding {
    /// All of them.
    pub const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    /// Its token.
    pub fn as_str(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Brotli => "br",
            Coding::Zstd => "zstd",
        }
    }

    /// The coding of a token, in any case.
    pub fn from_token(token: &[u8]) -> Option<Coding> {
        if token.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Coding::Gzip);
        }
        Coding::ALL.into_iter().find(|coding| token.eq_ignore_ascii_case(coding.as_str().as_bytes()))
    }

    fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

/// What a client accepts. Weights in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    named: [Option<u16>; 3],
    identity: Option<u16>,
    any: Option<u16>,
    dictionary: bool,
}

impl Accepted {
    /// Reads all lines of `Accept-Encoding`. Without the field nothing but the content itself is taken to be accepted: RFC
    /// 9110 allows anything then, and clients that send none can decode nothing.
    ///
    /// A malformed member is ignored, and so is what follows [`ACCEPT_ENCODING_MEMBERS_MAX`]. A coding that is named twice
    /// has its lesser weight.
    pub fn of(request: &HeaderMap) -> Accepted {
        let mut accepted = Accepted::default();
        for member in list::field_members(request, header::ACCEPT_ENCODING).take(ACCEPT_ENCODING_MEMBERS_MAX) {
            let Some(member) = weighted(member) else { continue };
            let slot = match Coding::from_token(member.name) {
                Some(coding) => accepted.slot(coding),
                None if member.name.eq_ignore_ascii_case(b"identity") => &mut accepted.identity,
                None if member.name == b"*" => &mut accepted.any,
                None => {
                    accepted.dictionary |= member.name.eq_ignore_ascii_case(b"dcz") && member.weight > 0;
                    continue;
                }
            };
            *slot = Some(slot.map_or(member.weight, |other| other.min(member.weight)));
        }
        accepted
    }

    fn slot(&mut self, coding: Coding) -> &mut Option<u16> {
        match coding {
            Coding::Gzip => &mut self.named[0],
            Coding::Brotli => &mut self.named[1],
            Coding::Zstd => &mut self.named[2],
        }
    }

    /// The weight of a coding; 0 where it is not acceptable.
    pub fn weight(mut self, coding: Coding) -> u16 {
        self.slot(coding).or(self.any).unwrap_or(0)
    }

    /// Whether a coding is acceptable.
    pub fn accepts(self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// Whether the client would rather have the content itself, or cannot take the coding.
    pub fn prefers_identity_to(self, coding: Coding) -> bool {
        let weight = self.weight(coding);
        weight == 0 || self.identity.is_some_and(|identity| identity > weight)
    }

    /// Whether `dcz` (RFC 9842) is acceptable: only where it is named, as it needs a dictionary on both sides.
    pub fn accepts_dictionary(self) -> bool {
        self.dictionary
    }

    /// The coding to send: the one of the greatest weight, among equals the first in `preference`. `None` is the content
    /// itself: nothing else is acceptable, or it is named with a greater weight.
    ///
    /// A client that accepts neither a coding nor the content itself (`identity;q=0`) gets the content all the same: an
    /// error would help nobody (RFC 9110 section 12.4.1 lets a server disregard the field).
    pub fn choose(self, preference: &[Coding]) -> Option<Coding> {
        let mut best: Option<(Coding, u16)> = None;
        for coding in preference {
            let weight = self.weight(*coding);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((*coding, weight));
            }
        }
        best.map(|(coding, _)| coding).filter(|coding| !self.prefers_identity_to(*coding))
    }
}

/// The `Accept-Encoding` that asks for these codings, all alike; for none of them, `None`: the field is left out, which
/// every server takes to mean the content itself.
pub fn accept_encoding(codings: &[Coding]) -> Option<HeaderValue> {
    let tokens: Vec<&str> = codings.iter().map(|coding| coding.as_str()).collect();
    if tokens.is_empty() { None } else { HeaderValue::try_from(tokens.join(", ")).ok() }
}

/// How the content of a response is coded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContentCoding {
    /// Not at all.
    #[default]
    None,
    /// In one coding that the edge can undo.
    One(Coding),
    /// In several, or in one that it does not know.
    Other,
}

impl ContentCoding {
    /// Reads all lines of `Content-Encoding`.
    pub fn of(response: &impl Fields) -> ContentCoding {
        let mut found = ContentCoding::None;
        for member in list::members_of(response, &header::CONTENT_ENCODING) {
            if member.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            found = match (found, Coding::from_token(member)) {
                (ContentCoding::None, Some(coding)) => ContentCoding::One(coding),
                _ => ContentCoding::Other,
            };
        }
        found
    }
}

/// Media types, as patterns: `text/html`, `text/*`, `*+json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MediaTypes(Vec<Box<str>>);

impl MediaTypes {
    /// Patterns in lower case, each with [`MediaTypes::is_pattern`].
    pub fn new(patterns: impl IntoIterator<Item = Box<str>>) -> MediaTypes {
        MediaTypes(patterns.into_iter().map(|pattern| pattern.to_ascii_lowercase().into()).collect())
    }

    /// Whether a text is a pattern: `type/subtype`, `type/*` or `*+suffix`.
    pub fn is_pattern(text: &str) -> bool {
        let token = |text: &str| list::is_token(text.as_bytes()) && text != "*";
        match text.split_once('/') {
            Some((kind, subtype)) => token(kind) && (subtype == "*" || token(subtype)),
            None => text.strip_prefix("*+").is_some_and(token),
        }
    }

    /// Whether a `Content-Type` is one of them. An event stream is only by its full name: it is sent in bits as they come,
    /// and few want it delayed by a byte.
    pub fn contains(&self, content_type: &[u8]) -> bool {
        let essence = content_type.split(|byte| *byte == b';').next().map(list::trim).unwrap_or_default();
        let is_stream = essence.eq_ignore_ascii_case(b"text/event-stream");
        let ends_with = |suffix: &[u8]| {
            let at = essence.len().checked_sub(suffix.len());
            at.and_then(|at| essence.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        let starts_with =
            |prefix: &[u8]| essence.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
        self.0.iter().any(|pattern| match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
            (Some(prefix), _) => !is_stream && starts_with(prefix.as_bytes()),
            (_, Some(suffix)) => ends_with(suffix.as_bytes()),
            _ => essence.eq_ignore_ascii_case(pattern.as_bytes()),
        })
    }
}

/// What a zone lets be coded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodingRules {
    /// The types.
    pub types: MediaTypes,
    /// Shorter content is left alone, in bytes.
    pub bytes_min: u64,
    /// Longer content is left alone, in bytes.
    pub bytes_max: u64,
}

/// Why a response is not coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotCoded {
    /// A status without content, or a part of one.
    Status,
    /// Coded by the origin: never twice.
    Coded,
    /// `no-transform` (RFC 9111 section 5.2.2.6).
    NoTransform,
    /// A signature may cover the fields that would change (RFC 9421).
    Signed,
    /// A type that is not listed.
    Type,
    /// Shorter than `bytes_min`.
    BytesMin,
    /// Longer than `bytes_max`.
    BytesMax,
}

impl NotCoded {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            NotCoded::Status => "status",
            NotCoded::Coded => "coded",
            NotCoded::NoTransform => "no_transform",
            NotCoded::Signed => "signed",
            NotCoded::Type => "type",
            NotCoded::BytesMin => "bytes_min",
            NotCoded::BytesMax => "bytes_max",
        }
    }
}

/// Whether a response may be coded. `length` is that of its content in bytes, where known.
///
/// # Errors
/// The reason why not.
pub fn may_code(
    status: StatusCode,
    response: &impl Fields,
    length: Option<u64>,
    rules: &CodingRules,
) -> Result<(), NotCoded> {
    may_change(status, response)?;
    if ContentCoding::of(response) != ContentCoding::None {
        return Err(NotCoded::Coded);
    }
    if !response.values_of(&header::CONTENT_TYPE).next().is_some_and(|value| rules.types.contains(value)) {
        return Err(NotCoded::Type);
    }
    match length {
        Some(length) if length < rules.bytes_min => Err(NotCoded::BytesMin),
        Some(length) if length > rules.bytes_max => Err(NotCoded::BytesMax),
        _ => Ok(()),
    }
}

/// Whether the content of a response may be replaced by another form of it at all.
///
/// # Errors
/// The reason why not.
pub fn may_change(status: StatusCode, response: &impl Fields) -> Result<(), NotCoded> {
    let bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let partial = status == StatusCode::PARTIAL_CONTENT || response.has(&header::CONTENT_RANGE);
    if status.is_informational() || bodiless || partial {
        return Err(NotCoded::Status);
    }
    if list::members_of(response, &header::CACHE_CONTROL).any(|member| member.eq_ignore_ascii_case(b"no-transform")) {
        return Err(NotCoded::NoTransform);
    }
    if response.has(&SIGNATURE_INPUT) {
        return Err(NotCoded::Signed);
    }
    Ok(())
}

/// Whether a request forbids that content is changed on its way (RFC 9111 section 5.2.1.6).
pub fn forbids_transform(request: &HeaderMap) -> bool {
    request.contains_key(header::CACHE_CONTROL) && list::contains_token(request, header::CACHE_CONTROL, b"no-transform")
}

/// Makes the fields of a response those of its content in another coding; `None` is no coding. The length and digests of
/// the former content go, the entity tag becomes weak, and `Vary` says what the choice depends on.
pub fn recode(response: &mut HeaderMap, coding: Option<Coding>) {
    match coding {
        Some(coding) => drop(response.insert(header::CONTENT_ENCODING, coding.value())),
        None => drop(response.remove(header::CONTENT_ENCODING)),
    }
    response.remove(header::CONTENT_LENGTH);
    // What the origin can cut parts of are other bytes than these.
    response.remove(header::ACCEPT_RANGES);
    remove_digests(response);
    weaken(response);
    vary_by_accept_encoding(response);
}

/// Removes digests of content that has been changed (RFC 9530, RFC 3230); from trailers too.
pub fn remove_digests(fields: &mut HeaderMap) {
    for name in [CONTENT_MD5, DIGEST, CONTENT_DIGEST, REPR_DIGEST] {
        fields.remove(name);
    }
}

/// Makes an entity tag weak.
pub fn weaken(response: &mut HeaderMap) {
    let Some(etag) = response.get(header::ETAG).filter(|etag| !etag.as_bytes().starts_with(b"W/")) else {
        return;
    };
    // A value behind two more visible characters is a value still.
    if let Ok(weak) = HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()) {
        response.insert(header::ETAG, weak);
    }
}

/// Makes the entity tag of a 304 that goes through weak where the client holds the form with the weak tag: it named that
/// and not the strong one (RFC 9111 section 4.3.4).
pub fn weaken_for(request: &HeaderMap, not_modified: &mut HeaderMap) {
    let Some(etag) = not_modified.get(header::ETAG).map(|etag| etag.as_bytes()) else { return };
    if !validate::is_strong(etag) {
        return;
    }
    let tags = list::field_members(request, header::IF_NONE_MATCH).take(validate::ENTITY_TAGS_MAX);
    let (mut weak, mut strong) = (false, false);
    for tag in tags {
        weak |= tag.strip_prefix(b"W/").is_some_and(|opaque| opaque == etag);
        strong |= tag == etag;
    }
    if weak && !strong {
        weaken(not_modified);
    }
}

/// Makes weak tags in `If-Match` strong. A weak tag matches nothing there (RFC 9110 section 13.1.1), so nothing is lost
/// where the origin's own tag is weak; where the edge made it so, the client holds what the strong one names.
/// `None` where nothing is to be changed.
pub fn restored_if_match(request: &HeaderMap) -> Option<HeaderValue> {
    let is_weak = |value: &HeaderValue| memchr::memmem::find(value.as_bytes(), b"W/\"").is_some();
    if !request.get_all(header::IF_MATCH).into_iter().any(is_weak) {
        return None;
    }
    let mut restored = Vec::new();
    for tag in list::field_members(request, header::IF_MATCH).take(validate::ENTITY_TAGS_MAX) {
        if !restored.is_empty() {
            restored.extend_from_slice(b", ");
        }
        restored.extend_from_slice(tag.strip_prefix(b"W/").filter(|tag| validate::is_strong(tag)).unwrap_or(tag));
    }
    HeaderValue::from_bytes(&restored).ok()
}

/// Whether `Vary` says already that the choice depends on `Accept-Encoding`.
pub fn varies_by_accept_encoding(response: &impl Fields) -> bool {
    let covers = |member: &[u8]| member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding");
    list::members_of(response, &header::VARY).any(covers)
}

/// Adds `Accept-Encoding` to `Vary`, unless it is there.
pub fn vary_by_accept_encoding(response: &mut HeaderMap) {
    if !varies_by_accept_encoding(response) {
        response.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Whether a `Range` in this request may be answered with ranges of the stored bytes, although the client would be sent
/// another form of them in whole. It must then be that the client holds a part of these bytes, or none: no `If-Range`, or one
/// with their strong tag. A date does not tell the forms apart.
pub fn may_serve_ranges(request: &HeaderMap, meta: &StoredMeta) -> bool {
    let mut lines = request.get_all(header::IF_RANGE).into_iter();
    match (lines.next(), lines.next()) {
        (None, _) => true,
        (Some(value), None) => {
            meta.etag.as_ref().is_some_and(|etag| validate::strong_match(etag.as_bytes(), value.as_bytes()))
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
