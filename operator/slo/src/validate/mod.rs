//! From the custom resource to the model, with every problem at once and in the order of the fields.

pub(crate) mod alerting;
mod buckets;
mod called;
mod exclusions;
mod named;
mod parts;
pub(crate) mod sense;
mod sides;
mod sli;
pub(crate) mod template;
mod units;

pub use alerting::DEFAULT_TIERS;
pub use exclusions::distant_exclusions;

use std::collections::BTreeMap;

use plimsoll_api::{Level, Problem, Slo, slo};
use rust_decimal::Decimal;

use crate::{
    duration, meant,
    model::{Model, Objective, Period, SloId, Span, Unit},
    names, promql, zone,
};

/// The namespace of an object that names none.
pub const DEFAULT_NAMESPACE: &str = "default";
/// The backend of an SLO that names none.
pub const DEFAULT_BACKEND: &str = "default";
/// The period of an SLO that names none: 30 days.
pub const DEFAULT_PERIOD: Span = Span::seconds(30 * 86_400);

/// Rolling periods, the longest a leap year.
pub(crate) const PERIODS: std::ops::RangeInclusive<Span> = Span::seconds(60)..=Span::seconds(366 * 86_400);
/// Longest label name that is accepted; Prometheus has no limit, but what stores its series does.
const MAX_LABEL_NAME: usize = 128;
/// Longest label value that is accepted.
const MAX_LABEL_VALUE: usize = 1024;

/// A usable SLO and what its author should still know.
#[derive(Clone, Debug)]
pub struct Valid {
    /// What is rendered.
    pub model: Model,
    /// Warnings.
    pub warnings: Vec<Problem>,
}

/// Checks everything that can be known without a server.
///
/// # Errors
/// All problems, errors and warnings, in the order of the fields.
pub fn validate(slo: &Slo) -> Result<Valid, Vec<Problem>> {
    let mut problems = Vec::new();
    let model = build(slo, &mut problems);
    if let Some(model) = &model {
        size(model, &mut problems);
    }
    match model {
        Some(model) if problems.iter().all(|p| p.level == Level::Warning) => Ok(Valid { model, warnings: problems }),
        _ => Err(problems),
    }
}

/// An object must fit into etcd, and a rule file into the patience of whoever reads it.
fn size(model: &Model, problems: &mut Vec<Problem>) {
    const MAX: usize = 512 << 10;
    // Rendering twice is only worth it where the rules can grow. Every alert has all of the annotations.
    let written =
        |map: &BTreeMap<String, String>| map.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
    let prose = written(&model.alert_annotations) + written(&model.alert_labels) + written(&model.labels);
    if model.exclusions.is_empty() && model.parts().len() <= 5 && prose <= 8 << 10 {
        return;
    }
    let bytes = crate::render(model).bytes();
    if bytes > MAX {
        let (path, what) = if prose * (model.tiers.len() + 1) > bytes / 2 {
            ("spec.alerting.annotations", "annotations and labels, or shorter ones")
        } else if model.exclusions.is_empty() {
            ("spec.sli.composite", "parts")
        } else {
            ("spec.exclusions", "exclusions, or ones without a time zone")
        };
        problems.push(
            Problem::error(path, "the rules become too large")
                .label(format!("{} KiB", bytes >> 10))
                .help(format!("use fewer {what}: at most {} KiB", MAX >> 10)),
        );
    }
}

