//! What starts runbooks without being told: Alertmanager asked for what did not come, Prometheus asked again and
//! again, moments of schedules, and people.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
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
    matching::{Alert, Occurrence, Score, labels_of_series},
    model::Trigger,
    names,
};
use plimsoll_slo::names as series;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    dispatch::{Dispatcher, Known},
    proof::{RUN, RunRequest, Sealer},
};
use crate::{
    actions::Outside,
    alerts_webhook::server::Desk as _,
    prometheus::{Prometheus, Sample},
    sinks::kubernetes::chain,
    trace,
};

/// Alertmanager is asked this often, whatever comes by itself.
const RESYNC: Duration = Duration::from_secs(60);
/// Prometheus is asked this often.
const ASK: Duration = Duration::from_secs(15);
/// Schedules and people are looked at this often.
const LOOK: Duration = Duration::from_secs(2);
/// A request for a run that is older was meant for then.
const REQUEST_AGE: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);
/// Series of one query: more is a mistake in the query.
const MOST_SERIES: usize = 100;
/// Alerts that are stored at the same time.
const AT_ONCE: usize = 8;

/// Asks Alertmanager for all alerts, when something did not come through and every minute besides. In every replica:
/// each may have refused a post.
pub async fn resync(dispatcher: Arc<Dispatcher>, outside: Outside, stop: CancellationToken) {
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
            if let Err(error) = ask_alertmanager(&dispatcher, &outside).await {
                tracing::warn!(%error, "Alertmanager could not be asked for alerts; it is asked again");
            }
        }
    };
    stop.run_until_cancelled(ask).await;
}

