//! From the model to the rules. Deterministic: same model, same bytes.
//!
//! `base` is the only part that reads raw series; everything after it sees two numbers, bad and
//! total events per second. `ARCHITECTURE.md` and `docs/rules.md` explain the expressions.

pub(crate) mod alerts;
pub(crate) mod base;
pub(crate) mod clock;
mod conditions;
pub(crate) mod period;
pub(crate) mod windows;

pub use alerts::{NO_DATA_FOR, whole};

use std::collections::BTreeMap;

use crate::{
    model::{Model, Period, Sli, Span},
    names, revision,
    rules::{Group, Rule, RuleSet},
};

/// Range of the base rates. Four scrapes a minute apart fit in, as `rate` wants.
pub const BASE_RANGE: Span = Span::seconds(300);
/// A rate needs two samples in its range, and targets are often scraped once a minute: below this it may have no value.
pub const TWO_SCRAPES: Span = Span::seconds(120);
/// How often the base rates, the alerts of tiers up to an hour and what they read are evaluated: five times in the
/// base range. Both rates at once, never one of them more often: bad events beside a total that is a minute older
/// would look like a burst of errors whenever traffic begins.
pub const BASE_INTERVAL: Span = Span::seconds(60);
/// The same where each rule reads what was recorded one evaluation before: an alert is two of them late.
const LATE_BASE_INTERVAL: Span = Span::seconds(30);
/// How often the alerts of tiers up to six hours and what only they read are evaluated.
const SLOW_INTERVAL: Span = Span::seconds(120);
/// How often the rest is evaluated, unless the period is that short; below Prometheus' lookback of 5 m, so that no
/// series blinks.
const PERIOD_INTERVAL: Span = Span::seconds(240);
/// Windows up to here are read sample by sample.
const HOUR: Span = Span::seconds(3600);
/// Windows up to here are read every minute.
const SIX_HOURS: Span = Span::seconds(6 * 3600);
/// Windows up to here are read every 5 m; longer ones from half-hourly roll-ups.
const FOUR_DAYS: Span = Span::seconds(4 * 86_400);
/// Spacing of roll-ups.
pub(crate) const ROLLUP: Span = Span::seconds(1800);
/// Spacing of the roll-ups of presence: coverage is looked at, not counted with.
pub(crate) const PRESENCE: Span = Span::seconds(7200);
/// How often the base series are read for the roll-ups, and for what has come since.
pub(crate) const ROLLUP_STEP: Span = Span::seconds(60);
/// How often it is looked whether there are base series.
pub(crate) const PRESENCE_STEP: Span = BASE_RANGE;

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
    let mut rules: BTreeMap<Part, Vec<Rule>> = BTreeMap::new();
    let mut add = |part: Part, more: Vec<Rule>| rules.entry(part).or_default().extend(more);
    add(Part::Base, base::rules(&cx));
    add(Part::Slow, period::rollups(&cx));
    for window in cx.windows() {
        add(cx.part_of(window), vec![windows::rule(&cx, window)]);
    }
    add(Part::Slow, vec![windows::burn_rate(&cx)]);
    add(Part::Period, period::rules(&cx));
    for tier in &model.tiers {
        add(Part::paced(tier.long), vec![alerts::burn(&cx, tier)]);
    }
    add(Part::Base, alerts::anomaly(&cx).into_iter().collect());
    add(Part::Period, alerts::no_data(&cx).into_iter().chain(alerts::blind(&cx)).collect());

    let groups = rules
        .into_iter()
        .filter(|(_, rules)| !rules.is_empty())
        .map(|(part, rules)| Group {
            name: group_name(&model.id.namespace, &model.id.name, part),
            interval: cx.interval_of(part).to_string(),
            limit: (!model.group_by.is_empty()).then(|| MAX_GROUPS * series_of_each(&cx, &rules)),
            rules,
        })
        .collect();
    let mut rules = RuleSet { groups };
    revision::mark(&mut rules);
    rules
}

