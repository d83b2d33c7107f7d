//! What a thousand rules cost a request that none of them matches: `cargo run --release -p archipel-rules --example rule_index`.
//! Prints one line of JSON: nanoseconds a request through the index and through a loop, medians of several runs.

use std::hint::black_box;
use std::io::{Write as _, stdout};

use archipel_rules::{Expression, Field, FieldMap, Filter, Formula, Lists, RuleIndex, ValueExpression};

const RULES: usize = 1000;
const RUNS: usize = 9;

/// The kinds of rules that people write, each with a number of its own.
fn rule(n: usize) -> String {
    let (high, low) = (n / 250, n % 250);
    match n % 10 {
        0 => format!("http.host eq \"shop{n}.example.com\" and http.request.uri.path contains \"/cart{n}\""),
        1 => format!("starts_with(http.request.uri.path, \"/legacy/{n}/\") and http.request.method eq \"POST\""),
        2 => format!("ip.src in {{10.{high}.{low}.0/24 192.168.{low}.0/24}} and not ssl"),
        3 => format!("http.user_agent contains \"BadBot/{n}\" or http.user_agent contains \"Scraper-{n}\""),
        4 => format!("http.request.uri.path matches \"(?i)^/wp-{n}/.*\\.php$\""),
        5 => format!("lower(http.request.uri.path) wildcard \"/api/v{n}/*/admin\""),
        6 => format!("ip.src.asnum in {{{} {}}} and http.request.uri.path ne \"/\"", 60_000 + n, 90_000 + n),
        7 => format!("any(http.request.headers[\"x-probe-{n}\"][*] contains \"attack\")"),
        8 => format!("ends_with(http.request.uri.path, \".bak{n}\") or http.request.uri.query contains \"debug{n}=1\""),
        _ => format!(
            "http.request.full_uri wildcard \"https://old{n}.example.com/*\" and http.request.method in {{\"GET\" \"HEAD\"}}"
        ),
    }
}

fn request() -> FieldMap {
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
    let headers = [
        ("host", "www.example.com"),
        ("user-agent", agent),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.9,fr;q=0.8"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "session=8521F670545D7865F79C3D7BEDC29CCE; theme=dark; consent=1"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("cache-control", "max-age=0"),
    ];
    FieldMap::new()
        .text(Field::HttpHost, "www.example.com")
        .text(Field::HttpRequestMethod, "GET")
        .text(Field::HttpRequestUriPath, "/articles/2026/why-islands-have-no-centre/index.html")
        .text(Field::HttpRequestUriQuery, "utm_source=newsletter&page=2")
        .text(
            Field::HttpRequestFullUri,
            "https://www.example.com/articles/2026/why-islands-have-no-centre/index.html?utm_source=newsletter&page=2",
        )
        .text(Field::HttpUserAgent, agent)
        .address(Field::IpSrc, std::net::IpAddr::from([203, 0, 113, 77]))
        .int(Field::IpSrcAsnum, 64_512)
        .text(Field::IpSrcCountry, "GB")
        .bool(Field::Ssl, true)
        .map(Field::HttpRequestHeaders, headers)
}

/// Nanoseconds for which this thread has run, so that what else the machine does counts little.
fn cpu_ns() -> u64 {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    statistics.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0)
}

/// Median nanoseconds of one of `count` calls, which should take much longer together than a tick of the kernel's clock.
fn measure(count: u32, mut once: impl FnMut() -> usize) -> f64 {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begin = cpu_ns();
            for _ in 0..count {
                black_box(once());
            }
            (cpu_ns() - begin) as f64 / f64::from(count)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    runs[RUNS / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lists = Lists::new();
    let begin = cpu_ns();
    let filters: Vec<Filter> = (0..RULES)
        .map(|n| Filter::compile(&Expression::parse(&rule(n))?, &lists))
        .collect::<Result<_, archipel_rules::Diagnostic>>()?;
    let compiled = cpu_ns() - begin;
    let begin = cpu_ns();
    let index = RuleIndex::new(filters.iter().cloned());
    let indexed = cpu_ns() - begin;
    let request = request();
    assert_eq!(index.matches(&request).count(), 0, "a rule matches");
    let by_index = measure(200_000, || index.matches(&request).count());
    let by_loop = measure(2000, || filters.iter().filter(|filter| filter.matches(&request)).count());
    let one = measure(2_000_000, || usize::from(filters[0].matches(&request)));
    let text = r#"regex_replace(http.request.uri.path, "^/articles/([0-9]+)/(.*)$", "/${2}?year=${1}")"#;
    let formula = Formula::compile(&ValueExpression::parse_text(text, archipel_rules::Phase::Request)?, &lists)?;
    let rewrite = measure(200_000, || formula.value(&request).as_bytes().map_or(0, <[u8]>::len));
    writeln!(
        stdout(),
        "{{\"rules\": {RULES}, \"unconditional\": {}, \"index_ns\": {by_index:.0}, \"loop_ns\": {by_loop:.0}, \"one_filter_ns\": {one:.0}, \
         \"rewrite_ns\": {rewrite:.0}, \"compile_ms\": {:.1}, \"index_ms\": {:.1}}}",
        index.unconditional(),
        compiled as f64 / 1e6,
        indexed as f64 / 1e6,
    )?;
    Ok(())
}