async fn ask_alertmanager(dispatcher: &Dispatcher, outside: &Outside) -> Result<(), String> {
    use plimsoll_runbook::requests::{Request, Server};
    let path = "/api/v2/alerts?active=true&silenced=false&inhibited=false&unprocessed=false";
    let request = Request {
        to: Server::Alertmanager,
        method: "GET",
        path: path.to_owned(),
        content_type: None,
        body: None,
        streams: false,
    };
    let trace = trace::received(None);
    let answer = outside.send(&request, path, Some(&trace)).await.map_err(|error| error.to_string())?;
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

/// What the leader looks after.
pub struct Triggers {
    /// Starts runbooks.
    pub dispatcher: Arc<Dispatcher>,
    /// A client that writes only while this process leads.
    pub client: Client,
    /// The Prometheus to ask.
    pub prometheus: Option<Prometheus>,
    /// Whether alerts come from Alertmanager: then those of SLOs do as well, and Prometheus is not asked for them.
    pub has_alerts: bool,
    /// Since when series hold, by runbook and fingerprint.
    since: HashMap<(String, String), Timestamp>,
    /// Runbooks whose series were looked at since this process leads.
    seen: HashSet<String>,
}

impl Triggers {
    /// For these.
    pub fn new(dispatcher: Arc<Dispatcher>, client: Client, prometheus: Option<Prometheus>, has_alerts: bool) -> Self {
        Self { dispatcher, client, prometheus, has_alerts, since: HashMap::new(), seen: HashSet::new() }
    }

    /// Looks and asks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let work = async {
            let mut asked = None::<tokio::time::Instant>;
            loop {
                tokio::time::sleep(LOOK).await;
                let usable = self.dispatcher.usable();
                for known in &usable {
                    self.scheduled(known).await;
                    self.requested(known).await;
                }
                if asked.is_none_or(|at| at.elapsed() >= ASK) {
                    asked = Some(tokio::time::Instant::now());
                    self.ask(&usable).await;
                }
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn start(&self, known: &Known, occurrence: &Occurrence, given: &BTreeMap<String, String>) -> bool {
        let started = self.dispatcher.start(known, occurrence, given, Some(trace::received(None))).await;
        if let Err(error) = &started {
            tracing::warn!(runbook = %known.model.name, namespace = %known.model.namespace, %error, "a run could not be stored; it is tried again");
        }
        started.is_ok()
    }

    /// First the execution, then that the moment has been looked after: what is done twice has one name.
    async fn scheduled(&self, known: &Known) {
        let Trigger::Schedule(schedule) = &known.model.trigger else { return };
        let now = Timestamp::now();
        let status = known.runbook.status.clone().unwrap_or_default();
        let due = schedule.due(status.last_schedule.map(|time| time.0), now);
        if let Some(at) = due.start
            && !self.start(known, &Occurrence::Moment(at), &BTreeMap::new()).await
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
        let key = format!("{}/{noted}", known.model.uid);
        if self.seen.contains(&key) {
            return;
        }
        let Ok(request) = serde_json::from_str::<RunRequest>(noted) else { return };
        let right = self.dispatcher.sealer.of_run(&known.model.namespace, &known.model.name, &request);
        let Ok(at) = request.at.parse::<Timestamp>() else { return };
        let old = Timestamp::now().duration_since(at) > REQUEST_AGE;
        if Sealer::is(&request.seal, &right) && !old {
            let asked = Occurrence::Asked { by: request.by.clone(), at };
            if !self.start(known, &asked, &request.parameters).await {
                return;
            }
        }
        self.seen.insert(key);
    }

    /// Asks Prometheus what runbooks wait for.
    async fn ask(&mut self, usable: &[Arc<Known>]) {
        let Some(prometheus) = self.prometheus.clone() else { return };
        if !self.has_alerts && usable.iter().any(|known| matches!(known.model.trigger, Trigger::Slo { .. })) {
            self.burning(&prometheus, usable).await;
        }
        for known in usable {
            let expr = match &known.model.trigger {
                Trigger::Query { expr, .. } => expr.clone(),
                Trigger::Anomaly { above, .. } => format!("{} > {above}", series::ANOMALY_SCORE),
                _ => continue,
            };
            match prometheus.query(&expr).await {
                Ok(samples) if samples.len() > MOST_SERIES => {
                    tracing::warn!(runbook = %known.model.name, series = samples.len(), "the query of a runbook yields too many series, so none starts it; aggregate");
                    self.dispatcher.metrics.runbook_refused("TooManySeries");
                }
                Ok(samples) => self.series(known, &samples).await,
                // What is not known starts nothing, and ends nothing.
                Err(error) => tracing::warn!(runbook = %known.model.name, %error, "the query of a runbook failed"),
            }
        }
    }

    /// SLOs that burn, where no Alertmanager tells.
    async fn burning(&self, prometheus: &Prometheus, usable: &[Arc<Known>]) {
        // The value is the time since when the alert is active.
        let selector = format!("ALERTS_FOR_STATE{{alertname=\"{}\"}}", series::ALERT_BURN);
        let firing = "ignoring(alertstate) group_left() ALERTS{alertstate=\"firing\"}";
        let samples = match prometheus.query(&format!("{selector} * {firing}")).await {
            Ok(samples) => samples,
            Err(error) => return tracing::warn!(%error, "Prometheus could not be asked for SLOs that burn"),
        };
        for sample in &samples {
            let labels = labels(sample);
            let Ok(starts_at) = Timestamp::from_second(sample.value() as i64) else { continue };
            let runbooks = match self.dispatcher.named_by(&labels).await {
                Ok(runbooks) => runbooks,
                Err(error) => {
                    tracing::warn!(%error, "an SLO that burns could not be read");
                    continue;
                }
            };
            let alert = Alert { labels, fingerprint: String::new(), starts_at, firing: true, ends_at: None, runbooks };
            let occurrence = Occurrence::Alert(alert);
            for known in usable.iter().filter(|known| matches!(known.model.trigger, Trigger::Slo { .. })) {
                self.start(known, &occurrence, &BTreeMap::new()).await;
            }
        }
    }

    /// Series of a runbook's own question.
    async fn series(&mut self, known: &Known, samples: &[Sample]) {
        let uid = known.model.uid.clone();
        let first = !self.seen.contains(&uid);
        let mut held = HashSet::new();
        for sample in samples {
            let labels = labels(sample);
            let kind = if matches!(known.model.trigger, Trigger::Anomaly { .. }) { "Anomaly" } else { "Query" };
            let fingerprint = names::fingerprint(kind, &labels);
            let key = (uid.clone(), fingerprint.clone());
            let since = match self.since.get(&key) {
                Some(since) => *since,
                None => match self.began(known, &fingerprint, first).await {
                    Some(since) => since,
                    None => continue,
                },
            };
            self.since.insert(key.clone(), since);
            held.insert(key);
            let value = sample.value();
            let occurrence = if kind == "Anomaly" {
                let Ok(runbooks) = self.dispatcher.named_by(&labels).await else { continue };
                let Ok(score) = format!("{value:.6}").parse() else { continue };
                Occurrence::Score(Score { labels, score, since, runbooks })
            } else {
                Occurrence::Series { labels, value: value.to_string(), since }
            };
            self.start(known, &occurrence, &BTreeMap::new()).await;
        }
        self.since.retain(|key, _| key.0 != uid || held.contains(key));
        self.seen.insert(uid);
    }

    /// Since when a series holds that is new to this process: when it begins to lead, since the newest execution says;
    /// so a restart starts nothing twice.
    async fn began(&self, known: &Known, fingerprint: &str, first: bool) -> Option<Timestamp> {
        let now = Timestamp::now();
        if !first {
            return Some(now);
        }
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &known.model.namespace);
        let selector = format!("{}={},{}={fingerprint}", names::RUNBOOK_UID, known.model.uid, names::FINGERPRINT);
        match api.list(&ListParams::default().labels(&selector)).await {
            Ok(list) => Some(list.items.iter().map(|x| x.spec.trigger.starts_at.0).max().unwrap_or(now)),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "executions could not be read");
                None
            }
        }
    }
}

fn labels(sample: &Sample) -> BTreeMap<String, String> {
    labels_of_series(sample.metric.iter().map(|(name, value)| (name.as_str(), value.as_str())))
}
