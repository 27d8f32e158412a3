//! The values that a feature has had, and how far a new one is from them.

use serde::{Deserialize, Serialize};

use super::frame::{Frame, NONE};

/// Remembered values of each feature, in two halves because serde knows no longer arrays.
const HALF: usize = 32;
const SLOTS: usize = 2 * HALF;
/// A frame is narrowed when it is so many times wider than the running range, if what is remembered allows it.
const COARSE: f32 = 4.0;

/// Remembered values of one feature, sorted, each with the hour it was last seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Codes in `frame`; unused places at the end are [`NONE`], so that loops over all need no bound.
    values: [[u16; HALF]; 2],
    seen: [[u16; HALF]; 2],
    frame: Frame,
    low: f32,
    high: f32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { values: [[NONE; HALF]; 2], seen: [[0; HALF]; 2], frame: Frame::default(), low: 0.0, high: 0.0 }
    }
}

impl Memory {
    /// Distance from the nearest remembered value in units of the running range; then remembers the value.
    ///
    /// `hour` counts from the begin of the series, values last seen before `horizon` are forgotten, a value nearer than
    /// `resolution` to a remembered one takes no slot of its own, and the range contracts by the share `shrink`.
    pub(super) fn meet(&mut self, value: f32, hour: u16, horizon: u16, (resolution, shrink): (f32, f32)) -> f32 {
        if self.len() == 0 && self.low == 0.0 && self.high == 0.0 {
            (self.low, self.high) = (value, value);
            self.frame = Frame::of(value);
        }
        let span = self.high - self.low;
        let code = self.code(value, span, horizon);
        let mut at = self.values.as_flattened().iter().map(|v| u16::from(*v < code)).sum::<u16>() as usize;
        let nearest = self.nearest(&mut at, code, horizon);
        let novelty = match nearest {
            Some((_, distance)) if span > 0.0 => distance / span,
            Some((_, distance)) => f32::from(distance > 0.0),
            None => 0.0,
        };
        let known = nearest.filter(|(_, distance)| *distance <= resolution * span);
        match known.and_then(|(slot, _)| self.seen.as_flattened_mut().get_mut(slot)) {
            Some(seen) => *seen = hour,
            None => {
                if self.len() >= SLOTS {
                    let densest = self.densest();
                    self.remove(densest);
                    at -= usize::from(densest < at);
                }
                self.insert(at, code, hour);
            }
        }
        let centre = f32::midpoint(self.low, self.high);
        self.high = (self.high - shrink * (self.high - centre)).max(value);
        self.low = (self.low + shrink * (centre - self.low)).min(value);
        novelty
    }

    fn len(&self) -> usize {
        self.values.as_flattened().partition_point(|code| *code != NONE)
    }

    /// The code of a value, in a frame that holds it and all that is remembered.
    fn code(&mut self, value: f32, span: f32, horizon: u16) -> u16 {
        if self.frame.code(value).is_none() || self.frame.width() > COARSE * span.max(f32::MIN_POSITIVE) {
            // One that is forgotten anyway must not hold the frame wide.
            self.forget(horizon);
            let remembered = self.frame.range(self.values.as_flattened()).unwrap_or((value, value));
            let (low, high) = (remembered.0.min(self.low).min(value), remembered.1.max(self.high).max(value));
            let width = high - low;
            if self.frame.code(value).is_none() || (width > 0.0 && COARSE * width < self.frame.width()) {
                self.frame.refit(low, high, self.values.as_flattened_mut());
            }
        }
        self.frame.code(value).unwrap_or_default()
    }

    fn forget(&mut self, horizon: u16) {
        while let Some(slot) = self.seen.as_flattened().iter().take(self.len()).position(|seen| *seen < horizon) {
            self.remove(slot);
        }
    }

    /// The nearest value that is not forgotten, and its distance; drops those that are and lie in the way.
    fn nearest(&mut self, at: &mut usize, code: u16, horizon: u16) -> Option<(usize, f32)> {
        loop {
            let values = self.values.as_flattened().get(..self.len())?;
            let above = values.get(*at).map(|v| (*at, v.saturating_sub(code)));
            let below = at.checked_sub(1).and_then(|i| Some((i, code.saturating_sub(*values.get(i)?))));
            let (slot, codes) = match (below, above) {
                (Some(below), Some(above)) => Some(if below.1 <= above.1 { below } else { above }),
                (below, above) => below.or(above),
            }?;
            if self.seen.as_flattened().get(slot).is_some_and(|seen| *seen >= horizon) {
                return Some((slot, self.frame.distance(codes)));
            }
            self.remove(slot);
            *at -= usize::from(slot < *at);
        }
    }

