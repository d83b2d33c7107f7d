use super::clearance::{GRACE_SECONDS, LIFETIME_SECONDS_MAX};
use super::keys::{EPOCH_SECONDS, SKEW_SECONDS};
use super::ledger::{Ledger, Use, WINDOW};
use super::token::{TOKEN_SECONDS, Token, TokenError};
use super::*;
use challenge::{CHALLENGE_SECONDS, Rejected};

const NOW: u64 = 1_800_000_000;

fn keys(zone: u32) -> Keys {
    Master::new([7; 32]).zone(zone)
}

fn binding(agent: &str, network: &str) -> Binding {
    Binding::new(agent.as_bytes(), b"8daaf6152771", network.as_bytes(), 64_500)
}

fn clearance() -> Clearance {
    Clearance {
        level: 2,
        issued: NOW as u32,
        lifetime: 1_800,
        id: [9; 12],
        binding: binding("firefox", "192.0.2.0/24"),
    }
}

#[test]
fn a_clearance_lives_its_life() {
    let text = clearance().seal(&mut keys(1));
    assert_eq!(text.len(), 64);
    let here = binding("firefox", "192.0.2.0/24");
    let standing = |now, binding: &Binding| Clearance::check(&text, &mut keys(1), now, binding).0;
    assert_eq!(standing(NOW, &here), Standing::Good { renew: false, moved: false });
    assert_eq!(standing(NOW - SKEW_SECONDS, &here), Standing::Good { renew: false, moved: false }, "a clock that lags");
    assert_eq!(standing(NOW - SKEW_SECONDS - 1, &here), Standing::Invalid, "of the future");
    assert_eq!(standing(NOW + 900, &here), Standing::Good { renew: true, moved: false });
    assert_eq!(
        standing(NOW + 10, &binding("firefox", "198.51.100.0/24")),
        Standing::Good { renew: false, moved: true }
    );
    assert_eq!(standing(NOW + 10, &binding("curl", "192.0.2.0/24")), Standing::Foreign);
    assert_eq!(standing(NOW + 1_801, &here), Standing::Grace);
    assert_eq!(standing(NOW + 1_801 + GRACE_SECONDS, &here), Standing::Expired);
    let long_past = NOW + u64::from(LIFETIME_SECONDS_MAX) + GRACE_SECONDS + EPOCH_SECONDS + 1;
    assert_eq!(standing(long_past, &here), Standing::Invalid);
    assert_eq!(Clearance::check(&text, &mut keys(2), NOW, &here).0, Standing::Invalid, "of another zone");
    let stranger = &mut Master::new([8; 32]).zone(1);
    assert_eq!(Clearance::check(&text, stranger, NOW, &here).0, Standing::Invalid, "of another edge");
}

#[test]
fn keys_turn_without_a_spurious_refusal() {
    let here = binding("firefox", "192.0.2.0/24");
    let mut issuer = keys(1);
    let mut checker = keys(1);
    for minute in 0..600 {
        let now = NOW + minute * 60;
        let text = Clearance { issued: now as u32, ..clearance() }.seal(&mut issuer);
        for age in [0, 60, 900, 1_799] {
            let standing = Clearance::check(&text, &mut checker, now + age, &here).0;
            assert!(matches!(standing, Standing::Good { .. }), "given at {now}, {age} s old: {standing:?}");
        }
    }
}

#[test]
fn no_flipped_bit_passes() {
    let (here, mut keys) = (binding("firefox", "192.0.2.0/24"), keys(1));
    let text = clearance().seal(&mut keys);
    for at in 0..text.len() {
        for replacement in b"ABab09-_ =.\xc3" {
            let mut bytes = text.clone().into_bytes();
            if bytes[at] == *replacement {
                continue;
            }
            bytes[at] = *replacement;
            let forged = String::from_utf8_lossy(&bytes);
            let standing = Clearance::check(&forged, &mut keys, NOW, &here).0;
            assert_eq!(standing, Standing::Invalid, "character {at} as {replacement}");
        }
    }
    for text in ["", "A", &text[..63], &format!("{text}A")] {
        assert_eq!(Clearance::check(text, &mut keys, NOW, &here).0, Standing::Invalid);
    }
}

fn challenge() -> Challenge {
    Challenge {
        level: 2,
        difficulty: Difficulty::LEAST,
        issued: NOW as u32,
        random: [3; 16],
        binding: binding("firefox", "192.0.2.0/24"),
    }
}

