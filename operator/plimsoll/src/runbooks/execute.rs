//! Turns the circle of the state machine for one execution: reads it, stores what it is told to store, asks and does
//! what it is told to, and tells it what came back. Nothing is decided here.

use std::{pin::pin, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::PostParams,
    runtime::reflector::{ObjectRef, Store},
};
use plimsoll_api::{
    RunbookExecution, RunbookExecutionStatus,
    execution::{Outcome, Phase},
};
use plimsoll_runbook::{
    Act,
    guards::{self, Guard, Refusal, check},
    machine::{Awaits, Checked, Command, Doing, Event, RECHECK, Report, What, World, begins, owes, start_by, step},
    requests::{self, Run},
    validate,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

use super::{
    begin::recall,
    circumstances::{self, Asker, Listed, holds, listed},
    decide,
    dispatch::{Dispatcher, Known},
    kept::Kept,
    lent,
    news::News,
    rights,
    switch::Switch,
    tasks::{self, conclude, failed, left, resolved_at},
    unsealed::Unsealed,
    watched::Watched,
};
use crate::{
    actions::{Actor, Finish, Outside, Room, account},
    artifacts::{Archive, ArtifactsConfig, Place},
    shares::{Share, Shares},
    sinks::kubernetes::chain,
};

/// What is held back by what is counted is counted again at least this often.
const COUNTED: Duration = Duration::from_secs(RECHECK.unsigned_abs());

/// Statuses of executions that are held back: so many are written at the same time.
pub const REFUSED_AT_ONCE: usize = 8;

/// Executions that are worked on at the same time: read, checked and stored. What a step does or waits for may take a day,
/// and is none of that.
pub const SLOTS: u32 = 256;

/// Of one namespace, with all whose step is under way.
pub const SLOTS_OF_ONE: u32 = 128;

/// What has begun and takes longer is said to have.
pub(super) const MOMENT: Duration = Duration::from_millis(500);

/// A watch that begins is waited for so long; then executions are listed instead.
const BEGINNING: Duration = Duration::from_secs(10);

/// Why an execution is looked at again soon.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The API server does not answer, or refuses.
    #[error("{0}")]
    Api(String),
    /// Somebody else has written the status: whoever leads by now, goes on.
    #[error("somebody else has gone on with it")]
    Overtaken,
    /// This process does not lead any more.
    #[error("this process does not lead any more")]
    Abandoned,
    /// Somebody has deleted it while something was under way.
    #[error("it is being deleted, so what it has borrowed is given back")]
    Deleted,
}

impl From<kube::Error> for ExecuteError {
    fn from(error: kube::Error) -> Self {
        Self::Api(chain(&error))
    }
}

/// When an execution is looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// After this time, or when something changes.
    Later(Duration),
    /// It is over.
    Never,
}

/// What all executions share.
pub struct Executor {
    /// A client that writes only while this process leads.
    pub client: Client,
    /// All executions, as far as the watch has told.
    pub all: Store<Kept>,
    /// What is kept of them.
    pub watched: Watched,
    /// Runbooks, seals and settings.
    pub dispatcher: Arc<Dispatcher>,
    /// Asks what guards must know.
    pub asker: Asker,
    /// Servers outside.
    pub outside: Outside,
    /// Where evidence may go.
    pub artifacts: ArtifactsConfig,
    /// The kill switch.
    pub switch: Switch,
    /// Tells what has happened.
    pub news: News,
    /// Statuses of executions that are held back: so many are written at once, since there may be very many, and what
    /// runs or is yet to be stored goes first.
    pub refusing: Semaphore,
    /// Executions that are worked on, with a share for each namespace.
    pub slots: Shares,
}

/// What an execution has while it is worked on.
#[derive(Debug)]
pub struct Turn<'e> {
    /// One of [`Executor::slots`].
    pub slot: Share<'e>,
    /// One of [`Executor::refusing`].
    pub told: Option<SemaphorePermit<'e>>,
}

/// Whether an execution is still held back.
#[derive(Debug)]
pub enum Stays<'e> {
    /// It must be looked at.
    No,
    /// It is, and its status says so; after this time it is counted again, which asks nobody.
    Told(Duration),
    /// It is, its status does not say so yet, and too many others are being told at the moment.
    Untold,
    /// It is, and its turn to be told has come.
    Tell(SemaphorePermit<'e>),
}

