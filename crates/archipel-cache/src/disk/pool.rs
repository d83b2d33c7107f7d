//! Threads that wait for the disk, so that those who serve requests do not; and the buffers that both read into.
//!
//! Must never make a read wait that a reply in progress needs because others were there first: only first reads are refused.

use bytes::Bytes;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

type Task = Box<dyn FnOnce() + Send>;

/// Buffers of each kind that are kept for the next read.
const BUFFERS_KEPT: usize = 32;
/// Longer than this is what large objects are read into: what small ones are sent from stays as small as them.
const SMALL_BYTES_MAX: usize = 32 << 10;

#[derive(Debug)]
struct Slot<T> {
    value: Option<T>,
    waker: Option<Waker>,
    /// The one who was to answer is gone.
    broken: bool,
}

/// What a reader thread will answer. A future of `None` where the pool ended before.
#[derive(Debug)]
pub(crate) struct Waited<T>(Arc<Mutex<Slot<T>>>);

struct Promise<T>(Arc<Mutex<Slot<T>>>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No caller's code runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Future for Waited<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = lock(&self.0);
        if slot.value.is_some() || slot.broken {
            return Poll::Ready(slot.value.take());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Promise<T> {
    fn end(&self, value: Option<T>) {
        let waker = {
            let mut slot = lock(&self.0);
            slot.broken |= value.is_none();
            slot.value = value.or(slot.value.take());
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        self.end(None);
    }
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    is_closed: bool,
}

/// The reader threads.
pub(crate) struct Pool {
    queue: Mutex<Queue>,
    arrived: Condvar,
    waiting_max: usize,
    buffers: Buffers,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("waiting_max", &self.waiting_max).finish_non_exhaustive()
    }
}

impl Pool {
    /// Starts `threads` threads; where the system gives none, reads are made by who asks.
    pub(crate) fn start(threads: usize, waiting_max: usize, ahead_bytes_max: u64) -> Arc<Self> {
        let pool = Arc::new(Self {
            queue: Mutex::default(),
            arrived: Condvar::new(),
            waiting_max,
            buffers: Buffers(Arc::new(BufferPool {
                small: Mutex::default(),
                large: Mutex::default(),
                ahead_bytes_max,
                out: std::sync::atomic::AtomicU64::new(0),
            })),
        });
        let mut started = 0;
        for number in 0..threads {
            let own = Arc::clone(&pool);
            let thread = std::thread::Builder::new().name(format!("disk-reader-{number}")).spawn(move || own.run());
            started += usize::from(thread.is_ok());
        }
        if started == 0 {
            lock(&pool.queue).is_closed = true;
        }
        pool
    }

    fn run(&self) {
        loop {
            let task = {
                let mut queue = lock(&self.queue);
                loop {
                    if let Some(task) = queue.tasks.pop_front() {
                        break task;
                    }
                    if queue.is_closed {
                        return;
                    }
                    queue = self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner);
                }
            };
            task();
        }
    }

    /// Has `read` made by a thread. With `refusable`, `None` where `waiting_max` wait already.
    pub(crate) fn submit<T: Send + 'static>(
        &self,
        refusable: bool,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<Waited<T>> {
        let slot = Arc::new(Mutex::new(Slot { value: None, waker: None, broken: false }));
        let promise = Promise(Arc::clone(&slot));
        let task: Task = Box::new(move || promise.end(Some(read())));
        let mut queue = lock(&self.queue);
        if queue.is_closed {
            drop(queue);
            task();
            return Some(Waited(slot));
        }
        if refusable && queue.tasks.len() >= self.waiting_max {
            return None;
        }
        queue.tasks.push_back(task);
        drop(queue);
        self.arrived.notify_one();
        Some(Waited(slot))
    }

    /// Ends the threads once they have read what waits.
    pub(crate) fn close(&self) {
        lock(&self.queue).is_closed = true;
        self.arrived.notify_all();
    }

    pub(crate) fn buffers(&self) -> &Buffers {
        &self.buffers
    }
}

/// Buffers for what is read. They come back when the last reader of their bytes is done, and the last one that came back goes first:
/// it is in the processor's cache still.
#[derive(Debug, Clone)]
pub(crate) struct Buffers(Arc<BufferPool>);

#[derive(Debug)]
struct BufferPool {
    small: Mutex<Vec<Vec<u8>>>,
    large: Mutex<Vec<Vec<u8>>>,
    /// Bytes that readers may hold before they get small pieces only.
    ahead_bytes_max: u64,
    out: std::sync::atomic::AtomicU64,
}

impl BufferPool {
    fn kept(&self, bytes: usize) -> MutexGuard<'_, Vec<Vec<u8>>> {
        lock(if bytes <= SMALL_BYTES_MAX { &self.small } else { &self.large })
    }
}

