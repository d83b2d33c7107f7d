//! The variables of the language: their names, and where a transaction keeps what they stand for.

/// Lists of named values that a transaction keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Store {
    Arguments,
    RequestHeaders,
    RequestCookies,
    Files,
    FileSizes,
    FileContents,
    PartHeaders,
    ResponseHeaders,
    XmlText,
    XmlAttributes,
    Geo,
}

/// How many [`Store`]s there are.
pub(crate) const STORES: usize = Store::Geo as usize + 1;

/// The persistent collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Record {
    Ip,
    Global,
    Resource,
    Session,
    User,
}

/// How many [`Record`]s there are.
pub(crate) const RECORDS: usize = Record::User as usize + 1;

/// Which part of `ARGS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Any,
    Query,
    Body,
}

/// Fields of the rule that is evaluated (`RULE:id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RuleField {
    Id,
    Rev,
    Severity,
    LogData,
    Msg,
}

/// Parts of the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimePart {
    Clock,
    Day,
    Epoch,
    Hour,
    Minute,
    Month,
    Second,
    Weekday,
    Year,
}

/// What a variable's name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Variable {
    /// The values, or the names, of a list.
    List {
        store: Store,
        names: bool,
        origin: Origin,
    },
    /// One value, by its place in [`SCALARS`].
    Scalar(u8),
    Tx,
    Record(Record),
    MatchedVar,
    MatchedVarName,
    MatchedVars,
    MatchedVarsNames,
    HighestSeverity,
    Rule(Option<RuleField>),
    Duration,
    Time(TimePart),
}

