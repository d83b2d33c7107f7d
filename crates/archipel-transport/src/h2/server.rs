//! The task of one HTTP/2 connection from a client: it reads, starts what is asked for, writes, and knows when to end.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::conn::{Opened, Shared};
use super::frame::{Code, kind};
use super::request;
use super::send::{SendContext, send_reply};
use super::stream::{StreamRef, StreamTask};
use crate::conn::Conn;
use crate::env::{ServerSettings, count};
use crate::io::Io;
use crate::listen::Server;
use crate::message::{End, Handler};
use crate::timer::LazyTimer;

/// How long a connection that is told to go may take over it.
const GOODBYE: Duration = Duration::from_secs(5);
/// Time and bytes in which what a client still sends is read away, so that the close does not destroy what it is told.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;
/// Bytes asked of the kernel in one read.
const READ_BYTES: usize = 64 * 1024;

thread_local! {
    /// The read buffer of the thread. Taken while it is used: streams are started from what is in it.
    static READ: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// What the streams of a connection share.
struct Connection<H> {
    conn: Arc<Conn>,
    server: Arc<Server<H>>,
    settings: Arc<ServerSettings>,
    shared: Arc<Shared>,
}

/// Serves streams on `io`. `initial` are bytes read already (the preface, by prior knowledge).
pub(crate) async fn serve<H: Handler>(
    io: Io,
    initial: Bytes,
    conn: Arc<Conn>,
    server: Arc<Server<H>>,
    settings: Arc<ServerSettings>,
) {
    let shared = Arc::new(Shared::new(settings.http2));
    let connection = Arc::new(Connection { conn, server, settings, shared });
    let now = Instant::now();
    let mut task = Task {
        io,
        connection: connection.clone(),
        input: initial.to_vec(),
        unseen: !initial.is_empty(),
        unflushed: false,
        timer: LazyTimer::default(),
        last: now,
        busy: false,
        head_begun: Some(now),
        stalled: None,
        going: None,
    };
    let ending = Ending(connection.clone());
    let mut registered = false;
    poll_fn(|cx| {
        if !registered {
            connection.server.drain.register(connection.conn.id, cx.waker());
            registered = true;
        }
        task.poll(cx)
    })
    .await;
    drop(ending);
    task.linger().await;
}

/// Ends the connection for its streams, even where its task panics or is dropped: none of them waits for ever.
struct Ending<H: Handler>(Arc<Connection<H>>);

impl<H: Handler> Drop for Ending<H> {
    fn drop(&mut self) {
        self.0.server.drain.forget(self.0.conn.id);
        self.0.end();
    }
}

struct Task<H> {
    io: Io,
    connection: Arc<Connection<H>>,
    /// Bytes read and not used yet: the beginning of a frame, or what there was no room for.
    input: Vec<u8>,
    /// `input` may hold whole frames.
    unseen: bool,
    /// TLS may still hold bytes that were written.
    unflushed: bool,
    timer: LazyTimer,
    /// When a stream was last open.
    last: Instant,
    /// Streams were open when it was last looked at.
    busy: bool,
    /// Since when the client owes the rest of a head.
    head_begun: Option<Instant>,
    /// Since when the client takes nothing of what is queued.
    stalled: Option<Instant>,
    /// Since when it is told to go.
    going: Option<Instant>,
}

impl<H: Handler> Task<H> {
    /// Ready once the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.enter(cx);
        loop {
            self.heed_drain();
            let held_up = !self.connection.shared.lock().has_room();
            let read = match self.poll_input(cx) {
                Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) => true,
                Poll::Pending => false,
            };
            // What one read asked for is answered in one write.
            if read {
                continue;
            }
            let written = self.poll_output(cx);
            if matches!(written, Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
            let mut inner = self.connection.shared.lock();
            if written.is_ready() && (inner.failed.is_some() || inner.is_done()) {
                return Poll::Ready(());
            }
            if held_up && inner.has_room() {
                continue;
            }
            if !inner.changed {
                inner.in_task = false;
                self.busy = !inner.streams.is_empty();
                if inner.failed.is_some() {
                    self.going.get_or_insert_with(Instant::now);
                }
                break;
            }
        }
        self.poll_deadlines(cx)
    }

    fn enter(&mut self, cx: &Context<'_>) {
        if self.busy {
            self.last = Instant::now();
        }
        let mut inner = self.connection.shared.lock();
        inner.in_task = true;
        super::streams::register(&mut inner.task, cx.waker());
    }

    fn heed_drain(&mut self) {
        let connection = &self.connection;
        let enough = connection.conn.requests() >= connection.settings.requests_per_connection_max;
        if self.going.is_none() && (enough || connection.server.drain.is_draining()) {
            self.go();
        }
    }

    fn go(&mut self) {
        self.going = Some(Instant::now());
        self.connection.shared.lock().go();
    }

    /// Reads once and starts what is asked for. Ready(0) at the end of the client's bytes.
    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if !self.connection.shared.lock().takes_frames() {
            return Poll::Pending;
        }
        if self.unseen {
            let input = std::mem::take(&mut self.input);
            self.feed(&input);
            return Poll::Ready(Ok(input.len()));
        }
        let mut buffer = READ.take().unwrap_or_else(|| vec![0; READ_BYTES].into_boxed_slice());
        let mut read = ReadBuf::new(&mut buffer);
        let polled = Pin::new(&mut self.io).poll_read(cx, &mut read);
        let n = read.filled().len();
        if n > 0 {
            if self.input.is_empty() {
                self.feed(&buffer[..n]);
            } else {
                let mut input = std::mem::take(&mut self.input);
                input.extend_from_slice(&buffer[..n]);
                self.feed(&input);
            }
        }
        READ.set(Some(buffer));
        polled.map_ok(|()| n)
    }

    /// Takes in what it can of `input` and keeps the rest.
    fn feed(&mut self, input: &[u8]) {
        let now = Instant::now();
        let mut rest = input;
        loop {
            let (used, opened) = self.connection.shared.lock().feed(rest);
            rest = &rest[used..];
            let Some(opened) = opened else { break };
            self.last = now;
            self.connection.start(*opened);
        }
        let inner = self.connection.shared.lock();
        self.input.extend_from_slice(rest);
        self.unseen = !rest.is_empty() && !inner.has_room();
        // The rest of a DATA frame comes at the pace of an upload; that of any other has the time of a head.
        let inside = inner.is_inside_head();
        let owed = inside || rest.get(3).map_or(!rest.is_empty(), |kind| *kind != kind::DATA);
        let moved = rest.len() < input.len() && !inside;
        self.head_begun = owed.then(|| self.head_begun.filter(|_| !moved).unwrap_or(now));
    }

    /// Writes what is queued. Ready once the socket has it all.
    fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.connection.shared.lock();
        let had_room = inner.has_room();
        inner.changed = false;
        if inner.out.is_empty() && !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        let mut moved = false;
        let written = inner.out.poll_write(&mut self.io, cx, &mut moved);
        self.unflushed = written.is_pending();
        if moved && inner.has_room() && inner.send_window > 0 {
            inner.wake_waiting();
        }
        if !had_room && inner.has_room() {
            // Until now it was us who did not read the rest of the head.
            self.head_begun = self.head_begun.map(|_| Instant::now());
        }
        match &written {
            Poll::Pending if moved || self.stalled.is_none() => self.stalled = Some(Instant::now()),
            Poll::Pending => {}
            Poll::Ready(_) => self.stalled = None,
        }
        written
    }

    /// Waits for the next deadline, of which there is always at least one.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let (deadline, due) = self.next_deadline();
            self.timer.set(deadline);
            ready!(self.timer.poll_expired(cx));
            match due {
                Due::Idle => self.go(),
                // A client that does not answer cannot have streams opened for ever.
                Due::Last => self.connection.shared.lock().say_last(),
                Due::Nothing => {}
                Due::Stalled => {
                    count(&self.connection.server.stats.send_stalls);
                    return Poll::Ready(());
                }
                Due::End => return Poll::Ready(()),
            }
            // What it is told is written at once.
            if matches!(self.poll_output(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
        }
    }

    fn next_deadline(&self) -> (Instant, Due) {
        let settings = &self.connection.settings;
        let inner = self.connection.shared.lock();
        let (now, idle) = (Instant::now(), inner.streams.is_empty() || inner.failed.is_some());
        let mut next = match self.going {
            Some(since) if idle => (since + GOODBYE, Due::End),
            Some(since) if !inner.has_said_last() => (since + GOODBYE, Due::Last),
            None if idle => (self.last + settings.keep_alive, Due::Idle),
            _ => (now + settings.keep_alive, Due::Nothing),
        };
        let others = [
            (self.head_begun.filter(|_| inner.has_room()).map(|since| since + settings.request_head), Due::End),
            (self.stalled.map(|since| since + settings.send_progress), Due::Stalled),
        ];
        for (deadline, due) in others {
            if let Some(deadline) = deadline
                && deadline < next.0
            {
                next = (deadline, due);
            }
        }
        next
    }

    /// Closes so that what the client was told last arrives even where it is still sending (RFC 9112 section 9.6).
    async fn linger(mut self) {
        let mut dropped = 0;
        let lingering = poll_fn(|cx| {
            ready!(self.poll_output(cx)).ok();
            ready!(Pin::new(&mut self.io).poll_shutdown(cx)).ok();
            let mut buffer = [0; 4096];
            while dropped <= LINGER_BYTES_MAX {
                let mut read = ReadBuf::new(&mut buffer);
                match ready!(Pin::new(&mut self.io).poll_read(cx, &mut read)) {
                    Ok(()) if !read.filled().is_empty() => dropped += read.filled().len(),
                    _ => break,
                }
            }
            Poll::Ready(())
        });
        let _ = tokio::time::timeout(LINGER, lingering).await;
    }
}

