//! Loads rule files and judges one request: `crs FILE... -- METHOD TARGET [NAME: VALUE]... [BODY]`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use archipel_waf::{Budget, Clock, Files, RuleSet, Scratch, Source};

struct Disk;

impl Files for Disk {
    fn read(&self, from: &str, name: &str) -> Result<Vec<u8>, String> {
        let path = Path::new(from).parent().map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

struct Wall;

impl Clock for Wall {
    fn unix_micros(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let files: Vec<String> = arguments.by_ref().take_while(|argument| argument != "--").collect();
    let sources: Vec<Source> =
        files.into_iter().map(|name| Source { text: std::fs::read(&name).unwrap(), name }).collect();
    let began = Instant::now();
    let rules = match RuleSet::load(&sources, &Disk) {
        Ok(rules) => Arc::new(rules),
        Err(errors) => {
            errors.iter().for_each(|error| println!("{error}"));
            return;
        }
    };
    println!("{} rules, {} bytes, {:?}", rules.rules(), rules.bytes(), began.elapsed());
    rules.warnings().iter().for_each(|warning| println!("warning: {warning}"));
    let Some(method) = arguments.next() else { return };
    let target = arguments.next().unwrap_or_default();
    let mut transaction = rules.transaction(Scratch::default(), Arc::new(Wall), Budget::default());
    transaction.request_line(method.as_bytes(), target.as_bytes(), b"HTTP/1.1");
    let mut body = Vec::new();
    for argument in arguments {
        match argument.split_once(": ") {
            Some((name, value)) => transaction.request_header(name.as_bytes(), value.as_bytes()),
            None => body = argument.into_bytes(),
        }
    }
    println!("{:?}", transaction.request_headers());
    println!("{:?}", transaction.request_body(&body));
    println!("{:?}", transaction.request_end());
    transaction.logging();
    for found in transaction.matches() {
        println!("{} {found:?} {}", found.id(), String::from_utf8_lossy(found.data()));
    }
}
