//! The HTTP/1.1 client of a scenario.
//!
//! Must never read beyond what a step names.

use anyhow::{Context as _, ensure};

use super::see::{Wanted, quoted};
use crate::client::RawClient;
use crate::text::{Vars, show};
use crate::wire::{End, Target};

pub(super) struct Client1 {
    pub(super) raw: RawClient,
}

impl Client1 {
    pub(super) async fn open(target: &Target) -> anyhow::Result<Self> {
        Ok(Self { raw: RawClient::connect(target).await? })
    }

    pub(super) async fn see(&mut self, lines: &[String], vars: &Vars) -> anyhow::Result<()> {
        let line = lines.first().context("nothing expected")?;
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "closed" => self.see_end(|end| end == End::Closed).await,
            "reset" => self.see_end(|end| end == End::Reset).await,
            "ended" => self.see_end(|_| true).await,
            "quiet" => {
                ensure!(self.raw.wire.is_quiet(), "the connection has ended or says: {}", show(&self.raw.wire.buffer));
                Ok(())
            }
            "raw" => {
                let want = quoted(rest, vars)?;
                let got = self.raw.wire.take(want.len()).await?.context("the connection ended")?;
                ensure!(got == want, "expected {}, got {}", show(&want), show(&got));
                Ok(())
            }
            "part" => {
                let want = quoted(rest, vars)?;
                let got = self.raw.read_part(want.len()).await?;
                ensure!(got == want, "expected {}, got {}", show(&want), show(&got));
                Ok(())
            }
            "end" => self.see_rest(&Wanted::parse(lines, vars)?).await,
            "refused" => self.see_refusal(&Wanted::parse(lines, vars)?).await,
            _ => self.see_message(&Wanted::parse(lines, vars)?).await,
        }
    }

    async fn see_end(&mut self, fits: impl Fn(End) -> bool) -> anyhow::Result<()> {
        let end = self.raw.read_end().await?;
        ensure!(fits(end), "the connection ended by {end:?}");
        Ok(())
    }

    /// A refusal of a malformed request: 400, closing (RFC 9112 section 6.3, RFC 9110 section 17).
    async fn see_refusal(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        let response = self.raw.read_response().await?;
        ensure!(response.head.status()? == 400, "expected 400, got {:?}", response.head.start);
        ensure!(response.head.list("connection").contains(&"close".to_owned()), "a refusal must say Connection: close");
        wanted.check_fields(&response.head.fields)?;
        self.see_end(|_| true).await
    }

    async fn see_message(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        let head = self.raw.read_head(wanted.bodiless).await?;
        let head = head.with_context(|| format!("the connection ended instead of a response {}", wanted.first))?;
        wanted.check_first(&head.status()?.to_string())?;
        wanted.check_fields(&head.fields)?;
        if wanted.head_only {
            return Ok(());
        }
        self.see_rest(wanted).await
    }

    async fn see_rest(&mut self, wanted: &Wanted) -> anyhow::Result<()> {
        let (body, trailers, cut) = self.raw.read_rest().await?;
        wanted.check_body(&body, &trailers, cut.is_some())
    }
}
