//! What `up` was asked to serve, and how that becomes a configuration, at the start and at every reload.

use std::net::SocketAddr;
use std::path::PathBuf;

use archipel_config::{Diagnostics, Listener, Snapshot};

use crate::cli::ListenSpec;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub enum Source {
    /// The built-in sample site, which listens here.
    Sample(SocketAddr),
    /// One origin, given on the command line.
    Origin(String),
    /// A folder of documents.
    Folder(PathBuf),
}

/// A source with what the command line says besides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The source.
    pub source: Source,
    /// Listeners instead of the configured ones.
    pub listen: Vec<ListenSpec>,
    /// State folder instead of the configured one.
    pub state_dir: Option<PathBuf>,
}

impl Plan {
    /// Loads and checks. Blocks on files.
    ///
    /// # Errors
    /// All problems at once. Beside the snapshot come the warnings.
    pub fn load(&self) -> Result<(Snapshot, Diagnostics), Diagnostics> {
        let (mut snapshot, warnings) = match &self.source {
            Source::Sample(address) => {
                let mut single = Snapshot::single_origin(&format!("http://{address}"), Vec::new())?;
                single.zone_name = "sample".to_owned();
                // Shows the visitor of the tour what the edge took.
                single.zone.headers.server_timing = true;
                single.build()?
            }
            Source::Origin(url) => Snapshot::single_origin(url, Vec::new())?.build()?,
            Source::Folder(folder) => Snapshot::load_dir(folder)?,
        };
        if !self.listen.is_empty() {
            snapshot.node.listeners = self.listen.iter().map(listener).collect();
        }
        if let Some(folder) = &self.state_dir {
            snapshot.node.state_dir.clone_from(folder);
        }
        Ok((snapshot, warnings))
    }

    /// The source in words.
    pub fn describe(&self) -> String {
        match &self.source {
            Source::Sample(_) => "the built-in sample site".to_owned(),
            Source::Origin(url) => url.clone(),
            Source::Folder(folder) => folder.display().to_string(),
        }
    }

    /// Whether documents say what the node does, so that nothing may silently differ from them.
    pub fn has_documents(&self) -> bool {
        matches!(self.source, Source::Folder(_))
    }
}

fn listener(spec: &ListenSpec) -> Listener {
    let mut listener = Listener::new(spec.address);
    (listener.tls, listener.proxy_protocol) = (spec.tls, spec.proxy_protocol);
    listener
}

/// The settings that differ between two configurations and take effect with the next start only.
pub fn needs_restart(old: &Snapshot, new: &Snapshot) -> Vec<String> {
    let (old, new) = (&old.node, &new.node);
    let differs: [(&str, bool); 10] = [
        ("listen", old.listeners != new.listeners),
        ("workers", old.workers != new.workers),
        ("state_dir", old.state_dir != new.state_dir),
        ("admin", old.admin != new.admin),
        ("tls.min_version", old.tls.min_version != new.tls.min_version),
        ("tls.session_tickets", old.tls.session_tickets != new.tls.session_tickets),
        ("cache", old.cache != new.cache),
        ("log", old.log != new.log),
        ("traces", old.traces != new.traces),
        ("shield.budgets_max", old.shield.budgets_max != new.shield.budgets_max),
    ];
    differs.iter().filter(|(_, differs)| *differs).map(|(name, _)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(node: &str) -> Snapshot {
        let zone = "hosts = [\"*\"]\n[origin]\nurl = \"http://o\"\n";
        Snapshot::from_documents(&[("node.toml", node), ("zones/z.toml", zone)]).expect("good documents").0
    }

    #[track_caller]
    fn check(old: &str, new: &str, expected: &[&str]) {
        assert_eq!(needs_restart(&load(old), &load(new)), expected);
    }

    #[test]
    fn settings_that_need_a_restart() {
        check("", "", &[]);
        check("", "[limits]\nconnections_max = 5\n[timeouts]\ndrain = \"1s\"", &[]);
        check("", "workers = 2", &["workers"]);
        check("", "[[listen]]\naddress = \"127.0.0.1:0\"", &["listen"]);
        check(
            "[log]\naccess = \"off\"",
            "[log]\naccess = \"stderr\"\n[cache]\nmemory_bytes_max = \"1MiB\"",
            &["cache", "log"],
        );
        check("", "[shield]\nbudgets_max = 2048\naddress_rate = 7", &["shield.budgets_max"]);
        check("", "state_dir = \"x\"\n[admin]\naddress = \"127.0.0.1:1\"", &["state_dir", "admin"]);
        check("", "[tls]\nmin_version = \"1.3\"\nsession_tickets = false", &["tls.min_version", "tls.session_tickets"]);
    }

    #[test]
    fn plans() {
        let plan = |source| Plan {
            source,
            listen: vec!["127.0.0.1:0,tls".parse().expect("good")],
            state_dir: Some("s".into()),
        };
        let (snapshot, _) = plan(Source::Sample(([127, 0, 0, 1], 5).into())).load().expect("good");
        assert_eq!((snapshot.node.listeners.len(), snapshot.node.listeners[0].tls), (1, true));
        assert_eq!(snapshot.node.state_dir, PathBuf::from("s"));
        assert!(snapshot.zone_for_host("anything.example").is_some());
        assert!(plan(Source::Origin("gopher://x".to_owned())).load().is_err());
    }
}
