//! What the shop's services did, as a function of time and a seed: the same call has the same answer, always.

use std::{collections::VecDeque, f64::consts::TAU};

use plimsoll_slo::evaluate::{Labels, Sample};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// The rules' base range, and how often traffic is looked at, in seconds.
const RANGE: i64 = 300;
const LOOK: i64 = 30;

/// Something that went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incident {
    /// Seconds since 1970.
    pub(super) from: i64,
    /// `None` while it lasts.
    pub(super) to: Option<i64>,
    /// Share of the events that fail.
    pub(super) fails: f64,
    /// Share of the traffic that stays away.
    pub(super) lost: f64,
}

impl Incident {
    fn is_on(&self, t: i64) -> bool {
        t >= self.from && self.to.is_none_or(|to| t < to)
    }
}

/// How the base rates of an SLO come about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Means over five minutes.
    Rates,
    /// Each minute is good or bad.
    Slices,
}

/// The traffic of one group of an SLO.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// The SLO.
    pub(super) slo: &'static str,
    /// The values of its `groupBy`.
    pub(super) labels: Labels,
    kind: Kind,
    /// Events per second at noon on a weekday.
    busy: f64,
    /// Share of that which stays at night.
    night: f64,
    /// Share that fails on a good day.
    usual: f64,
    /// Whether the live fault reaches it.
    pub(super) faulty: bool,
    pub(super) incidents: Vec<Incident>,
    seed: u64,
    /// The looks of the last five minutes, as events per second, all and bad.
    recent: VecDeque<(i64, f64, f64)>,
}

/// All flows of a shop whose present is `now` (seconds since 1970).
pub(super) fn shop(now: i64, seed: u64) -> Vec<Flow> {
    let ago = |days: i64, hours: i64, minutes: i64| now - days * DAY - hours * HOUR - minutes * 60;
    let incident = |from: i64, length: i64, fails: f64| Incident { from, to: Some(from + length), fails, lost: 0.0 };
    let mut number = seed;
    let mut flow = |slo, route: Option<&str>, kind, (busy, night, usual): (f64, f64, f64), incidents: Vec<Incident>| {
        number += 1;
        Flow {
            slo,
            labels: route.map(|route| ("route".to_owned(), route.to_owned())).into_iter().collect(),
            kind,
            busy,
            night,
            usual,
            faulty: slo.starts_with("shop/checkout"),
            incidents,
            seed: number,
            recent: VecDeque::new(),
        }
    };
    // Twelve days ago the database of the checkout failed over, and took 47 minutes.
    let outage = Incident { lost: 0.3, ..incident(ago(12, 3, 0), 47 * 60, 0.22) };
    let lasting = |from: i64, fails: f64| Incident { from, to: None, fails, lost: 0.0 };
    // The bank's gateway is worse than it promises, on every second day for an hour. At noon, so that the same share of
    // the payments fails whatever hour it is now.
    let noon = |days: i64| ago(days, 0, 0).div_euclid(DAY) * DAY + 12 * HOUR;
    let bank = (1..15).map(|k| incident(noon(2 * k), HOUR, 0.009));
    vec![
        flow("shop/checkout-availability", None, Kind::Rates, (180.0, 0.25, 0.000_25), vec![outage]),
        flow(
            "shop/checkout-latency",
            None,
            Kind::Rates,
            (180.0, 0.25, 0.004),
            // A release of this night made some pages slow.
            vec![Incident { fails: 0.35, ..outage }, lasting(ago(0, 14, 0), 0.042)],
        ),
        flow(
            "shop/search-availability",
            None,
            Kind::Rates,
            (420.0, 0.2, 0.001),
            vec![incident(ago(6, 9, 0), 900, 0.04)],
        ),
        flow("shop/payment-availability", None, Kind::Rates, (40.0, 0.15, 0.000_3), bank.collect()),
        flow("shop/basket-availability", Some("/add"), Kind::Rates, (90.0, 0.2, 0.000_2), vec![]),
        flow("shop/basket-availability", Some("/read"), Kind::Rates, (260.0, 0.2, 0.000_1), vec![]),
        flow("shop/basket-availability", Some("/merge"), Kind::Rates, (6.0, 0.2, 0.000_7), vec![]),
        flow(
            "shop/website-reachable",
            None,
            Kind::Rates,
            (0.2, 1.0, 0.000_8),
            vec![incident(ago(19, 2, 0), 1200, 1.0)],
        ),
        flow("shop/stock-fresh", None, Kind::Slices, (1.0, 1.0, 0.002), vec![incident(ago(3, 7, 0), 1500, 1.0)]),
    ]
}

impl Flow {
    /// What the base rules find at `t`; times come in order.
    pub(super) fn sample(&mut self, t: i64) -> Sample {
        if self.kind == Kind::Slices {
            let bad = self.chance(t.div_euclid(60)) < self.share(t);
            return Sample { total: 1.0, bad: f64::from(u8::from(bad)) };
        }
        let last = t.div_euclid(LOOK);
        let first = self.recent.back().map_or(last - RANGE / LOOK + 1, |(look, ..)| look + 1);
        for look in first.max(last - RANGE / LOOK + 1)..=last {
            let (total, bad) = self.look(look);
            self.recent.push_back((look, total, bad));
        }
        while self.recent.front().is_some_and(|(look, ..)| *look <= last - RANGE / LOOK) {
            self.recent.pop_front();
        }
        let n = self.recent.len().max(1) as f64;
        let sum = self.recent.iter().fold((0.0, 0.0), |sum, (_, total, bad)| (sum.0 + total, sum.1 + bad));
        Sample { total: sum.0 / n, bad: sum.1 / n }
    }

