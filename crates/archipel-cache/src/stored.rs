//! One immutable stored response and what it weighs.
//!
//! Must never borrow from a connection: field values and bodies are copied out of network buffers before they are kept, as a 20-byte
//! slice would otherwise pin a whole read buffer that no count shows.

use crate::body::Body;
use crate::groups::Groups;
use crate::key::KeyRef;
use crate::purge::PurgeStamp;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an allocator adds to an allocation, on average (size classes).
pub(crate) const ALLOCATION_BYTES: usize = 16;
/// The two counts in front of what an `Arc` holds.
const ARC_COUNTS: usize = 16;

/// Everything about a stored response except its body.
#[derive(Debug)]
pub struct Head<M> {
    /// Hash of `key`; see [`KeyRef::hash`].
    pub hash: u128,
    /// The whole primary key.
    pub key: Box<str>,
    /// The zone's number.
    pub zone: u32,
    /// What purges may name it by, beside key and zone.
    pub groups: Groups,
    /// Taken from [`Store::stamp`](crate::Store::stamp) before the request went to the origin.
    pub stamp: PurgeStamp,
    /// The response's status.
    pub status: StatusCode,
    /// The response's fields as stored (RFC 9111 section 3.1: without the connection-specific ones).
    pub headers: HeaderMap,
    /// `headers` as HTTP/1 field lines, so that a hit writes them without walking the map. May be empty.
    pub frozen_head: Bytes,
    /// The request fields that selected this response (RFC 9111 section 4.1) in a canonical form of the caller's, or a 128-bit hash
    /// of them; equal bytes are the same variant, empty means no `Vary`.
    pub variant: Box<[u8]>,
    /// When the response arrived, in seconds since the epoch.
    pub stored_at: u64,
    /// What the policy decided and will need again.
    pub meta: M,
    /// Bytes of memory behind `meta` that its size does not show.
    pub meta_bytes: usize,
}

impl<M> Head<M> {
    /// The key for one call.
    pub fn key_ref(&self) -> KeyRef<'_> {
        KeyRef { hash: self.hash, text: &self.key, zone: self.zone }
    }

    /// The head of a response that was made of this one and stands under a key of its own. Whatever purges this one purges it:
    /// it has the same zone, groups and stamp. It is a variant as this one is.
    pub fn derive(&self, hash: u128, key: Box<str>, meta: M, meta_bytes: usize) -> Self {
        Self {
            hash,
            key,
            zone: self.zone,
            groups: self.groups.clone(),
            stamp: self.stamp,
            status: self.status,
            headers: HeaderMap::new(),
            frozen_head: Bytes::new(),
            variant: self.variant.clone(),
            stored_at: self.stored_at,
            meta,
            meta_bytes,
        }
    }

    /// Copies every value out of the buffers it may share with a connection.
    pub(crate) fn detach(&mut self) {
        self.headers = detached(&self.headers);
        self.frozen_head = Bytes::copy_from_slice(&self.frozen_head);
    }

    /// Bytes of memory that it holds, overhead included.
    pub(crate) fn weight(&self) -> u64 {
        (size_of::<Self>() + ARC_COUNTS + ALLOCATION_BYTES + self.heap_bytes()) as u64
    }

    fn heap_bytes(&self) -> usize {
        let shared = self.key.len() + self.frozen_head.len() + self.variant.len() + self.meta_bytes;
        let tags = size_of_val(&*self.groups.tags);
        shared + tags + 5 * ALLOCATION_BYTES + ARC_COUNTS + headers_heap_bytes(&self.headers)
    }
}

/// One immutable stored response. Handed out as `Arc`: readers keep it alive after it was evicted or purged.
#[derive(Debug)]
pub struct Stored<M> {
    head: Arc<Head<M>>,
    body: Body,
    weight: u64,
    /// The disk tier has it, or is about to: it need not be offered again.
    on_disk: AtomicBool,
}

impl<M> Stored<M> {
    /// A response with a complete body.
    pub fn new(mut head: Head<M>, body: Body) -> Self {
        head.detach();
        Self::from_shared(Arc::new(head), body)
    }

    pub(crate) fn from_shared(head: Arc<Head<M>>, body: Body) -> Self {
        let fixed = size_of::<Self>() + size_of::<Head<M>>() + 2 * (ARC_COUNTS + ALLOCATION_BYTES);
        let weight = fixed as u64 + head.heap_bytes() as u64 + body.heap_bytes();
        Self { head, body, weight, on_disk: AtomicBool::new(false) }
    }

    /// A response read from the disk tier, whose fields share one buffer with the body: nothing of it belongs to a connection.
    pub(crate) fn from_disk(head: Head<M>, body: Body) -> Self {
        let stored = Self::from_shared(Arc::new(head), body);
        stored.set_on_disk();
        stored
    }

    /// Whether the disk tier has it, or is about to.
    pub fn is_on_disk(&self) -> bool {
        self.on_disk.load(Ordering::Relaxed)
    }

    pub(crate) fn set_on_disk(&self) {
        self.on_disk.store(true, Ordering::Relaxed);
    }

    /// Everything but the body.
    pub fn head(&self) -> &Arc<Head<M>> {
        &self.head
    }

    /// The complete body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Bytes of memory that this response holds, overhead included. The store's index comes on top:
    /// [`Store::ENTRY_BYTES`](crate::Store::ENTRY_BYTES).
    pub fn weight(&self) -> u64 {
        self.weight
    }
}

impl<M> Deref for Stored<M> {
    type Target = Head<M>;

    fn deref(&self) -> &Head<M> {
        &self.head
    }
}

/// The same fields in the same order, all values in one allocation of their own.
fn detached(headers: &HeaderMap) -> HeaderMap {
    let bytes = headers.values().map(HeaderValue::len).sum();
    let mut buffer = BytesMut::with_capacity(bytes);
    headers.values().for_each(|value| buffer.extend_from_slice(value.as_bytes()));
    let mut buffer = buffer.freeze();
    let mut out = HeaderMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let piece = buffer.split_to(value.len());
        // The bytes were a field value a moment ago; a clone is the answer that cannot fail.
        let mut copy = HeaderValue::from_maybe_shared(piece).unwrap_or_else(|_| value.clone());
        copy.set_sensitive(value.is_sensitive());
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or_else(|_| name.clone());
        out.append(name, copy);
    }
    out
}

/// Bytes of memory behind a header map: its tables, names that are not standard ones, values, allocator overhead.
pub(crate) fn headers_heap_bytes(headers: &HeaderMap) -> usize {
    if headers.is_empty() && headers.capacity() == 0 {
        return 0;
    }
    // One entry of the map's table and of its index, at a quarter of slack.
    let entry = size_of::<(http::HeaderName, HeaderValue)>() + 32 + 6;
    let text: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    headers.capacity().max(headers.len()) * entry + text + 3 * ALLOCATION_BYTES
}
