//! Named lists: `[[lists]]` in `node.toml` and `zones/<name>.toml`.
//!
//! Owns what an entry of each kind means, inline or a line of a file. Expressions refer to a list as `$name`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use archipel_rules::{AddressRange, AddressSet, HostSet, IntSet, List, ListItems};

use crate::cidr::{Cidr, CidrError};
use crate::compile::Part;
use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::host::HostPattern;
use crate::kind::text::{Line, ListName, ListTexts};
use crate::kind::{FilePath, Files, Optional, Word, Words, quote};
use crate::redirect_list::RedirectList;
use crate::settings::settings;

/// Most lists of a document.
pub const LISTS_MAX: usize = 256;

/// Largest file of a list in bytes.
pub const LIST_FILE_BYTES_MAX: usize = 64 << 20;

/// Most entries of a list, inline and from its file together.
pub const LIST_FILE_ENTRIES_MAX: usize = 1_000_000;

settings! {
    /// A named list. Expressions refer to it as `$name`, access rules and redirects by its name. A zone's list takes the place of the
    /// node's list of the same name.
    pub struct NamedList {
        settings {
            /// Name; required.
            name: Option<Box<str>> = Optional(ListName), None;
            /// What the entries are; required. "ip": addresses and CIDR prefixes; "host": names, `*.example.com` for every name below;
            /// "string": texts; "integer": whole numbers, such as autonomous systems, and ranges (`64500-64510`); "redirect": a source
            /// and a target each, see `[[redirects]]`.
            kind: Option<ListKind> = Optional(Words::new()), None;
            /// What the list is for.
            description: Option<Box<str>> = Optional(Line(256)), None;
            /// Entries.
            entries: Vec<Box<str>> = ListTexts, Vec::new();
            /// File with more entries, one a line; empty lines and what follows ` #` are left out. At most 64 MiB and 1,000,000 entries.
            file: Option<PathBuf> = Optional(FilePath), None;
        }
    }
}

/// What the entries of a list are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListKind {
    /// Addresses and CIDR prefixes.
    Ip,
    /// Host names.
    Host,
    /// Texts.
    Text,
    /// Whole numbers.
    Integer,
    /// Redirects by source.
    Redirect,
}

impl Word for ListKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("ip", Self::Ip),
        ("host", Self::Host),
        ("string", Self::Text),
        ("integer", Self::Integer),
        ("redirect", Self::Redirect),
    ];
}

/// A list, ready for use.
#[derive(Clone, Debug)]
pub enum ListValues {
    /// What values can be looked for in.
    Values(Arc<List>),
    /// Redirects by source.
    Redirects(RedirectList),
}

impl ListValues {
    /// What its entries are.
    pub fn kind(&self) -> ListKind {
        match self {
            Self::Redirects(_) => ListKind::Redirect,
            Self::Values(list) => match list.kind() {
                archipel_rules::ListKind::Addresses => ListKind::Ip,
                archipel_rules::ListKind::Hosts => ListKind::Host,
                archipel_rules::ListKind::Texts => ListKind::Text,
                archipel_rules::ListKind::Ints => ListKind::Integer,
            },
        }
    }
}

/// Lists by name.
pub type Lists = BTreeMap<Box<str>, Arc<ListValues>>;

/// What is wrong with an entry, and what to do.
type Wrong = (String, String);

/// Reads the lists of a document, over those that it inherits. What is wrong is reported at the entry or at the file's line.
pub(crate) fn read<T>(
    part: &Part<T>,
    lists: &[NamedList],
    inherited: &Lists,
    files: &dyn Files,
    out: &mut Diagnostics,
) -> Lists {
    let mut all = inherited.clone();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (at, list) in lists.iter().enumerate() {
        let path = format!("lists[{at}]");
        for key in ["name", "kind"] {
            missing(part, &path, key, out);
        }
        let (Some(name), Some(kind)) = (&list.name, list.kind) else { continue };
        if let Some(first) = seen.insert(name, at) {
            let related = part.source.related(part.span(&format!("lists[{first}].name")), "the first is here");
            let problem = Problem::error(Code::Duplicate, format!("there are two lists `{name}`")).related(related);
            part.report(out, &format!("{path}.name"), problem);
            continue;
        }
        let mut building = Building::new(kind);
        for (entry, text) in list.entries.iter().enumerate() {
            if let Err(wrong) = building.add(text) {
                let place = format!("{path}.entries[{entry}]");
                part.report(out, &place, problem(&format!("`{path}.entries`"), wrong));
            }
        }
        if let Some(file) = &list.file {
            read_file(part, &path, file, &mut building, files, out);
        }
        all.insert(name.clone(), Arc::new(building.finish()));
    }
    all
}

