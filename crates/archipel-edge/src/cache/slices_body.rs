//! The body of a reply that is put together from slices, each found or fetched when its turn comes.
//!
//! Must never send a byte of another representation than the one whose head was sent: the reply is broken off instead.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use archipel_cache::{BodyReader, FillReader};
use archipel_http::range::ByteRange;
use archipel_transport::body::BodyError;
use bytes::Bytes;
use http_body::{Body, Frame};

use super::Meta;
use super::deliver::Piece;
use super::slices::{Refused, give_up};
use super::slices_fetch::{Acquiring, Fetcher, Source, acquire, is_stored};

/// How often a reply tries again after a fetch that broke off, counted from the last slice that came whole.
const RETRIES_MAX: usize = 1;

/// See the module.
pub(super) struct SlicedBody {
    /// Away while a slice is being acquired.
    fetcher: Option<Box<Fetcher>>,
    /// What is still to be sent; the first range begins at the next byte.
    pieces: VecDeque<Piece>,
    state: State,
    retries: usize,
}

enum State {
    Idle,
    Acquiring(Acquiring),
    Reading(Reading),
    Ended,
}

/// A slice that is being read, up to the end of the range or of the slice.
struct Reading {
    source: Bytewise,
    /// Bytes of the slice before the next one to send.
    skip: u64,
    /// Bytes to send from it.
    left: u64,
}

enum Bytewise {
    Stored(BodyReader),
    Filling(FillReader<Meta>),
}

impl Reading {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let next = match &mut self.source {
                Bytewise::Stored(reader) => ready!(reader.poll_next(cx)).and_then(Result::ok),
                Bytewise::Filling(reader) => ready!(reader.poll_next(cx)).and_then(Result::ok),
            };
            let Some(mut bytes) = next else { return Poll::Ready(None) };
            let skip = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len());
            self.skip -= skip as u64;
            let mut bytes = bytes.split_off(skip);
            bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            if !bytes.is_empty() {
                self.left -= bytes.len() as u64;
                return Poll::Ready(Some(bytes));
            }
        }
    }
}

impl SlicedBody {
    pub(super) fn new(fetcher: Box<Fetcher>, pieces: Vec<Piece>) -> Self {
        Self { fetcher: Some(fetcher), pieces: pieces.into(), state: State::Idle, retries: 0 }
    }

    /// Whether the first bytes are at hand: from the store, or from `first`, the slice that a run begins with.
    pub(super) fn begin(&mut self, first: Option<(u64, FillReader<Meta>)>) -> bool {
        let (Some((number, _)), Some(fetcher)) = (self.wanted(), &self.fetcher) else { return true };
        let source = match first {
            Some((filling, reader)) if filling == number => Some(Source::Filling(reader)),
            _ => fetcher.at_hand(number),
        };
        match source {
            Some(source) => {
                self.read(number, source);
                true
            }
            None => false,
        }
    }

    /// Bytes of the body.
    pub(super) fn len(&self) -> u64 {
        let bytes = |piece: &Piece| match piece {
            Piece::Bytes(range) => range.len(),
            Piece::Text(text) => text.len() as u64,
        };
        self.pieces.iter().map(bytes).sum()
    }

    /// Whether all slices that it takes are in the store.
    pub(super) fn is_all_stored(&self) -> bool {
        let Some(fetcher) = &self.fetcher else { return false };
        let Some(grid) = fetcher.sliced().map(|sliced| sliced.grid) else { return false };
        self.pieces.iter().all(|piece| match piece {
            Piece::Bytes(range) => (grid.slice_of(range.first)..=grid.slice_of(range.last))
                .all(|number| is_stored(&fetcher.ex.worker, &fetcher.manifest, number)),
            Piece::Text(_) => true,
        })
    }

    /// Gets the first bytes.
    pub(super) async fn acquire_first(&mut self) -> Result<(), Refused> {
        let (Some((number, last)), Some(fetcher)) = (self.wanted(), &mut self.fetcher) else { return Ok(()) };
        let source = fetcher.slice(number, last).await?;
        self.read(number, source);
        Ok(())
    }

