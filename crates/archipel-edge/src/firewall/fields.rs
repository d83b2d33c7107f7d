//! What a rule sees of an exchange. Each field is worked out when an expression asks for it, and at most once.
//!
//! Paths are the canonical ones that the cache key and the origin get too; `raw.*` are as the visitor sent them.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::LazyLock;

use archipel_http::language;
use archipel_rules::{Field, Fields, MapSource, Value};
use archipel_transport::body::Peeked;
use archipel_transport::message::Reply;
use http::header::{CONTENT_TYPE, COOKIE, REFERER, USER_AGENT};
use http::{HeaderMap, HeaderName, Version};

use super::body::BodyFields;
use super::pairs::Pairs;
use crate::exchange::Exchange;
use crate::geo::Place;
use crate::phases::encode;

/// Header fields, by name and in order.
struct HeaderSource<'a>(Cow<'a, HeaderMap>);

impl MapSource for HeaderSource<'_> {
    fn get<'a>(&'a self, key: &[u8]) -> Value<'a> {
        let Ok(name) = HeaderName::from_lowercase(key) else { return Value::Nil };
        let mut values = self.0.get_all(name).iter().map(http::HeaderValue::as_bytes).peekable();
        if values.peek().is_none() { Value::Nil } else { Value::texts(values) }
    }

    fn entries<'a>(
        &'a self,
        each: &mut dyn FnMut(&'a [u8], Value<'a>) -> std::ops::ControlFlow<()>,
    ) -> std::ops::ControlFlow<()> {
        self.0.keys().try_for_each(|name| {
            let values = self.0.get_all(name).iter().map(http::HeaderValue::as_bytes);
            each(name.as_str().as_bytes(), Value::texts(values))
        })
    }
}

/// An exchange as rules see it.
pub(crate) struct View<'a> {
    ex: &'a Exchange,
    reply: Option<&'a Reply>,
    headers: HeaderSource<'a>,
    reply_headers: OnceCell<HeaderSource<'a>>,
    args: OnceCell<Pairs<'a>>,
    raw_args: OnceCell<Pairs<'a>>,
    cookies: OnceCell<Pairs<'a>>,
    body: OnceCell<BodyFields<'a>>,
    place: OnceCell<Place<'a>>,
    /// Paths are for a query: what would end a parameter there is encoded.
    for_query: bool,
    /// The URL is the visitor's, whatever rules made of it.
    as_sent: bool,
    path: OnceCell<String>,
    raw_path: OnceCell<String>,
    /// Texts that are made, each once.
    full_uri: OnceCell<String>,
    raw_full_uri: OnceCell<String>,
    cookie: OnceCell<Vec<u8>>,
    extension: OnceCell<String>,
    media_type: OnceCell<String>,
    ray_id: OnceCell<[u8; 32]>,
    seed: OnceCell<[u8; 32]>,
}

impl<'a> View<'a> {
    /// The request alone.
    pub(crate) fn request(ex: &'a Exchange) -> Self {
        Self::new(ex, None)
    }

    /// The request and the reply to it.
    pub(crate) fn response(ex: &'a Exchange, reply: &'a Reply) -> Self {
        Self::new(ex, Some(reply))
    }

    /// The request with the URL that the visitor asked for, and the reply to it.
    pub(crate) fn as_sent(ex: &'a Exchange, reply: &'a Reply) -> Self {
        Self { as_sent: true, ..Self::new(ex, Some(reply)) }
    }

    /// The request, for an expression that makes a query.
    pub(crate) fn for_query(ex: &'a Exchange) -> Self {
        Self { for_query: true, ..Self::new(ex, None) }
    }

