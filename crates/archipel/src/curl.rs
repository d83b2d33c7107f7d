//! From what a person pastes (a URL, a request line with header fields, a curl command) to the request to explain.
//!
//! Pure. Must never run anything, read a file that a pasted command names, or keep a password.

use std::net::IpAddr;

use anyhow::bail;

use crate::control::ExplainCall;

/// Longest pasted text in bytes.
pub const PASTED_BYTES_MAX: usize = 1 << 20;

/// A request with what should be told about how it was understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Pasted {
    /// The request.
    pub call: ExplainCall,
    /// Remarks for the person.
    pub notes: Vec<String>,
}

/// Understands the words of a command line. One word may be a whole command or a request head with line ends.
pub fn understand(words: &[String], client: Option<IpAddr>) -> anyhow::Result<Pasted> {
    let mut pasted = match words {
        [] => bail!("give a URL, a request line, or a curl command"),
        [one] if is_curl(one) => from_curl(&split_shell(one)?)?,
        [first, ..] if first == "curl" => from_curl(words)?,
        [one] if !one.contains(char::is_whitespace) => from_url(one)?,
        lines => from_head(lines)?,
    };
    pasted.call.client = client;
    Ok(pasted)
}

fn is_curl(text: &str) -> bool {
    text.trim_start().strip_prefix("curl").is_some_and(|rest| rest.starts_with(char::is_whitespace))
}

fn from_url(text: &str) -> anyhow::Result<Pasted> {
    let call = ExplainCall { method: "GET".to_owned(), url: absolute(text)?, headers: Vec::new(), client: None };
    Ok(Pasted { call, notes: Vec::new() })
}

/// Adds the scheme that curl and browsers would, and refuses what no edge serves.
fn absolute(text: &str) -> anyhow::Result<String> {
    let url = match text.split_once("://") {
        Some(("http" | "https" | "HTTP" | "HTTPS", _)) => text.to_owned(),
        Some((scheme, _)) => bail!("{text}: {scheme} is not served here, only http and https"),
        None if text.starts_with('/') => format!("http://localhost{text}"),
        None => format!("http://{text}"),
    };
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    if authority.is_empty() || authority.starts_with(['/', '?', '#']) {
        bail!("{text}: no host in the URL");
    }
    Ok(url)
}

