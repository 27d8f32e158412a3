//! A synthetic service whose latency goes wrong: when the anomaly's alert comes, and when the SLO's own burn-rate alerts.
//!
//! Requests come in a daily wave and take a log-normal time; every 30 s a histogram of them is scraped. What the scorer
//! reads are rates over five minutes, as Plimsoll's rules record them; burn rates and windows are the default tiers.

use anyhow::Result;
use plimsoll_anomaly::alerting::{Alerting, Policy, Side};
use plimsoll_anomaly::detector::NEW;
use plimsoll_anomaly::lstm::Random;
use plimsoll_anomaly::novelty::Novelty;
use plimsoll_anomaly::{Detector as _, Sample};
use plimsoll_api::anomaly::Sensitivity;
use plimsoll_slo::alerts::{ANOMALY_ACCEPTED, sensitivity};
use plimsoll_slo::model::Unit;
use plimsoll_slo::validate::DEFAULT_TIERS;
use serde_json::{Value, json};
use std::f64::consts::TAU;

/// Seconds between scrapes, and scrapes of a five-minute rate, of a day and of a week.
const STEP: f64 = 30.0;
const RANGE: usize = 10;
const DAY: usize = 2880;
const WEEK: usize = 7 * DAY;
/// Scrapes for which a fault is watched.
const WATCHED: usize = DAY;
/// Buckets of the histogram: from 5 ms, four to each doubling.
const BUCKETS: usize = 48;
const FIRST: f64 = 0.005;
/// Slower is bad, and the share of requests that may be.
const THRESHOLD: f64 = 0.32;
const BUDGET: f64 = 0.001;
/// Alerts: those of the SLO's rates at each sensitivity, then those of the latency's quantile.
const SENSITIVITIES: [Sensitivity; 3] = [Sensitivity::Low, Sensitivity::Medium, Sensitivity::High];
const ALERTS: usize = 2 * SENSITIVITIES.len();
/// Scrapes without an alert after which it is another one, as the rules keep it firing.
const MERGED: usize = 20;

/// What the latency does.
#[derive(Clone, Copy, PartialEq)]
enum Course {
    Clean,
    /// From 1 to a factor within some scrapes, and stays there.
    Ramp,
    /// To a factor at once.
    Step,
    /// To a factor for some scrapes.
    Spike,
}

/// Scrapes after the begin of the fault at which each alert first came.
#[derive(Default)]
struct Alerts {
    burn: Option<usize>,
    page: Option<usize>,
    anomaly: [Option<usize>; ALERTS],
    /// Anomaly alerts that began in the last clean week: by values that were new, and by moves.
    wrong: [[usize; 2]; ALERTS],
    burnt: usize,
}

pub(crate) fn run(rounds: usize) -> Result<()> {
    let mut out = Vec::new();
    for (name, course) in
        [("ramp", Course::Ramp), ("step", Course::Step), ("spike", Course::Spike), ("clean", Course::Clean)]
    {
        let each: Vec<Value> = (0..rounds)
            .map(|round| {
                let a = watch(course, 1000 * course as u64 + round as u64);
                json!({"burn": a.burn, "page": a.page, "anomaly": a.anomaly, "wrong": a.wrong, "burnt": a.burnt})
            })
            .collect();
        out.push(json!({"course": name, "each": each}));
    }
    println!("{}", json!({"step": STEP, "weeks": 1, "courses": out}));
    Ok(())
}

