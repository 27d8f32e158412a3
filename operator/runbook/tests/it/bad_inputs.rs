//! Each input that must be refused, with the very words of the refusal.

use std::collections::BTreeMap;

use plimsoll_api::runbook::ObjectKind;
use plimsoll_runbook::{Model, matching::matches, parameters, plan::plan};
use serde_json::{Value, json};

use crate::{IMAGE, alert, labels, model, noon, object, planned, planned_with, problems, settings};

/// One bad input and all that is said of it.
pub(crate) fn check(cases: &[(&str, Value, &[&str])]) {
    for (what, patch, want) in cases {
        assert_eq!(problems(patch), *want, "{what}");
    }
}

/// A runbook with this one step.
pub(crate) fn step(step: Value) -> Value {
    json!({"steps": [step]})
}

#[test]
fn the_base_is_fine() {
    assert_eq!(problems(&json!({})), [""; 0]);
}

#[test]
fn actions_and_parameters() {
    check(&[
        (
            "unknown parameter",
            step(json!({"name": "a", "logs": {"pod": "pdo"}})),
            &[
                "error: spec.steps[0].logs.pod: there is no parameter pdo; did you mean pod? Or add it to spec.parameters",
            ],
        ),
        (
            "a log whose end would be held in memory",
            step(json!({"name": "a", "logs": {"pod": "pod", "limit": "65Mi"}})),
            &[
                "error: spec.steps[0].logs.limit: the end of a log is kept, and held in memory while it is read (65Mi); write 64Mi or less",
            ],
        ),
        ("a log of the largest limit", step(json!({"name": "a", "logs": {"pod": "pod", "limit": "64Mi"}})), &[]),
        (
            "a query without a label",
            json!({"parameters": [{"name": "pod", "object": "Pod", "fromQuery": "up", "default": "a"}]}),
            &[
                "error: spec.parameters[0].fromQuery: fromQuery wants fromLabel, the label of its series; add fromLabel: pod",
            ],
        ),
        (
            "a query for a value",
            json!({"parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"},
                {"name": "n", "integer": {"min": 1, "max": 2}, "fromQuery": "up", "fromLabel": "n"}]}),
            &[
                "error: spec.parameters[1].fromQuery: fromQuery picks an object, and this is a value; add object: Pod",
                "warning: spec.parameters[1].name: no step uses parameter n; use it as n or $(n), or remove it",
            ],
        ),
        (
            "unknown parameter in a text",
            step(json!({"name": "a", "notify": {"destination": "payments", "message": "$(who) restarts"}})),
            &["error: spec.steps[0].notify.message: there is no parameter who; use pod. Or add it to spec.parameters"],
        ),
        (
            "no action",
            step(json!({"name": "a"})),
            &["error: spec.steps[0]: a step has exactly one action (it has none); add one, such as logs: {pod: pod}"],
        ),
        (
            "two actions",
            step(json!({"name": "a", "wait": "5s", "evictPod": {"pod": "pod"}})),
            &["error: spec.steps[0]: a step has exactly one action (it has evictPod and wait); make a step of each"],
        ),
        (
            "an object of another kind",
            step(json!({"name": "a", "restart": {"workload": "pod"}})),
            &[
                "error: spec.steps[0].restart.workload: parameter pod is no Deployment or StatefulSet or DaemonSet (it is a Pod); name a parameter with object: Deployment",
            ],
        ),
        (
            "a string that takes everything",
            json!({"parameters": [{"name": "pod", "object": "Pod", "fromLabel": "pod"}, {"name": "x", "string": ".*", "fromLabel": "x"}]}),
            &[
                "error: spec.parameters[1].string: string takes everything (a label could then be anything at all); name the characters that are meant, such as [a-z0-9-]{1,63}",
                "warning: spec.parameters[1].name: no step uses parameter x; use it as x or $(x), or remove it",
            ],
        ),
        (
            "nothing says what it is",
            json!({"parameters": [{"name": "pod", "object": "Pod"}]}),
            &[
                "error: spec.parameters[0]: nothing says what pod is (a trigger brings labels only); add fromLabel, ownerOf or default",
            ],
        ),
        (
            "a default of another type",
            json!({"parameters": [{"name": "pod", "object": "Pod", "default": "../kube-system"}]}),
            &[
                "error: spec.parameters[0].default: default is not what pod takes (\"../kube-system\" is no name of a Pod); write a value of its own type",
            ],
        ),
        (
            "nowhere to keep evidence",
            json!({"artifacts": null}),
            &["error: spec.steps[0].logs: evidence has nowhere to go; add spec.artifacts, such as {volume: evidence}"],
        ),
    ]);
}