/// A request head: a request line, then header fields, given as words or as lines.
fn from_head(words: &[String]) -> anyhow::Result<Pasted> {
    let text = words.join("\n");
    let mut lines = text.lines().map(|line| line.trim_end_matches('\r')).skip_while(|line| line.is_empty());
    let first = lines.next().unwrap_or_default();
    let parts: Vec<&str> = first.split(' ').filter(|part| !part.is_empty()).collect();
    let (method, target) = match parts.as_slice() {
        [method, target] => (*method, *target),
        [method, target, version] if version.to_ascii_uppercase().starts_with("HTTP/") => (*method, *target),
        [url] => ("GET", *url),
        _ => bail!("{first:?} is no request line; expected for example 'GET /path HTTP/1.1'"),
    };
    if !method.bytes().all(is_token) {
        bail!("{method:?} is no method; expected for example 'GET /path HTTP/1.1'");
    }
    let mut headers = Vec::new();
    let mut host = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else {
            bail!("{line:?} is no header field; expected 'Name: value'");
        };
        // Fields of HTTP/2 as browsers show them.
        let (name, value) = (name.trim(), value.trim());
        if name.is_empty() || !name.bytes().all(is_token) {
            bail!("{line:?} is no header field; expected 'Name: value'");
        }
        if name.eq_ignore_ascii_case("host") {
            host = Some(value.to_owned());
        } else {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let mut notes = Vec::new();
    let url = if target.starts_with('/') || target == "*" {
        let host = host.unwrap_or_else(|| {
            notes.push("no Host is given: localhost is taken; add for example 'Host: shop.example'".to_owned());
            "localhost".to_owned()
        });
        if target == "*" {
            notes.push("`*` concerns the whole server; it is explained as `/`".to_owned());
        }
        format!("http://{host}{}", if target == "*" { "/" } else { target })
    } else {
        absolute(target)?
    };
    let call = ExplainCall { method: method.to_owned(), url, headers, client: None };
    Ok(Pasted { call, notes })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What an option of curl does to the request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing, and it stands alone.
    Alone,
    /// Nothing, and a value follows it.
    WithValue,
    Method,
    Header,
    Data,
    Json,
    Form,
    UrlData,
    Get,
    Head,
    Upload,
    Url,
    User,
    Bearer,
    Agent,
    Referer,
    Cookie,
    Range,
    Compressed,
}

impl Effect {
    fn takes_value(self) -> bool {
        !matches!(self, Effect::Alone | Effect::Get | Effect::Head | Effect::Compressed)
    }
}

/// The options of curl: short and long name. What is not here and begins with `--` is taken to stand alone, with a remark.
const OPTIONS: &[(&str, &str, Effect)] = &[
    ("X", "request", Effect::Method),
    ("H", "header", Effect::Header),
    ("d", "data", Effect::Data),
    ("", "data-ascii", Effect::Data),
    ("", "data-raw", Effect::Data),
    ("", "data-binary", Effect::Data),
    ("", "data-urlencode", Effect::UrlData),
    ("", "json", Effect::Json),
    ("F", "form", Effect::Form),
    ("", "form-string", Effect::Form),
    ("G", "get", Effect::Get),
    ("I", "head", Effect::Head),
    ("T", "upload-file", Effect::Upload),
    ("", "url", Effect::Url),
    ("u", "user", Effect::User),
    ("", "oauth2-bearer", Effect::Bearer),
    ("A", "user-agent", Effect::Agent),
    ("e", "referer", Effect::Referer),
    ("b", "cookie", Effect::Cookie),
    ("r", "range", Effect::Range),
    ("", "compressed", Effect::Compressed),
    ("k", "insecure", Effect::Alone),
    ("s", "silent", Effect::Alone),
    ("S", "show-error", Effect::Alone),
    ("v", "verbose", Effect::Alone),
    ("i", "include", Effect::Alone),
    ("", "show-headers", Effect::Alone),
    ("L", "location", Effect::Alone),
    ("", "location-trusted", Effect::Alone),
    ("N", "no-buffer", Effect::Alone),
    ("f", "fail", Effect::Alone),
    ("", "fail-with-body", Effect::Alone),
    ("g", "globoff", Effect::Alone),
    ("j", "junk-session-cookies", Effect::Alone),
    ("n", "netrc", Effect::Alone),
    ("O", "remote-name", Effect::Alone),
    ("J", "remote-header-name", Effect::Alone),
    ("q", "disable", Effect::Alone),
    ("0", "http1.0", Effect::Alone),
    ("", "http1.1", Effect::Alone),
    ("", "http2", Effect::Alone),
    ("", "http2-prior-knowledge", Effect::Alone),
    ("", "http3", Effect::Alone),
    ("4", "ipv4", Effect::Alone),
    ("6", "ipv6", Effect::Alone),
    ("", "path-as-is", Effect::Alone),
    ("", "tlsv1.2", Effect::Alone),
    ("", "tlsv1.3", Effect::Alone),
    ("#", "progress-bar", Effect::Alone),
    ("", "no-progress-meter", Effect::Alone),
    ("", "tcp-nodelay", Effect::Alone),
    ("", "haproxy-protocol", Effect::Alone),
    ("o", "output", Effect::WithValue),
    ("w", "write-out", Effect::WithValue),
    ("x", "proxy", Effect::WithValue),
    ("U", "proxy-user", Effect::WithValue),
    ("", "proxy-header", Effect::WithValue),
    ("", "noproxy", Effect::WithValue),
    ("m", "max-time", Effect::WithValue),
    ("", "connect-timeout", Effect::WithValue),
    ("", "expect100-timeout", Effect::WithValue),
    ("", "keepalive-time", Effect::WithValue),
    ("", "retry", Effect::WithValue),
    ("", "retry-delay", Effect::WithValue),
    ("", "retry-max-time", Effect::WithValue),
    ("", "limit-rate", Effect::WithValue),
    ("", "max-redirs", Effect::WithValue),
    ("", "resolve", Effect::WithValue),
    ("", "connect-to", Effect::WithValue),
    ("", "interface", Effect::WithValue),
    ("", "unix-socket", Effect::WithValue),
    ("", "cacert", Effect::WithValue),
    ("", "capath", Effect::WithValue),
    ("E", "cert", Effect::WithValue),
    ("", "key", Effect::WithValue),
    ("", "ciphers", Effect::WithValue),
    ("", "tls-max", Effect::WithValue),
    ("c", "cookie-jar", Effect::WithValue),
    ("D", "dump-header", Effect::WithValue),
    ("K", "config", Effect::WithValue),
    ("C", "continue-at", Effect::WithValue),
    ("Y", "speed-limit", Effect::WithValue),
    ("y", "speed-time", Effect::WithValue),
    ("z", "time-cond", Effect::WithValue),
    ("", "trace", Effect::WithValue),
    ("", "trace-ascii", Effect::WithValue),
];

/// What the options add up to.
#[derive(Default)]
struct Curl {
    method: Option<String>,
    urls: Vec<String>,
    headers: Vec<(String, String)>,
    /// Fields that `-H 'Name:'` takes away.
    removed: Vec<String>,
    data: Vec<String>,
    has_data: bool,
    json: bool,
    form: bool,
    get: bool,
    head: bool,
    upload: bool,
    notes: Vec<String>,
}

fn from_curl(words: &[String]) -> anyhow::Result<Pasted> {
    let mut curl = Curl::default();
    let mut words = words.iter().skip(1);
    let mut only_urls = false;
    while let Some(word) = words.next() {
        if only_urls || word == "-" || !word.starts_with('-') {
            curl.urls.push(word.clone());
        } else if word == "--" {
            only_urls = true;
        } else if let Some(long) = word.strip_prefix("--") {
            long_option(long, &mut words, &mut curl)?;
        } else {
            short_options(word, &mut words, &mut curl)?;
        }
    }
    curl.finish()
}

fn long_option<'a>(name: &str, words: &mut impl Iterator<Item = &'a String>, curl: &mut Curl) -> anyhow::Result<()> {
    // curl knows --no-NAME for every option that stands alone.
    let found = OPTIONS.iter().find(|(_, long, _)| *long == name);
    let Some((_, _, effect)) = found else {
        if !name.starts_with("no-") {
            curl.notes.push(format!("--{name} is not known here and has no effect on the explanation"));
        }
        return Ok(());
    };
    let value = if effect.takes_value() { Some(value_of(&format!("--{name}"), words.next())?) } else { None };
    curl.apply(*effect, value.as_deref().unwrap_or_default())
}

