//! What the policy keeps beside a stored response, as bytes of the disk tier, and back.
//!
//! The form has a version; another one's records are misses. The fields are kept as the HTTP/1 lines they are sent as, and read back as
//! slices of one buffer. Must never panic on what it reads, nor take a value that it could not have written.

use std::sync::Arc;

use archipel_cache::{Codec, WireReader, WireWriter};
use archipel_http::date::UnixSeconds;
use archipel_http::freshness::{Lifetime, LifetimeBasis};
use archipel_http::slices::Grid;
use archipel_http::stored::StoredMeta;
use archipel_http::targeted::ControlSource;
use archipel_http::vary::{VARY_FIELDS_MAX, VarySpec, VaryValues};
use archipel_transport::message::FrozenFields;
use bytes::Bytes;
use http::header::{ETAG, LAST_MODIFIED};
use http::{HeaderName, StatusCode};

use super::codings::Forms;
use super::slices::Sliced;
use super::{Form, Meta};

/// Version of the form. Change it with every change of what is written here.
const VERSION: u8 = 2;

/// Reads and writes [`Meta`].
#[derive(Debug)]
pub(crate) struct MetaCodec;

impl Codec<Meta> for MetaCodec {
    fn encode(&self, meta: &Meta, to: &mut WireWriter) -> bool {
        let Meta { facts, vary, fields, form, forms } = meta;
        to.u8(VERSION);
        if !encode_form(form, to) || !forms.encode(to) {
            return false;
        }
        encode_facts(facts, to);
        if !encode_vary(&facts.vary, vary, to) {
            return false;
        }
        to.bytes(fields.lines());
        // One that answers no other request is of no use after a restart.
        facts.vary != VarySpec::Any
    }

    fn decode(&self, mut from: WireReader) -> Option<(Meta, usize)> {
        if from.u8()? != VERSION {
            return None;
        }
        let form = decode_form(&mut from)?;
        let forms = Forms::decode(&mut from)?;
        let mut facts = decode_facts(&mut from)?;
        let (spec, vary) = decode_vary(&mut from)?;
        let fields = FrozenFields::from_lines(from.bytes()?)?;
        facts.vary = spec;
        facts.etag = fields.value(&ETAG);
        facts.last_modified = fields.value(&LAST_MODIFIED);
        let meta_bytes = fields.heap_bytes() + vary.heap_bytes();
        Some((Meta { facts, vary, fields: Arc::new(fields), form, forms }, meta_bytes))
    }
}

fn encode_form(form: &Form, to: &mut WireWriter) -> bool {
    match form {
        Form::Whole => to.u8(0),
        Form::Sliced(sliced) => to.u8(1).u64(sliced.grid.slice_bytes()).u64(sliced.grid.length()).u128(sliced.identity),
        Form::Slice => to.u8(2),
        // What a client once asked for a part of is not worth a place on the disk.
        Form::Part(_) => return false,
    };
    true
}

fn decode_form(from: &mut WireReader) -> Option<Form> {
    match from.u8()? {
        0 => Some(Form::Whole),
        1 => {
            let grid = Grid::new(from.u64()?, from.u64()?)?;
            Some(Form::Sliced(Box::new(Sliced { grid, identity: from.u128()? })))
        }
        2 => Some(Form::Slice),
        _ => None,
    }
}

fn seconds(time: UnixSeconds) -> u64 {
    time.0 as u64
}

fn time(seconds: u64) -> UnixSeconds {
    UnixSeconds(seconds as i64)
}