#[test]
fn bounds_and_order() {
    let workload = json!([{"name": "pod", "object": "Pod", "fromLabel": "pod"}, {"name": "app", "object": "Deployment", "ownerOf": "pod"}]);
    let scale =
        |scale: Value| json!({"parameters": workload, "target": "app", "steps": [{"name": "a", "scale": scale}]});
    let query = |a: Value, b: Value| json!({"steps": [{"name": "a", "query": a}, {"name": "b", "query": b}]});
    let chaos = |duration: &str| {
        step(json!({"name": "a", "chaos": {"object": "pod", "duration": duration, "podChaos": {"action": "PodKill"}}}))
    };
    check(&[
        (
            "scale out of its bounds",
            scale(json!({"workload": "app", "replicas": 12, "max": 10})),
            &[
                "error: spec.steps[0].scale.replicas: replicas is out of its own bounds (12 is not within 1 and 10); change replicas, min or max",
            ],
        ),
        (
            "two ways to scale",
            scale(json!({"workload": "app", "replicas": 2, "by": 1, "max": 10})),
            &[
                "error: spec.steps[0].scale: scale has exactly one of replicas, by and percent; write it like {by: 1, max: 10}",
            ],
        ),
        (
            "timeout 0",
            step(json!({"name": "a", "timeout": "0s", "logs": {"pod": "pod"}})),
            &[
                "error: spec.steps[0].timeout: timeout is not a duration (it is zero); write a time above zero, such as 300ms, 5m or 30d",
            ],
        ),
        (
            "a fault without end",
            chaos("30d"),
            &["error: spec.steps[0].chaos.duration: duration is too long (30d); use at most 1h"],
        ),
        (
            "a ring of steps",
            query(json!({"expr": "up"}), json!({"expr": "up", "empty": "GoTo", "goTo": "a"})),
            &[
                "error: spec.steps[1].query.goTo: step a does not come later (steps could go round in a ring); add a step after this one",
            ],
        ),
        (
            "back instead of forward",
            json!({"steps": [{"name": "a", "query": {"expr": "up", "empty": "GoTo", "goTo": "a"}},
                {"name": "log", "query": {"expr": "up"}}, {"name": "tell", "query": {"expr": "up"}}]}),
            &[
                "error: spec.steps[0].query.goTo: step a does not come later (steps could go round in a ring); name a later step: log, tell",
            ],
        ),
        (
            "a step that there is not",
            json!({"steps": [{"name": "a", "query": {"expr": "up", "empty": "GoTo", "goTo": "restart"}},
                {"name": "log", "query": {"expr": "up", "empty": "GoTo", "goTo": "tel"}},
                {"name": "tell", "query": {"expr": "up", "found": "GoTo"}}]}),
            &[
                "error: spec.steps[0].query.goTo: there is no step restart; name a later step: log, tell",
                "error: spec.steps[1].query.goTo: there is no step tel; did you mean tell?",
                "error: spec.steps[2].query.goTo: goTo is missing (found or empty says GoTo); add a step after this one",
            ],
        ),
        (
            "nearly a step",
            json!({"steps": [{"name": "a", "query": {"expr": "up", "empty": "GoTo", "goTo": "tel"}},
                {"name": "log", "query": {"expr": "up"}}, {"name": "tell", "query": {"expr": "up"}}]}),
            &[
                "error: spec.steps[0].query.goTo: there is no step tel; did you mean tell? Else name a later step: log, tell",
            ],
        ),
        (
            "namespaces that are the cluster's own",
            json!({"namespaces": ["kube-system", "bank"]}),
            &[
                "warning: spec.namespaces[0]: kube-system is the cluster's own, and no runbook acts there (every run on an object of it is refused); remove it",
            ],
        ),
        (
            "a parameter within PromQL",
            step(json!({"name": "a", "query": {"expr": "up{pod=\"x-$(pod)\"}"}})),
            &[
                "error: spec.steps[0].query.expr: a parameter in PromQL is a whole value in quotes; write it like up{pod=\"$(pod)\"}",
            ],
        ),
        (
            "a silence of everything",
            step(json!({"name": "a", "silence": {"matchers": ["pod=~\"a.*\""], "for": "1h", "comment": "x"}})),
            &[
                "error: spec.steps[0].silence.matchers: the silence would cover too much (no matcher is by equality); add one by equality, such as alertname=\"PodRestarting\"",
            ],
        ),
        (
            "an address instead of a destination",
            step(json!({"name": "a", "notify": {"destination": "https://evil.example", "message": "x"}})),
            &[
                "error: spec.steps[0].notify.destination: destination is a name, not an address (https://evil.example); name a destination of the operator's configuration",
            ],
        ),
        (
            "a trigger for every alert",
            json!({"trigger": {"alert": ["severity!=\"none\""]}}),
            &[
                "error: spec.trigger.alert: the matchers match almost every alert (none of them says what an alert must have); add one by = or =~, such as alertname=\"PodRestarting\"",
            ],
        ),
        (
            "a wrong day",
            json!({"trigger": {"alert": null, "schedule": "Moon 10:00"}}),
            &[
                "error: spec.trigger.schedule: schedule is not weekdays and a time (Moon); write it like Sun 03:00, Mon-Fri 22:30 or 03:00",
            ],
        ),
        (
            "a bucket that nobody has keys for",
            json!({"artifacts": {"volume": null, "s3": {"bucket": "evidence"}}}),
            &[
                "error: spec.artifacts.s3: nobody has keys for the bucket; name a Secret in s3.secretName, or a store of the operator's configuration that has keys in s3.store",
            ],
        ),
        (
            "keys that lead out",
            json!({"artifacts": {"volume": null, "s3": {"bucket": "evidence", "prefix": "a/../b", "store": "minio"}}}),
            &[
                "error: spec.artifacts.s3.prefix: prefix leads out of the bucket's keys (a/../b); use names and / between them",
            ],
        ),
    ]);
}

