//! Clearances: the cookie of a visitor who has shown to be a person. 48 bytes, 64 characters.
//!
//! ```text
//! version level issued lifetime id      client place check
//! 1       1     4      2        12      8      4     16     bytes, big-endian
//! ```
//! The zone is in the key, not in the text: a clearance of another zone is a forged one.

use crate::keys::{Binding, EPOCH_SECONDS, Keys, Purpose, SKEW_SECONDS};
use crate::wire::{self, MAC_BYTES, Read};

/// Name of the cookie. With this prefix browsers take it from https and this host only (RFC 6265bis section 4.1.3.2).
pub const COOKIE: &str = "__Host-arch_clr";

/// Bytes of a clearance.
const BYTES: usize = 1 + 1 + 4 + 2 + 12 + 8 + 4 + MAC_BYTES;

const VERSION: u8 = 1;

/// Longest life of a clearance, seconds: two epochs' keys are tried, and no more.
pub const LIFETIME_SECONDS_MAX: u16 = 3_600;

/// Seconds after its end for which requests that a page made itself are still let through.
pub const GRACE_SECONDS: u64 = 3_600;

/// What a visitor has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clearance {
    /// The level of the challenge that was passed.
    pub level: u8,
    /// When it was given, Unix seconds.
    pub issued: u32,
    /// Seconds that it lasts, at most [`LIFETIME_SECONDS_MAX`].
    pub lifetime: u16,
    /// Whose it is: requests are counted by it. The same challenge solved twice gives the same.
    pub id: [u8; 12],
    /// What it is tied to.
    pub binding: Binding,
}

/// What a clearance is worth for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is good.
    Good {
        /// It is past the middle of its life: a new one is to be sent.
        renew: bool,
        /// The client is elsewhere than it was: to be checked again without being in the visitor's way.
        moved: bool,
    },
    /// It was good; requests that a page makes itself may still use it, a page may not.
    Grace,
    /// It is past its time.
    Expired,
    /// It is of another client.
    Foreign,
    /// It is none: forged, of another zone, or damaged.
    Invalid,
}

impl Clearance {
    /// The cookie's value.
    #[must_use]
    pub fn seal(&self, keys: &mut Keys) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&[VERSION, self.level]);
        bytes.extend_from_slice(&self.issued.to_be_bytes());
        bytes.extend_from_slice(&self.lifetime.min(LIFETIME_SECONDS_MAX).to_be_bytes());
        bytes.extend_from_slice(&self.id);
        bytes.extend_from_slice(&self.binding.client.to_be_bytes());
        bytes.extend_from_slice(&self.binding.place.to_be_bytes());
        wire::seal(&keys.at(Purpose::Clearance, u64::from(self.issued)), bytes)
    }

    /// What a cookie's value says, and what it is worth at `now` (Unix seconds) to a client with this binding. The clearance is there
    /// where it is genuine.
    #[must_use]
    pub fn check(text: &str, keys: &mut Keys, now: u64, binding: &Binding) -> (Standing, Option<Self>) {
        let Some(bytes) = wire::unfold::<BYTES>(text) else { return (Standing::Invalid, None) };
        let mut read = Read(&bytes);
        let version = read.u8();
        let clearance = Self {
            level: read.u8(),
            issued: read.u32(),
            lifetime: read.u16(),
            id: read.bytes(),
            binding: Binding { client: read.u64(), place: read.u32() },
        };
        let issued = u64::from(clearance.issued);
        // Keys are made for times at which something can be genuine only: a forger cannot make us derive others.
        let oldest = now.saturating_sub(u64::from(LIFETIME_SECONDS_MAX) + GRACE_SECONDS + EPOCH_SECONDS);
        if version != VERSION || issued > now + SKEW_SECONDS || issued < oldest {
            return (Standing::Invalid, None);
        }
        if !wire::is_sealed(&keys.at(Purpose::Clearance, issued), &bytes) {
            return (Standing::Invalid, None);
        }
        (clearance.standing(now, binding), Some(clearance))
    }

    fn standing(&self, now: u64, binding: &Binding) -> Standing {
        if self.binding.client != binding.client {
            return Standing::Foreign;
        }
        let age = now.saturating_sub(u64::from(self.issued));
        let lifetime = u64::from(self.lifetime.min(LIFETIME_SECONDS_MAX));
        if age <= lifetime {
            Standing::Good { renew: age * 2 >= lifetime, moved: self.binding.place != binding.place }
        } else if age <= lifetime + GRACE_SECONDS {
            Standing::Grace
        } else {
            Standing::Expired
        }
    }
}
