//! `No-Vary-Search`: which parameters of the query do not matter to a response (draft-ietf-httpbis-no-vary-search).
//!
//! Owns the field's meaning and the comparison of two queries under it. Must never find two queries equal that the response does
//! not say are: whatever is not understood means that the whole query matters.

use http::header::HeaderName;
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};
use smallvec::SmallVec;

use crate::fields::Fields;
use crate::query::{self, Parameter, QUERY_PARAMETERS_MAX};

/// `No-Vary-Search`
pub const NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// A longer field means nothing.
pub const FIELD_BYTES_MAX: usize = 4096;

/// A field that names more parameters means nothing.
pub const NAMES_MAX: usize = 128;

/// What a response says about the query of its target; never that all of it matters, which is what no field says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NoVarySearch {
    names: Names,
    /// Whether the order of parameters matters.
    in_order: bool,
}

/// Decoded names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Names {
    /// All parameters matter but these.
    AllBut(Box<[Box<[u8]>]>),
    /// Only these matter.
    Only(Box<[Box<[u8]>]>),
}

impl NoVarySearch {
    /// Reads the field; `None` where it is absent, says nothing or cannot be understood.
    pub fn from_headers(headers: &impl Fields) -> Option<NoVarySearch> {
        let name = NO_VARY_SEARCH;
        let mut lines = headers.values_of(&name);
        let first = lines.next()?;
        let Some(second) = lines.next() else {
            return NoVarySearch::parse(first);
        };
        let mut joined = first.to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.extend_from_slice(b", ");
            joined.extend_from_slice(line);
            if joined.len() > FIELD_BYTES_MAX {
                return None;
            }
        }
        NoVarySearch::parse(&joined)
    }

    /// Reads a dictionary (RFC 9651); see [`NoVarySearch::from_headers`].
    pub fn parse(value: &[u8]) -> Option<NoVarySearch> {
        if value.len() > FIELD_BYTES_MAX {
            return None;
        }
        let dictionary: Dictionary = Parser::new(value).parse().ok()?;
        let in_order = match dictionary.get("key-order") {
            None => true,
            Some(entry) => !boolean(entry)?,
        };
        let (mut names, all) = match dictionary.get("params") {
            None => (Names::AllBut([].into()), false),
            Some(ListEntry::InnerList(list)) => (Names::AllBut(strings(list)?), false),
            Some(entry) if boolean(entry)? => (Names::Only([].into()), true),
            Some(_) => (Names::AllBut([].into()), false),
        };
        match dictionary.get("except") {
            None => {}
            Some(ListEntry::InnerList(list)) if all => names = Names::Only(strings(list)?),
            Some(_) => return None,
        }
        let says_nothing = in_order && names == Names::AllBut([].into());
        (!says_nothing).then_some(NoVarySearch { names, in_order })
    }

    /// Whether two queries (without `?`) ask for the same.
    ///
    /// Names and values are compared decoded, byte by byte. With more parameters than [`QUERY_PARAMETERS_MAX`] they never do.
    pub fn is_equivalent(&self, one: Option<&str>, other: Option<&str>) -> bool {
        if one == other {
            return true;
        }
        match (self.that_matter(one), self.that_matter(other)) {
            (Some(one), Some(other)) => {
                let pair = |(a, b): (&Parameter<'_>, &Parameter<'_>)| a.name == b.name && a.value() == b.value();
                one.len() == other.len() && one.iter().zip(&other).all(pair)
            }
            _ => false,
        }
    }

    fn that_matter<'a>(&self, query: Option<&'a str>) -> Option<SmallVec<[Parameter<'a>; 8]>> {
        let mut found: SmallVec<[Parameter<'a>; 8]> = SmallVec::new();
        for (count, parameter) in query::parameters(query.unwrap_or_default()).enumerate() {
            if count >= QUERY_PARAMETERS_MAX {
                return None;
            }
            let matters = match &self.names {
                Names::AllBut(names) => !names.iter().any(|name| **name == *parameter.name),
                Names::Only(names) => names.iter().any(|name| **name == *parameter.name),
            };
            if matters {
                found.push(parameter);
            }
        }
        if !self.in_order {
            found.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Some(found)
    }

    /// Bytes on the heap, for accounting.
    pub fn heap_bytes(&self) -> usize {
        let (Names::AllBut(names) | Names::Only(names)) = &self.names;
        names.iter().map(|name| name.len() + size_of::<Box<[u8]>>()).sum()
    }
}

fn boolean(entry: &ListEntry) -> Option<bool> {
    match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::Boolean(value) => Some(value),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    }
}

