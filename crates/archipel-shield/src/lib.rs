//! Denial-of-service protection: what finds an attack's signature, and the limits that hold whether it does or not.
//!
//! Owns: the attack detector (pure: observations and time in, rules out), mitigation rules, the tables of token buckets, and the
//! table of the kernel's packet filter that drops repeat offenders.
//! Must never: read a clock, draw a random number that nobody gave it, start a task, or answer a request.
//!
//! ```text
//! each request: Sampler::observe -> Rules::judge          (one worker, no lock)
//! each half second: Detector::tick(counts, samples) -> Rules (one for all workers of a zone)
//! ```

pub mod detector;
pub mod kernel;
pub mod limits;
pub mod overload;
