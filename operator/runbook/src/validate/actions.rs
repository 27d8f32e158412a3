//! One action of a step, or what undoes it: everything but its shape.

use plimsoll_api::{
    Action, Problem,
    action::{
        Annotate, Cordon, Core, DebugContainer, Describe, EvictPod, Exec, HeapDump, Job, Jvm, Logs, Notify, Profile,
        Restart, Rollback, Scale, Silence, TelemetryProfile,
    },
    chaos::{Chaos, ChaosEngine, Delay, Experiment, MemoryStress, NetworkChaos, PodChaos, PodChaosAction, StressChaos},
    gate::{Branch, Query},
    runbook::ObjectKind,
};
use plimsoll_slo::model::Span;

use super::{Context, LARGEST_LOG, bytes, verify};
use crate::{Act, matcher::Matcher};

const DAY: Span = Span::seconds(86_400);
const SECOND: Span = Span::seconds(1);
/// What `kubectl` and Kubernetes themselves scale.
const WORKLOADS: [ObjectKind; 3] = [ObjectKind::Deployment, ObjectKind::StatefulSet, ObjectKind::DaemonSet];

/// Variables of Litmus by which an experiment hits something else than its step says: other Pods, whole Nodes, another
/// application; or runs another image.
const PAST_BOUNDS: [&str; 14] = [
    "TARGET_PODS",
    "TARGET_POD",
    "TARGET_NODE",
    "TARGET_NODES",
    "NODE_LABEL",
    "NODES_AFFECTED_PERC",
    "APP_NS",
    "APP_NAMESPACE",
    "APP_LABEL",
    "APP_KIND",
    "CHAOS_NAMESPACE",
    "LIB",
    "LIB_IMAGE",
    "CHAOSENGINE",
];

/// What the names of Litmus' experiments on machines begin with, and those that have other names. They choose the machine by
/// themselves, where no variable names it, and all Pods there go with it, of whichever workload.
const ON_MACHINES: [&str; 11] = [
    "node-",
    "kubelet-service-kill",
    "docker-service-kill",
    "aws-",
    "ec2-",
    "ebs-",
    "rds-",
    "azure-",
    "gcp-",
    "vm-",
    "redfish-",
];

