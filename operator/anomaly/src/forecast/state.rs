//! What is remembered of one series: about 1.7 KB.
//!
//! Values are held as single-precision differences from the series' first value, in which they keep seven digits.

use super::clock::Clock;
use super::inputs::Start;
use super::profile::Profile;
use super::recent::Recent;
use super::{HORIZONS, LEVELS, QUANTILES};
use half::f16;

/// Simple forecasts of which each horizon keeps the record: last value, four exponential means, the day's profile,
/// day's and week's profiles moved by the present distance from them, and the median of the last values.
pub(crate) const EXPERTS: usize = 9;
/// Forecasts of the farther horizon that wait for their row at one time; others are not judged.
pub(crate) const WAITING: usize = 8;
pub(crate) const DAY_SLOTS: usize = 288;
pub(crate) const WEEK_SLOTS: usize = 168;
pub(crate) const DAY_WIDTH: f32 = 300.0;
pub(crate) const WEEK_WIDTH: f32 = 3600.0;

/// Shares of the new value in the exponential means: half-lives of 1.5, 5, 20 and 80 rows.
const EWMA_RATES: [f32; 4] = [0.37, 0.13, 0.034, 0.008_7];
/// Half-lives of 140 and 35 rows.
const UNIT_RATE: f32 = 0.005;
const MISS_RATE: f32 = 0.02;
/// Share of a new day in the day's profile, and of a new week in the week's.
const DAY_RATE: f32 = 0.3;
const WEEK_RATE: f32 = 0.45;
/// Time after which a distance from the profile counts as gone.
const GAP_SECONDS: f32 = 3600.0;
/// Hours over which a drift must keep to one side, and the week over which its usual size is learnt.
const LEAN_SECONDS: f32 = 8.0 * 3600.0;
const USUAL_SECONDS: f32 = 7.0 * 86_400.0;
/// Step of the conformal offsets, as a share of the 90 % band's width.
const OFFSET_RATE: f32 = 0.01;
/// Errors count up to this many units; those of the experts, which are compared with each other, further.
const CUT: f32 = 10.0;
const EXPERT_CUT: f32 = 30.0;
/// The least unit, in mean absolute errors of the last five rows: in a burst everything is seen and said in larger units.
const BURST: f32 = 0.7;
const TINY: f32 = 1e-30;
/// Within what half precision holds.
const FULL: f32 = 6e4;
/// Differences beyond this are no measurements that single precision could hold.
pub(crate) const LIMIT: f64 = 1e30;

/// A forecast whose row is still to come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Promise {
    /// The row it is about; 0 if there is none.
    pub(crate) due: u32,
    pub(crate) base: f32,
    pub(crate) unit: f32,
    /// In units from the base, as are the experts.
    pub(crate) quantiles: [f16; LEVELS],
    pub(crate) experts: [f16; EXPERTS],
}

impl Promise {
    /// The quantiles as values.
    fn quantiles(&self) -> [f32; LEVELS] {
        self.quantiles.map(|q| self.base + self.unit * f32::from(q))
    }
}

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The first value: what all others are relative to.
    pub(crate) anchor: f64,
    pub(crate) first: f64,
    pub(crate) time: f64,
    /// Seconds between rows, as learnt.
    pub(crate) step: f32,
    /// Rows taken in.
    pub(crate) rows: u32,
    pub(crate) last: f32,
    pub(crate) ewma: [f32; 4],
    /// Present distance from the day's and the week's profile.
    pub(crate) gap: [f32; 2],
    /// Mean over some hours of the distance from day's and week's profile, each cut to three times its usual size.
    pub(crate) lean: [f32; 2],
    /// Usual size of that distance.
    pub(crate) usual: [f32; 2],
    pub(crate) low: f32,
    pub(crate) high: f32,
    /// Mean absolute error of the next row's expectation, over about 5 and 30 rows.
    pub(crate) volatility: [f32; 2],
    /// The same by hour of the day.
    pub(crate) busy: Profile<24>,
    /// Error of the last row's expectation in units.
    pub(crate) error: f32,
    /// Share of rows that repeat the one before.
    pub(crate) same: f32,
    /// Mean absolute error of the base of each horizon: the unit in which the network sees and says everything.
    pub(crate) unit: [f32; HORIZONS],
    pub(crate) judged: [u32; HORIZONS],
    /// Mean absolute error of each expert.
    pub(crate) miss: [[f32; EXPERTS]; HORIZONS],
    /// Conformal offsets of the quantiles, in widths of the 90 % band.
    pub(crate) offset: [[f32; LEVELS]; HORIZONS],
    pub(crate) recent: Recent,
    pub(crate) day: Profile<DAY_SLOTS>,
    pub(crate) week: Profile<WEEK_SLOTS>,
    pub(crate) next: Promise,
    pub(crate) later: [Promise; WAITING],
}

