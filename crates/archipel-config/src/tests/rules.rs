//! Rules and lists: from documents to diagnostics, and what of them is in a snapshot.

use super::*;

#[track_caller]
fn with_files(zone: &str, files: &[(&str, &str)]) -> Result<(Snapshot, Diagnostics), Diagnostics> {
    let mut shelf = shelf();
    for (name, content) in files {
        shelf.0.insert(PathBuf::from(format!("/etc/a/zones/{name}")), content.as_bytes().to_vec());
    }
    let base = Path::new("/etc/a");
    let text = format!("hosts = [\"shop.example\"]\norigin.url = \"http://127.0.0.1:3000\"\n{zone}");
    compile(vec![Source::new("zones/shop.toml", &text, base)], base, &shelf, Diagnostics::new())
}

#[test]
fn an_error_in_an_expression_points_into_it() {
    check_zone(
        "[[firewall.rules]]\naction = \"block\"\nexpression = 'http.hots eq \"a\"'\n",
        &[
            "C018 zones/shop.toml:6:15: `firewall.rules[0].expression` is no expression: there is no field | did you mean `http.host`? (R010)",
        ],
    );
    check_zone(
        "[[firewall.rules]]\naction = \"block\"\nexpression = \"http.host eq \\\"a\\\" and http.hots eq \\\"b\\\"\"\n",
        &["C018 zones/shop.toml:6:38: there is no field"],
    );
    check_zone(
        "[[firewall.rules]]\naction = \"block\"\nexpression = '''\nhttp.host eq \"a\"\n  and ip.src in $offcie\n'''\n[[lists]]\nname = \"office\"\nkind = \"ip\"\n",
        &["C018 zones/shop.toml:8:17: no list | did you mean"],
    );
    check_zone(
        "[[rewrites]]\nexpression = 'ssl'\npath_expression = 'ip.src'\n",
        &["C018 zones/shop.toml:6:20: a String is needed here | to_string"],
    );
}

#[test]
fn what_a_rule_cannot_be_without() {
    check_zone(
        "[[firewall.rules]]\ndescription = \"x\"\n",
        &[
            "C016 zones/shop.toml:4:1: `firewall.rules[0].expression` is missing",
            "C016 zones/shop.toml:4:1: `firewall.rules[0].action` is missing",
        ],
    );
    check_zone(
        "[[firewall.rules]]\nexpression = 'ssl'\naction = \"blok\"\n",
        &["C013 zones/shop.toml:6:10: must be one of | did you mean \"block\"?"],
    );
    check_zone(
        "[[firewall.access]]\naction = \"block\"\n",
        &["C016 zones/shop.toml:4:1: `firewall.access[0]` says nobody | 0.0.0.0/0"],
    );
    check_zone(
        "[[firewall.rules]]\nexpression = 'ssl'\naction = \"skip\"\n",
        &["C016 zones/shop.toml:4:1: does not say what it passes over | `skip`"],
    );
    check_zone(
        "[[redirects]]\nexpression = 'ssl'\n",
        &["C016 zones/shop.toml:4:1: has none of `target`, `target_expression`, `list`"],
    );
    check_zone(
        "[[redirects]]\nexpression = 'ssl'\ntarget = \"/a\"\ntarget_expression = 'http.host'\n",
        &["C034 zones/shop.toml:7:21: has both `target` and `target_expression`"],
    );
    check_zone("[[routes]]\nexpression = 'ssl'\n", &["C016 zones/shop.toml:4:1: `routes[0].url` is missing"]);
    check_zone("[[custom_errors]]\nexpression = 'ssl'\n", &["C016 zones/shop.toml:4:1: has none of `body`, `file`"]);
    check_zone(
        "[[response_headers]]\nexpression = 'ssl'\nheaders = [{ name = \"x\" }]\n",
        &["C016 zones/shop.toml:6:12: has none of `value`, `value_expression`"],
    );
}

