//! Executions that bear no seal of the operator: nothing is done by what they say.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};
use plimsoll_api::{RunbookExecution, execution::Phase};
use plimsoll_runbook::machine::owing;

use super::{
    dispatch::{WRITTEN_BY, seal},
    execute::{ExecuteError, Executor, Next},
    proof::{SEAL, Sealer},
};

impl Executor {
    /// Only the operator makes executions: what they say was decided by a runbook whose author may use the account.
    pub(super) fn is_sealed(&self, execution: &RunbookExecution) -> bool {
        let author = execution.annotations().get(WRITTEN_BY).map(String::as_str).unwrap_or_default();
        let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
        let right = seal(&self.dispatcher.sealer, author, &namespace, &name, &execution.spec);
        let given = execution.annotations().get(SEAL).map(String::as_str).unwrap_or_default();
        right.is_ok_and(|right| Sealer::is(given, &right))
    }

    /// Nothing more is done of it, and nothing undone: whoever has changed it could say what that is.
    pub(super) async fn refuse(
        &self,
        api: &Api<RunbookExecution>,
        execution: &RunbookExecution,
    ) -> Result<Next, ExecuteError> {
        let mut status = execution.status.clone().unwrap_or_default();
        let started = status.started_at.as_ref().or(execution.spec.begun.as_ref());
        if status.phase.is_terminal() {
            return Ok(Next::Never);
        }
        let owing = owing(&execution.spec, &status).collect::<Vec<_>>().join(", ");
        let (phase, mut message) = match started {
            Some(_) => (
                Phase::Unknown,
                "it was changed, or the key of its seal was, while it was under way: nothing more is done, and nothing undone"
                    .to_owned(),
            ),
            None => (
                Phase::Skipped,
                "the operator has not made it, or it was changed; use: plimsoll runbook run".to_owned(),
            ),
        };
        if !owing.is_empty() {
            message.push_str(&format!("; look whether what it has borrowed is still there (step {owing})"));
        }
        (status.phase, status.reason) = (phase, Some("NotSealed".to_owned()));
        status.message = Some(message.clone());
        status.finished_at = Some(Time(Timestamp::now()));
        let stored = self.store(api, execution, status).await?;
        if !owing.is_empty() {
            self.news.not_given_back(&stored, &message).await;
        }
        Ok(Next::Never)
    }
}
