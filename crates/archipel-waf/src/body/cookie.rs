//! The `Cookie` field as ModSecurity splits it.

/// Calls `cookie` with the name and the value of each cookie in the value of one `Cookie` field, undecoded.
///
/// Pairs stand between semicolons; space before a name is dropped, and space after the last pair. A pair without a name is
/// passed over, one without `=` has an empty value, and further `=` belong to the value.
pub fn cookies(field: &[u8], mut cookie: impl FnMut(&[u8], &[u8])) {
    // Nothing after a last semicolon is no pair, so that what stands before it is the last one.
    let mut field = field.strip_suffix(b";").unwrap_or(field);
    while let [rest @ .., last] = field
        && is_space(*last)
    {
        field = rest;
    }
    for pair in field.split(|&byte| byte == b';') {
        let at = memchr::memchr(b'=', pair);
        let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        let start = name.iter().position(|&byte| !is_space(byte));
        if let Some(start) = start {
            cookie(&name[start..], value);
        }
    }
}

/// C's `isspace`: Rust's has no vertical tab.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 0x09..=0x0d)
}
