//! What the guards ask: gathered from the API server anew for each check, so that no memory can be wrong or lost.

use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, PostParams},
    core::DeserializeGuard,
    runtime::reflector::Store,
};
use plimsoll_api::{
    RunbookExecution, RunbookExecutionSpec, Slo,
    conditions::{self, BURNING},
    execution::{Facts, ObjectRef},
    runbook::Mode,
};
use plimsoll_runbook::{
    Model,
    guards::{Circumstances, Guard, Past, Refusal, SloNow, check},
    names,
    plan::Settings,
    requests::{self, Server},
};

use super::{
    dispatch::Known,
    facts::{self, Wanted},
    lookup,
    proof::Author,
    read::text,
};
use crate::actions::{Outside, account};

/// What is known of a run's surroundings at the moment.
pub async fn gather(
    client: &Client,
    execution: &RunbookExecution,
    runbook: Option<Option<&Known>>,
    paused: Option<bool>,
) -> Circumstances {
    let namespace = execution.namespace().unwrap_or_default();
    let spec = &execution.spec;
    let mode = runbook.map(|known| known.map(|known| known.model.mode));
    let rights = async {
        match runbook {
            Some(Some(known)) => may_use(client, &known.author, &namespace, &spec.service_account_name).await,
            _ => None,
        }
    };
    let at_risk = async {
        // Nobody else asks for them.
        let chaos = spec.steps.iter().any(|step| step.action.chaos.is_some());
        if chaos { slos(client, &namespace).await } else { Some(Vec::new()) }
    };
    let (history, same_target, slos, author_may, target) = tokio::join!(
        history(client, execution, &namespace),
        same_target(client, execution),
        at_risk,
        rights,
        target(client, execution, &namespace),
    );
    Circumstances { paused, mode, history, same_target, slos, author_may, target }
}

/// The guards that count, asked of what the watch has told: it may be behind, so what it refuses may be let go at the
/// next check, and what it lets go is asked again of the API server.
pub fn refused_already(
    all: &Store<DeserializeGuard<RunbookExecution>>,
    execution: &RunbookExecution,
    known: &Known,
    settings: &Settings,
) -> Vec<Refusal> {
    let (uid, own) = (&execution.spec.runbook.uid, &execution.metadata.uid);
    // What never began counts for nothing, and there may be very many of that.
    let counts = |other: &&RunbookExecution| {
        other.status.as_ref().is_some_and(|status| status.started_at.is_some())
            && other.spec.runbook.uid == *uid
            && other.metadata.uid != *own
    };
    let state = all.state();
    let history = state.iter().filter_map(|guarded| guarded.0.as_ref().ok()).filter(counts).map(past).collect();
    refused_by_count(&execution.spec, &known.model, settings, history)
}

/// What the guards refuse that only count other executions of the runbook.
pub fn refused_by_count(
    spec: &RunbookExecutionSpec,
    model: &Model,
    settings: &Settings,
    history: Vec<Past>,
) -> Vec<Refusal> {
    let around = Circumstances {
        paused: Some(false),
        mode: Some(Some(model.mode)),
        history: Some(history),
        same_target: Some(Vec::new()),
        author_may: Some(true),
        ..Circumstances::default()
    };
    let asked = [Guard::Budget, Guard::MaxConcurrent, Guard::Cooldown, Guard::CircuitBreaker, Guard::MaxTargets];
    let mut refusals = check(spec, &model.safety, settings, &around, Timestamp::now());
    refusals.retain(|refusal| asked.contains(&refusal.guard));
    refusals
}

async fn history(client: &Client, execution: &RunbookExecution, namespace: &str) -> Option<Vec<Past>> {
    let api: Api<RunbookExecution> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("{}={}", names::RUNBOOK_UID, execution.spec.runbook.uid));
    let all = api.list(&params).await.ok()?;
    Some(all.items.iter().filter(|other| other.uid() != execution.uid()).map(past).collect())
}

/// What the guards count of an execution.
pub fn past(execution: &RunbookExecution) -> Past {
    let target = target_of(execution);
    let status = execution.status.clone().unwrap_or_default();
    Past {
        name: execution.name_any(),
        target_uid: target.map(|object| object.uid.clone()).unwrap_or_default(),
        workload_uid: target.and_then(|object| object.facts.workload_uid.clone()),
        phase: status.phase,
        started_at: status.started_at.map(|time| time.0),
        finished_at: status.finished_at.map(|time| time.0),
        real: execution.spec.mode != Mode::DryRun,
    }
}

