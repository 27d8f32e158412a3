//! The status of runbooks: whether each could be started, and how far it goes now.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::DeserializeGuard,
    runtime::{
        Config, Controller, Predicate as _, WatchStreamExt as _, controller::Action, predicates, reflector, watcher,
    },
};
use plimsoll_api::{
    AlertRule, Runbook, Slo,
    conditions::{self, READY, REASON_INVALID, REASON_OK, REASON_REFERENCE_MISSING},
    runbook::Mode,
};
use plimsoll_runbook::{Model, lacking::lacking, model::Trigger};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    circumstances::{Standing, is_there, standing},
    dispatch::{Dispatcher, Guarded, Known, Unusable},
    switch::Switch,
};
use crate::{operator::drain::drained, refusals, sinks::kubernetes::chain};

/// The reason of Ready while all runbooks are paused.
pub const PAUSED: &str = "Paused";
/// Rights change without any runbook changing.
const AGAIN: Duration = Duration::from_secs(300);
/// What is in the way is looked at again so soon at first.
const SOON: Duration = Duration::from_secs(10);
/// What is missing and may come is looked for so often.
const MISSING: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
/// What starts runbooks has a watch of its own, which mostly tells in the same moment.
const UNTOLD: Duration = Duration::from_millis(100);

/// Writes it.
pub struct States {
    /// A client that writes only while this process leads.
    pub client: Client,
    /// Reads and checks runbooks.
    pub dispatcher: Arc<Dispatcher>,
    /// The kill switch.
    pub switch: Switch,
}

