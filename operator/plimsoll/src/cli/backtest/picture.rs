//! Budget, burn rate and alerts, drawn.

use plimsoll_slo::{evaluate::Engine, names};
use plotters::{coord::Shift, prelude::*};
use rust_decimal::prelude::ToPrimitive;

use super::{
    super::plot::{Drawing, TimeAxis, span, thin},
    Report,
};

/// Width and height of the drawing, in pixels.
const SIZE: (u32, u32) = (1600, 700);

/// What is drawn of one SLO.
pub(super) struct Picture<'a> {
    pub report: &'a Report,
    pub engine: &'a Engine,
}

/// The worst group's values of a series, by seconds since 1970.
fn worst(picture: &Picture<'_>, name: &str, window: Option<&str>, fold: fn(f64, f64) -> f64) -> Vec<(f64, f64)> {
    let Picture { report, engine } = picture;
    let (from, to) = report.period.millis();
    let found = engine.select(name, &report.model.id.to_string());
    let of = |labels: &plimsoll_slo::evaluate::Labels| labels.get(names::WINDOW).map(String::as_str) == window;
    let mut points: std::collections::BTreeMap<i64, f64> = std::collections::BTreeMap::new();
    for found in found.iter().filter(|found| of(&found.labels)) {
        for (t, value) in found.series.samples(from, to) {
            points.entry(t).and_modify(|known| *known = fold(*known, value)).or_insert(value);
        }
    }
    points.into_iter().map(|(t, value)| (t as f64 / 1000.0, value)).collect()
}

impl Drawing for Picture<'_> {
    const SIZE: (u32, u32) = SIZE;

    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn std::error::Error>>
    where
        B::ErrorType: 'static,
    {
        let report = self.report;
        let (begin, end) = (report.period.from as f64, report.period.to as f64);
        let budget = report.model.objective.budget().to_f64().unwrap_or(f64::NAN);
        let left = worst(self, names::BUDGET_REMAINING, None, f64::min);
        let burn: Vec<(f64, f64)> =
            worst(self, names::ERROR_RATIO, Some("1h"), f64::max).into_iter().map(|(t, v)| (t, v / budget)).collect();
        root.fill(&WHITE)?;
        let (upper, lower) = root.split_vertically(SIZE.1 / 2);
        let axis = TimeAxis::new(begin, end);
        let title = format!(
            "{}, objective {} % – while a page fires it is red, while a ticket fires it is yellow",
            report.model.id,
            report.model.objective.percent()
        );
        let limits: Vec<f64> = report.model.tiers.iter().filter_map(|tier| tier.burn_rate.to_f64()).collect();
        // A threshold that is far above all that was would make that flat.
        let highest = burn.iter().map(|point| point.1).fold(1.0, f64::max);
        let limits: Vec<f64> = limits.into_iter().filter(|limit| *limit <= 2.0 * highest).collect();
        let share: fn(&f64) -> String = |share| format!("{:.0}", share * 100.0);
        let rate: fn(&f64) -> String = |rate| format!("{rate:.1}");
        let none: &[f64] = &[];
        let panels = [
            (&upper, title.as_str(), "budget left, %", &left, GREEN.mix(0.8), (share, none)),
            (
                &lower,
                "dashed: burn rates of the tiers",
                "burn rate over 1h",
                &burn,
                BLUE.mix(0.8),
                (rate, limits.as_slice()),
            ),
        ];
        for (area, caption, what, points, colour, (number, limits)) in panels {
            let (low, high) = span(points.iter().map(|p| p.1).chain([0.0, 1.0]).chain(limits.iter().copied()));
            let margin = (high - low) * 0.05;
            let mut chart = ChartBuilder::on(area)
                .caption(caption, ("sans-serif", 16))
                .margin(8)
                .x_label_area_size(32)
                .y_label_area_size(72)
                .build_cartesian_2d(axis.clone(), low - margin..high + margin)?;
            chart
                .configure_mesh()
                .light_line_style(TRANSPARENT)
                .y_desc(what)
                .y_label_formatter(&number)
                .x_desc("time, UTC")
                .draw()?;
            if let Some(own) = report.outcomes.first() {
                let shade = |severity: &str| if severity == "page" { RED.mix(0.3) } else { YELLOW.mix(0.4) };
                chart.draw_series(own.fired.iter().map(|fired| {
                    let from = (fired.episode.fired as f64 / 1000.0).max(begin);
                    let to = fired.episode.ended.map_or(end, |ended| ended as f64 / 1000.0).min(end);
                    Rectangle::new([(from, low - margin), (to, high + margin)], shade(&fired.severity).filled())
                }))?;
            }
            for limit in limits {
                let line = [(begin, *limit), (end, *limit)];
                chart.draw_series(DashedLineSeries::new(line, 6, 5, BLACK.mix(0.5).stroke_width(1)))?;
            }
            chart.draw_series(LineSeries::new(thin(points, (begin, end)), colour.stroke_width(2)))?;
        }
        root.present()?;
        Ok(())
    }
}
