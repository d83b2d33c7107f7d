//! A stream that first gives back bytes that were already read from it.
//!
//! Must never: hold the bytes longer than needed (an idle connection keeps no buffer here).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// `io` with some bytes put back in front of what it will deliver.
#[derive(Debug)]
pub struct Replay<T> {
    front: Bytes,
    io: T,
}

impl<T> Replay<T> {
    /// Puts `front` before everything that `io` still delivers.
    pub fn new(front: Bytes, io: T) -> Self {
        Self { front, io }
    }

    /// The stream below, for its addresses and socket options.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The bytes not yet read again, and the stream below.
    pub fn into_parts(self) -> (Bytes, T) {
        (self.front, self.io)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Replay<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.front.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let count = this.front.len().min(buf.remaining());
        buf.put_slice(this.front.get(..count).unwrap_or_default());
        this.front.advance(count);
        if this.front.is_empty() {
            // An empty slice of a shared buffer would keep the buffer alive.
            this.front = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Replay<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
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
