//! The parts of a multipart body (RFC 7578) that is in memory, for rules that look at one. Lenient: what is malformed is left out, since
//! nothing is decided here; the managed rules have a strict parser.

use std::borrow::Cow;

use memchr::memmem;

/// Parts that are looked at; those behind do not count.
pub(super) const PARTS_MAX: usize = 1_024;

/// One part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// What parsers may take for its `name`; one, if somebody honest made it.
    pub(super) names: Vec<Cow<'a, [u8]>>,
    /// Values of `filename`.
    pub(super) filenames: Vec<Cow<'a, [u8]>>,
    pub(super) content_types: Vec<&'a [u8]>,
    pub(super) dispositions: Vec<&'a [u8]>,
    pub(super) encodings: Vec<&'a [u8]>,
    pub(super) content: &'a [u8],
}

/// The parts of a body of this type; none where it is no multipart.
pub(super) fn parts<'a>(content_type: &'a [u8], body: &'a [u8]) -> Vec<Part<'a>> {
    let Some(boundary) = boundary(content_type) else { return Vec::new() };
    let delimiter = [b"--", &*boundary].concat();
    let finder = memmem::Finder::new(&delimiter);
    // A delimiter begins a line.
    let starts = finder.find_iter(body).filter(|at| *at == 0 || body[..*at].ends_with(b"\n"));
    let starts: Vec<usize> = starts.take(PARTS_MAX + 1).collect();
    let mut parts = Vec::new();
    for (at, start) in starts.iter().enumerate().take(PARTS_MAX) {
        let end = starts.get(at + 1).copied().unwrap_or(body.len());
        let section = &body[start + delimiter.len()..end];
        // The rest of the delimiter's line is padding, or the two hyphens of the last one: some parsers read on behind them.
        let Some(line) = memchr::memchr(b'\n', section) else { break };
        if section.starts_with(b"--") && at + 1 == starts.len() {
            break;
        }
        parts.push(part(&section[line + 1..]));
    }
    parts
}

fn boundary(content_type: &[u8]) -> Option<Cow<'_, [u8]>> {
    let kind = content_type.get(..10)?;
    if !kind.eq_ignore_ascii_case(b"multipart/") {
        return None;
    }
    parameters(content_type).find(|(name, _)| name.eq_ignore_ascii_case(b"boundary")).map(|(_, value)| value)
}

/// The line end before the next delimiter belongs to the delimiter.
fn without_line_end(content: &[u8]) -> &[u8] {
    let content = content.strip_suffix(b"\n").unwrap_or(content);
    content.strip_suffix(b"\r").unwrap_or(content)
}

fn part(section: &[u8]) -> Part<'_> {
    let mut part = Part::default();
    let mut rest = section;
    while let Some(mut end) = memchr::memchr(b'\n', rest) {
        // A line that begins with a space goes on with the one before (RFC 5322 section 2.2.3).
        while end > 1
            && matches!(rest.get(end + 1), Some(b' ' | b'\t'))
            && let Some(next) = memchr::memchr(b'\n', &rest[end + 1..])
        {
            end += 1 + next;
        }
        let line = without_line_end(&rest[..=end]);
        rest = &rest[end + 1..];
        if line.is_empty() {
            part.content = without_line_end(rest);
            break;
        }
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-type") {
            part.content_types.push(value);
        } else if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            part.encodings.push(value);
        } else if name.eq_ignore_ascii_case(b"content-disposition") {
            part.dispositions.push(value);
            for (name, value) in parameters(value) {
                if name.eq_ignore_ascii_case(b"name") {
                    // PHP takes single quotes for quotes, others for a part of the name.
                    part.names.extend(between_single_quotes(&value).map(|name| name.to_vec().into()));
                    part.names.push(value);
                } else if name.eq_ignore_ascii_case(b"filename") {
                    part.filenames.push(value);
                }
            }
        }
    }
    part
}

fn between_single_quotes(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"'")?.strip_suffix(b"'")
}

