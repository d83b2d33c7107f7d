//! The PROXY protocol, versions 1 and 2, as a load balancer in front of a node speaks it.
//!
//! Owns: reading one header from the start of a connection's bytes. The specification is
//! HAProxy's `doc/proxy-protocol.txt`.
//!
//! Must never: decide who may send such a header (that is the listener's list of trusted
//! peers), guess whether a connection carries one (a listener that expects it refuses
//! connections without it, else any client could claim any address), or do input/output.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest version 1 header in bytes, `\r\n` included (specification section 2.1).
pub const PROXY_HEADER_V1_BYTES_MAX: usize = 107;

/// Longest part of a version 2 header after its first 16 bytes. The format allows 65,535; what
/// load balancers send (addresses, TLVs about TLS and cloud endpoints) stays far below this.
pub const PROXY_HEADER_V2_PAYLOAD_BYTES_MAX: usize = 2048;

/// Most bytes that a caller needs to buffer before [`parse`] answers something else than
/// [`Parsed::Incomplete`].
pub const PROXY_HEADER_BYTES_MAX: usize = V2_FIXED_BYTES + PROXY_HEADER_V2_PAYLOAD_BYTES_MAX;

/// Most type-length-value blocks in one version 2 header.
pub const PROXY_HEADER_TLVS_MAX: usize = 64;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;
const TLV_CRC32C: u8 = 0x03;

/// What [`parse`] found at the start of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// So far a valid beginning: read more and parse again from the start.
    Incomplete,
    /// A whole header.
    Header {
        /// Length of the header in bytes: what follows belongs to TLS or HTTP.
        consumed: usize,
        /// The client, or `None` where the sender speaks for itself (`LOCAL`, a health check)
        /// or does not know (`UNKNOWN`): then the peer's own address holds. IPv4-mapped IPv6
        /// addresses are given as IPv4, so that an address list cannot be passed by spelling.
        source: Option<SocketAddr>,
        /// The address that the client connected to. `None` together with `source`.
        destination: Option<SocketAddr>,
    },
}

/// Why the bytes are not an acceptable PROXY header. The fault is the peer's (a load balancer,
/// or somebody who is none); the only answer is to close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProtocolError {
    /// Neither `PROXY ` nor the signature of version 2.
    #[error("the connection does not start with a PROXY protocol header")]
    Missing,
    /// Longer than [`PROXY_HEADER_V1_BYTES_MAX`] or [`PROXY_HEADER_V2_PAYLOAD_BYTES_MAX`].
    #[error("the PROXY protocol header is longer than allowed")]
    TooLong,
    /// A version 1 line that does not follow the grammar of section 2.1.
    #[error("malformed PROXY protocol version 1 line: {0}")]
    Line(&'static str),
    /// The upper half of byte 13 is not 2, or its lower half is neither LOCAL nor PROXY.
    #[error("unknown PROXY protocol version or command 0x{0:02x}")]
    VersionOrCommand(u8),
    /// An address family or transport that cannot be a client of this listener (`AF_UNIX`,
    /// datagrams, unassigned values).
    #[error("unsupported PROXY protocol address family and transport 0x{0:02x}")]
    Family(u8),
    /// The announced length is too short for the addresses of the family.
    #[error("the PROXY protocol header is too short for its addresses")]
    AddressesTruncated,
    /// A TLV passes the end of the header, or there are more than [`PROXY_HEADER_TLVS_MAX`].
    #[error("malformed PROXY protocol TLVs: {0}")]
    Tlv(&'static str),
    /// The header carries a CRC32C (section 2.2.3) and it does not match.
    #[error("the PROXY protocol header's checksum does not match")]
    Checksum,
}

/// Reads one header of either version from the start of `buf`.
///
/// Incremental in the simple way: call it again with more bytes after [`Parsed::Incomplete`].
/// It refuses as early as the bytes allow, so it never asks for more than
/// [`PROXY_HEADER_BYTES_MAX`].
///
/// # Errors
/// [`ProxyProtocolError`]; the connection is to be closed without a reply.
pub fn parse(buf: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    if starts_like(buf, V1_PREFIX) {
        return parse_v1(buf);
    }
    if starts_like(buf, V2_SIGNATURE) {
        return parse_v2(buf);
    }
    Err(ProxyProtocolError::Missing)
}

/// Whether `buf` is a beginning of `prefix`, or `prefix` a beginning of `buf`.
fn starts_like(buf: &[u8], prefix: &[u8]) -> bool {
    buf.iter().zip(prefix).all(|(a, b)| a == b)
}

fn parse_v1(buf: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    let window = buf.get(..PROXY_HEADER_V1_BYTES_MAX).unwrap_or(buf);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if window.len() == PROXY_HEADER_V1_BYTES_MAX {
            Err(ProxyProtocolError::TooLong)
        } else {
            Ok(Parsed::Incomplete)
        };
    };
    let line = window
        .get(..end)
        .and_then(|line| line.strip_suffix(b"\r"))
        .and_then(|line| line.strip_prefix(V1_PREFIX))
        .ok_or(ProxyProtocolError::Line("no carriage return before the line feed"))?;
    let consumed = end + 1;
    let line = std::str::from_utf8(line).map_err(|_| ProxyProtocolError::Line("not ASCII"))?;
    // Section 2.1: after UNKNOWN the receiver ignores everything up to the end of the line.
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Ok(Parsed::Header { consumed, source: None, destination: None });
    }
    let (source, destination) = parse_v1_addresses(line)?;
    Ok(Parsed::Header { consumed, source: Some(source), destination: Some(destination) })
}

