//! The command line as the user sees it. Owns words and help texts only; what a command does is elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};

/// A CDN edge that you run yourself: one command puts a fast proxy and cache in front of a site.
#[derive(Debug, Parser)]
#[command(name = "archipel", version, propagate_version = false, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Try it without a site of your own: archipel up")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a node in front of a site (without argument: of a built-in sample site)
    Up(UpArgs),
    /// Check a configuration folder and report every problem at once
    Check(CheckArgs),
    /// Show what each stage of the edge decides about a request
    Explain(ExplainArgs),
    /// Remove stored objects from the cache of the running node
    Purge(PurgeArgs),
    /// Look into the cache of the running node
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Show what the firewall of the running node did
    #[command(subcommand)]
    Firewall(FirewallCommand),
    /// Show what the attack detector of the running node sees, and decide on its mitigation rules
    #[command(subcommand)]
    Shield(ShieldCommand),
    /// Try expressions of the rules language, and list what they can read
    #[command(subcommand)]
    Rules(RulesCommand),
    /// Install the OWASP Core Rule Set for the firewall, or take the last version back
    #[command(subcommand)]
    Crs(CrsCommand),
    /// Make the running node read its configuration and certificates again, all or nothing
    Reload(WhichNode),
    /// Show what the running node is doing
    Status(WhichNode),
    /// Print the JSON Schema, or the settings that are in effect
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the version
    Version,
}

