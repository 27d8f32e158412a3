//! Fifth step: what the object's status says. Pure; the only way to a [`Status`] is through [`Applied`].

use jiff::Timestamp;
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Condition, jiff as api_jiff};
use kube::Resource;
use plimsoll_api::{Kind, conditions as c};
use plimsoll_slo::alerts::Language;

use super::{
    apply::{Applied, Outcome, Scored},
    observe::{Loaded, Observation, SETTLE},
    render::Rendered,
    route::RouteError,
    stored::Shown,
};
use crate::{limits::Excess, sinks::SinkError};

/// A status to be written, unless it is stored already.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    new: Shown,
}

impl Status {
    /// What is to be stored.
    pub fn get(&self) -> &Shown {
        &self.new
    }
}

/// What Prometheus knows, if one is configured.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its address.
    pub url: &'a str,
    /// What it knows; nothing while the rules are not written.
    pub observation: Option<&'a Observation>,
}

/// The status that follows from what was applied and observed. `old` is the stored one: it keeps
/// transition times, and what is not known anew.
pub fn status(applied: &Rendered<Applied>, old: Option<&Shown>, asked: Option<Asked<'_>>, now: Timestamp) -> Status {
    let (kind, generation) = (applied.stored.kind_of(), applied.stored.meta().generation);
    let mut new = old.cloned().unwrap_or_default();
    new.observed_generation = generation;
    let mut set = Setter { conditions: &mut new.conditions, generation, now };
    match applied.state.outcome() {
        Outcome::Refused(error) => set.refused(error.reason(), &error.to_string()),
        Outcome::Failed(error) => set.failed(error),
        Outcome::Stuck { reason, message } => set.stuck(reason, message),
        Outcome::Held { place, advice, written: _, wanted, warnings, route: _ } => {
            new.place = Some(place.clone());
            new.rules = (kind == Kind::AlertRule).then(|| i64::try_from(wanted.rules).unwrap_or(i64::MAX));
            match asked {
                _ if wanted.language == Language::LogQl => set.unasked(
                    c::REASON_NOT_ASKED,
                    "Loki is not asked whether it has loaded them",
                    warnings.as_deref(),
                ),
                None => {
                    let message = "the operator knows no Prometheus to ask; start it with --prometheus URL";
                    set.unasked(c::REASON_NO_PROMETHEUS, message, warnings.as_deref());
                }
                Some(Asked { url, observation }) => {
                    let observation = observation.cloned().unwrap_or(Observation::new(Loaded::Asking, now));
                    let warnings = match &observation.excess {
                        Some(excess) => {
                            let all: Vec<String> =
                                warnings.iter().cloned().chain(excess.iter().map(Excess::line)).collect();
                            (!all.is_empty()).then(|| all.join("; "))
                        }
                        // After a start what was found before it is not forgotten and found again.
                        None => set.said_with_ready().or_else(|| warnings.clone()),
                    };
                    set.with_prometheus(url, &observation, (place, advice.as_deref()), warnings.as_deref());
                }
            }
        }
    }
    // Also of an SLO that is invalid now: its last good rules go on working.
    if let Some(Asked { observation: Some(seen), .. }) = asked {
        let held = set.observed(kind, seen);
        if let Some(firing) = seen.columns.firing.filter(|_| !held) {
            new.firing = Some(i64::try_from(firing).unwrap_or(i64::MAX));
        }
        let [budget, burn, alert] = seen.columns.shown();
        if alert.is_some() || seen.data == Some(false) {
            let alert = if held { new.alert.take() } else { alert };
            (new.budget, new.burn, new.alert) = (budget, burn, alert);
        }
    }
    if matches!(applied.state.outcome(), Outcome::Held { .. }) {
        Setter { conditions: &mut new.conditions, generation, now }.routed(applied.state.routed(), old);
    }
    if let Some(leftover) = applied.state.leftover() {
        // The rules work where they are now, so this is no lack of readiness.
        // Another cause may stand there from above; this one should keep its time.
        new.conditions.retain(|condition| condition.type_ != c::RECONCILING);
        let before = old.iter().flat_map(|old| &old.conditions).find(|old| old.type_ == c::RECONCILING);
        new.conditions.extend(before.cloned());
        let mut set = Setter { conditions: &mut new.conditions, generation, now };
        set.reconciling(c::REASON_CLEANUP_FAILED, leftover);
    }
    Setter { conditions: &mut new.conditions, generation, now }.scored(applied.state.scored());
    // A fixed order, so that equal statuses are equal text.
    new.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
    Status { new }
}

