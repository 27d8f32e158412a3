//! Tiers, the traffic floor and what alerts carry.

use std::collections::BTreeMap;

use plimsoll_api::{
    Problem,
    slo::{self, NoData, Severity},
};
use rust_decimal::Decimal;

use super::{few, label_name, label_value, template};
use crate::{
    duration,
    model::{Objective, Period, Span, Tier, Unit},
};

/// The tiers of an SLO that names none: Google's SRE workbook, chapter 5, table 5-8, with the
/// second ticket tier. Name, burn rate, long and short window in seconds, severity.
pub const DEFAULT_TIERS: [(&str, Decimal, Span, Span, Severity); 4] = [
    ("fast", Decimal::from_parts(144, 0, 0, false, 1), Span::seconds(3600), Span::seconds(300), Severity::Page),
    ("medium", Decimal::from_parts(6, 0, 0, false, 0), Span::seconds(21_600), Span::seconds(1800), Severity::Page),
    ("slow", Decimal::from_parts(3, 0, 0, false, 0), Span::seconds(86_400), Span::seconds(7200), Severity::Ticket),
    (
        "trickle",
        Decimal::from_parts(1, 0, 0, false, 0),
        Span::seconds(259_200),
        Span::seconds(21_600),
        Severity::Ticket,
    ),
];

/// Longest time an alert goes on firing by default.
const MAX_KEEP_FIRING: Span = Span::seconds(900);

/// A default tier that even a total outage could not fire is lowered to this share of the highest
/// burn rate, one over the budget: at 90 % that is 9 of 10.
const HIGHEST_SHARE: Decimal = Decimal::from_parts(9, 0, 0, false, 1);

pub(super) struct Built {
    pub(super) tiers: Vec<Tier>,
    pub(super) minimum_bad_events: u64,
    pub(super) no_data: Option<NoData>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
}

pub(super) fn alerting(
    spec: Option<&slo::Alerting>,
    descriptive: &BTreeMap<String, String>,
    group_by: &[String],
    objective: Option<Objective>,
    period: Option<&Period>,
    unit: Unit,
    problems: &mut Vec<Problem>,
) -> Option<Built> {
    let nothing = slo::Alerting::default();
    let slo::Alerting { minimum_bad_events, no_data, tiers, labels, annotations } = spec.unwrap_or(&nothing);
    let minimum = match minimum_bad_events {
        None => unit.default_floor(),
        Some(n) => match u64::try_from(*n) {
            Ok(0) => 0,
            Ok(n) => {
                if unit == Unit::Seconds {
                    problems.push(
                        Problem::warning("spec.alerting.minimumBadEvents", "this indicator counts time, not events")
                            .label("the floor is in seconds here")
                            .help("remove it, or use sli.events"),
                    );
                }
                n
            }
            Err(_) => {
                problems.push(
                    Problem::error("spec.alerting.minimumBadEvents", "minimumBadEvents is negative")
                        .help("use 0 or more"),
                );
                0
            }
        },
    };
    let tiers = match tiers {
        Some(tiers) => {
            if tiers.is_empty() {
                problems.push(
                    Problem::warning("spec.alerting.tiers", "no burn-rate alert")
                        .label("tiers is empty")
                        .help("remove tiers for the default ones, or write your own"),
                );
            }
            own_tiers(tiers, objective, period, problems)
        }
        None => {
            let tiers = default_tiers(objective, period);
            if let (Some(tiers), Some(period)) = (&tiers, period) {
                too_short(tiers, period, problems);
            }
            tiers
        }
    };
    for (name, value) in few(labels, "spec.alerting.labels", problems) {
        let path = format!("spec.alerting.labels.{name}");
        if name == crate::names::NAMESPACE {
            // Routing by namespace must not be led astray by another tenant.
            problems.push(Problem::error(path, "label namespace is that of the SLO").help("use another name").of_key());
        } else if descriptive.contains_key(name) || group_by.contains(name) {
            let whose = if group_by.contains(name) { "groupBy" } else { "a descriptive label" };
            problems.push(
                Problem::error(path, format!("label {name} is set already"))
                    .label(format!("it is {whose}"))
                    .help("use another name")
                    .of_key(),
            );
        } else {
            label_name(name, &path, problems);
            label_value(value, &path, problems);
        }
    }
    for (name, value) in few(annotations, "spec.alerting.annotations", problems) {
        annotation(&format!("spec.alerting.annotations.{name}"), name, value, problems);
    }
    let mut tiers = tiers?;
    tiers.sort_by(|a, b| a.long.cmp(&b.long).then_with(|| a.name.cmp(&b.name)));
    Some(Built {
        tiers,
        minimum_bad_events: minimum,
        no_data: *no_data,
        labels: labels.clone(),
        annotations: annotations.clone(),
    })
}

