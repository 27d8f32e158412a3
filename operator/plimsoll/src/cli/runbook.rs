//! `plimsoll runbook`: what a runbook would do, and through `runbook_cluster` what it does.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use plimsoll_api::{
    Level,
    action::Scale,
    execution::{Facts, ObjectRef},
    gate::Verify,
    runbook::{Mode, ObjectKind},
};
use plimsoll_runbook::{
    Act, Model, act, alertmanager,
    matching::{Occurrence, matches},
    model::{Safety, Trigger},
    parameters::{self, Values},
    plan::{PROTECTED, Planned, plan},
    requests::{self, Call, Run},
};

use super::{
    Exit, check,
    out::{self, Stop},
    report::one_line,
    runbook_cluster::{self, ClusterCommand},
    runbook_rehearsal, validate,
};
use crate::{runbooks::assumed, source::files::shown};

/// Runbooks: what they would do, what they did, and what they may do.
#[derive(Args, Debug)]
pub struct Runbook {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Test(Test),
    #[command(flatten)]
    Cluster(ClusterCommand),
}

/// Says what a runbook would do about an alert: whether it matches, with which parameters, what could stop it, and
/// the exact requests that it would send. No server is asked, but with --cluster, and nothing is ever changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  plimsoll runbook test crashloop.yaml --alert alert.json
  plimsoll runbook test gameday.yaml                            as if somebody ran it by hand
  plimsoll runbook test gameday.yaml --schedule                 as if its moment had come
  plimsoll runbook test crashloop.yaml --parameter pod=checkout-1
  plimsoll runbook test crashloop.yaml --alert alert.json --cluster --prometheus http://localhost:9090

An alert is a message of Alertmanager's webhook, or one alert or a list of them as Alertmanager's API has them.

With --cluster the objects are those of the cluster of the kubeconfig, each guard is asked of it as it is now, and so are
the rights of the runbook's ServiceAccount. All that is read and asked with your own rights; reviews of rights are the only
requests that are no reads, and they store nothing.

Exit status: 0 it would be started, 1 it would not (with --cluster: also what holds it back now, or lacks rights) or has an
error, 2 wrong usage or something cannot be read")]
pub(super) struct Test {
    /// The file with the runbook
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file with the alert; without it, somebody runs it by hand
    #[arg(long, short, value_name = "FILE")]
    alert: Option<PathBuf>,
    /// As if its schedule's moment had come: the first one that is not before --at
    #[arg(long, conflicts_with = "alert")]
    schedule: bool,
    /// A value of a parameter; it goes before the label's
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    parameter: Vec<(String, String)>,
    /// Namespace of a runbook that names none
    #[arg(long, short, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// The time at which it is, such as 2026-11-26T12:00:00Z; by default, now
    #[arg(long, value_name = "TIME")]
    at: Option<Timestamp>,
    /// Ask the cluster of the kubeconfig what its objects are, what would hold it back and which rights are missing
    #[arg(long)]
    cluster: bool,
    /// With --cluster: the Prometheus that is asked whether the alert still holds. Default: $PLIMSOLL_PROMETHEUS; without it
    /// that is not asked
    #[arg(long, value_name = "URL", requires = "cluster")]
    pub(super) prometheus: Option<String>,
    /// With --cluster: the operator's namespace. Default: where an operator leads
    #[arg(long, value_name = "NAMESPACE", requires = "cluster")]
    pub(super) operator_namespace: Option<String>,
}

/// Values of parameters by their names, each given once.
pub(super) fn once(given: &[(String, String)]) -> Result<BTreeMap<String, String>, String> {
    let mut all = BTreeMap::new();
    for (name, value) in given {
        if all.insert(name.clone(), value.clone()).is_some() {
            return Err(format!("{} is given twice", one_line(name)));
        }
    }
    Ok(all)
}

pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Runs it.
///
/// # Errors
/// When something cannot be read, or the result cannot be written.
pub fn run(args: &Runbook) -> Result<Exit, Stop> {
    let args = match &args.command {
        Command::Test(args) => args,
        Command::Cluster(command) => {
            let text = super::block_on(runbook_cluster::run(command))?;
            return out::stdout(|writer| writer.write_all(text.as_bytes())).map(|()| Exit::Fine);
        }
    };
    let given = once(&args.parameter).map_err(|why| Stop::Failed(why, "give each --parameter once".to_owned()))?;
    let checked = check::check(std::slice::from_ref(&args.file), &args.namespace);
    out::stderr(&validate::text(&checked, super::colour(&std::io::stderr())));
    if checked.unread {
        return Ok(Exit::Unusable);
    }
    if checked.count(Level::Error) > 0 {
        out::stderr(&format!("{}\n", validate::summary(&checked)));
        return Ok(Exit::Problems);
    }
    if checked.runbooks.is_empty() {
        let message = format!("{} holds no Runbook", shown(&args.file));
        return Err(Stop::Failed(message, "name a file with kind: Runbook".to_owned()));
    }
    let now = args.at.unwrap_or_else(Timestamp::now);
    let (occurrences, quiet) = occurrences(args, now)?;
    let mut all = Vec::new();
    let mut text = String::new();
    for model in &checked.runbooks {
        for (what, why) in &quiet {
            let (what, name) = (one_line(what), format!("{}/{}", model.namespace, model.name));
            let _ = writeln!(text, "{name} is not started by {what}: {why}.");
        }
        let moment = if args.schedule { vec![moment(model, now)?] } else { Vec::new() };
        all.extend(moment.into_iter().chain(occurrences.clone()).map(|(what, occurrence)| (model, what, occurrence)));
    }
    let mut started = 0;
    if args.cluster {
        started = super::block_on(runbook_rehearsal::tell(&mut text, args, &all, &given, now))?;
    } else {
        for (model, what, occurrence) in &all {
            if !text.is_empty() {
                text.push('\n');
            }
            started += usize::from(tell(&mut text, model, what, occurrence, &given, now));
        }
    }
    out::verdict(|writer| writer.write_all(text.as_bytes()))?;
    Ok(if started > 0 { Exit::Fine } else { Exit::Problems })
}

/// The moment of a runbook's own schedule.
fn moment(model: &Model, now: Timestamp) -> Result<(String, Occurrence), Stop> {
    let Trigger::Schedule(schedule) = &model.trigger else {
        let message = format!("{}/{} has no schedule", model.namespace, model.name);
        return Err(Stop::Failed(message, "leave --schedule away".to_owned()));
    };
    let before = now.saturating_sub(jiff::SignedDuration::from_nanos(1)).unwrap_or(now);
    let next = schedule.next(before).ok_or_else(|| {
        let message = format!("{}/{} has no moment after {now}", model.namespace, model.name);
        Stop::Failed(message, "give another time with --at".to_owned())
    })?;
    Ok((format!("its schedule at {next}"), Occurrence::Moment(next)))
}

/// What happened, each with its name for a person.
type Named = Vec<(String, Occurrence)>;

