//! All series that are scored, with what is known of each. It changes by [`Event`]s alone, so that the same events make the
//! same table to the last bit. Pure: the time is given.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::OnceLock,
};

use plimsoll_anomaly::{
    Detector as _, Sample, Verdict,
    alerting::{Alert, Alerting, Policy},
    forecast::{Forecaster, Row, Settings},
    journal::{append, checksum, records},
    novelty::{Novelty, WARM},
};
use serde::{Deserialize, Serialize};

use super::{
    joint::Together,
    watches::{Labels, Watch},
};

/// Series of one watch.
pub(crate) const PER_WATCH: usize = 500;
/// Series in all.
pub(crate) const IN_ALL: usize = 10_000;
/// Seconds after which a score says nothing of the present.
pub(crate) const FRESH: f64 = 120.0;
/// Seconds after which a series counts as vanished: others may take its place.
pub(crate) const VANISHED: f64 = 900.0;
/// Seconds after which a series is forgotten.
pub(crate) const FORGOTTEN: f64 = 86_400.0;
/// Of so many seconds a series must be known before it alerts: a day, all but the hour that a first start, which reads a day,
/// may lack at its beginning. Before that the course of the day itself is new to it.
pub(crate) const KNOWN: f64 = 23.0 * 3600.0;
/// What lies between two samples is known if it is no longer than this, in seconds.
const SEEN: f64 = 300.0;
/// Half-life, in seconds, of the interest in a series that was unusual.
const INTEREST: f64 = 1800.0;

/// What may happen to a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Event {
    /// A watch was read up to `until`, in seconds since 1970, and had these samples, each series' in order of time.
    Read { watch: Watch, until: u64, found: Vec<(Labels, Samples)> },
    /// At `now` these watches were left; what is not seen for a day, or not watched, is forgotten. Of those that rest the series
    /// may be away for as long as they like.
    Swept { now: f64, watches: BTreeSet<Watch>, resting: BTreeSet<Watch> },
    /// Other shards told these networks, of which the mean is taken.
    Shared { networks: Vec<Vec<u8>> },
}

/// Times and values.
pub(crate) type Samples = Vec<(f64, f64)>;

/// Expected value, beginning and end of the band of 90 %.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Band {
    pub(crate) expected: f64,
    pub(crate) lower: f64,
    pub(crate) upper: f64,
}

/// What is known of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    detector: Novelty,
    alerting: Alerting,
    /// Samples taken in.
    rows: u64,
    /// Seconds of which it is known what the series was.
    known: f64,
    /// Time of the last sample, in seconds since 1970.
    pub(crate) last: f64,
    pub(crate) value: f64,
    pub(crate) score: f64,
    pub(crate) alert: Alert,
    /// The score, and what is left of those before it.
    interest: f64,
    /// Its number with the forecaster.
    place: usize,
    /// What the last sample was expected to be, before it came.
    pub(crate) band: Option<Band>,
    /// The same of the next one.
    pub(crate) next: Option<Band>,
}

impl Series {
    fn new(place: usize) -> Self {
        Self {
            detector: Novelty::default(),
            alerting: Alerting::default(),
            rows: 0,
            known: 0.0,
            last: f64::NEG_INFINITY,
            value: 0.0,
            score: 0.0,
            alert: Alert::default(),
            interest: 0.0,
            place,
            band: None,
            next: None,
        }
    }

    fn take(&mut self, policy: &Policy, sample: Sample) {
        let verdict = self.detector.step(sample);
        let passed = sample.time - self.last;
        if passed <= SEEN {
            self.known += passed.max(0.0);
        }
        let counts = if self.is_known() { verdict } else { Verdict::default() };
        self.alert = self.alerting.step(policy, sample, counts);
        self.score = if self.alert.asked { verdict.score } else { 0.0 };
        let fades = (-(sample.time - self.last) / INTEREST).exp2();
        self.interest = self.score.max(self.interest * fades);
        (self.last, self.value) = (sample.time, sample.value);
        self.rows += 1;
    }

    /// A day of it is known: what is unusual may alert.
    pub(crate) fn is_known(&self) -> bool {
        self.known >= KNOWN
    }

    /// It has had too few samples to be judged.
    pub(crate) fn learns(&self) -> bool {
        self.rows < WARM
    }

