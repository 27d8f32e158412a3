//! The shop as what the page reads from, and the switch of its fault.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    extract::Query,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Redirect, Response},
    routing::post,
};
use futures::{FutureExt, future::BoxFuture};
use jiff::Timestamp;
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, Slo};
use plimsoll_page::{
    Kept,
    ask::{ALERTS, ALERTS_FOR_STATE, FINE, Grid, History, Line, Question, Reading, Sample},
    html::Notice,
};
use plimsoll_slo::{
    evaluate::{ALERTSTATE, Alert, Labels, State},
    names,
};
use serde::Deserialize;
use subtle::ConstantTimeEq as _;

use super::{
    World,
    world::{self, WATCHED},
};
use crate::page::{Objects, Recorded, host::is_ours, same_origin};

/// The shop, shared by whoever reads it and by its clock.
#[derive(Clone)]
pub struct Shown(Arc<Mutex<World>>);

impl Shown {
    /// Of a world.
    pub fn new(world: World) -> Self {
        Self(Arc::new(Mutex::new(world)))
    }

    /// Nobody leaves it half changed: what panics in a tick would be a defect of the engine, and reading goes on.
    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What every view says, with the button of the fault.
    pub fn notice(&self, token: &str) -> Notice {
        let fault = self.world().fault();
        let text = if fault {
            "A simulation: no shop is harmed. Most payments at the checkout fail now; within some minutes somebody is paged."
        } else {
            "A simulation: no shop is harmed. Everything is evaluated in memory as Prometheus would."
        };
        let button = if fault { "Repair the checkout" } else { "Break the checkout" };
        Notice {
            text: text.to_owned(),
            button: Some((button.to_owned(), format!("/demo/fault?on={}&token={token}", !fault))),
        }
    }
}

/// A series that can be asked for any moment, in seconds since 1970.
type Known<'w> = (Labels, Box<dyn Fn(i64) -> Option<f64> + 'w>);

/// The series that a question is about, of one object or of all.
fn known<'w>(world: &'w World, question: &Question, id: Option<&str>) -> Vec<Known<'w>> {
    let mut found = match question.object {
        names::ALERT_RULE => of_alert_rules(world, question.name, id),
        _ => of_slos(world, question, id),
    };
    found.retain(|(labels, _)| question.takes(labels));
    found
}

/// Series of the AlertRules: what the scorer says of the checkout's traffic.
fn of_alert_rules<'w>(world: &'w World, name: &'static str, wanted: Option<&str>) -> Vec<Known<'w>> {
    let band = &world.band;
    let mut found: Vec<Known<'w>> = Vec::new();
    for rule in world.alert_rules.iter().map(kept).filter(|rule| wanted.is_none_or(|wanted| rule.id() == wanted)) {
        let alerts = rule.object.iter().flat_map(|object| &object.spec.rules);
        for alert in alerts.filter(|alert| alert.anomaly.is_some()) {
            let own = [
                (names::ALERT_RULE, rule.id()),
                ("alertname", alert.alert.clone()),
                (names::ALERT, alert.alert.clone()),
            ];
            let mut labels: Labels = own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let at: Box<dyn Fn(i64) -> Option<f64>> = match name {
                ALERTS => {
                    labels.insert(ALERTSTATE.to_owned(), "firing".to_owned());
                    Box::new(move |t| band.fires(t).map(|_| 1.0))
                }
                ALERTS_FOR_STATE => Box::new(move |t| band.fires(t).map(|since| since as f64)),
                name => Box::new(move |t| band.value(name, t)),
            };
            found.push((labels, at));
        }
    }
    found
}

fn of_slos<'w>(world: &'w World, question: &Question, wanted: Option<&str>) -> Vec<Known<'w>> {
    let mut found: Vec<Known<'w>> = Vec::new();
    for id in world.engine.ids().filter(|id| wanted.is_none_or(|wanted| wanted == *id)) {
        match question.name {
            ALERTS => found.extend(world.engine.alerts(id).flat_map(states)),
            ALERTS_FOR_STATE => found.extend(world.engine.alerts(id).map(|alert| {
                let since: Box<dyn Fn(i64) -> Option<f64>> = Box::new(|t| since(alert, t * 1000));
                (alert.labels.clone(), since)
            })),
            names::ANOMALY_SCORE | names::ANOMALY_EXPECTED | names::ANOMALY_LOWER | names::ANOMALY_UPPER => {
                if id == WATCHED {
                    let name = question.name;
                    found.push((
                        world::labels(id, &[("signal", "total")]),
                        Box::new(move |t| world.band.value(name, t)),
                    ));
                }
            }
            name => found.extend(world.engine.select(name, id).into_iter().map(|found| {
                let series = found.series;
                let at: Box<dyn Fn(i64) -> Option<f64>> = Box::new(move |t| series.at(t * 1000));
                (found.labels, at)
            })),
        }
    }
    found
}

