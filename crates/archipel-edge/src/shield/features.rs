//! What the detector is told of a request: each feature as a number, and as people read it.
//!
//! Numbers are hashes under the node's seed, so that a client cannot choose a value that another has. Must look at nothing that a
//! later stage changes: a rule judges what it was made from.

use std::cell::OnceCell;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;

use archipel_shield::detector::{Feature, Features, Sample};
use archipel_transport::conn::Protocol;
use foldhash::quality::FixedState;
use http::HeaderName;
use http::header::{
    ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, ORIGIN, PRAGMA, RANGE, REFERER, USER_AGENT,
};

use crate::exchange::Exchange;
use crate::firewall::event::shown;
use crate::geo::Place;
use crate::hit_table;
use crate::shield::limits::Bits;

/// Names of header fields, and of query parameters, that are looked at.
const NAMES_MAX: usize = 32;

/// An exchange as the detector sees it.
pub(super) struct Looking<'a> {
    ex: &'a Exchange,
    seed: FixedState,
    place: OnceCell<Place<'a>>,
    known: u16,
    features: Features,
}

impl<'a> Looking<'a> {
    pub(super) fn new(ex: &'a Exchange, seed: u64) -> Self {
        let seed = FixedState::with_seed(seed);
        Self { ex, seed, place: OnceCell::new(), known: 0, features: Features::default() }
    }

    /// A feature's value; 0 where the request does not have it. Worked out when it is first asked for.
    pub(super) fn value(&mut self, feature: Feature) -> u32 {
        let bit = 1 << feature as u16;
        if self.known & bit == 0 {
            self.known |= bit;
            if let Some(value) = self.work_out(feature) {
                self.features.set(feature, value);
            }
        }
        self.features.get(feature)
    }

    /// All that is known before a reply is.
    pub(super) fn sample(mut self) -> Sample {
        for feature in Feature::ALL {
            self.value(*feature);
        }
        Sample { features: self.features, address: address(&self.seed, self.ex.client) }
    }

    /// A number that stands for the client's address.
    pub(super) fn address(&self) -> u64 {
        address(&self.seed, self.ex.client)
    }

    fn work_out(&self, feature: Feature) -> Option<u32> {
        let asked = &self.ex.asked;
        Some(match feature {
            Feature::Ja4 => self.hash(self.ja4()?.as_bytes()),
            Feature::Ja4Ciphers => self.hash(self.ja4()?.split('_').nth(1)?.as_bytes()),
            Feature::Protocol => self.hash(self.protocol().as_bytes()),
            Feature::HeaderOrder => self.hash_all(self.field_names().map(|name| name.as_str().as_bytes())),
            Feature::UserAgent => self.hash(asked.headers.get(USER_AGENT).map_or(b"", |value| value.as_bytes())),
            Feature::Network => self.hash(&Bits::of(self.ex.client).network.to_be_bytes()),
            Feature::Asn => self.place().asn?,
            Feature::Country => {
                if !self.ex.live.geo.knows_countries() {
                    return None;
                }
                self.hash(self.place().country().as_bytes())
            }
            Feature::Manners => 1 + u32::from(self.has(&COOKIE)) + 2 * u32::from(self.has(&ACCEPT_LANGUAGE)),
            Feature::PathTemplate => {
                let hash = hit_table::template_hash(path_of(asked.visitor_target()), &self.seed);
                fold(hash)
            }
            Feature::QueryShape => self.hash_all(self.parameters().map(str::as_bytes)),
            Feature::Method => self.hash(asked.method.as_str().as_bytes()),
            // Nothing has come of it yet.
            Feature::CacheStatus | Feature::StatusClass => return None,
        })
    }

    /// The value of a feature as people read it; safe to show in a terminal.
    pub(super) fn word(&self, feature: Feature) -> Box<str> {
        let asked = &self.ex.asked;
        let quoted = |text: &str| format!("\"{}\"", shown(text)).into();
        match feature {
            Feature::Ja4 => self.ja4().unwrap_or_default().into(),
            Feature::Ja4Ciphers => self.ja4().and_then(|ja4| ja4.split('_').nth(1)).unwrap_or_default().into(),
            Feature::Protocol => self.protocol().into(),
            Feature::HeaderOrder => match joined(self.field_names().map(HeaderName::as_str)) {
                names if names.is_empty() => "without any".into(),
                names => shown(&names),
            },
            Feature::UserAgent => match asked.headers.get(USER_AGENT) {
                Some(value) => quoted(&String::from_utf8_lossy(value.as_bytes())),
                None => "missing".into(),
            },
            Feature::Network => network_word(self.ex.client).into(),
            Feature::Asn => self.place().asn.map_or_else(Box::default, |asn| format!("AS{asn}").into()),
            Feature::Country => self.place().country().into(),
            Feature::Manners => manners(self.has(&COOKIE), self.has(&ACCEPT_LANGUAGE)).into(),
            Feature::PathTemplate => quoted(&hit_table::template(path_of(asked.visitor_target()))),
            Feature::QueryShape => match joined(self.parameters()) {
                names if names.is_empty() => "without any".into(),
                names => quoted(&names),
            },
            Feature::Method => shown(asked.method.as_str()),
            Feature::CacheStatus | Feature::StatusClass => Box::default(),
        }
    }