fn encode_facts(facts: &StoredMeta, to: &mut WireWriter) {
    // All of them by name: one that is added does not compile until it is kept.
    let StoredMeta {
        status,
        response_time,
        corrected_initial_age,
        lifetime,
        date,
        // Both stand among the fields, the selecting fields beside them.
        etag: _,
        last_modified: _,
        last_modified_time,
        no_cache,
        must_revalidate,
        immutable,
        no_transform,
        stale_while_revalidate,
        stale_if_error,
        vary: _,
        source,
    } = facts;
    to.u16(status.as_u16()).u64(seconds(*response_time)).u32(*corrected_initial_age);
    to.u32(lifetime.seconds).u8(basis_number(lifetime.basis)).u64(seconds(*date));
    to.u8(u8::from(last_modified_time.is_some())).u64(last_modified_time.map_or(0, seconds));
    for flag in [*no_cache, *must_revalidate, *immutable, *no_transform] {
        to.u8(u8::from(flag));
    }
    to.u32(*stale_while_revalidate).u8(u8::from(stale_if_error.is_some())).u32(stale_if_error.unwrap_or(0));
    to.u8(source_number(*source));
}

fn decode_facts(from: &mut WireReader) -> Option<StoredMeta> {
    let status = StatusCode::from_u16(from.u16()?).ok()?;
    let (response_time, corrected_initial_age) = (time(from.u64()?), from.u32()?);
    let (lifetime_seconds, basis) = (from.u32()?, basis_of(from.u8()?)?);
    let date = time(from.u64()?);
    let (has_time, last_modified_time) = (from.flag()?, time(from.u64()?));
    let (no_cache, must_revalidate, immutable, no_transform) = (from.flag()?, from.flag()?, from.flag()?, from.flag()?);
    let (stale_while_revalidate, has_stale, stale_if_error) = (from.u32()?, from.flag()?, from.u32()?);
    Some(StoredMeta {
        status,
        response_time,
        corrected_initial_age,
        lifetime: Lifetime { seconds: lifetime_seconds, basis },
        date,
        etag: None,
        last_modified: None,
        last_modified_time: has_time.then_some(last_modified_time),
        no_cache,
        must_revalidate,
        immutable,
        no_transform,
        stale_while_revalidate,
        stale_if_error: has_stale.then_some(stale_if_error),
        vary: VarySpec::None,
        source: source_of(from.u8()?)?,
    })
}

fn basis_number(basis: LifetimeBasis) -> u8 {
    match basis {
        LifetimeBasis::SMaxage => 0,
        LifetimeBasis::MaxAge => 1,
        LifetimeBasis::Expires => 2,
        LifetimeBasis::Heuristic => 3,
        LifetimeBasis::Rule => 4,
        LifetimeBasis::None => 5,
    }
}

fn basis_of(number: u8) -> Option<LifetimeBasis> {
    use LifetimeBasis::{Expires, Heuristic, MaxAge, None, Rule, SMaxage};
    [SMaxage, MaxAge, Expires, Heuristic, Rule, None].into_iter().find(|basis| basis_number(*basis) == number)
}

fn source_number(source: ControlSource) -> u8 {
    match source {
        ControlSource::ArchipelCdnCacheControl => 0,
        ControlSource::CdnCacheControl => 1,
        ControlSource::SurrogateControl => 2,
        ControlSource::CacheControl => 3,
    }
}

fn source_of(number: u8) -> Option<ControlSource> {
    use ControlSource::{ArchipelCdnCacheControl, CacheControl, CdnCacheControl, SurrogateControl};
    let all = [ArchipelCdnCacheControl, CdnCacheControl, SurrogateControl, CacheControl];
    all.into_iter().find(|source| source_number(*source) == number)
}

fn encode_vary(spec: &VarySpec, values: &VaryValues, to: &mut WireWriter) -> bool {
    if spec.fields().len() != values.values().count() {
        return false;
    }
    to.u8(spec.fields().len() as u8);
    for (name, value) in spec.fields().iter().zip(values.values()) {
        to.bytes(name.as_str().as_bytes()).optional(value);
    }
    to.optional(values.content_language());
    true
}

