//! Which rights a runbook's ServiceAccount lacks, all at once: what a refusal of the API server names is the first of them.

use std::{collections::BTreeSet, fmt};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview,
    SubjectAccessReviewSpec,
};
use kube::{Api, Client, api::PostParams};
use plimsoll_api::execution::Evidence;
use plimsoll_runbook::{
    Model,
    parameters::Values,
    plan::{Planned, plan},
    requests::{self, Call, Right, Run, Server, rules},
};

use super::assumed;
use crate::{
    actions::account,
    refusals::{self, chain},
};

/// So many rights are asked about at the same time.
const AT_ONCE: usize = 8;

/// Whom the API server is asked.
pub enum Asks {
    /// The account itself, by a client that is it.
    Account(Client),
    /// Somebody about the account, which takes the right to review others'.
    About {
        /// By this client.
        client: Client,
        /// The account's namespace.
        namespace: String,
        /// Its name.
        account: String,
    },
}

/// Rights that an account lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    /// Those that it lacks.
    pub rights: BTreeSet<Right>,
    /// Those that it lacks unless it has them for the one object that only the cluster knows.
    pub perhaps: BTreeSet<Right>,
}

impl Asks {
    /// Which of these rights are lacking.
    ///
    /// # Errors
    /// When it cannot be asked, in words.
    pub async fn lacking(&self, needs: &BTreeSet<Right>) -> Result<Lacking, String> {
        let mut answers = stream::iter(needs.iter().cloned())
            .map(|right| async move { (self.may(&right).await, right) })
            .buffered(AT_ONCE);
        let mut lacking = Lacking::default();
        while let Some((may, right)) = answers.next().await {
            match may {
                Ok(true) => {}
                Ok(false) if right.named => _ = lacking.rights.insert(right),
                Ok(false) => _ = lacking.perhaps.insert(right),
                Err(error) => return Err(chain(&error)),
            }
        }
        Ok(lacking)
    }

    async fn may(&self, right: &Right) -> Result<bool, kube::Error> {
        let resource_attributes = Some(attributes(right));
        let status = match self {
            Self::Account(client) => {
                let spec =
                    SelfSubjectAccessReviewSpec { resource_attributes, ..SelfSubjectAccessReviewSpec::default() };
                let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
                let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
                api.create(&PostParams::default(), &review).await?.status
            }
            Self::About { client, namespace, account } => {
                // The groups that the API server gives a ServiceAccount.
                let groups = ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
                let groups = groups.into_iter().chain(["system:authenticated".to_owned()]).collect();
                let spec = SubjectAccessReviewSpec {
                    user: Some(account::user(namespace, account)),
                    groups: Some(groups),
                    resource_attributes,
                    ..SubjectAccessReviewSpec::default()
                };
                let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
                let api: Api<SubjectAccessReview> = Api::all(client.clone());
                api.create(&PostParams::default(), &review).await?.status
            }
        };
        Ok(status.is_some_and(|status| status.allowed))
    }
}

fn attributes(right: &Right) -> ResourceAttributes {
    let Right { namespace, group, resource, verb, name, named: _ } = right;
    let (resource, part) = match resource.split_once('/') {
        Some((resource, part)) => (resource, Some(part.to_owned())),
        None => (resource.as_str(), None),
    };
    ResourceAttributes {
        namespace: namespace.clone(),
        group: Some(group.clone()),
        resource: Some(resource.to_owned()),
        subresource: part,
        verb: Some((*verb).to_owned()),
        name: name.clone(),
        ..ResourceAttributes::default()
    }
}

impl Lacking {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.rights.is_empty() && self.perhaps.is_empty()
    }

    /// What to grant, in words: the rules of a Role in each namespace, and of a ClusterRole.
    pub fn grants(&self) -> Vec<String> {
        let words = |rights: &BTreeSet<Right>, note: &str| -> Vec<String> {
            let of = |(namespace, rules): (Option<String>, Vec<String>)| {
                let place = match namespace {
                    Some(namespace) => format!("a Role in namespace {namespace}"),
                    None => "a ClusterRole".to_owned(),
                };
                format!("{place}{note} with the rules {}", rules.join(", "))
            };
            rules(rights).into_iter().map(of).collect()
        };
        let mut all = words(&self.rights, "");
        all.extend(words(&self.perhaps, ", unless it has them for the object's own name,"));
        all
    }
}

