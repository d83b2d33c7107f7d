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
        assert!(cookies(field.as_bytes(), 2, |name, value| found.push((name.to_vec(), value.to_vec()))));
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        assert_eq!(found, expected, "{field:?}");
    }
}

#[test]
fn too_many_cookies_hide_none() {
    for (field, max, expected) in [
        ("a=1; b=2; c=3", 2, &["a=1", "b=2", "= c=3"][..]),
        ("a=1; ; b=2; c=3;", 1, &["a=1", "= b=2; c=3"]),
        ("a=1", 0, &["=a=1"]),
        ("a=1; ;", 1, &["a=1"]),
    ] {
        let mut found = Vec::new();
        let mut keep = |name: &[u8], value: &[u8]| found.push([name, b"=", value].concat().escape_ascii().to_string());
        let all = cookies(field.as_bytes(), max, &mut keep);
        assert_eq!(
            (&found[..], all),
            (&expected.iter().map(ToString::to_string).collect::<Vec<_>>()[..], found.len() <= max),
            "{field}"
        );
    }
}