impl Default for State {
    fn default() -> Self {
        Self {
            anchor: 0.0,
            first: 0.0,
            time: 0.0,
            step: 60.0,
            rows: 0,
            last: 0.0,
            ewma: [0.0; 4],
            gap: [0.0; 2],
            lean: [0.0; 2],
            usual: [0.0; 2],
            low: 0.0,
            high: 0.0,
            volatility: [0.0; 2],
            busy: Profile::default(),
            error: 0.0,
            same: 0.0,
            unit: [0.0; HORIZONS],
            judged: [0; HORIZONS],
            miss: [[0.0; EXPERTS]; HORIZONS],
            offset: [[0.0; LEVELS]; HORIZONS],
            recent: Recent::default(),
            day: Profile::default(),
            week: Profile::default(),
            next: Promise::default(),
            later: [Promise::default(); WAITING],
        }
    }
}

impl State {
    /// Rows that make up `seconds`, at least 1.
    pub(crate) fn lead(&self, seconds: f32) -> u32 {
        (seconds / self.step + 0.5).clamp(1.0, 255.0) as u32
    }

    /// Every how many rows a forecast of `lead` rows is kept to be judged.
    pub(crate) fn stride(lead: u32) -> u32 {
        lead.div_ceil(WAITING as u32).max(1)
    }

    /// Judges what was said of the row that now came, `x` at `now`, and learns from it.
    pub(crate) fn settle(&mut self, now: &Clock, x: f32) {
        let row = self.rows;
        if self.next.due == row && row > 0 {
            let promise = std::mem::take(&mut self.next);
            let miss = (x - promise.base).abs();
            self.error = if promise.unit > 0.0 { ((x - promise.base) / promise.unit).clamp(-20.0, 20.0) } else { 0.0 };
            let cut = self.cut(0, miss, CUT);
            let [fast, slow] = &mut self.volatility;
            *fast += 0.2 * (miss - *fast);
            let miss = cut;
            *slow += 0.03f32.max(1.0 / row as f32) * (miss - *slow);
            let start = *slow;
            if self.busy.slot(now.hour).is_nan() {
                self.busy.learn(now.hour, 1.0, start);
            }
            self.busy.learn(now.hour, (0.3 * self.step / 3600.0).min(0.3), miss);
            self.judge(0, x, &promise);
        }
        for i in 0..WAITING {
            if let Some(slot) = self.later.get_mut(i)
                && slot.due == row
                && row > 0
            {
                let promise = std::mem::take(slot);
                self.judge(1, x, &promise);
            }
        }
    }

    /// A first row's error counts whole, a later one's up to `units` units.
    fn cut(&self, horizon: usize, miss: f32, units: f32) -> f32 {
        match (self.unit.get(horizon), self.judged.get(horizon)) {
            (Some(unit), Some(judged)) if *judged > 20 && *unit > 0.0 => miss.min(units * unit),
            _ => miss,
        }
    }

    fn judge(&mut self, horizon: usize, x: f32, promise: &Promise) {
        let base = self.cut(horizon, (x - promise.base).abs(), CUT);
        let from_base = x - promise.base;
        let misses =
            promise.experts.map(|e| self.cut(horizon, (from_base - promise.unit * f32::from(e)).abs(), EXPERT_CUT));
        let (Some(judged), Some(unit), Some(miss), Some(offset)) = (
            self.judged.get_mut(horizon),
            self.unit.get_mut(horizon),
            self.miss.get_mut(horizon),
            self.offset.get_mut(horizon),
        ) else {
            return;
        };
        *judged = judged.saturating_add(1);
        let n = *judged as f32;
        *unit += UNIT_RATE.max(1.0 / n) * (base - *unit);
        let rate = MISS_RATE.max(1.0 / n);
        for (old, new) in miss.iter_mut().zip(misses) {
            *old += rate * (new - *old);
        }
        if promise.unit > 0.0 {
            // Online conformal calibration: each quantile moves so that, in the long run, its share of rows lies below it
            // whatever the series does (Gibbs and Candès 2021; Angelopoulos and others 2023).
            let rate = OFFSET_RATE.max(1.0 / (n + 10.0));
            for ((o, q), level) in offset.iter_mut().zip(promise.quantiles()).zip(QUANTILES) {
                *o += rate * (level - if x < q { 1.0 } else { 0.0 });
            }
        }
    }

