use proptest::prelude::*;

use super::*;

const RETRY: Duration = Duration::from_secs(2);

fn lease(holder: Option<&str>, changed: Instant) -> Seen {
    Seen { holder: holder.map(str::to_owned), duration: Duration::from_secs(15), changed }
}

#[test]
fn the_cases() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(decide(None, "a", start, RETRY), Decision::Take);
    assert_eq!(decide(Some(&lease(None, start)), "a", start, RETRY), Decision::Take);
    assert_eq!(decide(Some(&lease(Some("a"), start)), "a", at(100), RETRY), Decision::Renew);
    assert_eq!(decide(Some(&lease(Some("b"), start)), "a", at(1), RETRY), Decision::Wait(RETRY));
    assert_eq!(decide(Some(&lease(Some("b"), start)), "a", at(14), RETRY), Decision::Wait(Duration::from_secs(1)));
    assert_eq!(decide(Some(&lease(Some("b"), start)), "a", at(15), RETRY), Decision::Take);
}

#[test]
fn a_change_of_the_leader_is_told_once() {
    let start = Instant::now();
    let mut told = None;
    let mut tells = |holder| news(&mut told, Some(&lease(holder, start)), "me");
    for (holder, wanted) in [
        (None, None),
        (Some("a"), Some("a")),
        (Some("a"), None),
        (None, None),
        (Some("b"), Some("b")),
        (Some("me"), None),
        (Some("b"), Some("b")),
    ] {
        assert_eq!(tells(holder).as_deref(), wanted, "{holder:?}");
    }
    assert_eq!(news(&mut None, None, "me"), None);
}

/// A model of the API server: one lease with a version, and processes that act at random times,
/// lose their connection, and have clocks that only measure differences.
#[derive(Debug, Clone)]
struct Process {
    last: Option<(u64, Seen)>,
    until: Option<Instant>,
}

proptest! {
    /// Never do two processes believe at the same time that they may write.
    #[test]
    fn at_most_one_leads(steps in prop::collection::vec((0usize..3, 1u64..4000, any::<bool>(), 0u64..3000), 1..200)) {
        let terms = Terms { identity: String::new(), namespace: String::new(), name: String::new(), duration: Duration::from_secs(15) };
        let mut now = Instant::now();
        let mut stored: Option<(u64, String)> = None;
        let mut processes = vec![Process { last: None, until: None }; 3];
        for (who, wait, connected, delay) in steps {
            now += Duration::from_millis(wait);
            let me = who.to_string();
            if connected {
                let started = now;
                let process = &mut processes[who];
                match &stored {
                    None => process.last = None,
                    Some((version, holder)) => {
                        if process.last.as_ref().is_none_or(|(known, _)| known != version) {
                            process.last = Some((*version, lease(Some(holder), now)));
                        }
                    }
                }
                let version_read = stored.as_ref().map(|(version, _)| *version);
                match decide(process.last.as_ref().map(|(_, seen)| seen), &me, now, RETRY) {
                    Decision::Wait(_) => process.until = None,
                    Decision::Take | Decision::Renew => {
                        // The answer may come late; nobody else acts in between in this model, so the guard holds.
                        now += Duration::from_millis(delay);
                        let current = stored.as_ref().map(|(version, _)| *version);
                        if current == version_read {
                            let version = current.unwrap_or(0) + 1;
                            stored = Some((version, me.clone()));
                            process.until = Some(started + terms.deadline());
                            process.last = Some((version, lease(Some(&me), started)));
                        }
                    }
                }
            }
            let leading = processes.iter().filter(|p| p.until.is_some_and(|until| now < until)).count();
            prop_assert!(leading <= 1, "{processes:?}");
        }
    }
}
