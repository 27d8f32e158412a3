//! What keeps a run from starting.

use jiff::SignedDuration;
use plimsoll_api::{execution::Phase, runbook::Mode};
use plimsoll_runbook::guards::{
    Circumstances, Guard, Hits, Past, SloNow, changes_nothing, check, fault_namespaces, holds,
};
use serde_json::{Value, json};

use crate::{model, noon, object, planned, settings};

/// Circumstances in which nothing refuses.
pub(crate) fn fine() -> Circumstances {
    Circumstances {
        paused: Some(false),
        mode: Some(Some(Mode::Auto)),
        history: Some(Vec::new()),
        same_target: Some(Vec::new()),
        same_workload: Some(Vec::new()),
        slos: Some(vec![SloNow {
            name: "checkout".to_owned(),
            namespace: None,
            burning: Some(false),
            budget: Some(80),
        }]),
        verifies: vec![("checkout".to_owned(), Some(true))],
        author_may: Some(true),
        other_author: None,
        asker_may: Some(true),
        target: Some(Some(object("pod", plimsoll_api::runbook::ObjectKind::Pod, "checkout-1").facts)),
    }
}

pub(crate) fn past(minutes: i64, phase: Phase) -> Past {
    let ago = |minutes: i64| noon() - SignedDuration::from_mins(minutes);
    Past {
        name: format!("run-{minutes}"),
        target_uid: "another-uid".to_owned(),
        workload_uid: None,
        takes: Some(Hits::default()),
        phase,
        started_at: Some(ago(minutes + 1)),
        finished_at: phase.is_terminal().then(|| ago(minutes)),
        real: true,
    }
}

pub(crate) fn refusals(patch: &Value, circumstances: &Circumstances) -> Vec<(Guard, String)> {
    let mut patch = patch.clone();
    patch["mode"] = json!("Auto");
    let spec = planned(&patch).unwrap().spec;
    let found = check(&spec, &model(&patch).safety, &settings(), circumstances, noon());
    found.into_iter().map(|refusal| (refusal.guard, refusal.message)).collect()
}

pub(crate) fn one(patch: &Value, circumstances: &Circumstances) -> (Guard, String) {
    let found = refusals(patch, circumstances);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

#[test]
fn what_cannot_be_read_refuses() {
    assert_eq!(refusals(&json!({}), &fine()), []);
    let nothing = Circumstances::default();
    let guards: Vec<Guard> = refusals(&json!({}), &nothing).into_iter().map(|(guard, _)| guard).collect();
    assert_eq!(
        guards,
        [Guard::Paused, Guard::NotKnown, Guard::NotKnown, Guard::NotKnown, Guard::NotKnown, Guard::NotKnown]
    );
    let unread = Circumstances { history: None, ..fine() };
    assert_eq!(one(&json!({}), &unread), (Guard::NotKnown, "the runbook's other executions cannot be read".to_owned()));
}

/// What was planned hours ago does not overwrite what somebody has done since.
#[test]
fn what_has_changed_since_it_was_planned_is_left_alone() {
    let patch = |step: Value| {
        json!({"parameters": [{"name": "app", "object": "Deployment", "default": "checkout"}],
            "steps": [step], "artifacts": null})
    };
    let monitor = json!({"parameters": [{"name": "monitor", "object": "ServiceMonitor", "default": "checkout"}],
        "artifacts": null, "steps": [{"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug"}}]});
    let cordon = json!({"parameters": [{"name": "node", "object": "Node", "default": "worker-3"}], "artifacts": null,
        "steps": [{"name": "a", "cordon": {"node": "node"}}]});
    let scale = patch(json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}}));
    let rollback = patch(json!({"name": "a", "rollback": {"workload": "app"}}));
    let restart = patch(json!({"name": "a", "restart": {"workload": "app"}}));
    let now = |change: fn(&mut plimsoll_api::execution::Facts)| {
        let mut facts = object("app", plimsoll_api::runbook::ObjectKind::Deployment, "checkout").facts;
        change(&mut facts);
        Circumstances { target: Some(Some(facts)), ..fine() }
    };
    for patch in [&scale, &rollback, &restart, &monitor, &cordon] {
        assert_eq!(refusals(patch, &now(|_| {})), [], "{patch}");
    }
    let (more, newer) = (now(|facts| facts.replicas = Some(6)), now(|facts| facts.revision = Some(9)));
    let closer = now(|facts| facts.intervals = vec!["5s".to_owned(), "5s".to_owned()]);
    let cordoned = now(|facts| facts.unschedulable = Some(true));
    for (patch, circumstances, what) in [
        (&scale, &more, "number of replicas of Deployment checkout"),
        (&rollback, &newer, "revision of Deployment checkout"),
        (&monitor, &closer, "interval or percentage of ServiceMonitor checkout"),
        (&cordon, &cordoned, "field unschedulable of Node worker-3"),
    ] {
        let (guard, message) = one(patch, circumstances);
        assert!(guard == Guard::Changed && guard.is_final(), "{guard:?}");
        assert_eq!(message, format!("the {what} is not what it was when the run was planned"));
        let busy = Circumstances { same_target: Some(vec!["other-1".to_owned()]), ..circumstances.clone() };
        assert_eq!(one(patch, &busy).0, Guard::TargetBusy, "another run has only borrowed it");
    }
    for (patch, circumstances) in [(&scale, &newer), (&rollback, &more), (&restart, &newer)] {
        assert_eq!(refusals(patch, circumstances), [], "{patch}");
    }
}

