//! `plimsoll runbook test --cluster`: what a runbook would do about what happened, with the objects, guards and rights of a
//! cluster as they are now. Nothing is changed there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::Context as _;
use jiff::Timestamp;
use kube::Client;
use plimsoll_runbook::{
    Model,
    matching::{Occurrence, matches},
    plan::{Planned, plan},
    requests::{Right, rules},
};

use super::{
    report::one_line,
    runbook::{Test, done, guards, mode, parameters_of, resolved, steps},
    runbook_pause::{USUAL, operator_namespace},
};
use crate::{
    actions::{Endpoint, Outside},
    operator::gate::GateLayer,
    prometheus::http_client,
    runbooks::rehearsal::{Cluster, Guarded, Looked, Rehearsal, Stored},
    sinks::config::check_url,
};

/// The variable that says which Prometheus is asked.
const PROMETHEUS: &str = "PLIMSOLL_PROMETHEUS";

/// A runbook and what happened, by its name for a person.
pub(super) type Happened<'m> = (&'m Model, String, Occurrence);

/// Tells what runbooks would do; gives how many of them would be started.
///
/// # Errors
/// When there is no cluster, or it does not say who asks.
pub(super) async fn tell(
    text: &mut String,
    args: &Test,
    all: &[Happened<'_>],
    given: &BTreeMap<String, String>,
    now: Timestamp,
) -> anyhow::Result<usize> {
    let client = Client::try_default().await.context("no cluster: there is no usable kubeconfig")?;
    // Whoever has it in the environment need not ask a cluster: so it is not clap that reads it.
    let prometheus = args.prometheus.clone().or_else(|| std::env::var(PROMETHEUS).ok().filter(|url| !url.is_empty()));
    if let Some(url) = &prometheus {
        check_url(url).map_err(|why| anyhow::anyhow!("--prometheus: {why}"))?;
    }
    let found = match &args.operator_namespace {
        Some(namespace) => Some(namespace.clone()),
        None => operator_namespace(&client).await,
    };
    let endpoint = |url| Endpoint { url, tenant: None, bearer_token_file: None };
    let outside = Outside {
        http: http_client()?,
        gate: GateLayer::open(),
        prometheus: prometheus.map(endpoint),
        alertmanager: None,
        grafana: None,
        destinations: BTreeMap::new(),
    };
    let namespace = found.clone().unwrap_or_else(|| USUAL.to_owned());
    let cluster = Cluster::new(client, outside, namespace).await.context("the cluster cannot be asked who you are")?;
    cluster.prometheus_answers().await.context("--prometheus: it cannot be asked")?;
    let mut started = 0;
    for (model, what, occurrence) in all {
        if !text.is_empty() {
            text.push('\n');
        }
        let rehearsal = cluster.rehearse(model).await;
        started += usize::from(one(text, &rehearsal, what, occurrence, given, now).await);
    }
    assumptions(text, &cluster, found.is_some());
    Ok(started)
}

/// One runbook and one occurrence; true when it would be started now.
async fn one(
    text: &mut String,
    rehearsal: &Rehearsal<'_>,
    what: &str,
    occurrence: &Occurrence,
    given: &BTreeMap<String, String>,
    now: Timestamp,
) -> bool {
    let model = &rehearsal.model;
    let name = format!("{}/{}", model.namespace, model.name);
    let occurrence = match occurrence {
        Occurrence::Asked { .. } => rehearsal.by_hand(now),
        Occurrence::Alert(alert) => {
            let mut alert = alert.clone();
            match rehearsal.named_by(&alert.labels).await {
                Ok(named) => alert.runbooks.extend(named),
                Err(why) => _ = writeln!(text, "{name}: what the alert is of cannot be read: {why}"),
            }
            Occurrence::Alert(alert)
        }
        other => other.clone(),
    };
    let evidence = match matches(model, &occurrence, now) {
        Ok(evidence) => evidence,
        Err(why) => {
            let _ = writeln!(text, "{name} is not started by {}: {}.", one_line(what), one_line(&why));
            return false;
        }
    };
    let _ = writeln!(text, "{name} matches {}.", one_line(what));
    stored(text, &rehearsal.stored);
    let given = match rehearsal.given(given).await {
        Ok(given) => given,
        Err(why) => {
            let _ = writeln!(
                text,
                "It cannot be known what its query picks: {why}.\n→ give --prometheus, or the value with --parameter"
            );
            return false;
        }
    };
    let Some(values) = resolved(text, model, &evidence.labels, &given) else { return false };
    let Looked { objects, instead, unread } = match rehearsal.look_up(&values).await {
        Ok(looked) => looked,
        Err(why) => {
            let _ = writeln!(text, "It is not started:\n  ✗ {}", one_line(&why.to_string()));
            return false;
        }
    };
    parameters_of(text, &values.values, &objects, unread.is_none());
    if let Some(instead) = &instead {
        let assumed =
            if unread.is_some() { ", and nor may you look at them: what is in capitals is assumed" } else { "" };
        let _ = writeln!(text, "  ({instead}{assumed})");
    }
    let planned = plan(model, &rehearsal.settings(), evidence, &values.values, objects, None);
    let Some(planned) = done(text, planned) else { return false };
    for note in &planned.notes {
        let _ = writeln!(text, "  ! {note}");
    }
    if let Some(phase) = rehearsal.already(&planned).await {
        let _ = writeln!(
            text,
            "\nIt is not started: execution {} is of this already and is {}.",
            planned.name,
            phase.name()
        );
        return false;
    }
    text.push_str("\nAsked of the cluster, as the operator does before it starts:\n");
    guards(text, model, &planned);
    let goes = answers(text, &rehearsal.guards(&planned, unread.as_deref(), now).await);
    mode(text, model);
    steps(text, model, &planned, now);
    let unknown = rehearsal.unknown_kinds(&planned).await;
    if !unknown.is_empty() {
        text.push_str("\nThese requests would fail:\n");
    }
    for kind in &unknown {
        let _ = writeln!(text, "  ✗ the cluster does not know {kind}: install what brings that kind");
    }
    let may = rights(text, rehearsal, &planned, instead.is_some()).await;
    goes && may && unknown.is_empty() && !matches!(rehearsal.stored, Stored::Same(Some(_)))
}

fn stored(text: &mut String, stored: &Stored) {
    let _ = match stored {
        Stored::Not => {
            writeln!(text, "The cluster has no such Runbook yet: nothing counts against it, and you are its author.")
        }
        Stored::Same(None) => writeln!(text, "The cluster has the same."),
        Stored::Same(Some(why)) => {
            writeln!(text, "The cluster has the same, and the operator does not start it:\n  ✗ {why}")
        }
        Stored::Other => {
            writeln!(text, "The cluster has another content of it: this is the file's, as if you had just applied it.")
        }
        Stored::Unread(why) => writeln!(text, "What the cluster has of it cannot be read: {why}."),
    };
}

/// What the guards say; true when none holds it back.
fn answers(text: &mut String, guarded: &Guarded) -> bool {
    let Guarded { gone, refusals, unknown } = guarded;
    if gone.is_none() && refusals.is_empty() {
        let known = if unknown.is_empty() { "" } else { " that is known here" };
        let _ = writeln!(text, "\nNothing{known} would hold it back now.");
    } else {
        text.push_str("\nIt would be held back now:\n");
    }
    if let Some(condition) = gone {
        let _ = writeln!(text, "  ✗ ConditionGone: what starts it does not hold: {}", one_line(condition));
    }
    for refusal in refusals {
        let until = refusal.until.map(|until| format!(", until {until}")).unwrap_or_default();
        let _ = writeln!(text, "  ✗ {}: {}{until}", refusal.guard.reason(), one_line(&refusal.message));
    }
    if !unknown.is_empty() {
        text.push_str("Not known here, and asked by the operator itself:\n");
    }
    for what in unknown {
        let _ = writeln!(text, "  ? {}", one_line(what));
    }
    gone.is_none() && refusals.is_empty()
}

/// What the account lacks; true when that is nothing, as far as is known.
async fn rights(text: &mut String, rehearsal: &Rehearsal<'_>, planned: &Planned, instead: bool) -> bool {
    let account = format!("{}/{}", rehearsal.model.namespace, rehearsal.model.service_account_name);
    let lacking = match rehearsal.lacking(planned, instead).await {
        Ok(lacking) if lacking.is_empty() => {
            let _ = writeln!(text, "\nServiceAccount {account} has every right that these requests need.");
            return true;
        }
        Ok(lacking) => lacking,
        Err(why) => {
            let _ = writeln!(text, "\nWhich rights ServiceAccount {account} has cannot be asked: {why}.");
            return true;
        }
    };
    let _ = writeln!(text, "\nServiceAccount {account} lacks rights that these requests need:");
    let mut grants = |rights: &BTreeSet<Right>, sign: &str, note: &str| {
        for (namespace, rules) in rules(rights) {
            let place =
                namespace.map_or_else(|| "a ClusterRole".to_owned(), |name| format!("a Role in namespace {name}"));
            let _ = writeln!(text, "  {sign} bind it to {place} with these rules{note}:");
            for rule in rules {
                let _ = writeln!(text, "      - {rule}");
            }
        }
    };
    grants(&lacking.rights, "✗", "");
    grants(&lacking.perhaps, "?", ", unless it has them for the name of the object");
    lacking.rights.is_empty()
}

fn assumptions(text: &mut String, cluster: &Cluster, found: bool) {
    text.push_str("\nThe cluster was asked and nothing in it was changed. It is assumed that nothing changes until it starts, and that\n");
    text.push_str("the operator's configuration allows the images and destinations.\n");
    if cluster.outside.prometheus.is_none() {
        text.push_str("No Prometheus was asked: give --prometheus.\n");
    }
    if !found {
        let _ = writeln!(
            text,
            "No operator that leads was found, so its namespace is taken for {}: give --operator-namespace.",
            cluster.operator_namespace
        );
    }
}
