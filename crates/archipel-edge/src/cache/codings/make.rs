//! Making a form of a stored response while it goes out: the first client gets the bytes as they are made, whoever asks
//! meanwhile reads along, and what is complete is stored.
//!
//! Must never end a form whose source did not end well, nor hold a worker for longer than one step.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use archipel_cache::{Body, BodyReader, Fill, FillError, FillReader, FillWriter, Head, Stored};
use archipel_codings::Step;
use archipel_http::coding;
use bytes::Bytes;
use http::HeaderMap;

use super::coder::{Coder, CoderError};
use super::deliver::Made;
use super::derived::{self, Kind};
use super::{Form, Place};
use crate::cache::Meta;
use crate::exchange::Exchange;
use crate::live::LiveZone;
use crate::node::Node;
use crate::worker::Worker;

/// Shorter content is coded at once, before the reply: half a millisecond at most, and its length is known.
pub(super) const AT_ONCE_BYTES_MAX: u64 = 32 << 10;
/// Bytes that are gathered before they are handed on, unless nothing more comes for now.
pub(super) const GATHERED_BYTES_MIN: usize = 8 << 10;
/// RFC 9209's word for content that is not coded as it says.
const FAILED: FillError = FillError::Failed("http_response_content_coding");

/// What is being made, by the content and the form: bounded by `jobs_max`.
#[derive(Default)]
pub(crate) struct Making(Mutex<Fills>);

type Fills = HashMap<(u64, Form), Arc<Fill<Meta>>>;

impl Making {
    fn lock(&self) -> MutexGuard<'_, Fills> {
        // No caller's code runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry of [`Making`], for as long as it is made.
struct Entry {
    node: Arc<Node>,
    key: (u64, Form),
}

impl Drop for Entry {
    fn drop(&mut self) {
        let left = self.node.codings.making.lock().remove(&self.key);
        drop(left);
    }
}

/// Makes a form of a complete response; `None` where it is to be sent as it is.
pub(super) fn of_stored(ex: &Exchange, zone: &LiveZone, stored: &Arc<Stored<Meta>>, form: Form) -> Option<Made> {
    let length = stored.body().len();
    if matches!(form, Form::Coded(_)) && length <= AT_ONCE_BYTES_MAX {
        return at_once(ex, zone, stored, form).map(Made::Whole);
    }
    let source =
        Source::Stored { pieces: stored.body().reader(0..length), trailers: stored.body().trailers().cloned() };
    start(ex, zone, stored.head(), source, Some(length), form).ok().map(Made::Filling)
}

/// Makes a form of a response that is still coming in; gives the reader back where it is to be sent as it comes.
pub(super) fn of_fill(
    ex: &Exchange,
    zone: &LiveZone,
    reader: FillReader<Meta>,
    form: Form,
) -> Result<FillReader<Meta>, FillReader<Meta>> {
    let (head, length) = (reader.head().clone(), reader.fill().length());
    match start(ex, zone, &head, Source::Fill(reader), length, form) {
        Ok(made) => Ok(made),
        Err(Source::Fill(reader)) => Err(reader),
        // INVARIANT: `start` gives back the source that it was given.
        Err(Source::Stored { .. }) => unreachable!(),
    }
}

fn at_once(ex: &Exchange, zone: &LiveZone, stored: &Arc<Stored<Meta>>, form: Form) -> Option<Arc<Stored<Meta>>> {
    let length = stored.body().len();
    let coder = Coder::new(form, zone, Some(length));
    // So short a body is read whole, where it comes from the disk.
    let pieces = stored.body().in_memory()?;
    let made = coder.and_then(|coder| coder.whole(pieces.iter().map(|piece| &piece[..])));
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            failed(&ex.worker, error);
            return None;
        }
    };
    let useless = made.len() as u64 >= length;
    count(&ex.worker, length, made.len() as u64);
    let body = if useless { Bytes::new() } else { Bytes::copy_from_slice(&made) };
    let head = derived::head(stored.head(), Kind { form, useless, background: false });
    let made = Arc::new(Stored::new(head, Body::from_bytes(body)));
    // A refusal (purged meanwhile, no room) is counted by the store; the form is served all the same.
    let _ = ex.worker.node.store.insert_derived(&made);
    (!useless).then_some(made)
}

