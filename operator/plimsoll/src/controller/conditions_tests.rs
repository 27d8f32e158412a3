#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::sync::Arc;

use plimsoll_api::{Problem, Slo};

use super::*;
use crate::{
    controller::{
        apply::refuse,
        columns::Columns,
        render::{Prepared, Rendered},
        stored::{Object, Shown, Stored},
        validate::ValidateError,
    },
    sinks::{RuleSink, Target, Written, conformance},
};

#[derive(Debug)]
struct Sink(Result<Written, SinkError>);

impl RuleSink for Sink {
    fn describe(&self, target: &Target) -> String {
        format!("PrometheusRule {}/{}", target.namespace, target.object_name())
    }

    fn place(&self) -> String {
        String::new()
    }

    fn advice(&self) -> Option<String> {
        Some("see its log".to_owned())
    }

    fn is_outside(&self) -> bool {
        false
    }

    fn write<'a>(
        &'a self,
        _: &'a Target,
        _: &'a plimsoll_slo::RuleSet,
    ) -> futures::future::BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async { self.0.clone() })
    }

    fn delete<'a>(&'a self, _: &'a Target) -> futures::future::BoxFuture<'a, Result<Written, SinkError>> {
        Box::pin(async { Ok(Written::Unchanged) })
    }
}

fn stored() -> Arc<Stored> {
    let mut slo = Slo::new("cart", Default::default());
    slo.metadata.generation = Some(3);
    Arc::new(Stored { object: Object::Slo(Box::new(slo)), status: None, unreadable: None })
}

async fn applied(result: Result<Written, SinkError>) -> Rendered<Applied> {
    let target = conformance::target("cart");
    let rules = conformance::rules(&target, "vector(1)");
    let scope = crate::limits::Scope::default();
    let language = Language::PromQl;
    let state =
        Prepared { target, rules, language, route: None, backend: Arc::new(Sink(result)), scope, warnings: None };
    crate::controller::apply::apply(Rendered { stored: stored(), state }).await
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// `Ready=True AsDeclared`, one for each condition, with the message where there is one.
fn lines(status: &Status) -> Vec<String> {
    let line = |c: &Condition| format!("{}={} {} {}", c.type_, c.status, c.reason, c.message).trim().to_owned();
    status.get().conditions.iter().map(line).collect()
}

fn seen(loaded: Loaded) -> Observation {
    Observation { excess: Some(Vec::new()), ..Observation::new(loaded, at(0)) }
}

const URL: &str = "http://prometheus:9090";

fn asked(observation: &Observation) -> Option<Asked<'_>> {
    Some(Asked { url: URL, observation: Some(observation) })
}

#[tokio::test]
async fn without_prometheus_written_is_ready() {
    let status = status(&applied(Ok(Written::Changed)).await, None, None, at(5));
    assert_eq!(
        lines(&status),
        [
            "Ready=True AsDeclared",
            "RulesLoaded=Unknown PrometheusNotConfigured the operator knows no Prometheus to ask; start it with --prometheus URL"
        ]
    );
    assert_eq!(status.get().observed_generation, Some(3));
    assert_eq!(status.get().place.as_deref(), Some("PrometheusRule default/plimsoll-cart"));
}

#[tokio::test]
async fn the_same_facts_give_the_same_status_later() {
    let applied = applied(Ok(Written::Unchanged)).await;
    let observation = Observation { data: Some(true), ..seen(Loaded::Yes) };
    let first = status(&applied, None, asked(&observation), at(5));
    let second = status(&applied, Some(first.get()), asked(&observation), at(500));
    assert_eq!(first, second);
}

#[tokio::test]
async fn invalid_is_stalled_and_keeps_what_was_known() {
    let old = Shown { budget: Some("61.3%".to_owned()), place: Some("x".to_owned()), ..Shown::default() };
    let error = ValidateError::Invalid(vec![Problem::error("spec.objective", "objective is a percentage")]);
    let status = status(&refuse(stored(), error), Some(&old), None, at(5));
    assert_eq!(
        lines(&status),
        [
            "Ready=False Invalid spec.objective: objective is a percentage",
            "Stalled=True Invalid spec.objective: objective is a percentage"
        ]
    );
    assert_eq!((status.get().budget.as_deref(), status.get().place.as_deref()), (Some("61.3%"), Some("x")));
}

