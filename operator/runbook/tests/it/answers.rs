//! What the answers of servers mean.

use plimsoll_runbook::requests::{self, Server};
use serde_json::{Value, json};

use crate::{
    model,
    planning::{sent, with},
};

/// Chaos Mesh's conditions as it sets them: before anything is hit, while it lasts, and after its time.
#[test]
fn a_fault_that_is_over_is_told_from_one_that_has_not_begun() {
    use requests::{Progress, Until};
    let at = |phase: &str, injected: &str, recovered: &str| {
        json!({"status": {
            "conditions": [{"type": "AllInjected", "status": injected}, {"type": "AllRecovered", "status": recovered}],
            "experiment": {"desiredPhase": phase},
        }})
    };
    let cases = [
        (at("Run", "False", "True"), (false, false)),
        (at("Run", "True", "False"), (true, false)),
        // Looked at again after a crash, when it is over: it was injected once.
        (at("Stop", "True", "False"), (true, false)),
        (at("Stop", "False", "True"), (true, true)),
        (json!({}), (false, false)),
    ];
    for (object, want) in cases {
        let done = |until: Until| until.progress(&object) == Progress::Done;
        assert_eq!((done(Until::Injected), done(Until::Recovered)), want, "{object}");
    }
}

/// A program that fails has ended, and what it said is kept before the step fails: nothing that the calls after it need is
/// kept from them.
#[test]
fn a_program_that_failed_has_ended_badly() {
    use requests::{Progress, Until};
    let badly = |how: &str| Progress::Badly(how.to_owned());
    let pod = |phase: &str, state: Value| {
        let statuses = json!([{"name": "other", "state": {"running": {}}}, {"name": "own", "state": state}]);
        json!({"status": {"phase": phase, "ephemeralContainerStatuses": statuses}})
    };
    let ended = |code: i64, reason: &str| json!({"terminated": {"exitCode": code, "reason": reason, "message": "password=hunter2"}});
    let until = Until::ContainerEnded("own".to_owned());
    for (object, want) in [
        (pod("Running", ended(0, "Completed")), Progress::Done),
        (pod("Running", ended(1, "Error")), badly("the program ended with code 1")),
        (pod("Running", ended(127, "Error")), badly("the program ended with code 127")),
        (pod("Running", ended(137, "OOMKilled")), badly("the program ended with code 137 (OOMKilled)")),
        (pod("Running", json!({"terminated": {}})), badly("nobody knows how the program ended")),
        (pod("Running", json!({"running": {}})), Progress::Waiting("it runs".to_owned())),
        // The Pod may end with it, and what it said is there all the same.
        (pod("Failed", ended(0, "Completed")), Progress::Done),
        (pod("Failed", json!({"running": {}})), Progress::Never("the Pod is Failed".to_owned())),
        (json!({}), Progress::Waiting("the kubelet has not begun it".to_owned())),
    ] {
        assert_eq!(until.progress(&object), want, "{object}");
    }
    // What is to run, and has ended, is of no use, however it ended.
    let runs = Until::ContainerRuns("own".to_owned());
    assert_eq!(
        runs.progress(&pod("Running", ended(0, "Completed"))),
        Progress::Never("it has ended: Completed".to_owned())
    );
    assert_eq!(runs.progress(&pod("Running", json!({"running": {}}))), Progress::Done);

    let (_, calls) = sent(&with(json!({"name": "a", "job": {"image": crate::IMAGE, "command": ["true"]}})), false);
    let seen = |what: &str, answer: &Value| {
        let call = calls.iter().find(|call| call.what == what).unwrap_or_else(|| panic!("{what}: {calls:?}"));
        let requests::Expect::Until(until) = &call.expect else { panic!("{call:?}") };
        until.progress(answer)
    };
    let job = |condition: &str| json!({"status": {"conditions": [{"type": condition, "status": "True"}]}});
    assert_eq!(seen("wait for its end", &job("Complete")), Progress::Done);
    assert_eq!(seen("wait for its end", &job("Failed")), badly("the Job has failed"));
    assert_eq!(seen("wait for its end", &json!({})), Progress::Waiting("the Job runs".to_owned()));
    let pods = |state: Value| json!({"items": [{"status": {"containerStatuses": [{"name": "job", "state": state}]}}]});
    assert_eq!(seen("find its Pod", &pods(ended(0, "Completed"))), Progress::Done);
    assert_eq!(seen("find its Pod", &pods(ended(3, "Error"))), badly("the program ended with code 3"));
    // A Pod that was evicted has no code, and none may be left: what the Job said stands.
    assert_eq!(seen("find its Pod", &json!({"items": [{"status": {"phase": "Failed"}}]})), Progress::Done);
    assert_eq!(seen("find its Pod", &json!({"items": []})), Progress::Done);
    let kept = calls.iter().position(|call| call.keep.is_some());
    assert_eq!(kept, Some(calls.len() - 1), "it is kept after it was judged");
}

