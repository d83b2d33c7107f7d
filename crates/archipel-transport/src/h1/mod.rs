//! HTTP/1.0 and HTTP/1.1 (RFC 9112), both directions. Framing is strict: what two parsers could read in two ways is refused.
//! Owns bytes on the wire; decides nothing about what a request means.

pub mod chunked;
pub mod client;
pub(crate) mod conn;
pub mod encode;
pub mod head;
pub mod link;
pub(crate) mod scratch;
pub(crate) mod send;
pub mod server;
