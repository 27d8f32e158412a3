//! Finds out the facts. What cannot be found out stays unknown; nothing here fails.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, api::DynamicObject};
use plimsoll_api::{
    Level, Slo, conditions as c,
    slo::{self, LatencyUnit},
};
use plimsoll_slo::{
    Dialect, Model, RuleSet,
    model::{self, Counter, Sli, Span},
    names, promql,
};

use super::{
    blind, excluded,
    facts::{self, Facts, Loaded, NoData, Refusal, Scored, Selector, Surplus, Tier},
    fit, groups, histogram, near, parts, scores,
};
use crate::{
    controller::observe::{self, Wanted},
    limits::{self, Scope},
    prometheus::{Prometheus, PrometheusError},
    selecting,
    sinks::{Target, prometheus_rule},
    targets::{self, Away},
};

/// Asks everybody there is about a stored SLO.
pub async fn gather(slo: &Slo, prometheus: Option<&Prometheus>, cluster: &Client) -> Facts {
    let target = Target::of(plimsoll_api::Kind::Slo, &slo.metadata);
    let mut facts = Facts {
        name: target.name.clone(),
        namespace: target.namespace.clone(),
        stored: true,
        place: slo.status.as_ref().and_then(|status| status.rules.clone()),
        fires: slo.status.as_ref().and_then(|status| status.alert.clone()).filter(|alert| alert != "-"),
        deletion: facts::deletion(&slo.metadata, slo.status.as_ref().map_or(&[], |status| &status.conditions)),
        ..Facts::default()
    };
    if facts.deletion.is_some() {
        return facts;
    }
    let valid = match plimsoll_slo::validate(slo) {
        Ok(valid) => valid,
        Err(problems) => {
            let (errors, warnings): (Vec<_>, Vec<_>) = problems.into_iter().partition(|p| p.level == Level::Error);
            facts.problems = errors.iter().map(ToString::to_string).collect();
            facts.warnings = warnings.iter().map(ToString::to_string).collect();
            return facts;
        }
    };
    facts.warnings = valid.warnings.iter().map(ToString::to_string).collect();
    facts.problems.extend(refused(slo));
    if !facts.problems.is_empty() {
        return facts;
    }
    let model = valid.model;
    let vmalert = facts.place.as_deref().is_some_and(|place| place.starts_with("VMRule "));
    let rules = plimsoll_slo::render_for(&model, if vmalert { Dialect::VictoriaMetrics } else { Dialect::Prometheus });
    describe(&model, &rules, &mut facts);
    let conditions = slo.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    facts.trouble = trouble(conditions, &[c::REASON_REFERENCE_MISSING]);
    facts.scored = slo.status.as_ref().and_then(|status| Scored::of(&status.conditions));
    let Some(prometheus) = prometheus else {
        facts.loaded = from_status(slo);
        return facts;
    };
    let found = match loaded(prometheus, &rules).await {
        // The operator may be of another version, whose rules differ: it knows which ones it has written.
        Ok(Loaded::Outdated { url }) if operator_holds_loaded(slo) => Ok(Loaded::Yes { url }),
        found => found,
    };
    examine(prometheus, &model, found, &mut facts).await;
    parts::stored(cluster, &model.id.to_string(), &mut facts.parts).await;
    if let Loaded::Missing { why, remedy, .. } = &mut facts.loaded {
        (*why, *remedy) = unselected(cluster, &target).await;
    }
    facts
}

