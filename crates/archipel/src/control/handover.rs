//! Passing the listening sockets from a running node to its successor, over a Unix socket, by `SCM_RIGHTS` (unix(7)).
//!
//! The node that hands over connects and sends a manifest (a length of four bytes, big-endian, then JSON), then every
//! socket in the manifest's order, each message one byte with up to [`SOCKETS_PER_MESSAGE_MAX`] descriptors. The successor
//! answers [`SERVING`] once it serves on them; a connection that ends before means that nothing happens.
//!
//! Must never trust a descriptor blindly: the address is asked of the socket itself.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, bail};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// Most sockets in one handover: every listener of every worker, and the admin listener.
pub const SOCKETS_MAX: usize = archipel_config::LISTENERS_MAX * 256 + 1;
/// Descriptors in one message; Linux allows 253.
pub const SOCKETS_PER_MESSAGE_MAX: usize = 64;
/// Largest manifest in bytes.
const MANIFEST_BYTES_MAX: usize = 8 << 20;
/// What the successor answers.
pub const SERVING: &[u8; 8] = b"serving\n";
const BROKEN: &str = "the connection to the other node failed";
const OTHER_VERSION: &str =
    "the running node hands over in a way this version does not understand; stop it and start this one instead";
/// The version of the manifest.
const VERSION: u32 = 1;

/// What kind of socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Visitors connect here.
    Listener,
    /// The admin listener.
    Admin,
}

/// One socket of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// What it is for.
    pub role: Role,
    /// The address as configured; its port may be 0.
    pub configured: SocketAddr,
    /// The address it has.
    pub address: SocketAddr,
    /// Connections start with TLS.
    pub tls: bool,
    /// Connections start with a PROXY protocol header.
    pub proxy_protocol: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    sockets: Vec<Offered>,
}

/// Sends the sockets.
///
/// # Errors
/// The connection failed. Nothing has changed then.
pub fn send(stream: &mut UnixStream, sockets: &[(Offered, BorrowedFd<'_>)]) -> anyhow::Result<()> {
    let manifest = Manifest { version: VERSION, sockets: sockets.iter().map(|(offered, _)| offered.clone()).collect() };
    let json = serde_json::to_vec(&manifest)?;
    let length = u32::try_from(json.len()).context("the manifest is too large")?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(&json)?;
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| *socket).collect();
    for piece in descriptors.chunks(SOCKETS_PER_MESSAGE_MAX) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(piece)) {
            bail!("too many sockets in one message");
        }
        sendmsg(&*stream, &[IoSlice::new(b"s")], &mut control, SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Receives the sockets, each with the address that it really has.
///
/// # Errors
/// The connection failed, or what came is no handover. Nothing has changed then: the other node goes on serving.
pub fn receive(stream: &mut UnixStream) -> anyhow::Result<Vec<(Offered, OwnedFd)>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).context(BROKEN)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MANIFEST_BYTES_MAX {
        bail!("the running node sent a manifest that is too large");
    }
    let mut json = vec![0; length];
    stream.read_exact(&mut json).context(BROKEN)?;
    let manifest: Manifest = serde_json::from_slice(&json).context(OTHER_VERSION)?;
    if manifest.version != VERSION {
        bail!(OTHER_VERSION);
    }
    if manifest.sockets.len() > SOCKETS_MAX {
        bail!("the running node sent too many sockets");
    }
    let mut descriptors = Vec::with_capacity(manifest.sockets.len());
    while descriptors.len() < manifest.sockets.len() {
        receive_piece(stream, &mut descriptors)?;
    }
    if descriptors.len() > manifest.sockets.len() {
        bail!("the running node sent more sockets than it announced");
    }
    manifest
        .sockets
        .into_iter()
        .zip(descriptors)
        .map(|(offered, socket)| Ok((asked(offered, &socket)?, socket)))
        .collect()
}

fn receive_piece(stream: &UnixStream, descriptors: &mut Vec<OwnedFd>) -> anyhow::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        bail!("the running node sent fewer sockets than it announced");
    }
    let before = descriptors.len();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sockets) = message {
            descriptors.extend(sockets);
        }
    }
    if descriptors.len() == before {
        bail!("the running node sent a message without sockets (is the limit of open files reached?)");
    }
    Ok(())
}

/// The manifest's line with the address that the socket itself tells.
fn asked(mut offered: Offered, socket: &impl AsFd) -> anyhow::Result<Offered> {
    let listening = rustix::net::sockopt::socket_acceptconn(socket)?;
    if !listening {
        bail!("the running node sent a socket that does not listen");
    }
    let address = rustix::net::getsockname(socket)?;
    offered.address = SocketAddr::try_from(address).context("the running node sent a socket that is not of TCP")?;
    Ok(offered)
}

/// What a listener of the new configuration wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The address as configured; its port may be 0.
    pub configured: SocketAddr,
    /// Connections start with TLS.
    pub tls: bool,
    /// Connections start with a PROXY protocol header.
    pub proxy_protocol: bool,
}

