//! Entry points for fuzzing: bytes in, nothing out, never a panic.
//!
//! Owns only the way from bytes to arguments. The assertions are properties that hold for every input.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::method::Method;
use http::status::StatusCode;

use crate::date::UnixSeconds;
use crate::key_parts::KeyParts;
use crate::no_vary_search::NoVarySearch;
use crate::policy::{AlwaysOnline, BrowserTtl, Disregard, EdgeTtl, Policy, VaryRules};
use crate::query::{self, NamePattern, QueryKeep, QueryKey};
use crate::range::RangeOutcome;
use crate::reuse::{self, OriginFailure, Reuse};
use crate::slices::Verdict;
use crate::storage::{self, StoreRequest};
use crate::stored::StoredMeta;
use crate::target::{self, Scheme, Target};
use crate::validate::{self, Scope};
use crate::{
    browser, cache_control, coding, coding_dictionary, date, forwarding, hop, invalidation, range, slices,
    surrogate_key, targeted,
};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

/// The structured and the lenient parsers of single values.
pub fn field_value(bytes: &[u8]) {
    let _ = targeted::parse_targeted(bytes);
    let _ = cache_control::CacheControl::parse(bytes);
    let _ = date::parse_http_date(bytes, NOW);
    let _ = forwarding::forwarded_for(bytes);
    let _ = forwarding::parse_node(bytes);
    let _ = range::parse_content_range(bytes);
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let fields = [coding_dictionary::USE_AS_DICTIONARY, coding_dictionary::AVAILABLE_DICTIONARY];
        let headers: HeaderMap = fields.into_iter().map(|name| (name, value.clone())).collect();
        let _ = coding_dictionary::is_dictionary(&headers);
        let _ = coding_dictionary::available(&headers);
    }
    let _ = invalidation::same_origin_target(Scheme::Https, "a.example", "/x?y", bytes);
}

/// The range parser: whatever is served lies inside the content and is less than all of it, unless it is one range.
///
/// # Panics
/// When that does not hold.
pub fn range(bytes: &[u8]) {
    piece(bytes);
    let Ok(specs) = range::parse_range_value(bytes, 16) else {
        return;
    };
    for widened in specs.iter().filter_map(|spec| slices::widened(*spec, 1 << 22)) {
        assert!(
            range::parse_range_value(widened.to_field().as_bytes(), 1).is_ok_and(|same| same.as_slice() == [widened])
        );
    }
    for length in [0, 1, 10, 1 << 40, u64::MAX] {
        if let RangeOutcome::Partial(ranges) = range::evaluate(&specs, length) {
            assert!(ranges.iter().all(|range| range.first <= range.last && range.last < length));
            let total = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.len()));
            assert!(ranges.len() == 1 || total < length);
        }
    }
}

/// The bytes as the `Content-Range` of a reply to the request for a slice: a piece that is taken is one that was asked for.
fn piece(bytes: &[u8]) {
    let (Ok(content_range), Some(grid)) = (HeaderValue::from_bytes(bytes), slices::Grid::new(10, 25)) else {
        return;
    };
    let mut headers = HeaderMap::new();
    headers.insert(http::header::ETAG, HeaderValue::from_static("\"a\""));
    headers.insert(http::header::CONTENT_RANGE, content_range);
    let meta = StoredMeta::build(StatusCode::OK, &headers, &Policy::neutral(), NOW, NOW);
    let asked = grid.range(1, 2);
    match slices::judge(&meta, &grid, asked, StatusCode::PARTIAL_CONTENT, &headers) {
        Verdict::Piece(range) => assert!(range.first == asked.first && asked.contains(&range)),
        verdict => assert_eq!(verdict, Verdict::Contradiction),
    }
}

/// The request target and the host: a canonical form is its own canonical form, and holds nothing that another parser could read
/// differently.
///
/// # Panics
/// When that does not hold.
pub fn target(bytes: &[u8]) {
    for method in [Method::GET, Method::OPTIONS, Method::CONNECT] {
        match target::parse_target(&method, bytes) {
            Ok(Target::Origin(path) | Target::Absolute { path, .. }) => check_canonical(&path.path),
            Ok(Target::Authority(_) | Target::Asterisk) | Err(_) => {}
        }
    }
    if let Ok(host) = target::parse_host(bytes) {
        let text = host.to_text(Scheme::Https).into_owned();
        let again = target::parse_host(text.as_bytes()).map(|host| host.to_text(Scheme::Https).into_owned());
        assert_eq!(again, Ok(text));
    }
}

