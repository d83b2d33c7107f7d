//! `archipel up`: from nothing to a node that serves, and back.
//!
//! Owns the order of starting and stopping, written in [`run`] and [`stop`]. A node that cannot start says so before it
//! touches anything of a node that runs.

mod admin;
mod announce;
pub mod certificates;
mod hits_page;
mod live;
mod plan;
pub mod running;
mod sockets;
mod workers;

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail};
use archipel_config::Snapshot;
use archipel_edge::{KernelEnd, Node, server_settings};
use archipel_transport::tls::server::TlsAcceptor;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use self::admin::{AdminThread, Told};
use self::certificates::DevelopmentCas;
use self::plan::{Plan, Source};
use self::running::{Event, Phase, Running};
use self::workers::Workers;
use crate::cli::UpArgs;
use crate::control::client::Control;
use crate::control::handover::{self, Offered, Role, SERVING};
use crate::control::server::{ControlPlace, ControlSocket};
use crate::control::{HandoverAnswer, HandoverCall};
use crate::{files, log, sample, say};

/// How long idle connections are left open after a handover, so that they end with a reply and not under a request.
const HANDOVER_GRACE_MAX: Duration = Duration::from_secs(5);
/// How long the disk tier may take to write what waits.
const DISK_CLOSE_MAX: Duration = Duration::from_secs(5);
/// How often the end of the open connections is looked for.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// Runs a node until it is told to stop.
pub fn run(args: &UpArgs) -> anyhow::Result<ExitCode> {
    log::start();
    raise_open_files();
    let source = match (&args.config, &args.origin) {
        (Some(folder), _) => Source::Folder(folder.clone()),
        (None, Some(url)) => Source::Origin(url.clone()),
        (None, None) => Source::Sample(start_sample()?),
    };
    let mut plan = Plan { source, listen: args.listen.clone(), state_dir: args.state_dir.clone() };
    if plan.state_dir.is_none() && !plan.has_documents() {
        plan.state_dir = Some(files::state_dir(None, None)?);
    }
    let (snapshot, warnings) = match plan.load() {
        Ok(loaded) => loaded,
        Err(problems) => {
            eprint!("{}", problems.render(say::colours(&std::io::stderr())));
            bail!("nothing is started: the configuration of {} cannot be used", plan.describe());
        }
    };
    eprint!("{}", warnings.render(say::colours(&std::io::stderr())));
    let state_dir = files::prepare_state_dir(&snapshot.node.state_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Before anybody is told that the node is there: a signal right after that must find its handler.
    let signals = runtime.block_on(async { Signals::install() }).context("signals cannot be received")?;
    let started = start(args, plan, snapshot, state_dir)?;
    let code = runtime.block_on(supervise(started, signals, !args.no_live && say::watched()));
    // Dropping it would wait for what blocks: a disk that does not answer while its tier is being closed.
    runtime.shutdown_background();
    Ok(code)
}

/// A node that serves, with what its end needs.
struct Started {
    running: Arc<Running>,
    workers: Workers,
    admin: AdminThread,
    control: ControlPlace,
    events: UnboundedReceiver<Event>,
}

/// The order of starting. Everything that can be wrong is found before a running node is asked for its sockets.
fn start(args: &UpArgs, plan: Plan, snapshot: Snapshot, state_dir: PathBuf) -> anyhow::Result<Started> {
    let begun = Instant::now();
    let mut cas = DevelopmentCas::default();
    let tls = open_tls(&snapshot, &mut cas, &state_dir)?;
    let (settings, config) = (server_settings(&snapshot), snapshot.node.clone());
    let node = Node::new(snapshot)?;
    let mut predecessor = Predecessor::find(&state_dir, args.replace)?;
    let inherited = predecessor.as_mut().map(|p| std::mem::take(&mut p.sockets)).unwrap_or_default();
    let (admin_sockets, inherited): (Vec<_>, Vec<_>) = inherited.into_iter().partition(|(o, _)| o.role == Role::Admin);
    // Whatever the node before has written by now is read.
    node.open_purges(&state_dir, predecessor.is_some());
    node.open_disk();
    node.start_shield(&state_dir).context("no thread for the shield; is the limit of threads reached (ulimit -u)?")?;
    let count = workers::count(config.workers);
    let bound = sockets::open(&config.listeners, count, inherited)?;
    let admin_listener = open_admin(&plan, &config.admin, admin_sockets)?;
    let admin_address = admin_listener.local_addr()?;
    let mut copies = bound.iter().map(sockets::Bound::copies).collect::<Result<Vec<_>, _>>()?.concat_pairs();
    copies.push((admin_offer(config.admin.address, admin_address), admin_listener.try_clone()?.into()));
    let listeners = bound.iter().map(|bound| (bound.address, bound.configured.tls)).collect();
    let told = Arc::new(Told::default());
    told.remote.store(config.admin.allow_remote, Ordering::Relaxed);
    let admin = AdminThread::start(admin_listener, told.clone())?;
    let workers = Workers::start(&node, count, &settings, tls.as_ref(), bound)?;
    let (events_in, events) = unbounded_channel();
    let running = Arc::new(Running {
        node,
        servers: workers.servers.clone(),
        phase: told.phase.clone(),
        plan,
        listeners,
        admin: admin_address,
        state_dir: state_dir.clone(),
        reloads: Default::default(),
        started: begun,
        tls,
        cas: Mutex::new(cas),
        sockets: Mutex::new(copies),
        handing_over: Default::default(),
        reloading: Mutex::default(),
        events: events_in,
    });
    let control = {
        let _inside = admin.handle.enter();
        let socket = ControlSocket::take_over(&state_dir).context("the control socket cannot be made")?;
        socket.serve(running.clone())
    };
    running.node.open_kernel(running.listeners.iter().map(|(address, _)| *address).collect())?;
    let _ = told.running.set(running.clone());
    running.phase.advance(Phase::Serving);
    if let Some(predecessor) = predecessor {
        predecessor.dismiss()?;
    }
    if let Some(target) = &args.announce {
        announce::announce(target, &running)?;
    }
    announce::notify(&format!("READY=1\nMAINPID={}\nSTATUS=serving {}", std::process::id(), running.plan.describe()));
    eprint!("{}", announce::banner(&running));
    Ok(Started { running, workers, admin, control, events })
}

/// Joins the sockets of all listeners.
trait ConcatPairs {
    fn concat_pairs(self) -> Vec<(Offered, OwnedFd)>;
}

impl ConcatPairs for Vec<Vec<(Offered, OwnedFd)>> {
    fn concat_pairs(self) -> Vec<(Offered, OwnedFd)> {
        self.into_iter().flatten().collect()
    }
}

fn admin_offer(configured: std::net::SocketAddr, address: std::net::SocketAddr) -> Offered {
    Offered { role: Role::Admin, configured, address, tls: false, proxy_protocol: false }
}

fn open_admin(
    plan: &Plan,
    config: &archipel_config::Admin,
    inherited: Vec<(Offered, OwnedFd)>,
) -> anyhow::Result<TcpListener> {
    let fits = |offered: &Offered| offered.configured == config.address || offered.address == config.address;
    let inherited =
        inherited.into_iter().find(|(offered, _)| fits(offered)).map(|(_, socket)| TcpListener::from(socket));
    sockets::open_admin(config.address, inherited, !plan.has_documents())
}

fn open_tls(snapshot: &Snapshot, cas: &mut DevelopmentCas, state_dir: &Path) -> anyhow::Result<Option<TlsAcceptor>> {
    if !snapshot.node.listeners.iter().any(|listener| listener.tls) {
        return Ok(None);
    }
    let source = cas.source(snapshot, state_dir)?;
    let (acceptor, warnings) = TlsAcceptor::new(&source, certificates::settings(snapshot), SystemTime::now())?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(Some(acceptor))
}

/// The sample site, on a thread of its own: it is an origin like any other, and must not share the edge's.
fn start_sample() -> anyhow::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").context("the sample site finds no free port")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("sample".to_owned()).spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                // It ends with the process: it must outlive the edge's last request to it.
                Ok(listener) => sample::serve(listener, std::future::pending()).await,
                Err(error) => tracing::error!(%error, "the sample site cannot be served"),
            }
        });
    })?;
    Ok(address)
}