/// Asks Prometheus about a valid SLO of a file; `known`: all that are in the same files.
pub async fn model(model: &Model, prometheus: Option<&Prometheus>, known: &[String]) -> Facts {
    let mut facts = Facts { name: model.id.name.clone(), namespace: model.id.namespace.clone(), ..Facts::default() };
    let rules = plimsoll_slo::render(model);
    describe(model, &rules, &mut facts);
    let Some(prometheus) = prometheus else { return facts };
    let found = match loaded(prometheus, &rules).await {
        // Nobody knows for whom the rules of a file were generated.
        Ok(Loaded::Outdated { url }) => {
            match loaded(prometheus, &plimsoll_slo::render_for(model, Dialect::VictoriaMetrics)).await {
                Ok(Loaded::Yes { url }) => Ok(Loaded::Yes { url }),
                _ => Ok(Loaded::Outdated { url }),
            }
        }
        found => found,
    };
    examine(prometheus, model, found, &mut facts).await;
    parts::settle(&mut facts.parts, &model.id.to_string(), known);
    facts
}

/// What can be said without asking anybody.
fn describe(model: &Model, rules: &RuleSet, facts: &mut Facts) {
    facts.rules = rules.len();
    facts.measures = measures(&model.sli);
    facts.objective = model.objective.percent().to_string();
    facts.period = period(&model.period);
    facts.excluded = excluded::until(model, Timestamp::now());
    facts.parts = parts::of(model);
    facts.range = short_range(model).map(|range| (range.to_string(), Span { millis: range.millis / 2 }.to_string()));
    facts.selectors = selectors(&model.sli);
    facts.tiers = tiers(model, rules);
}

/// The shortest range of rates in the rules, where targets that are scraped once a minute have less than two samples in it.
pub(super) fn short_range(model: &Model) -> Option<Span> {
    let needs_two = |template: &model::Template| promql::parse(&template.0, "").is_ok_and(|parsed| parsed.needs_two());
    let rated = match &model.sli {
        Sli::Events { .. } | Sli::Latency { .. } => true,
        Sli::Ratio(errors) => needs_two(errors),
        Sli::TimeSlices { good, .. } => needs_two(good),
        Sli::Up(_) | Sli::Weighted(_) | Sli::WorstOf(_) => false,
    };
    if !rated {
        return None;
    }
    let slice = match &model.sli {
        Sli::TimeSlices { slice, .. } => Some(*slice),
        _ => None,
    };
    let shortest = model.tiers.iter().map(|tier| tier.short).chain(slice).min();
    shortest.filter(|range| *range < plimsoll_slo::render::TWO_SCRAPES)
}

/// Asks for everything else, where Prometheus answered at all.
async fn examine(prometheus: &Prometheus, model: &Model, found: Result<Loaded, PrometheusError>, facts: &mut Facts) {
    let asked = async {
        if let Some(loaded) = note(found, GROUPS, &mut facts.refusals)? {
            facts.loaded = loaded;
        }
        ask(prometheus, model, facts).await?;
        // In excluded time there are none to be found.
        if model.anomaly.is_some() && facts.excluded.is_none() {
            let (id, told) = (model.id.to_string(), facts.scored.take());
            facts.scored = scores::ask(prometheus, &id, told, &mut facts.refusals).await?;
        }
        Ok::<(), PrometheusError>(())
    };
    if let Err(error) = asked.await {
        facts.loaded = Loaded::Unreachable(error.to_string());
    }
}

/// What the question for loaded groups is about.
pub(super) const GROUPS: &str = "its rule groups";

/// What was answered. A refusal says nothing of other questions: it is noted, and they are asked.
pub(super) fn note<T>(
    answer: Result<T, PrometheusError>,
    about: &str,
    refusals: &mut Vec<Refusal>,
) -> Result<Option<T>, PrometheusError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(PrometheusError::Refused { url: _, cause }) => {
            refusals.push(Refusal { about: about.to_owned(), cause });
            Ok(None)
        }
        Err(error @ (PrometheusError::Unreachable { .. } | PrometheusError::Throttled { .. })) => Err(error),
    }
}

