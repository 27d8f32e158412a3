#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::{
    super::{
        facts::{Slip, Tier},
        parts::{Heard, Part},
    },
    *,
};
use crate::limits::Excess;

fn good() -> Facts {
    let tier = |name: &str, threshold: &str, long: &str, short: &str, burn| Tier {
        name: name.into(),
        threshold: threshold.into(),
        long: long.into(),
        short: short.into(),
        burn_long: Some(burn),
        burn_short: Some(burn / 2.0),
        bad_events: Some(3.0),
        counted: "1m".into(),
        minimum: 10,
        firing: false,
        group: String::new(),
        others: 0,
        interval: "30s".into(),
        hold: None,
    };
    let selector = |role, text: &str| Selector { role, text: text.into(), series: Some(2), ..Selector::default() };
    Facts {
        name: "cart-availability".into(),
        namespace: "shop".into(),
        stored: true,
        measures: "bad events of all events".into(),
        objective: "99.9".into(),
        period: "30d, rolling".into(),
        rules: 19,
        place: Some("PrometheusRule shop/plimsoll-cart-availability".into()),
        loaded: Loaded::Yes { url: "http://prometheus:9090".into() },
        selectors: vec![selector("bad", "errors_total"), selector("total", "requests_total")],
        data: Some(true),
        budget: Some(0.613),
        tiers: vec![tier("fast", "14.4", "1h", "5m", 0.4), tier("slow", "1", "3d", "6h", 0.2)],
        ..Facts::default()
    }
}

fn last(facts: &Facts) -> String {
    text(facts).lines().last().unwrap().to_owned()
}

fn first(facts: &Facts) -> String {
    text(facts).lines().next().unwrap().to_owned()
}

#[test]
fn a_good_one_says_why_it_is_quiet() {
    assert_eq!(
        text(&good()),
        "cart-availability works; nothing is wrong.
  ✓ valid, rendered to 19 rules in PrometheusRule shop/plimsoll-cart-availability
    measures bad events of all events; objective 99.9 % over 30d, rolling
  ✓ Prometheus http://prometheus:9090 has loaded them
  ✓ bad: errors_total matches 2 series
  ✓ total: requests_total matches 2 series
    budget left: 61.3 %
  ✓ tier fast is quiet: burn 0.4 over 1h and 0.2 over 5m, threshold 14.4; 3 bad events, at least 10 needed
  ✓ tier slow is quiet: burn 0.2 over 3d and 0.1 over 6h, threshold 1; 3 bad events, at least 10 needed
  → burn 0.4 over 1 h; the fast tier fires at 14.4
"
    );
}

#[test]
fn not_loaded_ends_with_the_command() {
    let why = "no Prometheus object selects the labels {app: cart}; prometheus/main selects {release: main}";
    let facts = Facts {
        loaded: Loaded::Missing {
            url: "http://prometheus:9090".into(),
            group: "plimsoll.shop.cart-availability.base".into(),
            why: Some(why.into()),
            remedy: Some("kubectl label slo cart-availability -n shop release=main".into()),
        },
        selectors: Vec::new(),
        tiers: Vec::new(),
        budget: None,
        ..good()
    };
    assert_eq!(
        text(&facts),
        "cart-availability is not ready: its rules are not loaded by Prometheus.
  ✓ valid, rendered to 19 rules in PrometheusRule shop/plimsoll-cart-availability
    measures bad events of all events; objective 99.9 % over 30d, rolling
  ✗ Prometheus http://prometheus:9090 has no group plimsoll.shop.cart-availability.base
    no Prometheus object selects the labels {app: cart}; prometheus/main selects {release: main}
  → do it with:  kubectl label slo cart-availability -n shop release=main
"
    );
}

