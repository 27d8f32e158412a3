//! How many executions there may be. Each takes room in the API server's store and some memory of the leader, and whoever may
//! post alerts could make any number.

use std::time::Duration;

use futures::FutureExt;
use kube::{Api, Client, api::ListParams};
use plimsoll_api::RunbookExecution;

use super::recent::Answers;
use crate::sinks::kubernetes::chain;

/// How long a count is believed; meanwhile there may come some more.
const COUNTED: Duration = Duration::from_secs(10);

/// Room for executions.
pub struct Room {
    client: Client,
    most: u64,
    counted: Answers<Result<u64, String>>,
}

impl Room {
    /// For so many.
    pub fn new(client: Client, most: u64) -> Self {
        Self { client, most, counted: Answers::new(COUNTED, 1) }
    }

    /// Why there is none for one more. A server that cannot be asked cannot store one either, and says so itself.
    pub async fn is_full(&self) -> Option<String> {
        let client = self.client.clone();
        let ask = || async move { count(&client).await.map_err(|error| chain(&error)) }.boxed();
        let there = self.counted.ask("", ask, Result::is_ok).await.ok()?;
        let most = self.most;
        (there >= most).then(|| {
            format!(
                "there are {there} RunbookExecutions, and at most {most} may be (runbooks.mostExecutions): delete such as are \
                 not wanted any more, or wait until they are"
            )
        })
    }
}

/// How many executions there are, in all namespaces, asked with one of them.
///
/// # Errors
/// When the API server does not tell.
pub async fn count(client: &Client) -> Result<u64, kube::Error> {
    let all: Api<RunbookExecution> = Api::all(client.clone());
    let page = all.list_metadata(&ListParams::default().limit(1)).await?;
    let more = page.metadata.remaining_item_count.and_then(|more| u64::try_from(more).ok());
    Ok(u64::try_from(page.items.len()).unwrap_or(u64::MAX).saturating_add(more.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::testing::FakeApi;

    #[tokio::test]
    async fn there_is_room_until_there_are_so_many() {
        let api = FakeApi::default();
        let put = |name: &str| {
            let at = format!("/apis/plimsoll.dev/v1alpha1/namespaces/shop/runbookexecutions/{name}");
            api.put(&at, json!({"metadata": {"name": name, "namespace": "shop"}}));
        };
        put("a");
        put("b");
        assert_eq!(Room::new(api.client(), 3).is_full().await, None);
        put("c");
        let full = Room::new(api.client(), 3).is_full().await.unwrap();
        assert!(
            full.starts_with("there are 3 RunbookExecutions, and at most 3 may be (runbooks.mostExecutions)"),
            "{full}"
        );
    }
}
