//! A run whose runbook is turned off, or deleted, while it is under way: the lower mode holds. Nothing more is begun, and
//! what was borrowed is given back; nothing else is undone for that, since somebody wants nothing done.

use plimsoll_api::runbook::Mode;

use super::{Machine, Phase, What};

/// Why nothing more is begun of a run that was planned in a mode; `now` is the runbook's mode by now, `None` when the
/// runbook is gone. What has begun was approved, so a mode that asks for that changes nothing.
pub fn lowered(planned: Mode, now: Option<Mode>) -> Option<&'static str> {
    match now {
        None => Some("the runbook was deleted"),
        Some(now) if now >= planned => None,
        Some(Mode::Off) => Some("the runbook's mode is Off by now"),
        Some(Mode::DryRun) => Some("the runbook's mode is DryRun by now"),
        Some(Mode::Approve | Mode::Auto) => None,
    }
}

impl Machine<'_> {
    /// Why something is not begun, or begun again. What was borrowed is given back, and who must be told is told.
    pub(super) fn stopped(&self, what: &What) -> Option<&'static str> {
        match what {
            What::Undo(_) => None,
            _ if self.world.deleted => Some("the execution was deleted"),
            What::Step(_) | What::Verify => self.world.lowered,
            What::Escalate(_) => None,
        }
    }

    /// The run ends for that, where nothing ends it already.
    pub(super) fn lower(&mut self, why: &'static str) {
        if self.status.ending.is_some() {
            return;
        }
        self.skip_steps(None, why);
        let message = format!("{why}; what had not begun was not begun");
        self.end(Phase::Failed, "ModeLowered", &message);
    }
}
