//! The exact requests of every action, as data: the shell only sends them, and `plimsoll runbook test` prints them.

mod approval;
mod chaos;
mod outside;
mod pod;
mod reads;
mod rights;
mod telemetry;
mod workload;

use std::fmt;

use jiff::Timestamp;
use plimsoll_api::{RunbookExecutionSpec, execution::ObjectRef, gate::Verify, runbook::Step};
use serde_json::{Value, json};

use crate::{Act, names};

pub use approval::approval;
pub use outside::{found, message, query_request, verified, verify_query};
pub use reads::reads;
pub use rights::{Right, rights, rules};

/// Who is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The API server, as the runbook's ServiceAccount.
    Kubernetes,
    /// Prometheus.
    Prometheus,
    /// Alertmanager.
    Alertmanager,
    /// Grafana.
    Grafana,
    /// A destination of the operator's configuration.
    Destination(String),
}

/// How a body is to be read.
pub const JSON: &str = "application/json";
/// A patch of some fields; lists are replaced.
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// A patch of some fields; lists of named things are merged.
pub const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
/// A list of operations, which all apply or none.
pub const JSON_PATCH: &str = "application/json-patch+json";

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Who is asked.
    pub to: Server,
    /// `GET`, `POST`, `PATCH`, `DELETE`.
    pub method: &'static str,
    /// The path with its query, percent-encoded; `""`: the destination has its own. `{picked}` in it is what an earlier
    /// call picked.
    pub path: String,
    /// The content type of the body.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Option<Value>,
    /// True for a WebSocket whose streams are the output of a program (`v5.channel.k8s.io`).
    pub streams: bool,
}

/// A request, what it is for and what its answer means.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What it is for, a few words.
    pub what: String,
    /// What is sent.
    pub request: Request,
    /// Codes besides 200 to 299 that are as good: 409 where an object may be there already.
    pub fine: &'static [u16],
    /// Codes after which it is tried again until the step's timeout: 429 of an eviction.
    pub again: &'static [u16],
    /// Codes after which nobody knows whether it was done: 404 of what may have been made and removed since.
    pub unknown: &'static [u16],
    /// What the answer must be.
    pub expect: Expect,
    /// What is kept of the answer.
    pub keep: Option<Keep>,
    /// What later paths need of the answer.
    pub pick: Option<Pick>,
    /// True for what removes what calls before it have left in a container: done however the step ends.
    pub cleans: bool,
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// A good code is enough.
    Code,
    /// It is this very object; else it is another one under the same name, and the step fails.
    Uid(String),
    /// It is an object that this execution has made; else the step fails.
    Ours(String),
    /// Something of it is as the run knows it. When it is already as it is to be, the call after this one is left out;
    /// when somebody else has changed it, the step fails and nothing is changed.
    Known(Known),
    /// It is asked again until this holds.
    Until(Until),
}

/// A part of an object as a run knows it: what it was when the run was planned, or what the run itself has made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The object's UID.
    pub uid: String,
    /// Which part.
    pub part: Part,
    /// What it may be before.
    pub from: Vec<Value>,
    /// What it is to be.
    pub to: Value,
}

