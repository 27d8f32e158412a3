//! Logistic and hyperbolic functions over slices, vectorised for the machine that runs them.

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts, so that `x − n ln 2` keeps its last bits (Cody and Waite).
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding this rounds to an integer and leaves that integer in the lowest bits.
const ROUND: f32 = 12_582_912.0;

/// `e^x` for any finite `x`, to about two units in the last place; saturates beyond ±87. Branch-free, so loops vectorise.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 87.0);
    let m = x * LOG2_E + ROUND;
    let n = m - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    // Taylor's series suffices on |r| ≤ ln 2 / 2 (remainder below 1e-8).
    let p = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let p = 1.0 / 120.0 + r * p;
    let p = 1.0 / 24.0 + r * p;
    let p = 1.0 / 6.0 + r * p;
    let p = 0.5 + r * p;
    let p = 1.0 + r * (1.0 + r * p);
    p * f32::from_bits(m.to_bits().wrapping_add(127) << 23)
}

/// The logistic function.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The hyperbolic tangent.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// `ln(1 + e^x)`, the smooth maximum of `x` and 0.
#[inline(always)]
pub(crate) fn softplus(x: f32) -> f32 {
    x.max(0.0) + ln(1.0 + exp(-x.abs()))
}

/// [`softplus`] of every value in its place.
pub(crate) struct Soften<'a>(pub(crate) &'a mut [f32]);

impl pulp::WithSimd for Soften<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        self.0.iter_mut().for_each(|v| *v = softplus(*v));
    }
}

/// Natural logarithm of a positive, normal number, to about 1e-6. Branch-free.
#[inline(always)]
pub(crate) fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // Mantissa in [√½, √2): the series in (m − 1) / (m + 1) then converges fast.
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let e = (shifted as i32 >> 23) as f32;
    let m = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3));
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    let p = s * (2.0 + q * (2.0 / 3.0 + q * (2.0 / 5.0 + q * (2.0 / 7.0))));
    p + e * std::f32::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agree_with_the_standard_library() {
        for i in -2000..=2000 {
            let x = i as f32 * 0.02;
            assert!((exp(x) / x.exp() - 1.0).abs() < 1e-6, "exp {x}");
            assert!((sigmoid(x) - 1.0 / (1.0 + (-x).exp())).abs() < 1e-6, "sigmoid {x}");
            assert!((tanh(x) - x.tanh()).abs() < 1e-6, "tanh {x}");
            assert!((softplus(x) - x.exp().ln_1p()).abs() < 1e-5, "softplus {x}");
            let y = x.exp();
            assert!((ln(y) - y.ln()).abs() < 4e-6, "ln {y}");
        }
    }

    #[test]
    fn extremes_stay_finite() {
        for x in [f32::MAX, f32::MIN, 1e4, -1e4] {
            assert!(exp(x).is_finite() && sigmoid(x).is_finite() && tanh(x).is_finite(), "{x}");
        }
        assert!((exp(88.0) > 0.0) && exp(-200.0) > 0.0);
    }
}