#[tokio::test]
async fn invalid_does_not_hide_that_it_burns() {
    let error = ValidateError::Invalid(vec![Problem::error("spec.objective", "objective is a percentage")]);
    let columns = Columns { budget: Some(0.5), burn: Some(21.6), alert: Some(None), firing: None };
    let mut observation = Observation { data: Some(true), columns, ..seen(Loaded::Yes) };
    let refused = refuse(stored(), error);
    let quiet = status(&refused, None, asked(&observation), at(5));
    assert!(lines(&quiet).contains(&"Burning=False Quiet".to_owned()));
    observation.columns.alert = Some(Some(plimsoll_api::slo::Severity::Page));
    let burning = status(&refused, Some(quiet.get()), asked(&observation), at(6));
    let found = lines(&burning);
    for wanted in ["Burning=True AlertFiring", "DataPresent=True Samples"] {
        assert!(found.contains(&wanted.to_owned()), "{found:?}");
    }
    assert!(found.iter().any(|line| line.starts_with("Ready=False Invalid")), "{found:?}");
    assert_eq!((burning.get().alert.as_deref(), burning.get().burn.as_deref()), (Some("Page"), Some("21.6")));
}

#[tokio::test]
async fn failures_that_pass_are_progress_and_others_are_not() {
    let not_ours = SinkError::NotOurs { what: "PrometheusRule a/b".into(), owner: "is not owned by this SLO".into() };
    let message = "PrometheusRule a/b exists and is not owned by this SLO; it is left alone: delete it if nobody needs it, or rename this object";
    let found = lines(&status(&applied(Err(not_ours)).await, None, None, at(5)));
    assert_eq!(found, [format!("Ready=False NotOurs {message}"), format!("Stalled=True NotOurs {message}")]);
    let away = SinkError::Unavailable { what: "ruler http://x".into(), cause: "503".into() };
    let found = lines(&status(&applied(Err(away)).await, None, None, at(5)));
    let message = "ruler http://x could not be written: 503";
    let reconciling = format!("Reconciling=True BackendFailed {message}");
    assert_eq!(found, [format!("Ready=False BackendFailed {message}"), reconciling]);
}

/// The status as of a generation of the object.
async fn status_of(generation: i64, result: Result<Written, SinkError>, old: Option<&Shown>, now: i64) -> Shown {
    let mut applied = applied(result).await;
    let mut stored = (*applied.stored).clone();
    if let Object::Slo(slo) = &mut stored.object {
        slo.metadata.generation = Some(generation);
    }
    applied.stored = Arc::new(stored);
    status(&applied, old, asked(&seen(Loaded::Asking)), at(now)).get().clone()
}

/// An edit, and rules that could not be written, do not count for the rules that are waited for after them.
#[tokio::test]
async fn patience_is_with_these_rules_and_begins_when_they_are_written() {
    let second = status_of(2, Ok(Written::Changed), None, 0).await;
    assert_eq!(waiting_since(Some(&second), Some(2)), Some(at(0)));
    assert_eq!(waiting_since(Some(&second), Some(3)), None, "nothing is known of it yet");
    let third = status_of(3, Ok(Written::Changed), Some(&second), 240).await;
    assert_eq!(waiting_since(Some(&third), Some(3)), Some(at(240)));
    let again = status_of(3, Ok(Written::Unchanged), Some(&third), 270).await;
    assert_eq!(waiting_since(Some(&again), Some(3)), Some(at(240)), "the same rules are waited for");
    let away = SinkError::Unavailable { what: "ruler http://x".into(), cause: "503".into() };
    let failed = status_of(3, Err(away), Some(&again), 300).await;
    assert_eq!(waiting_since(Some(&failed), Some(3)), None, "what is not written is not waited for");
    let written = status_of(3, Ok(Written::Changed), Some(&failed), 600).await;
    assert_eq!(waiting_since(Some(&written), Some(3)), Some(at(600)));
}

