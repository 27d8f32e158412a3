use proptest::prelude::*;

use super::*;

const RETRY: Duration = Duration::from_millis(2500);
const LASTS: Duration = Duration::from_secs(15);

fn lease(holder: Option<&str>, changed: Instant) -> Option<Seen> {
    Some(Seen { holder: holder.map(str::to_owned), wanted: None, duration: LASTS, changed })
}

fn wanted(holder: &str, by: &str, changed: Instant) -> Option<Seen> {
    lease(Some(holder), changed).map(|seen| Seen { wanted: Some(by.to_owned()), ..seen })
}

#[test]
fn one_lease() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    for (seen, now, step) in [
        (None, start, Step::Wait(RETRY)),
        (lease(None, start), start, Step::Take),
        (lease(Some("a"), start), at(100), Step::Renew),
        (lease(Some("b"), start), at(1), Step::Wait(RETRY)),
        (lease(Some("b"), start), at(14), Step::Wait(Duration::from_secs(1))),
        (lease(Some("b"), start), at(15), Step::Take),
        // With a single one there is nothing to share.
        (wanted("a", "b", start), at(1), Step::Renew),
    ] {
        assert_eq!(plan(std::slice::from_ref(&seen), "a", now, RETRY), [step], "{seen:?}");
    }
}

#[test]
fn several_leases() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let wait = Step::Wait(RETRY);
    let free = || lease(None, start);
    let of = |who: &str| lease(Some(who), start);
    for (what, leases, seconds, steps) in [
        ("one at a time", vec![free(), free(), of("b")], 0, vec![Step::Take, Step::Wait(SOON), wait]),
        (
            "who has one waits for others",
            vec![of("a"), free()],
            4,
            vec![Step::Renew, Step::Wait(Duration::from_secs(1))],
        ),
        ("but not for ever", vec![of("a"), free()], 5, vec![Step::Renew, Step::Take]),
        ("two more are too many", vec![of("b"), of("b")], 0, vec![Step::Ask, wait]),
        ("one more is not", vec![of("b"), of("b"), of("a")], 0, vec![wait, wait, Step::Renew]),
        ("while something is free nobody is asked", vec![of("b"), of("b"), free()], 0, vec![wait, wait, Step::Take]),
        ("once", vec![wanted("b", "a", start), of("b")], 0, vec![wait, wait]),
        ("who asks has less", vec![of("a"), wanted("a", "b", start)], 0, vec![Step::Renew, Step::Give]),
        ("or gets nothing", vec![of("b"), of("a"), wanted("a", "b", start)], 0, vec![wait, Step::Renew, Step::Renew]),
        ("the dead have none", vec![of("b"), of("b")], 15, vec![Step::Take, Step::Wait(SOON)]),
        (
            "one is given at a time",
            vec![wanted("a", "b", start), wanted("a", "c", start), of("a")],
            0,
            vec![Step::Give, Step::Renew, Step::Renew],
        ),
    ] {
        assert_eq!(plan(&leases, "a", at(seconds), RETRY), steps, "{what}");
    }
}

/// A lease of the model of the API server, and what a process of it knows.
#[derive(Debug, Clone, Default, PartialEq)]
struct Object {
    renewed: u64,
    holder: Option<String>,
    wanted: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Process {
    known: Vec<Option<(u64, Option<String>, Instant)>>,
    until: Vec<Option<Instant>>,
}

/// Processes that act at random times, lose their connection, and have clocks that only measure differences.
struct World {
    now: Instant,
    objects: Vec<Object>,
    processes: Vec<Process>,
    moves: usize,
}

impl World {
    fn new(leases: usize, processes: usize) -> Self {
        let process = Process { known: vec![None; leases], until: vec![None; leases] };
        Self {
            now: Instant::now(),
            objects: vec![Object::default(); leases],
            processes: vec![process; processes],
            moves: 0,
        }
    }