    /// Since when an alert stays, in seconds since 1970.
    pub(crate) fn alert_since(&self) -> Option<f64> {
        self.alerting.since()
    }
}

/// The series of one watch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Watched {
    /// Up to where it was read, in seconds since 1970.
    until: u64,
    series: BTreeMap<Labels, Series>,
    /// Series that found no room the last time.
    refused: usize,
    together: Together,
}

/// How a watch stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Series seen lately.
    pub(crate) series: usize,
    /// Those of them of which too little is known for an alert.
    pub(crate) learning: usize,
    /// Series for which there is no room.
    pub(crate) refused: usize,
    /// Series left out since another one has the same labels.
    pub(crate) indistinct: usize,
    /// Seconds from one time that they are read to the next, where that is too long for all scores to be shown.
    pub(crate) behind: Option<u64>,
}

/// Series by watch, each by the labels of its score, and the network that all share.
#[derive(Debug)]
pub(crate) struct Table {
    watches: BTreeMap<Watch, Watched>,
    forecaster: Forecaster,
    /// Numbers of the forecaster that no series has.
    free: Vec<usize>,
}

impl Default for Table {
    fn default() -> Self {
        Self { watches: BTreeMap::new(), forecaster: Forecaster::new(Settings::default()), free: Vec::new() }
    }
}

