//! JA4, the fingerprint of a TLS client (FoxIO, BSD 3-Clause), from a ClientHello.
//!
//! Must never: hold any other member of the JA4+ family: those have another licence.

use std::fmt;
use std::sync::LazyLock;

use rustls::SupportedCipherSuite;
use rustls::crypto::hash::Hash;

use super::client_hello::{EXTENSION_ALPN, EXTENSION_SERVER_NAME, Hello, is_grease};

/// What carried the ClientHello: the first letter of the fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ja4Transport {
    /// TLS over TCP: `t`.
    Tcp,
    /// QUIC: `q`.
    Quic,
}

/// A JA4 fingerprint, such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ja4([u8; 36]);

impl Ja4 {
    /// The fingerprint as text: always 36 ASCII characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ja4() builds one, from ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Ja4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The fingerprint of a client.
///
/// GREASE values are ignored everywhere; cipher suites and extensions are sorted, so that clients
/// which shuffle them keep one fingerprint; signature algorithms keep their order.
#[must_use]
pub fn ja4(hello: &Hello, transport: Ja4Transport) -> Ja4 {
    let mut ciphers: Vec<u16> = without_grease(&hello.cipher_suites).collect();
    let mut extensions: Vec<u16> = without_grease(&hello.extensions).collect();

    let mut out = [b'_'; 36];
    let mut put = |at: usize, text: &[u8]| {
        if let Some(place) = out.get_mut(at..at + text.len()) {
            place.copy_from_slice(text);
        }
    };
    put(0, if transport == Ja4Transport::Tcp { b"t" } else { b"q" });
    put(1, version(hello));
    put(3, if extensions.contains(&EXTENSION_SERVER_NAME) { b"d" } else { b"i" });
    put(4, &two_digits(ciphers.len()));
    put(6, &two_digits(extensions.len()));
    put(8, &alpn(hello));

    ciphers.sort_unstable();
    put(11, &hash(&ciphers, &[]));
    extensions.retain(|kind| !matches!(*kind, EXTENSION_SERVER_NAME | EXTENSION_ALPN));
    extensions.sort_unstable();
    let algorithms: Vec<u16> = without_grease(&hello.signature_algorithms).collect();
    put(24, &hash(&extensions, &algorithms));
    Ja4(out)
}

fn without_grease(values: &[u16]) -> impl Iterator<Item = u16> + '_ {
    values.iter().copied().filter(|value| !is_grease(*value))
}

/// The highest offered version, from the extension where there is one.
fn version(hello: &Hello) -> &'static [u8] {
    let highest = without_grease(&hello.supported_versions).max();
    match highest.unwrap_or(hello.legacy_version) {
        0x0304 => b"13",
        0x0303 => b"12",
        0x0302 => b"11",
        0x0301 => b"10",
        0x0300 => b"s3",
        0x0002 => b"s2",
        0xfeff => b"d1",
        0xfefd => b"d2",
        0xfefc => b"d3",
        _ => b"00",
    }
}

/// A count of at most 99 in two decimal digits.
fn two_digits(count: usize) -> [u8; 2] {
    let count = count.min(99) as u8;
    [b'0' + count / 10, b'0' + count % 10]
}