/// Whoever asks for a run makes the account act: the right to patch a runbook is not enough.
#[test]
fn who_asks_for_a_run_must_be_allowed_what_it_does() {
    let mut spec = planned(&json!({"mode": "Auto"})).unwrap().spec;
    let found = |spec: &plimsoll_api::RunbookExecutionSpec, asker_may: Option<bool>| -> Vec<(Guard, String)> {
        let around = Circumstances { asker_may, ..fine() };
        let found = check(spec, &model(&json!({})).safety, &settings(), &around, noon());
        found.into_iter().map(|refusal| (refusal.guard, refusal.message)).collect()
    };
    assert_eq!(found(&spec, None), [], "nobody asked");
    spec.trigger.requested_by = Some("ann".to_owned());
    assert_eq!(found(&spec, Some(true)), []);
    let may_not = "who asked for the run may not use ServiceAccount evidence".to_owned();
    assert_eq!(found(&spec, Some(false)), [(Guard::NotAllowed, may_not)]);
    assert_eq!(found(&spec, None)[0].0, Guard::NotKnown);
}

#[test]
fn what_nobody_could_verify_is_not_done() {
    let named = |there| Circumstances { verifies: vec![("nope".to_owned(), there)], ..fine() };
    let (guard, message) = one(&json!({}), &named(Some(false)));
    assert!(guard == Guard::NotKnown && !guard.is_final());
    assert!(message.starts_with("there is no SLO nope in the runbook's namespace"), "{message}");
    let unknown = one(&json!({}), &named(None));
    assert_eq!(unknown, (Guard::NotKnown, "it cannot be known whether there is an SLO nope".to_owned()));
}

/// That Ann may use the account does not let go what Mallory wrote before her.
#[test]
fn what_somebody_else_wrote_is_not_done() {
    let other = Circumstances { other_author: Some("ann".to_owned()), ..fine() };
    let (guard, message) = one(&json!({}), &other);
    assert!(guard == Guard::Changed && guard.is_final(), "{guard:?}");
    assert_eq!(message, "the runbook is ann's by now, and what this run would do is somebody else's");
}

#[test]
fn the_kill_switch_and_the_mode() {
    let paused = Circumstances { paused: Some(true), ..fine() };
    assert_eq!(one(&json!({}), &paused), (Guard::Paused, "all runbooks are paused".to_owned()));
    let off = Circumstances { mode: Some(Some(Mode::Off)), ..fine() };
    assert_eq!(one(&json!({}), &off).0, Guard::Off);
    // Whoever turns a runbook down means also what waits; what was planned to go less far goes no further.
    let now = |mode| Circumstances { mode: Some(Some(mode)), ..fine() };
    let (guard, message) = one(&json!({}), &now(Mode::DryRun));
    assert!(guard == Guard::ModeLowered && guard.is_final(), "{guard:?}");
    assert_eq!(message, "the runbook's mode is DryRun by now, and the run was planned in Auto");
    assert_eq!(one(&json!({}), &now(Mode::Approve)).0, Guard::ModeLowered);
    for mode in [Mode::DryRun, Mode::Approve] {
        let mut spec = planned(&json!({"mode": "Auto"})).unwrap().spec;
        spec.mode = mode;
        let found = |now_is| check(&spec, &model(&json!({})).safety, &settings(), &now(now_is), noon());
        assert_eq!((found(mode), found(Mode::Auto)), (Vec::new(), Vec::new()), "{mode:?}");
    }
    let gone = Circumstances { target: Some(None), ..fine() };
    assert_eq!(
        one(&json!({}), &gone),
        (Guard::TargetGone, "Pod checkout-1 with UID checkout-1-uid is not there any more".to_owned())
    );
    let busy = Circumstances { same_target: Some(vec!["other-1".to_owned()]), ..fine() };
    assert_eq!(
        one(&json!({}), &busy),
        (
            Guard::TargetBusy,
            "execution other-1 acts upon the same target, or measures the same object more closely".to_owned()
        )
    );
    let may_not = Circumstances { author_may: Some(false), ..fine() };
    assert_eq!(one(&json!({}), &may_not).0, Guard::NotAllowed);
}

