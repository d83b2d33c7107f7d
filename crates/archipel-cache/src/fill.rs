//! A body that is read while it fills: one writer, any number of readers.
//!
//! While the fill may still be stored all of it is kept, so a reader may begin late, be slow or vanish, and nobody notices. Once it
//! has outgrown its bounds it is only passed through: a window ahead of the slowest reader is kept, and the writer waits.
//!
//! Must never end cleanly unless the writer said so (RFC 9112 section 8: an incomplete message is not a complete one).

use crate::body::Body;
use crate::stats::{CacheStats, count};
use crate::stored::{Head, Stored};
use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The bounds of one fill.
#[derive(Debug, Clone)]
pub struct FillOptions {
    /// Bytes of head and body together beyond which it is not stored.
    pub object_bytes_max: u64,
    /// Bytes ahead of the slowest reader of a fill that is only passed through.
    pub window_bytes_max: u64,
    /// The declared length; a fill that ends with another fails.
    pub length: Option<u64>,
    /// Whether a fill that may be stored goes on when its last reader left.
    pub keep_without_readers: bool,
}

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FillError {
    /// The writer was dropped, or ended with fewer or more bytes than declared.
    #[error("the body ended before its end")]
    Truncated,
    /// The writer said why, in a word of RFC 9209.
    #[error("the body failed: {0}")]
    Failed(&'static str),
    /// To the writer: nobody reads this fill and it is not to be stored. Stop fetching.
    #[error("nobody reads this body any more")]
    Abandoned,
}

/// The memory that all fills in flight may keep for storing.
#[derive(Debug)]
pub struct FillBudget {
    used: AtomicU64,
    bytes_max: u64,
    stats: Arc<CacheStats>,
}

impl FillBudget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: u64, stats: Arc<CacheStats>) -> Self {
        Self { used: AtomicU64::new(0), bytes_max, stats }
    }

    /// Bytes held now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: u64) -> bool {
        let room = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What readers and the writer of one body share.
#[derive(Debug)]
pub struct Fill<M> {
    head: Arc<Head<M>>,
    options: FillOptions,
    budget: Arc<FillBudget>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    segments: VecDeque<Segment>,
    /// Segments dropped in front of `segments`.
    dropped: u64,
    /// Readers that have read all there is.
    readers_at_end: usize,
    readers: usize,
    /// One slot for each reader.
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    /// Bytes in `segments`.
    held: u64,
    passed_through: bool,
    end: Option<End>,
    writer: Option<Waker>,
}

#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    /// Readers whose next segment this is.
    readers: usize,
}

#[derive(Debug, Clone)]
enum End {
    Clean(Option<Arc<HeaderMap>>),
    Failed(FillError),
}

type Wakers = SmallVec<[Waker; 8]>;

impl State {
    fn readers_at(&mut self, next: u64) -> &mut usize {
        let index = next.checked_sub(self.dropped).and_then(|index| usize::try_from(index).ok());
        match index.and_then(|index| self.segments.get_mut(index)) {
            Some(segment) => &mut segment.readers,
            None => &mut self.readers_at_end,
        }
    }

    fn push(&mut self, bytes: Bytes) -> Wakers {
        self.held += bytes.len() as u64;
        // Who had read all there was comes to this segment next.
        let readers = std::mem::take(&mut self.readers_at_end);
        self.segments.push_back(Segment { bytes, readers });
        self.take_wakers()
    }

    fn take_wakers(&mut self) -> Wakers {
        self.wakers.iter_mut().filter_map(Option::take).collect()
    }

    /// Drops what every reader has read, where it is not to be stored; returns the writer to wake.
    fn trim(&mut self, window_bytes_max: u64) -> Option<Waker> {
        if !self.passed_through {
            return None;
        }
        while let Some(segment) = self.segments.pop_front_if(|segment| segment.readers == 0) {
            self.held -= segment.bytes.len() as u64;
            self.dropped += 1;
        }
        if self.held < window_bytes_max { self.writer.take() } else { None }
    }

    fn is_abandoned(&self, options: &FillOptions) -> bool {
        self.readers == 0 && (self.passed_through || !options.keep_without_readers)
    }
}

impl<M> Fill<M> {
    /// Begins a body. Its first reader comes along; drop it where nobody reads (background revalidation).
    pub fn start(mut head: Head<M>, options: FillOptions, budget: Arc<FillBudget>) -> (FillWriter<M>, FillReader<M>) {
        head.detach();
        let head = Arc::new(head);
        let bare = Stored::from_shared(Arc::clone(&head), Body::default()).weight();
        let state = State { readers: 1, readers_at_end: 1, wakers: vec![None], ..State::default() };
        let fill = Arc::new(Self { head, options, budget, state: Mutex::new(state) });
        let reader = FillReader { fill: Arc::clone(&fill), slot: 0, next: 0 };
        (FillWriter { fill, bare, bytes: 0, taken: 0, passed_through: false, ended: false }, reader)
    }

