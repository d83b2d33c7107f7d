//! Table tests of the whole way from documents to snapshot or diagnostics.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::compile::compile;
use crate::kind::Files;
use crate::tree::Source;
use crate::*;

mod rules;

/// Files that exist only here.
#[derive(Default)]
struct Shelf(HashMap<PathBuf, Vec<u8>>);

impl Files for Shelf {
    fn readable(&self, path: &Path) -> Result<(), String> {
        if self.0.contains_key(path) { Ok(()) } else { Err("no such file".to_owned()) }
    }

    fn read(&self, path: &Path, bytes_max: usize) -> Result<Option<Vec<u8>>, String> {
        self.readable(path)?;
        Ok(self.0.get(path).filter(|content| content.len() <= bytes_max).cloned())
    }
}

fn shelf() -> Shelf {
    let files = [
        ("/etc/a/cert.pem", b"c".to_vec()),
        ("/etc/a/zones/cert.pem", b"c".to_vec()),
        ("/etc/a/zones/key.pem", b"k".to_vec()),
        ("/etc/a/zones/page.html", b"<p>page".to_vec()),
        ("/etc/a/zones/other.html", b"<p>other".to_vec()),
        ("/etc/a/zones/huge.html", vec![b'x'; ERROR_PAGE_BYTES_MAX + 1]),
    ];
    Shelf(files.into_iter().map(|(path, content)| (PathBuf::from(path), content)).collect())
}

fn load(documents: &[(&str, &str)]) -> Result<(Snapshot, Diagnostics), Diagnostics> {
    let base = Path::new("/etc/a");
    let sources = documents.iter().map(|(name, text)| Source::new(name, text, base)).collect();
    compile(sources, base, &shelf(), Diagnostics::new())
}

fn good(documents: &[(&str, &str)]) -> (Snapshot, Diagnostics) {
    load(documents).unwrap_or_else(|problems| panic!("{problems}"))
}

const SHOP: &str = "hosts = [\"shop.example\"]\n[origin]\nurl = \"http://127.0.0.1:3000\"\n";

/// Every expected problem as "code place: part of the message | part of the help"; no more and no fewer may come.
#[track_caller]
fn check(documents: &[(&str, &str)], expected: &[&str]) {
    let found = match load(documents) {
        Ok((_, warnings)) => warnings,
        Err(problems) => problems,
    };
    let shown = found.render(false);
    assert_eq!(found.len(), expected.len(), "\n{shown}");
    for (diagnostic, expected) in found.iter().zip(expected) {
        let place = match &diagnostic.span {
            Some(span) => format!("{}:{}:{}", diagnostic.file, span.start.line, span.start.column),
            None => diagnostic.file.clone(),
        };
        let (head, parts) = expected.split_once(' ').expect("code and place");
        let (at, parts) = parts.split_once(": ").expect("place and message");
        let (message, help) = parts.split_once(" | ").unwrap_or((parts, ""));
        assert_eq!((diagnostic.code.as_str(), place.as_str()), (head, at), "{expected}\n{shown}");
        assert!(diagnostic.message.contains(message), "{expected}\n{shown}");
        assert!(diagnostic.help.as_deref().unwrap_or("").contains(help), "{expected}\n{shown}");
    }
}

#[track_caller]
fn check_node(text: &str, expected: &[&str]) {
    check(&[("node.toml", text), ("zones/shop.toml", SHOP)], expected);
}

#[track_caller]
fn check_zone(text: &str, expected: &[&str]) {
    let text = format!("{SHOP}{text}");
    check(&[("zones/shop.toml", &text)], expected);
}

#[track_caller]
fn check_hosts(hosts: &str, expected: &[&str]) {
    let text = SHOP.replace("[\"shop.example\"]", hosts);
    check(&[("zones/shop.toml", &text)], expected);
}

#[test]
fn documents() {
    check(&[("node.toml", "name = \n[limits\nworkers = 2")], &["C001 node.toml:1:8: ", "C001 node.toml:2:8: "]);
    check(
        &[("node.toml", "name = \"a\"\nname = \"b\""), ("zones/shop.toml", SHOP)],
        &["C001 node.toml:2:1: duplicate key"],
    );
    check(
        &[("node.json", "{\"name\": \"a\",\n  \"workers\": }"), ("zones/shop.toml", SHOP)],
        &["C002 node.json:2:14: expected value"],
    );
    check(
        &[("node.json", "{\"name\": \"a\", \"name\": \"b\"}"), ("zones/shop.toml", SHOP)],
        &["C002 node.json:1:20: duplicate key `name`"],
    );
    let large = format!("# {}", "x".repeat(DOCUMENT_BYTES_MAX));
    check(&[("node.toml", &large), ("zones/shop.toml", SHOP)], &["C003 node.toml: at most 1048576"]);
    check(
        &[("nodes.toml", ""), ("zones/shop.toml", SHOP)],
        &["C005 nodes.toml: says neither | did you mean node.toml?"],
    );
    check(
        &[("zones/a/b.toml", SHOP), ("zones/shop.toml", SHOP)],
        &["C005 zones/a/b.toml: says neither | zones/<name>.toml"],
    );
    check(
        &[("node.toml", ""), ("node.json", "{}"), ("zones/shop.toml", SHOP)],
        &["C006 node.json: also given as node.toml | keep one"],
    );
    check(
        &[("zones/shop.json", "{"), ("zones/shop.toml", SHOP)],
        &["C002 zones/shop.json:1:1: EOF", "C006 zones/shop.toml: also given as zones/shop.json"],
    );
    check(&[("node.toml", "")], &["C036 node.toml: no zone"]);
    check(
        &[("node.json", "[]"), ("zones/shop.toml", SHOP)],
        &["C011 node.json: the document must be a table, not a list"],
    );
    check(&[("zones/Shop.toml", SHOP)], &["C022 zones/Shop.toml: no zone name | lower-case"]);
    check(&[("zones/.toml", SHOP)], &["C022 zones/.toml: no zone name"]);
    let deep = format!("name = {}{}", "[".repeat(20), "]".repeat(20));
    check(&[("node.toml", &deep), ("zones/shop.toml", SHOP)], &["C017 node.toml:1:24: too deep"]);
    let deep = format!("{{\"name\": {}{}}}", "[".repeat(50), "]".repeat(50));
    check(&[("node.json", &deep), ("zones/shop.toml", SHOP)], &["C002 node.json:1:25: too deep"]);
}