/// What `spec.safety` says is reckoned by the target, so what is beside it is told, and a fault is never beside it.
#[test]
fn faults_and_what_is_beside_the_target() {
    let both = json!([{"name": "pod", "object": "Pod", "fromLabel": "pod"}, {"name": "app", "object": "Deployment", "ownerOf": "pod"}]);
    let of =
        |target: &str, step: Value| json!({"parameters": both, "target": target, "steps": [step], "artifacts": null});
    let kill = |more: Value| {
        let mut chaos = json!({"object": "app", "duration": "30s", "podChaos": {"action": "PodKill"}});
        chaos.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"name": "a", "chaos": chaos})
    };
    let litmus = |more: Value, env: Value| {
        let mut chaos = json!({"object": "app", "duration": "30s",
            "chaosEngine": {"serviceAccount": "litmus", "experiment": "pod-delete", "env": env}});
        chaos.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"name": "a", "chaos": chaos})
    };
    let on = |experiment: &str| {
        let mut step = litmus(json!({}), json!({}));
        step["chaos"]["chaosEngine"]["experiment"] = json!(experiment);
        step
    };
    let machine = |experiment: &str| {
        format!(
            "error: spec.steps[0].chaos.chaosEngine.experiment: {experiment} acts on machines (all Pods there go with it, and minHealthy and maxTargetsPercent count those of the object alone); use one that acts on Pods, such as pod-delete, or a step with cordon and one with evictPod"
        )
    };
    let mut undone = json!({"name": "a", "restart": {"workload": "app"}});
    undone["compensate"] = json!({"chaos": kill(json!({}))["chaos"]});
    let beside = "(cooldown, minHealthy and other runs are looked at for pod alone); set spec.target: app, or make a runbook of each";
    check(&[
        ("a fault on the target", of("app", kill(json!({"pods": {"percent": 25}}))), &[]),
        (
            "a fault beside the target",
            of("pod", kill(json!({}))),
            &[
                "error: spec.steps[0].chaos.object: a fault hits the target alone, and app is not it (its bounds are reckoned by the Pods of the target, which is pod); set spec.target: app, or make a runbook of each",
            ],
        ),
        (
            "a restart beside the target",
            of("pod", json!({"name": "a", "restart": {"workload": "app"}})),
            &[&format!("warning: spec.steps[0].restart.workload: app is not the target {beside}")],
        ),
        (
            "a scale beside the target",
            of("pod", json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 9}})),
            &[&format!("warning: spec.steps[0].scale.workload: app is not the target {beside}")],
        ),
        (
            "nothing to undo",
            of("app", json!({"name": "a", "restart": {"workload": "app"}, "onFailure": "Compensate"})),
            &[
                "warning: spec.steps[0].onFailure: Compensate undoes nothing here (no step up to there undoes itself or has a compensate); add compensate to a step, or remove onFailure",
            ],
        ),
        (
            "a share above the bound",
            of("app", kill(json!({"pods": {"percent": 50}}))),
            &[
                "warning: spec.steps[0].chaos.pods.percent: percent is above maxTargetsPercent (50 against 25); raise spec.safety.maxTargetsPercent, or hit fewer: else the run is held back where that is more than one Pod",
            ],
        ),
        (
            "a fault that undoes",
            of("app", undone),
            &["error: spec.steps[0].compensate: this undoes nothing; name an action that changes something back"],
        ),
        (
            "Litmus as it is meant",
            of("app", litmus(json!({"pods": {"count": 1}}), json!({"CHAOS_INTERVAL": "10"}))),
            &[],
        ),
        ("Litmus on a machine", of("app", on("node-drain")), &[&machine("node-drain")]),
        ("Litmus on a kubelet", of("app", on("kubelet-service-kill")), &[&machine("kubelet-service-kill")]),
        ("Litmus on a cloud's machine", of("app", on("ec2-terminate-by-id")), &[&machine("ec2-terminate-by-id")]),
        ("Litmus on a disk of Pods", of("app", on("disk-fill")), &[]),
        (
            "a number for Litmus",
            of("app", litmus(json!({"pods": {"count": 2}}), json!({}))),
            &[
                "error: spec.steps[0].chaos.pods.count: Litmus has no number of Pods, only one or a share; write {percent: 10}",
            ],
        ),
        (
            "Pods of others",
            of("app", litmus(json!({}), json!({"TARGET_PODS": "cart-1,bank-1"}))),
            &[
                "error: spec.steps[0].chaos.chaosEngine.env.TARGET_PODS: TARGET_PODS is not the runbook's to set (it leads past the object, the images or the duration of the step); remove it",
            ],
        ),
        (
            "more Pods",
            of("app", litmus(json!({}), json!({"PODS_AFFECTED_PERC": "100"}))),
            &[
                "error: spec.steps[0].chaos.chaosEngine.env.PODS_AFFECTED_PERC: PODS_AFFECTED_PERC is set by Plimsoll; use duration and pods",
            ],
        ),
    ]);
}

