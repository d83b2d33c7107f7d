//! A stored response's head as the meta of a record, and back.
//!
//! Must never interpret what the policy keeps: that part is the caller's [`Codec`]'s.

use super::format::{Header, Kind, META_BYTES_MAX, variant_tag};
use super::wire::{WireReader, WireWriter};
use crate::groups::{Groups, TAGS_MAX};
use crate::purge::PurgeStamp;
use crate::stored::Head;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::fmt::Debug;

/// Writes and reads what the policy keeps beside each response ([`Head::meta`]).
pub trait Codec<M>: Debug + Send + Sync {
    /// Appends it; `false` where it cannot be kept on disk, and the response is then not written.
    fn encode(&self, meta: &M, to: &mut WireWriter) -> bool;
    /// Reads it back with [`Head::meta_bytes`]; `None` where the bytes are not what [`Codec::encode`] wrote. The strings may be kept
    /// as they are: they share one buffer with the body.
    fn decode(&self, from: WireReader) -> Option<(M, usize)>;
}

fn encode_fields(fields: &HeaderMap, to: &mut WireWriter) {
    to.u32(fields.len() as u32);
    for (name, value) in fields {
        to.bytes(name.as_str().as_bytes()).bytes(value.as_bytes());
    }
}

fn decode_fields(from: &mut WireReader) -> Option<HeaderMap> {
    let count = from.u32()?;
    let mut fields = HeaderMap::new();
    for _ in 0..count {
        let name = HeaderName::from_bytes(&from.bytes()?).ok()?;
        let value = HeaderValue::from_maybe_shared(from.bytes()?).ok()?;
        // A map that is full is none that was written.
        fields.try_append(name, value).ok()?;
    }
    Some(fields)
}

fn encode_groups(groups: &Groups, to: &mut WireWriter) {
    to.u64(groups.host).u64(groups.url).u32(groups.tags.len() as u32);
    groups.tags.iter().for_each(|tag| {
        to.u64(*tag);
    });
}

fn decode_groups(from: &mut WireReader) -> Option<Groups> {
    let (host, url, tags) = (from.u64()?, from.u64()?, from.u32()?);
    let tags = (0..tags.min(TAGS_MAX as u32 + 1)).map(|_| from.u64()).collect::<Option<_>>()?;
    Some(Groups { host, url, tags })
}

/// The meta of a record; `None` where it is larger than a record's may be or the codec keeps none.
pub(crate) fn encode<M>(head: &Head<M>, trailers: Option<&HeaderMap>, codec: &dyn Codec<M>) -> Option<Vec<u8>> {
    let mut to = WireWriter::new();
    to.u16(head.status.as_u16()).bytes(head.key.as_bytes()).bytes(&head.variant);
    encode_groups(&head.groups, &mut to);
    to.bytes(&head.frozen_head);
    encode_fields(&head.headers, &mut to);
    encode_fields(trailers.unwrap_or(&HeaderMap::new()), &mut to);
    let encoded = codec.encode(&head.meta, &mut to);
    let meta = to.into_vec();
    (encoded && meta.len() <= META_BYTES_MAX).then_some(meta)
}

/// The header of a record with this meta.
pub(crate) fn header<M>(head: &Head<M>, nonce: u64, epoch: u32, meta: &[u8], body_bytes: u64) -> Header {
    Header {
        kind: Kind::Object,
        nonce,
        hash: head.hash,
        stamp: head.stamp.0,
        stored_at: head.stored_at,
        body_bytes,
        meta_bytes: meta.len() as u32,
        variant: variant_tag(&head.variant),
        zone: head.zone,
        epoch,
    }
}

/// A head with the body's trailer fields; `None` where the meta is none that was written.
pub(crate) fn decode<M>(header: &Header, meta: Bytes, codec: &dyn Codec<M>) -> Option<(Head<M>, Option<HeaderMap>)> {
    let mut from = WireReader::new(meta);
    let status = StatusCode::from_u16(from.u16()?).ok()?;
    let key = from.text()?;
    let variant = from.bytes()?;
    let groups = decode_groups(&mut from)?;
    let frozen_head = from.bytes()?;
    let headers = decode_fields(&mut from)?;
    let trailers = decode_fields(&mut from)?;
    let (meta, meta_bytes) = codec.decode(from)?;
    let head = Head {
        hash: header.hash,
        key,
        zone: header.zone,
        groups,
        stamp: PurgeStamp(header.stamp),
        status,
        headers,
        frozen_head,
        variant: variant.as_ref().into(),
        stored_at: header.stored_at,
        meta,
        meta_bytes,
    };
    Some((head, (!trailers.is_empty()).then_some(trailers)))
}

/// Reads bytes as a record's meta that its checksum covered.
pub(crate) fn fuzz(bytes: &[u8]) -> Option<()> {
    #[derive(Debug)]
    struct Nothing;
    impl Codec<()> for Nothing {
        fn encode(&self, _: &(), _: &mut WireWriter) -> bool {
            true
        }

        fn decode(&self, _: WireReader) -> Option<((), usize)> {
            Some(((), 0))
        }
    }
    let header = Header {
        kind: Kind::Object,
        nonce: 0,
        hash: 0,
        stamp: 0,
        stored_at: 0,
        body_bytes: 0,
        meta_bytes: bytes.len() as u32,
        variant: 0,
        zone: 0,
        epoch: 0,
    };
    decode(&header, Bytes::copy_from_slice(bytes), &Nothing).map(drop)
}
