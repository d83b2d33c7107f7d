//! A connection to an origin between two exchanges: whether it can carry another one.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

use crate::io::Io;
use crate::timer::LazyTimer;

/// An idle connection.
pub struct Http1Link {
    pub(crate) io: Io,
    pub(crate) timer: LazyTimer,
    /// When it was opened.
    pub opened: Instant,
    /// When it was opened, or taken for another exchange, where somebody looked at the clock then: the exchange's time limit
    /// counts from there.
    pub taken: Option<Instant>,
    /// Exchanges it has carried.
    pub exchanges: u32,
}

impl Http1Link {
    /// A new connection.
    pub fn new(io: Io) -> Self {
        let now = Instant::now();
        Self { io, timer: LazyTimer::default(), opened: now, taken: Some(now), exchanges: 0 }
    }

    /// What the origin did with the connection while nobody asked it anything.
    ///
    /// The kernel is asked, not the runtime, which may not have heard yet: bytes that an origin sent beyond the length
    /// that it had told would be read as the reply to the next request, which is another client's.
    pub fn idle_state(&mut self) -> IdleState {
        if let Io::Tcp(stream) = &self.io {
            let mut byte = [0u8; 1];
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            return match rustix::net::recv(stream, &mut byte, flags) {
                Err(Errno::WOULDBLOCK) => IdleState::Silent,
                Ok((0, _)) | Err(_) => IdleState::Closed,
                Ok(_) => IdleState::Spoke,
            };
        }
        let mut byte = [0u8; 1];
        let mut buf = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.io).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf) {
            Poll::Pending => IdleState::Silent,
            Poll::Ready(Ok(())) if !buf.filled().is_empty() => IdleState::Spoke,
            Poll::Ready(_) => IdleState::Closed,
        }
    }
}

/// What an origin did with an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleState {
    /// Nothing: it can carry another request.
    Silent,
    /// Closed it, as origins may at any time.
    Closed,
    /// Sent bytes that nobody asked for.
    Spoke,
}
