//! The kinds of this API group that become rules.

use std::fmt;

/// A kind of this API group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `SLO`.
    #[default]
    Slo,
    /// `AlertRule`.
    AlertRule,
}

impl Kind {
    /// Every kind.
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
