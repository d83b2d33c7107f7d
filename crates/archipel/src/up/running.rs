//! A node that serves, as the control socket, the admin listener and the signals see it: its status, reloading,
//! handing over.

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use archipel_config::Snapshot;
use archipel_edge::{Edge, Node, ZoneStored, server_settings};
use archipel_transport::listen::Server;
use archipel_transport::tls::certificates::{CertificateSource, CertificateTable};
use archipel_transport::tls::server::TlsAcceptor;
use tokio::sync::mpsc::UnboundedSender;

use super::certificates::DevelopmentCas;
use super::plan::{Plan, needs_restart};
use crate::control::handover::{self, Offered, SERVING};
use crate::control::{HandoverAnswer, ListenerAnswer, ReloadAnswer, StatusAnswer, ZoneCacheAnswer};

/// How long the successor may take from receiving the sockets to serving on them.
const SUCCESSOR_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the successor may take nothing of what is sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not yet serving.
    Starting,
    /// Serving.
    Serving,
    /// Ending what is open.
    Draining,
}

/// The phase, which every thread may read.
#[derive(Debug, Default)]
pub struct PhaseCell(AtomicU8);

impl PhaseCell {
    /// The phase now.
    pub fn get(&self) -> Phase {
        match self.0.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Draining,
        }
    }

    /// Goes on to a phase; there is no way back.
    pub fn advance(&self, phase: Phase) {
        let number = match phase {
            Phase::Starting => 0,
            Phase::Serving => 1,
            Phase::Draining => 2,
        };
        self.0.fetch_max(number, Ordering::AcqRel);
    }
}

/// What makes the main thread act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A successor serves on our sockets.
    HandedOver,
}

/// How often a reload ended how, for the metrics.
#[derive(Debug, Default)]
pub struct ReloadCounts {
    /// A new configuration came into force.
    pub accepted: AtomicU64,
    /// The old one stayed.
    pub refused: AtomicU64,
}

/// The node and everything that concerns it as a whole.
pub struct Running {
    /// The edge.
    pub node: Arc<Node>,
    /// What serves on each worker.
    pub servers: Vec<Arc<Server<Edge>>>,
    /// Where it is in its life.
    pub phase: Arc<PhaseCell>,
    /// What it was asked to serve.
    pub plan: Plan,
    /// Listeners and their addresses.
    pub listeners: Vec<(SocketAddr, bool)>,
    /// The admin listener's address.
    pub admin: SocketAddr,
    /// The state folder.
    pub state_dir: PathBuf,
    /// Reloads so far.
    pub reloads: ReloadCounts,
    /// When it started.
    pub started: Instant,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) cas: Mutex<DevelopmentCas>,
    /// Copies of the listening sockets for a successor; none once they are given up.
    pub(super) sockets: Mutex<Vec<(Offered, OwnedFd)>>,
    pub(super) handing_over: AtomicBool,
    pub(super) reloading: Mutex<()>,
    pub(super) events: UnboundedSender<Event>,
}

impl Running {
    /// Reads the configuration and the certificates again; all of it comes into force, or none. Blocks on files.
    pub fn reload(&self) -> ReloadAnswer {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = self.try_reload();
        let count = if answer.ok { &self.reloads.accepted } else { &self.reloads.refused };
        count.fetch_add(1, Ordering::Relaxed);
        // Reopening is what a log rotation wants, whether or not the configuration is good.
        self.node.reopen_log();
        if answer.ok {
            tracing::info!(generation = answer.generation, "configuration reloaded");
            for name in &answer.needs_restart {
                tracing::warn!("`{name}` differs and takes effect with the next start (archipel up --replace)");
            }
            if !answer.report.is_empty() {
                tracing::warn!("the configuration has warnings:\n{}", answer.report.trim_end());
            }
        } else {
            tracing::error!(
                "the new configuration is refused, the old one stays in force:\n{}",
                answer.report.trim_end()
            );
        }
        answer
    }

    fn try_reload(&self) -> ReloadAnswer {
        let old = self.node.snapshot();
        let mut answer = ReloadAnswer {
            ok: false,
            generation: old.generation,
            report: String::new(),
            diagnostics: serde_json::Value::Null,
            needs_restart: Vec::new(),
        };
        let (snapshot, warnings) = match self.plan.load() {
            Ok(loaded) => loaded,
            Err(problems) => {
                answer.report = problems.render(false);
                answer.diagnostics = problems.to_json();
                return answer;
            }
        };
        answer.report = warnings.render(false);
        answer.diagnostics = warnings.to_json();
        match self.apply(snapshot, &old) {
            Ok((needs_restart, certificate_warnings)) => {
                answer.ok = true;
                answer.generation = self.node.snapshot().generation;
                answer.needs_restart = needs_restart;
                answer.report.extend(certificate_warnings.iter().map(|warning| format!("warning: {warning}\n")));
            }
            Err(error) => answer.report.push_str(&format!("error: {error:#}\n")),
        }
        answer
    }