impl Table {
    /// Brings about what has happened.
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Read { watch, until, found } => self.read(watch, *until, found),
            Event::Swept { now, watches, resting } => self.sweep(*now, watches, resting),
            Event::Shared { networks } => {
                self.forecaster.adopt(networks);
            }
        }
    }

    /// Of what a question has found, that which is news: finite samples newer than those of before. Series of which nothing
    /// is known and that have no sample are none.
    pub(crate) fn news(
        &self,
        watch: &Watch,
        found: impl IntoIterator<Item = (Labels, Samples)>,
    ) -> Vec<(Labels, Samples)> {
        let known = self.watches.get(watch).map(|watched| &watched.series);
        let news = found.into_iter().map(|(labels, mut samples)| {
            let mut last = known.and_then(|all| all.get(&labels)).map_or(f64::NEG_INFINITY, |series| series.last);
            samples.retain(|(time, value)| {
                let is_news = time.is_finite() && value.is_finite() && *time > last;
                if is_news {
                    last = *time;
                }
                is_news
            });
            (labels, samples)
        });
        news.filter(|(_, samples)| !samples.is_empty()).collect()
    }

    fn read(&mut self, watch: &Watch, until: u64, found: &[(Labels, Samples)]) {
        let mut room = IN_ALL.saturating_sub(self.len());
        let Self { watches, forecaster, free } = self;
        let watched = watches.entry(watch.clone()).or_default();
        (watched.until, watched.refused) = (until, 0);
        let policy = watch.policy();
        let mut swept = false;
        let mut taken: Vec<(usize, &Labels, &Samples)> = Vec::new();
        for (labels, samples) in found {
            let all = &mut watched.series;
            if !all.contains_key(labels) {
                if (all.len() >= PER_WATCH || room == 0) && !swept {
                    swept = true;
                    let before = all.len();
                    drop_series(all, forecaster, free, |series| until as f64 - series.last > VANISHED);
                    room += before - all.len();
                    // Also what had ended within this very answer: its number is given to another one.
                    taken.retain(|(_, labels, _)| all.contains_key(*labels));
                }
                if all.len() >= PER_WATCH || room == 0 {
                    watched.refused += 1;
                    continue;
                }
                room -= 1;
            }
            let mut place = || free.pop().unwrap_or_else(|| forecaster.add());
            let series = all.entry(labels.clone()).or_insert_with(|| Series::new(place()));
            for (time, value) in samples {
                series.take(&policy, Sample { time: *time, value: *value });
            }
            taken.push((series.place, labels, samples));
        }
        watched.together.read(watch, &watched.series, found, until);
        let mut bands = expect(forecaster, &taken);
        for (place, labels, _) in taken {
            if let (Some(series), Some((promised, next))) = (watched.series.get_mut(labels), bands.remove(&place)) {
                let before = series.next.replace(next);
                series.band = match promised {
                    Promised::Within(band) => band,
                    Promised::Before => before,
                };
            }
        }
    }

    fn sweep(&mut self, now: f64, left: &BTreeSet<Watch>, resting: &BTreeSet<Watch>) {
        let Self { watches, forecaster, free } = self;
        watches.retain(|watch, watched| {
            let (keep, rests) = (left.contains(watch), resting.contains(watch));
            let gone = |series: &Series| !keep || !rests && now - series.last > FORGOTTEN;
            drop_series(&mut watched.series, forecaster, free, gone);
            keep
        });
    }

    /// Whether a sweep would find anything.
    pub(crate) fn is_dusty(&self, now: f64, left: &BTreeSet<Watch>, resting: &BTreeSet<Watch>) -> bool {
        let gone = |series: &Series| now - series.last > FORGOTTEN;
        let dusty = |watch: &Watch, all: &Watched| !resting.contains(watch) && all.series.values().any(gone);
        self.watches.iter().any(|(watch, watched)| !left.contains(watch) || dusty(watch, watched))
    }

    /// Whether what is known of a watch is of a time that has not come: somebody's clock was wrong. Also where nothing is left
    /// of it, since all was long ago by that clock.
    pub(crate) fn is_ahead(&self, watch: &Watch, now: f64) -> bool {
        let ahead = |time: f64| time - now > VANISHED;
        self.watches.get(watch).is_some_and(|Watched { until, series, .. }| {
            (series.is_empty() && ahead(*until as f64)) || series.values().any(|series| ahead(series.last))
        })
    }

    /// All that is or was watched.
    pub(crate) fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.watches.keys()
    }

    /// Up to where a watch was read; 0 before the first time.
    pub(crate) fn until(&self, watch: &Watch) -> u64 {
        self.watches.get(watch).map_or(0, |watched| watched.until)
    }

    /// Everything that is known, seen lately or not.
    pub(crate) fn len(&self) -> usize {
        self.watches.values().map(|watched| watched.series.len()).sum()
    }

    /// How one watch stands.
    pub(crate) fn seen(&self, watch: &Watch, now: f64) -> Seen {
        self.seen_since(watch, now - VANISHED)
    }

    /// The same of one that rests: what was there before is only not asked for.
    pub(crate) fn seen_at_rest(&self, watch: &Watch) -> Seen {
        self.seen_since(watch, f64::NEG_INFINITY)
    }

    fn seen_since(&self, watch: &Watch, since: f64) -> Seen {
        let Some(watched) = self.watches.get(watch) else { return Seen::default() };
        let lately = || watched.series.values().filter(|series| series.last >= since);
        Seen {
            series: lately().count(),
            learning: lately().filter(|series| !series.is_known()).count(),
            refused: watched.refused,
            ..Seen::default()
        }
    }

    /// Series that were seen in the last quarter of an hour, and those that find no room.
    pub(crate) fn counts(&self, now: f64) -> (usize, usize) {
        self.watches
            .keys()
            .map(|watch| self.seen(watch, now))
            .fold((0, 0), |(series, refused), seen| (series + seen.series, refused + seen.refused))
    }

    /// The series whose score says something of the present.
    pub(crate) fn fresh(&self, now: f64) -> impl Iterator<Item = (&Labels, &Series)> {
        self.all().filter(move |(_, series)| now - series.last <= FRESH)
    }

    /// What is seen of series together, and says something of the present.
    pub(crate) fn joint(&self, now: f64) -> impl Iterator<Item = (Labels, &Together)> {
        let all = self.watches.iter().map(|(watch, watched)| (watch, &watched.together));
        all.filter_map(move |(watch, together)| {
            let labels = together.labels(watch).filter(|_| now - together.last <= VANISHED);
            Some((labels?, together))
        })
    }

    /// Everything that is known.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Labels, &Series)> {
        self.watches.values().flat_map(|watched| &watched.series)
    }

    /// The same, the most unusual of late first.
    pub(crate) fn ranked<'a>(all: impl Iterator<Item = (&'a Labels, &'a Series)>) -> Vec<(&'a Labels, &'a Series)> {
        let mut all: Vec<_> = all.collect();
        all.sort_by(|(a, one), (b, other)| {
            let of = |series: &Series| (series.alert.on, series.interest);
            let ((on, interest), (other_on, other_interest)) = (of(one), of(other));
            other_on.cmp(&on).then(other_interest.total_cmp(&interest)).then(a.cmp(b))
        });
        all
    }

    /// The network that all series share, for other shards.
    pub(crate) fn network(&self) -> Vec<u8> {
        self.forecaster.weights()
    }

    /// All of it as bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let Self { watches, forecaster, free } = self;
        let mut bytes = Vec::new();
        append(&postcard::to_allocvec(&(watches, free)).unwrap_or_default(), &mut bytes);
        append(&forecaster.snapshot(), &mut bytes);
        bytes
    }

    /// The table whose bytes these are; `None` where they are not whole.
    pub(crate) fn restore(bytes: &[u8]) -> Option<Self> {
        let (found, used) = records(bytes);
        let [table, forecaster] = found.as_slice() else { return None };
        let (watches, free): (BTreeMap<Watch, Watched>, Vec<usize>) = postcard::from_bytes(table).ok()?;
        let forecaster = Forecaster::restore(forecaster).ok()?;
        let places = || watches.values().flat_map(|watched| watched.series.values().map(|series| series.place));
        let all: BTreeSet<usize> = places().chain(free.iter().copied()).collect();
        let whole = used == bytes.len()
            && all.len() == places().count() + free.len()
            && all.len() == forecaster.len()
            && all.last().is_none_or(|last| *last < forecaster.len());
        whole.then_some(Self { watches, forecaster, free })
    }

    /// What a table is made of and how it judges, as a number: state of another version must not be gone on with. It changes
    /// by itself with the layout and the constants, so nobody has to think of it.
    pub(crate) fn version() -> u64 {
        static VERSION: OnceLock<u64> = OnceLock::new();
        *VERSION.get_or_init(|| {
            let watch = Watch::example();
            let mut series = Series::new(0);
            // Over a day, so that an alert begins.
            for row in 0..300u32 {
                let value = f64::from(row % 7 + 100 * u32::from(row == 290));
                series.take(&watch.policy(), Sample { time: f64::from(row) * SEEN, value });
            }
            let event = Event::Read { watch, until: 9000, found: vec![(Vec::new(), vec![(9000.0, 1.0)])] };
            let mut forecaster = Forecaster::new(Settings::default());
            forecaster.add();
            let mut bytes = postcard::to_allocvec(&(series, Watched::default(), event)).unwrap_or_default();
            bytes.extend(forecaster.snapshot());
            checksum(&bytes)
        })
    }
}

