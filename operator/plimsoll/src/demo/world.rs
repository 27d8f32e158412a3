//! The shop as it is now: its objects, everything that its rules have recorded, and what runbooks would have done.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plimsoll_api::{AlertRule, Runbook, RunbookExecution, RunbookExecutionStatus, Slo, execution::Phase};
use plimsoll_runbook::matching::{Alert as Told, Occurrence};
use plimsoll_slo::{
    Model,
    evaluate::{Alert, Engine, Labels, Schedule, State},
    names,
};

use super::{
    band::Band,
    traffic::{Flow, Incident, shop},
};
use crate::cli::runbook;

/// How much history there is, in seconds: the period, and what the oldest of it looks back on.
const HISTORY: i64 = 30 * 86_400 + 3600;
const SLOS: &str = include_str!("shop.yaml");
const ALERTS: &str = include_str!("alerts.yaml");
const RUNBOOKS: [&str; 2] = [
    include_str!("../../../../runbooks/rollback-on-burn/runbook.yaml"),
    include_str!("../../../../runbooks/telemetry-while-burning/runbook.yaml"),
];
/// The SLO whose traffic the scorer watches, and that the live fault hits.
pub(super) const WATCHED: &str = "shop/checkout-availability";

/// Why there is no demonstration: something that is built in is broken, which tests keep from happening.
#[derive(Debug, thiserror::Error)]
#[error("the built-in shop is broken: {0}")]
pub struct Broken(String);

/// See the module.
pub struct World {
    /// The SLOs, in the order of the file.
    pub slos: Vec<Arc<Slo>>,
    /// The AlertRules: of each, the alert is about what the scorer says of the checkout's traffic.
    pub alert_rules: Vec<Arc<AlertRule>>,
    /// The runbooks.
    pub runbooks: Vec<(Arc<Runbook>, plimsoll_runbook::Model)>,
    /// What they would have done, oldest first.
    pub executions: Vec<Arc<RunbookExecution>>,
    /// What the rules have recorded.
    pub engine: Engine,
    /// What the scorer says of the checkout's traffic.
    pub band: Band,
    /// Until when everything is evaluated, in seconds since 1970.
    pub now: i64,
    /// Changes when an object does, or the fault.
    pub revision: u64,
    flows: Vec<Flow>,
    fault: bool,
}

impl World {
    /// A shop with a history that ends at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When one of the built-in files is broken.
    pub fn new(now: i64, seed: u64) -> Result<Self, Broken> {
        let slos: Vec<Slo> = objects(SLOS)?;
        let valid = |slo: &Slo| plimsoll_slo::validate(slo).map(|valid| valid.model);
        let models: Vec<Model> = slos.iter().map(valid).collect::<Result<_, _>>().map_err(|p| broken(&p))?;
        let mut runbooks = Vec::new();
        for text in RUNBOOKS {
            for object in objects::<Runbook>(text)? {
                let model = plimsoll_runbook::validate(&object).map_err(|p| broken(&p))?.model;
                runbooks.push((Arc::new(object), model));
            }
        }
        let alert_rules: Vec<AlertRule> = objects(ALERTS)?;
        let start = begin(now);
        let mut world = Self {
            slos: slos.into_iter().map(Arc::new).collect(),
            alert_rules: alert_rules.into_iter().map(Arc::new).collect(),
            runbooks,
            executions: Vec::new(),
            engine: Engine::new(models, start * 1000, &Schedule::default()),
            band: Band::default(),
            now: start,
            revision: 0,
            flows: shop(now, seed),
            fault: false,
        };
        world.tick(now);
        Ok(world)
    }

    /// Goes on until `now`, in seconds since 1970.
    pub fn tick(&mut self, now: i64) {
        if now <= self.now {
            return;
        }
        let before = self.now;
        for flow in &mut self.flows {
            let Some((next, interval)) = self.engine.base_turn(flow.slo) else { continue };
            let times = (0..).map(|k| next + k * interval).take_while(|t| *t <= now * 1000);
            let rows: Vec<_> = times.map(|t| flow.sample(t / 1000)).collect();
            self.engine.feed(flow.slo, &flow.labels, next, &rows, &[]);
        }
        self.engine.run(now * 1000);
        self.now = now;
        if let Some(total) = self.engine.select(names::TOTAL, WATCHED).first() {
            self.band.watch(&total.series, now);
        }
        self.answer(before);
    }

    /// Begins or ends the live fault.
    pub fn set_fault(&mut self, on: bool, now: i64) {
        if on == self.fault {
            return;
        }
        self.fault = on;
        self.revision += 1;
        for flow in self.flows.iter_mut().filter(|flow| flow.faulty) {
            match flow.incidents.last_mut() {
                Some(incident) if !on => incident.to = incident.to.or(Some(now)),
                _ if on => flow.incidents.push(Incident { from: now, to: None, fails: 0.6, lost: 0.45 }),
                _ => {}
            }
        }
    }

    /// Whether the live fault is on.
    pub fn fault(&self) -> bool {
        self.fault
    }

    /// The alerts that fire now, with the SLO of each.
    pub fn firing(&self) -> Vec<(&str, &Alert)> {
        let of = |id| self.engine.alerts(id).map(move |alert| (id, alert));
        self.engine.ids().flat_map(of).filter(|(_, alert)| alert.state(self.now * 1000) == State::Firing).collect()
    }

