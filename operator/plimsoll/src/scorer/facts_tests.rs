#![allow(clippy::unwrap_used)]
use plimsoll_api::anomaly::Direction;

use super::*;
use crate::scorer::tests::{NOW, watch};

const SHARD: u32 = 0;

fn seen(series: usize, learning: usize, refused: usize) -> Seen {
    Seen { series, learning, refused, ..Seen::default() }
}

fn of(facts: &Facts) -> Fact {
    facts.of(Kind::AlertRule, "shop", "checkout").unwrap()
}

fn changed(facts: &Facts) -> bool {
    !std::mem::take(&mut facts.inner().changed).is_empty()
}

#[test]
fn every_reason_has_its_words() {
    let watch = watch(Direction::Both);
    type Step = fn(&Facts, &Watch, u64);
    for (step, status, reason, message) in [
        (
            (|facts, watch, now| facts.saw(SHARD, watch, seen(12, 0, 0), now)) as Step,
            Some(true),
            c::REASON_SCORING,
            "Odd: about 12 series scored since 2027-01-15T08:00:00Z",
        ),
        (
            |facts, watch, now| facts.saw(SHARD, watch, seen(1, 1, 0), now),
            None,
            c::REASON_LEARNING,
            "Odd: 1 series learnt since 2027-01-15T08:00:00Z; a series is scored after 100 samples, which take 50 minutes, and alerts when a day of it is known",
        ),
        (
            |facts, watch, now| facts.saw(SHARD, watch, seen(500, 3, 700), now),
            Some(false),
            c::REASON_TOO_MANY_SERIES,
            "Odd: about 500 series since 2027-01-15T08:00:00Z, and about 700 more find no room: at most 500 of a query and 10000 in all are scored; aggregate the query, as in sum by (job) (…)",
        ),
        (
            |facts, watch, now| facts.saw(SHARD, watch, Seen { indistinct: 2, ..seen(12, 1, 0) }, now),
            Some(false),
            c::REASON_INDISTINCT_SERIES,
            "Odd: about 12 series since 2027-01-15T08:00:00Z, and 2 more that would have the same labels: a score has no name of a metric, and a dot in a label's name becomes an underscore; tell them apart, as in sum by (…) or label_replace(…)",
        ),
        (
            |facts, watch, now| facts.saw(SHARD, watch, Seen { behind: Some(150), ..seen(12, 1, 0) }, now),
            Some(false),
            c::REASON_BEHIND,
            "Odd: about 12 series read too seldom since 2027-01-15T08:00:00Z: to read all takes 150 s, and a score is shown for 120 s, so that alerts come late or not at all; see why Prometheus is slow, or give the work to more replicas with --anomaly-shards",
        ),
        (
            |facts, watch, now| facts.saw(SHARD, watch, seen(0, 0, 0), now),
            Some(false),
            c::REASON_NO_SERIES,
            "Odd: its query finds no series since 2027-01-15T08:00:00Z",
        ),
        (
            |facts, watch, now| facts.failed(SHARD, watch, Trouble::Refused, "http://x refuses: parse error", now),
            Some(false),
            c::REASON_QUERY_FAILED,
            "Odd: not scored since 2027-01-15T08:00:00Z: http://x refuses: parse error",
        ),
        (
            |facts, watch, now| {
                facts.failed(SHARD, watch, Trouble::Unreachable, "http://x does not answer: refused", now)
            },
            Some(false),
            c::REASON_SOURCE_UNREACHABLE,
            "Odd: not scored since 2027-01-15T08:00:00Z: http://x does not answer: refused",
        ),
        (
            |facts, watch, now| {
                facts.failed(SHARD, watch, Trouble::Throttled, "http://x wants to be asked less: 429", now)
            },
            Some(false),
            c::REASON_THROTTLED,
            "Odd: not scored since 2027-01-15T08:00:00Z: http://x wants to be asked less: 429",
        ),
    ] {
        let facts = Facts::default();
        assert_eq!(facts.of(Kind::AlertRule, "shop", "checkout"), None);
        // What is bad is told when it has lasted.
        for now in (NOW..=NOW + 120).step_by(30) {
            step(&facts, &watch, now);
        }
        let fact = of(&facts);
        assert_eq!((fact.status, fact.reason, fact.message.as_str()), (status, reason, message));
    }
}

