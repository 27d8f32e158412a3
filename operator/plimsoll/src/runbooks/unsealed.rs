//! Executions, and statuses of them, that bear no seal of the operator: nothing is done by what they say.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt};
use plimsoll_api::{RunbookExecution, RunbookExecutionStatus, execution::Phase};
use plimsoll_runbook::machine::owing;

use super::{
    dispatch::{WRITTEN_BY, seal},
    execute::{ExecuteError, Executor, Next},
    lent,
    proof::{SEAL, Sealer},
};

/// What bears no seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsealed {
    /// Who wrote its runbook, or its spec.
    Execution,
    /// A status by which it is under way.
    Status,
    /// Nothing: it is a copy, seal and all, of one that was made as one that has begun.
    Copy,
}

/// Only the operator makes executions: what they say was decided by a runbook whose author may use the account.
pub(super) fn is_sealed(sealer: &Sealer, execution: &RunbookExecution) -> bool {
    let author = execution.annotations().get(WRITTEN_BY).map(String::as_str).unwrap_or_default();
    let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
    let right = seal(sealer, author, &namespace, &name, &execution.spec);
    let given = execution.annotations().get(SEAL).map(String::as_str).unwrap_or_default();
    right.is_ok_and(|right| Sealer::is(given, &right))
}

impl Executor {
    /// What of an execution somebody else than the operator has written, and cannot be gone on with.
    pub(super) fn unsealed(&self, execution: &RunbookExecution) -> Option<Unsealed> {
        if !is_sealed(&self.dispatcher.sealer, execution) {
            return Some(Unsealed::Execution);
        }
        let status = execution.status.as_ref()?;
        // What is lent is not forgotten with the status that says so.
        let is_under_way = matches!(status.phase, Phase::Running | Phase::Verifying)
            || !status.phase.is_terminal() && lent::is_held(execution);
        (is_under_way && !self.has_sealed(execution, status)).then_some(Unsealed::Status)
    }

    /// What somebody else says of a run that has not begun is not believed: its guards, and who must approve it, are
    /// asked anew. That is also how one of an operator without these seals begins.
    pub(super) fn believed(&self, execution: &mut RunbookExecution) {
        let is_open = |status: &&RunbookExecutionStatus| !status.phase.is_terminal();
        if let Some(status) = execution.status.as_ref().filter(is_open)
            && !self.has_sealed(execution, status)
        {
            execution.status = None;
        }
    }

    /// Whether this operator, or one with the same key, has written a status.
    fn has_sealed(&self, execution: &RunbookExecution, status: &RunbookExecutionStatus) -> bool {
        let right = self.dispatcher.sealer.of_status(execution, status);
        right.is_ok_and(|right| Sealer::is(status.seal.as_deref().unwrap_or_default(), &right))
    }

    /// Nothing more is done of it, and nothing undone: whoever has changed it could say what that is.
    pub(super) async fn refuse(
        &self,
        api: &Api<RunbookExecution>,
        execution: &RunbookExecution,
        broken: Unsealed,
    ) -> Result<Next, ExecuteError> {
        let mut status = execution.status.clone().unwrap_or_default();
        let started = status.started_at.as_ref().or(execution.spec.begun.as_ref());
        if status.phase.is_terminal() {
            return Ok(Next::Never);
        }
        let owing = owing(&execution.spec, &status).collect::<Vec<_>>().join(", ");
        let (phase, reason, mut message) = match (broken, started) {
            (Unsealed::Status, _) => (
                Phase::Unknown,
                "StatusForged",
                "somebody else than the operator has written its status, or the operator was replaced by another version: \
                    nothing more is done, and nothing undone; look what was"
                    .to_owned(),
            ),
            (Unsealed::Copy, _) => (
                Phase::Unknown,
                "Copied",
                "it says that it has begun, and was made long after that, or after another one of its name: it is a copy of \
                    that one, without what became of it, so nothing is done and nothing undone; look what was, then delete it"
                    .to_owned(),
            ),
            (Unsealed::Execution, Some(_)) => (
                Phase::Unknown,
                "NotSealed",
                "it was changed, or the key of its seal was, while it was under way: nothing more is done, and nothing undone"
                    .to_owned(),
            ),
            (Unsealed::Execution, None) => (
                Phase::Skipped,
                "NotSealed",
                "the operator has not made it, or it was changed; use: plimsoll runbook run".to_owned(),
            ),
        };
        if !owing.is_empty() {
            message.push_str(&format!("; look whether what it has borrowed is still there (step {owing})"));
        }
        (status.phase, status.reason) = (phase, Some(reason.to_owned()));
        status.message = Some(message.clone());
        status.finished_at = Some(Time(Timestamp::now()));
        let stored = self.store(api, execution, status).await?;
        if !owing.is_empty() {
            self.news.not_given_back(&stored, &message).await;
        }
        Ok(Next::Never)
    }
}
