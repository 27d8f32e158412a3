#![allow(clippy::unwrap_used)]
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::runtime::watcher::Event;
use serde_json::{Value, from_value, json};

use super::*;
use crate::runbooks::proof::SEAL;

fn execution(name: &str, status: Value) -> RunbookExecution {
    from_value(json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "RunbookExecution",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"runbook": {"name": "r", "uid": "u", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
            "trigger": {"kind": "Manual", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"}, "target": "pod",
            "objects": [{"parameter": "pod", "kind": "Pod", "namespace": "shop", "name": "p", "uid": "t"}],
            "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"}, "status": status}))
    .unwrap()
}

fn running(name: &str) -> RunbookExecution {
    execution(name, json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"}))
}

fn ended(name: &str) -> RunbookExecution {
    let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"];
    execution(name, json!({"phase": "Failed", "startedAt": times[0], "finishedAt": times[1]}))
}

fn waits(name: &str) -> RunbookExecution {
    execution(name, json!({"phase": "Blocked"}))
}

fn tell(ledger: &Ledger, event: Event<RunbookExecution>) {
    let guarded = |execution| DeserializeGuard(Ok(execution));
    ledger.told(&Ok(match event {
        Event::Apply(one) => Event::Apply(guarded(one)),
        Event::Delete(one) => Event::Delete(guarded(one)),
        Event::InitApply(one) => Event::InitApply(guarded(one)),
        Event::Init => Event::Init,
        Event::InitDone => Event::InitDone,
    }));
}

/// How many have begun, and which act, for one that asks.
fn seen(ledger: &Ledger) -> (usize, Vec<String>) {
    let (page, asks) = (ledger.page(), waits("asks"));
    let mut acting = page.same_target(&asks);
    acting.sort();
    (page.history(&asks, Vec::new()).len(), acting)
}

#[test]
fn it_is_whole_only_between_a_list_and_a_failure() {
    let ledger = Ledger::default();
    let is_whole = || *ledger.whole.borrow();
    assert!(!is_whole());
    tell(&ledger, Event::Init);
    tell(&ledger, Event::InitApply(running("a")));
    tell(&ledger, Event::Apply(running("b")));
    assert!(!is_whole(), "the list has not ended");
    tell(&ledger, Event::InitDone);
    assert!(is_whole());
    ledger.told(&Err(watcher::Error::NoResourceVersion));
    assert!(!is_whole());
    tell(&ledger, Event::Apply(waits("c")));
    assert!(is_whole(), "it speaks again");
}

#[test]
fn what_begins_counts_at_once_and_what_did_not_begin_does_not() {
    let ledger = Ledger::default();
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    ledger.page().begins(&waits("a"), now);
    assert_eq!(seen(&ledger), (1, vec!["a".to_owned()]));
    // The watch tells what was before.
    tell(&ledger, Event::Apply(waits("a")));
    assert_eq!(seen(&ledger).0, 1);
    // It could not be stored, as a read says.
    ledger.read(&waits("a"));
    assert_eq!(seen(&ledger), (0, vec![]));
    ledger.read(&running("a"));
    ledger.read(&ended("a"));
    tell(&ledger, Event::Apply(running("a")));
    assert_eq!(seen(&ledger), (1, vec![]), "what has ended does not go on");
    // Nobody counts itself.
    assert!(ledger.page().history(&waits("a"), Vec::new()).is_empty());
}

#[test]
fn what_is_gone_is_forgotten() {
    let ledger = Ledger::default();
    for name in ["a", "b", "c"] {
        tell(&ledger, Event::Apply(running(name)));
    }
    tell(&ledger, Event::Delete(running("a")));
    ledger.gone("shop", "b");
    assert_eq!(seen(&ledger), (1, vec!["c".to_owned()]));
    tell(&ledger, Event::Init);
    tell(&ledger, Event::InitApply(running("d")));
    assert_eq!(seen(&ledger).0, 2, "until the list has ended");
    tell(&ledger, Event::InitDone);
    assert_eq!(seen(&ledger), (1, vec!["d".to_owned()]));
    tell(&ledger, Event::Delete(running("d")));
    assert!(ledger.lock().of_runbook.is_empty() && ledger.lock().held.is_empty());
}

/// What anybody writes into an execution takes nobody's turn.
#[test]
fn only_what_the_operator_has_made_has_begun_with_its_making() {
    let sealer = Sealer::new([1; 32]);
    let ledger = Ledger::new(sealer.clone());
    let now = || Some(Time("2026-01-01T00:00:00Z".parse().unwrap()));
    let mut made = execution("a", Value::Null);
    made.spec.begun = now();
    tell(&ledger, Event::Apply(made.clone()));
    ledger.read(&made);
    assert_eq!(seen(&ledger), (0, vec![]));
    let seal = crate::runbooks::dispatch::seal(&sealer, "", "shop", "a", &made.spec).unwrap();
    made.annotations_mut().insert(SEAL.to_owned(), seal);
    tell(&ledger, Event::Apply(made.clone()));
    assert_eq!(seen(&ledger), (1, vec!["a".to_owned()]));
    // In another namespace there are no runs of this runbook, whatever they say.
    let mut elsewhere = ended("b");
    elsewhere.metadata.namespace = Some("m".to_owned());
    tell(&ledger, Event::Apply(elsewhere));
    assert_eq!(seen(&ledger).0, 1);
    // What only others keep from going is gone.
    made.metadata.deletion_timestamp = now();
    made.metadata.finalizers = Some(vec!["theirs".to_owned(), lent::FINALIZER.to_owned()]);
    tell(&ledger, Event::Apply(made.clone()));
    assert_eq!(seen(&ledger).0, 1, "it gives back");
    made.metadata.finalizers = Some(vec!["theirs".to_owned()]);
    tell(&ledger, Event::Apply(made.clone()));
    assert_eq!(seen(&ledger), (0, vec![]));
    ledger.read(&made);
    assert_eq!(seen(&ledger), (0, vec![]));
}

/// Two posts of one alert make the same: who was second takes nothing back of what the first has begun.
#[test]
fn what_was_not_made_takes_nothing_back() {
    let (ledger, now) = (Ledger::default(), "2026-01-01T00:00:00Z".parse().unwrap());
    let (mut making, other) = (waits("a"), waits("a"));
    making.metadata.uid = None;
    let counts = || seen(&ledger).0 == 1;
    ledger.page().begins(&making, now);
    // What is being made is in no list yet, and one that went was another one.
    tell(&ledger, Event::Init);
    tell(&ledger, Event::InitDone);
    tell(&ledger, Event::Delete(ended("a")));
    ledger.gone("shop", "a");
    assert!(counts());
    ledger.not_made(&making, None);
    assert!(!counts());
    ledger.page().begins(&making, now);
    ledger.not_made(&making, Some(&other));
    assert!(!counts(), "the other one has not begun");
    ledger.page().begins(&making, now);
    ledger.page().begins(&other, now);
    ledger.not_made(&making, Some(&other));
    assert!(counts(), "it has, since it was read");
    // The watch tells late of one that was before.
    let mut earlier = waits("a");
    earlier.metadata.uid = Some("of-before".to_owned());
    tell(&ledger, Event::Apply(earlier.clone()));
    tell(&ledger, Event::Delete(earlier));
    assert_eq!(seen(&ledger), (1, vec!["a".to_owned()]));
}

#[test]
fn a_list_and_what_is_known_become_one() {
    let ledger = Ledger::default();
    ledger.read(&ended("a"));
    ledger.read(&running("b"));
    let listed = vec![past(&running("a")), past(&ended("c")), past(&waits("asks"))];
    let all = ledger.page().history(&waits("asks"), listed);
    let shown: Vec<(&str, bool)> = all.iter().map(|past| (past.name.as_str(), past.finished_at.is_some())).collect();
    assert_eq!(shown, [("a", true), ("b", false), ("c", true)]);
}

/// Two runs of different targets that measure the same object more closely come one after the other.
#[test]
fn what_is_borrowed_is_held_as_a_target_is() {
    let measures = |name: &str, target: &str, monitor: &str, status: Value| {
        let mut execution = execution(name, status);
        execution.spec.objects = from_value(json!([
            {"parameter": "app", "kind": "Deployment", "namespace": "shop", "name": target, "uid": target},
            {"parameter": "monitor", "kind": "ServiceMonitor", "namespace": "shop", "name": monitor, "uid": monitor}]))
        .unwrap();
        execution.spec.target = Some("app".to_owned());
        execution.spec.steps = from_value(json!([
            {"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug"}}]))
        .unwrap();
        execution
    };
    let acting = json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"});
    let ledger = Ledger::default();
    tell(&ledger, Event::Apply(measures("first", "checkout", "m", acting.clone())));
    let busy = |other: &RunbookExecution| ledger.page().same_target(other);
    assert_eq!(busy(&measures("second", "cart", "m", Value::Null)), ["first"]);
    assert!(busy(&measures("second", "cart", "n", Value::Null)).is_empty(), "another monitor");
    // Who acts upon the monitor itself, and who has the same target, as ever.
    let mut upon = measures("second", "m", "n", Value::Null);
    upon.spec.steps = Vec::new();
    assert_eq!(busy(&upon), ["first"]);
    assert_eq!(busy(&measures("second", "checkout", "m", Value::Null)), ["first"], "told once");
    // A dry run borrows nothing, and what has ended has given back.
    let mut dry = measures("dry", "x", "n", acting);
    dry.spec.mode = Mode::DryRun;
    tell(&ledger, Event::Apply(dry));
    assert!(busy(&measures("second", "cart", "n", Value::Null)).is_empty());
    let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"];
    let over = json!({"phase": "Succeeded", "startedAt": times[0], "finishedAt": times[1]});
    ledger.read(&measures("first", "checkout", "m", over));
    assert!(busy(&measures("second", "cart", "m", Value::Null)).is_empty());
    assert!(ledger.lock().held.is_empty());
}

