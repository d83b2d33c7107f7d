//! The table of functions: names, parameters, results and where each may be used. It is the only place where a function is
//! named; what they do is in `builtins`.

mod check;

use crate::value::Type;

pub(crate) use check::check_call;

macro_rules! functions {
    ($(#[doc = $doc:literal] $variant:ident = $name:literal, $place:ident, $least:literal..$most:expr, $signature:literal;)+) => {
        /// A function of the language.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Function {
            $(#[doc = $doc] $variant,)+
        }

        static TABLE: &[FunctionSpec] = &[$(FunctionSpec {
            id: Function::$variant,
            name: $name,
            place: Place::$place,
            arguments: ($least, $most),
            signature: $signature,
            summary: $doc.trim_ascii(),
        }),+];
    };
}

/// Where a function may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In every expression.
    Everywhere,
    /// Only where a value is made: in rewrites and in the targets of redirects.
    Values,
    /// Nowhere: it is documented, but needs what an edge does not have.
    Nowhere,
}

/// One row of the table of functions.
#[derive(Debug)]
pub struct FunctionSpec {
    /// The function.
    pub id: Function,
    /// Its name in an expression.
    pub name: &'static str,
    /// Where it may be used.
    pub place: Place,
    /// Least and most arguments.
    pub arguments: (usize, usize),
    /// Parameters and result, for people.
    pub signature: &'static str,
    /// One sentence of documentation.
    pub summary: &'static str,
}

const MANY: usize = crate::limits::ARGUMENTS_MAX;

functions! {
    /// Whether at least one of the comparisons is true.
    Any = "any", Everywhere, 1..1, "any(Array<Boolean>): Boolean";
    /// Whether all of the comparisons are true; so for an array without elements.
    All = "all", Everywhere, 1..1, "all(Array<Boolean>): Boolean";
    /// Bits of a packet's header. Packets are not what an edge's rules see.
    BitSlice = "bit_slice", Nowhere, 3..3, "bit_slice(protocol String, start Integer, end Integer): Integer";
    /// The network of an address, with a prefix length for each family.
    Cidr = "cidr", Everywhere, 3..3, "cidr(field IP address, v4_bits Integer, v6_bits Integer): IP address";
    /// The network of an IPv6 address; an IPv4 address as it is.
    Cidr6 = "cidr6", Everywhere, 2..2, "cidr6(field IP address, v6_bits Integer): IP address";
    /// All arguments one after the other; what is nil is left out.
    Concat = "concat", Everywhere, 1..MANY, "concat(String | Array, ...): String | Array";
    /// Decodes Base64 of either alphabet, with or without padding; nil when it is none.
    DecodeBase64 = "decode_base64", Everywhere, 1..1, "decode_base64(field String): String";
    /// Encodes as Base64. Flags: `u` for the URL-safe alphabet, `p` for padding.
    EncodeBase64 = "encode_base64", Values, 1..2, "encode_base64(input String, flags String): String";
    /// Whether the text ends with another.
    EndsWith = "ends_with", Everywhere, 2..2, "ends_with(field String, end String): Boolean";
    /// Whether the map has the key.
    HasKey = "has_key", Everywhere, 2..2, "has_key(field Map<T>, key String): Boolean";
    /// Whether the value is in the array, or one of the values in the map.
    HasValue = "has_value", Everywhere, 2..2, "has_value(field Array<T> | Map<T>, value T): Boolean";
    /// Whether a token is there. Needs token configurations, which Archipel does not have.
    IsJwtPresent = "is_jwt_present", Nowhere, 1..1, "is_jwt_present(configuration String): Boolean";
    /// Whether a token is valid. Needs token configurations, which Archipel does not have.
    IsJwtValid = "is_jwt_valid", Nowhere, 1..1, "is_jwt_valid(configuration String): Boolean";
    /// Whether a message carries a valid HMAC-SHA256 that has not expired. Flag `s`: the MAC is URL-safe Base64.
    IsTimedHmacValidV0 = "is_timed_hmac_valid_v0", Everywhere, 4..6,
        "is_timed_hmac_valid_v0(key String literal, message_mac String, ttl Integer literal, now Integer, separator_length Integer literal, flags String literal): Boolean";
    /// All texts of an array, with a separator between them.
    Join = "join", Everywhere, 2..2, "join(Array<String>, separator String): String";
    /// Bytes of a text, or elements of an array.
    Len = "len", Everywhere, 1..1, "len(String | Array): Integer";
    /// The integer at a path of keys and positions in a JSON document; nil when there is none.
    LookupJsonInteger = "lookup_json_integer", Everywhere, 2..MANY,
        "lookup_json_integer(field String, key String | Integer, ...): Integer";
    /// The string at a path of keys and positions in a JSON document; nil when there is none.
    LookupJsonString = "lookup_json_string", Everywhere, 2..MANY,
        "lookup_json_string(field String, key String | Integer, ...): String";
    /// ASCII letters made small.
    Lower = "lower", Everywhere, 1..1, "lower(String): String";
    /// The first match of a regular expression replaced; `${1}` is its first group, `$$` a dollar. Once in an expression.
    RegexReplace = "regex_replace", Values, 3..3,
        "regex_replace(source String, regex String literal, replacement String literal): String";
    /// The text without any of the given bytes.
    RemoveBytes = "remove_bytes", Everywhere, 2..2, "remove_bytes(field String, bytes String): String";
    /// A query string without the named parameters.
    RemoveQueryArgs = "remove_query_args", Values, 2..MANY, "remove_query_args(query field, name String, ...): String";
    /// SHA-256: 32 bytes.
    Sha256 = "sha256", Everywhere, 1..1, "sha256(String): String";
    /// The parts between separators; the last of at most `limit` parts keeps the rest.
    Split = "split", Everywhere, 3..3, "split(String, separator String literal, limit Integer literal): Array<String>";
    /// Whether the text begins with another.
    StartsWith = "starts_with", Everywhere, 2..2, "starts_with(field String, start String): Boolean";
    /// The bytes from `start` up to but without `end`; negative numbers count from the end of the text.
    Substring = "substring", Everywhere, 2..3, "substring(field String, start Integer, end Integer): String";
    /// An integer, Boolean or address as text.
    ToString = "to_string", Values, 1..1, "to_string(Integer | Boolean | IP address): String";
    /// ASCII letters made capital.
    Upper = "upper", Everywhere, 1..1, "upper(String): String";
    /// `%41` and `+` decoded. Options: `r` again until nothing changes, `u` also `%u0041`.
    UrlDecode = "url_decode", Everywhere, 1..2, "url_decode(field String, options String literal): String";
    /// A random UUID from random bytes, such as `cf.random_seed`.
    Uuidv4 = "uuidv4", Values, 1..1, "uuidv4(source String): String";
    /// The text rewritten if a wildcard pattern matches all of it; `${1}` is the first star. Once. Flag `s`: case matters.
    WildcardReplace = "wildcard_replace", Values, 3..4,
        "wildcard_replace(field String, pattern String literal, replacement String literal, flags String literal): String";
}