/// First and last character of the first ALPN value; where one of them is not alphanumeric, first
/// and last character of the value in hexadecimal.
fn alpn(hello: &Hello) -> [u8; 2] {
    let grease = |name: &[u8]| matches!(name, [a, b] if is_grease(u16::from_be_bytes([*a, *b])));
    let value = hello.alpn.iter().find(|name| !grease(name));
    let Some((&first, &last)) = value.and_then(|value| value.first().zip(value.last())) else {
        return *b"00";
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        [first, last]
    } else {
        [hex_digit(first >> 4), hex_digit(last & 15)]
    }
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

/// The first twelve hexadecimal digits of SHA-256 over `a,b,c` or `a,b,c_d,e`; zeros where the
/// first list is empty.
fn hash(first: &[u16], second: &[u16]) -> [u8; 12] {
    if first.is_empty() {
        return [b'0'; 12];
    }
    let mut text = Vec::with_capacity(5 * (first.len() + second.len()));
    for (list, start) in [(first, None), (second, Some(b'_'))] {
        let mut separator = start;
        for value in list {
            text.extend(separator);
            for shift in [12, 8, 4, 0] {
                text.push(hex_digit((value >> shift) as u8 & 15));
            }
            separator = Some(b',');
        }
    }
    let digest = sha256().hash(&text);
    let mut out = [b'0'; 12];
    for (place, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(digest.as_ref()) {
        *place = [hex_digit(byte >> 4), hex_digit(byte & 15)];
    }
    out
}

/// The SHA-256 of some bytes.
pub fn sha256_of(bytes: &[u8]) -> [u8; 32] {
    let digest = sha256().hash(bytes);
    // INVARIANT: the function's output is 32 bytes long.
    digest.as_ref().try_into().expect("32 bytes")
}

/// SHA-256 of the TLS library's own provider: the suite names its hash function, so no other
/// implementation is needed in the tree.
fn sha256() -> &'static dyn Hash {
    static SHA256: LazyLock<&'static dyn Hash> =
        LazyLock::new(|| match rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256 {
            SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
            SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
        });
    *SHA256
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;

    fn hello(ciphers: &str, extensions: &str, algorithms: &str, alpn: &[&[u8]]) -> Hello {
        let list = |text: &str| -> Vec<u16> {
            let words = text.split(',').filter(|word| !word.is_empty());
            words.map(|word| u16::from_str_radix(word, 16).unwrap()).collect()
        };
        Hello {
            legacy_version: 0x0303,
            cipher_suites: list(ciphers).into(),
            extensions: list(extensions).into(),
            signature_algorithms: list(algorithms).into(),
            alpn: alpn.iter().map(|name| SmallVec::from_slice(name)).collect(),
            ..Hello::default()
        }
    }

    #[track_caller]
    fn check(hello: &Hello, expected: &str) {
        assert_eq!(ja4(hello, Ja4Transport::Tcp).to_string(), expected);
    }

    const CHROME_CIPHERS: &str = "1301,1302,1303,c02b,c02f,c02c,c030,cca9,cca8,c013,c014,009c,009d,002f,0035";

    #[test]
    fn published_example() {
        // The worked example of the JA4 description.
        let mut chrome = hello(
            CHROME_CIPHERS,
            "001b,0000,0033,0010,4469,0017,002d,000d,0005,0023,0012,002b,ff01,000b,000a,0015",
            "0403,0804,0401,0503,0805,0501,0806,0601",
            &[b"h2", b"http/1.1"],
        );
        chrome.supported_versions = SmallVec::from_slice(&[0x0304, 0x0303]);
        check(&chrome, "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert_eq!(ja4(&chrome, Ja4Transport::Quic).as_str(), "q13d1516h2_8daaf6152771_e5627efa2ab1");
        // GREASE anywhere and another order change nothing.
        chrome.cipher_suites.insert(0, 0x3a3a);
        chrome.cipher_suites.reverse();
        chrome.extensions.insert(0, 0xfafa);
        chrome.extensions.push(0x0a0a);
        chrome.extensions.reverse();
        chrome.signature_algorithms.push(0x2a2a);
        chrome.supported_versions.insert(0, 0xdada);
        chrome.alpn.insert(0, SmallVec::from_slice(&[0x0a, 0x0a]));
        check(&chrome, "t13d1516h2_8daaf6152771_e5627efa2ab1");
        // But the order of signature algorithms counts.
        chrome.signature_algorithms.swap(0, 1);
        assert_ne!(ja4(&chrome, Ja4Transport::Tcp).as_str(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn published_browsers() {
        // Chrome 133 and later, as public fingerprint services list it.
        let mut chrome = hello(
            CHROME_CIPHERS,
            "002d,0033,0010,fe0d,0017,44cd,0000,000b,000a,002b,ff01,0023,0012,0005,000d,001b",
            "0403,0804,0401,0503,0805,0501,0806,0601",
            &[b"h2"],
        );
        chrome.supported_versions = SmallVec::from_slice(&[0x0304, 0x0303]);
        check(&chrome, "t13d1516h2_8daaf6152771_d8a2da3f94cd");
        chrome.extensions.retain(|kind| *kind != 0x44cd);
        chrome.extensions.push(0x4469);
        check(&chrome, "t13d1516h2_8daaf6152771_02713d6af862");
    }

    #[test]
    fn empty_lists() {
        check(&hello("", "", "", &[]), "t12i000000_000000000000_000000000000");
        // Without signature algorithms the hash has no underscore; server_name and ALPN count but
        // are not hashed.
        check(&hello("0a0a,0035", "0000", "", &[]), "t12d010100_692296a295db_000000000000");
        check(&hello("", "0000,0010", "0403", &[b"h2"]), "t12d0002h2_000000000000_000000000000");
    }

    #[test]
    fn first_part() {
        let part = |hello: &Hello| ja4(hello, Ja4Transport::Tcp).as_str()[..10].to_owned();
        let alpn_table: [(&[u8], &str); 10] = [
            (b"h2", "h2"),
            (b"http/1.1", "h1"),
            (b"b", "bb"),
            (b"", "00"),
            (&[0xab], "ab"),
            (&[0xab, 0xcd], "ad"),
            (&[0x30, 0xab], "3b"),
            (&[0x30, 0x31, 0xab, 0xcd], "3d"),
            (&[0x30, 0xab, 0xcd, 0x31], "01"),
            (b"-h", "28"),
        ];
        for (alpn, expected) in alpn_table {
            assert_eq!(part(&hello("", "", "", &[alpn])), format!("t12i0000{expected}"));
        }
        let many = Hello { cipher_suites: (0..120).collect(), extensions: (100..250).collect(), ..Hello::default() };
        assert_eq!(part(&many), "t00i999900");
        for (version, expected) in [
            (0x0304, "13"),
            (0x0303, "12"),
            (0x0302, "11"),
            (0x0301, "10"),
            (0x0300, "s3"),
            (0x0002, "s2"),
            (0xfeff, "d1"),
            (0xfefd, "d2"),
            (0xfefc, "d3"),
            (0x1234, "00"),
        ] {
            let hello = Hello { legacy_version: version, ..Hello::default() };
            assert_eq!(part(&hello), format!("t{expected}i000000"));
        }
    }
}