/// One service: a week to get to know it, a clean week, and a fault at a random time of the day after.
fn watch(course: Course, seed: u64) -> Alerts {
    let mut random = Random(seed);
    let begin = 2 * WEEK + random.below(DAY);
    let mut service = Service::random(&mut random);
    let fault = Fault::random(course, &mut random);
    // An anomaly of bad events takes as many of them as a burn rate's alert.
    let bad = Unit::Events.default_floor() as f64 / (STEP * RANGE as f64);
    let mut events = Watched::new(Side::Both, 0.0);
    let mut bad_events = Watched::new(Side::Up, bad);
    let mut latency = Watched::new(Side::Up, 0.0);
    let mut burns = Burns::default();
    let mut alerts = Alerts::default();
    let mut quiet = [MERGED; ALERTS];
    let mut burning = false;
    for at in 0..begin + WATCHED {
        let factor = if at < begin { 1.0 } else { fault.factor(at - begin) };
        let counts = service.scrape(at, factor, &mut random);
        burns.add(&counts);
        let window = service.window();
        if window.total <= 0.0 {
            continue;
        }
        let time = 1.7e9 + STEP * at as f64;
        let per_second = 1.0 / (STEP * RANGE as f64);
        let total = events.take(time, window.total * per_second);
        let bad = bad_events.take(time, window.bad * per_second);
        let p99 = latency.take(time, window.p99);
        let (any, page) = burns.fire();
        let of_rates = total.into_iter().zip(bad).map(|(total, bad)| bad.or(total));
        let mut fires = [None; ALERTS];
        fires.iter_mut().zip(of_rates.chain(p99)).for_each(|(fires, alert)| *fires = alert);
        if at >= begin {
            let since = Some(at - begin);
            alerts.burn = alerts.burn.or(since.filter(|_| any));
            alerts.page = alerts.page.or(since.filter(|_| page));
            for (first, fires) in alerts.anomaly.iter_mut().zip(fires) {
                *first = first.or(since.filter(|_| fires.is_some()));
            }
        } else if (WEEK..2 * WEEK).contains(&at) {
            for ((wrong, quiet), fires) in alerts.wrong.iter_mut().zip(&quiet).zip(fires) {
                let begun = fires.filter(|_| *quiet >= MERGED);
                let [by_new, by_move] = wrong;
                *by_new += usize::from(matches!(begun, Some(Cause::New)));
                *by_move += usize::from(matches!(begun, Some(Cause::Move)));
            }
            alerts.burnt += usize::from(any && !burning);
        }
        quiet.iter_mut().zip(fires).for_each(|(quiet, fires)| *quiet = if fires.is_some() { 0 } else { *quiet + 1 });
        burning = any;
    }
    alerts
}

/// What an alert began with.
#[derive(Clone, Copy)]
enum Cause {
    New,
    Move,
}

/// One series with its alerts at each sensitivity, as the scorer exports them and the rules take them.
struct Watched {
    side: Side,
    least: f64,
    detector: Novelty,
    levels: [(Alerting, Cause, f64); SENSITIVITIES.len()],
}

impl Watched {
    fn new(side: Side, least: f64) -> Self {
        Self {
            side,
            least,
            detector: Novelty::default(),
            levels: std::array::from_fn(|_| (Alerting::default(), Cause::New, 0.0)),
        }
    }

    /// What fires at each sensitivity, and what it began with.
    fn take(&mut self, time: f64, value: f64) -> [Option<Cause>; SENSITIVITIES.len()] {
        let sample = Sample { time, value };
        let verdict = self.detector.step(sample);
        let mut fires = [None; SENSITIVITIES.len()];
        for ((fires, (alerting, cause, since)), level) in fires.iter_mut().zip(&mut self.levels).zip(SENSITIVITIES) {
            let threshold = sensitivity(level);
            let hold = threshold.hold.map_or(0.0, |hold| hold.as_seconds() as f64);
            let accept = ANOMALY_ACCEPTED.as_seconds() as f64 + hold;
            let policy = Policy { side: self.side, score: threshold.score, least: self.least, accept };
            let alert = alerting.step(&policy, sample, verdict);
            if alert.begins {
                *cause = if verdict.score >= NEW { Cause::New } else { Cause::Move };
            }
            *since = if alert.on { if *since > 0.0 { *since } else { time } } else { 0.0 };
            *fires = (alert.on && time - *since >= hold).then_some(*cause);
        }
        fires
    }
}