    /// The next slice, and the last one of the range.
    fn wanted(&self) -> Option<(u64, u64)> {
        let (grid, range) = (self.fetcher.as_ref()?.sliced()?.grid, self.range()?);
        Some((grid.slice_of(range.first), grid.slice_of(range.last)))
    }

    fn range(&self) -> Option<ByteRange> {
        self.pieces.iter().find_map(|piece| match piece {
            Piece::Bytes(range) => Some(*range),
            Piece::Text(_) => None,
        })
    }

    fn read(&mut self, number: u64, source: Source) {
        let (Some(range), Some(fetcher)) = (self.range(), &self.fetcher) else { return };
        let Some(grid) = fetcher.sliced().map(|sliced| sliced.grid) else { return };
        fetcher.reads(number);
        let slice = grid.range(number, number);
        let (skip, left) = (range.first - slice.first, range.last.min(slice.last) - range.first + 1);
        self.state = State::Reading(match source {
            Source::Stored(stored) => {
                let reader = stored.body().reader(skip..skip + left);
                Reading { source: Bytewise::Stored(reader), skip: 0, left }
            }
            Source::Filling(reader) => Reading { source: Bytewise::Filling(reader), skip, left },
        });
    }

    /// Moves the first range behind `bytes` that were sent.
    fn sent(&mut self, bytes: u64) {
        if let Some(Piece::Bytes(range)) = self.pieces.front_mut() {
            if range.len() <= bytes {
                self.pieces.pop_front();
            } else {
                range.first += bytes;
            }
        }
    }

    fn broken(&mut self, refused: Refused) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(fetcher) = &self.fetcher {
            give_up(&fetcher.ex, &fetcher.zone, &fetcher.manifest, &refused);
        }
        self.state = State::Ended;
        self.pieces.clear();
        Poll::Ready(Some(Err(BodyError::Truncated)))
    }
}

impl Body for SlicedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        loop {
            if let Some(Piece::Text(_)) = this.pieces.front()
                && let Some(Piece::Text(text)) = this.pieces.pop_front()
            {
                return Poll::Ready(Some(Ok(Frame::data(text))));
            }
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Reading(reading) => {
                    let next = ready!(reading.poll(cx));
                    let whole = reading.left == 0;
                    if next.is_none() || whole {
                        this.state = State::Idle;
                    }
                    match next {
                        Some(bytes) => {
                            this.sent(bytes.len() as u64);
                            this.retries = if whole { 0 } else { this.retries };
                            return Poll::Ready(Some(Ok(Frame::data(bytes))));
                        }
                        None if this.retries < RETRIES_MAX => this.retries += 1,
                        None => return this.broken(Refused::Failing),
                    }
                }
                State::Idle => {
                    let Some((number, last)) = this.wanted() else {
                        this.state = State::Ended;
                        continue;
                    };
                    let Some(fetcher) = this.fetcher.take() else { return this.broken(Refused::Failing) };
                    match fetcher.at_hand(number) {
                        Some(source) => {
                            this.fetcher = Some(fetcher);
                            this.read(number, source);
                        }
                        None => this.state = State::Acquiring(acquire(fetcher, number, last)),
                    }
                }
                State::Acquiring(acquiring) => {
                    let (fetcher, source) = ready!(acquiring.as_mut().poll(cx));
                    this.fetcher = Some(fetcher);
                    this.state = State::Idle;
                    match (source, this.wanted()) {
                        (Ok(source), Some((number, _))) => this.read(number, source),
                        (Ok(_), None) => {}
                        (Err(Refused::Failing | Refused::Failed(_)), _) if this.retries < RETRIES_MAX => {
                            this.retries += 1;
                        }
                        (Err(refused), _) => return this.broken(refused),
                    }
                }
            }
        }
    }
}