    /// Events per second, all and bad, in one look of half a minute: whole events, as a counter has them.
    fn look(&self, look: i64) -> (f64, f64) {
        let t = look * LOOK;
        let lost = self.incidents.iter().filter(|i| i.is_on(t)).map(|i| i.lost).fold(0.0, f64::max);
        let expected = self.busy * self.hour(t) * (1.0 - lost) * LOOK as f64;
        let noise = 1.0 + 0.12 * (self.chance(look) - 0.5);
        let total = self.whole(expected * noise, look + 1);
        let bad = self.whole(total * self.share(t), look + 2).min(total);
        (total / LOOK as f64, bad / LOOK as f64)
    }

    /// How busy the hour is: quiet nights, and quieter weekends.
    fn hour(&self, t: i64) -> f64 {
        if self.night >= 1.0 {
            return 1.0;
        }
        let day = (t.rem_euclid(DAY)) as f64 / DAY as f64;
        // The day of 1970-01-01 was a Thursday.
        let weekend = (t.div_euclid(DAY) + 3).rem_euclid(7) >= 5;
        let wave = 0.5 - 0.5 * (TAU * (day - 0.08)).cos();
        (self.night + (1.0 - self.night) * wave) * if weekend { 0.7 } else { 1.0 }
    }

    fn share(&self, t: i64) -> f64 {
        self.incidents.iter().filter(|i| i.is_on(t)).map(|i| i.fails).fold(self.usual, f64::max)
    }

    /// A whole number whose mean is `expected`.
    fn whole(&self, expected: f64, salt: i64) -> f64 {
        expected.floor() + f64::from(u8::from(self.chance(salt.wrapping_mul(31)) < expected.fract()))
    }

    /// From 0 to 1, by seed and place alone (SplitMix64).
    fn chance(&self, place: i64) -> f64 {
        let mut x = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place.cast_unsigned();
        x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use plimsoll_api::Slo;
    use rust_decimal::prelude::ToPrimitive as _;

    use super::*;

    #[test]
    fn the_same_seed_is_the_same_shop_however_it_is_walked_through() {
        let now = 1_800_000_000;
        let (mut a, mut b) = (shop(now, 7), shop(now, 7));
        let whole: Vec<Sample> = (0..400).map(|k| a[0].sample(now + k * 30)).collect();
        b[0].sample(now - 9000);
        let late: Vec<Sample> = (100..400).map(|k| b[0].sample(now + k * 30)).collect();
        assert_eq!(whole[100..], late);
        assert_ne!(shop(now, 8)[0].sample(now), whole[0]);
    }

    /// The budget that a flow leaves over a time before `now`, of the events that are to be expected.
    fn left(flow: &Flow, (now, period): (i64, i64), budget: f64) -> f64 {
        let looks = (now - period..now).step_by(300).map(|t| (flow.hour(t), flow.hour(t) * flow.share(t)));
        let (all, bad) = looks.fold((0.0, 0.0), |sum, (all, bad)| (sum.0 + all, sum.1 + bad));
        1.0 - bad / all / budget
    }

    #[test]
    fn at_every_hour_of_the_week_there_is_one_over_its_budget_and_one_that_is_well() {
        let slos: Vec<Slo> = serde_saphyr::from_multiple(include_str!("shop.yaml")).unwrap();
        let models = slos.iter().map(|slo| plimsoll_slo::validate(slo).unwrap().model);
        let budgets: BTreeMap<String, f64> =
            models.map(|model| (model.id.to_string(), model.objective.budget().to_f64().unwrap())).collect();
        for hour in 0..7 * 24 {
            let now = 1_800_000_000 + hour * HOUR;
            let mut worst: BTreeMap<&str, f64> = BTreeMap::new();
            for flow in shop(now, 1) {
                let left = left(&flow, (now, 30 * DAY), budgets[flow.slo]);
                worst.entry(flow.slo).and_modify(|worst| *worst = worst.min(left)).or_insert(left);
            }
            let payment = worst["shop/payment-availability"];
            assert!((-0.5..-0.05).contains(&payment), "hour {hour}: {payment}");
            assert!(worst["shop/search-availability"] > 0.5, "hour {hour}: {worst:?}");
            assert!(worst.iter().all(|(slo, left)| *left > 0.0 || *slo == "shop/payment-availability"), "{worst:?}");
        }
    }

    #[test]
    fn what_fails_is_what_the_incidents_say() {
        let now = 1_800_000_000;
        let mut flow = shop(now, 1).remove(0);
        let outage = flow.incidents[0];
        let mean = |flow: &mut Flow, from: i64| {
            flow.recent.clear();
            let (mut bad, mut all) = (0.0, 0.0);
            for k in 20..60 {
                let sample = flow.sample(from + k * 30);
                (bad, all) = (bad + sample.bad, all + sample.total);
            }
            bad / all
        };
        assert!((mean(&mut flow, outage.from) / outage.fails - 1.0).abs() < 0.05);
        assert!(mean(&mut flow, outage.from - DAY) < 0.001);
        // Nights are quiet.
        let noon = now.div_euclid(DAY) * DAY + 14 * HOUR;
        assert!(flow.hour(noon) > 2.0 * flow.hour(noon - 12 * HOUR));
    }
}
