//! Closer measurement for a while, and back to what it was.

use plimsoll_api::{action::TelemetryProfile, execution::ObjectRef, runbook::ObjectKind};
use serde_json::{Value, json};

use super::{Call, JSON_PATCH, Request, Run, path_of};

/// Where the OpenTelemetry operator's resource has the percentage of traces.
const SAMPLING: &str = "/spec/config/processors/probabilistic_sampler/sampling_percentage";

pub(super) fn apply(run: &Run<'_>, profile: &TelemetryProfile) -> Result<Vec<Call>, String> {
    let object = run.object(&profile.object)?;
    let operations: Vec<Value> = if object.kind == ObjectKind::OpenTelemetryCollector {
        vec![json!({"op": "replace", "path": SAMPLING, "value": profile.sampling.unwrap_or(100)})]
    } else {
        let interval = profile.interval.as_deref().unwrap_or("5s");
        // Adding a field that is there replaces it.
        (0..object.facts.intervals.len())
            .map(|i| json!({"op": "add", "path": endpoint(object, i), "value": interval}))
            .collect()
    };
    let what = match object.kind {
        ObjectKind::OpenTelemetryCollector => format!("sample {} % of traces", profile.sampling.unwrap_or(100)),
        _ => format!("scrape every {}", profile.interval.as_deref().unwrap_or("5s")),
    };
    Ok(vec![patch(object, operations, what)])
}

/// What it was when the run was planned.
pub(super) fn restore(run: &Run<'_>, profile: &TelemetryProfile) -> Result<Vec<Call>, String> {
    let object = run.object(&profile.object)?;
    let operations: Vec<Value> = if object.kind == ObjectKind::OpenTelemetryCollector {
        let before = object.facts.sampling.as_deref().ok_or("it is not known what the percentage was")?;
        // The value may be a number or a text there; a number stays one.
        let before = serde_json::from_str::<Value>(before).unwrap_or_else(|_| json!(before));
        vec![json!({"op": "replace", "path": SAMPLING, "value": before})]
    } else {
        let put = |(i, before): (usize, &String)| {
            let path = endpoint(object, i);
            if before.is_empty() {
                // Removing what is not there would fail: it is there after the addition.
                vec![json!({"op": "add", "path": path, "value": ""}), json!({"op": "remove", "path": path})]
            } else {
                vec![json!({"op": "add", "path": path, "value": before})]
            }
        };
        object.facts.intervals.iter().enumerate().flat_map(put).collect()
    };
    Ok(vec![patch(object, operations, "measure as before".to_owned())])
}

fn patch(object: &ObjectRef, operations: Vec<Value>, what: String) -> Call {
    let test = json!({"op": "test", "path": "/metadata/uid", "value": object.uid});
    let body = Value::Array([vec![test], operations].concat());
    Call::new(what, Request::kubernetes("PATCH", path_of(object)).body(JSON_PATCH, body))
}

fn endpoint(object: &ObjectRef, i: usize) -> String {
    let list = if object.kind == ObjectKind::PodMonitor { "podMetricsEndpoints" } else { "endpoints" };
    format!("/spec/{list}/{i}/interval")
}
