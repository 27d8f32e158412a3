//! What `explain` knows about one SLO.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use plimsoll_api::conditions as c;

use super::{blind::Doubt, histogram::Buckets, parts::Part};
use crate::{limits::Excess, targets::Away};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Name of the SLO.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Where it comes from: stored in a cluster, or from a file.
    pub stored: bool,
    /// What is wrong with it, one line each; empty when it is valid.
    pub problems: Vec<String>,
    /// What its author should know, one line each.
    pub warnings: Vec<String>,
    /// What it measures, in words: `bad events of all events`.
    pub measures: String,
    /// The objective in percent.
    pub objective: String,
    /// The period in words: `30d, rolling`.
    pub period: String,
    /// Until when nothing that happens counts, where it is excluded now: `2026-12-02T02:05:00Z`.
    pub excluded: Option<String>,
    /// The shortest range that its rules read rates over, and half of it, where that is below two minutes.
    pub range: Option<(String, String)>,
    /// Number of its rules.
    pub rules: usize,
    /// Where the operator has written them; from the status.
    pub place: Option<String>,
    /// Why it is still there although it was deleted; from the status.
    pub deletion: Option<String>,
    /// Why the operator does not hold it for ready; from the status, when it says something of its own.
    pub trouble: Option<String>,
    /// The severity of an alert of its rules that fires; from the status.
    pub fires: Option<String>,
    /// Whether Prometheus has them.
    pub loaded: Loaded,
    /// What Prometheus refused to answer.
    pub refusals: Vec<Refusal>,
    /// Its selectors.
    pub selectors: Vec<Selector>,
    /// Of a composite: what it is made of.
    pub parts: Vec<Part>,
    /// The histogram's buckets, where it has a threshold.
    pub buckets: Option<Buckets>,
    /// A part of all events that has more of them than all.
    pub surplus: Option<Surplus>,
    /// Why there are no samples, where the targets show it.
    pub away: Option<Away>,
    /// Samples that are not what the indicator takes them for; what matters most first.
    pub misfits: Vec<Misfit>,
    /// Whether its own base series have samples.
    pub data: Option<bool>,
    /// Those are made up: the indicator yields nothing, and missing time counts as bad.
    pub made_up: bool,
    /// Whether there are events now, so that what is not recorded will be.
    pub busy: bool,
    /// Whether its alert of missing data fires, or is about to.
    pub no_data: Option<NoData>,
    /// Share of the budget that is left, of the worst group.
    pub budget: Option<f64>,
    /// Which group that is: `region="eu"`; empty where there are none.
    pub budget_of: String,
    /// About how much of the period is known, where that is not most of it: `4m`.
    pub known: Option<String>,
    /// What is too much for this Prometheus.
    pub excess: Vec<Excess>,
    /// Its tiers.
    pub tiers: Vec<Tier>,
    /// What the anomaly scorer sees of it.
    pub scored: Option<Scored>,
}

/// How the alert of missing data stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoData {
    /// It fires; else it is pending.
    pub firing: bool,
    /// Since when data are missing, where that is known.
    pub since: Option<String>,
    /// The parts of a composite that it is about; none where all data are missing.
    pub parts: Vec<String>,
}

/// What the anomaly scorer sees of an object, from the status: in the words of its condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// Whether everything that was asked for is scored; `None` while that is not known.
    pub works: Option<bool>,
    /// In words.
    pub message: String,
}

impl Scored {
    /// What these conditions say of it.
    pub fn of(conditions: &[Condition]) -> Option<Self> {
        let condition = conditions.iter().find(|condition| condition.type_ == c::SCORED)?;
        let works = match condition.status.as_str() {
            "True" => Some(true),
            "False" => Some(false),
            _ => None,
        };
        Some(Self { works, message: condition.message.clone() })
    }

    /// What to do.
    pub fn next(&self) -> String {
        let Self { works, message } = self;
        if *works == Some(false) { format!("see to this: {message}") } else { format!("wait: {message}") }
    }

    /// On one line.
    pub fn line(&self) -> String {
        let mark = match self.works {
            Some(true) => "✓",
            Some(false) => "✗",
            None => "·",
        };
        format!("{mark} anomalies: {}", self.message)
    }
}

