//! The regression tests as go-ftw's files have them (schema v2.3), and what their fields mean where they are absent.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::yaml::Node;

/// One test: stages that are run one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Test {
    /// `942100-3`: the rule and the number of the test.
    pub name: String,
    /// The file, below the folder of tests.
    pub file: String,
    /// Its stages.
    pub stages: Vec<Stage>,
}

/// A request and what must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// What is sent.
    pub input: Input,
    /// What is expected.
    pub output: Output,
}

/// A request, before it is completed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// The method.
    pub method: String,
    /// The target, as it is.
    pub uri: String,
    /// The protocol, as it is.
    pub version: String,
    /// Header fields in the order of the file's `ordered_headers`, or sorted.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub data: Vec<u8>,
    /// Whether missing header fields are added and forms encoded.
    pub completes: bool,
    /// The whole request, byte for byte; then nothing else counts.
    pub raw: Option<Vec<u8>>,
}

/// Expectations of a stage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// The status of the reply.
    pub status: Option<u16>,
    /// There must be no sound reply.
    pub fails: bool,
    /// A pattern for the whole reply.
    pub response_contains: Option<String>,
    /// Rules that must have logged.
    pub expect_ids: Vec<u64>,
    /// Rules that must not have logged.
    pub no_expect_ids: Vec<u64>,
    /// A pattern that a line of the log must match.
    pub match_regex: Option<String>,
    /// A pattern that no line of the log may match.
    pub no_match_regex: Option<String>,
    /// The expected rule must be the only one.
    pub is_isolated: bool,
}

impl Output {
    /// Whether only the HTTP front end's reply is judged.
    #[must_use]
    pub fn is_of_front_end(&self) -> bool {
        self.fails
            || (self.status.is_some()
                && self.expect_ids.is_empty()
                && self.no_expect_ids.is_empty()
                && self.match_regex.is_none()
                && self.no_match_regex.is_none())
    }
}

/// Reads all tests below a folder, in order of their files' names.
///
/// # Errors
/// A file that cannot be read, or has something that this runner does not know.
pub fn read(folder: &Path) -> Result<Vec<Test>> {
    let mut files = Vec::new();
    find(folder, &mut files)?;
    files.sort();
    let mut tests = Vec::new();
    for path in files {
        let shown = path.strip_prefix(folder).unwrap_or(&path).display().to_string();
        let text = std::fs::read_to_string(&path).with_context(|| shown.clone())?;
        read_file(&shown, &text, &mut tests).with_context(|| shown.clone())?;
    }
    ensure!(!tests.is_empty(), "{}: no tests", folder.display());
    Ok(tests)
}

/// Both endings are in use.
fn find(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(path);
        }
    }
    Ok(())
}

fn read_file(file: &str, text: &str, tests: &mut Vec<Test>) -> Result<()> {
    let document = Node::parse(text)?;
    // One file has its author beside `meta`.
    document.map(&["meta", "author", "rule_id", "tests"])?;
    let stem = Path::new(file).file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let in_name: String = stem.chars().take_while(char::is_ascii_digit).collect();
    let rule = document.get("rule_id").text()?.unwrap_or(&in_name);
    for (index, test) in document.get("tests").list()?.iter().enumerate() {
        let number = test.get("test_id").number()?.map_or_else(|| (index + 1).to_string(), |number| number.to_string());
        let name = format!("{rule}-{number}");
        tests.push(read_test(file, &name, test).with_context(|| name.clone())?);
    }
    Ok(())
}

fn read_test(file: &str, name: &str, test: &Node) -> Result<Test> {
    test.map(&["test_id", "desc", "description", "test_title", "stages", "tags", "payload"])?;
    let mut stages = Vec::new();
    for stage in test.get("stages").list()? {
        // The older form puts each stage into one of its own.
        let stage = if stage.get("stage") == &Node::Null { stage } else { stage.get("stage") };
        stage.map(&["input", "output", "description"])?;
        stages.push(Stage { input: read_input(stage.get("input"))?, output: read_output(stage.get("output"))? });
    }
    ensure!(!stages.is_empty(), "no stages");
    Ok(Test { name: name.to_owned(), file: file.to_owned(), stages })
}