/// A request's `Accept-Encoding` (first line) and the fields of a response: what is chosen was accepted, and coded fields
/// describe one coding.
///
/// # Panics
/// When that does not hold.
pub fn coding(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut request = HeaderMap::new();
    for line in lines.next().unwrap_or_default().split(|byte| *byte == b'|') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            request.append(http::header::ACCEPT_ENCODING, value.clone());
            request.append(http::header::IF_MATCH, value.clone());
            request.append(http::header::IF_NONE_MATCH, value);
        }
    }
    let accepted = coding::Accepted::of(&request);
    for preference in [&coding::Coding::ALL[..], &[coding::Coding::Gzip], &[]] {
        match accepted.choose(preference) {
            Some(chosen) => {
                assert!(accepted.accepts(chosen) && preference.contains(&chosen));
                assert!(preference.iter().all(|other| accepted.weight(*other) <= accepted.weight(chosen)));
            }
            None => assert!(preference.iter().all(|c| accepted.prefers_identity_to(*c))),
        }
    }
    let names = ["content-encoding", "content-type", "etag", "vary", "cache-control"];
    let mut response = HeaderMap::new();
    for (name, line) in names.into_iter().zip(lines) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            response.append(HeaderName::from_static(name), value);
        }
    }
    let types = coding::MediaTypes::new(["text/*".into(), "*+json".into()]);
    let rules = coding::CodingRules { types, bytes_min: 0, bytes_max: u64::MAX };
    let may = coding::may_code(StatusCode::OK, &response, None, &rules);
    assert!(may.is_err() || coding::ContentCoding::of(&response) == coding::ContentCoding::None);
    let _ = coding::restored_if_match(&request);
    coding::weaken_for(&request, &mut response);
    coding::recode(&mut response, Some(coding::Coding::Zstd));
    assert_eq!(coding::ContentCoding::of(&response), coding::ContentCoding::One(coding::Coding::Zstd));
    assert!(response.get(http::header::ETAG).is_none_or(|etag| !validate::is_strong(etag.as_bytes())));
}

