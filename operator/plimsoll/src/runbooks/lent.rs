//! What a run has borrowed keeps its execution from going until it is given back: a fault, closer measurement. Only while
//! something is lent there is a finalizer, and never for longer than [`PATIENCE`] after somebody has deleted it.

use jiff::SignedDuration;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use plimsoll_api::RunbookExecution;
use serde_json::json;

/// On executions that have borrowed something.
pub const FINALIZER: &str = "plimsoll.dev/give-back";
/// What could not be given back for so long after a deletion is somebody's to look after.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(10);

/// Whether an execution is kept from going.
pub fn is_held(execution: &RunbookExecution) -> bool {
    execution.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Keeps an execution from going, before it borrows.
///
/// # Errors
/// When that is not stored; then nothing is borrowed.
pub async fn hold(
    api: &Api<RunbookExecution>,
    execution: RunbookExecution,
) -> Result<RunbookExecution, kube::Error> {
    if is_held(&execution) {
        return Ok(execution);
    }
    let finalizers: Vec<&str> =
        execution.finalizers().iter().map(String::as_str).chain([FINALIZER]).collect();
    write(api, &execution, &finalizers).await
}

/// Lets an execution go.
///
/// # Errors
/// When that is not stored.
pub async fn release(api: &Api<RunbookExecution>, execution: &RunbookExecution) -> Result<(), kube::Error> {
    if !is_held(execution) {
        return Ok(());
    }
    let finalizers: Vec<&str> =
        execution.finalizers().iter().map(String::as_str).filter(|finalizer| *finalizer != FINALIZER).collect();
    match write(api, execution, &finalizers).await {
        Ok(_) => Ok(()),
        // It is gone.
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(error),
    }
}

/// Under the version that was read: finalizers of others are a part of the same list.
async fn write(
    api: &Api<RunbookExecution>,
    execution: &RunbookExecution,
    finalizers: &[&str],
) -> Result<RunbookExecution, kube::Error> {
    let version = execution.resource_version();
    let patch = json!({"metadata": {"uid": execution.uid(), "resourceVersion": version, "finalizers": finalizers}});
    api.patch(&execution.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await
}
