//! The machinery of the settings table: the macro that turns one description of a setting into its field, its parsing,
//! its default, its place in the JSON Schema and its line in the reference.
//!
//! Owns no setting itself: they stand in `node` and `zone`, each described once.

use std::ops::Range;

use serde_json::{Map, json};

use crate::diagnostic::{Code, Diagnostics, Problem};
use crate::kind::{Files, Kind};
use crate::suggest;
use crate::tree::{Node, Source, Table, Value};

/// One line of the reference.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Dotted path in the document, such as `origin.url`.
    pub path: String,
    /// Kind in one or two words: bytes, duration, count, ...
    pub kind: &'static str,
    /// What is allowed.
    pub allowed: String,
    /// Default in TOML; nothing where there is none.
    pub default: Option<String>,
    /// True if the setting must be given.
    pub required: bool,
    /// What it does.
    pub help: String,
}

/// One table of the reference, with its settings in order.
#[derive(Clone, Debug)]
pub struct Group {
    /// Dotted path of the table; empty for the top of the document.
    pub path: String,
    /// True if the table may be given several times (`[[listen]]`).
    pub list: bool,
    /// What the table is about.
    pub help: String,
    /// Its settings.
    pub settings: Vec<Setting>,
}

/// A table of settings, made by [`settings!`].
pub(crate) trait Section: Sized {
    /// What the table is about.
    const HELP: &'static str;
    /// Reads the table; nothing if something required is missing or wrong.
    fn read(reader: Reader<'_, '_>) -> Option<Self>;
    /// Describes the table and those below it.
    fn describe(path: &str, list: bool, out: &mut Vec<Group>);
    /// JSON Schema of the table.
    fn schema() -> serde_json::Value;
    /// Writes the table and those below it as TOML, every setting with its value.
    fn write(&self, path: &str, header: Header, out: &mut String);
}

/// How a table starts in TOML.
#[derive(Clone, Copy)]
pub(crate) enum Header {
    /// The top of the document has no header.
    Top,
    /// `[path]`
    Table,
    /// `[[path]]`
    List,
}

/// The dotted path of something below a table.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// The text of `///` lines: each is a literal with a blank before it.
pub(crate) fn help(text: &str) -> String {
    text.trim().to_owned()
}

/// What reading one document needs.
pub(crate) struct Reading<'a> {
    pub source: &'a Source,
    pub files: &'a dyn Files,
    pub out: &'a mut Diagnostics,
    /// The groups of the document, to say where a misplaced setting belongs.
    pub groups: &'a [Group],
}

/// Reads one table, reports what is wrong in it, and notices keys that nobody asked for.
pub(crate) struct Reader<'a, 'b> {
    table: Option<&'b Table>,
    span: Option<Range<usize>>,
    path: String,
    reading: &'b mut Reading<'a>,
    seen: Vec<&'static str>,
}

impl<'a, 'b> Reader<'a, 'b> {
    pub fn new(node: Option<&'b Node>, path: String, reading: &'b mut Reading<'a>) -> Self {
        let span = node.and_then(|node| node.span.clone());
        let table = match node.map(|node| &node.value) {
            Some(Value::Table(table)) => Some(table),
            Some(other) => {
                let message = format!("`{path}` must be a table, not {}", other.type_name());
                let message = if path.is_empty() { message.replace("`` ", "the document ") } else { message };
                let problem = Problem::error(Code::WrongType, message);
                reading.out.report(reading.source, &path, span.clone(), problem);
                None
            }
            None => None,
        };
        Self { table, span, path, reading, seen: Vec::new() }
    }

