//! Texts that rules make, on their way into a path, a query, a field or a URL: what would mean something else there is encoded.
//!
//! A capture that holds `?`, `#`, `&` or a line end stays the text that it was; it never becomes a query, a parameter or a field.

use http::HeaderValue;

const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

fn push_escape(out: &mut String, byte: u8) {
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Copies what is plain and each well-formed escape, and encodes all else.
fn encode(text: &[u8], plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, byte) in text.iter().enumerate() {
        let is_escape =
            || matches!(text.get(at + 1..at + 3), Some([a, b]) if a.is_ascii_hexdigit() && b.is_ascii_hexdigit());
        match *byte {
            b'%' if is_escape() => out.push('%'),
            byte if byte != b'%' && plain(byte) => out.push(char::from(byte)),
            byte => push_escape(&mut out, byte),
        }
    }
    out
}

/// As the path of a request: begins with `/`, and ends where it ends.
pub(super) fn path(text: &[u8]) -> String {
    let mut path =
        encode(text, |byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#' | b'\\' | b'"' | b'<' | b'>'));
    if !path.starts_with('/') {
        path.insert(0, '/');
    }
    path
}

/// As a query, without `?`.
pub(super) fn query(text: &[u8]) -> String {
    encode(text, |byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'"' | b'<' | b'>'))
}

/// A path as a value in a query: what ends a parameter there, or is read as a space, is encoded.
pub(crate) fn path_in_query(path: &str) -> String {
    encode(path.as_bytes(), |byte| !matches!(byte, b'&' | b'+' | b'=' | b';' | b'#' | b'?'))
}

/// As the value of a field: what cannot stand in one is left out.
pub(super) fn field_value(text: &[u8]) -> Option<HeaderValue> {
    let kept: Vec<u8> = text.iter().copied().filter(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)).collect();
    HeaderValue::from_bytes(kept.trim_ascii()).ok()
}

/// As the target of a redirect: an absolute http(s) URL, or a path on the same host. Nothing where it is neither.
pub(super) fn location(text: &[u8]) -> Option<String> {
    let url = encode(text, |byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`'));
    let lower = url.get(..8).unwrap_or(&url).to_ascii_lowercase();
    if lower.starts_with("https://") || lower.starts_with("http://") {
        return Some(url);
    }
    // To a browser `//host` is another host.
    let path = url.strip_prefix('/')?;
    Some(format!("/{}", path.trim_start_matches('/')))
}

/// Adds a query to a URL, before its fragment.
pub(super) fn with_query(mut url: String, query: &str) -> String {
    if query.is_empty() {
        return url;
    }
    let fragment = url.find('#').map(|at| url.split_off(at)).unwrap_or_default();
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{query}{fragment}")
}

/// Encodes bytes in every way, and checks what must hold of the results. For the fuzz targets.
///
/// # Panics
/// When a text becomes part of something that it was not put into.
pub fn fuzz(bytes: &[u8]) {
    let path = path(bytes);
    assert!(path.starts_with('/') && path.is_ascii() && !path.contains(['?', '#', ' ', '\r', '\n', '\\']), "{path:?}");
    let query = query(bytes);
    assert!(query.is_ascii() && !query.contains(['#', ' ', '\r', '\n']), "{query:?}");
    // What is made is a target or is refused; a target that is made again stays what it is.
    if let Ok(target) = archipel_http::target::parse_path_and_query(path.as_bytes()) {
        assert!(target.query.is_none());
        let again = archipel_http::target::canonical_path(target.path.as_bytes());
        assert!(again.is_ok_and(|again| again == target.path));
    }
    if let Some(value) = field_value(bytes) {
        assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
    }
    if let Some(location) = location(bytes) {
        assert!(!location.starts_with("//") && location.bytes().all(|byte| byte.is_ascii_graphic()), "{location:?}");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert!(!path_in_query(text).contains(['&', '=', '#']));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (made, expected) in [
            ("/a/b", "/a/b"),
            ("a", "/a"),
            ("", "/"),
            ("/a?b#c", "/a%3Fb%23c"),
            ("/a b\r\nX: y", "/a%20b%0D%0AX:%20y"),
            ("/%2F%zz%", "/%2F%25zz%25"),
            ("/a&b+c=d;e", "/a&b+c=d;e"),
            ("/ä", "/%C3%A4"),
            ("/a\\b", "/a%5Cb"),
        ] {
            assert_eq!(path(made.as_bytes()), expected, "{made}");
        }
    }

    #[test]
    fn queries() {
        for (made, expected) in [("a=1&b=2", "a=1&b=2"), ("a=b c#d", "a=b%20c%23d"), ("%", "%25"), ("x?y", "x?y")] {
            assert_eq!(query(made.as_bytes()), expected, "{made}");
        }
        assert_eq!(path_in_query("/x&admin=1+2;a%26"), "/x%26admin%3D1%2B2%3Ba%26");
    }

    #[test]
    fn fields() {
        assert_eq!(field_value(b" a\r\nSet-Cookie: x\0 ").unwrap(), "aSet-Cookie: x");
        assert_eq!(field_value("ä".as_bytes()).unwrap().as_bytes(), "ä".as_bytes());
    }

    #[test]
    fn targets() {
        for (made, expected) in [
            ("https://a.example/x y", Some("https://a.example/x%20y")),
            ("HTTP://a.example", Some("HTTP://a.example")),
            ("/x", Some("/x")),
            ("//evil.example/", Some("/evil.example/")),
            ("////evil.example", Some("/evil.example")),
            ("/\\evil.example", Some("/%5Cevil.example")),
            ("javascript:alert(1)", None),
            ("evil.example", None),
            ("", None),
            ("/\r\nSet-Cookie: a", Some("/%0D%0ASet-Cookie:%20a")),
        ] {
            assert_eq!(location(made.as_bytes()).as_deref(), expected, "{made}");
        }
        assert_eq!(with_query("/a?b".to_owned(), "c"), "/a?b&c");
        assert_eq!(with_query("/a#f".to_owned(), "c=1"), "/a?c=1#f");
        assert_eq!(with_query("/a".to_owned(), ""), "/a");
    }
}
