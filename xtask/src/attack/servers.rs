//! The servers that the floods are sent to, each pinned to a core of its own, each with a cache, an access log, and the
//! protection that its documents advise for this: Archipel with its shield as it comes, nginx with `limit_req` and
//! `limit_conn`, HAProxy with a stick table.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::browser::HOST;
use super::net::Loopback;
use crate::bench::SERVER_CORE;
use crate::edge::{Edge, Setup};
use crate::fetch;
use crate::process::{self, Folder, Meter, Process};

/// How many rules mitigate at the moment, in Archipel's metrics.
const RULES_METRIC: &str = "archipel_shield_rules";
/// What the detectors remember, in bytes.
const BYTES_METRIC: &str = "archipel_shield_bytes";

/// A server program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// This one.
    #[value(skip)]
    Archipel,
    /// nginx with limit_req and limit_conn
    Nginx,
    /// HAProxy with a stick table
    Haproxy,
}

impl Kind {
    /// The name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Archipel => "Archipel",
            Self::Nginx => "nginx limit_req",
            Self::Haproxy => "HAProxy stick table",
        }
    }

    /// Why it cannot take part, if it cannot.
    #[must_use]
    pub fn absent(self) -> Option<&'static str> {
        match self {
            Self::Nginx if !process::installed("nginx") => Some("nginx is not installed (Debian: nginx-light)"),
            Self::Haproxy if !process::installed("haproxy") => Some("haproxy is not installed (Debian: haproxy)"),
            _ => None,
        }
    }
}

/// A running server; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it speaks HTTP/1.1.
    pub http1: Loopback,
    /// Where it speaks HTTP/2 by prior knowledge.
    pub http2: Loopback,
    /// What it costs.
    pub meter: Meter,
    edge: Option<Edge>,
    peer: Option<Process>,
    _folder: Option<Folder>,
}

impl Server {
    /// Starts a server in front of an origin.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(root: &Path, kind: Kind, origin: SocketAddr) -> Result<Self> {
        if kind == Kind::Archipel {
            let edge = Edge::start(root, &archipel(origin))?;
            let address = Loopback::new(edge.plain()?)?;
            let meter = edge.process.meter();
            return Ok(Self { http1: address, http2: address, meter, edge: Some(edge), peer: None, _folder: None });
        }
        let folder = Folder::new("attack")?;
        open_to_workers(folder.path())?;
        let ports = (process::free_port()?, process::free_port()?);
        let mut peer =
            if kind == Kind::Nginx { nginx(&folder, origin, ports)? } else { haproxy(&folder, origin, ports)? };
        for port in [ports.0, ports.1] {
            process::await_port(&mut peer, port)
                .with_context(|| std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default())?;
        }
        let meter = peer.meter();
        let (http1, http2) = (Loopback::port(ports.0), Loopback::port(ports.1));
        Ok(Self { http1, http2, meter, edge: None, peer: Some(peer), _folder: Some(folder) })
    }

    /// Mitigation rules at the moment, and bytes that finding them takes; nothing where the server does not say.
    #[must_use]
    pub fn shield(&self) -> (Option<u64>, Option<u64>) {
        let admin = self.edge.as_ref().and_then(|edge| edge.ready.admin);
        let text = admin.and_then(|admin| fetch::text(admin, "/metrics").ok()).unwrap_or_default();
        (sum(&text, RULES_METRIC), sum(&text, BYTES_METRIC))
    }

    /// What the shield told the log: alarms and rules, in words.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let log = self.edge.as_ref().map(Edge::stderr).unwrap_or_default();
        let lines = log.lines().filter(|line| line.contains("shield") || line.contains("mitigation rule"));
        lines.map(str::to_owned).collect()
    }

    /// Fails where the server has ended.
    ///
    /// # Errors
    /// It has.
    pub fn must_live(&mut self) -> Result<()> {
        if let Some(edge) = &mut self.edge {
            let lives = edge.process.must_live();
            return lives.with_context(|| edge.stderr());
        }
        self.peer.as_mut().map_or(Ok(()), Process::must_live)
    }
}

/// The sum over all labels of a metric.
fn sum(text: &str, name: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let values = lines.filter(|rest| rest.starts_with(['{', ' '])).filter_map(|rest| rest.rsplit(' ').next());
    let values: Vec<f64> = values.filter_map(|value| value.parse().ok()).collect();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (!values.is_empty()).then(|| values.iter().sum::<f64>() as u64)
}

