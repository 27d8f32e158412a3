//! Series of which the truth is known: seasonal ones with noise, and faults whose every value the series has had before.
//!
//! A detector of new values has nothing to go by here. What is wrong is the time of a value, its slow change, or that it
//! no longer moves with its neighbours.

use std::f64::consts::TAU;
use std::ops::Range;

use crate::lstm::Random;

/// Seconds between rows.
pub const STEP: f64 = 300.0;
/// Rows of a day and of a week.
pub const DAY: usize = 288;
const WEEK: usize = 7 * DAY;
/// Weeks of a series; faults begin in the last two.
pub const WEEKS: usize = 5;
/// First row in which a fault may begin.
pub const SPLIT: usize = 3 * WEEK;
/// Series that follow one load.
pub const TOGETHER: usize = 5;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Over two to four days everything rises, the low values most, up to a fifth to a half of the way to the highest.
    Drift,
    /// The busy hours of one day stay as quiet as the night.
    MissedPeak,
    /// Two to five hours of the night are as busy as the day.
    NightLoad,
    /// For one and a half to three days the daily wave has a fifth to a half of its height.
    Amplitude,
}

impl Fault {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 4] = [Self::Drift, Self::MissedPeak, Self::NightLoad, Self::Amplitude];

    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drift => "slow drift",
            Self::MissedPeak => "missed peak",
            Self::NightLoad => "load at night",
            Self::Amplitude => "lower wave",
        }
    }
}

/// A series and its fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Seconds since 1970.
    pub times: Vec<f64>,
    /// One value for each time.
    pub values: Vec<f64>,
    /// Rows of the fault; empty if there is none.
    pub fault: Range<usize>,
}

/// A daily and weekly course without noise: from 0 in the night to 1 at the busiest.
struct Course {
    harmonic: f64,
    phase: f64,
    weekend: f64,
}

impl Course {
    fn random(random: &mut Random) -> Self {
        Self {
            harmonic: between(random, -0.3, 0.3),
            phase: between(random, 0.0, 1.0),
            weekend: between(random, 0.5, 1.0),
        }
    }

    fn at(&self, row: usize) -> f64 {
        let day = (row % DAY) as f64 / DAY as f64 - self.phase;
        let wave = -(TAU * day).cos() + self.harmonic * (2.0 * TAU * day).cos();
        let height = if row / DAY % 7 >= 5 { self.weekend } else { 1.0 };
        (0.5 + wave / (2.0 * (1.0 + self.harmonic.abs()))) * height
    }

    /// The row of the day that is busiest (`busy`) or quietest.
    fn extreme(&self, busy: bool) -> usize {
        let value = |row: &usize| if busy { self.at(*row) } else { -self.at(*row) };
        (0..DAY).max_by(|a, b| value(a).total_cmp(&value(b))).unwrap_or(0)
    }
}

/// Noise of which a part lasts for some rows.
struct Noise {
    size: f64,
    lasting: f64,
    state: f64,
}

impl Noise {
    fn random(random: &mut Random) -> Self {
        Self { size: between(random, 0.02, 0.08), lasting: between(random, 0.0, 0.8), state: 0.0 }
    }

    fn next(&mut self, random: &mut Random) -> f64 {
        let fresh = (1.0 - self.lasting * self.lasting).sqrt() * normal(random);
        self.state = self.lasting * self.state + fresh;
        self.size * self.state
    }
}

/// The case of this seed: the same series whatever goes wrong with it.
#[must_use]
pub fn case(fault: Option<Fault>, seed: u64) -> Case {
    let mut random = Random(seed);
    let (course, mut noise) = (Course::random(&mut random), Noise::random(&mut random));
    let (floor, height) = (between(&mut random, 0.1, 2.0), 10f64.powf(between(&mut random, 0.0, 4.0)));
    let clean: Vec<f64> = (0..WEEKS * WEEK)
        .map(|row| {
            // A busy time is a noisy one.
            let level = course.at(row);
            level + (0.4 + 0.6 * level) * noise.next(&mut random)
        })
        .collect();
    let injected = fault.map_or(0..0, |fault| place(fault, &course, &mut random));
    let strength = between(&mut random, 0.0, 1.0);
    let (low, high) = course_range(&course);
    let values = clean.iter().enumerate().map(|(row, v)| {
        let here = fault.filter(|_| injected.contains(&row));
        let level = course.at(row);
        let along = (row - injected.start.min(row)) as f64 / injected.len().max(1) as f64;
        let v = match here {
            None => *v,
            Some(Fault::Drift) => v + (0.2 + 0.3 * strength) * slope(along) * (high - level).max(0.0),
            Some(Fault::MissedPeak) => v - 0.9 * plateau(along) * (level - low),
            Some(Fault::NightLoad) => v + (0.6 + 0.3 * strength) * plateau(along) * (high - level).max(0.0),
            Some(Fault::Amplitude) => v + (0.5 + 0.3 * strength) * plateau(along) * (0.5 * (low + high) - level),
        };
        height * (floor + v)
    });
    let values = values.collect();
    let times = (0..WEEKS * WEEK).map(|row| 1.7e9 + STEP * row as f64).collect();
    Case { times, values, fault: injected }
}

fn course_range(course: &Course) -> (f64, f64) {
    (0..WEEK).map(|row| course.at(row)).fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(v), b.max(v)))
}

/// Rises over three quarters, then falls.
fn slope(along: f64) -> f64 {
    (along / 0.75).min(4.0 - 4.0 * along).clamp(0.0, 1.0)
}

