//! The raw HTTP/1.1 client: sends exactly what it is given, reads responses strictly, one by one.
//!
//! Must never repair, retry or hide anything; interim responses are returned like all others.

use anyhow::{Context as _, ensure};

use crate::message::{BodyReader, Framing, Head, Message, read_head};
use crate::wire::{End, Target, Wire};

/// One connection to the edge.
pub struct RawClient {
    /// The stream, for exact work.
    pub wire: Wire,
    body: BodyReader,
}

impl RawClient {
    /// Connects.
    pub async fn connect(target: &Target) -> anyhow::Result<Self> {
        Ok(Self::new(Wire::connect(target).await?))
    }

    /// Uses an open stream.
    pub fn new(wire: Wire) -> Self {
        Self { wire, body: BodyReader::new(Framing::None) }
    }

    /// Sends exactly these bytes. A peer that has closed already is not an error: the answer tells.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire.send(bytes.as_ref()).await;
    }

    /// Reads the next head, interim or final; `None` where the connection ends instead.
    pub async fn read_head(&mut self, bodiless: bool) -> anyhow::Result<Option<Head>> {
        ensure!(self.body.is_over(), "the previous body is not read to its end");
        let Some(head) = read_head(&mut self.wire).await? else {
            return Ok(None);
        };
        self.body = BodyReader::new(Framing::of_response(&head, bodiless)?);
        Ok(Some(head))
    }

    /// Reads exactly `count` bytes of the body.
    pub async fn read_part(&mut self, count: usize) -> anyhow::Result<Vec<u8>> {
        self.body.take(&mut self.wire, count).await
    }

    /// Reads the rest of the body.
    pub async fn read_rest(&mut self) -> anyhow::Result<(Vec<u8>, Vec<(String, String)>, Option<End>)> {
        let bytes = self.body.take_all(&mut self.wire).await?;
        Ok((bytes, std::mem::take(&mut self.body.trailers), self.body.cut))
    }

    /// Reads a body of any size without keeping it; returns its length, a hash of it, and how it was cut if it was.
    pub async fn skim_rest(&mut self, mut each: impl FnMut(&[u8])) -> anyhow::Result<(u64, Option<End>)> {
        self.wire.recording = false;
        each(&self.body.take_decoded());
        while !self.body.is_over() {
            self.body.advance(&mut self.wire).await?;
            each(&self.body.take_decoded());
        }
        self.wire.recording = true;
        Ok((self.body.total, self.body.cut))
    }

    /// Reads one response, interim or final, to its end.
    pub async fn read_response(&mut self) -> anyhow::Result<Message> {
        self.read_response_to("GET").await
    }

    /// Reads one response to a request with `method`.
    pub async fn read_response_to(&mut self, method: &str) -> anyhow::Result<Message> {
        let head = self.read_head(method == "HEAD").await?.context("the connection ended instead of a response")?;
        let (body, trailers, cut) = self.read_rest().await?;
        Ok(Message { head, body, trailers, cut })
    }

    /// Sends a request and reads its final response; interim ones are passed over.
    pub async fn ask(&mut self, request: &str) -> anyhow::Result<Message> {
        self.send(request).await;
        let method = request.split(' ').next().unwrap_or_default().to_owned();
        loop {
            let response = self.read_response_to(&method).await?;
            if response.head.status()? >= 200 {
                return Ok(response);
            }
        }
    }

    /// A GET with nothing but Host.
    pub async fn get(&mut self, host: &str, path: &str) -> anyhow::Result<Message> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
    }

    /// Waits for the end of the connection, which must come with no more bytes.
    pub async fn read_end(&mut self) -> anyhow::Result<End> {
        let (rest, end) = self.wire.take_rest().await?;
        ensure!(rest.is_empty(), "bytes where the end should be: {}", crate::text::show(&rest));
        Ok(end)
    }
}