#[tokio::test]
async fn the_way_to_loaded() {
    let applied = applied(Ok(Written::Changed)).await;
    let asking = status(&applied, None, asked(&seen(Loaded::Asking)), at(5));
    let waiting = "written to PrometheusRule default/plimsoll-cart; Prometheus http://prometheus:9090 is asked since 1970-01-01T00:00:00Z";
    assert_eq!(
        lines(&asking),
        [
            "DataPresent=Unknown Waiting the first evaluations are awaited".to_owned(),
            format!("Ready=Unknown Waiting {waiting}"),
            format!("Reconciling=True Waiting {waiting}"),
            format!("RulesLoaded=Unknown Waiting {waiting}"),
        ]
    );
    let missing = Loaded::Missing { group: "g".into(), hint: Some("prometheus/main selects {a: b}".into()) };
    let missing = status(&applied, Some(asking.get()), asked(&seen(missing)), at(9));
    let found = lines(&missing);
    assert!(found.iter().any(|l| l == "RulesLoaded=False NotLoaded Prometheus http://prometheus:9090 has no group g as written to PrometheusRule default/plimsoll-cart (asked since 1970-01-01T00:00:00Z); prometheus/main selects {a: b}"), "{found:#?}");
    let missing =
        status(&applied, Some(asking.get()), asked(&seen(Loaded::Missing { group: "g".into(), hint: None })), at(9));
    let found = lines(&missing);
    assert!(
        found[1].ends_with("(asked since 1970-01-01T00:00:00Z); see its log"),
        "without a cause, where to look: {found:#?}"
    );
    let observation = Observation { data: Some(true), ..seen(Loaded::Yes) };
    let loaded = status(&applied, Some(missing.get()), asked(&observation), at(9));
    assert_eq!(lines(&loaded), ["DataPresent=True Samples", "Ready=True AsDeclared", "RulesLoaded=True Loaded"]);
}

#[tokio::test]
async fn rules_that_are_not_evaluated_are_not_ready_and_targets_are_named() {
    let applied = applied(Ok(Written::Changed)).await;
    let idle = Loaded::Idle { group: "g".into(), since: Some(at(60)) };
    let down = crate::targets::Away::Down {
        of: "job=\"cart\"".into(),
        count: 2,
        address: "http://a:80/metrics".into(),
        cause: "connection refused".into(),
    };
    let observation = Observation { data: Some(false), targets: Some(down), ..seen(idle) };
    let found = status(&applied, None, asked(&observation), at(900));
    let message = "Prometheus http://prometheus:9090 has the rules, but has not evaluated since 1970-01-01T00:01:00Z the group g; see in its log why it evaluates no rules";
    assert_eq!(
        lines(&found),
        [
            "DataPresent=False NoSamples the base series have no samples: the target http://a:80/metrics and 1 more of job=\"cart\" are down: connection refused".to_owned(),
            format!("Ready=False NotEvaluated {message}"),
            format!("RulesLoaded=True NotEvaluated {message}"),
        ]
    );
    let asking = status(&applied, Some(found.get()), asked(&seen(Loaded::Asking)), at(901));
    assert_eq!(lines(&asking), lines(&found), "a restart does not excuse it");
}

/// Base series that missing time has made do not hide that the indicator is gone.
#[tokio::test]
async fn what_is_made_up_is_told_as_missing() {
    let away = crate::targets::Away::Nobody { of: "job=\"cart\"".into(), jobs: vec!["shop".into()] };
    for (targets, end) in [
        (Some(away), ": Prometheus scrapes no target of job=\"cart\""),
        (None, "; plimsoll explain says which selector matches nothing"),
    ] {
        let observation = Observation { data: Some(false), made_up: true, targets, ..seen(Loaded::Yes) };
        let found = lines(&status(&applied(Ok(Written::Unchanged)).await, None, asked(&observation), at(5)));
        let wanted =
            format!("DataPresent=False NoSamples the indicator has no samples, which counts as bad (noData: Bad){end}");
        assert!(found.contains(&wanted), "{found:?}");
    }
}

