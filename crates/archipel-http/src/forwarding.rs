//! Fields by which proxies tell each other about the way of a request: `Via`, `CDN-Loop`, `X-Forwarded-*`, `Forwarded`.
//!
//! Owns their syntax, the detection of loops, and the walk from the nearest proxy to the client. Must never believe a field
//! that the caller has not named as set by a listed peer (attack: spoofed client addresses).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use http::Version;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::list;
use crate::sink::FieldSink;
use crate::target::Scheme;

/// `CDN-Loop` (RFC 8586)
pub const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
/// `X-Forwarded-For`
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How many members of `CDN-Loop` a request may bring before it is refused as a loop.
pub const CDN_LOOP_MEMBERS_MAX: usize = 32;
/// How many members of `Via` a request may bring before it is refused as a loop.
pub const VIA_MEMBERS_MAX: usize = 64;
/// How many members of `X-Forwarded-For` or `Forwarded`, from the right, are looked at.
pub const FORWARDED_MEMBERS_MAX: usize = 32;

/// Why a request is refused as a loop: 508 or 502 with `proxy_loop_detected`.
#[derive(Copy, Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LoopDetected {
    /// The request passed this CDN more often than allowed
    #[error("the request has passed here before")]
    Passes,
    /// More members than the limit
    #[error("the request has passed too many proxies")]
    Members,
}

impl LoopDetected {
    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            LoopDetected::Passes => "loop_passes",
            LoopDetected::Members => "loop_members",
        }
    }
}

/// Refuses a request that names `cdn_id` in `CDN-Loop` more than `passes_max` times (RFC 8586 section 2), or whose `CDN-Loop` or
/// `Via` is absurdly long.
///
/// `passes_max` is 0 where a request passes once; with tiers of the same identity it is their number less one.
pub fn check_loop(headers: &HeaderMap, cdn_id: &str, passes_max: usize) -> Result<(), LoopDetected> {
    if !headers.contains_key(CDN_LOOP) && !headers.contains_key(header::VIA) {
        return Ok(());
    }
    let mut passes = 0;
    for (index, member) in list::field_members(headers, CDN_LOOP).enumerate() {
        if index >= CDN_LOOP_MEMBERS_MAX {
            return Err(LoopDetected::Members);
        }
        let id = member.split(|byte| *byte == b';').next().unwrap_or_default();
        passes += usize::from(list::trim(id).eq_ignore_ascii_case(cdn_id.as_bytes()));
    }
    if passes > passes_max {
        return Err(LoopDetected::Passes);
    }
    let via = list::field_members(headers, header::VIA).take(VIA_MEMBERS_MAX + 1).count();
    if via > VIA_MEMBERS_MAX { Err(LoopDetected::Members) } else { Ok(()) }
}

/// The member for an identity: a host name, or a word of token characters. `None` for anything else.
pub fn cdn_loop_value(cdn_id: &str) -> Option<HeaderValue> {
    let valid = !cdn_id.is_empty() && cdn_id.bytes().all(|byte| list::is_token_byte(byte) || byte == b':');
    if valid { HeaderValue::from_str(cdn_id).ok() } else { None }
}

/// Adds this proxy to `Via` (RFC 9110 section 7.6.3), with the version in which the message was received.
pub fn append_via(headers: &mut HeaderMap, received: Version, pseudonym: &str) {
    let version = match received {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    };
    if let Ok(value) = HeaderValue::try_from(format!("{version} {pseudonym}")) {
        headers.append(header::VIA, value);
    }
}

/// The client as the origin shall see it.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct ForwardedClient<'a> {
    /// The address of the peer that sent the request to this node.
    pub peer: IpAddr,
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// The host that the client asked for.
    pub host: &'a str,
}

/// Adds `X-Forwarded-For`, `-Proto` and `-Host`. With `keep` (the peer is listed as trusted, and what it sent is passed on)
/// the address goes behind those in `received`, and scheme and host are added only where they are not there.
pub fn write_x_forwarded(received: &HeaderMap, client: &ForwardedClient<'_>, keep: bool, to: &mut impl FieldSink) {
    match client.peer.to_canonical() {
        IpAddr::V4(v4) => to.put_text(&X_FORWARDED_FOR, &v4_text(v4.octets())),
        v6 => to.put_text(&X_FORWARDED_FOR, &v6.to_string()),
    }
    if !keep || !received.contains_key(X_FORWARDED_PROTO) {
        to.put_text(&X_FORWARDED_PROTO, client.scheme.as_str());
    }
    if !keep || !received.contains_key(X_FORWARDED_HOST) {
        to.put_text(&X_FORWARDED_HOST, client.host);
    }
}

/// Writes `Forwarded` (RFC 7239): behind what came with `keep`, otherwise in its place.
pub fn write_forwarded(headers: &mut HeaderMap, client: &ForwardedClient<'_>, keep: bool) {
    let mut element = String::with_capacity(80);
    // Writing to a String cannot fail.
    let _ = match client.peer.to_canonical() {
        IpAddr::V4(peer) => write!(element, "for={peer}"),
        IpAddr::V6(peer) => write!(element, "for=\"[{peer}]\""),
    };
    let _ = write!(element, ";proto={};host=", client.scheme.as_str());
    if list::is_token(client.host.as_bytes()) {
        element.push_str(client.host);
    } else {
        crate::structured::push_string(&mut element, client.host);
    }
    let Ok(value) = HeaderValue::try_from(element) else {
        return;
    };
    if keep {
        headers.append(header::FORWARDED, value);
    } else {
        headers.insert(header::FORWARDED, value);
    }
}

