//! Actions that keep evidence, mostly of a Pod: what it says, what it holds, what it is.

use plimsoll_api::{
    action::{Core, DebugContainer, Describe, Exec, HeapDump, Jvm, Logs, Profile},
    execution::ObjectRef,
    runbook::Step,
};
use serde_json::{Value, json};

use super::{Call, Expect, Progress, Request, Run, STRATEGIC_PATCH, Until, encoded, path, path_of, put, same};
use crate::{model::seconds, validate};

const MEBIBYTE: u64 = 1 << 20;
/// What a kubelet answers, with code 200, when it has removed the container and its log with it.
const NO_LOG: &str = "unable to retrieve container logs for ";

fn limit(text: Option<&String>, default: u64) -> u64 {
    text.and_then(|text| validate::bytes(text)).unwrap_or(default)
}

/// The output of a container of ours. A byte more than is kept: by it one knows that there was more.
pub(super) fn output(pod: &str, container: &str, limit: u64) -> String {
    format!("{pod}/log?container={container}&limitBytes={}", limit.saturating_add(1))
}

pub(super) fn logs(run: &Run<'_>, logs: &Logs) -> Result<Vec<Call>, String> {
    let pod = run.object(&logs.pod)?;
    let limit = limit(logs.limit.as_ref(), 10 * MEBIBYTE).min(validate::LARGEST_LOG);
    let container = logs.container.clone().unwrap_or_default();
    let previous = logs.previous == Some(true);
    // Without limitBytes: a kubelet would leave out the end, and that is where a log says why.
    let mut path = format!("{}/log?container={container}&timestamps=true", path_of(pod));
    if previous {
        path.push_str("&previous=true");
    }
    if let Some(tail) = logs.tail {
        path.push_str(&format!("&tailLines={tail}"));
    }
    let name = format!("{container}{}.log", if previous { ".previous" } else { "" });
    let mut call = Call::new("keep the log", Request::get(path)).keep(name, Some(limit));
    if let Some(keep) = &mut call.keep {
        keep.none = Some(NO_LOG);
        keep.end = true;
    }
    Ok(vec![same(pod), call])
}

/// Events are a namespace's: those about a Node are in `default`, and name it, since its kubelet does not know its UID.
pub(super) fn describe(run: &Run<'_>, describe: &Describe) -> Result<Vec<Call>, String> {
    let object = run.object(&describe.object)?;
    let about = match &object.namespace {
        Some(_) => format!("involvedObject.uid={}", object.uid),
        None => format!("involvedObject.kind={},involvedObject.name={}", object.kind.name(), object.name),
    };
    let events = path("v1", Some(object.namespace.as_deref().unwrap_or("default")), "events", "");
    let events = Request::get(format!("{events}?fieldSelector={}&limit=500", encoded(&about)));
    let limit = Some(10 * MEBIBYTE);
    Ok(vec![
        same(object),
        Call::new("keep the object", Request::get(path_of(object))).keep("object.json", limit),
        Call::new("keep the events about it", events).keep("events.json", limit),
    ])
}

pub(super) fn debug(run: &Run<'_>, debug: &DebugContainer, name: &str) -> Result<Vec<Call>, String> {
    let pod = run.object(&debug.pod)?;
    let limit = limit(debug.limit.as_ref(), 10 * MEBIBYTE);
    let target = debug.target.as_deref().unwrap_or_default();
    let log = output(&path_of(pod), name, limit);
    Ok(vec![
        ephemeral(pod, name, target, &debug.image, &debug.command, debug.ptrace == Some(true), true),
        Call::new("wait for its end", Request::get(path_of(pod)))
            .expect(Expect::Until(Until::ContainerEnded(name.to_owned()))),
        Call::new("keep its output", Request::get(log)).keep("output.txt", Some(limit)),
    ])
}

/// A text of a container as a kubelet reads it: what looks like a variable of the container, `$(X)`, is filled in there,
/// and `$$` is one `$`. A value is what it was.
pub(super) fn literal(text: &str) -> String {
    if text.contains("$(") || text.contains("$$") { text.replace('$', "$$") } else { text.to_owned() }
}