/// The model, or `None` when a field without which there is none is wrong; then `problems` says so.
fn build(object: &Slo, problems: &mut Vec<Problem>) -> Option<Model> {
    // Without `..`, so that a new field cannot be forgotten here.
    let slo::SloSpec {
        description,
        service,
        owner,
        labels,
        objective,
        period,
        sli,
        group_by,
        alerting,
        exclusions,
        anomaly,
        runbooks,
        backend,
    } = &object.spec;
    let name = object.metadata.name.clone().unwrap_or_default();
    let id =
        SloId { namespace: object.metadata.namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()), name };

    let labels = descriptive(object, &id, service.as_deref(), owner.as_deref(), labels, problems);
    let objective = self::objective(objective, problems);
    let period = self::period(period.as_ref(), problems);
    let sli = sli::sli(sli, &id, group_by, problems);
    self::group_by(group_by, &object.spec.labels, sli.as_ref().map(|s| &s.sli), problems);
    let unit = sli.as_ref().map_or(Unit::Events, |s| s.sli.unit());
    let alerting = alerting::alerting(alerting.as_ref(), &labels, group_by, objective, period.as_ref(), unit, problems);
    let exclusions = exclusions::exclusions(exclusions, problems);
    for (i, runbook) in runbooks.iter().enumerate() {
        dns_name(runbook, &format!("spec.runbooks[{i}]"), problems);
    }
    if backend.as_deref() == Some("") {
        problems.push(
            Problem::error("spec.backend", "backend is empty")
                .help(format!("name a backend, or remove backend: then it is {DEFAULT_BACKEND}")),
        );
    }

    let (objective, period, sli, alerting) = (objective?, period?, sli?, alerting?);
    // A composite has no samples of its own to miss: its parts tell.
    let composite = matches!(sli.sli, crate::model::Sli::Weighted(_) | crate::model::Sli::WorstOf(_));
    let no_data = alerting.no_data.unwrap_or(if composite { slo::NoData::Ignore } else { slo::NoData::default() });
    // A gauge is never idle.
    let gauge = matches!(sli.sli, crate::model::Sli::Up(_));
    if !composite && !gauge && alerting.no_data.is_none() && sli.targets.is_none() {
        jobless(&object.spec.sli, problems);
    }
    let mut group_by = group_by.clone();
    group_by.sort();
    // Whoever groups by service means the series' label.
    let mut labels = labels;
    labels.retain(|name, _| !group_by.contains(name));
    if composite {
        of_parts(alerting_tiers(object), problems);
    } else {
        short_by_default(alerting_tiers(object), problems);
    }
    Some(Model {
        id,
        labels,
        description: description.clone(),
        objective,
        period,
        sli: sli.sli,
        targets: sli.targets,
        group_by,
        tiers: alerting.tiers,
        minimum_bad_events: alerting.minimum_bad_events,
        no_data,
        alert_labels: alerting.labels,
        alert_annotations: alerting.annotations,
        exclusions,
        anomaly: anomaly.as_ref().map(|slo::Anomaly { sensitivity }| sensitivity.unwrap_or_default()),
        runbooks: runbooks.clone(),
        backend: backend.clone().unwrap_or_else(|| DEFAULT_BACKEND.to_owned()),
    })
}

/// Warns of an indicator whose targets nobody can ask for, where nothing is said about missing data.
fn jobless(sli: &slo::Sli, problems: &mut Vec<Problem>) {
    let slo::Sli { events, ratio, latency, preset, up: _, time_slices: _, composite: _ } = sli;
    let (path, help) = match preset {
        Some(_) => ("spec.sli.preset.with", "add job: … (the scrape job); or set alerting.noData"),
        None => (
            match (events, ratio, latency) {
                (Some(events), ..) if events.total.is_some() => "spec.sli.events.total",
                (Some(_), ..) => "spec.sli.events.good",
                (_, Some(_), _) => "spec.sli.ratio.errors",
                (_, _, Some(_)) => "spec.sli.latency.histogram",
                _ => "spec.sli.timeSlices.good",
            },
            "add job=\"…\" to its selectors; or set alerting.noData, to Alert where that is meant",
        ),
    };
    let field = path.rsplit('.').next().unwrap_or(path);
    problems.push(
        Problem::warning(path, format!("{field} names no job"))
            .label("whether targets are up cannot be told: while nothing is asked of them, SLONoData is a ticket")
            .help(help),
    );
}

/// What a person writes, and more.
const MAX_LABELS: usize = 64;

/// The labels or annotations, unless there are so many that a program has spilled them: then one problem says so,
/// not one for each.
fn few<'m>(map: &'m BTreeMap<String, String>, path: &str, problems: &mut Vec<Problem>) -> &'m BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    if map.len() <= MAX_LABELS {
        return map;
    }
    let field = path.rsplit('.').next().unwrap_or(path);
    problems.push(
        Problem::error(path, format!("{field} are too many"))
            .label(map.len().to_string())
            .help(format!("use at most {MAX_LABELS}")),
    );
    &NONE
}