/// Depth multiplies where dotted keys stand in inline tables; neither reading nor dropping may exhaust the stack.
#[test]
fn depth_that_multiplies_is_survived() {
    for (dots, tables) in [(78, 78), (70, 40), (2, 70), (78, 1)] {
        let key = "a.".repeat(dots);
        let text = format!("{}1{}", format!("{key}a = {{ ").repeat(tables) + "a = ", " }".repeat(tables));
        let problems = load(&[("node.toml", &text)]).expect_err("too deep");
        assert!(problems.iter().any(|d| matches!(d.code, Code::TooMany | Code::TomlSyntax)), "{problems}");
    }
}

#[test]
fn unknown_keys() {
    check_node("worker = 2", &["C010 node.toml:1:1: there is no setting `worker` | did you mean `workers`?"]);
    check_node("[limts]\n", &["C010 node.toml:1:2: `limts` | did you mean `limits`?"]);
    check_node("[limits]\nheader_byte_max = 1", &["C010 node.toml:2:1: in `limits` | `header_bytes_max`"]);
    check_node(
        "h2_streams_max = 1",
        &["C010 node.toml:1:1: `h2_streams_max` | it belongs elsewhere: `limits.h2_streams_max`"],
    );
    check_node("[admin]\ncolour = 1", &["C010 node.toml:2:1: `colour` | known here: `address`, `allow_remote`"]);
    check_node("[[listen]]\naddress = \"127.0.0.1:0\"\nssl = true", &["C010 node.toml:3:1: in `listen[0]` | `tls`"]);
    check_zone("conect_timeout = \"1s\"", &["C010 zones/shop.toml:4:1: in `origin` | did you mean `connect_timeout`?"]);
}

#[test]
fn values() {
    check_node("workers = \"two\"", &["C011 node.toml:1:11: `workers` must be a whole number, not a text"]);
    check_node("workers = \"2\"", &["C011 node.toml:1:11: a whole number | remove the quotation marks: 2"]);
    check_node("workers = 1.5", &["C011 node.toml:1:11: not a number with a fraction"]);
    check_node("workers = 257", &["C012 node.toml:1:11: `workers` must be from 0 to 256, not 257 | the most is 256"]);
    check_node("workers = -1", &["C012 node.toml:1:11: not -1"]);
    check_node("workers = 99999999999999999999999999999999999999999999", &["C012 node.toml:1:11: too large"]);
    check_node("name = 1979-05-27", &["C011 node.toml:1:8: must be a text, not a date"]);
    check_node("name = \"\"", &["C012 node.toml:1:8: 1 to 64 characters"]);
    check_node("name = \"a b\"", &["C014 node.toml:1:8: is no name | letters"]);
    check_node("state_dir = \"\"", &["C014 node.toml:1:13: is no path"]);
    check_node("limits = 3", &["C011 node.toml:1:10: `limits` must be a table, not a number"]);
    check_node("[limits]\nheader_bytes_max = \"16k\"", &["C014 node.toml:2:20: is no number of bytes | \"16KiB\""]);
    check_node(
        "[limits]\nheader_bytes_max = 16",
        &["C012 node.toml:2:20: must be from 1KiB to 1MiB, not 16B | least is 1KiB"],
    );
    check_node("[limits]\nheader_bytes_max = true", &["C011 node.toml:2:20: a number of bytes, not a boolean"]);
    check_node("[timeouts]\ndrain = 30", &["C014 node.toml:2:9: has no unit | \"30s\""]);
    check_node("[timeouts]\ndrain = \"30\"", &["C014 node.toml:2:9: is no duration | \"30s\""]);
    check_node("[timeouts]\ntls_handshake = \"1ms\"", &["C012 node.toml:2:17: from 100ms to 10m, not 1ms"]);
    check_node("[tls]\nmin_version = \"1.1\"", &["C013 node.toml:2:15: one of \"1.2\", \"1.3\", not \"1.1\""]);
    check_node(
        "[trust]\nclient_address_from = [\"10.0.0.0/8\"]\nclient_address_header = \"x-forwarded\"",
        &["C013 node.toml:3:25: not \"x-forwarded\" | did you mean \"x-forwarded-for\"?"],
    );
    check_node(
        "[trust]\nclient_address_from = [\"10.0.0.1/8\",\n \"x\", \"::/0\", \"::/0\", 7, \"::/129\"]",
        &[
            "C014 node.toml:2:24: no address range | \"10.0.0.0/8\"",
            "C014 node.toml:3:2: \"x\"",
            "C015 node.toml:3:15: \"::/0\" twice",
            "C011 node.toml:3:23: texts only, not a number",
            "C014 node.toml:3:26: address range | 128",
        ],
    );
    check_node(
        "[trust]\nclient_address_from = \"10.0.0.0/8\"",
        &["C011 node.toml:2:23: a list of address ranges, not a text"],
    );
    check_node("[admin]\naddress = \":9180\"", &["C014 node.toml:2:11: is no address | 127.0.0.1:9180"]);
    check_node("[admin]\naddress = \"localhost\"", &["C014 node.toml:2:11: is no address | an IP address and a port"]);
    check_node("[traces]\notlp_endpoint = \"https://c:4318\"", &["C014 node.toml:2:17: https | http://"]);
    check_node(
        "[traces]\notlp_endpoint = \"http://c:4318/v1/traces\"\nsample_ratio = 2",
        &["C012 node.toml:3:16: 0.0 to 1.0"],
    );
    check_node(
        "[traces]\notlp_endpoint = \"http://c:4318/v1/traces\"\nsample_ratio = nan",
        &["C012 node.toml:3:16: 0.0 to 1.0"],
    );
    check_node("listen = 1", &["C011 node.toml:1:10: must be a list of tables | [[listen]]"]);
    check_node(
        "listen = [1]",
        &["C011 node.toml:1:11: `listen[0]` must be a table", "C016 node.toml:1:11: `listen[0].address` is missing"],
    );
    check_node("[[listen]]\ntls = true", &["C016 node.toml:1:1: `listen[0].address` is missing | IP address and port"]);
    let many = "[[listen]]\naddress = \"127.0.0.1:0\"\n".repeat(LISTENERS_MAX + 1);
    check_node(&many, &["C017 node.toml:1:1: at most 64"]);
    let many = format!("[trust]\nclient_address_from = [{}]", "\"::\",".repeat(LIST_ENTRIES_MAX + 1));
    check_node(&many, &["C017 node.toml:2:23: at most 10000"]);
}