/// Alerts that start nothing, each by its name for a person and with why.
type Quiet = Vec<(String, &'static str)>;

/// What happened, and what of it starts nothing whatever a runbook says.
fn occurrences(args: &Test, now: Timestamp) -> Result<(Named, Quiet), Stop> {
    if args.schedule {
        return Ok((Vec::new(), Vec::new()));
    }
    let Some(path) = &args.alert else {
        let asked = Occurrence::Asked { id: String::new(), by: "you".to_owned(), groups: Vec::new(), at: now };
        return Ok((vec![("a run by hand".to_owned(), asked)], Vec::new()));
    };
    let failed = |why: String| {
        let help = "copy a message of Alertmanager's webhook, or an alert of its API, into the file".to_owned();
        Stop::Failed(format!("{}: {why}", shown(path)), help)
    };
    let text = fs::read_to_string(path).map_err(|error| {
        Stop::Failed(
            format!("cannot read {}: {}", shown(path), crate::source::files::cause(&error)),
            "check the path".to_owned(),
        )
    })?;
    let alerts = alertmanager::read_any(text.as_bytes());
    let alertmanager::Given { alerts, quiet } = alerts.map_err(failed)?;
    if alerts.is_empty() && quiet.is_empty() {
        return Err(failed("it holds no alert".to_owned()));
    }
    let what = |alert: &alertmanager::Alert| {
        let name = alert.labels.get("alertname").map_or("without a name", String::as_str);
        format!("alert {name} since {}", alert.starts_at)
    };
    let quiet = quiet.iter().map(|(alert, why)| (what(alert), *why)).collect();
    let named = |mut alert: alertmanager::Alert| {
        let what = what(&alert);
        let runbooks = std::mem::take(&mut alert.named);
        (what, Occurrence::Alert(alert.occurred(runbooks)))
    };
    Ok((alerts.into_iter().map(named).collect(), quiet))
}

/// Tells what one runbook would do about one occurrence; true when it would be started.
fn tell(
    text: &mut String,
    model: &Model,
    what: &str,
    occurrence: &Occurrence,
    given: &BTreeMap<String, String>,
    now: Timestamp,
) -> bool {
    // An alert's name and labels are anybody's.
    let (name, what) = (format!("{}/{}", model.namespace, model.name), one_line(what));
    let evidence = match matches(model, occurrence, now) {
        Ok(evidence) => evidence,
        Err(why) => {
            let _ = writeln!(text, "{name} is not started by {what}: {}.", one_line(&why));
            return false;
        }
    };
    let _ = writeln!(text, "{name} matches {what}.");
    let mut given = given.clone();
    for (parameter, query) in parameters::queries(model, &given.clone()) {
        let name = &parameter.name;
        let label = parameter.from_label.as_deref().unwrap_or_default();
        let stands = format!("picked-{name}");
        let _ = writeln!(
            text,
            "{name} is the label {label} of the series with the largest value of {query}; {stands} stands for it."
        );
        given.insert(name.clone(), stands);
    }
    let given = &given;
    let Some(values) = resolved(text, model, &evidence.labels, given) else { return false };
    let objects: Vec<ObjectRef> =
        values.lookups.iter().map(|lookup| assumed::object(model, lookup, &values.values)).collect();
    parameters_of(text, &values.values, &objects, false);
    let planned = plan(model, &assumed::settings(model), evidence, &values.values, objects, None);
    let Some(planned) = done(text, planned) else { return false };
    text.push_str("\nIn a cluster it is asked first, and nothing is done when an answer is missing:\n");
    guards(text, model, &planned);
    mode(text, model);
    steps(text, model, &planned, now);
    assumptions(text, &planned);
    true
}

/// The values of the parameters, or what is wrong with them.
pub(super) fn resolved(
    text: &mut String,
    model: &Model,
    labels: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
) -> Option<Values> {
    match parameters::resolve(model, labels, given) {
        Ok(values) => Some(values),
        Err(wrong) => {
            text.push_str("It is not started, since parameters are missing or wrong:\n");
            for parameters::Wrong { parameter, message } in wrong {
                let _ = writeln!(text, "  ✗ {parameter}: {}", one_line(&message));
            }
            None
        }
    }
}

/// What was planned, or why nothing was.
pub(super) fn done(text: &mut String, planned: Result<Planned, Vec<String>>) -> Option<Planned> {
    match planned {
        Ok(planned) => Some(planned),
        Err(wrong) => {
            text.push_str("It is not started:\n");
            for why in wrong {
                let _ = writeln!(text, "  ✗ {}", one_line(&why));
            }
            None
        }
    }
}

/// What an alert's execution would be, if the runbook matches it and can be planned.
pub(crate) fn planned(model: &Model, occurrence: &Occurrence, now: Timestamp) -> Option<Planned> {
    let evidence = matches(model, occurrence, now).ok()?;
    let values = parameters::resolve(model, &evidence.labels, &BTreeMap::new()).ok()?;
    let objects = values.lookups.iter().map(|lookup| assumed::object(model, lookup, &values.values)).collect();
    plan(model, &assumed::settings(model), evidence, &values.values, objects, None).ok()
}

/// What one runbook would do about an alert, in words.
pub(crate) fn dry_run(model: &Model, what: &str, occurrence: &Occurrence, now: Timestamp) -> String {
    let mut text = String::new();
    tell(&mut text, model, what, occurrence, &BTreeMap::new(), now);
    text
}

/// Values and objects; `seen`: with what was seen of them.
pub(super) fn parameters_of(text: &mut String, values: &BTreeMap<String, String>, objects: &[ObjectRef], seen: bool) {
    if values.is_empty() && objects.is_empty() {
        return;
    }
    text.push_str("\nParameters:\n");
    for object in objects {
        let place = object.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default();
        let _ = writeln!(text, "  {} = {} {}{place}", object.parameter, object.kind.name(), object.name);
        if seen {
            let _ = writeln!(text, "      {}", facts(object));
        }
    }
    for (name, value) in values.iter().filter(|(name, _)| !objects.iter().any(|object| object.parameter == **name)) {
        let _ = writeln!(text, "  {name} = {value:?}");
    }
}

/// What a cluster says of an object, in words.
fn facts(object: &ObjectRef) -> String {
    let Facts {
        containers,
        workload_uid,
        replicas,
        ready,
        pod_labels: _,
        autoscaler,
        disruptions_allowed,
        managed_by,
        revision,
        template: _,
        earlier,
        unschedulable,
        intervals,
        sampling,
    } = &object.facts;
    let mut said = vec![format!("UID {}", object.uid)];
    if !containers.is_empty() {
        said.push(format!("containers {}", containers.join(", ")));
    }
    let is_pod = object.kind == ObjectKind::Pod;
    if is_pod && workload_uid.is_none() {
        said.push("it belongs to no workload".to_owned());
    }
    let (of, others) = if is_pod { ("its workload has ", " others are") } else { ("", " are") };
    if let Some(replicas) = replicas {
        said.push(format!("{of}{replicas} replicas"));
    }
    said.extend(ready.map(|ready| format!("{ready}{others} ready")));
    said.extend(disruptions_allowed.map(|pods| format!("a PodDisruptionBudget lets {pods} go")));
    said.extend(autoscaler.as_ref().map(|name| format!("HorizontalPodAutoscaler {name} has it")));
    said.extend(revision.map(|revision| format!("revision {revision}")));
    said.extend(earlier.as_ref().map(|earlier| format!("before it revision {}", earlier.revision)));
    said.extend(unschedulable.filter(|cordoned| *cordoned).map(|_| "no new Pods come to it".to_owned()));
    if !intervals.is_empty() {
        said.push(format!("intervals {}", intervals.join(", ")));
    }
    said.extend(sampling.as_ref().map(|percent| format!("sampling {percent} %")));
    said.extend(managed_by.as_ref().map(|keeper| format!("{keeper} keeps it as it is in Git")));
    said.join(", ")
}

/// What could stop it, with the numbers of this runbook.
pub(super) fn guards(text: &mut String, model: &Model, planned: &Planned) {
    let safety = &model.safety;
    let mut line = |what: String| {
        let _ = writeln!(text, "  - {what}");
    };
    match &planned.spec.trigger.condition {
        Some(condition) => line(format!("does it still hold? {}", one_line(condition))),
        None => line("nothing: this trigger has no condition that could be asked again".to_owned()),
    }
    line("are runbooks paused?".to_owned());
    line(format!("may whoever wrote it use ServiceAccount {}/{}?", model.namespace, model.service_account_name));
    line("does another run act upon the same target?".to_owned());
    line(format!("did a run for the same target end less than {} ago?", safety.cooldown));
    line(format!("are {} runs under way already?", safety.max_concurrent));
    line(format!("has it run {} times in the last {}?", safety.budget_runs, safety.budget_per));
    line(format!("did the last {} runs fail, less than {} ago?", safety.failures, safety.open_for));
    pods(&mut line, model, planned);
    for chaos in planned.spec.steps.iter().filter_map(|step| step.action.chaos.as_ref()) {
        let slos = if chaos.slos.is_empty() { "any SLO of the namespace".to_owned() } else { chaos.slos.join(" or ") };
        line(format!("does {slos} burn, or have less than {} % of its budget?", chaos.min_budget.unwrap_or(25)));
    }
    line(format!("is the target in {} or the operator's namespace? It never acts there", PROTECTED.join(", ")));
}

/// What follows, by its mode.
pub(super) fn mode(text: &mut String, model: &Model) {
    text.push('\n');
    text.push_str(match model.mode {
        Mode::Off => "Mode Off: it is not started.\n",
        Mode::DryRun => "Mode DryRun: an execution is made that says this; nothing is sent.\n",
        Mode::Approve => "Mode Approve: then it waits for a RunbookApproval.\n",
        Mode::Auto => "Mode Auto: then it is done.\n",
    });
}

/// What is asked of the Pods of the target.
fn pods(line: &mut dyn FnMut(String), model: &Model, planned: &Planned) {
    let Safety { max_targets_percent, min_healthy, .. } = model.safety;
    let target = planned.spec.objects.iter().find(|object| Some(&object.parameter) == planned.spec.target.as_ref());
    let Some(target) = target else { return };
    let acts = || planned.spec.steps.iter().filter_map(|step| Act::of(&step.action));
    let faults = acts().any(|act| matches!(act, Act::Chaos(_)));
    let takes = faults || acts().any(|act| matches!(act, Act::EvictPod(_) | Act::Restart(_)));
    if target.kind == ObjectKind::Pod {
        line(format!("were more than {max_targets_percent} % of the workload's Pods acted upon?"));
        if takes {
            line(format!("are at least {min_healthy} other Pods ready, and does the PodDisruptionBudget agree?"));
            line(OTHERS.to_owned());
        }
        return;
    }
    if faults {
        line(format!("would it hit more than {max_targets_percent} % of the workload's Pods, and more than one?"));
    }
    if takes {
        let others = if faults { " beside those that it hits" } else { "" };
        line(format!("are at least {min_healthy} Pods ready{others}, and does the PodDisruptionBudget agree?"));
        line(OTHERS.to_owned());
    } else if model.steps.iter().filter_map(|step| step.action.scale.as_ref()).any(may_be_fewer) {
        line(format!("if it scales to fewer, would at least {min_healthy} Pods still be ready?"));
        line(OTHERS.to_owned());
    }
}

/// What both bounds of Pods count besides.
const OTHERS: &str = "do other runs take Pods of the same workload? They count as well";

fn may_be_fewer(scale: &Scale) -> bool {
    let Scale { replicas, by, percent, .. } = scale;
    replicas.is_some() || by.is_some_and(|by| by < 0) || percent.is_some_and(|percent| percent < 100)
}

pub(super) fn steps(text: &mut String, model: &Model, planned: &Planned, now: Timestamp) {
    let run = Run {
        namespace: &model.namespace,
        name: &planned.name,
        uid: "UID-OF-THE-EXECUTION",
        created: now,
        begun: now,
        first: now,
        spec: &planned.spec,
    };
    let account = format!("system:serviceaccount:{}:{}", model.namespace, model.service_account_name);
    let reads = requests::reads(&planned.spec.objects, &planned.spec.steps);
    if !reads.is_empty() {
        let _ = writeln!(text, "\nBefore it is planned, as {account}:");
        calls(text, "   ", Ok(reads));
    }
    let _ = writeln!(text, "\nExecution {}, as {account}:", planned.name);
    for (i, step) in planned.spec.steps.iter().enumerate() {
        let Some(action) = Act::of(&step.action) else { continue };
        let (timeout, failure) = (step.timeout.as_deref().unwrap_or("5m"), step.on_failure.unwrap_or_default());
        let field = action.kind().field();
        let _ = writeln!(text, "\n{}. {} ({field}), at most {timeout}, on failure: {failure:?}", i + 1, step.name);
        let crash = match action.class() {
            plimsoll_runbook::Class::Repeatable => "is done again after a crash",
            plimsoll_runbook::Class::Once => "is never done again after a crash; the run ends as Unknown",
        };
        let row = act::row(action.kind());
        let reason = if action.class() == row.class { row.reason } else { "its author says that it may be repeated" };
        let _ = writeln!(text, "   {crash}: {reason}");
        calls(text, "   ", requests::of(&run, step));
        let undo = requests::undo(&run, step);
        if undo.as_ref().is_ok_and(|calls| !calls.is_empty()) {
            text.push_str("   to undo it:\n");
            calls(text, "   ", undo);
        }
    }
    if let Some(verify) = &planned.spec.verify {
        let _ = writeln!(text, "\n{}", last(verify));
        calls(text, "   ", Ok(requests::verification(&run, verify)));
    }
}

/// The verification of a whole run in words.
pub(super) fn last(verify: &Verify) -> String {
    let after = verify.after.as_deref().unwrap_or("10m");
    let below = verify.below.as_deref().unwrap_or("1");
    let failure = verify.on_failure.unwrap_or_default();
    format!("At last, after {after}: SLO {} must burn slower than {below}, else: {failure:?}", verify.slo)
}

/// Requests in words, each with what it is for.
pub(super) fn calls(text: &mut String, indent: &str, calls: Result<Vec<Call>, String>) {
    match calls {
        Ok(calls) => {
            for Call { what, request, .. } in calls {
                let (sent, what) = (request.to_string(), one_line(&what));
                let _ = writeln!(text, "{indent}→ {}\n{indent}  {what}", one_line(&sent));
                if let Some(body) = &request.body {
                    let _ = writeln!(text, "{indent}  {}", one_line(&body.to_string()));
                }
            }
        }
        Err(why) => {
            let _ = writeln!(text, "{indent}✗ {}", one_line(&why));
        }
    }
}

fn assumptions(text: &mut String, planned: &Planned) {
    text.push_str(
        "\nNo cluster was asked. It is assumed that the objects are there with 1 container and 1 of 1 replicas,\n",
    );
    text.push_str(
        "that nothing else changes them, and that the operator's configuration allows the images and destinations.\n",
    );
    for object in &planned.spec.objects {
        let _ = writeln!(text, "  {} stands for what the cluster says", object.uid);
    }
}