/// Errors that no group has are seen by nobody, however good the data look.
#[tokio::test]
async fn bad_events_without_a_group_are_told() {
    let observation = Observation { data: Some(true), lacks: Some("route".into()), ..seen(Loaded::Yes) };
    let found = lines(&status(&applied(Ok(Written::Unchanged)).await, None, asked(&observation), at(5)));
    let wanted = "DataPresent=False BadEventsWithoutGroup spec.groupBy: bad events without the label route are counted in no group, so no error of theirs is seen; remove route from groupBy, or use series in spec.sli.events.bad that have it";
    assert!(found.iter().any(|line| line == wanted), "{found:?}");
}

#[tokio::test]
async fn an_edit_is_progress_and_leaves_ready_as_it_was() {
    let applied = applied(Ok(Written::Changed)).await;
    let observation = Observation { data: Some(true), ..seen(Loaded::Yes) };
    let mut before = status(&applied, None, asked(&observation), at(5)).get().clone();
    for condition in &mut before.conditions {
        condition.observed_generation = Some(2);
    }
    let message = "written to PrometheusRule default/plimsoll-cart; Prometheus http://prometheus:9090 works with other rules of it so far (asked since 1970-01-01T00:00:00Z)";
    for loaded in [Loaded::Outdated { overdue: false }, Loaded::Asking] {
        let observation = Observation { loaded, ..observation.clone() };
        let edited = status(&applied, Some(&before), asked(&observation), at(9));
        let found = lines(&edited);
        assert_eq!(found[1], "Ready=True AsDeclared");
        assert_eq!(found[2], format!("Reconciling=True Waiting {message}"));
        assert_eq!(found[3], format!("RulesLoaded=Unknown Progressing {message}"));
        // Who waits for the edit sees that Ready is not about it yet.
        let generations: Vec<_> = edited.get().conditions.iter().map(|c| c.observed_generation).collect();
        assert_eq!(generations, [Some(3), Some(2), Some(3), Some(3)]);
        assert_eq!(edited.get().observed_generation, Some(3));
    }
    let late = Observation { loaded: Loaded::Outdated { overdue: true }, ..observation.clone() };
    let found = lines(&status(&applied, Some(&before), asked(&late), at(9)));
    assert!(
        found[1].starts_with("Ready=False NotLoaded Prometheus http://prometheus:9090 still has other rules of it"),
        "{found:?}"
    );
    let done = status(&applied, Some(&before), asked(&observation), at(9));
    assert_eq!(lines(&done), ["DataPresent=True Samples", "Ready=True AsDeclared", "RulesLoaded=True Loaded"]);
    assert!(done.get().conditions.iter().all(|c| c.observed_generation == Some(3)));
}

#[tokio::test]
async fn what_is_too_much_is_said_beside_ready() {
    let excess = Some(crate::limits::groups(1200, Some(("user_id", 600))).into_iter().collect());
    let observation = Observation { excess, data: Some(true), ..seen(Loaded::Yes) };
    let applied = applied(Ok(Written::Unchanged)).await;
    let told = status(&applied, None, asked(&observation), at(5));
    let found = lines(&told);
    assert!(found[1].starts_with("Ready=True AsDeclared spec.groupBy: it makes 1200 groups"), "{found:?}");
    assert!(found[1].ends_with("remove user_id from groupBy, which has 600 values"), "{found:?}");
    // A new process does not know it yet, and writes nothing for that.
    let restarted = Observation { excess: None, ..observation };
    assert_eq!(status(&applied, Some(told.get()), asked(&restarted), at(9)), told);
}

#[tokio::test]
async fn an_outage_of_prometheus_does_not_unready() {
    let applied = applied(Ok(Written::Unchanged)).await;
    let ready = status(&applied, None, asked(&seen(Loaded::Yes)), at(5));
    let away = seen(Loaded::Unreachable("http://prometheus:9090 does not answer: refused".into()));
    let found = lines(&status(&applied, Some(ready.get()), asked(&away), at(9)));
    assert!(found.contains(&"Ready=True AsDeclared".to_owned()));
    let message = "RulesLoaded=Unknown PrometheusUnreachable http://prometheus:9090 does not answer: refused";
    assert!(found.contains(&message.to_owned()), "{found:?}");
    let found = lines(&status(&applied, None, asked(&away), at(9)));
    assert!(found.iter().any(|l| l.starts_with("Ready=Unknown PrometheusUnreachable")), "{found:?}");
}

