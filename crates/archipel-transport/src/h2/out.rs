//! Bytes on their way to the socket: small ones are copied behind each other, large ones are shared with who has them.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use smallvec::SmallVec;
use tokio::io::AsyncWrite;

/// From this size on copying costs more than one more slice in a write.
const SHARED_BYTES_MIN: usize = 2048;
/// Slices of one write.
const SLICES_MAX: usize = 32;
/// What is allocated for small bytes at once.
const TAIL_BYTES: usize = 4096;

/// A queue of bytes. Unallocated while it is empty.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// What goes before `tail`.
    parts: VecDeque<Bytes>,
    parts_len: usize,
    tail: Vec<u8>,
    /// Bytes of `tail` that are written.
    written: usize,
}

impl Out {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.parts_len + self.tail.len() - self.written
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where small bytes are appended.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        if self.tail.capacity() == 0 {
            self.tail.reserve(TAIL_BYTES);
        }
        &mut self.tail
    }

    /// Appends `bytes`, without a copy where they are many.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.tail().extend_from_slice(&bytes);
            return;
        }
        if self.tail.len() > self.written {
            let before = Bytes::copy_from_slice(&self.tail[self.written..]);
            self.parts_len += before.len();
            self.parts.push_back(before);
        }
        self.tail.clear();
        self.written = 0;
        self.parts_len += bytes.len();
        self.parts.push_back(bytes);
    }

    /// Writes what the socket takes. Ready once nothing waits; `moved` says whether anything was written.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        io: &mut W,
        cx: &mut Context<'_>,
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let n = if self.parts.is_empty() {
                ready!(Pin::new(&mut *io).poll_write(cx, &self.tail[self.written..]))?
            } else {
                let mut slices = SmallVec::<[IoSlice<'_>; SLICES_MAX]>::new();
                slices.extend(self.parts.iter().take(SLICES_MAX - 1).map(|part| IoSlice::new(part)));
                if slices.len() == self.parts.len() {
                    slices.push(IoSlice::new(&self.tail[self.written..]));
                }
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, &slices))?
            };
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *moved = true;
            self.advance(n);
        }
        // An idle connection holds no buffer.
        self.tail = Vec::new();
        self.written = 0;
        Pin::new(io).poll_flush(cx)
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(front) = self.parts.front_mut() {
            let step = n.min(front.len());
            front.advance(step);
            self.parts_len -= step;
            n -= step;
            if !front.is_empty() {
                return;
            }
            self.parts.pop_front();
        }
        self.written += n;
        // A queue that is never empty would keep all that it ever held.
        if self.written >= TAIL_BYTES && self.written >= self.tail.len() / 2 {
            self.tail.drain(..self.written);
            self.written = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A socket that takes at most so many bytes a call.
    struct Narrow(Vec<u8>, usize);

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let n = buf.len().min(self.1);
            self.0.extend_from_slice(&buf[..n]);
            Poll::Ready(Ok(n))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn bytes_leave_in_order_whatever_the_socket_takes() {
        for take in [1, 7, 2048, 5000, 100_000] {
            let mut out = Out::default();
            let mut expected = Vec::new();
            let mut socket = Narrow(Vec::new(), take);
            for (i, length) in [3, 5000, 0, 10, 2048, 2047, 1, 9000].into_iter().enumerate() {
                let bytes = vec![i as u8; length];
                expected.extend_from_slice(&bytes);
                out.push(Bytes::from(bytes));
                out.tail().push(0xee);
                expected.push(0xee);
                assert_eq!(out.len(), expected.len() - socket.0.len());
                if i % 3 == 2 {
                    let mut moved = false;
                    let written = out.poll_write(&mut socket, &mut Context::from_waker(Waker::noop()), &mut moved);
                    assert!(matches!(written, Poll::Ready(Ok(()))) && moved);
                }
            }
            let mut moved = false;
            let _ = out.poll_write(&mut socket, &mut Context::from_waker(Waker::noop()), &mut moved);
            assert!(socket.0 == expected && out.is_empty(), "{take} bytes a call");
        }
    }

    /// A client that reads a little less than it is sent never sees the queue empty: what is written must go all the same.
    #[test]
    fn a_queue_that_is_never_empty_does_not_grow() {
        struct Once(usize);
        impl AsyncWrite for Once {
            fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
                match std::mem::take(&mut self.0).min(buf.len()) {
                    0 => Poll::Pending,
                    n => Poll::Ready(Ok(n)),
                }
            }
            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }
        }
        let mut out = Out::default();
        let (mut queued, mut taken) = (0u64, 0u64);
        for _ in 0..2000 {
            while out.len() < 64 * 1024 {
                out.tail().extend((queued..queued + 500).map(|i| i as u8));
                queued += 500;
            }
            let waited = out.len();
            let _ = out.poll_write(&mut Once(20_000), &mut Context::from_waker(Waker::noop()), &mut false);
            taken += (waited - out.len()) as u64;
            assert!(out.tail.capacity() <= 512 * 1024, "{} bytes are held for {}", out.tail.capacity(), out.len());
        }
        let expected: Vec<u8> = (taken..queued).map(|i| i as u8).collect();
        assert!(out.tail[out.written..] == expected, "bytes {taken} to {queued}");
    }
}
