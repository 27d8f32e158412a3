#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::prometheus::{Idle, LoadedRule};

fn id() -> Id {
    ("shop".to_owned(), "cart".to_owned())
}

/// Rules of this revision.
fn wanted(n: usize) -> Wanted {
    Wanted {
        groups: vec!["g".to_owned(), "h".to_owned()],
        revision: format!("{n:012}"),
        labels: None,
        ..Wanted::default()
    }
}

fn found(n: usize, health: &str) -> Vec<LoadedGroup> {
    let rule = LoadedRule { name: "r".into(), health: health.into(), last_error: "boom".into(), query: "x".into() };
    let query = format!("label_replace(vector(1), \"plimsoll_revision\", \"\", \"\", \"{n:012}\")");
    let info = LoadedRule { name: "slo_info".into(), query, ..rule.clone() };
    let group = |name: &str, rule| LoadedGroup { name: name.into(), rules: vec![rule], ..LoadedGroup::default() };
    vec![group("g", rule), group("h", info)]
}

struct Bench {
    table: Observations,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { table: Observations::default(), now: Instant::now() }
    }

    fn expect(&self, n: usize, written: bool) -> Loaded {
        self.table.expect(&id(), &wanted(n), written, None, self.now, Timestamp::UNIX_EPOCH).loaded
    }

    fn later(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn answer(&self, found: &[LoadedGroup]) -> usize {
        let question = self.table.due(self.now, 10);
        self.table.answer(&question, found, self.now).0.len()
    }
}

#[test]
fn asked_soon_after_a_write_and_rarely_when_loaded() {
    let mut bench = Bench::new();
    assert_eq!(bench.expect(2, true), Loaded::Asking);
    assert!(bench.table.due(bench.now, 10).ids.is_empty());
    bench.later(0.5);
    assert_eq!(bench.table.due(bench.now, 10).groups, ["g", "h"]);
    assert_eq!(bench.answer(&[]), 0, "in the first seconds nothing is missing");
    bench.later(0.5);
    assert_eq!(bench.answer(&found(2, "unknown")), 1);
    assert_eq!(bench.expect(2, false), Loaded::Yes);
    bench.later(60.0);
    assert!(bench.table.due(bench.now, 10).ids.is_empty());
    bench.later(60.0);
    assert_eq!(bench.answer(&found(2, "ok")), 0);
}

/// Asks about rules of which one group is there and one is not, until that is said; how often and how long, and after how
/// many seconds it was first looked into.
fn until_missing(bench: &mut Bench, hint: Option<&str>) -> (f64, Vec<f64>) {
    bench.table.expect(&id(), &labelled(), true, None, bench.now, Timestamp::UNIX_EPOCH);
    let (mut asked, mut puzzles) = (0.0, Vec::new());
    while !matches!(bench.expect_loaded(), Loaded::Missing { .. }) {
        bench.later(0.25);
        asked += 0.25;
        let question = bench.table.due(bench.now, 10);
        if !question.ids.is_empty() {
            let (_, puzzled) = bench.table.answer(&question, &found(2, "ok")[..1], bench.now);
            if !puzzled.is_empty() {
                puzzles.push(asked);
                bench.table.hint(&id(), hint.map(str::to_owned));
            }
        }
        assert!(asked < 400.0);
    }
    (asked, puzzles)
}

/// As the pages say: after five minutes, for that is how long files of a ConfigMap may take.
#[test]
fn what_may_be_on_its_way_is_not_missing() {
    let mut bench = Bench::new();
    let (asked, puzzles) = until_missing(&mut bench, None);
    assert!((300.0..316.0).contains(&asked), "{asked}");
    assert!((5.0..15.0).contains(&puzzles[0]) && puzzles.len() > 1, "it is looked into all the same: {puzzles:?}");
    assert_eq!(bench.expect_loaded(), Loaded::Missing { group: "h".into(), hint: None });
}

