//! The raw HTTP/2 client: writes any frame, reads frames strictly, keeps what arrived by stream.
//!
//! It acknowledges SETTINGS and PING by itself while reading and opens its windows wide unless told otherwise.
//! It must never refuse to send something illegal.

use std::collections::{HashMap, VecDeque};

use anyhow::{Context as _, bail, ensure};

use crate::hpack::{Fields, decode, encode};
use crate::wire::{End, Target, Wire};

/// The client connection preface (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113 section 6).
pub mod kind {
    #![allow(missing_docs, reason = "the names are those of the standard")]
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// END_STREAM, and ACK on SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// One frame.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Type.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Stream.
    pub stream: u32,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        frame(self.kind, self.flags, self.stream, &self.payload)
    }
}

/// Bytes of a frame; the length is that of the payload.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 + payload.len());
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
    out
}

/// Bytes of a SETTINGS frame.
pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> =
        pairs.iter().flat_map(|(k, v)| [&k.to_be_bytes()[..], &v.to_be_bytes()[..]].concat()).collect();
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// What arrived on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A field section; interim, final or trailers.
    Headers {
        /// The fields.
        fields: Fields,
        /// Whether the stream ends here.
        end: bool,
    },
    /// Body bytes.
    Data {
        /// The bytes.
        bytes: Vec<u8>,
        /// Whether the stream ends here.
        end: bool,
    },
    /// RST_STREAM with its error code.
    Reset(u32),
    /// The connection is over; with the error code of its GOAWAY, if there was one.
    Gone(Option<u32>),
}

/// A response head.
#[derive(Debug, Clone, Default)]
pub struct Head2 {
    /// Status.
    pub status: u16,
    /// Fields without pseudo fields.
    pub fields: Fields,
    /// Whether the stream ended with the head.
    pub end: bool,
}

/// Why no response came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// RST_STREAM.
    Reset(u32),
    /// GOAWAY or end of the connection.
    Gone(Option<u32>),
}

/// One HTTP/2 connection.
pub struct RawH2 {
    /// The stream, for exact work.
    pub wire: Wire,
    streams: HashMap<u32, VecDeque<Event>>,
    ended: HashMap<u32, bool>,
    /// GOAWAY's last stream and error code.
    pub goaway: Option<(u32, u32)>,
    /// The peer's settings.
    pub peer: HashMap<u16, u32>,
    /// Frames read so far, by type.
    pub counts: HashMap<u8, usize>,
    /// Whether SETTINGS and PING are acknowledged.
    pub acknowledges: bool,
    next_stream: u32,
}

