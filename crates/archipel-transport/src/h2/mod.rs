//! HTTP/2 (RFC 9113). Towards clients it is an engine of our own, towards origins the `h2` crate.
//!
//! - `frame`, `hpack`, `huffman`, `control`: bytes to frames and field sections;
//! - `request`: field sections to requests; `encode`: replies to field sections;
//! - `conn`, `streams`: the state of a connection, without a socket; `stream`: a stream as its task sees it;
//! - `server`: the task of a connection; `send`: the delivery of a reply; `out`: what waits for the socket;
//! - `guard`: floods; `replay`: a connection without a socket, for the fuzz target;
//! - `client`, `duplex`: origins.

pub mod client;
pub(crate) mod conn;
mod control;
mod duplex;
pub(crate) mod encode;
mod frame;
mod guard;
mod hpack;
mod huffman;
mod out;
pub mod replay;
mod request;
mod send;
pub mod server;
pub(crate) mod stream;
mod streams;
