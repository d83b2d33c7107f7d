//! Keys: one secret for all nodes, from which follow those of each zone, purpose and hour (HKDF, RFC 5869).
//!
//! Keys of an hour need not be handed around, and what was signed with one that is long past cannot be used: a clearance that
//! leaks dies with its hour.

use hkdf::Hkdf;
use sha2::{Digest as _, Sha256};

/// Seconds of a key's epoch.
pub const EPOCH_SECONDS: u64 = 3_600;

/// Seconds by which clocks of nodes may differ.
pub const SKEW_SECONDS: u64 = 120;

/// The secret that all nodes of an edge share. Its bytes are shown to nobody.
#[derive(Clone)]
pub struct Master([u8; 32]);

impl std::fmt::Debug for Master {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Master(..)")
    }
}

impl Master {
    /// From 32 bytes that nobody can foresee.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(secret)
    }

    /// The keys of a zone.
    #[must_use]
    pub fn zone(&self, zone: u32) -> Keys {
        Keys { master: self.clone(), zone, cached: Default::default() }
    }
}

/// What a key is for: what is signed for one purpose means nothing for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Clearance,
    Challenge,
    Identity,
    Token,
}

impl Purpose {
    const COUNT: usize = 4;

    fn label(self) -> &'static [u8] {
        match self {
            Purpose::Clearance => b"archipel clearance 1",
            Purpose::Challenge => b"archipel challenge 1",
            Purpose::Identity => b"archipel identity 1",
            Purpose::Token => b"archipel token 1",
        }
    }
}

/// The keys of a zone. Those of the last two epochs used are kept; it is meant to be owned by one worker.
#[derive(Clone, Debug)]
pub struct Keys {
    master: Master,
    zone: u32,
    cached: [[Option<(u64, Key)>; 2]; Purpose::COUNT],
}

#[derive(Clone, Copy)]
struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Keys {
    /// The key for a purpose at a time.
    pub(crate) fn at(&mut self, purpose: Purpose, seconds: u64) -> [u8; 32] {
        let epoch = seconds / EPOCH_SECONDS;
        let slot = &mut self.cached[purpose as usize][usize::from(epoch % 2 == 1)];
        match slot {
            Some((known, key)) if *known == epoch => key.0,
            _ => {
                let mut info = Vec::with_capacity(48);
                info.extend_from_slice(purpose.label());
                info.extend_from_slice(&self.zone.to_be_bytes());
                info.extend_from_slice(&epoch.to_be_bytes());
                let mut key = [0; 32];
                // The only error is an output of more than 8,160 bytes.
                let expanded = Hkdf::<Sha256>::new(None, &self.master.0).expand(&info, &mut key);
                debug_assert!(expanded.is_ok());
                *slot = Some((epoch, Key(key)));
                key
            }
        }
    }
}

/// What a clearance is tied to, so that it is of no use to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The client: its user agent and what of its TLS fingerprint does not change (JA4_b). A clearance of another client is none.
    pub client: u64,
    /// Where it is: its network (/24, /48) and autonomous system. A clearance from elsewhere is checked again, silently.
    pub place: u32,
}

impl Binding {
    /// The binding of a client.
    #[must_use]
    pub fn new(user_agent: &[u8], ja4_b: &[u8], network: &[u8], asn: u32) -> Self {
        let mut client = Sha256::new();
        client.update((user_agent.len() as u64).to_be_bytes());
        client.update(user_agent);
        client.update(ja4_b);
        let mut place = Sha256::new();
        place.update(network);
        place.update(asn.to_be_bytes());
        let (client, place) = (client.finalize(), place.finalize());
        let head = |bytes: &[u8]| bytes.iter().take(8).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Self { client: head(&client), place: (head(&place) >> 32) as u32 }
    }
}