/// A namespace has no dots, so the parts of the name cannot be confused.
fn group_name(namespace: &str, name: &str, part: Part) -> String {
    format!("plimsoll.{namespace}.{name}.{}", part.name())
}

/// The group of an SLO that every SLO has, and that is evaluated first and most often.
pub fn base_group(namespace: &str, name: &str) -> String {
    group_name(namespace, name, Part::Base)
}

/// The most series that one of these rules has of each group: Prometheus bounds what a rule yields, not groups.
fn series_of_each(cx: &Context<'_>, rules: &[Rule]) -> u32 {
    if !rules.iter().any(|rule| rule.record.as_deref() == Some(names::BURN_RATE)) {
        return 1;
    }
    // The windows, and the period.
    u32::try_from(cx.windows().len() + 1).unwrap_or(1)
}

/// An expression of the bad events in a window of a tier, as the alert's floor counts them: of each group the highest of
/// its values, taken for [`whole`] ones; and how often they are counted. Until the first time it has no value.
pub fn bad_events(model: &Model, window: Span) -> (String, Span) {
    let cx = Context::new(model, Dialect::Prometheus);
    (alerts::counted(&cx, window), alerts::count_interval(&cx, window))
}

/// The total and the bad events per second over the base range, read from the raw series alone: what the base
/// rules record before anything is said about missing data and excluded time. For time slices the second is 1 in
/// a bad slice and 0 in a good one, and the first 1 in both. `None` for a composite, which has no raw series.
pub fn raw(model: &Model) -> Option<Raw> {
    let cx = Context::new(model, Dialect::Prometheus);
    (!cx.composite()).then(|| Raw {
        base: base::raw(&cx, BASE_RANGE),
        fine: cx.fine.map(|range| base::raw(&cx, range)),
        step: cx.interval,
        targets: alerts::targets_up(&cx),
        targets_step: cx.interval_of(Part::Period),
    })
}

/// An expression that has a value where the base series say something of the service, looked up every `step`: in excluded time they
/// are 0, and such a sample is found for some minutes more. Nothing where no time is excluded, and they always do.
pub fn counting_time(model: &Model, step: Span) -> Option<String> {
    let keep = Context::new(model, Dialect::Prometheus).keep?;
    Some(format!("min_over_time(vector({keep})[{BASE_RANGE}:{step}]) > 0"))
}

/// For each label of `groupBy`, its place and name, an expression of the bad events that no group of the total by this label
/// has: they are counted by nobody. Those that lack the label are the series without it. Nothing where bad events are made
/// of the total.
pub fn apart(model: &Model) -> Vec<(String, String)> {
    if !matches!(model.sli, Sli::Events { bad: Some(_), total: Some(_), .. }) {
        return Vec::new();
    }
    let Some(Raw { base: (total, bad), .. }) = raw(model) else { return Vec::new() };
    let of = |label: &String| (label.clone(), format!("count by ({label}) ({bad}) unless on ({label}) ({total})"));
    model.group_by.iter().map(of).collect()
}

/// Expressions of what an SLO is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// Total and bad events per second over five minutes.
    pub base: (String, String),
    /// The same over the shortest window of an SLO that has windows below five minutes.
    pub fine: Option<(String, String)>,
    /// How often they are recorded.
    pub step: Span,
    /// A value where a target is known to be up, so that missing data alerts nobody.
    pub targets: Option<String>,
    /// How often that is asked.
    pub targets_step: Span,
}

/// A group of an SLO's rules, in the order in which they build on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The base series, and what belongs to tiers up to an hour.
    Base,
    /// Roll-ups, burn rates, and what belongs to tiers up to six hours.
    Slow,
    /// The period, and the rest.
    Period,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Part::Base => "base",
            Part::Slow => "slow",
            Part::Period => "period",
        }
    }

    /// Where the alert of a tier with this long window is evaluated.
    pub(crate) fn paced(long: Span) -> Self {
        match long {
            w if w <= HOUR => Part::Base,
            w if w <= SIX_HOURS => Part::Slow,
            _ => Part::Period,
        }
    }
}

