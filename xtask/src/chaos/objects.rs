//! What is asked for and what is known of it: each object's path says its size; its entity tag says which version it is and when
//! it was made; and from that every byte follows. Here is also written down what has been purged when.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::{Value, json};

/// Objects.
pub const OBJECTS: u64 = 3_000;
/// Tags; each object has one.
pub const TAGS: u64 = 24;
/// The host.
pub const HOST: &str = "chaos.test";
/// The zone's name.
pub const ZONE: &str = "chaos";
/// Of every so many objects one lies below `/deep/`.
const DEEP_EVERY: u64 = 5;

/// Bytes of an object.
#[must_use]
pub fn size_of(id: u64) -> u64 {
    match id % 100 {
        0..70 => 200 + id * 7,
        70..97 => 20_000 + id * 61,
        _ => 1_500_000 + id * 811,
    }
}

/// The path of an object.
#[must_use]
pub fn path_of(id: u64) -> String {
    if id.is_multiple_of(DEEP_EVERY) { format!("/deep/{id}") } else { format!("/{id}") }
}

/// The object of a path.
#[must_use]
pub fn id_of(path: &str) -> Option<u64> {
    let number = path.strip_prefix("/deep/").or_else(|| path.strip_prefix('/'))?;
    let id = number.parse().ok().filter(|id| *id < OBJECTS)?;
    (path_of(id) == path).then_some(id)
}

/// The tag of an object.
#[must_use]
pub fn tag_of(id: u64) -> u64 {
    id % TAGS
}

/// One version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The object.
    pub id: u64,
    /// Its version.
    pub number: u64,
    /// When the origin made this reply, in microseconds since the start.
    pub made_us: u64,
}

impl Version {
    /// The entity tag, which says all of it.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}-{}-{}\"", self.id, self.number, self.made_us)
    }

    /// Reads an entity tag.
    #[must_use]
    pub fn parse(etag: &str) -> Option<Self> {
        let mut parts = etag.trim().strip_prefix('"')?.strip_suffix('"')?.split('-').map(str::parse);
        let mut next = || parts.next()?.ok();
        Some(Self { id: next()?, number: next()?, made_us: next()? })
    }

    /// The seed of the body: no two replies share one.
    #[must_use]
    pub fn seed(&self) -> u64 {
        (self.id << 40) ^ (self.number << 20) ^ self.made_us
    }
}

/// What a purge covers.
#[derive(Debug, Clone, Copy)]
pub enum Purge {
    /// One object.
    Url(u64),
    /// Those with a tag.
    Tag(u64),
    /// Those below `/deep/`.
    Prefix,
    /// All.
    Host,
    /// All.
    Zone,
    /// All.
    Everything,
}

impl Purge {
    /// The call over the control socket.
    #[must_use]
    pub fn call(&self, soft: bool) -> Value {
        let mut call = match self {
            Self::Url(id) => json!({"urls": [format!("http://{HOST}{}", path_of(*id))]}),
            Self::Tag(tag) => json!({"tags": [{"zone": ZONE, "tag": format!("t{tag}")}]}),
            Self::Prefix => json!({"prefixes": [format!("{HOST}/deep")]}),
            Self::Host => json!({"hosts": [HOST]}),
            Self::Zone => json!({"zones": [ZONE]}),
            Self::Everything => json!({"everything": true}),
        };
        call["soft"] = soft.into();
        call
    }

    fn covers(&self, id: u64) -> bool {
        match self {
            Self::Url(one) => *one == id,
            Self::Tag(tag) => tag_of(id) == *tag,
            Self::Prefix => id.is_multiple_of(DEEP_EVERY),
            Self::Host | Self::Zone | Self::Everything => true,
        }
    }
}

/// Versions and purges so far.
pub struct Truth {
    begun: Instant,
    versions: Vec<AtomicU64>,
    /// For each object, when the last purge of it that was acknowledged had been sent.
    floors: Vec<AtomicU64>,
}

impl Truth {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new() -> Self {
        let zeros = || (0..OBJECTS).map(|_| AtomicU64::new(0)).collect();
        Self { begun: Instant::now(), versions: zeros(), floors: zeros() }
    }

    /// Microseconds since the start, on the clock of everybody here.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The version of an object that the origin has now.
    #[must_use]
    pub fn version(&self, id: u64) -> u64 {
        self.versions[usize::try_from(id).unwrap_or(0)].load(Ordering::SeqCst)
    }

    /// The origin has new versions of what a purge covers.
    pub fn outdate(&self, purge: &Purge) {
        (0..OBJECTS).zip(&self.versions).filter(|(id, _)| purge.covers(*id)).for_each(|(_, version)| {
            version.fetch_add(1, Ordering::SeqCst);
        });
    }

    /// A purge that had been sent at `sent_us` holds from now on.
    pub fn acknowledge(&self, purge: &Purge, sent_us: u64) {
        (0..OBJECTS).zip(&self.floors).filter(|(id, _)| purge.covers(*id)).for_each(|(_, floor)| {
            floor.fetch_max(sent_us, Ordering::SeqCst);
        });
    }

    /// Replies made before this moment must not be served to who asks from now on.
    #[must_use]
    pub fn floor_us(&self, id: u64) -> u64 {
        self.floors[usize::try_from(id).unwrap_or(0)].load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::{OBJECTS, Purge, Truth, Version, id_of, path_of};

    #[test]
    fn names_say_everything() {
        for id in [0, 1, 5, OBJECTS - 1] {
            assert_eq!(id_of(&path_of(id)), Some(id));
        }
        assert_eq!((id_of("/5"), id_of("/deep/6"), id_of("/x")), (None, None, None));
        let version = Version { id: 7, number: 3, made_us: 99 };
        assert_eq!(Version::parse(&version.etag()), Some(version));
        assert_eq!(Version::parse("W/\"1-2-3\""), None);
    }

    #[test]
    fn purges_raise_the_floor() {
        let truth = Truth::new();
        truth.acknowledge(&Purge::Prefix, 10);
        truth.acknowledge(&Purge::Url(6), 20);
        truth.acknowledge(&Purge::Prefix, 5);
        assert_eq!([0, 5, 6, 7].map(|id| truth.floor_us(id)), [10, 10, 20, 0]);
        truth.outdate(&Purge::Tag(6));
        assert_eq!([6, 30, 7].map(|id| truth.version(id)), [1, 1, 0]);
    }
}
