//! What a message must look like, as written after `C<` and `O<`.
//!
//! The first line names the message: a status pattern (`200`, `4*`, `400 || 421`) on the client's side, a request line
//! (`GET /a HTTP/1.1`) on the origin's. Then: `name: pattern` (some field line matches), `!name` (no such field),
//! `body "text"`, `body~ "pattern"`, `body# COUNT`, `decoded gzip|br|zstd "text"`, `trailer name: pattern`,
//! `no-trailer name`, `cut` (it ends too early), `head` (read no
//! further than the head), `bodiless` (the answer to a HEAD). Or the whole step is one of: `part "text"` (exactly these
//! body bytes next), `end ...` (rest of the body, with body details), `raw "bytes"` (outside any message), `closed`,
//! `reset`, `ended` (either), `quiet` (open, nothing came), `refused` (400 and closed, or an HTTP/2 reset).
//!
//! Pure; must never read from a connection.

use anyhow::{Context as _, bail, ensure};
use archipel_codings::Format;

use crate::coded;
use crate::text::{Vars, expand, expand_text, matches, show};

/// Details of an expected message.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) first: String,
    fields: Vec<(String, String)>,
    absent: Vec<String>,
    body: Option<BodyWanted>,
    trailers: Vec<(String, String)>,
    absent_trailers: Vec<String>,
    pub(super) cut: bool,
    pub(super) head_only: bool,
    pub(super) bodiless: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum BodyWanted {
    Exactly(Vec<u8>),
    Like(String),
    Count(usize),
    Decoded(Format, Vec<u8>),
}

impl Wanted {
    pub(super) fn parse(lines: &[String], vars: &Vars) -> anyhow::Result<Self> {
        let (first, rest) = lines.split_first().context("nothing expected")?;
        let mut wanted = Self { first: expand_text(first, vars)?, ..Self::default() };
        for line in rest {
            wanted.detail(line, vars).with_context(|| line.clone())?;
        }
        Ok(wanted)
    }

    fn detail(&mut self, line: &str, vars: &Vars) -> anyhow::Result<()> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "cut" => self.cut = true,
            "head" => self.head_only = true,
            "bodiless" => self.bodiless = true,
            "body" => self.body = Some(BodyWanted::Exactly(quoted(rest, vars)?)),
            "body~" => self.body = Some(BodyWanted::Like(String::from_utf8_lossy(&quoted(rest, vars)?).into_owned())),
            "body#" => self.body = Some(BodyWanted::Count(rest.parse()?)),
            "decoded" => {
                let (coding, text) = rest.split_once(' ').context("decoded CODING \"text\"")?;
                self.body = Some(BodyWanted::Decoded(coded::format(coding)?, quoted(text, vars)?));
            }
            "trailer" => {
                let (name, pattern) = rest.split_once(':').context("trailer name: pattern")?;
                self.trailers.push((name.to_owned(), expand_text(pattern.trim(), vars)?));
            }
            "no-trailer" => self.absent_trailers.push(rest.to_owned()),
            _ => {
                if let Some(name) = line.strip_prefix('!') {
                    self.absent.push(name.to_owned());
                } else {
                    let (name, pattern) = line.split_once(':').context("unknown detail")?;
                    self.fields.push((name.to_owned(), expand_text(pattern.trim(), vars)?));
                }
            }
        }
        Ok(())
    }

    /// Leaves out what a form without connection fields cannot show.
    pub(super) fn without_connection_fields(mut self) -> Self {
        self.fields.retain(|(name, _)| {
            !matches!(name.to_ascii_lowercase().as_str(), "connection" | "transfer-encoding" | "keep-alive" | "upgrade")
        });
        self
    }

    pub(super) fn check_first(&self, got: &str) -> anyhow::Result<()> {
        ensure!(matches(&self.first, got), "expected {:?}, got {got:?}", self.first);
        Ok(())
    }

    pub(super) fn check_fields(&self, fields: &[(String, String)]) -> anyhow::Result<()> {
        check_present("field", &self.fields, fields)?;
        for name in &self.absent {
            if let Some((_, value)) = fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
                bail!("field {name} must be absent, but is {value:?}");
            }
        }
        Ok(())
    }

    pub(super) fn check_body(&self, body: &[u8], trailers: &[(String, String)], cut: bool) -> anyhow::Result<()> {
        match &self.body {
            Some(BodyWanted::Exactly(want)) => {
                ensure!(body == want, "expected body {}, got {}", show(want), show(body))
            }
            Some(BodyWanted::Like(want)) => {
                ensure!(
                    matches(want, &String::from_utf8_lossy(body)),
                    "expected a body like {want:?}, got {}",
                    show(body)
                );
            }
            Some(BodyWanted::Count(want)) => {
                ensure!(body.len() == *want, "expected {want} body bytes, got {}", body.len())
            }
            Some(BodyWanted::Decoded(format, want)) => {
                let got = coded::decode(*format, body)?;
                ensure!(got == *want, "expected decoded {}, got {}", show(want), show(&got));
            }
            None => {}
        }
        ensure!(cut == self.cut, "the message {} before its end", if cut { "was cut" } else { "was not cut" });
        for name in &self.absent_trailers {
            ensure!(!trailers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name)), "trailer {name} must be absent");
        }
        check_present("trailer", &self.trailers, trailers)
    }
}

fn check_present(what: &str, wanted: &[(String, String)], fields: &[(String, String)]) -> anyhow::Result<()> {
    for (name, pattern) in wanted {
        let values: Vec<&str> =
            fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str()).collect();
        ensure!(values.iter().any(|v| matches(pattern, v)), "expected {what} {name}: {pattern}, got {values:?}");
    }
    Ok(())
}

/// A text in double quotes, expanded.
pub(super) fn quoted(text: &str, vars: &Vars) -> anyhow::Result<Vec<u8>> {
    let inner = text
        .trim()
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .with_context(|| format!("expected a quoted text: {text}"))?;
    expand(inner, vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], fields: &[(&str, &str)], body: &str) -> anyhow::Result<()> {
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        let fields: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let wanted = Wanted::parse(&lines, &Vars::new())?;
        wanted.check_first("200")?;
        wanted.check_fields(&fields)?;
        wanted.check_body(body.as_bytes(), &[], false)
    }

    #[test]
    fn details() {
        let fields = [("Age", "0"), ("Via", "1.1 a"), ("via", "1.1 b")];
        check(&["200", "age: 0", "via: *b", "!etag", "body \"x\\n\""], &fields, "x\n").unwrap();
        check(&["2*", "body~ \"a*\"", "body# 3"], &[], "abc").unwrap();
        for bad in [
            &["404"][..],
            &["200", "!age"],
            &["200", "age: 1"],
            &["200", "body \"y\""],
            &["200", "cut"],
            &["200", "body# 2"],
            &["200", "nonsense"],
        ] {
            assert!(check(bad, &fields, "x").is_err(), "{bad:?}");
        }
    }
}
