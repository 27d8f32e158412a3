//! Asks Prometheus again and again what runbooks wait for: series of their own questions, and SLOs that burn where no
//! Alertmanager tells; and tells the runs that have begun by them when they are over. A server that hangs keeps schedules and
//! people waiting for nothing: nobody else waits for this.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream};
use jiff::Timestamp;
use kube::{Api, Client, ResourceExt, api::ListParams, runtime::reflector::Store};
use plimsoll_api::{RunbookExecution, execution::TriggerKind};
use plimsoll_runbook::{
    matching::{Alert, Occurrence, Score, labels_of_alert, labels_of_series, lasting, question},
    model::Trigger,
    names,
    occurrences::{Look, held_since, look_back},
};
use plimsoll_slo::names as series;
use tokio_util::sync::CancellationToken;

use super::{
    Execution,
    circumstances::holds,
    dispatch::{Dispatcher, Known},
    ended,
    kept::Kept,
    read::readable,
    triggers::start,
};
use crate::{
    prometheus::{Prometheus, Sample},
    sinks::kubernetes::chain,
};

/// Prometheus is asked this often.
const ASK: Duration = Duration::from_secs(15);
/// Series of one query: more is a mistake in the query.
const MOST_SERIES: usize = 100;
/// Questions that are asked at the same time.
const AT_ONCE: usize = 8;

/// What is asked, and what is remembered of the answers.
pub struct Asks {
    dispatcher: Arc<Dispatcher>,
    client: Client,
    prometheus: Prometheus,
    has_alerts: bool,
    /// All executions, as far as the watch has told.
    all: Store<Kept>,
    /// Since when series hold, by runbook and fingerprint.
    since: HashMap<(String, String), Timestamp>,
    /// Runbooks whose series were looked at since this process leads.
    seen: HashSet<String>,
}

/// What was before this process led: when each series was there, and the newest start of an execution for it.
#[derive(Debug, Default)]
struct Past {
    look: Option<Look>,
    there: HashMap<String, Vec<i64>>,
    newest: HashMap<String, Timestamp>,
}

impl Asks {
    /// `has_alerts`: alerts come from Alertmanager, those of SLOs as well, and Prometheus is not asked for them.
    pub fn new(
        dispatcher: Arc<Dispatcher>,
        client: Client,
        prometheus: Prometheus,
        has_alerts: bool,
        all: Store<Kept>,
    ) -> Self {
        // What is asked every few seconds is not repeated in between.
        let prometheus = prometheus.with_retries(0);
        Self { dispatcher, client, prometheus, has_alerts, all, since: HashMap::new(), seen: HashSet::new() }
    }

