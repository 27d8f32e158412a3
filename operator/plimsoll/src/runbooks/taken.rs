//! A name that is taken already: by the very run that was to be made, or by what somebody else has made under it so that
//! there is no such run. Names are hashes of what anybody may know, so they can be reckoned beforehand.

use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams, Preconditions},
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
        // As data: the API server does not look into steps, so somebody may have made one that is no execution at all.
        let resource = ApiResource::erase::<RunbookExecution>(&());
        let data: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        let found = data.get_opt(&name).await.map_err(failed)?;
        let found = found.ok_or_else(|| NotStored(format!("{at} has just gone")))?;
        let read = serde_json::to_value(&found).and_then(serde_json::from_value::<RunbookExecution>);
        let why = match read {
            Ok(found) if is_sealed(&self.sealer, &found) => return Ok(Came::Before(name)),
            Ok(_) => format!(
                "{at} bears no seal of the operator's: somebody else has made or changed it, or the key of seals is a new one"
            ),
            Err(error) => {
                // It quotes what somebody has written.
                let error: String = error.to_string().chars().take(200).collect();
                format!("{at} bears no seal of the operator's: it cannot be read ({error})")
            }
        };
        // It ran under an earlier key, or was another version's.
        if found.data.pointer("/status/startedAt").is_some_and(|started| !started.is_null()) {
            self.tell(runbook, TAKEN, &format!("{why}; it has run, so nothing else is started")).await;
            return Ok(Came::Before(name));
        }
        let Some(executor) = self.leads() else {
            self.tell(runbook, TAKEN, &format!("{why}; the replica that leads removes it")).await;
            return Err(NotStored(why));
        };
        let own: Api<DynamicObject> = Api::namespaced_with(executor.client.clone(), &namespace, &resource);
        // Just as it was read, or not at all.
        let read = Preconditions { uid: found.uid(), resource_version: found.resource_version() };
        match own.delete(&name, &DeleteParams { preconditions: Some(read), ..DeleteParams::background() }).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(failed(error)),
        }
        self.seal(&mut execution).map_err(|error| NotStored(error.to_string()))?;
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &namespace);
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
