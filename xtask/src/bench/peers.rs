//! The servers under test and the origin, each with the configuration that its own documents recommend for this job:
//! cache in memory, access log of the same fields written through a buffer, connections to the origin kept.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

use super::sweep::sweep;
use super::{Case, LOAD_CORE, SERVER_CORE};
use crate::edge::{self, Edge, Setup};
use crate::fetch;
use crate::process::{self, Folder, Process};

/// A server program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// This one.
    Archipel,
    /// nginx with proxy_cache.
    Nginx,
    /// HAProxy with its small-object cache.
    Haproxy,
    /// Varnish with malloc storage; its log writer, varnishncsa, counts in.
    Varnish,
}

impl Kind {
    /// The name in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Archipel => "Archipel",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Varnish => "Varnish",
        }
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn installed(self) -> bool {
        match self {
            Self::Archipel => true,
            Self::Nginx => process::installed("nginx"),
            Self::Haproxy => process::installed("haproxy"),
            Self::Varnish => process::installed("varnishd") && process::installed("varnishncsa"),
        }
    }

    /// Whether it can do the job of a case: Varnish has no TLS.
    #[must_use]
    pub fn can(self, case: Case) -> bool {
        // On disk only nginx keeps a cache that is as large as its bound says.
        let on_disk = case.objects().is_some();
        !(self == Self::Varnish && case.tls()) && (!on_disk || matches!(self, Self::Archipel | Self::Nginx))
    }
}

/// What all servers of a run share: the origin, the bodies, an ECDSA P-256 certificate in `tls/`.
#[derive(Debug)]
pub struct Material {
    /// Files on a memory file system.
    pub folder: Folder,
    /// A folder on the disk, for caches that are to be there.
    pub disk: Folder,
    /// Port of the origin.
    pub origin_port: u16,
    _origin: Process,
}

impl Material {
    /// Makes a certificate and starts the origin on the load generator's core.
    ///
    /// # Errors
    /// The origin does not start.
    pub fn new() -> Result<Self> {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let folder = Folder::new_in(&parent, "bench")?;
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        folder.write("tls/site.pem", format!("{certificate}{key}"))?;
        folder.write("tls/cert.pem", &certificate)?;
        folder.write("tls/key.pem", &key)?;
        folder.write("origin/www/hit/1k", "a".repeat(1 << 10))?;
        folder.write("origin/www/hit/100k", "b".repeat(100 << 10))?;
        folder.write("origin/www/hit/10k", "c".repeat(10 << 10))?;
        folder.write("origin/www/hit/1m", "d".repeat(1 << 20))?;
        folder.write("origin/www/hit/small", "e".repeat(100))?;
        let disk = Folder::new("bench-disk")?;
        open_to_workers(disk.path())?;
        open_to_workers(folder.path())?;
        let port = process::free_port()?;
        let conf = origin_conf(&folder.path().join("origin"), port);
        let conf = folder.write("origin/nginx.conf", conf)?;
        let mut origin = nginx(LOAD_CORE, &conf, &folder.path().join("origin"))?;
        process::await_port(&mut origin, port)?;
        Ok(Self { folder, disk, origin_port: port, _origin: origin })
    }

    /// How many requests the origin has answered so far, those for this number included.
    ///
    /// # Errors
    /// The origin does not say.
    pub fn origin_requests(&self) -> Result<u64> {
        let text = get(self.origin_port, "/status")?;
        let numbers = text.lines().skip_while(|line| !line.starts_with("server accepts")).nth(1);
        let count = numbers.and_then(|line| line.split_whitespace().nth(2)).and_then(|count| count.parse().ok());
        count.context("the origin's status page has no count")
    }
}

/// Workers of a server started by root run as another user.
fn open_to_workers(folder: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

fn origin_conf(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    let body = "a".repeat(1 << 10);
    format!(
        "daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
        events {{ worker_connections 8192; }}
        http {{
          access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile on; tcp_nopush on;
          open_file_cache max=100; default_type text/plain; {}
          server {{
            listen 127.0.0.1:{port}; root {folder}/www;
            location /hit/ {{ add_header Cache-Control 'max-age=86400'; }}
            location /disk10k/ {{ rewrite ^ /hit/10k last; }}
            location /disk1m/ {{ rewrite ^ /hit/1m last; }}
            location /large/ {{ rewrite ^ /hit/1m last; }}
            location /small/ {{ rewrite ^ /hit/small last; }}
            location /pass/ {{ add_header Cache-Control 'no-store'; return 200 '{body}'; }}
            location = /status {{ stub_status; }}
          }}
        }}\n",
        nginx_temporary(&folder.to_string()),
    )
}

/// Where nginx may write, so that it needs no right outside its folder.
fn nginx_temporary(folder: &str) -> String {
    let mut text = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = write!(text, "{kind}_temp_path {folder}/tmp-{kind}; ");
    }
    text
}

