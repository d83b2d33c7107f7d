use std::collections::HashSet;

use super::*;
use crate::FieldMap;

#[test]
fn the_table_is_sound() {
    let specs = Field::all();
    assert_eq!(specs.len(), 173);
    let mut names = HashSet::new();
    for (at, spec) in specs.iter().enumerate() {
        assert_eq!(spec.id as usize, at, "{}", spec.name);
        assert_eq!(Field::named(spec.name), Some(spec.id));
        assert!(names.insert(spec.name), "{} is there twice", spec.name);
        assert!(spec.summary.ends_with('.'), "{}", spec.name);
        let response = spec.name.contains(".response.");
        assert_eq!(spec.phase == Phase::Response, response, "{}", spec.name);
        assert!(spec.default == 0 || spec.kind == Type::Int, "{}", spec.name);
    }
    for (old, field) in ALIASES {
        assert_eq!(Field::named(old), Some(*field));
        assert!(!names.contains(old));
    }
}

#[test]
fn defaults() {
    let empty = FieldMap::new();
    for (field, expected) in [
        (Field::HttpReferer, r#""""#),
        (Field::IpSrcAsnum, "0"),
        (Field::CfWafScore, "100"),
        (Field::CfWafScoreSqli, "100"),
        (Field::CfLlmPromptInjectionScore, "100"),
        (Field::CfBotManagementScore, "99"),
        (Field::CfThreatScore, "0"),
        (Field::Ssl, "false"),
        (Field::IpSrc, "nil"),
        (Field::HttpRequestHeaders, "{}"),
        (Field::HttpRequestHeadersNames, "[]"),
        (Field::HttpRequestBodyMultipartNames, "[]"),
    ] {
        assert_eq!(load(&empty, field).to_string(), expected, "{}", field.name());
    }
}

/// A holder that mistakes a type is not believed.
#[test]
fn wrong_types_are_not_known() {
    let wrong = FieldMap::new().int(Field::HttpHost, 1).text(Field::Ssl, "true").text(Field::HttpRequestHeaders, "a");
    assert_eq!(load(&wrong, Field::HttpHost).to_string(), r#""""#);
    assert_eq!(load(&wrong, Field::Ssl).to_string(), "false");
    assert_eq!(load(&wrong, Field::HttpRequestHeaders).to_string(), "{}");
}