fn decode_vary(from: &mut WireReader) -> Option<(VarySpec, VaryValues)> {
    let count = usize::from(from.u8()?);
    if count > VARY_FIELDS_MAX {
        return None;
    }
    let (mut names, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for _ in 0..count {
        names.push(HeaderName::from_bytes(&from.bytes()?).ok()?);
        values.push(from.optional()?.map(|value| Box::from(&*value)));
    }
    let language = from.optional()?.map(|language| Box::from(&*language));
    let spec = if names.is_empty() { VarySpec::None } else { VarySpec::Fields(names.into()) };
    Some((spec, VaryValues::from_parts(values, language)))
}

/// What hostile bytes do to the reader, for fuzzing: nothing.
///
/// # Panics
/// When what was read and written again is read as something else.
pub fn fuzz(bytes: &[u8]) {
    let codec = MetaCodec;
    let Some((meta, _)) = codec.decode(WireReader::new(Bytes::copy_from_slice(bytes))) else { return };
    let mut to = WireWriter::new();
    if codec.encode(&meta, &mut to) {
        let again = codec.decode(WireReader::new(to.into_vec().into()));
        let (again, _) = again.unwrap_or_else(|| std::panic::panic_any("what was written is not read"));
        assert_eq!((&again.facts, &again.vary, again.fields.lines()), (&meta.facts, &meta.vary, meta.fields.lines()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archipel_http::policy::Policy;
    use http::{HeaderMap, HeaderValue};

    fn meta() -> Meta {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/html"),
            ("etag", "\"a\""),
            ("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT"),
            ("cache-control", "max-age=60, stale-if-error=5, immutable"),
            ("vary", "accept-language, x-kind"),
            ("content-language", "de"),
            ("x-empty", ""),
            ("x-two", "1"),
            ("x-two", "2: \t;"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let mut request = HeaderMap::new();
        request.insert("accept-language", HeaderValue::from_static("de, en;q=0.5"));
        let fields = FrozenFields::new(&headers);
        let facts =
            StoredMeta::build(StatusCode::OK, &headers, &Policy::edge(), time(1_800_000_000), time(1_800_000_001));
        let vary = facts.vary.select(&request, &headers, &Policy::edge().vary);
        let grid = Grid::new(1 << 20, 5 << 20).expect("a grid");
        let form = Form::Sliced(Box::new(Sliced { grid, identity: 7 << 64 }));
        // Numbers, what it can be made into, how it was asked for.
        let forms = [7_u64.to_le_bytes().as_slice(), &8_u64.to_le_bytes(), &[3, 1]].concat();
        let forms = Forms::decode(&mut WireReader::new(forms.into())).expect("forms");
        Meta { facts, vary, fields: Arc::new(fields), form, forms }
    }

    fn bytes(meta: &Meta) -> Vec<u8> {
        let mut to = WireWriter::new();
        assert!(MetaCodec.encode(meta, &mut to));
        to.into_vec()
    }

    #[test]
    fn everything_comes_back() {
        let meta = meta();
        let (read, _) = MetaCodec.decode(WireReader::new(bytes(&meta).into())).expect("what was written");
        assert_eq!((&read.facts, &read.vary), (&meta.facts, &meta.vary));
        assert_eq!(format!("{:?}", read.forms), format!("{:?}", meta.forms));
        assert_eq!((read.fields.to_map(), read.fields.lines()), (meta.fields.to_map(), meta.fields.lines()));
    }

    #[test]
    fn fields_without_their_values_are_not_written() {
        let whole = meta();
        let torn = Meta { vary: VaryValues::default(), ..whole };
        assert!(!MetaCodec.encode(&torn, &mut WireWriter::new()), "it could not be read back");
    }

    #[test]
    fn what_is_cut_or_changed_never_panics() {
        let whole = bytes(&meta());
        for cut in 0..whole.len() {
            assert!(MetaCodec.decode(WireReader::new(Bytes::copy_from_slice(&whole[..cut]))).is_none(), "{cut}");
        }
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut bad = whole.clone();
                bad[at] ^= flip;
                fuzz(&bad);
            }
        }
    }
}