fn nginx(core: usize, conf: &Path, prefix: &Path) -> Result<Process> {
    let mut command = process::on_core(Some(core), "nginx");
    command.arg("-c").arg(conf).arg("-p").arg(prefix).arg("-e").arg(prefix.join("error.log"));
    Process::start("nginx", command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// A running server under test.
#[derive(Debug)]
pub struct Server {
    /// Which one.
    pub kind: Kind,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
    processes: Vec<Process>,
    edge: Option<Edge>,
    _folder: Option<Folder>,
}

impl Server {
    /// Starts a server for a case and waits until it accepts connections.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(root: &Path, kind: Kind, case: Case, material: &Material) -> Result<Self> {
        if kind == Kind::Archipel {
            let edge = Edge::start(root, &archipel(case, material))?;
            let port = if case.tls() { edge.tls()?.port() } else { edge.plain()?.port() };
            return Ok(Self { kind, port, processes: Vec::new(), edge: Some(edge), _folder: None });
        }
        let port = process::free_port()?;
        let folder = Folder::new_in(material.folder.path(), "server")?;
        open_to_workers(folder.path())?;
        let mut processes = match kind {
            Kind::Archipel | Kind::Nginx => {
                let conf = folder.write("nginx.conf", nginx_conf(case, material, folder.path(), port))?;
                vec![nginx(SERVER_CORE, &conf, folder.path())?]
            }
            Kind::Haproxy => haproxy(case, material, &folder, port)?,
            Kind::Varnish => varnish(case, material, &folder, port)?,
        };
        process::await_port(&mut processes[0], port)
            .with_context(|| std::fs::read_to_string(folder.path().join("error.log")).unwrap_or_default())?;
        if kind == Kind::Varnish {
            processes.push(varnishncsa(&folder)?);
        }
        Ok(Self { kind, port, processes, edge: None, _folder: Some(folder) })
    }

    /// Every process of the server, its log writer included.
    fn families(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().chain(self.edge.iter().map(|edge| &edge.process))
    }

    /// Processor time so far.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        self.families().map(Process::cpu).sum()
    }

    /// Resident memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.families().map(Process::memory_bytes).sum()
    }

    /// Puts the object into the cache and checks what comes back.
    ///
    /// # Errors
    /// The reply is not 200 with the whole body.
    pub fn warm(&mut self, case: Case) -> Result<()> {
        if let Some((objects, count)) = case.objects() {
            // More than once: what is asked for once may not be worth keeping.
            for _ in 0..3 {
                sweep(self.port, objects, 0..count, || Ok(()))?;
            }
            return Ok(());
        }
        if case.tls() || case == Case::H2 {
            // The first round of load, which is not counted, does it; the generator checks the status.
            return Ok(());
        }
        for _ in 0..3 {
            let reply = get(self.port, case.path())?;
            let (head, body) = reply.split_once("\r\n\r\n").context("a reply without an end of its head")?;
            ensure!(head.starts_with("HTTP/1.1 200"), "unexpected reply: {}", head.lines().next().unwrap_or_default());
            ensure!(body.len() == case.body_bytes(), "a body of {} bytes", body.len());
        }
        Ok(())
    }
}

fn get(port: u16, path: &str) -> Result<String> {
    fetch::whole(SocketAddr::from(([127, 0, 0, 1], port)), path)
}

fn archipel(case: Case, material: &Material) -> Setup {
    let memory = material.folder.path().display();
    let tls = if case.tls() { "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = true\n" } else { "" };
    let cache = match case.objects() {
        // A memory tier that is too small to answer.
        Some(_) => format!(
            "[cache]\nmemory_bytes_max = \"8MiB\"\n[cache.disk]\npath = \"{}/archipel\"\nbytes_max = \"2GiB\"\n",
            material.disk.path().display()
        ),
        None => String::new(),
    };
    let node = format!(
        "workers = 1\n{}\n{tls}[log]\naccess = \"{memory}/archipel-access.log\"\n{cache}\
         [[certificate]]\ncertificate = \"{memory}/tls/cert.pem\"\nkey = \"{memory}/tls/key.pem\"\n",
        edge::NODE
    );
    let zone = format!("hosts = [\"*\"]\n[origin]\nurl = \"http://127.0.0.1:{}\"\n", material.origin_port);
    Setup { node, zone, core: Some(SERVER_CORE), files: Vec::new() }
}

