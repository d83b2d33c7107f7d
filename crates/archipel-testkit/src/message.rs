//! HTTP/1.1 messages read strictly by RFC 9112, off a [`Wire`].
//!
//! Every leniency that the RFC allows a recipient is refused here, since what is read is what the edge wrote.
//! Must share no code with the edge's own parser.

use anyhow::{Context as _, bail, ensure};

use crate::text::show;
use crate::wire::{End, Wire};

/// Start line and fields.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// Request line or status line, without its line end.
    pub start: String,
    /// Field lines in order; names as sent, values without surrounding whitespace.
    pub fields: Vec<(String, String)>,
    /// The exact bytes, final empty line included.
    pub raw: Vec<u8>,
}

impl Head {
    /// Parses the bytes of a head, which must end with an empty line.
    pub fn parse(raw: &[u8]) -> anyhow::Result<Self> {
        let text: String = raw.iter().map(|b| char::from(*b)).collect();
        let body = text.strip_suffix("\r\n\r\n").context("a head must end with an empty line")?;
        ensure!(!body.contains('\0'), "NUL in a head: {}", show(raw));
        let mut lines = body.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.map(field).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(!start.contains(['\r', '\n']), "bare CR or LF in the start line: {}", show(raw));
        Ok(Self { start, fields, raw: raw.to_vec() })
    }

    /// All values of a field, in order.
    pub fn all<'a>(&'a self, name: &str) -> Vec<&'a str> {
        self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect()
    }

    /// The value of a field that occurs at most once.
    pub fn get<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.all(name).first().copied()
    }

    /// The values of a list field joined with commas, in lower case.
    pub fn list(&self, name: &str) -> Vec<String> {
        let joined = self.all(name).join(",").to_ascii_lowercase();
        joined.split(',').map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect()
    }

    /// The status code of a status line.
    pub fn status(&self) -> anyhow::Result<u16> {
        let rest =
            self.start.strip_prefix("HTTP/1.1 ").with_context(|| format!("not a status line: {:?}", self.start))?;
        let code = rest.get(..3).context("a status line without a code")?;
        ensure!(rest.as_bytes().get(3).is_none_or(|b| *b == b' '), "bad status line {:?}", self.start);
        Ok(code.parse()?)
    }

    /// The method of a request line.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// The target of a request line.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

fn field(line: &str) -> anyhow::Result<(String, String)> {
    let (name, value) = line.split_once(':').with_context(|| format!("a field line without a colon: {line:?}"))?;
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    ensure!(!name.is_empty() && name.chars().all(token), "bad field name {name:?}");
    ensure!(!value.contains(['\r', '\n']), "bare CR or LF in field {name}: {value:?}");
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

/// How a message's body ends (RFC 9112 section 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks and trailers.
    Chunked,
    /// Everything until the connection ends.
    UntilClose,
}

impl Framing {
    /// The framing of a response; `bodiless` for an answer to HEAD.
    pub fn of_response(head: &Head, bodiless: bool) -> anyhow::Result<Self> {
        let status = head.status()?;
        let explicit = Self::explicit(head)?;
        if bodiless || status < 200 || status == 204 || status == 304 {
            ensure!(
                explicit.is_none() || status == 304 || (bodiless && status >= 200 && status != 204),
                "status {status} must not carry framing fields"
            );
            return Ok(Self::None);
        }
        Ok(explicit.unwrap_or(Self::UntilClose))
    }

    /// The framing of a request.
    pub fn of_request(head: &Head) -> anyhow::Result<Self> {
        Ok(Self::explicit(head)?.unwrap_or(Self::None))
    }

    fn explicit(head: &Head) -> anyhow::Result<Option<Self>> {
        let coding = head.list("transfer-encoding");
        let lengths = head.all("content-length");
        ensure!(coding.is_empty() || lengths.is_empty(), "Content-Length beside Transfer-Encoding: {:?}", head.fields);
        if !coding.is_empty() {
            ensure!(coding == ["chunked"], "transfer codings {coding:?}");
            return Ok(Some(Self::Chunked));
        }
        let Some(length) = lengths.first() else {
            return Ok(None);
        };
        ensure!(lengths.len() == 1, "several Content-Length lines: {lengths:?}");
        ensure!(!length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()), "bad Content-Length {length:?}");
        Ok(Some(Self::Length(length.parse()?)))
    }
}

