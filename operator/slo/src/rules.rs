//! What rendering yields: Prometheus rule groups, in the shape of its rule files.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// All rules of one object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuleSet {
    /// The groups, in the order in which they build on each other.
    pub groups: Vec<Group>,
}

/// Rules that Prometheus evaluates one after another at one interval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Unique in a Prometheus: `plimsoll.NAMESPACE.NAME.PART`.
    pub name: String,
    /// A Prometheus duration.
    pub interval: String,
    /// A rule that yields more series than this fails instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A recording rule (`record`) or an alert (`alert`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Name of the recorded series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Name of the alert.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// PromQL.
    pub expr: String,
    /// How long an alert's condition must hold, a Prometheus duration.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    /// How long an alert goes on firing after its condition ended, a Prometheus duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_firing_for: Option<String>,
    /// Labels added to the series or the alert.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of an alert.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

impl RuleSet {
    /// Number of rules in all groups.
    pub fn len(&self) -> usize {
        self.groups.iter().map(|g| g.rules.len()).sum()
    }

    /// True when there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the text of all rules, about what an object or a file of them takes.
    pub fn bytes(&self) -> usize {
        let texts =
            |r: &Rule| r.expr.len() + r.annotations.values().chain(r.labels.values()).map(String::len).sum::<usize>();
        self.groups.iter().flat_map(|g| &g.rules).map(texts).sum()
    }

    /// Names of the groups.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|g| g.name.as_str())
    }
}