#[test]
fn each_cause_has_its_next_step() {
    let with = |change: &dyn Fn(&mut Facts)| {
        let mut facts = good();
        change(&mut facts);
        (first(&facts), last(&facts))
    };
    let (headline, next) =
        with(&|f| f.problems = vec!["spec.objective: objective is a percentage; write \"99.95\"".into()]);
    assert_eq!(headline, "cart-availability is not ready: it is invalid.");
    assert_eq!(next, "  → write \"99.95\", then apply it again");
    let (headline, _) = with(&|f| {
        f.problems = vec!["spec.objective: objective is a percentage; write \"99.95\"".into()];
        f.fires = Some("Page".into());
    });
    assert_eq!(headline, "cart-availability is not ready: it is invalid, and by its last good rules it burns (Page).");
    let mut invalid = good();
    invalid.problems = vec!["spec.objective: objective is a percentage".into()];
    let shown = text(&invalid);
    assert!(shown.contains("its last good rules go on working in PrometheusRule shop/plimsoll-cart"), "{shown}");

    let nothing = |role, metric| {
        vec![Selector {
            role,
            text: "x{job=\"y\"}".into(),
            series: Some(0),
            of_metric: Some(metric),
            ..Selector::default()
        }]
    };
    let (headline, next) = with(&|f| f.selectors = nothing("total", 7));
    assert_eq!(headline, "cart-availability has no data: its selector for total matches nothing.");
    assert_eq!(next, "  → check the matchers: the metric has 7 series, but none of them fits x{job=\"y\"}");
    let (_, next) = with(&|f| f.selectors = nothing("total", 0));
    assert_eq!(next, "  → check the metric's name and whether Prometheus scrapes it: x{job=\"y\"}");
    let (headline, _) = with(&|f| f.selectors.extend(nothing("good", 7)));
    assert_eq!(headline, "cart-availability counts every event as bad: its selector for good matches nothing.");
    let (headline, _) = with(&|f| f.selectors = nothing("good", 7));
    assert_eq!(headline, "cart-availability has no data: its selector for good matches nothing.", "time slices");
    let (headline, _) = with(&|f| f.selectors = nothing("bad", 0));
    assert_eq!(headline, "cart-availability works; nothing is wrong.", "no errors are no mistake");
    let (headline, next) = with(&|f| {
        let one = Selector { role: "bad", text: "a{status=~\"5..\"}".into(), series: Some(0), ..Selector::default() };
        f.selectors = vec![Selector { no_such_label: Some("status".into()), ..one }];
    });
    assert_eq!(headline, "cart-availability counts no bad events: no series of the metric has the label status.");
    assert_eq!(next, "  → check the label's name in a{status=~\"5..\"}");
    let (headline, next) = with(&|f| {
        (f.busy, f.range) = (true, Some(("1m".into(), "30s".into())));
        f.tiers.iter_mut().take(1).for_each(|t| (t.burn_long, t.burn_short) = (None, None));
    });
    assert_eq!(headline, "cart-availability works in part: the fast tier has no burn rate, so it cannot fire.");
    assert!(next.contains("scrape the targets every 30 s or more often"), "{next}");
    let (_, next) =
        with(&|f| f.selectors = vec![Selector { near: vec!["xy".into()], ..nothing("total", 0).remove(0) }]);
    assert!(next.ends_with("scrapes it: x{job=\"y\"}; did you mean xy?"), "{next}");
    let there = Some(("job".into(), vec!["a".into(), "b".into()]));
    let (_, next) = with(&|f| f.selectors = vec![Selector { values: there.clone(), ..nothing("total", 7).remove(0) }]);
    assert!(next.ends_with("none of them fits x{job=\"y\"}; job is one of a, b"), "{next}");

    let buckets =
        Buckets { threshold: 0.3, unit: "s", bounds: vec![0.1, 0.25, 0.5, 1.0], classic: true, native: false };
    let (headline, next) = with(&|f| f.buckets = Some(buckets.clone()));
    assert_eq!(headline, "cart-availability has no data: its histogram has no bucket at the threshold.");
    assert_eq!(next, "  → set the threshold to a bucket's bound: the nearest to 0.3 s are 250ms and 500ms");
    let coarse = Buckets { threshold: 250.0, unit: "ms", bounds: vec![0.5, 1.0], classic: true, native: false };
    let (_, next) = with(&|f| f.buckets = Some(coarse.clone()));
    assert_eq!(next, "  → set the threshold to a bucket's bound: the nearest to 250 ms is 1ms");
    for buckets in [Buckets { native: true, ..buckets.clone() }, Buckets { threshold: 0.25, ..buckets }] {
        assert!(with(&|f| f.buckets = Some(buckets.clone())).0.contains("works"));
    }

    let (headline, next) = with(&|f| {
        f.selectors = vec![Selector {
            role: "bad",
            text: "errors".into(),
            series: Some(1),
            lacks: vec!["route".into()],
            ..Selector::default()
        }];
    });
    assert_eq!(headline, "cart-availability cannot be grouped by route: the series of its bad do not have it.");
    assert_eq!(next, "  → remove route from groupBy, or use series that have it: errors");

    let (headline, next) = with(&|f| {
        let slip = Slip { matcher: "status=\"5xx\"".into(), instead: "status=~\"5..\"".into() };
        let values = Some(("status".into(), vec!["200".into(), "500".into()]));
        let one = Selector { role: "bad", text: "a{status=\"5xx\"}".into(), series: Some(0), ..Selector::default() };
        f.selectors = vec![Selector { slip: Some(slip), values, ..one }];
    });
    assert_eq!(headline, "cart-availability counts no bad events: no status can be what status=\"5xx\" wants.");
    assert_eq!(next, "  → write what its label has, such as status=~\"5..\": status is one of 200, 500");

    let (headline, next) = with(&|f| f.surplus = Some(Surplus { role: "good", part: 3600.0, total: 2988.4 }));
    assert_eq!(headline, "cart-availability counts more good events than events.");
    assert_eq!(
        next,
        "  → write spec.sli.events.good and total so that total counts each of the good events: in 5 m good grew by 3600 and total by 2988"
    );

    let (headline, next) = with(&|f| {
        f.tiers.iter_mut().take(1).for_each(|t| {
            t.firing = true;
            t.burn_long = Some(20.0);
            t.burn_short = Some(21.0);
            t.bad_events = Some(500.0);
        })
    });
    assert_eq!(headline, "cart-availability is burning: the fast tier fires.");
    assert_eq!(
        next,
        "  → find out what fails, beginning with rate(errors_total[5m]); it stops when the burn over 1 h or 5 m is below 14.4 (now 20.0 and 21.0)"
    );

    let (headline, next) = with(&|f| {
        f.tiers.iter_mut().take(1).for_each(|t| {
            t.burn_long = Some(20.0);
            t.burn_short = Some(21.0);
        });
        // What may be read at leisure comes after what burns.
        f.excess = vec![Excess { headline: "its period is long.", what: String::new(), remedy: String::new() }];
    });
    assert_eq!(headline, "cart-availability works; its fast tier is held back, with too few bad events.");
    assert_eq!(next, "  → quiet, because the fast tier has only 3 bad events over 1 h, and fewer than 10 wake nobody");

    let (headline, next) = with(&|f| f.loaded = Loaded::Unreachable("http://x does not answer: refused".into()));
    assert_eq!(headline, "cart-availability could not be examined: Prometheus does not answer.");
    assert!(next.ends_with("http://x does not answer: refused"));
    let (_, next) = with(&|f| f.loaded = Loaded::NotAsked);
    assert_eq!(next, "  → give --prometheus URL to see them");
    let (_, next) = with(&|f| f.data = Some(false));
    assert_eq!(next, "  → wait for a minute, then ask again");
    let (_, next) = with(&|f| (f.data, f.range) = (Some(false), Some(("1m".into(), "30s".into()))));
    assert!(
        next.ends_with("a rate over 1 m has no value unless targets are scraped every 30 s or more often"),
        "{next}"
    );
    let (headline, next) = with(&|f| f.made_up = true);
    let missing = "its series are there, what it measures of them is not; the time counts as bad.";
    assert_eq!(headline, format!("cart-availability has no data: {missing}"));
    assert!(next.contains("scraped at least twice in 5 m"), "{next}");
    let (headline, next) = with(&|f| f.tiers.clear());
    assert_eq!(headline, "cart-availability works, but no burn-rate alert can fire.");
    assert_eq!(
        next,
        "  → no burn-rate alert: alerting.tiers has none, or the period is shorter than every tier's long window; write alerting.tiers"
    );
    let (headline, next) = with(&|f| f.excess.extend(crate::limits::groups(1200, Some(("user_id", 600)))));
    assert_eq!(headline, "cart-availability works, but it has more groups than a person can tell apart.");
    assert_eq!(next, "  → remove user_id from groupBy, which has 600 values");
    let (_, next) =
        with(&|f| f.trouble = Some("PrometheusRule a/b exists and is not owned by this SLO; it is left alone".into()));
    assert!(next.contains("PrometheusRule a/b exists"));
    let unread = crate::sinks::SinkError::Unread {
        what: "file /rules/a.yaml".into(),
        done: "written",
        url: "http://prometheus:9090/-/reload".into(),
        cause: "403 Forbidden".into(),
        remedy: "correct reloadUrl, and start Prometheus with --web.enable-lifecycle",
    };
    let (headline, next) = with(&|f| f.trouble = Some(unread.to_string()));
    assert_eq!(headline, "cart-availability is not ready: its rules are not read yet.");
    assert_eq!(
        next,
        "  → resolve this, the operator then goes on by itself: file /rules/a.yaml is written, but Prometheus could not be made to read it: POST http://prometheus:9090/-/reload: 403 Forbidden; correct reloadUrl, and start Prometheus with --web.enable-lifecycle"
    );
}