#[test]
fn what_is_told_changes_rarely() {
    let (watch, facts) = (watch(Direction::Both), Facts::default());
    facts.saw(SHARD, &watch, seen(10, 0, 0), NOW);
    assert!(changed(&facts));
    let first = of(&facts);
    for (series, learning, now) in [(10, 0, NOW + 30), (9, 2, NOW + 60), (13, 1, NOW + 90), (15, 0, NOW + 120)] {
        facts.saw(SHARD, &watch, seen(series, learning, 0), now);
        assert!(!changed(&facts), "{series}");
        assert_eq!(of(&facts), first);
    }
    facts.saw(SHARD, &watch, seen(16, 0, 0), NOW + 150);
    assert!(changed(&facts), "more by half");
    assert_eq!(of(&facts).message, "Odd: about 16 series scored since 2027-01-15T08:00:00Z");
    // One failure, two of them within a minute, and another one are nothing yet.
    facts.failed(SHARD, &watch, Trouble::Unreachable, "a", NOW + 180);
    facts.failed(SHARD, &watch, Trouble::Unreachable, "b", NOW + 210);
    facts.saw(SHARD, &watch, seen(16, 0, 0), NOW + 240);
    facts.failed(SHARD, &watch, Trouble::Unreachable, "c", NOW + 270);
    facts.failed(SHARD, &watch, Trouble::Unreachable, "d", NOW + 300);
    assert!(!changed(&facts));
    facts.failed(SHARD, &watch, Trouble::Unreachable, "e", NOW + 330);
    assert!(changed(&facts));
    let told = of(&facts);
    assert_eq!(told.message, "Odd: not scored since 2027-01-15T08:04:30Z: e");
    facts.failed(SHARD, &watch, Trouble::Unreachable, "f", NOW + 360);
    assert!(!changed(&facts), "in other words the same");
    assert_eq!(of(&facts), told);
    facts.saw(SHARD, &watch, seen(16, 0, 0), NOW + 390);
    assert!(changed(&facts), "good news is told at once");
}

#[test]
fn the_worst_watch_decides_and_each_has_its_words() {
    let facts = Facts::default();
    let of_signal = |signal: &str| Watch {
        labels: vec![("slo_id".to_owned(), "shop/checkout".to_owned()), ("signal".to_owned(), signal.to_owned())],
        ..watch(Direction::Both)
    };
    let (total, bad) = (of_signal("total"), of_signal("bad"));
    facts.saw(SHARD, &total, seen(1, 0, 0), NOW);
    facts.saw(SHARD, &bad, seen(1, 1, 0), NOW);
    let fact = facts.of(Kind::Slo, "shop", "checkout").unwrap();
    assert_eq!((fact.status, fact.reason), (None, c::REASON_LEARNING));
    assert_eq!(
        fact.message,
        "bad: 1 series learnt since 2027-01-15T08:00:00Z; a series is scored after 100 samples, which take 50 minutes, and alerts when a day of it is known; total: 1 series scored since 2027-01-15T08:00:00Z"
    );
    assert_eq!(facts.of(Kind::AlertRule, "shop", "checkout"), None, "another kind of the same name");
    facts.keep(SHARD, [&total]);
    assert_eq!(facts.of(Kind::Slo, "shop", "checkout").unwrap().reason, c::REASON_SCORING);
    facts.keep(SHARD, []);
    assert_eq!(facts.of(Kind::Slo, "shop", "checkout"), None);
}

#[tokio::test]
async fn a_change_wakes_who_waits_for_it() {
    let facts = Facts::default();
    let watch = watch(Direction::Both);
    let (changed, ()) = tokio::join!(facts.changed(), async { facts.saw(SHARD, &watch, seen(1, 0, 0), NOW) });
    assert_eq!(changed.into_iter().collect::<Vec<_>>(), [(Kind::AlertRule, "shop".to_owned(), "checkout".to_owned())]);
}

#[test]
fn what_others_tell_is_told_where_nothing_is_seen_here() {
    let (watch, facts) = (watch(Direction::Both), Facts::default());
    let owner: Owner = (Kind::AlertRule, "shop".to_owned(), "checkout".to_owned());
    let says =
        |reason: &str, text: &str| BTreeMap::from([(owner.clone(), Fact::read(reason, text.to_owned()).unwrap())]);
    facts.hear(3, says(c::REASON_NO_SERIES, "elsewhere"));
    assert!(changed(&facts));
    assert_eq!((of(&facts).status, of(&facts).message.as_str()), (Some(false), "elsewhere"));
    facts.hear(3, says(c::REASON_NO_SERIES, "elsewhere"));
    assert!(!changed(&facts), "the same again is no news");
    // The shard comes here, and goes again.
    facts.saw(3, &watch, seen(1, 0, 0), NOW);
    assert!(changed(&facts));
    assert_eq!(of(&facts).reason, c::REASON_SCORING);
    facts.hear(3, facts.of_shard(3));
    assert!(!changed(&facts), "our own words");
    facts.leave(3);
    assert_eq!(of(&facts).reason, c::REASON_SCORING, "until somebody says otherwise");
    facts.hear(3, says(c::REASON_LEARNING, "anew"));
    assert!(changed(&facts));
    assert_eq!(of(&facts).reason, c::REASON_LEARNING);
    facts.forget_told();
    assert_eq!(facts.of(Kind::AlertRule, "shop", "checkout"), None);
    assert_eq!(Fact::read("Unheard", String::new()), None, "of another version");
}
