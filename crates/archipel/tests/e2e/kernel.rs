//! The hand-off to the kernel, on two hosts of the test's own. Skipped, with the reason, where those cannot be made.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use archipel_testkit::edge::{Edge, TempDir};
use archipel_testkit::namespace::{Host, Hosts};
use archipel_testkit::origin::{Act, ScriptedOrigin};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};

use crate::Outcome;
use crate::site::BINARY;

crate::tests![
    kernel_drops_repeat_offenders,
    kernel_drops_a_network_of_ipv6,
    kernel_leaves_nothing_behind,
    kernel_lists_follow_the_configuration,
    kernel_full_is_counted,
    kernel_without_privileges,
    kernel_table_goes_to_the_successor,
];

/// How long a connection may take before it counts as dropped: the first SYN is sent again after a second.
const CONNECT_MAX: Duration = Duration::from_millis(2_500);
/// How long something may take that comes within a tick or a timeout.
const SOON: Duration = Duration::from_secs(20);

const GET: &str = "GET / HTTP/1.1\r\nHost: www.case.test\r\nConnection: close\r\n\r\n";
const OFFENCE: &str = "GET / HTTP/1.1\r\nHost: www.case.test\r\nContent-Length: 5, 6\r\n\r\n";

/// Waits until something holds, by looking again and again: nothing tells when the kernel has done what it is told.
macro_rules! until {
    ($what:expr, $holds:expr) => {
        let begun = Instant::now();
        while !$holds {
            ensure!(begun.elapsed() < SOON, "in {SOON:?} it did not come to: {}", $what);
        }
    };
}

/// A node on a host of its own.
struct Net {
    hosts: Hosts,
    folder: TempDir,
    origin: ScriptedOrigin,
    /// Of the node that was started last.
    admin: Mutex<Option<SocketAddr>>,
}

impl Net {
    async fn new(test: &str, node: &str) -> anyhow::Result<Option<Self>> {
        let hosts = match Hosts::new()? {
            Ok(hosts) => hosts,
            Err(reason) => {
                println!("test {test} is skipped: {reason}");
                return Ok(None);
            }
        };
        let bound = hosts.node.run(|| Ok(std::net::TcpListener::bind("127.0.0.1:0")?)).await?;
        bound.set_nonblocking(true)?;
        let origin = ScriptedOrigin::serve(TcpListener::from_std(bound)?, None)?;
        origin.on("*", vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "answer")]);
        let net = Self { hosts, folder: TempDir::new(test)?, origin, admin: Mutex::default() };
        let address = net.origin.address();
        net.folder.write("zones/site.toml", format!("hosts = [\"*\"]\norigin.url = \"http://{address}\"\n"))?;
        net.configure(node)?;
        Ok(Some(net))
    }

    /// Writes `node.toml`, which ends with these lines.
    fn configure(&self, node: &str) -> anyhow::Result<()> {
        let state = self.folder.path().join("state");
        let listeners = "[[listen]]\naddress = \"10.203.0.1:80\"\n[[listen]]\naddress = \"[::]:80\"\n";
        let text = format!(
            "workers = 1\nstate_dir = \"{}\"\nadmin.address = \"127.0.0.1:0\"\ntimeouts.drain = \"2s\"\n{node}\n{listeners}",
            state.display()
        );
        self.folder.write("node.toml", text)?;
        Ok(())
    }

    async fn start(&self, before: &[&str], more: &[&str]) -> anyhow::Result<Edge> {
        let (first, rest) = before.split_first().unwrap_or((&BINARY, &[]));
        let mut command = self.hosts.node.command(first);
        command.args(rest);
        if !before.is_empty() {
            command.arg(BINARY);
        }
        let folder = self.folder.path().display().to_string();
        let arguments: Vec<&str> = ["--config", &folder].into_iter().chain(more.iter().copied()).collect();
        let edge = Edge::spawn(command.into(), &arguments).await?;
        *self.admin.lock().unwrap_or_else(PoisonError::into_inner) = edge.at.admin;
        Ok(edge)
    }

    /// The status that a visitor at this address gets; `None` where it gets no connection.
    async fn ask(&self, from: &str, port: u16, request: &'static str) -> anyhow::Result<Option<u16>> {
        let from: IpAddr = from.parse()?;
        let to = if from.is_ipv4() { "10.203.0.1".parse()? } else { "fd00:203::1".parse()? };
        ask(&self.hosts.visitors, SocketAddr::new(from, 0), SocketAddr::new(to, port), request).await
    }

    async fn get(&self, from: &str) -> anyhow::Result<Option<u16>> {
        self.ask(from, 80, GET).await
    }

    /// Offends until nothing comes through any more.
    async fn offend(&self, from: &str) -> anyhow::Result<()> {
        until!("the offender is dropped", self.ask(from, 80, OFFENCE).await?.is_none());
        Ok(())
    }

    async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner).context("no node was started")?;
        let page = self
            .hosts
            .node
            .run_async(async move || {
                let mut stream = tokio::net::TcpStream::connect(admin).await?;
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").await?;
                let mut page = String::new();
                stream.read_to_string(&mut page).await?;
                Ok(page)
            })
            .await?;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no metric {name} in\n{page}"))?.parse()?)
    }

    fn nft(&self, arguments: &str) -> anyhow::Result<String> {
        self.hosts.node.output("nft", &arguments.split(' ').collect::<Vec<_>>())
    }

    /// Waits until a metric has a value.
    async fn wait_for(&self, name: &str, wanted: u64) -> anyhow::Result<()> {
        until!(&format!("{name} is {wanted}"), self.metric(name).await? == wanted);
        Ok(())
    }
}