#[test]
fn what_has_a_cause_is_missing_at_once() {
    let mut bench = Bench::new();
    let (asked, puzzles) = until_missing(&mut bench, Some("because"));
    assert!(asked < 15.0 && puzzles.len() == 1, "{asked} {puzzles:?}");
    assert!(!bench.table.hint(&id(), Some("because".into())));
    bench.later(20.0);
    assert_eq!(bench.answer(&found(2, "ok")[..1]), 0, "still missing, and the hint stays");
    assert_eq!(bench.expect_loaded(), Loaded::Missing { group: "h".into(), hint: Some("because".into()) });
    bench.later(20.0);
    assert_eq!(bench.answer(&found(2, "ok")), 1);
    assert_eq!(bench.expect_loaded(), Loaded::Yes);
}

/// A Prometheus that is started after the rules are written has not lost them.
#[test]
fn one_that_answers_late_is_waited_for() {
    let mut bench = Bench::new();
    bench.expect(2, true);
    bench.later(1.0);
    let question = bench.table.due(bench.now, 10);
    bench.table.unreachable(&question, "it starts", bench.now, Timestamp::UNIX_EPOCH);
    assert_eq!(bench.expect(2, false), Loaded::Unreachable("it starts".into()));
    bench.later(20.0);
    assert_eq!(bench.answer(&[]), 1);
    assert_eq!(bench.expect(2, false), Loaded::Asking);
}

fn labelled() -> Wanted {
    Wanted { labels: Some(BTreeMap::new()), ..wanted(2) }
}

impl Bench {
    fn expect_loaded(&self) -> Loaded {
        self.table.expect(&id(), &labelled(), false, None, self.now, Timestamp::UNIX_EPOCH).loaded
    }
}

#[test]
fn an_edit_is_loaded_when_its_own_rules_are() {
    let mut bench = Bench::new();
    bench.expect(1, true);
    bench.later(0.5);
    bench.answer(&found(1, "ok"));
    // As many rules in the same groups, and yet others.
    assert_eq!(bench.expect(2, true), Loaded::Outdated { overdue: false });
    bench.later(0.5);
    assert_eq!(bench.answer(&found(1, "ok")), 0, "no news");
    assert_eq!(bench.expect(2, false), Loaded::Outdated { overdue: false });
    bench.later(1.0);
    assert_eq!(bench.answer(&found(1, "ok")[..1]), 0, "a moment without a group while Prometheus reloads");
    bench.later(1.0);
    assert_eq!(bench.answer(&found(2, "ok")), 1);
    assert_eq!(bench.expect(2, false), Loaded::Yes);
}

#[test]
fn an_edit_that_never_arrives_is_not_loaded() {
    let mut bench = Bench::new();
    bench.expect(1, true);
    bench.later(0.5);
    bench.answer(&found(1, "ok"));
    bench.expect(2, true);
    let mut changes = 0;
    for _ in 0..100 {
        bench.later(5.0);
        changes += bench.answer(&found(1, "ok"));
    }
    assert_eq!((changes, bench.expect(2, false)), (1, Loaded::Outdated { overdue: true }));
}

/// What is stored tells a new process since when; an edit of its own, or a clock that went back, begins anew.
#[test]
fn a_restart_does_not_begin_the_patience_anew() {
    let at = |second| Timestamp::from_second(second).unwrap();
    for (waiting, written, overdue) in [
        (Some(at(1000)), false, true),
        (Some(at(1701)), false, false),
        (Some(at(1000)), true, false),
        (Some(at(3000)), false, false),
        (None, false, false),
    ] {
        let mut bench = Bench::new();
        let seen = bench.table.expect(&id(), &wanted(2), written, waiting, bench.now, at(2000));
        let kept = waiting.filter(|since| !written && *since <= at(2000));
        assert_eq!((seen.loaded, seen.since), (Loaded::Asking, kept.unwrap_or(at(2000))), "{waiting:?}");
        bench.later(0.5);
        assert_eq!(bench.answer(&found(1, "ok")), 1);
        // The stored time is of before; now it is known here.
        let seen = bench.table.expect(&id(), &wanted(2), false, Some(at(0)), bench.now, at(2001));
        assert_eq!(seen.loaded, Loaded::Outdated { overdue }, "{waiting:?}");
    }
}