#[test]
fn shield_lists() {
    let lists = "[[lists]]\nname = \"drop\"\nkind = \"ip\"\nentries = [\"192.0.2.0/24\", \"2001:db8::7\"]\n\
        [[lists]]\nname = \"names\"\nkind = \"host\"\n";
    check_node(
        &format!("[shield]\nexempt_lists = [\"A\"]\n{lists}"),
        &["C014 node.toml:2:17: holds \"A\", which is no name of a list | lower-case"],
    );
    check_node(
        &format!("[shield]\nblock_lists = [\"drop\", \"drpo\", \"names\"]\n{lists}"),
        &[
            "C013 node.toml:2:24: `shield.block_lists` names `drpo`, which is no list | did you mean `drop`?",
            "C011 node.toml:2:32: `shield.block_lists` names the list `names`, which has another kind",
        ],
    );
    let every =
        "[shield]\nblock_lists = [\"all\"]\n[[lists]]\nname = \"all\"\nkind = \"ip\"\nentries = [\"0.0.0.0/0\"]\n";
    check_node(every, &["C034 node.toml:2:15: `shield.block_lists` blocks every visitor"]);
    let text = format!(
        "[trust]\nclient_address_from = [\"10.0.0.0/8\"]\n\
         [shield]\nblock_lists = [\"drop\"]\nexempt = [\"192.0.2.1\"]\nexempt_lists = [\"drop\"]\n{lists}"
    );
    let sets = good(&[("node.toml", &text), ("zones/shop.toml", SHOP)]).0.shield;
    let is = |address: &str| {
        let address = address.parse().expect("an address");
        [&sets.exempt, &sets.never_dropped, &sets.blocked].map(|set| set.contains(address))
    };
    assert_eq!(is("192.0.2.1"), [true; 3]);
    assert_eq!(is("2001:db8::7"), [true; 3]);
    assert_eq!(is("10.1.2.3"), [false, true, false]);
    assert_eq!(is("203.0.113.1"), [false; 3]);
}

#[test]
fn zone_values() {
    check(
        &[("zones/shop.toml", "")],
        &["C016 zones/shop.toml: `hosts` is missing | name", "C016 zones/shop.toml: `origin.url` is missing"],
    );
    check(
        &[("zones/shop.toml", "hosts = [\"a\"]\n[origin]\n")],
        &["C016 zones/shop.toml:2:1: `origin.url` is missing | http://"],
    );
    check_hosts("[]", &["C016 zones/shop.toml:1:9: no host | [\"*\"]"]);
    check_hosts("[\"a\", \"bücher.example\"]", &["C020 zones/shop.toml:1:15: not ASCII | punycode"]);
    check_hosts(
        "[\"a:80\", \"x/y\"]",
        &["C020 zones/shop.toml:1:10: has a port", "C020 zones/shop.toml:1:18: is a URL"],
    );
    check_hosts("[\"a\", \"A.\"]", &["C015 zones/shop.toml:1:15: \"a\" twice"]);
    check_zone("host = \"a b\"", &["C020 zones/shop.toml:4:8: \"a b\""]);
    check_zone("host = 1", &["C011 zones/shop.toml:4:8: must be a text"]);
    check_zone("[headers]\nrequest_id = \"a b\"", &["C014 zones/shop.toml:5:14: no header field name"]);
    check_zone("[headers]\nrequest_id = \"Content-Length\"", &["C014 zones/shop.toml:5:14: a meaning of its own"]);
    check(
        &[("zones/shop.toml", "hosts = [\"a\"]\norigin.url = \"localhost:3000\"")],
        &["C014 zones/shop.toml:2:14: no scheme | http://localhost:3000"],
    );
    check(
        &[("zones/shop.toml", "hosts = [\"a\"]\norigin.url = \"http://o/base\"")],
        &["C014 zones/shop.toml:2:14: has a path | \"http://o\""],
    );
    check(
        &[("zones/shop.json", "{\"hosts\": [\"a\"], \"origin\": {\"url\": 5, \"host\": null}}")],
        &["C011 zones/shop.json: `origin.url` must be a text"],
    );
}

#[test]
fn node_meaning() {
    check_node("[admin]\naddress = \"0.0.0.0:9180\"", &["C031 node.toml:2:11: 0.0.0.0:9180 | allow_remote"]);
    check_node("[admin]\naddress = \"0.0.0.0:9180\"\nallow_remote = true", &[]);
    check_node("[admin]\naddress = \"[::1]:9180\"", &[]);
    check_node(
        "[[listen]]\naddress = \"127.0.0.1:80\"\n[[listen]]\naddress = \"127.0.0.1:80\"",
        &["C030 node.toml:4:11: `listen[1].address` is 127.0.0.1:80"],
    );
    check_node("[[listen]]\naddress = \"127.0.0.1:9180\"", &["C030 node.toml:2:11: in use already"]);
    check_node("[[listen]]\naddress = \"127.0.0.1:0\"\n[[listen]]\naddress = \"127.0.0.1:0\"", &[]);
    check_node(
        "[[listen]]\naddress = \"127.0.0.1:0\"\nproxy_protocol = true",
        &["C032 node.toml:3:18: needs peers | trust.proxy_protocol_from"],
    );
    check_node("[trust]\nproxy_protocol_from = [\"10.0.0.0/8\"]", &["C035 node.toml:2:23: no listener"]);
    check_node("[trust]\nclient_address_header = \"forwarded\"", &["C035 node.toml:2:25: nobody is believed"]);
    check_node("[traces]\nsample_ratio = 0.5", &["C035 node.toml:2:16: traces are off"]);
    check_node(
        "[limits]\nconnections_max = 10\nconnections_per_address_max = 20",
        &["C035 node.toml:3:31: above `limits.connections_max` (10)"],
    );
    check_node("[cache]\nmemory_bytes_max = \"1MiB\"", &["C034 node.toml:2:20: never stored"]);
    check_node("[cache]\nobject_bytes_max = \"1GiB\"", &["C034 node.toml:2:20: never stored"]);
    check_node("[cache]\nmemory_bytes_max = 0", &[]);
    check_node(
        "[cache.disk]\nbytes_max = \"1GiB\"",
        &["C035 node.toml:2:13: there is no disk tier | set `cache.disk.path`"],
    );
    check_node("[cache.disk]\npath = \"c\"\nbytes_max = \"1GiB\"", &["C034 node.toml:3:13: would displace all others"]);
    check_node("[cache.disk]\npath = \"c\"", &[]);
    check_node("[tls]\ndevelopment_ca = false", &["C032 node.toml:2:18: no certificate | [[certificate]]"]);
    check_node("[tls]\ndevelopment_ca = false\n[[listen]]\naddress = \"127.0.0.1:0\"", &[]);
    check_node(
        "[[certificate]]\ncertificate = \"cert.pem\"\nkey = \"nokey.pem\"",
        &["C033 node.toml:3:7: /etc/a/nokey.pem | relative"],
    );
    let zone = "hosts = [\"b\"]\norigin.url = \"http://o\"\n[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"";
    check(
        &[("node.toml", "[tls]\ndevelopment_ca = false"), ("zones/b.toml", zone), ("zones/shop.toml", SHOP)],
        &["C032 zones/shop.toml: zone `shop` has no certificate | tls.certificate"],
    );
}