    /// The value whose neighbours are nearest to each other: where values are dense one fewer makes nothing new, while
    /// the oldest may be the only one of its kind.
    fn densest(&self) -> usize {
        let values = self.values.as_flattened();
        let mut gaps = [NONE; SLOTS];
        for (gap, (a, c)) in gaps.iter_mut().zip(values.iter().zip(values.iter().skip(2))) {
            *gap = c.wrapping_sub(*a);
        }
        let least = gaps.iter().copied().fold(NONE, u16::min);
        gaps.iter().position(|gap| *gap == least).map_or(0, |slot| slot + 1)
    }

    fn insert(&mut self, at: usize, code: u16, hour: u16) {
        let len = self.len().min(SLOTS - 1);
        for (row, new) in [(self.values.as_flattened_mut(), code), (self.seen.as_flattened_mut(), hour)] {
            row.copy_within(at.min(len)..len, at.min(len) + 1);
            if let Some(slot) = row.get_mut(at) {
                *slot = new;
            }
        }
    }

    fn remove(&mut self, at: usize) {
        for (row, none) in [(self.values.as_flattened_mut(), NONE), (self.seen.as_flattened_mut(), 0)] {
            row.copy_within((at + 1).min(SLOTS).., at);
            if let Some(last) = row.last_mut() {
                *last = none;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lstm::Random;

    /// Every value in a list, at full precision: the distance from the nearest, as long as none is dropped.
    #[test]
    fn novelty_is_the_distance_from_the_nearest_over_the_range() {
        let mut random = Random(4);
        let mut memory = Memory::default();
        let (mut all, mut range) = (Vec::<f32>::new(), (f32::MAX, f32::MIN));
        for i in 0..SLOTS {
            let value = 1e3 + 10.0 * random.unit() * if i % 10 == 9 { 30.0 } else { 1.0 };
            let span = range.1 - range.0;
            let nearest = all.iter().map(|v| (v - value).abs()).fold(f32::MAX, f32::min);
            let want = if all.len() < 2 { f32::from(all.len() == 1) } else { nearest / span };
            let got = memory.meet(value, 0, 0, (0.0, 0.0));
            assert!((got - want).abs() < 1e-3 * want.max(0.1), "row {i}: {got} for {want}");
            all.push(value);
            range = (range.0.min(value), range.1.max(value));
        }
        assert_eq!(memory.meet(all[3], 0, 0, (0.0, 0.0)), 0.0, "a value that is remembered is not new");
    }

    #[test]
    fn a_full_memory_keeps_the_lone_values_and_an_old_one_is_forgotten() {
        let mut memory = Memory::default();
        memory.meet(-100.0, 0, 0, (0.0, 0.0));
        for i in 0..500u16 {
            memory.meet(f32::from(i % 97), 10, 0, (0.0, 0.0));
        }
        assert_eq!(memory.meet(-100.0, 11, 0, (0.0, 0.0)), 0.0, "the only one of its kind stays");
        for i in 0..97u16 {
            memory.meet(f32::from(i), 80, 0, (0.0, 0.0));
        }
        let forgotten = memory.meet(-100.0, 90, 60, (0.0, 0.0));
        assert!(forgotten > 0.4, "last seen before the horizon, the others begin at 0: {forgotten}");
        assert_eq!(memory.meet(-100.0, 90, 60, (0.0, 0.0)), 0.0);
    }

    #[test]
    fn one_outlier_makes_it_blind_for_no_longer_than_the_range_lasts() {
        let mut memory = Memory::default();
        for i in 0..2000u16 {
            let value = if i == 100 { 1e9 } else { f32::from(i % 8) };
            memory.meet(value, i / 60, (i / 60).saturating_sub(5), (0.005, 0.02));
        }
        let known = memory.meet(3.0, 34, 29, (0.005, 0.02));
        let new = memory.meet(12.0, 34, 29, (0.005, 0.02));
        assert!(known < 0.01 && new > 0.3, "{known}, {new}");
    }
}
