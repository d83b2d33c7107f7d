//! Header compression for the raw HTTP/2 client (RFC 7541): literals out, everything but the dynamic table in.
//!
//! The client announces a table of size 0, so that a reference to the dynamic table is the peer's mistake and is
//! reported as one. It must never refuse to encode: hostile names and values are the point.

use anyhow::{Context as _, bail, ensure};

/// A field list.
pub type Fields = Vec<(String, String)>;

/// Encodes fields as literals without indexing and without Huffman coding (RFC 7541 section 6.2.2).
pub fn encode<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            integer(&mut out, 7, 0, text.len());
            out.extend_from_slice(text);
        }
    }
    out
}

/// Encodes one field with incremental indexing, so that [`indexed`] can refer to it.
pub fn encode_indexing(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0x40];
    for text in [name, value] {
        integer(&mut out, 7, 0, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// A one-entry reference; 62 is the newest entry of the dynamic table.
pub fn indexed(index: usize) -> Vec<u8> {
    let mut out = Vec::new();
    integer(&mut out, 7, 0x80, index);
    out
}

fn integer(out: &mut Vec<u8>, prefix: u32, flags: u8, value: usize) {
    let most = (1usize << prefix) - 1;
    if value < most {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | most as u8);
    let mut left = value - most;
    while left >= 128 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Decodes a header block.
pub fn decode(mut block: &[u8]) -> anyhow::Result<Fields> {
    let mut fields = Fields::new();
    while let Some(first) = block.first().copied() {
        if first & 0x80 != 0 {
            let index = read_integer(&mut block, 7)?;
            let (name, value) = entry(index)?;
            fields.push((name.to_owned(), value.to_owned()));
        } else if first & 0xe0 == 0x20 {
            let size = read_integer(&mut block, 5)?;
            ensure!(size == 0, "table size {size} where we allow 0");
        } else {
            let index = read_integer(&mut block, if first & 0x40 != 0 { 6 } else { 4 })?;
            let name = if index == 0 { read_string(&mut block)? } else { entry(index)?.0.to_owned() };
            fields.push((name, read_string(&mut block)?));
        }
    }
    Ok(fields)
}

fn entry(index: usize) -> anyhow::Result<(&'static str, &'static str)> {
    STATIC.get(index.wrapping_sub(1)).copied().with_context(|| format!("index {index} is not in the static table"))
}

fn read_integer(block: &mut &[u8], prefix: u32) -> anyhow::Result<usize> {
    let most = (1usize << prefix) - 1;
    let mut value = usize::from(next(block)?) & most;
    if value < most {
        return Ok(value);
    }
    for shift in (0..28).step_by(7) {
        let byte = next(block)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    bail!("an integer of more than 28 bits")
}

fn next(block: &mut &[u8]) -> anyhow::Result<u8> {
    let (first, rest) = block.split_first().context("a header block ends too early")?;
    *block = rest;
    Ok(*first)
}

fn read_string(block: &mut &[u8]) -> anyhow::Result<String> {
    let huffman = block.first().is_some_and(|b| b & 0x80 != 0);
    let length = read_integer(block, 7)?;
    let text = block.get(..length).context("a string ends too early")?;
    *block = &block[length..];
    let bytes = if huffman { unhuffman(text)? } else { text.to_vec() };
    Ok(bytes.into_iter().map(char::from).collect())
}

/// Decodes by the canonical property of the code: codes of one length are consecutive in symbol order.
fn unhuffman(text: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut order: Vec<u8> = (0..=255).collect();
    order.sort_by_key(|s| (LENGTHS[usize::from(*s)], *s));
    let mut out = Vec::with_capacity(text.len() * 2);
    let (mut code, mut length) = (0u32, 0u8);
    // First code of the current length, and how many shorter symbols there are.
    let (mut first, mut skipped) = (0u32, 0usize);
    for bit in text.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)) {
        code = code << 1 | u32::from(bit);
        length += 1;
        ensure!(length <= 30, "bad Huffman code");
        first <<= 1;
        let count = order[skipped..].iter().take_while(|s| LENGTHS[usize::from(**s)] == length).count();
        if code >= first && ((code - first) as usize) < count {
            out.push(order[skipped + (code - first) as usize]);
            (code, length, first, skipped) = (0, 0, 0, 0);
        } else {
            first += count as u32;
            skipped += count;
        }
    }
    ensure!(length < 8 && code == (1 << length) - 1, "bad Huffman padding");
    Ok(out)
}

/// Lengths of the Huffman codes, by symbol (RFC 7541 appendix B).
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6,
    12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15,
    5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20,
    22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22,
    23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26,
    27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// The static table (RFC 7541 appendix A).
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let fields = [(":method", "GET"), ("x", &"y".repeat(300)[..])];
        let decoded = decode(&encode(&fields)).unwrap();
        assert_eq!(decoded, fields.map(|(n, v)| (n.to_owned(), v.to_owned())));
    }

    /// RFC 7541 appendix C.4.1 and C.6.1.
    #[test]
    fn examples_of_the_standard() {
        assert_eq!(
            unhuffman(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]).unwrap(),
            b"www.example.com"
        );
        assert_eq!(unhuffman(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(unhuffman(&[0xae, 0xc3, 0x77, 0x1a, 0x4b]).unwrap(), b"private");
        assert_eq!(decode(&[0x88]).unwrap(), [(":status".to_owned(), "200".to_owned())]);
        assert!(decode(&[0xbe]).is_err());
    }
}
