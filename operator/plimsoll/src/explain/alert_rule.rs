//! An AlertRule explained: whether its rules are loaded, which selector matches nothing, and why each
//! alert fires or is quiet.

use std::fmt::Write;

use kube::Client;
use plimsoll_api::{AlertRule, Kind, conditions as c};
use plimsoll_slo::{
    alerts::{self, Language, Watch},
    names, promql,
};

use super::{
    facts::{self, Loaded, Refusal, Scored},
    gather::{self, note},
    scores,
};
use crate::{
    prometheus::{Prometheus, PrometheusError},
    sinks::Target,
};

/// What is known of an AlertRule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its problems, one line each.
    pub problems: Vec<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
    /// Why it is still there although it was deleted; from the status.
    pub deletion: Option<String>,
    /// Why it is not ready though it is valid, in the operator's words.
    pub trouble: Option<String>,
    /// Where its rules are.
    pub place: Option<String>,
    /// True for rules that Prometheus does not know.
    pub logql: bool,
    /// Whether its rules are loaded.
    pub loaded: Loaded,
    /// What Prometheus refused to answer.
    pub refusals: Vec<Refusal>,
    /// Its alerts.
    pub alerts: Vec<Alert>,
    /// What the anomaly scorer sees of it.
    pub scored: Option<Scored>,
    /// Whether Prometheus has anything of the scorer; asked only where it has nothing of an alert. [`Self::scored`] then says
    /// why.
    pub scraped: Option<bool>,
}

/// What is known of one alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// Its selectors, each with the number of its series.
    pub selectors: Vec<(String, Option<u64>)>,
    /// Number of series for which it fires, and for which it waits for its `for`.
    pub firing: Option<(u64, u64)>,
    /// How long the condition must hold.
    pub hold: Option<String>,
    /// True for an anomaly.
    pub anomaly: bool,
    /// Of an anomaly: the number of scored series that Prometheus has, without which it cannot fire.
    pub scores: Option<u64>,
}

impl Alert {
    /// Its first selector that matches nothing.
    fn nothing(&self) -> Option<&str> {
        self.selectors.iter().find(|(_, series)| *series == Some(0)).map(|(selector, _)| selector.as_str())
    }
}

/// Asks everybody there is about a stored AlertRule. What cannot be found out stays unknown.
pub async fn gather(rule: &AlertRule, prometheus: Option<&Prometheus>, cluster: &Client) -> Facts {
    let target = Target::of(Kind::AlertRule, &rule.metadata);
    let conditions = rule.status.as_ref().map_or(&[][..], |status| &status.conditions);
    if let deletion @ Some(_) = facts::deletion(&rule.metadata, conditions) {
        let place = rule.status.as_ref().and_then(|status| status.place.clone());
        return Facts { name: target.name, deletion, place, ..Facts::default() };
    }
    let valid = match alerts::validate(rule) {
        Ok(valid) => valid,
        Err(problems) => {
            let problems = problems.iter().map(ToString::to_string).collect();
            return Facts { name: target.name, problems, ..Facts::default() };
        }
    };
    let told = Scored::of(conditions);
    let mut facts = examine(&valid.model, prometheus, told).await;
    facts.warnings = valid.warnings.iter().map(ToString::to_string).collect();
    if let Some(status) = &rule.status {
        facts.place.clone_from(&status.place);
        let more = [c::REASON_RECEIVER_MISSING, c::REASON_SECRET_KEY_MISSING];
        facts.trouble = gather::trouble(&status.conditions, &more);
    }
    if let Loaded::Missing { why, remedy, .. } = &mut facts.loaded {
        (*why, *remedy) = gather::unselected(cluster, &target).await;
    }
    facts
}

/// Asks Prometheus about a valid AlertRule.
pub async fn model(model: &alerts::Model, prometheus: Option<&Prometheus>) -> Facts {
    examine(model, prometheus, None).await
}

