//! Bodies of requests within a budget: however many large ones come, memory stays bounded, and small ones are
//! answered beside them.

use std::{sync::Arc, time::Duration};

use axum::body::{Body, Bytes};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// Larger than the API server's own limit for an object (3 MiB) and its stored predecessor (1.5 MiB) together.
pub const LARGEST: usize = 6 << 20;
/// Up to here a body needs no room: an SLO with its predecessor is a few KiB.
pub const SMALL: usize = 64 << 10;
/// Room for all larger bodies together.
pub const ROOM: usize = 16 << 20;
/// A large one waits this long for room. The API server waits for 5 s in all.
const WAIT: Duration = Duration::from_secs(1);

/// Why a body was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is larger than [`LARGEST`].
    TooLarge,
    /// There is no room beside other large ones.
    Busy,
    /// It broke off.
    Broken,
}

/// A body, and the room that it takes until it is dropped.
#[derive(Debug)]
pub struct Taken {
    /// All of it.
    pub bytes: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

/// Takes bodies in.
#[derive(Clone, Debug)]
pub struct Intake {
    room: Arc<Semaphore>,
    alone: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        Self { room: Arc::new(Semaphore::new(ROOM)), alone: Arc::new(Semaphore::new(1)) }
    }
}

impl Intake {
    /// Reads a whole body.
    ///
    /// # Errors
    /// When it is too large, or too large for now; it is not read to its end then.
    pub async fn read(&self, headers: &HeaderMap, mut body: Body) -> Result<Taken, Refused> {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if declared.is_some_and(|length| length > LARGEST) {
            return Err(Refused::TooLarge);
        }
        let mut taken = Taken { bytes: Vec::new(), room: None };
        if let Some(length) = declared.filter(|length| *length > SMALL) {
            taken.room = Some(self.room(length).await?);
            taken.bytes.reserve_exact(length);
        }
        while let Some(frame) = body.frame().await {
            let chunk: Bytes = match frame.map_err(|_| Refused::Broken)?.into_data() {
                Ok(chunk) => chunk,
                // Trailers say nothing to us.
                Err(_) => continue,
            };
            let length = taken.bytes.len() + chunk.len();
            if length > LARGEST {
                return Err(Refused::TooLarge);
            }
            if length > SMALL && taken.room.is_none() {
                // One that did not say how large it is may become as large as any.
                taken.room = Some(self.room(LARGEST).await?);
                taken.bytes.reserve_exact(LARGEST - taken.bytes.len());
            }
            taken.bytes.extend_from_slice(&chunk);
        }
        Ok(taken)
    }

    /// Works on a body. What a large one is read into can be many times its size, so there is one at a time, and
    /// not on a thread that answers others.
    pub async fn work<T: Send + 'static>(
        &self,
        taken: Taken,
        work: impl FnOnce(&[u8]) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        if taken.room.is_none() {
            return Ok(work(&taken.bytes));
        }
        let alone = Arc::clone(&self.alone).acquire_owned().await.map_err(|_| Refused::Busy)?;
        // The work goes on when nobody waits for it any more, and until then nothing else of its kind begins.
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&taken.bytes);
            drop((taken, alone));
            done
        });
        let done = done.await;
        done.map_err(|_| Refused::Broken)
    }

    async fn room(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let wanted = u32::try_from(bytes).map_err(|_| Refused::TooLarge)?;
        match timeout(WAIT, Arc::clone(&self.room).acquire_many_owned(wanted)).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(Refused::Busy),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::{StreamExt, stream};
    use tokio::sync::watch;

    use super::*;

    const CHUNK: usize = 64 << 10;

    /// As large as is allowed; the last chunk comes when somebody says so.
    fn stalled(delivered: Arc<AtomicUsize>, go: watch::Receiver<bool>) -> Body {
        let chunks = LARGEST / CHUNK;
        Body::from_stream(stream::iter(0..chunks).then(move |i| {
            let (delivered, mut go) = (Arc::clone(&delivered), go.clone());
            async move {
                if i + 1 == chunks {
                    go.wait_for(|go| *go).await.unwrap();
                }
                delivered.fetch_add(CHUNK, Ordering::SeqCst);
                Ok::<_, std::io::Error>(Bytes::from(vec![b' '; CHUNK]))
            }
        }))
    }

    #[tokio::test]
    async fn large_bodies_share_a_budget_and_small_ones_pass_beside_them() {
        const MANY: usize = 40;
        let intake = Intake::default();
        let delivered = Arc::new(AtomicUsize::new(0));
        let (say, go) = watch::channel(false);
        let mut reading = tokio::task::JoinSet::new();
        for _ in 0..MANY {
            let (intake, body) = (intake.clone(), stalled(Arc::clone(&delivered), go.clone()));
            reading.spawn(async move { intake.read(&HeaderMap::new(), body).await.map(|taken| taken.bytes.len()) });
        }
        let together = ROOM / LARGEST;
        for _ in together..MANY {
            assert_eq!(reading.join_next().await.unwrap().unwrap(), Err(Refused::Busy));
        }
        let small = intake.read(&HeaderMap::new(), Body::from(vec![b' '; SMALL])).await.unwrap();
        assert_eq!(intake.work(small, <[u8]>::len).await, Ok(SMALL));
        let most = ROOM + MANY * (SMALL + CHUNK);
        assert!(delivered.load(Ordering::SeqCst) <= most, "{delivered:?}");
        say.send(true).unwrap();
        while let Some(read) = reading.join_next().await {
            assert_eq!(read.unwrap(), Ok(LARGEST));
        }
        // And the room is free again.
        let next = intake.read(&HeaderMap::new(), stalled(delivered, go)).await.unwrap();
        assert_eq!(intake.work(next, <[u8]>::len).await, Ok(LARGEST));
    }

    #[tokio::test]
    async fn what_says_that_it_is_too_large_is_not_read() {
        let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, (LARGEST + 1).into())]);
        let never = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(Intake::default().read(&headers, never).await.unwrap_err(), Refused::TooLarge);
    }
}