fn strings(list: &InnerList) -> Option<Box<[Box<[u8]>]>> {
    if list.items.len() > NAMES_MAX {
        return None;
    }
    let name = |item: &sfv::Item| match &item.bare_item {
        BareItem::String(text) => Some(Box::from(&*query::decode(text.as_str().as_bytes()))),
        _ => None,
    };
    list.items.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[track_caller]
    fn check(field: &str, one: &str, other: &str, expected: bool) {
        let query = |text: &'static str| (text != "-").then_some(text);
        let (one, other) = (query(String::leak(one.to_owned())), query(String::leak(other.to_owned())));
        let rule = NoVarySearch::parse(field.as_bytes()).expect(field);
        assert_eq!(rule.is_equivalent(one, other), expected, "{field}: {one:?} {other:?}");
        assert_eq!(rule.is_equivalent(other, one), expected, "{field}: {other:?} {one:?}");
    }

    #[test]
    fn what_says_nothing() {
        for field in [
            "",
            "unknown-key",
            "key-order=\"x\"",
            "params=\"x\"",
            "params=(x)",
            "params=(\"a\"), except=(\"x\")",
            "params=(), except=()",
            "params=?0, except=(\"x\")",
            "params, except=(x)",
            "params, except=\"x\"",
            "params, except=?1",
            "except=(\"x\")",
            "except=()",
            "params=?0",
            "params=()",
            "key-order=?0",
            "params=(\"a\"",
            "key-order, params=1",
        ] {
            assert_eq!(NoVarySearch::parse(field.as_bytes()), None, "{field}");
        }
        let many = format!("params=({})", "\"a\" ".repeat(NAMES_MAX + 1).trim_end());
        assert_eq!(NoVarySearch::parse(many.as_bytes()), None);
        let mut headers = HeaderMap::new();
        assert_eq!(NoVarySearch::from_headers(&headers), None);
        headers.append(NO_VARY_SEARCH, "key-order".parse().unwrap());
        headers.append(NO_VARY_SEARCH, "params=(\"a\")".parse().unwrap());
        let both = NoVarySearch::from_headers(&headers).unwrap();
        assert!(both.is_equivalent(Some("c=1&b=2&a=3"), Some("b=2&c=1")));
    }

    #[test]
    fn comparison() {
        check("params", "a=1", "-", true);
        check("params", "a=1&b", "c", true);
        check("params=?1", "a=1&b", "c", true);
        check("params=(\"utm_source\" \"b\")", "a=1&utm_source=x", "b=2&a=1", true);
        check("params=(\"b\")", "a=1", "a=2", false);
        check("params=(\"b\")", "a=1&a=2", "a=2&a=1", false);
        check("params=(\"b\")", "a=1&c=2", "c=2&a=1", false);
        check("params=(\"b\"), key-order", "a=1&c=2", "c=2&b&a=1", true);
        check("key-order", "a=1&a=2", "a=2&a=1", false);
        check("key-order", "a=1&b=1&a=2", "b=1&a=1&a=2", true);
        check("params, except=(\"id\")", "id=1&x=2", "y=3&id=1", true);
        check("params, except=(\"id\")", "id=1", "id=2", false);
        check("params, except=(\"id\")", "id=1", "-", false);
        check("params, other=3", "id=1", "-", true);
    }

    #[test]
    fn queries_are_compared_decoded() {
        check("key-order", "-", "", true);
        check("key-order", "a=x", "%61=%78", true);
        check("key-order", "a=x&&&&", "a=x", true);
        check("key-order", "a=", "a", true);
        check("key-order", "a=%20", "a=+", true);
        check("key-order", "a=%f6", "a=%F6", true);
        check("params=(\"%C3%A9+%E6%B0%97\")", "%C3%A9+%E6%B0%97=4&b", "b", true);
        check("params=(\"a\")", "%61=4&b", "b", true);
        let many = format!("x&{}", "a&".repeat(QUERY_PARAMETERS_MAX));
        check("params", &many, "a", false);
        check("params", &many, &many, true);
    }
}
