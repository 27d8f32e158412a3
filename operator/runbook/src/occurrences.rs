//! Since when a series holds, by what Prometheus remembers of it: whoever begins to lead has not seen it begin.

use jiff::Timestamp;
use plimsoll_slo::model::Span;

/// A part of the past, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// From here.
    pub from: i64,
    /// To here.
    pub to: i64,
    /// So many seconds between questions.
    pub step: i64,
}

/// Seconds between two looks at what runs: what goes and comes back between them is not seen to have gone.
const STEP: i64 = 15;
/// Nobody led for longer than this: what began or ended before was seen by whoever led then, whose executions say so.
const AWAY: i64 = 6 * 3600;
/// Values of a series in one answer.
const MOST: i64 = 1500;

/// What must be looked at, for series that hold now: back to the oldest start of an execution for one, and as far as
/// `for` wants; `None` where neither is, and a series holds since now.
pub fn look_back(oldest: Option<Timestamp>, lasting: Option<Span>, now: Timestamp) -> Option<Look> {
    let lasting = lasting.map(|span| i64::try_from(span.as_seconds()).unwrap_or(i64::MAX));
    let to = now.as_second();
    let since = oldest.map(|at| (to - at.as_second()).clamp(0, AWAY));
    let back = since.max(lasting).filter(|back| *back > 0)?;
    let step = (back / MOST + 1).max(STEP);
    // Whole steps, so that the last question is of now.
    let steps = back / step + i64::from(back % step > 0);
    Some(Look { from: to.saturating_sub(steps.saturating_mul(step)).max(0), to, step })
}

/// Since when a series holds, from the times at which it was there: since the newest execution for it says, when it was
/// there ever since; else since it came back. `None`: it has only just come.
pub fn held_since(look: &Look, there: &[i64], newest: Option<Timestamp>) -> Option<Timestamp> {
    let mut since = *there.last().filter(|last| look.to - **last <= look.step)?;
    for time in there.iter().rev() {
        if since - time > look.step {
            break;
        }
        since = *time;
    }
    // An execution that is older than this occurrence is of another one.
    match newest {
        Some(newest) if since - newest.as_second() <= look.step || since <= look.from => Some(newest),
        _ => Timestamp::from_second(since).ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: i64 = 1_000_000;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Every 15 seconds of a part of the past, as Prometheus answers.
    fn there(look: &Look, is: impl Fn(i64) -> bool) -> Vec<i64> {
        (look.from..=look.to).step_by(15).filter(|time| is(*time)).collect()
    }

    #[test]
    fn it_is_looked_as_far_back_as_it_matters() {
        let back = |oldest: Option<i64>, lasting: Option<u64>| {
            let look = look_back(oldest.map(|ago| at(NOW - ago)), lasting.map(Span::seconds), at(NOW))?;
            assert_eq!((look.to, (look.to - look.from) % look.step), (NOW, 0));
            Some((NOW - look.from, look.step))
        };
        assert_eq!(back(None, None), None);
        assert_eq!(back(Some(100), None), Some((105, 15)));
        assert_eq!(back(None, Some(600)), Some((600, 15)));
        assert_eq!(back(Some(100), Some(600)), Some((600, 15)));
        assert_eq!(back(Some(30 * 86_400), None), Some((AWAY, 15)));
        let (far, step) = back(None, Some(86_400)).unwrap();
        assert!(far >= 86_400 && far / step <= MOST, "{far} in steps of {step}");
    }

    #[test]
    fn what_held_all_the_time_is_the_same_occurrence() {
        let look = look_back(Some(at(NOW - 600)), None, at(NOW)).unwrap();
        let held = held_since(&look, &there(&look, |_| true), Some(at(NOW - 600)));
        assert_eq!(held, Some(at(NOW - 600)));
        // Longer ago than anybody looks.
        let look = look_back(Some(at(NOW - 90_000)), None, at(NOW)).unwrap();
        assert_eq!(held_since(&look, &there(&look, |_| true), Some(at(NOW - 90_000))), Some(at(NOW - 90_000)));
    }

    #[test]
    fn what_went_and_came_back_is_a_new_one() {
        let look = look_back(Some(at(NOW - 600)), None, at(NOW)).unwrap();
        let gone = there(&look, |time| !(NOW - 300..NOW - 150).contains(&time));
        assert_eq!(held_since(&look, &gone, Some(at(NOW - 600))), Some(at(NOW - 150)));
        // Gone since before the oldest of all, and only just back.
        assert_eq!(held_since(&look, &[NOW], Some(at(NOW - 600))), Some(at(NOW)));
        assert_eq!(held_since(&look, &[], Some(at(NOW - 600))), None);
        assert_eq!(held_since(&look, &[NOW - 300], Some(at(NOW - 600))), None);
    }

    /// Whoever leads next does not begin to count `for` anew, and does not count what was before a gap.
    #[test]
    fn what_is_waited_for_goes_on_being_waited_for() {
        let look = look_back(None, Some(Span::seconds(600)), at(NOW)).unwrap();
        assert_eq!(held_since(&look, &there(&look, |time| time >= NOW - 240), None), Some(at(NOW - 240)));
        assert_eq!(held_since(&look, &there(&look, |_| true), None), Some(at(NOW - 600)));
        let gone = there(&look, |time| !(NOW - 300..NOW - 60).contains(&time));
        assert_eq!(held_since(&look, &gone, Some(at(NOW - 500))), Some(at(NOW - 60)));
    }
}