    /// Everything about the response but its body.
    pub fn head(&self) -> &Arc<Head<M>> {
        &self.head
    }

    /// The declared length of the body.
    pub fn length(&self) -> Option<u64> {
        self.options.length
    }

    /// Whether a new request should read this fill: it may still be stored and has not failed.
    pub fn is_joinable(&self) -> bool {
        let state = self.lock();
        !state.passed_through && !matches!(state.end, Some(End::Failed(_)))
    }

    /// A reader from the first byte; `None` where that byte is gone already or the fill has failed: fetch it yourself.
    pub fn reader(self: &Arc<Self>) -> Option<FillReader<M>> {
        let mut state = self.lock();
        if state.dropped > 0 || matches!(state.end, Some(End::Failed(_))) {
            return None;
        }
        let slot = state.free.pop().unwrap_or_else(|| {
            state.wakers.push(None);
            state.wakers.len() - 1
        });
        state.readers += 1;
        *state.readers_at(0) += 1;
        Some(FillReader { fill: Arc::clone(self), slot, next: 0 })
    }

    /// Readers now.
    pub fn readers(&self) -> usize {
        self.lock().readers
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No caller's code runs under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing end. Dropped before [`FillWriter::finish`], readers see [`FillError::Truncated`].
#[derive(Debug)]
#[must_use = "dropping the writer truncates the body for its readers"]
pub struct FillWriter<M> {
    fill: Arc<Fill<M>>,
    /// What the stored response weighs without its body.
    bare: u64,
    /// Bytes appended.
    bytes: u64,
    /// Bytes taken from the budget.
    taken: u64,
    passed_through: bool,
    ended: bool,
}

impl<M> FillWriter<M> {
    /// What readers share.
    pub fn fill(&self) -> &Arc<Fill<M>> {
        &self.fill
    }

    /// Whether the body may still be stored at its end.
    pub fn is_storable(&self) -> bool {
        !self.passed_through
    }

    /// Whether so many more bytes would make it too large to be kept for storing, if its declared length does not already.
    pub fn outgrows(&self, bytes: u64) -> bool {
        let declared = self.fill.options.length.unwrap_or(0);
        self.bare + (self.bytes + bytes).max(declared) > self.fill.options.object_bytes_max
    }

    /// The bytes appended so far; `None` where some were passed through and are gone.
    pub fn kept(&self) -> Option<Vec<Bytes>> {
        let kept = || self.fill.lock().segments.iter().map(|segment| segment.bytes.clone()).collect();
        (!self.passed_through || self.bytes == 0).then(kept)
    }

    /// Adds bytes. Await [`FillWriter::ready`] first. What may be stored is copied, as the buffer belongs to a connection. More bytes
    /// than were declared fail the body.
    pub fn append(&mut self, bytes: Bytes) {
        if bytes.is_empty() || self.ended {
            return;
        }
        let len = bytes.len() as u64;
        self.bytes += len;
        if self.fill.options.length.is_some_and(|length| self.bytes > length) {
            return self.end(End::Failed(FillError::Truncated));
        }
        if !self.passed_through {
            let stats = &self.fill.budget.stats;
            if self.bare + self.bytes > self.fill.options.object_bytes_max {
                count(&stats.fills_object_bytes_max);
                self.pass_through();
            } else if !self.fill.budget.take(len) {
                count(&stats.fills_bytes_max);
                self.pass_through();
            } else {
                self.taken += len;
            }
        }
        let bytes = if self.passed_through { bytes } else { Bytes::copy_from_slice(&bytes) };
        let wakers = {
            let mut state = self.fill.lock();
            let wakers = state.push(bytes);
            state.trim(self.fill.options.window_bytes_max);
            wakers
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Gives up storing: from now on only what readers still need is kept.
    pub fn pass_through(&mut self) {
        self.passed_through = true;
        self.fill.budget.give_back(std::mem::take(&mut self.taken));
        let mut state = self.fill.lock();
        state.passed_through = true;
        state.trim(self.fill.options.window_bytes_max);
    }

    /// Waits until more may be appended.
    ///
    /// # Errors
    /// [`FillError::Abandoned`] where nobody reads and nothing is to be stored.
    pub async fn ready(&self) -> Result<(), FillError> {
        poll_fn(|cx| self.poll_ready(cx)).await
    }

    /// [`FillWriter::ready`], to be polled from one task.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), FillError>> {
        let mut state = self.fill.lock();
        if state.is_abandoned(&self.fill.options) {
            return Poll::Ready(Err(FillError::Abandoned));
        }
        if !state.passed_through || state.held < self.fill.options.window_bytes_max {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Waits until nobody reads and nothing is to be stored: select it against the origin's next bytes.
    pub async fn abandoned(&self) {
        poll_fn(|cx| self.poll_abandoned(cx)).await;
    }

    /// [`FillWriter::abandoned`], to be polled from the task that polls [`FillWriter::poll_ready`].
    pub fn poll_abandoned(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.fill.lock();
        if state.is_abandoned(&self.fill.options) {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Ends the body. `Some` is the response to insert; `None` where it was only passed through.
    ///
    /// # Errors
    /// [`FillError::Truncated`] where the declared length was another; the readers see it too.
    pub fn finish(mut self, trailers: Option<HeaderMap>) -> Result<Option<Stored<M>>, FillError> {
        if self.fill.options.length.is_some_and(|length| length != self.bytes) {
            self.end(End::Failed(FillError::Truncated));
            return Err(FillError::Truncated);
        }
        let trailers = trailers.filter(|fields| !fields.is_empty()).map(Arc::new);
        let segments: Vec<Bytes> = if self.passed_through {
            Vec::new()
        } else {
            self.fill.lock().segments.iter().map(|segment| segment.bytes.clone()).collect()
        };
        self.end(End::Clean(trailers.clone()));
        count(&self.fill.budget.stats.fills);
        if self.passed_through {
            return Ok(None);
        }
        let body = Body::from_segments(&segments, trailers);
        Ok(Some(Stored::from_shared(Arc::clone(&self.fill.head), body)))
    }

    /// Fails the body: readers get what there is and then the error.
    pub fn fail(mut self, error: FillError) {
        self.end(End::Failed(error));
    }

    fn end(&mut self, end: End) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        if matches!(end, End::Failed(_)) {
            count(&self.fill.budget.stats.fills_failed);
        }
        let wakers = {
            let mut state = self.fill.lock();
            state.end = Some(end);
            state.writer = None;
            state.take_wakers()
        };
        wakers.into_iter().for_each(Waker::wake);
        // From here the store counts what is stored, and readers hold what they read, as they do after a hit.
        self.fill.budget.give_back(std::mem::take(&mut self.taken));
    }
}

impl<M> Drop for FillWriter<M> {
    fn drop(&mut self) {
        self.end(End::Failed(FillError::Truncated));
    }
}

/// A reading end, from the first byte. Dropping it hurts nobody.
#[derive(Debug)]
pub struct FillReader<M> {
    fill: Arc<Fill<M>>,
    slot: usize,
    /// Number of the segment to read next.
    next: u64,
}

impl<M> FillReader<M> {
    /// What it reads.
    pub fn fill(&self) -> &Arc<Fill<M>> {
        &self.fill
    }

    /// Everything about the response but its body.
    pub fn head(&self) -> &Arc<Head<M>> {
        &self.fill.head
    }

    /// The next bytes; `None` at the end that the writer declared; an error again and again where there is none.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, FillError>>> {
        let (bytes, writer) = {
            let mut state = self.fill.lock();
            let index = self.next.checked_sub(state.dropped).and_then(|index| usize::try_from(index).ok());
            let bytes = index.and_then(|index| state.segments.get(index)).map(|segment| segment.bytes.clone());
            let Some(bytes) = bytes else {
                return self.poll_end(&mut state, cx).map(|end| end.map(Err));
            };
            let here = state.readers_at(self.next);
            *here = here.saturating_sub(1);
            *state.readers_at(self.next + 1) += 1;
            (bytes, state.trim(self.fill.options.window_bytes_max))
        };
        self.next += 1;
        if let Some(writer) = writer {
            writer.wake();
        }
        Poll::Ready(Some(Ok(bytes)))
    }

    fn poll_end(&self, state: &mut State, cx: &mut Context<'_>) -> Poll<Option<FillError>> {
        match &state.end {
            Some(End::Clean(_)) => Poll::Ready(None),
            Some(End::Failed(error)) => Poll::Ready(Some(*error)),
            None => {
                if let Some(waker) = state.wakers.get_mut(self.slot) {
                    match waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => *waker = Some(cx.waker().clone()),
                    }
                }
                Poll::Pending
            }
        }
    }

    /// [`FillReader::poll_next`] as a future; safe to cancel.
    pub async fn next(&mut self) -> Option<Result<Bytes, FillError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The trailer fields, after the end.
    pub fn trailers(&self) -> Option<Arc<HeaderMap>> {
        match &self.fill.lock().end {
            Some(End::Clean(trailers)) => trailers.clone(),
            _ => None,
        }
    }
}

impl<M> Drop for FillReader<M> {
    fn drop(&mut self) {
        let writer = {
            let mut state = self.fill.lock();
            let here = state.readers_at(self.next);
            *here = here.saturating_sub(1);
            state.readers -= 1;
            if let Some(waker) = state.wakers.get_mut(self.slot) {
                *waker = None;
            }
            state.free.push(self.slot);
            let writer = state.trim(self.fill.options.window_bytes_max);
            if state.is_abandoned(&self.fill.options) { writer.or_else(|| state.writer.take()) } else { writer }
        };
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}
