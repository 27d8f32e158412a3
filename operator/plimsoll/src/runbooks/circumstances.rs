//! What the guards ask: gathered from the API server for each check, so that no memory can be wrong or lost. Only runs that
//! change nothing share what one of them asked a moment ago.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::join_all};
use jiff::Timestamp;
use k8s_openapi::api::{
    authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
        SubjectAccessReviewSpec,
    },
    core::v1::ServiceAccount,
};
use kube::{
    Api, Client, Resource as _, ResourceExt,
    api::{ListParams, PostParams},
    core::DeserializeGuard,
};
use plimsoll_api::{
    Runbook, RunbookExecution, RunbookExecutionSpec, Slo,
    conditions::{self, BURNING},
    execution::Facts,
    gate::Verify,
};
use plimsoll_runbook::{
    Model,
    guards::{self, Circumstances, Guard, Past, Refusal, SloNow, changes_nothing, check},
    matching, names,
    plan::Settings,
    requests::{self, query_request},
};
use plimsoll_slo::{names as series, promql::quote};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Execution,
    dispatch::{Dispatcher, Known, WRITTEN_BY},
    facts::{self, Wanted},
    ledger::{self, Ledger, target_of},
    lookup,
    proof::{Author, Sealer},
    read::{entries, readable, text},
    recent::Answers,
};
use crate::actions::{Outside, account};

/// Runs that change nothing share what was asked so long ago: a right that is withdrawn, or a mode that becomes Off, is
/// seen by them so much later. For every other run it is asked anew.
const SHARED: Duration = Duration::from_secs(1);
/// Answers that are shared.
const MOST: usize = 1000;

/// A runbook as it is now: `Some(None)` when it is gone, `None` when it cannot be known.
type Now = Option<Option<Arc<Known>>>;

/// Asks what guards must know.
pub struct Asker {
    client: Client,
    dispatcher: Arc<Dispatcher>,
    rights: Answers<Option<bool>>,
    runbooks: Answers<Now>,
}

impl Asker {
    /// By this client, of what the dispatcher knows.
    pub fn new(client: Client, dispatcher: Arc<Dispatcher>) -> Self {
        Self { client, dispatcher, rights: Answers::new(SHARED, MOST), runbooks: Answers::new(SHARED, MOST) }
    }

    /// What is known of a run's surroundings at the moment, but for what the [`Ledger`] knows. `known` is the runbook as
    /// the watch has told it; `seen` is when the objects of a run that was just planned were looked at.
    ///
    /// Everything is asked at once: who may do what is asked about the author as known, and again when it is another one.
    pub async fn around(
        &self,
        execution: &RunbookExecution,
        known: Option<&Known>,
        seen: Option<Instant>,
        paused: Option<bool>,
    ) -> (Circumstances, Now) {
        let namespace = execution.namespace().unwrap_or_default();
        let spec = &execution.spec;
        let shares = changes_nothing(spec);
        let rights = async |author: Option<&Author>| match author {
            Some(author) => self.may_use(author, &namespace, &spec.service_account_name, shares).await,
            None => None,
        };
        let at_risk = async {
            // Nobody else asks for them.
            let chaos = spec.steps.iter().any(|step| step.action.chaos.is_some());
            if chaos { slos(&self.client, &self.dispatcher.outside, spec, &namespace).await } else { Some(Vec::new()) }
        };
        let verifies = verifies(&self.client, &self.dispatcher.outside, execution, &namespace);
        let target = async {
            let just_seen = shares && seen.is_some_and(|seen| seen.elapsed() < SHARED);
            match target_of(execution).filter(|_| just_seen) {
                Some(target) => Some(Some(target.facts.clone())),
                None => target(&self.client, execution, &namespace).await,
            }
        };
        // Who asked for it by hand makes it do what it does as much as who wrote it.
        let asked_by = spec.trigger.requested_by.as_ref().map(|by| Author {
            username: by.clone(),
            groups: spec.trigger.requested_groups.clone(),
            seal: String::new(),
        });
        let asker = async {
            match &asked_by {
                Some(asked_by) => may_impersonate(&self.client, asked_by, &namespace, &spec.service_account_name).await,
                None => Some(true),
            }
        };
        let expected = known.map(|known| &known.author);
        let read = self.runbook(execution, shares);
        let (runbook, guessed, asker_may, slos, verifies, target) =
            tokio::join!(read, rights(expected), asker, at_risk, verifies, target);
        let author = runbook.as_ref().and_then(Option::as_ref).map(|known| &known.author);
        let author_may = if author == expected { guessed } else { rights(author).await };
        let wrote = execution.annotations().get(WRITTEN_BY);
        let other_author = author.map(|author| &author.username).filter(|name| Some(*name) != wrote).cloned();
        let mode = runbook.as_ref().map(|known| known.as_ref().map(|known| known.model.mode));
        let around = Circumstances {
            paused,
            mode,
            author_may,
            other_author,
            asker_may,
            slos,
            verifies,
            target,
            ..Circumstances::default()
        };
        (around, runbook)
    }

