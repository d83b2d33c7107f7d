//! Fuzz targets: every parser that hears strangers, as functions of bytes that must never panic. Beyond that, each
//! checks what must hold for every input, above all that a slow sender and a fast one are read alike.
//!
//! The functions serve two runners: libFuzzer (`fuzz_targets/`, for cargo-fuzz) and `src/bin/smoke.rs`, which needs
//! nothing but stable Rust. This crate must never be a dependency of anything.

mod body;
mod operators;
mod rules;
mod store;
mod waf;

use std::path::Path;

use archipel_cache::{JournalState, Recovered as JournalRead};
use archipel_codings::{self as codings, DecodeError, DecodeLimits, Encoder, Format, Options, PIECE_BYTES_MAX};
use archipel_config::Snapshot;
use archipel_http::fields::Fields as _;
use archipel_transport::h1::chunked::{ChunkError, Decoder, Step};
use archipel_transport::h1::head::{self, HeadLimits};
use archipel_transport::h2::replay::replay;
use archipel_transport::proxy_protocol;
use archipel_transport::tls::{client_hello, ja4};
use http::{HeaderValue, Method};

pub use body::{body_form, body_json, body_multipart, body_xml};
pub use operators::{injection, operators, transformations};
pub use rules::{rules, rules_oracle};
pub use store::cache_store;
pub use waf::{seclang, waf_transaction};

/// A target: its name and what it does with bytes.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("request_head", request_head),
    ("response_head", response_head),
    ("chunked", chunked),
    ("http2", http2),
    ("proxy_protocol", proxy_protocol),
    ("client_hello", client_hello),
    ("structured_fields", structured_fields),
    ("range", range),
    ("request_target", request_target),
    ("cache_policy", cache_policy),
    ("coding_choice", coding_choice),
    ("decoders", decoders),
    ("cache_key", cache_key),
    ("cache_store", cache_store),
    ("purge_journal", purge_journal),
    ("config", config),
    ("disk_record", disk_record),
    ("rules", rules),
    ("rules_oracle", rules_oracle),
    ("transformations", transformations),
    ("injection", injection),
    ("operators", operators),
    ("body_form", body_form),
    ("body_multipart", body_multipart),
    ("body_json", body_json),
    ("body_xml", body_xml),
    ("rule_texts", rule_texts),
    ("seclang", seclang),
    ("waf_transaction", waf_transaction),
];

const HEAD_BYTES_MAX: usize = 4096;

const LIMITS: HeadLimits = HeadLimits { head_bytes_max: HEAD_BYTES_MAX, fields_max: 64, uri_bytes_max: 1024 };

/// Prefixes of `bytes` at which a slow sender could pause: all of a short input, some of a long one.
fn pauses(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let stride = bytes.len() / 64 + 1;
    (0..bytes.len()).step_by(stride)
}

/// What a start and a lookup read from the folder of the disk tier: damaged, or put there by somebody.
///
/// # Panics
/// When what was read and written again is read as something else.
pub fn disk_record(bytes: &[u8]) {
    archipel_cache::fuzz_disk(bytes);
    archipel_edge::fuzz_stored_meta(bytes);
}

/// What rules read of a body, and what they make of what a visitor wrote.
///
/// # Panics
/// When a text becomes part of something that it was not put into.
pub fn rule_texts(bytes: &[u8]) {
    archipel_edge::fuzz_multipart(bytes);
    archipel_edge::fuzz_encode(bytes);
}

