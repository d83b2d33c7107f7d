//! Tokens that let a request purge.
//!
//! Must never be printed, logged or compared in a time that tells how much of it was right.

use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use thiserror::Error;

/// The shortest token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;
/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 512;

/// A secret of a file.
pub(crate) struct Token(Box<[u8]>);

/// A file that holds no token.
#[derive(Debug, Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// Others may read it.
    #[error("may be read by others (mode {0:04o}); run chmod 600 on it")]
    Open(u32),
    /// It has a form that no field can carry, or is too short to be a secret.
    #[error("holds no token: {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} printable characters without spaces, on one line")]
    Form,
}

impl Token {
    /// Reads a file; whitespace at the end does not count.
    pub(crate) fn read(path: &Path) -> Result<Self, TokenError> {
        let file = std::fs::File::open(path)?;
        let mode = file.metadata()?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(TokenError::Open(mode & 0o7777));
        }
        let mut content = Vec::new();
        file.take(TOKEN_BYTES_MAX as u64 + 16).read_to_end(&mut content)?;
        let token = content.trim_ascii_end();
        let fits = (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len());
        if !fits || !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::Form);
        }
        Ok(Self(token.into()))
    }

    /// Whether a request brings the token. The time depends on the lengths alone.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        let differences = self.0.iter().zip(given).fold(0, |sum, (a, b)| std::hint::black_box(sum | (a ^ b)));
        self.0.len() == given.len() && differences == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The token in the value of `Authorization` (RFC 6750 section 2.1).
pub fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use super::*;

    #[track_caller]
    fn read(mode: u32, content: &str) -> Result<Token, TokenError> {
        let name = format!("archipel-token-{}-{mode:o}-{}", std::process::id(), content.len());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path).unwrap();
        std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
        let token = Token::read(&path);
        std::fs::remove_file(&path).unwrap();
        token
    }

    #[test]
    fn files() {
        let token = read(0o600, "0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b"0123456789abcdeF"[..], b"0123456789abcde", b"0123456789abcdef0", b"", b"\xff"] {
            assert!(!token.is(other), "{other:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert!(read(0o400, "0123456789abcdef").is_ok());
        assert!(matches!(read(0o640, "0123456789abcdef"), Err(TokenError::Open(0o640))));
        assert!(matches!(read(0o604, "0123456789abcdef"), Err(TokenError::Open(_))));
        for bad in ["", "short", "0123456789 abcdef", "0123456789abcdef\nmore", &"x".repeat(513), &"x".repeat(5_000)] {
            assert!(matches!(read(0o600, bad), Err(TokenError::Form)), "{bad}");
        }
        assert!(matches!(Token::read(Path::new("/nowhere/at/all")), Err(TokenError::Read(_))));
    }

    #[test]
    fn bearers() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for bad in [&b"Basic abc"[..], b"Bearerabc", b"", b"Bearer"] {
            assert_eq!(bearer(bad), None, "{bad:?}");
        }
    }
}
