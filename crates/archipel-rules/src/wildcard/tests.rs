use super::*;

#[test]
fn matching() {
    for (pattern, value, folded, strict) in [
        ("", "", true, true),
        ("", "a", false, false),
        ("*", "", true, true),
        ("*", "anything", true, true),
        ("a*", "a", true, true),
        ("a*", "A/b", true, false),
        ("*a", "bca", true, true),
        ("a*a", "a", false, false),
        ("a*a", "aa", true, true),
        ("a*b*c", "abc", true, true),
        ("a*b*c", "axxbyyc", true, true),
        ("a*b*c", "acb", false, false),
        ("*ab*ab*", "ab", false, false),
        ("*ab*ab*", "abAB", true, false),
        ("*.example.com", "example.com", false, false),
        ("*.example.com", "a.b.example.com", true, true),
        (r"\*", "*", true, true),
        (r"\*", "a", false, false),
        (r"a\\*", r"a\b", true, true),
        ("ab*ba", "aba", false, false),
    ] {
        let wildcard = |strict| Wildcard::new(pattern.as_bytes(), strict).expect("a pattern");
        assert_eq!(wildcard(false).matches(value.as_bytes()), folded, "{pattern} {value}");
        assert_eq!(wildcard(true).matches(value.as_bytes()), strict, "{pattern} {value}, strict");
    }
    let long = "A".repeat(STACK_BYTES * 2);
    assert!(Wildcard::new(b"a*a", false).expect("a pattern").matches(long.as_bytes()));
}

#[test]
fn wrong_patterns() {
    for (pattern, error) in [
        ("a**", WildcardError::TwoStars),
        (r"a\b", WildcardError::Escape),
        (r"a\", WildcardError::Escape),
        (&"*a".repeat(WILDCARD_STARS_MAX + 1), WildcardError::TooManyStars),
    ] {
        assert_eq!(Wildcard::new(pattern.as_bytes(), true).expect_err(pattern), error);
    }
    assert!(Wildcard::new("*a".repeat(WILDCARD_STARS_MAX).as_bytes(), true).is_ok());
}

#[test]
fn first_stars_take_least() {
    let wildcard = Wildcard::new(b"*a*", true).expect("a pattern");
    assert_eq!(wildcard.captures(b"xaya"), Some(vec![0..1, 2..4]));
    assert_eq!(wildcard.captures(b"xyz"), None);
}

#[test]
fn replacements() {
    for (text, expected) in [("", ""), ("a", "a"), ("$$", "$"), ("a${1}b${0}$${2}", "a[1]b[0]${2}"), ("${12}", "[12]")]
    {
        let replacement = Replacement::new(text.as_bytes()).expect(text);
        let mut out = Vec::new();
        replacement.append(&mut out, |group| format!("[{group}]").into_bytes().into());
        assert_eq!(String::from_utf8(out).expect("text"), expected, "{text}");
    }
    for text in ["$", "a$b", "$1", "${", "${a}", "${}", "${-1}", "${+1}", "${123}"] {
        assert_eq!(Replacement::new(text.as_bytes()), Err(ReplacementError::Dollar), "{text}");
    }
    assert!(Replacement::new("${1}".repeat(REPLACEMENT_REFERENCES_MAX).as_bytes()).is_ok());
    let many = "${1}".repeat(REPLACEMENT_REFERENCES_MAX + 1);
    assert_eq!(Replacement::new(many.as_bytes()), Err(ReplacementError::TooManyReferences));
}
