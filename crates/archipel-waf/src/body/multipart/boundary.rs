//! The boundary in a `Content-Type`.

use super::{MultipartError, MultipartFlags, is_space};

const MEDIA_TYPE: &[u8] = b"multipart/form-data";
const PARAMETER: &[u8] = b"boundary";
const CONTENT_TYPE_BYTES_MAX: usize = 1024;

/// The boundary that a `Content-Type` names.
pub(super) fn find<'a>(content_type: &'a [u8], flags: &mut MultipartFlags) -> Result<&'a [u8], MultipartError> {
    if content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(MultipartError::ContentTypeLength);
    }
    let parameters = match content_type.split_at_checked(MEDIA_TYPE.len()) {
        Some((name, parameters)) if name.eq_ignore_ascii_case(MEDIA_TYPE) => parameters,
        _ => return Err(MultipartError::ContentType),
    };
    if count(content_type) > 1 {
        return Err(MultipartError::SeveralBoundaries);
    }
    let Some(at) = memchr::memmem::find(parameters, PARAMETER) else {
        let elsewhere = count(content_type) > 0;
        return Err(if elsewhere { MultipartError::BoundaryCase } else { MultipartError::NoBoundary });
    };
    let mut semicolons = 0;
    for &byte in parameters[..at].iter().filter(|&&byte| !is_space(byte)) {
        semicolons += 1;
        if byte != b';' || semicolons > 1 {
            return Err(MultipartError::BoundaryMalformed);
        }
    }
    flags.missing_semicolon = semicolons == 0;
    let rest = &parameters[at + PARAMETER.len()..];
    let equals = memchr::memchr(b'=', rest).ok_or(MultipartError::BoundaryMalformed)?;
    if !rest[..equals].iter().all(|&byte| is_space(byte)) {
        return Err(MultipartError::BoundaryMalformed);
    }
    let value = &rest[equals + 1..];
    flags.boundary_whitespace = equals > 0 || value.first().is_some_and(|&byte| is_space(byte));
    let boundary = match value {
        [b'"', inner @ .., b'"'] => {
            flags.boundary_quoted = true;
            inner
        }
        [b'"', ..] | [_, .., b'"'] => return Err(MultipartError::BoundaryQuote),
        _ => value,
    };
    if count(boundary) > 0 {
        return Err(MultipartError::SeveralBoundaries);
    }
    // Some clients let a charset follow, which is not allowed; ModSecurity takes what stands before the semicolon.
    let first = boundary.split(|&byte| byte == b';').next().unwrap_or_default();
    let boundary = if is_sound(boundary) { boundary } else { first };
    if is_sound(boundary) { Ok(boundary) } else { Err(MultipartError::BoundaryCharacters) }
}

/// How many times the parameter's name stands in a text, in any case, with a `=` somewhere behind it.
fn count(text: &[u8]) -> usize {
    let text = text.to_ascii_lowercase();
    let last_equals = memchr::memrchr(b'=', &text).unwrap_or(0);
    memchr::memmem::find_iter(&text, PARAMETER).filter(|at| at + PARAMETER.len() <= last_equals).count()
}

/// RFC 2046 section 5.1.1: `bchars`, of which the last is no space.
fn is_sound(boundary: &[u8]) -> bool {
    let is_boundary_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b" '()+_,-./:=?".contains(byte);
    boundary.iter().all(is_boundary_byte) && boundary.last().is_some_and(|&last| last != b' ')
}
