//! An execution as the leader keeps it. There may be very many, of which a guard holds most back: of each is kept what says
//! which one it is, and as text what guards that count ask for: half of what it takes as an object.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Resource,
    core::{DeserializeGuard, NamespaceResourceScope},
    runtime::{
        reflector::{ObjectRef, Store},
        watcher::Event,
    },
};
use plimsoll_api::{
    RunbookExecution, RunbookExecutionSpec, RunbookExecutionStatus,
    execution::{Facts, Phase, TriggerKind},
};
use serde::{Deserialize, Deserializer, Serialize};

use super::dispatch::RESOLVED_AT;

/// Little of an execution.
#[derive(Clone, Debug)]
pub struct Kept {
    metadata: ObjectMeta,
    /// How far it is, once somebody has looked at it.
    pub phase: Option<Phase>,
    /// What started it; none of one that cannot be read.
    pub kind: Option<TriggerKind>,
    /// Whether it differs in more than its status from what was kept before: its own statuses are no news to the leader.
    pub is_news: bool,
    /// A [`Text`], or why it cannot be read.
    text: Box<str>,
}

/// What is kept as text.
#[derive(Serialize, Deserialize)]
struct Text {
    spec: RunbookExecutionSpec,
    status: Option<RunbookExecutionStatus>,
}

impl Kept {
    /// What is kept of one that was read.
    pub fn of(guarded: DeserializeGuard<RunbookExecution>) -> Self {
        let metadata = slim_metadata(guarded.meta());
        let execution = match guarded.0 {
            Ok(execution) => execution,
            Err(error) => return Self { metadata, phase: None, kind: None, is_news: true, text: error.error.into() },
        };
        let (phase, kind) = (execution.status.as_ref().map(|status| status.phase), execution.spec.trigger.kind);
        let RunbookExecution { metadata: _, mut spec, status } = execution;
        slim(&mut spec);
        let text = Text { spec, status: status.map(slim_status) };
        match serde_json::to_string(&text) {
            Ok(text) => Self { metadata, phase, kind: Some(kind), is_news: true, text: text.into() },
            Err(error) => Self { metadata, phase: None, kind: None, is_news: true, text: error.to_string().into() },
        }
    }

    /// The same as an object, as far as it was kept: what [`super::ledger::Ledger`] and guards that count read of it.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn whole(&self) -> Result<RunbookExecution, String> {
        if self.kind.is_none() {
            return Err(self.text.to_string());
        }
        let Text { spec, status } = serde_json::from_str(&self.text).map_err(|error| error.to_string())?;
        Ok(RunbookExecution { metadata: self.metadata.clone(), spec, status })
    }

    /// Nothing more will happen.
    pub fn is_over(&self) -> bool {
        self.phase.is_some_and(Phase::is_terminal)
    }

    /// What the watch tells, beside what is kept already.
    pub fn told(event: Event<DeserializeGuard<RunbookExecution>>, all: &Store<Self>) -> Event<Self> {
        let beside = |told| {
            let mut kept = Self::of(told);
            kept.is_news = all.get(&ObjectRef::from_obj(&kept)).is_none_or(|before| !kept.is_like(&before));
            kept
        };
        match event {
            Event::Apply(told) => Event::Apply(beside(told)),
            Event::Delete(told) => Event::Delete(Self::of(told)),
            Event::Init => Event::Init,
            Event::InitApply(told) => Event::InitApply(beside(told)),
            Event::InitDone => Event::InitDone,
        }
    }

    /// The same but for its status. That it is being deleted makes it another generation.
    fn is_like(&self, other: &Self) -> bool {
        let of = |kept: &Self| {
            let ObjectMeta { uid, generation, annotations, .. } = &kept.metadata;
            (uid.clone(), *generation, annotations.clone())
        };
        of(self) == of(other)
    }
}

impl Resource for Kept {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        RunbookExecution::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        RunbookExecution::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        RunbookExecution::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        RunbookExecution::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        DeserializeGuard::deserialize(deserializer).map(Self::of)
    }
}

/// Which one it is, and whether it is told or goes.
fn slim_metadata(metadata: &ObjectMeta) -> ObjectMeta {
    let resolved = metadata.annotations.as_ref().and_then(|all| all.get_key_value(RESOLVED_AT));
    ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        uid: metadata.uid.clone(),
        generation: metadata.generation,
        creation_timestamp: metadata.creation_timestamp.clone(),
        deletion_timestamp: metadata.deletion_timestamp.clone(),
        finalizers: metadata.finalizers.clone(),
        annotations: resolved.map(|(key, at)| [(key.clone(), at.clone())].into()),
        ..ObjectMeta::default()
    }
}