/// The same, over what the scorer itself has told.
async fn examine(model: &alerts::Model, prometheus: Option<&Prometheus>, told: Option<Scored>) -> Facts {
    let mut facts = Facts {
        name: model.id.name.clone(),
        logql: model.language == Language::LogQl,
        alerts: model.alerts.iter().map(alert).collect(),
        scored: told,
        ..Facts::default()
    };
    let Some(prometheus) = prometheus.filter(|_| !facts.logql) else { return facts };
    let found = async {
        let loaded = gather::loaded(prometheus, &alerts::render(model)).await;
        facts.loaded = note(loaded, gather::GROUPS, &mut facts.refusals)?.unwrap_or_default();
        for alert in &mut facts.alerts {
            ask(prometheus, &model.id.to_string(), alert, &mut facts.refusals).await?;
        }
        if facts.alerts.iter().any(|alert| alert.scores == Some(0))
            && let Some(of_scorer) = scores::scorer(prometheus, &mut facts.refusals).await?
        {
            facts.scraped = Some(of_scorer > 0);
            facts.scored = scores::verdict([0, of_scorer], facts.scored.take());
        }
        Ok::<(), PrometheusError>(())
    };
    if let Err(error) = found.await {
        facts.loaded = Loaded::Unreachable(error.to_string());
    }
    facts
}

fn alert(alert: &alerts::Alert) -> Alert {
    let (text, anomaly) = match &alert.watch {
        Watch::Expression(expr) => (expr, false),
        Watch::Anomaly(anomaly) => (&anomaly.query, true),
    };
    // LogQL does not parse, and nobody here could be asked about it.
    let selectors = promql::parse(text, "").map(|parsed| parsed.selectors()).unwrap_or_default();
    Alert {
        name: alert.name.clone(),
        selectors: selectors.iter().map(|selector| (promql::split(selector).to_string(), None)).collect(),
        firing: None,
        hold: alert.hold.map(|hold| hold.to_string()),
        anomaly,
        scores: None,
    }
}

async fn ask(
    prometheus: &Prometheus,
    id: &str,
    alert: &mut Alert,
    refusals: &mut Vec<Refusal>,
) -> Result<(), PrometheusError> {
    for (selector, series) in &mut alert.selectors {
        let found = gather::count(prometheus, &format!("count({selector})")).await;
        *series = note(found, &format!("{}: {selector}", alert.name), refusals)?;
    }
    let (name, id) = (promql::quote(&alert.name), promql::quote(id));
    if alert.anomaly {
        let query = format!("count({}{{{}={id},alert={name}}})", names::ANOMALY_STATE, names::ALERT_RULE);
        let found = gather::count(prometheus, &query).await;
        alert.scores = note(found, &format!("the scores of {}", alert.name), refusals)?;
    }
    let mut of_state = [0, 0];
    for (count, state) in of_state.iter_mut().zip(["firing", "pending"]) {
        let query = format!("count(ALERTS{{alertname={name},{}={id},alertstate=\"{state}\"}})", names::ALERT_RULE);
        let found = gather::count(prometheus, &query).await;
        let Some(found) = note(found, &format!("whether {} fires", alert.name), refusals)? else { return Ok(()) };
        *count = found;
    }
    alert.firing = Some(of_state.into());
    Ok(())
}

