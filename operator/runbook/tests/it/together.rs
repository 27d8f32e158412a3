//! What runs of several runbooks do to one workload at the same time.

use plimsoll_api::{execution::Phase, runbook::ObjectKind};
use plimsoll_runbook::guards::{Circumstances, Guard, Hits, Past, takes, workload};
use serde_json::{Value, json};

use crate::{
    guards::{fine, one, past, refusals},
    object, planned,
};

/// Another run that is under way and takes Pods of the workload.
fn other(at_once: i64, in_all: i64) -> Past {
    Past {
        name: "other-1".to_owned(),
        workload_uid: Some("workload".to_owned()),
        takes: Some(Hits { at_once, in_all }),
        ..past(1, Phase::Running)
    }
}

fn beside(others: Vec<Past>) -> Circumstances {
    Circumstances { same_workload: Some(others), ..fine() }
}

fn evict(least: i64, percent: i64) -> Value {
    json!({"steps": [{"name": "a", "evictPod": {"pod": "pod"}}],
        "safety": {"minHealthy": least, "maxTargetsPercent": percent, "maxConcurrent": 9}})
}

/// Two runbooks that each leave three Pods would leave two.
#[test]
fn what_others_take_is_not_healthy() {
    assert_eq!(refusals(&evict(3, 100), &fine()), []);
    let message = "beside Pod checkout-1 3 Pods are ready, 1 of which execution other-1 may take, minHealthy wants 3";
    assert_eq!(one(&evict(3, 100), &beside(vec![other(1, 1)])), (Guard::MinHealthy, message.to_owned()));
    assert_eq!(refusals(&evict(2, 100), &beside(vec![other(1, 1)])), []);
    // Fewer replicas hit nobody, and are fewer all the same.
    assert_eq!(one(&evict(2, 100), &beside(vec![other(2, 0)])).0, Guard::MinHealthy);
    // A restart wants so many ready before it.
    let restart = json!({"parameters": [{"name": "app", "object": "Deployment", "default": "checkout"}],
        "steps": [{"name": "a", "restart": {"workload": "app"}}], "artifacts": null, "safety": {"minHealthy": 3}});
    let of_app = |circumstances: Circumstances| {
        let facts = object("app", ObjectKind::Deployment, "checkout").facts;
        Circumstances { target: Some(Some(facts)), ..circumstances }
    };
    assert_eq!(refusals(&restart, &of_app(fine())), []);
    let message = "of Deployment checkout 3 Pods are ready, 1 of which execution other-1 may take, minHealthy wants 3";
    assert_eq!(one(&restart, &of_app(beside(vec![other(1, 1)]))), (Guard::MinHealthy, message.to_owned()));
}

/// Two runbooks that may each take half of the Pods would take all.
#[test]
fn what_others_take_counts_for_the_share() {
    assert_eq!(refusals(&evict(0, 50), &beside(vec![other(1, 1)])), []);
    let message = "0 Pods of the same workload were acted upon within the cooldown and 2 are taken by execution other-1, 50 % of 4 is 2";
    assert_eq!(one(&evict(0, 50), &beside(vec![other(2, 2)])), (Guard::MaxTargets, message.to_owned()));
    // A run of the same runbook is one of both, and counts once.
    let own = Past { target_uid: "another-uid".to_owned(), ..other(1, 1) };
    let both = Circumstances { history: Some(vec![own.clone()]), ..beside(vec![own]) };
    assert_eq!(refusals(&evict(0, 50), &both), []);
    assert_eq!(one(&evict(0, 25), &both).0, Guard::MaxTargets);
    // Who only looks takes nothing.
    assert_eq!(refusals(&json!({"safety": {"minHealthy": 3}}), &beside(vec![other(4, 4)])), []);
    let kill = json!({"parameters": [{"name": "app", "object": "Deployment", "default": "checkout"}], "artifacts": null,
        "steps": [{"name": "a", "chaos": {"object": "app", "duration": "2m", "podChaos": {"action": "PodKill"}}}],
        "safety": {"minHealthy": 0, "maxTargetsPercent": 50}});
    let hits = |others: Vec<Past>| {
        let facts = object("app", ObjectKind::Deployment, "checkout").facts;
        refusals(&kill, &Circumstances { target: Some(Some(facts)), ..beside(others) })
    };
    assert_eq!(hits(vec![other(1, 1)]), []);
    let message = "1 Pods of Deployment checkout would be hit and 2 are taken by execution other-1, 50 % of 4 is 2";
    assert_eq!(hits(vec![other(2, 2)]), [(Guard::MaxTargets, message.to_owned())]);
}

#[test]
fn what_others_take_and_nobody_knows_refuses() {
    let unread = Circumstances { same_workload: None, ..fine() };
    let message = "other runs that take Pods of the same workload cannot be read";
    assert_eq!(one(&evict(0, 100), &unread), (Guard::NotKnown, message.to_owned()));
    assert_eq!(refusals(&json!({}), &unread), [], "it takes none itself");
    let unknown = Past { takes: None, ..other(0, 0) };
    let message = "it cannot be known how many Pods of the same workload execution other-1 takes";
    assert_eq!(one(&evict(0, 100), &beside(vec![unknown])), (Guard::NotKnown, message.to_owned()));
}

/// What a stored execution takes is in its spec, so whoever leads next counts the same.
#[test]
fn what_a_run_takes_is_known_by_its_spec() {
    let of = |patch: Value| {
        let spec = planned(&patch).unwrap().spec;
        let target = spec.objects.iter().find(|object| Some(&object.parameter) == spec.target.as_ref());
        (target.and_then(workload).map(str::to_owned), takes(&spec))
    };
    let hits = |at_once: i64, in_all: i64| Some(Hits { at_once, in_all });
    let app = |step: Value| {
        json!({"parameters": [{"name": "app", "object": "Deployment", "default": "checkout"}], "artifacts": null,
            "steps": [step]})
    };
    let (pod, deployment) = (Some("workload".to_owned()), Some("checkout-uid".to_owned()));
    assert_eq!(of(json!({})), (pod.clone(), hits(0, 0)));
    assert_eq!(of(evict(0, 100)), (pod, hits(1, 1)));
    let fault = json!({"object": "app", "duration": "2m", "pods": {"percent": 50}, "podChaos": {"action": "PodKill"}});
    assert_eq!(of(app(json!({"name": "a", "chaos": fault}))), (deployment.clone(), hits(2, 2)));
    let fewer = json!({"name": "a", "scale": {"workload": "app", "by": -1, "max": 9}});
    assert_eq!(of(app(fewer)), (deployment, hits(1, 0)));
    assert_eq!(of(json!({"parameters": [], "steps": [{"name": "a", "wait": "1s"}]})), (None, hits(0, 0)));
}
