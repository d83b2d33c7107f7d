//! Names with values, as they stand in a query, a form or in cookies.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::OnceLock;

use archipel_http::query;
use archipel_rules::{MapSource, Value};
use http::HeaderValue;
use http::header::GetAll;

/// Pairs in their order. A name may come several times.
#[derive(Debug, Default)]
pub(super) struct Pairs<'a> {
    pairs: Vec<(Cow<'a, [u8]>, &'a [u8])>,
    /// Each name once, where it first stands, with its values.
    grouped: OnceLock<Vec<Group<'a>>>,
}

/// The pair with which a name first stands, and all values of the name.
type Group<'a> = (usize, Vec<&'a [u8]>);

impl<'a> Pairs<'a> {
    /// The arguments of a query, not decoded.
    pub(super) fn query(query: &'a str) -> Self {
        Self::form(query.as_bytes())
    }

    /// The fields of `application/x-www-form-urlencoded` content, not decoded.
    pub(super) fn form(content: &'a [u8]) -> Self {
        let pairs = content.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
        Self::of(pairs.map(split).map(|(name, value)| (name.into(), value)).collect())
    }

    /// Cookies over all lines; their names are decoded.
    pub(super) fn cookies(lines: GetAll<'a, HeaderValue>) -> Self {
        let pairs = lines.into_iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let pairs = pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()).map(split);
        Self::of(pairs.map(|(name, value)| (query::decode(name.trim_ascii()), value.trim_ascii())).collect())
    }

    pub(super) fn of(pairs: Vec<(Cow<'a, [u8]>, &'a [u8])>) -> Self {
        Self { pairs, grouped: OnceLock::new() }
    }

    fn grouped(&self) -> &[Group<'a>] {
        self.grouped.get_or_init(|| {
            let mut places: HashMap<&[u8], usize> = HashMap::with_capacity(self.pairs.len());
            let mut groups: Vec<Group<'a>> = Vec::new();
            for (at, (name, value)) in self.pairs.iter().enumerate() {
                let place = *places.entry(name).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some((_, values)) => values.push(value),
                    None => groups.push((at, vec![value])),
                }
            }
            groups
        })
    }

    pub(super) fn names(&self) -> Value<'_> {
        Value::texts(self.pairs.iter().map(|(name, _)| &**name))
    }

    pub(super) fn values(&self) -> Value<'_> {
        Value::texts(self.pairs.iter().map(|(_, value)| *value))
    }
}

fn split(pair: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', pair) {
        Some(at) => (&pair[..at], pair.get(at + 1..).unwrap_or_default()),
        None => (pair, &[]),
    }
}

impl MapSource for Pairs<'_> {
    fn get<'a>(&'a self, key: &[u8]) -> Value<'a> {
        let mut values = self.pairs.iter().filter(|(name, _)| **name == *key).map(|(_, value)| *value).peekable();
        if values.peek().is_none() { Value::Nil } else { Value::texts(values) }
    }

    fn entries<'a>(&'a self, each: &mut dyn FnMut(&'a [u8], Value<'a>) -> ControlFlow<()>) -> ControlFlow<()> {
        self.grouped()
            .iter()
            .try_for_each(|(at, values)| each(&self.pairs[*at].0, Value::texts(values.iter().copied())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pairs: &Pairs<'_>, names: &str, values: &str, of_a: &str) {
        assert_eq!(pairs.names().to_string(), names);
        assert_eq!(pairs.values().to_string(), values);
        assert_eq!(pairs.get(b"a").to_string(), of_a);
        // Walking all entries and asking for one key tell the same.
        let mut walked = "nil".to_owned();
        let _ = pairs.entries(&mut |name, value| {
            if name == b"a" {
                walked = value.to_string();
            }
            ControlFlow::Continue(())
        });
        assert_eq!(walked, of_a);
    }

    #[test]
    fn queries() {
        check(&Pairs::query(""), "[]", "[]", "nil");
        check(&Pairs::query("a=1&b=2&a=3"), r#"["a", "b", "a"]"#, r#"["1", "2", "3"]"#, r#"["1", "3"]"#);
        check(&Pairs::query("&&a&=x&%61=1"), r#"["a", "", "%61"]"#, r#"["", "x", "1"]"#, r#"[""]"#);
        check(&Pairs::query("a=b=c"), r#"["a"]"#, r#"["b=c"]"#, r#"["b=c"]"#);
    }

    #[test]
    fn cookies() {
        let mut headers = http::HeaderMap::new();
        headers.append("cookie", HeaderValue::from_static("a=1; b = 2 ;; %61=3"));
        headers.append("cookie", HeaderValue::from_static("c"));
        let pairs = Pairs::cookies(headers.get_all("cookie"));
        check(&pairs, r#"["a", "b", "a", "c"]"#, r#"["1", "2", "3", ""]"#, r#"["1", "3"]"#);
    }
}
