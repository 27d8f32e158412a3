//! That what started a run is over is a note on its execution: what has not begun is not begun then. Of an alert that
//! Alertmanager sends, it says so itself; of what is asked of Prometheus, whoever asks.

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use plimsoll_api::RunbookExecution;
use serde_json::json;

use super::{dispatch::RESOLVED_AT, tasks::resolved_at};

/// Whether there is anybody to tell: it has not ended, and does not know it yet.
pub fn is_to_be_told(execution: &RunbookExecution) -> bool {
    let over = execution.status.as_ref().is_some_and(|status| status.phase.is_terminal());
    !over && resolved_at(execution).is_none()
}

/// Notes when it was over.
///
/// # Errors
/// When that could not be stored; one that is gone needs no note.
pub async fn tell(client: &Client, execution: &RunbookExecution, at: Timestamp) -> Result<(), kube::Error> {
    let api: Api<RunbookExecution> = Api::namespaced(client.clone(), &execution.namespace().unwrap_or_default());
    let patch = json!({"metadata": {"uid": execution.uid(), "annotations": {RESOLVED_AT: at.to_string()}}});
    match api.patch_metadata(&execution.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await {
        Ok(_) => Ok(()),
        // It went, or another one has its name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(error),
    }
}
