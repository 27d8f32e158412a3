//! Bad events that may never be counted: a selector for them that matches nothing is as it should be while nothing
//! fails, and looks the same when a name in it is misspelt.

use std::collections::BTreeSet;

use plimsoll_api::shape;
use plimsoll_slo::promql::{self, Matcher};

use super::{
    facts::{Facts, Selector},
    near::{self, TOLD},
    text::Finding,
};
use crate::{
    prometheus::Prometheus,
    targets::{self, Away},
};

/// Why a selector for bad events that matches nothing may never match anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Doubt {
    /// No target has its job, nor has any series.
    Nobody {
        /// Who is not there, and which jobs are.
        away: Away,
        /// The job that is meant.
        meant: Option<String>,
    },
    /// There is no such metric, which may be as it should be before the first failure.
    Metric {
        /// Its name.
        name: String,
        /// The metric that it is a misspelling of.
        meant: Option<String>,
    },
    /// Its label has other values, one of which this is a misspelling of.
    Value {
        /// The matcher: `outcome="error"`.
        matcher: String,
        /// The one that is meant: `outcome="err"`.
        meant: String,
    },
}

impl Doubt {
    /// After what the selector is.
    pub(super) fn line(&self, selector: &Selector) -> String {
        let Selector { role, text, .. } = selector;
        match self {
            Self::Nobody { away, .. } => format!("✗ {role}: {text} matches nothing: {}", away.line()),
            Self::Metric { name, meant: Some(meant) } => {
                format!("✗ {role}: {text} matches nothing: there is no metric {name}, but {meant}")
            }
            Self::Metric { name, meant: None } => format!(
                "! {role}: {text} matches nothing: there is no metric {name} so far, which counts as no bad events{}",
                near::meant(&selector.near).map(|hint| format!("; {hint}")).unwrap_or_default()
            ),
            Self::Value { meant, .. } => format!(
                "! {role}: {text} matches nothing, which counts as no bad events{}; did you mean {meant}?",
                selector.values.as_ref().map(|values| format!("; {}", near::there_are(values))).unwrap_or_default()
            ),
        }
    }
}

/// Looks at the selectors for bad events. Where another one of them matches, as with two names of one metric, there is
/// nothing to doubt.
pub(super) async fn examine(prometheus: &Prometheus, selectors: &mut [Selector]) {
    let bad = |one: &&Selector| one.role == "bad";
    if selectors.iter().filter(bad).any(|one| one.series != Some(0)) {
        return;
    }
    // What names the series of the others is right.
    let fellows: Vec<&Selector> =
        selectors.iter().filter(|one| !bad(one) && one.series.is_some_and(|n| n > 0)).collect();
    let sound: Vec<Matcher> = fellows.iter().flat_map(|one| promql::wanted(&one.text)).collect();
    let mut doubts = Vec::new();
    for selector in selectors.iter().filter(bad) {
        doubts.push(doubt(prometheus, selector, &sound).await);
    }
    for (selector, doubt) in selectors.iter_mut().filter(|one| one.role == "bad").zip(doubts) {
        selector.doubt = doubt;
    }
}

async fn doubt(prometheus: &Prometheus, selector: &Selector, sound: &[Matcher]) -> Option<Doubt> {
    let wanted: Vec<Matcher> = promql::wanted(&selector.text).into_iter().filter(|one| !sound.contains(one)).collect();
    if let Some(job) = wanted.iter().find(|one| one.name == "job")
        && let Some(nobody) = nobody(prometheus, job).await
    {
        return Some(nobody);
    }
    if selector.of_metric == Some(0) {
        let name = selector.text.split(['{', ' ']).next().unwrap_or_default().to_owned();
        let meant = selector.near.iter().find(|near| is_misspelt(&name, near)).cloned();
        return Some(Doubt::Metric { name, meant });
    }
    let (label, values) = selector.values.as_ref()?;
    let matcher = wanted.iter().find(|one| one.name == *label && is_equality(one))?;
    let meant = near_value(&matcher.value, values)?;
    Some(Doubt::Value { matcher: promql::matcher(matcher), meant: promql::equals(label, meant) })
}

/// A job that no target has. What is pushed has jobs that are no target's, and then series.
async fn nobody(prometheus: &Prometheus, job: &Matcher) -> Option<Doubt> {
    let of = promql::matcher(job);
    let away = targets::away(prometheus, &of).await.ok().flatten()?;
    let Away::Nobody { jobs, .. } = &away else { return None };
    let since = near::lately();
    let pushed = prometheus.label_values("job", Some(&format!("{{{of}}}")), since, 1).await.ok()?;
    if !pushed.is_empty() {
        return None;
    }
    // A pattern is near to nothing.
    let near = jobs.iter().filter(|_| is_equality(job)).map(String::as_str);
    let meant = shape::nearest(&job.value, near, 1).first().map(|name| (*name).to_owned());
    Some(Doubt::Nobody { away, meant })
}