fn check_canonical(path: &str) {
    let again = target::canonical_path(path.as_bytes()).map(std::borrow::Cow::into_owned);
    assert_eq!(again.as_deref(), Ok(path));
    assert!(path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
    assert!(!path.split('/').any(|segment| segment == "." || segment == ".."));
}

/// A request and a response, as lines of `name:value`, through storage, reuse, preconditions and freshening.
///
/// # Panics
/// When a response is fresh although it must be validated, or is served stale although that is forbidden.
pub fn policy(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let status = first.first().map_or(200, |byte| 200 + u16::from(*byte));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    let elapsed = i64::from(first.get(1).copied().unwrap_or(0));
    let mut request = HeaderMap::new();
    let mut response = HeaderMap::new();
    for line in lines.take(64) {
        let (side, line) = match line {
            [b'>', line @ ..] => (&mut request, line),
            line => (&mut response, line),
        };
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let name = HeaderName::from_bytes(name);
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
        if let (Ok(name), Ok(value)) = (name, value) {
            side.append(name, value);
        }
    }
    run_policy(&request, status, &response, UnixSeconds(NOW.0.saturating_add(elapsed)));
}

fn run_policy(request: &HeaderMap, status: StatusCode, response: &HeaderMap, now: UnixSeconds) {
    for policy in [Policy::neutral(), Policy::edge(), overriding()] {
        for method in [Method::GET, Method::POST] {
            let facts = StoreRequest {
                method: &method,
                headers: request,
                scheme: Scheme::Https,
                host: "a.example",
                path_and_query: "/x?y",
                request_time: NOW,
            };
            let Ok(storable) = storage::may_store(&facts, status, response, &policy, NOW) else {
                continue;
            };
            let mut stored = storage::fields_to_store(response, &storable.control.directives, &policy);
            check_reuse(request, &storable.meta, &policy, now);
            check_browser(status, response, &policy);
            let _ = validate::evaluate(&method, request, &storable.meta, Scope::Origin);
            let _ = validate::if_range_holds(request, &storable.meta);
            if validate::selects_stored(response, &storable.meta) {
                validate::freshen(&mut stored, response, &storable.control.directives);
            }
            let tags = surrogate_key::parse_tags(response);
            assert!(tags.tags.len() <= surrogate_key::TAGS_MAX && tags.tags.iter().all(|tag| !tag.is_empty()));
            let mut conditional = request.clone();
            hop::remove_hop_by_hop(&mut conditional);
            reuse::make_conditional(&mut conditional, &storable.meta);
            let values = storable.meta.vary.select(request, response, &policy.vary);
            assert!(storable.meta.vary.matches(&values, request, &policy.vary));
        }
    }
}

/// The policy of an operator who overrides whatever can be overridden.
fn overriding() -> Policy {
    Policy {
        edge_ttl: EdgeTtl::Override(60),
        disregard: Disregard { no_store: true, private: true, no_cache: true },
        error_seconds_max: Some(5),
        browser_ttl: BrowserTtl::Override(30),
        always_online: AlwaysOnline::Obey(3600),
        vary: VaryRules {
            ignore: [http::header::USER_AGENT].into(),
            languages: ["a".into()].into(),
            select_language: true,
        },
        ..Policy::edge()
    }
}

/// What is told to browsers about replies that are about one visitor stays as it was.
fn check_browser(status: StatusCode, response: &HeaderMap, policy: &Policy) {
    let mut told = response.clone();
    browser::rewrite(status, &mut told, policy.browser_ttl, 7);
    let before = cache_control::CacheControl::from_headers(response);
    let after = cache_control::CacheControl::from_headers(&told);
    assert_eq!((before.no_store, before.no_cache, before.private), (after.no_store, after.no_cache, after.private));
    assert_eq!(before.s_maxage, after.s_maxage);
    assert!(!(before.no_store || before.no_cache || before.private) || told == *response);
}

/// A target, its `No-Vary-Search`, and a `Cookie`, on a line each: what the key is made of.
///
/// # Panics
/// When a key's target is not its own, a query differs from itself, or the text of a key's parts is not one word each.
pub fn cache_key(bytes: &[u8]) {
    let mut lines = bytes.splitn(3, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (target, rule, cookie) = (line(), line(), line());
    let Some(path) = target::parse_path_and_query(target).ok().map(|path| path.to_text().into_owned()) else {
        return;
    };
    let names: std::sync::Arc<[NamePattern]> = ["a", "b*"].iter().filter_map(|name| NamePattern::parse(name)).collect();
    let keeps = [QueryKeep::All, QueryKeep::None, QueryKeep::Only(names.clone()), QueryKeep::Except(names)];
    for (keep, sort) in keeps.into_iter().flat_map(|keep| [(keep.clone(), false), (keep, true)]) {
        let key = QueryKey { keep, sort };
        if let Ok(Some(normal)) = query::key_target(&path, &key) {
            assert!(target::parse_path_and_query(normal.as_bytes()).is_ok());
            assert_eq!(query::key_target(&normal, &key), Ok(None), "the key's target is its own");
        }
    }
    let own_query = path.split_once('?').map(|(_, query)| query);
    if let Some(rule) = NoVarySearch::parse(rule) {
        assert!(rule.is_equivalent(own_query, own_query));
        assert_eq!(rule.is_equivalent(own_query, Some("a=1&b")), rule.is_equivalent(Some("a=1&b"), own_query));
    }
    let mut request = HeaderMap::new();
    if let Ok(cookie) = HeaderValue::from_bytes(cookie) {
        request.insert(http::header::COOKIE, cookie);
    }
    let parts = KeyParts { cookies: ["a".into(), "b".into()].into(), device: true, ..KeyParts::default() };
    if let Ok(extra) = parts.extra(&request) {
        assert_eq!(extra.split(' ').count(), 3, "one word for each part");
        assert!(extra.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '));
    }
}

fn check_reuse(request: &HeaderMap, meta: &StoredMeta, policy: &Policy, now: UnixSeconds) {
    let reuse = reuse::decide(request, meta, policy, now);
    let stale_use = matches!(reuse, Reuse::Stale { .. } | Reuse::StaleWhileRevalidate { .. });
    assert!(!(stale_use && meta.forbids_stale()));
    assert!(!(matches!(reuse, Reuse::Fresh { .. }) && (meta.no_cache || !meta.is_fresh(now))));
    let failure = OriginFailure::Unreachable;
    let on_error = reuse::may_serve_stale_on_error(request, meta, failure, policy, now);
    assert!(!(on_error.is_ok() && meta.forbids_stale()));
}

#[cfg(test)]
#[path = "fuzz_tests.rs"]
mod tests;