struct Fault {
    course: Course,
    factor: f64,
    length: f64,
}

impl Fault {
    fn random(course: Course, random: &mut Random) -> Self {
        let scrapes = |seconds: f64| seconds / STEP;
        let length = match course {
            // Ramps from half an hour to twelve hours, spikes from five minutes to an hour, evenly on the scale of logarithms.
            Course::Ramp => scrapes(1800.0 * 24f64.powf(unit(random))),
            Course::Spike => scrapes(300.0 * 12f64.powf(unit(random))),
            Course::Clean | Course::Step => 0.0,
        };
        Self { course, factor: 1.3 * (4.0f64 / 1.3).powf(unit(random)), length }
    }

    /// By how much everything takes longer, so many scrapes after the begin.
    fn factor(&self, since: usize) -> f64 {
        let along = since as f64 / self.length.max(1.0);
        match self.course {
            Course::Clean => 1.0,
            Course::Step => self.factor,
            Course::Ramp => self.factor.powf(along.min(1.0)),
            Course::Spike if along < 1.0 => self.factor,
            Course::Spike => 1.0,
        }
    }
}

/// One scrape, or a window of them.
#[derive(Clone, Copy, Default)]
struct Counts {
    total: f64,
    bad: f64,
    p99: f64,
}

struct Service {
    rate: f64,
    wave: f64,
    phase: f64,
    median: f64,
    sigma: f64,
    /// How much slower it is at the busiest than at the quietest.
    loaded: f64,
    /// A slow wander of the latency.
    wander: f64,
    recent: [[f64; BUCKETS]; RANGE],
    seen: usize,
}

impl Service {
    fn random(random: &mut Random) -> Self {
        Self {
            rate: 20.0 * 20f64.powf(unit(random)),
            wave: 0.2 + 0.6 * unit(random),
            phase: unit(random),
            median: 0.03 + 0.03 * unit(random),
            sigma: 0.4 + 0.15 * unit(random),
            loaded: 0.3 * unit(random),
            wander: 0.0,
            recent: [[0.0; BUCKETS]; RANGE],
            seen: 0,
        }
    }

    /// The requests of one scrape's time, by bucket; gives their number and how many are bad.
    fn scrape(&mut self, at: usize, factor: f64, random: &mut Random) -> Counts {
        let load = self.wave * (TAU * (at as f64 / DAY as f64 + self.phase)).sin();
        self.wander = 0.99 * self.wander + 0.005 * normal(random);
        let median = self.median * (1.0 + self.loaded * load + self.wander) * factor;
        let requests = poisson(self.rate * (1.0 + load) * STEP, random);
        let mut left = requests;
        let mut below = 0.0;
        let mut counts = [0.0; BUCKETS];
        for (bucket, count) in counts.iter_mut().enumerate() {
            let cumulated = cumulated((edge(bucket) / median).ln() / self.sigma);
            let share = if bucket + 1 == BUCKETS { 1.0 } else { (cumulated - below) / (1.0 - below).max(1e-12) };
            *count = binomial(left, share, random);
            left -= *count;
            below = cumulated;
        }
        if let Some(slot) = self.recent.get_mut(self.seen % RANGE) {
            *slot = counts;
        }
        self.seen += 1;
        Counts { total: requests, bad: bad(&counts), p99: 0.0 }
    }

    /// The last five minutes.
    fn window(&self) -> Counts {
        let mut sum = [0.0; BUCKETS];
        self.recent.iter().for_each(|counts| sum.iter_mut().zip(counts).for_each(|(s, c)| *s += c));
        let total: f64 = sum.iter().sum();
        // Within a bucket by straight line, as histogram_quantile does.
        let mut below = 0.0;
        let mut p99 = edge(BUCKETS - 1);
        for (bucket, count) in sum.iter().enumerate() {
            if below + count >= 0.99 * total && *count > 0.0 {
                let low = if bucket == 0 { 0.0 } else { edge(bucket - 1) };
                p99 = low + (edge(bucket) - low) * (0.99 * total - below) / count;
                break;
            }
            below += count;
        }
        Counts { total, bad: bad(&sum), p99 }
    }
}

