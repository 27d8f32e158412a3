//! Runs that nothing holds back are made as such that have begun, by the process that leads: one write less lies between
//! what happened and the first request. The rules are those of any other run: the guards are asked before, the run is
//! entered into the ledger at the same moment, and what is done first is stored (with the execution itself) before it is
//! done.

use std::{sync::Arc, time::Duration};

use backon::{ExponentialBuilder, Retryable};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt, api::PostParams, runtime::reflector::ObjectRef};
use plimsoll_api::RunbookExecution;
use plimsoll_runbook::machine::{Checked, begins, recalled};
use tokio::time::{Instant, timeout};

use super::{Execution, execute::Executor, making::Claim};

/// A check that takes longer is left to whoever goes on with the execution.
const BRIEF: Duration = Duration::from_millis(500);

/// Between two questions whether an execution was made, at the most.
const PATIENCE: Duration = Duration::from_secs(10);

/// The execution as it is stored, or why it is not, as far as is known.
type Made = Result<RunbookExecution, kube::Error>;

/// Fills in the status that follows from the making, where none was stored since.
pub fn recall(execution: &mut RunbookExecution) {
    if let Some(status) = recalled(&execution.spec, execution.status.as_ref()) {
        execution.status = Some(status);
    }
}

impl Executor {
    /// Makes an execution as one that has begun. `None` when it cannot be one, or is held back: then it is to be made as
    /// any other.
    pub async fn begin(self: &Arc<Self>, execution: &RunbookExecution, seen: Instant) -> Option<Made> {
        // What is listed anew may hold it, and whoever makes it already goes on with it.
        if !self.watched.ledger.is_whole_now() || begins(&execution.spec, Timestamp::now()).is_none() {
            return None;
        }
        let claim = self.watched.making.claim(execution)?;
        let at = ObjectRef::new(&execution.name_any()).within(&execution.namespace().unwrap_or_default());
        if self.all.get(&at).is_some() {
            return None;
        }
        let check = async {
            let paused = self.switch.just_now().await;
            Box::pin(self.check(execution, Some(seen), paused)).await
        };
        let Checked { holds, refusals, void } = timeout(BRIEF, check).await.ok()?;
        if holds != Some(true) || !refusals.is_empty() || void.is_some() {
            return None;
        }
        // It is entered into the ledger: nothing is waited for in between. Whoever waits for it may go away meanwhile.
        let (executor, execution) = (Arc::clone(self), execution.clone());
        tokio::spawn(async move { executor.make(execution, claim).await }).await.ok()
    }

    async fn make(self: Arc<Self>, mut execution: RunbookExecution, claim: Claim) -> Made {
        execution.spec.begun = Some(Time(Timestamp::now()));
        let namespace = execution.namespace().unwrap_or_default();
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &namespace);
        let made = match self.dispatcher.seal(&mut execution) {
            Ok(()) => api.create(&PostParams::default(), &execution).await,
            Err(error) => Err(kube::Error::SerdeError(error)),
        };
        let error = match made {
            Ok(made) => return Ok(self.made(made, claim)),
            Err(error) => error,
        };
        // What cannot be read is somebody else's, and has not begun.
        let named: Api<Execution> = Api::namespaced(self.client.clone(), &namespace);
        match named.get_opt(&execution.name_any()).await {
            Ok(found) => self.found(found.and_then(|found| found.0.ok()), &execution, claim, error),
            // It counts as one that has begun until that is known, whether or not the alert comes again.
            Err(_) => {
                tokio::spawn(async move { self.learn(&named, &execution, claim).await });
                Err(error)
            }
        }
    }

    /// What is there under its name, after a making without an answer that says so.
    fn found(
        &self,
        found: Option<RunbookExecution>,
        made: &RunbookExecution,
        claim: Claim,
        error: kube::Error,
    ) -> Made {
        let is_other = matches!(&error, kube::Error::Api(status) if status.code == 409);
        match found {
            // The answer was what was lost. Nobody has gone on with it: whoever finds it waits for the claim.
            Some(found) if !is_other && key_of_spec(&found) == key_of_spec(made) => return Ok(self.made(found, claim)),
            // Whoever has made it may have gone on with it since it was read.
            found => self.watched.ledger.not_made(made, found.as_ref()),
        }
        Err(error)
    }

    /// Asks until the API server says whether it was made.
    async fn learn(&self, api: &Api<Execution>, execution: &RunbookExecution, claim: Claim) {
        let name = execution.name_any();
        let patient = ExponentialBuilder::default().with_min_delay(BRIEF).with_max_delay(PATIENCE).without_max_times();
        if let Ok(found) = (|| api.get_opt(&name)).retry(patient).await {
            let unknown = kube::Error::Service("no answer".into());
            if let Ok(made) = self.found(found.and_then(|found| found.0.ok()), execution, claim, unknown) {
                tracing::info!(name, namespace = made.namespace(), "the execution was made, without an answer");
            }
        }
    }

    fn made(&self, made: RunbookExecution, claim: Claim) -> RunbookExecution {
        self.watched.ledger.read(&made);
        let mut told = made.clone();
        recall(&mut told);
        self.news.stored(&made, &told);
        claim.confirm(made.uid().unwrap_or_default());
        made
    }
}

/// What tells one making from another: the spec as it is stored, where times have whole seconds.
fn key_of_spec(execution: &RunbookExecution) -> Option<String> {
    plimsoll_runbook::names::spec_hash(&execution.spec).ok()
}

#[cfg(test)]
#[path = "begin_tests.rs"]
mod tests;
