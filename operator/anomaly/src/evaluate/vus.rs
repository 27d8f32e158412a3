//! Volume under the precision-recall surface (Paparrizos and others 2022): the average precision of scores without
//! any threshold, with labels that fade out over a buffer around each anomaly, averaged over lengths of the buffer.

/// Thresholds, spread evenly over the ranks of the scores.
const THRESHOLDS: usize = 250;
/// Lengths of the buffer, spread evenly from none to the longest.
const LENGTHS: usize = 11;

/// Volume in [0, 1] for buffers of up to `longest` rows; none without an anomaly.
pub fn vus_pr(labels: &[bool], scores: &[f64], longest: usize) -> Option<f64> {
    let anomalies = runs(labels.iter().copied());
    if anomalies.is_empty() || labels.len() != scores.len() {
        return None;
    }
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let thresholds: Vec<f64> =
        (0..THRESHOLDS).filter_map(|k| sorted.get((sorted.len() - 1) * k / (THRESHOLDS - 1)).copied()).collect();
    // The first threshold that each row reaches.
    let ranks: Vec<usize> = scores.iter().map(|s| thresholds.partition_point(|t| t > s)).collect();
    let lengths = (0..LENGTHS).map(|i| longest * i / (LENGTHS - 1));
    let areas = lengths.map(|buffer| average_precision(labels, &anomalies, &ranks, buffer));
    Some(areas.sum::<f64>() / LENGTHS as f64)
}

/// What a threshold adds to that of the one before.
#[derive(Clone, Copy, Default)]
struct Step {
    rows: f64,
    anomalous: f64,
    buffered: f64,
    segments: f64,
}

/// Area under precision over recall with one buffer.
fn average_precision(labels: &[bool], anomalies: &[(usize, usize)], ranks: &[usize], buffer: usize) -> f64 {
    let weights = soften(labels.len(), anomalies, buffer);
    let segments = runs(weights.iter().map(|w| *w > 0.0));
    let mut steps = vec![Step::default(); THRESHOLDS + 1];
    for ((weight, rank), label) in weights.iter().zip(ranks).zip(labels) {
        let Some(step) = steps.get_mut(*rank) else { continue };
        step.rows += 1.0;
        *(if *label { &mut step.anomalous } else { &mut step.buffered }) += weight;
    }
    for (begin, end) in &segments {
        let first = ranks.get(*begin..=*end).and_then(|ranks| ranks.iter().min());
        if let Some(step) = first.and_then(|first| steps.get_mut(*first)) {
            step.segments += 1.0;
        }
    }
    let positives: f64 = anomalies.iter().map(|(begin, end)| (end - begin + 1) as f64).sum();
    let (mut area, mut recall_before, mut sum) = (0.0, 0.0, Step::default());
    for step in steps {
        sum.rows += step.rows;
        sum.anomalous += step.anomalous;
        sum.buffered += step.buffered;
        sum.segments += step.segments;
        let hit = sum.anomalous + sum.buffered;
        // A buffer counts as far as it is hit, and half of that as something to be found.
        let recall = (hit / (positives + sum.buffered / 2.0)).min(1.0) * sum.segments / segments.len() as f64;
        if sum.rows > 0.0 {
            area += (recall - recall_before) * hit / sum.rows;
        }
        recall_before = recall;
    }
    area
}

/// Weight 1 inside anomalies, falling over half a buffer on both sides.
fn soften(rows: usize, anomalies: &[(usize, usize)], buffer: usize) -> Vec<f64> {
    let mut weights = vec![0.0f64; rows];
    let mut add = |row: usize, weight: f64| {
        if let Some(at) = weights.get_mut(row) {
            *at = (*at + weight).min(1.0);
        }
    };
    for (begin, end) in anomalies {
        (*begin..=*end).for_each(|row| add(row, 1.0));
        for distance in 1..=buffer / 2 {
            let weight = (1.0 - distance as f64 / buffer as f64).sqrt();
            add(end + distance, weight);
            if let Some(row) = begin.checked_sub(distance) {
                add(row, weight);
            }
        }
    }
    weights
}

/// First and last row of each run of true.
fn runs(flags: impl Iterator<Item = bool>) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (row, _) in flags.enumerate().filter(|(_, flag)| *flag) {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == row => *end = row,
            _ => runs.push((row, row)),
        }
    }
    runs
}
