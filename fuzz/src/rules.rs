//! The rules language: texts of operators, values of strangers, and another engine that must come to the same decisions.

use std::sync::OnceLock;

use archipel_rules::{
    Expression, Field, FieldMap, Fields, Filter, Formula, Lists, Phase, RuleIndex, Scalar, Type, Value, ValueExpression,
};
use archipel_testkit::chance::Chance;
use wirefilter::{ExecutionContext, Scheme};

/// Expressions of one input.
const EXPRESSIONS_MAX: usize = 32;

/// Lines: expressions, and behind a `>` values of fields (`>http.host www.example.com`).
///
/// # Panics
/// When a diagnostic points outside of its text, an explanation says something else than the decision, or the index leaves
/// out a filter that matches.
pub fn rules(bytes: &[u8]) {
    let lines = || bytes.split(|byte| *byte == b'\n');
    let values = lines().filter_map(|line| line.strip_prefix(b">"));
    let request = values.fold(FieldMap::new(), with_value);
    let (mut filters, mut texts) = (Vec::new(), Vec::new());
    for line in lines().filter(|line| !line.starts_with(b">")).take(EXPRESSIONS_MAX) {
        let text = String::from_utf8_lossy(line);
        value(&text, &request);
        if let Some(filter) = filter(&text) {
            filters.push(filter);
            texts.push(text);
        }
    }
    let decisions: Vec<bool> = filters.iter().map(|filter| filter.matches(&request)).collect();
    for ((filter, text), decision) in filters.iter().zip(&texts).zip(&decisions) {
        let explained = filter.explain(&request);
        assert!(matches!(explained[0].value, Value::Bool(told) if told == *decision), "{text}");
        assert!(explained.iter().all(|part| text.get(part.span.clone()).is_some()), "{text}");
        let _ = filter.explain_text(&request, text);
    }
    let index = RuleIndex::new(filters);
    let expected = decisions.iter().enumerate().filter(|(_, decision)| **decision).map(|(rule, _)| rule);
    let found: Vec<usize> = index.matches(&request).collect();
    assert!(expected.eq(found.iter().copied()), "the index finds {found:?} of {decisions:?}");
}

fn filter(text: &str) -> Option<Filter> {
    match Expression::parse_in(text, Phase::Response) {
        Ok(expression) => Filter::compile(&expression, &Lists::new()).map_err(|error| shown(&error, text)).ok(),
        Err(error) => {
            shown(&error, text);
            None
        }
    }
}

fn value(text: &str, request: &dyn Fields) {
    match ValueExpression::parse(text, Phase::Response) {
        Ok(expression) => {
            if let Ok(formula) = Formula::compile(&expression, &Lists::new()) {
                let value = formula.value(request);
                let length = value.as_bytes().map_or(0, <[u8]>::len);
                assert!(length <= archipel_rules::limits::VALUE_BYTES_MAX + text.len(), "{length} bytes of {text}");
                let _ = value.to_string();
            }
        }
        Err(error) => shown(&error, text),
    }
}

fn shown(error: &archipel_rules::Diagnostic, text: &str) {
    assert!(text.get(error.span.clone()).is_some(), "{error:?} is not in {text:?}");
    let _ = error.render(text);
}

/// `name value`, where lists are separated by commas and maps are `name=value` pairs.
fn with_value(request: FieldMap, line: &[u8]) -> FieldMap {
    let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let name = std::str::from_utf8(&line[..space]).unwrap_or_default();
    let value = line.get(space + 1..).unwrap_or_default();
    let Some(field) = Field::named(name) else { return request };
    let text = String::from_utf8_lossy(value);
    let items = || value.split(|byte| *byte == b',');
    match field.kind() {
        Type::Bytes => request.text(field, value),
        Type::Bool => request.bool(field, value == b"true"),
        Type::Int => request.int(field, text.parse().unwrap_or(0)),
        Type::Ip => match text.parse() {
            Ok(address) => request.address(field, address),
            Err(_) => request,
        },
        Type::Array(Scalar::Int) => request.ints(field, text.split(',').filter_map(|item| item.parse().ok())),
        Type::Array(_) => request.texts(field, items()),
        Type::ArrayOfArrays(_) => {
            request.text_lists(field, items().map(|list| list.split(|byte| *byte == b'+').collect()))
        }
        Type::Map(_) | Type::MapOfArrays(_) => {
            let pair = |item: &'_ [u8]| {
                let equals = item.iter().position(|byte| *byte == b'=').unwrap_or(item.len());
                (item[..equals].to_vec(), item.get(equals + 1..).unwrap_or_default().to_vec())
            };
            request.map(field, items().map(pair))
        }
    }
}

/// What both engines know of.
fn scheme() -> &'static Scheme {
    static SCHEME: OnceLock<Scheme> = OnceLock::new();
    SCHEME.get_or_init(|| {
        wirefilter::Scheme! {
            http.host: Bytes,
            http.user_agent: Bytes,
            http.request.uri.path: Bytes,
            ip.src: Ip,
            ip.src.asnum: Int,
            cf.edge.server_port: Int,
            ssl: Bool,
        }
    })
}

const TEXTS: &[&[u8]] = &[
    b"",
    b"a",
    b"ab",
    b"aB",
    b"abc",
    b"b.com",
    b"www.b.com",
    b"/a/b",
    b"/a/b/c.php",
    b"\xff\x00a",
    b"a\"b\\c",
    b"[a]",
];
const ADDRESSES: &[&str] =
    &["0.0.0.0", "10.0.0.1", "10.0.0.255", "10.1.0.0", "255.255.255.255", "::", "2001:db8::1", "ffff::"];
const NUMBERS: &[i32] = &[i32::MIN, -1, 0, 1, 7, 8, 80, 443, 64_512, i32::MAX];

