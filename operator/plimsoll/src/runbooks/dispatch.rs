//! From something that happened to stored executions. Every replica may do this, whoever leads: the name of an execution
//! is a hash of what it is for, so the API server itself lets each be made once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use futures::{
    FutureExt, StreamExt,
    future::{BoxFuture, try_join_all},
    stream,
};
use jiff::Timestamp;
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{ObjectMeta, PostParams},
    core::DeserializeGuard,
    runtime::{
        events::EventType,
        reflector::{self, Store},
    },
};
use plimsoll_api::{
    Runbook, RunbookExecution,
    execution::{Evidence, ObjectRef, RunbookExecutionSpec},
};
use plimsoll_runbook::{
    alertmanager::Alert,
    matching::{Occurrence, matches},
    model::{Model, Trigger},
    parameters::{Lookup, Values, queries, resolve},
    plan::{Planned, Settings, plan},
};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    time::Instant,
};

use super::{
    execute::Executor,
    lookup::{self, LookupError},
    over::Resolver,
    proof::{AUTHOR, Author, SEAL, Sealer},
    queried::Queried,
    recent::{Answers, Recent},
    rights,
    room::Room,
    sources::{asks_who_names, names_of, source_of},
    watched::New,
};
use crate::{
    actions::{Outside, account},
    alerts_webhook::server::{Desk, NotStored, Stored},
    events::Teller,
    operator::metrics::Metrics,
    refusals::{is_gone, is_never_taken},
    sinks::kubernetes::chain,
};

/// The annotation of an execution with the time at which its alert was resolved.
pub const RESOLVED_AT: &str = "plimsoll.dev/resolved-at";
/// The annotation of an execution with who wrote its runbook.
pub const WRITTEN_BY: &str = "plimsoll.dev/written-by";
/// How long it is remembered that something was stored, so that repetitions are cheap: as long as Alertmanager repeats a
/// post that was stored in part.
const STORED: Duration = Duration::from_secs(600);
/// How much of that is remembered, twice: with what lies around them, some 10 MiB.
const MOST_STORED: usize = 100_000;
/// How long it is remembered that the executions of an alert were told that it is over: as long as a post that was stored in
/// part is repeated at short intervals. Not longer, since another replica may make one more.
const OVER: Duration = Duration::from_secs(60);
/// How long it is remembered that something was told.
const TOLD: Duration = Duration::from_secs(60);
/// How much of that is remembered, twice.
const MOST_TOLD: usize = 10_000;
/// Alerts of the same moment share what their objects are like: it is asked again before anything is done.
const LOOKED_UP: Duration = Duration::from_secs(1);
/// How long it is believed which rights a ServiceAccount lacks that was refused the first of them.
const LACKING: Duration = Duration::from_secs(10);
/// How long it is believed which runbooks an SLO names.
const NAMED: Duration = Duration::from_secs(30);
/// Answers that are remembered.
const MOST: usize = 1000;
/// Occurrences that are looked up and stored at the same time, and runbooks that one alert starts at the same time.
const AT_ONCE: usize = 32;
/// A `Runbook` that may be unreadable.
pub type Guarded = DeserializeGuard<Runbook>;

/// A runbook that may be started.
#[derive(Debug)]
pub struct Known {
    /// As it is stored.
    pub runbook: Runbook,
    /// What it says.
    pub model: Model,
    /// Who wrote it.
    pub author: Author,
}

/// Why a runbook cannot be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It is invalid: a condition's message.
    Invalid(String),
    /// Nobody vouches for its author.
    Unsealed(String),
}

/// A runbook that was read, or why it cannot be started.
type Checked = Result<Arc<Known>, Unusable>;

/// Objects, and since when they were looked at.
type LookedUp = (Instant, Result<Vec<ObjectRef>, LookupError>);

/// What came of an occurrence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// The execution of this name is stored now.
    Now(String),
    /// It was stored already.
    Before(String),
    /// Its namespace is gone.
    Nothing,
    /// It will not be done, however often it comes; why.
    Refused(String),
    /// A right is missing, which somebody may grant; whose and which.
    NotAllowed(String),
}

