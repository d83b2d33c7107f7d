//! The parameters of a query, and which of them stand in a cache key.
//!
//! Owns splitting, decoding and selecting parameters. Must never let a parameter out of the key that an origin might read as
//! one that is in it: where a name could be read in two ways, the parameter stays.

use std::borrow::Cow;
use std::sync::Arc;

use smallvec::SmallVec;

/// With more parameters than this a query is not normalised: the request passes the cache by.
pub const QUERY_PARAMETERS_MAX: usize = 256;

/// What of the query stands in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryKey {
    /// Which parameters.
    pub keep: QueryKeep,
    /// Whether their order does not matter: sorted by name, those of one name in the order received.
    pub sort: bool,
}

/// Which parameters stand in the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QueryKeep {
    /// The query as received.
    #[default]
    All,
    /// None: the query does not matter.
    None,
    /// Those of these names, in any case, and those whose name is not plain.
    Only(Arc<[NamePattern]>),
    /// All but those of these names.
    Except(Arc<[NamePattern]>),
}

/// A name, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamePattern {
    text: Box<str>,
    prefix: bool,
}

impl NamePattern {
    /// Reads `name` or `beginning*`; `None` where `*` stands elsewhere or nothing is left.
    pub fn parse(text: &str) -> Option<NamePattern> {
        let (text, prefix) = match text.strip_suffix('*') {
            Some(beginning) => (beginning, true),
            None => (text, false),
        };
        (!text.contains('*') && (prefix || !text.is_empty())).then(|| NamePattern { text: text.into(), prefix })
    }

    /// Whether a name is meant.
    pub fn matches(&self, name: &[u8]) -> bool {
        if self.prefix { name.starts_with(self.text.as_bytes()) } else { name == self.text.as_bytes() }
    }

    fn matches_in_any_case(&self, name: &[u8]) -> bool {
        let text = self.text.as_bytes();
        let name = if self.prefix { name.get(..text.len()).unwrap_or_default() } else { name };
        name.eq_ignore_ascii_case(text)
    }
}

impl std::fmt::Display for NamePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)?;
        f.write_str(if self.prefix { "*" } else { "" })
    }
}

/// A query with more than [`QUERY_PARAMETERS_MAX`] parameters.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct TooManyParameters;

/// The path and query for the key; `None` where they are as received.
///
/// # Errors
/// [`TooManyParameters`]
pub fn key_target(path_and_query: &str, key: &QueryKey) -> Result<Option<Box<str>>, TooManyParameters> {
    if matches!(key.keep, QueryKeep::All) && !key.sort {
        return Ok(None);
    }
    let Some((path, query)) = path_and_query.split_once('?') else {
        return Ok(None);
    };
    if key.keep == QueryKeep::None {
        return Ok(Some(path.into()));
    }
    let mut kept: SmallVec<[Parameter<'_>; 16]> = SmallVec::new();
    for (count, parameter) in parameters(query).enumerate() {
        if count >= QUERY_PARAMETERS_MAX {
            return Err(TooManyParameters);
        }
        if key.keep.keeps(&parameter) {
            kept.push(parameter);
        }
    }
    if key.sort {
        kept.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let mut target = String::with_capacity(path_and_query.len());
    target.push_str(path);
    for (at, parameter) in kept.iter().enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        target.push_str(parameter.raw);
    }
    Ok((target != path_and_query).then(|| target.into_boxed_str()))
}

impl QueryKeep {
    fn keeps(&self, parameter: &Parameter<'_>) -> bool {
        let name = &*parameter.name;
        // `;` separates parameters for some origins: what looks like one here may be several there.
        if parameter.raw.contains(';') {
            return true;
        }
        match self {
            QueryKeep::All => true,
            QueryKeep::None => false,
            // PHP makes `a_b` of `a.b` and ` a` of `a`, ASP.NET knows no case: a name is left out only where it is plain.
            QueryKeep::Only(names) => !is_plain(name) || names.iter().any(|known| known.matches_in_any_case(name)),
            QueryKeep::Except(names) => {
                !names.iter().any(|known| known.matches(name) && (!known.prefix || is_plain(name)))
            }
        }
    }
}

fn is_plain(name: &[u8]) -> bool {
    name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// One parameter of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// As received.
    pub raw: &'a str,
    /// The name, decoded.
    pub name: Cow<'a, [u8]>,
}

impl<'a> Parameter<'a> {
    /// The value, decoded; empty where there is none.
    pub fn value(&self) -> Cow<'a, [u8]> {
        self.raw.split_once('=').map_or(Cow::Borrowed(&[][..]), |(_, value)| decode(value.as_bytes()))
    }
}

