//! TLS towards clients and towards origins, and what a client's first message says about it.
//!
//! - [`client_hello`] and [`ja4`]: pure parsing and fingerprinting, no input/output.
//! - [`certificates`]: certificate files to a table by name, with every problem named.
//! - [`server`]: accepting connections; the table can be replaced while running.
//! - [`development_ca`]: a local certificate authority for a machine without certificates.
//! - [`client`]: connecting to origins, verified unless asked otherwise ([`dangerous`]).
//!
//! Must never: log or return key material, weaken verification by itself, ask for certificates
//! over the network (no ACME here), or know about zones beyond their names.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;

pub mod certificates;
pub mod client;
pub mod client_hello;
pub mod dangerous;
pub mod development_ca;
pub mod ja4;
pub mod names;
pub mod replay;
pub mod server;

#[cfg(test)]
mod test_support;

/// The protocol agreed on by ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alpn {
    /// `http/1.1`.
    H1,
    /// `h2`.
    H2,
    /// The peer offered or chose nothing: HTTP/1.1 is assumed (RFC 9112 has no other rule).
    None,
}

impl Alpn {
    fn from_wire(protocol: Option<&[u8]>) -> Self {
        match protocol {
            Some(b"h2") => Self::H2,
            Some(b"http/1.1") => Self::H1,
            _ => Self::None,
        }
    }
}

/// The one cryptography provider of the program: AWS-LC, with X25519MLKEM768 as the first key
/// exchange. Passed explicitly everywhere, never installed as the process default.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    &PROVIDER
}
