//! What a series usually does at this time of its day or week, in half precision.
//!
//! A slot is learnt in single precision while its time lasts and written down when the next one begins: the step from one
//! row of many to the next is smaller than what half precision can tell apart, and a slot that rounds each would stand still.

use half::f16;

/// A ring of `N` equal slots over a period; a slot that was never met is NaN.
#[derive(Clone, Debug)]
pub(crate) struct Profile<const N: usize> {
    pub(crate) slots: [f16; N],
    /// What a slot of 1 stands for; grows when a value would not fit.
    pub(crate) scale: f32,
    /// The slot that is being learnt; `N` before the first.
    pub(crate) open: u32,
    /// Its value.
    pub(crate) mean: f32,
}

/// Slots stay below this, far from the greatest half-precision number.
const FULL: f32 = 16_384.0;

impl<const N: usize> Default for Profile<N> {
    fn default() -> Self {
        Self { slots: [f16::NAN; N], scale: 0.0, open: N as u32, mean: f32::NAN }
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

    /// Moves slot `i` towards `x` by `rate`, or to it if it was empty.
    pub(crate) fn learn(&mut self, i: usize, rate: f32, x: f32) {
        let i = i % N;
        if self.open as usize != i {
            self.close();
            self.mean = self.slot(i);
            self.open = i as u32;
        }
        self.mean = if self.mean.is_finite() { self.mean + rate * (x - self.mean) } else { x };
    }

    /// Writes the slot that was learnt into its place.
    fn close(&mut self) {
        let mean = self.mean;
        if mean.abs() > FULL * self.scale {
            self.grow(mean);
        }
        let scale = self.scale;
        if let Some(slot) = self.slots.get_mut(self.open as usize) {
            *slot = if scale > 0.0 { f16::from_f32(mean / scale) } else { f16::ZERO };
        }
    }

    /// Makes room for `x`: the slots are written anew in the larger scale.
    fn grow(&mut self, x: f32) {
        let scale = x.abs().max(f32::MIN_POSITIVE) / 16.0;
        for slot in &mut self.slots {
            *slot = f16::from_f32(f32::from(*slot) * (self.scale / scale));
        }
        self.scale = scale;
    }

    /// The usual value of slot `i`, counted around the ring. NaN if not known.
    pub(crate) fn slot(&self, i: usize) -> f32 {
        if self.open as usize == i % N {
            return self.mean;
        }
        self.slots.get(i % N).map_or(f32::NAN, |v| f32::from(*v) * self.scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_small_and_large_values_to_three_digits() {
        let mut p = Profile::<24>::default();
        p.learn(0, 0.5, 0.0);
        assert_eq!(p.at(0.0, 3600.0, 3600.0), 0.0);
        for (hour, x) in [(1, 1e-9f32), (2, -3.3e-9), (3, 1e3), (4, -1.5e6), (5, 2.5e25)] {
            p.learn(hour, 0.5, x);
            let got = p.at(hour as f32 * 3600.0, 3600.0, 3600.0);
            assert!((got / x - 1.0).abs() < 1e-3, "{got} for {x}");
        }
        assert!((p.at(4.0 * 3600.0, 3600.0, 3600.0)).abs() <= 1.5e6, "too small beside the largest to be told from 0");
    }

    #[test]
    fn many_small_steps_arrive() {
        let mut p = Profile::<24>::default();
        p.learn(0, 1.0, 1000.0);
        for day in 0..60 {
            for _ in 0..60 {
                p.learn(0, 0.01, 1010.0);
            }
            p.learn(1 + day % 23, 0.01, 0.0);
        }
        assert!((p.slot(0) - 1010.0).abs() < 1.0, "{}", p.slot(0));
    }

    #[test]
    fn learns_and_interpolates() {
        let mut p = Profile::<24>::default();
        assert!(p.at(0.0, 3600.0, 60.0).is_nan());
        for hour in 0..24 {
            p.learn(hour, 0.5, hour as f32);
        }
        assert_eq!(p.at(5.0 * 3600.0 + 1800.0, 3600.0, 60.0), 5.0);
        assert_eq!(p.at(6.0 * 3600.0, 3600.0, 60.0), 5.5);
        assert_eq!(p.at(6.0 * 3600.0, 3600.0, 3600.0), 6.0);
        assert_eq!(p.at(0.0, 3600.0, 60.0), 11.5, "midnight lies between the last slot and the first");
        p.learn(3, 0.5, 5.0);
        assert_eq!(p.at(3.0 * 3600.0, 3600.0, 3600.0), 4.0);
    }
}