#[test]
fn values_of_labels() {
    let patch = json!({
        "parameters": [
            {"name": "pod", "object": "Pod", "fromLabel": "pod"},
            {"name": "path", "string": "[^ ]{1,20}", "fromLabel": "path"},
            {"name": "n", "integer": {"min": 1, "max": 9}, "fromLabel": "n"},
        ],
        "steps": [{"name": "a", "exec": {"pod": "pod", "command": ["du", "$(path)", "$(n)"]}}],
    });
    let model = model(&patch);
    for (name, value, message) in [
        ("pod", "checkout;reboot", "\"checkout;reboot\" is no name of a Pod"),
        ("pod", "../../secrets", "\"../../secrets\" is no name of a Pod"),
        ("pod", "a\nb", "it has the control character U+000A"),
        ("pod", "$(reboot)", "\"$(reboot)\" is no name of a Pod"),
        (
            "pod",
            "",
            "the label pod is missing, and there is no default; by hand it is given as --parameter pod=NAME, the name of a Pod",
        ),
        ("pod", "other/checkout", "namespace other is neither the runbook's own nor one of spec.namespaces"),
        ("path", "--exclude=x", "\"--exclude=x\" begins with a dash, which a program would read as an option"),
        ("path", "a/../../etc", "\"a/../../etc\" has .., which leads out of a path"),
        ("path", "a b", "\"a b\" does not match [^ ]{1,20} as a whole"),
        ("n", "10", "10 is not within 1 and 9"),
        ("n", "+5", "\"+5\" is no whole number"),
        ("n", "1e3", "\"1e3\" is no whole number"),
    ] {
        let mut all = labels(&[("pod", "checkout-1"), ("path", "/data"), ("n", "5")]);
        all.insert(name.to_owned(), value.to_owned());
        let wrong = parameters::resolve(&model, &all, &Default::default()).unwrap_err();
        let found: Vec<(&str, &str)> = wrong.iter().map(|w| (w.parameter.as_str(), w.message.as_str())).collect();
        assert_eq!(found, [(name, message)], "{name} = {value:?}");
    }
    let all = labels(&[("pod", "checkout-1"), ("path", "/data"), ("n", "5"), ("namespace", "other")]);
    assert!(parameters::resolve(&model, &all, &Default::default()).is_err(), "a label forges a namespace");
}

