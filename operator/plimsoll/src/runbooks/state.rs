//! The status of runbooks: whether each could be started, and how far it goes now.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::{
        Config, Controller, Predicate as _, WatchStreamExt as _, controller::Action, predicates, reflector, watcher,
    },
};
use plimsoll_api::{
    Runbook,
    conditions::{self, READY, REASON_INVALID, REASON_OK},
    runbook::Mode,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    circumstances::may_use,
    dispatch::{Dispatcher, Guarded, Unusable},
    switch::Switch,
};
use crate::{operator::drain::drained, sinks::kubernetes::chain};

/// Rights change without any runbook changing.
const AGAIN: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_secs(5);

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
        let (ready, reason, message) = match &known {
            Err(Unusable::Invalid(message)) => (Some(false), REASON_INVALID, message.clone()),
            Err(Unusable::Unsealed(message)) => (Some(false), "AuthorUnknown", message.clone()),
            Ok(known) => {
                let account = &known.model.service_account_name;
                let author = &known.author.username;
                match may_use(&self.client, &known.author, &namespace, account).await {
                    Some(true) => (Some(true), REASON_OK, String::new()),
                    Some(false) => {
                        let message =
                            format!("{author} may not use ServiceAccount {account}, or there is none of the name");
                        (Some(false), "NotAllowed", message)
                    }
                    None => (
                        None,
                        "NotKnown",
                        format!("it cannot be known whether {author} may use ServiceAccount {account}"),
                    ),
                }
            }
        };
        let old = guarded.0.as_ref().ok().and_then(|runbook| runbook.status.clone()).unwrap_or_default();
        let mut all = old.conditions.clone();
        conditions::set(&mut all, READY, ready, reason, message, meta.generation, Timestamp::now());
        let paused = *self.switch.changes().borrow() != Some(false);
        let mode = known.map_or(Mode::Off, |known| if paused { Mode::Off } else { known.model.mode });
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
        Ok(Action::requeue(AGAIN))
    }
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
