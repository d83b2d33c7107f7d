//! Which zone had each host, kept in the state folder: a zone that takes a host over from another must not find what was purged while
//! the other had it, also where the node was down in between.
//!
//! Must never fail a start, nor take a file that cannot be read for "nothing changed".

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use archipel_config::Snapshot;

/// The name of the file in the state folder.
const FILE: &str = "hosts";
/// A longer file is none of ours.
const BYTES_MAX: u64 = 256 << 20;
/// The last line, which tells that all are there.
const END: &str = "end";

/// Zones by the patterns of their hosts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(HashMap<String, u32>);

impl Hosts {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let of_zone = |zone: &std::sync::Arc<archipel_config::Zone>| {
            let id = zone.id;
            zone.hosts.iter().map(move |host| (host.to_string(), id)).collect::<Vec<_>>()
        };
        Self(snapshot.zones.iter().flat_map(of_zone).collect())
    }

    /// The zone that a host had: its own name counts before a wildcard, a longer wildcard before a shorter.
    fn zone_of(&self, host: &str) -> Option<u32> {
        let wildcards = host.match_indices('.').map(|(at, _)| format!("*{}", host.get(at..).unwrap_or_default()));
        let patterns = std::iter::once(host.to_owned()).chain(wildcards).chain(["*".to_owned()]);
        patterns.filter_map(|pattern| self.0.get(&pattern)).next().copied()
    }

    /// Zones of these hosts that take one over from another zone of `before`.
    pub(super) fn taken_over(&self, before: &Self) -> Vec<u32> {
        let moved = self.0.iter().filter(|(pattern, zone)| {
            // Of a wildcard, any name that it covers.
            before.zone_of(&pattern.replacen('*', "any", 1)).is_some_and(|other| other != **zone)
        });
        let mut zones: Vec<u32> = moved.map(|(_, zone)| *zone).collect();
        zones.sort_unstable();
        zones.dedup();
        zones
    }

    fn encode(&self) -> String {
        let mut text = String::new();
        let mut lines: Vec<_> = self.0.iter().collect();
        lines.sort_unstable();
        for (host, zone) in lines {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{zone} {host}");
        }
        let _ = writeln!(text, "{END} {}", self.0.len());
        text
    }

    fn decode(text: &str) -> Option<Self> {
        let (lines, last) = text.strip_suffix('\n')?.rsplit_once('\n').unwrap_or(("", text.trim_end()));
        let one = |line: &str| {
            let (zone, host) = line.split_once(' ')?;
            Some((host.to_owned(), zone.parse().ok()?))
        };
        let hosts: HashMap<String, u32> = lines.lines().map(one).collect::<Option<_>>()?;
        (last == format!("{END} {}", hosts.len())).then_some(Self(hosts))
    }
}

/// The file.
#[derive(Clone, Debug)]
pub(crate) struct HostsFile(PathBuf);

impl HostsFile {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(FILE))
    }

    /// What it says; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read, or is not whole.
    pub(super) fn read(&self) -> io::Result<Option<Hosts>> {
        let file = match std::fs::File::open(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = String::new();
        file.take(BYTES_MAX).read_to_string(&mut text)?;
        Hosts::decode(&text).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Writes it anew, beside the old one, which it replaces.
    pub(super) fn write(&self, hosts: &Hosts) -> io::Result<()> {
        let beside = self.0.with_extension(format!("new-{}", std::process::id()));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(hosts.encode().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(of: &[(&str, u32)]) -> Hosts {
        Hosts(of.iter().map(|(host, zone)| ((*host).to_owned(), *zone)).collect())
    }

    #[track_caller]
    fn check(before: &[(&str, u32)], after: &[(&str, u32)], expected: &[u32]) {
        assert_eq!(hosts(after).taken_over(&hosts(before)), expected, "{before:?} {after:?}");
    }

    #[test]
    fn who_takes_a_host_over() {
        check(&[("a.example", 1)], &[("a.example", 1), ("b.example", 2)], &[]);
        check(&[("a.example", 1), ("b.example", 2)], &[("a.example", 2), ("b.example", 1)], &[1, 2]);
        check(&[("*.example", 1)], &[("*.example", 1), ("a.example", 2)], &[2]);
        check(&[("*", 1)], &[("*", 1), ("x.a.example", 2)], &[2]);
        check(&[("*.a.example", 1), ("*", 3)], &[("x.a.example", 1)], &[]);
        check(&[("a.example", 1)], &[], &[]);
        check(&[], &[("a.example", 1)], &[]);
    }

    #[test]
    fn a_file_is_whole_or_none() {
        for of in [&[][..], &[("a.example", 7)], &[("a.example", 7), ("*.b.example", u32::MAX)]] {
            let text = hosts(of).encode();
            assert_eq!(Hosts::decode(&text), Some(hosts(of)));
            for cut in 0..text.len() {
                assert_eq!(Hosts::decode(&text[..cut]), None, "{:?}", &text[..cut]);
            }
        }
        assert_eq!(Hosts::decode("x a.example\nend 1\n"), None);
    }
}
