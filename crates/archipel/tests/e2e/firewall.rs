//! The firewall over its surfaces: events, explanations, metrics, databases of places, many rules, and expressions by hand.

use std::path::Path;

use anyhow::{Context as _, ensure};
use archipel_testkit::edge::run;
use archipel_testkit::mmdb;
use archipel_testkit::origin::{Act, ScriptedOrigin};
use archipel_testkit::play::scrape;

use crate::Outcome;
use crate::site::{BINARY, HOST, Node, Site};

crate::tests![
    firewall_events_are_told_and_masked,
    firewall_is_explained,
    firewall_knows_countries_and_networks,
    firewall_keeps_its_databases_where_new_ones_are_broken,
    firewall_lists_from_files_are_reloaded,
    firewall_with_a_thousand_rules,
    rules_are_tried_by_hand,
    rules_fields_are_listed,
];

async fn origin() -> anyhow::Result<ScriptedOrigin> {
    let origin = ScriptedOrigin::start().await?;
    for path in ["/", "/a", "/public"] {
        origin.on(path, vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "answer")]);
    }
    Ok(origin)
}

/// A command of two words.
async fn command(site: &Site, words: [&str; 2], arguments: &[&str]) -> anyhow::Result<(Option<i32>, String)> {
    let dir = site.dir().display().to_string();
    let all = [&words[..], &["--config", dir.as_str()], arguments].concat();
    let (status, out, err) = run(Path::new(BINARY), &all).await?;
    Ok((status.code(), format!("{out}{err}")))
}

async fn status(node: &Node, path: &str, fields: &str) -> anyhow::Result<u16> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{fields}\r\n");
    node.client().await?.ask(&request).await?.head.status()
}

const RULES: &str = r#"firewall.rules = [
  { id = "cookies", description = "No such visitor", expression = 'http.cookie contains "evil"', action = "block" },
  { id = "agents", expression = 'http.user_agent contains "curl"', action = "log" },
  { id = "quiet", expression = 'http.request.uri.path eq "/quiet"', action = "block", log = false },
]"#;