/// What everything that starts runbooks shares.
pub struct Dispatcher {
    /// A client that needs no lease.
    pub client: Client,
    /// All runbooks.
    pub runbooks: Store<Guarded>,
    /// Checks who wrote them.
    pub sealer: Sealer,
    /// What an administrator has decided.
    pub settings: Settings,
    /// Tells people.
    pub teller: Teller,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The Prometheus that picks objects.
    pub outside: Outside,
    /// Rung when Alertmanager must be asked for all alerts.
    pub resync: Notify,
    /// Where executions go that this process has made, and who lets them begin, while it leads.
    made: Mutex<Option<(mpsc::Sender<New>, Weak<Executor>)>>,
    turns: Semaphore,
    known: Mutex<HashMap<String, (Option<String>, Checked)>>,
    stored: Recent,
    /// Alerts whose executions know that they are over.
    over: Recent,
    resolver: Resolver,
    room: Room,
    told: Recent,
    looked_up: Answers<LookedUp>,
    queried: Queried,
    /// What an account lacks that may not look.
    lacking: Answers<String>,
    named: Answers<Result<Vec<String>, NotStored>>,
}

impl Dispatcher {
    /// With these.
    pub fn new(
        client: Client,
        runbooks: Store<Guarded>,
        sealer: Sealer,
        settings: Settings,
        teller: Teller,
        metrics: Arc<Metrics>,
        outside: Outside,
    ) -> Self {
        Self {
            resolver: Resolver::new(client.clone()),
            room: Room::new(client.clone(), u64::MAX),
            client,
            runbooks,
            sealer,
            settings,
            teller,
            metrics,
            outside,
            resync: Notify::new(),
            made: Mutex::default(),
            turns: Semaphore::new(AT_ONCE),
            known: Mutex::default(),
            stored: Recent::new(STORED, MOST_STORED),
            over: Recent::new(OVER, MOST_STORED),
            told: Recent::new(TOLD, MOST_TOLD),
            looked_up: Answers::new(LOOKED_UP, MOST),
            queried: Queried::default(),
            lacking: Answers::new(LACKING, MOST),
            named: Answers::new(NAMED, MOST),
        }
    }

    /// The same, for so many executions.
    pub fn at_most(self, most: u64) -> Self {
        Self { room: Room::new(self.client.clone(), most), ..self }
    }

