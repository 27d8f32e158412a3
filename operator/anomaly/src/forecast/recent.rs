//! Order statistics of the last values of a series.

/// Values kept.
pub(crate) const KEPT: usize = 32;

/// The last [`KEPT`] values, and their order.
#[derive(Clone, Debug)]
pub(crate) struct Recent {
    pub(crate) values: [f32; KEPT],
    /// Places in `values`, by rising value; the first `len` count.
    pub(crate) order: [u8; KEPT],
    pub(crate) len: u8,
    /// The place that is written next.
    pub(crate) at: u8,
}

impl Default for Recent {
    fn default() -> Self {
        Self { values: [0.0; KEPT], order: [0; KEPT], len: 0, at: 0 }
    }
}

impl Recent {
    /// Adds a value, which takes the place of the oldest one.
    pub(crate) fn push(&mut self, x: f32) {
        let place = self.at;
        let mut len = usize::from(self.len).min(KEPT);
        if len == KEPT {
            if let Some(i) = self.order.iter().position(|p| *p == place) {
                self.order.copy_within(i + 1.., i);
            }
            len -= 1;
        }
        if let Some(slot) = self.values.get_mut(usize::from(place)) {
            *slot = x;
        }
        let less = self.order.iter().take(len).filter(|p| self.value(**p) < x).count();
        self.order.copy_within(less..len, less + 1);
        if let Some(slot) = self.order.get_mut(less) {
            *slot = place;
        }
        self.len = (len + 1) as u8;
        self.at = (place + 1) % KEPT as u8;
    }

    /// The value of rank `p` in [0, 1]; 0 before the first.
    pub(crate) fn quantile(&self, p: f32) -> f32 {
        let last = usize::from(self.len).saturating_sub(1);
        let rank = (p * last as f32 + 0.5) as usize;
        self.order.get(rank.min(last)).map_or(0.0, |i| self.value(*i))
    }

    fn value(&self, place: u8) -> f32 {
        self.values.get(usize::from(place)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lstm::Random;

    #[test]
    fn ranks_are_those_of_a_sorted_copy() {
        let mut random = Random(3);
        let (mut recent, mut all) = (Recent::default(), Vec::new());
        assert_eq!(recent.quantile(0.5), 0.0);
        for _ in 0..200 {
            let x = (random.unit() * 10.0).floor();
            recent.push(x);
            all.push(x);
            let mut sorted = all[all.len().saturating_sub(KEPT)..].to_vec();
            sorted.sort_by(f32::total_cmp);
            for p in [0.0, 0.05, 0.5, 0.95, 1.0] {
                let rank = (p * (sorted.len() - 1) as f32 + 0.5) as usize;
                assert_eq!(recent.quantile(p), sorted[rank], "{p} of {sorted:?}");
            }
        }
    }
}
