//! What is asked and what may come back. A path says everything: how the origin misbehaves, the seed of the body and
//! its size; so each side knows every byte without talking to the other. Pure.

use archipel_testkit::chance::Chance;

/// Behaviours of the origin, by the first part of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A right reply with its length, that nobody may store.
    Plain,
    /// A right reply in chunks.
    Chunked,
    /// A right reply that ends with the connection.
    UntilEnd,
    /// A right reply after a 103.
    Hinted,
    /// Stored for a moment.
    Cached,
    /// Stored for a moment, in chunks.
    CachedChunked,
    /// Stored, and asked about each time: 304.
    Revalidated,
    /// The body is in the request; the reply says whether it arrived whole.
    Upload,
    /// Half the body, then silence.
    Stalls,
    /// No reply at all.
    StallsBeforeHead,
    /// Ends before its length.
    Truncated,
    /// Ends before its length although it may be stored.
    TruncatedCached,
    /// Ends before the last chunk.
    TruncatedChunks,
    /// Resets the connection in the middle.
    Resets,
    /// Closes without a reply.
    Dies,
    /// Sends more than its length: the rest must not become the next reply.
    TooLong,
    /// Two lengths that differ.
    TwoLengths,
    /// A length that is no number.
    BadLength,
    /// Not HTTP.
    Garbage,
    /// A chunk size that is no number.
    BadChunk,
    /// A head of 300 KB.
    HugeHead,
    /// 304 that nobody asked for.
    Unasked304,
}

/// Each kind with its name in a path and its share of the load.
const KINDS: &[(Kind, &str, u64)] = &[
    (Kind::Plain, "plain", 14),
    (Kind::Chunked, "chunked", 10),
    (Kind::UntilEnd, "until-end", 2),
    (Kind::Hinted, "hinted", 3),
    (Kind::Cached, "cached", 30),
    (Kind::CachedChunked, "cached-chunked", 15),
    (Kind::Revalidated, "revalidated", 8),
    (Kind::Upload, "upload", 8),
    (Kind::Stalls, "stalls", 1),
    (Kind::StallsBeforeHead, "stalls-before-head", 1),
    (Kind::Truncated, "truncated", 2),
    (Kind::TruncatedCached, "truncated-cached", 2),
    (Kind::TruncatedChunks, "truncated-chunks", 2),
    (Kind::Resets, "resets", 2),
    (Kind::Dies, "dies", 1),
    (Kind::TooLong, "too-long", 2),
    (Kind::TwoLengths, "two-lengths", 1),
    (Kind::BadLength, "bad-length", 1),
    (Kind::Garbage, "garbage", 1),
    (Kind::BadChunk, "bad-chunk", 1),
    (Kind::HugeHead, "huge-head", 1),
    (Kind::Unasked304, "unasked-304", 1),
];

/// Objects that may be stored, so that there are hits.
const STORED_SEEDS: u64 = 300;
/// The largest body.
pub const SIZE_MAX: u64 = 6 << 20;

impl Kind {
    /// Whether a visitor may see a whole reply with status 200 at all.
    #[must_use]
    pub fn may_succeed(self) -> bool {
        !matches!(
            self,
            Self::Stalls
                | Self::StallsBeforeHead
                | Self::Truncated
                | Self::TruncatedCached
                | Self::TruncatedChunks
                | Self::Resets
                | Self::Dies
                | Self::TwoLengths
                | Self::BadLength
                | Self::Garbage
                | Self::BadChunk
                | Self::Unasked304
        )
    }

    /// Whether a healthy origin answers it with 200.
    #[must_use]
    pub fn should_succeed(self) -> bool {
        self.may_succeed() && !matches!(self, Self::HugeHead | Self::TooLong)
    }

    fn is_stored(self) -> bool {
        matches!(self, Self::Cached | Self::CachedChunked | Self::Revalidated | Self::TruncatedCached)
    }
}

/// One thing to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// How the origin behaves.
    pub kind: Kind,
    /// Seed of the body.
    pub seed: u64,
    /// Bytes of the body.
    pub size: u64,
}

