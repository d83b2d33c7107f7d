//! The worker threads: one a core, each with a runtime, an edge and listening sockets of its own.

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, anyhow};
use archipel_edge::{Edge, Node};
use archipel_transport::env::ServerSettings;
use archipel_transport::listen::{ListenerKind, Server};
use archipel_transport::tls::server::TlsAcceptor;
use tokio::sync::{mpsc, watch};

use super::sockets::Bound;

/// What the threads are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Accept and serve.
    Serve,
    /// Accept nothing more; what is open goes on.
    StopAccepting,
    /// End now.
    End,
}

/// The threads of a node.
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    orders: watch::Sender<Order>,
    /// Ends when the last listening socket is closed.
    accepting: mpsc::Receiver<()>,
    /// What serves on each thread.
    pub servers: Vec<Arc<Server<Edge>>>,
}

/// How many workers a setting means: 0 is one a core.
pub fn count(setting: usize) -> usize {
    match setting {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

impl Workers {
    /// Starts the threads; they accept when this returns.
    pub fn start(
        node: &Arc<Node>,
        count: usize,
        settings: &ServerSettings,
        tls: Option<&TlsAcceptor>,
        bound: Vec<Bound>,
    ) -> anyhow::Result<Self> {
        let (orders, _) = watch::channel(Order::Serve);
        let (accepts, accepting) = mpsc::channel(1);
        let mut workers =
            Self { threads: Vec::with_capacity(count), orders, accepting, servers: Vec::with_capacity(count) };
        let mut by_worker: Vec<Vec<(std::net::TcpListener, ListenerKind)>> = (0..count).map(|_| Vec::new()).collect();
        for bound in bound {
            let kind = ListenerKind { tls: bound.configured.tls, proxy_protocol: bound.configured.proxy_protocol };
            for (slot, sockets) in by_worker.iter_mut().zip(bound.by_worker) {
                slot.extend(sockets.into_iter().map(|socket| (socket, kind)));
            }
        }
        for (index, sockets) in by_worker.into_iter().enumerate() {
            let part = Part {
                node: node.clone(),
                first: workers.servers.first().cloned(),
                settings: settings.clone(),
                tls: tls.cloned(),
                sockets,
                orders: workers.orders.subscribe(),
                accepts: accepts.clone(),
            };
            workers.start_one(index, part)?;
        }
        Ok(workers)
    }

    fn start_one(&mut self, index: usize, part: Part) -> anyhow::Result<()> {
        let (started, starting) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build();
                match outcome {
                    Ok(runtime) => {
                        runtime.block_on(part.run(&started));
                        // Whatever has not ended by now was given its time.
                        runtime.shutdown_background();
                    }
                    Err(error) => drop(started.send(Err(anyhow!(error)))),
                }
            })
            .context("a worker thread cannot be started; is the limit of threads reached (ulimit -u)?")?;
        self.threads.push(thread);
        let server = starting.recv().context("a worker thread died at its start; see the log")??;
        self.servers.push(server);
        Ok(())
    }

    /// Stops accepting; the listening sockets are closed when this returns.
    pub async fn stop_accepting(&mut self) {
        self.orders.send_replace(Order::StopAccepting);
        // Nothing is ever sent.
        let _ = self.accepting.recv().await;
    }

    /// Ends all threads and waits for them.
    pub fn end(&mut self) {
        self.orders.send_replace(Order::End);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a worker thread had panicked");
            }
        }
    }
}

/// What one thread starts with.
struct Part {
    node: Arc<Node>,
    first: Option<Arc<Server<Edge>>>,
    settings: ServerSettings,
    tls: Option<TlsAcceptor>,
    sockets: Vec<(std::net::TcpListener, ListenerKind)>,
    orders: watch::Receiver<Order>,
    accepts: mpsc::Sender<()>,
}

type Started = std::sync::mpsc::Sender<anyhow::Result<Arc<Server<Edge>>>>;

impl Part {
    async fn run(self, started: &Started) {
        let edge = self.node.worker();
        let server = Arc::new(match &self.first {
            Some(first) => first.beside(edge),
            None => Server::new(edge, self.settings, self.tls),
        });
        for (socket, kind) in self.sockets {
            match tokio::net::TcpListener::from_std(socket) {
                Ok(listener) => {
                    let stop = wait_for(self.orders.clone(), Order::StopAccepting);
                    let (server, accepts) = (server.clone(), self.accepts.clone());
                    tokio::spawn(async move {
                        server.accept(listener, kind, stop).await;
                        drop(accepts);
                    });
                }
                Err(error) => return drop(started.send(Err(anyhow!(error).context("a listening socket")))),
            }
        }
        drop(self.accepts);
        let _ = started.send(Ok(server.clone()));
        wait_for(self.orders, Order::End).await;
        server.handler.flush();
    }
}

/// Until this order, or a later one, is given.
pub async fn wait_for(mut orders: watch::Receiver<Order>, order: Order) {
    // The sender goes only with the process.
    let _ = orders.wait_for(|given| *given >= order).await;
}
