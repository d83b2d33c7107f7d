//! The listening sockets of a node: bound here, or taken over from the node before. Says who is in the way.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use anyhow::{Context as _, bail};
use archipel_config::Listener;
use archipel_transport::listen;

use crate::control::handover::{Offered, Role, Wanted, share_out};

/// One listener with the sockets of every worker.
#[derive(Debug)]
pub struct Bound {
    /// What was configured.
    pub configured: Wanted,
    /// The address it has.
    pub address: SocketAddr,
    /// For each worker the sockets that it accepts from.
    pub by_worker: Vec<Vec<TcpListener>>,
}

impl Bound {
    /// Copies of the sockets, for a successor.
    pub fn copies(&self) -> io::Result<Vec<(Offered, OwnedFd)>> {
        let offered = Offered {
            role: Role::Listener,
            configured: self.configured.configured,
            address: self.address,
            tls: self.configured.tls,
            proxy_protocol: self.configured.proxy_protocol,
        };
        self.by_worker.iter().flatten().map(|socket| Ok((offered.clone(), socket.try_clone()?.into()))).collect()
    }
}

/// Opens every listener for so many workers, on the sockets of the node before where their addresses fit.
///
/// What is inherited is used in full, whatever the number of workers: a connection that waits in a socket nobody accepts
/// from would be lost.
pub fn open(listeners: &[Listener], workers: usize, inherited: Vec<(Offered, OwnedFd)>) -> anyhow::Result<Vec<Bound>> {
    let wanted: Vec<Wanted> = listeners
        .iter()
        .map(|l| Wanted { configured: l.address, tls: l.tls, proxy_protocol: l.proxy_protocol })
        .collect();
    let mut seen = HashSet::new();
    if let Some(twice) = wanted.iter().map(|w| w.configured).find(|a| a.port() != 0 && !seen.insert(*a)) {
        bail!("{twice} is listed twice among the addresses to listen on");
    }
    let (offered, mut sockets): (Vec<Offered>, Vec<Option<OwnedFd>>) =
        inherited.into_iter().map(|(offered, socket)| (offered, Some(socket))).unzip();
    let shares = share_out(&wanted, &offered);
    let mut bound = Vec::with_capacity(wanted.len());
    for (wanted, share) in wanted.into_iter().zip(shares) {
        let own = share.iter().filter_map(|at| sockets.get_mut(*at)?.take()).map(TcpListener::from).collect();
        bound.push(open_one(wanted, workers.max(1), own)?);
    }
    Ok(bound)
}

fn open_one(wanted: Wanted, workers: usize, inherited: Vec<TcpListener>) -> anyhow::Result<Bound> {
    let mut sockets = inherited;
    if sockets.is_empty() {
        sockets.push(bind_first(wanted.configured)?);
    }
    let address = sockets.first().context("a socket")?.local_addr()?;
    while sockets.len() < workers {
        match listen::bind(address) {
            Ok(socket) => sockets.push(socket),
            // A node without the rights of the one before can share its sockets, though not add to them.
            Err(error) => {
                tracing::debug!(%address, %error, "no socket of its own for every worker; they share");
                let copy = sockets.first().context("a socket")?.try_clone()?;
                sockets.push(copy);
            }
        }
    }
    let mut by_worker: Vec<Vec<TcpListener>> = (0..workers).map(|_| Vec::new()).collect();
    for (at, socket) in sockets.into_iter().enumerate() {
        socket.set_nonblocking(true)?;
        if let Some(slot) = by_worker.get_mut(at % workers) {
            slot.push(socket);
        }
    }
    Ok(Bound { configured: wanted, address, by_worker })
}

/// `SO_REUSEPORT` would let two nodes of one user share a port without a word; a socket without it finds out.
fn bind_first(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = if address.port() == 0 {
        listen::bind(address)
    } else {
        listen::probe(address).and_then(|()| listen::bind(address))
    };
    bound.map_err(|error| anyhow::anyhow!("{}", cannot_listen(address, &error, owner(address).as_ref())))
}

/// Why an address cannot be listened on, and what to do.
fn cannot_listen(address: SocketAddr, error: &io::Error, owner: Option<&Owner>) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let (who, what) = match owner {
                Some(owner) if owner.name == "archipel" => (
                    format!("another archipel (process {})", owner.pid),
                    "take over from it with --replace and its --state-dir, stop it".to_owned(),
                ),
                Some(owner) => (format!("{} (process {})", owner.name, owner.pid), "stop it".to_owned()),
                None => ("another program".to_owned(), format!("find it with `ss -ltnp 'sport = :{port}'`")),
            };
            let other = if port < u16::MAX { port + 1 } else { 8081 };
            format!(
                "{address} is taken by {who}\n  {what}, or listen elsewhere: --listen {}:{other}",
                bracketed(address)
            )
        }
        io::ErrorKind::PermissionDenied if port < 1024 => format!(
            "{address}: ports below 1024 need a right that this process lacks\n  run: setcap cap_net_bind_service=+ep $(command -v archipel), use the unit file of docs/operations.md, or a higher port: --listen {}:8080",
            bracketed(address)
        ),
        io::ErrorKind::AddrNotAvailable => format!(
            "{address}: this machine has no such address\n  see them with `ip address`, or listen on all: --listen 0.0.0.0:{port}"
        ),
        _ => format!("{address}: cannot listen: {error}"),
    }
}

fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// The process that has a port.
#[derive(Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    name: String,
}

/// Looks the listening process up in /proc; nothing where that is not told (other users' processes, other systems).
fn owner(address: SocketAddr) -> Option<Owner> {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, address.port()))?;
    let link = format!("socket:[{inode}]");
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let has =
            |file: std::fs::DirEntry| std::fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == link.as_str());
        if files.flatten().any(has) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Owner { pid, name: name.trim().to_owned() });
        }
    }
    None
}

/// The inode of a socket that listens on a port, from the text of /proc/net/tcp (proc(5)).
fn listening_inode(table: &str, port: u16) -> Option<u64> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let its_port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (its_port == port && *state == LISTEN).then(|| inode.parse().ok())?
    })
}

/// Binds the admin listener: one socket, not shared, so that two nodes notice each other. `fallback` allows a free port.
pub fn open_admin(address: SocketAddr, inherited: Option<TcpListener>, fallback: bool) -> anyhow::Result<TcpListener> {
    let listener = match inherited {
        Some(listener) => listener,
        None => match TcpListener::bind(address) {
            Ok(listener) => listener,
            Err(error) if fallback && error.kind() == io::ErrorKind::AddrInUse => {
                let listener = TcpListener::bind(SocketAddr::new(address.ip(), 0))?;
                tracing::info!("{address} is taken, metrics are at http://{}/metrics", listener.local_addr()?);
                listener
            }
            Err(error) => {
                let why = cannot_listen(address, &error, owner(address).as_ref());
                let why = why.split("\n").next().unwrap_or_default().to_owned();
                bail!("the admin listener: {why}\n  set another `address` in [admin], or port 0 for a free one");
            }
        },
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str) -> Listener {
        Listener::new(address.parse().expect("an address"))
    }

    #[test]
    fn every_worker_has_a_socket_on_the_same_port() {
        let bound = open(&[listener("127.0.0.1:0")], 3, Vec::new()).expect("free ports");
        let addresses: HashSet<SocketAddr> =
            bound[0].by_worker.iter().flatten().map(|socket| socket.local_addr().expect("bound")).collect();
        assert_eq!(bound[0].by_worker.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(addresses, HashSet::from([bound[0].address]));
    }

    #[test]
    fn inherited_sockets_are_all_used() {
        let before = open(&[listener("127.0.0.1:0")], 3, Vec::new()).expect("free ports");
        for (workers, shape) in [(2, vec![2, 1]), (3, vec![1, 1, 1]), (1, vec![3]), (4, vec![1, 1, 1, 1])] {
            let copies = before[0].copies().expect("copies");
            let bound = open(&[listener("127.0.0.1:0")], workers, copies).expect("inherited");
            assert_eq!(bound[0].address, before[0].address);
            assert_eq!(bound[0].by_worker.iter().map(Vec::len).collect::<Vec<_>>(), shape);
        }
    }

    #[test]
    fn a_taken_port_is_noticed_although_it_could_be_shared() {
        let taken = listen::bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let address = taken.local_addr().expect("bound");
        let error = open(&[Listener::new(address)], 1, Vec::new()).expect_err("taken").to_string();
        assert!(error.contains(&format!("{address} is taken by ")), "{error}");
        assert!(error.contains("--listen 127.0.0.1:"), "{error}");
        let error = open_admin(address, None, false).expect_err("taken").to_string();
        assert!(error.contains("the admin listener") && error.contains("[admin]"), "{error}");
        assert_ne!(open_admin(address, None, true).expect("another").local_addr().expect("bound"), address);
    }

    #[test]
    fn the_same_address_twice() {
        let error = open(&[listener("127.0.0.1:9"), listener("127.0.0.1:9")], 1, Vec::new()).expect_err("twice");
        assert!(error.to_string().contains("listed twice"), "{error}");
    }

    #[track_caller]
    fn says(kind: io::ErrorKind, owner: Option<&str>, parts: &[&str]) {
        let owner = owner.map(|name| Owner { pid: 42, name: name.to_owned() });
        let text = cannot_listen(SocketAddr::from(([127, 0, 0, 1], 80)), &kind.into(), owner.as_ref());
        for part in parts {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn what_is_in_the_way() {
        says(
            io::ErrorKind::AddrInUse,
            Some("archipel"),
            &["another archipel (process 42)", "--replace", "--listen 127.0.0.1:81"],
        );
        says(io::ErrorKind::AddrInUse, Some("nginx"), &["nginx (process 42)", "stop it"]);
        says(io::ErrorKind::AddrInUse, None, &["another program", "ss -ltnp"]);
        says(io::ErrorKind::PermissionDenied, None, &["below 1024", "setcap"]);
        says(io::ErrorKind::AddrNotAvailable, None, &["no such address", "0.0.0.0:80"]);
        says(io::ErrorKind::OutOfMemory, None, &["cannot listen"]);
    }

    #[test]
    fn inodes() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1F90 00000000:0000 01 00000000:00000000 00:00000000 00000000  1000        0 11 1\n   \
            1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 22 1\n";
        assert_eq!(listening_inode(table, 8080), Some(22));
        assert_eq!(listening_inode(table, 8081), None);
        assert_eq!(listening_inode("", 8080), None);
    }
}