#[test]
fn rules_of_an_operator_without_revisions_are_other_rules() {
    let mut old = found(1, "ok");
    old[1].rules[0].query = "vector(1)".to_owned();
    assert_eq!(judge(&wanted(1), &index(&old)), Loaded::Outdated { overdue: false });
}

#[test]
fn an_older_copy_beside_the_rules_is_no_edit_on_its_way() {
    for copies in [[found(1, "ok"), found(2, "ok")], [found(2, "ok"), found(1, "ok")]] {
        let both: Vec<LoadedGroup> = copies.into_iter().flatten().collect();
        assert_eq!(judge(&wanted(2), &index(&both)), Loaded::Yes);
        assert_eq!(judge(&wanted(3), &index(&both)), Loaded::Outdated { overdue: false });
    }
}

#[test]
fn a_failing_rule_is_named() {
    let bench = Bench::new();
    bench.expect(1, false);
    assert_eq!(bench.answer(&found(1, "err")), 1);
    assert_eq!(bench.expect(1, false), Loaded::Failing("r: boom".into()));
}

#[test]
fn an_outage_needs_a_minute_to_count() {
    let mut bench = Bench::new();
    bench.expect(1, false);
    bench.answer(&found(1, "ok"));
    bench.later(120.0);
    let question = bench.table.due(bench.now, 10);
    assert!(bench.table.unreachable(&question, "refused", bench.now, Timestamp::UNIX_EPOCH).is_empty());
    bench.later(61.0);
    assert_eq!(bench.table.unreachable(&question, "refused", bench.now, Timestamp::UNIX_EPOCH).len(), 1);
    assert!(
        bench.table.unreachable(&question, "reset", bench.now, Timestamp::UNIX_EPOCH).is_empty(),
        "the first cause stays"
    );
    bench.later(20.0);
    assert_eq!(bench.answer(&found(1, "ok")), 1);
    // One that was never loaded has nothing to lose.
    let other = ("shop".to_owned(), "new".to_owned());
    bench.table.expect(&other, &wanted(1), false, None, bench.now, Timestamp::UNIX_EPOCH);
    let question = Question { ids: vec![other], groups: vec![] };
    assert_eq!(bench.table.unreachable(&question, "refused", bench.now, Timestamp::UNIX_EPOCH).len(), 1);
}

#[test]
fn an_slo_that_became_invalid_is_followed() {
    let mut bench = Bench::new();
    bench.table.follow(&id(), bench.now, Timestamp::UNIX_EPOCH);
    bench.later(500.0);
    assert!(bench.table.due(bench.now, 10).ids.is_empty(), "which rules should be loaded is not known");
    let mut numbers = Numbers::default();
    numbers.present.insert("shop/cart".to_owned(), 1);
    assert_eq!(bench.table.numbers(&numbers, bench.now).0, [id()]);
    let seen = bench.table.follow(&id(), bench.now, Timestamp::UNIX_EPOCH);
    assert_eq!((seen.data, seen.columns.alert), (Some(true), Some(None)));
    // Valid again, its rules are asked for.
    assert_eq!(bench.expect(1, false), Loaded::Asking);
    assert_eq!(bench.table.due(bench.now, 10).ids, [id()]);
}

#[test]
fn data_is_missing_only_after_the_first_evaluations() {
    let mut bench = Bench::new();
    bench.expect(1, false);
    bench.answer(&found(1, "ok"));
    assert!(bench.table.numbers(&Numbers::default(), bench.now).0.is_empty());
    bench.later(91.0);
    assert_eq!(bench.table.numbers(&Numbers::default(), bench.now).0.len(), 1);
    let mut numbers = Numbers::default();
    numbers.present.insert("shop/cart".to_owned(), 1);
    assert_eq!(bench.table.numbers(&numbers, bench.now).0.len(), 1);
    assert!(bench.table.numbers(&numbers, bench.now).0.is_empty());
    bench.table.forget(&id());
    assert!(bench.table.is_empty());
}