/// An annotation as Prometheus gets it: its name, its templates, and that a link is one.
pub(crate) fn annotation(path: &str, name: &str, value: &str, problems: &mut Vec<Problem>) {
    label_name(name, path, problems);
    let scheme = value.split(':').next().unwrap_or_default().trim().to_lowercase();
    let templated = value.starts_with("{{");
    if name.ends_with("_url") && !templated && !value.is_empty() && !["http", "https"].contains(&scheme.as_str()) {
        problems.push(
            Problem::error(path, format!("{name} is not a web address"))
                .label(format!("it begins with {scheme}:"))
                .help("write https://…"),
        );
    }
    if let Err(problem) = template::check(value, path) {
        problems.push(problem);
    }
}

fn longest(period: Option<&Period>) -> Span {
    use plimsoll_api::slo::Calendar;
    match period {
        Some(Period::Rolling(span)) => *span,
        Some(Period::Calendar { unit: Calendar::Week, .. }) => Span::seconds(7 * 86_400),
        Some(Period::Calendar { unit: Calendar::Quarter, .. }) => Span::seconds(90 * 86_400),
        Some(Period::Calendar { unit: Calendar::Year, .. }) => Span::seconds(365 * 86_400),
        Some(Period::Calendar { unit: Calendar::Month, .. }) | None => Span::seconds(28 * 86_400),
    }
}

fn default_tiers(objective: Option<Objective>, period: Option<&Period>) -> Option<Vec<Tier>> {
    let highest = HIGHEST_SHARE / objective?.budget();
    let half = Span { millis: longest(period).millis / 2 };
    Some(
        DEFAULT_TIERS
            .into_iter()
            // A window that is most of the period says nothing that the budget does not say.
            .filter(|(_, _, long, ..)| *long <= half)
            .map(|(name, burn_rate, long, short, severity)| Tier {
                name: name.to_owned(),
                burn_rate: burn_rate.min(highest.round_dp(2)).normalize(),
                long,
                short,
                severity,
                hold: None,
                keep_firing_for: short.min(MAX_KEEP_FIRING),
            })
            .collect(),
    )
}

/// Warns of the default tiers that a short period leaves out.
fn too_short(tiers: &[Tier], period: &Period, problems: &mut Vec<Problem>) {
    let missing: Vec<&str> =
        DEFAULT_TIERS.iter().map(|tier| tier.0).filter(|name| tiers.iter().all(|tier| tier.name != *name)).collect();
    if missing.is_empty() {
        return;
    }
    let (what, than) = if tiers.is_empty() {
        ("no burn-rate alert".to_owned(), "every tier's long window")
    } else {
        (format!("no alert of the tiers {}", missing.join(", ")), "their long windows")
    };
    problems.push(
        Problem::warning("spec.period.rolling", what)
            .label(format!("the period of {} is shorter than twice {than}", longest(Some(period))))
            .help("write alerting.tiers with shorter windows, or take a longer period"),
    );
}