    /// The runbook of an execution as it is now, or, where that is shared, as it was a moment ago.
    pub async fn runbook(&self, execution: &RunbookExecution, shares: bool) -> Now {
        let (client, dispatcher) = (self.client.clone(), Arc::clone(&self.dispatcher));
        let (namespace, reference) = (execution.namespace().unwrap_or_default(), execution.spec.runbook.clone());
        let question = format!("{namespace}/{}/{}", reference.name, reference.uid);
        let read = async move {
            let api: Api<DeserializeGuard<Runbook>> = Api::namespaced(client, &namespace);
            let found = api.get_opt(&reference.name).await.ok()?;
            let found = found.filter(|found| found.uid().as_deref() == Some(&reference.uid));
            // One that is being deleted does not come back.
            let Some(found) = found.filter(|found| found.meta().deletion_timestamp.is_none()) else {
                return Some(None);
            };
            dispatcher.know(&found).ok().map(Some)
        };
        if shares {
            self.runbooks.ask(&question, || read.boxed(), |now| matches!(now, Some(Some(_)))).await
        } else {
            read.await
        }
    }

    async fn may_use(&self, author: &Author, namespace: &str, account: &str, shares: bool) -> Option<bool> {
        if !shares {
            return may_use(&self.client, author, namespace, account).await;
        }
        let (client, author) = (self.client.clone(), author.clone());
        let (namespace, account) = (namespace.to_owned(), account.to_owned());
        let question = format!("{:?}", (&author.username, &author.groups, &namespace, &account));
        let ask = || async move { may_use(&client, &author, &namespace, &account).await }.boxed();
        self.rights.ask(&question, ask, |may| *may == Some(true)).await
    }
}

/// The guards that count, asked of the [`Ledger`] alone: what it refuses may be let go at the next check, and what it
/// lets go is asked again of the API server.
pub fn refused_already(
    ledger: &Ledger,
    execution: &RunbookExecution,
    known: &Known,
    settings: &Settings,
) -> Vec<Refusal> {
    let page = ledger.page();
    let history = page.history(execution, Vec::new());
    let others = page.same_workload(execution, Vec::new());
    drop(page);
    refused_by_count(&execution.spec, &known.model, settings, history, others)
}

/// What the guards refuse that only count other executions: of the runbook, and those that take Pods of the same workload.
pub fn refused_by_count(
    spec: &RunbookExecutionSpec,
    model: &Model,
    settings: &Settings,
    history: Vec<Past>,
    same_workload: Vec<Past>,
) -> Vec<Refusal> {
    let around = Circumstances {
        paused: Some(false),
        mode: Some(Some(model.mode)),
        history: Some(history),
        same_target: Some(Vec::new()),
        same_workload: Some(same_workload),
        author_may: Some(true),
        asker_may: Some(true),
        ..Circumstances::default()
    };
    let asked = [Guard::Budget, Guard::MaxConcurrent, Guard::Cooldown, Guard::CircuitBreaker, Guard::MaxTargets];
    let mut refusals = check(spec, &model.safety, settings, &around, Timestamp::now());
    refusals.retain(|refusal| asked.contains(&refusal.guard));
    refusals
}

/// Other executions, listed anew.
#[derive(Debug, Default)]
pub struct Listed {
    /// Those of the same runbook.
    pub history: Vec<Past>,
    /// Those that act upon the same target now.
    pub same_target: Vec<String>,
    /// Those that take Pods of the same workload now.
    pub same_workload: Vec<Past>,
}

