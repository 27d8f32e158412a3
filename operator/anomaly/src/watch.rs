//! Many series at once: novelty and moves of each, and what the forecaster that they share holds against them.

use crate::detector::{Detector, Sample, Verdict, move_score};
use serde::{Deserialize, Serialize};

use crate::forecast::snapshot::{Broken, checksum};
use crate::forecast::vote::Vote;
use crate::forecast::{Forecaster, Outlook, Row, Settings};
use crate::novelty::Novelty;

/// The forecaster sees a series this often at most, in seconds: the mean of the samples since. It looks half an hour ahead
/// and judges what lasts, and means of a minute are steadier than samples; at 15 s it thus costs a quarter.
const CADENCE: f64 = 60.0;
/// So much earlier is early enough, since scrapes are not punctual.
const EARLY: f64 = 7.5;

const FORMAT: &[u8; 8] = b"PLMWA\0\0\x03";

/// Samples of a series since the forecaster last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Pending {
    sum: f64,
    count: u32,
    /// When it last saw it: never is infinitely long ago, so that a series begins with its first sample.
    seen: f64,
}

impl Default for Pending {
    fn default() -> Self {
        Self { sum: 0.0, count: 0, seen: f64::NEG_INFINITY }
    }
}

impl Pending {
    /// The value for the forecaster, if it is time for one.
    fn take(&mut self, time: f64, value: f64) -> Option<f64> {
        self.sum += value;
        self.count += 1;
        if (time - self.seen).abs() < CADENCE - EARLY {
            return None;
        }
        let mean = self.sum / f64::from(self.count);
        *self = Self { sum: 0.0, count: 0, seen: time };
        Some(mean)
    }
}

/// All series, their detectors and the forecaster.
#[derive(Clone, Debug)]
pub struct Watch {
    novelty: Vec<Novelty>,
    pending: Vec<Pending>,
    votes: Vec<Vote>,
    forecaster: Forecaster,
    /// Of the present call: rows for the forecaster and what it says.
    rows: Vec<Row>,
    outlooks: Vec<Outlook>,
}

