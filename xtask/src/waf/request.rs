//! A transaction as both engines are given it.

use std::io::{self, Write};

/// Name and value.
pub type Field = (Vec<u8>, Vec<u8>);

/// One request and, where the response is to be judged, its response.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: Vec<u8>,
    /// Target as on the request line.
    pub uri: Vec<u8>,
    /// `1.1`, without the name of the protocol.
    pub version: Vec<u8>,
    /// Fields in the order of the message.
    pub headers: Vec<Field>,
    /// Body; empty where there is none.
    pub body: Vec<u8>,
    /// What the origin answers.
    pub response: Option<Response>,
}

/// What an origin answers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Fields in the order of the message.
    pub headers: Vec<Field>,
    /// Body.
    pub body: Vec<u8>,
}

/// Address of every client, from TEST-NET-3 (RFC 5737).
pub const CLIENT: &str = "203.0.113.9";
/// Address of every server, from TEST-NET-1.
pub const SERVER: &str = "192.0.2.1";

const BROWSER: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36";

impl Request {
    /// A request with the fields that a browser sends.
    #[must_use]
    pub fn browser(method: &str, uri: impl Into<Vec<u8>>) -> Self {
        let fields = [
            ("Host", "shop.example"),
            ("User-Agent", BROWSER),
            ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
            ("Accept-Language", "en-GB,en;q=0.7"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
        ];
        let headers = fields.map(|(name, value)| (name.into(), value.into())).to_vec();
        Self { method: method.into(), uri: uri.into(), version: b"1.1".to_vec(), headers, ..Self::default() }
    }

    /// Adds a field, or gives it another value.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        let found = self.headers.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        match found {
            Some((_, old)) => *old = value.into(),
            None => self.headers.push((name.into(), value.into())),
        }
        self
    }

    /// Gives it a body and its length.
    #[must_use]
    pub fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        let length = self.body.len().to_string();
        self.with("Content-Length", length)
    }

    /// Writes the frame that `peers/modsecurity.c` describes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_frame(&self, into: &mut impl Write) -> io::Result<()> {
        for text in [CLIENT.as_bytes(), SERVER.as_bytes(), &self.uri, &self.method] {
            write_text(into, text)?;
        }
        write_message(into, &self.version, &self.headers, &self.body)?;
        let none = Response::default();
        let response = self.response.as_ref().unwrap_or(&none);
        write_number(into, usize::from(response.status))?;
        write_message(into, b"HTTP/1.1", &response.headers, &response.body)
    }
}

fn write_number(into: &mut impl Write, number: usize) -> io::Result<()> {
    let number = u32::try_from(number).map_err(io::Error::other)?;
    into.write_all(&number.to_le_bytes())
}

fn write_text(into: &mut impl Write, text: &[u8]) -> io::Result<()> {
    write_number(into, text.len())?;
    into.write_all(text)
}

fn write_message(into: &mut impl Write, version: &[u8], headers: &[Field], body: &[u8]) -> io::Result<()> {
    write_text(into, version)?;
    write_number(into, headers.len())?;
    for (name, value) in headers {
        write_text(into, name)?;
        write_text(into, value)?;
    }
    write_text(into, body)
}
