//! What forecasters that have learnt from different series give to each other: their networks, of which each may take the
//! mean (federated averaging, McMahan et al. 2017). All start from the same fresh weights, which is what makes a mean of
//! them a network.

use super::snapshot::{Field, checksum};
use super::{Forecaster, Learnt};
use crate::lstm::{Adam, Network};

const FORMAT: &[u8; 8] = b"PLMNET\0\x01";

impl Forecaster {
    /// The network and how much it has learnt, as bytes: a format, both, and a checksum; 24 KB.
    #[must_use]
    pub fn weights(&self) -> Vec<u8> {
        let mut to = FORMAT.to_vec();
        self.network.put(&mut to);
        self.learnt.put(&mut to);
        checksum(&to).put(&mut to);
        to
    }

    /// Takes the mean of its own network and of these, each of which counts as much as it has learnt, up to the batches
    /// after which learning has cooled to half. Left out is what cannot be read, is not finite, has another shape or has
    /// learnt nothing. Returns how many were taken.
    pub fn adopt(&mut self, others: &[Vec<u8>]) -> usize {
        let others: Vec<(Network, Learnt)> = others.iter().filter_map(|bytes| read(bytes)).collect();
        let shape = |network: &Network| network.parameters().map(<[f32]>::len);
        let counts = |learnt: &Learnt| (learnt.batches as f64).min(f64::from(self.settings.cooling.max(1.0)));
        let fits = |(network, learnt): &&(Network, Learnt)| {
            shape(network) == shape(&self.network)
                && learnt.batches > 0
                && network.parameters().iter().all(|part| part.iter().all(|v| v.is_finite()))
        };
        let others: Vec<&(Network, Learnt)> = others.iter().filter(fits).collect();
        if others.is_empty() {
            return 0;
        }
        let own = counts(&self.learnt);
        let total = own + others.iter().map(|(_, learnt)| counts(learnt)).sum::<f64>();
        let mut mean = self.network.clone();
        let scale = |network: &mut Network, by: f64| {
            network.parameters_mut().into_iter().flatten().for_each(|v| *v = (f64::from(*v) * by) as f32);
        };
        scale(&mut mean, own / total);
        for (network, learnt) in &others {
            let share = counts(learnt) / total;
            let parts = mean.parameters_mut().into_iter().flatten().zip(network.parameters().into_iter().flatten());
            parts.for_each(|(m, v)| *m += (f64::from(*v) * share) as f32);
        }
        self.network = mean;
        if self.learnt.batches == 0 {
            // It goes on where the others are, with moments of its own.
            self.adam = Adam::new(&self.network);
            let most = others.iter().map(|(_, learnt)| learnt).max_by_key(|learnt| learnt.batches);
            self.learnt = most.copied().unwrap_or_default();
        }
        others.len()
    }
}

/// `None` when the bytes are of another version, or not whole.
fn read(bytes: &[u8]) -> Option<(Network, Learnt)> {
    let (body, sum) = bytes.split_last_chunk()?;
    let mut body = body.strip_prefix(FORMAT).filter(|_| checksum(body) == u64::from_le_bytes(*sum))?;
    let from = &mut body;
    Network::get(from).zip(Learnt::get(from)).filter(|_| from.is_empty())
}

#[cfg(test)]
mod tests {
    use super::super::{Row, Settings};
    use super::*;
    use crate::lstm::Random;

    fn settings() -> Settings {
        Settings { hidden: 6, replay: 32.0, batches: 8, stretches: 256, ..Settings::default() }
    }

    /// Twelve series that swing at a pace of their own and with some noise; gives the mean pinball loss of the next row, in
    /// units of the noise, over the rows from `judged` on.
    fn show(forecaster: &mut Forecaster, seed: u64, rows: std::ops::Range<usize>, judged: usize) -> f64 {
        while forecaster.len() < 12 {
            forecaster.add();
        }
        let mut random = Random(seed);
        let paces: Vec<f64> = (0..12).map(|_| 6.0 + 6.0 * f64::from(random.unit())).collect();
        let (mut loss, mut count, mut said) = (0.0, 0, [None; 12]);
        for at in rows {
            let batch: Vec<Row> = (0..12)
                .map(|series| {
                    let swing = (at as f64 / paces[series] * std::f64::consts::TAU).sin();
                    let value = 10.0 + 4.0 * swing.abs() + 0.1 * f64::from(random.unit());
                    Row { series, time: 60.0 * at as f64, value }
                })
                .collect();
            for row in &batch {
                if let Some(expected) = said[row.series].filter(|_| at >= judged) {
                    let missed: f64 = row.value - expected;
                    loss += missed.abs();
                    count += 1;
                }
            }
            let mut outlooks = Vec::new();
            forecaster.observe(&batch, &mut outlooks);
            outlooks.iter().for_each(|outlook| said[outlook.series] = Some(outlook.next[2]));
            forecaster.learn();
        }
        loss / f64::from(count.max(1))
    }

    #[test]
    fn who_begins_with_the_mean_of_others_knows_what_they_have_learnt() {
        let mut others = [3, 4].map(|seed| {
            let mut forecaster = Forecaster::new(settings());
            show(&mut forecaster, seed, 0..400, 400);
            assert!(forecaster.learnt().batches > 20, "{:?}", forecaster.learnt());
            forecaster
        });
        let (mut fresh, mut taught) = (Forecaster::new(settings()), Forecaster::new(settings()));
        let given = [others[0].weights(), others[1].weights()];
        assert_eq!(taught.adopt(&given), 2);
        assert!(taught.learnt().batches >= others[0].learnt().batches.min(others[1].learnt().batches));
        let [alone, with] = [&mut fresh, &mut taught].map(|forecaster| show(forecaster, 5, 0..120, 40));
        assert!(with < 0.9 * alone, "{with} against {alone}");
        // Those that have learnt go on with the mean, and none is worse off for it by much.
        let mut before = others[0].clone();
        assert_eq!(others[0].adopt(&given[1..]), 1);
        let [alone, with] = [&mut before, &mut others[0]].map(|forecaster| show(forecaster, 3, 400..500, 400));
        assert!(with < 1.1 * alone, "{with} against {alone}");
    }

    #[test]
    fn what_is_no_network_changes_nothing() {
        let mut forecaster = Forecaster::new(settings());
        show(&mut forecaster, 1, 0..200, 200);
        let before = forecaster.weights();
        let mut damaged = before.clone();
        damaged[100] ^= 1;
        let fresh = Forecaster::new(settings()).weights();
        let larger = Forecaster::new(Settings { hidden: 7, ..settings() }).weights();
        let cut = [8, 12, 16, before.len() - 1].map(|cut| before[..cut].to_vec());
        let none = [damaged, fresh, larger, b"something".to_vec(), Vec::new()].into_iter().chain(cut);
        assert_eq!(forecaster.adopt(&none.collect::<Vec<_>>()), 0);
        assert_eq!(forecaster.weights(), before);
    }
}