#[test]
fn counters_come_from_the_history() {
    let with = |history: Vec<Past>| Circumstances { history: Some(history), ..fine() };
    let same = |mut past: Past| {
        past.target_uid = "checkout-1-uid".to_owned();
        past
    };
    let cooled = one(&json!({}), &with(vec![same(past(10, Phase::Succeeded))]));
    assert_eq!(
        cooled,
        (Guard::Cooldown, "execution run-10 ended at 2026-11-26T11:50:00Z, and the cooldown is 30m".to_owned())
    );
    assert_eq!(refusals(&json!({}), &with(vec![same(past(31, Phase::Succeeded))])), []);
    assert_eq!(one(&json!({}), &with(vec![past(5, Phase::Running)])).0, Guard::MaxConcurrent);
    let many: Vec<Past> = (1..=10).map(|i| past(60 * i, Phase::Succeeded)).collect();
    assert_eq!(
        one(&json!({}), &with(many)),
        (Guard::Budget, "it has run 10 times in the last 1d, the budget is 10".to_owned())
    );
    let failed: Vec<Past> = (1..=3).map(|i| past(10 * i, Phase::Failed)).collect();
    assert_eq!(
        one(&json!({}), &with(failed.clone())),
        (Guard::CircuitBreaker, "the last 3 runs did not succeed, it stays away for 1h".to_owned())
    );
    let mut mended = failed;
    mended.push(past(5, Phase::Succeeded));
    assert_eq!(refusals(&json!({}), &with(mended)), []);
    let of_workload = |mut past: Past| {
        past.workload_uid = Some("workload".to_owned());
        past
    };
    assert_eq!(
        one(&json!({}), &with(vec![of_workload(past(10, Phase::Succeeded))])),
        (
            Guard::MaxTargets,
            "1 Pods of the same workload were acted upon within the cooldown, 25 % of 4 is 1".to_owned()
        )
    );
    // What was only shown counts for nothing that is real, and what never began for nothing.
    let mut shown = same(past(10, Phase::Succeeded));
    shown.real = false;
    let mut skipped = same(past(10, Phase::Skipped));
    skipped.started_at = None;
    assert_eq!(refusals(&json!({}), &with(vec![shown, skipped])), []);
}

#[test]
fn the_last_healthy_pods_stay() {
    let evict = json!({"steps": [{"name": "a", "evictPod": {"pod": "pod"}}], "safety": {"minHealthy": 4}});
    assert_eq!(
        one(&evict, &fine()),
        (Guard::MinHealthy, "beside Pod checkout-1 3 Pods are ready, minHealthy wants 4".to_owned())
    );
    let mut held = fine();
    if let Some(Some(facts)) = &mut held.target {
        facts.disruptions_allowed = Some(0);
    }
    let evict = json!({"steps": [{"name": "a", "evictPod": {"pod": "pod"}}]});
    assert_eq!(
        one(&evict, &held),
        (Guard::MinHealthy, "the PodDisruptionBudget of Pod checkout-1 lets no Pod go now".to_owned())
    );
    // Looking takes no Pod away.
    assert_eq!(refusals(&json!({"safety": {"minHealthy": 4}}), &fine()), []);
}

