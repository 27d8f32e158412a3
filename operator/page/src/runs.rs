//! "What did it do and why?": runbooks, and their executions.

use jiff::Timestamp;
use plimsoll_api::{
    ActionKind, Runbook, RunbookExecution, conditions as c,
    execution::{Effect, Outcome, Phase, StepStatus, TriggerKind},
    runbook::{Mode, Trigger},
};

use crate::{Kept, words};

/// One runbook on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct RunbookRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// How far it goes, the default filled in.
    pub mode: Mode,
    /// What starts it, in words.
    pub trigger: String,
    /// Number of its steps.
    pub steps: usize,
    /// Why it could not be started.
    pub broken: Option<String>,
    /// How many runs of it are kept.
    pub runs: usize,
}

/// One execution on one line.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its runbook.
    pub runbook: String,
    /// How far it goes.
    pub mode: Mode,
    /// How far it is.
    pub phase: Phase,
    /// It has said what would have been done, and nothing was sent.
    pub dry: bool,
    /// Why it is there.
    pub reason: String,
    /// When it was made.
    pub made: Option<Timestamp>,
}

/// The list of runbooks and of what they did.
#[derive(Clone, Debug, PartialEq)]
pub struct Runs {
    /// The answer, in a sentence.
    pub headline: String,
    /// Runbooks, by namespace and name.
    pub runbooks: Vec<RunbookRow>,
    /// Executions, newest first, those that wait for somebody before all others.
    pub runs: Vec<RunRow>,
    /// How many there are in all.
    pub total: usize,
    /// False as long as not all objects are known.
    pub complete: bool,
}

/// Executions that are listed.
const LISTED: usize = 200;

impl Runs {
    /// From what is stored.
    pub fn new(runbooks: &[Kept<Runbook>], executions: &[Kept<RunbookExecution>], complete: bool) -> Self {
        let mut runs: Vec<RunRow> = executions.iter().map(run).collect();
        let waits = |row: &RunRow| row.phase != Phase::AwaitingApproval;
        runs.sort_by_key(|row| (waits(row), std::cmp::Reverse(row.made), row.name.clone()));
        let mut rows: Vec<RunbookRow> = runbooks.iter().map(|runbook| runbook_row(runbook, &runs)).collect();
        rows.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        let headline = headline(&rows, &runs, complete);
        let total = runs.len();
        runs.truncate(LISTED);
        Self { headline, runbooks: rows, runs, total, complete }
    }
}

fn run(execution: &Kept<RunbookExecution>) -> RunRow {
    let object = execution.object.as_ref();
    let status = object.ok().and_then(|object| object.status.as_ref());
    let reason = match object {
        Ok(_) => {
            status.and_then(|status| status.message.as_ref().or(status.reason.as_ref())).cloned().unwrap_or_default()
        }
        Err(why) => why.clone(),
    };
    let object = object.ok();
    RunRow {
        namespace: execution.namespace.clone(),
        name: execution.name.clone(),
        runbook: object.map(|object| object.spec.runbook.name.clone()).unwrap_or_default(),
        mode: object.map_or(Mode::Off, |object| object.spec.mode),
        phase: status.map(|status| status.phase).unwrap_or_default(),
        dry: object.is_some_and(|object| is_dry(object)),
        reason,
        made: object.and_then(|object| object.metadata.creation_timestamp.as_ref()).map(|time| time.0),
    }
}

fn runbook_row(runbook: &Kept<Runbook>, runs: &[RunRow]) -> RunbookRow {
    let object = runbook.object.as_ref().ok();
    let status = object.and_then(|object| object.status.as_ref());
    let not_ready = status.and_then(|status| {
        status
            .conditions
            .iter()
            .find(|one| one.type_ == c::READY && one.status == "False")
            .map(|one| one.message.clone())
    });
    let mine = |run: &&RunRow| run.runbook == runbook.name && run.namespace == runbook.namespace;
    RunbookRow {
        namespace: runbook.namespace.clone(),
        name: runbook.name.clone(),
        description: object.and_then(|object| object.spec.description.clone()).unwrap_or_default(),
        mode: status.and_then(|status| status.mode).or(object.and_then(|object| object.spec.mode)).unwrap_or_default(),
        trigger: object.map(|object| trigger(&object.spec.trigger)).unwrap_or_default(),
        steps: object.map_or(0, |object| object.spec.steps.len()),
        broken: runbook.object.as_ref().err().cloned().or(not_ready),
        runs: runs.iter().filter(mine).count(),
    }
}

