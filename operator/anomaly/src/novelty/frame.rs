//! Numbers of a known range in two bytes each.

use serde::{Deserialize, Serialize};

/// Codes of numbers go from 0 to this; [`NONE`] stands for no number.
const TOP: f32 = 65_534.0;
/// The code of no number.
pub(super) const NONE: u16 = u16::MAX;

/// A range, and how fine numbers in it are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Frame {
    low: f32,
    /// Distance of neighbouring codes; 0 while there was only one number.
    unit: f32,
}

impl Frame {
    /// A range that holds this number alone.
    pub(super) fn of(low: f32) -> Self {
        Self { low, unit: 0.0 }
    }

    /// The code of a number, if the range holds it.
    pub(super) fn code(&self, value: f32) -> Option<u16> {
        if self.unit == 0.0 {
            return (value == self.low).then_some(0);
        }
        let place = (value - self.low) / self.unit + 0.5;
        (0.0..TOP + 1.0).contains(&place).then_some(place as u16)
    }

    pub(super) fn value(&self, code: u16) -> f32 {
        self.low + self.unit * f32::from(code)
    }

    pub(super) fn width(&self) -> f32 {
        self.unit * TOP
    }

    /// A range twice as wide as from `low` to `high`, around them; writes `codes` anew in it.
    pub(super) fn refit(&mut self, low: f32, high: f32, codes: &mut [u16]) {
        let width = high - low;
        let wide = Self { low: low - 0.5 * width, unit: (2.0 * width / TOP).max(f32::MIN_POSITIVE) };
        for code in codes.iter_mut().filter(|code| **code != NONE) {
            let place = (self.value(*code) - wide.low) / wide.unit + 0.5;
            *code = place.clamp(0.0, TOP) as u16;
        }
        *self = wide;
    }

    /// The least and the greatest of some numbers, if there is one.
    pub(super) fn range(&self, codes: &[u16]) -> Option<(f32, f32)> {
        let known = codes.iter().copied().filter(|code| *code != NONE);
        let (low, high) = known.fold((NONE, 0), |(low, high), code| (code.min(low), code.max(high)));
        (low <= high).then(|| (self.value(low), self.value(high)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_to_a_thousandth_of_a_percent_of_the_range() {
        let mut frame = Frame::of(5.0);
        assert_eq!((frame.code(5.0), frame.code(5.1), frame.value(0)), (Some(0), None, 5.0));
        let mut codes = [0, NONE];
        frame.refit(-1e6, 3e6, &mut codes);
        assert_eq!(codes[1], NONE);
        for value in [5.0, -1e6, 0.0, 3e6, 2.9e6] {
            let code = frame.code(value).expect("within");
            assert!((frame.value(code) - value).abs() < 1e-5 * frame.width(), "{value}: {}", frame.value(code));
        }
        assert!((frame.value(codes[0]) - 5.0).abs() < 1e-5 * frame.width());
        assert_eq!((frame.code(1e7), frame.code(-1e7), frame.code(f32::NAN)), (None, None, None));
    }

    #[test]
    fn the_widest_range_is_finite() {
        let mut frame = Frame::of(-1e37);
        let mut codes = [0];
        frame.refit(-1e37, 1e37, &mut codes);
        assert!(frame.value(codes[0]).is_finite() && frame.code(1e37).is_some());
        assert_eq!(frame.range(&codes).map(|(low, high)| low == high), Some(true));
        assert_eq!(frame.range(&[NONE]), None);
    }
}
