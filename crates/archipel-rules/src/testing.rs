//! Random expressions and requests for tests: few names and few texts, so that they meet often. A seed gives the same again.

use crate::field_map::FieldMap;
use crate::{Field, Filter, Lists};

/// A small generator (SplitMix64).
pub(crate) struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

const TEXT_FIELDS: &[(&str, Field)] = &[
    ("http.host", Field::HttpHost),
    ("http.request.uri.path", Field::HttpRequestUriPath),
    ("http.user_agent", Field::HttpUserAgent),
    ("http.request.method", Field::HttpRequestMethod),
];
const TEXTS: &[&str] = &["", "a", "/a", "/a/b", "abc", "ABC", "b.com", "www.b.com", "x/a/b?c", "Bcd", "k"];
const KEYS: &[&str] = &["a", "b", "accept", "x-k"];
const ADDRESSES: &[&str] = &["10.0.0.1", "10.0.0.77", "10.1.0.0", "2001:db8::1", "2001:db9::", "::ffff:10.0.0.1"];
const RANGES: &[&str] = &["10.0.0.0/24", "10.0.0.1..10.1.0.0", "2001:db8::/32", "10.0.0.77", "::/1"];

/// A request with a few of the values that [`expression`] speaks of.
pub(crate) fn request(chance: &mut Chance) -> FieldMap {
    let mut request = FieldMap::new();
    for (_, field) in TEXT_FIELDS {
        if chance.below(4) > 0 {
            request = request.text(*field, chance.pick(TEXTS));
        }
    }
    let pairs = |chance: &mut Chance| -> Vec<(&str, &str)> {
        (0..chance.below(5)).map(|_| (chance.pick(KEYS), chance.pick(TEXTS))).collect()
    };
    let (headers, args) = (pairs(chance), pairs(chance));
    request = request.texts(Field::HttpRequestHeadersNames, headers.iter().map(|(key, _)| *key));
    request = request.map(Field::HttpRequestHeaders, headers).map(Field::HttpRequestUriArgs, args);
    if chance.below(3) > 0 {
        request = request.address(Field::IpSrc, chance.pick(ADDRESSES).parse().expect("an address"));
    }
    let port = i64::try_from(chance.below(12)).expect("a small number");
    request
        .int(Field::CfEdgeServerPort, port)
        .bool(Field::Ssl, chance.below(2) == 0)
        .ints(Field::CfBotManagementDetectionIds, [port, 3])
}

/// A decision, at most `depth` levels deep.
pub(crate) fn expression(chance: &mut Chance, depth: usize) -> String {
    if depth == 0 || chance.below(3) == 0 {
        return comparison(chance);
    }
    let part = |chance: &mut Chance| expression(chance, depth - 1);
    match chance.below(8) {
        0 => format!("not {}", parenthesised(&part(chance))),
        1 => format!("{} xor {}", parenthesised(&part(chance)), parenthesised(&part(chance))),
        2..=4 => format!("{} and {}", parenthesised(&part(chance)), parenthesised(&part(chance))),
        _ => format!("{} or {}", parenthesised(&part(chance)), parenthesised(&part(chance))),
    }
}

fn parenthesised(text: &str) -> String {
    format!("({text})")
}

fn comparison(chance: &mut Chance) -> String {
    match chance.below(9) {
        0 => "ssl".to_owned(),
        1 => format!("ip.src {} {}", chance.pick(&["eq", "ne"]), chance.pick(ADDRESSES)),
        2 => format!("ip.src in {{{} {}}}", chance.pick(RANGES), chance.pick(RANGES)),
        3 => format!("cf.edge.server_port {} {}", chance.pick(&["eq", "ne", "lt", "le", "gt", "ge"]), chance.below(12)),
        4 => format!("cf.edge.server_port in {{{} 4..7}}", chance.below(12)),
        5 => element(chance),
        6 => element_chain(chance),
        7 => predicate(chance),
        _ => {
            let field = TEXT_FIELDS[chance.below(TEXT_FIELDS.len())].0;
            let operand = match chance.below(5) {
                0 => format!("lower({field})"),
                1 => format!("url_decode(upper({field}))"),
                2 => format!("http.request.headers[\"{}\"][{}]", chance.pick(KEYS), chance.below(2)),
                _ => field.to_owned(),
            };
            text_test(chance, &operand)
        }
    }
}

fn text_test(chance: &mut Chance, operand: &str) -> String {
    let text = chance.pick(TEXTS);
    match chance.below(8) {
        0 => format!("{operand} contains \"{text}\""),
        1 => format!("{operand} in {{\"{text}\" \"{}\"}}", chance.pick(TEXTS)),
        2 => format!("{operand} {} \"{text}\"", chance.pick(&["ne", "lt", "le", "gt", "ge"])),
        3 => {
            let pattern =
                chance.pick(&["^/a", "(?i)bcd?$", "a|b", "b\\\\.com", ".*", "[aA]b+c", "(/a){2,}", "^(a|/a)/?b"]);
            format!("{operand} matches \"{}\"", pattern.replace("\\\\", "\\"))
        }
        4 => {
            let pattern = chance.pick(&["*b*", "/a*", "*.B.com", "ABC", "*", "a*c", "*/a/*?*"]);
            format!("{operand} {} \"{pattern}\"", chance.pick(&["wildcard", "strict wildcard"]))
        }
        _ => format!("{operand} eq \"{text}\""),
    }
}

