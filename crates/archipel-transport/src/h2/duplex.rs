//! A stream of an origin's connection as a byte stream: the origin's end of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// An HTTP/2 stream as a byte stream.
pub(crate) struct H2Duplex {
    send: SendStream<Bytes>,
    recv: RecvStream,
    front: Bytes,
}

impl H2Duplex {
    pub(crate) fn new(send: SendStream<Bytes>, recv: RecvStream) -> Self {
        Self { send, recv, front: Bytes::new() }
    }
}

impl AsyncRead for H2Duplex {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.front.is_empty() {
            match ready!(this.recv.poll_data(cx)) {
                Some(Ok(data)) => this.front = data,
                Some(Err(_)) => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = this.front.len().min(buf.remaining());
        buf.put_slice(&this.front[..n]);
        this.front.advance(n);
        let _ = this.recv.flow_control().release_capacity(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for H2Duplex {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let gone = || io::Error::from(io::ErrorKind::ConnectionReset);
        this.send.reserve_capacity(buf.len());
        let n = match this.send.capacity() {
            0 => ready!(this.send.poll_capacity(cx)).ok_or_else(gone)?.map_err(|_| gone())?,
            n => n,
        };
        let n = n.min(buf.len());
        this.send.send_data(Bytes::copy_from_slice(&buf[..n]), false).map_err(|_| gone())?;
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.get_mut().send.send_data(Bytes::new(), true);
        Poll::Ready(Ok(()))
    }
}