fn parse_v1_addresses(line: &str) -> Result<(SocketAddr, SocketAddr), ProxyProtocolError> {
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or(ProxyProtocolError::Line("a field is missing"));
    let family = word()?;
    let (source, destination) = (word()?, word()?);
    let (source_port, destination_port) = (word()?, word()?);
    if words.next().is_some() {
        return Err(ProxyProtocolError::Line("more fields than expected"));
    }
    let address = |text: &str| -> Result<IpAddr, ProxyProtocolError> {
        let parsed = match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(|ip| IpAddr::V6(ip).to_canonical()),
            _ => return Err(ProxyProtocolError::Line("unknown protocol")),
        };
        parsed.ok_or(ProxyProtocolError::Line("not an address of that family"))
    };
    Ok((
        SocketAddr::new(address(source)?, parse_v1_port(source_port)?),
        SocketAddr::new(address(destination)?, parse_v1_port(destination_port)?),
    ))
}

/// Section 2.1: decimal, 0 to 65535, without leading zeros, sign or blanks.
fn parse_v1_port(text: &str) -> Result<u16, ProxyProtocolError> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    let port = if canonical { text.parse().ok() } else { None };
    port.ok_or(ProxyProtocolError::Line("not a port number"))
}

fn parse_v2(buf: &[u8]) -> Result<Parsed, ProxyProtocolError> {
    // Each byte of the fixed part is judged as soon as it is there.
    let Some(&version_command) = buf.get(12) else {
        return Ok(Parsed::Incomplete);
    };
    let local = match version_command {
        0x20 => true,
        0x21 => false,
        other => return Err(ProxyProtocolError::VersionOrCommand(other)),
    };
    let Some(&family) = buf.get(13) else {
        return Ok(Parsed::Incomplete);
    };
    // Section 2.2: LOCAL is accepted whatever its family is. For PROXY, only what a TCP listener
    // can have as a client: 0x00 unknown, 0x11 TCP over IPv4, 0x21 TCP over IPv6.
    if !local && !matches!(family, 0x00 | 0x11 | 0x21) {
        return Err(ProxyProtocolError::Family(family));
    }
    let (Some(&high), Some(&low)) = (buf.get(14), buf.get(15)) else {
        return Ok(Parsed::Incomplete);
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > PROXY_HEADER_V2_PAYLOAD_BYTES_MAX {
        return Err(ProxyProtocolError::TooLong);
    }
    let consumed = V2_FIXED_BYTES + length;
    let Some(header) = buf.get(..consumed) else {
        return Ok(Parsed::Incomplete);
    };
    if local || family == 0x00 {
        return Ok(Parsed::Header { consumed, source: None, destination: None });
    }
    let payload = header.get(V2_FIXED_BYTES..).unwrap_or_default();
    let (source, destination, tlvs_at) = if family == 0x11 { parse_v2_inet(payload) } else { parse_v2_inet6(payload) }
        .ok_or(ProxyProtocolError::AddressesTruncated)?;
    check_tlvs(header, V2_FIXED_BYTES + tlvs_at)?;
    Ok(Parsed::Header { consumed, source: Some(source), destination: Some(destination) })
}

fn parse_v2_inet(payload: &[u8]) -> Option<(SocketAddr, SocketAddr, usize)> {
    let (source, rest) = payload.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let of = |ip: &[u8; 4], port: &[u8; 2]| SocketAddr::new(IpAddr::V4(Ipv4Addr::from(*ip)), u16::from_be_bytes(*port));
    Some((of(source, source_port), of(destination, destination_port), 12))
}

fn parse_v2_inet6(payload: &[u8]) -> Option<(SocketAddr, SocketAddr, usize)> {
    let (source, rest) = payload.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (source_port, rest) = rest.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    let of = |ip: &[u8; 16], port: &[u8; 2]| {
        let ip = IpAddr::V6(Ipv6Addr::from(*ip)).to_canonical();
        SocketAddr::new(ip, u16::from_be_bytes(*port))
    };
    Some((of(source, source_port), of(destination, destination_port), 36))
}

/// Walks the TLVs (section 2.2): they must fill the header exactly. Their contents are skipped,
/// but for the checksum.
fn check_tlvs(header: &[u8], start: usize) -> Result<(), ProxyProtocolError> {
    let mut at = start;
    let mut checksum_at = None;
    for _ in 0..PROXY_HEADER_TLVS_MAX {
        let rest = header.get(at..).unwrap_or_default();
        let Some((&[kind, high, low], rest)) = rest.split_first_chunk::<3>() else {
            if !rest.is_empty() {
                return Err(ProxyProtocolError::Tlv("a TLV is cut short"));
            }
            return match checksum_at {
                Some(at) => check_crc32c(header, at),
                None => Ok(()),
            };
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if rest.len() < length {
            return Err(ProxyProtocolError::Tlv("a TLV is cut short"));
        }
        if kind == TLV_CRC32C && (length != 4 || checksum_at.replace(at + 3).is_some()) {
            return Err(ProxyProtocolError::Tlv("not exactly one checksum of four bytes"));
        }
        at += 3 + length;
    }
    if at == header.len() {
        return checksum_at.map_or(Ok(()), |at| check_crc32c(header, at));
    }
    Err(ProxyProtocolError::Tlv("too many TLVs"))
}

/// Section 2.2.3: the sum covers the whole header with the four bytes of the sum itself as zeros.
fn check_crc32c(header: &[u8], at: usize) -> Result<(), ProxyProtocolError> {
    let sum_bytes = at..at + 4;
    let mut crc = !0u32;
    for (index, &byte) in header.iter().enumerate() {
        let byte = if sum_bytes.contains(&index) { 0 } else { byte };
        crc = crc32c_step(crc, byte);
    }
    let wanted = header.get(sum_bytes).and_then(|sum| sum.first_chunk::<4>());
    if wanted.is_some_and(|wanted| u32::from_be_bytes(*wanted) == !crc) {
        Ok(())
    } else {
        Err(ProxyProtocolError::Checksum)
    }
}

/// One byte of CRC-32C (Castagnoli, reflected). Bit by bit: a header has at most 2 KiB and most
/// senders add no sum, so a table would only take cache lines.
fn crc32c_step(crc: u32, byte: u8) -> u32 {
    let mut crc = crc ^ u32::from(byte);
    for _ in 0..8 {
        let mask = (crc & 1).wrapping_neg();
        crc = (crc >> 1) ^ (0x82f6_3b78 & mask);
    }
    crc
}

#[cfg(test)]
mod tests;