/// The list that the setting at `path` names.
pub(crate) fn find<'a>(lists: &'a Lists, path: &str, name: &str, kind: ListKind) -> Result<&'a ListValues, Problem> {
    match lists.get(name) {
        Some(list) if list.kind() == kind => Ok(list),
        Some(_) => {
            Err(Problem::error(Code::WrongType, format!("`{path}` names the list `{name}`, which has another kind")))
        }
        None => {
            let known = crate::suggest::nearest(name, lists.keys().map(|known| &**known));
            let problem = Problem::error(Code::UnknownWord, format!("`{path}` names `{name}`, which is no list"));
            Err(match known {
                Some(known) => problem.help(format!("did you mean `{known}`?")),
                None => problem.help("declare it in `[[lists]]`"),
            })
        }
    }
}

/// Reports a setting that a rule or list cannot be without.
pub(crate) fn missing<T>(part: &Part<T>, path: &str, key: &str, out: &mut Diagnostics) {
    if !part.given(&format!("{path}.{key}")) {
        part.report(out, path, Problem::error(Code::Missing, format!("`{path}.{key}` is missing")));
    }
}

fn problem(place: &str, (what, help): Wrong) -> Problem {
    Problem::error(Code::Malformed, format!("{place} {what}")).help(help)
}

/// Most entries of a file that are reported; what comes after is the same mistake again.
const LINES_REPORTED_MAX: usize = 10;

fn read_file<T>(
    part: &Part<T>,
    path: &str,
    file: &Path,
    building: &mut Building,
    files: &dyn Files,
    out: &mut Diagnostics,
) {
    let setting = format!("{path}.file");
    let shown = file.display();
    let text = match files.read(file, LIST_FILE_BYTES_MAX) {
        Ok(Some(content)) => match String::from_utf8(content) {
            Ok(text) => text,
            Err(_) => {
                let message = format!("`{setting}` names {shown}, which is not UTF-8 text");
                return part.report(out, &setting, Problem::error(Code::Unreadable, message));
            }
        },
        Ok(None) => {
            let message = format!("`{setting}` names {shown}, which has more than {LIST_FILE_BYTES_MAX} bytes");
            return part.report(out, &setting, Problem::error(Code::TooLarge, message));
        }
        Err(why) => {
            let message = format!("`{setting}` names {shown}, which cannot be read: {why}");
            return part.report(out, &setting, Problem::error(Code::FileMissing, message));
        }
    };
    let mut reported = 0;
    for (at, line) in text.lines().enumerate() {
        let entry = line.split_once(" #").map_or(line, |(entry, _)| entry).trim();
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        if building.count >= LIST_FILE_ENTRIES_MAX {
            let message = format!("`{setting}` names {shown}, which has more than {LIST_FILE_ENTRIES_MAX} entries");
            return part.report(out, &setting, Problem::error(Code::TooMany, message));
        }
        if let Err(wrong) = building.add(entry) {
            let place = format!("`{setting}` names {shown}, whose line {}", at + 1);
            part.report(out, &setting, problem(&place, wrong));
            reported += 1;
            if reported == LINES_REPORTED_MAX {
                return;
            }
        }
    }
}

/// A list that is being read.
struct Building {
    values: Values,
    count: usize,
}

