//! Scenario files: the format and its parser.
//!
//! A file reads like a packet trace. A header of `key: value` lines ends at the first empty line; then come steps,
//! one a line, consecutive lines of the same kind being one step (one write, or one message):
//!
//! ```text
//! name: hit-after-miss
//! why: the second request is answered from the store
//! from: RFC 9211 section 2
//! forms: h1 h2
//!
//! C> GET /a HTTP/1.1
//! C> Host: $HOST
//! C>
//! O< GET /a HTTP/1.1
//! O< via: 1.1 *
//! O> HTTP/1.1 200 OK
//! O> Cache-Control: max-age=60
//! O> Content-Length: 2
//! O>
//! O> hi\
//! C< 200
//! C< cache-status: *fwd=uri-miss*
//! C< body "hi"
//! log: status=200 cache=miss
//! ```
//!
//! `C>` the client sends, `C<` it must see, `C!` it does something; `O<`, `O>`, `O!` likewise at the origin; `F>` and
//! `F<` are single HTTP/2 frames. A number names a connection: `C2>`; without one
//! it is the client's first, and at the origin the one of the last request. `[h1]` or `[h2]` before a line keeps it
//! to that form. A sent line ends with CRLF unless it ends with a backslash; escapes are those of [`crate::text`].
//! The words after each sign are described where they are played, in [`crate::play`].
//!
//! This module must never do input or output beyond reading the files of a folder.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

/// How the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// HTTP/1.1.
    H1,
    /// HTTP/2 by prior knowledge.
    H2,
}

impl Form {
    /// The word used in files and names.
    pub fn word(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::H2 => "h2",
        }
    }

    fn parse(word: &str) -> anyhow::Result<Self> {
        match word {
            "h1" => Ok(Self::H1),
            "h2" => Ok(Self::H2),
            other => bail!("unknown form {other:?}: h1 or h2"),
        }
    }
}

/// Which side of the edge a step is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client.
    Client,
    /// The client, frame by frame.
    Frames,
    /// The origin.
    Origin,
}

/// What kind of step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `>`: bytes sent by the named side.
    Send,
    /// `<`: what the named side must see.
    See,
    /// `!`: what the named side does otherwise.
    Do,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Line number of its first line.
    pub line: usize,
    /// The form it is meant for; both where `None`.
    pub only: Option<Form>,
    /// What.
    pub act: StepAct,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepAct {
    /// Bytes or messages on a connection; 0 stands for the current one.
    On(Side, Sign, usize, Vec<String>),
    /// The access log must hold a record with these fields.
    Log(String),
    /// A metric must stand so.
    Metric(String),
}

/// A scenario.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// The file it came from.
    pub file: PathBuf,
    /// Its name, that of the file.
    pub name: String,
    /// What goes wrong where this does not hold.
    pub why: String,
    /// Attack item or section of a standard.
    pub from: String,
    /// Forms to play it in.
    pub forms: Vec<Form>,
    /// Kind of origin.
    pub origin: String,
    /// TOML lines for the node; cases with the same lines share a process.
    pub node: Vec<String>,
    /// TOML lines for the zone.
    pub zone: Vec<String>,
    /// Steps in order.
    pub steps: Vec<Step>,
}

impl Case {
    /// Parses the text of a file.
    pub fn parse(file: &Path, text: &str) -> anyhow::Result<Self> {
        let mut case = Self { file: file.to_owned(), origin: "plain".to_owned(), ..Self::default() };
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line));
        for (at, line) in lines.by_ref() {
            if line.is_empty() {
                break;
            }
            if !line.starts_with('#') {
                case.header(line).with_context(|| format!("{}:{at}", file.display()))?;
            }
        }
        if case.forms.is_empty() {
            case.forms.push(Form::H1);
        }
        let mut joins = false;
        for (at, line) in lines {
            if line.trim().is_empty() || line.starts_with('#') {
                joins = false;
                continue;
            }
            let step = step(at, line).with_context(|| format!("{}:{at}: {line}", file.display()))?;
            match case.steps.last_mut() {
                Some(last) if joins && last.absorbs(&step) => last.absorb(step),
                _ => case.steps.push(step),
            }
            joins = true;
        }
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        ensure!(case.name == stem, "{}: the name must be {stem:?}", file.display());
        ensure!(!case.why.is_empty() && !case.from.is_empty(), "{}: `why` and `from` must be given", file.display());
        ensure!(!case.steps.is_empty(), "{}: no steps", file.display());
        Ok(case)
    }

    fn header(&mut self, line: &str) -> anyhow::Result<()> {
        let (key, value) = line.split_once(':').context("a header line is `key: value`")?;
        let value = value.trim().to_owned();
        match key {
            "name" => self.name = value,
            "why" => self.why = value,
            "from" => self.from = value,
            "origin" => self.origin = value,
            "node" => self.node.push(value),
            "zone" => self.zone.push(value),
            "forms" => self.forms = value.split_whitespace().map(Form::parse).collect::<anyhow::Result<_>>()?,
            other => bail!("unknown header {other:?}"),
        }
        Ok(())
    }

    /// Reads every `.txt` below `folder`, in order of path.
    pub fn read_all(folder: &Path) -> anyhow::Result<Vec<Self>> {
        let mut cases = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "txt") {
                    cases.push(Self::parse(&path, &std::fs::read_to_string(&path)?)?);
                }
            }
        }
        cases.sort_by(|a, b| a.file.cmp(&b.file));
        if let Some(pair) = cases.windows(2).find(|pair| pair[0].name == pair[1].name) {
            bail!("two scenarios are called {}", pair[0].name);
        }
        Ok(cases)
    }
}

