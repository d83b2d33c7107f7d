//! The origin's side of a scenario.
//!
//! Must never answer by itself.

use anyhow::{Context as _, bail, ensure};

use super::see::{Wanted, quoted};
use super::{Player, client};
use crate::case::Form;
use crate::client::RawClient;
use crate::text::show;
use crate::wire::End;

impl Player<'_> {
    /// The connection a step is about: a named one, or the one of the last request.
    async fn origin_number(&mut self, number: usize) -> anyhow::Result<usize> {
        if number != 0 {
            self.origin.connection(number).await?;
            self.origin_at = number;
        }
        ensure!(self.origin_at > 0, "the origin has read no request yet");
        Ok(self.origin_at)
    }

    pub(super) async fn origin_sends(&mut self, number: usize, bytes: &[u8]) -> anyhow::Result<()> {
        let at = self.origin_number(number).await?;
        self.origin.connection(at).await?.send(bytes).await
    }

    pub(super) async fn origin_does(&mut self, number: usize, word: &str) -> anyhow::Result<()> {
        if word == "fail-handshake" {
            return self.origin.fail_handshake().await;
        }
        let at = self.origin_number(number).await?;
        let connection = self.origin.connection(at).await?;
        match word {
            "accept" => {}
            "close" => drop(connection.wire.take()),
            "reset" => connection.wire.take().context("closed already")?.reset(),
            "finish" => {
                connection.wire.as_mut().context("closed already")?.finish().await?;
            }
            other => bail!("unknown word after O!: {other:?}"),
        }
        Ok(())
    }

    pub(super) async fn origin_sees(&mut self, number: usize, lines: &[String]) -> anyhow::Result<()> {
        let line = lines.first().context("nothing expected")?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "nothing" => return self.barrier(false).await,
            "incomplete-or-nothing" => return self.barrier(true).await,
            "connections" => {
                let count = self.origin.connections.len();
                ensure!(count == rest.parse::<usize>()?, "{count} connections came to the origin");
                return Ok(());
            }
            "part" | "raw" | "end" | "closed" | "reset" | "ended" => {}
            _ => return self.origin_sees_request(number, lines).await,
        }
        let at = self.origin_number(number).await?;
        let vars = self.vars.clone();
        let connection = self.origin.connection(at).await?;
        match word {
            "part" => {
                let want = quoted(rest, &vars)?;
                let got = connection.read_part(want.len()).await?;
                ensure!(got == want, "the origin expected {}, got {}", show(&want), show(&got));
            }
            "raw" => {
                let want = quoted(rest, &vars)?;
                let wire = connection.wire.as_mut().context("closed already")?;
                let got = wire.take(want.len()).await?.context("the edge closed the connection")?;
                ensure!(got == want, "the origin expected {}, got {}", show(&want), show(&got));
            }
            "end" => {
                let wanted = Wanted::parse(lines, &vars)?;
                let body = connection.read_rest().await?;
                wanted.check_body(&body, &connection.body.trailers, connection.body.cut.is_some())?;
            }
            _ => {
                let (bytes, end) = connection.wire.as_mut().context("closed already")?.take_rest().await?;
                ensure!(bytes.is_empty(), "the origin expected the end, got {}", show(&bytes));
                ensure!(word == "ended" || (word == "reset") == (end == End::Reset), "the edge ended by {end:?}");
            }
        }
        Ok(())
    }

    async fn origin_sees_request(&mut self, number: usize, lines: &[String]) -> anyhow::Result<()> {
        self.origin_at = if number == 0 { self.origin.await_bytes().await? } else { number };
        let wanted = Wanted::parse(lines, &self.vars)?;
        let connection = self.origin.connection(self.origin_at).await?;
        let head = connection.read_head().await?;
        wanted.check_first(&head.start)?;
        wanted.check_fields(&head.fields)?;
        if wanted.head_only {
            return Ok(());
        }
        let body = connection.read_rest().await?;
        wanted.check_body(&body, &connection.body.trailers, connection.body.cut.is_some())
    }

    /// One more request through the edge: it must be the very next thing that the origin receives. Where `tolerant`, requests
    /// before it are allowed if the edge gave them up before their end.
    async fn barrier(&mut self, tolerant: bool) -> anyhow::Result<()> {
        let unread = self.origin.unread().await;
        ensure!(tolerant || unread.is_empty(), "the origin received what it must not: {}", unread.join("; "));
        self.barriers += 1;
        let host = self.vars.get("HOST").context("no HOST")?.clone();
        let path = format!("/barrier-{}", self.barriers);
        let target = client::target(self.world, self.source, Form::H1, "", &self.vars)?;
        let mut client = RawClient::connect(&target).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        client.send(request).await;
        loop {
            let at = self.origin.await_bytes().await?;
            let connection = self.origin.connection(at).await?;
            let head = connection.read_head().await.context("while looking for the barrier request")?;
            let body = connection.read_rest().await?;
            if head.start == format!("GET {path} HTTP/1.1") {
                let answer = b"HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n\r\n";
                connection.send(answer).await?;
                break;
            }
            ensure!(
                tolerant && connection.body.cut.is_some(),
                "the origin received what it must not: {}{}",
                show(&head.raw),
                show(&body)
            );
        }
        let answer = client.read_response().await?;
        ensure!(answer.head.status()? == 204, "the barrier request was answered {:?}", answer.head.start);
        Ok(())
    }
}
