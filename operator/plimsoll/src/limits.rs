//! What a Prometheus cannot keep or should not be made to bear. Pure; the operator and `explain` say the same.

use plimsoll_api::slo::{Calendar, NoData};
use plimsoll_slo::{
    AnyModel, Model,
    model::{Period, Span},
};

use crate::targets;

/// More groups than this are told. Each group has its own alerts and about 25 series, so 300 are 7,500 series for one
/// SLO, and more names than a person who is woken can tell apart. A region, a route or a customer's plan stays
/// below; an id of a user or a request does not.
pub const GROUPS: u64 = 300;

/// What of an SLO may be too much, and who gives its samples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// The period's greatest length.
    pub period: Option<Span>,
    /// Labels by which it is grouped.
    pub group_by: Vec<String>,
    /// What names its targets: `job="checkout"`.
    pub targets: Option<String>,
    /// Where missing time counts as bad, so that the base series go on without the indicator: its own events.
    pub own: Option<String>,
    /// Labels by which it is grouped, and what asks for bad events that are of no group by it.
    pub apart: Vec<(String, String)>,
}

impl Scope {
    /// Of a valid object.
    pub fn of_any(model: &AnyModel) -> Self {
        match model {
            AnyModel::Slo(model) => Self::of(model),
            AnyModel::AlertRule(_) => Self::default(),
        }
    }

    /// Of a valid SLO.
    pub fn of(model: &Model) -> Self {
        let days = |days: u64| Span::seconds(days * 86_400);
        let period = match &model.period {
            Period::Rolling(span) => *span,
            Period::Calendar { unit, .. } => match unit {
                Calendar::Week => days(7),
                Calendar::Month => days(31),
                Calendar::Quarter => days(92),
                Calendar::Year => days(366),
            },
        };
        Self {
            period: Some(period),
            group_by: model.group_by.clone(),
            targets: targets::of_indicator(&model.sli),
            own: own(model),
            apart: plimsoll_slo::render::apart(model),
        }
    }
}

/// An expression of the events that an SLO has measured itself, where its base series have others too: those that are
/// made up for missing time, by `noData: Bad`.
pub fn own(model: &Model) -> Option<String> {
    if model.no_data != NoData::Bad {
        return None;
    }
    plimsoll_slo::render::raw(model).map(|raw| raw.base.0)
}

/// Something that is too much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// After `works, but`: `its period is longer than Prometheus keeps samples`.
    pub headline: &'static str,
    /// What and how much.
    pub what: String,
    /// What to do.
    pub remedy: String,
}

impl Excess {
    /// On one line.
    pub fn line(&self) -> String {
        format!("{}; {}", self.what, self.remedy)
    }
}

/// A period that is longer than the samples' life: the budget cannot remember its beginning.
pub fn period(scope: &Scope, retention: Option<Span>) -> Option<Excess> {
    let (period, retention) = (scope.period?, retention?);
    (period > retention).then(|| Excess {
        headline: "its period is longer than Prometheus keeps samples.",
        what: format!(
            "spec.period: the period of {period} is longer than the {retention} for which Prometheus keeps samples, so the budget forgets what is older"
        ),
        remedy: format!(
            "choose a period of at most {retention}, or start Prometheus with --storage.tsdb.retention.time={period} or more"
        ),
    })
}

/// Too many groups. `worst` is the label with the most values, and their number.
pub fn groups(groups: u64, worst: Option<(&str, u64)>) -> Option<Excess> {
    if groups <= GROUPS {
        return None;
    }
    let remedy = match worst {
        Some((label, values)) => format!("remove {label} from groupBy, which has {values} values"),
        None => "remove the label with the most values from groupBy".to_owned(),
    };
    Some(Excess {
        headline: "it has more groups than a person can tell apart.",
        what: format!(
            "spec.groupBy: it makes {groups} groups, and each has its own alerts and about 25 series in Prometheus (up to {GROUPS} are fine)"
        ),
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;

    #[test]
    fn a_period_beyond_the_retention_is_told_with_both() {
        let scope = Scope { period: Some(Span::seconds(30 * DAY)), ..Scope::default() };
        assert_eq!(period(&scope, None), None, "a Prometheus that does not say");
        assert_eq!(period(&scope, Some(Span::seconds(30 * DAY))), None);
        let line = period(&scope, Some(Span::seconds(15 * DAY))).map(|excess| excess.line());
        assert_eq!(
            line.as_deref(),
            Some(
                "spec.period: the period of 30d is longer than the 15d for which Prometheus keeps samples, so the budget forgets what is older; choose a period of at most 15d, or start Prometheus with --storage.tsdb.retention.time=30d or more"
            )
        );
    }

    #[test]
    fn an_explosion_names_count_and_label() {
        assert_eq!(groups(GROUPS, None), None);
        let line = groups(1200, Some(("user_id", 600))).map(|excess| excess.line());
        assert_eq!(
            line.as_deref(),
            Some(
                "spec.groupBy: it makes 1200 groups, and each has its own alerts and about 25 series in Prometheus (up to 300 are fine); remove user_id from groupBy, which has 600 values"
            )
        );
    }
}
