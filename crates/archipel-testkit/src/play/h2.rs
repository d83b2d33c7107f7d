//! The HTTP/2 client of a scenario: the same text as for HTTP/1.1, sent as frames.
//!
//! `Host` becomes `:authority`, connection fields are left out, a body ends where its framing says. Responses are read in
//! the order of the requests. Must never repair a field: names and values go out as written, but in lower case.

use std::collections::VecDeque;

use anyhow::{Context as _, bail, ensure};

use super::see::{Wanted, quoted};
use crate::h2raw::{Head2, RawH2, Refusal};
use crate::hpack::Fields;
use crate::text::{Vars, show};
use crate::wire::Target;

pub(super) struct Client2 {
    pub(super) raw: RawH2,
    /// Streams whose final response is not read yet.
    waiting: VecDeque<u32>,
    /// The request being sent: its stream and how many body bytes are still to come.
    sending: Option<(u32, usize)>,
}

impl Client2 {
    pub(super) async fn open(target: &Target) -> anyhow::Result<Self> {
        Ok(Self { raw: RawH2::connect(target).await?, waiting: VecDeque::new(), sending: None })
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some((stream, left)) = self.sending {
                let n = left.min(rest.len());
                let done = n == left;
                self.raw.send_data(stream, &rest[..n], done).await;
                self.sending = (!done).then_some((stream, left - n));
                rest = &rest[n..];
                continue;
            }
            rest = self.send_head(rest).await?;
        }
        Ok(())
    }

    /// Sends one head and, where it is chunked, its whole body; returns what follows.
    async fn send_head<'b>(&mut self, bytes: &'b [u8]) -> anyhow::Result<&'b [u8]> {
        let end = bytes
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .context("a block in h2 form must begin with a whole head")?;
        let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
        let head = Request2::parse(head)?;
        let (body, rest) = if head.chunked {
            let (body, trailers, rest) = unchunk(rest)?;
            (Some((body, trailers)), rest)
        } else {
            (None, rest)
        };
        let open = body.is_some() || head.length > 0 || head.is_tunnel;
        let fields: Vec<_> = head.fields.iter().map(|(name, value)| (octets(name), octets(value))).collect();
        let stream = self.raw.send_head(&fields, !open).await;
        self.waiting.push_back(stream);
        if let Some((body, trailers)) = body {
            self.raw.send_data(stream, &body, trailers.is_empty()).await;
            if !trailers.is_empty() {
                self.raw.send_headers(stream, &trailers, true).await;
            }
        } else if head.is_tunnel {
            self.sending = Some((stream, usize::MAX));
        } else if head.length > 0 {
            self.sending = Some((stream, head.length));
        }
        Ok(rest)
    }

    pub(super) async fn see(&mut self, lines: &[String], vars: &Vars) -> anyhow::Result<()> {
        let line = lines.first().context("nothing expected")?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            // An HTTP/2 connection outlives a refused request; scenarios that mean it say so with F<.
            "closed" | "reset" | "ended" | "quiet" => Ok(()),
            "raw" | "part" => {
                let want = quoted(rest, vars)?;
                let stream = self.current()?;
                let got = self.raw.read_part(stream, want.len()).await?;
                ensure!(got == want, "expected {}, got {}", show(&want), show(&got));
                Ok(())
            }
            "end" => self.see_rest(&Wanted::parse(lines, vars)?).await,
            "refused" => self.see_refusal().await,
            _ => self.see_message(Wanted::parse(lines, vars)?.without_connection_fields()).await,
        }
    }

    fn current(&self) -> anyhow::Result<u32> {
        self.waiting.front().copied().context("no request waits for a response")
    }

    /// A malformed request is a stream error, possibly after a 400 (RFC 9113 section 8.1.1).
    async fn see_refusal(&mut self) -> anyhow::Result<()> {
        let stream = self.current()?;
        let answer = self.raw.read_head(stream).await?;
        self.waiting.pop_front();
        self.sending = None;
        match answer {
            Ok(Head2 { status: 400, .. }) | Err(Refusal::Reset(1) | Refusal::Gone(Some(1))) => Ok(()),
            other => bail!("expected 400 or a PROTOCOL_ERROR, got {other:?}"),
        }
    }

    async fn see_message(&mut self, wanted: Wanted) -> anyhow::Result<()> {
        let stream = self.current()?;
        let head = match self.raw.read_head(stream).await? {
            Ok(head) => head,
            // A reset that overtakes the head says "cut" as well (RFC 9113 section 5.4.2 lets queued frames go).
            Err(Refusal::Reset(_)) if wanted.cut => {
                self.waiting.pop_front();
                return Ok(());
            }
            Err(refusal) => bail!("expected {}, got {refusal:?} on stream {stream}", wanted.first),
        };
        wanted.check_first(&head.status.to_string())?;
        wanted.check_fields(&head.fields)?;
        if head.status < 200 {
            ensure!(!head.end, "an interim response must not end the stream");
            return Ok(());
        }
        if wanted.head_only {
            return Ok(());
        }
        if head.end {
            self.waiting.pop_front();
            return wanted.check_body(b"", &[], false);
        }
        self.see_rest(&wanted).await
    }

    async fn see_rest(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        let stream = self.current()?;
        let (body, trailers, cut) = self.raw.read_rest(stream).await?;
        self.waiting.pop_front();
        if self.sending.is_some_and(|(s, _)| s == stream) {
            self.sending = None;
        }
        wanted.check_body(&body, &trailers, cut.is_some())
    }
}

