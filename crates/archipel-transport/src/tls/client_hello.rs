//! The ClientHello, read from raw TLS records before any TLS library sees them.
//!
//! Owns: what a client says about itself in its first message (RFC 8446 section 4.1.2), for the
//! fingerprint, for shielding, and to answer those who speak something else than TLS.
//!
//! Must never: decide about the handshake (rustls reads the same bytes again and is the judge of
//! versions, groups and keys), or do input/output.

use smallvec::SmallVec;

use super::names;

/// Most bytes of raw records that a ClientHello may take, in bytes. A browser with post-quantum
/// key share, ECH and padding needs about 2 KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

/// Longest content of a plaintext record in bytes (RFC 8446 section 5.1).
const RECORD_CONTENT_BYTES_MAX: usize = 1 << 14;

const CONTENT_TYPE_HANDSHAKE: u8 = 22;
const HANDSHAKE_TYPE_CLIENT_HELLO: u8 = 1;

pub(crate) const EXTENSION_SERVER_NAME: u16 = 0x0000;
const EXTENSION_SUPPORTED_GROUPS: u16 = 0x000a;
const EXTENSION_SIGNATURE_ALGORITHMS: u16 = 0x000d;
pub(crate) const EXTENSION_ALPN: u16 = 0x0010;
const EXTENSION_SUPPORTED_VERSIONS: u16 = 0x002b;
const EXTENSION_ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// What a client offered. Lists are in the order of the message and hold everything that was
/// sent, GREASE values (RFC 8701) included; see [`is_grease`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hello {
    /// `legacy_version`: 0x0303 for TLS 1.2 and 1.3.
    pub legacy_version: u16,
    /// Cipher suites.
    pub cipher_suites: SmallVec<[u16; 32]>,
    /// Extension types.
    pub extensions: SmallVec<[u16; 32]>,
    /// The host name of the server_name extension (RFC 6066 section 3) in lower case, or `None`
    /// where there is no such extension or it holds no valid host name.
    pub server_name: Option<String>,
    /// ALPN protocol names (RFC 7301).
    pub alpn: SmallVec<[SmallVec<[u8; 16]>; 4]>,
    /// The supported_versions extension.
    pub supported_versions: SmallVec<[u16; 8]>,
    /// The signature_algorithms extension.
    pub signature_algorithms: SmallVec<[u16; 16]>,
    /// The supported_groups extension.
    pub supported_groups: SmallVec<[u16; 8]>,
    /// Whether the encrypted_client_hello extension is there (browsers also send a meaningless
    /// one on purpose).
    pub encrypted_client_hello: bool,
}

/// What [`parse`] found at the start of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// So far a valid beginning: read more and parse again from the start.
    Incomplete,
    /// The whole message.
    Hello(Box<Hello>),
}

/// Why the bytes are no acceptable ClientHello. The fault is the client's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientHelloError {
    /// The first bytes are not those of a TLS handshake record.
    #[error("the client does not speak TLS{}", if *.looks_like_http { " but plain HTTP" } else { "" })]
    NotTls {
        /// The bytes start with an HTTP method or the HTTP/2 preface: somebody opened `http://`
        /// on the TLS port.
        looks_like_http: bool,
    },
    /// More than [`CLIENT_HELLO_BYTES_MAX`].
    #[error("the ClientHello is larger than {CLIENT_HELLO_BYTES_MAX} bytes")]
    TooLarge,
    /// TLS, but not a well-formed ClientHello.
    #[error("malformed ClientHello: {0}")]
    Malformed(&'static str),
}

