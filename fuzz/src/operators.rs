//! What the firewall does with a value: transformations, operators, libinjection; and with the expression of a rule.

use archipel_waf::byte_set::ByteSet;
use archipel_waf::operator::{Captures, Kind, NoFiles, Operator, libinjection};
use archipel_waf::transform::Transformation;

/// Every transformation, and each of what it made.
///
/// # Panics
/// When a transformation changes what it said stays, tells wrongly whether it did, or makes a value much longer.
pub fn transformations(bytes: &[u8]) {
    let present = ByteSet::of(bytes);
    let (mut once, mut twice) = (Vec::new(), Vec::new());
    for &first in Transformation::ALL {
        let differs = first.apply(bytes, &mut once);
        assert_eq!(differs, once != bytes, "{} of itself", first.name());
        assert!(!(differs && first.is_noop(bytes)), "{} changes what it said stays", first.name());
        let may_change = first.trigger().is_none_or(|trigger| trigger.intersects(&present));
        assert!(may_change || !differs, "{} changes a value without its trigger", first.name());
        assert!(once.len() <= bytes.len() * 4 + 40, "{} makes a value too long", first.name());
        let second = Transformation::ALL[once.len() % Transformation::ALL.len()];
        second.apply(&once, &mut twice);
    }
}

/// Whether a value reads as SQL or as script.
///
/// # Panics
/// When a value without a trigger is detected, or a fingerprint is not one.
pub fn injection(bytes: &[u8]) {
    let present = ByteSet::of(bytes);
    let is_xss = libinjection::detect_xss(bytes);
    assert!(!is_xss || libinjection::XSS_TRIGGER.intersects(&present));
    if let Some(fingerprint) = libinjection::detect_sqli(bytes) {
        assert!(libinjection::SQLI_TRIGGER.intersects(&present));
        assert!((1..=5).contains(&fingerprint.as_bytes().len()));
    }
}

/// A line with the argument of an operator, and behind it the value.
///
/// # Panics
/// When an operator matches what its requirement turns away, or says something else where it captures.
pub fn operators(bytes: &[u8]) {
    let (argument, value) = match bytes.iter().position(|&byte| byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, bytes),
    };
    let present = ByteSet::of(value);
    let mut captures = Captures::new();
    for &kind in Kind::ALL {
        let Ok(operator) = Operator::compile_kind(kind, argument, &NoFiles) else { continue };
        let Ok(matched) = operator.try_matches(value, None) else { continue };
        if let Ok(again) = operator.try_matches(value, Some(&mut captures)) {
            assert_eq!(matched, again, "@{} with captures", kind.name());
        }
        assert!(captures.iter(value).all(|(group, text)| group < Captures::GROUPS_MAX && text.len() <= bytes.len()));
        let may_match = operator.requirement().is_none_or(|requirement| requirement.allows(value, &present));
        assert!(may_match || !matched, "@{} matches what it turns away", kind.name());
    }
}