/// The short window of a tier that names none.
pub(crate) fn default_short(long: Span) -> Span {
    Span::seconds((long.as_seconds() / 12).max(1))
}

fn own_tiers(
    specs: &[slo::Tier],
    objective: Option<Objective>,
    period: Option<&Period>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Tier>> {
    let mut tiers = Vec::new();
    let before = problems.len();
    let mut warnings = Vec::new();
    for (i, spec) in specs.iter().enumerate() {
        let slo::Tier { name, burn_rate, long_window, short_window, severity, r#for, keep_firing_for, disabled } = spec;
        let path = format!("spec.alerting.tiers[{i}]");
        let mut read = |text: &str, field: &str| {
            let path = format!("{path}.{field}");
            match duration::parse(text, &path) {
                Ok(span) if span > *super::PERIODS.end() => {
                    problems.push(
                        Problem::error(path, format!("{field} is too long")).label(text).help("use at most 366d"),
                    );
                    None
                }
                Ok(span) => Some(span),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            }
        };
        let long = read(long_window, "longWindow");
        let short = match short_window {
            Some(text) => read(text, "shortWindow"),
            None => long.map(default_short),
        };
        let hold = r#for.as_deref().map(|text| read(text, "for"));
        let keep = keep_firing_for.as_deref().map(|text| read(text, "keepFiringFor"));
        if name.is_empty()
            || name.len() > 63
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        {
            problems.push(
                Problem::error(format!("{path}.name"), format!("{name:?} is not a tier's name"))
                    .help("use letters, digits and dashes, at most 63"),
            );
        }
        if specs.iter().take(i).any(|t| t.name == *name) {
            problems
                .push(Problem::error(format!("{path}.name"), format!("tier {name} is there twice")).help("rename one"));
        }
        let plain = burn_rate.chars().all(|c| c.is_ascii_digit() || c == '.');
        let rate = plain.then(|| burn_rate.parse::<Decimal>().ok()).flatten().filter(|r| *r > Decimal::ZERO);
        if rate.is_none() {
            problems.push(
                Problem::error(format!("{path}.burnRate"), "burnRate is not a positive decimal")
                    .label(burn_rate.clone())
                    .help(r#"write it like "14.4""#),
            );
        }
        let (Some(rate), Some(long), Some(short)) = (rate, long, short) else { continue };
        if long <= short {
            problems.push(
                Problem::error(format!("{path}.longWindow"), "longWindow is not longer than shortWindow")
                    .label(format!("{long} against {short}"))
                    .help("swap them, or leave shortWindow out"),
            );
            continue;
        }
        if long.millis % 1000 != 0 || short.millis % 1000 != 0 {
            problems.push(
                Problem::error(format!("{path}.shortWindow"), "windows are in whole seconds").help("use 1s or more"),
            );
            continue;
        }
        if long > longest(period) {
            warnings.push(
                Problem::warning(format!("{path}.longWindow"), "longWindow is longer than the period")
                    .label(long.to_string())
                    .help("shorten it"),
            );
        }
        if let Some(objective) = objective
            && rate * objective.budget() >= Decimal::ONE
        {
            let highest = (Decimal::ONE / objective.budget()).round_dp(2).normalize();
            warnings.push(
                Problem::warning(format!("{path}.burnRate"), format!("tier {name} can never fire"))
                    .label(format!("at {} % the highest burn rate is {highest}", objective.percent()))
                    .help(format!("use less than {highest}")),
            );
        }
        if disabled.unwrap_or(false) {
            continue;
        }
        tiers.push(Tier {
            name: name.clone(),
            burn_rate: rate.normalize(),
            long,
            short,
            severity: severity.unwrap_or_default(),
            hold: hold.flatten(),
            keep_firing_for: keep.flatten().unwrap_or(short.min(MAX_KEEP_FIRING)),
        });
    }
    let fine = problems.len() == before;
    problems.extend(warnings);
    fine.then_some(tiers)
}
