//! The SecLang engine: rule files that a stranger wrote, and requests that a stranger sends.

use std::sync::{Arc, LazyLock};

use archipel_waf::{Budget, Clock, Files, Mode, NoFiles, RuleSet, Scratch, Source, Transaction};

/// A time that stands still, so that an input does the same each time.
struct Stopped;

impl Clock for Stopped {
    fn unix_micros(&self) -> u64 {
        1_800_000_000_000_000
    }
}

/// A few words for each file.
struct Words;

impl Files for Words {
    fn read(&self, _from: &str, _name: &str) -> Result<Vec<u8>, String> {
        Ok(b"SecAction id:7,pass\nselect\n../\n<script\n".to_vec())
    }
}

/// Rules of all kinds that the Core Rule Set has.
const RULES: &str = include_str!("waf.conf");

static RULE_SET: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    let sources = [Source { name: "waf.conf".to_owned(), text: RULES.as_bytes().to_vec() }];
    Arc::new(RuleSet::load(&sources, &Words).expect("the rules of this target"))
});

/// A rule file. What loads is tried on a request.
///
/// # Panics
/// When an error names no file or says nothing, or a rule set depends on its prefilter.
pub fn seclang(bytes: &[u8]) {
    for files in [&Words as &dyn Files, &NoFiles] {
        let sources = [Source { name: "a.conf".to_owned(), text: bytes.to_vec() }];
        match RuleSet::load(&sources, files) {
            Ok(mut rules) => {
                rules.set_mode(Mode::On);
                assert!(rules.warnings().iter().all(|warning| !warning.message.is_empty()));
                let request = b"/a?b=select+1&c=..%2f..%2f<script>\nHost: a\nContent-Type: application/x-www-form-urlencoded\n\nd=e";
                judge_twice(&Arc::new(rules), request);
            }
            Err(errors) => {
                assert!(!errors.is_empty());
                assert!(errors.iter().all(|error| !error.file.is_empty() && !error.message.is_empty()));
            }
        }
    }
}

/// A request: the target, header lines, an empty line, the body; and the same as a response.
///
/// # Panics
/// When the prefilter changes a decision, or the memory of one transaction shows in the next.
pub fn waf_transaction(bytes: &[u8]) {
    judge_twice(&RULE_SET, bytes);
}

/// What a transaction came to.
#[derive(Debug, PartialEq)]
struct Outcome {
    ids: Vec<(u64, Vec<u8>, Vec<u8>)>,
    verdicts: Vec<archipel_waf::Verdict>,
}

fn judge_twice(rules: &Arc<RuleSet>, bytes: &[u8]) {
    let (with, scratch) = judge(rules, bytes, true, Scratch::default(), bytes.len() + 1);
    let (without, scratch) = judge(rules, bytes, false, scratch, bytes.len() + 1);
    assert_eq!(with, without, "the prefilter changes a decision");
    let (in_pieces, _) = judge(rules, bytes, true, scratch, 3);
    assert_eq!(with, in_pieces, "how a body is cut changes a decision");
}

fn judge(rules: &Arc<RuleSet>, bytes: &[u8], prefilter: bool, scratch: Scratch, chunk: usize) -> (Outcome, Scratch) {
    let budget = Budget { micros_max: u64::MAX, rule_micros_max: u64::MAX, ..Budget::default() };
    let mut transaction = rules.transaction(scratch, Arc::new(Stopped), budget);
    transaction.set_prefilter(prefilter);
    let mut lines = bytes.splitn(64, |&byte| byte == b'\n');
    transaction.request_line(b"POST", lines.next().unwrap_or_default(), b"HTTP/1.1");
    let mut body: &[u8] = b"";
    while let Some(line) = lines.next() {
        if line.is_empty() {
            let from = lines.next().map_or(bytes.len(), |rest| rest.as_ptr() as usize - bytes.as_ptr() as usize);
            body = &bytes[from..];
            break;
        }
        let at = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
        let value = line.get(at + 1..).unwrap_or_default().trim_ascii();
        transaction.request_header(&line[..at], value);
        transaction.response_header(&line[..at], value);
    }
    let mut verdicts = vec![transaction.request_headers()];
    verdicts.extend(body.chunks(chunk).map(|chunk| transaction.request_body(chunk)).last());
    if bytes.len() % 3 == 2 {
        transaction.request_body_truncated();
    }
    verdicts.push(transaction.request_end());
    transaction.response_status(200, b"HTTP/1.1");
    verdicts.push(transaction.response_headers());
    verdicts.extend(body.chunks(chunk).map(|chunk| transaction.response_body(chunk)).last());
    verdicts.push(transaction.response_end());
    transaction.logging();
    (Outcome { ids: ids(&transaction), verdicts }, transaction.into_scratch())
}

fn ids(transaction: &Transaction) -> Vec<(u64, Vec<u8>, Vec<u8>)> {
    let each = transaction.matches().map(|found| (found.id(), found.variable().to_vec(), found.data().to_vec()));
    each.collect()
}