/// `-sSL`, `-XPOST`, `-H value`: short options may stand together, the last one with its value.
fn short_options<'a>(word: &str, words: &mut impl Iterator<Item = &'a String>, curl: &mut Curl) -> anyhow::Result<()> {
    let mut rest = word.get(1..).unwrap_or_default();
    while let Some(letter) = rest.chars().next() {
        rest = rest.get(letter.len_utf8()..).unwrap_or_default();
        let name = letter.to_string();
        let Some((_, _, effect)) = OPTIONS.iter().find(|(short, _, _)| *short == name) else {
            curl.notes.push(format!("-{letter} is not known here and has no effect on the explanation"));
            continue;
        };
        if effect.takes_value() {
            let value = if rest.is_empty() { value_of(&format!("-{letter}"), words.next())? } else { rest.to_owned() };
            return curl.apply(*effect, &value);
        }
        curl.apply(*effect, "")?;
    }
    Ok(())
}

fn value_of(option: &str, word: Option<&String>) -> anyhow::Result<String> {
    match word {
        Some(word) => Ok(word.clone()),
        None => bail!("curl's {option} needs a value, and the command ends there"),
    }
}

impl Curl {
    fn apply(&mut self, effect: Effect, value: &str) -> anyhow::Result<()> {
        match effect {
            Effect::Alone | Effect::WithValue => {}
            Effect::Method => self.method = Some(value.to_owned()),
            Effect::Header => self.header(value)?,
            Effect::Data | Effect::UrlData => {
                if value.starts_with('@') && effect == Effect::Data {
                    self.notes.push(format!("the file {} is not read", &value[1..]));
                } else {
                    self.data.push(value.to_owned());
                }
                self.has_data = true;
            }
            Effect::Json => (self.has_data, self.json) = (true, true),
            Effect::Form => self.form = true,
            Effect::Get => self.get = true,
            Effect::Head => self.head = true,
            Effect::Upload => self.upload = true,
            Effect::Url => self.urls.push(value.to_owned()),
            Effect::User => self.set("Authorization", "Basic ***"),
            Effect::Bearer => self.set("Authorization", "Bearer ***"),
            Effect::Agent => self.set("User-Agent", value),
            Effect::Referer => self.set("Referer", value.split(';').next().unwrap_or_default()),
            // Without `=` it names a file.
            Effect::Cookie if value.contains('=') => self.set("Cookie", value),
            Effect::Cookie => self.notes.push(format!("the cookie file {value} is not read")),
            Effect::Range => self.set("Range", &format!("bytes={value}")),
            Effect::Compressed => self.set("Accept-Encoding", "deflate, gzip, br, zstd"),
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) {
        self.headers.push((name.to_owned(), value.to_owned()));
    }

    /// `Name: value` adds, `Name:` removes, `Name;` adds an empty one.
    fn header(&mut self, text: &str) -> anyhow::Result<()> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => match text.trim_end().strip_suffix(';') {
                Some(name) => (name.trim(), None),
                None => bail!("{text:?} is no header field; expected -H 'Name: value'"),
            },
        };
        if name.is_empty() || !name.bytes().all(is_token) {
            bail!("{text:?} is no header field; expected -H 'Name: value'");
        }
        match value {
            Some("") => self.removed.push(name.to_ascii_lowercase()),
            value => self.set(name, value.unwrap_or_default()),
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Pasted> {
        let url = match self.urls.as_slice() {
            [] => bail!("the curl command has no URL"),
            [url] => absolute(url)?,
            [first, second, ..] => bail!("the curl command has several URLs ({first}, {second}); give one at a time"),
        };
        let url = if self.get { with_query(&url, &self.data) } else { url };
        let body = (self.has_data && !self.get) || self.form;
        let method = match self.method.take() {
            Some(method) => method,
            None if self.head => "HEAD".to_owned(),
            None if self.upload => "PUT".to_owned(),
            None if body => "POST".to_owned(),
            None => "GET".to_owned(),
        };
        if !method.bytes().all(is_token) || method.is_empty() {
            bail!("{method:?} is no method");
        }
        if self.json {
            self.set_unless_given("Content-Type", "application/json");
            self.set_unless_given("Accept", "application/json");
        } else if self.form {
            self.set_unless_given("Content-Type", "multipart/form-data");
        } else if body {
            self.set_unless_given("Content-Type", "application/x-www-form-urlencoded");
        }
        self.set_unless_given("Accept", "*/*");
        self.set_unless_given("User-Agent", "curl");
        let (url, headers) = (self.move_host(url), self.headers);
        Ok(Pasted { call: ExplainCall { method, url, headers, client: None }, notes: self.notes })
    }

    fn set_unless_given(&mut self, name: &str, value: &str) {
        let given = self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if !given && !self.removed.contains(&name.to_ascii_lowercase()) {
            self.set(name, value);
        }
    }

    /// `-H 'Host: ...'` decides about the zone, so it becomes the URL's host.
    fn move_host(&mut self, url: String) -> String {
        let Some(at) = self.headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("host")) else {
            return url;
        };
        let (_, host) = self.headers.remove(at);
        let Some((scheme, rest)) = url.split_once("://") else { return url };
        let path = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default();
        format!("{scheme}://{host}{path}")
    }
}