/// What all expressions of one SLO share.
pub(crate) struct Context<'a> {
    pub(crate) model: &'a Model,
    dialect: Dialect,
    /// `slo_id="shop/checkout"`.
    id: String,
    /// The shortest window, when it is below the base range: then there are finer base series.
    pub(crate) fine: Option<Span>,
    /// Interval of the base group.
    pub(crate) interval: Span,
    /// A factor of 0 or 1 that is 0 in excluded time.
    keep: Option<String>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(model: &'a Model, dialect: Dialect) -> Self {
        let shortest = model.tiers.iter().map(|t| t.short).min();
        // A composite has no raw series from which finer ones could be made.
        let composite = matches!(model.sli, Sli::Weighted(_) | Sli::WorstOf(_));
        let fine = shortest.filter(|w| *w < BASE_RANGE && !composite);
        let usual = match dialect {
            Dialect::Prometheus => BASE_INTERVAL,
            Dialect::VictoriaMetrics => LATE_BASE_INTERVAL,
        };
        let interval = match (&model.sli, fine) {
            (_, Some(fine)) => Span::seconds((fine.as_seconds() / 5).clamp(1, usual.as_seconds())),
            (Sli::TimeSlices { slice, .. }, None) => Span::seconds(slice.as_seconds().clamp(10, 60)),
            _ => usual,
        };
        let keep = (!model.exclusions.is_empty()).then(|| clock::keep(&model.exclusions, clock::NOW));
        Self { model, dialect, id: id_matcher(&model.id.to_string()), fine, interval, keep }
    }

    /// Whether a window is read from the finer base series. Not one that a tier without such windows reads as well:
    /// where targets are scraped too seldom for the finer series, that tier works all the same.
    pub(crate) fn is_fine(&self, window: Span) -> bool {
        let mut tiers = self.model.tiers.iter().filter(|tier| tier.long == window || tier.short == window);
        self.fine.is_some() && window < HOUR && (window < BASE_RANGE || tiers.all(|tier| tier.short < BASE_RANGE))
    }

    pub(crate) fn composite(&self) -> bool {
        matches!(self.model.sli, Sli::Weighted(_) | Sli::WorstOf(_))
    }

    /// True when there is one value of everything, so that sums need no labels to find each other by.
    fn single(&self) -> bool {
        self.model.group_by.is_empty() && !self.composite()
    }

    /// Every window of the tiers, and an hour for the screens, in ascending order.
    pub(crate) fn windows(&self) -> Vec<Span> {
        let mut all: Vec<Span> = self.model.tiers.iter().flat_map(|t| [t.short, t.long]).chain([HOUR]).collect();
        all.sort_unstable();
        all.dedup();
        // The period's own window is rendered by `period`.
        if let Period::Rolling(period) = self.model.period {
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

    /// The group that records this window.
    pub(crate) fn part_of(&self, window: Span) -> Part {
        Part::paced(self.pace(window))
    }

    /// How often a group is evaluated.
    pub(crate) fn interval_of(&self, part: Part) -> Span {
        match part {
            Part::Base => self.interval,
            Part::Slow => SLOW_INTERVAL,
            // A tier may have the whole of a short period as its window.
            Part::Period => match self.model.period {
                Period::Rolling(period) if period <= HOUR => self.interval.max(BASE_INTERVAL),
                Period::Rolling(period) if period <= SIX_HOURS => SLOW_INTERVAL,
                _ => PERIOD_INTERVAL,
            },
        }
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

    /// What was recorded over time, by the groups of today: before `groupBy` was changed there were others. The parts of a
    /// composite have groups of their own, and are summed whatever these are.
    fn regrouped(&self, expr: String) -> String {
        if self.composite() { expr } else { self.sum(&expr) }
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
