//! A drawing of a series with the band in which each value was expected, its score and its alerts.

use std::{ops::Range, path::Path, sync::Once};

use plimsoll_anomaly::{
    Sample, Verdict,
    forecast::{Forecaster, Row, Settings},
};
use plotters::{
    coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
    coord::{Shift, types::RangedCoordf64},
    prelude::*,
    style::{FontStyle, register_font},
};

use super::out::{self, Stop};

/// Width and height of the drawing, and the columns that hold values, in pixels.
const SIZE: (u32, u32) = (1600, 600);
const COLUMNS: usize = 1500;
/// The greatest value that is drawn as it is: the span of all must be a number, or the axis has marks without end.
const GREATEST: f64 = 1e300;

/// What a drawing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text, of which a browser makes lines of any size.
    Svg,
    /// Pixels.
    Png,
}

impl Format {
    /// By the end of the name.
    pub fn of(path: &Path) -> Option<Self> {
        let is = |end: &str| path.extension().is_some_and(|own| own.eq_ignore_ascii_case(end));
        [(Self::Svg, "svg"), (Self::Png, "png")].into_iter().find(|(_, end)| is(end)).map(|(format, _)| format)
    }
}

/// What is drawn.
#[derive(Debug)]
pub struct Plot {
    title: String,
    samples: Vec<(f64, f64)>,
    scores: Vec<(f64, f64)>,
    alerts: Vec<(f64, f64)>,
    /// Time, beginning and end of the band promised for it; a row for which none was promised breaks it.
    band: Vec<Option<(f64, f64, f64)>>,
    forecaster: Forecaster,
    promised: Option<(f64, f64)>,
}

/// Steps of training for each row: enough for a drawing, at a tenth of a second for a day of seconds.
const REPLAY: f32 = 1.0;

impl Plot {
    /// An empty one.
    pub fn new(title: &str) -> Self {
        let mut forecaster = Forecaster::new(Settings { replay: REPLAY, ..Settings::default() });
        forecaster.add();
        let (samples, scores, alerts, band) = Default::default();
        Self { title: title.to_owned(), samples, scores, alerts, band, forecaster, promised: None }
    }

    /// Takes the next row.
    pub fn add(&mut self, sample: Sample, verdict: Verdict) {
        let drawn = Sample { value: sample.value.clamp(-GREATEST, GREATEST), ..sample };
        if sample.value.is_finite() {
            self.samples.push((drawn.time, drawn.value));
            self.expect(drawn);
        }
        self.scores.push((sample.time, verdict.score));
        if verdict.alert {
            self.alerts.push((drawn.time, drawn.value));
        }
    }

    fn expect(&mut self, Sample { time, value }: Sample) {
        let mut outlooks = Vec::new();
        self.forecaster.observe(&[Row { series: 0, time, value }], &mut outlooks);
        self.forecaster.learn();
        let Some(outlook) = outlooks.first() else { return };
        // After a gap nothing was promised for this very time.
        let promised = self.promised.filter(|_| outlook.surprise.is_finite());
        self.band.push(promised.map(|(low, high)| (time, low, high)));
        let [low, .., high] = outlook.next;
        self.promised = Some((low, high));
    }
}

/// Something that is drawn.
pub(in crate::cli) trait Drawing {
    /// Width and height, in pixels.
    const SIZE: (u32, u32);

    /// Draws it.
    ///
    /// # Errors
    /// When it cannot be drawn, which is a fault of ours.
    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn std::error::Error>>
    where
        B::ErrorType: 'static;
}