#[test]
fn what_has_no_effect() {
    check_zone(
        "[[firewall.rules]]\nexpression = 'ssl'\naction = \"log\"\nstatus = 404\nskip = [\"rules\"]\n",
        &[
            "C035 zones/shop.toml:7:10: the rule's action is not \"block\"",
            "C035 zones/shop.toml:8:8: the rule's action is not \"skip\"",
        ],
    );
    check_zone(
        "[[firewall.rules]]\nid = \"a\"\nexpression = 'ssl'\naction = \"log\"\n[[firewall.rules]]\nexpression = 'ssl'\naction = \"skip\"\nskip_rules = [\"a\", \"b\"]\n",
        &["C035 zones/shop.toml:11:14: evaluated before this rule", "C013 zones/shop.toml:11:14: no rule has as `id`"],
    );
    check_zone("[[settings_rules]]\nexpression = 'ssl'\n", &["C035 zones/shop.toml:4:1: sets nothing"]);
    check_zone("[[rewrites]]\nexpression = 'ssl'\n", &["C035 zones/shop.toml:4:1: changes nothing"]);
    check_zone(
        "[[firewall.access]]\naction = \"block\"\ncountry = [\"de\"]\n",
        &["C035 zones/shop.toml:6:11: `geo.database` is not set | node.toml"],
    );
    check_zone(
        "[[firewall.rules]]\nexpression = 'ip.src.country eq \"DE\" and cf.waf.content_scan.has_obj'\naction = \"log\"\n",
        &[
            "C035 zones/shop.toml:5:14: `ip.src.country`, which is unknown",
            "C035 zones/shop.toml:5:14: `cf.waf.content_scan.has_obj`, which an edge like this does not know",
        ],
    );
}

#[test]
fn what_rules_may_not_do() {
    check_zone(
        "[[rewrites]]\nexpression = 'ssl'\npath = \"/a/../b\"\nquery = \"a b\"\n",
        &["C014 zones/shop.toml:6:8: did you mean \"/b\"?", "C014 zones/shop.toml:7:9: is no query"],
    );
    for (name, help) in [("Host", "`[origin]`"), ("content-length", "frames"), ("a b", "x-country")] {
        check_zone(
            &format!("[[rewrites]]\nexpression = 'ssl'\nheaders = [{{ name = \"{name}\", value = \"x\" }}]\n"),
            &[&format!("C014 zones/shop.toml:6:21:  | {help}")],
        );
    }
    check_zone(
        "[[rewrites]]\nexpression = 'ssl'\nheaders = [{ name = \"x\", value = \"a\\nb\" }]\n",
        &["C014 zones/shop.toml:6:34: is no header field value"],
    );
    check_zone(
        "[[redirects]]\nexpression = 'ssl'\ntarget = \"javascript:alert(1)\"\nstatus = 200\n",
        &["C014 zones/shop.toml:6:10: no URL", "C012 zones/shop.toml:7:10: must be one of 301"],
    );
    check_zone(
        "[[settings_rules]]\nexpression = 'http.request.body.size gt 1'\nupgrades = false\n",
        &["C018 zones/shop.toml:5:14: not known yet where this rule is evaluated"],
    );
    check_zone(
        "[[rewrites]]\nexpression = 'http.response.code eq 200'\npath = \"/a\"\n",
        &["C018 zones/shop.toml:5:15: `rewrites[0].expression` is no expression"],
    );
    check_zone(
        "[[rewrites]]\nexpression = 'ssl'\nheaders = [{ name = \"x\", value_expression = 'to_string(http.response.code)' }]\n",
        &["C018 zones/shop.toml:6:45: there is no reply yet"],
    );
}