fn target_of(execution: &RunbookExecution) -> Option<&ObjectRef> {
    let target = execution.spec.target.as_ref()?;
    execution.spec.objects.iter().find(|object| object.parameter == *target)
}

/// Executions that act upon the same target now. One that waits does not hold another one back, or both would wait for
/// ever; which of them begins is decided one after the other.
async fn same_target(client: &Client, execution: &RunbookExecution) -> Option<Vec<String>> {
    let Some(target) = target_of(execution) else { return Some(Vec::new()) };
    let api: Api<RunbookExecution> = Api::all(client.clone());
    let all = api.list(&ListParams::default().labels(&format!("{}={}", names::TARGET_UID, target.uid))).await.ok()?;
    let acts = |other: &&RunbookExecution| {
        let status = other.status.as_ref();
        other.uid() != execution.uid()
            && other.spec.mode != Mode::DryRun
            && status.is_some_and(|status| status.started_at.is_some() && !status.phase.is_terminal())
    };
    Some(all.items.iter().filter(acts).map(ResourceExt::name_any).collect())
}

/// The SLOs of a namespace.
pub async fn slos(client: &Client, namespace: &str) -> Option<Vec<SloNow>> {
    let api: Api<Slo> = Api::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default()).await.ok()?;
    let now = |slo: &Slo| {
        let status = slo.status.clone().unwrap_or_default();
        let burning = match conditions::status(&status.conditions, BURNING) {
            Some("True") => Some(true),
            Some("False") => Some(false),
            _ => None,
        };
        SloNow { name: slo.name_any(), burning, budget: status.budget.as_deref().and_then(percent) }
    };
    Some(all.items.iter().map(now).collect())
}

/// `61.3%` is 61, `-0.5%` is -1.
fn percent(text: &str) -> Option<i64> {
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    number.is_finite().then(|| number.floor() as i64)
}

/// Whether somebody may use a ServiceAccount, which must exist; `None` when that cannot be known.
pub async fn may_use(client: &Client, author: &Author, namespace: &str, account: &str) -> Option<bool> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    if accounts.get_opt(account).await.ok()?.is_none() {
        return Some(false);
    }
    may_impersonate(client, author, namespace, account).await
}

/// Whether somebody has the right to act as a ServiceAccount.
pub async fn may_impersonate(client: &Client, author: &Author, namespace: &str, account: &str) -> Option<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(author.username.clone()),
            groups: Some(author.groups.clone()),
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.to_owned()),
                verb: Some("impersonate".to_owned()),
                resource: Some("serviceaccounts".to_owned()),
                name: Some(account.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.ok()?;
    Some(answer.status?.allowed)
}

/// The target as it is now; `Some(None)` when that very object is not there any more.
async fn target(client: &Client, execution: &RunbookExecution, namespace: &str) -> Option<Option<Facts>> {
    let Some(target) = target_of(execution) else { return Some(None) };
    let spec = &execution.spec;
    let account = account::client(client, namespace, &spec.service_account_name, spec.traceparent.as_deref()).ok()?;
    let found = lookup::named(&account, target.kind, target.namespace.as_deref(), &target.name).await.ok()?;
    let Some(object) = found.filter(|object| text(object, "/metadata/uid") == target.uid) else { return Some(None) };
    facts::gather(&account, target.kind, &object, Wanted::default()).await.ok().map(Some)
}

/// Whether what started a run still holds, asked of Prometheus; `None` when it cannot be asked.
pub async fn holds(outside: &Outside, execution: &RunbookExecution) -> Option<bool> {
    let spec = &execution.spec;
    let Some(condition) = &spec.trigger.condition else { return Some(true) };
    let encoded = percent_encoding::utf8_percent_encode(condition, percent_encoding::NON_ALPHANUMERIC);
    let request = requests::Request {
        to: Server::Prometheus,
        method: "GET",
        path: format!("/api/v1/query?query={encoded}"),
        content_type: None,
        body: None,
        streams: false,
    };
    let answer = outside.send(&request, &request.path, spec.traceparent.as_deref()).await.ok()?;
    let answer = serde_json::from_slice(&answer.body).ok()?;
    requests::found(&answer).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_rounded_towards_less() {
        let cases = [("61.3%", Some(61)), ("100%", Some(100)), ("-0.5%", Some(-1)), ("-", None), ("NaN%", None)];
        for (text, wanted) in cases {
            assert_eq!(percent(text), wanted, "{text}");
        }
    }
}
