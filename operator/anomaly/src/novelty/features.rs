//! The four views of a series in which values can be new.

use serde::{Deserialize, Serialize};

use super::{
    WARM,
    frame::{Frame, NONE},
    memory::WIDE,
};

/// Views.
pub(super) const FEATURES: usize = 4;
/// Rows of the two means.
const SHORT: usize = 10;
pub(super) const LONG: usize = 30;
const HOURS: usize = 24;
const DAYS: usize = 7;
/// An hour that is off its profile by more than so many times what is usual is not learnt at once.
const FAR: f32 = 4.0;
/// Hours and rows that are compared with an earlier week before that is judged: a day, and as many rows as of the series.
const LEARNT: [u8; 2] = [HOURS as u8, WARM as u8];
/// Rows after which it is looked whether the profile's frame is too wide, and what too wide is.
const LOOK: u64 = 1024;
const COARSE: f32 = 16.0;
/// Largest magnitude of a feature, so that a range of 32-bit numbers cannot overflow.
const LIMIT: f64 = 1e37;

/// What the views need to remember.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Features {
    /// The first value: features are counted from it, so that a large offset costs no precision.
    origin: f64,
    /// The last values, the newest last overwritten at `rows % LONG`.
    ring: [f32; LONG],
    /// Usual value of each hour of the week, as codes in `frame`.
    profile: [[u16; HOURS]; DAYS],
    frame: Frame,
    /// A bit for each hour of the week: set while the profile is a single value, or counts as one since it may be outdated.
    single: [[u8; HOURS / 8]; DAYS],
    /// How the hour that lasts is met.
    visit: Visit,
    /// Hours and rows that were compared with an earlier week, as far as one can count.
    compared: [u8; 2],
    /// The profile of the hour that lasts as it was when it began, unless it is met for the first time.
    before: f32,
    /// By how much hours usually are off their profiles.
    usual: f32,
}

fn root(x: f64) -> f64 {
    x.abs().sqrt().copysign(x)
}

/// How an hour of the week is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Visit {
    /// For the first time: its residuals are from the rows just before.
    First,
    Again,
    /// After one that was not learnt, or of which there is a single value.
    Doubtful,
}

impl Features {
    pub(super) fn new(origin: f64) -> Self {
        let profile = [[NONE; HOURS]; DAYS];
        let frame = Frame::of(0.0);
        Self {
            origin,
            ring: [0.0; LONG],
            profile,
            frame,
            single: [[0; HOURS / 8]; DAYS],
            visit: Visit::First,
            compared: [0; 2],
            before: 0.0,
            usual: 0.0,
        }
    }

    /// The views of row `row` (counted from 0), which comes at the second of these times, after one at the first: signed
    /// root, residual of the hour of the week, short and long mean. `bulk` is where most signed roots lie: a value far from
    /// there has its own root, but the other views, which last longer than it, see the farthest that is not.
    pub(super) fn see(
        &mut self,
        rate: f64,
        row: u64,
        (last, time): (f64, f64),
        value: f64,
        bulk: Option<(f32, f32)>,
    ) -> [f32; FEATURES] {
        let mut x = value - self.origin;
        if let Some((low, high)) = bulk.map(|(low, high)| (self.squared(low), self.squared(high))) {
            let far = f64::from(WIDE) * (high - low);
            x = x.clamp(low - far, high + far);
        }
        let x = x.clamp(-LIMIT, LIMIT);
        let hours = |time: f64| (time as i64).div_euclid(3600);
        let of_week = |time: f64| hours(time).rem_euclid((DAYS * HOURS) as i64) as usize;
        let hour = of_week(time);
        let begins = hours(last) != hours(time);
        if begins {
            self.leave(of_week(last));
        }
        self.visit(hour, begins);
        let residual = self.residual(rate as f32, row, hour, x as f32);
        let at = (row % LONG as u64) as usize;
        if let Some(slot) = self.ring.get_mut(at) {
            *slot = x as f32;
        }
        let (short, long) = self.means(at, row);
        [(root(value) - root(self.origin)).clamp(-LIMIT, LIMIT) as f32, residual, short, long]
    }

    /// The value, counted from the origin, that has this signed root.
    fn squared(&self, view: f32) -> f64 {
        let root = f64::from(view) + root(self.origin);
        root * root.abs() - self.origin
    }

    /// Whether the residual is one to judge by. The first residuals from an earlier week are far from all that were before,
    /// whatever the series does, so they are only remembered.
    pub(super) fn residual_counts(&self) -> bool {
        self.visit == Visit::First || self.compared.iter().zip(LEARNT).all(|(compared, learnt)| *compared > learnt)
    }