fn read_input(input: &Node) -> Result<Input> {
    input.map(&[
        "dest_addr",
        "port",
        "protocol",
        "method",
        "uri",
        "version",
        "headers",
        "ordered_headers",
        "data",
        "encoded_data",
        "encoded_request",
        "autocomplete_headers",
        "stop_magic",
    ])?;
    let or = |key: &str, default: &str| Ok::<_, anyhow::Error>(input.get(key).text()?.unwrap_or(default).to_owned());
    let mut headers = Vec::new();
    for (name, value) in input.get("headers").map(&[])? {
        headers.push((name.clone(), value.text()?.unwrap_or_default().to_owned()));
    }
    headers.sort();
    if input.get("ordered_headers") != &Node::Null {
        headers.clear();
    }
    for tuple in input.get("ordered_headers").list()? {
        let field = |key: &str| Ok::<_, anyhow::Error>(tuple.get(key).text()?.unwrap_or_default().to_owned());
        headers.push((field("name")?, field("value")?));
    }
    let data = match (input.get("data").text()?, input.get("encoded_data").text()?) {
        (Some(data), _) => expand(data)?.into_bytes(),
        (None, Some(encoded)) => BASE64.decode(encoded)?,
        (None, None) => Vec::new(),
    };
    let stops = input.get("stop_magic").truth()?.unwrap_or(false);
    let raw = input.get("encoded_request").text()?.filter(|text| !text.is_empty()).map(decode).transpose()?;
    Ok(Input {
        method: or("method", "GET")?,
        uri: or("uri", "/")?,
        version: or("version", "HTTP/1.1")?,
        headers,
        data,
        completes: input.get("autocomplete_headers").truth()?.unwrap_or(!stops),
        raw,
    })
}

/// Base64 with line ends in it, as Go's decoder takes it.
fn decode(text: &str) -> Result<Vec<u8>> {
    let text: String = text.chars().filter(|character| !matches!(character, '\r' | '\n')).collect();
    Ok(BASE64.decode(text)?)
}

/// The one template that the tests use: `{{ "1" | repeat 64 }}`.
fn expand(data: &str) -> Result<String> {
    let mut text = String::new();
    let mut rest = data;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, after) = after.split_once("}}").context("a template that does not end")?;
        let words: Vec<&str> = action.split_whitespace().collect();
        let [piece, "|", "repeat", count] = words[..] else { bail!("the template `{action}` is not known") };
        text.push_str(before);
        text.push_str(&piece.trim_matches('"').repeat(count.parse()?));
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

/// Reads the expectations of a stage.
///
/// # Errors
/// They have something that this runner does not know.
pub fn read_output(output: &Node) -> Result<Output> {
    output.map(&[
        "status",
        "response_contains",
        "log_contains",
        "no_log_contains",
        "log",
        "expect_error",
        "retry_once",
        "isolated",
    ])?;
    let log = output.get("log");
    log.map(&["expect_ids", "no_expect_ids", "match_regex", "no_match_regex"])?;
    let ids = |key: &str| -> Result<Vec<u64>> {
        let ids: Result<Option<Vec<u64>>> = log.get(key).list()?.iter().map(Node::number).collect();
        ids?.context("an empty id")
    };
    let pattern = |key: &str, old: &str| -> Result<Option<String>> {
        let text = log.get(key).text()?.or(output.get(old).text()?).filter(|text| !text.is_empty());
        Ok(text.map(str::to_owned))
    };
    let status = output.get("status").number()?.filter(|&status| status != 0);
    Ok(Output {
        status: status.map(u16::try_from).transpose()?,
        fails: output.get("expect_error").truth()?.unwrap_or(false),
        response_contains: output.get("response_contains").text()?.map(str::to_owned),
        expect_ids: ids("expect_ids")?,
        no_expect_ids: ids("no_expect_ids")?,
        match_regex: pattern("match_regex", "log_contains")?,
        no_match_regex: pattern("no_match_regex", "no_log_contains")?,
        is_isolated: output.get("isolated").truth()?.unwrap_or(false),
    })
}
