//! The kind `SLO`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::anomaly::Sensitivity;

/// An objective for one service: what it promises, how that is measured, who is told when it burns.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "plimsoll.dev",
    version = "v1alpha1",
    kind = "SLO",
    root = "Slo",
    plural = "slos",
    singular = "slo",
    namespaced,
    category = "plimsoll",
    status = "SloStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Data","type":"string","jsonPath":".status.conditions[?(@.type==\"DataPresent\")].status"}"#,
    printcolumn = r#"{"name":"Objective","type":"string","jsonPath":".spec.objective"}"#,
    printcolumn = r#"{"name":"Budget","type":"string","jsonPath":".status.budget"}"#,
    printcolumn = r#"{"name":"Burn","type":"string","jsonPath":".status.burn"}"#,
    printcolumn = r#"{"name":"Alert","type":"string","jsonPath":".status.alert"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Samples","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"DataPresent\")].message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct SloSpec {
    /// What the users of the service can do while the objective holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The service. Default: label `app.kubernetes.io/name`, else `metadata.name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Who answers for it: a team, not a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// More descriptive labels, for `slo_info` and the alerts. Editing them never breaks history.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The objective in percent, as a string so that it stays an exact decimal: "99.95".
    #[x_kube(
        validation = Rule::new(r"self.matches('^[0-9]{1,3}([.][0-9]{1,10})?%?$')").message(r#"objective is a percentage; write it like "99.95""#),
        validation = Rule::new(r"!self.matches('^[0-9]{1,3}([.][0-9]{1,10})?%?$') || double(self.replace('%', '')) > 1.0").message(r#"objective is a percentage; 1 % and less would allow 99 of 100 requests to fail: the ratio 0.9995 is written "99.95""#),
        validation = Rule::new(r"!self.matches('^[0-9]{1,3}([.][0-9]{1,10})?%?$') || double(self.replace('%', '')) < 100.0").message(r#"objective is a percentage; 100 % leaves no error budget: write less than 100, such as "99.95""#)
    )]
    #[schemars(length(max = 16))]
    pub objective: String,
    /// The time over which the error budget is counted. Default: 30 days, rolling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<Period>,
    /// What is measured.
    pub sli: Sli,
    /// Labels by which the objective holds separately, for example one budget for each `route`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub group_by: Vec<String>,
    /// When somebody is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerting: Option<Alerting>,
    /// Times that do not count, for example announced maintenance. They also work for the past.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub exclusions: Vec<Exclusion>,
    /// The anomaly scorer watches the indicator; a ticket tells when it is unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<Anomaly>,
    /// Runbooks of the same namespace that belong to this objective; the alerts name them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub runbooks: Vec<String>,
    /// The configured backend that takes the rules. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// Exactly one of `rolling` and `calendar`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("has(self.rolling) != has(self.calendar)").message("period has exactly one of rolling and calendar"))]
#[schemars(transform = crate::schema::words)]
pub struct Period {
    /// A Prometheus duration that ends now: `30d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub rolling: Option<String>,
    /// The current calendar unit, from its first moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calendar: Option<Calendar>,
    /// IANA name of the zone in which a calendar period begins: `Europe/Berlin`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
}

/// A calendar unit.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calendar {
    /// From Monday.
    Week,
    /// From the first of the month.
    Month,
    /// From the first of January, April, July or October.
    Quarter,
    /// From the first of January.
    Year,
}

/// Exactly one kind of indicator.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.events), has(self.ratio), has(self.latency), has(self.up), has(self.timeSlices), has(self.preset), has(self.composite)].filter(x, x).size() == 1").message("sli has exactly one of events, ratio, latency, up, timeSlices, preset, composite"))]
pub struct Sli {
    /// Counters of events, two of bad, good and total.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// An error ratio that exists already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Ratio>,
    /// Requests slower than a threshold are bad.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
    /// A gauge that is 1 when all is well and 0 when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up: Option<Up>,
    /// Time is cut into slices, each good or bad as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_slices: Option<TimeSlices>,
    /// A ready-made indicator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// Made of other SLOs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub composite: Option<Composite>,
}

/// Two of the three. Each is a bare counter selector, or an expression of rates with `$window`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.bad), has(self.good), has(self.total)].filter(x, x).size() == 2").message("events has exactly two of bad, good and total"))]
pub struct Events {
    /// Events that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub bad: Option<String>,
    /// Events that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub good: Option<String>,
    /// All events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub total: Option<String>,
}

/// An error ratio between 0 and 1, recorded or computed elsewhere; every moment counts the same.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Ratio {
    /// The expression; `$window` stands for the base window.
    #[schemars(length(max = 4096))]
    pub errors: String,
}