/// Whether it wants one value, and not those that fit a pattern.
fn is_equality(matcher: &Matcher) -> bool {
    promql::matcher(matcher) == promql::equals(&matcher.name, &matcher.value)
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

fn begins_alike(a: &str, b: &str) -> bool {
    let first = |text: &str| text.chars().next().map(|c| c.to_ascii_lowercase());
    first(a) == first(b)
}

/// Whether two words differ by a letter or two, or by two that are swapped.
fn differ_in_one_place(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let alike = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (a.split_at(alike).1, b.split_at(alike).1);
    let alike = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    match (a.split_at(a.len() - alike).0, b.split_at(b.len() - alike).0) {
        ([a, c], [b, d]) => a == d && b == c,
        (a, b) => a.len() + b.len() <= 2,
    }
}

/// Whether a metric's name is a slip of the pen, and not the name of something else: `http_5xx_total` beside
/// `http_4xx_total`, or `tx_errors` beside `rx_errors`.
fn is_misspelt(wrong: &str, name: &str) -> bool {
    if wrong.strip_suffix("_total") == Some(name) || name.strip_suffix("_total") == Some(wrong) {
        return true;
    }
    let words = |text: &str| text.split(['_', ':']).map(str::to_owned).collect::<Vec<_>>();
    let (wrong_words, words) = (words(wrong), words(name));
    // Short words are rather others than misspelt.
    let slip = |a: &String, b: &String| {
        a == b || (a.len().min(b.len()) >= 4 && begins_alike(a, b) && differ_in_one_place(a, b))
    };
    digits(wrong) == digits(name)
        && wrong_words.len() == words.len()
        && wrong_words.iter().zip(&words).all(|(a, b)| slip(a, b))
}

/// The value of the label that one is a misspelling of: no number is one of another.
fn near_value<'v>(wrong: &str, values: &'v [String]) -> Option<&'v str> {
    let near = shape::nearest(wrong, values.iter().map(String::as_str), TOLD.0);
    near.into_iter().find(|value| digits(wrong) == digits(value) && begins_alike(wrong, value))
}

/// What is certainly wrong.
pub(super) fn certain(selectors: &[Selector]) -> Option<Finding> {
    selectors.iter().find_map(|selector| match selector.doubt.as_ref()? {
        Doubt::Nobody { away: away @ Away::Nobody { of, .. }, meant } => {
            let hint = meant.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            Some(Finding {
                headline: format!("counts no bad events: Prometheus scrapes no target of {of}."),
                next: format!("{}{hint}", away.remedy()),
            })
        }
        Doubt::Metric { name, meant: Some(meant) } => Some(Finding {
            headline: format!("counts no bad events: there is no metric {name}."),
            next: format!("check the metric's name in spec.sli.events.bad: {}; did you mean {meant}?", selector.text),
        }),
        Doubt::Nobody { .. } | Doubt::Metric { meant: None, .. } | Doubt::Value { .. } => None,
    })
}

/// What may be wrong.
pub(super) fn possible(facts: &Facts) -> Option<Finding> {
    facts.selectors.iter().find_map(|selector| match selector.doubt.as_ref()? {
        Doubt::Value { matcher, meant } => Some(Finding {
            headline: format!("works, but may count no bad events: no series has {matcher}."),
            next: format!(
                "check the value in {}: did you mean {meant}?{}",
                selector.text,
                selector.values.as_ref().map(|values| format!(" {}", near::there_are(values))).unwrap_or_default()
            ),
        }),
        Doubt::Metric { name, meant: None } => Some(Finding {
            headline: format!("works, but nothing bad was ever counted: there is no metric {name} so far."),
            next: format!("check its name, unless the service writes {name} only with its first failure"),
        }),
        Doubt::Nobody { .. } | Doubt::Metric { .. } => None,
    })
}

/// The names of labels that differ from this one by a slip.
pub(super) fn label<'n>(wrong: &str, labels: impl IntoIterator<Item = &'n str>, taken: &[String]) -> Option<String> {
    let others: BTreeSet<&str> = labels.into_iter().filter(|label| !taken.iter().any(|one| one == label)).collect();
    shape::nearest(wrong, others, 1).first().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thing_is_no_misspelling() {
        for (wrong, name, misspelt) in [
            ("logn_total", "login_total", true),
            ("logins_total", "login_total", true),
            ("login_totl", "login_total", true),
            ("login", "login_total", true),
            ("parcels_handeld_total", "parcels_handled_total", true),
            ("http_5xx_total", "http_4xx_total", false),
            ("http_errors_total", "http_requests_total", false),
            ("node_tx_errors", "node_rx_errors", false),
            ("worker_dropped_total", "worker_stopped_total", false),
            ("login_failed_total", "login_total", false),
        ] {
            assert_eq!(is_misspelt(wrong, name), misspelt, "{wrong} {name}");
        }
        let values = |all: &[&str]| all.iter().map(|v| (*v).to_owned()).collect::<Vec<_>>();
        for (wrong, all, meant) in [
            ("error", &["err", "ok"][..], Some("err")),
            ("Cancelled", &["Canceled", "OK"], Some("Canceled")),
            ("error", &["ok"], None),
            ("500", &["200", "404"], None),
            ("5xx", &["2xx", "4xx"], None),
            ("unready", &["ready"], None),
            ("failed", &["success"], None),
        ] {
            assert_eq!(near_value(wrong, &values(all)), meant, "{wrong} {all:?}");
        }
    }
}
