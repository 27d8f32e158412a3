//! What all namespaces share, and none may have the whole of: whoever can do anything in one namespace keeps those of the
//! others waiting for no longer than they do themselves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

/// A number of places, or of bytes.
#[derive(Debug)]
pub struct Shares {
    all: Semaphore,
    own: u32,
    of: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// What a namespace has of it, until this is dropped.
#[derive(Debug)]
pub struct Share<'s> {
    shares: &'s Shares,
    amount: u32,
    of_all: Option<SemaphorePermit<'s>>,
    _own: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// So much, of which one namespace has `own` at most: half of it or less, so that another one's whole share is there.
    pub fn new(all: u32, own: u32) -> Self {
        Self { all: Semaphore::new(all as usize), own, of: Mutex::default() }
    }

    /// Waits until there is so much for this namespace; more than its share is its share.
    pub async fn take(&self, namespace: &str, amount: u32) -> Share<'_> {
        let amount = amount.min(self.own);
        let own = {
            let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
            if !of.contains_key(namespace) {
                // Whoever has something or waits for it has one as well.
                of.retain(|_, own| Arc::strong_count(own) > 1);
            }
            Arc::clone(of.entry(namespace.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.own as usize))))
        };
        // They are never closed.
        let own = own.acquire_many_owned(amount).await.ok();
        Share { shares: self, amount, of_all: self.all.acquire_many(amount).await.ok(), _own: own }
    }
}

impl Share<'_> {
    /// Does something that others need not wait for. It stays within the namespace's own share.
    pub async fn without<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.of_all = None;
        let done = work.await;
        self.of_all = self.shares.all.acquire_many(self.amount).await.ok();
        done
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn no_namespace_has_all_of_it() {
        let shares = Shares::new(4, 2);
        let held = (shares.take("m", 1).await, shares.take("m", 9).now_or_never());
        assert!(held.1.is_none(), "one of two is there, and it wants its whole share");
        let more = shares.take("m", 1).now_or_never().unwrap();
        assert!(shares.take("m", 1).now_or_never().is_none());
        let other = shares.take("shop", 2).now_or_never().unwrap();
        assert!(shares.take("bank", 1).now_or_never().is_none(), "two have all of it");
        drop((held, more));
        let mut mine = shares.take("m", 9).now_or_never().unwrap();
        // What only waits leaves the place to others, and stays one of its own.
        mine.without(async {
            assert!(shares.take("bank", 2).now_or_never().is_some());
            assert!(shares.take("m", 1).now_or_never().is_none());
        })
        .await;
        assert!(shares.take("bank", 1).now_or_never().is_none());
        drop((mine, other));
        drop(shares.take("bank", 1).await);
        assert!(shares.of.lock().unwrap().len() <= 3);
        drop(shares.take("new", 1).await);
        assert_eq!(shares.of.lock().unwrap().len(), 1, "whoever has nothing is forgotten");
    }
}
