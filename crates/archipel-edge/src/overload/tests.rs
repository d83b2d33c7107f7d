use std::sync::Arc;

use archipel_config::ZoneOrigin;
use archipel_shield::overload::Priority;
use archipel_transport::origin::OriginError;

use super::gate::Gate;
use super::*;
use http::StatusCode;

fn guard(change: impl FnOnce(&mut ZoneOrigin)) -> Arc<OriginGuard> {
    let url = archipel_config::HttpUrl::parse("http://127.0.0.1:1").expect("a URL");
    let mut origin = ZoneOrigin::new(url);
    change(&mut origin);
    Guards::new(2).of(1, &origin)
}

fn small() -> Arc<OriginGuard> {
    guard(|origin| (origin.concurrency.requests_min, origin.concurrency.requests_max) = (1, 1))
}

async fn granted<'a>(gate: &'a Gate, waiter: gate::Waiter<'a>) -> Option<gate::Place<'a>> {
    tokio::time::timeout(Duration::from_millis(50), waiter).await.ok().flatten().map(|granted| granted.accept(gate))
}

#[tokio::test]
async fn a_place_goes_to_whoever_waits_and_none_is_lost() {
    let guard = small();
    let gate = guard.gate(0);
    let place = gate.enter().expect("the only place");
    assert!(gate.enter().is_none());
    let gone = gate.queue(&guard, 0, Priority::Known, 8).expect("room");
    let unknown = gate.queue(&guard, 0, Priority::Unknown, 8).expect("room");
    let known = gate.queue(&guard, 0, Priority::Known, 8).expect("room");
    assert_eq!(gate.waiting(), 3);
    drop(gone);
    assert_eq!(gate.waiting(), 2, "who leaves is forgotten");
    drop(place);
    assert_eq!((gate.in_flight(), gate.waiting()), (1, 1), "the place is taken again at once");
    assert!(gate.enter().is_none(), "nobody overtakes");
    let second = granted(gate, known).await.expect("the known one goes first");
    assert!(gate.enter().is_none());
    drop(second);
    // Whose turn came, and who left before it knew, gives it back.
    drop(unknown);
    assert_eq!((gate.in_flight(), gate.waiting()), (0, 0));
    assert!(gate.enter().is_some());
}

#[tokio::test]
async fn who_gives_way_is_told() {
    let guard = small();
    let gate = guard.gate(1);
    let _place = gate.enter().expect("the only place");
    let background = gate.queue(&guard, 1, Priority::Background, 1).expect("room");
    assert!(gate.queue(&guard, 1, Priority::Background, 1).is_err(), "full");
    let known = gate.queue(&guard, 1, Priority::Known, 1).expect("takes its place");
    assert!(background.await.is_none());
    assert_eq!(gate.waiting(), 1);
    drop(known);
    assert_eq!(gate.waiting(), 0);
}

#[test]
fn what_waits_for_the_visitor_holds_no_place() {
    let guard = small();
    let gate = guard.gate(0);
    let mut permit = Permit::new(&guard, gate, gate.enter(), false);
    permit.is_whole(false);
    assert_eq!(gate.in_flight(), 0);
    permit.is_whole(false);
    let other = gate.enter().expect("an upload keeps nobody out");
    permit.is_whole(true);
    assert_eq!(gate.in_flight(), 2, "what the origin works on counts");
    permit.is_whole(true);
    assert_eq!(gate.in_flight(), 2);
    permit.answered(StatusCode::OK, None);
    drop(other);
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn an_origin_is_left_alone_and_asked_again() {
    let guard = guard(|origin| origin.breaker.pause = Duration::ZERO);
    let fail = |probe| {
        let permit = Permit::new(&guard, guard.gate(0), None, probe);
        permit.failed(&OriginError::ConnectionRefused);
    };
    (0..4).for_each(|_| fail(false));
    assert!(!guard.is_down());
    Permit::new(&guard, guard.gate(1), None, false).failed(&OriginError::LimitReached);
    assert!(!guard.is_down(), "our own limit is not the origin's doing");
    fail(false);
    assert!(guard.is_down());
    assert_eq!(guard.status().state, "open");
    assert_eq!(guard.probes().ok(), Some(true));
    for _ in 0..3 {
        Permit::new(&guard, guard.gate(1), None, true).answered(StatusCode::INTERNAL_SERVER_ERROR, None);
    }
    assert_eq!((&*guard.status().state, guard.status().opened), ("closed", 1));
    assert_eq!(guard.mood.load(Ordering::Relaxed), CALM);
}

#[test]
fn guards_outlive_a_reload_unless_their_settings_change() {
    let guards = Guards::new(1);
    let mut origin = ZoneOrigin::new(archipel_config::HttpUrl::parse("http://127.0.0.1:1").expect("a URL"));
    let first = guards.of(1, &origin);
    assert!(Arc::ptr_eq(&first, &guards.of(1, &origin)));
    assert!(!Arc::ptr_eq(&first, &guards.of(2, &origin)), "another pool");
    origin.breaker.probes_max = 7;
    assert!(!Arc::ptr_eq(&first, &guards.of(1, &origin)), "other settings");
    guards.forget_unused();
    assert_eq!(guards.all().len(), 1);
    assert!(guards.status().is_empty(), "nobody was asked for anything");
    first.gate(0);
    assert_eq!(guards.status().len(), 1);
}
