//! Challenges: what is asked of a visitor. Everything that is needed to check an answer is in the challenge itself, signed.
//!
//! The work is a number of small puzzles rather than one large one: the time of one is exponentially distributed, so that its 99th
//! percentile is 4.6 times its mean; that of the sum of 32 is 1.45 times.

use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::clearance::Clearance;
use crate::keys::{Binding, Keys, Purpose, SKEW_SECONDS};
use crate::wire::{self, MAC_BYTES, Read};

/// Puzzles of a challenge.
pub const PUZZLES: usize = 32;

/// Seconds in which a challenge has to be answered.
pub const CHALLENGE_SECONDS: u64 = 120;

const VERSION: u8 = 1;

/// Bytes of a challenge.
const BYTES: usize = 1 + 1 + 1 + 4 + 16 + 8 + 4 + MAC_BYTES;

/// How much work a challenge is: leading zero bits of each puzzle's hash. Solving all takes 32 times two to this power of hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difficulty(u8);

impl Difficulty {
    /// 2^17 hashes.
    pub const LEAST: Self = Self(12);
    /// 2^20 hashes: a quarter of a second on a middling phone.
    pub const USUAL: Self = Self(15);
    /// 2^22 hashes.
    pub const MOST: Self = Self(17);

    /// That of so many bits, within [`Difficulty::LEAST`] and [`Difficulty::MOST`].
    #[must_use]
    pub fn of_bits(bits: u8) -> Self {
        Self(bits.clamp(Self::LEAST.0, Self::MOST.0))
    }

    /// Leading zero bits of each puzzle's hash.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }
}

/// What is asked of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The level that an answer reaches.
    pub level: u8,
    /// How much work it is.
    pub difficulty: Difficulty,
    /// When it was given, Unix seconds.
    pub issued: u32,
    /// What makes it different from every other.
    pub random: [u8; 16],
    /// Whom it was given to.
    pub binding: Binding,
}

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Rejected {
    /// It answers no challenge of ours.
    #[error("this is no challenge of this site")]
    NotOurs,
    /// Too late.
    #[error("the challenge was answered too late")]
    Expired,
    /// Answered by another client than it was given to.
    #[error("the challenge was given to another client")]
    Foreign,
    /// The work was not done.
    #[error("the answer is wrong")]
    Wrong,
}

/// The answer: a number for each puzzle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solution(pub [u32; PUZZLES]);

impl Solution {
    /// From its 128 bytes in base64url, as the page sends them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = wire::unfold::<{ PUZZLES * 4 }>(text)?;
        let mut read = Read(&bytes);
        Some(Self(std::array::from_fn(|_| read.u32())))
    }
}

impl Challenge {
    /// The challenge as the page gets it.
    #[must_use]
    pub fn seal(&self, keys: &mut Keys) -> String {
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.extend_from_slice(&[VERSION, self.level, self.difficulty.0]);
        bytes.extend_from_slice(&self.issued.to_be_bytes());
        bytes.extend_from_slice(&self.random);
        bytes.extend_from_slice(&self.binding.client.to_be_bytes());
        bytes.extend_from_slice(&self.binding.place.to_be_bytes());
        wire::seal(&keys.at(Purpose::Challenge, u64::from(self.issued)), bytes)
    }

    /// Reads a challenge that this edge gave, to this client, and not too long ago.
    ///
    /// # Errors
    /// [`Rejected`].
    pub fn open(text: &str, keys: &mut Keys, now: u64, binding: &Binding) -> Result<Self, Rejected> {
        let bytes = wire::unfold::<BYTES>(text).ok_or(Rejected::NotOurs)?;
        let mut read = Read(&bytes);
        let version = read.u8();
        let challenge = Self {
            level: read.u8(),
            difficulty: Difficulty(read.u8()),
            issued: read.u32(),
            random: read.bytes(),
            binding: Binding { client: read.u64(), place: read.u32() },
        };
        let issued = u64::from(challenge.issued);
        if version != VERSION || issued > now + SKEW_SECONDS {
            return Err(Rejected::NotOurs);
        }
        if now > issued + CHALLENGE_SECONDS + SKEW_SECONDS {
            return Err(Rejected::Expired);
        }
        if !wire::is_sealed(&keys.at(Purpose::Challenge, issued), &bytes) {
            return Err(Rejected::NotOurs);
        }
        if challenge.binding.client != binding.client {
            return Err(Rejected::Foreign);
        }
        Ok(challenge)
    }

    /// What the puzzles of a challenge are about: its text, hashed, so that a puzzle is one block of SHA-256.
    #[must_use]
    pub fn seed(text: &str) -> [u8; 32] {
        Sha256::digest(text.as_bytes()).into()
    }

    /// Whether an answer to the challenge with this text is right: 32 hashes.
    #[must_use]
    pub fn is_solved(&self, text: &str, solution: &Solution) -> bool {
        let seed = Self::seed(text);
        (0_u32..).zip(&solution.0).all(|(puzzle, number)| zeros(&seed, puzzle, *number) >= u32::from(self.difficulty.0))
    }

    /// Solves it, as a program would: for tests, and to measure what a solver pays.
    #[must_use]
    pub fn solve(&self, text: &str) -> Solution {
        let seed = Self::seed(text);
        let wanted = u32::from(self.difficulty.0);
        Solution(std::array::from_fn(|puzzle| {
            (0..=u32::MAX).find(|number| zeros(&seed, puzzle as u32, *number) >= wanted).unwrap_or_default()
        }))
    }

    /// The clearance for a right answer. Whoever sends the same answer again gets the same identity, and with it the same budget.
    #[must_use]
    pub fn clearance(&self, keys: &mut Keys, now: u32, lifetime: u16, binding: Binding) -> Clearance {
        let key = keys.at(Purpose::Identity, u64::from(self.issued));
        let digest = wire::digest(&key, &self.random);
        let mut id = [0; 12];
        id.copy_from_slice(&digest[..12]);
        Clearance { level: self.level, issued: now, lifetime, id, binding }
    }
}

/// Leading zero bits of a puzzle's hash.
fn zeros(seed: &[u8; 32], puzzle: u32, number: u32) -> u32 {
    let mut hasher = Sha256::new();
    hasher.update(seed);
    hasher.update(puzzle.to_be_bytes());
    hasher.update(number.to_be_bytes());
    let hash = hasher.finalize();
    hash.iter().take(4).fold(0_u32, |number, byte| number << 8 | u32::from(*byte)).leading_zeros()
}