/// The parameters of a query, as `application/x-www-form-urlencoded` has them; empty ones are left out.
pub fn parameters(query: &str) -> impl Iterator<Item = Parameter<'_>> {
    query.split('&').filter(|raw| !raw.is_empty()).map(|raw| {
        let name = raw.split_once('=').map_or(raw, |(name, _)| name);
        Parameter { raw, name: decode(name.as_bytes()) }
    })
}

/// `+` becomes a space, `%41` an `A`; what is not well-formed stays.
pub fn decode(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match first {
            b'+' => out.push(b' '),
            b'%' => match behind {
                [high, low, behind @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push(hex(*high) << 4 | hex(*low));
                    rest = behind;
                }
                _ => out.push(b'%'),
            },
            other => out.push(*other),
        }
    }
    Cow::Owned(out)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10) & 15,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Arc<[NamePattern]> {
        texts.iter().map(|text| NamePattern::parse(text).unwrap()).collect()
    }

    #[track_caller]
    fn check(keep: QueryKeep, sort: bool, target: &str, expected: &str) {
        let found = key_target(target, &QueryKey { keep, sort }).unwrap();
        assert_eq!(found.as_deref().unwrap_or(target), expected, "{target}");
        assert_ne!(found.as_deref(), Some(target), "an unchanged target is borrowed");
    }

    #[test]
    fn parts_of_the_query() {
        let all = |target, expected| check(QueryKeep::All, true, target, expected);
        all("/a", "/a");
        all("/a?", "/a");
        all("/a?b=1&a=2", "/a?a=2&b=1");
        all("/a?b=2&b=1&a", "/a?a&b=2&b=1");
        all("/a?b&%61=1", "/a?%61=1&b");
        all("/a?&&b", "/a?b");
        check(QueryKeep::All, false, "/a?&&b", "/a?&&b");
        check(QueryKeep::None, false, "/a?b=1", "/a");
        check(QueryKeep::None, false, "/a?", "/a");
    }

    #[test]
    fn only_these() {
        let only =
            |target: &str, expected: &str| check(QueryKeep::Only(names(&["id", "p_*"])), false, target, expected);
        only("/a?id=1&x=2&p_q=3&p=4", "/a?id=1&p_q=3");
        only("/a?x=2", "/a");
        // Whatever some origin could read as `id` stays.
        for read_as_id in ["%69d=1", "i%64=1", "ID=1", "%20id=1", "+id=1", "x=1;id=2", "id[]=1", "i.d=1", "id%00=1"] {
            only(&format!("/a?{read_as_id}"), &format!("/a?{read_as_id}"));
        }
        only("/a?%78=1", "/a");
    }

    #[test]
    fn all_but_these() {
        let except =
            |target: &str, expected: &str| check(QueryKeep::Except(names(&["utm_*", "fb.x"])), false, target, expected);
        except("/a?id=1&utm_source=x&utm_=2&fb.x=1", "/a?id=1");
        except("/a?utm%5Fsource=x", "/a");
        for stays in ["utm_x;id=1", "utm_x[=1", "UTM_x=1", "utm%255Fsource=1", "utm.x=1", "fb_x=1"] {
            except(&format!("/a?{stays}"), &format!("/a?{stays}"));
        }
    }

    #[test]
    fn limits() {
        let key = QueryKey { keep: QueryKeep::All, sort: true };
        let most = format!("/a?{}", vec!["a"; QUERY_PARAMETERS_MAX].join("&"));
        assert_eq!(key_target(&most, &key), Ok(None));
        assert_eq!(key_target(&format!("{most}&a"), &key), Err(TooManyParameters));
    }

    #[test]
    fn decoding() {
        for (text, expected) in [
            ("a", "a"),
            ("%41%7a+", "Az "),
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%25", "%"),
            ("a%2Bb", "a+b"),
            ("%fF", "\u{ff}"),
        ] {
            let latin: String = decode(text.as_bytes()).iter().copied().map(char::from).collect();
            assert_eq!(latin, expected, "{text}");
        }
    }
}