/// 1 while an alert is in a state, for each that Prometheus records.
fn states(alert: &Alert) -> impl Iterator<Item = Known<'_>> {
    [("pending", State::Pending), ("firing", State::Firing)].into_iter().map(move |(word, state)| {
        let mut labels = alert.labels.clone();
        labels.insert(ALERTSTATE.to_owned(), word.to_owned());
        let at: Box<dyn Fn(i64) -> Option<f64>> = Box::new(move |t| (alert.state(t * 1000) == state).then_some(1.0));
        (labels, at)
    })
}

/// Since when an alert that is active at `t` is; milliseconds there, seconds here.
fn since(alert: &Alert, t: i64) -> Option<f64> {
    if alert.state(t) == State::Inactive {
        return None;
    }
    let past = alert.episodes.iter().find(|e| e.active <= t && e.ended.is_none_or(|ended| t < ended));
    past.map(|episode| episode.active).or(alert.active_since()).map(|since| since as f64 / 1000.0)
}

/// The highest value of the seconds before, as often as the engine evaluates what is fastest.
fn peak<'w>(at: Box<dyn Fn(i64) -> Option<f64> + 'w>, seconds: i64) -> Box<dyn Fn(i64) -> Option<f64> + 'w> {
    let moments = (seconds / FINE).max(1);
    Box::new(move |t| (0..moments).filter_map(|i| at(t - i * FINE)).reduce(f64::max))
}

fn values(known: &[Known<'_>], t: i64) -> Vec<Sample> {
    known.iter().filter_map(|(labels, at)| Some(Sample { labels: labels.clone(), value: at(t)? })).collect()
}

impl Recorded for Shown {
    fn now<'a>(&'a self, questions: &'a [Question]) -> BoxFuture<'a, Reading> {
        let world = self.world();
        let samples = questions.iter().map(|q| q.folded(values(&known(&world, q, None), world.now))).collect();
        let reading = Reading { at: Timestamp::from_second(world.now).ok(), samples, trouble: None };
        std::future::ready(reading).boxed()
    }

    fn range<'a>(&'a self, question: &'a Question, id: Option<&'a str>, grid: Grid) -> BoxFuture<'a, History> {
        let world = self.world();
        let mut known = known(&world, question, id);
        if question.peaks {
            known = known.into_iter().map(|(labels, at)| (labels, peak(at, grid.step))).collect();
        }
        let mut lines: Vec<Line> = Vec::new();
        for place in 0..grid.count {
            let t = grid.from + i64::try_from(place).unwrap_or(0) * grid.step;
            for Sample { labels, value } in question.folded(values(&known, t)) {
                let line = match lines.iter_mut().position(|line| line.labels == labels) {
                    Some(at) => at,
                    None => {
                        lines.push(Line { labels, values: vec![None; grid.count] });
                        lines.len() - 1
                    }
                };
                if let Some(slot) = lines.get_mut(line).and_then(|line| line.values.get_mut(place)) {
                    *slot = Some(value);
                }
            }
        }
        let at = Timestamp::from_second(world.now).ok();
        std::future::ready(History { lines, at, trouble: None }).boxed()
    }
}

/// A stored object, under its own name.
fn kept<K: kube::Resource>(object: &Arc<K>) -> Kept<K> {
    let meta = object.meta();
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    Kept { namespace: text(&meta.namespace), name: text(&meta.name), object: Ok(Arc::clone(object)) }
}

impl Objects for Shown {
    fn slos(&self) -> Vec<Kept<Slo>> {
        self.world().slos.iter().map(kept).collect()
    }

    fn alert_rules(&self) -> Vec<Kept<AlertRule>> {
        self.world().alert_rules.iter().map(kept).collect()
    }

    fn runbooks(&self) -> Vec<Kept<Runbook>> {
        self.world().runbooks.iter().map(|(object, _)| kept(object)).collect()
    }

    fn executions(&self) -> Vec<Kept<RunbookExecution>> {
        self.world().executions.iter().map(kept).collect()
    }

    fn revision(&self) -> u64 {
        self.world().revision
    }
}

#[derive(Deserialize)]
struct Switch {
    on: bool,
    #[serde(default)]
    token: String,
}

/// The route of the switch. Who does not have the token, or comes from another site's page, changes nothing.
pub fn switch(shown: Shown, token: String) -> Router {
    let handler = move |headers: HeaderMap, Query(Switch { on, token: given }): Query<Switch>| {
        let (shown, token) = (shown.clone(), token.clone());
        async move { switched(&shown, &headers, on, given.as_bytes().ct_eq(token.as_bytes()).into()) }
    };
    Router::new().route("/demo/fault", post(handler))
}

fn switched(shown: &Shown, headers: &HeaderMap, on: bool, knows: bool) -> Response {
    if !knows || !is_ours(headers) || !same_origin(headers) {
        return (StatusCode::FORBIDDEN, "load the page again and use its button\n").into_response();
    }
    let mut world = shown.world();
    world.set_fault(on, Timestamp::now().as_second());
    drop(world);
    Redirect::to("/").into_response()
}
