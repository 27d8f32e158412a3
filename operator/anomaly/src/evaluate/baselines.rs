//! What any detector must beat. Larger scores are more anomalous; only their order means something.

use super::halves::random;

/// Rows over which the windowed Gaussian looks back, and rows after which it looks anew.
const WINDOW: usize = 6400;
const STEP: usize = 100;

/// Scores of a detector that never alerts.
pub fn null(rows: usize) -> Vec<f64> {
    vec![0.0; rows]
}

/// Scores in [0, 1) that know nothing.
pub fn uniform(rows: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    (0..rows).map(|_| (random(&mut state) >> 11) as f64 / (1u64 << 53) as f64).collect()
}

/// Distance from the median of the first `learnt` rows: what a static threshold compares.
pub fn static_threshold(values: &[f64], learnt: usize) -> Vec<f64> {
    let mut first: Vec<f64> = values.iter().take(learnt.max(1)).copied().filter(|v| v.is_finite()).collect();
    first.sort_unstable_by(f64::total_cmp);
    let middle = super::events::quantile(&first, 0.5);
    values.iter().map(|v| if v.is_finite() { (v - middle).abs() } else { 0.0 }).collect()
}

/// Distance from the mean of a sliding window, in its standard deviations.
pub fn windowed_gaussian(values: &[f64]) -> Vec<f64> {
    let (mut mean, mut deviation) = (values.first().copied().unwrap_or(0.0), 1e-9);
    let mut scores = Vec::with_capacity(values.len());
    for part in values.chunks(STEP) {
        scores.extend(part.iter().map(|v| if v.is_finite() { (v - mean).abs() / (deviation + 1e-12) } else { 0.0 }));
        let end = scores.len();
        let past = values.get(end.saturating_sub(WINDOW)..end).unwrap_or_default();
        let known = past.iter().filter(|v| v.is_finite());
        let count = known.clone().count();
        if count > 0 {
            mean = known.clone().sum::<f64>() / count as f64;
            deviation = (known.map(|v| (v - mean) * (v - mean)).sum::<f64>() / count as f64).sqrt();
        }
    }
    scores
}
