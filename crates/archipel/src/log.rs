//! The log for people on standard error, and what happens when something panics.
//!
//! Must never write a line per request: that is the access log's, in the edge.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::say;

/// Panics since the start, caught or not.
pub static PANICS: AtomicU64 = AtomicU64::new(0);

/// The live line on the terminal, which log lines must not run into.
static LIVE: Mutex<bool> = Mutex::new(false);

/// Starts logging: `ARCHIPEL_LOG` has a level or `target=level` pairs; `info` without it.
pub fn start() {
    let (filter, problem) = match std::env::var("ARCHIPEL_LOG") {
        Ok(text) if !text.is_empty() => match EnvFilter::try_new(&text) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new("info"), Some(format!("{text:?}: {error}"))),
        },
        _ => (EnvFilter::new("info"), None),
    };
    let colours = say::colours(&io::stderr());
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(Stderr).with_target(false);
    // Fails only if a subscriber is set already: then that one is as good.
    let _ = subscriber.try_init();
    if let Some(problem) = problem {
        tracing::warn!("ARCHIPEL_LOG is not understood, logging at `info`: {problem}");
    }
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed").to_owned();
        // The words "panicked at" are what people and tests look for.
        tracing::error!(thread = name, "{panic}; only the task that did it is lost. Please report this.");
    }));
}

/// Replaces the live line. What the terminal has no room for is left out: a line that wraps could not be replaced.
pub fn live(line: &str) {
    let columns = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    let room = if columns == 0 { 80 } else { columns } - 1;
    let line: String = line.chars().take(room).collect();
    let mut shown = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    // Nothing can be done where the terminal is gone.
    let _ = write!(io::stderr().lock(), "\r\x1b[K{line}");
    *shown = !line.is_empty();
}

#[derive(Clone, Copy)]
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut shown = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stderr = io::stderr().lock();
        if std::mem::take(&mut *shown) {
            stderr.write_all(b"\r\x1b[K")?;
        }
        stderr.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
