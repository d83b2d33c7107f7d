//! The limits of the language, in one place. What exceeds one of them at parse time is a diagnostic; what exceeds one at run
//! time makes the value nil and is told to [`Fields::limit_reached`](crate::Fields::limit_reached), where it is counted.

/// Longest text of one expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 64 << 10;

/// How deeply parentheses, `not` and function calls may be nested.
pub const NESTING_MAX: usize = 64;

/// Most operands, operators and calls of one expression, taken together.
pub const NODES_MAX: usize = 4096;

/// Most elements of one `{...}` set.
pub const SET_ITEMS_MAX: usize = 10_000;

/// Most arguments of one function call.
pub const ARGUMENTS_MAX: usize = 64;

/// Most index steps (`["key"]`, `[0]`, `[*]`) behind one field or call.
pub const INDEXES_MAX: usize = 8;

/// Most regular expressions in one expression.
pub const REGEXES_MAX: usize = 64;

/// Largest compiled form of one regular expression, in bytes.
pub const REGEX_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Largest cache of the lazily built automaton of one regular expression, in bytes; a thread keeps one for each.
pub const REGEX_CACHE_BYTES_MAX: usize = 1 << 20;

/// How deeply the groups of a regular expression may be nested.
pub const REGEX_NESTING_MAX: u32 = 64;

/// Most stars in one wildcard pattern.
pub const WILDCARD_STARS_MAX: usize = 32;

/// Most `${n}` references in a replacement text (as documented).
pub const REPLACEMENT_REFERENCES_MAX: usize = 8;

/// Most parts that `split()` makes (as documented).
pub const SPLIT_PARTS_MAX: i64 = 128;

/// Longest text that a function makes, in bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// Longest JSON document that the lookup functions read, in bytes.
pub const JSON_BYTES_MAX: usize = 1 << 20;

/// How often `url_decode(..., "r")` decodes at most.
pub const URL_DECODE_ROUNDS_MAX: usize = 10;