/// Whether a 16-bit value is one of the reserved ones that clients send to keep servers tolerant
/// (RFC 8701): 0x0a0a, 0x1a1a, ... 0xfafa.
#[must_use]
pub const fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// Reads a ClientHello from the start of `buf`, the raw bytes of a connection, over as many
/// records as it takes.
///
/// Call it again with more bytes after [`Parsed::Incomplete`]; it never asks for more than
/// [`CLIENT_HELLO_BYTES_MAX`].
///
/// # Errors
/// [`ClientHelloError`], as early as the bytes allow.
pub fn parse(buf: &[u8]) -> Result<Parsed, ClientHelloError> {
    match buf.first() {
        None => return Ok(Parsed::Incomplete),
        Some(&CONTENT_TYPE_HANDSHAKE) => {}
        Some(_) => return judge_http(buf),
    }
    if buf.get(1).is_some_and(|major| *major != 3) {
        return Err(ClientHelloError::NotTls { looks_like_http: false });
    }
    let Some(message) = assemble(buf)? else {
        return if buf.len() >= CLIENT_HELLO_BYTES_MAX {
            Err(ClientHelloError::TooLarge)
        } else {
            Ok(Parsed::Incomplete)
        };
    };
    let body = message.get(4..).unwrap_or_default();
    let hello = read_hello(body)?;
    Ok(Parsed::Hello(Box::new(hello)))
}

/// Bytes that are no TLS: waits for just enough of them to tell whether they are HTTP.
fn judge_http(buf: &[u8]) -> Result<Parsed, ClientHelloError> {
    const BEGINNINGS: [&[u8]; 11] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"CONNECT ",
        b"TRACE ",
        b"PROPFIND ",
        b"PRI * HTTP/2",
    ];
    let looks_like_http = BEGINNINGS.iter().any(|beginning| buf.starts_with(beginning));
    if !looks_like_http && BEGINNINGS.iter().any(|beginning| beginning.starts_with(buf)) {
        return Ok(Parsed::Incomplete);
    }
    Err(ClientHelloError::NotTls { looks_like_http })
}