#[test]
fn lists_are_read_entry_by_entry() {
    check_zone(
        "[[lists]]\nname = \"a\"\nkind = \"ip\"\nentries = [\"10.0.0.1/8\", \"x\"]\n",
        &[
            "C014 zones/shop.toml:7:12: no address range | did you mean \"10.0.0.0/8\"",
            "C014 zones/shop.toml:7:26: no address range",
        ],
    );
    check_zone(
        "[[lists]]\nname = \"A-b\"\nkind = \"host\"\n[[lists]]\nname = \"b\"\nkind = \"host\"\nentries = [\"*\"]\n[[lists]]\nname = \"b\"\nkind = \"integer\"\n",
        &[
            "C014 zones/shop.toml:5:8: is no name of a list",
            "C014 zones/shop.toml:10:12: every host",
            "C015 zones/shop.toml:12:8: two lists `b`",
        ],
    );
    check_zone(
        "[[lists]]\nname = \"r\"\nkind = \"redirect\"\nentries = [\"shop.example/a //evil\"]\n[[firewall.access]]\naction = \"block\"\nlist = \"r\"\n[[redirects]]\nlist = \"s\"\n",
        &[
            "C014 zones/shop.toml:7:12: no URL",
            "C011 zones/shop.toml:10:8: another kind",
            "C013 zones/shop.toml:12:8: no list | did you mean `r`?",
        ],
    );
}

#[test]
fn lists_come_from_files_too() {
    let zone = "[[lists]]\nname = \"a\"\nkind = \"ip\"\nentries = [\"192.0.2.1\"]\nfile = \"list.txt\"\n";
    let text = "# office\n10.0.0.0/8   # all of it\n\n  2001:db8::/32\n";
    let (snapshot, warnings) = with_files(zone, &[("list.txt", text)]).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(warnings.is_empty(), "{warnings}");
    let ListValues::Values(list) = &*snapshot.zones[0].lists["a"] else { panic!("another kind") };
    for (address, inside) in [("192.0.2.1", true), ("10.9.9.9", true), ("2001:db8::1", true), ("192.0.2.2", false)] {
        assert_eq!(list.contains_address(address.parse().expect("an address")), inside, "{address}");
    }
    let problems = with_files(zone, &[("list.txt", "10.0.0.0/8\nnonsense\n")]).expect_err("a wrong line");
    assert!(problems.to_string().contains("line 2 holds \"nonsense\""), "{problems}");
    let problems = with_files(zone, &[]).expect_err("no file");
    assert!(problems.to_string().contains("C033"), "{problems}");
}

#[test]
fn a_zones_list_takes_the_place_of_the_nodes() {
    let node = "[[lists]]\nname = \"a\"\nkind = \"string\"\nentries = [\"node\"]\n[[lists]]\nname = \"b\"\nkind = \"string\"\n";
    let zone = format!(
        "{SHOP}[[lists]]\nname = \"a\"\nkind = \"ip\"\n[[firewall.rules]]\nexpression = 'ip.src in $a or http.host in $b'\naction = \"log\"\n"
    );
    let (snapshot, warnings) = good(&[("node.toml", node), ("zones/shop.toml", &zone)]);
    assert!(warnings.is_empty(), "{warnings}");
    assert_eq!(snapshot.zones[0].lists["a"].kind(), ListKind::Ip);
    assert_eq!(snapshot.zones[0].lists["b"].kind(), ListKind::Text);
}

#[test]
fn rules_are_written_as_they_were_read() {
    let zone = format!(
        "{SHOP}[[firewall.rules]]\nid = \"x\"\nexpression = 'http.host eq \"a\\\\b\" and ip.src in $l'\naction = \"block\"\nstatus = 451\nbody = \"a\\nb\"\n\
         [[lists]]\nname = \"l\"\nkind = \"ip\"\nentries = [\"10.0.0.0/8\"]\n[[rewrites]]\nexpression = 'ssl'\nquery = \"\"\nheaders = [{{ name = \"x\", value = \"y\" }}]\n\
         [[redirects]]\nexpression = 'ssl'\ntarget = \"/a\"\nstatus = 308\n"
    );
    let (snapshot, _) = good(&[("zones/shop.toml", &zone)]);
    let written = snapshot.effective_documents();
    let documents: Vec<(&str, &str)> = written.iter().map(|(name, text)| (&**name, &**text)).collect();
    let (again, _) = good(&documents);
    assert_eq!(again.zones[0].firewall, snapshot.zones[0].firewall);
    assert_eq!(again.zones[0].phases.rewrites, snapshot.zones[0].phases.rewrites);
    assert_eq!(again.zones[0].phases.redirects, snapshot.zones[0].phases.redirects);
    assert_eq!(snapshot.zones[0].phases.rewrites[0].query.as_deref(), Some(""));
}

