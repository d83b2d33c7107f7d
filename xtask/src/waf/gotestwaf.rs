//! The cases of GoTestWAF (MIT): payloads, each in every listed encoding and at every listed place of a request, as its
//! program builds them. Two things differ: gRPC cases are left out (the program refuses to build them, too), and encoding
//! for addresses escapes all but unreserved characters, as a browser does, where the program leaves `$&+=:@` as they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;

use super::request::Request;
use super::sample::Sample;
use crate::crs::yaml::Node;

/// The name of the parameter, field or element that carries a payload. The program draws one.
const NAME: &str = "5f3a91c2d7";
const BOUNDARY: &str = "a7c1f0e29b5d4c3f8e61";

/// All cases of the folder `testcases`. Those of `false-pos` are benign, all others attacks.
///
/// # Errors
/// A file that is not what the program reads.
pub fn load(folder: &Path) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for set in sorted(folder)? {
        let attack = !set.ends_with("false-pos");
        for file in sorted(&set)? {
            add_file(&file, attack, &mut samples).with_context(|| file.display().to_string())?;
        }
    }
    ensure!(!samples.is_empty(), "{}: no cases", folder.display());
    Ok(samples)
}

fn add_file(file: &Path, attack: bool, samples: &mut Vec<Sample>) -> Result<()> {
    // The program's parser takes `\'` in double quotes, YAML 1.2 does not.
    let text = std::fs::read_to_string(file)?.replace(r"\'", "'");
    let document = Node::parse(&text)?;
    for payload in document.get("payload").list()? {
        let payload = payload.text()?.unwrap_or_default();
        for encoder in document.get("encoder").list()? {
            let encoded = encode(encoder.text()?.unwrap_or_default(), payload)?;
            for place in document.get("placeholder").list()? {
                let (place, options) = match place {
                    Node::Map(map) => {
                        map.first().map(|(place, options)| (place.as_str(), options)).context("an empty place")?
                    }
                    other => (other.text()?.unwrap_or_default(), &Node::Null),
                };
                if let Some(request) = put(place, options, &encoded)? {
                    samples.push(Sample { payload: payload.as_bytes().to_vec(), attack, request });
                }
            }
        }
    }
    Ok(())
}

fn encode(encoder: &str, payload: &str) -> Result<String> {
    let base64 = || base64::engine::general_purpose::STANDARD.encode(payload);
    Ok(match encoder {
        "Plain" => payload.to_owned(),
        "URL" => percent_encoded(payload.as_bytes()),
        "Base64" => base64(),
        "Base64Flat" => base64().replace('=', ""),
        other => bail!("unknown encoder `{other}`"),
    })
}

/// Everything but unreserved characters (RFC 3986, section 2.3) percent-encoded.
#[must_use]
pub fn percent_encoded(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// The request with a payload at a place; none where the place is gRPC.
fn put(place: &str, options: &Node, payload: &str) -> Result<Option<Request>> {
    let get = |uri: String| Request::browser("GET", uri);
    let post = |content_type: &str, body: String| {
        Request::browser("POST", "/").with("Content-Type", content_type).with_body(body)
    };
    Ok(Some(match place {
        "URLParam" => get(format!("/?{NAME}={payload}")),
        "URLPath" => get(format!("/{payload}")),
        "Header" => get("/".to_owned()).with(&format!("X-{NAME}"), payload),
        "UserAgent" => get("/".to_owned()).with("User-Agent", payload),
        "HTMLForm" => post("application/x-www-form-urlencoded", format!("{NAME}={payload}")),
        "HTMLMultipartForm" => {
            let part = format!("Content-Disposition: form-data; name=\"{NAME}\"\r\n\r\n{payload}");
            let body = format!("--{BOUNDARY}\r\n{part}\r\n--{BOUNDARY}--\r\n");
            post(&format!("multipart/form-data; boundary={BOUNDARY}"), body)
        }
        "JSONBody" => post("application/json", payload.to_owned()),
        "JSONRequest" => {
            let escaped = payload.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect::<String>();
            post("application/json", format!("{{\"test\": true, \"{NAME}\": \"{escaped}\"}}"))
        }
        "XMLBody" => post("application/xml", payload.to_owned()),
        "SOAPBody" => {
            post("text/xml", soap(payload)).with("SOAPAction", "\"http://schemas.xmlsoap.org/soap/actor/next\"")
        }
        "GraphQL" if text(options, "method")? == "GET" => {
            get(format!("/?query={}", percent_encoded(payload.as_bytes())))
        }
        "GraphQL" => Request::browser("POST", "/").with_body(payload),
        "RawRequest" => raw(options, payload)?,
        "gRPC" => return Ok(None),
        other => bail!("unknown place `{other}`"),
    }))
}

fn text<'a>(options: &'a Node, key: &str) -> Result<&'a str> {
    Ok(options.get(key).text()?.unwrap_or_default())
}

fn soap(payload: &str) -> String {
    let escaped = payload
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;");
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\">\n\
         <soapenv:Header></soapenv:Header><soapenv:Body><filterStatement>\
         <ab{NAME}><string>{escaped}</string></ab{NAME}></filterStatement></soapenv:Body>\n</soapenv:Envelope>"
    )
}

fn raw(options: &Node, payload: &str) -> Result<Request> {
    let path = text(options, "path")?.replace("{{payload}}", &percent_encoded(payload.as_bytes()));
    let mut request = Request::browser(text(options, "method")?, path);
    for (name, value) in options.get("headers").map(&[])? {
        request = request.with(name, value.text()?.unwrap_or_default().replace("{{payload}}", payload));
    }
    let body = text(options, "body")?.replace("{{payload}}", payload);
    Ok(if body.is_empty() { request } else { request.with_body(body) })
}

fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}
