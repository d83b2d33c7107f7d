//! Text of scenario files: escapes, variables, repetition, patterns, and bytes shown for people.
//!
//! Pure functions; must never do input or output.

use std::collections::HashMap;

use anyhow::{Context as _, bail};

/// Values for `$NAME` in scenario text.
pub type Vars = HashMap<String, String>;

/// Longest text that repetition may make, in bytes.
const EXPANDED_BYTES_MAX: usize = 16 << 20;

/// Expands one scenario line to bytes: `\r \n \t \0 \\ \$ \xHH`, `$NAME`, and `$(text*count)`, where `%i` in a
/// repeated text is the index of the repetition.
pub fn expand(line: &str, vars: &Vars) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        match c {
            '\\' => rest = escape(rest, &mut out)?,
            '$' => rest = dollar(rest, vars, &mut out)?,
            _ => {
                let n = c.len_utf8();
                out.extend_from_slice(&rest.as_bytes()[..n]);
                rest = &rest[n..];
            }
        }
        if out.len() > EXPANDED_BYTES_MAX {
            bail!("text expands to more than {EXPANDED_BYTES_MAX} bytes");
        }
    }
    Ok(out)
}

fn escape<'a>(rest: &'a str, out: &mut Vec<u8>) -> anyhow::Result<&'a str> {
    let code = rest[1..].chars().next().context("a line ends with a lone backslash")?;
    let byte = match code {
        'r' => b'\r',
        'n' => b'\n',
        't' => b'\t',
        '0' => 0,
        '\\' => b'\\',
        '$' => b'$',
        '"' => b'"',
        'x' => {
            let hex = rest.get(2..4).context("\\x needs two hex digits")?;
            out.push(u8::from_str_radix(hex, 16).context("\\x needs two hex digits")?);
            return Ok(&rest[4..]);
        }
        other => bail!("unknown escape \\{other}"),
    };
    out.push(byte);
    Ok(&rest[1 + code.len_utf8()..])
}

fn dollar<'a>(rest: &'a str, vars: &Vars, out: &mut Vec<u8>) -> anyhow::Result<&'a str> {
    if let Some(inner) = rest.strip_prefix("$(") {
        let (inner, after) = inner.split_once(')').context("$( without )")?;
        let (text, count) = inner.rsplit_once('*').context("$(text*count) needs a *")?;
        let count: usize = count.trim().parse().context("$(text*count) needs a number")?;
        for index in 0..count {
            out.extend(expand(&text.replace("%i", &index.to_string()), vars)?);
            if out.len() > EXPANDED_BYTES_MAX {
                bail!("text expands to more than {EXPANDED_BYTES_MAX} bytes");
            }
        }
        return Ok(after);
    }
    let name_len = rest[1..].bytes().take_while(|b| b.is_ascii_uppercase() || *b == b'_' || b.is_ascii_digit()).count();
    let name = &rest[1..=name_len];
    let value = vars.get(name).with_context(|| format!("unknown variable ${name}"))?;
    out.extend_from_slice(value.as_bytes());
    Ok(&rest[1 + name_len..])
}

/// Expands to text; bytes that are not UTF-8 are replaced.
pub fn expand_text(line: &str, vars: &Vars) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&expand(line, vars)?).into_owned())
}

/// True where `text` matches `pattern`, in which `*` stands for any run of characters. `a||b` matches either.
pub fn matches(pattern: &str, text: &str) -> bool {
    pattern.split("||").any(|one| glob(one.trim().as_bytes(), text.as_bytes()))
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((star_p, star_t)) = star {
            p = star_p + 1;
            t = star_t + 1;
            star = Some((star_p, star_t + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Bytes as readable text: line ends shown and kept, other odd bytes escaped, long text cut in the middle.
pub fn show(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 4096;
    if bytes.len() > SHOWN_MAX {
        let (head, tail) = (&bytes[..SHOWN_MAX / 2], &bytes[bytes.len() - SHOWN_MAX / 4..]);
        return format!("{}[... {} bytes ...]{}", show(head), bytes.len() - SHOWN_MAX * 3 / 4, show(tail));
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for &b in bytes {
        match b {
            b'\n' => out.push_str("\\n\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            0x20..=0x7e => out.push(char::from(b)),
            _ => out.push_str(&format!("\\x{b:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expansion() {
        let vars = Vars::from([("HOST".to_owned(), "a.test".to_owned())]);
        for (line, want) in [
            ("Host: $HOST", &b"Host: a.test"[..]),
            (r"a\r\n\0\x7f\\\$", b"a\r\n\0\x7f\\$"),
            ("$(ab*3)c", b"abababc"),
            (r"$(X-%i: v\r\n*2)", b"X-0: v\r\nX-1: v\r\n"),
            ("$(a*b*2)", b"a*ba*b"),
        ] {
            assert_eq!(show(&expand(line, &vars).unwrap()), show(want), "{line}");
        }
        for bad in ["$NONE", r"\q", "\\", "$(a*x)", "$(a", r"\x1"] {
            assert!(expand(bad, &vars).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, want) in [
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*; fwd=*miss*", "Archipel; fwd=uri-miss; stored", true),
            ("x || y", "y", true),
            ("a**b", "ab", true),
            ("*aab", "aaab", true),
        ] {
            assert_eq!(matches(pattern, text), want, "{pattern} {text}");
        }
    }
}
