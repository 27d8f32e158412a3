//! What a run would find in a cluster: the questions that the operator asks before it starts one, asked by whoever wants to
//! know, with that person's own rights, and nothing made or changed. What is planned, guarded and sent is decided where the
//! operator has it decided.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::{authentication::v1::SelfSubjectReview, core::v1::ServiceAccount};
use kube::{Api, Client, Resource as _, ResourceExt, api::PostParams, core::DeserializeGuard};
use plimsoll_api::{
    Runbook, RunbookExecution, Slo,
    conditions::READY,
    execution::{ObjectRef, Phase},
};
use plimsoll_runbook::{
    Model,
    guards::{Circumstances, Guard, Refusal, check},
    matching::Occurrence,
    parameters::{Values, queries},
    plan::{Planned, Settings},
    requests::{found, query_request},
};

use super::{
    assumed,
    begin::recall,
    circumstances::{self, Listed},
    ledger::target_of,
    lookup::{self, LookupError},
    proof::{AUTHOR, Author},
    queried::Queried,
    read::{entries, get, text},
    rights::{self, Asks, Lacking},
    sources,
    state::PAUSED,
    switch::Switch,
};
use crate::{
    actions::{Outside, account},
    operator::metrics::Metrics,
    refusals,
};

/// A cluster, as one person sees it.
pub struct Cluster {
    /// A client that is this person.
    pub client: Client,
    /// The Prometheus that may be asked, if any.
    pub outside: Outside,
    /// The operator's namespace.
    pub operator_namespace: String,
    /// Who asks.
    pub me: Author,
}

/// A runbook of a file beside what the cluster has under its name.
pub struct Rehearsal<'c> {
    cluster: &'c Cluster,
    /// As the file says it, with the UID of the stored one.
    pub model: Model,
    /// What is stored.
    pub stored: Stored,
    author: Author,
}

/// What a cluster has of a runbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Nothing.
    Not,
    /// The same; why it could not be started now, as the operator says.
    Same(Option<String>),
    /// Another content.
    Other,
    /// It cannot be read; why.
    Unread(String),
}

/// The objects of a run.
pub struct Looked {
    /// Each with its facts.
    pub objects: Vec<ObjectRef>,
    /// As whom they were looked up, when it is not the runbook's account; why not.
    pub instead: Option<String>,
    /// Why whoever asks may not look at them either, as the API server says it: what they are like is assumed then.
    pub unread: Option<String>,
}

/// What the guards say.
#[derive(Debug, Default)]
pub struct Guarded {
    /// What started it, where that does not hold any more.
    pub gone: Option<String>,
    /// Those that hold it back.
    pub refusals: Vec<Refusal>,
    /// What could not be asked here; the operator asks it itself.
    pub unknown: Vec<String>,
}

impl Cluster {
    /// As the user that a client is.
    ///
    /// # Errors
    /// When the API server does not say who that is.
    pub async fn new(client: Client, outside: Outside, operator_namespace: String) -> anyhow::Result<Self> {
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
        let me = review.status.and_then(|status| status.user_info).unwrap_or_default();
        let me = Author {
            username: me.username.unwrap_or_default(),
            groups: me.groups.unwrap_or_default(),
            seal: String::new(),
        };
        Ok(Self { client, outside, operator_namespace, me })
    }

    /// Asks the Prometheus that was given, if any, for something that every one answers.
    ///
    /// # Errors
    /// When it does not answer so, with the cause.
    pub async fn prometheus_answers(&self) -> anyhow::Result<()> {
        if self.outside.prometheus.is_none() {
            return Ok(());
        }
        let request = query_request("vector(1)");
        let answer = self.outside.send(&request, &request.path, None).await?;
        let read = serde_json::from_slice(&answer.body).ok().and_then(|answer| found(&answer).ok());
        anyhow::ensure!(read.is_some(), "it answers with status {}, and not as Prometheus does", answer.code);
        Ok(())
    }

