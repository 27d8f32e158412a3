//! From the model to the rules. Deterministic: same model, same bytes.
//!
//! `base` is the only part that reads raw series; everything after it sees two numbers, bad and
//! total events per second. `ARCHITECTURE.md` and `docs/rules.md` explain the expressions.

mod alerts;
mod base;
mod clock;
mod period;
mod windows;

use std::collections::BTreeMap;

use crate::{
    model::{Model, Sli, Span},
    names, revision,
    rules::{Group, Rule, RuleSet},
};

/// Range of the base rates. Four scrapes a minute apart fit in, as `rate` wants.
pub const BASE_RANGE: Span = Span::seconds(300);
/// How often the base rates, the alerts of tiers up to an hour and what they read are evaluated.
pub const BASE_INTERVAL: Span = Span::seconds(30);
/// How often the alerts of tiers up to six hours and what only they read are evaluated.
const SLOW_INTERVAL: Span = Span::seconds(120);
/// How often the rest is evaluated; below Prometheus' lookback of 5 m, so that no series blinks.
const PERIOD_INTERVAL: Span = Span::seconds(240);
/// Windows up to here are read sample by sample.
const HOUR: Span = Span::seconds(3600);
/// Windows up to here are read every minute.
const SIX_HOURS: Span = Span::seconds(6 * 3600);
/// Windows up to here are read every 5 m; longer ones from half-hourly roll-ups.
const FOUR_DAYS: Span = Span::seconds(4 * 86_400);
/// Spacing of roll-ups.
const ROLLUP: Span = Span::seconds(1800);
/// Spacing of the roll-ups of presence: coverage is looked at, not counted with.
const PRESENCE: Span = Span::seconds(7200);

/// Who evaluates the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Prometheus and what evaluates as it does: a rule reads what the rule before it has recorded.
    #[default]
    Prometheus,
    /// vmalert, which stores results after the whole group, so that what was just recorded is read an
    /// evaluation late; and MetricsQL has no native histograms.
    VictoriaMetrics,
}

/// An SLO with more groups than this fails, and says so, instead of filling Prometheus with some 25 series for each.
pub const MAX_GROUPS: u32 = 5000;

/// All rules of one SLO, for Prometheus.
pub fn render(model: &Model) -> RuleSet {
    render_for(model, Dialect::Prometheus)
}

/// All rules of one SLO.
pub fn render_for(model: &Model, dialect: Dialect) -> RuleSet {
    let cx = Context::new(model, dialect);
    let mut parts =
        [Part::new("base", cx.interval), Part::new("slow", SLOW_INTERVAL), Part::new("period", PERIOD_INTERVAL)];
    let [base, slow, period] = &mut parts;

    base.rules.extend(base::rules(&cx));
    slow.rules.extend(period::rollups(&cx));
    for window in cx.windows() {
        let rule = windows::rule(&cx, window);
        match cx.pace(window) {
            w if w <= HOUR => base.rules.push(rule),
            w if w <= SIX_HOURS => slow.rules.push(rule),
            _ => period.rules.push(rule),
        }
    }
    slow.rules.push(windows::burn_rate(&cx));
    period.rules.extend(period::rules(&cx));
    for tier in &model.tiers {
        let rule = alerts::burn(&cx, tier);
        match tier.long {
            w if w <= HOUR => base.rules.push(rule),
            w if w <= SIX_HOURS => slow.rules.push(rule),
            _ => period.rules.push(rule),
        }
    }
    base.rules.extend(alerts::anomaly(&cx));
    period.rules.extend(alerts::no_data(&cx));

    let groups = parts
        .into_iter()
        .filter(|part| !part.rules.is_empty())
        .map(|part| Group {
            // A namespace has no dots, so the parts of the name cannot be confused.
            name: format!("plimsoll.{}.{}.{}", model.id.namespace, model.id.name, part.name),
            interval: part.interval.to_string(),
            limit: (!model.group_by.is_empty()).then_some(MAX_GROUPS),
            rules: part.rules,
        })
        .collect();
    let mut rules = RuleSet { groups };
    revision::mark(&mut rules);
    rules
}

/// An expression of the bad events in a window of a tier, for each group, as the alert's floor counts them.
pub fn bad_events(model: &Model, window: Span) -> String {
    alerts::bad_events(&Context::new(model, Dialect::Prometheus), window)
}

struct Part {
    name: &'static str,
    interval: Span,
    rules: Vec<Rule>,
}