/// Characters back to the bytes they stand for.
fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

struct Request2 {
    fields: Fields,
    chunked: bool,
    length: usize,
    is_tunnel: bool,
}

impl Request2 {
    fn parse(head: &[u8]) -> anyhow::Result<Self> {
        let text: String = head.iter().map(|b| char::from(*b)).collect();
        let mut lines = text.split("\r\n");
        let mut start = lines.next().unwrap_or_default().splitn(3, ' ');
        let (method, target) = (start.next().unwrap_or_default(), start.next().context("no target")?);
        let mut fields = Fields::new();
        let mut request = Self { fields: Fields::new(), chunked: false, length: 0, is_tunnel: method == "CONNECT" };
        let (mut authority, mut scheme) = (None, "http");
        for line in lines {
            let (name, value) = line.split_once(':').with_context(|| format!("no colon in {line:?}"))?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']));
            match name.as_str() {
                "host" if authority.is_none() => authority = Some(value.to_owned()),
                "transfer-encoding" => request.chunked = true,
                "connection" | "keep-alive" | "proxy-connection" => {}
                "x-scheme" => scheme = if value == "https" { "https" } else { "http" },
                "x-protocol" => request.fields.push((":protocol".to_owned(), value.to_owned())),
                _ => {
                    if name == "content-length" {
                        request.length = value.parse().unwrap_or(0);
                    }
                    fields.push((name, value.to_owned()));
                }
            }
        }
        request.fields.push((":method".to_owned(), method.to_owned()));
        request.fields.push((":scheme".to_owned(), scheme.to_owned()));
        if let Some(authority) = authority {
            request.fields.push((":authority".to_owned(), authority));
        }
        request.fields.push((":path".to_owned(), target.to_owned()));
        // Field values hold bytes as characters of the same number, and go out as these bytes.
        request.fields.extend(fields);
        Ok(request)
    }
}

/// Decodes a whole chunked body.
fn unchunk(mut bytes: &[u8]) -> anyhow::Result<(Vec<u8>, Fields, &[u8])> {
    let mut body = Vec::new();
    loop {
        let line = take_line(&mut bytes)?;
        let size = usize::from_str_radix(&line, 16).with_context(|| format!("chunk size {line:?}"))?;
        if size == 0 {
            break;
        }
        body.extend_from_slice(bytes.get(..size).context("a chunk ends too early")?);
        bytes = &bytes[size..];
        ensure!(take_line(&mut bytes)?.is_empty(), "no line end after a chunk");
    }
    let mut trailers = Fields::new();
    loop {
        let line = take_line(&mut bytes)?;
        if line.is_empty() {
            return Ok((body, trailers, bytes));
        }
        let (name, value) = line.split_once(':').context("a trailer without a colon")?;
        trailers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn take_line(bytes: &mut &[u8]) -> anyhow::Result<String> {
    let at = bytes.windows(2).position(|w| w == b"\r\n").context("a body in h2 form must be whole in its block")?;
    let line = bytes[..at].iter().map(|b| char::from(*b)).collect();
    *bytes = &bytes[at + 2..];
    Ok(line)
}