fn descriptive(
    object: &Slo,
    id: &SloId,
    service: Option<&str>,
    owner: Option<&str>,
    labels: &BTreeMap<String, String>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let named = object.metadata.labels.as_ref().and_then(|l| l.get("app.kubernetes.io/name")).map(String::as_str);
    all.insert("service".to_owned(), service.or(named).unwrap_or(&id.name).to_owned());
    if let Some(owner) = owner {
        all.insert("owner".to_owned(), owner.to_owned());
    }
    for (name, value) in few(labels, "spec.labels", problems) {
        let path = format!("spec.labels.{name}");
        if name == names::NAMESPACE {
            problems.push(Problem::error(path, "label namespace is that of the SLO").help("use another name").of_key());
        } else if ["service", "owner"].contains(&name.as_str()) {
            problems.push(
                Problem::error(path, format!("label {name} has a field of its own"))
                    .help(format!("set spec.{name}"))
                    .of_key(),
            );
        } else if value.is_empty() {
            problems.push(empty(&path));
        } else if label_name(name, &path, problems) && label_value(value, &path, problems) {
            all.insert(name.clone(), value.clone());
        }
    }
    for (field, value) in [("service", service), ("owner", owner)] {
        if let Some(value) = value {
            let path = format!("spec.{field}");
            if value.is_empty() {
                problems.push(empty(&path));
            } else {
                label_value(value, &path, problems);
            }
        }
    }
    all
}

/// What is left empty: Prometheus takes a label without a value for none.
fn empty(path: &str) -> Problem {
    let field = path.rsplit('.').next().unwrap_or(path);
    Problem::error(path, format!("{field} is empty")).help(format!("give it a value, or remove {field}"))
}

fn objective(text: &str, problems: &mut Vec<Problem>) -> Option<Objective> {
    const PATH: &str = "spec.objective";
    const LESS: &str = r#"write less than 100, such as "99.95""#;
    let example = r#"write it like "99.95""#;
    let number = text.strip_suffix('%').unwrap_or(text);
    let meant = meant::objective(text);
    let help = meant.as_ref().map_or_else(|| example.to_owned(), |meant| format!("write \"{meant}\""));
    let Some(percent) = meant::percent(number) else {
        // A slip of the pen is named, where all else is right.
        let slip = |c: char| if c == ',' { Some("comma") } else { c.is_whitespace().then_some("space") };
        let slip = text.chars().find_map(slip).filter(|_| meant.is_some() && !text.contains(char::is_alphabetic));
        let (before, after) = meant::DIGITS;
        let (label, help) = match (slip, meant::digits(number)) {
            _ if text.is_empty() => ("it is empty".to_owned(), help),
            (Some(slip), _) => (format!("{text} has a {slip}"), help),
            (None, Some((whole, _))) if whole.trim_start_matches('0').len() > before => {
                ("more than 100 %".to_owned(), LESS.to_owned())
            }
            (None, Some(_)) => {
                let few = format!("use at most {before} digits before the point and {after} after it");
                (format!("{text} has too many digits"), if meant.is_some() { help } else { few })
            }
            (None, None) => (format!("{text} is not a decimal number"), help),
        };
        problems.push(Problem::error(PATH, "objective is a percentage").label(label).help(help));
        return None;
    };
    let parsed = Objective::from_percent(percent);
    if parsed.is_none() {
        let problem = Problem::error(PATH, "objective is a percentage");
        problems.push(if percent >= Decimal::ONE_HUNDRED {
            let label =
                if percent == Decimal::ONE_HUNDRED { "100 % leaves no error budget" } else { "more than 100 %" };
            problem.label(label).help(LESS)
        } else if percent.is_zero() {
            problem.label("0 % promises nothing").help(example)
        } else {
            // Never all of them: that is 0 %.
            let failing = (Decimal::ONE_HUNDRED - percent).trunc_with_scale(1).normalize();
            problem.label(format!("{number} % would allow {failing} of 100 requests to fail")).help(help)
        });
    }
    parsed
}

