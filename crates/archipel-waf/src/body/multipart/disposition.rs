//! The `Content-Disposition` of a part.

use super::{MultipartError, MultipartFlags, Sink};

/// What a part says it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    pub(super) name: Vec<u8>,
    pub(super) filename: Vec<u8>,
}

/// Reads the value of a `Content-Disposition`. Nothing is accepted that is not understood, since a reader that understands
/// it may take the part for another.
pub(super) fn parse(
    value: &[u8],
    flags: &mut MultipartFlags,
    sink: &mut impl Sink,
) -> Result<Disposition, MultipartError> {
    let mut disposition = Disposition::default();
    let mut has_extended = false;
    let mut rest = skip_space(value.strip_prefix(b"form-data").ok_or(MultipartError::Disposition)?);
    while let [b';', parameter @ ..] = rest {
        // A semicolon may be the last thing, one with space behind it may not.
        if parameter.is_empty() {
            break;
        }
        let parameter = skip_space(parameter);
        let end = parameter.iter().position(|byte| matches!(byte, b'=' | b'\t' | b' ')).unwrap_or(parameter.len());
        let (name, after) = parameter.split_at(end);
        let after = skip_space(after).strip_prefix(b"=").ok_or(MultipartError::Disposition)?;
        let after = skip_space(after);
        if after.is_empty() {
            return Err(MultipartError::Disposition);
        }
        if name == b"filename*" {
            if has_extended {
                return Err(MultipartError::Disposition);
            }
            has_extended = true;
            rest = skip_space(extended(after)?);
        } else {
            let (text, after) = parameter_value(after, flags)?;
            match name {
                b"name" => {
                    sink.multipart_name(&text);
                    set(&mut disposition.name, text)?;
                }
                b"filename" => {
                    sink.multipart_filename(&text);
                    set(&mut disposition.filename, text)?;
                }
                _ => return Err(MultipartError::Disposition),
            }
            rest = skip_space(after);
            flags.invalid_quoting |= !matches!(rest, [] | [b';', ..]) && ends_quoted(value, rest);
        }
    }
    if !rest.is_empty() && !rest.starts_with(b";") {
        return Err(MultipartError::Disposition);
    }
    // `filename*` alone: whoever does not know it takes the file for a field.
    if has_extended && disposition.filename.is_empty() {
        return Err(MultipartError::Disposition);
    }
    if disposition.name.is_empty() { Err(MultipartError::NoName) } else { Ok(disposition) }
}

/// Whether a quote stands directly before what follows a parameter: a quote too many.
fn ends_quoted(value: &[u8], rest: &[u8]) -> bool {
    matches!(value[..value.len() - rest.len()].last(), Some(b'"' | b'\''))
}

fn set(to: &mut Vec<u8>, text: Vec<u8>) -> Result<(), MultipartError> {
    if !to.is_empty() {
        return Err(MultipartError::Disposition);
    }
    *to = text;
    Ok(())
}

/// A token or a quoted string, without its quotes and escapes, and what follows it.
fn parameter_value<'a>(value: &'a [u8], flags: &mut MultipartFlags) -> Result<(Vec<u8>, &'a [u8]), MultipartError> {
    let [quote @ (b'"' | b'\''), inner @ ..] = value else {
        let end = value.iter().position(|&byte| !is_token(byte)).unwrap_or(value.len());
        flags.invalid_quoting |= value[..end].contains(&b'\'');
        return Ok((value[..end].to_vec(), &value[end..]));
    };
    // RFC 2183 knows double quotes only, some applications both.
    flags.invalid_quoting |= *quote == b'\'';
    if inner.is_empty() {
        return Err(MultipartError::Disposition);
    }
    let mut text = Vec::with_capacity(inner.len());
    let mut rest = inner;
    loop {
        match rest {
            // ModSecurity takes a value whose last quote is missing as far as it goes.
            [] => break,
            [b'\\'] => return Err(MultipartError::Disposition),
            [b'\\', escaped, after @ ..] if escaped == quote || *escaped == b'\\' => {
                text.push(*escaped);
                rest = after;
            }
            [byte, after @ ..] => {
                rest = after;
                if byte == quote {
                    break;
                }
                text.push(*byte);
            }
        }
    }
    flags.invalid_quoting |= *quote == b'\'' && text.contains(&b'\'');
    Ok((text, rest))
}

/// Reads over the value of a `filename*` (RFC 8187): charset, language and an encoded name.
fn extended(value: &[u8]) -> Result<&[u8], MultipartError> {
    let is_charset = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&+-^_`{}~".contains(&byte);
    let charset = value.iter().take_while(|&&byte| is_charset(byte)).count();
    let rest = value[charset..].strip_prefix(b"'").filter(|_| charset > 0).ok_or(MultipartError::Disposition)?;
    let language = memchr::memchr(b'\'', rest).ok_or(MultipartError::Disposition)?;
    let mut rest = &rest[language + 1..];
    loop {
        rest = match rest {
            [] | [b';', ..] => return Ok(rest),
            [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => after,
            [byte, after @ ..] if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`~".contains(byte) => after,
            _ => return Err(MultipartError::Disposition),
        };
    }
}

fn skip_space(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"()<>@,;:\\\"/[]?=".contains(&byte)
}
