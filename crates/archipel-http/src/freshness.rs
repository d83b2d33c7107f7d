//! Freshness lifetime and age (RFC 9111 section 4.2).
//!
//! Owns the arithmetic. Must never look at the request or decide about reuse.

use http::header::{self, HeaderMap};
use http::status::StatusCode;

use crate::cache_control::delta_seconds;
use crate::date::{DELTA_SECONDS_MAX, UnixSeconds, parse_http_date};
use crate::list;
use crate::policy::{EdgeTtl, Policy};
use crate::targeted::ResponseControl;

/// How long a response is fresh, counted from its `Date`, and why.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Seconds, at most [`DELTA_SECONDS_MAX`].
    pub seconds: u32,
    /// Where the figure comes from.
    pub basis: LifetimeBasis,
}

/// Where a freshness lifetime comes from.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum LifetimeBasis {
    /// `s-maxage`
    SMaxage,
    /// `max-age`
    MaxAge,
    /// `Expires`
    Expires,
    /// A share of the time since `Last-Modified`
    Heuristic,
    /// The operator's edge TTL
    Rule,
    /// Nothing states or suggests one
    None,
}

impl LifetimeBasis {
    /// Whether the response or the operator stated the lifetime.
    pub fn is_explicit(self) -> bool {
        !matches!(self, LifetimeBasis::Heuristic | LifetimeBasis::None)
    }

    /// A stable word for logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            LifetimeBasis::SMaxage => "s_maxage",
            LifetimeBasis::MaxAge => "max_age",
            LifetimeBasis::Expires => "expires",
            LifetimeBasis::Heuristic => "heuristic",
            LifetimeBasis::Rule => "rule",
            LifetimeBasis::None => "none",
        }
    }
}

/// The freshness lifetime (RFC 9111 section 4.2.1): `s-maxage`, `max-age`, `Expires` minus `Date`, heuristic, in this order.
///
/// `date` is the response's `Date`, or the time of receipt where that is missing or invalid. With a targeted field `Expires` is
/// not looked at (RFC 9213 section 2.2).
pub fn lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &ResponseControl,
    date: UnixSeconds,
    policy: &Policy,
) -> Lifetime {
    let stated = stated_lifetime(headers, control, date);
    let mut lifetime = match (policy.edge_ttl_of(status), stated) {
        (EdgeTtl::Override(seconds), _) | (EdgeTtl::Default(seconds), None) => {
            Lifetime { seconds: seconds.min(DELTA_SECONDS_MAX), basis: LifetimeBasis::Rule }
        }
        (_, Some(stated)) => stated,
        (EdgeTtl::Respect, None) => heuristic_lifetime(status, headers, control, date, policy),
    };
    if let Some(most) = policy.error_seconds_max
        && status.as_u16() >= 400
        && lifetime.seconds > most
    {
        lifetime.seconds = most;
    }
    lifetime
}

fn stated_lifetime(headers: &HeaderMap, control: &ResponseControl, date: UnixSeconds) -> Option<Lifetime> {
    let directives = &control.directives;
    if let Some(seconds) = directives.s_maxage {
        return Some(Lifetime { seconds, basis: LifetimeBasis::SMaxage });
    }
    if let Some(seconds) = directives.max_age {
        return Some(Lifetime { seconds, basis: LifetimeBasis::MaxAge });
    }
    if control.source.is_targeted() {
        return None;
    }
    let mut lines = headers.get_all(header::EXPIRES).into_iter();
    let first = lines.next()?;
    // Several different lines are unclear, and unclear is stale (RFC 9111 section 4.2.1).
    let clear = lines.all(|line| line == first);
    let expires = parse_http_date(first.as_bytes(), date).filter(|_| clear);
    let seconds = expires.map_or(0, |expires| expires.since(date));
    Some(Lifetime { seconds, basis: LifetimeBasis::Expires })
}

fn heuristic_lifetime(
    status: StatusCode,
    headers: &HeaderMap,
    control: &ResponseControl,
    date: UnixSeconds,
    policy: &Policy,
) -> Lifetime {
    let none = Lifetime { seconds: 0, basis: LifetimeBasis::None };
    if !is_heuristically_cacheable(status) && !control.directives.public {
        return none;
    }
    let modified = headers.get(header::LAST_MODIFIED).and_then(|value| parse_http_date(value.as_bytes(), date));
    let Some(modified) = modified else {
        return none;
    };
    let share = u64::from(date.since(modified)) * u64::from(policy.heuristic_percent) / 100;
    let seconds = share.min(u64::from(policy.heuristic_seconds_max)) as u32;
    Lifetime { seconds: seconds.min(DELTA_SECONDS_MAX), basis: LifetimeBasis::Heuristic }
}

