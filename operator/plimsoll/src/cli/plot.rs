//! A drawing of a series with its score and alerts.

use plimsoll_anomaly::{Sample, Verdict};
use plotters::prelude::*;

/// Width and height of the drawing, and the columns that hold values, in pixels.
const SIZE: (u32, u32) = (1600, 600);
const COLUMNS: usize = 1500;

/// What is drawn.
#[derive(Debug, Default)]
pub struct Plot {
    samples: Vec<(f64, f64)>,
    scores: Vec<(f64, f64)>,
    alerts: Vec<(f64, f64)>,
}

impl Plot {
    /// Takes the next row.
    pub fn add(&mut self, sample: Sample, verdict: Verdict) {
        if sample.value.is_finite() {
            self.samples.push((sample.time, sample.value));
        }
        self.scores.push((sample.time, verdict.score));
        if verdict.alert {
            self.alerts.push((sample.time, sample.value));
        }
    }

    /// The drawing.
    pub fn svg(&self, title: &str) -> String {
        let mut text = String::new();
        // Nothing but the text can fail to take what is drawn, and it does not.
        if self.draw(&mut text, title).is_err() {
            text.clear();
        }
        text
    }

    fn draw(&self, text: &mut String, title: &str) -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let (upper, lower) = root.split_vertically(SIZE.1 * 3 / 4);
        let (begin, end) = span(self.scores.iter().map(|p| p.0));
        let (low, high) = span(self.samples.iter().map(|p| p.1));
        let margin = (high - low) * 0.05;
        let label = |t: &f64| clock(*t, end - begin);
        let mut chart = ChartBuilder::on(&upper)
            .caption(title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(72)
            .build_cartesian_2d(begin..end, low - margin..high + margin)?;
        chart.configure_mesh().light_line_style(TRANSPARENT).x_label_formatter(&label).draw()?;
        chart.draw_series(LineSeries::new(thin(&self.samples, (begin, end)), BLACK.stroke_width(1)))?;
        chart.draw_series(self.alerts.iter().map(|(t, _)| {
            PathElement::new(vec![(*t, low - margin), (*t, high + margin)], RED.mix(0.35).stroke_width(1))
        }))?;
        chart.draw_series(self.alerts.iter().map(|at| Circle::new(*at, 4, RED.filled())))?;
        let mut chart = ChartBuilder::on(&lower)
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(72)
            .build_cartesian_2d(begin..end, 0.0..1.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).y_desc("score").y_labels(3).x_label_formatter(&label).draw()?;
        chart.draw_series(LineSeries::new(thin(&self.scores, (begin, end)), BLUE.stroke_width(1)))?;
        root.present()?;
        Ok(())
    }
}

/// The least and the greatest, apart from each other.
fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if low < high {
        return (low, high);
    }
    if low.is_finite() { (low - 0.5, low + 0.5) } else { (0.0, 1.0) }
}

/// The lowest and the highest point of each column of pixels, so that the drawing shows every spike of any length of series.
fn thin(points: &[(f64, f64)], (begin, end): (f64, f64)) -> Vec<(f64, f64)> {
    if points.len() <= 2 * COLUMNS {
        return points.to_vec();
    }
    let column = |t: f64| ((t - begin) / (end - begin) * COLUMNS as f64) as usize;
    let mut thinned = Vec::with_capacity(2 * COLUMNS);
    for group in points.chunk_by(|a, b| column(a.0) == column(b.0)) {
        let low = group.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let high = group.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut pair: Vec<(f64, f64)> = low.into_iter().chain(high).copied().collect();
        pair.sort_by(|a, b| a.0.total_cmp(&b.0));
        thinned.extend(pair);
    }
    thinned
}

/// A time on the axis: with its hour when the axis is short.
fn clock(seconds: f64, width: f64) -> String {
    let format = if width > 10.0 * 86_400.0 { "%Y-%m-%d" } else { "%m-%d %H:%M" };
    jiff::Timestamp::from_second(seconds as i64).map_or_else(|_| String::new(), |at| at.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_every_spike() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|i| (f64::from(i), 0.0)).collect();
        points[54_321].1 = 9.0;
        points[76_543].1 = -9.0;
        let thinned = thin(&points, (0.0, 99_999.0));
        assert!(thinned.len() <= 2 * COLUMNS + 2);
        assert!(thinned.contains(&(54_321.0, 9.0)) && thinned.contains(&(76_543.0, -9.0)));
        assert!(thinned.is_sorted_by(|a, b| a.0 <= b.0));
    }

    #[test]
    fn any_series_can_be_drawn() {
        for values in [vec![], vec![1.0], vec![f64::NAN, f64::NAN], vec![2.0, 2.0], vec![-1e300, 1e300]] {
            let mut plot = Plot::default();
            for (t, value) in (0u32..).zip(values) {
                plot.add(
                    Sample { time: f64::from(t), value },
                    Verdict { score: 0.5, alert: value.is_finite(), ..Verdict::default() },
                );
            }
            let text = plot.svg("title <&>");
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
        }
    }
}
