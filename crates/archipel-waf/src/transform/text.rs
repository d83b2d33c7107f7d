//! Transformations of text: command lines, white space, comments.

use super::{has_pair, is_space};

/// `cmdLine`.
pub(super) fn command_line(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len());
    let mut after_space = false;
    for &byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' => {}
            b' ' | b',' | b';' | b'\t' | b'\r' | b'\n' => {
                if !after_space {
                    out.push(b' ');
                    after_space = true;
                }
            }
            b'/' | b'(' => {
                if after_space {
                    out.pop();
                }
                after_space = false;
                out.push(byte);
            }
            _ => {
                out.push(byte.to_ascii_lowercase());
                after_space = false;
            }
        }
    }
}

/// Whether `cmdLine` leaves `input` alone.
pub(super) fn is_plain_command(input: &[u8]) -> bool {
    let mut after_space = false;
    for &byte in input {
        match byte {
            b'"' | b'\'' | b'\\' | b'^' | b',' | b';' | b'\t' | b'\r' | b'\n' | b'A'..=b'Z' => return false,
            b' ' | b'/' | b'(' if after_space => return false,
            _ => after_space = byte == b' ',
        }
    }
    true
}

/// Shortest run of text that `textRuns` keeps: chance makes few of them.
const RUN_BYTES_MIN: usize = 12;

/// `textRuns`.
pub(super) fn runs(input: &[u8], out: &mut Vec<u8>) {
    let is_control = |byte: &u8| matches!(byte, 0..=8 | 0x0e..=0x1f | 0x7f);
    if !input.iter().any(is_control) {
        return out.extend_from_slice(input);
    }
    let is_text = |byte: &u8| is_space(*byte) || byte.is_ascii_graphic();
    for run in input.split(|byte| !is_text(byte)).filter(|run| run.len() >= RUN_BYTES_MIN) {
        if !out.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(run);
    }
}

/// `compressWhitespace`.
pub(super) fn compress_whitespace(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len());
    let mut inside = false;
    for &byte in input {
        if is_space(byte) {
            if !inside {
                out.push(b' ');
            }
            inside = true;
        } else {
            out.push(byte);
            inside = false;
        }
    }
}

/// Whether all white space is single spaces.
pub(super) fn has_single_spaces(input: &[u8]) -> bool {
    let mut inside = false;
    for &byte in input {
        if is_space(byte) && (byte != b' ' || inside) {
            return false;
        }
        inside = byte == b' ';
    }
    true
}

/// `removeComments`. Right after the end of a comment, one byte is copied without being looked at: what ends there gets the NUL
/// that ends a C string.
pub(super) fn remove_comments(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len());
    let byte_at = |at: usize| input.get(at).copied().unwrap_or(0);
    let mut inside = false;
    let mut at = 0;
    while at < input.len() {
        let rest = &input[at..];
        if inside {
            let end = if rest.starts_with(b"*/") {
                2
            } else if rest.starts_with(b"-->") {
                3
            } else {
                at += 1;
                continue;
            };
            inside = false;
            out.push(byte_at(at + end));
            at += end + 1;
        } else if rest.starts_with(b"/*") {
            inside = true;
            at += 2;
        } else if rest.starts_with(b"<!--") {
            inside = true;
            at += 4;
        } else if rest.starts_with(b"--") || rest[0] == b'#' {
            break;
        } else {
            out.push(rest[0]);
            at += 1;
        }
    }
    if inside {
        out.push(b' ');
    }
}

/// Whether nothing begins a comment.
pub(super) fn has_no_comment(input: &[u8]) -> bool {
    memchr::memchr(b'#', input).is_none() && !has_pair(input, b'/', b'*') && !has_pair(input, b'-', b'-')
}

/// `removeCommentsChar`.
pub(super) fn remove_comment_marks(input: &[u8], out: &mut Vec<u8>) {
    const MARKS: [&[u8]; 6] = [b"/*", b"*/", b"<!--", b"-->", b"--", b"#"];
    out.reserve(input.len());
    let mut at = 0;
    while let Some(&byte) = input.get(at) {
        let mark = match byte {
            b'/' | b'*' | b'<' | b'-' | b'#' => MARKS.iter().find(|mark| input[at..].starts_with(mark)),
            _ => None,
        };
        match mark {
            Some(mark) => at += mark.len(),
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
}

/// `replaceComments`.
pub(super) fn replace_comments(input: &[u8], out: &mut Vec<u8>) {
    out.reserve(input.len());
    let mut rest = input;
    while let Some(start) = memchr::memmem::find(rest, b"/*") {
        out.extend_from_slice(&rest[..start]);
        out.push(b' ');
        match memchr::memmem::find(&rest[start + 2..], b"*/") {
            Some(end) => rest = &rest[start + 2 + end + 2..],
            None => return,
        }
    }
    out.extend_from_slice(rest);
}