/// `-G` puts the data into the query.
fn with_query(url: &str, data: &[String]) -> String {
    if data.is_empty() {
        return url.to_owned();
    }
    let (url, fragment) = url.split_once('#').map_or((url, None), |(url, fragment)| (url, Some(fragment)));
    let separator = if url.contains('?') { '&' } else { '?' };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{url}{separator}{}{fragment}", data.join("&"))
}

/// Splits a pasted command as a POSIX shell would: quotes, backslashes, `$'...'`. Nothing is expanded.
fn split_shell(text: &str) -> anyhow::Result<Vec<String>> {
    if text.len() > PASTED_BYTES_MAX {
        bail!("the command is longer than {PASTED_BYTES_MAX} bytes");
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                // A line that goes on.
                Some('\n') => {}
                Some('\r') if chars.peek() == Some(&'\n') => drop(chars.next()),
                Some(c) => word.get_or_insert_default().push(c),
                None => {}
            },
            '\'' => quoted(&mut chars, word.get_or_insert_default())?,
            '"' => double_quoted(&mut chars, word.get_or_insert_default())?,
            '$' if chars.peek() == Some(&'\'') => {
                chars.next();
                ansi_quoted(&mut chars, word.get_or_insert_default())?;
            }
            c if c.is_whitespace() => words.extend(word.take()),
            // What follows goes to another program.
            '|' | ';' | '>' | '<' => break,
            '&' => break,
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

const UNCLOSED: &str = "a quote in the command is not closed";

fn quoted(chars: &mut Chars<'_>, word: &mut String) -> anyhow::Result<()> {
    loop {
        match chars.next() {
            Some('\'') => return Ok(()),
            Some(c) => word.push(c),
            None => bail!(UNCLOSED),
        }
    }
}

fn double_quoted(chars: &mut Chars<'_>, word: &mut String) -> anyhow::Result<()> {
    loop {
        match chars.next() {
            Some('"') => return Ok(()),
            Some('\\') => match chars.next() {
                Some('\n') => {}
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => bail!(UNCLOSED),
            },
            Some(c) => word.push(c),
            None => bail!(UNCLOSED),
        }
    }
}

/// `$'...'`, which browsers write when they copy a request as curl.
fn ansi_quoted(chars: &mut Chars<'_>, word: &mut String) -> anyhow::Result<()> {
    loop {
        let c = match chars.next() {
            Some('\'') => return Ok(()),
            Some('\\') => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('x') => code(chars, 2),
                Some('u') => code(chars, 4),
                Some(c) => c,
                None => bail!(UNCLOSED),
            },
            Some(c) => c,
            None => bail!(UNCLOSED),
        };
        word.push(c);
    }
}

fn code(chars: &mut Chars<'_>, digits_max: usize) -> char {
    let mut code = 0;
    for _ in 0..digits_max {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(16)) else { break };
        code = code * 16 + digit;
        chars.next();
    }
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
#[path = "curl_tests.rs"]
mod tests;