/// Why the operator does not hold an object for ready, where it says something of its own: for a reason that any kind may
/// have, or one of `more`.
pub(super) fn trouble(conditions: &[Condition], more: &[&str]) -> Option<String> {
    let own = [
        c::REASON_NOT_OURS,
        c::REASON_BACKEND_FAILED,
        c::REASON_BACKEND_UNKNOWN,
        c::REASON_FINALIZER_FAILED,
        c::REASON_LANGUAGE,
    ];
    let is_own = |ready: &&Condition| own.iter().chain(more).any(|reason| ready.reason == *reason);
    unready(conditions).filter(is_own).map(|ready| ready.message.clone())
}

/// Why the operator refuses it as it is now, though it is valid by itself: it knows all objects, and so sees that one is made
/// of itself.
fn refused(slo: &Slo) -> Option<String> {
    let of_now =
        |ready: &&Condition| ready.reason == c::REASON_INVALID && ready.observed_generation == slo.metadata.generation;
    unready(&slo.status.as_ref()?.conditions).filter(of_now).map(|ready| ready.message.clone())
}

/// The condition `Ready`, where it is False.
fn unready(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == c::READY && condition.status == "False")
}

/// Why no `Prometheus` object selects the rules, and what helps; nothing where that cannot be found out.
pub(super) async fn unselected(client: &Client, target: &Target) -> (Option<String>, Option<String>) {
    let labels = rule_labels(client, target).await.unwrap_or_else(|| target.labels.clone());
    let Ok((all, namespace_labels)) = selecting::read(client, &target.namespace).await else { return (None, None) };
    match selecting::explain(&all, target.kind, &target.name, &target.namespace, &namespace_labels, &labels) {
        Some(unselected) => (Some(unselected.why), unselected.remedy),
        None => (None, None),
    }
}

/// Labels of the rule object: the SLO's and those that the backend adds.
async fn rule_labels(client: &Client, target: &Target) -> Option<BTreeMap<String, String>> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &target.namespace, &prometheus_rule::resource());
    api.get_metadata(&target.object_name()).await.ok()?.metadata.labels
}

/// Whether the operator has found the rules of this generation loaded.
fn operator_holds_loaded(slo: &Slo) -> bool {
    slo.status.iter().flat_map(|status| &status.conditions).any(|condition| {
        condition.type_ == c::RULES_LOADED
            && condition.status == "True"
            && condition.observed_generation == slo.metadata.generation
    })
}

/// What the operator has found, where nobody can be asked now.
fn from_status(slo: &Slo) -> Loaded {
    let condition = slo.status.iter().flat_map(|status| &status.conditions).find(|c| c.type_ == c::RULES_LOADED);
    match condition.map(|condition| (condition.status.as_str(), condition.reason.as_str(), &condition.message)) {
        Some(("False", _, message)) => Loaded::Missing {
            url: String::new(),
            group: String::new(),
            why: Some(message.clone()),
            remedy: message.rsplit_once("; kubectl ").map(|(_, command)| format!("kubectl {command}")),
        },
        Some((_, c::REASON_UNREACHABLE, message)) => Loaded::Unreachable(message.clone()),
        _ => Loaded::NotAsked,
    }
}

fn measures(sli: &Sli) -> String {
    match sli {
        Sli::Events { bad: None, .. } => "events that are not good, of all events".to_owned(),
        Sli::Events { total: None, .. } => "bad events, of good and bad ones".to_owned(),
        Sli::Events { .. } => "bad events of all events".to_owned(),
        Sli::Ratio(_) => "an error ratio that exists already".to_owned(),
        Sli::Latency { histogram: _, threshold, unit } => {
            format!("requests slower than {threshold} {}, of all requests", short_unit(*unit))
        }
        Sli::Up(_) => "the time that a gauge of 0 and 1 is not 1".to_owned(),
        Sli::TimeSlices { slice, .. } => format!("slices of {slice} that are not good"),
        Sli::Weighted(parts) => format!(
            "the weighted mean of {}",
            parts.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
        ),
        Sli::WorstOf(parts) => format!("the worst of {}", parts.join(", ")),
    }
}

