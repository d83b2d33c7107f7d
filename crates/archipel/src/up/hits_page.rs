//! The hit-ratio table as a page for people. Paths come from visitors: everything that is not ours is escaped, and the page
//! may run nothing (see [`POLICY`]).

use std::fmt::Write as _;

use archipel_edge::hit_table::Shown;
use archipel_edge::{PathHits, ZoneHits};

use crate::say;

/// The page's Content-Security-Policy: its own style sheet and nothing else.
pub const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Rows that the page shows of each zone; the JSON has all.
const ROWS_MAX: usize = 50;

const STYLE: &str = include_str!("hits.css");

/// A kind of answer.
type Kind = (&'static str, &'static str, fn(&Shown) -> u64);

/// Kinds of answers: class in the style sheet, words, and the figure.
const KINDS: [Kind; 6] = [
    ("hit", "hit: from the store, fresh", |shown| shown.hits),
    ("stale", "stale: from the store, as the rules allow", |shown| shown.stale),
    ("revalidated", "revalidated: the origin confirmed it", |shown| shown.revalidated),
    ("miss", "miss: fetched and stored", |shown| shown.misses),
    ("uncacheable", "not stored: fetched for one", |shown| shown.uncacheable),
    ("bypassed", "bypass: not looked up", |shown| shown.bypassed),
];

/// The page.
pub fn render(node: &str, zones: &[ZoneHits]) -> String {
    let mut page = String::with_capacity(16 * 1024);
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Cache by path, {node}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><style>{STYLE}</style></head><body>\
         <h1>Cache by path</h1><p>Node {node}, since its start. The paths that sent the origin most requests come first. \
         <code>*</code> stands for numbers, hashes and whatever follows the third segment. \
         <a href=\"/cache.json\">As JSON</a>, with all paths.</p><div class=\"legend\">",
        node = escaped(node),
    );
    for (class, words, _) in KINDS {
        let _ = write!(page, "<span><i class=\"{class}\"></i>{words}</span>");
    }
    page.push_str("</div>");
    if zones.is_empty() {
        page.push_str("<section><p class=\"empty\">No request has come as far as the cache yet.</p></section>");
    }
    for zone in zones {
        section(&mut page, zone);
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, zone: &ZoneHits) {
    let total = &zone.total;
    let _ = write!(page, "<section><div class=\"head\"><h2>{}</h2>", escaped(&zone.zone));
    for (figure, words) in [
        (percent(total.hit_ratio), "hit ratio"),
        (say::thousands(total.requests), "requests"),
        (say::thousands(total.to_origin()), "to the origin"),
        (say::bytes(total.saved_bytes), "saved"),
        (say::bytes(total.fetched_bytes), "fetched"),
    ] {
        let _ = write!(page, "<span class=\"figure\"><b>{figure}</b> {words}</span>");
    }
    for (tier, words) in [(zone.stored.memory, "in memory"), (zone.stored.disk, "on disk")] {
        let _ = write!(page, "<span class=\"figure\"><b>{}</b>", say::bytes(tier.bytes));
        if tier.bytes_max > 0 {
            let _ = write!(page, " of {}", say::bytes(tier.bytes_max));
        }
        let _ = write!(page, " {words}, {} objects</span>", say::thousands(tier.objects));
    }
    page.push_str("</div>");
    bar(page, "zone", total);
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>path</th><th>requests</th><th>hit ratio</th><th></th><th>hit</th><th>stale</th>\
         <th>revalidated</th><th>miss</th><th>not stored</th><th>bypass</th><th>saved</th><th>fetched</th></tr></thead><tbody>",
    );
    for row in zone.paths.iter().take(ROWS_MAX) {
        table_row(page, row);
    }
    page.push_str("</tbody></table></div></section>");
}

fn table_row(page: &mut String, row: &PathHits) {
    let shown = &row.shown;
    let _ = write!(
        page,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>",
        escaped(&row.path),
        say::thousands(shown.requests),
        percent(shown.hit_ratio)
    );
    bar(page, "row", shown);
    page.push_str("</td>");
    for (_, _, of) in KINDS {
        cell(page, of(shown), say::thousands);
    }
    cell(page, shown.saved_bytes, say::bytes);
    cell(page, shown.fetched_bytes, say::bytes);
    page.push_str("</tr>");
}

fn cell(page: &mut String, n: u64, text: fn(u64) -> String) {
    let class = if n == 0 { " class=\"zero\"" } else { "" };
    let _ = write!(page, "<td{class}>{}</td>", if n == 0 { "0".to_owned() } else { text(n) });
}

/// A stacked bar of what happened to the requests.
fn bar(page: &mut String, class: &str, shown: &Shown) {
    let _ = write!(page, "<div class=\"bar {class}\">");
    for (kind, words, of) in KINDS {
        let share = of(shown) as f64 / shown.requests.max(1) as f64;
        if share > 0.0 {
            let _ = write!(
                page,
                "<i class=\"{kind}\" style=\"width:{:.2}%\" title=\"{words}, {}\"></i>",
                share * 100.0,
                percent(share)
            );
        }
    }
    page.push_str("</div>");
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // A path must not change the direction of the text around it.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                out.push('\u{fffd}')
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use archipel_edge::ZoneStored;

    #[test]
    fn what_visitors_write_is_escaped() {
        let row = PathHits {
            path: "/<script>alert(1)</script>'\"&\u{202e}".to_owned(),
            shown: Shown::default(),
            uncertain_max: 0,
        };
        let zones = [ZoneHits {
            zone: "a<b".to_owned(),
            total: Shown::default(),
            stored: ZoneStored::default(),
            paths: vec![row],
        }];
        let page = render("n<1>", &zones);
        assert!(page.contains("/&lt;script&gt;alert(1)&lt;/script&gt;&#39;&quot;&amp;\u{fffd}"));
        assert!(page.contains("a&lt;b") && page.contains("Node n&lt;1&gt;"));
        assert!(!page.contains("<script") && !page.contains('\u{202e}'));
    }

    #[test]
    fn figures() {
        assert_eq!(
            [0, 1023, 1024, 5 << 20, u64::MAX].map(say::bytes),
            ["0 B", "1023 B", "1.0 KiB", "5.0 MiB", "16384.0 PiB"]
        );
        assert_eq!(percent(0.987_65), "98.8 %");
        assert!(render("n", &[]).contains("No request has come"));
    }
}
