//! Deciding about an execution as a user: through the API alone, with nothing but that user's rights.

use std::time::Duration;

use anyhow::{Context as _, bail};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{api::authentication::v1::SelfSubjectReview, apimachinery::pkg::apis::meta::v1::Time};
use kube::{Api, Client, Resource as _, api::PostParams};
use plimsoll_api::{RunbookApproval, RunbookApprovalSpec, RunbookExecution, approval::Decision, execution::Phase};
use plimsoll_runbook::names;

use super::begin::recall;

/// The operator judges within two seconds.
const SOON: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(500);

/// A decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Namespace of the execution.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The hash of the spec that the decider has seen; none where it is the one of now.
    pub spec_hash: Option<String>,
    /// Approve or Deny.
    pub decision: Decision,
    /// Why.
    pub reason: Option<String>,
    /// How many minutes it is valid.
    pub minutes: u16,
}

/// Stores a decision as the user that the client is, and waits until the operator has judged it; gives the user's name.
///
/// # Errors
/// When nothing is to be decided, the user may not, or the decision is void; says why.
pub async fn send(client: &Client, verdict: &Verdict) -> anyhow::Result<String> {
    let Verdict { namespace, name, spec_hash, decision, reason, minutes } = verdict;
    let execution = find(client, namespace, name).await?;
    let status = execution.status.clone().unwrap_or_default();
    if status.phase != Phase::AwaitingApproval {
        bail!("execution {name} is {}, so there is nothing to decide", status.phase.name());
    }
    let hash = match spec_hash {
        Some(seen) => seen.clone(),
        None => status.spec_hash.context("the execution has no specHash yet; try again")?,
    };
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await.context("who you are")?;
    let me = review
        .status
        .and_then(|status| status.user_info?.username)
        .context("the API server does not say who you are")?;
    let word = if *decision == Decision::Approve { "approve" } else { "deny" };
    let now = Timestamp::now();
    let expires = now.checked_add(SignedDuration::from_mins(i64::from(*minutes)))?;
    let stored = names::of_step(&format!("{name}/{me}/{now}"), word);
    let spec = RunbookApprovalSpec {
        execution: name.clone(),
        spec_hash: hash,
        decision: *decision,
        reason: reason.clone(),
        expires: Time(expires),
        decider: me.clone(),
    };
    let approvals: Api<RunbookApproval> = Api::namespaced(client.clone(), namespace);
    let mut approval = RunbookApproval::new(&stored, spec);
    // It goes with what it is about.
    approval.metadata.owner_references = execution.owner_ref(&()).map(|owner| vec![owner]);
    approvals.create(&PostParams::default(), &approval).await.context("the decision")?;
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let judged = approvals.get(&stored).await.context("the decision")?;
        let conditions = judged.status.unwrap_or_default().conditions;
        if let Some(condition) = conditions.first() {
            if condition.status == "True" {
                return Ok(me);
            }
            bail!("the decision is void: {}", condition.message);
        }
        if tokio::time::Instant::now() >= deadline {
            bail!("the decision is stored as RunbookApproval {stored}, and the operator has not judged it yet");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An execution.
///
/// # Errors
/// When it cannot be read, or there is none of the name.
pub async fn find(client: &Client, namespace: &str, name: &str) -> anyhow::Result<RunbookExecution> {
    let api: Api<RunbookExecution> = Api::namespaced(client.clone(), namespace);
    let mut found = api.get_opt(name).await.with_context(|| format!("execution {namespace}/{name}"))?;
    found.iter_mut().for_each(recall);
    found.with_context(|| {
        format!("there is no RunbookExecution {name} in namespace {namespace}; plimsoll runbook list -A lists all")
    })
}
