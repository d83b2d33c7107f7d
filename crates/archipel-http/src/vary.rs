//! `Vary` and the selection among stored variants (RFC 9111 section 4.1, RFC 9110 section 12.5.5).
//!
//! Owns the parsing of `Vary`, the normal form of selecting fields, and their comparison. Must never normalise so far that two
//! requests with different meaning match.

use std::ops::Deref;

use http::header::{self, HeaderMap, HeaderName};
use smallvec::SmallVec;

use crate::language;
use crate::list;
use crate::policy::VaryRules;
use crate::siphash::KeyHasher;

/// How many fields `Vary` may name; with more it counts as `*`.
pub const VARY_FIELDS_MAX: usize = 32;

/// A normalised selecting value longer than this is not normalised further but compared as it is, in bytes.
pub const SELECTING_VALUE_BYTES_MAX: usize = 8192;

/// The selecting fields of a response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VarySpec {
    /// The response answers every request for its URI.
    #[default]
    None,
    /// `*`, or more fields than [`VARY_FIELDS_MAX`], or a member that is no field name: it answers no other request.
    Any,
    /// It answers requests whose values for these fields match. Sorted, without duplicates.
    Fields(Box<[HeaderName]>),
}

/// The normalised values of the selecting fields of the request that a stored response answered; `None` where it was absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VaryValues {
    values: Box<[Option<Box<[u8]>>]>,
    /// The one language of the response, in lower case; for the selection by preference.
    content_language: Option<Box<[u8]>>,
}

impl VarySpec {
    /// [`VarySpec::from_headers`] without the fields that do not count.
    pub fn under(rules: &VaryRules, headers: &HeaderMap) -> VarySpec {
        match VarySpec::from_headers(headers) {
            VarySpec::Fields(fields) if !rules.ignore.is_empty() => {
                let counting: Box<[_]> = fields.into_iter().filter(|name| !rules.ignore.contains(name)).collect();
                if counting.is_empty() { VarySpec::None } else { VarySpec::Fields(counting) }
            }
            spec => spec,
        }
    }

    /// Reads all `Vary` lines of a response.
    pub fn from_headers(headers: &HeaderMap) -> VarySpec {
        let mut fields: SmallVec<[HeaderName; 4]> = SmallVec::new();
        for member in list::field_members(headers, header::VARY) {
            match HeaderName::from_bytes(member) {
                // `*` is a token, so it would pass as a field name.
                Ok(_) if member == b"*" => return VarySpec::Any,
                Ok(name) if fields.contains(&name) => {}
                Ok(name) if fields.len() < VARY_FIELDS_MAX => fields.push(name),
                _ => return VarySpec::Any,
            }
        }
        if fields.is_empty() {
            return VarySpec::None;
        }
        fields.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        VarySpec::Fields(fields.into_vec().into_boxed_slice())
    }

    /// The selecting fields, sorted; empty for [`VarySpec::None`] and [`VarySpec::Any`].
    pub fn fields(&self) -> &[HeaderName] {
        match self {
            VarySpec::Fields(fields) => fields,
            VarySpec::None | VarySpec::Any => &[],
        }
    }

    /// Takes a field out: what requests say in it had no part in the response. Tells whether it was there.
    pub fn remove(&mut self, name: &HeaderName) -> bool {
        let VarySpec::Fields(fields) = self else { return false };
        let left: Vec<HeaderName> = fields.iter().filter(|field| *field != name).cloned().collect();
        let was_there = left.len() < fields.len();
        *self = if left.is_empty() { VarySpec::None } else { VarySpec::Fields(left.into_boxed_slice()) };
        was_there
    }

    /// The values to keep beside a stored response: the request's selecting fields, and the response's language.
    pub fn select(&self, request: &HeaderMap, response: &HeaderMap, rules: &VaryRules) -> VaryValues {
        let values = self.fields().iter().map(|name| selecting(request, name, rules).map(|value| Box::from(&*value)));
        VaryValues {
            values: values.collect(),
            content_language: self
                .fields()
                .contains(&header::ACCEPT_LANGUAGE)
                .then(|| single_language(response))
                .flatten(),
        }
    }

    /// Whether a stored response with these values answers the request.
    pub fn matches(&self, stored: &VaryValues, request: &HeaderMap, rules: &VaryRules) -> bool {
        let fields = match self {
            VarySpec::None => return true,
            VarySpec::Any => return false,
            VarySpec::Fields(fields) => fields,
        };
        fields.len() == stored.values.len()
            && fields.iter().zip(&stored.values).all(|(name, value)| {
                selecting(request, name, rules).as_deref() == value.as_deref()
                    || (rules.select_language && name == header::ACCEPT_LANGUAGE && stored.is_preferred_by(request))
            })
    }

