use super::*;

fn received(fields: &[(&str, &str)]) -> ReceivedLines {
    let mut lines = ReceivedLines::with_capacity(64, fields.len());
    for (name, value) in fields {
        lines.push(name, value.as_bytes()).unwrap();
    }
    lines
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in fields {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    map
}

const CASES: &[&[(&str, &str)]] = &[
    &[],
    &[("Cache-Control", "no-store"), ("cache-control", "private"), ("X-Empty", "")],
    &[("Set-Cookie", "a=b"), ("Date", "now"), ("SET-COOKIE", "c: d"), ("Vary", "*")],
];

#[test]
fn lines_and_maps_say_the_same() {
    for case in CASES {
        let (lines, map) = (received(case), map(case));
        assert_eq!(*lines.map(), map, "{case:?}");
        let asked = ["cache-control", "x-empty", "set-cookie", "date", "vary", "x-other", "x-empt"];
        for name in asked.map(HeaderName::from_static) {
            let (own, other): (Vec<_>, Vec<_>) = (lines.values_of(&name).collect(), map.values_of(&name).collect());
            assert_eq!((own, lines.has(&name)), (other, map.has(&name)), "{case:?} {name}");
        }
    }
}

#[test]
fn lines_are_sent_in_lower_case() {
    let lines = received(CASES[1]);
    assert_eq!(lines.as_bytes(), b"cache-control: no-store\r\ncache-control: private\r\nx-empty: \r\n");
}

#[test]
fn what_is_for_this_hop_is_not_passed_on_as_it_came() {
    for name in ["Connection", "TE", "Upgrade", "trailer", "Proxy-Authenticate", "Keep-Alive"] {
        let fields = ReceivedFields::Lines(Box::new(received(&[("date", "now"), (name, "x")])));
        assert_eq!(fields.into_end_to_end().err(), Some(map(&[("date", "now"), (name, "x")])), "{name}");
    }
    let fields = ReceivedFields::Lines(Box::new(received(&[("date", "now"), ("connections", "x")])));
    assert!(fields.into_end_to_end().is_ok());
}

#[test]
fn a_change_makes_a_map() {
    let mut fields = ReceivedFields::Lines(Box::new(received(CASES[2])));
    fields.remove("set-cookie");
    let name = HeaderName::from_static("set-cookie");
    assert!(!fields.has(&name) && fields.values_of(&name).next().is_none());
    assert_eq!(fields.into_map(), map(&[("date", "now"), ("vary", "*")]));
}
