//! The access log: JSON lines, gathered by each worker and written by a thread of its own. A request never waits for it;
//! what does not fit the queue is dropped and counted.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use archipel_config::AccessLog as Target;

use crate::metrics::WorkerMetrics;
use crate::record::Record;

/// A worker hands its lines over when it has so many bytes, or at its next tick.
const BATCH_BYTES: usize = 64 * 1024;

enum Message {
    Lines { lines: Vec<u8>, records: usize },
    Flush(Sender<()>),
    Stop,
}

/// The writer's end that all workers share.
pub struct AccessLog {
    queue: Sender<Message>,
    queued_records: Arc<AtomicUsize>,
    queue_records_max: usize,
    reopen: Arc<AtomicBool>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl AccessLog {
    /// Opens the log. `None` where it is off.
    ///
    /// # Errors
    /// When the file cannot be opened for appending.
    pub fn open(target: &Target, queue_records_max: usize) -> io::Result<Option<Arc<Self>>> {
        let sink = match target {
            Target::Off => return Ok(None),
            Target::Stdout => Sink::Stdout,
            Target::Stderr => Sink::Stderr,
            Target::File(path) => Sink::open(path.clone())?,
        };
        let (queue, messages) = channel();
        let queued_records = Arc::new(AtomicUsize::new(0));
        let reopen = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("access-log".to_owned()).spawn({
            let (queued, reopen) = (queued_records.clone(), reopen.clone());
            move || run(sink, &messages, &queued, &reopen)
        })?;
        Ok(Some(Arc::new(Self { queue, queued_records, queue_records_max, reopen, thread: Mutex::new(Some(thread)) })))
    }

    /// Opens the file again at the next write, after it was moved away.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Waits until everything handed over so far is written.
    pub fn flush(&self) {
        let (done, wait) = channel();
        if self.queue.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(5));
        }
    }

    fn hand_over(&self, lines: Vec<u8>, records: usize, metrics: &WorkerMetrics) {
        let queued = self.queued_records.fetch_add(records, Ordering::Relaxed);
        if queued + records > self.queue_records_max.max(records)
            || self.queue.send(Message::Lines { lines, records }).is_err()
        {
            self.queued_records.fetch_sub(records, Ordering::Relaxed);
            metrics.log_records_dropped.add(records as u64);
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let _ = self.queue.send(Message::Stop);
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

enum Sink {
    Stdout,
    Stderr,
    File { path: PathBuf, file: std::fs::File },
}

impl Sink {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        Ok(Sink::File { path, file })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Sink::Stdout => io::stdout().lock().write_all(lines),
            Sink::Stderr => io::stderr().lock().write_all(lines),
            Sink::File { file, .. } => file.write_all(lines),
        }
    }
}

fn run(mut sink: Sink, messages: &Receiver<Message>, queued: &AtomicUsize, reopen: &AtomicBool) {
    let mut failing = false;
    while let Ok(message) = messages.recv() {
        match message {
            Message::Lines { lines, records } => {
                if reopen.swap(false, Ordering::Relaxed)
                    && let Sink::File { path, .. } = &sink
                    && let Ok(opened) = Sink::open(path.clone())
                {
                    sink = opened;
                }
                let written = sink.write(&lines);
                if let Err(error) = &written
                    && !failing
                {
                    tracing::error!(%error, "the access log cannot be written; records are lost until it can");
                }
                failing = written.is_err();
                queued.fetch_sub(records, Ordering::Relaxed);
            }
            Message::Flush(done) => drop(done.send(())),
            Message::Stop => return,
        }
    }
}

/// A worker's end.
pub struct WorkerLog {
    shared: Arc<AccessLog>,
    batch: Mutex<(Vec<u8>, usize)>,
}

impl WorkerLog {
    /// An empty batch for `shared`.
    pub fn new(shared: Arc<AccessLog>) -> Self {
        Self { shared, batch: Mutex::new((Vec::with_capacity(BATCH_BYTES + 4096), 0)) }
    }

    /// Adds a line.
    pub fn write(&self, record: &Record<'_>, metrics: &WorkerMetrics) {
        let mut batch = self.batch.lock().unwrap_or_else(PoisonError::into_inner);
        record.write_line(&mut batch.0);
        batch.1 += 1;
        if batch.0.len() >= BATCH_BYTES {
            self.hand_over(&mut batch, metrics);
        }
    }

    /// Hands over what there is.
    pub fn tick(&self, metrics: &WorkerMetrics) {
        self.hand_over(&mut self.batch.lock().unwrap_or_else(PoisonError::into_inner), metrics);
    }

    fn hand_over(&self, batch: &mut (Vec<u8>, usize), metrics: &WorkerMetrics) {
        if batch.1 > 0 {
            let lines = std::mem::replace(&mut batch.0, Vec::with_capacity(BATCH_BYTES + 4096));
            let records = std::mem::take(&mut batch.1);
            self.shared.hand_over(lines, records, metrics);
        }
    }
}

thread_local! {
    /// The last second that was formatted: neighbours in a log differ in their milliseconds only.
    static SECOND: Cell<(u64, [u8; 24])> = const { Cell::new((u64::MAX, [0; 24])) };
}

/// An RFC 3339 time in a buffer.
#[derive(Default)]
pub(crate) struct TimeText([u8; 24]);

impl TimeText {
    pub(crate) fn of(&mut self, time: SystemTime) -> &str {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (second, text) = SECOND.get();
        if second == since.as_secs() {
            let millis = since.subsec_millis();
            self.0 = text;
            self.0[20..23].copy_from_slice(&[100, 10, 1].map(|unit| b'0' + (millis / unit % 10) as u8));
        } else {
            self.format(since);
            SECOND.set((since.as_secs(), self.0));
        }
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn format(&mut self, since: Duration) {
        let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
        let (year, month, day) = civil(days as i64);
        let mut cursor = &mut self.0[..];
        let _ = write!(
            cursor,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            second / 3600,
            second / 60 % 60,
            second % 60,
            since.subsec_millis()
        );
    }
}

/// Days since 1970-01-01 to a date (the civil-from-days algorithm of H. Hinnant).
fn civil(days: i64) -> (i64, u32, u32) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month + 2) / 5 + 1) as u32;
    let month = if month < 10 { month + 3 } else { month - 9 } as u32;
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// An address in a buffer.
pub(crate) struct AddressText([u8; 46]);

impl Default for AddressText {
    fn default() -> Self {
        Self([0; 46])
    }
}

impl AddressText {
    pub(crate) fn of(&mut self, address: IpAddr) -> &str {
        let used = match address {
            IpAddr::V4(v4) => {
                let mut used = 0;
                for (i, octet) in v4.octets().into_iter().enumerate() {
                    if i > 0 {
                        self.0[used] = b'.';
                        used += 1;
                    }
                    for unit in [100, 10, 1] {
                        if octet >= unit || unit == 1 {
                            self.0[used] = b'0' + octet / unit % 10;
                            used += 1;
                        }
                    }
                }
                used
            }
            IpAddr::V6(_) => {
                let mut cursor = &mut self.0[..];
                let _ = write!(cursor, "{address}");
                let left = cursor.len();
                self.0.len() - left
            }
        };
        std::str::from_utf8(&self.0[..used]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (seconds, millis, expected) in [
            (0, 0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, 7, "2000-02-29T00:00:00.007Z"),
            (1_763_465_400, 999, "2025-11-18T11:30:00.999Z"),
            (4_102_444_799, 1, "2099-12-31T23:59:59.001Z"),
        ] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis);
            assert_eq!(TimeText::default().of(time), expected);
        }
    }
}
