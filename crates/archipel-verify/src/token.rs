//! Tokens of the widget: what a form sends to a site's server, which asks whether it is genuine. They name the node that issued them
//! and the number that it gave, so that any node knows whom to ask whether one was used.

use thiserror::Error;

use crate::keys::{Keys, Purpose, SKEW_SECONDS};
use crate::wire::{self, Read};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Seconds that a token lives.
pub const TOKEN_SECONDS: u64 = 300;

/// Longest action, as the widget's contract has it, in bytes.
pub const ACTION_BYTES_MAX: usize = 32;

/// Longest customer data, as the widget's contract has it, in bytes.
pub const CDATA_BYTES_MAX: usize = 255;

/// Longest host name, in bytes.
const HOST_BYTES_MAX: usize = 253;

/// Longest token, as the widget's contract has it, in bytes.
pub const TOKEN_BYTES_MAX: usize = 2_048;

const VERSION: u8 = 1;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The node that issued it.
    pub node: u32,
    /// The number that the node gave it.
    pub number: u64,
    /// When, Unix seconds.
    pub issued: u32,
    /// The widget's site key, as a number.
    pub site: u64,
    /// The host of the page.
    pub host: String,
    /// The widget's `action`.
    pub action: String,
    /// The widget's `cData`.
    pub cdata: String,
}

/// Why a token does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TokenError {
    /// It is none of this zone's.
    #[error("this is no token of this site")]
    Invalid,
    /// It is past its time.
    #[error("the token is past its time")]
    Expired,
}

impl Token {
    /// The token's text; nothing where a part of it is too long.
    #[must_use]
    pub fn seal(&self, keys: &mut Keys) -> Option<String> {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&self.node.to_be_bytes());
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.issued.to_be_bytes());
        bytes.extend_from_slice(&self.site.to_be_bytes());
        for (text, bytes_max) in
            [(&self.host, HOST_BYTES_MAX), (&self.action, ACTION_BYTES_MAX), (&self.cdata, CDATA_BYTES_MAX)]
        {
            let length = u8::try_from(text.len()).ok().filter(|_| text.len() <= bytes_max)?;
            bytes.push(length);
            bytes.extend_from_slice(text.as_bytes());
        }
        Some(wire::seal(&keys.at(Purpose::Token, u64::from(self.issued)), bytes))
    }

    /// Reads a token of this zone. Whether it was used is the issuing node's to say.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn open(text: &str, keys: &mut Keys, now: u64) -> Result<Self, TokenError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| TokenError::Invalid)?;
        let mut read = Read(&bytes);
        let version = read.u8();
        let (node, number, issued, site) = (read.u32(), read.u64(), read.u32(), read.u64());
        let (since, until) = (u64::from(issued), u64::from(issued) + TOKEN_SECONDS + SKEW_SECONDS);
        if version != VERSION || since > now + SKEW_SECONDS {
            return Err(TokenError::Invalid);
        }
        if now > until {
            // Not verified: the key of that time is not made for it, and a forged one is as useless.
            return Err(TokenError::Expired);
        }
        if !wire::is_sealed(&keys.at(Purpose::Token, since), &bytes) {
            return Err(TokenError::Invalid);
        }
        let (host, action, cdata) = (text_of(&mut read)?, text_of(&mut read)?, text_of(&mut read)?);
        Ok(Self { node, number, issued, site, host, action, cdata })
    }
}

fn text_of(read: &mut Read<'_>) -> Result<String, TokenError> {
    let length = usize::from(read.u8());
    let (text, rest) = read.0.split_at_checked(length).ok_or(TokenError::Invalid)?;
    read.0 = rest;
    String::from_utf8(text.to_vec()).map_err(|_| TokenError::Invalid)
}
