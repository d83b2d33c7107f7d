//! From documents to a snapshot: reads each document, checks what several settings or zones mean together, and builds
//! the host index.
//!
//! Pure but for the files that settings name, which are seen through the `Files` argument only.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::check::{check_certificates, check_node, check_zone};
use crate::check_rules::check_rules;
use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::firewall::FirewallMode;
use crate::host::HostPattern;
use crate::kind::Files;
use crate::lists::{self, Lists};
use crate::node::{Listener, NodeConfig};
use crate::settings::read_document;
use crate::shield::{ShieldSets, check_shield};
use crate::snapshot::{ErrorPages, HostIndex, Snapshot, Zone, ZonePhases, zone_id};
use crate::suggest;
use crate::tree::{self, Node, Source, Value};
use crate::url::HttpUrl;
use crate::zone::{ErrorPageFiles, OriginHost, ZoneConfig, ZoneOrigin};

/// Most zones of a node.
pub const ZONES_MAX: usize = 10_000;

/// Most hosts of all zones together.
pub const HOSTS_MAX: usize = 100_000;

/// Largest error page in bytes.
pub const ERROR_PAGE_BYTES_MAX: usize = 256 << 10;

/// Longest name of a zone in bytes.
pub const ZONE_NAME_BYTES_MAX: usize = 63;

/// A document that was read, with what is needed to point into it.
pub(crate) struct Part<T> {
    pub source: Source,
    pub tree: Node,
    pub config: T,
}

