//! Labelled requests: which of them are attacks, and which half of the set they belong to.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::gotestwaf::percent_encoded;
use super::request::Request;

/// A request and what it is.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What makes it one, before any encoding.
    pub payload: Vec<u8>,
    /// Whether it is an attack.
    pub attack: bool,
    /// The request.
    pub request: Request,
}

impl Sample {
    /// Whether it belongs to the half that our rules were never tuned on. A payload is in the same half at every place.
    #[must_use]
    pub fn held_out(&self) -> bool {
        archipel_testkit::coded::sha256_bytes(&self.payload).first().is_some_and(|byte| byte & 1 == 1)
    }
}

/// The labelled values of a CSV file with the columns `index,payload,is_malicious,injection_type`. Each becomes the value of
/// a parameter in the query, percent-encoded, so that a server decodes it to what stands in the file.
///
/// # Errors
/// A file that is not of this form.
pub fn load_values(file: &Path) -> Result<Vec<Sample>> {
    let text = std::fs::read(file).with_context(|| file.display().to_string())?;
    let mut lines = text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    ensure!(lines.next() == Some(b"index,payload,is_malicious,injection_type"), "{}: other columns", file.display());
    let mut samples = Vec::new();
    for (at, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let fields = fields(line);
        let [_, payload, malicious, _] = fields.as_slice() else { bail!("line {}: not four fields", at + 2) };
        let uri = format!("/search?q={}", percent_encoded(payload));
        let attack = malicious.starts_with(b"1");
        samples.push(Sample { payload: payload.clone(), attack, request: Request::browser("GET", uri) });
    }
    Ok(samples)
}

/// The fields of one line of CSV (RFC 4180); the file has none with a line break.
fn fields(line: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = vec![Vec::new()];
    let (mut quoted, mut bytes) = (false, line.iter().copied().peekable());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' if quoted && bytes.peek() == Some(&b'"') => {
                bytes.next();
                push(&mut fields, byte);
            }
            b'"' => quoted = !quoted,
            b',' if !quoted => fields.push(Vec::new()),
            other => push(&mut fields, other),
        }
    }
    fields
}

fn push(fields: &mut [Vec<u8>], byte: u8) {
    if let Some(field) = fields.last_mut() {
        field.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn a_line_of_csv() {
        assert_eq!(fields(b"1,a b,0.0,LEGAL"), [&b"1"[..], b"a b", b"0.0", b"LEGAL"]);
        assert_eq!(fields(br#"2,"<a b=""c"",d>",1.0,XSS"#), [&b"2"[..], br#"<a b="c",d>"#, b"1.0", b"XSS"]);
    }
}
