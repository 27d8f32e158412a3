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
    let api: Api<RunbookExecution> = if args.all_namespaces {
        Api::all(client.clone())
    } else {
        Api::namespaced(client.clone(), namespace(client, args.namespace.as_ref()))
    };
    let mut all = api.list(&ListParams::default()).await.context("executions")?.items;
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
        return Ok(format!("{held}there is no execution\n"));
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
    Ok(format!("{held}{}", table(&rows)))
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
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::testing::FakeApi;

    const RUNBOOK: &str = "/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbooks/restart";

    fn request(id: &str, at: Timestamp) -> RunRequest {
        RunRequest { id: id.to_owned(), at: at.to_string(), ..RunRequest::default() }
    }

    /// A runbook with a request, and with answers to others.
    fn runbook(request: &RunRequest, answers: serde_json::Value) -> serde_json::Value {
        let noted = serde_json::to_string(request).unwrap();
        json!({"apiVersion": plimsoll_api::API_VERSION, "kind": "Runbook", "metadata": {"name": "restart", "namespace": "shop",
            "annotations": {RUN: noted}}, "spec": {"serviceAccountName": "s", "trigger": {"manual": {}},
            "steps": [{"name": "a", "wait": "1s"}]}, "status": {"requests": answers}})
    }

    /// Whoever corrects a typo is not told the mistake of before.
    #[test]
    fn an_answer_is_that_to_the_request_itself() {
        let now = Timestamp::now();
        let answers = json!([{"id": "b", "at": now.to_string(), "message": "yyy is none of a, b"},
            {"id": "a", "at": now.to_string(), "message": "zzz is none of a, b"},
            {"id": "0", "at": now.to_string(), "execution": "restart-1"}]);
        let of = |id: &str| serde_json::from_value::<Runbook>(runbook(&request(id, now), answers.clone())).unwrap();
        let told = |id: &str| answer(&of(id), id);
        assert_eq!(told("a"), Some(Err("zzz is none of a, b".to_owned())));
        assert_eq!(told("b"), Some(Err("yyy is none of a, b".to_owned())));
        assert_eq!(told("0"), Some(Ok("restart-1".to_owned())));
        assert_eq!(told("c"), None);
        assert!(is_waited_for(&of("c")) && !is_waited_for(&of("a")));
        let old: Runbook = serde_json::from_value(runbook(&request("c", now - BY_HAND), answers)).unwrap();
        assert!(!is_waited_for(&old), "nothing comes of it any more");
    }

    /// Two at once are two requests: the second waits until the first is answered.
    #[tokio::test]
    async fn a_request_pushes_no_other_aside() {
        let (api, now) = (FakeApi::default(), Timestamp::now());
        api.strict();
        api.put(RUNBOOK, runbook(&request("a", now), json!([])));
        let runbooks: Api<Runbook> = Api::namespaced(api.client(), "shop");
        let later = Instant::now() + Duration::from_secs(60);
        let asks = async |id: &str, until: Instant| {
            ask(&runbooks, "shop", "restart", &request(id, now), until).await.map(|noted| noted.id)
        };
        assert!(tokio::time::timeout(LOOK * 2, asks("b", later)).await.is_err(), "the first has no answer");
        assert!(api.writes().is_empty(), "{:?}", api.writes());
        api.put(RUNBOOK, runbook(&request("a", now), json!([{"id": "a", "at": now.to_string()}])));
        assert_eq!(asks("b", later).await.unwrap(), "b");
        // Where nobody answers, a request is not kept from being made for ever.
        assert_eq!(asks("c", Instant::now()).await.unwrap(), "c");
        let noted = || -> RunRequest {
            let noted = api.get(RUNBOOK).unwrap()["metadata"]["annotations"][RUN].clone();
            serde_json::from_str(noted.as_str().unwrap()).unwrap()
        };
        let mut seen = vec!["c".to_owned()];
        let answers = async {
            while seen.len() < 3 {
                let last = noted();
                let answers = json!([{"id": last.id, "at": now.to_string()}]);
                api.put(RUNBOOK, runbook(&last, answers));
                while noted().id == last.id {
                    assert!(Instant::now() < later, "{seen:?}");
                    tokio::task::yield_now().await;
                }
                seen.push(noted().id);
            }
        };
        let (d, e, ()) = tokio::join!(asks("d", later), asks("e", later), answers);
        assert_eq!((d.unwrap(), e.unwrap()), ("d".to_owned(), "e".to_owned()));
        seen.sort();
        assert_eq!(seen, ["c", "d", "e"], "each was there until it had its answer");
        let none = ask(&runbooks, "shop", "nope", &request("f", now), later).await.unwrap_err();
        assert_eq!(none.to_string(), "there is no Runbook nope in namespace shop; kubectl get runbooks -A lists all");
    }

    /// A slip is not told as if nothing had ever run.
    #[tokio::test]
    async fn executions_of_what_is_not_there_are_no_empty_list() {
        let api = FakeApi::default();
        api.put("/api/v1/namespaces/shop", json!({"metadata": {"name": "shop"}}));
        api.put(RUNBOOK, runbook(&request("a", Timestamp::now()), json!([])));
        let client = api.client();
        let asks = async |runbook: Option<&str>, namespace: &str| {
            let args = List {
                runbook: runbook.map(str::to_owned),
                namespace: Some(namespace.to_owned()),
                all_namespaces: false,
            };
            list(&client, &args).await.map_err(|error| error.to_string())
        };
        assert_eq!(asks(None, "shop").await.unwrap(), "there is no execution\n");
        assert_eq!(asks(Some("restart"), "shop").await.unwrap(), "there is no execution\n");
        let wrong = asks(Some("restrat"), "shop").await.unwrap_err();
        assert!(wrong.starts_with("there is no Runbook restrat in namespace shop"), "{wrong}");
        let wrong = asks(None, "shpo").await.unwrap_err();
        assert!(wrong.starts_with("there is no namespace shpo"), "{wrong}");
        // Who may not read namespaces sees an empty list.
        let forbidden = json!({"kind": "Status", "code": 403, "reason": "Forbidden", "message": "no"});
        api.refuse("/api/v1/namespaces/shpo", forbidden);
        assert_eq!(asks(None, "shpo").await.unwrap(), "there is no execution\n");
    }

    #[test]
    fn that_all_is_paused_is_said_with_the_reason() {
        let runbook = |reason: &str| -> Runbook {
            let ready = json!({"type": "Ready", "status": "True", "reason": reason, "message": "all runbooks are paused: moving",
                "lastTransitionTime": "2026-01-01T00:00:00Z"});
            let spec =
                json!({"serviceAccountName": "s", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}]});
            let object = json!({"apiVersion": "plimsoll.dev/v1alpha1", "kind": "Runbook", "metadata": {"name": "a"},
                "spec": spec, "status": {"conditions": [ready]}});
            serde_json::from_value(object).unwrap()
        };
        let said = paused(&[runbook("AsDeclared"), runbook("Paused")]);
        assert_eq!(said.as_deref(), Some("all runbooks are paused: moving; go on with: plimsoll runbook resume\n"));
        assert_eq!(paused(&[runbook("AsDeclared")]), None);
    }

    #[test]
    fn a_run_that_does_nothing_yet_says_so() {
        let status = |phase, reason: &str, message: &str| RunbookExecutionStatus {
            phase,
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            ..RunbookExecutionStatus::default()
        };
        let said = |status: &RunbookExecutionStatus, mode| not_done(status, mode, "a-1 -n shop");
        let none = RunbookExecutionStatus::default();
        assert_eq!(said(&none, Mode::DryRun), "mode DryRun: nothing is done, only what would be is said\n");
        let asks = "it waits for an approval: plimsoll runbook approve a-1 -n shop\n";
        assert_eq!(said(&none, Mode::Approve), asks);
        assert_eq!(said(&status(Phase::AwaitingApproval, "Asked", "somebody must"), Mode::Approve), asks);
        let held = status(Phase::Blocked, "NotKnown", "it cannot be\nasked");
        assert_eq!(said(&held, Mode::Approve), "Blocked (NotKnown): it cannot be asked\n");
        assert_eq!(said(&none, Mode::Auto), "");
        assert_eq!(said(&status(Phase::Running, "Started", "x"), Mode::Approve), "");
    }

    #[test]
    fn columns_stand_below_each_other() {
        let rows = [["A", "B"], ["long", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "A     B\nlong  x\n");
        let forged = vec![vec!["a\nb\u{1b}[2J".to_owned()]];
        assert_eq!(table(&forged), "a b\u{fffd}[2J\n");
    }
}