/// A mistake is cheap while the rules are not loaded.
#[test]
fn a_broken_indicator_is_told_before_the_rules_are_loaded() {
    let missing = |remedy: Option<&str>| Loaded::Missing {
        url: "http://prometheus:9090".into(),
        group: "plimsoll.shop.cart-availability.base".into(),
        why: None,
        remedy: remedy.map(str::to_owned),
    };
    let outdated = Loaded::Outdated { url: "http://prometheus:9090".into() };
    let buckets = Buckets { threshold: 0.3, unit: "s", bounds: vec![0.25, 0.5], classic: true, native: false };
    let broken = |loaded: Loaded| Facts { loaded, stored: false, buckets: Some(buckets.clone()), ..good() };
    for loaded in [missing(None), outdated] {
        let facts = broken(loaded.clone());
        assert_eq!(first(&facts), "cart-availability has no data: its histogram has no bucket at the threshold.");
        assert!(last(&facts).ends_with("the nearest to 0.3 s are 250ms and 500ms"), "{}", last(&facts));
        assert!(text(&facts).contains("  ✗ histogram: it has no bucket at 0.3 s\n"), "{}", text(&facts));
        assert!(last(&Facts { loaded, stored: false, ..good() }).starts_with("  → load the rules"));
    }
    // What is known to help is said.
    let labelled = broken(missing(Some("kubectl label slo cart-availability release=main")));
    assert_eq!(first(&labelled), "cart-availability is not ready: its rules are not loaded by Prometheus.");
}

