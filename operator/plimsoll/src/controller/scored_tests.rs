#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use plimsoll_api::{Problem, Slo};

use super::*;
use crate::{
    controller::{
        apply::refuse,
        stored::{Object, Stored},
        validate::ValidateError,
    },
    scorer::Fact,
};

/// The condition after a reconcile in this second, in which the scorer said this. The object is invalid, whose last good
/// rules are scored all the same.
fn after(old: Option<&Shown>, scored: Scored, second: i64) -> Shown {
    let slo = Slo::new("cart", Default::default());
    let stored = Arc::new(Stored { object: Object::Slo(Box::new(slo)), status: None, unreadable: None });
    let problems = vec![Problem::error("spec.objective", "objective is missing")];
    let applied = refuse(stored, ValidateError::Invalid(problems)).with_scored(scored);
    status(&applied, old, None, Timestamp::from_second(second).unwrap()).get().clone()
}

fn says(status: Option<bool>, reason: &'static str, message: &str) -> Scored {
    Scored::Says(Fact { status, reason, message: message.to_owned() })
}

#[test]
fn the_condition_follows_the_scorer_and_nothing_is_written_twice() {
    let mut shown: Option<Shown> = None;
    for (second, scored, wanted) in [
        (1, Scored::Unwanted, None),
        (2, Scored::NoPrometheus, Some(("False", c::REASON_NO_PROMETHEUS, 2))),
        (3, says(None, c::REASON_LEARNING, "a"), Some(("Unknown", c::REASON_LEARNING, 3))),
        (4, says(Some(true), c::REASON_SCORING, "a"), Some(("True", c::REASON_SCORING, 4))),
        // A new leader knows nothing yet, and a deletion asks nobody.
        (5, Scored::Awaited, Some(("True", c::REASON_SCORING, 4))),
        (6, Scored::Unasked, Some(("True", c::REASON_SCORING, 4))),
        (7, says(Some(false), c::REASON_NO_SERIES, "b"), Some(("False", c::REASON_NO_SERIES, 7))),
        (8, says(Some(false), c::REASON_THROTTLED, "c"), Some(("False", c::REASON_THROTTLED, 7))),
        (9, Scored::Unwanted, None),
        (10, Scored::Awaited, Some(("Unknown", c::REASON_WAITING, 10))),
    ] {
        let new = after(shown.as_ref(), scored.clone(), second);
        let found = new.conditions.iter().find(|condition| condition.type_ == c::SCORED);
        let found = found.map(|one| (one.status.as_str(), one.reason.as_str(), one.last_transition_time.0.as_second()));
        assert_eq!(found, wanted, "{second}");
        let ready = c::status(&new.conditions, c::READY);
        assert_eq!(ready, Some("False"), "readiness is another matter");
        assert_eq!(after(Some(&new), scored, second + 100), new, "the same again is no write");
        shown = Some(new);
    }
}

#[test]
fn what_is_found_anew_after_a_start_is_no_news() {
    let scoring = |message: &str| says(Some(true), c::REASON_SCORING, message);
    let old = "a: about 12 series scored since 2027-01-15T08:00:00Z; b: 1 series scored since 2027-01-15T08:00:00Z";
    let shown = after(None, scoring(old), 1);
    for (message, is_news) in [
        ("a: about 12 series scored since 2027-01-16T08:00:00Z; b: 1 series scored since 2027-01-16T08:00:00Z", false),
        ("a: about 15 series scored since 2027-01-16T08:00:00Z; b: 1 series scored since 2027-01-16T08:00:00Z", false),
        ("a: about 30 series scored since 2027-01-16T08:00:00Z; b: 1 series scored since 2027-01-16T08:00:00Z", true),
        ("a: about 12 series scored since 2027-01-16T08:00:00Z", true),
        ("a: about 12 series scored since 2027-01-16T08:00:00Z; c: 1 series scored since 2027-01-16T08:00:00Z", true),
    ] {
        assert_eq!(after(Some(&shown), scoring(message), 2) != shown, is_news, "{message}");
    }
    let other = says(Some(false), c::REASON_NO_SERIES, old);
    assert!(after(Some(&shown), other, 2) != shown, "another reason is news in whatever words");
}
