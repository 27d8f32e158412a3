//! What somebody else does between the plan of a run and its steps.

use plimsoll_runbook::{
    names,
    requests::{self, Expect, Run, Standing},
};
use serde_json::{Value, json};

use crate::{
    noon, planned, planned_with,
    planning::{sent, with},
};

/// What a step changes is looked at first: as it was when the run was planned, as the run has made it, or neither.
#[test]
fn what_somebody_else_has_changed_is_left_as_it_is() {
    let changed = |object: Value, step: Value, undo: bool| {
        let call = sent(&with(step), undo).1.swap_remove(0);
        let Expect::Known(known) = call.expect else { panic!("{call:?}") };
        known.standing(&object)
    };
    let scaled = |replicas: i64| json!({"metadata": {"uid": "owner-uid"}, "spec": {"replicas": replicas}});
    let templated = |image: &str| {
        json!({"metadata": {"uid": "owner-uid"},
            "spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}})
    };
    let monitor = |intervals: &[&str]| {
        let endpoint = |interval: &&str| if interval.is_empty() { json!({}) } else { json!({"interval": interval}) };
        let endpoints: Vec<Value> = intervals.iter().map(endpoint).collect();
        json!({"metadata": {"uid": "checkout-uid"}, "spec": {"endpoints": endpoints}})
    };
    let scale = json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}});
    let rollback = json!({"name": "a", "rollback": {"workload": "app"}});
    let telemetry = json!({"name": "a", "telemetryProfile": {"object": "monitor", "profile": "debug"}});
    for (step, before, done, other) in [
        (scale, scaled(4), scaled(5), scaled(7)),
        (rollback, templated("checkout:8"), templated("checkout:7"), templated("checkout:9")),
        // Another run measures closer already, or an endpoint has come.
        (telemetry.clone(), monitor(&["30s", ""]), monitor(&["5s", "5s"]), monitor(&["10s", "10s"])),
        (telemetry, monitor(&["30s", ""]), monitor(&["5s", "5s"]), monitor(&["5s", "5s", "5s"])),
    ] {
        let standing = |object: &Value, undo| changed(object.clone(), step.clone(), undo);
        assert_eq!([standing(&before, false), standing(&done, false)], [Standing::Before, Standing::Done], "{step}");
        assert_eq!([standing(&before, true), standing(&done, true)], [Standing::Done, Standing::Before], "{step}");
        for undo in [false, true] {
            assert!(
                matches!(standing(&other, undo), Standing::Changed(why) if why.contains("somebody has changed it"))
            );
            let stranger = json!({"metadata": {"uid": "x"}});
            assert!(matches!(standing(&stranger, undo), Standing::Changed(why) if why.contains("another object")));
        }
    }
}

/// Whether new Pods may come to a Node is one boolean, so the run says on the Node that it was the run itself: what an
/// administrator has cordoned meanwhile is neither taken for the run's own nor let go of when the run is undone.
#[test]
fn a_cordon_of_somebody_else_stays() {
    let node = |unschedulable: Option<bool>, by: Option<&str>| {
        let mut node = json!({"metadata": {"uid": "owner-uid"}, "spec": {}});
        if let Some(unschedulable) = unschedulable {
            node["spec"]["unschedulable"] = json!(unschedulable);
        }
        if let Some(by) = by {
            node["metadata"]["annotations"] = json!({names::UNSCHEDULABLE_BY: by});
        }
        node
    };
    let own = Some("crashloop-1");
    let (changed, cordon) = ("changed", json!({"name": "a", "cordon": {"node": "node"}}));
    let uncordon = json!({"name": "a", "cordon": {"node": "node", "undo": true}});
    // As it was planned, how it is; how the step finds it, and what undoes it.
    for (step, before, now, doing, undoing) in [
        (&cordon, false, node(None, None), "before", "done"),
        (&cordon, false, node(Some(false), Some("other-1")), "before", "done"),
        (&cordon, false, node(Some(true), own), "done", "before"),
        (&cordon, false, node(Some(true), None), changed, changed),
        (&cordon, false, node(Some(true), Some("other-1")), changed, changed),
        (&cordon, true, node(Some(true), None), "done", "done"),
        (&uncordon, true, node(Some(true), Some("other-1")), "before", "done"),
        (&uncordon, true, node(None, own), "done", "before"),
        (&uncordon, true, node(None, None), changed, changed),
    ] {
        let planned = planned_with(&with(step.clone()), |object| object.facts.unschedulable = Some(before)).unwrap();
        let at = noon();
        let run = Run {
            namespace: "shop",
            name: "crashloop-1",
            uid: "u",
            created: at,
            begun: at,
            first: at,
            spec: &planned.spec,
        };
        let step = &planned.spec.steps[0];
        for (calls, want) in [(requests::of(&run, step), doing), (requests::undo(&run, step), undoing)] {
            let calls = calls.unwrap();
            let Expect::Known(known) = &calls[0].expect else { panic!("{calls:?}") };
            let standing = match known.standing(&now) {
                Standing::Before => "before",
                Standing::Done => "done",
                Standing::Changed(_) => changed,
            };
            assert_eq!(standing, want, "{step:?} of {now}, {before} when it was planned");
            let patch = calls[1].request.body.as_ref().unwrap();
            assert_eq!(patch["metadata"]["annotations"][names::UNSCHEDULABLE_BY], "crashloop-1");
        }
    }
}

