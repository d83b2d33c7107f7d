//! What each coding and level costs and saves on given files: `cargo run --release -p archipel-codings --example levels
//! -- FILE...`. Prints one table a file: share of the bytes that is left, milliseconds of CPU for each megabyte in and out
//! (Linux: the scheduler's account of this thread, which other processes do not disturb).

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use archipel_codings::{DecodeLimits, Decoder, Encoder, Format, Options, Step};

/// The fastest of so many runs counts: the others were disturbed.
const RUNS: usize = 5;
/// A level is run fewer times when a run takes longer than this.
const SLOW: Duration = Duration::from_secs(2);
const LIMITS: DecodeLimits = DecodeLimits { bytes_max: u64::MAX, ratio_max: u32::MAX, unbounded_bytes: u64::MAX };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = std::io::stdout();
    for path in std::env::args().skip(1) {
        let content = std::fs::read(&path)?;
        writeln!(out, "\n{path}: {} bytes\n\n| coding | level | bytes left | ms/MB in | ms/MB out |", content.len())?;
        writeln!(out, "|---|---|---|---|---|")?;
        for format in Format::ALL {
            for level in levels(format) {
                line(&mut out, format, *level, &content)?;
            }
        }
    }
    Ok(())
}

/// CPU time of this thread so far.
fn cpu() -> std::io::Result<Duration> {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds = account.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Ok(Duration::from_nanos(nanoseconds))
}

fn levels(format: Format) -> &'static [u32] {
    match format {
        Format::Gzip => &[1, 2, 3, 4, 5, 6, 7, 8, 9],
        Format::Brotli => &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        Format::Zstd => &[1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 17, 19],
    }
}

fn line(out: &mut impl Write, format: Format, level: u32, content: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
    let megabytes = content.len() as f64 / 1e6;
    let (mut coded, mut encoding, mut decoding) = (Vec::new(), Duration::MAX, Duration::MAX);
    for _ in 0..RUNS {
        let begun = cpu()?;
        coded.clear();
        let mut encoder = Encoder::new(
            format,
            Options { level, length: Some(content.len() as u64), window_log_max: Options::WINDOW_LOG_LARGE },
        )?;
        for piece in content.chunks(16 << 10) {
            encoder.write(piece, &mut coded)?;
        }
        encoder.finish(&mut coded)?;
        encoding = encoding.min(cpu()? - begun);
        if encoding > SLOW {
            break;
        }
    }
    for _ in 0..RUNS {
        let begun = cpu()?;
        let mut decoder = Decoder::new(format, LIMITS)?;
        let (mut input, mut piece) = (&coded[..], Vec::new());
        while decoder.step(&mut input, &mut piece)? == Step::Piece {
            black_box(&piece);
            piece.clear();
        }
        decoder.finish()?;
        decoding = decoding.min(cpu()? - begun);
    }
    let each = |time: Duration| time.as_secs_f64() * 1e3 / megabytes;
    let left = 100.0 * coded.len() as f64 / content.len() as f64;
    writeln!(out, "| {format:?} | {level} | {left:.1} % | {:.1} | {:.1} |", each(encoding), each(decoding))?;
    Ok(())
}
