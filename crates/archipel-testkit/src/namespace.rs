//! Two hosts on one machine: network namespaces with a cable between them, for what crosses a network.
//!
//! Owns making and removing them, by `ip` (Debian: iproute2), and running code in one. Must never touch the namespace that the test
//! itself runs in.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A host of its own.
#[derive(Clone, Debug)]
pub struct Host {
    name: String,
}

/// Two hosts and their cable, which are removed when dropped.
pub struct Hosts {
    /// Where the node runs: 10.203.0.1 and fd00:203::1.
    pub node: Host,
    /// Where visitors are: 10.203.0.2 to 10.203.0.9, and fd00:203:0:N::1 and ::2 for N from 2 to 4, each N a /64.
    pub visitors: Host,
}

impl Hosts {
    /// Makes them; the reason, for the test to print, where this process may not or lacks a program.
    pub fn new() -> anyhow::Result<Result<Self, String>> {
        for (program, package) in [("ip", "iproute2"), ("nft", "nftables")] {
            if Command::new(program).arg("-V").output().is_err() {
                return Ok(Err(format!("there is no `{program}` (Debian: {package})")));
            }
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = format!("archipel-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let host = |of: &str| Host { name: format!("{number}-{of}") };
        // Removes what is there of them, whatever fails below.
        let hosts = Self { node: host("node"), visitors: host("visitors") };
        if let Err(error) = ip(&["netns", "add", &hosts.node.name]) {
            return Ok(Err(format!("this process may not make network namespaces: {error:#}")));
        }
        ip(&["netns", "add", &hosts.visitors.name])?;
        hosts.cable()?;
        Ok(Ok(hosts))
    }

    fn cable(&self) -> anyhow::Result<()> {
        let (node, visitors) = (&self.node.name, &self.visitors.name);
        ip(&["-n", node, "link", "add", "name", "cable", "type", "veth", "peer", "name", "cable", "netns", visitors])?;
        let mut addresses = vec![(node, "10.203.0.1/24".to_owned()), (node, "fd00:203::1/48".to_owned())];
        addresses.extend((2..10).map(|n| (visitors, format!("10.203.0.{n}/24"))));
        addresses.extend((2..5).flat_map(|n| [1, 2].map(|m| (visitors, format!("fd00:203:0:{n}::{m}/48")))));
        for (host, address) in &addresses {
            let mut arguments = vec!["-n", host, "addr", "add", address, "dev", "cable"];
            // Duplicates are looked for for a second otherwise, in which the address is not there.
            arguments.extend(address.contains(':').then_some("nodad"));
            ip(&arguments)?;
        }
        for host in [node, visitors] {
            ip(&["-n", host, "link", "set", "lo", "up"])?;
            ip(&["-n", host, "link", "set", "cable", "up"])?;
        }
        Ok(())
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in [&self.node, &self.visitors] {
            let _ = ip(&["netns", "del", &host.name]);
        }
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("start ip")?;
    if !output.status.success() {
        bail!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

impl Host {
    /// A program to start on this host, which runs under its own process id.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// What a program writes that is run on this host; it must succeed.
    pub fn output(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.command(program).args(arguments).output()?;
        if !output.status.success() {
            bail!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs code on this host, on a thread of its own: sockets that it makes are this host's wherever they go.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> impl Future<Output = anyhow::Result<T>> {
        let path = format!("/var/run/netns/{}", self.name);
        let (done, outcome) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let enter = || -> anyhow::Result<()> {
                let namespace = File::open(&path).with_context(|| path.clone())?;
                Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
            };
            // Nobody waits any more where this fails.
            let _ = done.send(enter().and_then(|()| work()));
        });
        async { outcome.await.context("the thread on the host panicked")? }
    }

    /// Runs a future on this host.
    pub fn run_async<T: Send + 'static, F: Future<Output = anyhow::Result<T>>>(
        &self,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> impl Future<Output = anyhow::Result<T>> {
        self.run(move || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work()))
    }
}
