//! The same work on many items, on all cores, with the results in the items' order.

use std::{
    io::{self, Write},
    num::NonZero,
    panic,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Items that a thread takes at once, so that threads seldom meet.
const CHUNK: usize = 16;

/// How many threads so many items are worth.
fn threads(items: usize) -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(items / CHUNK)
}

/// Applies `work` to each item.
pub fn map<'t, T: Sync, R: Send>(items: &'t [T], work: impl Fn(&'t T) -> R + Sync) -> Vec<R> {
    let threads = threads(items.len());
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        loop {
            let begin = next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(chunk) = items.get(begin..items.len().min(begin + CHUNK)).filter(|c| !c.is_empty()) else {
                return done;
            };
            done.push((begin, chunk.iter().map(&work).collect::<Vec<R>>()));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|cause| panic::resume_unwind(cause)));
        }
        done
    });
    done.sort_unstable_by_key(|(begin, _)| *begin);
    done.into_iter().flat_map(|(_, results)| results).collect()
}

/// Whose turn it is to write, and where to.
struct Turn<'w> {
    next: usize,
    writer: &'w mut (dyn Write + Send),
    result: io::Result<()>,
}

/// Writes what `work` makes of each item, in the items' order, while the next ones are worked on. Each thread has one
/// buffer, so memory does not grow with the number of items.
///
/// # Errors
/// The writer's first one; nothing is written after it.
pub fn write<T: Sync>(
    items: &[T],
    writer: &mut (dyn Write + Send),
    work: impl Fn(&mut String, &T) + Sync,
) -> io::Result<()> {
    let next = AtomicUsize::new(0);
    let turn = Mutex::new(Turn { next: 0, writer, result: Ok(()) });
    let mine = Condvar::new();
    let run = || {
        let mut text = String::new();
        loop {
            let begin = next.fetch_add(CHUNK, Ordering::Relaxed);
            let Some(chunk) = items.get(begin..items.len().min(begin + CHUNK)).filter(|c| !c.is_empty()) else {
                return;
            };
            text.clear();
            // Whoever panics must not keep the others waiting for its turn.
            let worked =
                panic::catch_unwind(panic::AssertUnwindSafe(|| chunk.iter().for_each(|item| work(&mut text, item))));
            let waited =
                mine.wait_while(turn.lock().unwrap_or_else(PoisonError::into_inner), |turn| turn.next != begin);
            let mut turn = waited.unwrap_or_else(PoisonError::into_inner);
            turn.next = begin + CHUNK;
            mine.notify_all();
            if turn.result.is_ok() {
                // Of what broke off nothing is written, nor anything that comes after it.
                turn.result = match &worked {
                    Ok(()) => turn.writer.write_all(text.as_bytes()),
                    Err(_) => Err(io::Error::other("the work on an item broke off")),
                };
            }
            let stop = turn.result.is_err();
            drop(turn);
            if let Err(cause) = worked {
                panic::resume_unwind(cause);
            }
            if stop {
                return;
            }
        }
    };
    thread::scope(|scope| {
        (1..threads(items.len())).for_each(|_| drop(scope.spawn(run)));
        run();
    });
    turn.into_inner().unwrap_or_else(PoisonError::into_inner).result
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;

    #[test]
    fn writes_in_order_and_stops_at_an_error() {
        for n in [0, 1, 16, 33, 1000] {
            let items: Vec<usize> = (0..n).collect();
            let mut written = Vec::new();
            super::write(&items, &mut written, |text, item| text.push_str(&format!("{item}\n"))).unwrap();
            let wanted: String = items.iter().map(|item| format!("{item}\n")).collect();
            assert_eq!(String::from_utf8(written).unwrap(), wanted, "{n}");
            let mut room = [0; 20];
            let result =
                super::write(&items, &mut room.as_mut_slice(), |text, item| text.push_str(&format!("{item:05}\n")));
            assert_eq!(
                result.map_err(|error| error.kind()),
                if n > 3 { Err(io::ErrorKind::WriteZero) } else { Ok(()) }
            );
        }
    }

    #[test]
    fn of_work_that_panics_nothing_is_written() {
        let items: Vec<usize> = (0..1000).collect();
        let mut written = Vec::new();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            super::write(&items, &mut written, |text, item| {
                text.push_str(&format!("{item}\n"));
                assert_ne!(*item, 40, "an item that cannot be worked on");
            })
        }));
        assert!(ended.is_err(), "the panic goes on");
        let wanted: String = (0..32).map(|item| format!("{item}\n")).collect();
        assert_eq!(String::from_utf8(written).unwrap(), wanted);
    }

    #[test]
    fn keeps_the_order() {
        for n in [0, 1, 15, 16, 17, 33, 1000] {
            let items: Vec<usize> = (0..n).collect();
            assert_eq!(super::map(&items, |i| i * 2), items.iter().map(|i| i * 2).collect::<Vec<_>>(), "{n}");
        }
    }
}
