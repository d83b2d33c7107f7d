use archipel_config::Snapshot;

use super::*;
use crate::explain::{ExplainRequest, imagine};
use crate::node::Node;
use crate::zone;

fn snapshot(rules: &str) -> Snapshot {
    let zone = format!("hosts = [\"*\"]\n[origin]\nurl = \"http://o\"\n{rules}");
    Snapshot::from_documents(&[("node.toml", ""), ("zones/z.toml", &zone)]).expect("good documents").0
}

fn request(client: &str) -> ExplainRequest {
    ExplainRequest {
        method: "GET".to_owned(),
        url: "http://shop.example/a?b=c".to_owned(),
        headers: Vec::new(),
        client: Some(client.parse().expect("an address")),
    }
}

/// Whether a request of a client passes the rate limits.
fn passes(node: &Arc<Node>, client: &str) -> bool {
    let mut ex = imagine(node, &request(client)).expect("a request");
    assert!(zone::stage(&mut ex).is_continue());
    stage(&mut ex).is_continue()
}

const RULE: &str = "[[rate_limits]]\nid = \"a\"\nexpression = 'http.request.method eq \"GET\"'\nrequests = 2\n";

#[test]
fn a_rule_that_stays_goes_on_counting_over_a_reload() {
    let node = Node::new(snapshot(RULE)).expect("a node");
    assert_eq!([0; 3].map(|_| passes(&node, "192.0.2.1")), [true, true, false]);
    let other = "[[rate_limits]]\nid = \"b\"\nexpression = 'ssl'\nrequests = 9\n";
    node.reload(snapshot(&format!("{other}{RULE}description = \"what it is for\"\n"))).expect("good");
    assert!(!passes(&node, "192.0.2.1"), "it is known by its id, not by its place");
    node.reload(snapshot(&RULE.replace("requests = 2", "requests = 3"))).expect("good");
    assert_eq!([0; 2].map(|_| passes(&node, "192.0.2.1")), [true, false], "two of three were counted before");
    for changed in ["period = \"2m\"\n", "characteristics = [\"host\"]\n", "counters_max = 2048\n"] {
        node.reload(snapshot(&format!("{RULE}{changed}"))).expect("good");
        assert!(passes(&node, "192.0.2.1"), "{changed} makes another rule of it");
        node.reload(snapshot(RULE)).expect("good");
        assert!(passes(&node, "192.0.2.1"), "what was counted before is forgotten");
    }
}

#[test]
fn whom_a_rule_counts_together() {
    let node = Node::new(snapshot(&RULE.replace("= 2", "= 1"))).expect("a node");
    assert!(passes(&node, "2001:db8::1") && !passes(&node, "2001:db8::2:1"), "a /64 is one visitor");
    assert!(passes(&node, "2001:db8:0:1::1") && passes(&node, "192.0.2.1") && passes(&node, "192.0.2.2"));
    let rule = format!("{}characteristics = [\"network\"]\n", RULE.replace("= 2", "= 1"));
    let node = Node::new(snapshot(&rule)).expect("a node");
    assert!(passes(&node, "192.0.2.1") && !passes(&node, "192.0.2.2") && passes(&node, "192.0.3.2"));
    let rule = format!("{}characteristics = [\"cf.colo.id\"]\n", RULE.replace("= 2", "= 1"));
    let node = Node::new(snapshot(&rule)).expect("a node");
    assert!(passes(&node, "192.0.2.1") && !passes(&node, "198.51.100.1"), "everybody together");
}

#[test]
fn an_explanation_tells_how_a_visitor_stands_and_counts_nothing() {
    let node = Node::new(snapshot(RULE)).expect("a node");
    let explained = |client: &str| {
        let explanation = node.explain(&request(client)).expect("a request");
        let of_rates = explanation.verdicts.into_iter().find(|verdict| verdict.stage == "rates");
        of_rates.map(|verdict| (verdict.verdict, verdict.detail, explanation.status))
    };
    for _ in 0..3 {
        let expected = ("pass", "rule a: 2 of 2 left, changes in 0 s".to_owned(), None);
        assert_eq!(explained("192.0.2.1"), Some(expected));
    }
    assert_eq!([0; 3].map(|_| passes(&node, "192.0.2.1")), [true, true, false]);
    let (verdict, detail, status) = explained("192.0.2.1").expect("a verdict");
    assert!(verdict == "block" && detail.starts_with("rule a: 0 of 2 left") && status == Some(429), "{detail}");
    assert_eq!(explained("127.0.0.1").map(|(verdict, ..)| verdict), Some("skip"));
}

#[test]
fn metrics_are_by_zone_and_rule() {
    let node = Node::new(snapshot(RULE)).expect("a node");
    assert_eq!([0; 5].map(|_| passes(&node, "192.0.2.1")), [true, true, false, false, false]);
    let mut page = String::new();
    metrics(&mut page, &node.live());
    for line in [
        "counted_total{zone=\"z\",rule=\"a\"} 2",
        "exceeded_total{zone=\"z\",rule=\"a\"} 3",
        "counters{zone=\"z\",rule=\"a\"} 1",
    ] {
        assert!(page.contains(&format!("\narchipel_rate_limit_{line}\n")), "{page}");
    }
    let mut page = String::new();
    metrics(&mut page, &Node::new(snapshot("")).expect("a node").live());
    assert_eq!(page, "");
}