struct Buffer {
    /// At least `len` bytes: one that was longer before keeps its length, so that no byte is zeroed twice.
    bytes: Vec<u8>,
    len: usize,
    pool: Arc<BufferPool>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.out.fetch_sub(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let mut kept = self.pool.kept(bytes.len());
        if kept.len() < BUFFERS_KEPT {
            kept.push(bytes);
        }
    }
}

impl Buffers {
    /// Whether readers hold so much that each should hold little.
    pub(crate) fn are_scarce(&self) -> bool {
        self.0.out.load(std::sync::atomic::Ordering::Relaxed) > self.0.ahead_bytes_max
    }

    /// A buffer of that length, filled by `fill`. Its old content is of no concern: it is filled whole or not returned.
    pub(crate) fn filled<E>(&self, len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Bytes, E> {
        let mut bytes = self.0.kept(len).pop().unwrap_or_default();
        if bytes.len() < len {
            bytes.resize(len, 0);
        }
        self.0.out.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        let mut buffer = Buffer { bytes, len, pool: Arc::clone(&self.0) };
        fill(buffer.bytes.get_mut(..len).unwrap_or_default())?;
        Ok(Bytes::from_owner(buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn reads_are_made_and_first_ones_refused_beyond_the_bound() {
        let pool = Pool::start(1, 1, 0);
        let (go, wait) = mpsc::channel::<()>();
        let (begun, started) = mpsc::channel();
        let first = pool
            .submit(true, move || {
                begun.send(()).unwrap();
                wait.recv().unwrap();
                1
            })
            .unwrap();
        started.recv().unwrap();
        let second = pool.submit(true, || 2).unwrap();
        assert!(pool.submit(true, || 3).is_none(), "one waits already");
        let needed = pool.submit(false, || 4).unwrap();
        go.send(()).unwrap();
        assert_eq!((first.await, second.await, needed.await), (Some(1), Some(2), Some(4)));
        pool.close();
        assert_eq!(pool.submit(true, || 5).unwrap().await, Some(5), "made by who asks");
    }

    #[tokio::test]
    async fn a_read_that_panics_answers_nothing() {
        let pool = Pool::start(1, 8, 0);
        let broken = pool.submit(true, || -> u8 { std::panic::resume_unwind(Box::new(())) }).unwrap();
        assert_eq!(broken.await, None);
        pool.close();
    }

    #[test]
    fn buffers_come_back() {
        let pool = Pool::start(0, 0, 100);
        let fill = |to: &mut [u8]| -> Result<(), ()> {
            to.fill(7);
            Ok(())
        };
        let bytes = pool.buffers().filled(101, fill).unwrap();
        assert!(pool.buffers().are_scarce() && bytes.iter().all(|byte| *byte == 7));
        let slice = bytes.slice(5..9);
        drop(bytes);
        assert!(pool.buffers().are_scarce());
        drop(slice);
        assert!(!pool.buffers().are_scarce());
        assert!(pool.buffers().filled(5, |_| Err(())).is_err() && !pool.buffers().are_scarce());
    }
}