    /// A runbook beside what is stored under its name.
    pub async fn rehearse(&self, model: &Model) -> Rehearsal<'_> {
        let mut model = model.clone();
        let api: Api<DeserializeGuard<Runbook>> = Api::namespaced(self.client.clone(), &model.namespace);
        let found = match api.get_opt(&model.name).await {
            Ok(found) => found,
            Err(error) => {
                let stored = Stored::Unread(refusals::chain(&error));
                return Rehearsal { cluster: self, model, stored, author: self.me.clone() };
            }
        };
        let Some(found) = found else {
            return Rehearsal { cluster: self, model, stored: Stored::Not, author: self.me.clone() };
        };
        // What is written over it keeps its UID, and with that its history.
        model.uid = found.uid().unwrap_or_default();
        model.generation = found.meta().generation.unwrap_or_default();
        let valid = found.0.as_ref().ok().and_then(|found| Some((found, plimsoll_runbook::validate(found).ok()?)));
        let same = valid.filter(|(_, valid)| valid.model == model).map(|(found, _)| found);
        // Whoever writes another content is its author.
        let noted = same.and_then(|found| serde_json::from_str(found.annotations().get(AUTHOR)?).ok());
        let stored = same.map_or(Stored::Other, |found| Stored::Same(unready(found)));
        Rehearsal { cluster: self, model, stored, author: noted.unwrap_or_else(|| self.me.clone()) }
    }
}

/// The same as if whoever asks could read all of it.
fn all_read(around: &Circumstances, execution: &RunbookExecution) -> Circumstances {
    let mut all = around.clone();
    all.paused.get_or_insert(false);
    all.history.get_or_insert_default();
    all.same_target.get_or_insert_default();
    all.same_workload.get_or_insert_default();
    all.slos.get_or_insert_default();
    for (_, there) in &mut all.verifies {
        there.get_or_insert(true);
    }
    all.author_may.get_or_insert(true);
    all.asker_may.get_or_insert(true);
    all.target.get_or_insert_with(|| target_of(execution).map(|target| target.facts.clone()));
    all
}

/// Why the operator would not start a runbook now; that all are paused is a guard's to say.
fn unready(runbook: &Runbook) -> Option<String> {
    let ready = runbook.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == READY)?;
    (ready.status == "False").then(|| format!("{}: {}", ready.reason, ready.message))
}