fn short_unit(unit: LatencyUnit) -> &'static str {
    match unit {
        LatencyUnit::Seconds => "s",
        LatencyUnit::Milliseconds => "ms",
    }
}

pub(super) fn period(period: &model::Period) -> String {
    match period {
        model::Period::Rolling(span) => format!("{span}, rolling"),
        model::Period::Calendar { unit, zone, .. } => {
            let unit = format!("{unit:?}").to_lowercase();
            format!("the calendar {unit} in {}", zone.name)
        }
    }
}

/// The selectors of an indicator, with the fields that have them.
pub(crate) fn selectors(sli: &Sli) -> Vec<Selector> {
    let plain = |role, text: String| Selector { role, text, ..Selector::default() };
    let within = |role, template: &model::Template| -> Vec<Selector> {
        match promql::parse(&template.0, "") {
            Ok(parsed) => {
                parsed.selectors().iter().map(|selector| plain(role, promql::split(selector).to_string())).collect()
            }
            Err(_) => Vec::new(),
        }
    };
    let counter = |role, counter: &Option<Counter>| match counter {
        Some(Counter::Series(selector)) => vec![plain(role, selector.to_string())],
        Some(Counter::Rate(template)) => within(role, template),
        None => Vec::new(),
    };
    match sli {
        Sli::Events { bad, good, total } => {
            [counter("bad", bad), counter("good", good), counter("total", total)].concat()
        }
        Sli::Ratio(errors) => within("errors", errors),
        Sli::Latency { histogram, .. } => {
            let classic = model::Selector { metric: format!("{}_count", histogram.metric), ..histogram.clone() };
            vec![plain("histogram", format!("{classic} or {histogram}"))]
        }
        Sli::Up(series) => vec![plain("series", series.to_string())],
        Sli::TimeSlices { good, .. } => within("good", good),
        Sli::Weighted(_) | Sli::WorstOf(_) => Vec::new(),
    }
}

fn tiers(model: &Model, rules: &RuleSet) -> Vec<Tier> {
    let interval = |name: &str| {
        let alerts = |rule: &plimsoll_slo::rules::Rule| rule.labels.get(names::TIER).is_some_and(|tier| tier == name);
        rules.groups.iter().find(|group| group.rules.iter().any(alerts)).map(|group| group.interval.clone())
    };
    model
        .tiers
        .iter()
        .map(|tier| Tier {
            name: tier.name.clone(),
            threshold: tier.burn_rate.normalize().to_string(),
            long: tier.long.to_string(),
            short: tier.short.to_string(),
            minimum: model.minimum_bad_events,
            interval: interval(&tier.name).unwrap_or_default(),
            hold: tier.hold.map(|hold| hold.to_string()),
            ..Tier::default()
        })
        .collect()
}

pub(super) async fn loaded(prometheus: &Prometheus, rules: &RuleSet) -> Result<Loaded, PrometheusError> {
    let url = prometheus.url();
    let names: Vec<&str> = rules.group_names().collect();
    let found = prometheus.groups(&names).await?;
    let wanted = Wanted {
        groups: names.iter().map(|&name| name.to_owned()).collect(),
        revision: rules.revision().unwrap_or_default().to_owned(),
        labels: None,
        ..Wanted::default()
    };
    Ok(match observe::judge(&wanted, &observe::index(&found)) {
        observe::Loaded::Missing { group, hint: _ } => Loaded::Missing { url, group, why: None, remedy: None },
        observe::Loaded::Failing(cause) => Loaded::Failing { url, cause },
        observe::Loaded::Idle { group, since } => {
            Loaded::Idle { url, group, since: since.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()) }
        }
        observe::Loaded::Outdated { overdue: _ } => Loaded::Outdated { url },
        observe::Loaded::Asking | observe::Loaded::Yes | observe::Loaded::Unreachable(_) => Loaded::Yes { url },
    })
}

