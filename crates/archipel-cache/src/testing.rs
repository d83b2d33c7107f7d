//! What the tests share: heads, a seeded generator, a waker that counts.

use crate::groups::UNKEPT_TAGS;
use crate::{
    Body, FillReader, Groups, Head, KeyRef, KeyText as _, PurgeStamp, Store, StoreLimits, Stored, purge_group,
    tag_group,
};
use archipel_http::key::plain_hash;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// What the tests keep as policy data: a number that tells versions apart.
pub(crate) type Version = u64;

pub(crate) const HOSTS: [&str; 2] = ["a.example", "b.example"];

/// Spreads a small number over the hash, as a real hash would.
pub(crate) fn spread(number: u128) -> u128 {
    number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

/// The key of a text: its zone is its length modulo 2. As of any key, one half of its hash is that of its zone and URL.
pub(crate) fn key(text: &str) -> KeyRef<'_> {
    let sum = |text: &str| text.bytes().fold(0_u128, |sum, byte| sum.wrapping_mul(257) + u128::from(byte));
    let zone = (text.len() & 1) as u32;
    let of_url = text.match_indices(' ').nth(1).map_or(text, |(end, _)| text.get(..end).unwrap_or(text));
    let url = (spread(sum(of_url) << 1 | u128::from(zone)) >> 64) as u64;
    let hash = match of_url.len() == text.len() {
        true => plain_hash(url),
        false => u128::from(url) << 64 | u128::from(spread(sum(text)) as u64),
    };
    KeyRef { hash, text, zone }
}

/// The host of a text, chosen by its last byte.
pub(crate) fn host(text: &str) -> u64 {
    purge_group(HOSTS[usize::from(text.bytes().last().unwrap_or_default() & 1)])
}

/// The tags of a version, as text: two of eight, now and then too many to be kept (`None`).
pub(crate) fn tags(version: Version) -> Option<[String; 2]> {
    (version % 31 != 30).then(|| [format!("a{}", version % 5), format!("b{}", version % 3)])
}

fn groups(key: KeyRef<'_>, version: Version) -> Groups {
    let of_text = Groups { host: host(key.text), ..Groups::of(&key.text.url()) };
    let numbers = tags(version).map(|tags| tags.map(|tag| tag_group(key.zone, tag.as_bytes())));
    let tags = numbers.map_or_else(|| Box::from([UNKEPT_TAGS]), |numbers| numbers.into());
    Groups { tags, ..of_text }
}

pub(crate) fn head(key: KeyRef<'_>, variant: &str, version: Version, stamp: PurgeStamp) -> Head<Version> {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("text/plain"));
    Head {
        hash: key.hash,
        key: key.text.into(),
        zone: key.zone,
        groups: groups(key, version),
        stamp,
        status: StatusCode::OK,
        headers,
        frozen_head: Bytes::from_static(b"content-type: text/plain\r\n"),
        variant: variant.as_bytes().into(),
        stored_at: 0,
        meta: version,
        meta_bytes: 0,
    }
}

pub(crate) fn stored(
    store: &Store<Version>,
    text: &str,
    variant: &str,
    version: Version,
    bytes: usize,
) -> Stored<Version> {
    let body = Body::from_bytes(vec![version as u8; bytes].into());
    Stored::new(head(key(text), variant, version, store.stamp()), body)
}

pub(crate) fn store(memory_bytes_max: u64) -> Arc<Store<Version>> {
    Arc::new(Store::new(StoreLimits { memory_bytes_max, ..StoreLimits::default() }))
}

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Counts how often it was woken.
#[derive(Default)]
pub(crate) struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Woken {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let woken = Arc::new(Self::default());
        (Arc::clone(&woken), Waker::from(woken))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a reader gives now, as text: the bytes, `|` for "wait", `.` for the clean end, `!` for an error.
pub(crate) fn read_now<M>(reader: &mut FillReader<M>, waker: &Waker) -> String {
    let mut out = String::new();
    loop {
        match reader.poll_next(&mut Context::from_waker(waker)) {
            Poll::Ready(Some(Ok(bytes))) => out.push_str(&String::from_utf8_lossy(&bytes)),
            Poll::Ready(Some(Err(_))) => return out + "!",
            Poll::Ready(None) => return out + ".",
            Poll::Pending => return out + "|",
        }
    }
}