/// Whether a response with this status may be stored and given heuristic freshness without any directive (RFC 9110
/// section 15.1; 451 by RFC 7725 section 3).
pub fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 451 | 501)
}

/// The `Age` field (RFC 9111 section 5.1): the first member of the first line; anything but digits is ignored. A parameter
/// behind the digits is dropped, for the response is at least that old.
pub fn age_field(headers: &HeaderMap) -> Option<u32> {
    let line = headers.get(header::AGE)?.as_bytes();
    let first = line.split(|byte| matches!(byte, b',' | b';')).next()?;
    delta_seconds(list::trim(first))
}

/// The `Date` field, or `response_time` where it is missing or invalid.
pub fn date_value(headers: &HeaderMap, response_time: UnixSeconds) -> UnixSeconds {
    headers
        .get(header::DATE)
        .and_then(|value| parse_http_date(value.as_bytes(), response_time))
        .unwrap_or(response_time)
}

/// `corrected_initial_age` (RFC 9111 section 4.2.3), in seconds: the greater of the apparent age (receipt minus `Date`) and
/// `Age` plus the delay of the response.
pub fn corrected_initial_age(
    headers: &HeaderMap,
    date: UnixSeconds,
    request_time: UnixSeconds,
    response_time: UnixSeconds,
) -> u32 {
    let apparent_age = response_time.since(date);
    let response_delay = response_time.since(request_time);
    let corrected_age = age_field(headers).unwrap_or(0).saturating_add(response_delay);
    apparent_age.max(corrected_age).min(DELTA_SECONDS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{StatusTtl, StatusTtls};

    const NOW: UnixSeconds = UnixSeconds(1_795_364_590);

    fn headers(fields: &[(&'static str, String)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn at(offset: i64) -> String {
        String::from_utf8(UnixSeconds(NOW.0 + offset).format().to_vec()).unwrap()
    }

    #[track_caller]
    fn check(status: u16, fields: &[(&'static str, String)], expected: u32, basis: LifetimeBasis) {
        check_with(&Policy::neutral(), status, fields, expected, basis);
    }

    #[track_caller]
    fn check_with(policy: &Policy, status: u16, fields: &[(&'static str, String)], seconds: u32, basis: LifetimeBasis) {
        let headers = headers(fields);
        let control = ResponseControl::from_headers(&headers, &policy.targeted);
        let date = date_value(&headers, NOW);
        let status = StatusCode::from_u16(status).unwrap();
        let found = lifetime(status, &headers, &control, date, policy);
        assert_eq!(found, Lifetime { seconds, basis }, "{fields:?}");
    }

    #[test]
    fn precedence() {
        use LifetimeBasis as B;
        let cc = |value: &str| ("cache-control", value.to_owned());
        check(200, &[], 0, B::None);
        check(200, &[cc("max-age=5, s-maxage=9"), ("expires", at(70))], 9, B::SMaxage);
        check(200, &[cc("max-age=5"), ("expires", at(70))], 5, B::MaxAge);
        check(200, &[cc("max-age=0, s-maxage=3600"), ("expires", at(-10))], 3600, B::SMaxage);
        check(200, &[("expires", at(70)), ("date", at(0))], 70, B::Expires);
        check(200, &[cc("max-age=1"), ("cdn-cache-control", "max-age=8".into()), ("expires", at(-9))], 8, B::MaxAge);
        check(200, &[("cdn-cache-control", "public".into()), ("expires", at(70))], 0, B::None);
    }

    #[test]
    fn expires_against_date() {
        use LifetimeBasis as B;
        check(200, &[("expires", at(300)), ("date", at(400))], 0, B::Expires);
        check(200, &[("expires", at(20)), ("date", at(10))], 10, B::Expires);
        check(200, &[("expires", at(10)), ("date", "foo".into())], 10, B::Expires);
        check(200, &[("expires", "0".into())], 0, B::Expires);
        check(200, &[("expires", at(10)), ("expires", at(10))], 10, B::Expires);
        check(200, &[("expires", at(10)), ("expires", at(20))], 0, B::Expires);
        check(
            200,
            &[("expires", "Sun, 21 Nov 2286 04:46:39 GMT".into()), ("date", at(0))],
            DELTA_SECONDS_MAX,
            B::Expires,
        );
    }

    #[test]
    fn heuristics() {
        use LifetimeBasis as B;
        let day = ("last-modified", at(-86_400));
        for status in [200, 203, 204, 404, 405, 410, 414, 451, 501] {
            check(status, std::slice::from_ref(&day), 8640, B::Heuristic);
        }
        for status in [201, 202, 302, 403, 500, 502, 503, 504, 599] {
            check(status, std::slice::from_ref(&day), 0, B::None);
        }
        check(599, &[day.clone(), ("cache-control", "public".into())], 8640, B::Heuristic);
        check(200, &[("last-modified", at(-86_400 * 365))], 86_400, B::Heuristic);
        check(200, &[("last-modified", at(100))], 0, B::Heuristic);
        check(200, &[("last-modified", "yesterday".into())], 0, B::None);
    }

    #[test]
    fn operators_rule() {
        use LifetimeBasis as B;
        let cc = ("cache-control", "max-age=5".to_owned());
        let default = Policy { edge_ttl: EdgeTtl::Default(60), ..Policy::neutral() };
        let over = Policy { edge_ttl: EdgeTtl::Override(60), ..Policy::neutral() };
        check_with(&default, 200, &[], 60, B::Rule);
        check_with(&default, 200, std::slice::from_ref(&cc), 5, B::MaxAge);
        check_with(&over, 200, std::slice::from_ref(&cc), 60, B::Rule);
        // What might be an error or one visitor's redirect is kept only by its own word.
        for status in [302, 307, 404, 500, 503] {
            check_with(&default, status, &[], 0, B::None);
            check_with(&over, status, std::slice::from_ref(&cc), 5, B::MaxAge);
        }
        for status in [200, 203, 204, 206, 300, 301, 308] {
            check_with(&default, status, &[], 60, B::Rule);
        }
    }

    #[test]
    fn operators_rule_by_status() {
        use LifetimeBasis as B;
        let entry = |first, last, seconds| StatusTtl { first, last, seconds };
        let entries = [entry(404, 404, 30), entry(200, 200, 7), entry(400, 499, 10), entry(500, 599, 1)];
        let by_status = |overrides| Policy {
            edge_ttl: EdgeTtl::Default(60),
            status_ttl: StatusTtls { overrides, entries: entries.into() },
            error_seconds_max: Some(20),
            ..Policy::neutral()
        };
        let (default, over) = (by_status(false), by_status(true));
        let cc = [("cache-control", "max-age=3000".to_owned())];
        for (status, seconds) in [(404, 20), (410, 10), (503, 1), (200, 7), (301, 60)] {
            check_with(&default, status, &[], seconds, B::Rule);
        }
        check_with(&default, 302, &[], 0, B::None);
        check_with(&default, 200, &cc, 3000, B::MaxAge);
        check_with(&default, 404, &cc, 20, B::MaxAge);
        check_with(&over, 200, &cc, 7, B::Rule);
        check_with(&over, 503, &cc, 1, B::Rule);
        check_with(&over, 301, &cc, 3000, B::MaxAge);
    }

    #[track_caller]
    fn check_age(lines: &[&str], expected: Option<u32>) {
        let lines: Vec<_> = lines.iter().map(|line| ("age", (*line).to_owned())).collect();
        assert_eq!(age_field(&headers(&lines)), expected, "{lines:?}");
    }

    #[test]
    fn age_is_read_leniently() {
        check_age(&[], None);
        check_age(&["30"], Some(30));
        check_age(&["abc"], None);
        check_age(&["-7200"], None);
        check_age(&["7200.0"], None);
        check_age(&["2147483647"], Some(2_147_483_647));
        check_age(&["2147483649"], Some(2_147_483_648));
        check_age(&["7200, 0"], Some(7200));
        check_age(&["0, 7200"], Some(0));
        check_age(&["7200", "0"], Some(7200));
        check_age(&["0", "7200"], Some(0));
        check_age(&["7200;foo=bar"], Some(7200));
    }

    #[test]
    fn initial_age() {
        let empty = HeaderMap::new();
        assert_eq!(corrected_initial_age(&empty, NOW, NOW, NOW), 0);
        assert_eq!(corrected_initial_age(&empty, UnixSeconds(NOW.0 - 50), NOW, NOW), 50);
        assert_eq!(corrected_initial_age(&empty, UnixSeconds(NOW.0 + 50), NOW, NOW), 0);
        let old = headers(&[("age", "30".into())]);
        assert_eq!(corrected_initial_age(&old, NOW, UnixSeconds(NOW.0 - 5), NOW), 35);
        let ancient = headers(&[("age", "99999999999".into())]);
        assert_eq!(corrected_initial_age(&ancient, NOW, UnixSeconds(0), NOW), DELTA_SECONDS_MAX);
    }
}
