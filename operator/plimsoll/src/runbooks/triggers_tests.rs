#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use jiff::SignedDuration;

use super::*;
use crate::{runbooks::dispatch::tests::Given, testing::FakeApi};

fn looked(api: &FakeApi, change: impl FnOnce(&mut RunRequest)) -> (Triggers, Arc<Dispatcher>) {
    let sealer = Sealer::new([5; 32]);
    let mut request = RunRequest { id: "1".to_owned(), by: "ann".to_owned(), ..RunRequest::default() };
    request.at = Timestamp::now().to_string();
    change(&mut request);
    if request.seal.is_empty() {
        request.seal = sealer.of_run("shop", "restart", &request);
    }
    let mut given = Given::of(api.clone(), sealer);
    let mut runbook = given.runbook(|object| {
        object["spec"] =
            json!({"serviceAccountName": "s", "trigger": {"manual": {}}, "steps": [{"name": "a", "wait": "1s"}]});
    });
    let noted = serde_json::to_string(&request).unwrap();
    if let Ok(runbook) = &mut runbook.0 {
        runbook.annotations_mut().insert(RUN.to_owned(), noted);
    }
    given.know(runbook);
    let dispatcher = Arc::new(given.dispatcher);
    (Triggers::new(Arc::clone(&dispatcher), api.client()), dispatcher)
}

/// What was told of requests that nothing came of.
fn told(dispatcher: &Dispatcher) -> Vec<&'static str> {
    let text = dispatcher.metrics.text();
    let reasons = ["RequestTooOld", "RequestNotSealed"];
    reasons.into_iter().filter(|reason| text.contains(&format!("{{reason=\"{reason}\"}} 1"))).collect()
}

#[tokio::test]
async fn a_request_is_looked_after_once_and_what_is_dropped_is_told() {
    let ago = |minutes| {
        move |request: &mut RunRequest| {
            request.at = (Timestamp::now() - SignedDuration::from_mins(minutes)).to_string();
        }
    };
    let api = FakeApi::default();
    let (mut triggers, dispatcher) = looked(&api, |_| {});
    triggers.look().await;
    triggers.look().await;
    assert_eq!((api.count("/runbookexecutions/"), triggers.looked_after.len()), (1, 1));
    assert_eq!(told(&dispatcher), Vec::<&str>::new());
    // The runbook is gone, and so is what was remembered of it.
    triggers.dispatcher = Arc::new(Given::of(FakeApi::default(), Sealer::new([5; 32])).dispatcher);
    triggers.look().await;
    assert_eq!(triggers.looked_after.len(), 0);

    let (mut triggers, dispatcher) = looked(&FakeApi::default(), ago(11));
    triggers.look().await;
    assert_eq!(told(&dispatcher), ["RequestTooOld"]);
    let (mut triggers, dispatcher) = looked(&FakeApi::default(), |request| request.seal = "made up".to_owned());
    triggers.look().await;
    assert_eq!(told(&dispatcher), ["RequestNotSealed"]);
    // Whoever leads next does not tell of what is long past.
    let (mut triggers, dispatcher) = looked(&FakeApi::default(), ago(2000));
    triggers.look().await;
    assert_eq!(told(&dispatcher), Vec::<&str>::new());
}