    /// Takes the row in: `x` at `now`.
    pub(crate) fn take(&mut self, time: f64, now: &Clock, x: f32) {
        if self.rows == 0 {
            self.first = time;
            self.ewma = [x; 4];
            (self.low, self.high) = (x, x);
        } else {
            self.pace(time);
            self.same += 0.01 * (if x == self.last { 1.0 } else { 0.0 } - self.same);
        }
        let [_, _, slow, _] = self.ewma;
        let usual = [self.day.at(now.day, DAY_WIDTH, self.step), self.week.at(now.week, WEEK_WIDTH, self.step)];
        self.lean(x, usual);
        let rate = (self.step / (self.step + GAP_SECONDS)).max(0.06);
        for (gap, usual) in self.gap.iter_mut().zip(usual) {
            *gap += rate * (x - if usual.is_finite() { usual } else { slow } - *gap);
        }
        let start = 1.0 / (self.rows as f32 + 1.0);
        for (mean, rate) in self.ewma.iter_mut().zip(EWMA_RATES) {
            *mean += rate.max(start) * (x - *mean);
        }
        (self.low, self.high) = (self.low.min(x), self.high.max(x));
        let shrink = 1e-4 * 0.5 * (self.high - self.low);
        (self.low, self.high) = (self.low + shrink, self.high - shrink);
        // Every other row, so that 32 values span 64 rows.
        if self.rows.is_multiple_of(2) {
            self.recent.push(x);
        }
        self.day.learn((now.day / DAY_WIDTH) as usize, DAY_RATE * (self.step / DAY_WIDTH).min(1.0), x);
        self.week.learn((now.week / WEEK_WIDTH) as usize, WEEK_RATE * (self.step / WEEK_WIDTH).min(1.0), x);
        self.last = x;
        self.time = time;
        self.rows = self.rows.saturating_add(1);
    }

    fn lean(&mut self, x: f32, profiles: [f32; 2]) {
        let hours = self.step / (self.step + LEAN_SECONDS);
        let weeks = self.step / (self.step + USUAL_SECONDS);
        for ((lean, usual), profile) in self.lean.iter_mut().zip(&mut self.usual).zip(profiles) {
            let distance = x - profile;
            if !distance.is_finite() {
                continue;
            }
            let start = *usual == 0.0;
            let size = if start { distance.abs() } else { distance.abs().min(3.0 * *usual) };
            *usual +=
                if start { 1.0 } else { weeks.max(0.01f32.min(4.0 / (self.rows as f32 + 1.0))) } * (size - *usual);
            let side = if *usual > 0.0 { (distance / *usual).clamp(-3.0, 3.0) } else { 0.0 };
            *lean += hours * (side - *lean);
        }
    }

    /// The lesser of the leans from day and week if they agree on the side, else 0.
    pub(crate) fn drift(&self) -> f64 {
        let [day, week] = self.lean;
        if self.time - self.first < 2.0 * 86_400.0 || day * week <= 0.0 {
            return 0.0;
        }
        f64::from(if day.abs() < week.abs() { day } else { week })
    }

    /// Learns the distance between rows: a mean of the first eight, then near ones by a tenth; far ones move it by 2 %.
    fn pace(&mut self, time: f64) {
        let passed = (time - self.time) as f32;
        if passed > 0.0 {
            if self.rows < 8 {
                self.step = ((time - self.first) / f64::from(self.rows)) as f32;
            } else if (passed / self.step - 1.0).abs() < 0.05 {
                self.step += 0.1 * (passed - self.step);
            } else {
                self.step *= if passed > self.step { 1.02 } else { 0.98 };
            }
            self.step = self.step.clamp(0.01, 1e7);
        }
    }

