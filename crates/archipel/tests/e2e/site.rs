//! Configuration of the nodes under test: a folder with `node.toml`, `zones/`, certificates and the pipe of the log.
//!
//! The only place of the tests that knows names of settings, apart from the lines that a test adds itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use archipel_testkit::client::RawClient;
use archipel_testkit::edge::{Edge, TempDir};
use archipel_testkit::play::{LogTap, World};
use archipel_testkit::tls::TestCa;
use archipel_testkit::wire::Target;

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_archipel");

/// Addresses that are believed about the visitor's address, and may send a PROXY protocol header.
pub const TRUSTED: &str = "127.250.0.0/16";

/// What the file `token` of each site holds.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A folder of configuration.
pub struct Site {
    /// The folder.
    pub folder: TempDir,
    /// Who signs the certificates of the listeners.
    pub ca: TestCa,
}

impl Site {
    /// A node with these additional lines, which replace defaults of the same key.
    pub fn new(label: &str, node: &[&str]) -> anyhow::Result<Self> {
        let site = Self { folder: TempDir::new(label)?, ca: TestCa::new()? };
        let cert = site.ca.issue(&["*.case.test", "localhost"])?;
        site.folder.write("tls/cert.pem", cert.chain_pem)?;
        site.folder.write("tls/key.pem", cert.key_pem)?;
        site.folder.write("tls/ca.pem", site.ca.pem())?;
        site.secret("token", TOKEN)?;
        site.folder.write("page.html", "<h1>the page of the zone</h1>\n")?;
        site.node(node)?;
        Ok(site)
    }

    /// Writes a file that its owner alone may read.
    pub fn secret(&self, name: &str, text: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.write(name, format!("{text}\n"))?;
        Ok(std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?)
    }

    /// Writes `node.toml` anew.
    pub fn node(&self, lines: &[&str]) -> anyhow::Result<()> {
        let dir = self.dir().display().to_string();
        let defaults = [
            ("name", "\"e2e\"".to_owned()),
            ("state_dir", format!("\"{dir}/state\"")),
            // One worker, so that a test can tell which connection to the origin is used again.
            ("workers", "1".to_owned()),
            ("admin.address", "\"127.0.0.1:0\"".to_owned()),
            ("log.access", format!("\"{dir}/access.log\"")),
            ("trust.proxy_protocol_from", format!("[\"{TRUSTED}\"]")),
            ("trust.client_address_from", format!("[\"{TRUSTED}\"]")),
            ("timeouts.drain", "\"15s\"".to_owned()),
        ];
        let given = |key: &str| lines.iter().any(|l| l.split('=').next().is_some_and(|k| k.trim() == key));
        let mut text = String::new();
        for (key, value) in defaults.iter().filter(|(key, _)| !given(key)) {
            text.push_str(&format!("{key} = {value}\n"));
        }
        for line in lines {
            text.push_str(&format!("{}\n", line.replace("$DIR", &dir)));
        }
        for options in ["", "tls = true\n", "proxy_protocol = true\n", "tls = true\nproxy_protocol = true\n"] {
            text.push_str(&format!("\n[[listen]]\naddress = \"127.0.0.1:0\"\n{options}"));
        }
        text.push_str(&format!(
            "\n[[certificate]]\ncertificate = \"{dir}/tls/cert.pem\"\nkey = \"{dir}/tls/key.pem\"\n"
        ));
        self.folder.write("node.toml", text)?;
        Ok(())
    }

    /// Writes a zone with these hosts, this origin and these additional lines.
    pub fn zone(&self, name: &str, hosts: &[&str], origin: &str, lines: &[&str]) -> anyhow::Result<PathBuf> {
        let dir = self.dir().display().to_string();
        let hosts: Vec<String> = hosts.iter().map(|h| format!("\"{h}\"")).collect();
        let mut text = format!("hosts = [{}]\norigin.url = \"{origin}\"\n", hosts.join(", "));
        for line in lines {
            text.push_str(&format!("{}\n", line.replace("$DIR", &dir)));
        }
        self.folder.write(&format!("zones/{name}.toml"), text)
    }

    /// The same, for an ordinary origin in plain text.
    pub fn plain_zone(&self, name: &str, host: &str, origin: SocketAddr, lines: &[&str]) -> anyhow::Result<PathBuf> {
        self.zone(name, &[host], &format!("http://{origin}"), lines)
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Starts the program, with its access log read.
    pub async fn start(&self) -> anyhow::Result<(Edge, World)> {
        let log = LogTap::open(&self.dir().join("access.log"))?;
        let edge = Edge::start(Path::new(BINARY), self.dir(), &[]).await?;
        let world = World { at: edge.at.clone(), roots: self.ca.roots()?, log };
        Ok((edge, world))
    }
}

/// A node with one zone `site` for the host `www.case.test`, before an origin.
pub struct Node {
    /// Its configuration.
    pub site: Site,
    /// The process.
    pub edge: Edge,
    /// Where it is, and its log.
    pub world: World,
}

/// The host of [`Node`]'s zone.
pub const HOST: &str = "www.case.test";

impl Node {
    /// Starts a node in front of an origin in plain text.
    pub async fn start(label: &str, origin: SocketAddr, node: &[&str], zone: &[&str]) -> anyhow::Result<Self> {
        let site = Site::new(label, node)?;
        site.plain_zone("site", HOST, origin, zone)?;
        let (edge, world) = site.start().await?;
        Ok(Self { site, edge, world })
    }

    /// A way to its plain listener.
    pub fn target(&self) -> anyhow::Result<Target> {
        Ok(Target::plain(self.world.at.plain()?))
    }

    /// A new client connection to its plain listener.
    pub async fn client(&self) -> anyhow::Result<RawClient> {
        RawClient::connect(&self.target()?).await
    }

    /// A way to its TLS listener.
    pub fn tls_target(&self, alpn: &[&str]) -> anyhow::Result<Target> {
        Ok(Target::tls(self.world.at.tls()?, self.site.ca.client_config(alpn)?, HOST))
    }

    /// Runs a command of the program against this node; whether it succeeded, and all it wrote.
    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
        command(&self.site, arguments).await
    }

    /// Drains the node, which must end well and must not have panicked.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.edge.stop().await?;
        let output = self.edge.output.text();
        anyhow::ensure!(!output.contains("panicked at"), "the edge panicked:\n{output}");
        Ok(())
    }
}

/// Runs a command of the program with a configuration.
pub async fn command(site: &Site, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let dir = site.dir().display().to_string();
    let (word, rest) = arguments.split_first().context("a command")?;
    let mut all = vec![*word, "--config", &dir];
    all.extend(rest);
    let (status, out, err) = archipel_testkit::edge::run(Path::new(BINARY), &all).await?;
    Ok((status.success(), format!("{out}{err}")))
}