/// `; ServiceAccount shop/robot lacks rights, bind it to …`: one line, for events and statuses.
pub struct Told<'l> {
    /// The account's namespace.
    pub namespace: &'l str,
    /// Its name.
    pub account: &'l str,
    /// What it lacks.
    pub lacking: &'l Lacking,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, account, lacking } = self;
        let grants = lacking.grants();
        write!(f, "ServiceAccount {namespace}/{account} lacks rights; bind it to {}", grants.join(", and to "))
    }
}

/// What all steps of a run send, those that undo a step too.
fn calls(run: &Run<'_>) -> Vec<Call> {
    // What cannot be written is told when it is to be sent.
    let calls = |calls: Result<Vec<Call>, String>| calls.unwrap_or_default();
    let of = |step| [calls(requests::of(run, step)), calls(requests::undo(run, step))];
    run.spec.steps.iter().flat_map(of).flatten().collect()
}

/// What all steps of a run need, those that undo a step too.
pub fn needs(run: &Run<'_>) -> BTreeSet<Right> {
    requests::rights(&calls(run))
}

/// Kinds of API groups that the requests of all steps are of, each with its version: `chaos-mesh.org/v1alpha1` and
/// `networkchaos`.
pub fn kinds(run: &Run<'_>) -> BTreeSet<(String, String)> {
    let calls = calls(run).into_iter().filter(|call| call.request.to == Server::Kubernetes);
    calls.filter_map(|call| kind(&call.request.path)).collect()
}

fn kind(path: &str) -> Option<(String, String)> {
    let parts: Vec<&str> = path.split('?').next()?.trim_start_matches('/').split('/').collect();
    let (group, version, plural) = match parts.as_slice() {
        ["apis", group, version, "namespaces", _, plural, ..] | ["apis", group, version, plural, ..] => {
            (group, version, plural)
        }
        _ => return None,
    };
    Some((format!("{group}/{version}"), (*plural).to_owned()))
}

/// A run that is planned and not made: its requests are at no time, and of no UID.
pub fn run<'p>(planned: &'p Planned, namespace: &'p str) -> Run<'p> {
    let at = Timestamp::UNIX_EPOCH;
    Run { namespace, name: &planned.name, uid: "", created: at, begun: at, first: at, spec: &planned.spec }
}

/// What a run needs that is planned: also the right to look its objects up.
pub fn all(planned: &Planned, namespace: &str) -> BTreeSet<Right> {
    let mut all = requests::rights(&requests::reads(&planned.spec.objects, &planned.spec.steps));
    all.extend(needs(&run(planned, namespace)));
    all
}

/// What an account lacks of all that it needs, said after the words of an API server that has refused the first of it;
/// those words alone where they are of something else, or it cannot be asked.
pub async fn explained(
    account: &Client,
    (namespace, name): (&str, &str),
    needs: impl FnOnce() -> BTreeSet<Right>,
    refusal: String,
) -> String {
    if !refusals::is_of(&refusal, &account::user(namespace, name)) {
        return refusal;
    }
    match Asks::Account(account.clone()).lacking(&needs()).await {
        Ok(lacking) if !lacking.is_empty() => {
            format!("{refusal}; {}", Told { namespace, account: name, lacking: &lacking })
        }
        _ => refusal,
    }
}

/// That a ServiceAccount may not look at an object, with all else that it lacks for the runbook. What the objects would be like
/// is assumed: nobody may look.
pub async fn unseen(client: &Client, model: &Model, evidence: Evidence, values: &Values, refusal: String) -> String {
    let (namespace, name) = (&model.namespace, &model.service_account_name);
    let objects = values.lookups.iter().map(|lookup| assumed::object(model, lookup, &values.values)).collect();
    let settings = assumed::settings(model);
    let Ok(planned) = plan(model, &settings, evidence, &values.values, objects, None) else { return refusal };
    let Ok(account) = account::client(client, namespace, name, None) else { return refusal };
    explained(&account, (namespace, name), || all(&planned, namespace), refusal).await
}
