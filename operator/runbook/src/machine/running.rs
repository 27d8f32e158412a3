//! Steps one after the other, and whether they helped.

use plimsoll_api::{
    RunbookExecutionSpec, RunbookExecutionStatus,
    execution::{Effect, Outcome, StepStatus},
    gate::{Branch, Verify},
    runbook::Step,
};

use super::{
    Awaits, Command, Doing, Event, MAX_ATTEMPTS, Machine, Phase, RECHECK, Report, Time, Timestamp, What, later,
    seconds, validate,
};
use crate::{Act, Class, plan};

/// What was borrowed and could not be given back in time is tried again after this, in seconds, and after twice as long
/// each further time.
const AGAIN: i64 = 60;
/// The reason of a run whose step, or what undoes it, is held by a pause while it is under way.
const PAUSED: &str = "Paused";

/// Steps that have borrowed something which is not given back, and of which it is not known either that it cannot be.
pub(super) fn owed<'s>(
    spec: &'s RunbookExecutionSpec,
    status: &'s RunbookExecutionStatus,
) -> impl Iterator<Item = &'s StepStatus> {
    let borrows = |entry: &StepStatus| {
        let act = spec.steps.iter().find(|step| step.name == entry.name).and_then(|step| Act::of(&step.action));
        // A fault that came to its end has put everything back itself.
        let over = matches!(act, Some(Act::Chaos(_))) && entry.effect.outcome == Some(Outcome::Succeeded);
        act.is_some_and(Act::is_borrowed) && !over
    };
    status
        .steps
        .iter()
        .filter(|entry| entry.effect.attempts.is_some() && entry.effect.outcome != Some(Outcome::Skipped))
        .filter(|entry| {
            entry.compensation.as_ref().is_none_or(|effect| effect.outcome.is_none() || is_tried_again(effect))
        })
        .filter(move |entry| borrows(entry))
}

/// Whether what gives something back had no answer in its time, and is begun once more. A refusal is an answer.
pub(super) fn is_tried_again(effect: &Effect) -> bool {
    effect.outcome == Some(Outcome::TimedOut) && effect.attempts.unwrap_or(0) < MAX_ATTEMPTS
}

/// When that is.
pub(super) fn again_at(effect: &Effect) -> Option<Timestamp> {
    let finished = effect.finished_at.as_ref().filter(|_| is_tried_again(effect))?;
    let times = u32::try_from(effect.attempts.unwrap_or(1) - 1).unwrap_or(0);
    Some(later(finished.0, AGAIN.saturating_mul(2i64.saturating_pow(times))))
}

/// It is given its time anew; the first such time stays.
fn intend(effect: &mut Effect, now: Time) {
    let first = effect.intent_time.replace(now);
    effect.first_intent_time = effect.first_intent_time.take().or(first);
}

