//! The kinds of this API group: those that become rules, and all of them.

use std::fmt;

/// A kind that becomes rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `SLO`.
    #[default]
    Slo,
    /// `AlertRule`.
    AlertRule,
}

impl Kind {
    /// Every kind that becomes rules.
    pub const ALL: [Self; 2] = [Self::Slo, Self::AlertRule];

    /// As in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slo => "SLO",
            Self::AlertRule => "AlertRule",
        }
    }

    /// As in the API's paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Slo => "slos",
            Self::AlertRule => "alertrules",
        }
    }

    /// What begins the names of everything that is made for an object of this kind; a dash or an underscore
    /// follows. One prefix goes on with a dot where the other ends, so no SLO and AlertRule share a name.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Slo => "plimsoll",
            Self::AlertRule => "plimsoll.alertrule",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Any kind of this API group, with rules or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnyKind {
    /// One that becomes rules.
    Rules(Kind),
    /// `Runbook`.
    Runbook,
    /// `RunbookExecution`.
    RunbookExecution,
    /// `RunbookApproval`.
    RunbookApproval,
}

impl AnyKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Rules(Kind::Slo),
        Self::Rules(Kind::AlertRule),
        Self::Runbook,
        Self::RunbookExecution,
        Self::RunbookApproval,
    ];

    /// True for what people write and Plimsoll acts upon by itself; the other kinds are made while it does.
    pub const fn is_served(self) -> bool {
        matches!(self, Self::Rules(_) | Self::Runbook)
    }

    /// As in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rules(kind) => kind.name(),
            Self::Runbook => "Runbook",
            Self::RunbookExecution => "RunbookExecution",
            Self::RunbookApproval => "RunbookApproval",
        }
    }

    /// As in the API's paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Rules(kind) => kind.plural(),
            Self::Runbook => "runbooks",
            Self::RunbookExecution => "runbookexecutions",
            Self::RunbookApproval => "runbookapprovals",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }
}

impl fmt::Display for AnyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