/// A body being read.
#[derive(Debug)]
pub struct BodyReader {
    framing: Framing,
    left: u64,
    started: bool,
    decoded: Vec<u8>,
    /// Set once the body has ended properly.
    pub complete: bool,
    /// Set where the stream ended before the body did.
    pub cut: Option<End>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// Decoded bytes so far, taken or not.
    pub total: u64,
    /// Sizes of the chunks so far.
    pub chunks: Vec<u64>,
}

impl BodyReader {
    /// A reader for one body.
    pub fn new(framing: Framing) -> Self {
        let (left, complete) = match framing {
            Framing::Length(n) => (n, n == 0),
            Framing::None => (0, true),
            _ => (0, false),
        };
        Self {
            framing,
            left,
            started: false,
            decoded: Vec::new(),
            complete,
            cut: None,
            trailers: Vec::new(),
            total: 0,
            chunks: Vec::new(),
        }
    }

    /// Whether nothing more will come.
    pub fn is_over(&self) -> bool {
        self.complete || self.cut.is_some()
    }

    /// Takes what is decoded already.
    pub fn take_decoded(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.decoded)
    }

    /// Decodes at least one more byte or comes to the end.
    pub async fn advance(&mut self, wire: &mut Wire) -> anyhow::Result<()> {
        let before = self.total;
        while !self.is_over() && self.total == before {
            match self.framing {
                Framing::None => self.complete = true,
                Framing::Length(_) => self.advance_counted(wire).await?,
                Framing::UntilClose => self.advance_until_close(wire).await?,
                Framing::Chunked => self.advance_chunked(wire).await?,
            }
        }
        Ok(())
    }

    async fn advance_counted(&mut self, wire: &mut Wire) -> anyhow::Result<()> {
        if wire.buffer.is_empty() && !wire.fill().await? {
            self.cut = wire.end;
            return Ok(());
        }
        self.absorb(wire);
        self.complete = self.left == 0;
        Ok(())
    }

    fn absorb(&mut self, wire: &mut Wire) {
        let n = wire.buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.decoded.extend(wire.buffer.drain(..n));
        self.left -= n as u64;
        self.total += n as u64;
    }

    async fn advance_until_close(&mut self, wire: &mut Wire) -> anyhow::Result<()> {
        if wire.buffer.is_empty() && !wire.fill().await? {
            match wire.end {
                Some(End::Reset) => self.cut = wire.end,
                _ => self.complete = true,
            }
            return Ok(());
        }
        self.left = wire.buffer.len() as u64;
        self.absorb(wire);
        Ok(())
    }

    async fn advance_chunked(&mut self, wire: &mut Wire) -> anyhow::Result<()> {
        if self.left > 0 {
            if wire.buffer.is_empty() && !wire.fill().await? {
                self.cut = wire.end;
                return Ok(());
            }
            self.absorb(wire);
            return Ok(());
        }
        if self.started {
            let Some(end) = wire.take(2).await? else {
                self.cut = wire.end;
                return Ok(());
            };
            ensure!(end == b"\r\n", "chunk data must end with CRLF, not {}", show(&end));
        }
        let Some(line) = wire.take_through(b"\r\n").await? else {
            self.cut = wire.end;
            return Ok(());
        };
        let digits = std::str::from_utf8(&line[..line.len() - 2])?;
        ensure!(
            !digits.is_empty() && digits.len() <= 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()),
            "bad chunk size line {digits:?}"
        );
        self.left = u64::from_str_radix(digits, 16)?;
        self.started = true;
        if self.left > 0 {
            self.chunks.push(self.left);
            return Ok(());
        }
        self.read_trailers(wire).await
    }

    async fn read_trailers(&mut self, wire: &mut Wire) -> anyhow::Result<()> {
        loop {
            let Some(line) = wire.take_through(b"\r\n").await? else {
                self.cut = wire.end;
                return Ok(());
            };
            let line: String = line[..line.len() - 2].iter().map(|b| char::from(*b)).collect();
            if line.is_empty() {
                self.complete = true;
                return Ok(());
            }
            self.trailers.push(field(&line)?);
        }
    }

    /// Reads until `count` decoded bytes are there and takes them.
    pub async fn take(&mut self, wire: &mut Wire, count: usize) -> anyhow::Result<Vec<u8>> {
        while self.decoded.len() < count {
            if self.is_over() {
                bail!("the body ended after {} bytes: {}", self.decoded.len(), show(&self.decoded));
            }
            self.advance(wire).await?;
        }
        Ok(self.decoded.drain(..count).collect())
    }

    /// Reads to the end and takes what was not taken yet.
    pub async fn take_all(&mut self, wire: &mut Wire) -> anyhow::Result<Vec<u8>> {
        while !self.is_over() {
            self.advance(wire).await?;
        }
        Ok(self.take_decoded())
    }
}