impl Machine<'_> {
    pub(super) fn running(&mut self, event: &Event) -> Command {
        if self.world.deleted {
            self.end(Phase::Failed, "Deleted", "the execution was deleted");
        }
        if let Some(what) = self.current() {
            if self.settles(&what).is_some() {
                return self.settle(what);
            }
            match event {
                // A store that was for something else begins nothing.
                Event::Stored(Some(begins)) if *begins == what && !self.stood_still(&what) => return self.act(what),
                Event::Done(report) => self.ended(&what, report),
                // It may have been done: by this operator before a crash, or by another one.
                _ => return self.take_up(what),
            }
        }
        self.go_on()
    }

    /// Goes on with what has an intent and no outcome.
    fn take_up(&mut self, what: What) -> Command {
        if self.settles(&what).is_some() {
            return self.settle(what);
        }
        match self.recover(&what) {
            Some(command) => command,
            None => self.go_on(),
        }
    }

    /// What has an intent and no outcome.
    fn current(&self) -> Option<What> {
        let open = |effect: &Effect| effect.intent_time.is_some() && effect.outcome.is_none();
        for step in &self.status.steps {
            if open(&step.effect) {
                return Some(What::Step(step.name.clone()));
            }
            if step.compensation.as_ref().is_some_and(open) {
                return Some(What::Undo(step.name.clone()));
            }
        }
        if self.status.verification.as_ref().is_some_and(open) {
            return Some(What::Verify);
        }
        let told = self.status.escalation.as_ref().is_some_and(open);
        let to = self.status.ending.as_ref().and_then(|ending| ending.escalate_to.clone());
        to.filter(|_| told).map(What::Escalate)
    }

    /// The ledger's entry.
    pub(super) fn effect(&mut self, what: &What) -> &mut Effect {
        match what {
            What::Step(name) => &mut self.entry(name).effect,
            What::Undo(name) => self.entry(name).compensation.get_or_insert_default(),
            What::Verify => self.status.verification.get_or_insert_default(),
            What::Escalate(_) => self.status.escalation.get_or_insert_default(),
        }
    }

    fn entry(&mut self, name: &str) -> &mut StepStatus {
        let at = self.status.steps.iter().position(|step| step.name == name).unwrap_or_else(|| {
            self.status.steps.push(StepStatus { name: name.to_owned(), ..StepStatus::default() });
            self.status.steps.len() - 1
        });
        #[allow(clippy::indexing_slicing, reason = "the place was found or made just now")]
        &mut self.status.steps[at]
    }

    pub(super) fn spec_step(&self, name: &str) -> Option<&Step> {
        self.spec.steps.iter().find(|step| step.name == name)
    }

    /// The verification that a thing to do is.
    pub(super) fn verify_of(&self, what: &What) -> Option<&Verify> {
        match what {
            What::Verify => self.spec.verify.as_ref(),
            What::Step(name) => self.spec_step(name)?.action.verify.as_ref(),
            What::Undo(_) | What::Escalate(_) => None,
        }
    }

    /// How long a thing to do only waits, in seconds; `None` once it acts.
    fn settles(&mut self, what: &What) -> Option<i64> {
        if self.effect(what).attempts.is_some() {
            return None;
        }
        if let Some(verify) = self.verify_of(what) {
            return Some(seconds(verify.after.as_deref(), validate::DEFAULT_AFTER));
        }
        match what {
            What::Step(name) => {
                let wait = self.spec_step(name)?.action.wait.as_deref()?;
                Some(seconds(Some(wait), validate::DEFAULT_TIMEOUT))
            }
            _ => None,
        }
    }

    /// Waits, then goes on: a `wait` is over, a verification begins to ask.
    fn settle(&mut self, what: What) -> Command {
        let wait = self.settles(&what).unwrap_or(0);
        let now = self.world.now;
        // Nothing acts, so there is nothing that must be waited for when it is to be stopped.
        let judges = self.verify_of(&what).is_some() && self.has_acted();
        let resolved = self.status.resolved_at.is_some() && !judges;
        let stopped = self.stopped(&what);
        let over = resolved || stopped.is_some();
        if !over {
            if self.is_paused()
                && let Some(command) = self.held()
            {
                self.pauses();
                return command;
            }
            if self.resumes() {
                // It waits for things to settle after what was done, and nothing was done meanwhile.
                self.effect(&what).intent_time = Some(Time(now));
            }
        }
        let until = later(self.begun(&what), wait);
        if now < until && !over {
            return Command::Wait { until: Some(until), awaits: Awaits::Time };
        }
        if self.verify_of(&what).is_some() && !over {
            if let Some(command) = self.held() {
                self.pauses();
                return command;
            }
            self.effect(&what).attempts = Some(1);
            return Command::Store(Some(what));
        }
        let why = stopped.filter(|_| self.world.deleted || !resolved).unwrap_or(self.over());
        let message = if now < until { format!("not to its end: {why}") } else { "waited".to_owned() };
        let outcome =
            if now < until || self.verify_of(&what).is_some() { Outcome::Skipped } else { Outcome::Succeeded };
        self.close(&what, outcome, &message);
        if outcome == Outcome::Skipped
            && let Some(why) = stopped.filter(|_| !resolved)
        {
            self.lower(why);
        }
        self.go_on()
    }

    /// Stores the intent of something. What only waits at first has no attempt yet.
    pub(super) fn begin(&mut self, what: &What) -> Command {
        let now = Time(self.world.now);
        if let What::Step(name) | What::Undo(name) = what {
            self.status.step = Some(name.clone());
        }
        // What settles first has no attempt yet, and what is tried again has some.
        let settles = self.settles(what).is_some();
        let effect = self.effect(what);
        intend(effect, now);
        (effect.outcome, effect.finished_at) = (None, None);
        if !settles {
            effect.attempts = Some(effect.attempts.unwrap_or(0) + 1);
        }
        Command::Store(Some(what.clone()))
    }

    fn act(&mut self, what: What) -> Command {
        let until = self.until(&what);
        Command::Act(Doing { what, until })
    }

    /// When the intent of something was stored.
    fn begun(&mut self, what: &What) -> Timestamp {
        let now = self.world.now;
        self.effect(what).intent_time.as_ref().map_or(now, |time| time.0)
    }

    /// When something has taken too long.
    fn until(&mut self, what: &What) -> Timestamp {
        let begun = self.begun(what);
        let allowed = match what {
            What::Step(name) | What::Undo(name) => {
                let timeout = self.spec_step(name).and_then(|step| step.timeout.as_deref());
                seconds(timeout, validate::DEFAULT_TIMEOUT)
            }
            What::Verify => {
                let after = self.verify_of(what).and_then(|verify| verify.after.as_deref());
                seconds(after, validate::DEFAULT_AFTER) + seconds(None, validate::DEFAULT_TIMEOUT)
            }
            What::Escalate(_) => super::ESCALATION,
        };
        later(begun, allowed)
    }

    /// Whether its time was over before it was begun. What tells that it was done by an earlier attempt, such as a Job of its
    /// name, may have gone meanwhile. To ask or to tell late harms nobody.
    fn stood_still(&mut self, what: &What) -> bool {
        matches!(what, What::Step(_) | What::Undo(_)) && self.is_late(what)
    }

    fn is_late(&mut self, what: &What) -> bool {
        let until = self.until(what);
        self.world.now >= until
    }

    fn class(&self, what: &What) -> Class {
        let act = match what {
            What::Step(name) => self.spec_step(name).and_then(|step| Act::of(&step.action)),
            What::Undo(name) => self.spec_step(name).and_then(|step| match &step.compensate {
                Some(undo) => Act::of(undo),
                None => Act::of(&step.action),
            }),
            // A message that comes twice is better than none; asking changes nothing.
            What::Verify | What::Escalate(_) => return Class::Repeatable,
        };
        act.map_or(Class::Once, Act::class)
    }

    /// An intent without an outcome, and nobody who acts: again, or never again.
    fn recover(&mut self, what: &What) -> Option<Command> {
        if self.class(what) == Class::Once {
            let message = "it was begun and its end was not seen; it is not begun again";
            self.ended(
                what,
                &Report { outcome: Outcome::Unknown, message: message.to_owned(), artifacts: Vec::new(), answer: None },
            );
            return None;
        }
        let attempts = self.effect(what).attempts.unwrap_or(0);
        let undoes = matches!(what, What::Undo(_));
        let now = Time(self.world.now);
        let late = self.is_late(what);
        // What is given back meanwhile is not what a pause holds.
        let was_held = !self.gives_back(what) && self.resumes();
        let too_late = || (Outcome::TimedOut, "its time was over when its end was not seen".to_owned());
        let (outcome, message) = if attempts >= MAX_ATTEMPTS {
            (Outcome::Failed, format!("it was begun {attempts} times and its end was never seen"))
        } else if let Some(why) = self.stopped(what) {
            self.lower(why);
            (Outcome::Failed, format!("{why}, before its end was seen"))
        } else if self.faults(what) && self.world.paused == Some(true) {
            // A fault does not go on while nobody may do anything about it.
            self.end(Phase::Failed, "Paused", "all runbooks were paused while a fault was under way");
            (Outcome::Failed, "all runbooks were paused, so the fault is ended".to_owned())
        } else if self.faults(what) && late {
            too_late()
        } else if !self.gives_back(what)
            && let Some(command) = self.held()
        {
            self.pauses();
            return Some(command);
        } else if late && !undoes && !was_held {
            too_late()
        } else {
            let effect = self.effect(what);
            if late {
                // What undoes a step must be tried, however long nobody could; and a pause takes no time from a step.
                intend(effect, now);
            }
            effect.attempts = Some(attempts + 1);
            return Some(Command::Store(Some(what.clone())));
        };
        self.ended(what, &Report { outcome, message, artifacts: Vec::new(), answer: None });
        None
    }

    /// Whether runbooks are paused: what cannot be read for a moment neither begins a pause of what only waits, nor ends it.
    fn is_paused(&self) -> bool {
        match self.world.paused {
            Some(paused) => paused,
            None => self.status.reason.as_deref() == Some(PAUSED),
        }
    }

    /// What is under way is held by a pause: its time does not go on, which nobody would know later if it were not stored.
    fn pauses(&mut self) {
        let message = "all runbooks are paused, or that cannot be read; what is under way is begun again afterwards";
        self.phase(self.status.phase, PAUSED, message);
    }

    /// Whether what is under way was held by a pause; then it is not any more.
    fn resumes(&mut self) -> bool {
        if self.status.reason.as_deref() != Some(PAUSED) {
            return false;
        }
        match self.status.phase {
            _ if self.status.ending.is_some() => self.ending(),
            Phase::Verifying => self.verifying(),
            _ => self.started(),
        }
        true
    }

    /// Whether it is a fault.
    fn faults(&self, what: &What) -> bool {
        matches!(what, What::Step(name) if self.spec_step(name).is_some_and(|step| step.action.chaos.is_some()))
    }

    /// Whether it gives back what was borrowed: that is done also while runbooks are paused.
    fn gives_back(&self, what: &What) -> bool {
        let borrowed = |step: &Step| Act::of(&step.action).is_some_and(Act::is_borrowed);
        matches!(what, What::Undo(name) if self.spec_step(name).is_some_and(borrowed))
    }

    /// While runbooks are paused nothing is begun but what gives back what was borrowed, when its time is over; what
    /// cannot be read is paused.
    pub(super) fn held(&mut self) -> Option<Command> {
        if self.world.paused == Some(false) {
            return None;
        }
        if let Some(name) = self.due() {
            return Some(self.begin(&What::Undo(name)));
        }
        let over = self.owed().filter_map(|entry| match &entry.compensation {
            Some(tried) => again_at(tried),
            None => entry.lease_until.as_ref().map(|time| time.0),
        });
        let soon = later(self.world.now, RECHECK);
        Some(Command::Wait { until: over.chain([soon]).min(), awaits: Awaits::Unpaused })
    }

    /// The last thing that was borrowed and whose time is over.
    fn due(&self) -> Option<String> {
        let lasts = |entry: &StepStatus| {
            if let Some(again) = entry.compensation.as_ref().and_then(again_at) {
                return again > self.world.now;
            }
            // A step that is under way is looked after by whoever does it.
            entry.effect.outcome.is_none()
                || self.status.ending.is_none()
                    && entry.lease_until.as_ref().is_some_and(|until| until.0 > self.world.now)
        };
        self.owed().filter(|entry| !lasts(entry)).last().map(|entry| entry.name.clone())
    }

    /// A fault that did not come to its end, and was not removed yet.
    fn broken_off(&self) -> Option<String> {
        let is_due = |entry: &&StepStatus| match &entry.compensation {
            Some(tried) => again_at(tried).is_some_and(|again| again <= self.world.now),
            None => entry.effect.outcome.is_some(),
        };
        let is_fault = |entry: &&StepStatus| self.faults(&What::Step(entry.name.clone()));
        self.owed().filter(is_fault).find(is_due).map(|entry| entry.name.clone())
    }

    /// What was borrowed, and neither is being given back nor was tried for the last time.
    fn owed(&self) -> impl Iterator<Item = &StepStatus> {
        owed(self.spec, &self.status).filter(|entry| entry.compensation.as_ref().is_none_or(is_tried_again))
    }

    pub(super) fn close(&mut self, what: &What, outcome: Outcome, message: &str) {
        let now = Time(self.world.now);
        let effect = self.effect(what);
        effect.outcome = Some(outcome);
        effect.finished_at = Some(now);
        effect.message = Some(message.to_owned());
    }

    /// Stores an outcome and what follows from it.
    fn ended(&mut self, what: &What, report: &Report) {
        let Report { outcome, message, artifacts, answer } = report;
        // A question without an answer was not answered.
        let asks = self.verify_of(what).is_some() || self.asks(what);
        let outcome =
            if asks && *outcome == Outcome::Succeeded && answer.is_none() { Outcome::Failed } else { *outcome };
        // That it was asked is no success when it did not help, or when nobody knows.
        let unverified = self.verify_of(what).is_some() && outcome == Outcome::Succeeded && *answer != Some(true);
        self.close(what, if unverified { Outcome::Failed } else { outcome }, message);
        self.effect(what).artifacts.clone_from(artifacts);
        match what {
            What::Undo(_) | What::Escalate(_) => {}
            What::Verify => self.verified(what, outcome, *answer),
            What::Step(name) => self.step_ended(name, what, outcome, *answer),
        }
    }

    fn asks(&self, what: &What) -> bool {
        matches!(what, What::Step(name) if self.spec_step(name).is_some_and(|step| step.action.query.is_some()))
    }

    fn step_ended(&mut self, name: &str, what: &What, outcome: Outcome, answer: Option<bool>) {
        let Some(step) = self.spec_step(name).cloned() else { return };
        if let Some(profile) = &step.action.telemetry_profile
            && outcome == Outcome::Succeeded
        {
            let begun = self.begun(what);
            self.entry(name).lease_until = Some(Time(later(begun, plan::lease(profile))));
        }
        if outcome == Outcome::Unknown {
            let message = format!("step {name} may have been done; its end was not seen: look, then start another run");
            return self.end(Phase::Unknown, "StepUnknown", &message);
        }
        if step.action.verify.is_some() {
            return self.verified(what, outcome, answer);
        }
        match (outcome, &step.action.query, answer) {
            (Outcome::Succeeded, Some(query), Some(found)) => {
                let branch = if found { query.found } else { query.empty };
                match branch.unwrap_or(if found { Branch::Continue } else { Branch::Stop }) {
                    Branch::Continue => {}
                    Branch::Stop => {
                        let seen = if found { "has a result" } else { "has no result" };
                        self.skip_steps(None, "not needed");
                        self.end(Phase::Succeeded, "Stopped", &format!("the query of step {name} {seen}"));
                    }
                    Branch::GoTo => self.skip_steps(query.go_to.as_deref(), "gone past"),
                }
            }
            (Outcome::Succeeded | Outcome::Skipped, _, _) => {}
            (outcome, _, _) => self.failed(&step, outcome),
        }
    }

    /// Steps that have not begun are skipped, up to one.
    pub(super) fn skip_steps(&mut self, until: Option<&str>, message: &str) {
        let open: Vec<String> = self.open_steps().take_while(|name| Some(name.as_str()) != until).collect();
        for name in open {
            let what = What::Step(name);
            self.close(&what, Outcome::Skipped, message);
        }
    }

    /// Steps without an entry, in order.
    fn open_steps(&self) -> impl Iterator<Item = String> {
        let known = &self.status.steps;
        self.spec
            .steps
            .iter()
            .filter(|step| !known.iter().any(|entry| entry.name == step.name))
            .map(|step| step.name.clone())
    }

    /// What comes next when nothing is under way.
    pub(super) fn go_on(&mut self) -> Command {
        // Something may have been given back while another thing was held.
        if let Some(other) = self.current() {
            return self.take_up(other);
        }
        if self.status.ending.is_some() {
            return self.wind_down();
        }
        // Whatever comes next, a fault that was broken off does not stay until then.
        if let Some(name) = self.broken_off() {
            return self.begin(&What::Undo(name));
        }
        let mut next = self.open_steps().next();
        let unverified = self.spec.verify.is_some()
            && self.status.verification.as_ref().is_none_or(|effect| effect.outcome.is_none());
        if next.is_some() || unverified {
            if self.status.resolved_at.is_some() {
                self.skip_steps(None, self.over());
                next = None;
                // An alert that is over says nothing about what an action has done to the SLO.
                if !unverified || !self.has_acted() {
                    return self.resolved();
                }
            }
            if let Some(why) = self.world.lowered {
                self.lower(why);
                return self.wind_down();
            }
            let started = self.status.started_at.as_ref().map_or(self.world.now, |time| time.0);
            if self.world.now >= later(started, seconds(Some(&self.spec.deadline), validate::DEFAULT_DEADLINE)) {
                let message = format!("it took longer than its deadline, {}", self.spec.deadline);
                self.end(Phase::Failed, "Deadline", &message);
                return self.wind_down();
            }
        }
        if let Some(name) = next {
            if let Some(command) = self.held() {
                self.pauses();
                return command;
            }
            self.resumes();
            return self.begin(&What::Step(name));
        }
        if unverified {
            if let Some(command) = self.held() {
                self.pauses();
                return command;
            }
            self.verifying();
            self.status.step = None;
            return self.begin(&What::Verify);
        }
        if let Some(until) = self.lease() {
            return Command::Wait { until: Some(until), awaits: Awaits::Lease };
        }
        if self.status.steps.iter().any(|entry| entry.effect.message.as_deref() == Some(self.over())) {
            return self.resolved();
        }
        let (reason, message) = self.done();
        self.end(Phase::Succeeded, reason, &message);
        self.wind_down()
    }

    pub(super) fn started(&mut self) {
        self.phase(Phase::Running, "Started", "its steps are under way");
    }

    fn verifying(&mut self) {
        self.phase(Phase::Verifying, "Verifying", "whether it helped is being asked");
    }

    /// When the first telemetry profile that still lasts is over.
    fn lease(&self) -> Option<Timestamp> {
        let lasting = self.status.steps.iter().filter(|step| step.compensation.is_none());
        let until = lasting.filter_map(|step| step.lease_until.as_ref()).map(|time| time.0).min()?;
        let lasts = self.status.resolved_at.is_none() && self.world.lowered.is_none();
        (until > self.world.now && lasts).then_some(until)
    }
}