impl<T> Part<T> {
    /// Where a setting stands: its own value, else the table around it, else nowhere.
    pub fn span(&self, path: &str) -> Option<Range<usize>> {
        let mut path = path;
        loop {
            if let Some(node) = self.tree.find(path) {
                return node.span.clone();
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    /// Whether the document itself says it.
    pub fn given(&self, path: &str) -> bool {
        self.tree.find(path).is_some()
    }

    /// Reports a problem at a setting.
    pub fn report(&self, out: &mut Diagnostics, path: &str, problem: Problem) {
        out.report(&self.source, path, self.span(path), problem);
    }
}

/// A zone before it is compiled.
pub(crate) type NamedZone = (Arc<str>, Part<ZoneConfig>);

enum DocumentKind<'a> {
    Node,
    Zone(&'a str),
}

/// Says what a document is by its name.
fn classify(name: &str) -> Option<DocumentKind<'_>> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let stem = name.strip_suffix(".toml").or_else(|| name.strip_suffix(".json"))?;
    match stem.strip_prefix("zones/") {
        Some(zone) if !zone.contains('/') => Some(DocumentKind::Zone(zone)),
        _ if stem == "node" => Some(DocumentKind::Node),
        _ => None,
    }
}

/// Builds a snapshot from documents. Relative names in the documents start at `base`.
pub(crate) fn compile(
    documents: Vec<Source>,
    base: &Path,
    files: &dyn Files,
    mut out: Diagnostics,
) -> Result<(Snapshot, Diagnostics), Diagnostics> {
    let mut node: Option<Part<NodeConfig>> = None;
    let mut node_given: Option<String> = None;
    let mut zones: Vec<NamedZone> = Vec::new();
    let mut zones_given: BTreeMap<String, String> = BTreeMap::new();
    for source in documents {
        let (place, key) = match classify(&source.name) {
            Some(DocumentKind::Node) => (node_given.replace(source.name.clone()), None),
            Some(DocumentKind::Zone(zone)) => {
                let zone = zone.to_owned();
                (zones_given.insert(zone.clone(), source.name.clone()), Some(zone))
            }
            None => {
                out.report(&source, "", None, unknown_document(&source.name));
                continue;
            }
        };
        if let Some(other) = place {
            let problem = Problem::error(Code::DocumentTwice, format!("the document is also given as {other}"))
                .help("keep one of them");
            out.report(&source, "", None, problem);
            continue;
        }
        match key {
            None => node = read(source, files, &mut out),
            Some(zone) if zone_name_is_good(&zone, &source, &mut out) => {
                zones.extend(read(source, files, &mut out).map(|part| (Arc::from(zone), part)));
            }
            Some(_) => {}
        }
    }
    if node_given.is_none() {
        let source = Source::new("node.toml", "", base);
        node = read_tree(source, Node::empty(), files, &mut out);
    }
    finish(node, zones, zones_given.len(), files, out)
}

fn unknown_document(name: &str) -> Problem {
    let problem = Problem::error(Code::UnknownDocument, "the document's name says neither node nor zone");
    let expected = "expected node.toml, zones/<name>.toml, or the same with .json";
    match suggest::nearest(name, ["node.toml", "node.json"]) {
        Some(near) => problem.help(format!("did you mean {near}?")),
        None => problem.help(expected),
    }
}

fn zone_name_is_good(name: &str, source: &Source, out: &mut Diagnostics) -> bool {
    let shape = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'));
    let start = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let good = shape && start && name.len() <= ZONE_NAME_BYTES_MAX;
    if !good {
        let problem = Problem::error(Code::BadZoneName, "the file's name is no zone name").help(format!(
            "a zone name has at most {ZONE_NAME_BYTES_MAX} lower-case letters, digits, `-`, `_` and `.`, and starts with a letter or a digit"
        ));
        out.report(source, "", None, problem);
    }
    good
}

fn read<T: crate::settings::Section>(source: Source, files: &dyn Files, out: &mut Diagnostics) -> Option<Part<T>> {
    let tree = tree::parse(&source, out)?;
    read_tree(source, tree, files, out)
}

fn read_tree<T: crate::settings::Section>(
    source: Source,
    tree: Node,
    files: &dyn Files,
    out: &mut Diagnostics,
) -> Option<Part<T>> {
    let config = read_document(&tree, &source, files, out)?;
    Some(Part { source, tree, config })
}

/// Checks everything that needs more than one setting, and builds the snapshot.
fn finish(
    node: Option<Part<NodeConfig>>,
    mut zones: Vec<NamedZone>,
    zones_given: usize,
    files: &dyn Files,
    mut out: Diagnostics,
) -> Result<(Snapshot, Diagnostics), Diagnostics> {
    zones.sort_by(|a, b| a.0.cmp(&b.0));
    let mut all_lists = Vec::with_capacity(zones.len());
    let mut shield = ShieldSets::default();
    if let Some(node) = &node {
        check_node(node, &mut out);
        if zones_given == 0 {
            let problem = Problem::warning(Code::NoZones, "there is no zone: every request will be refused")
                .help("write zones/<name>.toml with `hosts` and `[origin] url`");
            out.report(&node.source, "", None, problem);
        }
        check_certificates(node, &zones, &mut out);
        let shared = lists::read(node, &node.config.lists, &Lists::default(), files, &mut out);
        shield = check_shield(node, &shared, &mut out);
        for (_, zone) in &zones {
            check_zone(zone, node, &mut out);
            let own = lists::read(zone, &zone.config.lists, &shared, files, &mut out);
            check_rules(zone, node, &own, &mut out);
            all_lists.push(own);
        }
    }
    let index = index_hosts(&zones, zones_given, &mut out);
    let mut compiled = Vec::with_capacity(zones.len());
    let mut all_lists = all_lists.into_iter();
    for (name, part) in zones {
        let error_pages = read_error_pages(&part, files, &mut out);
        let custom_error_bodies = read_custom_errors(&part, files, &mut out);
        let lists = all_lists.next().unwrap_or_default();
        compiled.push(CheckedZone { name, config: part.config, error_pages, custom_error_bodies, lists });
    }
    out.sort();
    match node {
        Some(node) if !out.has_errors() => Ok((assemble(node.config, shield, compiled, index), out)),
        _ => Err(out),
    }
}

/// A zone whose documents are right, with what the files that it names hold.
struct CheckedZone {
    name: Arc<str>,
    config: ZoneConfig,
    error_pages: ErrorPages,
    custom_error_bodies: Vec<Bytes>,
    lists: Lists,
}

fn assemble(mut node: NodeConfig, shield: ShieldSets, zones: Vec<CheckedZone>, index: HostIndex) -> Snapshot {
    if node.listeners.is_empty() {
        node.listeners = default_listeners();
    }
    let zones = zones
        .into_iter()
        .map(|CheckedZone { name, config, error_pages, custom_error_bodies, lists }| {
            let phases = ZonePhases {
                settings: config.settings_rules,
                redirects: config.redirects,
                rewrites: config.rewrites,
                routes: config.routes,
                custom_errors: config.custom_errors,
                custom_error_bodies,
                response_headers: config.response_headers,
            };
            Arc::new(Zone {
                id: zone_id(&name),
                name,
                hosts: config.hosts,
                origin: config.origin,
                cache: config.cache,
                compression: config.compression,
                tls: config.tls,
                limits: config.limits,
                headers: config.headers,
                purge: config.purge,
                shield: config.shield,
                firewall: config.firewall,
                rate_limits: config.rate_limits,
                phases,
                lists,
                named_lists: config.lists,
                error_pages,
                error_page_files: config.error_pages,
            })
        })
        .collect();
    Snapshot { generation: 1, node, shield, zones, index }
}

/// Where a node listens that says nothing about it.
fn default_listeners() -> Vec<Listener> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut tls = Listener::new(local(8443));
    tls.tls = true;
    vec![Listener::new(local(8080)), tls]
}

/// The listeners of a node, the usual two where it names none.
pub(crate) fn listeners(node: &NodeConfig) -> Vec<Listener> {
    if node.listeners.is_empty() { default_listeners() } else { node.listeners.clone() }
}

/// Builds the index of hosts, and reports hosts that two zones claim, zones that share a number, and too many of either.
fn index_hosts(zones: &[NamedZone], zones_given: usize, out: &mut Diagnostics) -> HostIndex {
    let mut index = HostIndex::default();
    let mut ids: HashMap<u32, &Arc<str>> = HashMap::new();
    let mut hosts = 0usize;
    for (at, (name, zone)) in zones.iter().enumerate() {
        if let Some(other) = ids.insert(zone_id(name), name) {
            let message = format!("zone `{name}` has the same stable number as zone `{other}`");
            out.report(&zone.source, "", None, Problem::error(Code::BadZoneName, message).help("rename one of them"));
        }
        for (entry, pattern) in zone.config.hosts.iter().enumerate() {
            hosts += 1;
            let Some((other_name, other)) = index.insert(pattern, at).and_then(|other| zones.get(other)) else {
                continue;
            };
            let position = other.config.hosts.iter().position(|host| host == pattern).unwrap_or(0);
            let related = other
                .source
                .related(other.span(&format!("hosts[{position}]")), &format!("zone `{other_name}` has it here"));
            let span = zone.span(&format!("hosts[{entry}]"));
            let problem = Problem::error(
                Code::HostInTwoZones,
                format!("the host \"{pattern}\" belongs to zone `{other_name}` already"),
            )
            .help("a host belongs to one zone: remove it from one of them")
            .related(related);
            out.report(&zone.source, "hosts", span, problem);
        }
    }
    for (what, count, max) in [("zones", zones_given, ZONES_MAX), ("hosts", hosts, HOSTS_MAX)] {
        if count > max
            && let Some((_, zone)) = zones.last()
        {
            let message = format!("there are {count} {what} in all, at most {max} are allowed");
            out.report(&zone.source, "", None, Problem::error(Code::TooMany, message));
        }
    }
    index
}

fn read_error_pages(zone: &Part<ZoneConfig>, files: &dyn Files, out: &mut Diagnostics) -> ErrorPages {
    let ErrorPageFiles { default, origin_unreachable, origin_timeout, origin_bad_reply, refused, internal } =
        &zone.config.error_pages;
    let mut page = |key: &str, path: &Option<std::path::PathBuf>| -> Option<Bytes> {
        let path = path.as_ref()?;
        let setting = format!("error_pages.{key}");
        let problem = match read_page(path, &setting, files) {
            Ok(page) => return Some(page),
            Err(problem) => problem,
        };
        zone.report(out, &setting, problem);
        None
    };
    ErrorPages {
        default: page("default", default),
        // In the order of `ErrorPageKind`.
        by_kind: [
            page("origin_unreachable", origin_unreachable),
            page("origin_timeout", origin_timeout),
            page("origin_bad_reply", origin_bad_reply),
            page("refused", refused),
            page("internal", internal),
        ],
    }
}

/// The bodies of the custom errors, in their order.
fn read_custom_errors(zone: &Part<ZoneConfig>, files: &dyn Files, out: &mut Diagnostics) -> Vec<Bytes> {
    let rules = zone.config.custom_errors.iter().enumerate();
    rules
        .map(|(at, rule)| match &rule.file {
            Some(file) => {
                let setting = format!("custom_errors[{at}].file");
                let page = read_page(file, &setting, files);
                page.unwrap_or_else(|problem| {
                    zone.report(out, &setting, problem);
                    Bytes::new()
                })
            }
            None => Bytes::copy_from_slice(rule.body.as_deref().unwrap_or_default().as_bytes()),
        })
        .collect()
}

/// Reads a page that is kept in memory.
fn read_page(path: &Path, setting: &str, files: &dyn Files) -> Result<Bytes, Problem> {
    match files.read(path, ERROR_PAGE_BYTES_MAX) {
        Ok(Some(page)) => Ok(page.into()),
        Ok(None) => {
            let message = format!("`{setting}` names a file of more than {ERROR_PAGE_BYTES_MAX} bytes");
            Err(Problem::error(Code::TooLarge, message).help("make the page smaller: it is kept in memory"))
        }
        Err(why) => {
            let message = format!("`{setting}` names {}, which cannot be read: {why}", path.display());
            Err(Problem::error(Code::FileMissing, message))
        }
    }
}

/// A configuration without documents: one zone for every host in front of one origin. Change what is public, then
/// [`build`](SingleOrigin::build).
#[derive(Clone, Debug)]
pub struct SingleOrigin {
    /// Name of the zone.
    pub zone_name: String,
    /// The node's settings; defaults but for the listeners.
    pub node: NodeConfig,
    /// The zone's settings; defaults, hosts `*`, and the origin sees its own name as `Host`.
    pub zone: ZoneConfig,
}

impl SingleOrigin {
    pub(crate) fn new(url: &str, listeners: Vec<Listener>) -> Result<Self, Diagnostics> {
        let source = Source::new("command line", "", Path::new(""));
        let mut out = Diagnostics::new();
        let value = Node { value: Value::Text(url.to_owned()), span: None };
        let kind = crate::kind::Url { https: true, path: false };
        match crate::kind::Kind::<HttpUrl>::read(&kind, &value) {
            Ok(url) => {
                let mut origin = ZoneOrigin::new(url);
                // The visitor's host is this node's address, which means nothing to the origin.
                origin.host = OriginHost::Origin;
                let node = NodeConfig { listeners, ..NodeConfig::default() };
                let mut zone = ZoneConfig::new(vec![HostPattern::Any], origin);
                // Nobody has written a document in which to switch protection on.
                zone.firewall.managed.mode = FirewallMode::Block;
                Ok(Self { zone_name: "default".to_owned(), node, zone })
            }
            Err(problems) => {
                for mut problem in problems {
                    problem.message = format!("the origin's URL {}", problem.message);
                    out.report(&source, "origin.url", None, problem);
                }
                Err(out)
            }
        }
    }

    /// Checks and compiles, as for documents.
    ///
    /// # Errors
    /// All problems at once. Beside the snapshot come the warnings.
    pub fn build(self) -> Result<(Snapshot, Diagnostics), Diagnostics> {
        let source = Source::new("command line", "", Path::new(""));
        let node = Part { source: source.clone(), tree: Node::empty(), config: self.node };
        let zone = Part { source, tree: Node::empty(), config: self.zone };
        finish(Some(node), vec![(self.zone_name.into(), zone)], 1, &crate::load::Disk, Diagnostics::new())
    }
}