impl States {
    /// Keeps the statuses up to date until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let api: Api<Guarded> = Api::all(self.client.clone());
        let (reader, writer) = reflector::store();
        let changes = watcher(api, watcher::Config::default())
            .default_backoff()
            .reflect(writer)
            .applied_objects()
            .predicate_filter(predicates::generation.combine(predicates::annotations), Default::default());
        let switched = tokio_stream(self.switch.changes());
        let (listed, stopped) = (reader.clone(), stop.clone());
        let work = Controller::for_stream(changes, reader)
            .with_config(Config::default().concurrency(4))
            .reconcile_all_on(switched)
            .graceful_shutdown_on(async move { stopped.cancelled().await })
            .run(
                |guarded, states: Arc<Self>| async move { states.look(&guarded).await },
                |_, error, _| {
                    tracing::warn!(error = %chain(error), "the status of a runbook could not be written");
                    Action::requeue(RETRY)
                },
                Arc::new(self),
            )
            .for_each(|_| std::future::ready(()));
        drained(&listed, &stop, work).await;
    }

    async fn look(&self, guarded: &Guarded) -> Result<Action, kube::Error> {
        let meta = guarded.meta();
        let (namespace, name) = (meta.namespace.clone().unwrap_or_default(), guarded.name_any());
        let known = self.dispatcher.know(guarded);
        let (ready, reason, message) = if meta.deletion_timestamp.is_some() {
            (Some(false), "Deleted", "it is being deleted, and starts nothing".to_owned())
        } else {
            self.ready(&namespace, &known).await
        };
        // Whoever has waited for Ready may have it start at once: an alert that comes before it is known is for nobody.
        if ready == Some(true) && !self.dispatcher.has(guarded) {
            return Ok(Action::requeue(UNTOLD));
        }
        let old = guarded.0.as_ref().ok().and_then(|runbook| runbook.status.clone()).unwrap_or_default();
        let mut all = old.conditions.clone();
        conditions::set(&mut all, READY, ready, reason, message, meta.generation, Timestamp::now());
        let mode = known.map_or(Mode::Off, |known| known.model.mode);
        if all != old.conditions || old.mode != Some(mode) || old.observed_generation != meta.generation {
            let patch = json!({"metadata": {"uid": meta.uid}, "status":
                {"observedGeneration": meta.generation, "conditions": all, "mode": mode}});
            let api: Api<Runbook> = Api::namespaced(self.client.clone(), &namespace);
            // Only the answer's metadata is read: the object itself may be unreadable.
            let api: Api<kube::core::PartialObjectMeta<Runbook>> = Api::namespaced(api.into_client(), &namespace);
            match api.patch_subresource("status", &name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Action::await_change()),
                Err(error) => return Err(error),
            }
        }
        Ok(Action::requeue(again(&all, Timestamp::now())))
    }

    /// Whether it could be started now, a reason and what there is to say.
    async fn ready(
        &self,
        namespace: &str,
        known: &Result<Arc<Known>, Unusable>,
    ) -> (Option<bool>, &'static str, String) {
        let known = match known {
            Err(Unusable::Invalid(message)) => return (Some(false), REASON_INVALID, message.clone()),
            Err(Unusable::Unsealed(message)) => return (Some(false), "AuthorUnknown", message.clone()),
            Ok(known) => known,
        };
        if self.dispatcher.settings.protects(namespace) {
            let message = format!(
                "metadata.namespace: {namespace} is a protected namespace, and no runbook there is run; put it into another one"
            );
            return (Some(false), "ProtectedNamespace", message);
        }
        let lacking = lacking(&known.model, &self.dispatcher.settings);
        if !lacking.is_empty() {
            return (Some(false), "NotConfigured", lacking.join("; "));
        }
        let (account, author) = (&known.model.service_account_name, &known.author.username);
        let grant = |who: &str| refusals::grant(who, namespace, account);
        match standing(&self.client, &known.author, namespace, account).await {
            Standing::Fine => {}
            Standing::Missing => {
                let message = format!("there is no ServiceAccount {account} in namespace {namespace}");
                return (Some(false), "NotAllowed", message);
            }
            Standing::AuthorMayNot => {
                let message = format!(
                    "{author}, who wrote it, may not use ServiceAccount {account}: {}, or let somebody apply it who has that",
                    grant(author)
                );
                return (Some(false), "NotAllowed", message);
            }
            Standing::OperatorMayNot => {
                let message = format!(
                    "the operator may not act as ServiceAccount {account}: {}",
                    grant("the operator's own ServiceAccount")
                );
                return (Some(false), "OperatorNotAllowed", message);
            }
            Standing::NotKnown => {
                let message = format!(
                    "it cannot be known whether there is a ServiceAccount {account} that {author} and the operator may use"
                );
                return (None, "NotKnown", message);
            }
        }
        let missing = self.missing(namespace, &known.model).await;
        match (self.switch.words(), missing.is_empty()) {
            (Some(paused), _) => (Some(true), PAUSED, [vec![paused], missing].concat().join("; ")),
            (None, false) => (Some(true), REASON_REFERENCE_MISSING, missing.join("; ")),
            (None, true) => (Some(true), REASON_OK, String::new()),
        }
    }

    /// What it names and is not there, of which it may be that it only comes later.
    async fn missing(&self, namespace: &str, model: &Model) -> Vec<String> {
        let (mut slos, mut rules) = (Vec::new(), Vec::new());
        match &model.trigger {
            Trigger::Slo { names, .. } => slos.extend(names.iter().map(|name| ("spec.trigger.slo.names", name))),
            Trigger::Anomaly { slo, alert_rule, .. } => {
                slos.extend(slo.iter().map(|name| ("spec.trigger.anomaly.slo", name)));
                rules.extend(alert_rule.iter().map(|name| ("spec.trigger.anomaly.alertRule", name)));
            }
            _ => {}
        }
        let mut missing = Vec::new();
        for (place, name) in slos {
            let api: Api<DeserializeGuard<Slo>> = Api::namespaced(self.client.clone(), namespace);
            if let Ok(None) = api.get_opt(name).await {
                missing.push(format!("{place}: there is no SLO {name} in namespace {namespace}, so it starts nothing"));
            }
        }
        for (place, name) in rules {
            let api: Api<DeserializeGuard<AlertRule>> = Api::namespaced(self.client.clone(), namespace);
            if let Ok(None) = api.get_opt(name).await {
                let rule = format!("there is no AlertRule {name} in namespace {namespace}");
                missing.push(format!("{place}: {rule}, so it starts nothing"));
            }
        }
        let of_steps = model.steps.iter().filter_map(|step| step.action.verify.as_ref());
        let mut asked: Vec<&str> = Vec::new();
        for verify in of_steps.chain(&model.verify) {
            if asked.contains(&verify.slo.as_str()) {
                continue;
            }
            asked.push(&verify.slo);
            if is_there(&self.client, &self.dispatcher.outside, namespace, verify, None).await == Some(false) {
                let slo = &verify.slo;
                missing.push(format!(
                    "verify: there is no SLO {slo} in namespace {namespace}, and Prometheus has no burn rate of it: until then every run is held back"
                ));
            }
        }
        missing
    }
}

/// When it is looked at again: soon while something is in the way, since whoever repairs it looks whether it is; later the
/// longer that lasts.
fn again(all: &[Condition], now: Timestamp) -> Duration {
    let Some(ready) = all.iter().find(|condition| condition.type_ == READY) else { return SOON };
    if ready.status == "True" {
        return if ready.reason == REASON_REFERENCE_MISSING { MISSING } else { AGAIN };
    }
    let lasts = Duration::try_from(now.duration_since(ready.last_transition_time.0)).unwrap_or_default();
    lasts.clamp(SOON, AGAIN)
}

/// A change of the switch, as a stream.
fn tokio_stream(
    changes: tokio::sync::watch::Receiver<Option<bool>>,
) -> impl futures::Stream<Item = ()> + Send + 'static {
    futures::stream::unfold(changes, |mut changes| async move {
        changes.changed().await.ok()?;
        Some(((), changes))
    })
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
