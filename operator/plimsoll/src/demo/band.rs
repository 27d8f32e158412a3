//! The anomaly scorer over one series.

use plimsoll_anomaly::{
    Sample, Verdict, Watch,
    alerting::{Alerting, Policy, Side},
    forecast::{Row, Settings},
};
use plimsoll_slo::{
    alerts::{ANOMALY_ACCEPTED, ANOMALY_KEEP_FIRING},
    evaluate::Series,
    names,
};

/// Seconds between rows.
const STEP: i64 = 60;
/// How much of the past the scorer learns from, in seconds.
const PAST: i64 = 5 * 86_400;

/// As an alert of medium sensitivity about either side has it.
const POLICY: Policy =
    Policy { side: Side::Both, score: None, least: 0.0, accept: ANOMALY_ACCEPTED.as_seconds() as f64 };

/// What the scorer said of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Seconds since 1970.
    pub time: i64,
    /// The value.
    pub value: f64,
    /// How unusual it is, from 0 to 1.
    pub score: f64,
    /// What was expected, as it was known a row before: the middle, and where the band of 90 % begins and ends.
    pub band: Option<[f64; 3]>,
    /// Whether an alert stays: the series is not where it was.
    pub alert: bool,
}

/// A series, and what the scorer says of it.
#[derive(Debug)]
pub struct Band {
    watch: Watch,
    alerting: Alerting,
    expected: Option<[f64; 3]>,
    /// One row each minute.
    pub rows: Vec<Scored>,
    verdicts: Vec<Verdict>,
}

impl Default for Band {
    fn default() -> Self {
        let mut watch = Watch::new(Settings::default());
        watch.add();
        Self { watch, alerting: Alerting::default(), expected: None, rows: Vec::new(), verdicts: Vec::new() }
    }
}

impl Band {
    /// Reads on until `now`, in seconds since 1970.
    pub(super) fn watch(&mut self, series: &Series, now: i64) {
        let first = self.rows.last().map_or((now - PAST).div_euclid(STEP) * STEP, |row| row.time + STEP);
        for time in (first..=now).step_by(STEP as usize) {
            let Some(value) = series.at(time * 1000) else { continue };
            self.verdicts.clear();
            self.watch.observe(&[Row { series: 0, time: time as f64, value }], &mut self.verdicts);
            let verdict = self.verdicts.first().copied().unwrap_or_default();
            let alert = self.alerting.step(&POLICY, Sample { time: time as f64, value }, verdict).on;
            self.rows.push(Scored { time, value, score: verdict.score, band: self.expected, alert });
            if let Some(outlook) = self.watch.outlooks().first() {
                let [lower, _, middle, _, upper] = outlook.next;
                self.expected = Some([middle, lower, upper]);
            }
            self.watch.learn();
        }
    }

    /// The newest row at `time`, in seconds since 1970, if it is less than five minutes old.
    pub fn at(&self, time: i64) -> Option<&Scored> {
        let place = self.rows.partition_point(|row| row.time <= time).checked_sub(1)?;
        self.rows.get(place).filter(|row| time - row.time < 300)
    }

    /// Since when the generated alert fires at `time`: while the series is not where it was, and ten minutes longer.
    pub fn fires(&self, time: i64) -> Option<i64> {
        let keep = ANOMALY_KEEP_FIRING.as_seconds().cast_signed();
        let end = self.rows.partition_point(|row| row.time <= time);
        let mut since = None;
        for row in self.rows.get(..end).unwrap_or_default().iter().rev() {
            if row.time <= since.unwrap_or(time) - keep {
                break;
            }
            if row.alert {
                since = Some(row.time);
            }
        }
        since
    }

    /// One of the scorer's series, by its name.
    pub fn value(&self, name: &str, time: i64) -> Option<f64> {
        let row = self.at(time)?;
        let part = |place: usize| row.band.and_then(|band| band.get(place).copied());
        match name {
            names::ANOMALY_SCORE => Some(row.score),
            names::ANOMALY_VALUE => Some(row.value),
            names::ANOMALY_EXPECTED => part(0),
            names::ANOMALY_LOWER => part(1),
            names::ANOMALY_UPPER => part(2),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The page draws the line at which an alert may begin without knowing the detector.
    #[test]
    fn no_alert_begins_below_the_line_that_is_drawn() {
        assert_eq!(plimsoll_slo::alerts::ANOMALY_LEAST.to_bits(), plimsoll_anomaly::detector::ALERT.to_bits());
    }

    #[test]
    fn an_alert_fires_while_it_stays_and_ten_minutes_longer() {
        let row = |minute: i64| Scored {
            time: minute * 60,
            value: 1.0,
            score: 0.0,
            band: None,
            alert: (10..15).contains(&minute),
        };
        let band = Band { rows: (0..60).map(row).collect(), ..Band::default() };
        assert_eq!(band.fires(9 * 60), None);
        assert_eq!((band.fires(10 * 60), band.fires(24 * 60 - 1)), (Some(10 * 60), Some(10 * 60)));
        assert_eq!(band.fires(24 * 60), None);
    }
}
