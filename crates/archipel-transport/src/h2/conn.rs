//! The state of one HTTP/2 connection from a client (RFC 9113): frames in, bytes out. Its task feeds it what arrives and
//! writes what it queues; the streams' tasks read and write their parts of it. Only one thread does either: the lock is
//! for the borrow checker and never contended.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use super::frame::{self, Code, Fault, HEAD_BYTES, Head, PAYLOAD_BYTES_MAX, PREFACE, flag, kind};
use super::guard::Meter;
use super::hpack::Decoder;
use super::out::Out;
use super::request::{RequestHead, Section};
use super::streams::{Key, Reset, Stream, Streams};
use crate::env::Http2Limits;

/// Bytes that a client may send on one stream before they are read.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes that a client may send on all streams before they are read.
const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Bytes queued for the socket from which on no more frames are taken in, and no more body is queued.
const OUT_BYTES_MAX: usize = 64 * 1024;
/// CONTINUATION frames of one field section beyond those that it takes to fill the largest allowed.
const CONTINUATIONS_SPARE: usize = 16;
/// The PING that tells when the client has heard of a GOAWAY.
const GOING: &[u8; 8] = b"archipel";

/// A connection's state, shared between its task and those of its streams.
pub struct Shared(Mutex<Inner>);

impl Shared {
    pub(crate) fn new(limits: Http2Limits) -> Self {
        Self(Mutex::new(Inner::new(limits)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while it was held ends the connection: the state is only dropped after that.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A field section whose END_HEADERS has not come yet.
struct Unfinished {
    head: Head,
    depends_on_itself: bool,
    block: Vec<u8>,
    continuations: usize,
}

/// How far the end of the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Going {
    No,
    /// The client is told to open no more streams; those that are on their way are still served.
    Told,
    /// Streams that are opened after this one are not served.
    Last(u32),
}

/// A request that has arrived.
pub(crate) struct Opened {
    pub(crate) key: Key,
    pub(crate) head: RequestHead,
    /// The client has not ended the stream with its head.
    pub(crate) has_body: bool,
}

pub(crate) struct Inner {
    pub(crate) limits: Http2Limits,
    pub(crate) out: Out,
    /// Bytes of the preface that have come.
    preface: usize,
    /// The client's first SETTINGS frame has come.
    greeted: bool,
    decoder: Decoder,
    unfinished: Option<Unfinished>,
    pub(crate) control: Meter,
    pub(crate) resets: Meter,
    pub(crate) streams: Streams,
    /// Streams that wait for the connection's window, or for room in `out`.
    pub(super) waiting: VecDeque<Key>,
    /// How many of them, at the front, were sent nothing when they were last woken.
    pub(super) unserved: usize,
    /// Bytes of bodies that were queued: whether the connection moves.
    pub(super) body_bytes: u64,
    last_id: u32,
    recv_window: i64,
    recv_owed: u32,
    pub(super) send_window: i64,
    /// The send window of a new stream.
    first_window: i64,
    pub(super) frame_bytes_max: usize,
    /// The first field section has been written.
    pub(super) section_sent: bool,
    going: Going,
    /// The client goes: it opens no more streams.
    pub(crate) client_goes: bool,
    /// The connection ends with this error; GOAWAY is queued.
    pub(crate) failed: Option<Code>,
    /// Something changed that the connection's task has not seen.
    pub(crate) changed: bool,
    /// The connection's task is running.
    pub(crate) in_task: bool,
    pub(crate) task: Option<Waker>,
}

impl Inner {
    fn new(limits: Http2Limits) -> Self {
        let mut out = Out::default();
        let settings = [
            (frame::setting::STREAMS_MAX, limits.streams_max),
            (frame::setting::INITIAL_WINDOW, STREAM_WINDOW_BYTES),
            // Twice our own limit: what is a little over gets a recorded 431, what is far over ends the connection.
            (frame::setting::HEADER_LIST_BYTES_MAX, limits.header_list_bytes_max.saturating_mul(2)),
            (frame::setting::ENABLE_CONNECT_PROTOCOL, 1),
        ];
        frame::write_settings(out.tail(), &settings);
        frame::write_window(out.tail(), 0, CONNECTION_WINDOW_BYTES - frame::WINDOW_FIRST as u32);
        Self {
            limits,
            out,
            preface: 0,
            greeted: false,
            decoder: Decoder::default(),
            unfinished: None,
            control: Meter::control(&limits),
            resets: Meter::resets(&limits),
            streams: Streams::default(),
            waiting: VecDeque::new(),
            unserved: 0,
            body_bytes: 0,
            last_id: 0,
            recv_window: CONNECTION_WINDOW_BYTES.into(),
            recv_owed: 0,
            send_window: frame::WINDOW_FIRST,
            first_window: frame::WINDOW_FIRST,
            frame_bytes_max: PAYLOAD_BYTES_MAX,
            section_sent: false,
            going: Going::No,
            client_goes: false,
            failed: None,
            changed: false,
            in_task: false,
            task: None,
        }
    }

    /// Tells the connection's task that there is something for it to do.
    pub(super) fn wake_task(&mut self) {
        self.changed = true;
        if !self.in_task
            && let Some(task) = self.task.take()
        {
            task.wake();
        }
    }

    /// Whether frames may be taken in: replies that the client does not read hold its requests up.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < OUT_BYTES_MAX
    }

    /// Whether anything that the client sends is still looked at now.
    pub(crate) fn takes_frames(&self) -> bool {
        self.failed.is_none() && self.has_room()
    }

    /// Whether the client is inside of a head: its greeting, or a field section.
    pub(crate) fn is_inside_head(&self) -> bool {
        !self.greeted || self.unfinished.is_some()
    }

    /// Takes frames from the start of `input` until one opens a stream, the input has no whole one left, or there is no
    /// room for answers. Returns the bytes used.
    pub(crate) fn feed(&mut self, input: &[u8]) -> (usize, Option<Box<Opened>>) {
        let mut used = 0;
        if self.preface < PREFACE.len() {
            let n = (PREFACE.len() - self.preface).min(input.len());
            if input[..n] != PREFACE[self.preface..self.preface + n] {
                self.fail(Code::PROTOCOL_ERROR);
                return (input.len(), None);
            }
            self.preface += n;
            used = n;
        }
        while self.takes_frames() {
            let rest = &input[used..];
            let Some(head) = Head::parse(rest) else { break };
            if head.length > PAYLOAD_BYTES_MAX {
                self.fail(Code::FRAME_SIZE_ERROR);
                break;
            }
            let Some(payload) = rest.get(HEAD_BYTES..HEAD_BYTES + head.length) else { break };
            used += HEAD_BYTES + head.length;
            match self.frame(&head, payload) {
                Ok(None) => {}
                Ok(Some(opened)) => return (used, Some(opened)),
                Err(Fault::Connection(code)) => self.fail(code),
                Err(Fault::Stream(id, code)) => self.fail_stream(id, code),
            }
        }
        if self.failed.is_some() { (input.len(), None) } else { (used, None) }
    }

    fn frame(&mut self, head: &Head, payload: &[u8]) -> Result<Option<Box<Opened>>, Fault> {
        let protocol_error = Fault::Connection(Code::PROTOCOL_ERROR);
        // Section 6.10: nothing may stand between the frames of a field section.
        let continues = self.unfinished.as_ref().is_some_and(|unfinished| unfinished.head.stream == head.stream);
        if self.unfinished.is_some() != (head.kind == kind::CONTINUATION) || (self.unfinished.is_some() && !continues) {
            return Err(protocol_error);
        }
        // Section 3.4: SETTINGS is the first frame.
        if !self.greeted && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(protocol_error);
        }
        self.meter(head)?;
        match head.kind {
            kind::DATA => self.on_data(head, payload)?,
            kind::HEADERS => return self.on_headers(head, payload),
            kind::CONTINUATION => return self.on_continuation(head, payload),
            kind::PRIORITY => super::control::priority(head, payload)?,
            kind::RST_STREAM => self.on_reset(head, payload)?,
            kind::SETTINGS => self.on_settings(head, payload)?,
            kind::PING => self.on_ping(head, payload)?,
            kind::GOAWAY => {
                super::control::goaway(head, payload)?;
                self.client_goes = true;
            }
            kind::WINDOW_UPDATE => self.on_window(head, payload)?,
            kind::PUSH_PROMISE => return Err(protocol_error),
            // Section 4.1: what no RFC defines is ignored.
            _ => {}
        }
        Ok(None)
    }

    /// Counts the frames that a client may send for nothing: each costs it less than us (CVE-2019-9512, -9515, -9518).
    fn meter(&mut self, head: &Head) -> Result<(), Fault> {
        let over = match head.kind {
            kind::PRIORITY | kind::SETTINGS | kind::PING | 0xa.. => self.control.over(),
            kind::RST_STREAM => self.resets.over(),
            _ => false,
        };
        if over { Err(Fault::Connection(Code::ENHANCE_YOUR_CALM)) } else { Ok(()) }
    }

    /// Ends the connection with an error.
    pub(crate) fn fail(&mut self, code: Code) {
        if self.failed.is_none() {
            self.failed = Some(code);
            // Section 6.8: what was said of the last stream is not taken back.
            let last = if let Going::Last(last) = self.going { last } else { self.last_id };
            frame::write_goaway(self.out.tail(), last, code);
            self.gone();
        }
    }

    /// Nothing more will be exchanged: whoever still waits for a stream learns of it.
    pub(crate) fn gone(&mut self) {
        self.failed.get_or_insert(Code::NO_ERROR);
        for stream in self.streams.each() {
            stream.reset.get_or_insert(Reset::ByClient);
            stream.wake();
        }
    }

    /// Resets a stream for what the client did wrong. Whoever makes us do it too often floods (CVE-2025-8671).
    fn fail_stream(&mut self, id: u32, code: Code) {
        if self.resets.over() {
            self.fail(Code::ENHANCE_YOUR_CALM);
            return;
        }
        match self.streams.key_of(id) {
            Some(key) if self.reset_of(id).is_none() => self.reset(key, code),
            _ => {
                frame::write_reset(self.out.tail(), id, code);
                self.streams.remember(id, Some(Reset::ByUs));
            }
        }
    }

    /// Resets a stream that is still open; its task learns of it.
    pub(crate) fn reset(&mut self, key: Key, code: Code) {
        let Some(stream) = self.streams.get(key) else { return };
        if stream.is_open() {
            stream.reset = Some(Reset::ByUs);
            stream.wake();
            let unread = std::mem::take(&mut stream.received).len();
            frame::write_reset(self.out.tail(), key.id, code);
            self.credit(unread);
            self.wake_task();
        }
    }

    /// Gives the client back what it may send on the connection.
    pub(super) fn credit(&mut self, bytes: usize) {
        self.recv_owed += bytes as u32;
        if self.recv_owed >= CONNECTION_WINDOW_BYTES / 2 {
            frame::write_window(self.out.tail(), 0, self.recv_owed);
            self.recv_window += i64::from(self.recv_owed);
            self.recv_owed = 0;
            self.wake_task();
        }
    }

    fn find(&mut self, id: u32) -> Option<&mut Stream> {
        let key = self.streams.key_of(id)?;
        self.streams.get(key)
    }

    /// Who reset a stream, if anybody did and it is still known.
    fn reset_of(&mut self, id: u32) -> Option<Reset> {
        match self.find(id) {
            Some(stream) => stream.reset,
            None => self.streams.ended(id).flatten(),
        }
    }

    fn on_data(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        let id = head.stream;
        if id == 0 || id > self.last_id || id.is_multiple_of(2) {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        self.recv_window -= head.length as i64;
        if self.recv_window < 0 {
            return Err(Fault::Connection(Code::FLOW_CONTROL_ERROR));
        }
        let data = frame::unpadded(head, payload)?;
        let end = head.has(flag::END_STREAM);
        if data.is_empty() && !end && self.control.over() {
            return Err(Fault::Connection(Code::ENHANCE_YOUR_CALM));
        }
        let Some(stream) = self.find(id).filter(|stream| stream.reset.is_none() && !stream.recv_closed) else {
            self.credit(head.length);
            // What was on its way when we reset the stream is nobody's fault.
            let ours = self.reset_of(id) == Some(Reset::ByUs);
            return if ours { Ok(()) } else { Err(Fault::Stream(id, Code::STREAM_CLOSED)) };
        };
        let taken = stream.take_data(head.length, data, end);
        let kept = if taken.is_ok() && !stream.discards { data.len() } else { 0 };
        let told = stream.owe(head.length - data.len());
        if let Some(bytes) = told {
            frame::write_window(self.out.tail(), id, bytes);
        }
        self.credit(head.length - kept);
        taken.map_err(|code| Fault::Stream(id, code))
    }

    fn on_headers(&mut self, head: &Head, payload: &[u8]) -> Result<Option<Box<Opened>>, Fault> {
        if head.stream.is_multiple_of(2) {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        let mut fragment = frame::unpadded(head, payload)?;
        let mut depends_on_itself = false;
        if head.has(flag::PRIORITY) {
            let dependency = frame::number(fragment);
            fragment = fragment.get(5..).ok_or(Fault::Connection(Code::FRAME_SIZE_ERROR))?;
            depends_on_itself = dependency == Some(head.stream);
        }
        if head.has(flag::END_HEADERS) {
            return self.on_section(head, depends_on_itself, fragment);
        }
        let block = fragment.to_vec();
        self.unfinished = Some(Unfinished { head: *head, depends_on_itself, block, continuations: 0 });
        Ok(None)
    }

    fn on_continuation(&mut self, head: &Head, payload: &[u8]) -> Result<Option<Box<Opened>>, Fault> {
        let Some(unfinished) = &mut self.unfinished else { return Err(Fault::Connection(Code::PROTOCOL_ERROR)) };
        unfinished.continuations += 1;
        unfinished.block.extend_from_slice(payload);
        let bytes_max = self.limits.header_list_bytes_max as usize * 2;
        let continuations_max = bytes_max / PAYLOAD_BYTES_MAX + CONTINUATIONS_SPARE;
        if unfinished.continuations > continuations_max || unfinished.block.len() > bytes_max {
            return Err(Fault::Connection(Code::ENHANCE_YOUR_CALM));
        }
        if !head.has(flag::END_HEADERS) {
            return Ok(None);
        }
        let Some(whole) = self.unfinished.take() else { return Ok(None) };
        self.on_section(&whole.head, whole.depends_on_itself, &whole.block)
    }

    /// A whole field section. It is decoded whatever becomes of it: the table of the connection depends on it.
    fn on_section(&mut self, head: &Head, depends_on_itself: bool, block: &[u8]) -> Result<Option<Box<Opened>>, Fault> {
        let bytes_max = self.limits.header_list_bytes_max as usize;
        let mut section = Section::default();
        let decoded = self.decoder.decode(block, |field| {
            section.take(field, bytes_max);
            section.bytes <= bytes_max * 2
        });
        decoded.map_err(|_| Fault::Connection(Code::COMPRESSION_ERROR))?;
        if section.bytes > bytes_max * 2 {
            return Err(Fault::Connection(Code::ENHANCE_YOUR_CALM));
        }
        let (id, end) = (head.stream, head.has(flag::END_STREAM));
        if id <= self.last_id {
            return self.on_trailers(id, end, section).map(|()| None);
        }
        self.last_id = id;
        if self.has_said_last() {
            self.streams.remember(id, Some(Reset::ByUs));
            return Ok(None);
        }
        let request = if depends_on_itself { None } else { section.into_head() };
        let request = request.ok_or(Fault::Stream(id, Code::PROTOCOL_ERROR))?;
        let announced = crate::h1::head::content_length(&request.headers).flatten();
        if end && announced.is_some_and(|n| n > 0) {
            return Err(Fault::Stream(id, Code::PROTOCOL_ERROR));
        }
        // Streams that the client has reset cost until their tasks have ended.
        let places_max = self.limits.streams_max as usize + self.limits.resets_max as usize;
        let streams_max = self.limits.streams_max as usize;
        if self.streams.len() >= streams_max && (self.streams.open() >= streams_max || self.streams.len() >= places_max)
        {
            return Err(Fault::Stream(id, Code::REFUSED_STREAM));
        }
        let mut stream = Stream::new(STREAM_WINDOW_BYTES.into(), self.first_window);
        stream.recv_closed = end;
        stream.announced = announced;
        let key = self.streams.insert(id, stream);
        Ok(Some(Box::new(Opened { key, head: request, has_body: !end })))
    }

    fn on_trailers(&mut self, id: u32, end: bool, section: Section) -> Result<(), Fault> {
        let Some(stream) = self.find(id) else {
            return match self.streams.ended(id) {
                Some(Some(Reset::ByUs)) => Ok(()),
                Some(Some(Reset::ByClient)) => Err(Fault::Stream(id, Code::STREAM_CLOSED)),
                Some(None) => Err(Fault::Connection(Code::STREAM_CLOSED)),
                // Section 5.1.1: identifiers only rise.
                None => Err(Fault::Connection(Code::PROTOCOL_ERROR)),
            };
        };
        match stream.reset {
            Some(Reset::ByUs) => return Ok(()),
            None if !stream.recv_closed => {}
            _ => return Err(Fault::Stream(id, Code::STREAM_CLOSED)),
        }
        let whole = end && stream.announced.is_none_or(|left| left == 0);
        let trailers = section.into_trailers().filter(|_| whole);
        stream.trailers = Some(trailers.ok_or(Fault::Stream(id, Code::PROTOCOL_ERROR))?);
        stream.recv_closed = true;
        stream.wake();
        Ok(())
    }

    fn on_reset(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(Fault::Connection(Code::FRAME_SIZE_ERROR));
        }
        if head.stream.is_multiple_of(2) || head.stream > self.last_id {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        let Some(stream) = self.find(head.stream) else {
            // From here on the client knows that the stream is over.
            self.streams.remember(head.stream, Some(Reset::ByClient));
            return Ok(());
        };
        stream.reset = Some(Reset::ByClient);
        let unread = std::mem::take(&mut stream.received).len();
        stream.wake();
        self.credit(unread);
        Ok(())
    }

    fn on_settings(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        if !super::control::settings(head, payload)? {
            return Ok(());
        }
        let mut window = self.first_window;
        for pair in payload.chunks_exact(6) {
            let id = u16::from_be_bytes([pair[0], pair[1]]);
            let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
            match id {
                frame::setting::INITIAL_WINDOW => window = value.into(),
                frame::setting::FRAME_BYTES_MAX => self.frame_bytes_max = (value as usize).min(PAYLOAD_BYTES_MAX),
                _ => {}
            }
        }
        // The last of many counts: each change visits all streams.
        self.set_first_window(window)?;
        self.greeted = true;
        frame::write_settings_ack(self.out.tail());
        Ok(())
    }

    /// Section 6.9.2: the windows of all streams change with it, and may fall below zero.
    fn set_first_window(&mut self, window: i64) -> Result<(), Fault> {
        let change = window - std::mem::replace(&mut self.first_window, window);
        if change == 0 {
            return Ok(());
        }
        for stream in self.streams.each() {
            stream.send_window += change;
            if stream.send_window > frame::WINDOW_MAX {
                return Err(Fault::Connection(Code::FLOW_CONTROL_ERROR));
            }
            if let Some(writer) = stream.writer.take() {
                writer.wake();
            }
        }
        Ok(())
    }

    fn on_ping(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        super::control::ping(head, payload)?;
        if !head.has(flag::ACK) {
            frame::write_ping(self.out.tail(), true, payload);
        } else if self.going == Going::Told && payload == GOING {
            self.say_last();
        }
        Ok(())
    }

    fn on_window(&mut self, head: &Head, payload: &[u8]) -> Result<(), Fault> {
        if payload.len() != 4 {
            return Err(Fault::Connection(Code::FRAME_SIZE_ERROR));
        }
        let (id, more) = (head.stream, i64::from(frame::number(payload).unwrap_or(0)));
        if id == 0 {
            self.send_window += more;
            if more == 0 {
                return Err(Fault::Connection(Code::PROTOCOL_ERROR));
            }
            if self.send_window > frame::WINDOW_MAX {
                return Err(Fault::Connection(Code::FLOW_CONTROL_ERROR));
            }
            self.wake_waiting();
            return Ok(());
        }
        if id > self.last_id || id.is_multiple_of(2) {
            return Err(Fault::Connection(Code::PROTOCOL_ERROR));
        }
        if more == 0 {
            return Err(Fault::Stream(id, Code::PROTOCOL_ERROR));
        }
        let Some(stream) = self.find(id) else { return Ok(()) };
        stream.send_window += more;
        if stream.send_window > frame::WINDOW_MAX {
            return Err(Fault::Stream(id, Code::FLOW_CONTROL_ERROR));
        }
        if let Some(writer) = stream.writer.take() {
            writer.wake();
        }
        Ok(())
    }

    /// Streams that wait for the connection look again: first those that were sent nothing the last time, in the order in
    /// which they began to wait.
    pub(super) fn wake_waiting(&mut self) {
        self.unserved = 0;
        for key in std::mem::take(&mut self.waiting) {
            if let Some(stream) = self.streams.get(key) {
                (stream.queued, stream.served) = (false, false);
                if let Some(writer) = stream.writer.take() {
                    writer.wake();
                }
            }
        }
    }

    /// Tells the client to open no more streams. Those that are on their way are served until it has heard of it.
    pub(crate) fn go(&mut self) {
        if self.going == Going::No && self.failed.is_none() {
            self.going = Going::Told;
            frame::write_goaway(self.out.tail(), frame::WINDOW_MAX as u32, Code::NO_ERROR);
            frame::write_ping(self.out.tail(), false, GOING);
        }
    }

    /// Tells the client which streams are served and which are not.
    pub(crate) fn say_last(&mut self) {
        self.going = Going::Last(self.last_id);
        frame::write_goaway(self.out.tail(), self.last_id, Code::NO_ERROR);
    }

    pub(crate) fn has_said_last(&self) -> bool {
        matches!(self.going, Going::Last(_))
    }

    /// Whether the connection has served all it will serve.
    pub(crate) fn is_done(&self) -> bool {
        self.streams.is_empty() && (self.client_goes || self.has_said_last())
    }
}

#[cfg(test)]
#[path = "conn_tests.rs"]
mod tests;