    fn path<'b>(&'b self, path: &'b str, made: &'b OnceCell<String>) -> Value<'b> {
        if !self.for_query {
            return Value::text(path);
        }
        Value::text(made.get_or_init(|| encode::path_in_query(path)))
    }

    fn new(ex: &'a Exchange, reply: Option<&'a Reply>) -> Self {
        Self {
            ex,
            reply,
            headers: HeaderSource(Cow::Borrowed(&ex.asked.headers)),
            reply_headers: OnceCell::new(),
            args: OnceCell::new(),
            raw_args: OnceCell::new(),
            cookies: OnceCell::new(),
            body: OnceCell::new(),
            place: OnceCell::new(),
            for_query: false,
            as_sent: false,
            path: OnceCell::new(),
            raw_path: OnceCell::new(),
            full_uri: OnceCell::new(),
            raw_full_uri: OnceCell::new(),
            cookie: OnceCell::new(),
            extension: OnceCell::new(),
            media_type: OnceCell::new(),
            ray_id: OnceCell::new(),
            seed: OnceCell::new(),
        }
    }

    /// Where the client is, as far as the node's databases know.
    pub(crate) fn place(&self) -> &Place<'a> {
        self.place.get_or_init(|| self.ex.live.geo.place(self.ex.client))
    }

    fn uri(&self) -> &'a str {
        if self.as_sent { self.ex.asked.visitor_target() } else { &self.ex.asked.path_and_query }
    }

    fn raw_uri(&self) -> &'a str {
        self.ex.asked.received_target.as_deref().unwrap_or_else(|| self.ex.asked.visitor_target())
    }

    fn args(&self) -> &Pairs<'a> {
        self.args.get_or_init(|| Pairs::query(query_of(self.uri())))
    }

    fn raw_args(&self) -> &Pairs<'a> {
        self.raw_args.get_or_init(|| Pairs::query(query_of(self.raw_uri())))
    }

    /// All values of a field as one: the origin gets all of them, and may read any.
    fn joined(&self, name: HeaderName, between: &[u8]) -> Value<'_> {
        let mut values = self.headers.0.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Value::Nil,
            (Some(one), None) => Value::text(one.as_bytes()),
            (Some(one), Some(other)) => {
                let mut whole = [one.as_bytes(), between, other.as_bytes()].concat();
                values.for_each(|value| whole.extend([between, value.as_bytes()].concat()));
                Value::Bytes(whole.into())
            }
        }
    }

    /// The `Cookie` field; an HTTP/2 client may send it in crumbs (RFC 9113 section 8.2.3).
    fn cookie(&self) -> &[u8] {
        self.cookie.get_or_init(|| self.joined(COOKIE, b"; ").as_bytes().unwrap_or_default().to_vec())
    }

    fn full_uri_of(&self, uri: &str) -> String {
        format!("{}://{}{uri}", self.ex.asked.scheme.as_str(), self.ex.asked.authority)
    }

    fn languages(&self) -> Value<'_> {
        Value::texts(language::ranges(&self.headers.0))
    }

    fn body(&self) -> &BodyFields<'a> {
        self.body.get_or_init(|| {
            static NOTHING: LazyLock<Peeked> = LazyLock::new(Peeked::default);
            let peeked = self.ex.rules.as_ref().and_then(|rules| rules.body.as_ref()).unwrap_or(&NOTHING);
            BodyFields::new(peeked, self.ex.asked.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes))
        })
    }

    fn reply_headers(&self) -> Option<&HeaderSource<'a>> {
        let reply = self.reply?;
        Some(self.reply_headers.get_or_init(|| HeaderSource(reply.headers())))
    }

    fn uri_field(&self, field: Field) -> Value<'_> {
        match field {
            Field::HttpRequestUri => Value::text(self.uri()),
            Field::HttpRequestUriPath => self.path(path_of(self.uri()), &self.path),
            Field::HttpRequestUriPathExtension => {
                Value::text(self.extension.get_or_init(|| extension_of(self.uri()).to_ascii_lowercase()))
            }
            Field::HttpRequestUriQuery => Value::text(query_of(self.uri())),
            Field::HttpRequestUriArgs => Value::Map(self.args()),
            Field::HttpRequestUriArgsNames => self.args().names(),
            Field::HttpRequestUriArgsValues => self.args().values(),
            Field::HttpRequestFullUri => Value::text(self.full_uri.get_or_init(|| self.full_uri_of(self.uri()))),
            Field::RawHttpRequestFullUri => {
                Value::text(self.raw_full_uri.get_or_init(|| self.full_uri_of(self.raw_uri())))
            }
            Field::RawHttpRequestUri => Value::text(self.raw_uri()),
            Field::RawHttpRequestUriPath => self.path(path_of(self.raw_uri()), &self.raw_path),
            Field::RawHttpRequestUriPathExtension => Value::text(extension_of(self.raw_uri())),
            Field::RawHttpRequestUriQuery => Value::text(query_of(self.raw_uri())),
            Field::RawHttpRequestUriArgs => Value::Map(self.raw_args()),
            Field::RawHttpRequestUriArgsNames => self.raw_args().names(),
            Field::RawHttpRequestUriArgsValues => self.raw_args().values(),
            _ => self.body_field(field),
        }
    }

    fn body_field(&self, field: Field) -> Value<'_> {
        match field {
            Field::HttpRequestBodyRaw => Value::text(self.body().raw()),
            Field::HttpRequestBodyTruncated => Value::Bool(self.body().truncated()),
            Field::HttpRequestBodySize => {
                let known = self.ex.asked.body.announced_length().filter(|_| self.body().truncated());
                Value::Int(number(known.unwrap_or(self.body().raw().len() as u64)))
            }
            Field::HttpRequestBodyForm => Value::Map(self.body().form()),
            Field::HttpRequestBodyFormNames => self.body().form().names(),
            Field::HttpRequestBodyFormValues => self.body().form().values(),
            Field::HttpRequestBodyMime => Value::text(self.body().mime()),
            Field::HttpRequestBodyMultipart => Value::Map(self.body().multipart()),
            _ => self.body().part_field(field),
        }
    }

    fn place_field(&self, field: Field) -> Value<'_> {
        let place = self.place();
        let text = |text: Option<&'a str>| text.map_or(Value::Nil, Value::text);
        match field {
            Field::IpSrc => Value::Ip(self.ex.client),
            Field::IpSrcCountry => Value::text(place.country()),
            Field::IpSrcContinent => text(place.continent),
            Field::IpSrcCity => text(place.city),
            Field::IpSrcPostalCode => text(place.postal_code),
            Field::IpSrcRegion => text(place.region),
            Field::IpSrcRegionCode | Field::IpSrcSubdivision1IsoCode => text(place.region_code),
            Field::IpSrcSubdivision2IsoCode => text(place.subdivision_2),
            Field::IpSrcTimezoneName => text(place.time_zone),
            Field::IpSrcMetroCode => place.metro_code.map_or(Value::Nil, made),
            Field::IpSrcLat => place.latitude.map_or(Value::Nil, made),
            Field::IpSrcLon => place.longitude.map_or(Value::Nil, made),
            Field::IpSrcAsnum => place.asn.map_or(Value::Nil, |asn| Value::Int(asn.into())),
            Field::IpSrcIsInEuropeanUnion => Value::Bool(place.in_european_union),
            _ => self.uri_field(field),
        }
    }

    fn edge_field(&self, field: Field) -> Value<'_> {
        let conn = self.ex.conn.as_deref();
        let tls = conn.and_then(|conn| conn.tls.as_ref());
        let since_ms = |from: std::time::Instant, to: std::time::Instant| {
            Value::Int(number(u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX)))
        };
        let times = &self.ex.times;
        match field {
            Field::CfEdgeServerIp => conn.map_or(Value::Nil, |conn| Value::Ip(conn.local.ip())),
            Field::CfEdgeServerPort => conn.map_or(Value::Nil, |conn| Value::Int(conn.local.port().into())),
            Field::CfEdgeClientTcp => Value::Bool(true),
            Field::CfTlsVersion => tls.map_or(Value::Nil, |tls| Value::text(tls.version)),
            Field::CfTlsCipher => tls.map_or(Value::Nil, |tls| Value::text(tls.cipher)),
            Field::CfBotManagementJa4 => {
                tls.and_then(|tls| tls.ja4.as_ref()).map_or(Value::Nil, |ja4| Value::text(ja4.as_str()))
            }
            Field::CfRayId => Value::text(self.ray_id.get_or_init(|| self.ex.id_text())),
            Field::CfRandomSeed => Value::text(self.seed.get_or_init(|| seed(self.ex.id))),
            Field::CfTimingsEdgeMsec => since_ms(times.begun, std::time::Instant::now()),
            Field::CfTimingsOriginTtfbMsec => times
                .origin_asked
                .zip(times.origin_replied)
                .map_or(Value::Nil, |(asked, replied)| since_ms(asked, replied)),
            _ => self.place_field(field),
        }
    }

    fn reply_field(&self, field: Field) -> Value<'_> {
        let Some(reply) = self.reply else { return Value::Nil };
        let Some(headers) = self.reply_headers() else { return Value::Nil };
        match field {
            Field::HttpResponseCode => Value::Int(reply.status.as_u16().into()),
            Field::HttpResponseHeaders | Field::RawHttpResponseHeaders => Value::Map(headers),
            Field::HttpResponseHeadersNames | Field::RawHttpResponseHeadersNames => names(&headers.0),
            Field::HttpResponseHeadersValues | Field::RawHttpResponseHeadersValues => values(&headers.0),
            Field::HttpResponseContentTypeMediaType => {
                let made = || {
                    let value = headers.0.get(CONTENT_TYPE).map_or(&b""[..], http::HeaderValue::as_bytes);
                    let media = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                    String::from_utf8_lossy(media).to_ascii_lowercase()
                };
                Value::text(self.media_type.get_or_init(made))
            }
            Field::CfResponseErrorType => Value::text(error_type(self.ex, reply)),
            _ => Value::Nil,
        }
    }
}

