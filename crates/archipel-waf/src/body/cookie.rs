//! The `Cookie` field as ModSecurity splits it.

/// Calls `cookie` with the name and the value of each cookie in the value of one `Cookie` field, undecoded. False when there are more
/// than `cookies_max`: what is left of the field was then told as the value of one without a name, so that nothing is hidden.
///
/// Pairs stand between semicolons; space before a name is dropped, and space after the last pair. A pair without a name is
/// passed over, one without `=` has an empty value, and further `=` belong to the value.
pub fn cookies(field: &[u8], cookies_max: usize, mut cookie: impl FnMut(&[u8], &[u8])) -> bool {
    // Nothing after a last semicolon is no pair, so that what stands before it is the last one.
    let mut field = field.strip_suffix(b";").unwrap_or(field);
    while let [rest @ .., last] = field
        && is_space(*last)
    {
        field = rest;
    }
    let (mut told, mut rest) = (0, Some(field));
    while let Some(text) = rest {
        let end = memchr::memchr(b';', text);
        let pair = &text[..end.unwrap_or(text.len())];
        rest = end.map(|end| &text[end + 1..]);
        let at = memchr::memchr(b'=', pair);
        let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        let Some(start) = name.iter().position(|&byte| !is_space(byte)) else { continue };
        if told == cookies_max {
            cookie(b"", text);
            return false;
        }
        told += 1;
        cookie(&name[start..], value);
    }
    true
}

/// C's `isspace`: Rust's has no vertical tab.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}
