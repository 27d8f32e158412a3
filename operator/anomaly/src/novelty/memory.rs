//! The values that a feature has had, and how far a new one is from them.

use serde::{Deserialize, Serialize};

/// Remembered values of each feature, in two halves because serde knows no longer arrays.
const HALF: usize = 32;
const SLOTS: usize = 2 * HALF;
/// An unused place; it is above all values, so that sorted ones end in it.
const NONE: f32 = f32::INFINITY;
/// So many of the highest, and of the lowest, remembered values do not make a range wide, ...
const LONE: usize = 3;
/// ... if so many more are remembered: it is then at most [`WIDE`] times that of the others.
const OTHERS: usize = 8;
pub(super) const WIDE: f32 = 2.0;
/// Greatest age of a value that is not forgotten; the next one is where ages stop.
pub(super) const OLDEST: u8 = u8::MAX - 1;

/// Remembered values of one feature, sorted, each with the time since it was last seen.
///
/// Values are single precision and not less: many series are whole numbers, whose distances are then equal or not as they
/// should be, which decides what a full memory drops. Ages need no such care, so they have one byte.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    /// Unused places at the end are [`NONE`], so that loops over all need no bound.
    values: [[f32; HALF]; 2],
    ages: [[u8; HALF]; 2],
    low: f32,
    high: f32,
}

impl Default for Memory {
    fn default() -> Self {
        Self { values: [[NONE; HALF]; 2], ages: [[0; HALF]; 2], low: 0.0, high: 0.0 }
    }
}

impl Memory {
    /// Distance from the nearest remembered value in units of the running range, in which a few lone values do not count;
    /// then remembers the value, which is finite.
    ///
    /// Values older than [`OLDEST`] are forgotten, a value nearer than `resolution` to a remembered one takes no slot of its
    /// own, and the range contracts by the share `shrink`.
    pub(super) fn meet(&mut self, value: f32, (resolution, shrink): (f32, f32)) -> f32 {
        if self.is_empty() && self.low == 0.0 && self.high == 0.0 {
            (self.low, self.high) = (value, value);
        }
        let bulk = self.bulk().map_or(f32::INFINITY, |(low, high)| WIDE * (high - low));
        let span = (self.high - self.low).min(bulk);
        let mut at = self.values.as_flattened().iter().map(|v| u16::from(*v < value)).sum::<u16>() as usize;
        let nearest = self.nearest(&mut at, value);
        let novelty = match nearest {
            Some((_, distance)) if span > 0.0 => distance / span,
            Some((_, distance)) => f32::from(distance > 0.0),
            None => 0.0,
        };
        let known = nearest.filter(|(_, distance)| *distance <= resolution * span);
        match known.and_then(|(slot, _)| self.ages.as_flattened_mut().get_mut(slot)) {
            Some(age) => *age = 0,
            None => {
                if self.is_full() {
                    let densest = self.densest();
                    self.remove(densest);
                    at -= usize::from(densest < at);
                }
                shift_in(self.values.as_flattened_mut(), at, value);
                shift_in(self.ages.as_flattened_mut(), at, 0);
            }
        }
        let centre = f32::midpoint(self.low, self.high);
        self.high = (self.high - shrink * (self.high - centre)).max(value);
        self.low = (self.low + shrink * (centre - self.low)).min(value);
        novelty
    }

    /// The range of the remembered values without the few highest and lowest, if there are enough.
    pub(super) fn bulk(&self) -> Option<(f32, f32)> {
        let values = self.values.as_flattened();
        let seen = values.iter().map(|v| u16::from(*v < NONE)).sum::<u16>() as usize;
        let last = seen.checked_sub(LONE + 1).filter(|last| *last >= LONE + OTHERS - 1)?;
        Some((*values.get(LONE)?, *values.get(last)?))
    }

    /// Lets all values grow older.
    pub(super) fn age(&mut self, by: u8) {
        self.ages.as_flattened_mut().iter_mut().for_each(|age| *age = age.saturating_add(by));
    }

    // Unused places are at the end, so one look tells.
    fn is_empty(&self) -> bool {
        self.values.as_flattened().first().is_none_or(|value| *value == NONE)
    }

    fn is_full(&self) -> bool {
        self.values.as_flattened().last().is_some_and(|value| *value < NONE)
    }

    /// The nearest value that is not forgotten, and its distance; drops those that are and lie in the way.
    fn nearest(&mut self, at: &mut usize, value: f32) -> Option<(usize, f32)> {
        loop {
            let values = self.values.as_flattened();
            let above = values.get(*at).filter(|v| **v < NONE).map(|v| (*at, v - value));
            let below = at.checked_sub(1).and_then(|i| Some((i, value - values.get(i)?)));
            let nearest = match (below, above) {
                (Some(below), Some(above)) => Some(if below.1 <= above.1 { below } else { above }),
                (below, above) => below.or(above),
            }?;
            if self.ages.as_flattened().get(nearest.0).is_some_and(|age| *age <= OLDEST) {
                return Some(nearest);
            }
            self.remove(nearest.0);
            *at -= usize::from(nearest.0 < *at);
        }
    }