impl Part {
    fn new(name: &'static str, interval: Span) -> Self {
        Self { name, interval, rules: Vec::new() }
    }
}

/// What all expressions of one SLO share.
struct Context<'a> {
    model: &'a Model,
    dialect: Dialect,
    /// `slo_id="shop/checkout"`.
    id: String,
    /// The shortest window, when it is below the base range: then there are finer base series.
    fine: Option<Span>,
    /// Interval of the base group.
    interval: Span,
    /// A factor of 0 or 1 that is 0 in excluded time.
    keep: Option<String>,
}

impl<'a> Context<'a> {
    fn new(model: &'a Model, dialect: Dialect) -> Self {
        let shortest = model.tiers.iter().map(|t| t.short).min();
        // A composite has no raw series from which finer ones could be made.
        let composite = matches!(model.sli, Sli::Weighted(_) | Sli::WorstOf(_));
        let fine = shortest.filter(|w| *w < BASE_RANGE && !composite);
        let interval = match (&model.sli, fine) {
            (_, Some(fine)) => Span::seconds((fine.as_seconds() / 5).clamp(1, BASE_INTERVAL.as_seconds())),
            (Sli::TimeSlices { slice, .. }, None) => Span::seconds(slice.as_seconds().clamp(10, 60)),
            _ => BASE_INTERVAL,
        };
        let keep = (!model.exclusions.is_empty()).then(|| clock::keep(&model.exclusions));
        Self { model, dialect, id: id_matcher(&model.id.to_string()), fine, interval, keep }
    }

    fn composite(&self) -> bool {
        matches!(self.model.sli, Sli::Weighted(_) | Sli::WorstOf(_))
    }

    /// True when there is one value of everything, so that sums need no labels to find each other by.
    fn single(&self) -> bool {
        self.model.group_by.is_empty() && !self.composite()
    }

    /// Every window of the tiers, and an hour for the screens, in ascending order.
    fn windows(&self) -> Vec<Span> {
        let mut all: Vec<Span> = self.model.tiers.iter().flat_map(|t| [t.short, t.long]).chain([HOUR]).collect();
        all.sort_unstable();
        all.dedup();
        // The period's own window is rendered by `period`.
        if let crate::model::Period::Rolling(period) = self.model.period {
            all.retain(|w| *w != period);
        }
        all
    }

    /// The long window of the fastest tier that reads this window: recorded more often than that tier's alert is
    /// evaluated, nobody would see it. The hour is on the screens.
    fn pace(&self, window: Span) -> Span {
        let tiers = self.model.tiers.iter().filter(|tier| tier.long == window || tier.short == window);
        let fastest = tiers.map(|tier| tier.long).min().unwrap_or(window);
        if window == HOUR { HOUR } else { fastest }
    }

    /// `metric{slo_id="…"}`.
    fn series(&self, metric: &str) -> String {
        format!("{metric}{{{}}}", self.id)
    }

    /// `metric{slo_id="…",window="…"}`.
    fn windowed(&self, metric: &str, window: &str) -> String {
        format!("{metric}{{{},window=\"{window}\"}}", self.id)
    }

    /// `sum by (groups) (expr)`.
    fn sum(&self, expr: &str) -> String {
        self.aggregate("sum", expr)
    }

    fn aggregate(&self, op: &str, expr: &str) -> String {
        if self.model.group_by.is_empty() {
            format!("{op}({expr})")
        } else {
            format!("{op} by ({}) ({expr})", self.model.group_by.join(", "))
        }
    }

    /// The labels that tell this SLO's series apart: `slo_id, route`.
    fn identity(&self) -> String {
        std::iter::once(names::SLO_ID)
            .chain(self.model.group_by.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// A recording rule.
    fn record(&self, name: &str, expr: String) -> Rule {
        let labels = BTreeMap::from([(names::SLO_ID.to_owned(), self.model.id.to_string())]);
        Rule { record: Some(name.to_owned()), expr, labels, ..Rule::default() }
    }

    /// A recording rule with a window.
    fn record_window(&self, name: &str, window: &str, expr: String) -> Rule {
        let mut rule = self.record(name, expr);
        rule.labels.insert(names::WINDOW.to_owned(), window.to_owned());
        rule
    }
}

fn id_matcher(id: &str) -> String {
    format!("{}=\"{id}\"", names::SLO_ID)
}

/// `(a + b) or a or b`: a sum in which one side may be missing.
fn plus(a: &str, b: &str) -> String {
    format!("({a} + {b} or {a} or {b})")
}