/// Lists them; `None` when they cannot be. Without a sealer those that began with their making count once a status says so.
pub async fn listed(client: &Client, sealer: Option<&Sealer>, execution: &RunbookExecution) -> Option<Listed> {
    let counted = |other: &RunbookExecution| ledger::counted(sealer, other);
    let list = async |api: Api<Execution>, params: ListParams| {
        let mut all = readable(&api, &params).await.ok()?;
        all.retain(|other| other.uid() != execution.uid());
        Some(all)
    };
    let namespace = execution.namespace().unwrap_or_default();
    let own = Api::namespaced(client.clone(), &namespace);
    let of_runbook = format!("{}={}", names::RUNBOOK_UID, execution.spec.runbook.uid);
    let target = target_of(execution);
    let takes = guards::takes(&execution.spec) != Some(guards::Hits::default());
    let workload = target.filter(|_| takes).and_then(guards::workload);
    let around = async {
        let holds = guards::holds(&execution.spec);
        if holds.is_empty() {
            return Some((Vec::new(), Vec::new()));
        }
        // Executions bear the label of their target alone, and not of its workload or of what they measure more closely.
        let is_target_alone = workload.is_none()
            && target.is_some_and(|target| {
                !guards::can_be_measured(target.kind) && holds.iter().all(|uid| *uid == target.uid)
            });
        let params = match target.filter(|_| is_target_alone) {
            Some(target) => ListParams::default().labels(&format!("{}={}", names::TARGET_UID, target.uid)),
            None => ListParams::default(),
        };
        let all = list(Api::all(client.clone()), params).await?;
        let same = all.iter().filter(|other| !guards::holds(&other.spec).is_disjoint(&holds)).filter_map(counted);
        let same_target = same.filter(ledger::acts).map(|past| past.name).collect();
        let mut same_workload: Vec<Past> = all.iter().filter_map(counted).filter(ledger::takes).collect();
        same_workload.retain(|past| past.workload_uid.as_deref().is_some_and(|uid| Some(uid) == workload));
        Some((same_target, same_workload))
    };
    let (history, around) = tokio::join!(list(own, ListParams::default().labels(&of_runbook)), around);
    let (same_target, same_workload) = around?;
    Some(Listed { history: history?.iter().filter_map(counted).collect(), same_target, same_workload })
}

/// The SLOs that a run of a namespace may endanger: that namespace's, and those of the namespaces that its faults hit.
/// Whether one burns, its status says some time later, and as last known while Prometheus does not answer: so Prometheus
/// is asked as well, and without its answer no SLO is known not to burn.
pub async fn slos(client: &Client, outside: &Outside, spec: &RunbookExecutionSpec, own: &str) -> Option<Vec<SloNow>> {
    let others = guards::fault_namespaces(spec).into_iter().filter(|namespace| *namespace != own);
    let namespaces: Vec<&str> = [own].into_iter().chain(others).collect();
    let stored = join_all(namespaces.iter().map(|namespace| async move {
        let mut slos = slos_of(client, namespace).await?;
        if *namespace != own {
            slos.iter_mut().for_each(|slo| slo.namespace = Some((*namespace).to_owned()));
        }
        Some(slos)
    }));
    let (stored, firing) = tokio::join!(stored, firing(outside, &namespaces, spec.traceparent.as_deref()));
    let mut all = stored.into_iter().collect::<Option<Vec<_>>>()?.concat();
    for slo in &mut all {
        let id = format!("{}/{}", slo.namespace.as_deref().unwrap_or(own), slo.name);
        match &firing {
            Firing::These(ids) if ids.contains(&id) => slo.burning = Some(true),
            Firing::NotKnown => slo.burning = slo.burning.filter(|burning| *burning),
            Firing::These(_) | Firing::NotAsked => {}
        }
    }
    Some(all)
}

/// What Prometheus answers to a query; `None` where it does not.
async fn answer(outside: &Outside, query: &str, traceparent: Option<&str>) -> Option<Value> {
    let request = query_request(query);
    let answer = outside.send(&request, &request.path, traceparent).await.ok()?;
    serde_json::from_slice(&answer.body).ok()
}

/// The SLOs whose alerts fire, as Prometheus says.
enum Firing {
    These(HashSet<String>),
    NotKnown,
    /// The operator knows no Prometheus, so no status says anything either.
    NotAsked,
}

async fn firing(outside: &Outside, namespaces: &[&str], traceparent: Option<&str>) -> Firing {
    if outside.prometheus.is_none() {
        return Firing::NotAsked;
    }
    // A namespace's name has nothing that a regular expression reads otherwise.
    let ids = quote(&format!("({})/.+", namespaces.join("|")));
    let burn = quote(series::ALERT_BURN);
    let query = format!("ALERTS{{alertname={burn},alertstate=\"firing\",{}=~{ids}}}", series::SLO_ID);
    match answer(outside, &query, traceparent).await {
        Some(answer) if requests::found(&answer).is_ok() => {
            let ids =
                entries(&answer, "/data/result").map(|series| text(series, &format!("/metric/{}", series::SLO_ID)));
            Firing::These(ids.map(str::to_owned).collect())
        }
        _ => Firing::NotKnown,
    }
}

async fn slos_of(client: &Client, namespace: &str) -> Option<Vec<SloNow>> {
    let api: Api<DeserializeGuard<Slo>> = Api::namespaced(client.clone(), namespace);
    let all = api.list(&ListParams::default()).await.ok()?;
    // Of one that cannot be read nothing is known.
    let now = |slo: &DeserializeGuard<Slo>| {
        let status = slo.0.as_ref().ok().and_then(|slo| slo.status.clone()).unwrap_or_default();
        let burning = match conditions::status(&status.conditions, BURNING) {
            Some("True") => Some(true),
            Some("False") => Some(false),
            _ => None,
        };
        SloNow { name: slo.name_any(), namespace: None, burning, budget: status.budget.as_deref().and_then(percent) }
    };
    Some(all.items.iter().map(now).collect())
}