/// Rises within the first quarter and falls within the last, so that no single row jumps.
fn plateau(along: f64) -> f64 {
    (4.0 * along).min(4.0 - 4.0 * along).clamp(0.0, 1.0)
}

fn place(fault: Fault, course: &Course, random: &mut Random) -> Range<usize> {
    // A weekday of the last two weeks, early enough for the longest fault.
    let weekday = random.below(5);
    let day = SPLIT / DAY + if weekday < 3 { weekday } else { weekday + 4 };
    let hours = |random: &mut Random, low, high| (between(random, low, high) * 12.0) as usize;
    let (middle, length) = match fault {
        Fault::Drift => (DAY, hours(random, 48.0, 96.0)),
        Fault::Amplitude => (DAY, hours(random, 36.0, 72.0)),
        Fault::MissedPeak => (course.extreme(true), hours(random, 6.0, 10.0)),
        Fault::NightLoad => (course.extreme(false), hours(random, 2.0, 5.0)),
    };
    let begin = match fault {
        Fault::Drift | Fault::Amplitude => day * DAY + random.below(DAY),
        Fault::MissedPeak | Fault::NightLoad => day * DAY + DAY + middle - length / 2,
    };
    begin..begin + length
}

/// Series that follow one load, each in its own scale and with its own noise; in the fault one of them, `broken`, shows what
/// it showed some hours before, or stands at the middle of its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Joint {
    /// One for each series; their times are the same.
    pub series: Vec<Case>,
    /// The one that goes wrong.
    pub broken: usize,
}

/// The joint case of this seed.
#[must_use]
pub fn joint(fault: bool, seed: u64) -> Joint {
    let mut random = Random(seed);
    let (course, mut wander) = (Course::random(&mut random), 0.0);
    // What all of them share beyond the course: a load that wanders, so that no profile of a single series tells the value.
    let load: Vec<f64> = (0..WEEKS * WEEK)
        .map(|row| {
            wander = 0.98 * wander + 0.06 * normal(&mut random);
            (0.15 + course.at(row)) * f64::exp(wander.clamp(-0.7, 0.7))
        })
        .collect();
    let broken = random.below(TOGETHER);
    let begin = SPLIT + random.below(WEEK);
    let length = DAY / 2 + random.below(DAY / 2);
    let (shift, stands) = (DAY / 8 + random.below(DAY / 4), random.below(2) == 0);
    let mut middle = load.clone();
    middle.sort_by(f64::total_cmp);
    let middle = middle.get(middle.len() / 2).copied().unwrap_or_default();
    let series = (0..TOGETHER).map(|which| {
        let (gain, offset) = (10f64.powf(between(&mut random, 0.0, 3.0)), between(&mut random, 0.0, 1.0));
        let mut noise = Noise { size: 0.05, ..Noise::random(&mut random) };
        let rows = if fault && which == broken { begin..begin + length } else { 0..0 };
        let values = (0..WEEKS * WEEK).map(|row| {
            let at = |row: usize| load.get(row).copied().unwrap_or_default();
            let followed = match rows.contains(&row) {
                true if stands => middle,
                true => at(row - shift),
                false => at(row),
            };
            gain * (offset + followed * (1.0 + noise.next(&mut random)))
        });
        let values = values.collect();
        let times = (0..WEEKS * WEEK).map(|row| 1.7e9 + STEP * row as f64).collect();
        Case { times, values, fault: rows }
    });
    Joint { series: series.collect(), broken }
}

fn between(random: &mut Random, low: f64, high: f64) -> f64 {
    low + (high - low) * f64::from(random.unit())
}

/// Standard normal, by Box and Muller.
pub(crate) fn normal(random: &mut Random) -> f64 {
    let (a, b) = (1.0 - f64::from(random.unit()), f64::from(random.unit()));
    (-2.0 * a.ln()).sqrt() * (TAU * b).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_stay_within_old_values_and_differ_from_the_clean_series_only_there() {
        for seed in 0..20 {
            let clean = case(None, seed);
            assert!(clean.fault.is_empty());
            let (low, high) =
                clean.values[..SPLIT].iter().fold((f64::MAX, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
            let slack = 0.1 * (high - low);
            for fault in Fault::ALL {
                let faulty = case(Some(fault), seed);
                assert!(faulty.fault.start >= SPLIT && faulty.fault.end <= faulty.values.len(), "{:?}", faulty.fault);
                let mut differs = 0;
                for (row, (a, b)) in clean.values.iter().zip(&faulty.values).enumerate() {
                    if faulty.fault.contains(&row) {
                        differs += usize::from(a != b);
                        assert!((low - slack..high + slack).contains(b), "{} of seed {seed}: {b}", fault.name());
                    } else {
                        assert_eq!(a, b, "{} of seed {seed}, row {row}", fault.name());
                    }
                }
                assert!(differs > faulty.fault.len() / 2, "{} of seed {seed}: {differs}", fault.name());
            }
        }
    }

    #[test]
    fn one_series_of_a_joint_case_breaks_and_the_others_go_on() {
        for seed in 0..10 {
            let (clean, faulty) = (joint(false, seed), joint(true, seed));
            for (which, (a, b)) in clean.series.iter().zip(&faulty.series).enumerate() {
                assert_eq!(a.values != b.values, which == faulty.broken);
                assert_eq!(b.fault.is_empty(), which != faulty.broken);
                assert_eq!(a.values[..SPLIT], b.values[..SPLIT]);
            }
        }
    }
}
