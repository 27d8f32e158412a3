//! Tells readers that something has changed: they read again what they look at.

use std::{
    convert::Infallible,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures::{StreamExt, stream};
use plimsoll_page::{ask::Reading, overview, rules};
use tokio::time::Instant;

use super::Site;

/// How often it is looked whether something has changed. A look costs nothing: the values are asked for seldom.
const LOOK: Duration = Duration::from_secs(2);
/// A sign of life for what stands between.
const ALIVE: Duration = Duration::from_secs(15);

/// `/live`.
pub(super) async fn live(State(site): State<Arc<Site>>) -> Response {
    let Ok(place) = Arc::clone(&site.listeners).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many readers listen at once\n").into_response();
    };
    let stop = site.stop.clone();
    let before = revision(&site).await;
    let events = stream::unfold((site, before, place), |(site, before, place)| async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = revision(&site).await;
            if now != before {
                let event = Event::default().event("change").data(format!("{now:016x}"));
                return Some((Ok::<_, Infallible>(event), (site, now, place)));
            }
        }
    });
    let events = events.take_until(stop.cancelled_owned());
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE)).into_response()
}

/// The number of [`revision`], and when it was made.
pub(super) type Seen = tokio::sync::Mutex<Option<(Instant, u64)>>;

/// A number that changes with what the page says: made once for all who listen.
async fn revision(site: &Site) -> u64 {
    let mut seen = site.seen.lock().await;
    match *seen {
        Some((at, number)) if at.elapsed() < LOOK / 2 => number,
        _ => {
            let number = made(site).await;
            *seen = Some((Instant::now(), number));
            number
        }
    }
}

async fn made(site: &Site) -> u64 {
    let questions = [overview::questions(), rules::questions()].concat();
    let Reading { at: _, samples, trouble } = site.recorded.now(&questions).await;
    let mut hasher = DefaultHasher::new();
    site.objects.revision().hash(&mut hasher);
    site.objects.complete().hash(&mut hasher);
    trouble.hash(&mut hasher);
    for sample in samples.iter().flatten() {
        sample.labels.hash(&mut hasher);
        sample.value.to_bits().hash(&mut hasher);
    }
    if let Some(notice) = &site.notice {
        let notice = notice();
        (notice.text, notice.button).hash(&mut hasher);
    }
    hasher.finish()
}
