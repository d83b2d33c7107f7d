//! The rules language, as Cloudflare's users know it: expressions over the fields of a request and its response.
//!
//! Owns: the lexer, the parser, types, functions, the compiled form, and the index that tells which of many rules can match
//! at all. Must never: read a clock, a socket or a file, or know what a zone is. Fields come in through a trait, lists by name.
//!
//! - [`Expression::parse`] reads a text into a typed tree, or gives a [`Diagnostic`], which
//!   [`render`](Diagnostic::render)s itself with a caret and advice. [`Filter::compile`] makes it ready:
//!   [`Filter::matches`] decides about a request.
//! - [`ValueExpression`] and [`Formula`] are the same for expressions that make a value: rewrites, targets of redirects.
//! - [`Fields`] is what a request implements: [`Field`] in, [`Value`] out, borrowed, and only when it is asked for. Maps
//!   (headers) are a [`MapSource`]. [`Value::Nil`] means not known; the documented default stands for it.
//! - [`Lists`] holds what `$name` means; a [`List`]'s items can be replaced while filters use it.
//! - [`RuleIndex`] holds many filters and evaluates only those that can match: [`RuleIndex::matches`] gives their numbers in
//!   order. [`Filter::explain`] tells the value of every part of one.
//! - [`Field::all`] and [`Function::all`] are the tables behind it all.
//!
//! ```
//! use archipel_rules::{Expression, Field, FieldMap, Filter, Lists};
//!
//! let text = r#"http.request.uri.path wildcard "/wp-*" and not ip.src in {192.0.2.0/24}"#;
//! let filter = Filter::compile(&Expression::parse(text)?, &Lists::new())?;
//! let request = FieldMap::new().text(Field::HttpRequestUriPath, "/wp-login.php");
//! assert!(filter.matches(&request));
//!
//! let text = r#"http.hots eq "example.com""#;
//! let error = Expression::parse(text).unwrap_err();
//! assert!(error.render(text).contains("did you mean `http.host`?"));
//! # Ok::<(), archipel_rules::Diagnostic>(())
//! ```
//!
//! Where the documentation is silent: a comparison with a missing value is false, `ne` included; behind a `[*]`, an element
//! of which a part is missing counts as nil rather than not at all, so that `all(...)` cannot be passed by leaving
//! something out; an IPv4 address equals its IPv4-mapped IPv6 form.

mod ast;
mod builtins;
mod diagnostic;
mod explain;
mod expression;
mod field;
mod field_map;
mod functions;
#[cfg(test)]
mod hostile_tests;
mod index;
mod lexer;
pub mod limits;
mod list;
mod parser;
mod program;
mod regexes;
mod sets;
#[cfg(test)]
mod testing;
mod value;
mod wildcard;

pub use diagnostic::{Code, Diagnostic};
pub use explain::Explained;
pub use expression::{Expression, Filter, Formula, ValueExpression};
pub use field::{ALIASES, Field, FieldSpec, Fields, Phase};
pub use field_map::FieldMap;
pub use functions::{Function, FunctionSpec, Place};
pub use index::{Matches, RuleIndex};
pub use list::{HostSet, List, ListItems, ListKind, Lists, WrongKind};
pub use sets::{AddressError, AddressRange, AddressSet, IntSet};
pub use value::{Array, EmptyMap, MapSource, Scalar, Type, Value};