impl Fields for View<'_> {
    fn field(&self, field: Field) -> Value<'_> {
        let asked = &self.ex.asked;
        let wall = || self.ex.times.wall.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        match field {
            Field::HttpHost => Value::text(asked.host()),
            Field::HttpCookie => Value::text(self.cookie()),
            Field::HttpReferer => self.joined(REFERER, b", "),
            Field::HttpUserAgent => self.joined(USER_AGENT, b", "),
            Field::HttpXForwardedFor => self.joined(HeaderName::from_static("x-forwarded-for"), b", "),
            Field::HttpRequestMethod => Value::text(asked.method.as_str()),
            Field::HttpRequestCookies => {
                Value::Map(self.cookies.get_or_init(|| Pairs::cookies(asked.headers.get_all(COOKIE))))
            }
            Field::HttpRequestTimestampSec => Value::Int(number(wall().as_secs())),
            Field::HttpRequestTimestampMsec => Value::Int(wall().subsec_millis().into()),
            Field::HttpRequestVersion => Value::text(version(asked.version)),
            Field::HttpRequestHeaders => Value::Map(&self.headers),
            Field::HttpRequestHeadersNames => names(&self.headers.0),
            Field::HttpRequestHeadersValues => values(&self.headers.0),
            // What has more fields than `limits.header_count_max` was refused.
            Field::HttpRequestHeadersTruncated => Value::Bool(false),
            Field::HttpRequestAcceptedLanguages => self.languages(),
            Field::Ssl => Value::Bool(asked.scheme == archipel_http::target::Scheme::Https),
            _ if field.spec().phase == archipel_rules::Phase::Response => self.reply_field(field),
            _ => self.edge_field(field),
        }
    }

    fn limit_reached(&self, limit: &'static str) {
        self.ex.count("rule_limits", limit);
    }
}

