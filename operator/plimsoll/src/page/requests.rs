//! What the steps of an execution would send, for whoever reads a dry run or decides about one.

use jiff::Timestamp;
use plimsoll_api::RunbookExecution;
use plimsoll_page::runs::{Run, Sent};
use plimsoll_runbook::requests::{self, Call};

/// The view of an execution, with its requests where they are what is of interest.
pub(super) fn shown(namespace: &str, name: &str, execution: &RunbookExecution) -> Run {
    let view = Run::new(namespace, name, execution);
    if !view.wants_requests() {
        return view;
    }
    let meta = &execution.metadata;
    let status = execution.status.as_ref();
    let created = meta.creation_timestamp.as_ref().map_or_else(Timestamp::now, |time| time.0);
    let begun = status.and_then(|status| status.started_at.as_ref()).map_or(created, |time| time.0);
    let run = requests::Run {
        namespace,
        name,
        uid: meta.uid.as_deref().unwrap_or_default(),
        created,
        begun,
        first: begun,
        spec: &execution.spec,
    };
    view.with_requests(|name| {
        let Some(step) = execution.spec.steps.iter().find(|step| step.name == name) else { return Default::default() };
        // What cannot be made a request is shown as it is written.
        [requests::of(&run, step), requests::undo(&run, step)].map(|calls| sent(calls.unwrap_or_default()))
    })
}

fn sent(calls: Vec<Call>) -> Vec<Sent> {
    let one = |Call { what, request, .. }: Call| Sent {
        request: request.to_string(),
        body: request.body.as_ref().map(ToString::to_string),
        what,
    };
    calls.into_iter().map(one).collect()
}
