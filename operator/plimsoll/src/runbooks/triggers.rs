//! What starts runbooks without being told: Alertmanager asked for what did not come, moments of schedules, and people.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use plimsoll_api::{Runbook, RunbookExecution, runbook::Answered};
use plimsoll_runbook::{
    alertmanager,
    matching::{Occurrence, matches},
    model::{Model, Trigger},
    names,
    plan::BY_HAND,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    Execution,
    dispatch::{Came, Dispatcher, Known},
    proof::{RUN, RunRequest, Sealer},
    read::readable,
    unsealed::is_sealed,
};
use crate::{actions::Outside, alerts_webhook::server::Desk as _, events::cut, sinks::kubernetes::chain, trace};

/// Alertmanager is asked this often, whatever comes by itself.
const RESYNC: Duration = Duration::from_secs(60);
/// Schedules and people are looked at this often.
const LOOK: Duration = Duration::from_secs(2);
/// Answers that a runbook's status keeps.
const ANSWERS: usize = 10;
/// One that is even older was told of, or looked after, by whoever led then.
const FORGOTTEN: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// Alerts that are stored at the same time, and runbooks that are looked after.
const AT_ONCE: usize = 8;

/// Asks Alertmanager for all alerts of a receiver, when something did not come through and every minute besides. In every
/// replica: each may have refused a post.
pub async fn resync(dispatcher: Arc<Dispatcher>, outside: Outside, receiver: Option<String>, stop: CancellationToken) {
    if outside.alertmanager.is_none() {
        let bell = async {
            loop {
                dispatcher.resync.notified().await;
                dispatcher.metrics.alert("not_asked_for");
                if dispatcher.is_news("nobody can be asked") {
                    tracing::warn!(
                        "alerts did not come through, and runbooks.alertmanager is not configured, so nobody can be asked for them"
                    );
                }
            }
        };
        stop.run_until_cancelled(bell).await;
        return;
    }
    let ask = async {
        loop {
            let _ = tokio::time::timeout(RESYNC, dispatcher.resync.notified()).await;
            if let Err(error) = ask_alertmanager(&dispatcher, &outside, receiver.as_deref()).await {
                dispatcher.metrics.alert("not_asked_for");
                if dispatcher.is_news(&error) {
                    tracing::warn!(%error, "Alertmanager could not be asked for alerts; it is asked again");
                }
            }
        }
    };
    stop.run_until_cancelled(ask).await;
}

async fn ask_alertmanager(dispatcher: &Dispatcher, outside: &Outside, receiver: Option<&str>) -> Result<(), String> {
    use plimsoll_runbook::requests::{Request, Server};
    let path = alertmanager::path(receiver);
    let request = Request {
        to: Server::Alertmanager,
        method: "GET",
        path: path.clone(),
        content_type: None,
        body: None,
        streams: false,
    };
    let trace = trace::received(None);
    let answer = outside.send(&request, &path, Some(&trace)).await.map_err(|error| error.to_string())?;
    if answer.code != 200 {
        return Err(format!("it answers {}", answer.code));
    }
    let post = alertmanager::read_api(&answer.body, Timestamp::now()).map_err(|error| error.to_string())?;
    let storing: Vec<_> = post.alerts.iter().map(|alert| dispatcher.accept(alert, &trace)).collect();
    let stored: Vec<_> = stream::iter(storing).buffer_unordered(AT_ONCE).collect().await;
    match stored.into_iter().find_map(Result::err) {
        Some(error) => Err(error.to_string()),
        None => Ok(()),
    }
}

/// Stores the execution that an occurrence starts; false when that must be tried again.
pub(super) async fn start(
    dispatcher: &Dispatcher,
    known: &Known,
    occurrence: &Occurrence,
    given: &BTreeMap<String, String>,
) -> bool {
    let started = dispatcher.start(known, occurrence, given, Some(trace::received(None))).await;
    if let Err(error) = &started
        && dispatcher.is_news(&format!("{}/{}: {error}", known.model.namespace, known.model.name))
    {
        tracing::warn!(runbook = %known.model.name, namespace = %known.model.namespace, %error, "a run could not be stored; it is tried again");
    }
    started.is_ok()
}

/// Why a request has no answer.
enum Unanswered {
    /// It is looked at again.
    NotNow,
    /// It has one already, or nobody waits for it any more.
    Never,
}