async fn ask(on: &Host, from: SocketAddr, to: SocketAddr, request: &'static str) -> anyhow::Result<Option<u16>> {
    let work = async move || {
        let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.bind(from)?;
        let Ok(connected) = tokio::time::timeout(CONNECT_MAX, socket.connect(to)).await else { return Ok(None) };
        let mut stream = connected.with_context(|| format!("{to}"))?;
        let mut reply = Vec::new();
        let exchange = async {
            stream.write_all(request.as_bytes()).await?;
            stream.read_to_end(&mut reply).await
        };
        // What was being dropped while it was under way counts as dropped.
        let _ = tokio::time::timeout(CONNECT_MAX, exchange).await;
        let reply = String::from_utf8_lossy(&reply);
        reply.split(' ').nth(1).map(|status| Ok(status.parse()?)).transpose()
    };
    on.run_async(work).await
}

const WORKS: &str = "archipel_shield_kernel_works";
const HANDED_OFF: &str = "archipel_shield_kernel_handed_off_total";
const V4: &str = "archipel_shield_kernel_elements{family=\"ipv4\"}";
const V6: &str = "archipel_shield_kernel_elements{family=\"ipv6\"}";
const DROPPED: &str = "archipel_shield_kernel_dropped_packets_total{reason=\"offender\"}";

fn kernel(more: &str) -> String {
    format!("[shield.kernel]\nenabled = true\noffences_max = 3\n{more}")
}