/// Where the content comes from.
enum Source {
    Stored { pieces: BodyReader, trailers: Option<Arc<HeaderMap>> },
    Fill(FillReader<Meta>),
}

enum Next {
    Data(Bytes),
    /// Nothing more for now.
    Waiting,
    End(Option<Arc<HeaderMap>>),
    Failed(FillError),
}

impl Source {
    /// The next bytes. With `eager`, says so where they are not there yet, instead of waiting.
    fn poll_next(&mut self, cx: &mut Context<'_>, eager: bool) -> Poll<Next> {
        match self {
            Source::Stored { pieces, trailers } => match pieces.poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => Poll::Ready(Next::Data(piece)),
                Poll::Ready(Some(Err(_))) => Poll::Ready(Next::Failed(FillError::Truncated)),
                Poll::Ready(None) => Poll::Ready(Next::End(trailers.take())),
                Poll::Pending if eager => Poll::Ready(Next::Waiting),
                Poll::Pending => Poll::Pending,
            },
            Source::Fill(reader) => match reader.poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => Poll::Ready(Next::Data(piece)),
                Poll::Ready(Some(Err(error))) => Poll::Ready(Next::Failed(error)),
                Poll::Ready(None) => Poll::Ready(Next::End(reader.trailers())),
                Poll::Pending if eager => Poll::Ready(Next::Waiting),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    /// Whether the response that it is of may be stored, or is.
    fn is_kept(&self) -> bool {
        match self {
            Source::Stored { .. } => true,
            Source::Fill(reader) => reader.fill().is_joinable(),
        }
    }
}

/// Begins to make a form, or reads along where it is being made. Gives the source back where there is no place for it.
fn start(
    ex: &Exchange,
    zone: &LiveZone,
    head: &Arc<Head<Meta>>,
    source: Source,
    length: Option<u64>,
    form: Form,
) -> Result<FillReader<Meta>, Source> {
    let node = &ex.worker.node;
    let key = (head.meta.forms.content, form);
    if let Some(reader) = node.codings.making.lock().get(&key).and_then(Fill::reader) {
        return Ok(reader);
    }
    let Some(place) = Place::take(ex) else { return Err(source) };
    let coder = match Coder::new(form, zone, length) {
        Ok(coder) => coder,
        Err(error) => {
            failed(&ex.worker, error);
            return Err(source);
        }
    };
    let (writer, reader) = node.store.start_fill(derived::head(head, Kind::on_demand(form)), None, true);
    // Of two that begin at the same moment both go on; the later one has the entry.
    node.codings.making.lock().insert(key, writer.fill().clone());
    let entry = Entry { node: node.clone(), key };
    let work =
        Work { head: head.clone(), form, worker: ex.worker.clone(), taken: 0, given: 0, _place: place, _entry: entry };
    tokio::spawn(work.run(source, coder, writer));
    Ok(reader)
}

struct Work {
    head: Arc<Head<Meta>>,
    form: Form,
    worker: Arc<Worker>,
    taken: u64,
    given: u64,
    _place: Place,
    _entry: Entry,
}

impl Work {
    async fn run(mut self, mut source: Source, mut coder: Coder, mut writer: FillWriter<Meta>) {
        match self.carry(&mut source, &mut coder, &mut writer).await {
            Ok(trailers) => self.end(&source, coder, writer, trailers),
            Err(Stop::Coder(error)) => {
                failed(&self.worker, error);
                writer.fail(FAILED);
            }
            Err(Stop::Source(error)) => writer.fail(error),
            // Nobody reads, and it would not be stored.
            Err(Stop::Abandoned) => {}
        }
    }

