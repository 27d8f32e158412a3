//! `plimsoll runbook run|approve|deny|list|show|pause|resume`: runbooks of a cluster, through its API alone.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
    core::DeserializeGuard,
};
use plimsoll_api::{
    Runbook, RunbookExecution, RunbookExecutionStatus, approval::Decision, conditions::READY, execution::Phase,
    runbook::Mode,
};
use plimsoll_runbook::{names::whole, plan::BY_HAND};
use serde_json::json;

use super::{
    report::one_line,
    runbook::{once, pair},
    runbook_pause::{Pause, Resume},
    runbook_told::told,
};
use crate::{
    runbooks::{
        begin::recall,
        proof::{RUN, RunRequest},
        state::PAUSED,
        verdict::{self, Verdict, find},
    },
    trace,
};

/// The operator sees a request within two seconds.
const SOON: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(500);
/// So long it is waited for what a new run does first.
const MOMENT: Duration = Duration::from_secs(2);

/// What is done with runbooks of a cluster.
#[derive(Subcommand, Debug)]
#[allow(missing_docs, reason = "each is documented where its arguments are, and clap would show a second text instead")]
pub enum ClusterCommand {
    Run(Run),
    #[command(
        about = "Lets an execution that waits for an approval do its steps. Whoever wrote the runbook or asked for the run may not",
        after_help = "\
Example:
  plimsoll runbook approve rollback-on-burn-0123456789abcdef -n shop --reason CHG-4711

The approval is of the execution as it is now: when its spec or what it is about changes, it is asked for anew.

Exit status: 0 approved, 2 it does not wait for that, you may not, or the cluster refuses"
    )]
    Approve(Decide),
    #[command(
        about = "Ends an execution that waits for an approval: none of its steps is done",
        after_help = "\
Example:
  plimsoll runbook deny rollback-on-burn-0123456789abcdef -n shop --reason \"the cause is known\"

Exit status: 0 denied, 2 it does not wait for that, you may not, or the cluster refuses"
    )]
    Deny(Decide),
    List(List),
    Show(Show),
    Pause(Pause),
    Resume(Resume),
}

/// Asks the operator to run a runbook now, whatever starts it otherwise, and says which execution that is.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  plimsoll runbook run crashloop-capture -n shop --parameter pod=checkout-7f9c

Exit status: 0 it is started, 2 it is not, with why, or the cluster refuses")]
pub struct Run {
    /// The runbook
    #[arg(value_name = "RUNBOOK")]
    name: String,
    /// Its namespace. Default: that of the kubeconfig
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// A value of a parameter; it goes before the default
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    parameter: Vec<(String, String)>,
}

/// Decides about an execution that waits for that.
#[derive(Args, Debug)]
pub struct Decide {
    /// The execution, as plimsoll runbook list shows it
    #[arg(value_name = "EXECUTION")]
    name: String,
    /// Its namespace. Default: that of the kubeconfig
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Why, kept with the decision; it may be left out
    #[arg(long, short, value_name = "TEXT")]
    reason: Option<String>,
    /// How many minutes the decision is valid
    #[arg(long, value_name = "MINUTES", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=1440))]
    minutes: u16,
}

/// Lists executions, the newest first.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll runbook list -n shop
  plimsoll runbook list crashloop-capture -A

Exit status: 0 listed, also when there is none, 2 there is no such namespace or runbook, or the cluster refuses")]
pub struct List {
    /// Only of this runbook
    #[arg(value_name = "RUNBOOK")]
    runbook: Option<String>,
    /// Their namespace. Default: that of the kubeconfig
    #[arg(long, short, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Of all namespaces
    #[arg(long, short = 'A')]
    all_namespaces: bool,
}

/// Tells an execution: what started it, and each step with what it did.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  plimsoll runbook show crashloop-capture-0123456789abcdef -n shop

