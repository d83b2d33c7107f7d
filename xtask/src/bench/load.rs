//! One round of load and what it cost: wrk for HTTP/1.1, h2load for HTTP/2, our own loop for handshakes. The target
//! is always a port of 127.0.0.1.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::peers::{Material, Server};
use super::{Case, LOAD_CORE, handshake};
use crate::process;

/// What one round showed.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Processor time of the server, in microseconds a request.
    pub cpu_us: f64,
    /// Requests answered in a second.
    pub per_second: f64,
}

/// What a generator reports.
struct Load {
    requests: u64,
    per_second: f64,
}

/// Puts load on a server for `seconds` and measures. A round that warms up need not be all hits.
///
/// # Errors
/// Requests failed, or hits went to the origin.
pub fn round(server: &mut Server, case: Case, seconds: u64, material: &Material, warms_up: bool) -> Result<Sample> {
    let origin = material.origin_requests()?;
    let before = server.cpu();
    let load = match case {
        Case::H2 => h2load(server.port, case, seconds)?,
        Case::Handshake => {
            let done = handshake::run(server.port, case.path(), Duration::from_secs(seconds))?;
            Load { requests: done.handshakes, per_second: done.per_second }
        }
        _ => wrk(server.port, case, seconds, script(material, case)?.as_deref())?,
    };
    let cpu = server.cpu() - before;
    let asked = material.origin_requests()? - origin - 1;
    ensure!(load.requests > 0, "no request was answered");
    if case.is_hit() {
        // Visitors who come together for what is not stored yet may all be sent to the origin.
        let allowed = if warms_up { load.requests } else { load.requests / 100 };
        ensure!(asked <= allowed, "{asked} of {} hits went to the origin", load.requests);
    } else {
        ensure!(asked >= load.requests, "only {asked} of {} requests went to the origin", load.requests);
    }
    #[allow(clippy::cast_precision_loss)]
    let cpu_us = cpu.as_secs_f64() * 1e6 / load.requests as f64;
    Ok(Sample { cpu_us, per_second: load.per_second })
}

/// A script for wrk that asks for one object after the other, in an order that jumps about.
fn script(material: &Material, case: Case) -> Result<Option<std::path::PathBuf>> {
    let Some((objects, count)) = case.objects() else { return Ok(None) };
    let text = format!(
        "local at = 0\nfunction request()\n  at = (at + 7919) % {count}\n  return wrk.format(nil, \"{}\" .. at)\nend\n",
        objects.path
    );
    Ok(Some(material.folder.write(&format!("wrk-{case:?}.lua"), text)?))
}

fn wrk(port: u16, case: Case, seconds: u64, script: Option<&std::path::Path>) -> Result<Load> {
    let scheme = if case.tls() { "https" } else { "http" };
    let url = format!("{scheme}://127.0.0.1:{port}{}", case.path());
    let mut command = process::on_core(Some(LOAD_CORE), "wrk");
    command.args(["-t1", "-c64", "--timeout", "10s", "-H", "Host: localhost", "-d"]).arg(format!("{seconds}s"));
    if let Some(script) = script {
        command.arg("-s").arg(script);
    }
    command.arg(url);
    let text = process::output("wrk", &mut command, Duration::from_secs(seconds + 30))?;
    read_wrk(&text).with_context(|| text.clone())
}

fn read_wrk(text: &str) -> Result<Load> {
    ensure!(!text.contains("Non-2xx"), "wrk saw other replies than 2xx");
    ensure!(!text.contains("Socket errors"), "wrk saw socket errors");
    let requests = text.lines().find_map(|line| line.trim().split_once(" requests in ")).context("no count")?;
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).context("no rate")?;
    Ok(Load { requests: requests.0.parse()?, per_second: rate.trim().parse()? })
}

fn h2load(port: u16, case: Case, seconds: u64) -> Result<Load> {
    let mut command = process::on_core(Some(LOAD_CORE), "h2load");
    command.args(["-t1", "-c16", "-m8", "-D"]).arg(seconds.to_string());
    command.arg(format!("http://127.0.0.1:{port}{}", case.path()));
    let text = process::output("h2load", &mut command, Duration::from_secs(seconds + 30))?;
    read_h2load(&text).with_context(|| text.clone())
}

fn read_h2load(text: &str) -> Result<Load> {
    let finished = text.lines().find_map(|line| line.strip_prefix("finished in ")).context("no rate")?;
    let rate = finished.split(", ").find_map(|part| part.strip_suffix(" req/s")).context("no rate")?;
    let counts = text.lines().find_map(|line| line.strip_prefix("requests: ")).context("no counts")?;
    let count = |word: &str| -> Result<u64> {
        let part = counts.split(", ").find_map(|part| part.strip_suffix(word)).context("no counts")?;
        Ok(part.trim().parse()?)
    };
    ensure!(count(" failed")? == 0 && count(" errored")? == 0, "h2load saw failures");
    let codes = text.lines().find_map(|line| line.strip_prefix("status codes: ")).context("no status codes")?;
    let good = codes.split(", ").find_map(|part| part.strip_suffix(" 2xx")).context("no status codes")?;
    let requests = count(" succeeded")?;
    ensure!(good.parse::<u64>()? >= requests, "h2load saw other replies than 2xx");
    Ok(Load { requests, per_second: rate.parse()? })
}

#[cfg(test)]
mod tests {
    use super::{read_h2load, read_wrk};

    #[test]
    fn reports_are_read() {
        let wrk =
            "Running 5s test\n  603424 requests in 5.10s, 720.00MB read\nRequests/sec: 118317.71\nTransfer/sec: 1MB\n";
        assert_eq!(read_wrk(wrk).expect("a report").requests, 603_424);
        assert!(read_wrk(&format!("{wrk}  Non-2xx or 3xx responses: 3\n")).is_err());
        let h2load = "finished in 5.00s, 72000.20 req/s, 80MB/s\nrequests: 360001 total, 360129 started, 360001 done, 360001 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 360001 2xx, 0 3xx, 0 4xx, 0 5xx\n";
        assert_eq!(read_h2load(h2load).expect("a report").requests, 360_001);
        assert!(read_h2load(&h2load.replace("0 failed", "1 failed")).is_err());
    }
}