#[test]
fn what_is_too_much_is_told_once() {
    let bench = Bench::new();
    let day = |days: u64| Some(Span::seconds(days * 86_400));
    let scope = Scope { period: day(30), group_by: vec!["user".to_owned()], ..Scope::default() };
    let wanted = Wanted { scope, ..wanted(1) };
    let told = || {
        bench.table.expect(&id(), &wanted, false, None, bench.now, Timestamp::UNIX_EPOCH).excess.map(|all| all.len())
    };
    assert_eq!(told(), None, "nobody was asked");
    assert!(bench.table.retention(day(15)).is_empty());
    assert_eq!(told(), None, "nobody has counted");
    let numbers = |groups| {
        let mut numbers = Numbers::default();
        numbers.present.insert("shop/cart".to_owned(), groups);
        bench.table.numbers(&numbers, bench.now)
    };
    let crowd = |groups| Crowd { id: id(), groups, labels: vec!["user".to_owned()] };
    assert_eq!(numbers(300), (vec![id()], vec![]));
    assert!(bench.table.retention(day(15)).is_empty(), "no news");
    assert_eq!(told(), Some(1));
    assert_eq!(numbers(400).1, [crowd(400)]);
    assert!(bench.table.crowd(&crowd(400), Some(("user", 400))));
    assert_eq!(told(), Some(2));
    assert_eq!(numbers(500), (vec![], vec![]), "no news");
    assert_eq!(numbers(700).1, [crowd(700)]);
    assert_eq!(numbers(20).0, [id()]);
    assert_eq!(told(), Some(1));
    assert_eq!(bench.table.retention(day(30)), [id()]);
    assert_eq!(told(), Some(0));
}

#[test]
fn what_comes_back_needs_time_to_be_believed() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut bench = Bench::new();
    bench.expect(1, false);
    bench.answer(&found(1, "ok"));
    let numbers = |second, present, started| {
        let mut numbers = Numbers::default();
        (numbers.at, numbers.started) = (at(second), started);
        numbers.present.insert("shop/cart".to_owned(), present);
        numbers
    };
    let back = |bench: &Bench| bench.table.follow(&id(), bench.now, Timestamp::UNIX_EPOCH).back;
    bench.table.numbers(&numbers(1000, 1, None), bench.now);
    assert_eq!(back(&bench), None, "never away");
    bench.table.lose(bench.now, at(1001));
    assert_eq!(bench.table.due(bench.now, 10).ids, [id()], "whether it is away is asked at once");
    bench.later(100.0);
    bench.table.numbers(&numbers(1100, 1, None), bench.now);
    assert_eq!(back(&bench), Some(at(1100)));
    bench.later(359.0);
    assert!(bench.table.numbers(&numbers(1459, 1, None), bench.now).0.is_empty());
    bench.later(1.0);
    assert_eq!(bench.table.numbers(&numbers(1460, 1, None), bench.now).0, [id()], "told when it is over, once");
    assert!(bench.table.numbers(&numbers(1461, 1, None), bench.now).0.is_empty());
    // Too quick to be missed, but it says that it was started.
    bench.table.numbers(&numbers(1480, 1, Some(at(1470))), bench.now);
    assert_eq!(back(&bench), Some(at(1470)));
    bench.table.lose(bench.now, at(1481));
    bench.table.numbers(&numbers(1490, 1, Some(at(1470))), bench.now);
    assert_eq!(back(&bench), Some(at(1470)), "it was not reached, but it ran");
    // It answers, without the series that it had.
    bench.table.numbers(&numbers(1500, 0, Some(at(1470))), bench.now);
    bench.table.numbers(&numbers(1515, 1, Some(at(1470))), bench.now);
    assert_eq!(back(&bench), Some(at(1515)));
}

