//! The access log and the metrics of the edge, as a scenario asks about them.
//!
//! The log comes through a named pipe, so that a record is awaited rather than looked for again and again.
//! Must never read the log file of a real node.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::Notify;

use super::Player;
use crate::client::RawClient;
use crate::text::{expand_text, matches};
use crate::wire::Target;

/// Which records belong to a scenario: any of these hosts or this client.
#[derive(Debug, Clone)]
pub struct RecordFilter {
    hosts: Vec<String>,
    client: String,
}

/// The reading end of an access log.
#[derive(Clone)]
pub struct LogTap {
    records: Arc<Mutex<Vec<Value>>>,
    changed: Arc<Notify>,
}

impl LogTap {
    /// Makes a named pipe at `path` and reads records from it for as long as the runtime lives.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        use rustix::fs::{CWD, FileType, Mode};
        rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // Opened for writing as well, so that it never ends when a writer goes.
        let pipe = tokio::net::unix::pipe::OpenOptions::new().read_write(true).open_receiver(path)?;
        let tap = Self { records: Arc::default(), changed: Arc::default() };
        let (records, changed) = (Arc::clone(&tap.records), Arc::clone(&tap.changed));
        tokio::spawn(async move {
            let mut lines = BufReader::new(pipe).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let record = serde_json::from_str(&line).unwrap_or(Value::String(line));
                records.lock().unwrap_or_else(PoisonError::into_inner).push(record);
                changed.notify_waiters();
            }
        });
        Ok(tap)
    }

    /// All records so far.
    pub fn all(&self) -> Vec<Value> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The records of a scenario with their places in the log.
    pub fn of(&self, filter: &RecordFilter) -> Vec<(usize, Value)> {
        let records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        records.iter().enumerate().filter(|(_, r)| filter.fits(r)).map(|(at, r)| (at, r.clone())).collect()
    }

    /// Waits until `find` gives something.
    pub async fn wait_for<T>(&self, what: &str, mut find: impl FnMut(&Self) -> Option<T>) -> anyhow::Result<T> {
        crate::within(what, async {
            loop {
                let next = self.changed.notified();
                tokio::pin!(next);
                next.as_mut().enable();
                if let Some(found) = find(self) {
                    return found;
                }
                next.await;
            }
        })
        .await
    }
}

impl RecordFilter {
    fn fits(&self, record: &Value) -> bool {
        let host = record["host"].as_str().unwrap_or_default();
        let client = record["client"].as_str().unwrap_or_default();
        let client = client
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .map_or(client, |(address, _)| address);
        client == self.client || self.hosts.iter().any(|h| h == host)
    }
}

/// The value of a field as text; empty where it is absent.
fn text_of(record: &Value, key: &str) -> String {
    match &record[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Player<'_> {
    pub(super) fn record_filter(&self) -> RecordFilter {
        let hosts =
            self.vars.iter().filter(|(name, _)| name.starts_with("HOST")).map(|(_, host)| host.clone()).collect();
        RecordFilter { hosts, client: self.source.to_string() }
    }

    /// Some record that no earlier `log:` line has used must have all of `key=pattern key=pattern`.
    pub(super) async fn check_log(&mut self, text: &str) -> anyhow::Result<()> {
        let mut wanted = Vec::new();
        for pair in text.split_whitespace() {
            let (key, pattern) = pair.split_once('=').context("key=pattern")?;
            wanted.push((key.to_owned(), expand_text(pattern, &self.vars)?));
        }
        let filter = self.record_filter();
        let used = self.used_records.clone();
        let what = format!("a log record with {text}");
        let found = self.world.log.wait_for(&what, |log| {
            let records = log.of(&filter);
            let fits = |r: &Value| wanted.iter().all(|(key, pattern)| matches(pattern, &text_of(r, key)));
            records.iter().find(|(at, r)| !used.contains(at) && fits(r)).map(|(at, _)| *at)
        });
        self.used_records.push(found.await?);
        Ok(())
    }

    /// `name{label="value"} >= number`: the sum over all series that have the given labels.
    pub(super) async fn check_metric(&self, text: &str) -> anyhow::Result<()> {
        let text = expand_text(text, &self.vars)?;
        let (series, bound) = text.rsplit_once(">=").context("series >= number")?;
        let admin = self.world.at.admin.context("no admin listener")?;
        let sum = metric(&scrape(admin).await?, series.trim())?;
        ensure!(sum >= bound.trim().parse::<f64>()?, "{} is {sum}", series.trim());
        Ok(())
    }
}

/// Reads the metrics page.
pub async fn scrape(admin: std::net::SocketAddr) -> anyhow::Result<String> {
    let mut client = RawClient::connect(&Target::plain(admin)).await?;
    let page = client.get(&admin.to_string(), "/metrics").await?;
    ensure!(page.head.status()? == 200, "metrics: {}", page.head.start);
    Ok(String::from_utf8(page.body)?)
}

/// The sum of all series in `page` with a name and, in braces, labels that each must have.
pub fn metric(page: &str, series: &str) -> anyhow::Result<f64> {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let labels: Vec<&str> = labels.trim_end_matches('}').split(',').map(str::trim).filter(|l| !l.is_empty()).collect();
    let (mut sum, mut found) = (0.0, false);
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let Some((key, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let (line_name, line_labels) = key.split_once('{').unwrap_or((key, ""));
        if line_name == name && labels.iter().all(|l| line_labels.contains(l)) {
            sum += value.parse::<f64>()?;
            found = true;
        }
    }
    if !found {
        bail!("no series {series}");
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_by_label() {
        let page = "# TYPE a counter\na{zone=\"x\",s=\"1\"} 2\na{zone=\"x\",s=\"2\"} 3\na{zone=\"y\"} 10\nb 1\n";
        for (series, want) in [("a", 15.0), ("a{zone=\"x\"}", 5.0), ("a{zone=\"x\",s=\"2\"}", 3.0), ("b", 1.0)] {
            assert_eq!(metric(page, series).unwrap(), want, "{series}");
        }
        assert!(metric(page, "c").is_err());
    }

    #[tokio::test]
    async fn records_come_through_the_pipe() {
        let folder = crate::edge::TempDir::new("tap").unwrap();
        let path = folder.path().join("log");
        let tap = LogTap::open(&path).unwrap();
        std::fs::write(&path, "{\"host\":\"a\",\"status\":200}\n").unwrap();
        let found = tap.wait_for("a record", |log| log.all().into_iter().next()).await.unwrap();
        assert_eq!(text_of(&found, "status"), "200");
    }
}
