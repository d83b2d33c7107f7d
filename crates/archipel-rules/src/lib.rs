//! The rules language, as Cloudflare's users know it: expressions over the fields of a request and its response.
//!
//! Owns: the lexer, the parser, types, functions, the compiled form, and the index that tells which of many rules can match
//! at all. Must never: read a clock, a socket or a file, or know what a zone is. Fields come in through a trait, lists by name.
