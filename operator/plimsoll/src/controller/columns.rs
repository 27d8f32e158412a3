//! The three columns of `kubectl get slo` that come from Prometheus, and when they are worth a write.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use plimsoll_api::{Kind, slo::Severity};
use plimsoll_slo::names;

use super::observe::severity;
use crate::prometheus::{Prometheus, PrometheusError};

/// Small changes wait this long; status is no time series.
const SMALL_CHANGE: Duration = Duration::from_secs(300);

/// Budget, burn and alert, as numbers.
#[derive(Clone, Debug, Default)]
pub struct Columns {
    /// Share of the budget that is left.
    pub budget: Option<f64>,
    /// Burn rate over an hour.
    pub burn: Option<f64>,
    /// The most severe burn alert that fires; `None` inside when none does, outside when not known.
    pub alert: Option<Option<Severity>>,
    /// Number of alerts of an AlertRule that fire.
    pub firing: Option<u64>,
}

// As shown: equal numbers are those that read the same.
impl PartialEq for Columns {
    fn eq(&self, other: &Self) -> bool {
        self.shown() == other.shown() && self.firing == other.firing
    }
}

impl Eq for Columns {}

impl Columns {
    /// As text: `61.3%`, `0.4`, `Page`.
    pub fn shown(&self) -> [Option<String>; 3] {
        [
            self.budget.map(|ratio| format!("{:.1}%", tidy(ratio * 100.0))),
            self.burn.map(|burn| format!("{:.1}", tidy(burn))),
            self.alert.map(|alert| match alert {
                Some(Severity::Page) => "Page".to_owned(),
                Some(Severity::Ticket) => "Ticket".to_owned(),
                None => "-".to_owned(),
            }),
        ]
    }

    /// Whether these should replace `old`, which were shown that long ago.
    pub fn worth_showing(&self, old: &Self, since: Option<Duration>) -> bool {
        if self == old {
            return false;
        }
        if self.alert != old.alert || self.firing != old.firing || since.is_none_or(|since| since >= SMALL_CHANGE) {
            return true;
        }
        let moved = |new: Option<f64>, old: Option<f64>, absolute: f64, relative: f64| match (new, old) {
            (Some(new), Some(old)) => (new - old).abs() >= absolute.max(old.abs() * relative),
            (new, old) => new.is_some() != old.is_some(),
        };
        moved(self.budget, old.budget, 0.02, 0.0) || moved(self.burn, old.burn, 1.0, 0.5)
    }
}

/// No `-0.0`.
fn tidy(value: f64) -> f64 {
    let rounded = (value * 10.0).round() / 10.0;
    if rounded == 0.0 { 0.0 } else { rounded }
}

/// The numbers of all SLOs, from five questions.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Number of groups with samples in their base series, by the SLO's id.
    pub present: BTreeMap<String, u64>,
    /// Number of groups of which every event counts as bad, by the SLO's id.
    pub whole: BTreeMap<String, u64>,
    budget: BTreeMap<String, f64>,
    burn: BTreeMap<String, f64>,
    alerts: BTreeMap<String, Severity>,
    kind: Kind,
    firing: BTreeMap<String, u64>,
    names: BTreeMap<String, Vec<String>>,
    /// When Prometheus answered.
    pub at: Timestamp,
    /// When it was started, where it tells.
    pub started: Option<Timestamp>,
}

impl Numbers {
    /// Asks Prometheus. With groups, an SLO shows its worst one.
    ///
    /// # Errors
    /// When one of the questions is not answered.
    pub async fn ask(prometheus: &Prometheus, kind: Kind) -> Result<Self, PrometheusError> {
        let numbers = match kind {
            Kind::Slo => Self::of_slos(prometheus).await?,
            Kind::AlertRule => Self::of_alert_rules(prometheus).await?,
        };
        // Those who do not tell are believed as if they had always run.
        let started = prometheus.started().await.unwrap_or(None);
        Ok(Self { at: Timestamp::now(), started, ..numbers })
    }

    async fn of_alert_rules(prometheus: &Prometheus) -> Result<Self, PrometheusError> {
        let id = names::ALERT_RULE;
        let mut numbers = Self { kind: Kind::AlertRule, ..Self::default() };
        for sample in prometheus.query(&format!("count by ({id}) ({})", names::ALERT_RULE_INFO)).await? {
            numbers.firing.insert(sample.label(id).to_owned(), 0);
        }
        let firing = format!("count by ({id}, alertname) (ALERTS{{{id}!=\"\", alertstate=\"firing\"}})");
        for sample in prometheus.query(&firing).await? {
            let rule = sample.label(id);
            *numbers.firing.entry(rule.to_owned()).or_default() += sample.value().max(0.0) as u64;
            numbers.names.entry(rule.to_owned()).or_default().push(sample.label("alertname").to_owned());
        }
        numbers.names.values_mut().for_each(|names| names.sort_unstable());
        Ok(numbers)
    }

