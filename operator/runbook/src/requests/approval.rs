//! What whoever must approve a run is told: what would be done, on what, with what, and until when they can say so.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::{Call, Run, message, of, put};
use crate::{Act, model::seconds, plan::keepers, validate};

/// Parts of a parameter's name by which its value is nobody's business outside the cluster.
const SECRET: [&str; 7] = ["secret", "token", "passw", "credential", "apikey", "api-key", "private"];

/// Tells a destination that a run waits for an approval since a moment. `description` is the runbook's own.
pub fn approval(run: &Run<'_>, destination: &str, description: Option<&str>, asked: Timestamp) -> Call {
    let (spec, name, namespace) = (run.spec, run.name, run.namespace);
    let within = seconds(spec.approval_within.as_deref(), validate::DEFAULT_APPROVAL);
    let until = asked.saturating_add(SignedDuration::from_secs(within)).unwrap_or(Timestamp::MAX);
    let mut text = format!("somebody must approve it: runbook {namespace}/{}", spec.runbook.name);
    if let Some(description) = description {
        let _ = write!(text, " ({})", description.trim());
    }
    let by = spec.trigger.requested_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
    let _ = write!(text, "\nstarted by {:?}{by}, since {}", spec.trigger.kind, spec.trigger.starts_at.0);
    for object in &spec.objects {
        let place = object.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        let _ = write!(text, "\n{} = {} {}{place}", object.parameter, object.kind.name(), object.name);
    }
    let mut parameters = json!({});
    let values = spec.parameters.iter();
    for (name, value) in values.filter(|(name, _)| !spec.objects.iter().any(|object| object.parameter == **name)) {
        let shown = if is_secret(name) { "(not shown)" } else { value };
        let _ = write!(text, "\n{name} = {shown:?}");
        put(&mut parameters, name, json!(shown));
    }
    for object in &spec.objects {
        put(&mut parameters, &object.parameter, json!(object.name));
    }
    for (i, step) in spec.steps.iter().enumerate() {
        let Some(act) = Act::of(&step.action) else { continue };
        let _ = write!(text, "\n{}. {} ({})", i + 1, step.name, act.kind().field());
        let calls = of(run, step).unwrap_or_default();
        // What looks and waits says little beside what changes something.
        let acts = |call: &&Call| call.request.method != "GET" || call.request.streams;
        let does: Vec<&str> = calls.iter().filter(acts).map(|call| call.what.as_str()).collect();
        match (does.as_slice(), calls.last()) {
            ([], Some(last)) => _ = write!(text, ": {}", last.what),
            ([], None) => {}
            (does, _) => _ = write!(text, ": {}", does.join(", ")),
        }
    }
    for note in keepers(spec) {
        let _ = write!(text, "\n! {note}");
    }
    let _ = write!(text, "\nuntil {until}: plimsoll runbook approve {name} -n {namespace}");
    let mut call = message(run, destination, &text);
    if let Some(body) = &mut call.request.body {
        put(body, "parameters", parameters);
        put(body, "approveUntil", json!(until.to_string()));
    }
    call
}

/// A parameter that is called a password, a token or the like.
fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRET.iter().any(|part| name.contains(part))
}