/// What happens at a deadline.
enum Due {
    /// The connection is told to go.
    Idle,
    /// What the client opens from now on is not served.
    Last,
    /// It is only looked at again.
    Nothing,
    /// It ends, since the client takes nothing.
    Stalled,
    End,
}

impl<H: Handler> Connection<H> {
    /// Tells the streams that their connection has ended.
    fn end(&self) {
        let mut inner = self.shared.lock();
        let flooded = inner.failed == Some(Code::ENHANCE_YOUR_CALM);
        inner.gone();
        drop(inner);
        if flooded {
            count(&self.server.stats.http2_floods);
            self.server.handler.flooded(&self.conn);
        }
    }

    fn start(self: &Arc<Self>, opened: Opened) {
        self.conn.count_request();
        let task = StreamTask::new(self.shared.clone(), opened.key);
        let mut task = Box::pin(answer(self.clone(), task, opened));
        // A hit answers at once: it is not worth a task.
        if task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::spawn(task);
        }
    }
}

async fn answer<H: Handler>(connection: Arc<Connection<H>>, task: StreamTask, opened: Opened) {
    let Connection { conn, server, settings, .. } = &*connection;
    let stream = task.stream();
    let head_request = opened.head.method == Method::HEAD;
    let (reply, mut exchange, tunnel) = match request::convert(opened.head, opened.has_body, stream, conn, settings) {
        Err(refusal) => {
            server.stats.refused(refusal);
            let (reply, exchange) = server.handler.refuse(conn, refusal);
            (reply, exchange, false)
        }
        Ok((request, tunnel)) => {
            let answering = pin!(server.handler.handle(conn.clone(), request));
            let Some((reply, exchange)) = unless_reset(answering, stream).await else { return };
            (reply, exchange, tunnel)
        }
    };
    let ctx = SendContext {
        head_request,
        send_progress: settings.send_progress,
        upgrade_idle: settings.upgrade_idle,
        tunnel,
    };
    if send_reply(stream, reply, &mut exchange, ctx).await == End::ClientStalled {
        count(&server.stats.send_stalls);
    }
}

/// The answer, unless the client resets the stream first: nobody works for who has gone.
async fn unless_reset<F: Future>(mut answering: Pin<&mut F>, stream: &StreamRef) -> Option<F::Output> {
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answering.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        stream.with(|conn, key| conn.poll_reset(key, cx)).map(|()| None)
    })
    .await
}
