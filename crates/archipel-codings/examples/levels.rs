//! What each coding and level costs and saves on given files: `cargo run --release -p archipel-codings --example levels
//! -- FILE...`. Prints one table a file: share of the bytes that is left, milliseconds for each megabyte in and out.

use std::hint::black_box;
use std::time::{Duration, Instant};

use archipel_codings::{DecodeLimits, Decoder, Encoder, Format, Options, Step};

/// The fastest of so many runs counts: the others were disturbed.
const RUNS: usize = 5;
/// A level is run fewer times when a run takes longer than this.
const SLOW: Duration = Duration::from_secs(2);
const LIMITS: DecodeLimits = DecodeLimits { bytes_max: u64::MAX, ratio_max: u32::MAX, unbounded_bytes: u64::MAX };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let content = std::fs::read(&path)?;
        println!("\n{path}: {} bytes\n\n| coding | level | bytes left | ms/MB in | ms/MB out |", content.len());
        println!("|---|---|---|---|---|");
        for format in Format::ALL {
            for level in levels(format) {
                line(format, *level, &content)?;
            }
        }
    }
    Ok(())
}

fn levels(format: Format) -> &'static [u32] {
    match format {
        Format::Gzip => &[1, 2, 3, 4, 5, 6, 7, 8, 9],
        Format::Brotli => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        Format::Zstd => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 17, 19],
    }
}

fn line(format: Format, level: u32, content: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let megabytes = content.len() as f64 / 1e6;
    let (mut coded, mut encoding, mut decoding) = (Vec::new(), Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let begun = Instant::now();
        coded.clear();
        let mut encoder = Encoder::new(
            format,
            Options { level, length: Some(content.len() as u64), window_log_max: Options::WINDOW_LOG_LARGE },
        )?;
        for piece in content.chunks(16 << 10) {
            encoder.write(piece, &mut coded)?;
        }
        encoder.finish(&mut coded)?;
        encoding = encoding.min(begun.elapsed());
        if encoding > SLOW {
            break;
        }
    }
    for _ in 0..RUNS {
        let begun = Instant::now();
        let mut decoder = Decoder::new(format, LIMITS)?;
        let (mut input, mut out) = (&coded[..], Vec::new());
        while decoder.step(&mut input, &mut out)? == Step::Piece {
            black_box(&out);
            out.clear();
        }
        decoder.finish()?;
        decoding = decoding.min(begun.elapsed());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / megabytes;
    let left = 100.0 * coded.len() as f64 / content.len() as f64;
    println!("| {format:?} | {level} | {left:.1} % | {:.1} | {:.1} |", each(encoding), each(decoding));
    Ok(())
}