/// Each restart of a run is one of its own, and none takes a later one back.
#[test]
fn restarts_are_told_apart() {
    let restart = |name: &str| json!({"name": name, "restart": {"workload": "app"}});
    let mut patch = with(restart("a"));
    patch["steps"].as_array_mut().unwrap().push(restart("b"));
    let planned = planned(&patch).unwrap();
    let sent = |step: usize, begun: &str| {
        let begun = crate::at(begun);
        let run =
            Run { namespace: "shop", name: "x", uid: "u", created: noon(), begun, first: begun, spec: &planned.spec };
        requests::of(&run, &planned.spec.steps[step]).unwrap()
    };
    let at = |step: usize, begun: &str| {
        let body = sent(step, begun).into_iter().find_map(|call| call.request.body).unwrap();
        let annotations = &body["spec"]["template"]["metadata"]["annotations"];
        crate::at(annotations["kubectl.kubernetes.io/restartedAt"].as_str().unwrap())
    };
    assert!(at(0, "2026-11-26T14:00:00Z") < at(1, "2026-11-26T14:00:00Z"));
    // After a crash the same step sends the same.
    assert_eq!(at(1, "2026-11-26T14:00:00Z"), at(1, "2026-11-26T15:00:00Z"));
    let look = sent(1, "2026-11-26T14:00:00Z").remove(0);
    let Expect::Known(known) = look.expect else { panic!("{look:?}") };
    let standing = |restarted: Value| {
        let annotations = json!({"kubectl.kubernetes.io/restartedAt": restarted});
        known.standing(&json!({"metadata": {"uid": "owner-uid"},
            "spec": {"template": {"metadata": {"annotations": annotations}}}}))
    };
    assert_eq!(standing(Value::Null), Standing::Before);
    assert_eq!(standing(json!("yesterday")), Standing::Before);
    assert_eq!(standing(json!("2026-11-26T12:00:00Z")), Standing::Before, "the first restart of the run");
    assert_eq!(standing(json!("2026-11-26T12:00:02Z")), Standing::Done, "its own, before a crash");
    assert_eq!(standing(json!("2026-11-26T13:07:00+01:00")), Standing::Done, "somebody's, since then");
}

/// A run that scales twice knows what it did itself.
#[test]
fn what_a_run_has_changed_itself_is_no_surprise() {
    let mut patch = with(json!({"name": "a", "scale": {"workload": "app", "by": 3, "max": 9}}));
    patch["steps"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({"name": "b", "scale": {"workload": "app", "replicas": 5, "max": 9}}));
    let planned = planned(&patch).unwrap();
    let at = noon();
    let run = Run { namespace: "shop", name: "x", uid: "u", created: at, begun: at, first: at, spec: &planned.spec };
    let calls = requests::of(&run, &planned.spec.steps[1]).unwrap();
    let Expect::Known(known) = &calls[0].expect else { panic!("{calls:?}") };
    assert_eq!((&known.from, &known.to), (&vec![json!(4), json!(5)], &json!(7)));
}