/// A request that was looked after, and its answer while it is not stored.
type LookedAfter = (String, Option<Answered>);

/// What the leader looks after.
pub struct Triggers {
    /// Starts runbooks.
    dispatcher: Arc<Dispatcher>,
    /// A client that writes only while this process leads.
    client: Client,
    /// The request for a run that was looked after last, by the runbook's UID, and the answer while it is not stored.
    looked_after: HashMap<String, LookedAfter>,
}

impl Triggers {
    /// With a client that writes only while this process leads.
    pub fn new(dispatcher: Arc<Dispatcher>, client: Client) -> Self {
        Self { dispatcher, client, looked_after: HashMap::new() }
    }

    /// Looks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let work = async {
            loop {
                tokio::time::sleep(LOOK).await;
                self.look().await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn look(&mut self) {
        let usable = self.dispatcher.usable();
        let mut before = std::mem::take(&mut self.looked_after);
        let looking: Vec<_> = usable.iter().map(|known| self.looked(known, before.remove(&known.model.uid))).collect();
        // Nobody's schedule and nobody's request waits until another one was stored, which may take long.
        let looked: Vec<_> = stream::iter(looking).buffer_unordered(AT_ONCE).collect().await;
        self.looked_after = looked.into_iter().flatten().collect();
    }

    async fn looked(&self, known: &Known, before: Option<LookedAfter>) -> Option<(String, LookedAfter)> {
        self.scheduled(known).await;
        Some((known.model.uid.clone(), self.requested(known, before).await?))
    }

    /// First the execution, then that the moment has been looked after: what is done twice has one name.
    async fn scheduled(&self, known: &Known) {
        let Trigger::Schedule(schedule) = &known.model.trigger else { return };
        let now = Timestamp::now();
        let status = known.runbook.status.clone().unwrap_or_default();
        let due = schedule.due(status.last_schedule.map(|time| time.0), now);
        if let Some(at) = due.start
            && !start(&self.dispatcher, known, &Occurrence::Moment(at), &BTreeMap::new()).await
        {
            return;
        }
        let next = due.next.map(Time);
        let first = known.runbook.status.as_ref().and_then(|status| status.last_schedule.as_ref()).is_none();
        if due.start.is_none() && due.missed == 0 && next == status.next_schedule && !first {
            return;
        }
        if due.missed > 0 {
            tracing::warn!(runbook = %known.model.name, missed = due.missed, "moments of a schedule were missed");
        }
        let patch = json!({"metadata": {"uid": known.model.uid}, "status":
            {"lastSchedule": Time(due.looked_after), "nextSchedule": next}});
        let api: Api<Runbook> = Api::namespaced(self.client.clone(), &known.model.namespace);
        if let Err(error) = api.patch_status(&known.model.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            tracing::warn!(error = %chain(&error), "the moment of a schedule was not stored");
        }
    }

    /// Somebody has asked for a run, and the webhook has noted who. It is answered once: what came of it is in the status,
    /// for whoever asked and for whoever leads next.
    async fn requested(&self, known: &Known, before: Option<LookedAfter>) -> Option<LookedAfter> {
        let noted = known.runbook.annotations().get(RUN)?;
        let request = serde_json::from_str::<RunRequest>(noted).ok()?;
        let answer = match before.filter(|(id, _)| *id == request.id) {
            Some((id, None)) => return Some((id, None)),
            // It could not be stored yet; what came of it does not change any more.
            Some((_, Some(answer))) => Ok(answer),
            None => self.look_after(known, &request).await,
        };
        let unwritten = match answer {
            Ok(answer) if self.answer(known, &answer).await => None,
            Ok(answer) => Some(answer),
            Err(Unanswered::NotNow) => return None,
            Err(Unanswered::Never) => None,
        };
        Some((request.id, unwritten))
    }

    /// What comes of a request.
    async fn look_after(&self, known: &Known, request: &RunRequest) -> Result<Answered, Unanswered> {
        let Model { namespace, name, .. } = &known.model;
        let at = request.at.parse::<Timestamp>().map_err(|_| Unanswered::Never)?;
        let age = Timestamp::now().duration_since(at);
        // As it is now: what the watch has told may be from before somebody else answered.
        let now = self.now(known).await.map_err(|_| Unanswered::NotNow)?;
        let answered = now.status.unwrap_or_default().requests;
        if age > FORGOTTEN || answered.iter().any(|answered| answered.id == request.id) {
            return Err(Unanswered::Never);
        }
        let not_started = |message: String| Ok(answer(request, Err(message)));
        if !Sealer::is(&request.seal, &self.dispatcher.sealer.of_run(namespace, name, request)) {
            let message =
                "nobody vouches for who asked for a run; use: plimsoll runbook run, with the operator's webhook on";
            self.dispatcher.refuse(&known.runbook, "RequestNotSealed", message).await;
            return not_started(message.to_owned());
        }
        let RunRequest { id, by, groups, parameters, .. } = request;
        let asked = Occurrence::Asked { id: id.clone(), by: by.clone(), groups: groups.clone(), at };
        // Whoever led before may have started it, and gone before it was said.
        if let Some(execution) = self.was_started(known, &asked).await.map_err(|_| Unanswered::NotNow)? {
            return Ok(answer(request, Ok(execution)));
        }
        if age > BY_HAND {
            let message = format!(
                "{by} asked for a run at {at}, and for 10 minutes it could not be looked after; ask again if it is still wanted"
            );
            self.dispatcher.refuse(&known.runbook, "RequestTooOld", &message).await;
            return not_started(message);
        }
        match self.dispatcher.ask(known, &asked, parameters, Some(trace::received(None))).await {
            Ok(Came::Now(execution) | Came::Before(execution)) => Ok(answer(request, Ok(execution))),
            Ok(Came::Refused(message) | Came::NotAllowed(message)) => not_started(message),
            Ok(Came::Nothing) => Err(Unanswered::Never),
            Err(error) => {
                tracing::warn!(runbook = %name, namespace = %namespace, %error, "a run that was asked for could not be stored; it is tried again");
                Err(Unanswered::NotNow)
            }
        }
    }

    /// A runbook as it is stored now.
    async fn now(&self, known: &Known) -> Result<Runbook, kube::Error> {
        let api: Api<Runbook> = Api::namespaced(self.client.clone(), &known.model.namespace);
        api.get(&known.model.name).await
    }

    /// Stores what came of a request; true when that needs no other try.
    async fn answer(&self, known: &Known, answer: &Answered) -> bool {
        let stored = async {
            let now = self.now(known).await?;
            let mut requests = now.status.unwrap_or_default().requests;
            requests.retain(|known| known.id != answer.id);
            requests.insert(0, answer.clone());
            requests.truncate(ANSWERS);
            let patch = json!({"metadata": {"uid": known.model.uid}, "status": {"requests": requests}});
            let api: Api<Runbook> = Api::namespaced(self.client.clone(), &known.model.namespace);
            api.patch_status(&known.model.name, &PatchParams::default(), &Patch::Merge(&patch)).await
        };
        match stored.await {
            Ok(_) => true,
            // It was deleted, or made anew.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "what came of a request for a run was not stored; it is tried again");
                false
            }
        }
    }

