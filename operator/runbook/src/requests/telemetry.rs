//! Closer measurement for a while, and back to what it was.

use plimsoll_api::{action::TelemetryProfile, execution::ObjectRef, runbook::ObjectKind};
use serde_json::{Value, json};

use super::{Call, JSON_PATCH, Part, Request, Run, known, path_of};

/// Where the OpenTelemetry operator's resource has the percentage of traces.
const SAMPLING: &str = "/spec/config/processors/probabilistic_sampler/sampling_percentage";

pub(super) fn apply(run: &Run<'_>, profile: &TelemetryProfile) -> Result<Vec<Call>, String> {
    let object = run.object(&profile.object)?;
    let what = match object.kind {
        ObjectKind::OpenTelemetryCollector => format!("sample {} % of traces", sampling(profile)),
        _ => format!("scrape every {}", interval(profile)),
    };
    set(run, object, closer(object, profile), what)
}

/// What it was when the run was planned.
pub(super) fn restore(run: &Run<'_>, profile: &TelemetryProfile) -> Result<Vec<Call>, String> {
    let object = run.object(&profile.object)?;
    set(run, object, before(object)?, "measure as before".to_owned())
}

fn sampling(profile: &TelemetryProfile) -> i64 {
    profile.sampling.unwrap_or(100)
}

fn interval(profile: &TelemetryProfile) -> &str {
    profile.interval.as_deref().unwrap_or("5s")
}

/// What a profile makes of an object: a percentage, or an interval for each endpoint.
fn closer(object: &ObjectRef, profile: &TelemetryProfile) -> Value {
    if object.kind == ObjectKind::OpenTelemetryCollector {
        return json!(sampling(profile));
    }
    vec![interval(profile); object.facts.intervals.len()].into()
}

/// The same before.
fn before(object: &ObjectRef) -> Result<Value, String> {
    if object.kind != ObjectKind::OpenTelemetryCollector {
        return Ok(json!(object.facts.intervals));
    }
    let before = object.facts.sampling.as_deref().ok_or("it is not known what the percentage was")?;
    // The value may be a number or a text there; a number stays one.
    Ok(serde_json::from_str(before).unwrap_or_else(|_| json!(before)))
}

/// Sets it, from what it was when the run was planned or what the run itself has made of it: what another run or a person
/// has made of it since is not taken for what it was before.
fn set(run: &Run<'_>, object: &ObjectRef, to: Value, what: String) -> Result<Vec<Call>, String> {
    let profiles = run.actions().filter_map(|action| action.telemetry_profile.as_ref());
    let own = profiles.filter(|profile| run.object(&profile.object).is_ok_and(|other| other.uid == object.uid));
    let mut from: Vec<Value> = own.map(|profile| closer(object, profile)).collect();
    from.push(before(object)?);
    from.retain(|value| *value != to);
    from.dedup();
    let only = if let [only] = from.as_slice() { Some(only) } else { None };
    let mut operations = vec![json!({"op": "test", "path": "/metadata/uid", "value": object.uid})];
    let part = match object.kind {
        ObjectKind::OpenTelemetryCollector => {
            operations.extend(only.map(|only| json!({"op": "test", "path": SAMPLING, "value": only})));
            operations.push(json!({"op": "replace", "path": SAMPLING, "value": to}));
            Part::At(SAMPLING)
        }
        kind => {
            for i in 0..object.facts.intervals.len() {
                let (path, wanted) = (endpoint(object, i), nth(Some(&to), i).to_owned());
                // Of several values only the look before tells which it is; one that is not there cannot be tested.
                if !nth(only, i).is_empty() {
                    operations.push(json!({"op": "test", "path": path, "value": nth(only, i)}));
                }
                // Adding a field that is there replaces it, and so what is removed is there.
                operations.push(json!({"op": "add", "path": path, "value": wanted}));
                if wanted.is_empty() {
                    operations.push(json!({"op": "remove", "path": path}));
                }
            }
            Part::Intervals(if kind == ObjectKind::PodMonitor {
                "/spec/podMetricsEndpoints"
            } else {
                "/spec/endpoints"
            })
        }
    };
    let patch = Request::kubernetes("PATCH", path_of(object)).body(JSON_PATCH, Value::Array(operations));
    Ok(vec![known(object, part, from, to), Call::new(what, patch)])
}

/// The interval of an endpoint in a list of them, `""` where there is none.
fn nth(all: Option<&Value>, i: usize) -> &str {
    all.and_then(|all| all.get(i)).and_then(Value::as_str).unwrap_or_default()
}

fn endpoint(object: &ObjectRef, i: usize) -> String {
    let list = if object.kind == ObjectKind::PodMonitor { "podMetricsEndpoints" } else { "endpoints" };
    format!("/spec/{list}/{i}/interval")
}