/// Over the threshold in both windows and with enough bad events.
fn over() -> Facts {
    let mut facts = good();
    facts.tiers[0] =
        Tier { burn_long: Some(20.0), burn_short: Some(21.0), bad_events: Some(500.0), ..facts.tiers[0].clone() };
    facts
}

#[test]
fn what_is_about_to_fire_is_not_quiet() {
    let mut facts = over();
    assert_eq!(
        first(&facts),
        "cart-availability burns: all conditions of the fast tier are met, its alert does not fire yet."
    );
    assert_eq!(
        last(&facts),
        "  → its alert awaits its next evaluation, every 30 s; find out what fails, beginning with rate(errors_total[5m])"
    );
    assert!(text(&facts).contains("✗ tier fast does not fire yet: burn 20.0"), "{}", text(&facts));
    facts.tiers[0].hold = Some("2m".into());
    assert!(last(&facts).starts_with("  → its alert fires when they have held for 2 m; "), "{}", last(&facts));
    facts.tiers[0].bad_events = Some(9.0);
    assert_eq!(first(&facts), "cart-availability works; its fast tier is held back, with too few bad events.");
}

/// What is over and fires all the same needs no search.
#[test]
fn an_alert_that_ends_by_itself_says_so() {
    let until = || Some("2026-11-26T18:22:00Z".to_owned());
    let with = |change: &dyn Fn(&mut Tier), excluded: Option<String>| {
        let mut facts = Facts { excluded, ..over() };
        facts.tiers.iter_mut().for_each(|tier| {
            (tier.firing, tier.burn_long, tier.burn_short, tier.bad_events) =
                (true, Some(27.3), Some(40.0), Some(500.0));
            change(tier);
        });
        facts
    };
    let goes_on = "the fast tier is evaluated every 30 s, and goes on for its keepFiringFor";
    for (change, line, next) in [
        (
            &(|tier: &mut Tier| tier.burn_short = Some(0.4)) as &dyn Fn(&mut Tier),
            "✗ tier fast still fires: burn 27.3 over 1h and 0.4 over 5m, threshold 14.4; 500 bad events, at least 10 needed",
            "it has been below its threshold of 14.4 again (now 27.3 and 0.4), and ends by itself",
        ),
        (
            &|tier| tier.bad_events = Some(0.0),
            "✗ tier fast still fires: burn 27.3 over 1h and 40.0 over 5m, threshold 14.4; 0 bad events, at least 10 needed",
            "it ends by itself: 0 bad events count over 1 h, fewer than the 10 that it needs",
        ),
        (
            &|tier| (tier.burn_long, tier.burn_short) = (None, None),
            "✗ tier fast still fires: no events count over 1h and 5m any more",
            "it ends by itself: no events count over 1 h and 5 m any more",
        ),
    ] {
        let facts = with(change, None);
        assert_eq!(first(&facts), "cart-availability was burning: the tiers fast and slow still fire.");
        assert_eq!(last(&facts), format!("  → {next}; {goes_on}"));
        assert!(text(&facts).contains(&format!("  {line}\n")), "{}", text(&facts));
        let facts = with(change, until());
        let headline = "cart-availability is excluded until 2026-11-26T18:22:00Z: the tiers fast and slow still fire.";
        assert_eq!(first(&facts), headline);
        assert_eq!(
            last(&facts),
            "  → what is excluded counts no more, and the alerts end by themselves: the slow tier is evaluated every 30 s, and goes on for its keepFiringFor"
        );
    }
    // What burnt before goes on; and one that burns is told before those that do not.
    let burning = with(&|tier| tier.burn_short = (tier.name == "slow").then_some(9.0), until());
    assert_eq!(first(&burning), "cart-availability is burning: the tiers fast and slow fire.");
    assert_eq!(
        last(&burning),
        "  → what happens now does not count, it is excluded until 2026-11-26T18:22:00Z; it stops when the burn over 3 d or 6 h is below 1 (now 27.3 and 9.0)"
    );
    let quiet = Facts { excluded: until(), ..good() };
    assert_eq!(first(&quiet), "cart-availability works; nothing is wrong.");
    assert!(
        text(&quiet).contains("  · excluded until 2026-11-26T18:22:00Z, with the five minutes after it: what"),
        "{}",
        text(&quiet)
    );
}