async fn ask(prometheus: &Prometheus, model: &Model, facts: &mut Facts) -> Result<(), PrometheusError> {
    for selector in &mut facts.selectors {
        let about = format!("{}: {}", selector.role, selector.text);
        let asked = examine_selector(prometheus, &model.group_by, selector).await;
        note(asked, &about, &mut facts.refusals)?;
    }
    blind::examine(prometheus, &mut facts.selectors).await;
    for part in &mut facts.parts {
        let asked = parts::ask(prometheus, &model.id.to_string(), part).await;
        note(asked, &format!("the part {}", part.id), &mut facts.refusals)?;
    }
    if let Sli::Latency { histogram, threshold, unit } = &model.sli {
        let found = histogram::buckets(prometheus, histogram, &threshold.to_string(), short_unit(*unit)).await;
        facts.buckets = note(found, &format!("the buckets of {histogram}"), &mut facts.refusals)?;
        let neither = facts.buckets.as_ref().is_some_and(|buckets| !buckets.classic && !buckets.native);
        if let Some(selector) = facts.selectors.first().filter(|one| neither && one.series.is_some_and(|n| n > 0)) {
            facts.misfits.push(histogram::misfit(prometheus, histogram, &selector.text).await);
        }
    }
    if let Sli::Events { good, bad, total: Some(total) } = &model.sli {
        // An expression that fails is told as a rule that fails.
        facts.surplus = surplus(prometheus, [("good", good), ("bad", bad)], total).await.unwrap_or(None);
    }
    let fit = fit::examine(prometheus, model).await;
    facts.misfits.extend(fit.misfits);
    let id = format!("{}=\"{}\"", names::SLO_ID, model.id);
    let base = format!("{}{{{id}}}", names::TOTAL);
    let found = count(prometheus, &format!("count({base})")).await;
    let Some(groups) = note(found, &base, &mut facts.refusals)? else { return Ok(()) };
    facts.data = Some(groups > 0);
    if let Some(own) = limits::own(model).filter(|_| groups > 0) {
        let found = count(prometheus, &format!("count({own})")).await;
        facts.made_up = note(found, "the events that it measures", &mut facts.refusals)? == Some(0);
    }
    facts.away = away(prometheus, &facts.selectors).await;
    // What can only be a warning must not take the rest of the explanation with it.
    facts.excess.extend(limits::period(&Scope::of(model), prometheus.retention().await.unwrap_or(None)));
    if groups > limits::GROUPS {
        let widest = prometheus.widest(&base, &model.group_by).await;
        let widest = note(widest, &base, &mut facts.refusals)?.flatten();
        facts.excess.extend(limits::groups(groups, widest));
    }
    facts.excess.extend(fit.doubt);
    let burning = burning(prometheus, model, &id, facts).await;
    note(burning, "its budget and burn", &mut facts.refusals).map(drop)
}

/// Targets that are down or missing, where a selector matches nothing.
async fn away(prometheus: &Prometheus, selectors: &[Selector]) -> Option<Away> {
    // A service without errors has no series of them.
    let empty = selectors.iter().find(|one| one.role != "bad" && one.series == Some(0))?;
    let away = targets::away(prometheus, &targets::of(&empty.text)?).await.unwrap_or(None)?;
    // Series may have the job of another, as those of a gateway have: the matchers are then as likely wrong.
    (matches!(away, Away::Down { .. }) || empty.of_metric == Some(0)).then_some(away)
}

/// What a selector matches, and what it lacks.
async fn examine_selector(
    prometheus: &Prometheus,
    group_by: &[String],
    selector: &mut Selector,
) -> Result<(), PrometheusError> {
    let series = count(prometheus, &format!("count({})", selector.text)).await?;
    selector.series = Some(series);
    if series == 0 {
        return near::examine(prometheus, selector).await;
    }
    for label in group_by {
        let with = format!("count(({}) and ({}))", selector.text, having(&selector.text, label));
        if count(prometheus, &with).await? == 0 {
            selector.lacks.push(label.clone());
        }
    }
    if let Some(wrong) = selector.lacks.first() {
        // What can only be a hint must not take the rest of the explanation with it.
        let one = prometheus.query(&format!("topk(1, {})", selector.text)).await.unwrap_or_default();
        let labels = one.iter().flat_map(|sample| sample.metric.keys()).map(String::as_str);
        selector.meant = blind::label(wrong, labels, group_by);
    }
    Ok(())
}