/// A part of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// What is at this JSON pointer.
    At(&'static str),
    /// The intervals of the endpoints in the list at this JSON pointer, `""` where there is none.
    Intervals(&'static str),
    /// Whether a Node takes no new Pods: a boolean, or `[EXECUTION, boolean]` when that is not as it was before and this
    /// execution has made it so.
    Unschedulable {
        /// The execution.
        by: String,
        /// What it was when the run was planned.
        before: bool,
    },
    /// The time at this JSON pointer. What is to be is there as well when a later one is.
    Time(&'static str),
}

impl Part {
    /// What an execution has made of a Node.
    fn own(execution: &str, unschedulable: bool) -> Value {
        json!([execution, unschedulable])
    }
}

/// How an object compares with what a run knows of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As before.
    Before,
    /// As it is to be.
    Done,
    /// Somebody else has changed it; how, a few words.
    Changed(String),
}

impl Known {
    /// How an object compares.
    pub fn standing(&self, object: &Value) -> Standing {
        if object.pointer("/metadata/uid").and_then(Value::as_str) != Some(&self.uid) {
            return Standing::Changed("it is another object of the same name by now".to_owned());
        }
        let now = match &self.part {
            Part::At(pointer) => object.pointer(pointer).cloned().unwrap_or_default(),
            Part::Unschedulable { by, before } => {
                let is = object.pointer("/spec/unschedulable").and_then(Value::as_bool).unwrap_or(false);
                let annotations = object.pointer("/metadata/annotations");
                let last = annotations.and_then(|all| all.get(names::UNSCHEDULABLE_BY)).and_then(Value::as_str);
                if is != *before && last == Some(by) { Part::own(by, is) } else { json!(is) }
            }
            Part::Time(pointer) => {
                let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
                let now = object.pointer(pointer).and_then(time);
                return if now.is_some() && now >= time(&self.to) { Standing::Done } else { Standing::Before };
            }
            Part::Intervals(list) => {
                let endpoints = object.pointer(list).and_then(Value::as_array).into_iter().flatten();
                endpoints.map(|endpoint| endpoint.get("interval").cloned().unwrap_or_else(|| json!(""))).collect()
            }
        };
        if now == self.to {
            return Standing::Done;
        }
        if self.from.contains(&now) {
            return Standing::Before;
        }
        // A template is long, and may hold what is nobody's business.
        let shown = if now.is_object() { String::new() } else { format!(", to {now}") };
        Standing::Changed(format!("somebody has changed it since the run was planned{shown}, so it is left as it is"))
    }
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// A workload has all Pods of its newest template, and all are available.
    RolledOut {
        /// When that was first intended: what the workload says of a rollout before is of another one.
        since: Timestamp,
    },
    /// The ephemeral container of this name has ended.
    ContainerEnded(String),
    /// The ephemeral container of this name runs.
    ContainerRuns(String),
    /// A Job is complete, or has failed.
    JobEnded,
    /// How the program of a Job's Pod ended, by a list of its Pods: the first one is it. Nothing is waited for.
    PodOfJob,
    /// An experiment of Chaos Mesh has hit all it selected.
    Injected,
    /// An experiment of Chaos Mesh is over, and all is as before.
    Recovered,
    /// A Workflow of Chaos Mesh is accomplished.
    Accomplished,
    /// A ChaosEngine of Litmus is completed.
    EngineCompleted,
}

/// How far what is waited for is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It holds.
    Done,
    /// Not yet; why, a few words.
    Waiting(String),
    /// It never will; why, a few words.
    Never(String),
    /// It is over, and badly; how, a few words. What it has left is kept first, by the calls after, then the step fails.
    Badly(String),
}

/// An artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Its name, unique in the step.
    pub name: String,
    /// Bytes that are kept at most; `None`: the quota decides.
    pub limit: Option<u64>,
    /// True when a longer one is refused, not cut off.
    pub whole: bool,
    /// True when of a longer one the end is kept, not the beginning.
    pub end: bool,
    /// What begins an answer that is none, whatever its code says.
    pub none: Option<&'static str>,
}

/// What is picked of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pick {
    /// A JSON pointer to a list.
    pub list: &'static str,
    /// The field and value of the entry that is meant; without it, the first one.
    pub entry: Option<(&'static str, String)>,
    /// A JSON pointer in the entry.
    pub take: &'static str,
    /// True when it is no mistake that there is none: the calls after are left out.
    pub optional: bool,
    /// A JSON pointer in the entry and the values it may have; without it, any entry is meant.
    pub only: Option<(&'static str, &'static [&'static str])>,
    /// True when every such entry is meant: the calls after are made for each.
    pub each: bool,
}

/// An execution as its requests need it.
#[derive(Clone, Copy, Debug)]
pub struct Run<'r> {
    /// Its namespace.
    pub namespace: &'r str,
    /// Its name.
    pub name: &'r str,
    /// Its UID: what it makes goes with it.
    pub uid: &'r str,
    /// When it was made.
    pub created: Timestamp,
    /// When the intent of what is done now was stored: the same however often it is done, unless its time was over.
    pub begun: Timestamp,
    /// When that was stored first: what is done now may have been done since then.
    pub first: Timestamp,
    /// What it does.
    pub spec: &'r RunbookExecutionSpec,
}

impl<'r> Run<'r> {
    /// An object of the spec.
    ///
    /// # Errors
    /// When a spec that was not planned here lacks it.
    pub fn object(&self, parameter: &str) -> Result<&'r ObjectRef, String> {
        self.spec
            .objects
            .iter()
            .find(|object| object.parameter == parameter)
            .ok_or_else(|| format!("the execution has no object {parameter}"))
    }

    /// Every action of the run, also those that undo.
    fn actions(&self) -> impl Iterator<Item = &'r plimsoll_api::Action> {
        self.spec.steps.iter().flat_map(|step| [Some(&step.action), step.compensate.as_deref()]).flatten()
    }

    fn labels(&self) -> Value {
        json!({names::MANAGED_BY.0: names::MANAGED_BY.1, names::EXECUTION: self.name, names::RUNBOOK: self.spec.runbook.name.chars().take(63).collect::<String>().trim_end_matches(['-', '.'])})
    }

    /// Metadata of an object that is made in the run's own namespace: it goes when the execution goes.
    fn metadata(&self, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": self.namespace,
            "labels": self.labels(),
            "ownerReferences": [{
                "apiVersion": plimsoll_api::API_VERSION, "kind": "RunbookExecution", "name": self.name, "uid": self.uid,
            }],
        })
    }
}