/// A fault takes as many Pods as it says, not one.
#[test]
fn a_fault_on_a_workload_is_bounded_by_the_pods_it_hits() {
    let patch = |chaos: Value, safety: Value| {
        let mut all = json!({"object": "app", "duration": "2m"});
        all.as_object_mut().unwrap().extend(chaos.as_object().unwrap().clone());
        json!({"parameters": [{"name": "app", "object": "Deployment", "default": "checkout"}], "artifacts": null,
            "steps": [{"name": "a", "chaos": all}], "safety": safety})
    };
    let with = |replicas: i64, ready: i64, allowed: Option<i64>| {
        let mut facts = object("app", plimsoll_api::runbook::ObjectKind::Deployment, "checkout").facts;
        (facts.replicas, facts.ready, facts.disruptions_allowed) = (Some(replicas), Some(ready), allowed);
        Circumstances { target: Some(Some(facts)), ..fine() }
    };
    let kill = |pods: Value| json!({"podChaos": {"action": "PodKill"}, "pods": pods});
    let delay = json!({"delay": {"latency": "100ms"}});
    let several = |parallel: bool, pods: Value| {
        let experiment = |name: &str| json!({"name": name, "duration": "1m", "networkChaos": delay});
        json!({"pods": pods, "workflow": {"parallel": parallel, "experiments": [experiment("a"), experiment("b")]}})
    };
    let healthy = |message: &str| vec![(Guard::MinHealthy, message.to_owned())];
    let share = |message: &str| (Guard::MaxTargets, message.to_owned());
    let all = json!({"minHealthy": 0, "maxTargetsPercent": 100});
    let two = json!({"minHealthy": 2, "maxTargetsPercent": 100});
    for (chaos, safety, around, want) in [
        // The whole of a workload, in spite of both bounds.
        (
            kill(json!({"count": 1000})),
            json!({"minHealthy": 2, "maxTargetsPercent": 25}),
            with(4, 4, None),
            vec![
                healthy("of Deployment checkout 4 Pods are ready and 1000 would go, minHealthy wants 2").remove(0),
                share("1000 Pods of Deployment checkout would be hit, 25 % of 4 is 1"),
            ],
        ),
        // A game day on two Pods that wants two to be left.
        (
            kill(json!({"count": 1})),
            two.clone(),
            with(2, 2, None),
            healthy("of Deployment checkout 2 Pods are ready and 1 would go, minHealthy wants 2"),
        ),
        (kill(json!({"count": 1})), two.clone(), with(3, 3, None), vec![]),
        (kill(Value::Null), json!({}), with(4, 4, None), vec![]),
        // A share is of whole Pods, rounded up; one may always be hit.
        (
            kill(json!({"percent": 30})),
            json!({}),
            with(10, 10, None),
            vec![share("3 Pods of Deployment checkout would be hit, 25 % of 10 is 2")],
        ),
        (
            kill(json!({"percent": 50})),
            two.clone(),
            with(5, 4, None),
            healthy("of Deployment checkout 4 Pods are ready and 3 would go, minHealthy wants 2"),
        ),
        (kill(json!({"percent": 20})), json!({}), with(3, 3, None), vec![]),
        // One after the other the Pods of a lasting fault come back; at once they do not. All of them were hit.
        (several(false, json!({"count": 2})), two.clone(), with(4, 4, None), vec![]),
        (
            several(true, json!({"count": 2})),
            two.clone(),
            with(4, 4, None),
            healthy("of Deployment checkout 4 Pods are ready and 4 would go, minHealthy wants 2"),
        ),
        (
            several(false, json!({"count": 1})),
            json!({}),
            with(4, 4, None),
            vec![share("2 Pods of Deployment checkout would be hit, 25 % of 4 is 1")],
        ),
        (
            kill(json!({"count": 2})),
            two.clone(),
            with(9, 9, Some(1)),
            healthy("the PodDisruptionBudget of Deployment checkout lets 1 Pods go now, not 2"),
        ),
        (
            kill(json!({"count": 9})),
            all,
            with(4, 0, None),
            vec![share("9 Pods of Deployment checkout would be hit, 100 % of 4 is 4")],
        ),
    ] {
        assert_eq!(refusals(&patch(chaos.clone(), safety), &around), want, "{chaos}");
    }
    let mut unknown = with(4, 4, None);
    if let Some(Some(facts)) = &mut unknown.target {
        facts.replicas = None;
    }
    let how_many = "it cannot be known how many Pods Deployment checkout has".to_owned();
    assert_eq!(one(&patch(kill(Value::Null), json!({})), &unknown), (Guard::NotKnown, how_many));
    // A Pod that is the target is one, whatever is asked for.
    let pod = json!({"steps": [{"name": "a", "chaos": {"object": "pod", "duration": "2m", "pods": {"count": 9},
        "podChaos": {"action": "PodKill"}}}], "safety": {"minHealthy": 3}});
    assert_eq!(refusals(&pod, &fine()), []);
}