    fn turn(&mut self, who: usize, delay: Duration) {
        let (me, started) = (who.to_string(), self.now);
        let read = self.objects.clone();
        let process = &mut self.processes[who];
        let seen: Vec<Option<Seen>> = read
            .iter()
            .zip(&mut process.known)
            .map(|(object, known)| {
                let same = known
                    .as_ref()
                    .filter(|(renewed, holder, _)| (renewed, holder) == (&object.renewed, &object.holder));
                let changed = same.map_or(started, |(.., changed)| *changed);
                *known = Some((object.renewed, object.holder.clone(), changed));
                Some(Seen { holder: object.holder.clone(), wanted: object.wanted.clone(), duration: LASTS, changed })
            })
            .collect();
        let steps = plan(&seen, &me, self.now, RETRY);
        // The answers may come late; nobody else acts in between in this model, so the guard holds.
        self.now += delay;
        for (i, step) in steps.into_iter().enumerate() {
            let (object, process) = (&mut self.objects[i], &mut self.processes[who]);
            match step {
                Step::Wait(_) => process.until[i] = None,
                Step::Ask => object.wanted = Some(me.clone()),
                Step::Give => {
                    *object = Object { holder: None, renewed: object.renewed + 1, ..object.clone() };
                    process.until[i] = None;
                }
                Step::Take | Step::Renew => {
                    if step == Step::Take {
                        object.wanted = None;
                        self.moves += 1;
                    }
                    *object = Object { holder: Some(me.clone()), renewed: object.renewed + 1, ..object.clone() };
                    process.until[i] = Some(started + LASTS * 2 / 3);
                    process.known[i] = Some((object.renewed, object.holder.clone(), started));
                }
            }
        }
    }

    fn holders(&self, lease: usize) -> usize {
        let holds = |process: &&Process| process.until[lease].is_some_and(|until| self.now < until);
        self.processes.iter().filter(holds).count()
    }
}

proptest! {
    /// Never do two processes believe at the same time that they may write.
    #[test]
    fn at_most_one_holds_a_lease(
        leases in 1usize..5,
        steps in prop::collection::vec((0usize..3, 1u64..4000, any::<bool>(), 0u64..3000), 1..200),
    ) {
        let mut world = World::new(leases, 3);
        for (who, wait, connected, delay) in steps {
            world.now += Duration::from_millis(wait);
            if connected {
                world.turn(who, Duration::from_millis(delay));
            }
            for lease in 0..leases {
                prop_assert!(world.holders(lease) <= 1, "{:?}", world.processes);
            }
        }
    }

    /// Replicas come and go; then every lease is held, nobody has two more than another, and nothing moves any more.
    #[test]
    fn what_is_shared_is_shared_evenly(
        leases in 1usize..9,
        phases in prop::collection::vec((prop::collection::vec(any::<bool>(), 4), 0u64..80), 1..5),
        jitter in prop::collection::vec(0u64..1000, 4),
    ) {
        let mut world = World::new(leases, 4);
        let mut alive = vec![true];
        for (i, (up, turns)) in phases.iter().enumerate() {
            let last = i + 1 == phases.len();
            alive.clone_from(up);
            if !alive.contains(&true) {
                alive[0] = true;
            }
            // After five minutes at the latest all is as it stays.
            for turn in 0..if last { 240 } else { *turns } {
                if last && turn == 120 {
                    world.moves = 0;
                }
                for (who, _) in alive.iter().enumerate().filter(|(_, up)| **up) {
                    world.now += Duration::from_millis(jitter[who] / 4);
                    world.turn(who, Duration::ZERO);
                }
                world.now += RETRY - Duration::from_millis(jitter.iter().sum::<u64>() / 4);
            }
        }
        prop_assert_eq!(world.moves, 0);
        let count = |who: usize| world.objects.iter().filter(|o| o.holder.as_deref() == Some(&*who.to_string())).count();
        let counts: Vec<usize> = (0..4).filter(|who| alive[*who]).map(count).collect();
        prop_assert_eq!(counts.iter().sum::<usize>(), leases);
        prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
        prop_assert!((0..leases).all(|lease| world.holders(lease) == 1));
    }
}

#[test]
fn a_change_of_the_holder_is_told_once() {
    let mut told = None;
    for (holder, wanted) in [
        (None, None),
        (Some("a"), Some("a")),
        (Some("a"), None),
        (None, None),
        (Some("b"), Some("b")),
        (Some("me"), None),
        (Some("b"), Some("b")),
    ] {
        let holder = holder.map(str::to_owned);
        assert_eq!(news(&mut told, holder.as_ref(), "me").as_deref(), wanted, "{holder:?}");
    }
}
