//! Explanations for any number of readers. One asks much of Prometheus, and is as good for a while, whoever reads.

use std::{future::Future, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

use super::once::Once;

/// For so long.
const TOLD: Duration = Duration::from_secs(15);
/// Explanations that are kept.
const KEPT: usize = 256;
/// Explanations that are made at once: the Prometheus that is asked evaluates rules as well.
const AT_ONCE: usize = 2;
/// So long Prometheus may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long it is waited until others have theirs.
const QUEUE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Told {
    told: Once<String, (Instant, String)>,
    room: Semaphore,
}

impl Default for Told {
    fn default() -> Self {
        Self { told: Once::new(KEPT), room: Semaphore::new(AT_ONCE) }
    }
}

impl Told {
    /// What was told of this key a short time ago, or else what `explaining` says. What comes to nothing is not kept.
    pub async fn or(&self, key: String, explaining: impl Future<Output = String>) -> String {
        let place = self.told.of(key);
        let mut told = place.lock().await;
        if let Some((_, text)) = told.as_ref().filter(|(at, _)| at.elapsed() < TOLD) {
            return text.clone();
        }
        let Ok(_room) = timeout(QUEUE, self.room.acquire()).await else {
            return "Too much is asked at once; load the page again.".to_owned();
        };
        let Ok(text) = timeout(PATIENCE, explaining).await else {
            let seconds = PATIENCE.as_secs();
            return format!("Prometheus does not answer within {seconds} s, so nothing can be explained.");
        };
        *told = Some((Instant::now(), text.clone()));
        text
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn many_readers_hear_one_explanation_and_few_are_made_at_once() {
        let told = Told::default();
        let [made, now, most] = &[const { AtomicUsize::new(0) }; 3];
        let explain = |key: usize| {
            let explaining = async move {
                made.fetch_add(1, Ordering::SeqCst);
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                now.fetch_sub(1, Ordering::SeqCst);
                format!("of {key}")
            };
            told.or(format!("shop/{key}"), explaining)
        };
        let all = futures::future::join_all((0..30).map(|reader| explain(reader % 3))).await;
        assert!(all.iter().enumerate().all(|(reader, text)| *text == format!("of {}", reader % 3)));
        assert_eq!((made.load(Ordering::SeqCst), most.load(Ordering::SeqCst)), (3, AT_ONCE));
    }

    #[tokio::test]
    async fn a_reader_who_goes_away_keeps_nobody_waiting() {
        let told = Told::default();
        let gone = told.or("a".to_owned(), std::future::pending()).now_or_never();
        assert_eq!(gone, None);
        for _ in 0..=AT_ONCE {
            assert_eq!(told.or("a".to_owned(), async { "because".to_owned() }).await, "because");
        }
    }
}