/// What became of something that was to be done.
enum Acted {
    Reported(Report),
    Paused,
}

impl Executor {
    /// Whether one that the watch has told is still held back by what is counted, so that nothing need be read.
    pub fn stays(&self, told: &RunbookExecution) -> Stays<'_> {
        let status = told.status.as_ref();
        let waits = status.is_none_or(|status| matches!(status.phase, Phase::Pending | Phase::Blocked));
        let approval = status.and_then(|status| status.approval.as_ref());
        let missed = start_by(&told.spec, approval).is_some_and(|by| by < Timestamp::now());
        let over = resolved_at(told).is_some() || told.metadata.deletion_timestamp.is_some();
        if !waits || told.spec.begun.is_some() || missed || over {
            return Stays::No;
        }
        let Some(known) = self.known(told) else { return Stays::No };
        let refusals = circumstances::refused_already(&self.watched.ledger, told, &known, &self.dispatcher.settings);
        let Some((reason, _)) = guards::summary(&refusals) else { return Stays::No };
        if status.and_then(|status| status.reason.as_deref()) == Some(reason) {
            let (now, until) = (Timestamp::now(), refusals.iter().filter_map(|refusal| refusal.until).min());
            return Stays::Told(until.map_or(COUNTED, |until| left(until, now).min(COUNTED)));
        }
        // One at a time while there is something to be stored.
        let most = if self.dispatcher.is_busy() { 1 } else { REFUSED_AT_ONCE };
        if REFUSED_AT_ONCE.saturating_sub(self.refusing.available_permits()) >= most {
            return Stays::Untold;
        }
        self.refusing.try_acquire().map_or(Stays::Untold, Stays::Tell)
    }

    /// Brings one execution as far as it goes now. A turn of [`Self::refusing`] ends with the first status that is stored, and
    /// the slot is others' while a step is under way.
    ///
    /// # Errors
    /// When it should be tried again soon.
    pub async fn run(&self, namespace: &str, name: &str, mut turn: Option<Turn<'_>>) -> Result<Next, ExecuteError> {
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), namespace);
        let new = self.watched.take(namespace, name);
        let seen = new.as_ref().and_then(|new| new.seen);
        let mut execution = match new {
            Some(new) => new.execution,
            None => match api.get_opt(name).await? {
                Some(execution) => {
                    self.watched.ledger.read(&execution);
                    execution
                }
                None => {
                    self.watched.ledger.gone(namespace, name);
                    return Ok(Next::Never);
                }
            },
        };
        // Whoever has made it, or its status, could say that it is deleted as well: first it is said what it is.
        if let Some(broken) = self.unsealed(&execution) {
            let next = self.refuse(&api, &execution, broken).await?;
            lent::release(&api, &execution).await?;
            return Ok(next);
        }
        if let Some(next) = self.goes(&api, &execution).await? {
            return Ok(next);
        }
        self.believed(&mut execution);
        // One that was made as one that has begun; while it is not said in its status, it is said when it takes long.
        let mut unsaid = execution.spec.begun.is_some() && execution.status.is_none();
        let made_here = unsaid && self.watched.making.take(&execution).await;
        if unsaid && !made_here && self.watched.making.is_copy(&execution) {
            return self.refuse(&api, &execution, Unsealed::Copy).await;
        }
        recall(&mut execution);
        let begun = execution.spec.begun.as_ref().filter(|_| made_here);
        let mut event = match begun.and_then(|begun| begins(&execution.spec, begun.0)) {
            Some((_, what)) => Event::Stored(Some(what)),
            None => Event::Loaded,
        };
        loop {
            let paused = self.switch.just_now().await;
            let (resolved_at, deleted) = (resolved_at(&execution), execution.metadata.deletion_timestamp.is_some());
            let created = tasks::created(&execution);
            let lowered = self.lowered(&execution).await;
            let world = World { now: Timestamp::now(), paused, resolved_at, deleted, lowered, created };
            let stored = execution.status.clone().unwrap_or_default();
            let (status, command) = step(&execution.spec, &stored, &event, &world);
            event = match command {
                Command::Store(begins) => {
                    let asks = status.phase == Phase::AwaitingApproval && stored.phase != status.phase;
                    if owes(&execution.spec, &status) {
                        execution = lent::hold(&api, execution).await?;
                    }
                    execution = self.store(&api, &execution, status).await?;
                    unsaid = false;
                    drop(turn.as_mut().and_then(|turn| turn.told.take()));
                    if asks {
                        self.ask(&execution).await;
                    }
                    Event::Stored(begins)
                }
                Command::Check => Event::Checked(Box::pin(self.check(&execution, seen, paused)).await),
                Command::Act(doing) => {
                    let acting = Box::pin(self.act_and_say(&api, &execution, &doing, unsaid.then_some(status)));
                    let (acted, said) = match &mut turn {
                        Some(turn) => turn.slot.without(acting).await,
                        None => acting.await,
                    };
                    if let Some(said) = said {
                        (execution, unsaid) = (said, false);
                    }
                    match acted? {
                        Acted::Reported(report) => Event::Done(report),
                        // It is over, and what it means that nobody saw the end is for the machine to say.
                        Acted::Paused => Event::Loaded,
                    }
                }
                Command::Wait { until, awaits } => {
                    if awaits == Awaits::Approval
                        && let Some(decided) =
                            decide::decision(&self.client, &self.dispatcher.sealer, &execution, world.now).await?
                    {
                        event = Event::Decided(decided);
                        continue;
                    }
                    return Ok(Next::Later(until.map_or(Duration::from_secs(60), |until| left(until, world.now))));
                }
                Command::Finished => {
                    lent::release(&api, &execution).await?;
                    return Ok(Next::Never);
                }
            };
        }
    }

    /// Stores a status under the version that it was read with. Somebody else may have changed an annotation meanwhile;
    /// whoever has changed the status goes on instead of us.
    pub(super) async fn store(
        &self,
        api: &Api<RunbookExecution>,
        execution: &RunbookExecution,
        mut status: RunbookExecutionStatus,
    ) -> Result<RunbookExecution, ExecuteError> {
        let name = execution.name_any();
        conclude(&mut status, execution.metadata.generation);
        status.seal = self.dispatcher.sealer.of_status(execution, &status).ok();
        let mut wanted = RunbookExecution { status: Some(status), ..execution.clone() };
        for _ in 0..5 {
            let error = match api.replace_status(&name, &PostParams::default(), &wanted).await {
                Ok(stored) => {
                    self.watched.ledger.read(&stored);
                    self.news.stored(execution, &stored);
                    return Ok(stored);
                }
                Err(error) => error,
            };
            let conflict = matches!(&error, kube::Error::Api(status) if status.code == 409);
            // The answer may be what was lost.
            let mut now = api.get(&name).await?;
            recall(&mut now);
            // A start that is tried again is entered still: nobody else may begin in between.
            if !conflict || now.status != execution.status {
                self.watched.ledger.read(&now);
            }
            if now.uid() != execution.uid() {
                return Err(ExecuteError::Overtaken);
            }
            if !conflict && same(now.status.as_ref(), wanted.status.as_ref()) {
                self.news.stored(execution, &now);
                return Ok(now);
            }
            if !conflict {
                return Err(error.into());
            }
            if now.status != execution.status {
                return Err(ExecuteError::Overtaken);
            }
            wanted.metadata = now.metadata;
        }
        Err(ExecuteError::Api("the execution changes again and again".to_owned()))
    }

    /// Asks the guards. A run that none refuses is entered into the ledger at the same moment: limits hold however many
    /// are checked at once, and each sees all that have begun before it.
    pub(super) async fn check(
        &self,
        execution: &RunbookExecution,
        seen: Option<Instant>,
        paused: Option<bool>,
    ) -> Checked {
        let ledger = &self.watched.ledger;
        let settings = &self.dispatcher.settings;
        let is_whole = ledger.is_whole(BEGINNING).await;
        let known = self.known(execution);
        if let Some(known) = &known {
            let refusals = circumstances::refused_already(ledger, execution, known, settings);
            if !refusals.is_empty() {
                return Checked { holds: Some(true), refusals, void: None };
            }
        }
        let listed = async {
            if is_whole {
                Some(Default::default())
            } else {
                listed(&self.client, Some(&self.dispatcher.sealer), execution).await
            }
        };
        let ((mut around, runbook), holds, listed, void) = tokio::join!(
            self.asker.around(execution, known.as_deref(), seen, paused),
            holds(&self.outside, execution),
            listed,
            decide::void(&self.client, &self.dispatcher.sealer, execution),
        );
        let safety = runbook.as_ref().and_then(Option::as_ref);
        let safety = safety.map_or(&validate::DEFAULT_SAFETY, |known| &known.model.safety);
        let now = Timestamp::now();
        let page = ledger.page();
        if let Some(Listed { history, same_target, same_workload }) = listed {
            around.history = Some(page.history(execution, history));
            let mut all = page.same_target(execution);
            all.extend(same_target);
            around.same_target = Some(all);
            around.same_workload = Some(page.same_workload(execution, same_workload));
        }
        let mut refusals = check(&execution.spec, safety, settings, &around, now);
        let void = void.unwrap_or_else(|error| {
            let message = format!("its approval cannot be read: {}", chain(&error));
            refusals.push(Refusal { guard: Guard::NotKnown, message, until: None });
            None
        });
        if holds == Some(true) && refusals.is_empty() && void.is_none() {
            page.begins(execution, now);
        }
        Checked { holds, refusals, void }
    }

    /// The runbook of an execution as the watch has told it.
    fn known(&self, execution: &RunbookExecution) -> Option<Arc<Known>> {
        let runbook = &execution.spec.runbook;
        let at = ObjectRef::new(&runbook.name).within(&execution.namespace()?);
        let found = self.dispatcher.runbooks.get(&at)?;
        if found.uid().as_deref() == Some(&runbook.uid) { self.dispatcher.know(&found).ok() } else { None }
    }

    /// Tells whoever the runbook names that somebody must decide. Who is not reached sees it in the execution.
    async fn ask(&self, execution: &RunbookExecution) {
        let Some(Some(known)) = self.asker.runbook(execution, false).await else { return };
        let Some(to) = &known.model.approval_notify else { return };
        let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
        let uid = execution.uid().unwrap_or_default();
        let now = Timestamp::now();
        let asked = execution.status.as_ref().and_then(|status| status.asked_at.as_ref()).map_or(now, |time| time.0);
        let (created, begun, first, spec) = (tasks::created(execution), now, now, &execution.spec);
        let run = Run { namespace: &namespace, name: &name, uid: &uid, created, begun, first, spec };
        let call = requests::approval(&run, to, known.runbook.spec.description.as_deref(), asked);
        let traceparent = execution.spec.traceparent.as_deref();
        if let Err(error) = self.outside.send(&call.request, "", traceparent).await {
            tracing::warn!(%error, execution = %name, "nobody could be told that an approval is wanted");
        }
    }

    /// Acts. A status that nobody has stored is stored beside that, when it takes longer than a moment: people look at it.
    async fn act_and_say(
        &self,
        api: &Api<RunbookExecution>,
        execution: &RunbookExecution,
        doing: &Doing,
        unsaid: Option<RunbookExecutionStatus>,
    ) -> (Result<Acted, ExecuteError>, Option<RunbookExecution>) {
        let mut acting = pin!(self.act(execution, doing));
        let Some(status) = unsaid else { return (acting.await, None) };
        tokio::select! {
            acted = &mut acting => (acted, None),
            () = tokio::time::sleep(MOMENT) => {
                let (acted, said) = tokio::join!(acting, self.store(api, execution, status));
                // Where it could not be stored, the outcome is: under the version that was read, or not at all.
                (acted, said.ok())
            }
        }
    }

    async fn act(&self, execution: &RunbookExecution, doing: &Doing) -> Result<Acted, ExecuteError> {
        let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
        let run = tasks::run(execution, &doing.what);
        let task = match tasks::task(execution, &run, &doing.what) {
            Ok(task) => task,
            Err(message) => return Ok(Acted::Reported(failed(message))),
        };
        let spec = &execution.spec;
        let account =
            account::client(&self.client, &namespace, &spec.service_account_name, spec.traceparent.as_deref())
                .map_err(|error| ExecuteError::Api(error.to_string()))?;
        let room = if task.calls.iter().any(|call| call.keep.is_some()) {
            self.room(&run, &task.name, &account).await
        } else {
            Err("nothing is kept".to_owned())
        };
        let actor = Actor {
            account: Some(account.clone()),
            outside: &self.outside,
            room,
            traceparent: spec.traceparent.clone(),
            repeatable: task.repeatable,
            patient: task.patient,
            deadline: Instant::now() + left(doing.until, Timestamp::now()),
        };
        tracing::debug!(execution = %format!("{namespace}/{name}"), what = ?doing.what, "acting");
        // What was borrowed is given back whatever is paused.
        let gives_back = matches!(doing.what, What::Undo(_))
            && task.step.and_then(|step| Act::of(&step.action)).is_some_and(Act::is_borrowed);
        let paused = async { if gives_back { std::future::pending().await } else { self.switch.until_paused().await } };
        let deleted = async {
            if gives_back { std::future::pending().await } else { self.until_deleted(&namespace, &name).await }
        };
        let finish = tokio::select! {
            biased;
            () = paused => Err(Ok(Acted::Paused)),
            () = deleted => Err(Err(ExecuteError::Deleted)),
            message = self.risk(execution, task.step, &doing.what) => Err(Ok(Acted::Reported(failed(message)))),
            finish = actor.perform(&task.calls) => Ok(finish),
        };
        let finish = match finish {
            Ok(finish) => finish,
            Err(left) => {
                // A dump holds secrets: it does not stay in a container because nobody waits for it any more.
                if let Some(why) = actor.clean(&task.calls).await {
                    tracing::warn!(%why, execution = %format!("{namespace}/{name}"), "what a step wrote may still be in its container");
                }
                return left;
            }
        };
        match finish {
            Finish::Done(mut performed) => {
                if performed.outcome == Outcome::Failed {
                    let of = (namespace.as_str(), spec.service_account_name.as_str());
                    let refusal = std::mem::take(&mut performed.message);
                    performed.message = rights::explained(&account, of, || rights::needs(&run), refusal).await;
                }
                Ok(Acted::Reported(tasks::report(&task, performed)))
            }
            Finish::Abandoned => Err(ExecuteError::Abandoned),
        }
    }

    async fn room(&self, run: &Run<'_>, step: &str, account: &Client) -> Result<Room, String> {
        let artifacts = run.spec.artifacts.as_ref().ok_or("spec.artifacts does not say where it is kept")?;
        let archive = Archive::open(artifacts, &self.artifacts, account, run.namespace).await;
        let seconds = |text: &str| plimsoll_slo::duration::parse(text, "ttl").map(|span| span.as_seconds());
        let ttl = seconds(artifacts.ttl.as_deref().unwrap_or(validate::DEFAULT_TTL)).map_err(|p| p.to_string())?;
        let ttl = jiff::SignedDuration::from_secs(i64::try_from(ttl).unwrap_or(i64::MAX));
        let quota = artifacts.quota.as_deref().unwrap_or(validate::DEFAULT_QUOTA);
        Ok(Room {
            archive: archive.map_err(|error| error.to_string())?,
            place: Place {
                namespace: run.namespace.to_owned(),
                runbook: run.spec.runbook.name.clone(),
                execution: run.name.to_owned(),
                step: step.to_owned(),
            },
            quota: validate::bytes(quota).ok_or("spec.artifacts.quota cannot be read")?,
            created: run.created,
            expires: run.created.saturating_add(ttl).unwrap_or(Timestamp::MAX),
        })
    }
}

/// Whether two statuses are stored as the same: times have whole seconds there.
fn same(stored: Option<&RunbookExecutionStatus>, wanted: Option<&RunbookExecutionStatus>) -> bool {
    serde_json::to_value(stored).ok() == serde_json::to_value(wanted).ok()
}

#[cfg(test)]
#[path = "execute_tests.rs"]
pub(super) mod tests;
