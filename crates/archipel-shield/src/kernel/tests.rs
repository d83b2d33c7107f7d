//! Against the real kernel, in a network namespace of the test's own: the test starts itself again inside of it.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use super::netlink::{Ask, Batch, Said, attribute, question, said};
use super::*;

const INSIDE: &str = "ARCHIPEL_TEST_INSIDE_NAMESPACE";

/// Runs a test of this module in a fresh network namespace. Says why where that cannot be.
fn in_a_namespace(test: &str, inside: fn()) {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let able = |program: &str, arguments: &[&str]| {
        Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
    };
    if !able("unshare", &["--net", "true"]) {
        return eprintln!("{test}: skipped, as this process may not make network namespaces");
    }
    if !able("unshare", &["--net", "nft", "list", "ruleset"]) {
        return eprintln!("{test}: skipped, as there is no nft (Debian: nftables) or no nf_tables");
    }
    let own = std::env::current_exe().expect("this program");
    let name = format!("kernel::tests::{test}");
    let mut command = Command::new("unshare");
    command.arg("--net").arg(own).args(["--exact", &name, "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    eprint!("{}", text(&output.stderr));
}

fn nft(arguments: &str) -> String {
    let output = Command::new("nft").args(arguments.split(' ')).output().expect("nft runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn listeners(addresses: &[&str]) -> Vec<SocketAddr> {
    addresses.iter().map(|address| address.parse().expect("an address")).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn v4(text: &str) -> u32 {
    text.parse::<std::net::Ipv4Addr>().expect("an address").into()
}

fn v6(text: &str) -> u128 {
    text.parse::<std::net::Ipv6Addr>().expect("an address").into()
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn the_table_is_what_nft_shows() {
    in_a_namespace("the_table_is_what_nft_shows", || {
        let mut table = KernelTable::open(
            "edge",
            &listeners(&["0.0.0.0:80", "[::]:443", "203.0.113.1:8443", "[2001:db8::1]:8443"]),
        )
        .expect("a table");
        assert!(table.is_owned());
        let exempt = Ranges { v4: &[(v4("10.0.0.0"), v4("10.0.0.255"))], v6: &[(0, 1)] };
        let blocked = Ranges {
            v4: &[(0, v4("0.255.255.255")), (v4("192.0.2.7"), v4("192.0.2.7")), (v4("255.0.0.0"), u32::MAX)],
            v6: &[(v6("2001:db8::"), v6("2001:db8::ffff")), (v6("ff00::"), u128::MAX)],
        };
        table.set_lists(&Lists { exempt, blocked: Ranges::default() }).expect("lists");
        table.set_lists(&Lists { exempt, blocked }).expect("lists again");
        table.add_offenders(&[(address("198.51.100.7"), HOUR), (address("2001:db8:1:2::"), HOUR)]).expect("offenders");
        let shown = nft("list table inet edge").split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "flags owner",
            "elements = { 10.0.0.0/24 }",
            "elements = { ::/127 }",
            "elements = { 0.0.0.0/8, 192.0.2.7, 255.0.0.0/8 }",
            "elements = { 2001:db8::/112, ff00::/8 }",
            "elements = { 198.51.100.7 timeout 1h expires ",
            "elements = { 2001:db8:1:2:: timeout 1h expires ",
            "type filter hook input priority raw; policy accept;",
            "meta nfproto ipv4 tcp dport 80 jump judge",
            "meta nfproto ipv6 tcp dport 443 jump judge",
            "ip daddr 203.0.113.1 tcp dport 8443 jump judge",
            "ip6 daddr 2001:db8::1 tcp dport 8443 jump judge",
            "ip saddr @exempt4 return",
            "ip saddr @blocked4 counter name \"blocked\" drop",
            "ip saddr @offenders4 counter name \"offenders\" drop",
            "ip6 saddr & ffff:ffff:ffff:ffff:: == @offenders6 counter name \"offenders\" drop",
        ] {
            assert!(shown.contains(expected), "missing: {expected}\n{shown}");
        }
        table.remove_offenders(&[address("198.51.100.7"), address("198.51.100.8")]).expect("out again");
        assert!(!nft("list set inet edge offenders4").contains("elements"), "{}", nft("list set inet edge offenders4"));
        assert_eq!(table.dropped(), Ok(Dropped::default()));
    });
}

#[test]
fn the_table_goes_with_its_owner() {
    in_a_namespace("the_table_goes_with_its_owner", || {
        let table = KernelTable::open("edge", &[]).expect("a table");
        assert!(matches!(KernelTable::open("edge", &[]), Err(KernelError::Owned { .. })), "two owners");
        assert!(nft("list tables").contains("inet edge"));
        drop(table);
        assert_eq!(nft("list tables"), "");
        // As on a kernel that knows no owners: what is left is cleaned by the next one.
        let mut left = KernelTable::open_as("edge", &[], false).expect("a table");
        left.add_offenders(&[(address("198.51.100.7"), HOUR)]).expect("an offender");
        drop(left);
        assert!(nft("list table inet edge").contains("198.51.100.7"));
        let next = KernelTable::open_as("edge", &[], false).expect("a table");
        assert!(!nft("list table inet edge").contains("198.51.100.7"));
        next.remove().expect("removed");
        assert_eq!(nft("list tables"), "");
        // Somebody else removes it.
        let mut table = KernelTable::open_as("edge", &[], false).expect("a table");
        nft("delete table inet edge");
        assert!(table.add_offenders(&[(address("198.51.100.7"), HOUR)]).is_err());
        assert!(table.dropped().is_err());
    });
}

#[test]
fn elements_leave_after_their_time() {
    in_a_namespace("elements_leave_after_their_time", || {
        let mut table = KernelTable::open("edge", &[]).expect("a table");
        let short = Duration::from_millis(300);
        table.add_offenders(&[(address("198.51.100.7"), short), (address("198.51.100.8"), HOUR)]).expect("offenders");
        let begun = Instant::now();
        while nft("list set inet edge offenders4").contains("198.51.100.7") {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is still there");
        }
        assert!(begun.elapsed() >= short / 2, "it left at once");
        assert!(nft("list set inet edge offenders4").contains("198.51.100.8"));
    });
}

#[test]
fn many_elements() {
    in_a_namespace("many_elements", || {
        let mut table = KernelTable::open("edge", &listeners(&["0.0.0.0:80"])).expect("a table");
        let offenders: Vec<_> = (0..65_536_u32)
            .map(|n| (IpAddr::from((0x0a00_0000 + n).to_be_bytes()), HOUR))
            .chain((0..1_000_u128).map(|n| (IpAddr::from((n << 64).to_be_bytes()), HOUR)))
            .collect();
        let begun = Instant::now();
        table.add_offenders(&offenders).expect("offenders");
        eprintln!("{} offenders in {:?}", offenders.len(), begun.elapsed());
        let blocked: Vec<_> = (0..50_000_u32).map(|n| (0x0b00_0000 + n * 256, 0x0b00_0000 + n * 256 + 127)).collect();
        let blocked = Ranges { v4: &blocked, v6: &[] };
        for _ in 0..2 {
            let begun = Instant::now();
            table.set_lists(&Lists { exempt: Ranges::default(), blocked }).expect("lists");
            eprintln!("{} ranges in {:?}", blocked.v4.len(), begun.elapsed());
        }
        let begun = Instant::now();
        table.add_offenders(&[(address("192.0.2.1"), HOUR)]).expect("one more");
        eprintln!("one more in {:?}", begun.elapsed());
        let shown = nft("list set inet edge offenders4");
        assert_eq!(shown.matches("expires").count(), 65_537);
        assert_eq!(nft("list set inet edge blocked4").matches("/25").count(), 50_000);
    });
}

#[test]
fn what_the_kernel_says_is_read_or_ignored() {
    let mut batch = Batch::new(7);
    assert!(batch.is_empty());
    batch.ask(Ask::DeleteTable, 0, |a| a.text(1, "edge"));
    let sealed = batch.seal();
    assert_eq!((sealed.last, sealed.bytes.len() % 4), (8, 0));
    // A question has the form of an answer.
    let answer = question(Ask::GetTable, 9, |a| {
        a.text(1, "edge");
        a.nest(4, |a| a.u32(2, 5));
    });
    let Some(Said::Answer(9, attributes)) = said(&answer).next() else { panic!("an answer") };
    assert_eq!(attribute(attributes, 1), Some(&b"edge\0"[..]));
    assert_eq!(attribute(attribute(attributes, 4).expect("nested"), 2), Some(&[0, 0, 0, 5][..]));
    assert_eq!(attribute(attributes, 3), None);
    // Cut anywhere, or of any length: no panic.
    for len in 0..answer.len() {
        said(&answer[..len]).for_each(drop);
    }
    for at in 0..answer.len() {
        for byte in [0, 1, 255] {
            let mut broken = answer.clone();
            broken[at] = byte;
            for said in said(&broken) {
                if let Said::Answer(_, attributes) = said {
                    let found = (0..8).filter(|kind| attribute(attributes, *kind).is_some()).count();
                    assert!(found <= 8);
                }
            }
        }
    }
}
