//! The streams of a connection. Places are reused, identifiers never: a [`Key`] finds its own stream or none.

use std::collections::VecDeque;
use std::task::Waker;

use bytes::BytesMut;
use http::HeaderMap;

use super::conn::STREAM_WINDOW_BYTES;
use super::frame::Code;

/// Streams that are over and still remembered for how they ended: what comes for them was perhaps on its way.
const ENDED_MAX: usize = 64;

/// Places that are kept while no stream is open.
const PLACES_KEPT: usize = 4;

/// Names a stream of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    place: usize,
    pub(crate) id: u32,
}

/// How a stream ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    ByClient,
    ByUs,
}

/// One stream, from its HEADERS to the end of the task that answers it.
#[derive(Debug)]
pub(crate) struct Stream {
    /// What the client may still send on it.
    pub(crate) recv_window: i64,
    /// What was read of it and not yet told to the client.
    pub(crate) recv_owed: u32,
    /// Body that nobody has read yet.
    pub(crate) received: BytesMut,
    pub(crate) trailers: Option<HeaderMap>,
    /// What Content-Length still announces.
    pub(crate) announced: Option<u64>,
    /// The client has ended its side.
    pub(crate) recv_closed: bool,
    /// Nobody will read what still comes.
    pub(crate) discards: bool,
    /// What may still be sent on it.
    pub(crate) send_window: i64,
    pub(crate) head_sent: bool,
    /// Our side is ended.
    pub(crate) send_closed: bool,
    /// Stands in the queue of those that wait for the connection.
    pub(crate) queued: bool,
    /// Something was sent of it since it was last woken out of that queue.
    pub(crate) served: bool,
    pub(crate) reset: Option<Reset>,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
}

impl Stream {
    pub(crate) fn new(recv_window: i64, send_window: i64) -> Self {
        Self {
            recv_window,
            recv_owed: 0,
            received: BytesMut::new(),
            trailers: None,
            announced: None,
            recv_closed: false,
            discards: false,
            send_window,
            head_sent: false,
            send_closed: false,
            queued: false,
            served: false,
            reset: None,
            reader: None,
            writer: None,
        }
    }

    /// Neither side is ended by all that the protocol knows.
    pub(crate) fn is_open(&self) -> bool {
        self.reset.is_none() && !(self.recv_closed && self.send_closed)
    }

    /// Takes the payload of a DATA frame that is worth `flow` bytes of window.
    ///
    /// # Errors
    /// More than the window allows, or more or less than was announced (RFC 9113 sections 6.9 and 8.1.1).
    pub(crate) fn take_data(&mut self, flow: usize, data: &[u8], end: bool) -> Result<(), Code> {
        self.recv_window -= flow as i64;
        if self.recv_window < 0 {
            return Err(Code::FLOW_CONTROL_ERROR);
        }
        if let Some(left) = &mut self.announced {
            *left = left.checked_sub(data.len() as u64).ok_or(Code::PROTOCOL_ERROR)?;
            if end && *left > 0 {
                return Err(Code::PROTOCOL_ERROR);
            }
        }
        if !self.discards {
            self.received.extend_from_slice(data);
        }
        self.recv_closed = end;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    /// Gives back what was read; what is to be told to the client now.
    pub(crate) fn owe(&mut self, bytes: usize) -> Option<u32> {
        self.recv_owed += bytes as u32;
        if self.recv_closed || self.recv_owed < STREAM_WINDOW_BYTES / 2 {
            return None;
        }
        self.recv_window += i64::from(self.recv_owed);
        Some(std::mem::take(&mut self.recv_owed))
    }

    /// Whoever waits for anything of it is to look again.
    pub(crate) fn wake(&mut self) {
        for waker in [self.reader.take(), self.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }
}

/// Registers a waker, without a clone where it is known already.
pub(crate) fn register(place: &mut Option<Waker>, waker: &Waker) {
    match place {
        Some(known) if known.will_wake(waker) => {}
        _ => *place = Some(waker.clone()),
    }
}

#[derive(Debug, Default)]
pub(crate) struct Streams {
    places: Vec<Option<Stream>>,
    free: Vec<usize>,
    /// By identifier, in rising order.
    index: Vec<Key>,
    /// The last ones that are gone.
    ended: VecDeque<(u32, Option<Reset>)>,
}

impl Streams {
    /// Streams whose task has not ended.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Streams that the protocol calls open.
    pub(crate) fn open(&self) -> usize {
        self.places.iter().flatten().filter(|stream| stream.is_open()).count()
    }

    /// Adds a stream. Identifiers rise, so that the index stays in order.
    pub(crate) fn insert(&mut self, id: u32, stream: Stream) -> Key {
        let place = match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(stream);
                place
            }
            None => {
                self.places.push(Some(stream));
                self.places.len() - 1
            }
        };
        let key = Key { place, id };
        self.index.push(key);
        key
    }

    fn at(&self, id: u32) -> Option<usize> {
        self.index.binary_search_by_key(&id, |key| key.id).ok()
    }

    pub(crate) fn key_of(&self, id: u32) -> Option<Key> {
        self.at(id).map(|at| self.index[at])
    }

    pub(crate) fn get(&mut self, key: Key) -> Option<&mut Stream> {
        // A place that has been reused belongs to a stream of another name.
        self.at(key.id)?;
        self.places.get_mut(key.place)?.as_mut()
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Stream> {
        let at = self.at(key.id)?;
        self.index.remove(at);
        let stream = self.places.get_mut(key.place)?.take()?;
        if self.index.is_empty() {
            self.clear();
        } else {
            self.free.push(key.place);
        }
        self.remember(key.id, stream.reset);
        Some(stream)
    }

    /// An idle connection holds a few places at most.
    fn clear(&mut self) {
        self.places.clear();
        self.free.clear();
        if self.places.capacity() > PLACES_KEPT {
            *self = Self { ended: std::mem::take(&mut self.ended), ..Self::default() };
        }
    }

    /// Remembers how a stream ended.
    pub(crate) fn remember(&mut self, id: u32, reset: Option<Reset>) {
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back((id, reset));
    }

    /// How a stream that is gone ended; `None` where it is not known (any more).
    pub(crate) fn ended(&self, id: u32) -> Option<Option<Reset>> {
        self.ended.iter().rev().find(|(ended, _)| *ended == id).map(|(_, reset)| *reset)
    }

    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.places.iter_mut().flatten()
    }
}