impl Step {
    /// Lines join where they are one message: sent lines always, seen lines unless they begin a new message.
    fn absorbs(&self, next: &Self) -> bool {
        let (StepAct::On(side, sign, number, _), StepAct::On(next_side, next_sign, next_number, lines)) =
            (&self.act, &next.act)
        else {
            return false;
        };
        let alike = self.only == next.only && side == next_side && sign == next_sign && *side != Side::Frames;
        alike
            && match sign {
                Sign::Send => number == next_number,
                // A detail may leave the number of its message out.
                Sign::See => {
                    (number == next_number || *next_number == 0) && lines.first().is_some_and(|l| continues(l))
                }
                Sign::Do => false,
            }
    }

    fn absorb(&mut self, next: Self) {
        if let (StepAct::On(_, _, _, lines), StepAct::On(_, _, _, more)) = (&mut self.act, next.act) {
            lines.extend(more);
        }
    }
}

/// Whether a seen line is a detail of the message before it: a field, a body, a trailer.
fn continues(line: &str) -> bool {
    let word = line.split([' ', ':']).next().unwrap_or_default();
    let field = line.split_once(':').is_some_and(|(name, _)| !name.contains(' '));
    field
        || word.starts_with('!')
        || matches!(
            word,
            "body" | "body~" | "body#" | "decoded" | "trailer" | "no-trailer" | "cut" | "head" | "bodiless"
        )
}

fn step(at: usize, line: &str) -> anyhow::Result<Step> {
    let (only, line) = match line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
        Some((form, rest)) => (Some(Form::parse(form)?), rest),
        None => (None, line),
    };
    let act = if let Some(rest) = line.strip_prefix("log:") {
        StepAct::Log(rest.trim().to_owned())
    } else if let Some(rest) = line.strip_prefix("metric:") {
        StepAct::Metric(rest.trim().to_owned())
    } else {
        on_connection(line)?
    };
    Ok(Step { line: at, only, act })
}

fn on_connection(line: &str) -> anyhow::Result<StepAct> {
    let (mark, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut chars = mark.chars();
    let side = match chars.next() {
        Some('C') => Side::Client,
        Some('F') => Side::Frames,
        Some('O') => Side::Origin,
        _ => bail!("a step begins with C, O, F, log: or metric:"),
    };
    let sign = match chars.next_back() {
        Some('>') => Sign::Send,
        Some('<') => Sign::See,
        Some('!') => Sign::Do,
        _ => bail!("after the side comes >, < or !"),
    };
    let number = chars.as_str();
    let number = if number.is_empty() { 0 } else { number.parse().context("connection number")? };
    Ok(StepAct::On(side, sign, number, vec![rest.to_owned()]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<Case> {
        Case::parse(Path::new("x.txt"), text)
    }

    const HEADER: &str = "name: x\nwhy: w\nfrom: f\nforms: h1 h2\nzone: a = 1\n\n";

    #[test]
    fn steps_join_by_message() {
        let case = parse(&format!("{HEADER}C> a\nC>\nC< 103\nC< link: x\nC< 200\nC< !age\nC< body \"x\"\n[h1] C< closed\n\nO2> b\n\nO2> c\nlog: a=b\n")).unwrap();
        assert_eq!((case.forms.len(), case.zone[0].as_str()), (2, "a = 1"));
        let lines: Vec<Vec<String>> = case
            .steps
            .iter()
            .filter_map(|s| if let StepAct::On(_, _, _, lines) = &s.act { Some(lines.clone()) } else { None })
            .collect();
        assert_eq!(
            lines,
            [
                vec!["a", ""],
                vec!["103", "link: x"],
                vec!["200", "!age", "body \"x\""],
                vec!["closed"],
                vec!["b"],
                vec!["c"]
            ]
        );
        assert_eq!(case.steps[3].only, Some(Form::H1));
        assert!(matches!(case.steps[4].act, StepAct::On(Side::Origin, Sign::Send, 2, _)));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, want) in [
            ("name: y\nwhy: w\nfrom: f\n\nC> x\n", "the name must be"),
            ("name: x\n\nC> x\n", "`why` and `from`"),
            ("name: x\nwhy: w\nfrom: f\n\n", "no steps"),
            ("name: x\nwhy: w\nfrom: f\n\nX> x\n", "begins with"),
            ("name: x\nwhy: w\nfrom: f\ncolour: red\n\nC> x\n", "unknown header"),
        ] {
            let error = format!("{:#}", parse(text).unwrap_err());
            assert!(error.contains(want), "{error}");
        }
    }
}