/// The log format has the fields of Archipel's record that nginx knows; the log goes through a buffer. There is no
/// `proxy_cache_lock`: it makes requests for what nobody may store wait for each other.
fn nginx_conf(case: Case, material: &Material, folder: &Path, port: u16) -> String {
    let (folder, tls) = (folder.display().to_string(), material.folder.path().join("tls"));
    let flags = match case {
        Case::H2 => " http2",
        Case::Tls | Case::Handshake => " ssl",
        _ => "",
    };
    let tls = tls.display();
    let cache = match case.objects() {
        Some(_) => format!("{}/nginx keys_zone=c:64m max_size=2g", material.disk.path().display()),
        None => format!("{folder}/cache keys_zone=c:10m max_size=256m"),
    };
    let log = "{\"time\":\"$time_iso8601\",\"client\":\"$remote_addr\",\"method\":\"$request_method\",\"host\":\"$host\",\
               \"path\":\"$request_uri\",\"protocol\":\"$server_protocol\",\"status\":$status,\"bytes\":$bytes_sent,\
               \"cache\":\"$upstream_cache_status\",\"seconds\":$request_time,\"agent\":\"$http_user_agent\"}";
    format!(
        "daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log; worker_rlimit_nofile 20000;
        events {{ worker_connections 16384; }}
        http {{
          log_format json escape=json '{log}'; access_log {folder}/access.log json buffer=64k flush=1s;
          sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 600s; keepalive_requests 1000000000;
          open_file_cache max=1000 inactive=600s; {}
          proxy_cache_path {cache} inactive=1d use_temp_path=off;
          upstream origin {{ server 127.0.0.1:{}; keepalive 64; keepalive_requests 1000000000; }}
          server {{
            listen 127.0.0.1:{port}{flags};
            ssl_certificate {tls}/cert.pem; ssl_certificate_key {tls}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
            location / {{
              proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host $host;
              proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_cache c;
            }}
          }}
        }}\n",
        nginx_temporary(&folder),
        material.origin_port,
    )
}

fn haproxy(case: Case, material: &Material, folder: &Folder, port: u16) -> Result<Vec<Process>> {
    let bind = match case {
        Case::H2 => " proto h2".to_owned(),
        Case::Tls | Case::Handshake => format!(" ssl crt {}", material.folder.path().join("tls/site.pem").display()),
        _ => String::new(),
    };
    let conf = format!(
        "global\n  nbthread 1\n  no strict-limits\n  maxconn 12000\n  log stdout format raw local0\n  tune.ssl.default-dh-param 2048\n\
         cache c\n  total-max-size 16\n  max-object-size 200000\n  max-age 86400\n\
         defaults\n  mode http\n  log global\n  option httplog\n  timeout connect 5s\n  timeout client 600s\n  timeout server 60s\n\
         \x20 timeout http-keep-alive 600s\n  http-reuse always\n\
         frontend f\n  bind 127.0.0.1:{port}{bind}\n  option forwardfor\n  http-request cache-use c\n  http-response cache-store c\n\
         \x20 default_backend o\n\
         backend o\n  server o 127.0.0.1:{} pool-max-conn 64\n",
        material.origin_port,
    );
    let conf = folder.write("haproxy.cfg", conf)?;
    let log = std::fs::File::create(folder.path().join("access.log"))?;
    let error = std::fs::File::create(folder.path().join("error.log"))?;
    let mut command = process::on_core(Some(SERVER_CORE), "haproxy");
    command.arg("-db").arg("-f").arg(conf).stdout(log).stderr(error);
    Ok(vec![Process::start("haproxy", &mut command)?])
}

fn varnish(case: Case, material: &Material, folder: &Folder, port: u16) -> Result<Vec<Process>> {
    let vcl = format!("vcl 4.1; backend o {{ .host = \"127.0.0.1\"; .port = \"{}\"; }}\n", material.origin_port);
    let vcl = folder.write("site.vcl", vcl)?;
    let error = std::fs::File::create(folder.path().join("error.log"))?;
    let mut command = process::on_core(Some(SERVER_CORE), "varnishd");
    command.arg("-F").arg("-f").arg(vcl).arg("-n").arg(work(folder));
    command.args(["-j", "none", "-T", "none", "-s", "malloc,256m", "-p", "thread_pools=1", "-p", "timeout_idle=600"]);
    command.arg("-a").arg(format!("127.0.0.1:{port}"));
    if case == Case::H2 {
        command.args(["-p", "feature=+http2"]);
    }
    Ok(vec![Process::start("varnishd", command.stdout(Stdio::null()).stderr(error))?])
}

fn varnishncsa(folder: &Folder) -> Result<Process> {
    let error = std::fs::File::create(folder.path().join("varnishncsa.log"))?;
    let mut command = process::on_core(Some(SERVER_CORE), "varnishncsa");
    command.arg("-n").arg(work(folder)).arg("-w").arg(folder.path().join("access.log"));
    let mut process = Process::start("varnishncsa", command.stdout(Stdio::null()).stderr(error))?;
    std::thread::sleep(Duration::from_millis(300));
    if process.must_live().is_err() {
        bail!("varnishncsa: {}", std::fs::read_to_string(folder.path().join("varnishncsa.log")).unwrap_or_default());
    }
    Ok(process)
}

fn work(folder: &Folder) -> PathBuf {
    folder.path().join("work")
}