    /// The hash of a request's values for these fields: equal for requests that match each other exactly. A selection by
    /// language is not covered: look at the variants with [`VarySpec::matches`] when the hash finds none.
    pub fn variant_hash(&self, request: &HeaderMap, rules: &VaryRules, seed: (u64, u64)) -> u128 {
        let mut hasher = KeyHasher::new(seed);
        for name in self.fields() {
            hasher.write_field(name.as_str().as_bytes());
            match selecting(request, name, rules) {
                Some(value) => hasher.write_field(&value),
                None => hasher.write(&[0xff; 8]),
            }
        }
        hasher.finish()
    }
}

impl VaryValues {
    /// The hash of these values, equal to [`VarySpec::variant_hash`] of the request that they were taken from.
    pub fn variant_hash(&self, spec: &VarySpec, seed: (u64, u64)) -> u128 {
        let mut hasher = KeyHasher::new(seed);
        for (name, value) in spec.fields().iter().zip(&self.values) {
            hasher.write_field(name.as_str().as_bytes());
            match value {
                Some(value) => hasher.write_field(value),
                None => hasher.write(&[0xff; 8]),
            }
        }
        hasher.finish()
    }

    /// The values in the order of [`VarySpec::fields`], for storing.
    pub fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.values.iter().map(|value| value.as_deref())
    }

    /// The response's one language, for storing.
    pub fn content_language(&self) -> Option<&[u8]> {
        self.content_language.as_deref()
    }

    /// Values read back from storage.
    pub fn from_parts(values: Vec<Option<Box<[u8]>>>, content_language: Option<Box<[u8]>>) -> VaryValues {
        VaryValues { values: values.into_boxed_slice(), content_language }
    }

    /// The bytes on the heap, for accounting.
    pub fn heap_bytes(&self) -> usize {
        let values: usize = self.values.iter().flatten().map(|value| value.len()).sum();
        values + size_of_val(&*self.values) + self.content_language.as_ref().map_or(0, |language| language.len())
    }

    /// Whether the stored response's language is what the request prefers to every other.
    fn is_preferred_by(&self, request: &HeaderMap) -> bool {
        let Some(language) = &self.content_language else {
            return false;
        };
        let mut best: Option<Weighted<'_>> = None;
        let mut tie = false;
        for member in list::field_members(request, header::ACCEPT_LANGUAGE) {
            let Some(candidate) = weighted(member) else {
                return false;
            };
            match &best {
                Some(other) if other.weight > candidate.weight => {}
                Some(other) if other.weight == candidate.weight => tie = true,
                _ => {
                    best = Some(candidate);
                    tie = false;
                }
            }
        }
        match best {
            Some(best) => !tie && best.weight > 0 && best.name.eq_ignore_ascii_case(language),
            None => false,
        }
    }
}

fn single_language(response: &HeaderMap) -> Option<Box<[u8]>> {
    let mut languages = list::field_members(response, header::CONTENT_LANGUAGE);
    let first = languages.next()?;
    let one = languages.next().is_none();
    one.then(|| first.to_ascii_lowercase().into_boxed_slice())
}

/// How a selecting field is brought to its normal form.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Form {
    /// A list whose members have weights: order, case, spaces and the way a weight is written do not matter.
    Weighted,
    /// A list: spaces around commas and the distribution over lines do not matter.
    List,
    /// Free text: only spaces around it do not matter.
    Opaque,
}

fn form(name: &HeaderName) -> Form {
    if *name == header::ACCEPT_ENCODING || *name == header::ACCEPT_LANGUAGE {
        Form::Weighted
    } else if *name == header::USER_AGENT
        || *name == header::COOKIE
        || *name == header::AUTHORIZATION
        || *name == header::REFERER
    {
        Form::Opaque
    } else {
        Form::List
    }
}

/// A selecting field in its normal form; on the stack where it is short.
#[derive(Clone, Debug)]
pub enum NormalValue<'a> {
    /// As the request has it.
    Borrowed(&'a [u8]),
    /// Rewritten.
    Rewritten(SmallVec<[u8; 128]>),
}

impl Deref for NormalValue<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            NormalValue::Borrowed(value) => value,
            NormalValue::Rewritten(value) => value,
        }
    }
}

/// The value by which a selecting field is compared.
fn selecting<'a>(request: &'a HeaderMap, name: &HeaderName, rules: &'a VaryRules) -> Option<NormalValue<'a>> {
    if !rules.languages.is_empty() && *name == header::ACCEPT_LANGUAGE {
        let preferred = language::preferred(request, &rules.languages)?;
        return Some(NormalValue::Borrowed(preferred.as_bytes()));
    }
    normalise(request, name)
}