#[tokio::test]
async fn burning_stays_ready_and_is_shown() {
    let columns = Columns {
        budget: Some(-0.08),
        burn: Some(21.6),
        alert: Some(Some(plimsoll_api::slo::Severity::Page)),
        firing: None,
    };
    let observation = Observation { data: Some(true), columns, ..seen(Loaded::Yes) };
    let status = status(&applied(Ok(Written::Unchanged)).await, None, asked(&observation), at(5));
    assert!(lines(&status).contains(&"Burning=True AlertFiring".to_owned()));
    assert!(lines(&status).contains(&"Ready=True AsDeclared".to_owned()));
    let Shown { budget, burn, alert, .. } = status.get();
    assert_eq!((budget.as_deref(), burn.as_deref(), alert.as_deref()), (Some("-8.0%"), Some("21.6"), Some("Page")));
}

#[tokio::test]
async fn an_outage_of_prometheus_is_said_once_of_all_that_was_known() {
    let applied = applied(Ok(Written::Unchanged)).await;
    let columns = Columns { budget: Some(0.5), burn: Some(0.4), alert: Some(None), firing: None };
    let known = Observation { data: Some(true), columns, ..seen(Loaded::Yes) };
    let before = status(&applied, None, asked(&known), at(5));
    let away = |cause: &str, since| Observation {
        loaded: Loaded::Unreachable(cause.into()),
        away: Some(at(since)),
        ..known.clone()
    };
    let told = status(&applied, Some(before.get()), asked(&away("refused", 60)), at(120));
    let found = lines(&told);
    for line in [
        "Burning=False Quiet as last known; Prometheus does not answer since 1970-01-01T00:01:00Z",
        "DataPresent=True Samples as last known; Prometheus does not answer since 1970-01-01T00:01:00Z",
        "RulesLoaded=Unknown PrometheusUnreachable nothing is known since 1970-01-01T00:01:00Z: refused",
    ] {
        assert!(found.contains(&line.to_owned()), "{found:#?}");
    }
    // A new process finds the outage later, and for it there is nothing to write.
    assert_eq!(status(&applied, Some(told.get()), asked(&away("timed out", 300)), at(400)), told);
    let again = status(&applied, Some(told.get()), asked(&known), at(500));
    assert_eq!(lines(&again), lines(&before));
}

#[tokio::test]
async fn a_restart_of_prometheus_is_no_all_clear() {
    let applied = applied(Ok(Written::Unchanged)).await;
    let page = Some(Some(plimsoll_api::slo::Severity::Page));
    let of = |alert, back| {
        let columns = Columns { budget: Some(0.5), burn: Some(20.0), alert, firing: None };
        Observation { data: Some(true), columns, back, ..seen(Loaded::Yes) }
    };
    let burning = status(&applied, None, asked(&of(page, None)), at(1000));
    let restarted = of(Some(None), Some(at(2000)));
    let held = status(&applied, Some(burning.get()), asked(&restarted), at(2010));
    let line = "Burning=True AlertFiring as last known; Prometheus answers again since 1970-01-01T00:33:20Z, its rules are evaluated by 1970-01-01T00:39:20Z";
    assert!(lines(&held).contains(&line.to_owned()), "{:#?}", lines(&held));
    assert_eq!(held.get().alert.as_deref(), Some("Page"));
    assert_eq!(status(&applied, Some(held.get()), asked(&restarted), at(2100)), held, "written once");
    let quiet = status(&applied, Some(held.get()), asked(&restarted), at(2360));
    assert!(lines(&quiet).contains(&"Burning=False Quiet".to_owned()), "{:#?}", lines(&quiet));
    assert_eq!(quiet.get().alert.as_deref(), Some("-"));
    // What began to burn after the start is believed when it ends.
    let later = status(&applied, None, asked(&of(page, Some(at(500)))), at(1000));
    let ended = status(&applied, Some(later.get()), asked(&of(Some(None), Some(at(500)))), at(1010));
    assert!(lines(&ended).contains(&"Burning=False Quiet".to_owned()), "{:#?}", lines(&ended));
}