const LIMIT: &str = "[[rate_limits]]\nexpression = 'ssl'\nrequests = 5\n";

#[test]
fn what_rate_limits_count_by() {
    for good in [
        "[\"ip.src\", \"network\", \"host\", \"path\", \"method\", \"user_agent\", \"ja4\"]",
        "['header \"X-Api-Key\"', 'cookie \"id\"', 'query \"k e y\"', \"cf.colo.id\"]",
        "['http.request.headers[\"x\"]', 'http.request.cookies[\"x\"]', 'lower(http.host)', 'cidr(ip.src, 16, 32)']",
    ] {
        check_zone(&format!("{LIMIT}characteristics = {good}\n"), &[]);
    }
    for (bad, expected) in [
        ("[\"ip.srcc\"]", "C018 zones/shop.toml:7:21: there is no field `ip.srcc` | did you mean"),
        ("[\"hots\"]", "C018 zones/shop.toml:7:21: there is no field `hots` | did you mean \"host\"?"),
        ("[\"path\", 'header \"a b\"']", "C014 zones/shop.toml:7:28: is no header field name | x-api-key"),
        ("['cookie \"\"']", "C014 zones/shop.toml:7:20: is no name of a cookie"),
        (
            "['lower(http.hots)']",
            "C018 zones/shop.toml:7:27: there is no field `http.hots` | did you mean `http.host`?",
        ),
        ("['http.response.code']", "C018 zones/shop.toml:7:21: "),
        ("[\"cf.unique_visitor_id\"]", "C014 zones/shop.toml:7:20: does not know | ip.src"),
        ("[\"path\", \"path\"]", "C015 zones/shop.toml:7:28: twice"),
        ("[]", "C012 zones/shop.toml:7:19: 1 to 8 are needed | cf.colo.id"),
    ] {
        check_zone(&format!("{LIMIT}characteristics = {bad}\n"), &[expected]);
    }
    check_zone(
        &format!("{LIMIT}characteristics = [\"country\", \"ip.src\"]\n"),
        &["C035 zones/shop.toml:7:20: `ip.src.country`, which is unknown | node.toml"],
    );
}

#[test]
fn what_rate_limits_mean() {
    check_zone(
        "[[rate_limits]]\nid = \"a\"\n",
        &[
            "C016 zones/shop.toml:4:1: `rate_limits[0].expression` is missing",
            "C016 zones/shop.toml:4:1: `rate_limits[0].requests` is missing",
        ],
    );
    check_zone(
        "[[rate_limits]]\nexpression = 'http.response.code eq 401'\nrequests = 5\n",
        &["C018 zones/shop.toml:5:15: "],
    );
    check_zone(&format!("{LIMIT}counting_expression = 'http.response.code eq 401'\n"), &[]);
    check_zone(
        &format!("{LIMIT}counting_expression = 'http.response.cod eq 401'\n"),
        &["C018 zones/shop.toml:7:24: there is no field | did you mean `http.response.code`?"],
    );
    check_zone(
        &format!(
            "{LIMIT}action = \"log\"\nstatus = 403\n[[firewall.rules]]\nid = \"a\"\nexpression = 'ssl'\naction = \"log\"\n[[rate_limits]]\nid = \"a\"\nexpression = 'ssl'\nrequests = 1\n"
        ),
        &[
            "C035 zones/shop.toml:8:10: the rule's action is not \"block\"",
            "C015 zones/shop.toml:14:6: two rules have the id `a`",
        ],
    );
    check_zone(
        &format!("{LIMIT}period = \"500ms\"\nrequest = 0\n"),
        &[
            "C012 zones/shop.toml:7:10: must be from 1s to 1d",
            "C010 zones/shop.toml:8:1: there is no setting `request` | `requests`",
        ],
    );
    check_zone(
        "[shield]\nnetwork_burst = 7\n",
        &["C035 zones/shop.toml:5:17: `shield.network_burst` has no effect | `shield.network_rate`"],
    );
}
