use super::*;

fn map(fields: &[(&str, &[u8])]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    map
}

const CASES: &[&[(&str, &[u8])]] = &[
    &[],
    &[("x-empty", b"")],
    &[("cache-control", b"no-store"), ("x-empty", b""), ("etag", b"\"a: b\"")],
    &[("set-cookie", b"a=b"), ("date", b"now"), ("set-cookie", b"c: d\t\xc3\xa4"), ("x-!#$%&'*+-.^_`|~", b"*")],
];

#[test]
fn lines_and_maps_say_the_same() {
    for case in CASES {
        let map = map(case);
        let frozen = FrozenFields::new(&map);
        let kept = FrozenFields::from_lines(frozen.lines().clone()).expect("what was written");
        for fields in [&frozen, &kept] {
            assert_eq!(fields.to_map(), map, "{case:?}");
            for name in ["cache-control", "x-empty", "set-cookie", "date", "etag", "x-other"] {
                let name = HeaderName::from_static(name);
                let (own, other): (Vec<_>, Vec<_>) =
                    (fields.values_of(&name).collect(), map.values_of(&name).collect());
                assert_eq!((own, fields.has(&name)), (other, map.has(&name)), "{case:?} {name}");
                assert_eq!(fields.value(&name).as_ref(), map.get(&name), "{case:?} {name}");
            }
        }
    }
}

#[test]
fn framing_is_not_frozen() {
    let all: &[(&str, &[u8])] =
        &[("content-length", b"1"), ("a", b"1"), ("transfer-encoding", b"chunked"), ("connection", b"b"), ("b", b"2")];
    assert_eq!(FrozenFields::new(&map(all)).lines(), &b"a: 1\r\nb: 2\r\n"[..]);
}

#[test]
fn what_would_not_be_written_is_not_read() {
    let good: &[u8] = b"a: 1\r\nb: \r\n";
    assert!(FrozenFields::from_lines(Bytes::from_static(good)).is_some());
    for bad in [
        &b"a: 1"[..],
        b"a: 1\n",
        b"a: 1\r\n\r\n",
        b"a:1\r\n",
        b"a\r\n",
        b": 1\r\n",
        b"A: 1\r\n",
        b"a b: 1\r\n",
        b"a: 1\rb: 2\r\n",
        b"a: 1\r\r\n",
        b"a: \0\r\n",
        b"a: \x7f\r\n",
        b"\xff: 1\r\n",
    ] {
        assert!(FrozenFields::from_lines(Bytes::copy_from_slice(bad)).is_none(), "{}", bad.escape_ascii());
    }
    let lines = |count| FrozenFields::from_lines(Bytes::from("a: \r\n".repeat(count)));
    assert_eq!(lines(LINES_MAX).expect("not too many").to_map().len(), LINES_MAX);
    assert!(lines(LINES_MAX + 1).is_none());
    // Whatever bytes: what is taken is what a map would give.
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            if let Some(fields) = FrozenFields::from_lines(Bytes::from(bytes.clone())) {
                assert_eq!(FrozenFields::new(&fields.to_map()).lines(), &bytes, "{}", bytes.escape_ascii());
            }
        }
    }
}
