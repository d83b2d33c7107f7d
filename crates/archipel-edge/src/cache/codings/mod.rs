//! Content codings of stored responses: which form of one a client is sent, and where it comes from.
//!
//! - this module: what is known of a stored response's forms, and the choice among them;
//! - [`deliver`]: replies in another form than the stored one;
//! - [`derived`]: the stored form of another response: its key, its fields, its bond to what it was made from;
//! - [`dictionary`]: coding against a response that the client has;
//! - [`make`]: making one while it goes out;
//! - [`background`]: making a smaller one when there is time;
//! - [`coder`]: an encoder or a decoder as one thing;
//! - [`pass`]: replies that are not stored.
//!
//! # The bond
//! What the origin sent is stored as it came. A form made of it is an object of its own in the store, evicted on its own,
//! that names the number of the content it was made from. It is only found through that response: once that is purged,
//! invalidated, replaced or gone, nothing leads to the derived form any more. A 304 gives the response new fields and
//! leaves it its content: the derived form keeps its bytes and gets the new fields.
//!
//! Must never send a form that the client does not accept where it accepts another, or code what is coded.

mod background;
mod coder;
mod deliver;
mod derived;
mod dictionary;
mod make;
mod pass;

use std::sync::atomic::{AtomicUsize, Ordering};

