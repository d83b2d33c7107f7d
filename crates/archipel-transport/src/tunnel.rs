//! Two byte streams joined after an upgrade (RFC 9110 section 7.8, RFC 8441), with an idle limit and half-close.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::timer::LazyTimer;

/// Bytes in flight in each direction.
const PUMP_BYTES: usize = 16 * 1024;

/// A bidirectional byte stream.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream with bytes in front that were read too early.
pub struct Rewound<T> {
    front: Bytes,
    io: T,
    _held: Option<std::sync::Arc<dyn crate::origin::Recycle>>,
}

impl<T> Rewound<T> {
    /// Puts `front` before what `io` will read.
    pub fn new(front: Bytes, io: T) -> Self {
        Self { front, io, _held: None }
    }

    /// Keeps `place` for as long as the stream lives.
    pub(crate) fn holding(mut self, place: std::sync::Arc<dyn crate::origin::Recycle>) -> Self {
        self._held = Some(place);
        self
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Rewound<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.front.has_remaining() {
            let n = this.front.len().min(buf.remaining());
            buf.put_slice(&this.front.split_to(n));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Rewound<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

/// One direction.
struct Pump {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    eof: bool,
    finished: bool,
    total: u64,
}

impl Pump {
    fn new() -> Self {
        Self { buffer: vec![0; PUMP_BYTES].into_boxed_slice(), start: 0, end: 0, eof: false, finished: false, total: 0 }
    }

    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin + ?Sized,
        W: AsyncWrite + Unpin + ?Sized,
    {
        while !self.finished {
            if self.start < self.end {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.buffer[self.start..self.end]))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.start += n;
                self.total += n as u64;
            } else if self.eof {
                ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                self.finished = true;
            } else {
                self.start = 0;
                self.end = 0;
                let mut buf = ReadBuf::new(&mut self.buffer);
                match Pin::new(&mut *from).poll_read(cx, &mut buf) {
                    Poll::Ready(read) => {
                        read?;
                        self.end = buf.filled().len();
                        self.eof = self.end == 0;
                    }
                    Poll::Pending => {
                        ready!(Pin::new(&mut *to).poll_flush(cx))?;
                        return Poll::Pending;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// Joins `client` and `origin` until both have closed, one fails, or nothing moves for `idle`.
/// Returns bytes sent to the client.
pub async fn join<C: Duplex + ?Sized, O: Duplex + ?Sized>(client: &mut C, origin: &mut O, idle: Duration) -> u64 {
    let (mut up, mut down) = (Pump::new(), Pump::new());
    let mut timer = LazyTimer::default();
    timer.set(Instant::now() + idle);
    std::future::poll_fn(|cx| {
        let before = up.total + down.total;
        let a = up.poll(cx, client, origin);
        let b = down.poll(cx, origin, client);
        match (&a, &b) {
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
            _ => {}
        }
        if up.total + down.total != before {
            timer.set(Instant::now() + idle);
        }
        timer.poll_expired(cx)
    })
    .await;
    down.total
}