/// Dotted decimals, without the formatting machinery: this is done for each request that is forwarded.
fn v4_text(octets: [u8; 4]) -> ArrayText {
    let mut text = ArrayText::default();
    for (i, octet) in octets.into_iter().enumerate() {
        if i > 0 {
            text.push(b'.');
        }
        for unit in [100, 10, 1] {
            if octet >= unit || unit == 1 {
                text.push(b'0' + octet / unit % 10);
            }
        }
    }
    text
}

/// Up to 15 characters of ASCII.
#[derive(Default)]
struct ArrayText {
    bytes: [u8; 15],
    len: usize,
}

impl ArrayText {
    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

impl std::ops::Deref for ArrayText {
    type Target = str;

    fn deref(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

/// Which field tells the client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AddressSource {
    /// None: the peer is the client.
    Peer,
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded`
    Forwarded,
    /// A field with one address, such as `CF-Connecting-IP` or `X-Real-IP`.
    Single(HeaderName),
}

/// The client's address: the peer's, unless `is_trusted` lists the peer and the field names another.
///
/// Lists are walked from the right: each trusted address vouches for the one before it, the first that is not trusted is the
/// client. A member that is no address ends the walk at the last address that a trusted proxy vouched for. A single-address field
/// that occurs twice or holds no address is not believed.
pub fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    source: &AddressSource,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return peer;
    }
    match source {
        AddressSource::Peer => peer,
        AddressSource::Single(name) => single_address(headers, name).unwrap_or(peer),
        AddressSource::XForwardedFor => walk(peer, &last_members(headers, &X_FORWARDED_FOR), parse_node, is_trusted),
        AddressSource::Forwarded => walk(peer, &last_members(headers, &header::FORWARDED), forwarded_for, is_trusted),
    }
}

fn walk(
    peer: IpAddr,
    members: &[&[u8]],
    parse: impl Fn(&[u8]) -> Option<IpAddr>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> IpAddr {
    let mut client = peer;
    for member in members.iter().rev().take(FORWARDED_MEMBERS_MAX) {
        match parse(member) {
            None => break,
            Some(address) => client = address,
        }
        if !is_trusted(client) {
            break;
        }
    }
    client
}

/// The last [`FORWARDED_MEMBERS_MAX`] members, in order.
fn last_members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> SmallVec<[&'a [u8]; 8]> {
    let mut members: SmallVec<[&[u8]; 8]> = SmallVec::new();
    // Lines are not walked backwards within a value, for a comma may be quoted: enough lines are taken from the end instead.
    let lines: SmallVec<[&HeaderValue; 8]> = headers.get_all(name).iter().collect();
    let skip = lines.len().saturating_sub(FORWARDED_MEMBERS_MAX);
    for line in lines.iter().skip(skip) {
        members.extend(list::members(line.as_bytes()));
    }
    let surplus = members.len().saturating_sub(FORWARDED_MEMBERS_MAX);
    members.drain(..surplus);
    members
}

fn single_address(headers: &HeaderMap, name: &HeaderName) -> Option<IpAddr> {
    let mut lines = headers.get_all(name).into_iter();
    let first = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    parse_node(list::trim(first.as_bytes()))
}

/// An address as proxies write it: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
pub fn parse_node(node: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(node).ok()?;
    let address: IpAddr = if let Ok(address) = text.parse() {
        address
    } else if let Ok(socket) = text.parse::<SocketAddr>() {
        socket.ip()
    } else {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        IpAddr::V6(inner.parse().ok()?)
    };
    Some(address.to_canonical())
}

/// The address of `for=` in one element of `Forwarded`; `None` for `unknown`, obfuscated or malformed ones.
pub fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    parse_node(&forwarded_parameter(element, b"for")?)
}

/// One parameter of an element of `Forwarded` (RFC 7239 section 4), without its quotes.
pub fn forwarded_parameter<'a>(element: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    let mut rest = element;
    while !rest.is_empty() {
        let end = pair_end(rest);
        let (pair, behind) = rest.split_at(end);
        rest = behind.get(1..).unwrap_or_default();
        let pair = list::trim(pair);
        let Some(equals) = memchr::memchr(b'=', pair) else {
            continue;
        };
        let (key, value) = pair.split_at(equals);
        if key.eq_ignore_ascii_case(name) {
            return Some(unquote(value.get(1..).unwrap_or_default()));
        }
    }
    None
}

fn pair_end(value: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        match byte {
            b';' => return at,
            b'"' => at += list::quoted_len(&value[at..]).unwrap_or(1),
            _ => at += 1,
        }
    }
    value.len()
}

fn unquote(value: &[u8]) -> Cow<'_, [u8]> {
    let [b'"', inner @ .., b'"'] = value else {
        return Cow::Borrowed(value);
    };
    if !inner.contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter();
    while let Some(byte) = bytes.next() {
        out.push(if *byte == b'\\' { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    Cow::Owned(out)
}

#[cfg(test)]
#[path = "forwarding_tests.rs"]
mod tests;