fn names(headers: &HeaderMap) -> Value<'_> {
    Value::texts(headers.iter().map(|(name, _)| name.as_str().as_bytes()))
}

fn values(headers: &HeaderMap) -> Value<'_> {
    Value::texts(headers.iter().map(|(_, value)| value.as_bytes()))
}

fn made<'a>(value: impl ToString) -> Value<'a> {
    Value::Bytes(value.to_string().into_bytes().into())
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn path_of(uri: &str) -> &str {
    uri.split_once('?').map_or(uri, |(path, _)| path)
}

fn query_of(uri: &str) -> &str {
    uri.split_once('?').map_or("", |(_, query)| query)
}

/// What follows the last dot of the last segment.
fn extension_of(uri: &str) -> &str {
    let name = path_of(uri).rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Bytes that belong to one request and that nobody can foresee: its id, hashed with a key of this process.
fn seed(id: [u64; 2]) -> [u8; 32] {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let mut seed = [0; 32];
    for (at, bytes) in seed.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&KEY.hash_one((id, at)).to_le_bytes());
    }
    seed
}

/// The kind of error that the edge answers with, in Cloudflare's words where it has one.
fn error_type(ex: &Exchange, reply: &Reply) -> &'static str {
    match ex.reason.filter(|_| ex.refused) {
        Some(super::reply::BLOCK | super::reply::ACCESS) => "waf",
        Some(super::reply::CHALLENGE) => "managed_challenge",
        Some(crate::shield::rates::REASON) => "ratelimit",
        Some(_) if reply.status.is_server_error() => "5xx",
        _ => "",
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
