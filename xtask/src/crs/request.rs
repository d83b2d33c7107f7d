//! A stage's request as bytes, completed as go-ftw completes it.

use super::suite::Input;

const FORM: &str = "application/x-www-form-urlencoded";

/// The bytes that are sent.
#[must_use]
pub fn bytes(input: &Input) -> Vec<u8> {
    if let Some(raw) = &input.raw {
        return raw.clone();
    }
    let mut headers = input.headers.clone();
    let has =
        |headers: &[(String, String)], name: &str| headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let mut data = input.data.clone();
    if input.completes && !data.is_empty() {
        if !has(&headers, "content-type") {
            headers.push(("Content-Type".to_owned(), FORM.to_owned()));
        }
        if value_of(&headers, "content-type", |value| value.eq_ignore_ascii_case(FORM)) {
            data = form(&data);
        }
    }
    // Forms in parts end their lines in CRLF, which YAML's blocks cannot say.
    if value_of(&headers, "content-type", |value| value.to_ascii_lowercase().contains("multipart/form-data;")) {
        data = line_ends(&data);
    }
    if input.completes {
        if !has(&headers, "connection") {
            headers.push(("Connection".to_owned(), "close".to_owned()));
        }
        if !has(&headers, "content-length") && (!data.is_empty() || has_body(&input.method)) {
            headers.push(("Content-Length".to_owned(), data.len().to_string()));
        }
    }
    let mut bytes = format!("{} {} {}\r\n", input.method, input.uri, input.version).into_bytes();
    for (name, value) in &headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&data);
    bytes
}

fn value_of(headers: &[(String, String)], name: &str, holds: impl Fn(&str) -> bool) -> bool {
    headers.iter().any(|(known, value)| known.eq_ignore_ascii_case(name) && holds(value))
}

/// go-ftw's pattern is `^POST|PUT|PATCH|DELETE$`.
fn has_body(method: &str) -> bool {
    method.starts_with("POST") || method.contains("PUT") || method.contains("PATCH") || method.ends_with("DELETE")
}

fn line_ends(data: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(data.len());
    for &byte in data {
        if byte == b'\n' {
            text.push(b'\r');
        }
        text.push(byte);
    }
    text
}

/// Encodes the names and values of a form, unless there is something in it that decoding would change.
fn form(data: &[u8]) -> Vec<u8> {
    if data.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return data.to_vec();
    }
    let mut text = Vec::new();
    // As go-ftw: nothing is sent for what stands behind a last ampersand.
    let data = data.strip_suffix(b"&").unwrap_or(data);
    for (index, pair) in data.split(|&byte| byte == b'&').enumerate() {
        if index > 0 {
            text.push(b'&');
        }
        match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => {
                encode(&pair[..at], &mut text);
                text.push(b'=');
                encode(&pair[at + 1..], &mut text);
            }
            None => encode(pair, &mut text),
        }
    }
    text
}

fn encode(raw: &[u8], to: &mut Vec<u8>) {
    for &byte in raw {
        match byte {
            b' ' => to.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => to.push(byte),
            byte => to.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
}