/// Checks an action; its defaults filled in. `None` when it cannot be used at all.
pub(super) fn action(
    act: Act<'_>,
    action: &Action,
    timeout: Option<Span>,
    path: &str,
    context: &mut Context<'_>,
) -> Option<Action> {
    let at = |field: &str| format!("{path}.{}.{field}", act.kind().field());
    let evidence = matches!(
        act,
        Act::Logs(_)
            | Act::DebugContainer(_)
            | Act::Profile(_)
            | Act::HeapDump(_)
            | Act::Exec(_)
            | Act::Describe(_)
            | Act::Job(_)
    );
    if evidence && !context.artifacts {
        context.error(
            format!("{path}.{}", act.kind().field()),
            "evidence has nowhere to go",
            "",
            "add spec.artifacts, such as {volume: evidence}",
        );
    }
    let mut filled = action.clone();
    match act {
        Act::Logs(Logs { pod, container, previous: _, tail: _, limit }) => {
            context.object(pod, &at("pod"), &[ObjectKind::Pod]);
            context.container(container.as_ref(), &at("container"));
            context.bytes(limit.as_ref(), &at("limit"));
            if let Some(text) = limit.as_ref().filter(|text| bytes(text).is_some_and(|limit| limit > LARGEST_LOG)) {
                context.error(
                    at("limit"),
                    "the end of a log is kept, and held in memory while it is read",
                    text,
                    "write 64Mi or less",
                );
            }
        }
        Act::DebugContainer(DebugContainer { pod, target, image, command, ptrace: _, limit }) => {
            context.object(pod, &at("pod"), &[ObjectKind::Pod]);
            context.container(target.as_ref(), &at("target"));
            context.image(image, &at("image"));
            context.command(command, &at("command"));
            context.bytes(limit.as_ref(), &at("limit"));
        }
        Act::Profile(Profile { pod, port: _, kinds, r#for }) => {
            context.object(pod, &at("pod"), &[ObjectKind::Pod]);
            let span = r#for.as_ref().and_then(|t| context.span(t, &at("for"), SECOND, Span::seconds(300)));
            if r#for.is_some() && !kinds.iter().any(|kind| kind.takes_time()) {
                context.error(at("for"), "for belongs to profile and trace", "", "remove it");
            }
            if let (Some(span), Some(timeout)) = (span, timeout)
                && span >= timeout
            {
                context.error(
                    at("for"),
                    "for is not shorter than the timeout",
                    &timeout.to_string(),
                    "raise the timeout",
                );
            }
        }
        Act::HeapDump(dump) => heap_dump(dump, &at, context),
        Act::Exec(Exec { pod, container, command, idempotent: _, limit }) => {
            context.object(pod, &at("pod"), &[ObjectKind::Pod]);
            context.container(container.as_ref(), &at("container"));
            context.command(command, &at("command"));
            context.bytes(limit.as_ref(), &at("limit"));
        }
        Act::Describe(Describe { object }) => context.object(object, &at("object"), &ObjectKind::ALL),
        Act::Job(Job { image, command, env, ttl }) => {
            context.image(image, &at("image"));
            context.command(command, &at("command"));
            for (name, value) in env {
                let path = at(&format!("env.{name}"));
                if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                    context.error(&path, format!("{name:?} is no name of a variable"), "", "use letters, digits and _");
                }
                context.text(value, &path);
            }
            let span =
                ttl.as_ref().and_then(|t| context.span(t, &at("ttl"), Span::seconds(3600), Span::seconds(30 * 86_400)));
            if let (Some(span), Some(timeout)) = (span, timeout)
                && span <= timeout
            {
                let label = "a Job that is gone could be made twice";
                context.error(at("ttl"), "ttl is not longer than the step's timeout", label, "raise ttl");
            }
        }
        Act::Scale(scale) => self::scale(scale, &at, context),
        Act::Restart(Restart { workload }) => {
            context.object(workload, &at("workload"), &WORKLOADS);
            context.beside_target(workload, at("workload"));
        }
        Act::Rollback(Rollback { workload, revision: _ }) => {
            context.object(workload, &at("workload"), &[ObjectKind::Deployment]);
            context.beside_target(workload, at("workload"));
        }
        Act::EvictPod(EvictPod { pod, grace_period }) => {
            context.object(pod, &at("pod"), &[ObjectKind::Pod]);
            context.beside_target(pod, at("pod"));
            if let Some(text) = grace_period {
                context.span(text, &at("gracePeriod"), SECOND, Span::seconds(3600));
            }
        }
        Act::Cordon(Cordon { node, undo: _ }) => {
            context.object(node, &at("node"), &[ObjectKind::Node]);
            context.beside_target(node, at("node"));
        }
        Act::Chaos(chaos) => self::chaos(chaos, timeout, &at, context),
        Act::TelemetryProfile(TelemetryProfile { object, profile: _, r#for, interval, sampling: _ }) => {
            let kinds = [ObjectKind::ServiceMonitor, ObjectKind::PodMonitor, ObjectKind::OpenTelemetryCollector];
            context.object(object, &at("object"), &kinds);
            if let Some(text) = r#for {
                context.span(text, &at("for"), Span::seconds(60), DAY);
            }
            if let Some(text) = interval {
                context.span(text, &at("interval"), SECOND, Span::seconds(3600));
            }
        }
        Act::Silence(silence) => self::silence(silence, &at, context),
        Act::Notify(Notify { destination, message }) => {
            if destination.contains("://") || !text_free(destination) {
                let help = "name a destination of the operator's configuration";
                context.error(at("destination"), "destination is a name, not an address", destination, help);
            }
            context.message(message, &at("message"));
        }
        Act::Annotate(Annotate { text, tags, dashboard: _ }) => {
            context.message(text, &at("text"));
            for (i, tag) in tags.iter().enumerate() {
                context.text(tag, &at(&format!("tags[{i}]")));
            }
        }
        Act::Wait(text) => {
            context.span(text, &format!("{path}.wait"), SECOND, DAY);
        }
        Act::Query(query) => {
            let Query { expr, found, empty, go_to } = query;
            context.promql(expr, &at("expr"));
            filled.query = Some(Query {
                expr: expr.clone(),
                found: Some(found.unwrap_or(Branch::Continue)),
                empty: Some(empty.unwrap_or(Branch::Stop)),
                go_to: go_to.clone(),
            });
        }
        Act::Verify(spec) => filled.verify = Some(verify(spec, &format!("{path}.verify"), context)?),
    }
    Some(filled)
}

fn text_free(text: &str) -> bool {
    crate::text::references(text).is_empty()
}

fn heap_dump(dump: &HeapDump, at: &dyn Fn(&str) -> String, context: &mut Context<'_>) {
    let HeapDump { pod, container, jvm, core, limit } = dump;
    context.object(pod, &at("pod"), &[ObjectKind::Pod]);
    context.container(container.as_ref(), &at("container"));
    context.bytes(limit.as_ref(), &at("limit"));
    if jvm.is_some() == core.is_some() {
        context.error(
            at("jvm").trim_end_matches(".jvm"),
            "heapDump has exactly one of jvm and core",
            "",
            "write jvm: {} or core: {image: ...}",
        );
    }
    if let Some(Jvm { pid: _, all: _, directory: Some(directory) }) = jvm {
        let plain = directory.starts_with('/')
            && directory.split('/').all(|part| part != "..")
            && directory.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'-' | b'_' | b'.'));
        if !plain {
            context.error(at("jvm.directory"), "directory is no plain absolute path", directory, "write it like /tmp");
        }
    }
    if let Some(Core { image, pid: _ }) = core {
        context.image(image, &at("core.image"));
    }
}