#[test]
fn rules_that_are_not_evaluated_are_told() {
    let idle = |of: [Option<Idle>; 2]| -> Vec<LoadedGroup> {
        found(2, "ok").into_iter().zip(of).map(|(group, idle)| LoadedGroup { idle, ..group }).collect()
    };
    let at = |second| Timestamp::from_second(second).unwrap();
    let says = |group: &str, since| Loaded::Idle { group: group.into(), since };
    for (of, loaded) in [
        ([None, None], Loaded::Yes),
        ([None, Some(Idle::Since(at(5)))], says("h", Some(at(5)))),
        // A slow group is awaited while another is evaluated.
        ([None, Some(Idle::Never)], Loaded::Yes),
        ([Some(Idle::Never); 2], says("g", None)),
    ] {
        assert_eq!(judge(&wanted(2), &index(&idle(of))), loaded, "{of:?}");
    }
    // Of two servers one evaluates.
    let both = [idle([Some(Idle::Since(at(5))); 2]), found(2, "ok")].concat();
    assert_eq!(judge(&wanted(2), &index(&both)), Loaded::Yes);

    let mut bench = Bench::new();
    bench.expect(2, true);
    bench.later(1.0);
    bench.answer(&idle([Some(Idle::Never); 2]));
    assert_eq!(bench.expect(2, false), Loaded::Yes, "its first evaluation is awaited");
    bench.later(400.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 1);
    assert_eq!(bench.expect(2, false), says("g", None));
    bench.later(20.0);
    assert_eq!(bench.answer(&found(2, "ok")), 1, "it is asked again soon");
    assert_eq!(bench.expect(2, false), Loaded::Yes);

    // Their file is another one, long after: Prometheus has made the groups anew.
    bench.later(4000.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 0, "nothing flaps");
    assert_eq!(bench.expect(2, false), Loaded::Yes);
    bench.later(350.0);
    assert_eq!(bench.answer(&idle([None, Some(Idle::Never)])), 0);
    bench.later(350.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 0, "and anew, after it was evaluated");
    bench.later(400.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 1, "a reload is no excuse for good");
    assert_eq!(bench.expect(2, false), says("g", None));
    bench.later(20.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 0, "what was told stays told");
    bench.later(20.0);
    assert_eq!(bench.answer(&found(2, "ok")), 1);

    let question = Question { ids: vec![id()], ..Question::default() };
    // It was loaded anew, then away for as long as it needs to start, and has the groups anew once more.
    bench.later(120.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 0);
    for _ in 0..4 {
        bench.later(100.0);
        bench.table.unreachable(&question, "no answer", bench.now, Timestamp::UNIX_EPOCH);
    }
    bench.later(20.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 1);
    assert_eq!(bench.expect(2, false), Loaded::Yes, "its first evaluation is awaited");
    bench.later(350.0);
    bench.table.unreachable(&question, "too slow, once", bench.now, Timestamp::UNIX_EPOCH);
    bench.later(15.0);
    assert_eq!(bench.answer(&idle([Some(Idle::Never); 2])), 1, "one answer that fails is no start");
    assert_eq!(bench.expect(2, false), says("g", None));
}

#[test]
fn targets_of_what_has_no_samples_are_sought_once_a_minute() {
    let mut bench = Bench::new();
    let scope = Scope { targets: Some("job=\"cart\"".into()), ..Scope::default() };
    let wanted = Wanted { scope, ..wanted(2) };
    bench.table.expect(&id(), &wanted, true, None, bench.now, Timestamp::UNIX_EPOCH);
    assert!(bench.table.silent(bench.now, 10).is_empty(), "it is not known to have none");
    bench.table.rows().get_mut(&id()).unwrap().observation.data = Some(false);
    let sought = vec![(id(), "job=\"cart\"".to_owned())];
    assert_eq!(bench.table.silent(bench.now, 10), sought);
    let down = |cause: &str| {
        let (of, address) = ("job=\"cart\"".to_owned(), "http://a:80/metrics".to_owned());
        Some(Away::Down { of, count: 1, address, cause: cause.to_owned() })
    };
    assert!(bench.table.seek(&id(), down("refused")));
    assert!(!bench.table.seek(&id(), down("timed out")), "another wording is no news");
    assert!(bench.table.silent(bench.now, 10).is_empty());
    bench.later(61.0);
    assert_eq!(bench.table.silent(bench.now, 10), sought);
    assert!(bench.table.seek(&id(), None));
}

