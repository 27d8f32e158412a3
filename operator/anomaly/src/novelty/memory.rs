//! The values that a series has had, and how far a new one is from them.

/// Remembered values of one feature, sorted, each with the time it was last seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Memory {
    values: Vec<f32>,
    seen: Vec<u32>,
    low: f32,
    high: f32,
}

/// When a memory stores and forgets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeping {
    /// Values kept.
    pub slots: usize,
    /// A value nearer than this share of the range to a remembered one refreshes it.
    pub resolution: f32,
    /// Values last seen before this are forgotten.
    pub horizon: u32,
    /// Share by which the range contracts before it meets the value.
    pub shrink: f32,
}

impl Memory {
    /// Distance to the nearest remembered value in units of the running range; then remembers the value.
    pub(super) fn meet(&mut self, value: f32, now: u32, keeping: Keeping) -> f32 {
        if self.values.is_empty() {
            (self.low, self.high) = (value, value);
            self.insert(0, value, now);
            return 0.0;
        }
        let span = self.high - self.low;
        let mut at = self.values.partition_point(|v| *v < value);
        let nearest = self.nearest(&mut at, value, keeping.horizon);
        let (distance, novelty) = match nearest {
            Some((_, distance)) if span > 0.0 => (distance, distance / span),
            Some((_, distance)) => (distance, f32::from(distance > 0.0)),
            None => (f32::INFINITY, 0.0),
        };
        match nearest {
            Some((slot, _)) if distance <= keeping.resolution * span => self.seen[slot] = now,
            _ => {
                if self.values.len() >= keeping.slots {
                    at -= usize::from(self.evict() < at);
                }
                self.insert(at, value, now);
            }
        }
        let centre = f32::midpoint(self.low, self.high);
        self.high = (self.high - keeping.shrink * (self.high - centre)).max(value);
        self.low = (self.low + keeping.shrink * (centre - self.low)).min(value);
        novelty
    }

    /// The nearest value that is not forgotten; drops those that are and lie in the way.
    fn nearest(&mut self, at: &mut usize, value: f32, horizon: u32) -> Option<(usize, f32)> {
        loop {
            let above = self.values.get(*at).map(|v| (*at, v - value));
            let below = at.checked_sub(1).map(|i| (i, value - self.values[i]));
            let nearest = match (below, above) {
                (Some(b), Some(a)) => Some(if b.1 <= a.1 { b } else { a }),
                (b, a) => b.or(a),
            }?;
            if self.seen[nearest.0] >= horizon {
                return Some(nearest);
            }
            self.values.remove(nearest.0);
            self.seen.remove(nearest.0);
            *at -= usize::from(nearest.0 < *at);
        }
    }

    fn insert(&mut self, at: usize, value: f32, now: u32) {
        self.values.insert(at, value);
        self.seen.insert(at, now);
    }

    /// Drops the value that was not seen for the longest time.
    fn evict(&mut self) -> usize {
        let oldest = self.seen.iter().enumerate().min_by_key(|(_, seen)| **seen).map_or(0, |(i, _)| i);
        self.values.remove(oldest);
        self.seen.remove(oldest);
        oldest
    }
}