fn period(period: Option<&slo::Period>, problems: &mut Vec<Problem>) -> Option<Period> {
    const PATH: &str = "spec.period";
    let Some(slo::Period { rolling, calendar, time_zone }) = period else {
        return Some(Period::Rolling(DEFAULT_PERIOD));
    };
    match (rolling, calendar) {
        (Some(text), None) => {
            let path = format!("{PATH}.rolling");
            if time_zone.is_some() {
                problems.push(
                    Problem::warning(format!("{PATH}.timeZone"), "a rolling period has no time zone")
                        .help("remove timeZone"),
                );
            }
            match duration::parse(text, &path) {
                Ok(span) if span > *PERIODS.end() => {
                    problems
                        .push(Problem::error(path, "rolling is too long").label(text.clone()).help("use at most 366d"));
                    None
                }
                Ok(span) if span < *PERIODS.start() => {
                    problems
                        .push(Problem::error(path, "rolling is too short").label(text.clone()).help("use at least 1m"));
                    None
                }
                Ok(span) => Some(Period::Rolling(span)),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            }
        }
        (None, Some(unit)) => {
            let zone = zone_of(time_zone.as_deref(), &format!("{PATH}.timeZone"), problems)?;
            let corrections = zone::corrections(&zone, *unit);
            Some(Period::Calendar { unit: *unit, zone, corrections })
        }
        _ => {
            problems.push(
                Problem::error(PATH, "period has exactly one of rolling and calendar")
                    .help("write {rolling: 30d} or {calendar: Month}"),
            );
            None
        }
    }
}

/// The zone of that name, UTC when there is none.
fn zone_of(name: Option<&str>, path: &str, problems: &mut Vec<Problem>) -> Option<crate::model::Zone> {
    let name = name.unwrap_or("UTC");
    if name.is_empty() {
        let problem = Problem::error(path, "timeZone is empty");
        problems.push(problem.help("use an IANA name, such as Europe/Berlin, or remove timeZone: then it is UTC"));
        return None;
    }
    let zone = zone::zone(name);
    if zone.is_none() {
        problems.push(
            Problem::error(path, format!("no time zone is called {name}"))
                .help("use an IANA name, such as Europe/Berlin"),
        );
    }
    zone
}

fn group_by(
    group_by: &[String],
    labels: &BTreeMap<String, String>,
    sli: Option<&crate::model::Sli>,
    problems: &mut Vec<Problem>,
) {
    for (i, label) in group_by.iter().enumerate() {
        let path = format!("spec.groupBy[{i}]");
        if group_by.iter().take(i).any(|l| l == label) {
            problems.push(Problem::error(path, format!("label {label} is there twice")).help("remove one"));
        } else if labels.contains_key(label) {
            problems.push(
                Problem::error(path, format!("label {label} is a descriptive label of this SLO"))
                    .help("group by another label, or remove it from spec.labels"),
            );
        } else if label == "le" {
            problems.push(Problem::error(path, "le cannot be grouped by").help("it tells a histogram's buckets apart"));
        } else {
            label_name(label, &path, problems);
        }
    }
    if let Some(crate::model::Sli::Weighted(_) | crate::model::Sli::WorstOf(_)) = sli
        && !group_by.is_empty()
    {
        problems.push(
            Problem::error("spec.groupBy", "a composite has no groups").help("group its parts, or remove groupBy"),
        );
    }
}

/// Short windows that nobody has written and in which there may be no rate.
fn short_by_default(tiers: &[slo::Tier], problems: &mut Vec<Problem>) {
    for (i, tier) in tiers.iter().enumerate() {
        let by_default = tier.short_window.is_none() && !tier.disabled.unwrap_or(false);
        let long = duration::parse(&tier.long_window, "").ok().filter(|_| by_default);
        let Some(short) = long.map(alerting::default_short).filter(|short| *short < crate::render::TWO_SCRAPES) else {
            continue;
        };
        let path = format!("spec.alerting.tiers[{i}].longWindow");
        problems.push(
            Problem::warning(path, format!("tier {} has a shortWindow of {short}", tier.name))
                .label("a twelfth of longWindow")
                .help(format!(
                    "write shortWindow: 2m, or shortWindow: {short} where targets are scraped every {} or more often",
                    Span { millis: short.millis / 2 }
                )),
        );
    }
}

