//! Requests as browsers send them, and custom rules as owners of sites write them. All of it is the same in every run.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Result, anyhow};
use archipel_rules::{Expression, Field, FieldMap, Filter, Lists, RuleIndex};

use crate::waf::request::Request;

const COOKIES: &str = "session=7d3f9a0c51e84b2fa6c0d4e19b8f2c73; theme=dark; consent=necessary; cart=10482; lang=en";

/// Plain words: what they make is read by every rule and matched by none.
const WORDS: [&str; 32] = [
    "green",
    "garden",
    "chair",
    "with",
    "wooden",
    "legs",
    "and",
    "soft",
    "cover",
    "ready",
    "for",
    "rainy",
    "evenings",
    "made",
    "near",
    "the",
    "lake",
    "by",
    "people",
    "who",
    "love",
    "their",
    "work",
    "delivered",
    "within",
    "three",
    "days",
    "free",
    "of",
    "charge",
    "in",
    "Europe",
];

/// A page of a shop.
pub fn get() -> Request {
    Request::browser("GET", "/garden/chairs/oak-and-linen?page=2&sort=price&colour=green&in_stock=true")
        .with("Referer", "https://shop.example/garden/chairs")
        .with("Cookie", COOKIES)
        .with("Sec-Fetch-Site", "same-origin")
        .with("Sec-Fetch-Mode", "navigate")
        .with("Sec-Fetch-Dest", "document")
        .with("Upgrade-Insecure-Requests", "1")
}

/// An order as a page's script sends it, of about so many bytes.
pub fn json(bytes: usize) -> Request {
    let mut body =
        String::from("{\"customer\":{\"name\":\"Anna Winter\",\"city\":\"Oslo\",\"newsletter\":true},\"lines\":[");
    let mut words = Words::default();
    let mut number = 10_000;
    while body.len() + 160 < bytes {
        number += 1;
        let comma = if number == 10_001 { "" } else { "," };
        let _ = write!(
            body,
            "{comma}{{\"article\":{number},\"count\":{},\"price\":{}.5,\"title\":\"{}\",\"gift\":false}}",
            number % 7 + 1,
            number % 90 + 9,
            words.text(60),
        );
    }
    body.push_str("]}");
    Request::browser("POST", "/api/orders")
        .with("Accept", "application/json")
        .with("Referer", "https://shop.example/checkout")
        .with("Cookie", COOKIES)
        .with("Content-Type", "application/json")
        .with_body(body)
}

/// A long form, of about so many bytes: many short fields and some long texts.
pub fn form(bytes: usize) -> Request {
    let mut body = String::from("title=Garden");
    let mut words = Words::default();
    let mut number = 0;
    while body.len() + 1_200 < bytes {
        number += 1;
        let text = words.text(if number % 4 == 0 { 1_000 } else { 40 }).replace(' ', "+");
        let _ = write!(body, "&field{number}={text}");
    }
    Request::browser("POST", "/admin/pages/save")
        .with("Referer", "https://shop.example/admin/pages")
        .with("Cookie", COOKIES)
        .with("Content-Type", "application/x-www-form-urlencoded")
        .with_body(body)
}

/// Words in an order that looks random (an odd multiplier walks through all of them).
#[derive(Default)]
struct Words(usize);

impl Words {
    fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            self.0 = self.0.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(WORDS[(self.0 >> 16) % WORDS.len()]);
        }
        text
    }
}

/// A thousand rules of the kinds that owners write, and a request that none of them is about.
///
/// # Errors
/// A rule that is not of the language.
pub fn custom_rules() -> Result<(RuleIndex, FieldMap)> {
    let rule = |at: usize| match at % 10 {
        0 => format!("http.request.uri.path eq \"/old/page-{at}\""),
        1 => format!("ip.src in {{192.0.{}.0/24 2001:db8:{at:x}::/48}}", at % 256),
        2 => format!("http.host eq \"shop{at}.example\" and http.request.method eq \"POST\""),
        3 => format!("starts_with(http.request.uri.path, \"/private/{at}/\")"),
        4 => format!("http.user_agent contains \"bot-{at}\""),
        5 => format!("http.request.uri.query contains \"token{at}=\""),
        6 => format!("http.request.uri.path wildcard \"/files/{at}/*.zip\""),
        7 => format!("any(http.request.headers[\"x-client-{}\"][*] eq \"{at}\")", at % 40),
        8 => format!("http.request.uri.path matches \"^/v[0-9]+/tenant-{at}/\""),
        _ => format!("http.referer contains \"spam-{at}.example\" or http.cookie contains \"bad{at}=\""),
    };
    let lists = Lists::new();
    let compile = |text: String| {
        let filter = Expression::parse(&text).and_then(|expression| Filter::compile(&expression, &lists));
        filter.map_err(|problem| anyhow!("{}", problem.render(&text)))
    };
    let filters = (0..1_000).map(|at| compile(rule(at))).collect::<Result<Vec<_>>>()?;
    Ok((RuleIndex::new(filters), fields(&get())))
}

fn fields(request: &Request) -> FieldMap {
    let uri = String::from_utf8_lossy(&request.uri).into_owned();
    let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
    let of = |name: &str| {
        let found = request.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    };
    let headers = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
    FieldMap::new()
        .text(Field::HttpHost, of("host"))
        .text(Field::HttpRequestMethod, &request.method)
        .text(Field::HttpRequestUri, &uri)
        .text(Field::HttpRequestUriPath, path)
        .text(Field::HttpRequestUriQuery, query)
        .text(Field::HttpUserAgent, of("user-agent"))
        .text(Field::HttpReferer, of("referer"))
        .text(Field::HttpCookie, of("cookie"))
        .address(Field::IpSrc, IpAddr::from([203, 0, 113, 9]))
        .map(Field::HttpRequestHeaders, headers)
}