#[test]
fn a_scale_to_fewer_leaves_healthy_pods() {
    let scaled = |by: i64, least: i64, ready: i64| {
        let patch = json!({"parameters": [{"name": "app", "object": "Deployment", "default": "checkout"}],
            "steps": [{"name": "a", "scale": {"workload": "app", "by": by, "max": 9}}], "artifacts": null,
            "safety": {"minHealthy": least}});
        let mut facts = object("app", plimsoll_api::runbook::ObjectKind::Deployment, "checkout").facts;
        (facts.ready, facts.disruptions_allowed) = (Some(ready), Some(0));
        refusals(&patch, &Circumstances { target: Some(Some(facts)), ..fine() })
    };
    let left = "of Deployment checkout 4 Pods are ready and 2 would go, minHealthy wants 3".to_owned();
    assert_eq!(scaled(-2, 3, 4), [(Guard::MinHealthy, left)]);
    assert_eq!(scaled(-2, 2, 4), []);
    assert_eq!(scaled(2, 9, 0), [], "more takes none away");
}

#[test]
fn faults_wait_for_quiet_times() {
    let chaos = |more: Value| {
        let mut chaos = json!({"object": "pod", "duration": "30s", "networkChaos": {"loss": 10}});
        chaos.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"steps": [{"name": "a", "chaos": chaos}]})
    };
    let slo = |burning: Option<bool>, budget: Option<i64>| Circumstances {
        slos: Some(vec![SloNow { name: "checkout".to_owned(), namespace: None, burning, budget }]),
        ..fine()
    };
    assert_eq!(refusals(&chaos(json!({})), &fine()), []);
    assert_eq!(one(&chaos(json!({})), &slo(Some(true), Some(90))), (Guard::SloAtRisk, "SLO checkout burns".to_owned()));
    assert_eq!(
        one(&chaos(json!({})), &slo(Some(false), Some(24))),
        (Guard::SloAtRisk, "SLO checkout has 24 % of its error budget left, a fault wants 25 %".to_owned())
    );
    assert_eq!(one(&chaos(json!({})), &slo(None, Some(90))).0, Guard::NotKnown);
    assert_eq!(one(&chaos(json!({})), &Circumstances { slos: None, ..fine() }).0, Guard::NotKnown);
    assert_eq!(one(&chaos(json!({"slos": ["cart"]})), &fine()), (Guard::NotKnown, "there is no SLO cart".to_owned()));
}

/// Whoever may make faults in a namespace of others does not pass over what those others promise.
#[test]
fn a_fault_in_another_namespace_asks_the_slos_of_both() {
    let spec = |more: Value| {
        let mut chaos = json!({"object": "pod", "duration": "30s", "networkChaos": {"loss": 10}});
        chaos.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let patch = json!({"mode": "Auto", "namespaces": ["bank"], "steps": [{"name": "a", "chaos": chaos}]});
        crate::planned_with(&patch, |object| object.namespace = Some("bank".to_owned())).unwrap().spec
    };
    assert_eq!(fault_namespaces(&spec(json!({}))).into_iter().collect::<Vec<_>>(), ["bank"]);
    assert!(fault_namespaces(&planned(&json!({})).unwrap().spec).is_empty());
    let slo = |name: &str, namespace: Option<&str>, burning| SloNow {
        name: name.to_owned(),
        namespace: namespace.map(str::to_owned),
        burning: Some(burning),
        budget: Some(80),
    };
    let refused = |more: Value, slos: Vec<SloNow>| {
        let spec = spec(more);
        let slos = Circumstances { slos: Some(slos), ..fine() };
        let found = check(&spec, &model(&json!({})).safety, &settings(), &slos, noon());
        found.into_iter().map(|refusal| refusal.message).collect::<Vec<_>>()
    };
    let burns =
        || vec![slo("checkout", None, false), slo("transfers", Some("bank"), true), slo("login", Some("bank"), false)];
    assert_eq!(refused(json!({}), burns()), ["SLO bank/transfers burns"]);
    assert_eq!(refused(json!({"slos": ["checkout"]}), burns()), ["SLO bank/transfers burns"], "its own are not theirs");
    assert_eq!(refused(json!({"slos": ["checkout", "login"]}), burns()), [""; 0], "one of theirs is named");
    let own = || vec![slo("checkout", None, true), slo("login", Some("bank"), false)];
    assert_eq!(refused(json!({"slos": ["login"]}), own()), ["SLO checkout burns"]);
}