/// A drawing as a file.
///
/// # Errors
/// When it cannot be drawn, which is a fault of ours.
fn bytes<D: Drawing>(drawing: &D, format: Format) -> anyhow::Result<Vec<u8>> {
    static FONT: Once = Once::new();
    // A second one of the name would be an error, and says nothing.
    FONT.call_once(|| _ = register_font("sans-serif", FontStyle::Normal, epaint_default_fonts::UBUNTU_LIGHT));
    let failed = |error: Box<dyn std::error::Error>| anyhow::anyhow!("{error}");
    match format {
        Format::Svg => {
            let mut text = String::new();
            drawing.draw(&SVGBackend::with_string(&mut text, D::SIZE).into_drawing_area()).map_err(failed)?;
            Ok(text.into_bytes())
        }
        Format::Png => {
            let (width, height) = D::SIZE;
            let mut pixels = vec![0; (width * height * 3) as usize];
            let area = BitMapBackend::with_buffer(&mut pixels, D::SIZE).into_drawing_area();
            drawing.draw(&area).map_err(failed)?;
            drop(area);
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, width, height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&pixels)?;
            writer.finish()?;
            Ok(bytes)
        }
    }
}

/// Writes a drawing into a file, in the form that its name says.
///
/// # Errors
/// When it cannot be written.
pub(in crate::cli) fn save(drawing: &impl Drawing, path: &Path) -> Result<(), Stop> {
    let drawn = bytes(drawing, Format::of(path).unwrap_or(Format::Svg));
    let drawn = drawn.map_err(|error| Stop::Failed(error.to_string(), "please report it".to_owned()))?;
    out::replace(path, out::Readers::Umask, &mut |writer| writer.write_all(&drawn).map_err(Into::into))
}

impl Drawing for Plot {
    const SIZE: (u32, u32) = SIZE;

    fn draw<B: DrawingBackend>(&self, root: &DrawingArea<B, Shift>) -> Result<(), Box<dyn std::error::Error>>
    where
        B::ErrorType: 'static,
    {
        root.fill(&WHITE)?;
        let (upper, lower) = root.split_vertically(SIZE.1 * 3 / 4);
        let (begin, end) = span(self.scores.iter().map(|p| p.0));
        let (low, high) = span(self.samples.iter().map(|p| p.1));
        let margin = (high - low) * 0.05;
        let axis = TimeAxis::new(begin, end);
        let mut chart = ChartBuilder::on(&upper)
            .caption(&self.title, ("sans-serif", 16))
            .margin(8)
            .x_label_area_size(24)
            .y_label_area_size(72)
            .build_cartesian_2d(axis.clone(), low - margin..high + margin)?;
        chart.configure_mesh().light_line_style(TRANSPARENT).draw()?;
        let inside = |value: f64| value.clamp(low - margin, high + margin);
        let areas = areas(&self.band, (begin, end)).into_iter().map(|area| {
            let below = area.iter().map(|(t, low, _)| (*t, inside(*low)));
            let above = area.iter().rev().map(|(t, _, high)| (*t, inside(*high)));
            Polygon::new(below.chain(above).collect::<Vec<_>>(), BLUE.mix(0.18).filled())
        });
        chart.draw_series(areas)?;
        chart.draw_series(LineSeries::new(thin(&self.samples, (begin, end)), BLACK.stroke_width(1)))?;
        chart.draw_series(self.alerts.iter().map(|(t, _)| {
            PathElement::new(vec![(*t, low - margin), (*t, high + margin)], RED.mix(0.35).stroke_width(1))
        }))?;
        chart.draw_series(self.alerts.iter().map(|at| Circle::new(*at, 4, RED.filled())))?;
        let mut chart = ChartBuilder::on(&lower)
            .margin(8)
            .x_label_area_size(40)
            .y_label_area_size(72)
            .build_cartesian_2d(axis, 0.0..1.0)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT).y_desc("score").y_labels(3).x_desc("time, UTC").draw()?;
        chart.draw_series(LineSeries::new(thin(&self.scores, (begin, end)), BLUE.stroke_width(1)))?;
        root.present()?;
        Ok(())
    }
}

/// The least and the greatest, apart from each other.
pub(in crate::cli) fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if low < high {
        return (low, high);
    }
    if low.is_finite() { (low - 0.5, low + 0.5) } else { (0.0, 1.0) }
}