/// The upper edge of a bucket; that of bucket 23 is the threshold.
fn edge(bucket: usize) -> f64 {
    FIRST * ((bucket + 1) as f64 / 4.0).exp2()
}

fn bad(counts: &[f64; BUCKETS]) -> f64 {
    counts.iter().enumerate().filter(|(bucket, _)| edge(*bucket) > THRESHOLD * 1.001).map(|(_, count)| count).sum()
}

/// All that the tiers need: sums of requests and of bad ones up to each scrape.
#[derive(Default)]
struct Burns {
    totals: Vec<f64>,
    bads: Vec<f64>,
}

impl Burns {
    fn add(&mut self, counts: &Counts) {
        self.totals.push(self.totals.last().copied().unwrap_or_default() + counts.total);
        self.bads.push(self.bads.last().copied().unwrap_or_default() + counts.bad);
    }

    /// Requests and bad ones of the last so many seconds.
    fn over(&self, seconds: f64) -> (f64, f64) {
        let sum = |all: &[f64]| {
            let before = all.len().checked_sub(1 + (seconds / STEP) as usize).and_then(|at| all.get(at));
            all.last().copied().unwrap_or_default() - before.copied().unwrap_or_default()
        };
        (sum(&self.totals), sum(&self.bads))
    }

    /// Whether any tier fires, and whether one that pages does.
    fn fire(&self) -> (bool, bool) {
        let mut fires = (false, false);
        for (_, rate, long, short, severity) in DEFAULT_TIERS {
            let rate = f64::try_from(rate).unwrap_or(f64::INFINITY);
            let over = |seconds: f64| {
                let (total, bad) = self.over(seconds);
                (bad / total.max(1.0) > rate * BUDGET, bad)
            };
            let (burns, bad) = over(long.millis as f64 / 1000.0);
            if burns && bad >= Unit::Events.default_floor() as f64 && over(short.millis as f64 / 1000.0).0 {
                fires.0 = true;
                fires.1 |= severity == plimsoll_api::slo::Severity::Page;
            }
        }
        fires
    }
}

fn unit(random: &mut Random) -> f64 {
    f64::from(random.unit())
}

/// Standard normal, by Box and Muller.
fn normal(random: &mut Random) -> f64 {
    (-2.0 * (1.0 - unit(random)).ln()).sqrt() * (TAU * unit(random)).cos()
}

/// Normal distribution function, to 1e-7 (Abramowitz and Stegun 26.2.17).
fn cumulated(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z.abs());
    let series =
        t * (0.319_381_530 + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let above = (-0.5 * z * z).exp() / TAU.sqrt() * series;
    if z >= 0.0 { 1.0 - above } else { above }
}

fn poisson(mean: f64, random: &mut Random) -> f64 {
    if mean > 30.0 {
        return (mean + mean.sqrt() * normal(random)).round().max(0.0);
    }
    // By counting exponential waits (Knuth).
    let (limit, mut product, mut count) = ((-mean).exp(), 1.0 - unit(random), 0.0);
    while product > limit {
        product *= 1.0 - unit(random);
        count += 1.0;
    }
    count
}

fn binomial(count: f64, share: f64, random: &mut Random) -> f64 {
    let share = share.clamp(0.0, 1.0);
    let rare = count * share.min(1.0 - share);
    if count <= 0.0 || share == 0.0 {
        0.0
    } else if share == 1.0 {
        count
    } else if rare > 30.0 {
        (count * share + (rare * share.max(1.0 - share)).sqrt() * normal(random)).round().clamp(0.0, count)
    } else if share <= 0.5 {
        poisson(count * share, random).min(count)
    } else {
        count - poisson(count * (1.0 - share), random).min(count)
    }
}
