//! Counts the frames that a client may send for nothing. The `h2` crate answers each SETTINGS and PING it gets; a flood
//! of them costs the sender less than us (CVE-2019-9512, -9515, -9518 and kin), so the byte stream is watched below it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::env::Http2Limits;

const PREFACE_BYTES: usize = 24;
const FRAME_HEADER_BYTES: usize = 9;
/// Window in which control frames are counted.
const CONTROL_WINDOW: Duration = Duration::from_secs(10);
/// Window in which resets are counted.
const RESET_WINDOW: Duration = Duration::from_secs(30);

/// Whether the connection flooded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<AtomicBool>);

impl Verdict {
    pub(crate) fn flooded(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Events in a fixed window.
#[derive(Debug)]
struct Meter {
    count: u32,
    max: u32,
    window: Duration,
    since: Option<Instant>,
}

impl Meter {
    fn new(max: u32, window: Duration) -> Self {
        Self { count: 0, max, window, since: None }
    }

    fn over(&mut self) -> bool {
        self.count += 1;
        // The clock is read once a window, not for each frame.
        if self.count > self.max {
            let now = Instant::now();
            match self.since {
                Some(since) if now.duration_since(since) < self.window => return true,
                _ => {
                    self.since = Some(now);
                    self.count = 1;
                }
            }
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        false
    }
}

/// Follows frame boundaries through the bytes of a connection.
#[derive(Debug)]
pub(crate) struct FrameMeter {
    skip: usize,
    header: [u8; FRAME_HEADER_BYTES],
    have: usize,
    control: Meter,
    resets: Meter,
}

impl FrameMeter {
    pub(crate) fn new(limits: &Http2Limits) -> Self {
        Self {
            skip: PREFACE_BYTES,
            header: [0; FRAME_HEADER_BYTES],
            have: 0,
            control: Meter::new(limits.control_frames_max, CONTROL_WINDOW),
            resets: Meter::new(limits.resets_max, RESET_WINDOW),
        }
    }

    /// Looks at the next bytes. True: a limit is passed.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut over = false;
        while !bytes.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(bytes.len());
                self.skip -= n;
                bytes = &bytes[n..];
                continue;
            }
            let n = (FRAME_HEADER_BYTES - self.have).min(bytes.len());
            self.header[self.have..self.have + n].copy_from_slice(&bytes[..n]);
            self.have += n;
            bytes = &bytes[n..];
            if self.have == FRAME_HEADER_BYTES {
                self.have = 0;
                over |= self.frame();
            }
        }
        over
    }

    fn frame(&mut self) -> bool {
        let [a, b, c, kind, flags, ..] = self.header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = length;
        const END_STREAM: u8 = 1;
        match kind {
            // Empty DATA without END_STREAM, PRIORITY, SETTINGS, PING, PRIORITY_UPDATE, and what no RFC defines.
            0x0 if length == 0 && flags & END_STREAM == 0 => self.control.over(),
            0x2 | 0x4 | 0x6 => self.control.over(),
            0x3 => self.resets.over(),
            0xa.. => self.control.over(),
            _ => false,
        }
    }
}

/// A byte stream whose incoming frames are metered.
pub(crate) struct Guarded<T> {
    io: T,
    meter: FrameMeter,
    verdict: Verdict,
}

impl<T> Guarded<T> {
    pub(crate) fn new(io: T, limits: &Http2Limits) -> (Self, Verdict) {
        let verdict = Verdict::default();
        (Self { io, meter: FrameMeter::new(limits), verdict: verdict.clone() }, verdict)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
        if this.meter.feed(&buf.filled()[before..]) {
            this.verdict.0.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Http2Limits {
        Http2Limits { streams_max: 10, header_list_bytes_max: 1024, resets_max: 5, control_frames_max: 8 }
    }

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, 1];
        bytes.resize(9 + payload, 0xff);
        bytes
    }

    /// Feeds the preface and `frames`, in pieces of `piece` bytes; whether it was called a flood.
    fn check(frames: &[Vec<u8>], piece: usize) -> bool {
        let mut meter = FrameMeter::new(&limits());
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frames.concat());
        bytes.chunks(piece).fold(false, |over, part| over | meter.feed(part))
    }

    #[test]
    fn floods_are_seen_whatever_the_reads() {
        for piece in [1, 2, 7, 9, 64, 10_000] {
            assert!(!check(&vec![frame(6, 0, 8); 8], piece), "8 PINGs are allowed, piece {piece}");
            assert!(check(&vec![frame(6, 0, 8); 9], piece), "9 PINGs are a flood, piece {piece}");
            assert!(check(&vec![frame(4, 0, 6); 9], piece), "SETTINGS, piece {piece}");
            assert!(check(&vec![frame(0, 0, 0); 9], piece), "empty DATA, piece {piece}");
            assert!(check(&vec![frame(3, 0, 4); 6], piece), "resets, piece {piece}");
            assert!(!check(&vec![frame(0, 0, 900); 50], piece), "DATA with payload, piece {piece}");
            assert!(!check(&vec![frame(1, 5, 30); 50], piece), "requests, piece {piece}");
        }
    }
}