/// Every connection takes a file descriptor, and the usual soft limit is 1024.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// The node that ran before, and its sockets.
struct Predecessor {
    pid: u32,
    stream: UnixStream,
    sockets: Vec<(Offered, OwnedFd)>,
}

impl Predecessor {
    /// Looks for a node with the same state folder and, where it may be replaced, receives its sockets.
    fn find(state_dir: &Path, replace: bool) -> anyhow::Result<Option<Self>> {
        let control = Control::of(state_dir);
        if !control.is_answering() {
            if replace {
                tracing::info!("no node runs with this state folder: there is nothing to take over");
            }
            return Ok(None);
        }
        if !replace {
            bail!(
                "an archipel is running already with state folder {}\n  take over from it with --replace, or start a second one with another --state-dir",
                state_dir.display()
            );
        }
        let path = state_dir.join(format!("handover-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).with_context(|| format!("{}", path.display()))?;
        let taken = Self::take(&control, &listener, &path);
        let _ = std::fs::remove_file(&path);
        taken.map(Some).context("the running node does not hand over its sockets")
    }

    fn take(control: &Control, listener: &UnixListener, path: &Path) -> anyhow::Result<Self> {
        let answer: HandoverAnswer = control.post("/handover", &HandoverCall { receiver: path.to_owned() })?;
        // It has connected before it answered.
        listener.set_nonblocking(true)?;
        let (mut stream, _) = listener.accept().context("it said it would, and did not come")?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let sockets = handover::receive(&mut stream)?;
        Ok(Self { pid: answer.pid, stream, sockets })
    }

    /// Tells it that its work is done.
    fn dismiss(mut self) -> anyhow::Result<()> {
        use std::io::Write as _;
        self.stream.write_all(SERVING).context("the node before does not hear that it is replaced")?;
        tracing::info!(pid = self.pid, "took over; the node before ends its open requests");
        Ok(())
    }
}

/// Why the node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Signal,
    HandedOver,
}

/// The signals that a node answers to.
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Signals {
    fn install() -> std::io::Result<Self> {
        // A file that reaches RLIMIT_FSIZE is an error of the write, as a full disk is, and not the end of the process: once asked for, the
        // signal has a handler for good.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for what may happen to a node, then stops it.
async fn supervise(mut started: Started, mut signals: Signals, live: bool) -> ExitCode {
    let running = started.running.clone();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let (mut before, mut at) = (running.node.live_counts(), Instant::now());
    let why = loop {
        tokio::select! {
            _ = signals.term.recv() => break Why::Signal,
            _ = signals.int.recv() => break Why::Signal,
            Some(Event::HandedOver) = started.events.recv() => break Why::HandedOver,
            _ = signals.hup.recv() => {
                let running = running.clone();
                drop(tokio::task::spawn_blocking(move || running.reload()));
            }
            _ = tick.tick(), if live => {
                let now = running.node.live_counts();
                log::live(&live::line(&before, &now, at.elapsed().as_secs_f64(), running.connections_open()));
                (before, at) = (now, Instant::now());
            }
        }
    };
    if live {
        log::live("");
    }
    stop(started, why, &mut signals.int).await
}

/// The order of stopping.
async fn stop(mut started: Started, why: Why, int: &mut Signal) -> ExitCode {
    let running = started.running.clone();
    running.phase.advance(Phase::Draining);
    if why == Why::HandedOver {
        running.node.close_kernel(KernelEnd::HandedOver);
        running.node.retire_purges();
        running.node.retire_shield();
        close_disk(&running.node).await;
        started.admin.stop_accepting();
    } else {
        announce::notify("STOPPING=1");
    }
    // Closed before any connection is told to end: who then connects anew must not reach this node again.
    running.give_up_sockets();
    started.workers.stop_accepting().await;
    let drain = running.node.snapshot().node.timeouts.drain;
    match running.connections_open() {
        0 => tracing::info!("stopping"),
        open => tracing::info!("stopping; open connections ({open}) have {drain:?} to end"),
    }
    let finished = tokio::select! {
        finished = drain_all(&running, why, drain) => finished,
        _ = int.recv() => {
            tracing::warn!("interrupted again: ending at once");
            running.node.close_kernel(KernelEnd::Stop);
            started.control.remove();
            return ExitCode::from(130);
        }
    };
    if !finished {
        tracing::warn!("{} connections were still open and are cut", running.connections_open());
    }
    started.workers.end();
    running.node.close_kernel(KernelEnd::Stop);
    close_disk(&running.node).await;
    running.node.save_shield();
    running.node.flush_log();
    started.control.remove();
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// Gives up the disk tier's folder. A disk that does not answer does not hold up the end: what is on it is found again anyway.
async fn close_disk(node: &Arc<Node>) {
    let node = node.clone();
    let closed = tokio::task::spawn_blocking(move || node.close_disk());
    if tokio::time::timeout(DISK_CLOSE_MAX, closed).await.is_err() {
        tracing::warn!(
            "the disk tier does not close in {DISK_CLOSE_MAX:?}; the next start reads its last segment record by record"
        );
    }
}

/// Whether every connection ended in time.
async fn drain_all(running: &Running, why: Why, drain: Duration) -> bool {
    let deadline = tokio::time::Instant::now() + drain;
    if why == Why::HandedOver {
        // Visitors with idle connections learn with their next reply that they should connect anew: nobody's request
        // meets a connection that is just being closed.
        running.drain_connections(false);
        let grace = tokio::time::Instant::now() + HANDOVER_GRACE_MAX.min(drain / 2);
        if wait_for_none(running, grace).await {
            return true;
        }
    }
    running.drain_connections(true);
    wait_for_none(running, deadline).await
}

async fn wait_for_none(running: &Running, deadline: tokio::time::Instant) -> bool {
    while running.connections_open() > 0 {
        if tokio::time::Instant::now() >= deadline {
            return false;
        }
        tokio::time::sleep(DRAIN_POLL).await;
    }
    true
}
