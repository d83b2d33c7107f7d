use super::*;

/// Rounds of each random test: enough to find the cheap mistakes within a second; the fuzzers go further.
const ROUNDS: usize = 20_000;

struct Xorshift(u64);

impl Xorshift {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Pieces of meaning mixed with noise, which reach deeper than noise alone.
    fn bytes(&mut self, pieces: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..=self.below(12) {
            if self.below(4) == 0 {
                out.push(self.next() as u8);
            } else {
                out.extend_from_slice(pieces[self.below(pieces.len())].as_bytes());
            }
        }
        out
    }
}

/// Prints the seed that replays a failure.
fn run(seed: u64, pieces: &[&str], entry: fn(&[u8])) {
    let mut random = Xorshift(seed);
    for round in 0..ROUNDS {
        let bytes = random.bytes(pieces);
        let shown = bytes.clone();
        let outcome = std::panic::catch_unwind(move || entry(&bytes));
        assert!(outcome.is_ok(), "seed {seed} round {round}: {:?}", String::from_utf8_lossy(&shown));
    }
}

#[test]
fn field_values_never_panic() {
    let pieces = [
        "max-age",
        "=",
        "\"",
        ",",
        ";",
        " ",
        "\\",
        "no-store",
        "s-maxage",
        "99999999999",
        "-1",
        "for",
        "[",
        "]",
        "2001:db8::1",
        "192.0.2.1",
        ":",
        "bytes ",
        "*",
        "/",
        "0",
        "Sun",
        ", ",
        "06 Nov 1994",
        "08:49:37 GMT",
        "Sunday",
        "-Nov-94",
        "?",
        "..",
        "https://",
        "a.example",
        "#",
        "%2e",
        "private",
        "no-cache",
        "(",
        ")",
    ];
    run(1, &pieces, field_value);
}

#[test]
fn ranges_never_panic() {
    let pieces = ["bytes", "=", "-", ",", "0", "9", " ", "18446744073709551615", "99999999999999999999", "1", "5"];
    run(2, &pieces, range);
}

#[test]
fn targets_never_panic() {
    let pieces = [
        "/",
        "..",
        ".",
        "%2e",
        "%2F",
        "%5c",
        "%",
        "%00",
        "%c0%ae",
        "%25",
        ";",
        "?",
        "#",
        "\\",
        "http://",
        "https://",
        "a.example",
        ":",
        "443",
        "@",
        "[::1]",
        "a",
        "é",
        "*",
        " ",
        "//",
        "%e0%80",
        "%3b",
        "|",
    ];
    run(3, &pieces, target);
}

#[test]
fn policies_hold_their_promises() {
    let pieces = [
        "\n",
        "\n>",
        "cache-control:",
        "max-age=10",
        ",",
        "s-maxage=5",
        "stale-while-revalidate=100",
        "stale-if-error=100",
        "must-revalidate",
        "no-cache",
        "private",
        "public",
        "immutable",
        "age:",
        "3",
        "etag:",
        "\"a\"",
        "W/\"b\"",
        "last-modified:Sun, 06 Nov 1994 08:49:37 GMT",
        "vary:",
        "*",
        "accept-language",
        "if-none-match:",
        "max-stale",
        "min-fresh=5",
        "connection:",
        "content-length:",
        "expires:",
        "\u{0}",
        "\n>cache-control:",
        "\nvary:a",
    ];
    run(4, &pieces, policy);
}

#[test]
fn codings_never_panic() {
    let pieces = [
        "gzip",
        "x-gzip",
        "br",
        "zstd",
        "dcz",
        "identity",
        "*",
        ";q=0",
        ";q=1",
        ";q=0.5",
        ", ",
        "|",
        "\n",
        "W/\"a\"",
        "\"a\"",
        "text/html",
        "text/event-stream",
        "+json",
        "no-transform",
        "Accept-Encoding",
        ";",
        "=",
    ];
    run(9, &pieces, coding);
}

#[test]
fn keys_hold_their_promises() {
    let pieces = [
        "/x?",
        "a=1",
        "&",
        "=",
        "b",
        "bc=2",
        ";",
        "%61",
        "+",
        "%20",
        "\n",
        "params",
        ", except=(\"a\")",
        "key-order",
        "=(\"b\")",
        "a=5; b=",
        "; ",
        "%",
        "A",
        "\u{0}",
    ];
    run(5, &pieces, cache_key);
}
