//! What happened a short time ago, so that repetitions cost nothing: a bounded memory of what was done, and answers that
//! whoever asks the same at the same moment shares.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Remembers that something was, at least for a time unless there is very much of it, and at most for twice that.
///
/// Two generations: when the younger is old or full it becomes the older, and the older is forgotten. So what is
/// remembered is bounded, and never forgotten all at once.
#[derive(Debug)]
pub struct Recent {
    span: Duration,
    most: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug)]
struct Generations {
    since: Instant,
    younger: HashSet<u128>,
    older: HashSet<u128>,
}

impl Recent {
    /// For this time, `most` things in each generation: 32 bytes each.
    pub fn new(span: Duration, most: usize) -> Self {
        let (younger, older) = Default::default();
        Self { span, most, generations: Mutex::new(Generations { since: Instant::now(), younger, older }) }
    }

    /// Whether it was.
    pub fn was(&self, what: &str, now: Instant) -> bool {
        let key = key(what);
        self.turn(now, |generations| generations.younger.contains(&key) || generations.older.contains(&key))
    }

    /// Whether it was not; it is from now on. For what is told once, however often it happens.
    pub fn is_new(&self, what: &str, now: Instant) -> bool {
        let key = key(what);
        let was = |generations: &Generations| generations.younger.contains(&key) || generations.older.contains(&key);
        self.turn(now, |generations| !was(generations) && generations.younger.insert(key))
    }

    /// It is.
    pub fn remember(&self, what: &str, now: Instant) {
        self.turn(now, |generations| generations.younger.insert(key(what)));
    }

    /// It is not any more.
    pub fn forget(&self, what: &str, now: Instant) {
        let key = key(what);
        self.turn(now, |generations| generations.younger.remove(&key) | generations.older.remove(&key));
    }

    fn turn<T>(&self, now: Instant, then: impl FnOnce(&mut Generations) -> T) -> T {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        let age = now - generations.since;
        if age >= self.span || generations.younger.len() >= self.most {
            let younger = std::mem::take(&mut generations.younger);
            generations.older = if age >= self.span * 2 { HashSet::new() } else { younger };
            generations.since = now;
        }
        then(&mut generations)
    }
}

/// A part of a hash that nobody can find another text for: what is taken for known is not stored.
fn key(what: &str) -> u128 {
    let hash: [u8; 32] = Sha256::digest(what).into();
    hash.first_chunk().map_or(0, |bytes| u128::from_be_bytes(*bytes))
}

/// An answer that is given or being given, and since when.
type Answer<T> = (Instant, Shared<BoxFuture<'static, T>>);

/// Answers that are shared for a moment.
pub struct Answers<T> {
    span: Duration,
    most: usize,
    known: Mutex<HashMap<String, Answer<T>>>,
}

impl<T: Clone + Send + Sync + 'static> Answers<T> {
    /// Shared for this time, so many at most.
    pub fn new(span: Duration, most: usize) -> Self {
        Self { span, most, known: Mutex::default() }
    }

    /// The answer to a question: one that is being given, that was given a moment ago, or a new one. What `keep` does not
    /// want is shared only with whoever asks meanwhile.
    pub async fn ask(
        &self,
        question: &str,
        answer: impl FnOnce() -> BoxFuture<'static, T>,
        keep: impl FnOnce(&T) -> bool,
    ) -> T {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let shared = {
            let mut known = known();
            match known.get(question).filter(|(at, _)| now - *at < self.span) {
                Some((_, shared)) => shared.clone(),
                None => {
                    if known.len() >= self.most {
                        known.retain(|_, (at, _)| now - *at < self.span);
                    }
                    if known.len() >= self.most {
                        known.clear();
                    }
                    let shared = answer().shared();
                    known.insert(question.to_owned(), (now, shared.clone()));
                    shared
                }
            }
        };
        let answer = shared.clone().await;
        if !keep(&answer) {
            let mut known = known();
            if known.get(question).is_some_and(|(_, other)| other.ptr_eq(&shared)) {
                known.remove(question);
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn what_was_is_remembered_for_a_time() {
        let recent = Recent::new(Duration::from_secs(60), 1000);
        let at = |seconds| Instant::now() + Duration::from_secs(seconds);
        recent.remember("a", at(0));
        assert!(recent.was("a", at(1)) && !recent.was("b", at(1)));
        assert!(recent.was("a", at(61)), "in the older generation");
        assert!(!recent.was("a", at(122)));
        assert!(recent.is_new("c", at(123)) && !recent.is_new("c", at(124)));
        recent.remember("a", at(123));
        assert!(!recent.was("a", at(600)), "however long nobody asked");
        recent.remember("a", at(601));
        recent.remember("b", at(662));
        recent.forget("a", at(662));
        recent.forget("b", at(662));
        assert!(!recent.was("a", at(662)) && !recent.was("b", at(662)), "in either generation");
    }

    #[test]
    fn it_is_bounded_and_forgets_the_oldest() {
        let (recent, now) = (Recent::new(Duration::from_secs(60), 1000), Instant::now());
        for i in 0..2500 {
            recent.remember(&i.to_string(), now);
        }
        assert!((1500..2500).all(|i| recent.was(&i.to_string(), now)));
        assert!((0..1000).all(|i| !recent.was(&i.to_string(), now)));
    }

    #[tokio::test]
    async fn whoever_asks_the_same_shares_the_answer() {
        let asked = Arc::new(AtomicUsize::new(0));
        let ask = async |answers: &Answers<usize>, question: &str, keep: bool| {
            let asked = Arc::clone(&asked);
            let answer = async move {
                tokio::task::yield_now().await;
                asked.fetch_add(1, Ordering::SeqCst) + 1
            };
            answers.ask(question, || answer.boxed(), |_| keep).await
        };
        let answers = Answers::new(Duration::from_secs(60), 10);
        let together = tokio::join!(ask(&answers, "a", true), ask(&answers, "a", true), ask(&answers, "a", true));
        assert_eq!(together, (1, 1, 1));
        assert_eq!(ask(&answers, "a", true).await, 1, "a moment ago");
        assert_eq!(ask(&answers, "b", false).await, 2);
        assert_eq!(ask(&answers, "b", false).await, 3, "that was not kept");
        for i in 0..100 {
            ask(&answers, &i.to_string(), true).await;
        }
        assert!(answers.known.lock().is_ok_and(|known| known.len() <= 10));
        let short = Answers::new(Duration::ZERO, 10);
        assert_ne!(ask(&short, "a", true).await, ask(&short, "a", true).await, "its time is over");
    }
}
