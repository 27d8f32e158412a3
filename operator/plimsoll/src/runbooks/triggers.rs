//! What starts runbooks without being told: Alertmanager asked for what did not come, moments of schedules, and people.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::{
    Api, Client, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use plimsoll_api::{Runbook, RunbookExecution};
use plimsoll_runbook::{
    alertmanager,
    matching::{Occurrence, matches},
    model::Trigger,
    names,
    plan::BY_HAND,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    dispatch::{Dispatcher, Known},
    proof::{RUN, RunRequest, Sealer},
};
use crate::{actions::Outside, alerts_webhook::server::Desk as _, sinks::kubernetes::chain, trace};

/// Alertmanager is asked this often, whatever comes by itself.
const RESYNC: Duration = Duration::from_secs(60);
/// Schedules and people are looked at this often.
const LOOK: Duration = Duration::from_secs(2);
/// One that is even older was told of, or looked after, by whoever led then.
const FORGOTTEN: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);
/// Alerts that are stored at the same time.
const AT_ONCE: usize = 8;

/// Asks Alertmanager for all alerts of a receiver, when something did not come through and every minute besides. In every
/// replica: each may have refused a post.
pub async fn resync(dispatcher: Arc<Dispatcher>, outside: Outside, receiver: Option<String>, stop: CancellationToken) {
    if outside.alertmanager.is_none() {
        let bell = async {
            loop {
                dispatcher.resync.notified().await;
                dispatcher.metrics.alert("not_asked_for");
                tracing::warn!(
                    "alerts did not come through, and runbooks.alertmanager is not configured, so nobody can be asked for them"
                );
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
                tracing::warn!(%error, "Alertmanager could not be asked for alerts; it is asked again");
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
    if let Err(error) = &started {
        tracing::warn!(runbook = %known.model.name, namespace = %known.model.namespace, %error, "a run could not be stored; it is tried again");
    }
    started.is_ok()
}

/// What the leader looks after.
pub struct Triggers {
    /// Starts runbooks.
    dispatcher: Arc<Dispatcher>,
    /// A client that writes only while this process leads.
    client: Client,
    /// The request for a run that was looked after last, by the runbook's UID: a hash of it.
    looked_after: HashMap<String, String>,
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
        self.looked_after.retain(|uid, _| usable.iter().any(|known| known.model.uid == *uid));
        for known in &usable {
            self.scheduled(known).await;
            self.requested(known).await;
        }
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
        let next = due.next.map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
        let first = known.runbook.status.as_ref().and_then(|status| status.last_schedule.as_ref()).is_none();
        if due.start.is_none() && due.missed == 0 && next == status.next_schedule && !first {
            return;
        }
        if due.missed > 0 {
            tracing::warn!(runbook = %known.model.name, missed = due.missed, "moments of a schedule were missed");
        }
        let patch = json!({"metadata": {"uid": known.model.uid}, "status":
            {"lastSchedule": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(due.looked_after), "nextSchedule": next}});
        let api: Api<Runbook> = Api::namespaced(self.client.clone(), &known.model.namespace);
        if let Err(error) = api.patch_status(&known.model.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            tracing::warn!(error = %chain(&error), "the moment of a schedule was not stored");
        }
    }

    /// Somebody has asked for a run, and the webhook has noted who.
    async fn requested(&mut self, known: &Known) {
        let Some(noted) = known.runbook.annotations().get(RUN) else { return };
        let (uid, hash) = (known.model.uid.clone(), names::spec_hash(noted).unwrap_or_default());
        if self.looked_after.get(&uid) == Some(&hash) || !self.look_after(known, noted).await {
            return;
        }
        self.looked_after.insert(uid, hash);
    }

    /// True when it was looked after, also when nothing came of it.
    async fn look_after(&self, known: &Known, noted: &str) -> bool {
        let Ok(request) = serde_json::from_str::<RunRequest>(noted) else { return true };
        let right = self.dispatcher.sealer.of_run(&known.model.namespace, &known.model.name, &request);
        let Ok(at) = request.at.parse::<Timestamp>() else { return true };
        let age = Timestamp::now().duration_since(at);
        if age > FORGOTTEN {
            return true;
        }
        if !Sealer::is(&request.seal, &right) {
            let message =
                "nobody vouches for who asked for a run; use: plimsoll runbook run, with the operator's webhook on";
            self.dispatcher.refuse(&known.runbook, "RequestNotSealed", message).await;
            return true;
        }
        let asked = Occurrence::Asked { by: request.by.clone(), groups: request.groups.clone(), at };
        if age <= BY_HAND {
            return start(&self.dispatcher, known, &asked, &request.parameters).await;
        }
        match self.was_started(known, &asked).await {
            Some(true) => {}
            Some(false) => {
                let message = format!(
                    "{} asked for a run at {at}, and for 10 minutes it could not be looked after; ask again if it is still wanted",
                    request.by
                );
                self.dispatcher.refuse(&known.runbook, "RequestTooOld", &message).await;
            }
            None => return false,
        }
        true
    }

    /// Whether an occurrence has an execution; `None` when that cannot be known.
    async fn was_started(&self, known: &Known, occurrence: &Occurrence) -> Option<bool> {
        let Ok(evidence) = matches(&known.model, occurrence, Timestamp::now()) else { return Some(false) };
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &known.model.namespace);
        let of = format!("{}={},{}={}", names::RUNBOOK_UID, known.model.uid, names::FINGERPRINT, evidence.fingerprint);
        let at = evidence.starts_at.0.as_second();
        let found = api.list(&ListParams::default().labels(&of)).await.ok()?;
        Some(found.items.iter().any(|execution| execution.spec.trigger.starts_at.0.as_second() == at))
    }
}

#[cfg(test)]
#[path = "triggers_tests.rs"]
mod tests;
