//! The objects that become rules, by the controller's own steps: dereference → validate → render → apply → status. Here the
//! statuses are kept in memory, for the page and the terminal.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use kube::{
    Resource as _,
    runtime::{
        events::EventType,
        reflector::{ObjectRef, Store, store::Writer},
        watcher,
    },
};
use plimsoll_api::{AlertRule, AnyKind, Kind, Runbook, Slo, conditions as c, runbook::Mode};
use plimsoll_runbook::Model;
use plimsoll_slo::names as series;
use tokio::{
    sync::mpsc::UnboundedSender,
    task::{JoinSet, unconstrained},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    allowed,
    objects::Shelf,
    runs::Named,
    say::Say,
    table::{Changes, Key, Table},
};
use crate::{
    cli::{check::Checked, out::Stop, report::count},
    controller::{
        apply::{Applied, Outcome, apply, refuse},
        dereference::{DEFAULT_BACKEND, dereference},
        judge,
        observe::Observations,
        poll::Poll,
        render::{Rendered, render},
        scored,
        status::transitions,
        stored::{Object, Shown, Stored},
        validate::{ValidateError, validate},
    },
    operator::metrics::Metrics,
    prometheus::Prometheus,
    sinks::{RuleSink, Sinks, Target},
};

/// While many objects are on their way, it is said this often how far they are.
const PROGRESS: Duration = Duration::from_secs(3);

/// A kind, a namespace and a name.
pub type Touch = (Kind, String, String);

/// Everything of one kind.
struct Of {
    writer: Writer<Stored>,
    store: Store<Stored>,
    observations: Arc<Observations>,
}

impl Of {
    fn new(kind: Kind) -> Self {
        let writer = Writer::new(kind);
        Self { store: writer.as_reader(), writer, observations: Arc::default() }
    }
}

/// See the module.
pub struct Rules {
    table: Table,
    slos: Of,
    alert_rules: Of,
    sink: Arc<dyn RuleSink>,
    prometheus: Prometheus,
    metrics: Arc<Metrics>,
    shelf: Arc<Shelf>,
    say: Say,
    statuses: HashMap<Key, Shown>,
    /// What is tried again.
    behind: BTreeSet<Key>,
    /// What is gone and has rules left.
    leftovers: Vec<(Key, Target)>,
    /// What was read and is not shown yet.
    fresh: BTreeSet<Key>,
    /// What was read and is not loaded yet.
    awaited: BTreeSet<Key>,
    loaded: usize,
    progress: Progress,
}

/// When it was last said how far the objects are.
struct Progress(Instant);

impl Progress {
    /// Whether it is time to say it again.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now.duration_since(self.0) >= PROGRESS;
        if due {
            self.0 = now;
        }
        due
    }
}

/// An object that went as far as the backend, if it has a good version at all.
type Brought = Option<(Arc<Stored>, Rendered<Applied>)>;

impl Rules {
    /// Over what was kept.
    pub fn new(
        table: Table,
        sink: Arc<dyn RuleSink>,
        prometheus: Prometheus,
        metrics: Arc<Metrics>,
        shelf: Arc<Shelf>,
        say: Say,
    ) -> Self {
        Self {
            table,
            slos: Of::new(Kind::Slo),
            alert_rules: Of::new(Kind::AlertRule),
            sink,
            prometheus,
            metrics,
            shelf,
            say,
            statuses: HashMap::new(),
            behind: BTreeSet::new(),
            leftovers: Vec::new(),
            fresh: BTreeSet::new(),
            awaited: BTreeSet::new(),
            loaded: 0,
            progress: Progress(Instant::now()),
        }
    }

    fn of(&self, kind: Kind) -> &Of {
        match kind {
            Kind::Slo => &self.slos,
            Kind::AlertRule => &self.alert_rules,
        }
    }

    /// All objects, for the scorer.
    pub fn stores(&self) -> Vec<(Kind, Store<Stored>)> {
        Kind::ALL.into_iter().map(|kind| (kind, self.of(kind).store.clone())).collect()
    }

    /// How many SLOs, AlertRules and Runbooks there are.
    pub fn counts(&self) -> [usize; 3] {
        [AnyKind::Rules(Kind::Slo), AnyKind::Rules(Kind::AlertRule), AnyKind::Runbook]
            .map(|kind| self.table.iter().filter(|(key, _)| key.kind == kind).count())
    }

    /// Whether there is a good version.
    pub fn is_served(&self, key: &Key) -> bool {
        self.table.get(key).is_some_and(|entry| entry.object.is_some())
    }

