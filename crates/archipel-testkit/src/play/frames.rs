//! Single HTTP/2 frames as text.
//!
//! `F> HEADERS 1 end_headers,end_stream | :method: GET | :path: /` (fields are literals, in the given order and case;
//! `request` stands for the usual pseudo fields with `$HOST`), `F> CONTINUATION 1 end_headers | x: y`,
//! `F> DATA 1 end_stream "text"`, `F> RST_STREAM 1 8`, `F> PING`, `F> SETTINGS 4=0`, `F> WINDOW_UPDATE 1 0`,
//! `F> raw TYPE FLAGS STREAM "payload"`; `xCOUNT` at the end repeats. `F< GOAWAY 1 || 11`, `F< RST_STREAM 1 1`,
//! `F< closed`.
//!
//! Must never correct what it is given.

use anyhow::{Context as _, bail, ensure};

use super::see::quoted;
use crate::h2raw::{Event, RawH2, frame, kind, settings};
use crate::hpack::encode;
use crate::text::{Vars, expand, expand_text, matches};

/// Makes the bytes of a frame line.
pub(super) fn build(line: &str, vars: &Vars) -> anyhow::Result<Vec<u8>> {
    let (line, count) = match line.rsplit_once(" x") {
        Some((line, count)) if count.parse::<usize>().is_ok() => (line, count.parse::<usize>()?),
        _ => (line, 1),
    };
    Ok(one(line, vars)?.repeat(count))
}

fn one(line: &str, vars: &Vars) -> anyhow::Result<Vec<u8>> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let number = |text: &str| text.trim().parse::<u32>().with_context(|| format!("a number, not {text:?}"));
    let pair = || rest.split_once(' ').context("stream and code");
    Ok(match word {
        "HEADERS" | "CONTINUATION" => {
            let (place, fields) = rest.split_once('|').unwrap_or((rest, ""));
            let (stream, flag_names) = place.trim().split_once(' ').unwrap_or((place.trim(), ""));
            let kind = if word == "HEADERS" { kind::HEADERS } else { kind::CONTINUATION };
            frame(kind, flags(flag_names)?, number(stream)?, &block(fields, vars)?)
        }
        "DATA" => {
            let (stream, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let (flag_names, payload) = if let Some(at) = rest.find('"') {
                (&rest[..at], quoted(&rest[at..], vars)?)
            } else {
                (rest, Vec::new())
            };
            frame(kind::DATA, flags(flag_names.trim())?, number(stream)?, &payload)
        }
        "RST_STREAM" => frame(kind::RST_STREAM, 0, number(pair()?.0)?, &number(pair()?.1)?.to_be_bytes()),
        "WINDOW_UPDATE" => frame(kind::WINDOW_UPDATE, 0, number(pair()?.0)?, &number(pair()?.1)?.to_be_bytes()),
        "PING" => frame(kind::PING, 0, 0, b"12345678"),
        "SETTINGS" => {
            let mut pairs = Vec::new();
            for word in rest.split_whitespace() {
                let (key, value) = word.split_once('=').context("key=value")?;
                pairs.push((key.parse()?, value.parse()?));
            }
            settings(&pairs)
        }
        "raw" => {
            let mut words = rest.splitn(4, ' ');
            let mut next = || words.next().context("raw TYPE FLAGS STREAM \"payload\"");
            let (kind, flags, stream) = (next()?.parse()?, next()?.parse()?, number(next()?)?);
            frame(kind, flags, stream, &quoted(next()?, vars)?)
        }
        other => bail!("unknown frame {other:?}"),
    })
}

fn flags(names: &str) -> anyhow::Result<u8> {
    let mut flags = 0;
    for name in names.split([',', ' ']).filter(|n| !n.is_empty()) {
        flags |= match name {
            "end_stream" => 1,
            "end_headers" => 4,
            other => bail!("unknown flag {other:?}"),
        };
    }
    Ok(flags)
}

fn block(text: &str, vars: &Vars) -> anyhow::Result<Vec<u8>> {
    // Repetition may make several fields, so it comes before they are told apart.
    let repeated = if text.contains("$(") { expand_text(text, vars)? } else { text.to_owned() };
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for field in repeated.split('|').map(str::trim).filter(|f| !f.is_empty()) {
        if field == "request" {
            let host = vars.get("HOST").context("no HOST")?;
            for (name, value) in [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", "/")] {
                fields.push((name.into(), value.into()));
            }
            continue;
        }
        // A pseudo field begins with a colon of its own.
        let at = field[1..].find(':').with_context(|| format!("no colon in {field:?}"))? + 1;
        fields.push((
            expand(&field[..at], vars)?,
            expand(field[at + 1..].strip_prefix(' ').unwrap_or(&field[at + 1..]), vars)?,
        ));
    }
    Ok(encode(&fields))
}

/// Waits for a frame.
pub(super) async fn see(raw: &mut RawH2, line: &str) -> anyhow::Result<()> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "GOAWAY" => {
            while raw.goaway.is_none() && raw.read_frame().await? {}
            let (_, code) = raw.goaway.context("the connection ended without GOAWAY")?;
            ensure!(matches(rest, &code.to_string()), "GOAWAY with code {code}, expected {rest}");
        }
        "closed" => {
            raw.read_to_end().await?;
        }
        "RST_STREAM" => {
            let (stream, code) = rest.split_once(' ').context("stream and code")?;
            loop {
                match raw.event(stream.parse()?).await? {
                    Event::Reset(got) => {
                        ensure!(matches(code, &got.to_string()), "RST_STREAM with code {got}, expected {code}");
                        return Ok(());
                    }
                    Event::Gone(got) => {
                        bail!("the connection ended ({got:?}) instead of RST_STREAM")
                    }
                    Event::Headers { .. } | Event::Data { .. } => {}
                }
            }
        }
        // A malformed request: the stream is reset, refused with 400, or the connection is given up.
        "refused" => {
            if let Ok(head) = raw.read_head(rest.parse()?).await? {
                ensure!(head.status == 400, "status {}", head.status);
            }
        }
        "status" => {
            let (stream, status) = rest.split_once(' ').context("stream and status")?;
            match raw.read_head(stream.parse()?).await? {
                Ok(head) => {
                    ensure!(matches(status, &head.status.to_string()), "status {}, expected {status}", head.status)
                }
                Err(refusal) => bail!("{refusal:?} instead of status {status}"),
            }
        }
        other => bail!("unknown frame to see: {other:?}"),
    }
    Ok(())
}
