//! Every metric and label name that Plimsoll writes, in one place.

/// All events per second over the last five minutes; the base of everything.
pub const TOTAL: &str = "slo:total_events:rate5m";
/// Bad events per second over the last five minutes; has the same label sets as [`TOTAL`].
pub const BAD: &str = "slo:bad_events:rate5m";
/// Like [`TOTAL`], over the shortest window of an SLO that has windows below five minutes.
pub const TOTAL_FINE: &str = "slo:total_events:rate_fine";
/// Like [`BAD`], over the shortest window of an SLO that has windows below five minutes.
pub const BAD_FINE: &str = "slo:bad_events:rate_fine";
/// 1 in a bad slice, 0 in a good one.
pub const SLICE: &str = "slo:slice:bad";
/// Sum of [`TOTAL`], once a minute, over the last half hour: the stones of which long periods are built.
pub const TOTAL_ROLLUP: &str = "slo:total_events:sum30m";
/// Sum of [`BAD`], once a minute, over the last half hour.
pub const BAD_ROLLUP: &str = "slo:bad_events:sum30m";
/// Share of the last two hours in which [`TOTAL`] had samples.
pub const PRESENT_ROLLUP: &str = "slo:present:ratio2h";
/// Sum of [`TOTAL_ROLLUP`] over the period's full half hours.
pub const TOTAL_CLOSED: &str = "slo:total_events:sum_closed";
/// Sum of [`BAD_ROLLUP`] over the period's full half hours.
pub const BAD_CLOSED: &str = "slo:bad_events:sum_closed";
/// Sum of [`TOTAL`] over the half hour that is not full yet.
pub const TOTAL_OPEN: &str = "slo:total_events:sum_open";
/// Sum of [`BAD`] over the half hour that is not full yet.
pub const BAD_OPEN: &str = "slo:bad_events:sum_open";
/// Bad events / all events over the window named by the label `window`; the period is one of them.
pub const ERROR_RATIO: &str = "slo:error_ratio:window";
/// [`ERROR_RATIO`] / error budget.
pub const BURN_RATE: &str = "slo:burn_rate:window";
/// Share of the period's error budget that is left; negative when overspent.
pub const BUDGET_REMAINING: &str = "slo:error_budget:remaining_ratio";
/// The objective as a ratio.
pub const OBJECTIVE: &str = "slo:objective:ratio";
/// Share of the period for which there are samples.
pub const COVERAGE: &str = "slo:coverage:ratio";
/// Unix time at which the current calendar period began.
pub const PERIOD_START: &str = "slo:period:start_timestamp_seconds";
/// 1, with the descriptive labels.
pub const INFO: &str = "slo_info";

/// 1 for each AlertRule in PromQL, with its owner.
pub const ALERT_RULE_INFO: &str = "plimsoll_alertrule_info";

/// How unusual a watched series is, from 0 to 1; 0.5 is where the detector itself would speak.
/// Exported by the anomaly scorer with [`SLO_ID`], or [`ALERT_RULE`] and [`ALERT`], and the labels of
/// the watched series.
pub const ANOMALY_SCORE: &str = "plimsoll_anomaly_score";
/// 0, or the highest score of the alert that stays while the series is not where it was; with the labels of
/// [`ANOMALY_SCORE`]. The generated rules alert on it.
pub const ANOMALY_STATE: &str = "plimsoll_anomaly_state";
/// What a series was expected to be, of the series that are most unusual.
pub const ANOMALY_EXPECTED: &str = "plimsoll_anomaly_expected";
/// What it was, of the same series.
pub const ANOMALY_VALUE: &str = "plimsoll_anomaly_value";
/// Where the band of 90 % around it begins.
pub const ANOMALY_LOWER: &str = "plimsoll_anomaly_lower";
/// Where it ends.
pub const ANOMALY_UPPER: &str = "plimsoll_anomaly_upper";

/// Alert of a burn-rate tier.
pub const ALERT_BURN: &str = "SLOErrorBudgetBurn";
/// Alert of missing data.
pub const ALERT_NO_DATA: &str = "SLONoData";

/// Alert of an indicator that the anomaly scorer finds unusual.
pub const ALERT_ANOMALY: &str = "SLOAnomaly";

/// Identity of an AlertRule: `NAMESPACE/NAME`, on each of its alerts.
pub const ALERT_RULE: &str = "alertrule";
/// Name of an anomaly alert, on the scores that belong to it.
pub const ALERT: &str = "alert";
/// The label `namespace` of an alerting series, where it is not the AlertRule's own. Not `exported_namespace`:
/// a scrape may have given the series one already.
pub const SERIES_NAMESPACE: &str = "series_namespace";
/// The team that answers for an alert.
pub const OWNER: &str = "owner";

/// Identity: `NAMESPACE/NAME`; in every selector and on every series.
pub const SLO_ID: &str = "slo_id";
/// The SLO's name, on alerts and `slo_info`.
pub const SLO: &str = "slo";
/// The SLO's namespace, on alerts and `slo_info`; Alertmanager configuration by namespace wants it.
pub const NAMESPACE: &str = "namespace";
/// The window of a ratio or burn rate.
pub const WINDOW: &str = "window";
/// A part of a composite that no SLO is loaded for, on its alert.
pub const PART: &str = "slo_part";
/// The tier of an alert.
pub const TIER: &str = "burnrate_tier";
/// Whom an alert wakes: `page` or `ticket`.
pub const SEVERITY: &str = "severity";

/// Labels that users may neither group by nor set, because Plimsoll or Prometheus sets them.
pub const RESERVED: [&str; 11] =
    [SLO_ID, PART, WINDOW, TIER, SEVERITY, "alertname", "alertstate", SLO, "objective", "period", ALERT_RULE];
