//! Timed HMAC tokens: `message`, `separator`, ten digits of time, `-`, and the MAC of message and time in Base64.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::coding;
use crate::value::Value;

/// Digits of the time of issue.
const TIME_DIGITS: usize = 10;
/// Least bytes of the encoded MAC.
const MAC_BYTES_MIN: usize = 43;

/// The literal arguments of `is_timed_hmac_valid_v0()`.
#[derive(Clone)]
pub(crate) struct TimedHmac {
    pub key: Box<[u8]>,
    /// Seconds for which a token holds.
    pub ttl: i64,
    pub separator_bytes: usize,
    pub url_safe: bool,
}

/// The key is a secret: it is not shown.
impl std::fmt::Debug for TimedHmac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimedHmac").field("ttl", &self.ttl).field("url_safe", &self.url_safe).finish_non_exhaustive()
    }
}

impl TimedHmac {
    /// Takes the token and, behind the literal time to live, the time that it is (seconds).
    pub fn check<'a>(&self, rest: &[Value<'_>]) -> Value<'a> {
        match rest {
            [Value::Bytes(token), _, Value::Int(now), ..] => Value::Bool(self.valid(token, *now)),
            _ => Value::Nil,
        }
    }

    fn valid(&self, token: &[u8], now: i64) -> bool {
        let Some((before, time, mac)) = parts(token) else { return false };
        let Some(message) = before.len().checked_sub(self.separator_bytes).map(|len| &before[..len]) else {
            return false;
        };
        if message.is_empty() {
            return false;
        }
        let issued = std::str::from_utf8(time).ok().and_then(|time| time.parse::<i64>().ok());
        if issued.is_none_or(|issued| now > issued.saturating_add(self.ttl)) {
            return false;
        }
        let mac = match self.url_safe {
            true => coding::decode_base64_as(mac, true),
            false => coding::decode_base64_as(&coding::percent_decode(mac), false),
        };
        let (Some(mac), Ok(mut hmac)) = (mac, Hmac::<Sha256>::new_from_slice(&self.key)) else { return false };
        hmac.update(message);
        hmac.update(time);
        // Compares in constant time.
        hmac.verify_slice(&mac).is_ok()
    }
}

/// What stands before the time, the time, and the MAC. The last `-` that can be meant is: the message may hold others.
fn parts(token: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let last = token.len().checked_sub(MAC_BYTES_MIN + 1)?;
    let dash = (TIME_DIGITS..=last)
        .rev()
        .find(|dash| token[*dash] == b'-' && token[dash - TIME_DIGITS..*dash].iter().all(u8::is_ascii_digit))?;
    Some((&token[..dash - TIME_DIGITS], &token[dash - TIME_DIGITS..dash], &token[dash + 1..]))
}