impl Plan {
    /// Draws a plan.
    #[must_use]
    pub fn draw(chance: &mut Chance) -> Self {
        let all: u64 = KINDS.iter().map(|(_, _, share)| share).sum();
        let mut left = chance.below(all);
        let mut kind = Kind::Plain;
        for (candidate, _, share) in KINDS {
            if left < *share {
                kind = *candidate;
                break;
            }
            left -= share;
        }
        let seed = if kind.is_stored() { chance.below(STORED_SEEDS) } else { chance.next_u64() >> 16 };
        // The size belongs to the seed, so that a stored object has one size.
        let mut sizes = Chance::new(seed ^ 0x5173);
        let size = match sizes.below(100) {
            0..=59 => 1 + sizes.below(4 << 10),
            60..=94 => 4096 + sizes.below(200 << 10),
            _ => (1 << 20) + sizes.below(SIZE_MAX - (1 << 20)),
        };
        Self { kind, seed, size: size.max(if kind.may_succeed() { 0 } else { 512 }) }
    }

    /// The path that stands for it.
    #[must_use]
    pub fn path(&self) -> String {
        let name = KINDS.iter().find(|(kind, _, _)| *kind == self.kind).map_or("plain", |(_, name, _)| name);
        format!("/{name}/{}/{}", self.seed, self.size)
    }

    /// Reads a path.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.strip_prefix('/')?.split('/');
        let name = parts.next()?;
        let kind = KINDS.iter().find(|(_, known, _)| *known == name).map(|(kind, _, _)| *kind)?;
        let seed = parts.next()?.parse().ok()?;
        let size = parts.next()?.parse().ok().filter(|size| *size <= SIZE_MAX)?;
        Some(Self { kind, seed, size })
    }

    /// The validator of the body.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{:x}-{:x}\"", self.seed, self.size)
    }
}

/// Fills `buffer` with the body of `seed` from byte `offset`.
pub fn fill(seed: u64, offset: u64, buffer: &mut [u8]) {
    let mut block = offset / 8;
    let mut skip = usize::try_from(offset % 8).unwrap_or(0);
    let mut rest = buffer;
    while !rest.is_empty() {
        let bytes = Chance::new(seed.rotate_left(32) ^ block).next_u64().to_le_bytes();
        let take = (8 - skip).min(rest.len());
        let (now, later) = rest.split_at_mut(take);
        now.copy_from_slice(&bytes[skip..skip + take]);
        rest = later;
        skip = 0;
        block += 1;
    }
}

/// Whether `bytes` are the body of `seed` from byte `offset`.
#[must_use]
pub fn matches(seed: u64, offset: u64, bytes: &[u8]) -> bool {
    let mut wanted = [0; 4096];
    let mut at = offset;
    bytes.chunks(wanted.len()).all(|chunk| {
        let wanted = &mut wanted[..chunk.len()];
        fill(seed, at, wanted);
        at += chunk.len() as u64;
        wanted == chunk
    })
}

#[cfg(test)]
mod tests {
    use archipel_testkit::chance::Chance;

    use super::{KINDS, Plan, fill, matches};

    #[test]
    fn paths_say_everything() {
        let mut chance = Chance::new(1);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20_000 {
            let plan = Plan::draw(&mut chance);
            assert_eq!(Plan::parse(&plan.path()), Some(plan));
            seen.insert(format!("{:?}", plan.kind));
        }
        assert_eq!(seen.len(), KINDS.len());
        assert_eq!(Plan::parse("/plain/1"), None);
        assert_eq!(Plan::parse("/plain/1/999999999999"), None);
    }

    #[test]
    fn bodies_can_be_checked_from_any_byte() {
        let mut whole = vec![0; 10_000];
        fill(7, 0, &mut whole);
        for from in [0, 1, 7, 8, 9, 4095, 9999] {
            assert!(matches(7, from as u64, &whole[from..]));
            assert!(!matches(8, from as u64, &whole[from..]));
        }
        assert!(!matches(7, 1, &whole[..100]));
    }
}