/// A question of this object alone that Prometheus refuses, while it answers others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// What was asked for: `total: http_requests_total`, `its rule groups`.
    pub about: String,
    /// In Prometheus' words.
    pub cause: String,
}

impl Refusal {
    /// One line for each cause, which is told once however many questions it is of.
    pub fn lines(refusals: &[Self]) -> Vec<String> {
        let mut causes: Vec<(&str, Vec<&str>)> = Vec::new();
        for Self { about, cause } in refusals {
            match causes.iter_mut().find(|(known, _)| known == cause) {
                Some((_, all)) => all.push(about),
                None => causes.push((cause, vec![about])),
            }
        }
        let line = |(cause, all): (&str, Vec<&str>)| {
            format!("✗ Prometheus refuses to answer for {}: {cause}", all.join("; for "))
        };
        causes.into_iter().map(line).collect()
    }

    /// What to do.
    pub fn next(&self) -> String {
        if self.cause.contains("too many samples") {
            format!("narrow it with matchers, or raise --query.max-samples of Prometheus: {}", self.about)
        } else {
            let Self { about, cause } = self;
            format!("see why it refuses to answer for {about}, or give another address with --prometheus: {cause}")
        }
    }
}

/// Whether Prometheus has the rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Loaded {
    /// Nobody was asked.
    #[default]
    NotAsked,
    /// It did not answer.
    Unreachable(String),
    /// It has all.
    Yes {
        /// Its address.
        url: String,
    },
    /// It has other rules of this SLO.
    Outdated {
        /// Its address.
        url: String,
    },
    /// It lacks a group.
    Missing {
        /// Its address.
        url: String,
        /// The group.
        group: String,
        /// Why no `Prometheus` object selects the rules.
        why: Option<String>,
        /// The command that helps.
        remedy: Option<String>,
    },
    /// It has all, but does not evaluate them.
    Idle {
        /// Its address.
        url: String,
        /// The group.
        group: String,
        /// The last time it did; nothing when it never did.
        since: Option<String>,
    },
    /// A rule fails.
    Failing {
        /// Its address.
        url: String,
        /// The rule and its error.
        cause: String,
    },
}

impl Loaded {
    /// What is said, as a headline and a next step, of rules that are loaded and not evaluated.
    pub fn idle(since: Option<&str>) -> (&'static str, &'static str) {
        match since {
            Some(_) => (
                "is not ready: Prometheus has its rules and does not evaluate them.",
                "look in Prometheus' log for why it evaluates no rules: they are all of no use while it does not",
            ),
            None => (
                "has no data yet: Prometheus has not evaluated its rules so far.",
                "if they were loaded within the last minutes, wait for a minute, then ask again; else look in Prometheus' log for why it evaluates no rules",
            ),
        }
    }

    /// A mark and a line, of rules that are loaded and not evaluated.
    pub fn idle_line(url: &str, group: &str, since: Option<&str>) -> (&'static str, String) {
        match since {
            Some(since) => {
                ("✗", format!("Prometheus {url} has them, but has not evaluated the group {group} since {since}"))
            }
            // It does not say for how long it has had them.
            None => (
                "·",
                format!(
                    "Prometheus {url} has them, and has not evaluated the group {group} yet; one that was loaded just now is first evaluated within its interval"
                ),
            ),
        }
    }
}

/// One selector of the indicator.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector {
    /// Its place: `bad`, `total`, `histogram`.
    pub role: &'static str,
    /// As PromQL.
    pub text: String,
    /// Number of series now; `None` when nobody was asked.
    pub series: Option<u64>,
    /// The metric's own number of series, asked when the selector matches none.
    pub of_metric: Option<u64>,
    /// Labels of `groupBy` that none of its series has.
    pub lacks: Vec<String>,
    /// Where it matches nothing: the first of its labels that no series of the metric has.
    pub no_such_label: Option<String>,
    /// Where there is no such metric: the names that are nearest to it.
    pub near: Vec<String>,
    /// Where it matches nothing: the first of its labels that no series has with this value, and some of its values.
    pub values: Option<(String, Vec<String>)>,
    /// Where none of those values could ever be what is wanted.
    pub slip: Option<Slip>,
    /// Where it matches nothing and is of bad events: why it may never match anything.
    pub doubt: Option<Doubt>,
    /// The label of its series that the first of those that it lacks is a misspelling of.
    pub meant: Option<String>,
}

