use super::*;
use crate::operator::NoFiles;

fn prefilter(operators: &[(&str, &str)]) -> (Prefilter, Vec<Operator>) {
    let compile = |(name, argument): &(&str, &str)| Operator::compile(name, argument.as_bytes(), &NoFiles).unwrap();
    let operators: Vec<Operator> = operators.iter().map(compile).collect();
    (Prefilter::new(&operators, &vec![true; operators.len()]), operators)
}

fn allowed(prefilter: &Prefilter, hits: &mut Hits, text: &[u8]) -> Vec<u32> {
    let row = prefilter.scan(text, &ByteSet::of(text), hits);
    let row = hits.row(row).to_vec();
    (0..prefilter.demands.len() as u32).filter(|bit| row[*bit as usize / 64] & (1 << (bit % 64)) != 0).collect()
}

#[test]
fn it_rules_out_only_what_cannot_match() {
    let words = ["select", "union", "<script", "../", "/etc/passwd", "a'b", "()", "eval(", "x", ""];
    let (prefilter, operators) = prefilter(&[
        ("rx", r"(?i)union\s+(?:all\s+)?select"),
        ("rx", r"<script[^>]*>"),
        ("rx", r"\.\./|/etc/(?:passwd|shadow)"),
        ("rx", r"['\x22]"),
        ("rx", r"^.{40,}$"),
        ("pm", "eval( system( exec("),
        ("contains", "a'b"),
        ("beginsWith", "SELECT"),
        ("validateUtf8Encoding", ""),
        ("detectSQLi", ""),
    ]);
    let mut hits = Hits::default();
    hits.clear(&prefilter);
    for a in words {
        for b in words {
            for c in [" ", "", "\0", "\u{e9}", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
                for text in [format!("{a}{c}{b}"), format!("{a}{c}{b}").to_uppercase()] {
                    let allowed = allowed(&prefilter, &mut hits, text.as_bytes());
                    for (at, operator) in operators.iter().enumerate() {
                        let ruled_out = prefilter.bit(at as u32).is_some_and(|bit| !allowed.contains(&bit));
                        let matches = operator.matches(text.as_bytes(), None);
                        assert!(!(ruled_out && matches), "{at} matches {text:?} and was ruled out");
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_harmless_is_asked_nothing() {
    let (prefilter, _) = prefilter(&[("rx", r"(?i)union\s+select"), ("rx", r"<script[^>]*>"), ("pm", "eval( system(")]);
    let mut hits = Hits::default();
    hits.clear(&prefilter);
    assert_eq!(prefilter.scan(b"a quiet morning", &ByteSet::of(b"a quiet morning"), &mut hits), 0);
    assert_eq!(allowed(&prefilter, &mut hits, b"the UNION  SELECT of <ScripT>"), [0, 1]);
}

#[test]
fn many_values_keep_their_own_answers() {
    let (prefilter, _) = prefilter(&[("contains", "abc"), ("contains", "xyz")]);
    let mut hits = Hits::default();
    hits.clear(&prefilter);
    let rows: Vec<u32> = [&b"abc"[..], b"-", b"xyz", b"xyzabc"]
        .iter()
        .map(|text| prefilter.scan(text, &ByteSet::of(text), &mut hits))
        .collect();
    let bits: Vec<u64> = rows.iter().map(|row| hits.row(*row)[0]).collect();
    assert_eq!(bits, [1, 0, 2, 3]);
}
