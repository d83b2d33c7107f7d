//! A byte stream, plain or TLS. One enum instead of generics: the connection code is compiled once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A stream whose peer is a client or an origin.
pub enum Io {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS accepted from a client.
    TlsServer(Box<crate::tls::server::TlsStream<TcpStream>>),
    /// TLS to an origin.
    TlsClient(Box<crate::tls::client::TlsStream<TcpStream>>),
    /// Anything else (in-memory streams).
    Other(Box<dyn AnyStream>),
}

/// What `Io::Other` may hold.
pub trait AnyStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> AnyStream for T {}

macro_rules! each {
    ($self:expr, $io:ident => $e:expr) => {
        match $self {
            Io::Tcp($io) => $e,
            Io::TlsServer($io) => $e,
            Io::TlsClient($io) => $e,
            Io::Other($io) => $e,
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            // A socket has nothing to flush, and asking costs a virtual call on the hot path.
            Io::Tcp(_) => Poll::Ready(Ok(())),
            Io::TlsServer(io) => Pin::new(io).poll_flush(cx),
            Io::TlsClient(io) => Pin::new(io).poll_flush(cx),
            Io::Other(io) => Pin::new(io).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}