impl Rehearsal<'_> {
    /// Somebody who asks for it by hand: whoever asks now.
    pub fn by_hand(&self, now: Timestamp) -> Occurrence {
        let Author { username, groups, .. } = &self.cluster.me;
        Occurrence::Asked { id: String::new(), by: username.clone(), groups: groups.clone(), at: now }
    }

    /// The runbooks that whatever an alert is of names; none where this one does not ask.
    ///
    /// # Errors
    /// When it cannot be read, in words.
    pub async fn named_by(&self, labels: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
        match sources::source_of(labels).filter(|_| sources::asks_who_names(&self.model)) {
            Some(at) => sources::names_of(&self.cluster.client, &at).await,
            None => Ok(Vec::new()),
        }
    }

    /// Values given by hand, and those that queries pick now.
    ///
    /// # Errors
    /// When Prometheus does not say, in words.
    pub async fn given(&self, given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
        let mut all = given.clone();
        let queried = Queried::default();
        for (parameter, query) in queries(&self.model, given) {
            let picked = queried.pick(&self.cluster.outside, &self.model, (parameter, query), None).await;
            let picked = picked.map_err(|error| error.to_string())?;
            all.extend(picked.map(|value| (parameter.name.clone(), value)));
        }
        Ok(all)
    }

    /// The objects, looked up as the runbook's account, and else as whoever asks. What nobody of both may look at is
    /// assumed: the operator may look at it.
    ///
    /// # Errors
    /// When one is not there, or cannot be read.
    pub async fn look_up(&self, values: &Values) -> Result<Looked, LookupError> {
        let Model { namespace, service_account_name: name, steps, .. } = &self.model;
        let account = account::client(&self.cluster.client, namespace, name, None)
            .map_err(|error| LookupError::Failed("serviceAccountName".to_owned(), error.to_string()))?;
        let why = match lookup::all(&account, &values.lookups, steps).await {
            Ok(objects) => return Ok(Looked { objects, instead: None, unread: None }),
            Err(LookupError::NotAllowed(_, message)) => message,
            Err(error) => return Err(error),
        };
        let me = &self.cluster.me.username;
        let why = match refusals::impersonation(&why, namespace, name) {
            Some(_) => format!("{me} may not act as ServiceAccount {namespace}/{name}"),
            None => why,
        };
        match lookup::all(&self.cluster.client, &values.lookups, steps).await {
            Ok(objects) => Ok(Looked { objects, instead: Some(format!("looked up as {me}: {why}")), unread: None }),
            Err(error @ LookupError::NotAllowed(..)) => {
                let assumed = |lookup| assumed::object(&self.model, lookup, &values.values);
                let objects = values.lookups.iter().map(assumed).collect();
                Ok(Looked { objects, instead: Some(why), unread: Some(error.to_string()) })
            }
            Err(error) => Err(error),
        }
    }

    /// What the operator's configuration would have to say is assumed, but for its namespace.
    pub fn settings(&self) -> Settings {
        Settings { operator_namespace: self.cluster.operator_namespace.clone(), ..assumed::settings(&self.model) }
    }

    /// An execution that is there already, and what became of it.
    pub async fn already(&self, planned: &Planned) -> Option<Phase> {
        let api: Api<RunbookExecution> = Api::namespaced(self.cluster.client.clone(), &self.model.namespace);
        let mut found = api.get_opt(&planned.name).await.ok()??;
        recall(&mut found);
        Some(found.status.map(|status| status.phase).unwrap_or_default())
    }

    /// What the guards say now; `unread`: why nobody could look at the objects.
    pub async fn guards(&self, planned: &Planned, unread: Option<&str>, now: Timestamp) -> Guarded {
        let Cluster { client, outside, operator_namespace, me } = self.cluster;
        let (model, spec) = (&self.model, &planned.spec);
        let namespace = model.namespace.as_str();
        let mut execution = RunbookExecution::new(&planned.name, spec.clone());
        execution.metadata.namespace = Some(namespace.to_owned());
        let switch = Switch::new(client.clone(), operator_namespace, Metrics::new());
        let slos = async {
            let chaos = spec.steps.iter().any(|step| step.action.chaos.is_some());
            if chaos { circumstances::slos(client, outside, spec, namespace).await } else { Some(Vec::new()) }
        };
        let asker_may = async {
            match spec.trigger.requested_by {
                Some(_) => self.may(me).await,
                None => Some(true),
            }
        };
        let (paused, listed, slos, mut verifies, author_may, asker_may, holds) = tokio::join!(
            switch.paused(),
            // Only the operator knows the key of its seals.
            circumstances::listed(client, None, &execution),
            slos,
            circumstances::verifies(client, outside, &execution, namespace),
            self.may(&self.author),
            asker_may,
            circumstances::holds(outside, &execution),
        );
        // Who may not read the switch reads what the operator says of it.
        let paused = match paused {
            Some(paused) => Some(paused),
            None => self.says_paused().await,
        };
        let (history, same_target, same_workload) = match listed {
            Some(Listed { history, same_target, same_workload }) => {
                (Some(history), Some(same_target), Some(same_workload))
            }
            None => (None, None, None),
        };
        let mut guarded = Guarded::default();
        if outside.prometheus.is_none() {
            self.without_prometheus(&mut verifies, &mut guarded).await;
        }
        let around = Circumstances {
            paused,
            mode: Some(Some(model.mode)),
            history,
            same_target,
            same_workload,
            slos,
            verifies,
            author_may,
            other_author: None,
            asker_may,
            // They were looked at a moment ago.
            target: unread.is_none().then(|| target_of(&execution).map(|target| target.facts.clone())),
        };
        match (holds, &spec.trigger.condition) {
            (Some(false), Some(condition)) => guarded.gone = Some(condition.clone()),
            (None, Some(condition)) if outside.prometheus.is_none() => {
                guarded.unknown.push(format!("whether it still holds: {condition}"));
            }
            // The operator asks the same.
            (None, Some(condition)) => {
                let message = format!("Prometheus does not say whether it still holds: {condition}");
                guarded.refusals.push(Refusal { guard: Guard::NotKnown, message, until: None });
            }
            _ => {}
        }
        let asked = |around: &Circumstances| check(spec, &model.safety, &self.settings(), around, now);
        // What would not be known either if whoever asks could read everything is not known to the operator.
        let whatever_i_may = asked(&all_read(&around, &execution));
        for refusal in asked(&around) {
            match refusal.guard {
                Guard::NotKnown if whatever_i_may.contains(&refusal) => guarded.refusals.push(refusal),
                Guard::NotKnown => guarded.unknown.push(refusal.message),
                Guard::Paused if paused.is_none() => guarded.unknown.push(refusal.message),
                Guard::Paused => {
                    let message = switch.words().unwrap_or(refusal.message);
                    guarded.refusals.push(Refusal { message, ..refusal });
                }
                _ => guarded.refusals.push(refusal),
            }
        }
        guarded.unknown.extend(unread.map(|why| format!("what the objects are like, so it is assumed here: {why}")));
        guarded
    }

    /// SLOs of verifications that are no objects, where nobody can say whether Prometheus records them.
    async fn without_prometheus(&self, verifies: &mut [(String, Option<bool>)], guarded: &mut Guarded) {
        let slos: Api<DeserializeGuard<Slo>> = Api::namespaced(self.cluster.client.clone(), &self.model.namespace);
        for (slo, there) in verifies.iter_mut().filter(|(_, there)| there.is_none()) {
            if matches!(slos.get_opt(slo).await, Ok(None)) {
                let message = format!(
                    "there is no SLO {slo} in the runbook's namespace; whether Prometheus has a burn rate of it was not asked: give --prometheus"
                );
                guarded.refusals.push(Refusal { guard: Guard::NotKnown, message, until: None });
                *there = Some(true);
            }
        }
    }

    /// Kinds of the requests that the cluster has not, as `networkchaos of chaos-mesh.org/v1alpha1`. What discovery does
    /// not say is left out.
    pub async fn unknown_kinds(&self, planned: &Planned) -> Vec<String> {
        let mut of_groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (version, plural) in rights::kinds(&rights::run(planned, &self.model.namespace)) {
            of_groups.entry(version).or_default().insert(plural);
        }
        let mut unknown = Vec::new();
        for (version, plurals) in of_groups {
            let known = match get(&self.cluster.client, &format!("/apis/{version}")).await {
                Ok(known) => known.unwrap_or_default(),
                Err(_) => continue,
            };
            let is_known = |plural: &str| entries(&known, "/resources").any(|one| text(one, "/name") == plural);
            let lacking = plurals.into_iter().filter(|plural| !is_known(plural));
            unknown.extend(lacking.map(|plural| format!("{plural} of {version}")));
        }
        unknown
    }

    /// Whether all runbooks are paused, as the operator says on the stored one.
    async fn says_paused(&self) -> Option<bool> {
        let api: Api<DeserializeGuard<Runbook>> = Api::namespaced(self.cluster.client.clone(), &self.model.namespace);
        let found = api.get_opt(&self.model.name).await.ok()??.0.ok()?;
        let ready = found.status?.conditions.into_iter().find(|condition| condition.type_ == READY)?;
        Some(ready.reason == PAUSED)
    }

    /// Whether somebody may use the ServiceAccount, which must exist.
    async fn may(&self, who: &Author) -> Option<bool> {
        let Cluster { client, me, .. } = self.cluster;
        let Model { namespace, service_account_name: account, .. } = &self.model;
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        if matches!(accounts.get_opt(account).await, Ok(None)) {
            return Some(false);
        }
        // Of oneself everybody may ask.
        if who.username == me.username {
            circumstances::i_may(client, namespace, account).await
        } else {
            circumstances::may_impersonate(client, who, namespace, account).await
        }
    }

    /// What the runbook's account lacks of all that the run needs; of what was read as it, nothing.
    ///
    /// # Errors
    /// When it cannot be asked, in words.
    pub async fn lacking(&self, planned: &Planned, instead: bool) -> Result<Lacking, String> {
        let client = &self.cluster.client;
        let Model { namespace, service_account_name: name, .. } = &self.model;
        let needs =
            if instead { rights::all(planned, namespace) } else { rights::needs(&rights::run(planned, namespace)) };
        let account = account::client(client, namespace, name, None).map_err(|error| error.to_string())?;
        let why = match Asks::Account(account).lacking(&needs).await {
            Ok(lacking) => return Ok(lacking),
            Err(why) => why,
        };
        // Who may not be the account may be allowed to ask about it.
        let about = Asks::About { client: client.clone(), namespace: namespace.clone(), account: name.clone() };
        about.lacking(&needs).await.map_err(|_| why)
    }
}

#[cfg(test)]
#[path = "rehearsal_tests.rs"]
mod tests;
