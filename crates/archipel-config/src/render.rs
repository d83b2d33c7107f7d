//! Diagnostics as text for people and as JSON for programs.
//!
//! Documents may hold hostile bytes: what could move the cursor, change colours or reorder text is escaped.

use std::fmt::Write as _;

use crate::diagnostic::{Diagnostic, Diagnostics, Severity, Span};

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const BLUE: &str = "\x1b[1;34m";
const CYAN: &str = "\x1b[1;36m";

impl Diagnostics {
    /// The text for people: every diagnostic, then how many there were. Empty if there is nothing to say.
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for diagnostic in self {
            text.push_str(&diagnostic.render(color));
            text.push('\n');
        }
        let warnings = self.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning).count();
        let counts: Vec<String> = [(self.errors(), "error"), (warnings, "warning")]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}{}", if count == 1 { "" } else { "s" }))
            .collect();
        if !counts.is_empty() {
            text.push_str(&counts.join(", "));
            if self.dropped() > 0 {
                let _ = write!(text, " ({} not shown)", self.dropped());
            }
            text.push('\n');
        }
        text
    }

    /// The list for programs.
    pub fn to_json(&self) -> serde_json::Value {
        let list: Vec<_> = self.iter().map(Diagnostic::to_json).collect();
        serde_json::json!({"errors": self.errors(), "dropped": self.dropped(), "diagnostics": list})
    }
}

impl Diagnostic {
    /// The text for people, ending with a line end: what, where, the line with the place marked, and what to do.
    pub fn render(&self, color: bool) -> String {
        let paint = |style: &'static str| if color { style } else { "" };
        let reset = paint(RESET);
        let (word, style) = match self.severity {
            Severity::Error => ("error", paint(RED)),
            Severity::Warning => ("warning", paint(YELLOW)),
        };
        let mut text = String::new();
        let (bold, blue) = (paint(BOLD), paint(BLUE));
        let _ = writeln!(text, "{style}{word}[{}]{reset}{bold}: {}{reset}", self.code, escape(&self.message));
        let related_line = self.related.as_ref().and_then(|related| related.span.as_ref()).map(|span| span.start.line);
        let line = self.span.as_ref().map(|span| span.start.line);
        let gutter = line.max(related_line).map_or(1, |line| line.to_string().len());
        let place = place(&self.file, self.span.as_ref(), &self.path);
        let _ = writeln!(text, "{:gutter$}{blue}-->{reset} {place}", "");
        if let Some(span) = &self.span {
            excerpt(&mut text, span, gutter, '^', (blue, style, reset));
        }
        if let Some(related) = &self.related {
            let place = super::render::place(&related.file, related.span.as_ref(), "");
            let _ = writeln!(text, "{:gutter$}{blue}:::{reset} {place}: {}", "", escape(&related.message));
            if let Some(span) = &related.span {
                excerpt(&mut text, span, gutter, '-', (blue, blue, reset));
            }
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "{:gutter$} {blue}={reset} {}help{reset}: {}", "", paint(CYAN), escape(help));
        }
        text
    }

    /// The diagnostic for programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

/// `file:line:column`, or the setting's path where there is no line.
fn place(file: &str, span: Option<&Span>, path: &str) -> String {
    match span {
        Some(span) => format!("{}:{}:{}", escape(file), span.start.line, span.start.column),
        None if path.is_empty() => escape(file),
        None => format!("{}: {}", escape(file), escape(path)),
    }
}

fn excerpt(text: &mut String, span: &Span, gutter: usize, mark: char, (blue, style, reset): (&str, &str, &str)) {
    let before_chars = (span.start.column - 1).saturating_sub(span.text_offset);
    let shown = span.text.chars().count();
    let end = if span.end.line == span.start.line { span.end.column - 1 } else { usize::MAX };
    let marked_chars = end.saturating_sub(span.text_offset).min(shown).saturating_sub(before_chars);
    let ellipsis = if span.text_offset > 0 { "…" } else { "" };
    let width = |skip: usize, take: usize| -> usize {
        span.text.chars().skip(skip).take(take).map(|c| escape_char(c).chars().count()).sum()
    };
    let indent = ellipsis.chars().count() + width(0, before_chars);
    let marks: String = std::iter::repeat_n(mark, width(before_chars, marked_chars).max(1)).collect();
    let line: String = span.text.trim_end().chars().map(escape_char).collect();
    let _ = writeln!(text, "{:gutter$} {blue}|{reset}", "");
    let _ = writeln!(text, "{blue}{:gutter$} |{reset} {ellipsis}{line}", span.start.line);
    let _ = writeln!(text, "{:gutter$} {blue}|{reset} {:indent$}{style}{marks}{reset}", "", "");
}

/// A text without control characters.
fn escape(text: &str) -> String {
    text.chars().map(escape_char).collect()
}

fn escape_char(c: char) -> String {
    match c {
        '\t' => "    ".to_owned(),
        // Marks that reorder, join or hide text are not control characters to Unicode, but deceive just the same.
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}' => {
            format!("\\u{{{:x}}}", u32::from(c))
        }
        c if c.is_control() => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.to_string(),
    }
}
