//! What the webhook answers. Pure: a review in, a review out.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::api::ObjectMeta;
use plimsoll_api::{
    AlertRule, AlertRuleSpec, AnyKind, Kind, Level, Problem, Runbook, RunbookSpec, Slo, SloSpec, problem,
};
use plimsoll_slo::{alerts, validate::distant_exclusions};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};
use serde_json::{Value, json};

use crate::sinks::Fingerprint;

/// The API's limit for one warning is 256 characters; longer ones may be cut anywhere.
const WARNING_MAX: usize = 256;
/// Larger reviews are refused unjudged. Rules may take 512 KiB, and a review holds a spec four times at most: in the
/// object, in its predecessor, and in what kubectl has noted in both.
const JUDGED: usize = 4 * (512 << 10);

// A review is read twice, and never becomes a tree: first what tells whether there is anything to judge, with specs
// reduced to their fingerprints; then the spec itself. What nobody needs is skipped while it is read.

#[derive(Deserialize)]
struct Review<O> {
    request: Option<O>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Glance {
    uid: String,
    #[serde(default)]
    kind: SeenKind,
    object: Option<Seen>,
    old_object: Option<Seen>,
}

#[derive(Default, Deserialize)]
struct SeenKind {
    kind: String,
}

#[derive(Deserialize)]
struct Seen {
    #[serde(default)]
    metadata: SeenMeta,
    spec: Option<Fingerprint>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SeenMeta {
    deletion_timestamp: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Subject<S> {
    object: Object<S>,
}

#[derive(Deserialize)]
struct Object<S> {
    #[serde(default)]
    metadata: Meta,
    spec: S,
}

/// What the judgement needs of an object's metadata.
#[derive(Default, Deserialize)]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

/// What an answer was, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let through.
    Allowed,
    /// Refused with a message.
    Denied,
}

/// Answers a review of an object of any kind, at a moment.
///
/// # Errors
/// When this is no review at all.
pub fn answer(body: &[u8], now: Timestamp) -> Result<(Value, Verdict), String> {
    let review: Review<Glance> =
        serde_json::from_slice(body).map_err(|error| format!("this is no AdmissionReview: {error}"))?;
    let Glance { uid, kind, object, old_object } = review.request.ok_or("this AdmissionReview has no request")?;
    let (verdict, message, warnings) = match object {
        Some(object) if is_new(&object, old_object.as_ref()) && body.len() > JUDGED => {
            let message = "spec: it is too large: the rules of an object may take 512 KiB; shorten its labels, annotations and exclusions";
            (Verdict::Denied, Some(message.to_owned()), Vec::new())
        }
        Some(object) if is_new(&object, old_object.as_ref()) && kind.kind == AnyKind::Runbook.name() => {
            judge(body, |metadata, spec: RunbookSpec| {
                plimsoll_runbook::validate(&Runbook { metadata, spec, status: None }).map(|valid| valid.warnings)
            })
        }
        Some(object) if is_new(&object, old_object.as_ref()) => match Kind::parse(&kind.kind).unwrap_or_default() {
            Kind::Slo => judge(body, |metadata, spec: SloSpec| {
                plimsoll_slo::validate(&Slo { metadata, spec, status: None }).map(|valid| {
                    let distant = distant_exclusions(&valid.model, now);
                    valid.warnings.into_iter().chain(distant).collect()
                })
            }),
            Kind::AlertRule => judge(body, |metadata, spec: AlertRuleSpec| {
                alerts::validate(&AlertRule { metadata, spec, status: None }).map(|valid| valid.warnings)
            }),
        },
        _ => (Verdict::Allowed, None, Vec::new()),
    };
    let mut response = json!({"uid": uid, "allowed": verdict == Verdict::Allowed});
    if let Some(map) = response.as_object_mut() {
        if let Some(message) = message {
            map.insert("status".to_owned(), json!({"code": 422, "reason": "Invalid", "message": message}));
        }
        if !warnings.is_empty() {
            map.insert("warnings".to_owned(), json!(warnings));
        }
    }
    Ok((json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}), verdict))
}

/// Labels and finalizers of an object that was stored before it became invalid must stay editable,
/// and it must be possible to delete it.
fn is_new(object: &Seen, old: Option<&Seen>) -> bool {
    let deleting = object.metadata.deletion_timestamp.is_some();
    !deleting && old.is_none_or(|old| old.spec != object.spec)
}