macro_rules! scalars {
    ($($constant:ident = $name:literal,)*) => {
        /// Names of the variables that have one value.
        pub(crate) const SCALARS: &[&str] = &[$($name),*];

        /// Places in [`SCALARS`].
        pub(crate) mod scalar {
            #[allow(non_camel_case_types, clippy::upper_case_acronyms, dead_code)]
            #[repr(u8)]
            enum Place { $($constant),* }
            $(#[allow(dead_code)] pub(crate) const $constant: u8 = Place::$constant as u8;)*
        }
    };
}

scalars! {
    ARGS_COMBINED_SIZE = "ARGS_COMBINED_SIZE",
    AUTH_TYPE = "AUTH_TYPE",
    FILES_COMBINED_SIZE = "FILES_COMBINED_SIZE",
    FULL_REQUEST = "FULL_REQUEST",
    FULL_REQUEST_LENGTH = "FULL_REQUEST_LENGTH",
    INBOUND_DATA_ERROR = "INBOUND_DATA_ERROR",
    MODSEC_BUILD = "MODSEC_BUILD",
    MSC_PCRE_ERROR = "MSC_PCRE_ERROR",
    MSC_PCRE_LIMITS_EXCEEDED = "MSC_PCRE_LIMITS_EXCEEDED",
    MULTIPART_BOUNDARY_QUOTED = "MULTIPART_BOUNDARY_QUOTED",
    MULTIPART_BOUNDARY_WHITESPACE = "MULTIPART_BOUNDARY_WHITESPACE",
    MULTIPART_CRLF_LF_LINES = "MULTIPART_CRLF_LF_LINES",
    MULTIPART_DATA_AFTER = "MULTIPART_DATA_AFTER",
    MULTIPART_DATA_BEFORE = "MULTIPART_DATA_BEFORE",
    MULTIPART_FILE_LIMIT_EXCEEDED = "MULTIPART_FILE_LIMIT_EXCEEDED",
    MULTIPART_FILENAME = "MULTIPART_FILENAME",
    MULTIPART_HEADER_FOLDING = "MULTIPART_HEADER_FOLDING",
    MULTIPART_INVALID_HEADER_FOLDING = "MULTIPART_INVALID_HEADER_FOLDING",
    MULTIPART_INVALID_PART = "MULTIPART_INVALID_PART",
    MULTIPART_INVALID_QUOTING = "MULTIPART_INVALID_QUOTING",
    MULTIPART_LF_LINE = "MULTIPART_LF_LINE",
    MULTIPART_MISSING_SEMICOLON = "MULTIPART_MISSING_SEMICOLON",
    MULTIPART_NAME = "MULTIPART_NAME",
    MULTIPART_STRICT_ERROR = "MULTIPART_STRICT_ERROR",
    MULTIPART_UNMATCHED_BOUNDARY = "MULTIPART_UNMATCHED_BOUNDARY",
    OUTBOUND_DATA_ERROR = "OUTBOUND_DATA_ERROR",
    PATH_INFO = "PATH_INFO",
    QUERY_STRING = "QUERY_STRING",
    REMOTE_ADDR = "REMOTE_ADDR",
    REMOTE_HOST = "REMOTE_HOST",
    REMOTE_PORT = "REMOTE_PORT",
    REMOTE_USER = "REMOTE_USER",
    REQBODY_ERROR = "REQBODY_ERROR",
    REQBODY_ERROR_MSG = "REQBODY_ERROR_MSG",
    REQBODY_PROCESSOR = "REQBODY_PROCESSOR",
    REQBODY_PROCESSOR_ERROR = "REQBODY_PROCESSOR_ERROR",
    REQBODY_PROCESSOR_ERROR_MSG = "REQBODY_PROCESSOR_ERROR_MSG",
    REQUEST_BASENAME = "REQUEST_BASENAME",
    REQUEST_BODY = "REQUEST_BODY",
    REQUEST_BODY_LENGTH = "REQUEST_BODY_LENGTH",
    REQUEST_FILENAME = "REQUEST_FILENAME",
    REQUEST_LINE = "REQUEST_LINE",
    REQUEST_METHOD = "REQUEST_METHOD",
    REQUEST_PROTOCOL = "REQUEST_PROTOCOL",
    REQUEST_URI = "REQUEST_URI",
    REQUEST_URI_RAW = "REQUEST_URI_RAW",
    RESPONSE_BODY = "RESPONSE_BODY",
    RESPONSE_CONTENT_LENGTH = "RESPONSE_CONTENT_LENGTH",
    RESPONSE_CONTENT_TYPE = "RESPONSE_CONTENT_TYPE",
    RESPONSE_PROTOCOL = "RESPONSE_PROTOCOL",
    RESPONSE_STATUS = "RESPONSE_STATUS",
    SERVER_ADDR = "SERVER_ADDR",
    SERVER_NAME = "SERVER_NAME",
    SERVER_PORT = "SERVER_PORT",
    SESSIONID = "SESSIONID",
    STATUS = "STATUS",
    UNIQUE_ID = "UNIQUE_ID",
    URLENCODED_ERROR = "URLENCODED_ERROR",
    USERID = "USERID",
    WEBAPPID = "WEBAPPID",
}

/// Names that mean another one.
const ALIASES: &[(&str, &str)] = &[("RESPONSE_BODY_LENGTH", "RESPONSE_CONTENT_LENGTH"), ("STATUS_LINE", "STATUS")];

/// Variables of ModSecurity that stand for something which is not had here.
const REFUSED: &[(&str, &str)] = &[
    ("ENV", "the environment of the program is nobody's business"),
    ("FILES_TMPNAMES", "files are not written to disk"),
    ("PERF_ALL", "performance is measured elsewhere"),
    ("SCRIPT_FILENAME", "there are no scripts"),
    ("STREAM_INPUT_BODY", "bodies are not changed here"),
    ("STREAM_OUTPUT_BODY", "bodies are not changed here"),
    ("WEBSERVER_ERROR_LOG", "there is no such log"),
];

const fn list(store: Store, names: bool) -> Variable {
    Variable::List { store, names, origin: Origin::Any }
}

const fn arguments(names: bool, origin: Origin) -> Variable {
    Variable::List { store: Store::Arguments, names, origin }
}

/// The variables that are no scalars.
const OTHERS: &[(&str, Variable)] = &[
    ("ARGS", list(Store::Arguments, false)),
    ("ARGS_GET", arguments(false, Origin::Query)),
    ("ARGS_GET_NAMES", arguments(true, Origin::Query)),
    ("ARGS_NAMES", list(Store::Arguments, true)),
    ("ARGS_POST", arguments(false, Origin::Body)),
    ("ARGS_POST_NAMES", arguments(true, Origin::Body)),
    ("DURATION", Variable::Duration),
    ("FILES", list(Store::Files, false)),
    ("FILES_NAMES", list(Store::Files, true)),
    ("FILES_SIZES", list(Store::FileSizes, false)),
    ("FILES_TMP_CONTENT", list(Store::FileContents, false)),
    ("GEO", list(Store::Geo, false)),
    ("GLOBAL", Variable::Record(Record::Global)),
    ("HIGHEST_SEVERITY", Variable::HighestSeverity),
    ("IP", Variable::Record(Record::Ip)),
    ("MATCHED_VAR", Variable::MatchedVar),
    ("MATCHED_VAR_NAME", Variable::MatchedVarName),
    ("MATCHED_VARS", Variable::MatchedVars),
    ("MATCHED_VARS_NAMES", Variable::MatchedVarsNames),
    ("MULTIPART_PART_HEADERS", list(Store::PartHeaders, false)),
    ("REQUEST_COOKIES", list(Store::RequestCookies, false)),
    ("REQUEST_COOKIES_NAMES", list(Store::RequestCookies, true)),
    ("REQUEST_HEADERS", list(Store::RequestHeaders, false)),
    ("REQUEST_HEADERS_NAMES", list(Store::RequestHeaders, true)),
    ("RESOURCE", Variable::Record(Record::Resource)),
    ("RESPONSE_HEADERS", list(Store::ResponseHeaders, false)),
    ("RESPONSE_HEADERS_NAMES", list(Store::ResponseHeaders, true)),
    ("RULE", Variable::Rule(None)),
    ("SESSION", Variable::Record(Record::Session)),
    ("TIME", Variable::Time(TimePart::Clock)),
    ("TIME_DAY", Variable::Time(TimePart::Day)),
    ("TIME_EPOCH", Variable::Time(TimePart::Epoch)),
    ("TIME_HOUR", Variable::Time(TimePart::Hour)),
    ("TIME_MIN", Variable::Time(TimePart::Minute)),
    ("TIME_MON", Variable::Time(TimePart::Month)),
    ("TIME_SEC", Variable::Time(TimePart::Second)),
    ("TIME_WDAY", Variable::Time(TimePart::Weekday)),
    ("TIME_YEAR", Variable::Time(TimePart::Year)),
    ("TX", Variable::Tx),
    ("USER", Variable::Record(Record::User)),
];

impl Variable {
    /// The variable with this name in upper case. `XML` is told apart by its selector and is not among them.
    pub(crate) fn from_name(name: &str) -> Result<Self, String> {
        let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name);
        if let Some(place) = SCALARS.iter().position(|scalar| *scalar == name) {
            return Ok(Self::Scalar(place as u8));
        }
        if let Some((_, variable)) = OTHERS.iter().find(|(other, _)| *other == name) {
            return Ok(*variable);
        }
        match REFUSED.iter().find(|(refused, _)| *refused == name) {
            Some((_, why)) => Err(format!("the variable `{name}` is not supported: {why}")),
            None => Err(format!("unknown variable `{name}`")),
        }
    }

    /// The field of a rule with this name in lower case.
    pub(crate) fn rule_field(name: &[u8]) -> Option<Self> {
        let field = match name {
            b"id" => RuleField::Id,
            b"rev" => RuleField::Rev,
            b"severity" => RuleField::Severity,
            b"logdata" => RuleField::LogData,
            b"msg" => RuleField::Msg,
            _ => return None,
        };
        Some(Self::Rule(Some(field)))
    }

    /// The name that logs and `MATCHED_VAR_NAME` give it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Scalar(place) => SCALARS[usize::from(place)],
            Self::List { store: Store::XmlText | Store::XmlAttributes, .. } => "XML",
            Self::Rule(_) => "RULE",
            // By far the most frequent.
            Self::Tx => "TX",
            other => OTHERS.iter().find(|(_, variable)| *variable == other).map_or("", |(name, _)| name),
        }
    }

    /// Whether its elements have names of their own.
    pub(crate) fn is_collection(self) -> bool {
        !matches!(
            self,
            Self::Scalar(_)
                | Self::MatchedVar
                | Self::MatchedVarName
                | Self::HighestSeverity
                | Self::Duration
                | Self::Time(_)
        )
    }

    /// Whether it belongs to the response.
    pub(crate) fn is_of_response(self) -> bool {
        match self {
            Self::List { store, .. } => store == Store::ResponseHeaders,
            Self::Scalar(place) => (scalar::RESPONSE_BODY..=scalar::RESPONSE_STATUS).contains(&place),
            _ => false,
        }
    }

    /// Whether rules change it: what was found out about its values does not hold for the rest of a phase.
    pub(crate) fn is_volatile(self) -> bool {
        !matches!(self, Self::List { .. } | Self::Scalar(_))
    }
}