    /// This process leads: executions that it makes may begin with their making, and go here from now on, without waiting
    /// for the watch to tell of them. What there is no room for is left to the watch.
    pub fn hand_to(&self, made: mpsc::Sender<New>, executor: &Arc<Executor>) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some((made, Arc::downgrade(executor)));
    }

    /// Whether as many occurrences as may be are stored at the moment.
    pub fn is_busy(&self) -> bool {
        self.turns.available_permits() == 0
    }

    /// All runbooks that may be started.
    pub fn usable(&self) -> Vec<Arc<Known>> {
        let all = self.runbooks.state();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() > all.len() + 100 {
                known.clear();
            }
        }
        // While it is being deleted anybody who keeps it from going could be the one who has written what is there.
        let stays = all.iter().filter(|guarded| guarded.meta().deletion_timestamp.is_none());
        stays.filter_map(|guarded| self.know(guarded).ok()).collect()
    }

    /// Whether what starts runbooks knows a stored one as it is there, or a later content of it.
    pub fn has(&self, guarded: &Guarded) -> bool {
        let wanted = guarded.meta();
        let at = reflector::ObjectRef::new(&guarded.name_any()).within(wanted.namespace.as_deref().unwrap_or_default());
        let Some(known) = self.runbooks.get(&at) else { return false };
        let (known, by) = (known.meta(), |meta: &ObjectMeta| meta.annotations.as_ref()?.get(AUTHOR).cloned());
        // Who wrote it may be noted anew without any other content.
        known.uid == wanted.uid
            && (known.generation > wanted.generation
                || known.generation == wanted.generation && by(known) == by(wanted))
    }

    /// A stored runbook, read, checked, and its author's seal looked at; remembered while it does not change.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn know(&self, guarded: &Guarded) -> Checked {
        let runbook = guarded.0.as_ref().map_err(|error| Unusable::Invalid(error.error.clone()))?;
        let key = runbook.uid().unwrap_or_default();
        let version = runbook.resource_version();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, result)) = known.get(&key).filter(|(seen, _)| *seen == version) {
            return result.clone();
        }
        let result = check(runbook, &self.sealer).map(Arc::new);
        known.insert(key, (version, result.clone()));
        result
    }

    /// Stores the execution that follows, if one does.
    ///
    /// # Errors
    /// When it could not be stored now.
    pub async fn start(
        &self,
        known: &Known,
        occurrence: &Occurrence,
        given: &BTreeMap<String, String>,
        traceparent: Option<String>,
    ) -> Result<Stored, NotStored> {
        let Ok(evidence) = matches(&known.model, occurrence, Timestamp::now()) else { return Ok(Stored::Nothing) };
        let key = format!("{}/{}/{}", known.model.uid, evidence.fingerprint, evidence.starts_at.0);
        if self.stored.was(&key, Instant::now()) {
            return Ok(Stored::Before);
        }
        let stored = match Box::pin(self.come(known, evidence, given, traceparent)).await? {
            Came::Now(_) => Stored::Now,
            Came::Before(_) => Stored::Before,
            Came::Nothing => return Ok(Stored::Nothing),
            Came::Refused(_) => return Ok(Stored::Refused),
            // A right that comes later is no reason to lose what happened before.
            Came::NotAllowed(message) => return Err(NotStored(message)),
        };
        self.stored.remember(&key, Instant::now());
        Ok(stored)
    }

    /// Stores the execution that somebody asks for. Whoever asks hears what came of it, and asks again if it is still wanted:
    /// nothing is remembered for later.
    ///
    /// # Errors
    /// When it could not be stored now.
    pub async fn ask(
        &self,
        known: &Known,
        asked: &Occurrence,
        given: &BTreeMap<String, String>,
        traceparent: Option<String>,
    ) -> Result<Came, NotStored> {
        match matches(&known.model, asked, Timestamp::now()) {
            Ok(evidence) => Box::pin(self.come(known, evidence, given, traceparent)).await,
            Err(why) => Ok(Came::Refused(why)),
        }
    }

    async fn come(
        &self,
        known: &Known,
        evidence: Evidence,
        given: &BTreeMap<String, String>,
        traceparent: Option<String>,
    ) -> Result<Came, NotStored> {
        let Known { runbook, model, author: _ } = known;
        let mut given = given.clone();
        let asked: Vec<_> = queries(model, &given).collect();
        let picks = asked.iter().map(|asked| self.queried.pick(&self.outside, model, *asked, traceparent.as_deref()));
        let picked = try_join_all(picks.collect::<Vec<_>>()).await?;
        let names: Vec<String> = asked.iter().map(|(parameter, _)| parameter.name.clone()).collect();
        given.extend(names.into_iter().zip(picked).filter_map(|(name, value)| Some((name, value?))));
        let values = match resolve(model, &evidence.labels, &given) {
            Ok(values) => values,
            Err(wrong) => {
                let all: Vec<String> =
                    wrong.iter().map(|wrong| format!("parameter {}: {}", wrong.parameter, wrong.message)).collect();
                return Ok(self.refuse(runbook, "ParameterWrong", &all.join("; ")).await);
            }
        };
        if let Some(full) = self.room.is_full().await {
            self.tell(runbook, "TooManyExecutions", &full).await;
            return Err(NotStored(full));
        }
        // However many alerts come, the API server is asked about so many at once.
        let _turn = self.turns.acquire().await.map_err(|error| NotStored(error.to_string()))?;
        let (seen, objects) = self.look_up(model, &values.lookups, traceparent.as_deref()).await;
        let objects = match objects {
            Ok(objects) => objects,
            Err(error @ LookupError::Missing(..)) => {
                return Ok(self.refuse(runbook, "TargetNotFound", &error.to_string()).await);
            }
            Err(error @ LookupError::NotAllowed(..)) => {
                let message = self.lacks(model, evidence, values, error.to_string()).await;
                self.tell(runbook, "NotAllowed", &message).await;
                return Ok(Came::NotAllowed(message));
            }
            Err(error @ LookupError::Failed(..)) => return Err(NotStored(error.to_string())),
        };
        let planned = match plan(model, &self.settings, evidence, &values.values, objects, traceparent) {
            Ok(planned) => planned,
            Err(wrong) => return Ok(self.refuse(runbook, "NotPlanned", &wrong.join("; ")).await),
        };
        let came = Box::pin(self.create(known, &planned, seen)).await?;
        if matches!(came, Came::Now(_)) {
            // It knows nothing of that its alert may be over.
            self.over
                .forget(&end_of(&planned.spec.trigger.fingerprint, planned.spec.trigger.starts_at.0), Instant::now());
            for note in &planned.notes {
                self.teller.tell(&runbook.object_ref(&()), EventType::Warning, "MayBeUndone", note).await;
            }
        }
        Ok(came)
    }

    /// The objects of a run, as its ServiceAccount sees them, and since when they were looked at.
    async fn look_up(&self, model: &Model, lookups: &[Lookup], traceparent: Option<&str>) -> LookedUp {
        let now = Instant::now();
        if lookups.is_empty() {
            return (now, Ok(Vec::new()));
        }
        let account = account::client(&self.client, &model.namespace, &model.service_account_name, traceparent);
        let account = match account {
            Ok(account) => account,
            Err(error) => return (now, Err(LookupError::Failed("serviceAccountName".to_owned(), error.to_string()))),
        };
        let question = format!("{}/{}/{lookups:?}", model.uid, model.generation);
        let (lookups, steps) = (lookups.to_vec(), model.steps.clone());
        let (namespace, name) = (model.namespace.clone(), model.service_account_name.clone());
        let look = || {
            async move {
                let objects = lookup::all(&account, &lookups, &steps).await;
                (now, objects.map_err(|error| error.explained(&namespace, &name)))
            }
            .boxed()
        };
        self.looked_up.ask(&question, look, |(_, objects)| objects.is_ok()).await
    }

    /// That a ServiceAccount may not look at something, with all else that it lacks for the runbook.
    async fn lacks(&self, model: &Model, evidence: Evidence, values: Values, refusal: String) -> String {
        let question = format!("{}/{}/{refusal}", model.uid, model.generation);
        let (client, model) = (self.client.clone(), model.clone());
        let ask = || async move { rights::unseen(&client, &model, evidence, &values, refusal).await }.boxed();
        self.lacking.ask(&question, ask, |_| true).await
    }

    async fn create(&self, known: &Known, planned: &Planned, seen: Instant) -> Result<Came, NotStored> {
        let Known { runbook, model, author } = known;
        let Planned { name, labels, spec, spec_hash: _, notes: _ } = planned;
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &model.namespace);
        let mut execution = RunbookExecution::new(name, spec.clone());
        execution.metadata.namespace = Some(model.namespace.clone());
        execution.metadata.labels = Some(labels.clone());
        execution.metadata.annotations = Some([(WRITTEN_BY.to_owned(), author.username.clone())].into());
        // What begins with its making is sealed with the moment.
        let begun = match self.leads() {
            Some(executor) => Box::pin(executor.begin(&execution, seen)).await,
            None => None,
        };
        let made = match begun {
            Some(made) => made,
            None => {
                self.seal(&mut execution).map_err(|error| NotStored(error.to_string()))?;
                api.create(&PostParams::default(), &execution).await
            }
        };
        match made {
            Ok(execution) => {
                self.hand(New { execution, seen: Some(seen) });
                Ok(Came::Now(name.clone()))
            }
            Err(kube::Error::Api(status)) if status.code == 409 && status.reason == "AlreadyExists" => {
                self.taken(runbook, execution, seen).await
            }
            Err(kube::Error::Api(status)) if is_gone(&status) => Ok(Came::Nothing),
            Err(kube::Error::Api(status)) if is_never_taken(&status) => {
                Ok(self.refuse(runbook, "NotPlanned", &status.message).await)
            }
            Err(error) => Err(NotStored(format!("RunbookExecution {}/{name}: {}", model.namespace, chain(&error)))),
        }
    }

    /// Seals an execution that says who wrote its runbook.
    ///
    /// # Errors
    /// None that can occur.
    pub fn seal(&self, execution: &mut RunbookExecution) -> Result<(), serde_json::Error> {
        let author = execution.annotations().get(WRITTEN_BY).cloned().unwrap_or_default();
        let (namespace, name) = (execution.namespace().unwrap_or_default(), execution.name_any());
        let seal = seal(&self.sealer, &author, &namespace, &name, &execution.spec)?;
        execution.annotations_mut().insert(SEAL.to_owned(), seal);
        Ok(())
    }

    /// Who lets executions begin, while this process leads.
    pub(super) fn leads(&self) -> Option<Arc<Executor>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner).as_ref()?.1.upgrade()
    }

    pub(super) fn hand(&self, new: New) {
        if let Some((made, _)) = &*self.made.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = made.try_send(new);
        }
    }

    /// It will not be done, however often it comes: somebody is told.
    pub(super) async fn refuse(&self, runbook: &Runbook, reason: &'static str, message: &str) -> Came {
        self.tell(runbook, reason, message).await;
        Came::Refused(message.to_owned())
    }

    /// Whether something is to be logged: it was not a moment ago.
    pub(super) fn is_news(&self, what: &str) -> bool {
        self.told.is_new(what, Instant::now())
    }

    /// Something happened for which a runbook was not started.
    pub(super) async fn tell(&self, runbook: &Runbook, reason: &'static str, message: &str) {
        self.metrics.runbook_refused(reason);
        let key = format!("{}/{reason}/{message}", runbook.uid().unwrap_or_default());
        if self.told.is_new(&key, Instant::now()) {
            tracing::warn!(runbook = %runbook.name_any(), namespace = ?runbook.namespace(), reason, message, "a runbook was not started");
            self.teller.tell(&runbook.object_ref(&()), EventType::Warning, reason, message).await;
        }
    }

    /// The runbooks that the SLO or the AlertRule of some labels names.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn named_by(&self, labels: &BTreeMap<String, String>) -> Result<Vec<String>, NotStored> {
        let Some(at) = source_of(labels) else { return Ok(Vec::new()) };
        let client = self.client.clone();
        let question = at.clone();
        let ask = || async move { names_of(&client, &at).await.map_err(NotStored) }.boxed();
        self.named.ask(&question, ask, Result::is_ok).await
    }

    async fn store(&self, alert: &Alert, traceparent: &str) -> Result<Stored, NotStored> {
        // A replica that has only just begun must not say that an alert is for nobody.
        if !matches!(self.runbooks.wait_until_ready().now_or_never(), Some(Ok(()))) {
            return Err(NotStored("the runbooks are not known yet".to_owned()));
        }
        let usable: Vec<Arc<Known>> = self.usable().into_iter().filter(|known| starts_by_alert(&known.model)).collect();
        if usable.is_empty() {
            return Ok(Stored::Nothing);
        }
        let runbooks = if usable.iter().any(|known| asks_who_names(&known.model)) {
            self.named_by(&alert.labels).await?
        } else {
            Vec::new()
        };
        // Of one that is over it is asked which runbooks it would have started.
        let occurrence = Occurrence::Alert(Alert { resolved_at: None, ..alert.clone() }.occurred(runbooks));
        if let Some(at) = alert.resolved_at {
            let concerned = usable.iter().any(|known| matches(&known.model, &occurrence, Timestamp::now()).is_ok());
            let key = end_of(&alert.fingerprint, alert.starts_at);
            if !concerned {
                return Ok(Stored::Nothing);
            }
            // A list of executions is dear where there are many, and a post that is repeated says it again and again.
            if !self.over.was(&key, Instant::now()) {
                let told = self.resolver.resolve(alert, at).await;
                if told.map_err(|error| NotStored(format!("RunbookExecutions: {error}")))? > 0 {
                    self.over.remember(&key, Instant::now());
                }
            }
            return Ok(Stored::Resolved);
        }
        // No runbook waits for another one, which may be somebody else's.
        let (mut stored, mut failed, none) = (Stored::Nothing, None, BTreeMap::new());
        let is_meant = |known: &&Arc<Known>| matches(&known.model, &occurrence, Timestamp::now()).is_ok();
        let start = |known| self.start(known, &occurrence, &none, Some(traceparent.to_owned()));
        let starting: Vec<_> = usable.iter().filter(is_meant).map(|known| start(known)).collect();
        let mut started = stream::iter(starting).buffer_unordered(AT_ONCE);
        while let Some(came) = started.next().await {
            match came {
                Ok(Stored::Now) => stored = Stored::Now,
                Ok(Stored::Before) if stored != Stored::Now => stored = Stored::Before,
                Ok(Stored::Refused) if stored == Stored::Nothing => stored = Stored::Refused,
                Ok(_) => {}
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(stored), Err)
    }
}

