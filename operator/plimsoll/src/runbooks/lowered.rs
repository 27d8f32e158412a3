//! Runs under way whose runbook was turned off, or deleted: the watch of runbooks tells, so it costs no request until it is so.

use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, Stream, StreamExt as _};
use kube::{Api, Resource as _, ResourceExt as _, runtime::reflector::ObjectRef};
use plimsoll_api::{RunbookExecution, execution::Phase};
use plimsoll_runbook::machine::lowered;

use super::{Guarded, execute::Executor, kept::Kept};

/// How often runs that only wait are compared with what the watch has told of their runbooks.
const LOOK: Duration = Duration::from_secs(5);

impl Executor {
    /// Why nothing more is begun of an execution that is under way. A watch may be behind, so what it tells is asked for once
    /// more; what cannot be read changes nothing.
    pub(super) async fn lowered(&self, execution: &RunbookExecution) -> Option<&'static str> {
        self.told_lowered(execution)?;
        let api: Api<Guarded> = Api::namespaced(self.client.clone(), &execution.namespace()?);
        let found = api.get_opt(&execution.spec.runbook.name).await.ok()?;
        why(execution, found.as_ref())
    }

    /// The same as the watch has told.
    fn told_lowered(&self, execution: &RunbookExecution) -> Option<&'static str> {
        let phase = execution.status.as_ref()?.phase;
        let runbooks = &self.dispatcher.runbooks;
        if !matches!(phase, Phase::Running | Phase::Verifying)
            || !matches!(runbooks.wait_until_ready().now_or_never(), Some(Ok(())))
        {
            return None;
        }
        let at = ObjectRef::new(&execution.spec.runbook.name).within(&execution.namespace()?);
        why(execution, runbooks.get(&at).as_deref())
    }

    /// Those under way that end for that.
    fn all_lowered(&self) -> Vec<ObjectRef<Kept>> {
        let under_way = |kept: &Arc<Kept>| matches!(kept.phase, Some(Phase::Running | Phase::Verifying));
        let all = self.all.state().into_iter().filter(under_way);
        all.filter(|kept| kept.whole().is_ok_and(|execution| self.told_lowered(&execution).is_some()))
            .map(|kept| ObjectRef::from_obj(&*kept))
            .collect()
    }
}

/// Speaks of runs that wait, for an hour perhaps, and end because their runbook was turned off.
pub(super) fn turned_off(executor: Arc<Executor>) -> impl Stream<Item = ObjectRef<Kept>> + Send + 'static {
    let ticks = tokio::time::interval(LOOK);
    let looked = futures::stream::unfold((ticks, executor), |(mut ticks, executor)| async move {
        ticks.tick().await;
        Some((futures::stream::iter(executor.all_lowered()), (ticks, executor)))
    });
    looked.flatten()
}

fn why(execution: &RunbookExecution, found: Option<&Guarded>) -> Option<&'static str> {
    let is_same = |found: &&Guarded| {
        found.uid().as_ref() == Some(&execution.spec.runbook.uid)
            // One that is being deleted does not come back.
            && found.meta().deletion_timestamp.is_none()
    };
    let now = match found.filter(is_same) {
        None => None,
        Some(found) => Some(found.0.as_ref().ok()?.spec.mode.unwrap_or_default()),
    };
    lowered(execution.spec.mode, now)
}