/// An explanation for a terminal. The last line is the one thing to do next, or why it is quiet.
pub fn text(facts: &Facts) -> String {
    let (headline, next) = find(facts);
    let mut out = format!("{} {headline}\n", facts.name);
    let mut line = |mark: &str, text: &str| {
        // Writing into a string does not fail.
        let _ = writeln!(out, "  {mark} {text}");
    };
    if facts.deletion.is_some() {
        facts.place.iter().for_each(|place| line("✗", &format!("its rules may still work in {place}")));
        let _ = writeln!(out, "  → {next}");
        return out;
    }
    facts.problems.iter().for_each(|problem| line("✗", problem));
    facts.warnings.iter().for_each(|warning| line("!", warning));
    if facts.problems.is_empty() {
        let place = facts.place.as_ref().map(|place| format!(" in {place}")).unwrap_or_default();
        let n = facts.alerts.len();
        line("✓", &format!("valid, rendered to {n} alert{}{place}", if n == 1 { "" } else { "s" }));
    }
    match &facts.loaded {
        Loaded::Yes { url } => line("✓", &format!("loaded by Prometheus {url}")),
        Loaded::Missing { url, group, why, .. } => {
            line("✗", &format!("Prometheus {url} has no group {group}"));
            why.iter().for_each(|why| line(" ", why));
        }
        Loaded::Outdated { url } => line("✗", &format!("Prometheus {url} has other rules of it")),
        Loaded::Failing { url, cause } => line("✗", &format!("Prometheus {url} cannot evaluate a rule: {cause}")),
        Loaded::Idle { url, group, since } => {
            let (mark, text) = Loaded::idle_line(url, group, since.as_deref());
            line(mark, &text);
        }
        Loaded::NotAsked | Loaded::Unreachable(_) => {}
    }
    for alert in &facts.alerts {
        for (selector, series) in &alert.selectors {
            match series {
                Some(0) => line("✗", &format!("{}: {selector} matches nothing", alert.name)),
                Some(n) => line("✓", &format!("{}: {selector} matches {n} series", alert.name)),
                None => line("·", &format!("{}: {selector}", alert.name)),
            }
        }
        match alert.scores {
            Some(0) => line("✗", &format!("{}: Prometheus has no {} of it", alert.name, names::ANOMALY_STATE)),
            Some(n) => line("✓", &format!("{}: Prometheus has the scores of {n} series", alert.name)),
            None => {}
        }
    }
    for line in Refusal::lines(&facts.refusals) {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(scored) = &facts.scored {
        let _ = writeln!(out, "  {}", scored.line());
    }
    let _ = writeln!(out, "  → {next}");
    out
}

/// What matters now, and what to do.
fn find(facts: &Facts) -> (String, String) {
    if let Some(deletion) = &facts.deletion {
        return ("is being deleted.".to_owned(), deletion.clone());
    }
    if let Some(first) = facts.problems.first() {
        let help = first.rsplit_once("; ").map_or(first.as_str(), |(_, help)| help);
        return ("is not ready: it is invalid.".to_owned(), format!("{help}, then apply it again"));
    }
    let fires = |alert: &&Alert| alert.firing.is_some_and(|(firing, _)| firing > 0);
    let firing: Vec<&str> = facts.alerts.iter().filter(fires).map(|alert| alert.name.as_str()).collect();
    if let Some(trouble) = &facts.trouble {
        let next = format!("resolve this, the operator then goes on by itself: {trouble}");
        // What could not be written must not hide what fires all the same.
        let headline = match firing.as_slice() {
            [] => "is not ready: not everything could be written.".to_owned(),
            names => format!("fires: {}; and is not ready: not everything could be written.", names.join(", ")),
        };
        return (headline, next);
    }
    match &facts.loaded {
        _ if facts.logql => {
            let next = "ask Loki for its rules: GET /loki/api/v1/rules".to_owned();
            return ("is valid; Loki's rules are not asked for here.".to_owned(), next);
        }
        Loaded::NotAsked if facts.refusals.is_empty() => {
            let next = "give --prometheus URL to see its alerts".to_owned();
            return ("is valid; nobody was asked about its alerts.".to_owned(), next);
        }
        Loaded::Unreachable(cause) => {
            let next = super::text::unreachable(cause);
            return ("could not be examined: Prometheus does not answer.".to_owned(), next);
        }
        Loaded::Missing { remedy, .. } => {
            let next = remedy.as_ref().map_or_else(
                || "look at what loads the rules: the log of prometheus-operator, or rule_files in Prometheus' configuration".to_owned(),
                |remedy| format!("do it with:  {remedy}"),
            );
            return ("is not ready: its rules are not loaded by Prometheus.".to_owned(), next);
        }
        Loaded::Outdated { .. } => {
            let next = "wait for two minutes, then ask again".to_owned();
            return ("was edited: Prometheus still works with other rules of it.".to_owned(), next);
        }
        Loaded::Failing { cause, .. } => {
            let next = format!("repair the expression that this error is about: {cause}");
            return ("is not ready: one of its rules fails.".to_owned(), next);
        }
        Loaded::Idle { since: since @ Some(_), .. } => {
            let (headline, next) = Loaded::idle(since.as_deref());
            return (headline.to_owned(), next.to_owned());
        }
        Loaded::NotAsked | Loaded::Yes { .. } | Loaded::Idle { since: None, .. } => {}
    }
    if let Some(alert) = facts.alerts.iter().find(fires) {
        let series = alert.firing.map_or(0, |(firing, _)| firing);
        let next = format!("look at what {} names: it fires for {series} series", alert.name);
        return (format!("fires: {}.", firing.join(", ")), next);
    }
    let blind: Vec<&Alert> = facts.alerts.iter().filter(|alert| alert.nothing().is_some()).collect();
    if let Some(selector) = blind.first().and_then(|alert| alert.nothing()) {
        let next = format!("check the names in {selector}, and spec.matchers, against what Prometheus has");
        let names: Vec<&str> = blind.iter().map(|alert| alert.name.as_str()).collect();
        let names = names.join(", ");
        let headline = if blind.len() == facts.alerts.len() {
            format!("cannot fire: a selector of {names} matches nothing.")
        } else {
            format!("works in part: {names} cannot fire, a selector matches nothing.")
        };
        return (headline, next);
    }
    if let Some((headline, next)) = unscored(facts) {
        return (headline, next);
    }
    if let Loaded::Idle { since: None, .. } = &facts.loaded {
        let (_, next) = Loaded::idle(None);
        return ("cannot fire yet: Prometheus has not evaluated its rules so far.".to_owned(), next.to_owned());
    }
    if let Some(refusal) = facts.refusals.first() {
        return ("could not be examined wholly: Prometheus refuses to answer.".to_owned(), refusal.next());
    }
    if let Some(alert) = facts.alerts.iter().find(|alert| alert.firing.is_some_and(|(_, pending)| pending > 0)) {
        let hold = alert.hold.as_deref().unwrap_or("a moment");
        return (
            "works; an alert is about to fire.".to_owned(),
            format!("{} fires when its condition has held for {hold}", alert.name),
        );
    }
    if let Some(scored) = facts.scored.as_ref().filter(|scored| scored.works == Some(false)) {
        return ("works, but not all is scored.".to_owned(), scored.next());
    }
    let why = match facts.alerts.as_slice() {
        [one] if one.anomaly => "quiet: the scorer finds nothing unusual",
        [_] => "quiet: its expression has no result now",
        _ => "quiet: no expression has a result now",
    };
    ("works; nothing is wrong.".to_owned(), why.to_owned())
}

/// Anomalies of whose scores Prometheus knows nothing: they cannot fire, whatever the scorer sees.
fn unscored(facts: &Facts) -> Option<(String, String)> {
    let without: Vec<&str> =
        facts.alerts.iter().filter(|alert| alert.scores == Some(0)).map(|alert| alert.name.as_str()).collect();
    let names = without.join(", ");
    let headline = match (without.as_slice(), facts.scraped) {
        ([], _) | (_, None) => return None,
        (all, Some(false)) if all.len() == facts.alerts.len() => {
            format!("cannot fire: Prometheus has no scores of {names}.")
        }
        (_, Some(false)) => format!("works in part: {names} cannot fire, Prometheus has no scores."),
        (_, Some(true)) => format!("works in part: {names} has no score yet."),
    };
    Some((headline, facts.scored.as_ref()?.next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        let alert = Alert {
            name: "PodRestarting".to_owned(),
            selectors: vec![("restarts_total{cluster=\"eu\"}".to_owned(), Some(3))],
            firing: Some((0, 0)),
            ..Alert::default()
        };
        Facts {
            name: "pods".to_owned(),
            place: Some("PrometheusRule shop/plimsoll.alertrule-pods".to_owned()),
            loaded: Loaded::Yes { url: "http://prometheus:9090".to_owned() },
            alerts: vec![alert],
            ..Facts::default()
        }
    }

    #[test]
    fn ends_with_what_to_do_or_why_it_is_quiet() {
        assert_eq!(
            text(&facts()),
            "pods works; nothing is wrong.
  ✓ valid, rendered to 1 alert in PrometheusRule shop/plimsoll.alertrule-pods
  ✓ loaded by Prometheus http://prometheus:9090
  ✓ PodRestarting: restarts_total{cluster=\"eu\"} matches 3 series
  → quiet: its expression has no result now
"
        );
        let idle = |since: Option<&str>| Loaded::Idle {
            url: "http://prometheus:9090".to_owned(),
            group: "plimsoll.shop.pods.alerts".to_owned(),
            since: since.map(str::to_owned),
        };
        let mut new = facts();
        new.loaded = idle(None);
        let innocent = "  · Prometheus http://prometheus:9090 has them, and has not evaluated the group plimsoll.shop.pods.alerts yet; one that was loaded just now is first evaluated within its interval\n";
        assert!(text(&new).contains(innocent), "{}", text(&new));
        let last = |change: &dyn Fn(&mut Facts)| {
            let mut facts = facts();
            change(&mut facts);
            let text = text(&facts);
            let lines: Vec<&str> = text.lines().collect();
            format!("{} {}", lines[0], lines[lines.len() - 1].trim())
        };
        for (change, want) in [
            (
                &(|f: &mut Facts| f.alerts[0].firing = Some((2, 0))) as &dyn Fn(&mut Facts),
                "pods fires: PodRestarting. → look at what PodRestarting names: it fires for 2 series",
            ),
            (
                &|f| f.alerts[0].selectors[0].1 = Some(0),
                "pods cannot fire: a selector of PodRestarting matches nothing. → check the names in restarts_total{cluster=\"eu\"}, and spec.matchers, against what Prometheus has",
            ),
            (
                &|f| {
                    let blind = Alert { name: "Odd".to_owned(), ..f.alerts[0].clone() };
                    f.alerts.push(Alert { selectors: vec![("up{job=\"x\"}".to_owned(), Some(0))], ..blind });
                },
                "pods works in part: Odd cannot fire, a selector matches nothing. → check the names in up{job=\"x\"}, and spec.matchers, against what Prometheus has",
            ),
            (
                &|f| {
                    f.alerts[0].firing = Some((2, 0));
                    f.trouble = Some("spec.route.receiver: nobody defines it".to_owned());
                },
                "pods fires: PodRestarting; and is not ready: not everything could be written. → resolve this, the operator then goes on by itself: spec.route.receiver: nobody defines it",
            ),
            (
                &|f| f.deletion = Some("the ruler does not answer".to_owned()),
                "pods is being deleted. → the ruler does not answer",
            ),
            (
                &|f| f.alerts[0] = Alert { firing: Some((0, 1)), hold: Some("5m".to_owned()), ..f.alerts[0].clone() },
                "pods works; an alert is about to fire. → PodRestarting fires when its condition has held for 5m",
            ),
            (
                &|f| {
                    f.problems =
                        vec!["spec.rules[0].for: for is not a duration (it is negative); write it like 5m".to_owned()]
                },
                "pods is not ready: it is invalid. → write it like 5m, then apply it again",
            ),
            (
                &|f| {
                    let message = "Odd: its query finds no series since 2027-01-15T08:00:00Z".to_owned();
                    f.scored = Some(Scored { works: Some(false), message });
                },
                "pods works, but not all is scored. → see to this: Odd: its query finds no series since 2027-01-15T08:00:00Z",
            ),
            (
                &|f| {
                    f.alerts[0] = Alert { anomaly: true, scores: Some(0), ..f.alerts[0].clone() };
                    f.scraped = Some(false);
                    f.scored = Some(Scored { works: Some(false), message: "let it scrape /metrics".to_owned() });
                },
                "pods cannot fire: Prometheus has no scores of PodRestarting. → see to this: let it scrape /metrics",
            ),
            (
                &|f| {
                    f.alerts.push(Alert { name: "Odd".to_owned(), anomaly: true, scores: Some(0), ..Alert::default() });
                    f.scraped = Some(false);
                    f.scored = Some(Scored { works: Some(false), message: "let it scrape /metrics".to_owned() });
                },
                "pods works in part: Odd cannot fire, Prometheus has no scores. → see to this: let it scrape /metrics",
            ),
            (
                &|f| {
                    f.alerts[0] = Alert { anomaly: true, scores: Some(0), ..f.alerts[0].clone() };
                    f.scraped = Some(true);
                    f.scored = Some(Scored { works: None, message: "3 series are learnt".to_owned() });
                },
                "pods works in part: PodRestarting has no score yet. → wait: 3 series are learnt",
            ),
            (
                &|f| f.alerts[0] = Alert { anomaly: true, scores: Some(3), ..f.alerts[0].clone() },
                "pods works; nothing is wrong. → quiet: the scorer finds nothing unusual",
            ),
            // Loaded just now, or nobody's; what cannot fire at all is told first.
            (
                &|f| f.loaded = idle(None),
                "pods cannot fire yet: Prometheus has not evaluated its rules so far. → if they were loaded within the last minutes, wait for a minute, then ask again; else look in Prometheus' log for why it evaluates no rules",
            ),
            (
                &|f| (f.loaded, f.alerts[0].selectors[0].1) = (idle(None), Some(0)),
                "pods cannot fire: a selector of PodRestarting matches nothing. → check the names in restarts_total{cluster=\"eu\"}, and spec.matchers, against what Prometheus has",
            ),
            (
                &|f| f.loaded = idle(Some("2027-01-15T08:00:00Z")),
                "pods is not ready: Prometheus has its rules and does not evaluate them. → look in Prometheus' log for why it evaluates no rules: they are all of no use while it does not",
            ),
            (
                &|f| f.logql = true,
                "pods is valid; Loki's rules are not asked for here. → ask Loki for its rules: GET /loki/api/v1/rules",
            ),
        ] {
            assert_eq!(last(change), want);
        }
    }
}