#[test]
fn zone_meaning() {
    check_zone("[tls]\ncertificate = \"cert.pem\"", &["C032 zones/shop.toml:5:15: `tls.certificate` needs `tls.key`"]);
    check_zone("[tls]\nkey = \"key.pem\"", &["C032 zones/shop.toml:5:7: `tls.key` needs `tls.certificate`"]);
    check_zone("[tls]\ncertificate = \"cert.pem\"\nkey = \"gone.pem\"", &["C033 zones/shop.toml:6:7: gone.pem"]);
    check_zone("tls_verify = false", &["C035 zones/shop.toml:4:14: the origin's URL is http"]);
    check_zone(
        "connections_max = 10\nidle_connections_max = 20",
        &["C035 zones/shop.toml:5:24: above `origin.connections_max` (10)"],
    );
    check_zone("[cache]\nobject_bytes_max = \"1GiB\"", &[]);
    check_zone(
        "[cache]\nobject_bytes_max = \"1GiB\"\nslice_bytes = 0",
        &["C035 zones/shop.toml:5:20: the node's 32MiB"],
    );
    check_zone(
        "[compression]\ncodings = [\"br\", \"gzp\"]",
        &["C013 zones/shop.toml:5:18: `compression.codings` holds \"gzp\" | did you mean \"gzip\"?"],
    );
    check_zone("[compression]\ncodings = [\"br\", \"br\"]", &["C015 zones/shop.toml:5:18: holds \"br\" twice"]);
    check_zone("[compression]\ntypes = [\"html\"]", &["C014 zones/shop.toml:5:10: no media type | text/*"]);
    check_zone(
        "[compression]\ndecode = false\norigin_codings = [\"gzip\"]",
        &["C034 zones/shop.toml:6:18: needs `compression.decode`"],
    );
    check_zone("[error_pages]\ndefault = \"gone.html\"", &["C033 zones/shop.toml:5:11: gone.html"]);
    check_zone("[error_pages]\ninternal = \"huge.html\"", &["C003 zones/shop.toml:5:12: 262144 bytes"]);
    check_zone("[error_pages]\ntimeout = \"page.html\"", &["C010 zones/shop.toml:5:1: `timeout` | known here"]);
    let own = SHOP.replace("127.0.0.1:3000", "localhost:8080");
    check(&[("zones/shop.toml", &own)], &["C034 zones/shop.toml:3:7: own listener 127.0.0.1:8080"]);
    let tls = SHOP.replace("http://127.0.0.1:3000", "https://o") + "tls_verify = false\ntls_ca_file = \"cert.pem\"";
    check(&[("zones/shop.toml", &tls)], &["C035 zones/shop.toml:5:15: no effect"]);
    let redirect = format!("{SHOP}[tls]\nredirect_http = true");
    check(
        &[("node.toml", "[[listen]]\naddress = \"127.0.0.1:0\""), ("zones/shop.toml", &redirect)],
        &["C034 zones/shop.toml:5:17: no listener has TLS"],
    );
}

#[test]
fn zones_meet() {
    let a = "hosts = [\"a\", \"*.x.example\", \"*\"]\norigin.url = \"http://o\"";
    let b = "hosts = [\n  \"b\",\n  \"A.\",\n  \"*.x.example\",\n  \"*\",\n]\norigin.url = \"http://o\"";
    check(
        &[("zones/b.toml", b), ("zones/a.toml", a)],
        &[
            "C021 zones/b.toml:3:3: the host \"a\" belongs to zone `a` already | one zone",
            "C021 zones/b.toml:4:3: \"*.x.example\"",
            "C021 zones/b.toml:5:3: \"*\"",
        ],
    );
    let problems = load(&[("zones/a.toml", a), ("zones/b.toml", b)]).expect_err("shared hosts");
    let related = problems.iter().next().and_then(|d| d.related.clone()).expect("the other place");
    assert_eq!(
        (related.file.as_str(), related.span.map(|span| span.start)),
        ("zones/a.toml", Some(Position { line: 1, column: 10 }))
    );
}

#[test]
fn zones_with_the_same_number_are_refused() {
    let (first, second) = collision();
    let other = SHOP.replace("shop.example", "other.example");
    check(
        &[(&format!("zones/{first}.toml"), SHOP), (&format!("zones/{second}.toml"), &other)],
        &[&format!("C022 zones/{second}.toml: the same stable number as zone `{first}` | rename")],
    );
}

/// Two names with one number; in 2^17 names there are about two such pairs.
fn collision() -> (String, String) {
    let mut seen = HashMap::new();
    for n in 0..1_000_000u32 {
        let name = format!("z{n:x}");
        if let Some(other) = seen.insert(zone_id(&name), name.clone()) {
            return if other < name { (other, name) } else { (name, other) };
        }
    }
    panic!("no two of a million names share a number");
}

