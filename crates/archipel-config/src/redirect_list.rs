//! Lists of redirects: which target a URL has.
//!
//! Owns the notation of an entry and its look-up, which costs as many comparisons as the list's deepest entry has segments and
//! labels, whatever the request looks like. Never decides whether a redirect is wanted.

use std::collections::HashMap;

use archipel_http::target::{self, Scheme};
use foldhash::fast::FixedState;

use crate::host;
use crate::phases::REDIRECT_STATUSES;

/// Redirects by their source. Made once, looked up for each request.
#[derive(Clone, Debug, Default)]
pub struct RedirectList {
    // A fixed seed is safe: only the operator puts sources in, visitors can only look up.
    entries: HashMap<Box<str>, Redirect, FixedState>,
    /// Segments of the longest path among entries with `subpath_matching`; `None` where there is none.
    segments_max: Option<usize>,
    /// Whether an entry has `include_subdomains`.
    subdomains: bool,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Redirect {
    scheme: Option<Scheme>,
    target: Box<str>,
    status: Option<u16>,
    preserve_query_string: bool,
    include_subdomains: bool,
    subpath_matching: bool,
    preserve_path_suffix: bool,
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectFound {
    /// Where to, without the request's query.
    pub location: String,
    /// The entry's own status.
    pub status: Option<u16>,
    /// Whether the query of the request is to be added.
    pub preserve_query_string: bool,
}

/// Labels of a host that are looked at for `include_subdomains`: a name has at most 127 (RFC 1035 section 2.3.4), hosts of zones far fewer.
const LABELS_MAX: usize = 16;

impl RedirectList {
    /// Adds an entry: `SOURCE TARGET [STATUS] [OPTION ...]`.
    ///
    /// # Errors
    /// What is wrong, and what to do; or that the source is there already.
    pub(crate) fn add(&mut self, text: &str) -> Result<(), (String, String)> {
        let mut words = text.split_ascii_whitespace();
        let (Some(source), Some(target)) = (words.next(), words.next()) else {
            return Err(("lacks a target".to_owned(), "write SOURCE TARGET [STATUS] [OPTION ...]".to_owned()));
        };
        let target = check_target(target)?;
        let mut entry = Redirect {
            scheme: None,
            target: target.into(),
            status: None,
            preserve_query_string: false,
            include_subdomains: false,
            subpath_matching: false,
            preserve_path_suffix: false,
        };
        for word in words {
            match word {
                "preserve_query_string" => entry.preserve_query_string = true,
                "include_subdomains" => entry.include_subdomains = true,
                "subpath_matching" => entry.subpath_matching = true,
                "preserve_path_suffix" => entry.preserve_path_suffix = true,
                status => match status.parse::<u16>().ok().filter(|status| REDIRECT_STATUSES.contains(status)) {
                    Some(status) => entry.status = Some(status),
                    None => {
                        let help = "after the target come a status (301, 302, 303, 307, 308) and `preserve_query_string`, \
                                    `include_subdomains`, `subpath_matching`, `preserve_path_suffix`";
                        return Err((format!("has `{word}`, which means nothing here"), help.to_owned()));
                    }
                },
            }
        }
        if entry.preserve_path_suffix && !entry.subpath_matching {
            return Err(("has `preserve_path_suffix` without `subpath_matching`".to_owned(), "add it".to_owned()));
        }
        let key = self.source(source, &mut entry)?;
        if entry.subpath_matching {
            let segments = key.bytes().filter(|byte| *byte == b'/').count();
            self.segments_max = Some(self.segments_max.unwrap_or(0).max(segments));
        }
        self.subdomains |= entry.include_subdomains;
        match self.entries.insert(key.into(), entry) {
            None => Ok(()),
            Some(_) => Err((format!("has the source {source} twice"), "keep one of them".to_owned())),
        }
    }

    /// The key of a source, `[scheme:]host/path`, which says the scheme only if the source does.
    fn source(&self, source: &str, entry: &mut Redirect) -> Result<String, (String, String)> {
        let (scheme, rest) = match source.split_once("://") {
            Some(("http", rest)) => (Some(Scheme::Http), rest),
            Some(("https", rest)) => (Some(Scheme::Https), rest),
            Some((other, _)) => return Err((format!("has the scheme {other}"), "use http or https".to_owned())),
            None => (None, source),
        };
        let (host, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let host = host::normalise(host)
            .map_err(|error| (format!("has the source {source}, whose host {}", error.message), error.help))?;
        if path.contains(['?', '#']) {
            let help = "leave the query out: a source is compared with the path".to_owned();
            return Err((format!("has the source {source}, which has a query"), help));
        }
        let path = target::canonical_path(path.as_bytes())
            .map_err(|error| (format!("has the source {source}, whose path is refused"), error.to_string()))?;
        let path = if entry.subpath_matching { path.trim_end_matches('/') } else { &path };
        entry.scheme = scheme;
        Ok(key(scheme, &host, path))
    }

    /// The target of a URL. Host and path are canonical.
    pub fn find(&self, scheme: Scheme, host: &str, path: &str) -> Option<RedirectFound> {
        let mut rest = Some(host);
        for depth in 0..LABELS_MAX {
            let host = rest?;
            if let Some(found) = self.find_below(scheme, host, path, depth > 0) {
                return Some(found);
            }
            if !self.subdomains {
                return None;
            }
            rest = host.split_once('.').map(|(_, parent)| parent);
        }
        None
    }

    fn find_below(&self, scheme: Scheme, host: &str, path: &str, parent: bool) -> Option<RedirectFound> {
        let get = |path: &str, subpath: bool| {
            let fits =
                |entry: &&Redirect| (!parent || entry.include_subdomains) && (!subpath || entry.subpath_matching);
            self.entries
                .get(&*key(Some(scheme), host, path))
                .filter(fits)
                .or_else(|| self.entries.get(&*key(None, host, path)).filter(fits))
        };
        if let Some(entry) = get(path, false) {
            return Some(entry.found(""));
        }
        // The longest first. What is deeper than the deepest entry cannot match.
        let mut ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).take(self.segments_max? + 1).collect();
        if ends.len() <= self.segments_max? {
            ends.push(path.len());
        }
        let hit = ends.into_iter().rev().find_map(|end| get(&path[..end], true).map(|entry| (entry, &path[end..])));
        hit.map(|(entry, suffix)| entry.found(suffix))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Redirect {
    fn found(&self, suffix: &str) -> RedirectFound {
        let mut location = self.target.to_string();
        if self.preserve_path_suffix && !suffix.is_empty() {
            // A suffix begins with a slash, so that it can never become part of the target's host.
            location.truncate(location.trim_end_matches('/').len());
            location.push_str(suffix);
        }
        RedirectFound { location, status: self.status, preserve_query_string: self.preserve_query_string }
    }
}

fn key(scheme: Option<Scheme>, host: &str, path: &str) -> String {
    match scheme {
        Some(scheme) => format!("{}:{host}{path}", scheme.as_str()),
        None => format!("{host}{path}"),
    }
}

/// A target: an absolute URL or a path.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) fn check_target(text: &str) -> Result<&str, (String, String)> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    let absolute = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let host = absolute.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    let good = match host {
        Some(host) => target::parse_host(host.as_bytes()).is_ok(),
        // `//host` and `/\host` lead to another host.
        None => text.starts_with('/') && !text.starts_with("//") && !text.starts_with("/\\"),
    };
    if plain && good {
        return Ok(text);
    }
    Err((
        format!("has the target {text:?}, which is no URL"),
        "write an absolute URL or a path that begins with one `/`, percent-encoded where needed".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> RedirectList {
        let mut list = RedirectList::default();
        for entry in entries {
            list.add(entry).unwrap_or_else(|(what, help)| panic!("{entry} {what}: {help}"));
        }
        list
    }

    #[track_caller]
    fn check(list: &RedirectList, url: &str, expected: Option<&str>) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        let (host, path) = rest.split_at(rest.find('/').expect("a path"));
        assert_eq!(list.find(scheme, host, path).map(|found| found.location).as_deref(), expected, "{url}");
    }

    #[test]
    fn look_up() {
        let list = list(&[
            "a.example/old /new 301",
            "https://a.example/secure https://b.example/",
            "a.example/docs https://docs.example/v2/ subpath_matching preserve_path_suffix",
            "a.example/docs/api https://api.example subpath_matching",
            "wide.example https://w.example include_subdomains subpath_matching preserve_path_suffix",
        ]);
        check(&list, "http://a.example/old", Some("/new"));
        check(&list, "https://a.example/old", Some("/new"));
        check(&list, "http://a.example/old/", None);
        check(&list, "http://b.a.example/old", None);
        check(&list, "http://a.example/secure", None);
        check(&list, "https://a.example/secure", Some("https://b.example/"));
        check(&list, "http://a.example/docs", Some("https://docs.example/v2/"));
        check(&list, "http://a.example/docs/x/y", Some("https://docs.example/v2/x/y"));
        check(&list, "http://a.example/docsx", None);
        check(&list, "http://a.example/docs/api/z/1", Some("https://api.example"));
        check(&list, "http://x.y.wide.example/p", Some("https://w.example/p"));
        check(&list, "http://wide.example/", Some("https://w.example/"));
        check(&list, "http://evilwide.example/", None);
    }

    /// What a visitor sends decides neither the host of the target nor how long a look-up takes.
    #[test]
    fn hostile_urls() {
        let list = list(&["a.example/d https://t.example subpath_matching preserve_path_suffix include_subdomains"]);
        check(&list, "http://a.example/d//evil.example/", Some("https://t.example//evil.example/"));
        check(&list, "http://a.example/d/@evil.example", Some("https://t.example/@evil.example"));
        check(&list, &format!("http://{}a.example/d", "x.".repeat(100)), None);
        check(&list, &format!("http://a.example{}", "/x".repeat(4_000)), None);
    }

    #[track_caller]
    fn refused(entry: &str, part: &str) {
        let (what, _) = RedirectList::default().add(entry).expect_err(entry);
        assert!(what.contains(part), "{entry}: {what}");
    }

    #[test]
    fn notation() {
        refused("a.example/x", "lacks a target");
        refused("a.example/x //evil.example", "no URL");
        refused("a.example/x /\\evil.example", "no URL");
        refused("a.example/x javascript:alert(1)", "no URL");
        refused("a.example/x https://", "no URL");
        refused("a.example/x /y 200", "`200`");
        refused("a.example/x /y preserve_path_suffix", "without `subpath_matching`");
        refused("a.example/x?y /z", "query");
        refused("ftp://a.example/x /y", "scheme");
        refused("a..b /y", "host");
        let mut list = list(&["a.example/x /y"]);
        assert!(list.add("a.example/x /z").is_err());
    }
}