impl Function {
    /// Every function, as the reference lists them.
    #[must_use]
    pub fn all() -> &'static [FunctionSpec] {
        TABLE
    }

    /// The function of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TABLE.iter().find(|spec| spec.name == name).map(|spec| spec.id)
    }

    /// Its row in the table.
    #[must_use]
    pub fn spec(self) -> &'static FunctionSpec {
        &TABLE[self as usize]
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.spec().name
    }

    /// Whether the documentation allows one use in an expression.
    pub(crate) fn only_once(self) -> bool {
        matches!(self, Self::RegexReplace | Self::WildcardReplace)
    }

    /// The type of the result, given the type of the first argument.
    pub(crate) fn returns(self, first: Type) -> Type {
        match self {
            Self::Cidr | Self::Cidr6 => Type::Ip,
            Self::Concat => first,
            Self::Len | Self::LookupJsonInteger | Self::BitSlice => Type::Int,
            Self::Split => Type::Array(crate::value::Scalar::Bytes),
            Self::Any
            | Self::All
            | Self::EndsWith
            | Self::HasKey
            | Self::HasValue
            | Self::IsJwtPresent
            | Self::IsJwtValid
            | Self::IsTimedHmacValidV0
            | Self::StartsWith => Type::Bool,
            Self::DecodeBase64
            | Self::EncodeBase64
            | Self::Join
            | Self::LookupJsonString
            | Self::Lower
            | Self::RegexReplace
            | Self::RemoveBytes
            | Self::RemoveQueryArgs
            | Self::Sha256
            | Self::Substring
            | Self::ToString
            | Self::Upper
            | Self::UrlDecode
            | Self::Uuidv4
            | Self::WildcardReplace => Type::Bytes,
        }
    }
}