#[test]
fn bad_events_of_no_group_are_asked_for_every_ten_minutes() {
    let mut bench = Bench::new();
    let apart = vec![("route".to_owned(), "count by (route) (b) unless on (route) (t)".to_owned())];
    let of = |apart: &Vec<(String, String)>| Wanted {
        scope: Scope { group_by: vec!["route".into()], apart: apart.clone(), ..Scope::default() },
        ..wanted(2)
    };
    let seen = |bench: &Bench, wanted: &Wanted| {
        bench.table.expect(&id(), wanted, false, None, bench.now, Timestamp::UNIX_EPOCH)
    };
    seen(&bench, &of(&apart));
    assert!(bench.table.grouped(bench.now, 10).is_empty(), "it is not known to have data");
    bench.table.rows().get_mut(&id()).unwrap().observation.data = Some(true);
    assert_eq!(bench.table.grouped(bench.now, 10), [(id(), apart.clone())]);
    assert!(bench.table.pair(&id(), Some("route".into())));
    assert!(!bench.table.pair(&id(), Some("route".into())), "no news");
    assert!(bench.table.grouped(bench.now, 10).is_empty());
    bench.later(601.0);
    assert_eq!(bench.table.grouped(bench.now, 10).len(), 1);
    assert_eq!(seen(&bench, &of(&apart)).lacks.as_deref(), Some("route"));
    // Of another indicator nothing is known so far.
    let other = vec![("route".to_owned(), "count by (route) (other) unless on (route) (t)".to_owned())];
    assert_eq!(seen(&bench, &of(&other)).lacks, None);
    assert_eq!(bench.table.grouped(bench.now, 10), [(id(), other)]);
}

/// With `noData: Bad` the base series go on when the indicator is gone.
#[test]
fn what_is_made_up_for_missing_time_is_no_data() {
    let mut bench = Bench::new();
    let scope = Scope { targets: Some("job=\"cart\"".into()), own: Some("sum(x)".into()), ..Scope::default() };
    let bad = Wanted { scope, ..wanted(2) };
    let seen = |bench: &Bench, wanted: &Wanted| {
        let seen = bench.table.expect(&id(), wanted, false, None, bench.now, Timestamp::UNIX_EPOCH);
        (seen.data, seen.made_up)
    };
    let numbers = |bench: &Bench, whole| {
        let mut numbers = Numbers::default();
        numbers.present.insert("shop/cart".to_owned(), 2);
        numbers.whole.insert("shop/cart".to_owned(), whole);
        bench.table.numbers(&numbers, bench.now).0
    };
    assert_eq!(seen(&bench, &bad), (None, false));
    assert_eq!(numbers(&bench, 1), [id()]);
    assert!(bench.table.doubtful(bench.now, 10).is_empty(), "one group has good events");
    assert!(numbers(&bench, 2).is_empty(), "it may be an outage that is measured");
    assert_eq!(bench.table.doubtful(bench.now, 10), [(id(), "sum(x)".to_owned())]);
    assert!(!bench.table.measures(&id(), true), "it is");
    assert!(bench.table.doubtful(bench.now, 10).is_empty(), "once a minute");
    bench.later(61.0);
    assert_eq!(bench.table.doubtful(bench.now, 10).len(), 1);
    assert!(bench.table.measures(&id(), false));
    assert_eq!(seen(&bench, &bad), (Some(false), true));
    assert_eq!(bench.table.silent(bench.now, 10), [(id(), "job=\"cart\"".to_owned())], "its targets are sought");
    assert!(numbers(&bench, 2).is_empty(), "no news");
    assert_eq!(seen(&bench, &bad), (Some(false), true));
    assert_eq!(numbers(&bench, 0), [id()], "good events come of the indicator alone");
    assert_eq!(seen(&bench, &bad), (Some(true), false));
    // Where missing time is not bad, there is nothing to doubt.
    assert_eq!(seen(&bench, &wanted(2)), (Some(true), false));
    assert!(numbers(&bench, 2).is_empty() && bench.table.doubtful(bench.now, 10).is_empty());
}
