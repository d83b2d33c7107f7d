use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).expect("hex")).collect()
}

fn lines(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut out = Vec::new();
    decoder.decode(block, |field| {
        out.push(match field {
            Field::Pseudo(name, value) => format!("{}: {}", name.text(), String::from_utf8_lossy(&value)),
            Field::Plain(name, value) => format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())),
            Field::Bad { name_len, value_len } => format!("bad {name_len} {value_len}"),
        });
        true
    })?;
    Ok(out)
}

/// Decodes the blocks one after the other on one connection.
#[track_caller]
fn check(blocks: &[(&str, &[&str])], table_bytes: usize) {
    let mut decoder = Decoder::default();
    for (block, expected) in blocks {
        assert_eq!(lines(&mut decoder, &hex(block)).expect("a section"), *expected);
    }
    assert_eq!(decoder.bytes, table_bytes);
    assert_eq!(decoder.bytes, decoder.table.iter().map(Field::size).sum::<usize>());
}

/// RFC 7541 appendix C.3: requests without Huffman code.
#[test]
fn requests_in_plain_text() {
    check(
        &[
            (
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
            ),
            (
                "8286 84be 5808 6e6f 2d63 6163 6865",
                &[
                    ":method: GET",
                    ":scheme: http",
                    ":path: /",
                    ":authority: www.example.com",
                    "cache-control: no-cache",
                ],
            ),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                &[
                    ":method: GET",
                    ":scheme: https",
                    ":path: /index.html",
                    ":authority: www.example.com",
                    "custom-key: custom-value",
                ],
            ),
        ],
        164,
    );
}

/// RFC 7541 appendix C.4: the same with Huffman code.
#[test]
fn requests_in_huffman_code() {
    check(
        &[
            (
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                &[":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"],
            ),
            (
                "8286 84be 5886 a8eb 1064 9cbf",
                &[
                    ":method: GET",
                    ":scheme: http",
                    ":path: /",
                    ":authority: www.example.com",
                    "cache-control: no-cache",
                ],
            ),
            (
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
                &[
                    ":method: GET",
                    ":scheme: https",
                    ":path: /index.html",
                    ":authority: www.example.com",
                    "custom-key: custom-value",
                ],
            ),
        ],
        164,
    );
}

#[test]
fn a_bad_field_takes_its_place_in_the_table() {
    // "A: b" with an upper-case name, indexed; then the entry, then its name with another value.
    check(&[("4001 4101 62 be 7e 0163", &["bad 1 1", "bad 1 1", "bad 1 1"])], 68);
    // A line end in a value, a space in a path, white space at an end, a pseudo-field nobody knows, a status.
    check(&[("0001 6103 620a 63", &["bad 1 3"]), ("0403 2f20 61", &["bad 5 3"])], 0);
    check(&[("0001 6102 2062", &["bad 1 2"]), ("0002 3a78 0161", &["bad 2 1"]), ("88", &["bad 7 3"])], 0);
}

#[test]
fn what_is_no_section() {
    let refused = [
        ("80", "index 0"),
        ("be", "an index beyond the tables"),
        ("ff80808080 01", "an endless integer"),
        ("ff", "an integer without an end"),
        ("4005 6162", "a string beyond the block"),
        ("40", "a literal without strings"),
        ("3fe2 1f", "a table larger than announced"),
        ("82 3f e1 1f", "a size behind a field"),
        ("0001 6181 00", "padding that is not ones"),
    ];
    for (block, why) in refused {
        assert_eq!(lines(&mut Decoder::default(), &hex(block)), Err(Malformed), "{why}");
    }
}

#[test]
fn the_table_never_holds_more_than_its_size() {
    let mut decoder = Decoder::default();
    let entry = |length: usize, decoder: &mut Decoder| {
        let mut block = vec![0x40, 1, b'a', 0x7f, (length - 127) as u8 & 0x7f | 0x80, ((length - 127) >> 7) as u8];
        block.extend(vec![b'x'; length]);
        lines(decoder, &block).expect("a section");
    };
    for length in [1000, 2000, 3000, 4063, 500, 500] {
        entry(length, &mut decoder);
        assert!(decoder.bytes <= TABLE_BYTES_MAX);
    }
    assert_eq!(decoder.table.len(), 2);
    entry(4064, &mut decoder);
    assert!(decoder.table.is_empty() && decoder.bytes == 0, "what is larger than the table empties it");
    entry(500, &mut decoder);
    assert_eq!(lines(&mut decoder, &hex("20 82")).expect("a section"), [":method: GET"]);
    assert!(decoder.table.is_empty(), "the client made the table empty");
    entry(500, &mut decoder);
    assert!(decoder.table.is_empty(), "and it stays so");
}