async fn kernel_drops_repeat_offenders() -> Outcome {
    let node = kernel("timeout = \"6s\"");
    let Some(net) = Net::new("kernel_drops_repeat_offenders", &node).await? else { return Ok(()) };
    let mut edge = net.start(&[], &[]).await?;
    net.wait_for(WORKS, 1).await?;
    ensure!(net.get("10.203.0.2").await? == Some(200) && net.get("10.203.0.3").await? == Some(200));
    // As often as allowed: nothing happens.
    for _ in 0..3 {
        ensure!(net.ask("10.203.0.3", 80, OFFENCE).await? == Some(400));
    }
    net.offend("10.203.0.2").await?;
    ensure!(net.metric(V4).await? == 1 && net.metric(HANDED_OFF).await? == 1);
    ensure!(net.nft("list set inet archipel offenders4")?.contains("10.203.0.2"));
    until!("dropped packets are counted", net.metric(DROPPED).await? > 0);
    let accepted = net.metric("archipel_connections_accepted_total").await?;
    ensure!(net.get("10.203.0.2").await?.is_none(), "an offender is served");
    ensure!(net.metric("archipel_connections_accepted_total").await? == accepted, "its packets reach the node");
    ensure!(net.get("10.203.0.3").await? == Some(200), "another address is not served");
    // Only what goes to the node's listeners is dropped.
    let other = net.hosts.node.run(|| Ok(std::net::TcpListener::bind("10.203.0.1:81")?)).await?;
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        std::io::Write::write_all(&mut other.accept()?.0, b"HTTP/1.1 204 No Content\r\n\r\n")
    });
    ensure!(net.ask("10.203.0.2", 81, "").await? == Some(204), "another program's port is shut");
    answering.join().map_err(|_| anyhow::anyhow!("the other program panicked"))??;
    until!("it is served again", net.get("10.203.0.2").await? == Some(200));
    ensure!(!net.nft("list set inet archipel offenders4")?.contains("10.203.0.2"), "it is still in the set");
    net.wait_for(V4, 0).await?;
    edge.stop().await
}

async fn kernel_drops_a_network_of_ipv6() -> Outcome {
    let Some(net) = Net::new("kernel_drops_a_network_of_ipv6", &kernel("")).await? else { return Ok(()) };
    let mut edge = net.start(&[], &[]).await?;
    net.wait_for(WORKS, 1).await?;
    ensure!(net.get("fd00:203:0:2::1").await? == Some(200));
    net.offend("fd00:203:0:2::1").await?;
    ensure!(net.get("fd00:203:0:2::2").await?.is_none(), "its neighbour in the /64 is served");
    ensure!(net.get("fd00:203:0:3::1").await? == Some(200), "another /64 is not served");
    ensure!(net.metric(V6).await? == 1 && net.metric(V4).await? == 0);
    edge.stop().await
}

async fn kernel_leaves_nothing_behind() -> Outcome {
    let Some(net) = Net::new("kernel_leaves_nothing_behind", &kernel("")).await? else { return Ok(()) };
    // Of others: stays as it is.
    net.nft("add table inet other")?;
    let mut edge = net.start(&[], &[]).await?;
    net.wait_for(WORKS, 1).await?;
    net.offend("10.203.0.2").await?;
    edge.signal(Signal::KILL)?;
    edge.wait().await?;
    ensure!(net.nft("list tables")?.trim() == "table inet other", "left after kill -9:\n{}", net.nft("list ruleset")?);
    // As a kernel without owners would have left it.
    net.nft("add table inet archipel")?;
    net.nft("add set inet archipel offenders4 { type ipv4_addr; flags timeout; }")?;
    net.nft("add element inet archipel offenders4 { 10.203.0.2 timeout 1h }")?;
    let mut edge = net.start(&[], &[]).await?;
    net.wait_for(WORKS, 1).await?;
    ensure!(!net.nft("list table inet archipel")?.contains("10.203.0.2"));
    ensure!(net.get("10.203.0.2").await? == Some(200));
    net.offend("10.203.0.2").await?;
    // Somebody else changes what is the node's: it cannot be.
    ensure!(net.nft("flush table inet archipel").is_err(), "another process may change the table");
    edge.stop().await?;
    ensure!(net.nft("list tables")?.trim() == "table inet other", "left after the end:\n{}", net.nft("list ruleset")?);
    Ok(())
}

