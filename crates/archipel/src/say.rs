//! What the program says to a person: colours only where a terminal shows them, and errors with a way out.

use std::io::{IsTerminal as _, Write as _};

/// Whether text to this stream may carry colours. `NO_COLOR` (any value but the empty one) and a dumb terminal say no.
pub fn colours(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Prints an error with its causes on standard error.
pub fn error(error: &anyhow::Error) {
    let stderr = std::io::stderr();
    let (red, reset) = if colours(&stderr) { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let mut text = format!("{red}error{reset}: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  because: {cause}\n"));
    }
    // Nobody is left to be told when standard error is closed.
    let _ = stderr.lock().write_all(text.as_bytes());
}

/// Prints text on standard output. A reader that went away (`| head`) is no error.
pub fn out(text: &str) -> std::io::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A number of bytes for people.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let (mut value, mut at) = (n as f64 / 1024.0, 0);
    while value >= 1024.0 && at + 1 < UNITS.len() {
        value /= 1024.0;
        at += 1;
    }
    format!("{value:.1} {}", UNITS[at])
}

/// Styles that are empty where colours are not wanted.
#[derive(Clone, Copy)]
pub struct Style {
    /// Starts bold text.
    pub bold: &'static str,
    /// Starts dim text.
    pub dim: &'static str,
    /// Starts what is good.
    pub green: &'static str,
    /// Starts what is bad.
    pub red: &'static str,
    /// Starts what can be opened or typed.
    pub cyan: &'static str,
    /// Ends any of them.
    pub reset: &'static str,
}

impl Style {
    /// The styles for a stream.
    pub fn of(stream: &impl std::io::IsTerminal) -> Self {
        if colours(stream) {
            let (bold, dim, green) = ("\x1b[1m", "\x1b[2m", "\x1b[32m");
            Self { bold, dim, green, red: "\x1b[31m", cyan: "\x1b[36m", reset: "\x1b[0m" }
        } else {
            Self { bold: "", dim: "", green: "", red: "", cyan: "", reset: "" }
        }
    }
}

/// A count with thousands apart: 12 345 678.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Whether a person watches standard error.
pub fn watched() -> bool {
    std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    #[test]
    fn thousands() {
        for (n, text) in [(0, "0"), (999, "999"), (1000, "1 000"), (12_345_678, "12 345 678")] {
            assert_eq!(super::thousands(n), text);
        }
    }
}