/// Reads the head of the next message; `None` where the stream ends with nothing more in it.
pub async fn read_head(wire: &mut Wire) -> anyhow::Result<Option<Head>> {
    match wire.take_through(b"\r\n\r\n").await? {
        Some(raw) => Ok(Some(Head::parse(&raw)?)),
        None if wire.buffer.is_empty() => Ok(None),
        None => bail!("the stream ended within a head: {}", show(&wire.buffer)),
    }
}

/// A whole message.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Start line and fields.
    pub head: Head,
    /// The decoded body.
    pub body: Vec<u8>,
    /// Trailer fields.
    pub trailers: Vec<(String, String)>,
    /// How the stream ended, where it ended before the body did.
    pub cut: Option<End>,
}

/// Reads a whole request, with any `Expect: 100-continue` left to the caller's script.
pub async fn read_request(wire: &mut Wire) -> anyhow::Result<Option<Message>> {
    let Some(head) = read_head(wire).await? else {
        return Ok(None);
    };
    let framing = Framing::of_request(&head)?;
    read_body(wire, head, framing).await.map(Some)
}

/// Reads the rest of a message.
pub async fn read_body(wire: &mut Wire, head: Head, framing: Framing) -> anyhow::Result<Message> {
    let mut reader = BodyReader::new(framing);
    let body = reader.take_all(wire).await?;
    Ok(Message { head, body, trailers: reader.trailers, cut: reader.cut })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> anyhow::Result<Head> {
        Head::parse(text.as_bytes())
    }

    #[test]
    fn heads() {
        let good = head("HTTP/1.1 200 OK\r\nA: 1\r\na:  2 \r\n\r\n").unwrap();
        assert_eq!((good.status().unwrap(), good.all("A"), good.get("b")), (200, vec!["1", "2"], None));
        for bad in [
            "HTTP/1.1 200 OK\r\nA 1\r\n\r\n",
            "GET / HTTP/1.1\r\nA: 1\nB: 2\r\n\r\n",
            "GET /\0 HTTP/1.1\r\n\r\n",
            "X\r\n : v\r\n\r\n",
        ] {
            assert!(head(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn framings() {
        for (fields, want) in [
            ("", Framing::UntilClose),
            ("Content-Length: 5\r\n", Framing::Length(5)),
            ("Transfer-Encoding: chunked\r\n", Framing::Chunked),
        ] {
            let head = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap();
            assert_eq!(Framing::of_response(&head, false).unwrap(), want);
            assert_eq!(Framing::of_response(&head, true).unwrap(), Framing::None);
        }
        for bad in [
            "Content-Length: +5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert!(
                Framing::of_response(&head(&format!("HTTP/1.1 200 OK\r\n{bad}\r\n")).unwrap(), false).is_err(),
                "{bad}"
            );
        }
    }
}