/// Whoever runs a runbook by hand and gives too little is told of each parameter what it takes and how it is given.
#[test]
fn what_nobody_gave_is_told_with_how_to_give_it() {
    let parameters = json!([{"name": "pod", "object": "Pod"}, {"name": "path", "string": "/[a-z]{1,20}"},
        {"name": "n", "integer": {"min": 1, "max": 9}}, {"name": "how", "enum": ["soft", "hard"]}]);
    let command = json!({"pod": "pod", "command": ["du", "$(path)", "$(n)", "$(how)"]});
    let model = model(&json!({"trigger": {"alert": null, "manual": {}}, "parameters": parameters,
        "steps": [{"name": "a", "exec": command}]}));
    let wrong = parameters::resolve(&model, &Default::default(), &Default::default()).unwrap_err();
    let told: Vec<String> = wrong.iter().map(|w| format!("{}: {}", w.parameter, w.message)).collect();
    let given = |name: &str, how: &str| {
        format!("{name}: nobody gave it, and there is no default; give it as --parameter {name}={how}")
    };
    let wanted = [
        given("pod", "NAME, the name of a Pod"),
        given("path", "TEXT, a text that matches /[a-z]{1,20} as a whole"),
        given("n", "NUMBER, a whole number from 1 to 9"),
        given("how", "WORD, one of soft, hard"),
    ];
    assert_eq!(told, wanted);
}

#[test]
fn an_owner_is_where_what_it_owns_is() {
    let model = model(&json!({
        "namespaces": ["other"],
        "parameters": [
            {"name": "app", "object": "Deployment", "ownerOf": "pod"},
            {"name": "pod", "object": "Pod", "fromLabel": "pod"},
        ],
    }));
    let all = labels(&[("pod", "checkout-1"), ("namespace", "other")]);
    let lookups = parameters::resolve(&model, &all, &Default::default()).unwrap().lookups;
    let found: Vec<_> = lookups.iter().map(|l| (l.parameter.as_str(), l.namespace.as_deref())).collect();
    assert_eq!(found, [("pod", Some("other")), ("app", Some("other"))]);
}

/// Of what a runbook names, all that the configuration lacks is told at once, with what is meant.
#[test]
fn what_the_configuration_lacks() {
    let image = "elsewhere.example/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let patch = json!({
        "steps": [
            {"name": "look", "debugContainer": {"pod": "pod", "image": image, "command": ["ps"]}},
            {"name": "tell", "notify": {"destination": "paymens", "message": "x"}},
        ],
        "artifacts": {"volume": "evidense"},
    });
    let told = plimsoll_runbook::lacking::lacking(&model(&patch), &crate::settings());
    assert_eq!(
        told,
        [
            "spec.steps[1].notify.destination: the operator's configuration has no destination paymens; did you mean payments?".to_owned(),
            format!("spec.steps[0]: the operator's configuration does not allow image {image}; allowed are registry.example/"),
            "spec.artifacts.volume: the operator's configuration has no volume evidense; did you mean evidence?".to_owned(),
        ]
    );
    assert_eq!(plimsoll_runbook::lacking::lacking(&model(&json!({})), &crate::settings()), Vec::<String>::new());
}

/// What AlertRules write goes out of a runbook as it is.
#[test]
fn templates_of_other_tools_are_warned_of() {
    let tell = json!({"name": "a", "notify": {"destination": "payments", "message": "{{ $labels.pod }} ${pod} $(pod) costs $5"}});
    let runbook: plimsoll_api::Runbook = crate::runbook(&step(tell));
    let warnings = plimsoll_runbook::validate(&runbook).unwrap().warnings;
    let lines: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "spec.steps[0].notify.message: {{ $labels.pod }} goes out as it is written (only $(name) is filled in); write $(pod)",
            "spec.steps[0].notify.message: ${pod} goes out as it is written (only $(name) is filled in); write $(pod)",
        ]
    );
}

