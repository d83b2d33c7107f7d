//! Reads one Rust file the way the house rules need it: code with comments and literals blanked out, the
//! comments and string literals by line, and which lines are tests. It is a lexer, not a parser: it must never
//! judge anything, only describe.

use std::path::{Path, PathBuf};

/// One line of a file, taken apart.
#[derive(Debug, Default, Clone)]
pub struct Line {
    /// The code, with comments removed and the contents of literals replaced by spaces.
    pub code: String,
    /// The text of the comments on this line.
    pub comment: String,
    /// The contents of the string literals on this line.
    pub strings: String,
    /// Whether the line belongs to a `#[cfg(test)]` or `#[test]` item, or to a test file.
    pub test: bool,
}

/// A Rust source file, described by line.
#[derive(Debug)]
pub struct Source {
    /// Path relative to the root of the repository, with `/` between its parts.
    pub path: String,
    /// All lines, in order.
    pub lines: Vec<Line>,
    /// Whether the whole file is a test (by its name, or declared under `#[cfg(test)]`).
    pub test_file: bool,
    /// Modules declared as `#[cfg(test)] mod name;`.
    pub test_modules: Vec<String>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Index of the line with `fn`, from 0.
    pub start: usize,
    /// Index of the line with the closing brace, from 0.
    pub end: usize,
}

impl Source {
    /// Describes `text`, found at `path`.
    #[must_use]
    pub fn new(path: &str, text: &str) -> Self {
        let mut lines = lex(text);
        let test_file = is_test_path(path);
        let test_modules = mark_tests(&mut lines);
        if test_file {
            for line in &mut lines {
                line.test = true;
            }
        }
        Self { path: path.to_owned(), lines, test_file, test_modules }
    }

    /// Marks the whole file as a test.
    pub fn count_as_test(&mut self) {
        self.test_file = true;
        for line in &mut self.lines {
            line.test = true;
        }
    }

    /// The files that `#[cfg(test)] mod name;` of this file could name.
    #[must_use]
    pub fn test_module_paths(&self) -> Vec<String> {
        let path = Path::new(&self.path);
        let parent = path.parent().unwrap_or(Path::new(""));
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let home: PathBuf = match stem {
            "lib" | "main" | "mod" => parent.to_owned(),
            _ => parent.join(stem),
        };
        let both = |name: &String| [home.join(format!("{name}.rs")), home.join(name).join("mod.rs")];
        self.test_modules.iter().flat_map(both).map(|path| path.to_string_lossy().into_owned()).collect()
    }

    /// Every function with a body, nested ones included.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let mut found = Vec::new();
        for (start, line) in self.lines.iter().enumerate() {
            for (column, name) in function_names(&line.code) {
                if let Some(end) = self.body_end(start, column) {
                    found.push(Function { name, start, end });
                }
            }
        }
        found
    }

    /// Index of the line on which the body that opens after (`start`, `column`) closes; `None` without a body.
    fn body_end(&self, start: usize, column: usize) -> Option<usize> {
        let mut depth = 0_usize;
        let mut nested = 0_usize;
        for (index, line) in self.lines.iter().enumerate().skip(start) {
            let from = if index == start { column } else { 0 };
            for character in line.code.get(from..).unwrap_or_default().chars() {
                match character {
                    '(' | '[' => nested += 1,
                    ')' | ']' => nested = nested.saturating_sub(1),
                    ';' if depth == 0 && nested == 0 => return None,
                    '{' => depth += 1,
                    '}' => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 && nested == 0 {
                            return Some(index);
                        }
                    }
                    _ => {}
                }
            }
        }
        None
    }
}

/// Whether a file is a test by its place or name.
#[must_use]
pub fn is_test_path(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    path.split('/').any(|part| part == "tests" || part == "benches")
        || matches!(name, "tests.rs" | "test.rs")
        || name.ends_with("_tests.rs")
        || name.ends_with("_test.rs")
}

/// Whether `code` holds `word` with no identifier character on either side.
#[must_use]
pub fn has_word(code: &str, word: &str) -> bool {
    let inside = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(inside);
        let after = code[at + word.len()..].chars().next().is_some_and(inside);
        !before && !after
    })
}

fn function_names(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let free = !code[..at].ends_with(|character: char| character.is_alphanumeric() || character == '_');
        let name: String =
            code[at + 3..].chars().take_while(|character| character.is_alphanumeric() || *character == '_').collect();
        if free && !name.is_empty() {
            found.push((at, name));
        }
    }
    found
}

/// Marks the items under `#[cfg(test)]`, `#[test]` and their like; returns the out-of-line test modules.
fn mark_tests(lines: &mut [Line]) -> Vec<String> {
    let mut modules = Vec::new();
    let mut index = 0;
    while index < lines.len() {
        if !is_test_attribute(&lines[index].code) {
            index += 1;
            continue;
        }
        let end = item_end(lines, index);
        if let Some(name) = lines[index..=end].iter().find_map(|line| out_of_line_module(&line.code)) {
            modules.push(name);
        }
        for line in &mut lines[index..=end] {
            line.test = true;
        }
        index = end + 1;
    }
    modules
}

fn is_test_attribute(code: &str) -> bool {
    let code = code.trim_start();
    code.starts_with("#[cfg(test)]")
        || code.starts_with("#[cfg(all(test")
        || code.starts_with("#[cfg(any(test")
        || code.starts_with("#[test]")
        || code.starts_with("#[tokio::test")
}

fn out_of_line_module(code: &str) -> Option<String> {
    let rest = code.split("mod ").nth(1)?.trim();
    rest.strip_suffix(';').map(|name| name.trim().to_owned())
}