    /// Carries the content through the coder until it ends.
    async fn carry(
        &mut self,
        source: &mut Source,
        coder: &mut Coder,
        writer: &mut FillWriter<Meta>,
    ) -> Result<Option<Arc<HeaderMap>>, Stop> {
        let (mut out, mut held) = (Vec::new(), false);
        loop {
            let piece = match poll_fn(|cx| source.poll_next(cx, held)).await {
                Next::Data(piece) => piece,
                Next::Waiting => {
                    coder.flush(&mut out)?;
                    held = false;
                    self.send(writer, &mut out).await?;
                    continue;
                }
                Next::End(trailers) => {
                    self.send(writer, &mut out).await?;
                    return Ok(trailers);
                }
                Next::Failed(error) => {
                    // What is right so far is for those who read; they learn of the end behind it.
                    coder.flush(&mut out)?;
                    self.send(writer, &mut out).await?;
                    return Err(Stop::Source(error));
                }
            };
            self.taken += piece.len() as u64;
            held = true;
            let mut input = &piece[..];
            while coder.step(&mut input, &mut out)? == Step::Piece {
                if out.len() >= GATHERED_BYTES_MIN {
                    self.send(writer, &mut out).await?;
                }
                tokio::task::yield_now().await;
            }
            if self.given == 0 && out.is_empty() {
                // The first byte is not to wait for a block to be full.
                coder.flush(&mut out)?;
            }
            if out.len() >= GATHERED_BYTES_MIN || self.given == 0 {
                self.send(writer, &mut out).await?;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn send(&mut self, writer: &mut FillWriter<Meta>, out: &mut Vec<u8>) -> Result<(), Stop> {
        if out.is_empty() {
            return Ok(());
        }
        writer.ready().await.map_err(|_| Stop::Abandoned)?;
        self.given += out.len() as u64;
        writer.append(Bytes::from(std::mem::take(out)));
        Ok(())
    }

    /// Ends the form and stores it, where what it was made of is stored too.
    fn end(mut self, source: &Source, coder: Coder, mut writer: FillWriter<Meta>, trailers: Option<Arc<HeaderMap>>) {
        let mut out = Vec::new();
        if let Err(error) = coder.finish(&mut out) {
            failed(&self.worker, error);
            writer.fail(FAILED);
            return;
        }
        self.given += out.len() as u64;
        writer.append(Bytes::from(out));
        count(&self.worker, self.taken, self.given);
        let trailers = trailers.map(|trailers| {
            let mut trailers = (*trailers).clone();
            coding::remove_digests(&mut trailers);
            trailers
        });
        let useless = matches!(self.form, Form::Coded(_)) && self.given >= self.taken;
        let store = &self.worker.node.store;
        match writer.finish(trailers) {
            Ok(Some(_)) if useless && source.is_kept() => {
                let kind = Kind { form: self.form, useless, background: false };
                let _ = store.insert_derived(&Arc::new(Stored::new(derived::head(&self.head, kind), Body::default())));
            }
            Ok(Some(made)) if source.is_kept() => {
                let _ = store.insert_derived(&Arc::new(made));
            }
            _ => {}
        }
    }
}

/// Why a form is not finished.
enum Stop {
    Coder(CoderError),
    Source(FillError),
    Abandoned,
}

impl From<CoderError> for Stop {
    fn from(error: CoderError) -> Self {
        Stop::Coder(error)
    }
}

pub(super) fn failed(worker: &Worker, error: CoderError) {
    worker.metrics.labelled.count("coding_errors", error.as_str());
}

pub(super) fn count(worker: &Worker, taken: u64, given: u64) {
    worker.metrics.codings.add(1);
    worker.metrics.coding_in_bytes.add(taken);
    worker.metrics.coding_out_bytes.add(given);
}
