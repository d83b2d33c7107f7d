//! Looking into the cache: `archipel cache inspect`, the table of hit ratios, and the reasons in the metrics.

use std::path::Path;

use anyhow::{Context as _, ensure};
use archipel_testkit::client::RawClient;
use archipel_testkit::edge::run;
use archipel_testkit::origin::{Act, ScriptedOrigin};
use archipel_testkit::play::{metric, scrape};
use archipel_testkit::wire::Target;

use crate::Outcome;
use crate::site::{BINARY, HOST, Node};

crate::tests![inspect_shows_what_is_stored_and_why, inspect_names_the_way_past_the_cache, hit_table_by_path];

async fn inspect(node: &Node, arguments: &[&str]) -> anyhow::Result<String> {
    let dir = node.site.dir().display().to_string();
    let mut all = vec!["cache", "inspect", "--config", dir.as_str()];
    all.extend(arguments);
    let (status, out, err) = run(Path::new(BINARY), &all).await?;
    ensure!(status.success(), "inspect failed: {out}{err}");
    Ok(out)
}

#[track_caller]
fn check(text: &str, parts: &[&str]) -> Outcome {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    Ok(())
}

async fn inspect_shows_what_is_stored_and_why() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let fields = "CDN-Cache-Control: max-age=600, stale-while-revalidate=60, stale-if-error=7200\r\nCache-Control: no-store\r\n\
                  ETag: \"v1\"\r\nVary: Cookie, Accept-Language\r\nContent-Type: text/plain\r\n";
    origin.on("/a", vec![Act::reply("200 OK", fields, "hello")]);
    let node = Node::start("inspect", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    for language in ["de", "en"] {
        let request =
            format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nCookie: secret=1\r\nAccept-Language: {language}\r\n\r\n");
        ensure!(client.ask(&request).await?.body == b"hello", "the first answer");
    }
    let url = format!("http://{HOST}/a");
    let text = inspect(&node, &[&url, "Cookie: secret=1", "Accept-Language: de"]).await?;
    check(
        &text,
        &[
            "zone          site\n",
            &format!("http://{HOST}/a\n"),
            "next request  hit: ",
            "stored        2 variants, newest first",
            "200 in memory, selected by this request",
            "5 bytes of body",
            "lifetime 600 s (10 min), from max-age of cdn-cache-control",
            "served for 60 s (1 min) while it is revalidated; for 7200 s (2 h 0 min) instead of an error of the origin",
            "ETag \"v1\"",
            "cookie: (hidden)",
            "accept-language: en; this request differs",
            "fetched after purge 1",
        ],
    )?;
    ensure!(!text.contains("secret"), "a cookie is shown:\n{text}");
    let json: serde_json::Value = serde_json::from_str(&inspect(&node, &["--json", &url]).await?)?;
    ensure!(json["next"]["outcome"] == "miss", "{json:#}");
    ensure!(json["variants"].as_array().is_some_and(|variants| variants.len() == 2), "{json:#}");
    let newest = &json["variants"][0];
    ensure!(
        newest["freshness"]["basis"] == "max_age" && newest["freshness"]["source"] == "cdn_cache_control",
        "{json:#}"
    );
    ensure!(newest["vary"][1]["name"] == "cookie" && newest["vary"][1]["value"] == "(hidden)", "{json:#}");
    ensure!(newest["stale"]["if_error_seconds"] == 7200 && newest["purge"]["purged"].is_null(), "{json:#}");

    let (ok, said) = node.command(&["purge", "--soft", "--zone", "site"]).await?;
    ensure!(ok, "purge failed: {said}");
    let text = inspect(&node, &[&url, "Cookie: secret=1", "Accept-Language: de"]).await?;
    check(&text, &["next request  revalidate: stale", "purged since, soft"])?;
    ensure!(origin.count("/a") == 2, "looking is not asking: {} requests", origin.count("/a"));
    node.stop().await
}

async fn inspect_names_the_way_past_the_cache() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let node = Node::start("past", origin.address(), &[], &[]).await?;
    let url = format!("http://{HOST}/a");
    check(&inspect(&node, &[&url]).await?, &["next request  miss: uri-miss", "stored        nothing"])?;
    check(&inspect(&node, &[&format!("POST {url} HTTP/1.1")]).await?, &["next request  bypass: method"])?;
    check(&inspect(&node, &["http://stranger.test/"]).await?, &["next request  refused: zone: refused"])?;
    let dir = node.site.dir().display().to_string();
    let (status, _, err) = run(Path::new(BINARY), &["cache", "inspect", "--config", &dir, "ftp://x/"]).await?;
    ensure!(!status.success() && err.contains("ftp"), "{err}");
    node.stop().await
}

async fn hit_table_by_path() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    for number in 1..=3 {
        origin
            .on(&format!("/item/{number}"), vec![Act::reply("200 OK", "Cache-Control: max-age=60\r\n", "0123456789")]);
    }
    origin.on("/it's", vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "private")]);
    let node = Node::start("table", origin.address(), &[], &[]).await?;
    let mut client = node.client().await?;
    for path in ["/item/1", "/item/1", "/item/2", "/item/3", "/item/3", "/it's"] {
        ensure!(client.get(HOST, path).await?.head.status()? == 200, "{path}");
    }
    let post = format!("POST /item/1 HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n\r\n");
    client.ask(&post).await?;
    // An exchange is counted when it has ended: its record comes after.
    node.world
        .log
        .wait_for("the record of the POST", |log| log.all().iter().find(|r| r["method"] == "POST").cloned())
        .await?;
    let admin = node.world.at.admin.context("admin")?;
    let mut client = RawClient::connect(&Target::plain(admin)).await?;
    let page = client.get(&admin.to_string(), "/cache.json").await?;
    let json: serde_json::Value = serde_json::from_slice(&page.body)?;
    let zone = &json["zones"][0];
    ensure!(json["node"] == "e2e" && zone["zone"] == "site" && zone["total"]["requests"] == 7, "{json:#}");
    let row = &zone["paths"][0];
    ensure!(row["path"] == "/item/*" && row["requests"] == 6 && row["hits"] == 2 && row["misses"] == 3, "{json:#}");
    ensure!(row["bypassed"] == 1 && row["saved_bytes"] == 20, "{json:#}");
    let page = client.get(&admin.to_string(), "/cache").await?;
    ensure!(page.head.get("content-type").is_some_and(|t| t.starts_with("text/html")), "{:?}", page.head);
    ensure!(
        page.head.get("content-security-policy").is_some_and(|p| p.contains("default-src 'none'")),
        "{:?}",
        page.head
    );
    let html = String::from_utf8(page.body)?;
    check(&html, &["<h2>site</h2>", "<td>/item/*</td>"])?;
    ensure!(!html.contains("/it's'"), "a visitor's path is not escaped");

    let page = scrape(admin).await?;
    for (series, count) in [
        ("archipel_cache_forwards_total{reason=\"uri_miss\"}", 4.0),
        ("archipel_not_stored_total{reason=\"no_store\"}", 1.0),
        ("archipel_cache_bypasses_total{reason=\"method\"}", 1.0),
        ("archipel_collapses_total{reason=\"led\"}", 4.0),
        ("archipel_stale_served_total{reason=\"max_stale\"}", 0.0),
    ] {
        let found = metric(&page, series)?;
        ensure!((found - count).abs() < 0.5, "{series} is {found}");
    }
    node.stop().await
}