/// A matcher that no value of its label can fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slip {
    /// The matcher: `status="5xx"`.
    pub matcher: String,
    /// One that fits what the label has: `status=~"5.."`.
    pub instead: String,
}

/// Good or bad events that are more than all events: then they cannot be a part of them, and the ratio says nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surplus {
    /// The part: `good` or `bad`.
    pub role: &'static str,
    /// Its events of the last five minutes.
    pub part: f64,
    /// Those of `total`.
    pub total: f64,
}

/// Samples that are not what the indicator takes them for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Misfit {
    /// Place of the selector that it is about; empty where it is about an expression.
    pub role: &'static str,
    /// That selector, as its [`Selector`] has it.
    pub selector: String,
    /// After the name: `takes a gauge for a counter: its total is queue_length.`
    pub headline: String,
    /// What was seen.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Misfit {
    /// Whether it is about this selector.
    pub fn is_of(&self, selector: &Selector) -> bool {
        self.role == selector.role && self.selector == selector.text
    }
}

/// One alert tier in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// The burn rate at which it fires.
    pub threshold: String,
    /// Long window.
    pub long: String,
    /// Short window.
    pub short: String,
    /// Burn rate over the long window, of the worst group.
    pub burn_long: Option<f64>,
    /// Burn rate over the short window, of the worst group.
    pub burn_short: Option<f64>,
    /// Bad events in the long window; nothing while they were not counted once.
    pub bad_events: Option<f64>,
    /// How often they are counted.
    pub counted: String,
    /// As many must there be.
    pub minimum: u64,
    /// Whether its alert fires.
    pub firing: bool,
    /// The worst of the groups that burn: `region="eu"`; empty where there are none.
    pub group: String,
    /// How many other groups burn.
    pub others: u64,
    /// How often its alert is evaluated.
    pub interval: String,
    /// How long its conditions must hold.
    pub hold: Option<String>,
}

impl Tier {
    /// Whether both windows burn faster than the threshold.
    pub fn is_over(&self) -> bool {
        let threshold = self.threshold.parse().unwrap_or(f64::INFINITY);
        [self.burn_long, self.burn_short].into_iter().all(|burn| burn.is_some_and(|burn| burn > threshold))
    }

    /// Whether it is not known yet if it burns: a burn rate is missing, and the other does not settle it.
    pub fn is_unknown(&self) -> bool {
        let threshold = self.threshold.parse().unwrap_or(f64::INFINITY);
        let burns = [self.burn_long, self.burn_short];
        !self.firing && burns.contains(&None) && burns.into_iter().flatten().all(|burn| burn > threshold)
    }

    /// Whether its conditions are not met any more: if its alert fires it ends by itself.
    pub fn is_calm(&self) -> bool {
        !self.is_over() || self.is_below_floor()
    }

    /// Whether its bad events were not counted so far.
    pub fn is_uncounted(&self) -> bool {
        self.minimum > 0 && self.bad_events.is_none()
    }

    /// Whether there are fewer bad events than it needs.
    pub fn is_below_floor(&self) -> bool {
        self.bad_events.is_some_and(|bad| bad < self.minimum as f64)
    }
}

/// Why a deleted object is still there, in the words of its status; nothing when it was not deleted.
pub fn deletion(metadata: &ObjectMeta, conditions: &[Condition]) -> Option<String> {
    metadata.deletion_timestamp.as_ref()?;
    let reasons = [c::REASON_CLEANUP_FAILED, c::REASON_FINALIZER_FAILED];
    let stuck = conditions.iter().find(|one| one.status != "Unknown" && reasons.contains(&one.reason.as_str()));
    let holders = || match metadata.finalizers.as_deref() {
        None | Some([]) => String::new(),
        Some(finalizers) => format!("; it stays until these finalizers are gone: {}", finalizers.join(", ")),
    };
    Some(stuck.map_or_else(|| format!("its rules are being removed{}", holders()), |stuck| stuck.message.clone()))
}