    /// Why the file does not have a good version.
    pub fn why(&self, key: &Key) -> &str {
        self.table.get(key).and_then(|entry| entry.broken.as_deref()).unwrap_or_default()
    }

    /// What is to be kept; nothing while rules of what is gone are left.
    pub fn text(&self) -> Option<String> {
        self.leftovers.is_empty().then(|| self.table.text().ok()).flatten()
    }

    /// Whether something is to be tried again.
    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty() || !self.leftovers.is_empty()
    }

    /// Takes what was read. The scorer and the page see it at once.
    pub fn take(&mut self, checked: &mut Checked) -> Changes {
        let changes = self.table.advance(checked);
        for kind in Kind::ALL {
            let all = self.table.iter().filter(|(key, _)| key.kind == AnyKind::Rules(kind));
            let objects = all.filter_map(|(_, entry)| serde_json::from_value::<Stored>(entry.object.clone()?).ok());
            let objects: Vec<Stored> = objects.collect();
            let writer = match kind {
                Kind::Slo => &mut self.slos.writer,
                Kind::AlertRule => &mut self.alert_rules.writer,
            };
            writer.apply_watcher_event(&watcher::Event::Init);
            objects.into_iter().for_each(|object| writer.apply_watcher_event(&watcher::Event::InitApply(object)));
            writer.apply_watcher_event(&watcher::Event::InitDone);
        }
        changes
    }

    /// The runbooks that may be started, and who names which; the page is told of all. `acts`: whether they may do anything.
    pub fn runbooks(&self, acts: bool) -> (Vec<Model>, Named) {
        let (mut models, mut shown) = (Vec::new(), Vec::new());
        for (key, entry) in self.table.iter().filter(|(key, _)| key.kind == AnyKind::Runbook) {
            let id = (key.namespace.clone(), key.name.clone());
            let runbook = entry.object.clone().and_then(|object| serde_json::from_value::<Runbook>(object).ok());
            let Some(mut runbook) = runbook else {
                shown.push((id, Err(entry.broken.clone().unwrap_or_default())));
                continue;
            };
            let mut mode = if runbook.spec.mode == Some(Mode::Off) { Mode::Off } else { Mode::DryRun };
            if let Ok(valid) = plimsoll_runbook::validate(&runbook) {
                mode = allowed::mode(&valid.model, acts).0;
                models.push(valid.model);
            }
            let mut status = plimsoll_api::RunbookStatus { mode: Some(mode), ..Default::default() };
            if let Some(why) = &entry.broken {
                let (now, generation) = (jiff::Timestamp::now(), runbook.metadata.generation);
                c::set(&mut status.conditions, c::READY, Some(false), c::REASON_INVALID, why, generation, now);
            }
            runbook.status = Some(status);
            shown.push((id, Ok(runbook)));
        }
        self.shelf.runbooks_are(shown);
        let mut named = HashMap::new();
        for stored in Kind::ALL.into_iter().flat_map(|kind| self.of(kind).store.state()) {
            let id = format!(
                "{}/{}",
                stored.meta().namespace.as_deref().unwrap_or_default(),
                stored.meta().name.as_deref().unwrap_or_default()
            );
            let (label, runbooks) = match &stored.object {
                Object::Slo(slo) => (series::SLO_ID, of_slo(slo)),
                Object::AlertRule(rule) => (series::ALERT_RULE, of_alert_rule(rule)),
            };
            named.insert((label, id), runbooks);
        }
        (models, named)
    }

    /// Asks Prometheus about all objects until `stop`, and says of which the status changes.
    pub fn watch(
        &self,
        tasks: &mut JoinSet<Result<&'static str, Stop>>,
        touched: &UnboundedSender<Touch>,
        stop: &CancellationToken,
    ) {
        for kind in Kind::ALL {
            let observations = Arc::clone(&self.of(kind).observations);
            let (prometheus, metrics) = (self.prometheus.clone(), Arc::clone(&self.metrics));
            let (touched, stop) = (touched.clone(), stop.clone());
            tasks.spawn(async move {
                let changed = |(namespace, name): &(String, String)| {
                    // A closed channel means that everything ends.
                    let _ = touched.send((kind, namespace.clone(), name.clone()));
                };
                let (prometheus, observations, metrics) = (&prometheus, observations.as_ref(), metrics.as_ref());
                let poll = Poll { kind, prometheus, observations, metrics, cluster: None, changed: &changed };
                stop.run_until_cancelled(poll.run()).await;
                Ok("the questions to Prometheus")
            });
        }
    }

    /// Brings changes about: what is gone loses its rules; all others are compared, since one may be made of another.
    /// At the `first` time all are new.
    pub async fn bring_about(&mut self, changes: &Changes, first: bool) {
        for (key, object) in &changes.removed {
            self.statuses.remove(key);
            self.awaited.remove(key);
            self.behind.remove(key);
            let AnyKind::Rules(kind) = key.kind else { continue };
            let id = (key.namespace.clone(), key.name.clone());
            self.shelf.remove(kind, &id);
            self.of(kind).observations.forget(&id);
            let stored = object.clone().and_then(|object| serde_json::from_value::<Stored>(object).ok());
            self.leftovers.extend(stored.map(|stored| (key.clone(), Target::of(kind, stored.meta()))));
        }
        let all: Vec<&Key> =
            self.table.iter().map(|(key, _)| key).filter(|key| matches!(key.kind, AnyKind::Rules(_))).collect();
        let is_new = |key: &&&Key| self.is_served(key) && (first || changes.edited.contains(key));
        let new: Vec<Key> = all.iter().filter(is_new).map(|key| (*key).clone()).collect();
        self.behind.extend(all.into_iter().cloned());
        if first {
            self.show_at_once();
        }
        self.fresh.extend(new.iter().cloned());
        self.awaited.extend(new);
        self.catch_up().await;
    }

    /// Until Prometheus has read the rules of many objects, a minute may pass: the page shows them before.
    fn show_at_once(&self) {
        for (key, entry) in self.table.iter() {
            let AnyKind::Rules(kind) = key.kind else { continue };
            let id = (key.namespace.clone(), key.name.clone());
            let stored = self.of(kind).store.get(&ObjectRef::new_with(&key.name, kind).within(&key.namespace));
            let Some(stored) = stored else {
                self.shelf.lacks(kind, &id, entry.broken.as_deref().unwrap_or_default());
                continue;
            };
            let (mut status, now) = (Shown::default(), jiff::Timestamp::now());
            for (type_, reason) in [(c::RULES_LOADED, c::REASON_PROGRESSING), (c::DATA_PRESENT, c::REASON_WAITING)] {
                let message = "the rules are on their way to Prometheus";
                c::set(&mut status.conditions, type_, None, reason, message, stored.meta().generation, now);
            }
            self.shelf.serve(&id, &stored, status);
        }
        self.shelf.completed();
    }

    /// Tries again what is not done.
    pub async fn catch_up(&mut self) {
        self.progress = Progress(Instant::now());
        let mut leftovers = std::mem::take(&mut self.leftovers);
        // What came back meanwhile is wanted.
        leftovers.retain(|(key, _)| self.table.get(key).is_none());
        let removals: Vec<_> = leftovers.into_iter().map(|(key, target)| self.remove(key, target)).collect();
        let removed: Vec<_> =
            unconstrained(stream::iter(removals).buffer_unordered(self.sink.at_once()).collect()).await;
        self.leftovers = removed.into_iter().flatten().collect();
        let behind = std::mem::take(&mut self.behind);
        self.reconcile(behind).await;
    }

    /// Removes rules; gives back what is left of them.
    async fn remove(&self, key: Key, target: Target) -> Option<(Key, Target)> {
        let error = self.sink.delete(&target).await.err()?;
        tracing::warn!(%error, "rules of what is gone are left; this is tried again");
        Some((key, target))
    }

    /// Looks again at objects of which something has changed in Prometheus or in the scores.
    pub async fn touch(&mut self, touches: Vec<Touch>) {
        let keys: BTreeSet<Key> = touches
            .into_iter()
            .map(|(kind, namespace, name)| Key { kind: AnyKind::Rules(kind), namespace, name })
            .collect();
        self.reconcile(keys).await;
        let (loaded, all) = (self.loaded, self.loaded + self.awaited.len());
        if loaded > 0 && loaded < all && self.progress.is_due(Instant::now()) {
            self.say.news(&format!("loaded so far: the rules of {loaded} of {all} objects"));
        }
    }

    /// Brings objects about, as many at a time as the backend takes: they share its reloads of Prometheus.
    async fn reconcile(&mut self, keys: BTreeSet<Key>) {
        let all = keys.len();
        let mut brought = Vec::with_capacity(all);
        let work: Vec<_> = keys.into_iter().map(|key| self.bring(key)).collect();
        let mut work = stream::iter(work).buffer_unordered(self.sink.at_once());
        let (mut progress, mut waits) = (Progress(Instant::now()), false);
        loop {
            // Without tokio's budget, so that as many as possible have begun before the first one is done and asks for a
            // reload.
            let Ok(next) = timeout(PROGRESS, unconstrained(work.next())).await else {
                if self.sink.is_reloading() && !std::mem::replace(&mut waits, true) {
                    self.say.news("waiting for Prometheus to read the rules; with many of them that takes a while");
                }
                continue;
            };
            let Some(one) = next else { break };
            brought.push(one);
            if brought.len() < all && progress.is_due(Instant::now()) {
                self.say.news(&format!("the rules of {} of {all} objects are written", brought.len()));
            }
        }
        drop(work);
        brought.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (key, brought) in brought {
            self.settle(&key, brought);
        }
    }

    /// Takes an object as far as the backend.
    async fn bring(&self, key: Key) -> (Key, Brought) {
        let AnyKind::Rules(kind) = key.kind else { return (key, None) };
        let stored = self.of(kind).store.get(&ObjectRef::new_with(&key.name, kind).within(&key.namespace));
        let Some(stored) = stored else { return (key, None) };
        // There is one place for rules, whatever a file that is made for a cluster calls it.
        let name = stored.backend().unwrap_or(DEFAULT_BACKEND).to_owned();
        let sinks: Sinks = [(name, Arc::clone(&self.sink))].into_iter().collect();
        let applied = match validate(dereference(Arc::clone(&stored), &sinks, &self.slos.store)) {
            Ok(valid) => apply(render(valid)).await,
            Err(error) => refuse(Arc::clone(&stored), error),
        };
        (key, Some((stored, applied)))
    }

    /// Notes and tells what became of it.
    fn settle(&mut self, key: &Key, brought: Brought) {
        let AnyKind::Rules(kind) = key.kind else { return };
        let Some(entry) = self.table.get(key) else { return };
        let id = (key.namespace.clone(), key.name.clone());
        let of = self.of(kind);
        let Some((stored, applied)) = brought else {
            self.shelf.lacks(kind, &id, entry.broken.as_deref().unwrap_or_default());
            return;
        };
        let mut old = self.statuses.get(key).cloned();
        let fails = matches!(applied.state.outcome(), Outcome::Failed(error) if error.is_transient());
        let applied = match entry.broken.clone() {
            None => applied,
            Some(why) => {
                // Also of one that was broken when this began it is known how its last good rules do.
                if old.as_ref().is_none_or(|old| old.place.is_none()) {
                    old = Some(judge(&applied, old.as_ref(), Some(&self.prometheus), &of.observations).get().clone());
                }
                refuse(Arc::clone(&stored), ValidateError::Unreadable(why))
            }
        };
        let applied = applied.with_scored(scored(&stored, true, &self.metrics));
        let status = judge(&applied, old.as_ref(), Some(&self.prometheus), &of.observations).get().clone();
        if fails {
            self.behind.insert(key.clone());
        }
        let known = self.statuses.insert(key.clone(), status.clone());
        if !self.fresh.remove(key) && known.as_ref() == Some(&status) {
            return;
        }
        self.tell(key, known.as_ref(), &status);
        self.shelf.serve(&id, &stored, status);
    }

    /// Says what is news. That a file is invalid was said when it was read.
    fn tell(&mut self, key: &Key, old: Option<&Shown>, new: &Shown) {
        let before = old.map(|old| old.conditions.as_slice()).unwrap_or_default();
        for (reason, type_, note) in transitions(before, &new.conditions) {
            let line = format!("{key}: {note}");
            match type_ {
                _ if reason == c::REASON_INVALID || reason == c::READY => {}
                EventType::Warning => self.say.trouble(&line),
                EventType::Normal => self.say.news(&line),
            }
        }
        let says = |type_: &str, status: &[&str]| {
            new.conditions.iter().any(|one| {
                one.type_ == type_
                    && status.contains(&one.status.as_str())
                    && one.observed_generation == new.observed_generation
            })
        };
        let loaded = says(c::RULES_LOADED, &["True"]);
        // What is refused is not waited for.
        if (loaded || says(c::READY, &["True", "False"])) && self.awaited.remove(key) {
            self.loaded += usize::from(loaded);
            if self.awaited.is_empty() && self.loaded > 0 {
                let of = count(std::mem::take(&mut self.loaded), "object");
                self.say.news(&format!("loaded: the rules of {of}"));
            }
        }
    }
}

fn of_slo(slo: &Slo) -> Vec<String> {
    slo.spec.runbooks.clone()
}

fn of_alert_rule(rule: &AlertRule) -> Vec<String> {
    rule.spec.rules.iter().flat_map(|rule| rule.runbooks.clone()).collect()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
