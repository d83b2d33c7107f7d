//! Sockets of the generator: readiness, connections from chosen addresses, and a table of what they belong to. A
//! connection has both its ends on loopback, by its type: there is no other way to open one here.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, sockopt};
use rustix::time::Timespec;

/// Most events that one wait brings.
const EVENTS_MAX: usize = 1024;

/// A port of 127.0.0.0/8: the only thing that load can be sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loopback(SocketAddrV4);

impl Loopback {
    /// Takes an address that is on loopback.
    ///
    /// # Errors
    /// It is not.
    pub fn new(address: SocketAddr) -> Result<Self> {
        match address {
            SocketAddr::V4(address) if address.ip().is_loopback() => Ok(Self(address)),
            _ => bail!("{address} is not in 127.0.0.0/8: load is sent to loopback only"),
        }
    }

    /// A port of 127.0.0.1.
    #[must_use]
    pub fn port(port: u16) -> Self {
        Self(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))
    }

    /// Where it is.
    #[must_use]
    pub fn address(self) -> SocketAddrV4 {
        self.0
    }
}

/// What is waited for.
pub struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

/// Bytes can be read, or the connection has ended.
pub const READ: EventFlags = EventFlags::IN;
/// As [`READ`], or bytes can be written.
pub const READ_WRITE: EventFlags = EventFlags::IN.union(EventFlags::OUT);

impl Poll {
    /// Waits for nothing yet.
    ///
    /// # Errors
    /// The system gives no epoll.
    pub fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).context("epoll")?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Waits for a socket from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn add(&self, socket: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token.0), flags)?)
    }

    /// Waits for something else of it.
    ///
    /// # Errors
    /// The system's.
    pub fn change(&self, socket: impl AsFd, token: Token, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(token.0), flags)?)
    }

    /// Waits for at most `longest` and returns what happened.
    ///
    /// # Errors
    /// The system's.
    pub fn wait(&mut self, longest: Duration, into: &mut Vec<Token>) -> io::Result<()> {
        let longest = Timespec { tv_sec: longest.as_secs().cast_signed(), tv_nsec: i64::from(longest.subsec_nanos()) };
        self.events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut self.events), Some(&longest)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        into.extend(self.events.iter().map(|event| Token(event.data.u64())));
        Ok(())
    }
}

/// What a socket belongs to: a kind, and a place of a [`Table`] with the number of its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    /// Puts a token together.
    #[must_use]
    pub fn new(kind: u8, key: Key) -> Self {
        Self(u64::from(kind) << 56 | u64::from(key.tenant & 0xff_ffff) << 32 | u64::from(key.place))
    }

    /// The kind.
    #[must_use]
    pub fn kind(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// The place.
    #[must_use]
    pub fn key(self) -> Key {
        #[allow(clippy::cast_possible_truncation)]
        Key { place: self.0 as u32, tenant: (self.0 >> 32) as u32 & 0xff_ffff }
    }
}

/// A place of a table and which tenant is meant, so that a late event never reaches the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    place: u32,
    tenant: u32,
}

/// Values by places that are used again.
#[derive(Debug)]
pub struct Table<T> {
    places: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Table<T> {
    /// Puts a value somewhere.
    pub fn insert(&mut self, value: T) -> Key {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        let slot = &mut self.places[place as usize];
        slot.0 = slot.0.wrapping_add(1) & 0xff_ffff;
        slot.1 = Some(value);
        Key { place, tenant: slot.0 }
    }

    /// The value, if it is still there.
    pub fn get(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.places.get_mut(key.place as usize)?;
        if slot.0 == key.tenant { slot.1.as_mut() } else { None }
    }

    /// Takes the value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.places.get_mut(key.place as usize)?;
        let value = if slot.0 == key.tenant { slot.1.take() } else { None };
        if value.is_some() {
            self.free.push(key.place);
        }
        value
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The keys of all.
    pub fn keys(&self) -> Vec<Key> {
        let all = self.places.iter().enumerate().filter(|(_, slot)| slot.1.is_some());
        all.map(|(place, slot)| Key { place: u32::try_from(place).unwrap_or(u32::MAX), tenant: slot.0 }).collect()
    }
}

/// Begins to connect.
///
/// # Errors
/// The address is not on loopback, or the system has no socket left.
pub fn connect(from: Ipv4Addr, to: Loopback) -> io::Result<OwnedFd> {
    if !from.is_loopback() {
        return Err(io::Error::other(format!("{from} is not on loopback")));
    }
    let socket = tcp_socket()?;
    rustix::net::bind(&socket, &SocketAddrV4::new(from, 0))?;
    match rustix::net::connect(&socket, &to.address()) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// A listening socket on a port of 127.0.0.1 of the system's choice.
///
/// # Errors
/// The system has none.
pub fn listen() -> Result<(OwnedFd, SocketAddr)> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    // A longer queue than the library's 128: a flood opens hundreds of connections at once.
    rustix::net::listen(&listener, 4096)?;
    let address = listener.local_addr()?;
    Ok((listener.into(), address))
}

/// A connection that waits to be accepted.
///
/// # Errors
/// There is none.
pub fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let socket = rustix::net::accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    Ok(socket)
}

fn tcp_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?)
}

/// Ends a connection at once, with a reset: what has many addresses leaves nothing behind that waits for minutes.
pub fn reset(socket: OwnedFd) {
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    drop(socket);
}

/// What came of an attempt to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// So many bytes were taken.
    Bytes(usize),
    /// The connection does not stand yet, or takes nothing at the moment.
    Wait,
    /// It has ended.
    Ended,
}

/// Writes what the socket takes.
#[must_use]
pub fn send(socket: &OwnedFd, bytes: &[u8]) -> Sent {
    match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
        Ok(count) => Sent::Bytes(count),
        Err(Errno::AGAIN | Errno::NOTCONN) => Sent::Wait,
        Err(_) => Sent::Ended,
    }
}

/// What came of an attempt to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes, at least one.
    Bytes(usize),
    /// Nothing at the moment.
    Wait,
    /// It has ended.
    Ended,
}

/// Reads what is there.
#[must_use]
pub fn receive(socket: &OwnedFd, into: &mut [u8]) -> Received {
    match rustix::io::read(socket, into) {
        Ok(0) => Received::Ended,
        Ok(count) => Received::Bytes(count),
        Err(Errno::AGAIN | Errno::NOTCONN) => Received::Wait,
        Err(_) => Received::Ended,
    }
}

#[cfg(test)]
mod tests {
    use super::{Loopback, Table, Token, connect};

    #[test]
    fn nothing_but_loopback_is_a_target() {
        assert!(Loopback::new("127.9.9.9:80".parse().expect("an address")).is_ok());
        for other in ["10.0.0.1:80", "[::1]:80", "0.0.0.0:80", "93.184.216.34:443"] {
            assert!(Loopback::new(other.parse().expect("an address")).is_err(), "{other}");
        }
        assert!(connect("10.0.0.1".parse().expect("an address"), Loopback::port(9)).is_err());
    }

    #[test]
    fn a_late_key_does_not_reach_the_next_tenant() {
        let mut table = Table::default();
        let first = table.insert(1);
        assert_eq!(Token::new(7, first).key(), first);
        assert_eq!(Token::new(7, first).kind(), 7);
        assert_eq!(table.remove(first), Some(1));
        let second = table.insert(2);
        assert_eq!(table.get(first), None);
        assert_eq!(table.get(second), Some(&mut 2));
        assert_eq!((table.remove(first), table.len()), (None, 1));
        assert_eq!(table.keys(), [second]);
    }
}