/// `minHealthy` and `maxTargetsPercent` are of the Pods of the target, wherever it is.
#[test]
fn a_fault_in_another_namespace_is_bounded_as_one_at_home() {
    let patch = json!({"mode": "Auto", "namespaces": ["bank"], "artifacts": null,
        "parameters": [{"name": "app", "object": "Deployment", "default": "ledger", "namespace": "bank"}],
        "steps": [{"name": "a", "chaos": {"object": "app", "duration": "30s", "pods": {"count": 2}, "podChaos": {"action": "PodKill"}}}]});
    let elsewhere = |object: &mut plimsoll_api::execution::ObjectRef| object.namespace = Some("bank".to_owned());
    let refused = |replicas: i64, ready: i64, percent: i64| {
        let mut patch = patch.clone();
        patch["safety"] = json!({"minHealthy": 2, "maxTargetsPercent": percent});
        let spec = crate::planned_with(&patch, elsewhere).unwrap().spec;
        let mut facts = spec.objects[0].facts.clone();
        (facts.replicas, facts.ready) = (Some(replicas), Some(ready));
        let around = Circumstances { target: Some(Some(facts)), ..fine() };
        let found = check(&spec, &model(&patch).safety, &settings(), &around, noon());
        found.into_iter().map(|refusal| refusal.guard).collect::<Vec<_>>()
    };
    assert_eq!(refused(4, 4, 50), []);
    assert_eq!(refused(4, 3, 50), [Guard::MinHealthy]);
    assert_eq!(refused(3, 4, 50), [Guard::MaxTargets]);
    // And the namespaces that are nobody's to act in.
    let spec = crate::planned_with(&patch, elsewhere).unwrap().spec;
    let of = |namespace: &str| {
        let mut spec = spec.clone();
        spec.objects[0].namespace = Some(namespace.to_owned());
        let found = check(&spec, &model(&patch).safety, &settings(), &fine(), noon());
        found.iter().any(|refusal| refusal.guard == Guard::ProtectedNamespace)
    };
    assert!(of("kube-system") && of("plimsoll-system") && !of("bank"));
}

/// Two that raise the same monitor would each take what the other has made of it for what it was before.
#[test]
fn a_run_holds_its_target_and_what_it_measures_more_closely() {
    let patch = json!({"mode": "Auto", "artifacts": null, "target": "app",
        "parameters": [{"name": "app", "object": "Deployment", "default": "checkout"},
            {"name": "monitor", "object": "ServiceMonitor", "default": "scrapes"},
            {"name": "other", "object": "Pod", "default": "looked-at"}],
        "steps": [{"name": "look", "evictPod": {"pod": "other"}},
            {"name": "a", "restart": {"workload": "app"},
            "compensate": {"telemetryProfile": {"object": "monitor", "profile": "debug"}}}]});
    let spec = planned(&patch).unwrap().spec;
    assert_eq!(holds(&spec).into_iter().collect::<Vec<_>>(), ["checkout-uid", "scrapes-uid"]);
    let mut none = spec;
    (none.target, none.steps) = (None, Vec::new());
    assert!(holds(&none).is_empty());
}

#[test]
fn a_run_that_looks_and_tells_changes_nothing() {
    let tells = json!({"name": "tell", "notify": {"destination": "on-call", "message": "look"}});
    let scales = json!({"name": "more", "scale": {"workload": "workload", "by": 1, "max": 9}});
    let spec = |steps: Value| {
        let mut spec = planned(&json!({})).unwrap().spec;
        spec.steps = serde_json::from_value(steps).unwrap();
        spec
    };
    let mut undone = tells.clone();
    undone["compensate"] = json!({"cordon": {"node": "node"}});
    assert!(changes_nothing(&spec(json!([tells, {"name": "asks", "query": {"expr": "up"}}]))));
    for (steps, what) in [
        (json!([tells, scales]), "it scales"),
        (json!([undone]), "undoing it changes something"),
        (json!([{"name": "runs", "exec": {"pod": "pod", "command": ["true"], "idempotent": true}}]), "a program runs"),
        (json!([{"name": "none"}]), "what has no action is not known"),
    ] {
        assert!(!changes_nothing(&spec(steps)), "{what}");
    }
}