/// The requests of a step.
///
/// # Errors
/// When the spec was not planned here and lacks something, in words.
pub fn of(run: &Run<'_>, step: &Step) -> Result<Vec<Call>, String> {
    act(
        run,
        step,
        Act::of(&step.action).ok_or_else(|| format!("step {} has not exactly one action", step.name))?,
        &step.name,
    )
}

/// The requests that undo a step: what its `compensate` says, else what undoes the action by itself. None for an
/// action that nothing undoes.
///
/// # Errors
/// When the spec was not planned here and lacks something, in words.
pub fn undo(run: &Run<'_>, step: &Step) -> Result<Vec<Call>, String> {
    if let Some(undo) = &step.compensate {
        let undo = Act::of(undo).ok_or_else(|| format!("what undoes step {} has not exactly one action", step.name))?;
        return act(run, step, undo, &format!("{}-undo", step.name));
    }
    match Act::of(&step.action) {
        Some(Act::Scale(scale)) => workload::unscale(run, scale),
        Some(Act::Rollback(rollback)) => workload::unrollback(run, rollback),
        Some(Act::Cordon(cordon)) => workload::uncordon(run, cordon),
        Some(Act::Chaos(chaos)) => chaos::remove(run, step, chaos),
        Some(Act::TelemetryProfile(profile)) => telemetry::restore(run, profile),
        Some(Act::Silence(silence)) => outside::unsilence(run, step, silence),
        _ => Ok(Vec::new()),
    }
}

/// The request of a verification.
pub fn verification(run: &Run<'_>, verify: &Verify) -> Vec<Call> {
    vec![outside::verify(run, verify)]
}

fn act(run: &Run<'_>, step: &Step, act: Act<'_>, name: &str) -> Result<Vec<Call>, String> {
    let own = names::of_step(run.name, name);
    match act {
        Act::Logs(logs) => pod::logs(run, logs),
        Act::DebugContainer(debug) => pod::debug(run, debug, &own),
        Act::Profile(profile) => pod::profile(run, profile),
        Act::HeapDump(dump) => pod::heap_dump(run, step, dump, &own),
        Act::Exec(exec) => pod::exec(run, exec),
        Act::Describe(describe) => pod::describe(run, describe),
        Act::Job(job) => Ok(workload::job(run, step, job, &own)),
        Act::Scale(scale) => workload::scale(run, scale),
        Act::Restart(restart) => workload::restart(run, restart, place(run, step, name)),
        Act::Rollback(rollback) => workload::rollback(run, rollback),
        Act::EvictPod(evict) => workload::evict(run, evict),
        Act::Cordon(cordon) => workload::cordon(run, cordon),
        Act::Chaos(chaos) => chaos::inject(run, chaos, &own),
        Act::TelemetryProfile(profile) => telemetry::apply(run, profile),
        Act::Silence(silence) => outside::silence(run, step, silence),
        Act::Notify(notify) => Ok(vec![outside::notify(run, step, notify)]),
        Act::Annotate(annotate) => Ok(vec![outside::annotate(run, annotate)]),
        Act::Wait(_) => Ok(Vec::new()),
        Act::Query(query) => Ok(vec![outside::query(&query.expr, "ask how to go on")]),
        Act::Verify(verify) => Ok(vec![outside::verify(run, verify)]),
    }
}

/// The place of an action among all of its run, so that no two are the same.
fn place(run: &Run<'_>, step: &Step, name: &str) -> i64 {
    let step_before = run.spec.steps.iter().position(|other| other.name == step.name).unwrap_or_default();
    let undo = i64::from(name != step.name);
    i64::try_from(step_before).unwrap_or_default() * 2 + undo
}

impl Call {
    fn new(what: impl Into<String>, request: Request) -> Self {
        Self {
            what: what.into(),
            request,
            fine: &[],
            again: &[],
            unknown: &[],
            expect: Expect::Code,
            keep: None,
            pick: None,
            cleans: false,
        }
    }

    fn fine(mut self, codes: &'static [u16]) -> Self {
        self.fine = codes;
        self
    }

    fn again(mut self, codes: &'static [u16]) -> Self {
        self.again = codes;
        self
    }