/// A composite is read from base series of its parts, so no window is shorter than theirs; those by default neither.
fn of_parts(tiers: &[slo::Tier], problems: &mut Vec<Problem>) {
    const HELP: &str = "alert on the parts instead, or use 5m or more";
    let least = crate::render::BASE_RANGE;
    let read = |text: &str| duration::parse(text, "").ok();
    for (i, tier) in tiers.iter().enumerate() {
        let mut refuse = |field: &str, label: &str, help: &str| {
            let path = format!("spec.alerting.tiers[{i}].{field}");
            problems.push(Problem::error(path, "a composite's windows are at least 5m").label(label).help(help));
        };
        let long = read(&tier.long_window);
        if long.is_some_and(|long| long < least) {
            refuse("longWindow", "", HELP);
        }
        match &tier.short_window {
            Some(text) if read(text).is_some_and(|short| short < least) => refuse("shortWindow", "", HELP),
            Some(_) => {}
            None => {
                let short = long.filter(|long| *long >= least).map(alerting::default_short);
                if let Some(short) = short.filter(|short| *short < least) {
                    let label = format!("shortWindow is a twelfth of it, {short}, unless it is written");
                    refuse("longWindow", &label, "write shortWindow: 5m, or alert on the parts instead");
                }
            }
        }
    }
}

fn alerting_tiers(object: &Slo) -> &[slo::Tier] {
    object.spec.alerting.as_ref().and_then(|a| a.tiers.as_deref()).unwrap_or_default()
}

/// Checks a label that a user sets; true when it is fine.
pub(crate) fn label_name(name: &str, path: &str, problems: &mut Vec<Problem>) -> bool {
    let fine = label_syntax(name, path, problems);
    if fine && names::RESERVED.contains(&name) {
        problems
            .push(Problem::error(path, format!("label {name} is set by Plimsoll")).help("use another name").of_key());
        return false;
    }
    fine
}

/// Checks that a user's word is a label's name; true when it is.
pub(crate) fn label_syntax(name: &str, path: &str, problems: &mut Vec<Problem>) -> bool {
    let problem = if name.len() > MAX_LABEL_NAME {
        Problem::error(path, "label name is too long")
            .label(format!("{} characters", name.len()))
            .help(format!("use at most {MAX_LABEL_NAME}"))
    } else if name.starts_with("__") {
        Problem::error(path, format!("label {name} is reserved by Prometheus"))
            .help("use a name without leading underscores")
    } else if !promql::is_label(name) {
        let fixed: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let help = if name.contains(" - ") {
            "write each entry of a list on a line of its own, their dashes below each other".to_owned()
        } else if promql::is_label(&fixed) && !fixed.starts_with("__") && !names::RESERVED.contains(&fixed.as_str()) {
            format!("write {fixed}")
        } else {
            "use letters, digits and underscores".to_owned()
        };
        Problem::error(path, format!("{name} is not a label name")).help(help)
    } else {
        return true;
    };
    // Of an entry of a list, which has no key, the value is meant.
    problems.push(problem.of_key());
    false
}

pub(crate) fn label_value(value: &str, path: &str, problems: &mut Vec<Problem>) -> bool {
    let fine = value.len() <= MAX_LABEL_VALUE && !value.contains('\n');
    if !fine {
        problems.push(
            Problem::error(path, "label value is too long or has line breaks")
                .help(format!("use one line of at most {MAX_LABEL_VALUE} bytes")),
        );
    }
    fine
}

pub(crate) fn dns_name(name: &str, path: &str, problems: &mut Vec<Problem>) -> bool {
    let fine = !name.is_empty()
        && name.len() <= 253
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.']);
    if !fine {
        problems.push(
            Problem::error(path, format!("{name:?} is not a name of an object"))
                .help("use lower-case letters, digits, dashes and dots"),
        );
    }
    fine
}