/// Since when rules of this generation are on their way into Prometheus, as `old` tells; nothing when they arrived, or
/// when it waits for something else.
pub fn waiting_since(old: Option<&Shown>, generation: Option<i64>) -> Option<Timestamp> {
    let find = |type_: &str, reasons: &[&str]| {
        old?.conditions.iter().find(|old| {
            old.type_ == type_ && old.observed_generation == generation && reasons.contains(&old.reason.as_str())
        })
    };
    find(c::RULES_LOADED, &[c::REASON_WAITING, c::REASON_PROGRESSING, c::REASON_NOT_LOADED])?;
    // There from the first write to the last, whatever became of RulesLoaded meanwhile; begun anew with each
    // generation and cause.
    Some(find(c::RECONCILING, &[c::REASON_WAITING])?.last_transition_time.0)
}

struct Setter<'a> {
    conditions: &'a mut Vec<Condition>,
    generation: Option<i64>,
    now: Timestamp,
}

impl Setter<'_> {
    fn set(&mut self, type_: &str, status: Option<bool>, reason: &str, message: impl Into<String>) {
        c::set(self.conditions, type_, status, reason, message, self.generation, api_time(self.now));
    }

    /// Its time says since when these very rules wait for this, so that of others is not kept.
    fn reconciling(&mut self, reason: &str, message: &str) {
        let generation = self.generation;
        self.conditions
            .retain(|old| old.type_ != c::RECONCILING || old.observed_generation == generation && old.reason == reason);
        self.set(c::RECONCILING, Some(true), reason, message);
    }

    /// kstatus' two conditions are abnormal when true: they are there only then. Each has a reason and a message.
    fn progress(&mut self, reconciling: Option<(&str, &str)>, stalled: Option<(&str, &str)>) {
        match reconciling {
            Some((reason, message)) => self.reconciling(reason, message),
            None => self.conditions.retain(|condition| condition.type_ != c::RECONCILING),
        }
        match stalled {
            Some((reason, message)) => self.set(c::STALLED, Some(true), reason, message),
            None => self.conditions.retain(|condition| condition.type_ != c::STALLED),
        }
    }

    fn refused(&mut self, reason: &str, message: &str) {
        self.set(c::READY, Some(false), reason, message);
        self.progress(None, Some((reason, message)));
    }

    fn failed(&mut self, error: &SinkError) {
        let message = error.to_string();
        let reason = match error {
            SinkError::NotOurs { .. } => c::REASON_NOT_OURS,
            SinkError::NotReady { .. }
            | SinkError::Refused { .. }
            | SinkError::Unavailable { .. }
            | SinkError::Unread { .. } => c::REASON_BACKEND_FAILED,
        };
        self.set(c::READY, Some(false), reason, message.as_str());
        if error.is_transient() {
            self.progress(Some((reason, &message)), None);
        } else {
            self.progress(None, Some((reason, &message)));
        }
    }

    fn stuck(&mut self, reason: &'static str, message: &str) {
        self.set(c::READY, Some(false), reason, message);
        self.progress(Some((reason, message)), None);
    }

    /// Nobody can say whether the rules are loaded.
    fn unasked(&mut self, reason: &str, message: &str, warnings: Option<&str>) {
        self.ready(warnings);
        self.progress(None, None);
        self.set(c::RULES_LOADED, None, reason, message);
        for type_ in [c::DATA_PRESENT, c::BURNING, c::FIRING] {
            self.conditions.retain(|condition| condition.type_ != type_);
        }
    }

    /// What Ready says of this generation.
    fn said_with_ready(&self) -> Option<String> {
        let ready = self.conditions.iter().find(|old| old.type_ == c::READY && old.status == "True")?;
        (ready.observed_generation == self.generation).then(|| ready.message.clone())
    }

    /// Whether Prometheus was found without these rules, or with one that fails: until it is asked again, as after a
    /// start, that stands.
    fn was_found_wanting(&self) -> bool {
        self.conditions.iter().any(|old| {
            old.type_ == c::READY
                && old.status == "False"
                && old.observed_generation == self.generation
                && [c::REASON_NOT_LOADED, c::REASON_RULE_FAILS, c::REASON_NOT_EVALUATED].contains(&old.reason.as_str())
        })
    }

    fn ready(&mut self, warnings: Option<&str>) {
        self.set(c::READY, Some(true), c::REASON_OK, warnings.unwrap_or_default());
    }

    fn with_prometheus(
        &mut self,
        url: &str,
        seen: &Observation,
        (place, advice): (&str, Option<&str>),
        warnings: Option<&str>,
    ) {
        let Observation { loaded, since, .. } = seen;
        let since = since.strftime("%Y-%m-%dT%H:%M:%SZ");
        // Of whatever generation: an edit leaves the rules before it at work until the new ones are loaded.
        let ready = self.conditions.iter().find(|old| old.type_ == c::READY && old.status == "True");
        let was_ready = ready.is_some();
        let is_current = ready.is_some_and(|old| old.observed_generation == self.generation);
        match loaded {
            Loaded::Yes => {
                self.set(c::RULES_LOADED, Some(true), c::REASON_LOADED, "");
                self.ready(warnings);
                self.progress(None, None);
            }
            Loaded::Asking if is_current || self.was_found_wanting() => {}
            Loaded::Asking | Loaded::Outdated { overdue: false } if was_ready => {
                // The other rules may be those before an edit, or those of another version of the operator.
                // Ready stays as it is, with the generation for which it was found: who waits for the edit to take
                // effect waits for that or for Reconciling to go.
                let message = format!(
                    "written to {place}; Prometheus {url} works with other rules of it so far (asked since {since})"
                );
                self.set(c::RULES_LOADED, None, c::REASON_PROGRESSING, message.as_str());
                self.progress(Some((c::REASON_WAITING, &message)), None);
            }
            Loaded::Outdated { overdue: true } => {
                let message = format!(
                    "Prometheus {url} still has other rules of it (asked since {since}); see in its log why it does not load those of {place}"
                );
                self.set(c::RULES_LOADED, Some(false), c::REASON_NOT_LOADED, message.as_str());
                self.set(c::READY, Some(false), c::REASON_NOT_LOADED, message.as_str());
                self.progress(Some((c::REASON_WAITING, &message)), None);
            }
            Loaded::Asking | Loaded::Outdated { overdue: false } => {
                let message = format!("written to {place}; Prometheus {url} is asked since {since}");
                self.set(c::RULES_LOADED, None, c::REASON_WAITING, message.as_str());
                self.set(c::READY, None, c::REASON_WAITING, message.as_str());
                self.progress(Some((c::REASON_WAITING, &message)), None);
            }
            Loaded::Missing { group, hint } => {
                let mut message =
                    format!("Prometheus {url} has no group {group} as written to {place} (asked since {since})");
                if let Some(hint) = hint.as_deref().or(advice) {
                    message.push_str("; ");
                    message.push_str(hint);
                }
                self.set(c::RULES_LOADED, Some(false), c::REASON_NOT_LOADED, message.as_str());
                self.set(c::READY, Some(false), c::REASON_NOT_LOADED, message.as_str());
                self.progress(Some((c::REASON_WAITING, &message)), None);
            }
            Loaded::Failing(cause) => {
                let message = format!("Prometheus {url} has the rules, but one fails: {cause}");
                self.set(c::RULES_LOADED, Some(true), c::REASON_RULE_FAILS, message.as_str());
                self.set(c::READY, Some(false), c::REASON_RULE_FAILS, message.as_str());
                self.progress(None, None);
            }
            Loaded::Idle { group, since } => {
                let when = since
                    .map_or("has never evaluated".to_owned(), |at| format!("has not evaluated since {}", time(at)));
                let message = format!(
                    "Prometheus {url} has the rules, but {when} the group {group}; see in its log why it evaluates no rules"
                );
                self.set(c::RULES_LOADED, Some(true), c::REASON_NOT_EVALUATED, message.as_str());
                self.set(c::READY, Some(false), c::REASON_NOT_EVALUATED, message.as_str());
                self.progress(None, None);
            }
            Loaded::Unreachable(cause) => {
                // Prometheus' outage does not make the object worse than it was. What was said first stays.
                let said = self.conditions.iter().find(|one| one.type_ == c::RULES_LOADED);
                let said = said.filter(|one| one.reason == c::REASON_UNREACHABLE).map(|one| one.message.clone());
                let away = seen.away.map(|at| format!("nothing is known since {}: {cause}", time(at)));
                let cause = &said.or(away).unwrap_or_else(|| cause.clone());
                self.set(c::RULES_LOADED, None, c::REASON_UNREACHABLE, cause.as_str());
                if !was_ready {
                    self.set(c::READY, None, c::REASON_UNREACHABLE, cause.as_str());
                }
                self.progress((!is_current).then_some((c::REASON_UNREACHABLE, cause.as_str())), None);
            }
        }
    }

    /// Rules whose alerts reach nobody are not ready, however well they are loaded.
    fn routed(&mut self, routed: Option<&Result<String, RouteError>>, old: Option<&Shown>) {
        match routed {
            Some(Ok(place)) => self.set(c::ROUTED, Some(true), c::REASON_OK, place.as_str()),
            Some(Err(error)) => {
                let (reason, message) = (error.reason(), error.to_string());
                self.set(c::ROUTED, Some(false), reason, message.as_str());
                // What was unready stays so since the same time, whatever was said of it just now.
                let before = old.iter().flat_map(|old| &old.conditions).find(|one| one.type_ == c::READY);
                if let Some((before, ready)) = before.zip(self.conditions.iter_mut().find(|one| one.type_ == c::READY))
                {
                    *ready = before.clone();
                }
                self.set(c::READY, Some(false), reason, message.as_str());
            }
            None => self.conditions.retain(|condition| condition.type_ != c::ROUTED),
        }
    }

    /// Apart from readiness: rules that nothing is scored for work all the same.
    fn scored(&mut self, scored: &Scored) {
        match scored {
            Scored::Unasked => {}
            Scored::Unwanted => self.conditions.retain(|condition| condition.type_ != c::SCORED),
            Scored::NoPrometheus => {
                let message = "the operator knows no Prometheus to read from; start it with --prometheus URL";
                self.set(c::SCORED, Some(false), c::REASON_NO_PROMETHEUS, message);
            }
            // After a start what was said before it stays until more is known.
            Scored::Awaited if c::status(self.conditions, c::SCORED).is_some() => {}
            Scored::Awaited => {
                self.set(c::SCORED, None, c::REASON_WAITING, "the scorer's first questions are awaited");
            }
            Scored::Says(fact) => {
                let old = self.conditions.iter().find(|old| old.type_ == c::SCORED && old.reason == fact.reason);
                let said = old.filter(|old| fact.repeats(&old.message)).map(|old| old.message.clone());
                self.set(c::SCORED, fact.status, fact.reason, said.unwrap_or_else(|| fact.message.clone()));
            }
        }
    }

    /// True when an alert that does not fire any more is still shown as firing, for nobody knows whether it ended.
    fn observed(&mut self, kind: Kind, seen: &Observation) -> bool {
        let Observation { data, columns, .. } = seen;
        if let (Loaded::Unreachable(_), Some(away)) = (&seen.loaded, seen.away) {
            self.keep(away);
            return false;
        }
        let fires =
            if kind == Kind::AlertRule { columns.firing.map(|n| n > 0) } else { columns.alert.map(|a| a.is_some()) };
        let type_ = if kind == Kind::AlertRule { c::FIRING } else { c::BURNING };
        let unsettled = self.unsettled(type_, seen).filter(|_| fires == Some(false));
        let held = unsettled.is_some();
        match (fires, unsettled) {
            (_, Some(message)) => self.set(type_, Some(true), c::REASON_ALERT_FIRING, message),
            (Some(true), None) => self.set(type_, Some(true), c::REASON_ALERT_FIRING, some(&seen.firing)),
            (Some(false), None) => self.set(type_, Some(false), c::REASON_QUIET, ""),
            (None, None) => {}
        }
        if kind == Kind::AlertRule {
            return held;
        }
        match data {
            Some(true) => match &seen.lacks {
                Some(label) => self.set(c::DATA_PRESENT, Some(false), c::REASON_NO_GROUP, lacks(label)),
                None => self.set(c::DATA_PRESENT, Some(true), c::REASON_SAMPLES, ""),
            },
            Some(false) => {
                let what = if seen.made_up {
                    "the indicator has no samples, which counts as bad (noData: Bad)"
                } else {
                    "the base series have no samples"
                };
                let message = match &seen.targets {
                    Some(away) => format!("{what}: {}", away.line()),
                    None => format!("{what}; plimsoll explain says which selector matches nothing"),
                };
                self.set(c::DATA_PRESENT, Some(false), c::REASON_NO_SAMPLES, message);
            }
            None if c::status(self.conditions, c::DATA_PRESENT).is_none_or(|s| s == "Unknown") => {
                self.set(c::DATA_PRESENT, None, c::REASON_WAITING, "the first evaluations are awaited");
            }
            None => {}
        }
        held
    }

    /// Says of what was known that it is not any more; said once, it stays.
    fn keep(&mut self, away: Timestamp) {
        const KEPT: &str = "as last known; ";
        for type_ in [c::DATA_PRESENT, c::BURNING, c::FIRING] {
            let Some(old) = self.conditions.iter().find(|old| old.type_ == type_ && old.status != "Unknown") else {
                continue;
            };
            if !old.message.starts_with(KEPT) {
                let (status, reason) = (old.status == "True", old.reason.clone());
                let message = format!("{KEPT}Prometheus does not answer since {}", time(away));
                self.set(type_, Some(status), &reason, message);
            }
        }
    }

    /// Why it is not known whether what fired has ended: Prometheus was away or started meanwhile, and its rules may
    /// not have been evaluated yet.
    fn unsettled(&self, type_: &str, seen: &Observation) -> Option<String> {
        let old = self.conditions.iter().find(|old| old.type_ == type_ && old.status == "True")?;
        let back = seen.back.filter(|back| *back > old.last_transition_time.0)?;
        let until = back.checked_add(SETTLE).ok().filter(|until| self.now < *until)?;
        Some(format!(
            "as last known; Prometheus answers again since {}, its rules are evaluated by {}",
            time(back),
            time(until)
        ))
    }
}

fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// What is said of bad events without a label of `groupBy`.
fn lacks(label: &str) -> String {
    format!(
        "spec.groupBy: bad events without the label {label} are counted in no group, so no error of theirs is seen; remove {label} from groupBy, or use series in spec.sli.events.bad that have it"
    )
}

/// The first names of many.
fn some(names: &[String]) -> String {
    const MAX: usize = 5;
    let shown = names.iter().take(MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// k8s-openapi has its own name for the same crate.
fn api_time(now: Timestamp) -> api_jiff::Timestamp {
    now
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "scored_tests.rs"]
mod scored_tests;