Exit status: 0 told, 2 there is no such execution, or the cluster refuses")]
pub struct Show {
    /// The execution
    #[arg(value_name = "EXECUTION")]
    name: String,
    /// Its namespace. Default: that of the kubeconfig
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Does it, and gives what a person reads.
///
/// # Errors
/// When the cluster does not let it be done, with what to do.
pub async fn run(command: &ClusterCommand) -> anyhow::Result<String> {
    if let ClusterCommand::Run(args) = command {
        once(&args.parameter).map_err(anyhow::Error::msg)?;
    }
    let client = Client::try_default().await.context("no cluster: there is no usable kubeconfig")?;
    match command {
        ClusterCommand::Run(args) => start(&client, args).await,
        ClusterCommand::Approve(args) => decide(&client, args, Decision::Approve).await,
        ClusterCommand::Deny(args) => decide(&client, args, Decision::Deny).await,
        ClusterCommand::List(args) => list(&client, args).await,
        ClusterCommand::Show(args) => show(&client, args).await,
        ClusterCommand::Pause(args) => args.run(&client).await,
        ClusterCommand::Resume(args) => args.run(&client).await,
    }
}

fn namespace<'c>(client: &'c Client, given: Option<&'c String>) -> &'c str {
    given.map_or(client.default_namespace(), String::as_str)
}

async fn start(client: &Client, args: &Run) -> anyhow::Result<String> {
    let namespace = namespace(client, args.namespace.as_ref());
    let runbooks: Api<Runbook> = Api::namespaced(client.clone(), namespace);
    let parameters = once(&args.parameter).map_err(anyhow::Error::msg)?;
    // The trace that the run will continue is as good an id as any.
    let request = RunRequest { id: trace::received(None), parameters, ..RunRequest::default() };
    let noted = ask(&runbooks, namespace, &args.name, &request, Instant::now() + SOON).await?;
    let Ok(at) = noted.at.parse::<Timestamp>() else {
        bail!("nobody noted who asks for the run: the operator must run with --runbooks and --webhook-listen");
    };
    let deadline = Instant::now() + SOON;
    loop {
        let runbook = find_runbook(&runbooks, namespace, &args.name).await?;
        if let Some(came) = answer(&runbook, &noted.id) {
            let name =
                came.map_err(|why| anyhow::anyhow!("it was not started, and will not be: {}", one_line(&why)))?;
            let held = paused(std::slice::from_ref(&runbook)).unwrap_or_default();
            let executions: Api<RunbookExecution> = Api::namespaced(client.clone(), namespace);
            let waits = held_back(&executions, &name, runbook.spec.mode.unwrap_or_default()).await;
            return Ok(format!(
                "{name}\n{held}{waits}see how it goes with: plimsoll runbook show {name} -n {namespace}\n"
            ));
        }
        if Instant::now() >= deadline {
            bail!(
                "it was asked for, and the operator has not answered; it may still start it until {}; look at: kubectl get runbook {} -n {namespace} -o yaml, status.requests",
                whole(at.saturating_add(BY_HAND)?),
                args.name
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What a run does not do at once, or at all, as soon as that is known: a moment is waited for it. Who may not read executions
/// is told what follows from the mode.
async fn held_back(executions: &Api<RunbookExecution>, name: &str, mode: Mode) -> String {
    let until = Instant::now() + MOMENT;
    loop {
        let found = executions.get_opt(name).await.ok().flatten();
        let status = found.as_ref().and_then(|execution| execution.status.clone()).unwrap_or_default();
        let is_known = status.phase != Phase::Pending || found.as_ref().is_none_or(|found| found.spec.begun.is_some());
        if is_known || Instant::now() >= until {
            let mode = found.as_ref().map_or(mode, |execution| execution.spec.mode);
            let namespace = executions.namespace().unwrap_or_default();
            return not_done(&status, mode, &format!("{name} -n {namespace}"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn not_done(status: &RunbookExecutionStatus, mode: Mode, at: &str) -> String {
    let reason = status.reason.as_deref().unwrap_or_default();
    let message = one_line(status.message.as_deref().unwrap_or_default());
    match (status.phase, mode) {
        (phase @ (Phase::Blocked | Phase::Skipped), _) => format!("{} ({reason}): {message}\n", phase.name()),
        (_, Mode::DryRun) => "mode DryRun: nothing is done, only what would be is said\n".to_owned(),
        (Phase::Pending | Phase::AwaitingApproval, Mode::Approve) => {
            format!("it waits for an approval: plimsoll runbook approve {at}\n")
        }
        _ => String::new(),
    }
}

async fn find_runbook(runbooks: &Api<Runbook>, namespace: &str, name: &str) -> anyhow::Result<Runbook> {
    let found = runbooks.get_opt(name).await;
    let found = found.with_context(|| format!("runbook {namespace}/{name} could not be read"))?;
    found.with_context(|| {
        format!("there is no Runbook {name} in namespace {namespace}; kubectl get runbooks -A lists all")
    })
}

/// Notes a request on its runbook, once the one that is noted there has its answer: nobody's is pushed aside until then.
async fn ask(
    runbooks: &Api<Runbook>,
    namespace: &str,
    name: &str,
    request: &RunRequest,
    until: Instant,
) -> anyhow::Result<RunRequest> {
    let text = serde_json::to_string(request)?;
    loop {
        let runbook = find_runbook(runbooks, namespace, name).await?;
        let patient = Instant::now() < until;
        if !patient || !is_waited_for(&runbook) {
            // Whoever asks in the same moment is not overwritten either.
            let version = runbook.resource_version();
            let patch = json!({"metadata": {"resourceVersion": version, "annotations": {RUN: text}}});
            match runbooks.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await {
                Err(kube::Error::Api(status)) if status.code == 409 && patient => {}
                patched => {
                    let patched =
                        patched.with_context(|| format!("runbook {namespace}/{name} could not be asked for"))?;
                    let noted = patched.annotations().get(RUN).context("the request is gone")?;
                    return Ok(serde_json::from_str(noted)?);
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Whether a runbook has a request that the operator may still answer.
fn is_waited_for(runbook: &Runbook) -> bool {
    let noted = runbook.annotations().get(RUN).and_then(|noted| serde_json::from_str::<RunRequest>(noted).ok());
    let Some(noted) = noted else { return false };
    let young = noted.at.parse().is_ok_and(|at| Timestamp::now().duration_since(at) < BY_HAND);
    young && answer(runbook, &noted.id).is_none()
}

/// What came of a request: the execution, or why there is none.
fn answer(runbook: &Runbook, id: &str) -> Option<Result<String, String>> {
    let answered = runbook.status.as_ref()?.requests.iter().find(|answered| answered.id == id)?;
    let why = || answered.message.clone().unwrap_or_default();
    Some(answered.execution.clone().ok_or_else(why))
}

async fn decide(client: &Client, args: &Decide, decision: Decision) -> anyhow::Result<String> {
    let verdict = Verdict {
        namespace: namespace(client, args.namespace.as_ref()).to_owned(),
        name: args.name.clone(),
        spec_hash: None,
        decision,
        reason: args.reason.clone(),
        minutes: args.minutes,
    };
    let me = verdict::send(client, &verdict).await?;
    let word = if decision == Decision::Approve { "approved" } else { "denied" };
    Ok(format!("{me} {word}: {}\n", args.name))
}

async fn list(client: &Client, args: &List) -> anyhow::Result<String> {
    let api: Api<DeserializeGuard<RunbookExecution>> = if args.all_namespaces {
        Api::all(client.clone())
    } else {
        Api::namespaced(client.clone(), namespace(client, args.namespace.as_ref()))
    };
    let listed = api.list(&ListParams::default()).await.context("executions")?.items;
    let unread = unread(&listed);
    let mut all: Vec<RunbookExecution> = listed.into_iter().filter_map(|guarded| guarded.0.ok()).collect();
    all.iter_mut().for_each(recall);
    all.retain(|execution| args.runbook.as_ref().is_none_or(|runbook| execution.spec.runbook.name == *runbook));
    all.sort_by_key(|execution| std::cmp::Reverse(execution.creation_timestamp().map(|time| time.0)));
    let runbooks: Api<DeserializeGuard<Runbook>> = if args.all_namespaces {
        Api::all(client.clone())
    } else {
        Api::namespaced(client.clone(), namespace(client, args.namespace.as_ref()))
    };
    // Whoever may not read runbooks reads executions all the same.
    let runbooks = runbooks.list(&ListParams::default()).await.map(|list| list.items);
    if all.is_empty() {
        there(client, args, runbooks.as_deref().ok()).await?;
    }
    let runbooks = runbooks.unwrap_or_default();
    let runbooks: Vec<Runbook> = runbooks.into_iter().filter_map(|runbook| runbook.0.ok()).collect();
    let held = paused(&runbooks).unwrap_or_default();
    if all.is_empty() {
        let other = if unread.is_empty() { "" } else { "other " };
        return Ok(format!("{unread}{held}there is no {other}execution\n"));
    }
    let mut rows = vec![["EXECUTION", "RUNBOOK", "MODE", "PHASE", "REASON", "AGE"].map(str::to_owned).to_vec()];
    for execution in &all {
        let status = execution.status.clone().unwrap_or_default();
        let age = execution.creation_timestamp().map_or_else(String::new, |time| ago(time.0));
        rows.push(vec![
            execution.name_any(),
            execution.spec.runbook.name.clone(),
            format!("{:?}", execution.spec.mode),
            status.phase.name().to_owned(),
            status.reason.unwrap_or_default(),
            age,
        ]);
        if let Some(row) = rows.last_mut().filter(|_| args.all_namespaces) {
            row.insert(0, execution.namespace().unwrap_or_default());
        }
    }
    if let Some(head) = rows.first_mut().filter(|_| args.all_namespaces) {
        head.insert(0, "NAMESPACE".to_owned());
    }
    Ok(format!("{unread}{held}{}", table(&rows)))
}

/// Executions that cannot be read hide no others, and are told in a line.
fn unread(listed: &[DeserializeGuard<RunbookExecution>]) -> String {
    let mut wrong = listed.iter().filter_map(|guarded| guarded.0.as_ref().err());
    let Some(first) = wrong.next() else { return String::new() };
    let (name, namespace) = (first.metadata.name.as_deref(), first.metadata.namespace.as_deref());
    let (name, namespace) = (name.unwrap_or_default(), namespace.unwrap_or_default());
    let more = match wrong.count() {
        0 => String::new(),
        more => format!(", nor can {more} more"),
    };
    format!(
        "execution {namespace}/{name} cannot be read ({}){more}: somebody else than the operator has made it, or a newer version; \
         look at it with: kubectl get runbookexecution {name} -n {namespace} -o yaml\n",
        one_line(&first.error.chars().take(200).collect::<String>())
    )
}

/// Whether there is what executions were asked of, as far as whoever asks may know: `runbooks` that there are.
async fn there(client: &Client, args: &List, runbooks: Option<&[DeserializeGuard<Runbook>]>) -> anyhow::Result<()> {
    let place = if args.all_namespaces {
        "any namespace".to_owned()
    } else {
        let namespace = namespace(client, args.namespace.as_ref());
        if matches!(Api::<Namespace>::all(client.clone()).get_opt(namespace).await, Ok(None)) {
            bail!("there is no namespace {namespace}; plimsoll runbook list -A lists all executions");
        }
        format!("namespace {namespace}")
    };
    let (Some(name), Some(runbooks)) = (&args.runbook, runbooks) else { return Ok(()) };
    if !runbooks.iter().any(|runbook| runbook.name_any() == *name) {
        bail!("there is no Runbook {name} in {place}, nor an execution of it; kubectl get runbooks -A lists all");
    }
    Ok(())
}

/// That all runbooks are paused, and why, as the operator says on each of them.
fn paused(runbooks: &[Runbook]) -> Option<String> {
    let conditions = runbooks.iter().filter_map(|runbook| runbook.status.as_ref()).flat_map(|all| &all.conditions);
    let ready = conditions.filter(|condition| condition.type_ == READY);
    let message = ready.filter(|condition| condition.reason == PAUSED).map(|condition| &condition.message).next()?;
    Some(format!("{}; go on with: plimsoll runbook resume\n", one_line(message)))
}

/// Columns two spaces apart.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{:<width$}  ", one_line(cell));
        }
        text.push_str(line.trim_end());
        text.push('\n');
        text
    })
}

fn ago(at: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

async fn show(client: &Client, args: &Show) -> anyhow::Result<String> {
    let namespace = namespace(client, args.namespace.as_ref());
    let execution = find(client, namespace, &args.name).await?;
    Ok(told(&execution, namespace))
}

#[cfg(test)]
#[path = "runbook_cluster_tests.rs"]
mod tests;
