//! What the page reads from, as traits: the operator, `plimsoll up` and `plimsoll demo` have different ones.

use futures::future::BoxFuture;
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo};
use plimsoll_page::{
    Kept,
    ask::{Grid, History, Question, Reading},
};

use crate::runbooks::verdict::Verdict;

/// Whoever has the recorded series.
pub trait Recorded: Send + Sync + 'static {
    /// The newest values of all SLOs, for some questions at once. When they cannot be had: the last known ones, and why.
    fn now<'a>(&'a self, questions: &'a [Question]) -> BoxFuture<'a, Reading>;

    /// Series over a time, of the SLO `NAMESPACE/NAME` or of all. When they cannot be had: the last known ones, and why.
    fn range<'a>(&'a self, question: &'a Question, slo_id: Option<&'a str>, grid: Grid) -> BoxFuture<'a, History>;
}

/// Whoever has the objects. All of them in no order; statuses say what the page tells of whether they work.
pub trait Objects: Send + Sync + 'static {
    /// SLOs.
    fn slos(&self) -> Vec<Kept<Slo>>;
    /// One SLO.
    fn slo(&self, namespace: &str, name: &str) -> Option<Kept<Slo>> {
        self.slos().into_iter().find(|one| one.namespace == namespace && one.name == name)
    }
    /// AlertRules.
    fn alert_rules(&self) -> Vec<Kept<AlertRule>>;
    /// Runbooks.
    fn runbooks(&self) -> Vec<Kept<Runbook>>;
    /// Executions.
    fn executions(&self) -> Vec<Kept<RunbookExecution>>;
    /// One execution.
    fn execution(&self, namespace: &str, name: &str) -> Option<Kept<RunbookExecution>> {
        self.executions().into_iter().find(|one| one.namespace == namespace && one.name == name)
    }
    /// A number that changes whenever one of the objects does.
    fn revision(&self) -> u64;
    /// False as long as not all is known that there is: then nothing is said to be missing.
    fn complete(&self) -> bool {
        true
    }
}

/// Whoever says why an SLO fires or is quiet, in the words of `plimsoll explain`.
pub trait Explains: Send + Sync + 'static {
    /// Of one SLO.
    fn explain<'a>(&'a self, slo: &'a Slo) -> BoxFuture<'a, String>;
}

/// Whoever takes decisions about executions. Without one the page has no route that changes anything.
pub trait Decides: Send + Sync + 'static {
    /// Takes a decision, as the user whose bearer token this is; gives what became of it, or why it was not taken.
    fn decide<'a>(&'a self, token: &'a str, verdict: &'a Verdict) -> BoxFuture<'a, Result<String, String>>;
}