fn slim(spec: &mut RunbookExecutionSpec) {
    (spec.steps, spec.parameters) = Default::default();
    (spec.artifacts, spec.verify, spec.traceparent) = (None, None, None);
    (spec.trigger.labels, spec.trigger.condition, spec.trigger.value) = Default::default();
    let target = spec.target.clone();
    spec.objects.retain(|object| Some(&object.parameter) == target.as_ref());
    for object in &mut spec.objects {
        let Facts { workload_uid, replicas, .. } = std::mem::take(&mut object.facts);
        object.facts = Facts { workload_uid, replicas, ..Facts::default() };
    }
}

fn slim_status(status: RunbookExecutionStatus) -> RunbookExecutionStatus {
    let RunbookExecutionStatus { phase, reason, approval, started_at, finished_at, .. } = status;
    RunbookExecutionStatus { phase, reason, approval, started_at, finished_at, ..RunbookExecutionStatus::default() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, from_value, json};

    use super::*;

    fn kept(change: impl FnOnce(&mut Value)) -> Kept {
        let mut execution = json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
            "metadata": {"name": "x", "namespace": "shop", "uid": "u", "resourceVersion": "7", "generation": 1,
                "labels": {"a": "b"}, "annotations": {RESOLVED_AT: "2026-01-01T01:00:00Z", "other": "c"},
                "finalizers": ["plimsoll.dev/gives-back"]},
            "spec": {"runbook": {"name": "r", "uid": "r", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                "target": "pod", "objects": [
                    {"parameter": "pod", "kind": "Pod", "namespace": "shop", "name": "p", "uid": "p",
                        "facts": {"workloadUid": "w", "replicas": 2, "containers": ["app"]}},
                    {"parameter": "other", "kind": "Node", "name": "n", "uid": "n"}],
                "trigger": {"kind": "Slo", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z", "labels": {"a": "b"}},
                "steps": [{"name": "a", "wait": "1s"}], "deadline": "1h", "cooldown": "1h"},
            "status": {"phase": "Blocked", "reason": "Budget", "message": "too many"}});
        change(&mut execution);
        from_value(execution).unwrap()
    }

    #[test]
    fn what_is_counted_and_told_is_kept_and_nothing_else() {
        let kept = kept(|_| {});
        assert_eq!((kept.phase, kept.kind, kept.is_over()), (Some(Phase::Blocked), Some(TriggerKind::Slo), false));
        let whole = serde_json::to_value(kept.whole().unwrap()).unwrap();
        let facts = json!({"workloadUid": "w", "replicas": 2});
        assert_eq!(
            whole,
            json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution",
                "metadata": {"name": "x", "namespace": "shop", "uid": "u", "generation": 1,
                    "annotations": {RESOLVED_AT: "2026-01-01T01:00:00Z"}, "finalizers": ["plimsoll.dev/gives-back"]},
                "spec": {"runbook": {"name": "r", "uid": "r", "generation": 1}, "mode": "Auto", "serviceAccountName": "s",
                    "target": "pod",
                    "objects": [{"parameter": "pod", "kind": "Pod", "namespace": "shop", "name": "p", "uid": "p", "facts": facts}],
                    "trigger": {"kind": "Slo", "fingerprint": "f", "startsAt": "2026-01-01T00:00:00Z"},
                    "steps": [], "deadline": "1h", "cooldown": "1h"},
                "status": {"phase": "Blocked", "reason": "Budget"}})
        );
    }

    #[test]
    fn what_cannot_be_read_is_kept_by_its_name_and_says_why() {
        let kept = kept(|execution| execution["spec"]["steps"] = json!([{}]));
        assert_eq!((kept.meta().name.as_deref(), kept.kind, kept.is_over()), (Some("x"), None, false));
        let error = kept.whole().unwrap_err();
        assert!(error.contains("name"), "{error}");
    }

    #[test]
    fn its_own_statuses_are_no_news() {
        let (all, mut writer) = kube::runtime::reflector::store::<Kept>();
        let mut is_news = |change: fn(&mut Value)| {
            let mut told = json!(null);
            _ = kept(|execution| {
                change(execution);
                told = execution.clone();
            });
            let event = Kept::told(Event::Apply(from_value(told).unwrap()), &all);
            writer.apply_watcher_event(&event);
            matches!(event, Event::Apply(kept) if kept.is_news)
        };
        assert!(is_news(|_| {}), "nobody has told of it before");
        assert!(!is_news(|_| {}));
        assert!(!is_news(|execution| execution["status"] = json!({"phase": "Running"})));
        assert!(is_news(|execution| execution["metadata"]["annotations"] = json!({})), "whether it is over");
        assert!(is_news(|execution| {
            execution["metadata"]["annotations"] = json!({});
            execution["metadata"]["generation"] = json!(2);
        }));
        assert!(is_news(|execution| execution["metadata"]["uid"] = json!("another")));
    }
}