    /// What the runbooks would have done about alerts that began to fire after `before`.
    fn answer(&mut self, before: i64) {
        let mut told: Vec<(i64, Told)> = Vec::new();
        for id in self.engine.ids() {
            for alert in self.engine.alerts(id) {
                let new = alert.episodes.iter().filter(|episode| episode.fired > before * 1000);
                told.extend(new.map(|episode| (episode.fired, occurred(&alert.labels, episode.active))));
            }
        }
        told.sort_by_key(|(fired, _)| *fired);
        for (fired, alert) in told {
            let Ok(at) = Timestamp::from_millisecond(fired) else { continue };
            let occurrence = Occurrence::Alert(alert);
            for place in 0..self.runbooks.len() {
                let Some((_, model)) = self.runbooks.get(place) else { continue };
                if let Some(execution) = execution(model, &occurrence, at)
                    && !self.cools(model, at)
                {
                    self.executions.push(Arc::new(execution));
                    self.revision += 1;
                }
            }
        }
    }

    /// Whether the runbook has run less than its cooldown ago.
    fn cools(&self, model: &plimsoll_runbook::Model, at: Timestamp) -> bool {
        let mine = self.executions.iter().rev().find(|execution| execution.spec.runbook.name == model.name);
        let last = mine.and_then(|execution| execution.metadata.creation_timestamp.as_ref());
        last.is_some_and(|last| at.as_second() - last.0.as_second() < model.safety.cooldown.as_seconds().cast_signed())
    }

    /// The dry run of the runbook that answers to an alert which fires, in words.
    pub fn dry_run(&self) -> Option<String> {
        let now = Timestamp::from_second(self.now).ok()?;
        self.firing().into_iter().find_map(|(id, alert)| {
            let tier = alert.tier.as_deref().unwrap_or("no data");
            let occurrence = Occurrence::Alert(occurred(&alert.labels, alert.active_since()?));
            let (_, model) = self.runbooks.iter().find(|(_, model)| execution(model, &occurrence, now).is_some())?;
            Some(runbook::dry_run(model, &format!("the alert {tier} of {id}"), &occurrence, now))
        })
    }
}

/// The raw series of the shop's past, as the page of a demonstration that begins now has them.
pub struct Past {
    /// The SLOs.
    pub models: Vec<Model>,
    now: i64,
    seed: u64,
}

impl Past {
    /// Of a shop whose present is `now`, in seconds since 1970.
    ///
    /// # Errors
    /// When the built-in file is broken.
    pub fn new(now: i64, seed: u64) -> Result<Self, Broken> {
        let slos: Vec<Slo> = objects(SLOS)?;
        let valid = |slo: &Slo| plimsoll_slo::validate(slo).map(|valid| valid.model);
        let models = slos.iter().map(valid).collect::<Result<_, _>>().map_err(|problems| broken(&problems))?;
        Ok(Self { models, now, seed })
    }

    /// Since when there are samples, in seconds since 1970.
    pub fn since(&self) -> i64 {
        begin(self.now)
    }

    /// Feeds what an SLO is made of from one time to another, in seconds since 1970; false when nothing is there.
    pub fn fill(&self, engine: &mut Engine, id: &str, (from, to): (i64, i64)) -> bool {
        let mut found = false;
        for mut flow in shop(self.now, self.seed).into_iter().filter(|flow| flow.slo == id) {
            let Some((turn, interval)) = engine.base_turn(id) else { continue };
            let first = turn + ((from.max(self.since()) * 1000 - turn).max(0) + interval - 1) / interval * interval;
            let times = (0..).map(|k| first + k * interval).take_while(|t| *t <= to * 1000);
            let rows: Vec<_> = times.map(|t| flow.sample(t / 1000)).collect();
            engine.feed(id, &flow.labels, first, &rows, &[]);
            found |= !rows.is_empty();
        }
        found
    }
}

/// The first sample of a shop whose present is `now`.
const fn begin(now: i64) -> i64 {
    (now - HISTORY).div_euclid(3600) * 3600
}

/// An alert as Alertmanager tells it.
fn occurred(labels: &Labels, active: i64) -> Told {
    Told {
        labels: labels.clone(),
        fingerprint: String::new(),
        starts_at: Timestamp::from_millisecond(active).unwrap_or_default(),
        firing: true,
        ends_at: None,
        runbooks: Vec::new(),
    }
}

/// The execution that the operator would make and end at once in mode DryRun.
fn execution(model: &plimsoll_runbook::Model, occurrence: &Occurrence, at: Timestamp) -> Option<RunbookExecution> {
    let planned = runbook::planned(model, occurrence, at)?;
    let steps: Vec<&str> = planned.spec.steps.iter().map(|step| step.name.as_str()).collect();
    let status = RunbookExecutionStatus {
        phase: Phase::Succeeded,
        reason: Some("DryRun".to_owned()),
        message: Some(format!("it would have been done: {}", steps.join(", "))),
        spec_hash: Some(planned.spec_hash.clone()),
        started_at: Some(Time(at)),
        finished_at: Some(Time(at)),
        ..RunbookExecutionStatus::default()
    };
    let mut execution = RunbookExecution::new(&planned.name, planned.spec);
    execution.metadata.namespace = Some(model.namespace.clone());
    execution.metadata.labels = Some(planned.labels);
    execution.metadata.creation_timestamp = Some(Time(at));
    execution.status = Some(status);
    Some(execution)
}

/// The objects of a file.
fn objects<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>, Broken> {
    serde_saphyr::from_multiple(text).map_err(|error| broken(&error))
}

fn broken(why: &impl std::fmt::Debug) -> Broken {
    Broken(format!("{why:?}"))
}

/// Labels of an SLO's series.
pub(super) fn labels(id: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = [(names::SLO_ID, id)].into_iter().chain(more.iter().copied());
    own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