fn archipel(origin: SocketAddr) -> Setup {
    // Everything as it comes, but that loopback is not trusted here, as it is where visitors come from.
    let node = "state_dir = \"{folder}/state\"\n[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\n\
                [log]\naccess = \"{folder}/access.log\"\n[shield]\nexempt = []\n";
    // The servers beside it do not compress either.
    let zone = format!(
        "hosts = [\"{HOST}\"]\n[origin]\nurl = \"http://{origin}\"\n[shield]\nmode = \"automatic\"\n[compression]\nenabled = false\n"
    );
    Setup { node: node.to_owned(), zone, core: Some(SERVER_CORE), ..Setup::default() }
}

/// Workers of a server started by root run as another user.
fn open_to_workers(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Ten requests a second for each address with a burst of 30, which is several pages at once; 20 connections.
fn nginx(folder: &Folder, origin: SocketAddr, (http1, http2): (u16, u16)) -> Result<Process> {
    let shown = folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {shown}/tmp-{kind}; "))
        .concat();
    let conf = format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {shown}/pid; error_log {shown}/error.log crit;
        events {{ worker_connections 18000; }}
        http {{
          log_format json escape=json '{{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr\",\"host\":\"$host\",\"method\":\"$request_method\",\"path\":\"$request_uri\",\"status\":$status,\"bytes\":$body_bytes_sent,\"duration\":$request_time,\"cache\":\"$upstream_cache_status\",\"user_agent\":\"$http_user_agent\"}}';
          access_log {shown}/access.log json buffer=64k flush=1s; {temporary}
          keepalive_timeout 75s; keepalive_requests 100000; tcp_nodelay on;
          client_header_timeout 10s; client_body_timeout 10s; send_timeout 10s; reset_timedout_connection on;
          limit_req_zone $binary_remote_addr zone=requests:10m rate=10r/s; limit_req_status 429;
          limit_conn_zone $binary_remote_addr zone=connections:10m; limit_conn_status 429;
          proxy_cache_path {shown}/cache keys_zone=c:16m inactive=1d use_temp_path=off;
          upstream origin {{ server {origin}; keepalive 64; keepalive_requests 1000000000; }}
          server {{
            listen 127.0.0.1:{http1} backlog=4096; listen 127.0.0.1:{http2} http2 backlog=4096; server_name {HOST};
            limit_req zone=requests burst=30 nodelay; limit_conn connections 20;
            location / {{
              proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host;
              proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_cache c;
            }}
          }}
        }}\n"
    );
    let conf = folder.write("nginx.conf", conf)?;
    let mut command = process::on_core(Some(SERVER_CORE), "nginx");
    command.arg("-c").arg(conf).arg("-p").arg(folder.path()).arg("-e").arg(folder.path().join("error.log"));
    Process::start("nginx", command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// The same in HAProxy's terms: 130 requests in 10 seconds, 20 connections.
fn haproxy(folder: &Folder, origin: SocketAddr, (http1, http2): (u16, u16)) -> Result<Process> {
    let conf = format!(
        "global\n  nbthread 1\n  no strict-limits\n  maxconn 18000\n  log stdout format raw local0\n\
         cache c\n  total-max-size 64\n  max-object-size 200000\n  max-age 86400\n\
         defaults\n  mode http\n  log global\n  option httplog\n  timeout connect 5s\n  timeout client 30s\n  timeout server 60s\n\
         \x20 timeout http-request 10s\n  timeout http-keep-alive 75s\n  http-reuse always\n\
         frontend f\n  bind 127.0.0.1:{http1} backlog 4096\n  bind 127.0.0.1:{http2} backlog 4096 proto h2\n  option forwardfor\n\
         \x20 stick-table type ip size 1m expire 30s store http_req_rate(10s),conn_cur\n\
         \x20 tcp-request connection track-sc0 src\n\
         \x20 tcp-request connection reject if {{ sc_conn_cur(0) gt 20 }}\n\
         \x20 http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 130 }}\n\
         \x20 http-request cache-use c\n  http-response cache-store c\n  default_backend o\n\
         backend o\n  server o {origin} pool-max-conn 64\n"
    );
    let conf = folder.write("haproxy.cfg", conf)?;
    let log = std::fs::File::create(folder.path().join("access.log"))?;
    let error = std::fs::File::create(folder.path().join("error.log"))?;
    let mut command = process::on_core(Some(SERVER_CORE), "haproxy");
    command.arg("-db").arg("-f").arg(conf).stdout(log).stderr(error);
    Process::start("haproxy", &mut command)
}

#[cfg(test)]
mod tests {
    use super::{RULES_METRIC, sum};

    #[test]
    fn rules_are_counted_over_zones() {
        let text =
            "archipel_shield_rules{zone=\"a\"} 2\narchipel_shield_rules{zone=\"b\"} 1\narchipel_shield_rules_total 9\n";
        assert_eq!(sum(text, RULES_METRIC), Some(3));
        assert_eq!(sum("archipel_shield_rules_total 9\n", RULES_METRIC), None);
    }
}