#[test]
fn a_part_that_is_not_there_is_the_headline() {
    let part = |name: &str, heard| Part { id: format!("shop/{name}"), heard, weight: Some((1, 2)), near: Vec::new() };
    let parts = vec![part("cart", Heard::Data), part("pay", Heard::Nothing)];
    let mut facts = Facts { selectors: Vec::new(), parts, ..good() };
    let headline =
        "counts too little as bad: no SLO shop/pay records anything, so 1 in 2 of its weight counts as good.";
    assert_eq!(first(&facts), format!("cart-availability {headline}"));
    assert!(last(&facts).starts_with("  → check the name in spec.sli.composite, or load the rules of shop/pay"));
    assert!(
        text(&facts).contains("  ✗ part pay: no SLO shop/pay records anything; until one does"),
        "{}",
        text(&facts)
    );
    facts.tiers = over().tiers;
    facts.tiers[0].firing = true;
    assert_eq!(first(&facts), "cart-availability is burning: the fast tier fires.");
}

/// Where a counter or a histogram is something else, its selector has no ✓ and no line promises anything.
#[test]
fn each_misfit_stands_below_its_selector() {
    let misfit = |role, selector: &str, what: &str| Misfit {
        role,
        selector: selector.into(),
        headline: "takes gauges for counters: requests_total, its total; errors_total, its bad.".into(),
        what: format!("{role}: {what}"),
        remedy: "count".into(),
    };
    let misfits = vec![
        misfit("total", "requests_total", "requests_total is a gauge"),
        misfit("bad", "errors_total", "errors_total is a gauge"),
    ];
    let shown = text(&Facts { misfits, ..good() });
    let lines = "\n    bad: errors_total matches 2 series\n  ✗ bad: errors_total is a gauge\n    total: requests_total matches 2 series\n  ✗ total: requests_total is a gauge\n";
    assert!(shown.contains(lines), "{shown}");
    let misfits = vec![misfit("", "", "ratio.errors is 5.2")];
    let shown = text(&Facts { misfits, ..good() });
    assert_eq!(shown.matches("ratio.errors is 5.2").count(), 1, "{shown}");
}

