//! What a transaction costs: phases 1, 2 and 5 of a benign GET, a 4 KiB JSON body and a 64 KiB form, with the rule files given.
//! `cost [ROUNDS] FILE...`; prints the median in microseconds.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use archipel_waf::{Budget, Clock, Files, RuleSet, Scratch, Source};

struct Disk;

impl Files for Disk {
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String> {
        let folder = Path::new(from).parent().unwrap_or(Path::new(""));
        std::fs::read(folder.join(name)).map_err(|error| error.to_string())
    }
}

struct Wall;

impl Clock for Wall {
    fn unix_micros(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }
}

struct Request {
    name: &'static str,
    method: &'static str,
    target: &'static str,
    content_type: Option<&'static str>,
    body: Vec<u8>,
}

const WORDS: &[&str] = &[
    "river",
    "Quiet morning",
    "order 1042",
    "blue",
    "the weather in Lisbon",
    "delivery",
    "42",
    "anna.berg",
    "two chairs",
    "a long walk",
    "paper",
    "north station",
    "2026-03-14",
    "green tea",
    "Monday",
];

fn json(bytes: usize) -> Vec<u8> {
    let mut body = String::from("{\"items\":[");
    for at in 0.. {
        if body.len() + 120 > bytes {
            break;
        }
        let (a, b) = (WORDS[at % WORDS.len()], WORDS[(at * 7 + 3) % WORDS.len()]);
        body.push_str(&format!(
            "{}{{\"id\":{at},\"title\":\"{a}\",\"note\":\"{b} and {a}\"}}",
            if at > 0 { "," } else { "" }
        ));
    }
    body.push_str("]}");
    body.into_bytes()
}

fn form(bytes: usize) -> Vec<u8> {
    let mut body = String::new();
    for at in 0.. {
        if body.len() >= bytes {
            break;
        }
        let words: Vec<_> = (0..40).map(|word| WORDS[(at * 11 + word * 5) % WORDS.len()].replace(' ', "+")).collect();
        body.push_str(&format!("{}field{at}={}", if at > 0 { "&" } else { "" }, words.join("+")));
    }
    body.into_bytes()
}

fn judge(rules: &Arc<RuleSet>, clock: &Arc<dyn Clock>, scratch: Scratch, request: &Request) -> (Scratch, Vec<u64>) {
    let mut transaction = rules.transaction(scratch, Arc::clone(clock), Budget::default());
    transaction.unique_id(b"aGVsbG8gd29ybGQ");
    transaction.request_line(request.method.as_bytes(), request.target.as_bytes(), b"HTTP/1.1");
    let agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36";
    for (name, value) in [
        ("Host", "www.example.com"),
        ("User-Agent", agent),
        ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("Accept-Language", "en-US,en;q=0.5"),
        ("Accept-Encoding", "gzip, deflate, br"),
        ("Referer", "https://www.example.com/catalogue"),
        ("Cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark"),
        ("Connection", "keep-alive"),
    ] {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    if let Some(content_type) = request.content_type {
        transaction.request_header(b"Content-Type", content_type.as_bytes());
        transaction.request_header(b"Content-Length", request.body.len().to_string().as_bytes());
    }
    let _ = transaction.request_headers();
    let _ = transaction.request_body(&request.body);
    let _ = transaction.request_end();
    transaction.logging();
    let ids = transaction.matches().map(|found| found.id()).collect();
    (transaction.into_scratch(), ids)
}

fn main() {
    let mut arguments = std::env::args().skip(1).peekable();
    let rounds = arguments.peek().and_then(|first| first.parse().ok());
    let rounds: usize = rounds.inspect(|_| drop(arguments.next())).unwrap_or(300);
    let sources = arguments.map(|name| Source { text: std::fs::read(&name).expect("a rule file"), name });
    let sources: Vec<Source> = sources.collect();
    let began = Instant::now();
    let rules = match RuleSet::load(&sources, &Disk) {
        Ok(rules) => Arc::new(rules),
        Err(errors) => return errors.iter().for_each(|error| println!("{error}")),
    };
    println!("{} rules, {} KiB, loaded in {:?}", rules.rules(), rules.bytes() >> 10, began.elapsed());
    let clock: Arc<dyn Clock> = Arc::new(Wall);
    let requests = [
        Request {
            name: "GET",
            method: "GET",
            target: "/products?category=garden&page=2",
            content_type: None,
            body: vec![],
        },
        Request {
            name: "JSON 4 KiB",
            method: "POST",
            target: "/api/orders",
            content_type: Some("application/json"),
            body: json(4 << 10),
        },
        Request {
            name: "form 64 KiB",
            method: "POST",
            target: "/post",
            content_type: Some("application/x-www-form-urlencoded"),
            body: form(64 << 10),
        },
    ];
    let mut scratch = Scratch::default();
    for request in &requests {
        let mut times: Vec<Duration> = Vec::new();
        let mut matched = Vec::new();
        for _ in 0..rounds {
            let began = Instant::now();
            (scratch, matched) = judge(&rules, &clock, scratch, request);
            times.push(began.elapsed());
        }
        times.sort();
        println!(
            "{:12} {:9.1} us (least {:.1})  matched {matched:?}",
            request.name,
            micros(times[rounds / 2]),
            micros(times[0])
        );
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
