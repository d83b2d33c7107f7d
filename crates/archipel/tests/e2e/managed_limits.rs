//! Managed rules and requests that try to pass by them: with more than is looked at, with what cannot be read, with what costs too much.
//!
//! No rule set of anybody is in use here: what is refused, the setup of managed rules refuses.

use anyhow::{Context as _, ensure};
use archipel_testkit::origin::{Act, ScriptedOrigin};
use archipel_testkit::play::{metric, scrape};

use crate::Outcome;
use crate::site::{HOST, Node, Site};

crate::tests![
    managed_limits_hide_nothing,
    managed_limits_are_recorded_and_can_be_raised,
    managed_rules_refuse_what_cannot_be_read,
    managed_bodies_that_are_cut_are_no_broken_ones,
    managed_rules_over_their_budget_refuse,
];

const BLOCK: &str = "firewall.managed.mode = \"block\"";
const NO_RULES: &str = "firewall.managed.rules = []";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const PARTS: &str = "Content-Type: multipart/form-data; boundary=b\r\n";

/// A rule of a test's own.
const RULES: &str =
    "SecRule ARGS|ARGS_NAMES \"@contains attack\" \"id:1001,phase:2,deny,status:403,t:none,msg:'a test attack'\"\n";

/// A node in front of an origin that answers everything.
async fn node(label: &str, managed: &[&str]) -> anyhow::Result<(Node, ScriptedOrigin)> {
    let origin = ScriptedOrigin::start().await?;
    origin.on("*", vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "passed")]);
    let site = Site::new(label, &[])?;
    site.folder.write("rules.conf", RULES)?;
    site.plain_zone("site", HOST, origin.address(), managed)?;
    let (edge, world) = site.start().await?;
    Ok((Node { site, edge, world }, origin))
}

async fn get(node: &Node, query: &str, fields: &str) -> anyhow::Result<u16> {
    let request = format!("GET /?{query} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n");
    node.client().await?.ask(&request).await?.head.status()
}

async fn post(node: &Node, fields: &str, body: &str) -> anyhow::Result<u16> {
    let length = body.len();
    let request = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    node.client().await?.ask(&request).await?.head.status()
}

async fn managed_limits_hide_nothing() -> Outcome {
    let after = "firewall.managed.after_file = \"$DIR/rules.conf\"";
    let (node, origin) = node("managed-limits", &[BLOCK, NO_RULES, after]).await?;
    let many = |count: usize| "a=1&".repeat(count);
    ensure!(get(&node, &many(1_000), "").await? == 200, "as many arguments as there may be");
    ensure!(get(&node, &many(1_001), "").await? == 400, "one argument more");
    ensure!(get(&node, &"n".repeat(5_000), "").await? == 200, "a long name is no fault");
    let cookies = |count: usize| format!("Cookie: {}z=1\r\n", "a=1; ".repeat(count));
    ensure!(get(&node, "", &cookies(999)).await? == 200, "as many cookies as there may be");
    ensure!(get(&node, "", &cookies(1_000)).await? == 400, "one cookie more");
    // A body may have more, of words and numbers; they are looked at together, and anything else by itself.
    ensure!(post(&node, FORM, &many(1_001)).await? == 200, "a form");
    ensure!(post(&node, FORM, &format!("{}b=%61ttack", many(1_001))).await? == 403, "an attack behind it");
    let array = |last: &str| format!("[{}\"{last}\"]", "1,".repeat(1_000));
    ensure!(post(&node, JSON, &array("peace")).await? == 200, "an array");
    ensure!(post(&node, JSON, &array("an 'attack'")).await? == 403, "an attack behind it");
    let hostile = format!("[{}1]", "\"'\",".repeat(10_001));
    ensure!(post(&node, JSON, &hostile).await? == 400, "more than honest people have");
    // Each of the elements is called by the long name that they are in: 4 MB of names from 6 KB.
    let names = |last: &str| format!("{{\"{}\":[{}\"{last}\"]}}", "k".repeat(4_000), "1,".repeat(980));
    ensure!(post(&node, JSON, &names("peace")).await? == 200, "a long name of many");
    ensure!(post(&node, JSON, &names("attack")).await? == 403, "an attack behind them");
    let headers: String = (0..4_000).map(|number| format!("{number:x}:\r\n")).collect();
    let part = format!("--b\r\nContent-Disposition: form-data; name=a\r\n{headers}\r\n1\r\n--b--\r\n");
    ensure!(post(&node, PARTS, &part).await? == 400, "a part of many headers");
    ensure!(origin.requests().len() == 6, "the origin hears of what is let through only");
    let page = scrape(node.world.at.admin.context("admin")?).await?;
    for (series, times) in [
        ("unread_total{reason=\"arguments_max\"}", 3.0),
        ("unread_total{reason=\"part_headers_max\"}", 1.0),
        ("left_out_total{reason=\"arguments_max\"}", 5.0),
        ("left_out_total{reason=\"names_bytes_max\"}", 2.0),
    ] {
        let counted = metric(&page, &format!("archipel_managed_{series}"))?;
        ensure!(counted == times, "{series}: {counted}");
    }
    node.stop().await
}

