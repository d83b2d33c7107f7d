//! Skeleton.
pub mod proxy_protocol;
pub mod tls;
