//! A name that is taken already: by the very run that was to be made, or by what somebody else has made under it so that
//! there is no such run. Names are hashes of what anybody may know, so they can be reckoned beforehand.

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use plimsoll_api::{Runbook, RunbookExecution};
use tokio::time::Instant;

use super::{
    dispatch::{Came, Dispatcher},
    unsealed::is_sealed,
    watched::New,
};
use crate::{alerts_webhook::server::NotStored, sinks::kubernetes::chain};

/// The reason of what is told of it.
const TAKEN: &str = "NameTaken";

impl Dispatcher {
    /// What came of a run whose name is taken. What the operator has not made, and has no status of a run, makes room for
    /// it where this process leads; elsewhere the run comes again, and somebody is told.
    pub(super) async fn taken(
        &self,
        runbook: &Runbook,
        mut execution: RunbookExecution,
        seen: Instant,
    ) -> Result<Came, NotStored> {
        let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
        let at = format!("RunbookExecution {namespace}/{name}");
        let failed = |error: kube::Error| NotStored(format!("{at}: {}", chain(&error)));
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &namespace);
        let found = api.get_opt(&name).await.map_err(failed)?;
        let found = found.ok_or_else(|| NotStored(format!("{at} has just gone")))?;
        if is_sealed(&self.sealer, &found) {
            return Ok(Came::Before(name));
        }
        let why = format!(
            "{at} bears no seal of the operator's: somebody else has made or changed it, or the key of seals is a new one"
        );
        // It ran under an earlier key.
        if found.status.as_ref().is_some_and(|status| status.started_at.is_some()) {
            self.tell(runbook, TAKEN, &format!("{why}; it has run, so nothing else is started")).await;
            return Ok(Came::Before(name));
        }
        let Some(executor) = self.leads() else {
            self.tell(runbook, TAKEN, &format!("{why}; the replica that leads removes it")).await;
            return Err(NotStored(why));
        };
        let own: Api<RunbookExecution> = Api::namespaced(executor.client.clone(), &namespace);
        // Just as it was read, or not at all.
        let read = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        match own.delete(&name, &DeleteParams { preconditions: Some(read), ..DeleteParams::background() }).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(failed(error)),
        }
        self.seal(&mut execution).map_err(|error| NotStored(error.to_string()))?;
        match api.create(&PostParams::default(), &execution).await {
            Ok(execution) => {
                self.tell(runbook, TAKEN, &format!("{why}; it was removed, and the run made")).await;
                self.hand(New { execution, seen: Some(seen) });
                Ok(Came::Now(name))
            }
            Err(error) => {
                if matches!(&error, kube::Error::Api(status) if status.reason == "AlreadyExists") {
                    let what = format!("{why}; it was removed, and is there still or again, so no run is made");
                    self.tell(runbook, TAKEN, &what).await;
                }
                Err(failed(error))
            }
        }
    }
}
