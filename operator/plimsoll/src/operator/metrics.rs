//! The operator's own metrics. Of these, none has the name of an object or the text of an error
//! as a label; the scores of the anomaly scorer, which have, are bounded by it.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::scorer::Board;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WriteLabels {
    kind: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    action: &'static str,
    outcome: &'static str,
}

/// All of them.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<OutcomeLabel, Counter>,
    duration: Histogram,
    writes: Family<WriteLabels, Counter>,
    leader: Gauge,
    webhook: Family<OutcomeLabel, Counter>,
    prometheus_failures: Counter,
    anomaly_failures: Counter,
    anomalies: Arc<Board>,
    alert_posts: Family<OutcomeLabel, Counter>,
    alerts: Family<OutcomeLabel, Counter>,
    runbook_refusals: Family<ReasonLabel, Counter>,
    runbook_executions: Family<PhaseLabel, Counter>,
    runbook_steps: Family<StepLabels, Counter>,
    runbook_events_left_out: Counter,
    runbooks_paused: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("plimsoll");
        let reconciles = Family::<OutcomeLabel, Counter>::default();
        let duration = Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]);
        let writes = Family::<WriteLabels, Counter>::default();
        let leader = Gauge::default();
        let webhook = Family::<OutcomeLabel, Counter>::default();
        let prometheus_failures = Counter::default();
        registry.register("reconciles", "Reconciles by what they led to", reconciles.clone());
        registry.register("reconcile_duration_seconds", "Time that a reconcile takes", duration.clone());
        registry.register(
            "api_writes",
            "Writes to the Kubernetes API, rulers and rule files by kind and outcome",
            writes.clone(),
        );
        registry.register("leader", "1 while this process leads", leader.clone());
        registry.register("webhook_requests", "Admission requests by answer", webhook.clone());
        registry.register("prometheus_failures", "Questions to Prometheus that failed", prometheus_failures.clone());
        let anomaly_failures = Counter::default();
        registry.register(
            "anomaly_failures",
            "Questions of the anomaly scorer to Prometheus that failed",
            anomaly_failures.clone(),
        );
        let alert_posts = Family::<OutcomeLabel, Counter>::default();
        let alerts = Family::<OutcomeLabel, Counter>::default();
        registry.register("alert_posts", "Posts of Alertmanager by what was answered", alert_posts.clone());
        registry.register("alerts", "Alerts that came in by what became of them", alerts.clone());
        let runbook_refusals = Family::<ReasonLabel, Counter>::default();
        let runbook_executions = Family::<PhaseLabel, Counter>::default();
        let runbook_steps = Family::<StepLabels, Counter>::default();
        let runbook_events_left_out = Counter::default();
        let runbooks_paused = Gauge::default();
        registry.register("runbook_refusals", "Runbooks that were not started, by reason", runbook_refusals.clone());
        registry.register("runbook_executions", "Executions that ended, by phase", runbook_executions.clone());
        registry.register("runbook_steps", "Steps that ended, by action and outcome", runbook_steps.clone());
        registry.register(
            "runbook_events_left_out",
            "Events of executions that were too many to be told",
            runbook_events_left_out.clone(),
        );
        registry.register(
            "runbooks_paused",
            "1 while all runbooks are paused, or it is not known",
            runbooks_paused.clone(),
        );
        let anomalies = Arc::<Board>::default();
        registry.register_collector(Box::new(Arc::clone(&anomalies)));
        Self {
            registry,
            reconciles,
            duration,
            writes,
            leader,
            webhook,
            prometheus_failures,
            anomaly_failures,
            anomalies,
            alert_posts,
            alerts,
            runbook_refusals,
            runbook_executions,
            runbook_steps,
            runbook_events_left_out,
            runbooks_paused,
        }
    }
}

impl Metrics {
    /// Fresh ones.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A reconcile ended.
    pub fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// A write ended, or was dropped.
    pub fn wrote(&self, kind: &'static str, outcome: &'static str) {
        self.writes.get_or_create(&WriteLabels { kind, outcome }).inc();
    }

    /// Number of writes with this outcome, over all kinds.
    pub fn writes(&self, outcome: &'static str) -> u64 {
        super::gate::KINDS
            .iter()
            .filter_map(|&kind| self.writes.get(&WriteLabels { kind, outcome }).map(|counter| counter.get()))
            .sum()
    }

    /// Leadership came or went.
    pub fn leads(&self, yes: bool) {
        self.leader.set(i64::from(yes));
    }

    /// The webhook answered.
    pub fn admitted(&self, outcome: &'static str) {
        self.webhook.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Prometheus failed to answer.
    pub fn prometheus_failed(&self) {
        self.prometheus_failures.inc();
    }

    /// Prometheus failed to answer the anomaly scorer.
    pub fn anomaly_failed(&self) {
        self.anomaly_failures.inc();
    }

    /// A post of Alertmanager was answered.
    pub fn alerts_posted(&self, outcome: &'static str) {
        self.alert_posts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// An alert came in.
    pub fn alert(&self, outcome: &'static str) {
        self.alerts.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A runbook was not started, for a reason that no repetition changes.
    pub fn runbook_refused(&self, reason: &'static str) {
        self.runbook_refusals.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// An execution ended.
    pub fn runbook_ended(&self, phase: &'static str) {
        self.runbook_executions.get_or_create(&PhaseLabel { phase }).inc();
    }

    /// A step ended.
    pub fn runbook_step(&self, action: &'static str, outcome: &'static str) {
        self.runbook_steps.get_or_create(&StepLabels { action, outcome }).inc();
    }

    /// An event was not told, since there were too many.
    pub fn runbook_event_left_out(&self) {
        self.runbook_events_left_out.inc();
    }

    /// The kill switch was read.
    pub fn runbooks_paused(&self, yes: bool) {
        self.runbooks_paused.set(i64::from(yes));
    }

    /// The anomaly scores.
    pub fn anomalies(&self) -> &Board {
        &self.anomalies
    }

    /// In the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = text::encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
