#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::fs;

use plimsoll_api::anomaly::Direction;

use super::*;
use crate::scorer::{
    table::Samples,
    tests::{NOW, calm, labels, watch},
    watches::Labels,
};

/// What a watch with two series reads, half a minute after half a minute.
fn events() -> Vec<Event> {
    let two = |values: [Samples; 2]| -> Vec<(Labels, Samples)> {
        ["a", "b"].into_iter().zip(values).map(|(pod, samples)| (labels(&[("pod", pod)]), samples)).collect()
    };
    let watch = watch(Direction::Both);
    let mut all = vec![Event::Read { watch: watch.clone(), until: NOW, found: two([calm(300, NOW), calm(200, NOW)]) }];
    for step in 1..5 {
        let until = NOW + 30 * step;
        let found = two([vec![(until as f64, 10.0)], vec![(until as f64, if step == 4 { 500.0 } else { 10.3 })]]);
        all.push(Event::Read { watch: watch.clone(), until, found });
    }
    all
}

/// Files after the first events, of which a snapshot was made; the others were noted.
fn written(folder: &Path, snapshot: usize) -> Vec<u8> {
    let (mut store, table) = Store::open(folder, 0, Lease::forever());
    assert!(matches!(table, Err(Refusal::Nothing)));
    let mut table = Table::default();
    for (i, event) in events().iter().enumerate() {
        if i == snapshot {
            assert!(store.is_due(), "the first one at once");
            store.snapshot(&table.bytes()).unwrap();
            assert!(!store.is_due());
        }
        store.note(event);
        table.apply(event);
    }
    store.sync().unwrap();
    table.bytes()
}

#[test]
fn a_crash_at_any_byte_of_a_record_loses_that_record_alone() {
    let folder = tempfile::tempdir().unwrap();
    let whole = written(folder.path(), 2);
    let journal = folder.path().join("shard-0.journal");
    let bytes = fs::read(&journal).unwrap();
    let mut events = events();
    let last = events.pop().unwrap();
    let mut before = Table::default();
    events.iter().for_each(|event| before.apply(event));
    let mut record = Vec::new();
    append(&postcard::to_allocvec(&last).unwrap(), &mut record);
    assert!(bytes.ends_with(&record));
    let before = before.bytes();
    for cut in bytes.len() - record.len()..=bytes.len() {
        fs::write(&journal, &bytes[..cut]).unwrap();
        let (mut store, table) = Store::open(folder.path(), 0, Lease::forever());
        let mut table = table.unwrap();
        let is_whole = cut == bytes.len();
        assert_eq!(table.bytes() == whole, is_whole, "cut at {cut} of {}", bytes.len());
        if !is_whole {
            assert_eq!(table.bytes(), before, "cut at {cut} of {}", bytes.len());
            // What is read again goes where the torn record was.
            store.note(&last);
            table.apply(&last);
        }
        assert_eq!(table.bytes(), whole);
        assert_eq!(fs::read(&journal).unwrap(), bytes, "cut at {cut}");
    }
}

#[test]
fn a_crash_between_snapshot_and_journal_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let whole = written(folder.path(), 2);
    let journal = folder.path().join("shard-0.journal");
    let old = fs::read(&journal).unwrap();
    let (mut store, table) = Store::open(folder.path(), 0, Lease::forever());
    store.snapshot(&table.unwrap().bytes()).unwrap();
    assert!(fs::metadata(&journal).unwrap().len() < old.len() as u64, "begun anew");
    // As if the new journal had not come to be.
    fs::write(&journal, &old).unwrap();
    let (mut store, table) = Store::open(folder.path(), 0, Lease::forever());
    assert_eq!(table.unwrap().bytes(), whole, "what the old journal says is in the snapshot");
    fs::write(folder.path().join("shard-0.snapshot.tmp"), b"torn").unwrap();
    let due = (0..ROUNDS).filter(|_| store.is_due()).count();
    assert_eq!(due, 1);
    store.snapshot(&whole).unwrap();
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["shard-0.journal", "shard-0.snapshot"], "nothing of a crash stays behind");
}

#[test]
fn what_cannot_be_gone_on_with_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path(), 2);
    let snapshot = folder.path().join("shard-0.snapshot");
    let bytes = fs::read(&snapshot).unwrap();
    let other = Header { format: SNAPSHOT, version: Table::version() ^ 1, generation: 1 }.bytes();
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 4;
        bytes
    };
    let damaged = "it is damaged";
    for (what, bytes, wanted) in [
        ("another version", [&other, &bytes[32..]].concat(), "another version of the operator has written it"),
        ("cut short", bytes[..bytes.len() - 1].to_vec(), damaged),
        ("a header alone", bytes[..32].to_vec(), damaged),
        ("half a header", bytes[..20].to_vec(), damaged),
        ("empty", Vec::new(), damaged),
        ("too long", [bytes.as_slice(), b"x"].concat(), damaged),
        ("a bit of the header", flipped(9), damaged),
        ("a bit of the table", flipped(200), damaged),
        ("a bit of the network", flipped(bytes.len() - 500), damaged),
        ("somebody else's", vec![b'#'; 5000], damaged),
    ] {
        fs::write(&snapshot, bytes).unwrap();
        let (mut store, table) = Store::open(folder.path(), 0, Lease::forever());
        assert_eq!(table.unwrap_err().to_string(), wanted, "{what}");
        assert!(store.is_due(), "{what}: it is replaced at once");
    }
    fs::remove_file(&snapshot).unwrap();
    assert!(matches!(Store::open(folder.path(), 0, Lease::forever()).1, Err(Refusal::Nothing)));
    assert!(matches!(Store::open(folder.path(), 1, Lease::forever()).1, Err(Refusal::Nothing)), "another shard");
}

#[test]
fn a_full_disk_loses_no_score() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(&folder.path().join("not-there"), 0, Lease::forever());
    let mut table = Table::default();
    for event in events() {
        store.note(&event);
        table.apply(&event);
    }
    assert!(store.snapshot(&table.bytes()).is_err());
    store.note(&events()[0]);
    assert!(store.sync().is_ok(), "nothing was promised");
    let message = check(Path::new("/proc/nowhere")).unwrap_err();
    assert!(message.starts_with("/proc/nowhere: ") && message.ends_with("may write to"), "{message}");
    assert_eq!(check(&folder.path().join("made/for/it")), Ok(()));
}

#[test]
fn who_lost_the_lease_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let table = written(folder.path(), 3);
    let all = || ["snapshot", "journal"].map(|what| fs::read(folder.path().join(format!("shard-0.{what}"))).unwrap());
    let (lease, before) = (Lease::forever(), all());
    let (mut store, _) = Store::open(folder.path(), 0, lease.clone());
    lease.release();
    store.note(&events()[0]);
    assert!(store.snapshot(&table).is_err());
    assert_eq!(all(), before);
    // It has it again, but what was not noted is missing from the journal: only a snapshot helps.
    lease.hold(std::time::Duration::from_secs(1000), Instant::now());
    store.note(&events()[1]);
    assert_eq!(all(), before);
    store.snapshot(&table).unwrap();
    assert_ne!(all(), before);
}