    async fn of_slos(prometheus: &Prometheus) -> Result<Self, PrometheusError> {
        let id = names::SLO_ID;
        let mut numbers = Self::default();
        let whole = format!("{} >= {}", names::BAD, names::TOTAL);
        for (of, counts) in [(names::TOTAL, &mut numbers.present), (whole.as_str(), &mut numbers.whole)] {
            for sample in prometheus.query(&format!("count by ({id}) ({of})")).await? {
                // A count is a whole number, far below where that could fail.
                counts.insert(sample.label(id).to_owned(), sample.value().max(0.0) as u64);
            }
        }
        for sample in prometheus.query(&format!("min by ({id}) ({})", names::BUDGET_REMAINING)).await? {
            numbers.budget.insert(sample.label(id).to_owned(), sample.value());
        }
        for sample in prometheus.query(&burn()).await? {
            numbers.burn.insert(sample.label(id).to_owned(), sample.value());
        }
        let alerts = format!(
            "group by ({id}, {}) (ALERTS{{alertname=\"{}\", alertstate=\"firing\"}})",
            names::SEVERITY,
            names::ALERT_BURN
        );
        for sample in prometheus.query(&alerts).await? {
            let Some(severity) = severity(sample.label(names::SEVERITY)) else { continue };
            numbers
                .alerts
                .entry(sample.label(id).to_owned())
                .and_modify(|worst| *worst = (*worst).min(severity))
                .or_insert(severity);
        }
        Ok(numbers)
    }

    /// False for a kind that has no base series whose samples could be missing.
    pub fn knows_data(&self) -> bool {
        self.kind == Kind::Slo
    }

    /// Names of the alerts of one AlertRule that fire, in order.
    pub fn names(&self, id: &str) -> &[String] {
        self.names.get(id).map_or(&[], Vec::as_slice)
    }

    /// Number of groups with samples of one SLO.
    pub fn groups(&self, slo_id: &str) -> u64 {
        self.present.get(slo_id).copied().unwrap_or(0)
    }

    /// Whether every event of one SLO counts as bad, in all of its groups.
    pub fn is_whole(&self, slo_id: &str) -> bool {
        self.groups(slo_id) > 0 && self.whole.get(slo_id).is_some_and(|whole| *whole >= self.groups(slo_id))
    }

    /// Of one SLO.
    pub fn columns(&self, slo_id: &str) -> Columns {
        let finite = |map: &BTreeMap<String, f64>| map.get(slo_id).copied().filter(|value| value.is_finite());
        let known = self.groups(slo_id) > 0 || self.budget.contains_key(slo_id);
        Columns {
            budget: finite(&self.budget),
            burn: finite(&self.burn),
            alert: known.then(|| self.alerts.get(slo_id).copied()),
            firing: self.firing.get(slo_id).copied(),
        }
    }
}

/// The burn over an hour of all SLOs. [`names::BURN_RATE`] follows the ratios by minutes, while alerts do not wait for
/// it; it serves as long as the objective is not recorded yet.
fn burn() -> String {
    let (id, hour) = (names::SLO_ID, format!("{}=\"1h\"", names::WINDOW));
    let worst = |series: &str| format!("max by ({id}) ({series}{{{hour}}})");
    let budget = format!("(1 - max by ({id}) ({}))", names::OBJECTIVE);
    format!("{} / on ({id}) {budget} or {}", worst(names::ERROR_RATIO), worst(names::BURN_RATE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burn_is_that_of_the_alerts() {
        assert_eq!(
            burn(),
            "max by (slo_id) (slo:error_ratio:window{window=\"1h\"}) / on (slo_id) (1 - max by (slo_id) (slo:objective:ratio)) or max by (slo_id) (slo:burn_rate:window{window=\"1h\"})"
        );
        assert!(plimsoll_slo::promql::parse(&burn(), "burn").is_ok());
    }

    fn columns(budget: f64, burn: f64, alert: Option<Severity>) -> Columns {
        Columns { budget: Some(budget), burn: Some(burn), alert: Some(alert), firing: None }
    }

    #[test]
    fn reads_like_the_table_of_kubectl() {
        let shown = |c: Columns| c.shown().map(Option::unwrap_or_default);
        assert_eq!(shown(columns(0.613, 0.42, None)), ["61.3%", "0.4", "-"]);
        assert_eq!(shown(columns(-0.08, 21.6, Some(Severity::Page))), ["-8.0%", "21.6", "Page"]);
        assert_eq!(shown(columns(-0.000_01, -0.0, None)), ["0.0%", "0.0", "-"]);
        assert_eq!(shown(Columns::default()), ["", "", ""]);
    }

    #[test]
    fn small_changes_wait_and_alerts_do_not() {
        let now = Some(Duration::from_secs(20));
        let later = Some(SMALL_CHANGE);
        let old = columns(0.613, 0.4, None);
        assert!(!columns(0.6131, 0.41, None).worth_showing(&old, later), "reads the same");
        assert!(!columns(0.61, 0.9, None).worth_showing(&old, now));
        assert!(columns(0.61, 0.9, None).worth_showing(&old, later));
        assert!(columns(0.58, 0.4, None).worth_showing(&old, now));
        assert!(columns(0.613, 1.5, None).worth_showing(&old, now));
        assert!(columns(0.613, 0.4, Some(Severity::Ticket)).worth_showing(&old, now));
        assert!(columns(0.613, 0.4, None).worth_showing(&Columns::default(), None));
    }
}