/// What starts a runbook, in words.
fn trigger(trigger: &Trigger) -> String {
    let Trigger { alert, slo, anomaly, query, schedule, manual, r#for, time_zone, starting_deadline: _ } = trigger;
    let hold = r#for.as_ref().map(|time| format!(" for {time}")).unwrap_or_default();
    if let Some(matchers) = alert {
        return format!("alert with {}", matchers.join(", "));
    }
    if let Some(slo) = slo {
        let of = if slo.names.is_empty() { "an SLO that names it".to_owned() } else { slo.names.join(" or ") };
        return format!("{of} burns: {:?}", slo.burning);
    }
    if let Some(anomaly) = anomaly {
        let of = anomaly.slo.as_ref().or(anomaly.alert_rule.as_ref()).map(|of| format!(" of {of}")).unwrap_or_default();
        return format!("anomaly above {}{of}{hold}", anomaly.above);
    }
    if let Some(query) = query {
        return format!("query {query}{hold}");
    }
    if let Some(schedule) = schedule {
        return format!("{schedule} {}", time_zone.as_deref().unwrap_or("UTC"));
    }
    if manual.is_some() { "by hand".to_owned() } else { String::new() }
}

fn headline(runbooks: &[RunbookRow], runs: &[RunRow], complete: bool) -> String {
    if runbooks.is_empty() && runs.is_empty() {
        return if complete { "There is no runbook yet." } else { "Still reading what there is." }.to_owned();
    }
    let of = |phases: &[Phase]| runs.iter().filter(|run| phases.contains(&run.phase)).count();
    let mut parts = vec![match of(&[Phase::AwaitingApproval]) {
        0 => "No run waits for an approval".to_owned(),
        1 => "1 run waits for an approval".to_owned(),
        n => format!("{n} runs wait for an approval"),
    }];
    match of(&[Phase::Running, Phase::Verifying]) {
        0 => {}
        n => parts.push(format!("{n} under way")),
    }
    match of(&[Phase::Unknown]) {
        0 => {}
        n => parts.push(format!("{n} ended unseen and must be looked at")),
    }
    match runbooks.iter().filter(|row| row.broken.is_some()).count() {
        0 => {}
        n => parts.push(format!("{} could not be started", words::several(n, "runbook"))),
    }
    format!("{}.", parts.join("; "))
}

/// Whether a run has ended by saying what would have been done.
fn is_dry(execution: &RunbookExecution) -> bool {
    let status = execution.status.as_ref();
    execution.spec.mode == Mode::DryRun
        && status.is_some_and(|status| status.phase == Phase::Succeeded && status.reason.as_deref() == Some(DRY))
}

/// The reason of the status of such a run.
const DRY: &str = "DryRun";

/// How far a run is, as a person says it: a dry run has not succeeded in anything.
pub fn told(execution: &RunbookExecution) -> &'static str {
    if is_dry(execution) {
        return DRY_WORDS;
    }
    phase_words(execution.status.as_ref().map_or(Phase::Pending, |status| status.phase))
}

/// What a dry run is called.
pub const DRY_WORDS: &str = "Dry run";

/// A request that a step sends, or would send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// `PATCH /apis/apps/v1/…`
    pub request: String,
    /// Its body.
    pub body: Option<String>,
    /// What it is for.
    pub what: String,
}

