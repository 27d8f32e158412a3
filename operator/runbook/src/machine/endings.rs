//! How a run ends: what must be put back is put back first.

use plimsoll_api::{
    execution::{Effect, Ending, Outcome, StepStatus},
    gate::OnUnverified,
    runbook::{OnFailure, Step},
};

use super::{
    Awaits, Command, Machine, Phase, What,
    running::{again_at, owed},
};
use crate::Act;

impl Machine<'_> {
    pub(super) fn failed(&mut self, step: &Step, outcome: Outcome) {
        let how = if outcome == Outcome::TimedOut { "took too long" } else { "failed" };
        let message = format!("step {} {how}", step.name);
        match step.on_failure.unwrap_or_default() {
            OnFailure::Continue => {}
            OnFailure::Stop => self.end(Phase::Failed, "StepFailed", &message),
            OnFailure::Compensate => self.end(self.back(), "StepFailed", &message),
        }
    }

    pub(super) fn verified(&mut self, what: &What, outcome: Outcome, answer: Option<bool>) {
        let answer = answer.filter(|_| outcome == Outcome::Succeeded);
        if outcome == Outcome::Skipped || answer == Some(true) {
            return;
        }
        let Some(verify) = self.verify_of(what).cloned() else { return };
        let (slo, seen) = (&verify.slo, self.effect(what).message.clone().unwrap_or_default());
        match (answer, verify.on_failure.unwrap_or_default()) {
            (Some(_), on_failure) => {
                let undoes = on_failure == OnUnverified::Rollback;
                let phase = if undoes { self.back() } else { Phase::Failed };
                self.end(phase, "NotRecovered", &format!("SLO {slo} has not recovered: {seen}"));
            }
            // What was done may be what helps: without an answer a person decides.
            (None, on_failure) => {
                let stays = if on_failure == OnUnverified::Rollback { "; nothing is undone for that" } else { "" };
                let message = format!("it is not known whether SLO {slo} has recovered: {seen}{stays}");
                self.end(Phase::Failed, "RecoveryNotKnown", &message);
            }
        }
        // Whatever is undone, somebody is told first.
        if let Some(ending) = &mut self.status.ending
            && ending.escalate_to.is_none()
        {
            ending.escalate_to.clone_from(&verify.escalate_to);
        }
    }

    /// No further step is begun.
    pub(super) fn end(&mut self, phase: Phase, reason: &str, message: &str) {
        if self.status.ending.is_none() {
            self.status.ending =
                Some(Ending { phase, reason: reason.to_owned(), message: message.to_owned(), escalate_to: None });
        }
    }

    /// How a run ends that goes back: where no step had anything to undo, nothing was rolled back. Of what was turned off,
    /// nothing is undone that is not borrowed.
    fn back(&self) -> Phase {
        let goes = self.world.lowered.is_none() && self.to_undo(Phase::RolledBack).is_some();
        if goes { Phase::RolledBack } else { Phase::Failed }
    }

    /// Tells a person, undoes what must be undone, and ends.
    pub(super) fn wind_down(&mut self) -> Command {
        let Some(ending) = self.status.ending.clone() else { return Command::Finished };
        let is_open = |effect: Option<&Effect>| effect.is_none_or(|effect| effect.outcome.is_none());
        let next = match &ending.escalate_to {
            Some(to) if is_open(self.status.escalation.as_ref()) => Some(What::Escalate(to.clone())),
            _ => self.to_undo(ending.phase).map(What::Undo),
        };
        if let Some(what) = next {
            if let Some(command) = self.held() {
                // What was borrowed is given back first then, and whoever must be told, is told afterwards.
                self.ending();
                return command;
            }
            self.ending();
            return self.begin(&what);
        }
        let tried = owed(self.spec, &self.status).filter_map(|entry| entry.compensation.as_ref());
        if let Some(until) = tried.filter_map(again_at).min() {
            self.ending();
            return Command::Wait { until: Some(until), awaits: Awaits::Time };
        }
        let undone = |outcome: Outcome| {
            let mut all = self.status.steps.iter().filter_map(|step| Some((&step.name, step.compensation.as_ref()?)));
            all.find(|(_, effect)| effect.outcome == Some(outcome)).map(|(name, _)| name.clone())
        };
        let unknown = undone(Outcome::Unknown);
        let failed = undone(Outcome::Failed).or(undone(Outcome::TimedOut));
        match (unknown, failed) {
            (Some(step), _) => {
                let message =
                    format!("{}; what undoes step {step} may have been done, its end was not seen", ending.message);
                self.finish(Phase::Unknown, "UndoUnknown", &message)
            }
            (None, Some(step)) => {
                let message = format!("{}; step {step} could not be undone", ending.message);
                let phase = if ending.phase == Phase::Unknown { Phase::Unknown } else { Phase::Failed };
                self.finish(phase, "UndoFailed", &message)
            }
            (None, None) => self.finish(ending.phase, &ending.reason, &ending.message),
        }
    }

    /// How a run ends in which every step had its turn.
    pub(super) fn done(&self) -> (&'static str, String) {
        let not_done = |entry: &&StepStatus| matches!(entry.effect.outcome, Some(Outcome::Failed | Outcome::TimedOut));
        let failed: Vec<&str> = self.status.steps.iter().filter(not_done).map(|entry| entry.name.as_str()).collect();
        if failed.is_empty() {
            return ("Done", "all steps are done".to_owned());
        }
        let message =
            format!("done, but {} of {} steps failed: {}", failed.len(), self.spec.steps.len(), failed.join(", "));
        ("DoneInPart", message)
    }

    pub(super) fn resolved(&mut self) -> Command {
        let message = format!("{}; what had not begun was not begun", self.over());
        self.end(Phase::Succeeded, "Resolved", &message);
        self.wind_down()
    }

    /// Whether a step was begun that changes something; to measure more closely helps nobody by itself.
    pub(super) fn has_acted(&self) -> bool {
        let acts = |step: &Step| {
            let act = Act::of(&step.action);
            act.is_some_and(|act| !act.changes_nothing() && !matches!(act, Act::TelemetryProfile(_)))
        };
        let mut begun = self.status.steps.iter().filter(|entry| entry.effect.attempts.is_some());
        begun.any(|entry| self.spec_step(&entry.name).is_some_and(acts))
    }

    /// The run is winding down, and says why.
    pub(super) fn ending(&mut self) {
        self.status.phase = Phase::Running;
        self.status.reason = Some("Ending".to_owned());
        self.status.message = self.status.ending.as_ref().map(|ending| ending.message.clone());
    }

    /// The last step that must be undone and is not yet.
    fn to_undo(&self, ending: Phase) -> Option<String> {
        let is_open =
            |effect: &Effect| effect.outcome.is_none() || again_at(effect).is_some_and(|again| again <= self.world.now);
        let done = self.status.steps.iter().rev();
        done.filter(|entry| entry.effect.attempts.is_some())
            .filter(|entry| entry.compensation.as_ref().is_none_or(is_open))
            .find(|entry| {
                let Some(step) = self.spec_step(&entry.name) else { return false };
                let Some(act) = Act::of(&step.action) else { return false };
                let undoable = step.compensate.is_some() || act.undoes_itself();
                let outcome = entry.effect.outcome;
                // What failed may have been done in part.
                let is_first = entry.compensation.as_ref().is_none_or(|effect| effect.outcome.is_none());
                let rolled_back =
                    ending == Phase::RolledBack && undoable && is_first && outcome != Some(Outcome::Skipped);
                rolled_back || owed(self.spec, &self.status).any(|owed| owed.name == entry.name)
            })
            .map(|entry| entry.name.clone())
    }
}