/// The parameters behind the first `;`: tokens or quoted strings.
fn parameters(value: &[u8]) -> impl Iterator<Item = (&[u8], Cow<'_, [u8]>)> {
    let mut rest = memchr::memchr(b';', value).map_or(&[][..], |at| &value[at + 1..]);
    std::iter::from_fn(move || {
        loop {
            let equals = memchr::memchr2(b'=', b';', rest)?;
            let name = rest[..equals].trim_ascii();
            let is_value = rest[equals] == b'=';
            rest = &rest[equals + 1..];
            if !is_value {
                continue;
            }
            let (value, behind) = parameter_value(rest);
            rest = behind;
            return Some((name, value));
        }
    })
}

fn parameter_value(text: &[u8]) -> (Cow<'_, [u8]>, &[u8]) {
    let after = |text: &'_ [u8]| memchr::memchr(b';', text).map_or(text.len(), |at| at + 1);
    let begin = text.trim_ascii_start();
    let Some(quoted) = begin.strip_prefix(b"\"") else {
        let end = memchr::memchr(b';', text).unwrap_or(text.len());
        return (text[..end].trim_ascii().into(), text.get(end + 1..).unwrap_or_default());
    };
    let (mut value, mut at) = (Vec::new(), 0);
    while let Some(byte) = quoted.get(at) {
        match byte {
            b'"' => break,
            b'\\' if matches!(quoted.get(at + 1), Some(b'"' | b'\\')) => {
                at += 1;
                value.push(quoted[at]);
            }
            byte => value.push(*byte),
        }
        at += 1;
    }
    let behind = quoted.get(at + 1..).unwrap_or_default();
    (value.into(), &behind[after(behind)..])
}

/// Reads a content type, up to the first line end, and a body behind it. For the fuzz targets.
///
/// # Panics
/// When there are more parts than there may be.
pub fn fuzz(bytes: &[u8]) {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let (content_type, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
    assert!(parts(content_type, body).len() <= PARTS_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(content_type: &str, body: &str, expected: &[(&str, &str, &str)]) {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"-")).into_owned();
        let found: Vec<_> = parts(content_type.as_bytes(), body.as_bytes())
            .iter()
            .map(|part| {
                let first = |list: &[Cow<'_, [u8]>]| text(list.first().map(|value| &**value));
                (first(&part.names), first(&part.filenames), text(Some(part.content)))
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned())).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn forms() {
        let body = "preamble\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--b  \r\n\
                    content-disposition: form-data; name=f; filename=\"x\\\"y;z.txt\"\r\nContent-Type: text/plain\r\n\r\ntwo\r\nlines\r\n--b--\r\nepilogue";
        let parts = [("a", "-", "one"), ("f", "x\"y;z.txt", "two\r\nlines")];
        check("multipart/form-data; boundary=b", body, &parts);
        check("Multipart/Form-Data; charset=x; BOUNDARY=\"b\"", body, &parts);
        check("multipart/form-data", body, &[]);
        check("text/plain; boundary=b", body, &[]);
    }

    #[test]
    fn malformed() {
        check("multipart/form-data; boundary=b", "", &[]);
        check("multipart/form-data; boundary=b", "--b", &[]);
        check("multipart/form-data; boundary=b", "x--b\r\n\r\nno\r\n", &[]);
        check("multipart/form-data; boundary=b", "--b\r\nno colon\r\nname: \r\n", &[("-", "-", "")]);
        check("multipart/form-data; boundary=b", "--b\n\nbare\n--b--", &[("-", "-", "bare")]);
        check(
            "multipart/form-data; boundary=b",
            "--b\r\nContent-Disposition: x; name=\"open\r\n\r\nz",
            &[("open", "-", "z")],
        );
        let folded = "--b\r\nContent-Disposition: form-data;\r\n name=\"cmd\"\r\n\r\nbad\r\n--b--";
        check("multipart/form-data; boundary=b", folded, &[("cmd", "-", "bad")]);
        let early = "--b--\r\n--b\r\nContent-Disposition: form-data; name='cmd'\r\n\r\nbad\r\n--b--";
        check("multipart/form-data; boundary=b", early, &[("-", "-", ""), ("cmd", "-", "bad")]);
        check("multipart/form-data; boundary=", "----\r\n\r\n", &[]);
        let many = "--b\r\n\r\nx\r\n".repeat(5_000);
        assert_eq!(parts(b"multipart/form-data; boundary=b", many.as_bytes()).len(), PARTS_MAX);
    }
}
