//! The demonstration's past, tried with nothing else on the machine.

use serde_json::Value;

use super::*;

#[test]
fn the_past_of_the_demo() {
    let directory = tempfile::tempdir().unwrap();
    let d = directory.path();
    let ran =
        run(d, &["backtest", "--demo", "checkout-availability", "-o", "json", "--objective", "99", "--plot", "p.png"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    let told: Value = serde_json::from_str(&ran.stdout).unwrap();
    let slos = told["slos"].as_array().unwrap();
    assert_eq!((slos.len(), slos[0]["slo"].as_str()), (1, Some("shop/checkout-availability")), "{told}");
    // Twelve days ago the checkout was down for 47 minutes: somebody is paged, whatever the hour is now.
    assert!(ran.stdout.contains("\"page\""), "{told}");
    let left = slos[0]["budgetRemaining"].as_f64().unwrap();
    assert!(left < 0.9, "{left}");
    assert!(fs::read(d.join("p.png")).unwrap().starts_with(b"\x89PNG"));

    let all = run(d, &["backtest", "--demo", "--from", "2d"]);
    assert_eq!((all.code, all.stderr.as_str()), (0, ""));
    assert_eq!(all.stdout.lines().filter(|line| line.contains("shop/")).count(), 8, "{}", all.stdout);
}

#[test]
fn what_the_demo_does_not_have() {
    let directory = tempfile::tempdir().unwrap();
    for (args, said) in [
        (vec!["--demo", "cart"], "error: the demo has no SLO cart\n  └ help: it has checkout-availability, "),
        (vec!["--demo", "--from", "90d"], "error: the demo keeps samples for 30d"),
        (vec!["slo/"], "--prometheus <URL>"),
        (vec!["slo/", "--demo"], "cannot be used with"),
    ] {
        let args: Vec<&str> = ["backtest"].into_iter().chain(args).collect();
        let ran = run(directory.path(), &args);
        assert_eq!(ran.code, 2, "{args:?}");
        assert!(ran.stderr.contains(said), "{args:?}: {}", ran.stderr);
    }
}