/// The handshake message with its four bytes of header, or `None` where bytes are missing.
/// Bytes behind the message are left to the TLS library.
fn assemble(buf: &[u8]) -> Result<Option<SmallVec<[u8; 2048]>>, ClientHelloError> {
    let malformed = ClientHelloError::Malformed;
    let mut message = SmallVec::new();
    let mut rest = buf;
    while let Some((header, after)) = rest.split_first_chunk::<5>() {
        let [content_type, major, _, high, low] = *header;
        if content_type != CONTENT_TYPE_HANDSHAKE || major != 3 {
            return Err(malformed("another record inside of the ClientHello"));
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        // RFC 8446 section 5.1: no empty fragments of handshake messages.
        if length == 0 || length > RECORD_CONTENT_BYTES_MAX {
            return Err(malformed("record length"));
        }
        let fragment = after.get(..length).unwrap_or(after);
        message.extend_from_slice(fragment);
        if let Some(&[kind, high, middle, low]) = message.first_chunk::<4>() {
            if kind != HANDSHAKE_TYPE_CLIENT_HELLO {
                return Err(malformed("another handshake message"));
            }
            let whole = 4 + u32::from_be_bytes([0, high, middle, low]) as usize;
            if whole > CLIENT_HELLO_BYTES_MAX {
                return Err(ClientHelloError::TooLarge);
            }
            if message.len() >= whole {
                message.truncate(whole);
                return Ok(Some(message));
            }
        }
        rest = after.get(length..).unwrap_or_default();
    }
    Ok(None)
}

/// RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2.
fn read_hello(body: &[u8]) -> Result<Hello, ClientHelloError> {
    let mut reader = Reader(body);
    let mut hello = Hello { legacy_version: reader.u16("version")?, ..Hello::default() };
    reader.take(32, "random")?;
    if reader.list8("session id")?.0.len() > 32 {
        return Err(ClientHelloError::Malformed("session id"));
    }
    hello.cipher_suites = reader.list16("cipher suites")?.u16s("cipher suites")?;
    if reader.list8("compression methods")?.0.is_empty() {
        return Err(ClientHelloError::Malformed("compression methods"));
    }
    // TLS 1.2 allows a hello without any extensions block.
    if reader.0.is_empty() {
        return Ok(hello);
    }
    let mut extensions = reader.list16("extensions")?;
    if !reader.0.is_empty() {
        return Err(ClientHelloError::Malformed("bytes after the extensions"));
    }
    while !extensions.0.is_empty() {
        let kind = extensions.u16("extension")?;
        let data = extensions.list16("extension")?;
        // A second one of a kind (forbidden, RFC 8446 section 4.2) is for rustls to refuse;
        // here the first one counts.
        let first = !hello.extensions.contains(&kind);
        hello.extensions.push(kind);
        if first {
            read_extension(&mut hello, kind, data)?;
        }
    }
    Ok(hello)
}

fn read_extension(hello: &mut Hello, kind: u16, mut data: Reader<'_>) -> Result<(), ClientHelloError> {
    match kind {
        EXTENSION_SERVER_NAME => hello.server_name = read_server_name(data)?,
        EXTENSION_SUPPORTED_GROUPS => {
            hello.supported_groups = data.list16("supported_groups")?.u16s("supported_groups")?;
        }
        EXTENSION_SIGNATURE_ALGORITHMS => {
            let list = data.list16("signature_algorithms")?;
            hello.signature_algorithms = list.u16s("signature_algorithms")?;
        }
        EXTENSION_ALPN => {
            let mut list = data.list16("ALPN")?;
            while !list.0.is_empty() {
                hello.alpn.push(SmallVec::from_slice(list.list8("ALPN")?.0));
            }
        }
        EXTENSION_SUPPORTED_VERSIONS => {
            let list = data.list8("supported_versions")?;
            hello.supported_versions = list.u16s("supported_versions")?;
        }
        EXTENSION_ENCRYPTED_CLIENT_HELLO => hello.encrypted_client_hello = true,
        _ => {}
    }
    Ok(())
}

/// The first host_name entry. A name that is none (an IP address, a blank) is as good as absent:
/// clients that send such things exist, and rustls treats them the same way.
fn read_server_name(mut data: Reader<'_>) -> Result<Option<String>, ClientHelloError> {
    // An empty extension is what a server sends; some old clients do too.
    if data.0.is_empty() {
        return Ok(None);
    }
    let mut list = data.list16("server_name")?;
    while !list.0.is_empty() {
        let kind = list.u8("server_name")?;
        let name = list.list16("server_name")?;
        if kind == 0 {
            return Ok(std::str::from_utf8(name.0).ok().and_then(names::host_name));
        }
    }
    Ok(None)
}

/// A cursor over the rest of a structure. Every read names the field for the error.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], ClientHelloError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ClientHelloError::Malformed(field))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self, field: &'static str) -> Result<u8, ClientHelloError> {
        let (first, rest) = self.0.split_first().ok_or(ClientHelloError::Malformed(field))?;
        self.0 = rest;
        Ok(*first)
    }

    fn u16(&mut self, field: &'static str) -> Result<u16, ClientHelloError> {
        let (bytes, rest) = self.0.split_first_chunk::<2>().ok_or(ClientHelloError::Malformed(field))?;
        self.0 = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    fn list8(&mut self, field: &'static str) -> Result<Reader<'a>, ClientHelloError> {
        let length = self.u8(field)?;
        self.take(usize::from(length), field).map(Reader)
    }

    fn list16(&mut self, field: &'static str) -> Result<Reader<'a>, ClientHelloError> {
        let length = self.u16(field)?;
        self.take(usize::from(length), field).map(Reader)
    }

    fn u16s<A: smallvec::Array<Item = u16>>(self, field: &'static str) -> Result<SmallVec<A>, ClientHelloError> {
        let (pairs, odd) = self.0.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(ClientHelloError::Malformed(field));
        }
        Ok(pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
    }
}

#[cfg(test)]
#[path = "client_hello_tests.rs"]
mod tests;