#[test]
fn what_is_not_recorded_yet_is_no_number() {
    fn unrecorded(tier: &mut Tier) {
        (tier.burn_long, tier.burn_short, tier.bad_events) = (None, None, None);
    }
    // Over both windows, and nothing counted: neither "0 bad events" nor quiet.
    let mut facts = Facts { busy: true, ..over() };
    facts.tiers[0].bad_events = None;
    assert_eq!(
        first(&facts),
        "cart-availability burns: over both windows of the fast tier; its bad events are not counted yet."
    );
    assert_eq!(
        last(&facts),
        "  → its alert fires with at least 10 bad events, which are counted every 1 m; find out what fails, beginning with rate(errors_total[5m])"
    );
    let shown = text(&facts);
    assert!(shown.contains("; bad events not counted yet (every 1m), at least 10 needed"), "{shown}");
    assert!(!shown.contains(" 0 bad events"), "{shown}");

    /// What differs, whether there are events, the headline, and the line of the tier.
    type Row = (fn(&mut Tier), bool, &'static str, Option<&'static str>);
    let rows: [Row; 4] = [
        // A tier of which nothing is recorded, beside one that is quiet.
        (
            unrecorded,
            true,
            "is not wholly known yet: the burn over the windows of the slow tier is not recorded so far.",
            Some("  · tier slow is not known yet: recorded every 30s\n"),
        ),
        // One window decides nothing while it is over the threshold,
        (
            |tier| (tier.burn_long, tier.burn_short) = (None, Some(7.0)),
            true,
            "is not wholly known yet: the burn over the windows of the slow tier is not recorded so far.",
            Some("  · tier slow is not known yet: burn unknown over 3d and 7.0 over 6h"),
        ),
        // and all when it is below.
        (
            |tier| tier.burn_long = None,
            true,
            "works; nothing is wrong.",
            Some("  ✓ tier slow is quiet: burn unknown over 3d and 0.1 over 6h"),
        ),
        // Where nothing happens there is nothing to wait for.
        (unrecorded, false, "works; nothing is wrong.", None),
    ];
    for (change, busy, headline, line) in rows {
        let mut facts = Facts { busy, ..good() };
        change(&mut facts.tiers[1]);
        assert_eq!(first(&facts), format!("cart-availability {headline}"));
        let shown = text(&facts);
        match line {
            Some(line) => assert!(shown.contains(line), "{shown}"),
            None => assert!(!shown.contains("tier slow"), "{shown}"),
        }
    }
    let mut facts = Facts { busy: true, ..good() };
    facts.tiers.iter_mut().for_each(unrecorded);
    assert_eq!(
        first(&facts),
        "cart-availability is not known yet: the burn over the windows of the tiers fast and slow is not recorded so far."
    );
    assert_eq!(last(&facts), "  → ask again when it is: it is recorded every 30 s");
}

