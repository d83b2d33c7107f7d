//! The kernel's part: an nftables table of our own, whose sets say whose packets are dropped before they cost anything.
//!
//! Owns the table's content and the netlink socket that it hangs on. Must never decide who goes into it, or touch anything of
//! another table.
//!
//! ```text
//! table inet archipel {                                    # flags owner: it goes with the process, however that ends
//!   set exempt4, exempt6     { flags interval }            # who is never dropped
//!   set blocked4, blocked6   { flags interval }            # the operator's lists
//!   set offenders4           { flags timeout }             # single addresses
//!   set offenders6           { flags timeout }             # /64s
//!   counter blocked, offenders
//!   chain input { type filter hook input priority raw; policy accept
//!     ip daddr LISTENER tcp dport PORT jump judge          # one a listener
//!   }
//!   chain judge { exempt: return; blocked, offenders: count and drop }
//! }
//! ```

mod netlink;
mod socket;
mod table;
#[cfg(test)]
mod tests;
mod words;

pub use socket::KernelError;
pub use table::{Dropped, KernelTable, Lists, Ranges, TABLE_NAME_BYTES_MAX};
