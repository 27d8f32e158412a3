//! Decisions of readers: each with a token of the reader's own, as which it is stored. The operator lends no right.

use futures::{FutureExt, future::BoxFuture};
use kube::{Client, Config, config::AuthInfo};
use tokio::sync::Semaphore;

use super::sources::Decides;
use crate::runbooks::verdict::{self, Verdict};

/// Decisions that are sent at the same time.
const AT_ONCE: usize = 8;

/// Sends decisions to a cluster.
pub struct Sender {
    cluster: Config,
    room: Semaphore,
}

impl Sender {
    /// To the cluster of a configuration, whose own credentials are left out.
    pub fn new(mut cluster: Config) -> Self {
        cluster.auth_info = AuthInfo::default();
        Self { cluster, room: Semaphore::new(AT_ONCE) }
    }
}

impl Decides for Sender {
    fn decide<'a>(&'a self, token: &'a str, verdict: &'a Verdict) -> BoxFuture<'a, Result<String, String>> {
        async move {
            let _room = self.room.try_acquire().map_err(|_| "too many decisions at once; try again.".to_owned())?;
            let mut config = self.cluster.clone();
            config.auth_info.token = Some(token.to_owned().into());
            let client = Client::try_from(config).map_err(|error| format!("the token cannot be used: {error}"))?;
            verdict::send(&client, verdict).await.map_err(|error| format!("{error:#}"))
        }
        .boxed()
    }
}