/// The normal form of a selecting field over all its lines; `None` where it is absent.
pub fn normalise<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<NormalValue<'a>> {
    let mut lines = request.get_all(name).into_iter();
    let first = lines.next()?.as_bytes();
    let form = form(name);
    let Some(second) = lines.next() else {
        let unchanged = match form {
            Form::Opaque => true,
            Form::List => !first.contains(&b','),
            Form::Weighted => first.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-'),
        };
        if unchanged || first.len() > SELECTING_VALUE_BYTES_MAX {
            return Some(NormalValue::Borrowed(list::trim(first)));
        }
        return Some(NormalValue::Rewritten(rewrite(first, form)));
    };
    // HTTP/2 splits `Cookie`, and whoever joins it does so with another separator (RFC 9113 section 8.2.3).
    let separator: &[u8] = if *name == header::COOKIE { b"; " } else { b"," };
    let mut joined: SmallVec<[u8; 128]> = SmallVec::from_slice(first);
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(separator);
        joined.extend_from_slice(line.as_bytes());
    }
    if joined.len() > SELECTING_VALUE_BYTES_MAX {
        return Some(NormalValue::Rewritten(joined));
    }
    Some(NormalValue::Rewritten(rewrite(&joined, form)))
}

fn rewrite(value: &[u8], form: Form) -> SmallVec<[u8; 128]> {
    let mut out = SmallVec::new();
    match form {
        Form::Opaque => out.extend_from_slice(list::trim(value)),
        Form::List => write_list(value, &mut out),
        Form::Weighted => match weighted_members(value) {
            Some(members) => write_weighted(&members, &mut out),
            None => write_list(value, &mut out),
        },
    }
    out
}

fn write_list(value: &[u8], out: &mut SmallVec<[u8; 128]>) {
    for member in list::members(value) {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(member);
    }
}

/// The members sorted by name without case, then by weight, without duplicates; `None` where one is malformed.
fn weighted_members(value: &[u8]) -> Option<SmallVec<[Weighted<'_>; 8]>> {
    let mut members: SmallVec<[Weighted<'_>; 8]> = SmallVec::new();
    for member in list::members(value) {
        members.push(weighted(member)?);
    }
    let lower = |name: &[u8], at: usize| name.get(at).map(u8::to_ascii_lowercase);
    members.sort_unstable_by(|a, b| {
        let names = (0..=a.name.len()).map(|at| lower(a.name, at)).cmp((0..=b.name.len()).map(|at| lower(b.name, at)));
        names.then(a.weight.cmp(&b.weight))
    });
    members.dedup_by(|a, b| a.weight == b.weight && a.name.eq_ignore_ascii_case(b.name));
    Some(members)
}

fn write_weighted(members: &[Weighted<'_>], out: &mut SmallVec<[u8; 128]>) {
    for member in members {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend(member.name.iter().map(u8::to_ascii_lowercase));
        if member.weight != 1000 {
            out.extend_from_slice(b";q=");
            // At most three digits: 1000 is not written.
            for scale in [100, 10, 1] {
                out.push(b'0' + (member.weight / scale % 10) as u8);
            }
        }
    }
}

#[derive(Copy, Clone)]
pub(crate) struct Weighted<'a> {
    pub(crate) name: &'a [u8],
    /// Thousandths.
    pub(crate) weight: u16,
}

/// `name;q=0.5`; `None` for other parameters or a malformed weight.
pub(crate) fn weighted(member: &[u8]) -> Option<Weighted<'_>> {
    let mut parts = member.split(|byte| *byte == b';').map(list::trim);
    let name = parts.next().filter(|name| list::is_token(name))?;
    let weight = match parts.next() {
        None => 1000,
        Some([b'q' | b'Q', b'=', value @ ..]) => qvalue(value)?,
        Some(_) => return None,
    };
    parts.next().is_none().then_some(Weighted { name, weight })
}

/// A quality value in thousandths (RFC 9110 section 12.4.2).
pub fn qvalue(value: &[u8]) -> Option<u16> {
    let (whole, fraction) = match value {
        [whole] => (*whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    let mut thousandths = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return None,
    };
    for (digit, scale) in fraction.iter().zip([100, 10, 1]) {
        if !digit.is_ascii_digit() {
            return None;
        }
        thousandths += u16::from(digit - b'0') * scale;
    }
    (thousandths <= 1000).then_some(thousandths)
}

#[cfg(test)]
#[path = "vary_tests.rs"]
mod tests;
