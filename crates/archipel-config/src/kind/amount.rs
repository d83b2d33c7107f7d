//! Kinds of numbers: bytes, counts, durations, shares.

use std::time::Duration;

use serde_json::json;

use super::{Kind, malformed, out_of_range, quote, wrong_type};
use crate::diagnostic::Problem;
use crate::tree::{Node, Value};
use crate::units;

/// Number types that fields may have.
pub(crate) trait Amount: Copy + TryFrom<u64> {
    fn to_u64(self) -> u64;
}

impl Amount for u32 {
    fn to_u64(self) -> u64 {
        self.into()
    }
}

impl Amount for u64 {
    fn to_u64(self) -> u64 {
        self
    }
}

impl Amount for usize {
    fn to_u64(self) -> u64 {
        self as u64
    }
}

fn bounded<T: Amount>(amount: u64, bounds: (u64, u64), show: fn(u64) -> String) -> Result<T, Vec<Problem>> {
    let fits = (bounds.0..=bounds.1).contains(&amount);
    match T::try_from(amount) {
        Ok(value) if fits => Ok(value),
        _ => Err(out_of_range(&show(bounds.0), &show(bounds.1), &show(amount))),
    }
}

/// A number of bytes, least and most.
pub(crate) struct Bytes(pub u64, pub u64);

impl<T: Amount> Kind<T> for Bytes {
    fn read(&self, node: &Node) -> Result<T, Vec<Problem>> {
        let amount = match &node.value {
            Value::Integer(number) => u64::try_from(*number).map_err(|_| {
                out_of_range(&units::show_bytes(self.0), &units::show_bytes(self.1), &number.to_string())
            })?,
            Value::Text(text) => units::parse_bytes(text).map_err(|help| malformed("is no number of bytes", help))?,
            _ => return Err(wrong_type("a number of bytes", node)),
        };
        bounded(amount, (self.0, self.1), units::show_bytes)
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(quote(&units::show_bytes(value.to_u64())))
    }

    fn name(&self) -> &'static str {
        "bytes"
    }

    fn allowed(&self) -> String {
        format!("{} to {}", units::show_bytes(self.0), units::show_bytes(self.1))
    }

    fn schema(&self) -> serde_json::Value {
        json!({"anyOf": [
            {"type": "integer", "minimum": self.0, "maximum": self.1},
            {"type": "string", "pattern": "^\\s*[0-9]+\\s*(([KkMmGgTt][Ii]?)?[Bb])?\\s*$"},
        ]})
    }
}

/// A plain number, least and most.
pub(crate) struct Count(pub u64, pub u64);

impl<T: Amount> Kind<T> for Count {
    fn read(&self, node: &Node) -> Result<T, Vec<Problem>> {
        let Value::Integer(number) = node.value else {
            return Err(wrong_type("a whole number", node));
        };
        let amount = u64::try_from(number)
            .map_err(|_| out_of_range(&self.0.to_string(), &self.1.to_string(), &number.to_string()))?;
        bounded(amount, (self.0, self.1), |number| number.to_string())
    }

    fn write(&self, value: &T) -> Option<String> {
        Some(value.to_u64().to_string())
    }

    fn name(&self) -> &'static str {
        "count"
    }

    fn allowed(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "integer", "minimum": self.0, "maximum": self.1})
    }
}

/// A length of time in milliseconds, least and most.
pub(crate) struct Time(pub u64, pub u64);

/// Milliseconds in a second, for the bounds of [`Time`].
pub(crate) const SECOND: u64 = 1_000;
/// Milliseconds in a day, for the bounds of [`Time`].
pub(crate) const DAY: u64 = 86_400 * SECOND;

fn show_millis(millis: u64) -> String {
    units::show_duration(Duration::from_millis(millis))
}

impl Kind<Duration> for Time {
    fn read(&self, node: &Node) -> Result<Duration, Vec<Problem>> {
        let duration = match &node.value {
            // Nothing is nothing in every unit.
            Value::Integer(0) => Duration::ZERO,
            Value::Text(text) => units::parse_duration(text).map_err(|help| malformed("is no duration", help))?,
            Value::Integer(number) => {
                let help = format!("a duration needs a unit: did you mean \"{number}s\"?");
                return Err(malformed("has no unit", help));
            }
            _ => return Err(wrong_type("a duration", node)),
        };
        let millis: u64 =
            bounded(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), (self.0, self.1), show_millis)?;
        Ok(Duration::from_millis(millis))
    }

    fn write(&self, value: &Duration) -> Option<String> {
        Some(quote(&units::show_duration(*value)))
    }

    fn name(&self) -> &'static str {
        "duration"
    }

    fn allowed(&self) -> String {
        format!("{} to {}", show_millis(self.0), show_millis(self.1))
    }

    fn schema(&self) -> serde_json::Value {
        json!({"anyOf": [
            {"type": "string", "pattern": "^\\s*([0-9]+\\s*(ms|s|m|h|d)\\s*)+$"},
            {"const": 0},
        ]})
    }
}

/// A share from 0 to 1.
pub(crate) struct Ratio;

impl Kind<f64> for Ratio {
    fn read(&self, node: &Node) -> Result<f64, Vec<Problem>> {
        let ratio = match node.value {
            Value::Float(number) => number,
            // Every integer that could be in range is exact.
            Value::Integer(number) => number as f64,
            _ => return Err(wrong_type("a number from 0 to 1", node)),
        };
        if (0.0..=1.0).contains(&ratio) { Ok(ratio) } else { Err(out_of_range("0.0", "1.0", &ratio.to_string())) }
    }

    fn write(&self, value: &f64) -> Option<String> {
        Some(format!("{value:?}"))
    }

    fn name(&self) -> &'static str {
        "ratio"
    }

    fn allowed(&self) -> String {
        "0.0 to 1.0".to_owned()
    }

    fn schema(&self) -> serde_json::Value {
        json!({"type": "number", "minimum": 0, "maximum": 1})
    }
}