/// The last line of the item that starts with the attribute at `start`.
fn item_end(lines: &[Line], start: usize) -> usize {
    let mut depth = 0_usize;
    for (index, line) in lines.iter().enumerate().skip(start) {
        for character in line.code.chars() {
            match character {
                '{' | '(' | '[' => depth += 1,
                '}' | ')' | ']' => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 && character == '}' {
                        return index;
                    }
                }
                ';' if depth == 0 => return index,
                _ => {}
            }
        }
    }
    lines.len() - 1
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Code,
    Text,
    Raw(usize),
    LineComment,
    BlockComment(usize),
}

/// Splits a file into lines of code, comments and string contents.
fn lex(text: &str) -> Vec<Line> {
    let characters: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let mut mode = Mode::Code;
    let mut at = 0;
    while at < characters.len() {
        let character = characters[at];
        if character == '\n' {
            if mode == Mode::LineComment {
                mode = Mode::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let rest = &characters[at..];
        let last = lines.len() - 1;
        at += step(&mut mode, rest, &mut lines[last]);
    }
    if text.ends_with('\n') {
        lines.pop();
    }
    lines
}

/// Consumes one token's worth of characters and returns how many.
fn step(mode: &mut Mode, rest: &[char], line: &mut Line) -> usize {
    match *mode {
        Mode::Code => step_code(mode, rest, line),
        Mode::LineComment => {
            line.comment.push(rest[0]);
            1
        }
        Mode::BlockComment(depth) => {
            if rest.starts_with(&['*', '/']) {
                *mode = if depth == 1 { Mode::Code } else { Mode::BlockComment(depth - 1) };
                return 2;
            }
            if rest.starts_with(&['/', '*']) {
                *mode = Mode::BlockComment(depth + 1);
                return 2;
            }
            line.comment.push(rest[0]);
            1
        }
        Mode::Text => match rest[0] {
            '\\' => {
                // An escaped line end is left for the caller, which counts lines.
                let taken = if rest.get(1).is_some_and(|next| *next != '\n') { 2 } else { 1 };
                line.code.push_str("  ");
                taken
            }
            '"' => {
                *mode = Mode::Code;
                line.code.push('"');
                line.strings.push('\u{1}');
                1
            }
            other => {
                line.strings.push(other);
                line.code.push(' ');
                1
            }
        },
        Mode::Raw(hashes) => {
            let closes = rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|next| *next == '#');
            if closes {
                *mode = Mode::Code;
                line.code.push('"');
                line.strings.push('\u{1}');
                return 1 + hashes;
            }
            line.strings.push(rest[0]);
            line.code.push(' ');
            1
        }
    }
}

fn step_code(mode: &mut Mode, rest: &[char], line: &mut Line) -> usize {
    if rest.starts_with(&['/', '/']) {
        *mode = Mode::LineComment;
        // Kept whole, so that `//!` can be told from `//`.
        return 0;
    }
    if rest.starts_with(&['/', '*']) {
        *mode = Mode::BlockComment(1);
        return 2;
    }
    let after_identifier = line.code.ends_with(|last: char| last.is_alphanumeric() || last == '_');
    match rest[0] {
        '"' => {
            *mode = Mode::Text;
            line.code.push('"');
            1
        }
        'r' if !after_identifier || line.code.ends_with('b') || line.code.ends_with('c') => {
            let hashes = rest[1..].iter().take_while(|next| **next == '#').count();
            if rest.get(1 + hashes) == Some(&'"') {
                *mode = Mode::Raw(hashes);
                line.code.push('"');
                return 2 + hashes;
            }
            line.code.push('r');
            1
        }
        '\'' => step_quote(rest, line),
        other => {
            line.code.push(other);
            1
        }
    }
}

/// A quote opens a character literal, or a lifetime.
fn step_quote(rest: &[char], line: &mut Line) -> usize {
    if rest.get(1) == Some(&'\\') {
        let close = rest.iter().skip(3).position(|next| *next == '\'').map_or(rest.len() - 1, |at| at + 3);
        line.code.push_str("' '");
        return close + 1;
    }
    if rest.get(2) == Some(&'\'') {
        line.code.push_str("' '");
        return 3;
    }
    line.code.push('\'');
    1
}

#[cfg(test)]
mod tests {
    use super::{Function, Source, has_word};

    #[test]
    fn literals_and_comments_are_blanked() {
        let source = Source::new("a.rs", "let a = \"x // {\"; // why {\nlet b = '{'; let c: &'a str = r#\"}\"#;\n");
        assert_eq!(source.lines.len(), 2);
        assert_eq!(source.lines[0].code.trim_end(), "let a = \"      \";");
        assert_eq!(source.lines[0].comment, "// why {");
        assert!(!source.lines[1].code.contains(['{', '}']), "{}", source.lines[1].code);
    }

    #[test]
    fn functions_and_tests_are_found() {
        let text = "fn a(b: [u8; 2]) {\n    c();\n}\ntrait T { fn d(&self); }\n#[cfg(test)]\nmod tests;\n#[test]\nfn e() {\n}\n";
        let source = Source::new("crates/x/src/lib.rs", text);
        let names: Vec<Function> = source.functions();
        assert_eq!(names[0], Function { name: "a".into(), start: 0, end: 2 });
        assert_eq!(names.iter().map(|function| function.name.as_str()).collect::<Vec<_>>(), ["a", "e"]);
        assert_eq!(source.test_module_paths()[0], "crates/x/src/tests.rs");
        let tests: Vec<bool> = source.lines.iter().map(|line| line.test).collect();
        assert_eq!(tests, [false, false, false, false, true, true, true, true, true]);
    }

    #[test]
    fn words_are_whole() {
        assert!(has_word("a unsafe {", "unsafe"));
        assert!(!has_word("unsafe_op", "unsafe"));
    }
}