/// The SLOs that verifications of a run name, and whether there is such a one.
pub async fn verifies(
    client: &Client,
    outside: &Outside,
    execution: &RunbookExecution,
    namespace: &str,
) -> Vec<(String, Option<bool>)> {
    let spec = &execution.spec;
    let of_steps = spec.steps.iter().filter_map(|step| step.action.verify.as_ref());
    let named: BTreeMap<&str, &Verify> = of_steps.chain(&spec.verify).map(|v| (v.slo.as_str(), v)).collect();
    let asked = named.into_iter().map(|(slo, verify)| async move {
        (slo.to_owned(), is_there(client, outside, namespace, verify, spec.traceparent.as_deref()).await)
    });
    join_all(asked).await
}

/// Whether there is the SLO of a verification: as an object of the namespace, or among what Prometheus records, since its
/// rules may come from elsewhere, such as a pipeline that writes them without an object. `None`: it cannot be known.
pub async fn is_there(
    client: &Client,
    outside: &Outside,
    namespace: &str,
    verify: &Verify,
    traceparent: Option<&str>,
) -> Option<bool> {
    let api: Api<DeserializeGuard<Slo>> = Api::namespaced(client.clone(), namespace);
    let stored = api.get_opt(&verify.slo).await.ok().map(|found| found.is_some());
    if stored == Some(true) {
        return stored;
    }
    let answer = answer(outside, &requests::verify_query(namespace, verify), traceparent).await;
    let recorded = answer.and_then(|answer| requests::found(&answer).ok());
    if recorded == Some(true) { recorded } else { stored.and(recorded) }
}

/// `61.3%` is 61, `-0.5%` is -1.
fn percent(text: &str) -> Option<i64> {
    let number: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
    number.is_finite().then(|| number.floor() as i64)
}

/// Whether somebody and the operator may use a ServiceAccount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Both may.
    Fine,
    /// There is none of the name.
    Missing,
    /// Somebody may not.
    AuthorMayNot,
    /// The operator may not, without which nothing is done.
    OperatorMayNot,
    /// It cannot be asked.
    NotKnown,
}

/// How somebody and the operator stand to a ServiceAccount.
pub async fn standing(client: &Client, author: &Author, namespace: &str, account: &str) -> Standing {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let (there, may, own) = tokio::join!(
        accounts.get_opt(account),
        may_impersonate(client, author, namespace, account),
        i_may(client, namespace, account),
    );
    match (there.ok().map(|found| found.is_some()), may, own) {
        (Some(false), ..) => Standing::Missing,
        (_, Some(false), _) => Standing::AuthorMayNot,
        (_, _, Some(false)) => Standing::OperatorMayNot,
        (Some(true), Some(true), Some(true)) => Standing::Fine,
        _ => Standing::NotKnown,
    }
}

/// Whether whoever the client is has the right to act as a ServiceAccount.
pub async fn i_may(client: &Client, namespace: &str, account: &str) -> Option<bool> {
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(acts_as(namespace, account)),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    Some(api.create(&PostParams::default(), &review).await.ok()?.status?.allowed)
}

/// The right to act as a ServiceAccount.
fn acts_as(namespace: &str, account: &str) -> ResourceAttributes {
    ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        verb: Some("impersonate".to_owned()),
        resource: Some("serviceaccounts".to_owned()),
        name: Some(account.to_owned()),
        ..ResourceAttributes::default()
    }
}

/// Whether somebody may use a ServiceAccount, which must exist; `None` when that cannot be known.
pub async fn may_use(client: &Client, author: &Author, namespace: &str, account: &str) -> Option<bool> {
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let (there, may) = tokio::join!(accounts.get_opt(account), may_impersonate(client, author, namespace, account));
    if there.ok()?.is_none() { Some(false) } else { may }
}

/// Whether somebody has the right to act as a ServiceAccount.
pub async fn may_impersonate(client: &Client, author: &Author, namespace: &str, account: &str) -> Option<bool> {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(author.username.clone()),
            groups: Some(author.groups.clone()),
            resource_attributes: Some(acts_as(namespace, account)),
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
    let answer = answer(outside, condition, spec.traceparent.as_deref()).await?;
    matching::holds(&spec.trigger, &answer).ok()
}

#[cfg(test)]
#[path = "circumstances_tests.rs"]
mod tests;
