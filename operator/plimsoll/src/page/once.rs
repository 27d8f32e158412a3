//! What many readers want at the same time is asked for once: by the first of them, while the others wait for his answer.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::time::Instant;

/// Where one answer is kept. Who holds the lock asks; if he goes away, the next one does.
pub(super) type Place<V> = Arc<tokio::sync::Mutex<Option<V>>>;

/// Answers by what was asked.
#[derive(Debug)]
pub(super) struct Once<K, V> {
    places: Mutex<HashMap<K, (Instant, Place<V>)>>,
    most: usize,
}

impl<K: Hash + Eq + Clone, V> Once<K, V> {
    /// Keeps at most so many, which is at least one: of more those that nobody has looked at for the longest time are forgotten.
    pub(super) fn new(most: usize) -> Self {
        Self { places: Mutex::default(), most }
    }

    /// The place of an answer, which may be empty.
    pub(super) fn of(&self, key: K) -> Place<V> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if places.len() >= self.most && !places.contains_key(&key) {
            let oldest = places.iter().min_by_key(|(_, (looked, _))| *looked).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| places.remove(&oldest));
        }
        let (looked, place) = places.entry(key).or_insert_with(|| (Instant::now(), Place::default()));
        *looked = Instant::now();
        Arc::clone(place)
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<Place<V>> {
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(|(_, place)| Arc::clone(place))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_at_stays() {
        let once: Once<&str, u8> = Once::new(2);
        let (a, b) = (once.of("a"), once.of("b"));
        assert!(Arc::ptr_eq(&a, &once.of("a")) && !Arc::ptr_eq(&a, &b));
        let _c = once.of("c");
        assert!(Arc::ptr_eq(&a, &once.of("a")), "it was looked at after b");
        assert!(!Arc::ptr_eq(&b, &once.of("b")), "it was forgotten for c");
        assert_eq!(once.all().len(), 2);
    }
}