enum Values {
    Ip(Vec<AddressRange>),
    Host(Vec<String>),
    Text(HashSet<Box<[u8]>>),
    Integer(Vec<(i64, i64)>),
    Redirect(RedirectList),
}

impl Building {
    fn new(kind: ListKind) -> Self {
        let values = match kind {
            ListKind::Ip => Values::Ip(Vec::new()),
            ListKind::Host => Values::Host(Vec::new()),
            ListKind::Text => Values::Text(HashSet::new()),
            ListKind::Integer => Values::Integer(Vec::new()),
            ListKind::Redirect => Values::Redirect(RedirectList::default()),
        };
        Self { values, count: 0 }
    }

    fn add(&mut self, text: &str) -> Result<(), Wrong> {
        self.count += 1;
        match &mut self.values {
            Values::Ip(list) => list.push(addresses(text)?),
            Values::Host(list) => list.push(host(text)?),
            Values::Text(list) => {
                if text.len() > LIST_TEXT_BYTES_MAX {
                    let what = format!("holds a text of {} bytes", text.len());
                    return Err((what, format!("at most {LIST_TEXT_BYTES_MAX} are allowed")));
                }
                list.insert(text.as_bytes().into());
            }
            Values::Integer(list) => list.push(integers(text)?),
            Values::Redirect(list) => list.add(text)?,
        }
        Ok(())
    }

    fn finish(self) -> ListValues {
        let items = match self.values {
            Values::Ip(list) => ListItems::Addresses(AddressSet::new(list)),
            Values::Host(list) => ListItems::Hosts(HostSet::new(list)),
            Values::Text(list) => ListItems::Texts(list),
            Values::Integer(list) => ListItems::Ints(IntSet::new(list)),
            Values::Redirect(list) => return ListValues::Redirects(list),
        };
        ListValues::Values(Arc::new(List::new(items)))
    }
}

fn addresses(text: &str) -> Result<AddressRange, Wrong> {
    let cidr: Cidr = text.parse().map_err(|error| cidr_wrong(text, error))?;
    AddressRange::network(cidr.address(), cidr.prefix())
        .map_err(|error| (format!("holds {}", quote(text)), error.to_string()))
}

fn host(text: &str) -> Result<String, Wrong> {
    match HostPattern::parse(text) {
        Ok(HostPattern::Any) => {
            Err(("holds \"*\", which is every host".to_owned(), "name hosts, or leave the list out".to_owned()))
        }
        Ok(pattern) => Ok(pattern.to_string()),
        Err(error) => Err((format!("holds {}, which {}", quote(text), error.message), error.help)),
    }
}

/// The lists that expressions can name, as the rules language wants them.
pub(crate) fn named(lists: &Lists) -> archipel_rules::Lists {
    let mut named = archipel_rules::Lists::new();
    for (name, list) in lists {
        if let ListValues::Values(list) = &**list {
            named.insert(name, list.clone());
        }
    }
    named
}

/// Longest text of a list in bytes.
const LIST_TEXT_BYTES_MAX: usize = 1_024;

fn integers(text: &str) -> Result<(i64, i64), Wrong> {
    let wrong = || {
        let what = format!("holds {}, which is no whole number", quote(text));
        (what, "write a number such as 64500, or a range such as 64500-64510".to_owned())
    };
    if let Ok(number) = text.parse::<i64>() {
        return Ok((number, number));
    }
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    match (first.trim().parse::<i64>(), last.trim().parse::<i64>()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first, last)),
        _ => Err(wrong()),
    }
}

pub(crate) fn cidr_wrong(text: &str, error: CidrError) -> Wrong {
    let what = format!("holds {}, which is no address range", quote(text));
    let help = match error {
        CidrError::Address => "write an IP address or a prefix such as \"10.0.0.0/8\" or \"2001:db8::/32\"".to_owned(),
        CidrError::Prefix => "the part after `/` is a number from 0 to 32 for IPv4, to 128 for IPv6".to_owned(),
        CidrError::HostBits(meant) => format!("bits beyond the prefix are set: did you mean \"{meant}\"?"),
    };
    (what, help)
}