    /// Asks until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let work = async {
            let mut ticks = tokio::time::interval(ASK);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.ask().await;
            }
        };
        stop.run_until_cancelled(work).await;
    }

    async fn ask(&mut self) {
        let usable = self.dispatcher.usable();
        let asks =
            |uid: &String| usable.iter().any(|known| known.model.uid == *uid && question(&known.model).is_some());
        self.seen.retain(asks);
        self.since.retain(|(uid, _), _| self.seen.contains(uid));
        let burns = usable.iter().any(|known| matches!(known.model.trigger, Trigger::Slo { .. }));
        let burning = match (self.has_alerts, burns) {
            // Whoever sends alerts says when they are over.
            (true, _) => None,
            (false, true) => self.burning(&usable).await,
            (false, false) => Some(HashSet::new()),
        };
        let asked: Vec<_> = usable
            .iter()
            .filter_map(|known| Some((Arc::clone(known), question(&known.model)?, self.prometheus.clone())))
            .map(|(known, expr, prometheus)| async move {
                let answer = prometheus.query(&expr).await;
                (known, expr, answer)
            })
            .collect();
        let answers: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
        for (known, expr, answer) in answers {
            match answer {
                Ok(samples) if samples.len() > MOST_SERIES => {
                    if self.dispatcher.is_news(&format!("{}: too many", known.model.uid)) {
                        tracing::warn!(runbook = %known.model.name, series = samples.len(), "the query of a runbook yields too many series, so none starts it; aggregate");
                    }
                    self.dispatcher.metrics.runbook_refused("TooManySeries");
                }
                Ok(samples) => self.series(&known, &expr, &samples).await,
                // What is not known starts nothing, and ends nothing.
                Err(error) => {
                    if self.dispatcher.is_news(&format!("{}: {error}", known.model.uid)) {
                        tracing::warn!(runbook = %known.model.name, %error, "the query of a runbook failed");
                    }
                }
            }
        }
        self.ended(burning.as_ref()).await;
    }

    /// Tells the runs that what started them is over: those whose series were not among the answers, or whose SLO is not among
    /// those that burn, when what each was started by does not hold any more either. So neither a runbook that asks for
    /// something else by now ends its runs, nor one answer of a replica that lags.
    async fn ended(&self, burning: Option<&HashSet<String>>) {
        let is_gone = |execution: &RunbookExecution| {
            let (uid, trigger) = (&execution.spec.runbook.uid, &execution.spec.trigger);
            match trigger.kind {
                TriggerKind::Query | TriggerKind::Anomaly => {
                    !self.since.contains_key(&(uid.clone(), trigger.fingerprint.clone()))
                }
                TriggerKind::Slo => burning.is_some_and(|burning| !burning.contains(&trigger.fingerprint)),
                _ => false,
            }
        };
        let may_be = |kept: &Arc<Kept>| match kept.kind {
            Some(TriggerKind::Query | TriggerKind::Anomaly) => !kept.is_over(),
            Some(TriggerKind::Slo) => !kept.is_over() && burning.is_some(),
            _ => false,
        };
        let all = self.all.state();
        let known: Vec<_> = all.iter().filter(|kept| may_be(kept)).filter_map(|kept| kept.whole().ok()).collect();
        let gone = known.iter().filter(|execution| ended::is_to_be_told(execution) && is_gone(execution));
        let gone: Vec<_> = gone.map(|execution| self.end(execution)).collect();
        stream::iter(gone).buffer_unordered(AT_ONCE).for_each(|()| std::future::ready(())).await;
    }

    /// Tells one, unless what started it holds.
    async fn end(&self, known: &RunbookExecution) {
        let (namespace, name) = (known.namespace().unwrap_or_default(), known.name_any());
        // Of what is kept in memory the condition is left out.
        let api: Api<RunbookExecution> = Api::namespaced(self.client.clone(), &namespace);
        let told = async {
            let Some(execution) = api.get_opt(&name).await? else { return Ok(()) };
            if execution.uid() != known.uid()
                || !ended::is_to_be_told(&execution)
                || holds(&self.dispatcher.outside, &execution).await != Some(false)
            {
                return Ok(());
            }
            ended::tell(&self.client, &execution, Timestamp::now()).await
        };
        if let Err(error) = told.await {
            let error = chain(&error);
            tracing::warn!(%namespace, execution = %name, %error, "a run was not told that what started it is over; it is tried again");
        }
    }

    /// SLOs that burn, where no Alertmanager tells: the fingerprints of those; `None` when it is not known.
    async fn burning(&self, usable: &[Arc<Known>]) -> Option<HashSet<String>> {
        // The value is the time since when the alert is active.
        let selector = format!("ALERTS_FOR_STATE{{alertname=\"{}\"}}", series::ALERT_BURN);
        let firing = "ignoring(alertstate) group_left() ALERTS{alertstate=\"firing\"}";
        let samples = match self.prometheus.query(&format!("{selector} * {firing}")).await {
            Ok(samples) => samples,
            Err(error) => {
                if self.dispatcher.is_news(&format!("SLOs: {error}")) {
                    tracing::warn!(%error, "Prometheus could not be asked for SLOs that burn");
                }
                return None;
            }
        };
        let mut burning = HashSet::new();
        for sample in &samples {
            let labels = labels_of_alert(pairs(&sample.metric));
            burning.insert(names::fingerprint("Slo", &labels));
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
                start(&self.dispatcher, known, &occurrence, &BTreeMap::new()).await;
            }
        }
        Some(burning)
    }

    /// Series of a runbook's own question.
    async fn series(&mut self, known: &Known, expr: &str, samples: &[Sample]) {
        let uid = known.model.uid.clone();
        let now = names::whole(Timestamp::now());
        let past = if self.seen.contains(&uid) || samples.is_empty() {
            Past::default()
        } else {
            match self.past(known, expr, now).await {
                Ok(past) => past,
                // It is asked again before anything is begun twice.
                Err(error) => {
                    return tracing::warn!(runbook = %known.model.name, %error, "it cannot be known since when the series of a runbook hold");
                }
            }
        };
        let mut held = HashSet::new();
        for sample in samples {
            let labels = labels(&sample.metric);
            let kind = kind(known);
            let fingerprint = names::fingerprint(kind, &labels);
            let key = (uid.clone(), fingerprint.clone());
            let since = *self.since.entry(key.clone()).or_insert_with(|| past.since(&fingerprint, now));
            held.insert(key);
            let value = sample.value();
            let occurrence = if kind == "Anomaly" {
                let Ok(runbooks) = self.dispatcher.named_by(&labels).await else { continue };
                let Ok(score) = format!("{value:.6}").parse() else { continue };
                Occurrence::Score(Score { labels, score, since, runbooks })
            } else {
                Occurrence::Series { labels, value: value.to_string(), since }
            };
            start(&self.dispatcher, known, &occurrence, &BTreeMap::new()).await;
        }
        self.since.retain(|key, _| key.0 != uid || held.contains(key));
        self.seen.insert(uid);
    }

    /// What this process has not seen itself: asked once, when it begins to lead, so that a series that held all the
    /// time starts nothing twice, and one that went and came back is a new occurrence.
    async fn past(&self, known: &Known, expr: &str, now: Timestamp) -> Result<Past, String> {
        let api: Api<Execution> = Api::namespaced(self.client.clone(), &known.model.namespace);
        let params = ListParams::default().labels(&format!("{}={}", names::RUNBOOK_UID, known.model.uid));
        let mut past = Past::default();
        for execution in readable(&api, &params).await.map_err(|error| chain(&error))? {
            let trigger = execution.spec.trigger;
            let newest = past.newest.entry(trigger.fingerprint).or_insert(trigger.starts_at.0);
            *newest = (*newest).max(trigger.starts_at.0);
        }
        let oldest = past.newest.values().min().copied();
        let Some(look) = look_back(oldest, lasting(&known.model), now) else { return Ok(past) };
        let [from, to, step] = [look.from, look.to, look.step].map(|seconds| u64::try_from(seconds).unwrap_or(0));
        let ranges = self.prometheus.query_range(expr, from, to, step).await.map_err(|error| error.to_string())?;
        for range in ranges {
            let fingerprint = names::fingerprint(kind(known), &labels(&range.metric));
            past.there.insert(fingerprint, range.samples().map(|(time, _)| time as i64).collect());
        }
        past.look = Some(look);
        Ok(past)
    }
}

impl Past {
    /// Since when a series holds that holds now.
    fn since(&self, fingerprint: &str, now: Timestamp) -> Timestamp {
        let newest = self.newest.get(fingerprint).copied();
        let Some(look) = &self.look else { return newest.map_or(now, |newest| newest.max(now)) };
        let there = self.there.get(fingerprint).map(Vec::as_slice).unwrap_or_default();
        held_since(look, there, newest).unwrap_or(now)
    }
}

fn kind(known: &Known) -> &'static str {
    if matches!(known.model.trigger, Trigger::Anomaly { .. }) { "Anomaly" } else { "Query" }
}

fn labels(metric: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels_of_series(pairs(metric))
}

fn pairs(metric: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    metric.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

#[cfg(test)]
#[path = "asks_tests.rs"]
mod tests;
