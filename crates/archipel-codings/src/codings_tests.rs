//! Round trips in pieces of every size, truncation, bombs, garbage. A failing test prints the seed that replays it.

use super::*;

const LIMITS: DecodeLimits = DecodeLimits { bytes_max: 64 << 20, ratio_max: 2000, unbounded_bytes: 1 << 20 };

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Text-like or random bytes, of a length that is sometimes none and sometimes longer than a piece.
    fn content(&mut self) -> Vec<u8> {
        let len = match self.below(4) {
            0 => self.below(4),
            1 => self.below(2000),
            2 => self.below(70_000),
            _ => self.below(300_000),
        };
        let random = self.below(4) == 0;
        let mut content = Vec::with_capacity(len);
        while content.len() < len {
            if random {
                content.push(self.next() as u8);
            } else {
                content.extend_from_slice(WORDS[self.below(WORDS.len())].as_bytes());
            }
        }
        content.truncate(len);
        content
    }
}

const WORDS: [&str; 8] = ["<div class=\"", "island", "\">", "</div>\n", "function(){return ", "0,1;", "}", "\u{e4}"];

fn encode(chance: &mut Chance, mut encoder: Encoder, content: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), content);
    while !rest.is_empty() {
        let (piece, after) = rest.split_at((1 + chance.below(50_000)).min(rest.len()));
        encoder.write(piece, &mut out).unwrap();
        if chance.below(5) == 0 {
            encoder.flush(&mut out).unwrap();
        }
        rest = after;
    }
    encoder.finish(&mut out).unwrap();
    out
}

/// Decodes in pieces; the error is that of the first failing call.
fn decode(chance: &mut Chance, mut decoder: Decoder, coded: &[u8]) -> (Vec<u8>, Result<(), DecodeError>) {
    let (mut out, mut rest) = (Vec::new(), coded);
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at((1 + chance.below(9000)).min(rest.len()));
        loop {
            let before = out.len();
            match decoder.step(&mut piece, &mut out) {
                Ok(step) => {
                    assert!(out.len() - before <= PIECE_BYTES_MAX);
                    if step == Step::Hungry {
                        break;
                    }
                }
                Err(error) => return (out, Err(error)),
            }
        }
        assert!(piece.is_empty(), "hungry, but not all was eaten");
        rest = after;
    }
    let end = decoder.finish();
    (out, end)
}

fn options(chance: &mut Chance, format: Format, length: usize) -> Options {
    let (least, most) = format.levels();
    // The heaviest levels take seconds on a debug build.
    let most = if format == Format::Brotli { 9 } else { most.min(12) };
    let level = least + chance.below((most - least + 1) as usize) as u32;
    Options {
        level,
        length: (chance.below(2) == 0).then_some(length as u64),
        window_log_max: 16 + chance.below(8) as u32,
    }
}

#[test]
fn what_goes_in_comes_out() {
    for seed in 0..120 {
        let mut chance = Chance(seed);
        for format in Format::ALL {
            let content = chance.content();
            let options = options(&mut chance, format, content.len());
            let coded = encode(&mut chance, Encoder::new(format, options).unwrap(), &content);
            let (decoded, end) = decode(&mut chance, Decoder::new(format, LIMITS).unwrap(), &coded);
            assert!(end.is_ok() && decoded == content, "seed {seed}, {format:?}, {options:?}: {end:?}");
            if !coded.is_empty() {
                let cut = chance.below(coded.len());
                let (decoded, end) = decode(&mut chance, Decoder::new(format, LIMITS).unwrap(), &coded[..cut]);
                assert_eq!(end, Err(DecodeError::Truncated), "seed {seed}, {format:?}, cut at {cut}");
                assert!(content.starts_with(&decoded), "seed {seed}, {format:?}, cut at {cut}");
            }
        }
    }
}

#[test]
fn the_heaviest_levels_work() {
    let content = Chance(7).content().repeat(2);
    for format in Format::ALL {
        for level in [0, format.levels().1, u32::MAX] {
            let encoder = Encoder::new(format, Options { level, length: None, window_log_max: 18 }).unwrap();
            let coded = encode(&mut Chance(1), encoder, &content[..content.len().min(20_000)]);
            let (decoded, end) = decode(&mut Chance(2), Decoder::new(format, LIMITS).unwrap(), &coded);
            assert!(end.is_ok() && content.starts_with(&decoded), "{format:?} {level}");
        }
    }
}

#[test]
fn what_was_flushed_can_be_read() {
    for format in Format::ALL {
        let mut encoder = Encoder::new(format, Options { level: 4, length: None, window_log_max: 18 }).unwrap();
        let mut decoder = Decoder::new(format, LIMITS).unwrap();
        let mut out = Vec::new();
        for line in ["data: 1\n\n", "data: two\n\n", "data: 3\n\n"] {
            let mut coded = Vec::new();
            encoder.write(line.as_bytes(), &mut coded).unwrap();
            encoder.flush(&mut coded).unwrap();
            out.clear();
            let mut input = &coded[..];
            while decoder.step(&mut input, &mut out).unwrap() == Step::Piece {}
            assert_eq!(out, line.as_bytes(), "{format:?}");
        }
        assert_eq!(decoder.finish(), Err(DecodeError::Truncated));
    }
}