#[test]
fn what_planning_refuses() {
    let image = "elsewhere.example/x@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let workload = json!([{"name": "pod", "object": "Pod", "fromLabel": "pod"}, {"name": "app", "object": "Deployment", "ownerOf": "pod"}]);
    let with_app = |step: Value| json!({"parameters": workload, "steps": [step]});
    assert_eq!(
        planned(&step(json!({"name": "a", "debugContainer": {"pod": "pod", "image": image, "command": ["ps"]}}))),
        Err(vec![format!(
            "step a: the operator's configuration does not allow image {image}; allowed are registry.example/"
        )])
    );
    assert_eq!(
        planned(&step(json!({"name": "a", "logs": {"pod": "pod", "container": "sidecar"}}))),
        Err(vec!["step a: the Pod has no container sidecar, only app".to_owned()])
    );
    assert_eq!(
        planned(&step(json!({"name": "a", "notify": {"destination": "nobody", "message": "x"}}))),
        Err(vec!["step a: the operator's configuration has no destination nobody; it has: payments".to_owned()])
    );
    assert_eq!(
        planned(&json!({"approval": {"notify": "nobody"}, "verify": {"slo": "checkout", "escalateTo": "nobody"}})),
        Err(vec![
            "spec.approval.notify: the operator's configuration has no destination nobody; it has: payments".to_owned(),
            "spec.verify.escalateTo: the operator's configuration has no destination nobody; it has: payments"
                .to_owned(),
        ])
    );
    assert_eq!(
        planned_with(&with_app(json!({"name": "a", "scale": {"workload": "app", "by": 1, "max": 10}})), |object| {
            object.facts.autoscaler = Some("checkout".to_owned());
        }),
        Err(vec![
            "step a: HorizontalPodAutoscaler checkout has the workload and would undo it; change its bounds instead"
                .to_owned()
        ])
    );
    assert_eq!(
        planned_with(&with_app(json!({"name": "a", "rollback": {"workload": "app"}})), |object| {
            object.facts.earlier = None;
        }),
        Err(vec!["step a: there is no earlier revision to go back to".to_owned()])
    );
    let chaos = json!({"name": "a", "chaos": {"object": "app", "duration": "30s", "podChaos": {"action": "PodKill"}}});
    let mut chaos = with_app(chaos);
    chaos["target"] = json!("app");
    assert_eq!(
        planned_with(&chaos, |object| object.facts.pod_labels.clear()),
        Err(vec![
            "step a: app has no labels by which exactly its Pods are found, so the fault could hit others".to_owned()
        ])
    );
    for namespace in ["kube-system", "plimsoll-system"] {
        assert_eq!(
            planned_with(&json!({}), |object| object.namespace = Some(namespace.to_owned())),
            Err(vec![format!("Pod {namespace}/checkout-1 is in a protected namespace")])
        );
    }
}

/// Jobs are made in the runbook's namespace and alerts of it silenced, whatever objects there are.
#[test]
fn a_runbook_in_a_protected_namespace_is_never_planned() {
    let steps = [
        json!({"job": {"image": IMAGE, "command": ["true"]}}),
        json!({"silence": {"matchers": ["alertname=\"x\""], "for": "1h", "comment": "x"}}),
        json!({"notify": {"destination": "payments", "message": "x"}}),
        json!({"annotate": {"text": "x"}}),
        json!({"wait": "1s"}),
        json!({"query": {"expr": "up"}}),
        json!({"verify": {"slo": "checkout"}}),
        json!({"cordon": {"node": "node"}}),
        json!({"logs": {"pod": "pod"}}),
        json!({"evictPod": {"pod": "pod"}}),
    ];
    for mut step in steps {
        step["name"] = json!("a");
        let parameters = json!([{"name": "pod", "object": "Pod", "fromLabel": "pod"},
            {"name": "node", "object": "Node", "default": "worker-3"}]);
        let patch = json!({"parameters": parameters, "target": "pod", "steps": [step]});
        assert!(planned(&patch).is_ok(), "{patch}");
        for namespace in ["kube-system", "kube-public", "kube-node-lease", "plimsoll-system"] {
            let model = Model { namespace: namespace.to_owned(), ..model(&patch) };
            let evidence = matches(&model, &alert(&[("alertname", "PodRestarting"), ("pod", "x")]), noon()).unwrap();
            let values = parameters::resolve(&model, &evidence.labels, &BTreeMap::new()).unwrap().values;
            let objects = vec![object("pod", ObjectKind::Pod, "x"), object("node", ObjectKind::Node, "worker-3")];
            let wrong = plan(&model, &settings(), evidence, &values, objects, None).unwrap_err();
            assert_eq!(wrong, [format!("Runbook {namespace}/crashloop is in a protected namespace")], "{patch}");
        }
    }
}
