//! The end of a controller.

use kube::runtime::reflector::{Lookup, Store};
use tokio_util::sync::CancellationToken;

/// Runs `work`, a controller over these objects that is told of the same `stop`, until it has finished what is under way.
///
/// A controller does nothing before it has listed its objects, and once it is told to stop it lists no more: one that is
/// stopped in between would wait for its list for ever, so it is dropped.
pub async fn drained<K>(objects: &Store<K>, stop: &CancellationToken, work: impl Future<Output = ()>)
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    use futures::FutureExt as _;
    let unlisted = async {
        stop.cancelled().await;
        // Asking takes the place of whoever waits for the answer, which matters to nobody: it is there, or work is dropped.
        if matches!(objects.wait_until_ready().now_or_never(), Some(Ok(()))) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = work => {}
        () = unlisted => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{convert::Infallible, sync::Arc, time::Duration};

    use futures::{StreamExt as _, stream};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::runtime::{Controller, WatchStreamExt as _, controller::Action, reflector, watcher::Event};
    use tokio::{sync::Notify, time::timeout};

    use super::*;

    const SOON: Duration = Duration::from_secs(30);

    /// A controller whose watch tells this and then nothing more; what it does begins and ends by these.
    async fn work(told: Vec<Event<ConfigMap>>, stop: CancellationToken, begun: Arc<Notify>, may_end: Arc<Notify>) {
        let (reader, writer) = reflector::store::<ConfigMap>();
        let told = stream::iter(told).map(Ok).chain(stream::pending()).reflect(writer).applied_objects();
        let stopped = stop.clone();
        let work = Controller::for_stream(told, reader.clone())
            .graceful_shutdown_on(async move { stopped.cancelled().await })
            .run(
                move |_, _| {
                    let (begun, may_end) = (Arc::clone(&begun), Arc::clone(&may_end));
                    async move {
                        begun.notify_one();
                        may_end.notified().await;
                        Ok::<_, Infallible>(Action::await_change())
                    }
                },
                |_, _, _| Action::await_change(),
                Arc::new(()),
            )
            .for_each(|_| std::future::ready(()));
        drained(&reader, &stop, work).await;
    }

    fn map() -> ConfigMap {
        let mut map = ConfigMap::default();
        (map.metadata.name, map.metadata.namespace) = (Some("a".to_owned()), Some("b".to_owned()));
        map
    }

    #[tokio::test]
    async fn one_that_is_still_listing_ends_at_once() {
        for told in [vec![], vec![Event::Init], vec![Event::Init, Event::InitApply(map())]] {
            let stop = CancellationToken::new();
            let running = tokio::spawn(work(told, stop.clone(), Arc::default(), Arc::default()));
            // So that it has begun to wait for its list.
            tokio::task::yield_now().await;
            stop.cancel();
            timeout(SOON, running).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_under_way_is_finished() {
        let (begun, may_end): (Arc<Notify>, Arc<Notify>) = Default::default();
        let stop = CancellationToken::new();
        let told = vec![Event::Init, Event::InitApply(map()), Event::InitDone];
        let running = tokio::spawn(work(told, stop.clone(), Arc::clone(&begun), Arc::clone(&may_end)));
        timeout(SOON, begun.notified()).await.unwrap();
        stop.cancel();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!running.is_finished(), "it has not waited for what is under way");
        may_end.notify_one();
        timeout(SOON, running).await.unwrap().unwrap();
    }
}
