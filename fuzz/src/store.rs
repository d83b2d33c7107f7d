//! Policy and store together: arbitrary exchanges after each other, and what one of them may be answered with.

use archipel_cache::{Body, Groups, Head, KeyRef, KeyText as _, Store, StoreLimits, Stored};
use archipel_http::UnixSeconds;
use archipel_http::key::CacheKey;
use archipel_http::policy::Policy;
use archipel_http::reuse;
use archipel_http::storage::{self, StoreRequest};
use archipel_http::stored::StoredMeta;
use archipel_http::target::{self, Scheme};
use archipel_http::vary::VaryValues;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

const NOW: UnixSeconds = UnixSeconds(1_800_000_000);
/// Exchanges of one input.
const EXCHANGES_MAX: usize = 24;
const SEED: (u64, u64) = (1, 2);

/// What is kept beside each response, with the request that it answered as it came.
struct Meta {
    facts: StoredMeta,
    values: VaryValues,
    request: HeaderMap,
    vary: Vec<HeaderValue>,
    url: String,
}

/// One exchange: `@HOST TARGET`, then request fields behind `>`, then response fields.
struct Exchange {
    scheme: Scheme,
    host: String,
    target: String,
    request: HeaderMap,
    response: HeaderMap,
}

fn exchanges(bytes: &[u8]) -> Vec<Exchange> {
    let mut found: Vec<Exchange> = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Some(first) = line.strip_prefix(b"@") {
            if found.len() == EXCHANGES_MAX {
                break;
            }
            let space = first.iter().position(|byte| *byte == b' ').unwrap_or(first.len());
            let (host, path) = first.split_at(space);
            let scheme = if path.len() % 2 == 0 { Scheme::Http } else { Scheme::Https };
            let host = target::parse_host(host).map(|host| host.to_text(scheme).into_owned());
            let path = target::parse_path_and_query(path.get(1..).unwrap_or_default());
            let (Ok(host), Ok(path)) = (host, path) else { continue };
            let target = path.to_text().into_owned();
            found.push(Exchange { scheme, host, target, request: HeaderMap::new(), response: HeaderMap::new() });
            continue;
        }
        let Some(exchange) = found.last_mut() else { continue };
        let (side, line) = match line {
            [b'>', line @ ..] => (&mut exchange.request, line),
            line => (&mut exchange.response, line),
        };
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(&line[colon + 1..]);
        if let (Ok(name), Ok(value)) = (name, value) {
            side.append(name, value);
        }
    }
    found
}

/// Arbitrary exchanges through policy and store.
///
/// # Panics
/// When a response that was stored for one URL is picked for another, or one whose selecting fields differ.
pub fn cache_store(bytes: &[u8]) {
    for policy in [Policy::neutral(), Policy::edge()] {
        let store = Store::new(StoreLimits { memory_bytes_max: 1 << 20, ..StoreLimits::default() });
        for exchange in exchanges(bytes) {
            one(&store, &policy, &exchange);
        }
    }
}

fn one(store: &Store<Meta>, policy: &Policy, exchange: &Exchange) {
    let zone = u32::from(exchange.host.len() % 2 == 1);
    let key =
        CacheKey { zone, scheme: exchange.scheme, host: &exchange.host, path_and_query: &exchange.target, extra: "" };
    let at = KeyRef::new(&key, SEED);
    let url = format!("{zone} {}://{}{}", exchange.scheme.as_str(), exchange.host, exchange.target);
    let fits =
        |stored: &Stored<Meta>| stored.meta.facts.vary.matches(&stored.meta.values, &exchange.request, &policy.vary);
    if let Some(found) = store.lookup(&at, fits) {
        let stored = &found.stored;
        assert_eq!(stored.meta.url, url, "served across keys");
        assert!(key.matches_text(&stored.key) && *stored.key == *key.to_text(), "the key's text differs");
        check_variant(&stored.meta, &exchange.request);
        let _ = reuse::decide(&exchange.request, &stored.meta.facts, policy, NOW);
    }
    let asked = StoreRequest {
        method: &Method::GET,
        headers: &exchange.request,
        scheme: exchange.scheme,
        host: &exchange.host,
        path_and_query: &exchange.target,
        request_time: NOW,
    };
    let Ok(storable) = storage::may_store(&asked, StatusCode::OK, &exchange.response, policy, NOW) else { return };
    let facts = storable.meta;
    let values = facts.vary.select(&exchange.request, &exchange.response, &policy.vary);
    let variant: Box<[u8]> = match facts.vary.fields() {
        [] => Box::default(),
        _ => Box::from(facts.vary.variant_hash(&exchange.request, &policy.vary, SEED).to_le_bytes()),
    };
    let head = Head {
        hash: at.hash,
        key: key.to_text(),
        zone,
        groups: Groups::of(&key.url()),
        stamp: store.stamp(),
        status: StatusCode::OK,
        headers: HeaderMap::new(),
        frozen_head: Bytes::new(),
        variant,
        stored_at: 0,
        meta: Meta {
            facts,
            values,
            request: exchange.request.clone(),
            vary: exchange.response.get_all("vary").iter().cloned().collect(),
            url,
        },
        meta_bytes: 0,
    };
    let _ = store.insert(Stored::new(head, Body::from_bytes(Bytes::from_static(b"x"))));
}

/// The fields that `Vary` names are the same in both requests, compared without the cache's own code: members of a list without
/// spaces around them. A list with weights may come in another order.
fn check_variant(meta: &Meta, request: &HeaderMap) {
    for line in &meta.vary {
        for name in line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty())
        {
            let name = HeaderName::from_bytes(name).expect("a response with such a Vary is not stored");
            // The language of the response itself may be what the request prefers, whatever the other one said.
            if name == http::header::ACCEPT_LANGUAGE {
                continue;
            }
            let (then, now) = (members(&meta.request, &name), members(request, &name));
            assert_eq!(then.is_some(), now.is_some(), "{name} was absent in one of the requests");
            assert!(name == http::header::ACCEPT_ENCODING || then == now, "{name} differs");
        }
    }
}

fn members(request: &HeaderMap, name: &HeaderName) -> Option<Vec<Vec<u8>>> {
    let lines: Vec<&[u8]> = request.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let joined = (!lines.is_empty()).then(|| lines.join(&b','))?;
    let members = joined.split(|byte| *byte == b',').map(|member| member.trim_ascii().to_vec());
    Some(members.filter(|member| !member.is_empty()).collect())
}
