//! Plays a scenario: walks its steps against a running edge, with an origin that does only what the steps say.
//!
//! Words after `C!`: `open [tls[=SNI]] [from=ADDRESS] [preface="..."] [recv=BYTES]`, `close`, `finish` (half-close),
//! `reset`. After `O!`: `close`, `finish`, `reset`, `accept`, `fail-handshake`. What may follow `C<` and `O<` is
//! described in [`see`]; frames in [`frames`]. `O< nothing` asks one more request through the edge, so that
//! whatever was still on its way to the origin would show up before it; `O< incomplete-or-nothing` lets requests pass that
//! the edge gave up before their end; `O< connections COUNT` counts.
//!
//! Must never wait without a deadline, and never accept more than the scenario says.

mod client;
mod frames;
mod h1;
mod h2;
mod origin;
mod record;
mod see;

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::RootCertStore;

use crate::case::{Case, Form, Side, Sign, Step, StepAct};
use crate::edge::Announcement;
use crate::played::PlayedOrigin;
use crate::text::{Vars, expand, show};

pub use record::{LogTap, metric, scrape};

/// What all scenarios of one process share.
#[derive(Clone)]
pub struct World {
    /// Where the edge is.
    pub at: Announcement,
    /// Whom clients trust.
    pub roots: RootCertStore,
    /// The access log.
    pub log: LogTap,
}

/// What one playing of a scenario has for itself.
pub struct Stage {
    /// The origin of its zone.
    pub origin: PlayedOrigin,
    /// `$NAME` values; HOST must be among them.
    pub vars: Vars,
    /// The loopback address its clients come from.
    pub source: IpAddr,
}

pub(crate) struct Player<'a> {
    world: &'a World,
    vars: Vars,
    source: IpAddr,
    form: Form,
    origin: PlayedOrigin,
    origin_at: usize,
    clients: Vec<Option<client::Client>>,
    used_records: Vec<usize>,
    barriers: usize,
}

/// Plays one form of a case; an error names the step and shows what both sides received.
pub async fn play(case: &Case, form: Form, world: &World, stage: Stage) -> anyhow::Result<()> {
    let Stage { origin, vars, source } = stage;
    let mut player = Player {
        world,
        vars,
        source,
        form,
        origin,
        origin_at: 0,
        clients: Vec::new(),
        used_records: Vec::new(),
        barriers: 0,
    };
    let mut at = case.steps.first();
    let mut result = Ok(());
    for step in case.steps.iter().filter(|s| s.only.is_none_or(|only| only == form)) {
        at = Some(step);
        result = player.step(step).await;
        if result.is_err() {
            break;
        }
    }
    let unread = player.origin.unread().await;
    if result.is_ok() && !unread.is_empty() {
        result = Err(anyhow::anyhow!("the origin received what no step expects: {}", unread.join("; ")));
    }
    let place = format!("{}:{} [{}]", case.file.display(), at.map_or(0, |s| s.line), form.word());
    result.map_err(|error| error.context(place)).map_err(|error| anyhow::anyhow!("{error:#}\n{}", player.evidence()))
}

impl Player<'_> {
    async fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        let (side, sign, number, lines) = match &step.act {
            StepAct::Log(text) => return self.check_log(text).await,
            StepAct::Metric(text) => return self.check_metric(text).await,
            StepAct::On(side, sign, number, lines) => (*side, *sign, *number, lines),
        };
        match (side, sign) {
            (Side::Client, Sign::Send) => {
                let bytes = self.bytes(lines)?;
                self.client(number).await?.send(&bytes).await
            }
            (Side::Client, Sign::See) => {
                let vars = self.vars.clone();
                self.client(number).await?.see(lines, &vars).await
            }
            (Side::Client, Sign::Do) => self.client_does(number, lines).await,
            (Side::Frames, Sign::Send) => {
                let bytes = frames::build(lines.first().map_or("", String::as_str), &self.vars)?;
                self.client(number).await?.send_frames(&bytes).await
            }
            (Side::Frames, Sign::See) => {
                self.client(number).await?.see_frame(lines.first().map_or("", String::as_str)).await
            }
            (Side::Frames, Sign::Do) => bail!("F! means nothing"),
            (Side::Origin, Sign::Send) => {
                let bytes = self.bytes(lines)?;
                self.origin_sends(number, &bytes).await
            }
            (Side::Origin, Sign::See) => self.origin_sees(number, lines).await,
            (Side::Origin, Sign::Do) => self.origin_does(number, lines.first().map_or("", String::as_str)).await,
        }
    }

    /// Sent lines as bytes: each ends with CRLF unless it ends with a backslash.
    fn bytes(&self, lines: &[String]) -> anyhow::Result<Vec<u8>> {
        let mut out = Vec::new();
        for line in lines {
            // Two backslashes at the end are an escaped one and the line ends normally.
            let bare = line.strip_suffix('\\').filter(|l| !l.ends_with('\\'));
            out.extend(expand(bare.unwrap_or(line), &self.vars)?);
            if bare.is_none() {
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(out)
    }

    async fn client(&mut self, number: usize) -> anyhow::Result<&mut client::Client> {
        let at = number.max(1) - 1;
        if self.clients.get(at).is_none_or(Option::is_none) {
            self.open(at, "").await?;
        }
        self.clients.get_mut(at).and_then(Option::as_mut).context("this client connection is closed")
    }

    async fn open(&mut self, at: usize, options: &str) -> anyhow::Result<()> {
        let target = client::target(self.world, self.source, self.form, options, &self.vars)?;
        let client = client::Client::open(&target, self.form).await?;
        while self.clients.len() <= at {
            self.clients.push(None);
        }
        self.clients[at] = Some(client);
        Ok(())
    }

    async fn client_does(&mut self, number: usize, lines: &[String]) -> anyhow::Result<()> {
        let at = number.max(1) - 1;
        let line = lines.first().map_or("", String::as_str);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "open" {
            return self.open(at, rest).await;
        }
        let client = self.clients.get_mut(at).and_then(Option::take).context("this client connection is not open")?;
        match word {
            "close" => drop(client),
            "reset" => client.into_wire().reset(),
            "finish" => {
                let mut client = client;
                let _ = client.wire().finish().await;
                self.clients[at] = Some(client);
            }
            other => bail!("unknown word after C!: {other:?}"),
        }
        Ok(())
    }

    /// What both sides received, for a failure's report.
    fn evidence(&mut self) -> String {
        let mut out = String::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            if let Some(client) = client {
                let wire = client.wire();
                out.push_str(&format!("--- client {} received ({:?}):\n{}\n", at + 1, wire.end, show(&wire.received)));
            }
        }
        for (at, connection) in self.origin.connections.iter().enumerate() {
            match &connection.wire {
                Some(wire) => out.push_str(&format!(
                    "--- origin connection {} received ({:?}):\n{}\n",
                    at + 1,
                    wire.end,
                    show(&wire.received)
                )),
                None => out.push_str(&format!("--- origin connection {} was closed by the scenario\n", at + 1)),
            }
        }
        let records = self.world.log.of(&self.record_filter());
        out.push_str(&format!(
            "--- access log:\n{}\n",
            records.iter().map(|(_, r)| r.to_string()).collect::<Vec<_>>().join("\n")
        ));
        out
    }
}

/// The TLS configuration of clients.
fn client_tls(world: &World, form: Form) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let alpn: &[&str] = if form == Form::H2 { &["h2"] } else { &["http/1.1"] };
    crate::tls::client_config(world.roots.clone(), alpn)
}