/// The lowest and the highest point of each column of pixels, so that the drawing shows every spike of any length of series.
pub(in crate::cli) fn thin(points: &[(f64, f64)], (begin, end): (f64, f64)) -> Vec<(f64, f64)> {
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

/// The band in pieces without a gap, as wide as it is anywhere within each column of pixels.
fn areas(band: &[Option<(f64, f64, f64)>], (begin, end): (f64, f64)) -> Vec<Vec<(f64, f64, f64)>> {
    let column = |t: f64| ((t - begin) / (end - begin) * COLUMNS as f64) as usize;
    let pieces = band.split(Option::is_none).map(|piece| {
        let piece: Vec<_> = piece.iter().flatten().copied().collect();
        if piece.len() <= COLUMNS {
            return piece;
        }
        let groups = piece.chunk_by(|a, b| column(a.0) == column(b.0));
        let widest = groups
            .filter_map(|group| group.iter().copied().reduce(|(t, low, high), (_, l, h)| (t, low.min(l), high.max(h))));
        widest.collect()
    });
    pieces.filter(|piece| piece.len() > 1).collect()
}

/// Marks that the time axis has at most.
const TICKS: f64 = 10.0;
const DAY: f64 = 86_400.0;
/// Steps between them, in seconds.
const STEPS: [f64; 22] = [
    1.0,
    2.0,
    5.0,
    10.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    600.0,
    900.0,
    1800.0,
    3600.0,
    7200.0,
    3.0 * 3600.0,
    6.0 * 3600.0,
    12.0 * 3600.0,
    DAY,
    2.0 * DAY,
    4.0 * DAY,
    WEEK,
    2.0 * WEEK,
];
const WEEK: f64 = 7.0 * DAY;
/// Longer steps, in months.
const MONTHS: [i32; 9] = [1, 2, 3, 6, 12, 24, 60, 120, 1200];

/// A time axis whose marks are at times that a person would choose.
#[derive(Clone)]
pub(in crate::cli) struct TimeAxis {
    inner: RangedCoordf64,
    times: Vec<f64>,
    format: &'static str,
}

impl Ranged for TimeAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.inner.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.times.clone()
    }

    fn range(&self) -> Range<f64> {
        self.inner.range()
    }
}

impl ValueFormatter<f64> for TimeAxis {
    fn format_ext(&self, seconds: &f64) -> String {
        jiff::Timestamp::from_second(*seconds as i64)
            .map_or_else(|_| String::new(), |at| at.strftime(self.format).to_string())
    }
}

impl TimeAxis {
    pub(in crate::cli) fn new(begin: f64, end: f64) -> Self {
        let (times, format) = match STEPS.into_iter().find(|step| (end - begin) / step <= TICKS) {
            Some(step) => Self::even(begin, end, step),
            None => Self::months(begin, end),
        };
        Self { inner: (begin..end).into(), times, format }
    }

    fn even(begin: f64, end: f64, step: f64) -> (Vec<f64>, &'static str) {
        // Weeks begin on Mondays, as the fifth day of 1970 was one.
        let origin = if step % WEEK == 0.0 { 4.0 * DAY } else { 0.0 };
        let first = ((begin - origin) / step).ceil() * step + origin;
        let times = (0u32..).map(|i| first + f64::from(i) * step).take_while(|time| *time <= end).collect();
        let format = match step {
            step if step < 60.0 => "%H:%M:%S",
            // In pixels, a space between digits is none.
            step if step < DAY => "%m-%d, %H:%M",
            _ => "%Y-%m-%d",
        };
        (times, format)
    }

