//! The one line with live figures on the terminal.

use archipel_edge::LiveCounts;

use crate::say;

/// The figures of the time between two counts.
pub fn line(before: &LiveCounts, now: &LiveCounts, seconds: f64, connections: u64) -> String {
    let requests = now.requests.saturating_sub(before.requests);
    let hits = now.hits.saturating_sub(before.hits);
    let refused = now.refused.saturating_sub(before.refused);
    let rate = if seconds > 0.0 { (requests as f64 / seconds).round() as u64 } else { 0 };
    let ratio =
        if requests == 0 { "   -".to_owned() } else { format!("{:.1} %", hits as f64 * 100.0 / requests as f64) };
    let time = |share| now.quantile_since(before, share).map_or("-".to_owned(), milliseconds);
    format!(
        "{} requests/s   hits {ratio}   p50 {}   p99 {}   refused {}   connections {}",
        say::thousands(rate),
        time(0.5),
        time(0.99),
        say::thousands(refused),
        say::thousands(connections),
    )
}

/// An upper bound in microseconds as a person reads it.
fn milliseconds(us: u64) -> String {
    match us {
        0..1_000 => format!("<{:.2} ms", us as f64 / 1e3),
        1_000..1_000_000 => format!("<{:.0} ms", us as f64 / 1e3),
        _ => format!("<{:.1} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let before = LiveCounts { requests: 10, hits: 10, refused: 1, latency: vec![10] };
        let now = LiveCounts { requests: 2010, hits: 1010, refused: 1, latency: vec![2010] };
        let text = line(&before, &now, 2.0, 7);
        assert!(text.starts_with("1 000 requests/s   hits 50.0 %"), "{text}");
        assert!(text.ends_with("refused 0   connections 7"), "{text}");
        assert!(line(&now, &now, 1.0, 0).contains("hits    -   p50 -"), "{}", line(&now, &now, 1.0, 0));
    }

    #[test]
    fn times() {
        for (us, text) in
            [(25, "<0.03 ms"), (800, "<0.80 ms"), (1_600, "<2 ms"), (819_200, "<819 ms"), (1_638_400, "<1.6 s")]
        {
            assert_eq!(milliseconds(us), text);
        }
    }
}