use archipel_cache::{WireReader, WireWriter};
use archipel_codings::DecodeLimits;
use archipel_config::{Zone, ZoneCompression};
use archipel_http::coding::{self, Accepted, Coding, CodingRules, ContentCoding, MediaTypes};
use archipel_http::sink::FieldSink;
use archipel_http::stored::StoredMeta;
use http::header::{ACCEPT_ENCODING, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{Meta, Plan};
use crate::exchange::Exchange;
use crate::live::LiveZone;

pub(crate) use background::Background;
pub(super) use deliver::{filling, stored};
pub(crate) use make::Making;
pub(super) use pass::pass;

/// Decoded bytes for which `decoded_ratio_max` does not count: a short text may be very repetitive.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// A zone's settings for codings, compiled.
pub(crate) struct ZoneCodings {
    rules: CodingRules,
    /// What the origin is asked for; `None` leaves the field out.
    asked: Option<HeaderValue>,
    limits: DecodeLimits,
}

impl ZoneCodings {
    pub(crate) fn new(zone: &Zone) -> Self {
        let settings = &zone.compression;
        Self {
            rules: CodingRules {
                types: MediaTypes::new(settings.types.iter().cloned()),
                bytes_min: settings.bytes_min,
                bytes_max: settings.bytes_max,
            },
            asked: coding::accept_encoding(&settings.origin_codings),
            limits: DecodeLimits {
                bytes_max: settings.decoded_bytes_max,
                ratio_max: settings.decoded_ratio_max,
                unbounded_bytes: RATIO_FREE_BYTES,
            },
        }
    }
}

/// What the codings of all zones share on one node.
pub(crate) struct NodeCodings {
    /// Numbers of contents and heads; each is given once.
    numbers: std::sync::atomic::AtomicU64,
    jobs: AtomicUsize,
    making: Making,
    dictionaries: dictionary::Known,
    background: std::sync::Arc<Background>,
}

impl NodeCodings {
    pub(crate) fn new() -> Self {
        Self {
            // A start that no other process had: a number that outlives this one names nothing here.
            numbers: std::sync::atomic::AtomicU64::new(crate::node::random()),
            jobs: AtomicUsize::new(0),
            making: Making::default(),
            dictionaries: dictionary::Known::default(),
            background: std::sync::Arc::default(),
        }
    }

    /// The metrics that belong to no worker.
    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// Encoders and decoders at work for visitors.
    pub(crate) fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// A place among the encoders and decoders at work.
struct Place(std::sync::Arc<crate::node::Node>);

impl Place {
    fn take(ex: &Exchange) -> Option<Self> {
        let node = &ex.worker.node;
        let most = ex.live.snapshot.node.compression.jobs_max;
        if node.codings.jobs.fetch_add(1, Ordering::Relaxed) >= most {
            node.codings.jobs.fetch_sub(1, Ordering::Relaxed);
            ex.worker.metrics.labelled.count("coding_skipped", "jobs_max");
            return None;
        }
        Some(Self(node.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.codings.jobs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a stored response can be made into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Can {
    /// Nothing: of the wrong type or size, coded in a way that cannot be undone, or itself made of another.
    #[default]
    Nothing,
    /// Its content is not coded, and may be.
    Code,
    /// The origin coded it, and it may be decoded.
    Decode(Coding),
}

/// What is known of a stored response's forms.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    /// The number of its content.
    content: u64,
    /// The number of its fields with its content.
    head: u64,
    can: Can,
    /// It was asked for in a way that does not depend on who asked: its selection leaves `Accept-Encoding` out.
    settled: bool,
    /// It is for one client: what is made of it is not stored.
    alone: bool,
    derived: Option<derived::Derived>,
}

impl Forms {
    /// Says that the response is for one client alone.
    pub(super) fn keep_alone(&mut self) {
        self.alone = true;
    }

    /// Writes what the disk tier keeps. False for what is made again rather than kept.
    pub(super) fn encode(&self, to: &mut WireWriter) -> bool {
        let can = match self.can {
            Can::Nothing => 0,
            Can::Code => 1,
            Can::Decode(Coding::Gzip) => 2,
            Can::Decode(Coding::Brotli) => 3,
            Can::Decode(Coding::Zstd) => 4,
        };
        to.u64(self.content).u64(self.head).u8(can).u8(u8::from(self.settled));
        self.derived.is_none() && !self.alone
    }

    /// Reads what [`Forms::encode`] wrote. The numbers are those of the process that wrote them, which no other gives.
    pub(super) fn decode(from: &mut WireReader) -> Option<Self> {
        let (content, head) = (from.u64()?, from.u64()?);
        let can = match from.u8()? {
            0 => Can::Nothing,
            1 => Can::Code,
            2 => Can::Decode(Coding::Gzip),
            3 => Can::Decode(Coding::Brotli),
            4 => Can::Decode(Coding::Zstd),
            _ => return None,
        };
        Some(Self { content, head, can, settled: from.flag()?, ..Self::default() })
    }

    /// Whether a zone with these settings may use the response: where nothing is decoded any more, what was asked for on
    /// behalf of all visitors may not suit this one.
    pub(super) fn fit(&self, settings: &ZoneCompression) -> bool {
        !self.settled || settings.enabled
    }
}
/// The form that a client is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    /// In a coding that the edge makes.
    Coded(Coding),
    /// Without the origin's coding.
    Decoded(Coding),
}

impl Form {
    /// The coding that it has.
    fn coding(self) -> Option<Coding> {
        match self {
            Form::Coded(coding) => Some(coding),
            Form::Decoded(_) => None,
        }
    }
}

/// What of a request's fields the origin gets in another way than the client sent it.
pub(crate) struct Asked {
    /// In the place of `Accept-Encoding`, where the reply may be stored: the same whoever asks, perhaps nothing. A reply for one
    /// visitor alone is asked for as the visitor does.
    alike: Option<Option<HeaderValue>>,
    if_match: Option<HeaderValue>,
}

impl Asked {
    /// What the zone says; notes in the exchange whether the origin is asked alike.
    pub(crate) fn new(ex: &mut Exchange, zone: &LiveZone, plan: &Plan) -> Self {
        let enabled = zone.zone.compression.enabled;
        ex.origin_asked_alike = enabled && !plan.is_bypass();
        Self {
            alike: ex.origin_asked_alike.then(|| zone.codings.asked.clone()),
            if_match: if enabled { coding::restored_if_match(&ex.asked.headers) } else { None },
        }
    }

    /// Whether the client's own field is left out.
    pub(crate) fn replaces(&self, name: &HeaderName) -> bool {
        (self.alike.is_some() && *name == ACCEPT_ENCODING) || (self.if_match.is_some() && *name == IF_MATCH)
    }

    /// Writes what comes in its place.
    pub(crate) fn write(&self, to: &mut impl FieldSink) {
        if let Some(Some(codings)) = &self.alike {
            to.put(&ACCEPT_ENCODING, codings);
        }
        if let Some(tags) = &self.if_match {
            to.put(&IF_MATCH, tags);
        }
    }
}

/// Works out what a response can be made into, when it is stored or freshened: its fields get `Vary: Accept-Encoding` where
/// its form will depend on that, and its selection stops depending on it. `same` is the stored response whose content it
/// keeps.
pub(super) fn describe(
    ex: &Exchange,
    zone: &LiveZone,
    status: StatusCode,
    headers: &mut HeaderMap,
    facts: &mut StoredMeta,
    length: Option<u64>,
    same: Option<&Meta>,
) -> Forms {
    let numbers = &ex.worker.node.codings;
    let mut forms = Forms { content: numbers.number(), ..Forms::default() };
    forms.head = forms.content;
    if let Some(same) = same {
        forms.content = same.forms.content;
    }
    if !ex.origin_asked_alike {
        return forms;
    }
    facts.vary.remove(&ACCEPT_ENCODING);
    forms.settled = true;
    forms.can = match ContentCoding::of(headers) {
        ContentCoding::None if !facts.no_transform => {
            let may = coding::may_code(status, headers, length, &zone.codings.rules);
            if may.is_ok() { Can::Code } else { Can::Nothing }
        }
        // What the edge asked for it may take off again, whatever else is forbidden: a client cannot be told to read what
        // it cannot. Parts of a coded content are no content that could be decoded.
        ContentCoding::One(coding) if zone.zone.compression.decode => {
            let whole = coding::may_change(status, headers) != Err(coding::NotCoded::Status);
            if whole { Can::Decode(coding) } else { Can::Nothing }
        }
        _ => Can::Nothing,
    };
    if forms.can != Can::Nothing {
        coding::vary_by_accept_encoding(headers);
    }
    if forms.can == Can::Code {
        dictionary::describe(ex, zone, headers, length, forms.content);
    }
    forms
}

/// The form that a client is to be sent of a stored response; `None` for the stored one. For what cannot be coded this is
/// one comparison, for clients that accept no coding one more look into the request's fields.
fn form(ex: &Exchange, zone: &LiveZone, meta: &Meta) -> Option<Form> {
    let headers = &ex.asked.headers;
    match meta.forms.can {
        Can::Nothing => None,
        // What is stored in pieces is larger than what is coded.
        _ if !matches!(meta.form, crate::cache::Form::Whole) => None,
        Can::Code if !headers.contains_key(ACCEPT_ENCODING) => None,
        Can::Code if ex.overrides().compression == Some(false) => None,
        Can::Code => {
            let coding = Accepted::of(headers).choose(&zone.zone.compression.codings)?;
            (!coding::forbids_transform(headers)).then_some(Form::Coded(coding))
        }
        Can::Decode(coding) => (!Accepted::of(headers).accepts(coding)).then_some(Form::Decoded(coding)),
    }
}
