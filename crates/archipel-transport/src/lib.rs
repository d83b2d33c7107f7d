//! Bytes to requests and replies to bytes: accepting connections, the PROXY protocol, TLS and its fingerprints,
//! HTTP/1.1 and HTTP/2 towards clients and towards origins.
//!
//! Owns every socket of the data plane, every limit on what a peer may send, and framing. The only crate that may name
//! `h2` and `rustls`. Must never decide what a request means: no zones, no cache, no policy; it asks a
//! [`message::Handler`].

pub mod body;
pub mod conn;
pub mod date;
pub mod env;
mod frozen;
pub mod h1;
pub mod h2;
pub mod interim;
pub mod io;
pub mod listen;
pub mod message;
pub mod origin;
pub mod proxy_protocol;
pub mod received;
pub mod refusal;
mod timer;
pub mod tls;
pub mod tunnel;