#[test]
fn a_challenge_is_answered_once_for_all() {
    let (mut keys, here) = (keys(1), binding("firefox", "192.0.2.0/24"));
    let text = challenge().seal(&mut keys);
    let opened = Challenge::open(&text, &mut keys, NOW + 5, &here);
    assert_eq!(opened, Ok(challenge()));
    let solution = challenge().solve(&text);
    assert!(challenge().is_solved(&text, &solution));
    let mut wrong = solution;
    wrong.0[31] = wrong.0[31].wrapping_add(1);
    assert!(!challenge().is_solved(&text, &wrong));
    let other = Challenge { random: [4; 16], ..challenge() };
    assert!(!other.is_solved(&other.seal(&mut keys), &solution), "an answer to another challenge");
    let (first, again) = (
        challenge().clearance(&mut keys, NOW as u32, 1_800, here),
        challenge().clearance(&mut keys, NOW as u32 + 60, 1_800, here),
    );
    assert_eq!(first.id, again.id, "a replay is the same visitor");
    assert_ne!(first.id, other.clearance(&mut keys, NOW as u32, 1_800, here).id);
}

#[test]
fn a_challenge_is_for_one_client_and_a_while() {
    let mut keys1 = keys(1);
    let text = challenge().seal(&mut keys1);
    let here = binding("firefox", "192.0.2.0/24");
    let open = |keys: &mut Keys, now, binding: &Binding| Challenge::open(&text, keys, now, binding);
    assert_eq!(open(&mut keys1, NOW, &binding("curl", "192.0.2.0/24")), Err(Rejected::Foreign));
    assert!(open(&mut keys1, NOW, &binding("firefox", "198.51.100.0/24")).is_ok(), "a phone that changes its network");
    assert_eq!(open(&mut keys1, NOW + CHALLENGE_SECONDS + SKEW_SECONDS + 1, &here), Err(Rejected::Expired));
    assert_eq!(open(&mut keys1, NOW - SKEW_SECONDS - 1, &here), Err(Rejected::NotOurs));
    assert_eq!(open(&mut keys(2), NOW, &here), Err(Rejected::NotOurs));
    let easier = text.replacen(|c: char| c.is_ascii_digit(), "A", 1);
    assert!(Challenge::open(&easier, &mut keys1, NOW, &here).is_err());
    assert_eq!(Solution::parse("AAAA"), None);
}

#[test]
fn a_token_says_what_it_was_made_for() {
    let mut keys1 = keys(1);
    let token = Token {
        node: 3,
        number: 77,
        issued: NOW as u32,
        site: 42,
        host: "shop.example".to_owned(),
        action: "login".to_owned(),
        cdata: "é".repeat(127),
    };
    let text = token.seal(&mut keys1).unwrap_or_default();
    assert_eq!(Token::open(&text, &mut keys1, NOW + 299), Ok(token.clone()));
    assert_eq!(Token::open(&text, &mut keys1, NOW + TOKEN_SECONDS + SKEW_SECONDS + 1), Err(TokenError::Expired));
    assert_eq!(Token::open(&text, &mut keys(2), NOW), Err(TokenError::Invalid));
    for cut in 0..text.len() {
        assert!(Token::open(&text[..cut], &mut keys1, NOW).is_err(), "cut at {cut}");
    }
    assert_eq!(Token { action: "x".repeat(33), ..token }.seal(&mut keys1), None);
}

#[test]
fn each_number_is_used_once_under_races() {
    let ledger = Ledger::new();
    let numbers: Vec<u64> = (0..10_000).map(|_| ledger.issue()).collect();
    let first: usize = std::thread::scope(|scope| {
        let race = || scope.spawn(|| numbers.iter().filter(|number| ledger.use_up(**number) == Use::First).count());
        let threads = [race(), race(), race()];
        threads.into_iter().map(|thread| thread.join().unwrap_or_default()).sum()
    });
    assert_eq!(first, 10_000);
    assert_eq!(ledger.use_up(10_000), Use::Unknown, "never given");
}

#[test]
fn old_windows_are_used_up() {
    let ledger = Ledger::new();
    let old = ledger.issue();
    for _ in 0..2 * WINDOW {
        ledger.issue();
    }
    assert_eq!(ledger.use_up(old), Use::Unknown);
    let fresh = ledger.issue();
    assert_eq!((ledger.use_up(fresh), ledger.use_up(fresh)), (Use::First, Use::Again));
}
