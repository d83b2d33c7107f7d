//! HTTP/2 (RFC 9113), both directions, on the `h2` crate, with the bounds that it leaves open.

pub mod client;
pub(crate) mod guard;
pub(crate) mod send;
pub mod server;