/// Something that a run does, or undoes.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRow {
    /// Its name.
    pub name: String,
    /// What kind of thing it is: `rollback`.
    pub action: String,
    /// What exactly, as it is written in the execution.
    pub what: String,
    /// How far it is: the outcome's name, `begun`, `not begun`, or of a dry run `would be done`.
    pub state: String,
    /// How it ended, where it did.
    pub outcome: Option<Outcome>,
    /// When its intent was stored.
    pub intent: Option<Timestamp>,
    /// Seconds that it took.
    pub took: Option<f64>,
    /// How often it was begun.
    pub attempts: i64,
    /// What happened.
    pub message: String,
    /// What was kept.
    pub artifacts: Vec<Artifact>,
    /// What it would send, where it has not begun.
    pub sends: Vec<Sent>,
    /// What would be sent to undo it.
    pub undoes: Vec<Sent>,
}

/// Something that was kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: String,
    /// Its size in words, and whether it was cut off.
    pub size: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// One execution.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its runbook.
    pub runbook: String,
    /// How far it is.
    pub phase: Phase,
    /// It has said what would have been done, and nothing was sent.
    pub dry: bool,
    /// Why it is there, in words that follow those of its phase.
    pub headline: String,
    /// Names and values.
    pub facts: Vec<(&'static str, String)>,
    /// The labels of what started it.
    pub evidence: Vec<(String, String)>,
    /// The objects that it may touch, in words.
    pub objects: Vec<String>,
    /// The steps, in their order, with what was undone after them.
    pub steps: Vec<StepRow>,
    /// The hash of its spec, while somebody can decide about it.
    pub decide: Option<String>,
}

impl Run {
    /// Of one that can be read.
    pub fn new(namespace: &str, name: &str, execution: &RunbookExecution) -> Self {
        let spec = &execution.spec;
        let status = execution.status.clone().unwrap_or_default();
        let message = status.message.clone().unwrap_or_else(|| "nobody has looked at it yet".to_owned());
        let dry = is_dry(execution);
        let reason = match status.reason.as_deref() {
            _ if dry => ": ".to_owned(),
            Some(reason) => format!(" ({reason}): "),
            None => " ".to_owned(),
        };
        let trigger = &spec.trigger;
        let by = trigger.requested_by.as_deref().map(|by| format!(" by {by}")).unwrap_or_default();
        let value = trigger.value.as_deref().map(|value| format!(", value {value}")).unwrap_or_default();
        // Without a cluster there are no generations.
        let generation = Some(spec.runbook.generation).filter(|generation| *generation > 0);
        let generation = generation.map(|generation| format!(", generation {generation}")).unwrap_or_default();
        let mut facts = vec![
            ("Runbook", format!("{}{generation}", spec.runbook.name)),
            ("Mode", format!("{:?}", spec.mode)),
            ("Acts as", format!("ServiceAccount {}", spec.service_account_name)),
            (
                "Started by",
                format!("{}{by}{value}, since {} UTC", started_by(trigger.kind), words::moment(trigger.starts_at.0)),
            ),
        ];
        facts.extend(status.approval.as_ref().map(|decided| {
            let why = decided.reason.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            (
                "Decision",
                format!("{:?} by {}, {} UTC{why}", decided.decision, decided.decider, words::moment(decided.at.0)),
            )
        }));
        facts.extend((!spec.parameters.is_empty()).then(|| {
            let all: Vec<String> = spec.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            ("Parameters", all.join(", "))
        }));
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            runbook: spec.runbook.name.clone(),
            phase: status.phase,
            dry,
            headline: format!("{reason}{message}"),
            facts,
            evidence: trigger.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            objects: spec
                .objects
                .iter()
                .map(|object| {
                    let place = object.namespace.as_deref().map(|space| format!("{space}/")).unwrap_or_default();
                    format!("{} {place}{} ({})", object.kind.name(), object.name, object.parameter)
                })
                .collect(),
            steps: steps(execution, &status.steps, status.verification.as_ref(), status.escalation.as_ref()),
            decide: status.spec_hash.clone().filter(|_| status.phase == Phase::AwaitingApproval),
        }
    }

    /// Whether it is shown what the steps would send: where nothing is sent, or somebody decides about it.
    pub fn wants_requests(&self) -> bool {
        self.dry || self.decide.is_some()
    }

    /// With what each step, by its name, would send, and what would undo it.
    #[must_use]
    pub fn with_requests(mut self, of: impl Fn(&str) -> [Vec<Sent>; 2]) -> Self {
        for step in &mut self.steps {
            [step.sends, step.undoes] = of(&step.name);
        }
        self
    }
}

