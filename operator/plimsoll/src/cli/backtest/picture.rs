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
        let title = format!("{}, objective {} %", report.model.id, report.model.objective.percent());
        let panels = [
            (&upper, title.as_str(), "budget left", &left, GREEN.mix(0.8)),
            (&lower, "", "burn rate over 1h", &burn, BLUE.mix(0.8)),
        ];
        for (area, caption, what, points, colour) in panels {
            let (low, high) = span(points.iter().map(|p| p.1).chain([0.0, 1.0]));
            let margin = (high - low) * 0.05;
            let mut chart = ChartBuilder::on(area)
                .caption(caption, ("sans-serif", 16))
                .margin(8)
                .x_label_area_size(32)
                .y_label_area_size(72)
                .build_cartesian_2d(axis.clone(), low - margin..high + margin)?;
            chart.configure_mesh().light_line_style(TRANSPARENT).y_desc(what).x_desc("time, UTC").draw()?;
            if let Some(own) = report.outcomes.first() {
                let shade = |severity: &str| if severity == "page" { RED.mix(0.3) } else { YELLOW.mix(0.4) };
                chart.draw_series(own.fired.iter().map(|fired| {
                    let from = (fired.episode.fired as f64 / 1000.0).max(begin);
                    let to = fired.episode.ended.map_or(end, |ended| ended as f64 / 1000.0).min(end);
                    Rectangle::new([(from, low - margin), (to, high + margin)], shade(&fired.severity).filled())
                }))?;
            }
            chart.draw_series(LineSeries::new(thin(points, (begin, end)), colour.stroke_width(2)))?;
        }
        root.present()?;
        Ok(())
    }
}