/// The end of an alert, in seconds as its executions have its start.
fn end_of(fingerprint: &str, starts_at: Timestamp) -> String {
    format!("{fingerprint}/{}", starts_at.as_second())
}

/// The seal of an execution: of who wrote its runbook, of its name and of its whole spec.
///
/// # Errors
/// None that can occur.
pub fn seal(
    sealer: &Sealer,
    author: &str,
    namespace: &str,
    name: &str,
    spec: &RunbookExecutionSpec,
) -> Result<String, serde_json::Error> {
    sealer.of_object(&format!("execution by {author}"), namespace, name, spec)
}

fn starts_by_alert(model: &Model) -> bool {
    matches!(model.trigger, Trigger::Alert(_) | Trigger::Slo { .. })
}

/// Reads a runbook, and looks at the seal of who wrote it.
fn check(runbook: &Runbook, sealer: &Sealer) -> Result<Known, Unusable> {
    let valid = plimsoll_runbook::validate(runbook)
        .map_err(|problems| Unusable::Invalid(plimsoll_api::problem::summary(&problems)))?;
    let unsealed =
        |message: &str| Unusable::Unsealed(format!("{message}; apply it again, with the operator's webhook on"));
    let noted = runbook.annotations().get(AUTHOR).ok_or_else(|| unsealed("nobody has noted who wrote it"))?;
    let author: Author =
        serde_json::from_str(noted).map_err(|_| unsealed("the note of who wrote it is not readable"))?;
    let right = sealer
        .of_author(&runbook.namespace().unwrap_or_default(), &runbook.name_any(), &runbook.spec, &author)
        .map_err(|error| unsealed(&error.to_string()))?;
    if !Sealer::is(&author.seal, &right) {
        return Err(unsealed("the note of who wrote it is not of this content"));
    }
    Ok(Known { runbook: runbook.clone(), model: valid.model, author })
}

impl Desk for Dispatcher {
    fn accept<'a>(&'a self, alert: &'a Alert, traceparent: &'a str) -> BoxFuture<'a, Result<Stored, NotStored>> {
        self.store(alert, traceparent).boxed()
    }

    fn resync(&self) {
        self.resync.notify_one();
    }
}

#[cfg(test)]
#[path = "dispatch_tests.rs"]
pub(super) mod tests;
