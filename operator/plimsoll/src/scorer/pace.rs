//! How often a Prometheus that wants less is asked. Pure: the time is given, in seconds.

/// The first rest, where the answer does not say how long; each further one is twice as long, ...
const REST: u64 = 30;
/// ... up to this. An answer that wants more does not get it: somebody may have repaired it since.
const REST_MAX: u64 = 600;

/// Of all questions to one server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    until: u64,
    strikes: u32,
}

impl Pace {
    /// Whether nothing is to be asked now.
    pub(crate) fn rests(&self, now: u64) -> bool {
        // A clock that was set back must not mean a rest without end.
        now < self.until && self.until - now <= REST_MAX
    }

    /// The server wants less, for so many seconds if it says so.
    pub(crate) fn throttled(&mut self, now: u64, retry_after: Option<u64>) {
        let own = REST.saturating_mul(2u64.saturating_pow(self.strikes)).min(REST_MAX);
        self.until = now + retry_after.map_or(own, |wanted| wanted.clamp(1, REST_MAX));
        self.strikes = self.strikes.saturating_add(1);
    }

    /// It has answered everything.
    pub(crate) fn answered(&mut self) {
        *self = Self::default();
    }

    /// Questions at the same time: one, until all is well again.
    pub(crate) fn concurrency(&self, usual: usize) -> usize {
        if self.strikes == 0 { usual } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rests_as_long_as_is_wanted_or_longer_each_time() {
        let mut pace = Pace::default();
        assert!(!pace.rests(1000));
        assert_eq!(pace.concurrency(4), 4);
        for (now, retry_after, rest) in [
            (1000, Some(45), 45),
            (1045, None, 60),
            (2000, None, 120),
            (3000, Some(0), 1),
            (4000, Some(86_400), 600),
            (5000, None, 600),
            (6000, None, 600),
            (7000, None, 600),
        ] {
            pace.throttled(now, retry_after);
            assert!(pace.rests(now + rest - 1) && !pace.rests(now + rest), "{now} {retry_after:?}");
            assert_eq!(pace.concurrency(4), 1);
        }
        assert!(!pace.rests(10), "the clock was set back");
        pace.answered();
        assert_eq!(pace, Pace::default());
    }
}