/// Takes series away, and frees their numbers.
fn drop_series(
    all: &mut BTreeMap<Labels, Series>,
    forecaster: &mut Forecaster,
    free: &mut Vec<usize>,
    gone: impl Fn(&Series) -> bool,
) {
    all.retain(|_, series| {
        let goes = gone(series);
        if goes {
            forecaster.reset(series.place);
            free.push(series.place);
        }
        !goes
    });
}

/// Where the band of the last sample was promised.
enum Promised {
    /// Within these samples, or not at all.
    Within(Option<Band>),
    /// Before them.
    Before,
}

/// Shows these samples to the forecaster, time by time; gives the bands of the last sample and of the next one.
fn expect(forecaster: &mut Forecaster, taken: &[(usize, &Labels, &Samples)]) -> HashMap<usize, (Promised, Band)> {
    let mut bands: HashMap<usize, (Promised, Band)> = HashMap::new();
    let (mut rows, mut outlooks) = (Vec::new(), Vec::new());
    let longest = taken.iter().map(|(_, _, samples)| samples.len()).max().unwrap_or_default();
    for i in 0..longest {
        rows.clear();
        rows.extend(taken.iter().filter_map(|(series, _, samples)| {
            samples.get(i).map(|(time, value)| Row { series: *series, time: *time, value: *value })
        }));
        outlooks.clear();
        forecaster.observe(&rows, &mut outlooks);
        for outlook in &outlooks {
            let [lower, _, expected, _, upper] = outlook.next;
            let next = Band { expected, lower, upper };
            // After a gap nothing was promised for this very time.
            let kept = outlook.surprise.is_finite();
            let promised = match bands.get(&outlook.series) {
                _ if !kept => Promised::Within(None),
                Some((_, before)) => Promised::Within(Some(*before)),
                None => Promised::Before,
            };
            bands.insert(outlook.series, (promised, next));
        }
    }
    forecaster.learn();
    bands
}
