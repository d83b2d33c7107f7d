//! Telling others that the node serves: the readiness line, systemd, and the person at the terminal.

use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixDatagram};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::plan::Source;
use super::running::Running;
use crate::control::ListenerAnswer;
use crate::files;
use crate::say::{self, Style};

/// What `--announce` writes.
#[derive(Debug, Serialize)]
struct Announcement {
    pid: u32,
    listeners: Vec<ListenerAnswer>,
    admin: String,
    state_dir: PathBuf,
    control_socket: PathBuf,
}

/// Writes the readiness line to standard output, or the same JSON to a file, all at once.
pub fn announce(target: &Path, running: &Running) -> anyhow::Result<()> {
    let announcement = Announcement {
        pid: std::process::id(),
        listeners: running.listener_answers(),
        admin: running.admin.to_string(),
        state_dir: running.state_dir.clone(),
        control_socket: running.state_dir.join(files::CONTROL_SOCKET),
    };
    let json = serde_json::to_string(&announcement)?;
    if target == Path::new("-") {
        return Ok(say::out(&format!("archipel ready {json}\n"))?);
    }
    files::write_atomically(target, &format!("{json}\n"))
        .with_context(|| format!("--announce {}: cannot be written", target.display()))
}

/// Tells the service manager (sd_notify(3)), where there is one.
pub fn notify(state: &str) {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else { return };
    let sent = UnixDatagram::unbound().and_then(|socket| {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => UnixAddr::from_abstract_name(name)?,
            None => UnixAddr::from_pathname(Path::new(&address))?,
        };
        socket.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager cannot be notified");
    }
}

/// What to open and to try, for the person who started the node.
pub fn banner(running: &Running) -> String {
    let style = Style::of(&std::io::stderr());
    let (bold, dim, cyan, reset) = (style.bold, style.dim, style.cyan, style.reset);
    let pid = std::process::id();
    let mut text = format!(
        "\n{bold}Archipel {}{reset} serves {}  {dim}(process {pid}){reset}\n\n",
        env!("CARGO_PKG_VERSION"),
        running.plan.describe()
    );
    let mut line = |label: &str, what: &str, remark: &str| {
        let gap = if remark.is_empty() { "" } else { "   " };
        text.push_str(&format!("  {bold}{label:<6}{reset} {cyan}{what}{reset}{gap}{dim}{remark}{reset}\n"));
    };
    let ca = running.development_ca_path();
    for (at, (address, tls)) in running.listeners.iter().enumerate() {
        let remark = if *tls && ca.is_some() { "browsers warn: the certificate is of the node's own CA" } else { "" };
        line(if at == 0 { "open" } else { "" }, &url(*address, *tls), remark);
    }
    if !matches!(running.plan.source, Source::Folder(_)) {
        tries(running, ca.as_deref(), &mut line);
    }
    line("stop", "Ctrl-C", "open requests may end; press it again to end at once");
    text.push('\n');
    text
}

fn tries(running: &Running, ca: Option<&Path>, line: &mut impl FnMut(&str, &str, &str)) {
    let plain = running.listeners.iter().find(|(_, tls)| !tls).map(|(address, _)| url(*address, false));
    let tls = running.listeners.iter().find(|(_, tls)| *tls).map(|(address, _)| url(*address, true));
    let sample = matches!(running.plan.source, Source::Sample(_));
    let mut label = "try";
    if let Some(url) = &plain {
        let path = if sample { "style.css" } else { "" };
        line(label, &format!("curl -sD- -o /dev/null {url}{path}"), "twice: see Cache-Status");
        label = "";
    }
    if let (Some(url), Some(ca)) = (&tls, ca) {
        line(label, &format!("curl --cacert {} {url}", ca.display()), "TLS and HTTP/2");
        label = "";
    }
    let state_dir = match files::state_dir(None, None).and_then(|usual| Ok(usual.canonicalize()?)) {
        Ok(usual) if usual == running.state_dir => String::new(),
        _ => format!(" --state-dir {}", running.state_dir.display()),
    };
    if let Some(url) = plain.as_ref().or(tls.as_ref()) {
        line(label, &format!("archipel explain{state_dir} {url}"), "what each stage decides");
        line("", &format!("archipel purge{state_dir} --everything"), "empty the cache");
    }
    line("", &format!("curl http://{}/metrics", running.admin), "");
}

/// How a person reaches a listener: a wildcard address is no place to go to, and certificates name localhost.
fn url(address: SocketAddr, tls: bool) -> String {
    let (scheme, usual_port) = if tls { ("https", 443) } else { ("http", 80) };
    let host = match address.ip() {
        ip if tls && (ip.is_loopback() || ip.is_unspecified()) => "localhost".to_owned(),
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    if address.port() == usual_port {
        format!("{scheme}://{host}/")
    } else {
        format!("{scheme}://{host}:{}/", address.port())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn urls() {
        for (address, tls, expected) in [
            ("127.0.0.1:8080", false, "http://127.0.0.1:8080/"),
            ("127.0.0.1:8443", true, "https://localhost:8443/"),
            ("0.0.0.0:80", false, "http://127.0.0.1/"),
            ("[::]:443", true, "https://localhost/"),
            ("192.0.2.1:443", true, "https://192.0.2.1/"),
            ("[2001:db8::1]:80", false, "http://[2001:db8::1]/"),
        ] {
            assert_eq!(super::url(address.parse().expect("an address"), tls), expected);
        }
    }
}