async fn firewall_events_are_told_and_masked() -> Outcome {
    let origin = origin().await?;
    let node = Node::start("events", origin.address(), &["firewall.events_max = 3"], &[RULES]).await?;
    let (code, said) = command(&node.site, ["firewall", "events"], &[]).await?;
    ensure!(code == Some(0) && said.contains("done nothing"), "{said}");
    ensure!(status(&node, "/a?secret=hush", "Cookie: a=evil; session=hunter2\r\n").await? == 403, "blocked");
    ensure!(status(&node, "/a", "User-Agent: curl/8\r\n").await? == 200, "logged");
    ensure!(status(&node, "/quiet", "").await? == 403, "blocked quietly");
    let (_, text) = command(&node.site, ["firewall", "events"], &["--zone", "site"]).await?;
    for part in [
        "block by custom rule cookies (No such visitor): 127.",
        "bytes, masked)",
        "log by custom rule agents",
        "http.user_agent = curl/8",
    ] {
        ensure!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
    for secret in ["hunter2", "hush", "quiet"] {
        ensure!(!text.contains(secret), "{secret:?} is in:\n{text}");
    }
    let (_, json) = command(&node.site, ["firewall", "events"], &["--json", "--limit", "1"]).await?;
    let events: serde_json::Value = serde_json::from_str(&json).context(json)?;
    ensure!(events.as_array().is_some_and(|list| list.len() == 1) && events[0]["rule"] == "agents", "{events}");
    ensure!(events[0]["path"] == "/a" && events[0]["mode"] == "block" && events[0]["source"] == "custom", "{events}");
    let (code, said) = command(&node.site, ["firewall", "events"], &["--zone", "nowhere"]).await?;
    ensure!(code == Some(1) && said.contains("no zone `nowhere`"), "{said}");
    let page = scrape(node.world.at.admin.context("no admin listener")?).await?;
    let counted = r#"archipel_firewall_events_total{zone="site",source="custom",action="block",mode="block"} 1"#;
    ensure!(page.contains(counted), "{counted} is missing in:\n{page}");
    node.stop().await
}

async fn firewall_is_explained() -> Outcome {
    let site = Site::new("explained", &[])?;
    let rules = r#"rewrites = [{ id = "new", expression = 'http.request.uri.path eq "/old"', path = "/new" }]"#;
    site.zone("site", &[HOST], "http://127.0.0.1:1", &[RULES, rules])?;
    let dir = site.dir().display().to_string();
    let explain = async |request: &[&str]| -> anyhow::Result<String> {
        let (_, out, err) = run(Path::new(BINARY), &[&["explain", "--config", dir.as_str()], request].concat()).await?;
        Ok(format!("{out}{err}"))
    };
    let text = explain(&[&format!("GET http://{HOST}/a HTTP/1.1"), "Cookie: evil"]).await?;
    ensure!(text.contains("custom rule cookies, No such visitor") && text.contains("403, without asking"), "{text}");
    let text = explain(&[&format!("http://{HOST}/old")]).await?;
    ensure!(text.contains("rewrites") && text.contains(&format!("http://{HOST}/new")), "{text}");
    Ok(())
}

async fn firewall_knows_countries_and_networks() -> Outcome {
    let origin = origin().await?;
    let rules = r#"firewall.access = [{ id = "country", action = "block", country = ["DE"] }, { id = "network", action = "block", asn = [64500] }]
firewall.rules = [{ id = "both", expression = 'ip.src.country eq "FR" and ip.src.asnum in {64501..64510} and ip.src.continent eq "EU"', action = "block" }]"#;
    let site = Site::new(
        "places",
        &[
            "trust.client_address_from = [\"127.0.0.0/8\"]",
            "geo.database = \"geo.mmdb\"",
            "geo.asn_database = \"asn.mmdb\"",
        ],
    )?;
    site.folder.write(
        "geo.mmdb",
        mmdb::countries(&[("192.0.2.0/24", "DE"), ("198.51.100.0/24", "FR"), ("2001:db8::/32", "DE")])?,
    )?;
    site.folder.write("asn.mmdb", mmdb::networks(&[("198.51.100.0/25", 64501), ("203.0.113.0/24", 64500)])?)?;
    site.plain_zone("site", HOST, origin.address(), &[rules])?;
    let (mut edge, world) = site.start().await?;
    let target = archipel_testkit::wire::Target::plain(world.at.plain()?);
    for (address, expected) in [
        ("192.0.2.7", 403),
        ("2001:db8::7", 403),
        ("203.0.113.7", 403),
        ("198.51.100.7", 403),
        ("198.51.100.200", 200),
        ("10.0.0.1", 200),
        ("::ffff:192.0.2.7", 403),
    ] {
        let mut client = archipel_testkit::client::RawClient::connect(&target).await?;
        let request = format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: {address}\r\n\r\n");
        let found = client.ask(&request).await?.head.status()?;
        ensure!(found == expected, "{address}: {found}");
    }
    edge.stop().await
}

async fn firewall_keeps_its_databases_where_new_ones_are_broken() -> Outcome {
    let origin = origin().await?;
    let site = Site::new("broken-geo", &["geo.database = \"geo.mmdb\""])?;
    site.folder.write("geo.mmdb", mmdb::countries(&[("127.0.0.0/8", "DE")])?)?;
    site.plain_zone(
        "site",
        HOST,
        origin.address(),
        &[r#"firewall.access = [{ action = "block", country = ["DE"] }]"#],
    )?;
    let (mut edge, world) = site.start().await?;
    let target = archipel_testkit::wire::Target::plain(world.at.plain()?);
    let blocked = async || -> anyhow::Result<bool> {
        let mut client = archipel_testkit::client::RawClient::connect(&target).await?;
        Ok(client.get(HOST, "/a").await?.head.status()? == 403)
    };
    ensure!(blocked().await?, "the database is not in use");
    site.folder.write("geo.mmdb", b"nonsense")?;
    let (ok, said) = crate::site::command(&site, &["reload"]).await?;
    ensure!(!ok && said.contains("geo.mmdb") && said.contains("no database"), "{said}");
    ensure!(blocked().await?, "the old database is gone");
    std::fs::remove_file(site.dir().join("geo.mmdb"))?;
    let (ok, said) = crate::site::command(&site, &["reload"]).await?;
    ensure!(!ok && said.contains("geo.database"), "{said}");
    ensure!(blocked().await?, "the old database is gone");
    edge.stop().await?;
    site.folder.write("geo.mmdb", b"nonsense")?;
    let dir = site.dir().display().to_string();
    let (status, _, err) = run(Path::new(BINARY), &["up", "--config", &dir, "--announce", "-"]).await?;
    ensure!(!status.success() && err.contains("geo.mmdb"), "it started: {err}");
    Ok(())
}

async fn firewall_lists_from_files_are_reloaded() -> Outcome {
    let origin = origin().await?;
    let rules = r#"lists = [{ name = "bad", kind = "string", file = "bad.txt" }]
firewall.rules = [{ expression = 'http.user_agent in $bad', action = "block" }]"#;
    let site = Site::new("list-file", &[])?;
    site.folder.write("zones/bad.txt", "one\n")?;
    site.plain_zone("site", HOST, origin.address(), &[rules])?;
    let (mut edge, world) = site.start().await?;
    let target = archipel_testkit::wire::Target::plain(world.at.plain()?);
    let ask = async |agent: &str| -> anyhow::Result<u16> {
        let mut client = archipel_testkit::client::RawClient::connect(&target).await?;
        client.ask(&format!("GET /a HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: {agent}\r\n\r\n")).await?.head.status()
    };
    ensure!(ask("one").await? == 403 && ask("two").await? == 200, "the first list");
    site.folder.write("zones/bad.txt", "two # since today\n")?;
    let (ok, said) = crate::site::command(&site, &["reload"]).await?;
    ensure!(ok, "{said}");
    ensure!(ask("one").await? == 200 && ask("two").await? == 403, "the second list");
    edge.stop().await
}

async fn firewall_with_a_thousand_rules() -> Outcome {
    let origin = origin().await?;
    let rules: String = (0..1_000)
        .map(|at| {
            let expression = match at % 4 {
                0 => format!("http.host eq \"h{at}.example\""),
                1 => format!("http.request.uri.path wildcard \"/p{at}/*\""),
                2 => format!("ip.src in {{10.{}.{}.0/24}}", at / 256, at % 256),
                _ => format!("http.user_agent contains \"agent{at};\" and not ssl"),
            };
            format!("{{ id = \"r{at}\", expression = '{expression}', action = \"block\" }}, ")
        })
        .collect();
    let node = Node::start("thousand", origin.address(), &[], &[&format!("firewall.rules = [{rules}]")]).await?;
    ensure!(status(&node, "/a", "").await? == 200, "none holds");
    ensure!(status(&node, "/p997/x", "").await? == 403, "a path");
    ensure!(status(&node, "/a", "User-Agent: x agent999; y\r\n").await? == 403, "an agent");
    let (_, text) = command(&node.site, ["firewall", "events"], &[]).await?;
    ensure!(text.contains("rule r997") && text.contains("rule r999"), "{text}");
    node.stop().await
}

async fn rules_are_tried_by_hand() -> Outcome {
    let site = Site::new("by-hand", &[])?;
    let lists = r#"lists = [{ name = "office", kind = "ip", entries = ["192.0.2.0/24"] }]"#;
    site.zone("site", &[HOST], "http://127.0.0.1:1", &[lists])?;
    site.folder.write("request.txt", format!("POST /login?next=1 HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: curl/8\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nuser=a&b=c"))?;
    let file = site.dir().join("request.txt").display().to_string();
    let check = async |expression: &str, code: i32, parts: &[&str]| -> Outcome {
        let arguments = [expression, "--request", &file, "--client", "192.0.2.7"];
        let (found, text) = command(&site, ["rules", "test"], &arguments).await?;
        ensure!(found == Some(code), "{expression}: {found:?}\n{text}");
        for part in parts {
            ensure!(text.contains(part), "{expression}: {part:?} is missing in:\n{text}");
        }
        Ok(())
    };
    check(
        "http.user_agent contains \"curl\" and ip.src in $office",
        0,
        &["true", "http.user_agent (String) = \"curl/8\"", "ip.src (IP address) = 192.0.2.7"],
    )
    .await?;
    check("http.request.uri.path eq \"/\" or ssl", 1, &["false", "\"/login\""]).await?;
    check("any(http.request.body.form[\"user\"][*] eq \"a\")", 0, &["true"]).await?;
    check("concat(\"/x\", http.request.uri.path)", 0, &["\"/x/login\""]).await?;
    check("http.hots eq \"a\"", 2, &["http.hots", "^^^^", "did you mean `http.host`?"]).await?;
    check("ip.src in $nowhere", 2, &["$nowhere"]).await?;
    Ok(())
}

async fn rules_fields_are_listed() -> Outcome {
    let (status, text, _) = run(Path::new(BINARY), &["rules", "fields"]).await?;
    ensure!(
        status.success() && text.contains("http.request.uri.path (String)") && text.contains("regex_replace("),
        "{text}"
    );
    let (status, json, _) = run(Path::new(BINARY), &["rules", "fields", "--json"]).await?;
    let json: serde_json::Value = serde_json::from_str(&json)?;
    ensure!(status.success() && json["fields"].as_array().is_some_and(|fields| fields.len() > 100), "{json}");
    Ok(())
}
