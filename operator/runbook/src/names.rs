//! Names that come out the same whenever they are made: making an object under its name is what keeps it from being
//! made twice.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Who made an object, and the label of every object that a run makes.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "plimsoll");
/// The label with the execution's name, on every object that a run makes.
pub const EXECUTION: &str = "plimsoll.dev/execution";
/// The label with the runbook's name, on executions.
pub const RUNBOOK: &str = "plimsoll.dev/runbook";
/// The label with the UID of the runbook, on executions.
pub const RUNBOOK_UID: &str = "plimsoll.dev/runbook-uid";
/// The label with the UID of the target, on executions.
pub const TARGET_UID: &str = "plimsoll.dev/target-uid";
/// The label with the alert's fingerprint, on executions.
pub const FINGERPRINT: &str = "plimsoll.dev/fingerprint";
/// The annotation of a Node with the execution that was the last to set `spec.unschedulable`.
pub const UNSCHEDULABLE_BY: &str = "plimsoll.dev/unschedulable-by";

/// The name of an execution: `RUNBOOK-HASH`, of at most 63 characters, so that it can be a label's value.
///
/// The hash is of the runbook's UID, the alert's fingerprint, its start in whole seconds, which is what is stored, and the
/// target's UID (`""` without one). A runbook that is deleted and made anew has another UID.
pub fn execution(runbook: &str, uid: &str, fingerprint: &str, starts_at: Timestamp, target_uid: &str) -> String {
    let hash = hash(&[uid, fingerprint, &whole(starts_at).to_string(), target_uid]);
    named(runbook, hash.get(..16).unwrap_or(&hash))
}

/// A time without what is less than a second: what the API server stores of it.
pub fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// The name of what a step makes: a Job, an ephemeral container, an experiment, a file. At most 63 characters.
pub fn of_step(execution: &str, step: &str) -> String {
    let hash = hash(&[execution, step]);
    named(step, hash.get(..12).unwrap_or(&hash))
}

/// The hash of an execution's spec, of 64 hexadecimal digits, which an approval names.
///
/// # Errors
/// None that can occur: every spec can be written as JSON.
pub fn spec_hash(spec: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    canonical(&serde_json::to_value(spec)?, &mut text);
    Ok(hash(&[&text]))
}

/// JSON with the keys of every map in order: what the API server stored and returned has the same hash.
fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (key, field) in fields {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(field, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        other => out.push_str(&other.to_string()),
    }
}

/// A fingerprint of labels, for occurrences that no Alertmanager made one for: 16 hexadecimal digits.
pub fn fingerprint<'l>(kind: &str, labels: impl IntoIterator<Item = (&'l String, &'l String)>) -> String {
    let labels: Vec<&str> = labels.into_iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]).collect();
    let hash = hash(&[&[kind], labels.as_slice()].concat());
    hash.get(..16).unwrap_or(&hash).to_owned()
}

/// `NAME-HASH`, the name cut so that all is at most 63 characters; dots become dashes.
fn named(name: &str, hash: &str) -> String {
    let name: String = name.replace('.', "-").chars().take(62 - hash.len()).collect();
    format!("{}-{hash}", name.trim_end_matches('-'))
}

/// SHA-256 of the parts, each with its length before it, so that no two lists of parts are the same text.
fn hash(parts: &[&str]) -> String {
    let mut sha = Sha256::new();
    for part in parts {
        sha.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        sha.update(part.as_bytes());
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_for_the_same_and_fits() {
        let at = Timestamp::UNIX_EPOCH;
        let name = |runbook: &str, uid: &str, target: &str| execution(runbook, uid, "f", at, target);
        assert_eq!(name("crash", "u", "t"), name("crash", "u", "t"));
        assert_ne!(name("crash", "u", "t"), name("crash", "ut", ""));
        assert_ne!(name("crash", "u", "t"), execution("crash", "u", "f", at + jiff::SignedDuration::from_secs(1), "t"));
        // What was stored and read again.
        assert_eq!(
            name("crash", "u", "t"),
            execution("crash", "u", "f", at + jiff::SignedDuration::from_millis(999), "t")
        );
        let long = name(&format!("{}.b", "a".repeat(200)), "u", "t");
        assert_eq!(long.len(), 63);
        assert!(of_step(&long, &"s".repeat(63)).len() <= 63);
        assert_ne!(of_step(&long, "a"), of_step(&long, "b"));
    }
}
