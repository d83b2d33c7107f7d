use super::cookies;

#[test]
fn cookies_split_as_modsecurity_splits_them() {
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("", &[]),
        ("a=1", &[("a", "1")]),
        ("a=1; b=2", &[("a", "1"), ("b", "2")]),
        ("a=1;b=2;", &[("a", "1"), ("b", "2")]),
        ("a=b=c", &[("a", "b=c")]),
        ("a", &[("a", "")]),
        ("=v; ;; a=1", &[("a", "1")]),
        ("   =bar; x", &[("x", "")]),
        ("\t\x0b a =1 ;b=2 ", &[("a ", "1 "), ("b", "2")]),
        ("a=1 ;", &[("a", "1")]),
        ("a=\"x;y\"", &[("a", "\"x"), ("y\"", "")]),
        ("a=%41", &[("a", "%41")]),
        ("$Version=1; a=1", &[("$Version", "1"), ("a", "1")]),
    ];
    for (field, expected) in cases {
        let mut found = Vec::new();
        cookies(field.as_bytes(), |name, value| found.push((name.to_vec(), value.to_vec())));
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        assert_eq!(found, expected, "{field:?}");
    }
}