/// What has started a run, as a person says it.
const fn started_by(kind: TriggerKind) -> &'static str {
    match kind {
        TriggerKind::Alert => "an alert",
        TriggerKind::Slo => "an SLO that burns",
        TriggerKind::Anomaly => "an anomaly",
        TriggerKind::Query => "a query",
        TriggerKind::Schedule => "its schedule",
        TriggerKind::Manual => "somebody, by hand",
    }
}

/// A phase as a person says it.
pub fn phase_words(phase: Phase) -> &'static str {
    match phase {
        Phase::AwaitingApproval => "Waits for an approval",
        Phase::RolledBack => "Rolled back",
        other => other.name(),
    }
}

fn steps(
    execution: &RunbookExecution,
    known: &[StepStatus],
    verification: Option<&Effect>,
    escalation: Option<&Effect>,
) -> Vec<StepRow> {
    // What would have been held back would not have begun a step: it has no time at which it began.
    let would = is_dry(execution) && execution.status.as_ref().is_some_and(|status| status.started_at.is_some());
    let mut rows = Vec::new();
    for step in &execution.spec.steps {
        let status = known.iter().find(|status| status.name == step.name);
        let kind = step.action.kinds().first().map_or("", |kind| ActionKind::field(*kind));
        let what = serde_json::to_value(&step.action).unwrap_or_default();
        let what = what.get(kind).map(ToString::to_string).unwrap_or_default();
        let mut row = row(&step.name, kind, what, status.map(|status| &status.effect));
        if would && status.is_none() {
            row.state = WOULD.to_owned();
        }
        rows.push(row);
        if let Some(undone) = status.and_then(|status| status.compensation.as_ref()) {
            rows.push(self::row(&format!("{} undone", step.name), "compensate", String::new(), Some(undone)));
        }
    }
    rows.extend(verification.map(|effect| row("verification", "verify", String::new(), Some(effect))));
    rows.extend(escalation.map(|effect| row("escalation", "notify", String::new(), Some(effect))));
    rows
}

/// The state of a step of a dry run.
const WOULD: &str = "would be done";

fn row(name: &str, action: &str, what: String, effect: Option<&Effect>) -> StepRow {
    let none = Effect::default();
    let Effect { intent_time, first_intent_time: _, attempts, finished_at, outcome, message, artifacts } =
        effect.unwrap_or(&none);
    let intent = intent_time.as_ref().map(|time| time.0);
    let ended = finished_at.as_ref().map(|time| time.0);
    StepRow {
        name: name.to_owned(),
        action: action.to_owned(),
        what,
        state: match (outcome, effect) {
            (Some(outcome), _) => outcome.name(),
            (None, Some(_)) => "begun",
            (None, None) => "not begun",
        }
        .to_owned(),
        outcome: *outcome,
        intent,
        took: intent.zip(ended).map(|(from, to)| to.duration_since(from).as_secs_f64()),
        attempts: attempts.unwrap_or(0),
        message: message.clone().unwrap_or_default(),
        sends: Vec::new(),
        undoes: Vec::new(),
        artifacts: artifacts
            .iter()
            .map(|artifact| Artifact {
                name: artifact.name.clone(),
                location: artifact.location.clone(),
                size: format!(
                    "{}{}",
                    words::bytes(artifact.bytes),
                    if artifact.truncated == Some(true) { ", cut off" } else { "" }
                ),
                sha256: artifact.sha256.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
#[path = "runs_tests.rs"]
mod tests;