#[test]
fn every_problem_is_reported_at_once() {
    let zone = "hosts = [\"a b\"]\nhots = 1\n[origin]\nurl = \"ftp://x\"\nretries_max = 99\n[cache]\nenabled = \"yes\"";
    check(
        &[("node.toml", "workers = 999\n[admin]\naddress = 1"), ("zones/shop.toml", zone), ("zones/x.toml", "a = ")],
        &[
            "C012 node.toml:1:11: workers",
            "C011 node.toml:3:11: admin.address",
            "C020 zones/shop.toml:1:10: a b",
            "C010 zones/shop.toml:2:1: hots",
            "C014 zones/shop.toml:4:7: scheme",
            "C012 zones/shop.toml:5:15: retries_max",
            "C011 zones/shop.toml:7:11: true or false",
            "C001 zones/x.toml:1:5: ",
        ],
    );
}

#[test]
fn diagnostics_are_bounded() {
    let many: String = (0..30_000).map(|n| format!("key{n} = {n}\n")).collect();
    let problems = load(&[("node.toml", &many)]).expect_err("unknown keys");
    assert_eq!((problems.len(), problems.errors()), (DIAGNOSTICS_MAX, 30_000));
    assert!(problems.render(false).contains("30000 errors"));
    assert!(problems.dropped() > 0);
}

#[test]
fn too_many_zones_and_hosts() {
    let names: Vec<String> = (0..=ZONES_MAX).map(|n| format!("zones/z{n}.toml")).collect();
    let texts: Vec<String> = (0..=ZONES_MAX).map(|n| SHOP.replace("shop", &format!("s{n}"))).collect();
    let documents: Vec<(&str, &str)> = names.iter().zip(&texts).map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let problems = load(&documents).expect_err("too many zones");
    assert!(problems.iter().any(|d| d.code == Code::TooMany && d.message.contains("10001 zones")), "{problems}");

    let names: Vec<String> = (0..11).map(|n| format!("zones/z{n}.toml")).collect();
    let texts: Vec<String> = (0..11)
        .map(|z| {
            let hosts: Vec<String> = (0..9_999).map(|n| format!("\"h{n}.z{z}\"")).collect();
            SHOP.replace("\"shop.example\"", &hosts.join(","))
        })
        .collect();
    let documents: Vec<(&str, &str)> = names.iter().zip(&texts).map(|(n, t)| (n.as_str(), t.as_str())).collect();
    let problems = load(&documents).expect_err("too many hosts");
    assert!(problems.iter().any(|d| d.code == Code::TooMany && d.message.contains("109989 hosts")), "{problems}");
}

#[test]
fn every_code_is_tested() {
    // Codes of loading from disk are tested beside `load`.
    let tests = [include_str!("tests.rs"), include_str!("tests/rules.rs"), include_str!("load_tests.rs")].concat();
    let mut seen = BTreeSet::new();
    for code in Code::ALL {
        assert!(seen.insert(code.as_str()), "{code} is used twice");
        assert!(tests.contains(&format!("\"{code} ")), "no test expects {code}");
        assert!(!code.summary().is_empty());
    }
}

#[test]
fn hosts_find_their_zone() {
    let zone = |hosts: &str| format!("hosts = {hosts}\norigin.url = \"http://o\"");
    let (snapshot, _) = good(&[
        ("zones/exact.toml", &zone("[\"www.example.com\", \"example.com\", \"[2001:db8::1]\", \"127.0.0.1\"]")),
        ("zones/wide.toml", &zone("[\"*.example.com\"]")),
        ("zones/wider.toml", &zone("[\"*.com\"]")),
        ("zones/deep.toml", &zone("[\"*.a.example.com\"]")),
        ("zones/any.toml", &zone("[\"*\"]")),
    ]);
    let long = format!("{}.example.com", "a".repeat(300));
    for (host, name) in [
        ("www.example.com", "exact"),
        ("WWW.Example.COM", "exact"),
        ("www.example.com.", "exact"),
        ("example.com", "exact"),
        ("[2001:db8::1]", "exact"),
        ("127.0.0.1", "exact"),
        ("api.example.com", "wide"),
        ("x.y.example.com", "wide"),
        ("X.A.example.com", "deep"),
        ("a.example.com", "wide"),
        ("other.com", "wider"),
        ("com", "any"),
        (".com", "any"),
        ("", "any"),
        (".", "any"),
        ("example.org", "any"),
        ("\u{fc}.example.org", "any"),
        (&long, "any"),
        (&long.to_uppercase(), "any"),
    ] {
        assert_eq!(snapshot.zone_for_host(host).map(|zone| &*zone.name), Some(name), "{host}");
    }
    let (snapshot, _) = good(&[("zones/shop.toml", SHOP)]);
    assert!(snapshot.zone_for_host("other.example").is_none());
    assert!(snapshot.zone_for_host("www.shop.example").is_none());
    assert_eq!(snapshot.zone_by_name("shop").map(|zone| zone.id), Some(zone_id("shop")));
    // The number is for ever: a change would orphan what is stored under it.
    assert_eq!((zone_id(""), zone_id("default"), zone_id("shop")), (0x811c_9dc5, 0x933b_5bde, 0xa847_e0a9));
}