/// Reads the object and judges it: `validate` gives warnings, or all problems.
fn judge<S: DeserializeOwned>(
    body: &[u8],
    validate: impl FnOnce(ObjectMeta, S) -> Result<Vec<Problem>, Vec<Problem>>,
) -> (Verdict, Option<String>, Vec<String>) {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let object = match serde_path_to_error::deserialize::<_, Review<Subject<S>>>(&mut reader) {
        Ok(Review { request: Some(Subject { object }) }) => object,
        Ok(Review { request: None }) => return (Verdict::Allowed, None, Vec::new()),
        Err(error) => {
            let path = error.path().to_string();
            let path = path.strip_prefix("request.object").map_or(path.as_str(), |path| path.trim_start_matches('.'));
            return (Verdict::Denied, Some(format!("{path}: {}", error.inner())), Vec::new());
        }
    };
    let Object { metadata: Meta { name, namespace, labels }, spec } = object;
    match validate(ObjectMeta { name, namespace, labels, ..ObjectMeta::default() }, spec) {
        Ok(warnings) => (Verdict::Allowed, None, warnings.iter().map(|w| cut(&w.to_string())).collect()),
        Err(problems) => {
            let (errors, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(|p| p.level == Level::Error);
            let warnings = warnings.iter().map(|warning| cut(&warning.to_string())).collect();
            (Verdict::Denied, Some(problem::summary(&errors)), warnings)
        }
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= WARNING_MAX {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(WARNING_MAX - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_795_000_000, 0);

    fn review(object: Value, old: Value) -> (Value, Verdict) {
        let body = json!({"request": {"uid": "u1", "operation": "CREATE", "object": object, "oldObject": old}});
        answer(body.to_string().as_bytes(), NOW).unwrap()
    }

    fn bad() -> Value {
        json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "SLO", "metadata": {"name": "a", "namespace": "b"},
            "spec": {"objective": "99", "sli": {"events": {"bad": "sum(", "total": "x"}}}})
    }

    #[test]
    fn the_uid_comes_back_and_bad_promql_is_refused() {
        let (review, verdict) = review(bad(), Value::Null);
        assert_eq!(verdict, Verdict::Denied);
        assert_eq!(review.pointer("/response/uid"), Some(&json!("u1")));
        assert_eq!(review.pointer("/response/allowed"), Some(&json!(false)));
        assert!(review.pointer("/response/status/message").is_some());
    }

    #[test]
    fn every_kind_is_judged_by_its_own_rules() {
        let spec = |expr: &str| json!({"rules": [{"alert": "A", "expr": expr}], "matchers": {"cluster": "=~.*"}});
        let object = json!({"kind": "AlertRule", "metadata": {"name": "a", "namespace": "b"}, "spec": spec("up == 0")});
        let body = json!({"request": {"uid": "u", "kind": {"kind": "AlertRule"}, "object": object}});
        let (review, verdict) = answer(body.to_string().as_bytes(), NOW).unwrap();
        assert_eq!(verdict, Verdict::Denied);
        let message = review.pointer("/response/status/message").and_then(Value::as_str).unwrap();
        assert!(message.starts_with("spec.matchers.cluster: matcher cluster tells nothing apart"), "{message}");
        let spec =
            json!({"serviceAccountName": "a", "trigger": {"alert": ["pod"]}, "steps": [{"name": "a", "wait": "1s"}]});
        let object = json!({"kind": "Runbook", "metadata": {"name": "a", "namespace": "b"}, "spec": spec});
        let body = json!({"request": {"uid": "u", "kind": {"kind": "Runbook"}, "object": object}});
        let (review, _) = answer(body.to_string().as_bytes(), NOW).unwrap();
        let message = review.pointer("/response/status/message").and_then(Value::as_str).unwrap();
        assert!(message.starts_with("spec.trigger.alert[0]: this is not a matcher"), "{message}");
    }

    /// The same as on the command line, where the file of this object is checked.
    #[test]
    fn an_exclusion_of_another_year_is_told() {
        let spec = |from: &str| {
            json!({"objective": "99", "sli": {"up": {"series": "up{job=\"a\"}"}},
            "exclusions": [{"name": "move", "from": from, "to": "2062-12-02T00:00:00Z"}]})
        };
        let warnings = |from: &str| {
            let object = json!({"kind": "SLO", "metadata": {"name": "a", "namespace": "b"}, "spec": spec(from)});
            let (review, verdict) = review(object, Value::Null);
            assert_eq!(verdict, Verdict::Allowed);
            review.pointer("/response/warnings").cloned()
        };
        let said = "spec.exclusions[0].from: the exclusion begins more than a year from now; check the year, or remove the exclusion";
        assert_eq!(warnings("2062-12-01T00:00:00Z"), Some(json!([said])));
        assert_eq!(warnings("2026-12-01T00:00:00Z"), None);
    }

    #[test]
    fn what_does_not_change_the_spec_is_let_through() {
        assert_eq!(review(bad(), bad()).1, Verdict::Allowed);
        let mut deleted = bad();
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(review(deleted, json!({"spec": {}})).1, Verdict::Allowed);
    }

    #[test]
    fn what_is_far_too_large_is_refused_unless_it_is_stored_already() {
        let mut large = bad();
        large["spec"]["labels"] = json!({"a": "x".repeat(JUDGED)});
        let (refused, verdict) = review(large.clone(), Value::Null);
        assert_eq!(verdict, Verdict::Denied);
        let message = refused.pointer("/response/status/message").unwrap().as_str().unwrap();
        assert!(message.starts_with("spec: it is too large"), "{message}");
        assert_eq!(review(large.clone(), large).1, Verdict::Allowed);
    }

    #[test]
    fn an_unreadable_object_names_its_field() {
        let (review, _) = review(json!({"metadata": {}, "spec": {"objective": 99, "sli": {}}}), Value::Null);
        let message = review.pointer("/response/status/message").unwrap().as_str().unwrap();
        assert!(message.starts_with("spec.objective: invalid type"), "{message}");
    }

    #[test]
    fn nonsense_is_an_error_and_depth_is_bounded() {
        assert!(answer(b"{", NOW).is_err());
        assert!(answer(b"{}", NOW).unwrap_err().contains("no request"));
        let deep = format!(
            "{{\"request\": {{\"uid\": \"u\", \"object\": {{\"spec\": {}{}}}}}}}",
            "[".repeat(100_000),
            "]".repeat(100_000)
        );
        assert!(answer(deep.as_bytes(), NOW).unwrap_err().contains("recursion limit"));
    }
}