impl RawH2 {
    /// Connects, with an open window.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        let mut h2 =
            Self::connect_with(target, &[(1, 0), (2, 0), (4, 0x7fff_ffff), (5, 1 << 20), (6, 1 << 20)]).await?;
        h2.send(&frame(kind::WINDOW_UPDATE, 0, 0, &(0x7fff_ffffu32 - 65_535).to_be_bytes())).await;
        Ok(h2)
    }

    /// Connects with exactly these settings.
    pub async fn connect_with(target: &Target, pairs: &[(u16, u32)]) -> anyhow::Result<Self> {
        let mut h2 = Self {
            wire: Wire::connect(target).await?,
            streams: HashMap::new(),
            ended: HashMap::new(),
            goaway: None,
            peer: HashMap::new(),
            counts: HashMap::new(),
            acknowledges: true,
            next_stream: 1,
        };
        h2.send(&[PREFACE, &settings(pairs)].concat()).await;
        Ok(h2)
    }

    /// Sends exactly these bytes; a peer that is gone already is not an error. False where it is known to be gone.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.wire.send(bytes).await.is_ok()
    }

    /// Sends a request head on the next stream and returns its number.
    pub async fn send_head<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)], end: bool) -> u32 {
        let stream = self.next_stream;
        self.next_stream += 2;
        self.send_headers(stream, fields, end).await;
        stream
    }

    /// Sends a field section on a stream: a request head or trailers.
    pub async fn send_headers<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, stream: u32, fields: &[(N, V)], end: bool) {
        let block = encode(fields);
        let mut out = Vec::new();
        // Larger blocks continue in CONTINUATION frames: 16,384 is the frame size every peer accepts.
        let mut pieces = block.chunks(16_384).peekable();
        let mut first = true;
        while let Some(piece) = pieces.next() {
            let flags =
                if pieces.peek().is_none() { END_HEADERS } else { 0 } | if first && end { END_STREAM } else { 0 };
            out.extend(frame(if first { kind::HEADERS } else { kind::CONTINUATION }, flags, stream, piece));
            first = false;
        }
        self.send(&out).await;
    }

    /// Sends body bytes.
    pub async fn send_data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        let mut out = Vec::new();
        let mut pieces = bytes.chunks(16_384).peekable();
        if bytes.is_empty() {
            out = frame(kind::DATA, u8::from(end), stream, b"");
        }
        while let Some(piece) = pieces.next() {
            out.extend(frame(kind::DATA, u8::from(end && pieces.peek().is_none()), stream, piece));
        }
        self.send(&out).await;
    }

    /// A GET's head.
    pub fn get(host: &str, path: &str) -> Fields {
        [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", path)]
            .map(|(n, v)| (n.to_owned(), v.to_owned()))
            .to_vec()
    }

    /// Reads one frame and books it; false at the end of the connection.
    pub async fn read_frame(&mut self) -> anyhow::Result<bool> {
        let Some(mut frame) = self.take_frame().await? else {
            return Ok(false);
        };
        if frame.kind == kind::HEADERS {
            ensure!(frame.flags & 0x28 == 0, "padded or prioritised HEADERS from a server");
            while frame.flags & END_HEADERS == 0 {
                let more = self.take_frame().await?.context("the connection ended within a header block")?;
                ensure!(
                    more.kind == kind::CONTINUATION && more.stream == frame.stream,
                    "a header block was interrupted"
                );
                frame.payload.extend(more.payload);
                frame.flags |= more.flags & END_HEADERS;
            }
        }
        self.book(frame).await?;
        Ok(true)
    }

    async fn take_frame(&mut self) -> anyhow::Result<Option<Frame>> {
        let Some(head) = self.wire.take(9).await? else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let Some(payload) = self.wire.take(length).await? else {
            return Ok(None);
        };
        *self.counts.entry(head[3]).or_default() += 1;
        Ok(Some(Frame { kind: head[3], flags: head[4], stream, payload }))
    }

    async fn book(&mut self, frame: Frame) -> anyhow::Result<()> {
        let end = frame.flags & END_STREAM != 0;
        let word = |at: usize| {
            frame
                .payload
                .get(at..at + 4)
                .and_then(|b| b.try_into().ok())
                .map(u32::from_be_bytes)
                .context("a short frame")
        };
        let event = match frame.kind {
            kind::HEADERS => Event::Headers { fields: decode(&frame.payload)?, end },
            kind::DATA => {
                ensure!(frame.flags & 8 == 0, "padded DATA from a server");
                Event::Data { bytes: frame.payload.clone(), end }
            }
            kind::RST_STREAM => Event::Reset(word(0)?),
            kind::GOAWAY => {
                self.goaway = Some((word(0)?, word(4)?));
                return Ok(());
            }
            kind::SETTINGS if frame.flags & END_STREAM == 0 => {
                for pair in frame.payload.chunks_exact(6) {
                    self.peer.insert(
                        u16::from_be_bytes([pair[0], pair[1]]),
                        u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]),
                    );
                }
                return self.acknowledge(kind::SETTINGS, &[]).await;
            }
            kind::PING if frame.flags & END_STREAM == 0 => {
                return self.acknowledge(kind::PING, &frame.payload).await;
            }
            _ => return Ok(()),
        };
        if self.ended.get(&frame.stream).copied().unwrap_or(false) {
            // Only a reset may follow the end of a stream (RFC 9113 section 8.1).
            ensure!(matches!(event, Event::Reset(_)), "{event:?} on stream {} after its end", frame.stream);
            return Ok(());
        }
        self.ended.insert(frame.stream, end && frame.kind != kind::RST_STREAM);
        self.streams.entry(frame.stream).or_default().push_back(event);
        Ok(())
    }

    async fn acknowledge(&mut self, kind: u8, payload: &[u8]) -> anyhow::Result<()> {
        if self.acknowledges {
            self.send(&frame(kind, END_STREAM, 0, payload)).await;
        }
        Ok(())
    }

    /// The next event of a stream.
    pub async fn event(&mut self, stream: u32) -> anyhow::Result<Event> {
        loop {
            if let Some(event) = self.streams.get_mut(&stream).and_then(VecDeque::pop_front) {
                return Ok(event);
            }
            if !self.read_frame().await? {
                return Ok(Event::Gone(self.goaway.map(|(_, code)| code)));
            }
            if let Some((last, code)) = self.goaway
                && stream > last
            {
                return Ok(Event::Gone(Some(code)));
            }
        }
    }

    /// The next response head of a stream, interim or final.
    pub async fn read_head(&mut self, stream: u32) -> anyhow::Result<Result<Head2, Refusal>> {
        match self.event(stream).await? {
            Event::Headers { fields, end } => {
                let (pseudo, rest): (Fields, Fields) = fields.into_iter().partition(|(n, _)| n.starts_with(':'));
                ensure!(pseudo.len() == 1 && pseudo[0].0 == ":status", "pseudo fields {pseudo:?}");
                ensure!(rest.iter().all(|(n, _)| !n.bytes().any(|b| b.is_ascii_uppercase())), "upper case in {rest:?}");
                for banned in ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"] {
                    ensure!(rest.iter().all(|(n, _)| n != banned), "{banned} in an HTTP/2 response");
                }
                Ok(Ok(Head2 { status: pseudo[0].1.parse()?, fields: rest, end }))
            }
            Event::Reset(code) => Ok(Err(Refusal::Reset(code))),
            Event::Gone(code) => Ok(Err(Refusal::Gone(code))),
            Event::Data { .. } => bail!("DATA before a response head on stream {stream}"),
        }
    }

    /// Reads the rest of a body: bytes, trailers, and how it was cut if it was.
    pub async fn read_rest(&mut self, stream: u32) -> anyhow::Result<(Vec<u8>, Fields, Option<Refusal>)> {
        let mut body = Vec::new();
        loop {
            match self.event(stream).await? {
                Event::Data { bytes, end } => {
                    body.extend(bytes);
                    if end {
                        return Ok((body, Fields::new(), None));
                    }
                }
                Event::Headers { fields, end } => {
                    ensure!(end, "trailers that do not end the stream");
                    return Ok((body, fields, None));
                }
                Event::Reset(code) => return Ok((body, Fields::new(), Some(Refusal::Reset(code)))),
                Event::Gone(code) => return Ok((body, Fields::new(), Some(Refusal::Gone(code)))),
            }
        }
    }

    /// Reads exactly `count` body bytes; what came beyond stays for later.
    pub async fn read_part(&mut self, stream: u32, count: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        while body.len() < count {
            match self.event(stream).await? {
                Event::Data { mut bytes, end } => {
                    let rest = bytes.split_off(bytes.len().min(count - body.len()));
                    body.extend(bytes);
                    if !rest.is_empty() || end {
                        self.streams.entry(stream).or_default().push_front(Event::Data { bytes: rest, end });
                    }
                    ensure!(!end || body.len() == count, "the body ended after {} bytes", body.len());
                }
                other => bail!("{other:?} after {} of {count} body bytes", body.len()),
            }
        }
        Ok(body)
    }

    /// Sends a GET and reads its final response: status, fields and body.
    pub async fn ask(&mut self, fields: &[(String, String)]) -> anyhow::Result<(Head2, Vec<u8>)> {
        let stream = self.send_head(fields, true).await;
        loop {
            let head = match self.read_head(stream).await? {
                Ok(head) => head,
                Err(refusal) => bail!("stream {stream} was refused: {refusal:?}"),
            };
            if head.status >= 200 {
                let body = if head.end { Vec::new() } else { self.read_rest(stream).await?.0 };
                return Ok((head, body));
            }
        }
    }

    /// Reads frames until the connection ends; how it ended. GOAWAY stays in `goaway`.
    pub async fn read_to_end(&mut self) -> anyhow::Result<End> {
        while self.read_frame().await? {}
        Ok(self.wire.end.unwrap_or(End::Closed))
    }
}