    fn node(&mut self, key: &'static str) -> Option<&'b Node> {
        self.seen.push(key);
        self.table.and_then(|table| table.get(key))
    }

    fn report(&mut self, key: &str, span: Option<Range<usize>>, mut problem: Problem) {
        let path = join(&self.path, key);
        problem.message = format!("`{path}` {}", problem.message);
        self.reading.out.report(self.reading.source, &path, span, problem);
    }

    fn value<T>(&mut self, key: &'static str, node: &Node, kind: &impl Kind<T>) -> Option<T> {
        let problems = match kind.read(node) {
            Ok(value) => {
                let value = kind.settle(value, &self.reading.source.folder);
                match kind.inspect(&value, self.reading.files) {
                    Ok(()) => return Some(value),
                    Err(problem) => vec![problem],
                }
            }
            Err(problems) => problems,
        };
        for problem in problems {
            self.report(key, node.span.clone(), problem);
        }
        None
    }

    /// A setting with a default.
    pub fn optional<T>(&mut self, key: &'static str, kind: &impl Kind<T>, default: T) -> T {
        match self.node(key).and_then(|node| self.value(key, node, kind)) {
            Some(value) => value,
            None => kind.settle(default, &self.reading.source.folder),
        }
    }

    /// A setting without a default.
    pub fn required<T>(&mut self, key: &'static str, kind: &impl Kind<T>) -> Option<T> {
        match self.node(key) {
            Some(node) => self.value(key, node, kind),
            None => {
                let problem = Problem::error(Code::Missing, "is missing")
                    .help(format!("it has no default; expected: {}", kind.allowed()));
                self.report(key, self.span.clone(), problem);
                None
            }
        }
    }

    /// A table below this one.
    pub fn table<S: Section>(&mut self, key: &'static str) -> Option<S> {
        let node = self.node(key);
        S::read(Reader::new(node, join(&self.path, key), self.reading))
    }

    /// A list of tables below this one.
    pub fn list<S: Section>(&mut self, key: &'static str, entries_max: usize) -> Vec<S> {
        let Some(node) = self.node(key) else {
            return Vec::new();
        };
        let Value::List(list) = &node.value else {
            let path = join(&self.path, key);
            let problem =
                Problem::error(Code::WrongType, format!("must be a list of tables, not {}", node.value.type_name()))
                    .help(format!("write [[{path}]] above each"));
            self.report(key, node.span.clone(), problem);
            return Vec::new();
        };
        if list.len() > entries_max {
            let message = format!("has {} entries, at most {entries_max} are allowed", list.len());
            self.report(key, node.span.clone(), Problem::error(Code::TooMany, message));
        }
        let mut sections = Vec::new();
        for (index, node) in list.iter().enumerate().take(entries_max) {
            let path = format!("{}[{index}]", join(&self.path, key));
            sections.extend(S::read(Reader::new(Some(node), path, self.reading)));
        }
        sections
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        for entry in table.entries.iter().filter(|entry| !self.seen.contains(&entry.key.as_str())) {
            let place = if self.path.is_empty() { String::new() } else { format!(" in `{}`", self.path) };
            let mut problem = Problem::error(Code::UnknownKey, format!("there is no setting `{}`{place}", entry.key));
            if !self.reading.out.is_full() {
                problem = problem.help(self.suggestion(&entry.key));
            }
            let path = join(&self.path, &entry.key);
            let span = entry.key_span.clone();
            self.reading.out.report(self.reading.source, &path, span, problem);
        }
    }

    fn suggestion(&self, key: &str) -> String {
        if let Some(near) = suggest::nearest(key, self.seen.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        let all = self.reading.groups.iter().flat_map(|group| &group.settings);
        let elsewhere = all.filter(|setting| setting.path.rsplit('.').next() == Some(key)).map(|s| s.path.as_str());
        let paths: Vec<String> = elsewhere.map(|path| format!("`{path}`")).collect();
        if !paths.is_empty() {
            return format!("it belongs elsewhere: {}", paths.join(" or "));
        }
        let known: Vec<String> = self.seen.iter().map(|key| format!("`{key}`")).collect();
        format!("known here: {}", known.join(", "))
    }
}

/// Makes the description of one setting.
pub(crate) fn setting<T>(path: String, kind: &impl Kind<T>, default: Option<&T>, text: &str) -> Setting {
    Setting {
        path,
        kind: kind.name(),
        allowed: kind.allowed(),
        default: default.and_then(|value| kind.write(value)),
        required: default.is_none(),
        help: help(text),
    }
}

/// Makes the JSON Schema of one setting.
pub(crate) fn setting_schema<T>(kind: &impl Kind<T>, default: Option<&T>, text: &str) -> serde_json::Value {
    let mut schema = kind.schema();
    if let Some(object) = schema.as_object_mut() {
        object.insert("description".to_owned(), json!(help(text)));
        if let Some(default) = default.and_then(|value| kind.write(value)).and_then(|toml| json_of(&toml)) {
            object.insert("default".to_owned(), default);
        }
    }
    schema
}

/// A value written in TOML, as JSON.
fn json_of(toml: &str) -> Option<serde_json::Value> {
    let node = toml::de::DeValue::parse(toml).ok()?;
    json_of_value(node.get_ref())
}

fn json_of_value(value: &toml::de::DeValue<'_>) -> Option<serde_json::Value> {
    use toml::de::DeValue;
    match value {
        DeValue::String(text) => Some(json!(text)),
        DeValue::Boolean(flag) => Some(json!(flag)),
        DeValue::Integer(number) => number.as_str().parse::<u64>().ok().map(|number| json!(number)),
        DeValue::Float(number) => number.as_str().parse::<f64>().ok().map(|number| json!(number)),
        DeValue::Array(list) => {
            list.iter().map(|item| json_of_value(item.get_ref())).collect::<Option<Vec<_>>>().map(Into::into)
        }
        DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

/// Makes the JSON Schema of a table.
pub(crate) fn table_schema(
    text: &str,
    properties: Map<String, serde_json::Value>,
    required: &[&str],
) -> serde_json::Value {
    let mut schema = json!({
        "type": "object", "description": help(text), "properties": properties, "additionalProperties": false,
    });
    if let (Some(object), false) = (schema.as_object_mut(), required.is_empty()) {
        object.insert("required".to_owned(), json!(required));
    }
    schema
}

/// Writes the header of a table.
pub(crate) fn write_header(path: &str, header: Header, out: &mut String) {
    match header {
        Header::Top => {}
        Header::Table => out.push_str(&format!("\n[{path}]\n")),
        Header::List => out.push_str(&format!("\n[[{path}]]\n")),
    }
}

/// Writes one setting; one that is absent stands as a comment, so that every setting is seen.
pub(crate) fn write_setting<T>(key: &str, kind: &impl Kind<T>, value: &T, out: &mut String) {
    match kind.write(value) {
        Some(value) => out.push_str(&format!("{key} = {value}\n")),
        None => out.push_str(&format!("# {key} is not set\n")),
    }
}

/// Everything about a document type, derived from its table.
pub(crate) fn groups<S: Section>() -> Vec<Group> {
    let mut groups = Vec::new();
    S::describe("", false, &mut groups);
    groups
}

/// Reads a whole document.
pub(crate) fn read_document<S: Section>(
    node: &Node,
    source: &Source,
    files: &dyn Files,
    out: &mut Diagnostics,
) -> Option<S> {
    let groups = groups::<S>();
    let mut reading = Reading { source, files, out, groups: &groups };
    S::read(Reader::new(Some(node), String::new(), &mut reading))
}

/// Declares a table of settings. Each setting is written once: help, field, type, kind with its bounds, default.
///
/// `required` have no default; `tables` and `lists` name the tables below. A table with something required in it is
/// itself listed under `required_tables`.
macro_rules! settings {
    (
        $(#[doc = $help:literal])+
        pub struct $name:ident {
            $(required { $($(#[doc = $rhelp:literal])+ $rfield:ident: $rtype:ty = $rkind:expr;)+ })?
            $(settings { $($(#[doc = $ohelp:literal])+ $ofield:ident: $otype:ty = $okind:expr, $odefault:expr;)+ })?
            $(required_tables { $($(#[doc = $qhelp:literal])+ $qfield:ident: $qtype:ty;)+ })?
            $(tables { $($(#[doc = $thelp:literal])+ $tfield:ident: $ttype:ty;)+ })?
            $(lists { $($(#[doc = $lhelp:literal])+ $lfield:ident: $ltype:ty = $lkey:literal, $lmax:expr;)+ })?
        }
    ) => {
        $(#[doc = $help])+
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct $name {
            $($($(#[doc = $rhelp])+ pub $rfield: $rtype,)+)?
            $($($(#[doc = $ohelp])+ pub $ofield: $otype,)+)?
            $($($(#[doc = $qhelp])+ pub $qfield: $qtype,)+)?
            $($($(#[doc = $thelp])+ pub $tfield: $ttype,)+)?
            $($($(#[doc = $lhelp])+ pub $lfield: Vec<$ltype>,)+)?
        }

        impl $name {
            /// The table with what has no default, and the defaults for all else.
            #[allow(clippy::new_without_default, dead_code, reason = "one shape for tables with and without required settings")]
            pub fn new($($($rfield: $rtype,)+)? $($($qfield: $qtype,)+)?) -> Self {
                Self {
                    $($($rfield,)+)?
                    $($($ofield: $odefault,)+)?
                    $($($qfield,)+)?
                    $($($tfield: <$ttype>::default(),)+)?
                    $($($lfield: Vec::new(),)+)?
                }
            }
        }

        impl $crate::settings::Section for $name {
            const HELP: &'static str = concat!($($help),+);

            #[allow(unused_mut, reason = "a table may hold no setting of its own")]
            fn read(mut reader: $crate::settings::Reader<'_, '_>) -> Option<Self> {
                $($(let $rfield: Option<$rtype> = reader.required(stringify!($rfield), &$rkind);)+)?
                $($(let $ofield: $otype = reader.optional(stringify!($ofield), &$okind, $odefault);)+)?
                $($(let $qfield: Option<$qtype> = reader.table(stringify!($qfield));)+)?
                $($(let $tfield: $ttype = reader.table(stringify!($tfield)).unwrap_or_default();)+)?
                $($(let $lfield: Vec<$ltype> = reader.list($lkey, $lmax);)+)?
                reader.finish();
                Some(Self {
                    $($($rfield: $rfield?,)+)?
                    $($($ofield,)+)?
                    $($($qfield: $qfield?,)+)?
                    $($($tfield,)+)?
                    $($($lfield,)+)?
                })
            }

            #[allow(unused_mut, clippy::vec_init_then_push, reason = "one shape for tables with and without settings")]
            fn describe(path: &str, list: bool, out: &mut Vec<$crate::settings::Group>) {
                let mut settings = Vec::new();
                $($(settings.push($crate::settings::setting::<$rtype>(
                    $crate::settings::join(path, stringify!($rfield)), &$rkind, None, concat!($($rhelp),+)));)+)?
                $($({
                    let default: $otype = $odefault;
                    settings.push($crate::settings::setting::<$otype>(
                        $crate::settings::join(path, stringify!($ofield)), &$okind, Some(&default), concat!($($ohelp),+)));
                })+)?
                out.push($crate::settings::Group {
                    path: path.to_owned(), list, help: $crate::settings::help(Self::HELP), settings,
                });
                $($(<$qtype as $crate::settings::Section>::describe(
                    &$crate::settings::join(path, stringify!($qfield)), false, out);)+)?
                $($(<$ttype as $crate::settings::Section>::describe(
                    &$crate::settings::join(path, stringify!($tfield)), false, out);)+)?
                $($(<$ltype as $crate::settings::Section>::describe(
                    &$crate::settings::join(path, $lkey), true, out);)+)?
            }

            #[allow(unused_mut, reason = "a table may hold no setting of its own")]
            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                $($(properties.insert(stringify!($rfield).to_owned(),
                    $crate::settings::setting_schema::<$rtype>(&$rkind, None, concat!($($rhelp),+)));)+)?
                $($({
                    let default: $otype = $odefault;
                    properties.insert(stringify!($ofield).to_owned(),
                        $crate::settings::setting_schema::<$otype>(&$okind, Some(&default), concat!($($ohelp),+)));
                })+)?
                $($(properties.insert(stringify!($qfield).to_owned(), <$qtype as $crate::settings::Section>::schema());)+)?
                $($(properties.insert(stringify!($tfield).to_owned(), <$ttype as $crate::settings::Section>::schema());)+)?
                $($(properties.insert($lkey.to_owned(), serde_json::json!({
                    "type": "array", "maxItems": $lmax, "items": <$ltype as $crate::settings::Section>::schema(),
                }));)+)?
                $crate::settings::table_schema(
                    Self::HELP, properties, &[$($(stringify!($rfield),)+)? $($(stringify!($qfield),)+)?])
            }

            fn write(&self, path: &str, header: $crate::settings::Header, out: &mut String) {
                $crate::settings::write_header(path, header, out);
                $($($crate::settings::write_setting::<$rtype>(stringify!($rfield), &$rkind, &self.$rfield, out);)+)?
                $($($crate::settings::write_setting::<$otype>(stringify!($ofield), &$okind, &self.$ofield, out);)+)?
                $($($crate::settings::Section::write(&self.$qfield,
                    &$crate::settings::join(path, stringify!($qfield)), $crate::settings::Header::Table, out);)+)?
                $($($crate::settings::Section::write(&self.$tfield,
                    &$crate::settings::join(path, stringify!($tfield)), $crate::settings::Header::Table, out);)+)?
                $($(for entry in &self.$lfield {
                    $crate::settings::Section::write(entry,
                        &$crate::settings::join(path, $lkey), $crate::settings::Header::List, out);
                })+)?
            }
        }
    };
}

pub(crate) use settings;
