//! Runs a fuzz target for some seconds with nothing but stable Rust: mutates the seeds, catches panics, prints what
//! replays them. It has no coverage feedback, so it finds what is near the seeds; cargo-fuzz finds the rest.
//!
//! usage: smoke --list | smoke TARGET [--seconds N] [--seed N] | smoke TARGET --input FILE

use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use archipel_fuzz::TARGETS;
use archipel_testkit::chance::Chance;

/// Longest input that is tried.
const INPUT_BYTES_MAX: usize = 32 << 10;
/// An input that takes longer is a finding.
const INPUT_TIME_MAX: Duration = Duration::from_secs(2);

/// How much of a finding is shown; the file has all of it.
const SHOWN_BYTES_MAX: usize = 200;

/// Pieces that parsers trip over.
const PIECES: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"%",
    b"%00",
    b"%2e%2e",
    b"/..//",
    b"0",
    b"-1",
    b"0x10",
    b"+1",
    b"18446744073709551616",
    b"9223372036854775807",
    b"ffffffffffffffff",
    b"\xff\xff",
    b"\x80",
    b"\xc0\xaf",
    b"chunked",
    b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a\r\n",
    b"\r\n\r\n",
    b"bytes=0-0",
    b"max-age=",
    b"[[",
    b"]]",
    b"{}",
    b"'''",
];

struct Options {
    target: String,
    seconds: u64,
    seed: u64,
    input: Option<PathBuf>,
}

fn main() -> ExitCode {
    match arguments() {
        None => ExitCode::SUCCESS,
        Some(Ok(options)) => run(&options),
        Some(Err(text)) => {
            eprintln!("{text}");
            ExitCode::from(2)
        }
    }
}

fn arguments() -> Option<Result<Options, String>> {
    const USAGE: &str = "usage: smoke --list | smoke TARGET [--seconds N] [--seed N] [--input FILE]";
    let mut arguments = std::env::args().skip(1);
    let Some(target) = arguments.next() else { return Some(Err(USAGE.to_owned())) };
    if target == "--list" {
        for (name, _) in TARGETS {
            println!("{name}");
        }
        return None;
    }
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mut options = Options { target, seconds: 5, seed: since.as_secs(), input: None };
    while let Some(key) = arguments.next() {
        let Some(value) = arguments.next() else { return Some(Err(USAGE.to_owned())) };
        match (key.as_str(), value.parse::<u64>()) {
            ("--seconds", Ok(seconds)) => options.seconds = seconds,
            ("--seed", Ok(seed)) => options.seed = seed,
            ("--input", _) => options.input = Some(value.into()),
            _ => return Some(Err(USAGE.to_owned())),
        }
    }
    Some(Ok(options))
}

fn run(options: &Options) -> ExitCode {
    let Some((name, target)) = TARGETS.iter().find(|(name, _)| *name == options.target) else {
        eprintln!("there is no target `{}`; --list names them", options.target);
        return ExitCode::from(2);
    };
    if let Some(path) = &options.input {
        match std::fs::read(path) {
            Ok(bytes) => target(&bytes),
            Err(error) => {
                eprintln!("{}: {error}", path.display());
                return ExitCode::from(2);
            }
        }
        println!("{name}: {} does no harm", path.display());
        return ExitCode::SUCCESS;
    }
    let seeds = seeds(name);
    // The message is printed once, with the input.
    panic::set_hook(Box::new(|_| {}));
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut runs: u64 = 0;
    let mut inputs: Vec<Vec<u8>> = seeds.clone();
    let mut chance = Chance::new(options.seed);
    while Instant::now() < until {
        let input = match usize::try_from(runs).ok().and_then(|at| seeds.get(at)) {
            Some(seed) => seed.clone(),
            None => mutate(&inputs, &mut chance),
        };
        if let Err(what) = once(*target, &input) {
            return found(name, &input, &what, options.seed);
        }
        // Some of what was tried is mutated further.
        if chance.below(64) == 0 && inputs.len() < 4096 {
            inputs.push(input);
        }
        runs += 1;
    }
    println!(
        "{name}: {runs} inputs in {} s from {} seeds, nothing found (--seed {})",
        options.seconds,
        seeds.len(),
        options.seed
    );
    ExitCode::SUCCESS
}

/// Processor time of this thread so far: what others do on the machine is not the target's fault. Where the kernel does not tell it,
/// no input takes long.
fn processor_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0))
}

/// Runs the target on one input; what went wrong, if anything.
fn once(target: fn(&[u8]), input: &[u8]) -> Result<(), String> {
    let begun = processor_time();
    panic::catch_unwind(AssertUnwindSafe(|| target(input))).map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })?;
    let took = processor_time().saturating_sub(begun);
    if took > INPUT_TIME_MAX { Err(format!("{} ms for {} bytes", took.as_millis(), input.len())) } else { Ok(()) }
}

fn found(name: &str, input: &[u8], what: &str, seed: u64) -> ExitCode {
    let folder = home().join("artifacts").join(name);
    let hash = input
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    let path = folder.join(format!("crash-{hash:016x}"));
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, input));
    println!("{name}: FOUND (--seed {seed}): {what}");
    println!("input, {} bytes: {}", input.len(), input[..input.len().min(SHOWN_BYTES_MAX)].escape_ascii());
    match written {
        Ok(()) => println!(
            "replay: cargo run --release --manifest-path fuzz/Cargo.toml --bin smoke -- {name} --input {}",
            path.display()
        ),
        Err(error) => println!("{}: {error}", path.display()),
    }
    ExitCode::FAILURE
}

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(home().join("seeds").join(name)).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    seeds.push(Vec::new());
    seeds
}

/// Draws an input and changes it a few times.
fn mutate(inputs: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = chance.pick(inputs).clone();
    for _ in 0..=chance.below(6) {
        change(&mut bytes, inputs, chance);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn place(length: usize, chance: &mut Chance) -> usize {
    usize::try_from(chance.below(length as u64 + 1)).unwrap_or(0)
}

fn change(bytes: &mut Vec<u8>, inputs: &[Vec<u8>], chance: &mut Chance) {
    let at = place(bytes.len(), chance);
    let to = (at + place(16, chance)).min(bytes.len());
    match chance.below(10) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(chance.below(256)).unwrap_or(0);
            }
        }
        2 => {
            bytes.drain(at..to);
        }
        3 => {
            let copy = bytes[at..to].to_vec();
            bytes.splice(at..at, copy);
        }
        4 | 5 => {
            bytes.splice(at..at, chance.pick(PIECES).iter().copied());
        }
        6 => {
            bytes.splice(at..to, chance.pick(PIECES).iter().copied());
        }
        7 => {
            let other = chance.pick(inputs);
            let from = place(other.len(), chance);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
        8 => bytes.truncate(at),
        _ => {
            // Many of one kind: what counts and lengths are for.
            let piece = bytes[at..to].to_vec();
            for _ in 0..chance.below(200) {
                bytes.splice(at..at, piece.iter().copied());
            }
        }
    }
}