#[test]
fn an_overspent_budget_is_wrong() {
    let facts = Facts { budget: Some(-0.08), ..good() };
    assert_eq!(first(&facts), "cart-availability works, but its error budget is overspent.");
    assert_eq!(
        last(&facts),
        "  → 108.0 % of the budget over 30d, rolling is spent: change little until there is some again; burn 0.4 over 1 h; the fast tier fires at 14.4"
    );
}

#[test]
fn a_deletion_says_what_holds_it() {
    use k8s_openapi::{
        apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
        jiff::Timestamp,
    };
    let message = "rules could not be removed from backend ruler: it does not answer";
    let condition = Condition {
        type_: "Ready".into(),
        status: "False".into(),
        reason: plimsoll_api::conditions::REASON_CLEANUP_FAILED.into(),
        message: message.into(),
        observed_generation: None,
        last_transition_time: Time(Timestamp::UNIX_EPOCH),
    };
    let alive = ObjectMeta { finalizers: Some(vec!["plimsoll.dev/backend-ruler".into()]), ..ObjectMeta::default() };
    let deleted = ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..alive.clone() };
    let conditions = [condition];
    assert_eq!(super::super::facts::deletion(&alive, &conditions), None);
    let facts =
        Facts { deletion: super::super::facts::deletion(&deleted, &conditions), loaded: Loaded::NotAsked, ..good() };
    assert_eq!(
        text(&facts),
        format!(
            "cart-availability is being deleted.\n  ✗ its rules may still work in PrometheusRule shop/plimsoll-cart-availability\n  → {message}\n"
        )
    );
    let next = super::super::facts::deletion(&deleted, &[]).unwrap();
    assert!(next.ends_with("it stays until these finalizers are gone: plimsoll.dev/backend-ruler"), "{next}");
}

#[test]
fn a_refusal_has_its_own_words_and_next_step() {
    let refusal = |cause: &str| Refusal { about: "total: requests_total".into(), cause: cause.into() };
    let mut facts = Facts { refusals: vec![refusal("query would load too many samples")], ..good() };
    assert_eq!(first(&facts), "cart-availability could not be examined wholly: Prometheus refuses to answer.");
    assert_eq!(
        last(&facts),
        "  → narrow it with matchers, or raise --query.max-samples of Prometheus: total: requests_total"
    );
    facts.refusals = vec![refusal("parse error")];
    assert_eq!(
        last(&facts),
        "  → see why it refuses to answer for total: requests_total, or give another address with --prometheus: parse error"
    );
    let others =
        ["bad: errors_total", "its budget and burn"].map(|about| Refusal { about: about.into(), ..refusal("no") });
    facts.refusals.extend(others);
    let shown = text(&facts);
    assert!(shown.contains("✗ Prometheus refuses to answer for total: requests_total: parse error\n"), "{shown}");
    assert!(
        shown.contains("✗ Prometheus refuses to answer for bad: errors_total; for its budget and burn: no\n"),
        "{shown}"
    );
    // What is known to be wrong goes first.
    facts.tiers.iter_mut().for_each(|tier| (tier.firing, tier.minimum, tier.burn_short) = (true, 0, Some(20.0)));
    facts.tiers.iter_mut().for_each(|tier| tier.burn_long = Some(20.0));
    assert_eq!(first(&facts), "cart-availability is burning: the tiers fast and slow fire.");
    let more = [("medium", 1), ("trickle", 3)];
    more.into_iter().for_each(|(name, at)| {
        facts.tiers.insert(at, Tier { name: name.into(), ..facts.tiers[0].clone() });
    });
    assert_eq!(first(&facts), "cart-availability is burning: the tiers fast, medium, slow and trickle fire.");
}