    /// The request in a few words; safe to show in a terminal.
    pub(super) fn in_words(&self) -> Box<str> {
        let agent = self.word(Feature::UserAgent);
        let asked = &self.ex.asked;
        let (method, path, client) =
            (shown(asked.method.as_str()), shown(path_of(asked.visitor_target())), self.ex.client);
        format!("{method} {path} from {client}, user agent {agent}").into()
    }

    fn ja4(&self) -> Option<&'a str> {
        Some(self.ex.conn.as_ref()?.tls.as_ref()?.ja4.as_ref()?.as_str())
    }

    fn protocol(&self) -> &'static str {
        match self.ex.asked.version {
            _ if self.ex.conn.as_ref().is_some_and(|conn| conn.protocol == Protocol::Http2) => "HTTP/2",
            http::Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        }
    }

    /// The names of the fields, in their order, without those that one client sends with some requests only.
    fn field_names(&self) -> impl Iterator<Item = &'a HeaderName> {
        self.ex.asked.headers.keys().filter(|name| !comes_and_goes(name)).take(NAMES_MAX)
    }

    /// The names of the query's parameters, in their order.
    fn parameters(&self) -> impl Iterator<Item = &'a str> {
        let query = self.ex.asked.visitor_target().split_once('?').map_or("", |(_, query)| query);
        let name = |part: &'a str| part.split('=').next().unwrap_or_default();
        query.split('&').filter(|part| !part.is_empty()).map(name).take(NAMES_MAX)
    }

    fn has(&self, name: &HeaderName) -> bool {
        self.ex.asked.headers.contains_key(name)
    }

    fn place(&self) -> &Place<'a> {
        self.place.get_or_init(|| self.ex.live.geo.place(self.ex.client))
    }

    fn hash(&self, bytes: &[u8]) -> u32 {
        let mut hasher = self.seed.build_hasher();
        hasher.write(bytes);
        fold(hasher.finish())
    }

    fn hash_all<'b>(&self, texts: impl Iterator<Item = &'b [u8]>) -> u32 {
        let mut hasher = self.seed.build_hasher();
        for text in texts {
            hasher.write(text);
            hasher.write_u8(b'\n');
        }
        fold(hasher.finish())
    }
}

fn fold(hash: u64) -> u32 {
    (hash ^ (hash >> 32)) as u32
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or("/")
}

/// Of an IPv6 address the /64, as in all budgets: one machine has all of it.
fn address(seed: &FixedState, client: IpAddr) -> u64 {
    seed.hash_one(Bits::of(client).address)
}

fn network_word(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(four) => {
            let [a, b, c, _] = four.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(six) => {
            let [a, b, c, ..] = six.segments();
            format!("{a:x}:{b:x}:{c:x}::/48")
        }
    }
}

fn manners(cookie: bool, languages: bool) -> &'static str {
    match (cookie, languages) {
        (true, true) => "both",
        (true, false) => "cookies, no languages",
        (false, true) => "languages, no cookies",
        (false, false) => "neither",
    }
}

fn joined<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.collect::<Vec<_>>().join(" ")
}

/// Fields that a client sends with some of its requests: they say what is asked for, not who asks.
fn comes_and_goes(name: &HeaderName) -> bool {
    matches!(
        *name,
        COOKIE
            | REFERER
            | ORIGIN
            | AUTHORIZATION
            | RANGE
            | IF_RANGE
            | IF_MATCH
            | IF_NONE_MATCH
            | IF_MODIFIED_SINCE
            | IF_UNMODIFIED_SINCE
            | CACHE_CONTROL
            | PRAGMA
            | CONTENT_LENGTH
            | CONTENT_TYPE
    )
}