fn element(chance: &mut Chance) -> String {
    let word = chance.pick(&["any", "any", "all"]);
    let key = chance.pick(KEYS);
    let inner = match chance.below(6) {
        0 => return format!("{word}(cf.bot_management.detection_ids[*] in {{{} 11}})", chance.below(12)),
        1 => "http.request.headers.names[*]".to_owned(),
        2 => format!("http.request.uri.args[\"{key}\"][*]"),
        3 => "http.request.headers[*][*]".to_owned(),
        4 => format!("lower(http.request.headers[\"{key}\"][*])[*]"),
        _ => format!("http.request.headers[\"{key}\"][*]"),
    };
    format!("{word}({})", text_test(chance, &inner))
}

fn element_chain(chance: &mut Chance) -> String {
    let (word, operator) = (chance.pick(&["any", "all"]), chance.pick(&["and", "or", "xor"]));
    let names = "http.request.headers.names[*]";
    let (one, other) = (text_test(chance, names), text_test(chance, names));
    format!("{word}({}{one} {operator} {other})", chance.pick(&["", "not "]))
}

fn predicate(chance: &mut Chance) -> String {
    let (field, _) = TEXT_FIELDS[chance.below(TEXT_FIELDS.len())];
    let (text, key) = (chance.pick(TEXTS), chance.pick(KEYS));
    match chance.below(6) {
        0 => format!("starts_with({field}, \"{text}\")"),
        1 => format!("ends_with(lower({field}), \"{text}\")"),
        2 => format!("has_key(http.request.headers, \"{key}\")"),
        3 => format!("has_value(http.request.headers.names, \"{key}\")"),
        4 => format!("any(starts_with(http.request.headers[\"{key}\"][*], \"{text}\"))"),
        _ => format!("len({field}) gt {}", chance.below(6)),
    }
}

/// The filter of a text that is right.
#[track_caller]
pub(crate) fn filter(text: &str) -> Filter {
    let expression = crate::Expression::parse(text).unwrap_or_else(|error| panic!("{}", error.render(text)));
    Filter::compile(&expression, &Lists::new()).unwrap_or_else(|error| panic!("{}", error.render(text)))
}

/// The request that the tables of examples ask about.
pub(crate) fn request_of_documentation() -> FieldMap {
    FieldMap::new()
        .text(Field::HttpHost, "www.Example.com")
        .text(Field::HttpRequestMethod, "GET")
        .text(Field::HttpRequestUri, "/articles/2008/index.html?filter=waf&filter=botm&filter=cdn")
        .text(Field::HttpRequestUriPath, "/articles/2008/index.html")
        .text(Field::HttpRequestUriQuery, "filter=waf&filter=botm&filter=cdn")
        .text(Field::HttpRequestFullUri, "https://example.com/a/sub/folder/?name=value")
        .text(Field::HttpUserAgent, b"Mozilla/5.0 \xff\xfe (curl)")
        .text(Field::HttpRequestBodyRaw, "asdfghjk")
        .address(Field::IpSrc, "203.0.113.7".parse().expect("an address"))
        .address(Field::CfEdgeServerIp, "2001:0000:130F:0000:0000:09C0:876A:130B".parse().expect("an address"))
        .text(Field::IpSrcCountry, "GB")
        .int(Field::IpSrcAsnum, 64512)
        .int(Field::CfEdgeServerPort, 8443)
        .int(Field::CfBotManagementScore, 5)
        .bool(Field::Ssl, true)
        .text(Field::CfRandomSeed, (0..32).collect::<Vec<u8>>())
        .map(Field::HttpRequestUriArgs, [("filter", "waf"), ("filter", "botm"), ("filter", "cdn")])
        .texts(Field::HttpRequestUriArgsNames, ["filter", "filter", "filter"])
        .map(
            Field::HttpRequestHeaders,
            [
                ("accept", "application/json"),
                ("x-multi", "One"),
                ("x-multi", "two"),
                ("client_id", "MTIzYWJj"),
                ("x-categories", "groceries,,electronics,diy"),
            ],
        )
        .texts(Field::HttpRequestHeadersNames, ["Accept", "X-Multi", "X-Multi", "client_id", "x-categories"])
        .text_lists(Field::HttpRequestBodyMultipartNames, [vec!["username"], vec!["picture"], vec![]])
        .ints(Field::CfBotManagementDetectionIds, [33_554_817, 7])
}

/// What an expression makes of a request, as values are written.
#[track_caller]
pub(crate) fn value_of(text: &str, fields: &dyn crate::Fields) -> String {
    let expression = crate::ValueExpression::parse(text, crate::Phase::Response)
        .unwrap_or_else(|error| panic!("{}", error.render(text)));
    let formula =
        crate::Formula::compile(&expression, &Lists::new()).unwrap_or_else(|error| panic!("{}", error.render(text)));
    formula.value(fields).to_string()
}