/// A latency histogram, classic or native: Prometheus finds out which.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Latency {
    /// A bare selector without `_bucket`: `http_request_duration_seconds{job="checkout"}`.
    #[schemars(length(max = 4096))]
    pub histogram: String,
    /// Slower is bad: `300ms`. A classic histogram needs a bucket that ends exactly here.
    #[schemars(length(max = 32))]
    pub threshold: String,
    /// The unit of the histogram's buckets. Default: seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<LatencyUnit>,
}

/// Unit of a histogram's buckets.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyUnit {
    /// As Prometheus recommends.
    Seconds,
    /// As some older libraries and Istio do.
    Milliseconds,
}

/// A gauge of 0 and 1, such as `up` or `probe_success`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Up {
    /// A bare selector.
    #[schemars(length(max = 4096))]
    pub series: String,
}

/// A slice is good when the expression is 1 at its end.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TimeSlices {
    /// An expression that yields 1 (good) or 0 (bad); `$window` stands for the slice.
    #[schemars(length(max = 4096))]
    pub good: String,
    /// Length of a slice, 10s to 1h. Default: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub slice: Option<String>,
}

/// A ready-made indicator by name; `plimsoll presets` lists them.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Preset {
    /// Its name: `grpc-availability`.
    pub name: String,
    /// Its parameters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub with: BTreeMap<String, String>,
}

/// Exactly one of `weighted` and `worstOf`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("has(self.weighted) != has(self.worstOf)").message("composite has exactly one of weighted and worstOf"))]
pub struct Composite {
    /// The weighted mean of the parts' error ratios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub weighted: Option<Vec<Part>>,
    /// The highest of the parts' error ratios.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 50))]
    pub worst_of: Option<Vec<String>>,
}

/// One part of a weighted composite.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Name of an SLO in the same namespace.
    pub slo: String,
    /// Its share. Default: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub weight: Option<i64>,
}

/// When somebody is told.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Alerting {
    /// Fewer bad events than this over a tier's long window wake nobody. Default: 10, two samples for
    /// `up`, and none for indicators that count time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub minimum_bad_events: Option<i64>,
    /// What it means when no samples come. Default: Alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_data: Option<NoData>,
    /// The burn-rate tiers. Default: the four of the SRE workbook. An empty list: no burn alerts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 12), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub tiers: Option<Vec<Tier>>,
    /// Labels added to every alert, for routing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations added to every alert; Prometheus expands their templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What it means when no samples come.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NoData {
    /// An alert of its own, unless the targets are up and merely idle.
    #[default]
    Alert,
    /// Missing time counts as bad, at the last day's rate.
    Bad,
    /// Nothing happens.
    Ignore,
}

/// One burn-rate tier: it fires while both windows burn faster than `burnRate`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Tier {
    /// Its name, the label `burnrate_tier` of its alerts.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// How many times faster than sustainable the budget burns, a decimal: "14.4".
    #[schemars(length(max = 16))]
    pub burn_rate: String,
    /// The window that shows the burn is significant.
    #[schemars(length(max = 32))]
    pub long_window: String,
    /// The window that shows it still goes on. Default: a twelfth of the long one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub short_window: Option<String>,
    /// Whom it wakes. Default: Page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// How long the condition must hold. Default: not at all, the windows do that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub r#for: Option<String>,
    /// How long it keeps firing after the condition ends. Default: the short window, at most 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub keep_firing_for: Option<String>,
    /// A tier that is switched off keeps its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// Whom an alert wakes; the label `severity`, in lower case.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Severity {
    /// Somebody now.
    #[default]
    Page,
    /// Somebody tomorrow.
    Ticket,
}

/// How the anomaly scorer watches an indicator.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Anomaly {
    /// How easily something counts as unusual. Default: Medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<Sensitivity>,
}

/// One time that does not count: `from` and `to`, or `every` and `for`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("(has(self.from) && has(self.to) && !has(self.every) && !has(self.for)) || (has(self.every) && has(self.for) && !has(self.from) && !has(self.to))").message("an exclusion has from and to, or every and for"))]
pub struct Exclusion {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// First moment, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// First moment that counts again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Weekdays and time of a recurring start: `Sun 03:00`, `Mon-Fri 22:30`, `03:00` (daily).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub every: Option<String>,
    /// How long a recurring one lasts: `2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub r#for: Option<String>,
    /// IANA name of the zone of `every`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// Why, for the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the operator found. Fast-changing numbers are metrics; the three columns for
/// `kubectl get slo` are rounded, so that they seldom change.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SloStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// See the constants in the operator's documentation of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Error budget left, of the period: `61.3%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
    /// Burn rate over an hour: `0.4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burn: Option<String>,
    /// The most severe alert that fires, or `-`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// Where the rules are: `PrometheusRule shop/plimsoll-checkout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
}