/// The ratios by the budget, as the alerts read them: the recorded burn rate follows by minutes.
fn burns(model: &Model, id: &str) -> String {
    let budget = model.objective.budget();
    format!("max by ({}) ({}{{{id}}}) / {budget}", names::WINDOW, names::ERROR_RATIO)
}

/// The budget, how fast it burns, and which tiers fire.
async fn burning(prometheus: &Prometheus, model: &Model, id: &str, facts: &mut Facts) -> Result<(), PrometheusError> {
    groups::budget(prometheus, model, id, facts).await?;
    if facts.budget.is_some() {
        facts.known = groups::known(prometheus, model, id).await?;
    }
    let burns: BTreeMap<String, f64> = prometheus
        .query(&burns(model, id))
        .await?
        .iter()
        .map(|sample| (sample.label(names::WINDOW).to_owned(), sample.value()))
        .collect();
    if model.no_data == slo::NoData::Alert || !model.parts().is_empty() {
        facts.no_data = no_data(prometheus, id).await?;
    }
    let firing = prometheus
        .query(&format!(
            "group by ({}) (ALERTS{{alertname=\"{}\",alertstate=\"firing\",{id}}})",
            names::TIER,
            names::ALERT_BURN
        ))
        .await?;
    for (tier, windows) in facts.tiers.iter_mut().zip(&model.tiers) {
        tier.burn_long = burns.get(&tier.long).copied();
        tier.burn_short = burns.get(&tier.short).copied();
        tier.firing = firing.iter().any(|sample| sample.label(names::TIER) == tier.name);
        if !model.exclusions.is_empty() && (tier.firing || tier.is_over()) {
            excluded::recount(prometheus, model, windows.long, &mut tier.burn_long).await?;
            excluded::recount(prometheus, model, windows.short, &mut tier.burn_short).await?;
        }
        groups::worst(prometheus, model, id, windows, tier).await?;
        if tier.minimum > 0 {
            let (events, every) = plimsoll_slo::render::bad_events(model, windows.long);
            tier.bad_events = single(prometheus, &format!("max({events})")).await?.map(plimsoll_slo::render::whole);
            tier.counted = every.to_string();
        }
    }
    // Longer windows are counted less often: what is less than what a part of the time had is not counted yet.
    let counted: Vec<_> = model.tiers.iter().zip(&facts.tiers).map(|(of, tier)| (of.long, tier.bad_events)).collect();
    for (tier, windows) in facts.tiers.iter_mut().zip(&model.tiers) {
        let within = counted.iter().filter(|(long, _)| *long < windows.long).filter_map(|(_, events)| *events);
        let least = within.fold(0.0, f64::max);
        // Rates at the edges of a window make a difference of their own.
        tier.bad_events = tier.bad_events.filter(|events| *events >= 0.5 * least);
        if !tier.group.is_empty() && tier.bad_events.is_some() {
            let (events, _) = plimsoll_slo::render::bad_events(model, windows.long);
            let events = groups::bad_events(model, id, &events, &tier.group);
            tier.bad_events = single(prometheus, &events).await?.map(plimsoll_slo::render::whole);
        }
    }
    if facts.tiers.iter().any(Tier::is_unknown) {
        // Without events there is no ratio, and nothing to wait for.
        let events = single(prometheus, &format!("max({}{{{id}}})", names::TOTAL)).await?;
        facts.busy = events.is_some_and(|events| events > 0.0);
    }
    Ok(())
}