async fn managed_limits_are_recorded_and_can_be_raised() -> Outcome {
    let raised = "firewall.managed.arguments_max = 2000";
    let log = "firewall.managed.mode = \"log\"";
    let excluded = "[[firewall.managed.exclusions]]\npath = \"/\"";
    for (lines, events) in [(&[BLOCK, raised][..], false), (&[log], true), (&[BLOCK, excluded], false)] {
        let lines = [&[NO_RULES], lines].concat();
        let (node, _origin) = node("managed-raised", &lines).await?;
        ensure!(get(&node, &"a=1&".repeat(1_001), "").await? == 200, "{lines:?}");
        let text = crate::managed::events(&node).await?;
        ensure!(text.contains("98902") == events && text.contains("more than 1000 arguments") == events, "{text}");
        node.stop().await?;
    }
    Ok(())
}

async fn managed_rules_refuse_what_cannot_be_read() -> Outcome {
    let (node, origin) = node("managed-broken", &[BLOCK, NO_RULES]).await?;
    let part = |line_end: &str| {
        format!("--b{line_end}Content-Disposition: form-data; name=a{line_end}{line_end}1{line_end}--b--{line_end}")
    };
    for (fields, body, status) in [
        (JSON, "{\"a\": [1, \"x\"]}".to_owned(), 200),
        (JSON, "{\"a\": 1".to_owned(), 400),
        (JSON, "{\"a\": 1} --".to_owned(), 400),
        ("Content-Type: text/xml\r\n", "<a b='1'>x</a>".to_owned(), 200),
        ("Content-Type: text/xml\r\n", "<a></b>".to_owned(), 400),
        (PARTS, part("\r\n"), 200),
        (PARTS, part("\n"), 400),
        (PARTS, part("\r\n").replace("--b--", "--b--x"), 400),
        (PARTS, format!("before{}", part("\r\n")), 400),
        ("Content-Type: multipart/form-data\r\n", part("\r\n"), 400),
        (FORM, "{\"no\": \"form\"}".to_owned(), 200),
    ] {
        let before = origin.requests().len();
        ensure!(post(&node, fields, &body).await? == status, "{fields}{body}");
        ensure!((origin.requests().len() > before) == (status == 200), "{fields}{body}");
    }
    node.stop().await
}

/// What is longer than what is looked at has no end, which is nobody's fault.
async fn managed_bodies_that_are_cut_are_no_broken_ones() -> Outcome {
    let bodies = "firewall.managed.request_body_bytes_max = \"1KiB\"";
    let (node, _origin) = node("managed-cut", &[BLOCK, NO_RULES, bodies]).await?;
    let long = "x".repeat(5_000);
    ensure!(post(&node, JSON, &format!("{{\"a\": \"{long}\"}}")).await? == 200, "JSON");
    ensure!(post(&node, "Content-Type: text/xml\r\n", &format!("<a>{long}</a>")).await? == 200, "XML");
    let part = format!("--b\r\nContent-Disposition: form-data; name=a\r\n\r\n{long}\r\n--b--\r\n");
    ensure!(post(&node, PARTS, &part).await? == 200, "multipart");
    ensure!(post(&node, JSON, &format!("{{\"a\" \"{long}\"}}")).await? == 400, "what is broken before");
    node.stop().await
}

/// Unless a zone says otherwise, what could not be evaluated in time is not let in; the log says so once, and what can be done.
async fn managed_rules_over_their_budget_refuse() -> Outcome {
    let body = format!("a={}", "select/**/union+from+where+'+or+".repeat(3_000));
    for (fail, status) in [("", 503), ("firewall.managed.fail = \"open\"", 200)] {
        // A set that finds much to do and no reason to refuse.
        let lines = [BLOCK, "firewall.managed.time_max = \"1ms\"", "firewall.managed.inbound_threshold = 100000", fail];
        let (mut node, _origin) = node("managed-budget", &lines).await?;
        for _ in 0..5 {
            ensure!(post(&node, FORM, &body).await? == status, "{fail}");
        }
        let events = crate::managed::events(&node).await?;
        ensure!(events.contains("not evaluated to the end"), "{events}");
        let request = format!("POST / HTTP/1.1\r\nHost: {HOST}\r\n{FORM}Content-Length: {}\r\n\r\n{body}", body.len());
        let reply = node.client().await?.ask(&request).await?;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        ensure!(!text.contains("rule") && !text.contains("time"), "the visitor learns nothing of why:\n{text}");
        node.edge.stop().await?;
        let log = node.edge.output.text();
        let warnings = log.lines().filter(|line| line.contains("went over their budget")).count();
        ensure!(
            (1..=2).contains(&warnings) && log.contains("firewall.managed.time_max"),
            "{warnings} warnings:\n{log}"
        );
    }
    Ok(())
}