    fn apply(&self, snapshot: Snapshot, old: &Snapshot) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let needs_restart = needs_restart(old, &snapshot);
        let source = self.certificate_source(&snapshot)?;
        let settings = Arc::new(server_settings(&snapshot));
        // Checked before anything is changed, so that a bad certificate leaves the old configuration whole.
        if source.development.is_some() || !source.files.is_empty() {
            CertificateTable::load(&source, SystemTime::now())?;
        }
        self.node.reload(snapshot)?;
        for server in &self.servers {
            server.settings.store(settings.clone());
        }
        let warnings = match &self.tls {
            Some(tls) => {
                tls.reload(&source, SystemTime::now()).context("the certificates changed while they were read")?
            }
            None => Vec::new(),
        };
        Ok((needs_restart, warnings.iter().map(ToString::to_string).collect()))
    }

    fn certificate_source(&self, snapshot: &Snapshot) -> anyhow::Result<CertificateSource> {
        if self.tls.is_none() {
            return Ok(super::certificates::files(snapshot));
        }
        let mut cas = self.cas.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cas.source(snapshot, &self.state_dir)?)
    }

    /// Where the development CA's certificate is, if the CA is in use.
    pub fn development_ca_path(&self) -> Option<PathBuf> {
        let cas = self.cas.lock().unwrap_or_else(PoisonError::into_inner);
        cas.ca().map(|ca| ca.certificate_path().to_owned())
    }

    /// What the node is doing.
    pub fn status(&self) -> StatusAnswer {
        let snapshot = self.node.snapshot();
        let live = self.node.live_counts();
        let phase = match self.phase.get() {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        };
        StatusAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            phase: phase.to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
            generation: snapshot.generation,
            source: self.plan.describe(),
            listeners: self.listener_answers(),
            admin: Some(self.admin.to_string()),
            workers: self.servers.len(),
            zones: snapshot.zones.len(),
            connections_open: self.connections_open(),
            requests: live.requests,
            hits: live.hits,
            refused: live.refused,
            cache: self.node.zones_stored().into_iter().map(cache_of).collect(),
            origins: self.node.origins(),
        }
    }

    /// The listeners for the readiness line and the status.
    pub fn listener_answers(&self) -> Vec<ListenerAnswer> {
        let answer = |(address, tls): &(SocketAddr, bool)| ListenerAnswer { address: address.to_string(), tls: *tls };
        self.listeners.iter().map(answer).collect()
    }

    /// Open connections of visitors.
    pub fn connections_open(&self) -> u64 {
        self.servers.first().map_or(0, |server| server.stats.connections_open.load(Ordering::Relaxed))
    }

    /// Tells every connection to end: after the reply that comes next, or, `idle` included, at once where nothing is asked.
    pub fn drain_connections(&self, idle: bool) {
        // All workers share one word.
        if let Some(server) = self.servers.first() {
            if idle { server.drain.start() } else { server.drain.announce() }
        }
    }

    /// Gives up the copies of the listening sockets: nobody can take over any more.
    pub fn give_up_sockets(&self) {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Sends the listening sockets to a successor that waits at `receiver`, and tells the main thread when it serves.
    pub fn hand_over(self: &Arc<Self>, receiver: &Path) -> anyhow::Result<HandoverAnswer> {
        if self.phase.get() != Phase::Serving {
            bail!("this node is stopping already");
        }
        if self.handing_over.swap(true, Ordering::AcqRel) {
            bail!("another successor is taking over at this moment");
        }
        let connected = UnixStream::connect(receiver)
            .and_then(|stream| stream.set_write_timeout(Some(SEND_TIMEOUT)).map(|()| stream))
            .and_then(|stream| stream.set_read_timeout(Some(SUCCESSOR_TIMEOUT)).map(|()| stream));
        let stream = match connected {
            Ok(stream) => stream,
            Err(error) => {
                self.handing_over.store(false, Ordering::Release);
                return Err(error).with_context(|| format!("the successor does not wait at {}", receiver.display()));
            }
        };
        // The successor reads it once it has the sockets.
        self.node.save_shield();
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner).len();
        let running = self.clone();
        // The answer must not wait for this: the successor reads the sockets after it.
        std::thread::Builder::new().name("handover".to_owned()).spawn(move || match running.pass_to(stream) {
            Ok(()) => drop(running.events.send(Event::HandedOver)),
            Err(error) => {
                running.handing_over.store(false, Ordering::Release);
                tracing::warn!("the successor did not take over, this node goes on: {error:#}");
            }
        })?;
        Ok(HandoverAnswer { pid: std::process::id(), sockets })
    }

    fn pass_to(&self, mut stream: UnixStream) -> anyhow::Result<()> {
        {
            let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
            let borrowed: Vec<_> = sockets.iter().map(|(offered, socket)| (offered.clone(), socket.as_fd())).collect();
            handover::send(&mut stream, &borrowed)?;
        }
        let mut word = [0; SERVING.len()];
        stream.read_exact(&mut word).context("it ended or did not serve in time")?;
        if word != *SERVING {
            bail!("it said something else than expected");
        }
        Ok(())
    }
}

fn cache_of((zone, stored): (String, ZoneStored)) -> ZoneCacheAnswer {
    ZoneCacheAnswer { zone, memory: stored.memory, disk: stored.disk }
}