/// How the alert of missing data stands; nothing where there are data.
async fn no_data(prometheus: &Prometheus, id: &str) -> Result<Option<NoData>, PrometheusError> {
    let alert = format!("alertname=\"{}\",{id}", names::ALERT_NO_DATA);
    let found = prometheus.query(&format!("group by (alertstate, {}) (ALERTS{{{alert}}})", names::PART)).await?;
    let of = |state: &str| -> Vec<String> {
        let there = found.iter().filter(|sample| sample.label("alertstate") == state);
        there.map(|sample| sample.label(names::PART).to_owned()).collect()
    };
    let (fires, waits) = (of("firing"), of("pending"));
    let firing = !fires.is_empty();
    let mut parts = if firing { fires } else { waits };
    if parts.is_empty() {
        return Ok(None);
    }
    if parts.iter().any(String::is_empty) {
        parts.clear();
    }
    // Its value is when the alert became pending. A compatible server need not have it.
    let since = single(prometheus, &format!("min(ALERTS_FOR_STATE{{{alert}}})")).await?;
    // Seconds since 1970 are far below what a float can hold.
    let since = since.and_then(|at| Timestamp::from_second(at as i64).ok());
    Ok(Some(NoData { firing, since: since.map(|at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()), parts }))
}

/// Counters that are scraped at different moments may differ by this much, and by an event.
const SKEW: f64 = 1.05;

/// Good or bad events that are more than all.
async fn surplus(
    prometheus: &Prometheus,
    parts: [(&'static str, &Option<Counter>); 2],
    total: &Counter,
) -> Result<Option<Surplus>, PrometheusError> {
    let minutes = Span::seconds(300);
    let rate = async |counter: &Counter| {
        let rates = match counter {
            Counter::Series(selector) => format!("rate({selector}[{minutes}])"),
            Counter::Rate(template) => template.fill(minutes),
        };
        single(prometheus, &format!("sum({rates}) * {}", minutes.as_seconds())).await
    };
    let Some(total) = rate(total).await? else { return Ok(None) };
    for (role, counter) in parts {
        let Some(counter) = counter else { continue };
        if let Some(part) = rate(counter).await?.filter(|part| *part > total * SKEW && part - total >= 1.0) {
            return Ok(Some(Surplus { role, part, total }));
        }
    }
    Ok(None)
}

/// The same selector, only where the label is not empty.
pub(super) fn having(selector: &str, label: &str) -> String {
    let label = promql::label_name(label);
    selector
        .split(" or ")
        .map(|one| match one.strip_suffix('}') {
            Some(open) if open.ends_with('{') => format!("{open}{label}!=\"\"}}"),
            Some(open) => format!("{open},{label}!=\"\"}}"),
            None => format!("{one}{{{label}!=\"\"}}"),
        })
        .collect::<Vec<_>>()
        .join(" or ")
}

pub(super) async fn single(prometheus: &Prometheus, promql: &str) -> Result<Option<f64>, PrometheusError> {
    Ok(prometheus.query(promql).await?.first().map(crate::prometheus::Sample::value).filter(|value| value.is_finite()))
}

pub(crate) async fn count(prometheus: &Prometheus, promql: &str) -> Result<u64, PrometheusError> {
    // A count is a whole number, far below where that could fail.
    Ok(single(prometheus, promql).await?.map_or(0, |value| value.max(0.0) as u64))
}

#[cfg(test)]
mod tests {
    use super::having;

    #[test]
    fn a_label_is_asked_for_inside_the_selector() {
        assert_eq!(having("a", "route"), "a{route!=\"\"}");
        assert_eq!(having("a{b=\"c\"}", "route"), "a{b=\"c\",route!=\"\"}");
        assert_eq!(having("a_count{} or a{b=\"c\"}", "r"), "a_count{r!=\"\"} or a{b=\"c\",r!=\"\"}");
    }
}