impl Watch {
    /// One without series.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            novelty: Vec::new(),
            pending: Vec::new(),
            votes: Vec::new(),
            forecaster: Forecaster::new(settings),
            rows: Vec::new(),
            outlooks: Vec::new(),
        }
    }

    /// A further series, of which nothing is known; gives its number.
    pub fn add(&mut self) -> usize {
        self.novelty.push(Novelty::default());
        self.pending.push(Pending::default());
        self.votes.push(Vote::default());
        self.forecaster.add()
    }

    /// Forgets a series, so that its number can stand for another.
    pub fn reset(&mut self, series: usize) {
        if let (Some(novelty), Some(pending), Some(vote)) =
            (self.novelty.get_mut(series), self.pending.get_mut(series), self.votes.get_mut(series))
        {
            (*novelty, *pending, *vote) = (Novelty::default(), Pending::default(), Vote::default());
            self.forecaster.reset(series);
        }
    }

    /// Judges one sample of each of some series, each series at most once. Appends to `verdicts`, one for each row in
    /// their order; a row without a value, or of a series that there is not, has the verdict of nothing.
    pub fn observe(&mut self, rows: &[Row], verdicts: &mut Vec<Verdict>) {
        let first = verdicts.len();
        self.rows.clear();
        self.outlooks.clear();
        for row in rows {
            let sample = Sample { time: row.time, value: row.value };
            verdicts.push(self.novelty.get_mut(row.series).map_or_else(Verdict::default, |n| n.step(sample)));
            if row.value.is_finite()
                && row.time.is_finite()
                && let Some(value) = self.pending.get_mut(row.series).and_then(|p| p.take(row.time, row.value))
            {
                self.rows.push(Row { value, ..*row });
            }
        }
        self.forecaster.observe(&self.rows, &mut self.outlooks);
        // Outlooks are in the order of the rows, and some rows have none.
        let mut outlooks = self.outlooks.iter().peekable();
        for (row, verdict) in rows.iter().zip(verdicts.iter_mut().skip(first)) {
            let Some(vote) = self.votes.get_mut(row.series) else { continue };
            if let Some(outlook) = outlooks.next_if(|outlook| outlook.series == row.series) {
                verdict.alert |= vote.step(row.time, outlook);
            }
            if row.value.is_finite() {
                verdict.score = verdict.score.max(move_score(vote.strength()));
            }
        }
    }

    /// Trains the forecaster as far as the samples since allow; see [`Forecaster::learn`].
    pub fn learn(&mut self) -> u32 {
        self.forecaster.learn()
    }

    /// What the forecaster says at the rows of the last [`Watch::observe`]: the series that it saw then.
    #[must_use]
    pub fn outlooks(&self) -> &[Outlook] {
        &self.outlooks
    }

    /// All of it as bytes: eight that name format and version, the length of the forecaster's snapshot and that, the
    /// rest of every series in postcard, and a checksum.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let Self { novelty, pending, votes, forecaster, rows: _, outlooks: _ } = self;
        let inner = forecaster.snapshot();
        let mut to = FORMAT.to_vec();
        to.extend_from_slice(&(inner.len() as u64).to_le_bytes());
        to.extend_from_slice(&inner);
        // Writing to memory does not fail; if it did, reading would say that the snapshot is damaged.
        to.extend(postcard::to_allocvec(&(novelty, pending, votes)).unwrap_or_default());
        let sum = checksum(&to);
        to.extend_from_slice(&sum.to_le_bytes());
        to
    }

    /// The watch whose snapshot this is; it goes on as that one would have.
    ///
    /// # Errors
    /// When the bytes are of another version, or not whole.
    pub fn restore(bytes: &[u8]) -> Result<Self, Broken> {
        let body = bytes.strip_prefix(FORMAT).ok_or(Broken::Format)?;
        let (_, sum) = bytes.split_last_chunk().ok_or(Broken::Damaged)?;
        let (body, _) = body.split_last_chunk::<8>().ok_or(Broken::Damaged)?;
        if checksum(bytes.get(..bytes.len() - 8).unwrap_or_default()) != u64::from_le_bytes(*sum) {
            return Err(Broken::Damaged);
        }
        let (length, body) = body.split_first_chunk().ok_or(Broken::Damaged)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| Broken::Damaged)?;
        let (inner, rest) = body.split_at_checked(length).ok_or(Broken::Damaged)?;
        let forecaster = Forecaster::restore(inner)?;
        let (novelty, pending, votes): (Vec<Novelty>, Vec<Pending>, Vec<Vote>) =
            postcard::from_bytes(rest).map_err(|_| Broken::Damaged)?;
        if [novelty.len(), pending.len(), votes.len()] != [forecaster.len(); 3] {
            return Err(Broken::Damaged);
        }
        Ok(Self { novelty, pending, votes, forecaster, rows: Vec::new(), outlooks: Vec::new() })
    }

    /// Bytes of memory held for each series.
    #[must_use]
    pub fn bytes_per_series(&self) -> usize {
        let novelty = self.novelty.iter().map(Novelty::bytes).max().unwrap_or_default();
        novelty + size_of::<Pending>() + size_of::<Vote>() + self.forecaster.bytes_per_series()
    }
}

/// Both detectors of one series, with a forecaster of its own: for the benchmark, which runs each series by itself. A drift
/// is one from profiles, not from the network, which is thus left small and untrained.
#[derive(Clone, Debug)]
pub struct Alone {
    watch: Watch,
    verdicts: Vec<Verdict>,
}

impl Default for Alone {
    fn default() -> Self {
        let settings = Settings { hidden: 1, replay: 0.0, recordings: 0, stretches: 1, ..Settings::default() };
        let mut watch = Watch::new(settings);
        watch.add();
        Self { watch, verdicts: Vec::new() }
    }
}