    fn unknown(mut self, codes: &'static [u16]) -> Self {
        self.unknown = codes;
        self
    }

    fn expect(mut self, expect: Expect) -> Self {
        self.expect = expect;
        self
    }

    fn keep(mut self, name: impl Into<String>, limit: Option<u64>) -> Self {
        self.keep = Some(Keep { name: name.into(), limit, whole: false, end: false, none: None });
        self
    }
}

impl Request {
    fn kubernetes(method: &'static str, path: String) -> Self {
        Self { to: Server::Kubernetes, method, path, content_type: None, body: None, streams: false }
    }

    fn get(path: String) -> Self {
        Self::kubernetes("GET", path)
    }

    fn body(mut self, content_type: &'static str, body: Value) -> Self {
        self.content_type = Some(content_type);
        self.body = Some(body);
        self
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            Server::Kubernetes => {}
            Server::Prometheus => f.write_str("Prometheus: ")?,
            Server::Alertmanager => f.write_str("Alertmanager: ")?,
            Server::Grafana => f.write_str("Grafana: ")?,
            Server::Destination(name) => write!(f, "destination {name}: ")?,
        }
        f.write_str(self.method)?;
        if !self.path.is_empty() {
            write!(f, " {}", self.path)?;
        }
        if let Some(content_type) = self.content_type {
            write!(f, " ({content_type})")?;
        }
        Ok(())
    }
}

/// The path of a resource: `/apis/apps/v1/namespaces/shop/deployments/checkout`.
fn path(api_version: &str, namespace: Option<&str>, plural: &str, name: &str) -> String {
    let root = if api_version.contains('/') { "/apis" } else { "/api" };
    let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    let name = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("{root}/{api_version}{namespace}/{plural}{name}")
}

fn path_of(object: &ObjectRef) -> String {
    let (_, api_version, plural) = object.kind.resource();
    path(api_version, object.namespace.as_deref(), plural, &object.name)
}

/// That a part of an object is as the run knows it, before the call that changes it.
fn known(object: &ObjectRef, part: Part, from: Vec<Value>, to: Value) -> Call {
    let known = Known { uid: object.uid.clone(), part, from, to };
    Call::new(format!("see that the {} is as it was", object.kind.name()), Request::get(path_of(object)))
        .expect(Expect::Known(known))
}

/// That it is still the object that was looked up.
fn same(object: &ObjectRef) -> Call {
    Call::new(format!("see that it is still the same {}", object.kind.name()), Request::get(path_of(object)))
        .expect(Expect::Uid(object.uid.clone()))
}

/// Puts a field into a map.
fn put(map: &mut Value, key: &str, value: Value) {
    if let Some(map) = map.as_object_mut() {
        map.insert(key.to_owned(), value);
    }
}

/// A value in a query of an address.
fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

impl Until {
    /// How far an object is.
    pub fn progress(&self, object: &Value) -> Progress {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let condition = |wanted: &str| {
            let all = object.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten();
            all.filter(|c| c.get("type").and_then(Value::as_str) == Some(wanted))
                .any(|c| c.get("status").and_then(Value::as_str) == Some("True"))
        };
        let when = |done: bool, waiting: &str| {
            if done { Progress::Done } else { Progress::Waiting(waiting.to_owned()) }
        };
        // Chaos Mesh says by this that a fault's time is over. Its conditions alone do not tell the end from the
        // beginning: `AllRecovered` is true as well before anything is hit, and `AllInjected` false again after it.
        let phase = text("/status/experiment/desiredPhase");
        match self {
            Self::RolledOut { since } => workload::rolled_out(object, *since),
            Self::ContainerEnded(name) => pod::container(object, name, true),
            Self::ContainerRuns(name) => pod::container(object, name, false),
            Self::JobEnded if condition("Failed") => Progress::Badly("the Job has failed".to_owned()),
            Self::JobEnded => when(condition("Complete"), "the Job runs"),
            Self::PodOfJob => pod::ended(object.pointer("/items/0/status/containerStatuses"), workload::CONTAINER)
                .unwrap_or(Progress::Done),
            Self::Injected => when(condition("AllInjected") || phase == "Stop", "not all are hit yet"),
            Self::Recovered => when(condition("AllRecovered") && phase != "Run", "it is not over yet"),
            Self::Accomplished => when(condition("Accomplished"), "the workflow runs"),
            Self::EngineCompleted => match text("/status/engineStatus") {
                "completed" => Progress::Done,
                "stopped" => Progress::Never("the engine was stopped".to_owned()),
                other => Progress::Waiting(format!("the engine is {}", if other.is_empty() { "new" } else { other })),
            },
        }
    }
}