    /// The value of a full memory whose neighbours are nearest to each other, the least if there are several: where values
    /// are dense one fewer makes nothing new, while the oldest may be the only one of its kind.
    fn densest(&self) -> usize {
        let values = self.values.as_flattened();
        let mut gaps = [NONE; SLOTS];
        for (gap, (a, c)) in gaps.iter_mut().zip(values.iter().zip(values.iter().skip(2))) {
            *gap = c - a;
        }
        let least = gaps.iter().copied().fold(NONE, f32::min);
        gaps.iter().position(|gap| *gap == least).map_or(0, |slot| slot + 1)
    }

    fn remove(&mut self, at: usize) {
        shift_out(self.values.as_flattened_mut(), at, NONE);
        shift_out(self.ages.as_flattened_mut(), at, 0);
    }
}

/// Puts one in before what is at `at`; the last falls out.
fn shift_in<T: Copy>(row: &mut [T], at: usize, new: T) {
    let end = row.len().saturating_sub(1);
    row.copy_within(at.min(end)..end, at.min(end) + 1);
    if let Some(slot) = row.get_mut(at) {
        *slot = new;
    }
}

/// Takes out what is at `at`; at the end comes `none`.
fn shift_out<T: Copy>(row: &mut [T], at: usize, none: T) {
    row.copy_within((at + 1).min(row.len()).., at);
    if let Some(last) = row.last_mut() {
        *last = none;
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
            let mut sorted = all.clone();
            sorted.sort_by(f32::total_cmp);
            let bulk = if i < 14 { f32::MAX } else { 2.0 * (sorted[i - 4] - sorted[3]) };
            let span = (range.1 - range.0).min(bulk);
            let nearest = all.iter().map(|v| (v - value).abs()).fold(f32::MAX, f32::min);
            let want = if all.len() < 2 { f32::from(all.len() == 1) } else { nearest / span };
            let got = memory.meet(value, (0.0, 0.0));
            assert!((got - want).abs() < 1e-3 * want.max(0.1), "row {i}: {got} for {want}");
            all.push(value);
            range = (range.0.min(value), range.1.max(value));
        }
        assert_eq!(memory.meet(all[3], (0.0, 0.0)), 0.0, "a value that is remembered is not new");
    }

    #[test]
    fn a_full_memory_keeps_the_lone_values_and_an_old_one_is_forgotten() {
        let mut memory = Memory::default();
        memory.meet(-100.0, (0.0, 0.0));
        for i in 0..500u16 {
            memory.meet(f32::from(i % 97), (0.0, 0.0));
        }
        memory.age(OLDEST);
        assert_eq!(memory.meet(-100.0, (0.0, 0.0)), 0.0, "the only one of its kind stays");
        memory.age(OLDEST);
        for i in 0..97u16 {
            memory.meet(f32::from(i), (0.0, 0.0));
        }
        memory.age(1);
        let forgotten = memory.meet(-100.0, (0.0, 0.0));
        assert!(forgotten > 0.4, "last seen too long ago, the others begin at 0: {forgotten}");
        assert_eq!(memory.meet(-100.0, (0.0, 0.0)), 0.0);
    }

    #[test]
    fn lone_values_do_not_widen_the_range() {
        let mut plain = Memory::default();
        let mut struck = Memory::default();
        for i in 0..400u16 {
            let value = f32::from(i % 60);
            plain.meet(value, (0.005, 0.0));
            struck.meet(if (200..203).contains(&i) { 1e6 * f32::from(i) } else { value }, (0.005, 0.0));
        }
        let [all, struck_at] = [&mut plain, &mut struck].map(|memory| memory.meet(90.0, (0.005, 0.0)));
        assert!((all - 31.0 / 59.0).abs() < 1e-3, "{all}");
        assert!(struck_at > 0.4 * all, "{struck_at} for {all}");
        // Four are no lone values any more.
        struck.meet(1e9, (0.005, 0.0));
        struck.meet(2e9, (0.005, 0.0));
        assert!(struck.meet(120.0, (0.005, 0.0)) < 1e-3);
    }

    #[test]
    fn one_outlier_makes_it_blind_for_no_longer_than_the_range_lasts() {
        let mut memory = Memory::default();
        for i in 0..2000u16 {
            let value = if i == 100 { 1e9 } else { f32::from(i % 8) };
            memory.meet(value, (0.005, 0.02));
            memory.age(u8::from(i % 2 == 0));
        }
        let known = memory.meet(3.0, (0.005, 0.02));
        let new = memory.meet(12.0, (0.005, 0.02));
        assert!(known < 0.01 && new > 0.3, "{known}, {new}");
    }
}
