//! From a decoded field section to a request: what RFC 9113 section 8 forbids, our own limits, and the shape that the
//! pipeline knows.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Version};

use super::hpack::{Field, Pseudo};
use super::stream::{StreamRef, UploadBody};
use crate::body::{Kind, RequestBody};
use crate::conn::Conn;
use crate::env::ServerSettings;
use crate::interim::{Interim, InterimHttp2};
use crate::message::Request;
use crate::refusal::Refusal;

/// A field section as it is decoded.
#[derive(Debug, Default)]
pub(crate) struct Section {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
    protocol: Option<Bytes>,
    pub(crate) headers: HeaderMap,
    /// Size of all its lines (RFC 9113 section 6.5.2).
    pub(crate) bytes: usize,
    /// Its size is above the limit: what came after that is not in it.
    pub(crate) over: bool,
    malformed: bool,
}

impl Section {
    /// Takes a field line; none that goes beyond `bytes_max` is kept.
    pub(crate) fn take(&mut self, field: Field, bytes_max: usize) {
        self.bytes += field.size();
        if self.bytes > bytes_max {
            self.over = true;
        }
        match field {
            Field::Pseudo(name, value) => self.take_pseudo(name, value),
            Field::Plain(name, value) => {
                self.malformed |= is_forbidden(&name, &value);
                if !self.over {
                    if self.headers.capacity() == 0 {
                        self.headers.reserve(12);
                    }
                    self.over |= self.headers.try_append(name, value).is_err();
                }
            }
            Field::Bad { .. } => self.malformed = true,
        }
    }

    fn take_pseudo(&mut self, name: Pseudo, value: Bytes) {
        let place = match name {
            Pseudo::Method => &mut self.method,
            Pseudo::Scheme => &mut self.scheme,
            Pseudo::Authority => &mut self.authority,
            Pseudo::Path => &mut self.path,
            Pseudo::Protocol => &mut self.protocol,
        };
        // Section 8.3: once, and before all other fields.
        self.malformed |= place.is_some() || !self.headers.is_empty();
        *place = Some(value);
    }

    /// The trailers that it is; `None` where it is none (RFC 9113 section 8.1).
    pub(crate) fn into_trailers(self) -> Option<HeaderMap> {
        let pseudo = [&self.method, &self.scheme, &self.authority, &self.path, &self.protocol];
        let good = !self.malformed && !self.over && pseudo.into_iter().all(Option::is_none);
        good.then_some(self.headers)
    }

    /// The request head that it is; `None` where the request is malformed (RFC 9113 section 8.1.1).
    pub(crate) fn into_head(self) -> Option<RequestHead> {
        if self.malformed {
            return None;
        }
        let method = Method::from_bytes(&self.method?).ok()?;
        let is_connect = method == Method::CONNECT;
        if let Some(authority) = &self.authority {
            Authority::from_maybe_shared(authority.clone()).ok()?;
        }
        let target = if is_connect && self.protocol.is_none() {
            // Section 8.5: CONNECT names its target and nothing else.
            if self.scheme.is_some() || self.path.is_some() {
                return None;
            }
            self.authority.clone()?
        } else {
            Scheme::try_from(&*self.scheme?).ok()?;
            if self.protocol.is_some() && !is_connect {
                return None;
            }
            target(self.path?)?
        };
        Some(RequestHead {
            method,
            authority: self.authority,
            target,
            protocol: self.protocol,
            headers: self.headers,
            bytes: self.bytes,
            over: self.over,
        })
    }
}

fn target(path: Bytes) -> Option<Bytes> {
    if path.is_empty() {
        return None;
    }
    let parsed = PathAndQuery::from_maybe_shared(path.clone()).ok()?;
    // A fragment is no part of a target.
    Some(path.slice(..parsed.as_str().len().min(path.len())))
}

/// RFC 9113 section 8.2.2.
fn is_forbidden(name: &http::HeaderName, value: &HeaderValue) -> bool {
    match *name {
        CONNECTION | TRANSFER_ENCODING | UPGRADE => true,
        TE => value != "trailers",
        _ => name == "keep-alive" || name == "proxy-connection",
    }
}

/// The head of a request that is well-formed.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: Method,
    authority: Option<Bytes>,
    target: Bytes,
    protocol: Option<Bytes>,
    pub(crate) headers: HeaderMap,
    bytes: usize,
    over: bool,
}

/// Makes a request of a head, or says why it is refused. `has_body`: the client has not ended the stream. The second
/// part is true where the stream becomes a tunnel: its bytes are no body.
pub(crate) fn convert(
    mut head: RequestHead,
    has_body: bool,
    stream: &StreamRef,
    conn: &Arc<Conn>,
    settings: &ServerSettings,
) -> Result<(Request, bool), Refusal> {
    check_limits(&head, settings)?;
    let authority = authority(head.authority, &mut head.headers)?;
    join_cookies(&mut head.headers);
    // The `:protocol` becomes a field of an HTTP/1.1 message: nothing but a token may pass.
    if head.protocol.as_ref().is_some_and(|protocol| !crate::h1::head::is_tunnel_protocol(protocol)) {
        return Err(Refusal::MalformedFields);
    }
    let expects_continue = crate::h1::head::expectation(&head.headers)?;
    let length = crate::h1::head::content_length(&head.headers).ok_or(Refusal::BadContentLength)?;
    if length.is_some() {
        head.headers.remove(CONTENT_LENGTH);
    }
    let tunnel = head.protocol.is_some();
    let body = if has_body && !tunnel {
        let body = UploadBody::new(stream.clone(), settings.body_progress, expects_continue);
        RequestBody::of(Kind::Http2(body), length)
    } else {
        RequestBody::empty()
    };
    let request = Request {
        method: head.method,
        version: Version::HTTP_2,
        scheme: conn.scheme(),
        authority,
        target: head.target,
        headers: head.headers,
        body,
        upgrade: head.protocol,
        interim: Interim::Http2(InterimHttp2(stream.clone())),
        head_bytes: u32::try_from(head.bytes).unwrap_or(u32::MAX),
    };
    Ok((request, tunnel))
}

fn check_limits(head: &RequestHead, settings: &ServerSettings) -> Result<(), Refusal> {
    if head.target.len() > settings.head.uri_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    if head.headers.len() > settings.head.fields_max {
        return Err(Refusal::TooManyFields);
    }
    if head.over {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

/// `:authority` and Host must agree (RFC 9113 section 8.3.1); one of them is enough.
fn authority(told: Option<Bytes>, headers: &mut HeaderMap) -> Result<Option<Bytes>, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::BadHost);
    }
    match (told, host) {
        (Some(told), Some(host)) if !told.eq_ignore_ascii_case(host.as_bytes()) => Err(Refusal::BadHost),
        (Some(told), None) => {
            let value = HeaderValue::from_maybe_shared(told.clone()).map_err(|_| Refusal::BadHost)?;
            headers.insert(HOST, value);
            Ok(Some(told))
        }
        (Some(told), Some(_)) => Ok(Some(told)),
        (None, host) => Ok(host.map(|host| Bytes::copy_from_slice(host.as_bytes()))),
    }
}

/// RFC 9113 section 8.2.3: crumbs are one field again before they leave HTTP/2.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let joined = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(COOKIE, value);
    }
}