#[test]
fn values_arrive() {
    let node = "name = \"n1\"\nworkers = 3\n[[listen]]\naddress = \"127.0.0.1:0\"\ntls = true\n[limits]\nheader_bytes_max = \"32KiB\"\n\
        [timeouts]\nkeep_alive = \"1m30s\"\n[log]\naccess = \"log/a.json\"\n[cache]\nobject_bytes_max = \"1MiB\"\n[tls]\nmin_version = \"1.3\"\n\
        [trust]\nclient_address_from = [\"10.0.0.0/8\"]\nclient_address_header = \"x-real-ip\"";
    let zone = "[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"\n[limits]\nbody_bytes_max = 0\n\
        [error_pages]\ndefault = \"page.html\"\nrefused = \"other.html\"";
    let (snapshot, warnings) =
        good(&[("node.toml", node), ("zones/shop.toml", &format!("{SHOP}host = \"origin\"\n{zone}"))]);
    assert!(warnings.is_empty(), "{warnings}");
    let config = &snapshot.node;
    assert_eq!((config.name.as_str(), config.workers, config.limits.header_bytes_max), ("n1", 3, 32 << 10));
    assert_eq!(config.timeouts.keep_alive, Duration::from_secs(90));
    assert_eq!(config.state_dir, Path::new("/etc/a/state"));
    assert_eq!(config.log.access, AccessLog::File("/etc/a/log/a.json".into()));
    assert_eq!((config.tls.min_version, config.listeners.len()), (TlsVersion::V13, 1));
    assert_eq!(config.trust.client_address_header.as_str(), "x-real-ip");
    assert!(config.trust.client_address_from.contains([10, 1, 2, 3].into()));
    let zone = &snapshot.zones[0];
    assert_eq!(zone.origin.host, OriginHost::Origin);
    assert_eq!((zone.cache.object_bytes_max, zone.cache.slice_bytes), (0, 4 << 20));
    assert_eq!(zone.body_bytes_max(), u64::MAX);
    assert_eq!(zone.tls.key.as_deref(), Some(Path::new("/etc/a/zones/key.pem")));
    assert_eq!(zone.error_pages.get(ErrorPageKind::Refused).map(|page| &page[..]), Some(&b"<p>other"[..]));
    assert_eq!(zone.error_pages.get(ErrorPageKind::Internal).map(|page| &page[..]), Some(&b"<p>page"[..]));
}

#[test]
fn defaults_hold_without_documents_about_the_node() {
    let (snapshot, warnings) = good(&[("zones/shop.toml", SHOP)]);
    assert!(warnings.is_empty(), "{warnings}");
    let listeners: Vec<(String, bool)> =
        snapshot.node.listeners.iter().map(|l| (l.address.to_string(), l.tls)).collect();
    assert_eq!(listeners, [("127.0.0.1:8080".to_owned(), false), ("127.0.0.1:8443".to_owned(), true)]);
    assert_eq!(snapshot.generation, 1);
    assert_eq!(snapshot.zones[0].cache.object_bytes_max, 0);
    assert!(snapshot.node.trust.client_address_from.is_empty());
}

#[test]
fn toml_and_json_mean_the_same() {
    let node = r#"{"name": "n", "limits": {"header_bytes_max": "32KiB", "uri_bytes_max": 4096}, "listen": [{"address": "127.0.0.1:0"}], "cache": null}"#;
    let zone = r#"{"hosts": ["shop.example"], "origin": {"url": "http://127.0.0.1:3000"}}"#;
    let (json, _) = good(&[("node.json", node), ("zones/shop.json", zone)]);
    let node = "name = \"n\"\nlisten = [{address = \"127.0.0.1:0\"}]\n[limits]\nheader_bytes_max = 32_768\nuri_bytes_max = \"4KiB\"";
    let (toml, _) = good(&[("node.toml", node), ("zones/shop.toml", SHOP)]);
    assert_eq!(json.render_effective(), toml.render_effective());
    let value = serde_json::json!({"a": [1, {"b": null}]});
    assert!(Node::from_json(&value).is_ok());
    let deep = (0..40).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    assert!(Node::from_json(&deep).is_err());
}

