//! What the webhook answers. Pure: a review in, a review out.

use plimsoll_api::{Level, Slo, problem};
use serde::Deserialize;
use serde_json::{Value, json};

/// The API's limit for one warning is 256 characters; longer ones may be cut anywhere.
const WARNING_MAX: usize = 256;

#[derive(Deserialize)]
struct Review {
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

/// What an answer was, for the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let through.
    Allowed,
    /// Refused with a message.
    Denied,
}

/// Answers a review of an SLO.
///
/// # Errors
/// When this is no review at all.
pub fn answer(body: &[u8]) -> Result<(Value, Verdict), String> {
    let review: Review =
        serde_json::from_slice(body).map_err(|error| format!("this is no AdmissionReview: {error}"))?;
    let request = review.request.ok_or("this AdmissionReview has no request")?;
    let (verdict, message, warnings) = judge(request.object, &request.old_object);
    let mut response = json!({"uid": request.uid, "allowed": verdict == Verdict::Allowed});
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

fn judge(object: Value, old: &Value) -> (Verdict, Option<String>, Vec<String>) {
    // Labels and finalizers of an object that was stored before it became invalid must stay editable,
    // and it must be possible to delete it.
    let deleting = object.pointer("/metadata/deletionTimestamp").is_some_and(|time| !time.is_null());
    if object.is_null() || deleting || (!old.is_null() && old.get("spec") == object.get("spec")) {
        return (Verdict::Allowed, None, Vec::new());
    }
    let slo: Slo = match serde_path_to_error::deserialize(object) {
        Ok(slo) => slo,
        Err(error) => return (Verdict::Denied, Some(format!("{}: {}", error.path(), error.inner())), Vec::new()),
    };
    match plimsoll_slo::validate(&slo) {
        Ok(valid) => (Verdict::Allowed, None, valid.warnings.iter().map(|w| cut(&w.to_string())).collect()),
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

    fn review(object: Value, old: Value) -> (Value, Verdict) {
        let body = json!({"request": {"uid": "u1", "operation": "CREATE", "object": object, "oldObject": old}});
        answer(body.to_string().as_bytes()).unwrap()
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
    fn what_does_not_change_the_spec_is_let_through() {
        assert_eq!(review(bad(), bad()).1, Verdict::Allowed);
        let mut deleted = bad();
        deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(review(deleted, json!({"spec": {}})).1, Verdict::Allowed);
    }

    #[test]
    fn an_unreadable_object_names_its_field() {
        let (review, _) = review(json!({"metadata": {}, "spec": {"objective": 99, "sli": {}}}), Value::Null);
        let message = review.pointer("/response/status/message").unwrap().as_str().unwrap();
        assert!(message.starts_with("spec.objective: invalid type"), "{message}");
    }

    #[test]
    fn nonsense_is_an_error_and_depth_is_bounded() {
        assert!(answer(b"{").is_err());
        assert!(answer(b"{}").unwrap_err().contains("no request"));
        let deep =
            format!("{{\"request\": {{\"uid\": \"u\", \"object\": {}{}}}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(answer(deep.as_bytes()).unwrap_err().contains("recursion limit"));
    }
}
