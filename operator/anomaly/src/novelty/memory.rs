//! The values that a feature has had, and how far a new one is from them.

use serde::{Deserialize, Serialize};

use super::SLOTS;

/// Remembered values of one feature, sorted, each with the hour it was last seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    values: Vec<f32>,
    seen: Vec<u16>,
    low: f32,
    high: f32,
}

impl Memory {
    /// Distance from the nearest remembered value in units of the running range; then remembers the value.
    ///
    /// `hour` counts from the begin of the series, values last seen before `horizon` are forgotten, a value nearer than
    /// `resolution` to a remembered one takes no slot of its own, and the range contracts by the share `shrink`.
    pub(super) fn meet(&mut self, value: f32, hour: u16, horizon: u16, (resolution, shrink): (f32, f32)) -> f32 {
        if self.values.is_empty() && self.low == 0.0 && self.high == 0.0 {
            (self.low, self.high) = (value, value);
        }
        let span = self.high - self.low;
        let mut at = self.values.partition_point(|v| *v < value);
        let nearest = self.nearest(&mut at, value, horizon);
        let novelty = match nearest {
            Some((_, distance)) if span > 0.0 => distance / span,
            Some((_, distance)) => f32::from(distance > 0.0),
            None => 0.0,
        };
        match nearest.and_then(|(slot, distance)| (distance <= resolution * span).then_some(slot)) {
            Some(slot) => self.seen[slot] = hour,
            None => {
                if self.values.len() >= SLOTS {
                    at -= usize::from(self.evict() < at);
                }
                self.values.insert(at, value);
                self.seen.insert(at, hour);
            }
        }
        let centre = f32::midpoint(self.low, self.high);
        self.high = (self.high - shrink * (self.high - centre)).max(value);
        self.low = (self.low + shrink * (centre - self.low)).min(value);
        novelty
    }

    /// The nearest value that is not forgotten; drops those that are and lie in the way.
    fn nearest(&mut self, at: &mut usize, value: f32, horizon: u16) -> Option<(usize, f32)> {
        loop {
            let above = self.values.get(*at).map(|v| (*at, v - value));
            let below = at.checked_sub(1).and_then(|i| Some((i, value - self.values.get(i)?)));
            let nearest = match (below, above) {
                (Some(below), Some(above)) => Some(if below.1 <= above.1 { below } else { above }),
                (below, above) => below.or(above),
            }?;
            if self.seen.get(nearest.0).is_some_and(|seen| *seen >= horizon) {
                return Some(nearest);
            }
            self.values.remove(nearest.0);
            self.seen.remove(nearest.0);
            *at -= usize::from(nearest.0 < *at);
        }
    }

    /// Drops the value whose neighbours are nearest to each other: where values are dense one fewer makes nothing new,
    /// while the oldest may be the only one of its kind.
    fn evict(&mut self) -> usize {
        let gaps = self.values.windows(3).map(|w| w.last().zip(w.first()).map_or(f32::INFINITY, |(c, a)| c - a));
        let densest = gaps.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(slot, _)| slot + 1);
        self.values.remove(densest);
        self.seen.remove(densest);
        densest
    }

    /// Bytes of the state, as stored.
    pub(super) fn bytes(&self) -> usize {
        6 * SLOTS.max(self.values.len()) + 8
    }
}
