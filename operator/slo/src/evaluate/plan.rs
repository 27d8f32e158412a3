//! What an SLO's rules are, decided by `render`, in numbers.

use plimsoll_api::slo::NoData;
use rust_decimal::Decimal;

use super::{Labels, millis};
use crate::{
    model::{Model, Period, Sli, Span, Tier},
    names,
    render::{
        Context, Dialect, Part, alerts, base, clock, period,
        windows::{self, Reading, Way},
    },
    rules::Rule,
};

/// A decimal as PromQL reads it.
pub(super) fn number(decimal: Decimal) -> f64 {
    decimal.to_string().parse().unwrap_or(f64::NAN)
}

/// A window, and where it is recorded.
pub(super) struct Window {
    pub(super) label: String,
    pub(super) part: Part,
    pub(super) read: Read,
}

/// Where a window's events are found.
#[derive(Clone, Copy)]
pub(super) enum Read {
    /// In the base series or their roll-ups.
    Base(Found),
    /// In the base samples of the period, every so many milliseconds.
    Samples(i64),
    /// In the period's roll-ups and the base series since.
    Rollups,
}

/// A [`Reading`] in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) fine: bool,
    pub(super) how: How,
}

/// A [`Way`] in milliseconds.
#[derive(Clone, Copy)]
pub(super) enum How {
    Newest,
    Samples(i64, f64),
    Steps(i64, i64, f64),
    Rollups(i64),
}

/// The period's length.
pub(super) enum Length {
    Rolling(i64),
    /// At most so long, from the calendar unit's start.
    Calendar(i64),
}

/// How the share of the period with samples is told.
pub(super) enum Share {
    Looks(i64, i64, f64),
    Rollups(f64),
    Since,
}

/// A tier, its windows by their places.
pub(super) struct Burn {
    pub(super) part: Part,
    pub(super) long: usize,
    pub(super) short: usize,
    pub(super) threshold: f64,
    pub(super) floor: Option<Floor>,
    pub(super) tier: Tier,
    pub(super) rule: Rule,
}

/// At least so many bad events.
pub(super) struct Floor {
    pub(super) least: f64,
    /// The range of the rates by which they are counted: of so long the newest one knows all.
    pub(super) at_once: i64,
    pub(super) found: Found,
}

/// Everything that does not change while an SLO is evaluated.
pub(super) struct Plan {
    pub(super) id: String,
    /// Evaluation intervals as rendered: base, slow, period.
    pub(super) intervals: [i64; 3],
    pub(super) windows: Vec<Window>,
    pub(super) budget: f64,
    pub(super) objective: f64,
    pub(super) length: Length,
    pub(super) share: Share,
    pub(super) records_sums: bool,
    /// The range of the finer base series.
    pub(super) fine: Option<i64>,
    /// How many slices are expected in the base range, and in the finer one.
    pub(super) slices: Option<(f64, f64)>,
    pub(super) tiers: Vec<Burn>,
    /// The alert of missing data, and of each part that is not loaded.
    pub(super) no_data: Option<Rule>,
    /// The alert of data that were lost while targets are up, where it is one of its own.
    pub(super) blind: Option<Rule>,
    /// How far back lost data are looked for, where they are told of.
    pub(super) remembers: Option<i64>,
    pub(super) missing_is_bad: bool,
    /// How far back it is looked for how busy missing time is; and how often, where that is not every sample.
    pub(super) usual: (i64, Option<i64>),
    /// How many evaluations in the base range tell that missing data are the indicator's own.
    pub(super) awake_for: usize,
    pub(super) info: Labels,
}

impl Plan {
    pub(super) fn new(model: &Model) -> Self {
        let cx = Context::new(model, Dialect::Prometheus);
        let mut windows: Vec<Window> = cx
            .windows()
            .into_iter()
            .map(|window| Window {
                label: window.to_string(),
                part: cx.part_of(window),
                read: Read::Base(found(windows::reading(&cx, window))),
            })
            .collect();
        let read = match period::source(&cx) {
            period::Source::Window(span) => Read::Base(found(windows::reading(&cx, span))),
            period::Source::Samples => Read::Samples(millis(crate::render::BASE_RANGE)),
            period::Source::Rollups => Read::Rollups,
        };
        windows.push(Window { label: period::window(&cx), part: Part::Period, read });
        let tiers = model.tiers.iter().filter_map(|tier| burn(&cx, &windows, tier)).collect();
        let info = period::info(&cx, &period::window(&cx));
        let count = |n: u64| n as f64;
        let (range, step) = base::remembers(&cx);
        let slices = matches!(model.sli, Sli::TimeSlices { .. }).then(|| {
            let expected = |range: Span| count(base::slices_in(&cx, range));
            (expected(crate::render::BASE_RANGE), cx.fine.map_or(0.0, expected))
        });
        Self {
            id: model.id.to_string(),
            intervals: [Part::Base, Part::Slow, Part::Period].map(|part| millis(cx.interval_of(part))),
            budget: number(model.objective.budget()),
            objective: number(model.objective.ratio()),
            length: match &model.period {
                Period::Rolling(span) => Length::Rolling(millis(*span)),
                Period::Calendar { unit, .. } => Length::Calendar(millis(clock::longest(*unit))),
            },
            share: match period::share(&cx) {
                period::Share::Looks(span, step, expected) => Share::Looks(millis(span), millis(step), count(expected)),
                period::Share::Rollups(expected) => Share::Rollups(count(expected)),
                period::Share::Since => Share::Since,
            },
            records_sums: period::records_sums(&cx),
            fine: cx.fine.map(millis),
            slices,
            tiers,
            no_data: alerts::no_data(&cx),
            blind: alerts::blind(&cx),
            remembers: alerts::remembers(&cx).map(millis),
            missing_is_bad: model.no_data == NoData::Bad,
            usual: (millis(range), step.map(millis)),
            awake_for: usize::try_from(base::awake_for(&cx)).unwrap_or(usize::MAX),
            info: info.labels,
            windows,
        }
    }
}

fn found(Reading { fine, way }: Reading) -> Found {
    let how = match way {
        Way::Newest => How::Newest,
        Way::Samples(rest, weight) => How::Samples(millis(rest), number(weight)),
        Way::Steps(rest, step, weight) => How::Steps(millis(rest), millis(step), number(weight)),
        Way::Rollups(window) => How::Rollups(millis(window)),
    };
    Found { fine, how }
}

fn burn(cx: &Context<'_>, windows: &[Window], tier: &Tier) -> Option<Burn> {
    let place = |window: Span| windows.iter().position(|w| w.label == window.to_string());
    let floor = (cx.model.minimum_bad_events > 0).then(|| Floor {
        least: number(alerts::least(cx)),
        at_once: millis(alerts::at_once(cx, tier.long)),
        found: found(alerts::counting(cx, tier.long)),
    });
    let mut rule = alerts::burn(cx, tier);
    // Words are for people who are told; no value hangs on them.
    rule.annotations.clear();
    debug_assert_eq!(rule.labels.get(names::TIER), Some(&tier.name));
    Some(Burn {
        part: Part::paced(tier.long),
        long: place(tier.long)?,
        short: place(tier.short)?,
        threshold: number(alerts::threshold(cx, tier)),
        floor,
        tier: tier.clone(),
        rule,
    })
}