async fn kernel_lists_follow_the_configuration() -> Outcome {
    let lists = |exempt: &str| {
        let kernel = kernel("");
        format!(
            "shield.block_lists = [\"bad\"]\nshield.exempt = [{exempt}]\n{kernel}\n\
             [[lists]]\nname = \"bad\"\nkind = \"ip\"\nentries = [\"10.203.0.4/31\", \"fd00:203:0:4::/64\"]\n"
        )
    };
    let Some(net) = Net::new("kernel_lists_follow_the_configuration", &lists("\"10.203.0.5\"")).await? else {
        return Ok(());
    };
    let mut edge = net.start(&[], &[]).await?;
    net.wait_for(WORKS, 1).await?;
    ensure!(net.get("10.203.0.4").await?.is_none() && net.get("fd00:203:0:4::1").await?.is_none(), "listed and served");
    ensure!(net.get("10.203.0.5").await? == Some(200), "listed, exempt, and not served");
    for _ in 0..8 {
        ensure!(net.ask("10.203.0.5", 80, OFFENCE).await? == Some(400), "exempt, and dropped");
    }
    ensure!(net.metric(HANDED_OFF).await? == 0);
    net.configure(&lists("\"10.203.0.4\", \"fd00:203:0:4::2\""))?;
    edge.signal(Signal::HUP)?;
    until!("the lists of the new configuration", net.get("10.203.0.4").await? == Some(200));
    ensure!(net.get("10.203.0.5").await?.is_none() && net.get("fd00:203:0:4::2").await? == Some(200));
    // Without the kernel the node itself refuses.
    net.configure(&lists("").replace("enabled = true", "enabled = false"))?;
    edge.signal(Signal::HUP)?;
    until!("the node itself refuses", net.get("10.203.0.4").await? == Some(403));
    ensure!(net.nft("list tables")?.is_empty() && net.metric(WORKS).await? == 0);
    edge.stop().await
}

async fn kernel_full_is_counted() -> Outcome {
    let node = kernel("elements_max = 1");
    let Some(net) = Net::new("kernel_full_is_counted", &node).await? else { return Ok(()) };
    let mut edge = net.start(&[], &[]).await?;
    net.wait_for(WORKS, 1).await?;
    net.offend("10.203.0.2").await?;
    let full = "archipel_shield_kernel_full_total";
    until!("one more is counted", {
        ensure!(net.ask("10.203.0.3", 80, OFFENCE).await? == Some(400));
        net.metric(full).await? > 0
    });
    ensure!(net.metric(V4).await? == 1);
    edge.stop().await
}

async fn kernel_without_privileges() -> Outcome {
    let Some(net) = Net::new("kernel_without_privileges", &kernel("")).await? else { return Ok(()) };
    let mut edge = net.start(&["setpriv", "--bounding-set=-net_admin"], &[]).await?;
    net.wait_for("archipel_shield_kernel_failures_total", 1).await?;
    for _ in 0..8 {
        ensure!(net.ask("10.203.0.2", 80, OFFENCE).await? == Some(400));
    }
    ensure!(net.get("10.203.0.2").await? == Some(200) && net.metric(WORKS).await? == 0);
    edge.stop().await?;
    let said = edge.output.text();
    let lines = said.lines().filter(|line| line.contains("CAP_NET_ADMIN")).count();
    ensure!(lines == 1, "not said, or not once:\n{said}");
    Ok(())
}

async fn kernel_table_goes_to_the_successor() -> Outcome {
    let node = format!(
        "shield.block_lists = [\"bad\"]\n{}\n[[lists]]\nname = \"bad\"\nkind = \"ip\"\nentries = [\"10.203.0.4\"]\n",
        kernel("")
    );
    let Some(net) = Net::new("kernel_table_goes_to_the_successor", &node).await? else { return Ok(()) };
    let mut old = net.start(&[], &[]).await?;
    net.wait_for(WORKS, 1).await?;
    ensure!(net.get("10.203.0.4").await?.is_none());
    let mut new = net.start(&[], &["--replace"]).await?;
    ensure!(old.wait().await?.success());
    net.wait_for(WORKS, 1).await?;
    ensure!(net.get("10.203.0.4").await?.is_none(), "the successor does not drop");
    net.offend("10.203.0.2").await?;
    ensure!(net.metric("archipel_shield_kernel_failures_total").await? == 0, "{}", new.output.text());
    new.stop().await?;
    ensure!(net.nft("list tables")?.is_empty());
    Ok(())
}