/// Arguments of `up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Origin to put the node in front of, such as https://origin.example
    #[arg(conflicts_with = "config", value_name = "URL")]
    pub origin: Option<String>,
    /// Folder with node.toml and zones/*.toml
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Address to listen on instead of the configured ones: [IP:]PORT[,tls][,proxy] (repeatable)
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<ListenSpec>,
    /// Write one line of JSON about the started node to PATH, or to standard output with `-`
    #[arg(long, value_name = "PATH")]
    pub announce: Option<PathBuf>,
    /// Take over from the node that runs with the same state folder, without refusing a connection
    #[arg(long)]
    pub replace: bool,
    /// Folder for what the node keeps between starts
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// No line with live figures on the terminal
    #[arg(long)]
    pub no_live: bool,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Folder with node.toml and zones/*.toml
    #[arg(value_name = "DIR", required_unless_present = "config")]
    pub folder: Option<PathBuf>,
    /// The same, as the other commands name it
    #[arg(long, value_name = "DIR", conflicts_with = "folder", hide = true)]
    pub config: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Which running node a command talks to.
#[derive(Debug, Default, Args)]
pub struct WhichNode {
    /// Configuration folder of the node; its node.toml names the state folder
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// State folder of the node [env: ARCHIPEL_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  archipel explain https://shop.example/logo.png
  archipel explain 'GET /logo.png HTTP/1.1' 'Host: shop.example'
  archipel explain curl -H 'Cookie: a=b' https://shop.example/
  pbpaste | archipel explain -          a request head or a curl command on standard input")]
pub struct ExplainArgs {
    /// Evaluate this configuration folder offline instead of asking a running node
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// State folder of the running node [env: ARCHIPEL_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Address that the visitor comes from
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// A URL, a request line with header fields, or a curl command; options come before it
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "REQUEST")]
    pub request: Vec<String>,
}

/// `cache ...`
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show what is stored for a URL, why and for how long, and what the next request would get
    Inspect(InspectArgs),
}

/// Arguments of `cache inspect`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  archipel cache inspect https://shop.example/logo.png
  archipel cache inspect https://shop.example/ 'Accept-Language: de'
  archipel cache inspect curl -H 'Cookie: a=b' https://shop.example/")]
pub struct InspectArgs {
    /// Configuration folder of the node; its node.toml names the state folder
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// State folder of the running node [env: ARCHIPEL_STATE_DIR]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// A URL with header fields, a request line with header fields, or a curl command; options come before it
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "REQUEST")]
    pub request: Vec<String>,
}

/// `firewall ...`
#[derive(Debug, Subcommand)]
pub enum FirewallCommand {
    /// Show the last events: what was blocked, logged or passed over, by which rule
    Events(EventsArgs),
    /// Show the rate limits: what each allows, counted and refused, and how many visitors are at their limit
    Limits(LimitsArgs),
    /// Turn what the managed rules found into exclusions for a zone's document: read them before you paste them
    Suggest(SuggestArgs),
}

/// Arguments of `firewall limits`.
#[derive(Debug, Args)]
pub struct LimitsArgs {
    /// Only of this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// The node to talk to.
    #[command(flatten)]
    pub which: WhichNode,
}

/// Arguments of `firewall suggest`.
#[derive(Debug, Args)]
pub struct SuggestArgs {
    /// Only of this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Leave out what fewer visitors set off
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub visitors_min: usize,
    /// The node to talk to.
    #[command(flatten)]
    pub which: WhichNode,
}

/// Arguments of `firewall events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Only events of this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// At most so many, the newest first
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub limit: usize,
    /// The node to talk to.
    #[command(flatten)]
    pub which: WhichNode,
}

/// `shield ...`
#[derive(Debug, Subcommand)]
pub enum ShieldCommand {
    /// Show what is usual in each zone, what comes in, and every mitigation rule with its reason
    Status(ShieldStatusArgs),
    /// Keep a mitigation rule acting, whatever it matches, until it is relaxed
    Pin(ShieldRuleArgs),
    /// Take back what was said of a mitigation rule: it lives as it finds
    Relax(ShieldRuleArgs),
    /// Keep a mitigation rule from acting, and what it matches from being taken for an attack, until it is relaxed
    Veto(ShieldRuleArgs),
}

/// Arguments of `shield status`.
#[derive(Debug, Args)]
pub struct ShieldStatusArgs {
    /// Only this zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// The node to talk to.
    #[command(flatten)]
    pub which: WhichNode,
}

/// Arguments of `shield pin`, `relax` and `veto`.
#[derive(Debug, Args)]
pub struct ShieldRuleArgs {
    /// The rule, as `shield status` names it: ZONE/NUMBER
    #[arg(value_name = "RULE")]
    pub rule: String,
    /// The node to talk to.
    #[command(flatten)]
    pub which: WhichNode,
}

/// `rules ...`
#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// Evaluate an expression for a request, and show what each part of it comes to
    Test(RulesTestArgs),
    /// List all fields and functions of the rules language
    Fields {
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
}

/// Arguments of `rules test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Exit status: 0 where the expression holds (or has a value), 1 where it does not, 2 where something is wrong.
Examples:
  archipel rules test 'http.request.uri.path contains \"/admin\"' --request request.txt
  archipel rules test 'ip.src in $office' --config /etc/archipel --zone shop --client 192.0.2.7 --request request.txt
  archipel rules test 'concat(\"/v2\", http.request.uri.path)' --request request.json

A request file is a request as it is sent (head, empty line, body), a curl command, or JSON:
  {\"method\": \"POST\", \"url\": \"https://shop.example/a?b=c\", \"headers\": [[\"Cookie\", \"d=e\"]], \"body\": \"f=g\"}"
)]
pub struct RulesTestArgs {
    /// The expression
    #[arg(value_name = "EXPR")]
    pub expression: String,
    /// File with the request, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub request: PathBuf,
    /// Configuration folder whose lists the expression may name
    #[arg(long, value_name = "DIR")]
    pub config: Option<PathBuf>,
    /// Zone in that folder; the one of the request's host where it is not given
    #[arg(long, value_name = "ZONE", requires = "config")]
    pub zone: Option<String>,
    /// Address that the visitor comes from
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `purge`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
#[command(after_help = "Several may be named at once; all are purged, or none. Examples:
  archipel purge https://shop.example/a.css https://shop.example/b.css
  archipel purge --prefix shop.example/docs --prefix shop.example/help
  archipel purge --zone shop --tag product-42 --tag sale --soft")]
pub struct PurgeArgs {
    /// URLs to remove, in every variant
    #[arg(group = "what", value_name = "URL")]
    pub urls: Vec<String>,
    /// Everything of a host (repeatable)
    #[arg(long = "host", group = "what", value_name = "HOST")]
    pub hosts: Vec<String>,
    /// Everything of a host and the beginning of a path, in whole segments, such as shop.example/docs (repeatable)
    #[arg(long = "prefix", group = "what", value_name = "HOST/PATH")]
    pub prefixes: Vec<String>,
    /// Everything of a zone (repeatable); with --tag, the zone of the tags
    #[arg(long = "zone", group = "what", value_name = "ZONE")]
    pub zones: Vec<String>,
    /// Everything with a tag (Surrogate-Key, Cache-Tag) in the zone that --zone names (repeatable)
    #[arg(long = "tag", group = "what", value_name = "TAG", requires = "zones")]
    pub tags: Vec<String>,
    /// Everything of every zone
    #[arg(long, group = "what", conflicts_with_all = ["urls", "hosts", "prefixes", "zones", "tags"])]
    pub everything: bool,
    /// Keep the objects as stale ones: they are asked for again, and can still serve if the origin fails
    #[arg(long)]
    pub soft: bool,
    /// The node to talk to.
    #[command(flatten)]
    pub which: WhichNode,
}

/// `crs ...`
#[derive(Debug, Subcommand)]
pub enum CrsCommand {
    /// Install a release archive (.tar.gz) and use it; it is loaded first, and refused if the engine cannot
    Install(CrsInstallArgs),
    /// Show what is installed and what is in use
    List(WhichNode),
    /// Use the version before again
    Rollback(WhichNode),
}

/// Arguments of `crs install`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  archipel crs install coreruleset-4.28.0-minimal.tar.gz
  archipel crs install --sha256 HEX https://example.com/coreruleset-4.28.0-minimal.tar.gz")]
pub struct CrsInstallArgs {
    /// File, or URL, of a release archive
    #[arg(value_name = "ARCHIVE")]
    pub source: String,
    /// Checksum that the archive must have; required for a URL
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<String>,
    /// PEM file with the certificates that the server of the URL is verified against, instead of the system's
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The node to install for.
    #[command(flatten)]
    pub which: WhichNode,
}

fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_owned());
    }
    Err("a SHA-256 checksum has 64 hexadecimal digits".to_owned())
}

/// `config ...`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON Schema of node.toml and zones/*.toml
    Schema,
    /// Print every setting in effect, defaults included
    Show {
        /// Folder with node.toml and zones/*.toml
        #[arg(value_name = "DIR", required_unless_present = "config")]
        folder: Option<PathBuf>,
        /// The same, as the other commands name it
        #[arg(long, value_name = "DIR", conflicts_with = "folder", hide = true)]
        config: Option<PathBuf>,
    },
}

/// An address to listen on, as given to `--listen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenSpec {
    /// Where.
    pub address: SocketAddr,
    /// Connections start with TLS.
    pub tls: bool,
    /// Connections start with a PROXY protocol header.
    pub proxy_protocol: bool,
}

impl FromStr for ListenSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split(',');
        let address = words.next().unwrap_or_default();
        let parsed = address.parse::<SocketAddr>().ok().or_else(|| {
            let port = address.strip_prefix(':').unwrap_or(address).parse().ok()?;
            Some(SocketAddr::from(([127, 0, 0, 1], port)))
        });
        let Some(address) = parsed else {
            return Err(match address.strip_prefix("localhost:") {
                Some(port) => format!("an IP address is needed, such as 127.0.0.1:{port}"),
                None => "expected [IP:]PORT[,tls][,proxy], such as 0.0.0.0:443,tls or [::1]:8080".to_owned(),
            });
        };
        let mut spec = Self { address, tls: false, proxy_protocol: false };
        for word in words {
            match word {
                "tls" => spec.tls = true,
                "proxy" => spec.proxy_protocol = true,
                other => return Err(format!("`{other}` means nothing here; `tls` and `proxy` may follow the address")),
            }
        }
        Ok(spec)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[track_caller]
    fn check(arguments: &str, expected: Result<(), &str>) {
        let words = std::iter::once("archipel").chain(arguments.split(' ').filter(|word| !word.is_empty()));
        match (Cli::try_parse_from(words), expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{arguments}: {error}"),
            (Ok(parsed), Err(_)) => panic!("{arguments} was taken: {parsed:?}"),
            (Err(error), Ok(())) => panic!("{arguments}: {error}"),
        }
    }

    #[test]
    fn arguments() {
        check("up", Ok(()));
        check("up https://origin.example --no-live", Ok(()));
        check("up --config d --listen 8080 --listen [::1]:443,tls --announce - --replace", Ok(()));
        check("up http://a --config d", Err("cannot be used with"));
        check("up --listen example.com:1", Err("expected [IP:]PORT"));
        check("up --listen localhost:1", Err("such as 127.0.0.1:1"));
        check("up --listen 80,ssl", Err("`ssl` means nothing here"));
        check("check", Err("<DIR>"));
        check("check d --json", Ok(()));
        check("check --config d", Ok(()));
        check("explain", Err("<REQUEST>"));
        check("explain --json curl -H a:b --compressed http://x/", Ok(()));
        check("cache", Err("inspect"));
        check("cache inspect", Err("<REQUEST>"));
        check("cache inspect --json http://x/ a:b", Ok(()));
        check("purge", Err("--everything"));
        check("purge http://a/ http://b/ --soft", Ok(()));
        check("purge --everything --zone a", Err("cannot be used with"));
        check("purge --host a --state-dir s", Ok(()));
        check("purge http://a/ --host b --prefix c/d --host e --zone f", Ok(()));
        check("purge --zone a --tag b --tag c", Ok(()));
        check("purge --tag b", Err("--zone"));
        check("firewall", Err("events"));
        check("firewall events --zone a --limit 5 --json", Ok(()));
        check("firewall suggest --zone a --visitors-min 5 --json", Ok(()));
        check("shield status --zone a --json", Ok(()));
        check("shield veto a/3 --state-dir s", Ok(()));
        check("shield pin", Err("<RULE>"));
        check("rules fields --json", Ok(()));
        check("rules test ssl --request r", Ok(()));
        check("rules test ssl", Err("--request"));
        check("rules test ssl --request r --zone z", Err("--config"));
        check("crs install a.tar.gz", Ok(()));
        check("crs install a.tar.gz --sha256 abc", Err("64 hexadecimal digits"));
        check("crs list --state-dir s", Ok(()));
        check("config show d", Ok(()));
        check("config schema", Ok(()));
        check("completions bash", Ok(()));
        check("completions cmd", Err("possible values"));
        check("reloda", Err("reload"));
    }

    #[test]
    fn listen_addresses() {
        let parse = |text: &str| text.parse::<ListenSpec>().map(|s| (s.address.to_string(), s.tls, s.proxy_protocol));
        assert_eq!(parse("8080"), Ok(("127.0.0.1:8080".to_owned(), false, false)));
        assert_eq!(parse(":0"), Ok(("127.0.0.1:0".to_owned(), false, false)));
        assert_eq!(parse("0.0.0.0:443,tls,proxy"), Ok(("0.0.0.0:443".to_owned(), true, true)));
        assert_eq!(parse("[::]:443,tls"), Ok(("[::]:443".to_owned(), true, false)));
        assert!(parse("99999").is_err());
    }
}
