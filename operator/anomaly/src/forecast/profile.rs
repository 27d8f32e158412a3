//! What a series usually does at this time of its day or week.

/// A ring of `N` equal slots over a period; a slot that was never met is NaN.
#[derive(Clone, Debug)]
pub(crate) struct Profile<const N: usize> {
    pub(crate) slots: [f32; N],
}

impl<const N: usize> Default for Profile<N> {
    fn default() -> Self {
        Self { slots: [f32::NAN; N] }
    }
}

impl<const N: usize> Profile<N> {
    /// The usual value `phase` seconds into a period cut into slots of `width` seconds: between the two nearest slots'
    /// middles if samples are at least four to a slot (`step` seconds apart), else that of the slot. NaN if not known.
    pub(crate) fn at(&self, phase: f32, width: f32, step: f32) -> f32 {
        if 4.0 * step > width {
            return self.slot((phase / width) as usize);
        }
        let place = phase / width + (N as f32 - 0.5);
        let whole = place as usize;
        let (a, b) = (self.slot(whole), self.slot(whole + 1));
        if a.is_nan() {
            b
        } else if b.is_nan() {
            a
        } else {
            a + (place - whole as f32) * (b - a)
        }
    }

    /// Moves the slot of `phase` towards `x` by `rate`, or to it if it was empty.
    pub(crate) fn learn(&mut self, phase: f32, width: f32, rate: f32, x: f32) {
        if let Some(slot) = self.slots.get_mut((phase / width) as usize % N) {
            *slot = if slot.is_finite() { *slot + rate * (x - *slot) } else { x };
        }
    }

    fn slot(&self, i: usize) -> f32 {
        self.slots.get(i % N).copied().unwrap_or(f32::NAN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_and_interpolates() {
        let mut p = Profile::<24>::default();
        assert!(p.at(0.0, 3600.0, 60.0).is_nan());
        for hour in 0..24 {
            p.learn(hour as f32 * 3600.0 + 10.0, 3600.0, 0.5, hour as f32);
        }
        assert_eq!(p.at(5.0 * 3600.0 + 1800.0, 3600.0, 60.0), 5.0);
        assert_eq!(p.at(6.0 * 3600.0, 3600.0, 60.0), 5.5);
        assert_eq!(p.at(6.0 * 3600.0, 3600.0, 3600.0), 6.0);
        assert_eq!(p.at(0.0, 3600.0, 60.0), 11.5, "midnight lies between the last slot and the first");
        p.learn(3.0 * 3600.0, 3600.0, 0.5, 5.0);
        assert_eq!(p.at(3.0 * 3600.0, 3600.0, 3600.0), 4.0);
    }
}
