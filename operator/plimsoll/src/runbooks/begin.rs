//! Runs that nothing holds back are made as such that have begun, by the process that leads: one write less lies between
//! what happened and the first request. The rules are those of any other run: the guards are asked before, the run is
//! entered into the ledger at the same moment, and what is done first is stored (with the execution itself) before it is
//! done.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt, api::PostParams, runtime::reflector::ObjectRef};
use plimsoll_api::RunbookExecution;
use plimsoll_runbook::machine::{Checked, begins, recalled};
use tokio::time::{Instant, timeout};

use super::{execute::Executor, making::Claim};

/// A check that takes longer is left to whoever goes on with the execution.
const BRIEF: Duration = Duration::from_millis(500);

/// Fills in the status that follows from the making, where none was stored since.
pub fn recall(execution: &mut RunbookExecution) {
    if let Some(status) = recalled(&execution.spec, execution.status.as_ref()) {
        execution.status = Some(status);
    }
}

impl Executor {
    /// Makes an execution as one that has begun. `None` when it cannot be one, or is held back: then it is to be made as
    /// any other.
    pub async fn begin(
        self: &Arc<Self>,
        execution: &RunbookExecution,
        seen: Instant,
    ) -> Option<Result<RunbookExecution, kube::Error>> {
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

    async fn make(&self, mut execution: RunbookExecution, claim: Claim) -> Result<RunbookExecution, kube::Error> {
        let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
        execution.spec.begun = Some(Time(Timestamp::now()));
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &namespace);
        let made = match self.dispatcher.seal(&mut execution) {
            Ok(()) => api.create(&PostParams::default(), &execution).await,
            Err(error) => Err(kube::Error::SerdeError(error)),
        };
        let error = match made {
            Ok(made) => return Ok(self.made(made, claim)),
            Err(error) => error,
        };
        let found = api.get_opt(&name).await.ok().flatten();
        let is_other = matches!(&error, kube::Error::Api(status) if status.code == 409);
        match found {
            // The answer was what was lost. Nobody has gone on with it: whoever finds it waits for the claim.
            Some(found) if !is_other && key_of_spec(&found) == key_of_spec(&execution) => Ok(self.made(found, claim)),
            Some(found) => {
                self.watched.ledger.read(&found);
                Err(error)
            }
            None => {
                self.watched.ledger.gone(&namespace, &name);
                Err(error)
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
