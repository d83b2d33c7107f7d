use super::*;
use crate::query::{NamePattern, QueryKeep};

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn parts() -> KeyParts {
    KeyParts {
        headers: [HeaderName::from_static("x-a"), HeaderName::from_static("x-b")].into(),
        cookies: ["s".into(), "t".into()].into(),
        ..KeyParts::default()
    }
}

#[track_caller]
fn check(parts: &KeyParts, fields: &[(&'static str, &str)], expected: Result<&str, KeyRefused>) {
    let found = parts.extra(&headers(fields));
    assert_eq!(found.as_deref().map_err(|refused| *refused), expected, "{fields:?}");
}

#[test]
fn texts() {
    let parts = parts();
    check(&parts, &[], Ok("header.x-a header.x-b cookie.s cookie.t"));
    check(&parts, &[("x-a", "")], Ok("header.x-a= header.x-b cookie.s cookie.t"));
    check(&parts, &[("x-a", " 1 "), ("x-b", "a b=c%")], Ok("header.x-a=1 header.x-b=a%20b%3Dc%25 cookie.s cookie.t"));
    check(&parts, &[("x-a", "1"), ("x-a", "2")], Ok("header.x-a=1,%202 header.x-b cookie.s cookie.t"));
    check(&parts, &[("x-a", "1, 2")], Ok("header.x-a=1,%202 header.x-b cookie.s cookie.t"));
    check(&parts, &[("cookie", "a=1; s=x=y; t")], Ok("header.x-a header.x-b cookie.s=x%3Dy cookie.t="));
    check(&parts, &[("cookie", "s=1"), ("cookie", "s=2")], Ok("header.x-a header.x-b cookie.s=1;2 cookie.t"));
    let device = KeyParts { device: true, languages: ["en".into(), "de".into()].into(), ..KeyParts::default() };
    check(&device, &[("accept-language", "de-at")], Ok("device=desktop language=de"));
    check(&KeyParts::default(), &[("x-a", "1")], Ok(""));
    assert!(KeyParts::default().adds_nothing() && !device.adds_nothing());
}

#[test]
fn what_an_origin_could_read_otherwise_gets_no_key() {
    for (name, value) in [("x_a", "1"), ("cookie", "%73=1"), ("cookie", "S=1"), ("cookie", "+s=1")] {
        check(&parts(), &[(name, value)], Err(KeyRefused::KeyAmbiguous));
    }
    check(&parts(), &[("x_c", "1"), ("cookie", "ss=1")], Ok("header.x-a header.x-b cookie.s cookie.t"));
}

#[test]
fn limits() {
    let longest = "x".repeat(KEY_VALUE_BYTES_MAX);
    assert!(parts().extra(&headers(&[("x-a", &longest)])).is_ok());
    check(&parts(), &[("x-a", &format!("{longest}x"))], Err(KeyRefused::KeyBytesMax));
    check(&parts(), &[("cookie", &format!("s={longest}x"))], Err(KeyRefused::KeyBytesMax));
    // Escaped, two values of the greatest length are too long together.
    let spaced = format!("x{}x", " ".repeat(KEY_VALUE_BYTES_MAX - 2));
    check(&parts(), &[("x-a", &spaced), ("x-b", &spaced)], Err(KeyRefused::KeyBytesMax));
}

/// Requests that differ in a part of the key never share; requests that differ elsewhere always do.
#[test]
fn keys_separate_what_they_name_and_nothing_else() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move |bound: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % bound
    };
    let alphabet = ["a", "=", "%", " b", "c.x", ",", "header.x-b=", "~", "\u{e9}"];
    let only = QueryKey { keep: QueryKeep::Only([NamePattern::parse("k").unwrap()].into()), sort: false };
    let parts = KeyParts { query: only, ..parts() };
    for _ in 0..5_000 {
        let mut word = || (0..next(4)).map(|_| alphabet[next(alphabet.len() as u64) as usize]).collect::<String>();
        let (keyed, other): (Vec<String>, Vec<String>) =
            ((0..8).map(|_| word()).collect(), (0..8).map(|_| word()).collect());
        let key = |keyed: &[String], unkeyed: &[String]| {
            let cookie = |text: &str| text.replace([' ', ','], "");
            let (k, u) = (&keyed[3], &unkeyed[1]);
            let query = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
            let request = headers(&[
                ("x-a", keyed[0].trim()),
                ("x-b", keyed[1].trim()),
                ("x-other", &unkeyed[0]),
                ("cookie", &format!("s={}; other={}", cookie(&keyed[2]), cookie(u))),
            ]);
            let target = format!("/p?k={}&other={}", query(k), query(u));
            let target = parts.target(&target).unwrap().unwrap_or(target.into());
            (target, parts.extra(&request).unwrap())
        };
        let same = keyed[0].trim() == other[0].trim()
            && keyed[1].trim() == other[1].trim()
            && keyed[2].replace([' ', ','], "") == other[2].replace([' ', ','], "")
            && keyed[3] == other[3];
        assert_eq!(key(&keyed, &keyed), key(&keyed, &other), "only what is not in the key differs");
        assert_eq!(key(&keyed, &keyed) == key(&other, &keyed), same, "{keyed:?} {other:?}");
    }
}
