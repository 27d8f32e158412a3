//! The actions as a closed union, and what a crash in the middle of each means.

use plimsoll_api::{
    Action, ActionKind,
    action::{
        Annotate, Cordon, DebugContainer, Describe, EvictPod, Exec, HeapDump, Job, Logs, Notify, Profile, Restart,
        Rollback, Scale, Silence, TelemetryProfile,
    },
    chaos::Chaos,
    gate::{Query, Verify},
};

/// The one action that an [`Action`] has.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "each is a field of Action and documented there")]
pub enum Act<'a> {
    Logs(&'a Logs),
    DebugContainer(&'a DebugContainer),
    Profile(&'a Profile),
    HeapDump(&'a HeapDump),
    Exec(&'a Exec),
    Describe(&'a Describe),
    Job(&'a Job),
    Scale(&'a Scale),
    Restart(&'a Restart),
    Rollback(&'a Rollback),
    EvictPod(&'a EvictPod),
    Cordon(&'a Cordon),
    Chaos(&'a Chaos),
    TelemetryProfile(&'a TelemetryProfile),
    Silence(&'a Silence),
    Notify(&'a Notify),
    Annotate(&'a Annotate),
    Wait(&'a str),
    Query(&'a Query),
    Verify(&'a Verify),
}

impl<'a> Act<'a> {
    /// The action that is set; `None` unless it is exactly one.
    pub fn of(action: &'a Action) -> Option<Self> {
        let [kind] = action.kinds()[..] else { return None };
        match kind {
            ActionKind::Logs => action.logs.as_ref().map(Self::Logs),
            ActionKind::DebugContainer => action.debug_container.as_ref().map(Self::DebugContainer),
            ActionKind::Profile => action.profile.as_ref().map(Self::Profile),
            ActionKind::HeapDump => action.heap_dump.as_ref().map(Self::HeapDump),
            ActionKind::Exec => action.exec.as_ref().map(Self::Exec),
            ActionKind::Describe => action.describe.as_ref().map(Self::Describe),
            ActionKind::Job => action.job.as_ref().map(Self::Job),
            ActionKind::Scale => action.scale.as_ref().map(Self::Scale),
            ActionKind::Restart => action.restart.as_ref().map(Self::Restart),
            ActionKind::Rollback => action.rollback.as_ref().map(Self::Rollback),
            ActionKind::EvictPod => action.evict_pod.as_ref().map(Self::EvictPod),
            ActionKind::Cordon => action.cordon.as_ref().map(Self::Cordon),
            ActionKind::Chaos => action.chaos.as_ref().map(Self::Chaos),
            ActionKind::TelemetryProfile => action.telemetry_profile.as_ref().map(Self::TelemetryProfile),
            ActionKind::Silence => action.silence.as_ref().map(Self::Silence),
            ActionKind::Notify => action.notify.as_ref().map(Self::Notify),
            ActionKind::Annotate => action.annotate.as_ref().map(Self::Annotate),
            ActionKind::Wait => action.wait.as_deref().map(Self::Wait),
            ActionKind::Query => action.query.as_ref().map(Self::Query),
            ActionKind::Verify => action.verify.as_ref().map(Self::Verify),
        }
    }

    /// What a crash in the middle of it means.
    pub fn class(self) -> Class {
        match self {
            Self::Exec(exec) if exec.idempotent == Some(true) => Class::Repeatable,
            other => row(other.kind()).class,
        }
    }

    /// Which action it is.
    pub fn kind(self) -> ActionKind {
        match self {
            Self::Logs(_) => ActionKind::Logs,
            Self::DebugContainer(_) => ActionKind::DebugContainer,
            Self::Profile(_) => ActionKind::Profile,
            Self::HeapDump(_) => ActionKind::HeapDump,
            Self::Exec(_) => ActionKind::Exec,
            Self::Describe(_) => ActionKind::Describe,
            Self::Job(_) => ActionKind::Job,
            Self::Scale(_) => ActionKind::Scale,
            Self::Restart(_) => ActionKind::Restart,
            Self::Rollback(_) => ActionKind::Rollback,
            Self::EvictPod(_) => ActionKind::EvictPod,
            Self::Cordon(_) => ActionKind::Cordon,
            Self::Chaos(_) => ActionKind::Chaos,
            Self::TelemetryProfile(_) => ActionKind::TelemetryProfile,
            Self::Silence(_) => ActionKind::Silence,
            Self::Notify(_) => ActionKind::Notify,
            Self::Annotate(_) => ActionKind::Annotate,
            Self::Wait(_) => ActionKind::Wait,
            Self::Query(_) => ActionKind::Query,
            Self::Verify(_) => ActionKind::Verify,
        }
    }

    /// True for an action that can be undone without the author saying how.
    pub fn undoes_itself(self) -> bool {
        matches!(
            self,
            Self::Scale(_)
                | Self::Rollback(_)
                | Self::Cordon(_)
                | Self::Chaos(_)
                | Self::TelemetryProfile(_)
                | Self::Silence(_)
        )
    }

    /// True for an action that changes nothing in the cluster: it looks, asks, waits, or tells somebody.
    pub fn changes_nothing(self) -> bool {
        matches!(
            self,
            Self::Logs(_)
                | Self::Profile(_)
                | Self::Describe(_)
                | Self::Silence(_)
                | Self::Notify(_)
                | Self::Annotate(_)
                | Self::Wait(_)
                | Self::Query(_)
                | Self::Verify(_)
        )
    }

    /// True for an action that asks the API server for something: without a cluster it cannot be done.
    pub fn needs_cluster(self) -> bool {
        match self {
            Self::Logs(_)
            | Self::DebugContainer(_)
            | Self::Profile(_)
            | Self::HeapDump(_)
            | Self::Exec(_)
            | Self::Describe(_)
            | Self::Job(_)
            | Self::Scale(_)
            | Self::Restart(_)
            | Self::Rollback(_)
            | Self::EvictPod(_)
            | Self::Cordon(_)
            | Self::Chaos(_)
            | Self::TelemetryProfile(_) => true,
            Self::Silence(_)
            | Self::Notify(_)
            | Self::Annotate(_)
            | Self::Wait(_)
            | Self::Query(_)
            | Self::Verify(_) => false,
        }
    }

    /// True for what must not stay when a run ends, however it ends.
    pub fn is_borrowed(self) -> bool {
        matches!(self, Self::TelemetryProfile(_) | Self::Chaos(_))
    }
}

/// What is done about a step that has an intent and no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It is done again: twice is the same as once.
    Repeatable,
    /// It is never done again: the run ends as Unknown.
    Once,
}

/// A row of [`CLASSES`].
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The action.
    pub kind: ActionKind,
    /// Its class.
    pub class: Class,
    /// Why.
    pub reason: &'static str,
}

const fn repeatable(kind: ActionKind, reason: &'static str) -> Row {
    Row { kind, class: Class::Repeatable, reason }
}

/// What a crash in the middle of each action means, and why.
pub const CLASSES: [Row; 20] = [
    repeatable(ActionKind::Logs, "reading changes nothing"),
    repeatable(
        ActionKind::DebugContainer,
        "the container's name is the step's: the same patch again is the same container",
    ),
    repeatable(ActionKind::Profile, "reading changes nothing but a little time of the processor"),
    repeatable(
        ActionKind::HeapDump,
        "the file's name is the step's and removed first: another dump costs a pause, and harms nothing else",
    ),
    Row {
        kind: ActionKind::Exec,
        class: Class::Once,
        reason: "what a program does is not known; only the author can say that it may be repeated (idempotent: true)",
    },
    repeatable(ActionKind::Describe, "reading changes nothing"),
    repeatable(
        ActionKind::Job,
        "the Job's name is the step's: a second creation is refused while it is there; when it may be gone it is only looked for",
    ),
    repeatable(ActionKind::Scale, "the number was reckoned when the run was planned"),
    repeatable(
        ActionKind::Restart,
        "restartedAt is reckoned from when the run was made: the same value again, or one before it, is no second rollout",
    ),
    repeatable(
        ActionKind::Rollback,
        "the template was chosen when the run was planned: the same one again is no change",
    ),
    repeatable(ActionKind::EvictPod, "the eviction names the Pod's UID, and a UID goes only once"),
    repeatable(ActionKind::Cordon, "the field is set, not turned"),
    repeatable(
        ActionKind::Chaos,
        "the experiment's name is the step's, and the object stays until the run is removed: a second creation is refused",
    ),
    repeatable(ActionKind::TelemetryProfile, "intervals are set to fixed values; what they were is in the execution"),
    repeatable(
        ActionKind::Silence,
        "its end is reckoned from its intent: a second silence with the same matchers and end silences nothing more",
    ),
    repeatable(ActionKind::Notify, "a message that comes twice is better than one that never comes"),
    repeatable(ActionKind::Annotate, "a second mark at the same time of the same step says the same"),
    repeatable(ActionKind::Wait, "its end is reckoned from its intent"),
    repeatable(ActionKind::Query, "asking changes nothing"),
    repeatable(ActionKind::Verify, "asking changes nothing"),
];

/// The row of an action.
pub fn row(kind: ActionKind) -> Row {
    // A kind without a row would be the most dangerous; a test holds that there is none.
    CLASSES.into_iter().find(|row| row.kind == kind).unwrap_or(Row { kind, class: Class::Once, reason: "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_one_row_with_a_reason() {
        for (kind, field) in ActionKind::ALL {
            let rows: Vec<_> = CLASSES.into_iter().filter(|row| row.kind == kind).collect();
            assert_eq!(rows.len(), 1, "{field}");
            assert!(rows.iter().all(|row| row.reason.len() > 10), "{field}");
            assert_eq!(kind.field(), field);
        }
    }
}