    /// The execution of an occurrence, if it has one.
    async fn was_started(&self, known: &Known, occurrence: &Occurrence) -> Result<Option<String>, kube::Error> {
        let Ok(evidence) = matches(&known.model, occurrence, Timestamp::now()) else { return Ok(None) };
        let api: Api<Execution> = Api::namespaced(self.client.clone(), &known.model.namespace);
        let of = format!("{}={},{}={}", names::RUNBOOK_UID, known.model.uid, names::FINGERPRINT, evidence.fingerprint);
        let at = evidence.starts_at.0.as_second();
        let found = readable(&api, &ListParams::default().labels(&of)).await?;
        let is_it = |execution: &&RunbookExecution| {
            let trigger = &execution.spec.trigger;
            let is_same = trigger.fingerprint == evidence.fingerprint && trigger.starts_at.0.as_second() == at;
            is_same && is_sealed(&self.dispatcher.sealer, execution)
        };
        Ok(found.iter().find(is_it).map(ResourceExt::name_any))
    }
}

fn answer(request: &RunRequest, came: Result<String, String>) -> Answered {
    let (execution, message) = match came {
        Ok(execution) => (Some(execution), None),
        Err(message) => (None, Some(cut(&message).to_owned())),
    };
    Answered { id: request.id.clone(), at: Time(Timestamp::now()), execution, message }
}

#[cfg(test)]
#[path = "triggers_tests.rs"]
mod tests;
