//! Prints what the operators and transformations cost that most requests meet, in nanoseconds a call.
//!
//! `cargo bench -p archipel-waf --bench operators`

use std::hint::black_box;
use std::time::{Duration, Instant};

use archipel_waf::operator::{NoFiles, Operator};
use archipel_waf::transform::Transformation;

/// Values as requests have them: none is an attack.
const SHORT: [&[u8]; 8] = [
    b"Hello world, how are you today?",
    b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8",
    b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    b"john.smith@example.com",
    b"2026-11-27T06:45:43Z",
    b"/products/shoes/running?size=42&colour=blue",
    b"It's 5 o'clock; let's go (all of us) & have fun",
    b"a=1; session=6f1d2c3b4a; theme=dark",
];

const PLAIN: [&[u8]; 4] = [b"shirting", b"20022584", b"user_name", b"6f1d2c3b4a5968778695a4b3c2d1e0ff"];

const ENCODED: [&[u8]; 4] =
    [b"a%20b%2Fc+d", b"caf\xc3\xa9 &amp; cr\xc3\xa8me", b"C:\\Users\\name\\file.txt", b"/a/./b/../c//d"];

/// The median of nine runs over all `values`, in nanoseconds a value.
fn measure(values: &[&[u8]], mut call: impl FnMut(&[u8])) -> f64 {
    const ROUNDS: u32 = 4_000;
    let mut runs: Vec<Duration> = (0..9)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                for value in values {
                    call(black_box(value));
                }
            }
            start.elapsed()
        })
        .collect();
    runs.sort();
    runs[4].as_nanos() as f64 / f64::from(ROUNDS) / values.len() as f64
}

/// What is measured.
type Call = Box<dyn FnMut(&[u8])>;

fn main() {
    println!("{:<28}{:>10}{:>10}{:>10}", "ns a call", "short", "plain", "encoded");
    let print = |name: &str, mut call: Call| {
        let [short, plain, encoded] = [&SHORT[..], &PLAIN[..], &ENCODED[..]].map(|values| measure(values, &mut call));
        println!("{name:<28}{short:>10.0}{plain:>10.0}{encoded:>10.0}");
    };
    let operators: [(&str, &[u8]); 8] = [
        ("detectSQLi", b""),
        ("detectXSS", b""),
        ("pm", b"select union insert /etc/passwd <script wget curl"),
        ("rx", br"(?i)\b(?:select|insert|update|delete)\b[^;]{1,40}\b(?:from|into|set)\b"),
        ("within", b"GET HEAD POST OPTIONS"),
        ("validateByteRange", b"1-255"),
        ("validateUtf8Encoding", b""),
        ("lt", b"1"),
    ];
    for (name, argument) in operators {
        match Operator::compile(name, argument, &NoFiles) {
            Ok(operator) => print(name, Box::new(move |value| _ = black_box(operator.matches(value, None)))),
            Err(error) => println!("{name}: {error}"),
        }
    }
    for &transformation in Transformation::ALL {
        let mut out = Vec::new();
        print(
            transformation.name(),
            Box::new(move |value| {
                if !transformation.is_noop(value) {
                    black_box(transformation.apply(value, &mut out));
                }
            }),
        );
    }
}