impl Detector for Alone {
    fn step(&mut self, sample: Sample) -> Verdict {
        self.verdicts.clear();
        self.watch.observe(&[Row { series: 0, time: sample.time, value: sample.value }], &mut self.verdicts);
        self.verdicts.first().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{ALERT, NEW};
    use crate::evaluate::synthetic::{Fault, SPLIT, case};

    fn settings() -> Settings {
        Settings { hidden: 4, replay: 0.25, stretches: 64, batches: 8, ..Settings::default() }
    }

    fn feed(watch: &mut Watch, rows: impl Iterator<Item = (f64, f64)>) -> Vec<Verdict> {
        let mut verdicts = Vec::new();
        for (time, value) in rows {
            watch.observe(&[Row { series: 0, time, value }], &mut verdicts);
            watch.learn();
        }
        verdicts
    }

    #[test]
    fn a_drift_among_known_values_alerts_and_ranks_below_new_ones() {
        // Nine of ten such drifts are found (docs/anomaly.md, what each part adds).
        let mut missed = Vec::new();
        for seed in 0..6 {
            let of = |fault| {
                let case = case(fault, seed);
                let mut watch = Watch::new(settings());
                watch.add();
                let rows = case.times.iter().copied().zip(case.values.iter().copied());
                (feed(&mut watch, rows), case.fault)
            };
            let ((clean, _), (drifting, fault)) = (of(None), of(Some(Fault::Drift)));
            assert_eq!(clean[..SPLIT], drifting[..SPLIT]);
            let differs = |row: &usize| drifting[*row].alert && !clean[*row].alert;
            let Some(found) = fault.clone().find(differs) else {
                missed.push(seed);
                continue;
            };
            assert!(found > fault.start + 12, "seed {seed}: a slow drift is not seen at once");
            assert!((ALERT..NEW).contains(&drifting[found].score), "seed {seed}: {:?}", drifting[found]);
        }
        assert!(missed.len() <= 1, "missed: {missed:?}");
    }

    #[test]
    fn a_restart_changes_no_bit_and_what_is_no_snapshot_is_refused() {
        let case = case(Some(Fault::NightLoad), 5);
        let rows: Vec<(f64, f64)> = case.times.iter().copied().zip(case.values.iter().copied()).take(2600).collect();
        let mut one = Watch::new(settings());
        one.add();
        feed(&mut one, rows[..2400].iter().copied());
        let bytes = one.snapshot();
        let mut other = Watch::restore(&bytes).expect("a snapshot");
        assert_eq!(feed(&mut one, rows[2400..].iter().copied()), feed(&mut other, rows[2400..].iter().copied()));
        assert_eq!(one.snapshot(), other.snapshot());
        assert_eq!(Watch::restore(b"something").err(), Some(Broken::Format));
        for cut in [8, 15, 16, 40, bytes.len() / 2, bytes.len() - 1] {
            assert_eq!(Watch::restore(&bytes[..cut]).err(), Some(Broken::Damaged), "{cut} of {}", bytes.len());
        }
        let mut flipped = bytes.clone();
        flipped[bytes.len() - 100] ^= 1;
        assert_eq!(Watch::restore(&flipped).err(), Some(Broken::Damaged));
    }

    #[test]
    fn the_forecaster_sees_means_of_a_minute() {
        let mut watch = Watch::new(settings());
        (0..2).for_each(|_| _ = watch.add());
        let mut verdicts = Vec::new();
        let mut seen = [0, 0];
        for tick in 0..400u32 {
            let time = 15.0 * f64::from(tick);
            let mut rows = vec![Row { series: 0, time, value: f64::from(tick % 4) }];
            if tick % 4 == 0 {
                rows.push(Row { series: 1, time, value: 7.0 });
            }
            verdicts.clear();
            watch.observe(&rows, &mut verdicts);
            assert_eq!(verdicts.len(), rows.len());
            for outlook in watch.outlooks() {
                seen[outlook.series] += 1;
                if tick > 200 {
                    let want = if outlook.series == 0 { 1.5 } else { 7.0 };
                    assert!((outlook.next[2] - want).abs() < 0.01, "{outlook:?}");
                }
            }
        }
        assert_eq!(seen, [100, 100]);
    }

    #[test]
    fn both_detectors_of_a_series_take_at_most_four_kilobytes() {
        let mut watch = Watch::new(Settings::default());
        watch.add();
        feed(&mut watch, (0..100).map(|i| (15.0 * f64::from(i), f64::from(i % 7))));
        assert!(watch.bytes_per_series() <= 4096, "{}", watch.bytes_per_series());
    }

    #[test]
    fn series_that_are_not_there_and_values_that_are_none_are_passed_over() {
        let mut watch = Watch::new(settings());
        watch.add();
        let mut verdicts = Vec::new();
        let row = |series, value| Row { series, time: 60.0, value };
        watch.observe(&[row(3, 1.0), row(0, f64::NAN), row(0, f64::INFINITY)], &mut verdicts);
        assert_eq!(verdicts, [Verdict::default(); 3]);
        assert!(watch.outlooks().is_empty());
    }
}