    /// Notes that a row lies in this hour of the week, and whether it is the first of it.
    fn visit(&mut self, hour: usize, begins: bool) {
        let known = self.profile.as_flattened().get(hour).copied().unwrap_or(NONE);
        if known == NONE {
            self.visit = Visit::First;
        } else if begins {
            self.before = self.frame.value(known);
            self.visit = if self.is_single(hour) { Visit::Doubtful } else { Visit::Again };
        }
        if self.visit != Visit::First {
            let [hours, rows] = &mut self.compared;
            (*hours, *rows) = (hours.saturating_add(u8::from(begins)), rows.saturating_add(1));
        }
    }

    /// Ends the visit of an hour. One that was far off what it was a week before is learnt only if it is so twice running:
    /// after an incident the usual value of a week later would else be new.
    fn leave(&mut self, hour: usize) {
        let learnt = self.profile.as_flattened().get(hour).copied().unwrap_or(NONE);
        if self.visit == Visit::First || learnt == NONE {
            return;
        }
        let off = (self.frame.value(learnt) - self.before).abs();
        let ([hours, _], [day, _]) = (self.compared, LEARNT);
        if hours <= day {
            self.usual += (off - self.usual) / f32::from(hours.max(1));
            return;
        }
        let far = FAR * self.usual;
        if off > far
            && self.visit == Visit::Again
            && let (Some(code), Some(slot)) =
                (self.frame.code(self.before), self.profile.as_flattened_mut().get_mut(hour))
        {
            *slot = code;
            self.turn_single(hour, true);
        }
        // A level that stays is far for the hours of about a day, since what is usual grows with what is clipped.
        let clipped = if far > 0.0 { off.min(far) } else { off };
        self.usual += (clipped - self.usual) / f32::from(day);
    }

    /// How far the value is from the profile of its hour; then moves the profile, which is first the mean of two values.
    fn residual(&mut self, rate: f32, row: u64, hour: usize, x: f32) -> f32 {
        let known = self.profile.as_flattened().get(hour).copied().unwrap_or(NONE);
        let second = self.turn_single(hour, known == NONE);
        let (residual, learnt) = if known == NONE {
            (0.0, x)
        } else {
            let expected = self.frame.value(known);
            let rate = if second { rate.max(0.5) } else { rate };
            (x - expected, expected + rate * (x - expected))
        };
        let unfit = self.frame.code(learnt).is_none();
        if unfit || row % LOOK == LOOK - 1 {
            let (low, high) = self.frame.range(self.profile.as_flattened()).unwrap_or((learnt, learnt));
            let (low, high) = (low.min(learnt), high.max(learnt));
            if unfit || (high > low && COARSE * (high - low) < self.frame.width()) {
                self.frame.refit(low, high, self.profile.as_flattened_mut());
            }
        }
        if let Some(slot) = self.profile.as_flattened_mut().get_mut(hour) {
            *slot = self.frame.code(learnt).unwrap_or_default();
        }
        residual.clamp(-LIMIT as f32, LIMIT as f32)
    }

    fn is_single(&self, hour: usize) -> bool {
        self.single.as_flattened().get(hour / 8).is_some_and(|byte| byte & (1 << (hour % 8)) != 0)
    }

    /// Whether the profile of this hour was a single value; then notes whether it now is.
    fn turn_single(&mut self, hour: usize, now: bool) -> bool {
        let Some(byte) = self.single.as_flattened_mut().get_mut(hour / 8) else { return false };
        let bit = 1 << (hour % 8);
        let was = *byte & bit != 0;
        *byte = if now { *byte | bit } else { *byte & !bit };
        was
    }

    /// Means of the last values; `at` is the newest one's place in the ring.
    fn means(&self, at: usize, row: u64) -> (f32, f32) {
        let seen = (row + 1).min(LONG as u64) as usize;
        // Places that were never written hold 0.
        let [ring @ .., _, _] = &self.ring;
        let [.., a, b] = &self.ring;
        let mut sums = [f64::from(*a), f64::from(*b), 0.0, 0.0];
        for part in ring.as_chunks::<4>().0 {
            sums.iter_mut().zip(part).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        let short = seen.min(SHORT);
        let recent = (0..short).map(|back| if back <= at { at - back } else { at + LONG - back });
        let newest: f64 = recent.filter_map(|i| self.ring.get(i)).map(|v| f64::from(*v)).sum();
        ((newest / short as f64) as f32, (sums.iter().sum::<f64>() / seen as f64) as f32)
    }
}
