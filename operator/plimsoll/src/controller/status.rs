//! Last step: the status is stored, if it says anything new, and a transition becomes an event.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use http::{HeaderValue, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::{
    Client, Resource, ResourceExt,
    api::Patch,
    core::{PartialObjectMeta, Request},
    runtime::events::EventType,
};
use plimsoll_api::{Kind, conditions as c};
use serde_json::{Value, json};

use super::{
    conditions::Status,
    stored::{Shown, Stored},
};
use crate::{
    events::Teller,
    sinks::{
        Written,
        kubernetes::{merges, version},
    },
};

/// Asks for an object's metadata only.
const METADATA: HeaderValue = HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// Why a status could not be stored.
#[derive(Debug, thiserror::Error)]
#[error("status could not be written: {}", crate::sinks::kubernetes::chain(.0))]
pub struct StatusError(#[source] kube::Error);

/// What was last written for an object whose new version the watch has not delivered yet.
#[derive(Clone, Debug)]
struct Pending {
    /// The version of the object that the write was based on.
    based_on: u64,
    /// The version that it led to: the watch may tell of others before.
    led_to: u64,
    status: Shown,
}

/// Stores statuses.
pub struct StatusWriter {
    client: Client,
    teller: Teller,
    pending: Mutex<HashMap<(String, String), Pending>>,
}

impl StatusWriter {
    /// Writes with this client.
    pub fn new(client: Client) -> Self {
        Self { teller: Teller::new(client.clone(), "Reconcile"), client, pending: Mutex::default() }
    }

    /// The status as it is stored, as far as is known: the watch may be behind our own last write.
    pub fn stored(&self, object: &Stored) -> Option<Shown> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(object);
        let version = version(object.meta());
        match pending.get(&key) {
            // What changes nothing, since the API server drops a field, leads to the same version.
            Some(Pending { based_on, led_to, status })
                if version == *based_on || (*based_on..*led_to).contains(&version) =>
            {
                Some(status.clone())
            }
            Some(_) => {
                pending.remove(&key);
                object.status.clone()
            }
            None => object.status.clone(),
        }
    }

    /// Stores `status` if it differs from `old`.
    ///
    /// # Errors
    /// When the API server does not take it. An object that is gone is no error.
    pub async fn write(&self, object: &Stored, old: Option<&Shown>, status: &Status) -> Result<Written, StatusError> {
        let new = status.get();
        if old == Some(new) {
            return Ok(Written::Unchanged);
        }
        let (kind, meta) = (object.kind_of(), object.meta());
        let name = object.name_any();
        // The uid keeps this from another object of the same name.
        let body = json!({"metadata": {"uid": meta.uid}, "status": patch(kind, old, new)});
        let led_to = match self.patch(kind, meta.namespace.as_deref().unwrap_or_default(), &name, &body).await {
            Ok(metadata) => version(&metadata),
            Err(kube::Error::Api(error)) if error.code == 404 => return Ok(Written::Unchanged),
            Err(error) => return Err(StatusError(error)),
        };
        let pending = Pending { based_on: version(meta), led_to, status: new.clone() };
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(key(object), pending);
        self.announce(object, old, new).await;
        Ok(Written::Changed)
    }

    /// Has the API server answer with no more than it must.
    async fn patch(&self, kind: Kind, namespace: &str, name: &str, body: &Value) -> Result<ObjectMeta, kube::Error> {
        let request = Request::new(Stored::url_path(&kind, Some(namespace)));
        let request = request.patch_subresource("status", name, &merges(), &Patch::Merge(body));
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(header::ACCEPT, METADATA);
        Ok(self.client.request::<PartialObjectMeta<Stored>>(request).await?.metadata)
    }

    /// Forgets an object.
    pub fn forget(&self, id: &(String, String)) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// One event for a transition of readiness or burning; none for a first success, which is no news.
    async fn announce(&self, object: &Stored, old: Option<&Shown>, new: &Shown) {
        for (reason, kind, note) in
            transitions(old.map(|s| s.conditions.as_slice()).unwrap_or_default(), &new.conditions)
        {
            self.event(object, reason, kind, note).await;
        }
    }

    /// Tells a person.
    pub async fn event(&self, object: &Stored, reason: &str, type_: EventType, note: String) {
        self.teller.tell(&object.object_ref(&object.kind_of()), type_, reason, &note).await;
    }
}

fn key(object: &Stored) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// A merge patch: fields that are gone must be null in it.
fn patch(kind: Kind, old: Option<&Shown>, new: &Shown) -> Value {
    let nothing = Shown::default();
    let mut body = json!({"observedGeneration": new.observed_generation, "conditions": new.conditions});
    if let Some(map) = body.as_object_mut() {
        for ((name, value), (_, old)) in fields(kind, new).into_iter().zip(fields(kind, old.unwrap_or(&nothing))) {
            if !value.is_null() || !old.is_null() {
                map.insert(name.to_owned(), value);
            }
        }
    }
    body
}

/// What a kind's status has besides conditions, in its own words.
fn fields(kind: Kind, shown: &Shown) -> Vec<(&'static str, Value)> {
    let Shown { observed_generation: _, conditions: _, place, budget, burn, alert, rules, firing } = shown;
    match kind {
        Kind::Slo => {
            vec![("budget", json!(budget)), ("burn", json!(burn)), ("alert", json!(alert)), ("rules", json!(place))]
        }
        Kind::AlertRule => vec![("rules", json!(rules)), ("firing", json!(firing)), ("place", json!(place))],
    }
}

