//! What a run has borrowed keeps its execution from going until it is given back: a fault, closer measurement. Only while
//! something is lent there is a finalizer, and never for longer than [`PATIENCE`] after somebody has deleted it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    runtime::reflector::ObjectRef,
};
use plimsoll_api::RunbookExecution;
use plimsoll_runbook::machine::owes;
use serde_json::json;

use super::execute::{ExecuteError, Executor, Next};

/// On executions that have borrowed something.
pub const FINALIZER: &str = "plimsoll.dev/give-back";
/// What could not be given back for so long after a deletion is somebody's to look after.
pub const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// Whether an execution is being deleted is looked at this often while something is under way.
const GOING: Duration = Duration::from_secs(1);

impl Executor {
    /// Whether one that is being deleted goes at once: when it has borrowed nothing, or could not give it back for so
    /// long that somebody else must.
    pub(super) async fn goes(
        &self,
        api: &Api<RunbookExecution>,
        execution: &RunbookExecution,
    ) -> Result<Option<Next>, ExecuteError> {
        let Some(deleted) = &execution.metadata.deletion_timestamp else { return Ok(None) };
        if !is_held(execution) {
            return Ok(Some(Next::Never));
        }
        let status = execution.status.clone().unwrap_or_default();
        if owes(&execution.spec, &status) {
            if Timestamp::now().duration_since(deleted.0) < PATIENCE {
                return Ok(None);
            }
            let note = "it was deleted 10 minutes ago and could not give back what it has borrowed: look whether a fault or \
                closer measurement is still there";
            self.news.not_given_back(execution, note).await;
        }
        release(api, execution).await?;
        Ok(Some(Next::Never))
    }

    /// Ends when an execution is being deleted, as the watch tells.
    pub(super) async fn until_deleted(&self, namespace: &str, name: &str) {
        let at = ObjectRef::new(name).within(namespace);
        loop {
            tokio::time::sleep(GOING).await;
            if self.all.get(&at).is_some_and(|told| told.meta().deletion_timestamp.is_some()) {
                return;
            }
        }
    }
}

/// Whether an execution is kept from going.
pub fn is_held(execution: &impl Resource) -> bool {
    execution.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Keeps an execution from going, before it borrows.
///
/// # Errors
/// When that is not stored; then nothing is borrowed.
pub async fn hold(api: &Api<RunbookExecution>, execution: RunbookExecution) -> Result<RunbookExecution, kube::Error> {
    if is_held(&execution) {
        return Ok(execution);
    }
    let finalizers: Vec<&str> = execution.finalizers().iter().map(String::as_str).chain([FINALIZER]).collect();
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