/// Shares the offered sockets out: the places of those that each wanted listener takes. What nobody takes is to be closed.
///
/// A listener with a port takes all sockets of its address, whatever they were used for. One with port 0 takes those of
/// the first address that was configured the same way and that nobody has taken.
pub fn share_out(wanted: &[Wanted], offered: &[Offered]) -> Vec<Vec<usize>> {
    let mut taken = vec![false; offered.len()];
    let mut shares = vec![Vec::new(); wanted.len()];
    let of_visitors = |at: &usize| offered.get(*at).is_some_and(|o| o.role == Role::Listener);
    // Those with a port first, so that one with port 0 never takes what another names.
    let order = [false, true].into_iter().flat_map(|any_port| {
        wanted.iter().enumerate().filter(move |(_, wanted)| (wanted.configured.port() == 0) == any_port)
    });
    for (place, wanted) in order {
        let fits = |o: &Offered| {
            if wanted.configured.port() != 0 {
                return o.address == wanted.configured;
            }
            o.configured == wanted.configured && o.tls == wanted.tls && o.proxy_protocol == wanted.proxy_protocol
        };
        let free = |at: &usize| !taken.get(*at).copied().unwrap_or(true);
        let found: Vec<usize> = (0..offered.len()).filter(of_visitors).filter(free).collect();
        let Some(address) = found.iter().filter_map(|at| offered.get(*at)).find(|o| fits(o)).map(|o| o.address) else {
            continue;
        };
        let share: Vec<usize> =
            found.into_iter().filter(|at| offered.get(*at).is_some_and(|o| o.address == address)).collect();
        for at in &share {
            if let Some(taken) = taken.get_mut(*at) {
                *taken = true;
            }
        }
        if let Some(slot) = shares.get_mut(place) {
            *slot = share;
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn offered(configured: &str, actual: &str, tls: bool) -> Offered {
        let (configured, address) = (address(configured), address(actual));
        Offered { role: Role::Listener, configured, address, tls, proxy_protocol: false }
    }

    fn wanted(configured: &str, tls: bool) -> Wanted {
        Wanted { configured: address(configured), tls, proxy_protocol: false }
    }

    #[track_caller]
    fn check(wanted: &[Wanted], offered: &[Offered], expected: &[&[usize]]) {
        assert_eq!(share_out(wanted, offered), expected.iter().map(|share| share.to_vec()).collect::<Vec<_>>());
    }

    #[test]
    fn sharing_out() {
        let two = [offered("1.1.1.1:80", "1.1.1.1:80", false), offered("1.1.1.1:80", "1.1.1.1:80", false)];
        check(&[wanted("1.1.1.1:80", false)], &two, &[&[0, 1]]);
        // The same address may be used for something else now.
        check(&[wanted("1.1.1.1:80", true)], &two, &[&[0, 1]]);
        check(&[wanted("1.1.1.1:81", false), wanted("2.1.1.1:80", false)], &two, &[&[], &[]]);
        let any = [
            offered("1.1.1.1:0", "1.1.1.1:5000", false),
            offered("1.1.1.1:0", "1.1.1.1:5001", true),
            offered("1.1.1.1:0", "1.1.1.1:5002", true),
            offered("1.1.1.1:0", "1.1.1.1:5001", true),
        ];
        check(&[wanted("1.1.1.1:0", true), wanted("1.1.1.1:0", false)], &any, &[&[1, 3], &[0]]);
        check(&[wanted("1.1.1.1:0", true), wanted("1.1.1.1:0", true)], &any, &[&[1, 3], &[2]]);
        check(&[wanted("1.1.1.1:0", true), wanted("1.1.1.1:5001", false)], &any, &[&[2], &[1, 3]]);
        let admin = Offered { role: Role::Admin, ..offered("1.1.1.1:80", "1.1.1.1:80", false) };
        check(&[wanted("1.1.1.1:80", false)], &[admin], &[&[]]);
        check(&[], &two, &[]);
    }

    /// Sends `count` sockets through a real pair; where they arrive, they listen where they did.
    fn pass(count: usize) {
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let listeners: Vec<TcpListener> =
            (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let addresses: Vec<SocketAddr> = listeners.iter().map(|l| l.local_addr().expect("bound")).collect();
        let sender = std::thread::spawn(move || {
            let sockets: Vec<_> =
                listeners.iter().map(|l| (offered("127.0.0.1:0", "9.9.9.9:9", false), l.as_fd())).collect();
            send(&mut here, &sockets)
        });
        let received = receive(&mut there).expect("received");
        sender.join().expect("no panic").expect("sent");
        // The address is the socket's, whatever the manifest says.
        assert_eq!(received.iter().map(|(offered, _)| offered.address).collect::<Vec<_>>(), addresses);
        for ((_, socket), address) in received.into_iter().zip(addresses) {
            let listener = TcpListener::from(socket);
            let client = std::net::TcpStream::connect(address).expect("still listens");
            let (_, peer) = listener.accept().expect("a connection");
            assert_eq!(peer, client.local_addr().expect("connected"));
        }
    }

    #[test]
    fn sockets_arrive() {
        for count in [0, 1, SOCKETS_PER_MESSAGE_MAX, SOCKETS_PER_MESSAGE_MAX * 2 + 3] {
            pass(count);
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8], part: &str) {
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        here.write_all(bytes).expect("room");
        drop(here);
        let error = receive(&mut there).expect_err("not a handover").to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_is_no_handover() {
        let framed = |json: &str| [&u32::try_from(json.len()).expect("short").to_be_bytes(), json.as_bytes()].concat();
        refused(b"", "connection to the other node failed");
        refused(b"HTTP/1.1 400 Bad Request", "a manifest that is too large");
        refused(&framed("{}"), "does not understand");
        refused(&framed(r#"{"version":2,"sockets":[]}"#), "does not understand");
        let one = r#"{"version":1,"sockets":[{"role":"listener","configured":"1.1.1.1:1","address":"1.1.1.1:1","tls":false,"proxy_protocol":false}]}"#;
        refused(&framed(one), "fewer sockets");
        refused(&[framed(one), b"s".to_vec()].concat(), "without sockets");
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let (mut here, mut there) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        send(&mut here, &[(offered("1.1.1.1:1", "1.1.1.1:1", false), client.as_fd())]).expect("sent");
        assert!(receive(&mut there).is_err());
    }
}