/// The same patch again is no change: lists of containers are merged by name. The UID makes it fail on another Pod.
fn ephemeral(
    pod: &ObjectRef,
    name: &str,
    target: &str,
    image: &str,
    command: &[String],
    ptrace: bool,
    read_only: bool,
) -> Call {
    let mut capabilities = json!({"drop": ["ALL"]});
    if ptrace {
        put(&mut capabilities, "add", json!(["SYS_PTRACE"]));
    }
    let mut security = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": capabilities,
        "privileged": false,
        "readOnlyRootFilesystem": read_only,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    // Whoever looks into another process must be its user, or root.
    if !ptrace {
        put(&mut security, "runAsNonRoot", json!(true));
    }
    let command: Vec<String> = command.iter().map(|entry| literal(entry)).collect();
    let body = json!({
        "metadata": {"uid": pod.uid},
        "spec": {"ephemeralContainers": [{
            "name": name,
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": command,
            "targetContainerName": target,
            "securityContext": security,
            "terminationMessagePolicy": "File",
        }]},
    });
    let request = Request::kubernetes("PATCH", format!("{}/ephemeralcontainers", path_of(pod)));
    Call::new(format!("add the debug container {name}"), request.body(STRATEGIC_PATCH, body))
}

pub(super) fn profile(run: &Run<'_>, profile: &Profile) -> Result<Vec<Call>, String> {
    let pod = run.object(&profile.pod)?;
    let (namespace, name) = (pod.namespace.as_deref().unwrap_or_default(), &pod.name);
    let root = format!("/api/v1/namespaces/{namespace}/pods/{name}:{}/proxy/debug/pprof", profile.port);
    let mut calls = vec![same(pod)];
    for kind in &profile.kinds {
        let kind_name = kind.name();
        let (query, file) = if kind.takes_time() {
            let span = seconds(profile.r#for.as_deref(), plimsoll_slo::model::Span::seconds(30));
            (format!("?seconds={span}"), if kind_name == "trace" { "trace.out" } else { "profile.pb.gz" }.to_owned())
        } else {
            (String::new(), format!("{kind_name}.pb.gz"))
        };
        let request = Request::get(format!("{root}/{kind_name}{query}"));
        calls.push(Call::new(format!("keep the profile {kind_name}"), request).keep(file, None));
    }
    Ok(calls)
}

fn program(pod: &ObjectRef, container: &str, command: &[&str], what: &str) -> Call {
    let arguments: String = command.iter().map(|entry| format!("&command={}", encoded(entry))).collect();
    let path = format!("{}/exec?container={container}&stdout=true&stderr=true{arguments}", path_of(pod));
    Call::new(what, Request { streams: true, ..Request::get(path) })
}

/// Removes a file that holds what a process holds, whether it was kept or not.
fn remove(pod: &ObjectRef, container: &str, file: &str) -> Call {
    Call { cleans: true, ..program(pod, container, &["rm", "-f", file], "remove the file") }
}

pub(super) fn exec(run: &Run<'_>, exec: &Exec) -> Result<Vec<Call>, String> {
    let pod = run.object(&exec.pod)?;
    let limit = limit(exec.limit.as_ref(), MEBIBYTE);
    let command: Vec<&str> = exec.command.iter().map(String::as_str).collect();
    let what = format!("run {}", exec.command.first().map_or("nothing", String::as_str));
    let call = program(pod, exec.container.as_deref().unwrap_or_default(), &command, &what);
    Ok(vec![same(pod), call.keep("output.txt", Some(limit))])
}

pub(super) fn heap_dump(run: &Run<'_>, step: &Step, dump: &HeapDump, name: &str) -> Result<Vec<Call>, String> {
    let pod = run.object(&dump.pod)?;
    let container = dump.container.as_deref().unwrap_or_default();
    let limit = dump.limit.as_ref().and_then(|text| validate::bytes(text));
    let whole = |mut call: Call| {
        if let Some(keep) = &mut call.keep {
            keep.whole = true;
        }
        call
    };
    if let Some(Jvm { pid, all, directory }) = &dump.jvm {
        let directory = directory.as_deref().unwrap_or("/tmp").trim_end_matches('/');
        let file = format!("{directory}/{name}.hprof");
        let pid = pid.unwrap_or(1).to_string();
        let mut jcmd = vec!["jcmd", pid.as_str(), "GC.heap_dump"];
        if *all == Some(true) {
            jcmd.push("-all");
        }
        jcmd.push(&file);
        // jcmd writes over nothing: what a crash has left goes first.
        return Ok(vec![
            same(pod),
            program(pod, container, &["rm", "-f", &file], "remove what an earlier attempt left"),
            program(pod, container, &jcmd, "write the heap to a file"),
            whole(program(pod, container, &["cat", &file], "keep the file").keep("heap.hprof", limit)),
            remove(pod, container, &file),
        ]);
    }
    let Some(Core { image, pid }) = &dump.core else { return Err("heapDump has neither jvm nor core".to_owned()) };
    let pid = pid.unwrap_or(1).to_string();
    let life = seconds(step.timeout.as_deref(), validate::DEFAULT_TIMEOUT).to_string();
    let file = format!("/tmp/core.{pid}");
    let idle = ["sleep".to_owned(), life];
    Ok(vec![
        ephemeral(pod, name, container, image, &idle, true, false),
        Call::new("wait until it runs", Request::get(path_of(pod)))
            .expect(Expect::Until(Until::ContainerRuns(name.to_owned()))),
        program(pod, name, &["gcore", "-o", "/tmp/core", &pid], "write a core of the process"),
        whole(program(pod, name, &["cat", &file], "keep the core").keep("core", limit)),
        remove(pod, name, &file),
    ])
}

/// Whether an ephemeral container runs or has ended. It is not begun again, so what one that has ended says stays.
pub(super) fn container(pod: &Value, name: &str, ended: bool) -> Progress {
    let statuses = pod.pointer("/status/ephemeralContainerStatuses");
    // Its output is there to be kept also when the Pod ends with it.
    if ended && let Some(end) = self::ended(statuses, name) {
        return end;
    }
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") {
        return Progress::Never(format!("the Pod is {phase}"));
    }
    let Some(state) = state(statuses, name) else {
        return Progress::Waiting("the kubelet has not begun it".to_owned());
    };
    let reason = |kind: &str| state.pointer(&format!("/{kind}/reason")).and_then(Value::as_str).unwrap_or_default();
    match (state.get("terminated"), state.get("running")) {
        (Some(_), _) => Progress::Never(format!("it has ended: {}", reason("terminated"))),
        (_, Some(_)) if ended => Progress::Waiting("it runs".to_owned()),
        (_, Some(_)) => Progress::Done,
        _ => match reason("waiting") {
            why @ ("ErrImageNeverPull" | "InvalidImageName" | "CreateContainerConfigError") => {
                Progress::Never(format!("it cannot start: {why}"))
            }
            why => Progress::Waiting(format!("it has not started: {why}")),
        },
    }
}

/// The state of a container among the statuses of a Pod's.
fn state<'s>(statuses: Option<&'s Value>, name: &str) -> Option<&'s Value> {
    let statuses = statuses.and_then(Value::as_array).into_iter().flatten();
    statuses.into_iter().find(|s| s.get("name").and_then(Value::as_str) == Some(name))?.get("state")
}

/// How the program of a container ended; `None` while it has not. Its code and the kubelet's word for it are told, never its
/// message, which is the program's own.
pub(super) fn ended(statuses: Option<&Value>, name: &str) -> Option<Progress> {
    let terminated = state(statuses, name)?.get("terminated")?;
    let Some(code) = terminated.get("exitCode").and_then(Value::as_i64) else {
        return Some(Progress::Badly("nobody knows how the program ended".to_owned()));
    };
    if code == 0 {
        return Some(Progress::Done);
    }
    let why = terminated.get("reason").and_then(Value::as_str).filter(|reason| !matches!(*reason, "" | "Error"));
    let why = why.map(|reason| format!(" ({reason})")).unwrap_or_default();
    Some(Progress::Badly(format!("the program ended with code {code}{why}")))
}