    /// The experts' forecasts for the moment `then`.
    pub(crate) fn experts(&self, then: &Clock) -> [f32; EXPERTS] {
        let [fast, quick, slow, slower] = self.ewma;
        let [day_gap, week_gap] = self.gap;
        let day = self.day.at(then.day, DAY_WIDTH, self.step);
        let week = self.week.at(then.week, WEEK_WIDTH, self.step);
        let known = |v: f32, otherwise: f32| if v.is_finite() { v } else { otherwise };
        [
            self.last,
            fast,
            quick,
            slow,
            slower,
            known(day, slow),
            known(day + day_gap, quick),
            known(week + week_gap, quick),
            self.recent.quantile(0.5),
        ]
    }

    /// Mean of the experts, weighted by the eighth power of their accuracy.
    pub(crate) fn mix(&self, horizon: usize, experts: &[f32; EXPERTS]) -> f32 {
        let misses = self.miss.get(horizon).copied().unwrap_or_default();
        let least = misses.iter().copied().fold(f32::MAX, f32::min).max(TINY);
        let (mut sum, mut weight) = (0.0, 0.0);
        for (e, miss) in experts.iter().zip(misses) {
            let r = least / miss.max(TINY);
            let r = r * r;
            let r = r * r;
            let r = r * r;
            sum += r * (e - self.last);
            weight += r;
        }
        self.last + sum / weight
    }

    /// Units of both horizons, the farther at least the nearer.
    pub(crate) fn units(&self) -> [f32; HORIZONS] {
        let [near, far] = self.unit;
        let [burst, _] = self.volatility;
        let near = near.max(BURST * burst);
        [near, far.max(near)]
    }

    /// After a gap in time: what was promised by counting rows no longer holds.
    pub(crate) fn forget_promises(&mut self) {
        self.next = Promise::default();
        self.later = [Promise::default(); WAITING];
    }
}

impl State {
    /// `x` against the band promised for it: 0 at the median, ±1 at the edges; NaN if none was promised.
    pub(crate) fn surprise(&self, x: f32) -> f64 {
        let [low, _, median, _, high] = self.next.quantiles();
        if self.next.due != self.rows || self.rows == 0 {
            return f64::NAN;
        }
        let width = if x > median { high - median } else { median - low };
        // Where the band has no width (a constant series so far) its unit stands in, at a thousandth of the value at least.
        let least = (0.1 * self.next.unit).max(1e-3 * (f64::from(median) + self.anchor).abs() as f32).max(TINY);
        (f64::from(x - median) / f64::from(width.max(least))).clamp(-1e3, 1e3)
    }

    /// Quantiles in values from those in units, moved by the conformal offsets and put in order from the median outwards.
    pub(crate) fn calibrate(&self, horizon: usize, start: &Start, raw: &[f32; LEVELS]) -> [f32; LEVELS] {
        let [low, .., high] = *raw;
        let spread = (high - low).clamp(0.02, 30.0);
        let offsets = self.offset.get(horizon).copied().unwrap_or_default();
        let mut q = *raw;
        for (q, offset) in q.iter_mut().zip(offsets) {
            *q = start.base + start.unit * (*q + offset * spread);
        }
        let [a, b, c, d, e] = q;
        let (b, d) = (b.min(c), d.max(c));
        [a.min(b), b, c, d, e.max(d)]
    }

    /// Keeps a forecast made after the last row until its row comes; of the farther ones every [`State::stride`]th.
    pub(crate) fn promise(&mut self, horizon: usize, lead: u32, start: &Start, quantiles: [f32; LEVELS]) {
        let stride = Self::stride(lead);
        let slot = if horizon == 0 {
            Some((&mut self.next, self.rows))
        } else if self.rows.is_multiple_of(stride) {
            self.later.get_mut((self.rows / stride) as usize % WAITING).map(|slot| (slot, self.rows - 1 + lead))
        } else {
            None
        };
        let Some((slot, due)) = slot else { return };
        let Start { base, unit, experts } = *start;
        let scale = 1.0 / unit.max(TINY);
        let in_units = |v: f32| f16::from_f32(((v - base) * scale).clamp(-FULL, FULL));
        let (quantiles, experts) = (quantiles.map(in_units), experts.map(in_units));
        *slot = Promise { due, base, unit, quantiles, experts };
    }
}
