//! Logical lines (comments out, continuations joined) and the words of one.

/// Logical lines of a text with the number of the physical line on which each begins.
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    line: u32,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        Self { rest: text, line: 0 }
    }

    fn physical(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        self.line += 1;
        let (line, rest) = match memchr::memchr(b'\n', self.rest) {
            Some(at) => (&self.rest[..at], &self.rest[at + 1..]),
            None => (self.rest, &self.rest[self.rest.len()..]),
        };
        self.rest = rest;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    }
}

impl Iterator for Lines<'_> {
    type Item = (u32, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        let mut logical = Vec::new();
        let mut began = 0;
        while let Some(line) = self.physical() {
            let continued = began != 0;
            let trimmed = line.trim_ascii();
            if !continued && (trimmed.is_empty() || trimmed.starts_with(b"#")) {
                continue;
            }
            if !continued {
                began = self.line;
            }
            match line.trim_ascii_end().strip_suffix(b"\\") {
                Some(line) => logical.extend_from_slice(line),
                None => {
                    logical.extend_from_slice(line);
                    return Some((began, logical));
                }
            }
        }
        (began != 0).then_some((began, logical))
    }
}

/// The words of a logical line: separated by white space, or in double quotes, where `\"` is a quote. The error is a sentence.
pub(super) fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(&first) = rest.first() {
        let (word, after) = if first == b'"' { quoted(&rest[1..])? } else { plain(rest) };
        words.push(word);
        rest = after.trim_ascii_start();
    }
    Ok(words)
}

fn plain(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (text[..end].to_vec(), &text[end..])
}

fn quoted(text: &[u8]) -> Result<(Vec<u8>, &[u8]), String> {
    let mut word = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'\\', Some(b'"')) => {
                word.push(b'"');
                at += 2;
            }
            // A pair of backslashes stays a pair: it escapes nothing here, and must not make the next quote look escaped.
            (b'\\', Some(b'\\')) => {
                word.extend_from_slice(b"\\\\");
                at += 2;
            }
            (b'"', next) => {
                if next.is_some_and(|next| !next.is_ascii_whitespace()) {
                    return Err("a closing quote is not followed by a space".to_owned());
                }
                return Ok((word, &text[at + 1..]));
            }
            _ => {
                word.push(byte);
                at += 1;
            }
        }
    }
    Err("a quote is not closed".to_owned())
}