fn scale(scale: &Scale, at: &dyn Fn(&str) -> String, context: &mut Context<'_>) {
    let Scale { workload, replicas, by, percent, min, max } = scale;
    context.object(workload, &at("workload"), &[ObjectKind::Deployment, ObjectKind::StatefulSet]);
    context.beside_target(workload, at("workload"));
    let whole = at("max").trim_end_matches(".max").to_owned();
    if [replicas.is_some(), by.is_some(), percent.is_some()].into_iter().filter(|given| *given).count() != 1 {
        context.error(whole, "scale has exactly one of replicas, by and percent", "", "write it like {by: 1, max: 10}");
    }
    let least = min.unwrap_or(1);
    if least > *max {
        context.error(at("min"), "min is above max", &format!("{least} against {max}"), "swap them");
    }
    if let Some(replicas) = replicas
        && !(least..=*max).contains(replicas)
    {
        let label = format!("{replicas} is not within {least} and {max}");
        context.error(at("replicas"), "replicas is out of its own bounds", &label, "change replicas, min or max");
    }
    if *by == Some(0) {
        context.error(at("by"), "by 0 changes nothing", "", "write by: 1, or by: -1");
    }
}

fn silence(silence: &Silence, at: &dyn Fn(&str) -> String, context: &mut Context<'_>) {
    let Silence { matchers, r#for, comment } = silence;
    let mut precise = false;
    for (i, matcher) in matchers.iter().enumerate() {
        let path = at(&format!("matchers[{i}]"));
        context.text(matcher, &path);
        match Matcher::parse(matcher, &path) {
            Ok(read) => {
                precise |= read.is_equality();
                let inside = !crate::text::references(read.value()).is_empty();
                if inside && (crate::text::whole(read.value()).is_none() || read.flags().0) {
                    context.error(
                        path,
                        "a parameter is the whole value of a matcher by = or !=",
                        "",
                        "write it like pod=\"$(pod)\"",
                    );
                }
            }
            Err(problem) => context.problems.push(problem),
        }
    }
    if !precise {
        let help = "add one by equality, such as alertname=\"PodRestarting\"";
        context.error(at("matchers"), "the silence would cover too much", "no matcher is by equality", help);
    }
    context.span(r#for, &at("for"), Span::seconds(60), Span::seconds(7 * 86_400));
    context.message(comment, &at("comment"));
}

fn chaos(chaos: &Chaos, timeout: Option<Span>, at: &dyn Fn(&str) -> String, context: &mut Context<'_>) {
    let Chaos {
        object,
        pods,
        duration,
        slos: _,
        min_budget: _,
        pod_chaos,
        network_chaos,
        stress_chaos,
        workflow,
        chaos_engine,
    } = chaos;
    let kinds = [ObjectKind::Deployment, ObjectKind::StatefulSet, ObjectKind::DaemonSet, ObjectKind::Pod];
    context.object(object, &at("object"), &kinds);
    if let Some(target) = context.target.clone().filter(|target| target != object && context.kind(object).is_some()) {
        let label = format!("its bounds are reckoned by the Pods of the target, which is {target}");
        let help = format!("set spec.target: {object}, or make a runbook of each");
        context.error(at("object"), format!("a fault hits the target alone, and {object} is not it"), &label, &help);
    }
    let whole = at("duration").trim_end_matches(".duration").to_owned();
    let given = [
        pod_chaos.is_some(),
        network_chaos.is_some(),
        stress_chaos.is_some(),
        workflow.is_some(),
        chaos_engine.is_some(),
    ];
    if given.into_iter().filter(|given| *given).count() != 1 {
        let message = "chaos has exactly one of podChaos, networkChaos, stressChaos, workflow, chaosEngine";
        context.error(&whole, message, "", "make a step of each");
    }
    if let Some(pods) = pods
        && pods.count.is_some() == pods.percent.is_some()
    {
        context.error(at("pods"), "pods has exactly one of count and percent", "", "write {count: 1}");
    }
    if chaos_engine.is_some() && pods.and_then(|pods| pods.count).is_some_and(|count| count > 1) {
        context.error(at("pods.count"), "Litmus has no number of Pods, only one or a share", "", "write {percent: 10}");
    }
    let span = context.span(duration, &at("duration"), Span::seconds(10), Span::seconds(3600));
    if let (Some(span), Some(timeout)) = (span, timeout)
        && span >= timeout
    {
        let label = format!("the timeout is {timeout}");
        context.error(at("duration"), "duration is not shorter than the timeout", &label, "raise the timeout");
    }
    fault(pod_chaos.as_ref(), network_chaos.as_ref(), stress_chaos.as_ref(), &whole, context);
    if let Some(workflow) = workflow {
        let mut total = 0;
        for (i, experiment) in workflow.experiments.iter().enumerate() {
            let Experiment { name: _, duration, pod_chaos, network_chaos, stress_chaos } = experiment;
            let path = format!("{whole}.workflow.experiments[{i}]");
            if [pod_chaos.is_some(), network_chaos.is_some(), stress_chaos.is_some()].into_iter().filter(|g| *g).count()
                != 1
            {
                let message = "an experiment has exactly one of podChaos, networkChaos, stressChaos";
                context.error(&path, message, "", "make an experiment of each");
            }
            let span = context.span(duration, &format!("{path}.duration"), SECOND, Span::seconds(3600));
            let length = span.map_or(0, Span::as_seconds);
            total = if workflow.parallel == Some(true) { length.max(total) } else { total + length };
            fault(pod_chaos.as_ref(), network_chaos.as_ref(), stress_chaos.as_ref(), &path, context);
        }
        if span.is_some_and(|span| total > span.as_seconds()) {
            let label = format!("they take {}", Span::seconds(total));
            context.error(
                at("duration"),
                "duration is too short for the experiments",
                &label,
                "raise it, or shorten them",
            );
        }
    }
    if let Some(ChaosEngine { service_account: _, experiment, env }) = chaos_engine {
        if ON_MACHINES.iter().any(|name| experiment.starts_with(name)) {
            let label =
                "all Pods there go with it, and minHealthy and maxTargetsPercent count those of the object alone";
            let help = "use one that acts on Pods, such as pod-delete, or a step with cordon and one with evictPod";
            context.error(at("chaosEngine.experiment"), format!("{experiment} acts on machines"), label, help);
        }
        for (name, value) in env {
            let path = at(&format!("chaosEngine.env.{name}"));
            match name.as_str() {
                "TOTAL_CHAOS_DURATION" | "PODS_AFFECTED_PERC" => {
                    context.error(&path, format!("{name} is set by Plimsoll"), "", "use duration and pods");
                }
                name if PAST_BOUNDS.contains(&name) => {
                    let label = "it leads past the object, the images or the duration of the step";
                    context.error(&path, format!("{name} is not the runbook's to set"), label, "remove it");
                }
                _ => {}
            }
            context.text(value, &path);
        }
    }
}

fn fault(
    pod: Option<&PodChaos>,
    network: Option<&NetworkChaos>,
    stress: Option<&StressChaos>,
    path: &str,
    context: &mut Context<'_>,
) {
    if let Some(PodChaos { action, containers }) = pod {
        let path = format!("{path}.podChaos.containers");
        match (action, containers.is_empty()) {
            (PodChaosAction::ContainerKill, true) => {
                context.error(path, "ContainerKill names the containers", "", "add containers: [NAME]");
            }
            (PodChaosAction::PodKill | PodChaosAction::PodFailure, false) => {
                context.error(path, "containers belong to ContainerKill", "", "remove them");
            }
            _ => {}
        }
    }
    if let Some(NetworkChaos { delay, loss, corrupt, duplicate }) = network {
        let path = format!("{path}.networkChaos");
        if [delay.is_some(), loss.is_some(), corrupt.is_some(), duplicate.is_some()].into_iter().filter(|g| *g).count()
            != 1
        {
            let message = "networkChaos has exactly one of delay, loss, corrupt and duplicate";
            context.error(&path, message, "", "make a step of each");
        }
        if let Some(Delay { latency, jitter }) = delay {
            let half_minute = Span::seconds(30);
            context.span(latency, &format!("{path}.delay.latency"), Span { millis: 1 }, half_minute);
            if let Some(jitter) = jitter {
                context.span(jitter, &format!("{path}.delay.jitter"), Span { millis: 1 }, half_minute);
            }
        }
    }
    if let Some(StressChaos { cpu, memory }) = stress {
        if cpu.is_none() && memory.is_none() {
            let path = format!("{path}.stressChaos");
            context.error(path, "stressChaos has cpu, memory or both", "", "write {cpu: {workers: 1}}");
        }
        if let Some(MemoryStress { workers: _, size }) = memory {
            let path = format!("{path}.stressChaos.memory.size");
            match bytes(size) {
                None => context.error(path, "size is not a size", size, "write it like 512Mi or 2Gi"),
                Some(bytes) if bytes > 64 << 30 => {
                    context
                        .problems
                        .push(Problem::error(path, "size is too large").label(size.clone()).help("use at most 64Gi"));
                }
                Some(_) => {}
            }
        }
    }
}
