//! The netlink socket to nf_tables. The kernel answers while a message is being sent, so nothing here waits.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::set_socket_send_buffer_size_force;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

use super::netlink::{Batch, Said, said};

/// Bytes that a batch may have: the largest lists of an operator, with room.
const SEND_BYTES_MAX: usize = 64 << 20;
/// Bytes of one of the kernel's answers.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;

/// Why the kernel drops nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// `CAP_NET_ADMIN` is missing.
    #[error(
        "the process may not change packet filters: it needs CAP_NET_ADMIN (in a unit file: AmbientCapabilities=CAP_NET_ADMIN)"
    )]
    NotAllowed,
    /// There is no nf_tables, or it must not be spoken to.
    #[error(
        "the kernel's nf_tables cannot be reached: it is not built in or its module is missing, or the process may open no netlink socket (in a unit file: RestrictAddressFamilies=AF_NETLINK ...)"
    )]
    Absent,
    /// Another process owns the table.
    #[error(
        "another process (netlink port {owner}) owns the table: give this node another `shield.kernel.table`, or stop that one"
    )]
    Owned {
        /// Its netlink port, which is mostly its process id.
        owner: u32,
    },
    /// Something else.
    #[error("the kernel refused a change of its packet filter: {0}")]
    Refused(Errno),
}

impl From<Errno> for KernelError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Self::NotAllowed,
            Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP => Self::Absent,
            other => Self::Refused(other),
        }
    }
}

/// A socket, and the number of the next message.
pub(super) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(super) fn open() -> Result<Self, KernelError> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        // Connected to the kernel, it takes nothing from other processes.
        connect(&fd, &SocketAddrNetlink::new(0, 0))?;
        // Without CAP_NET_ADMIN this fails, and so does the first batch, which says so.
        let _ = set_socket_send_buffer_size_force(&fd, SEND_BYTES_MAX);
        Ok(Self { fd, sequence: 1 })
    }

    /// A batch to fill.
    pub(super) fn batch(&self) -> Batch {
        Batch::new(self.sequence)
    }

    /// Puts a batch in force.
    pub(super) fn commit(&mut self, batch: Batch) -> Result<(), Errno> {
        if batch.is_empty() {
            return Ok(());
        }
        let sealed = batch.seal();
        self.sequence = sealed.last.wrapping_add(2);
        let mut acknowledged = false;
        let mut failed = None;
        self.exchange(&sealed.bytes, |said| match said {
            Said::Result(_, Err(errno)) => drop(failed.get_or_insert(errno)),
            Said::Result(sequence, Ok(())) => acknowledged |= sequence == sealed.last,
            Said::Answer(..) => {}
        })?;
        match failed {
            Some(errno) => Err(errno),
            None if acknowledged => Ok(()),
            None => Err(Errno::PROTO),
        }
    }

    /// Asks a question; `None` where what it is about does not exist.
    pub(super) fn ask<T>(
        &mut self,
        question: impl FnOnce(u32) -> Vec<u8>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, Errno> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        let mut answer = Ok(None);
        self.exchange(&question(sequence), |said| match said {
            Said::Answer(of, attributes) if of == sequence => answer = Ok(read(attributes)),
            Said::Result(of, Err(Errno::NOENT)) if of == sequence => {}
            Said::Result(of, Err(errno)) if of == sequence => answer = Err(errno),
            _ => {}
        })?;
        answer
    }

    fn exchange(&self, bytes: &[u8], mut hear: impl FnMut(Said<'_>)) -> Result<(), Errno> {
        while let Err(errno) = send(&self.fd, bytes, SendFlags::empty()) {
            if errno != Errno::INTR {
                return Err(errno);
            }
        }
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match recv(&self.fd, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok((len, _)) => said(&buffer[..len]).for_each(&mut hear),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}
