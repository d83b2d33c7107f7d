//! Human verification without a store: what a node gave out, any node can check.
//!
//! Owns: clearances (who has shown to be a person), challenges (what is asked of a visitor), their keys, and the tokens of the widget
//! with the ledger that lets each be used once. All of it is pure: time, randomness and the key come in as arguments.
//! Must never: keep a visitor's answer, compare secrets in a way that tells how much of them was right, or ask another machine.

pub mod challenge;
pub mod clearance;
pub mod keys;
pub mod ledger;
pub mod token;

#[cfg(test)]
mod tests;
mod wire;

pub use challenge::{Challenge, Difficulty, Solution};
pub use clearance::{Clearance, Standing};
pub use keys::{Binding, Keys, Master};