/// More than a piece that is all in the decoder already comes out without more input.
#[test]
fn long_pieces_come_out_whole() {
    for format in Format::ALL {
        let content = Chance(5).content().repeat(3);
        let mut encoder = Encoder::new(format, Options { level: 5, length: None, window_log_max: 18 }).unwrap();
        let mut coded = Vec::new();
        encoder.write(&content, &mut coded).unwrap();
        encoder.flush(&mut coded).unwrap();
        let (mut input, mut out) = (&coded[..], Vec::new());
        let mut decoder = Decoder::new(format, LIMITS).unwrap();
        while decoder.step(&mut input, &mut out).unwrap() == Step::Piece {}
        assert!(content.len() > 3 * PIECE_BYTES_MAX && out == content, "{format:?}: {} bytes", out.len());
    }
}

#[test]
fn bombs_do_not_go_off() {
    for format in Format::ALL {
        let mut encoder = Encoder::new(format, Options { level: 9, length: None, window_log_max: 18 }).unwrap();
        let (zeros, mut bomb) = (vec![0; 1 << 20], Vec::new());
        for _ in 0..40 {
            encoder.write(&zeros, &mut bomb).unwrap();
        }
        encoder.finish(&mut bomb).unwrap();
        let decoder =
            |bytes_max, ratio_max| Decoder::new(format, DecodeLimits { bytes_max, ratio_max, ..LIMITS }).unwrap();
        let (out, end) = decode(&mut Chance(1), decoder(4 << 20, u32::MAX), &bomb);
        assert_eq!(end, Err(DecodeError::BytesMax), "{format:?}");
        assert!(out.len() <= (4 << 20) + PIECE_BYTES_MAX);
        let (out, end) = decode(&mut Chance(1), decoder(u64::MAX, 100), &bomb);
        assert_eq!(end, Err(DecodeError::RatioMax), "{format:?}");
        assert!(out.len() as u64 <= (1 << 20) + 100 * bomb.len() as u64 + PIECE_BYTES_MAX as u64);
        let (out, end) = decode(&mut Chance(1), decoder(u64::MAX, u32::MAX), &bomb);
        assert!(end.is_ok() && out.len() == 40 << 20, "{format:?}");
    }
}

#[test]
fn streams_behind_each_other() {
    for format in Format::ALL {
        let one = encode(
            &mut Chance(3),
            Encoder::new(format, Options { level: 3, length: None, window_log_max: 18 }).unwrap(),
            b"one",
        );
        let two = [&one[..], &one[..]].concat();
        let (out, end) = decode(&mut Chance(4), Decoder::new(format, LIMITS).unwrap(), &two);
        match format {
            Format::Brotli => assert_eq!(end, Err(DecodeError::Malformed)),
            _ => assert!(end.is_ok() && out == b"oneone", "{format:?}: {end:?}"),
        }
        let (_, end) = decode(&mut Chance(4), Decoder::new(format, LIMITS).unwrap(), &[&one[..], b"xyz"].concat());
        // Three bytes may be the beginning of another frame's head; they are never an end.
        assert!(end.is_err(), "{format:?}");
        let many = one.repeat(2000);
        let (_, end) = decode(&mut Chance(4), Decoder::new(format, LIMITS).unwrap(), &many);
        assert_eq!(end, Err(DecodeError::Malformed), "{format:?}");
    }
}

#[test]
fn garbage_is_an_error() {
    for seed in 0..2000 {
        let mut chance = Chance(seed);
        for format in Format::ALL {
            let mut bytes = if chance.below(2) == 0 {
                let content = chance.content();
                let content = &content[..content.len().min(500)];
                encode(
                    &mut chance,
                    Encoder::new(format, Options { level: 1, length: None, window_log_max: 18 }).unwrap(),
                    content,
                )
            } else {
                (0..chance.below(200)).map(|_| chance.next() as u8).collect()
            };
            for _ in 0..=chance.below(4) {
                if !bytes.is_empty() {
                    let at = chance.below(bytes.len());
                    bytes[at] = chance.next() as u8;
                }
            }
            let (out, _) = decode(&mut chance, Decoder::new(format, LIMITS).unwrap(), &bytes);
            assert!(out.len() as u64 <= LIMITS.bytes_max + PIECE_BYTES_MAX as u64, "seed {seed}");
        }
    }
}

#[test]
fn a_dictionary_shortens_and_is_needed() {
    let mut chance = Chance(11);
    let old: Vec<u8> = (0..20_000).map(|_| chance.next() as u8).collect();
    let mut new = old.clone();
    new[9_000..9_100].fill(b'x');
    let dictionary = Dictionary::new(old).unwrap();
    for length in [None, Some(new.len() as u64)] {
        let encoder = Encoder::with_dictionary(Options { level: 5, length, window_log_max: 22 }, &dictionary).unwrap();
        let coded = encode(&mut chance, encoder, &new);
        assert!(coded.len() < 1000, "{} bytes", coded.len());
        let (out, end) = decode(&mut chance, Decoder::with_dictionary(&dictionary, LIMITS).unwrap(), &coded);
        assert!(end.is_ok() && out == new, "{end:?}");
        let (out, end) = decode(&mut chance, Decoder::new(Format::Zstd, LIMITS).unwrap(), &coded);
        assert!(end.is_err() || out != new);
    }
    assert_eq!(Dictionary::new(vec![0; 10]).err(), Some(DictionaryError::Length));
    let trained = [&[0x37, 0xa4, 0x30, 0xec][..], &[0; 100][..]].concat();
    assert_eq!(Dictionary::new(trained).err(), Some(DictionaryError::Trained));
}