/// Names of a Workflow's templates are unique, whatever the experiments are called.
#[test]
fn an_experiment_of_any_name_is_not_the_entry() {
    let (_, calls) = sent(
        &with(json!({"name": "a", "chaos": {"object": "app", "duration": "2m", "workflow": {"experiments": [
            {"name": "all", "duration": "1m", "networkChaos": {"loss": 5}},
            {"name": "kill", "duration": "1m", "podChaos": {"action": "PodKill"}},
        ]}}})),
        false,
    );
    let spec = &calls[0].request.body.as_ref().unwrap()["spec"];
    let templates = spec["templates"].as_array().unwrap();
    let names: Vec<&str> = templates.iter().filter_map(|template| template["name"].as_str()).collect();
    assert_eq!(names, [spec["entry"].as_str().unwrap(), "all", "kill"]);
    assert_eq!(templates[0]["children"], json!(["all", "kill"]));
    // A template has a deadline instead of a duration in its fault, which Chaos Mesh refuses.
    assert_eq!((&templates[1]["deadline"], &templates[1]["networkChaos"]["duration"]), (&json!("60s"), &json!(null)));
}

#[test]
fn recovery_is_read_from_the_burn_rates() {
    let verify = model(&json!({"verify": {"slo": "checkout"}})).verify.unwrap();
    let answer = |rates: &[&str]| {
        let series: Vec<Value> = rates.iter().map(|rate| json!({"metric": {}, "value": [0, rate]})).collect();
        json!({"status": "success", "data": {"resultType": "vector", "result": series}})
    };
    for (rates, recovered) in [
        (&["0.4", "0.999"][..], Some(true)),
        (&["0.4", "1"], Some(false)),
        // No request is no recovery, and no reason to undo anything.
        (&["NaN"], None),
        (&["+Inf"], Some(false)),
        (&["0.4", "NaN"], None),
        (&["14.4", "NaN"], Some(false)),
        (&[], None),
        (&["1e-7"], Some(true)),
        // What is left of bad events decays to this, and the SLO has recovered all the more.
        (&["3.2e-30", "4.9406564584124654e-324"], Some(true)),
        (&["1e300"], Some(false)),
    ] {
        assert_eq!(requests::verified(&answer(rates), &verify).unwrap().0, recovered, "{rates:?}");
    }
    let seen = requests::verified(&answer(&["14.404"]), &verify).unwrap().1;
    assert_eq!(seen, "SLO checkout burns at 14.4, 1 is the bound");
    assert!(requests::verified(&json!({"status": "error"}), &verify).is_err());
    assert_eq!(
        sent(&with(json!({"name": "a", "verify": {"slo": "checkout"}})), false).1[0].request.to,
        Server::Prometheus
    );
}

/// What a Deployment says of the rollout of a bad version stays while the rollback of just that version begins, also when
/// its controller has seen the change.
#[test]
fn a_rollout_that_stalled_before_is_another_one() {
    use requests::{Expect, Progress};
    let deployment = |said: &str| {
        json!({"metadata": {"generation": 4}, "spec": {"replicas": 2}, "status": {"observedGeneration": 4,
            "replicas": 3, "updatedReplicas": 1, "availableReplicas": 2, "conditions": [{"type": "Progressing",
            "status": "False", "reason": "ProgressDeadlineExceeded", "lastUpdateTime": said, "lastTransitionTime": said}]}})
    };
    // The step's intent is of 14:00.
    for step in [json!({"rollback": {"workload": "app"}}), json!({"restart": {"workload": "app"}})] {
        let mut step = step;
        step["name"] = json!("a");
        let calls = sent(&with(step), false).1;
        let Some(Expect::Until(until)) = calls.last().map(|call| call.expect.clone()) else { panic!("{calls:?}") };
        let seen = |said: &str| until.progress(&deployment(said));
        let waiting = Progress::Waiting("1 of 2 Pods are new, 2 are available".to_owned());
        assert_eq!(seen("2026-11-26T13:50:00Z"), waiting);
        assert_eq!(seen("2026-11-26T14:00:00Z"), waiting, "none fails in the second in which it is begun");
        let stalled = Progress::Never("the rollout does not get on (ProgressDeadlineExceeded)".to_owned());
        assert_eq!(seen("2026-11-26T14:10:00Z"), stalled);
    }
}
