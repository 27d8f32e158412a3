//! Groups of series that behave alike, by k-means over a few traits; a new series borrows from its group.

use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use linfa_clustering::KMeans;
use ndarray::Array2;

/// Number of traits.
pub const TRAITS: usize = 6;

/// How a series behaves, each trait without unit and of order 1.
pub type Traits = [f64; TRAITS];

/// Groups found among some series.
#[derive(Clone, Debug)]
pub struct Groups {
    mean: Traits,
    scale: Traits,
    model: Option<KMeans<f64, linfa_nn::distance::L2Dist>>,
    /// Of each series that was grouped: its group.
    pub members: Vec<usize>,
    /// Number of groups.
    pub count: usize,
}

impl Groups {
    /// Groups `series` into at most `most` groups, fewer if there are under eight series to each.
    #[must_use]
    pub fn find(series: &[Traits], most: usize) -> Self {
        let n = series.len().max(1) as f64;
        let mut mean = [0.0; TRAITS];
        let mut scale = [0.0; TRAITS];
        for traits in series {
            mean.iter_mut().zip(traits).for_each(|(m, t)| *m += finite(*t) / n);
        }
        for traits in series {
            scale.iter_mut().zip(traits.iter().zip(mean)).for_each(|(s, (t, m))| *s += (finite(*t) - m).powi(2) / n);
        }
        scale.iter_mut().for_each(|s| *s = s.sqrt());
        let one = Self { mean, scale, model: None, members: vec![0; series.len()], count: 1 };
        let count = most.min(series.len() / 8);
        if count < 2 {
            return one;
        }
        let points: Vec<f64> = series.iter().flat_map(|t| one.normalised(t)).collect();
        let Ok(points) = Array2::from_shape_vec((series.len(), TRAITS), points) else { return one };
        let data = DatasetBase::from(points);
        let Ok(model) = KMeans::params(count).max_n_iterations(100).fit(&data) else { return one };
        let members = model.predict(data.records()).to_vec();
        Self { model: Some(model), members, count, ..one }
    }

    /// The group that a series with these traits belongs to.
    #[must_use]
    pub fn of(&self, traits: &Traits) -> usize {
        let point = ndarray::Array1::from_iter(self.normalised(traits));
        self.model.as_ref().map_or(0, |m| m.predict(&point))
    }

    fn normalised(&self, traits: &Traits) -> Traits {
        std::array::from_fn(|i| match (traits.get(i), self.mean.get(i), self.scale.get(i)) {
            (Some(t), Some(m), Some(s)) if *s > 0.0 => ((finite(*t) - m) / s).clamp(-5.0, 5.0),
            _ => 0.0,
        })
    }
}

fn finite(v: f64) -> f64 {
    if v.is_finite() { v } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lstm::Random;

    #[test]
    fn finds_the_kinds_that_are_there() {
        let mut random = Random(2);
        let mut series: Vec<Traits> = Vec::new();
        for i in 0..60 {
            let kind = i % 3;
            series.push(std::array::from_fn(|t| {
                f64::from(u8::from(t == kind)) * 10.0 + f64::from(random.unit()) + if i == 7 { f64::NAN } else { 0.0 }
            }));
        }
        let groups = Groups::find(&series, 3);
        assert_eq!(groups.count, 3);
        for (i, t) in series.iter().enumerate().filter(|(i, _)| *i != 7) {
            assert_eq!(groups.members[i], groups.members[i % 3], "series {i}");
            assert_eq!(groups.of(t), groups.members[i]);
        }
        assert_ne!(groups.members[0], groups.members[1]);
        assert_ne!(groups.members[1], groups.members[2]);
        assert_eq!(Groups::find(&series, 3).members, groups.members, "the same every time");
    }

    #[test]
    fn few_series_are_one_group() {
        for n in [0, 1, 15] {
            let groups = Groups::find(&vec![[1.0; TRAITS]; n], 4);
            assert_eq!((groups.count, groups.of(&[2.0; TRAITS])), (1, 0));
        }
    }
}
