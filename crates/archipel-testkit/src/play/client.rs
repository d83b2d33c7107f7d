//! The client's side of a scenario in either form.
//!
//! Must never hide a difference between the forms that a scenario could state.

use std::net::IpAddr;

use anyhow::{Context as _, bail};

use super::see::quoted;
use super::{World, client_tls, h1, h2};
use crate::case::Form;
use crate::text::{Vars, expand_text};
use crate::wire::{Target, Wire};

/// One client connection.
pub(super) enum Client {
    H1(Box<h1::Client1>),
    H2(Box<h2::Client2>),
}

/// Reads the options of `C! open`.
pub(super) fn target(world: &World, source: IpAddr, form: Form, options: &str, vars: &Vars) -> anyhow::Result<Target> {
    let mut target = Target::plain(world.at.plain()?).from(source);
    let mut rest = options.trim();
    while !rest.is_empty() {
        // A preface is quoted and may hold blanks, so it comes last.
        if let Some(text) = rest.strip_prefix("preface=") {
            target.preface = quoted(text, vars)?;
            break;
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let (key, value) = word.split_once('=').unwrap_or((word, "$HOST"));
        let value = expand_text(value, vars)?;
        match key {
            "tls" => {
                target.address = world.at.tls()?;
                target.tls = Some((client_tls(world, form)?, value));
            }
            "from" => target.source = Some(value.parse()?),
            "recv" => target.receive_bytes = Some(value.parse()?),
            "listener" => {
                target.address = world.at.listeners.get(value.parse::<usize>()?).context("no such listener")?.0
            }
            other => bail!("unknown option {other:?}"),
        }
        rest = after.trim();
    }
    Ok(target)
}

impl Client {
    pub(super) async fn open(target: &Target, form: Form) -> anyhow::Result<Self> {
        Ok(match form {
            Form::H1 => Self::H1(Box::new(h1::Client1::open(target).await?)),
            Form::H2 => Self::H2(Box::new(h2::Client2::open(target).await?)),
        })
    }

    pub(super) fn wire(&mut self) -> &mut Wire {
        match self {
            Self::H1(client) => &mut client.raw.wire,
            Self::H2(client) => &mut client.raw.wire,
        }
    }

    pub(super) fn into_wire(self) -> Wire {
        match self {
            Self::H1(client) => client.raw.wire,
            Self::H2(client) => client.raw.wire,
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::H1(client) => {
                client.raw.send(bytes).await;
                Ok(())
            }
            Self::H2(client) => client.send(bytes).await,
        }
    }

    pub(super) async fn see(&mut self, lines: &[String], vars: &Vars) -> anyhow::Result<()> {
        match self {
            Self::H1(client) => client.see(lines, vars).await,
            Self::H2(client) => client.see(lines, vars).await,
        }
    }

    pub(super) async fn send_frames(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::H1(_) => bail!("frames need the h2 form"),
            Self::H2(client) => {
                client.raw.send(bytes).await;
                Ok(())
            }
        }
    }

    pub(super) async fn see_frame(&mut self, line: &str) -> anyhow::Result<()> {
        match self {
            Self::H1(_) => bail!("frames need the h2 form"),
            Self::H2(client) => super::frames::see(&mut client.raw, line).await,
        }
    }
}