/// Each of two runbooks keeps its bounds alone; what the other one takes is counted by the workload, and a leader that
/// has only just begun counts the same.
#[test]
fn what_takes_pods_is_counted_by_their_workload() {
    let run = |name: &str, action: Value, object: Value, status: Value| {
        let mut execution = execution(name, status);
        execution.spec.runbook.uid = format!("runbook-of-{name}");
        execution.spec.steps = from_value(json!([action])).unwrap();
        execution.spec.objects = from_value(json!([object])).unwrap();
        execution
    };
    let evict = json!({"name": "a", "evictPod": {"pod": "pod"}});
    let pod = |uid: &str, workload: &str| {
        json!({"parameter": "pod", "kind": "Pod", "namespace": "shop", "name": uid, "uid": uid,
            "facts": {"workloadUid": workload, "replicas": 4}})
    };
    let acting = || json!({"phase": "Running", "startedAt": "2026-01-01T00:00:00Z"});
    let ledger = Ledger::default();
    let asks = run("asks", evict.clone(), pod("p9", "w"), Value::Null);
    let taken = |ledger: &Ledger| {
        let all = ledger.page().same_workload(&asks, Vec::new());
        all.into_iter().map(|past| (past.name, past.takes.unwrap().at_once)).collect::<Vec<_>>()
    };
    let first = |status: Value| run("first", evict.clone(), pod("p1", "w"), status);
    ledger.page().begins(&first(Value::Null), "2026-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(taken(&ledger), [("first".to_owned(), 1)], "before it is stored");
    // Whoever leads next has what is stored.
    let ledger = Ledger::default();
    tell(&ledger, Event::Init);
    let looks = json!({"name": "a", "describe": {"object": "pod"}});
    let mut dry = run("dry", evict.clone(), pod("p2", "w"), acting());
    dry.spec.mode = Mode::DryRun;
    let fewer = json!({"name": "a", "scale": {"workload": "pod", "replicas": 2, "max": 9}});
    let workload = json!({"parameter": "pod", "kind": "Deployment", "namespace": "shop", "name": "app", "uid": "w",
        "facts": {"replicas": 4}});
    for stored in [
        first(acting()),
        dry,
        run("looks", looks, pod("p3", "w"), acting()),
        run("elsewhere", evict.clone(), pod("p4", "another"), acting()),
        run("waits", evict.clone(), pod("p5", "w"), json!({"phase": "Blocked"})),
        run("fewer", fewer, workload, acting()),
        run("asks", evict.clone(), pod("p9", "w"), acting()),
    ] {
        tell(&ledger, Event::InitApply(stored));
    }
    tell(&ledger, Event::InitDone);
    assert_eq!(taken(&ledger), [("fewer".to_owned(), 2), ("first".to_owned(), 1)]);
    let times = ["2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"];
    ledger.read(&first(json!({"phase": "Succeeded", "startedAt": times[0], "finishedAt": times[1]})));
    assert_eq!(taken(&ledger), [("fewer".to_owned(), 2)]);
    for name in ["fewer", "elsewhere", "asks"] {
        ledger.gone("shop", name);
    }
    assert!(ledger.lock().taken.is_empty());
}