/// The head of a request from a visitor.
///
/// # Panics
/// When a field holds a byte that could split a message, a slow sender is read differently, or it never has enough.
pub fn request_head(bytes: &[u8]) {
    let whole = head::parse_request(bytes, 0, &LIMITS);
    assert!(bytes.len() <= HEAD_BYTES_MAX + 64 || !matches!(whole, Ok(None)), "it asks for more than its limit");
    if let Ok(Some(request)) = &whole {
        assert!(request.len <= bytes.len());
        for value in request.headers.values() {
            assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
        let again = head::parse_request(&bytes[..request.len], 0, &LIMITS);
        let again = again.expect("the same head").expect("the same head");
        assert_eq!((again.len, &again.target, again.framing), (request.len, &request.target, request.framing));
    }
    let mut seen = 0;
    for pause in pauses(bytes) {
        match head::parse_request(&bytes[..pause], seen, &LIMITS) {
            Ok(None) => {}
            // A slow sender may be refused earlier, or answered once its head is whole; never otherwise.
            Ok(Some(early)) => {
                let request = whole.as_ref().expect("a head that was good").as_ref().expect("a head that was whole");
                assert_eq!(early.len, request.len);
                break;
            }
            Err(_) => {
                assert!(!matches!(whole, Ok(Some(_))), "a slow sender is refused what a fast one may do");
                break;
            }
        }
        seen = pause;
    }
}

/// The head of a reply from an origin, and how its body is framed.
///
/// # Panics
/// When a field holds a byte that could split a message, or the head is longer than the bytes.
pub fn response_head(bytes: &[u8]) {
    let Ok(Some(response)) = head::parse_response(bytes, 0, HEAD_BYTES_MAX) else { return };
    assert!(response.len <= bytes.len());
    for (name, value) in response.headers.iter() {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        // The map and the lines that are sent without it say the same.
        assert!(response.headers.get_all(name).iter().map(HeaderValue::as_bytes).eq(response.headers.values_of(name)));
    }
    for method in [Method::GET, Method::HEAD, Method::CONNECT] {
        let _ = head::response_framing(&response, &method);
    }
}

/// A chunked body, in pieces of different sizes.
///
/// # Panics
/// When the pieces matter: data, end or error differ.
pub fn chunked(bytes: &[u8]) {
    let whole = decode(bytes, bytes.len().max(1));
    for piece in [1, 2, 3, 7, 64] {
        let pieces = decode(bytes, piece);
        match (&whole, &pieces) {
            (Ok(one), Ok(other)) => assert_eq!(one, other),
            // A limit may bite at another byte, but good stays good and bad stays bad.
            (Err(_), Err(_)) => {}
            (one, other) => panic!("in one piece {one:?}, in pieces of {piece} {other:?}"),
        }
    }
}

/// An HTTP/2 connection of a client, in pieces of different sizes.
///
/// # Panics
/// When the pieces matter: requests, error or answers differ.
pub fn http2(bytes: &[u8]) {
    let whole = replay(bytes, bytes.len());
    for piece in [1, 7, 64, 1000] {
        assert_eq!(whole, replay(bytes, piece), "in pieces of {piece}");
    }
}

/// Data, whether the end was seen, and how many bytes were used.
type Decoded = (Vec<u8>, bool, usize);

fn decode(bytes: &[u8], piece: usize) -> Result<Decoded, ChunkError> {
    let mut decoder = Decoder::default();
    let (mut data, mut used, mut given) = (Vec::new(), 0, 0);
    loop {
        match decoder.step(&bytes[used..given])? {
            Step::Data(count) => {
                assert!(count > 0 && used + count <= given);
                data.extend_from_slice(&bytes[used..used + count]);
                decoder.consumed(count);
                used += count;
            }
            Step::Skip(count) => {
                assert!(count > 0 && used + count <= given);
                used += count;
            }
            Step::End(count) => {
                assert!(used + count <= given && decoder.is_done());
                return Ok((data, true, used + count));
            }
            Step::More if given == bytes.len() => return Ok((data, false, 0)),
            Step::More => given = (given + piece).min(bytes.len()),
        }
    }
}

/// A PROXY protocol header.
///
/// # Panics
/// When the header is longer than the bytes or the limit, or its beginning is refused.
pub fn proxy_protocol(bytes: &[u8]) {
    match proxy_protocol::parse(bytes) {
        Ok(proxy_protocol::Parsed::Header { consumed, source, destination }) => {
            assert!(consumed <= bytes.len() && consumed <= proxy_protocol::PROXY_HEADER_BYTES_MAX);
            assert_eq!(source.is_none(), destination.is_none());
            assert_eq!(
                proxy_protocol::parse(&bytes[..consumed]),
                Ok(proxy_protocol::Parsed::Header { consumed, source, destination })
            );
            for pause in pauses(&bytes[..consumed]) {
                assert_eq!(proxy_protocol::parse(&bytes[..pause]), Ok(proxy_protocol::Parsed::Incomplete));
            }
        }
        Ok(proxy_protocol::Parsed::Incomplete) => assert!(bytes.len() < proxy_protocol::PROXY_HEADER_BYTES_MAX),
        Err(_) => {}
    }
}

/// A ClientHello and its fingerprint.
///
/// # Panics
/// When it asks for more than its limit, its beginning is refused, or the fingerprint is not text of 36 characters.
pub fn client_hello(bytes: &[u8]) {
    match client_hello::parse(bytes) {
        Ok(client_hello::Parsed::Hello(hello)) => {
            let print = ja4::ja4(&hello, ja4::Ja4Transport::Tcp);
            assert_eq!(print.as_str().len(), 36);
            for pause in pauses(bytes) {
                assert!(client_hello::parse(&bytes[..pause]).is_ok(), "a slow sender is refused");
            }
        }
        Ok(client_hello::Parsed::Incomplete) => assert!(bytes.len() < client_hello::CLIENT_HELLO_BYTES_MAX),
        Err(_) => {}
    }
}

/// Values of fields: structured fields, cache control, dates, forwarding.
pub fn structured_fields(bytes: &[u8]) {
    archipel_http::fuzz::field_value(bytes);
}

/// A `Range` field.
pub fn range(bytes: &[u8]) {
    archipel_http::fuzz::range(bytes);
}

/// A request target and a host.
pub fn request_target(bytes: &[u8]) {
    archipel_http::fuzz::target(bytes);
}

/// A request and a response through storage, reuse, preconditions and freshening.
pub fn cache_policy(bytes: &[u8]) {
    archipel_http::fuzz::policy(bytes);
}

/// A target, its `No-Vary-Search` and a `Cookie`: what a cache key is made of.
pub fn cache_key(bytes: &[u8]) {
    archipel_http::fuzz::cache_key(bytes);
}

/// What a client accepts, and the fields of a coded response.
pub fn coding_choice(bytes: &[u8]) {
    archipel_http::fuzz::coding(bytes);
}

/// The decoders: the first byte says which. Also what goes in comes out again.
///
/// # Panics
/// When one gives more than its limits, the pieces matter, or a round trip changes the content.
pub fn decoders(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let format = Format::ALL[usize::from(*which) % Format::ALL.len()];
    let (whole, end) = undo(format, bytes, bytes.len().max(1));
    let (pieces, other) = undo(format, bytes, 1 + usize::from(*which) / 3);
    // A limit may bite a piece earlier or later.
    let limited = |end| matches!(end, Err(DecodeError::BytesMax | DecodeError::RatioMax));
    assert!(end.is_ok() == other.is_ok() || limited(end) || limited(other), "whole {end:?}, in pieces {other:?}");
    assert!(end.is_err() || other.is_err() || whole == pieces);
    let mut coded = Vec::new();
    let options = Options { level: u32::from(*which) % 7, length: None, window_log_max: 16 };
    let mut encoder = Encoder::new(format, options).expect("an encoder");
    for piece in bytes.chunks(1000) {
        encoder.write(piece, &mut coded).expect("a step");
        encoder.flush(&mut coded).expect("a flush");
    }
    encoder.finish(&mut coded).expect("an end");
    let (again, end) = undo(format, &coded, 77);
    assert!(end.is_ok() && again == bytes);
}

const DECODED: DecodeLimits = DecodeLimits { bytes_max: 4 << 20, ratio_max: 1000, unbounded_bytes: 1 << 20 };

fn undo(format: Format, bytes: &[u8], piece: usize) -> (Vec<u8>, Result<(), DecodeError>) {
    let mut decoder = codings::Decoder::new(format, DECODED).expect("a decoder");
    let mut out = Vec::new();
    for mut input in bytes.chunks(piece) {
        loop {
            let before = out.len();
            match decoder.step(&mut input, &mut out) {
                Ok(codings::Step::Piece) => assert!(out.len() - before <= PIECE_BYTES_MAX),
                Ok(codings::Step::Hungry) => break,
                Err(error) => return (out, Err(error)),
            }
            assert!(out.len() as u64 <= DECODED.bytes_max);
        }
        assert!(input.is_empty());
    }
    let end = decoder.finish();
    (out, end)
}

/// The bytes of a purge journal, as a crash, a failing disk or somebody's editor left them.
///
/// # Panics
/// When a number could be given twice, a record stands outside of its window, or what was read is written in another way.
pub fn purge_journal(bytes: &[u8]) {
    const NOW: u64 = 1_800_000_000_000_000;
    let JournalRead { table, state } = archipel_cache::decode_journal(bytes, NOW);
    assert!(table.sequence >= NOW && table.floor <= table.sequence);
    assert!(table.records.iter().all(|record| record.sequence < table.sequence));
    assert!(matches!(state, JournalState::Whole | JournalState::Torn) || table.records.is_empty());
    let again = archipel_cache::decode_journal(&archipel_cache::encode_journal(&table), NOW);
    assert_eq!((again.state, &again.table.records), (JournalState::Whole, &table.records));
    assert!(again.table.floor == table.floor && again.table.sequence > table.sequence);
}

/// A configuration: the node's document, a line `---`, a zone's document.
///
/// # Panics
/// When a problem has no message.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (node, zone) = text.split_once("\n---\n").unwrap_or((text, ""));
    // Files that a document names are looked for where there are none.
    let documents = [("node.toml", node), ("zones/site.toml", zone)];
    if let Err(problems) = Snapshot::from_documents_in(Path::new("/nonexistent"), &documents) {
        assert!(problems.iter().all(|problem| !problem.message.is_empty()));
    }
}
