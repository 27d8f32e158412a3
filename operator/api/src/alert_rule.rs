//! The kind `AlertRule`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube_derive::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    anomaly::{Direction, Sensitivity},
    slo::Severity,
};

/// Alerts that belong together: what is watched, where, and who is told.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[kube(
    group = "plimsoll.dev",
    version = "v1alpha1",
    kind = "AlertRule",
    root = "AlertRule",
    plural = "alertrules",
    singular = "alertrule",
    shortname = "alr",
    namespaced,
    category = "plimsoll",
    status = "AlertRuleStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "::kube_core"),
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status"}"#,
    printcolumn = r#"{"name":"Rules","type":"integer","jsonPath":".status.rules"}"#,
    printcolumn = r#"{"name":"Firing","type":"integer","jsonPath":".status.firing"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","priority":1,"jsonPath":".status.conditions[?(@.type==\"Ready\")].message"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[x_kube(crates(kube_core = "::kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct AlertRuleSpec {
    /// Who answers for these alerts: a team, not a person. Becomes the label `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Label matchers put into every selector of every expression below: `{cluster: prod-eu}`. A value
    /// may begin with an operator: `=~prod-.*`, `!=test`, `!~test|dev`. Labels that are matched by
    /// equality are on the alerts as well.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub matchers: BTreeMap<String, String>,
    /// The alerts.
    #[schemars(length(min = 1, max = 100), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["alert"]))]
    pub rules: Vec<Alert>,
    /// How often they are evaluated. Default: 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]+(ms|[smhdwy]))+$')").message("interval is not a duration; write it like 30d, 1h30m or 5m"))]
    #[schemars(length(max = 32))]
    pub interval: Option<String>,
    /// Who is told. Without one, Alertmanager's own configuration decides by the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// The configured backend that takes the rules. Default: `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// One alert: exactly one of `expr`, `logql` and `anomaly`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(crates(kube_core = "::kube_core"), validation = Rule::new("[has(self.expr), has(self.logql), has(self.anomaly)].filter(x, x).size() == 1").message("a rule has exactly one of expr, logql and anomaly"))]
#[schemars(transform = crate::schema::words)]
pub struct Alert {
    /// Its name, the label `alertname`.
    #[schemars(length(min = 1, max = 128))]
    pub alert: String,
    /// PromQL; it fires for every series of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub expr: Option<String>,
    /// LogQL with a number as its result; the backend must be a ruler of Loki.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub logql: Option<String>,
    /// It fires while the anomaly scorer finds a series unusual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anomaly: Option<Anomaly>,
    /// How long the condition must hold. Default: not at all; for an anomaly, by its sensitivity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]+(ms|[smhdwy]))+$')").message("for is not a duration; write it like 30d, 1h30m or 5m"))]
    #[schemars(length(max = 32))]
    pub r#for: Option<String>,
    /// How long it goes on firing after the condition ended. Default: not at all; for an anomaly, 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]+(ms|[smhdwy]))+$')").message("keepFiringFor is not a duration; write it like 30d, 1h30m or 5m"))]
    #[schemars(length(max = 32))]
    pub keep_firing_for: Option<String>,
    /// Whom it wakes. Default: Ticket. An anomaly cannot be Page: it pages only by an SLO that burns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// Labels added to the alert; Prometheus expands their templates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the alert: `[[ owner ]]` is filled in when the rule is rendered,
    /// `{{ $labels.pod }}` by Prometheus when it fires.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Runbooks of the same namespace that belong to this alert; it names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub runbooks: Vec<String>,
}

/// What the anomaly scorer watches.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = crate::schema::words)]
pub struct Anomaly {
    /// PromQL; every series of the result is scored by itself.
    #[schemars(length(max = 4096))]
    pub query: String,
    /// Which side is unusual. Default: Both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direction: Option<Direction>,
    /// How easily something counts as unusual. Default: Medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitivity: Option<Sensitivity>,
}

/// Who is told: becomes an AlertmanagerConfig of prometheus-operator, or a piece of Alertmanager's
/// own configuration.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// A receiver that an AlertmanagerConfig of this namespace defines.
    #[schemars(length(min = 1, max = 253))]
    pub receiver: String,
    /// Alerts with equal values of these labels come in one message. Default: `alertname`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub group_by: Option<Vec<String>>,
    /// Alerts of this namespace while which the other alerts of this object are not sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub inhibited_by: Vec<String>,
    /// Labels whose values an alert and the one that inhibits it must share. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub equal: Vec<String>,
    /// How long the first message of a group waits for more. Default: Alertmanager's, 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub group_wait: Option<String>,
    /// How long a group that was sent waits before news of it are sent. Default: Alertmanager's, 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub group_interval: Option<String>,
    /// How long until what still fires is sent again. Default: Alertmanager's, 4h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub repeat_interval: Option<String>,
}

/// What the operator found.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AlertRuleStatus {
    /// The generation that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// See the constants in the operator's documentation of conditions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Number of rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<i64>,
    /// Number of alerts that fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firing: Option<i64>,
    /// Where the rules are: `PrometheusRule shop/plimsoll.alertrule-checkout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}