/// What is news between two statuses: its reason, whether it is bad, and a sentence. A first success is none.
pub fn transitions<'a>(old: &'a [Condition], new: &'a [Condition]) -> Vec<(&'a str, EventType, String)> {
    let find = |all: &'a [Condition], type_: &str| all.iter().find(|condition| condition.type_ == type_);
    let mut news = Vec::new();
    if let Some(now) = find(new, c::READY) {
        let before = find(old, c::READY);
        match now.status.as_str() {
            "False" if before.is_none_or(|b| b.status != "False" || b.reason != now.reason) => {
                news.push((now.reason.as_str(), EventType::Warning, now.message.clone()));
            }
            "True" if before.is_some_and(|b| b.status == "False") => {
                news.push((c::READY, EventType::Normal, "works as declared".to_owned()));
            }
            _ => {}
        }
    }
    // Where the SLO is Ready nevertheless.
    let leftover = |all| find(all, c::RECONCILING).filter(|condition| condition.reason == c::REASON_CLEANUP_FAILED);
    let ready = find(new, c::READY).is_some_and(|condition| condition.reason == c::REASON_CLEANUP_FAILED);
    if let Some(now) = leftover(new).filter(|_| !ready && leftover(old).is_none()) {
        news.push((now.reason.as_str(), EventType::Warning, now.message.clone()));
    }
    let away = |all| find(all, c::RULES_LOADED).filter(|condition| condition.reason == c::REASON_UNREACHABLE);
    if let Some(now) = away(new).filter(|_| away(old).is_none()) {
        news.push((c::REASON_UNREACHABLE, EventType::Warning, now.message.clone()));
    }
    for (type_, fires, quiet) in [
        (c::BURNING, "the error budget burns too fast", "no burn alert fires any more"),
        (c::FIRING, "an alert fires", "no alert fires any more"),
    ] {
        let Some(now) = find(new, type_) else { continue };
        let before = find(old, type_).map(|b| b.status.as_str());
        match (before, now.status.as_str()) {
            (None | Some("False" | "Unknown"), "True") => {
                let named = if now.message.is_empty() { String::new() } else { format!(": {}", now.message) };
                news.push((c::REASON_ALERT_FIRING, EventType::Warning, format!("{fires}{named}")));
            }
            (Some("True"), "False") => news.push((c::REASON_QUIET, EventType::Normal, quiet.to_owned())),
            _ => {}
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    use super::*;

    fn condition(type_: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            observed_generation: None,
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn events_are_for_transitions_only() {
        let ready = |status, reason| vec![condition(c::READY, status, reason)];
        let reasons = |old: &[Condition], new: &[Condition]| -> Vec<String> {
            transitions(old, new).into_iter().map(|(reason, ..)| reason.to_owned()).collect()
        };
        assert_eq!(reasons(&[], &ready("True", "AsDeclared")), [""; 0]);
        assert_eq!(reasons(&[], &ready("False", "Invalid")), ["Invalid"]);
        assert_eq!(reasons(&ready("False", "Invalid"), &ready("False", "Invalid")), [""; 0]);
        assert_eq!(reasons(&ready("False", "Invalid"), &ready("False", "NotOurs")), ["NotOurs"]);
        assert_eq!(reasons(&ready("False", "Invalid"), &ready("True", "AsDeclared")), ["Ready"]);
        let leftover =
            || vec![condition(c::READY, "True", "AsDeclared"), condition(c::RECONCILING, "True", "CleanupFailed")];
        assert_eq!(reasons(&ready("True", "AsDeclared"), &leftover()), ["CleanupFailed"]);
        assert_eq!(reasons(&leftover(), &leftover()), [""; 0]);
        let burning = |status| vec![condition(c::BURNING, status, "x")];
        assert_eq!(reasons(&[], &burning("False")), [""; 0]);
        assert_eq!(reasons(&burning("False"), &burning("True")), ["AlertFiring"]);
        assert_eq!(reasons(&burning("True"), &burning("False")), ["Quiet"]);
        let away = || vec![condition(c::RULES_LOADED, "Unknown", c::REASON_UNREACHABLE)];
        assert_eq!(reasons(&[condition(c::RULES_LOADED, "True", "Loaded")], &away()), [c::REASON_UNREACHABLE]);
        assert_eq!(reasons(&away(), &away()), [""; 0]);
        let mut firing = condition(c::FIRING, "True", "AlertFiring");
        firing.message = "PodRestarting".to_owned();
        let notes: Vec<String> = transitions(&[], &[firing]).into_iter().map(|(_, _, note)| note).collect();
        assert_eq!(notes, ["an alert fires: PodRestarting"]);
    }

    #[test]
    fn a_patch_removes_what_is_gone() {
        let old = Shown { budget: Some("1.0%".to_owned()), ..Shown::default() };
        let body = patch(Kind::Slo, Some(&old), &Shown::default());
        assert_eq!(body.get("budget"), Some(&Value::Null));
        assert_eq!(body.get("burn"), None);
    }
}