#[test]
fn the_effective_configuration_loads_again() {
    let node = "[trust]\nclient_address_from = [\"10.0.0.0/8\", \"::1\"]\n[traces]\notlp_endpoint = \"http://c:4318/v1/traces\"\n\
        [[listen]]\naddress = \"[::]:0\"\ntls = true\n[[certificate]]\ncertificate = \"cert.pem\"\nkey = \"cert.pem\"";
    let zone = format!(
        "{SHOP}host = \"a.example:81\"\ntls_server_name = \"o.example\"\n[error_pages]\nrefused = \"page.html\"\n[headers]\nrequest_id = \"X-Id\""
    );
    let (snapshot, _) = good(&[("node.toml", node), ("zones/shop.toml", &zone)]);
    let documents = snapshot.effective_documents();
    let again: Vec<(&str, &str)> = documents.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (second, _) = good(&again);
    assert_eq!(second.effective_documents(), documents);
    assert_eq!((&second.node, &second.zones[0].origin), (&snapshot.node, &snapshot.zones[0].origin));
    let text = snapshot.render_effective();
    for part in [
        "# node.toml\nname = \"node\"",
        "[limits]\nconnections_max = 100000",
        "# zones/shop.toml\nhosts = [\"shop.example\"]",
        "# tls_ca_file is not set",
        "request_id = \"x-id\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn one_origin_without_documents() {
    let mut single = Snapshot::single_origin("https://example.com", Vec::new()).expect("a good URL");
    single.zone.cache.honour_request_directives = true;
    let (snapshot, warnings) = single.build().expect("a good configuration");
    assert!(warnings.is_empty(), "{warnings}");
    let zone = snapshot.zone_for_host("127.0.0.1").expect("every host has the zone");
    assert_eq!(
        (&*zone.name, zone.origin.url.authority().as_str(), zone.cache.honour_request_directives),
        ("default", "example.com", true)
    );
    assert_eq!((&zone.origin.host, snapshot.node.listeners.len()), (&OriginHost::Origin, 2));
    let problems = Snapshot::single_origin("example.com", Vec::new()).expect_err("no scheme");
    assert_eq!(
        problems.render(false),
        "error[C014]: the origin's URL has no scheme\n --> command line: origin.url\n  = help: write http://example.com or https://example.com\n\n1 error\n"
    );
    let own = Snapshot::single_origin("http://127.0.0.1:8080", Vec::new()).expect("a good URL");
    assert!(own.build().expect_err("a loop").iter().any(|d| d.code == Code::Contradiction));
}

#[test]
fn text_for_people() {
    let a = "hosts = [\"a\"]\norigin.url = \"http://o\"\n";
    let b = "\n\n\n\n\n\n\n\n\nhosts = [\"a\"]\norigin.url = \"http://o\"\n[cache]\ndefault_tll = \"1s\" # \u{202e}\n";
    let problems = load(&[("zones/a.toml", a), ("zones/b.toml", b)]).expect_err("two problems");
    let expected = r#"error[C021]: the host "a" belongs to zone `a` already
  --> zones/b.toml:10:10
   |
10 | hosts = ["a"]
   |          ^^^
  ::: zones/a.toml:1:10: zone `a` has it here
   |
 1 | hosts = ["a"]
   |          ---
   = help: a host belongs to one zone: remove it from one of them

error[C010]: there is no setting `default_tll` in `cache`
  --> zones/b.toml:13:1
   |
13 | default_tll = "1s" # \u{202e}
   | ^^^^^^^^^^^
   = help: did you mean `default_ttl`?

2 errors
"#;
    assert_eq!(problems.render(false), expected);
    assert!(problems.render(true).contains("\x1b[1;31merror"));
}

/// Checks the source line and the marks below it.
#[track_caller]
fn check_marks(document: &str, line: &str, marks: &str) {
    let problems = load(&[("node.toml", document), ("zones/shop.toml", SHOP)]).expect_err("a problem");
    let shown = problems.render(false);
    let excerpt: Vec<&str> = shown.lines().skip(3).take(2).map(|line| line.split_at(4).1).collect();
    assert_eq!(excerpt, [line, marks], "{shown}");
}

#[test]
fn marks_stand_under_what_they_mean() {
    check_marks("workers = 999", "workers = 999", "          ^^^");
    check_marks("\tworkers\t= 999", "    workers    = 999", "                 ^^^");
    check_marks("name = '\u{202e}' # x", "name = '\\u{202e}' # x", "       ^^^^^^^^^^");
    check_marks("admin = {\u{20}address = 'ü', x = 1}", "admin = { address = 'ü', x = 1}", "                    ^^^");
    check_marks("name = \"\"\"\na\nb\"\"\"", "name = \"\"\"", "       ^^^");
    check_marks("# \u{1b}[2J", "# \\u{1b}[2J", "  ^");
    check_marks("name = ", "name =", "       ^");
    let list = "\"10.0.0.0/8\", ".repeat(40);
    let line = format!("trust.client_address_from = [{list}\"x\"]");
    let problems = load(&[("node.toml", &line), ("zones/shop.toml", SHOP)]).expect_err("long lines");
    let span = problems.iter().find(|d| d.code == Code::Malformed).and_then(|d| d.span.clone()).expect("a place");
    assert!(span.text.chars().count() <= SNIPPET_CHARS_MAX && span.text.ends_with("\"x\"]"), "{span:?}");
}

#[test]
fn json_for_programs() {
    let problems = load(&[("node.toml", "worker = 1"), ("zones/shop.toml", SHOP)]).expect_err("one problem");
    let json = problems.to_json();
    assert_eq!(json["errors"], 1);
    let expected = serde_json::json!({
        "code": "C010", "severity": "error", "file": "node.toml", "path": "worker",
        "span": {"start": {"line": 1, "column": 1}, "end": {"line": 1, "column": 7}, "text": "worker = 1", "text_offset": 0},
        "message": "there is no setting `worker`", "help": "did you mean `workers`?", "related": null,
    });
    assert_eq!(json["diagnostics"][0], expected);
}

/// A zone with rules, one a block.
#[track_caller]
fn check_rules(rules: &str, expected: &[&str]) {
    check_zone(&format!("[cache]\n{}", rules.replace("[[]]", "[[cache.rules]]")), expected);
}

#[test]
fn cache_rules_are_read() {
    let rules = r#"
[[cache.rules]]
name = "assets"
edge_ttl = "7d"
edge_ttl_mode = "override"
disregard = ["no-cache"]
status_ttl = { 404 = "1m", 5xx = "5s", 200-299 = "1h" }
browser_ttl = "1h"
set_cookie = "strip"
vary_ignore = ["User-Agent"]
when = { path = ["/assets/*"], extension = ["CSS", "js"], host = ["shop.example"] }
[cache.rules.key]
query_only = ["v"]
cookies = ["currency"]
headers = ["X-Tenant"]
languages = ["en", "pt-BR"]

[[cache.rules]]
when = { cookie = ["session", "wp_*", "!consent"], header = ["X-Mode=Beta"], query = ["preview=1"] }
bypass = true
"#;
    let text = format!("{SHOP}{rules}");
    let (snapshot, warnings) = good(&[("zones/shop.toml", &text)]);
    assert!(warnings.is_empty(), "{warnings}");
    let cache = &snapshot.zones[0].cache;
    let [assets, visitors] = cache.rules.as_slice() else { panic!("{:?}", cache.rules) };
    assert_eq!(assets.edge_ttl, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(assets.edge_ttl_mode, Some(TtlMode::Override));
    let statuses: Vec<_> = assets.status_ttl.iter().flatten().map(|(range, _)| range.to_string()).collect();
    assert_eq!(statuses, ["404", "5xx", "2xx"]);
    assert_eq!(assets.when.extension.as_deref(), Some(&["css".into(), "js".into()][..]));
    assert_eq!(assets.key.languages.as_deref(), Some(&["en".into(), "pt-br".into()][..]));
    let tests: Vec<_> = visitors.when.cookie.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(tests, ["session", "wp_*", "!consent"]);
    assert_eq!(visitors.when.header.iter().flatten().map(ToString::to_string).collect::<Vec<_>>(), ["x-mode=Beta"]);
    // The effective configuration loads to the same.
    let documents = snapshot.effective_documents();
    let again: Vec<(&str, &str)> = documents.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let (again, _) = good(&again);
    assert_eq!(again.zones[0].cache, *cache);
    assert_eq!(again.render_effective(), snapshot.render_effective());
}

#[test]
fn cache_rule_values() {
    check_rules(
        "[[]]\nedge_tll = \"1s\"",
        &[
            "C035 zones/shop.toml:5:1: `cache.rules[0]` sets nothing | edge_ttl",
            "C010 zones/shop.toml:6:1: `edge_tll` in `cache.rules[0]` | did you mean `edge_ttl`?",
        ],
    );
    check_rules(
        "[[]]\nbypass = true\n[cache.rules.when]\npaths = [\"/a\"]",
        &["C010 zones/shop.toml:8:1: `paths` in `cache.rules[0].when` | did you mean `path`?"],
    );
    check_rules(
        "[[]]\nbypass = true\nwhen = { path = [\"a/*\", \"/a?b=1\", \"/%61\", \"/a/../b\", \"/a\", \"/a\"] }",
        &[
            "C014 zones/shop.toml:7:18: \"a/*\", which begins with neither | \"/a/*\"",
            "C014 zones/shop.toml:7:25: has a query | \"/a\"",
            "C014 zones/shop.toml:7:35: not in canonical form | \"/a\"",
            "C014 zones/shop.toml:7:43: not in canonical form | \"/b\"",
            "C015 zones/shop.toml:7:60: \"/a\" twice",
        ],
    );
    check_rules(
        "[[]]\nbypass = true\nwhen = { path = [], extension = [\".css\", \"a/b\"], header = [\"a b\"], cookie = [\"a*b\"] }",
        &[
            "C014 zones/shop.toml:7:17: `cache.rules[0].when.path` is empty | leave it out",
            "C014 zones/shop.toml:7:34: begins with a dot | \"css\"",
            "C014 zones/shop.toml:7:42: no extension | last dot",
            "C014 zones/shop.toml:7:60: names no header field",
            "C014 zones/shop.toml:7:78: is no test",
        ],
    );
    check_rules(
        "[[]]\nstatus_ttl = { 99 = \"1s\", 6xx = \"1s\", 500-400 = \"1s\", 404 = 3, 400-450 = \"1s\", 430-499 = \"1s\" }",
        &[
            "C014 zones/shop.toml:6:16: \"99\", which is no status | 5xx",
            "C014 zones/shop.toml:6:27: \"6xx\"",
            "C014 zones/shop.toml:6:39: \"500-400\"",
            "C014 zones/shop.toml:6:61: for 404 has no unit | \"3s\"",
            "C034 zones/shop.toml:6:80: holds 430-499 and 400-450",
        ],
    );
    check_rules("[[]]\nstatus_ttl = \"1m\"", &["C011 zones/shop.toml:6:14: must be a table such as"]);
    check_rules(
        "[[]]\ndisregard = [\"no-stor\", \"private\", \"private\"]\nedge_ttl = \"1s\"\nedge_ttl_mode = \"overide\"",
        &[
            "C013 zones/shop.toml:6:14: \"no-stor\", which is none of | \"no-store\"",
            "C015 zones/shop.toml:6:36: \"private\" twice",
            "C013 zones/shop.toml:8:17: not \"overide\" | \"override\"",
        ],
    );
    check_rules(
        "[[]]\nkey = { headers = [\"Cookie\", \"Range\", \"a b\"], cookies = [\"a=b\"], languages = [\"e_n\"], query_only = [\"a%b\", \"a*b\"] }",
        &[
            "C014 zones/shop.toml:6:20: \"Cookie\", which cannot be in the key | `cookies`",
            "C014 zones/shop.toml:6:30: \"Range\" | one stored reply",
            "C014 zones/shop.toml:6:39: no header field name",
            "C014 zones/shop.toml:6:58: no cookie name",
            "C014 zones/shop.toml:6:79: no language tag",
            "C014 zones/shop.toml:6:101: holds a character of the encoding | decoded",
            "C014 zones/shop.toml:6:108: is no name | at the end only",
        ],
    );
    let many = "[[]]\nbypass = true\nwhen.path = [\"/a\"]\n".repeat(CACHE_RULES_MAX + 1);
    let text = format!("{SHOP}[cache]\n{}", many.replace("[[]]", "[[cache.rules]]"));
    let problems = load(&[("zones/shop.toml", &text)]).expect_err("too many");
    assert!(problems.iter().any(|d| d.code == Code::TooMany && d.message.contains("at most 256")), "{problems}");
}

#[test]
fn cache_rules_that_contradict() {
    check_rules(
        "[[]]\nname = \"a\"\nbypass = true\nedge_ttl = \"1s\"\nwhen.path = [\"/a\"]\n[[]]\nname = \"a\"\nbypass = false",
        &[
            "C035 zones/shop.toml:7:10: `cache.rules[0].bypass` has no effect: a later rule that has no conditions | later rules win",
            "C035 zones/shop.toml:8:12: `cache.rules[0].edge_ttl` has no effect: the rule's requests pass",
            "C015 zones/shop.toml:11:8: `cache.rules[1].name` is \"a\"",
        ],
    );
    check_rules(
        "[[]]\nedge_ttl = \"1s\"\nwhen.path = [\"/a\"]\n[[]]\nedge_ttl = \"2s\"\nwhen.path = [\"/a\"]",
        &["C035 zones/shop.toml:6:12: a later rule that has the same conditions replaces it"],
    );
    check_rules(
        "[[]]\nedge_ttl_mode = \"override\"\nbrowser_ttl_mode = \"default\"",
        &[
            "C032 zones/shop.toml:6:17: `cache.rules[0].edge_ttl_mode` needs `edge_ttl` or `status_ttl` in the same rule",
            "C032 zones/shop.toml:7:20: needs `browser_ttl` in the same rule",
        ],
    );
    check_rules(
        "[[]]\nedge_ttl_mode = \"respect\"\nedge_ttl = \"1s\"\ndisregard = [\"private\"]",
        &[
            "C035 zones/shop.toml:7:12: `edge_ttl_mode` is \"respect\"",
            "C035 zones/shop.toml:8:13: `edge_ttl_mode` is not \"override\"",
        ],
    );
    check_rules(
        "[[]]\nkey = { query = \"none\", query_except = [\"a\"], query_sort = true }",
        &[
            "C034 zones/shop.toml:6:40: `cache.rules[0].key.query_except` stands beside `query` | keep one",
            "C035 zones/shop.toml:6:60: the query is not in the key",
        ],
    );
    check_rules(
        "always_online_max = \"1d\"\n[[]]\nstatus_ttl = { 404 = \"1h\" }\nerror_ttl_max = \"1m\"\nwhen.host = [\"shop.example\", \"other.example\"]",
        &[
            "C035 zones/shop.toml:5:21: `cache.always_online` is \"off\"",
            "C035 zones/shop.toml:7:14: gives errors 1h, and `error_ttl_max` is 1m",
            "C035 zones/shop.toml:9:30: never holds: the zone does not serve \"other.example\"",
        ],
    );
    check_rules("enabled = false\n[[]]\nbypass = true", &["C035 zones/shop.toml:6:1: `cache.enabled` is false"]);
    check_rules("[[]]\nname = \"x\"", &["C035 zones/shop.toml:5:1: `cache.rules[0]` sets nothing"]);
    check_rules("[[]]\nedge_ttl = \"1s\"\nenabled = false\n[[]]\nedge_ttl = \"2s\"", &[]);
}
