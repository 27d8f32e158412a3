//! Condition types and reasons, and the one place where a condition's transition time may move.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

/// The object works: valid, rendered, written and, where a Prometheus is known, loaded.
pub const READY: &str = "Ready";
/// Prometheus has loaded the rules.
pub const RULES_LOADED: &str = "RulesLoaded";
/// The indicator has samples; those that `noData: Bad` makes up for missing time are none.
pub const DATA_PRESENT: &str = "DataPresent";
/// A change is on its way (kstatus).
pub const RECONCILING: &str = "Reconciling";
/// Nothing more will happen until somebody changes something (kstatus).
pub const STALLED: &str = "Stalled";
/// An alert of this SLO fires. A burning SLO is Ready: a Degraded one would stop an Argo CD sync.
pub const BURNING: &str = "Burning";

/// An alert of this AlertRule fires.
pub const FIRING: &str = "Firing";

/// The route of an AlertRule leads to its receiver.
pub const ROUTED: &str = "Routed";

/// The anomaly scorer sees the series that `anomaly` asks for.
pub const SCORED: &str = "Scored";

/// Its series are scored.
pub const REASON_SCORING: &str = "Scoring";
/// Of none of its series a day is known yet, before which none alerts.
pub const REASON_LEARNING: &str = "Learning";
/// Its query finds no series.
pub const REASON_NO_SERIES: &str = "NoSeries";
/// Its query finds more series than are scored.
pub const REASON_TOO_MANY_SERIES: &str = "TooManySeries";
/// Some of its series differ in nothing that a score shows.
pub const REASON_INDISTINCT_SERIES: &str = "IndistinctSeries";
/// To read all series takes so long that their scores are not shown all the time.
pub const REASON_BEHIND: &str = "Behind";
/// Prometheus refuses its query.
pub const REASON_QUERY_FAILED: &str = "QueryFailed";
/// The Prometheus that has the series does not answer.
pub const REASON_SOURCE_UNREACHABLE: &str = "SourceUnreachable";
/// That Prometheus, or what stands before it, wants to be asked less.
pub const REASON_THROTTLED: &str = "Throttled";

/// Everything is as it should be.
pub const REASON_OK: &str = "AsDeclared";
/// The spec is invalid.
pub const REASON_INVALID: &str = "Invalid";
/// The named backend is not configured.
pub const REASON_BACKEND_UNKNOWN: &str = "BackendUnknown";
/// The backend refused or could not be reached.
pub const REASON_BACKEND_FAILED: &str = "BackendFailed";
/// The object could not be given the finalizer without which nothing is written outside the cluster.
pub const REASON_FINALIZER_FAILED: &str = "FinalizerFailed";
/// Rules could not be removed from where the SLO was before, or must go with it.
pub const REASON_CLEANUP_FAILED: &str = "CleanupFailed";
/// An object of the rules' name belongs to somebody else.
pub const REASON_NOT_OURS: &str = "NotOurs";
/// Another SLO that this one refers to does not exist.
pub const REASON_REFERENCE_MISSING: &str = "ReferenceMissing";
/// No Prometheus is configured, so nobody can be asked.
pub const REASON_NO_PROMETHEUS: &str = "PrometheusNotConfigured";
/// The rules are not Prometheus'.
pub const REASON_NOT_ASKED: &str = "NotAsked";
/// The backend takes rules of another language.
pub const REASON_LANGUAGE: &str = "BackendLanguage";
/// Nobody in the namespace defines the receiver.
pub const REASON_RECEIVER_MISSING: &str = "ReceiverMissing";
/// The receiver reads a key of a Secret that is not there.
pub const REASON_SECRET_KEY_MISSING: &str = "SecretKeyMissing";
/// Prometheus did not answer.
pub const REASON_UNREACHABLE: &str = "PrometheusUnreachable";
/// Prometheus has these rules.
pub const REASON_LOADED: &str = "Loaded";
/// Prometheus still has the rules before an edit, which go on working.
pub const REASON_PROGRESSING: &str = "Progressing";
/// Prometheus lacks a group.
pub const REASON_NOT_LOADED: &str = "NotLoaded";
/// Prometheus has the groups, but a rule of them fails.
pub const REASON_RULE_FAILS: &str = "RuleFails";
/// Prometheus has the groups, but does not evaluate them.
pub const REASON_NOT_EVALUATED: &str = "NotEvaluated";
/// Samples are there.
pub const REASON_SAMPLES: &str = "Samples";
/// No samples are there.
pub const REASON_NO_SAMPLES: &str = "NoSamples";
/// Samples are there, and bad events lack a label of `groupBy`.
pub const REASON_NO_GROUP: &str = "BadEventsWithoutGroup";
/// The rules were only just loaded.
pub const REASON_WAITING: &str = "Waiting";
/// At least one tier's alert fires.
pub const REASON_ALERT_FIRING: &str = "AlertFiring";
/// No alert fires.
pub const REASON_QUIET: &str = "Quiet";

/// Sets one condition; `lastTransitionTime` moves only when `status` does.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: &str,
    status: Option<bool>,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Timestamp,
) {
    let status = match status {
        Some(true) => "True",
        Some(false) => "False",
        None => "Unknown",
    };
    let mut message: String = message.into();
    if message.len() > MESSAGE_MAX {
        let cut = (0..=MESSAGE_MAX - 3).rev().find(|&i| message.is_char_boundary(i));
        message.truncate(cut.unwrap_or(0));
        message.push_str("...");
    }
    let old = conditions.iter().position(|c| c.type_ == type_);
    let since = old
        .and_then(|i| conditions.get(i))
        .filter(|c| c.status == status)
        .map_or(Time(now), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    match old.and_then(|i| conditions.get_mut(i)) {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

/// The API's limit for a condition's message, in bytes.
pub const MESSAGE_MAX: usize = 32_768;

/// The status of one condition, if it is there.
pub fn status<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a str> {
    conditions.iter().find(|c| c.type_ == type_).map(|c| c.status.as_str())
}