    fn months(begin: f64, end: f64) -> (Vec<f64>, &'static str) {
        let width = (end - begin) / (DAY * 365.25 / 12.0);
        let step = MONTHS.into_iter().find(|step| width / f64::from(*step) <= TICKS).unwrap_or(12_000);
        let at = |month: i32| {
            let year = i16::try_from(month.div_euclid(12)).ok()?;
            let date = jiff::civil::Date::new(year, i8::try_from(month.rem_euclid(12)).ok()? + 1, 1).ok()?;
            Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second() as f64)
        };
        // The month before the first sample's, and then each that is a multiple of the step.
        let year = jiff::Timestamp::from_second(begin as i64)
            .map_or(1970, |at| i32::from(at.to_zoned(jiff::tz::TimeZone::UTC).year()));
        let first = (year * 12).div_euclid(step) * step;
        let times = (0i32..)
            .map_while(|i| at(first + i * step))
            .skip_while(|time| *time < begin)
            .take_while(|time| *time <= end)
            .collect();
        (times, if step < 12 { "%Y-%m" } else { "%Y" })
    }
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
    fn the_axis_has_round_times() {
        for (begin, end, first, second, last) in [
            ("2026-03-01T10:00:03Z", "2026-03-01T10:00:58Z", "10:00:10", "10:00:20", "10:00:50"),
            ("2026-03-01T10:07:00Z", "2026-03-01T11:55:00Z", "03-01, 10:15", "03-01, 10:30", "03-01, 11:45"),
            ("2026-02-27T10:07:00Z", "2026-03-01T17:55:00Z", "02-27, 12:00", "02-27, 18:00", "03-01, 12:00"),
            ("2026-02-20T10:07:00Z", "2026-03-01T17:55:00Z", "2026-02-21", "2026-02-22", "2026-03-01"),
            ("2026-01-01T00:00:00Z", "2026-03-01T17:55:00Z", "2026-01-05", "2026-01-12", "2026-02-23"),
            ("2025-12-15T00:00:00Z", "2026-09-30T17:55:00Z", "2026-01", "2026-02", "2026-09"),
            ("1990-06-01T00:00:00Z", "2026-09-30T17:55:00Z", "1995", "2000", "2025"),
        ] {
            let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second() as f64;
            let axis = TimeAxis::new(time(begin), time(end));
            let shown: Vec<String> = axis.times.iter().map(|at| axis.format_ext(at)).collect();
            assert_eq!((shown[0].as_str(), shown[1].as_str()), (first, second), "{begin} {end}: {shown:?}");
            assert_eq!(shown.last().map(String::as_str), Some(last), "{begin} {end}: {shown:?}");
            assert!(shown.len() <= 11, "{shown:?}");
        }
    }

    #[test]
    fn any_series_can_be_drawn() {
        for values in [
            vec![],
            vec![1.0],
            vec![f64::NAN, f64::NAN],
            vec![2.0, 2.0],
            vec![-1e300, 1e300],
            vec![1e308, -1e308],
            vec![f64::MAX, 0.0],
            vec![f64::INFINITY, -f64::MAX],
        ] {
            let mut plot = Plot::new("title <&>");
            for (t, value) in (0u32..).zip(values) {
                plot.add(
                    Sample { time: f64::from(t), value },
                    Verdict { score: 0.5, alert: value.is_finite(), ..Verdict::default() },
                );
            }
            let text = String::from_utf8(bytes(&plot, Format::Svg).unwrap()).unwrap();
            assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
            let pixels = bytes(&plot, Format::Png).unwrap();
            let read = png::Decoder::new(std::io::Cursor::new(pixels)).read_info().unwrap();
            assert_eq!(read.info().size(), SIZE);
        }
    }

    #[test]
    fn the_band_is_where_values_were_expected() {
        let mut plot = Plot::new("title <&>");
        for i in 0..600u32 {
            let (time, value) = (f64::from(i) * 60.0, 10.0 + f64::from(i % 10) / 10.0);
            // Ten minutes are missing.
            if !(300..310).contains(&i) {
                plot.add(Sample { time, value }, Verdict::default());
            }
        }
        let known: Vec<_> = plot.band.iter().flatten().filter(|(t, ..)| *t > 6000.0).collect();
        let within = known.iter().filter(|(_, low, high)| *low <= 10.9 && *high >= 10.0 && high - low < 5.0).count();
        assert!(within * 10 > known.len() * 9, "{within} of {}", known.len());
        let areas = areas(&plot.band, (0.0, 36_000.0));
        assert_eq!(areas.len(), 2, "broken by the gap");
        assert!(areas[1].iter().all(|(t, ..)| *t > 310.0 * 60.0));
    }
}