/// The input is an expression, or the seed of several random ones; the requests are random.
///
/// # Panics
/// When the other engine (wirefilter 0.6.1) takes an expression too and decides something else about a request.
pub fn rules_oracle(bytes: &[u8]) {
    /// Requests for each expression.
    const REQUESTS: usize = 8;
    let seed = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let mut chance = Chance::new(seed);
    let mut texts = vec![String::from_utf8_lossy(bytes).into_owned()];
    texts.extend((0..4).map(|_| expression(&mut chance, 3)));
    for (at, text) in texts.iter().enumerate() {
        // Only what this engine takes: the other has no limit on nesting.
        let Some(filter) = filter(text) else {
            assert!(at == 0, "a generated expression is refused: {text}");
            continue;
        };
        // What that one takes of escapes in a stranger's text is left to its own tests: see `literal`.
        if at == 0 && (text.contains('\\') || !text.is_ascii()) {
            continue;
        }
        let Ok(ast) = scheme().parse(text) else {
            assert!(at == 0, "the other engine refuses a generated expression: {text}");
            continue;
        };
        let other = ast.compile();
        for _ in 0..REQUESTS {
            compare(text, &filter, &other, &mut chance);
        }
    }
}

fn compare(text: &str, filter: &Filter, other: &wirefilter::Filter<'_>, chance: &mut Chance) {
    let mut request = FieldMap::new();
    let mut context = ExecutionContext::new(scheme());
    for name in ["http.host", "http.user_agent", "http.request.uri.path"] {
        let value = *chance.pick(TEXTS);
        request = request.text(Field::named(name).expect("a field"), value);
        context.set_field_value(name, value).expect("a text");
    }
    for name in ["ip.src.asnum", "cf.edge.server_port"] {
        let value = *chance.pick(NUMBERS);
        request = request.int(Field::named(name).expect("a field"), value.into());
        context.set_field_value(name, value).expect("a number");
    }
    let address: std::net::IpAddr = chance.pick(ADDRESSES).parse().expect("an address");
    let encrypted = chance.below(2) == 0;
    request = request.address(Field::IpSrc, address).bool(Field::Ssl, encrypted);
    context.set_field_value("ip.src", address).expect("an address");
    context.set_field_value("ssl", encrypted).expect("a Boolean");
    let expected = other.execute(&context).expect("all fields are set");
    assert_eq!(filter.matches(&request), expected, "{text} for {request:?}");
}

fn expression(chance: &mut Chance, depth: usize) -> String {
    if depth == 0 || chance.below(3) == 0 {
        return comparison(chance);
    }
    let (one, other) = (expression(chance, depth - 1), expression(chance, depth - 1));
    let operator = chance.pick(&["and", "or", "xor", "&&", "||", "^^"]);
    match chance.below(5) {
        0 => format!("not ({one})"),
        1 => format!("!{} {operator} {other}", comparison(chance)),
        2 => format!("({one}) {operator} {other}"),
        // Without parentheses, so that precedence counts.
        _ => format!("{one} {operator} {other}"),
    }
}

fn comparison(chance: &mut Chance) -> String {
    let text_field = *chance.pick(&["http.host", "http.user_agent", "http.request.uri.path"]);
    let int_field = *chance.pick(&["ip.src.asnum", "cf.edge.server_port"]);
    let order = *chance.pick(&["eq", "ne", "lt", "le", "gt", "ge", "==", "!=", "<", "<=", ">", ">="]);
    match chance.below(10) {
        0 => "ssl".to_owned(),
        1 => format!("ip.src {} {}", chance.pick(&["eq", "!="]), chance.pick(ADDRESSES)),
        2 => {
            let ranges =
                ["10.0.0.0/8", "10.0.0.1..10.0.0.255", "0.0.0.0/0", "::/0", "2001:db8::/32", "255.255.255.255", "::"];
            format!("ip.src in {{{} {}}}", chance.pick(&ranges), chance.pick(&ranges))
        }
        3 | 4 => format!("{int_field} {order} {}", chance.pick(NUMBERS)),
        5 => format!("{int_field} in {{{} 5..80 0x50 010..0777}}", chance.pick(NUMBERS)),
        6 => format!("{text_field} contains {}", literal(chance)),
        7 => format!("{text_field} in {{{} {}}}", literal(chance), literal(chance)),
        8 => {
            let patterns = [
                "^a",
                "b$",
                "(?i)AB",
                "a|b",
                r"\.(php|com)$",
                "[a\"]b",
                r#"\""#,
                r"\\",
                ".",
                "^.{2,3}$",
                r"\xff",
                "(a*)*$",
                r"\[a\]",
            ];
            format!("{text_field} {} \"{}\"", chance.pick(&["matches", "~"]), chance.pick(&patterns))
        }
        _ => format!("{text_field} {order} {}", literal(chance)),
    }
}

/// A quoted literal of a text. Of ASCII alone: in that version of the other engine an escape is a character and not a byte, so that
/// `\xff` stands for the two bytes of U+00FF. Its successors take it for the byte, as this engine does.
fn literal(chance: &mut Chance) -> String {
    loop {
        let text = *chance.pick(TEXTS);
        if text.is_ascii() {
            return quoted(chance, text);
        }
    }
}

/// A text between quotes, with escapes of each kind.
fn quoted(chance: &mut Chance, bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            byte if !byte.is_ascii_graphic() || chance.below(8) == 0 => match chance.below(2) {
                0 => text.push_str(&format!("\\x{byte:02x}")),
                _ => text.push_str(&format!("\\{byte:03o}")),
            },
            byte => text.push(char::from(*byte)),
        }
    }
    text.push('"');
    text
}
